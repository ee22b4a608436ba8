/* Denoising: the photograph is x_t, its noise is the map.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "noise.h"
#include "part.h"
#include "process/process.h"
#include "smooth.h"

#include <math.h>

/* A pixel's own brightness is as noisy as the pixel: the curve is read at the mean of (2 * RADIUS + 1)^2. */
#define RADIUS 2
#define PIECE  1024

/* Above a strength of 1 a second call looks at the first one's result, and is told this much of the noise's level: with
 * more it blurs edges before it has smoothed what is left in flat areas. */
#define SECOND 0.5

G_STATIC_ASSERT (RADIUS <= LEVEL_REACH);

typedef struct
{
  const DiffusionPicture *picture, *mask;
  const DiffusionNoise   *noise;
  double                  factor;
  gboolean                even; /* the curve is a constant */
} DenoiseMap;

/* The mean brightness around each of `width` pixels of row y, at most PIECE, with the picture's outermost
 * pixels repeated beyond its edges. */
static void
get_brightness (const DenoiseMap *map, int x, int y, int width, float *brightness)
{
  const DiffusionPicture *p = map->picture;
  const float             scale = 1.0f / (3 * (2 * RADIUS + 1) * (2 * RADIUS + 1));
  float                   columns[PIECE + 2 * RADIUS] = { 0 }; /* sums over the rows around this one */
  float                   sum = 0;

  for (int i = 0; i < width + 2 * RADIUS; i++)
    {
      int column = CLAMP (x + i - RADIUS, 0, p->width - 1);

      for (int j = -RADIUS; j <= RADIUS; j++)
        {
          const float *pixel
              = p->data + ((gsize) CLAMP (y + j, 0, p->height - 1) * (gsize) p->width + (gsize) column) * 3;

          columns[i] += pixel[0] + pixel[1] + pixel[2];
        }
    }
  for (int i = 0; i < 2 * RADIUS; i++)
    sum += columns[i];
  for (int i = 0; i < width; i++)
    {
      sum += columns[i + 2 * RADIUS];
      brightness[i] = sum * scale;
      sum -= columns[i];
    }
}

static void
get_level_row (int x, int y, int width, float *level, gpointer data)
{
  const DenoiseMap *map = data;

  for (int i = 0; i < width && ! map->even; i += PIECE)
    get_brightness (map, x + i, y, MIN (PIECE, width - i), level + i);
  for (int i = 0; i < width; i++)
    {
      double value
          = map->factor * (map->even ? map->noise->curve[0] : diffusion_noise_at (map->noise, (double) level[i]));

      if (map->mask)
        value *= (double) CLAMP (map->mask->data[(gsize) y * (gsize) map->mask->width + (gsize) (x + i)], 0.0f, 1.0f);
      level[i] = (float) MIN (value, (double) LEVEL_MAX);
    }
}

static gboolean
check_arguments (const DiffusionPicture *picture, const DiffusionPicture *mask, const DiffusionNoise *noise,
                 double strength, GError **error)
{
  const char *wrong = NULL;

  if (picture->channels != 3)
    wrong = "a picture of 3 channels";
  else if (mask && (mask->channels != 1 || mask->width != picture->width || mask->height != picture->height))
    wrong = "a mask of 1 channel and of the picture's size";
  else if (! (strength >= 0) || strength > 2)
    wrong = "a strength from 0 to 2";
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    if (! (noise->curve[i] >= 0) || noise->curve[i] > (double) LEVEL_MAX)
      wrong = "noise levels of 0 or more";
  if (wrong)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "Denoising needs %s.", wrong);
  return ! wrong;
}

/* One run of the network over the map. */
static gboolean
run_network (const DiffusionModel *model, DiffusionPicture *picture, DenoiseMap *map, double largest,
             const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  ReverseJob job
      = { .level = get_level_row, .largest = largest * map->factor, .looking = ! map->even, .user_data = map };

  map->picture = picture;
  return process_reverse (model, picture, &job, options, cancellable, error);
}

/* Both runs, for a strength above 1. */
static gboolean
run_twice (const DiffusionModel *model, DiffusionPicture *picture, DenoiseMap *map, double largest, double amount,
           const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  const double share = options->steps / (options->steps + 1.0);
  const Part   parts[2]
      = { { .options = options, .share = share }, { .options = options, .from = share, .share = 1 - share } };
  DiffusionOptions first = part_get_options (&parts[0]), second = part_get_options (&parts[1]);
  g_autoptr (DiffusionPicture) smoother = NULL;

  second.steps = 1;
  second.on_step = NULL; /* it is no step of the chain */
  if (! run_network (model, picture, map, largest, &first, cancellable, error)
      || ! (smoother = diffusion_picture_copy (picture, error)))
    return FALSE;
  map->factor = SECOND;
  return run_network (model, smoother, map, largest, &second, cancellable, error)
         && smooth_towards (picture, smoother, amount, cancellable, error);
}

gboolean
diffusion_denoise (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
                   const DiffusionNoise *noise, double strength, const DiffusionOptions *options,
                   GCancellable *cancellable, GError **error)
{
  DenoiseMap map = { picture, mask, noise, 1, TRUE };
  double     largest = 0;
  g_autoptr (DiffusionPicture) original = NULL;

  if (! check_arguments (picture, mask, noise, strength, error))
    return FALSE;
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    {
      largest = MAX (largest, noise->curve[i]);
      map.even = map.even && noise->curve[i] == noise->curve[0];
    }
  /* No noise anywhere: the picture is what it is. */
  if (largest * strength == 0)
    return TRUE;
  if (strength > 1)
    return run_twice (model, picture, &map, largest, strength - 1, options, cancellable, error);
  if (strength < 1 && ! (original = diffusion_picture_copy (picture, error)))
    return FALSE;
  return run_network (model, picture, &map, largest, options, cancellable, error)
         && (! original || diffusion_denoise_blend (original, picture, strength, 0, 1, picture, error));
}
