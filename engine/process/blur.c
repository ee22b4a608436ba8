/* A low pass.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <math.h>
#include <string.h>

/* Three boxes after each other are a Gaussian to 3 % (Wells 1986). */
#define BOXES 3

/* The mean of 2 * radius + 1 pixels along a line of n pixels, `stride` values apart; beyond its ends the line is
 * mirrored, as the network sees it. */
static void
box_line (float *values, int n, gsize stride, int radius, int channels, float *work)
{
  float scale = 1.0f / (float) (2 * radius + 1);

  for (int c = 0; c < channels; c++, values++)
    {
      double sum = 0;

      for (int i = -radius; i < n + radius; i++)
        {
          int at = ((i % (2 * n)) + 2 * n) % (2 * n);

          work[i + radius] = values[(gsize) (at < n ? at : 2 * n - 1 - at) * stride];
        }
      for (int i = 0; i < 2 * radius; i++)
        sum += (double) work[i];
      for (int i = 0; i < n; i++)
        {
          sum += (double) work[i + 2 * radius];
          values[(gsize) i * stride] = (float) sum * scale;
          sum -= (double) work[i];
        }
    }
}

gboolean
process_blur (DiffusionPicture *picture, double sigma, GError **error)
{
  int    width = picture->width, height = picture->height, channels = picture->channels;
  int    radius = (int) (0.5 * sqrt (12 * sigma * sigma / BOXES + 1));
  gsize  row = (gsize) width * (gsize) channels;
  float *work = core_alloc ((gsize) MAX (width, height) + 2 * (gsize) radius, sizeof (float), error);

  if (! work)
    return FALSE;
  for (int i = 0; radius > 0 && i < BOXES; i++)
    {
      for (int y = 0; y < height; y++)
        box_line (picture->data + (gsize) y * row, width, (gsize) channels, radius, channels, work);
      for (int x = 0; x < width; x++)
        box_line (picture->data + (gsize) x * (gsize) channels, height, row, radius, channels, work);
    }
  core_free (work);
  return TRUE;
}
