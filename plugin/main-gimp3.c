/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The entry point for GIMP 3: turns the table into procedures.  GIMP itself checks arguments and keeps last values, but
 * only those of runs that succeeded.
 */
#include <gegl.h>
#include <glib/gi18n.h>

#include "host.h"
#include "process.h"
#include "session.h"

struct _HostDialogContext
{
  GimpProcedure       *procedure;
  GimpProcedureConfig *config;
};

#define DIFFUSION_TYPE_PLUG_IN (diffusion_plug_in_get_type ())
G_DECLARE_FINAL_TYPE (DiffusionPlugIn, diffusion_plug_in, DIFFUSION, PLUG_IN, GimpPlugIn)

struct _DiffusionPlugIn
{
  GimpPlugIn parent_instance;
};

G_DEFINE_TYPE (DiffusionPlugIn, diffusion_plug_in, GIMP_TYPE_PLUG_IN)

/* babl makes tables of 16.7 million colours for conversions that are used often, in the thread that converts: the
 * dialog stood still for a tenth to half a second, for a gain that a photograph's pixels never bring back. */
int
main (int argc, char **argv)
{
  g_setenv ("BABL_LUT", "0", FALSE);
  return gimp_main (DIFFUSION_TYPE_PLUG_IN, argc, argv);
}

static GList *
query_procedures (GimpPlugIn *plug_in)
{
  GList *names = NULL;

  for (guint i = 0; i < n_filters; i++)
    names = g_list_append (names, g_strdup (filters[i].procedure));
  return names;
}

static void
add_choice_argument (GimpProcedure *procedure, const Param *param)
{
  GimpChoice *choice = gimp_choice_new ();

  for (int i = 0; param->choices[i].name; i++)
    gimp_choice_add (choice, param->choices[i].name, i, g_dpgettext2 (NULL, "choice", param->choices[i].label), NULL);
  gimp_procedure_add_choice_argument (procedure, param->name, g_dpgettext2 (NULL, "label", param->nick),
                                      g_dpgettext2 (NULL, "tip", param->blurb), choice,
                                      param->choices[(int) param->value].name, G_PARAM_READWRITE);
}

static void
add_argument (GimpProcedure *procedure, const Param *param)
{
  const char *nick = g_dpgettext2 (NULL, "label", param->nick);
  const char *blurb = g_dpgettext2 (NULL, "tip", param->blurb);

  switch (param->type)
    {
    case PARAM_DOUBLE:
      gimp_procedure_add_double_argument (procedure, param->name, nick, blurb, param->min, param->max, param->value,
                                          G_PARAM_READWRITE);
      break;
    case PARAM_INT:
      gimp_procedure_add_int_argument (procedure, param->name, nick, blurb, param->min, param->max, param->value,
                                       G_PARAM_READWRITE);
      break;
    case PARAM_CHOICE:
      add_choice_argument (procedure, param);
      break;
    case PARAM_STRING:
      gimp_procedure_add_string_argument (procedure, param->name, nick, blurb, param->text, G_PARAM_READWRITE);
      break;
    }
}

/* ---- settings of a run that has not succeeded ------------------------------------------------------------- */

/* Where they are in the user's profile. */
static GFile *
get_kept_file (GimpProcedure *procedure)
{
  g_autofree char *name = g_strconcat (gimp_procedure_get_name (procedure), ".settings", NULL);

  return gimp_directory_file (GETTEXT_PACKAGE, name, NULL);
}

/* The run may be cancelled, or fail: what was typed and set must not be lost with it. */
static void
keep_settings (GimpProcedureConfig *config)
{
  g_autoptr (GFile) file = get_kept_file (gimp_procedure_config_get_procedure (config));
  g_autoptr (GFile) folder = g_file_get_parent (file);
  g_autoptr (GError) error = NULL;

  if (! g_file_make_directory_with_parents (folder, NULL, &error)
      && g_error_matches (error, G_IO_ERROR, G_IO_ERROR_EXISTS))
    g_clear_error (&error);
  /* Whatever is wrong there, the run can do without. */
  if (error || ! gimp_config_serialize_to_file (GIMP_CONFIG (config), file, NULL, NULL, NULL, &error))
    g_debug ("settings: %s", error->message);
}

/* Those come up again that were set last. */
static void
restore_settings (GimpProcedure *procedure, GimpProcedureConfig *config)
{
  g_autoptr (GFile) file = get_kept_file (procedure);
  g_autoptr (GError) error = NULL;

  if (g_file_query_exists (file, NULL) && ! gimp_config_deserialize_file (GIMP_CONFIG (config), file, NULL, &error))
    g_debug ("settings: %s", error->message);
}

/* GIMP keeps them from now on. */
static void
forget_settings (GimpProcedure *procedure)
{
  g_autoptr (GFile) file = get_kept_file (procedure);

  g_file_delete (file, NULL, NULL);
}

/* ---- running ---------------------------------------------------------------------------------------------- */

static GimpValueArray *
run (GimpProcedure *procedure, GimpRunMode mode, GimpImage *image, GimpDrawable **drawables,
     GimpProcedureConfig *config, gpointer data)
{
  const Filter     *filter = data;
  HostDialogContext context = { procedure, config };
  g_autoptr (GError) error = NULL;
  double          noise_used = 0;
  GimpValueArray *values;

  region_init ();
  if (gimp_core_object_array_get_length ((GObject **) drawables) != 1)
    {
      g_set_error_literal (&error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                           C_ ("error", "The filter works on one layer at a time; select a single layer."));
      return gimp_procedure_new_return_values (procedure, GIMP_PDB_CALLING_ERROR, g_steal_pointer (&error));
    }

  if (mode == GIMP_RUN_INTERACTIVE)
    restore_settings (procedure, config);
  if (! session_run (filter, mode, drawables[0], G_OBJECT (config), &context, &noise_used, &error))
    {
      const GimpPDBStatusType status = process_get_status (error);

      if (status == GIMP_PDB_CANCEL)
        g_clear_error (&error);
      return gimp_procedure_new_return_values (procedure, status, g_steal_pointer (&error));
    }

  if (mode == GIMP_RUN_INTERACTIVE)
    forget_settings (procedure);
  values = gimp_procedure_new_return_values (procedure, GIMP_PDB_SUCCESS, NULL);
  if (filter->kind == FILTER_DENOISE)
    g_value_set_double (gimp_value_array_index (values, 1), noise_used);
  return values;
}

static GimpProcedure *
create_procedure (GimpPlugIn *plug_in, const gchar *name)
{
  const Filter  *filter = filter_find (name);
  GimpProcedure *procedure;

  if (! filter)
    return NULL;

  procedure = gimp_image_procedure_new (plug_in, name, GIMP_PDB_PROC_TYPE_PLUGIN, run, (gpointer) filter, NULL);
  gimp_procedure_set_image_types (procedure, FILTER_IMAGE_TYPES);
  gimp_procedure_set_sensitivity_mask (procedure, GIMP_PROCEDURE_SENSITIVE_DRAWABLE);
  gimp_procedure_set_menu_label (procedure, gettext (filter->label));
  gimp_procedure_add_menu_path (procedure, filter->menu);
  gimp_procedure_set_documentation (procedure, gettext (filter->blurb), gettext (filter->help), NULL);
  gimp_procedure_set_attribution (procedure, FILTER_AUTHOR, FILTER_AUTHOR, FILTER_DATE);

  for (guint i = 0; i < filter->n_params; i++)
    add_argument (procedure, &filter->params[i]);
  if (filter->kind == FILTER_DENOISE)
    gimp_procedure_add_double_return_value (procedure, FILTER_RETURN_NAME, FILTER_RETURN_NAME, FILTER_RETURN_BLURB, 0,
                                            G_MAXDOUBLE, 0, G_PARAM_READWRITE);
  return procedure;
}

static gboolean
set_i18n (GimpPlugIn *plug_in, const gchar *procedure, gchar **domain, gchar **catalog_dir)
{
  g_autofree char *folder = g_path_get_dirname (gimp_get_progname ());
  g_autofree char *catalogs = g_build_filename (folder, "locale", NULL);

  /* GIMP looks there by itself, and complains if there is nothing. */
  *domain = g_strdup (GETTEXT_PACKAGE);
  return g_file_test (catalogs, G_FILE_TEST_IS_DIR);
}

static void
quit (GimpPlugIn *plug_in)
{
  region_exit ();
}

static void
diffusion_plug_in_class_init (DiffusionPlugInClass *class)
{
  GimpPlugInClass *plug_in_class = GIMP_PLUG_IN_CLASS (class);

  plug_in_class->query_procedures = query_procedures;
  plug_in_class->create_procedure = create_procedure;
  plug_in_class->set_i18n = set_i18n;
  plug_in_class->quit = quit;
}

static void
diffusion_plug_in_init (DiffusionPlugIn *plug_in)
{
}

/* ---- the dialog window ------------------------------------------------------------------------------------ */

void
host_ui_init (void)
{
  gimp_ui_init (GETTEXT_PACKAGE);
}

GtkWidget *
host_dialog_new (const Filter *filter, HostDialogContext *context, GObject *config, GtkWidget *body)
{
  GtkWidget *window
      = gimp_procedure_dialog_new (context->procedure, context->config, g_dpgettext2 (NULL, "title", filter->title));

  gtk_box_pack_start (GTK_BOX (gtk_dialog_get_content_area (GTK_DIALOG (window))), body, TRUE, TRUE, 0);
  return window;
}

gboolean
host_dialog_run (GtkWidget *dialog, GObject *config)
{
  if (! gimp_procedure_dialog_run (GIMP_PROCEDURE_DIALOG (dialog)))
    return FALSE;
  keep_settings (GIMP_PROCEDURE_CONFIG (config));
  return TRUE;
}

/* ---- colours ---------------------------------------------------------------------------------------------- */

const Babl *
host_get_space (HostDrawable drawable)
{
  return NULL;
}

/* ---- what is active --------------------------------------------------------------------------------------- */

struct _HostActive
{
  GimpLayer   **layers; /* end with NULL, as do channels */
  GimpChannel **channels;
};

HostActive *
host_active_get (HostImage image)
{
  HostActive *active = g_new (HostActive, 1);

  active->layers = gimp_image_get_selected_layers (image);
  active->channels = gimp_image_get_selected_channels (image);
  return active;
}

void
host_active_restore (HostImage image, HostActive *active)
{
  if (active->channels && active->channels[0])
    gimp_image_set_selected_channels (image, (const GimpChannel **) active->channels);
  else if (active->layers && active->layers[0])
    gimp_image_set_selected_layers (image, (const GimpLayer **) active->layers);
  g_free (active->layers);
  g_free (active->channels);
  g_free (active);
}
