/* Generating: all noise, no picture.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process/process.h"

/* EDM's sigma_max of 80 on [-1, 1]: nothing of any picture is left. */
#define START_LEVEL 40.0f

static void
get_level_row (int x, int y, int width, float *level, gpointer data)
{
  for (int i = 0; i < width; i++)
    level[i] = START_LEVEL;
}

gboolean
diffusion_generate (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionOptions *options,
                    GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionPicture) level = diffusion_picture_new (picture->width, picture->height, 1, error);
  gsize pixels = (gsize) picture->width * (gsize) picture->height;

  if (! level)
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    {
      level->data[i] = START_LEVEL;
      picture->data[i * 3] = picture->data[i * 3 + 1] = picture->data[i * 3 + 2] = 0.5f;
    }
  if (! diffusion_forward (picture, level, 0, 1, options->seed, 0, options->origin_x, options->origin_y, error))
    return FALSE;
  return process_reverse (model, picture, get_level_row, NULL, (double) START_LEVEL, options, cancellable, error);
}
