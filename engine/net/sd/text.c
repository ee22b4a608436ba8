/* CLIP's text encoder.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Radford et al. 2021; a transformer whose norms come first.  SD 1 takes the last layer of CLIP ViT-L, SD 2 the last
 * but one of OpenCLIP ViT-H; both put it through the final norm.
 */
#include "networks.h"

#include <glib/gi18n-lib.h>
#include <stdlib.h>

#define SD1_PREFIX "cond_stage_model.transformer.text_model."

/* All CLIPs have heads of 64 channels; tiny ones for tests have at least this many heads in SD 1's naming. */
#define HEAD_CHANNELS   64
#define SD1_LEAST_HEADS 4
/* OpenCLIP ViT-H has 24 blocks; some files leave out the last, which SD 2 does not use. */
#define SD2_SHORT_BLOCKS 23

typedef struct
{
  SdNorm  norm1, norm2;
  SdLayer q, k, v, out, up, down;
} Block;

struct _SdText
{
  GPtrArray  *owned;
  const char *prefix;
  gboolean    openclip;
  int         width, heads, n_blocks;
  SdLayer     tokens, positions;
  Block      *blocks;
  SdNorm      norm;
};

/* ---- where it is ---- */

static const struct
{
  const char *prefix, *tokens;
  gboolean    openclip;
} layouts[] = {
  { "cond_stage_model.model.", "token_embedding.weight", TRUE },
  /* SD-Turbo's own file is written as those of SDXL are, which have a second encoder behind this one. */
  { "conditioner.embedders.0.model.", "token_embedding.weight", TRUE },
  { "cond_stage_model.transformer.", "embeddings.token_embedding.weight", FALSE }, /* files of 2022 */
  { SD1_PREFIX, "embeddings.token_embedding.weight", FALSE },
};

const char *
sd_text_find_prefix (const TensorFile *file, gboolean *openclip)
{
  for (gsize i = 0; i < G_N_ELEMENTS (layouts); i++)
    if (sd_has (file, "%s%s", layouts[i].prefix, layouts[i].tokens))
      {
        *openclip = layouts[i].openclip;
        return layouts[i].prefix;
      }
  return NULL;
}

gboolean
sd_text_is_part (const char *name)
{
  return g_str_has_prefix (name, "cond_stage_model.") || g_str_has_prefix (name, "conditioner.embedders.");
}

/* ---- binding ---- */

static void
bind_block_sd1 (SdBinder *binder, const SdText *text, int i, Block *block)
{
  g_autofree char *name = g_strdup_printf ("%sencoder.layers.%d", text->prefix, i);
  int              width = text->width;

  sd_bind_norm (binder, &block->norm1, width, "%s.layer_norm1", name);
  sd_bind_layer (binder, &block->q, width, width, 1, TRUE, "%s.self_attn.q_proj", name);
  sd_bind_layer (binder, &block->k, width, width, 1, TRUE, "%s.self_attn.k_proj", name);
  sd_bind_layer (binder, &block->v, width, width, 1, TRUE, "%s.self_attn.v_proj", name);
  sd_bind_layer (binder, &block->out, width, width, 1, TRUE, "%s.self_attn.out_proj", name);
  sd_bind_norm (binder, &block->norm2, width, "%s.layer_norm2", name);
  sd_bind_layer (binder, &block->up, SD_ANY, width, 1, TRUE, "%s.mlp.fc1", name);
  sd_bind_layer (binder, &block->down, width, block->up.out, 1, TRUE, "%s.mlp.fc2", name);
}

static void
bind_block_sd2 (SdBinder *binder, const SdText *text, int i, Block *block)
{
  g_autofree char *name = g_strdup_printf ("%stransformer.resblocks.%d", text->prefix, i);
  g_autofree char *weight = g_strconcat (name, ".attn.in_proj_weight", NULL);
  g_autofree char *bias = g_strconcat (name, ".attn.in_proj_bias", NULL);
  int              width = text->width;

  sd_bind_norm (binder, &block->norm1, width, "%s.ln_1", name);
  sd_bind_rows (binder, &block->q, 0, width, 3 * width, width, weight, bias);
  sd_bind_rows (binder, &block->k, width, width, 3 * width, width, weight, bias);
  sd_bind_rows (binder, &block->v, 2 * width, width, 3 * width, width, weight, bias);
  sd_bind_layer (binder, &block->out, width, width, 1, TRUE, "%s.attn.out_proj", name);
  sd_bind_norm (binder, &block->norm2, width, "%s.ln_2", name);
  sd_bind_layer (binder, &block->up, SD_ANY, width, 1, TRUE, "%s.mlp.c_fc", name);
  sd_bind_layer (binder, &block->down, width, block->up.out, 1, TRUE, "%s.mlp.c_proj", name);
}

/* Tables and norm; blocks are counted.  SD 2 leaves the last one out, unless the file has done so already. */
static void
bind_text (SdBinder *binder, SdText *text)
{
  const char      *tokens = text->openclip ? "token_embedding.weight" : "embeddings.token_embedding.weight";
  const char      *positions = text->openclip ? "positional_embedding" : "embeddings.position_embedding.weight";
  g_autofree char *token_name = g_strconcat (text->prefix, tokens, NULL);
  g_autofree char *position_name = g_strconcat (text->prefix, positions, NULL);
  const char      *heads = g_hash_table_lookup (tensor_file_get_metadata ((TensorFile *) binder->file), "text_heads");

  sd_bind_weights (binder, &text->tokens, PROMPT_END + 1, SD_ANY, 1, token_name);
  text->width = text->tokens.in;
  sd_bind_weights (binder, &text->positions, PROMPT_LENGTH, text->width, 1, position_name);
  text->heads = MAX (text->width / HEAD_CHANNELS, text->openclip ? 1 : SD1_LEAST_HEADS);
  if (heads)
    text->heads = CLAMP (atoi (heads), 1, MAX (text->width, 1));
  do
    text->n_blocks++;
  while (sd_has (binder->file,
                 text->openclip ? "%stransformer.resblocks.%d.ln_1.weight" : "%sencoder.layers.%d.layer_norm1.weight",
                 text->prefix, text->n_blocks));
  if (text->openclip && text->n_blocks != SD2_SHORT_BLOCKS)
    text->n_blocks = MAX (text->n_blocks - 1, 1);
  text->blocks = g_new0 (Block, (gsize) text->n_blocks);
  for (int i = 0; i < text->n_blocks && ! binder->error; i++)
    if (text->openclip)
      bind_block_sd2 (binder, text, i, &text->blocks[i]);
    else
      bind_block_sd1 (binder, text, i, &text->blocks[i]);
  sd_bind_norm (binder, &text->norm, text->width, "%s%s", text->prefix,
                text->openclip ? "ln_final" : "final_layer_norm");
  if (! binder->error && text->width % text->heads != 0)
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 /* Translators: a file's path; heads of attention. */
                 C_ ("error", "%s has a text encoder of %d channels, which %d heads do not divide."),
                 tensor_file_get_path (binder->file), text->width, text->heads);
}

SdText *
sd_text_new (const TensorFile *file, GError **error)
{
  SdText  *text = g_new0 (SdText, 1);
  SdBinder binder = { file, g_ptr_array_new_with_free_func (core_free), NULL };

  text->owned = binder.owned;
  text->prefix = sd_text_find_prefix (file, &text->openclip);
  /* It is missing: the usual name says so. */
  if (! text->prefix)
    text->prefix = SD1_PREFIX;
  bind_text (&binder, text);
  if (! binder.error)
    return text;
  g_propagate_error (error, binder.error);
  sd_text_free (text);
  return NULL;
}

void
sd_text_free (SdText *text)
{
  if (! text)
    return;
  g_ptr_array_unref (text->owned);
  g_free (text->blocks);
  g_free (text);
}

int
sd_text_get_width (const SdText *text)
{
  return text->width;
}

int
sd_text_get_padding (const SdText *text)
{
  return text->openclip ? 0 : PROMPT_END;
}

/* ---- running ---- */

/* A row of a table. */
static gboolean
look_up (const SdLayer *table, int row, float *values, GError **error)
{
  gsize offset = (gsize) row * (gsize) table->in * weight_size (table->type);

  return sd_fetch_weights (table->file, table->type, table->offset + offset, (gsize) table->in, values, error);
}

static void
embed (SdRun *run, const SdText *text, const Prompt *prompts, SdTensor *x)
{
  g_autofree float *position = g_new (float, (gsize) text->width);

  for (int i = 0; i < PROMPT_LENGTH; i++)
    {
      if (! look_up (&text->positions, i, position, &run->error))
        return;
      for (int n = 0; n < x->n; n++)
        {
          float *to = x->data + ((gsize) n * PROMPT_LENGTH + (gsize) i) * (gsize) text->width;

          if (! look_up (&text->tokens, prompts[n].ids[i], to, &run->error))
            return;
          pointwise_add (ELEMENT_F32, (gsize) text->width, position, to);
        }
    }
}

static void
run_block (SdRun *run, const SdText *text, const Block *block, SdTensor *x)
{
  SdTensor normal = sd_layer_norm (run, &block->norm1, x);
  SdTensor q = sd_linear (run, &block->q, &normal), k = sd_linear (run, &block->k, &normal);
  SdTensor v = sd_linear (run, &block->v, &normal);
  SdTensor seen = sd_attention (run, text->heads, TRUE, &q, &k, &v), wide;

  sd_linear_into (run, &block->out, &seen, x, TRUE);
  sd_tensor_free (run, &normal);
  sd_tensor_free (run, &q);
  sd_tensor_free (run, &k);
  sd_tensor_free (run, &v);
  sd_tensor_free (run, &seen);

  normal = sd_layer_norm (run, &block->norm2, x);
  wide = sd_linear (run, &block->up, &normal);
  sd_activate (run, text->openclip ? SD_GELU : SD_QUICK_GELU, &wide);
  sd_linear_into (run, &block->down, &wide, x, TRUE);
  sd_tensor_free (run, &normal);
  sd_tensor_free (run, &wide);
}

static void
apply_weights (const Prompt *prompt, int width, const float *empty, float *z)
{
  for (int i = 0; i < PROMPT_LENGTH; i++, z += width, empty += width)
    for (int c = 0; c < width && prompt->weights[i] != 1; c++)
      z[c] = empty[c] + prompt->weights[i] * (z[c] - empty[c]);
}

static SdTensor
encode (SdRun *run, const SdText *text, const Prompt *prompts, int n)
{
  gboolean weighted = FALSE;
  gsize    size = (gsize) PROMPT_LENGTH * (gsize) text->width;
  SdTensor x = sd_tensor_new (run, n, 1, PROMPT_LENGTH, text->width), z;

  if (! sd_run_is_idle (run))
    embed (run, text, prompts, &x);
  for (int i = 0; i < text->n_blocks; i++)
    run_block (run, text, &text->blocks[i], &x);
  z = sd_layer_norm (run, &text->norm, &x);
  sd_tensor_free (run, &x);

  for (int i = 0; i < n; i++)
    weighted |= prompts[i].weighted;
  if (weighted)
    {
      Prompt   none;
      SdTensor empty;

      prompt_parse (NULL, "", sd_text_get_padding (text), &none);
      empty = encode (run, text, &none, 1);
      for (int i = 0; i < n && ! run->error; i++)
        apply_weights (&prompts[i], text->width, empty.data, z.data + (gsize) i * size);
      sd_tensor_free (run, &empty);
    }
  return z;
}

SdTensor
sd_text_encode (SdRun *run, const SdText *text, const Prompt *prompts, int n)
{
  SdFilters *filters = run->filters;
  SdTensor   z;

  /* It runs once, in a moment: to lay its weights out would take longer, and f32 is closer. */
  run->filters = NULL;
  z = encode (run, text, prompts, n);
  run->filters = filters;
  return z;
}
