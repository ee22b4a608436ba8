/* The noise estimate, on pictures whose noise is known.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "task/noise.h"

#include <math.h>

#define SIZE 384

typedef float (*Scene) (int x, int y, int c);

static float
flat (int x, int y, int c)
{
  return 0.3f + 0.15f * (float) c;
}

static float
gradient (int x, int y, int c)
{
  return 0.1f + 0.8f * (float) (x + y) / (2 * SIZE);
}

/* Meadows and sky: texture of all scales below, almost nothing above. */
static float
landscape (int x, int y, int c)
{
  double v = 0.45 + 0.05 * c;

  if (y > SIZE / 2)
    for (int k = 1; k <= 32; k *= 2)
      v += 0.12 / sqrt (k) * sin (x * 0.05 * k + 3 * k) * cos (y * 0.043 * k + c + k);
  return (float) CLAMP (v, 0.02, 0.98);
}

static DiffusionPicture *
draw (Scene scene)
{
  DiffusionPicture *picture = diffusion_picture_new (SIZE, SIZE, 3, NULL);

  for (int y = 0; y < SIZE; y++)
    for (int x = 0; x < SIZE; x++)
      for (int c = 0; c < 3; c++)
        picture->data[(y * SIZE + x) * 3 + c] = scene (x, y, c);
  return picture;
}

/* Noise with a level for each pixel. */
static void
add_noise (DiffusionPicture *picture, double (*level) (double brightness))
{
  g_autoptr (DiffusionPicture) map = diffusion_picture_new (picture->width, picture->height, 1, NULL);

  for (int i = 0; i < picture->width * picture->height; i++)
    map->data[i] = (float) level ((double) (picture->data[i * 3] + picture->data[i * 3 + 1] + picture->data[i * 3 + 2]) / 3);
  g_assert_true (diffusion_forward (picture, map, 0, 1, 1, 0, 0, 0, NULL));
}

static DiffusionNoise
estimate (const DiffusionPicture *picture, const DiffusionPicture *mask)
{
  DiffusionNoise noise;
  GError        *error = NULL;

  diffusion_estimate_noise (picture, mask, &noise, &error);
  g_assert_no_error (error);
  g_assert_true (isfinite (noise.sigma) && noise.sigma >= 0);
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    g_assert_true (isfinite (noise.curve[i]) && noise.curve[i] >= 0);
  return noise;
}

static double level_5 (double b) { return 5.0 / 255; }
static double level_15 (double b) { return 15.0 / 255; }
static double level_40 (double b) { return 40.0 / 255; }
static double level_growing (double b) { return (4 + 20 * b) / 255; }

/* A picture of this size has some 2000 blocks, of which a tenth is measured: 3 % by chance.  The rest is what texture adds. */
static void
test_white (gconstpointer data)
{
  double (*const levels[]) (double) = { level_5, level_15, level_40 };
  Scene scene = (Scene) data;

  for (gsize i = 0; i < G_N_ELEMENTS (levels); i++)
    {
      g_autoptr (DiffusionPicture) picture = draw (scene);
      DiffusionNoise               noise;

      add_noise (picture, levels[i]);
      noise = estimate (picture, NULL);
      g_print ("# measured: white noise of %.1f estimated as %.2f\n", levels[i](0) * 255, noise.sigma * 255);
      g_assert_cmpfloat_with_epsilon (noise.sigma / levels[i](0), 1, 0.12);
    }
}

static void
test_clean (gconstpointer data)
{
  g_autoptr (DiffusionPicture) picture = draw ((Scene) data);

  g_assert_cmpfloat (estimate (picture, NULL).sigma, <, 1.5 / 255);
}

/* More noise where it is bright: the curve says so. */
static void
test_curve (void)
{
  g_autoptr (DiffusionPicture) picture = draw (gradient);
  DiffusionNoise               noise;

  add_noise (picture, level_growing);
  noise = estimate (picture, NULL);
  for (double b = 0.25; b <= 0.8; b += 0.25)
    g_assert_cmpfloat_with_epsilon (diffusion_noise_at (&noise, b) / level_growing (b), 1, 0.25);
  g_assert_cmpfloat (diffusion_noise_at (&noise, 0.8), >, 1.4 * diffusion_noise_at (&noise, 0.25));
}

static void
test_mask (void)
{
  g_autoptr (DiffusionPicture) picture = draw (flat), noisy = draw (flat), mask = diffusion_picture_new (SIZE, SIZE, 1, NULL);

  add_noise (noisy, level_15);
  for (int i = 0; i < SIZE * SIZE; i++)
    if (i % SIZE < SIZE / 2)
      {
        mask->data[i] = 1;
        for (int c = 0; c < 3; c++)
          picture->data[i * 3 + c] = noisy->data[i * 3 + c];
      }
  g_assert_cmpfloat_with_epsilon (estimate (picture, mask).sigma * 255, 15, 2);
  for (int i = 0; i < SIZE * SIZE; i++)
    mask->data[i] = 1 - mask->data[i];
  g_assert_cmpfloat (estimate (picture, mask).sigma * 255, <, 1);
}

/* The same noise in all channels is luma noise. */
static void
test_luma_and_chroma (void)
{
  g_autoptr (DiffusionPicture) picture = draw (flat), noise = draw (flat);
  DiffusionNoise               luma, chroma;

  add_noise (noise, level_15);
  for (int i = 0; i < SIZE * SIZE * 3; i++)
    picture->data[i] = flat (0, 0, i % 3) + noise->data[i / 3 * 3] - flat (0, 0, 0);
  luma = estimate (picture, NULL);
  for (int i = 0; i < SIZE * SIZE * 3; i++)
    {
      const float *n = noise->data + i / 3 * 3;
      float        mean = (n[0] + n[1] + n[2]) / 3;

      picture->data[i] = 0.45f + noise->data[i] - flat (0, 0, i % 3) - (mean - flat (0, 0, 1));
    }
  chroma = estimate (picture, NULL);
  g_assert_cmpfloat (luma.luma, >, 10 * luma.chroma);
  g_assert_cmpfloat (chroma.chroma, >, 10 * chroma.luma);
}

static void
test_odd_pictures (void)
{
  const int sizes[][2] = { { 1, 1 }, { 3, 5 }, { 1, 300 }, { 9, 9 }, { 40, 8 } };

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (DiffusionPicture) picture = diffusion_picture_new (sizes[i][0], sizes[i][1], 3, NULL);

      g_assert_cmpfloat (estimate (picture, NULL).sigma, <, 1.0 / 255);
    }
}

/* Clipped and broken pixels say nothing of noise. */
static void
test_bad_pixels (void)
{
  g_autoptr (DiffusionPicture) picture = draw (flat), white = draw (flat);

  add_noise (picture, level_15);
  for (int i = 0; i < SIZE * SIZE * 3; i++)
    {
      white->data[i] = 1;
      if (i / 3 % SIZE < 100)
        picture->data[i] = 1;
      if (i % 20011 == 0)
        picture->data[i] = NAN;
      if (i % 30011 == 0)
        picture->data[i] = INFINITY;
    }
  g_assert_cmpfloat_with_epsilon (estimate (picture, NULL).sigma * 255, 15, 2);
  g_assert_cmpfloat (estimate (white, NULL).sigma * 255, <, 0.5);
}

static void
test_curve_ends (void)
{
  DiffusionNoise noise = { 0 };

  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    noise.curve[i] = i;
  g_assert_cmpfloat (diffusion_noise_at (&noise, -3), ==, 0);
  g_assert_cmpfloat (diffusion_noise_at (&noise, 3), ==, DIFFUSION_NOISE_BINS - 1);
  g_assert_cmpfloat_with_epsilon (diffusion_noise_at (&noise, 8.25 / DIFFUSION_NOISE_BINS), 7.75, 1e-9);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_data_func ("/estimate/white/flat", flat, test_white);
  g_test_add_data_func ("/estimate/white/gradient", gradient, test_white);
  g_test_add_data_func ("/estimate/white/landscape", landscape, test_white);
  g_test_add_data_func ("/estimate/clean/flat", flat, test_clean);
  g_test_add_data_func ("/estimate/clean/gradient", gradient, test_clean);
  g_test_add_data_func ("/estimate/clean/landscape", landscape, test_clean);
  g_test_add_func ("/estimate/curve", test_curve);
  g_test_add_func ("/estimate/mask", test_mask);
  g_test_add_func ("/estimate/luma-and-chroma", test_luma_and_chroma);
  g_test_add_func ("/estimate/odd-pictures", test_odd_pictures);
  g_test_add_func ("/estimate/bad-pixels", test_bad_pixels);
  g_test_add_func ("/estimate/curve-ends", test_curve_ends);
  return g_test_run ();
}
