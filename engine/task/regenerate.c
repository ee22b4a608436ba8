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
  const DiffusionPicture *mask;       /* NULL: 1 everywhere */
  const DiffusionPicture *original;   /* NULL: nothing is held */
  DiffusionPicture       *difference; /* working memory */
  double                  strength, structure, blur;
  const DiffusionOptions *options;
  GCancellable           *cancellable;
} Regenerate;

/* A level whose share of what the network is told is the strength: s / (s + sigma_data), on [-1, 1]. */
static double
level_of_strength (double strength)
{
  double level = strength < 1 ? SIGMA_DATA / (double) LEVEL_TO_SIGMA * strength / (1 - strength) : DIFFUSION_LEVEL_MOST;

  return MIN (level, DIFFUSION_LEVEL_MOST);
}

static float
get_level (const Regenerate *self, gsize pixel)
{
  double share = self->mask ? (double) CLAMP (self->mask->data[pixel], 0.0f, 1.0f) : 1.0;

  return (float) level_of_strength (self->strength * share);
}

static void
get_level_row (int x, int y, int width, float *level, gpointer data)
{
  const Regenerate *self = data;
  gsize             first = self->mask ? (gsize) y * (gsize) self->mask->width + (gsize) x : 0;

  for (int i = 0; i < width; i++)
    level[i] = get_level (self, first + (gsize) i);
}

/* StepDone: adds structure * low_pass (original at this noise level - x). */
static gboolean
pull (DiffusionPicture *picture, int step, double ratio, Pool *pool, gpointer data, GError **error)
{
  const Regenerate *self = data;
  DiffusionPicture *difference = self->difference;
  gsize             pixels = (gsize) picture->width * (gsize) picture->height;

  if (! self->original)
    return TRUE;
  memcpy (difference->data, self->original->data, pixels * 3 * sizeof (float));
  if (ratio > 0
      && ! process_forward (difference, get_level_row, data, ratio, (guint) step + HOLD_STREAM, self->options, pool,
                            self->cancellable, error))
    return FALSE;
  for (gsize i = 0; i < pixels * 3; i++)
    difference->data[i] -= picture->data[i];
  if (! process_blur (difference, self->blur, pool, self->cancellable, error))
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    for (gsize c = 0; c < 3 && get_level (self, i) > 0; c++)
      picture->data[i * 3 + c] += (float) self->structure * difference->data[i * 3 + c];
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
  g_autoptr (DiffusionPicture) original = NULL, difference = NULL;
  Regenerate self
      = { .mask = mask, .strength = strength, .structure = structure, .options = options, .cancellable = cancellable };
  ReverseJob       job = { .level = get_level_row, .forward = TRUE, .done = pull, .user_data = &self };
  DiffusionOptions own = *options;
  gsize            pixels;

  if (! check_arguments (picture, mask, strength, structure, error))
    return FALSE;
  if (model_get_checkpoint (model))
    return checkpoint_regenerate (model_get_checkpoint (model), picture, mask, strength, options, cancellable, error);
  pixels = mask ? (gsize) picture->width * (gsize) picture->height : 1;
  for (gsize i = 0; i < pixels; i++)
    job.largest = MAX (job.largest, (double) get_level (&self, i));
  /* Nothing is to change: the picture is what it is. */
  if (job.largest == 0)
    return TRUE;
  if (structure > 0
      && (! (original = diffusion_picture_copy (picture, error))
          || ! (difference = diffusion_picture_new (picture->width, picture->height, 3, error))))
    return FALSE;
  self.original = original;
  self.difference = difference;
  self.blur = HOLD_FREE * pow (HOLD_FIRM / HOLD_FREE, structure);
  own.tile = 0; /* strips agree only to rounding, and the result is to be the same to the last bit */
  return process_reverse (model, picture, &job, &own, cancellable, error);
}
