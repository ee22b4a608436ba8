/* The promise of the denoiser, on photographs that the model has not seen: better than what GIMP has by itself.
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * DIFFUSION_MODELS names the folder with the models, TEST_DATA that with the pictures.
 */
#include "quality/photo.h"

#include <math.h>
#include <string.h>

/* What both are given: a photograph with this much noise, in floats and not clipped, as published figures are measured.
 */
#define SIGMA (25.0 / 255)
/* Mean over the pictures, in dB. */
#define ADVANTAGE        3.75
#define CAMERA_ADVANTAGE 3.3
/* "Strength" of gegl:noise-reduction: its iterations, up to where every picture is long past its best. */
#define STRENGTH_MAX 16

static const char *const names[] = { "canyon", "forest", "mountain", "terraces" };

static DiffusionPicture *
load (const char *name)
{
  g_autofree char  *file = strchr (name, '.') ? g_strdup (name) : g_strconcat (name, ".png", NULL);
  g_autofree char  *path = g_build_filename (g_getenv ("TEST_DATA"), file, NULL);
  DiffusionPicture *picture = photo_load (path);

  g_assert_nonnull (picture);
  return picture;
}

/* What GIMP's Filters > Enhance > Noise Reduction makes of it at the strength that is best for this very picture. */
static double
get_best_of_gegl (const DiffusionPicture *clean, const DiffusionPicture *noisy)
{
  g_autoptr (DiffusionPicture) result = diffusion_picture_copy (clean, NULL);
  double best = 0;

  for (int strength = 0; strength <= STRENGTH_MAX; strength++)
    {
      photo_reduce_noise (noisy, strength, result);
      best = MAX (best, photo_get_psnr (clean, result));
    }
  return best;
}

static DiffusionModel *
load_model (const char *name)
{
  GError          *error = NULL;
  g_autofree char *path = diffusion_model_find (name, &error), *file = g_strconcat (name, ".safetensors", NULL);
  DiffusionModel  *model;

  g_assert_no_error (error);
  g_assert_true (g_str_has_suffix (path, file));
  model = diffusion_model_load (path, &error);
  g_assert_no_error (error);
  return model;
}

static void
denoise (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionNoise *noise, double strength)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  GError          *error = NULL;

  diffusion_denoise (model, picture, NULL, noise, strength, &options, NULL, &error);
  g_assert_no_error (error);
}

static DiffusionPicture *
cut_box (const DiffusionPicture *picture, int x0, int y0, int width, int height)
{
  DiffusionPicture *part = diffusion_picture_new (width, height, 3, NULL);

  for (int y = 0; y < height; y++)
    memcpy (part->data + y * width * 3, picture->data + ((y0 + y) * picture->width + x0) * 3,
            (gsize) width * 3 * sizeof (float));
  return part;
}

/* The middle of it. */
static DiffusionPicture *
cut (const DiffusionPicture *picture, int size)
{
  return cut_box (picture, (picture->width - size) / 2, (picture->height - size) / 2, size, size);
}

static void
test_against_gegl (void)
{
  g_autoptr (DiffusionModel) model = load_model (DIFFUSION_MODEL_DENOISE);
  double ours = 0, theirs = 0, n = G_N_ELEMENTS (names);

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (DiffusionPicture) clean = load (names[i]), noisy = photo_add_noise (clean, SIGMA, 0),
                                   result = diffusion_picture_copy (noisy, NULL);
      DiffusionNoise noise;
      double         best = get_best_of_gegl (clean, noisy), psnr;

      diffusion_noise_set_uniform (&noise, SIGMA);
      denoise (model, result, &noise, 1);
      psnr = photo_get_psnr (clean, result);
      g_print ("# measured: %s, noise 25: %.2f dB as it is, %.2f dB by GIMP's noise reduction at its best, %.2f dB by "
               "diffusion\n",
               names[i], photo_get_psnr (clean, noisy), best, psnr);
      ours += psnr / n;
      theirs += best / n;
    }
  g_print ("# measured: mean, noise 25: %.2f dB by GIMP's noise reduction, %.2f dB by diffusion: %.2f dB better\n",
           theirs, ours, ours - theirs);
  g_assert_cmpfloat (ours - theirs, >, ADVANTAGE);
}

/* Left to estimate the noise by itself it is not much worse than when told. */
static void
test_estimate_serves (void)
{
  g_autoptr (DiffusionModel) model = load_model (DIFFUSION_MODEL_DENOISE);

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autoptr (DiffusionPicture) clean = load (names[i]), noisy = photo_add_noise (clean, SIGMA, 0),
                                   told = diffusion_picture_copy (noisy, NULL);
      DiffusionNoise noise;

      diffusion_noise_set_uniform (&noise, SIGMA);
      denoise (model, told, &noise, 1);
      g_assert_true (diffusion_estimate_noise (noisy, NULL, &noise, NULL));
      denoise (model, noisy, &noise, 1);
      g_print ("# measured: %s, noise 25, estimated as %.1f: %.2f dB, told: %.2f dB\n", names[i], noise.sigma * 255,
               photo_get_psnr (clean, noisy), photo_get_psnr (clean, told));
      g_assert_cmpfloat (photo_get_psnr (clean, noisy), >, photo_get_psnr (clean, told) - 0.7);
    }
}

/* Cameras' noise, after JPEG and estimated.  mountain.png is this part of the picture before the noise. */
static void
test_cameras_noise (void)
{
  g_autoptr (DiffusionModel) model = load_model (DIFFUSION_MODEL_DENOISE);
  g_autoptr (DiffusionPicture) clean = load ("mountain"), whole = load ("high-iso.jpg");
  g_autoptr (DiffusionPicture) noisy = cut_box (whole, 20, 60, clean->width, clean->height), result = NULL;
  DiffusionNoise noise;
  double         before = photo_get_psnr (clean, noisy), best = get_best_of_gegl (clean, noisy), after;

  g_assert_true (diffusion_estimate_noise (whole, NULL, &noise, NULL));
  denoise (model, whole, &noise, 1);
  result = cut_box (whole, 20, 60, clean->width, clean->height);
  after = photo_get_psnr (clean, result);
  g_print ("# measured: cameras' noise, estimated as %.1f: %.2f dB as it is, %.2f dB by GIMP's noise reduction at its "
           "best, %.2f dB by diffusion\n",
           noise.sigma * 255, before, best, after);
  g_assert_cmpfloat (after, >, best + CAMERA_ADVANTAGE);
}

/* More strength never leaves more noise where there is nothing but noise. */
static void
test_strength_is_monotonic (void)
{
  g_autoptr (DiffusionModel) model = load_model (DIFFUSION_MODEL_DENOISE);
  g_autoptr (DiffusionPicture) flat = diffusion_picture_new (256, 256, 3, NULL), noisy = NULL;
  DiffusionNoise noise;
  double         last = INFINITY;

  for (int i = 0; i < 256 * 256 * 3; i++)
    flat->data[i] = 0.3f + 0.2f * (float) (i % 3);
  noisy = photo_add_noise (flat, SIGMA, 0);
  diffusion_noise_set_uniform (&noise, SIGMA);
  for (double strength = 0; strength <= 2; strength += 0.125)
    {
      g_autoptr (DiffusionPicture) result = diffusion_picture_copy (noisy, NULL);
      double left;

      denoise (model, result, &noise, strength);
      left = 255 * pow (10, -photo_get_psnr (flat, result) / 20);
      g_print ("# measured: strength %.2f leaves noise of %.2f\n", strength, left);
      g_assert_cmpfloat (left, <, last + 0.01);
      last = left;
    }
  g_assert_cmpfloat (last, <, 1.8);
}

/* Each tenth of strength takes *Regenerate* further away from what was there: over photographs of 96 x 96 pixels, on
 * the mean, at both ends of structure. */
static void
test_regenerate_goes_further (void)
{
  g_autoptr (DiffusionModel) model = load_model (DIFFUSION_MODEL_FILL);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  GError          *error = NULL;

  options.steps = 8;
  options.sampler = DIFFUSION_INPAINT_SAMPLER;
  for (int structure = 0; structure <= 1; structure++)
    {
      double last = 0;

      for (int tenth = 1; tenth <= 10; tenth++)
        {
          double sum = 0;

          for (guint i = 0; i < G_N_ELEMENTS (names); i++)
            {
              g_autoptr (DiffusionPicture) whole = load (names[i]), picture = cut (whole, 96);
              g_autoptr (DiffusionPicture) before = diffusion_picture_copy (picture, NULL);

              diffusion_regenerate (model, picture, NULL, tenth / 10.0, structure, &options, NULL, &error);
              g_assert_no_error (error);
              sum += pow (10, -photo_get_psnr (before, picture) / 10);
            }
          g_test_message ("structure %d, strength %.1f: distance %.4f", structure, tenth / 10.0,
                          sqrt (sum / G_N_ELEMENTS (names)));
          g_assert_cmpfloat (sum, >, last);
          last = sum;
        }
    }
}

int
main (int argc, char **argv)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  photo_begin ();
  g_test_add_func ("/quality/against-gegl", test_against_gegl);
  g_test_add_func ("/quality/estimate-serves", test_estimate_serves);
  g_test_add_func ("/quality/cameras-noise", test_cameras_noise);
  g_test_add_func ("/quality/strength-is-monotonic", test_strength_is_monotonic);
  g_test_add_func ("/quality/regenerate-goes-further", test_regenerate_goes_further);
  status = g_test_run ();
  photo_end ();
  return status;
}
