/* The layers of latent diffusion networks.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "layers.h"
#include "vector.h"
#include "winograd.h"
#include "winograd2.h"

#define LANES WINOGRAD_LANES

/* ---- weights ---- */

static inline guint16
load_16 (const guint8 *p)
{
  guint16 value;

  memcpy (&value, p, sizeof value);
  return GUINT16_FROM_LE (value);
}

static inline float
float_of_bits (guint32 bits)
{
  float value;

  memcpy (&value, &bits, sizeof value);
  return value;
}

/* Both kinds of half precision number are computed, and one is taken, so that the loop has no branch. */
MULTIVERSION static void
half_to_f32 (gsize count, const guint8 *restrict weights, float *restrict values)
{
  for (gsize i = 0; i < count; i++)
    {
      guint32 half = load_16 (weights + 2 * i), magnitude = half & 0x7FFFu;
      gint32  fraction = (gint32) (half & 0x3FFu);
      float   normal = float_of_bits ((magnitude << 13) + 0x38000000u), small = (float) fraction * 0x1p-24f;
      float   value = magnitude < 0x400u ? small : normal;

      values[i] = half & 0x8000u ? -value : value;
    }
}

MULTIVERSION static void
brain_to_f32 (gsize count, const guint8 *restrict weights, float *restrict values)
{
  for (gsize i = 0; i < count; i++)
    values[i] = float_of_bits ((guint32) load_16 (weights + 2 * i) << 16);
}

static void
single_to_f32 (gsize count, const guint8 *weights, float *values)
{
#if G_BYTE_ORDER == G_LITTLE_ENDIAN
  memcpy (values, weights, count * sizeof (float));
#else
  for (gsize i = 0; i < count; i++)
    {
      guint32 bits;

      memcpy (&bits, weights + 4 * i, sizeof bits);
      values[i] = float_of_bits (GUINT32_FROM_LE (bits));
    }
#endif
}

void
weights_to_f32 (TensorType type, gsize count, const void *weights, float *values)
{
  if (type == TENSOR_F16)
    half_to_f32 (count, weights, values);
  else if (type == TENSOR_BF16)
    brain_to_f32 (count, weights, values);
  else
    single_to_f32 (count, weights, values);
}

/* So many at a time stay in the first cache as f32. */
#define CONVERTED_AT_ONCE 2048

void
weights_to_bf16 (TensorType type, gsize count, const void *weights, guint16 *values)
{
  float exact[CONVERTED_AT_ONCE];

  for (gsize first = 0; first < count; first += CONVERTED_AT_ONCE)
    {
      gsize n = MIN (CONVERTED_AT_ONCE, count - first);

      weights_to_f32 (type, n, (const guint8 *) weights + first * weight_size (type), exact);
      pointwise_from_f32 (ELEMENT_BF16, n, exact, values + first);
    }
}

/* The exponent of a NaN or an infinity is all ones.  (On the bits: the compiler believes that all numbers are finite.)
 */
MULTIVERSION static gboolean
finite_16 (gsize count, const guint8 *weights, guint16 exponent)
{
  guint16 bad = 0;

  for (gsize i = 0; i < count; i++)
    bad |= (load_16 (weights + 2 * i) & exponent) == exponent ? 1 : 0;
  return bad == 0;
}

MULTIVERSION static gboolean
finite_32 (gsize count, const guint8 *weights)
{
  guint32 bad = 0;

  for (gsize i = 0; i < count; i++)
    {
      guint32 bits;

      memcpy (&bits, weights + 4 * i, sizeof bits);
      bad |= (GUINT32_FROM_LE (bits) & 0x7F800000u) == 0x7F800000u ? 1 : 0;
    }
  return bad == 0;
}

gboolean
weights_are_finite (TensorType type, gsize count, const void *weights)
{
  if (type == TENSOR_F32)
    return finite_32 (count, weights);
  return finite_16 (count, weights, type == TENSOR_F16 ? 0x7C00 : 0x7F80);
}

/* As winograd_transform_filters (), for tiles of 2x2 pixels: 16 results; taps are [9][16]. */
MULTIVERSION static void
transform_filters_2x2 (const float *restrict taps, float *restrict out, gsize step)
{
  float half[4][3][LANES];

  for (int q = 0; q < 3; q++)
    {
      const float *g0 = taps + q * LANES, *g1 = taps + (3 + q) * LANES, *g2 = taps + (6 + q) * LANES;

      for (int l = 0; l < LANES; l++)
        {
          half[0][q][l] = g0[l];
          half[1][q][l] = 0.5f * (g0[l] + g2[l] + g1[l]);
          half[2][q][l] = 0.5f * (g0[l] + g2[l] - g1[l]);
          half[3][q][l] = g2[l];
        }
    }
  for (gsize a = 0; a < 4; a++)
    {
      float row[4][LANES]; /* as there */

      for (int l = 0; l < LANES; l++)
        {
          float g0 = half[a][0][l], g1 = half[a][1][l], g2 = half[a][2][l];

          row[0][l] = g0;
          row[1][l] = 0.5f * (g0 + g2 + g1);
          row[2][l] = 0.5f * (g0 + g2 - g1);
          row[3][l] = g2;
        }
      for (gsize b = 0; b < 4; b++)
        memcpy (out + (a * 4 + b) * step, row[b], sizeof row[b]);
    }
}

/* [16][count] -> [count][16] */
MULTIVERSION static void
transpose_lanes (gsize count, const float *restrict x, float *restrict y)
{
  for (gsize i = 0; i < count; i++)
    for (gsize l = 0; l < LANES; l++)
      y[i * LANES + l] = x[l * count + i];
}

/* Input channels at a time: their taps stay in the first cache. */
#define FILTER_CHANNELS 32

void
weights_to_winograd (int products, TensorType type, int c_in, const void *weights, int from, int n_in, int first,
                     int n_out, int c_out, float *transformed)
{
  gsize step = winograd_get_step ((gsize) n_in, c_out);
  float rows[FILTER_CHANNELS * 9 * LANES], taps[FILTER_CHANNELS * 9 * LANES];
  int   there = MIN (n_in, c_in - from);

  for (int o = 0; o < n_out; o += LANES)
    for (int i = 0; i < there; i += FILTER_CHANNELS)
      {
        gsize count = (gsize) MIN (FILTER_CHANNELS, there - i) * 9;

        for (int l = 0; l < LANES; l++)
          weights_to_f32 (type, count,
                          (const guint8 *) weights
                              + (((gsize) (o + l) * (gsize) c_in + (gsize) (from + i)) * 9) * weight_size (type),
                          rows + (gsize) l * count);
        transpose_lanes (count, rows, taps);
        for (gsize j = 0; j < count / 9; j++)
          {
            float *out = transformed + ((gsize) i + j) * (gsize) c_out + (gsize) (first + o);

            if (products == WINOGRAD_PRODUCTS)
              winograd_transform_filters (taps + j * 9 * LANES, LANES, out, step);
            else
              transform_filters_2x2 (taps + j * 9 * LANES, out, step);
          }
      }
  for (int i = there; i < n_in; i++)
    for (gsize k = 0; k < (gsize) products; k++)
      memset (transformed + k * step + (gsize) i * (gsize) c_out + (gsize) first, 0, (gsize) n_out * sizeof (float));
}

/* ---- pointwise ---- */

#define SUM_CHANNELS 64

MULTIVERSION static void
sum_block (gsize pixels, int channels, int first, int count, const float *restrict x, double *restrict sums)
{
  float sum[SUM_CHANNELS] = { 0 }, square[SUM_CHANNELS] = { 0 };

  for (gsize p = 0; p < pixels; p++)
    {
      const float *row = x + p * (gsize) channels + first;

      for (int c = 0; c < count; c++)
        {
          sum[c] += row[c];
          square[c] += row[c] * row[c];
        }
    }
  for (int c = 0; c < count; c++)
    {
      sums[first + c] += (double) sum[c];
      sums[channels + first + c] += (double) square[c];
    }
}

void
layer_sums (gsize pixels, int channels, const float *x, double *sums)
{
  for (gsize p = 0; p < pixels; p += LAYER_SUM_PIXELS)
    for (int first = 0; first < channels; first += SUM_CHANNELS)
      sum_block (MIN (LAYER_SUM_PIXELS, pixels - p), channels, first, MIN (SUM_CHANNELS, channels - first),
                 x + p * (gsize) channels, sums);
}

MULTIVERSION void
layer_affine (gsize pixels, int channels, const float *x, const float *restrict scale, const float *restrict shift,
              gboolean silu, float *y)
{
  for (gsize p = 0; p < pixels; p++, x += channels, y += channels)
    if (silu)
      for (int c = 0; c < channels; c++)
        {
          float value = x[c] * scale[c] + shift[c];

          y[c] = value * sigmoid (value);
        }
    else
      for (int c = 0; c < channels; c++)
        y[c] = x[c] * scale[c] + shift[c];
}

MULTIVERSION void
layer_norm (gsize rows, int channels, const float *x, const float *restrict gain, const float *restrict bias,
            float epsilon, float *y)
{
  for (gsize r = 0; r < rows; r++, x += channels, y += channels)
    {
      float mean = 0, variance = 0, scale;

      for (int c = 0; c < channels; c++)
        mean += x[c];
      mean /= (float) channels;
      for (int c = 0; c < channels; c++)
        variance += (x[c] - mean) * (x[c] - mean);
      scale = 1.0f / sqrtf (variance / (float) channels + epsilon);
      for (int c = 0; c < channels; c++)
        y[c] = (x[c] - mean) * scale * gain[c] + bias[c];
    }
}

/* x Phi (x), erf by Abramowitz and Stegun, 7.1.26: 1.5e-7 absolute. */
static inline float
gelu (float x)
{
  float u = fabsf (x) * 0.70710678f, t = 1.0f / (1.0f + 0.3275911f * u);
  float tail = t * (0.254829592f + t * (-0.284496736f + t * (1.421413741f + t * (-1.453152027f + t * 1.061405429f))))
               * fast_exp (-u * u);

  return 0.5f * x * (1.0f + copysignf (1.0f - tail, x));
}

MULTIVERSION void
layer_geglu (gsize rows, int n, const float *restrict x, float *restrict y)
{
  for (gsize r = 0; r < rows; r++, x += 2 * n, y += n)
    for (int c = 0; c < n; c++)
      y[c] = x[c] * gelu (x[n + c]);
}

MULTIVERSION void
layer_gelu (gsize count, float *x)
{
  for (gsize i = 0; i < count; i++)
    x[i] = gelu (x[i]);
}

MULTIVERSION void
layer_quick_gelu (gsize count, float *x)
{
  for (gsize i = 0; i < count; i++)
    x[i] *= sigmoid (1.702f * x[i]);
}

MULTIVERSION void
layer_start (gsize rows, int channels, gsize pitch, const float *restrict bias, gboolean add, float *restrict y)
{
  if (add && ! bias)
    return;
  for (gsize r = 0; r < rows; r++, y += pitch)
    for (int c = 0; c < channels; c++)
      y[c] = (add ? y[c] : 0.0f) + (bias ? bias[c] : 0.0f);
}

/* One pixel's patch: pixels[9] are its neighbours' channels. */
MULTIVERSION static void
gather_taps (const float *const pixels[9], int channels, float *restrict patch)
{
  for (int c = 0; c < channels; c++)
    for (int t = 0; t < 9; t++)
      patch[c * 9 + t] = pixels[t] ? pixels[t][c] : 0.0f;
}

void
layer_patches (const float *x, int width, int height, int channels, int stride, int pad, int width_out, int first,
               int rows, float *patches)
{
  for (int v = first; v < first + rows; v++)
    for (int u = 0; u < width_out; u++, patches += (gsize) channels * 9)
      {
        const float *pixels[9];

        for (int t = 0; t < 9; t++)
          {
            int      y = v * stride + t / 3 - pad, z = u * stride + t % 3 - pad;
            gboolean inside = y >= 0 && y < height && z >= 0 && z < width;

            pixels[t] = inside ? x + ((gsize) y * (gsize) width + (gsize) z) * (gsize) channels : NULL;
          }
        gather_taps (pixels, channels, patches);
      }
}
