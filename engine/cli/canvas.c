/* gimp-diffusion: pictures that the program draws
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "canvas.h"

#include "raster.h"

#define FONT "sans-serif"

static gboolean
check (cairo_status_t status, GError **error)
{
  if (status != CAIRO_STATUS_SUCCESS)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY, "The picture could not be drawn: %s",
                 cairo_status_to_string (status));
  return status == CAIRO_STATUS_SUCCESS;
}

cairo_t *
canvas_new (int width, int height, GError **error)
{
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24, width, height);
  g_autoptr (cairo_t) canvas = cairo_create (surface);

  cairo_surface_destroy (surface); /* the canvas holds it now */
  if (! check (cairo_status (canvas), error))
    return NULL;
  cairo_set_source_rgb (canvas, 1, 1, 1);
  cairo_paint (canvas);
  cairo_set_source_rgb (canvas, 0, 0, 0);
  return g_steal_pointer (&canvas);
}

/* ---- pixels ------------------------------------------------------------------------------------------------------ */

/* Cairo's pixels are words 0xXXRRGGBB in the machine's order, in rows with padding. */
static inline guint32 *
get_row (cairo_surface_t *surface, int y)
{
  return (guint32 *) (gpointer) (cairo_image_surface_get_data (surface)
                                 + (gsize) y * cairo_image_surface_get_stride (surface));
}

static inline guint32
to_byte (float value)
{
  return CLAMP (value, 0.0f, 1.0f) * 255 + 0.5f;
}

static cairo_surface_t *
surface_from_picture (const DiffusionPicture *picture, GError **error)
{
  cairo_surface_t *surface = cairo_image_surface_create (CAIRO_FORMAT_RGB24, picture->width, picture->height);
  const float     *value = picture->data;

  if (! check (cairo_surface_status (surface), error))
    {
      cairo_surface_destroy (surface);
      return NULL;
    }
  cairo_surface_flush (surface);
  for (int y = 0; y < picture->height; y++)
    for (int x = 0; x < picture->width; x++, value += 3)
      get_row (surface, y)[x] = to_byte (value[0]) << 16 | to_byte (value[1]) << 8 | to_byte (value[2]);
  cairo_surface_mark_dirty (surface);
  return surface;
}

gboolean
canvas_picture (cairo_t *canvas, int x, int y, const DiffusionPicture *picture, GError **error)
{
  cairo_surface_t *surface = surface_from_picture (picture, error);

  if (! surface)
    return FALSE;
  cairo_save (canvas);
  cairo_set_source_surface (canvas, surface, x, y);
  cairo_paint (canvas);
  cairo_restore (canvas);
  cairo_surface_destroy (surface);
  return TRUE;
}

DiffusionPicture *
canvas_reduce (const DiffusionPicture *picture, const char *path, int edge, GError **error)
{
  double           scale = (double) edge / MAX (picture->width, picture->height);
  int              width = MAX (picture->width * scale + 0.5, 1), height = MAX (picture->height * scale + 0.5, 1);
  cairo_surface_t *surface, *target;
  g_autoptr (cairo_t) canvas = NULL;
  g_autoptr (DiffusionPicture) reduced = NULL;
  float *value;

  if (scale >= 1)
    return diffusion_picture_copy (picture, error);
  if (MAX (picture->width, picture->height) > CANVAS_EDGE_MOST)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                   "\"%s\" has %d x %d pixels, but no more than %d each way can be drawn", path, picture->width,
                   picture->height, CANVAS_EDGE_MOST);
      return NULL;
    }
  surface = surface_from_picture (picture, error);
  canvas = surface ? canvas_new (width, height, error) : NULL;
  if (canvas)
    {
      /* Padded, so that the frame does not fade into the white beyond. */
      cairo_scale (canvas, (double) width / picture->width, (double) height / picture->height);
      cairo_set_source_surface (canvas, surface, 0, 0);
      cairo_pattern_set_filter (cairo_get_source (canvas), CAIRO_FILTER_GOOD);
      cairo_pattern_set_extend (cairo_get_source (canvas), CAIRO_EXTEND_PAD);
      cairo_paint (canvas);
    }
  if (surface)
    cairo_surface_destroy (surface);
  if (! canvas || ! check (cairo_status (canvas), error)
      || ! (reduced = diffusion_picture_new (width, height, 3, error)))
    return NULL;
  target = cairo_get_target (canvas);
  cairo_surface_flush (target);
  value = reduced->data;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int shift = 16; shift >= 0; shift -= 8)
        *value++ = (get_row (target, y)[x] >> shift & 255) / 255.0f;
  return g_steal_pointer (&reduced);
}

DiffusionPicture *
canvas_even (const DiffusionPicture *like, int channels, double value, GError **error)
{
  DiffusionPicture *picture = diffusion_picture_new (like->width, like->height, channels, error);
  gsize             count = picture ? (gsize) picture->width * picture->height * channels : 0;

  for (gsize i = 0; i < count; i++)
    picture->data[i] = value;
  return picture;
}

gboolean
canvas_write (cairo_t *canvas, const char *path, GError **error)
{
  cairo_surface_t *surface = cairo_get_target (canvas);
  int              width = cairo_image_surface_get_width (surface), height = cairo_image_surface_get_height (surface);
  g_autoptr (Raster) raster = check (cairo_status (canvas), error) ? raster_new (width, height, 3, 8, error) : NULL;
  guint8 *to;

  if (! raster)
    return FALSE;
  cairo_surface_flush (surface);
  to = raster->data;
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int shift = 16; shift >= 0; shift -= 8)
        *to++ = get_row (surface, y)[x] >> shift & 255;
  return raster_write (raster, path, error);
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static void
set_font (cairo_t *canvas, double size, gboolean bold)
{
  cairo_select_font_face (canvas, FONT, CAIRO_FONT_SLANT_NORMAL,
                          bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  cairo_set_font_size (canvas, size);
}

void
canvas_text (cairo_t *canvas, double x, double y, double size, gboolean bold, const char *text)
{
  set_font (canvas, size, bold);
  cairo_move_to (canvas, x, y);
  cairo_show_text (canvas, text);
  cairo_new_path (canvas); /* the text leaves its end as a point, from which the next line would start */
}

double
canvas_text_width (cairo_t *canvas, double size, gboolean bold, const char *text)
{
  cairo_text_extents_t extents;

  set_font (canvas, size, bold);
  cairo_text_extents (canvas, text, &extents);
  return extents.x_advance;
}

void
canvas_text_centred (cairo_t *canvas, double x, double y, double size, const char *text)
{
  canvas_text (canvas, x - canvas_text_width (canvas, size, FALSE, text) / 2, y, size, FALSE, text);
}
