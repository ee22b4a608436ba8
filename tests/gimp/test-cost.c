/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What is said of memory before a run, without GIMP.
 */
#include "plugin/cost.h"

/* A region's picture of three floats, the selection's one, and what variants start from. */
static void
test_region (void)
{
  Cost cost = { .bytes = 1000 };

  cost_add_region (&cost, 100, FALSE, 1);
  g_assert_cmpfloat (cost.bytes, ==, 1000 + 100 * 12);
  cost_add_region (&cost, 100, TRUE, 1);
  g_assert_cmpfloat (cost.bytes, ==, 1000 + 100 * (12 + 16));
  cost_add_region (&cost, 100, TRUE, 3);
  g_assert_cmpfloat (cost.bytes, ==, 1000 + 100 * (12 + 16 + 28));
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cost/region", test_region);
  return g_test_run ();
}
