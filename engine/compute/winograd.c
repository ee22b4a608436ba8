/* Winograd's F(4x4, 3x3).  SPDX-License-Identifier: GPL-3.0-or-later */
#include "winograd.h"
#include "rows.h"
#include "vector.h"

#include <cblas.h>

#define LANES WINOGRAD_LANES

/* Tiles per round: the 36 input and 36 output matrices of a round should stay in a cache; but each product packs its
 * weights anew, which only many tiles are worth.  Following the processor's L2 does not pay: where it has 512 KiB, the
 * network is 4 % slower with rounds of that size, and as fast with twice as much as this. */
#define ROUND_BYTES (2 * 1024 * 1024)
#define ROUND_MIN   48
#define ROUND_MAX   128
/* From so many channels on, both counted, no round fits anyway: then packing weights as seldom as possible counts. */
#define ROUND_CHANNELS 512

gsize
winograd_get_step (gsize rows, int channels)
{
  return rows * (gsize) channels + 5 * LANES;
}

/* The steps below are never less than LANES, which the compiler can't see: with six results in one loop it gives up
 * testing whether they overlap, and makes no vectors. */
#define NO_OVERLAP _Pragma ("GCC ivdep")

/* U = G g G^T */
MULTIVERSION void
winograd_transform_filters (const float *restrict taps, gsize tap_step, float *restrict transformed, gsize step)
{
  float half[6][3][LANES];

  for (gsize q = 0; q < 3; q++)
    {
      const float *g0 = taps + q * tap_step, *g1 = taps + (3 + q) * tap_step, *g2 = taps + (6 + q) * tap_step;

      for (int l = 0; l < LANES; l++)
        {
          float even = g0[l] + g2[l], wide = g0[l] + 4.0f * g2[l];

          half[0][q][l] = 0.25f * g0[l];
          half[1][q][l] = (-1.0f / 6) * (even + g1[l]);
          half[2][q][l] = (-1.0f / 6) * (even - g1[l]);
          half[3][q][l] = (1.0f / 24) * (wide + 2.0f * g1[l]);
          half[4][q][l] = (1.0f / 24) * (wide - 2.0f * g1[l]);
          half[5][q][l] = g2[l];
        }
    }
  for (gsize a = 0; a < 6; a++)
    {
      float row[6][LANES]; /* compilers do not make vectors of stores that are `step` apart */

      for (int l = 0; l < LANES; l++)
        {
          float g0 = half[a][0][l], g1 = half[a][1][l], g2 = half[a][2][l];
          float even = g0 + g2, wide = g0 + 4.0f * g2;

          row[0][l] = 0.25f * g0;
          row[1][l] = (-1.0f / 6) * (even + g1);
          row[2][l] = (-1.0f / 6) * (even - g1);
          row[3][l] = (1.0f / 24) * (wide + 2.0f * g1);
          row[4][l] = (1.0f / 24) * (wide - 2.0f * g1);
          row[5][l] = g2;
        }
      for (gsize b = 0; b < 6; b++)
        memcpy (transformed + (a * 6 + b) * step, row[b], sizeof row[b]);
    }
}

void
winograd_transform_weights (const float *weights, int c_in, int c_out, float *transformed)
{
  gsize pairs = (gsize) c_in * (gsize) c_out, step = winograd_get_step ((gsize) c_in, c_out);

  for (gsize i = 0; i < pairs; i += LANES)
    winograd_transform_filters (weights + i, pairs, transformed + i, step);
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

          NO_OVERLAP
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

/* Beyond the picture: x = piece->width. */
static Tile
find_tile (const ConvPiece *piece, const WinogradTiles *tiles, gsize index)
{
  gsize down = (gsize) (piece->above + piece->rows + 3) / 4, columns = tiles->across / tiles->kinds;
  gsize place = index % tiles->group, share = tiles->group / tiles->kinds;
  gsize nth = index / tiles->group * share + place % share, row = nth / columns;
  Tile  tile = { (int) (row / down), (int) (row % down) * 4 - piece->above,
                 (int) (nth % columns * tiles->kinds + place / share) * 4 };

  if (tile.n >= piece->n || tile.x >= piece->width)
    tile.x = piece->width;
  return tile;
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

static WinogradTiles
order_tiles (const ConvPiece *piece, gsize group, gsize kinds)
{
  gsize columns = ((gsize) (piece->width + 3) / 4 + kinds - 1) / kinds, share = group / kinds;
  gsize rows = (gsize) piece->n * ((gsize) (piece->above + piece->rows + 3) / 4);

  return (WinogradTiles){ columns * kinds, group, kinds, (rows * columns + share - 1) / share * group };
}

WinogradTiles
winograd_get_tiles (const ConvPiece *piece)
{
  return order_tiles (piece, 1, 1);
}

WinogradTiles
winograd_get_tiles_in_place (const ConvPiece *piece)
{
  return order_tiles (piece, rows_get_group (), rows_get_kinds ());
}

void
winograd_transform_tiles (const ConvPiece *piece, const WinogradTiles *tiles, const float *x, int c_in,
                          const float *zeros, gsize first, gsize count, float *v, gsize step)
{
  const ConvShape shape = { CONV_SAME3, c_in, c_in };
  int             rows_in = conv_piece_rows_in (&shape, piece);

  for (gsize i = 0; i < count; i++)
    {
      Tile         tile = find_tile (piece, tiles, first + i);
      float       *row = v + i * (gsize) c_in;
      const float *pixels[36];

      if (tile.x < piece->width)
        {
          gather_patch (piece, rows_in, x, c_in, zeros, tile, pixels);
          transform_patch (pixels, c_in, row, step);
        }
      else
        {
          for (gsize k = 0; k < 36; k++)
            memset (row + k * step, 0, (gsize) c_in * sizeof (float));
        }
    }
}

void
winograd_multiply (int products, const float *v, gsize v_step, int v_pitch, const float *transformed, int c_in,
                   int c_out, gsize count, gboolean add, float *m, gsize m_step)
{
  gsize step = winograd_get_step ((gsize) c_in, c_out);

  for (gsize k = 0; k < (gsize) products; k++)
    cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint) count, c_out, c_in, 1.0f, v + k * v_step, v_pitch,
                 transformed + k * step, c_out, add ? 1.0f : 0.0f, m + k * m_step, c_out);
}

void
winograd_finish_tiles (const ConvPiece *piece, const WinogradTiles *tiles, const float *m, gsize step, int channels,
                       const float *bias, ConvEpilogue epilogue, gsize first, gsize count, float *y, int y_channels)
{
  for (gsize i = 0; i < count; i++)
    {
      Tile   tile = find_tile (piece, tiles, first + i);
      float *rows[4];

      if (tile.x >= piece->width)
        continue;
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
  /* Batches are never divided by rows. */
  WinogradTiles tiles = piece->n > 1 ? winograd_get_tiles (piece) : winograd_get_tiles_in_place (piece);
  gsize         round = rows_round_up (CLAMP ((gsize) ROUND_BYTES / (36 * sizeof (float) * (gsize) (c_in + c_out)),
                                      c_in + c_out >= ROUND_CHANNELS ? ROUND_MAX : ROUND_MIN, ROUND_MAX));
  gsize         v_step = winograd_get_step (round, c_in), m_step = winograd_get_step (round, c_out);
  float        *v, *m, *zeros;

  v = scratch_get (scratch, (36 * (v_step + m_step) + (gsize) c_in) * sizeof (float), error);
  if (! v)
    return FALSE;
  m = v + 36 * v_step;
  zeros = m + 36 * m_step;
  memset (zeros, 0, (gsize) c_in * sizeof (float));
  for (gsize first = 0; first < tiles.count; first += round)
    {
      gsize count = MIN (round, tiles.count - first);

      winograd_transform_tiles (piece, &tiles, x, c_in, zeros, first, count, v, v_step);
      winograd_multiply (WINOGRAD_PRODUCTS, v, v_step, c_in, transformed, c_in, c_out, count, FALSE, m, m_step);
      winograd_finish_tiles (piece, &tiles, m, m_step, c_out, bias, epilogue, first, count, y, c_out);
    }
  return TRUE;
}

/* ---- the gradient by the weights ---- */

/* out = A d for one column of 4 values, `step` apart: the transpose of what a tile's 6 products are added up by. */
static inline void
spread_column (const float *restrict d, gsize step, float *restrict out, gsize out_step)
{
  NO_OVERLAP
  for (gsize l = 0; l < LANES; l++)
    {
      float d0 = d[l], d1 = d[step + l], d2 = d[2 * step + l], d3 = d[3 * step + l];
      float even = d0 + d2, odd = d1 + d3, wide_even = d0 + 4.0f * d2, wide_odd = 2.0f * d1 + 8.0f * d3;

      out[l] = d0;
      out[out_step + l] = even + odd;
      out[2 * out_step + l] = even - odd;
      out[3 * out_step + l] = wide_even + wide_odd;
      out[4 * out_step + l] = wide_even - wide_odd;
      out[5 * out_step + l] = d3;
    }
}

/* M = A d A^T of one 4x4 tile, as transform_patch () of a 6x6 one. */
MULTIVERSION static void
spread_tile (const float *const pixels[16], int channels, float *restrict m, gsize step)
{
  for (int c = 0; c < channels; c += LANES)
    {
      float d[4][LANES], half[6][4][LANES];

      for (int j = 0; j < 4; j++)
        {
          for (int i = 0; i < 4; i++)
            memcpy (d[i], pixels[i * 4 + j] + c, sizeof d[i]);
          spread_column (d[0], LANES, half[0][j], 4 * LANES);
        }
      for (gsize i = 0; i < 6; i++)
        spread_column (half[i][0], LANES, m + i * 6 * step + (gsize) c, step);
    }
}

static void
spread_tiles (const ConvPiece *piece, const WinogradTiles *tiles, const float *dy, int channels, const float *zeros,
              gsize first, gsize count, float *m, gsize step)
{
  for (gsize t = 0; t < count; t++)
    {
      Tile         tile = find_tile (piece, tiles, first + t);
      const float *pixels[16];

      for (int i = 0; i < 16; i++)
        {
          int y = tile.y + i / 4, x = tile.x + i % 4;

          pixels[i]
              = y < 0 || y >= piece->rows || x >= piece->width
                    ? zeros
                    : dy
                          + (((gsize) tile.n * (gsize) piece->rows + (gsize) y) * (gsize) piece->width + (gsize) x)
                                * (gsize) channels;
        }
      spread_tile (pixels, channels, m + t * (gsize) channels, step);
    }
}

/* out += G^T m for one column of 6 values: the transpose of transform_filter_column (). */
static inline void
gather_column (const float *restrict m, gsize step, float *restrict out, gsize out_step)
{
  NO_OVERLAP
  for (gsize l = 0; l < LANES; l++)
    {
      float s1 = m[step + l] + m[2 * step + l], d1 = m[2 * step + l] - m[step + l];
      float s2 = m[3 * step + l] + m[4 * step + l], d2 = m[3 * step + l] - m[4 * step + l];

      out[l] += m[l] * 0.25f - s1 * (1.0f / 6) + s2 * (1.0f / 24);
      out[out_step + l] += d1 * (1.0f / 6) + d2 * (1.0f / 12);
      out[2 * out_step + l] += (s2 - s1) * (1.0f / 6) + m[5 * step + l];
    }
}

/* d_weights += G^T M G for each pair of channels. */
MULTIVERSION static void
gather_weights (const float *sums, gsize pairs, float *d_weights)
{
  for (gsize i = 0; i < pairs; i += LANES)
    {
      float half[3][6][LANES] = { 0 };

      for (gsize b = 0; b < 6; b++)
        gather_column (sums + b * pairs + i, 6 * pairs, half[0][b], 6 * LANES);
      for (gsize p = 0; p < 3; p++)
        gather_column (half[p][0], LANES, d_weights + 3 * p * pairs + i, pairs);
    }
}

gboolean
winograd_backward_weights (int c_in, int c_out, const ConvPiece *piece, const float *x, const float *dy,
                           float *d_weights, Scratch *scratch, GError **error)
{
  WinogradTiles tiles = winograd_get_tiles (piece);
  gsize         round = MIN (tiles.count, ROUND_MAX);
  gsize         v_step = winograd_get_step (round, c_in), m_step = winograd_get_step (round, c_out),
        pairs = (gsize) c_in * (gsize) c_out;
  gsize  n_zeros = (gsize) MAX (c_in, c_out);
  float *v, *m, *sums, *zeros;

  v = scratch_get (scratch, (36 * (v_step + m_step + pairs) + n_zeros) * sizeof (float), error);
  if (! v)
    return FALSE;
  m = v + 36 * v_step;
  sums = m + 36 * m_step;
  zeros = sums + 36 * pairs;
  memset (zeros, 0, n_zeros * sizeof (float));
  for (gsize first = 0; first < tiles.count; first += round)
    {
      gsize count = MIN (round, tiles.count - first);

      winograd_transform_tiles (piece, &tiles, x, c_in, zeros, first, count, v, v_step);
      spread_tiles (piece, &tiles, dy, c_out, zeros, first, count, m, m_step);
      for (gsize k = 0; k < 36; k++)
        cblas_sgemm (CblasRowMajor, CblasTrans, CblasNoTrans, c_in, c_out, (blasint) count, 1.0f, v + k * v_step, c_in,
                     m + k * m_step, c_out, first > 0 ? 1.0f : 0.0f, sums + k * pairs, c_out);
    }
  gather_weights (sums, pairs, d_weights);
  return TRUE;
}
