/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <string.h>

#include "record.h"

static GVariant *
get_argument (const Param *param, GObject *config)
{
  g_autofree char *text = NULL;
  double           number;
  int              integer;

  switch (param->type)
    {
    case PARAM_DOUBLE:
      g_object_get (config, param->name, &number, NULL);
      return g_variant_new_double (number);
    case PARAM_INT:
      g_object_get (config, param->name, &integer, NULL);
      return g_variant_new_int32 (integer);
    case PARAM_STRING:
    case PARAM_CHOICE:
      g_object_get (config, param->name, &text, NULL);
      return g_variant_new_string (text ? text : "");
    }
  g_return_val_if_reached (NULL);
}

void
record_attach (HostDrawable drawable, const Filter *filter, GObject *config, int seed)
{
  GVariantDict     dict;
  GVariant        *variant;
  g_autofree char *text = NULL;
  GimpParasite    *parasite;

  g_variant_dict_init (&dict, NULL);
  g_variant_dict_insert (&dict, "procedure", "s", filter->procedure);
  for (guint i = 0; i < filter->n_params; i++)
    g_variant_dict_insert_value (&dict, filter->params[i].name, get_argument (&filter->params[i], config));
  g_variant_dict_insert (&dict, "seed", "i", seed);
  variant = g_variant_ref_sink (g_variant_dict_end (&dict));
  text = g_variant_print (variant, TRUE);
  g_variant_unref (variant);

  parasite
      = gimp_parasite_new (RECORD_NAME, GIMP_PARASITE_PERSISTENT | GIMP_PARASITE_UNDOABLE, strlen (text) + 1, text);
  gimp_item_attach_parasite (GIMP_ITEM (drawable), parasite);
  gimp_parasite_free (parasite);
}
