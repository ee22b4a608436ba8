/* gimp-diffusion: PNG files, by libpng
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "raster.h"

#include "diffusion.h"

#include <errno.h>
#include <png.h>
#include <string.h>

/* libpng leaves by longjmp: whatever must survive that lives in here. */
typedef struct
{
  png_structp   png;
  png_infop     info;
  const guint8 *data; /* when decoding */
  gsize         size, position;
  FILE         *file; /* when encoding */
  Raster       *raster;
  GError       *error;
} Png;

static void
on_error (png_structp png, png_const_charp message)
{
  Png *self = png_get_error_ptr (png);

  if (! self->error)
    self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                               self->file ? "it could not be encoded (%s)" : "the PNG file is damaged (%s)", message);
  png_longjmp (png, 1);
}

static void
on_warning (png_structp png, png_const_charp message)
{
}

static void
on_read (png_structp png, png_bytep to, size_t count)
{
  Png *self = png_get_io_ptr (png);

  if (count > self->size - self->position)
    {
      self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the PNG file is truncated");
      png_error (png, "truncated");
    }
  memcpy (to, self->data + self->position, count);
  self->position += count;
}

static void
on_write (png_structp png, png_bytep from, size_t count)
{
  Png *self = png_get_io_ptr (png);

  if (fwrite (from, 1, count, self->file) != count)
    {
      self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", g_strerror (errno));
      png_error (png, "write");
    }
}

static void
on_flush (png_structp png)
{
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void
read_notes (Png *self)
{
  png_structp png = self->png;
  png_infop   info = self->info;
  Raster     *raster = self->raster;
  png_charp   name;
  png_bytep   bytes;
  png_uint_32 size, x, y;
  int         method, unit;

  if (png_get_iCCP (png, info, &name, &method, &bytes, &size))
    raster->profile = g_bytes_new (bytes, size);
  if (png_get_pHYs (png, info, &x, &y, &unit) && unit == PNG_RESOLUTION_METER)
    {
      raster->density_x = x;
      raster->density_y = y;
    }
#ifdef PNG_eXIf_SUPPORTED
  if (png_get_eXIf_1 (png, info, &size, &bytes))
    raster->exif = g_bytes_new (bytes, size);
#endif
  raster->png_colour.has_intent = png_get_sRGB (png, info, &raster->png_colour.intent) != 0;
  raster->png_colour.has_gamma = png_get_gAMA_fixed (png, info, &raster->png_colour.gamma) != 0;
  {
    gint32 *p = raster->png_colour.primaries;

    raster->png_colour.has_primaries
        = png_get_cHRM_fixed (png, info, p, p + 1, p + 2, p + 3, p + 4, p + 5, p + 6, p + 7) != 0;
  }
}

static gboolean
decode (Png *self)
{
  png_structp png = self->png;
  png_infop   info = self->info;
  int         passes;

  if (setjmp (png_jmpbuf (png)))
    return FALSE;
  png_set_read_fn (png, self, on_read);
  png_read_info (png, info);
  png_set_expand (png); /* palettes, less than 8 bits and transparent colours become plain samples */
  if (G_BYTE_ORDER == G_LITTLE_ENDIAN)
    png_set_swap (png);
  passes = png_set_interlace_handling (png);
  png_read_update_info (png, info);
  self->raster = raster_new (png_get_image_width (png, info), png_get_image_height (png, info),
                             png_get_channels (png, info), png_get_bit_depth (png, info), &self->error);
  if (! self->raster)
    return FALSE;
  for (int pass = 0; pass < passes; pass++)
    for (int y = 0; y < self->raster->height; y++)
      png_read_row (png, self->raster->data + y * raster_stride (self->raster), NULL);
  png_read_end (png, info);
  read_notes (self);
  return TRUE;
}

Raster *
raster_png_decode (const guint8 *data, gsize size, GError **error)
{
  Png self = { .data = data, .size = size };

  self.png = png_create_read_struct (PNG_LIBPNG_VER_STRING, &self, on_error, on_warning);
  self.info = self.png ? png_create_info_struct (self.png) : NULL;
  if (! self.info)
    self.error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY, "libpng could not be started");
  else if (! decode (&self))
    g_clear_pointer (&self.raster, raster_free);
  png_destroy_read_struct (&self.png, &self.info, NULL);
  if (self.error)
    g_propagate_error (error, self.error);
  return self.raster;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void
write_notes (Png *self)
{
  png_structp            png = self->png;
  png_infop              info = self->info;
  const Raster          *raster = self->raster;
  const RasterPngColour *colour = &raster->png_colour;
  const gint32          *p = colour->primaries;

  /* A profile that libpng finds fault with is left out rather than being an error. */
  png_set_benign_errors (png, 1);
  if (raster->profile)
    png_set_iCCP (png, info, "ICC profile", PNG_COMPRESSION_TYPE_BASE, g_bytes_get_data (raster->profile, NULL),
                  g_bytes_get_size (raster->profile));
  else if (colour->has_intent)
    png_set_sRGB (png, info, colour->intent);
  if (colour->has_gamma)
    png_set_gAMA_fixed (png, info, colour->gamma);
  if (colour->has_primaries)
    png_set_cHRM_fixed (png, info, p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]);
  if (raster->density_x > 0 && raster->density_y > 0)
    png_set_pHYs (png, info, raster->density_x + 0.5, raster->density_y + 0.5, PNG_RESOLUTION_METER);
#ifdef PNG_eXIf_SUPPORTED
  if (raster->exif)
    png_set_eXIf_1 (png, info, g_bytes_get_size (raster->exif), (png_bytep) g_bytes_get_data (raster->exif, NULL));
#endif
}

static gboolean
encode (Png *self)
{
  static const int types[]
      = { 0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA, PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA };
  png_structp   png = self->png;
  const Raster *raster = self->raster;

  if (setjmp (png_jmpbuf (png)))
    return FALSE;
  png_set_write_fn (png, self, on_write, on_flush);
  png_set_IHDR (png, self->info, raster->width, raster->height, raster->bits, types[raster->channels],
                PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  write_notes (self);
  png_write_info (png, self->info);
  if (G_BYTE_ORDER == G_LITTLE_ENDIAN)
    png_set_swap (png);
  for (int y = 0; y < raster->height; y++)
    png_write_row (png, raster->data + y * raster_stride (raster));
  png_write_end (png, NULL);
  return TRUE;
}

gboolean
raster_png_encode (const Raster *raster, FILE *file, GError **error)
{
  Png      self = { .file = file, .raster = (Raster *) raster };
  gboolean done = FALSE;

  self.png = png_create_write_struct (PNG_LIBPNG_VER_STRING, &self, on_error, on_warning);
  self.info = self.png ? png_create_info_struct (self.png) : NULL;
  if (! self.info)
    self.error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY, "libpng could not be started");
  else
    done = encode (&self);
  png_destroy_write_struct (&self.png, &self.info);
  if (self.error)
    g_propagate_error (error, self.error);
  return done;
}
