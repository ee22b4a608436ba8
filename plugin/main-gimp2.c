/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The entry point for GIMP 2.10: turns the table into procedures, and calls into configurations.
 */
#include <string.h>

#include <gegl.h>
#include <glib/gi18n.h>

#include "config-gimp2.h"
#include "host.h"
#include "process.h"
#include "session.h"

enum
{
  STANDARD_ARGUMENTS = 3, /* run mode, image, drawable */
  RESPONSE_RESET = 1
};

/* What the procedure returns to GIMP has to stay valid after run () has ended. */
static GimpParam return_values[2];
static char     *return_message;

static void query (void);
static void run (const gchar *name, gint n_params, const GimpParam *params, gint *n_return_values, GimpParam **values);

const GimpPlugInInfo PLUG_IN_INFO = { NULL, region_exit, query, run };

MAIN ()

static char *
get_locale_dir (void)
{
  g_autofree char *dir = g_path_get_dirname (gimp_get_progname ());

  return g_build_filename (dir, "locale", NULL);
}

static GimpPDBArgType
get_argument_type (const Param *param)
{
  switch (param->type)
    {
    case PARAM_DOUBLE:
      return GIMP_PDB_FLOAT;
    case PARAM_INT:
    case PARAM_CHOICE:
      return GIMP_PDB_INT32;
    case PARAM_STRING:
      return GIMP_PDB_STRING;
    }
  g_return_val_if_reached (GIMP_PDB_END);
}

/* The sentence of the table, and after it the limits, which GIMP 2.10 does not know otherwise. */
static char *
describe (const Param *param)
{
  GString *text = g_string_new (param->blurb);

  switch (param->type)
    {
    case PARAM_DOUBLE:
    case PARAM_INT:
      g_string_append_printf (text, " (%g to %.10g)", param->min, param->max);
      break;
    case PARAM_CHOICE:
      for (int i = 0; param->choices[i].name; i++)
        g_string_append_printf (text, "%s%d: %s", i ? ", " : " (", i, param->choices[i].name);
      g_string_append (text, ")");
      break;
    case PARAM_STRING:
      break;
    }
  return g_string_free (text, FALSE);
}

static void
install (const Filter *filter)
{
  static const GimpParamDef standard[STANDARD_ARGUMENTS]
      = { { GIMP_PDB_INT32, "run-mode",
            "The run mode { RUN-INTERACTIVE (0), RUN-NONINTERACTIVE (1), RUN-WITH-LAST-VALS (2) }" },
          { GIMP_PDB_IMAGE, "image", "The image" },
          { GIMP_PDB_DRAWABLE, "drawable", "The layer, mask or channel to change" } };
  static const GimpParamDef returned[] = { { GIMP_PDB_FLOAT, FILTER_RETURN_NAME, FILTER_RETURN_BLURB } };
  const guint               n = STANDARD_ARGUMENTS + filter->n_params;
  const gboolean            returns = filter->kind == FILTER_DENOISE;
  GimpParamDef             *arguments = g_new0 (GimpParamDef, n);

  memcpy (arguments, standard, sizeof standard);
  for (guint i = 0; i < filter->n_params; i++)
    {
      arguments[STANDARD_ARGUMENTS + i].type = get_argument_type (&filter->params[i]);
      arguments[STANDARD_ARGUMENTS + i].name = (char *) filter->params[i].name;
      arguments[STANDARD_ARGUMENTS + i].description = describe (&filter->params[i]);
    }
  gimp_install_procedure (filter->procedure, filter->blurb, filter->help, FILTER_AUTHOR, FILTER_AUTHOR, FILTER_DATE,
                          filter->label, FILTER_IMAGE_TYPES, GIMP_PLUGIN, n, returns ? G_N_ELEMENTS (returned) : 0,
                          arguments, returns ? returned : NULL);
  gimp_plugin_menu_register (filter->procedure, filter->menu);

  for (guint i = STANDARD_ARGUMENTS; i < n; i++)
    g_free (arguments[i].description);
  g_free (arguments);
}

static void
query (void)
{
  g_autofree char *locale_dir = get_locale_dir ();

  /* Has to come before the procedures, whose texts GIMP translates with it. */
  gimp_plugin_domain_register (GETTEXT_PACKAGE, locale_dir);
  for (guint i = 0; i < n_filters; i++)
    install (&filters[i]);
}

/* ---- arguments and last values ---------------------------------------------------------------------------- */

/* Checks the arguments of a call and sets them in config. */
static gboolean
read_arguments (const Filter *filter, int n_params, const GimpParam *params, GObject *config, GError **error)
{
  if (n_params != (int) (STANDARD_ARGUMENTS + filter->n_params))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   C_ ("error", "%s needs %u arguments, but was called with %d."), filter->procedure,
                   STANDARD_ARGUMENTS + filter->n_params, n_params);
      return FALSE;
    }

  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param         *param = &filter->params[i];
      const GimpParamData *data = &params[STANDARD_ARGUMENTS + i].data;

      switch (param->type)
        {
        case PARAM_DOUBLE:
          if (! param_check_number (param, data->d_float, error))
            return FALSE;
          g_object_set (config, param->name, data->d_float, NULL);
          break;
        case PARAM_INT:
          if (! param_check_number (param, data->d_int32, error))
            return FALSE;
          g_object_set (config, param->name, data->d_int32, NULL);
          break;
        case PARAM_CHOICE:
          if (! param_check_number (param, data->d_int32, error))
            return FALSE;
          g_object_set (config, param->name, param->choices[data->d_int32].name, NULL);
          break;
        case PARAM_STRING:
          g_object_set (config, param->name, data->d_string ? data->d_string : "", NULL);
          break;
        }
    }
  return TRUE;
}

static void
load_last_values (const Filter *filter, GObject *config)
{
  const int size = gimp_get_data_size (filter->procedure);
  GBytes   *bytes;
  char     *data;

  if (size <= 0)
    return;
  data = g_malloc (size);
  gimp_get_data (filter->procedure, data);
  bytes = g_bytes_new_take (data, size);
  config_from_bytes (config, bytes);
  g_bytes_unref (bytes);
}

static void
save_last_values (const Filter *filter, GObject *config)
{
  GBytes       *bytes = config_to_bytes (config);
  gsize         size;
  gconstpointer data = g_bytes_get_data (bytes, &size);

  gimp_set_data (filter->procedure, data, size);
  g_bytes_unref (bytes);
}

/* ---- running ---------------------------------------------------------------------------------------------- */

static void
set_error (const GError *error)
{
  return_values[0].data.d_status = process_get_status (error);
  if (return_values[0].data.d_status == GIMP_PDB_CANCEL)
    return;
  return_message = g_strdup (error->message);
  return_values[1].type = GIMP_PDB_STRING;
  return_values[1].data.d_string = return_message;
}

static void
run (const gchar *name, gint n_params, const GimpParam *params, gint *n_return_values, GimpParam **values)
{
  const GimpRunMode mode = params[0].data.d_int32;
  const Filter     *filter = filter_find (name);
  g_autoptr (GObject) config = NULL;
  g_autoptr (GError) error = NULL;
  g_autofree char *locale_dir = get_locale_dir ();
  double           noise_used = 0;
  gboolean         success = TRUE;

  bindtextdomain (GETTEXT_PACKAGE, locale_dir);
  bind_textdomain_codeset (GETTEXT_PACKAGE, "UTF-8");
  textdomain (GETTEXT_PACKAGE);
  region_init ();

  config = config_new (filter);
  if (mode == GIMP_RUN_NONINTERACTIVE)
    success = read_arguments (filter, n_params, params, config, &error);
  else
    load_last_values (filter, config);

  success = success && session_run (filter, mode, params[2].data.d_drawable, config, NULL, &noise_used, &error);
  if (mode != GIMP_RUN_NONINTERACTIVE)
    gimp_displays_flush ();

  *values = return_values;
  return_values[0].type = GIMP_PDB_STATUS;
  if (success)
    {
      return_values[0].data.d_status = GIMP_PDB_SUCCESS;
      return_values[1].type = GIMP_PDB_FLOAT;
      return_values[1].data.d_float = noise_used;
    }
  else
    {
      set_error (error);
    }
  *n_return_values = return_values[0].data.d_status == GIMP_PDB_CANCEL ? 1 : 2;
  if (success && filter->kind != FILTER_DENOISE)
    *n_return_values = 1;
}

/* ---- the dialog window ------------------------------------------------------------------------------------ */

static const char FILTER_KEY[] = "filter";

void
host_ui_init (void)
{
  gimp_ui_init (GETTEXT_PACKAGE, TRUE);
}

GtkWidget *
host_dialog_new (const Filter *filter, HostDialogContext *context, GObject *config, GtkWidget *body)
{
  GtkWidget *window = gimp_dialog_new (g_dpgettext2 (NULL, "title", filter->title), filter->procedure, NULL, 0, NULL,
                                       NULL, C_ ("button", "_Reset"), RESPONSE_RESET, C_ ("button", "_Cancel"),
                                       GTK_RESPONSE_CANCEL, C_ ("button", "_OK"), GTK_RESPONSE_OK, NULL);

  gtk_dialog_set_alternative_button_order (GTK_DIALOG (window), GTK_RESPONSE_OK, RESPONSE_RESET, GTK_RESPONSE_CANCEL,
                                           -1);
  g_object_set_data (G_OBJECT (window), FILTER_KEY, (gpointer) filter);
  gimp_window_set_transient (GTK_WINDOW (window));
  gtk_box_pack_start (GTK_BOX (gtk_dialog_get_content_area (GTK_DIALOG (window))), body, TRUE, TRUE, 0);
  return window;
}

gboolean
host_dialog_run (GtkWidget *dialog, GObject *config)
{
  int response;

  while ((response = gimp_dialog_run (GIMP_DIALOG (dialog))) == RESPONSE_RESET)
    config_reset (config);
  if (response != GTK_RESPONSE_OK)
    return FALSE;
  /* Now, for the run may be cancelled, or fail: what was typed and set must not be lost with it. */
  save_last_values (g_object_get_data (G_OBJECT (dialog), FILTER_KEY), config);
  return TRUE;
}

/* ---- colours ---------------------------------------------------------------------------------------------- */

/* The formats of 2.10 know no image's profile.  One that is more than primaries and curves is passed over. */
const Babl *
host_get_space (HostDrawable drawable)
{
  GimpColorProfile *profile = NULL;
  const Babl       *space;

  if (gimp_item_is_layer (drawable))
    profile = gimp_image_get_color_profile (gimp_item_get_image (drawable));
  if (! profile)
    return NULL;
  space = gimp_color_profile_get_space (profile, GIMP_COLOR_RENDERING_INTENT_RELATIVE_COLORIMETRIC, NULL);
  g_object_unref (profile);
  return space;
}

/* ---- what is active --------------------------------------------------------------------------------------- */

struct _HostActive
{
  gint32 layer, channel;
};

HostActive *
host_active_get (HostImage image)
{
  HostActive *active = g_new (HostActive, 1);

  active->layer = gimp_image_get_active_layer (image);
  active->channel = gimp_image_get_active_channel (image);
  return active;
}

void
host_active_restore (HostImage image, HostActive *active)
{
  if (active->channel != HOST_NONE)
    gimp_image_set_active_channel (image, active->channel);
  else if (active->layer != HOST_NONE)
    gimp_image_set_active_layer (image, active->layer);
  g_free (active);
}
