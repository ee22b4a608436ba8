/* gimp-diffusion: picture files as they are stored
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "raster.h"

#include "diffusion.h"
#include "target.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct
{
  const char *extensions[3];
  int         most_bits;
  gboolean    alpha, premultiplied;
  gboolean (*encode) (const Raster *raster, FILE *file, GError **error);
  int most_edge; /* pixels in a row or column */
} Format;

/* libjpeg's own limit, and libpng's. */
#define JPEG_MOST 65500
#define PNG_MOST  1000000

static const Format formats[] = {
  { { "png" }, 16, TRUE, FALSE, raster_png_encode, PNG_MOST },
  { { "jpg", "jpeg" }, 8, FALSE, FALSE, raster_jpeg_encode, JPEG_MOST },
  { { "tif", "tiff" }, 32, TRUE, TRUE, raster_tiff_encode, G_MAXINT },
  { { "ppm", "pgm", "pnm" }, 16, FALSE, FALSE, raster_pnm_encode, G_MAXINT },
};

gboolean
raster_no_memory (int width, int height, GError **error)
{
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY, "not enough memory for a picture of %d x %d pixels",
               width, height);
  return FALSE;
}

/* ---- rasters ----------------------------------------------------------------------------------------------------- */

Raster *
raster_new (int width, int height, int channels, int bits, GError **error)
{
  gsize   size;
  Raster *raster;

  if (width < 1 || height < 1)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "a picture of %d x %d pixels is empty", width, height);
      return NULL;
    }
  raster = g_new0 (Raster, 1);
  raster->width = width;
  raster->height = height;
  raster->channels = channels;
  raster->bits = bits;
  if (g_size_checked_mul (&size, width, height) && g_size_checked_mul (&size, size, channels * (bits / 8)))
    raster->data = g_try_malloc (size);
  if (! raster->data)
    {
      raster_no_memory (width, height, error);
      g_free (raster);
      return NULL;
    }
  return raster;
}

void
raster_free (Raster *raster)
{
  if (! raster)
    return;
  g_free (raster->data);
  g_clear_pointer (&raster->profile, g_bytes_unref);
  g_clear_pointer (&raster->exif, g_bytes_unref);
  g_free (raster);
}

double
raster_get (const Raster *raster, gsize i)
{
  switch (raster->bits)
    {
    case 8:
      return raster->data[i] / 255.0;
    case 16:
      return ((const guint16 *) raster->data)[i] / 65535.0;
    default:
      return ((const float *) raster->data)[i];
    }
}

void
raster_set (Raster *raster, gsize i, double value)
{
  double most = raster->bits == 8 ? 255 : 65535;
  long   level;

  if (raster->bits == 32)
    {
      ((float *) raster->data)[i] = value;
      return;
    }
  /* The form of the first test sends NAN to 0. */
  level = ! (value > 0) ? 0 : value >= 1 ? (long) most : lrint (value * most);
  if (raster->bits == 8)
    raster->data[i] = level;
  else
    ((guint16 *) raster->data)[i] = level;
}

static void
raster_copy_notes (Raster *to, const Raster *from)
{
  to->profile = from->profile ? g_bytes_ref (from->profile) : NULL;
  to->exif = from->exif ? g_bytes_ref (from->exif) : NULL;
  to->density_x = from->density_x;
  to->density_y = from->density_y;
  to->png_colour = from->png_colour;
}

Raster *
raster_copy (const Raster *raster, GError **error)
{
  Raster *copy = raster_new (raster->width, raster->height, raster->channels, raster->bits, error);

  if (! copy)
    return NULL;
  raster_copy_notes (copy, raster);
  copy->premultiplied = raster->premultiplied;
  memcpy (copy->data, raster->data, raster_stride (raster) * raster->height);
  return copy;
}

gboolean
raster_orient (Raster *raster, int orientation, GError **error)
{
  gsize    pixel = raster->channels * (raster->bits / 8);
  gboolean swap = orientation >= 5;
  int      last_x = raster->width - 1, last_y = raster->height - 1;
  int      width = swap ? raster->height : raster->width, height = swap ? raster->width : raster->height;
  guint8  *data;

  if (orientation < 2 || orientation > 8)
    return TRUE;
  data = g_try_malloc_n (height, width * pixel);
  if (! data)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY, "not enough memory to turn a picture upright");
      return FALSE;
    }
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      {
        int sx = swap ? y : x, sy = swap ? x : y;

        if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8)
          sx = last_x - sx;
        if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7)
          sy = last_y - sy;
        memcpy (data + ((gsize) y * width + x) * pixel, raster->data + ((gsize) sy * raster->width + sx) * pixel,
                pixel);
      }
  g_free (raster->data);
  raster->data = data;
  raster->width = width;
  raster->height = height;
  if (swap)
    {
      double density = raster->density_x;

      raster->density_x = raster->density_y;
      raster->density_y = density;
    }
  return TRUE;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static guint
get_u16 (const guint8 *data, gboolean little)
{
  return little ? data[0] | data[1] << 8 : data[0] << 8 | data[1];
}

static guint32
get_u32 (const guint8 *data, gboolean little)
{
  guint32 a = get_u16 (data, little), b = get_u16 (data + 2, little);

  return little ? a | b << 16 : a << 16 | b;
}

/* Reads the orientation out of EXIF data and sets it to 1 there, for a raster that is about to be turned upright. */
static int
exif_take_orientation (GBytes **exif)
{
  static const guint8 marker[] = { 'E', 'x', 'i', 'f', 0, 0 };

  gsize    size, at;
  guint8  *data;
  gboolean little;
  guint    count;
  int      orientation = 1;

  if (! *exif || g_bytes_get_size (*exif) < 14)
    return 1;
  data = g_bytes_unref_to_data (g_steal_pointer (exif), &size);
  /* Some programs write JPEG's marker before it where it does not belong, into WebP files above all. */
  if (size >= sizeof marker + 14 && memcmp (data, marker, sizeof marker) == 0)
    {
      size -= sizeof marker;
      memmove (data, data + sizeof marker, size);
    }
  little = data[0] == 'I';
  at = get_u32 (data + 4, little);
  count = at <= size - 2 ? get_u16 (data + at, little) : 0;
  for (at += 2; count > 0 && at <= size - 12; count--, at += 12)
    if (get_u16 (data + at, little) == 0x0112 && get_u16 (data + at + 2, little) == 3)
      {
        orientation = get_u16 (data + at + 8, little);
        data[at + 8] = little ? 1 : 0;
        data[at + 9] = little ? 0 : 1;
        break;
      }
  *exif = g_bytes_new_take (data, size);
  return orientation;
}

static Raster *
decode (const guint8 *data, gsize size, GError **error)
{
  if (size >= 8 && memcmp (data, "\x89PNG\r\n\x1a\n", 8) == 0)
    return raster_png_decode (data, size, error);
  if (size >= 3 && memcmp (data, "\xff\xd8\xff", 3) == 0)
    return raster_jpeg_decode (data, size, error);
  if (size >= 4 && (memcmp (data, "II", 2) == 0 || memcmp (data, "MM", 2) == 0)
      && (get_u16 (data + 2, data[0] == 'I') == 42 || get_u16 (data + 2, data[0] == 'I') == 43))
    return raster_tiff_decode (data, size, error);
  if (size >= 12 && memcmp (data, "RIFF", 4) == 0 && memcmp (data + 8, "WEBP", 4) == 0)
    return raster_webp_decode (data, size, error);
  if (size >= 2 && data[0] == 'P' && (data[1] == '5' || data[1] == '6'))
    return raster_pnm_decode (data, size, error);
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
               size ? "it is not a PNG, JPEG, TIFF, WebP, PPM or PGM picture" : "it is empty");
  return NULL;
}

Raster *
raster_read (const char *path, GError **error)
{
  g_autoptr (Raster) raster = NULL;
  g_autofree char *contents = NULL;
  gsize            size;
  GStatBuf         status;

  if (g_stat (path, &status) != 0)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", g_strerror (errno));
  else if (! S_ISREG (status.st_mode))
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                 S_ISDIR (status.st_mode) ? "it is a folder" : "it is not a regular file");
  else if (! g_file_get_contents (path, &contents, &size, error))
    return NULL; /* this error names the file itself */
  else
    raster = decode ((const guint8 *) contents, size, error);
  if (raster && ! raster_orient (raster, exif_take_orientation (&raster->exif), error))
    g_clear_pointer (&raster, raster_free);
  if (! raster)
    g_prefix_error (error, "\"%s\" could not be read: ", path);
  return g_steal_pointer (&raster);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static const Format *
find_format (const char *path, GError **error)
{
  const char *dot = strrchr (path, '.');

  for (gsize i = 0; dot && i < G_N_ELEMENTS (formats); i++)
    for (gsize j = 0; j < G_N_ELEMENTS (formats[i].extensions) && formats[i].extensions[j]; j++)
      if (g_ascii_strcasecmp (dot + 1, formats[i].extensions[j]) == 0)
        return &formats[i];
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
               "The output's name \"%s\" must end in .png, .jpg, .jpeg, .tif, .tiff, .ppm or .pgm", path);
  return NULL;
}

static gboolean
is_opaque (const Raster *raster)
{
  gsize count = (gsize) raster->width * raster->height;

  for (gsize i = 0; raster_has_alpha (raster) && i < count; i++)
    if (raster_get (raster, (i + 1) * raster->channels - 1) != 1.0)
      return FALSE;
  return TRUE;
}

gboolean
raster_check_target (const char *path, const Raster *raster, GError **error)
{
  const Format *format = find_format (path, error);

  if (! format)
    return FALSE;
  if (raster && (raster->width > format->most_edge || raster->height > format->most_edge))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                   "A picture of %d x %d pixels is too large for \"%s\", which holds %d in a row: choose %s.tif",
                   raster->width, raster->height, path, format->most_edge,
                   MAX (raster->width, raster->height) > PNG_MOST ? "" : ".png or ");
      return FALSE;
    }
  if (! raster || format->alpha || is_opaque (raster))
    return target_check (path, error);
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
               "The picture has transparency, which \"%s\" cannot hold: choose .png or .tif", path);
  return FALSE;
}

/* A raster of what the format can hold: a lower depth, no alpha when it is opaque anyway, colours not multiplied by it.
 */
static Raster *
convert (const Raster *raster, const Format *format, GError **error)
{
  int      bits = MIN (raster->bits, format->most_bits);
  gboolean drop = raster_has_alpha (raster) && ! format->alpha;
  gboolean divide = raster->premultiplied && ! format->premultiplied && ! drop;
  Raster  *result = raster_new (raster->width, raster->height, raster->channels - drop, bits, error);
  gsize    count = (gsize) raster->width * raster->height;

  if (! result)
    return NULL;
  raster_copy_notes (result, raster);
  result->premultiplied = raster->premultiplied && ! divide;
  for (gsize i = 0; i < count; i++)
    {
      double alpha = divide ? raster_get (raster, (i + 1) * raster->channels - 1) : 1;

      for (int c = 0; c < result->channels; c++)
        {
          double value = raster_get (raster, i * raster->channels + c);

          raster_set (result, i * result->channels + c, c < raster->channels - 1 && alpha > 0 ? value / alpha : value);
        }
    }
  return result;
}

static gboolean
encode_and_sync (const Format *format, const Raster *raster, FILE *file, GError **error)
{
  errno = 0;
  if (! format->encode (raster, file, error))
    return FALSE;
  if (fflush (file) != 0 || ferror (file) || fsync (fileno (file)) != 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", g_strerror (errno ? errno : EIO));
      return FALSE;
    }
  return TRUE;
}

/* Where the file really goes: a link's target is replaced, not the link. */
static char *
resolve (const char *path)
{
  char *real = realpath (path, NULL);
  char *result = g_strdup (real ? real : path);

  free (real);
  return result;
}

gboolean
raster_write (const Raster *raster, const char *path, GError **error)
{
  g_autofree char *target = resolve (path), *temporary = g_strdup_printf ("%s.XXXXXX", target);
  g_autoptr (Raster) converted = NULL;
  const Format *format = find_format (path, error);
  GStatBuf      status;
  gboolean      written;
  FILE         *file;
  int           fd;

  if (! format || ! raster_check_target (path, raster, error))
    return FALSE;
  if (raster->bits > format->most_bits || (raster_has_alpha (raster) && ! format->alpha)
      || (raster->premultiplied && ! format->premultiplied))
    {
      converted = convert (raster, format, error);
      if (! converted)
        return FALSE;
      raster = converted;
    }
  fd = g_mkstemp_full (temporary, O_RDWR | O_CLOEXEC, 0666);
  file = fd >= 0 ? fdopen (fd, "w+b") : NULL;
  if (! file)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "\"%s\" could not be written: %s", path,
                   g_strerror (errno));
      if (fd >= 0)
        {
          close (fd);
          g_unlink (temporary);
        }
      return FALSE;
    }
  written = encode_and_sync (format, raster, file, error);
  if (written && g_stat (target, &status) == 0)
    written = fchmod (fd, status.st_mode & 0777) == 0 || errno == EPERM || errno == ENOTSUP;
  if (fclose (file) != 0 || (written && g_rename (temporary, target) != 0))
    written = FALSE;
  if (! written)
    {
      if (error && ! *error)
        g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", g_strerror (errno));
      g_prefix_error (error, "\"%s\" could not be written: ", path);
      g_unlink (temporary);
    }
  return written;
}
