/* How fast a Stable Diffusion checkpoint is here.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "bench.h"

#include "net/model.h"

#include <math.h>
#include <stdio.h>

#define LATENT_SIDE  64 /* 512 x 512 pixels */
#define STEP_TRIES   4
#define DECODE_TRIES 2
#define LOAD_TRIES   2

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

/* From the file to all that is there before a step: opened, looked through for values that are no numbers, a prompt
 * encoded. */
static gboolean
measure_loading (const Bench *bench, GError **error)
{
  const char *path = tensor_file_get_path (sd_checkpoint_get_file (model_get_checkpoint (bench->model)));
  double      best = INFINITY;

  for (int i = 0; i < LOAD_TRIES; i++)
    {
      gint64 start = g_get_monotonic_time ();
      g_autoptr (DiffusionModel) model = diffusion_model_load (path, error);
      const SdText *text = model ? sd_checkpoint_get_text (model_get_checkpoint (model)) : NULL;
      g_autoptr (SdRun) run = model ? sd_run_new (bench->threads, NULL, bench->cancellable, error) : NULL;
      SdTensor context;
      Prompt   prompt;

      if (! run)
        return FALSE;
      prompt_parse (sd_checkpoint_get_tokenizer (model_get_checkpoint (model)), "a wooden boat on a lake",
                    sd_text_get_padding (text), &prompt);
      context = sd_text_encode (run, text, &prompt, 1);
      sd_tensor_free (run, &context);
      if (! sd_run_finish (run, error))
        return FALSE;
      best = MIN (best, (double) (g_get_monotonic_time () - start) * 1e-6);
    }
  bench_tell (bench, "sd15_load_s", best);
  return TRUE;
}

static void
tell (const Bench *bench, const char *what, const char *type, double value)
{
  g_autofree char *key = g_strdup_printf ("sd15_%s_%s", what, type);

  bench_tell (bench, key, value);
}

/* The kernel counts the most memory from now on. */
static void
forget_peak (void)
{
  FILE *file = fopen ("/proc/self/clear_refs", "w");

  if (file)
    {
      fputs ("5", file);
      fclose (file);
    }
}

/* Seconds of one evaluation of the U-Net, or of one decoding: the best, and the first, which may lay weights out;
 * `flops`: what it amounts to, directly counted. */
static double
measure (SdRun *run, const SdCheckpoint *checkpoint, gboolean decode, double *first, double *flops)
{
  const SdUnet *unet = sd_checkpoint_get_unet (checkpoint);
  SdTensor      context = make_noise (run, 1, PROMPT_LENGTH, sd_text_get_width (sd_checkpoint_get_text (checkpoint)));
  SdTensor      x = make_noise (run, LATENT_SIDE, LATENT_SIDE, decode ? 4 : sd_unet_get_channels (unet)), y;
  double        best = INFINITY;

  for (int i = 0; i < (decode ? DECODE_TRIES : STEP_TRIES) && ! run->error; i++)
    {
      gint64 start = g_get_monotonic_time ();
      double before = run->flops, seconds;

      y = decode ? sd_vae_decode (run, sd_checkpoint_get_vae (checkpoint), &x)
                 : sd_unet_forward (run, unet, &x, 500, &context);
      seconds = (double) (g_get_monotonic_time () - start) * 1e-6;
      best = MIN (best, seconds);
      if (i == 0)
        *first = seconds;
      *flops = run->flops - before;
      sd_tensor_free (run, &y);
    }
  sd_tensor_free (run, &x);
  sd_tensor_free (run, &context);
  return best;
}

/* All figures of one back end. */
static gboolean
measure_backend (const Bench *bench, const ComputeBackend *backend, const char *type, GError **error)
{
  const SdCheckpoint *checkpoint = model_get_checkpoint (bench->model);
  g_autoptr (SdRun) run = sd_run_new (bench->threads, backend, bench->cancellable, error);
  double step, first, decode, flops = 0;

  if (! run)
    return FALSE;
  forget_peak ();
  step = measure (run, checkpoint, FALSE, &first, &flops);
  if (! sd_run_finish (run, error))
    return FALSE;
  tell (bench, "step_s", type, step);
  tell (bench, "step_effective_over_sgemm", type, flops / step * 1e-9 / bench->sgemm_gflops);
  tell (bench, "first_step_s", type, first);
  sd_run_trim (run);
  decode = measure (run, checkpoint, TRUE, &first, &flops);
  if (! sd_run_finish (run, error))
    return FALSE;
  tell (bench, "decode_s", type, decode);
  tell (bench, "decode_effective_over_sgemm", type, flops / decode * 1e-9 / bench->sgemm_gflops);
  tell (bench, "peak_mb", type, bench_read_status ("VmHWM") / 1024);
  return TRUE;
}

gboolean
bench_checkpoint (const Bench *bench, GError **error)
{
  static const char *const keys[]
      = { "step_s", "step_effective_over_sgemm", "first_step_s", "decode_s", "decode_effective_over_sgemm", "peak_mb" };
  const ComputeBackend *bf16 = compute_get ("onednn", NULL);

  if (! measure_loading (bench, error) || ! measure_backend (bench, compute_get ("blas", error), "f32", error))
    return FALSE;
  if (bf16)
    return measure_backend (bench, bf16, "bf16", error);
  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    tell (bench, keys[i], "bf16", NAN);
  return TRUE;
}
