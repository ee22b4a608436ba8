/* Training: samples, the optimizer, a run on a tiny set, checkpoints.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute/polar.h"
#include "net/model.h"
#include "train/train.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

typedef struct
{
  char *folder, *corpus, *model, *checkpoint;
} Fixture;

/* Pictures of coloured discs on a slope: enough structure to learn something from. */
static void
draw_picture (Random *random, int width, int height, guint8 *rgb)
{
  for (int i = 0; i < width * height * 3; i++)
    rgb[i] = (guint8) (60 + i / 3 % width * 100 / width + i % 3 * 20);
  for (int disc = 0; disc < 12; disc++)
    {
      int cx = random_int (random, 0, width), cy = random_int (random, 0, height), r = random_int (random, 4, 20),
          colour[3];

      for (int c = 0; c < 3; c++)
        colour[c] = random_int (random, 0, 256);
      for (int y = MAX (0, cy - r); y < MIN (height, cy + r); y++)
        for (int x = MAX (0, cx - r); x < MIN (width, cx + r); x++)
          if ((x - cx) * (x - cx) + (y - cy) * (y - cy) < r * r)
            for (int c = 0; c < 3; c++)
              rgb[(y * width + x) * 3 + c] = (guint8) colour[c];
    }
}

static void
set_up (Fixture *f, gconstpointer data)
{
  DiffusionCorpusWriter *writer;
  g_autofree guint8     *rgb = g_malloc (100 * 90 * 3);
  GError                *error = NULL;
  Random                 random;

  f->folder = g_dir_make_tmp ("train test XXXXXX", NULL);
  f->corpus = g_build_filename (f->folder, "set.corpus", NULL);
  f->model = g_build_filename (f->folder, "m.safetensors", NULL);
  f->checkpoint = g_strconcat (f->model, ".checkpoint", NULL);
  writer = diffusion_corpus_writer_new (f->corpus, &error);
  g_assert_no_error (error);
  random_init (&random, 1, 1);
  for (int i = 0; i < 6; i++)
    {
      draw_picture (&random, 100 - i, 90, rgb);
      g_assert_true (diffusion_corpus_writer_add (writer, 100 - i, 90, rgb, &error));
    }
  g_assert_true (diffusion_corpus_writer_finish (writer, &error));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_unlink (f->corpus);
  g_unlink (f->model);
  g_unlink (f->checkpoint);
  g_assert_cmpint (g_rmdir (f->folder), ==, 0); /* nothing else was left */
  g_free (f->folder);
  g_free (f->corpus);
  g_free (f->model);
  g_free (f->checkpoint);
}

static DiffusionTrainOptions
get_options (const Fixture *f, gint64 samples)
{
  DiffusionTrainOptions options = DIFFUSION_TRAIN_OPTIONS_INIT;

  options.corpus = f->corpus;
  options.out = f->model;
  options.architecture = (DiffusionArchitecture){ 2, { 16, 16 }, { 1, 1 } };
  options.samples = samples;
  options.batch = 8;
  options.crop = 32;
  options.learning_rate = 2e-3;
  options.threads = 1;
  options.resume = TRUE;
  return options;
}

/* ---- corpus ---- */

static void
test_corpus (Fixture *f, gconstpointer data)
{
  GError *error = NULL;
  g_autoptr (Corpus) corpus = corpus_open (f->corpus, &error);
  g_autofree char *contents = NULL;
  gsize            length;
  int              width, height, seen[6] = { 0 };
  guint8           whole[100 * 90 * 3], part[7 * 5 * 3];

  g_assert_no_error (error);
  g_assert_cmpint (corpus_count (corpus), ==, 6);
  for (int i = 0; i < 6; i++)
    {
      corpus_get_size (corpus, i, &width, &height);
      g_assert_cmpint (width, ==, 100 - i);
      g_assert_cmpint (height, ==, 90);
      g_assert_true (corpus_read (corpus, i, (DiffusionBox){ 0, 0, width, height }, whole, &error));
      g_assert_true (corpus_read (corpus, i, (DiffusionBox){ width - 7, 85, 7, 5 }, part, &error));
      for (int y = 0; y < 5; y++)
        g_assert_cmpmem (part + y * 21, 21, whole + ((85 + y) * width + width - 7) * 3, 21);
    }
  for (int i = 0; i < 1000; i++)
    seen[corpus_pick (corpus, i / 1000.0)]++;
  for (int i = 0; i < 6; i++)
    g_assert_cmpint (seen[i], >, 120);

  /* Cut anywhere, it is refused rather than read past its end. */
  g_assert_true (g_file_get_contents (f->corpus, &contents, &length, NULL));
  for (gsize cut = 0; cut < length; cut += cut < 30 ? 1 : length / 40)
    {
      g_assert_true (g_file_set_contents (f->corpus, contents, (gssize) cut, NULL));
      g_assert_null (corpus_open (f->corpus, &error));
      g_assert_nonnull (error);
      g_clear_error (&error);
    }
}

static void
cut_corpus (const DiffusionTrainReport *report, gpointer data)
{
  const Fixture *f = data;

  g_assert_cmpint (truncate (f->corpus, 40), ==, 0);
}

/* A corpus that becomes shorter while it is in use ends the training with a sentence, not with a signal. */
static void
test_shrinking_corpus (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions options = get_options (f, 100000);
  GError               *error = NULL;

  options.progress = cut_corpus;
  options.progress_data = f;
  g_assert_false (diffusion_train (&options, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE);
  g_assert_nonnull (strstr (error->message, "has become shorter"));
  g_error_free (error);
}

/* ---- samples ---- */

#define SIZE 64

/* noisy - clean has at each level the variance that the map says, or, of cameras' noise, which counts by another level,
 * more or less; levels are as the mix wants them. */
static void
test_samples (Fixture *f, gconstpointer data)
{
  g_autoptr (Corpus) corpus = corpus_open (f->corpus, NULL);
  g_autofree float *clean = g_new (float, SIZE *SIZE * 3), *noisy = g_new (float, SIZE *SIZE * 3),
                   *level = g_new (float, SIZE *SIZE);
  g_autofree float       *work = g_new (float, sample_work_size (SIZE)), *again = g_new (float, SIZE *SIZE * 3);
  const DiffusionTrainMix mixes[] = { DIFFUSION_TRAIN_DENOISE, DIFFUSION_TRAIN_INPAINT, DIFFUSION_TRAIN_STYLE };
  Sample                  sample = { SIZE, clean, noisy, level };
  int                     holes = 0, flat = 0, high = 0, middle = 0, told_less = 0, told_more = 0;

  for (int i = 0; i < 900; i++)
    {
      double sum = 0, count = 0, least = INFINITY, most = 0;
      Random random;

      random_init (&random, 5, (guint64) i);
      g_assert_true (sample_draw (corpus, FALSE, &random, mixes[i % 3], &sample, work, NULL));
      for (int p = 0; p < SIZE * SIZE; p++)
        {
          double s = (double) level[p];

          g_assert_true (s >= 0 && s <= 80);
          least = fmin (least, s);
          most = fmax (most, s);
          for (int c = 0; c < 3; c++)
            {
              double d = (double) noisy[p * 3 + c] - (double) clean[p * 3 + c];

              g_assert_true (clean[p * 3 + c] >= 0 && clean[p * 3 + c] <= 1 && isfinite (d));
              if (s > 0)
                {
                  sum += d * d / (s * s);
                  count++;
                }
              else
                g_assert_cmpfloat (d, ==, 0);
            }
        }
      /* Correlated noise has fewer independent values than pixels; what was left after compression can be below its
       * floor. */
      if (count > SIZE * SIZE && sample.half_level > 0.04f)
        g_assert_cmpfloat (sum / count, <, 1.2);
      if (count == 3 * SIZE * SIZE && least > 0.02 && sample.half_level > 0.04f)
        g_assert_cmpfloat (sum / count, >, 0.8);
      if (sample.half_level < 0.04f && least > 0.02)
        {
          g_assert_cmpfloat (sum / count, <, 3);
          g_assert_cmpfloat (sum / count, >, 0.4);
          told_less += sum / count > 1.5;
          told_more += sum / count < 0.85;
        }
      holes += least == 0 && most > 0;
      flat += least == most;
      high += most > 1;
      middle += mixes[i % 3] == DIFFUSION_TRAIN_STYLE && least == most && most > 0.02 && most <= 1;
    }
  g_assert_cmpint (holes, >, 60);
  g_assert_cmpint (flat, >, 150);
  g_assert_cmpint (high, >, 60);
  g_assert_cmpint (middle, >, 300 * 0.6);
  g_assert_cmpint (told_less, >, 10);
  g_assert_cmpint (told_more, >, 2);

  for (int twice = 0; twice < 2; twice++)
    {
      Random random;

      random_init (&random, 6, 1);
      g_assert_true (sample_draw (corpus, FALSE, &random, DIFFUSION_TRAIN_DENOISE, &sample, work, NULL));
      if (twice)
        g_assert_cmpmem (again, SIZE * SIZE * 12, noisy, SIZE * SIZE * 12);
      memcpy (again, noisy, SIZE * SIZE * 12);
    }
}

/* How often brightness goes from dark to bright or back along a row of the crop. */
static int
count_edges (const float *clean)
{
  int edges = 0;

  for (int x = 1; x < SIZE; x++)
    edges += (clean[x * 3] > 0.5f) != (clean[x * 3 - 3] > 0.5f);
  return edges;
}

/* Strokes keep their width where a style is learned; photographs are reduced and enlarged now and then. */
static void
test_reduction (Fixture *f, gconstpointer data)
{
  enum
  {
    STRIPE = 8
  };
  g_autofree char   *path = g_build_filename (f->folder, "lines.corpus", NULL);
  g_autofree guint8 *rgb = g_malloc (300 * 300 * 3);
  g_autofree float  *clean = g_new (float, SIZE *SIZE * 3), *noisy = g_new (float, SIZE *SIZE * 3),
                   *level = g_new (float, SIZE *SIZE), *work = g_new (float, sample_work_size (SIZE));
  DiffusionCorpusWriter *writer = diffusion_corpus_writer_new (path, NULL);
  g_autoptr (Corpus) corpus = NULL;
  Sample sample = { SIZE, clean, noisy, level };
  int    more[2] = { 0 }, fewer[2] = { 0 };

  /* Stripes both ways, so that each crop has some along its rows. */
  for (int i = 0; i < 300 * 300 * 3; i++)
    rgb[i] = (i / 3 % 300 / STRIPE + i / 900 / STRIPE) % 2 ? 255 : 0;
  g_assert_true (diffusion_corpus_writer_add (writer, 300, 300, rgb, NULL));
  g_assert_true (diffusion_corpus_writer_finish (writer, NULL));
  corpus = corpus_open (path, NULL);
  for (int i = 0; i < 120; i++)
    {
      Random random;
      int    edges;

      random_init (&random, 7, (guint64) i);
      g_assert_true (sample_draw (corpus, FALSE, &random, i % 2 ? DIFFUSION_TRAIN_STYLE : DIFFUSION_TRAIN_DENOISE,
                                  &sample, work, NULL));
      edges = count_edges (clean);
      more[i % 2] += edges >= SIZE / STRIPE * 3 / 2;
      fewer[i % 2] += edges <= SIZE / STRIPE * 2 / 3;
    }
  g_assert_cmpint (more[0], >, 10);
  g_assert_cmpint (fewer[0], >, 5);
  g_assert_cmpint (more[1], ==, 0);
  g_assert_cmpint (fewer[1], ==, 0);
  g_unlink (path);
}

/* How soft a crop is: the correlation of neighbouring differences in its rows, -0.5 for white noise. */
static double
measure_softness (const float *clean)
{
  double product = 0, square = 0;

  for (int y = 0; y < SIZE; y++)
    for (int i = 0; i < (SIZE - 2) * 3; i++)
      {
        const float *at = clean + y * SIZE * 3 + i;

        product += (double) (at[3] - at[0]) * (double) (at[6] - at[3]);
        square += (double) (at[3] - at[0]) * (double) (at[3] - at[0]);
      }
  return product / square;
}

/* Photographs come as sharp as the corpus is and as soft as cameras make them; strokes only as they are. */
static void
test_softness (Fixture *f, gconstpointer data)
{
  g_autofree char   *path = g_build_filename (f->folder, "grain.corpus", NULL);
  g_autofree guint8 *rgb = g_malloc (300 * 300 * 3);
  g_autofree float  *clean = g_new (float, SIZE *SIZE * 3), *noisy = g_new (float, SIZE *SIZE * 3),
                   *level = g_new (float, SIZE *SIZE), *work = g_new (float, sample_work_size (SIZE));
  DiffusionCorpusWriter *writer = diffusion_corpus_writer_new (path, NULL);
  g_autoptr (Corpus) corpus = NULL;
  Sample sample = { SIZE, clean, noisy, level };
  int    sharp[2] = { 0 }, soft[2] = { 0 }, softest[2] = { 0 };
  Random random;

  random_init (&random, 9, 0);
  for (int i = 0; i < 300 * 300 * 3; i++)
    rgb[i] = (guint8) random_int (&random, 64, 192);
  g_assert_true (diffusion_corpus_writer_add (writer, 300, 300, rgb, NULL));
  g_assert_true (diffusion_corpus_writer_finish (writer, NULL));
  corpus = corpus_open (path, NULL);
  for (int i = 0; i < 200; i++)
    {
      double softness;

      random_init (&random, 10, (guint64) i);
      g_assert_true (sample_draw (corpus, FALSE, &random, i % 2 ? DIFFUSION_TRAIN_STYLE : DIFFUSION_TRAIN_DENOISE,
                                  &sample, work, NULL));
      softness = measure_softness (clean);
      sharp[i % 2] += softness < -0.3;
      soft[i % 2] += softness > 0;
      softest[i % 2] += softness > 0.2;
    }
  g_assert_cmpint (sharp[0], >, 15);
  g_assert_cmpint (soft[0], >, 20);
  g_assert_cmpint (softest[0], >, 5);
  g_assert_cmpint (sharp[1], ==, 100);
  g_unlink (path);
}

/* Photographs to denoise get other colours now and then, within what a picture can have; what is validated on, styles
 * and fills keep their own. */
static void
test_colours (Fixture *f, gconstpointer data)
{
  enum
  {
    PICTURES = 40,
    SIDE = 80
  };
  g_autofree char   *path = g_build_filename (f->folder, "red.corpus", NULL);
  g_autofree guint8 *rgb = g_malloc (SIDE * SIDE * 3);
  g_autofree float  *clean = g_new (float, SIZE *SIZE * 3), *noisy = g_new (float, SIZE *SIZE * 3),
                   *level = g_new (float, SIZE *SIZE), *work = g_new (float, sample_work_size (SIZE));
  DiffusionCorpusWriter  *writer = diffusion_corpus_writer_new (path, NULL);
  const DiffusionTrainMix mixes[] = { DIFFUSION_TRAIN_DENOISE, DIFFUSION_TRAIN_DENOISE, DIFFUSION_TRAIN_STYLE };
  g_autoptr (Corpus) corpus = NULL;
  Sample sample = { SIZE, clean, noisy, level };
  int    turned[3] = { 0 }, strong[3] = { 0 };

  /* A red that is not strong, in stripes. */
  for (int i = 0; i < SIDE * SIDE; i++)
    for (int c = 0; c < 3; c++)
      rgb[i * 3 + c] = (guint8) ((i % 2 ? 100 : 120) + (c == 0 ? 40 : c == 1 ? 10 : 0));
  for (int i = 0; i < PICTURES; i++)
    g_assert_true (diffusion_corpus_writer_add (writer, SIDE, SIDE, rgb, NULL));
  g_assert_true (diffusion_corpus_writer_finish (writer, NULL));
  corpus = corpus_open (path, NULL);
  for (int i = 0; i < 600; i++)
    {
      double mean[3] = { 0 };
      Random random;

      random_init (&random, 8, (guint64) i);
      g_assert_true (sample_draw (corpus, i % 3 == 1, &random, mixes[i % 3], &sample, work, NULL));
      for (int p = 0; p < SIZE * SIZE * 3; p++)
        {
          g_assert_true (clean[p] >= 0 && clean[p] <= 1);
          mean[p % 3] += (double) clean[p] / (SIZE * SIZE);
        }
      turned[i % 3] += ! (mean[0] > mean[1] + 0.05 && mean[1] > mean[2]);
      strong[i % 3] += fmax (mean[0], fmax (mean[1], mean[2])) - fmin (mean[0], fmin (mean[1], mean[2])) > 0.2;
    }
  g_assert_cmpint (turned[0], >, 40);
  g_assert_cmpint (turned[0], <, 130);
  g_assert_cmpint (strong[0], >, 20);
  for (int i = 1; i < 3; i++)
    {
      g_assert_cmpint (turned[i], ==, 0);
      g_assert_cmpint (strong[i], ==, 0);
    }
  g_unlink (path);
}

/* The correlation of noise with itself `lag` pixels to the right. */
static double
correlate (const float *noise, int lag)
{
  double product = 0, square = 0;

  for (int y = 0; y < SIZE; y++)
    for (int i = 0; i < (SIZE - lag) * 3; i++)
      {
        const float *at = noise + y * SIZE * 3 + i;

        product += (double) at[0] * (double) at[lag * 3];
        square += (double) at[0] * (double) at[0];
      }
  return product / square;
}

/* The share of brightness in the noise's variance: a third where it is white. */
static double
get_luma_share (const float *noise)
{
  double luma = 0, square = 0;

  for (int i = 0; i < SIZE * SIZE; i++)
    {
      const float *n = noise + i * 3;
      double       mean = ((double) n[0] + (double) n[1] + (double) n[2]) / 3;

      luma += mean * mean * 3;
      for (int c = 0; c < 3; c++)
        square += (double) n[c] * (double) n[c];
    }
  return luma / square;
}

/* Camera noise: as strong as the map says in the dark half and in the bright one; white or smoothed, with much colour
 * or little, as cameras differ.  Photographs of the PolyU set, against their references, have correlations of 0.54 to
 * 0.84 at one pixel, and 50 to 85 % of the variance in the brightness. */
static void
test_camera (void)
{
  g_autofree float *clean = g_new (float, SIZE *SIZE * 3), *noisy = g_new (float, SIZE *SIZE * 3),
                   *level = g_new (float, SIZE *SIZE), *work = g_new (float, sample_work_size (SIZE));
  double ratios[2] = { 0 };
  int    white = 0, near = 0, far = 0, colour = 0, grey = 0;

  for (int i = 0; i < SIZE * SIZE * 3; i++)
    clean[i] = i / 3 % SIZE < SIZE / 2 ? 0.2f : 0.7f;
  for (int n = 0; n < 300; n++)
    {
      double square[2] = { 0 }, told[2] = { 0 }, lag, share;
      Random random;

      random_init (&random, 9, (guint64) n);
      camera_add_noise (&random, SIZE, 10.0 / 255, clean, noisy, level, work);
      for (int i = 0; i < SIZE * SIZE * 3; i++)
        {
          int half = i / 3 % SIZE >= SIZE / 2;

          noisy[i] -= clean[i];
          /* The map is a local mean: it mixes both near their border. */
          if (abs (i / 3 % SIZE - SIZE / 2) < 8)
            continue;
          square[half] += (double) noisy[i] * (double) noisy[i];
          told[half] += (double) level[i / 3] * (double) level[i / 3];
        }
      /* The widest noise has a dozen independent values in a half: only the mean over many draws is sure. */
      for (int half = 0; half < 2; half++)
        ratios[half] += square[half] / told[half] / 300;
      lag = correlate (noisy, 1);
      share = get_luma_share (noisy);
      white += fabs (lag) < 0.1;
      near += lag > 0.54 && lag < 0.84;
      far += correlate (noisy, 4) > 0.2;
      colour += share < 0.3;
      grey += share > 0.5;
    }
  for (int half = 0; half < 2; half++)
    g_assert_cmpfloat_with_epsilon (ratios[half], 1, 0.05);
  g_assert_cmpint (white, >, 15);
  g_assert_cmpint (near, >, 90);
  g_assert_cmpint (far, >, 20);
  g_assert_cmpint (colour, >, 20);
  g_assert_cmpint (grey, >, 60);
}

/* Black has more noise than grey after a tone curve, but not all of it. */
static void
test_toe (void)
{
  g_autofree float *clean = g_new (float, SIZE *SIZE * 3), *noisy = g_new (float, SIZE *SIZE * 3),
                   *level = g_new (float, SIZE *SIZE), *work = g_new (float, sample_work_size (SIZE));

  for (int i = 0; i < SIZE * SIZE * 3; i++)
    clean[i] = i / 3 % SIZE < SIZE / 2 ? 0.0f : 0.5f;
  for (int i = 0; i < 40; i++)
    {
      Random random;

      random_init (&random, 12, (guint64) i);
      camera_add_noise (&random, SIZE, 10 / 255.0, clean, noisy, level, work);
      g_assert_cmpfloat (level[SIZE / 2 * SIZE + SIZE / 4], <, 6 * level[SIZE / 2 * SIZE + SIZE * 3 / 4]);
    }
}

/* ---- the optimizer ---- */

/* Whatever a matrix's singular values are, its factor's are near 1: columns keep their directions and lose their sizes.
 */
static void
test_polar (void)
{
  enum
  {
    ROWS = 40,
    COLUMNS = 12
  };
  float  x[ROWS * COLUMNS], y[ROWS * COLUMNS] = { 0 }, q[COLUMNS * COLUMNS], work[POLAR_WORK (COLUMNS)];
  Random random;

  /* Waves are orthogonal; each column is 0.6 times the one before. */
  for (int r = 0; r < ROWS; r++)
    for (int c = 0; c < COLUMNS; c++)
      x[r * COLUMNS + c] = (float) (pow (0.6, c) * cos (G_PI * (r + 0.5) * (c + 1) / ROWS));
  g_assert_true (polar_find (x, ROWS, COLUMNS, q, work));
  polar_apply (x, ROWS, COLUMNS, q, -2, y);
  for (int a = 0; a < COLUMNS; a++)
    for (int b = 0; b < COLUMNS; b++)
      {
        double product = 0;

        for (int r = 0; r < ROWS; r++)
          product += 0.25 * (double) (y[r * COLUMNS + a] * y[r * COLUMNS + b]);
        if (a == b)
          {
            g_assert_cmpfloat (product, >, 0.6 * 0.6);
            g_assert_cmpfloat (product, <, 1.25 * 1.25);
            g_assert_cmpfloat (x[a] * y[a], <, 0);
          }
        else
          {
            g_assert_cmpfloat (fabs (product), <, 2e-3);
          }
      }

  /* Any other matrix: no direction is stretched or lost. */
  random_init (&random, 3, 0);
  sample_fill_normal (&random, ROWS * COLUMNS, x);
  memset (y, 0, sizeof y);
  g_assert_true (polar_find (x, ROWS, COLUMNS, q, work));
  polar_apply (x, ROWS, COLUMNS, q, 1, y);
  for (int i = 0; i < 50; i++)
    {
      float  direction[COLUMNS];
      double before = 0, after = 0;

      sample_fill_normal (&random, COLUMNS, direction);
      for (int r = 0; r < ROWS; r++)
        {
          double sum = 0;

          for (int c = 0; c < COLUMNS; c++)
            sum += (double) (y[r * COLUMNS + c] * direction[c]);
          after += sum * sum;
        }
      for (int c = 0; c < COLUMNS; c++)
        before += (double) (direction[c] * direction[c]);
      g_assert_cmpfloat (sqrt (after / before), >, 0.6);
      g_assert_cmpfloat (sqrt (after / before), <, 1.25);
    }

  memset (x, 0, sizeof x);
  g_assert_false (polar_find (x, ROWS, COLUMNS, q, work));
  for (int i = 0; i < COLUMNS * COLUMNS; i++)
    g_assert_cmpfloat (q[i], ==, 0);
}

/* Weights that were zero took one step of rate 0.01, down the gradient, and half of it into their average. */
static void
assert_steps (const Muon *muon, const float *weights, const float *average, const float *m)
{
  for (int i = 0; i < muon->n_matrices; i++)
    {
      const MuonMatrix *matrix = &muon->matrices[i];
      int               count = matrix->rows * matrix->columns;
      double            square = 0, along = 0;

      for (int k = 0; k < count; k++)
        {
          double step = (double) weights[matrix->offset + (gsize) k];

          square += step * step / count;
          along += step * (double) m[matrix->offset + (gsize) k];
          g_assert_cmpfloat_with_epsilon ((double) average[matrix->offset + (gsize) k], step / 2, 1e-7);
        }
      g_assert_cmpfloat (sqrt (square), >, 0.7 * 0.2 * 0.01);
      g_assert_cmpfloat (sqrt (square), <, 1.2 * 0.2 * 0.01);
      g_assert_cmpfloat (along, <, 0);
    }
}

/* Every parameter is either one of Muon's or left to Adam, and steps of both are of like size whatever the gradient's.
 */
static void
test_muon (void)
{
  const DiffusionArchitecture architecture = { 2, { 16, 32 }, { 1, 1 } };
  g_autoptr (NetLayout) layout = net_layout_new (&architecture, NULL);
  g_autoptr (Pool) pool = pool_new (2, NULL);
  gsize              n = layout->n_parameters;
  g_autofree float  *weights = g_new0 (float, n), *average = g_new0 (float, n), *m = g_new0 (float, n);
  g_autofree float  *v = g_new0 (float, n), *gradient = g_new0 (float, n);
  g_autofree guint8 *seen = g_new0 (guint8, n);
  Adam               adam = { n, weights, average, m, v, 0 };
  Muon              *muon = muon_new (layout, 2, NULL);
  Random             random;

  g_assert_nonnull (muon);
  /* Two of each block, one down, one up; not the first and the last. */
  g_assert_cmpint (muon->n_matrices, ==, layout->n_convs - 2);
  for (int i = 0; i < muon->n_matrices; i++)
    for (int k = 0; k < muon->matrices[i].rows * muon->matrices[i].columns; k++)
      seen[muon->matrices[i].offset + (gsize) k]++;
  for (int i = 0; i < muon->n_rest; i++)
    for (gsize k = 0; k < muon->rest[i].count; k++)
      seen[muon->rest[i].offset + k]++;
  for (gsize i = 0; i < n; i++)
    g_assert_cmpint (seen[i], ==, 1);

  for (int large = 0; large < 2; large++)
    {
      random_init (&random, 4, 0);
      sample_fill_normal (&random, n, gradient);
      for (gsize i = 0; i < n; i++)
        {
          gradient[i] *= large ? 1e3f : 1e-5f;
          weights[i] = average[i] = m[i] = 0;
        }
      muon_step (muon, &adam, pool, gradient, 1, 0.01, 0.5);
      for (int i = 0; i < muon->n_rest; i++)
        for (gsize k = 0; k < muon->rest[i].count; k++)
          g_assert_cmpfloat (weights[muon->rest[i].offset + k], ==, 0);
      assert_steps (muon, weights, average, m);
    }
  memcpy (average, weights, n * sizeof (float));
  adam_step (&adam, pool, gradient, 1, 0.01, 0.5, muon->rest, muon->n_rest);
  for (int i = 0; i < muon->n_rest; i++)
    for (gsize k = 0; k < muon->rest[i].count; k++)
      g_assert_cmpfloat (weights[muon->rest[i].offset + k], !=, 0);
  for (int i = 0; i < muon->n_matrices; i++)
    for (int k = 0; k < muon->matrices[i].rows * muon->matrices[i].columns; k++)
      {
        gsize at = muon->matrices[i].offset + (gsize) k;

        g_assert_cmpfloat (weights[at], ==, average[at]);
      }
  muon_free (muon);
}

/* Three steps worked out by hand from the paper's formulas, decay 1e-4. */
static void
test_adam (void)
{
  float  weights[2] = { 1, -1 }, average[2] = { 1, -1 }, m[2] = { 0 }, v[2] = { 0 }, first[2], second[2] = { 0.25f, 0 };
  float *gradients[2] = { first, second };
  Adam   adam = { 2, weights, average, m, v, 0 };
  g_autoptr (Pool) pool = pool_new (2, NULL);
  double w[2] = { 1, -1 }, em[2] = { 0 }, ev[2] = { 0 }, g[2] = { 0.75, -3 };

  for (int t = 1; t <= 3; t++)
    {
      first[0] = t == 1 ? 0.5f : 0.75f;
      first[1] = -3;
      g_assert_cmpfloat_with_epsilon (adam_reduce (&adam, pool, gradients, 2), sqrt (0.75 * 0.75 + 9), 1e-6);
      adam_step (&adam, pool, first, 0.5, 0.01, 0.9, &(Range){ 0, 2 }, 1);
      for (int i = 0; i < 2; i++)
        {
          em[i] = 0.9 * em[i] + 0.1 * 0.5 * g[i];
          ev[i] = 0.99 * ev[i] + 0.01 * 0.25 * g[i] * g[i];
          w[i] -= 0.01 * (em[i] / (1 - pow (0.9, t)) / (sqrt (ev[i] / (1 - pow (0.99, t))) + 1e-8) + 1e-4 * w[i]);
          g_assert_cmpfloat_with_epsilon ((double) weights[i], w[i], 1e-5);
        }
    }
  g_assert_cmpfloat (second[0], ==, 0);
  g_assert_cmpfloat_with_epsilon ((double) average[0], 1 - 0.1 * (0.01 + 0.9 * 0 + 0.019 + 0.0271), 3e-4);
}

/* ---- runs ---- */

typedef struct
{
  GCancellable *cancellable;
  gint64        cancel_at;
  double        first, last;
  gint64        samples;
} Watch;

static void
watch (const DiffusionTrainReport *report, gpointer data)
{
  Watch *w = data;

  if (w->samples == 0)
    w->first = report->loss;
  w->last = report->loss;
  w->samples = report->samples;
  if (w->cancel_at && report->samples >= w->cancel_at)
    g_cancellable_cancel (w->cancellable);
}

/* The loss of an untrained network is 1 by construction; it falls. */
static void
test_learns (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions options = get_options (f, 4000);
  Watch                 w = { 0 };
  GError               *error = NULL;
  g_autoptr (DiffusionModel) model = NULL;

  options.progress = watch;
  options.progress_data = &w;
  options.threads = 2;
  options.license = "CC0-1.0";
  diffusion_train (&options, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat_with_epsilon (w.first, 1, 0.35);
  g_assert_cmpfloat (w.last, <, 0.8);
  model = diffusion_model_load (f->model, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (diffusion_model_get_metadata (model, "samples"), ==, "4000");
  g_assert_cmpstr (diffusion_model_get_metadata (model, "license"), ==, "CC0-1.0");
}

/* Interrupted, saved, resumed: the same weights as in one go, to the last bit. */
static void
test_resume (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions options = get_options (f, 160);
  Watch                 w = { g_cancellable_new (), 80, 0, 0, 0 };
  GError               *error = NULL;
  g_autoptr (DiffusionModel) whole = NULL, halves = NULL;
  gsize size;

  g_setenv ("DIFFUSION_COMPUTE", "blas", TRUE);
  g_assert_true (diffusion_train (&options, NULL, &error));
  whole = diffusion_model_load (f->model, NULL);
  g_unlink (f->model);
  g_unlink (f->checkpoint);

  options.progress = watch;
  options.progress_data = &w;
  g_assert_false (diffusion_train (&options, w.cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
  g_assert_cmpint (w.samples, ==, 80);
  g_assert_false (g_file_test (f->model, G_FILE_TEST_EXISTS));
  g_assert_true (g_file_test (f->checkpoint, G_FILE_TEST_EXISTS));

  options.progress = NULL;
  g_assert_true (diffusion_train (&options, NULL, &error));
  halves = diffusion_model_load (f->model, NULL);
  size = diffusion_model_count_parameters (whole) * sizeof (float);
  g_assert_cmpmem (model_get_weights (whole), size, model_get_weights (halves), size);
  g_object_unref (w.cancellable);
  g_unsetenv ("DIFFUSION_COMPUTE");
}

/* Fine-tuning starts where the other model stands, in its shape. */
static void
test_from (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions       options = get_options (f, 8);
  g_autofree char            *base = g_build_filename (f->folder, "base.safetensors", NULL);
  const DiffusionArchitecture shape = { 1, { 24 }, { 1 } };
  g_autoptr (DiffusionModel) from = diffusion_model_new (&shape, 3, NULL), model = NULL;
  GError *error = NULL;
  double  difference = 0;

  g_assert_true (diffusion_model_save (from, base, NULL));
  options.from = base;
  options.architecture = (DiffusionArchitecture){ 0 };
  options.learning_rate = 1e-6;
  g_assert_true (diffusion_train (&options, NULL, &error));
  model = diffusion_model_load (f->model, &error);
  g_assert_cmpmem (diffusion_model_get_architecture (model), sizeof shape, &shape, sizeof shape);
  for (gsize i = 0; i < diffusion_model_count_parameters (model); i++)
    difference = fmax (difference, fabs ((double) model_get_weights (model)[i] - (double) model_get_weights (from)[i]));
  g_assert_cmpfloat (difference, <, 1e-3);
  g_unlink (base);
}

/* Stripes: what the discs' model has never seen. */
static void
write_stripes (const char *path, int count)
{
  DiffusionCorpusWriter *writer = diffusion_corpus_writer_new (path, NULL);
  g_autofree guint8     *rgb = g_malloc (80 * 80 * 3);

  for (int i = 0; i < count; i++)
    {
      for (int p = 0; p < 80 * 80; p++)
        for (int c = 0; c < 3; c++)
          rgb[p * 3 + c] = (guint8) ((p % 80 + p / 80 + 3 * i) / 4 % 2 ? 230 - 60 * c : 20 + 50 * c);
      g_assert_true (diffusion_corpus_writer_add (writer, 80, 80, rgb, NULL));
    }
  g_assert_true (diffusion_corpus_writer_finish (writer, NULL));
}

typedef struct
{
  int    calls;
  double first, last;
  gint64 samples;
} Stock;

static void
take_stock (const DiffusionModel *model, const DiffusionTrainReport *report, gpointer data)
{
  Stock *stock = data;

  g_assert_true (isfinite (report->validation));
  g_assert_cmpint (diffusion_model_count_parameters (model), >, 0);
  g_assert_nonnull (diffusion_model_get_metadata (model, "samples"));
  if (stock->calls++ == 0)
    stock->first = report->validation;
  stock->last = report->validation;
  stock->samples = report->samples;
}

/* A style: a model of one set, tuned on another, knows the pictures of that which it was not shown better than before;
 * it was measured before the first step and after the last. */
static void
test_style (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions options = get_options (f, 2400);
  g_autofree char      *base = g_build_filename (f->folder, "base.safetensors", NULL);
  g_autofree char      *stripes = g_build_filename (f->folder, "stripes.corpus", NULL);
  g_autofree char      *checkpoint = g_strconcat (base, ".checkpoint", NULL);
  g_autoptr (DiffusionModel) model = NULL;
  Stock   stock = { 0 };
  GError *error = NULL;

  write_stripes (stripes, HELD_OUT_LEAST);
  options.threads = 2;
  options.out = base;
  g_assert_true (diffusion_train (&options, NULL, &error));
  options.out = f->model;
  options.from = base;
  options.corpus = stripes;
  options.mix = DIFFUSION_TRAIN_STYLE;
  options.on_stock = take_stock;
  options.stock_data = &stock;
  g_assert_true (diffusion_train (&options, NULL, &error));
  g_assert_cmpint (stock.calls, ==, 2);
  g_assert_cmpint (stock.samples, ==, 2400);
  g_test_message ("validation loss %.3f, then %.3f", stock.first, stock.last);
  g_assert_cmpfloat (stock.last, <, 0.7 * stock.first);
  model = diffusion_model_load (f->model, &error);
  g_assert_cmpstr (diffusion_model_get_metadata (model, "mix"), ==, "style");
  g_unlink (base);
  g_unlink (checkpoint);
  g_unlink (stripes);
}

/* ---- several ranks ---- */

#define RANKS 2

/* Ranks that are threads of this process: each sum is one meeting of all. */
typedef struct
{
  GMutex   mutex;
  GCond    cond;
  int      present;
  gboolean complete; /* all have come, not all have gone */
  double  *sums;
  gsize    count;
} Meeting;

/* Of two values the sum is the same whoever comes first. */
static void
meet (Meeting *meeting, double *values, gsize count)
{
  g_mutex_lock (&meeting->mutex);
  while (meeting->complete)
    g_cond_wait (&meeting->cond, &meeting->mutex);
  if (meeting->present++ == 0)
    {
      meeting->sums = g_new0 (double, count);
      meeting->count = count;
    }
  g_assert_cmpint (count, ==, meeting->count); /* all ask for the same sums in the same order */
  for (gsize i = 0; i < count; i++)
    meeting->sums[i] += values[i];
  meeting->complete = meeting->present == RANKS;
  g_cond_broadcast (&meeting->cond);
  while (! meeting->complete)
    g_cond_wait (&meeting->cond, &meeting->mutex);
  memcpy (values, meeting->sums, count * sizeof (double));
  if (--meeting->present == 0)
    {
      g_clear_pointer (&meeting->sums, g_free);
      meeting->complete = FALSE;
      g_cond_broadcast (&meeting->cond);
    }
  g_mutex_unlock (&meeting->mutex);
}

static gboolean
sum_doubles (double *values, gsize count, gpointer data, GError **error)
{
  meet (data, values, count);
  return TRUE;
}

static gboolean
sum_floats (float *values, gsize count, gpointer data, GError **error)
{
  g_autofree double *wide = g_new (double, count);

  for (gsize i = 0; i < count; i++)
    wide[i] = (double) values[i];
  meet (data, wide, count);
  for (gsize i = 0; i < count; i++)
    values[i] = (float) wide[i];
  return TRUE;
}

typedef struct
{
  DiffusionTrainOptions options;
  GCancellable         *cancellable; /* NULL: not to be cancelled */
  gboolean              stopped;
} Rank;

static gpointer
train_rank (gpointer data)
{
  Rank *rank = data;
  g_autoptr (GError) error = NULL;

  rank->stopped = ! diffusion_train (&rank->options, rank->cancellable, &error);
  if (rank->stopped)
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  return NULL;
}

/* The weights in full precision; the model has halves, in which two that hardly differ can be far apart. */
static float *
load_weights (const Fixture *f, const DiffusionTrainOptions *options, gsize *count)
{
  g_autoptr (NetLayout) layout = net_layout_new (&options->architecture, NULL);
  gsize    n = *count = layout->n_parameters;
  float   *weights = g_new (float, n * 4);
  Adam     adam = { n, weights, weights + n, weights + 2 * n, weights + 3 * n, 0 };
  Progress progress;

  g_assert_true (checkpoint_load (f->checkpoint, layout, &adam, &progress, NULL));
  return weights;
}

/* Runs all ranks; watch->cancel_at: rank 0 is cancelled there, which must end the others too. */
static void
run_ranks (const DiffusionTrainOptions *alone, Watch *watching)
{
  Meeting  meeting = { 0 };
  Rank     ranks[RANKS];
  GThread *threads[RANKS];

  for (int i = 0; i < RANKS; i++)
    {
      ranks[i] = (Rank){ *alone, i ? NULL : watching->cancellable, FALSE };
      ranks[i].options.batch /= RANKS;
      ranks[i].options.progress_data = i ? NULL : watching; /* only rank 0 reports */
      if (i)
        ranks[i].options.out = "/nowhere/at all.safetensors"; /* where no checkpoint is, and none is written */
      ranks[i].options.team = (DiffusionTeam){ i, RANKS, sum_floats, sum_doubles, &meeting };
      threads[i] = g_thread_new ("rank", train_rank, &ranks[i]);
    }
  for (int i = 0; i < RANKS; i++)
    {
      g_thread_join (threads[i]);
      g_assert_cmpint (ranks[i].stopped, ==, watching->cancel_at > 0);
    }
}

/* Two ranks reach what one with twice the batch reaches: the same loss, and the same weights to the rounding of sums;
 * also when they are interrupted and go on from a checkpoint that only rank 0 has. */
static void
test_team (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions alone = get_options (f, 320);
  Watch                 one = { 0 }, half = { g_cancellable_new (), 160, 0, 0, 0 }, two = { 0 };
  g_autofree float     *wanted = NULL, *weights = NULL;
  double                difference = 0, length = 0;
  gsize                 count;

  g_setenv ("DIFFUSION_COMPUTE", "blas", TRUE);
  alone.progress = watch;
  alone.progress_data = &one;
  g_assert_true (diffusion_train (&alone, NULL, NULL));
  wanted = load_weights (f, &alone, &count);
  g_unlink (f->model);
  g_unlink (f->checkpoint);

  if (GPOINTER_TO_INT (data))
    {
      run_ranks (&alone, &half);
      g_assert_cmpint (half.samples, ==, 160);
      g_assert_false (g_file_test (f->model, G_FILE_TEST_EXISTS));
    }
  run_ranks (&alone, &two);
  g_unsetenv ("DIFFUSION_COMPUTE");
  weights = load_weights (f, &alone, &count);
  for (gsize i = 0; i < count; i++)
    {
      difference += pow ((double) weights[i] - (double) wanted[i], 2);
      length += (double) wanted[i] * (double) wanted[i];
    }
  g_test_message ("loss %.7f and %.7f, weights differ by %.2g", one.last, two.last, sqrt (difference / length));
  g_assert_cmpint (two.samples, ==, 320);
  g_assert_cmpfloat_with_epsilon (two.last, one.last, 1e-6);
  g_assert_cmpfloat (sqrt (difference / length), <, 1e-5);
  g_object_unref (half.cancellable);
}

static void
test_refuses (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions options;
  g_autofree char      *other = NULL;
  GError               *error = NULL;

#define REFUSE(change, domain, code)                                                                                   \
  options = get_options (f, 8);                                                                                        \
  change;                                                                                                              \
  g_assert_false (diffusion_train (&options, NULL, &error));                                                           \
  g_assert_error (error, domain, code);                                                                                \
  g_clear_error (&error);                                                                                              \
  g_assert_false (g_file_test (f->model, G_FILE_TEST_EXISTS))

  REFUSE (options.corpus = "/nowhere/at all.corpus", DIFFUSION_ERROR, DIFFUSION_ERROR_FILE);
  REFUSE (options.batch = 0, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  REFUSE (options.crop = 30, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  REFUSE (options.learning_rate = NAN, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  REFUSE (options.samples = 0, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  REFUSE (options.out = "/nowhere/at/all.safetensors", DIFFUSION_ERROR, DIFFUSION_ERROR_FILE);
  REFUSE (options.from = f->corpus, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);

  /* A model to start from, of another shape. */
  options = get_options (f, 8);
  g_assert_true (diffusion_train (&options, NULL, NULL));
  other = g_strconcat (f->model, ".other", NULL);
  g_assert_cmpint (g_rename (f->model, other), ==, 0);
  g_unlink (f->checkpoint);
  REFUSE ((options.from = other, options.architecture.width[0] = 24), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_unlink (other);

  /* A checkpoint of another shape, or a broken one. */
  options = get_options (f, 8);
  g_assert_true (diffusion_train (&options, NULL, NULL));
  g_unlink (f->model);
  REFUSE (options.architecture.width[0] = 24, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_assert_true (g_file_set_contents (f->checkpoint, "broken", -1, NULL));
  REFUSE (options.samples = 16, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/train/corpus", Fixture, NULL, set_up, test_corpus, tear_down);
  g_test_add ("/train/shrinking-corpus", Fixture, NULL, set_up, test_shrinking_corpus, tear_down);
  g_test_add ("/train/samples", Fixture, NULL, set_up, test_samples, tear_down);
  g_test_add ("/train/colours", Fixture, NULL, set_up, test_colours, tear_down);
  g_test_add ("/train/reduction", Fixture, NULL, set_up, test_reduction, tear_down);
  g_test_add ("/train/softness", Fixture, NULL, set_up, test_softness, tear_down);
  g_test_add_func ("/train/camera", test_camera);
  g_test_add_func ("/train/toe", test_toe);
  g_test_add_func ("/train/adam", test_adam);
  g_test_add_func ("/train/polar", test_polar);
  g_test_add_func ("/train/muon", test_muon);
  g_test_add ("/train/learns", Fixture, NULL, set_up, test_learns, tear_down);
  g_test_add ("/train/resume", Fixture, NULL, set_up, test_resume, tear_down);
  g_test_add ("/train/from", Fixture, NULL, set_up, test_from, tear_down);
  g_test_add ("/train/style", Fixture, NULL, set_up, test_style, tear_down);
  g_test_add ("/train/team/whole", Fixture, GINT_TO_POINTER (FALSE), set_up, test_team, tear_down);
  g_test_add ("/train/team/resumed", Fixture, GINT_TO_POINTER (TRUE), set_up, test_team, tear_down);
  g_test_add ("/train/refuses", Fixture, NULL, set_up, test_refuses, tear_down);
  return g_test_run ();
}
