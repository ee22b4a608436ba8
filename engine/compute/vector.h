/* What the vectorized files share.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <glib.h>
#include <math.h>
#include <string.h>

/* The compiler makes one version of a function for each class of processor; the loader picks.  (ELF systems on x86-64
 * only; elsewhere there is one version, for the compiler's target.) */
#if defined(__x86_64__) && defined(__GNUC__) && ! defined(__clang__) && defined(__ELF__)                               \
    && ! defined(__SANITIZE_ADDRESS__) && ! defined(__SANITIZE_THREAD__)
#define MULTIVERSION __attribute__ ((target_clones ("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MULTIVERSION
#endif

/* e^x to 2e-7 relative for |x| <= 80, without branches or calls, so that loops over it vectorize: 2^n by the exponent's
 * bits, 2^f by a polynomial (Cephes' coefficients for e^x on [-ln 2 / 2, ln 2 / 2]). */
static inline float
fast_exp (float x)
{
  union
  {
    gint32 i;
    float  f;
  } power;
  gint32 whole;
  float  n, r;

  /* Far from where a result would be subnormal: such numbers cost a hundred cycles each. */
  x = x < 80.0f ? x : 80.0f;
  x = x > -80.0f ? x : -80.0f;
  whole = (gint32) (x * 1.44269504f + copysignf (0.5f, x)); /* x / ln 2, rounded */
  n = (float) whole;
  power.i = (whole + 127) << 23;
  r = x - n * 0.693359375f + n * 2.12194440e-4f;
  return power.f
         * (1.0f + r
            + r * r
                  * (0.5f
                     + r
                           * (1.6666665459e-1f
                              + r
                                    * (4.1665795894e-2f
                                       + r * (8.3334519073e-3f + r * (1.3981999507e-3f + r * 1.9875691500e-4f))))));
}

static inline float
sigmoid (float x)
{
  return 1.0f / (1.0f + fast_exp (-x));
}
