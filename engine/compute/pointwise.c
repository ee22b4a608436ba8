/* The pointwise layers.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute.h"
#include "core/bf16.h"
#include "vector.h"

#define NORM_EPSILON 1e-4f

#define T          float
#define LOAD(v)    (v)
#define STORE(v)   (v)
#define NAME(name) name##_f32
#include "pointwise-kernels.h"

#define T          guint16
#define LOAD(v)    load_bf16 (v)
#define STORE(v)   store_bf16 (v)
#define NAME(name) name##_bf16
#include "pointwise-kernels.h"

#define DISPATCH(name, ...) (element == ELEMENT_F32 ? name##_f32 (__VA_ARGS__) : name##_bf16 (__VA_ARGS__))

void
pointwise_norm (Element element, gsize pixels, int channels, const void *x, const float *gain, void *y)
{
  DISPATCH (norm, pixels, channels, x, gain, y);
}

void
pointwise_norm_backward (Element element, gsize pixels, int channels, const void *x, const float *gain, const void *dy,
                         void *dx, float *d_gain)
{
  DISPATCH (norm_backward, pixels, channels, x, gain, dy, dx, d_gain);
}

void
pointwise_silu (Element element, gsize count, const void *x, void *y)
{
  DISPATCH (silu, count, x, y);
}

void
pointwise_silu_backward (Element element, gsize count, const void *x, const void *dy, void *dx)
{
  DISPATCH (silu_backward, count, x, dy, dx);
}

void
pointwise_add (Element element, gsize count, const void *x, void *y)
{
  DISPATCH (add, count, x, y);
}

void
pointwise_add_bias (Element element, gsize pixels, int channels, const float *bias, void *y)
{
  DISPATCH (add_bias, pixels, channels, bias, y);
}

void
pointwise_sum (Element element, gsize pixels, int channels, const void *x, float *sums)
{
  DISPATCH (sum, pixels, channels, x, sums);
}

void
pointwise_from_f32 (Element element, gsize count, const float *x, void *y)
{
  DISPATCH (from_f32, count, x, y);
}

void
pointwise_to_f32 (Element element, gsize count, const void *x, float *y)
{
  DISPATCH (to_f32, count, x, y);
}
