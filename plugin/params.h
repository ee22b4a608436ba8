/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One table says everything about each filter: how GIMP calls it, its parameters, their limits and how the dialog shows
 * them.  Procedure arguments, validation, last values and dialogs are derived from it.
 */
#pragma once

#include <glib-object.h>

#include "engine/diffusion.h"
#include "ui/field.h"

G_BEGIN_DECLS

typedef enum
{
  PARAM_DOUBLE,
  PARAM_INT,
  PARAM_STRING,
  PARAM_CHOICE /* a string property, one of the names in choices */
} ParamType;

typedef struct
{
  const char     *name;  /* of the argument and of the property: a-z and dashes */
  const char     *nick;  /* label with a mnemonic, translatable */
  const char     *blurb; /* one sentence, translatable */
  ParamType       type;
  double          min, max; /* of numbers */
  double          value;    /* default; of a choice: its index */
  const char     *text;     /* default of a string */
  const UiChoice *choices;  /* ends with a NULL name */
  gsize           setting;  /* the place of its value in Settings; a string has none */
  UiField         field;
} Param;

typedef enum
{
  FILTER_DENOISE,
  FILTER_INPAINT,
  FILTER_REGENERATE
} FilterKind;

/* Where a result goes; the order is that of the choices in the table. */
typedef enum
{
  OUTPUT_IN_PLACE, /* into the layer itself */
  OUTPUT_NEW_LAYER /* into a layer above it, whose mask is the selection */
} Output;

/* The values of a run, taken from the configuration at one moment; what a filter has no parameter for is 0. */
typedef struct
{
  double noise;                    /* 8-bit units, 0: estimate */
  double strength, detail, colour; /* of denoising, see diffusion_denoise_blend (); strength of regenerating too */
  double structure;
  double guidance;               /* negative: the checkpoint's default */
  double texture;                /* these and grow, feather: as in DiffusionInpaintOptions */
  int    context, grow, feather; /* pixels */
  int    steps, sampler, seed;   /* sampler: DiffusionSampler or SAMPLER_AUTO; steps 0: by the model */
  int    variants, output;       /* output: Output */
  int    size, prediction;       /* of a checkpoint: as in DiffusionOptions, size 0: its own */
} Settings;

/* The choice after all samplers: the one that the model is used with. */
#define SAMPLER_AUTO DIFFUSION_N_SAMPLERS

typedef struct
{
  FilterKind      kind;
  const char     *procedure;
  const char     *label;    /* menu entry, translatable, as are all texts below */
  const char     *menu;     /* path, not translatable */
  const char     *title;    /* of the dialog */
  const char     *progress; /* what the progress bar says */
  const char     *blurb;
  const char     *help;
  const char     *layer; /* name of a new layer with the result */
  const Param    *params;
  guint           n_params;
  const UiPreset *presets; /* NULL: none */
} Filter;

#define FILTER_IMAGE_TYPES "RGB*, GRAY*"
#define FILTER_AUTHOR      "gimp-diffusion"
#define FILTER_DATE        "2025"

/* What denoising returns. */
#define FILTER_RETURN_NAME  "noise-used"
#define FILTER_RETURN_BLURB "The noise level that was removed, estimated or given, in 8-bit units"

extern const Filter filters[];
extern const guint  n_filters;

const Filter *filter_find (const char *procedure);

/* The model that a value of the parameter "model" means. */
const char *filter_get_model (const Filter *filter, const char *value);

/* The parameter as a property; its texts are translated, and numbers out of range are drawn to the nearest limit. */
GParamSpec *param_spec_new (const Param *param);

/* Reads the properties that the filter's table names. */
void settings_read (Settings *settings, const Filter *filter, GObject *config);

/* The index of a choice's name, or -1. */
int param_find_choice (const Param *param, const char *name);

/* Says in one sentence what is wrong with a value for the parameter; TRUE if nothing is. */
gboolean param_check_number (const Param *param, double value, GError **error);

G_END_DECLS
