/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "foretell.h"

#include "process.h"
#include "selection.h"
#include "ui/relay.h"

struct _Foretelling
{
  const Filter *filter;
  HostDrawable  drawable;
  void (*known) (gpointer data);
  gpointer data;

  /* What the holes are those of. */
  Selection               selected;
  DiffusionInpaintOptions inpaint;
  DiffusionBox           *holes; /* in the drawable's coordinates; NULL: not known */
  int                     n_holes;

  Region       *region;      /* whose mask is being read; NULL: none is */
  gboolean      read;        /* all of the mask is */
  GCancellable *cancellable; /* of that, and of finding them in it */
  gboolean      stopping;
};

Foretelling *
foretelling_new (const Filter *filter, HostDrawable drawable, void (*known) (gpointer data), gpointer data)
{
  Foretelling *self = g_new0 (Foretelling, 1);

  self->filter = filter;
  self->drawable = drawable;
  self->known = known;
  self->data = data;
  return self;
}

/* ---- where the holes are ---- */

/* Makes room for the mask before it is read, and finds the holes in it afterwards. */
static gboolean
find_think (gpointer data, GCancellable *cancellable, gboolean *more, GError **error)
{
  Foretelling *self = data;

  if (! self->read)
    return region_find (self->region, cancellable, more, error);
  self->holes = diffusion_inpaint_get_holes (self->region->mask, &self->inpaint, &self->n_holes, cancellable, error);
  for (int i = 0; i < self->n_holes; i++)
    {
      self->holes[i].x += self->region->outer.x;
      self->holes[i].y += self->region->outer.y;
    }
  return self->holes != NULL;
}

static gboolean
find_read (gpointer data, gboolean *done, GError **error)
{
  Foretelling   *self = data;
  const gboolean success = region_read_strip (self->region, done, error);

  self->read = *done;
  return success;
}

static void
find_end (gpointer data, const GError *error)
{
  Foretelling   *self = data;
  const gboolean cancelled = g_cancellable_is_cancelled (self->cancellable);

  g_clear_pointer (&self->region, region_free);
  g_clear_object (&self->cancellable);
  /* Other holes are asked for. */
  if (cancelled)
    {
      g_clear_pointer (&self->holes, g_free);
      self->selected.bounds.width = 0;
    }
  if (! self->stopping && (cancelled || ! error))
    self->known (self->data);
}

static const UiRelayWork finding = { find_think, find_read, find_end };

/* TRUE when they are known; else it is begun to find them, unless that has failed. */
static gboolean
find_holes (Foretelling *self, const Selection *selected, const DiffusionInpaintOptions *inpaint)
{
  const gboolean same = selection_equal (selected, &self->selected) && inpaint->grow == self->inpaint.grow
                        && inpaint->context == self->inpaint.context;

  if (self->region)
    {
      if (! same)
        g_cancellable_cancel (self->cancellable);
      return FALSE;
    }
  if (same)
    return self->holes != NULL;
  g_clear_pointer (&self->holes, g_free);
  self->selected = *selected;
  self->inpaint = *inpaint;
  self->read = FALSE;
  self->region = region_new_hole (self->drawable, NULL, inpaint, 0, NULL);
  if (self->region)
    {
      self->cancellable = g_cancellable_new ();
      ui_relay_run (&finding, self, self->cancellable);
    }
  return FALSE;
}

void
foretelling_free (Foretelling *self)
{
  if (! self)
    return;
  self->stopping = TRUE;
  g_cancellable_cancel (self->cancellable);
  while (self->region)
    g_main_context_iteration (NULL, TRUE);
  g_free (self->holes);
  g_free (self);
}

/* ---- what they cost ---- */

gboolean
foretell (Foretelling *self, const DiffusionModel *model, const Settings *settings, Cost *cost)
{
  const gboolean          fill = self->filter->kind == FILTER_INPAINT;
  const DiffusionOptions  options = process_get_options (self->filter->kind, settings, model);
  DiffusionInpaintOptions inpaint = process_get_inpaint_options (settings);
  const Selection         selected = selection_look (self->drawable);
  GeglRectangle           outer;
  DiffusionBox            box;
  double                  bytes;
  int                     width, height;

  /* Nothing, too, of a layer that is gone. */
  if (selected.bounds.width == 0 || (fill && ! find_holes (self, &selected, &inpaint)))
    return FALSE;
  width = gimp_drawable_get_width (self->drawable);
  height = gimp_drawable_get_height (self->drawable);
  box = (DiffusionBox){ selected.bounds.x, selected.bounds.y, selected.bounds.width, selected.bounds.height };
  diffusion_model_estimate_cost (model, width, height, fill ? self->holes : &box, fill ? self->n_holes : 1, fill,
                                 &options, &bytes, &cost->seconds);
  cost->bytes = cost_get_memory () + bytes;
  outer = process_get_outer (self->filter->kind, settings, model, &selected.bounds);
  gegl_rectangle_intersect (&outer, &outer, GEGL_RECTANGLE (0, 0, width, height));
  cost_add_region (cost, (double) outer.width * outer.height, fill || selected.any, settings->variants);
  return TRUE;
}
