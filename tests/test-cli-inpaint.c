/* gimp-diffusion: tests of the commands inpaint and regenerate
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <glib/gstdio.h>
#include <unistd.h>

#define WIDTH  90
#define HEIGHT 70

/* A square hole in a picture of WIDTH x HEIGHT; soft: with an edge of half coverage. */
static char *
make_mask (const char *name, int x0, int y0, int size, gboolean soft)
{
  g_autoptr (Image) mask = image_make (WIDTH, HEIGHT, 1, 8, 0, 0);
  char *path = in_folder (name);

  for (int y = 0; y < HEIGHT; y++)
    for (int x = 0; x < WIDTH; x++)
      {
        int depth = MIN (MIN (x - x0, y - y0), MIN (x0 + size - 1 - x, y0 + size - 1 - y));

        mask->data[y * WIDTH + x] = depth < 0 ? 0 : depth == 0 && soft ? 128 : 255;
      }
  image_write_png (mask, path);
  return path;
}

/* How many pixels differ inside the square, and how many outside. */
static void
count_changes (const Image *before, const Image *after, int x0, int y0, int size, int *inside, int *outside)
{
  *inside = *outside = 0;
  for (int i = 0; i < WIDTH * HEIGHT; i++)
    {
      int      x = i % WIDTH, y = i / WIDTH;
      gboolean differs = FALSE;

      for (int c = 0; c < before->channels; c++)
        differs |= before->data[i * before->channels + c] != after->data[i * before->channels + c];
      if (x >= x0 && y >= y0 && x < x0 + size && y < y0 + size)
        *inside += differs;
      else
        *outside += differs;
    }
}

/* Every kind of PNG file: the hole is filled, the rest kept. */
static void
test_inpaint_png (void)
{
  for (int bits = 8; bits <= 16; bits += 8)
    for (int channels = 1; channels <= 4; channels++)
      {
        g_autofree char *in = make_png ("hole.png", WIDTH, HEIGHT, channels, bits, 3), *out = in_folder ("filled.png");
        g_autofree char *mask = make_mask ("hole-mask.png", 30, 20, 21, FALSE);
        g_autoptr (Image) before = image_read_png (in), after = NULL;
        int inside, outside;

        FINE ("inpaint", in, mask, out, "--steps", "3", "--grow", "0", "--model", get_model ());
        after = image_read_png (out);
        assert_same_form (before, after);
        count_changes (before, after, 30, 20, 21, &inside, &outside);
        g_assert_cmpint (inside, >, 21 * 21 / 2);
        g_assert_cmpint (outside, ==, 0);
      }
}

/* Grown by 2 by default when large, and by what is said. */
static void
test_inpaint_grow (void)
{
  static const char *const given[] = { "-1", "0", "5" };
  static const int         grown[] = { 2, 0, 5 };
  g_autofree char         *in = make_png ("grow.png", WIDTH, HEIGHT, 3, 16, 3), *out = in_folder ("grown.png");
  g_autofree char         *mask = make_mask ("grow-mask.png", 30, 20, 31, FALSE);
  g_autoptr (Image) before = image_read_png (in);

  for (gsize i = 0; i < G_N_ELEMENTS (given); i++)
    {
      g_autoptr (Image) after = NULL;
      int inside, outside, by = grown[i];

      FINE ("inpaint", in, mask, out, "--steps", "2", "--grow", given[i], "--model", get_model ());
      after = image_read_png (out);
      count_changes (before, after, 30 - by, 20 - by, 31 + 2 * by, &inside, &outside);
      g_assert_cmpint (outside, ==, 0);
      g_assert_cmpint (inside, >, 31 * 31 + (by ? 31 : -31));
    }
}

static void
test_inpaint_options (void)
{
  g_autofree char *in = make_png ("many.png", WIDTH, HEIGHT, 3, 16, 3),
                  *mask = make_mask ("many-mask.png", 50, 0, 25, TRUE);
  g_autofree char *a = in_folder ("many-a.png"), *b = in_folder ("many-b.png"), *b2 = in_folder ("many-b-2.png");
  g_autofree char *c = in_folder ("many-c.png"), *d = in_folder ("many-d.png");
  g_autoptr (GBytes) first = NULL, second = NULL, other = NULL;

#define QUICK "--steps", "3", "--model", get_model ()
  FINE ("inpaint", in, mask, a, QUICK, "--seed", "4", "--threads", "1");
  FINE ("inpaint", in, mask, b, QUICK, "--seed", "3", "--variants", "2", "--threads", "2");
  assert_same_file (a, b2);
  first = file_load (b);
  second = file_load (b2);
  g_assert_false (g_bytes_equal (first, second));
  FINE ("inpaint", in, mask, c, QUICK, "--seed", "3", "--sampler", "ddim");
  other = file_load (c);
  g_assert_false (g_bytes_equal (first, other));
  FINE ("inpaint", in, mask, d, QUICK, "--context", "40", "--feather", "4", "--texture", "0.5", "--noise", "2");
}

static void
test_inpaint_refused (void)
{
  g_autofree char *in = make_png ("refuse.png", WIDTH, HEIGHT, 3, 8, 0), *out = in_folder ("refused.png");
  g_autofree char *nothing = make_mask ("nothing.png", 0, 0, 0, FALSE),
                  *all = make_mask ("all.png", -9, -9, 200, FALSE);
  g_autofree char *small = make_png ("small-mask.png", 10, 10, 1, 8, 0);

#define TO_OUT out, "--model", get_model ()
  REFUSED ("selected", "inpaint", in, nothing, TO_OUT);
  REFUSED ("selected", "inpaint", in, all, TO_OUT);
  REFUSED ("size", "inpaint", in, small, TO_OUT);
  REFUSED ("OUT", "inpaint", in, all);
  REFUSED ("--texture", "inpaint", in, all, TO_OUT, "--texture", "2");
  REFUSED ("--noise", "inpaint", in, all, TO_OUT, "--noise", "-1");
  REFUSED ("--variants", "inpaint", in, all, TO_OUT, "--variants", "0");
  REFUSED ("--context", "inpaint", in, all, TO_OUT, "--context", "x");
  REFUSED ("--grow", "inpaint", in, all, TO_OUT, "--grow", "-2");
  REFUSED ("--strength", "regenerate", in, TO_OUT);
  REFUSED ("--strength", "regenerate", in, TO_OUT, "--strength", "1.1");
  REFUSED ("--structure", "regenerate", in, TO_OUT, "--strength", "1", "--structure", "-0.1");
  REFUSED ("size", "regenerate", in, TO_OUT, "--strength", "1", "--mask", small);
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

/* The names of further variants are made up: none may be that of a file that is read, and all are looked at before the
 * model is. */
static void
test_inpaint_variants (void)
{
  static const char *const wrong[][3] = { { "v-2.png", "v-mask.png", "v-2.png" },
                                          { "v-in.png", "v-3.png", "v-3.png" },
                                          { "v-in.png", "v-link-2.png", "v-link-2.png" } };
  g_autofree char         *in = make_png ("v-in.png", WIDTH, HEIGHT, 3, 8, 3),
                  *mask = make_mask ("v-mask.png", 30, 20, 9, FALSE);
  g_autofree char *in_2 = make_png ("v-2.png", WIDTH, HEIGHT, 3, 8, 3),
                  *mask_3 = make_mask ("v-3.png", 30, 20, 9, FALSE);
  g_autofree char *link_2 = in_folder ("v-link-2.png"), *folder_2 = in_folder ("v-folder-2.png");
  g_autofree char *folder_out = in_folder ("v-folder.png");

  g_assert_cmpint (symlink ("v-3.png", link_2), ==, 0);
  g_assert_cmpint (g_mkdir (folder_2, 0700), ==, 0);
  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++)
    {
      g_autofree char *first = in_folder (wrong[i][0]), *second = in_folder (wrong[i][1]);
      g_autofree char *out = in_folder (i == 2 ? "v-link.png" : "v.png");
      g_autoptr (GBytes) before = NULL, after = NULL;
      g_autofree char *kept = in_folder (wrong[i][2]);

      before = file_load (kept);
      REFUSED (wrong[i][2], "inpaint", first, second, out, "--variants", "3", "--model", "no-model.safetensors");
      after = file_load (kept);
      g_assert_true (g_bytes_equal (before, after));
      g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
    }
  REFUSED ("v-folder-2.png", "inpaint", in, mask, folder_out, "--variants", "2", "--model", "no-model.safetensors");
  FINE ("inpaint", in_2, mask_3, in_2, "--variants", "1", QUICK); /* which OUT alone says */
}

/* Unchanged at strength 0, and further away the stronger. */
static void
test_regenerate_strength (void)
{
  static const char *const strengths[] = { "0.05", "0.15", "0.4" }; /* a model of a few seconds knows no more */
  g_autofree char         *in = make_png ("again.png", WIDTH, HEIGHT, 4, 16, 10), *out = in_folder ("again-out.png");
  g_autoptr (Image) before = image_read_png (in);
  double last = 0;

#define REGENERATE(strength) FINE ("regenerate", in, out, "--strength", strength, QUICK)
  REGENERATE ("0");
  {
    g_autoptr (Image) after = image_read_png (out);

    assert_same (before, after);
  }
  for (gsize i = 0; i < G_N_ELEMENTS (strengths); i++)
    {
      g_autoptr (Image) after = NULL;

      REGENERATE (strengths[i]);
      after = image_read_png (out);
      assert_same_form (before, after);
      g_assert_cmpfloat (image_error (before, after), >, last);
      last = image_error (before, after);
    }
}

/* A mask keeps what it does not select; structure, seed and threads do what they should. */
static void
test_regenerate_options (void)
{
  g_autofree char *in = make_png ("part.png", WIDTH, HEIGHT, 3, 8, 0), *a = in_folder ("part-a.png");
  g_autofree char *b = in_folder ("part-b.png"), *mask = make_mask ("part-mask.png", 10, 10, 30, TRUE);
  g_autoptr (Image) before = image_read_png (in), free_one = NULL, firm = NULL;
  int inside, outside;

#define HALF QUICK, "--strength", "0.7", "--mask", mask
  FINE ("regenerate", in, a, HALF, "--structure", "0", "--threads", "1");
  FINE ("regenerate", in, b, HALF, "--structure", "0", "--threads", "2");
  assert_same_file (a, b);
  FINE ("regenerate", in, b, HALF, "--structure", "1");
  free_one = image_read_png (a);
  firm = image_read_png (b);
  count_changes (before, free_one, 10, 10, 30, &inside, &outside);
  g_assert_cmpint (inside, >, 450);
  g_assert_cmpint (outside, ==, 0);
  g_assert_cmpfloat (image_error (before, firm), <, image_error (before, free_one));
}

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "inpaint/png", test_inpaint_png },
    { "inpaint/grow", test_inpaint_grow },
    { "inpaint/options", test_inpaint_options },
    { "inpaint/refused", test_inpaint_refused },
    { "inpaint/variants", test_inpaint_variants },
    { "regenerate/strength", test_regenerate_strength },
    { "regenerate/options", test_regenerate_options },
  };

  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
