/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <libgimp/gimp.h>

#include "pixels.h"

static void query (void);
static void run (const gchar *name, gint n_params, const GimpParam *params, gint *n_return_values, GimpParam **values);

const GimpPlugInInfo PLUG_IN_INFO = { NULL, NULL, query, run };

MAIN ()

static void
query (void)
{
  static const GimpParamDef arguments[] = { { GIMP_PDB_INT32, "run-mode", "Ignored" },
                                            { GIMP_PDB_DRAWABLE, "drawable", "The drawable" },
                                            { GIMP_PDB_STRING, "load", "Raw file to read into it, or empty" },
                                            { GIMP_PDB_STRING, "save", "Raw file to write from it, or empty" },
                                            { GIMP_PDB_STRING, "mask", "Raw file for the selection, or empty" } };

  gimp_install_procedure (PIXELS_PROCEDURE, "Raw pixels for tests", "", "", "", "", NULL, NULL, GIMP_PLUGIN,
                          G_N_ELEMENTS (arguments), 0, arguments, NULL);
}

static void
run (const gchar *name, gint n_params, const GimpParam *params, gint *n_return_values, GimpParam **values)
{
  static GimpParam status;
  const gint32     id = params[1].data.d_drawable;
  g_autoptr (GError) error = NULL;
  g_autoptr (GeglBuffer) drawable = NULL;
  g_autoptr (GeglBuffer) selection = NULL;

  pixels_init ();
  drawable = gimp_drawable_get_buffer (id);
  selection = gimp_drawable_get_buffer (gimp_image_get_selection (gimp_item_get_image (id)));
  status.type = GIMP_PDB_STATUS;
  status.data.d_status = GIMP_PDB_SUCCESS;
  if (! pixels_transfer (drawable, selection, params[2].data.d_string, params[3].data.d_string, params[4].data.d_string,
                         &error))
    {
      g_printerr ("%s\n", error->message);
      status.data.d_status = GIMP_PDB_EXECUTION_ERROR;
    }
  *n_return_values = 1;
  *values = &status;
}
