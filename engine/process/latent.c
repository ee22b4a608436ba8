/* The reverse process on the latents of a checkpoint.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "latent.h"

#include <math.h>
#include <string.h>

/* Stream of the noise that the original is noised with; the samplers' are the steps' numbers. */
#define NOISE_STREAM 0x80000000u

/* Strengths come as single precision: a timestep less is surely lower. */
#define TIMESTEP_SLACK 0.01

/* ---- schedule ---- */

double
latent_sigma (const float *alphas, double timestep)
{
  int    t = CLAMP ((int) timestep, 0, SD_TIMESTEPS - 2);
  double share = CLAMP (timestep - t, 0, 1);
  double low = log ((1 - (double) alphas[t]) / (double) alphas[t]);
  double high = log ((1 - (double) alphas[t + 1]) / (double) alphas[t + 1]);

  return exp (0.5 * (low + share * (high - low)));
}

void
latent_schedule_init (LatentSchedule *schedule, const float *alphas, double strength, int steps)
{
  double first = MAX (strength * SD_TIMESTEPS - 1, 1);

  schedule->steps = steps;
  schedule->sigmas = g_new0 (double, (gsize) steps + 1);
  schedule->timesteps = g_new (double, (gsize) steps);
  for (int i = 0; i < steps; i++)
    {
      schedule->timesteps[i] = first * (1 - (double) i / steps);
      schedule->sigmas[i] = latent_sigma (alphas, schedule->timesteps[i]);
    }
}

void
latent_schedule_clear (LatentSchedule *schedule)
{
  g_clear_pointer (&schedule->sigmas, g_free);
  g_clear_pointer (&schedule->timesteps, g_free);
}

/* ---- denoiser ---- */

gboolean
latent_fits_tile (int width, int height, int tile)
{
  return 2 * MAX (width, height) <= 3 * tile && 16 * (gint64) width * height <= 25 * (gint64) tile * tile;
}

/* Tiles along a side: evenly spread, overlapping by a quarter at least.  The step is of whole granules, so that
 * rounding a place down to one does not part two tiles further. */
static int
count_along (int size, int tile, int granule)
{
  int step = tile * 3 / 4 / granule * granule;

  return size <= tile ? 1 : 1 + (size - tile + step - 1) / step;
}

/* A side a little longer than tiles of the wanted edge reach would take one more of them: the edge may grow by a
 * quarter, if less is computed then. */
static int
choose_edge (int size, int wanted, int granule)
{
  int best = wanted;

  for (int edge = wanted; 4 * edge <= 5 * wanted; edge += granule)
    if (count_along (size, edge, granule) * MIN (edge, size) < count_along (size, best, granule) * MIN (best, size))
      best = edge;
  return best;
}

static int
place_along (int size, int tile, int count, int index, int granule)
{
  return count == 1 ? 0 : (int) ((gint64) index * (size - tile) / (count - 1)) / granule * granule;
}

LatentTiles
latent_get_tiles (const SdUnet *unet, int width, int height, int wanted)
{
  int granule = sd_unet_get_multiple (unet);
  /* A tile of one granule could not overlap the next. */
  int edge = MAX (wanted, 2 * granule);
  int across = choose_edge (width, edge, granule), down = choose_edge (height, edge, granule);

  if (latent_fits_tile (width, height, edge))
    return (LatentTiles){ width, height, 1, 1 };
  return (LatentTiles){ MIN (width, across), MIN (height, down), count_along (width, across, granule),
                        count_along (height, down, granule) };
}

/* A tile's weight falls towards its edges, unless they are the latent's. */
static float
weigh (int at, int size, int first, int whole)
{
  int   margin = MAX (size / 4, 1);
  float low = first == 0 ? 1.0f : (float) (at + 1) / (float) margin;
  float high = first + size == whole ? 1.0f : (float) (size - at) / (float) margin;

  return MIN (1.0f, MIN (low, high));
}

typedef struct
{
  int x, y, width, height;
} Tile;

static Tile
place_tile (const SdUnet *unet, int width, int height, const LatentTiles *tiles, int index)
{
  int granule = sd_unet_get_multiple (unet);

  return (Tile){ place_along (width, tiles->width, tiles->across, index % tiles->across, granule),
                 place_along (height, tiles->height, tiles->down, index / tiles->across, granule), tiles->width,
                 tiles->height };
}

int
latent_count_tiles (const SdUnet *unet, int width, int height, int wanted, DiffusionBox part)
{
  LatentTiles tiles = latent_get_tiles (unet, width, height, wanted);
  int         count = 0;

  for (int i = 0; i < tiles.across * tiles.down; i++)
    {
      Tile tile = place_tile (unet, width, height, &tiles, i);

      count += tile.x < part.x + part.width && part.x < tile.x + tile.width && tile.y < part.y + part.height
               && part.y < tile.y + tile.height;
    }
  return count;
}

static gboolean
is_lower (float strength, double timestep)
{
  return (double) strength * SD_TIMESTEPS - 1 < timestep - TIMESTEP_SLACK;
}

/* Whether the strength of any latent in a tile reaches a timestep. */
static gboolean
is_reached (const float *strength, int width, const Tile *tile, double timestep)
{
  if (! strength)
    return TRUE;
  for (int v = tile->y; v < tile->y + tile->height; v++)
    for (int u = tile->x; u < tile->x + tile->width; u++)
      if (! is_lower (strength[(gsize) v * (gsize) width + (gsize) u], timestep))
        return TRUE;
  return FALSE;
}

int
latent_count_reached (const SdUnet *unet, int wanted, const LatentJob *job, const LatentSchedule *schedule)
{
  LatentTiles tiles = latent_get_tiles (unet, job->width, job->height, wanted);
  int         count = 0;

  for (int i = 0; i < tiles.across * tiles.down; i++)
    {
      Tile tile = place_tile (unet, job->width, job->height, &tiles, i);

      count += is_reached (job->strength, job->width, &tile, schedule->timesteps[schedule->steps - 1]);
    }
  return count;
}

/* The network's input for one tile, once for each prompt. */
static void
fill_input (const LatentDenoiser *d, int width, const Tile *tile, const float *x, double sigma, SdTensor *input)
{
  float scale = (float) (1 / sqrt (1 + sigma * sigma)), *to = input->data;
  gsize sample = (gsize) tile->width * (gsize) tile->height * (gsize) input->c;

  for (int v = 0; v < tile->height; v++)
    for (int u = 0; u < tile->width; u++, to += input->c)
      {
        gsize at = (gsize) (tile->y + v) * (gsize) width + (gsize) (tile->x + u);

        for (gsize c = 0; c < LATENT_CHANNELS; c++)
          to[c] = x[at * LATENT_CHANNELS + c] * scale;
        if (input->c > LATENT_CHANNELS)
          memcpy (to + LATENT_CHANNELS, d->hole + at * 5, 5 * sizeof (float));
      }
  for (int n = 1; n < input->n; n++)
    memcpy (input->data + (gsize) n * sample, input->data, sample * sizeof (float));
}

/* Adds the tile's prediction, weighted. */
static void
add_output (const LatentDenoiser *d, int width, int height, const Tile *tile, const float *x, double sigma,
            const SdTensor *output, float *clean, float *weights)
{
  double scale = 1 / sqrt (1 + sigma * sigma);
  /* D = x - sigma eps, or with x' = x scale:  D = scale x' - sigma scale v. */
  float        keep = (float) (d->v ? scale * scale : 1), take = (float) (d->v ? sigma * scale : sigma);
  gsize        sample = (gsize) tile->width * (gsize) tile->height * LATENT_CHANNELS;
  const float *out = output->data;

  for (int v = 0; v < tile->height; v++)
    for (int u = 0; u < tile->width; u++, out += LATENT_CHANNELS)
      {
        gsize at = (gsize) (tile->y + v) * (gsize) width + (gsize) (tile->x + u);
        float weight = weigh (u, tile->width, tile->x, width) * weigh (v, tile->height, tile->y, height);

        for (gsize c = 0; c < LATENT_CHANNELS; c++)
          {
            float value = out[c];

            if (output->n == 2)
              value = out[sample + c] + (float) d->guidance * (value - out[sample + c]);
            clean[at * LATENT_CHANNELS + c] += weight * (keep * x[at * LATENT_CHANNELS + c] - take * value);
          }
        weights[at] += weight;
      }
}

gboolean
latent_denoise (const LatentDenoiser *d, int width, int height, const float *x, double sigma, double timestep,
                float *clean, GError **error)
{
  SdRun               *run = d->run;
  gsize                count = (gsize) width * (gsize) height;
  core_autofree float *weights = core_alloc0 (count, sizeof (float), error);
  LatentTiles          tiles = latent_get_tiles (d->unet, width, height, d->tile);

  if (! weights)
    return FALSE;
  memset (clean, 0, count * LATENT_CHANNELS * sizeof (float));
  for (int i = 0; i < tiles.across * tiles.down && ! run->error; i++)
    {
      Tile     tile = place_tile (d->unet, width, height, &tiles, i);
      SdTensor input, output;

      if (! is_reached (d->strength, width, &tile, d->least))
        continue;
      input = sd_tensor_new (run, d->context->n, tile.height, tile.width, sd_unet_get_channels (d->unet));
      if (run->error)
        break;
      fill_input (d, width, &tile, x, sigma, &input);
      output = sd_unet_forward (run, d->unet, &input, (float) timestep, d->context);
      if (! run->error)
        add_output (d, width, height, &tile, x, sigma, &output, clean, weights);
      sd_tensor_free (run, &input);
      sd_tensor_free (run, &output);
    }
  for (gsize i = 0; i < count && ! run->error; i++)
    for (gsize c = 0; c < LATENT_CHANNELS; c++)
      clean[i * LATENT_CHANNELS + c] /= weights[i] > 0 ? weights[i] : 1;
  return sd_run_finish (run, error);
}

/* ---- reverse process ---- */

/* x = original + sigma noise, for all latents or for those that are not reached yet. */
static void
noise_original (const LatentJob *job, double sigma, double timestep, gboolean all, float *x)
{
  for (int v = 0; v < job->height; v++)
    for (int u = 0; u < job->width; u++)
      {
        gsize at = (gsize) v * (gsize) job->width + (gsize) u;
        float noise[4] = { 0 };

        if (! all && ! (job->strength && is_lower (job->strength[at], timestep)))
          continue;
        if (sigma > 0)
          random_gaussian4 (job->seed, NOISE_STREAM, job->origin_x + u, job->origin_y + v, noise);
        for (gsize c = 0; c < LATENT_CHANNELS; c++)
          x[at * LATENT_CHANNELS + c]
              = (job->original ? job->original[at * LATENT_CHANNELS + c] : 0) + (float) sigma * noise[c];
      }
}

/* Latents that are never reached are what they were, whatever the network believes, or is not asked. */
static void
put_known (const LatentJob *job, double least, float *clean)
{
  for (gsize i = 0; i < (gsize) job->width * (gsize) job->height && job->strength; i++)
    for (gsize c = 0; c < LATENT_CHANNELS && is_lower (job->strength[i], least); c++)
      clean[i * LATENT_CHANNELS + c] = job->original ? job->original[i * LATENT_CHANNELS + c] : 0;
}

/* One transition of all latents: their level is one.  level: memory for a row. */
static void
step_down (const LatentJob *job, const LatentSchedule *schedule, int i, DiffusionSampler sampler, const float *clean,
           const float *before, float *level, float *x)
{
  double     first = schedule->sigmas[0];
  Transition t = { sampler,
                   schedule->sigmas[i] / first,
                   schedule->sigmas[i + 1] / first,
                   i > 0 ? schedule->sigmas[i - 1] / first : 0,
                   job->seed,
                   (guint32) i };
  gsize      row = (gsize) job->width * LATENT_CHANNELS;

  for (int u = 0; u < job->width; u++)
    level[u] = (float) schedule->sigmas[i];
  for (gsize v = 0; v < (gsize) job->height; v++)
    transition_values (&t, LATENT_CHANNELS, job->origin_x, job->origin_y + (int) v, job->width, level, clean + v * row,
                       before + v * row, x + v * row);
}

gboolean
latent_reverse (const LatentDenoiser *denoiser, const LatentJob *job, const LatentSchedule *schedule,
                DiffusionSampler sampler, float *x, GError **error)
{
  gsize          count = (gsize) job->width * (gsize) job->height * LATENT_CHANNELS;
  float         *clean = core_alloc (count, sizeof (float), error);
  float         *before = clean ? core_alloc0 (count, sizeof (float), error) : NULL;
  float         *level = before ? core_alloc ((gsize) job->width, sizeof (float), error) : NULL;
  gboolean       success = level != NULL;
  LatentDenoiser own = *denoiser;

  own.strength = job->strength;
  own.least = schedule->timesteps[schedule->steps - 1];
  if (success)
    noise_original (job, schedule->sigmas[0], schedule->timesteps[0], TRUE, x);
  for (int i = 0; i < schedule->steps && success; i++)
    {
      float *other = before;

      success = latent_denoise (&own, job->width, job->height, x, schedule->sigmas[i], schedule->timesteps[i], clean,
                                error);
      if (! success)
        break;
      put_known (job, own.least, clean);
      step_down (job, schedule, i, sampler, clean, before, level, x);
      noise_original (job, schedule->sigmas[i + 1], schedule->timesteps[i], FALSE, x);
      if (job->done)
        job->done (i, schedule, clean, x, job->user_data);
      before = clean;
      clean = other;
    }
  core_free (clean);
  core_free (before);
  core_free (level);
  return success;
}
