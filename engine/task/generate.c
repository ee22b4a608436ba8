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
  g_autoptr (DiffusionPicture) level = NULL;
  gsize      pixels = (gsize) picture->width * (gsize) picture->height;
  ReverseJob job = { get_level_row, DIFFUSION_LEVEL_MOST, NULL, NULL };

  if (picture->channels != 3)
    {
      g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                           "Generating needs a picture of 3 channels.");
      return FALSE;
    }
  if (model_get_checkpoint (model))
    return checkpoint_generate (model_get_checkpoint (model), picture, options, cancellable, error);
  level = diffusion_picture_new (picture->width, picture->height, 1, error);
  if (! level)
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    {
      level->data[i] = DIFFUSION_LEVEL_MOST;
      picture->data[i * 3] = picture->data[i * 3 + 1] = picture->data[i * 3 + 2] = 0.5f;
    }
  if (! diffusion_forward (picture, level, 0, 1, options->seed, 0, options->origin_x, options->origin_y, error))
    return FALSE;
  return process_reverse (model, picture, &job, options, cancellable, error);
}
