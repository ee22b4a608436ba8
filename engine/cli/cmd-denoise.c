/* gimp-diffusion: the commands that look at noise: denoise, estimate, forward
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "picture-io.h"
#include "run.h"

#include <stdio.h>

#define LEVELS       255.0 /* the user's unit of noise is one level of 8 bits */
#define DENOISE_MOST 255
#define FORWARD_MOST 10000

typedef struct
{
  double strength, detail, colour;
} Shares;

/* --noise: a level, or -1 for a photograph that is to be measured. */
static gboolean
parse_noise (const char *text, double *level, GError **error)
{
  *level = -1;
  if (! text || g_strcmp0 (text, "auto") == 0 || option_parse_real ("noise", text, 0, DENOISE_MOST, level, NULL))
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
               "--noise takes auto or a number from 0 to %d, not \"%s\"; \"diffusion denoise --help\" explains it",
               DENOISE_MOST, text);
  return FALSE;
}

/* What is measured is what the mask selects, or all where that has no spot that tells: as in GIMP.  What is not visible
 * tells nothing. */
static gboolean
choose_noise (double level, const Photo *photo, const DiffusionPicture *mask, DiffusionNoise *noise, GError **error)
{
  if (level >= 0)
    diffusion_noise_set_uniform (noise, level / LEVELS);
  else if (! photo_estimate_noise (photo, mask, noise, error)
           || (noise->spots == 0 && ! photo_estimate_noise (photo, NULL, noise, error)))
    return FALSE;
  printf ("noise: %.1f (%s)\n", noise->sigma * LEVELS, level >= 0 ? "given" : "estimated");
  return TRUE;
}

/* One call of the network serves all three shares; only a share of luma or of colour alone needs the original too. */
static gboolean
denoise (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
         const DiffusionNoise *noise, const Shares *shares, const DiffusionOptions *options, GError **error)
{
  gboolean split = shares->strength > 0 && (shares->detail > 0 || shares->colour < 1);
  g_autoptr (DiffusionPicture) original = split ? diffusion_picture_copy (picture, error) : NULL;

  if (split && ! original)
    return FALSE;
  return diffusion_denoise (model, picture, mask, noise, split ? MAX (shares->strength, 1) : shares->strength, options,
                            run_get_cancellable (), error)
         && (! split
             || diffusion_denoise_blend (original, picture, shares->strength, shares->detail, shares->colour, picture,
                                         error));
}

gboolean
command_denoise (const Command *self, char **argv, GError **error)
{
  g_auto (RunOptions) run = RUN_OPTIONS_INIT (.usual_model = DIFFUSION_MODEL_DENOISE, .steps = 1);
  g_auto (GStrv) files = NULL;
  g_autofree char *noise_text = NULL, *mask_path = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) mask = NULL;
  g_autoptr (Photo) photo = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise = { 0 };
  Shares           shares = { 1, 0, 1 };
  double           level;
  gint64           start;
  const Option     table[] = {
        RUN_OPTIONS (run, DIFFUSION_MODEL_DENOISE, "1", "dpm++2m"),
        { "noise", OPTION_TEXT, &noise_text, "SIGMA",
          "the photograph's noise in units of 1/255, 0 to 255; auto, the default: measure it" },
        { "strength", OPTION_REAL, &shares.strength, "X",
          "0: leave the photograph alone, 1, the default: denoise, 2: smoother than that", 0, 2 },
        { "detail", OPTION_REAL, &shares.detail, "X",
          "0, the default, to 1: how much of the brightness's grain and texture is to stay", 0, 1 },
        { "colour", OPTION_REAL, &shares.colour, "X", "0 to 1, the default: how much of the colour noise is to go", 0, 1 },
        OPTION_MASK (&mask_path),
  };

  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
      || ! parse_noise (noise_text, &level, error) || ! raster_check_target (files[1], NULL, error)
      || ! (model = run_options_apply (&run, &options, error)) || ! (photo = photo_read (files[0], TRUE, error))
      || ! raster_check_target (files[1], photo->raster, error)
      || (mask_path && ! (mask = mask_read (mask_path, photo->picture, error)))
      || ! choose_noise (level, photo, mask, &noise, error))
    return FALSE;
  start = g_get_monotonic_time ();
  return run_finish (denoise (model, photo->picture, mask, &noise, &shares, &options, error), start, photo, files[1],
                     error);
}

gboolean
command_estimate (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL;
  g_autofree char *mask_path = NULL;
  g_autoptr (DiffusionPicture) mask = NULL;
  g_autoptr (Photo) photo = NULL;
  DiffusionNoise noise;
  gint64         start;
  const Option   table[] = { OPTION_MASK (&mask_path) };

  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
      || ! (photo = photo_read (files[0], TRUE, error))
      || (mask_path && ! (mask = mask_read (mask_path, photo->picture, error))))
    return FALSE;
  start = g_get_monotonic_time ();
  if (! photo_estimate_noise (photo, mask, &noise, error))
    return FALSE;
  printf ("sigma: %.3f\nluma: %.3f\nchroma: %.3f\ncurve:", noise.sigma * LEVELS, noise.luma * LEVELS,
          noise.chroma * LEVELS);
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    printf (" %.3f", noise.curve[i] * LEVELS);
  putchar ('\n');
  run_print_time (g_get_monotonic_time () - start, photo->picture);
  return TRUE;
}

gboolean
command_forward (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL;
  g_autoptr (DiffusionPicture) level = NULL;
  g_autoptr (Photo) photo = NULL;
  double       sigma = 0, t = 1;
  guint64      seed = 0;
  const Option table[] = {
    { "noise", OPTION_REAL, &sigma, "SIGMA", "how much noise to add: the level at the chain's end, in units of 1/255",
      0, FORWARD_MOST, .needed = TRUE },
    { "t", OPTION_REAL, &t, "T", "how far along the chain to go: 0 is clean, 1, the default, is its end", 0, 1 },
    OPTION_SEED_OF (&seed),
  };

  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
      || ! raster_check_target (files[1], NULL, error) || ! (photo = photo_read (files[0], TRUE, error))
      || ! raster_check_target (files[1], photo->raster, error)
      || ! (level = diffusion_picture_new (photo->picture->width, photo->picture->height, 1, error)))
    return FALSE;
  for (gsize i = 0, count = (gsize) level->width * level->height; i < count; i++)
    level->data[i] = sigma / LEVELS;
  return diffusion_forward (photo->picture, level, 0, t, seed, 0, 0, 0, error) && photo_write (photo, files[1], error);
}
