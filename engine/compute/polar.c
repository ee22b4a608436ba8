/* Orthogonal factors of matrices, by products alone.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Newton and Schulz's iteration with the quintic of Jordan et al. ("Muon: an optimizer for hidden layers in neural
 * networks", 2024), X <- X (a + b X^T X + c (X^T X)^2), whose coefficients lift small singular values fast rather than
 * bring them to 1.  All its factors are polynomials of X^T X and commute, so it is done on that small matrix and their
 * product, and the large X is multiplied only once. */
#include "polar.h"
#include "compute.h"

#include <cblas.h>
#include <math.h>

#define ROUNDS 5
#define A      3.4445f
#define B      (-4.7750f)
#define C      2.0315f

/* x^T x, of which the half that is computed is mirrored. */
static void
find_gram (const float *x, int rows, int columns, float *gram)
{
  gsize n = (gsize) columns;

  cblas_ssyrk (CblasRowMajor, CblasUpper, CblasTrans, columns, rows, 1.0f, x, columns, 0.0f, gram, columns);
  for (gsize i = 0; i < n; i++)
    for (gsize j = 0; j < i; j++)
      gram[i * n + j] = gram[j * n + i];
}

/* c = a b, of n x n matrices */
static void
multiply (int n, const float *a, const float *b, float *c)
{
  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1.0f, a, n, b, n, 0.0f, c, n);
}

gboolean
polar_find (const float *x, int rows, int columns, float *q, float *work)
{
  gsize  n = (gsize) columns, size = n * n;
  float *gram = work, *factor = gram + size, *spare = factor + size;
  double trace = 0;

  memset (q, 0, size * sizeof (float));
  find_gram (x, rows, columns, gram);
  for (gsize i = 0; i < n; i++)
    trace += (double) gram[i * n + i];
  if (! (trace > 0 && trace < 1e30))
    return FALSE;
  for (gsize i = 0; i < size; i++)
    gram[i] = (float) ((double) gram[i] / trace);
  for (int round = 0; round < ROUNDS; round++)
    {
      multiply (columns, gram, gram, factor);
      for (gsize i = 0; i < size; i++)
        factor[i] = B * gram[i] + C * factor[i];
      for (gsize i = 0; i < n; i++)
        factor[i * n + i] += A;
      if (round > 0)
        multiply (columns, q, factor, spare);
      for (gsize i = 0; i < size; i++)
        q[i] = round > 0 ? spare[i] : factor[i] * (float) (1 / sqrt (trace));
      if (round == ROUNDS - 1)
        break;
      multiply (columns, gram, factor, spare);
      multiply (columns, spare, factor, gram);
    }
  return TRUE;
}

void
polar_apply (const float *x, int rows, int columns, const float *q, float scale, float *y)
{
  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, columns, columns, scale, x, columns, q, columns, 1.0f,
               y, columns);
}
