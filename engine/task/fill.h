/* How a hole is filled.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* A hole and its surroundings. */
typedef struct
{
  DiffusionPicture *picture; /* unknown pixels are NAN before */
  DiffusionPicture *cover;   /* how much of the fill each pixel is to get */
  double            radius;  /* of the hole: how far its innermost pixel is from a known one */
  gboolean          thin;    /* a stroke rather than a spot */
  double            texture; /* as in DiffusionInpaintOptions */

  const DiffusionNoise *noise; /* of the known pixels, not owned */
} Crop;

/* What the ways to fill have in common. */
typedef struct
{
  const DiffusionModel   *model;
  const DiffusionOptions *options; /* their origin is the crop's */
  Pool                   *pool;
  GCancellable           *cancellable;
} Filler;

/* Tells whoever listens how much of the crop is done, 0 ... 1. */
void fill_report (const Filler *filler, double fraction);

/* Fills the unknown pixels; the known ones are kept. */
gboolean fill_crop (const DiffusionModel *model, Crop *crop, const DiffusionOptions *options, GCancellable *cancellable,
                    GError **error);

/* ---- the ways (fill-large.c, fill-thin.c) ---- */

/* From coarse to fine: texture from the surroundings proposes, the reverse process reconciles. */
gboolean fill_large (const Filler *filler, Crop *crop, GError **error);
/* Holes of a few pixels' width, which mostly have one right answer: the mean of several predictions, each weighted by
 * how well it does on pixels nearby that are known. */
gboolean fill_thin (const Filler *filler, Crop *crop, GError **error);

/* ---- what they use ---- */

/* 1 where the picture is NAN, 0 elsewhere. */
DiffusionPicture *fill_mark_hole (const DiffusionPicture *picture, GError **error);
/* The mean step between neighbours around each known pixel; elsewhere NAN. */
DiffusionPicture *fill_measure_roughness (const DiffusionPicture *picture, GError **error);

/* A copy of a part of a picture. */
DiffusionPicture *fill_cut (const DiffusionPicture *picture, DiffusionBox box, GError **error);

/* The mean of 2 x 2 pixels, of those that are known (not NAN); unknown when there are fewer than `least` (holes.c). */
DiffusionPicture *holes_reduce (const DiffusionPicture *fine, int least, GError **error);
/* Fills unknown pixels by enlarging a picture of half the size. */
void holes_enlarge (DiffusionPicture *fine, const DiffusionPicture *coarse);
/* Fills unknown pixels (NAN) with the surface that bends least: right for holes of a few pixels, too bold for large
 * ones.  Within [0, 1]. */
gboolean plate_fill (DiffusionPicture *picture, GCancellable *cancellable, GError **error);
