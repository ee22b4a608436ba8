/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <libgimp/gimp.h>

#include "pixels.h"

#define PIXELS_TYPE_PLUG_IN (pixels_plug_in_get_type ())
G_DECLARE_FINAL_TYPE (PixelsPlugIn, pixels_plug_in, PIXELS, PLUG_IN, GimpPlugIn)

struct _PixelsPlugIn
{
  GimpPlugIn parent_instance;
};

G_DEFINE_TYPE (PixelsPlugIn, pixels_plug_in, GIMP_TYPE_PLUG_IN)

GIMP_MAIN (PIXELS_TYPE_PLUG_IN)

static GList *
query_procedures (GimpPlugIn *plug_in)
{
  return g_list_append (NULL, g_strdup (PIXELS_PROCEDURE));
}

static GimpValueArray *
run (GimpProcedure *procedure, GimpProcedureConfig *config, gpointer data)
{
  g_autofree char *load = NULL;
  g_autofree char *save = NULL;
  g_autofree char *mask = NULL;
  GimpDrawable    *drawable = NULL;
  GimpImage       *image;
  GError          *error = NULL;
  g_autoptr (GeglBuffer) pixels = NULL;
  g_autoptr (GeglBuffer) selection = NULL;

  pixels_init ();
  g_object_get (config, "drawable", &drawable, "load", &load, "save", &save, "mask", &mask, NULL);
  image = gimp_item_get_image (GIMP_ITEM (drawable));
  pixels = gimp_drawable_get_buffer (drawable);
  selection = gimp_drawable_get_buffer (GIMP_DRAWABLE (gimp_image_get_selection (image)));
  g_object_unref (drawable);
  if (pixels_transfer (pixels, selection, load, save, mask, &error))
    return gimp_procedure_new_return_values (procedure, GIMP_PDB_SUCCESS, NULL);
  return gimp_procedure_new_return_values (procedure, GIMP_PDB_EXECUTION_ERROR, error);
}

static GimpProcedure *
create_procedure (GimpPlugIn *plug_in, const gchar *name)
{
  GimpProcedure *procedure = gimp_procedure_new (plug_in, name, GIMP_PDB_PROC_TYPE_PLUGIN, run, NULL, NULL);

  gimp_procedure_set_documentation (procedure, "Raw pixels for tests", "", NULL);
  gimp_procedure_add_drawable_argument (procedure, "drawable", "Drawable", "The drawable", FALSE, G_PARAM_READWRITE);
  gimp_procedure_add_string_argument (procedure, "load", "Load", "Raw file to read into it, or empty", "",
                                      G_PARAM_READWRITE);
  gimp_procedure_add_string_argument (procedure, "save", "Save", "Raw file to write from it, or empty", "",
                                      G_PARAM_READWRITE);
  gimp_procedure_add_string_argument (procedure, "mask", "Mask", "Raw file for the selection, or empty", "",
                                      G_PARAM_READWRITE);
  return procedure;
}

static void
pixels_plug_in_class_init (PixelsPlugInClass *class)
{
  GimpPlugInClass *plug_in_class = GIMP_PLUG_IN_CLASS (class);

  plug_in_class->query_procedures = query_procedures;
  plug_in_class->create_procedure = create_procedure;
  plug_in_class->set_i18n = NULL;
}

static void
pixels_plug_in_init (PixelsPlugIn *plug_in)
{
}
