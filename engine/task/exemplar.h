/* Texture from the surroundings.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* One level of a pyramid: a picture with holes, and for each patch that has hole in it the place of the most similar
 * patch that has none. */
typedef struct _Exemplar Exemplar;

/* picture: 3 channels, hole pixels hold the first guess; roughness: 1 channel, how much detail there is around each
 * pixel, a guess in the hole too; hole: 1 channel, above 0 is hole.  All are copied.  NULL without an error when no
 * patch of the picture is free of holes.  cancellable (not owned, may be NULL): once it is cancelled, what is below
 * ends soon, with a fill that is of no use. */
Exemplar *exemplar_new (const DiffusionPicture *picture, const DiffusionPicture *roughness,
                        const DiffusionPicture *hole, GCancellable *cancellable, GError **error);
void      exemplar_free (Exemplar *exemplar);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Exemplar, exemplar_free)

/* Takes over, enlarged, the matches of a level of half the size, and the guess that they make. */
void exemplar_inherit (Exemplar *exemplar, const Exemplar *coarser, guint64 seed, Pool *pool);
/* Matches from nothing, for the coarsest level.  trust: how much the guess in the hole counts at first, in (0, 1]; a
 * smooth guess that is trusted finds smooth places. */
void exemplar_begin (Exemplar *exemplar, double trust, guint64 seed, Pool *pool);

/* Improves matches, then the fill by them: one of the turns that together make a fill (Wexler et al. 2007, "Space-time
 * completion of video"; matches by Barnes et al. 2009, "PatchMatch").  turn: from 0 on, each has random numbers of its
 * own.  sharpness: 0: each pixel is the mean of what all patches over it say; 1: the word of the best one alone.  The
 * result is the same for any number of threads. */
void exemplar_improve (Exemplar *exemplar, int turn, int searches, double sharpness, guint64 seed, Pool *pool);

/* Replaces the fill by what the matches say, without looking for better ones. */
void exemplar_vote (Exemplar *exemplar, double sharpness, Pool *pool);

/* Brings the fill to its surroundings' brightness and colours: what the matches say too low or too high about the known
 * pixels next to the hole is continued smoothly into it and added (as Poisson blending does: Perez et al. 2003). */
gboolean exemplar_join (Exemplar *exemplar, double sharpness, Pool *pool, GError **error);

/* Smooths the joins between patches, and to the known pixels: looks for the picture whose steps from pixel to pixel are
 * those of the best patches, near what the fill is (a screened Poisson equation: Perez et al. 2003; Bhat et al. 2008,
 * "Fourier analysis of the 2D screened Poisson equation for gradient domain problems"). */
void exemplar_blend (Exemplar *exemplar, Pool *pool);

/* Of n values, none below 0, those that count: the one that would be at this share of them if they were in order.  In a
 * time that grows with n, without memory of its own. */
float exemplar_find_quantile (const float *values, const guint8 *counted, gsize n, gsize numerator, gsize denominator);

/* Writes the hole's pixels into a picture of the same size. */
void exemplar_get (const Exemplar *exemplar, DiffusionPicture *picture);
/* Another first guess, for the same hole: for another fill by the same exemplar. */
void exemplar_set (Exemplar *exemplar, const DiffusionPicture *picture, const DiffusionPicture *roughness);
