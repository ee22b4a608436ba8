/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Named sets of values: the filter's own, and those that the user has saved.
 */
#pragma once

#include <glib-object.h>
#include <gtk/gtk.h>

#include "field.h"

G_BEGIN_DECLS

typedef struct _UiPresets UiPresets;

/* group: names the filter in the user's file.  presets may be NULL. */
UiPresets *ui_presets_new (GObject *config, const char *group, const UiPreset *presets);
void       ui_presets_free (UiPresets *presets); /* after its widgets are gone */

/* A property that is saved with the user's presets.  One that has an effect with some models only is saved and set only
 * with those. */
void ui_presets_add_property (UiPresets *presets, const char *property, UiSuits suits);
void ui_presets_set_checkpoint (UiPresets *presets, gboolean checkpoint);

/* The list with its buttons, and in *target the widget that a label's mnemonic leads to.  Call once, at last. */
GtkWidget *ui_presets_get_widget (UiPresets *presets, GtkWidget **target);

/* A switch that the dialog remembers, also from one start to the next. */
gboolean ui_presets_get_switch (UiPresets *presets, const char *name, gboolean fallback);
void     ui_presets_set_switch (UiPresets *presets, const char *name, gboolean value);

G_END_DECLS
