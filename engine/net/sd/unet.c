/* The U-Net of Stable Diffusion.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Rombach et al. 2022, "High-resolution image synthesis with latent diffusion models": residual blocks that are told
 * the timestep (as in Dhariwal and Nichol 2021), and transformer blocks that look at the latent and at the prompt.
 */
#include "networks.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <stdlib.h>

#define PREFIX "model.diffusion_model."

#define RES_EPSILON     1e-5f
#define SPATIAL_EPSILON 1e-6f
/* SD 1 has 8 heads everywhere, SD 2 heads of 64 channels. */
#define SD1_HEADS         8
#define SD2_HEAD_CHANNELS 64
#define STAGES_MAX        64
#define DEPTH_MAX         16

typedef struct
{
  SdNorm  norm1, norm2, norm3;
  SdLayer q1, k1, v1, out1, q2, k2, v2, out2, widen, narrow;
} Block;

typedef enum
{
  CONV,
  RES,
  SPATIAL,
  DOWN,
  UP
} Kind;

typedef struct
{
  Kind    kind;
  int     channels; /* that come out */
  SdNorm  norm1, norm2;
  SdLayer conv1, conv2, time, skip; /* CONV, DOWN, UP: conv1; SPATIAL: conv1 and conv2 are the projections */
  int     heads, depth;
  Block  *blocks;
} Module;

typedef struct
{
  Module modules[3];
  int    n_modules;
} Stage;

struct _SdUnet
{
  GPtrArray *owned;
  int        channels, context, model_channels, head_channels; /* head_channels: 0 for a fixed number of heads */
  int        n_in, n_out, multiple;
  int        level; /* while binding: how often what comes out of the last module has been halved */
  SdLayer    time1, time2, conv_out;
  SdNorm     norm_out;
  Stage      in[STAGES_MAX], middle, out[STAGES_MAX];
};

/* ---- binding ---- */

static void
bind_res (SdBinder *binder, const SdUnet *unet, Module *m, int in, const char *name)
{
  sd_bind_group_norm (binder, &m->norm1, in, "%s.in_layers.0", name);
  sd_bind_layer (binder, &m->conv1, SD_ANY, in, 9, TRUE, "%s.in_layers.2", name);
  m->channels = m->conv1.out;
  sd_bind_layer (binder, &m->time, m->channels, unet->time2.out, 1, TRUE, "%s.emb_layers.1", name);
  sd_bind_group_norm (binder, &m->norm2, m->channels, "%s.out_layers.0", name);
  sd_bind_layer (binder, &m->conv2, m->channels, m->channels, 9, TRUE, "%s.out_layers.3", name);
  if (in != m->channels)
    sd_bind_layer (binder, &m->skip, m->channels, in, 1, TRUE, "%s.skip_connection", name);
}

static void
bind_block (SdBinder *binder, const SdUnet *unet, Block *b, int width, const char *spatial, int i)
{
  g_autofree char *name = g_strdup_printf ("%s.transformer_blocks.%d", spatial, i);

  sd_bind_layer (binder, &b->q1, width, width, 1, FALSE, "%s.attn1.to_q", name);
  sd_bind_layer (binder, &b->k1, width, width, 1, FALSE, "%s.attn1.to_k", name);
  sd_bind_layer (binder, &b->v1, width, width, 1, FALSE, "%s.attn1.to_v", name);
  sd_bind_layer (binder, &b->out1, width, width, 1, TRUE, "%s.attn1.to_out.0", name);
  sd_bind_layer (binder, &b->widen, SD_ANY, width, 1, TRUE, "%s.ff.net.0.proj", name);
  /* Half of it is the other half's gate.  Half of one channel would be none, and that is SD_ANY. */
  if (! binder->error && b->widen.out % 2 != 0)
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 /* Translators: a file's path, and the name of a layer of its network, not of a picture. */
                 C_ ("error", "%s cannot be used: its layer %s.ff.net.0.proj gives an odd number of channels, %d."),
                 tensor_file_get_path (binder->file), name, b->widen.out);
  sd_bind_layer (binder, &b->narrow, width, b->widen.out / 2, 1, TRUE, "%s.ff.net.2", name);
  sd_bind_layer (binder, &b->q2, width, width, 1, FALSE, "%s.attn2.to_q", name);
  sd_bind_layer (binder, &b->k2, width, unet->context, 1, FALSE, "%s.attn2.to_k", name);
  sd_bind_layer (binder, &b->v2, width, unet->context, 1, FALSE, "%s.attn2.to_v", name);
  sd_bind_layer (binder, &b->out2, width, width, 1, TRUE, "%s.attn2.to_out.0", name);
  sd_bind_norm (binder, &b->norm1, width, "%s.norm1", name);
  sd_bind_norm (binder, &b->norm2, width, "%s.norm2", name);
  sd_bind_norm (binder, &b->norm3, width, "%s.norm3", name);
}

static void
bind_spatial (SdBinder *binder, const SdUnet *unet, Module *m, int channels, const char *name)
{
  int width;

  m->channels = channels;
  sd_bind_group_norm (binder, &m->norm1, channels, "%s.norm", name);
  sd_bind_layer (binder, &m->conv1, SD_ANY, channels, 1, TRUE, "%s.proj_in", name);
  width = m->conv1.out;
  do
    m->depth++;
  while (m->depth < DEPTH_MAX && sd_has (binder->file, "%s.transformer_blocks.%d.norm1.weight", name, m->depth));
  m->blocks = g_new0 (Block, (gsize) m->depth);
  g_ptr_array_add (binder->owned, m->blocks);
  for (int i = 0; i < m->depth; i++)
    bind_block (binder, unet, &m->blocks[i], width, name, i);
  sd_bind_layer (binder, &m->conv2, channels, width, 1, TRUE, "%s.proj_out", name);
  m->heads = unet->head_channels ? MAX (width / unet->head_channels, 1) : SD1_HEADS;
  if (! binder->error && width % m->heads != 0)
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 /* Translators: a file's path, and the name of a place in its network; heads of attention. */
                 C_ ("error", "%s has attention over %d channels at %s, which %d heads do not divide."),
                 tensor_file_get_path (binder->file), width, name, m->heads);
}

/* Halves or doubles; what is halved too often would not fit into the latents' sides any more. */
static void
change_level (SdBinder *binder, SdUnet *unet, int by)
{
  unet->level += by;
  if (! binder->error && (unet->level < 0 || 1 << unet->level > SD_UNET_MULTIPLE_MOST))
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 C_ ("error", "%s has a U-Net that reduces or enlarges more often than is supported."),
                 tensor_file_get_path (binder->file));
  else
    unet->multiple = MAX (unet->multiple, 1 << MAX (unet->level, 0));
}

/* What is joined, or comes out, must be as large as what it is joined with, or what came in. */
static void
check_level (SdBinder *binder, const SdUnet *unet, int level)
{
  if (! binder->error && unet->level != level)
    g_set_error (
        &binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
        C_ ("error", "%s has a U-Net whose stages do not fit together: they reduce and enlarge at different places."),
        tensor_file_get_path (binder->file));
}

/* The modules of one stage, told apart by the tensors that they have; returns the channels that come out. */
static int
bind_stage (SdBinder *binder, SdUnet *unet, Stage *stage, int channels, const char *stage_name)
{
  for (int i = 0; i < 3 && ! binder->error; i++)
    {
      Module          *m = &stage->modules[i];
      g_autofree char *name = g_strdup_printf ("%s.%d", stage_name, i);

      if (sd_has (binder->file, "%s.norm.weight", name) || sd_has (binder->file, "%s.proj_in.weight", name))
        {
          m->kind = SPATIAL;
          bind_spatial (binder, unet, m, channels, name);
        }
      else if (sd_has (binder->file, "%s.op.weight", name))
        {
          m->kind = DOWN;
          sd_bind_layer (binder, &m->conv1, SD_ANY, channels, 9, TRUE, "%s.op", name);
          change_level (binder, unet, 1);
        }
      else if (sd_has (binder->file, "%s.conv.weight", name))
        {
          m->kind = UP;
          sd_bind_layer (binder, &m->conv1, SD_ANY, channels, 9, TRUE, "%s.conv", name);
          change_level (binder, unet, -1);
        }
      else if (i == 0 || sd_has (binder->file, "%s.in_layers.0.weight", name))
        {
          m->kind = RES;
          bind_res (binder, unet, m, channels, name);
        }
      else
        break;
      if (m->kind == DOWN || m->kind == UP)
        m->channels = m->conv1.out;
      channels = m->channels;
      stage->n_modules++;
    }
  return channels;
}

/* Input stages push what comes out of them, output stages take it back: their numbers are the same. */
static void
bind_unet (SdBinder *binder, SdUnet *unet)
{
  int kept[STAGES_MAX], levels[STAGES_MAX] = { 0 }, channels;

  sd_bind_layer (binder, &unet->in[0].modules[0].conv1, SD_ANY, SD_ANY, 9, TRUE, PREFIX "input_blocks.0.0");
  unet->in[0].modules[0].kind = CONV;
  unet->in[0].n_modules = 1;
  unet->channels = unet->in[0].modules[0].conv1.in;
  unet->model_channels = channels = kept[0] = unet->in[0].modules[0].conv1.out;
  sd_bind_layer (binder, &unet->time1, SD_ANY, unet->model_channels, 1, TRUE, PREFIX "time_embed.0");
  sd_bind_layer (binder, &unet->time2, SD_ANY, unet->time1.out, 1, TRUE, PREFIX "time_embed.2");
  unet->n_in = 1;
  do
    {
      g_autofree char *name = g_strdup_printf (PREFIX "input_blocks.%d", unet->n_in);

      channels = kept[unet->n_in] = bind_stage (binder, unet, &unet->in[unet->n_in], channels, name);
      levels[unet->n_in++] = unet->level;
    }
  while (! binder->error && unet->n_in < STAGES_MAX
         && (sd_has (binder->file, PREFIX "input_blocks.%d.0.in_layers.0.weight", unet->n_in)
             || sd_has (binder->file, PREFIX "input_blocks.%d.0.op.weight", unet->n_in)));
  channels = bind_stage (binder, unet, &unet->middle, channels, PREFIX "middle_block");
  unet->n_out = unet->n_in;
  for (int i = 0; i < unet->n_out && ! binder->error; i++)
    {
      g_autofree char *name = g_strdup_printf (PREFIX "output_blocks.%d", i);

      check_level (binder, unet, levels[unet->n_in - 1 - i]);
      channels = bind_stage (binder, unet, &unet->out[i], channels + kept[unet->n_in - 1 - i], name);
    }
  check_level (binder, unet, 0);
  sd_bind_group_norm (binder, &unet->norm_out, channels, PREFIX "out.0");
  sd_bind_layer (binder, &unet->conv_out, 4, channels, 9, TRUE, PREFIX "out.2");
}

static gboolean
check_channels (const SdUnet *unet, SdBinder *binder)
{
  if (! binder->error && unet->channels != 4 && unet->channels != 9)
    g_set_error (
        &binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
        C_ ("error",
            "%s has a U-Net with %d input channels, which is not supported: only 4, and 9 for inpainting, are."),
        tensor_file_get_path (binder->file), unet->channels);
  /* The waves that tell the timestep come in pairs. */
  if (! binder->error && unet->model_channels % 2 != 0)
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 C_ ("error", "%s has a U-Net with an odd number of channels, which is not supported."),
                 tensor_file_get_path (binder->file));
  return ! binder->error;
}

SdUnet *
sd_unet_new (const TensorFile *file, int context, GError **error)
{
  SdUnet     *unet = g_new0 (SdUnet, 1);
  SdBinder    binder = { file, g_ptr_array_new_with_free_func (core_free), NULL };
  const char *heads = g_hash_table_lookup (tensor_file_get_metadata ((TensorFile *) file), "num_head_channels");
  TensorView  view;

  unet->owned = binder.owned;
  unet->context = context;
  unet->multiple = 1;
  /* SD 2's projections are products, SD 1's 1x1 convolutions: the same numbers, but it tells them apart. */
  if (tensor_file_view (file, PREFIX "input_blocks.1.1.proj_in.weight", &view) && view.n_dims == 2)
    unet->head_channels = SD2_HEAD_CHANNELS;
  if (heads)
    unet->head_channels = CLAMP (atoi (heads), 1, 1024);
  bind_unet (&binder, unet);
  if (check_channels (unet, &binder))
    return unet;
  g_propagate_error (error, binder.error);
  sd_unet_free (unet);
  return NULL;
}

void
sd_unet_free (SdUnet *unet)
{
  if (! unet)
    return;
  g_ptr_array_unref (unet->owned);
  g_free (unet);
}

int
sd_unet_get_channels (const SdUnet *unet)
{
  return unet->channels;
}

int
sd_unet_get_multiple (const SdUnet *unet)
{
  return unet->multiple;
}

/* ---- running ---- */

/* cos, then sin, of the timestep at frequencies from 1 to 1 / 10000; then two layers. */
static SdTensor
embed_time (SdRun *run, const SdUnet *unet, float timestep)
{
  int      half = unet->model_channels / 2;
  SdTensor wave = sd_tensor_new (run, 1, 1, 1, unet->model_channels), hidden, time;

  for (int i = 0; i < half && ! sd_run_is_idle (run); i++)
    {
      double angle = (double) timestep * exp (-log (10000.0) * i / half);

      wave.data[i] = (float) cos (angle);
      wave.data[half + i] = (float) sin (angle);
    }
  hidden = sd_linear (run, &unet->time1, &wave);
  sd_activate (run, SD_SILU, &hidden);
  time = sd_linear (run, &unet->time2, &hidden);
  /* Each residual block begins with this. */
  sd_activate (run, SD_SILU, &time);
  sd_tensor_free (run, &wave);
  sd_tensor_free (run, &hidden);
  return time;
}

static SdTensor
run_res (SdRun *run, const Module *m, const SdTensor *x, const SdTensor *time)
{
  SdTensor normal = sd_group_norm (run, &m->norm1, RES_EPSILON, TRUE, x);
  SdTensor hidden = sd_conv3 (run, &m->conv1, &normal), shift = sd_linear (run, &m->time, time), y;

  sd_add_channels (run, &shift, &hidden);
  sd_tensor_free (run, &normal);
  normal = sd_group_norm (run, &m->norm2, RES_EPSILON, TRUE, &hidden);
  sd_tensor_free (run, &hidden);
  if (m->skip.file)
    {
      y = sd_linear (run, &m->skip, x);
      sd_conv3_into (run, &m->conv2, &normal, &y, TRUE);
    }
  else
    {
      y = sd_conv3 (run, &m->conv2, &normal);
      sd_add (run, x, &y);
    }
  sd_tensor_free (run, &normal);
  sd_tensor_free (run, &shift);
  return y;
}

/* x += attention of x's normalized rows to `source`, or to themselves where that is NULL. */
static void
attend (SdRun *run, int heads, const SdNorm *norm, const SdLayer *to_q, const SdLayer *to_k, const SdLayer *to_v,
        const SdLayer *to_out, const SdTensor *source, SdTensor *x)
{
  SdTensor normal = sd_layer_norm (run, norm, x);
  SdTensor q = sd_linear (run, to_q, &normal);
  SdTensor k = sd_linear (run, to_k, source ? source : &normal), v = sd_linear (run, to_v, source ? source : &normal);
  SdTensor seen = sd_attention (run, heads, FALSE, &q, &k, &v);

  sd_linear_into (run, to_out, &seen, x, TRUE);
  sd_tensor_free (run, &normal);
  sd_tensor_free (run, &q);
  sd_tensor_free (run, &k);
  sd_tensor_free (run, &v);
  sd_tensor_free (run, &seen);
}

static SdTensor
run_spatial (SdRun *run, const Module *m, const SdTensor *x, const SdTensor *context)
{
  SdTensor normal = sd_group_norm (run, &m->norm1, SPATIAL_EPSILON, FALSE, x);
  SdTensor y = sd_linear (run, &m->conv1, &normal), out;

  sd_tensor_free (run, &normal);
  for (int i = 0; i < m->depth; i++)
    {
      const Block *b = &m->blocks[i];
      SdTensor     wide, gated;

      attend (run, m->heads, &b->norm1, &b->q1, &b->k1, &b->v1, &b->out1, NULL, &y);
      attend (run, m->heads, &b->norm2, &b->q2, &b->k2, &b->v2, &b->out2, context, &y);
      normal = sd_layer_norm (run, &b->norm3, &y);
      wide = sd_linear (run, &b->widen, &normal);
      gated = sd_geglu (run, &wide);
      sd_tensor_free (run, &wide);
      sd_linear_into (run, &b->narrow, &gated, &y, TRUE);
      sd_tensor_free (run, &gated);
      sd_tensor_free (run, &normal);
    }
  out = sd_linear (run, &m->conv2, &y);
  sd_add (run, x, &out);
  sd_tensor_free (run, &y);
  return out;
}

static SdTensor
run_module (SdRun *run, const Module *m, const SdTensor *x, const SdTensor *time, const SdTensor *context)
{
  SdTensor larger, y;

  switch (m->kind)
    {
    case RES:
      return run_res (run, m, x, time);
    case SPATIAL:
      return run_spatial (run, m, x, context);
    case DOWN:
      return sd_conv3_down (run, &m->conv1, x, 1);
    case UP:
      larger = sd_upsample (run, x);
      y = sd_conv3 (run, &m->conv1, &larger);
      sd_tensor_free (run, &larger);
      return y;
    default:
      return sd_conv3 (run, &m->conv1, x);
    }
}

/* Consumes x, unless it is kept. */
static SdTensor
run_stage (SdRun *run, const Stage *stage, SdTensor x, gboolean keep, const SdTensor *time, const SdTensor *context)
{
  for (int i = 0; i < stage->n_modules; i++)
    {
      SdTensor y = run_module (run, &stage->modules[i], &x, time, context);

      if (i > 0 || ! keep)
        sd_tensor_free (run, &x);
      x = y;
    }
  return x;
}

SdTensor
sd_unet_forward (SdRun *run, const SdUnet *unet, const SdTensor *x, float timestep, const SdTensor *context)
{
  SdTensor kept[STAGES_MAX], time = embed_time (run, unet, timestep), y = *x, normal;

  for (int i = 0; i < unet->n_in; i++)
    /* All are kept for the way back up; the caller's stays its own. */
    kept[i] = y = run_stage (run, &unet->in[i], y, TRUE, &time, context);
  y = run_stage (run, &unet->middle, y, TRUE, &time, context);
  for (int i = 0; i < unet->n_out; i++)
    {
      SdTensor *other = &kept[unet->n_in - 1 - i], both = sd_concatenate (run, &y, other);

      sd_tensor_free (run, &y);
      sd_tensor_free (run, other);
      y = run_stage (run, &unet->out[i], both, FALSE, &time, context);
    }
  normal = sd_group_norm (run, &unet->norm_out, RES_EPSILON, TRUE, &y);
  sd_tensor_free (run, &y);
  y = sd_conv3 (run, &unet->conv_out, &normal);
  sd_tensor_free (run, &normal);
  sd_tensor_free (run, &time);
  return y;
}
