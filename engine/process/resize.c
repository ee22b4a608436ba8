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

/* The weights of one line's pixels for each pixel of another: wider where the line gets shorter, so that nothing
 * aliases. */
typedef struct
{
  int    taps;
  int   *first; /* may be outside: the line is mirrored */
  float *weights;
} Kernel;

static gboolean
kernel_init (Kernel *kernel, int from, int to, GError **error)
{
  double scale = (double) from / to, width = MAX (scale, 1);

  kernel->taps = (int) ceil (4 * width) + 1;
  kernel->first = core_alloc ((gsize) to, sizeof (int), error);
  kernel->weights = kernel->first ? core_alloc ((gsize) to, (gsize) kernel->taps * sizeof (float), error) : NULL;
  if (! kernel->weights)
    return FALSE;
  for (int i = 0; i < to; i++)
    {
      double centre = (i + 0.5) * scale - 0.5, sum = 0;
      float *weights = kernel->weights + (gsize) i * (gsize) kernel->taps;

      kernel->first[i] = (int) ceil (centre - 2 * width);
      for (int t = 0; t < kernel->taps; t++)
        {
          weights[t] = (float) cubic ((kernel->first[i] + t - centre) / width);
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
  core_free (kernel->first);
  core_free (kernel->weights);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Kernel, kernel_clear)

static inline int
mirror (int i, int size)
{
  i = ((i % (2 * size)) + 2 * size) % (2 * size);
  return i < size ? i : 2 * size - 1 - i;
}

/* One line of n pixels, `stride` values apart, from one that is `from_stride` apart. */
static void
resize_line (const Kernel *kernel, int channels, const float *from, int size, gsize from_stride, float *to, int n,
             gsize stride)
{
  for (int i = 0; i < n; i++)
    for (int c = 0; c < channels; c++)
      {
        const float *weights = kernel->weights + (gsize) i * (gsize) kernel->taps;
        float        sum = 0;

        for (int t = 0; t < kernel->taps; t++)
          if (weights[t] != 0)
            sum += weights[t] * from[(gsize) mirror (kernel->first[i] + t, size) * from_stride + (gsize) c];
        to[(gsize) i * stride + (gsize) c] = sum;
      }
}

DiffusionPicture *
process_resize (const DiffusionPicture *picture, int width, int height, GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionPicture) half = NULL, result = NULL;
  g_auto (Kernel) across = { 0 }, down = { 0 };
  gsize channels = (gsize) picture->channels;

  if (width == picture->width && height == picture->height)
    return diffusion_picture_copy (picture, error);
  half = diffusion_picture_new (width, picture->height, picture->channels, error);
  result = half ? diffusion_picture_new (width, height, picture->channels, error) : NULL;
  if (! result || ! kernel_init (&across, picture->width, width, error)
      || ! kernel_init (&down, picture->height, height, error))
    return NULL;
  for (gsize y = 0; y < (gsize) picture->height && ! g_cancellable_is_cancelled (cancellable); y++)
    resize_line (&across, picture->channels, picture->data + y * (gsize) picture->width * channels, picture->width,
                 channels, half->data + y * (gsize) width * channels, width, channels);
  for (gsize x = 0; x < (gsize) width && ! g_cancellable_is_cancelled (cancellable); x++)
    resize_line (&down, picture->channels, half->data + x * channels, picture->height, (gsize) width * channels,
                 result->data + x * channels, height, (gsize) width * channels);
  return g_cancellable_set_error_if_cancelled (cancellable, error) ? NULL : g_steal_pointer (&result);
}
