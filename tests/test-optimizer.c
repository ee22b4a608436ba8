/* What training makes small, and its optimizers: Adam, and Muon with its orthogonal factors.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute/polar.h"
#include "net/model.h"
#include "train/train.h"

#include <math.h>
#include <string.h>

/* Whatever a matrix's singular values are, its factor's are near 1: columns keep their directions and lose their sizes.
 */
static void
test_polar (void)
{
  enum
  {
    ROWS = 40,
    COLUMNS = 12
  };
  float  x[ROWS * COLUMNS], y[ROWS * COLUMNS] = { 0 }, q[COLUMNS * COLUMNS], work[POLAR_WORK (COLUMNS)];
  Random random;

  /* Waves are orthogonal; each column is 0.6 times the one before. */
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < COLUMNS; c++)
      x[r * COLUMNS + c] = (float) (pow (0.6, c) * cos (G_PI * (r + 0.5) * (c + 1) / ROWS));
  g_assert_true (polar_find (x, ROWS, COLUMNS, q, work));
  polar_apply (x, ROWS, COLUMNS, q, -2, y);
  for (int a = 0; a < COLUMNS; a++)
    for (int b = 0; b < COLUMNS; b++)
      {
        double product = 0;

        for (int r = 0; r < ROWS; r++)
          product += 0.25 * (double) (y[r * COLUMNS + a] * y[r * COLUMNS + b]);
        if (a == b)
          {
            g_assert_cmpfloat (product, >, 0.6 * 0.6);
            g_assert_cmpfloat (product, <, 1.25 * 1.25);
            g_assert_cmpfloat (x[a] * y[a], <, 0);
          }
        else
          {
            g_assert_cmpfloat (fabs (product), <, 2e-3);
          }
      }

  /* Any other matrix: no direction is stretched or lost. */
  random_init (&random, 3, 0);
  sample_fill_normal (&random, ROWS * COLUMNS, x);
  memset (y, 0, sizeof y);
  g_assert_true (polar_find (x, ROWS, COLUMNS, q, work));
  polar_apply (x, ROWS, COLUMNS, q, 1, y);
  for (int i = 0; i < 50; i++)
    {
      float  direction[COLUMNS];
      double before = 0, after = 0;

      sample_fill_normal (&random, COLUMNS, direction);
      for (int r = 0; r < ROWS; r++)
        {
          double sum = 0;

          for (int c = 0; c < COLUMNS; c++)
            sum += (double) (y[r * COLUMNS + c] * direction[c]);
          after += sum * sum;
        }
      for (int c = 0; c < COLUMNS; c++)
        before += (double) (direction[c] * direction[c]);
      g_assert_cmpfloat (sqrt (after / before), >, 0.6);
      g_assert_cmpfloat (sqrt (after / before), <, 1.25);
    }

  memset (x, 0, sizeof x);
  g_assert_false (polar_find (x, ROWS, COLUMNS, q, work));
  for (int i = 0; i < COLUMNS * COLUMNS; i++)
    g_assert_cmpfloat (q[i], ==, 0);
}

/* Weights that were zero took one step of rate 0.01, down the gradient, and half of it into their average. */
static void
assert_steps (const Muon *muon, const float *weights, const float *average, const float *m)
{
  for (int i = 0; i < muon->n_matrices; i++)
    {
      const MuonMatrix *matrix = &muon->matrices[i];
      int               count = matrix->rows * matrix->columns;
      double            square = 0, along = 0;

      for (int k = 0; k < count; k++)
        {
          double step = (double) weights[matrix->offset + (gsize) k];

          square += step * step / count;
          along += step * (double) m[matrix->offset + (gsize) k];
          g_assert_cmpfloat_with_epsilon ((double) average[matrix->offset + (gsize) k], step / 2, 1e-7);
        }
      g_assert_cmpfloat (sqrt (square), >, 0.7 * 0.2 * 0.01);
      g_assert_cmpfloat (sqrt (square), <, 1.2 * 0.2 * 0.01);
      g_assert_cmpfloat (along, <, 0);
    }
}

/* Every parameter is either one of Muon's or left to Adam, and steps of both are of like size whatever the gradient's.
 */
static void
test_muon (void)
{
  const DiffusionArchitecture architecture = { 2, { 16, 32 }, { 1, 1 } };
  g_autoptr (NetLayout) layout = net_layout_new (&architecture, NULL);
  g_autoptr (Pool) pool = pool_new (2, NULL);
  gsize              n = layout->n_parameters;
  g_autofree float  *weights = g_new0 (float, n), *average = g_new0 (float, n), *m = g_new0 (float, n);
  g_autofree float  *v = g_new0 (float, n), *gradient = g_new0 (float, n);
  g_autofree guint8 *seen = g_new0 (guint8, n);
  Adam               adam = { n, weights, average, m, v, 0 };
  Muon              *muon = muon_new (layout, 2, NULL);
  Random             random;

  g_assert_nonnull (muon);
  /* Two of each block, one down, one up; not the first and the last. */
  g_assert_cmpint (muon->n_matrices, ==, layout->n_convs - 2);
  for (int i = 0; i < muon->n_matrices; i++)
    for (int k = 0; k < muon->matrices[i].rows * muon->matrices[i].columns; k++)
      seen[muon->matrices[i].offset + (gsize) k]++;
  for (int i = 0; i < muon->n_rest; i++)
    for (gsize k = 0; k < muon->rest[i].count; k++)
      seen[muon->rest[i].offset + k]++;
  for (gsize i = 0; i < n; i++)
    g_assert_cmpint (seen[i], ==, 1);

  for (int large = 0; large < 2; large++)
    {
      random_init (&random, 4, 0);
      sample_fill_normal (&random, n, gradient);
      for (gsize i = 0; i < n; i++)
        {
          gradient[i] *= large ? 1e3f : 1e-5f;
          weights[i] = average[i] = m[i] = 0;
        }
      muon_step (muon, &adam, pool, gradient, 1, 0.01, 0.5);
      for (int i = 0; i < muon->n_rest; i++)
        for (gsize k = 0; k < muon->rest[i].count; k++)
          g_assert_cmpfloat (weights[muon->rest[i].offset + k], ==, 0);
      assert_steps (muon, weights, average, m);
    }
  memcpy (average, weights, n * sizeof (float));
  adam_step (&adam, pool, gradient, 1, 0.01, 0.5, muon->rest, muon->n_rest);
  for (int i = 0; i < muon->n_rest; i++)
    for (gsize k = 0; k < muon->rest[i].count; k++)
      g_assert_cmpfloat (weights[muon->rest[i].offset + k], !=, 0);
  for (int i = 0; i < muon->n_matrices; i++)
    for (int k = 0; k < muon->matrices[i].rows * muon->matrices[i].columns; k++)
      {
        gsize at = muon->matrices[i].offset + (gsize) k;

        g_assert_cmpfloat (weights[at], ==, average[at]);
      }
  muon_free (muon);
}

/* Two steps against the definition in train.h.  Weights are large and the rate is 1, so that the decay is a hundredth
 * and shows; gradients are independent, so that each term of the direction does. */
static void
test_muon_steps (void)
{
  const DiffusionArchitecture architecture = { 1, { 16 }, { 1 } };
  const float                 mu = 0.95f, scale = 0.5f, rate = 1, decay = 1e-4f;
  g_autoptr (NetLayout) layout = net_layout_new (&architecture, NULL);
  g_autoptr (Pool) pool = pool_new (2, NULL);
  gsize             n = layout->n_parameters;
  g_autofree float *weights = g_new0 (float, n), *average = g_new0 (float, n), *m = g_new0 (float, n);
  g_autofree float *v = g_new0 (float, n), *gradient = g_new0 (float, n);
  g_autofree float *w = g_new0 (float, n), *a = g_new0 (float, n), *mean = g_new0 (float, n);
  Adam              adam = { n, weights, average, m, v, 0 };
  Muon             *muon = muon_new (layout, 2, NULL);
  Random            random;

  g_assert_nonnull (muon);
  g_assert_cmpint (muon->n_matrices, >, 0);
  random_init (&random, 7, 0);
  sample_fill_normal (&random, n, w);
  for (gsize i = 0; i < n; i++)
    weights[i] = average[i] = a[i] = w[i] *= 100;
  for (int step = 0; step < 2; step++)
    {
      sample_fill_normal (&random, n, gradient);
      for (int i = 0; i < muon->n_matrices; i++)
        {
          const MuonMatrix *matrix = &muon->matrices[i];
          gsize             count = (gsize) (matrix->rows * matrix->columns), at = matrix->offset;
          gsize             square = (gsize) (matrix->columns * matrix->columns);
          g_autofree float *direction = g_new (float, count), *q = g_new (float, square);
          g_autofree float *work = g_new (float, POLAR_WORK (matrix->columns));

          for (gsize k = 0; k < count; k++)
            {
              mean[at + k] = mu * mean[at + k] + (1 - mu) * scale * gradient[at + k];
              direction[k] = mu * mean[at + k] + (1 - mu) * scale * gradient[at + k];
              w[at + k] *= 1 - rate * decay;
            }
          g_assert_true (polar_find (direction, matrix->rows, matrix->columns, q, work));
          polar_apply (direction, matrix->rows, matrix->columns, q, -rate * 0.2f * sqrtf ((float) matrix->rows),
                       w + at);
          for (gsize k = 0; k < count; k++)
            a[at + k] += 0.25f * (w[at + k] - a[at + k]);
        }
      muon_step (muon, &adam, pool, gradient, (double) scale, (double) rate, 0.75);
      /* Weights of some hundreds are rounded to 1.5e-5; a step is of 0.2. */
      for (gsize i = 0; i < n; i++)
        {
          g_assert_cmpfloat_with_epsilon (m[i], mean[i], 1e-6f);
          g_assert_cmpfloat_with_epsilon (weights[i], w[i], 1e-3f);
          g_assert_cmpfloat_with_epsilon (average[i], a[i], 1e-3f);
        }
    }
  muon_free (muon);
}

/* The rate rises by steps or, in a short training, by its share, and falls along a cosine to a thousandth. */
static void
test_schedule (void)
{
  static const struct
  {
    gint64 steps;
    double fraction, rate;
  } rates[] = {
    { 0, 0, 0.001001 },        /* the first of 1000 */
    { 499, 0, 0.5005 },        /* half of them */
    { 999, 0, 1.001 },         /* all */
    { 100000, 0, 1.001 },      /* and no more */
    { 0, 0.025, 0.4997293 },   /* half of the first twentieth: 0.5 x (0.9984587 + 0.001) */
    { 0, 0.05, 0.9948442 },    /* all of it: cos (9 degrees) = 0.9876883 */
    { 999, 0.025, 0.9994587 }, /* the steps end first */
    { 99, 0.001, 0.1000998 },  /* the share lags behind the steps */
    { 5000, 0.25, 0.8545534 }, /* cos (45 degrees) = 0.7071068 */
    { 5000, 0.5, 0.501 },      /* halfway */
    { 5000, 0.75, 0.1474466 }, /* cos (135 degrees) = -0.7071068 */
    { 5000, 1, 0.001 },        /* the end */
    { 5000, 1.5, 0.001 },      /* by the clock a step can begin behind it */
  };
  static const struct
  {
    gint64 steps;
    double decay;
  } decays[] = { { 0, 0.05 },      { 1, 2.0 / 21 },   { 18, 0.5 }, { 170, 0.9 }, { 18979, 18980.0 / 18999 },
                 { 18980, 0.999 }, { 1000000, 0.999 } };

  for (gsize i = 0; i < G_N_ELEMENTS (rates); i++)
    for (int large = 0; large < 2; large++)
      {
        double rate = large ? 1 : 2e-3;

        g_assert_cmpfloat_with_epsilon (rate_get (rate, rates[i].steps, rates[i].fraction) / rate, rates[i].rate, 1e-7);
      }
  for (gsize i = 0; i < G_N_ELEMENTS (decays); i++)
    g_assert_cmpfloat_with_epsilon (rate_get_average_decay (decays[i].steps), decays[i].decay, 1e-9);
}

/* Three steps worked out by hand from the paper's formulas, decay 1e-4. */
static void
test_adam (void)
{
  float  weights[2] = { 1, -1 }, average[2] = { 1, -1 }, m[2] = { 0 }, v[2] = { 0 }, first[2], second[2] = { 0.25f, 0 };
  float *gradients[2] = { first, second };
  Adam   adam = { 2, weights, average, m, v, 0 };
  g_autoptr (Pool) pool = pool_new (2, NULL);
  double w[2] = { 1, -1 }, em[2] = { 0 }, ev[2] = { 0 }, g[2] = { 0.75, -3 };

  for (int t = 1; t <= 3; t++)
    {
      first[0] = t == 1 ? 0.5f : 0.75f;
      first[1] = -3;
      g_assert_cmpfloat_with_epsilon (adam_reduce (&adam, pool, gradients, 2), sqrt (0.75 * 0.75 + 9), 1e-6);
      adam_step (&adam, pool, first, 0.5, 0.01, 0.9, &(Range){ 0, 2 }, 1);
      for (int i = 0; i < 2; i++)
        {
          em[i] = 0.9 * em[i] + 0.1 * 0.5 * g[i];
          ev[i] = 0.99 * ev[i] + 0.01 * 0.25 * g[i] * g[i];
          w[i] -= 0.01 * (em[i] / (1 - pow (0.9, t)) / (sqrt (ev[i] / (1 - pow (0.99, t))) + 1e-8) + 1e-4 * w[i]);
          g_assert_cmpfloat_with_epsilon ((double) weights[i], w[i], 1e-5);
        }
    }
  g_assert_cmpfloat (second[0], ==, 0);
  g_assert_cmpfloat_with_epsilon ((double) average[0], 1 - 0.1 * (0.01 + 0.9 * 0 + 0.019 + 0.0271), 3e-4);
}

/* The loss's gradient against its differences, within the square part and beyond, with weights of their own. */
static void
test_loss_gradient (void)
{
  enum
  {
    COUNT = 40
  };
  const double step = 1e-2, scale = 0.3;
  float        output[COUNT], target[COUNT], weight[COUNT], gradient[COUNT];
  Random       random;

  random_init (&random, 5, 0);
  sample_fill_normal (&random, COUNT, output);
  sample_fill_normal (&random, COUNT, target);
  for (int i = 0; i < COUNT; i++)
    {
      output[i] *= i % 4 == 3 ? 10 : 1;
      weight[i] = (float) random_double (&random);
    }
  loss_measure (output, target, weight, COUNT, scale, gradient);
  for (int i = 0; i < COUNT; i++)
    {
      const float kept = output[i];
      double      sides[2], ends[2];

      for (int side = 0; side < 2; side++)
        {
          output[i] = kept + (float) (side ? step : -step);
          ends[side] = (double) output[i];
          sides[side] = loss_measure (output, target, weight, COUNT, 1, NULL);
        }
      output[i] = kept;
      g_assert_cmpfloat_with_epsilon ((double) gradient[i] / scale, (sides[1] - sides[0]) / (ends[1] - ends[0]), 2e-4);
    }
}

/* A sample counts by how far its error can shrink, not by how large it is: of one sample with a hundred times the error
 * of another, the gradient is not longer; and their error together is the geometric mean. */
static void
test_loss_balance (void)
{
  enum
  {
    COUNT = 48
  };
  float  output[COUNT], target[COUNT] = { 0 }, weight[COUNT], gradient[COUNT];
  double losses[2], lengths[2] = { 0 };
  Random random;

  random_init (&random, 6, 0);
  sample_fill_normal (&random, COUNT, output);
  for (int i = 0; i < COUNT; i++)
    {
      output[i] = CLAMP (output[i], -2.5f, 2.5f);
      weight[i] = 0.5f;
    }
  for (int small = 0; small < 2; small++)
    {
      losses[small] = loss_measure (output, target, weight, COUNT, 1, gradient);
      for (int i = 0; i < COUNT; i++)
        {
          lengths[small] += (double) (output[i] * gradient[i]);
          output[i] *= 0.1f;
        }
    }
  /* How fast the loss falls when the whole error shrinks. */
  g_assert_cmpfloat (lengths[1], >, 0.3 * lengths[0]);
  g_assert_cmpfloat (lengths[1], <=, lengths[0]);
  g_assert_cmpfloat_with_epsilon (loss_get_error (losses[0] / (COUNT / 2)) / loss_get_error (losses[1] / (COUNT / 2)),
                                  100, 0.1);
  /* Shares of 0.01 that are not error make it a little more than the mean of the two alone. */
  g_assert_cmpfloat_with_epsilon (loss_get_error ((losses[0] + losses[1]) / COUNT),
                                  loss_get_error (losses[0] / (COUNT / 2)) * 0.1, 0.05);

  memset (weight, 0, sizeof weight);
  g_assert_cmpfloat (loss_measure (output, target, weight, COUNT, 1, gradient), ==, 0);
  for (int i = 0; i < COUNT; i++)
    g_assert_cmpfloat (gradient[i], ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/loss/gradient", test_loss_gradient);
  g_test_add_func ("/loss/balance", test_loss_balance);
  g_test_add_func ("/optimizer/polar", test_polar);
  g_test_add_func ("/optimizer/muon/sizes", test_muon);
  g_test_add_func ("/optimizer/muon/steps", test_muon_steps);
  g_test_add_func ("/optimizer/schedule", test_schedule);
  g_test_add_func ("/optimizer/adam", test_adam);
  return g_test_run ();
}
