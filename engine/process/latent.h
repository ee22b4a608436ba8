/* The reverse process on the latents of a checkpoint.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * As everywhere in this engine noise is added, not blended in: x = z + sigma eps, where a checkpoint's own notation has
 * sqrt (a) z + sqrt (1 - a) eps, so that sigma = sqrt ((1 - a) / a); its network is given x / sqrt (1 + sigma^2).
 */
#pragma once

#include "net/sd/checkpoint.h"
#include "process.h"

#define LATENT_CHANNELS 4

/* ---- schedule ---- */

typedef struct
{
  int     steps;
  double *sigmas;    /* steps + 1, falling; the last is mostly 0 */
  double *timesteps; /* steps: what the network is told */
} LatentSchedule;

/* From a strength's timestep, 1000 strength - 1, down in equal steps, as few-step models are trained: the last is one
 * step's length above 0, and ends at 0.  strength: above 0, at most 1. */
void latent_schedule_init (LatentSchedule *schedule, const float *alphas, double strength, int steps);
void latent_schedule_clear (LatentSchedule *schedule);
/* The noise level of a timestep, fractions allowed. */
double latent_sigma (const float *alphas, double timestep);

/* ---- denoiser ---- */

/* What a checkpoint's network and a prompt are to the reverse process: a function from x and sigma to the clean latent
 * that it believes in. */
typedef struct
{
  SdRun          *run;
  const SdUnet   *unet;
  gboolean        v;       /* predicts v, not the noise */
  const SdTensor *context; /* [2]: the prompt and the negative one; [1]: the prompt alone, without guidance */
  double          guidance;
  const float    *hole; /* [h][w][5] for files with 9 channels: the mask and the known picture's latent; else NULL */
  int             tile; /* edge of what the network sees at once, latents, a multiple of what the network needs */
  const float    *strength; /* [h][w]: tiles of which no latent's reaches the timestep `least` are left out */
  double          least;    /* strength NULL: none is */
} LatentDenoiser;

/* D (x; sigma), [h][w][4]; where the latent is larger than a tile, tiles that overlap by a quarter are blended
 * (Bar-Tal et al. 2023, "MultiDiffusion").  0 where no tile is.  Fails as run does. */
gboolean latent_denoise (const LatentDenoiser *denoiser, int width, int height, const float *x, double sigma,
                         double timestep, float *clean, GError **error);

/* How a latent is cut: all tiles are of one size. */
typedef struct
{
  int width, height, across, down;
} LatentTiles;

/* Whether a latent is seen at once, though it may be larger than a tile: half as long again on one side, or a quarter
 * on both.  Networks bear that, and what sees all of a picture paints no second head. */
gboolean latent_fits_tile (int width, int height, int tile);
/* Tiles whose edge is wanted so large, and never too small to overlap; along a side they are up to a quarter larger
 * where that saves work. */
LatentTiles latent_get_tiles (const SdUnet *unet, int width, int height, int wanted);
/* How often the network runs for one step on a latent of this size of which a part changes. */
int latent_count_tiles (const SdUnet *unet, int width, int height, int wanted, DiffusionBox part);

/* ---- reverse process ---- */

typedef struct
{
  int          width, height; /* of the latent: both multiples of what the network needs */
  const float *original;      /* [h][w][4]: what is noised and worked on; NULL: nothing, zeros */
  const float *strength;      /* [h][w]: each latent's own, at most that of the schedule; NULL: the schedule's */
  guint64      seed;
  int          origin_x, origin_y; /* in the field of random numbers */
  /* After each step: may be NULL. */
  void (*done) (int step, const LatentSchedule *schedule, const float *clean, const float *x, gpointer user_data);
  gpointer user_data;
} LatentJob;

/* How often the network runs for a step of that: tiles are left out of which no latent is ever reached. */
int latent_count_reached (const SdUnet *unet, int wanted, const LatentJob *job, const LatentSchedule *schedule);
/* Walks down the schedule; x: [h][w][4], the result.  After each step latents whose own strength is below the step's
 * are put back from the original, noised to where the step leads (Levin and Fried 2023): so each begins its own way
 * from the noised original at its own level.  Those that are never reached come back as they were. */
gboolean latent_reverse (const LatentDenoiser *denoiser, const LatentJob *job, const LatentSchedule *schedule,
                         DiffusionSampler sampler, float *x, GError **error);
