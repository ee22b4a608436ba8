/* How fast a Stable Diffusion checkpoint is here.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "bench.h"

#include "net/model.h"

#include <math.h>

#define LATENT_SIDE  64 /* 512 x 512 pixels */
#define STEP_TRIES   4
#define DECODE_TRIES 2

static SdTensor
make_noise (SdRun *run, int h, int w, int channels)
{
  SdTensor x = sd_tensor_new (run, 1, h, w, channels);
  Random   random;

  random_init (&random, 1, 0);
  for (gsize i = 0; i < sd_tensor_count (&x) && ! run->error; i++)
    x.data[i] = (float) random_normal (&random);
  return x;
}

/* Seconds of one evaluation of the U-Net, or of one decoding; `flops`: what it amounts to, directly counted. */
static double
measure (SdRun *run, const SdCheckpoint *checkpoint, gboolean decode, double *flops)
{
  const SdUnet *unet = sd_checkpoint_get_unet (checkpoint);
  SdTensor      context = make_noise (run, 1, PROMPT_LENGTH, sd_text_get_width (sd_checkpoint_get_text (checkpoint)));
  SdTensor      x = make_noise (run, LATENT_SIDE, LATENT_SIDE, decode ? 4 : sd_unet_get_channels (unet)), y;
  double        best = INFINITY;

  for (int i = 0; i < (decode ? DECODE_TRIES : STEP_TRIES) && ! run->error; i++)
    {
      gint64 start = g_get_monotonic_time ();
      double before = run->flops;

      y = decode ? sd_vae_decode (run, sd_checkpoint_get_vae (checkpoint), &x)
                 : sd_unet_forward (run, unet, &x, 500, &context);
      best = MIN (best, (double) (g_get_monotonic_time () - start) * 1e-6);
      *flops = run->flops - before;
      sd_tensor_free (run, &y);
    }
  sd_tensor_free (run, &x);
  sd_tensor_free (run, &context);
  return best;
}

gboolean
bench_checkpoint (const Bench *bench, GError **error)
{
  const SdCheckpoint *checkpoint = model_get_checkpoint (bench->model);
  g_autoptr (SdRun) run = sd_run_new (bench->threads, bench->cancellable, error);
  double step, decode, flops = 0;

  if (! run)
    return FALSE;
  step = measure (run, checkpoint, FALSE, &flops);
  if (! sd_run_finish (run, error))
    return FALSE;
  bench_tell (bench, "sd15_step_s_f32", step);
  bench_tell (bench, "sd15_step_effective_over_sgemm_f32", flops / step * 1e-9 / bench->sgemm_gflops);
  sd_run_trim (run);
  decode = measure (run, checkpoint, TRUE, &flops);
  if (! sd_run_finish (run, error))
    return FALSE;
  bench_tell (bench, "sd15_decode_s_f32", decode);
  bench_tell (bench, "sd15_peak_mb", bench_read_status ("VmHWM") / 1024);
  return TRUE;
}
