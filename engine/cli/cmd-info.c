/* gimp-diffusion: the command info
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "command.h"

#include <stdio.h>

gboolean
command_info (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL, keys = NULL;
  g_autofree char *path = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  const DiffusionArchitecture *architecture;

  if (! command_parse (self, argv, NULL, 0, &files, error) || ! (path = diffusion_model_find (files[0], error))
      || ! (model = diffusion_model_load (path, error)))
    return FALSE;
  architecture = diffusion_model_get_architecture (model);
  printf ("file: %s\nwidths:", path);
  for (int i = 0; i < architecture->levels; i++)
    printf ("%s%d", i ? "," : " ", architecture->width[i]);
  printf ("\nblocks:");
  for (int i = 0; i < architecture->levels; i++)
    printf ("%s%d", i ? "," : " ", architecture->blocks[i]);
  printf ("\nparameters: %" G_GSIZE_FORMAT "\nmacs per pixel: %.0f\nmargin: %d\n",
          diffusion_model_count_parameters (model), diffusion_model_count_macs (model),
          diffusion_model_get_margin (model));
  keys = diffusion_model_list_metadata (model);
  puts ("metadata:");
  for (char **key = keys; key && *key; key++)
    printf ("  %s: %s\n", *key, diffusion_model_get_metadata (model, *key));
  return TRUE;
}
