/* Generating: all noise, no picture.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"
#include "net/model.h"

static void
get_level_row (int x, int y, int width, float *level, gpointer data)
{
  for (int i = 0; i < width; i++)
    level[i] = DIFFUSION_LEVEL_MOST;
}

gboolean
diffusion_generate (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionOptions *options,
                    GCancellable *cancellable, GError **error)
{
  gsize      values = (gsize) picture->width * (gsize) picture->height * 3;
  ReverseJob job = { .level = get_level_row, .largest = DIFFUSION_LEVEL_MOST, .forward = TRUE };

  if (picture->channels != 3)
    {
      g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                           "Generating needs a picture of 3 channels.");
      return FALSE;
    }
  if (model_get_checkpoint (model))
    return checkpoint_generate (model_get_checkpoint (model), picture, options, cancellable, error);
  for (gsize i = 0; i < values; i++)
    picture->data[i] = 0.5f;
  return process_reverse (model, picture, &job, options, cancellable, error);
}
