/* The networks of Stable Diffusion checkpoints: against what the original implementations made of tiny ones.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "process/latent.h"
#include "references.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

/* A family of checkpoints, and what runs it how closely: each network, whole chains, and what these start with. */
typedef struct
{
  const char *family, *backend;
  double      bar, chain_bar, start_bar;
} Variant;

static const Variant plain1 = { "sd1", "blas", 2e-3, 1e-2, 1e-4 }, plain2 = { "sd2", "blas", 2e-3, 1e-2, 1e-4 };
static const Variant sd1_bf16 = { "sd1", "onednn", 2e-2, 4e-2, 5e-3 }, sd2_bf16 = { "sd2", "onednn", 2e-2, 4e-2, 5e-3 };

/* ---- networks ---- */

typedef struct
{
  References r;
  SdText    *text;
  SdUnet    *unet;
  SdVae     *vae;
  double     bar;
} Networks;

static gboolean
networks_open (Networks *networks, const Variant *variant)
{
  GError *error = NULL;

  if (! references_open (&networks->r, variant->family, variant->backend))
    return FALSE;
  networks->bar = variant->bar;
  networks->text = sd_text_new (networks->r.checkpoint, &error);
  g_assert_no_error (error);
  networks->unet = sd_unet_new (networks->r.checkpoint, sd_text_get_width (networks->text), &error);
  g_assert_no_error (error);
  networks->vae = sd_vae_new (networks->r.checkpoint, &error);
  g_assert_no_error (error);
  return TRUE;
}

static void
networks_close (Networks *networks)
{
  sd_text_free (networks->text);
  sd_unet_free (networks->unet);
  sd_vae_free (networks->vae);
  references_close (&networks->r);
}

static void
check (Networks *networks, SdTensor result, const char *name)
{
  SdTensor reference = references_get (&networks->r, name);
  double   error;

  g_assert_no_error (networks->r.run->error);
  error = references_compare (&result, &reference);
  g_test_message ("%s: %.2e", name, error);
  g_assert_cmpfloat (error, <, networks->bar);
  sd_tensor_free (networks->r.run, &result);
  sd_tensor_free (networks->r.run, &reference);
}

#define PROMPT_2 "a photograph of an astronaut riding a horse"

static void
test_text (gconstpointer variant)
{
  g_autoptr (Tokenizer) tokenizer = references_open_tokenizer ();
  Networks networks;
  Prompt   prompt;

  if (! networks_open (&networks, variant))
    return;
  prompt_parse (tokenizer, PROMPT_2, sd_text_get_padding (networks.text), &prompt);
  check (&networks, sd_text_encode (networks.r.run, networks.text, &prompt, 1), "text.cond");
  prompt_parse (tokenizer, "", sd_text_get_padding (networks.text), &prompt);
  check (&networks, sd_text_encode (networks.r.run, networks.text, &prompt, 1), "text.uncond");
  networks_close (&networks);
}

static void
test_unet (gconstpointer variant)
{
  static const int timesteps[] = { 1, 500, 981 };
  Networks         networks;
  SdTensor         x, context;

  if (! networks_open (&networks, variant))
    return;
  x = references_get (&networks.r, "unet.x");
  context = references_get (&networks.r, "text.cond");
  for (gsize i = 0; i < G_N_ELEMENTS (timesteps); i++)
    {
      g_autofree char *name = g_strdup_printf ("unet.eps.t%d", timesteps[i]);

      check (&networks, sd_unet_forward (networks.r.run, networks.unet, &x, (float) timesteps[i], &context), name);
    }
  sd_tensor_free (networks.r.run, &x);
  sd_tensor_free (networks.r.run, &context);
  x = references_get (&networks.r, "unet.x.24x16");
  context = references_get (&networks.r, "text.uncond");
  check (&networks, sd_unet_forward (networks.r.run, networks.unet, &x, 321, &context), "unet.eps.24x16.t321");
  networks_close (&networks);
}

/* The first `channels` of x, or those from `first` on. */
static SdTensor
take_channels (SdRun *run, const SdTensor *x, int first, int channels)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, channels);

  for (gsize r = 0; r < sd_tensor_rows (x); r++)
    memcpy (y.data + r * (gsize) channels, x->data + r * (gsize) x->c + first, (gsize) channels * sizeof (float));
  return y;
}

static void
test_vae (gconstpointer variant)
{
  Networks networks;
  SdTensor picture, moments, z;

  if (! networks_open (&networks, variant))
    return;
  picture = references_get (&networks.r, "vae.image");
  moments = sd_vae_encode (networks.r.run, networks.vae, &picture);
  g_assert_no_error (networks.r.run->error);
  check (&networks, take_channels (networks.r.run, &moments, 0, 4), "vae.mean");
  check (&networks, take_channels (networks.r.run, &moments, 4, 4), "vae.logvar");
  z = references_get (&networks.r, "vae.z");
  check (&networks, sd_vae_decode (networks.r.run, networks.vae, &z), "vae.decoded");
  networks_close (&networks);
}

/* The most memory that the tensors of a decoding, or of the denoising of a latent of that size, took at a time. */
static gsize
get_peak (SdRun *run, const Networks *networks, gboolean decode)
{
  SdTensor x = sd_tensor_new (run, 1, 48, 40, 4), context, y;

  context = sd_tensor_new (run, 1, 1, 77, sd_text_get_width (networks->text));
  if (! run->dry)
    {
      memset (x.data, 0, sd_tensor_count (&x) * sizeof (float));
      memset (context.data, 0, sd_tensor_count (&context) * sizeof (float));
    }
  y = decode ? sd_vae_decode (run, networks->vae, &x) : sd_unet_forward (run, networks->unet, &x, 500, &context);
  g_assert_no_error (run->error);
  sd_tensor_free (run, &x);
  sd_tensor_free (run, &context);
  sd_tensor_free (run, &y);
  return run->peak;
}

/* What is foretold is what is taken, with what lies idle until it is used again. */
static void
test_memory (gconstpointer variant)
{
  const ComputeBackend *backend = compute_get (((const Variant *) variant)->backend, NULL);
  Networks              networks;

  if (! networks_open (&networks, variant))
    return;
  for (int decode = 0; decode < 2; decode++)
    {
      GError *error = NULL;
      g_autoptr (SdRun) dry = sd_run_new_dry (backend), run = sd_run_new (0, backend, NULL, &error);

      g_assert_no_error (error);
      g_assert_cmpuint (get_peak (dry, &networks, decode), ==, get_peak (run, &networks, decode));
      g_assert_cmpuint (run->peak, >, 48 * 40 * 4 * sizeof (float));
    }
  networks_close (&networks);
}

static SdUnet *
open_inpainting_unet (Networks *networks)
{
  TensorView        view;
  g_autofree char  *path = g_build_filename (g_get_tmp_dir (), "inpainting.safetensors", NULL);
  GError           *error = NULL;
  g_autofree float *values = NULL;
  SdUnet           *unet;

  g_assert_true (tensor_file_view (networks->r.golden, "inpaint.input_weight", &view));
  values = g_new (float, view.count);
  g_assert_true (sd_fetch_weights (networks->r.golden, TENSOR_F32, view.offset, view.count, values, NULL));
  references_write_changed (networks->r.checkpoint, path, TENSOR_F32, "model.diffusion_model.input_blocks.0.0.weight",
                            view.dims, values, tensor_file_get_metadata (networks->r.checkpoint));
  tensor_file_free (networks->r.checkpoint);
  networks->r.checkpoint = tensor_file_open (path, &error);
  g_assert_no_error (error);
  unet = sd_unet_new (networks->r.checkpoint, sd_text_get_width (networks->text), &error);
  g_assert_no_error (error);
  g_unlink (path);
  return unet;
}

/* Files for inpainting have a first convolution of 9 channels and are otherwise the same: here it is swapped in. */
static void
test_inpainting (gconstpointer variant)
{
  Networks networks;
  SdTensor x, context;

  if (! networks_open (&networks, variant))
    return;
  sd_unet_free (networks.unet);
  networks.unet = open_inpainting_unet (&networks);
  g_assert_cmpint (sd_unet_get_channels (networks.unet), ==, 9);
  x = references_get (&networks.r, "inpaint.x");
  context = references_get (&networks.r, "text.cond");
  check (&networks, sd_unet_forward (networks.r.run, networks.unet, &x, 500, &context), "inpaint.eps.t500");
  networks_close (&networks);
}

/* ---- the reverse process ---- */

typedef struct
{
  Networks    *networks;
  const float *alphas;
  double       worst, last;
} Chain;

/* The reference's latents are sqrt (a) z + sqrt (1 - a) eps, ours z + sigma eps. */
static void
compare_step (int step, const LatentSchedule *schedule, const float *clean, const float *x, gpointer data)
{
  Chain           *chain = data;
  g_autofree char *name = g_strdup_printf ("img2img.z.%d", schedule->steps - 1 - step);
  SdTensor         reference = references_get (&chain->networks->r, name);
  SdTensor         scaled = sd_tensor_new (chain->networks->r.run, 1, reference.h, reference.w, 4);
  double           sigma = schedule->sigmas[step + 1];

  for (gsize i = 0; i < sd_tensor_count (&scaled); i++)
    scaled.data[i] = x[i] / (float) sqrt (1 + sigma * sigma);
  chain->last = references_compare (&scaled, &reference);
  chain->worst = MAX (chain->worst, chain->last);
  sd_tensor_free (chain->networks->r.run, &scaled);
  sd_tensor_free (chain->networks->r.run, &reference);
}

/* DDIM as its authors' program spaces it: timesteps 1, 101, ... 901, and at the end the level of timestep 0. */
static void
test_chain (gconstpointer variant)
{
  const Variant *own = variant;
  double         sigmas[11], timesteps[10], a, last;
  LatentSchedule schedule = { strcmp (own->family, "sd1") == 0 ? 6 : 4, sigmas, timesteps };
  Networks       networks;
  Chain          chain = { &networks, NULL, 0, 0 };
  SdTensor       context, uncond, both, noise, moments, picture, start, decoded, image;
  float          alphas[SD_TIMESTEPS], *x;
  LatentDenoiser denoiser;
  LatentJob      job = { 0 };
  GError        *error = NULL;

  if (! networks_open (&networks, variant))
    return;
  g_assert_true (tensor_file_read (networks.r.checkpoint, "alphas_cumprod", (int[]){ SD_TIMESTEPS }, 1, alphas, NULL));
  for (int i = 0; i < schedule.steps; i++)
    {
      timesteps[i] = 1 + 100 * (schedule.steps - 1 - i);
      sigmas[i] = latent_sigma (alphas, timesteps[i]);
    }
  sigmas[schedule.steps] = latent_sigma (alphas, 0);
  context = references_get (&networks.r, "text.cond");
  uncond = references_get (&networks.r, "text.uncond");
  both = sd_tensor_new (networks.r.run, 2, 1, context.w, context.c);
  memcpy (both.data, context.data, sd_tensor_count (&context) * sizeof (float));
  memcpy (both.data + sd_tensor_count (&context), uncond.data, sd_tensor_count (&context) * sizeof (float));
  noise = references_get (&networks.r, "img2img.noise");
  picture = references_get (&networks.r, "vae.image");
  moments = sd_vae_encode (networks.r.run, networks.vae, &picture);

  /* The reference's noise instead of ours: the original is that of which our noise makes its start. */
  start = references_get (&networks.r, "img2img.start");
  a = (double) alphas[(int) timesteps[0]];
  x = g_new (float, sd_tensor_count (&noise));
  for (int i = 0; i < noise.h * noise.w; i++)
    {
      float ours[4];

      random_gaussian4 (0, 0x80000000u, i % noise.w, i / noise.w, ours);
      for (int c = 0; c < 4; c++)
        {
          double made = sqrt (a) * (double) (SD_LATENT_FACTOR * moments.data[i * 8 + c])
                        + sqrt (1 - a) * (double) noise.data[i * 4 + c];

          g_assert_cmpfloat_with_epsilon (made, (double) start.data[i * 4 + c], own->start_bar);
          start.data[i * 4 + c] = (float) (made * sqrt (1 + sigmas[0] * sigmas[0]) - sigmas[0] * (double) ours[c]);
        }
    }
  denoiser = (LatentDenoiser){ networks.r.run, networks.unet, FALSE, &both, 7.5, NULL, 64 };
  job.width = noise.w;
  job.height = noise.h;
  job.original = start.data;
  job.done = compare_step;
  job.user_data = &chain;
  g_assert_true (latent_reverse (&denoiser, &job, &schedule, DIFFUSION_SAMPLER_DDIM, x, &error));
  g_test_message ("after each step at most %.2e, at the end %.2e", chain.worst, chain.last);
  g_assert_cmpfloat (chain.worst, <, own->chain_bar);
  g_assert_cmpfloat (chain.last, >, 0);
  for (gsize i = 0; i < sd_tensor_count (&start); i++)
    start.data[i] = x[i] / (float) (sqrt (1 + sigmas[schedule.steps] * sigmas[schedule.steps])) / SD_LATENT_FACTOR;
  decoded = sd_vae_decode (networks.r.run, networks.vae, &start);
  image = references_get (&networks.r, "img2img.image");
  last = references_compare (&decoded, &image);
  g_test_message ("decoded: %.2e", last);
  g_assert_cmpfloat (last, <, own->chain_bar);
  g_free (x);
  networks_close (&networks);
}

/* One step from pure noise, as SD-Turbo does it. */
static void
test_turbo (gconstpointer variant)
{
  Networks       networks;
  float          alphas[SD_TIMESTEPS];
  SdTensor       context, noise, z;
  LatentDenoiser denoiser;
  double         sigma;
  GError        *error = NULL;

  if (! networks_open (&networks, variant))
    return;
  g_assert_true (tensor_file_read (networks.r.checkpoint, "alphas_cumprod", (int[]){ SD_TIMESTEPS }, 1, alphas, NULL));
  sigma = latent_sigma (alphas, 999);
  context = references_get (&networks.r, "text.cond");
  noise = references_get (&networks.r, "turbo.noise");
  z = sd_tensor_new (networks.r.run, 1, noise.h, noise.w, 4);
  for (gsize i = 0; i < sd_tensor_count (&noise); i++)
    noise.data[i] *= (float) sigma;
  denoiser = (LatentDenoiser){ networks.r.run, networks.unet, FALSE, &context, 1, NULL, 64 };
  g_assert_true (latent_denoise (&denoiser, noise.w, noise.h, noise.data, sigma, 999, z.data, &error));
  check (&networks, z, "turbo.z");
  networks_close (&networks);
}

/* ---- tasks ---- */

#define W 90
#define H 70

static gboolean
is_same (const DiffusionPicture *a, const DiffusionPicture *b, int x, int y)
{
  gsize at = ((gsize) y * (gsize) a->width + (gsize) x) * 3;

  return memcmp (a->data + at, b->data + at, 3 * sizeof (float)) == 0;
}

/* The references, and the back end; FALSE: skipped. */
static gboolean
has_what_it_takes (const Variant *variant)
{
  if (! references_find ())
    return FALSE;
  if (compute_get (variant->backend, NULL))
    return TRUE;
  g_test_skip ("this build or this processor lacks the back end");
  return FALSE;
}

/* Whoever looks on sees each step at its place. */
static void
look_on (const DiffusionStep *step, gpointer data)
{
  int *looks = data;

  g_assert_cmpint (step->step, ==, *looks % 2 + 1);
  g_assert_cmpint (step->reduction, >=, 1);
  g_assert_cmpint (step->x + step->prediction->width * step->reduction, <=, W + step->reduction - 1);
  g_assert_cmpint (step->y + step->prediction->height * step->reduction, <=, H + step->reduction - 1);
  (*looks)++;
}

/* Outside bit for bit, inside something else; the same seed gives the same, for any number of threads and whether or
 * not it is looked on; another one another. */
static void
test_tasks (gconstpointer variant)
{
  const Variant          *own = variant;
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = { 0, 0, 0, -1, -1 };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) original = references_new_picture (W, H), mask = diffusion_picture_new (W, H, 1, NULL);
  int     looks = 0;
  GError *error = NULL;

  if (! has_what_it_takes (own))
    return;
  g_setenv ("DIFFUSION_COMPUTE", own->backend, TRUE);
  model = references_load_model (own->family);
  options = references_get_options (2);
  options.prompt = "a (wooden:1.2) boat";
  options.negative = "blurry";
  for (int y = 30; y < 50; y++)
    for (int x = 20; x < 60; x++)
      mask->data[y * W + x] = x < 40 ? 1 : 0.5f;
  for (int task = 0; task < 2; task++)
    {
      g_autoptr (DiffusionPicture) a = diffusion_picture_copy (original, NULL),
                                   b = diffusion_picture_copy (original, NULL);
      g_autoptr (DiffusionPicture) c = diffusion_picture_copy (original, NULL);
      DiffusionPicture *pictures[] = { a, b, c };

      for (int i = 0; i < 3; i++)
        {
          options.seed = i == 2 ? 8 : 7;
          options.threads = i == 1 ? 1 : 2;
          options.on_step = i == 1 ? look_on : NULL;
          options.step_data = &looks;
          if (task == 0)
            diffusion_regenerate (model, pictures[i], mask, 0.6, 0, &options, NULL, &error);
          else
            diffusion_inpaint (model, pictures[i], mask, &inpaint, &options, NULL, &error);
          g_assert_no_error (error);
        }
      g_assert_cmpint (looks, ==, 2 * (task + 1));
      g_assert_cmpmem (a->data, W * H * 12, b->data, W * H * 12);
      for (int y = 0; y < H; y++)
        for (int x = 0; x < W; x++)
          if (mask->data[y * W + x] == 0)
            g_assert_true (is_same (a, original, x, y) && is_same (c, original, x, y));
      g_assert_false (is_same (a, original, 30, 40));
      g_assert_false (is_same (a, c, 30, 40));
    }
  g_unsetenv ("DIFFUSION_COMPUTE");
}

/* A mask of 1 everywhere is no mask, also where the picture is padded. */
static void
test_padding (void)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) plain = references_new_picture (W, H), masked = references_new_picture (W, H);
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (W, H, 1, NULL);
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (2);
  for (int i = 0; i < W * H; i++)
    mask->data[i] = 1;
  g_assert_true (diffusion_regenerate (model, plain, NULL, 0.6, 0, &options, NULL, &error));
  g_assert_true (diffusion_regenerate (model, masked, mask, 0.6, 0, &options, NULL, &error));
  g_assert_no_error (error);
  g_assert_cmpmem (plain->data, W * H * 12, masked->data, W * H * 12);
}

/* The picture as it is when work on the second hole begins. */
typedef struct
{
  const DiffusionPicture *picture;
  DiffusionPicture       *between;
  int                     looks;
} Halfway;

static void
look_halfway (const DiffusionStep *step, gpointer data)
{
  Halfway *halfway = data;

  if (halfway->looks++ == 1)
    halfway->between = diffusion_picture_copy (halfway->picture, NULL);
}

/* Two holes that see each other: neither changes a pixel of the other's. */
static void
test_holes (void)
{
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = { 2, 0, 0, -1, -1 };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = references_new_picture (W, H), original = references_new_picture (W, H);
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (W, H, 1, NULL), between = NULL;
  Halfway halfway = { picture, NULL, 0 };
  GError *error = NULL;
  int     first = 0, second = 0;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (1);
  options.on_step = look_halfway;
  options.step_data = &halfway;
  for (int y = 30; y < 42; y++)
    for (int x = 0; x < 12; x++)
      mask->data[y * W + 20 + x] = mask->data[y * W + 50 + x] = 1;
  diffusion_inpaint (model, picture, mask, &inpaint, &options, NULL, &error);
  g_assert_no_error (error);
  between = halfway.between;
  g_assert_cmpint (halfway.looks, ==, 2);
  for (int y = 0; y < H; y++)
    for (int x = 0; x < W; x++)
      {
        gboolean early = ! is_same (original, between, x, y), late = ! is_same (between, picture, x, y);

        g_assert_false (early && late);
        g_assert_cmpint (early || late, ==, mask->data[y * W + x] > 0);
        first += early;
        second += late;
      }
  g_assert_cmpint (first, ==, 144);
  g_assert_cmpint (second, ==, 144);
}

/* A hole that is selected by half is filled as one that is wholly so, and the fill is mixed in by half. */
static void
test_soft_hole (void)
{
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = { 0, 0, 0, -1, -1 };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) hard = references_new_picture (W, H), soft = references_new_picture (W, H),
                               original = references_new_picture (W, H);
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (W, H, 1, NULL);
  GError *error = NULL;
  gsize   changed = 0;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (2);
  for (int i = 0; i < 2; i++)
    {
      for (int y = 30; y < 50; y++)
        for (int x = 20; x < 60; x++)
          mask->data[y * W + x] = i ? 0.5f : 1;
      diffusion_inpaint (model, i ? soft : hard, mask, &inpaint, &options, NULL, &error);
      g_assert_no_error (error);
    }
  for (gsize i = 0; i < W * H * 3; i++)
    {
      changed += hard->data[i] != original->data[i];
      g_assert_cmpfloat_with_epsilon (soft->data[i], 0.5f * (original->data[i] + hard->data[i]), 1e-5f);
    }
  g_assert_cmpuint (changed, >, 20 * 40 * 2);
}

/* A pixel costs as much as what the network sees at once; twice the steps nearly twice as much; a large layer more; a
 * large hole, which is worked on twice, still more. */
static void
assert_costs (const DiffusionModel *model, DiffusionOptions *options)
{
  const DiffusionBox pixel = { 40, 30, 1, 1 }, small = { 40, 30, 20, 20 }, large = { 0, 0, 300, 200 };
  const DiffusionBox huge = { 1000, 500, 6000, 5000 };
  double             bytes[6], seconds[6];

  options->steps = 10;
  diffusion_model_estimate_cost (model, 90, 70, &pixel, 1, FALSE, options, &bytes[0], &seconds[0]);
  diffusion_model_estimate_cost (model, 90, 70, &small, 1, TRUE, options, &bytes[1], &seconds[1]);
  diffusion_model_estimate_cost (model, 300, 200, &large, 1, FALSE, options, &bytes[2], &seconds[2]);
  diffusion_model_estimate_cost (model, 300, 200, &large, 1, TRUE, options, &bytes[3], &seconds[3]);
  options->steps = 20;
  diffusion_model_estimate_cost (model, 90, 70, &pixel, 1, FALSE, options, &bytes[4], &seconds[4]);
  g_assert_cmpfloat (seconds[0], >, 0);
  g_assert_cmpfloat (bytes[0], >, 1e6);
  g_assert_cmpfloat (seconds[1], <, 2.5 * seconds[0]);
  g_assert_cmpfloat (seconds[2], >, 5 * seconds[0]);
  g_assert_cmpfloat (seconds[3], >, seconds[2]);
  g_assert_cmpfloat (bytes[3], >=, bytes[0]);
  /* Of 8000 x 6000 pixels that are cut out some eleven values are alive at a time. */
  diffusion_model_estimate_cost (model, 8000, 6000, &huge, 1, TRUE, options, &bytes[5], &seconds[5]);
  g_assert_cmpfloat (bytes[5], >, 2e9);
  g_assert_cmpfloat (bytes[5], <, 3e9);
  g_assert_cmpfloat (seconds[4], >, 1.3 * seconds[0]);
  g_assert_cmpfloat (seconds[4], <, 2 * seconds[0]);
}

/* Holes far apart cost what each of them costs, not what the box around them does; such that are worked on together
 * cost as one. */
static void
test_cost_of_holes (void)
{
  enum
  {
    WIDTH = 2000,
    HEIGHT = 1500
  };
  static const DiffusionBox places[] = { { 100, 100, 20, 20 }, { 130, 110, 10, 10 }, { 1800, 1300, 20, 20 } };
  const DiffusionBox        around = { 100, 100, 1720, 1220 };
  DiffusionInpaintOptions   inpaint = { 0, 0, 0, -1, -1 };
  DiffusionOptions          options = DIFFUSION_OPTIONS_INIT;
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  g_autofree DiffusionBox *holes = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  double  bytes[4], seconds[4];
  int     count;
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (4);
  options.size = 128;
  for (gsize i = 0; i < G_N_ELEMENTS (places); i++)
    for (int y = 0; y < places[i].height; y++)
      for (int x = 0; x < places[i].width; x++)
        mask->data[(places[i].y + y) * WIDTH + places[i].x + x] = 1;
  holes = diffusion_inpaint_get_holes (mask, &inpaint, &count, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (count, >=, 2);
  diffusion_model_estimate_cost (model, WIDTH, HEIGHT, &places[0], 1, TRUE, &options, &bytes[0], &seconds[0]);
  diffusion_model_estimate_cost (model, WIDTH, HEIGHT, &places[0], 2, TRUE, &options, &bytes[1], &seconds[1]);
  diffusion_model_estimate_cost (model, WIDTH, HEIGHT, holes, count, TRUE, &options, &bytes[2], &seconds[2]);
  diffusion_model_estimate_cost (model, WIDTH, HEIGHT, &around, 1, TRUE, &options, &bytes[3], &seconds[3]);
  g_assert_cmpfloat_with_epsilon (seconds[1] / seconds[0], 1, 0.01);
  g_assert_cmpfloat_with_epsilon (seconds[2] / seconds[0], 2, 0.02);
  g_assert_cmpfloat (seconds[3], >, 5 * seconds[2]);
  g_assert_cmpfloat (bytes[3], >, bytes[2]);
  memset (mask->data, 0, WIDTH * HEIGHT * sizeof (float));
  g_assert_null (diffusion_inpaint_get_holes (mask, &inpaint, &count, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
}

/* A whole run in bf16 makes the picture that one in f32 makes, but for a shade or two of 8 bits. */
static void
test_picture (gconstpointer variant)
{
  const Variant   *own = variant;
  const char      *backends[] = { "blas", own->backend };
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) a = references_new_picture (256, 64), b = references_new_picture (256, 64);
  DiffusionPicture *pictures[] = { a, b };
  GError           *error = NULL;
  double            square = 0;

  if (! has_what_it_takes (own))
    return;
  model = references_load_model (own->family);
  options = references_get_options (4); /* two tiles and more */
  options.seed = 7;
  options.prompt = "a wooden boat";
  for (int i = 0; i < 2; i++)
    {
      g_setenv ("DIFFUSION_COMPUTE", backends[i], TRUE);
      diffusion_regenerate (model, pictures[i], NULL, 0.6, 0, &options, NULL, &error);
      g_assert_no_error (error);
    }
  g_unsetenv ("DIFFUSION_COMPUTE");
  for (int i = 0; i < 256 * 64 * 3; i++)
    square += pow ((double) a->data[i] - (double) b->data[i], 2) / (256 * 64 * 3);
  g_test_message ("root mean square difference %.5f", sqrt (square));
  g_assert_cmpfloat (sqrt (square), >, 0);
  g_assert_cmpfloat (sqrt (square), <, 2.0 / 255);
}

/* One pixel, a picture of one pixel, a cancelled run, what checkpoints do not do. */
static void
test_corners (void)
{
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionNoise          noise;
  g_autoptr (GCancellable) cancelled = g_cancellable_new ();
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = references_new_picture (W, H), mask = diffusion_picture_new (W, H, 1, NULL);
  g_autoptr (DiffusionPicture) dot = references_new_picture (1, 1);
  g_autoptr (DiffusionPicture) original = diffusion_picture_copy (picture, NULL);
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options.steps = 1;
  options.size = 64;
  g_cancellable_cancel (cancelled);
  g_assert_false (diffusion_regenerate (model, picture, NULL, 0.5, 0, &options, cancelled, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
  diffusion_noise_set_uniform (&noise, 0.1);
  g_assert_false (diffusion_denoise (model, picture, NULL, &noise, 1, &options, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
  g_assert_true (diffusion_regenerate (model, picture, mask, 0.5, 0, &options, NULL, &error)); /* nothing selected */
  g_assert_true (diffusion_regenerate (model, picture, NULL, 0, 0, &options, NULL, &error));
  g_assert_cmpmem (picture->data, W * H * 12, original->data, W * H * 12);
  mask->data[0] = 1;
  inpaint.grow = 0;
  g_assert_true (diffusion_inpaint (model, picture, mask, &inpaint, &options, NULL, &error));
  g_assert_false (is_same (picture, original, 0, 0));
  g_assert_true (is_same (picture, original, 1, 0) && is_same (picture, original, 0, 1));
  g_assert_true (diffusion_generate (model, dot, &options, NULL, &error));
  g_assert_no_error (error);
  options.size = 100;
  g_assert_false (diffusion_generate (model, dot, &options, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  options.size = 0;
  options.size = 64;
  assert_costs (model, &options);
}

/* A latent whose own strength is s goes the way of a whole run from s; one of 0 comes back as it was. */
static void
test_levels (void)
{
  enum
  {
    SIDE = 16,
    COUNT = SIDE * SIDE
  };
  Networks       networks;
  float          alphas[SD_TIMESTEPS], original[COUNT * 4], strength[COUNT], a[COUNT * 4], b[COUNT * 4];
  double         sigmas[] = { 0, 0, 0 }, timesteps[2];
  LatentSchedule whole, part = { 2, sigmas, timesteps };
  LatentDenoiser denoiser;
  LatentJob      job = { SIDE, SIDE, original, strength, 5, 3, 4, NULL, NULL };
  SdTensor       context;
  GError        *error = NULL;

  if (! networks_open (&networks, &plain1))
    return;
  g_assert_true (tensor_file_read (networks.r.checkpoint, "alphas_cumprod", (int[]){ SD_TIMESTEPS }, 1, alphas, NULL));
  context = references_get (&networks.r, "text.cond");
  denoiser = (LatentDenoiser){ networks.r.run, networks.unet, FALSE, &context, 1, NULL, 64 };
  for (int i = 0; i < COUNT * 4; i++)
    original[i] = sinf ((float) i);
  for (int i = 0; i < COUNT; i++)
    strength[i] = 0.5f;
  latent_schedule_init (&whole, alphas, 1, 4);
  for (int i = 0; i < 2; i++)
    {
      /* Of 999, 749, 500, 250 a strength of 0.5, timestep 499, takes part in the last alone. */
      timesteps[i] = whole.timesteps[3] * (1 - 0.5 * i);
      sigmas[i] = whole.sigmas[3];
    }
  part.steps = 1;
  sigmas[1] = 0;
  g_assert_true (latent_reverse (&denoiser, &job, &whole, DIFFUSION_SAMPLER_DDIM, a, &error));
  job.strength = NULL;
  g_assert_true (latent_reverse (&denoiser, &job, &part, DIFFUSION_SAMPLER_DDIM, b, &error));
  for (int i = 0; i < COUNT * 4; i++)
    g_assert_cmpfloat_with_epsilon (a[i], b[i], 1e-4f);
  for (int i = 0; i < COUNT; i++)
    strength[i] = i % 3 ? 1 : 0;
  job.strength = strength;
  for (int sampler = 0; sampler < DIFFUSION_N_SAMPLERS; sampler++)
    {
      g_assert_true (latent_reverse (&denoiser, &job, &whole, (DiffusionSampler) sampler, a, &error));
      for (int i = 0; i < COUNT * 4; i++)
        if (i / 4 % 3 == 0)
          g_assert_cmpfloat (a[i], ==, original[i]);
    }
  latent_schedule_clear (&whole);
  networks_close (&networks);
}

static int
count_tiles (const SdUnet *unet, int width, int height, int wanted)
{
  return latent_count_tiles (unet, width, height, wanted, (DiffusionBox){ 0, 0, width, height });
}

/* Tiles overlap by a quarter at least, also small ones, of which a granule of 8 latents is half. */
static void
test_tiles (void)
{
  Networks networks;

  if (! networks_open (&networks, &plain1))
    return;
  g_assert_cmpint (sd_unet_get_multiple (networks.unet), ==, 8);
  g_assert_cmpint (count_tiles (networks.unet, 64, 64, 64), ==, 1);
  g_assert_cmpint (count_tiles (networks.unet, 112, 64, 64), ==, 2);
  g_assert_cmpint (count_tiles (networks.unet, 120, 160, 64), ==, 2 * 3);
  g_assert_cmpint (count_tiles (networks.unet, 40, 8, 16), ==, 4);
  g_assert_cmpint (count_tiles (networks.unet, 40, 8, 24), ==, 2);
  g_assert_cmpint (count_tiles (networks.unet, 40, 8, 8), ==, 4);
  g_assert_cmpint (count_tiles (networks.unet, 16, 16, 8), ==, 1);
  /* The first tile is 64 wide, and the second begins at 48. */
  g_assert_cmpint (latent_count_tiles (networks.unet, 112, 64, 64, (DiffusionBox){ 0, 0, 48, 64 }), ==, 1);
  g_assert_cmpint (latent_count_tiles (networks.unet, 112, 64, 64, (DiffusionBox){ 40, 8, 9, 1 }), ==, 2);
  networks_close (&networks);
}

static void
add_variant (const Variant *variant, const char *name)
{
  static const struct
  {
    const char *name;
    void (*test) (gconstpointer variant);
  } tests[] = { { "text", test_text },
                { "unet", test_unet },
                { "vae", test_vae },
                { "memory", test_memory },
                { "inpainting", test_inpainting },
                { "chain", test_chain },
                { "turbo", test_turbo },
                { "tasks", test_tasks } };

  for (gsize i = 0; i < G_N_ELEMENTS (tests); i++)
    {
      g_autofree char *path = g_strdup_printf ("/checkpoint/%s/%s", name, tests[i].name);

      if (tests[i].test != test_turbo || strcmp (variant->family, "sd2") == 0)
        g_test_add_data_func (path, variant, tests[i].test);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  add_variant (&plain1, "sd1");
  add_variant (&plain2, "sd2");
  add_variant (&sd1_bf16, "sd1/bf16");
  add_variant (&sd2_bf16, "sd2/bf16");
  g_test_add_data_func ("/checkpoint/sd1/bf16/picture", &sd1_bf16, test_picture);
  g_test_add_data_func ("/checkpoint/sd2/bf16/picture", &sd2_bf16, test_picture);
  g_test_add_func ("/checkpoint/corners", test_corners);
  g_test_add_func ("/checkpoint/holes", test_holes);
  g_test_add_func ("/checkpoint/soft-hole", test_soft_hole);
  g_test_add_func ("/checkpoint/cost-of-holes", test_cost_of_holes);
  g_test_add_func ("/checkpoint/padding", test_padding);
  g_test_add_func ("/checkpoint/levels", test_levels);
  g_test_add_func ("/checkpoint/tiles", test_tiles);
  return g_test_run ();
}
