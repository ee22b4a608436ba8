/* The layers of latent diffusion networks, in f32.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * As in compute.h: tensors are NHWC without padding, and each function runs on the calling thread alone, on the piece
 * that it is given.  Weights stay as a checkpoint has them, row for row: [out][in] for products, [out][in][3][3] for
 * 3x3 convolutions; they are converted a piece at a time, on their way into a product.
 */
#pragma once

#include "compute.h"

/* ---- weights ---- */

/* What files have them in. */
typedef enum
{
  TENSOR_F32,
  TENSOR_F16,
  TENSOR_BF16,
  TENSOR_OTHER /* integers and the like, which nothing here reads */
} TensorType;

/* Here and below: not for TENSOR_OTHER. */
static inline gsize
weight_size (TensorType type)
{
  return type == TENSOR_F32 ? 4 : 2;
}

/* count little-endian values, perhaps not aligned -> f32 */
void weights_to_f32 (TensorType type, gsize count, const void *weights, float *values);
/* -> bf16, rounded to nearest even */
void weights_to_bf16 (TensorType type, gsize count, const void *weights, guint16 *values);
/* No NaN and no infinity among them. */
gboolean weights_are_finite (TensorType type, gsize count, const void *weights);
/* Filters [n_out][c_in][3][3] -> their part of Winograd's weights: matrices [n_in][c_out], winograd_get_step (n_in,
 * c_out) apart, of which they are the columns from `first` on; n_out is a multiple of 16.  Rows are the input channels
 * from `from` on; those that there are not are zeros.  products: WINOGRAD_PRODUCTS for tiles of 4x4 pixels, or
 * WINOGRAD2_PRODUCTS for such of 2x2. */
void weights_to_winograd (int products, TensorType type, int c_in, const void *weights, int from, int n_in, int first,
                          int n_out, int c_out, float *transformed);

/* ---- pointwise ---- */

/* Pixels whose sums may be kept in single precision. */
#define LAYER_SUM_PIXELS 64

/* sums[c] += x, sums[channels + c] += x^2, over the pixels. */
void layer_sums (gsize pixels, int channels, const float *x, double *sums);
/* y = x * scale[c] + shift[c], then SiLU if asked: a group norm whose statistics are known. */
void layer_affine (gsize pixels, int channels, const float *x, const float *scale, const float *shift, gboolean silu,
                   float *y);
/* y = (x - mean) / sqrt (variance + epsilon) * gain + bias, over the channels of each row (Ba et al. 2016). */
void layer_norm (gsize rows, int channels, const float *x, const float *gain, const float *bias, float epsilon,
                 float *y);
/* Rows [a | b] of 2 n values -> a * gelu (b), n values (Shazeer 2020, "GLU variants improve transformer"). */
void layer_geglu (gsize rows, int n, const float *x, float *y);
/* x * Phi (x), the exact form, in place; and x * sigmoid (1.702 x). */
void layer_gelu (gsize count, float *x);
void layer_quick_gelu (gsize count, float *x);
/* y[row][c] = (add ? y : 0) + bias[c]; bias may be NULL */
void layer_start (gsize rows, int channels, gsize pitch, const float *bias, gboolean add, float *y);
/* Rows [first, first + rows) of the patches of a 3x3 convolution whose padding is zeros: [rows * width_out][c][3][3].
 * Output pixel (v, u) sees input pixels (v * stride + i - pad, u * stride + j - pad). */
void layer_patches (const float *x, int width, int height, int channels, int stride, int pad, int width_out, int first,
                    int rows, float *patches);

/* ---- attention ---- */

/* One head and a piece of its queries: rows of `dim` values, *_pitch values apart. */
typedef struct
{
  const ComputeBackend *backend; /* one that multiplies; NULL: OpenBLAS */

  int         queries, keys, dim;
  const void *q, *k, *v; /* of the back end's element type; f32 for OpenBLAS */
  float      *out;
  gsize       q_pitch, k_pitch, v_pitch, out_pitch;
  int         first; /* of these queries among all; >= 0: query i sees keys 0 ... first + i only; -1: all keys */
} Attention;

/* out = softmax (q k^T / sqrt (dim)) v, by blocks of keys with a running maximum and sum, so that no more of the score
 * matrix exists at a time than a block (Milakov and Gimelshein 2018; Rabe and Staats 2021).  work: the products' own.
 */
gboolean attention_forward (const Attention *attention, Scratch *scratch, Scratch *work, GError **error);
