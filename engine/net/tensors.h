/* Files of named tensors, in the safetensors format.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A 64-bit little-endian header length, a JSON header (name -> dtype, shape, data_offsets; "__metadata__" -> strings),
 * then the data.  Files are read as hostile input: no number in them is trusted before it has been checked.
 */
#pragma once

#include "core/core.h"

typedef enum
{
  TENSOR_F32,
  TENSOR_F16
} TensorType;

/* ---- writing ---- */

typedef struct
{
  const char  *name;
  const int   *dims;
  int          n_dims;
  gsize        count;
  const float *values;
  TensorType   type;
} TensorEntry;

/* Atomic: an existing file is replaced only by a complete one that has reached the disk.  metadata: string -> string,
 * may be NULL. */
gboolean tensors_write (const char *path, const TensorEntry *entries, int n_entries, GHashTable *metadata,
                        GError **error);

/* ---- reading ---- */

typedef struct _TensorFile TensorFile;

/* Reads the whole file (a mapping would take the program down if the file shrank while in use) and checks its header.
 */
TensorFile *tensor_file_open (const char *path, GError **error);
void        tensor_file_free (TensorFile *file);
GHashTable *tensor_file_get_metadata (TensorFile *file); /* string -> string, owned by the file */
int         tensor_file_count (const TensorFile *file);
gboolean    tensor_file_has (const TensorFile *file, const char *name);
/* Converts a tensor of exactly this shape to f32; fails when it is missing, of another shape or not finite. */
gboolean tensor_file_read (const TensorFile *file, const char *name, const int *dims, int n_dims, float *values,
                           GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (TensorFile, tensor_file_free)
