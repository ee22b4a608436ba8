/* Inference: the network streams down the picture.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * All nodes are local, so a node can compute a row as soon as the rows around it in its input are there.  The picture
 * is read a chunk of rows at a time; in each such round every node, in order, computes the rows that it can, and rows
 * that no node needs any more are dropped.  So the whole network runs on a window that slides down: nothing is computed
 * twice, what a node reads is still in the cache, and memory grows with the picture's width only.  A small picture is
 * one chunk, by the same code.
 *
 * Two things keep the window small.  A norm has no rows of its own: whoever reads it computes it.  And a convolution
 * that is added to a residual writes over it, as soon as nobody else needs those rows: all blocks of a level work on
 * one buffer, in which row r is the output of the last block that has got there.
 *
 * Within a node, rows are split over the pool.  3x3 convolutions compute rows in fours that begin at fixed rows of the
 * picture, so that Winograd's tiles lie the same however it is cut, and results are the same bit for bit.  Each 3x3
 * convolution's fours begin one row above its source's: then it can always go on to one row less than its source, and a
 * level's blocks together lag no more rows behind than they must.
 */
#include "net.h"

/* Half-resolution pixels per chunk.  Fewer would stay in a smaller cache, but leave the deep levels' products too few
 * rows: at 8192 pixels the f32 back end is a third slower. */
#define CHUNK_PIXELS 32768
#define ROW_GROUP    4

/* Memory grows with the rows of a chunk: more threads than this do not get a group of rows each at the deepest level.
 */
#define CHUNK_THREADS 4

/* What a stream may leave behind for the next. */
#define IDLE_MAX ((gsize) 256 << 20)

/* The memory of a node's rows, from row `first` on. */
typedef struct
{
  Scratch memory;
  gsize   row_size; /* bytes */
  int     capacity; /* rows; while planning: the most that had to be there at once */
  int     first;
} Buffer;

typedef struct
{
  int source; /* the node whose rows it reads, through a norm perhaps */
  int owner;  /* the node whose buffer it writes to: itself, or the one that its residual writes to */
  int width, height;
  int lag;   /* how many rows less than what has been read it can know; its fours begin at rows r with 4 | r + lag */
  int limit; /* rows that it may compute in one round */
  int end;   /* rows [0, end) have been computed */
} State;

/* Working memory of one thread. */
typedef struct
{
  Scratch conv, norm;
  GError *error;
} Worker;

typedef struct
{
  const NetPlan   *plan;
  Pool            *pool; /* NULL: this is a rehearsal, which finds out how many rows each buffer must hold */
  const StreamJob *job;
  State           *states;  /* per node */
  Buffer          *buffers; /* per node, used by owners */
  Worker          *workers; /* per thread */
  float           *staging; /* rows in f32, for read and write */
  int              chunk;   /* rows read at a time */
  int              written;
} Stream;

/* ---- who needs what ---- */

/* The first row of its source that a node still needs. */
static int
first_needed_input (const Stream *stream, int i)
{
  const State *state = &stream->states[i];

  if (state->end == state->height)
    return G_MAXINT;
  switch (stream->plan->layout->nodes[i].shape.kind)
    {
    case CONV_SAME3:
      return state->end - 1;
    case CONV_DOWN2:
      return state->end * 2;
    default:
      return state->end / 2;
    }
}

/* The first row of a buffer that anybody still needs. */
static int
first_needed_row (const Stream *stream, int owner)
{
  const NetLayout *layout = stream->plan->layout;
  int              needed = stream->states[owner].end, last = layout->n_nodes - 1;

  for (int i = 1; i <= last; i++)
    {
      const Node *node = &layout->nodes[i];

      if (node->kind != NODE_CONV)
        continue;
      if (stream->states[stream->states[i].source].owner == owner)
        needed = MIN (needed, first_needed_input (stream, i));
      /* Up to its end a node has written over its residual, or is done with it. */
      if (node->residual >= 0 && stream->states[node->residual].owner == owner)
        needed = MIN (needed, stream->states[i].end);
    }
  if (stream->states[last].owner == owner)
    needed = MIN (needed, stream->written);
  return MAX (needed, 0);
}

/* The last row up to `row` at which a four begins. */
static int
align_row (const State *state, int row)
{
  return row - (row + state->lag) % ROW_GROUP;
}

/* The rows that a node can have computed, given its inputs. */
static int
get_reach (const Stream *stream, int i)
{
  const NetLayout *layout = stream->plan->layout;
  const Node      *node = &layout->nodes[i];
  const State     *state = &stream->states[i], *source = &stream->states[state->source];
  int              reach = source->end;

  if (node->shape.kind == CONV_DOWN2)
    reach = source->end / 2;
  else if (node->shape.kind == CONV_UP2)
    reach = source->end * 2;
  else if (source->end < source->height)
    reach = source->end - 1;
  reach = MIN (reach, state->end + state->limit);
  if (node->residual >= 0)
    {
      reach = MIN (reach, stream->states[node->residual].end);
      for (int reader = 1; reader < layout->n_nodes; reader++)
        if (layout->nodes[reader].kind == NODE_CONV && stream->states[reader].source == node->residual)
          reach = MIN (reach, first_needed_input (stream, reader));
    }
  if (node->shape.kind == CONV_SAME3 && 0 < reach && reach < state->height)
    reach = align_row (state, reach);
  return CLAMP (reach, state->end, state->height);
}

/* ---- computing rows ---- */

static inline char *
buffer_row (const Buffer *buffer, int row)
{
  return (char *) buffer->memory.data + (gsize) (row - buffer->first) * buffer->row_size;
}

/* Makes room for rows up to `end`, dropping those before `keep_from`. */
static void
buffer_reserve (Buffer *buffer, int keep_from, int held_end, int end)
{
  int keep = MAX (keep_from, buffer->first);

  if (end - buffer->first <= buffer->capacity)
    return;
  if (held_end > keep)
    memmove (buffer->memory.data, buffer_row (buffer, keep), (gsize) (held_end - keep) * buffer->row_size);
  buffer->first = keep;
}

typedef struct
{
  Stream *stream;
  int     node;
  int     base;       /* where the first task's rows begin, or would */
  int     step;       /* rows per task */
  int     first, end; /* rows to compute */
} RowsJob;

/* The rows of its input that a piece needs: those of its source, or the norm of them. */
static const void *
get_input_rows (Stream *stream, const Node *node, const State *state, const ConvPiece *piece, int first, Worker *worker)
{
  const NetPlan *plan = stream->plan;
  const State   *source = &stream->states[state->source];
  const Buffer  *buffer = &stream->buffers[source->owner];
  const Node    *input = &plan->layout->nodes[node->input];
  gsize          rows = (gsize) conv_piece_rows_in (&node->shape, piece);
  gpointer       values;

  if (input->kind != NODE_NORM)
    return buffer_row (buffer, first);
  values = scratch_get (&worker->norm, rows * buffer->row_size, &worker->error);
  if (values)
    pointwise_norm (plan->backend->element, rows * (gsize) source->width, input->channels, buffer_row (buffer, first),
                    plan->weights + input->gain, values);
  return values;
}

static void
compute_rows (int task, int thread, gpointer data)
{
  RowsJob       *job = data;
  Stream        *stream = job->stream;
  const NetPlan *plan = stream->plan;
  const Node    *node = &plan->layout->nodes[job->node];
  const State   *state = &stream->states[job->node];
  Worker        *worker = &stream->workers[thread];
  int            first = MAX (job->base + task * job->step, job->first);
  int            end = MIN (job->base + (task + 1) * job->step, job->end);
  ConvPiece      piece = { 1, end - first, state->width, 0, 0, 0 };
  int            input_first = first;
  const void    *input;

  if (worker->error)
    return;
  if (node->shape.kind == CONV_SAME3)
    {
      piece.top = first == 0;
      piece.bottom = end == state->height;
      piece.above = first - align_row (state, first);
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
  input = get_input_rows (stream, node, state, &piece, input_first, worker);
  if (input)
    plan->backend->conv_forward (plan->convs[node->conv], &piece, input,
                                 buffer_row (&stream->buffers[state->owner], first), node->epilogue, &worker->conv,
                                 &worker->error);
}

/* Lets the node that owns a buffer go on to row `end`. */
static void
extend_buffer (Stream *stream, int owner, int end)
{
  Buffer *buffer = &stream->buffers[owner];
  int     needed = first_needed_row (stream, owner);

  if (stream->pool)
    buffer_reserve (buffer, needed, stream->states[owner].end, end);
  else
    buffer->capacity = MAX (buffer->capacity, end - needed);
}

static gboolean
take_errors (Stream *stream, GError **error)
{
  int      threads = pool_get_threads (stream->pool);
  GError **errors = g_newa (GError *, (gsize) threads);

  for (int i = 0; i < threads; i++)
    errors[i] = g_steal_pointer (&stream->workers[i].error);
  return core_take_first_error (errors, threads, error);
}

static gboolean
advance_node (Stream *stream, int i, GError **error)
{
  State  *state = &stream->states[i];
  int     reach = get_reach (stream, i);
  RowsJob job = { stream, i, align_row (state, state->end), 0, state->end, reach };

  if (reach == state->end)
    return TRUE;
  if (state->owner == i)
    extend_buffer (stream, i, reach);
  if (stream->pool)
    {
      int threads = pool_get_threads (stream->pool), rows = reach - job.base;

      job.step = ((rows + threads - 1) / threads + ROW_GROUP - 1) / ROW_GROUP * ROW_GROUP;
      pool_run (stream->pool, (rows + job.step - 1) / job.step, compute_rows, &job);
    }
  state->end = reach;
  return ! stream->pool || take_errors (stream, error);
}

/* ---- the stream ---- */

static gboolean
read_chunk (Stream *stream, GError **error)
{
  State  *state = &stream->states[0];
  Element element = stream->plan->backend->element;
  int     rows = MIN (stream->chunk, state->height - state->end);

  if (rows == 0)
    return TRUE;
  extend_buffer (stream, 0, state->end + rows);
  if (stream->pool)
    {
      if (! stream->job->read (state->end, rows, stream->staging, stream->job->user_data, error))
        return FALSE;
      pointwise_from_f32 (element, (gsize) rows * (gsize) state->width * NET_CHANNELS_IN, stream->staging,
                          buffer_row (&stream->buffers[0], state->end));
    }
  state->end += rows;
  return TRUE;
}

static gboolean
write_rows (Stream *stream, GError **error)
{
  int          last = stream->plan->layout->n_nodes - 1;
  const State *state = &stream->states[last];
  Element      element = stream->plan->backend->element;

  while (stream->written < state->end)
    {
      int rows = MIN (stream->chunk, state->end - stream->written);

      if (stream->pool)
        {
          pointwise_to_f32 (element, (gsize) rows * (gsize) state->width * NET_CHANNELS_OUT,
                            buffer_row (&stream->buffers[state->owner], stream->written), stream->staging);
          if (! stream->job->write (stream->written, rows, stream->staging, stream->job->user_data, error))
            return FALSE;
        }
      stream->written += rows;
    }
  return TRUE;
}

static gboolean
run_rounds (Stream *stream, GCancellable *cancellable, GError **error)
{
  const NetLayout *layout = stream->plan->layout;

  while (stream->written < stream->job->height)
    {
      if (! read_chunk (stream, error))
        return FALSE;
      for (int i = 1; i < layout->n_nodes; i++)
        if (layout->nodes[i].kind == NODE_CONV
            && (g_cancellable_set_error_if_cancelled (cancellable, error) || ! advance_node (stream, i, error)))
          return FALSE;
      if (! write_rows (stream, error))
        return FALSE;
    }
  return TRUE;
}

/* ---- before and after ---- */

static int
choose_chunk (const NetPlan *plan, const StreamJob *job, int threads)
{
  int granule = net_layout_get_granularity (plan->layout) / 2;
  int chunk = job->chunk > 0 ? job->chunk : CHUNK_PIXELS / job->width;

  /* Every level needs a group of rows for each thread, or they would wait for each other. */
  granule *= job->chunk > 0 ? 1 : ROW_GROUP * MIN (threads, CHUNK_THREADS);
  return MIN (MAX (chunk + granule - 1, granule) / granule * granule, job->height);
}

static int
get_lag (const Node *node, int lag_of_source)
{
  switch (node->shape.kind)
    {
    case CONV_SAME3:
      return lag_of_source + 1;
    case CONV_DOWN2:
      return (lag_of_source + 1) / 2;
    default:
      return lag_of_source * 2;
    }
}

/* The memory of all nodes' rows. */
static gsize
get_size (const Stream *stream)
{
  gsize size = 0;

  for (int i = 0; i < stream->plan->layout->n_nodes; i++)
    size += (gsize) stream->buffers[i].capacity * stream->buffers[i].row_size;
  return size;
}

/* Everything at the top of the picture. */
static void
rewind_states (Stream *stream)
{
  const NetLayout *layout = stream->plan->layout;

  stream->written = 0;
  for (int i = 0; i < layout->n_nodes; i++)
    {
      const Node *node = &layout->nodes[i];
      State      *state = &stream->states[i];
      int         input = node->input;

      if (input >= 0 && layout->nodes[input].kind == NODE_NORM)
        input = layout->nodes[input].input;
      *state = (State){ .source = input,
                        .owner = node->residual >= 0 ? stream->states[node->residual].owner : i,
                        .width = stream->job->width >> node->level,
                        .height = stream->job->height >> node->level };
      state->limit = ((stream->chunk >> node->level) + ROW_GROUP - 1) / ROW_GROUP * ROW_GROUP;
      if (node->kind == NODE_CONV)
        state->lag = get_lag (node, stream->states[input].lag);
      stream->buffers[i].first = 0;
    }
}

/* How many rows each node has to keep, found by a run that computes nothing. */
static void
plan_buffers (Stream *stream)
{
  const NetPlan   *plan = stream->plan;
  const NetLayout *layout = plan->layout;

  memset (stream->buffers, 0, (gsize) layout->n_nodes * sizeof (Buffer));
  rewind_states (stream);
  run_rounds (stream, NULL, NULL);
  for (int i = 0; i < layout->n_nodes; i++)
    {
      Buffer *buffer = &stream->buffers[i];
      int     step = stream->states[i].limit, kept = buffer->capacity - step;

      /* Some more, where otherwise each round would move up more than twice the rows that it adds. */
      buffer->capacity = MIN (buffer->capacity + MAX (kept / 2 - step, 0), stream->states[i].height);
      buffer->row_size
          = (gsize) stream->states[i].width * (gsize) layout->nodes[i].channels * element_size (plan->backend->element);
    }
  rewind_states (stream);
}

static void
stream_init (Stream *stream, const NetPlan *plan, const StreamJob *job, int threads)
{
  gsize n = (gsize) plan->layout->n_nodes, most = job->memory ? job->memory : core_get_spare_memory () / 2;
  int   granule = net_layout_get_granularity (plan->layout) / 2;

  *stream = (Stream){ .plan = plan, .job = job, .chunk = choose_chunk (plan, job, threads) };
  stream->states = g_new0 (State, n);
  stream->buffers = g_new0 (Buffer, n);
  stream->workers = g_new0 (Worker, (gsize) threads);
  plan_buffers (stream);
  /* Smaller chunks are slower, and memory that is swapped out is slower still. */
  while (job->chunk <= 0 && stream->chunk > granule && get_size (stream) > most)
    {
      stream->chunk = MAX (stream->chunk / 2 / granule, 1) * granule;
      plan_buffers (stream);
    }
}

/* Memory for the buffers: what an earlier stream has left, where that suffices. */
static gboolean
take_memory (Stream *stream, GError **error)
{
  NetPlan            *plan = (NetPlan *) stream->plan; /* the memory is no part of what const promises */
  g_autofree Scratch *idle = NULL;
  gboolean            success = TRUE;

  g_mutex_lock (&plan->lock);
  idle = g_steal_pointer (&plan->idle);
  g_mutex_unlock (&plan->lock);
  for (int i = 0; i < plan->layout->n_nodes; i++)
    {
      Buffer *buffer = &stream->buffers[i];

      if (idle)
        buffer->memory = idle[i];
      if (buffer->capacity > 0)
        success = success && scratch_get (&buffer->memory, (gsize) buffer->capacity * buffer->row_size, error);
    }
  return success;
}

static void
leave_memory (Stream *stream)
{
  NetPlan *plan = (NetPlan *) stream->plan;
  int      n = plan->layout->n_nodes;
  Scratch *idle = g_new (Scratch, (gsize) n);
  gsize    size = 0;

  for (int i = 0; i < n; i++)
    {
      idle[i] = stream->buffers[i].memory;
      size += idle[i].size;
    }
  g_mutex_lock (&plan->lock);
  if (size <= IDLE_MAX && ! plan->idle)
    plan->idle = g_steal_pointer (&idle);
  g_mutex_unlock (&plan->lock);
  for (int i = 0; idle && i < n; i++)
    scratch_clear (&idle[i]);
  g_free (idle);
}

static void
stream_clear (Stream *stream, int threads)
{
  for (int i = 0; i < threads; i++)
    {
      scratch_clear (&stream->workers[i].conv);
      scratch_clear (&stream->workers[i].norm);
    }
  core_free (stream->staging);
  g_free (stream->workers);
  g_free (stream->buffers);
  g_free (stream->states);
}

gboolean
stream_run (const NetPlan *plan, Pool *pool, const StreamJob *job, GCancellable *cancellable, GError **error)
{
  int      threads = pool_get_threads (pool);
  Stream   stream;
  gboolean success;

  stream_init (&stream, plan, job, threads);
  stream.pool = pool;
  success = take_memory (&stream, error)
            && (stream.staging
                = core_alloc ((gsize) stream.chunk * (gsize) job->width, NET_CHANNELS_IN * sizeof (float), error))
            && run_rounds (&stream, cancellable, error);
  leave_memory (&stream);
  stream_clear (&stream, threads);
  return success;
}

gsize
stream_estimate_memory (const NetPlan *plan, int threads, const StreamJob *job)
{
  Stream stream;
  gsize  size;

  stream_init (&stream, plan, job, threads);
  size = get_size (&stream);
  stream_clear (&stream, threads);
  return size;
}
