/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Pixels in and out.  The engine's picture is a perceptual view of the layer in floats; what comes back into the layer
 * is never that view but the layer's own pixel plus the change that the engine made, computed in doubles.  So values
 * beyond white survive, and a pixel that the engine left alone keeps its bits.  Alpha is not even converted: its bytes
 * are copied.
 */
#include <math.h>
#include <string.h>

#include <glib/gi18n.h>

#include "formats.h"
#include "region.h"
#include "selection.h"
#include "strips.h"

enum
{
  /* Pixels around a selection in which its holes are looked for; more than the engine wants when it may choose. */
  HOLE_CONTEXT = 512,
  HOLE_GROW = 16,

  /* Pixels of a step that is looked at: more than a window has of the layer, unless the screen is huge. */
  STEP_PIXELS = 2 * 1000 * 1000,

  /* Pixels of a sample: several times what an estimate looks at. */
  SAMPLE = 4 * 1000 * 1000
};

enum
{
  GRID = 32 /* pixels: of the lowest level of the networks that are shipped, and of their tiles in it */
};

/* Bytes of pixels that GEGL may keep in this process; it would take half of the machine's memory. */
static const guint64 TILE_CACHE = 64 * 1000 * 1000;

/* Where a hole is looked for, and what its region shall cover besides. */
struct _RegionHole
{
  DiffusionInpaintOptions inpaint;
  GeglRectangle           canvas, view; /* view: no width without one */
  int                     margin;
};

/* Buffers for one strip of rows. */
typedef struct
{
  guchar *native;               /* the drawable's pixels */
  guchar *fresh;                /* the new ones, in the same format */
  float  *seen;                 /* as the engine sees them */
  float  *mask;                 /* selection */
  double *before, *after, *sum; /* in the layer's own encoding, as doubles, with alpha */
} Strip;

static void
strip_clear (Strip *strip)
{
  g_free (strip->native);
  g_free (strip->fresh);
  g_free (strip->seen);
  g_free (strip->mask);
  g_free (strip->before);
  g_free (strip->after);
  g_free (strip->sum);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Strip, strip_clear)

gboolean
region_fail_memory (GError **error)
{
  g_set_error_literal (
      error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY,
      C_ ("error", "There is not enough memory for a region of this size; select a smaller part of the layer."));
  return FALSE;
}

static gboolean
strip_init (Strip *strip, const Region *region, int width, GError **error)
{
  const gsize n = (gsize) width * strip_height_most (width);
  const int   bytes = babl_format_get_bytes_per_pixel (region->native);
  const int   components = babl_format_get_n_components (region->seen);

  strip->native = g_try_malloc_n (n, bytes);
  strip->fresh = g_try_malloc_n (n, bytes);
  strip->seen = g_try_malloc_n (n, sizeof (float) * components);
  strip->mask = g_try_malloc_n (n, sizeof (float));
  strip->before = g_try_malloc_n (n, sizeof (double) * components);
  strip->after = g_try_malloc_n (n, sizeof (double) * components);
  strip->sum = g_try_malloc_n (n, sizeof (double) * components);

  if (strip->native && strip->fresh && strip->seen && strip->mask && strip->before && strip->after && strip->sum)
    return TRUE;
  return region_fail_memory (error);
}

static gboolean gegl_started;

void
region_init (void)
{
  guint64 bytes;

  gegl_init (NULL, NULL);
  gegl_started = TRUE;
  g_object_get (gegl_config (), "tile-cache-size", &bytes, NULL);
  g_object_set (gegl_config (), "tile-cache-size", MIN (bytes, TILE_CACHE), NULL);
}

void
region_exit (void)
{
  if (gegl_started)
    gegl_exit ();
}

/* A lock of a group is one of all that is in it, and a layer's is its mask's.  In a locked group GIMP lets users move
 * no layer either. */
static gboolean
is_locked (HostItem item, gboolean beside)
{
  if (gimp_item_is_layer_mask (item))
    item = GIMP_ITEM (gimp_layer_from_mask (GIMP_LAYER_MASK (item)));
  if (beside)
    item = gimp_item_get_parent (item);
  for (; item != HOST_NONE; item = gimp_item_get_parent (item))
    if (gimp_item_get_lock_content (item))
      return TRUE;
  return FALSE;
}

gboolean
region_check (HostDrawable drawable, GError **error)
{
  const char *sentence = NULL;

  if (! gimp_item_is_valid (GIMP_ITEM (drawable)))
    sentence = C_ ("error", "The layer does not exist any more; choose another one.");
  else if (gimp_drawable_is_indexed (drawable))
    sentence = C_ ("error", "Indexed images cannot be filtered; convert the image to RGB first (Image > Mode > RGB).");
  else if (gimp_item_is_group (GIMP_ITEM (drawable)))
    sentence = C_ ("error", "A layer group has no pixels of its own; choose one of its layers instead.");

  if (! sentence)
    return TRUE;
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, sentence);
  return FALSE;
}

gboolean
region_check_lock (HostDrawable drawable, gboolean beside, GError **error)
{
  if (! is_locked (GIMP_ITEM (drawable), beside))
    return TRUE;
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                       C_ ("error", "The pixels of this layer, or of a group that it is in, are locked; unlock them in "
                                    "the Layers dialog first."));
  return FALSE;
}

static GeglRectangle
get_layer_rect (HostDrawable drawable)
{
  return (GeglRectangle){ 0, 0, gimp_drawable_get_width (drawable), gimp_drawable_get_height (drawable) };
}

gboolean
region_fail_changed (GError **error)
{
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                       C_ ("error", "The layer was changed while the filter worked; run the filter again."));
  return FALSE;
}

gboolean
region_check_view (HostDrawable drawable, const GeglRectangle *view, GError **error)
{
  const GeglRectangle layer = get_layer_rect (drawable);

  return gegl_rectangle_contains (&layer, view) || region_fail_changed (error);
}

/* Users go on working between two strips of rows, and GIMP ends a plug-in that asks for pixels of what is no more. */
static gboolean
check_still_there (const Region *region, const GeglRectangle *layer, GError **error)
{
  GeglRectangle now;

  if (! gimp_item_is_valid (GIMP_ITEM (region->drawable)))
    return region_check (region->drawable, error);
  now = get_layer_rect (region->drawable);
  return (gegl_rectangle_equal (&now, layer) && gimp_drawable_get_format (region->drawable) == region->native)
         || region_fail_changed (error);
}

/* The image in the drawable's coordinates: nothing beyond it can be selected. */
static GeglRectangle
get_canvas_rect (HostDrawable drawable)
{
  const HostImage image = gimp_item_get_image (GIMP_ITEM (drawable));
  int             x, y;

  gimp_drawable_get_offsets (drawable, &x, &y);
  return (GeglRectangle){ -x, -y, gimp_image_get_width (image), gimp_image_get_height (image) };
}

static GeglRectangle
grow_rect (const GeglRectangle *rect, int by)
{
  return (GeglRectangle){ rect->x - by, rect->y - by, rect->width + 2 * by, rect->height + 2 * by };
}

/* A rectangle and what a network sees around it.  Which pixels meet in one of a network's lower levels depends on where
 * the picture begins: on one grid a view, a selection and a band come out as all of the layer would. */
static GeglRectangle
add_margin (const GeglRectangle *rect, int margin)
{
  GeglRectangle outer = grow_rect (rect, margin);
  const int     left = outer.x > 0 ? outer.x % GRID : 0, top = outer.y > 0 ? outer.y % GRID : 0;

  return margin > 0 ? (GeglRectangle){ outer.x - left, outer.y - top, outer.width + left, outer.height + top } : outer;
}

static Region *
region_new (HostDrawable drawable)
{
  Region *region = g_new0 (Region, 1);

  region->drawable = drawable;
  region->native = gimp_drawable_get_format (drawable);
  region->seen = formats_get_seen (region->native);
  region->layer = get_layer_rect (drawable);
  region->apart = 1;
  region->masked = ! gimp_selection_is_empty (gimp_item_get_image (GIMP_ITEM (drawable)));
  gimp_drawable_get_offsets (drawable, &region->selection_x, &region->selection_y);
  return region;
}

/* NULL, with a sentence, if the layer does not have all of rect. */
static Region *
region_new_around (HostDrawable drawable, const GeglRectangle *rect, int margin, GError **error)
{
  const GeglRectangle outer = add_margin (rect, margin);
  Region             *region;

  if (! region_check_view (drawable, rect, error))
    return NULL;
  region = region_new (drawable);
  region->rect = *rect;
  gegl_rectangle_intersect (&region->outer, &outer, &region->layer);
  return region;
}

Region *
region_new_selected (HostDrawable drawable, int margin, gboolean weighed, GError **error)
{
  const Selection selected = selection_look (drawable);
  Region         *region;

  if (selected.bounds.width == 0)
    {
      selection_fail_beside (error);
      return NULL;
    }
  region = region_new_around (drawable, &selected.bounds, margin, error);
  if (! region)
    return NULL;
  region->selected = selected;
  region->weighed = weighed;
  return region;
}

/* What the drawable and its selection are now does not matter here: they are to be what they were for the whole. */
Region *
region_new_band (const Region *whole, int y, int height, int margin)
{
  Region       *region = g_new0 (Region, 1);
  GeglRectangle outer;

  region->drawable = whole->drawable;
  region->native = whole->native;
  region->seen = whole->seen;
  region->layer = whole->layer;
  region->apart = 1;
  region->selected = whole->selected;
  region->masked = whole->masked;
  region->selection_x = whole->selection_x;
  region->selection_y = whole->selection_y;
  region->rect = (GeglRectangle){ whole->rect.x, whole->rect.y + y, whole->rect.width, height };
  outer = add_margin (&region->rect, margin);
  gegl_rectangle_intersect (&region->outer, &outer, &region->layer);
  return region;
}

Region *
region_new_sample (HostDrawable drawable, int margin, GError **error)
{
  GeglRectangle selected, thinned;
  Region       *region;
  int           apart, strips;

  if (! selection_find (drawable, &selected, error))
    return NULL;
  if ((gint64) selected.width * selected.height <= REGION_WHOLE_MOST)
    return region_new_selected (drawable, margin, TRUE, error);
  apart = (int) ((gint64) selected.width * selected.height / SAMPLE);
  /* Only whole strips; a selection that is less than one high is no such case. */
  strips = MAX (selected.height / (STRIP * apart), 1);
  thinned = (GeglRectangle){ selected.x, selected.y, selected.width, MIN (strips * STRIP, selected.height) };
  region = region_new_around (drawable, &thinned, 0, error);
  if (! region)
    return NULL;
  region->weighed = TRUE;
  region->apart = strips * STRIP <= selected.height ? apart : 1;
  return region;
}

Region *
region_new_view (HostDrawable drawable, const GeglRectangle *view, int margin, GError **error)
{
  return region_new_around (drawable, view, margin, error);
}

void
region_heed_selection (Region *region)
{
  region->heeding = region->masked;
}

/* The selection at the drawable's rectangle; the layer may reach beyond the image, where nothing is selected. */
static void
read_selection (const Region *region, GeglBuffer *selection, const GeglRectangle *rect, float *mask)
{
  const GeglRectangle place
      = { rect->x + region->selection_x, rect->y + region->selection_y, rect->width, rect->height };

  gegl_buffer_get (selection, &place, 1.0, babl_format ("Y float"), mask, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
}

static gboolean
is_empty_mask (const DiffusionPicture *mask)
{
  const gsize n = (gsize) mask->width * mask->height;

  for (gsize i = 0; i < n; i++)
    if (mask->data[i] > 0)
      return FALSE;
  return TRUE;
}

Region *
region_new_hole (HostDrawable drawable, const GeglRectangle *view, const DiffusionInpaintOptions *inpaint, int margin,
                 GError **error)
{
  const int reach = MAX (inpaint->context, HOLE_CONTEXT) + MAX (inpaint->grow, HOLE_GROW);
  g_autoptr (Region) region = NULL;
  RegionHole   *hole;
  GeglRectangle selected, part;

  if (! selection_check (drawable, TRUE, &selected, error) || (view && ! region_check_view (drawable, view, error)))
    return NULL;

  region = region_new (drawable);
  if (! view)
    region->selected = selection_look (drawable);
  region->final = TRUE;
  region->hole = hole = g_new0 (RegionHole, 1);
  hole->inpaint = *inpaint;
  hole->canvas = get_canvas_rect (drawable);
  hole->margin = margin;

  if (view)
    hole->view = region->rect = *view;
  part = grow_rect (&selected, reach);
  gegl_rectangle_intersect (&part, &part, &region->layer);
  region->outer = part;
  return g_steal_pointer (&region);
}

/* The part of a mask that lies in a rectangle; both lie in the same coordinates, and beyond the mask nothing is
 * selected. */
static DiffusionPicture *
cut_mask (const DiffusionPicture *mask, const GeglRectangle *place, const GeglRectangle *rect, GError **error)
{
  DiffusionPicture *cut = diffusion_picture_new (rect->width, rect->height, 1, error);
  GeglRectangle     common;

  if (cut && gegl_rectangle_intersect (&common, place, rect))
    for (int y = common.y; y < common.y + common.height; y++)
      memcpy (cut->data + (gsize) (y - rect->y) * rect->width + (common.x - rect->x),
              mask->data + (gsize) (y - place->y) * place->width + (common.x - place->x),
              common.width * sizeof (float));
  return cut;
}

/* From the mask of where it may be: where the hole is, and its own mask. */
static gboolean
find_hole (Region *region, GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionPicture) mask = g_steal_pointer (&region->mask);
  g_autofree RegionHole *hole = g_steal_pointer (&region->hole);
  const GeglRectangle    part = region->outer;
  const DiffusionBox     view = { hole->view.x - part.x, hole->view.y - part.y, hole->view.width, hole->view.height };
  const gboolean         empty = is_empty_mask (mask);
  GeglRectangle          changed = { 0, 0, 0, 0 }, outer = { 0, 0, 0, 0 };
  DiffusionBox           grown = { 0, 0, 0, 0 }, seen;

  if (empty && view.width == 0)
    return selection_fail_beside (error);
  if (! empty
      && ! diffusion_inpaint_get_boxes (mask, &hole->inpaint, view.width > 0 ? &view : NULL, &grown, &seen, cancellable,
                                        error))
    return FALSE;
  if (grown.width > 0)
    {
      changed = (GeglRectangle){ part.x + grown.x, part.y + grown.y, grown.width, grown.height };
      outer = (GeglRectangle){ part.x + seen.x, part.y + seen.y, seen.width, seen.height };
      gegl_rectangle_intersect (&changed, &changed, &hole->canvas);
    }
  if (hole->margin > 0)
    {
      const GeglRectangle around = grow_rect (&changed, hole->margin);

      gegl_rectangle_bounding_box (&outer, &outer, &around);
    }
  if (view.width > 0)
    {
      changed = hole->view;
      gegl_rectangle_bounding_box (&outer, &outer, &changed);
    }
  region->rect = changed;
  gegl_rectangle_intersect (&region->outer, &outer, &region->layer);
  region->mask = cut_mask (mask, &part, &region->outer, error);
  return region->mask != NULL;
}

gboolean
region_find (Region *region, GCancellable *cancellable, gboolean *more, GError **error)
{
  *more = FALSE;
  if (region->hole && region->mask && ! find_hole (region, cancellable, error))
    return FALSE;
  if (region->picture)
    return TRUE;

  const int width = region->outer.width, height = region->outer.height;

  region->rows = 0;
  if (region->hole || region->heeding)
    {
      region->mask = diffusion_picture_new (width, height, 1, error);
      if (! region->mask)
        return FALSE;
    }
  if (region->weighed)
    {
      region->weights = diffusion_picture_new (width, height, 1, error);
      if (! region->weights)
        return FALSE;
    }
  if (! region->hole)
    {
      region->picture = diffusion_picture_new (width, height, 3, error);
      if (! region->picture)
        return FALSE;
    }
  *more = TRUE;
  return TRUE;
}

/* The buffers talk to GIMP: they must not outlive the reading. */
static void
region_close (Region *region)
{
  g_clear_object (&region->source);
  g_clear_object (&region->selection);
}

void
region_free (Region *region)
{
  if (! region)
    return;
  region_close (region);
  diffusion_picture_free (region->picture);
  diffusion_picture_free (region->weights);
  diffusion_picture_free (region->mask);
  g_clear_pointer (&region->strips, g_array_unref);
  g_free (region->hole);
  g_free (region);
}

/* Remembers what is there before the filter, of what it will write.  (A view is only looked at, and of a sample nothing
 * is written.) */
static gboolean
keep_checksum (Region *region, const GeglRectangle *rect, GError **error)
{
  const int          bytes = babl_format_get_bytes_per_pixel (region->native);
  RegionStrip        strip;
  g_autofree guchar *native = NULL;
  gsize              n;

  if (region->selected.bounds.width == 0 || region->apart > 1
      || ! gegl_rectangle_intersect (&strip.rect, rect, &region->rect))
    return TRUE;
  n = (gsize) strip.rect.width * strip.rect.height;
  native = g_try_malloc_n (n, bytes);
  if (! native)
    return region_fail_memory (error);
  gegl_buffer_get (region->source, &strip.rect, 1.0, region->native, native, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
  strip.checksum = strip_checksum (0, native, n * bytes);
  if (! region->strips)
    region->strips = g_array_new (FALSE, FALSE, sizeof strip);
  g_array_append_val (region->strips, strip);
  return TRUE;
}

/* Looks for a pixel that is selected and not wholly transparent, among those that are to be written, until there is
 * one. (A view is only looked at.) */
static gboolean
look_for_visible (Region *region, const GeglRectangle *rect, const float *seen, int components, GError **error)
{
  GeglRectangle     own;
  g_autofree float *mask = NULL;
  gsize             n;

  if (region->visible || region->selected.bounds.width == 0 || ! gegl_rectangle_intersect (&own, rect, &region->rect))
    return TRUE;
  n = (gsize) own.width * own.height;
  if (region->masked)
    {
      mask = g_try_malloc_n (n, sizeof (float));
      if (! mask)
        return region_fail_memory (error);
      read_selection (region, region->selection, &own, mask);
    }
  for (gsize i = 0; i < n && ! region->visible; i++)
    {
      const gsize row = own.y - rect->y + i / own.width, column = own.x - rect->x + i % own.width;

      region->visible = (! mask || mask[i] > 0) && seen[(row * rect->width + column) * components + components - 1] > 0;
    }
  return TRUE;
}

/* Pixels, how far each is selected, and which of them tell about the noise; start: where they go. */
static gboolean
read_pixels (Region *region, const GeglRectangle *rect, gsize start, GError **error)
{
  const gsize       n = (gsize) rect->width * rect->height;
  const int         components = babl_format_get_n_components (region->seen);
  g_autofree float *seen = g_try_malloc_n (n, sizeof (float) * components);

  if (! seen)
    return region_fail_memory (error);

  gegl_buffer_get (region->source, rect, 1.0, region->seen, seen, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
  formats_settle_seen (region->native, seen, n);
  if (! look_for_visible (region, rect, seen, components, error))
    return FALSE;
  if (region->heeding)
    read_selection (region, region->selection, rect, region->mask->data + start);
  if (region->weights && region->masked)
    read_selection (region, region->selection, rect, region->weights->data + start);
  for (gsize i = 0; i < n; i++)
    {
      const gboolean meaningful
          = diffusion_pixel_show (seen + i * components, components, region->picture->data + (start + i) * 3);

      if (region->weights && ! meaningful)
        region->weights->data[start + i] = 0;
      else if (region->weights && ! region->masked)
        region->weights->data[start + i] = 1;
    }
  return TRUE;
}

gboolean
region_read_strip (Region *region, gboolean *done, GError **error)
{
  const int           y = region->outer.y + region->rows * region->apart;
  const int           left = region->outer.height - region->rows;
  const int           height = region->apart > 1 ? MIN (STRIP, left) : strip_height (y, y + left, region->outer.width);
  const GeglRectangle rect = { region->outer.x, y, region->outer.width, height };
  const gsize         start = (gsize) region->rows * rect.width;

  if (! check_still_there (region, &region->layer, error))
    return FALSE;
  if (! region->source && ! region->hole)
    region->source = gimp_drawable_get_buffer (region->drawable);
  if (! region->selection && region->masked)
    region->selection = selection_get_buffer (region->drawable);

  if (region->hole)
    read_selection (region, region->selection, &rect, region->mask->data + start);
  else if (! read_pixels (region, &rect, start, error) || ! keep_checksum (region, &rect, error))
    return FALSE;

  region->rows += rect.height;
  *done = region->rows == region->outer.height;
  if (*done)
    region_close (region);
  return TRUE;
}

gboolean
region_prepare (Region *region, gboolean smooth, gboolean *any, GError **error)
{
  const gsize n = (gsize) region->outer.width * region->outer.height;

  *any = FALSE;
  for (gsize i = 0; i < n && ! *any; i++)
    *any = ! isnan (region->picture->data[3 * i]);

  if (region->weights)
    {
      float most = 0;

      /* The estimate counts what is selected by more than half; a selection that is nowhere so firm counts where it is
       * at its firmest. */
      for (gsize i = 0; i < n; i++)
        most = MAX (most, region->weights->data[i]);
      if (most > 0 && most < 1)
        for (gsize i = 0; i < n; i++)
          region->weights->data[i] /= most;
      *any = *any && most > 0;
    }
  if (region->mask)
    *any = *any && ! is_empty_mask (region->mask);
  return ! smooth || diffusion_fill_smooth (region->picture, error);
}

enum
{
  WAYS = 6
};

static gpointer
find_conversions (gpointer data)
{
  const Babl **ways = data;
  double       from[4] = { 0 }, to[4];

  for (int i = 0; i < WAYS; i++)
    babl_process (babl_fish (ways[2 * i], ways[2 * i + 1]), from, to, 1);
  g_free (ways);
  return NULL;
}

GThread *
region_warm_up (HostDrawable drawable, const Babl *shown)
{
  g_autoptr (GeglBuffer) selection = selection_get_buffer (drawable);
  const Babl *native = gimp_drawable_get_format (drawable);
  const Babl *seen = formats_get_seen (native), *exact = formats_get_exact (native);
  const Babl *ways[WAYS][2] = { { formats_get_shown (native, host_get_space (drawable)), shown },
                                { gegl_buffer_get_format (selection), babl_format ("Y float") },
                                { native, seen },
                                { native, exact },
                                { seen, exact },
                                { exact, native } };

  return g_thread_new ("conversions", find_conversions, g_memdup2 (ways, sizeof ways));
}

int
region_get_reduction (const Region *region)
{
  return MAX ((int) ceil (sqrt ((double) region->rect.width * region->rect.height / STEP_PIXELS)), 1);
}

/* strip->native holds rows of the drawable, strip->fresh gets the new ones; rect lies in region->rect.  picture: of
 * region->outer, or a step of region->rect.  With a mask, the change is scaled by it. */
static void
convert_rows (const Region *region, const DiffusionPicture *picture, Strip *strip, const GeglRectangle *rect,
              const float *mask)
{
  const Babl          *exact = formats_get_exact (region->native);
  const gsize          n = (gsize) rect->width * rect->height;
  const gboolean       all = picture->width == region->outer.width && picture->height == region->outer.height;
  const GeglRectangle *place = all ? &region->outer : &region->rect;
  const int            by = all ? 1 : region_get_reduction (region);
  const int            components = babl_format_get_n_components (region->seen);
  const int            bytes = babl_format_get_bytes_per_pixel (region->native);
  const int            alpha_bytes
      = babl_format_has_alpha (region->native) ? bytes / babl_format_get_n_components (region->native) : 0;

  babl_process (babl_fish (region->native, region->seen), strip->native, strip->seen, n);
  formats_settle_seen (region->native, strip->seen, n);
  babl_process (babl_fish (region->native, exact), strip->native, strip->sum, n);

  /* Both ends of the change take the same way through the conversions: their errors cancel out. */
  for (gsize i = 0; i < n * components; i++)
    if (isfinite (strip->seen[i]))
      strip->seen[i] = CLAMP (strip->seen[i], DIFFUSION_LOWEST, DIFFUSION_HIGHEST);
  babl_process (babl_fish (region->seen, exact), strip->seen, strip->before, n);

  for (gsize i = 0; i < n; i++)
    {
      const int    x = rect->x - place->x + (int) (i % rect->width);
      const int    y = rect->y - place->y + (int) (i / rect->width);
      const float *result = picture->data + ((gsize) (y / by) * picture->width + x / by) * 3;

      /* The selection's place is taken from here on by "does this pixel change". */
      strip->mask[i] = (mask ? mask[i] : 1) * diffusion_pixel_change (strip->seen + i * components, components, result);
    }
  babl_process (babl_fish (region->seen, exact), strip->seen, strip->after, n);

  for (gsize i = 0; i < n; i++)
    for (int c = 0; c < components - 1; c++)
      {
        const gsize k = i * components + c;

        strip->sum[k] += strip->mask[i] * (strip->after[k] - strip->before[k]);
      }
  babl_process (babl_fish (exact, region->native), strip->sum, strip->fresh, n);

  for (gsize i = 0; i < n; i++)
    if (strip->mask[i] == 0)
      memcpy (strip->fresh + i * bytes, strip->native + i * bytes, bytes);
    else
      memcpy (strip->fresh + (i + 1) * bytes - alpha_bytes, strip->native + (i + 1) * bytes - alpha_bytes, alpha_bytes);
}

/* Fills a part of target, which lies in region->rect, with the drawable's new pixels; source: its old ones. */
static gboolean
write_rows (const Region *region, const DiffusionPicture *picture, const GeglRectangle *part, GeglBuffer *source,
            Pixels *target, gboolean blend, RegionTick tick, gpointer data, GError **error)
{
  const int           end = part->y + part->height;
  const GeglRectangle layer = get_layer_rect (region->drawable);
  g_auto (Strip) strip = { NULL };
  g_autoptr (GeglBuffer) selection = NULL;

  if (! strip_init (&strip, region, part->width, error))
    return FALSE;
  if (blend)
    selection = selection_get_buffer (region->drawable);

  for (int y = part->y, height; y < end; y += height)
    {
      height = strip_height (y, end, part->width);

      const GeglRectangle rect = { part->x, y, part->width, height };

      if (! check_still_there (region, &layer, error))
        return FALSE;
      gegl_buffer_get (source, &rect, 1.0, region->native, strip.native, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      if (selection)
        read_selection (region, selection, &rect, strip.mask);
      convert_rows (region, picture, &strip, &rect, selection ? strip.mask : NULL);
      pixels_set (target, &rect, strip.fresh);
      if (tick && ! tick ((double) (y + height - part->y) / part->height, data, error))
        return FALSE;
    }
  return TRUE;
}

gboolean
region_check_visible (const Region *region, GError **error)
{
  if (region->visible)
    return TRUE;
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                       C_ ("error", "What is selected is transparent, and transparency stays as it is; choose the "
                                    "layer with the picture, or remove this one's alpha channel first (Layer > "
                                    "Transparency > Remove Alpha Channel)."));
  return FALSE;
}

/* Users go on working while the engine does. */
gboolean
region_check_layer (const Region *region, GError **error)
{
  if (! region_check (region->drawable, error) || ! region_check_view (region->drawable, &region->rect, error))
    return FALSE;
  return gimp_drawable_get_format (region->drawable) == region->native || region_fail_changed (error);
}

/* Only rect has new pixels, but GIMP merges all that is selected at that moment.  A selection that was moved along with
 * the layer is looked for where it was, too. */
static gboolean
check_selection_unchanged (const Region *region, GError **error)
{
  const Selection now = selection_look (region->drawable);
  int             x, y;

  gimp_drawable_get_offsets (region->drawable, &x, &y);
  if (selection_equal (&now, &region->selected)
      && (! region->masked || (x == region->selection_x && y == region->selection_y)))
    return TRUE;
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
                       C_ ("error", "The selection was changed while the filter worked; run the filter again."));
  return FALSE;
}

gboolean
region_check_unchanged (const Region *region, GError **error)
{
  return region_check_layer (region, error) && check_selection_unchanged (region, error);
}

gboolean
region_check_pixels (const Region *region, const GArray *strips, RegionTick tick, gpointer data, GError **error)
{
  const gsize        pixel = babl_format_get_bytes_per_pixel (region->native);
  g_autofree guchar *bytes = NULL;
  g_autoptr (GeglBuffer) source = NULL;
  const guint n = strips ? strips->len : 0;
  gsize       most = 0;

  for (guint i = 0; i < n; i++)
    {
      const GeglRectangle *rect = &g_array_index (strips, RegionStrip, i).rect;

      most = MAX (most, (gsize) rect->width * rect->height);
    }
  bytes = g_try_malloc_n (most, pixel);
  if (! bytes && most > 0)
    return region_fail_memory (error);

  for (guint i = 0; i < n; i++)
    {
      const RegionStrip *strip = &g_array_index (strips, RegionStrip, i);
      const gsize        size = pixel * strip->rect.width * strip->rect.height;

      /* GIMP ends a plug-in that asks for pixels of what is no more. */
      if (! tick (1, data, error) || ! region_check_layer (region, error))
        return FALSE;
      if (! source)
        source = gimp_drawable_get_buffer (region->drawable);
      gegl_buffer_get (source, &strip->rect, 1.0, region->native, bytes, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
      if (strip_checksum (0, bytes, size) != strip->checksum)
        return region_fail_changed (error);
    }
  return TRUE;
}

gboolean
region_write_pixels (const Region *region, Pixels *pixels, gboolean mixed, RegionTick tick, gpointer data,
                     GError **error)
{
  g_autoptr (GeglBuffer) source = NULL;

  if (! region_check_unchanged (region, error))
    return FALSE;
  source = gimp_drawable_get_buffer (region->drawable);
  return write_rows (region, region->picture, &region->rect, source, pixels, mixed && region->masked, tick, data,
                     error);
}

void
region_screen_close (RegionScreen *screen)
{
  g_clear_object (&screen->pixels);
}

/* Users go on working meanwhile: GIMP ends a plug-in that asks for tiles which a layer has no more. */
static gboolean
screen_open (RegionScreen *screen, GError **error)
{
  if (! region_check (screen->drawable, error))
    return FALSE;
  if (screen->pixels)
    {
      const GeglRectangle layer
          = { 0, 0, gimp_drawable_get_width (screen->drawable), gimp_drawable_get_height (screen->drawable) };

      if (! gegl_rectangle_equal (gegl_buffer_get_extent (screen->pixels), &layer)
          || gegl_buffer_get_format (screen->pixels) != gimp_drawable_get_format (screen->drawable))
        region_screen_close (screen);
    }
  if (! screen->pixels)
    screen->pixels = gimp_drawable_get_buffer (screen->drawable);
  return TRUE;
}

static void
show_pixels (const RegionScreen *screen, const Pixels *pixels, guchar *shown, gsize stride)
{
  const Babl *fish = babl_fish (formats_get_shown (pixels->format, screen->space), screen->format);
  const int   width = pixels->rect.width;
  const gsize row = (gsize) width * babl_format_get_bytes_per_pixel (pixels->format);

  for (int y = 0; y < pixels->rect.height; y++)
    babl_process (fish, pixels->data + y * row, shown + y * stride, width);
}

gboolean
region_render (Region *region, const DiffusionPicture *picture, const GeglRectangle *part, RegionScreen *screen,
               guchar *shown, gsize stride, GError **error)
{
  g_autoptr (Pixels) target = NULL;

  if (! region_check_layer (region, error) || ! screen_open (screen, error))
    return FALSE;
  target = pixels_new (part, region->native, error);
  if (! target
      || ! write_rows (region, picture, part, screen->pixels, target, region->masked && ! region->final, NULL, NULL,
                       error))
    return FALSE;
  show_pixels (screen, target, shown, stride);
  return TRUE;
}

gboolean
region_render_original (RegionScreen *screen, const GeglRectangle *part, guchar *shown, gsize stride, GError **error)
{
  const Babl *own;
  g_autoptr (Pixels) pixels = NULL;

  if (! screen_open (screen, error))
    return FALSE;
  own = gegl_buffer_get_format (screen->pixels);
  pixels = pixels_new (part, own, error);
  if (! pixels)
    return FALSE;
  gegl_buffer_get (screen->pixels, part, 1.0, own, pixels->data, GEGL_AUTO_ROWSTRIDE, GEGL_ABYSS_NONE);
  show_pixels (screen, pixels, shown, stride);
  return TRUE;
}
