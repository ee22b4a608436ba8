/* Winograd's F(4x4, 3x3).  SPDX-License-Identifier: GPL-3.0-or-later */
#include "winograd.h"
#include "vector.h"

#include <cblas.h>

#define LANES WINOGRAD_LANES

/* Tiles per round: the 36 input and 36 output matrices of a round should stay in a core's L2 cache; but each product
 * packs its weights anew, which only many tiles are worth. */
#define ROUND_BYTES (2 * 1024 * 1024)
#define ROUND_MIN   48
#define ROUND_MAX   128
/* From so many channels on, both counted, no round fits anyway: then packing weights as seldom as possible counts. */
#define ROUND_CHANNELS 512

/* out = G g for one column of a filter's taps or of a half-transformed filter; values are `step` apart. */
static inline void
transform_filter_column (const float *restrict g, gsize step, float *restrict out, gsize out_step)
{
  for (gsize l = 0; l < LANES; l++)
    {
      float g0 = g[l], g1 = g[step + l], g2 = g[2 * step + l];
      float even = (g0 + g2) * (1.0f / 6), odd = g1 * (1.0f / 6);
      float wide = g0 * (1.0f / 24) + g2 * (1.0f / 6), middle = g1 * (1.0f / 12);

      out[l] = g0 * 0.25f;
      out[out_step + l] = -even - odd;
      out[2 * out_step + l] = odd - even;
      out[3 * out_step + l] = wide + middle;
      out[4 * out_step + l] = wide - middle;
      out[5 * out_step + l] = g2;
    }
}

/* U = G g G^T for each pair of channels. */
MULTIVERSION void
winograd_transform_weights (const float *weights, int c_in, int c_out, float *transformed)
{
  gsize pairs = (gsize) c_in * (gsize) c_out;

  for (gsize i = 0; i < pairs; i += LANES)
    {
      float half[3][6][LANES];

      for (gsize q = 0; q < 3; q++)
        transform_filter_column (weights + q * pairs + i, 3 * pairs, half[q][0], LANES);
      for (gsize a = 0; a < 6; a++)
        transform_filter_column (half[0][a], 6 * LANES, transformed + a * 6 * pairs + i, pairs);
    }
}

/* V = B^T d B of one 6x6 patch: pixels[36] point to its pixels' channels, v to this tile's row of matrix 0; matrices
 * are `step` floats apart. */
MULTIVERSION static void
transform_patch (const float *const pixels[36], int channels, float *restrict v, gsize step)
{
  for (int c = 0; c < channels; c += LANES)
    {
      float t[6][6][LANES];

      for (int j = 0; j < 6; j++)
        {
          const float *d0 = pixels[j] + c, *d1 = pixels[6 + j] + c, *d2 = pixels[12 + j] + c;
          const float *d3 = pixels[18 + j] + c, *d4 = pixels[24 + j] + c, *d5 = pixels[30 + j] + c;

          for (int l = 0; l < LANES; l++)
            {
              float a = d4[l] - 4.0f * d2[l], b = d3[l] - 4.0f * d1[l];
              float e = d4[l] - d2[l], f = 2.0f * (d3[l] - d1[l]);

              t[0][j][l] = 4.0f * d0[l] - 5.0f * d2[l] + d4[l];
              t[1][j][l] = a + b;
              t[2][j][l] = a - b;
              t[3][j][l] = e + f;
              t[4][j][l] = e - f;
              t[5][j][l] = 4.0f * d1[l] - 5.0f * d3[l] + d5[l];
            }
        }
      for (int i = 0; i < 6; i++)
        {
          float *o = v + (gsize) (i * 6) * step + c;

          for (int l = 0; l < LANES; l++)
            {
              float d0 = t[i][0][l], d1 = t[i][1][l], d2 = t[i][2][l], d3 = t[i][3][l], d4 = t[i][4][l],
                    d5 = t[i][5][l];
              float a = d4 - 4.0f * d2, b = d3 - 4.0f * d1;
              float e = d4 - d2, f = 2.0f * (d3 - d1);

              o[l] = 4.0f * d0 - 5.0f * d2 + d4;
              o[step + (gsize) l] = a + b;
              o[2 * step + (gsize) l] = a - b;
              o[3 * step + (gsize) l] = e + f;
              o[4 * step + (gsize) l] = e - f;
              o[5 * step + (gsize) l] = 4.0f * d1 - 5.0f * d3 + d5;
            }
        }
    }
}

/* Y = A^T m A of one tile, with bias and epilogue, into up to 4x4 pixels: rows [first_row, n_rows) of the tile, row i
 * of which starts at rows[i]; pixels are `pitch` floats apart. */
MULTIVERSION static void
transform_tile (const float *restrict m, gsize step, int channels, const float *restrict bias, ConvEpilogue epilogue,
                float *const rows[4], int pitch, int first_row, int n_rows, int n_columns)
{
  for (int c = 0; c < channels; c += LANES)
    {
      float t[4][6][LANES], o[4][4][LANES];

      for (int j = 0; j < 6; j++)
        {
          const float *k = m + (gsize) j * step + c;

          for (gsize l = 0; l < LANES; l++)
            {
              float s1 = k[6 * step + l] + k[12 * step + l], d1 = k[6 * step + l] - k[12 * step + l];
              float s2 = k[18 * step + l] + k[24 * step + l], d2 = k[18 * step + l] - k[24 * step + l];

              t[0][j][l] = k[l] + s1 + s2;
              t[1][j][l] = d1 + 2.0f * d2;
              t[2][j][l] = s1 + 4.0f * s2;
              t[3][j][l] = d1 + 8.0f * d2 + k[30 * step + l];
            }
        }
      for (int i = 0; i < 4; i++)
        for (int l = 0; l < LANES; l++)
          {
            float s1 = t[i][1][l] + t[i][2][l], d1 = t[i][1][l] - t[i][2][l];
            float s2 = t[i][3][l] + t[i][4][l], d2 = t[i][3][l] - t[i][4][l];
            float b = bias ? bias[c + l] : 0.0f;

            o[i][0][l] = t[i][0][l] + s1 + s2 + b;
            o[i][1][l] = d1 + 2.0f * d2 + b;
            o[i][2][l] = s1 + 4.0f * s2 + b;
            o[i][3][l] = d1 + 8.0f * d2 + t[i][5][l] + b;
          }
      for (int i = first_row; i < n_rows; i++)
        for (int j = 0; j < n_columns; j++)
          {
            float *y = rows[i] + j * pitch + c;

            if (epilogue == EPILOGUE_SILU)
              for (int l = 0; l < LANES; l++)
                y[l] = o[i][j][l] * sigmoid (o[i][j][l]);
            else if (epilogue == EPILOGUE_ADD)
              for (int l = 0; l < LANES; l++)
                y[l] += o[i][j][l];
            else
              for (int l = 0; l < LANES; l++)
                y[l] = o[i][j][l];
          }
    }
}

/* Where tile `index` of a piece lies. */
typedef struct
{
  int n, y, x; /* the sample, and the tile's first pixel in it */
} Tile;

static Tile
find_tile (const ConvPiece *piece, gsize index)
{
  gsize across = (gsize) (piece->width + 3) / 4, down = (gsize) (piece->above + piece->rows + 3) / 4;

  return (Tile){ (int) (index / across / down), (int) (index / across % down) * 4 - piece->above,
                 (int) (index % across) * 4 };
}

static void
gather_patch (const ConvPiece *piece, int rows_in, const float *x, int channels, const float *zeros, Tile tile,
              const float *pixels[36])
{
  for (int i = 0; i < 6; i++)
    for (int j = 0; j < 6; j++)
      {
        int v = tile.y + i - piece->top, u = tile.x + j - 1;

        if (v < 0 || v >= rows_in || u < 0 || u >= piece->width)
          pixels[i * 6 + j] = zeros;
        else
          pixels[i * 6 + j] = x
                              + (((gsize) tile.n * (gsize) rows_in + (gsize) v) * (gsize) piece->width + (gsize) u)
                                    * (gsize) channels;
      }
}

gsize
winograd_count_tiles (const ConvPiece *piece)
{
  return (gsize) piece->n * (gsize) ((piece->above + piece->rows + 3) / 4) * (gsize) ((piece->width + 3) / 4);
}

void
winograd_transform_tiles (const ConvPiece *piece, const float *x, int c_in, const float *zeros, gsize first,
                          gsize count, float *v, gsize step)
{
  const ConvShape shape = { CONV_SAME3, c_in, c_in };
  int             rows_in = conv_piece_rows_in (&shape, piece);

  for (gsize i = 0; i < count; i++)
    {
      const float *pixels[36];

      gather_patch (piece, rows_in, x, c_in, zeros, find_tile (piece, first + i), pixels);
      transform_patch (pixels, c_in, v + i * (gsize) c_in, step);
    }
}

void
winograd_multiply (const float *v, gsize v_step, const float *transformed, int c_in, int c_out, gsize count, float *m,
                   gsize m_step)
{
  for (gsize k = 0; k < 36; k++)
    cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint) count, c_out, c_in, 1.0f, v + k * v_step, c_in,
                 transformed + k * (gsize) c_in * (gsize) c_out, c_out, 0.0f, m + k * m_step, c_out);
}

void
winograd_finish_tiles (const ConvPiece *piece, const float *m, gsize step, int channels, const float *bias,
                       ConvEpilogue epilogue, gsize first, gsize count, float *y, int y_channels)
{
  for (gsize i = 0; i < count; i++)
    {
      Tile   tile = find_tile (piece, first + i);
      float *rows[4];

      for (int r = MAX (-tile.y, 0); r < 4; r++)
        rows[r]
            = y
              + (((gsize) tile.n * (gsize) piece->rows + (gsize) (tile.y + r)) * (gsize) piece->width + (gsize) tile.x)
                    * (gsize) y_channels;
      transform_tile (m + i * (gsize) channels, step, channels, bias, epilogue, rows, y_channels, MAX (-tile.y, 0),
                      MIN (4, piece->rows - tile.y), MIN (4, piece->width - tile.x));
    }
}

gboolean
winograd_forward (const float *transformed, const float *bias, int c_in, int c_out, const ConvPiece *piece,
                  const float *x, float *y, ConvEpilogue epilogue, Scratch *scratch, GError **error)
{
  gsize  tiles = winograd_count_tiles (piece);
  gsize  round = CLAMP ((gsize) ROUND_BYTES / (36 * sizeof (float) * (gsize) (c_in + c_out)),
                       c_in + c_out > ROUND_CHANNELS ? ROUND_MAX : ROUND_MIN, ROUND_MAX);
  gsize  v_step = round * (gsize) c_in, m_step = round * (gsize) c_out;
  float *v, *m, *zeros;

  v = scratch_get (scratch, (36 * (v_step + m_step) + (gsize) c_in) * sizeof (float), error);
  if (! v)
    return FALSE;
  m = v + 36 * v_step;
  zeros = m + 36 * m_step;
  memset (zeros, 0, (gsize) c_in * sizeof (float));
  for (gsize first = 0; first < tiles; first += round)
    {
      gsize count = MIN (round, tiles - first);

      winograd_transform_tiles (piece, x, c_in, zeros, first, count, v, v_step);
      winograd_multiply (v, v_step, transformed, c_in, c_out, count, m, m_step);
      winograd_finish_tiles (piece, m, m_step, c_out, bias, epilogue, first, count, y, c_out);
    }
  return TRUE;
}
