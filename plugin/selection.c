/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <glib/gi18n.h>

#include "engine/diffusion.h"
#include "selection.h"
#include "strips.h"

enum
{
  /* Pixels that a checksum is made of, for it is made while the dialog stands still: of a larger selection only some
   * strips are read, and a change between them goes unnoticed. */
  CHECKED = 500 * 1000
};

GeglBuffer *
selection_get_buffer (HostDrawable drawable)
{
  const HostImage image = gimp_item_get_image (GIMP_ITEM (drawable));

  return gimp_drawable_get_buffer (GIMP_DRAWABLE (gimp_image_get_selection (image)));
}

static gboolean
has_selection (HostDrawable drawable)
{
  return ! gimp_selection_is_empty (gimp_item_get_image (GIMP_ITEM (drawable)));
}

/* Takes bytes of the selection, in its own format; FALSE: has seen enough. */
typedef gboolean (*Look) (const guchar *bytes, gsize n, gpointer data);

/* Shows the strips of the selection in a rectangle of the drawable, of `apart` strips one; they end where rows of tiles
 * do. */
static void
look_at_strips (HostDrawable drawable, const GeglRectangle *rect, int apart, Look look, gpointer data)
{
  g_autoptr (GeglBuffer) selection = selection_get_buffer (drawable);
  const Babl        *format = gegl_buffer_get_format (selection);
  const gsize        row = (gsize) rect->width * babl_format_get_bytes_per_pixel (format);
  g_autofree guchar *bytes = g_malloc (row * STRIP);
  gboolean           more = TRUE;
  int                left, top, end;

  gimp_drawable_get_offsets (drawable, &left, &top);
  end = rect->y + top + rect->height;
  for (int y = rect->y + top, height; more && y < end; y += height + (apart - 1) * STRIP)
    {
      height = strip_height (y, end);

      const GeglRectangle strip = { rect->x + left, y, rect->width, height };

      gegl_buffer_get (selection, &strip, 1.0, format, bytes, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      more = look (bytes, row * height, data);
    }
}

static gboolean
add_to_checksum (const guchar *bytes, gsize n, gpointer data)
{
  guint64 *checksum = data;

  *checksum = strip_checksum (*checksum, bytes, n);
  return TRUE;
}

static gboolean
is_nothing (const guchar *bytes, gsize n, gpointer data)
{
  gboolean *any = data;

  for (gsize i = 0; i < n && ! *any; i++)
    *any = bytes[i] != 0;
  return ! *any;
}

GeglRectangle
selection_get_bounds (HostDrawable drawable)
{
  GeglRectangle rect;

  /* GIMP would show the user an error of its own. */
  if (! gimp_item_is_valid (GIMP_ITEM (drawable))
      || ! gimp_drawable_mask_intersect (drawable, &rect.x, &rect.y, &rect.width, &rect.height))
    return (GeglRectangle){ 0, 0, 0, 0 };
  return rect;
}

Selection
selection_look (HostDrawable drawable)
{
  Selection    selection = { .bounds = selection_get_bounds (drawable) };
  const gint64 pixels = (gint64) selection.bounds.width * selection.bounds.height;

  selection.any = gimp_item_is_valid (GIMP_ITEM (drawable)) && has_selection (drawable);
  if (selection.any && pixels > 0)
    look_at_strips (drawable, &selection.bounds, (int) ((pixels - 1) / CHECKED) + 1, add_to_checksum,
                    &selection.checksum);
  return selection;
}

gboolean
selection_equal (const Selection *a, const Selection *b)
{
  return gegl_rectangle_equal (&a->bounds, &b->bounds) && a->any == b->any && a->checksum == b->checksum;
}

gboolean
selection_fail_beside (GError **error)
{
  g_set_error_literal (
      error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
      C_ ("error", "The selection does not touch the layer; move the selection or choose another layer."));
  return FALSE;
}

gboolean
selection_find (HostDrawable drawable, GeglRectangle *rect, GError **error)
{
  *rect = selection_get_bounds (drawable);
  return rect->width > 0 || selection_fail_beside (error);
}

/* The selection's bounds may reach over a drawable that lies between its parts.  Most often the first rows tell. */
static gboolean
is_any_selected (HostDrawable drawable, const GeglRectangle *rect)
{
  gboolean any = ! has_selection (drawable);

  if (! any)
    look_at_strips (drawable, rect, 1, is_nothing, &any);
  return any;
}

gboolean
selection_check (HostDrawable drawable, gboolean needed, GError **error)
{
  GeglRectangle rect;

  if (! needed || has_selection (drawable))
    return selection_find (drawable, &rect, error)
           && (is_any_selected (drawable, &rect) || selection_fail_beside (error));
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                       C_ ("error", "Nothing is selected; select what is to be replaced, a little generously."));
  return FALSE;
}
