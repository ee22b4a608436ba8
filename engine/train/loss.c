/* What training makes small.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "train.h"

#include <math.h>

/* Where the error goes from square to linear (Huber), in standard deviations of the target.  At small levels a young
 * network's output can be off by a hundred of these; the square of one such sample would be the whole step. */
#define HUBER 3.0f
/* An error that the logarithm hardly tells from none: skies shall not count for more than all else. */
#define ERROR_FLOOR 0.01

double
loss_measure (const float *output, const float *target, const float *weight, gsize count, double scale, float *d_output)
{
  double sum = 0, weights = 0, slope;

  for (gsize i = 0; i < count; i++)
    {
      float difference = output[i] - target[i], bounded = CLAMP (difference, -HUBER, HUBER);

      /* Within the bound the square; beyond it the tangent. */
      sum += (double) (weight[i] * bounded * (2 * difference - bounded));
      weights += (double) weight[i];
      if (d_output)
        d_output[i] = 2 * weight[i] * bounded;
    }
  if (weights <= 0)
    return 0;
  slope = scale / (sum / weights + ERROR_FLOOR);
  for (gsize i = 0; d_output && i < count; i++)
    d_output[i] *= (float) slope;
  return weights * log (sum / weights + ERROR_FLOOR);
}

double
loss_get_error (double loss)
{
  return exp (loss) - ERROR_FLOOR;
}
