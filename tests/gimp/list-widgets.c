/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * list-widgets LOCALE-FOLDER FILTER [expanded] [checkpoint]: shows the filter's dialog without GIMP, with all fields,
 * or with those of a Stable Diffusion checkpoint, and prints what a test wants to know of it: the window's size, then a
 * line for each control with its type, its place in the window, its mnemonic and its accessible name, separated by
 * tabs; then how numbers are written and read, where sliders stop, what the arrows of numbers do that can be
 * "automatic", and which buttons can be pressed during a run.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <glib/gi18n.h>
#include <gtk/gtk.h>

#include "plugin/config-gimp2.h"
#include "plugin/params.h"
#include "ui/dialog.h"
#include "ui/preview.h"

/* GDK_KEY_VoidSymbol, which GTK 2 and 3 have in different headers. */
#define NO_MNEMONIC 0xffffff

enum
{
  RESPONSE_RESET = 1
};

/* Values are printed in millionths: each language has a point of its own. */
static const double MILLION = 1e6;

typedef struct
{
  GtkWidget     *window;
  UiDialog      *dialog;
  GtkSpinButton *strength; /* a number with decimals, if there is one */
  GPtrArray     *sliders, *numbers;
} Listing;

/* ---- a preview of nothing --------------------------------------------------------------------------------- */

static gpointer
begin (const GdkRectangle *visible, gpointer data, GError **error)
{
  return NULL;
}

static gboolean
render (gpointer crop, const GdkRectangle *rect, guchar *rgba, gpointer data, GError **error)
{
  memset (rgba, 128, (gsize) rect->width * rect->height * 4);
  return TRUE;
}

static void
notify (gpointer crop, UiPreviewEvent event, const GError *error, gpointer data)
{
}

static void
rest (gpointer data)
{
}

static const UiPreviewFilter nothing = { .begin = begin, .render = render, .rest = rest, .notify = notify };

/* ---- the listing ------------------------------------------------------------------------------------------ */

static GtkLabel *
find_own_label (GtkWidget *widget)
{
  GtkLabel *found = NULL;

  if (GTK_IS_LABEL (widget))
    return GTK_LABEL (widget);
  if (GTK_IS_CONTAINER (widget))
    {
      GList *children = gtk_container_get_children (GTK_CONTAINER (widget));

      for (GList *child = children; child && ! found; child = child->next)
        found = find_own_label (child->data);
      g_list_free (children);
    }
  return found;
}

/* A name that was given, or else the text on it, as GTK's own accessibility takes it (in GTK 2 a module that is not
 * loaded here). */
static const char *
get_name (GtkWidget *widget)
{
  AtkObject  *accessible = gtk_widget_get_accessible (widget);
  const char *name = accessible ? atk_object_get_name (accessible) : NULL;
  GtkLabel   *label = NULL;

  if (name)
    return name;
  if (GTK_IS_BUTTON (widget))
    label = find_own_label (widget);
  else if (GTK_IS_EXPANDER (widget))
    label = GTK_LABEL (gtk_expander_get_label_widget (GTK_EXPANDER (widget)));
  return label ? gtk_label_get_text (label) : "";
}

static guint
get_mnemonic (GtkWidget *widget)
{
  GtkLabel *label = NULL;
  GList    *labels = gtk_widget_list_mnemonic_labels (widget);

  if (labels)
    label = labels->data;
  else if (GTK_IS_BUTTON (widget))
    label = find_own_label (widget);
  else if (GTK_IS_EXPANDER (widget))
    label = GTK_LABEL (gtk_expander_get_label_widget (GTK_EXPANDER (widget)));
  g_list_free (labels);
  return label ? gtk_label_get_mnemonic_keyval (label) : NO_MNEMONIC;
}

static gboolean
is_control (GtkWidget *widget)
{
  return GTK_IS_TEXT_VIEW (widget) || GTK_IS_SCALE (widget) || GTK_IS_ENTRY (widget) || GTK_IS_COMBO_BOX (widget)
         || GTK_IS_BUTTON (widget) || GTK_IS_EXPANDER (widget)
         || (GTK_IS_DRAWING_AREA (widget) && gtk_widget_get_can_focus (widget));
}

static void
list (GtkWidget *widget, gpointer data)
{
  Listing *listing = data;

  if (is_control (widget) && gtk_widget_get_mapped (widget))
    {
      GtkAllocation    place;
      g_autofree char *mnemonic = NULL;
      int              x = 0, y = 0;
      guint            key = get_mnemonic (widget);

      if (key != NO_MNEMONIC)
        mnemonic = g_strdup (gdk_keyval_name (gdk_keyval_to_lower (key)));
      gtk_widget_translate_coordinates (widget, listing->window, 0, 0, &x, &y);
      gtk_widget_get_allocation (widget, &place);
      printf ("%s\t%d\t%d\t%d\t%d\t%s\t%s\n", G_OBJECT_TYPE_NAME (widget), x, y, place.width, place.height,
              mnemonic ? mnemonic : "-", get_name (widget));
      if (GTK_IS_SPIN_BUTTON (widget) && ! listing->strength
          && gtk_spin_button_get_digits (GTK_SPIN_BUTTON (widget)) == 2)
        listing->strength = GTK_SPIN_BUTTON (widget);
      if (GTK_IS_SPIN_BUTTON (widget))
        g_ptr_array_add (listing->numbers, widget);
      else if (GTK_IS_SCALE (widget))
        g_ptr_array_add (listing->sliders, widget);
    }
  if (GTK_IS_EXPANDER (widget) && ! gtk_expander_get_expanded (GTK_EXPANDER (widget)))
    return;
  /* What a control is made of is its own affair. */
  if (GTK_IS_CONTAINER (widget) && ! GTK_IS_COMBO_BOX (widget) && ! GTK_IS_BUTTON (widget)
      && ! GTK_IS_TEXT_VIEW (widget))
    gtk_container_foreach (GTK_CONTAINER (widget), list, data);
}

static gboolean
open_expander (GtkWidget *widget)
{
  gboolean opened = GTK_IS_EXPANDER (widget);

  if (opened)
    gtk_expander_set_expanded (GTK_EXPANDER (widget), TRUE);
  else if (GTK_IS_CONTAINER (widget))
    {
      GList *children = gtk_container_get_children (GTK_CONTAINER (widget));

      for (GList *child = children; child && ! opened; child = child->next)
        opened = open_expander (child->data);
      g_list_free (children);
    }
  return opened;
}

/* Whether this text is read as 0.75; and how that is written. */
static void
list_number (GtkSpinButton *number, const char *text)
{
  gtk_spin_button_set_value (number, 0.1);
  gtk_entry_set_text (GTK_ENTRY (number), "");
  {
    int position = 0;

    /* As if it were typed: a numeric entry swallows what it does not know. */
    gtk_editable_insert_text (GTK_EDITABLE (number), text, -1, &position);
  }
  gtk_spin_button_update (number);
  printf ("number\t%s\t%d\t%s\n", text, (int) (gtk_spin_button_get_value (number) * 1000 + 0.5),
          gtk_entry_get_text (GTK_ENTRY (number)));
}

/* Where a slider stops that is dragged to a place between its steps. */
static void
list_slider (GtkWidget *slider)
{
  const double place = gtk_adjustment_get_upper (gtk_range_get_adjustment (GTK_RANGE (slider))) * 0.70345;
  gboolean     handled;

  if (! gtk_widget_is_sensitive (slider))
    return;
  g_signal_emit_by_name (slider, "change-value", GTK_SCROLL_JUMP, place, &handled);
  printf ("slider\t%s\t%d\t%.0f\t%.0f\n", get_name (slider), gtk_scale_get_digits (GTK_SCALE (slider)), place * MILLION,
          gtk_range_get_value (GTK_RANGE (slider)) * MILLION);
}

/* A number as it is, and its text after a press on the arrow up and one on the arrow down. */
static void
list_arrows (GtkSpinButton *number)
{
  g_autofree char *up = NULL;
  double           lower, step;

  gtk_spin_button_get_range (number, &lower, NULL);
  gtk_spin_button_get_increments (number, &step, NULL);
  if (lower >= 0)
    return;
  gtk_spin_button_set_value (number, lower);
  gtk_spin_button_spin (number, GTK_SPIN_STEP_FORWARD, step);
  up = g_strdup (gtk_entry_get_text (GTK_ENTRY (number)));
  gtk_spin_button_spin (number, GTK_SPIN_STEP_BACKWARD, step);
  printf ("arrows\t%s\t%s\t%s\t%.0f\n", get_name (GTK_WIDGET (number)), up, gtk_entry_get_text (GTK_ENTRY (number)),
          (gtk_spin_button_get_value (number) - lower) * MILLION);
}

static void
list_button (GtkWidget *window, int response)
{
  GtkWidget *button = gtk_dialog_get_widget_for_response (GTK_DIALOG (window), response);

  printf ("busy\t%s\t%d\n", get_name (button), gtk_widget_is_sensitive (button));
}

static gboolean
finish (gpointer data)
{
  Listing *listing = data;
  int      width, height;

  gtk_window_get_size (GTK_WINDOW (listing->window), &width, &height);
  printf ("window\t%d\t%d\n", width, height);
  list (listing->window, listing);
  if (listing->strength)
    {
      list_number (listing->strength, "0.75");
      list_number (listing->strength, "0,75");
    }
  for (guint i = 0; i < listing->sliders->len; i++)
    list_slider (listing->sliders->pdata[i]);
  for (guint i = 0; i < listing->numbers->len; i++)
    list_arrows (listing->numbers->pdata[i]);
  ui_dialog_set_busy (listing->dialog, TRUE);
  list_button (listing->window, RESPONSE_RESET);
  list_button (listing->window, GTK_RESPONSE_CANCEL);
  list_button (listing->window, GTK_RESPONSE_OK);
  gtk_main_quit ();
  return G_SOURCE_REMOVE;
}

int
main (int argc, char **argv)
{
  const Filter *filter;
  GdkRectangle  focus = { 0, 0, 640, 426 };
  UiPreview    *preview;
  UiDialog     *dialog;
  Listing       listing = { NULL };
  gboolean      expanded = FALSE, checkpoint = FALSE;
  g_autoptr (GObject) config = NULL;

  if (argc < 3)
    return EXIT_FAILURE;
  gtk_init (&argc, &argv);
  bindtextdomain (GETTEXT_PACKAGE, argv[1]);
  bind_textdomain_codeset (GETTEXT_PACKAGE, "UTF-8");
  textdomain (GETTEXT_PACKAGE);
  filter = filter_find (argv[2]);
  if (! filter)
    return EXIT_FAILURE;
  for (int i = 3; i < argc; i++)
    {
      expanded |= g_str_equal (argv[i], "expanded");
      checkpoint |= g_str_equal (argv[i], "checkpoint");
    }

  config = config_new (filter);
  preview = ui_preview_new (focus.width, focus.height, &focus, &nothing, NULL);
  dialog = ui_dialog_new (config, filter->procedure, filter->presets, ui_preview_get_widget (preview));
  for (guint i = 0; i < filter->n_params; i++)
    ui_dialog_add_field (dialog, filter->params[i].name, &filter->params[i].field, filter->params[i].choices);
  ui_dialog_complete (dialog);
  listing.dialog = dialog;
  listing.sliders = g_ptr_array_new ();
  listing.numbers = g_ptr_array_new ();
  listing.window = gtk_dialog_new_with_buttons (g_dpgettext2 (NULL, "title", filter->title), NULL, 0,
                                                C_ ("button", "_Reset"), RESPONSE_RESET, C_ ("button", "_Cancel"),
                                                GTK_RESPONSE_CANCEL, C_ ("button", "_OK"), GTK_RESPONSE_OK, NULL);
  gtk_box_pack_start (GTK_BOX (gtk_dialog_get_content_area (GTK_DIALOG (listing.window))), ui_dialog_get_body (dialog),
                      TRUE, TRUE, 0);
  ui_dialog_set_checkpoint (dialog, checkpoint);
  ui_dialog_size_window (dialog, GTK_WINDOW (listing.window));
  gtk_widget_show (listing.window);
  if (expanded)
    open_expander (ui_dialog_get_body (dialog));
  g_timeout_add (expanded ? 600 : 300, finish, &listing);
  gtk_main ();
  fflush (stdout);

  ui_preview_free (preview);
  gtk_widget_destroy (listing.window);
  ui_dialog_free (dialog);
  g_ptr_array_unref (listing.sliders);
  g_ptr_array_unref (listing.numbers);
  return EXIT_SUCCESS;
}
