/* What the engine's own parts may know of a model.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "net.h"
#include "sd/checkpoint.h"
#include "tensors.h"

/* NULL for a model of this program. */
SdCheckpoint *model_get_checkpoint (const DiffusionModel *model);
/* Fails for a checkpoint.  reason: a clause on what it can do and what it cannot, marked with NC_ ("reason") where
 * users of the plug-in get to read it. */
gboolean model_check_own (const DiffusionModel *model, const char *reason, GError **error);

const NetLayout *model_get_layout (const DiffusionModel *model);
float           *model_get_weights (DiffusionModel *model); /* to be changed only before the model is shared */
/* The network on the default back end, made when first asked for and kept. */
const NetPlan *model_get_plan (const DiffusionModel *model, GError **error);

/* "64,128,256" and back; the second fails on anything else than 1 to DIFFUSION_MAX_LEVELS numbers. */
char    *model_numbers_to_text (const int *numbers, int count);
gboolean model_numbers_from_text (const char *text, int *numbers, int *count);

/* Fills the architecture from a file's metadata. */
gboolean model_parse_architecture (GHashTable *metadata, const char *path, DiffusionArchitecture *architecture,
                                   GError **error);
/* Notes an architecture in metadata. */
void model_describe_architecture (const DiffusionArchitecture *architecture, GHashTable *metadata);

/* All parameters of a layout, from or to a file; `prefix` before each tensor's name. */
gboolean model_read_parameters (const TensorFile *file, const NetLayout *layout, const char *prefix, float *values,
                                GError **error);
void     model_add_entries (const NetLayout *layout, const char *const *names, const float *values, TensorType type,
                            TensorEntry *entries);
