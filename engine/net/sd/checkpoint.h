/* A Stable Diffusion checkpoint: what kind it is, and its networks.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "networks.h"

#define SD_TIMESTEPS 1000
/* What latents are multiplied by, so that their standard deviation is about 1. */
#define SD_LATENT_FACTOR 0.18215f

/* Which family a file belongs to, by its tensors' names and shapes, its metadata, and its own name.  Refuses others
 * with a sentence that says what they are. */
gboolean sd_family_find (const TensorFile *file, DiffusionCheckpoint *checkpoint, GError **error);
/* The size that it works at, which depends on what else is known of it. */
int sd_family_find_size (const TensorFile *file, const DiffusionCheckpoint *checkpoint);
/* Refuses files that are no safetensors at all by their first bytes. */
gboolean sd_family_check_format (const char *path, GError **error);

typedef struct _SdCheckpoint SdCheckpoint;

/* Takes the file over, also on failure.  Checks that all tensors are there and that all weights are numbers; finds out
 * what its network predicts, if the file does not say. */
SdCheckpoint *sd_checkpoint_new (TensorFile *file, GCancellable *cancellable, GError **error);
void          sd_checkpoint_free (SdCheckpoint *checkpoint);

const DiffusionCheckpoint *sd_checkpoint_get_info (const SdCheckpoint *checkpoint);
const TensorFile          *sd_checkpoint_get_file (const SdCheckpoint *checkpoint);
const Tokenizer           *sd_checkpoint_get_tokenizer (const SdCheckpoint *checkpoint);
const SdText              *sd_checkpoint_get_text (const SdCheckpoint *checkpoint);
const SdUnet              *sd_checkpoint_get_unet (const SdCheckpoint *checkpoint);
const SdVae               *sd_checkpoint_get_vae (const SdCheckpoint *checkpoint);
gsize                      sd_checkpoint_count_parameters (const SdCheckpoint *checkpoint);

/* alphas_cumprod of Ho et al. 2020, [SD_TIMESTEPS]: the file's own, or SD's schedule. */
const float *sd_checkpoint_get_alphas (const SdCheckpoint *checkpoint);
