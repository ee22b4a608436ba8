/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <math.h>
#include <string.h>

#include "raster.h"

enum
{
  CHECK = 8, /* pixels */
  CHECK_LIGHT = 153,
  CHECK_DARK = 102
};

UiRaster *
ui_raster_new (const GdkRectangle *rect, double scale)
{
  UiRaster *raster = g_new0 (UiRaster, 1);
  const int width = MAX (1, (int) ceil (rect->width * scale));
  const int height = MAX (1, (int) ceil (rect->height * scale));

  raster->rect = *rect;
  raster->scale = scale;
  raster->surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24, width, height);
  raster->sums = g_new0 (guint, 4 * width);
  return raster;
}

void
ui_raster_free (UiRaster *raster)
{
  if (! raster)
    return;
  cairo_surface_destroy (raster->surface);
  g_free (raster->sums);
  g_free (raster);
}

static guint
over_ground (const guchar *pixel, int channel, guint ground)
{
  return (pixel[channel] * pixel[3] + ground * (255 - pixel[3]) + 127) / 255;
}

static void
put_row (UiRaster *raster, int y)
{
  const int width = cairo_image_surface_get_width (raster->surface);
  guint32  *row = (guint32 *) (void *) (cairo_image_surface_get_data (raster->surface)
                                       + (gsize) y * cairo_image_surface_get_stride (raster->surface));

  for (int x = 0; x < width; x++)
    {
      const guint *sum = raster->sums + 4 * x;
      const guint  n = MAX (1, sum[3]);

      row[x] = (sum[0] + n / 2) / n << 16 | (sum[1] + n / 2) / n << 8 | (sum[2] + n / 2) / n;
    }
  memset (raster->sums, 0, sizeof (guint) * 4 * width);
}

void
ui_raster_add_rows (UiRaster *raster, const guchar *rgba, int rows)
{
  const int width = raster->rect.width;
  const int last = cairo_image_surface_get_height (raster->surface) - 1;
  const int last_column = cairo_image_surface_get_width (raster->surface) - 1;

  cairo_surface_flush (raster->surface);
  for (int i = 0; i < rows && raster->rows < raster->rect.height; i++)
    {
      const int y = raster->rows++;
      const int target = MIN (last, (int) (y * raster->scale));

      for (int x = 0; x < width; x++)
        {
          const guchar *pixel = rgba + 4 * ((gsize) i * width + x);
          const guint   ground
              = ((raster->rect.x + x) / CHECK + (raster->rect.y + y) / CHECK) % 2 ? CHECK_DARK : CHECK_LIGHT;
          guint *sum = raster->sums + 4 * MIN (last_column, (int) (x * raster->scale));

          for (int c = 0; c < 3; c++)
            sum[c] += over_ground (pixel, c, ground);
          sum[3]++;
        }
      if (raster->rows == raster->rect.height || MIN (last, (int) ((y + 1) * raster->scale)) != target)
        put_row (raster, target);
    }
  cairo_surface_mark_dirty (raster->surface);
}
