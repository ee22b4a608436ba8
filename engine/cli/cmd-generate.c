/* gimp-diffusion: the command generate
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "picture-io.h"
#include "run.h"

#define SIZE_MOST 65500

gboolean
command_generate (const Command *self, char **argv, GError **error)
{
  g_auto (RunOptions) run = RUN_OPTIONS_PAINT (50);
  g_auto (GStrv) files = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (Photo) photo = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  int              width = 0, height = 0;
  gint64           start;
  const Option     table[] = {
        { "width", OPTION_INT, &width, "PIXELS", "the picture's width", 1, SIZE_MOST, .needed = TRUE },
        { "height", OPTION_INT, &height, "PIXELS", "the picture's height", 1, SIZE_MOST, .needed = TRUE },
        RUN_OPTIONS (run, DIFFUSION_MODEL_FILL, "50" CHECKPOINTS_OWN, "dpm++2m" CHECKPOINTS_OWN),
        PROMPT_OPTIONS (run),
  };

  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
      || ! raster_check_target (files[0], NULL, error) || ! (model = run_options_apply (&run, &options, error))
      || ! (photo = photo_new (width, height, error)))
    return FALSE;
  start = g_get_monotonic_time ();
  return run_finish (diffusion_generate (model, photo->picture, &options, run_get_cancellable (), error), start, photo,
                     files[0], error);
}
