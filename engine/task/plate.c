/* Thin holes, smoothly.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The fill bends as little as a thin plate would that is clamped to the known pixels: the sum of all squared Laplacians
 * is least (as the biharmonic inpainting of Damelin and Hoang 2018).  Conjugate gradients on the hole's pixels alone.
 */
#include "fill.h"

#include <math.h>
#include <string.h>

#define ITERATIONS_MOST 400
#define TOLERANCE       1e-5

typedef struct
{
  int     width, height;
  float  *field; /* 3 values per pixel: what the Laplacian is taken of */
  float  *bend;  /* its Laplacian, 3 values per pixel, on the band */
  gint32 *hole;  /* places of the hole's pixels */
  gint32 *band;  /* of these and their neighbours */
  gsize   n_hole, n_band;
} Plate;

/* out = Laplacian of in at one pixel, over the neighbours that the picture has. */
static inline void
laplacian (const Plate *p, const float *in, gint32 at, float *out)
{
  int          x = at % p->width, y = at / p->width, n = 0;
  const float *v = in + (gsize) at * 3;
  float        sum[3] = { 0, 0, 0 };
  const int    steps[4]
      = { x > 0 ? -1 : 0, x + 1 < p->width ? 1 : 0, y > 0 ? -p->width : 0, y + 1 < p->height ? p->width : 0 };

  for (int i = 0; i < 4; i++)
    if (steps[i])
      {
        for (int c = 0; c < 3; c++)
          sum[c] += v[steps[i] * 3 + c];
        n++;
      }
  for (int c = 0; c < 3; c++)
    out[c] = sum[c] - (float) n * v[c];
}

/* out = Laplacian of the Laplacian of the field, at the hole's pixels. */
static void
apply (const Plate *p, float *out)
{
  for (gsize i = 0; i < p->n_band; i++)
    laplacian (p, p->field, p->band[i], p->bend + (gsize) p->band[i] * 3);
  for (gsize i = 0; i < p->n_hole; i++)
    laplacian (p, p->bend, p->hole[i], out + i * 3);
}

static void
scatter (const Plate *p, const float *values, float *picture)
{
  for (gsize i = 0; i < p->n_hole; i++)
    memcpy (picture + (gsize) p->hole[i] * 3, values + i * 3, 3 * sizeof (float));
}

static double
dot (const float *a, const float *b, gsize n)
{
  double sum = 0;

  for (gsize i = 0; i < n; i++)
    sum += (double) a[i] * (double) b[i];
  return sum;
}

static gboolean
plate_init (Plate *p, const DiffusionPicture *picture, GError **error)
{
  int   width = picture->width, height = picture->height;
  gsize count = (gsize) width * (gsize) height;

  p->width = width;
  p->height = height;
  if (! (p->field = core_alloc (count, 3 * sizeof (float), error))
      || ! (p->bend = core_alloc0 (count, 3 * sizeof (float), error))
      || ! (p->hole = core_alloc (count, sizeof (gint32), error))
      || ! (p->band = core_alloc (count, sizeof (gint32), error)))
    return FALSE;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      {
        gint32   at = y * width + x;
        gboolean hole = isnan (picture->data[(gsize) at * 3]);
        gboolean near = (x > 0 && isnan (picture->data[(gsize) (at - 1) * 3]))
                        || (x + 1 < width && isnan (picture->data[(gsize) (at + 1) * 3]))
                        || (y > 0 && isnan (picture->data[(gsize) (at - width) * 3]))
                        || (y + 1 < height && isnan (picture->data[(gsize) (at + width) * 3]));

        if (hole)
          p->hole[p->n_hole++] = at;
        if (hole || near)
          p->band[p->n_band++] = at;
      }
  return TRUE;
}

/* Conjugate gradients; x: the hole's pixels, first the start, then the solution; work: 3 times as much. */
static gboolean
solve (Plate *p, float *x, float *work, GCancellable *cancellable, GError **error)
{
  gsize  n = p->n_hole * 3;
  float *r = work, *d = work + n, *q = work + 2 * n;
  double norm, least;

  apply (p, r);
  for (gsize i = 0; i < n; i++)
    d[i] = r[i] = -r[i];
  memset (p->field, 0, (gsize) p->width * (gsize) p->height * 3 * sizeof (float));
  norm = dot (r, r, n);
  least = norm * TOLERANCE * TOLERANCE;
  for (int k = 0; k < ITERATIONS_MOST && norm > least; k++)
    {
      double step, before = norm;

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;
      scatter (p, d, p->field);
      apply (p, q);
      step = norm / MAX (dot (d, q, n), 1e-30);
      for (gsize i = 0; i < n; i++)
        {
          x[i] += (float) step * d[i];
          r[i] -= (float) step * q[i];
        }
      norm = dot (r, r, n);
      for (gsize i = 0; i < n; i++)
        d[i] = r[i] + (float) (norm / before) * d[i];
    }
  return TRUE;
}

gboolean
plate_fill (DiffusionPicture *picture, GCancellable *cancellable, GError **error)
{
  Plate    p = { .n_hole = 0 };
  float   *x = NULL, *work = NULL, least = 0, most = 1;
  gboolean success = plate_init (&p, picture, error) && diffusion_fill_smooth (picture, error)
                     && (x = core_alloc (p.n_hole, 3 * sizeof (float), error))
                     && (work = core_alloc (p.n_hole, 9 * sizeof (float), error));

  if (success && p.n_hole > 0)
    {
      memcpy (p.field, picture->data, (gsize) p.width * (gsize) p.height * 3 * sizeof (float));
      for (gsize i = 0; i < p.n_hole; i++)
        memcpy (x + i * 3, p.field + (gsize) p.hole[i] * 3, 3 * sizeof (float));
      for (gsize i = 0; i < p.n_hole * 3; i++)
        {
          least = MIN (least, x[i]);
          most = MAX (most, x[i]);
        }
      success = solve (&p, x, work, cancellable, error);
      /* A plate overshoots where it leaves an edge; the smooth fill that it began with has only values between those
       * around the hole, some of which may be beyond white. */
      for (gsize i = 0; i < p.n_hole * 3; i++)
        x[i] = CLAMP (x[i], least, most);
      scatter (&p, x, picture->data);
    }
  core_free (p.field);
  core_free (p.bend);
  core_free (p.hole);
  core_free (p.band);
  core_free (x);
  core_free (work);
  return success;
}
