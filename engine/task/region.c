/* Where the holes are.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "region.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A region is thin when no disc of this radius fits into it: strokes of a pen, scratches, letters. */
#define THIN_RADIUS 12.0
/* ... and it is longer than a spot: its area is so many squares of the radius, of which a disc has pi; or when not even
 * this disc fits. */
#define STROKE       10.0
#define SMALL_RADIUS 5.0

#define CONTEXT_MIN 64
#define CONTEXT_MAX 192
/* Two regions are made one when their common crop is at most this much larger than both crops together. */
#define MERGE_MOST 1.1
/* Of more regions than these (dust, say), all of one kind are made one. */
#define REGIONS_MOST 1000

/* ---- distances ---- */

/* The lower envelope of parabolas with their tips at (i, values[i]); work: 3 n floats. */
static void
distance_line (float *values, int n, int stride, float *work)
{
  float *f = work, *bound = work + n;
  int   *tip = (int *) (void *) (work + 2 * n), last = -1;

  for (int i = 0; i < n; i++)
    f[i] = values[(gsize) i * (gsize) stride];
  for (int i = 0; i < n; i++)
    {
      float start = -INFINITY;

      if (isinf (f[i]))
        continue;
      while (last >= 0)
        {
          int t = tip[last];

          /* Without the squares of places: from 4096 on these are no whole numbers any more. */
          start = (f[i] - f[t]) / (2.0f * (float) (i - t)) + 0.5f * (float) (i + t);
          if (start > bound[last])
            break;
          last--;
          start = -INFINITY;
        }
      tip[++last] = i;
      bound[last] = start;
    }
  for (int i = 0, at = 0; last >= 0 && i < n; i++)
    {
      while (at < last && bound[at + 1] < (float) i)
        at++;
      values[(gsize) i * (gsize) stride] = f[tip[at]] + (float) (i - tip[at]) * (float) (i - tip[at]);
    }
}

gboolean
region_distance (float *values, int width, int height, GCancellable *cancellable, GError **error)
{
  core_autofree float *work = core_alloc ((gsize) MAX (width, height), 3 * sizeof (float), error);

  if (! work)
    return FALSE;
  for (int x = 0; x < width && ! g_cancellable_is_cancelled (cancellable); x++)
    distance_line (values + x, height, width, work);
  for (int y = 0; y < height && ! g_cancellable_is_cancelled (cancellable); y++)
    distance_line (values + (gsize) y * (gsize) width, width, 1, work);
  return ! g_cancellable_set_error_if_cancelled (cancellable, error);
}

/* ---- finding ---- */

DiffusionBox
region_join_boxes (DiffusionBox a, DiffusionBox b)
{
  int x = MIN (a.x, b.x), y = MIN (a.y, b.y);

  return (DiffusionBox){ x, y, MAX (a.x + a.width, b.x + b.width) - x, MAX (a.y + a.height, b.y + b.height) - y };
}

gboolean
region_boxes_touch (const DiffusionBox *a, const DiffusionBox *b)
{
  return a->x < b->x + b->width && b->x < a->x + a->width && a->y < b->y + b->height && b->y < a->y + a->height;
}

DiffusionBox
region_grow_box (DiffusionBox box, int by, const DiffusionPicture *within)
{
  int x = MAX (box.x - by, 0), y = MAX (box.y - by, 0);

  return (DiffusionBox){ x, y, MIN (box.x + box.width + by, within->width) - x,
                         MIN (box.y + box.height + by, within->height) - y };
}

static double
box_area (DiffusionBox box)
{
  return (double) box.width * box.height;
}

/* The box around all pixels above 0; its width is 0 when there are none. */
static DiffusionBox
find_box (const DiffusionPicture *mask)
{
  int x0 = mask->width, x1 = 0, y0 = mask->height, y1 = 0;

  for (int y = 0; y < mask->height; y++)
    for (int x = 0; x < mask->width; x++)
      if (mask->data[(gsize) y * (gsize) mask->width + (gsize) x] > 0)
        {
          x0 = MIN (x0, x);
          x1 = MAX (x1, x + 1);
          y0 = MIN (y0, y);
          y1 = y + 1;
        }
  return x1 > x0 ? (DiffusionBox){ x0, y0, x1 - x0, y1 - y0 } : (DiffusionBox){ 0, 0, 0, 0 };
}

/* Gives one connected region its label, and tells its box in the picture.  todo: a stack of pixels' places. */
static gboolean
flood (const DiffusionPicture *mask, Regions *regions, int x, int y, Region *region, CoreArray *todo, GError **error)
{
  DiffusionBox outer = regions->box, box = { x, y, 1, 1 };
  guint64      place = (guint64) (guint32) y << 32 | (guint32) x;
  guint32      label = region->group;

  if (! core_array_add (todo, &place, sizeof place, error))
    return FALSE;
  regions->labels[(gsize) (y - outer.y) * (gsize) outer.width + (gsize) (x - outer.x)] = label;
  while (todo->count > 0)
    {
      place = ((const guint64 *) todo->data)[--todo->count];
      x = (int) (guint32) place;
      y = (int) (place >> 32);
      box = region_join_boxes (box, (DiffusionBox){ x, y, 1, 1 });
      for (int v = MAX (y - 1, outer.y); v < MIN (y + 2, outer.y + outer.height); v++)
        for (int u = MAX (x - 1, outer.x); u < MIN (x + 2, outer.x + outer.width); u++)
          {
            guint32 *at = &regions->labels[(gsize) (v - outer.y) * (gsize) outer.width + (gsize) (u - outer.x)];

            if (*at || ! (mask->data[(gsize) v * (gsize) mask->width + (gsize) u] > 0))
              continue;
            *at = label;
            place = (guint64) (guint32) v << 32 | (guint32) u;
            if (! core_array_add (todo, &place, sizeof place, error))
              return FALSE;
          }
    }
  region->box = box;
  return TRUE;
}

/* What a region covers of its box and the pixels around it, where those beyond the picture count as its own. */
static double
count_covered (const DiffusionPicture *mask, const Region *region)
{
  DiffusionBox box = region->box;

  return region->area + (box.width + 2.0) * (box.height + 2.0) - box_area (region_grow_box (box, 1, mask));
}

/* How far each region's innermost pixel is from the nearest known one; beyond the picture's edge nothing is known, and
 * the pixels there are part of the region that they touch.  One map does for all regions: these do not touch, so on the
 * way to another one there is a known pixel that is nearer. */
static gboolean
measure_radii (const DiffusionPicture *mask, Regions *regions, GCancellable *cancellable, GError **error)
{
  DiffusionBox         box = regions->box;
  int                  width = box.width + 2, height = box.height + 2;
  core_autofree float *distance = core_alloc ((gsize) width * (gsize) height, sizeof (float), error);
  float               *at = distance;

  if (! distance)
    return FALSE;
  for (int y = box.y - 1; y <= box.y + box.height; y++)
    for (int x = box.x - 1; x <= box.x + box.width; x++)
      *at++ = x < 0 || y < 0 || x >= mask->width || y >= mask->height || regions_label (regions, x, y) ? INFINITY : 0;
  if (! region_distance (distance, width, height, cancellable, error))
    return FALSE;
  at = distance;
  for (int y = box.y - 1; y <= box.y + box.height; y++)
    for (int x = box.x - 1; x <= box.x + box.width; x++, at++)
      {
        int     u = CLAMP (x, 0, mask->width - 1), v = CLAMP (y, 0, mask->height - 1);
        guint32 label = regions_label (regions, u, v);

        if (label)
          {
            Region *region = &regions->regions[label - 1];

            region->radius = MAX (region->radius, (double) *at);
            region->area += x == u && y == v;
          }
      }
  for (int i = 0; i < regions->count; i++)
    {
      Region *region = &regions->regions[i];
      double  square = region->radius;

      region->radius = isinf (square) ? MAX (region->box.width, region->box.height) + 2 : sqrt (square);
      region->thin = region->radius < SMALL_RADIUS
                     || (region->radius < THIN_RADIUS
                         && count_covered (mask, region) > STROKE * region->radius * region->radius);
    }
  return TRUE;
}

static void
choose_crop (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint, Region *region)
{
  region->grow = inpaint->grow >= 0 ? inpaint->grow : region->thin ? 0 : DIFFUSION_INPAINT_GROWN;
  region->feather = inpaint->feather >= 0 ? inpaint->feather : region->grow;
  region->soften = inpaint->grow >= 0 ? inpaint->grow : MAX (region->grow, 1);
  region->context = inpaint->context > 0
                        ? inpaint->context
                        : (int) CLAMP (2.5 * (region->radius + region->grow), CONTEXT_MIN, CONTEXT_MAX);
  region->crop = region_grow_box (region->box, region->grow + region->context, mask);
}

/* Makes regions of one kind that lie close together one: letters, say. */
static gboolean
merge_regions (const DiffusionPicture *mask, Regions *regions, GError **error)
{
  core_autofree guint32 *names = core_alloc ((gsize) regions->count + 1, sizeof (guint32), error);
  gsize                  pixels = (gsize) regions->box.width * (gsize) regions->box.height;
  int                    count = 0;
  gboolean               many = regions->count > REGIONS_MOST;

  if (! names)
    return FALSE;
  for (int i = 0; i <= regions->count; i++)
    names[i] = (guint32) i;
  for (gboolean again = TRUE; again;)
    {
      again = FALSE;
      for (int i = 0; i < regions->count; i++)
        for (int j = i + 1; j < regions->count; j++)
          {
            Region *a = &regions->regions[i], *b = &regions->regions[j];

            if (a->group == 0)
              break;
            if (b->group == 0 || a->grow != b->grow || (! many && a->context != b->context))
              continue;
            if (! many
                && box_area (region_join_boxes (a->crop, b->crop))
                       > MERGE_MOST * (box_area (a->crop) + box_area (b->crop)))
              continue;
            a->box = region_join_boxes (a->box, b->box);
            a->radius = MAX (a->radius, b->radius);
            a->area += b->area;
            a->thin = a->thin && b->thin;
            a->context = MAX (a->context, b->context);
            a->crop = region_grow_box (a->box, a->grow + a->context, mask);
            names[b->group] = a->group;
            b->group = 0;
            again = TRUE;
          }
    }
  for (int i = 1; i <= regions->count; i++)
    while (names[names[i]] != names[i])
      names[i] = names[names[i]];
  for (gsize i = 0; i < pixels; i++)
    regions->labels[i] = names[regions->labels[i]];
  for (int i = 0; i < regions->count; i++)
    if (regions->regions[i].group)
      regions->regions[count++] = regions->regions[i];
  regions->count = count;
  return TRUE;
}

static int
compare_regions (gconstpointer a, gconstpointer b)
{
  const Region *one = a, *other = b;

  if (one->radius != other->radius)
    return one->radius < other->radius ? -1 : 1;
  return one->group < other->group ? -1 : 1;
}

gboolean
regions_find (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint, Regions *regions,
              GCancellable *cancellable, GError **error)
{
  CoreArray    list = { 0 }, todo = { 0 };
  DiffusionBox box = find_box (mask);
  gboolean     success;

  *regions = (Regions){ .box = box };
  if (box.width == 0)
    {
      g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                           C_ ("error", "Nothing is selected: select what is to be replaced."));
      return FALSE;
    }
  regions->labels = core_alloc0 ((gsize) box.width * (gsize) box.height, sizeof (guint32), error);
  success = regions->labels != NULL;
  for (int y = box.y; y < box.y + box.height && success; y++)
    for (int x = box.x; x < box.x + box.width && success; x++)
      if (mask->data[(gsize) y * (gsize) mask->width + (gsize) x] > 0 && ! regions_label (regions, x, y))
        {
          Region region = { .group = (guint) list.count + 1 };

          success = flood (mask, regions, x, y, &region, &todo, error)
                    && core_array_add (&list, &region, sizeof region, error);
        }
  core_array_clear (&todo);
  regions->count = (int) list.count;
  regions->regions = list.data;
  success = success && measure_radii (mask, regions, cancellable, error);
  for (int i = 0; i < regions->count && success; i++)
    choose_crop (mask, inpaint, &regions->regions[i]);
  if (! success || ! merge_regions (mask, regions, error))
    return FALSE;
  qsort (regions->regions, (gsize) regions->count, sizeof (Region), compare_regions);
  return TRUE;
}

void
regions_clear (Regions *regions)
{
  core_free (regions->labels);
  core_free (regions->regions);
  *regions = (Regions){ 0 };
}

/* ---- holes ---- */

DiffusionBox
region_get_hole (const Region *region, const DiffusionPicture *within)
{
  return region_grow_box (region->box, region->grow + region->soften, within);
}

/* The largest of `radius` values to either side, along a line.  candidates: memory for n, the places of those that may
 * yet be the largest, whose values fall. */
static void
widen_line (float *values, int n, int stride, int radius, float *work, int *candidates)
{
  int first = 0, last = 0;

  for (int i = 0; i < n; i++)
    work[i] = values[(gsize) i * (gsize) stride];
  for (int i = 0; i < n + radius; i++)
    {
      while (i < n && last > first && work[candidates[last - 1]] <= work[i])
        last--;
      if (i < n)
        candidates[last++] = i;
      if (candidates[first] < i - 2 * radius)
        first++;
      if (i >= radius)
        values[(gsize) (i - radius) * (gsize) stride] = work[candidates[first]];
    }
}

gboolean
diffusion_mask_widen (DiffusionPicture *mask, int by, GError **error)
{
  gsize                longest = (gsize) MAX (mask->width, mask->height);
  core_autofree float *work = core_alloc (longest, sizeof (float), error);
  core_autofree int   *candidates = work ? core_alloc (longest, sizeof (int), error) : NULL;

  if (! candidates)
    return FALSE;
  for (int x = 0; x < mask->width; x++)
    widen_line (mask->data + x, mask->height, mask->width, by, work, candidates);
  for (int y = 0; y < mask->height; y++)
    widen_line (mask->data + (gsize) y * (gsize) mask->width, mask->width, 1, by, work, candidates);
  return TRUE;
}

DiffusionPicture *
region_make_cover (const Region *region, const Regions *regions, const DiffusionPicture *mask,
                   GCancellable *cancellable, GError **error)
{
  DiffusionBox crop = region->crop;
  g_autoptr (DiffusionPicture) cover = diffusion_picture_new (crop.width, crop.height, 1, error);
  g_autoptr (DiffusionPicture) outside = cover ? diffusion_picture_new (crop.width, crop.height, 1, error) : NULL;
  g_autoptr (DiffusionPicture) inside = outside ? diffusion_picture_new (crop.width, crop.height, 1, error) : NULL;
  gsize i = 0;

  if (! inside)
    return NULL;
  for (int y = 0; y < crop.height; y++)
    for (int x = 0; x < crop.width; x++, i++)
      {
        gboolean ours = regions_label (regions, crop.x + x, crop.y + y) == region->group;

        cover->data[i] = ours ? mask->data[(gsize) (crop.y + y) * (gsize) mask->width + (gsize) (crop.x + x)] : 0;
        outside->data[i] = ours ? 0 : INFINITY;
        inside->data[i] = ours ? INFINITY : 0;
      }
  if (! region_distance (outside->data, crop.width, crop.height, cancellable, error)
      || ! region_distance (inside->data, crop.width, crop.height, cancellable, error)
      || ! diffusion_mask_widen (cover, region->soften, error))
    return NULL;
  for (i = 0; i < (gsize) crop.width * (gsize) crop.height; i++)
    {
      /* How deep the pixel lies in the grown hole: 1 for its outermost pixels. */
      float out = sqrtf (outside->data[i]), depth = (float) region->grow + 1;

      depth += out > 0 ? -out : isinf (inside->data[i]) ? (float) region->feather : sqrtf (inside->data[i]) - 1;
      cover->data[i] *= depth < 1 ? 0 : MIN (depth / (float) (region->feather + 1), 1.0f);
    }
  return g_steal_pointer (&cover);
}
