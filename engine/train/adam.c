/* The optimizer.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "train.h"

#include <math.h>

#define BETA1        0.9
#define BETA2        0.99
#define EPSILON      1e-8
#define WEIGHT_DECAY 1e-4
/* Values per task: some hundred kB of each array. */
#define PIECE ((gsize) 1 << 15)

typedef struct
{
  const Adam   *adam;
  float *const *gradients;
  int           n;
  double       *sums; /* per piece */
} Reduction;

static void
reduce_piece (int task, int thread, gpointer data)
{
  const Reduction *r = data;
  gsize            first = (gsize) task * PIECE, count = MIN (PIECE, r->adam->count - first);
  float *restrict g = r->gradients[0] + first;
  double sum = 0;

  for (int other = 1; other < r->n; other++)
    {
      float *restrict o = r->gradients[other] + first;

      for (gsize i = 0; i < count; i++)
        g[i] += o[i];
      memset (o, 0, count * sizeof (float));
    }
  /* In f32 within a row of 64, so that the loop is vector code; in f64 from there on. */
  for (gsize i = 0; i < count; i += 64)
    {
      float part = 0;

      for (gsize k = i; k < MIN (i + 64, count); k++)
        part += g[k] * g[k];
      sum += (double) part;
    }
  r->sums[task] = sum;
}

double
adam_reduce (const Adam *adam, Pool *pool, float *const *gradients, int n)
{
  gsize              pieces = (adam->count + PIECE - 1) / PIECE;
  g_autofree double *sums = g_new0 (double, pieces);
  Reduction          reduction = { adam, gradients, n, sums };
  double             sum = 0;

  pool_run (pool, (int) pieces, reduce_piece, &reduction);
  for (gsize i = 0; i < pieces; i++)
    sum += sums[i];
  return sqrt (sum);
}

typedef struct
{
  Adam        *adam;
  const float *gradient;
  float        scale, rate, decay, root_correction, average;
  const Range *ranges;
} Step;

static void
step_piece (int task, int thread, gpointer data)
{
  const Step *step = data;
  const float beta1 = BETA1, beta2 = BETA2;
  gsize       first = step->ranges[task].offset, count = step->ranges[task].count;
  float *restrict w = step->adam->weights + first, *restrict a = step->adam->average + first;
  float *restrict m = step->adam->m + first, *restrict v = step->adam->v + first;
  const float *restrict g = step->gradient + first;

  for (gsize i = 0; i < count; i++)
    {
      float gradient = g[i] * step->scale;

      m[i] = beta1 * m[i] + (1 - beta1) * gradient;
      v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
      w[i] -= step->rate * m[i] / (sqrtf (v[i]) * step->root_correction + (float) EPSILON) + step->decay * w[i];
      a[i] += step->average * (w[i] - a[i]);
    }
}

void
adam_step (Adam *adam, Pool *pool, const float *gradient, double scale, double learning_rate, double average_decay,
           const Range *ranges, int n_ranges)
{
  double t = (double) ++adam->steps;
  Step   step = { adam, gradient, (float) scale, 0, 0, 0, (float) (1 - average_decay), ranges };

  /* Both moments start at zero and are too small at first: kept out of the loop as two factors. */
  step.rate = (float) (learning_rate / (1 - pow (BETA1, t)));
  step.root_correction = (float) (1 / sqrt (1 - pow (BETA2, t)));
  step.decay = (float) (learning_rate * WEIGHT_DECAY);
  pool_run (pool, n_ranges, step_piece, &step);
}
