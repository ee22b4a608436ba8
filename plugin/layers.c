/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <string.h>

#include <glib/gi18n.h>

#include "layers.h"

/* The filtered layer's own mask, or none if it has none or does not apply it. */
static HostMask
get_applied_mask (HostDrawable drawable)
{
  const HostLayer source = GIMP_LAYER (drawable);
  const HostMask  mask = gimp_layer_get_mask (source);

  return mask != HOST_NONE && gimp_layer_get_apply_mask (source) ? mask : HOST_NONE;
}

/* A layer that lets what is below it shine through, or that is mixed with it, counts twice when the new one lies above
 * it with the same alpha, mask, opacity and mode.  Where the new one is all of it, it can take its place; where it is
 * only what was selected, the rest has to be seen. */
static gboolean
is_replaced (HostDrawable drawable, gboolean masked)
{
  const HostLayer     source = GIMP_LAYER (drawable);
  const GimpLayerMode mode = gimp_layer_get_mode (source);

  return ! masked
         && (gimp_layer_get_opacity (source) < 100 || gimp_drawable_has_alpha (drawable)
             || get_applied_mask (drawable) != HOST_NONE
             || (mode != GIMP_LAYER_MODE_NORMAL && mode != GIMP_LAYER_MODE_NORMAL_LEGACY));
}

/* Whether the user would have to see both. */
static gboolean
is_kept_visible (HostDrawable drawable)
{
  const HostItem item = GIMP_ITEM (drawable);

  return gimp_item_get_lock_visibility (item) && gimp_item_get_visible (item)
         && is_replaced (drawable, ! gimp_selection_is_empty (gimp_item_get_image (item)));
}

gboolean
layers_check (HostDrawable drawable, gboolean several, GError **error)
{
  const char *sentence = NULL;

  if (! gimp_item_is_layer (GIMP_ITEM (drawable)) && several)
    sentence
        = C_ ("error",
              "Variants become new layers, which only a layer can have; choose a single one for a mask or a channel.");
  else if (! gimp_item_is_layer (GIMP_ITEM (drawable)))
    sentence
        = C_ ("error",
              "Only a layer can have its result in a new layer; choose the result in place for a mask or a channel.");
  else if (gimp_layer_is_floating_sel (GIMP_LAYER (drawable)))
    sentence = C_ ("error", "A floating selection can have no layer above it; anchor it first (Layer > Anchor Layer).");
  else if (is_kept_visible (drawable))
    sentence = C_ ("error", "The new layer would take the place of this one, whose visibility is locked; unlock it in "
                            "the Layers dialog first, or choose the result in place.");

  if (! sentence)
    return TRUE;
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, sentence);
  return FALSE;
}

static gboolean
fail (GError **error)
{
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, C_ ("error", "GIMP could not make a new layer: %s"),
               HOST_PDB_ERROR ());
  return FALSE;
}

HostLayer
layers_make (Region *region, const char *name, RegionTick tick, gpointer data, GError **error)
{
  const GeglRectangle *rect = &region->rect;
  g_autoptr (Pixels) pixels = pixels_new (rect, region->native, error);
  HostImage   image;
  HostLayer   source, layer;
  GeglBuffer *buffer;

  /* Users go on working: there may be no such layer any more, which GIMP is not to be asked about. */
  if (! pixels || ! region_write_pixels (region, pixels, FALSE, tick, data, error)
      || ! region_check_layer (region, error))
    return HOST_NONE;
  image = gimp_item_get_image (GIMP_ITEM (region->drawable));
  source = GIMP_LAYER (region->drawable);
  layer = gimp_layer_new (image, name, rect->width, rect->height, gimp_drawable_type (region->drawable),
                          gimp_layer_get_opacity (source), gimp_layer_get_mode (source));
  if (layer == HOST_NONE)
    {
      fail (error);
      return HOST_NONE;
    }
  gimp_layer_set_blend_space (layer, gimp_layer_get_blend_space (source));
  gimp_layer_set_composite_space (layer, gimp_layer_get_composite_space (source));
  gimp_layer_set_composite_mode (layer, gimp_layer_get_composite_mode (source));
  buffer = gimp_drawable_get_buffer (GIMP_DRAWABLE (layer));
  pixels_write (pixels, buffer, 0, 0);
  g_object_unref (buffer);
  return layer;
}

void
layers_discard (HostLayer layer)
{
  if (layer != HOST_NONE)
    gimp_item_delete (GIMP_ITEM (layer));
}

/* What the layers' masks may show at most: the selection, in region->rect, and what is within `reach` pixels of it. */
static DiffusionPicture *
make_widest (HostMask layer_mask, const GeglRectangle *rect, int reach, GError **error)
{
  const GeglRectangle all = { 0, 0, rect->width, rect->height };
  g_autoptr (GeglBuffer) mask = gimp_drawable_get_buffer (GIMP_DRAWABLE (layer_mask));
  g_autoptr (DiffusionPicture) widest = diffusion_picture_new (rect->width, rect->height, 1, error);

  if (! widest)
    return NULL;
  gegl_buffer_get (mask, &all, 1.0, babl_format ("Y float"), widest->data, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
  return diffusion_mask_widen (widest, reach, error) ? g_steal_pointer (&widest) : NULL;
}

/* Widens the mask where the layer differs from the drawable below: a hole may have been grown, and is seen there as
 * much as where the selection ends; feathered, next to nothing.  (A filter that knows no mask changes the rectangle
 * around the selection too, where nothing is to be seen of it.) */
static void
show_changes (const Region *region, HostLayer layer, HostMask layer_mask, const DiffusionPicture *widest)
{
  const GeglRectangle *rect = &region->rect;
  const int            bytes = babl_format_get_bytes_per_pixel (region->native);
  const Babl          *mask_format = babl_format ("Y float");
  g_autoptr (GeglBuffer) old = gimp_drawable_get_buffer (region->drawable);
  g_autoptr (GeglBuffer) fresh = gimp_drawable_get_buffer (GIMP_DRAWABLE (layer));
  g_autoptr (GeglBuffer) mask = gimp_drawable_get_buffer (GIMP_DRAWABLE (layer_mask));
  g_autofree guchar *before = g_malloc_n (rect->width, bytes);
  g_autofree guchar *after = g_malloc_n (rect->width, bytes);
  g_autofree float  *shown = g_new (float, rect->width);

  for (int y = 0; y < rect->height; y++)
    {
      const GeglRectangle there = { rect->x, rect->y + y, rect->width, 1 }, here = { 0, y, rect->width, 1 };
      const float        *most = widest->data + (gsize) y * rect->width;
      gboolean            any = FALSE;

      gegl_buffer_get (old, &there, 1.0, region->native, before, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      gegl_buffer_get (fresh, &here, 1.0, region->native, after, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      gegl_buffer_get (mask, &here, 1.0, mask_format, shown, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      for (int x = 0; x < rect->width; x++)
        if (shown[x] < most[x] && memcmp (before + (gsize) x * bytes, after + (gsize) x * bytes, bytes) != 0)
          {
            shown[x] = most[x];
            any = TRUE;
          }
      if (any)
        gegl_buffer_set (mask, &here, 0, mask_format, shown, GEGL_AUTO_ROWSTRIDE);
    }
}

/* What the filtered layer's mask hides stays hidden. */
static void
multiply_mask (const Region *region, HostMask layer_mask, HostMask own_mask)
{
  const GeglRectangle *rect = &region->rect;
  const Babl          *format = babl_format ("Y float");
  g_autoptr (GeglBuffer) own = gimp_drawable_get_buffer (GIMP_DRAWABLE (own_mask));
  g_autoptr (GeglBuffer) mask = gimp_drawable_get_buffer (GIMP_DRAWABLE (layer_mask));
  g_autofree float *factor = g_new (float, rect->width);
  g_autofree float *shown = g_new (float, rect->width);

  for (int y = 0; y < rect->height; y++)
    {
      const GeglRectangle there = { rect->x, rect->y + y, rect->width, 1 }, here = { 0, y, rect->width, 1 };

      gegl_buffer_get (own, &there, 1.0, format, factor, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      gegl_buffer_get (mask, &here, 1.0, format, shown, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      for (int x = 0; x < rect->width; x++)
        shown[x] *= factor[x];
      gegl_buffer_set (mask, &here, 0, format, shown, GEGL_AUTO_ROWSTRIDE);
    }
}

static gboolean
insert (const Region *region, HostLayer layer, int position, gboolean visible, GError **error)
{
  const HostImage image = gimp_item_get_image (GIMP_ITEM (region->drawable));
  int             x, y;

  /* Users may have moved the drawable meanwhile. */
  gimp_drawable_get_offsets (region->drawable, &x, &y);
  gimp_layer_set_offsets (layer, region->rect.x + x, region->rect.y + y);
  gimp_item_set_visible (GIMP_ITEM (layer), visible);
  return gimp_image_insert_layer (image, layer, GIMP_LAYER (gimp_item_get_parent (GIMP_ITEM (region->drawable))),
                                  position)
         || fail (error);
}

/* widest: of the first layer's mask, for all of them; NULL until then. */
static gboolean
add_mask (const Region *region, HostLayer layer, int reach, DiffusionPicture **widest, GError **error)
{
  const HostMask own_mask = get_applied_mask (region->drawable);
  HostMask       mask;

  if (! region->masked && own_mask == HOST_NONE)
    return TRUE;

  mask = gimp_layer_create_mask (layer, region->masked ? GIMP_ADD_MASK_SELECTION : GIMP_ADD_MASK_WHITE);
  if (mask == HOST_NONE)
    return fail (error);
  if (reach > 0 && ! *widest && ! (*widest = make_widest (mask, &region->rect, reach, error)))
    {
      gimp_item_delete (GIMP_ITEM (mask));
      return FALSE;
    }
  if (reach > 0)
    show_changes (region, layer, mask, *widest);
  if (own_mask != HOST_NONE)
    multiply_mask (region, mask, own_mask);
  if (! gimp_layer_add_mask (layer, mask))
    return fail (error);
  /* GIMP would have the user's next stroke go into the mask. */
  gimp_layer_set_edit_mask (layer, FALSE);
  return TRUE;
}

gboolean
layers_insert (const Region *region, const HostLayer *layers, guint n, int reach, GError **error)
{
  const HostImage image = gimp_item_get_image (GIMP_ITEM (region->drawable));
  const int       position = gimp_image_get_item_position (image, GIMP_ITEM (region->drawable));
  guint           inserted = n; /* the topmost of those that are in the image, which are this one and all after it */
  gboolean        success = TRUE;
  g_autoptr (DiffusionPicture) widest = NULL;

  gimp_image_undo_group_start (image);
  while (success && inserted > 0 && insert (region, layers[inserted - 1], position, inserted == 1, error))
    {
      inserted--;
      success = add_mask (region, layers[inserted], reach, &widest, error);
    }
  success = success && inserted == 0;
  for (guint i = 0; ! success && i < n; i++)
    if (i < inserted)
      layers_discard (layers[i]);
    else
      gimp_image_remove_layer (image, layers[i]);
  if (success && is_replaced (region->drawable, region->masked))
    gimp_item_set_visible (GIMP_ITEM (region->drawable), FALSE);
  gimp_image_undo_group_end (image);
  return success;
}
