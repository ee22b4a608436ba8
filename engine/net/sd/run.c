/* Layers of a checkpoint's networks over the pool.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "run.h"

#include <math.h>
#include <string.h>

/* Of a sample, at most. */
#define SUM_PIECES 64
/* Bytes of buffers that wait for the next layers of their size. */
#define KEEP ((gsize) 640 << 20)

/* ---- the run and its memory ---- */

typedef struct
{
  gpointer memory;
  gsize    size;
  gboolean used;
} Buffer;

SdRun *
sd_run_new (int threads, const ComputeBackend *backend, GCancellable *cancellable, GError **error)
{
  g_autoptr (SdRun) run = g_new0 (SdRun, 1);

  run->buffers = g_array_new (FALSE, FALSE, sizeof (Buffer));
  if (! backend && ! (backend = compute_get_default (COMPUTE_FILTERS, error)))
    return NULL;
  /* OpenBLAS is to use the calling thread alone. */
  if (! compute_get ("blas", error) || ! (run->pool = pool_new (threads, error)))
    return NULL;
  run->threads = pool_get_threads (run->pool);
  run->scratch = g_new0 (Scratch, (gsize) run->threads);
  run->raw = g_new0 (Scratch, (gsize) run->threads);
  run->errors = g_new0 (GError *, (gsize) run->threads);
  run->cancellable = cancellable ? g_object_ref (cancellable) : NULL;
  run->filters = sd_filters_new (backend);
  return g_steal_pointer (&run);
}

SdRun *
sd_run_new_dry (const ComputeBackend *backend)
{
  SdRun *run = g_new0 (SdRun, 1);

  run->filters = sd_filters_new (backend);
  run->dry = TRUE;
  run->buffers = g_array_new (FALSE, FALSE, sizeof (Buffer));
  run->threads = 1;
  run->scratch = g_new0 (Scratch, 1);
  run->errors = g_new0 (GError *, 1);
  run->raw = g_new0 (Scratch, 1);
  return run;
}

/* In a dry run a buffer is a number that nobody looks behind. */
static gpointer
alloc_buffer (SdRun *run, gsize size, GError **error)
{
  gpointer memory = run->dry ? GSIZE_TO_POINTER (++run->dry_buffers) : core_alloc (size, 1, error);

  run->bytes += memory ? size : 0;
  run->peak = MAX (run->peak, run->bytes);
  return memory;
}

static void
free_buffer (SdRun *run, Buffer *buffer)
{
  run->bytes -= buffer->size;
  if (! run->dry)
    core_free (buffer->memory);
}

void
sd_run_free (SdRun *run)
{
  if (! run)
    return;
  for (int i = 0; i < run->threads; i++)
    {
      scratch_clear (&run->scratch[i]);
      scratch_clear (&run->raw[i]);
      g_clear_error (&run->errors[i]);
    }
  for (guint i = 0; i < run->buffers->len; i++)
    free_buffer (run, &g_array_index (run->buffers, Buffer, i));
  scratch_clear (&run->shared);
  sd_filters_free (run->filters);
  g_array_unref (run->buffers);
  g_free (run->scratch);
  g_free (run->raw);
  g_free (run->errors);
  g_clear_object (&run->cancellable);
  g_clear_error (&run->error);
  pool_free (run->pool);
  g_free (run);
}

gboolean
sd_run_finish (SdRun *run, GError **error)
{
  if (! run->error)
    return TRUE;
  g_propagate_error (error, g_steal_pointer (&run->error));
  return FALSE;
}

/* Frees idle buffers until `keep` bytes of them are left; whether there were any to free. */
static gboolean
trim (SdRun *run, gsize keep)
{
  gsize    idle = 0;
  gboolean any = FALSE;

  for (guint i = 0; i < run->buffers->len; i++)
    idle += g_array_index (run->buffers, Buffer, i).used ? 0 : g_array_index (run->buffers, Buffer, i).size;
  for (guint i = run->buffers->len; i > 0 && idle > keep; i--)
    {
      Buffer *buffer = &g_array_index (run->buffers, Buffer, i - 1);

      if (buffer->used)
        continue;
      idle -= buffer->size;
      free_buffer (run, buffer);
      g_array_remove_index_fast (run->buffers, i - 1);
      any = TRUE;
    }
  return any;
}

void
sd_run_trim (SdRun *run)
{
  trim (run, 0);
  scratch_clear (&run->shared);
  if (run->filters)
    sd_filters_clear (run->filters);
  for (int i = 0; i < run->threads; i++)
    {
      scratch_clear (&run->scratch[i]);
      scratch_clear (&run->raw[i]);
    }
}

gboolean
sd_run_make_room (SdRun *run)
{
  gboolean any = trim (run, 0);

  if (run->filters && sd_filters_make_room (run->filters))
    any = TRUE;
  if (! any)
    return FALSE;
  g_clear_error (&run->error);
  return TRUE;
}

SdTensor
sd_tensor_new (SdRun *run, int n, int h, int w, int c)
{
  SdTensor x = { n, h, w, c, NULL };
  gsize    size = sd_tensor_count (&x) * sizeof (float);
  Buffer  *best = NULL, fresh;

  if (run->error)
    return x;
  for (guint i = 0; i < run->buffers->len; i++)
    {
      Buffer *buffer = &g_array_index (run->buffers, Buffer, i);

      if (! buffer->used && buffer->size >= size && buffer->size <= 2 * size + 65536
          && (! best || buffer->size < best->size))
        best = buffer;
    }
  if (! best)
    {
      trim (run, KEEP > size ? KEEP - size : 0);
      fresh = (Buffer){ alloc_buffer (run, size, &run->error), size, FALSE };
      if (! fresh.memory && sd_run_make_room (run))
        fresh.memory = alloc_buffer (run, size, &run->error);
      if (! fresh.memory)
        return x;
      g_array_append_val (run->buffers, fresh);
      best = &g_array_index (run->buffers, Buffer, run->buffers->len - 1);
    }
  best->used = TRUE;
  x.data = best->memory;
  return x;
}

void
sd_tensor_free (SdRun *run, SdTensor *x)
{
  for (guint i = 0; x->data && i < run->buffers->len; i++)
    if (g_array_index (run->buffers, Buffer, i).memory == x->data)
      g_array_index (run->buffers, Buffer, i).used = FALSE;
  x->data = NULL;
}

float *
sd_run_get_shared (SdRun *run, gsize bytes)
{
  float *shared;

  run->dry_shared = MAX (run->dry_shared, bytes);
  if (sd_run_is_idle (run))
    return NULL;
  shared = scratch_get (&run->shared, bytes, &run->error);
  if (! shared && sd_run_make_room (run))
    shared = scratch_get (&run->shared, bytes, &run->error);
  return shared;
}

/* ---- splitting over the pool ---- */

typedef struct
{
  SdRun   *run;
  PoolFunc func;
  gpointer data;
} Job;

static void
run_task (int task, int thread, gpointer user_data)
{
  Job *job = user_data;

  if (! job->run->errors[thread] && ! g_cancellable_is_cancelled (job->run->cancellable))
    job->func (task, thread, job->data);
}

void
sd_run_tasks (SdRun *run, int tasks, PoolFunc func, gpointer data)
{
  Job job = { run, func, data };

  if (sd_run_is_idle (run) || g_cancellable_set_error_if_cancelled (run->cancellable, &run->error))
    return;
  pool_run (run->pool, tasks, run_task, &job);
  if (core_take_first_error (run->errors, run->threads, &run->error)
      && ! g_cancellable_set_error_if_cancelled (run->cancellable, &run->error) && run->after_layer)
    run->after_layer (run->after_layer_data);
}

/* Rows are split into pieces of some 16,000 values at least, so that small layers stay on one thread. */
typedef struct
{
  gsize rows, piece;
} Split;

static Split
split_rows (SdRun *run, gsize rows, gsize row_values)
{
  gsize least = MAX ((gsize) 1, 16384 / MAX (row_values, 1));

  return (Split){ rows, MAX (least, (rows + (gsize) run->threads * 4 - 1) / ((gsize) run->threads * 4)) };
}

/* The same for sums, whose rounding depends on the split: not on the threads then. */
static Split
split_sums (gsize rows)
{
  gsize piece = (rows + SUM_PIECES - 1) / SUM_PIECES;

  return (Split){ rows, (piece + LAYER_SUM_PIXELS - 1) / LAYER_SUM_PIXELS * LAYER_SUM_PIXELS };
}

static int
split_count (const Split *split)
{
  return (int) ((split->rows + split->piece - 1) / split->piece);
}

static gsize
split_get (const Split *split, int task, gsize *first)
{
  *first = (gsize) task * split->piece;
  return MIN (split->piece, split->rows - *first);
}

/* ---- norms ---- */

typedef struct
{
  Split           split;
  const SdTensor *x;
  const float    *values, *gain, *bias;
  float          *y;
  double         *sums;
  float          *scale, *shift;
  float           epsilon;
  gboolean        silu;
  SdActivation    activation;
} Rows;

/* Task: a piece of a sample; its sums have a place of their own, so that they are added in one order. */
static void
sum_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  int   pieces = split_count (&r->split);
  gsize first, count = split_get (&r->split, task % pieces, &first);
  gsize channels = (gsize) r->x->c;

  first += (gsize) (task / pieces) * r->split.rows;
  layer_sums (count, r->x->c, r->values + first * channels, r->sums + (gsize) task * 2 * channels);
}

static void
normalize_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  int   pieces = split_count (&r->split), sample = task / pieces;
  gsize first, count = split_get (&r->split, task % pieces, &first);
  gsize channels = (gsize) r->x->c;

  first += (gsize) sample * r->split.rows;
  layer_affine (count, r->x->c, r->values + first * channels, r->scale + (gsize) sample * channels,
                r->shift + (gsize) sample * channels, r->silu, r->y + first * channels);
}

/* The groups' statistics, folded into a scale and a shift for each channel of one sample. */
static void
fold_groups (const Rows *r, const SdNorm *norm, int sample, int pieces)
{
  int     channels = norm->channels, group = channels / SD_GROUPS;
  double *sums = r->sums + (gsize) sample * (gsize) pieces * 2 * (gsize) channels;
  double  count = (double) r->split.rows * group;

  for (gsize p = 1; p < (gsize) pieces; p++)
    for (gsize c = 0; c < 2 * (gsize) channels; c++)
      sums[c] += sums[p * 2 * (gsize) channels + c];
  for (int first = 0; first < channels; first += group)
    {
      double mean = 0, square = 0, scale;

      for (int c = first; c < first + group; c++)
        {
          mean += sums[c];
          square += sums[channels + c];
        }
      mean /= count;
      scale = 1 / sqrt (MAX (square / count - mean * mean, 0) + (double) r->epsilon);
      for (int c = first; c < first + group; c++)
        {
          gsize at = (gsize) sample * (gsize) channels + (gsize) c;

          r->scale[at] = (float) (scale * (double) norm->gain[c]);
          r->shift[at] = (float) ((double) norm->bias[c] - mean * scale * (double) norm->gain[c]);
        }
    }
}

SdTensor
sd_group_norm (SdRun *run, const SdNorm *norm, float epsilon, gboolean silu, const SdTensor *x)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, x->c);
  Rows     r = { .split = split_sums ((gsize) x->h * (gsize) x->w),
                 .x = x,
                 .values = x->data,
                 .y = y.data,
                 .epsilon = epsilon,
                 .silu = silu };
  int      pieces = split_count (&r.split), tasks = x->n * pieces;
  gsize    n_sums = (gsize) tasks * 2 * (gsize) x->c, n_scales = (gsize) x->n * (gsize) x->c;
  gsize    size = n_sums * sizeof (double) + 2 * n_scales * sizeof (float);

  if (sd_run_is_idle (run))
    return y;
  r.sums = core_alloc0 (size, 1, &run->error);
  if (! r.sums && sd_run_make_room (run))
    r.sums = core_alloc0 (size, 1, &run->error);
  if (! r.sums)
    return y;
  r.scale = (float *) (r.sums + n_sums);
  r.shift = r.scale + n_scales;
  sd_run_tasks (run, tasks, sum_piece, &r);
  for (int i = 0; i < x->n; i++)
    fold_groups (&r, norm, i, pieces);
  sd_run_tasks (run, tasks, normalize_piece, &r);
  core_free (r.sums);
  return y;
}

static void
layer_norm_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  gsize first, count = split_get (&r->split, task, &first), at = first * (gsize) r->x->c;

  layer_norm (count, r->x->c, r->values + at, r->gain, r->bias, r->epsilon, r->y + at);
}

SdTensor
sd_layer_norm (SdRun *run, const SdNorm *norm, const SdTensor *x)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, x->c);
  Rows     r = { .split = split_rows (run, sd_tensor_rows (x), (gsize) x->c),
                 .x = x,
                 .values = x->data,
                 .gain = norm->gain,
                 .bias = norm->bias,
                 .y = y.data,
                 .epsilon = 1e-5f };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&r.split), layer_norm_piece, &r);
  return y;
}

/* ---- pointwise ---- */

static void
activate_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  gsize first, count = split_get (&r->split, task, &first);

  if (r->activation == SD_GELU)
    layer_gelu (count, r->y + first);
  else if (r->activation == SD_QUICK_GELU)
    layer_quick_gelu (count, r->y + first);
  else
    pointwise_silu (ELEMENT_F32, count, r->y + first, r->y + first);
}

void
sd_activate (SdRun *run, SdActivation activation, SdTensor *x)
{
  Rows r = { .split = split_rows (run, sd_tensor_count (x), 1), .y = x->data, .activation = activation };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&r.split), activate_piece, &r);
}

static void
geglu_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  gsize first, count = split_get (&r->split, task, &first);

  layer_geglu (count, r->x->c / 2, r->values + first * (gsize) r->x->c, r->y + first * (gsize) (r->x->c / 2));
}

SdTensor
sd_geglu (SdRun *run, const SdTensor *x)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, x->c / 2);
  Rows     r = { .split = split_rows (run, sd_tensor_rows (x), (gsize) x->c), .x = x, .values = x->data, .y = y.data };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&r.split), geglu_piece, &r);
  return y;
}

static void
add_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  gsize first, count = split_get (&r->split, task, &first);

  pointwise_add (ELEMENT_F32, count, r->values + first, r->y + first);
}

void
sd_add (SdRun *run, const SdTensor *x, SdTensor *y)
{
  Rows r = { .split = split_rows (run, sd_tensor_count (x), 1), .values = x->data, .y = y->data };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&r.split), add_piece, &r);
}

static void
add_channels_piece (int task, int thread, gpointer data)
{
  Rows *r = data;
  gsize first, count = split_get (&r->split, task, &first), channels = (gsize) r->x->c;

  layer_start (count, r->x->c, channels, r->values, TRUE, r->y + first * channels);
}

void
sd_add_channels (SdRun *run, const SdTensor *x, SdTensor *y)
{
  Rows r = { .split = split_rows (run, sd_tensor_rows (y), (gsize) y->c), .x = x, .values = x->data, .y = y->data };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&r.split), add_channels_piece, &r);
}

/* ---- copying ---- */

typedef struct
{
  Split           split; /* rows of x */
  const SdTensor *x, *other;
  float          *y;
} Copy;

static void
concatenate_piece (int task, int thread, gpointer data)
{
  Copy *copy = data;
  gsize first, count = split_get (&copy->split, task, &first);
  gsize a = (gsize) copy->x->c, b = (gsize) copy->other->c;

  for (gsize r = first; r < first + count; r++)
    {
      float *to = copy->y + r * (a + b);

      memcpy (to, copy->x->data + r * a, a * sizeof (float));
      memcpy (to + a, copy->other->data + r * b, b * sizeof (float));
    }
}

SdTensor
sd_concatenate (SdRun *run, const SdTensor *a, const SdTensor *b)
{
  SdTensor y = sd_tensor_new (run, a->n, a->h, a->w, a->c + b->c);
  Copy     copy = { split_rows (run, sd_tensor_rows (a), (gsize) y.c), a, b, y.data };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&copy.split), concatenate_piece, &copy);
  return y;
}

static void
upsample_piece (int task, int thread, gpointer data)
{
  Copy           *copy = data;
  const SdTensor *x = copy->x;
  gsize           first, count = split_get (&copy->split, task, &first);
  gsize           pixel = (gsize) x->c * sizeof (float), row = (gsize) x->w * 2 * (gsize) x->c;

  for (gsize r = first; r < first + count; r++)
    {
      float *to = copy->y + r * 2 * row;

      for (gsize u = 0; u < (gsize) x->w; u++)
        {
          const float *from = x->data + (r * (gsize) x->w + u) * (gsize) x->c;

          memcpy (to + (2 * u) * (gsize) x->c, from, pixel);
          memcpy (to + (2 * u + 1) * (gsize) x->c, from, pixel);
        }
      memcpy (to + row, to, row * sizeof (float));
    }
}

/* Each pixel becomes 2x2. */
SdTensor
sd_upsample (SdRun *run, const SdTensor *x)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h * 2, x->w * 2, x->c);
  Copy     copy = { split_rows (run, (gsize) x->n * (gsize) x->h, (gsize) x->w * 4 * (gsize) x->c), x, NULL, y.data };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&copy.split), upsample_piece, &copy);
  return y;
}

/* ---- attention ---- */

typedef struct
{
  SdRun                *run;
  const ComputeBackend *backend;
  const SdTensor       *q, *k, *v;
  const char           *q_data, *k_data, *v_data; /* of the back end's element type */
  float                *out;
  int                   heads, piece, pieces;
  gboolean              causal;
} Heads;

static void
attend_piece (int task, int thread, gpointer data)
{
  Heads    *h = data;
  int       piece = task % h->pieces, head = task / h->pieces % h->heads, sample = task / h->pieces / h->heads;
  int       queries = h->q->h * h->q->w, keys = h->k->h * h->k->w, dim = h->q->c / h->heads, first = piece * h->piece;
  gsize     q_at = ((gsize) sample * (gsize) queries + (gsize) first) * (gsize) h->q->c + (gsize) (head * dim);
  gsize     k_at = (gsize) sample * (gsize) keys * (gsize) h->k->c + (gsize) (head * dim);
  gsize     size = h->backend ? element_size (h->backend->element) : sizeof (float);
  Attention attention = { .backend = h->backend,
                          .queries = MIN (h->piece, queries - first),
                          .keys = keys,
                          .dim = dim,
                          .q = h->q_data + q_at * size,
                          .k = h->k_data + k_at * size,
                          .v = h->v_data + k_at * size,
                          .out = h->out + q_at,
                          .q_pitch = (gsize) h->q->c,
                          .k_pitch = (gsize) h->k->c,
                          .v_pitch = (gsize) h->v->c,
                          .out_pitch = (gsize) h->q->c,
                          .first = h->causal ? first : -1 };

  attention_forward (&attention, &h->run->scratch[thread], &h->run->raw[thread], &h->run->errors[thread]);
}

static void
convert_piece (int task, int thread, gpointer data)
{
  Rows    *r = data;
  gsize    first, count = split_get (&r->split, task, &first);
  guint16 *y = (guint16 *) r->y;

  pointwise_from_f32 (ELEMENT_BF16, count, r->values + first, y + first);
}

/* A copy in the back end's element type, which takes half the room. */
static SdTensor
convert (SdRun *run, const SdTensor *x)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, (x->c + 1) / 2);
  Rows     r = { .split = split_rows (run, sd_tensor_count (x), 1), .values = x->data, .y = y.data };

  if (! sd_run_is_idle (run))
    sd_run_tasks (run, split_count (&r.split), convert_piece, &r);
  return y;
}

SdTensor
sd_attention (SdRun *run, int heads, gboolean causal, const SdTensor *q, const SdTensor *k, const SdTensor *v)
{
  SdTensor y = sd_tensor_new (run, q->n, q->h, q->w, q->c), copies[3] = { { 0 } };
  int      queries = q->h * q->w;
  Heads    h = { run, NULL, q, k, v, NULL, NULL, NULL, y.data, heads, MIN (256, queries), 0, causal };

  if (run->filters)
    {
      h.backend = sd_filters_get_backend (run->filters);
      copies[0] = convert (run, q);
      copies[1] = convert (run, k);
      copies[2] = convert (run, v);
    }
  h.q_data = (const char *) (h.backend ? copies[0].data : q->data);
  h.k_data = (const char *) (h.backend ? copies[1].data : k->data);
  h.v_data = (const char *) (h.backend ? copies[2].data : v->data);
  h.pieces = (queries + h.piece - 1) / h.piece;
  run->flops += 4.0 * (double) sd_tensor_count (q) * (k->h * k->w);
  if (! sd_run_is_idle (run))
    sd_run_tasks (run, q->n * heads * h.pieces, attend_piece, &h);
  for (gsize i = 0; i < G_N_ELEMENTS (copies); i++)
    sd_tensor_free (run, &copies[i]);
  return y;
}
