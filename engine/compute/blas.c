/* Convolutions in f32 on OpenBLAS: Winograd for 3x3 where the channel counts allow, else a matrix product for each tap.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "layers.h"
#include "rows.h"
#include "vector.h"
#include "winograd.h"

#include <cblas.h>

/* A block of rows with its result, for the kernels that copy: half of a core's L2 cache. */
#define BLOCK_FLOATS ((gsize) 128 * 1024)

/* One direction of a convolution, its weights laid out for it.  The gradient by the data is a convolution too (with the
 * taps turned round and the channels exchanged), so both directions are the same code. */
typedef struct
{
  ConvShape shape;
  float    *taps; /* [kh][kw][c_in][c_out], or Winograd's 36 matrices */
  gboolean  winograd;
} Kernel;

typedef struct
{
  Conv   conv;
  Kernel forward, backward; /* backward.taps: NULL unless for training */
  float *bias;
} BlasConv;

static gboolean
blas_is_available (void)
{
  static gsize once;

  /* The pool's threads each call OpenBLAS on their own piece: its own threads would only be in their way. */
  if (g_once_init_enter (&once))
    {
      openblas_set_num_threads (1);
      g_once_init_leave (&once, 1);
    }
  return TRUE;
}

/* ---- kernels ---- */

static gboolean
kernel_init (Kernel *kernel, ConvShape shape, GError **error)
{
  kernel->shape = shape;
  kernel->winograd = shape.kind == CONV_SAME3 && winograd_can (shape.c_in, shape.c_out);
  kernel->taps = core_alloc0 (kernel->winograd ? 36 * winograd_get_step ((gsize) shape.c_in, shape.c_out)
                                               : conv_shape_count_weights (&shape),
                              sizeof (float), error);
  return kernel->taps != NULL;
}

static void
kernel_set (Kernel *kernel, const float *weights)
{
  if (kernel->winograd)
    winograd_transform_weights (weights, kernel->shape.c_in, kernel->shape.c_out, kernel->taps);
  else
    memcpy (kernel->taps, weights, conv_shape_count_weights (&kernel->shape) * sizeof (float));
}

/* The last rows, fewer than a group: as a group of their own, filled up with zeros. */
static void
multiply_add_rest (gsize m, gsize group, int n, int k, const float *a, int a_step, const float *b, float *c, int c_step)
{
  float *rows = g_newa (float, group *(gsize) (n + k)), *sums = rows + group * (gsize) k;

  memset (rows, 0, group * (gsize) (n + k) * sizeof (float));
  for (gsize i = 0; i < m; i++)
    {
      memcpy (rows + i * (gsize) k, a + i * (gsize) a_step, (gsize) k * sizeof (float));
      memcpy (sums + i * (gsize) n, c + i * (gsize) c_step, (gsize) n * sizeof (float));
    }
  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint) group, n, k, 1.0f, rows, k, b, n, 1.0f, sums, n);
  for (gsize i = 0; i < m; i++)
    memcpy (c + i * (gsize) c_step, sums + i * (gsize) n, (gsize) n * sizeof (float));
}

/* c += a b; a row's result does not depend on how many there are (see rows_get_group ()). */
static void
multiply_add (gsize m, int n, int k, const float *a, int a_step, const float *b, float *c, int c_step)
{
  gsize group = rows_get_group (), whole = m - m % group;

  if (whole)
    cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint) whole, n, k, 1.0f, a, a_step, b, n, 1.0f, c,
                 c_step);
  if (m > whole)
    multiply_add_rest (m - whole, group, n, k, a + whole * (gsize) a_step, a_step, b, c + whole * (gsize) c_step,
                       c_step);
}

/* The 2x2 kinds: each tap is one product per row, the pixels of its corner being every second one of the finer picture.
 */
static void
kernel_forward_2x2 (const Kernel *kernel, const float *bias, const ConvPiece *piece, const float *x, float *y,
                    ConvEpilogue epilogue)
{
  int      c_in = kernel->shape.c_in, c_out = kernel->shape.c_out;
  gboolean down = kernel->shape.kind == CONV_DOWN2;
  gsize    width = (gsize) piece->width, rows = (gsize) piece->n * (gsize) piece->rows;
  gsize    pixels = rows * width * (down ? 1 : 4);

  layer_start (pixels, c_out, (gsize) c_out, bias, epilogue == EPILOGUE_ADD, y);
  for (gsize r = 0; r < rows; r++)
    for (gsize p = 0; p < 2; p++)
      for (gsize q = 0; q < 2; q++)
        {
          const float *w = kernel->taps + (p * 2 + q) * (gsize) c_in * (gsize) c_out;
          gsize        coarse = r * width, fine = (r * 2 + p) * width * 2 + q;

          if (down)
            multiply_add (width, c_out, c_in, x + fine * (gsize) c_in, 2 * c_in, w, y + coarse * (gsize) c_out, c_out);
          else
            multiply_add (width, c_out, c_in, x + coarse * (gsize) c_in, c_in, w, y + fine * (gsize) c_out, 2 * c_out);
        }
  if (epilogue == EPILOGUE_SILU)
    pointwise_silu (ELEMENT_F32, pixels * (gsize) c_out, y, y);
}

/* The four fine pixels under each coarse one beside each other: [pixels][2][2][channels]. */
static void
gather_corners (const ConvPiece *piece, const float *fine, int channels, float *corners)
{
  gsize pair = 2 * (gsize) channels, width = (gsize) piece->width;

  for (gsize r = 0; r < (gsize) piece->n * (gsize) piece->rows; r++)
    for (gsize p = 0; p < 2; p++)
      for (gsize x = 0; x < width; x++)
        memcpy (corners + ((r * width + x) * 2 + p) * pair, fine + ((r * 2 + p) * width + x) * pair,
                pair * sizeof (float));
}

MULTIVERSION static void
add_corners (const ConvPiece *piece, const float *restrict corners, int channels, float *restrict fine)
{
  gsize pair = 2 * (gsize) channels, width = (gsize) piece->width;

  for (gsize r = 0; r < (gsize) piece->n * (gsize) piece->rows; r++)
    for (gsize p = 0; p < 2; p++)
      for (gsize x = 0; x < width; x++)
        for (gsize c = 0; c < pair; c++)
          fine[((r * 2 + p) * width + x) * pair + c] += corners[((r * width + x) * 2 + p) * pair + c];
}

static gsize
count_coarse_pixels (const ConvPiece *piece)
{
  return (gsize) piece->n * (gsize) piece->rows * (gsize) piece->width;
}

/* The same for batches, which are never divided by rows: as few products as there can be, each of which packs the
 * weights once for all rows. */
static gboolean
kernel_forward_corners (const Kernel *kernel, const float *bias, const ConvPiece *piece, const float *x, float *y,
                        ConvEpilogue epilogue, Scratch *scratch, GError **error)
{
  int      c_in = kernel->shape.c_in, c_out = kernel->shape.c_out;
  gboolean down = kernel->shape.kind == CONV_DOWN2;
  gsize    pixels = count_coarse_pixels (piece), outputs = pixels * (down ? 1 : 4);
  int      pitch = 4 * (down ? c_in : c_out);
  float   *corners = scratch_get (scratch, pixels * (gsize) pitch * sizeof (float), error);

  if (! corners)
    return FALSE;
  layer_start (outputs, c_out, (gsize) c_out, bias, epilogue == EPILOGUE_ADD, y);
  if (down)
    {
      gather_corners (piece, x, c_in, corners);
      cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint) pixels, c_out, pitch, 1.0f, corners, pitch,
                   kernel->taps, c_out, 1.0f, y, c_out);
    }
  else
    {
      for (int tap = 0; tap < 4; tap++)
        cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint) pixels, c_out, c_in, 1.0f, x, c_in,
                     kernel->taps + (gsize) tap * (gsize) c_in * (gsize) c_out, c_out, 0.0f, corners + tap * c_out,
                     pitch);
      add_corners (piece, corners, c_out, y);
    }
  if (epilogue == EPILOGUE_SILU)
    pointwise_silu (ELEMENT_F32, outputs * (gsize) c_out, y, y);
  return TRUE;
}

/* Pixels of a row with zeros around it; each begins a group. */
static gsize
get_pitch (int width)
{
  return rows_round_up ((gsize) width + 2);
}

/* Copies rows into rows of `pitch` pixels with zeros around, and `top` and `bottom` rows of zeros before and after. */
static void
pad_rows (const float *x, int channels, int width, gsize pitch, int rows, int top, int bottom, float *padded)
{
  gsize step = pitch * (gsize) channels, row = (gsize) width * (gsize) channels;

  memset (padded, 0, (gsize) (rows + top + bottom) * step * sizeof (float));
  for (int r = 0; r < rows; r++)
    memcpy (padded + (gsize) (r + top) * step + channels, x + (gsize) r * row, row * sizeof (float));
}

/* Rows [first, first + rows) of sample n.  With zeros around each row a tap is a shift of the whole block, so it is one
 * product.  The two columns of padding give products that nobody reads. */
static void
multiply_block_3x3 (const Kernel *kernel, const float *bias, const ConvPiece *piece, const float *x, int n, int first,
                    int rows, float *padded, float *out)
{
  int   c_in = kernel->shape.c_in, c_out = kernel->shape.c_out, rows_in = conv_piece_rows_in (&kernel->shape, piece);
  gsize pitch = get_pitch (piece->width);
  /* Of the input, the block sees rows [from, to); those outside are zeros. */
  int from = MAX (first - piece->top, 0), to = MIN (first - piece->top + rows + 2, rows_in);
  int top = from - (first - piece->top), bottom = rows + 2 - top - (to - from);

  pad_rows (x + ((gsize) n * (gsize) rows_in + (gsize) from) * (gsize) piece->width * (gsize) c_in, c_in, piece->width,
            pitch, to - from, top, bottom, padded);
  layer_start ((gsize) rows * pitch, c_out, (gsize) c_out, bias, FALSE, out);
  for (gsize p = 0; p < 3; p++)
    for (gsize q = 0; q < 3; q++)
      multiply_add ((gsize) rows * pitch - 2, c_out, c_in, padded + (p * pitch + q) * (gsize) c_in, c_in,
                    kernel->taps + (p * 3 + q) * (gsize) c_in * (gsize) c_out, out, c_out);
}

/* 3x3 without an im2col, a block of rows at a time that stays in the cache. */
static gboolean
kernel_forward_3x3 (const Kernel *kernel, const float *bias, const ConvPiece *piece, const float *x, float *y,
                    ConvEpilogue epilogue, Scratch *scratch, GError **error)
{
  int    c_in = kernel->shape.c_in, c_out = kernel->shape.c_out;
  gsize  pitch = get_pitch (piece->width), row = (gsize) piece->width * (gsize) c_out;
  int    block = (int) CLAMP (BLOCK_FLOATS / (pitch * (gsize) (c_in + c_out)), 1, (gsize) piece->rows);
  gsize  in_size = (gsize) (block + 2) * pitch * (gsize) c_in, out_size = (gsize) block * pitch * (gsize) c_out;
  float *padded = scratch_get (scratch, (in_size + out_size) * sizeof (float), error), *out;

  if (! padded)
    return FALSE;
  out = padded + in_size;
  for (int n = 0; n < piece->n; n++)
    for (int first = 0; first < piece->rows; first += block)
      {
        int rows = MIN (block, piece->rows - first);

        multiply_block_3x3 (kernel, bias, piece, x, n, first, rows, padded, out);
        if (epilogue == EPILOGUE_SILU)
          pointwise_silu (ELEMENT_F32, (gsize) rows * pitch * (gsize) c_out, out, out);
        for (int r = 0; r < rows; r++)
          {
            float *to = y + ((gsize) n * (gsize) piece->rows + (gsize) (first + r)) * row,
                  *from = out + (gsize) r * pitch * (gsize) c_out;

            if (epilogue == EPILOGUE_ADD)
              pointwise_add (ELEMENT_F32, row, from, to);
            else
              memcpy (to, from, row * sizeof (float));
          }
      }
  return TRUE;
}

static gboolean
kernel_forward (const Kernel *kernel, const float *bias, const ConvPiece *piece, const float *x, float *y,
                ConvEpilogue epilogue, Scratch *scratch, GError **error)
{
  if (kernel->winograd)
    return winograd_forward (kernel->taps, bias, kernel->shape.c_in, kernel->shape.c_out, piece, x, y, epilogue,
                             scratch, error);
  if (kernel->shape.kind == CONV_SAME3)
    return kernel_forward_3x3 (kernel, bias, piece, x, y, epilogue, scratch, error);
  if (piece->n > 1)
    return kernel_forward_corners (kernel, bias, piece, x, y, epilogue, scratch, error);
  kernel_forward_2x2 (kernel, bias, piece, x, y, epilogue);
  return TRUE;
}

/* ---- the back end ---- */

static Conv *
blas_conv_new (const ConvShape *shape, gboolean training, GError **error)
{
  static const ConvKind turned[] = { [CONV_SAME3] = CONV_SAME3, [CONV_DOWN2] = CONV_UP2, [CONV_UP2] = CONV_DOWN2 };
  BlasConv             *conv = g_new0 (BlasConv, 1);

  conv->conv = (Conv){ &compute_blas, *shape };
  conv->bias = core_alloc0 ((gsize) shape->c_out, sizeof (float), error);
  if (! conv->bias || ! kernel_init (&conv->forward, *shape, error)
      || (training
          && ! kernel_init (&conv->backward, (ConvShape){ turned[shape->kind], shape->c_out, shape->c_in }, error)))
    {
      compute_blas.conv_free (&conv->conv);
      return NULL;
    }
  return &conv->conv;
}

static void
blas_conv_free (Conv *conv)
{
  BlasConv *self = (BlasConv *) conv;

  core_free (self->forward.taps);
  core_free (self->backward.taps);
  core_free (self->bias);
  g_free (self);
}

static gboolean
blas_conv_set_weights (Conv *conv, const float *weights, const float *bias, Scratch *scratch, GError **error)
{
  BlasConv *self = (BlasConv *) conv;
  gsize     c_in = (gsize) conv->shape.c_in, c_out = (gsize) conv->shape.c_out;
  gsize     taps = conv->shape.kind == CONV_SAME3 ? 9 : 4;
  float    *turned;

  memcpy (self->bias, bias, c_out * sizeof (float));
  kernel_set (&self->forward, weights);
  if (! self->backward.taps)
    return TRUE;
  turned = scratch_get (scratch, conv_shape_count_weights (&conv->shape) * sizeof (float), error);
  if (! turned)
    return FALSE;
  for (gsize t = 0; t < taps; t++)
    for (gsize i = 0; i < c_in; i++)
      for (gsize o = 0; o < c_out; o++)
        turned[((conv->shape.kind == CONV_SAME3 ? taps - 1 - t : t) * c_out + o) * c_in + i]
            = weights[(t * c_in + i) * c_out + o];
  kernel_set (&self->backward, turned);
  return TRUE;
}

static gboolean
blas_conv_forward (const Conv *conv, const ConvPiece *piece, const void *x, void *y, ConvEpilogue epilogue,
                   Scratch *scratch, GError **error)
{
  const BlasConv *self = (const BlasConv *) conv;

  return kernel_forward (&self->forward, self->bias, piece, x, y, epilogue, scratch, error);
}

static gboolean
blas_conv_backward_data (const Conv *conv, const ConvPiece *piece, const void *dy, void *dx, Scratch *scratch,
                         GError **error)
{
  const BlasConv *self = (const BlasConv *) conv;

  return kernel_forward (&self->backward, NULL, piece, dy, dx, EPILOGUE_NONE, scratch, error);
}

/* c (m x n) += a^T b, over `count` pixels. */
static void
multiply_transposed_add (int m, int n, gsize count, const float *a, int a_step, const float *b, int b_step, float *c)
{
  cblas_sgemm (CblasRowMajor, CblasTrans, CblasNoTrans, m, n, (blasint) count, 1.0f, a, a_step, b, b_step, 1.0f, c, n);
}

static gboolean
backward_weights_3x3 (const ConvShape *shape, const ConvPiece *piece, const float *x, const float *dy, float *d_weights,
                      Scratch *scratch, GError **error)
{
  gsize  c_in = (gsize) shape->c_in, c_out = (gsize) shape->c_out;
  gsize  pitch = (gsize) piece->width + 2, pixels = (gsize) piece->rows * (gsize) piece->width;
  gsize  in_size = (gsize) (piece->rows + 2) * pitch * c_in, out_size = (gsize) piece->rows * pitch * c_out;
  float *padded = scratch_get (scratch, (in_size + out_size) * sizeof (float), error), *d_padded;

  if (! padded)
    return FALSE;
  d_padded = padded + in_size;
  for (gsize n = 0; n < (gsize) piece->n; n++)
    {
      pad_rows (x + n * pixels * c_in, shape->c_in, piece->width, pitch, piece->rows, 1, 1, padded);
      pad_rows (dy + n * pixels * c_out, shape->c_out, piece->width, pitch, piece->rows, 0, 0, d_padded);
      /* Padding puts a pixel of dy one column to the right; its centre tap lies there in x too. */
      for (gsize p = 0; p < 3; p++)
        for (gsize q = 0; q < 3; q++)
          multiply_transposed_add (shape->c_in, shape->c_out, (gsize) piece->rows * pitch - 2,
                                   padded + (p * pitch + q) * c_in, shape->c_in, d_padded + c_out, shape->c_out,
                                   d_weights + (p * 3 + q) * c_in * c_out);
    }
  return TRUE;
}

static gboolean
backward_weights_2x2 (const ConvShape *shape, const ConvPiece *piece, const float *x, const float *dy, float *d_weights,
                      Scratch *scratch, GError **error)
{
  int      c_in = shape->c_in, c_out = shape->c_out;
  gboolean down = shape->kind == CONV_DOWN2;
  gsize    pixels = count_coarse_pixels (piece);
  int      pitch = 4 * (down ? c_in : c_out);
  float   *corners = scratch_get (scratch, pixels * (gsize) pitch * sizeof (float), error);

  if (! corners)
    return FALSE;
  gather_corners (piece, down ? x : dy, down ? c_in : c_out, corners);
  if (down)
    multiply_transposed_add (pitch, c_out, pixels, corners, pitch, dy, c_out, d_weights);
  for (int tap = 0; tap < 4 && ! down; tap++)
    multiply_transposed_add (c_in, c_out, pixels, x, c_in, corners + tap * c_out, pitch,
                             d_weights + (gsize) tap * (gsize) c_in * (gsize) c_out);
  return TRUE;
}

static gboolean
blas_conv_backward_weights (const Conv *conv, const ConvPiece *piece, const void *x, const void *dy, float *d_weights,
                            float *d_bias, Scratch *scratch, GError **error)
{
  gsize pixels = (gsize) piece->n * (gsize) piece->rows * (gsize) piece->width * (conv->shape.kind == CONV_UP2 ? 4 : 1);

  pointwise_sum (ELEMENT_F32, pixels, conv->shape.c_out, dy, d_bias);
  if (conv->shape.kind == CONV_SAME3 && winograd_can (conv->shape.c_in, conv->shape.c_out))
    return winograd_backward_weights (conv->shape.c_in, conv->shape.c_out, piece, x, dy, d_weights, scratch, error);
  if (conv->shape.kind == CONV_SAME3)
    return backward_weights_3x3 (&conv->shape, piece, x, dy, d_weights, scratch, error);
  return backward_weights_2x2 (&conv->shape, piece, x, dy, d_weights, scratch, error);
}

const ComputeBackend compute_blas = { "blas",
                                      ELEMENT_F32,
                                      blas_is_available,
                                      NULL,
                                      blas_conv_new,
                                      blas_conv_set_weights,
                                      blas_conv_free,
                                      blas_conv_forward,
                                      blas_conv_backward_data,
                                      blas_conv_backward_weights };
