/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <glib/gi18n.h>
#include <glib/gstdio.h>

#include "engine/diffusion.h"
#include "models.h"
#include "toolkit.h"

enum
{
  CARD_WIDTH = 36, /* characters */
  LIST_WIDTH = 20  /* also characters */
};

static const char SUFFIX[] = ".safetensors";

typedef struct
{
  char *value; /* of the property */
  char *name;  /* that finds it too; NULL: its path alone does */
  char *path;  /* canonical */
  char *title;
  char *card; /* what it is, or why it cannot be used */
  char *data; /* what it was made from; NULL: unknown */
} Entry;

struct _UiModels
{
  GObject      *config;
  char         *property;
  const char   *usual; /* the name of the model that an empty property means */
  gboolean      checkpoints;
  GPtrArray    *entries;
  GCancellable *cancellable; /* of the listing */
  GtkWidget    *list, *card;
  gboolean      filling;
  gboolean      listed; /* what there is to be found */
};

/* What a thread needs to know to look at files. */
typedef struct
{
  char       *current; /* the property's value */
  const char *usual;   /* these as in UiModels */
  gboolean    checkpoints;
  char       *usual_path; /* NULL until the thread has looked */
} Search;

static void
entry_free (gpointer data)
{
  Entry *entry = data;

  g_free (entry->value);
  g_free (entry->name);
  g_free (entry->path);
  g_free (entry->title);
  g_free (entry->card);
  g_free (entry->data);
  g_free (entry);
}

/* ---- cards ------------------------------------------------------------------------------------------------ */

static const char *
get_purpose (const DiffusionModel *model)
{
  const char *mix = diffusion_model_get_metadata (model, "mix");

  if (g_strcmp0 (mix, "inpaint") == 0)
    return C_ ("model", "fills selections and regenerates");
  if (g_strcmp0 (mix, "style") == 0)
    return C_ ("model", "regenerates in a style");
  if (g_strcmp0 (mix, "denoise") == 0)
    return C_ ("model", "denoises photographs");
  return C_ ("model", "purpose not stated");
}

static char *
make_card (const char *path, const DiffusionModel *model)
{
  const char      *license = diffusion_model_get_metadata (model, "license");
  GStatBuf         status = { 0 };
  g_autofree char *size = NULL;

  g_stat (path, &status);
  size = g_format_size ((guint64) status.st_size);
  /* Translators: a model's card: what it is for, its licence, its size as in "13.1 MB". */
  return g_strdup_printf (C_ ("model", "%s; licence: %s; %s"), get_purpose (model),
                          license ? license : C_ ("licence", "not stated"), size);
}

static char *
make_checkpoint_card (const char *path, const DiffusionCheckpoint *checkpoint)
{
  const char *family = checkpoint->family == DIFFUSION_FAMILY_SD1 ? "Stable Diffusion 1.x" : "Stable Diffusion 2.x";
  GStatBuf    status = { 0 };
  g_autofree char *kind = NULL;
  g_autofree char *size = NULL;

  g_stat (path, &status);
  size = g_format_size ((guint64) status.st_size);
  /* Translators: "Stable Diffusion 1.x for inpainting" */
  kind = checkpoint->inpainting ? g_strdup_printf (C_ ("model", "%s for inpainting"), family) : g_strdup (family);
  /* Translators: a checkpoint's card: its family, in how many steps and at what size it works, its size as in "2.1 GB".
   */
  return g_strdup_printf (C_ ("model", "%s; fills and regenerates by words, in %d steps at %d pixels; %s"), kind,
                          checkpoint->steps, checkpoint->native_size, size);
}

/* Checkpoints are large: only their headers are looked at.  Other files are loaded to find out whether they can be
 * used. */
static void
describe (Entry *entry, const char *path, const char *base, gboolean checkpoints)
{
  DiffusionCheckpoint checkpoint;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (GError) error = NULL;

  if (diffusion_checkpoint_look (path, &checkpoint, NULL))
    {
      if (checkpoints)
        {
          entry->title = g_strdup (base);
          entry->card = make_checkpoint_card (path, &checkpoint);
          entry->data = g_strdup (path);
          return;
        }
      g_set_error_literal (&error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                           C_ ("model", "A Stable Diffusion checkpoint, which does not denoise"));
    }
  else
    {
      model = diffusion_model_load (path, &error);
    }
  if (model)
    {
      entry->title = g_strdup (base);
      entry->card = make_card (path, model);
      entry->data = g_strdup (diffusion_model_get_metadata (model, "data"));
    }
  else
    {
      /* Translators: the name of a model file in the list of models. */
      entry->title = g_strdup_printf (C_ ("model", "%s (cannot be used)"), base);
      entry->card = g_strdup (error->message);
    }
}

/* value: as it will be in the configuration; NULL: the name if the file is found by it, else the path. */
static Entry *
entry_new (const char *path, const char *value, const Search *search)
{
  Entry           *entry = g_new0 (Entry, 1);
  g_autofree char *base = g_path_get_basename (path);
  g_autofree char *found = NULL;

  if (g_str_has_suffix (base, SUFFIX))
    base[strlen (base) - strlen (SUFFIX)] = '\0';
  entry->path = g_canonicalize_filename (path, NULL);
  found = diffusion_model_find (base, NULL);
  if (value)
    entry->value = g_strdup (value);
  else if (g_strcmp0 (found, path) != 0)
    entry->value = g_strdup (path);
  else
    {
      entry->value = g_strdup (g_strcmp0 (search->usual_path, path) == 0 ? "" : base);
      entry->name = g_strdup (base);
    }

  describe (entry, path, base, search->checkpoints);
  return entry;
}

/* ---- the list --------------------------------------------------------------------------------------------- */

static char *
get_value (UiModels *models)
{
  char *value = NULL;

  g_object_get (models->config, models->property, &value, NULL);
  return value ? value : g_strdup ("");
}

static void
show_card (UiModels *models)
{
  const int    row = gtk_combo_box_get_active (GTK_COMBO_BOX (models->list));
  const Entry *entry = row >= 0 && row < (int) models->entries->len ? models->entries->pdata[row] : NULL;

  gtk_label_set_text (GTK_LABEL (models->card), entry ? entry->card : C_ ("model", "Looking for models..."));
  gtk_widget_set_tooltip_text (models->card, entry ? entry->data : NULL);
  if (entry)
    g_debug ("models: %s: %s", entry->title, entry->card);
}

/* The entry of a value, which may be the path of what is listed by its name; -1: none. */
static int
find_entry (const GPtrArray *entries, const char *value)
{
  g_autofree char *path = strchr (value, G_DIR_SEPARATOR) ? g_canonicalize_filename (value, NULL) : NULL;

  for (guint i = 0; i < entries->len; i++)
    {
      const Entry *entry = entries->pdata[i];

      if (g_str_equal (entry->value, value) || g_strcmp0 (entry->name, value) == 0
          || (path && g_str_equal (entry->path, path)))
        return (int) i;
    }
  return -1;
}

static void look_for_file (UiModels *models, const char *value);

/* Settings that are loaded may name what is not in the list. */
static void
select_current (UiModels *models)
{
  g_autofree char *value = get_value (models);
  const char      *wanted = g_strcmp0 (value, models->usual) == 0 ? "" : value;
  const int        row = find_entry (models->entries, wanted);

  models->filling = TRUE;
  gtk_combo_box_set_active (GTK_COMBO_BOX (models->list), row);
  models->filling = FALSE;
  show_card (models);
  if (row < 0 && models->listed && *wanted)
    look_for_file (models, wanted);
}

static void
fill_list (UiModels *models)
{
  GtkComboBoxText *list = GTK_COMBO_BOX_TEXT (models->list);

  models->filling = TRUE;
  gtk_list_store_clear (GTK_LIST_STORE (gtk_combo_box_get_model (GTK_COMBO_BOX (list))));
  for (guint i = 0; i < models->entries->len; i++)
    gtk_combo_box_text_append_text (list, ((Entry *) models->entries->pdata[i])->title);
  gtk_combo_box_text_append_text (list, C_ ("model", "Other File..."));
  models->filling = FALSE;
  select_current (models);
}

static void
add_entry (UiModels *models, Entry *entry)
{
  for (guint i = 0; i < models->entries->len; i++)
    if (g_str_equal (((Entry *) models->entries->pdata[i])->value, entry->value))
      {
        entry_free (entry);
        return;
      }
  g_ptr_array_add (models->entries, entry);
}

static void
search_free (gpointer data)
{
  Search *search = data;

  g_free (search->current);
  g_free (search->usual_path);
  g_free (search);
}

static void
start_looking (UiModels *models, const char *current, GTaskThreadFunc look, GAsyncReadyCallback done)
{
  GTask  *task = g_task_new (NULL, models->cancellable, done, models);
  Search *search = g_new0 (Search, 1);

  search->current = g_strdup (current);
  search->usual = models->usual;
  search->checkpoints = models->checkpoints;
  g_task_set_task_data (task, search, search_free);
  g_task_run_in_thread (task, look);
  g_object_unref (task);
}

static void
add_paths (GPtrArray *entries, char **paths, const Search *search, GCancellable *cancellable)
{
  for (int i = 0; paths[i] && ! g_cancellable_is_cancelled (cancellable); i++)
    g_ptr_array_add (entries, entry_new (paths[i], NULL, search));
}

/* Looking at files takes its time: on a thread. */
static void
look_for_models (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Search    *search = data;
  GPtrArray *entries = g_ptr_array_new_with_free_func (entry_free);
  g_auto (GStrv) paths = diffusion_model_list ();
  g_auto (GStrv) others = NULL;
  g_autofree char *found = NULL;

  search->usual_path = diffusion_model_find (search->usual, NULL);
  add_paths (entries, paths, search, cancellable);
  if (search->checkpoints)
    {
      others = diffusion_checkpoint_list ();
      add_paths (entries, others, search, cancellable);
    }
  found = diffusion_model_find (search->current, NULL);
  /* One from elsewhere, or that is there no more. */
  if ((strchr (search->current, G_DIR_SEPARATOR) && find_entry (entries, search->current) < 0)
      || (*search->current && ! found))
    g_ptr_array_add (entries, entry_new (search->current, search->current, search));
  g_task_return_pointer (task, entries, (GDestroyNotify) g_ptr_array_unref);
}

static void
models_found (GObject *source, GAsyncResult *result, gpointer data)
{
  UiModels  *models = data;
  GPtrArray *entries = g_task_propagate_pointer (G_TASK (result), NULL);

  /* Cancelled: the list is not there any more. */
  if (! entries)
    return;
  g_ptr_array_set_free_func (entries, NULL);
  for (guint i = 0; i < entries->len; i++)
    add_entry (models, entries->pdata[i]);
  g_ptr_array_unref (entries);
  models->listed = TRUE;
  fill_list (models);
}

/* The file that was chosen, or that is named, on a thread like all others. */
static void
look_at_file (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  const Search    *search = data;
  g_autofree char *found = diffusion_model_find (search->current, NULL);

  g_task_return_pointer (task, entry_new (found ? found : search->current, search->current, search), entry_free);
}

static void
file_seen (GObject *source, GAsyncResult *result, gpointer data)
{
  UiModels *models = data;
  Entry    *entry = g_task_propagate_pointer (G_TASK (result), NULL);

  /* Cancelled: the list is not there any more. */
  if (! entry)
    return;
  add_entry (models, entry);
  fill_list (models);
}

static void
look_for_file (UiModels *models, const char *value)
{
  start_looking (models, value, look_at_file, file_seen);
}

/* Where files are looked for: beside the one that is chosen now, or in the user's own folder. */
static void
set_folder (UiModels *models, GtkFileChooser *chooser)
{
  g_autofree char *value = get_value (models);
  g_autofree char *folder = g_build_filename (g_get_user_data_dir (), "gimp-diffusion", "models", NULL);

  if (strchr (value, G_DIR_SEPARATOR))
    gtk_file_chooser_set_filename (chooser, value);
  else
    gtk_file_chooser_set_current_folder (chooser,
                                         g_file_test (folder, G_FILE_TEST_IS_DIR) ? folder : g_get_home_dir ());
}

static void
choose_file (UiModels *models)
{
  GtkWidget       *window = gtk_file_chooser_dialog_new (C_ ("model", "Choose a Model File"),
                                                         GTK_WINDOW (gtk_widget_get_toplevel (models->list)),
                                                         GTK_FILE_CHOOSER_ACTION_OPEN, C_ ("button", "_Cancel"),
                                                         GTK_RESPONSE_CANCEL, C_ ("button", "_OK"), GTK_RESPONSE_OK, NULL);
  GtkFileFilter   *filter = gtk_file_filter_new ();
  g_autofree char *path = NULL;

  gtk_file_filter_set_name (filter, C_ ("model", "Model files"));
  gtk_file_filter_add_pattern (filter, "*.safetensors");
  gtk_file_chooser_add_filter (GTK_FILE_CHOOSER (window), filter);
  set_folder (models, GTK_FILE_CHOOSER (window));
  if (gtk_dialog_run (GTK_DIALOG (window)) == GTK_RESPONSE_OK)
    path = gtk_file_chooser_get_filename (GTK_FILE_CHOOSER (window));
  gtk_widget_destroy (window);
  fill_list (models);
  if (path)
    g_object_set (models->config, models->property, path, NULL);
}

static void
list_changed (GtkComboBox *list, UiModels *models)
{
  const int row = gtk_combo_box_get_active (list);

  if (models->filling || row < 0)
    return;
  if (row == (int) models->entries->len)
    choose_file (models);
  else
    g_object_set (models->config, models->property, ((Entry *) models->entries->pdata[row])->value, NULL);
}

static void
config_changed (GObject *config, GParamSpec *pspec, UiModels *models)
{
  select_current (models);
}

static void
start (UiModels *models)
{
  g_autofree char *signal = g_strdup_printf ("notify::%s", models->property);
  g_autofree char *value = NULL;

  models->list = ui_toolkit_list_new (LIST_WIDTH);
  models->card = ui_toolkit_note_new (NULL, CARD_WIDTH);
  show_card (models);
  g_signal_connect (models->list, "changed", G_CALLBACK (list_changed), models);
  g_signal_connect (models->config, signal, G_CALLBACK (config_changed), models);

  models->cancellable = g_cancellable_new ();
  value = get_value (models);
  start_looking (models, value, look_for_models, models_found);
}

GtkWidget *
ui_models_get_list (UiModels *models)
{
  return models->list;
}

GtkWidget *
ui_models_get_card (UiModels *models)
{
  return models->card;
}

UiModels *
ui_models_new (GObject *config, const char *property, const char *usual, gboolean checkpoints)
{
  UiModels *models = g_new0 (UiModels, 1);

  models->config = config;
  models->property = g_strdup (property);
  models->usual = usual;
  models->checkpoints = checkpoints;
  models->entries = g_ptr_array_new_with_free_func (entry_free);
  start (models);
  return models;
}

void
ui_models_free (UiModels *models)
{
  g_signal_handlers_disconnect_by_data (models->config, models);
  g_cancellable_cancel (models->cancellable);
  g_clear_object (&models->cancellable);
  g_ptr_array_unref (models->entries);
  g_free (models->property);
  g_free (models);
}
