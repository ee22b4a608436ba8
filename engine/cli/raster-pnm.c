/* gimp-diffusion: binary PPM and PGM files
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "raster.h"

#include "diffusion.h"

#include <errno.h>
#include <string.h>

/* One number of the header, after white space and comments; 0 when there is none. */
static int
read_number (const guint8 *data, gsize size, gsize *position)
{
  gsize at = *position;
  int   number = 0;

  while (at < size && (g_ascii_isspace (data[at]) || data[at] == '#'))
    {
      if (data[at] == '#')
        while (at < size && data[at] != '\n')
          at++;
      else
        at++;
    }
  for (; at < size && g_ascii_isdigit (data[at]) && number < 100000000; at++)
    number = number * 10 + (data[at] - '0');
  *position = at;
  return number;
}

Raster *
raster_pnm_decode (const guint8 *data, gsize size, GError **error)
{
  g_autoptr (Raster) raster = NULL;
  gsize at = 2, count;
  int   width = read_number (data, size, &at), height = read_number (data, size, &at);
  int   most = read_number (data, size, &at), bytes = most > 255 ? 2 : 1, channels = data[1] == '6' ? 3 : 1;

  if (width < 1 || height < 1 || most < 1 || most > 65535 || at >= size || ! g_ascii_isspace (data[at]))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "its PPM header is damaged");
      return NULL;
    }
  at++;
  count = (gsize) width * height * channels;
  if (count > (size - at) / bytes)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the PPM file is truncated");
      return NULL;
    }
  raster = raster_new (width, height, channels, 8 * bytes, error);
  for (gsize i = 0; raster && i < count; i++, at += bytes)
    {
      int value = bytes == 2 ? data[at] << 8 | data[at + 1] : data[at];

      raster_set (raster, i, (double) value / most);
    }
  return g_steal_pointer (&raster);
}

gboolean
raster_pnm_encode (const Raster *raster, FILE *file, GError **error)
{
  gsize               samples = (gsize) raster->width * raster->channels, size = samples * (raster->bits / 8);
  g_autofree guint16 *row = g_try_new (guint16, samples);
  gboolean            done;

  if (! row)
    return raster_no_memory (raster->width, raster->height, error);
  done = fprintf (file, "P%d\n%d %d\n%d\n", raster->channels == 1 ? 5 : 6, raster->width, raster->height,
                  raster->bits == 8 ? 255 : 65535)
         > 0;
  for (int y = 0; done && y < raster->height; y++)
    {
      memcpy (row, raster->data + y * size, size);
      for (gsize i = 0; raster->bits == 16 && i < samples; i++)
        row[i] = GUINT16_TO_BE (row[i]);
      done = fwrite (row, 1, size, file) == size;
    }
  if (! done)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", g_strerror (errno));
  return done;
}
