/* gimp-diffusion: tests of the program `diffusion`: training
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

static void
test_train_no_pictures (void)
{
  g_autofree char *empty = in_folder ("empty"), *missing = in_folder ("nowhere"), *out = in_folder ("none.safetensors");
  g_autofree char *text = g_build_filename (empty, "text.jpg", NULL), *small = in_folder ("empty/small.png");

  g_assert_cmpint (g_mkdir (empty, 0755), ==, 0);
  REFUSED ("holds no pictures", "train", "--data", empty, "--out", out, "--samples", "64", TINY);
  REFUSED ("does not exist", "train", "--data", empty, "--out", "/nonexistent/m.safetensors", "--samples", "64", TINY);
  REFUSED ("nowhere", "train", "--data", missing, "--out", out, "--samples", "64", TINY);
  g_free (make_png ("empty/small.png", 31, 90, 3, 8, 0));
  file_store (text, "not a picture", 13);
  {
    g_auto (Result) result = RUN ("train", "--data", empty, "--out", out, "--samples", "64", TINY);

    g_assert_cmpint (result.status, ==, 1);
    g_assert_nonnull (strstr (result.err, "text.jpg")); /* what cannot be read is named */
    g_assert_nonnull (strstr (result.err, "small.png\" has 31 x 90 pixels"));
    g_assert_nonnull (strstr (result.err, "1 smaller than 32"));
  }
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
  g_free (make_png ("empty/usable.png", 64, 64, 3, 8, 0));
  {
    /* The others are named, and training goes on without them. */
    g_auto (Result) result = RUN ("train", "--data", empty, "--out", out, "--samples", "16", TINY);

    g_assert_cmpint (result.status, ==, 0);
    g_assert_nonnull (strstr (result.err, "text.jpg"));
    g_assert_nonnull (strstr (result.err, "small.png"));
    g_assert_null (strstr (result.err, "usable.png"));
    g_assert_nonnull (strstr (result.out, "packed: 1 pictures"));
    g_assert_nonnull (strstr (result.out, " left\n"));
  }
  g_assert_true (g_file_test (out, G_FILE_TEST_EXISTS));
}

static void
test_train_cache (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("cached.safetensors"),
                  *corpus = in_folder ("own.corpus");
  g_autofree char *first = NULL, *second = NULL;

  first = OUTPUT ("pack", pictures, corpus);
  g_assert_nonnull (strstr (first, "packed: 3 pictures"));
  g_assert_true (g_file_test (corpus, G_FILE_TEST_EXISTS));
  get_model ();
  second = OUTPUT ("train", "--data", pictures, "--out", out, "--samples", "64", TINY);
  g_assert_null (strstr (second, "packed:")); /* done when the tiny model was trained */
  g_assert_nonnull (strstr (second, "loss "));
  g_assert_nonnull (strstr (second, "trained: "));
  /* A packed corpus is no folder that could not be opened. */
  {
    g_auto (Result) result = RUN ("train", "--data", corpus, "--out", out, "--samples", "64", TINY);

    g_assert_nonnull (strstr (result.out, "trained: "));
    g_assert_null (strstr (result.err, "skipped"));
  }
}

/* A folder that changes is packed anew, and takes the place of what it was; a training's own pictures in it are none to
 * learn from. */
static void
test_train_cache_changes (void)
{
  g_autofree char *pictures = in_folder ("changing"), *out = in_folder ("changing.safetensors"),
                  *cache = in_folder ("gimp-diffusion"), *more = g_build_filename (pictures, "more.png", NULL),
                  *inside = g_build_filename (pictures, "inside.safetensors", NULL),
                  *curve = g_build_filename (pictures, "inside.progress", "curve.png", NULL), *again = NULL,
                  *resumed = NULL;
  g_autoptr (Image) image = image_make (64, 64, 3, 8, 0, 9);
  int before;

  g_assert_cmpint (g_mkdir (pictures, 0755), ==, 0);
  for (int i = 0; i < 2; i++)
    {
      g_autofree char *name = g_strdup_printf ("%d.png", i), *path = g_build_filename (pictures, name, NULL);

      image_write_png (image, path);
    }
  FINE ("train", "--data", pictures, "--out", out, "--samples", "8", TINY);
  before = count_entries (cache);
  image_write_png (image, more);
  again = OUTPUT ("train", "--data", pictures, "--out", out, "--samples", "8", TINY);
  g_assert_nonnull (strstr (again, "packed: 3 pictures"));
  g_assert_cmpint (count_entries (cache), ==, before);

  FINE ("train", "--data", pictures, "--out", inside, "--samples", "8", TINY);
  g_assert_true (g_file_test (curve, G_FILE_TEST_EXISTS));
  resumed = OUTPUT ("train", "--data", pictures, "--out", inside, "--samples", "16", "--resume", TINY);
  g_assert_null (strstr (resumed, "packed:"));
}

/* Who watches a terminal sees a bar, and how long it will take. */
static void
test_train_bar (void)
{
  g_autofree char *python = g_find_program_in_path ("python3"), *pictures = get_pictures (),
                  *out = in_folder ("watched.safetensors");
  const char *const terminal[]
      = { python, "-c", "import os, pty, sys; sys.exit (os.waitstatus_to_exitcode (pty.spawn (sys.argv[1:])))", NULL };
  const char *const narrow[]
      = { python, "-c",
          "import os, pty, sys; sys.exit (os.waitstatus_to_exitcode (pty.spawn (['sh', '-c', 'stty cols 80; \"$@\"', "
          "'sh', *sys.argv[1:]])))",
          NULL };
  const char *const arguments[] = { "train", "--data", pictures, "--out", out, "--samples", "400", TINY, NULL };
  g_auto (Result) result = { 0 }, narrowed = { 0 };
  g_auto (GStrv) lines = NULL;
  int bars = 0;

  if (! python)
    {
      g_test_skip ("needs python3");
      return;
    }
  result = run_under (terminal, arguments);
  g_assert_cmpint (result.status, ==, 0);
  g_assert_true (
      g_regex_match_simple ("\r[^\r\n]*\\[#*-+\\] +\\d+ %  loss .* \\d+:\\d\\d:\\d\\d left", result.out, 0, 0));

  /* What does not fit is left out: the next line could not wipe out what a terminal has broken off. */
  narrowed = run_under (narrow, arguments);
  g_assert_cmpint (narrowed.status, ==, 0);
  lines = g_strsplit_set (narrowed.out, "\r\n", -1);
  for (int i = 0; lines[i]; i++)
    if (strstr (lines[i], " left"))
      {
        g_assert_cmpuint (strlen (lines[i]) - strlen ("\033[K"), <, 80);
        bars++;
      }
  g_assert_cmpint (bars, >, 0);
}

static double
count_samples (const char *model)
{
  g_autofree char *printed = OUTPUT ("info", model);

  return get_value (printed, "samples: ");
}

/* The samples along the training's curve, which must be ever more. */
static int
count_points (const char *csv)
{
  g_autofree char *text = NULL;
  g_auto (GStrv) lines = NULL;
  double before = -1;
  int    count = 0;

  g_assert_true (g_file_get_contents (csv, &text, NULL, NULL));
  lines = g_strsplit (g_strstrip (text), "\n", -1);
  for (; lines[count + 1]; count++)
    {
      const double samples = g_ascii_strtod (lines[count + 1], NULL);

      g_assert_cmpfloat (samples, >, before);
      before = samples;
    }
  return count;
}

static void
test_train_resume (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("resumed.safetensors"),
                  *checkpoint = in_folder ("resumed.safetensors.checkpoint"),
                  *csv = in_folder ("resumed.progress/curve.csv");
  double first, second;

  FINE ("train", "--data", pictures, "--out", out, "--samples", "400", TINY, "--license", "CC0-1.0");
  first = count_samples (out);
  FINE ("train", "--data", pictures, "--out", out, "--samples", "1200", "--resume", TINY);
  second = count_samples (out);
  g_test_message ("%g, then %g samples", first, second);
  g_assert_cmpfloat (first, >=, 400);
  g_assert_cmpfloat (first, <, 1200);
  g_assert_cmpfloat (second, >=, 1200);
  g_assert_cmpint (count_points (csv), >=, 2);

  /* Without the checkpoint it begins anew, and so does its curve. */
  g_assert_cmpint (g_remove (checkpoint), ==, 0);
  FINE ("train", "--data", pictures, "--out", out, "--samples", "400", "--resume", TINY);
  g_assert_cmpint (count_points (csv), >=, 1);
}

/* A model that is trained further under its own name: what it had seen counts once, however often it is resumed. */
static void
test_train_further (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("further.safetensors");
  double           before;

#define FURTHER "train", "--data", pictures, "--from", out, "--out", out, "--crop", "32", "--batch", "8"
  FINE ("train", "--data", pictures, "--out", out, "--samples", "400", TINY);
  before = count_samples (out);
  FINE (FURTHER, "--samples", "64");
  g_assert_cmpfloat (count_samples (out), ==, before + 64);
  FINE (FURTHER, "--samples", "128", "--resume");
  g_assert_cmpfloat (count_samples (out), ==, before + 128);
}

/* To forget --resume costs nothing that is not to be had again. */
static void
test_train_afresh (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("afresh.safetensors"),
                  *checkpoint = in_folder ("afresh.safetensors.checkpoint"),
                  *aside = in_folder ("afresh.safetensors.checkpoint.old"), *trained = NULL, *kept = NULL;
  gsize size, kept_size;

  FINE ("train", "--data", pictures, "--out", out, "--samples", "64", TINY);
  g_assert_false (g_file_test (aside, G_FILE_TEST_EXISTS));
  g_assert_true (g_file_get_contents (checkpoint, &trained, &size, NULL));
  FINE ("train", "--data", pictures, "--out", out, "--samples", "64", TINY);
  g_assert_true (g_file_get_contents (aside, &kept, &kept_size, NULL));
  g_assert_cmpmem (trained, size, kept, kept_size);
}

static void
test_train_from (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("tuned.safetensors"), *printed = NULL;

  FINE ("train", "--data", pictures, "--out", out, "--samples", "64", "--from", get_model (), "--crop", "32", "--mix",
        "inpaint", "--license", "CC0-1.0", "--data-note", "waves");
  printed = OUTPUT ("info", out);
  g_assert_nonnull (strstr (printed, "widths: 8,16\n"));
  g_assert_nonnull (strstr (printed, "CC0-1.0"));
  g_assert_nonnull (strstr (printed, "waves"));
  REFUSED ("--from", "train", "--data", pictures, "--out", out, "--from", get_model (), "--widths", "8,8");
}

static char **
read_lines (const char *path)
{
  g_autofree char *text = NULL;

  g_assert_true (g_file_get_contents (path, &text, NULL, NULL));
  return g_strsplit (text, "\n", -1);
}

/* A style with blocks of its own goes on from a trained model all the same. */
static void
test_train_style_blocks (void)
{
  g_autofree char *pictures = get_pictures (), *printed = NULL;

  FINE ("train", "--data", pictures, "--style", "deeper", "--blocks", "2,2,5", "--crop", "32", "--samples", "8");
  printed = OUTPUT ("info", "deeper");
  g_assert_cmpfloat (get_value (printed, "samples: "), >, 1000);
}

/* A style: trained from a folder, named, and found by that name afterwards.  Its curve goes on when it is resumed. */
static void
test_train_style (void)
{
  g_autofree char *pictures = get_pictures (), *try = make_png ("try.png", 64, 48, 3, 8, 0), *first = NULL,
                  *printed = NULL;
  g_autofree char *progress = in_folder ("gimp-diffusion/models/waves.progress");
  g_autofree char *csv = g_build_filename (progress, "curve.csv", NULL),
                  *curve = g_build_filename (progress, "curve.png", NULL);
  g_autofree char *before = g_build_filename (progress, "samples-0000000.png", NULL),
                  *after = g_build_filename (progress, "samples-0000064.png", NULL);
  g_auto (GStrv) lines = NULL, longer = NULL;
  g_autoptr (Image) plot = NULL, untrained = NULL, trained = NULL;
  int blue = 0;

#define STYLE                                                                                                          \
  "train", "--data", pictures, "--style", "waves", "--from", get_model (), "--crop", "32", "--try", try, "--threads",  \
      "2"
  first = OUTPUT (STYLE, "--samples", "64");
  g_assert_nonnull (strstr (first, "waves.progress"));
  printed = OUTPUT ("info", "waves");
  g_assert_nonnull (strstr (printed, "mix: style"));
  g_assert_nonnull (strstr (printed, "8 crops of 32"));
  lines = read_lines (csv);
  g_assert_cmpstr (lines[0], ==, "samples,minutes,loss,validation");
  g_assert_true (g_str_has_prefix (lines[1], "0,"));
  g_assert_true (g_str_has_prefix (lines[2], "64,"));
  g_assert_cmpint (g_strv_length (lines), ==, 4);

  plot = image_read_png (curve);
  for (gsize i = 0; i < image_count (plot); i += 3)
    blue += plot->data[i] == 0 && plot->data[i + 1] == 114 && plot->data[i + 2] == 178;
  g_assert_cmpint (blue, >, 200);
  untrained = image_read_png (before);
  trained = image_read_png (after);
  g_assert_cmpint (trained->width, >, 5 * 64);
  g_assert_cmpfloat (image_error (untrained, trained), >, 0);

  FINE (STYLE, "--samples", "128", "--resume");
  longer = read_lines (csv);
  g_assert_cmpint (g_strv_length (longer), ==, 5);
  for (int i = 1; i < 3; i++)
    g_assert_true (g_str_has_prefix (longer[i], i == 1 ? "0," : "64,"));
  g_assert_true (g_str_has_prefix (longer[3], "128,"));
  REFUSED ("--style", "train", "--data", pictures, "--style", "a/b", "--samples", "64");
  REFUSED ("--style", "train", "--data", pictures, "--style", "default", "--samples", "64");
  REFUSED ("--style", "train", "--data", pictures, "--style", "inpaint", "--samples", "64");
  REFUSED ("--style", "train", "--data", pictures, "--style", "painting", "--samples", "64");
  REFUSED ("--style", "train", "--data", pictures, "--style", "drawing", "--samples", "64");
  REFUSED ("nothing.png", STYLE, "--samples", "64", "--try", "nothing.png");
}

/* Cairo draws no pictures of more than 32767 pixels: samples are made of the folder's next one, and whoever asks for
 * such a one is told which it is. */
static void
test_train_wide (void)
{
  g_autofree char *pictures = in_folder ("wide"), *out = in_folder ("wide.safetensors"),
                  *path = in_folder ("wide.progress/samples-0000000.png"), *wide = NULL;
  g_autoptr (Image) row = NULL;

  g_assert_cmpint (g_mkdir (pictures, 0755), ==, 0);
  wide = make_png ("wide/a.png", 32768, 32, 1, 8, 0);
  g_free (make_png ("wide/b.png", 64, 48, 3, 8, 0));
  FINE ("train", "--data", pictures, "--out", out, "--samples", "8", TINY);
  row = image_read_png (path);
  g_assert_cmpint (row->width, ==, 5 * 64 + 6 * 10);
  REFUSED ("a.png\" has 32768 x 32 pixels", "train", "--data", pictures, "--out", out, "--samples", "8", "--try", wide,
           TINY);
}

/* A denoiser's samples: the picture, with noise of 25 and 50 (of which clipping takes some), and without it. */
static void
test_train_samples (void)
{
  g_autofree char *pictures = get_pictures (), *try = make_png ("tried.png", 64, 48, 3, 8, 0),
                  *out = in_folder ("tried.safetensors"), *path = in_folder ("tried.progress/samples-0000000.png");
  g_autoptr (Image) row = NULL;
  double square[5] = { 0 };

  FINE ("train", "--data", pictures, "--out", out, "--samples", "8", "--try", try, TINY);
  row = image_read_png (path);
  g_assert_cmpint (row->width, ==, 5 * 64 + 6 * 10);
  for (int panel = 1; panel < 5; panel++)
    for (int i = 0; i < 48 * 64 * 3; i++)
      {
        const guint16 *pixel = row->data + ((10 + i / (64 * 3)) * row->width + 10) * 3 + i % (64 * 3);
        double         difference = pixel[panel * (64 + 10) * 3] - pixel[0];

        square[panel] += difference * difference / (48 * 64 * 3);
      }
  g_assert_cmpfloat_with_epsilon (sqrt (square[1]), 25, 2);
  g_assert_cmpfloat_with_epsilon (sqrt (square[3]), 48, 4);
  g_assert_cmpfloat (fabs (sqrt (square[2]) - sqrt (square[1])), >, 1);
}

static void
test_train_interrupted (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("stopped.safetensors"), *err = NULL, *line = NULL;
  g_autofree char *checkpoint = g_strconcat (out, ".checkpoint", NULL);
  g_autoptr (GSubprocess) process = start_with (
      (const char *const[]){ "train", "--data", pictures, "--out", out, "--minutes", "9", TINY, NULL }, 0);
  g_autoptr (GDataInputStream) stream = g_data_input_stream_new (g_subprocess_get_stdout_pipe (process));

  do /* until training has begun */
    {
      g_free (line);
      line = g_data_input_stream_read_line (stream, NULL, NULL, NULL);
      g_assert_nonnull (line);
    }
  while (! g_str_has_prefix (line, "loss "));
  g_usleep (G_USEC_PER_SEC / 2);
  g_subprocess_send_signal (process, SIGINT);
  g_subprocess_communicate_utf8 (process, NULL, NULL, NULL, &err, NULL);
  g_assert_true (g_subprocess_get_if_exited (process));
  g_assert_cmpint (g_subprocess_get_exit_status (process), ==, 1);
  g_assert_nonnull (strstr (err, "--resume"));
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
  g_assert_true (g_file_test (checkpoint, G_FILE_TEST_EXISTS));
  /* More samples than that were seen before the signal: resuming only has to write the model. */
  FINE ("train", "--data", pictures, "--out", out, "--samples", "16", "--resume", TINY);
  g_assert_cmpfloat (count_samples (out), >, 16);
}

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "train/no-pictures", test_train_no_pictures },
    { "train/cache", test_train_cache },
    { "train/cache-changes", test_train_cache_changes },
    { "train/bar", test_train_bar },
    { "train/resume", test_train_resume },
    { "train/further", test_train_further },
    { "train/afresh", test_train_afresh },
    { "train/from", test_train_from },
    { "train/style", test_train_style },
    { "train/style-blocks", test_train_style_blocks },
    { "train/samples", test_train_samples },
    { "train/wide", test_train_wide },
    { "train/interrupted", test_train_interrupted },
  };

  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
