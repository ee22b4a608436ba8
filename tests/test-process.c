/* Random numbers, the forward and the reverse process.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/model.h"
#include "process/process.h"
#include "task/smooth.h"

#include <math.h>
#include <string.h>

/* ---- random numbers ---- */

/* The known answers that come with the authors' own implementation (Random123, kat_vectors). */
static void
test_philox (void)
{
  const guint32 zeros[4] = { 0, 0, 0, 0 }, ones[4] = { G_MAXUINT32, G_MAXUINT32, G_MAXUINT32, G_MAXUINT32 };
  const guint32 for_zeros[4] = { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 };
  const guint32 for_ones[4] = { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd };
  guint32       out[4];

  random_philox (0, zeros, out);
  g_assert_cmpmem (out, sizeof out, for_zeros, sizeof for_zeros);
  random_philox (G_MAXUINT64, ones, out);
  g_assert_cmpmem (out, sizeof out, for_ones, sizeof for_ones);
}

/* Mean, variance and fourth moment, and that neighbours in space, channel and stream do not go together: each within 5
 * standard errors. */
static void
test_gaussian (void)
{
  enum
  {
    SIZE = 512
  };
  double sum[4] = { 0 }, square = 0, fourth = 0, products[4] = { 0 }, n = SIZE * SIZE;

  for (int y = 0; y < SIZE; y++)
    for (int x = 0; x < SIZE; x++)
      {
        float a[4], right[4], below[4], other[4];

        random_gaussian4 (42, 1, x, y, a);
        random_gaussian4 (42, 1, x + 1, y, right);
        random_gaussian4 (42, 1, x, y + 1, below);
        random_gaussian4 (42, 2, x, y, other);
        for (int c = 0; c < 4; c++)
          sum[c] += (double) a[c];
        square += (double) (a[0] * a[0]);
        fourth += pow ((double) a[0], 4);
        products[0] += (double) (a[0] * a[1]);
        products[1] += (double) (a[0] * right[0]);
        products[2] += (double) (a[0] * below[0]);
        products[3] += (double) (a[0] * other[0]);
      }
  for (int c = 0; c < 4; c++)
    {
      g_assert_cmpfloat_with_epsilon (sum[c] / n, 0, 5 / sqrt (n));
      g_assert_cmpfloat_with_epsilon (products[c] / n, 0, 5 / sqrt (n));
    }
  g_assert_cmpfloat_with_epsilon (square / n, 1, 5 * sqrt (2 / n));
  g_assert_cmpfloat_with_epsilon (fourth / n, 3, 5 * sqrt (96 / n));
}

/* ---- the forward process ---- */

static DiffusionPicture *
new_picture (int width, int height, int channels, float value)
{
  DiffusionPicture *picture = diffusion_picture_new (width, height, channels, NULL);

  for (int i = 0; i < width * height * channels; i++)
    picture->data[i] = value;
  return picture;
}

static void
get_moments (const DiffusionPicture *picture, double *mean, double *variance)
{
  int    n = picture->width * picture->height * picture->channels;
  double sum = 0, square = 0;

  for (int i = 0; i < n; i++)
    {
      sum += (double) picture->data[i];
      square += (double) picture->data[i] * (double) picture->data[i];
    }
  *mean = sum / n;
  *variance = square / n - *mean * *mean;
}

/* A chain of unequal steps has at each t the mean of the picture and variance (t * level)^2. */
static void
test_forward_chain (void)
{
  enum
  {
    SIZE = 256
  };
  const double ts[] = { 0, 0.05, 0.3, 0.31, 0.7, 1 };
  const double level = 0.8, n = SIZE * SIZE * 3;
  g_autoptr (DiffusionPicture) x = new_picture (SIZE, SIZE, 3, 0.25f), map = new_picture (SIZE, SIZE, 1, (float) level);

  for (guint i = 1; i < G_N_ELEMENTS (ts); i++)
    {
      double mean, variance, expected = ts[i] * ts[i] * level * level;

      g_assert_true (diffusion_forward (x, map, ts[i - 1], ts[i], 7, i, 0, 0, NULL));
      get_moments (x, &mean, &variance);
      g_assert_cmpfloat_with_epsilon (mean, 0.25, 5 * sqrt (expected / n));
      g_assert_cmpfloat_with_epsilon (variance / expected, 1, 5 * sqrt (2 / n));
    }
}

/* A crop that says where it lies has the noise of the whole; level 0 has none; other seeds and steps have other noise.
 */
static void
test_forward_position (void)
{
  g_autoptr (DiffusionPicture) whole = new_picture (40, 30, 3, 0), map = new_picture (40, 30, 1, 0.5f);
  g_autoptr (DiffusionPicture) crop = new_picture (11, 9, 3, 0), crop_map = new_picture (11, 9, 1, 0.5f),
                               other = new_picture (11, 9, 3, 0);

  map->data[5 * 40 + 5] = 0;
  g_assert_true (diffusion_forward (whole, map, 0, 1, 3, 0, -100, 7, NULL));
  g_assert_true (diffusion_forward (crop, crop_map, 0, 1, 3, 0, -100 + 13, 7 + 17, NULL));
  for (int y = 0; y < 9; y++)
    g_assert_cmpmem (crop->data + y * 11 * 3, 11 * 3 * 4, whole->data + ((y + 17) * 40 + 13) * 3, 11 * 3 * 4);
  g_assert_cmpfloat (whole->data[(5 * 40 + 5) * 3], ==, 0);
  g_assert_true (diffusion_forward (other, crop_map, 0, 1, 4, 0, -87, 24, NULL));
  g_assert_cmpfloat (other->data[0], !=, crop->data[0]);
}

static void
test_forward_errors (void)
{
  g_autoptr (DiffusionPicture) x = new_picture (4, 4, 3, 0), map = new_picture (4, 4, 1, 1),
                               wrong = new_picture (5, 4, 1, 1);
  GError *error = NULL;

  g_assert_false (diffusion_forward (x, wrong, 0, 1, 0, 0, 0, 0, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (diffusion_forward (x, map, 0.5, 0.2, 0, 0, 0, 0, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  map->data[3] = NAN;
  g_assert_false (diffusion_forward (x, map, 0, 1, 0, 0, 0, 0, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  map->data[3] = -1;
  g_assert_false (diffusion_forward (x, map, 0, 1, 0, 0, 0, 0, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
}

/* ---- schedules and transitions ---- */

static void
test_schedule (void)
{
  for (int steps = 1; steps <= 50; steps++)
    {
      double ratios[51];

      schedule_fill (steps % 2 ? 40 : 0.05, steps, ratios);
      g_assert_cmpfloat (ratios[0], ==, 1);
      g_assert_cmpfloat (ratios[steps], ==, 0);
      for (int i = 0; i < steps; i++)
        g_assert_cmpfloat (ratios[i], >, ratios[i + 1]);
    }
}

#define TOY_WIDTH 1000
#define TOY_ROWS  100

/* From a true x_0, one ddpm transition has the posterior's moments: Ho et al. 2020, eq. 6 and 7. */
static void
test_ddpm_transition (void)
{
  const double x0 = 0.3, start = 0.9, level = 0.5, from = 0.8, to = 0.35;
  const double s = level * from, next = level * to, n = TOY_WIDTH * TOY_ROWS * 3;
  const double mean = x0 + next * next / (s * s) * (start - x0),
               variance = next * next * (s * s - next * next) / (s * s);
  Transition   transition = { DIFFUSION_SAMPLER_DDPM, from, to, 1, 11, 3 };
  double       sum = 0, square = 0;
  static float levels[TOY_WIDTH], clean[TOY_WIDTH * 3], x[TOY_WIDTH * 3];

  for (int y = 0; y < TOY_ROWS; y++)
    {
      for (int i = 0; i < TOY_WIDTH * 3; i++)
        {
          levels[i / 3] = (float) s;
          clean[i] = (float) x0;
          x[i] = (float) start;
        }
      transition_row (&transition, 0, y, TOY_WIDTH, levels, clean, NULL, x);
      for (int i = 0; i < TOY_WIDTH * 3; i++)
        {
          sum += (double) x[i];
          square += pow ((double) x[i] - mean, 2);
        }
    }
  g_assert_cmpfloat_with_epsilon (sum / n, mean, 5 * sqrt (variance / n));
  g_assert_cmpfloat_with_epsilon (square / n / variance, 1, 5 * sqrt (2 / n));
}

/* The whole chain with the exact denoiser of a Gaussian prior N (m, v): D (x; s) = (v x + s^2 m) / (v + s^2), from one
 * x_1 = START of level LEVEL. */
#define CHAIN_STEPS 400
#define CHAIN_LEVEL 0.5
#define CHAIN_START 0.9
#define PRIOR_MEAN  0.4
#define PRIOR       0.02

/* The mean and the variance that a sampler must end with. */
static void
get_chain_end (DiffusionSampler sampler, const double ratios[], double *mean, double *variance)
{
  const double m = PRIOR_MEAN, v = PRIOR, s2 = CHAIN_LEVEL * CHAIN_LEVEL;

  *mean = m + (CHAIN_START - m) * sqrt (v / (v + s2));
  *variance = 0;
  if (sampler == DIFFUSION_SAMPLER_DDPM || sampler == DIFFUSION_SAMPLER_EULER_ANCESTRAL)
    {
      /* The posterior: these are one sampler in this parametrization. */
      *mean = (v * CHAIN_START + s2 * m) / (v + s2);
      *variance = v * s2 / (v + s2);
    }
  else if (sampler == DIFFUSION_SAMPLER_LCM)
    {
      /* Each step adds fresh noise of its level to the prediction. */
      *mean = CHAIN_START;
      for (int k = 0; k < CHAIN_STEPS; k++)
        {
          double from = pow (CHAIN_LEVEL * ratios[k], 2), to = pow (CHAIN_LEVEL * ratios[k + 1], 2);

          *mean = (v * *mean + from * m) / (v + from);
          *variance = *variance * pow (v / (v + from), 2) + to;
        }
    }
  /* All others follow the probability flow, to an end that x_1 decides. */
}

static void
run_chain (DiffusionSampler sampler, const double ratios[], int y, float *row)
{
  float clean[TOY_WIDTH * 3], before[TOY_WIDTH * 3] = { 0 }, levels[TOY_WIDTH];

  for (int k = 0; k < CHAIN_STEPS; k++)
    {
      Transition transition = { sampler, ratios[k], ratios[k + 1], k > 0 ? ratios[k - 1] : 0, 5, (guint32) k };
      double     s = CHAIN_LEVEL * ratios[k];

      for (int i = 0; i < TOY_WIDTH * 3; i++)
        {
          levels[i / 3] = (float) s;
          clean[i] = (float) ((PRIOR * (double) row[i] + s * s * PRIOR_MEAN) / (PRIOR + s * s));
        }
      transition_row (&transition, 0, y, TOY_WIDTH, levels, clean, before, row);
      memcpy (before, clean, sizeof before);
    }
}

static void
test_chain (gconstpointer data)
{
  const DiffusionSampler sampler = (DiffusionSampler) GPOINTER_TO_INT (data);
  const double           n = TOY_WIDTH * TOY_ROWS * 3;
  double                 ratios[CHAIN_STEPS + 1], mean, variance, sum = 0, square = 0;

  schedule_fill (CHAIN_LEVEL, CHAIN_STEPS, ratios);
  get_chain_end (sampler, ratios, &mean, &variance);
  for (int y = 0; y < TOY_ROWS; y++)
    {
      float row[TOY_WIDTH * 3];

      for (int i = 0; i < TOY_WIDTH * 3; i++)
        row[i] = (float) CHAIN_START;
      run_chain (sampler, ratios, y, row);
      for (int i = 0; i < TOY_WIDTH * 3; i++)
        {
          sum += (double) row[i];
          square += pow ((double) row[i] - mean, 2);
        }
    }
  if (variance > 0)
    {
      /* The chain's 400 steps are short but not infinitely so: 2 %. */
      g_assert_cmpfloat_with_epsilon (sum / n, mean, 0.02 * sqrt (variance));
      g_assert_cmpfloat_with_epsilon (square / n / variance, 1, 0.02);
    }
  else
    {
      double tolerance = sampler == DIFFUSION_SAMPLER_DPMPP_2M ? 2e-4 : 2e-3; /* of second and of first order */

      g_assert_cmpfloat_with_epsilon (sum / n, mean, tolerance);
      g_assert_cmpfloat (square / n - pow (sum / n - mean, 2), <, 1e-8);
    }
}

static void
test_sampler_names (void)
{
  DiffusionSampler sampler;
  GError          *error = NULL;

  for (int i = 0; i < DIFFUSION_N_SAMPLERS; i++)
    {
      g_assert_true (diffusion_sampler_parse (diffusion_sampler_get_name ((DiffusionSampler) i), &sampler, NULL));
      g_assert_cmpint (sampler, ==, i);
    }
  g_assert_false (diffusion_sampler_parse ("heun", &sampler, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
}

/* ---- the reverse process with a network ---- */

/* Weights that make every path count. */
static DiffusionModel *
new_model (void)
{
  const DiffusionArchitecture architecture = { 3, { 16, 16, 32 }, { 1, 1, 2 } };
  DiffusionModel             *model = diffusion_model_new (&architecture, 1, NULL);
  gsize                       count = diffusion_model_count_parameters (model);
  Random                      random;

  random_init (&random, 1, 1);
  for (gsize i = 0; i < count; i++)
    model_get_weights (model)[i] += (float) random_range (&random, -0.03, 0.03);
  return model;
}

static DiffusionPicture *
new_noise (int width, int height, int channels, guint64 seed, double low, double high)
{
  DiffusionPicture *picture = diffusion_picture_new (width, height, channels, NULL);
  Random            random;

  random_init (&random, seed, 2);
  for (int i = 0; i < width * height * channels; i++)
    picture->data[i] = (float) random_range (&random, low, high);
  return picture;
}

static double
largest_difference (const DiffusionPicture *a, const DiffusionPicture *b)
{
  double worst = 0;

  for (int i = 0; i < a->width * a->height * a->channels; i++)
    worst = fmax (worst, fabs ((double) a->data[i] - (double) b->data[i]));
  return worst;
}

/* In one piece and in tiles of several sizes, by several threads.  Rows give the same bits; strips leave the rounding
 * of their Winograd tiles. */
static void
test_tiles (gconstpointer data)
{
  enum
  {
    WIDTH = 437,
    HEIGHT = 203
  };
  const DiffusionSampler sampler = (DiffusionSampler) GPOINTER_TO_INT (data);
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (WIDTH, HEIGHT, 3, 1, 0, 1),
                               level = new_noise (WIDTH, HEIGHT, 1, 2, 0, 0.3);
  g_autoptr (DiffusionPicture) whole = diffusion_picture_copy (picture, NULL);
  const int        tiles[] = { 16, 64, 128, 250, 400, G_MAXINT };
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  GError          *error = NULL;

  options.steps = sampler == DIFFUSION_SAMPLER_DDIM ? 1 : 3;
  options.sampler = sampler;
  options.threads = 1;
  options.tile = 4096;
  diffusion_reverse (model, whole, level, &options, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpfloat (largest_difference (whole, picture), >, 0.01);
  for (gsize i = 0; i < G_N_ELEMENTS (tiles); i++)
    {
      g_autoptr (DiffusionPicture) tiled = diffusion_picture_copy (picture, NULL);

      options.tile = tiles[i];
      options.threads = (int) i % 3 + 1;
      diffusion_reverse (model, tiled, level, &options, NULL, &error);
      g_assert_no_error (error);
      g_assert_cmpfloat (largest_difference (whole, tiled), <, 1e-4);
    }
}

/* Strips that are rounded up to the network's granularity, so much that fewer of them suffice. */
static void
test_rounded_strips (void)
{
  enum
  {
    WIDE = 2570
  };
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) whole = new_noise (WIDE, 16, 3, 1, 0, 1), level = new_noise (WIDE, 16, 1, 2, 0, 0.3);
  g_autoptr (DiffusionPicture) tiled = diffusion_picture_copy (whole, NULL);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;

  g_assert_true (diffusion_reverse (model, whole, level, &options, NULL, NULL));
  options.tile = WIDE / 10;
  g_assert_true (diffusion_reverse (model, tiled, level, &options, NULL, NULL));
  g_assert_cmpfloat (largest_difference (whole, tiled), <, 1e-4);
}

/* Pixels of level 0 come back bit for bit, whatever is around them, also values that no picture should have. */
static void
test_known_pixels (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (61, 47, 3, 1, -0.5, 1.5), level = new_noise (61, 47, 1, 2, 0, 0.3);
  g_autoptr (DiffusionPicture) before = diffusion_picture_copy (picture, NULL);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  int              changed = 0;

  for (int i = 0; i < 61 * 47; i += 3)
    level->data[i] = 0;
  options.steps = 4;
  options.sampler = DIFFUSION_SAMPLER_DDPM;
  g_assert_true (diffusion_reverse (model, picture, level, &options, NULL, NULL));
  for (int i = 0; i < 61 * 47; i++)
    {
      if (level->data[i] == 0)
        g_assert_cmpmem (picture->data + i * 3, 12, before->data + i * 3, 12);
      else
        changed += memcmp (picture->data + i * 3, before->data + i * 3, 12) != 0;
    }
  g_assert_cmpint (changed, >, 61 * 47 / 2);
}

static void
test_tiny_pictures (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  const int sizes[][2] = { { 1, 1 }, { 3, 5 }, { 1, 100 }, { 100, 1 }, { 7, 8 }, { 9, 16 } };

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    for (int steps = 1; steps <= 3; steps += 2)
      {
        g_autoptr (DiffusionPicture) picture = new_noise (sizes[i][0], sizes[i][1], 3, 1, 0, 1),
                                     level = new_noise (sizes[i][0], sizes[i][1], 1, 2, 0.1, 0.3);
        DiffusionOptions options = DIFFUSION_OPTIONS_INIT;

        options.steps = steps;
        g_assert_true (diffusion_reverse (model, picture, level, &options, NULL, NULL));
        for (int k = 0; k < sizes[i][0] * sizes[i][1] * 3; k++)
          g_assert_true (isfinite (picture->data[k]));
      }
}

static void
count_progress (double fraction, gpointer data)
{
  double *last = data;

  g_assert_cmpfloat (fraction, >=, *last);
  g_assert_cmpfloat (fraction, <=, 1.000001);
  *last = fraction;
}

static void
test_progress (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (500, 120, 3, 1, 0, 1), level = new_noise (500, 120, 1, 2, 0.1, 0.3);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  double           last = 0;

  options.steps = 2;
  options.tile = 32;
  options.progress = count_progress;
  options.progress_data = &last;
  g_assert_true (diffusion_reverse (model, picture, level, &options, NULL, NULL));
  g_assert_cmpfloat_with_epsilon (last, 1, 1e-6);
}

/* ---- looking on ---- */

typedef struct
{
  DiffusionPicture *first, *last; /* predictions */
  DiffusionPicture *middle;       /* the state after the first step */
  double            level;
  int               calls, steps;
} Spectator;

static void
watch_step (const DiffusionStep *step, gpointer data)
{
  Spectator *seen = data;

  g_assert_cmpint (step->step, ==, ++seen->calls);
  g_assert_cmpint (step->steps, ==, seen->steps);
  g_assert_cmpfloat (step->level_from, ==, seen->level);
  g_assert_cmpfloat (step->level_to, <, step->level_from);
  seen->level = step->level_to;
  if (seen->calls == 1)
    {
      seen->first = diffusion_picture_copy (step->prediction, NULL);
      seen->middle = diffusion_picture_copy (step->state, NULL);
    }
  if (seen->calls == seen->steps)
    seen->last = diffusion_picture_copy (step->prediction, NULL);
}

/* The first prediction is what one step alone gives, the last is the result; levels lead from the map's largest to 0
 * without a gap; a state is where the process goes on from; and the result is the one that nobody looked at. */
static void
test_spectator (gconstpointer data)
{
  enum
  {
    WIDTH = 150,
    HEIGHT = 70
  };
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (WIDTH, HEIGHT, 3, 1, 0, 1),
                               level = new_noise (WIDTH, HEIGHT, 1, 2, 0.1, 0.3);
  g_autoptr (DiffusionPicture) seen_one = diffusion_picture_copy (picture, NULL),
                               unseen_one = diffusion_picture_copy (picture, NULL), alone = NULL;
  DiffusionOptions unseen = DIFFUSION_OPTIONS_INIT, seen, one = DIFFUSION_OPTIONS_INIT;
  Spectator        spectator = { .steps = 4, .level = 0.3f };

  level->data[17] = 0.3f;
  level->data[18] = 0;
  alone = diffusion_picture_copy (picture, NULL);
  unseen.steps = 4;
  unseen.sampler = (DiffusionSampler) GPOINTER_TO_INT (data);
  unseen.tile = 64;
  seen = unseen;
  seen.on_step = watch_step;
  seen.step_data = &spectator;
  one.tile = 64;
  g_assert_true (diffusion_reverse (model, alone, level, &one, NULL, NULL));
  g_assert_true (diffusion_reverse (model, unseen_one, level, &unseen, NULL, NULL));
  g_assert_true (diffusion_reverse (model, seen_one, level, &seen, NULL, NULL));
  g_assert_cmpint (spectator.calls, ==, 4);
  g_assert_cmpfloat (spectator.level, ==, 0);
  g_assert_cmpmem (seen_one->data, WIDTH * HEIGHT * 12, unseen_one->data, WIDTH * HEIGHT * 12);
  g_assert_cmpfloat (largest_difference (spectator.first, alone), <, 1e-6);
  g_assert_cmpmem (spectator.last->data, WIDTH * HEIGHT * 12, seen_one->data, WIDTH * HEIGHT * 12);
  g_assert_cmpmem (spectator.middle->data + 18 * 3, 12, picture->data + 18 * 3, 12);
  g_assert_cmpmem (spectator.first->data + 18 * 3, 12, picture->data + 18 * 3, 12);
  g_assert_cmpfloat (largest_difference (spectator.middle, picture), >, 0.01);
  g_assert_cmpfloat (largest_difference (spectator.middle, seen_one), >, 0.001);
  diffusion_picture_free (spectator.first);
  diffusion_picture_free (spectator.middle);
  diffusion_picture_free (spectator.last);
}

static void
cancel_soon (double fraction, gpointer data)
{
  g_cancellable_cancel (data);
}

static void
test_cancel (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (300, 300, 3, 1, 0, 1), level = new_noise (300, 300, 1, 2, 0.1, 0.3);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  GError          *error = NULL;

  options.steps = 50;
  options.progress = cancel_soon;
  options.progress_data = cancellable;
  g_assert_false (diffusion_reverse (model, picture, level, &options, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
}

static void
test_arguments (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (8, 8, 3, 1, 0, 1), level = new_noise (8, 8, 1, 2, 0, 1),
                               map = new_noise (8, 9, 1, 2, 0, 1);
  DiffusionOptions bad_steps = DIFFUSION_OPTIONS_INIT, bad_sampler = DIFFUSION_OPTIONS_INIT,
                   good = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise noise;
  GError        *error = NULL;

  bad_steps.steps = 0;
  bad_sampler.sampler = (DiffusionSampler) 9;
  g_assert_false (diffusion_reverse (model, picture, level, &bad_steps, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (diffusion_reverse (model, picture, level, &bad_sampler, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (diffusion_reverse (model, picture, map, &good, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  diffusion_noise_set_uniform (&noise, 0.1);
  g_assert_false (diffusion_denoise (model, picture, NULL, &noise, 2.5, &good, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (diffusion_denoise (model, picture, map, &noise, 1, &good, NULL, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_null (diffusion_picture_new (0, 4, 3, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_null (diffusion_picture_new (G_MAXINT, G_MAXINT, 3, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY);
  g_clear_error (&error);
}

/* ---- denoise: the map that it builds ---- */

/* With a curve over brightness, what diffusion_denoise () does is what diffusion_reverse () does with the same map,
 * given. */
static void
test_denoise_map (void)
{
  enum
  {
    SIZE = 96
  };
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_picture (SIZE, SIZE, 3, 0.2f), mask = new_picture (SIZE, SIZE, 1, 0.5f),
                               level = new_picture (SIZE, SIZE, 1, 0);
  g_autoptr (DiffusionPicture) other = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise = { 0 };

  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    noise.curve[i] = 0.01 * (i + 1);
  /* 0.2 lies between bins 2 (0.15625: 0.03) and 3 (0.21875: 0.04): 0.037, of which the mask leaves half. */
  for (int i = 0; i < SIZE * SIZE; i++)
    level->data[i] = 0.0185f;
  other = diffusion_picture_copy (picture, NULL);
  g_assert_true (diffusion_denoise (model, picture, mask, &noise, 1, &options, NULL, NULL));
  g_assert_true (diffusion_reverse (model, other, level, &options, NULL, NULL));
  g_assert_cmpfloat (largest_difference (picture, other), <, 1e-5);
}

static void
test_denoise_nothing (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (50, 40, 3, 1, 0, 1),
                               before = diffusion_picture_copy (picture, NULL), none = new_picture (50, 40, 1, 0);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise;

  diffusion_noise_set_uniform (&noise, 0.1);
  g_assert_true (diffusion_denoise (model, picture, NULL, &noise, 0, &options, NULL, NULL));
  g_assert_cmpmem (picture->data, 50 * 40 * 12, before->data, 50 * 40 * 12);
  g_assert_true (diffusion_denoise (model, picture, none, &noise, 1, &options, NULL, NULL));
  g_assert_cmpmem (picture->data, 50 * 40 * 12, before->data, 50 * 40 * 12);
}

/* Below a strength of 1 it is the whole effect, blended with the original. */
static void
test_denoise_partly (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (50, 40, 3, 1, 0, 1), whole = diffusion_picture_copy (picture, NULL),
                               original = diffusion_picture_copy (picture, NULL);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise;

  diffusion_noise_set_uniform (&noise, 0.1);
  g_assert_true (diffusion_denoise (model, whole, NULL, &noise, 1, &options, NULL, NULL));
  g_assert_true (diffusion_denoise (model, picture, NULL, &noise, 0.25, &options, NULL, NULL));
  g_assert_cmpfloat (largest_difference (original, whole), >, 0.05);
  for (int i = 0; i < 50 * 40 * 3; i++)
    whole->data[i] = 0.75f * original->data[i] + 0.25f * whole->data[i];
  g_assert_cmpfloat (largest_difference (picture, whole), <, 1e-6);
}

/* ---- denoise: more than all ---- */

/* The variance around each window's mean, of three channels, in the middle of the picture. */
static double
get_roughness (const DiffusionPicture *picture, int x0, int y0)
{
  double variance = 0;

  for (int c = 0; c < 3; c++)
    {
      double sum = 0, square = 0;

      for (int y = y0 - 4; y <= y0 + 4; y++)
        for (int x = x0 - 4; x <= x0 + 4; x++)
          {
            double value = (double) picture->data[(y * picture->width + x) * 3 + c];

            sum += value / 81;
            square += value * value / 81;
          }
      variance += square - sum * sum;
    }
  return variance;
}

/* Towards a picture with less noise (or the same with more) it goes as far as that makes each place smoother. */
static void
test_smooth (void)
{
  enum
  {
    WIDTH = 60,
    HEIGHT = 40
  };
  g_autoptr (DiffusionPicture) noisy = new_noise (WIDTH, HEIGHT, 3, 1, 0.3, 0.7),
                               other = diffusion_picture_copy (noisy, NULL);
  double last = INFINITY;

  /* Left: a third of the noise, and another brightness, which must not come along.  Right: twice the noise.  In the
   * last row: the same. */
  for (int y = 0; y < HEIGHT - 1; y++)
    for (int x = 0; x < WIDTH; x++)
      for (int c = 0; c < 3; c++)
        {
          float *value = other->data + (y * WIDTH + x) * 3 + c;

          *value = x < WIDTH / 2 ? 0.7f + (*value - 0.5f) / 3 : 0.5f + (*value - 0.5f) * 2;
        }
  for (int i = 0; i <= 4; i++)
    {
      g_autoptr (DiffusionPicture) picture = diffusion_picture_copy (noisy, NULL);
      double left;

      g_assert_true (smooth_towards (picture, other, i / 4.0, NULL, NULL));
      left = get_roughness (picture, 15, 20);
      if (i == 0)
        g_assert_cmpmem (picture->data, WIDTH * HEIGHT * 12, noisy->data, WIDTH * HEIGHT * 12);
      else
        g_assert_cmpfloat (left, <, 0.9 * last);
      g_assert_cmpfloat_with_epsilon (get_roughness (picture, 45, 20), get_roughness (noisy, 45, 20), 1e-6);
      g_assert_cmpmem (picture->data + WIDTH * (HEIGHT - 1) * 3, WIDTH * 12, noisy->data + WIDTH * (HEIGHT - 1) * 3,
                       WIDTH * 12);
      for (int c = 0; c < 3; c++)
        {
          double means[2] = { 0, 0 };

          for (int y = 10; y < 30; y++)
            for (int x = 5; x < 25; x++)
              {
                means[0] += (double) picture->data[(y * WIDTH + x) * 3 + c] / 400;
                means[1] += (double) noisy->data[(y * WIDTH + x) * 3 + c] / 400;
              }
          g_assert_cmpfloat_with_epsilon (means[0], means[1], 0.01);
        }
      last = left;
    }
  g_assert_cmpfloat (last, <, 0.15 * get_roughness (noisy, 15, 20));
}

/* Values that are no numbers, or whose squares are none, spoil their own pixel alone. */
static void
test_smooth_damaged (void)
{
  g_autoptr (DiffusionPicture) noisy = new_noise (30, 30, 3, 1, 0.3, 0.7), other = new_picture (30, 30, 3, 0.5f);

  noisy->data[(5 * 30 + 5) * 3] = NAN;
  noisy->data[(12 * 30 + 8) * 3 + 2] = 1e20f;
  other->data[(20 * 30 + 20) * 3 + 1] = INFINITY;
  g_assert_true (smooth_towards (noisy, other, 1, NULL, NULL));
  for (int i = 0; i < 30 * 30 * 3; i++)
    if (i != (5 * 30 + 5) * 3)
      g_assert_true (isfinite (noisy->data[i]));
}

/* What the engine is shown of a stored pixel, and what comes back into one: nothing into those without a meaning,
 * nothing for what is rounding. */
static void
test_pixels (void)
{
  static const float hidden[][4] = {
    { 0.5f, 0.5f, 0.5f, 0 }, { 0.5f, 0.5f, 0.5f, -1 }, { 0.5f, NAN, 0.5f, 1 }, { INFINITY, 0, 0, 1 }, { 0, 0, 0, NAN }
  };
  const float far[4] = { -9, 0.25f, 1e30f, 0.1f }, grey[2] = { 0.25f, 1 }, result[3] = { 0.1f, 0.2f, 0.6f };
  float       seen[3], pixel[4] = { 0.1f, 0.2f, 0.6f, 0.5f }, grey_pixel[2] = { 0.25f, 1 };

  for (gsize i = 0; i < G_N_ELEMENTS (hidden); i++)
    {
      float kept[4];

      memcpy (kept, hidden[i], sizeof kept);
      g_assert_false (diffusion_pixel_show (hidden[i], 4, seen));
      g_assert_true (isnan (seen[0]) && isnan (seen[1]) && isnan (seen[2]));
      g_assert_false (diffusion_pixel_change (kept, 4, result));
      g_assert_cmpmem (kept, sizeof kept, hidden[i], sizeof kept);
    }
  g_assert_true (diffusion_pixel_show (far, 4, seen));
  g_assert_true (seen[0] == DIFFUSION_LOWEST && seen[1] == 0.25f && seen[2] == DIFFUSION_HIGHEST);
  g_assert_true (diffusion_pixel_show (grey, 2, seen));
  g_assert_true (seen[0] == 0.25f && seen[1] == 0.25f && seen[2] == 0.25f);

  g_assert_false (diffusion_pixel_change (pixel, 4, result));
  pixel[1] += 5e-7f;
  g_assert_false (diffusion_pixel_change (pixel, 4, result));
  pixel[1] += 0.1f;
  g_assert_true (diffusion_pixel_change (pixel, 4, result));
  g_assert_cmpmem (pixel, sizeof result, result, sizeof result);
  g_assert_true (pixel[3] == 0.5f);
  g_assert_true (diffusion_pixel_change (grey_pixel, 2, result));
  g_assert_cmpfloat_with_epsilon (grey_pixel[0], 0.3, 1e-6);
  g_assert_true (grey_pixel[1] == 1);
}

/* Above 1 what is masked out stays, bit for bit; progress runs from 0 to 1 once, over both calls. */
static void
test_denoise_more (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) picture = new_noise (50, 40, 3, 1, 0, 1), once = diffusion_picture_copy (picture, NULL),
                               original = diffusion_picture_copy (picture, NULL), mask = new_picture (50, 40, 1, 1);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise;
  double           last = 0;

  for (int i = 0; i < 50 * 20; i++)
    mask->data[i] = 0;
  options.progress = count_progress;
  options.progress_data = &last;
  diffusion_noise_set_uniform (&noise, 0.1);
  g_assert_true (diffusion_denoise (model, once, mask, &noise, 1, &options, NULL, NULL));
  last = 0;
  g_assert_true (diffusion_denoise (model, picture, mask, &noise, 1.5, &options, NULL, NULL));
  g_assert_cmpfloat_with_epsilon (last, 1, 1e-6);
  g_assert_cmpmem (picture->data, 50 * 20 * 12, original->data, 50 * 20 * 12);
  g_assert_cmpfloat (largest_difference (picture, once), >, 0.001);
}

/* ---- denoise: blending ---- */

/* What is left of luma and of colour, each in its share; and both ends bit for bit. */
static void
test_blend (void)
{
  static const double settings[][3]
      = { { 1, 0, 1 }, { 2, 0, 1 },    { 0, 0, 1 },   { 0, 1, 0 },     { 1, 1, 0 },    { 0.5, 0, 1 },
          { 1, 1, 1 }, { 1, 0.25, 1 }, { 1, 0, 0.3 }, { 0.7, 0.4, 0 }, { 1.5, 0.5, 1 } };
  g_autoptr (DiffusionPicture) original = new_noise (20, 10, 3, 1, -0.5, 1.5),
                               denoised = new_noise (20, 10, 3, 2, 0, 1), out = new_picture (20, 10, 3, 0);

  for (gsize i = 0; i < G_N_ELEMENTS (settings); i++)
    {
      const double strength = MIN (settings[i][0], 1), detail = settings[i][1], colour = settings[i][2];

      g_assert_true (diffusion_denoise_blend (original, denoised, settings[i][0], detail, colour, out, NULL));
      for (int j = 0; j < 200; j++)
        {
          const float *o = original->data + j * 3, *d = denoised->data + j * 3, *result = out->data + j * 3;
          double       lumas[3] = { 0 };

          for (int c = 0; c < 3; c++)
            {
              lumas[0] += (double) o[c] / 3;
              lumas[1] += (double) d[c] / 3;
              lumas[2] += (double) result[c] / 3;
            }
          g_assert_cmpfloat_with_epsilon (lumas[0] - lumas[2], strength * (1 - detail) * (lumas[0] - lumas[1]), 1e-6);
          for (int c = 0; c < 3; c++)
            g_assert_cmpfloat_with_epsilon ((double) (o[c] - result[c]) - (lumas[0] - lumas[2]),
                                            strength * colour * ((double) (o[c] - d[c]) - (lumas[0] - lumas[1])), 1e-6);
        }
    }
  g_assert_true (diffusion_denoise_blend (original, denoised, 1, 0, 1, out, NULL));
  g_assert_cmpmem (out->data, 200 * 12, denoised->data, 200 * 12);
  g_assert_true (diffusion_denoise_blend (original, denoised, 0, 0.5, 0.5, out, NULL));
  g_assert_cmpmem (out->data, 200 * 12, original->data, 200 * 12);
  g_assert_true (diffusion_denoise_blend (original, original, 0.3, 0.2, 0.7, out, NULL));
  g_assert_cmpmem (out->data, 200 * 12, original->data, 200 * 12);
}

/* The result may take the place of either picture. */
static void
test_blend_in_place (void)
{
  g_autoptr (DiffusionPicture) original = new_noise (20, 10, 3, 1, 0, 1), denoised = new_noise (20, 10, 3, 2, 0, 1),
                               out = new_picture (20, 10, 3, 0), first = diffusion_picture_copy (original, NULL),
                               second = diffusion_picture_copy (denoised, NULL);

  g_assert_true (diffusion_denoise_blend (original, denoised, 0.6, 0.3, 0.9, out, NULL));
  g_assert_true (diffusion_denoise_blend (first, denoised, 0.6, 0.3, 0.9, first, NULL));
  g_assert_true (diffusion_denoise_blend (original, second, 0.6, 0.3, 0.9, second, NULL));
  g_assert_cmpmem (first->data, 200 * 12, out->data, 200 * 12);
  g_assert_cmpmem (second->data, 200 * 12, out->data, 200 * 12);
}

static void
test_blend_arguments (void)
{
  static const double settings[][3] = { { -0.1, 0, 1 }, { 2.1, 0, 1 },  { NAN, 0, 1 }, { 1, -0.1, 1 }, { 1, 1.1, 1 },
                                        { 1, NAN, 1 },  { 1, 0, -0.1 }, { 1, 0, 1.1 }, { 1, 0, NAN } };
  g_autoptr (DiffusionPicture) a = new_picture (4, 5, 3, 0), b = new_picture (4, 5, 3, 0),
                               wide = new_picture (5, 4, 3, 0), map = new_picture (4, 5, 1, 0);
  const DiffusionPicture *const wrong[][2] = { { wide, b }, { a, wide }, { map, b }, { a, map } };

  for (gsize i = 0; i < G_N_ELEMENTS (settings); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_false (diffusion_denoise_blend (a, b, settings[i][0], settings[i][1], settings[i][2], a, &error));
      g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
    }
  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++)
    {
      g_autoptr (GError) error = NULL;

      g_assert_false (diffusion_denoise_blend (wrong[i][0], wrong[i][1], 1, 0, 1, a, &error));
      g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
    }
}

/* The same seed gives the same picture on any number of threads, another seed another one. */
static void
test_generate (void)
{
  g_autoptr (DiffusionModel) model = new_model ();
  g_autoptr (DiffusionPicture) a = new_picture (70, 50, 3, 0), b = new_picture (70, 50, 3, 1),
                               c = new_picture (70, 50, 3, 0);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;

  options.steps = 5;
  options.sampler = DIFFUSION_SAMPLER_DDPM;
  options.seed = 1;
  options.threads = 1;
  g_assert_true (diffusion_generate (model, a, &options, NULL, NULL));
  options.threads = 3;
  g_assert_true (diffusion_generate (model, b, &options, NULL, NULL));
  g_assert_cmpmem (a->data, 70 * 50 * 12, b->data, 70 * 50 * 12);
  options.seed = 2;
  g_assert_true (diffusion_generate (model, c, &options, NULL, NULL));
  g_assert_cmpfloat (largest_difference (a, c), >, 0.01);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/process/philox", test_philox);
  g_test_add_func ("/process/gaussian", test_gaussian);
  g_test_add_func ("/process/forward/chain", test_forward_chain);
  g_test_add_func ("/process/forward/position", test_forward_position);
  g_test_add_func ("/process/forward/errors", test_forward_errors);
  g_test_add_func ("/process/schedule", test_schedule);
  g_test_add_func ("/process/sampler-names", test_sampler_names);
  g_test_add_func ("/process/ddpm-transition", test_ddpm_transition);
  g_test_add_data_func ("/process/chain/ddpm", GINT_TO_POINTER (DIFFUSION_SAMPLER_DDPM), test_chain);
  g_test_add_data_func ("/process/chain/ddim", GINT_TO_POINTER (DIFFUSION_SAMPLER_DDIM), test_chain);
  g_test_add_data_func ("/process/chain/dpm++2m", GINT_TO_POINTER (DIFFUSION_SAMPLER_DPMPP_2M), test_chain);
  g_test_add_data_func ("/process/chain/euler", GINT_TO_POINTER (DIFFUSION_SAMPLER_EULER), test_chain);
  g_test_add_data_func ("/process/chain/euler-a", GINT_TO_POINTER (DIFFUSION_SAMPLER_EULER_ANCESTRAL), test_chain);
  g_test_add_data_func ("/process/chain/lcm", GINT_TO_POINTER (DIFFUSION_SAMPLER_LCM), test_chain);
  g_test_add_data_func ("/process/tiles/one-step", GINT_TO_POINTER (DIFFUSION_SAMPLER_DDIM), test_tiles);
  g_test_add_data_func ("/process/tiles/ddpm", GINT_TO_POINTER (DIFFUSION_SAMPLER_DDPM), test_tiles);
  g_test_add_data_func ("/process/tiles/dpm++2m", GINT_TO_POINTER (DIFFUSION_SAMPLER_DPMPP_2M), test_tiles);
  g_test_add_func ("/process/known-pixels", test_known_pixels);
  g_test_add_func ("/process/tiny-pictures", test_tiny_pictures);
  g_test_add_func ("/process/progress", test_progress);
  g_test_add_data_func ("/process/spectator/ddpm", GINT_TO_POINTER (DIFFUSION_SAMPLER_DDPM), test_spectator);
  g_test_add_data_func ("/process/spectator/ddim", GINT_TO_POINTER (DIFFUSION_SAMPLER_DDIM), test_spectator);
  g_test_add_data_func ("/process/spectator/dpm++2m", GINT_TO_POINTER (DIFFUSION_SAMPLER_DPMPP_2M), test_spectator);
  g_test_add_func ("/process/cancel", test_cancel);
  g_test_add_func ("/process/arguments", test_arguments);
  g_test_add_func ("/process/denoise/map", test_denoise_map);
  g_test_add_func ("/process/denoise/nothing", test_denoise_nothing);
  g_test_add_func ("/process/denoise/partly", test_denoise_partly);
  g_test_add_func ("/process/pixels", test_pixels);
  g_test_add_func ("/process/denoise/more", test_denoise_more);
  g_test_add_func ("/process/smooth/shares", test_smooth);
  g_test_add_func ("/process/smooth/damaged", test_smooth_damaged);
  g_test_add_func ("/process/blend/shares", test_blend);
  g_test_add_func ("/process/blend/in-place", test_blend_in_place);
  g_test_add_func ("/process/blend/arguments", test_blend_arguments);
  g_test_add_func ("/process/rounded-strips", test_rounded_strips);
  g_test_add_func ("/process/generate", test_generate);
  return g_test_run ();
}
