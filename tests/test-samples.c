/* What one sample of a training is: crops and noise.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "discs.h"
#include "train/train.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

#define SIZE 64

typedef struct
{
  char   *folder, *path;
  Corpus *corpus; /* NULL until there are pictures */
  Sample  sample;
  float  *work;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->folder = g_dir_make_tmp ("samples test XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "set.corpus", NULL);
  f->sample
      = (Sample){ SIZE, g_new (float, SIZE *SIZE * 3), g_new (float, SIZE *SIZE * 3), g_new (float, SIZE *SIZE), 0 };
  f->work = g_new (float, sample_work_size (SIZE));
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_clear_pointer (&f->corpus, corpus_free);
  g_unlink (f->path);
  g_assert_cmpint (g_rmdir (f->folder), ==, 0);
  g_free (f->folder);
  g_free (f->path);
  g_free (f->sample.clean);
  g_free (f->sample.noisy);
  g_free (f->sample.level);
  g_free (f->work);
}

/* A corpus of so many pictures that are all the same; draw () takes crops of it from then on. */
static void
fill_corpus (Fixture *f, int count, int width, int height, const guint8 *rgb)
{
  DiffusionCorpusWriter *writer = diffusion_corpus_writer_new (f->path, NULL);

  for (int i = 0; i < count; i++)
    g_assert_true (diffusion_corpus_writer_add (writer, width, height, rgb, NULL));
  g_assert_true (diffusion_corpus_writer_finish (writer, NULL));
  f->corpus = corpus_open (f->path, NULL);
}

static void
draw (Fixture *f, gboolean held_out, DiffusionTrainMix mix, guint64 seed, guint64 index)
{
  Random random;

  random_init (&random, seed, index);
  g_assert_true (sample_draw (f->corpus, held_out, &random, mix, &f->sample, f->work, NULL));
}

static void
draw_camera (Fixture *f, guint64 seed, guint64 index)
{
  Random random;

  random_init (&random, seed, index);
  camera_add_noise (&random, SIZE, 10.0 / 255, f->sample.clean, f->sample.noisy, f->sample.level, f->work);
}

/* ---- crops ---- */

/* noisy - clean has at each level the variance that the map says, or, of cameras' noise, which counts by another level,
 * more or less; each mix has its kinds of levels. */
static void
test_samples (Fixture *f, gconstpointer data)
{
  g_autofree guint8      *rgb = g_malloc (100 * 90 * 3);
  g_autofree float       *again = g_new (float, SIZE *SIZE * 3);
  const float            *clean = f->sample.clean, *noisy = f->sample.noisy, *level = f->sample.level;
  const DiffusionTrainMix mixes[] = { DIFFUSION_TRAIN_DENOISE, DIFFUSION_TRAIN_INPAINT, DIFFUSION_TRAIN_STYLE };
  int                     holes = 0, flat = 0, high = 0, middle = 0, told_less = 0, told_more = 0;
  Random                  random;

  random_init (&random, 1, 1);
  draw_discs (&random, 100, 90, rgb);
  fill_corpus (f, 1, 100, 90, rgb);
  for (int i = 0; i < 900; i++)
    {
      double sum = 0, count = 0, least = INFINITY, most = 0;

      draw (f, FALSE, mixes[i % 3], 5, (guint64) i);
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
      if (count > SIZE * SIZE && f->sample.kind != MAP_CAMERA)
        g_assert_cmpfloat (sum / count, <, 1.2);
      if (count == 3 * SIZE * SIZE && least > 0.02 && f->sample.kind != MAP_CAMERA)
        g_assert_cmpfloat (sum / count, >, 0.8);
      if (f->sample.kind == MAP_CAMERA && least > 0.02)
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
      draw (f, FALSE, DIFFUSION_TRAIN_DENOISE, 6, 1);
      if (twice)
        g_assert_cmpmem (again, SIZE * SIZE * 12, noisy, SIZE * SIZE * 12);
      memcpy (again, noisy, SIZE * SIZE * 12);
    }
}

/* Two thirds of what a denoiser learns from is white noise, nearly all of it of what photographs have; nearly all else
 * is cameras' noise, from what is hardly seen to what no photograph has.  Bounds are four standard deviations and more
 * from what is wanted, but where another is told. */
static void
test_levels (Fixture *f, gconstpointer data)
{
  enum
  {
    DRAWS = 400
  };
  g_autofree guint8 *rgb = g_malloc (100 * 90 * 3);
  const float       *clean = f->sample.clean, *noisy = f->sample.noisy, *level = f->sample.level;
  int                photo = 0, usual = 0, camera = 0;
  Random             random;

  random_init (&random, 1, 2);
  draw_discs (&random, 100, 90, rgb);
  fill_corpus (f, 1, 100, 90, rgb);
  for (int i = 0; i < DRAWS; i++)
    {
      double most = 0, square = 0;

      draw (f, FALSE, DIFFUSION_TRAIN_DENOISE, 13, (guint64) i);
      for (int p = 0; p < SIZE * SIZE; p++)
        most = fmax (most, (double) level[p]);
      for (int p = 0; p < SIZE * SIZE * 3; p++)
        square += pow ((double) noisy[p] - (double) clean[p], 2) / (SIZE * SIZE * 3);
      if (f->sample.kind == MAP_PHOTO)
        {
          photo++;
          usual += most <= 60.5 / 255;
        }
      else if (f->sample.kind == MAP_CAMERA)
        {
          camera++;
          /* Asked for are 1.5/255 to 50/255; what is clipped and compressed has a little less or more. */
          g_assert_cmpfloat (sqrt (square), >, 0.3 / 255);
          g_assert_cmpfloat (sqrt (square), <, 80.0 / 255);
        }
    }
  g_test_message ("%d photo, of which %d usual, %d camera", photo, usual, camera);
  /* 66 % and 30 %, with deviations of 2.4 % and 2.3 %. */
  g_assert_cmpint (photo, >=, DRAWS * 55 / 100);
  g_assert_cmpint (photo, <=, DRAWS * 77 / 100);
  g_assert_cmpint (camera, >=, DRAWS * 20 / 100);
  g_assert_cmpint (camera, <=, DRAWS * 40 / 100);
  /* 97 %. */
  g_assert_cmpint (usual * 100, >=, photo * 80);
}

/* Picture i of so many is all of one grey, and the darker the smaller i is. */
static int
get_grey (int count, int i)
{
  return 20 + 200 / count * i;
}

/* What is validated on is every so many'th picture, and all of these; what is learned from is all others, and none of
 * these.  Of a corpus too small to spare any, it is all for both. */
static void
test_held_out (Fixture *f, gconstpointer data)
{
  enum
  {
    DRAWS = 1200
  };
  const int              count = GPOINTER_TO_INT (data);
  const int              spacing = count >= 80 ? 40 : count >= 20 ? 10 : 0;
  g_autofree guint8     *rgb = g_malloc (SIZE * SIZE * 3);
  DiffusionCorpusWriter *writer = diffusion_corpus_writer_new (f->path, NULL);

  for (int i = 0; i < count; i++)
    {
      memset (rgb, get_grey (count, i), SIZE * SIZE * 3);
      g_assert_true (diffusion_corpus_writer_add (writer, SIZE, SIZE, rgb, NULL));
    }
  g_assert_true (diffusion_corpus_writer_finish (writer, NULL));
  f->corpus = corpus_open (f->path, NULL);
  for (int held_out = 0; held_out < 2; held_out++)
    {
      g_autofree int *seen = g_new0 (int, (gsize) count);

      /* A style's crops keep their brightness. */
      for (int n = 0; n < DRAWS; n++)
        {
          double mean = 0;
          int    i;

          draw (f, held_out, DIFFUSION_TRAIN_STYLE, 14, (guint64) n);
          for (int p = 0; p < SIZE * SIZE * 3; p++)
            mean += (double) f->sample.clean[p] * 255 / (SIZE * SIZE * 3);
          i = (int) lrint ((mean - get_grey (count, 0)) / (200 / count));
          g_assert_cmpint (i, >=, 0);
          g_assert_cmpint (i, <, count);
          g_assert_cmpfloat_with_epsilon (mean, get_grey (count, i), 0.1);
          seen[i]++;
        }
      /* That one of 78 is never drawn has a chance of 1 in 70,000. */
      for (int i = 0; i < count; i++)
        g_assert_cmpint (seen[i] > 0, ==, ! spacing || (i % spacing == 0) == held_out);
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
test_scales (Fixture *f, gconstpointer data)
{
  enum
  {
    STRIPE = 8
  };
  g_autofree guint8 *rgb = g_malloc (300 * 300 * 3);
  int                more[2] = { 0 }, fewer[2] = { 0 };

  /* Stripes both ways, so that each crop has some along its rows. */
  for (int i = 0; i < 300 * 300 * 3; i++)
    rgb[i] = (i / 3 % 300 / STRIPE + i / 900 / STRIPE) % 2 ? 255 : 0;
  fill_corpus (f, 1, 300, 300, rgb);
  for (int i = 0; i < 120; i++)
    {
      int edges;

      draw (f, FALSE, i % 2 ? DIFFUSION_TRAIN_STYLE : DIFFUSION_TRAIN_DENOISE, 7, (guint64) i);
      edges = count_edges (f->sample.clean);
      more[i % 2] += edges >= SIZE / STRIPE * 3 / 2;
      fewer[i % 2] += edges <= SIZE / STRIPE * 2 / 3;
    }
  g_assert_cmpint (more[0], >, 10);
  g_assert_cmpint (fewer[0], >, 5);
  g_assert_cmpint (more[1], ==, 0);
  g_assert_cmpint (fewer[1], ==, 0);
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
  g_autofree guint8 *rgb = g_malloc (300 * 300 * 3);
  int                sharp[2] = { 0 }, soft[2] = { 0 }, softest[2] = { 0 }, too_soft[2] = { 0 };
  Random             random;

  random_init (&random, 9, 0);
  for (int i = 0; i < 300 * 300 * 3; i++)
    rgb[i] = (guint8) random_int (&random, 64, 192);
  fill_corpus (f, 1, 300, 300, rgb);
  for (int i = 0; i < 200; i++)
    {
      double softness;

      draw (f, FALSE, i % 2 ? DIFFUSION_TRAIN_STYLE : DIFFUSION_TRAIN_DENOISE, 10, (guint64) i);
      softness = measure_softness (f->sample.clean);
      sharp[i % 2] += softness < -0.3;
      soft[i % 2] += softness > 0;
      softest[i % 2] += softness > 0.2;
      too_soft[i % 2] += softness > 0.6;
    }
  g_assert_cmpint (sharp[0], >, 15);
  g_assert_cmpint (soft[0], >, 20);
  g_assert_cmpint (softest[0], >, 5);
  /* Enlarged twice and softened by 0.9 pixels, white noise has 0.52; by 3 pixels it would have 0.92. */
  g_assert_cmpint (too_soft[0], ==, 0);
  g_assert_cmpint (sharp[1], ==, 100);
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
  g_autofree guint8      *rgb = g_malloc (SIDE * SIDE * 3);
  const float            *clean = f->sample.clean;
  const DiffusionTrainMix mixes[] = { DIFFUSION_TRAIN_DENOISE, DIFFUSION_TRAIN_DENOISE, DIFFUSION_TRAIN_STYLE };
  int                     turned[3] = { 0 }, strong[3] = { 0 }, vivid = 0;

  /* A red that is not strong, in stripes. */
  for (int i = 0; i < SIDE * SIDE; i++)
    for (int c = 0; c < 3; c++)
      rgb[i * 3 + c] = (guint8) ((i % 2 ? 100 : 120) + (c == 0 ? 40 : c == 1 ? 10 : 0));
  fill_corpus (f, PICTURES, SIDE, SIDE, rgb);
  for (int i = 0; i < 600; i++)
    {
      double mean[3] = { 0 }, spread;

      draw (f, i % 3 == 1, mixes[i % 3], 8, (guint64) i);
      for (int p = 0; p < SIZE * SIZE * 3; p++)
        {
          g_assert_true (clean[p] >= 0 && clean[p] <= 1);
          mean[p % 3] += (double) clean[p] / (SIZE * SIZE);
        }
      turned[i % 3] += ! (mean[0] > mean[1] + 0.05 && mean[1] > mean[2]);
      spread = fmax (mean[0], fmax (mean[1], mean[2])) - fmin (mean[0], fmin (mean[1], mean[2]));
      strong[i % 3] += spread > 0.2;
      vivid += i % 3 == 0 && spread > 0.6;
    }
  g_assert_cmpint (turned[0], >, 40);
  g_assert_cmpint (turned[0], <, 130);
  g_assert_cmpint (strong[0], >, 20);
  /* Four times the picture's own 0.16 is the most without curves: 7 are beyond 0.6, and ten times as much saturation
   * would make it 51.  20 is five deviations from both. */
  g_assert_cmpint (vivid, <, 20);
  for (int i = 1; i < 3; i++)
    {
      g_assert_cmpint (turned[i], ==, 0);
      g_assert_cmpint (strong[i], ==, 0);
    }
}

/* ---- cameras' noise ---- */

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
test_camera (Fixture *f, gconstpointer data)
{
  float *clean = f->sample.clean, *noisy = f->sample.noisy, *level = f->sample.level;
  double ratios[2] = { 0 };
  int    white = 0, near = 0, far = 0, colour = 0, grey = 0;

  for (int i = 0; i < SIZE * SIZE * 3; i++)
    clean[i] = i / 3 % SIZE < SIZE / 2 ? 0.2f : 0.7f;
  for (int n = 0; n < 300; n++)
    {
      double square[2] = { 0 }, told[2] = { 0 }, lag, share;

      draw_camera (f, 9, (guint64) n);
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
test_toe (Fixture *f, gconstpointer data)
{
  float *clean = f->sample.clean, *level = f->sample.level;

  for (int i = 0; i < SIZE * SIZE * 3; i++)
    clean[i] = i / 3 % SIZE < SIZE / 2 ? 0.0f : 0.5f;
  for (int i = 0; i < 40; i++)
    {
      draw_camera (f, 12, (guint64) i);
      g_assert_cmpfloat (level[SIZE / 2 * SIZE + SIZE / 4], <, 6 * level[SIZE / 2 * SIZE + SIZE * 3 / 4]);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/samples/noise", Fixture, NULL, set_up, test_samples, tear_down);
  g_test_add ("/samples/levels", Fixture, NULL, set_up, test_levels, tear_down);
  g_test_add ("/samples/held-out/none", Fixture, GINT_TO_POINTER (19), set_up, test_held_out, tear_down);
  g_test_add ("/samples/held-out/tenth", Fixture, GINT_TO_POINTER (40), set_up, test_held_out, tear_down);
  g_test_add ("/samples/held-out/fortieth", Fixture, GINT_TO_POINTER (80), set_up, test_held_out, tear_down);
  g_test_add ("/samples/scales", Fixture, NULL, set_up, test_scales, tear_down);
  g_test_add ("/samples/softness", Fixture, NULL, set_up, test_softness, tear_down);
  g_test_add ("/samples/colours", Fixture, NULL, set_up, test_colours, tear_down);
  g_test_add ("/samples/camera", Fixture, NULL, set_up, test_camera, tear_down);
  g_test_add ("/samples/toe", Fixture, NULL, set_up, test_toe, tear_down);
  return g_test_run ();
}
