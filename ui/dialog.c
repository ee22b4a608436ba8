/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <math.h>

#include <libgimp/gimp.h>
#include <libgimp/gimpui.h>

#include <glib/gi18n.h>

#include "dialog.h"
#include "models.h"
#include "presets.h"
#include "toolkit.h"

enum
{
  SPACING = 6,
  BORDER = 12,
  WINDOW_WIDTH = 1000,
  WINDOW_HEIGHT = 620,
  SLIDER_WIDTH = 120,
  SEED_WIDTH = 7,  /* characters */
  TEXT_WIDTH = 20, /* the same */
  RESERVED = 220,  /* height of all but the fields */
  FRAME = 40       /* of a window, at most */
};

struct _UiDialog
{
  GObject      *config;
  GtkWidget    *body;
  GtkWidget    *content; /* what is insensitive while busy */
  GtkWidget    *fields;
  GtkWidget    *target; /* where the next field goes: fields, first or expert */
  GtkWidget    *first;  /* fields above the others */
  GPtrArray    *rows;   /* that suit some models only: those of checkpoints, and of others */
  GPtrArray    *other_rows;
  gboolean      checkpoint; /* which of them are shown */
  GtkWidget    *scroll;     /* around the fields */
  GtkWidget    *progress;
  GtkWidget    *status;
  GtkSizeGroup *labels;
  GtkWidget    *expert; /* fields that are shown only when asked for; NULL: none yet */
  GtkWidget    *expander;
  UiPresets    *presets;
  gboolean      suited; /* some presets come with the filter */
  UiModels     *models; /* NULL: there is no such field */

  const char *noise_property; /* NULL: there is no such field */
  GtkWidget  *noise_level;    /* slider and number */
  GtkWidget  *noise_auto;
  GtkWidget  *noise_estimate;
  double      estimate; /* negative: not known yet */
};

static GParamSpec *
find_property (UiDialog *dialog, const char *property)
{
  return g_object_class_find_property (G_OBJECT_GET_CLASS (dialog->config), property);
}

static GtkWidget *
label_new (const char *text)
{
  GtkWidget *label = gtk_label_new (text);

  gtk_label_set_xalign (GTK_LABEL (label), 0);
  return label;
}

static GtkWidget *
add_labelled (UiDialog *dialog, GtkWidget *fields, const char *text, const char *tip, GtkWidget *widget,
              GtkWidget *target)
{
  GtkWidget       *row = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GtkWidget       *label = gtk_label_new_with_mnemonic (text);
  g_autofree char *name = gimp_strip_uline (text);

  gtk_label_set_xalign (GTK_LABEL (label), 0);
  gtk_label_set_mnemonic_widget (GTK_LABEL (label), target);
  gtk_size_group_add_widget (dialog->labels, label);
  gtk_widget_set_tooltip_text (target, tip);
  gtk_widget_set_tooltip_text (label, tip);
  ui_toolkit_set_name (target, name, tip);
  gtk_box_pack_start (GTK_BOX (row), label, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (row), widget, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (fields), row, FALSE, FALSE, 0);
  return row;
}

/* A row with the property's nick in front of the widget; the mnemonic leads to target. */
static GtkWidget *
add_row (UiDialog *dialog, const char *property, GtkWidget *widget, GtkWidget *target)
{
  GParamSpec *pspec = find_property (dialog, property);

  return add_labelled (dialog, dialog->target, g_param_spec_get_nick (pspec), g_param_spec_get_blurb (pspec), widget,
                       target);
}

/* A row that belongs to the one above: the widget stands below that one's. */
static void
add_below (UiDialog *dialog, GtkWidget *widget)
{
  GtkWidget *row = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GtkWidget *space = gtk_label_new (NULL);

  gtk_size_group_add_widget (dialog->labels, space);
  gtk_box_pack_start (GTK_BOX (row), space, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (row), widget, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (dialog->target), row, FALSE, FALSE, 0);
}

/* ---- sliders ---------------------------------------------------------------------------------------------- */

/* The lower limit of such a number, and all that is negative, mean "automatic". */
static gboolean
is_automatic (GtkSpinButton *number)
{
  const double value = gtk_spin_button_get_value (number);

  return value < 0 || value <= gtk_adjustment_get_lower (gtk_spin_button_get_adjustment (number));
}

static gboolean
automatic_output (GtkSpinButton *number, gpointer data)
{
  if (! is_automatic (number))
    return FALSE;
  /* Translators: stands in the place of a number that the program chooses. */
  gtk_entry_set_text (GTK_ENTRY (number), C_ ("number", "auto"));
  return TRUE;
}

static int
automatic_input (GtkSpinButton *number, double *value, gpointer data)
{
  if (g_strcmp0 (gtk_entry_get_text (GTK_ENTRY (number)), C_ ("number", "auto")) != 0)
    return FALSE;
  *value = gtk_adjustment_get_lower (gtk_spin_button_get_adjustment (number));
  return TRUE;
}

/* From "automatic" up it is one step to 0, and down from there one to "automatic": all that lies between looks the
 * same. last: the value before. */
static void
automatic_changed (GtkAdjustment *range, double *last)
{
  const double value = gtk_adjustment_get_value (range), lower = gtk_adjustment_get_lower (range), before = *last;

  *last = value;
  if (value > lower && value < 0)
    gtk_adjustment_set_value (range, value > before ? 0 : lower);
}

static void
free_last (gpointer last, GClosure *closure)
{
  g_free (last);
}

static void
make_automatic (GtkSpinButton *number)
{
  GtkAdjustment *range = gtk_spin_button_get_adjustment (number);
  double        *last = g_new (double, 1);

  *last = gtk_adjustment_get_value (range);
  g_signal_connect_data (range, "value-changed", G_CALLBACK (automatic_changed), last, free_last, 0);
  g_signal_connect (number, "output", G_CALLBACK (automatic_output), NULL);
  g_signal_connect (number, "input", G_CALLBACK (automatic_input), NULL);
  gtk_spin_button_update (number);
}

/* A slider moves over whole numbers in whole steps. */
static gboolean
snap (GBinding *binding, const GValue *from, GValue *to, gpointer step)
{
  const double steps = g_value_get_double (from) / GPOINTER_TO_INT (step);

  g_value_set_int (to, (int) floor (steps + 0.5) * GPOINTER_TO_INT (step));
  return TRUE;
}

static void
bind_slider (UiDialog *dialog, const char *property, GtkAdjustment *adjustment, double step)
{
  const GBindingFlags flags = G_BINDING_BIDIRECTIONAL | G_BINDING_SYNC_CREATE;

  if (step > 1 && G_PARAM_SPEC_VALUE_TYPE (find_property (dialog, property)) == G_TYPE_INT)
    g_object_bind_property_full (dialog->config, property, adjustment, "value", flags, NULL, snap,
                                 GINT_TO_POINTER ((int) step), NULL);
  else
    g_object_bind_property (dialog->config, property, adjustment, "value", flags);
}

/* A slider and a number; the slider may cover only the useful part of the range, and then shows its end for what is
 * beyond.  (gimp_prop_hscale_new () would bind the slider, but makes an abstract type with GTK 2.) */
static GtkWidget *
scale_new (UiDialog *dialog, const char *property, const UiField *field, GtkWidget **number)
{
  GtkWidget       *box = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GParamSpec      *pspec = find_property (dialog, property);
  g_autofree char *name = NULL;
  GtkAdjustment   *range, *adjustment;
  GtkWidget       *scale;
  double           lower;

  *number = gimp_prop_spin_button_new (dialog->config, property, field->step, field->page, field->digits);
  /* A numeric one takes no letters, not even from its own output, and no point where a comma is usual: "1.5" would
   * become 15. */
  gtk_spin_button_set_numeric (GTK_SPIN_BUTTON (*number), FALSE);
  range = gtk_spin_button_get_adjustment (GTK_SPIN_BUTTON (*number));
  lower = gtk_adjustment_get_lower (range);
  if (field->automatic)
    {
      /* One step of the slider is enough for all that is negative. */
      lower = MAX (lower, -field->page);
      make_automatic (GTK_SPIN_BUTTON (*number));
    }
  adjustment = GTK_ADJUSTMENT (
      gtk_adjustment_new (gtk_adjustment_get_value (range), lower, field->slider_max, field->step, field->page, 0));
  scale = gtk_scale_new (GTK_ORIENTATION_HORIZONTAL, adjustment);
  gtk_scale_set_digits (GTK_SCALE (scale), field->digits);
  gtk_scale_set_draw_value (GTK_SCALE (scale), FALSE);
  /* What is not drawn is not rounded, unless that is asked for: the number beside it would show another value. */
  gtk_range_set_round_digits (GTK_RANGE (scale), field->digits);
  gtk_widget_set_size_request (scale, SLIDER_WIDTH, -1);
  name = gimp_strip_uline (g_param_spec_get_nick (pspec));
  ui_toolkit_set_name (scale, name, g_param_spec_get_blurb (pspec));
  gtk_widget_set_tooltip_text (scale, g_param_spec_get_blurb (pspec));
  bind_slider (dialog, property, adjustment, field->step);

  gtk_box_pack_start (GTK_BOX (box), scale, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (box), *number, FALSE, FALSE, 0);
  return box;
}

/* ---- the noise field -------------------------------------------------------------------------------------- */

static void
noise_auto_toggled (GtkToggleButton *button, UiDialog *dialog)
{
  GParamSpec *pspec = find_property (dialog, dialog->noise_property);
  double      level;

  g_object_get (dialog->config, dialog->noise_property, &level, NULL);
  if (gtk_toggle_button_get_active (button))
    {
      if (level != 0)
        g_object_set (dialog->config, dialog->noise_property, 0.0, NULL);
    }
  else if (level == 0)
    {
      /* 0 would mean the estimate again: start from what was estimated, or from the smallest step. */
      level = MAX (dialog->estimate, gtk_adjustment_get_step_increment (
                                         gtk_spin_button_get_adjustment (GTK_SPIN_BUTTON (dialog->noise_level))));
      g_object_set (dialog->config, dialog->noise_property, MIN (level, G_PARAM_SPEC_DOUBLE (pspec)->maximum), NULL);
    }
}

static void
noise_changed (GObject *config, GParamSpec *pspec, UiDialog *dialog)
{
  GtkWidget *row = gtk_widget_get_parent (dialog->noise_level);
  double     level;

  g_object_get (config, dialog->noise_property, &level, NULL);
  gtk_toggle_button_set_active (GTK_TOGGLE_BUTTON (dialog->noise_auto), level == 0);
  gtk_widget_set_sensitive (row, level != 0);
}

static void
add_noise (UiDialog *dialog, const char *property, const UiField *field)
{
  GtkWidget       *box = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GtkWidget       *level = scale_new (dialog, property, field, &dialog->noise_level);
  g_autofree char *signal = g_strdup_printf ("notify::%s", property);

  dialog->noise_property = property;
  dialog->noise_auto = gtk_check_button_new_with_mnemonic (C_ ("noise", "Estim_ate it from the picture"));
  dialog->noise_estimate = label_new (NULL);
  gtk_box_pack_start (GTK_BOX (box), dialog->noise_auto, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (box), dialog->noise_estimate, FALSE, FALSE, 0);

  add_row (dialog, property, level, dialog->noise_level);
  add_below (dialog, box);

  ui_dialog_set_estimate (dialog, -1);
  noise_changed (dialog->config, NULL, dialog);
  g_signal_connect (dialog->noise_auto, "toggled", G_CALLBACK (noise_auto_toggled), dialog);
  g_signal_connect (dialog->config, signal, G_CALLBACK (noise_changed), dialog);
}

void
ui_dialog_set_estimate (UiDialog *dialog, double level)
{
  g_autofree char *text = NULL;

  dialog->estimate = level;
  if (! dialog->noise_property)
    return;
  if (level >= 0)
    text = g_strdup_printf (C_ ("noise", "(estimated: %.1f)"), level);
  gtk_label_set_text (GTK_LABEL (dialog->noise_estimate), text ? text : "");
}

/* ---- other fields ----------------------------------------------------------------------------------------- */

static const char KEEP_SEED[] = "keep-seed";

static void
draw_seed (GObject *config, const char *property)
{
  const GParamSpec *pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (config), property);

  g_object_set (config, property, g_random_int_range (0, G_PARAM_SPEC_INT (pspec)->maximum), NULL);
}

void
ui_dialog_renew_seed (GObject *config, const char *group, const char *property)
{
  UiPresets *presets = ui_presets_new (config, group, NULL);

  if (! ui_presets_get_switch (presets, KEEP_SEED, TRUE))
    draw_seed (config, property);
  ui_presets_free (presets);
}

static void
seed_clicked (GtkButton *button, UiDialog *dialog)
{
  draw_seed (dialog->config, g_object_get_data (G_OBJECT (button), "property"));
}

static void
keep_toggled (GtkToggleButton *button, UiDialog *dialog)
{
  ui_presets_set_switch (dialog->presets, KEEP_SEED, gtk_toggle_button_get_active (button));
}

static void
add_seed (UiDialog *dialog, const char *property, const UiField *field)
{
  GtkWidget *box = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GtkWidget *number = gimp_prop_spin_button_new (dialog->config, property, field->step, field->page, 0);
  /* Translators: a button that draws a new seed; the sign is a die. */
  GtkWidget *button = gtk_button_new_with_mnemonic (C_ ("seed", "\342\232\204 Ne_w"));
  /* Translators: a switch: the seed stays the same the next time that the dialog is opened. */
  GtkWidget *keep = gtk_check_button_new_with_mnemonic (C_ ("seed", "_Keep"));

  gtk_entry_set_width_chars (GTK_ENTRY (number), SEED_WIDTH);
  gtk_widget_set_tooltip_text (button, C_ ("tip", "Draw a new seed, for another result"));
  ui_toolkit_set_name (button, C_ ("seed", "New seed"), C_ ("tip", "Draw a new seed, for another result"));
  gtk_widget_set_tooltip_text (keep, C_ ("tip", "Keep this seed for the next time; off draws a new one each time"));
  gtk_toggle_button_set_active (GTK_TOGGLE_BUTTON (keep), ui_presets_get_switch (dialog->presets, KEEP_SEED, TRUE));
  g_object_set_data (G_OBJECT (button), "property", (gpointer) property);
  g_signal_connect (button, "clicked", G_CALLBACK (seed_clicked), dialog);
  g_signal_connect (keep, "toggled", G_CALLBACK (keep_toggled), dialog);
  gtk_box_pack_start (GTK_BOX (box), number, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (box), button, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (box), keep, FALSE, FALSE, 0);
  add_row (dialog, property, box, number);
  if (! gtk_toggle_button_get_active (GTK_TOGGLE_BUTTON (keep)))
    seed_clicked (GTK_BUTTON (button), dialog);
}

static GtkWidget *
add_choice (UiDialog *dialog, const char *property, const UiChoice *choices)
{
  GtkListStore *store = gtk_list_store_new (2, G_TYPE_STRING, G_TYPE_STRING);
  GtkWidget    *combo;

  for (const UiChoice *choice = choices; choice->name; choice++)
    gtk_list_store_insert_with_values (store, NULL, g_str_equal (choice->name, "auto") ? 0 : -1, 0, choice->name, 1,
                                       g_dpgettext2 (NULL, "choice", choice->label), -1);
  combo = gimp_prop_string_combo_box_new (dialog->config, property, GTK_TREE_MODEL (store), 0, 1);
  g_object_unref (store);
  return add_row (dialog, property, combo, combo);
}

/* Tab leaves it. */
static GtkWidget *
add_text (UiDialog *dialog, const char *property, const UiField *field)
{
  GtkTextBuffer *buffer = gimp_prop_text_buffer_new (dialog->config, property, -1);
  GtkWidget     *view = gtk_text_view_new_with_buffer (buffer);
  GtkWidget     *scroll = ui_toolkit_text_scroll_new (view, TEXT_WIDTH, field->lines);

  g_object_unref (buffer);
  gtk_text_view_set_wrap_mode (GTK_TEXT_VIEW (view), GTK_WRAP_WORD_CHAR);
  gtk_text_view_set_accepts_tab (GTK_TEXT_VIEW (view), FALSE);
  return add_row (dialog, property, scroll, view);
}

static void
add_model (UiDialog *dialog, const char *property, const UiField *field)
{
  GtkWidget *list;

  dialog->models = ui_models_new (dialog->config, property, field->usual_model, field->checkpoints);
  list = ui_models_get_list (dialog->models);
  add_row (dialog, property, list, list);
  add_below (dialog, ui_models_get_card (dialog->models));
}

static void
choose_target (UiDialog *dialog, const UiField *field)
{
  dialog->target = field->expert ? dialog->expert : field->first ? dialog->first : dialog->fields;
  if (dialog->target)
    return;
  dialog->target = dialog->expert = gtk_box_new (GTK_ORIENTATION_VERTICAL, SPACING);
  dialog->expander = gtk_expander_new_with_mnemonic (C_ ("label", "Adva_nced"));
  gtk_expander_set_spacing (GTK_EXPANDER (dialog->expander), SPACING);
  gtk_container_add (GTK_CONTAINER (dialog->expander), dialog->expert);
}

void
ui_dialog_add_field (UiDialog *dialog, const char *property, const UiField *field, const UiChoice *choices)
{
  GtkWidget *box, *number, *row = NULL;

  choose_target (dialog, field);
  if (field->kind != UI_FIELD_SEED && field->kind != UI_FIELD_MODEL)
    ui_presets_add_property (dialog->presets, property, field->suits);
  switch (field->kind)
    {
    case UI_FIELD_SCALE:
      box = scale_new (dialog, property, field, &number);
      row = add_row (dialog, property, box, number);
      break;
    case UI_FIELD_NOISE:
      add_noise (dialog, property, field);
      break;
    case UI_FIELD_SEED:
      add_seed (dialog, property, field);
      break;
    case UI_FIELD_CHOICE:
      row = add_choice (dialog, property, choices);
      break;
    case UI_FIELD_TEXT:
      row = add_text (dialog, property, field);
      break;
    case UI_FIELD_MODEL:
      add_model (dialog, property, field);
      break;
    }
  if (row && field->suits != UI_SUITS_ALL)
    {
      gtk_widget_show_all (row);
      gtk_widget_set_no_show_all (row, TRUE);
      gtk_widget_set_visible (row, field->suits == UI_SUITS_OWN);
      g_ptr_array_add (field->suits == UI_SUITS_OWN ? dialog->other_rows : dialog->rows, row);
    }
}

void
ui_dialog_complete (UiDialog *dialog)
{
  GtkWidget *target;
  GtkWidget *list = ui_presets_get_widget (dialog->presets, &target);

  /* Translators: label of the list of presets: "Best for: photo, high ISO, ..."; and where there are none to begin
   * with, of those that the user saves. */
  add_labelled (dialog, dialog->fields, dialog->suited ? C_ ("label", "_Best for") : C_ ("label", "Pre_set"),
                C_ ("tip", "Settings that belong together, and those that you saved"), list, target);
  gtk_box_reorder_child (GTK_BOX (dialog->fields), gtk_widget_get_parent (list), 0);
  gtk_box_reorder_child (GTK_BOX (dialog->fields), dialog->first, 1);
  if (dialog->expander)
    gtk_box_pack_start (GTK_BOX (dialog->fields), dialog->expander, FALSE, FALSE, 0);
  ui_toolkit_leave_wheel (dialog->fields);
  gtk_widget_show_all (dialog->fields);
}

/* ---- the whole -------------------------------------------------------------------------------------------- */

/* How tall the fields may become before they scroll. */
static void
fit_fields (GtkWidget *body, UiDialog *dialog)
{
  ui_toolkit_scroll_fit (dialog->scroll, dialog->fields, ui_toolkit_get_screen_height (body) - RESERVED);
}

/* A checkpoint has more fields: the window is as tall as they want, if the screen is. */
static int
get_window_height (UiDialog *dialog)
{
  const int most = ui_toolkit_get_screen_height (dialog->body) - FRAME;

  if (! dialog->checkpoint)
    return WINDOW_HEIGHT;
  return MAX (MIN (ui_toolkit_get_wanted_height (dialog->fields) + RESERVED, most), WINDOW_HEIGHT);
}

void
ui_dialog_set_checkpoint (UiDialog *dialog, gboolean checkpoint)
{
  int width, height;

  /* What is fitted anew is laid out anew: in GTK 2 the preview moved by a scrollbar's width with each model. */
  if (dialog->checkpoint == checkpoint)
    return;
  dialog->checkpoint = checkpoint;
  for (guint i = 0; i < dialog->rows->len; i++)
    gtk_widget_set_visible (dialog->rows->pdata[i], checkpoint);
  for (guint i = 0; i < dialog->other_rows->len; i++)
    gtk_widget_set_visible (dialog->other_rows->pdata[i], ! checkpoint);
  gtk_widget_set_visible (dialog->first, checkpoint);
  ui_presets_set_checkpoint (dialog->presets, checkpoint);
  if (! gtk_widget_get_realized (dialog->body))
    return;
  fit_fields (dialog->body, dialog);
  gtk_window_get_size (GTK_WINDOW (gtk_widget_get_toplevel (dialog->body)), &width, &height);
  if (height < get_window_height (dialog))
    gtk_window_resize (GTK_WINDOW (gtk_widget_get_toplevel (dialog->body)), width, get_window_height (dialog));
}

UiDialog *
ui_dialog_new (GObject *config, const char *group, const UiPreset *presets, GtkWidget *preview)
{
  UiDialog *dialog = g_new0 (UiDialog, 1);

  dialog->config = config;
  dialog->presets = ui_presets_new (config, group, presets);
  dialog->suited = presets != NULL;
  dialog->labels = gtk_size_group_new (GTK_SIZE_GROUP_HORIZONTAL);
  dialog->body = gtk_box_new (GTK_ORIENTATION_VERTICAL, BORDER);
  dialog->content = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, BORDER);
  dialog->fields = gtk_box_new (GTK_ORIENTATION_VERTICAL, SPACING);
  dialog->scroll = ui_toolkit_scroll_new (dialog->fields);
  dialog->first = gtk_box_new (GTK_ORIENTATION_VERTICAL, SPACING);
  dialog->rows = g_ptr_array_new ();
  dialog->other_rows = g_ptr_array_new ();
  dialog->progress = gtk_progress_bar_new ();
  dialog->status = label_new (NULL);

  gtk_container_set_border_width (GTK_CONTAINER (dialog->body), BORDER);
  gtk_label_set_ellipsize (GTK_LABEL (dialog->status), PANGO_ELLIPSIZE_END);
  gtk_box_pack_start (GTK_BOX (dialog->content), preview, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (dialog->content), dialog->scroll, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (dialog->body), dialog->content, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (dialog->body), dialog->progress, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (dialog->body), dialog->status, FALSE, FALSE, 0);
  /* An empty box would still be spaced. */
  gtk_widget_set_no_show_all (dialog->first, TRUE);
  gtk_box_pack_start (GTK_BOX (dialog->fields), dialog->first, FALSE, FALSE, 0);
  gtk_widget_show_all (dialog->body);
  g_signal_connect (dialog->body, "realize", G_CALLBACK (fit_fields), dialog);
  return dialog;
}

void
ui_dialog_free (UiDialog *dialog)
{
  g_signal_handlers_disconnect_by_data (dialog->config, dialog);
  ui_presets_free (dialog->presets);
  if (dialog->models)
    ui_models_free (dialog->models);
  g_object_unref (dialog->labels);
  g_ptr_array_unref (dialog->rows);
  g_ptr_array_unref (dialog->other_rows);
  g_free (dialog);
}

GtkWidget *
ui_dialog_get_body (UiDialog *dialog)
{
  return dialog->body;
}

void
ui_dialog_size_window (UiDialog *dialog, GtkWindow *window)
{
  gtk_window_set_default_size (window, WINDOW_WIDTH, get_window_height (dialog));
}

void
ui_dialog_set_status (UiDialog *dialog, const char *text)
{
  gtk_label_set_text (GTK_LABEL (dialog->status), text ? text : "");
  /* The window may be too narrow for all of it. */
  gtk_widget_set_tooltip_text (dialog->status, text);
}

/* The other buttons, and what GIMP 3 has beside the body, could change the settings as well; Cancel stays. */
static void
set_beside (GtkWidget *widget, gpointer data)
{
  UiDialog  *dialog = data;
  GtkWidget *window = gtk_widget_get_toplevel (dialog->body);
  GtkWidget *cancel = gtk_dialog_get_widget_for_response (GTK_DIALOG (window), GTK_RESPONSE_CANCEL);

  if (widget == dialog->body || widget == cancel)
    return;
  if (cancel && gtk_widget_is_ancestor (cancel, widget))
    gtk_container_foreach (GTK_CONTAINER (widget), set_beside, dialog);
  else
    gtk_widget_set_sensitive (widget, gtk_widget_get_sensitive (dialog->content));
}

void
ui_dialog_set_busy (UiDialog *dialog, gboolean busy)
{
  GtkWidget *window = gtk_widget_get_toplevel (dialog->body);

  gtk_widget_set_sensitive (dialog->content, ! busy);
  if (GTK_IS_DIALOG (window))
    gtk_container_foreach (GTK_CONTAINER (gtk_dialog_get_content_area (GTK_DIALOG (window))), set_beside, dialog);
}

void
ui_dialog_set_progress (UiDialog *dialog, double fraction)
{
  gtk_progress_bar_set_fraction (GTK_PROGRESS_BAR (dialog->progress), CLAMP (fraction, 0, 1));
}
