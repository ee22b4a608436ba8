/* gimp-diffusion: TIFF files, by libtiff
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "raster.h"

#include "diffusion.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <tiffio.h>
#include <unistd.h>

#define INCH 0.0254

/* Beyond this many bytes of samples a file might not fit the 32-bit offsets of the classic format. */
#define CLASSIC_MOST ((gsize) 3 << 30)

/* What libtiff calls its client: memory when reading, a descriptor when writing. */
typedef struct
{
  const guint8 *data;
  gsize         size, position;
  int           fd;
  GError       *error; /* the first one */
} Client;

static void
on_error (thandle_t handle, const char *module, const char *format, va_list arguments)
{
  Client *self = handle;

  if (self && ! self->error)
    {
      g_autofree char *message = g_strdup_vprintf (format, arguments);

      self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                                 "the TIFF file is truncated, damaged or of an unknown kind (%s)", message);
    }
}

static void
start (void)
{
  TIFFSetErrorHandler (NULL);
  TIFFSetWarningHandler (NULL);
  TIFFSetErrorHandlerExt (on_error);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static tmsize_t
memory_read (thandle_t handle, void *to, tmsize_t count)
{
  Client *self = handle;
  gsize   rest = self->position < self->size ? self->size - self->position : 0;
  gsize   some = MIN (rest, (gsize) count);

  memcpy (to, self->data + self->size - rest, some);
  self->position += some;
  return some;
}

static tmsize_t
memory_write (thandle_t handle, void *from, tmsize_t count)
{
  return 0;
}

static toff_t
memory_seek (thandle_t handle, toff_t offset, int whence)
{
  Client *self = handle;

  self->position = offset + (whence == SEEK_CUR ? self->position : whence == SEEK_END ? self->size : 0);
  return self->position;
}

static int
nothing_to_close (thandle_t handle)
{
  return 0;
}

static toff_t
memory_size (thandle_t handle)
{
  return ((Client *) handle)->size;
}

typedef struct
{
  uint32_t  width, height;
  uint16_t  bits, samples, format, photometric, planar, extras, orientation, compression;
  uint16_t *extra;
} Layout;

static void
read_layout (TIFF *tiff, Layout *layout)
{
  memset (layout, 0, sizeof *layout);
  TIFFGetField (tiff, TIFFTAG_IMAGEWIDTH, &layout->width);
  TIFFGetField (tiff, TIFFTAG_IMAGELENGTH, &layout->height);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_BITSPERSAMPLE, &layout->bits);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_SAMPLESPERPIXEL, &layout->samples);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_SAMPLEFORMAT, &layout->format);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_PLANARCONFIG, &layout->planar);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_EXTRASAMPLES, &layout->extras, &layout->extra);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_ORIENTATION, &layout->orientation);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_COMPRESSION, &layout->compression);
  TIFFGetField (tiff, TIFFTAG_PHOTOMETRIC, &layout->photometric);
}

/* Whether the samples can be taken as they are. */
static gboolean
is_plain (TIFF *tiff, const Layout *layout)
{
  int colours = layout->photometric == PHOTOMETRIC_RGB ? 3 : 1;

  if (layout->photometric == PHOTOMETRIC_YCBCR && layout->compression == COMPRESSION_JPEG && layout->bits == 8
      && layout->samples == 3 && layout->planar == PLANARCONFIG_CONTIG)
    return TIFFSetField (tiff, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
  if (layout->photometric != PHOTOMETRIC_RGB && layout->photometric != PHOTOMETRIC_MINISBLACK
      && layout->photometric != PHOTOMETRIC_MINISWHITE)
    return FALSE;
  if (layout->samples < colours)
    return FALSE;
  return layout->format == SAMPLEFORMAT_IEEEFP
             ? layout->bits == 32
             : layout->format == SAMPLEFORMAT_UINT && (layout->bits == 8 || layout->bits == 16);
}

/* Puts count pixels at (x, y): the first `channels` of the source's samples, from channel `first` on. */
static void
put_pixels (Raster *raster, int x, int y, int count, int first, int channels, const guint8 *from, int samples)
{
  int     bytes = raster->bits / 8;
  guint8 *to = raster->data + y * raster_stride (raster) + ((gsize) x * raster->channels + first) * bytes;

  for (int i = 0; i < count; i++, to += raster->channels * bytes, from += samples * bytes)
    memcpy (to, from, channels * bytes);
}

static gboolean
read_plain (TIFF *tiff, const Layout *layout, Raster *raster)
{
  gboolean           apart = layout->planar == PLANARCONFIG_SEPARATE, tiled = TIFFIsTiled (tiff);
  int                planes = apart ? raster->channels : 1, samples = apart ? 1 : layout->samples;
  int                channels = apart ? 1 : raster->channels;
  uint32_t           tile_width = raster->width, tile_height = 1;
  tmsize_t           size = tiled ? TIFFTileSize (tiff) : TIFFScanlineSize (tiff);
  g_autofree guint8 *piece = size > 0 ? g_try_malloc (size) : NULL;

  if (tiled)
    {
      TIFFGetField (tiff, TIFFTAG_TILEWIDTH, &tile_width);
      TIFFGetField (tiff, TIFFTAG_TILELENGTH, &tile_height);
    }
  if (! piece || (gsize) size / samples / (raster->bits / 8) / tile_height < tile_width)
    return FALSE;
  for (int plane = 0; plane < planes; plane++)
    for (uint32_t y = 0; y < (uint32_t) raster->height; y += tile_height)
      for (uint32_t x = 0; x < (uint32_t) raster->width; x += tile_width)
        {
          uint32_t rows = MIN (tile_height, raster->height - y), count = MIN (tile_width, raster->width - x);

          if ((tiled ? TIFFReadTile (tiff, piece, x, y, 0, plane) : TIFFReadScanline (tiff, piece, y, plane)) < 0)
            return FALSE;
          for (uint32_t i = 0; i < rows; i++)
            put_pixels (raster, x, y + i, count, plane, channels,
                        piece + (gsize) i * tile_width * samples * (raster->bits / 8), samples);
        }
  return TRUE;
}

/* Palettes, bitmaps and the like, by libtiff's own conversion to 8 bits. */
static gboolean
read_converted (TIFF *tiff, const Layout *layout, Raster *raster)
{
  gsize                count = (gsize) raster->width * raster->height;
  g_autofree uint32_t *pixels = g_try_new (uint32_t, count);

  if (! pixels || ! TIFFReadRGBAImageOriented (tiff, raster->width, raster->height, pixels, layout->orientation, 1))
    return FALSE;
  for (gsize i = 0; i < count; i++)
    for (int c = 0; c < raster->channels; c++)
      raster->data[i * raster->channels + c] = pixels[i] >> (8 * c) & 0xff;
  return TRUE;
}

static gboolean
finish_samples (Raster *raster, gboolean invert, Client *client)
{
  gsize count = (gsize) raster->width * raster->height * raster->channels;

  for (gsize i = 0; invert && i < count; i += raster->channels)
    raster_set (raster, i, 1 - raster_get (raster, i));
  for (gsize i = 0; raster->bits == 32 && i < count; i++)
    if (! isfinite (raster_get (raster, i)))
      {
        client->error
            = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "it has pixels that are not finite numbers");
        return FALSE;
      }
  return TRUE;
}

static void
read_notes (TIFF *tiff, Raster *raster)
{
  uint32_t size = 0;
  void    *data = NULL;
  uint16_t unit = RESUNIT_INCH;
  float    x = 0, y = 0;

  if (TIFFGetField (tiff, TIFFTAG_ICCPROFILE, &size, &data) && size > 0)
    raster->profile = g_bytes_new (data, size);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_RESOLUTIONUNIT, &unit);
  if (unit != RESUNIT_NONE && TIFFGetField (tiff, TIFFTAG_XRESOLUTION, &x)
      && TIFFGetField (tiff, TIFFTAG_YRESOLUTION, &y))
    {
      raster->density_x = unit == RESUNIT_CENTIMETER ? x * 100.0 : x / INCH;
      raster->density_y = unit == RESUNIT_CENTIMETER ? y * 100.0 : y / INCH;
    }
}

/* A camera's raw file is a TIFF file, too, whose first picture is a small one to show in lists. */
static gboolean
is_raw (TIFF *tiff)
{
  uint32_t kind = 0;
  void    *version = NULL;

  TIFFGetFieldDefaulted (tiff, TIFFTAG_SUBFILETYPE, &kind);
  return (kind & FILETYPE_REDUCEDIMAGE) || TIFFGetField (tiff, TIFFTAG_DNGVERSION, &version);
}

/* Whether pictures follow that are no reduced versions or masks of the first one; leaves the file at that. */
static gboolean
has_pages (TIFF *tiff)
{
  gboolean found = FALSE;

  while (! found && ! TIFFLastDirectory (tiff) && TIFFReadDirectory (tiff))
    {
      uint32_t kind = 0;

      TIFFGetFieldDefaulted (tiff, TIFFTAG_SUBFILETYPE, &kind);
      found = ! (kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK));
    }
  return ! TIFFSetDirectory (tiff, 0) || found;
}

static Raster *
decode (TIFF *tiff, Client *client)
{
  g_autoptr (Raster) raster = NULL;
  Layout   layout;
  gboolean plain, grey, alpha, read;
  gboolean raw = is_raw (tiff), pages = ! raw && has_pages (tiff);

  g_clear_error (&client->error); /* what was wrong with pages that are not read does not matter */
  if (raw || pages)
    {
      client->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                                   raw ? "it is a camera's raw file: develop it first"
                                       : "it has several pages: save the one that is meant as a file of its own");
      return NULL;
    }
  read_layout (tiff, &layout);
  if (layout.width > G_MAXINT || layout.height > G_MAXINT || layout.photometric == PHOTOMETRIC_SEPARATED
      || layout.photometric == PHOTOMETRIC_CIELAB)
    {
      client->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                                   "it is not a grey or RGB picture: convert it to RGB first, for example with GIMP");
      return NULL;
    }
  plain = is_plain (tiff, &layout);
  grey = layout.photometric == PHOTOMETRIC_MINISBLACK || layout.photometric == PHOTOMETRIC_MINISWHITE;
  alpha = plain && layout.extras > 0 && layout.samples > (grey ? 1 : 3);
  raster = raster_new (layout.width, layout.height, (grey ? 1 : 3) + alpha, plain ? layout.bits : 8, &client->error);
  if (! raster)
    return NULL;
  raster->premultiplied = alpha && layout.extra[0] == EXTRASAMPLE_ASSOCALPHA;
  read = plain ? read_plain (tiff, &layout, raster) : read_converted (tiff, &layout, raster);
  if (! read || ! finish_samples (raster, plain && layout.photometric == PHOTOMETRIC_MINISWHITE, client))
    return NULL;
  read_notes (tiff, raster);
  return raster_orient (raster, layout.orientation, &client->error) ? g_steal_pointer (&raster) : NULL;
}

Raster *
raster_tiff_decode (const guint8 *data, gsize size, GError **error)
{
  Client  client = { .data = data, .size = size };
  Raster *raster = NULL;
  TIFF   *tiff;

  start ();
  tiff = TIFFClientOpen ("picture", "rm", &client, memory_read, memory_write, memory_seek, nothing_to_close,
                         memory_size, NULL, NULL);
  if (tiff)
    {
      raster = decode (tiff, &client);
      TIFFClose (tiff);
    }
  /* A picture that came out whole is worth more than a complaint about some tag. */
  if (raster)
    g_clear_error (&client.error);
  else if (client.error)
    g_propagate_error (error, client.error);
  else
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the TIFF file is truncated or damaged");
  return raster;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static tmsize_t
file_read (thandle_t handle, void *to, tmsize_t count)
{
  return read (((Client *) handle)->fd, to, count);
}

static tmsize_t
file_write (thandle_t handle, void *from, tmsize_t count)
{
  Client  *self = handle;
  tmsize_t done = 0;

  while (done < count)
    {
      ssize_t some = write (self->fd, (const char *) from + done, count - done);

      if (some < 0 && errno == EINTR)
        continue;
      if (some <= 0)
        {
          if (! self->error)
            self->error
                = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", g_strerror (some < 0 ? errno : ENOSPC));
          break;
        }
      done += some;
    }
  return done;
}

static toff_t
file_seek (thandle_t handle, toff_t offset, int whence)
{
  return lseek (((Client *) handle)->fd, offset, whence);
}

static toff_t
file_size (thandle_t handle)
{
  int   fd = ((Client *) handle)->fd;
  off_t here = lseek (fd, 0, SEEK_CUR), end = lseek (fd, 0, SEEK_END);

  lseek (fd, here, SEEK_SET);
  return end;
}

static void
write_header (TIFF *tiff, const Raster *raster)
{
  uint16_t extra = raster->premultiplied ? EXTRASAMPLE_ASSOCALPHA : EXTRASAMPLE_UNASSALPHA;

  TIFFSetField (tiff, TIFFTAG_IMAGEWIDTH, raster->width);
  TIFFSetField (tiff, TIFFTAG_IMAGELENGTH, raster->height);
  TIFFSetField (tiff, TIFFTAG_BITSPERSAMPLE, raster->bits);
  TIFFSetField (tiff, TIFFTAG_SAMPLESPERPIXEL, raster->channels);
  TIFFSetField (tiff, TIFFTAG_SAMPLEFORMAT, raster->bits == 32 ? SAMPLEFORMAT_IEEEFP : SAMPLEFORMAT_UINT);
  TIFFSetField (tiff, TIFFTAG_PHOTOMETRIC, raster->channels < 3 ? PHOTOMETRIC_MINISBLACK : PHOTOMETRIC_RGB);
  TIFFSetField (tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  TIFFSetField (tiff, TIFFTAG_ORIENTATION, ORIENTATION_TOPLEFT);
  if (raster_has_alpha (raster))
    TIFFSetField (tiff, TIFFTAG_EXTRASAMPLES, 1, &extra);
  TIFFSetField (tiff, TIFFTAG_COMPRESSION,
                TIFFIsCODECConfigured (COMPRESSION_ADOBE_DEFLATE) ? COMPRESSION_ADOBE_DEFLATE : COMPRESSION_LZW);
  TIFFSetField (tiff, TIFFTAG_PREDICTOR, raster->bits == 32 ? PREDICTOR_FLOATINGPOINT : PREDICTOR_HORIZONTAL);
  TIFFSetField (tiff, TIFFTAG_ROWSPERSTRIP, TIFFDefaultStripSize (tiff, 0));
  if (raster->profile)
    TIFFSetField (tiff, TIFFTAG_ICCPROFILE, (uint32_t) g_bytes_get_size (raster->profile),
                  g_bytes_get_data (raster->profile, NULL));
  if (raster->density_x > 0 && raster->density_y > 0)
    {
      TIFFSetField (tiff, TIFFTAG_RESOLUTIONUNIT, RESUNIT_INCH);
      TIFFSetField (tiff, TIFFTAG_XRESOLUTION, raster->density_x * INCH);
      TIFFSetField (tiff, TIFFTAG_YRESOLUTION, raster->density_y * INCH);
    }
}

gboolean
raster_tiff_encode (const Raster *raster, FILE *file, GError **error)
{
  Client             client = { .fd = fileno (file) };
  gsize              stride = raster_stride (raster);
  g_autofree guint8 *row = g_try_malloc (stride); /* libtiff's predictors change what they are given */
  gboolean           done = FALSE;
  TIFF              *tiff;

  if (! row)
    return raster_no_memory (raster->width, raster->height, error);
  start ();
  tiff = TIFFClientOpen ("picture", stride > CLASSIC_MOST / raster->height ? "w8" : "w", &client, file_read, file_write,
                         file_seek, nothing_to_close, file_size, NULL, NULL);
  if (tiff)
    {
      write_header (tiff, raster);
      done = TRUE;
      for (int y = 0; done && y < raster->height; y++)
        {
          memcpy (row, raster->data + y * stride, stride);
          done = TIFFWriteScanline (tiff, row, y, 0) >= 0;
        }
      TIFFClose (tiff);
    }
  if (client.error) /* closing writes too, and only says so here */
    {
      g_propagate_error (error, client.error);
      return FALSE;
    }
  if (! done)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the TIFF file could not be encoded");
  return done;
}
