/* Inference: the network streams down the picture.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * All nodes are local, so a node can compute a row as soon as the rows around it in its input are there.  The picture
 * is read a chunk of rows at a time; after each chunk every node, in order, computes the rows that it can, and rows
 * that no node needs any more are dropped.  So the whole network runs on a window that slides down: nothing is computed
 * twice, what a node reads is still in the cache, and memory grows with the picture's width only.  A small picture is
 * one chunk, by the same code.
 *
 * Within a node, rows are split over the pool.  3x3 convolutions compute rows in fours, counted from the top of the
 * picture, so that Winograd's tiles lie the same however the picture is cut, and results are the same bit for bit.
 */
#include "net.h"

/* Half-resolution pixels per chunk.  Fewer would stay in a smaller cache, but leave the deep levels' products too few
 * rows: at 8192 pixels the f32 back end is a third slower. */
#define CHUNK_PIXELS 32768
#define CHUNK_MIN    16
#define ROW_GROUP    4

/* What a stream may leave behind for the next. */
#define IDLE_MAX ((gsize) 256 << 20)

/* Rows [first, end) of a node's output, in memory from `data` on. */
typedef struct
{
  Scratch memory;
  char   *data;     /* memory's */
  gsize   row_size; /* bytes */
  int     capacity; /* rows */
  int     first, end;
  int     height; /* rows in all */
  int     width;
} Window;

typedef struct
{
  const NetPlan   *plan;
  Pool            *pool;
  const StreamJob *job;
  Window          *windows; /* per node */
  Scratch         *scratches;
  GError         **errors;  /* both per thread */
  float           *staging; /* rows in f32, for read and write */
  int              written;
} Stream;

/* ---- windows ---- */

/* Makes room for rows up to `end`, dropping those before `keep_from`. */
static gboolean
window_reserve (Window *window, int keep_from, int end, GError **error)
{
  int     keep = MAX (keep_from, window->first), rows = window->end - keep;
  Scratch old = window->memory;
  char   *from = window->data + (gsize) (keep - window->first) * window->row_size;

  if (end - window->first <= window->capacity)
    return TRUE;
  if (end - keep > window->capacity)
    {
      /* Half as much again: windows grow for some chunks until the deepest level has what it needs. */
      int capacity = MIN ((end - keep) * 3 / 2, window->height);

      window->memory = (Scratch){ NULL, 0 };
      window->data = scratch_get (&window->memory, (gsize) capacity * window->row_size, error);
      if (! window->data)
        {
          window->memory = old;
          return FALSE;
        }
      window->capacity = capacity;
    }
  if (rows > 0)
    memmove (window->data, from, (gsize) rows * window->row_size);
  if (window->memory.data != old.data)
    scratch_clear (&old);
  window->first = keep;
  return TRUE;
}

static inline char *
window_row (const Window *window, int row)
{
  return window->data + (gsize) (row - window->first) * window->row_size;
}

/* ---- who needs what ---- */

/* The first row of its input that a node still needs. */
static int
first_needed_input (const Node *node, const Window *window)
{
  int row = window->end;

  if (node->kind != NODE_CONV)
    return row;
  switch (node->shape.kind)
    {
    case CONV_SAME3:
      return row - 1;
    case CONV_DOWN2:
      return row * 2;
    default:
      return row / 2;
    }
}

/* The rows that a node can have computed, given its inputs. */
static int
get_reach (const Stream *stream, const Node *node, const Window *window)
{
  const Window *input = &stream->windows[node->input];
  int           reach = input->end;

  if (node->kind == NODE_CONV && node->shape.kind == CONV_DOWN2)
    reach = input->end / 2;
  else if (node->kind == NODE_CONV && node->shape.kind == CONV_UP2)
    reach = input->end * 2;
  else if (node->kind == NODE_CONV && input->end < input->height)
    reach = (input->end - 1) / ROW_GROUP * ROW_GROUP;
  if (node->residual >= 0)
    reach = MIN (reach, stream->windows[node->residual].end);
  return CLAMP (reach, window->end, window->height);
}

static int
first_needed_row (const Stream *stream, int of)
{
  const NetLayout *layout = stream->plan->layout;
  int              needed = stream->windows[of].end;

  for (int i = of + 1; i < layout->n_nodes; i++)
    {
      if (layout->nodes[i].input == of)
        needed = MIN (needed, first_needed_input (&layout->nodes[i], &stream->windows[i]));
      if (layout->nodes[i].residual == of)
        needed = MIN (needed, stream->windows[i].end);
    }
  if (of == layout->n_nodes - 1)
    needed = MIN (needed, stream->written);
  return MAX (needed, 0);
}

/* ---- computing rows ---- */

typedef struct
{
  Stream     *stream;
  const Node *node;
  Window     *window;
  int         first, end; /* rows to compute */
  int         step;       /* rows per task */
} RowsJob;

static void
compute_rows (int task, int thread, gpointer data)
{
  RowsJob       *job = data;
  Stream        *stream = job->stream;
  const NetPlan *plan = stream->plan;
  const Node    *node = job->node;
  Window        *window = job->window;
  const Window  *input = &stream->windows[node->input];
  int            first = job->first + task * job->step, end = MIN (first + job->step, job->end);
  char          *output = window_row (window, first);
  ConvPiece      piece = { 1, end - first, window->width, 0, 0 };
  int            input_first = first;

  if (stream->errors[thread])
    return;
  if (node->kind == NODE_NORM)
    {
      pointwise_norm (plan->backend->element, (gsize) (end - first) * (gsize) window->width, node->channels,
                      window_row (input, first), plan->weights + node->gain, output);
      return;
    }
  if (node->residual >= 0)
    memcpy (output, window_row (&stream->windows[node->residual], first), (gsize) (end - first) * window->row_size);
  if (node->shape.kind == CONV_SAME3)
    {
      piece.top = first == 0;
      piece.bottom = end == window->height;
      input_first = first - 1 + piece.top;
    }
  else if (node->shape.kind == CONV_DOWN2)
    input_first = first * 2;
  else
    {
      piece.rows /= 2;
      piece.width /= 2;
      input_first = first / 2;
    }
  plan->backend->conv_forward (plan->convs[node->conv], &piece, window_row (input, input_first), output, node->epilogue,
                               &stream->scratches[thread], &stream->errors[thread]);
}

static gboolean
advance_node (Stream *stream, int i, GError **error)
{
  const Node *node = &stream->plan->layout->nodes[i];
  Window     *window = &stream->windows[i];
  int         threads = pool_get_threads (stream->pool), reach = get_reach (stream, node, window);
  RowsJob     job = { stream, node, window, window->end, reach, 0 };

  if (reach == window->end)
    return TRUE;
  if (! window_reserve (window, first_needed_row (stream, i), reach, error))
    return FALSE;
  job.step = ((reach - window->end + threads - 1) / threads + ROW_GROUP - 1) / ROW_GROUP * ROW_GROUP;
  pool_run (stream->pool, (reach - window->end + job.step - 1) / job.step, compute_rows, &job);
  window->end = reach;
  return core_take_first_error (stream->errors, threads, error);
}

/* ---- the stream ---- */

static gboolean
read_chunk (Stream *stream, int rows, GError **error)
{
  Window *window = &stream->windows[0];
  Element element = stream->plan->backend->element;

  if (! window_reserve (window, first_needed_row (stream, 0), window->end + rows, error)
      || ! stream->job->read (window->end, rows, stream->staging, stream->job->user_data, error))
    return FALSE;
  pointwise_from_f32 (element, (gsize) rows * (gsize) window->width * NET_CHANNELS_IN, stream->staging,
                      window_row (window, window->end));
  window->end += rows;
  return TRUE;
}

static gboolean
write_rows (Stream *stream, int chunk, GError **error)
{
  Window *window = &stream->windows[stream->plan->layout->n_nodes - 1];
  Element element = stream->plan->backend->element;

  while (stream->written < window->end)
    {
      int rows = MIN (chunk, window->end - stream->written);

      pointwise_to_f32 (element, (gsize) rows * (gsize) window->width * NET_CHANNELS_OUT,
                        window_row (window, stream->written), stream->staging);
      if (! stream->job->write (stream->written, rows, stream->staging, stream->job->user_data, error))
        return FALSE;
      stream->written += rows;
    }
  return TRUE;
}

static gboolean
run_chunks (Stream *stream, int chunk, GCancellable *cancellable, GError **error)
{
  int height = stream->job->height;

  for (int row = 0; row < height; row += chunk)
    {
      if (! read_chunk (stream, MIN (chunk, height - row), error))
        return FALSE;
      for (int i = 1; i < stream->plan->layout->n_nodes; i++)
        if (g_cancellable_set_error_if_cancelled (cancellable, error) || ! advance_node (stream, i, error))
          return FALSE;
      if (! write_rows (stream, chunk, error))
        return FALSE;
    }
  return TRUE;
}

static int
choose_chunk (const NetPlan *plan, const StreamJob *job)
{
  int granule = net_layout_get_granularity (plan->layout) / 2;
  int chunk = job->chunk > 0 ? job->chunk : MAX (CHUNK_PIXELS / job->width, CHUNK_MIN);

  /* Every level needs whole groups of rows, or threads would wait for each other. */
  granule *= job->chunk > 0 ? 1 : ROW_GROUP;
  return MIN ((chunk + granule - 1) / granule * granule, job->height);
}

/* Windows without rows, in memory that an earlier stream has left, if there is some. */
static Window *
take_windows (const NetPlan *plan, const StreamJob *job)
{
  const NetLayout *layout = plan->layout;
  Window          *windows = g_new0 (Window, (gsize) layout->n_nodes);
  NetPlan         *mutable_plan = (NetPlan *) plan; /* the memory is no part of what const promises */
  Scratch         *idle;

  g_mutex_lock (&mutable_plan->lock);
  idle = g_steal_pointer (&mutable_plan->idle);
  g_mutex_unlock (&mutable_plan->lock);
  for (int i = 0; i < layout->n_nodes; i++)
    {
      Window *window = &windows[i];

      window->width = job->width >> layout->nodes[i].level;
      window->height = job->height >> layout->nodes[i].level;
      window->row_size
          = (gsize) window->width * (gsize) layout->nodes[i].channels * element_size (plan->backend->element);
      if (idle)
        {
          window->memory = idle[i];
          window->data = idle[i].data;
          window->capacity = (int) MIN (idle[i].size / window->row_size, G_MAXINT);
        }
    }
  g_free (idle);
  return windows;
}

static void
leave_windows (const NetPlan *plan, Window *windows)
{
  int      n = plan->layout->n_nodes;
  NetPlan *mutable_plan = (NetPlan *) plan;
  Scratch *idle = g_new (Scratch, (gsize) n);
  gsize    size = 0;

  for (int i = 0; i < n; i++)
    {
      idle[i] = windows[i].memory;
      size += idle[i].size;
    }
  g_mutex_lock (&mutable_plan->lock);
  if (size <= IDLE_MAX && ! mutable_plan->idle)
    mutable_plan->idle = g_steal_pointer (&idle);
  g_mutex_unlock (&mutable_plan->lock);
  for (int i = 0; idle && i < n; i++)
    scratch_clear (&idle[i]);
  g_free (idle);
  g_free (windows);
}

gboolean
stream_run (const NetPlan *plan, Pool *pool, const StreamJob *job, GCancellable *cancellable, GError **error)
{
  gsize  threads = (gsize) pool_get_threads (pool);
  int    chunk = choose_chunk (plan, job);
  Stream stream
      = { plan, pool, job, take_windows (plan, job), g_new0 (Scratch, threads), g_new0 (GError *, threads), NULL, 0 };
  gboolean success;

  stream.staging = core_alloc ((gsize) chunk * (gsize) job->width, NET_CHANNELS_IN * sizeof (float), error);
  success = stream.staging && run_chunks (&stream, chunk, cancellable, error);
  leave_windows (plan, stream.windows);
  for (gsize i = 0; i < threads; i++)
    scratch_clear (&stream.scratches[i]);
  core_free (stream.staging);
  g_free (stream.scratches);
  g_free (stream.errors);
  return success;
}
