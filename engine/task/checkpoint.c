/* One piece of work with a checkpoint: encode, reverse, decode.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include "net/model.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

/* The autoencoder works on pieces of this many pixels on a side, or up to PIECE_MOST where that saves work, which
 * overlap and are blended: whole pictures would need some 3 kB of memory for each pixel. */
#define PIECE         512
#define PIECE_MOST    640
#define PIECE_OVERLAP 128

/* ---- session ---- */

static void
report (CheckpointSession *session, double done)
{
  double fraction = session->from + session->share * MIN (done / MAX (session->work, 1), 1);

  if (session->options->progress && fraction > session->reported)
    session->options->progress (session->reported = fraction, session->options->progress_data);
}

static void
on_layer (gpointer data)
{
  CheckpointSession *session = data;

  report (session, session->run->flops - session->before);
}

/* The prompt, and the negative one where there is guidance. */
static gboolean
encode_prompts (CheckpointSession *session, GError **error)
{
  const SdText           *text = sd_checkpoint_get_text (session->checkpoint);
  const Tokenizer        *tokenizer = sd_checkpoint_get_tokenizer (session->checkpoint);
  const DiffusionOptions *options = session->options;
  Prompt                  prompts[2];

  prompt_parse (tokenizer, options->prompt, sd_text_get_padding (text), &prompts[0]);
  prompt_parse (tokenizer, options->negative, sd_text_get_padding (text), &prompts[1]);
  session->context = sd_text_encode (session->run, text, prompts, session->guidance == 1 ? 1 : 2);
  return sd_run_finish (session->run, error);
}

int
diffusion_model_count_dropped (const DiffusionModel *model, const char *prompt)
{
  SdCheckpoint *checkpoint = model_get_checkpoint (model);
  Prompt        parsed = { .dropped = 0 };

  if (checkpoint)
    prompt_parse (sd_checkpoint_get_tokenizer (checkpoint), prompt, PROMPT_END, &parsed);
  return parsed.dropped;
}

/* Weights that are numbers, but far too large, give results that are none: these must not get any further. */
static gboolean
check_result (const CheckpointSession *session, const float *values, gsize count, GError **error)
{
  double sum = 0;

  for (gsize i = 0; i < count; i++)
    sum += (double) values[i];
  if (isfinite (sum))
    return TRUE;
  g_set_error (
      error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
      C_ ("error",
          "%s gives no picture: its networks' results are no numbers.  The file is damaged, or no Stable Diffusion "
          "checkpoint."),
      tensor_file_get_path (sd_checkpoint_get_file (session->checkpoint)));
  return FALSE;
}

/* Colours of latents, for previews: the best linear guess (least squares) on a chart that is encoded for this. */
static gboolean
fit_preview (CheckpointSession *session, GError **error)
{
  enum
  {
    SIDE = 128,
    N = LATENT_CHANNELS + 1
  };
  SdRun   *run = session->run;
  SdTensor chart = sd_tensor_new (run, 1, SIDE, SIDE, 3), moments;
  double   a[N][N + 3] = { { 0 } };
  gboolean success;

  for (int i = 0; i < SIDE * SIDE && ! run->error; i++)
    {
      /* Patches of 16 pixels, each of one colour. */
      float noise[4];

      random_gaussian4 (0, 0, i % SIDE / 16, i / SIDE / 16, noise);
      for (int c = 0; c < 3; c++)
        chart.data[i * 3 + c] = tanhf (noise[3] * 0.5f + noise[c] * 0.5f);
    }
  moments = sd_vae_encode (run, sd_checkpoint_get_vae (session->checkpoint), &chart);
  success = sd_run_finish (run, error) && check_result (session, moments.data, sd_tensor_count (&moments), error);
  for (int i = 0; i < (SIDE / 8) * (SIDE / 8) && success; i++)
    {
      const float *pixel
          = chart.data + ((gsize) (i / (SIDE / 8) * 8 + 4) * SIDE + (gsize) (i % (SIDE / 8) * 8 + 4)) * 3;
      double row[N + 3];

      for (int c = 0; c < LATENT_CHANNELS; c++)
        row[c] = (double) (moments.data[i * 8 + c] * SD_LATENT_FACTOR);
      row[LATENT_CHANNELS] = 1;
      for (int c = 0; c < 3; c++)
        row[N + c] = 0.5 + 0.5 * (double) pixel[c];
      for (int j = 0; j < N; j++)
        for (int k = 0; k < N + 3; k++)
          a[j][k] += row[j] * row[k];
    }
  for (int j = 0; j < N; j++)
    a[j][j] += 1e-6;
  /* Gauss and Jordan; the matrix is positive definite. */
  for (int j = 0; j < N; j++)
    for (int i = 0; i < N; i++)
      {
        double factor = a[i][j] / a[j][j];

        for (int k = j; k < N + 3 && i != j; k++)
          a[i][k] -= factor * a[j][k];
      }
  for (int j = 0; j < N; j++)
    for (int c = 0; c < 3; c++)
      session->preview[j][c] = (float) (a[j][N + c] / a[j][j]);
  sd_tensor_free (run, &chart);
  sd_tensor_free (run, &moments);
  return success;
}

static gboolean
check_options (const DiffusionOptions *options, GError **error)
{
  const char *wrong = NULL;

  if (options->steps < 1 || options->steps > DIFFUSION_MAX_STEPS)
    wrong = "1 to 1000 steps";
  else if (! diffusion_sampler_get_name (options->sampler))
    wrong = "one of the samplers that there are";
  else if (! (options->guidance <= 100))
    wrong = "a guidance of at most 100";
  else if (options->size && (options->size < 64 || options->size > 2048 || options->size % CROP_MULTIPLE != 0))
    wrong = "a size that is a multiple of 64, up to 2048";
  else if (options->threads < 0)
    wrong = "threads of 0 or more";
  if (wrong)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "A Stable Diffusion checkpoint takes %s.", wrong);
  return ! wrong;
}

gboolean
checkpoint_session_open (CheckpointSession *session, SdCheckpoint *checkpoint, const DiffusionOptions *options,
                         GCancellable *cancellable, GError **error)
{
  const DiffusionCheckpoint *info = sd_checkpoint_get_info (checkpoint);

  *session = (CheckpointSession){ .checkpoint = checkpoint, .options = options, .share = 1 };
  if (! check_options (options, error))
    return FALSE;
  session->guidance = options->guidance < 0 ? info->guidance : options->guidance;
  session->size = options->size ? options->size : info->native_size;
  session->run = sd_run_new (options->threads, NULL, cancellable, error);
  if (! session->run || ! encode_prompts (session, error))
    return FALSE;
  session->v = (options->prediction ? options->prediction : info->prediction) == DIFFUSION_PREDICTION_V;
  return ! options->on_step || fit_preview (session, error);
}

void
checkpoint_session_close (CheckpointSession *session)
{
  sd_run_free (session->run);
  session->run = NULL;
}

/* ---- the autoencoder, in pieces ---- */

typedef struct
{
  int first, size; /* pixels, multiples of CROP_MULTIPLE but for the last */
} Span;

static int
count_spans (int size, int piece)
{
  int step = piece - PIECE_OVERLAP;

  return size <= piece ? 1 : 1 + (size - piece + step - 1) / step;
}

/* A side that is a little longer than pieces reach would take one more of them. */
int
checkpoint_get_piece (int size, int *count)
{
  int best = size <= PIECE_MOST ? size : PIECE;

  for (int piece = PIECE; size > PIECE_MOST && piece <= PIECE_MOST; piece += CROP_MULTIPLE)
    if (count_spans (size, piece) * piece < count_spans (size, best) * best)
      best = piece;
  *count = count_spans (size, best);
  return best;
}

static Span
get_span (int size, int index)
{
  int count, piece = checkpoint_get_piece (size, &count);

  if (count == 1)
    return (Span){ 0, size };
  return (Span){ (int) ((gint64) index * (size - piece) / (count - 1)) / CROP_MULTIPLE * CROP_MULTIPLE, piece };
}

/* Full inside, falling over the overlap towards another piece. */
static float
weigh (int at, Span span, int whole)
{
  float low = span.first == 0 ? 1.0f : ((float) at + 0.5f) / (PIECE_OVERLAP / 2);
  float high = span.first + span.size == whole ? 1.0f : ((float) (span.size - at) - 0.5f) / (PIECE_OVERLAP / 2);

  return CLAMP (MIN (low, high), 1e-3f, 1.0f);
}

static void
blend (const SdTensor *piece, int channels, Span across, Span down, int scale, int width, int height, float *values,
       float *weights)
{
  for (int y = 0; y < piece->h; y++)
    for (int x = 0; x < piece->w; x++)
      {
        gsize at = (gsize) (down.first / scale + y) * (gsize) (width / scale) + (gsize) (across.first / scale + x);
        const float *from = piece->data + ((gsize) y * (gsize) piece->w + (gsize) x) * (gsize) piece->c;
        float        weight = weigh (x * scale, across, width) * weigh (y * scale, down, height);

        for (gsize c = 0; c < (gsize) channels; c++)
          values[at * (gsize) channels + c] += weight * from[c];
        weights[at] += weight;
      }
}

static void
cut_picture (const DiffusionPicture *picture, Span across, Span down, SdTensor *piece)
{
  float *to = piece->data;

  for (int y = down.first; y < down.first + down.size; y++)
    {
      const float *row = picture->data + ((gsize) y * (gsize) picture->width + (gsize) across.first) * 3;

      for (int i = 0; i < across.size * 3; i++)
        *to++ = 2 * CLAMP (row[i], 0.0f, 1.0f) - 1;
    }
}

static void
cut_latent (const float *latent, int width, Span across, Span down, SdTensor *piece)
{
  float *to = piece->data;

  for (int y = down.first / LATENT_PIXELS; y < (down.first + down.size) / LATENT_PIXELS; y++)
    {
      const float *row
          = latent
            + ((gsize) y * (gsize) (width / LATENT_PIXELS) + (gsize) (across.first / LATENT_PIXELS)) * LATENT_CHANNELS;

      for (int i = 0; i < across.size / LATENT_PIXELS * LATENT_CHANNELS; i++)
        *to++ = row[i] / SD_LATENT_FACTOR;
    }
}

/* picture -> latent, or latent -> picture: the same but for what a piece is. */
static gboolean
run_autoencoder (CheckpointSession *session, gboolean encode, DiffusionPicture *picture, float *latent, GError **error)
{
  SdRun               *run = session->run;
  const SdVae         *vae = sd_checkpoint_get_vae (session->checkpoint);
  int                  width = picture->width, height = picture->height, across, down;
  int                  scale = encode ? LATENT_PIXELS : 1, channels = encode ? LATENT_CHANNELS : 3;
  gsize                count = (gsize) (width / scale) * (gsize) (height / scale);
  float               *values = encode ? latent : picture->data;
  core_autofree float *weights = core_alloc0 (count, sizeof (float), error);
  gboolean             success;

  if (! weights)
    return FALSE;
  checkpoint_get_piece (width, &across);
  checkpoint_get_piece (height, &down);
  if (! encode)
    memset (picture->data, 0, count * 3 * sizeof (float));
  for (int i = 0; i < across * down && ! run->error; i++)
    {
      Span     x = get_span (width, i % across), y = get_span (height, i / across);
      int      in = encode ? 1 : LATENT_PIXELS;
      SdTensor piece = sd_tensor_new (run, 1, y.size / in, x.size / in, encode ? 3 : LATENT_CHANNELS), out;

      if (run->error)
        break;
      if (encode)
        cut_picture (picture, x, y, &piece);
      else
        cut_latent (latent, width, x, y, &piece);
      out = encode ? sd_vae_encode (run, vae, &piece) : sd_vae_decode (run, vae, &piece);
      if (! run->error)
        blend (&out, channels, x, y, scale, width, height, values, weights);
      sd_tensor_free (run, &piece);
      sd_tensor_free (run, &out);
    }
  success = sd_run_finish (run, error) && check_result (session, values, count * (gsize) channels, error);
  for (gsize i = 0; i < count && success; i++)
    for (gsize c = 0; c < (gsize) channels; c++)
      {
        float *value = values + i * (gsize) channels + c;

        *value /= weights[i];
        *value = encode ? *value * SD_LATENT_FACTOR : 0.5f + 0.5f * CLAMP (*value, -1.0f, 1.0f);
      }
  /* Its buffers are of other sizes than the U-Net's. */
  sd_run_trim (run);
  return success;
}

/* ---- previews ---- */

typedef struct
{
  CheckpointSession   *session;
  const CheckpointJob *job;
  int                  width, height; /* latents */
} Preview;

/* A latent's colours, enlarged to the place in the task's picture that they belong to, divided by the reduction. */
static DiffusionPicture *
paint_latent (const Preview *preview, const float *latent, int reduction)
{
  const CheckpointJob *job = preview->job;
  float (*map)[3] = preview->session->preview;
  int left = job->content.x / LATENT_PIXELS, top = job->content.y / LATENT_PIXELS;
  int width = job->content.width / LATENT_PIXELS, height = job->content.height / LATENT_PIXELS;
  g_autoptr (DiffusionPicture) small = diffusion_picture_new (MAX (width, 1), MAX (height, 1), 3, NULL);

  for (int y = 0; small && y < small->height; y++)
    for (int x = 0; x < small->width; x++)
      {
        const float *z = latent + ((gsize) (top + y) * (gsize) preview->width + (gsize) (left + x)) * LATENT_CHANNELS;
        float       *pixel = small->data + ((gsize) y * (gsize) small->width + (gsize) x) * 3;

        for (int c = 0; c < 3; c++)
          {
            float value = map[LATENT_CHANNELS][c];

            for (int k = 0; k < LATENT_CHANNELS; k++)
              value += map[k][c] * z[k];
            pixel[c] = CLAMP (value, 0.0f, 1.0f);
          }
      }
  return small ? process_resize (small, (job->box.width + reduction - 1) / reduction,
                                 (job->box.height + reduction - 1) / reduction, NULL, NULL)
               : NULL;
}

static void
on_latent_step (int step, const LatentSchedule *schedule, const float *clean, const float *x, gpointer data)
{
  /* Latents have a standard deviation of 1, pictures on [0, 1] of about 1/4. */
  const double            to_level = SIGMA_DATA / (double) LEVEL_TO_SIGMA;
  Preview                *preview = data;
  const CheckpointJob    *job = preview->job;
  const DiffusionOptions *options = preview->session->options;
  int                     reduction = 1;
  g_autoptr (DiffusionPicture) prediction = NULL, state = NULL;

  /* A large region is worked on reduced: its preview need not be larger. */
  while (job->box.width > 2 * reduction * job->content.width)
    reduction *= 2;
  prediction = paint_latent (preview, clean, reduction);
  state = paint_latent (preview, x, reduction);
  /* No memory, no preview. */
  if (prediction && state)
    {
      DiffusionStep shown = { step + 1,
                              schedule->steps,
                              schedule->sigmas[step] * to_level,
                              schedule->sigmas[step + 1] * to_level,
                              prediction,
                              state,
                              job->box.x,
                              job->box.y,
                              reduction };

      options->on_step (&shown, options->step_data);
    }
}

/* ---- the work ---- */

/* As these files were trained: pixels are grey that are to be replaced, and no other, while a latent is all hole if any
 * of its pixels is. */
gboolean
checkpoint_make_hole (CheckpointSession *session, const CheckpointJob *job, float *hole, GError **error)
{
  int                  width = job->picture->width / LATENT_PIXELS, height = job->picture->height / LATENT_PIXELS;
  gsize                count = (gsize) width * (gsize) height;
  core_autofree float *latent = core_alloc0 (count, LATENT_CHANNELS * sizeof (float), error);
  g_autoptr (DiffusionPicture) known = ! latent ? NULL : diffusion_picture_copy (job->picture, error);

  if (! known)
    return FALSE;
  for (gsize i = 0; i < (gsize) known->width * (gsize) known->height; i++)
    for (gsize c = 0; c < 3 && (! job->covered || job->covered[i]); c++)
      known->data[i * 3 + c] = 0.5f;
  if (! run_autoencoder (session, TRUE, known, latent, error))
    return FALSE;
  for (gsize i = 0; i < count; i++)
    {
      hole[i * 5] = ! job->share || job->share[i] > 0 ? 1 : 0;
      memcpy (hole + i * 5 + 1, latent + i * LATENT_CHANNELS, LATENT_CHANNELS * sizeof (float));
    }
  return TRUE;
}

double
checkpoint_count_run (const CheckpointSession *session, int width, int height, gboolean fresh, int tiles)
{
  CheckpointWork work;
  int            encodings
      = (fresh ? 0 : 1) + (sd_unet_get_channels (sd_checkpoint_get_unet (session->checkpoint)) > LATENT_CHANNELS);

  checkpoint_count_work (session->checkpoint, compute_get_default (COMPUTE_FILTERS, NULL), width, height, session->size,
                         session->context.n, &work);
  return session->options->steps * tiles * work.call + work.encode * encodings + work.decode;
}

gboolean
checkpoint_run (CheckpointSession *session, const CheckpointJob *job, GError **error)
{
  const SdUnet  *unet = sd_checkpoint_get_unet (session->checkpoint);
  int            width = job->picture->width / LATENT_PIXELS, height = job->picture->height / LATENT_PIXELS;
  gsize          count = (gsize) width * (gsize) height;
  float         *memory = core_alloc0 (count, (2 * LATENT_CHANNELS + 5 + 1) * sizeof (float), error);
  float         *original = memory, *x = memory + count * LATENT_CHANNELS, *hole = x + count * LATENT_CHANNELS;
  float         *strength = memory && job->share ? hole + count * 5 : NULL;
  gboolean       inpainting = sd_unet_get_channels (unet) > LATENT_CHANNELS, success = memory != NULL;
  LatentSchedule schedule = { 0 };
  LatentDenoiser denoiser
      = { session->run, unet, session->v, &session->context, session->guidance, NULL, session->size / LATENT_PIXELS };
  Preview   preview = { session, job, width, height };
  LatentJob latent = { width,
                       height,
                       job->fresh ? NULL : original,
                       strength,
                       job->seed,
                       job->origin_x,
                       job->origin_y,
                       session->options->on_step ? on_latent_step : NULL,
                       &preview };

  for (gsize i = 0; i < count && strength; i++)
    strength[i] = (float) job->strength * job->share[i];
  latent_schedule_init (&schedule, sd_checkpoint_get_alphas (session->checkpoint), job->strength,
                        session->options->steps);
  session->work = checkpoint_count_run (session, job->picture->width, job->picture->height, job->fresh,
                                        latent_count_reached (unet, denoiser.tile, &latent, &schedule));
  session->before = session->run->flops;
  session->run->after_layer = on_layer;
  session->run->after_layer_data = session;
  if (success && ! job->fresh)
    success = run_autoencoder (session, TRUE, job->picture, original, error);
  if (success && inpainting)
    success = checkpoint_make_hole (session, job, hole, error);
  denoiser.hole = inpainting ? hole : NULL;
  if (success)
    {
      success = latent_reverse (&denoiser, &latent, &schedule, session->options->sampler, x, error)
                && check_result (session, x, count * LATENT_CHANNELS, error);
      /* The U-Net is done with: its memory need not lie beside the decoder's large tensors. */
      sd_run_trim (session->run);
    }
  success = success && run_autoencoder (session, FALSE, job->picture, x, error);
  if (success)
    report (session, session->work);
  latent_schedule_clear (&schedule);
  core_free (memory);
  return success;
}
