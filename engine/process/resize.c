/* Pictures at another size.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <math.h>

/* Keys 1981, "Cubic convolution interpolation", with a = -1/2. */
static double
cubic (double x)
{
  x = fabs (x);
  if (x < 1)
    return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static int
mirror (int i, int size)
{
  i = ((i % (2 * size)) + 2 * size) % (2 * size);
  return i < size ? i : 2 * size - 1 - i;
}

/* Which pixels of one line each pixel of another is made of: more where the line gets shorter, so that nothing
 * aliases.  Beyond its ends the line is mirrored. */
typedef struct
{
  int    taps;
  int   *sources;
  float *weights;
} Kernel;

static gboolean
kernel_init (Kernel *kernel, int from, int to, GError **error)
{
  double scale = (double) from / to, width = MAX (scale, 1);

  kernel->taps = (int) ceil (4 * width) + 1;
  kernel->sources = core_alloc ((gsize) to, (gsize) kernel->taps * sizeof (int), error);
  kernel->weights = kernel->sources ? core_alloc ((gsize) to, (gsize) kernel->taps * sizeof (float), error) : NULL;
  if (! kernel->weights)
    return FALSE;
  for (int i = 0; i < to; i++)
    {
      double    centre = (i + 0.5) * scale - 0.5, sum = 0;
      const int first = (int) ceil (centre - 2 * width);
      float    *weights = kernel->weights + (gsize) i * (gsize) kernel->taps;

      for (int t = 0; t < kernel->taps; t++)
        {
          kernel->sources[(gsize) i * (gsize) kernel->taps + (gsize) t] = mirror (first + t, from);
          weights[t] = (float) cubic ((first + t - centre) / width);
          sum += (double) weights[t];
        }
      for (int t = 0; t < kernel->taps; t++)
        weights[t] /= (float) sum;
    }
  return TRUE;
}

static void
kernel_clear (Kernel *kernel)
{
  core_free (kernel->sources);
  core_free (kernel->weights);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Kernel, kernel_clear)

/* One entry of a line, `n` values, from entries that are `n` values each, too: pixels of a row, or rows of a picture.
 */
static void
resize_entry (const Kernel *kernel, int entry, const float *from, gsize n, float *restrict to)
{
  const int   *sources = kernel->sources + (gsize) entry * (gsize) kernel->taps;
  const float *weights = kernel->weights + (gsize) entry * (gsize) kernel->taps;

  memset (to, 0, n * sizeof (float));
  for (int t = 0; t < kernel->taps; t++)
    if (weights[t] != 0)
      {
        const float *restrict source = from + (gsize) sources[t] * n;

        for (gsize i = 0; i < n; i++)
          to[i] += weights[t] * source[i];
      }
}

DiffusionPicture *
process_resize (const DiffusionPicture *picture, int width, int height, GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionPicture) half = NULL, result = NULL;
  g_auto (Kernel) across = { 0 }, down = { 0 };
  gsize channels = (gsize) picture->channels, row = (gsize) width * channels;

  if (width == picture->width && height == picture->height)
    return diffusion_picture_copy (picture, error);
  half = diffusion_picture_new (width, picture->height, picture->channels, error);
  result = half ? diffusion_picture_new (width, height, picture->channels, error) : NULL;
  if (! result || ! kernel_init (&across, picture->width, width, error)
      || ! kernel_init (&down, picture->height, height, error))
    return NULL;
  for (gsize y = 0; y < (gsize) picture->height && ! g_cancellable_is_cancelled (cancellable); y++)
    for (int x = 0; x < width; x++)
      resize_entry (&across, x, picture->data + y * (gsize) picture->width * channels, channels,
                    half->data + y * row + (gsize) x * channels);
  for (int y = 0; y < height && ! g_cancellable_is_cancelled (cancellable); y++)
    resize_entry (&down, y, half->data, row, result->data + (gsize) y * row);
  return g_cancellable_set_error_if_cancelled (cancellable, error) ? NULL : g_steal_pointer (&result);
}
