/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "sight.h"
#include "strips.h"

enum
{
  /* What a checksum is made of, for it is made while the dialog stands still: of a larger rectangle only some blocks
   * are read, and a change between them goes unnoticed. */
  CHECKED_PIXELS = 500 * 1000,
  CHECKED_BYTES = 2 * 1000 * 1000,
  BLOCK = 256 /* columns: some of GIMP's tiles; as high as a strip */
};

guint64
sight_checksum (GeglBuffer *buffer, const GeglRectangle *rect)
{
  const Babl        *format = gegl_buffer_get_format (buffer);
  const int          pixel = babl_format_get_bytes_per_pixel (format);
  const gint64       pixels = (gint64) rect->width * rect->height;
  const gint64       apart = MAX (pixels / CHECKED_PIXELS, pixels * pixel / CHECKED_BYTES) + 1;
  g_autofree guchar *bytes = g_malloc_n (BLOCK * STRIP, pixel);
  gint64             block = 0;
  guint64            checksum = 1;

  for (int y = rect->y, height; y < rect->y + rect->height; y += height)
    {
      height = strip_height (y, rect->y + rect->height, BLOCK);
      for (int x = rect->x, width; x < rect->x + rect->width; x += width, block++)
        {
          width = MIN (BLOCK - x % BLOCK, rect->x + rect->width - x);
          if (block % apart != 0)
            continue;
          gegl_buffer_get (buffer, GEGL_RECTANGLE (x, y, width, height), 1.0, format, bytes, GEGL_AUTO_ROWSTRIDE,
                           GEGL_ABYSS_NONE);
          checksum = strip_checksum (checksum, bytes, (gsize) width * height * pixel);
        }
    }
  return checksum;
}

Sight
sight_take (HostDrawable drawable, const GeglRectangle *rect)
{
  g_autoptr (GeglBuffer) buffer = NULL;

  /* GIMP ends a plug-in that asks for pixels of what is no more. */
  if (! gimp_item_is_valid (GIMP_ITEM (drawable)))
    return (Sight){ *rect, 0 };
  buffer = gimp_drawable_get_buffer (drawable);
  return (Sight){ *rect, sight_checksum (buffer, rect) };
}

gboolean
sight_holds (const Sight *sight, HostDrawable drawable)
{
  return sight_take (drawable, &sight->rect).checksum == sight->checksum;
}
