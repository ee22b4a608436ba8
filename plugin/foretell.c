/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "foretell.h"

#include "process.h"
#include "selection.h"

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

  Region  *region;   /* whose mask is being read; NULL: none is */
  guint    reader;   /* idle source */
  gboolean read;     /* all of the mask is */
  gboolean thinking; /* on a thread */
  gboolean stale;    /* other holes are asked for meanwhile */
  gboolean stopping;
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

static void think (Foretelling *self);

static void
forget_region (Foretelling *self)
{
  if (self->reader)
    g_source_remove (self->reader);
  self->reader = 0;
  g_clear_pointer (&self->region, region_free);
}

/* Makes room for the mask before it is read, and finds the holes in it afterwards. */
static void
think_work (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Foretelling *self = data;
  gboolean     more;

  if (! self->read)
    {
      g_task_return_boolean (task, region_find (self->region, NULL, &more, NULL));
      return;
    }
  self->holes = diffusion_inpaint_get_holes (self->region->mask, &self->inpaint, &self->n_holes, NULL);
  for (int i = 0; i < self->n_holes; i++)
    {
      self->holes[i].x += self->region->outer.x;
      self->holes[i].y += self->region->outer.y;
    }
  g_task_return_boolean (task, self->holes != NULL);
}

static gboolean
read_strip (gpointer data)
{
  Foretelling *self = data;

  if (! region_read_strip (self->region, &self->read, NULL))
    {
      self->reader = 0;
      forget_region (self);
      return G_SOURCE_REMOVE;
    }
  if (! self->read)
    return G_SOURCE_CONTINUE;
  self->reader = 0;
  think (self);
  return G_SOURCE_REMOVE;
}

static void
think_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Foretelling *self = data;
  gboolean     success = g_task_propagate_boolean (G_TASK (result), NULL);

  self->thinking = FALSE;
  if (success && ! self->read && ! self->stale && ! self->stopping)
    {
      self->reader = g_idle_add (read_strip, self);
      return;
    }
  forget_region (self);
  if (self->stale)
    {
      g_clear_pointer (&self->holes, g_free);
      self->selected.bounds.width = 0;
    }
  if (! self->stopping && (success || self->stale))
    self->known (self->data);
}

static void
think (Foretelling *self)
{
  GTask *task = g_task_new (NULL, NULL, think_done, self);

  self->thinking = TRUE;
  g_task_set_task_data (task, self, NULL);
  g_task_run_in_thread (task, think_work);
  g_object_unref (task);
}

/* TRUE when they are known; else it is begun to find them, unless that has failed. */
static gboolean
find_holes (Foretelling *self, const Selection *selected, const DiffusionInpaintOptions *inpaint)
{
  const gboolean same = selection_equal (selected, &self->selected) && inpaint->grow == self->inpaint.grow
                        && inpaint->context == self->inpaint.context;

  if (self->thinking)
    {
      self->stale = ! same;
      return FALSE;
    }
  if (same)
    return self->holes != NULL;
  forget_region (self);
  g_clear_pointer (&self->holes, g_free);
  self->selected = *selected;
  self->inpaint = *inpaint;
  self->read = self->stale = FALSE;
  self->region = region_new_hole (self->drawable, NULL, inpaint, 0, NULL);
  if (self->region)
    think (self);
  return FALSE;
}

void
foretelling_free (Foretelling *self)
{
  if (! self)
    return;
  self->stopping = TRUE;
  while (self->thinking)
    g_main_context_iteration (NULL, TRUE);
  forget_region (self);
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
