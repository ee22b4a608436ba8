/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <string.h>

#include "pixels.h"
#include "region.h"
#include "strips.h"

static gsize
row_bytes (const Pixels *pixels, int width)
{
  return (gsize) width * babl_format_get_bytes_per_pixel (pixels->format);
}

Pixels *
pixels_new (const GeglRectangle *rect, const Babl *format, GError **error)
{
  g_autoptr (Pixels) pixels = g_new0 (Pixels, 1);

  pixels->rect = *rect;
  pixels->format = format;
  pixels->data = g_try_malloc_n (rect->height, row_bytes (pixels, rect->width));
  if (! pixels->data)
    {
      region_fail_memory (error);
      return NULL;
    }
  return g_steal_pointer (&pixels);
}

void
pixels_free (Pixels *pixels)
{
  if (! pixels)
    return;
  g_free (pixels->data);
  g_free (pixels);
}

void
pixels_set (Pixels *pixels, const GeglRectangle *part, const guchar *data)
{
  const gsize row = row_bytes (pixels, pixels->rect.width), bytes = row_bytes (pixels, part->width);
  guchar     *to = pixels->data + (part->y - pixels->rect.y) * row + row_bytes (pixels, part->x - pixels->rect.x);

  for (int i = 0; i < part->height; i++)
    memcpy (to + i * row, data + i * bytes, bytes);
}

void
pixels_write (const Pixels *pixels, GeglBuffer *buffer, int x, int y)
{
  const int   width = pixels->rect.width, end = y + pixels->rect.height;
  const gsize row = row_bytes (pixels, width);

  /* GEGL counts the bytes of what it is given in 32 bits. */
  for (int at = y, height; at < end; at += height)
    {
      height = strip_height (at, end, width);
      gegl_buffer_set (buffer, GEGL_RECTANGLE (x, at, width, height), 0, pixels->format, pixels->data + (at - y) * row,
                       GEGL_AUTO_ROWSTRIDE);
    }
}
