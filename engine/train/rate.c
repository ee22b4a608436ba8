/* How fast is learned, and how slowly forgotten.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "train.h"

#include <math.h>

#define WARM_UP_STEPS 1000 /* or this share of the training, whichever ends first: */
#define WARM_UP_SHARE 0.05
/* What is left of the rate at the end. */
#define LAST_SHARE    1e-3
#define AVERAGE_DECAY 0.999

double
rate_get (double learning_rate, gint64 steps, double fraction)
{
  double done = MIN (fraction, 1);
  double warm = MIN (1, MAX ((double) (steps + 1) / WARM_UP_STEPS, done / WARM_UP_SHARE));

  return learning_rate * warm * (0.5 * (1 + cos (G_PI * done)) + LAST_SHARE);
}

double
rate_get_average_decay (gint64 steps)
{
  return MIN (AVERAGE_DECAY, (double) (steps + 1) / (double) (steps + 20));
}
