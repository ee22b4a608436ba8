/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "pixels.h"

void
pixels_init (void)
{
  g_setenv ("GEGL_PATH", "/nonexistent", TRUE);
  gegl_init (NULL, NULL);
}

static gboolean
load_buffer (GeglBuffer *buffer, const char *file, GError **error)
{
  const GeglRectangle *rect = gegl_buffer_get_extent (buffer);
  const Babl          *format = gegl_buffer_get_format (buffer);
  const gsize          size = (gsize) rect->width * rect->height * babl_format_get_bytes_per_pixel (format);
  g_autofree char     *data = NULL;
  gsize                length;

  if (! g_file_get_contents (file, &data, &length, error))
    return FALSE;
  if (length != size)
    {
      g_set_error (error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                   "%s has %" G_GSIZE_FORMAT " bytes, the drawable %" G_GSIZE_FORMAT ".", file, length, size);
      return FALSE;
    }
  gegl_buffer_set (buffer, rect, 0, format, data, GEGL_AUTO_ROWSTRIDE);
  return TRUE;
}

static gboolean
save_buffer (GeglBuffer *buffer, const char *file, const Babl *format, GError **error)
{
  const GeglRectangle *rect = gegl_buffer_get_extent (buffer);
  const gsize          size = (gsize) rect->width * rect->height * babl_format_get_bytes_per_pixel (format);
  g_autofree char     *data = g_malloc (size);

  gegl_buffer_get (buffer, rect, 1.0, format, data, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
  return g_file_set_contents (file, data, size, error);
}

gboolean
pixels_transfer (GeglBuffer *drawable, GeglBuffer *selection, const char *load, const char *save, const char *mask,
                 GError **error)
{
  return (! *load || load_buffer (drawable, load, error))
         && (! *save || save_buffer (drawable, save, gegl_buffer_get_format (drawable), error))
         && (! *mask || save_buffer (selection, mask, babl_format ("Y float"), error));
}
