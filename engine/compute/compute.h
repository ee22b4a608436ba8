/* The arithmetic of the network: one interface, several back ends.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A tensor is a run of rows in NHWC order: [n][h][w][c], no padding, of the back end's element type.  Every kernel here
 * runs on the calling thread alone, on as many rows as it is given: whoever calls splits samples or rows over a Pool.
 *
 * A new back end is one file that fills a ComputeBackend and one line in compute.c.
 */
#pragma once

#include "core/core.h"

typedef enum
{
  ELEMENT_F32,
  ELEMENT_BF16 /* the upper half of an f32, rounded to nearest even */
} Element;

static inline gsize
element_size (Element element)
{
  return element == ELEMENT_F32 ? 4 : 2;
}

/* ---- convolutions ---- */

typedef enum
{
  CONV_SAME3, /* 3x3, stride 1, one pixel of zeros around the picture */
  CONV_DOWN2, /* 2x2, stride 2: halves the resolution */
  CONV_UP2    /* 2x2 transposed, stride 2: doubles it */
} ConvKind;

/* Weights are [kh][kw][c_in][c_out] in f32, the bias [c_out]. */
typedef struct
{
  ConvKind kind;
  int      c_in, c_out;
} ConvShape;

static inline gsize
conv_shape_count_weights (const ConvShape *shape)
{
  return (gsize) (shape->kind == CONV_SAME3 ? 9 : 4) * (gsize) shape->c_in * (gsize) shape->c_out;
}

/* The piece of a picture that one call works on: n samples of `rows` x `width` pixels at the coarser of input and
 * output resolution (they are equal for CONV_SAME3).  For CONV_SAME3 the input has one more row above and below these
 * rows, but for the rows that `top` and `bottom` say to be outside the picture: those are zeros and not in memory. */
typedef struct
{
  int n, rows, width;
  int top, bottom; /* 0 or 1; both 1 for a whole picture */
  /* For back ends that compute rows in fours: rows of the first four that lie above the piece, 0 to 3.  Where a row's
   * bits must not depend on the piece, pieces begin and end with whole fours, but for the edges of the picture. */
  int above;
} ConvPiece;

static inline int
conv_piece_rows_in (const ConvShape *shape, const ConvPiece *piece)
{
  switch (shape->kind)
    {
    case CONV_SAME3:
      return piece->rows + 2 - piece->top - piece->bottom;
    case CONV_DOWN2:
      return piece->rows * 2;
    default:
      return piece->rows;
    }
}

/* What happens to conv + bias on its way into y. */
typedef enum
{
  EPILOGUE_NONE, /* y = conv + bias */
  EPILOGUE_SILU, /* y = silu (conv + bias) */
  EPILOGUE_ADD   /* y = y + conv + bias */
} ConvEpilogue;

typedef struct _ComputeBackend ComputeBackend;

/* A convolution whose weights are laid out as its back end likes them.  May be used by several threads at once, but for
 * set_weights ().  Back ends extend it. */
typedef struct
{
  const ComputeBackend *backend;
  ConvShape             shape;
} Conv;

/* ---- filters ----
 * What a checkpoint's networks are made of, for back ends that want their weights laid out beforehand: the weights
 * belong to the caller, who may keep them or make them anew for each use. */

/* y = 1x1 or 3x3 convolution of x + bias: x [(rows - 1) * stride + edge][(width - 1) * stride + edge][c_in] of the back
 * end's element type, what lies outside the picture filled in; y [rows][width][c_out] in f32. */
typedef struct
{
  int c_in, c_out;
  int edge, stride; /* 1 or 3; 1 or 2 */
  int rows, width;  /* of y */
} FilterShape;

/* One that is ready to run; may be used by several threads at once.  Back ends extend it. */
typedef struct
{
  const ComputeBackend *backend;
  FilterShape           shape;
  gsize                 weights_size; /* bytes of laid out weights */
} Filter;

/* A product of matrices that are both fresh: c [m][n] = a [m][k] b [k][n], a and b of the element type, c in f32. */
typedef struct
{
  int      m, n, k;
  int      a_pitch, b_pitch; /* elements from row to row; c has no gaps */
  gboolean transposed;       /* b is [n][k] */
  gboolean add;              /* c += ... */
} ProductShape;

static inline int
filter_shape_rows_in (const FilterShape *shape)
{
  return (shape->rows - 1) * shape->stride + shape->edge;
}

static inline int
filter_shape_width_in (const FilterShape *shape)
{
  return (shape->width - 1) * shape->stride + shape->edge;
}

/* What a back end is chosen for. */
typedef enum
{
  COMPUTE_CONVS,  /* our own networks: 3x3 convolutions, of which Winograd spares three of four multiplications */
  COMPUTE_FILTERS /* checkpoints: mostly products, of which nothing can be spared */
} ComputeUse;

struct _ComputeBackend
{
  const char *name;
  Element     element;
  gboolean (*is_available) (void);
  /* Faster here for that than the back ends behind it: else it runs only if it is named.  NULL: always. */
  gboolean (*is_preferred) (ComputeUse use);

  Conv *(*conv_new) (const ConvShape *shape, gboolean training, GError **error);
  /* Lays the weights out as the back end likes them.  They and the bias must stay until the next call. */
  gboolean (*conv_set_weights) (Conv *conv, const float *weights, const float *bias, Scratch *scratch, GError **error);
  void (*conv_free) (Conv *conv);

  gboolean (*conv_forward) (const Conv *conv, const ConvPiece *piece, const void *x, void *y, ConvEpilogue epilogue,
                            Scratch *scratch, GError **error);
  /* Gradients of whole pictures (top = bottom = 1).  dx is overwritten; d_weights and d_bias (f32, canonical layout)
   * are added to. */
  gboolean (*conv_backward_data) (const Conv *conv, const ConvPiece *piece, const void *dy, void *dx, Scratch *scratch,
                                  GError **error);
  gboolean (*conv_backward_weights) (const Conv *conv, const ConvPiece *piece, const void *x, const void *dy,
                                     float *d_weights, float *d_bias, Scratch *scratch, GError **error);

  /* Filters, and products for attention beside them; all NULL in back ends without. */
  Filter *(*filter_new) (const FilterShape *shape, GError **error);
  void (*filter_free) (Filter *filter);
  /* Weights laid out for one serve the other, too. */
  gboolean (*filter_is_laid_out_as) (const Filter *filter, const Filter *other);
  /* weights: [c_out][c_in][edge][edge] of the back end's element type -> laid_out: filter->weights_size bytes, aligned
   * as core_alloc () does */
  gboolean (*filter_lay_out) (const Filter *filter, const void *weights, void *laid_out, GError **error);
  gboolean (*filter_run) (const Filter *filter, const void *x, const void *laid_out, const float *bias, float *y,
                          Scratch *scratch, GError **error);
  /* Transforms that save multiplications pay; where there are matrix units they do not. */
  gboolean (*is_short_of_multipliers) (void);
  gboolean (*multiply) (const ProductShape *shape, const void *a, const void *b, float *c, Scratch *scratch,
                        GError **error);
};

extern const ComputeBackend compute_reference; /* plain loops: what the others are held against */
extern const ComputeBackend compute_blas;      /* f32 on OpenBLAS, Winograd for 3x3 */
#ifdef HAVE_ONEDNN
extern const ComputeBackend compute_onednn; /* bf16 on AMX or AVX512-BF16; the default where that is faster than f32 */
#endif

/* The back end that is the fastest for that use on this machine, or the one that $DIFFUSION_COMPUTE names. */
const ComputeBackend *compute_get_default (ComputeUse use, GError **error);
/* By name; fails when the processor or the build lacks it. */
const ComputeBackend *compute_get (const char *name, GError **error);
/* All that work here, NULL-terminated. */
const ComputeBackend **compute_list (void);

/* For back ends: begin and end what the calling thread does once for a shape and not again, which
 * diffusion_get_work_seconds () leaves out. */
void compute_begin_planning (void);
void compute_end_planning (void);

/* ---- pointwise layers ----
 * Each works on `pixels` x `channels` values and is the same for every back end but for the element type.  Arrays are
 * apart, unless it says otherwise. */

/* y = x / sqrt (mean over channels of x^2 + 1e-4) * gain: the RMS norm over the channels of each pixel. */
void pointwise_norm (Element element, gsize pixels, int channels, const void *x, const float *gain, void *y);
/* dx += the gradient by x; d_gain (f32) += the gradient by the gain. */
void pointwise_norm_backward (Element element, gsize pixels, int channels, const void *x, const float *gain,
                              const void *dy, void *dx, float *d_gain);
/* y = x * sigmoid (x); y may be x */
void pointwise_silu (Element element, gsize count, const void *x, void *y);
/* dx = dy * silu' (x); dx may be dy */
void pointwise_silu_backward (Element element, gsize count, const void *x, const void *dy, void *dx);
/* y = y + x */
void pointwise_add (Element element, gsize count, const void *x, void *y);
/* y = y + bias, for each pixel */
void pointwise_add_bias (Element element, gsize pixels, int channels, const float *bias, void *y);
/* sums += the sum over the pixels of x */
void pointwise_sum (Element element, gsize pixels, int channels, const void *x, float *sums);
void pointwise_from_f32 (Element element, gsize count, const float *x, void *y);
void pointwise_to_f32 (Element element, gsize count, const void *x, float *y);
