/* Training: batches, steps, checkpoints.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One loader thread draws batches ahead; the pool's workers each run their samples forward and backward; then the
 * optimizer's work is split over the pool.  The network computes in the back end's element type; weights, gradients and
 * moments are f32.
 *
 * The error is EDM's (Karras et al. 2022, eq. 8 with their weighting): the mean square of F against its target, which
 * is 1 for an untrained network; with less weight at small levels.  What is made small is its logarithm (loss.c).
 */
#include "net/model.h"
#include "process/process.h"
#include "train.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <math.h>

#define OUTLIER      4.0 /* a step whose gradient is this much longer than usual is left out */
#define CLIP         1.2 /* one this much longer is shortened */
#define SETTLE_STEPS 50  /* before "usual" means anything */
/* The level (picture units) whose weight is a half.  Below, most of F's target cannot be known, and is hardly seen. */
#define HALF_LEVEL         (5.0f / 255)
#define BATCHES_AHEAD      3
#define SMOOTHING          0.99
#define VALIDATION_SAMPLES 48
#define VALIDATION_SEED    0x76616C69u

/* What the network is given and asked for. */
typedef struct
{
  float  *input;   /* [batch][size / 2][size / 2][NET_CHANNELS_IN] */
  float  *target;  /* [batch][size / 2][size / 2][NET_CHANNELS_OUT] */
  float  *weight;  /* as target: from 0 at level 0 to 1 */
  double  weights; /* their sum */
  GError *error;   /* why the loader could not fill it; else NULL */
} Batch;

typedef struct
{
  const DiffusionTrainOptions *options;
  Corpus                      *corpus;
  NetLayout                   *layout;
  NetPlan                     *plan;
  Pool                        *pool;
  Adam                         adam;
  Muon                        *muon; /* its state is adam's */
  Progress                     progress;

  int         tasks, per_task; /* batch = tasks * per_task */
  double      weights;         /* of this step's samples, of all ranks */
  TrainPass **passes;          /* per task */
  float     **gradients; /* per task, and added up in the tasks' order: results do not depend on the threads' luck */
  float     **d_outputs; /* per task */
  double     *losses;    /* per task */
  GError    **errors;    /* per task */
  Batch      *current;

  GThread     *loader;
  GAsyncQueue *ready, *empty; /* Batch */
  Batch        batches[BATCHES_AHEAD];
  gint         stop; /* atomic: the loader ends */

  double validation;
  gint64 started; /* monotonic */
  double seconds_before;
  gint64 waited;         /* for the loader, microseconds */
  gint64 samples_before; /* of earlier runs */
} Trainer;

/* ---- batches ---- */

static void
batch_clear (Batch *batch)
{
  core_free (batch->input);
  core_free (batch->target);
  core_free (batch->weight);
  g_clear_error (&batch->error);
}

static gboolean
batch_init (Batch *batch, int samples, int size, GError **error)
{
  gsize pixels = (gsize) samples * (gsize) (size / 2) * (gsize) (size / 2);

  *batch = (Batch){ core_alloc0 (pixels * NET_CHANNELS_IN, sizeof (float), error), NULL, NULL, 0, NULL };
  if (batch->input)
    batch->target = core_alloc0 (pixels * NET_CHANNELS_OUT, sizeof (float), error);
  if (batch->target)
    batch->weight = core_alloc0 (pixels * NET_CHANNELS_OUT, sizeof (float), error);
  return batch->weight != NULL;
}

/* F's target: what makes D (x) the clean picture. */
static void
batch_set_target (Batch *batch, int index, const Sample *sample)
{
  int       size = sample->size, half = size / 2;
  gsize     first = (gsize) index * (gsize) half * (gsize) half * NET_CHANNELS_OUT;
  Condition condition = condition_at (1);
  float     last = 1;

  for (int y = 0; y < size; y++)
    for (int x = 0; x < size; x++)
      {
        int   at = y * size + x;
        gsize to = first + (gsize) ((y / 2 * half + x / 2) * NET_CHANNELS_OUT + (y % 2 * 2 + x % 2) * 3);
        float level = sample->level[at], sigma = level * LEVEL_TO_SIGMA;
        float weight = level * level / (level * level + HALF_LEVEL * HALF_LEVEL);

        if (sigma > 0 && sigma != last)
          condition = condition_at (last = sigma);
        for (int c = 0; c < 3; c++)
          {
            float clean = 2 * sample->clean[at * 3 + c] - 1, noisy = 2 * sample->noisy[at * 3 + c] - 1;

            batch->weight[to + (gsize) c] = weight;
            batch->target[to + (gsize) c] = sigma > 0 ? (clean - condition.c_skip * noisy) / condition.c_out : 0;
          }
        batch->weights += 3 * (double) weight;
      }
}

typedef struct
{
  Sample sample;
  float *work;
} Drawer;

static void
drawer_clear (Drawer *drawer)
{
  core_free (drawer->sample.clean);
  core_free (drawer->sample.noisy);
  core_free (drawer->sample.level);
  core_free (drawer->work);
}

static gboolean
drawer_init (Drawer *drawer, int size, GError **error)
{
  gsize pixels = (gsize) size * (gsize) size;

  *drawer = (Drawer){ { size, core_alloc0 (pixels * 3, sizeof (float), error), NULL, NULL }, NULL };
  if (drawer->sample.clean)
    drawer->sample.noisy = core_alloc0 (pixels * 3, sizeof (float), error);
  if (drawer->sample.noisy)
    drawer->sample.level = core_alloc0 (pixels, sizeof (float), error);
  if (drawer->sample.level)
    drawer->work = core_alloc0 (sample_work_size (size), sizeof (float), error);
  return drawer->work != NULL;
}

static gboolean
batch_draw (Batch *batch, int samples, const Trainer *trainer, gboolean held_out, guint64 seed, gint64 first_sample,
            Drawer *drawer, GError **error)
{
  int   size = drawer->sample.size;
  gsize step = (gsize) (size / 2) * (gsize) (size / 2) * NET_CHANNELS_IN;

  batch->weights = 0;
  for (int i = 0; i < samples; i++)
    {
      Random        random;
      ConditionRows rows = { drawer->sample.noisy, drawer->sample.level, (gsize) size, (gsize) size, size, size };

      /* A sequence for each sample, so that a resumed training goes on with pictures that it has not seen. */
      random_init (&random, seed, (guint64) (first_sample + i));
      if (! sample_draw (trainer->corpus, held_out, &random, trainer->options->mix, &drawer->sample, drawer->work,
                         error))
        return FALSE;
      condition_pack (&rows, batch->input + (gsize) i * step);
      batch_set_target (batch, i, &drawer->sample);
    }
  return TRUE;
}

/* The loader thread.  A batch with an error is its last; nothing is drawn beyond the samples that were asked for. */
static gpointer
load_batches (gpointer data)
{
  Trainer *trainer = data;
  gint64   sample = trainer->progress.samples;
  gint64   end = trainer->options->samples > 0 ? trainer->options->samples : G_MAXINT64;
  Drawer   drawer = { 0 };
  gboolean success = TRUE;

  while (success && sample < end && ! g_atomic_int_get (&trainer->stop))
    {
      Batch *batch = g_async_queue_timeout_pop (trainer->empty, 100000);

      if (! batch)
        continue;
      success = (drawer.work || drawer_init (&drawer, trainer->options->crop, &batch->error))
                && batch_draw (batch, trainer->options->batch, trainer, FALSE, trainer->options->seed,
                               trainer->progress.samples_of_start + sample
                                   + trainer->options->team.rank * trainer->options->batch,
                               &drawer, &batch->error);
      sample += team_batch (trainer->options);
      g_async_queue_push (trainer->ready, batch);
    }
  drawer_clear (&drawer);
  return NULL;
}

/* ---- one step ---- */

/* A sample's pixels, as the network sees them: 2x2-unshuffled. */
static gsize
get_pixels (const Trainer *trainer)
{
  gsize half = (gsize) (trainer->options->crop / 2);

  return half * half;
}

/* The loss of samples [first, first + count) of a batch; d_output, unless NULL, receives its gradient times scale. */
static double
measure (const Trainer *trainer, const Batch *batch, int first, int count, const float *output, double scale,
         float *d_output)
{
  gsize  values = get_pixels (trainer) * NET_CHANNELS_OUT;
  double loss = 0;

  for (gsize i = 0; i < (gsize) count; i++)
    {
      gsize at = ((gsize) first + i) * values;

      loss += loss_measure (output + i * values, batch->target + at, batch->weight + at, values, scale,
                            d_output ? d_output + i * values : NULL);
    }
  return loss;
}

static void
run_task (int task, int thread, gpointer data)
{
  Trainer     *trainer = data;
  const Batch *batch = trainer->current;
  int          first = task * trainer->per_task;
  float       *d_output = trainer->d_outputs[task];
  const float *output;

  output = train_pass_forward (trainer->passes[task],
                               batch->input + (gsize) first * get_pixels (trainer) * NET_CHANNELS_IN,
                               &trainer->errors[task]);
  if (! output)
    return;
  trainer->losses[task]
      = measure (trainer, batch, first, trainer->per_task, output, 1 / MAX (trainer->weights, 1), d_output);
  train_pass_backward (trainer->passes[task], d_output, trainer->gradients[task], &trainer->errors[task]);
}

/* How far the training is, from 0 to 1. */
static double
get_fraction (const Trainer *trainer)
{
  const DiffusionTrainOptions *o = trainer->options;

  return o->samples > 0 ? (double) trainer->progress.samples / (double) o->samples
                        : trainer->progress.seconds / (o->minutes * 60);
}

static void
update_weights (Trainer *trainer, double norm)
{
  Progress *p = &trainer->progress;
  double    rate = rate_get (trainer->options->learning_rate, trainer->adam.steps, get_fraction (trainer));
  gboolean  settled = trainer->adam.steps >= SETTLE_STEPS;

  if (! isfinite (norm) || (settled && norm > OUTLIER * p->gradient_norm))
    {
      p->skipped++;
      memset (trainer->gradients[0], 0, trainer->layout->n_parameters * sizeof (float));
    }
  else
    {
      double scale = settled ? MIN (1, CLIP * p->gradient_norm / MAX (norm, 1e-30)) : 1;
      double decay = rate_get_average_decay (trainer->adam.steps);

      muon_step (trainer->muon, &trainer->adam, trainer->pool, trainer->gradients[0], scale, rate, decay);
      adam_step (&trainer->adam, trainer->pool, trainer->gradients[0], scale, rate, decay, trainer->muon->rest,
                 trainer->muon->n_rest);
      memset (trainer->gradients[0], 0, trainer->layout->n_parameters * sizeof (float));
    }
  if (isfinite (norm))
    p->gradient_norm
        = trainer->adam.steps <= 1 ? norm : 0.98 * p->gradient_norm + 0.02 * MIN (norm, CLIP * p->gradient_norm);
}

static gboolean
train_step (Trainer *trainer, GError **error)
{
  const DiffusionTeam *team = &trainer->options->team;
  Progress            *p = &trainer->progress;
  double               loss = 0, norm;
  gint64               start = g_get_monotonic_time ();

  trainer->current = g_async_queue_pop (trainer->ready);
  trainer->waited += g_get_monotonic_time () - start;
  if (trainer->current->error)
    {
      g_propagate_error (error, g_steal_pointer (&trainer->current->error));
      return FALSE;
    }
  trainer->weights = trainer->current->weights;
  if (! team_sum (team, &trainer->weights, 1, error))
    return FALSE;
  pool_run (trainer->pool, trainer->tasks, run_task, trainer);
  if (! core_take_first_error (trainer->errors, trainer->tasks, error))
    return FALSE;
  for (int i = 0; i < trainer->tasks; i++)
    loss += trainer->losses[i] / trainer->weights;
  g_async_queue_push (trainer->empty, trainer->current);

  norm = adam_reduce (&trainer->adam, trainer->pool, trainer->gradients, trainer->tasks);
  if (! team_reduce (team, &trainer->adam, trainer->pool, trainer->gradients[0], &norm, error)
      || ! team_sum (team, &loss, 1, error))
    return FALSE;
  update_weights (trainer, isfinite (loss) ? norm : NAN);
  if (! net_plan_set_weights (trainer->plan, trainer->adam.weights, trainer->pool, error))
    return FALSE;
  p->samples += team_batch (trainer->options);
  p->seconds = trainer->seconds_before + (double) (g_get_monotonic_time () - trainer->started) * 1e-6;
  loss = loss_get_error (loss);
  if (isfinite (loss))
    p->loss = trainer->adam.steps <= 1 ? loss : SMOOTHING * p->loss + (1 - SMOOTHING) * loss;
  return TRUE;
}

/* ---- validation ---- */

/* The loss of the averaged weights on crops that are the same each time. */
static gboolean
validate (Trainer *trainer, GError **error)
{
  int          samples = trainer->per_task;
  double       sum = 0, weights = 0;
  gboolean     success;
  Batch        batch = { 0 };
  Drawer       drawer = { 0 };
  const float *output;

  success = batch_init (&batch, samples, trainer->options->crop, error)
            && drawer_init (&drawer, trainer->options->crop, error)
            && net_plan_set_weights (trainer->plan, trainer->adam.average, trainer->pool, error);
  for (int done = 0; done < VALIDATION_SAMPLES && success; done += samples)
    {
      /* What is left over of the last pass does not count: the crops are the same whatever the batch. */
      int count = MIN (samples, VALIDATION_SAMPLES - done);

      success = batch_draw (&batch, count, trainer, TRUE, VALIDATION_SEED, done, &drawer, error);
      output = success ? train_pass_forward (trainer->passes[0], batch.input, error) : NULL;
      success = output != NULL;
      if (success)
        sum += measure (trainer, &batch, 0, count, output, 0, NULL);
      weights += batch.weights;
    }
  batch_clear (&batch);
  drawer_clear (&drawer);
  success = success && net_plan_set_weights (trainer->plan, trainer->adam.weights, trainer->pool, error);
  trainer->validation = loss_get_error (sum / MAX (weights, 1));
  return success;
}

/* ---- files ---- */

static DiffusionModel *
make_model (const Trainer *trainer, GError **error)
{
  static const char *const mixes[] = {
    [DIFFUSION_TRAIN_DENOISE] = "denoise", [DIFFUSION_TRAIN_INPAINT] = "inpaint", [DIFFUSION_TRAIN_STYLE] = "style"
  };

  const DiffusionTrainOptions *o = trainer->options;
  g_autoptr (DiffusionModel) model = diffusion_model_new (&trainer->layout->architecture, 0, error);
  g_autofree char *name = g_path_get_basename (o->out);
  g_autofree char *samples
      = g_strdup_printf ("%" G_GINT64_FORMAT, trainer->progress.samples_of_start + trainer->progress.samples);
  g_autofree char *hours
      = g_strdup_printf ("%.2f", trainer->progress.hours_of_start + trainer->progress.seconds / 3600);
  g_autofree char *loss = g_strdup_printf ("%.4f", trainer->validation);
  g_autofree char *crop = g_strdup_printf ("%d crops of %d x %d pixels per step", team_batch (o), o->crop, o->crop);

  if (! model)
    return NULL;
  memcpy (model_get_weights (model), trainer->adam.average, trainer->layout->n_parameters * sizeof (float));
  if (g_str_has_suffix (name, ".safetensors"))
    name[strlen (name) - strlen (".safetensors")] = '\0';
  diffusion_model_set_metadata (model, "name", name);
  diffusion_model_set_metadata (model, "mix", mixes[o->mix]);
  diffusion_model_set_metadata (model, "samples", samples);
  diffusion_model_set_metadata (model, "hours", hours);
  diffusion_model_set_metadata (model, "validation_loss", loss);
  diffusion_model_set_metadata (model, "batch", crop);
  if (o->license)
    diffusion_model_set_metadata (model, "license", o->license);
  if (o->data)
    diffusion_model_set_metadata (model, "data", o->data);
  return g_steal_pointer (&model);
}

/* What the model to start from has learned from: its samples shall not be drawn again, and count. */
static void
note_start (Trainer *trainer, const DiffusionModel *from)
{
  const char *samples = diffusion_model_get_metadata (from, "samples"),
             *hours = diffusion_model_get_metadata (from, "hours");

  trainer->progress.samples_of_start = samples ? MAX (g_ascii_strtoll (samples, NULL, 10), 0) : 0;
  trainer->progress.hours_of_start = hours ? MAX (g_ascii_strtod (hours, NULL), 0) : 0;
}

/* Where the run starts from: a checkpoint, another model, or nothing. */
static gboolean
set_start (Trainer *trainer, const char *checkpoint, GError **error)
{
  const DiffusionTrainOptions *o = trainer->options;
  Adam                        *adam = &trainer->adam;
  g_autoptr (DiffusionModel) from = o->from ? diffusion_model_load (o->from, error) : NULL;

  if (o->from && ! from)
    return FALSE;
  if (from)
    note_start (trainer, from);
  if (o->team.rank > 0)
    ; /* comes from rank 0 */
  else if (o->resume && g_file_test (checkpoint, G_FILE_TEST_EXISTS))
    {
      if (! checkpoint_load (checkpoint, trainer->layout, adam, &trainer->progress, error))
        return FALSE;
    }
  else if (from)
    {
      net_layout_take_weights (trainer->layout, model_get_layout (from), model_get_weights (from), o->seed,
                               adam->weights);
      memcpy (adam->average, adam->weights, adam->count * sizeof (float));
    }
  else
    {
      net_layout_init_weights (trainer->layout, o->seed, adam->weights);
      memcpy (adam->average, adam->weights, adam->count * sizeof (float));
    }
  if (! team_share_start (&o->team, adam, &trainer->progress, error))
    return FALSE;
  trainer->seconds_before = trainer->progress.seconds;
  trainer->samples_before = trainer->progress.samples;
  return net_plan_set_weights (trainer->plan, adam->weights, trainer->pool, error);
}

/* ---- the trainer ---- */

static gboolean
check_options (const DiffusionTrainOptions *o, DiffusionArchitecture *architecture, GError **error)
{
  const char *wrong = NULL;

  *architecture = o->architecture.levels ? o->architecture : diffusion_architecture_default;
  if (o->from)
    {
      g_autoptr (DiffusionModel) from = diffusion_model_load (o->from, error);

      if (! from || ! model_check_own (from, "it can generate, inpaint and regenerate, but not be trained", error))
        return FALSE;
      if (o->architecture.levels
          && ! net_architecture_equal_widths (diffusion_model_get_architecture (from), &o->architecture))
        wrong = "the model to start from to have the widths that are asked for";
      *architecture = o->architecture.levels ? o->architecture : *diffusion_model_get_architecture (from);
    }
  if (! o->corpus || ! o->out)
    wrong = "a packed corpus and a model file to write";
  else if (o->batch < 1 || o->batch > 4096)
    wrong = "a batch of 1 to 4096 samples";
  else if (o->crop < 16 || o->crop > 1024
           || o->crop % (1 << CLAMP (architecture->levels, 1, DIFFUSION_MAX_LEVELS)) != 0)
    wrong = "crops of 16 to 1024 pixels, a multiple of 2 to the number of levels";
  else if (! (o->learning_rate > 0) || o->learning_rate > 1)
    wrong = "a learning rate above 0 and at most 1";
  else if (o->team.ranks > 1 && (o->team.rank < 0 || o->team.rank >= o->team.ranks))
    wrong = "a rank below the number of ranks";
  else if (! (o->minutes > 0) && o->samples <= 0)
    wrong = "a length, in minutes or samples";
  if (wrong)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "Training needs %s.", wrong);
  return ! wrong;
}

static void
trainer_free (Trainer *trainer)
{
  if (trainer->loader)
    {
      g_atomic_int_set (&trainer->stop, 1);
      g_thread_join (trainer->loader);
    }
  for (int i = 0; i < BATCHES_AHEAD; i++)
    batch_clear (&trainer->batches[i]);
  g_clear_pointer (&trainer->ready, g_async_queue_unref);
  g_clear_pointer (&trainer->empty, g_async_queue_unref);
  for (int i = 0; i < trainer->tasks; i++)
    {
      train_pass_free (trainer->passes[i]);
      core_free (trainer->gradients[i]);
      core_free (trainer->d_outputs[i]);
    }
  muon_free (trainer->muon);
  core_free (trainer->adam.weights);
  core_free (trainer->adam.average);
  core_free (trainer->adam.m);
  core_free (trainer->adam.v);
  g_free (trainer->passes);
  g_free (trainer->gradients);
  g_free (trainer->d_outputs);
  g_free (trainer->losses);
  g_free (trainer->errors);
  net_plan_free (trainer->plan);
  net_layout_free (trainer->layout);
  pool_free (trainer->pool);
  corpus_free (trainer->corpus);
  g_free (trainer);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Trainer, trainer_free)

/* The fewest tasks of one size that give every thread one. */
static int
count_tasks (int batch, int threads)
{
  int tasks = MIN (threads, batch);

  while (batch % tasks != 0)
    tasks++;
  return tasks;
}

static gboolean
allocate (Trainer *trainer, GError **error)
{
  gsize   count = trainer->layout->n_parameters, threads = (gsize) pool_get_threads (trainer->pool);
  gsize   outputs; /* values per task */
  float **arrays[] = { &trainer->adam.weights, &trainer->adam.average, &trainer->adam.m, &trainer->adam.v };

  trainer->adam.count = count;
  for (gsize i = 0; i < G_N_ELEMENTS (arrays); i++)
    if (! (*arrays[i] = core_alloc0 (count, sizeof (float), error)))
      return FALSE;
  if (! (trainer->muon = muon_new (trainer->layout, (int) threads, error)))
    return FALSE;
  trainer->tasks = count_tasks (trainer->options->batch, (int) threads);
  trainer->per_task = trainer->options->batch / trainer->tasks;
  outputs = (gsize) trainer->per_task * get_pixels (trainer) * NET_CHANNELS_OUT;
  trainer->losses = g_new0 (double, (gsize) trainer->tasks);
  trainer->errors = g_new0 (GError *, (gsize) trainer->tasks);
  trainer->passes = g_new0 (TrainPass *, (gsize) trainer->tasks);
  trainer->d_outputs = g_new0 (float *, (gsize) trainer->tasks);
  trainer->gradients = g_new0 (float *, (gsize) trainer->tasks);
  for (int i = 0; i < trainer->tasks; i++)
    if (! (trainer->gradients[i] = core_alloc0 (count, sizeof (float), error))
        || ! (trainer->passes[i] = train_pass_new (trainer->plan, trainer->per_task, trainer->options->crop / 2, error))
        || ! (trainer->d_outputs[i] = core_alloc0 (outputs, sizeof (float), error)))
      return FALSE;
  for (int i = 0; i < BATCHES_AHEAD; i++)
    {
      if (! batch_init (&trainer->batches[i], trainer->options->batch, trainer->options->crop, error))
        return FALSE;
      g_async_queue_push (trainer->empty, &trainer->batches[i]);
    }
  return TRUE;
}

static Trainer *
trainer_new (const DiffusionTrainOptions *options, const char *checkpoint, GError **error)
{
  g_autoptr (Trainer) trainer = g_new0 (Trainer, 1);
  const ComputeBackend *backend = compute_get_default (COMPUTE_CONVS, error);
  DiffusionArchitecture architecture;

  trainer->options = options;
  trainer->validation = NAN;
  trainer->ready = g_async_queue_new ();
  trainer->empty = g_async_queue_new ();
  /* Whatever computes the network, Muon's products are OpenBLAS's, each on the thread that asks for it. */
  if (! backend || ! compute_get ("blas", error) || ! check_options (options, &architecture, error))
    return NULL;
  trainer->corpus = corpus_open (options->corpus, error);
  trainer->layout = trainer->corpus ? net_layout_new (&architecture, error) : NULL;
  trainer->plan = trainer->layout ? net_plan_new (trainer->layout, backend, TRUE, error) : NULL;
  trainer->pool = trainer->plan ? pool_new (options->threads, error) : NULL;
  if (! trainer->pool || ! allocate (trainer, error) || ! set_start (trainer, checkpoint, error))
    return NULL;
  trainer->started = g_get_monotonic_time ();
  trainer->loader = g_thread_try_new ("loader", load_batches, trainer, error);
  return trainer->loader ? g_steal_pointer (&trainer) : NULL;
}

static DiffusionTrainReport
get_report (const Trainer *trainer)
{
  const DiffusionTrainOptions *o = trainer->options;
  double                       here = trainer->progress.seconds - trainer->seconds_before;
  gint64                       samples = trainer->progress.samples - trainer->samples_before;
  DiffusionTrainReport         r = { .loss = trainer->progress.loss,
                                     .samples_per_second = (double) samples / MAX (here, 1e-6),
                                     .samples = trainer->progress.samples,
                                     .seconds = trainer->progress.seconds,
                                     .validation = trainer->validation,
                                     .skipped = trainer->progress.skipped,
                                     .gradient_norm = trainer->progress.gradient_norm,
                                     .waited = (double) trainer->waited * 1e-6 };

  r.seconds_left = o->samples > 0 ? (double) (o->samples - r.samples) / MAX (r.samples_per_second, 1e-6)
                                  : o->minutes * 60 - r.seconds;
  r.seconds_left = MAX (r.seconds_left, 0);
  return r;
}

static void
report (const Trainer *trainer)
{
  DiffusionTrainReport r = get_report (trainer);

  if (trainer->options->progress)
    trainer->options->progress (&r, trainer->options->progress_data);
}

/* Measures the averaged weights and hands them to whoever wants to try them; the model is NULL on failure. */
static DiffusionModel *
take_stock (Trainer *trainer, GError **error)
{
  const DiffusionTrainOptions *o = trainer->options;
  DiffusionModel              *model = validate (trainer, error) ? make_model (trainer, error) : NULL;
  DiffusionTrainReport         r = get_report (trainer);

  if (model && o->on_stock)
    o->on_stock (model, &r, o->stock_data);
  return model;
}

static gboolean
save_checkpoint (const Trainer *trainer, const char *path, GError **error)
{
  return checkpoint_save (path, trainer->layout, &trainer->adam, &trainer->progress, error);
}

/* What all ranks must see alike before each step: whether one of them is to stop, and the time by rank 0's clock. */
static gboolean
agree (Trainer *trainer, GCancellable *cancellable, gboolean *stop, GError **error)
{
  const DiffusionTeam *team = &trainer->options->team;
  double values[] = { g_cancellable_is_cancelled (cancellable), team->rank ? 0 : trainer->progress.seconds };

  if (! team_sum (team, values, G_N_ELEMENTS (values), error))
    return FALSE;
  *stop = values[0] > 0;
  trainer->progress.seconds = values[1];
  return TRUE;
}

/* Saves and measures: rank 0's work. */
static gboolean
pause_to_save (Trainer *trainer, const char *checkpoint, GError **error)
{
  g_autoptr (DiffusionModel) model = save_checkpoint (trainer, checkpoint, error) ? take_stock (trainer, error) : NULL;

  return model != NULL;
}

/* A training that starts afresh does not take the place of another's state before somebody can change their mind. */
static gboolean
put_aside (const char *checkpoint, GError **error)
{
  g_autofree char *aside = g_strconcat (checkpoint, ".old", NULL);

  if (g_rename (checkpoint, aside) == 0 || errno == ENOENT)
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "%s could not be put aside: %s", checkpoint,
               g_strerror (errno));
  return FALSE;
}

/* From here to the end of the training. */
static gboolean
run (Trainer *trainer, const char *checkpoint, GCancellable *cancellable, GError **error)
{
  gboolean first = trainer->options->team.rank == 0, stop;
  gint64   saved = g_get_monotonic_time ();
  gint64   interval = (gint64) (MAX (trainer->options->checkpoint_minutes, 0.1) * 60e6);

  for (;;)
    {
      if (! agree (trainer, cancellable, &stop, error))
        return FALSE;
      if (get_fraction (trainer) >= 1)
        return TRUE;
      if (stop)
        {
          if (! first || save_checkpoint (trainer, checkpoint, error))
            g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, "The training was stopped.");
          return FALSE;
        }
      if (! train_step (trainer, error))
        return FALSE;
      if (first && g_get_monotonic_time () - saved > interval)
        {
          if (! pause_to_save (trainer, checkpoint, error))
            return FALSE;
          saved = g_get_monotonic_time ();
        }
      if (first)
        report (trainer);
    }
}

gboolean
diffusion_train (const DiffusionTrainOptions *options, GCancellable *cancellable, GError **error)
{
  g_autofree char *checkpoint = g_strconcat (options->out ? options->out : "", ".checkpoint", NULL);
  g_autoptr (Trainer) trainer = trainer_new (options, checkpoint, error);
  g_autoptr (DiffusionModel) start = NULL, model = NULL;
  gboolean first = options->team.rank == 0;

  if (! trainer || (first && ! options->resume && ! put_aside (checkpoint, error))
      || (first && ! (start = take_stock (trainer, error))) || ! run (trainer, checkpoint, cancellable, error))
    return FALSE;
  if (! first)
    return TRUE;
  model = take_stock (trainer, error);
  if (! model || ! save_checkpoint (trainer, checkpoint, error))
    return FALSE;
  report (trainer);
  return diffusion_model_save (model, options->out, error);
}
