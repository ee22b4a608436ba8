/* quality-psnr MODEL FOLDER: the mean PSNR of one network call on a folder of clean pictures with white noise of 15, 25
 * and 50, as it is published for other networks: peak 255, the noisy picture not clipped, the level known, seed 0.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "photo.h"

#include <stdio.h>
#include <stdlib.h>

static const double levels[] = { 15, 25, 50 };

static gboolean
measure (const DiffusionModel *model, const DiffusionPicture *clean, double sigma, double *psnr, GError **error)
{
  g_autoptr (DiffusionPicture) picture = photo_add_noise (clean, sigma / 255, 0);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise;

  diffusion_noise_set_uniform (&noise, sigma / 255);
  if (! diffusion_denoise (model, picture, NULL, &noise, 1, &options, NULL, error))
    return FALSE;
  *psnr = photo_get_psnr (clean, picture);
  return TRUE;
}

static gboolean
measure_folder (const DiffusionModel *model, const char *folder, GError **error)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, error);
  const char *name;
  double      sums[G_N_ELEMENTS (levels)] = { 0 }, psnr;
  int         count = 0;

  if (! dir)
    return FALSE;
  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);
      g_autoptr (DiffusionPicture) clean = photo_load (path);

      if (! clean)
        continue;
      printf ("%-24s", name);
      for (gsize i = 0; i < G_N_ELEMENTS (levels); i++)
        {
          if (! measure (model, clean, levels[i], &psnr, error))
            return FALSE;
          sums[i] += psnr;
          printf (" %6.2f", psnr);
        }
      printf ("\n");
      count++;
    }
  printf ("%-24s", "mean");
  for (gsize i = 0; i < G_N_ELEMENTS (levels) && count > 0; i++)
    printf (" %6.2f", sums[i] / count);
  printf ("   dB at 15, 25, 50; %d pictures\n", count);
  return TRUE;
}

int
main (int argc, char **argv)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  gboolean success = FALSE;

  if (argc != 3)
    {
      fprintf (stderr, "Usage: quality-psnr MODEL FOLDER\n");
      return EXIT_FAILURE;
    }
  model = diffusion_model_load (argv[1], &error);
  photo_begin ();
  success = model && measure_folder (model, argv[2], &error);
  photo_end ();
  if (! success)
    fprintf (stderr, "%s\n", error->message);
  return success ? EXIT_SUCCESS : EXIT_FAILURE;
}
