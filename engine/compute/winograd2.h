/* Winograd F(2x2, 3x3).  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Lavin and Gray 2016, "Fast algorithms for convolutional neural networks": 2x2 outputs from 4x4 inputs by 16 products
 * of channels instead of 36.  For bf16, whose rounding F(4x4, 3x3), which winograd.h has, magnifies too much; this one
 * does by 5/3, if pixels have nothing to do with each other.  And in f32 for pictures so small that of F(4x4, 3x3)'s
 * weights, twice as many, each would be of use a few times only.
 */
#pragma once

#include "layers.h"

#define WINOGRAD2_PRODUCTS 16

/* Rows of 2x2 tiles of a picture's output [height][width][c_out]; at odd edges they stick out. */
typedef struct
{
  int first, rows;   /* rows of tiles */
  int width, height; /* of the picture, pixels */
} Winograd2Piece;

static inline int
winograd2_count_tiles (int pixels)
{
  return (pixels + 1) / 2;
}

/* Filters [count][c_in][3][3] of a file -> [16][count][c_in] in bf16. */
gboolean winograd2_weights (TensorType type, int count, int c_in, const void *weights, guint16 *transformed,
                            Scratch *scratch, GError **error);
/* The picture [height][width][c] with zeros around it -> 16 matrices [tiles][c] of `element`, `step` values apart; c: a
 * multiple of 16. */
gboolean winograd2_input (const Winograd2Piece *piece, int c, const float *x, Element element, void *transformed,
                          gsize step, Scratch *scratch, GError **error);
/* products, 16 matrices [tiles][c] `step` values apart, + bias, which may be NULL -> channels [0, c) of the picture's
 * pixels, which are `pitch` values apart; add: added to what is there. */
void winograd2_output (const Winograd2Piece *piece, int c, const float *products, gsize step, const float *bias,
                       gboolean add, gsize pitch, float *y);
