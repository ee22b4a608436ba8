/* Attention that never holds the whole score matrix.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "layers.h"
#include "vector.h"

#include <cblas.h>

/* Scores at a time: queries x keys floats, small enough for a core's second cache beside the keys and values. */
#define QUERIES 64
#define KEYS    512

/* A row of scores s becomes e^(s * scale - m), m being the largest score times scale so far; gives their sum. */
MULTIVERSION static float
exponentiate (float *s, int count, float scale, float largest)
{
  float sum = 0;

  for (int i = 0; i < count; i++)
    {
      s[i] = fast_exp (s[i] * scale - largest);
      sum += s[i];
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

/* Queries [first, first + count) against all keys; scores: count * KEYS floats, sums: count * dim. */
static void
attend (const Attention *a, int first, int count, float *scores, float *sums, Running *running)
{
  float scale = 1.0f / sqrtf ((float) a->dim);
  int   keys = a->first < 0 ? a->keys : MIN (a->keys, a->first + first + count);

  memset (sums, 0, (gsize) count * (gsize) a->dim * sizeof (float));
  for (int key = 0; key < keys; key += KEYS)
    {
      int block = MIN (KEYS, keys - key);

      cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasTrans, count, block, a->dim, 1.0f,
                   a->q + (gsize) first * a->q_pitch, (blasint) a->q_pitch, a->k + (gsize) key * a->k_pitch,
                   (blasint) a->k_pitch, 0.0f, scores, block);
      for (int i = 0; i < count; i++)
        {
          float *row = scores + (gsize) i * (gsize) block;
          int    seen = a->first < 0 ? block : CLAMP (a->first + first + i + 1 - key, 0, block);
          float  largest, old = running[i].largest;

          memset (row + seen, 0, (gsize) (block - seen) * sizeof (float));
          if (seen == 0)
            continue;
          largest = find_largest (row, seen) * scale;
          if (key == 0)
            running[i] = (Running){ largest, 0 };
          else if (largest > old)
            {
              float factor = expf (old - largest);

              running[i] = (Running){ largest, running[i].sum * factor };
              rescale (sums + (gsize) i * (gsize) a->dim, a->dim, factor);
            }
          running[i].sum += exponentiate (row, seen, scale, running[i].largest);
        }
      cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, count, a->dim, block, 1.0f, scores, block,
                   a->v + (gsize) key * a->v_pitch, (blasint) a->v_pitch, 1.0f, sums, a->dim);
    }
  for (int i = 0; i < count; i++)
    {
      rescale (sums + (gsize) i * (gsize) a->dim, a->dim, 1.0f / running[i].sum);
      memcpy (a->out + (gsize) (first + i) * a->out_pitch, sums + (gsize) i * (gsize) a->dim,
              (gsize) a->dim * sizeof (float));
    }
}

gboolean
attention_forward (const Attention *attention, Scratch *scratch, GError **error)
{
  gsize   n_scores = QUERIES * KEYS, n_sums = QUERIES * (gsize) attention->dim;
  float  *scores = scratch_get (scratch, (n_scores + n_sums) * sizeof (float), error);
  Running running[QUERIES];

  if (! scores)
    return FALSE;
  for (int first = 0; first < attention->queries; first += QUERIES)
    attend (attention, first, MIN (QUERIES, attention->queries - first), scores, scores + n_scores, running);
  return TRUE;
}
