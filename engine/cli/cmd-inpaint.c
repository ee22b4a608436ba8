/* gimp-diffusion: the commands that make up what was not there: inpaint, regenerate
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "picture-io.h"
#include "run.h"

#include <glib/gstdio.h>

#define LEVELS        255.0 /* the user's unit of noise is one level of 8 bits */
#define PIXELS_MOST   256
#define CONTEXT_MOST  4096
#define VARIANTS_MOST 64

/* A number, or "auto", which leaves the target as it is. */
static gboolean
parse_or_auto (const char *name, const char *text, double least, double most, double *value, GError **error)
{
  if (! text || g_strcmp0 (text, "auto") == 0 || option_parse_real (name, text, least, most, value, NULL))
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
               "--%s takes auto or a number from %g to %g, not \"%s\"; \"diffusion inpaint --help\" explains it", name,
               least, most, text);
  return FALSE;
}

/* "out.png" for the first variant, "out-2.png" for the second. */
static char *
name_variant (const char *path, int variant)
{
  const char *base = strrchr (path, G_DIR_SEPARATOR), *dot = strrchr (base ? base : path, '.');

  if (variant == 0)
    return g_strdup (path);
  return g_strdup_printf ("%.*s-%d%s", (int) (dot ? dot - path : (gssize) strlen (path)), path, variant + 1,
                          dot ? dot : "");
}

static gboolean
is_same_file (const char *a, const char *b)
{
  GStatBuf first, second;

  return g_stat (a, &first) == 0 && g_stat (b, &second) == 0 && first.st_dev == second.st_dev
         && first.st_ino == second.st_ino;
}

/* Who names OUT knows what it replaces, be it IN; the names that are made from it must not do so unasked. */
static gboolean
check_variants (char **files, int variants, GError **error)
{
  for (int i = 0; i < variants; i++)
    {
      g_autofree char *name = name_variant (files[2], i);

      if (! raster_check_target (name, NULL, error))
        return FALSE;
      if (i > 0 && (is_same_file (name, files[0]) || is_same_file (name, files[1])))
        {
          g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                       "Variant %d would overwrite \"%s\", which is read here: choose another name than \"%s\"", i + 1,
                       name, files[2]);
          return FALSE;
        }
    }
  return TRUE;
}

/* Fills, and writes, variants with seeds from options->seed on. */
static gboolean
make_variants (const DiffusionModel *model, Photo *photo, const DiffusionPicture *mask, const char *path, int variants,
               const DiffusionInpaintOptions *inpaint, DiffusionOptions *options, GError **error)
{
  g_autoptr (Photo) original = variants > 1 ? photo_copy (photo, error) : NULL;
  gint64 start = g_get_monotonic_time ();

  if (variants > 1 && ! original)
    return FALSE;
  for (int i = 0; i < variants; i++, options->seed++)
    {
      g_autofree char *name = name_variant (path, i);
      gboolean         done;

      if (i > 0)
        photo_restore (photo, original);
      done = diffusion_inpaint (model, photo->picture, mask, inpaint, options, run_get_cancellable (), error);
      run_finish_progress ();
      if (! done || ! photo_write (photo, name, error))
        return FALSE;
    }
  run_print_time (g_get_monotonic_time () - start, photo->picture);
  return TRUE;
}

gboolean
command_inpaint (const Command *self, char **argv, GError **error)
{
  g_auto (RunOptions) run = RUN_OPTIONS_PAINT (DIFFUSION_INPAINT_STEPS);
  g_auto (GStrv) files = NULL;
  g_autofree char *texture = NULL, *noise = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) mask = NULL;
  g_autoptr (Photo) photo = NULL;
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  int                     variants = 1;
  const Option            table[] = {
               RUN_OPTIONS (run, DIFFUSION_MODEL_FILL, G_STRINGIFY (DIFFUSION_INPAINT_STEPS) CHECKPOINTS_OWN,
                            "ddpm" CHECKPOINTS_OWN),
               { "context", OPTION_INT, &inpaint.context, "PX",
                 "pixels around each hole that are looked at; 0, the default: by the hole's size", 0, CONTEXT_MOST },
               { "grow", OPTION_INT, &inpaint.grow, "PX",
                 "pixels by which holes are grown; -1, the default: 2, or 0 for thin ones", -1, PIXELS_MOST },
               { "feather", OPTION_INT, &inpaint.feather, "PX",
                 "pixels over which the fill fades in, from the grown hole's edge inwards; -1, the default: as grown", -1,
                 PIXELS_MOST },
               { "texture", OPTION_TEXT, &texture, "T",
                 "how much texture is taken from the surroundings, 0 to 1; auto, the default: by how rough they are" },
               { "noise", OPTION_TEXT, &noise, "SIGMA",
                 "the photograph's noise in units of 1/255, 0 to 255; auto, the default: measure it" },
               { "variants", OPTION_INT, &variants, "N", "make N fills with seeds from --seed on: OUT, OUT-2, ...; default 1", 1,
                 VARIANTS_MOST },
               PROMPT_OPTIONS (run),
  };

  options.sampler = DIFFUSION_INPAINT_SAMPLER;
  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
      || ! parse_or_auto ("texture", texture, 0, 1, &inpaint.texture, error)
      || ! parse_or_auto ("noise", noise, 0, LEVELS, &inpaint.noise, error) || ! check_variants (files, variants, error)
      || ! (model = run_options_apply (&run, &options, error)) || ! (photo = photo_read (files[0], FALSE, error))
      || ! raster_check_target (files[2], photo->raster, error)
      || ! (mask = mask_read (files[1], photo->picture, error)))
    return FALSE;
  if (inpaint.noise >= 0)
    inpaint.noise /= LEVELS;
  return make_variants (model, photo, mask, files[2], variants, &inpaint, &options, error);
}

gboolean
command_regenerate (const Command *self, char **argv, GError **error)
{
  g_auto (RunOptions) run = RUN_OPTIONS_PAINT (DIFFUSION_REGENERATE_STEPS);
  g_auto (GStrv) files = NULL;
  g_autofree char *mask_path = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) mask = NULL;
  g_autoptr (Photo) photo = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  double           strength = 0, structure = 0.5;
  gint64           start;
  const Option     table[] = {
        RUN_OPTIONS (run, DIFFUSION_MODEL_FILL, G_STRINGIFY (DIFFUSION_REGENERATE_STEPS) CHECKPOINTS_OWN,
                     "ddpm" CHECKPOINTS_OWN),
        { "strength", OPTION_REAL, &strength, "X", "how much is to be made up, from 0, nothing, to 1, everything", 0, 1,
          .needed = TRUE },
        { "structure", OPTION_REAL, &structure, "X", "how firmly the composition is held, 0: free ... 1: firm; default 0.5",
          0, 1 },
        OPTION_MASK (&mask_path),
        PROMPT_OPTIONS (run),
  };

  options.sampler = DIFFUSION_REGENERATE_SAMPLER;
  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
      || ! raster_check_target (files[1], NULL, error) || ! (model = run_options_apply (&run, &options, error))
      || ! (photo = photo_read (files[0], TRUE, error)) || ! raster_check_target (files[1], photo->raster, error)
      || (mask_path && ! (mask = mask_read (mask_path, photo->picture, error))))
    return FALSE;
  start = g_get_monotonic_time ();
  return run_finish (
      diffusion_regenerate (model, photo->picture, mask, strength, structure, &options, run_get_cancellable (), error),
      start, photo, files[1], error);
}
