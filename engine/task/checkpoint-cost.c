/* What work with a checkpoint will cost.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include "net/model.h"

#include <cblas.h>
#include <math.h>

/* Of OpenBLAS's own speed on large products, what the networks reach, directly counted: for users' eyes. */
#define USE 0.8

/* A product that is measured: large enough for the peak, small enough for 20 ms. */
#define EDGE  768
#define TRIES 3

/* The pieces that the autoencoder works on are at most so large. */
#define PIECE_PIXELS 640

static void
multiply (int task, int thread, gpointer data)
{
  float *a = (float *) data + (gsize) task * 3 * EDGE * EDGE, *b = a + EDGE * EDGE, *c = b + EDGE * EDGE;

  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, EDGE, EDGE, EDGE, 1.0f, a, EDGE, b, EDGE, 0.0f, c, EDGE);
}

/* Floating point operations per second of all cores. */
static double
measure_speed (int threads)
{
  static GMutex lock;
  static double speed;
  static int    measured_threads = -1;

  g_mutex_lock (&lock);
  if (measured_threads != threads)
    {
      g_autoptr (Pool) pool = compute_get ("blas", NULL) ? pool_new (threads, NULL) : NULL;
      int    count = pool ? pool_get_threads (pool) : 0;
      float *memory = pool ? core_alloc0 ((gsize) count * 3, EDGE * EDGE * sizeof (float), NULL) : NULL;
      double best = INFINITY;

      for (int i = 0; i < TRIES && memory; i++)
        {
          gint64 start = g_get_monotonic_time ();

          pool_run (pool, count, multiply, memory);
          best = MIN (best, (double) (g_get_monotonic_time () - start) * 1e-6);
        }
      core_free (memory);
      speed = 2.0 * EDGE * EDGE * EDGE * count / MAX (best, 1e-6);
      measured_threads = threads;
    }
  g_mutex_unlock (&lock);
  return speed;
}

static void
count_unet (SdRun *run, const SdCheckpoint *checkpoint, int width, int height, int samples)
{
  const SdUnet *unet = sd_checkpoint_get_unet (checkpoint);
  SdTensor      x = sd_tensor_new (run, samples, height, width, sd_unet_get_channels (unet)), y;
  SdTensor      context
      = sd_tensor_new (run, samples, 1, PROMPT_LENGTH, sd_text_get_width (sd_checkpoint_get_text (checkpoint)));

  y = sd_unet_forward (run, unet, &x, 0, &context);
  sd_tensor_free (run, &x);
  sd_tensor_free (run, &context);
  sd_tensor_free (run, &y);
}

static void
count_autoencoder (SdRun *run, const SdCheckpoint *checkpoint, int width, int height, gboolean encode)
{
  const SdVae *vae = sd_checkpoint_get_vae (checkpoint);
  int          scale = encode ? 1 : LATENT_PIXELS;
  SdTensor     x = sd_tensor_new (run, 1, height / scale, width / scale, encode ? 3 : LATENT_CHANNELS);
  SdTensor     y = encode ? sd_vae_encode (run, vae, &x) : sd_vae_decode (run, vae, &x);

  sd_tensor_free (run, &x);
  sd_tensor_free (run, &y);
}

/* One run of the checkpoint at this size, which is a multiple of CROP_MULTIPLE: adds to the operations. */
static void
count_work (const SdCheckpoint *checkpoint, const DiffusionCheckpoint *info, int width, int height, int size,
            const DiffusionOptions *options, double *bytes, double *flops)
{
  double guidance = options->guidance < 0 ? info->guidance : options->guidance;
  int    piece_width = MIN (width, PIECE_PIXELS), piece_height = MIN (height, PIECE_PIXELS);
  double pieces = (double) width * height / ((double) piece_width * piece_height);
  g_autoptr (SdRun) unet = sd_run_new_dry (), encoder = sd_run_new_dry (), decoder = sd_run_new_dry ();

  count_unet (unet, checkpoint, MIN (width, size) / LATENT_PIXELS, MIN (height, size) / LATENT_PIXELS,
              guidance == 1 ? 1 : 2);
  count_autoencoder (encoder, checkpoint, piece_width, piece_height, TRUE);
  count_autoencoder (decoder, checkpoint, piece_width, piece_height, FALSE);
  /* A file for inpainting also wants a latent of what is known. */
  *flops += unet->flops * options->steps
                * latent_count_tiles (width / LATENT_PIXELS, height / LATENT_PIXELS, size / LATENT_PIXELS)
            + (encoder->flops * (info->inpainting ? 2 : 1) + decoder->flops) * pieces;
  *bytes = MAX (*bytes, (double) MAX (unet->dry_peak + unet->dry_shared, MAX (encoder->dry_peak + encoder->dry_shared,
                                                                              decoder->dry_peak + decoder->dry_shared))
                            + 3.0 * 4 * 3 * width * height);
}

void
diffusion_model_estimate_cost (const DiffusionModel *model, int width, int height, const DiffusionBox *region,
                               gboolean fill, const DiffusionOptions *options, double *bytes, double *seconds)
{
  SdCheckpoint              *checkpoint = model_get_checkpoint (model);
  const DiffusionCheckpoint *info = checkpoint ? sd_checkpoint_get_info (checkpoint) : NULL;
  int                        size, widths[2], heights[2], count;
  double                     flops = 0;

  *bytes = *seconds = 0;
  if (! checkpoint || region->width < 1 || region->height < 1)
    return;
  size = options->size ? options->size : info->native_size;
  count = checkpoint_plan_work (width, height, *region, size, fill, widths, heights);
  for (int i = 0; i < count; i++)
    count_work (checkpoint, info, widths[i], heights[i], size, options, bytes, &flops);
  *seconds = flops / (USE * measure_speed (options->threads));
}
