/* A low pass.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <math.h>
#include <string.h>

/* Three boxes after each other are a Gaussian to 3 % (Wells 1986). */
#define BOXES 3
/* Columns at a time, counted in values: a row of them is some lines of the cache. */
#define LINES 48
#define ROWS  16 /* per task */

typedef struct
{
  DiffusionPicture *picture;
  int               radius;
  float           **work; /* per thread */
} Blur;

/* The mean of 2 * radius + 1 values along each of `lines` lines, which lie side by side: n values each, `stride` apart.
 * Beyond its ends a line is mirrored, as the network sees it. */
static void
box_lines (float *values, int lines, int n, gsize stride, int radius, float *work)
{
  float  scale = 1.0f / (float) (2 * radius + 1);
  gsize  count = (gsize) lines, size = count * sizeof (float);
  double sums[LINES] = { 0 };

  for (int i = -radius; i < n + radius; i++)
    {
      int at = i;

      if (at < 0 || at >= n)
        {
          at = ((i % (2 * n)) + 2 * n) % (2 * n);
          at = at < n ? at : 2 * n - 1 - at;
        }
      memcpy (work + (gsize) (i + radius) * count, values + (gsize) at * stride, size);
    }
  for (gsize i = 0; i < 2 * (gsize) radius; i++)
    for (gsize k = 0; k < count; k++)
      sums[k] += (double) work[i * count + k];
  for (gsize i = 0; i < (gsize) n; i++)
    {
      const float *restrict enters = work + (i + 2 * (gsize) radius) * count, *restrict leaves = work + i * count;
      float *restrict to = values + i * stride;

      for (gsize k = 0; k < count; k++)
        {
          sums[k] += (double) enters[k];
          to[k] = (float) sums[k] * scale;
          sums[k] -= (double) leaves[k];
        }
    }
}

static void
blur_rows (int task, int thread, gpointer data)
{
  const Blur       *blur = data;
  DiffusionPicture *p = blur->picture;
  gsize             row = (gsize) p->width * (gsize) p->channels;

  for (int y = task * ROWS; y < MIN ((task + 1) * ROWS, p->height); y++)
    box_lines (p->data + (gsize) y * row, p->channels, p->width, (gsize) p->channels, blur->radius, blur->work[thread]);
}

static void
blur_columns (int task, int thread, gpointer data)
{
  const Blur       *blur = data;
  DiffusionPicture *p = blur->picture;
  int               row = p->width * p->channels, first = task * LINES;

  box_lines (p->data + first, MIN (LINES, row - first), p->height, (gsize) row, blur->radius, blur->work[thread]);
}

gboolean
process_blur (DiffusionPicture *picture, double sigma, Pool *pool, GCancellable *cancellable, GError **error)
{
  int      radius = (int) (0.5 * sqrt (12 * sigma * sigma / BOXES + 1)), threads = pool_get_threads (pool);
  gsize    longest = (gsize) MAX (picture->width, picture->height) + 2 * (gsize) radius;
  Blur     blur = { picture, radius, g_newa0 (float *, (gsize) threads) };
  gboolean success = TRUE;

  for (int i = 0; i < threads; i++)
    success = success && (blur.work[i] = core_alloc (longest, LINES * sizeof (float), error));
  for (int i = 0; success && radius > 0 && i < BOXES; i++)
    {
      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        {
          success = FALSE;
          break;
        }
      pool_run (pool, (picture->height + ROWS - 1) / ROWS, blur_rows, &blur);
      pool_run (pool, (picture->width * picture->channels + LINES - 1) / LINES, blur_columns, &blur);
    }
  for (int i = 0; i < threads; i++)
    core_free (blur.work[i]);
  return success;
}
