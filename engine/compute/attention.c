/* Attention that never holds the whole score matrix.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "core/bf16.h"
#include "layers.h"
#include "vector.h"

#include <cblas.h>

/* Scores at a time: queries x keys floats, small enough for a core's second cache. */
#define QUERIES 256
#define KEYS    256

/* 2^x for x <= 0: the whole part is the exponent's bits, and the rest in [-1/2, 1/2] has the best polynomial of its
 * degree.  Of degree 5, to 3e-7 relative; or, coarse, of degree 3, to 1e-4, a twentieth of what rounding to bf16 does.
 */
static inline float
power_of_2 (float x, gboolean coarse)
{
  union
  {
    gint32 i;
    float  f;
  } power;
  /* Far from where a result would be subnormal: such numbers cost a hundred cycles each. */
  float  v = x > -115.0f ? x : -115.0f, f;
  gint32 whole = (gint32) (v - 0.5f);

  power.i = (whole + 127) << 23;
  f = v - (float) whole;
  if (coarse)
    return power.f * (0.99992807f + f * (0.69326099f + f * (0.24261112f + f * 0.05517167f)));
  return power.f
         * (1.00000007f
            + f
                  * (0.693146967f
                     + f * (0.240221197f + f * (0.0555071328f + f * (0.00967554154f + f * 0.00132764717f)))));
}

/* A row of scores s becomes 2^(s * scale - m), m being the largest score times scale so far; gives their sum. */
MULTIVERSION static float
exponentiate (float *s, int count, float scale, float largest)
{
  float sum = 0;

  for (int i = 0; i < count; i++)
    {
      s[i] = power_of_2 (s[i] * scale - largest, FALSE);
      sum += s[i];
    }
  return sum;
}

/* The same with results in bf16. */
MULTIVERSION static float
exponentiate_rounded (const float *restrict s, int count, float scale, float largest, guint16 *restrict rounded)
{
  float sum = 0;

  for (int i = 0; i < count; i++)
    {
      float power = power_of_2 (s[i] * scale - largest, TRUE);

      rounded[i] = store_bf16 (power);
      sum += power;
    }
  return sum;
}

MULTIVERSION static float
find_largest (const float *s, int count)
{
  float largest = s[0];

  for (int i = 1; i < count; i++)
    largest = s[i] > largest ? s[i] : largest;
  return largest;
}

MULTIVERSION static void
rescale (float *x, int count, float factor)
{
  for (int i = 0; i < count; i++)
    x[i] *= factor;
}

/* What is known of one query so far. */
typedef struct
{
  float largest, sum;
} Running;

/* Working memory for QUERIES queries. */
typedef struct
{
  float   *scores;  /* QUERIES * KEYS */
  float   *sums;    /* QUERIES * dim */
  guint16 *rounded; /* scores in bf16; NULL for OpenBLAS */
  Scratch *work;
  Running  running[QUERIES];
} Space;

/* scores = q k^T, or sums += scores v, for `count` queries from `first` on and `block` keys from `key` on. */
static gboolean
multiply (const Attention *a, gboolean by_values, int first, int count, int key, int block, Space *space,
          GError **error)
{
  gsize at_q = (gsize) first * a->q_pitch, at = (gsize) key * (by_values ? a->v_pitch : a->k_pitch);

  if (a->backend)
    {
      const ProductShape scores = { count, block, a->dim, (int) a->q_pitch, (int) a->k_pitch, TRUE, FALSE };
      const ProductShape values = { count, a->dim, block, block, (int) a->v_pitch, FALSE, TRUE };

      return by_values ? a->backend->multiply (&values, space->rounded, (const guint16 *) a->v + at, space->sums,
                                               space->work, error)
                       : a->backend->multiply (&scores, (const guint16 *) a->q + at_q, (const guint16 *) a->k + at,
                                               space->scores, space->work, error);
    }
  if (by_values)
    cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, count, a->dim, block, 1.0f, space->scores, block,
                 (const float *) a->v + at, (blasint) a->v_pitch, 1.0f, space->sums, a->dim);
  else
    cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasTrans, count, block, a->dim, 1.0f, (const float *) a->q + at_q,
                 (blasint) a->q_pitch, (const float *) a->k + at, (blasint) a->k_pitch, 0.0f, space->scores, block);
  return TRUE;
}

/* What a block of keys, of which `seen` are seen, does to one query of the space: its scores become weights. */
static void
weigh_keys (Space *space, int query, int block, int seen, float scale, gboolean fresh, int dim)
{
  float   *row = space->scores + (gsize) query * (gsize) block, largest;
  guint16 *rounded = space->rounded ? space->rounded + (gsize) query * (gsize) block : NULL;
  Running *running = &space->running[query];

  if (rounded)
    memset (rounded + seen, 0, (gsize) (block - seen) * sizeof *rounded);
  else
    memset (row + seen, 0, (gsize) (block - seen) * sizeof *row);
  if (seen == 0)
    return;
  largest = find_largest (row, seen) * scale;
  if (fresh)
    *running = (Running){ largest, 0 };
  else if (largest > running->largest)
    {
      float factor = exp2f (running->largest - largest);

      *running = (Running){ largest, running->sum * factor };
      rescale (space->sums + (gsize) query * (gsize) dim, dim, factor);
    }
  running->sum += rounded ? exponentiate_rounded (row, seen, scale, running->largest, rounded)
                          : exponentiate (row, seen, scale, running->largest);
}

/* Queries [first, first + count) against all keys. */
static gboolean
attend (const Attention *a, int first, int count, Space *space, GError **error)
{
  float scale = 1.44269504f / sqrtf ((float) a->dim); /* log2 e: powers are of 2 */
  int   keys = a->first < 0 ? a->keys : MIN (a->keys, a->first + first + count);

  memset (space->sums, 0, (gsize) count * (gsize) a->dim * sizeof (float));
  for (int key = 0; key < keys; key += KEYS)
    {
      int block = MIN (KEYS, keys - key);

      if (! multiply (a, FALSE, first, count, key, block, space, error))
        return FALSE;
      for (int i = 0; i < count; i++)
        {
          int seen = a->first < 0 ? block : CLAMP (a->first + first + i + 1 - key, 0, block);

          weigh_keys (space, i, block, seen, scale, key == 0, a->dim);
        }
      if (! multiply (a, TRUE, first, count, key, block, space, error))
        return FALSE;
    }
  for (int i = 0; i < count; i++)
    {
      float *sums = space->sums + (gsize) i * (gsize) a->dim;

      rescale (sums, a->dim, 1.0f / space->running[i].sum);
      memcpy (a->out + (gsize) (first + i) * a->out_pitch, sums, (gsize) a->dim * sizeof (float));
    }
  return TRUE;
}

gboolean
attention_forward (const Attention *attention, Scratch *scratch, Scratch *work, GError **error)
{
  gsize    n_scores = QUERIES * KEYS, n_sums = QUERIES * (gsize) attention->dim;
  gsize    n_rounded = attention->backend ? n_scores / 2 : 0;
  float   *memory = scratch_get (scratch, (n_scores + n_sums + n_rounded) * sizeof (float), error);
  Space    space = { memory, memory + n_scores, NULL, work, { { 0 } } };
  gboolean success = memory != NULL;

  if (attention->backend && memory)
    space.rounded = (guint16 *) (memory + n_scores + n_sums);
  for (int first = 0; first < attention->queries && success; first += QUERIES)
    success = attend (attention, first, MIN (QUERIES, attention->queries - first), &space, error);
  return success;
}
