/* gimp-diffusion: tests of the program `diffusion`
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <glib/gstdio.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- help and wrong use ------------------------------------------------------------------------------------------ */

static void
test_help (void)
{
  static const char *const expected[][8] = {
    { "denoise", "--model", "--noise", "--strength", "--detail", "--colour", "--steps", "--mask" },
    { "inpaint", "IN MASK OUT", "--context", "--grow", "--feather", "--texture", "--variants", "--noise" },
    { "regenerate", "--strength", "--structure", "--mask", "--model", "--sampler", "--seed" },
    { "generate", "--width", "--height", "--steps", "--seed", "--threads" },
    { "train", "--data", "--out", "--resume", "--from", "--widths", "--license" },
    { "pack", "DIR OUT" },
    { "forward", "--noise", "--t", "--seed" },
    { "estimate", "--mask" },
    { "info", "MODEL" },
    { "bench", "--json", "--only", "--threads" },
  };
  g_autofree char *all = OUTPUT ("--help"), *version = OUTPUT ("--version");

  g_assert_true (g_str_has_prefix (version, "diffusion "));
  for (gsize i = 0; i < G_N_ELEMENTS (expected); i++)
    {
      g_autofree char *help = OUTPUT (expected[i][0], "--help");

      g_assert_nonnull (strstr (all, expected[i][0]));
      for (int j = 1; j < 8 && expected[i][j]; j++)
        g_assert_nonnull (strstr (help, expected[i][j]));
      /* What is not asked about is said of every command that reads a picture. */
      g_assert_cmpint (strstr (help, "sRGB") != NULL, ==, strstr (help, " IN") != NULL);
    }
}

static void
test_wrong_use (void)
{
  g_auto (Result) nothing = run_with ((const char *const[]){ NULL }, 0);

  g_assert_cmpint (nothing.status, ==, 1);
  g_assert_nonnull (strstr (nothing.err, "denoise"));
  REFUSED ("--help", "sharpen");
  REFUSED ("--blur", "denoise", "a.png", "b.png", "--blur");
  REFUSED ("OUT", "denoise", "a.png");
  REFUSED ("c.png", "denoise", "a.png", "b.png", "c.png");
  REFUSED ("MODEL", "info");
  REFUSED ("--width", "generate", "a.png");
  REFUSED ("--noise", "forward", "a.png", "b.png");
  REFUSED ("--data", "train", "--out", "m.safetensors");
  REFUSED ("network", "bench", "--only", "nothing");            /* the parts are named */
  REFUSED ("network, train.", "bench", "--only", "checkpoint"); /* those that suit the model */
}

static void
test_wrong_numbers (void)
{
  static const char *const wrong[][2] = {
    { "--steps", "0" },      { "--steps", "1001" },      { "--steps", "4x" },
    { "--steps", "" },       { "--strength", "2.1" },    { "--strength", "-0.1" },
    { "--strength", "nan" }, { "--strength", "0.5 " },   { "--noise", "256" },
    { "--noise", "-1" },     { "--noise", "automatic" }, { "--noise", "inf" },
    { "--seed", "-1" },      { "--seed", "1e3" },        { "--seed", "18446744073709551616" },
    { "--threads", "-2" },   { "--threads", "2.5" },     { "--detail", "1.1" },
    { "--colour", "-0.1" },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++)
    REFUSED (wrong[i][0], "denoise", "a.png", "b.png", wrong[i][0], wrong[i][1]);
  REFUSED ("dpm++2m", "denoise", "a.png", "b.png", "--sampler", "heun");
  REFUSED ("2", "denoise", "a.png", "b.png", "--strength", "3"); /* the range is named */
  REFUSED ("--width", "generate", "a.png", "--width", "0", "--height", "8");
  REFUSED ("--t", "forward", "a.png", "b.png", "--noise", "5", "--t", "1.5");
  REFUSED ("--crop", "train", "--data", ".", "--out", "m", "--crop", "36", "--widths", "8,8,8");
  REFUSED ("--widths", "train", "--data", ".", "--out", "m", "--widths", "8,12");
  REFUSED ("--blocks", "train", "--data", ".", "--out", "m", "--widths", "8,16", "--blocks", "2");
  REFUSED ("--samples", "train", "--data", ".", "--out", "m", "--samples", "5", "--minutes", "1");
  REFUSED ("--mix", "train", "--data", ".", "--out", "m", "--mix", "paint");
}

/* ---- denoise ----------------------------------------------------------------------------------------------------- */

static void
test_denoise_lowers_error (void)
{
  const char      *models = g_getenv ("DIFFUSION_MODELS");
  g_autofree char *shipped = models ? g_build_filename (models, "default.safetensors", NULL) : NULL;
  g_autofree char *in = make_png ("noisy.png", 96, 80, 3, 8, 30), *out = in_folder ("denoised.png"), *printed = NULL;
  g_autoptr (Image) clean = image_make (96, 80, 3, 8, 0, 0), before = image_read_png (in), after = NULL;
  gboolean real = shipped && g_file_test (shipped, G_FILE_TEST_EXISTS);

  printed = OUTPUT ("denoise", in, out, "--noise", "30", "--model", real ? shipped : get_model ());
  after = image_read_png (out);
  g_test_message ("error %.2f before, %.2f after", image_error (before, clean), image_error (after, clean));
  g_assert_cmpfloat (image_error (after, clean), <, (real ? 0.5 : 0.95) * image_error (before, clean));
  g_assert_nonnull (strstr (printed, "noise: 30.0 (given)"));
  g_assert_nonnull (strstr (printed, "time: "));
  g_assert_nonnull (strstr (printed, "0.008 megapixels"));
}

static void
test_denoise_auto (void)
{
  g_autofree char *in = make_png ("auto.png", 128, 96, 3, 8, 20), *out = in_folder ("auto-out.png");
  g_autofree char *printed = OUTPUT ("denoise", in, out, "--model", get_model ());
  const char      *noise = strstr (printed, "noise: ");

  g_assert_nonnull (noise);
  g_assert_nonnull (strstr (noise, "(estimated)"));
  g_assert_cmpfloat_with_epsilon (g_ascii_strtod (noise + 7, NULL), 20, 5);
}

/* Every kind of PNG file: form kept, alpha kept, and the picture changed. */
static void
test_denoise_png (void)
{
  for (int bits = 8; bits <= 16; bits += 8)
    for (int channels = 1; channels <= 4; channels++)
      {
        g_autofree char *in = make_png ("form.png", 40, 33, channels, bits, 20), *out = in_folder ("form-out.png");
        g_autoptr (Image) before = image_read_png (in), after = NULL;
        gsize same = 0;

        FINE ("denoise", in, out, "--noise", "20", "--model", get_model ());
        after = image_read_png (out);
        assert_same_form (before, after);
        for (gsize i = 0; i < image_count (before); i++)
          if (channels % 2 == 0 && (int) (i % channels) == channels - 1)
            g_assert_cmpint (before->data[i], ==, after->data[i]);
          else
            same += before->data[i] == after->data[i];
        g_assert_cmpint (same, <, image_count (before) / 2);
      }
}

static void
test_denoise_tiff (void)
{
  for (int bits = 8; bits <= 16; bits += 8)
    for (int channels = 1; channels <= 3; channels += 2)
      {
        g_autoptr (Image) image = image_make (40, 33, channels, bits, 20, 3), after = NULL;
        g_autofree char *in = in_folder ("form.tif"), *png = in_folder ("form-twin.png");
        g_autofree char *out = in_folder ("form-out.tif"), *png_out = in_folder ("form-twin-out.png");

        image_write_tiff (image, in);
        image_write_png (image, png);
        FINE ("denoise", in, out, "--noise", "20", "--model", get_model ());
        FINE ("denoise", png, png_out, "--noise", "20", "--model", get_model ());
        g_assert_cmpint (image_get_tiff_tag (out, 258), ==, bits);
        g_assert_cmpint (image_get_tiff_tag (out, 277), ==, channels);
        /* The same samples from either format, so neither swaps nor scales them. */
        image_free (g_steal_pointer (&image));
        image = image_read_png (png_out);
        after = image_read_any (out);
        assert_same (image, after);
      }
}

static void
test_denoise_jpeg (void)
{
  g_autofree char *png = make_png ("photo.png", 40, 33, 3, 16, 5), *in = in_folder ("photo.jpg");
  g_autofree char *out = in_folder ("photo-out.JPEG"), *alpha = make_png ("alpha.png", 8, 8, 4, 8, 0);
  g_autoptr (Image) before = NULL, after = NULL;

  FINE ("forward", png, in, "--noise", "0");
  FINE ("denoise", in, out, "--noise", "5", "--model", get_model ());
  before = image_read_any (in);
  after = image_read_any (out);
  assert_same_form (before, after);
  g_assert_cmpfloat (image_error (before, after), <, 20);
  REFUSED ("transparency", "denoise", alpha, out, "--noise", "5", "--model", get_model ());
}

static void
test_denoise_mask (void)
{
  for (int bits = 8; bits <= 16; bits += 8)
    {
      g_autofree char *in = make_png ("masked.png", 50, 20, 3, bits, 20), *out = in_folder ("masked-out.png");
      g_autofree char *path = in_folder ("mask.png"), *small = make_png ("small.png", 49, 20, 1, 8, 0);
      g_autoptr (Image) before = image_read_png (in), mask = image_make (50, 20, 1, 8, 0, 0), after = NULL;
      gsize changed = 0;

      for (gsize i = 0; i < image_count (mask); i++)
        mask->data[i] = i % 50 < 25 ? 255 : 0;
      image_write_png (mask, path);
      FINE ("denoise", in, out, "--noise", "20", "--mask", path, "--model", get_model ());
      after = image_read_png (out);
      for (gsize i = 0; i < image_count (before); i++)
        if (mask->data[i / 3])
          changed += before->data[i] != after->data[i];
        else
          g_assert_cmpint (before->data[i], ==, after->data[i]);
      g_assert_cmpint (changed, >, 1000);
      REFUSED ("size", "denoise", in, out, "--noise", "20", "--mask", small, "--model", get_model ());
    }
}

static void
test_denoise_identity (void)
{
  for (int channels = 1; channels <= 4; channels++)
    for (int bits = 8; bits <= 16; bits += 8)
      {
        g_autofree char *in = make_png ("same.png", 31, 17, channels, bits, 40), *out = in_folder ("same-out.png");
        g_autoptr (Image) before = image_read_png (in), after = NULL, again = NULL;

        FINE ("denoise", in, out, "--noise", "0", "--model", get_model ());
        after = image_read_png (out);
        assert_same (before, after);
        FINE ("denoise", in, out, "--noise", "30", "--strength", "0", "--model", get_model ());
        again = image_read_png (out);
        assert_same (before, again);
      }
}

/* --detail 1 leaves the brightness of every pixel as it was, --colour 0 its colour; together they leave all. */
static void
test_denoise_shares (void)
{
  g_autofree char *in = make_png ("shares.png", 61, 47, 3, 16, 30), *out = in_folder ("shares-out.png");
  g_autoptr (Image) before = image_read_png (in), luma = NULL, colour = NULL, both = NULL;
  double changes[2] = { 0 };

#define THIRTY "--noise", "30", "--model", get_model ()
  FINE ("denoise", in, out, THIRTY, "--detail", "1");
  luma = image_read_png (out);
  FINE ("denoise", in, out, THIRTY, "--colour", "0");
  colour = image_read_png (out);
  FINE ("denoise", in, out, THIRTY, "--detail", "1", "--colour", "0");
  both = image_read_png (out);
  assert_same (before, both);
  for (gsize i = 0; i < image_count (before); i += 3)
    {
      gboolean clipped = FALSE;
      int      sum = 0, differences[3];

      for (gsize c = 0; c < 3; c++)
        {
          const int was = before->data[i + c], is[2] = { luma->data[i + c], colour->data[i + c] };

          sum += is[0] - was;
          differences[c] = is[1] - was;
          changes[0] += abs (is[0] - was);
          changes[1] += abs (is[1] - was);
          clipped = clipped || is[0] % 65535 == 0 || is[1] % 65535 == 0;
        }
      /* Rounding, three times. */
      if (! clipped)
        {
          g_assert_cmpint (abs (sum), <=, 3);
          g_assert_cmpint (abs (differences[0] - differences[1]), <=, 2);
          g_assert_cmpint (abs (differences[1] - differences[2]), <=, 2);
        }
    }
  g_assert_cmpfloat (changes[0] / (double) image_count (before), >, 200);
  g_assert_cmpfloat (changes[1] / (double) image_count (before), >, 200);
}

static void
test_denoise_seeds (void)
{
  g_autofree char *in = make_png ("seed.png", 70, 50, 3, 16, 20);
  g_autofree char *a = in_folder ("seed-a.png"), *b = in_folder ("seed-b.png"), *c = in_folder ("seed-c.png");
  g_autoptr (GBytes) first = NULL, other = NULL;

#define DDPM "--noise", "20", "--steps", "4", "--sampler", "ddpm", "--model", get_model ()
  FINE ("denoise", in, a, DDPM, "--seed", "5", "--threads", "1");
  FINE ("denoise", in, b, DDPM, "--seed", "5", "--threads", "2");
  FINE ("denoise", in, c, DDPM, "--seed", "6", "--threads", "1");
  assert_same_file (a, b);
  first = file_load (a);
  other = file_load (c);
  g_assert_false (g_bytes_equal (first, other));
}

static void
test_denoise_small (void)
{
  static const int sizes[][2] = { { 1, 1 }, { 3, 5 }, { 1, 40 }, { 17, 2 } };

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autofree char *in = make_png ("tiny.png", sizes[i][0], sizes[i][1], 3, 8, 10),
                      *out = in_folder ("tiny-out.png");
      g_autoptr (Image) after = NULL;

      FINE ("denoise", in, out, "--noise", "10", "--model", get_model ());
      after = image_read_png (out);
      g_assert_cmpint (after->width, ==, sizes[i][0]);
      g_assert_cmpint (after->height, ==, sizes[i][1]);
    }
}

static void
test_denoise_in_place (void)
{
  g_autofree char *path = make_png ("place.png", 30, 30, 3, 8, 20), *link_path = in_folder ("link.png");
  g_autoptr (Image) before = image_read_png (path), after = NULL;

  g_assert_cmpint (symlink ("place.png", link_path), ==, 0);
  g_assert_cmpint (g_chmod (path, 0640), ==, 0);
  FINE ("denoise", link_path, link_path, "--noise", "20", "--model", get_model ());
  after = image_read_png (path);
  assert_same_form (before, after);
  g_assert_cmpfloat (image_error (before, after), >, 0);
  g_assert_true (g_file_test (link_path, G_FILE_TEST_IS_SYMLINK));
  {
    GStatBuf status;

    g_assert_cmpint (g_stat (path, &status), ==, 0);
    g_assert_cmpint (status.st_mode & 0777, ==, 0640);
  }
}

/* ---- the other picture commands ---------------------------------------------------------------------------------- */

static void
test_generate (void)
{
  g_autofree char *a = in_folder ("made-a.png"), *b = in_folder ("made-b.png"), *c = in_folder ("made-c.png");
  g_autoptr (Image) image = NULL;
  g_autoptr (GBytes) first = NULL, other = NULL;

#define SIZE "--width", "45", "--height", "22", "--steps", "3", "--model", get_model ()
  FINE ("generate", a, SIZE);
  FINE ("generate", b, SIZE, "--threads", "1");
  FINE ("generate", c, SIZE, "--seed", "1");
  image = image_read_png (a);
  g_assert_cmpint (image->width, ==, 45);
  g_assert_cmpint (image->height, ==, 22);
  g_assert_cmpint (image->channels, ==, 3);
  assert_same_file (a, b);
  first = file_load (a);
  other = file_load (c);
  g_assert_false (g_bytes_equal (first, other));
}

static void
test_forward (void)
{
  g_autofree char *in = make_png ("clean.png", 120, 100, 3, 16, 0), *out = in_folder ("forward.png");
  g_autofree char *half = in_folder ("half.png"), *again = in_folder ("again.png");
  g_autoptr (Image) before = image_read_png (in), after = NULL, middle = NULL;

  FINE ("forward", in, out, "--noise", "10", "--seed", "3");
  FINE ("forward", in, again, "--noise", "10", "--seed", "3");
  FINE ("forward", in, half, "--noise", "10", "--t", "0.5");
  after = image_read_png (out);
  middle = image_read_png (half);
  g_assert_cmpfloat_with_epsilon (image_error (before, after) / 257, 10, 0.3);
  g_assert_cmpfloat_with_epsilon (image_error (before, middle) / 257, 5, 0.2);
  assert_same_file (out, again);
}

/* ---- showing ----------------------------------------------------------------------------------------------------- */

/* The frame at (x, y) of a drawing against the clean picture at a share of its contrast: the mean and the standard
 * deviation of what is there besides, in 1/255. */
static void
measure_frame (const Image *drawing, int x, int y, const Image *clean, double share, double *mean, double *deviation)
{
  double sum = 0, square = 0;
  int    count = clean->width * clean->height * 3;

  for (int row = 0; row < clean->height; row++)
    for (int i = 0; i < clean->width * 3; i++)
      {
        double difference = drawing->data[((y + row) * drawing->width + x) * 3 + i]
                            - (127.5 + (clean->data[row * clean->width * 3 + i] - 127.5) * share);

        sum += difference;
        square += difference * difference;
      }
  *mean = sum / count;
  *deviation = sqrt (square / count - *mean * *mean);
}

/* The first frame is the picture, the second and third have the noise that is written under them (tan 15 and 30
 * degrees times 63.75, at the cosine's share of the contrast); a row holds as many frames as it should. */
static void
test_show_forward (void)
{
  enum
  {
    WIDTH = 96,
    HEIGHT = 64,
    LEFT = 16,
    TOP = 44,
    STEP = WIDTH + 8
  };
  g_autofree char *in = in_folder ("show.png"), *out = in_folder ("shown.png"), *again = in_folder ("again.png");
  g_autoptr (Image) picture = image_make (WIDTH, HEIGHT, 3, 8, 0, 1), drawing = NULL;
  double mean, deviation;

  image_write_png (picture, in);
  FINE ("show", in, out, "--part", "forward", "--model", get_model (), "--steps", "8");
  FINE ("show", in, again, "--part", "forward", "--model", get_model (), "--steps", "8");
  assert_same_file (out, again);
  drawing = image_read_png (out);
  g_assert_cmpint (drawing->width, >=, LEFT + 7 * STEP);
  measure_frame (drawing, LEFT, TOP, picture, 1, &mean, &deviation);
  g_assert_cmpfloat (fabs (mean), <, 1e-9);
  g_assert_cmpfloat (deviation, <, 1e-9);
  for (int i = 1; i < 3; i++)
    {
      double angle = i * G_PI / 12;

      measure_frame (drawing, LEFT + i * STEP, TOP, picture, cos (angle), &mean, &deviation);
      g_assert_cmpfloat (fabs (mean), <, 1.5);
      g_assert_cmpfloat_with_epsilon (deviation / (63.75 * sin (angle)), 1, 0.04);
    }
}

/* However few frames there are, "the middle" is not pure noise: the second strip backwards starts from the forward
 * frame before the last, at 45 degrees of three frames and 60 of four, with what is left of the picture in it. */
static void
test_show_middle (void)
{
  enum
  {
    HEIGHT = 64,
    TOP = 44,
    BELOW = TOP + 2 * HEIGHT + 26 + 48 + 28 /* of the second strip: captions and title come between */
  };
  g_autofree char *in = in_folder ("show-middle.png"), *out = in_folder ("shown-middle.png");
  g_autoptr (Image) picture = image_make (96, HEIGHT, 3, 8, 0, 1);

  image_write_png (picture, in);
  for (int frames = 3; frames <= 4; frames++)
    {
      g_autofree char *number = g_strdup_printf ("%d", frames);
      g_autoptr (Image) drawing = NULL;
      double angle = G_PI / 2 * (frames - 2) / (frames - 1), mean, deviation;

      FINE ("show", in, out, "--part", "reverse", "--model", get_model (), "--steps", "4", "--frames", number);
      drawing = image_read_png (out);
      measure_frame (drawing, 16, BELOW, picture, cos (angle), &mean, &deviation);
      g_assert_cmpfloat (fabs (mean), <, 2);
      g_assert_cmpfloat_with_epsilon (deviation / (63.75 * sin (angle)), 1, 0.06);
    }
}

/* Backward and curves: a taller picture, drawn in several colours, of any size of frames; and what is refused. */
static void
test_show_all (void)
{
  g_autofree char *in = in_folder ("show-all.png"), *out = in_folder ("shown-all.png"),
                  *curves = in_folder ("curves.png"), *wide = make_png ("wide.png", 32768, 2, 1, 8, 0);
  g_autoptr (Image) picture = image_make (200, 120, 3, 8, 0, 1), drawing = NULL, plot = NULL;
  int blue = 0;

  image_write_png (picture, in);
  FINE ("show", in, out, "--model", get_model (), "--steps", "5", "--frames", "4", "--size", "100");
  FINE ("show", in, curves, "--part", "curves", "--model", get_model (), "--steps", "5", "--frames", "4", "--size",
        "64");
  drawing = image_read_png (out);
  plot = image_read_png (curves);
  g_assert_cmpint (drawing->height, >, plot->height + 5 * 60);
  for (gsize i = 0; i < image_count (plot); i += 3)
    blue += plot->data[i] == 0 && plot->data[i + 1] == 114 && plot->data[i + 2] == 178;
  g_assert_cmpint (blue, >, 300);
  REFUSED ("--part", "show", in, out, "--model", get_model (), "--part", "sideways");
  REFUSED ("--steps", "show", in, out, "--model", get_model (), "--steps", "3");
  REFUSED ("no-such", "show", "no-such.png", out, "--model", get_model ());
  REFUSED ("wide.png\" has 32768 x 2 pixels", "show", wide, out, "--model", get_model ());
}

static void
test_estimate (void)
{
  g_autofree char *in = make_png ("measured.png", 160, 120, 3, 8, 15), *path = in_folder ("measured-mask.png");
  g_autofree char *printed = OUTPUT ("estimate", in), *masked = NULL;
  g_autoptr (Image) mask = image_make (160, 120, 1, 8, 0, 0);

  g_assert_cmpfloat_with_epsilon (get_value (printed, "sigma: "), 15, 3);
  g_assert_cmpfloat (get_value (printed, "luma: "), >, 0);
  g_assert_cmpfloat (get_value (printed, "chroma: "), >, 0);
  g_assert_cmpfloat (get_value (printed, "curve: "), >=, 0);
  for (gsize i = 0; i < image_count (mask); i++)
    mask->data[i] = i / 160 < 60 ? 255 : 0;
  image_write_png (mask, path);
  masked = OUTPUT ("estimate", in, "--mask", path);
  g_assert_cmpfloat_with_epsilon (get_value (masked, "sigma: "), 15, 4);
}

/* Only what the mask selects is measured before it is denoised; a mask that has no spot to measure takes the picture's
 * noise. */
static void
test_denoise_mask_noise (void)
{
  g_autofree char *in = in_folder ("half-noisy.png"), *path = in_folder ("half-mask.png"),
                  *out = in_folder ("half-denoised.png"), *quiet = NULL, *loud = NULL, *thin = NULL, *whole = NULL;
  g_autoptr (Image) image = image_make (160, 120, 3, 8, 15, 1), clean = image_make (160, 120, 3, 8, 0, 1),
                    mask = image_make (160, 120, 1, 8, 0, 0);

  memcpy (image->data, clean->data, image_count (image) / 2 * sizeof image->data[0]);
  image_write_png (image, in);
  for (gsize i = 0; i < image_count (mask); i++)
    mask->data[i] = i / 160 < 56 ? 255 : 0;
  image_write_png (mask, path);
  quiet = OUTPUT ("denoise", in, out, "--model", get_model (), "--mask", path);
  for (gsize i = 0; i < image_count (mask); i++)
    mask->data[i] = i / 160 >= 64 ? 255 : 0;
  image_write_png (mask, path);
  loud = OUTPUT ("denoise", in, out, "--model", get_model (), "--mask", path);
  for (gsize i = 0; i < image_count (mask); i++)
    mask->data[i] = i / 160 == 100 ? 255 : 0;
  image_write_png (mask, path);
  thin = OUTPUT ("denoise", in, out, "--model", get_model (), "--mask", path);
  whole = OUTPUT ("estimate", in);
  g_assert_cmpfloat (get_value (quiet, "noise: "), <, 7);
  g_assert_cmpfloat_with_epsilon (get_value (loud, "noise: "), 15, 3);
  g_assert_cmpfloat_with_epsilon (get_value (thin, "noise: "), get_value (whole, "sigma: "), 0.06);
}

/* A photograph on its side comes out upright. */
static void
test_orientation (void)
{
  static const guint8 exif[] = "\xff\xe1\0\x22"
                               "Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0";
  g_autofree char    *png = make_png ("upright.png", 40, 24, 3, 8, 0), *jpeg = in_folder ("side.jpg");
  g_autoptr (GByteArray) turned = g_byte_array_new ();
  g_autoptr (Image) before = NULL, after = NULL;
  g_autoptr (GBytes) plain = NULL;
  gsize         size;
  const guint8 *data;

  FINE ("forward", png, jpeg, "--noise", "0");
  before = image_read_any (jpeg);
  plain = file_load (jpeg);
  data = g_bytes_get_data (plain, &size);
  g_byte_array_append (turned, data, 2);
  g_byte_array_append (turned, exif, 36);
  g_byte_array_append (turned, data + 2, size - 2);
  file_store (jpeg, turned->data, turned->len);
  after = image_read_any (jpeg);
  g_assert_cmpint (after->width, ==, 24);
  g_assert_cmpint (after->height, ==, 40);
  for (int y = 0; y < 40; y++)
    for (int x = 0; x < 24; x++)
      for (int c = 0; c < 3; c++)
        g_assert_cmpint (after->data[(y * 24 + x) * 3 + c], ==, before->data[((23 - x) * 40 + y) * 3 + c]);
}

/* ---- files that cannot be read or written ------------------------------------------------------------------------ */

static void
test_broken_input (void)
{
  g_autofree char *in = make_png ("whole.png", 50, 40, 3, 8, 20), *broken = in_folder ("broken.png");
  g_autofree char *out = in_folder ("broken-out.png"), *missing = in_folder ("missing.png"),
                  *tiff = in_folder ("whole.tif"), *any_folder = in_folder ("");
  g_autoptr (GBytes) whole = file_load (in), strip = NULL;
  g_autoptr (Image) image = image_read_png (in);
  gsize       size = g_bytes_get_size (whole);
  const gsize lengths[] = { 1, 8, 20, 33, 60, size / 2, size - 13, size - 1 };

#define TO_OUT out, "--noise", "10", "--model", get_model ()
  for (gsize i = 0; i < G_N_ELEMENTS (lengths); i++)
    {
      file_store (broken, g_bytes_get_data (whole, NULL), lengths[i]);
      REFUSED ("broken.png", "denoise", broken, TO_OUT);
    }
  image_write_tiff (image, tiff);
  strip = file_load (tiff);
  file_store (broken, g_bytes_get_data (strip, NULL), g_bytes_get_size (strip) - 1);
  REFUSED ("broken.png", "denoise", broken, TO_OUT);
  file_store (broken, "just some text\n", 15);
  REFUSED ("not a PNG", "denoise", broken, TO_OUT);
  file_store (broken, "", 0);
  REFUSED ("empty", "estimate", broken);
  REFUSED ("No such file", "denoise", missing, TO_OUT);
  REFUSED ("folder", "denoise", any_folder, TO_OUT);
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

static void
test_bad_target (void)
{
  g_autofree char *in = make_png ("good.png", 10, 10, 3, 8, 5), *nowhere = in_folder ("none/out.png");
  g_autofree char *unknown = in_folder ("out.xyz"), *bare = in_folder ("out"), *taken = in_folder ("taken.png");
  g_autofree char *pipe_path = in_folder ("pipe.png");

#define AND_MODEL "--noise", "10", "--model", get_model ()
  g_assert_cmpint (g_mkdir (taken, 0755), ==, 0);
  g_assert_cmpint (mkfifo (pipe_path, 0644), ==, 0);
  REFUSED ("does not exist", "denoise", in, nowhere, AND_MODEL);
  REFUSED (".png", "denoise", in, unknown, AND_MODEL);
  REFUSED (".png", "denoise", in, bare, AND_MODEL);
  REFUSED ("folder", "denoise", in, taken, AND_MODEL);
  REFUSED ("regular", "denoise", in, pipe_path, AND_MODEL);
  REFUSED (".png", "generate", unknown, "--width", "8", "--height", "8", "--model", get_model ());
}

static void
test_file_too_large (void)
{
  static const char *const names[] = { "full.png", "full.tif", "full.jpg", "full.ppm" };
  g_autofree char         *in = make_png ("large.png", 160, 160, 3, 8, 60), *made = in_folder ("full");

  g_assert_cmpint (g_mkdir (made, 0755), ==, 0);
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *out = g_build_filename (made, names[i], NULL);
      g_autoptr (GBytes) after = NULL;
      g_auto (Result) result = { 0 };

      file_store (out, "precious", 8);
      result = run_with ((const char *const[]){ "forward", in, out, "--noise", "40", NULL }, 16384);
      assert_refused (&result, names[i]);
      after = file_load (out);
      g_assert_cmpmem (g_bytes_get_data (after, NULL), g_bytes_get_size (after), "precious", 8);
      g_assert_cmpint (count_entries (made), ==, (int) i + 1);
    }
}

static void
test_full_disk (void)
{
  static const char *const names[] = { "a.png", "a.tif", "a.jpg", "a.ppm" };
  g_autofree char         *in = make_png ("large.png", 160, 160, 3, 8, 60), *disk = in_folder ("disk");
  Result                   results[4];
  char                    *contents[4] = { NULL };
  int                      entries = 0;

  g_assert_cmpint (g_mkdir (disk, 0755), ==, 0);
  if (mount ("none", disk, "tmpfs", 0, "size=32k") != 0)
    {
      g_test_skip ("a file system can only be mounted by root");
      return;
    }
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *out = g_build_filename (disk, names[i], NULL);

      file_store (out, "precious", 8);
      results[i] = RUN ("forward", in, out, "--noise", "40");
      g_file_get_contents (out, &contents[i], NULL, NULL);
      entries += count_entries (disk);
    }
  umount2 (disk, MNT_DETACH); /* before anything can end the test */
  g_assert_cmpint (entries, ==, 1 + 2 + 3 + 4);
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      assert_refused (&results[i], "No space left");
      g_assert_cmpstr (contents[i], ==, "precious");
      result_clear (&results[i]);
      g_free (contents[i]);
    }
}

static void
test_broken_model (void)
{
  g_autofree char *in = make_png ("good.png", 10, 10, 3, 8, 5), *out = in_folder ("model-out.png");
  g_autofree char *broken = in_folder ("broken.safetensors"), *missing = in_folder ("missing.safetensors");
  g_autoptr (GBytes) whole = file_load (get_model ());
  g_autofree char *garbage = g_memdup2 (g_bytes_get_data (whole, NULL), g_bytes_get_size (whole));
  gsize            size = g_bytes_get_size (whole);
  const gsize      lengths[] = { 0, 4, 8, 100, size / 2, size - 1 };

  for (gsize i = 0; i < G_N_ELEMENTS (lengths); i++)
    {
      file_store (broken, garbage, lengths[i]);
      REFUSED ("broken", "denoise", in, out, "--noise", "10", "--model", broken);
      REFUSED ("broken", "info", broken);
    }
  memset (garbage, 0xa5, size);
  file_store (broken, garbage, size);
  REFUSED ("broken", "denoise", in, out, "--noise", "10", "--model", broken);
  REFUSED ("missing", "denoise", in, out, "--noise", "10", "--model", missing);
  REFUSED ("nosuchmodel", "info", "nosuchmodel");
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

/* ---- training ---------------------------------------------------------------------------------------------------- */

static void
test_info (void)
{
  gint64           start = g_get_monotonic_time ();
  g_autofree char *printed = OUTPUT ("info", get_model ());

  g_test_message ("%.3f s", (g_get_monotonic_time () - start) / 1e6);
  g_assert_nonnull (strstr (printed, "widths: 8,16\n"));
  g_assert_nonnull (strstr (printed, "blocks: 1,1\n"));
  g_assert_cmpfloat (get_value (printed, "parameters: "), >, 1000);
  g_assert_cmpfloat (get_value (printed, "macs per pixel: "), >, 100);
  g_assert_cmpfloat (get_value (printed, "margin: "), >, 1);
  g_assert_cmpfloat (get_value (printed, "samples: "), >=, 1600);
}

/* ---- bench ------------------------------------------------------------------------------------------------------- */

/* A key's number in flat JSON; NAN: null, or not there. */
static double
get_figure (const char *json, const char *key)
{
  g_autofree char *quoted = g_strdup_printf ("\"%s\": ", key);
  const char      *at = strstr (json, quoted);
  char            *end;
  double           value;

  if (! at)
    return NAN;
  value = g_ascii_strtod (at + strlen (quoted), &end);
  return end == at + strlen (quoted) ? NAN : value;
}

static void
test_bench (void)
{
  g_autofree char *machine = OUTPUT ("bench", "--json", "--only", "machine", "--model", get_model ());
  g_autofree char *network = OUTPUT ("bench", "--json", "--only", "network", "--model", get_model ());
  g_autofree char *train = OUTPUT ("bench", "--json", "--only", "train", "--model", get_model ());
  gboolean         bf16 = isfinite (get_figure (machine, "conv_bf16_gflops"));

  g_assert_cmpfloat (get_figure (machine, "sgemm_gflops"), >, 0);
  g_assert_cmpfloat (get_figure (network, "forward_f32_gflops"), >, 0);
  g_assert_cmpfloat (get_figure (train, "train_samples_per_s"), >, 0);
  /* What the processor lacks is null, not left out. */
  g_assert_nonnull (strstr (machine, "\"conv_bf16_gflops\": "));
  g_assert_nonnull (strstr (network, "\"forward_bf16_gflops\": "));
  g_assert_true (isfinite (get_figure (network, "forward_bf16_gflops")) == bf16);
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "help", test_help },
    { "wrong-use", test_wrong_use },
    { "wrong-numbers", test_wrong_numbers },
    { "denoise/lowers-error", test_denoise_lowers_error },
    { "denoise/auto", test_denoise_auto },
    { "denoise/png", test_denoise_png },
    { "denoise/tiff", test_denoise_tiff },
    { "denoise/jpeg", test_denoise_jpeg },
    { "denoise/mask", test_denoise_mask },
    { "denoise/mask-noise", test_denoise_mask_noise },
    { "denoise/identity", test_denoise_identity },
    { "denoise/shares", test_denoise_shares },
    { "denoise/seeds", test_denoise_seeds },
    { "denoise/small", test_denoise_small },
    { "denoise/in-place", test_denoise_in_place },
    { "generate", test_generate },
    { "forward", test_forward },
    { "show/forward", test_show_forward },
    { "show/middle", test_show_middle },
    { "show/all", test_show_all },
    { "estimate", test_estimate },
    { "orientation", test_orientation },
    { "broken-input", test_broken_input },
    { "bad-target", test_bad_target },
    { "file-too-large", test_file_too_large },
    { "full-disk", test_full_disk },
    { "broken-model", test_broken_model },
    { "info", test_info },
    { "bench", test_bench },
  };

  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
