/* Thin holes: scratches, wires, letters.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Three predictions with different weaknesses: the smoothest surface, the mean of many similar patches, and the
 * network's.  Their errors are hardly related, so a mean of them is better than each.  How much each is worth depends
 * on the picture and on the model.  It is measured: a copy of the hole, moved a little so that it lies on known pixels,
 * is filled too, and the weights are those that would have been best there.
 */
#include "exemplar.h"
#include "fill.h"
#include "part.h"
#include "process/process.h"

#include <math.h>
#include <string.h>

#define RUNS     8 /* searches with different random numbers, whose means are averaged */
#define TURNS    3
#define SEARCHES 2
#define TRUST    0.02
/* Roughness says less where a few pixels are missing than in a large hole. */
#define ROUGHNESS_SHARE 0.5f

/* The network starts from the mean of the two others with noise of this level. */
#define NETWORK_LEVEL 0.25f
#define NETWORK_STEPS 8

/* Weights are measured in a window of at most this size, on at least so many pixels. */
#define WINDOW      320
#define SAMPLES_MIN 64
/* Known weights count as much as this many pixels of measurement. */
#define PRIOR_PIXELS  1500.0
#define PRIOR_PATCHES 0.5
/* A network that is worth less than this is not asked. */
#define WEIGHT_LEAST 0.1
/* Of the time that a prediction takes, the patches' share. */
#define PATCHES_SHARE 0.6
/* The share of the time that it takes to measure what each is worth. */
#define MEASURING 0.5

typedef enum
{
  PLATE,
  PATCHES,
  NETWORK,
  PREDICTIONS
} Prediction;

typedef struct
{
  DiffusionPicture *of[PREDICTIONS];
} Predictions;

static void
predictions_clear (Predictions *predictions)
{
  for (int i = 0; i < PREDICTIONS; i++)
    g_clear_pointer (&predictions->of[i], diffusion_picture_free);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Predictions, predictions_clear)

/* ---- predictions ---- */

/* a + weight * b in the hole, a copy of `known` elsewhere. */
static void
add_weighted (const DiffusionPicture *hole, float weight, const DiffusionPicture *b, DiffusionPicture *a)
{
  gsize pixels = (gsize) hole->width * (gsize) hole->height;

  for (gsize i = 0; i < pixels; i++)
    for (gsize c = 0; c < 3 && hole->data[i] > 0; c++)
      a->data[i * 3 + c] += weight * b->data[i * 3 + c];
}

static void
clear_hole (const DiffusionPicture *hole, DiffusionPicture *picture)
{
  gsize pixels = (gsize) hole->width * (gsize) hole->height;

  for (gsize i = 0; i < pixels; i++)
    if (hole->data[i] > 0)
      memset (picture->data + i * 3, 0, 3 * sizeof (float));
}

/* The weighted mean in the hole; where it is 0, the picture stays. */
static void
mix (const DiffusionPicture *hole, const DiffusionPicture *const of[PREDICTIONS], const double weights[PREDICTIONS],
     DiffusionPicture *picture)
{
  clear_hole (hole, picture);
  for (int i = 0; i < PREDICTIONS; i++)
    if (of[i] && (i != NETWORK || weights[i] > 0))
      add_weighted (hole, (float) weights[i], of[i], picture);
}

/* ---- looking on ---- */

/* What is shown of a hole while its predictions are made, to whoever looks on. */
typedef struct
{
  const DiffusionOptions *options;
  const DiffusionPicture *hole;
  const Predictions      *predictions;
  double                  patches, net; /* their weights */
  DiffusionPicture       *shown;        /* its known pixels are there */
} Spectacle;

/* step: as the network tells it; NULL: before. */
static void
show (const Spectacle *spectacle, const double weights[PREDICTIONS], const DiffusionStep *step)
{
  const Predictions            *p = spectacle->predictions;
  const DiffusionPicture *const of[PREDICTIONS] = { p->of[PLATE], p->of[PATCHES], step ? step->prediction : NULL };
  DiffusionStep                 seen = { .steps = MIN (spectacle->options->steps, NETWORK_STEPS),
                                         .level_from = (double) NETWORK_LEVEL,
                                         .level_to = (double) NETWORK_LEVEL,
                                         .reduction = 1 };

  if (step)
    seen = *step;
  mix (spectacle->hole, of, weights, spectacle->shown);
  seen.prediction = seen.state = spectacle->shown;
  spectacle->options->on_step (&seen, spectacle->options->step_data);
}

/* The network, which has not spoken yet, will start from the mean of the two others: its weight is theirs as long.
 * runs: of the patches, whose sum is not whole yet. */
static void
show_patches (const Spectacle *spectacle, int runs)
{
  const double plate = 1 - spectacle->patches - spectacle->net / 2, patches = spectacle->patches + spectacle->net / 2;
  const double weights[PREDICTIONS] = { plate, patches * RUNS / runs, 0 };

  show (spectacle, weights, NULL);
}

static void
show_network (const DiffusionStep *step, gpointer data)
{
  const Spectacle *spectacle = data;
  const double weights[PREDICTIONS] = { 1 - spectacle->patches - spectacle->net, spectacle->patches, spectacle->net };

  show (spectacle, weights, step);
}

/* ---- making them ---- */

static gboolean
predict_plate (const Filler *filler, const DiffusionPicture *picture, Predictions *predictions, GError **error)
{
  predictions->of[PLATE] = diffusion_picture_copy (picture, error);
  return predictions->of[PLATE] && plate_fill (predictions->of[PLATE], filler->cancellable, error);
}

/* The mean of what similar patches say; the plate itself where there are none. */
static gboolean
predict_patches (const Filler *filler, const DiffusionPicture *picture, const DiffusionPicture *hole, const Part *part,
                 const Spectacle *spectacle, Predictions *predictions, GError **error)
{
  g_autoptr (DiffusionPicture) roughness = fill_measure_roughness (picture, error), one = NULL;
  g_autoptr (Exemplar) exemplar = NULL;
  GError *own = NULL;

  if (! roughness || ! diffusion_fill_smooth (roughness, error)
      || ! (one = diffusion_picture_copy (predictions->of[PLATE], error))
      || ! (predictions->of[PATCHES] = diffusion_picture_copy (one, error)))
    return FALSE;
  for (gsize i = 0; i < (gsize) hole->width * (gsize) hole->height; i++)
    roughness->data[i] *= ROUGHNESS_SHARE;
  clear_hole (hole, predictions->of[PATCHES]);
  exemplar = exemplar_new (predictions->of[PLATE], roughness, hole, filler->cancellable, &own);
  if (own)
    {
      g_propagate_error (error, own);
      return FALSE;
    }
  for (guint64 run = 0; run < RUNS; run++)
    {
      /* Of its own for each run of each seed: variants have seeds that follow each other. */
      const guint64 seed = filler->options->seed * RUNS + run;

      if (exemplar)
        {
          exemplar_set (exemplar, predictions->of[PLATE], roughness);
          exemplar_begin (exemplar, TRUST, seed, filler->pool);
          for (int turn = 0; turn < TURNS; turn++)
            exemplar_improve (exemplar, turn, SEARCHES, 0, seed, filler->pool);
          exemplar_get (exemplar, one);
        }
      if (g_cancellable_set_error_if_cancelled (filler->cancellable, error))
        return FALSE;
      add_weighted (hole, 1.0f / RUNS, one, predictions->of[PATCHES]);
      fill_report (filler, part->from + part->share * (double) (run + 1) / RUNS);
      if (spectacle)
        show_patches (spectacle, (int) run + 1);
    }
  return TRUE;
}

static void
get_level_row (int x, int y, int width, float *level, gpointer hole)
{
  process_get_map_row (x, y, width, level, hole);
  for (int i = 0; i < width; i++)
    level[i] *= NETWORK_LEVEL;
}

/* The reverse process from a moderate level, starting at the mean of the other two. */
static gboolean
predict_network (const Filler *filler, const DiffusionPicture *hole, const Part *part, const Spectacle *spectacle,
                 Predictions *predictions, GError **error)
{
  DiffusionOptions options = part_get_options (part);
  ReverseJob       job
      = { .level = get_level_row, .largest = (double) NETWORK_LEVEL, .forward = TRUE, .user_data = (gpointer) hole };
  DiffusionPicture *x = diffusion_picture_copy (predictions->of[PATCHES], error);

  if (! x)
    return FALSE;
  predictions->of[NETWORK] = x;
  for (gsize i = 0; i < (gsize) hole->width * (gsize) hole->height * 3; i++)
    x->data[i] = (x->data[i] + predictions->of[PLATE]->data[i]) / 2;
  options.steps = MIN (options.steps, NETWORK_STEPS);
  options.on_step = spectacle ? show_network : NULL;
  options.step_data = (gpointer) spectacle;
  return process_reverse (filler->model, x, &job, &options, filler->cancellable, error);
}

/* ---- what each is worth ---- */

/* The best weights of two predictions that are added to a third, by least squares. */
static void
solve_weights (const Predictions *p, const DiffusionPicture *truth, const guint8 *test, gboolean network,
               double *patches, double *net)
{
  gsize  pixels = (gsize) truth->width * (gsize) truth->height;
  double aa = 0, ab = 0, bb = 0, at = 0, bt = 0, prior, det;
  int    n = 0;

  for (gsize i = 0; i < pixels * 3; i++)
    {
      double base, a, b, t;

      if (! test[i / 3])
        continue;
      base = (double) p->of[PLATE]->data[i];
      a = (double) p->of[PATCHES]->data[i] - base;
      b = network ? (double) p->of[NETWORK]->data[i] - base : 0;
      t = (double) truth->data[i] - base;
      aa += a * a;
      ab += a * b;
      bb += b * b;
      at += a * t;
      bt += b * t;
      n++;
    }
  /* As if PRIOR_PIXELS pixels had said that patches and plate are worth the same, and the network nothing. */
  prior = n > 0 ? 3 * PRIOR_PIXELS / n : 1;
  at += prior * PRIOR_PATCHES * aa;
  aa *= 1 + prior;
  bb *= 1 + prior;
  det = aa * bb - ab * ab;
  *net = network && det > 1e-9 * aa * bb ? (bt * aa - at * ab) / det : 0;
  *net = *net < WEIGHT_LEAST ? 0 : MIN (*net, 1);
  *patches = aa > 0 ? (at - *net * ab) / aa : PRIOR_PATCHES;
  *patches = CLAMP (*patches, 0, 1 - *net);
}

/* Pixels that a moved copy of the hole covers and that are far enough from the hole itself. */
static int
mark_test (const DiffusionPicture *hole, const guint8 *near, int dx, int dy, guint8 *test)
{
  int count = 0;

  for (int y = 0; y < hole->height; y++)
    for (int x = 0; x < hole->width; x++)
      {
        int   u = x - dx, v = y - dy;
        gsize i = (gsize) y * (gsize) hole->width + (gsize) x;

        test[i] = u >= 0 && v >= 0 && u < hole->width && v < hole->height && ! near[i]
                  && hole->data[(gsize) v * (gsize) hole->width + (gsize) u] > 0;
        count += test[i];
      }
  return count;
}

/* The next place to try, of which the last one counts however near it is; behind it when there is none. */
static int
get_next_place (int place, int step, int last)
{
  return place < last ? MIN (place + step, last) : last + 1;
}

/* The part of the picture, at most WINDOW pixels wide and high, that has most of the hole. */
static DiffusionBox
find_window (const DiffusionPicture *hole)
{
  DiffusionBox best = { 0, 0, MIN (hole->width, WINDOW), MIN (hole->height, WINDOW) };
  const int    right = hole->width - best.width, bottom = hole->height - best.height;
  int          most = -1, step = WINDOW / 4;

  for (int y = 0; y <= bottom; y = get_next_place (y, step, bottom))
    for (int x = 0; x <= right; x = get_next_place (x, step, right))
      {
        int count = 0;

        for (int v = y; v < y + best.height; v += 2)
          for (int u = x; u < x + best.width; u += 2)
            count += hole->data[(gsize) v * (gsize) hole->width + (gsize) u] > 0;
        if (count > most)
          {
            most = count;
            best.x = x;
            best.y = y;
          }
      }
  return best;
}

/* Finds a move of the hole onto known pixels; FALSE when there is none that has enough of them.  near: zeros, for the
 * pixels within 3 of the hole. */
static gboolean
choose_test (const DiffusionPicture *hole, double radius, guint8 *near, guint8 *test)
{
  static const int directions[8][2]
      = { { 1, 0 }, { 0, 1 }, { -1, 0 }, { 0, -1 }, { 1, 1 }, { -1, 1 }, { -1, -1 }, { 1, -1 } };
  int far = (int) (2 * radius) + 6, best = -1, most = SAMPLES_MIN - 1;

  for (int y = 0; y < hole->height; y++)
    for (int x = 0; x < hole->width; x++)
      for (int v = MAX (y - 3, 0); v <= MIN (y + 3, hole->height - 1); v++)
        for (int u = MAX (x - 3, 0); u <= MIN (x + 3, hole->width - 1); u++)
          near[(gsize) y * (gsize) hole->width + (gsize) x]
              |= hole->data[(gsize) v * (gsize) hole->width + (gsize) u] > 0;
  for (int i = 0; i < 8; i++)
    {
      int count = mark_test (hole, near, directions[i][0] * far, directions[i][1] * far, test);

      if (count > most)
        {
          most = count;
          best = i;
        }
    }
  if (best >= 0)
    mark_test (hole, near, directions[best][0] * far, directions[best][1] * far, test);
  return best >= 0;
}

/* share: how much of the work this was. */
static gboolean
measure_weights (const Filler *filler, const Crop *crop, const DiffusionPicture *hole, double *patches, double *net,
                 double *share, GError **error)
{
  const Part parts[2]
      = { { .options = filler->options, .share = MEASURING * PATCHES_SHARE },
          { .options = filler->options, .from = MEASURING * PATCHES_SHARE, .share = MEASURING * (1 - PATCHES_SHARE) } };
  DiffusionBox box = find_window (hole);
  g_auto (Predictions) predictions = { { NULL } };
  g_autoptr (DiffusionPicture) truth = fill_cut (crop->picture, box, error), part = NULL, picture = NULL;
  gsize                 pixels = (gsize) box.width * (gsize) box.height;
  core_autofree guint8 *test = truth ? core_alloc0 (pixels, 2, error) : NULL;

  *patches = PRIOR_PATCHES;
  *net = *share = 0;
  if (! test || ! (part = fill_cut (hole, box, error)))
    return FALSE;
  if (! choose_test (part, crop->radius, test + pixels, test))
    return TRUE;
  *share = MEASURING;
  if (! (picture = diffusion_picture_copy (truth, error)))
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    if (test[i])
      {
        part->data[i] = 1;
        for (gsize c = 0; c < 3; c++)
          picture->data[i * 3 + c] = NAN;
      }
  if (! predict_plate (filler, picture, &predictions, error)
      || ! predict_patches (filler, picture, part, &parts[0], NULL, &predictions, error)
      || ! predict_network (filler, part, &parts[1], NULL, &predictions, error))
    return FALSE;
  solve_weights (&predictions, truth, test, TRUE, patches, net);
  if (*net == 0)
    solve_weights (&predictions, truth, test, FALSE, patches, net);
  return TRUE;
}

gboolean
fill_thin (const Filler *filler, Crop *crop, GError **error)
{
  g_autoptr (DiffusionPicture) hole = fill_mark_hole (crop->picture, error), shown = NULL;
  Part patches = { .options = filler->options }, network = { .options = filler->options };
  g_auto (Predictions) predictions = { { NULL } };
  Spectacle        spectacle = { filler->options, hole, &predictions, 0, 0, NULL };
  const Spectacle *watched = filler->options->on_step ? &spectacle : NULL;

  /* The plate comes before the measuring, since it is there at once and can be seen meanwhile. */
  if (! hole || ! predict_plate (filler, crop->picture, &predictions, error))
    return FALSE;
  if (watched)
    {
      if (! (spectacle.shown = shown = diffusion_picture_copy (predictions.of[PLATE], error)))
        return FALSE;
      show (watched, (const double[PREDICTIONS]){ 1 }, NULL);
    }
  if (! measure_weights (filler, crop, hole, &spectacle.patches, &spectacle.net, &patches.from, error))
    return FALSE;
  patches.share = (1 - patches.from) * (spectacle.net > 0 ? PATCHES_SHARE : 1);
  network.from = patches.from + patches.share;
  network.share = 1 - network.from;
  if (! predict_patches (filler, crop->picture, hole, &patches, watched, &predictions, error)
      || (spectacle.net > 0 && ! predict_network (filler, hole, &network, watched, &predictions, error)))
    return FALSE;

  const DiffusionPicture *const of[PREDICTIONS]
      = { predictions.of[PLATE], predictions.of[PATCHES], predictions.of[NETWORK] };
  const double weights[PREDICTIONS] = { 1 - spectacle.patches - spectacle.net, spectacle.patches, spectacle.net };

  mix (hole, of, weights, crop->picture);
  return TRUE;
}
