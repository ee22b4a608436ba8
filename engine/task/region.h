/* Where the holes are: connected regions, crops, and how a mask becomes a hole.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* One or several connected regions of a mask that are worked on together. */
typedef struct
{
  DiffusionBox box;     /* around the mask's pixels above 0 */
  double       area;    /* of the mask, pixels */
  double       radius;  /* of the largest disc that fits into it, pixels */
  gboolean     thin;    /* a stroke rather than a spot */
  int          grow;    /* how far the hole reaches beyond the mask, pixels */
  int          feather; /* width of its fade, pixels */
  int          soften;  /* radius in which the mask's largest value counts: at least 1 where nobody said otherwise, so
                           that an antialiased edge, which has the old thing's colour in it, is replaced as a whole */
  int          context; /* pixels around the hole that are looked at */
  DiffusionBox crop;    /* the grown hole and its context, within the picture */
  guint        group;   /* its number, as the labels have it */
} Region;

typedef struct
{
  DiffusionBox box;     /* what the labels cover */
  guint32     *labels;  /* a region's number for each pixel, 0: none; core_free () */
  Region      *regions; /* thin ones first; core_free () */
  int          count;
} Regions;

/* The regions of a mask (1 channel, > 0 is hole), 8-connected; such whose crops mostly overlap are made one. */
gboolean regions_find (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint, Regions *regions,
                       GCancellable *cancellable, GError **error);
void     regions_clear (Regions *regions);

static inline guint32
regions_label (const Regions *regions, int x, int y)
{
  x -= regions->box.x;
  y -= regions->box.y;
  if (x < 0 || y < 0 || x >= regions->box.width || y >= regions->box.height)
    return 0;
  return regions->labels[(gsize) y * (gsize) regions->box.width + (gsize) x];
}

/* A region's hole within its crop: how much of the fill each pixel gets, in [0, 1]; above 0 is unknown. */
DiffusionPicture *region_make_cover (const Region *region, const Regions *regions, const DiffusionPicture *mask,
                                     GCancellable *cancellable, GError **error);

/* Squared Euclidean distance of each pixel to the nearest one that is set, in place: values are 0 where set, and
 * INFINITY elsewhere, before (Felzenszwalb and Huttenlocher 2012, "Distance transforms of sampled functions"). */
gboolean region_distance (float *values, int width, int height, GCancellable *cancellable, GError **error);

/* The box around a region's hole: beyond it nothing is covered. */
DiffusionBox region_get_hole (const Region *region, const DiffusionPicture *within);

/* The box around two; a box with some pixels more on each side, as far as the picture goes; whether two have a pixel in
 * common. */
DiffusionBox region_join_boxes (DiffusionBox a, DiffusionBox b);
DiffusionBox region_grow_box (DiffusionBox box, int by, const DiffusionPicture *within);
gboolean     region_boxes_touch (const DiffusionBox *a, const DiffusionBox *b);
