/* The bodies of the pointwise layers, included once for each element type.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Before inclusion: T (the type in memory), LOAD (T) -> float, STORE (float) -> T, NAME (function) -> its name for this
 * type. Loops go over channels of one pixel or over plain runs, so that the compiler makes vector code of them. */

MULTIVERSION static void
NAME (norm) (gsize pixels, int channels, const T *restrict x, const float *restrict gain, T *restrict y)
{
  for (gsize p = 0; p < pixels; p++, x += channels, y += channels)
    {
      float sum = 0, scale;

      for (int c = 0; c < channels; c++)
        sum += LOAD (x[c]) * LOAD (x[c]);
      scale = 1.0f / sqrtf (sum / (float) channels + NORM_EPSILON);
      for (int c = 0; c < channels; c++)
        y[c] = STORE (LOAD (x[c]) * scale * gain[c]);
    }
}

/* With r = 1 / sqrt (mean x^2 + e):  y_c = g_c x_c r,  so  dx_c = r g_c dy_c - x_c r^3 mean_k (g_k dy_k x_k). */
MULTIVERSION static void
NAME (norm_backward) (gsize pixels, int channels, const T *restrict x, const float *restrict gain, const T *restrict dy,
                      T *restrict dx, float *restrict d_gain)
{
  for (gsize p = 0; p < pixels; p++, x += channels, dy += channels, dx += channels)
    {
      float sum = 0, dot = 0, r, k;

      for (int c = 0; c < channels; c++)
        {
          float v = LOAD (x[c]);

          sum += v * v;
          dot += gain[c] * LOAD (dy[c]) * v;
        }
      r = 1.0f / sqrtf (sum / (float) channels + NORM_EPSILON);
      k = dot / (float) channels * r * r * r;
      for (int c = 0; c < channels; c++)
        {
          float v = LOAD (x[c]), d = LOAD (dy[c]);

          d_gain[c] += d * v * r;
          dx[c] = STORE (LOAD (dx[c]) + r * gain[c] * d - k * v);
        }
    }
}

MULTIVERSION static void
NAME (silu) (gsize count, const T *x, T *y)
{
  /* x and y are the same or apart: no iteration reads what another writes. */
#pragma GCC ivdep
  for (gsize i = 0; i < count; i++)
    {
      float v = LOAD (x[i]);

      y[i] = STORE (v * sigmoid (v));
    }
}

MULTIVERSION static void
NAME (silu_backward) (gsize count, const T *x, const T *dy, T *dx)
{
#pragma GCC ivdep
  for (gsize i = 0; i < count; i++)
    {
      float v = LOAD (x[i]), s = sigmoid (v), d = LOAD (dy[i]);

      dx[i] = STORE (d * s * (1.0f + v * (1.0f - s)));
    }
}

MULTIVERSION static void
NAME (add) (gsize count, const T *restrict x, T *restrict y)
{
  for (gsize i = 0; i < count; i++)
    y[i] = STORE (LOAD (y[i]) + LOAD (x[i]));
}

MULTIVERSION static void
NAME (add_bias) (gsize pixels, int channels, const float *restrict bias, T *restrict y)
{
  for (gsize p = 0; p < pixels; p++, y += channels)
    for (int c = 0; c < channels; c++)
      y[c] = STORE (LOAD (y[c]) + bias[c]);
}

MULTIVERSION static void
NAME (sum) (gsize pixels, int channels, const T *restrict x, float *restrict sums)
{
  for (gsize p = 0; p < pixels; p++, x += channels)
    for (int c = 0; c < channels; c++)
      sums[c] += LOAD (x[c]);
}

MULTIVERSION static void
NAME (from_f32) (gsize count, const float *restrict x, T *restrict y)
{
  for (gsize i = 0; i < count; i++)
    y[i] = STORE (x[i]);
}

MULTIVERSION static void
NAME (to_f32) (gsize count, const T *restrict x, float *restrict y)
{
  for (gsize i = 0; i < count; i++)
    y[i] = LOAD (x[i]);
}

#undef T
#undef LOAD
#undef STORE
#undef NAME
