/* Noise levels, preconditioning, schedules.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* The standard deviation of clean pictures on [-1, 1] that EDM's preconditioning supposes (Karras et al. 2022, table
 * 1). */
#define SIGMA_DATA 0.5

/* Levels of diffusion.h are on [0, 1], the network's on [-1, 1]. */
#define LEVEL_TO_SIGMA 2.0f

/* Coefficients of one pixel's preconditioning: D = c_skip x + c_out F (c_in x, map).  At sigma 0: D = x. */
typedef struct
{
  float c_skip, c_out, c_in;
  float map[2];
} Condition;

Condition condition_at (float sigma);

/* A rectangle of a picture and its levels, in memory: rows of `width` pixels, `pitch` pixels apart. */
typedef struct
{
  const float *picture; /* R'G'B' */
  const float *level;
  gsize        picture_pitch, level_pitch;
  int          width, rows; /* even */
} ConditionRows;

/* Half-resolution network input [rows / 2][width / 2][NET_CHANNELS_IN] from picture rows. */
void condition_pack (const ConditionRows *rows, float *input);
/* The prediction of the clean picture, [rows][width][3], from half-resolution network output.  Where the level is 0 it
 * is the picture. */
void condition_unpack (const ConditionRows *rows, const float *output, float *clean);

/* Ratios r_0 = 1 > r_1 > ... > r_steps = 0 of each pixel's level to its level at the start: Karras et al. 2022, eq. 5,
 * with rho = 7, for the largest level of the map.  `ratios` holds steps + 1 values. */
void schedule_fill (double largest_level, int steps, double *ratios);

/* The largest level that a map may have, picture units: twice EDM's sigma_max of 80. */
#define LEVEL_MAX 80.0f

/* TRUE when the map has one channel, the picture's size and only levels from 0 to LEVEL_MAX. */
gboolean process_check_map (const DiffusionPicture *picture, const DiffusionPicture *level, GError **error);

/* One transition of the reverse process, from r_from to r_to times the map's level. */
typedef struct
{
  DiffusionSampler sampler;
  double           from, to; /* ratios; to is 0 at the last step */
  double           before;   /* the ratio before `from`, 0 at the first step */
  guint64          seed;
  guint32          step;
} Transition;

/* Takes a row of pixels from x at r_from to x at r_to.  clean: the prediction D (x); clean_before: that of the step
 * before, for dpm++2m, unless this is the first step; level: each pixel's at r_from; (x0, y): the row's place in the
 * field of random numbers. */
void transition_row (const Transition *transition, int x0, int y, int width, const float *level, const float *clean,
                     const float *clean_before, float *x);

/* The same for up to 4 channels. */
void transition_values (const Transition *transition, int channels, int x0, int y, int width, const float *level,
                        const float *clean, const float *clean_before, float *x);

/* Where the levels of a picture come from, a part of a row at a time: computed, or a map in memory.  Several threads
 * call at once. */
typedef void (*LevelRow) (int x, int y, int width, float *level, gpointer user_data);

#define LEVEL_REACH 4

/* The levels of a map; user_data: a DiffusionPicture of 1 channel. */
void process_get_map_row (int x, int y, int width, float *level, gpointer map);

/* The forward process at once: adds noise of `ratio` times each pixel's level, on all threads of a pool.  step: as in
 * diffusion_forward (); of the options it takes the seed and the origin. */
gboolean process_forward (DiffusionPicture *picture, LevelRow level, gpointer level_data, double ratio, guint step,
                          const DiffusionOptions *options, Pool *pool, GCancellable *cancellable, GError **error);

/* Called after each step, when the whole picture is at `ratio` times its levels; may change it, with the pool's help.
 */
typedef gboolean (*StepDone) (DiffusionPicture *picture, int step, double ratio, Pool *pool, gpointer user_data,
                              GError **error);

typedef struct
{
  LevelRow level;
  double   largest;   /* no level is above it */
  gboolean looking;   /* the levels are those of the picture as it is at the start */
  gboolean forward;   /* the picture is clean yet: it goes up the forward process first */
  StepDone done;      /* may be NULL */
  gpointer user_data; /* of both */
} ReverseJob;

/* diffusion_reverse () with levels from a function.  If it is looking at the picture, then up to LEVEL_REACH pixels
 * around, and it is called before any of these has changed. */
gboolean process_reverse (const DiffusionModel *model, DiffusionPicture *picture, const ReverseJob *job,
                          const DiffusionOptions *options, GCancellable *cancellable, GError **error);

/* Blurs a picture in place with a Gaussian of standard deviation sigma, in pixels (nearly: three boxes). */
gboolean process_blur (DiffusionPicture *picture, double sigma, Pool *pool, GCancellable *cancellable, GError **error);

/* A picture at another size: cubic, with a kernel as wide as a pixel of the smaller of both; edges are mirrored.  May
 * go a little beyond the range of its values. */
DiffusionPicture *process_resize (const DiffusionPicture *picture, int width, int height, GCancellable *cancellable,
                                  GError **error);
