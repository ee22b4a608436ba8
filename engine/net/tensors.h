/* Files of named tensors, in the safetensors format.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A 64-bit little-endian header length, a JSON header (name -> dtype, shape, data_offsets; "__metadata__" -> strings),
 * then the data.  Files are read as hostile input: no number in them is trusted before it has been checked.
 */
#pragma once

#include "compute/layers.h"

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

/* Bytes of a header: ours are some 10 kB; those of merged checkpoints, with all that they say of their making, some
 * megabytes.  A longer one is a lie. */
#define TENSORS_HEADER_MAX (32 * 1024 * 1024)

typedef struct _TensorFile TensorFile;

/* Reads and checks the header.  The file stays open, and its data are read when they are asked for: a mapping would
 * take the program down if the file shrank while in use. */
TensorFile *tensor_file_open (const char *path, GError **error);
void        tensor_file_free (TensorFile *file);
const char *tensor_file_get_path (const TensorFile *file);
GHashTable *tensor_file_get_metadata (TensorFile *file); /* string -> string, owned by the file */
int         tensor_file_count (const TensorFile *file);
gboolean    tensor_file_has (const TensorFile *file, const char *name);
/* Fails when a tensor is missing, of another shape, or of a type that is not read. */
gboolean tensor_file_check_shape (const TensorFile *file, const char *name, const int *dims, int n_dims,
                                  GError **error);
/* Converts a tensor of exactly this shape to f32; fails when it is missing, of another shape or not finite. */
gboolean tensor_file_read (const TensorFile *file, const char *name, const int *dims, int n_dims, float *values,
                           GError **error);

/* A tensor as it lies in the file, little-endian. */
#define TENSOR_VIEW_DIMS 4
typedef struct
{
  TensorType type;
  int        dims[TENSOR_VIEW_DIMS], n_dims;
  gsize      count;
  gsize      offset; /* for tensor_file_fetch () */
} TensorView;

/* FALSE when there is none of that name, or it has more dimensions than a view. */
gboolean tensor_file_view (const TensorFile *file, const char *name, TensorView *view);
/* `size` bytes from `offset` on.  Fails when the file has become shorter. */
gboolean tensor_file_fetch (const TensorFile *file, gsize offset, gsize size, void *to, GError **error);
/* The name of some tensor that `match` says yes to, to be freed; NULL: none. */
char *tensor_file_find (const TensorFile *file, gboolean (*match) (const char *name));
/* The names of all that `match` says yes to, sorted; g_ptr_array_unref (). */
GPtrArray *tensor_file_list (const TensorFile *file, gboolean (*match) (const char *name));

G_DEFINE_AUTOPTR_CLEANUP_FUNC (TensorFile, tensor_file_free)
