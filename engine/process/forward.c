/* The forward process.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <math.h>
#include <string.h>

/* Streams of random numbers with this bit belong to the forward process, the others to the samplers. */
#define FORWARD_STREAM 0x80000000u
/* Pixels of a row whose levels are asked for at a time. */
#define PIECE 1024

gboolean
process_check_map (const DiffusionPicture *picture, const DiffusionPicture *level, GError **error)
{
  gsize pixels;

  if (picture->channels != 3 || level->channels != 1 || picture->width != level->width
      || picture->height != level->height)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "The noise level map (%d x %d, %d channels) does not fit the picture (%d x %d, %d channels): it "
                   "needs 1 channel and the same size.",
                   level->width, level->height, level->channels, picture->width, picture->height, picture->channels);
      return FALSE;
    }
  pixels = (gsize) level->width * (gsize) level->height;
  for (gsize i = 0; i < pixels; i++)
    if (! (level->data[i] >= 0) || level->data[i] > LEVEL_MAX)
      {
        g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                     "A noise level of the map is %g: levels go from 0 to %g.", (double) level->data[i],
                     (double) LEVEL_MAX);
        return FALSE;
      }
  return TRUE;
}

void
process_get_map_row (int x, int y, int width, float *level, gpointer map)
{
  const DiffusionPicture *picture = map;

  memcpy (level, picture->data + (gsize) y * (gsize) picture->width + x, (gsize) width * sizeof (float));
}

typedef struct
{
  DiffusionPicture *picture;
  LevelRow          level;
  gpointer          level_data;
  float             scale;
  guint64           seed;
  guint32           stream;
  int               origin_x, origin_y;
  GCancellable     *cancellable;
} Noise;

static void
add_noise_to_row (int y, int thread, gpointer data)
{
  const Noise *self = data;
  int          width = self->picture->width;
  float       *pixel = self->picture->data + (gsize) y * (gsize) width * 3, level[PIECE];

  if (g_cancellable_is_cancelled (self->cancellable))
    return;
  for (int x = 0; x < width; x++, pixel += 3)
    {
      float sigma, noise[4];

      if (x % PIECE == 0)
        self->level (x, y, MIN (PIECE, width - x), level, self->level_data);
      sigma = level[x % PIECE] * self->scale;
      if (sigma == 0)
        continue;
      random_gaussian4 (self->seed, self->stream, self->origin_x + x, self->origin_y + y, noise);
      for (int c = 0; c < 3; c++)
        pixel[c] += sigma * noise[c];
    }
}

gboolean
process_forward (DiffusionPicture *picture, LevelRow level, gpointer level_data, double ratio, guint step,
                 const DiffusionOptions *options, Pool *pool, GCancellable *cancellable, GError **error)
{
  Noise noise = {
    picture,           level,      level_data, (float) ratio, options->seed, FORWARD_STREAM | step, options->origin_x,
    options->origin_y, cancellable
  };

  pool_run (pool, picture->height, add_noise_to_row, &noise);
  return ! g_cancellable_set_error_if_cancelled (cancellable, error);
}

gboolean
diffusion_forward (DiffusionPicture *picture, const DiffusionPicture *level, double t0, double t1, guint64 seed,
                   guint step, int origin_x, int origin_y, GError **error)
{
  const DiffusionOptions options = { .seed = seed, .origin_x = origin_x, .origin_y = origin_y };

  if (! (t0 >= 0) || ! (t1 >= t0) || t1 > 1)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "A step of the forward process from %g to %g is not one: 0 <= from <= to <= 1.", t0, t1);
      return FALSE;
    }
  return process_check_map (picture, level, error)
         && process_forward (picture, process_get_map_row, (gpointer) level, sqrt (t1 * t1 - t0 * t0), step, &options,
                             NULL, NULL, error);
}
