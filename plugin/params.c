/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The table of filters and their parameters, and what is derived from it without GIMP.
 */
#include <string.h>

#include <glib/gi18n.h>

#include "params.h"

static const UiChoice outputs[] = { { "in-place", NC_ ("choice", "This one") },
                                    { "new-layer", NC_ ("choice", "A new one, masked by the selection") },
                                    { NULL } };

/* What all filters have in common. */
#define PARAM_OUTPUT                                                                                                   \
  {                                                                                                                    \
    .name = "output", .nick = NC_ ("label", "Target la_yer"),                                                          \
    .blurb = NC_ ("tip",                                                                                               \
                  "Where the result goes: into the layer itself, or into a new one above it, with the selection as "   \
                  "its layer mask"),                                                                                   \
    .type = PARAM_CHOICE, .value = OUTPUT_IN_PLACE, .choices = outputs, .setting = offsetof (Settings, output),        \
    .field                                                                                                             \
        = { UI_FIELD_CHOICE }                                                                                          \
  }

#define PARAM_MODEL(usual, with_checkpoints)                                                                           \
  {                                                                                                                    \
    .name = "model", .nick = NC_ ("label", "_Model"),                                                                  \
    .blurb = NC_ ("tip", "Name or path of the model file; empty for the usual one"), .type = PARAM_STRING, .text = "", \
    .field                                                                                                             \
        = { UI_FIELD_MODEL,                                                                                            \
            .usual_model = usual,                                                                                      \
            .checkpoints = with_checkpoints }                                                                          \
  }

static const Param denoise_params[] = {
  { .name = "noise",
    .nick = NC_ ("label", "_Noise"),
    .blurb = NC_ ("tip", "How much noise the picture has, as a standard deviation in 8-bit units; 0 estimates it"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 255,
    .value = 0,
    .setting = offsetof (Settings, noise),
    .field = { UI_FIELD_NOISE, .slider_max = 75, .step = 0.5, .page = 5, .digits = 1, .automatic = TRUE } },
  { .name = "strength",
    .nick = NC_ ("label", "S_trength"),
    .blurb = NC_ ("tip", "How much of the noise is removed: 0 none, 1 what was measured, more smooths further"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 2,
    .value = 1,
    .setting = offsetof (Settings, strength),
    .field = { UI_FIELD_SCALE, .slider_max = 2, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "detail",
    .nick = NC_ ("label", "Keep detai_l"),
    .blurb = NC_ (
        "tip", "How much of the fine detail stays as it was, grain included: 0 none, 1 all, so that only colour noise "
               "goes"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 1,
    .value = 0,
    .setting = offsetof (Settings, detail),
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "colour",
    .nick = NC_ ("label", "Colour noi_se"),
    .blurb = NC_ (
        "tip", "How much of the colour noise is removed, the coloured specks that no photograph needs: 0 none, 1 all"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 1,
    .value = 1,
    .setting = offsetof (Settings, colour),
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "steps",
    .nick = NC_ ("label", "St_eps"),
    .blurb
    = NC_ ("tip",
           "1 step is fastest and cleanest. More steps look sharper, but part of the fine texture is then invented; "
           "the time grows with them, and the seed decides which texture"),
    .type = PARAM_INT,
    .min = 1,
    .max = DIFFUSION_MAX_STEPS,
    .value = 1,
    .setting = offsetof (Settings, steps),
    .field = { UI_FIELD_SCALE, .slider_max = 50, .step = 1, .page = 5 } },
  { .name = "seed",
    .nick = NC_ ("label", "See_d"),
    .blurb
    = NC_ ("tip", "Start of the random numbers: the same seed gives the same picture; it has no effect at 1 step"),
    .type = PARAM_INT,
    .min = 0,
    .max = G_MAXINT32,
    .value = 0,
    .setting = offsetof (Settings, seed),
    .field = { UI_FIELD_SEED, .step = 1, .page = 10 } },
  PARAM_OUTPUT,
  PARAM_MODEL (DIFFUSION_MODEL_DENOISE, FALSE),
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

static const UiChoice samplers[] = { { "ddpm", NC_ ("choice", "DDPM (ancestral)") },
                                     { "ddim", NC_ ("choice", "DDIM") },
                                     { "dpm++2m", NC_ ("choice", "DPM++ 2M") },
                                     { "euler", NC_ ("choice", "Euler") },
                                     { "euler-a", NC_ ("choice", "Euler (ancestral)") },
                                     { "lcm", NC_ ("choice", "LCM") },
                                     /* Translators: a sampler: the one that the model was made for. */
                                     { "auto", NC_ ("choice", "The model's own") },
                                     { NULL } };

/* What inpainting and regenerating have in common. */
#define PARAM_STEPS                                                                                                    \
  {                                                                                                                    \
    .name = "steps", .nick = NC_ ("label", "St_eps"),                                                                  \
    .blurb = NC_ ("tip",                                                                                               \
                  "In how many steps the picture comes out of the noise; the time grows with them; 0 takes as many "   \
                  "as the model is made for"),                                                                         \
    .type = PARAM_INT, .min = 0, .max = DIFFUSION_MAX_STEPS, .value = 0, .setting = offsetof (Settings, steps),        \
    .field                                                                                                             \
        = { UI_FIELD_SCALE,                                                                                            \
            .slider_max = 50,                                                                                          \
            .step = 1,                                                                                                 \
            .page = 5,                                                                                                 \
            .automatic = TRUE }                                                                                        \
  }

#define PARAM_SAMPLER                                                                                                  \
  {                                                                                                                    \
    .name = "sampler", .nick = NC_ ("label", "S_ampler"),                                                              \
    .blurb = NC_ ("tip",                                                                                               \
                  "How one step follows from the last: DDPM, Euler (ancestral) and LCM draw new noise at each, the "   \
                  "others draw it only once"),                                                                         \
    .type = PARAM_CHOICE, .value = SAMPLER_AUTO, .choices = samplers, .setting = offsetof (Settings, sampler),         \
    .field                                                                                                             \
        = { UI_FIELD_CHOICE,                                                                                           \
            .expert = TRUE }                                                                                           \
  }

#define PARAM_SEED                                                                                                     \
  {                                                                                                                    \
    .name = "seed", .nick = NC_ ("label", "See_d"),                                                                    \
    .blurb = NC_ ("tip", "Start of the random numbers: the same seed gives the same picture, another one another"),    \
    .type = PARAM_INT, .min = 0, .max = G_MAXINT32, .setting = offsetof (Settings, seed),                              \
    .field                                                                                                             \
        = { UI_FIELD_SEED,                                                                                             \
            .step = 1,                                                                                                 \
            .page = 10 }                                                                                               \
  }

static const UiChoice predictions[] = { { "auto", NC_ ("choice", "Found out") },
                                        /* Translators: what a network predicts; a name of the field. */
                                        { "epsilon", NC_ ("choice", "Noise (epsilon)") },
                                        /* Translators: what a network predicts; a name of the field. */
                                        { "v", NC_ ("choice", "Velocity (v)") },
                                        { NULL } };

/* For Stable Diffusion checkpoints; they come last, as they came later than the others. */
#define PARAMS_OF_CHECKPOINTS                                                                                          \
  { .name = "prompt",                                                                                                  \
    .nick = NC_ ("label", "Te_xt prompt"),                                                                             \
    .blurb                                                                                                             \
    = NC_ ("tip", "What is to be seen, in English words; (words:1.3) gives words more weight. For Stable Diffusion "   \
                  "checkpoints, as is all that follows"),                                                              \
    .type = PARAM_STRING,                                                                                              \
    .text = "",                                                                                                        \
    .field = { UI_FIELD_TEXT, .suits = UI_SUITS_CHECKPOINT, .first = TRUE, .lines = 3 } },                             \
      { .name = "negative-prompt",                                                                                     \
        .nick = NC_ ("label", "_Leave out"),                                                                           \
        .blurb = NC_ ("tip", "What is not to be seen; it has no effect at a guidance of 1"),                           \
        .type = PARAM_STRING,                                                                                          \
        .text = "",                                                                                                    \
        .field = { UI_FIELD_TEXT, .suits = UI_SUITS_CHECKPOINT, .first = TRUE, .lines = 2 } },                         \
      { .name = "guidance",                                                                                            \
        .nick = NC_ ("label", "G_uidance"),                                                                            \
        .blurb = NC_ ("tip", "How strongly the prompt counts; 1 takes half the time; -1 chooses by the checkpoint"),   \
        .type = PARAM_DOUBLE,                                                                                          \
        .min = -1,                                                                                                     \
        .max = 100,                                                                                                    \
        .value = -1,                                                                                                   \
        .setting = offsetof (Settings, guidance),                                                                      \
        .field = { UI_FIELD_SCALE, .slider_max = 15, .step = 0.5, .page = 1, .digits = 1, .automatic = TRUE,           \
                   .suits = UI_SUITS_CHECKPOINT, .first = TRUE } },                                                    \
      { .name = "size",                                                                                                \
        .nick = NC_ ("label", "Si_ze"),                                                                                \
        .blurb = NC_ ("tip", "Edge in pixels of what the network sees at once, in multiples of 64; less is faster; 0 " \
                             "takes the checkpoint's own size"),                                                       \
        .type = PARAM_INT,                                                                                             \
        .min = 0,                                                                                                      \
        .max = 2048,                                                                                                   \
        .value = 0,                                                                                                    \
        .setting = offsetof (Settings, size),                                                                          \
        .field = { UI_FIELD_SCALE, .slider_max = 1024, .step = 64, .page = 64, .automatic = TRUE, .expert = TRUE,      \
                   .suits = UI_SUITS_CHECKPOINT } },                                                                   \
  {                                                                                                                    \
    .name = "prediction", .nick = NC_ ("label", "O_bjective"),                                                         \
    .blurb = NC_ ("tip", "What the checkpoint's network predicts, if it is not found out rightly: with the wrong one " \
                         "there is only noise"),                                                                       \
    .type = PARAM_CHOICE, .value = DIFFUSION_PREDICTION_AUTO, .choices = predictions,                                  \
    .setting = offsetof (Settings, prediction),                                                                        \
    .field                                                                                                             \
        = { UI_FIELD_CHOICE,                                                                                           \
            .expert = TRUE,                                                                                            \
            .suits = UI_SUITS_CHECKPOINT }                                                                             \
  }

static const Param inpaint_params[] = {
  PARAM_STEPS,
  PARAM_SAMPLER,
  PARAM_SEED,
  { .name = "context",
    .nick = NC_ ("label", "Conte_xt"),
    .blurb = NC_ ("tip", "How many pixels around each hole are looked at; 0 chooses by its size"),
    .type = PARAM_INT,
    .min = 0,
    .max = 4096,
    .value = 0,
    .setting = offsetof (Settings, context),
    .field = { UI_FIELD_SCALE, .slider_max = 512, .step = 1, .page = 32, .automatic = TRUE, .expert = TRUE,
               .suits = UI_SUITS_OWN } },
  { .name = "grow",
    .nick = NC_ ("label", "_Grow"),
    .blurb = NC_ (
        "tip", "By how many pixels the hole reaches beyond the selection, so that no fringe is left of what was there; "
               "-1 chooses by its size"),
    .type = PARAM_INT,
    .min = -1,
    .max = 256,
    .value = -1,
    .setting = offsetof (Settings, grow),
    .field = { UI_FIELD_SCALE, .slider_max = 32, .step = 1, .page = 4, .automatic = TRUE } },
  { .name = "feather",
    .nick = NC_ ("label", "Feat_her"),
    .blurb = NC_ (
        "tip", "Over how many pixels the fill fades in, from the edge of the grown hole inwards; -1: as many as it was "
               "grown by"),
    .type = PARAM_INT,
    .min = -1,
    .max = 256,
    .value = -1,
    .setting = offsetof (Settings, feather),
    .field = { UI_FIELD_SCALE, .slider_max = 32, .step = 1, .page = 4, .automatic = TRUE, .expert = TRUE } },
  { .name = "texture",
    .nick = NC_ ("label", "_Texture"),
    .blurb
    = NC_ ("tip", "How much of the texture is taken from the surroundings: 0 none, 1 all; -1 chooses by how rough they "
                  "are"),
    .type = PARAM_DOUBLE,
    .min = -1,
    .max = 1,
    .value = -1,
    .setting = offsetof (Settings, texture),
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2, .automatic = TRUE,
               .suits = UI_SUITS_OWN } },
  { .name = "variants",
    .nick = NC_ ("label", "_Variants"),
    .blurb
    = NC_ ("tip", "How many results are made, with this seed and the ones after it; more than one become new layers"),
    .type = PARAM_INT,
    .min = 1,
    .max = 16,
    .value = 1,
    .setting = offsetof (Settings, variants),
    .field = { UI_FIELD_SCALE, .slider_max = 8, .step = 1, .page = 1 } },
  PARAM_OUTPUT,
  PARAM_MODEL (DIFFUSION_MODEL_FILL, TRUE),
  PARAMS_OF_CHECKPOINTS,
};

static const Param regenerate_params[] = {
  { .name = "strength",
    .nick = NC_ ("label", "S_trength"),
    .blurb = NC_ ("tip", "How much is made anew: 0 nothing, 1 everything"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 1,
    .value = 0.4,
    .setting = offsetof (Settings, strength),
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2 } },
  { .name = "structure",
    .nick = NC_ ("label", "Str_ucture"),
    .blurb = NC_ ("tip", "How firmly large shapes and colours are held to what they were: 0 free, 1 firm"),
    .type = PARAM_DOUBLE,
    .min = 0,
    .max = 1,
    .value = 0.5,
    .setting = offsetof (Settings, structure),
    .field = { UI_FIELD_SCALE, .slider_max = 1, .step = 0.01, .page = 0.1, .digits = 2, .suits = UI_SUITS_OWN } },
  PARAM_STEPS,
  PARAM_SAMPLER,
  PARAM_SEED,
  PARAM_OUTPUT,
  PARAM_MODEL (DIFFUSION_MODEL_FILL, TRUE),
  PARAMS_OF_CHECKPOINTS,
};

/* What GIMP 2.10 translates itself, which knows no contexts, has none: label, blurb and help. */
const Filter filters[] = {
  { .kind = FILTER_DENOISE,
    .procedure = "plug-in-diffusion-denoise",
    /* Translators: a menu entry. */
    .label = N_ ("Denoise with _Diffusion..."),
    .menu = "<Image>/Filters/Enhance",
    .title = NC_ ("title", "Denoise with Diffusion"),
    .progress = NC_ ("progress", "Denoising"),
    /* Translators: what a filter does, in one line of a list of procedures. */
    .blurb = N_ ("Remove the noise of a photograph with a diffusion model"),
    /* Translators: what a filter does, at length. */
    .help = N_ ("Estimates how much noise the layer has, or takes the level that is given, and lets a diffusion model "
                "take that much noise away. Works on the selection, soft ones too, in the precision of the image; "
                "transparency stays as it is."),
    .layer = NC_ ("layer", "Denoised"),
    .params = denoise_params,
    .n_params = G_N_ELEMENTS (denoise_params),
    .presets = denoise_presets },
  { .kind = FILTER_INPAINT,
    .procedure = "plug-in-diffusion-inpaint",
    /* Translators: a menu entry. */
    .label = N_ ("_Inpaint Selection with Diffusion..."),
    .menu = "<Image>/Filters/Enhance",
    .title = NC_ ("title", "Inpaint Selection with Diffusion"),
    .progress = NC_ ("progress", "Inpainting"),
    /* Translators: what a filter does, in one line of a list of procedures. */
    .blurb = N_ ("Replace what is selected by what could be behind it"),
    /* Translators: what a filter does, at length. */
    .help = N_ ("Takes the selection for a hole and lets a diffusion model fill it from its surroundings. Works in the "
                "precision of the image, on several regions at once; soft selections let the old picture show through. "
                "Pixels away from the selection stay as they are."),
    .layer = NC_ ("layer", "Inpainted"),
    .params = inpaint_params,
    .n_params = G_N_ELEMENTS (inpaint_params) },
  { .kind = FILTER_REGENERATE,
    .procedure = "plug-in-diffusion-regenerate",
    /* Translators: a menu entry. */
    .label = N_ ("_Regenerate with Diffusion..."),
    .menu = "<Image>/Filters/Artistic",
    .title = NC_ ("title", "Regenerate with Diffusion"),
    .progress = NC_ ("progress", "Regenerating"),
    /* Translators: what a filter does, in one line of a list of procedures. */
    .blurb = N_ ("Let a diffusion model make the picture anew, a little or a lot"),
    /* Translators: what a filter does, at length. */
    .help = N_ ("Adds noise to the layer and lets a diffusion model remove it again, as far as the strength says. "
                "Works on the selection, where a soft one makes a soft strength, or on the whole layer; transparency "
                "stays as it is."),
    .layer = NC_ ("layer", "Regenerated"),
    .params = regenerate_params,
    .n_params = G_N_ELEMENTS (regenerate_params) },
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

const char *
filter_get_model (const Filter *filter, const char *value)
{
  for (guint i = 0; i < filter->n_params && ! (value && *value); i++)
    if (filter->params[i].field.kind == UI_FIELD_MODEL)
      value = filter->params[i].field.usual_model;
  return value;
}

GParamSpec *
param_spec_new (const Param *param)
{
  const GParamFlags flags = G_PARAM_READWRITE | G_PARAM_STATIC_NAME | G_PARAM_LAX_VALIDATION;
  const char       *nick = g_dpgettext2 (NULL, "label", param->nick);
  const char       *blurb = g_dpgettext2 (NULL, "tip", param->blurb);

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

void
settings_read (Settings *settings, const Filter *filter, GObject *config)
{
  memset (settings, 0, sizeof *settings); /* padding too: settings are compared as bytes */
  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param     *param = &filter->params[i];
      char            *place = (char *) settings + param->setting;
      g_autofree char *name = NULL;

      switch (param->type)
        {
        case PARAM_DOUBLE:
        case PARAM_INT:
          g_object_get (config, param->name, place, NULL);
          break;
        case PARAM_CHOICE:
          g_object_get (config, param->name, &name, NULL);
          *(int *) (void *) place = MAX (param_find_choice (param, name), 0);
          break;
        case PARAM_STRING:
          break;
        }
    }
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
               C_ ("error", "The argument \"%s\" is %g, but it must be a number from %g to %.10g."), param->name, value,
               min, max);
  return FALSE;
}
