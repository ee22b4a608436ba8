/* Regenerating: some way up the forward process and back (SDEdit: Meng et al. 2022), while the composition is held
 * (ILVR: Choi et al. 2021).  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"
#include "net/model.h"

#include <math.h>
#include <string.h>

/* The low frequencies that are held are those below a Gaussian's of this many pixels: from free to firm. */
#define HOLD_FREE 24.0
#define HOLD_FIRM 2.0

/* The stream of the noise that goes with the held frequencies; the first is the start's. */
#define HOLD_STREAM 1

typedef struct
{
  const DiffusionPicture *original, *level;
  DiffusionPicture       *difference; /* working memory */
  double                  structure, blur;
  const DiffusionOptions *options;
} Hold;

/* A level whose share of what the network is told is the strength: s / (s + sigma_data), on [-1, 1]. */
static double
level_of_strength (double strength)
{
  double level = strength < 1 ? SIGMA_DATA / (double) LEVEL_TO_SIGMA * strength / (1 - strength) : DIFFUSION_LEVEL_MOST;

  return MIN (level, DIFFUSION_LEVEL_MOST);
}

static void
get_level_row (int x, int y, int width, float *level, gpointer data)
{
  const Hold *hold = data;

  memcpy (level, hold->level->data + (gsize) y * (gsize) hold->level->width + x, (gsize) width * sizeof (float));
}

/* StepDone: adds structure * low_pass (original at this noise level - x). */
static gboolean
pull (DiffusionPicture *picture, int step, double ratio, Pool *pool, gpointer data, GError **error)
{
  const Hold       *hold = data;
  DiffusionPicture *difference = hold->difference;
  gsize             pixels = (gsize) picture->width * (gsize) picture->height;

  if (hold->structure == 0)
    return TRUE;
  memcpy (difference->data, hold->original->data, pixels * 3 * sizeof (float));
  if (ratio > 0
      && ! process_forward (difference, hold->level, 0, ratio, hold->options->seed, (guint) step + HOLD_STREAM,
                            hold->options->origin_x, hold->options->origin_y, pool, error))
    return FALSE;
  for (gsize i = 0; i < pixels * 3; i++)
    difference->data[i] -= picture->data[i];
  if (! process_blur (difference, hold->blur, pool, error))
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    for (gsize c = 0; c < 3 && hold->level->data[i] > 0; c++)
      picture->data[i * 3 + c] += (float) hold->structure * difference->data[i * 3 + c];
  return TRUE;
}

static gboolean
check_arguments (const DiffusionPicture *picture, const DiffusionPicture *mask, double strength, double structure,
                 GError **error)
{
  const char *wrong = NULL;

  if (picture->channels != 3)
    wrong = "a picture of 3 channels";
  else if (mask && (mask->channels != 1 || mask->width != picture->width || mask->height != picture->height))
    wrong = "a mask of 1 channel and of the picture's size";
  else if (! (strength >= 0) || strength > 1)
    wrong = "a strength from 0 to 1";
  else if (! (structure >= 0) || structure > 1)
    wrong = "a structure from 0 to 1";
  if (wrong)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "Regenerating needs %s.", wrong);
  return ! wrong;
}

gboolean
diffusion_regenerate (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
                      double strength, double structure, const DiffusionOptions *options, GCancellable *cancellable,
                      GError **error)
{
  g_autoptr (DiffusionPicture) original = NULL, level = NULL, difference = NULL;
  Hold             hold = { .structure = structure, .options = options };
  ReverseJob       job = { get_level_row, 0, pull, &hold };
  DiffusionOptions own = *options;
  gsize            pixels;

  if (! check_arguments (picture, mask, strength, structure, error))
    return FALSE;
  if (model_get_checkpoint (model))
    return checkpoint_regenerate (model_get_checkpoint (model), picture, mask, strength, options, cancellable, error);
  if (! (level = diffusion_picture_new (picture->width, picture->height, 1, error)))
    return FALSE;
  pixels = (gsize) picture->width * (gsize) picture->height;
  for (gsize i = 0; i < pixels; i++)
    {
      double share = mask ? (double) CLAMP (mask->data[i], 0.0f, 1.0f) : 1.0;

      level->data[i] = (float) level_of_strength (strength * share);
      job.largest = MAX (job.largest, (double) level->data[i]);
    }
  /* Nothing is to change: the picture is what it is. */
  if (job.largest == 0)
    return TRUE;
  if (structure > 0
      && (! (original = diffusion_picture_copy (picture, error))
          || ! (difference = diffusion_picture_new (picture->width, picture->height, 3, error))))
    return FALSE;
  hold.original = original;
  hold.level = level;
  hold.difference = difference;
  hold.blur = HOLD_FREE * pow (HOLD_FIRM / HOLD_FREE, structure);
  own.tile = 0; /* strips agree only to rounding, and the result is to be the same to the last bit */
  return diffusion_forward (picture, level, 0, 1, options->seed, 0, options->origin_x, options->origin_y, error)
         && process_reverse (model, picture, &job, &own, cancellable, error);
}
