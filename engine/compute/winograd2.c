/* Winograd F(2x2, 3x3).  SPDX-License-Identifier: GPL-3.0-or-later */
#include "winograd2.h"
#include "core/bf16.h"
#include "vector.h"

/* ---- weights: G g G^T ---- */

/* The filters of one output channel, f32; the 16 results are `step` apart. */
MULTIVERSION static void
transform_filters (int c_in, const float *restrict g, guint16 *restrict out, gsize step)
{
  for (int i = 0; i < c_in; i++)
    {
      const float *tap = g + i * 9;
      float        half[4][3];

      for (int q = 0; q < 3; q++)
        {
          float even = tap[q] + tap[6 + q];

          half[0][q] = tap[q];
          half[1][q] = 0.5f * (even + tap[3 + q]);
          half[2][q] = 0.5f * (even - tap[3 + q]);
          half[3][q] = tap[6 + q];
        }
      for (gsize a = 0; a < 4; a++)
        {
          float    even = half[a][0] + half[a][2];
          guint16 *row = out + a * 4 * step + i;

          row[0] = store_bf16 (half[a][0]);
          row[step] = store_bf16 (0.5f * (even + half[a][1]));
          row[2 * step] = store_bf16 (0.5f * (even - half[a][1]));
          row[3 * step] = store_bf16 (half[a][2]);
        }
    }
}

gboolean
winograd2_weights (TensorType type, int count, int c_in, const void *weights, guint16 *transformed, Scratch *scratch,
                   GError **error)
{
  gsize  values = (gsize) c_in * 9;
  float *exact = scratch_get (scratch, values * sizeof (float), error);

  for (int o = 0; o < count && exact; o++)
    {
      weights_to_f32 (type, values, (const guint8 *) weights + (gsize) o * values * weight_size (type), exact);
      transform_filters (c_in, exact, transformed + (gsize) o * (gsize) c_in, (gsize) count * (gsize) c_in);
    }
  return exact != NULL;
}

/* ---- input: B^T d B ---- */

/* Values of one register. */
#define LANES 16

/* One tile's 16 pixels; the compiler makes a register of each row of LANES.  `exact`, a constant, tells the element
 * type: f32 or bf16. */
static inline G_ALWAYS_INLINE void
transform_tile (int c, const float *const d[16], gboolean exact, void *out, gsize step)
{
  for (gsize first = 0; first < (gsize) c; first += LANES)
    for (gsize row = 0; row < 4; row++)
      {
        /* B^T: row 0 is d0 - d2, row 1 d1 + d2, row 2 d2 - d1, row 3 d1 - d3. */
        static const guint8 plus[] = { 0, 1, 2, 1 }, other[] = { 2, 2, 1, 3 };
        float               sign = row == 1 ? 1.0f : -1.0f, t[4][LANES];

        for (gsize u = 0; u < 4; u++)
          {
            const float *a = d[plus[row] * 4 + u] + first, *b = d[other[row] * 4 + u] + first;

            for (gsize l = 0; l < LANES; l++)
              t[u][l] = a[l] + sign * b[l];
          }
        for (gsize k = 0; k < 4; k++)
          {
            gsize        at = (row * 4 + k) * step + first;
            const float *a = t[plus[k]], *b = t[other[k]];
            float        turn = k == 1 ? 1.0f : -1.0f;

            if (exact)
              for (gsize l = 0; l < LANES; l++)
                ((float *) out)[at + l] = a[l] + turn * b[l];
            else
              for (gsize l = 0; l < LANES; l++)
                ((guint16 *) out)[at + l] = store_bf16 (a[l] + turn * b[l]);
          }
      }
}

MULTIVERSION static void
transform_tile_f32 (int c, const float *const d[16], float *restrict out, gsize step)
{
  transform_tile (c, d, TRUE, out, step);
}

MULTIVERSION static void
transform_tile_bf16 (int c, const float *const d[16], guint16 *restrict out, gsize step)
{
  transform_tile (c, d, FALSE, out, step);
}

gboolean
winograd2_input (const Winograd2Piece *piece, int c, const float *x, Element element, void *transformed, gsize step,
                 Scratch *scratch, GError **error)
{
  gsize  channels = (gsize) c;
  int    across = winograd2_count_tiles (piece->width);
  char  *out = transformed;
  float *zeros = scratch_get (scratch, channels * sizeof (float), error);

  if (! zeros)
    return FALSE;
  memset (zeros, 0, channels * sizeof (float));
  for (int r = 0; r < piece->rows; r++)
    for (int t = 0; t < across; t++, out += channels * element_size (element))
      {
        const float *d[16];

        for (int k = 0; k < 16; k++)
          {
            int v = (piece->first + r) * 2 - 1 + k / 4, u = t * 2 - 1 + k % 4;

            d[k] = v < 0 || v >= piece->height || u < 0 || u >= piece->width
                       ? zeros
                       : x + ((gsize) v * (gsize) piece->width + (gsize) u) * channels;
          }
        if (element == ELEMENT_F32)
          transform_tile_f32 (c, d, (float *) out, step);
        else
          transform_tile_bf16 (c, d, (guint16 *) out, step);
      }
  return TRUE;
}

/* ---- output: A^T m A ---- */

/* pixels: the four of a tile; those that stick out are NULL. */
MULTIVERSION static void
transform_products (int c, const float *restrict m, gsize step, const float *restrict bias, gboolean add,
                    float *const pixels[4])
{
  for (int v = 0; v < 2; v++)
    {
      const float *restrict a = m + (v ? 4 : 0) * step, *restrict b = m + (v ? 8 : 4) * step;
      const float *restrict e = m + (v ? 12 : 8) * step;
      float sign = v ? -1.0f : 1.0f;

      for (int u = 0; u < 2; u++)
        {
          float *restrict y = pixels[v * 2 + u];
          gsize p = u ? 1 : 0, q = u ? 2 : 1, s = u ? 3 : 2;
          float turn = u ? -1.0f : 1.0f;

          if (! y)
            continue;
          for (gsize i = 0; i < (gsize) c; i++)
            {
              float first = a[p * step + i] + turn * (a[q * step + i] + a[s * step + i]);
              float second = b[p * step + i] + turn * (b[q * step + i] + b[s * step + i]);
              float third = e[p * step + i] + turn * (e[q * step + i] + e[s * step + i]);

              y[i] = (add ? y[i] : 0.0f) + (bias ? bias[i] : 0.0f) + (first + sign * (second + third));
            }
        }
    }
}

void
winograd2_output (const Winograd2Piece *piece, int c, const float *products, gsize step, const float *bias,
                  gboolean add, gsize pitch, float *y)
{
  int across = winograd2_count_tiles (piece->width);

  for (int r = 0; r < piece->rows; r++)
    for (int t = 0; t < across; t++, products += c)
      {
        float *pixels[4];

        for (int k = 0; k < 4; k++)
          {
            int v = (piece->first + r) * 2 + k / 2, u = t * 2 + k % 2;

            pixels[k] = v < piece->height && u < piece->width
                            ? y + ((gsize) v * (gsize) piece->width + (gsize) u) * pitch
                            : NULL;
          }
        transform_products (c, products, step, bias, add, pixels);
      }
}
