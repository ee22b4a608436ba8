/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The table of filters and their parameters, and what is derived from it without GIMP.
 */
#include <glib/gi18n.h>

#include "engine/diffusion.h"
#include "params.h"

static const Param denoise_params[] = {
  { .name = "noise",
    .nick = N_ ("_Noise"),
    .blurb = N_ ("How much noise the picture has, as a standard deviation in 8-bit units; 0 estimates it"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 255,
    .value = 0,
    .field = { UI_FIELD_NOISE, .slider_max = 75, .step = 0.5, .page = 5, .digits = 1 } },
  { .name = "strength",
    .nick = N_ ("S_trength"),
    .blurb = N_ ("How much of the noise is removed: 0 none, 1 what was measured, more smooths further"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 2,
    .value = 1,
    .field = { UI_FIELD_SCALE, .slider_max = 2, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "detail",
    .nick = N_ ("Keep detai_l"),
    .blurb
    = N_ ("How much of the fine detail stays as it was, grain included: 0 none, 1 all, so that only colour noise "
          "goes"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 1,
    .value = 0,
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "colour",
    .nick = N_ ("Colour noi_se"),
    .blurb
    = N_ ("How much of the colour noise is removed, the coloured specks that no photograph needs: 0 none, 1 all"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 1,
    .value = 1,
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "steps",
    .nick = N_ ("St_eps"),
    .blurb
    = N_ ("1 step is fastest and cleanest. More steps look sharper, but part of the fine texture is then invented; "
          "the time grows with them, and the seed decides which texture"),
    .type = PARAM_INT,
    .min = 1,
    .max = DIFFUSION_MAX_STEPS,
    .value = 1,
    .field = { UI_FIELD_SCALE, .slider_max = 50, .step = 1, .page = 5 } },
  { .name = "seed",
    .nick = N_ ("See_d"),
    .blurb = N_ ("Start of the random numbers: the same seed gives the same picture; it has no effect at 1 step"),
    .type = PARAM_INT,
    .min = 0,
    .max = G_MAXINT32,
    .value = 0,
    .field = { UI_FIELD_SEED, .step = 1, .page = 10 } },
  { .name = "model",
    .nick = N_ ("_Model"),
    .blurb = N_ ("Name or path of the model file; empty for the default one"),
    .type = PARAM_STRING,
    .text = "",
    .field = { UI_FIELD_MODEL } },
};

static const UiPreset denoise_presets[] = {
  /* Translators: presets of denoising: how noisy the photograph is, or where it comes from. */
  { NC_ ("preset", "Light"),
    { { "noise", 0 }, { "strength", 0.7 }, { "detail", 0.3 }, { "colour", 1 }, { "steps", 1 } } },
  { NC_ ("preset", "Photo"), { { "noise", 0 }, { "strength", 1 }, { "detail", 0 }, { "colour", 1 }, { "steps", 1 } } },
  { NC_ ("preset", "High ISO"),
    { { "noise", 0 }, { "strength", 1.25 }, { "detail", 0 }, { "colour", 1 }, { "steps", 1 } } },
  { NC_ ("preset", "Scan or old photo"),
    { { "noise", 0 }, { "strength", 1.1 }, { "detail", 0.25 }, { "colour", 1 }, { "steps", 1 } } },
  { NULL }
};

const Filter filters[] = {
  { .kind = FILTER_DENOISE,
    .procedure = "plug-in-diffusion-denoise",
    .label = N_ ("Denoise with _Diffusion..."),
    .menu = "<Image>/Filters/Enhance",
    .title = N_ ("Denoise with Diffusion"),
    .progress = N_ ("Denoising"),
    .blurb = N_ ("Remove the noise of a photograph with a diffusion model"),
    .help = N_ ("Estimates how much noise the layer has, or takes the level that is given, and lets a diffusion model "
                "take that much noise away. Works on the selection, soft ones too, in the precision of the image; "
                "transparency stays as it is."),
    .params = denoise_params,
    .n_params = G_N_ELEMENTS (denoise_params),
    .presets = denoise_presets },
};

const guint n_filters = G_N_ELEMENTS (filters);

const Filter *
filter_find (const char *procedure)
{
  for (guint i = 0; i < n_filters; i++)
    if (g_strcmp0 (filters[i].procedure, procedure) == 0)
      return &filters[i];
  return NULL;
}

GParamSpec *
param_spec_new (const Param *param)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_NAME | G_PARAM_LAX_VALIDATION;
  const char       *nick = gettext (param->nick);
  const char       *blurb = gettext (param->blurb);

  switch (param->type)
    {
    case PARAM_DOUBLE:
      return g_param_spec_double (param->name, nick, blurb, param->min, param->max, param->value, flags);
    case PARAM_INT:
      return g_param_spec_int (param->name, nick, blurb, param->min, param->max, param->value, flags);
    case PARAM_CHOICE:
      return g_param_spec_string (param->name, nick, blurb, param->choices[(int) param->value].name, flags);
    case PARAM_STRING:
      return g_param_spec_string (param->name, nick, blurb, param->text, flags);
    }
  g_return_val_if_reached (NULL);
}

int
param_find_choice (const Param *param, const char *name)
{
  for (int i = 0; param->choices[i].name; i++)
    if (g_strcmp0 (param->choices[i].name, name) == 0)
      return i;
  return -1;
}

gboolean
param_check_number (const Param *param, double value, GError **error)
{
  double min = param->min, max = param->max;

  if (param->type == PARAM_CHOICE)
    {
      min = max = 0;
      while (param->choices[(int) max + 1].name)
        max++;
    }
  /* Written so that NaN fails too. */
  if (value >= min && value <= max)
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
               _ ("The argument \"%s\" is %g, but it must be a number from %g to %.10g."), param->name, value, min,
               max);
  return FALSE;
}
