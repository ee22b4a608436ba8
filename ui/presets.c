/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <math.h>

#include <glib/gi18n.h>

#include "presets.h"
#include "toolkit.h"

enum
{
  SPACING = 6,
  BORDER = 12,
  LIST_WIDTH = 16 /* characters */
};

static const double SAME = 1e-6;

typedef struct
{
  const char *name;
  UiSuits     suits;
} Property;

/* The user's file holds one group for each preset, named FILTER/PRESET, and one for each filter with its switches. */
struct _UiPresets
{
  GObject        *config;
  char           *group;
  const UiPreset *builtin;
  GArray         *properties; /* Property */
  gboolean        checkpoint; /* the model is one */
  GPtrArray      *names;      /* of the user's presets, as in the list */
  GKeyFile       *file;
  char           *path;

  GtkWidget *list;
  GtkWidget *remove;
  gboolean   filling; /* list or configuration are changed from here */
};

static int
count_builtin (UiPresets *presets)
{
  int n = 0;

  while (presets->builtin && presets->builtin[n].label)
    n++;
  return n;
}

/* ---- the user's file -------------------------------------------------------------------------------------- */

static char *
get_file_group (UiPresets *presets, const char *name)
{
  return g_strdup_printf ("%s/%s", presets->group, name);
}

/* A file that cannot be written costs the preset, not the work. */
static void
complain (const GError *error)
{
  g_message (C_ ("preset", "The presets could not be saved: %s"), error->message);
}

/* Before each change: another dialog may have changed the file meanwhile.  One that cannot be read is not written over.
 */
static gboolean
reload_file (UiPresets *presets)
{
  GKeyFile *file = g_key_file_new ();
  g_autoptr (GError) error = NULL;

  if (! g_key_file_load_from_file (file, presets->path, G_KEY_FILE_KEEP_COMMENTS, &error)
      && ! g_error_matches (error, G_FILE_ERROR, G_FILE_ERROR_NOENT))
    {
      complain (error);
      g_key_file_unref (file);
      return FALSE;
    }
  g_key_file_unref (presets->file);
  presets->file = file;
  return TRUE;
}

static void
save_file (UiPresets *presets)
{
  g_autofree char *folder = g_path_get_dirname (presets->path);
  g_autoptr (GError) error = NULL;

  g_mkdir_with_parents (folder, 0700);
  if (! g_key_file_save_to_file (presets->file, presets->path, &error))
    complain (error);
}

static void
list_names (UiPresets *presets)
{
  g_auto (GStrv) groups = g_key_file_get_groups (presets->file, NULL);
  g_autofree char *prefix = get_file_group (presets, "");

  g_ptr_array_set_size (presets->names, 0);
  for (int i = 0; groups[i]; i++)
    if (g_str_has_prefix (groups[i], prefix))
      g_ptr_array_add (presets->names, g_strdup (groups[i] + strlen (prefix)));
}

gboolean
ui_presets_get_switch (UiPresets *presets, const char *name, gboolean fallback)
{
  g_autoptr (GError) error = NULL;
  const gboolean value = g_key_file_get_boolean (presets->file, presets->group, name, &error);

  return error ? fallback : value;
}

void
ui_presets_set_switch (UiPresets *presets, const char *name, gboolean value)
{
  if (! reload_file (presets))
    return;
  g_key_file_set_boolean (presets->file, presets->group, name, value);
  save_file (presets);
}

/* ---- values ----------------------------------------------------------------------------------------------- */

static double
get_number (GObject *config, const char *property)
{
  GValue value = G_VALUE_INIT;
  double number;

  g_value_init (&value, G_TYPE_DOUBLE);
  g_object_get_property (config, property, &value);
  number = g_value_get_double (&value);
  g_value_unset (&value);
  return number;
}

static void
set_number (GObject *config, const char *property, double number)
{
  GValue value = G_VALUE_INIT;

  g_value_init (&value, G_TYPE_DOUBLE);
  g_value_set_double (&value, number);
  g_object_set_property (config, property, &value);
  g_value_unset (&value);
}

static gboolean
is_text (UiPresets *presets, const char *property)
{
  GParamSpec *pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (presets->config), property);

  return g_type_is_a (G_PARAM_SPEC_VALUE_TYPE (pspec), G_TYPE_STRING);
}

/* The i-th property's name, or NULL if it has no effect with the present model. */
static const char *
get_property (UiPresets *presets, guint i)
{
  const Property *property = &g_array_index (presets->properties, Property, i);
  const UiSuits   hidden = presets->checkpoint ? UI_SUITS_OWN : UI_SUITS_CHECKPOINT;

  return property->suits == hidden ? NULL : property->name;
}

/* Walks through a user's preset: applies it, or tells whether the configuration is like it. */
static gboolean
visit_own (UiPresets *presets, const char *name, gboolean apply)
{
  g_autofree char *group = get_file_group (presets, name);
  gboolean         same = TRUE, any = FALSE;

  for (guint i = 0; i < presets->properties->len; i++)
    {
      const char *property = get_property (presets, i);

      if (! property || ! g_key_file_has_key (presets->file, group, property, NULL))
        continue;
      any = TRUE;
      if (is_text (presets, property))
        {
          g_autofree char *wanted = g_key_file_get_string (presets->file, group, property, NULL);
          g_autofree char *now = NULL;

          g_object_get (presets->config, property, &now, NULL);
          same = same && g_strcmp0 (now, wanted) == 0;
          if (apply)
            g_object_set (presets->config, property, wanted, NULL);
        }
      else
        {
          const double wanted = g_key_file_get_double (presets->file, group, property, NULL);

          same = same && fabs (get_number (presets->config, property) - wanted) < SAME;
          if (apply)
            set_number (presets->config, property, wanted);
        }
    }
  return same && any;
}

static gboolean
visit_builtin (UiPresets *presets, const UiPreset *preset, gboolean apply)
{
  gboolean same = TRUE;

  for (int i = 0; i < UI_PRESET_VALUES && preset->values[i].property; i++)
    {
      const char  *property = preset->values[i].property;
      const double wanted = preset->values[i].value;

      same = same && fabs (get_number (presets->config, property) - wanted) < SAME;
      if (apply)
        set_number (presets->config, property, wanted);
    }
  return same;
}

/* ---- the list --------------------------------------------------------------------------------------------- */

/* Whether the configuration is like the preset of a row. */
static gboolean
is_current (UiPresets *presets, int row)
{
  const int n = count_builtin (presets);

  if (row <= 0 || row > n + (int) presets->names->len)
    return FALSE;
  return row <= n ? visit_builtin (presets, &presets->builtin[row - 1], FALSE)
                  : visit_own (presets, presets->names->pdata[row - 1 - n], FALSE);
}

/* Row 0 stands for settings that are no preset.  Of several that are alike, the one that was chosen stays. */
static void
select_current (UiPresets *presets)
{
  const int n = count_builtin (presets), last = n + (int) presets->names->len;
  int       row = gtk_combo_box_get_active (GTK_COMBO_BOX (presets->list));

  if (! is_current (presets, row))
    {
      row = 1;
      while (row <= last && ! is_current (presets, row))
        row++;
      row = row <= last ? row : 0;
    }

  presets->filling = TRUE;
  gtk_combo_box_set_active (GTK_COMBO_BOX (presets->list), row);
  presets->filling = FALSE;
  gtk_widget_set_sensitive (presets->remove, row > n);
}

/* The row of a preset of the user's, or 0. */
static int
find_row (UiPresets *presets, const char *name)
{
  for (guint i = 0; i < presets->names->len; i++)
    if (g_str_equal (presets->names->pdata[i], name))
      return 1 + count_builtin (presets) + (int) i;
  return 0;
}

/* select: a preset of the user's that is to be chosen, or NULL. */
static void
fill_list (UiPresets *presets, const char *select)
{
  GtkComboBoxText *list = GTK_COMBO_BOX_TEXT (presets->list);

  presets->filling = TRUE;
  gtk_list_store_clear (GTK_LIST_STORE (gtk_combo_box_get_model (GTK_COMBO_BOX (list))));
  /* Translators: an entry of the list of presets: the settings are like none of them. */
  gtk_combo_box_text_append_text (list, C_ ("preset", "Own settings"));
  for (int i = 0; i < count_builtin (presets); i++)
    gtk_combo_box_text_append_text (list, g_dpgettext2 (NULL, "preset", presets->builtin[i].label));
  list_names (presets);
  for (guint i = 0; i < presets->names->len; i++)
    gtk_combo_box_text_append_text (list, presets->names->pdata[i]);
  gtk_combo_box_set_active (GTK_COMBO_BOX (list), select ? find_row (presets, select) : 0);
  presets->filling = FALSE;
  select_current (presets);
}

static void
list_changed (GtkComboBox *list, UiPresets *presets)
{
  const int n = count_builtin (presets);
  const int row = gtk_combo_box_get_active (list);

  if (presets->filling || row <= 0)
    return;
  presets->filling = TRUE;
  if (row <= n)
    visit_builtin (presets, &presets->builtin[row - 1], TRUE);
  else
    visit_own (presets, presets->names->pdata[row - 1 - n], TRUE);
  presets->filling = FALSE;
  select_current (presets);
}

static void
config_changed (GObject *config, GParamSpec *pspec, UiPresets *presets)
{
  if (presets->list && ! presets->filling)
    select_current (presets);
}

static char *
ask_name (GtkWidget *parent)
{
  GtkWidget *window = gtk_dialog_new_with_buttons (
      C_ ("preset", "Save as a Preset"), GTK_WINDOW (gtk_widget_get_toplevel (parent)), GTK_DIALOG_MODAL,
      C_ ("button", "_Cancel"), GTK_RESPONSE_CANCEL, C_ ("button", "_OK"), GTK_RESPONSE_OK, NULL);
  GtkWidget *row = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GtkWidget *label = gtk_label_new_with_mnemonic (C_ ("label", "_Name"));
  GtkWidget *entry = gtk_entry_new ();
  char      *name = NULL;

  gtk_label_set_mnemonic_widget (GTK_LABEL (label), entry);
  gtk_entry_set_activates_default (GTK_ENTRY (entry), TRUE);
  gtk_dialog_set_default_response (GTK_DIALOG (window), GTK_RESPONSE_OK);
  gtk_container_set_border_width (GTK_CONTAINER (row), BORDER);
  gtk_box_pack_start (GTK_BOX (row), label, FALSE, FALSE, 0);
  gtk_box_pack_start (GTK_BOX (row), entry, TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (gtk_dialog_get_content_area (GTK_DIALOG (window))), row, FALSE, FALSE, 0);
  gtk_widget_show_all (row);
  if (gtk_dialog_run (GTK_DIALOG (window)) == GTK_RESPONSE_OK)
    {
      name = g_strstrip (g_strdup (gtk_entry_get_text (GTK_ENTRY (entry))));
      /* What a key file's group must not hold. */
      g_strdelimit (name, "[]\n\t/", ' ');
    }
  gtk_widget_destroy (window);
  if (name && ! *name)
    g_clear_pointer (&name, g_free);
  return name;
}

static void
save_clicked (GtkButton *button, UiPresets *presets)
{
  g_autofree char *name = ask_name (GTK_WIDGET (button));
  g_autofree char *group = NULL;

  if (! name || ! reload_file (presets))
    return;
  group = get_file_group (presets, name);
  for (guint i = 0; i < presets->properties->len; i++)
    {
      const char *property = get_property (presets, i);

      if (! property)
        continue;
      if (is_text (presets, property))
        {
          g_autofree char *text = NULL;

          g_object_get (presets->config, property, &text, NULL);
          g_key_file_set_string (presets->file, group, property, text ? text : "");
        }
      else
        {
          g_key_file_set_double (presets->file, group, property, get_number (presets->config, property));
        }
    }
  save_file (presets);
  fill_list (presets, name);
}

static void
remove_clicked (GtkButton *button, UiPresets *presets)
{
  const int        own = gtk_combo_box_get_active (GTK_COMBO_BOX (presets->list)) - 1 - count_builtin (presets);
  g_autofree char *group = NULL;

  if (own < 0 || ! reload_file (presets))
    return;
  group = get_file_group (presets, presets->names->pdata[own]);
  g_key_file_remove_group (presets->file, group, NULL);
  save_file (presets);
  fill_list (presets, NULL);
}

static GtkWidget *
add_button (UiPresets *presets, GtkWidget *row, const char *label, const char *name, GCallback clicked)
{
  GtkWidget *button = gtk_button_new_with_mnemonic (label);

  gtk_widget_set_tooltip_text (button, name);
  ui_toolkit_set_name (button, name, NULL);
  g_signal_connect (button, "clicked", clicked, presets);
  gtk_box_pack_start (GTK_BOX (row), button, FALSE, FALSE, 0);
  return button;
}

GtkWidget *
ui_presets_get_widget (UiPresets *presets, GtkWidget **target)
{
  GtkWidget    *row = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, SPACING);
  GtkSizeGroup *buttons = gtk_size_group_new (GTK_SIZE_GROUP_HORIZONTAL);
  GtkWidget    *save;

  presets->list = *target = ui_toolkit_list_new (LIST_WIDTH);
  gtk_box_pack_start (GTK_BOX (row), presets->list, TRUE, TRUE, 0);
  save = add_button (presets, row, "_+", C_ ("tip", "Save these settings as a preset of your own"),
                     G_CALLBACK (save_clicked));
  presets->remove
      = add_button (presets, row, "_-", C_ ("tip", "Remove this preset of your own"), G_CALLBACK (remove_clicked));
  gtk_size_group_add_widget (buttons, save);
  gtk_size_group_add_widget (buttons, presets->remove);
  g_object_unref (buttons);
  fill_list (presets, NULL);
  g_signal_connect (presets->list, "changed", G_CALLBACK (list_changed), presets);
  g_signal_connect (presets->config, "notify", G_CALLBACK (config_changed), presets);
  return row;
}

UiPresets *
ui_presets_new (GObject *config, const char *group, const UiPreset *builtin)
{
  UiPresets *presets = g_new0 (UiPresets, 1);

  presets->config = config;
  presets->group = g_strdup (group);
  presets->builtin = builtin;
  presets->properties = g_array_new (FALSE, FALSE, sizeof (Property));
  presets->names = g_ptr_array_new_with_free_func (g_free);
  presets->file = g_key_file_new ();
  presets->path = g_build_filename (g_get_user_config_dir (), "gimp-diffusion", "presets.ini", NULL);
  /* There is none before the first preset. */
  g_key_file_load_from_file (presets->file, presets->path, G_KEY_FILE_NONE, NULL);
  return presets;
}

void
ui_presets_free (UiPresets *presets)
{
  g_signal_handlers_disconnect_by_data (presets->config, presets);
  g_array_unref (presets->properties);
  g_ptr_array_unref (presets->names);
  g_key_file_unref (presets->file);
  g_free (presets->path);
  g_free (presets->group);
  g_free (presets);
}

void
ui_presets_add_property (UiPresets *presets, const char *property, UiSuits suits)
{
  g_array_append_vals (presets->properties, &(Property){ property, suits }, 1);
}

void
ui_presets_set_checkpoint (UiPresets *presets, gboolean checkpoint)
{
  presets->checkpoint = checkpoint;
  if (presets->list)
    select_current (presets);
}
