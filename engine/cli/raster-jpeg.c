/* gimp-diffusion: JPEG files, by libjpeg
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "raster.h"

#include "diffusion.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <jpeglib.h>
#include <jerror.h>

#define EXIF_MARKER    (JPEG_APP0 + 1)
#define EXIF_NAME      "Exif\0"
#define EXIF_NAME_SIZE 6
#define MARKER_MOST    65533
#define QUALITY        95
#define INCH           0.0254

/* libjpeg leaves by longjmp: whatever must survive that lives in here. */
typedef struct
{
  struct jpeg_error_mgr manager;
  jmp_buf               leave;
  GError               *error;
  Raster               *raster;
  JOCTET               *profile;
  unsigned int          profile_size;
} Jpeg;

G_GNUC_NORETURN static void
on_error (j_common_ptr info)
{
  Jpeg *self = (Jpeg *) info->err;
  char  message[JMSG_LENGTH_MAX];

  if (info->err->msg_code == JERR_FILE_WRITE)
    g_strlcpy (message, g_strerror (errno), sizeof message);
  else
    info->err->format_message (info, message);
  if (! self->error)
    self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s", message);
  longjmp (self->leave, 1);
}

/* libjpeg fills what is missing with grey and only warns.  Bytes too many between two segments do no harm. */
static void
on_message (j_common_ptr info, int level)
{
  Jpeg *self = (Jpeg *) info->err;
  int   code = info->err->msg_code;

  if (level >= 0 || (code != JWRN_JPEG_EOF && code != JWRN_HIT_MARKER && code != JWRN_HUFF_BAD_CODE))
    return;
  if (! self->error)
    self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the JPEG file is truncated or damaged");
  longjmp (self->leave, 1);
}

static void
on_output (j_common_ptr info)
{
}

static void
init_errors (Jpeg *self)
{
  jpeg_std_error (&self->manager);
  self->manager.error_exit = on_error;
  self->manager.emit_message = on_message;
  self->manager.output_message = on_output;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void
read_notes (Jpeg *self, j_decompress_ptr info)
{
  double unit = info->density_unit == 1 ? 1 / INCH : info->density_unit == 2 ? 100 : 0;

  self->raster->density_x = info->X_density * unit;
  self->raster->density_y = info->Y_density * unit;
  if (jpeg_read_icc_profile (info, &self->profile, &self->profile_size))
    self->raster->profile = g_bytes_new (self->profile, self->profile_size);
  for (jpeg_saved_marker_ptr marker = info->marker_list; marker; marker = marker->next)
    if (marker->marker == EXIF_MARKER && marker->data_length > EXIF_NAME_SIZE && ! self->raster->exif
        && memcmp (marker->data, EXIF_NAME, EXIF_NAME_SIZE) == 0)
      self->raster->exif = g_bytes_new (marker->data + EXIF_NAME_SIZE, marker->data_length - EXIF_NAME_SIZE);
}

static gboolean
decode (Jpeg *self, j_decompress_ptr info, const guint8 *data, gsize size)
{
  if (setjmp (self->leave))
    return FALSE;
  jpeg_create_decompress (info); /* this allocates, too */
  jpeg_mem_src (info, data, size);
  jpeg_save_markers (info, EXIF_MARKER, 0xffff);
  jpeg_save_markers (info, JPEG_APP0 + 2, 0xffff);
  jpeg_read_header (info, TRUE);
  if (info->jpeg_color_space == JCS_CMYK || info->jpeg_color_space == JCS_YCCK)
    {
      self->error = g_error_new (DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                                 "it is a CMYK picture: convert it to RGB first, for example with GIMP");
      return FALSE;
    }
  info->out_color_space = info->jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_start_decompress (info);
  self->raster = raster_new (info->output_width, info->output_height, info->output_components, 8, &self->error);
  if (! self->raster)
    return FALSE;
  while (info->output_scanline < info->output_height)
    {
      JSAMPROW row = self->raster->data + info->output_scanline * raster_stride (self->raster);

      jpeg_read_scanlines (info, &row, 1);
    }
  read_notes (self, info);
  jpeg_finish_decompress (info);
  return TRUE;
}

Raster *
raster_jpeg_decode (const guint8 *data, gsize size, GError **error)
{
  struct jpeg_decompress_struct info = { 0 };
  Jpeg                          self = { 0 };

  init_errors (&self);
  info.err = &self.manager;
  if (! decode (&self, &info, data, size))
    g_clear_pointer (&self.raster, raster_free);
  jpeg_destroy_decompress (&info);
  free (self.profile);
  if (self.error)
    g_propagate_error (error, self.error);
  return self.raster;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void
write_notes (const Raster *raster, j_compress_ptr info)
{
  if (raster->exif && g_bytes_get_size (raster->exif) <= MARKER_MOST - EXIF_NAME_SIZE)
    {
      const guint8 *data = g_bytes_get_data (raster->exif, NULL);
      gsize         size = g_bytes_get_size (raster->exif);

      jpeg_write_m_header (info, EXIF_MARKER, size + EXIF_NAME_SIZE);
      for (gsize i = 0; i < EXIF_NAME_SIZE; i++)
        jpeg_write_m_byte (info, EXIF_NAME[i]);
      for (gsize i = 0; i < size; i++)
        jpeg_write_m_byte (info, data[i]);
    }
  if (raster->profile)
    jpeg_write_icc_profile (info, g_bytes_get_data (raster->profile, NULL), g_bytes_get_size (raster->profile));
}

static gboolean
encode (Jpeg *self, j_compress_ptr info, FILE *file)
{
  const Raster *raster = self->raster;

  if (setjmp (self->leave))
    return FALSE;
  jpeg_create_compress (info); /* this allocates, too */
  jpeg_stdio_dest (info, file);
  info->image_width = raster->width;
  info->image_height = raster->height;
  info->input_components = raster->channels;
  info->in_color_space = raster->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
  jpeg_set_defaults (info);
  jpeg_set_quality (info, QUALITY, TRUE);
  info->optimize_coding = TRUE;
  for (int c = 0; c < info->num_components; c++) /* colour at full resolution */
    info->comp_info[c].h_samp_factor = info->comp_info[c].v_samp_factor = 1;
  if (raster->density_x > 0 && raster->density_x < 65535 / INCH && raster->density_y > 0
      && raster->density_y < 65535 / INCH)
    {
      info->density_unit = 1;
      info->X_density = raster->density_x * INCH + 0.5;
      info->Y_density = raster->density_y * INCH + 0.5;
    }
  jpeg_start_compress (info, TRUE);
  write_notes (raster, info);
  while (info->next_scanline < info->image_height)
    {
      JSAMPROW row = raster->data + info->next_scanline * raster_stride (raster);

      jpeg_write_scanlines (info, &row, 1);
    }
  jpeg_finish_compress (info);
  return TRUE;
}

gboolean
raster_jpeg_encode (const Raster *raster, FILE *file, GError **error)
{
  struct jpeg_compress_struct info = { 0 };
  Jpeg                        self = { .raster = (Raster *) raster };
  gboolean                    done;

  init_errors (&self);
  info.err = &self.manager;
  done = encode (&self, &info, file);
  jpeg_destroy_compress (&info);
  if (self.error)
    g_propagate_error (error, self.error);
  return done;
}
