/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The list of model files, each with its card; a file that cannot be used is listed with the reason.
 */
#pragma once

#include <glib-object.h>
#include <gtk/gtk.h>

G_BEGIN_DECLS

typedef struct _UiModels UiModels;

/* property: a string, the name or path of the model file, empty for the one named `usual`.  checkpoints: those of
 * Stable Diffusion can be used, and other programs' are listed too. */
UiModels *ui_models_new (GObject *config, const char *property, const char *usual, gboolean checkpoints);
void      ui_models_free (UiModels *models); /* after its widgets are gone */

/* The list, and the card of what is chosen there. */
GtkWidget *ui_models_get_list (UiModels *models);
GtkWidget *ui_models_get_card (UiModels *models);

G_END_DECLS
