/* gimp-diffusion: tests of how pixels go between files and the engine: what is not visible, what lies far beyond white,
 * what is stored times alpha
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <float.h>
#include <math.h>
#include <string.h>
#include <tiffio.h>

#define WIDTH  128
#define HEIGHT 96
#define COUNT  (WIDTH * HEIGHT)

#define MODEL "--model", get_model ()

/* ---- what is not visible ----------------------------------------------------------------------------------------- */

/* A noisy picture that can be seen left of `edge`; the colour of all else. */
static Image *
make_half (int edge, guint16 red, guint16 green, guint16 blue)
{
  const guint16 hidden[] = { red, green, blue, 0 };
  Image        *image = image_make (WIDTH, HEIGHT, 4, 8, 20, 5);

  for (int i = 0; i < COUNT; i++)
    if (i % WIDTH < edge)
      image->data[4 * i + 3] = 255;
    else
      memcpy (image->data + 4 * i, hidden, sizeof hidden);
  return image;
}

/* White within the box. */
static char *
make_mask (const char *name, int x0, int y0, int x1, int y1)
{
  g_autoptr (Image) mask = image_make (WIDTH, HEIGHT, 1, 8, 0, 0);
  char *path = in_folder (name);

  for (int i = 0; i < COUNT; i++)
    mask->data[i] = i % WIDTH >= x0 && i % WIDTH < x1 && i / WIDTH >= y0 && i / WIDTH < y1 ? 255 : 0;
  image_write_png (mask, path);
  return path;
}

/* The colours below full transparency matter to no pixel that can be seen, and stay. */
static void
test_hidden_colours (void)
{
  static const guint16 colours[2][3] = { { 0, 255, 0 }, { 200, 0, 180 } };
  g_autofree char     *in = in_folder ("hidden.png"), *out = in_folder ("hidden-out.png");
  g_autofree char     *mask = make_mask ("hidden-mask.png", 46, 38, 64, 58);
  const char *const    commands[][12] = {
       { "inpaint", in, mask, out, "--steps", "3", MODEL, NULL },
       { "denoise", in, out, "--noise", "20", "--strength", "1.5", MODEL, NULL },
       { "regenerate", in, out, "--strength", "0.4", "--steps", "3", MODEL, NULL },
  };

  for (gsize command = 0; command < G_N_ELEMENTS (commands); command++)
    {
      Image *before[2], *after[2];
      int    changed = 0;

      for (int i = 0; i < 2; i++)
        {
          before[i] = make_half (64, colours[i][0], colours[i][1], colours[i][2]);
          image_write_png (before[i], in);
          g_free (run_fine (commands[command]));
          after[i] = image_read_png (out);
          assert_same_form (before[i], after[i]);
        }
      for (int k = 0; k < 4 * COUNT; k++)
        if (k / 4 % WIDTH < 64)
          {
            g_assert_cmpint (after[0]->data[k], ==, after[1]->data[k]);
            changed += after[0]->data[k] != before[0]->data[k];
          }
        else
          for (int i = 0; i < 2; i++)
            g_assert_cmpint (after[i]->data[k], ==, before[i]->data[k]);
      g_assert_cmpint (changed, >, 300);
      for (int i = 0; i < 2; i++)
        {
          image_free (before[i]);
          image_free (after[i]);
        }
    }
}

/* What is not visible is no part of the photograph, and no proof that it is without noise. */
static void
test_hidden_noise (void)
{
  g_autoptr (Image) image = make_half (WIDTH / 3, 120, 120, 120), after = NULL, plain = NULL;
  g_autofree char *in = in_folder ("third.png"), *out = in_folder ("third-out.png");
  g_autofree char *other = in_folder ("third-other.png"), *hole = make_mask ("third-hole.png", 20, 20, 22, 76);
  g_autofree char *all = make_mask ("third-all.png", 0, 0, WIDTH, HEIGHT);
  g_autofree char *beside = make_mask ("third-beside.png", WIDTH / 2, 0, WIDTH, HEIGHT);
  g_autofree char *measured = NULL, *masked = NULL, *auto_all = NULL, *auto_masked = NULL, *auto_beside = NULL;

  image_write_png (image, in);
  measured = OUTPUT ("estimate", in);
  masked = OUTPUT ("estimate", in, "--mask", all);
  auto_masked = OUTPUT ("denoise", in, out, "--mask", all, MODEL);
  auto_beside = OUTPUT ("denoise", in, out, "--mask", beside, MODEL); /* which has nothing to tell */
  auto_all = OUTPUT ("denoise", in, out, MODEL);
  g_assert_cmpfloat_with_epsilon (get_value (measured, "sigma: "), 20, 5);
  g_assert_cmpfloat_with_epsilon (get_value (masked, "sigma: "), 20, 5);
  g_assert_cmpfloat_with_epsilon (get_value (auto_all, "noise: "), 20, 5);
  g_assert_cmpfloat_with_epsilon (get_value (auto_masked, "noise: "), 20, 5);
  g_assert_cmpfloat_with_epsilon (get_value (auto_beside, "noise: "), 20, 5);
  after = image_read_png (out);
  g_assert_cmpfloat (image_error (image, after), >, 1);

  /* Thin holes are filled smoothly, and get grain. */
  FINE ("inpaint", in, hole, out, "--steps", "3", MODEL);
  FINE ("inpaint", in, hole, other, "--steps", "3", "--noise", "0", MODEL);
  image_free (g_steal_pointer (&after));
  after = image_read_png (out);
  plain = image_read_png (other);
  g_assert_cmpfloat (image_error (after, plain), >, 0);
}

/* ---- floats, and what is stored times alpha ---------------------------------------------------------------------- */

static void
write_tiff (const char *path, const void *values, int channels, int bits, guint16 extra)
{
  TIFF       *tiff = TIFFOpen (path, "w");
  const gsize stride = (gsize) WIDTH * (gsize) channels * (gsize) bits / 8;

  g_assert_nonnull (tiff);
  TIFFSetField (tiff, TIFFTAG_IMAGEWIDTH, WIDTH);
  TIFFSetField (tiff, TIFFTAG_IMAGELENGTH, HEIGHT);
  TIFFSetField (tiff, TIFFTAG_BITSPERSAMPLE, bits);
  TIFFSetField (tiff, TIFFTAG_SAMPLESPERPIXEL, channels);
  TIFFSetField (tiff, TIFFTAG_SAMPLEFORMAT, bits == 32 ? SAMPLEFORMAT_IEEEFP : SAMPLEFORMAT_UINT);
  TIFFSetField (tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_RGB);
  TIFFSetField (tiff, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG);
  if (channels == 4)
    TIFFSetField (tiff, TIFFTAG_EXTRASAMPLES, 1, &extra);
  for (guint32 y = 0; y < HEIGHT; y++)
    g_assert_cmpint (TIFFWriteScanline (tiff, (guint8 *) values + y * stride, y, 0), ==, 1);
  TIFFClose (tiff);
}

static void *
read_tiff (const char *path, int channels, int bits, int extra)
{
  TIFF       *tiff = TIFFOpen (path, "r");
  const gsize stride = (gsize) WIDTH * (gsize) channels * (gsize) bits / 8;
  guint8     *values = g_malloc (HEIGHT * stride);
  guint16     extras = 0, *kinds = NULL;

  g_assert_nonnull (tiff);
  g_assert_cmpint (TIFFScanlineSize (tiff), ==, stride);
  TIFFGetFieldDefaulted (tiff, TIFFTAG_EXTRASAMPLES, &extras, &kinds);
  g_assert_cmpint (extras, ==, channels == 4);
  if (extras)
    g_assert_cmpint (kinds[0], ==, extra);
  for (guint32 y = 0; y < HEIGHT; y++)
    g_assert_cmpint (TIFFReadScanline (tiff, values + y * stride, y, 0), ==, 1);
  TIFFClose (tiff);
  return values;
}

/* Noise around mid grey, between 0.25 and 0.75. */
static float *
make_floats (int channels)
{
  float *values = g_new (float, COUNT *channels);
  GRand *random = g_rand_new_with_seed (3);

  for (int i = 0; i < COUNT * channels; i++)
    values[i] = 0.5f + (float) g_rand_double_range (random, -0.25, 0.25);
  g_rand_free (random);
  return values;
}

/* A value that stands for "no data", or the sun, spoils nothing around it and stays, and bright places keep their
 * brightness: the engine is shown less, and its change is added. */
static void
test_far_values (void)
{
  static const float far[] = { -FLT_MAX, FLT_MAX, 1e20f, -1e12f };
  g_autofree char   *in = in_folder ("far.tif"), *out = in_folder ("far-out.tif");

  for (int round = 0; round < 2; round++)
    {
      g_autofree float *before = make_floats (3), *after = NULL;
      int               changed = 0;

      for (int i = 0; i < COUNT * 3; i++)
        if (i / 3 % WIDTH >= 100)
          before[i] += 7.5f;
      for (gsize i = 0; i < G_N_ELEMENTS (far); i++)
        before[(20 * WIDTH + 10 + 20 * (int) i) * 3 + 1] = far[i];
      write_tiff (in, before, 3, 32, 0);
      FINE ("denoise", in, out, "--noise", "40", "--strength", round ? "1.5" : "1", MODEL);
      after = read_tiff (out, 3, 32, 0);
      for (int i = 0; i < COUNT * 3; i++)
        {
          g_assert_true (isfinite (after[i]));
          if (fabsf (before[i]) > 1e9f)
            g_assert_cmpfloat (after[i], ==, before[i]);
          else if (i / 3 % WIDTH >= 100)
            g_assert_cmpfloat (after[i], >, 6);
          else
            g_assert_cmpfloat (fabsf (after[i]), <, 3);
          changed += before[i] != after[i];
        }
      g_assert_cmpint (changed, >, COUNT);
    }
}

/* A picture that is stored times alpha comes out as the same one that is not, times alpha. */
static void
test_premultiplied (void)
{
  static const float alphas[] = { 0, 0.25f, 0.5f, 1 };
  g_autofree float  *straight = make_floats (4), *times = g_new (float, COUNT * 4), *one = NULL, *other = NULL;
  g_autofree char   *in = in_folder ("straight.tif"), *out = in_folder ("straight-out.tif");
  g_autofree char   *in_times = in_folder ("times.tif"), *out_times = in_folder ("times-out.tif");
  int                changed = 0;

  for (int i = 0; i < COUNT; i++)
    {
      straight[4 * i + 3] = times[4 * i + 3] = alphas[i / 16 % 4];
      for (int c = 0; c < 3; c++)
        times[4 * i + c] = straight[4 * i + c] * straight[4 * i + 3];
    }
  write_tiff (in, straight, 4, 32, EXTRASAMPLE_UNASSALPHA);
  write_tiff (in_times, times, 4, 32, EXTRASAMPLE_ASSOCALPHA);
  FINE ("denoise", in, out, "--noise", "40", MODEL);
  FINE ("denoise", in_times, out_times, "--noise", "40", MODEL);
  one = read_tiff (out, 4, 32, EXTRASAMPLE_UNASSALPHA);
  other = read_tiff (out_times, 4, 32, EXTRASAMPLE_ASSOCALPHA);
  for (int i = 0; i < COUNT * 4; i++)
    {
      const float alpha = straight[i / 4 * 4 + 3];

      if (i % 4 == 3)
        g_assert_cmpfloat (other[i], ==, alpha);
      else
        g_assert_cmpfloat_with_epsilon (other[i], one[i] * alpha, 1e-5);
      if (alpha == 0)
        g_assert_cmpfloat (one[i], ==, straight[i]);
      changed += fabsf (other[i] - times[i]) > 1e-4f;
    }
  g_assert_cmpint (changed, >, COUNT);
}

/* What the engine leaves alone keeps its bits, whatever alpha is, also where the colours are more than alpha. */
static void
test_premultiplied_kept (void)
{
  g_autofree char *in = in_folder ("kept.tif"), *out = in_folder ("kept-out.tif"),
                  *masked = in_folder ("kept-masked.tif");
  g_autofree char    *mask = make_mask ("kept-mask.png", 0, 0, 40, HEIGHT);
  g_autofree guint16 *before = g_new (guint16, COUNT * 4), *same = NULL, *after = NULL;
  GRand              *random = g_rand_new_with_seed (4);
  int                 changed = 0;

  for (int i = 0; i < COUNT * 4; i++)
    before[i] = (guint16) (g_rand_int (random) >> (16 + i / 4 % 16));
  g_rand_free (random);
  write_tiff (in, before, 4, 16, EXTRASAMPLE_ASSOCALPHA);
  FINE ("denoise", in, out, "--noise", "0", MODEL);
  FINE ("denoise", in, masked, "--noise", "40", "--mask", mask, MODEL);
  same = read_tiff (out, 4, 16, EXTRASAMPLE_ASSOCALPHA);
  after = read_tiff (masked, 4, 16, EXTRASAMPLE_ASSOCALPHA);
  g_assert_cmpmem (before, COUNT * 8, same, COUNT * 8);
  for (int i = 0; i < COUNT * 4; i++)
    if (i / 4 % WIDTH >= 40 || i % 4 == 3 || before[i / 4 * 4 + 3] == 0)
      g_assert_cmpint (before[i], ==, after[i]);
    else
      changed += before[i] != after[i];
  g_assert_cmpint (changed, >, 1000);
}

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "pixels/hidden-colours", test_hidden_colours },
    { "pixels/hidden-noise", test_hidden_noise },
    { "pixels/far-values", test_far_values },
    { "pixels/premultiplied", test_premultiplied },
    { "pixels/premultiplied-kept", test_premultiplied_kept },
  };

  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
