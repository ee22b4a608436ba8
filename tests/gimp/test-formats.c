/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The formats in which a layer's pixels are seen, without GIMP.
 */
#include <math.h>

#include "plugin/formats.h"

enum
{
  LEVELS = 65536
};

/* Whatever babl's conversions do to the last bits, each level is seen as the float next to it. */
static void
check_levels (const char *encoding, int highest)
{
  const Babl       *native = babl_format (encoding);
  const int         components = babl_format_get_n_components (formats_get_seen (native));
  const int         n = (highest + components) / components;
  g_autofree float *values = g_new (float, n *components);

  for (int way = -2; way <= 2; way++)
    {
      for (int i = 0; i < n * components; i++)
        {
          values[i] = (float) MIN (i, highest) / highest;
          for (int ulps = 0; ulps < ABS (way); ulps++)
            values[i] = nextafterf (values[i], way < 0 ? -1 : 2);
        }
      formats_settle_seen (native, values, n);
      for (int i = 0; i < n * components; i++)
        g_assert_cmpfloat (values[i], ==, (float) MIN (i, highest) / highest);
    }
}

static void
test_levels (void)
{
  check_levels ("R'G'B' u8", 255);
  check_levels ("R'G'B'A u8", 255);
  check_levels ("Y' u8", 255);
  check_levels ("Y'A u8", 255);
  check_levels ("R'G'B' u16", LEVELS - 1);
  check_levels ("Y'A u16", LEVELS - 1);
}

/* Layers of floats, and those whose levels are of light, have no levels as they are seen: nothing is rounded. */
static void
test_others (void)
{
  const char *const others[] = { "R'G'B' float", "R'G'B'A half", "RGB u8",        "RGBA u16",
                                 "Y u8",         "RaGaBaA u8",   "R'aG'aB'aA u8", "R~G~B~ double" };

  for (gsize i = 0; i < G_N_ELEMENTS (others); i++)
    {
      float values[4] = { 0.1234567f, 1.7654321f, -0.3f, 0.7000001f };

      formats_settle_seen (babl_format (others[i]), values, 1);
      g_assert_cmpfloat (values[0], ==, 0.1234567f);
      g_assert_cmpfloat (values[1], ==, 1.7654321f);
      g_assert_cmpfloat (values[2], ==, -0.3f);
      g_assert_cmpfloat (values[3], ==, 0.7000001f);
    }
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  babl_init ();
  g_test_add_func ("/formats/levels", test_levels);
  g_test_add_func ("/formats/others", test_others);
  status = g_test_run ();
  babl_exit ();
  return status;
}
