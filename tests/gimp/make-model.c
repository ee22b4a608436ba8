/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Writes a small untrained model: enough for all tests that do not ask how good the result is.  SEED: of its weights;
 * KEY and VALUE: what the file says of itself.
 */
#include "engine/diffusion.h"

int
main (int argc, char **argv)
{
  const DiffusionArchitecture architecture = { .levels = 2, .width = { 16, 32 }, .blocks = { 1, 1 } };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (GError) error = NULL;

  if (argc < 2 || (argc > 2 && argc % 2 == 0))
    {
      g_printerr ("Usage: %s FILE [SEED [KEY VALUE]...]\n", argv[0]);
      return 2;
    }
  model = diffusion_model_new (&architecture, argc > 2 ? g_ascii_strtoull (argv[2], NULL, 10) : 1, &error);
  for (int i = 3; model && i < argc; i += 2)
    diffusion_model_set_metadata (model, argv[i], argv[i + 1]);
  if (! model || ! diffusion_model_save (model, argv[1], &error))
    {
      g_printerr ("%s\n", error->message);
      return 1;
    }
  return 0;
}
