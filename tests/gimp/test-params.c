/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The parameter table and the configuration that GIMP 2.10 gets from it, without GIMP.
 */
#include <math.h>

#include "engine/diffusion.h"
#include "plugin/config-gimp2.h"
#include "plugin/params.h"

static const UiChoice choices[] = { { "first", "First" }, { "second", "Second" }, { "third", "Third" }, { NULL } };

static const Param params[] = {
  { .name = "number", .nick = "Number", .blurb = "A number", .type = PARAM_DOUBLE, .min = -1, .max = 2, .value = 0.5 },
  { .name = "count", .nick = "Count", .blurb = "A count", .type = PARAM_INT, .min = 1, .max = 7, .value = 3 },
  { .name = "choice", .nick = "Choice", .blurb = "A choice", .type = PARAM_CHOICE, .value = 1, .choices = choices },
  { .name = "text", .nick = "Text", .blurb = "A text", .type = PARAM_STRING, .text = "default" },
};

static const Filter filter = { .procedure = "test-filter", .params = params, .n_params = G_N_ELEMENTS (params) };

static void
assert_values (GObject *config, double number, int count, const char *choice, const char *text)
{
  double           number_now;
  int              count_now;
  g_autofree char *choice_now = NULL;
  g_autofree char *text_now = NULL;

  g_object_get (config, "number", &number_now, "count", &count_now, "choice", &choice_now, "text", &text_now, NULL);
  g_assert_cmpfloat (number_now, ==, number);
  g_assert_cmpint (count_now, ==, count);
  g_assert_cmpstr (choice_now, ==, choice);
  g_assert_cmpstr (text_now, ==, text);
}

static void
test_table (void)
{
  for (guint i = 0; i < n_filters; i++)
    {
      g_assert_true (filter_find (filters[i].procedure) == &filters[i]);
      for (guint j = 0; j < filters[i].n_params; j++)
        {
          const Param *param = &filters[i].params[j];
          GParamSpec  *pspec = g_param_spec_ref_sink (param_spec_new (param));

          g_assert_cmpstr (pspec->name, ==, param->name);
          if (param->type != PARAM_STRING)
            g_assert_true (param_check_number (param, param->value, NULL));
          g_param_spec_unref (pspec);
        }
    }
  g_assert_null (filter_find ("no-such-filter"));
}

static void
test_defaults (void)
{
  g_autoptr (GObject) config = config_new (&filter);

  assert_values (config, 0.5, 3, "second", "default");
  g_object_set (config, "number", 2.0, "count", 7, "choice", "third", "text", "other", NULL);
  assert_values (config, 2, 7, "third", "other");
  config_reset (config);
  assert_values (config, 0.5, 3, "second", "default");
}

static void
test_bytes (void)
{
  g_autoptr (GObject) config = config_new (&filter);
  g_autoptr (GObject) copy = config_new (&filter);
  GBytes *bytes;

  g_object_set (config, "number", 1.0 / 3, "count", 5, "choice", "first", "text", "with 'quotes' and ü", NULL);
  bytes = config_to_bytes (config);
  config_from_bytes (copy, bytes);
  assert_values (copy, 1.0 / 3, 5, "first", "with 'quotes' and ü");
  g_bytes_unref (bytes);
}

/* What another version of the plug-in left, or something else did. */
static void
test_foreign_bytes (void)
{
  static const char *const foreign[]
      = { "", "no variant", "{'number': <7.5>, 'count': <int32 99>, 'choice': <'fourth'>, 'unknown': <true>}" };

  for (guint i = 0; i < G_N_ELEMENTS (foreign); i++)
    {
      g_autoptr (GObject) config = config_new (&filter);
      GBytes *bytes = g_bytes_new_static (foreign[i], strlen (foreign[i]));

      config_from_bytes (config, bytes);
      if (i < 2)
        assert_values (config, 0.5, 3, "second", "default");
      else
        assert_values (config, 2, 7, "second", "default");
      g_bytes_unref (bytes);
    }
}

static void
assert_refused (const Param *param, double value)
{
  g_autoptr (GError) error = NULL;

  g_assert_false (param_check_number (param, value, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_assert_nonnull (strstr (error->message, param->name));
}

static void
test_limits (void)
{
  for (double value = -1; value <= 2; value += 0.5)
    g_assert_true (param_check_number (&params[0], value, NULL));
  assert_refused (&params[0], -1.001);
  assert_refused (&params[0], 2.001);
  assert_refused (&params[0], NAN);
  assert_refused (&params[0], INFINITY);
  assert_refused (&params[1], 0);
  assert_refused (&params[1], 8);
  for (int i = 0; i < 3; i++)
    g_assert_true (param_check_number (&params[2], i, NULL));
  assert_refused (&params[2], -1);
  assert_refused (&params[2], 3);
  g_assert_cmpint (param_find_choice (&params[2], "third"), ==, 2);
  g_assert_cmpint (param_find_choice (&params[2], "fourth"), ==, -1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/params/table", test_table);
  g_test_add_func ("/params/defaults", test_defaults);
  g_test_add_func ("/params/bytes", test_bytes);
  g_test_add_func ("/params/foreign-bytes", test_foreign_bytes);
  g_test_add_func ("/params/limits", test_limits);
  return g_test_run ();
}
