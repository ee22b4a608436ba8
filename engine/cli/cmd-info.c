/* gimp-diffusion: the command info
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "command.h"

#include <stdio.h>

static void
print_network (const DiffusionModel *model)
{
  const DiffusionArchitecture *architecture = diffusion_model_get_architecture (model);

  printf ("widths:");
  for (int i = 0; i < architecture->levels; i++)
    printf ("%s%d", i ? "," : " ", architecture->width[i]);
  printf ("\nblocks:");
  for (int i = 0; i < architecture->levels; i++)
    printf ("%s%d", i ? "," : " ", architecture->blocks[i]);
  printf ("\nparameters: %" G_GSIZE_FORMAT "\nmacs per pixel: %.0f\nmargin: %d\n",
          diffusion_model_count_parameters (model), diffusion_model_count_macs (model),
          diffusion_model_get_margin (model));
}

static void
print_checkpoint (const DiffusionModel *model)
{
  static const char *const   predictions[] = { "unknown", "epsilon", "v" };
  const DiffusionCheckpoint *checkpoint = diffusion_model_get_checkpoint (model);

  printf ("family: Stable Diffusion %d%s%s\nprediction: %s\nnative size: %d\nparameters: %" G_GSIZE_FORMAT
          "\ndefaults: %d steps, sampler %s, guidance %g\n",
          checkpoint->family == DIFFUSION_FAMILY_SD1 ? 1 : 2, checkpoint->inpainting ? ", inpainting" : "",
          checkpoint->few_steps ? ", few steps" : "", predictions[checkpoint->prediction], checkpoint->native_size,
          diffusion_model_count_parameters (model), checkpoint->steps, diffusion_sampler_get_name (checkpoint->sampler),
          checkpoint->guidance);
}

gboolean
command_info (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL, keys = NULL;
  g_autofree char *path = NULL;
  g_autoptr (DiffusionModel) model = NULL;

  if (! command_parse (self, argv, NULL, 0, &files, error) || ! (path = diffusion_model_find (files[0], error))
      || ! (model = diffusion_model_load (path, error)))
    return FALSE;
  printf ("file: %s\n", path);
  if (diffusion_model_get_checkpoint (model))
    print_checkpoint (model);
  else
    print_network (model);
  keys = diffusion_model_list_metadata (model);
  puts ("metadata:");
  for (char **key = keys; key && *key; key++)
    printf ("  %s: %s\n", *key, diffusion_model_get_metadata (model, *key));
  return TRUE;
}
