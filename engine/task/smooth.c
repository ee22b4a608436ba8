/* Strength above 1: a denoised picture on the way to a smoother one.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A network that is told a level higher than the noise's own takes more texture, but it also shifts colours and shades
 * flat areas by its own doubts.  So of what a second call changes only that is used which makes each place smoother:
 * with A the first result, B the second, D = B - A, and means over a window around each pixel,
 *
 *     A + t w (D - mean (D)),   w = -cov (A, D) / var (D), but within [0, 1].
 *
 * The mean of the window stays, and so does the colour.  Its variance, as a function of t, is a parabola whose lowest
 * point is at 1 or beyond it (or else w is 0): from t = 0 to t = 1 it can only fall.
 */
#include "smooth.h"

#include <math.h>
#include <string.h>

/* The window is (2 * RADIUS + 1)^2: larger than the grain, smaller than most shading. */
#define RADIUS 4
#define ROWS   (2 * RADIUS + 1)

/* What is summed over the window. */
enum
{
  NUMBER,
  FIRST,              /* A, three channels */
  CHANGE = FIRST + 3, /* D, three channels */
  PRODUCT = CHANGE + 3,
  SQUARE,
  MOMENTS
};

typedef struct
{
  DiffusionPicture       *first;
  const DiffusionPicture *second;
  float                  *ring;    /* the moments of the rows in the window, row y at y % ROWS */
  double                 *columns; /* their sums by column */
} Smoothing;

/* Pixels that the second call left alone, as it does at level 0, are no part of any window: they stay as they are.  Nor
 * are those whose products are no numbers, which would never leave the sums again. */
static void
read_moments (const float *a, const float *b, float moments[MOMENTS])
{
  float sum = 0;

  memset (moments, 0, MOMENTS * sizeof (float));
  for (int c = 0; c < 3; c++)
    sum += fabsf (a[c]) + fabsf (b[c]);
  if ((a[0] == b[0] && a[1] == b[1] && a[2] == b[2]) || ! isfinite (sum))
    return;
  moments[NUMBER] = 1;
  for (int c = 0; c < 3; c++)
    {
      float change = b[c] - a[c];

      moments[FIRST + c] = a[c];
      moments[CHANGE + c] = change;
      moments[PRODUCT] += a[c] * change;
      moments[SQUARE] += change * change;
    }
  if (! isfinite (moments[PRODUCT]) || ! isfinite (moments[SQUARE]))
    memset (moments, 0, MOMENTS * sizeof (float));
}

/* Row y enters the columns' sums, and what was in its place in the ring leaves them.  Beyond the picture nothing
 * enters. */
static void
enter_row (Smoothing *s, int y)
{
  const int width = s->first->width;
  float    *row = s->ring + (gsize) (y % ROWS) * (gsize) width * MOMENTS;

  for (gsize i = 0; i < (gsize) width * MOMENTS; i++)
    s->columns[i] -= (double) row[i];
  if (y >= s->first->height)
    memset (row, 0, (gsize) width * MOMENTS * sizeof (float));
  else
    for (int x = 0; x < width; x++)
      {
        gsize at = ((gsize) y * (gsize) width + (gsize) x) * 3;

        read_moments (s->first->data + at, s->second->data + at, row + (gsize) x * MOMENTS);
      }
  for (gsize i = 0; i < (gsize) width * MOMENTS; i++)
    s->columns[i] += (double) row[i];
}

static void
add_column (const Smoothing *s, int x, double sign, double sums[MOMENTS])
{
  if (x >= 0 && x < s->first->width)
    for (int i = 0; i < MOMENTS; i++)
      sums[i] += sign * s->columns[(gsize) x * MOMENTS + (gsize) i];
}

/* w, see above. */
static double
get_weight (const double sums[MOMENTS])
{
  double covariance = sums[PRODUCT], variance = sums[SQUARE];

  for (int c = 0; c < 3; c++)
    {
      covariance -= sums[FIRST + c] * sums[CHANGE + c] / sums[NUMBER];
      variance -= sums[CHANGE + c] * sums[CHANGE + c] / sums[NUMBER];
    }
  /* Less than this is rounding. */
  return variance > 1e-12 * sums[NUMBER] ? CLAMP (-covariance / variance, 0, 1) : 0;
}

static void
smooth_row (Smoothing *s, int y, double amount)
{
  const int    width = s->first->width;
  const float *moments = s->ring + (gsize) (y % ROWS) * (gsize) width * MOMENTS;
  float       *pixel = s->first->data + (gsize) y * (gsize) width * 3;
  double       sums[MOMENTS] = { 0 };

  for (int x = -RADIUS; x < RADIUS; x++)
    add_column (s, x, 1, sums);
  for (int x = 0; x < width; x++, pixel += 3, moments += MOMENTS)
    {
      add_column (s, x + RADIUS, 1, sums);
      if (moments[NUMBER] > 0)
        {
          double weight = amount * get_weight (sums);

          for (int c = 0; c < 3; c++)
            pixel[c] += (float) (weight * ((double) moments[CHANGE + c] - sums[CHANGE + c] / sums[NUMBER]));
        }
      add_column (s, x - RADIUS, -1, sums);
    }
}

gboolean
smooth_towards (DiffusionPicture *first, const DiffusionPicture *second, double amount, GCancellable *cancellable,
                GError **error)
{
  const gsize row = (gsize) first->width * MOMENTS;
  Smoothing   s = { first, second, NULL, NULL };
  gboolean    success = FALSE;

  s.ring = core_alloc0 (ROWS * row, sizeof (float), error);
  s.columns = s.ring ? core_alloc0 (row, sizeof (double), error) : NULL;
  if (s.columns)
    {
      for (int y = 0; y < RADIUS; y++)
        enter_row (&s, y);
      for (int y = 0; y < first->height && ! g_cancellable_is_cancelled (cancellable); y++)
        {
          enter_row (&s, y + RADIUS);
          smooth_row (&s, y, amount);
        }
      success = ! g_cancellable_set_error_if_cancelled (cancellable, error);
    }
  core_free (s.columns);
  core_free (s.ring);
  return success;
}
