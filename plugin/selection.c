/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <glib/gi18n.h>

#include "engine/diffusion.h"
#include "selection.h"
#include "sight.h"
#include "strips.h"

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

/* A rectangle of the drawable, in the image's coordinates. */
static GeglRectangle
get_place (HostDrawable drawable, const GeglRectangle *rect)
{
  int left, top;

  gimp_drawable_get_offsets (drawable, &left, &top);
  return (GeglRectangle){ rect->x + left, rect->y + top, rect->width, rect->height };
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
  Selection selection = { .bounds = selection_get_bounds (drawable) };

  selection.any = gimp_item_is_valid (GIMP_ITEM (drawable)) && has_selection (drawable);
  if (selection.any && selection.bounds.width > 0)
    {
      const GeglRectangle place = get_place (drawable, &selection.bounds);
      g_autoptr (GeglBuffer) buffer = selection_get_buffer (drawable);

      selection.checksum = sight_checksum (buffer, &place);
    }
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
  const GeglRectangle place = get_place (drawable, rect);
  g_autoptr (GeglBuffer) selection = NULL;
  g_autofree guchar *bytes = NULL;
  const Babl        *format;
  gsize              row;
  gboolean           any = ! has_selection (drawable);

  if (any)
    return TRUE;
  selection = selection_get_buffer (drawable);
  format = gegl_buffer_get_format (selection);
  row = (gsize) place.width * babl_format_get_bytes_per_pixel (format);
  bytes = g_malloc (row * strip_height_most (place.width));
  for (int y = place.y, height; ! any && y < place.y + place.height; y += height)
    {
      height = strip_height (y, place.y + place.height, place.width);
      gegl_buffer_get (selection, GEGL_RECTANGLE (place.x, y, place.width, height), 1.0, format, bytes,
                       GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      for (gsize i = 0; i < row * height && ! any; i++)
        any = bytes[i] != 0;
    }
  return any;
}

gboolean
selection_check (HostDrawable drawable, gboolean needed, GeglRectangle *rect, GError **error)
{
  GeglRectangle own;

  if (! rect)
    rect = &own;
  if (! needed || has_selection (drawable))
    return selection_find (drawable, rect, error)
           && (is_any_selected (drawable, rect) || selection_fail_beside (error));
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                       C_ ("error", "Nothing is selected; select what is to be replaced, a little generously."));
  return FALSE;
}
