/* Noise as cameras make it.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A sensor counts photons: in linear light the variance grows with the signal, above a floor that does not (Foi et al.
 * 2008, the Poisson-Gaussian model).  The colour mosaic and the camera's own denoising smooth the noise, colour more
 * than brightness; the colour matrix mixes the channels; the tone curve bends it all; JPEG rounds away what is fine.
 * Each is drawn at random here, on the clean crop.
 */
#include "train.h"

#include <math.h>

/* The tables of ITU-T T.81, annex K. */
static const guint8 luma_table[64]
    = { 16, 11,  10,  16, 24, 40, 51, 61, 12,  12,  14,  19,  26, 58, 60, 55,  14,  13,  16,  24, 40, 57,
        69, 56,  14,  17, 22, 29, 51, 87, 80,  62,  18,  22,  37, 56, 68, 109, 103, 77,  24,  35, 55, 64,
        81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98,  112, 100, 103, 99 };
static const guint8 chroma_table[64]
    = { 17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99,
        99, 99, 47, 66, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99 };

/* A Gaussian's reach, and the least of them that is worth the trouble. */
#define SMOOTH_RADIUS 8
#define SMOOTH_LEAST  0.2

/* The linear light up to which a tone curve is straight, and the most of the noise in middle grey that does not depend
 * on the light. */
#define TOE        0.02f
#define FLOOR_MOST 0.5

/* How far the local level looks: (2 * 7 + 1)^2 pixels. */
#define LEVEL_RADIUS 7
/* Where 8 bits hide all noise, half of their step is still unknown. */
#define LEVEL_MIN (0.5f / 255)

/* ---- smoothing ---- */

void
camera_smooth (int size, int step, double sigma, float *x, float *work)
{
  int   radius = MIN ((int) ceil (3 * sigma), MIN (SMOOTH_RADIUS, size - 1));
  float kernel[SMOOTH_RADIUS + 1], sum = 0;

  if (sigma < SMOOTH_LEAST)
    return;
  for (int k = 0; k <= radius; k++)
    {
      kernel[k] = (float) exp (-0.5 * k * k / (sigma * sigma));
      sum += k ? 2 * kernel[k] : kernel[k];
    }
  for (int pass = 0; pass < 2; pass++)
    {
      int along = pass ? size : 1, across = pass ? 1 : size;

      for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++)
          {
            float value = kernel[0] * x[(i * across + j * along) * step];

            for (int k = 1; k <= radius; k++)
              {
                int before = j >= k ? j - k : k - j, after = j + k < size ? j + k : 2 * size - 2 - j - k;

                value += kernel[k] * (x[(i * across + before * along) * step] + x[(i * across + after * along) * step]);
              }
            work[i * across + j * along] = value / sum;
          }
      for (int i = 0; i < size * size; i++)
        x[i * step] = work[i];
    }
}

/* Running mean over 2 * LEVEL_RADIUS + 1 values each way, in place; near the borders over those there are. */
static void
box_mean (int size, float *values, float *line)
{
  for (int pass = 0; pass < 2; pass++)
    {
      int along = pass ? size : 1, across = pass ? 1 : size;

      for (int i = 0; i < size; i++)
        {
          double sum = 0;
          int    count = 0;

          for (int j = 0; j < size; j++)
            line[j] = values[i * across + j * along];
          for (int j = -LEVEL_RADIUS; j < size; j++)
            {
              if (j + LEVEL_RADIUS < size)
                {
                  sum += line[j + LEVEL_RADIUS];
                  count++;
                }
              if (j - LEVEL_RADIUS - 1 >= 0)
                {
                  sum -= line[j - LEVEL_RADIUS - 1];
                  count--;
                }
              if (j >= 0)
                values[i * across + j * along] = (float) (sum / count);
            }
        }
    }
}

/* ---- JPEG's rounding ---- */

static void
transform_block (float block[64], gboolean inverse)
{
  static float basis[8][8];
  static gsize once;
  float        half[64];

  if (g_once_init_enter (&once))
    {
      for (int u = 0; u < 8; u++)
        for (int x = 0; x < 8; x++)
          basis[u][x] = (float) ((u ? 0.5 : sqrt (0.125)) * cos ((2 * x + 1) * u * G_PI / 16));
      g_once_init_leave (&once, 1);
    }
  for (int i = 0; i < 8; i++)
    for (int u = 0; u < 8; u++)
      {
        float sum = 0;

        for (int x = 0; x < 8; x++)
          sum += block[i * 8 + x] * (inverse ? basis[x][u] : basis[u][x]);
        half[i * 8 + u] = sum;
      }
  for (int v = 0; v < 8; v++)
    for (int u = 0; u < 8; u++)
      {
        float sum = 0;

        for (int y = 0; y < 8; y++)
          sum += half[y * 8 + u] * (inverse ? basis[y][v] : basis[v][y]);
        block[v * 8 + u] = sum;
      }
}

/* Compresses and decompresses one plane of values in [0, 255] (or around 0, for colour); pixels are `stride` samples
 * apart: 2 is how cameras keep colour.  size / stride is a multiple of 8. */
static void
compress_plane (int size, int stride, const guint8 table[64], double factor, float *plane)
{
  float block[64], steps[64];

  for (int i = 0; i < 64; i++)
    steps[i] = (float) CLAMP (floor (table[i] * factor + 0.5), 1, 255);
  for (int by = 0; by + 8 * stride <= size; by += 8 * stride)
    for (int bx = 0; bx + 8 * stride <= size; bx += 8 * stride)
      {
        for (int i = 0; i < 64; i++)
          {
            const float *from = plane + (by + i / 8 * stride) * size + bx + i % 8 * stride;

            block[i] = stride == 1 ? from[0] : (from[0] + from[1] + from[size] + from[size + 1]) / 4;
          }
        transform_block (block, FALSE);
        for (int i = 0; i < 64; i++)
          block[i] = rintf (block[i] / steps[i]) * steps[i];
        transform_block (block, TRUE);
        for (int i = 0; i < 64; i++)
          for (int d = 0; d < stride * stride; d++)
            plane[(by + i / 8 * stride + d / stride) * size + bx + i % 8 * stride + d % stride] = block[i];
      }
}

static void
compress (Random *random, int size, float *picture, float *planes)
{
  double quality = random_range (random, 55, 98);
  double factor = (quality < 50 ? 5000 / quality : 200 - 2 * quality) / 100;
  int    pixels = size * size, stride = random_double (random) < 0.5 && size % 16 == 0 ? 2 : 1;
  float *y = planes, *cb = planes + pixels, *cr = planes + 2 * pixels;

  for (int i = 0; i < pixels; i++)
    {
      float r = picture[i * 3] * 255, g = picture[i * 3 + 1] * 255, b = picture[i * 3 + 2] * 255;

      y[i] = 0.299f * r + 0.587f * g + 0.114f * b - 128;
      cb[i] = (b - y[i] - 128) * 0.564f;
      cr[i] = (r - y[i] - 128) * 0.713f;
    }
  compress_plane (size, 1, luma_table, factor, y);
  compress_plane (size, stride, chroma_table, factor, cb);
  compress_plane (size, stride, chroma_table, factor, cr);
  for (int i = 0; i < pixels; i++)
    {
      picture[i * 3] = (y[i] + 128 + 1.403f * cr[i]) / 255;
      picture[i * 3 + 1] = (y[i] + 128 - 0.344f * cb[i] - 0.714f * cr[i]) / 255;
      picture[i * 3 + 2] = (y[i] + 128 + 1.773f * cb[i]) / 255;
    }
}

/* ---- the noise ---- */

/* Keeps what a sensor's colour mosaic would see of the noise, and fills in the rest as bilinear demosaicing does: from
 * the nearest sites of the same colour.  `work` holds size x size values. */
static void
demosaic (Random *random, int size, float *noise, float *work)
{
  int phase_x = random_int (random, 0, 2), phase_y = random_int (random, 0, 2);

  for (int c = 0; c < 3; c++)
    {
      for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++)
          {
            float sum = 0, weights = 0;

            /* Red, green, green, blue: a site's colour is the sum of its coordinates' parities.  Where the middle is a
             * site, it counts alone; else the four, or two, around it. */
            for (int j = -1; j <= 1; j++)
              for (int i = -1; i <= 1; i++)
                {
                  int   u = ABS (x + i), v = ABS (y + j), px, py;
                  float weight = i == 0 && j == 0 ? 1e6f : i == 0 || j == 0 ? 2 : 1;

                  u = u < size ? u : 2 * size - 2 - u;
                  v = v < size ? v : 2 * size - 2 - v;
                  px = (u + phase_x) & 1;
                  py = (v + phase_y) & 1;
                  if (px + py != c)
                    continue;
                  sum += weight * noise[(v * size + u) * 3 + c];
                  weights += weight;
                }
            work[y * size + x] = sum / weights;
          }
      for (int i = 0; i < size * size; i++)
        noise[i * 3 + c] = work[i];
    }
}

/* Brightness and colours of the noise apart: n = (mean, n - mean). */
static void
split_luma (int pixels, float *noise, float *luma)
{
  for (int i = 0; i < pixels; i++)
    {
      luma[i] = (noise[i * 3] + noise[i * 3 + 1] + noise[i * 3 + 2]) / 3;
      for (int c = 0; c < 3; c++)
        noise[i * 3 + c] -= luma[i];
    }
}

/* To this root mean square. */
static void
scale_to (int count, double wanted, float *values)
{
  double sum = 0;

  for (int i = 0; i < count; i++)
    sum += (double) values[i] * values[i];
  for (int i = 0; sum > 0 && i < count; i++)
    values[i] = (float) (values[i] * wanted / sqrt (sum / count));
}

/* What the camera's own processing makes of white noise: it comes from a mosaic, is smoothed, colour more widely than
 * brightness, and has other shares of both than white noise has.  The result has a variance of 1.  work: 2 planes. */
static void
develop_noise (Random *random, int size, float *noise, float *work)
{
  int    pixels = size * size;
  float *luma = work + pixels;
  double luma_share = sqrt (1.0 / 3.0), colour_share = sqrt (2.0 / 3.0), fine = 0, wide = 0;

  if (random_double (random) < 0.5)
    demosaic (random, size, noise, work);
  if (random_double (random) < 0.8)
    {
      fine = random_range (random, 0, 1.3);
      wide = fine + (random_double (random) < 0.7 ? random_range (random, 0, 2.2) : 0);
    }
  if (random_double (random) < 0.7)
    {
      luma_share *= exp (random_range (random, -0.6, 0.6));
      colour_share *= exp (random_range (random, -1.2, 0.3));
    }
  split_luma (pixels, noise, luma);
  camera_smooth (size, 1, fine, luma, work);
  for (int c = 0; c < 3; c++)
    camera_smooth (size, 3, wide, noise + c, work);
  scale_to (pixels, luma_share, luma);
  scale_to (pixels * 3, colour_share, noise);
  for (int i = 0; i < pixels * 3; i++)
    noise[i] += luma[i / 3];
  scale_to (pixels * 3, 1, noise);
}

/* The standard deviation after the tone curve, up to a factor, of a sensor value whose variance is part floor, part
 * signal.  Cameras' curves have a toe: a power's slope at black, which has no end, would make all noise that of a few
 * black pixels. */
static float
shape_level (float value, float floor_share)
{
  float light = powf (CLAMP (value, 0.0f, 1.0f), 2.2f);

  return sqrtf ((1 - floor_share) * light + floor_share * 0.2f) * powf (MAX (light, TOE), 1 / 2.2f - 1) / 2.2f;
}

void
camera_add_noise (Random *random, int size, double sigma, const float *clean, float *noisy, float *level, float *work)
{
  int      pixels = size * size;
  float   *noise = work, *planes = work + 3 * pixels;
  float    floor_share = (float) random_range (random, 0.02, FLOOR_MOST);
  gboolean rounds = random_double (random) < 0.7;
  double   sum = 0;
  float    scale;

  sample_fill_normal (random, (gsize) pixels * 3, noise);
  develop_noise (random, size, noise, planes);
  /* Levels by brightness, then all of them to the mean that was asked for. */
  for (int i = 0; i < pixels * 3; i++)
    {
      planes[i] = shape_level (clean[i], floor_share);
      sum += (double) planes[i] * planes[i];
    }
  scale = (float) (sigma / sqrt (sum / (pixels * 3)));
  for (int i = 0; i < pixels * 3; i++)
    noisy[i] = clean[i] + noise[i] * planes[i] * scale;
  for (int i = 0; i < pixels; i++)
    level[i] = scale
               * sqrtf ((planes[i * 3] * planes[i * 3] + planes[i * 3 + 1] * planes[i * 3 + 1]
                         + planes[i * 3 + 2] * planes[i * 3 + 2])
                        / 3);
  if (! rounds)
    return;

  for (int i = 0; i < pixels * 3; i++)
    noisy[i] = CLAMP (noisy[i], 0.0f, 1.0f);
  if (random_double (random) < 0.7)
    compress (random, size, noisy, planes);
  for (int i = 0; i < pixels * 3; i++)
    noisy[i] = rintf (CLAMP (noisy[i], 0.0f, 1.0f) * 255) / 255;
  /* What clipping and rounding left of it can only be measured. */
  for (int i = 0; i < pixels; i++)
    {
      level[i] = 0;
      for (int c = 0; c < 3; c++)
        level[i] += (noisy[i * 3 + c] - clean[i * 3 + c]) * (noisy[i * 3 + c] - clean[i * 3 + c]) / 3;
    }
  box_mean (size, level, work);
  for (int i = 0; i < pixels; i++)
    level[i] = MAX (sqrtf (level[i]), LEVEL_MIN);
}
