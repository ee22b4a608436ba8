/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What is said of memory before a run, without GIMP.
 */
#include <math.h>

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

/* What is to be written is in memory, in the layer's own precision: of RGB in doubles with alpha, 32 bytes. */
static void
test_result (void)
{
  Cost cost = { .seconds = 7, .bytes = 1000 };

  cost_add_result (&cost, 100, 3);
  g_assert_cmpfloat (cost.bytes, ==, 1000 + 100 * 3);
  cost_add_result (&cost, 1e9, 32);
  g_assert_cmpfloat (cost.bytes, ==, 1000 + 100 * 3 + 32e9);
  g_assert_cmpfloat (cost.seconds, ==, 7);
}

/* A panorama too is worked on in bands: of a layer of 30000 x 5000 pixels less than a quarter of it is kept at a time,
 * and what is computed twice takes its time. */
static void
test_bands (void)
{
  const Pace pace = { .pixel = 1e-6 };
  const int  margin = 198, band = cost_get_band (30000, 5000, margin);
  Cost       whole, bands;

  g_assert_cmpint (cost_get_band (10000, 10000, 99), ==, 800);
  g_assert_cmpint (band, ==, 4 * margin);
  g_assert_cmpint (cost_get_band (30000, 4 * margin, margin), ==, 0);

  cost_estimate (&whole, &pace, 30000, 5000, 0, margin, 2, 9);
  cost_estimate (&bands, &pace, 30000, 5000, band, margin, 2, 9);
  g_assert_cmpfloat (whole.bytes - bands.bytes, >, 30000.0 * (5000 - band - 2 * margin) * 36 - 1e7);
  g_assert_cmpfloat (whole.bytes - bands.bytes, <, 30000.0 * (5000 - band - 2 * margin) * 36 + 1e7);
  /* Seven bands meet at six places; two steps, and 0.4 us to read and to write. */
  g_assert_cmpfloat_with_epsilon ((bands.seconds - whole.seconds) / (30000.0 * 6 * 2 * margin * 2.4e-6), 1, 1e-6);

  cost_estimate (&bands, &pace, 100, 50, 40, 30, 2, 3);
  cost_estimate (&whole, &pace, 100, 50, 0, 30, 2, 3);
  g_assert_cmpfloat (fabs (bands.bytes - whole.bytes), <, 1e7);
}

/* One preview while the machine did something else does not change what is foretold; a machine that has become slower
 * or faster is believed from its second preview on. */
static void
test_pace (void)
{
  Pace pace = { .pixel = 5 };

  pace_learn (&pace, 1, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 1);
  pace_learn (&pace, 4, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 1);
  pace_learn (&pace, 1.1, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 1.1);
  pace_learn (&pace, 1.2, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 1.2);
  pace_learn (&pace, 2, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 1.2);
  pace_learn (&pace, 2.1, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 2);
  pace_learn (&pace, 0.5, FALSE);
  pace_learn (&pace, 0.6, FALSE);
  g_assert_cmpfloat (pace.pixel, ==, 0.6);

  /* Painted steps are slower than a run's. */
  pace_learn (&pace, 3, TRUE);
  g_assert_cmpfloat (pace.pixel, ==, 0.6);
  pace_learn (&pace, 0.4, TRUE);
  g_assert_cmpfloat (pace.pixel, ==, 0.4);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/cost/region", test_region);
  g_test_add_func ("/cost/result", test_result);
  g_test_add_func ("/cost/bands", test_bands);
  g_test_add_func ("/cost/pace", test_pace);
  return g_test_run ();
}
