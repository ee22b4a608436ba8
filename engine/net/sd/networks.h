/* The networks of a Stable Diffusion checkpoint: text encoder, U-Net, autoencoder.  SPDX-License-Identifier:
 * GPL-3.0-or-later
 *
 * Each is bound to its tensors in the file, whose names say what it is made of and whose shapes say its widths;
 * binding fails with the name of the first tensor that is missing or does not fit.
 */
#pragma once

#include "prompt.h"
#include "run.h"

/* ---- text ---- */

typedef struct _SdText SdText;

/* What the names of a file's text encoder begin with.  NULL: it has none.  openclip: it is SD 2's. */
const char *sd_text_find_prefix (const TensorFile *file, gboolean *openclip);
/* TRUE for tensors of any text encoder. */
gboolean sd_text_is_part (const char *name);
/* CLIP's text transformer in SD 1's naming, or OpenCLIP's in SD 2's: the file says which. */
SdText *sd_text_new (const TensorFile *file, GError **error);
void    sd_text_free (SdText *text);
int     sd_text_get_width (const SdText *text);
/* The token that fills a prompt up. */
int sd_text_get_padding (const SdText *text);
/* [n][1][77][width]: what the U-Net is told, for n prompts.  Weights move a token's vector away from (or towards) that
 * of the empty prompt: z = z_empty + weight (z - z_empty). */
SdTensor sd_text_encode (SdRun *run, const SdText *text, const Prompt *prompts, int n);

/* ---- U-Net ---- */

typedef struct _SdUnet SdUnet;

/* Latents' sides are multiples of this, so files whose U-Net wants more are refused. */
#define SD_UNET_MULTIPLE_MOST 8

SdUnet *sd_unet_new (const TensorFile *file, int context, GError **error);
void    sd_unet_free (SdUnet *unet);
/* 4, or 9 in files for inpainting: latent, mask, latent of the picture without what the mask covers. */
int sd_unet_get_channels (const SdUnet *unet);
/* Both sides of x must be multiples of this: at most SD_UNET_MULTIPLE_MOST. */
int sd_unet_get_multiple (const SdUnet *unet);
/* x [n][h][w][channels], one timestep (0 ... 999, fractions allowed), context [n][1][77][width] -> [n][h][w][4] */
SdTensor sd_unet_forward (SdRun *run, const SdUnet *unet, const SdTensor *x, float timestep, const SdTensor *context);

/* ---- autoencoder ---- */

typedef struct _SdVae SdVae;

/* Edge of what one latent stands for, in pixels: files of another scale are refused. */
#define LATENT_PIXELS 8

SdVae *sd_vae_new (const TensorFile *file, GError **error);
void   sd_vae_free (SdVae *vae);
/* picture [n][h][w][3] in [-1, 1], sides multiples of LATENT_PIXELS -> [n][h / LATENT_PIXELS][w / LATENT_PIXELS][8]:
 * mean and logarithm of the variance */
SdTensor sd_vae_encode (SdRun *run, const SdVae *vae, const SdTensor *picture);
/* latent [n][h][w][4] -> [n][h * LATENT_PIXELS][w * LATENT_PIXELS][3], in about [-1, 1] */
SdTensor sd_vae_decode (SdRun *run, const SdVae *vae, const SdTensor *latent);
