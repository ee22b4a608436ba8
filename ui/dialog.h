/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The inside of every filter's dialog: the preview, the fields, and a bar that shows how far the filter is.  Written in
 * what GTK 2 and GTK 3 have in common; the window around it is the caller's.
 */
#pragma once

#include <glib-object.h>
#include <gtk/gtk.h>

#include "field.h"

G_BEGIN_DECLS

typedef struct _UiDialog UiDialog;

/* config: an object with the properties that the fields will name.  group: names the filter in the user's presets.
 * presets: the filter's own, or NULL. */
UiDialog *ui_dialog_new (GObject *config, const char *group, const UiPreset *presets, GtkWidget *preview);
void      ui_dialog_free (UiDialog *dialog); /* after its widgets are gone */

/* For a run without the dialog, in its place: draws a new seed, which this property is, if the user wants one each
 * time.
 */
void ui_dialog_renew_seed (GObject *config, const char *group, const char *property);

/* Shows a property, with one of the list's choices if it is one; its label and tooltip are the property's nick and
 * blurb. */
void ui_dialog_add_field (UiDialog *dialog, const char *property, const UiField *field, const UiChoice *choices);

GtkWidget *ui_dialog_get_body (UiDialog *dialog);

/* Gives the window that the body was put into the size that it is to have at first; the preview takes what the fields
 * leave of it. */
void ui_dialog_size_window (UiDialog *dialog, GtkWindow *window);

/* The level that the noise field shows as the estimate, in the property's units; negative: not known yet. */
void ui_dialog_set_estimate (UiDialog *dialog, double level);

/* Whether the model is a Stable Diffusion checkpoint: fields without an effect are hidden. */
void ui_dialog_set_checkpoint (UiDialog *dialog, gboolean checkpoint);

/* Call after the last field. */
void ui_dialog_complete (UiDialog *dialog);

/* One line below the fields; NULL for none. */
void ui_dialog_set_status (UiDialog *dialog, const char *text);

/* While busy, the fields cannot be changed. */
void ui_dialog_set_busy (UiDialog *dialog, gboolean busy);
void ui_dialog_set_progress (UiDialog *dialog, double fraction);

G_END_DECLS
