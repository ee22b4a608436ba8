/* What work with a checkpoint will cost.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"

#include "net/model.h"

#include <cblas.h>
#include <math.h>

/* Of the back end's own speed on large products, what the networks reach, directly counted: for users' eyes. */
#define USE 0.8

/* A product that is measured: large enough for the peak, small enough for 20 ms. */
#define EDGE  768
#define TRIES 3

/* Values that are alive for each pixel of the box that is cut out of the picture (checkpoint-edit.c): before the
 * networks run the crop, the cover, and for a hole what is shown of it; while they run the first two; afterwards these,
 * the result, the difference of colours and its coarser levels. */
#define BOX_BEFORE 4.0
#define BOX_SEEN   3.0
#define BOX_DURING 4.0
#define BOX_AFTER  11.0
/* With the result, while it is brought to the box's size. */
#define BOX_RESIZED 7.0
/* For each pixel that is worked on: a scaled picture, also while there is a second of it; for a network for inpainting
 * whether it is covered; the autoencoder's weights; and the latents that the reverse process, a network for inpainting
 * and its mask keep, for each latent. */
#define WORK_PICTURE 3.0
#define WORK_COVERED 0.25
#define WORK_WEIGHTS 1.0
#define WORK_LATENTS (27.0 / (LATENT_PIXELS * LATENT_PIXELS))

/* 3x3 convolutions of this many channels at 256 pixels, so many that threads have the time to wake. */
#define CHANNELS 256
#define REPEATS  4

/* One such computation per thread. */
typedef struct
{
  const Filter *filter; /* NULL: OpenBLAS */
  char         *memory;
  gsize         size; /* of a thread's, bytes */
  Scratch      *scratch;
} Trial;

static void
multiply (int task, int thread, gpointer data)
{
  Trial        *trial = data;
  char         *memory = trial->memory + (gsize) task * trial->size;
  float        *a = (float *) memory, *b = a + EDGE * EDGE, *c = b + EDGE * EDGE;
  const Filter *f = trial->filter;

  for (int i = 0; i < REPEATS && f; i++)
    f->backend->filter_run (f, memory + f->weights_size, memory, c, c, &trial->scratch[thread], NULL);
  if (! f)
    cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, EDGE, EDGE, EDGE, 1.0f, a, EDGE, b, EDGE, 0.0f, c, EDGE);
}

/* Floating point operations per second of all cores; 0: there is no memory to measure. */
static double
measure (const ComputeBackend *backend, Pool *pool)
{
  const FilterShape   shape = { CHANNELS, CHANNELS, 3, 1, 8, 32 };
  int                 count = pool_get_threads (pool);
  Filter             *filter = backend->filter_new ? backend->filter_new (&shape, NULL) : NULL;
  g_autofree Scratch *scratch = g_new0 (Scratch, (gsize) count);
  Trial               trial = { filter, NULL, 3 * EDGE * EDGE * sizeof (float), scratch };
  double best = INFINITY, work = filter ? 9.0 * CHANNELS * CHANNELS * 256 * REPEATS : 1.0 * EDGE * EDGE * EDGE;

  trial.memory = core_alloc0 ((gsize) count, trial.size, NULL);
  for (int i = 0; i < TRIES && trial.memory; i++)
    {
      gint64 start = g_get_monotonic_time ();

      pool_run (pool, count, multiply, &trial);
      best = MIN (best, (double) (g_get_monotonic_time () - start) * 1e-6);
    }
  for (int i = 0; i < count; i++)
    scratch_clear (&scratch[i]);
  core_free (trial.memory);
  if (filter)
    backend->filter_free (filter);
  return 2 * work * count / MAX (best, 1e-6);
}

static double
get_speed (const ComputeBackend *backend, int threads)
{
  static GMutex                lock;
  static double                speed;
  static int                   measured_threads = -1;
  static const ComputeBackend *measured;

  g_mutex_lock (&lock);
  if (measured_threads != threads || measured != backend)
    {
      g_autoptr (Pool) pool = compute_get ("blas", NULL) ? pool_new (threads, NULL) : NULL;

      speed = pool ? measure (backend, pool) : 0;
      measured_threads = threads;
      measured = backend;
    }
  g_mutex_unlock (&lock);
  return speed;
}

static void
count_unet (SdRun *run, const SdCheckpoint *checkpoint, int width, int height, int samples)
{
  const SdUnet *unet = sd_checkpoint_get_unet (checkpoint);
  SdTensor      x = sd_tensor_new (run, samples, height, width, sd_unet_get_channels (unet)), y;
  SdTensor      context
      = sd_tensor_new (run, samples, 1, PROMPT_LENGTH, sd_text_get_width (sd_checkpoint_get_text (checkpoint)));

  y = sd_unet_forward (run, unet, &x, 0, &context);
  sd_tensor_free (run, &x);
  sd_tensor_free (run, &context);
  sd_tensor_free (run, &y);
}

static void
count_autoencoder (SdRun *run, const SdCheckpoint *checkpoint, int width, int height, gboolean encode)
{
  const SdVae *vae = sd_checkpoint_get_vae (checkpoint);
  int          scale = encode ? 1 : LATENT_PIXELS;
  SdTensor     x = sd_tensor_new (run, 1, height / scale, width / scale, encode ? 3 : LATENT_CHANNELS);
  SdTensor     y = encode ? sd_vae_encode (run, vae, &x) : sd_vae_decode (run, vae, &x);

  sd_tensor_free (run, &x);
  sd_tensor_free (run, &y);
}

static gsize
get_bytes (const SdRun *run)
{
  return run->peak + run->dry_shared + run->dry_kept;
}

/* The most that is alive at a time, beside what the networks need while they run. */
static double
count_bytes (const DiffusionCheckpoint *info, DiffusionBox box, int width, int height, gboolean fill, double networks)
{
  double pixels = (double) box.width * box.height, work = (double) width * height;
  /* Resizing goes across first. */
  double before
      = (BOX_BEFORE + (fill ? BOX_SEEN : 0)) * pixels + 2 * WORK_PICTURE * work + WORK_PICTURE * width * box.height;
  double during = BOX_DURING * pixels + (WORK_PICTURE + WORK_WEIGHTS + WORK_LATENTS) * work
                  + (info->inpainting ? (WORK_PICTURE + WORK_COVERED) * work : 0) + networks / sizeof (float);
  double after
      = MAX (BOX_AFTER * pixels, BOX_RESIZED * pixels + WORK_PICTURE * work + WORK_PICTURE * box.width * height);

  return sizeof (float) * MAX (before, MAX (during, after));
}

void
checkpoint_count_work (const SdCheckpoint *checkpoint, const ComputeBackend *backend, int width, int height, int size,
                       int samples, CheckpointWork *work)
{
  const SdUnet *network = sd_checkpoint_get_unet (checkpoint);
  LatentTiles   tiles = latent_get_tiles (network, width / LATENT_PIXELS, height / LATENT_PIXELS, size / LATENT_PIXELS);
  int           across, down;
  int           piece_width = checkpoint_get_piece (width, &across);
  int           piece_height = checkpoint_get_piece (height, &down);
  g_autoptr (SdRun) unet = sd_run_new_dry (backend), encoder = sd_run_new_dry (backend);
  g_autoptr (SdRun) decoder = sd_run_new_dry (backend);

  count_unet (unet, checkpoint, tiles.width, tiles.height, samples);
  count_autoencoder (encoder, checkpoint, piece_width, piece_height, TRUE);
  count_autoencoder (decoder, checkpoint, piece_width, piece_height, FALSE);
  *work = (CheckpointWork){ encoder->flops * across * down, decoder->flops * across * down, unet->flops,
                            MAX (get_bytes (unet), MAX (get_bytes (encoder), get_bytes (decoder))) };
}

/* What is counted for a task. */
typedef struct
{
  const SdCheckpoint     *checkpoint;
  const ComputeBackend   *backend;
  const DiffusionOptions *options;
  gboolean                fill;
  int                     width, height; /* of the picture */
  int                     size;          /* edge of what the network sees at once */
  GArray                 *known;         /* Known: many views are of one size */
  double                  bytes;         /* the most of all */
} Count;

typedef struct
{
  int            width, height;
  CheckpointWork work;
} Known;

static CheckpointWork
find_work (Count *count, int width, int height)
{
  double guidance
      = count->options->guidance < 0 ? sd_checkpoint_get_info (count->checkpoint)->guidance : count->options->guidance;
  Known known = { .width = width, .height = height };

  for (guint i = 0; i < count->known->len; i++)
    {
      const Known *other = &g_array_index (count->known, Known, i);

      if (other->width == width && other->height == height)
        return other->work;
    }
  checkpoint_count_work (count->checkpoint, count->backend, width, height, count->size, guidance == 1 ? 1 : 2,
                         &known.work);
  g_array_append_val (count->known, known);
  return known.work;
}

/* The operations for a region, or for the holes of a view. */
static double
count_region (Count *count, DiffusionBox region)
{
  const DiffusionCheckpoint *info = sd_checkpoint_get_info (count->checkpoint);
  DiffusionBox               box = checkpoint_choose_box (count->width, count->height, region, count->size);
  CheckpointPass             passes[2];
  int    runs = checkpoint_plan_work (count->width, count->height, region, count->size, count->fill, passes);
  double flops = 0;

  for (int i = 0; i < runs; i++)
    {
      int            width = passes[i].width, height = passes[i].height;
      CheckpointWork work = find_work (count, width, height);
      int            tiles = latent_count_tiles (sd_checkpoint_get_unet (count->checkpoint), width / LATENT_PIXELS,
                                                 height / LATENT_PIXELS, count->size / LATENT_PIXELS, passes[i].region);

      /* A file for inpainting also wants a latent of what is known. */
      flops += work.call * count->options->steps * tiles + work.encode * (info->inpainting ? 2 : 1) + work.decode;
      count->bytes = MAX (count->bytes, count_bytes (info, box, width, height, count->fill, (double) work.bytes));
    }
  return flops;
}

void
checkpoint_count_views (const SdCheckpoint *checkpoint, const DiffusionOptions *options, int width, int height,
                        int size, const DiffusionBox *views, int n_views, double *flops)
{
  g_autoptr (GArray) known = g_array_new (FALSE, FALSE, sizeof (Known));
  Count count
      = { checkpoint, compute_get_default (COMPUTE_FILTERS, NULL), options, TRUE, width, height, size, known, 0 };

  for (int i = 0; i < n_views; i++)
    flops[i] = count_region (&count, views[i]);
}

void
diffusion_model_estimate_cost (const DiffusionModel *model, int width, int height, const DiffusionBox *regions,
                               int n_regions, gboolean fill, const DiffusionOptions *options, double *bytes,
                               double *seconds)
{
  SdCheckpoint            *checkpoint = model_get_checkpoint (model);
  g_autofree DiffusionBox *views = g_memdup2 (regions, (gsize) n_regions * sizeof *regions);
  g_autoptr (GArray) known = g_array_new (FALSE, FALSE, sizeof (Known));
  Count count = { checkpoint, compute_get_default (COMPUTE_FILTERS, NULL), options, fill, width, height, 0, known, 0 };
  DiffusionBox all;
  double       holes, flops = 0;

  *bytes = *seconds = 0;
  if (! checkpoint || ! count.backend || n_regions < 1)
    return;
  all = regions[0];
  for (int i = 1; i < n_regions; i++)
    all = region_join_boxes (all, regions[i]);
  count.size = options->size ? options->size : sd_checkpoint_get_info (checkpoint)->native_size;
  if (fill)
    n_regions = checkpoint_join_holes (width, height, count.size, views, n_regions, NULL);
  else
    {
      views[0] = all;
      n_regions = 1;
    }
  for (int i = 0; i < n_regions; i++)
    flops += count_region (&count, views[i]);
  /* Where the holes are: a number for each pixel; while they are looked for, a distance too. */
  holes = fill ? (double) sizeof (guint32) * all.width * all.height : 0;
  *bytes = MAX (count.bytes, holes) + holes;
  *seconds = flops / MAX (USE * get_speed (count.backend, options->threads), 1);
}
