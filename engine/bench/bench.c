/* How fast this machine is, and the engine on it.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Speed differs from machine to machine, ratios less: so what the engine reaches and what the machine could (OpenBLAS's
 * own peak) are measured in one run.  Each figure is the best of several tries, the one that others disturbed least.
 */
#include "bench.h"
#include "net/model.h"
#include "process/process.h"

#include <cblas.h>
#include <glib/gstdio.h>
#include <math.h>

#define PEAK_EDGE      2048
#define FORWARD_EDGE   512
#define TRIES          5
#define SLOW_TRIES     3
#define TRAIN_SAMPLES  96
#define TRAIN_BATCH    8
#define TRAIN_CROP     128
#define TRAIN_PICTURES 8
#define TRAIN_EDGE     256

static double
now (void)
{
  return (double) g_get_monotonic_time () * 1e-6;
}

void
bench_tell (const Bench *bench, const char *key, double value)
{
  bench->func (key, value, bench->user_data);
}

/* ---- what the machine can do ---- */

static gboolean
measure_peak (Bench *bench, GError **error)
{
  const gsize count = PEAK_EDGE * PEAK_EDGE;
  float      *a = core_alloc0 (count * 3, sizeof (float), error), *b = a + count, *c = b + count;
  double      best = INFINITY;

  if (! a)
    return FALSE;
  /* Here OpenBLAS's own threads are wanted; nobody else uses it now. */
  openblas_set_num_threads (pool_get_threads (bench->pool));
  for (int i = 0; i < 2 * TRIES; i++)
    {
      double start = now ();

      cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, PEAK_EDGE, PEAK_EDGE, PEAK_EDGE, 1.0f, a, PEAK_EDGE, b,
                   PEAK_EDGE, 0.0f, c, PEAK_EDGE);
      best = MIN (best, now () - start);
    }
  openblas_set_num_threads (1);
  core_free (a);
  bench->sgemm_gflops = 2.0 * PEAK_EDGE * PEAK_EDGE * PEAK_EDGE / best * 1e-9;
  bench_tell (bench, "sgemm_gflops", bench->sgemm_gflops);
  return TRUE;
}

/* One 3x3 convolution, each thread a picture of its own. */
typedef struct
{
  Conv     *conv;
  ConvPiece piece;
  char     *x, *y; /* per thread */
  gsize     size;  /* of one thread's x or y, bytes */
  Scratch  *scratches;
  GError  **errors;
} ConvJob;

static void
run_conv (int task, int thread, gpointer data)
{
  ConvJob *job = data;

  if (! job->errors[thread])
    job->conv->backend->conv_forward (job->conv, &job->piece, job->x + (gsize) task * job->size,
                                      job->y + (gsize) task * job->size, EPILOGUE_NONE, &job->scratches[thread],
                                      &job->errors[thread]);
}

/* Effective GFLOP/s of c -> c channels at edge x edge pixels per thread. */
static gboolean
measure_conv (const Bench *bench, const ComputeBackend *backend, int c, int edge, double *gflops, GError **error)
{
  const ConvShape   shape = { CONV_SAME3, c, c };
  const gsize       threads = (gsize) pool_get_threads (bench->pool), pixels = (gsize) edge * (gsize) edge;
  g_autofree float *weights = g_new0 (float, conv_shape_count_weights (&shape) + (gsize) c);
  ConvJob           job = { .conv = backend->conv_new (&shape, FALSE, error), .piece = { 1, edge, edge, 1, 1 } };
  gboolean          success;
  double            best = INFINITY;

  job.size = pixels * (gsize) c * element_size (backend->element);
  job.scratches = g_new0 (Scratch, threads);
  job.errors = g_new0 (GError *, threads);
  job.x = job.conv ? core_alloc0 (2 * threads, job.size, error) : NULL;
  job.y = job.x + threads * job.size;
  success = job.x
            && backend->conv_set_weights (job.conv, weights, weights + conv_shape_count_weights (&shape),
                                          &job.scratches[0], error);
  for (int i = 0; i < 4 * TRIES && success; i++)
    {
      double start = now ();

      pool_run (bench->pool, (int) threads, run_conv, &job);
      success = core_take_first_error (job.errors, (int) threads, error);
      best = MIN (best, now () - start);
    }
  *gflops = 2.0 * 9 * c * c * (double) pixels * (double) threads / best * 1e-9;
  for (gsize i = 0; i < threads; i++)
    scratch_clear (&job.scratches[i]);
  core_free (job.x);
  g_free (job.scratches);
  g_free (job.errors);
  if (job.conv)
    backend->conv_free (job.conv);
  return success;
}

static const ComputeBackend *
find_backend (const char *name)
{
  const ComputeBackend *backend = compute_get (name, NULL);

  return backend && strcmp (backend->name, name) == 0 ? backend : NULL;
}

static gboolean
measure_best_conv (const Bench *bench, GError **error)
{
  static const int      shapes[][2] = { { 64, 128 }, { 128, 64 }, { 128, 128 }, { 256, 32 }, { 256, 64 } };
  const ComputeBackend *backend = find_backend ("onednn");
  double                best = backend ? 0 : NAN;

  for (gsize i = 0; i < G_N_ELEMENTS (shapes) && backend; i++)
    {
      double gflops;

      if (! measure_conv (bench, backend, shapes[i][0], shapes[i][1], &gflops, error))
        return FALSE;
      best = MAX (best, gflops);
    }
  bench_tell (bench, "conv_bf16_gflops", best);
  return TRUE;
}

/* ---- the network ---- */

static gboolean
read_nothing (int first_row, int rows, float *values, gpointer data, GError **error)
{
  memset (values, 0, (gsize) rows * (FORWARD_EDGE / 2) * NET_CHANNELS_IN * sizeof (float));
  return TRUE;
}

static gboolean
write_nothing (int first_row, int rows, const float *values, gpointer data, GError **error)
{
  return TRUE;
}

static gboolean
measure_forward (const Bench *bench, const char *backend_name, const char *key, GError **error)
{
  const ComputeBackend *backend = find_backend (backend_name);
  const NetLayout      *layout = model_get_layout (bench->model);
  const StreamJob       job = { FORWARD_EDGE / 2, FORWARD_EDGE / 2, 0, read_nothing, write_nothing, NULL, 0 };
  g_autoptr (NetPlan) plan = backend ? net_plan_new (layout, backend, FALSE, error) : NULL;
  double best = INFINITY;

  if (! backend)
    {
      bench_tell (bench, key, NAN);
      return TRUE;
    }
  if (! plan || ! net_plan_set_weights (plan, model_get_weights ((DiffusionModel *) bench->model), bench->pool, error))
    return FALSE;
  for (int i = 0; i < 2 * TRIES; i++)
    {
      double start = now ();

      if (! stream_run (plan, bench->pool, &job, bench->cancellable, error))
        return FALSE;
      best = MIN (best, now () - start);
    }
  bench_tell (bench, key, 2 * layout->macs * FORWARD_EDGE * FORWARD_EDGE / best * 1e-9);
  return TRUE;
}

/* ---- denoising ---- */

/* A number of kilobytes from this process's status; 0 where there is no such thing. */
double
bench_read_status (const char *field)
{
  g_autofree char *text = NULL;
  const char      *line;

  if (! g_file_get_contents ("/proc/self/status", &text, NULL, NULL) || ! (line = strstr (text, field)))
    return 0;
  return g_ascii_strtod (line + strlen (field) + 1, NULL);
}

static void
paint (DiffusionPicture *picture)
{
  for (int y = 0; y < picture->height; y++)
    for (int x = 0; x < picture->width; x++)
      {
        float *pixel = picture->data + ((gsize) y * (gsize) picture->width + (gsize) x) * 3;
        float  noise[4];

        random_gaussian4 (1, 0, x, y, noise);
        for (int c = 0; c < 3; c++)
          pixel[c] = 0.5f + 0.3f * sinf (0.01f * (float) (x * (c + 1) + y)) + noise[c] * (20.0f / 255);
      }
}

/* Also tells the memory that it took beyond what was there before and the picture itself. */
static gboolean
measure_denoise (const Bench *bench, int width, int height, int tries, const char *key, const char *memory_key,
                 GError **error)
{
  double           best = INFINITY, before = bench_read_status ("VmRSS"), megapixels = 1e-6 * width * height;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise;
  g_autoptr (DiffusionPicture) picture = diffusion_picture_new (width, height, 3, error);

  if (! picture)
    return FALSE;
  options.threads = bench->threads;
  diffusion_noise_set_uniform (&noise, 20.0 / 255);
  for (int i = 0; i < tries; i++)
    {
      double start;

      paint (picture);
      start = now ();
      if (! diffusion_denoise (bench->model, picture, NULL, &noise, 1, &options, bench->cancellable, error))
        return FALSE;
      best = MIN (best, now () - start);
    }
  bench_tell (bench, key, best / megapixels);
  if (memory_key)
    {
      double picture_kb = 12.0 * 1e3 * megapixels * 1e3 / 1024, peak = bench_read_status ("VmHWM");

      bench_tell (bench, memory_key, peak > 0 ? MAX (0, peak - before - picture_kb) / 1024 : NAN);
    }
  return TRUE;
}

/* ---- training ---- */

/* The first step plans and compiles kernels: the clock starts after it. */
typedef struct
{
  gint64 first_samples;
  double first_seconds, rate;
} TrainClock;

static void
on_train_report (const DiffusionTrainReport *report, gpointer data)
{
  TrainClock *clock = data;

  if (clock->first_samples == 0)
    {
      clock->first_samples = report->samples;
      clock->first_seconds = report->seconds;
    }
  else if (report->samples > clock->first_samples)
    clock->rate = (double) (report->samples - clock->first_samples) / (report->seconds - clock->first_seconds);
}

static gboolean
write_corpus (const char *path, GError **error)
{
  DiffusionCorpusWriter *writer = diffusion_corpus_writer_new (path, error);
  g_autofree guint8     *rgb = g_malloc (TRAIN_EDGE * TRAIN_EDGE * 3);
  Random                 random;

  random_init (&random, 1, 0);
  for (int i = 0; i < TRAIN_PICTURES && writer; i++)
    {
      for (gsize j = 0; j < TRAIN_EDGE * TRAIN_EDGE * 3; j++)
        rgb[j] = (guint8) random_int (&random, 0, 256);
      if (! diffusion_corpus_writer_add (writer, TRAIN_EDGE, TRAIN_EDGE, rgb, error))
        g_clear_pointer (&writer, diffusion_corpus_writer_discard);
    }
  return writer && diffusion_corpus_writer_finish (writer, error);
}

static gboolean
measure_training (Bench *bench, GError **error)
{
  DiffusionTrainOptions options = DIFFUSION_TRAIN_OPTIONS_INIT;
  g_autofree char      *folder = g_dir_make_tmp ("diffusion-bench-XXXXXX", error);
  g_autofree char      *corpus = NULL, *out = NULL, *checkpoint = NULL;
  TrainClock            clock = { 0, 0, NAN };
  gboolean              success;

  if (! folder)
    return FALSE;
  corpus = g_build_filename (folder, "corpus", NULL);
  out = g_build_filename (folder, "bench.safetensors", NULL);
  checkpoint = g_strconcat (out, ".checkpoint", NULL);
  options.corpus = corpus;
  options.out = out;
  options.architecture = *diffusion_model_get_architecture (bench->model);
  options.batch = TRAIN_BATCH;
  options.crop = TRAIN_CROP;
  options.samples = TRAIN_SAMPLES;
  options.threads = bench->threads;
  options.progress = on_train_report;
  options.progress_data = &clock;
  success = write_corpus (corpus, error) && diffusion_train (&options, bench->cancellable, error);
  g_unlink (corpus);
  g_unlink (out);
  g_unlink (checkpoint);
  g_rmdir (folder);
  if (success)
    bench_tell (bench, "train_samples_per_s", clock.rate);
  return success;
}

/* ---- all of it ---- */

static gboolean
measure_machine (Bench *bench, GError **error)
{
  return measure_peak (bench, error) && measure_best_conv (bench, error);
}

static gboolean
measure_network (Bench *bench, GError **error)
{
  return measure_forward (bench, "blas", "forward_f32_gflops", error)
         && measure_forward (bench, "onednn", "forward_bf16_gflops", error);
}

static gboolean
measure_denoising (Bench *bench, GError **error)
{
  return measure_denoise (bench, 6000, 4000, 1, "denoise_24mp_s_per_mp", "denoise_24mp_extra_mb", error)
         && measure_denoise (bench, 3000, 2000, 1, "denoise_6mp_s_per_mp", NULL, error)
         && measure_denoise (bench, 1024, 1024, SLOW_TRIES, "denoise_1mp_s_per_mp", NULL, error);
}

/* A checkpoint beside the machine's peak. */
static gboolean
measure_checkpoint (Bench *bench, GError **error)
{
  return measure_peak (bench, error) && bench_checkpoint (bench, error);
}

/* Denoising first: a process's peak of memory never falls again.  A model takes those of its kind. */
static const struct
{
  const char *name;
  gboolean (*measure) (Bench *bench, GError **error);
  gboolean for_checkpoint;
} parts[] = {
  { "denoise", measure_denoising },
  { "machine", measure_machine },
  { "network", measure_network },
  { "train", measure_training },
  { "checkpoint", measure_checkpoint, TRUE },
};

gboolean
diffusion_bench (const DiffusionModel *model, const char *only, int threads, DiffusionBenchFunc func,
                 gpointer user_data, GCancellable *cancellable, GError **error)
{
  g_autoptr (Pool) pool = pool_new (threads, error);
  g_autoptr (GString) names = g_string_new (NULL);
  Bench    bench = { model, threads, pool, func, user_data, cancellable, 0 };
  gboolean any = FALSE;

  if (! pool)
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (parts); i++)
    {
      if (parts[i].for_checkpoint != (diffusion_model_get_checkpoint (model) != NULL))
        continue;
      g_string_append_printf (names, "%s%s", names->len ? ", " : "", parts[i].name);
      if (only && strcmp (only, parts[i].name) != 0)
        continue;
      any = TRUE;
      if (! parts[i].measure (&bench, error))
        return FALSE;
    }
  if (! any)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                 "There is no part \"%s\" to measure with this model; there are: %s.", only, names->str);
  return any;
}
