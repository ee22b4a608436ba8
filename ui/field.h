/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * How the dialog shows one property of a filter's configuration.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

typedef enum
{
  UI_FIELD_NONE,  /* not in the dialog */
  UI_FIELD_SCALE, /* a slider and a number */
  UI_FIELD_NOISE, /* the same, with a switch for "estimate it", which is the property's value 0 */
  UI_FIELD_SEED,  /* a number and a button that draws a new one */
  UI_FIELD_CHOICE /* a list of the property's choices */
} UiFieldKind;

/* One name and its label; a list of choices ends with a NULL name. */
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
  const char *hint; /* a line below the field, or NULL */
} UiField;

G_END_DECLS
