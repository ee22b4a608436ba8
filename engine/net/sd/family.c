/* What a file is.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>

#define SD1_TOKENS   "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
#define UNET         "model.diffusion_model."
#define FIRST_TENSOR UNET "input_blocks.0.0.weight"
#define SGM          "conditioner."

/* reason: marked for translation. */
static gboolean
refuse (GError **error, const char *path, const char *reason)
{
  /* Translators: a file's path, and what it is instead: a text with the context "reason", perhaps of two sentences. */
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL, C_ ("error", "%s cannot be used: %s."), path,
               g_dpgettext2 (GETTEXT_PACKAGE, "reason", reason));
  return FALSE;
}

/* A length that a header may have, and a brace: the length's first bytes may be what a pickle begins with. */
static gboolean
looks_like_tensors (const guint8 head[9])
{
  guint64 length;

  memcpy (&length, head, sizeof length);
  return GUINT64_FROM_LE (length) <= TENSORS_HEADER_MAX && head[sizeof length] == '{';
}

gboolean
sd_family_check_format (const char *path, GError **error)
{
  guint8   head[9] = { 0 };
  int      fd = g_open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
  gssize   size = fd >= 0 ? read (fd, head, sizeof head) : 0;
  gboolean pickle = (size >= 4 && memcmp (head, "PK\3\4", 4) == 0) || (size >= 2 && head[0] == 0x80 && head[1] <= 5);

  if (size == sizeof head && looks_like_tensors (head))
    pickle = FALSE;
  if (fd >= 0)
    close (fd);
  if (pickle || g_str_has_suffix (path, ".ckpt"))
    return refuse (
        error, path,
        NC_ ("reason",
             "it is a Python pickle (as .ckpt and .pt files are), and reading one can run programs that are hidden in "
             "it.  Get the model as a .safetensors file"));
  if (size >= 4 && memcmp (head, "GGUF", 4) == 0)
    return refuse (
        error, path,
        NC_ ("reason", "it is a GGUF file, a format that is not supported.  Get the model as a .safetensors file"));
  return TRUE;
}

/* ---- kinds that are refused ---- */

static gboolean
is_lora (const char *name)
{
  return strstr (name, "lora_up") || strstr (name, "lora_down") || strstr (name, ".lora_A.")
         || strstr (name, ".lora_B.") || strstr (name, "lora.up.") || strstr (name, "lora.down.")
         || g_str_has_prefix (name, "lora_") || strstr (name, ".hada_w1") || strstr (name, ".lokr_w1");
}

static gboolean
is_flux (const char *name)
{
  return strstr (name, "double_blocks.") && strstr (name, "img_attn");
}

static gboolean
is_sd3 (const char *name)
{
  return strstr (name, "joint_blocks.") != NULL;
}

/* SD 2's unCLIP and its upscaler for the factor 4.  As SDXL their networks are told more than a prompt; the tensors
 * here are what that one has not. */
static gboolean
is_sd2_relative (const char *name)
{
  return g_str_has_prefix (name, "embedder.model.") || g_str_has_prefix (name, "noise_augmentor.")
         || strcmp (name, UNET "label_emb.weight") == 0;
}

/* Its refiner has one text encoder, in the place of SD-Turbo's only one. */
static gboolean
is_sdxl (const char *name)
{
  return g_str_has_prefix (name, "conditioner.embedders.1.") || g_str_has_prefix (name, UNET "label_emb.");
}

static gboolean
is_control (const char *name)
{
  return g_str_has_prefix (name, "control_model.") || strstr (name, "controlnet_cond_embedding");
}

static gboolean
is_diffusers (const char *name)
{
  return g_str_has_prefix (name, "down_blocks.") && strstr (name, "resnets.");
}

static gboolean
is_unet (const char *name)
{
  return g_str_has_prefix (name, UNET);
}

static gboolean
is_vae (const char *name)
{
  return g_str_has_prefix (name, "first_stage_model.") || g_str_has_prefix (name, "decoder.conv_in.")
         || g_str_has_prefix (name, "decoder.mid");
}

static gboolean
is_embedding (const char *name)
{
  return strcmp (name, "emb_params") == 0 || strcmp (name, "string_to_param") == 0 || strcmp (name, "clip_l") == 0;
}

static gboolean
is_text (const char *name)
{
  return g_str_has_prefix (name, "text_model.") || sd_text_is_part (name);
}

/* The first that a file has is what it is; a U-Net rules out what follows it. */
static const struct
{
  gboolean (*match) (const char *name);
  const char *reason;
} kinds[] = {
  { is_lora, NC_ ("reason", "it is a LoRA, a small change to a checkpoint, and not a checkpoint of its own.  Choose a "
                            "checkpoint; a LoRA can be merged into one by other programs") },
  { is_flux, NC_ ("reason", "it is a Flux model, which is not supported: Stable Diffusion 1.x and 2.x are") },
  { is_sd3,
    NC_ ("reason", "it is a Stable Diffusion 3 model, which is not supported: Stable Diffusion 1.x and 2.x are") },
  { is_sd2_relative, NC_ ("reason", "it is a relative of Stable Diffusion 2 that varies or enlarges pictures (unCLIP, "
                                    "x4 upscaler), which is not supported: those that paint from a prompt alone are") },
  { is_sdxl,
    NC_ ("reason", "it is a Stable Diffusion XL model, which is not supported: Stable Diffusion 1.x and 2.x are") },
  { is_control,
    NC_ ("reason",
         "it is a ControlNet, an addition to a checkpoint, and not a checkpoint of its own.  Choose a checkpoint") },
  { is_unet, NULL },
  { is_diffusers,
    NC_ ("reason",
         "it is one part of a model that is stored in several files.  Choose a checkpoint that is one .safetensors "
         "file") },
  { is_vae,
    NC_ ("reason", "it is an autoencoder (VAE) alone, without the network that paints.  Choose a whole checkpoint") },
  { is_embedding,
    /* Translators: a word for prompts that was learnt from pictures. */
    NC_ ("reason", "it is a textual inversion, an addition to a checkpoint, and not a checkpoint of its own") },
  { is_text,
    NC_ ("reason", "it is a text encoder alone, without the network that paints.  Choose a whole checkpoint") },
};

static gboolean
check_kind (const TensorFile *file, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_autofree char *name = tensor_file_find (file, kinds[i].match);

      if (name && ! kinds[i].reason)
        return TRUE;
      if (name)
        return refuse (error, tensor_file_get_path (file), kinds[i].reason);
    }
  g_set_error (
      error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
      C_ ("error",
          "%s is neither a model of this program nor a Stable Diffusion checkpoint: its tensor %s is missing."),
      tensor_file_get_path (file), FIRST_TENSOR);
  return FALSE;
}

/* ---- what is known of a checkpoint ---- */

/* How much of what there is to read about a file: each includes the one before. */
typedef enum
{
  CALLED = 3, /* its own name and its titles */
  TAGGED,
  DESCRIBED
} Reading;

static char *
get_description (const TensorFile *file, Reading reading)
{
  static const char *const keys[] = { "modelspec.title", "name", "title", "modelspec.tags", "modelspec.description" };
  g_autofree char         *base = g_path_get_basename (tensor_file_get_path (file));
  g_autoptr (GString) text = g_string_new (base);
  GHashTable *metadata = tensor_file_get_metadata ((TensorFile *) file);

  for (gsize i = 0; i < (gsize) reading; i++)
    if (g_hash_table_lookup (metadata, keys[i]))
      g_string_append_printf (text, " %s", (const char *) g_hash_table_lookup (metadata, keys[i]));
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* Whether a word ends and another begins before at[0], as in "photonLCM_v10", "dreamshaper_8LCM", "photonLCMv2" and
 * "epicLCMInpainting".  at: not a text's first. */
static gboolean
is_joint (const char *at)
{
  char before = at[-1], after = at[0], next = after ? at[1] : 0;

  return ! g_ascii_isalnum (before) || ! g_ascii_isalnum (after) || g_ascii_isdigit (before) != g_ascii_isdigit (after)
         || (g_ascii_islower (before) && g_ascii_isupper (after))
         || (g_ascii_isupper (before) && g_ascii_isupper (after) && g_ascii_islower (next))
         || (g_ascii_tolower (after) == 'v' && g_ascii_isdigit (next));
}

/* Whole words, in upper or lower case. */
static gboolean
mentions (const char *description, const char *const *words)
{
  for (; *words; words++)
    for (const char *p = description; *p; p++)
      if (g_ascii_strncasecmp (p, *words, strlen (*words)) == 0 && (p == description || is_joint (p))
          && is_joint (p + strlen (*words)))
        return TRUE;
  return FALSE;
}

/* A name that speaks of v is no more than a hint ("landscape_768-v2" is the second of its kind): the network is asked
 * when it is loaded, as all of Stable Diffusion 2 are. */
static gboolean
hints_at_v (const TensorFile *file)
{
  static const char *const v_names[] = { "768-v", "768v", "v-pred", "vpred", "v_pred", NULL };
  g_autofree char         *description = get_description (file, TAGGED);

  return mentions (description, v_names);
}

static DiffusionPrediction
find_prediction (const TensorFile *file, DiffusionFamily family, gboolean is_turbo)
{
  const char *given = g_hash_table_lookup (tensor_file_get_metadata ((TensorFile *) file), "modelspec.prediction_type");

  if (given && g_ascii_strncasecmp (given, "v", 1) == 0)
    return DIFFUSION_PREDICTION_V;
  if (given && g_ascii_strncasecmp (given, "eps", 3) == 0)
    return DIFFUSION_PREDICTION_EPSILON;
  if (tensor_file_has (file, "v_pred"))
    return DIFFUSION_PREDICTION_V;
  if (hints_at_v (file))
    return DIFFUSION_PREDICTION_AUTO;
  /* Turbo and its like were made from models that predict the noise. */
  return family == DIFFUSION_FAMILY_SD1 || is_turbo ? DIFFUSION_PREDICTION_EPSILON : DIFFUSION_PREDICTION_AUTO;
}

/* Some models' metadata tell the resolution, as "768x768". */
int
sd_family_find_size (const TensorFile *file, const DiffusionCheckpoint *checkpoint)
{
  static const char *const large[] = { "768", NULL };
  g_autofree char         *description = get_description (file, DESCRIBED);
  const char *given = g_hash_table_lookup (tensor_file_get_metadata ((TensorFile *) file), "modelspec.resolution");
  gint64      size = given ? g_ascii_strtoll (given, NULL, 10) : 0;

  if (size >= 256 && size <= 1024)
    return (int) size / 64 * 64;
  if (checkpoint->family == DIFFUSION_FAMILY_SD2 && ! checkpoint->few_steps
      && (checkpoint->prediction == DIFFUSION_PREDICTION_V || mentions (description, large)
          || (checkpoint->prediction == DIFFUSION_PREDICTION_AUTO && hints_at_v (file))))
    return 768;
  return 512;
}

gboolean
sd_family_find (const TensorFile *file, DiffusionCheckpoint *checkpoint, GError **error)
{
  static const char *const lcm[] = { "lcm", "latent consistency", NULL };
  /* "Hyper" alone is also what many call their realism. */
  static const char *const turbo[] = { "turbo",         "hyper-sd",     "hyper_sd",        "hyper sd",  "hypersd",
                                       "hyper-vae",     "hyper_vae",    "hyper vae",       "hypervae",  "hyper-inpaint",
                                       "hyper_inpaint", "hyperinpaint", "hyperinpainting", "lightning", NULL };
  g_autofree char         *title = get_description (file, CALLED);
  const char              *prefix;
  /* Descriptions and tags also speak of what goes well with a model, or of lightning. */
  gboolean is_lcm = mentions (title, lcm), is_turbo = mentions (title, turbo), openclip = FALSE;

  *checkpoint = (DiffusionCheckpoint){ .steps = 20, .sampler = DIFFUSION_SAMPLER_DPMPP_2M, .guidance = 7.5 };
  if (! check_kind (file, error))
    return FALSE;
  prefix = sd_text_find_prefix (file, &openclip);
  if (! prefix)
    {
      g_set_error (
          error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
          C_ ("error",
              "%s is no complete Stable Diffusion checkpoint: its tensor %s is missing.  Choose a file that has the "
              "text encoder in it."),
          tensor_file_get_path (file), SD1_TOKENS);
      return FALSE;
    }
  checkpoint->family = openclip ? DIFFUSION_FAMILY_SD2 : DIFFUSION_FAMILY_SD1;
  checkpoint->inpainting = sd_get_dim (file, FIRST_TENSOR, 1) == 9;
  /* Of SD 2's, SD-Turbo's file has its text encoder where SDXL's have theirs, whatever its name is. */
  checkpoint->few_steps = is_lcm || is_turbo || (openclip && g_str_has_prefix (prefix, SGM));
  checkpoint->prediction = find_prediction (file, checkpoint->family, is_turbo);
  if (checkpoint->few_steps)
    {
      checkpoint->steps = 4;
      checkpoint->guidance = 1;
      checkpoint->sampler = is_lcm ? DIFFUSION_SAMPLER_LCM : DIFFUSION_SAMPLER_EULER_ANCESTRAL;
    }
  checkpoint->native_size = sd_family_find_size (file, checkpoint);
  return TRUE;
}

gboolean
diffusion_checkpoint_look (const char *path, DiffusionCheckpoint *checkpoint, GError **error)
{
  g_autoptr (TensorFile) file = NULL;

  if (! sd_family_check_format (path, error))
    return FALSE;
  file = tensor_file_open (path, error);
  return file && sd_family_find (file, checkpoint, error);
}
