/* Large holes: from coarse to fine.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "fill.h"
#include "exemplar.h"
#include "part.h"
#include "process/process.h"

#include <math.h>
#include <string.h>

/* The hole's radius on the coarsest level is at most this: then nearly every patch there touches known pixels, whose
 * match says more than any guess. */
#define COARSEST_RADIUS 5.0
#define LEVELS_MOST     8
/* Pictures smaller than this are not reduced further. */
#define SIZE_LEAST 24

/* How the texture's search goes: rounds of search and vote, searches in each, and how sharp the votes are.  Sharp votes
 * on the way keep what was found first; soft ones find what fits together. */
#define TURNS          8
#define TURNS_LAST     3
#define TURNS_COARSEST 20
#define SEARCHES       2
#define SHARPNESS      0.25
#define SHARPNESS_LAST 1.0
#define FIRST_TRUST    0.02

/* How much of the texture is the surroundings' where these are smooth; and the mean step between neighbours from which
 * on all is. */
#define TEXTURE_SMOOTH 0.98
#define ROUGH          (1.5 / 255)

/* The proposals' share of the time. */
#define PROPOSING 0.7

/* The level from which the network reconciles a fill that is all the surroundings', and one that is all its own; and
 * the first's share of the steps. */
#define LEVEL_TEXTURE 0.02
#define LEVEL_NETWORK 0.3
#define STEPS_TEXTURE 0.125
#define STEPS_LEAST   2
/* How much of the surroundings the network is shown, pixels: from a low level it asks for little. */
#define MARGIN_TEXTURE 48
#define MARGIN_NETWORK 128
/* What is finer than this, pixels, is texture. */
#define FINE 5.0

typedef struct
{
  DiffusionPicture *picture;   /* the hole is NAN, then filled */
  DiffusionPicture *roughness; /* likewise */
  DiffusionPicture *hole;
  Exemplar         *exemplar;
} Level;

typedef struct
{
  Level levels[LEVELS_MOST];
  int   count;
} Pyramid;

static void
pyramid_clear (Pyramid *pyramid)
{
  for (int i = 0; i < pyramid->count; i++)
    {
      diffusion_picture_free (pyramid->levels[i].picture);
      diffusion_picture_free (pyramid->levels[i].roughness);
      diffusion_picture_free (pyramid->levels[i].hole);
      exemplar_free (pyramid->levels[i].exemplar);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Pyramid, pyramid_clear)

static gboolean
has_hole (const DiffusionPicture *hole)
{
  gsize pixels = (gsize) hole->width * (gsize) hole->height;

  for (gsize i = 0; i < pixels; i++)
    if (hole->data[i] > 0)
      return TRUE;
  return FALSE;
}

/* Halves the crop until the hole is small. */
static gboolean
pyramid_make (Pyramid *pyramid, const Crop *crop, GError **error)
{
  double radius = crop->radius;
  Level *level = pyramid->levels;

  pyramid->count = 1;
  level->picture = diffusion_picture_copy (crop->picture, error);
  level->roughness = level->picture ? fill_measure_roughness (level->picture, error) : NULL;
  level->hole = level->roughness ? fill_mark_hole (level->picture, error) : NULL;
  if (! level->hole)
    return FALSE;
  while (radius > COARSEST_RADIUS && pyramid->count < LEVELS_MOST
         && MIN (level->picture->width, level->picture->height) >= 2 * SIZE_LEAST)
    {
      Level *next = level + 1;

      pyramid->count++;
      next->picture = holes_reduce (level->picture, 2, error);
      next->roughness = next->picture ? holes_reduce (level->roughness, 2, error) : NULL;
      next->hole = next->roughness ? fill_mark_hole (next->picture, error) : NULL;
      if (! next->hole)
        return FALSE;
      radius /= 2;
      level = next;
      if (! has_hole (level->hole))
        break;
    }
  return TRUE;
}

/* ---- reconciling ---- */

typedef struct
{
  const DiffusionPicture *known, *hole;
  DiffusionPicture       *noisy; /* working memory */
  float                   level;
  const DiffusionOptions *options;
  GCancellable           *cancellable;
} Reconcile;

static void
get_level_row (int x, int y, int width, float *level, gpointer data)
{
  const Reconcile *job = data;

  for (int i = 0; i < width; i++)
    level[i] = job->level;
}

/* StepDone: known pixels follow the forward process (RePaint: Lugmayr et al. 2022, algorithm 1). */
static gboolean
put_known (DiffusionPicture *picture, int step, double ratio, Pool *pool, gpointer data, GError **error)
{
  const Reconcile *job = data;
  gsize            pixels = (gsize) picture->width * (gsize) picture->height;

  memcpy (job->noisy->data, job->known->data, pixels * 3 * sizeof (float));
  if (ratio > 0
      && ! process_forward (job->noisy, get_level_row, data, ratio, (guint) step + 1, job->options, pool,
                            job->cancellable, error))
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    if (job->hole->data[i] == 0)
      memcpy (picture->data + i * 3, job->noisy->data + i * 3, 3 * sizeof (float));
  return TRUE;
}

/* The hole and `margin` pixels around it. */
static DiffusionBox
find_surroundings (const DiffusionPicture *hole, int margin)
{
  int x0 = hole->width, y0 = hole->height, x1 = 0, y1 = 0;

  for (int y = 0; y < hole->height; y++)
    for (int x = 0; x < hole->width; x++)
      if (hole->data[(gsize) y * (gsize) hole->width + (gsize) x] > 0)
        {
          x0 = MIN (x0, x);
          y0 = MIN (y0, y);
          x1 = MAX (x1, x + 1);
          y1 = MAX (y1, y + 1);
        }
  x0 = MAX (x0 - margin, 0);
  y0 = MAX (y0 - margin, 0);
  return (DiffusionBox){ x0, y0, MIN (x1 + margin, hole->width) - x0, MIN (y1 + margin, hole->height) - y0 };
}

static void
put_back (const DiffusionPicture *part, DiffusionBox box, DiffusionPicture *picture)
{
  for (int y = 0; y < box.height; y++)
    memcpy (picture->data + ((gsize) (box.y + y) * (gsize) picture->width + (gsize) box.x) * 3,
            part->data + (gsize) y * (gsize) box.width * 3, (gsize) box.width * 3 * sizeof (float));
}

/* Takes the hole and what is near it some way up the forward process and back.  All of it has one level: networks know
 * noise best where it is everywhere. */
static gboolean
reconcile (const Filler *filler, Level *level, double sigma, const DiffusionOptions *whole, GError **error)
{
  int              margin = (int) (MARGIN_TEXTURE + sigma / LEVEL_NETWORK * (MARGIN_NETWORK - MARGIN_TEXTURE));
  DiffusionBox     box = find_surroundings (level->hole, margin);
  const Part       part = { whole, 0, 1, box.x, box.y };
  DiffusionOptions options = part_get_options (&part);
  g_autoptr (DiffusionPicture) picture = fill_cut (level->picture, box, error);
  g_autoptr (DiffusionPicture) hole = picture ? fill_cut (level->hole, box, error) : NULL;
  g_autoptr (DiffusionPicture) known = hole ? diffusion_picture_copy (picture, error) : NULL;
  g_autoptr (DiffusionPicture) noisy = known ? diffusion_picture_copy (picture, error) : NULL;
  Reconcile  job = { known, hole, noisy, (float) sigma, &options, filler->cancellable };
  ReverseJob reverse
      = { .level = get_level_row, .largest = sigma, .forward = TRUE, .done = put_known, .user_data = &job };

  if (! noisy || ! process_reverse (filler->model, picture, &reverse, &options, filler->cancellable, error))
    return FALSE;
  put_back (picture, box, level->picture);
  return TRUE;
}

/* ---- levels ---- */

/* What patches of the surroundings say, started from the level below. */
static gboolean
propose (const Filler *filler, Level *level, const Level *below, gboolean last, guint64 seed, const Part *part,
         GError **error)
{
  int     turns = below ? TURNS : TURNS_COARSEST, all = turns + (last ? TURNS_LAST : 0);
  GError *own = NULL;

  level->exemplar = exemplar_new (level->picture, level->roughness, level->hole, filler->cancellable, &own);
  if (own)
    {
      g_propagate_error (error, own);
      return FALSE;
    }
  if (! level->exemplar)
    return TRUE; /* the surroundings are too small: the guess stands */
  if (below && below->exemplar)
    exemplar_inherit (level->exemplar, below->exemplar, seed, filler->pool);
  else
    exemplar_begin (level->exemplar, FIRST_TRUST, seed, filler->pool);
  for (int turn = 0; turn < all; turn++)
    {
      exemplar_improve (level->exemplar, turn, SEARCHES, turn < turns ? SHARPNESS : SHARPNESS_LAST, seed, filler->pool);
      if (g_cancellable_set_error_if_cancelled (filler->cancellable, error))
        return FALSE;
      fill_report (filler, part->from + part->share * (turn + 1) / all);
    }
  if (! exemplar_join (level->exemplar, last ? SHARPNESS_LAST : SHARPNESS, filler->pool, error))
    return FALSE;
  if (last)
    exemplar_blend (level->exemplar, filler->pool);
  exemplar_get (level->exemplar, level->picture);
  return TRUE;
}

static gboolean
solve_level (const Filler *filler, Pyramid *pyramid, int index, double texture, guint64 seed, GError **error)
{
  /* A level has four times the next one's pixels. */
  const Part part = { .options = filler->options,
                      .from = PROPOSING * pow (0.25, index + 1),
                      .share = PROPOSING * 0.75 * pow (0.25, index) };
  Level     *level = &pyramid->levels[index], *below = index + 1 < pyramid->count ? level + 1 : NULL;
  g_autoptr (DiffusionPicture) smooth = NULL;
  gsize pixels = (gsize) level->picture->width * (gsize) level->picture->height;

  if (below)
    {
      holes_enlarge (level->picture, below->picture);
      holes_enlarge (level->roughness, below->roughness);
    }
  else if (! diffusion_fill_smooth (level->picture, error) || ! diffusion_fill_smooth (level->roughness, error))
    return FALSE;
  if (texture < 1 && ! (smooth = diffusion_picture_copy (level->picture, error)))
    return FALSE;
  if (! propose (filler, level, below, index == 0, seed, &part, error))
    return FALSE;
  for (gsize i = 0; smooth && i < pixels * 3; i++)
    level->picture->data[i] = smooth->data[i] + (float) texture * (level->picture->data[i] - smooth->data[i]);
  return TRUE;
}

/* Shows a level to whoever looks on. */
static void
show_level (const Filler *filler, const Level *level, int index)
{
  const DiffusionOptions *o = filler->options;
  DiffusionStep           step = { .steps = o->steps,
                                   .level_from = LEVEL_NETWORK,
                                   .level_to = LEVEL_NETWORK,
                                   .prediction = level->picture,
                                   .state = level->picture,
                                   .reduction = 1 << index };

  if (o->on_step)
    o->on_step (&step, o->step_data);
}

/* From the network come joins, edges and illumination; of what is finer, the texture's share stays as it was. */
static gboolean
keep_texture (const DiffusionPicture *proposed, double texture, Pool *pool, DiffusionPicture *picture, GError **error)
{
  gsize values = (gsize) picture->width * (gsize) picture->height * 3;
  g_autoptr (DiffusionPicture) change = diffusion_picture_copy (picture, error), coarse = NULL;

  for (gsize i = 0; change && i < values; i++)
    change->data[i] -= proposed->data[i];
  if (! change || ! (coarse = diffusion_picture_copy (change, error))
      || ! process_blur (coarse, FINE, pool, NULL, error))
    return FALSE;
  for (gsize i = 0; i < values; i++)
    picture->data[i] = proposed->data[i] + change->data[i] + (float) texture * (coarse->data[i] - change->data[i]);
  return TRUE;
}

/* Where the surroundings are smooth, so is the fill. */
static double
choose_texture (const Crop *crop, const Level *finest)
{
  gsize  pixels = (gsize) finest->hole->width * (gsize) finest->hole->height, known = 0;
  double sum = 0;

  if (crop->texture >= 0)
    return crop->texture;
  for (gsize i = 0; i < pixels; i++)
    if (finest->hole->data[i] == 0 && ! isnan (finest->roughness->data[i]))
      {
        sum += (double) finest->roughness->data[i];
        known++;
      }
  return TEXTURE_SMOOTH + (1 - TEXTURE_SMOOTH) * CLAMP (sum / (double) MAX (known, 1) / ROUGH, 0, 1);
}

gboolean
fill_large (const Filler *filler, Crop *crop, GError **error)
{
  g_auto (Pyramid) pyramid = { .count = 0 };
  g_autoptr (DiffusionPicture) proposed = NULL;
  gsize            pixels = (gsize) crop->picture->width * (gsize) crop->picture->height;
  const Part       reconciling = { .options = filler->options, .from = PROPOSING, .share = 1 - PROPOSING };
  DiffusionOptions options = part_get_options (&reconciling);
  double           texture;

  if (! pyramid_make (&pyramid, crop, error))
    return FALSE;
  texture = choose_texture (crop, &pyramid.levels[0]);
  for (int i = pyramid.count - 1; i >= 0; i--)
    {
      if (! solve_level (filler, &pyramid, i, texture, options.seed + (guint64) i, error))
        return FALSE;
      show_level (filler, &pyramid.levels[i], i);
    }
  /* The less the surroundings have said, the higher the level that the network starts from. */
  options.steps = MAX ((int) (options.steps * (STEPS_TEXTURE + (1 - STEPS_TEXTURE) * (1 - texture))),
                       MIN (options.steps, STEPS_LEAST));
  if (! (proposed = diffusion_picture_copy (pyramid.levels[0].picture, error))
      || ! reconcile (filler, &pyramid.levels[0], LEVEL_TEXTURE + (1 - texture) * (LEVEL_NETWORK - LEVEL_TEXTURE),
                      &options, error)
      || ! keep_texture (proposed, texture, filler->pool, pyramid.levels[0].picture, error))
    return FALSE;
  memcpy (crop->picture->data, pyramid.levels[0].picture->data, pixels * 3 * sizeof (float));
  return TRUE;
}
