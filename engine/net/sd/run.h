/* What the networks of a checkpoint are made of, and how they run.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Unlike our own network, which is local and streams, these look at the whole picture at each layer (group norms,
 * attention).  So they run layer after layer on whole tensors, each layer split over the pool.  Their weights stay in
 * the file as it has them; a layer reads and converts its own on their way into the products, so that memory holds one
 * layer's at a time.
 */
#pragma once

#include "compute/layers.h"
#include "net/tensors.h"

/* ---- weights ---- */

/* A matrix product or a 3x3 convolution. */
typedef struct
{
  const TensorFile *file;   /* NULL: there is no such layer */
  gsize             offset; /* of its weights, [out][in] or [out][in][3][3], in the file */
  TensorType        type;
  int               out, in, taps; /* taps: 1 or 9 */
  float            *bias;          /* NULL: none */
} SdLayer;

/* Groups of a group norm. */
#define SD_GROUPS 32

/* A group norm or a layer norm. */
typedef struct
{
  float *gain, *bias;
  int    channels;
} SdNorm;

/* Finds a network's tensors in a file.  The first that is missing or of another shape makes the error; what follows
 * does nothing. */
typedef struct
{
  const TensorFile *file;
  GPtrArray        *owned; /* memory of biases and norms: core_free () */
  GError           *error;
} SdBinder;

#define SD_ANY 0 /* for out, in: what the file has */

/* NAME.weight and NAME.bias. */
void sd_bind_layer (SdBinder *binder, SdLayer *layer, int out, int in, int taps, gboolean bias, const char *name, ...)
    G_GNUC_PRINTF (7, 8);
/* Weights alone, by their own name. */
void sd_bind_weights (SdBinder *binder, SdLayer *layer, int out, int in, int taps, const char *name);
/* Weight and bias by their own names; rows [first, first + out) of `total`. */
void sd_bind_rows (SdBinder *binder, SdLayer *layer, int first, int out, int total, int in, const char *weight,
                   const char *bias);
void sd_bind_norm (SdBinder *binder, SdNorm *norm, int channels, const char *name, ...) G_GNUC_PRINTF (4, 5);
/* The same for one whose channels are split into groups: refuses numbers that these do not divide. */
void     sd_bind_group_norm (SdBinder *binder, SdNorm *norm, int channels, const char *name, ...) G_GNUC_PRINTF (4, 5);
gboolean sd_has (const TensorFile *file, const char *name, ...) G_GNUC_PRINTF (2, 3);
/* Weights from an offset of the file on, converted. */
gboolean sd_fetch_weights (const TensorFile *file, TensorType type, gsize offset, gsize count, float *values,
                           GError **error);
/* Size of a tensor's dimension; 0: no such tensor, or it has fewer dimensions. */
int sd_get_dim (const TensorFile *file, const char *name, int dim);

/* ---- tensors ---- */

/* [n][h][w][c] in f32; data is NULL after a failure. */
typedef struct
{
  int    n, h, w, c;
  float *data;
} SdTensor;

static inline gsize
sd_tensor_rows (const SdTensor *x)
{
  return (gsize) x->n * (gsize) x->h * (gsize) x->w;
}

static inline gsize
sd_tensor_count (const SdTensor *x)
{
  return sd_tensor_rows (x) * (gsize) x->c;
}

/* ---- running ---- */

/* Weights that are laid out as a back end likes them. */
typedef struct _SdFilters SdFilters;

/* The first failure sticks: all that follows does nothing and gives tensors without data. */
typedef struct
{
  Pool         *pool;
  int           threads;
  Scratch      *scratch; /* one for each thread */
  Scratch      *raw;     /* the same: weights as the file has them */
  GError      **errors;  /* the same */
  Scratch       shared;  /* converted weights */
  SdFilters    *filters; /* products run through these; NULL: in f32, on OpenBLAS */
  GArray       *buffers; /* memory of tensors, kept for the next of their size */
  gsize         bytes;   /* of it, idle or not; and the most of them so far */
  gsize         peak;
  GCancellable *cancellable;
  GError       *error;
  double        flops; /* counted so far: two for each multiplication of products, direct convolutions, attention */
  /* Nothing is computed, only counted: flops, the peak, and the bytes of converted weights at a time and kept. */
  gboolean dry;
  gsize    dry_buffers, dry_shared, dry_kept;
  /* Called after each layer; may be NULL. */
  void (*after_layer) (gpointer user_data);
  gpointer after_layer_data;
} SdRun;

/* backend: NULL for the default one; those without filters leave products to OpenBLAS. */
SdRun *sd_run_new (int threads, const ComputeBackend *backend, GCancellable *cancellable, GError **error);
void   sd_run_free (SdRun *run);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (SdRun, sd_run_free)
/* TRUE when nothing has failed; otherwise hands the error on. */
gboolean sd_run_finish (SdRun *run, GError **error);
/* One that only counts, for that back end. */
SdRun *sd_run_new_dry (const ComputeBackend *backend);
/* TRUE when there is nothing to do: something has failed, or things are only counted. */
static inline gboolean
sd_run_is_idle (const SdRun *run)
{
  return run->error || run->dry;
}
/* Memory for converted weights, valid until the next layer's; NULL after a failure and when only counting. */
float *sd_run_get_shared (SdRun *run, gsize bytes);
/* Frees what lies idle, weights that are kept too. */
void sd_run_trim (SdRun *run);

SdTensor sd_tensor_new (SdRun *run, int n, int h, int w, int c);
/* After an allocation has failed: gives kept weights back and forgets the failure, if there were any. */
gboolean sd_run_make_room (SdRun *run);
/* Takes the memory back; a tensor without data is fine. */
void sd_tensor_free (SdRun *run, SdTensor *x);

/* Splits work over the pool as pool_run () does, unless something has failed; tasks put their errors at
 * run->errors[thread]. */
void sd_run_tasks (SdRun *run, int tasks, PoolFunc func, gpointer data);

/* ---- products through filters ---- */

/* NULL, and no error, if the back end has none. */
SdFilters            *sd_filters_new (const ComputeBackend *backend);
void                  sd_filters_free (SdFilters *filters);
const ComputeBackend *sd_filters_get_backend (const SdFilters *filters);
/* Gives all weights back, and the filters. */
void sd_filters_clear (SdFilters *filters);
/* Gives all weights back and keeps none from now on; FALSE if there were none. */
gboolean sd_filters_make_room (SdFilters *filters);
/* y = (add ? y : 0) + a layer's product or 3x3 convolution of x.  Its weights are converted and laid out when they are
 * first needed, and kept for the next time as long as there is memory to spare.  stride, pad: as in sd_conv3_down ();
 * 1, 0 for products. */
void sd_filters_apply (SdRun *run, const SdLayer *layer, const SdTensor *x, int stride, int pad, SdTensor *y,
                       gboolean add);

/* ---- layers ---- */

/* x's rows times the weights, plus bias; `add`: also plus what y holds. */
SdTensor sd_linear (SdRun *run, const SdLayer *layer, const SdTensor *x);
void     sd_linear_into (SdRun *run, const SdLayer *layer, const SdTensor *x, SdTensor *y, gboolean add);
/* 3x3, stride 1, one pixel of zeros around. */
SdTensor sd_conv3 (SdRun *run, const SdLayer *layer, const SdTensor *x);
void     sd_conv3_into (SdRun *run, const SdLayer *layer, const SdTensor *x, SdTensor *y, gboolean add);
/* 3x3, stride 2; pad: zeros before the first pixel, 1 or 0 (and then one more behind the last). */
SdTensor sd_conv3_down (SdRun *run, const SdLayer *layer, const SdTensor *x, int pad);
/* SD_GROUPS groups (Wu and He 2018). */
SdTensor sd_group_norm (SdRun *run, const SdNorm *norm, float epsilon, gboolean silu, const SdTensor *x);
SdTensor sd_layer_norm (SdRun *run, const SdNorm *norm, const SdTensor *x);
typedef enum
{
  SD_GELU,
  SD_QUICK_GELU,
  SD_SILU
} SdActivation;
void     sd_activate (SdRun *run, SdActivation activation, SdTensor *x);
SdTensor sd_geglu (SdRun *run, const SdTensor *x);
/* Each sample's queries against its keys; the channels are split into heads. */
SdTensor sd_attention (SdRun *run, int heads, gboolean causal, const SdTensor *q, const SdTensor *k, const SdTensor *v);
SdTensor sd_concatenate (SdRun *run, const SdTensor *a, const SdTensor *b);
SdTensor sd_upsample (SdRun *run, const SdTensor *x);
/* y += x */
void sd_add (SdRun *run, const SdTensor *x, SdTensor *y);
/* y[row][c] += x[c] */
void sd_add_channels (SdRun *run, const SdTensor *x, SdTensor *y);
