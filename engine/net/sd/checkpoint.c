/* A checkpoint's networks together.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include "net/find.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

struct _SdCheckpoint
{
  TensorFile         *file;
  DiffusionCheckpoint info;
  Tokenizer          *tokenizer;
  SdText             *text;
  SdUnet             *unet;
  SdVae              *vae;
  float               alphas[SD_TIMESTEPS];
  gsize               parameters;
};

/* ---- weights that are no numbers ---- */

typedef struct
{
  const TensorFile *file;
  GPtrArray        *names;
  gsize            *counts;
  GError          **errors;
  GCancellable     *cancellable;
} Scan;

/* Parts that are read; the rest of a file (averaged weights, optimizer state) may be what it likes. */
static gboolean
is_used (const char *name)
{
  return g_str_has_prefix (name, "model.diffusion_model.") || g_str_has_prefix (name, "first_stage_model.")
         || sd_text_is_part (name);
}

static void
scan_tensor (int task, int thread, gpointer data)
{
  Scan       *scan = data;
  const char *name = scan->names->pdata[task];
  GError    **error = &scan->errors[thread];
  char        piece[65536];
  TensorView  view;
  gsize       size, most;

  if (*error || ! tensor_file_view (scan->file, name, &view) || view.type == TENSOR_OTHER)
    return;
  size = weight_size (view.type);
  most = sizeof piece / size;
  scan->counts[thread] += view.count;
  for (gsize first = 0;
       first < view.count && ! *error && ! g_cancellable_set_error_if_cancelled (scan->cancellable, error);
       first += most)
    {
      gsize count = MIN (most, view.count - first);

      if (tensor_file_fetch (scan->file, view.offset + first * size, count * size, piece, error)
          && ! weights_are_finite (view.type, count, piece))
        g_set_error (
            error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
            C_ ("error",
                "%s cannot be used: its tensor %s has values that are no numbers (NaN or infinity).  Download the "
                "file again, or choose another."),
            tensor_file_get_path (scan->file), name);
    }
}

static gboolean
scan_weights (SdCheckpoint *checkpoint, GCancellable *cancellable, GError **error)
{
  g_autoptr (Pool) pool = pool_new (0, error);
  g_autoptr (GPtrArray) names = NULL;
  g_autofree gsize   *counts = NULL;
  g_autofree GError **errors = NULL;
  Scan                scan;

  if (! pool)
    return FALSE;
  names = tensor_file_list (checkpoint->file, is_used);
  counts = g_new0 (gsize, (gsize) pool_get_threads (pool));
  errors = g_new0 (GError *, (gsize) pool_get_threads (pool));
  scan = (Scan){ checkpoint->file, names, counts, errors, cancellable };
  pool_run (pool, (int) names->len, scan_tensor, &scan);
  for (int i = 0; i < pool_get_threads (pool); i++)
    checkpoint->parameters += counts[i];
  return core_take_first_error (errors, pool_get_threads (pool), error);
}

/* ---- the noise schedule ---- */

/* How far half precision may round a table: 1 - a, of which sigma is made, is 0.00085 at first, and bf16 keeps less. */
#define ALPHA_ROUNDING 0.004f

/* Betas whose roots are linear (Rombach et al. 2022). */
static void
fill_alphas (float *alphas)
{
  const double low = sqrt (0.00085), high = sqrt (0.0120);
  double       product = 1;

  for (int t = 0; t < SD_TIMESTEPS; t++)
    {
      double root = low + (high - low) * t / (SD_TIMESTEPS - 1);

      product *= 1 - root * root;
      alphas[t] = (float) product;
    }
}

/* The least that is worked with: a schedule that ends in nothing but noise (Lin et al. 2024, "Common diffusion noise
 * schedules and sample steps are flawed") has a last value of 0, and no level for it. */
#define ALPHA_LEAST 5e-8f

/* The file's own, unless they are no schedule, or the usual one that was rounded with the weights: of a table in f16
 * the first noise level would be off by 7 %. */
static void
set_alphas (SdCheckpoint *checkpoint)
{
  static const int dims[] = { SD_TIMESTEPS };
  TensorView       view;
  float            own[SD_TIMESTEPS];
  gboolean         good, same = TRUE;

  fill_alphas (checkpoint->alphas);
  good = tensor_file_view (checkpoint->file, "alphas_cumprod", &view)
         && tensor_file_read (checkpoint->file, "alphas_cumprod", dims, 1, own, NULL);
  for (int t = 0; t < SD_TIMESTEPS && good; t++)
    {
      /* Rounded ones have neighbours that are the same. */
      good = own[t] >= 0 && own[t] < 1 && (t == 0 || own[t] <= own[t - 1]);
      own[t] = MAX (own[t], ALPHA_LEAST);
      same = same && fabsf (own[t] - checkpoint->alphas[t]) <= ALPHA_ROUNDING * checkpoint->alphas[t];
    }
  good = good && own[0] > own[SD_TIMESTEPS - 1];
  if (good && (view.type == TENSOR_F32 || ! same))
    memcpy (checkpoint->alphas, own, sizeof own);
}

/* ---- the prediction type ---- */

#define PROBE_SIZE 16

/* Correlation of the network's answer with the pure noise that it was given: this comes out again if the network
 * predicts the noise. */
static double
probe (const SdCheckpoint *checkpoint, SdRun *run)
{
  const SdText *text = checkpoint->text;
  int           channels = sd_unet_get_channels (checkpoint->unet);
  SdTensor      x = sd_tensor_new (run, 1, PROBE_SIZE, PROBE_SIZE, channels), context, y;
  double        product = 0, x_square = 0, y_square = 0;
  Prompt        prompt;

  for (gsize i = 0; i < PROBE_SIZE * PROBE_SIZE && ! run->error; i++)
    {
      float *values = x.data + i * (gsize) channels;

      random_gaussian4 (0, 0, (int) i % PROBE_SIZE, (int) i / PROBE_SIZE, values);
      /* For inpainting: all is hole. */
      for (int c = 4; c < channels; c++)
        values[c] = c == 4 ? 1 : 0;
    }
  prompt_parse (checkpoint->tokenizer, "", sd_text_get_padding (text), &prompt);
  context = sd_text_encode (run, text, &prompt, 1);
  y = sd_unet_forward (run, checkpoint->unet, &x, SD_TIMESTEPS - 1, &context);
  for (gsize i = 0; i < PROBE_SIZE * PROBE_SIZE && ! run->error; i++)
    for (gsize c = 0; c < 4; c++)
      {
        double a = (double) x.data[i * (gsize) channels + c], b = (double) y.data[i * 4 + c];

        product += a * b;
        x_square += a * a;
        y_square += b * b;
      }
  sd_tensor_free (run, &x);
  sd_tensor_free (run, &context);
  sd_tensor_free (run, &y);
  return product / sqrt (x_square * y_square + 1e-30);
}

/* All that depends on the prediction needs it, sizes among it: so it is known from the start. */
static gboolean
find_prediction (SdCheckpoint *checkpoint, GCancellable *cancellable, GError **error)
{
  DiffusionCheckpoint *info = &checkpoint->info;
  g_autoptr (SdRun) run = NULL;
  double correlation;

  if (info->prediction != DIFFUSION_PREDICTION_AUTO)
    return TRUE;
  /* For one call on 16 x 16 values, laying all weights out for another back end would be most of the work. */
  run = sd_run_new (0, compute_get ("blas", NULL), cancellable, error);
  if (! run)
    return FALSE;
  correlation = probe (checkpoint, run);
  info->prediction = correlation > 0.5 ? DIFFUSION_PREDICTION_EPSILON : DIFFUSION_PREDICTION_V;
  info->native_size = sd_family_find_size (checkpoint->file, info);
  return sd_run_finish (run, error);
}

/* ---- */

static gboolean
bind_networks (SdCheckpoint *checkpoint, GError **error)
{
  g_autofree char *vocabulary = NULL;

  checkpoint->text = sd_text_new (checkpoint->file, error);
  if (! checkpoint->text)
    return FALSE;
  checkpoint->unet = sd_unet_new (checkpoint->file, sd_text_get_width (checkpoint->text), error);
  if (! checkpoint->unet)
    return FALSE;
  checkpoint->vae = sd_vae_new (checkpoint->file, error);
  if (! checkpoint->vae)
    return FALSE;
  vocabulary = find_model_file ("clip-vocabulary.txt.gz", error);
  checkpoint->tokenizer = vocabulary ? tokenizer_new (vocabulary, error) : NULL;
  return checkpoint->tokenizer != NULL;
}

SdCheckpoint *
sd_checkpoint_new (TensorFile *file, GCancellable *cancellable, GError **error)
{
  SdCheckpoint *checkpoint = g_new0 (SdCheckpoint, 1);

  checkpoint->file = file;
  if (sd_family_find (file, &checkpoint->info, error) && bind_networks (checkpoint, error)
      && scan_weights (checkpoint, cancellable, error) && find_prediction (checkpoint, cancellable, error))
    {
      set_alphas (checkpoint);
      return checkpoint;
    }
  sd_checkpoint_free (checkpoint);
  return NULL;
}

void
sd_checkpoint_free (SdCheckpoint *checkpoint)
{
  if (! checkpoint)
    return;
  sd_vae_free (checkpoint->vae);
  sd_unet_free (checkpoint->unet);
  sd_text_free (checkpoint->text);
  tokenizer_free (checkpoint->tokenizer);
  tensor_file_free (checkpoint->file);
  g_free (checkpoint);
}

const DiffusionCheckpoint *
sd_checkpoint_get_info (const SdCheckpoint *checkpoint)
{
  return &checkpoint->info;
}

const TensorFile *
sd_checkpoint_get_file (const SdCheckpoint *checkpoint)
{
  return checkpoint->file;
}

const Tokenizer *
sd_checkpoint_get_tokenizer (const SdCheckpoint *checkpoint)
{
  return checkpoint->tokenizer;
}

const SdText *
sd_checkpoint_get_text (const SdCheckpoint *checkpoint)
{
  return checkpoint->text;
}

const SdUnet *
sd_checkpoint_get_unet (const SdCheckpoint *checkpoint)
{
  return checkpoint->unet;
}

const SdVae *
sd_checkpoint_get_vae (const SdCheckpoint *checkpoint)
{
  return checkpoint->vae;
}

gsize
sd_checkpoint_count_parameters (const SdCheckpoint *checkpoint)
{
  return checkpoint->parameters;
}

const float *
sd_checkpoint_get_alphas (const SdCheckpoint *checkpoint)
{
  return checkpoint->alphas;
}
