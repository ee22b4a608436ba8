/* Training: the corpus, runs on a tiny set, checkpoints, several ranks.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "discs.h"
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
      draw_discs (&random, 100 - i, 90, rgb);
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

/* Where the checkpoint's training stands; adam's arrays are parts of what is returned, in the order in which it has
 * them. */
static float *
load_state (const Fixture *f, const DiffusionTrainOptions *options, Adam *adam, Progress *progress)
{
  g_autoptr (NetLayout) layout = net_layout_new (&options->architecture, NULL);
  gsize  n = layout->n_parameters;
  float *weights = g_new (float, n * 4);

  *adam = (Adam){ n, weights, weights + n, weights + 2 * n, weights + 3 * n, 0 };
  g_assert_true (checkpoint_load (f->checkpoint, layout, adam, progress, NULL));
  return weights;
}

/* The weights in full precision, their average and both moments, `count` of each; the model has halves, in which two
 * that hardly differ can be far apart. */
static float *
load_weights (const Fixture *f, const DiffusionTrainOptions *options, gsize *count)
{
  Adam     adam;
  Progress progress;
  float   *weights = load_state (f, options, &adam, &progress);

  *count = adam.count;
  return weights;
}

/* Interrupted, saved, resumed: the same weights as in one go, to the last bit, by more threads than one. */
static void
test_resume (Fixture *f, gconstpointer data)
{
  DiffusionTrainOptions options = get_options (f, 160);
  Watch                 w = { g_cancellable_new (), 80, 0, 0, 0 };
  GError               *error = NULL;
  g_autofree float     *whole = NULL, *halves = NULL;
  gsize                 count;

  options.threads = 2;
  g_setenv ("DIFFUSION_COMPUTE", "blas", TRUE);
  g_assert_true (diffusion_train (&options, NULL, &error));
  whole = load_weights (f, &options, &count);
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
  halves = load_weights (f, &options, &count);
  g_assert_cmpmem (whole, count * 4 * sizeof (float), halves, count * 4 * sizeof (float));
  g_object_unref (w.cancellable);
  g_unsetenv ("DIFFUSION_COMPUTE");
}

/* Fine-tuning starts where the other model stands, in its shape or with more blocks, and what that one has seen counts.
 */
static void
test_from (Fixture *f, gconstpointer data)
{
  const DiffusionArchitecture more = { 1, { 24 }, { 2 } };
  DiffusionTrainOptions       options = get_options (f, 8);
  g_autofree char            *base = g_build_filename (f->folder, "base.safetensors", NULL);
  const DiffusionArchitecture shape = { 1, { 24 }, { 1 } };
  g_autoptr (DiffusionModel) from = diffusion_model_new (&shape, 3, NULL), model = NULL;
  GError *error = NULL;
  double  difference = 0;

  diffusion_model_set_metadata (from, "samples", "1000");
  diffusion_model_set_metadata (from, "hours", "2.5");
  g_assert_true (diffusion_model_save (from, base, NULL));
  options.from = base;
  options.architecture = (DiffusionArchitecture){ 0 };
  options.learning_rate = 1e-6;
  diffusion_train (&options, NULL, &error);
  g_assert_no_error (error);
  model = diffusion_model_load (f->model, &error);
  g_assert_cmpmem (diffusion_model_get_architecture (model), sizeof shape, &shape, sizeof shape);
  for (gsize i = 0; i < diffusion_model_count_parameters (model); i++)
    difference = fmax (difference, fabs ((double) model_get_weights (model)[i] - (double) model_get_weights (from)[i]));
  g_assert_cmpfloat (difference, <, 1e-3);
  g_assert_cmpstr (diffusion_model_get_metadata (model, "samples"), ==, "1008");
  g_assert_cmpstr (diffusion_model_get_metadata (model, "hours"), ==, "2.50");

  g_unlink (f->checkpoint);
  options.architecture = more;
  diffusion_train (&options, NULL, &error);
  g_assert_no_error (error);
  diffusion_model_unref (g_steal_pointer (&model));
  model = diffusion_model_load (f->model, &error);
  g_assert_cmpmem (diffusion_model_get_architecture (model), sizeof more, &more, sizeof more);
  g_unlink (base);
}

/* What the first and the second step report of a training that goes on from a model of so many samples, at a rate at
 * which nothing is learned: the losses are the samples'. */
static void
measure_first_steps (const Fixture *f, const char *seen, int batch, double losses[2])
{
  DiffusionTrainOptions options = get_options (f, 2 * batch);
  g_autofree char      *base = g_build_filename (f->folder, "base.safetensors", NULL);
  g_autoptr (DiffusionModel) from = diffusion_model_new (&options.architecture, 3, NULL);
  Watch w = { 0 };

  diffusion_model_set_metadata (from, "samples", seen);
  g_assert_true (diffusion_model_save (from, base, NULL));
  options.from = base;
  options.batch = batch;
  options.learning_rate = 1e-9;
  options.progress = watch;
  options.progress_data = &w;
  g_assert_true (diffusion_train (&options, NULL, NULL));
  g_unlink (f->checkpoint);
  g_unlink (base);
  losses[0] = w.first;
  losses[1] = (w.last - 0.99 * w.first) / 0.01; /* reports are running means */
}

/* Each step has other samples than the one before, each sample of a step is another, and a training that goes on from
 * a model goes on with the samples that come after those which that one has seen. */
static void
test_new_samples (Fixture *f, gconstpointer data)
{
  double start[2], later[2], alone[2];

  measure_first_steps (f, "0", 8, start);
  measure_first_steps (f, "8", 8, later);
  measure_first_steps (f, "0", 1, alone);
  g_test_message ("losses %.6f, %.6f; later %.6f, %.6f; alone %.6f, %.6f", start[0], start[1], later[0], later[1],
                  alone[0], alone[1]);
  g_assert_cmpfloat (fabs (start[0] - start[1]), >, 1e-3);
  g_assert_cmpfloat (fabs (start[0] - later[0]), >, 1e-3);
  g_assert_cmpfloat_with_epsilon (start[1], later[0], 1e-6);
  g_assert_cmpfloat (fabs (alone[0] - start[0]), >, 1e-3);
  g_assert_cmpfloat (fabs (alone[0] - alone[1]), >, 1e-3);
}

static void
keep_weights (const DiffusionModel *model, const DiffusionTrainReport *report, gpointer data)
{
  memcpy (data, model_get_weights ((DiffusionModel *) model),
          diffusion_model_count_parameters (model) * sizeof (float));
}

/* Steps are as long as the schedule's rate says: of no weight much longer, and for Muon's matrices as its definition
 * says, once the last convolution is no longer zero and lets gradients through. */
static void
assert_lengths (const Muon *muon, int step, double rate, const float *before, const float *after, gsize count)
{
  double most = 0;

  for (gsize i = 0; i < count; i++)
    most = fmax (most, fabs ((double) after[i] - (double) before[i]));
  /* Adam's first steps are of the rate itself; seen: 0.95 to 1.003. */
  g_assert_cmpfloat (most / rate, >, 0.7);
  g_assert_cmpfloat (most / rate, <, 1.4);
  for (int i = 0; i < muon->n_matrices && step > 2; i++)
    {
      const MuonMatrix *matrix = &muon->matrices[i];
      gsize             values = (gsize) (matrix->rows * matrix->columns);
      double            square = 0;

      for (gsize k = matrix->offset; k < matrix->offset + values; k++)
        square += pow ((double) after[k] - (double) before[k], 2) / (double) values;
      /* The factor's singular values; seen: 0.84 to 0.99. */
      g_assert_cmpfloat (sqrt (square) / (0.2 * rate), >, 0.68);
      g_assert_cmpfloat (sqrt (square) / (0.2 * rate), <, 1.21);
    }
}

/* After each of a few steps the weights' average has followed them as far as is stated of it, and the steps are as long
 * as the rate of the schedule; what the training gives is the average. */
static void
test_average (Fixture *f, gconstpointer data)
{
  enum
  {
    STEPS = 8
  };
  DiffusionTrainOptions options = get_options (f, 8 * STEPS);
  g_autoptr (NetLayout) layout = net_layout_new (&options.architecture, NULL);
  gsize             n = layout->n_parameters;
  g_autofree float *before = g_new (float, n), *average = g_new (float, n), *given = g_new (float, n);
  Muon             *muon = muon_new (layout, 1, NULL);

  net_layout_init_weights (layout, options.seed, before);
  memcpy (average, before, n * sizeof (float));
  options.progress = watch;
  options.on_stock = keep_weights;
  options.stock_data = given;
  for (int step = 1; step <= STEPS; step++)
    {
      g_autoptr (GCancellable) cancellable = g_cancellable_new ();
      Watch             w = { cancellable, 8 * step, 0, 0, 0 };
      double            keep = step / (step + 19.0), rate, lag = 0;
      gsize             count;
      g_autofree float *after = NULL;

      options.progress_data = &w;
      g_assert_cmpint (diffusion_train (&options, cancellable, NULL), ==, step == STEPS);
      after = load_weights (f, &options, &count);
      rate = rate_get (options.learning_rate, step - 1, (step - 1.0) / STEPS);
      assert_lengths (muon, step, rate, before, after, n);
      for (gsize i = 0; i < n; i++)
        {
          double wanted = keep * (double) average[i] + (1 - keep) * (double) after[i];

          g_assert_cmpfloat_with_epsilon ((double) after[n + i], wanted, 1e-6);
          lag = fmax (lag, fabs ((double) after[n + i] - (double) after[i]));
        }
      /* Where the rate is not next to nothing, the average is not the weights. */
      if (step > 1)
        g_assert_cmpfloat (lag, >, 1e-5);
      memcpy (before, after, n * sizeof (float));
      memcpy (average, after + n, n * sizeof (float));
    }
  g_assert_cmpmem (given, n * sizeof (float), average, n * sizeof (float));
  muon_free (muon);
}

/* Takes one step from the weights of `start`, of whose training so many are said to be done and gradients to be of such
 * a norm as a rule; no moments are left of them. */
static float *
step_from (const Fixture *f, const DiffusionTrainOptions *options, const Adam *start, gint64 steps, double usual,
           Adam *adam, Progress *progress)
{
  g_autoptr (NetLayout) layout = net_layout_new (&options->architecture, NULL);
  g_autofree float *zero = g_new0 (float, start->count);
  const Adam        from = { start->count, start->weights, start->average, zero, zero, steps };
  const Progress    stands = { .samples = options->batch, .loss = 1, .gradient_norm = usual };

  g_assert_true (checkpoint_save (f->checkpoint, layout, &from, &stands, NULL));
  g_assert_true (diffusion_train (options, NULL, NULL));
  return load_state (f, options, adam, progress);
}

/* A step along a gradient that is four times as long as usual is left out, and hardly changes what is usual; one that
 * is longer than 1.2 times is shortened to that; before fifty steps nothing is usual. */
static void
test_outliers (Fixture *f, gconstpointer data)
{
  static const struct
  {
    gint64   steps;
    double   length; /* in units of the usual one */
    gboolean skipped;
    double   scale;
  } cases[] = {
    { 50, 1.1, FALSE, 1 }, { 50, 3.9, FALSE, 1.2 / 3.9 }, { 50, 4.1, TRUE, 0 },
    { 50, 1000, TRUE, 0 }, { 49, 3.9, FALSE, 1 },         { 49, 1000, FALSE, 1 },
  };
  DiffusionTrainOptions options = get_options (f, 16);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Watch             w = { cancellable, 8, 0, 0, 0 };
  Adam              start, free_step;
  Progress          progress;
  g_autofree float *memory = NULL, *free_memory = NULL;
  double            norm;

  options.progress = watch;
  options.progress_data = &w;
  g_assert_false (diffusion_train (&options, cancellable, NULL));
  options.progress = NULL;
  memory = load_state (f, &options, &start, &progress);
  /* Of what is usual a fiftieth is the step's. */
  free_memory = step_from (f, &options, &start, 50, 1e3, &free_step, &progress);
  g_assert_cmpint (progress.skipped, ==, 0);
  norm = (progress.gradient_norm - 0.98 * 1e3) / 0.02;
  g_assert_cmpfloat (norm, >, 1e-3);
  g_assert_cmpfloat (norm, <, 1e3);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      double            usual = norm / cases[i].length, product = 0, square = 0;
      Adam              adam;
      g_autofree float *after = step_from (f, &options, &start, cases[i].steps, usual, &adam, &progress);

      g_assert_cmpint (progress.samples, ==, 16);
      g_assert_cmpint (progress.skipped, ==, cases[i].skipped);
      g_assert_cmpint (adam.steps, ==, cases[i].steps + ! cases[i].skipped);
      /* The weights, and with them their average, are what they were only then. */
      g_assert_cmpint (memcmp (adam.weights, start.weights, start.count * sizeof (float)) == 0, ==, cases[i].skipped);
      g_assert_cmpint (memcmp (adam.average, start.average, start.count * sizeof (float)) == 0, ==, cases[i].skipped);
      for (gsize k = 0; k < start.count; k++)
        {
          product += (double) adam.m[k] * (double) free_step.m[k];
          square += (double) free_step.m[k] * (double) free_step.m[k];
        }
      g_assert_cmpfloat_with_epsilon (product / square, cases[i].scale, 1e-4);
      g_assert_cmpfloat_with_epsilon (progress.gradient_norm / usual, 0.98 + 0.02 * MIN (cases[i].length, 1.2), 1e-6);
    }
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
  g_test_add ("/train/learns", Fixture, NULL, set_up, test_learns, tear_down);
  g_test_add ("/train/resume", Fixture, NULL, set_up, test_resume, tear_down);
  g_test_add ("/train/from", Fixture, NULL, set_up, test_from, tear_down);
  g_test_add ("/train/new-samples", Fixture, NULL, set_up, test_new_samples, tear_down);
  g_test_add ("/train/average", Fixture, NULL, set_up, test_average, tear_down);
  g_test_add ("/train/outliers", Fixture, NULL, set_up, test_outliers, tear_down);
  g_test_add ("/train/style", Fixture, NULL, set_up, test_style, tear_down);
  g_test_add ("/train/team/whole", Fixture, GINT_TO_POINTER (FALSE), set_up, test_team, tear_down);
  g_test_add ("/train/team/resumed", Fixture, GINT_TO_POINTER (TRUE), set_up, test_team, tear_down);
  g_test_add ("/train/refuses", Fixture, NULL, set_up, test_refuses, tear_down);
  return g_test_run ();
}
