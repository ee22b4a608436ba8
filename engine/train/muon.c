/* Muon: the optimizer of the convolutions' weights.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute/polar.h"
#include "train.h"

#include <math.h>

#define MOMENTUM     0.95f
#define WEIGHT_DECAY 1e-4
/* The root mean square of a step in units of the learning rate: what Adam's steps mostly have, so that both take the
 * same rate (Liu et al., "Muon is scalable for LLM training", 2025). */
#define STEP_SIZE 0.2

typedef struct
{
  Muon  *muon;
  Adam  *adam;
  float *gradient;
  float  scale, rate, average;
} Step;

static void
step_matrix (int task, int thread, gpointer data)
{
  const Step       *step = data;
  const MuonMatrix *matrix = &step->muon->matrices[task];
  gsize             count = (gsize) matrix->rows * (gsize) matrix->columns, size = (gsize) matrix->columns;
  float *restrict w = step->adam->weights + matrix->offset, *restrict a = step->adam->average + matrix->offset;
  float *restrict m = step->adam->m + matrix->offset, *restrict g = step->gradient + matrix->offset;
  float *q = step->muon->work[thread];
  float  keep = 1 - step->rate * (float) WEIGHT_DECAY;

  for (gsize i = 0; i < count; i++)
    {
      float gradient = g[i] * step->scale;

      m[i] = MOMENTUM * m[i] + (1 - MOMENTUM) * gradient;
      g[i] = MOMENTUM * m[i] + (1 - MOMENTUM) * gradient;
      w[i] *= keep;
    }
  /* Of orthonormal columns, the values' mean square is 1 / rows. */
  if (polar_find (g, matrix->rows, matrix->columns, q, q + size * size))
    polar_apply (g, matrix->rows, matrix->columns, q, -step->rate * (float) (STEP_SIZE * sqrt (matrix->rows)), w);
  for (gsize i = 0; i < count; i++)
    a[i] += step->average * (w[i] - a[i]);
}

static int
compare_sizes (gconstpointer a, gconstpointer b)
{
  const MuonMatrix *first = a, *second = b;

  /* The costly ones first: then the pool's threads end together. */
  return second->columns - first->columns;
}

/* The gaps between the matrices, which lie in the nodes' order. */
static void
add_rest (Muon *muon, gsize n_parameters)
{
  gsize from = 0;

  muon->rest = g_new0 (Range, (gsize) muon->n_matrices + 1);
  for (int i = 0; i <= muon->n_matrices; i++)
    {
      const MuonMatrix *matrix = &muon->matrices[i];
      gsize             to = i < muon->n_matrices ? matrix->offset : n_parameters;

      if (to > from)
        muon->rest[muon->n_rest++] = (Range){ from, to - from };
      if (i < muon->n_matrices)
        from = to + (gsize) matrix->rows * (gsize) matrix->columns;
    }
}

Muon *
muon_new (const NetLayout *layout, int threads, GError **error)
{
  Muon *muon = g_new0 (Muon, 1);
  gsize largest = 0;

  muon->matrices = g_new0 (MuonMatrix, (gsize) layout->n_convs);
  muon->threads = threads;
  muon->work = g_new0 (float *, (gsize) threads);
  /* Not the first and the last convolution: Adam serves those better. */
  for (int i = 0; i < layout->n_nodes - 1; i++)
    {
      const Node *node = &layout->nodes[i];
      int         columns = node->shape.c_out, rows;

      if (node->kind != NODE_CONV || node->input == 0)
        continue;
      rows = (int) (conv_shape_count_weights (&node->shape) / (gsize) columns);
      if (rows < columns)
        continue;
      muon->matrices[muon->n_matrices++] = (MuonMatrix){ node->weights, rows, columns };
      largest = MAX (largest, (gsize) columns);
    }
  add_rest (muon, layout->n_parameters);
  qsort (muon->matrices, (size_t) muon->n_matrices, sizeof *muon->matrices, compare_sizes);
  for (int i = 0; i < threads; i++)
    if (! (muon->work[i] = core_alloc0 (largest * largest + POLAR_WORK (largest), sizeof (float), error)))
      {
        muon_free (muon);
        return NULL;
      }
  return muon;
}

void
muon_free (Muon *muon)
{
  if (! muon)
    return;
  for (int i = 0; i < muon->threads; i++)
    core_free (muon->work[i]);
  g_free (muon->work);
  g_free (muon->rest);
  g_free (muon->matrices);
  g_free (muon);
}

void
muon_step (Muon *muon, Adam *adam, Pool *pool, float *gradient, double scale, double learning_rate,
           double average_decay)
{
  Step step = { muon, adam, gradient, (float) scale, (float) learning_rate, (float) (1 - average_decay) };

  pool_run (pool, muon->n_matrices, step_matrix, &step);
}
