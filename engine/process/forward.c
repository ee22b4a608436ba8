/* The forward process.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <math.h>

/* Streams of random numbers with this bit belong to the forward process, the others to the samplers. */
#define FORWARD_STREAM 0x80000000u

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

typedef struct
{
  DiffusionPicture       *picture;
  const DiffusionPicture *level;
  float                   scale;
  guint64                 seed;
  guint32                 stream;
  int                     origin_x, origin_y;
} Noise;

static void
add_noise_to_row (int y, int thread, gpointer data)
{
  const Noise *self = data;
  int          width = self->picture->width;
  float       *pixel = self->picture->data + (gsize) y * (gsize) width * 3;
  const float *level = self->level->data + (gsize) y * (gsize) width;

  for (int x = 0; x < width; x++, pixel += 3)
    {
      float sigma = level[x] * self->scale, noise[4];

      if (sigma == 0)
        continue;
      random_gaussian4 (self->seed, self->stream, self->origin_x + x, self->origin_y + y, noise);
      for (int c = 0; c < 3; c++)
        pixel[c] += sigma * noise[c];
    }
}

gboolean
process_forward (DiffusionPicture *picture, const DiffusionPicture *level, double t0, double t1, guint64 seed,
                 guint step, int origin_x, int origin_y, Pool *pool, GError **error)
{
  Noise noise = { picture, level, 0, seed, FORWARD_STREAM | step, origin_x, origin_y };

  if (! (t0 >= 0) || ! (t1 >= t0) || t1 > 1)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "A step of the forward process from %g to %g is not one: 0 <= from <= to <= 1.", t0, t1);
      return FALSE;
    }
  if (! process_check_map (picture, level, error))
    return FALSE;
  noise.scale = (float) sqrt (t1 * t1 - t0 * t0);
  pool_run (pool, picture->height, add_noise_to_row, &noise);
  return TRUE;
}

gboolean
diffusion_forward (DiffusionPicture *picture, const DiffusionPicture *level, double t0, double t1, guint64 seed,
                   guint step, int origin_x, int origin_y, GError **error)
{
  return process_forward (picture, level, t0, t1, seed, step, origin_x, origin_y, NULL, error);
}
