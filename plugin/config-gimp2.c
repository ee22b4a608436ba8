/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One GObject class per filter, made from its table at run time.
 */
#include <string.h>

#include "config-gimp2.h"

typedef struct
{
  GObject parent;
  GValue *values; /* one per parameter */
} Config;

typedef struct
{
  GObjectClass  parent;
  const Filter *filter;
} ConfigClass;

static const Filter *
get_filter (gpointer config)
{
  return ((ConfigClass *) G_OBJECT_GET_CLASS (config))->filter;
}

static void
config_set_property (GObject *object, guint id, const GValue *value, GParamSpec *pspec)
{
  g_value_copy (value, &((Config *) object)->values[id - 1]);
}

static void
config_get_property (GObject *object, guint id, GValue *value, GParamSpec *pspec)
{
  g_value_copy (&((Config *) object)->values[id - 1], value);
}

static void
config_finalize (GObject *object)
{
  Config *config = (Config *) object;

  for (guint i = 0; i < get_filter (object)->n_params; i++)
    g_value_unset (&config->values[i]);
  g_free (config->values);
  G_OBJECT_CLASS (g_type_class_peek (G_TYPE_OBJECT))->finalize (object);
}

static void
config_class_init (gpointer class, gpointer data)
{
  const Filter *filter = data;
  GObjectClass *object_class = class;

  ((ConfigClass *) class)->filter = filter;
  object_class->set_property = config_set_property;
  object_class->get_property = config_get_property;
  object_class->finalize = config_finalize;
  for (guint i = 0; i < filter->n_params; i++)
    g_object_class_install_property (object_class, i + 1, param_spec_new (&filter->params[i]));
}

static void
config_init (GTypeInstance *instance, gpointer class)
{
  Config       *config = (Config *) instance;
  const Filter *filter = ((ConfigClass *) class)->filter;

  config->values = g_new0 (GValue, filter->n_params);
  for (guint i = 0; i < filter->n_params; i++)
    {
      GParamSpec *pspec = g_object_class_find_property (class, filter->params[i].name);

      g_value_init (&config->values[i], pspec->value_type);
      g_param_value_set_default (pspec, &config->values[i]);
    }
}

GObject *
config_new (const Filter *filter)
{
  g_autofree char *name = g_strdup_printf ("Config-%s", filter->procedure);
  GType            type = g_type_from_name (name);

  if (! type)
    {
      const GTypeInfo info = { .class_size = sizeof (ConfigClass),
                               .class_init = config_class_init,
                               .class_data = filter,
                               .instance_size = sizeof (Config),
                               .instance_init = config_init };

      type = g_type_register_static (G_TYPE_OBJECT, name, &info, 0);
    }
  return g_object_new (type, NULL);
}

void
config_reset (GObject *config)
{
  const Filter *filter = get_filter (config);

  g_object_freeze_notify (config);
  for (guint i = 0; i < filter->n_params; i++)
    {
      GParamSpec *pspec = g_object_class_find_property (G_OBJECT_GET_CLASS (config), filter->params[i].name);

      g_object_set_property (config, pspec->name, g_param_spec_get_default_value (pspec));
    }
  g_object_thaw_notify (config);
}

GBytes *
config_to_bytes (GObject *config)
{
  const Filter    *filter = get_filter (config);
  GVariantDict     dict;
  GVariant        *variant;
  g_autofree char *text = NULL;

  g_variant_dict_init (&dict, NULL);
  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param  *param = &filter->params[i];
      const GValue *value = &((Config *) config)->values[i];

      if (G_VALUE_HOLDS_DOUBLE (value))
        g_variant_dict_insert (&dict, param->name, "d", g_value_get_double (value));
      else if (G_VALUE_HOLDS_INT (value))
        g_variant_dict_insert (&dict, param->name, "i", g_value_get_int (value));
      else if (g_value_get_string (value))
        g_variant_dict_insert (&dict, param->name, "s", g_value_get_string (value));
    }
  variant = g_variant_ref_sink (g_variant_dict_end (&dict));
  text = g_variant_print (variant, TRUE);
  g_variant_unref (variant);
  return g_bytes_new (text, strlen (text));
}

void
config_from_bytes (GObject *config, GBytes *bytes)
{
  const Filter *filter = get_filter (config);
  gsize         size;
  const char   *text = g_bytes_get_data (bytes, &size);
  g_autoptr (GVariant) variant = g_variant_parse (G_VARIANT_TYPE_VARDICT, text, text + size, NULL, NULL);

  if (! variant)
    return;
  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param *param = &filter->params[i];
      const char  *name = param->name;
      double       number;
      int          integer;
      const char  *string;

      if (g_variant_lookup (variant, name, "d", &number))
        g_object_set (config, name, number, NULL);
      else if (g_variant_lookup (variant, name, "i", &integer))
        g_object_set (config, name, integer, NULL);
      else if (g_variant_lookup (variant, name, "&s", &string)
               && (param->type != PARAM_CHOICE || param_find_choice (param, string) >= 0))
        g_object_set (config, name, string, NULL);
    }
}
