/* The autoencoder of Stable Diffusion.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Rombach et al. 2022, appendix E; residual blocks, and one layer of attention with one head at the lowest resolution.
 */
#include "networks.h"

#include <glib/gi18n-lib.h>

#define PREFIX     "first_stage_model."
#define EPSILON    1e-6f
#define LEVELS_MAX 8
#define BLOCKS_MAX 8

typedef struct
{
  SdNorm  norm1, norm2;
  SdLayer conv1, conv2, skip;
} Res;

typedef struct
{
  Res     blocks[BLOCKS_MAX];
  int     n_blocks;
  SdLayer resample; /* no weights: none */
} Level;

typedef struct
{
  SdLayer conv_in, conv_out, q, k, v, project;
  SdNorm  norm, norm_out;
  Res     before, after; /* the attention in the middle */
  Level   levels[LEVELS_MAX];
} Half;

struct _SdVae
{
  GPtrArray *owned;
  int        n_levels;
  Half       encoder, decoder;
  SdLayer    quant, post_quant;
};

/* ---- binding ---- */

/* out: SD_ANY for what the file has; returns what that is. */
static int
bind_res (SdBinder *binder, Res *res, int out, int in, const char *name)
{
  sd_bind_group_norm (binder, &res->norm1, in, "%s.norm1", name);
  sd_bind_layer (binder, &res->conv1, out, in, 9, TRUE, "%s.conv1", name);
  sd_bind_group_norm (binder, &res->norm2, res->conv1.out, "%s.norm2", name);
  sd_bind_layer (binder, &res->conv2, res->conv1.out, res->conv1.out, 9, TRUE, "%s.conv2", name);
  if (in != res->conv1.out)
    sd_bind_layer (binder, &res->skip, res->conv1.out, in, 1, TRUE, "%s.nin_shortcut", name);
  return res->conv1.out;
}

static void
bind_middle (SdBinder *binder, Half *half, int channels, const char *name)
{
  g_autofree char *before = g_strconcat (name, ".mid.block_1", NULL), *after = g_strconcat (name, ".mid.block_2", NULL);

  bind_res (binder, &half->before, channels, channels, before);
  sd_bind_group_norm (binder, &half->norm, channels, "%s.mid.attn_1.norm", name);
  sd_bind_layer (binder, &half->q, channels, channels, 1, TRUE, "%s.mid.attn_1.q", name);
  sd_bind_layer (binder, &half->k, channels, channels, 1, TRUE, "%s.mid.attn_1.k", name);
  sd_bind_layer (binder, &half->v, channels, channels, 1, TRUE, "%s.mid.attn_1.v", name);
  sd_bind_layer (binder, &half->project, channels, channels, 1, TRUE, "%s.mid.attn_1.proj_out", name);
  bind_res (binder, &half->after, channels, channels, after);
}

static int
bind_level (SdBinder *binder, Level *level, int channels, const char *name)
{
  do
    {
      g_autofree char *block = g_strdup_printf ("%s.block.%d", name, level->n_blocks);

      channels = bind_res (binder, &level->blocks[level->n_blocks++], SD_ANY, channels, block);
    }
  while (level->n_blocks < BLOCKS_MAX && sd_has (binder->file, "%s.block.%d.norm1.weight", name, level->n_blocks));
  return channels;
}

static void
bind_vae (SdBinder *binder, SdVae *vae)
{
  Half *encoder = &vae->encoder, *decoder = &vae->decoder;
  int   channels;

  do
    vae->n_levels++;
  while (vae->n_levels < LEVELS_MAX
         && sd_has (binder->file, PREFIX "encoder.down.%d.block.0.norm1.weight", vae->n_levels));

  sd_bind_layer (binder, &encoder->conv_in, SD_ANY, 3, 9, TRUE, PREFIX "encoder.conv_in");
  channels = encoder->conv_in.out;
  for (int i = 0; i < vae->n_levels; i++)
    {
      g_autofree char *name = g_strdup_printf (PREFIX "encoder.down.%d", i);

      channels = bind_level (binder, &encoder->levels[i], channels, name);
      if (i + 1 < vae->n_levels)
        sd_bind_layer (binder, &encoder->levels[i].resample, channels, channels, 9, TRUE, "%s.downsample.conv", name);
    }
  bind_middle (binder, encoder, channels, PREFIX "encoder");
  sd_bind_group_norm (binder, &encoder->norm_out, channels, PREFIX "encoder.norm_out");
  sd_bind_layer (binder, &encoder->conv_out, 8, channels, 9, TRUE, PREFIX "encoder.conv_out");
  sd_bind_layer (binder, &vae->quant, 8, 8, 1, TRUE, PREFIX "quant_conv");

  sd_bind_layer (binder, &vae->post_quant, 4, 4, 1, TRUE, PREFIX "post_quant_conv");
  sd_bind_layer (binder, &decoder->conv_in, SD_ANY, 4, 9, TRUE, PREFIX "decoder.conv_in");
  channels = decoder->conv_in.out;
  bind_middle (binder, decoder, channels, PREFIX "decoder");
  for (int i = vae->n_levels - 1; i >= 0; i--)
    {
      g_autofree char *name = g_strdup_printf (PREFIX "decoder.up.%d", i);

      channels = bind_level (binder, &decoder->levels[i], channels, name);
      if (i > 0)
        sd_bind_layer (binder, &decoder->levels[i].resample, channels, channels, 9, TRUE, "%s.upsample.conv", name);
    }
  sd_bind_group_norm (binder, &decoder->norm_out, channels, PREFIX "decoder.norm_out");
  sd_bind_layer (binder, &decoder->conv_out, 3, channels, 9, TRUE, PREFIX "decoder.conv_out");
}

/* All that handles pixels and latents counts on one scale. */
static void
check_scale (SdBinder *binder, const SdVae *vae)
{
  if (! binder->error && 1 << (vae->n_levels - 1) != LATENT_PIXELS)
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 C_ ("error", "%s has an autoencoder that makes one latent of %d x %d pixels, which is not supported: "
                              "only %d x %d is."),
                 tensor_file_get_path (binder->file), 1 << (vae->n_levels - 1), 1 << (vae->n_levels - 1), LATENT_PIXELS,
                 LATENT_PIXELS);
}

SdVae *
sd_vae_new (const TensorFile *file, GError **error)
{
  SdVae   *vae = g_new0 (SdVae, 1);
  SdBinder binder = { file, g_ptr_array_new_with_free_func (core_free), NULL };

  vae->owned = binder.owned;
  bind_vae (&binder, vae);
  check_scale (&binder, vae);
  if (! binder.error)
    return vae;
  g_propagate_error (error, binder.error);
  sd_vae_free (vae);
  return NULL;
}

void
sd_vae_free (SdVae *vae)
{
  if (! vae)
    return;
  g_ptr_array_unref (vae->owned);
  g_free (vae);
}

/* ---- running ---- */

/* Each of these consumes x. */

static SdTensor
run_res (SdRun *run, const Res *res, SdTensor x)
{
  SdTensor normal = sd_group_norm (run, &res->norm1, EPSILON, TRUE, &x);
  SdTensor hidden = sd_conv3 (run, &res->conv1, &normal), y = x;

  sd_tensor_free (run, &normal);
  normal = sd_group_norm (run, &res->norm2, EPSILON, TRUE, &hidden);
  sd_tensor_free (run, &hidden);
  if (res->skip.file)
    {
      y = sd_linear (run, &res->skip, &x);
      sd_tensor_free (run, &x);
    }
  sd_conv3_into (run, &res->conv2, &normal, &y, TRUE);
  sd_tensor_free (run, &normal);
  return y;
}

static SdTensor
run_middle (SdRun *run, const Half *half, SdTensor x)
{
  SdTensor normal, q, k, v, seen;

  x = run_res (run, &half->before, x);
  normal = sd_group_norm (run, &half->norm, EPSILON, FALSE, &x);
  q = sd_linear (run, &half->q, &normal);
  k = sd_linear (run, &half->k, &normal);
  v = sd_linear (run, &half->v, &normal);
  seen = sd_attention (run, 1, FALSE, &q, &k, &v);
  sd_linear_into (run, &half->project, &seen, &x, TRUE);
  sd_tensor_free (run, &normal);
  sd_tensor_free (run, &q);
  sd_tensor_free (run, &k);
  sd_tensor_free (run, &v);
  sd_tensor_free (run, &seen);
  return run_res (run, &half->after, x);
}

static SdTensor
run_out (SdRun *run, const Half *half, SdTensor x)
{
  SdTensor normal = sd_group_norm (run, &half->norm_out, EPSILON, TRUE, &x), y;

  sd_tensor_free (run, &x);
  y = sd_conv3 (run, &half->conv_out, &normal);
  sd_tensor_free (run, &normal);
  return y;
}

SdTensor
sd_vae_encode (SdRun *run, const SdVae *vae, const SdTensor *picture)
{
  const Half *half = &vae->encoder;
  SdTensor    x = sd_conv3 (run, &half->conv_in, picture), moments;

  for (int i = 0; i < vae->n_levels; i++)
    {
      for (int j = 0; j < half->levels[i].n_blocks; j++)
        x = run_res (run, &half->levels[i].blocks[j], x);
      if (half->levels[i].resample.file)
        {
          SdTensor smaller = sd_conv3_down (run, &half->levels[i].resample, &x, 0);

          sd_tensor_free (run, &x);
          x = smaller;
        }
    }
  x = run_out (run, half, run_middle (run, half, x));
  moments = sd_linear (run, &vae->quant, &x);
  sd_tensor_free (run, &x);
  return moments;
}

SdTensor
sd_vae_decode (SdRun *run, const SdVae *vae, const SdTensor *latent)
{
  const Half *half = &vae->decoder;
  SdTensor    z = sd_linear (run, &vae->post_quant, latent), x = sd_conv3 (run, &half->conv_in, &z);

  sd_tensor_free (run, &z);
  x = run_middle (run, half, x);
  for (int i = vae->n_levels - 1; i >= 0; i--)
    {
      for (int j = 0; j < half->levels[i].n_blocks; j++)
        x = run_res (run, &half->levels[i].blocks[j], x);
      if (half->levels[i].resample.file)
        {
          SdTensor larger = sd_upsample (run, &x);

          sd_tensor_free (run, &x);
          x = sd_conv3 (run, &half->levels[i].resample, &larger);
          sd_tensor_free (run, &larger);
        }
    }
  return run_out (run, half, x);
}
