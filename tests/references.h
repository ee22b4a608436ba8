/* What the original implementations made of tiny Stable Diffusion checkpoints.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#pragma once

#include "net/sd/networks.h"

/* The folder of the references: $DIFFUSION_SD_REFERENCES, or SD inside a folder beside the tree.  NULL, and the test is
 * skipped, where there is none. */
const char *references_find (void);
char       *references_get_path (const char *name);

/* What tasks work on: any picture, a family's tiny checkpoint, and options with its own size, which is a few latents.
 */
DiffusionPicture *references_new_picture (int width, int height);
DiffusionModel   *references_load_model (const char *family);
DiffusionOptions  references_get_options (int steps);

/* That of $DIFFUSION_MODELS: no references are needed. */
Tokenizer *references_open_tokenizer (void);

/* One family: a checkpoint of real layout, and inputs and outputs. */
typedef struct
{
  TensorFile *checkpoint, *golden;
  SdRun      *run;
} References;

/* FALSE: skipped.  backend: by name, what products run on ("blas": f32); not every processor has each. */
gboolean references_open (References *references, const char *family, const char *backend);
void     references_close (References *references);

/* A tensor [n, c, h, w], or [n, h, c], of the outputs, as [n][h][w][c]. */
SdTensor references_get (References *references, const char *name);

/* |a - b| / |b|, Euclidean. */
double references_compare (const SdTensor *a, const SdTensor *b);

/* Writes a copy of a checkpoint to `path` in which one tensor is another (or, without values, missing), and metadata
 * may be added. */
void references_write_changed (const TensorFile *file, const char *path, TensorType type, const char *changed,
                               const int dims[4], const float *values, GHashTable *metadata);
/* The same for several: those without values are missing, those that the checkpoint lacks are added. */
void references_write_changes (const TensorFile *file, const char *path, TensorType type, const TensorEntry *changes,
                               int n_changes, GHashTable *metadata);
