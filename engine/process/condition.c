/* What the network sees of a picture, and what its answer means.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"
#include "net/net.h"

#include <math.h>

/* Per pixel: R, G, B, and two functions of the level that spread out small and large ones alike. */
#define VALUES_PER_PIXEL (NET_CHANNELS_IN / 4)

Condition
condition_at (float sigma)
{
  const float data = (float) SIGMA_DATA;
  float       sum = sigma * sigma + data * data, root = sqrtf (sum);

  return (Condition){
    data * data / sum, sigma * data / root, 1.0f / root, { sigma / (sigma + data), logf (MAX (sigma, 0.002f)) / 4.0f }
  };
}

void
condition_pack (const ConditionRows *rows, float *input)
{
  Condition condition = condition_at (0);
  float     last = 0;

  for (int y = 0; y < rows->rows; y++)
    for (int x = 0; x < rows->width; x++)
      {
        const float *pixel = rows->picture + ((gsize) y * rows->picture_pitch + (gsize) x) * 3;
        float        sigma = rows->level[(gsize) y * rows->level_pitch + (gsize) x] * LEVEL_TO_SIGMA;
        float       *values = input + ((gsize) (y / 2) * (gsize) (rows->width / 2) + (gsize) (x / 2)) * NET_CHANNELS_IN
                        + (y % 2 * 2 + x % 2) * VALUES_PER_PIXEL;

        /* Neighbours mostly share a level. */
        if (sigma != last)
          condition = condition_at (last = sigma);
        for (int c = 0; c < 3; c++)
          values[c] = (2.0f * pixel[c] - 1.0f) * condition.c_in;
        values[3] = condition.map[0];
        values[4] = condition.map[1];
      }
}

void
condition_unpack (const ConditionRows *rows, const float *output, float *clean)
{
  Condition condition = condition_at (0);
  float     last = 0;

  for (int y = 0; y < rows->rows; y++)
    for (int x = 0; x < rows->width; x++)
      {
        const float *pixel = rows->picture + ((gsize) y * rows->picture_pitch + (gsize) x) * 3;
        float        sigma = rows->level[(gsize) y * rows->level_pitch + (gsize) x] * LEVEL_TO_SIGMA;
        const float *values = output
                              + ((gsize) (y / 2) * (gsize) (rows->width / 2) + (gsize) (x / 2)) * NET_CHANNELS_OUT
                              + (y % 2 * 2 + x % 2) * 3;

        if (sigma != last)
          condition = condition_at (last = sigma);
        for (int c = 0; c < 3; c++, clean++)
          /* In exact arithmetic both are the same at level 0; bit for bit only this is. */
          *clean = sigma == 0
                       ? pixel[c]
                       : (condition.c_skip * (2.0f * pixel[c] - 1.0f) + condition.c_out * values[c]) * 0.5f + 0.5f;
      }
}
