/* Winograd's F(4x4, 3x3) on matrix products.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Lavin and Gray, "Fast algorithms for convolutional neural networks", CVPR 2016: 4x4 outputs of a 3x3 convolution from
 * a 6x6 patch by 36 products instead of 144; for all channels at once these are 36 matrix products.  Points 0, 1, -1,
 * 2, -2, infinity. */
#pragma once

#include "compute.h"

/* Channels are worked on in lanes of 16: both counts must be multiples. */
#define WINOGRAD_LANES    16
#define WINOGRAD_PRODUCTS 36

static inline gboolean
winograd_can (int c_in, int c_out)
{
  return c_in % WINOGRAD_LANES == 0 && c_out % WINOGRAD_LANES == 0;
}

/* A good distance in floats between two of the 36 matrices [rows][channels], of weights as of tiles.  What is
 * transformed is written, and read, as a row of each: were the distance a power of two, as rows and channels mostly
 * are, or some of them, all these rows would compete for the same few lines of the cache. */
gsize winograd_get_step (gsize rows, int channels);

/* The filters of 16 pairs of channels: 9 rows of taps, `tap_step` floats apart -> 36 rows of results, `step` apart. */
void winograd_transform_filters (const float *taps, gsize tap_step, float *transformed, gsize step);
/* weights [3][3][c_in][c_out] -> transformed: 36 matrices [c_in][c_out], winograd_get_step (c_in, c_out) apart */
void winograd_transform_weights (const float *weights, int c_in, int c_out, float *transformed);

/* As ComputeBackend.conv_forward; bias may be NULL. */
gboolean winograd_forward (const float *transformed, const float *bias, int c_in, int c_out, const ConvPiece *piece,
                           const float *x, float *y, ConvEpilogue epilogue, Scratch *scratch, GError **error);

/* d_weights [3][3][c_in][c_out] += the gradient by the weights: the transpose of the above, by as few products.  A
 * whole picture only (piece->top = 1). */
gboolean winograd_backward_weights (int c_in, int c_out, const ConvPiece *piece, const float *x, const float *dy,
                                    float *d_weights, Scratch *scratch, GError **error);

/* The same in its parts, for those who split a layer another way.  A tile has 4x4 pixels; of each of the 36 matrices it
 * is a row.  Tiles are counted row by row, sample by sample, or, where kinds > 1, so that the place in its group that a
 * tile's row has is of a kind that its column decides; some rows then are of no tile: zeros going in, and nothing
 * coming out. */
typedef struct
{
  gsize across;       /* columns of tiles */
  gsize group, kinds; /* see rows.h; 1, 1: places do not matter */
  gsize count;        /* rows of each matrix */
} WinogradTiles;

WinogradTiles winograd_get_tiles (const ConvPiece *piece);
/* The same for those whose pieces are some rows of a picture, where results must not depend on which. */
WinogradTiles winograd_get_tiles_in_place (const ConvPiece *piece);
/* Tiles [first, first + count) of x -> v: 36 matrices [count][c_in], `step` floats apart.  zeros: c_in of them. */
void winograd_transform_tiles (const ConvPiece *piece, const WinogradTiles *tiles, const float *x, int c_in,
                               const float *zeros, gsize first, gsize count, float *v, gsize step);
/* m = v * transformed, or m += v * transformed, for all `products` matrices: [count][c_in] * [c_in][c_out] ->
 * [count][c_out]; v's rows are `v_pitch` floats apart. */
void winograd_multiply (int products, const float *v, gsize v_step, int v_pitch, const float *transformed, int c_in,
                        int c_out, gsize count, gboolean add, float *m, gsize m_step);
/* m: 36 matrices [count][channels] -> tiles [first, first + count) of `channels` of the y_channels channels that a
 * pixel of y has; y and bias start with the first of these. */
void winograd_finish_tiles (const ConvPiece *piece, const WinogradTiles *tiles, const float *m, gsize step,
                            int channels, const float *bias, ConvEpilogue epilogue, gsize first, gsize count, float *y,
                            int y_channels);
