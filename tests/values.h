/* Numbers to compute with.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* `count` values in [-scale, scale), the same for the same seed; g_free (). */
static inline float *
new_values (gsize count, guint64 seed, double scale)
{
  float *values = g_new (float, count);
  Random random;

  random_init (&random, seed, 1);
  for (gsize i = 0; i < count; i++)
    values[i] = (float) random_range (&random, -scale, scale);
  return values;
}
