/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <glib/gi18n.h>

#include "result.h"
#include "strips.h"

/* Whether GIMP lets all components through (the switches in the Channels dialog). */
static gboolean
all_components_active (HostDrawable drawable)
{
  const HostImage image = gimp_item_get_image (GIMP_ITEM (drawable));

  /* The switches are those of layers: a mask or a channel has none. */
  if (! gimp_item_is_layer (GIMP_ITEM (drawable)))
    return TRUE;
  if (! gimp_drawable_is_rgb (drawable))
    return gimp_image_get_component_active (image, GIMP_CHANNEL_GRAY);
  return gimp_image_get_component_active (image, GIMP_CHANNEL_RED)
         && gimp_image_get_component_active (image, GIMP_CHANNEL_GREEN)
         && gimp_image_get_component_active (image, GIMP_CHANNEL_BLUE);
}

static gboolean
merge_shadow (const Region *region, GError **error)
{
  if (gimp_drawable_merge_shadow (region->drawable, TRUE))
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
               C_ ("error", "GIMP did not accept the new pixels (%s); check that the layer is not locked."),
               HOST_PDB_ERROR ());
  return FALSE;
}

/* What is final is merged through a selection of just its rectangle, which a hole that has been grown exceeds the
 * user's selection by.  That one comes back, in the same undo step. */
static gboolean
merge_shadow_of_rect (const Region *region, GError **error)
{
  const HostImage      image = gimp_item_get_image (GIMP_ITEM (region->drawable));
  const GeglRectangle *rect = &region->rect;
  HostActive          *active = host_active_get (image);
  HostChannel          saved;
  gboolean             success;

  gimp_image_undo_group_start (image);
  gimp_context_push ();
  gimp_context_set_antialias (FALSE);
  gimp_context_set_feather (FALSE);
  saved = gimp_selection_save (image);
  gimp_image_select_rectangle (image, GIMP_CHANNEL_OP_REPLACE, rect->x + region->selection_x,
                               rect->y + region->selection_y, rect->width, rect->height);
  success = merge_shadow (region, error);
  gimp_image_select_item (image, GIMP_CHANNEL_OP_REPLACE, GIMP_ITEM (saved));
  gimp_image_remove_channel (image, saved);
  host_active_restore (image, active);
  gimp_context_pop ();
  gimp_image_undo_group_end (image);
  return success;
}

struct _Result
{
  Pixels  *pixels; /* in the drawable's format */
  GArray  *strips; /* RegionStrip: what is there before it */
  gboolean exact;  /* they are mixed with the old ones by the selection already, and are what is to be there */
};

Result *
result_new (const Region *like, const GeglRectangle *rect, GError **error)
{
  Pixels *pixels = pixels_new (rect, like->native, error);
  Result *result;

  if (! pixels)
    return NULL;
  result = g_new0 (Result, 1);
  result->pixels = pixels;
  result->strips = g_array_new (FALSE, FALSE, sizeof (RegionStrip));
  result->exact = all_components_active (like->drawable);
  return result;
}

void
result_free (Result *result)
{
  if (! result)
    return;
  pixels_free (result->pixels);
  g_array_unref (result->strips);
  g_free (result);
}

gboolean
result_add (Result *result, const Region *part, RegionTick tick, gpointer data, GError **error)
{
  g_debug ("run: takes over rows %d to %d", part->rect.y, part->rect.y + part->rect.height);
  if (part->strips)
    g_array_append_vals (result->strips, part->strips->data, part->strips->len);
  return region_write_pixels (part, result->pixels, result->exact && ! part->final, tick, data, error);
}

gboolean
result_check (Result *result, const Region *like, RegionTick tick, gpointer data, GError **error)
{
  return region_check_pixels (like, result->strips, tick, data, error) && region_check_unchanged (like, error)
         && region_check_lock (like->drawable, FALSE, error);
}

/* Merging the shadow pushes the undo step and mixes old and new pixels through the selection.  GIMP does that in 32-bit
 * floats of linear light (without a selection too, if alpha is locked or the layer floats), so that even where nothing
 * is selected pixels of 32 bits, or of 16 bits in a colour space of their own, come back changed, and infinities as
 * NaN.  So the mixing has been done here, and is written over what the merge left, within the rectangle that its undo
 * step covers.  (Not if the user has switched components off: only the merge heeds that.) */
gboolean
result_write (Result *result, const Region *like, GError **error)
{
  const GeglRectangle *rect = &result->pixels->rect;
  GeglBuffer          *buffer;

  g_debug ("run: hands its result over");
  buffer = gimp_drawable_get_shadow_buffer (like->drawable);
  pixels_write (result->pixels, buffer, rect->x, rect->y);
  /* Letting go of the shadow sends its pixels to GIMP, which has to come before the merge. */
  g_object_unref (buffer);
  if (! (like->masked && like->final ? merge_shadow_of_rect : merge_shadow) (like, error))
    {
      gimp_drawable_free_shadow (like->drawable);
      return FALSE;
    }
  if (result->exact)
    {
      buffer = gimp_drawable_get_buffer (like->drawable);
      pixels_write (result->pixels, buffer, rect->x, rect->y);
      g_object_unref (buffer);
    }
  gimp_drawable_update (like->drawable, rect->x, rect->y, rect->width, rect->height);
  return TRUE;
}
