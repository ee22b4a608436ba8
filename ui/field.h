/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * How the dialog shows one property of a filter's configuration, and presets of several.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  UI_FIELD_SCALE,  /* a slider and a number */
  UI_FIELD_NOISE,  /* the same, with a switch for "estimate it", which is the property's value 0 */
  UI_FIELD_SEED,   /* a number, a button that draws a new one, and whether it is kept for the next time */
  UI_FIELD_CHOICE, /* a list of the property's choices */
  UI_FIELD_TEXT,   /* some lines of text */
  UI_FIELD_MODEL   /* a list of model files with their cards */
} UiFieldKind;

/* With which models a property has an effect; it is shown only then. */
typedef enum
{
  UI_SUITS_ALL,
  UI_SUITS_OWN,       /* models of this program */
  UI_SUITS_CHECKPOINT /* Stable Diffusion checkpoints */
} UiSuits;

/* One name and its label (context "choice"); a list of choices ends with a NULL name.  One that is named "auto" is
 * shown first, wherever it stands. */
typedef struct
{
  const char *name;
  const char *label;
} UiChoice;

typedef struct
{
  UiFieldKind kind;
  double      slider_max; /* the slider may end before the number's own limit */
  double      step, page;
  int         digits;
  gboolean    automatic; /* the number's lower limit, and all that is negative, reads "auto" */
  gboolean    expert;    /* shown only when asked for */
  UiSuits     suits;
  gboolean    first;       /* above the others */
  int         lines;       /* of a text */
  const char *usual_model; /* the name of the one that an empty text means */
  gboolean    checkpoints; /* a list of models has those as well */
} UiField;

/* A set of values with a name (context "preset"); a list of values ends with a NULL property, one of presets with a
 * NULL label. */
#define UI_PRESET_VALUES 7
typedef struct
{
  const char *label;
  struct
  {
    const char *property;
    double      value;
  } values[UI_PRESET_VALUES];
} UiPreset;

G_END_DECLS
