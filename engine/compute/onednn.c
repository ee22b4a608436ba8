/* Convolutions in bf16 on oneDNN, for processors with AMX or AVX512-BF16.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * oneDNN plans one primitive for each exact shape and compiles it at run time, so primitives are kept.  It runs each on
 * the calling thread alone (OpenMP is told so): the pool has already split the work.
 *
 * A transposed convolution is planned as the plain one with input and output exchanged, whose passes forward and
 * backward by the data then trade places: oneDNN's own kernel for it adds the bias in plain loops, and took a third of
 * the network's time for a hundredth of its products. */
#include "compute.h"
#include "onednn-describe.h"

#include <glib/gi18n-lib.h>
#include <omp.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

/* Different shapes kept per convolution; a picture needs some ten, and each is some 100 kB of code. */
#define KEPT_MAX 48
/* Bytes, more than oneDNN wants to plan anything: without memory it ends the program instead of saying so. */
#define ROOM ((gsize) 64 << 20)

enum
{
  /* Pixels: pieces narrower than this take longer in calls than in plans. */
  WIDE = 64,
  /* Rows that are computed at once of wider ones. */
  CHUNK = 8
};

typedef struct
{
  Pass         pass;
  ConvEpilogue epilogue;
  ConvPiece    piece;
} PlanKey;

/* Weights in one of oneDNN's own layouts. */
typedef struct
{
  dnnl_memory_t memory;
  gpointer      data;
} Weights;

typedef struct
{
  gint                  references; /* atomic */
  PlanKey               key;
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t      primitive;
  dnnl_primitive_t      reorder; /* PASS_BACKWARD_WEIGHTS: from oneDNN's layout to ours */
  Weights              *weights; /* the other passes: owned by the convolution */
  gsize                 scratch_size;
} Plan;

typedef struct
{
  Conv         conv;
  const float *weights, *bias; /* canonical, f32, not owned: plans that come later lay them out anew */
  GMutex       lock;           /* of the two arrays */
  GPtrArray   *plans;          /* Plan, the newest last */
  GPtrArray   *layouts;        /* Weights */
} OnednnConv;

/* ---- plans ---- */

static dnnl_engine_t
get_engine (void)
{
  static gsize engine;

  if (g_once_init_enter (&engine))
    {
      dnnl_engine_t new_engine = NULL;

      if (dnnl_engine_create (&new_engine, dnnl_cpu, 0) != dnnl_success)
        new_engine = NULL;
      g_once_init_leave (&engine, new_engine ? (gsize) new_engine : 1);
    }
  return engine == 1 ? NULL : (dnnl_engine_t) engine;
}

/* what: marked for translation, which is looked up only for failures. */
static gboolean
check (dnnl_status_t status, const char *what, GError **error)
{
  if (status == dnnl_success)
    return TRUE;
  if (status == dnnl_out_of_memory)
    g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY,
                         C_ ("error", "There is not enough memory for the bf16 convolutions."));
  else
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                 /* Translators: %s is one of the texts with the context "oneDNN could not". */
                 C_ ("error", "oneDNN could not %s (status %d); DIFFUSION_COMPUTE=blas does without it."),
                 g_dpgettext2 (GETTEXT_PACKAGE, "oneDNN could not", what), (int) status);
  return FALSE;
}

static gboolean
run_primitive (dnnl_primitive_t primitive, int count, const dnnl_exec_arg_t *arguments, GError **error)
{
  dnnl_stream_t stream = NULL;
  dnnl_status_t status = dnnl_stream_create (&stream, get_engine (), dnnl_stream_default_flags);

  if (status == dnnl_success)
    status = dnnl_primitive_execute (primitive, stream, count, arguments);
  if (stream)
    dnnl_stream_destroy (stream);
  return check (status, NC_ ("oneDNN could not", "run a convolution"), error);
}

static dnnl_status_t
create_reorder (MemoryDesc from, MemoryDesc to, dnnl_primitive_t *reorder)
{
  dnnl_primitive_desc_t desc = NULL;
  dnnl_status_t         status = core_has_room (ROOM)
                                     ? dnnl_reorder_primitive_desc_create (&desc, from, get_engine (), to, get_engine (), NULL)
                                     : dnnl_out_of_memory;

  if (status == dnnl_success)
    status = dnnl_primitive_create (reorder, desc);
  if (desc)
    dnnl_primitive_desc_destroy (desc);
  return status;
}

static void
plan_unref (gpointer data)
{
  Plan *plan = data;

  if (! g_atomic_int_dec_and_test (&plan->references))
    return;
  if (plan->primitive)
    dnnl_primitive_destroy (plan->primitive);
  if (plan->reorder)
    dnnl_primitive_destroy (plan->reorder);
  if (plan->desc)
    dnnl_primitive_desc_destroy (plan->desc);
  g_free (plan);
}

static void
weights_free (gpointer data)
{
  Weights *weights = data;

  if (weights->memory)
    dnnl_memory_destroy (weights->memory);
  core_free (weights->data);
  g_free (weights);
}

/* What is planned in the place of a convolution's pass. */
static gboolean
is_exchanged (const ConvShape *shape)
{
  return shape->kind == CONV_UP2;
}

static ConvShape
get_planned_shape (const ConvShape *shape)
{
  return is_exchanged (shape) ? (ConvShape){ CONV_DOWN2, shape->c_out, shape->c_in } : *shape;
}

static Pass
get_planned_pass (const ConvShape *shape, Pass pass)
{
  if (! is_exchanged (shape) || pass == PASS_BACKWARD_WEIGHTS)
    return pass;
  return pass == PASS_FORWARD ? PASS_BACKWARD_DATA : PASS_FORWARD;
}

/* Our layout of the weights, [kh][kw][c_in][c_out], as that of the planned shape's. */
static dnnl_status_t
init_canonical_weights (const ConvShape *shape, OwnedDesc *desc)
{
  int               edge = shape->kind == CONV_SAME3 ? 3 : 2, area = shape->c_in * shape->c_out;
  const dnnl_dims_t plain = { shape->c_out, shape->c_in, edge, edge };
  const dnnl_dims_t exchanged = { shape->c_in, shape->c_out, edge, edge };
  const dnnl_dims_t strides = { shape->c_out, 1, edge * area, area };

  if (is_exchanged (shape))
    return onednn_desc_init_strides (desc, 4, exchanged, dnnl_f32, strides);
  return onednn_desc_init (desc, 4, plain, dnnl_f32, dnnl_hwio);
}

/* shape: a planned one */
static dnnl_status_t
problem_init (Problem *problem, const ConvShape *shape, const ConvPiece *piece, gboolean has_bias,
              gboolean weights_in_f32)
{
  gboolean          same = shape->kind == CONV_SAME3;
  int               edge = same ? 3 : 2;
  const dnnl_dims_t x
      = { piece->n, shape->c_in, conv_piece_rows_in (shape, piece), same ? piece->width : piece->width * 2 };
  const dnnl_dims_t y = { piece->n, shape->c_out, piece->rows, piece->width };
  const dnnl_dims_t weights = { shape->c_out, shape->c_in, edge, edge };
  const dnnl_dims_t bias = { shape->c_out };
  dnnl_status_t     status;

  *problem = (Problem){ .has_bias = has_bias };
  problem->strides[0] = problem->strides[1] = same ? 1 : 2;
  if (same)
    {
      problem->pad_low[0] = piece->top;
      problem->pad_high[0] = piece->bottom;
      problem->pad_low[1] = problem->pad_high[1] = 1;
    }
  status = onednn_desc_init (&problem->x, 4, x, dnnl_bf16, dnnl_nhwc);
  if (status == dnnl_success)
    status = onednn_desc_init (&problem->y, 4, y, dnnl_bf16, dnnl_nhwc);
  if (status == dnnl_success)
    status = onednn_desc_init (&problem->bias, 1, bias, dnnl_f32, dnnl_a);
  if (status == dnnl_success)
    status
        = onednn_desc_init (&problem->weights, 4, weights, weights_in_f32 ? dnnl_f32 : dnnl_bf16, dnnl_format_tag_any);
  return status;
}

static void
problem_clear (Problem *problem)
{
  DESC_CLEAR (problem->x);
  DESC_CLEAR (problem->y);
  DESC_CLEAR (problem->bias);
  DESC_CLEAR (problem->weights);
}

/* Brings the canonical weights into the layout of `weights`. */
static gboolean
weights_fill (OnednnConv *self, Weights *weights, GError **error)
{
  dnnl_memory_t    canonical = NULL;
  dnnl_primitive_t reorder = NULL;
  OwnedDesc        desc;
  MemoryDesc       to;
  dnnl_status_t    status;
  gboolean         success;

  status = init_canonical_weights (&self->conv.shape, &desc);
  if (status != dnnl_success)
    return check (status, NC_ ("oneDNN could not", "describe weights"), error);
  status = dnnl_memory_get_memory_desc (weights->memory, &to);
  if (status == dnnl_success)
    status = dnnl_memory_create (&canonical, DESC (desc), get_engine (), (gpointer) self->weights);
  if (status == dnnl_success)
    status = create_reorder (DESC (desc), to, &reorder);
  success = check (status, NC_ ("oneDNN could not", "lay out weights"), error);
  if (success)
    {
      const dnnl_exec_arg_t arguments[] = { { DNNL_ARG_FROM, canonical }, { DNNL_ARG_TO, weights->memory } };

      success = run_primitive (reorder, 2, arguments, error);
    }
  if (reorder)
    dnnl_primitive_destroy (reorder);
  if (canonical)
    dnnl_memory_destroy (canonical);
  DESC_CLEAR (desc);
  return success;
}

/* The weights in layout `desc`, made when no plan had them so far. */
static Weights *
get_weights (OnednnConv *self, MemoryDesc desc, GError **error)
{
  Weights *weights;

  for (guint i = 0; i < self->layouts->len; i++)
    {
      MemoryDesc has;

      weights = g_ptr_array_index (self->layouts, i);
      if (dnnl_memory_get_memory_desc (weights->memory, &has) == dnnl_success && dnnl_memory_desc_equal (has, desc))
        return weights;
    }
  weights = g_new0 (Weights, 1);
  weights->data = core_alloc0 (dnnl_memory_desc_get_size (desc), 1, error);
  if (! weights->data
      || ! check (dnnl_memory_create (&weights->memory, desc, get_engine (), weights->data),
                  NC_ ("oneDNN could not", "hold weights"), error)
      || ! weights_fill (self, weights, error))
    {
      weights_free (weights);
      return NULL;
    }
  g_ptr_array_add (self->layouts, weights);
  return weights;
}

static dnnl_status_t
plan_create_desc (Plan *plan, const ConvShape *of_conv)
{
  const ConvShape       shape = get_planned_shape (of_conv);
  const Pass            pass = get_planned_pass (of_conv, plan->key.pass);
  gboolean              has_bias = ! is_exchanged (of_conv), by_weights = pass == PASS_BACKWARD_WEIGHTS;
  dnnl_primitive_attr_t attributes = NULL;
  dnnl_primitive_desc_t hint = NULL;
  Problem               problem;
  dnnl_status_t         status = problem_init (&problem, &shape, &plan->key.piece, has_bias, by_weights);

  if (status == dnnl_success)
    status = onednn_attributes_create (&attributes, plan->key.epilogue);
  if (status == dnnl_success && pass == PASS_FORWARD)
    status = onednn_desc_create_forward (&plan->desc, &problem, dnnl_forward_inference, attributes, get_engine ());
  else if (status == dnnl_success)
    {
      Problem forward;

      /* The hint must be the same problem as a forward pass: with bf16 weights. */
      status = problem_init (&forward, &shape, &plan->key.piece, has_bias, FALSE);
      if (status == dnnl_success)
        status = onednn_desc_create_forward (&hint, &forward, dnnl_forward_training, NULL, get_engine ());
      if (status == dnnl_success)
        status = onednn_desc_create_backward (&plan->desc, &problem, pass, attributes, get_engine (), hint);
      problem_clear (&forward);
    }
  if (hint)
    dnnl_primitive_desc_destroy (hint);
  if (attributes)
    dnnl_primitive_attr_destroy (attributes);
  problem_clear (&problem);
  return status;
}

static Plan *
plan_new (OnednnConv *self, const PlanKey *key, GError **error)
{
  Plan         *plan = g_new0 (Plan, 1);
  OwnedDesc     canonical;
  dnnl_status_t status;

  plan->references = 1;
  plan->key = *key;
  status = core_has_room (ROOM) ? plan_create_desc (plan, &self->conv.shape) : dnnl_out_of_memory;
  if (status == dnnl_success)
    status = dnnl_primitive_create (&plan->primitive, plan->desc);
  if (status == dnnl_success && key->pass == PASS_BACKWARD_WEIGHTS)
    {
      status = init_canonical_weights (&self->conv.shape, &canonical);
      if (status == dnnl_success)
        {
          status = create_reorder (dnnl_primitive_desc_query_md (plan->desc, dnnl_query_diff_weights_md, 0),
                                   DESC (canonical), &plan->reorder);
          DESC_CLEAR (canonical);
        }
    }
  if (! check (status, NC_ ("oneDNN could not", "plan a convolution"), error))
    {
      plan_unref (plan);
      return NULL;
    }
  plan->scratch_size
      = dnnl_memory_desc_get_size (dnnl_primitive_desc_query_md (plan->desc, dnnl_query_scratchpad_md, 0));
  if (key->pass != PASS_BACKWARD_WEIGHTS)
    {
      plan->weights = get_weights (self, dnnl_primitive_desc_query_md (plan->desc, dnnl_query_weights_md, 0), error);
      if (! plan->weights)
        {
          plan_unref (plan);
          return NULL;
        }
    }
  return plan;
}

/* A reference to the plan for a key; the oldest go when there are many. */
static Plan *
get_plan (const OnednnConv *const_self, Pass pass, const ConvPiece *piece, ConvEpilogue epilogue, GError **error)
{
  OnednnConv   *self = (OnednnConv *) const_self; /* the cache is no part of what const promises */
  const PlanKey key = { pass, epilogue, *piece };
  Plan         *plan = NULL;

  /* Primitives are planned for, and run on, as many threads as OpenMP allows this thread: one. */
  omp_set_num_threads (1);
  g_mutex_lock (&self->lock);
  for (guint i = self->plans->len; i > 0 && ! plan; i--)
    {
      Plan *kept = g_ptr_array_index (self->plans, i - 1);

      if (memcmp (&kept->key, &key, sizeof key) == 0)
        plan = kept;
    }
  if (! plan)
    {
      compute_begin_planning ();
      plan = plan_new (self, &key, error);
      compute_end_planning ();
      if (plan)
        {
          if (self->plans->len >= KEPT_MAX)
            g_ptr_array_remove_index (self->plans, 0);
          g_ptr_array_add (self->plans, plan);
        }
    }
  if (plan)
    g_atomic_int_inc (&plan->references);
  g_mutex_unlock (&self->lock);
  return plan;
}

/* ---- running ---- */

typedef struct
{
  dnnl_exec_arg_t list[8];
  int             count;
  dnnl_status_t   status;
} Arguments;

static void
arguments_add (Arguments *arguments, int which, MemoryDesc desc, gpointer data)
{
  dnnl_memory_t memory = NULL;

  if (arguments->status == dnnl_success)
    arguments->status = dnnl_memory_create (&memory, desc, get_engine (), data);
  if (arguments->status == dnnl_success)
    arguments->list[arguments->count++] = (dnnl_exec_arg_t){ which, memory };
}

static gboolean
arguments_run (Arguments *arguments, dnnl_primitive_t primitive, GError **error)
{
  gboolean success = check (arguments->status, NC_ ("oneDNN could not", "describe its data"), error)
                     && run_primitive (primitive, arguments->count, arguments->list, error);

  for (int i = 0; i < arguments->count; i++)
    dnnl_memory_destroy (arguments->list[i].memory);
  return success;
}

#define QUERY(plan, what) dnnl_primitive_desc_query_md ((plan)->desc, dnnl_query_##what##_md, 0)

/* The two passes that go through the weights: x -> y, or dy -> dx.  work: plan->scratch_size bytes */
static gboolean
run_plan (const Conv *conv, const Plan *plan, const void *from, void *to, gpointer work, GError **error)
{
  const OnednnConv *self = (const OnednnConv *) conv;
  Arguments         arguments = { .status = dnnl_success };

  arguments_add (&arguments, DNNL_ARG_WEIGHTS, QUERY (plan, weights), plan->weights->data);
  arguments_add (&arguments, DNNL_ARG_SCRATCHPAD, QUERY (plan, scratchpad), work);
  if (get_planned_pass (&conv->shape, plan->key.pass) == PASS_BACKWARD_DATA)
    {
      arguments_add (&arguments, DNNL_ARG_DIFF_DST, QUERY (plan, diff_dst), (gpointer) from);
      arguments_add (&arguments, DNNL_ARG_DIFF_SRC, QUERY (plan, diff_src), to);
    }
  else
    {
      arguments_add (&arguments, DNNL_ARG_SRC, QUERY (plan, src), (gpointer) from);
      if (! is_exchanged (&conv->shape))
        arguments_add (&arguments, DNNL_ARG_BIAS, dnnl_primitive_desc_query_md (plan->desc, dnnl_query_weights_md, 1),
                       (gpointer) self->bias);
      arguments_add (&arguments, DNNL_ARG_DST, QUERY (plan, dst), to);
    }
  return arguments_run (&arguments, plan->primitive, error);
}

static gboolean
run_data_pass (const Conv *conv, Pass pass, const ConvPiece *piece, ConvEpilogue epilogue, const void *from, void *to,
               Scratch *scratch, GError **error)
{
  Plan    *plan = get_plan ((const OnednnConv *) conv, pass, piece, epilogue, error);
  gpointer work = plan ? scratch_get (scratch, MAX (plan->scratch_size, 1), error) : NULL;
  gboolean success = work && run_plan (conv, plan, from, to, work, error);

  if (plan)
    plan_unref (plan);
  return success;
}

/* An exchanged forward pass knows no bias and no epilogue: they follow. */
static gboolean
run_exchanged_forward (const Conv *conv, const ConvPiece *piece, const void *x, void *y, ConvEpilogue epilogue,
                       Scratch *scratch, GError **error)
{
  const OnednnConv *self = (const OnednnConv *) conv;
  gsize             pixels = (gsize) piece->n * (gsize) piece->rows * (gsize) piece->width * 4;
  gsize             count = pixels * (gsize) conv->shape.c_out;
  Plan             *plan = get_plan (self, PASS_FORWARD, piece, EPILOGUE_NONE, error);
  gsize             work_size = plan ? (plan->scratch_size + 63) / 64 * 64 : 0;
  char             *work = plan ? scratch_get (scratch, work_size + count * sizeof (guint16), error) : NULL;
  gpointer          product = epilogue == EPILOGUE_ADD && work ? work + work_size : y;
  gboolean          success = work && run_plan (conv, plan, x, product, work, error);

  if (plan)
    plan_unref (plan);
  if (! success)
    return FALSE;
  pointwise_add_bias (ELEMENT_BF16, pixels, conv->shape.c_out, self->bias, product);
  if (epilogue == EPILOGUE_ADD)
    pointwise_add (ELEMENT_BF16, count, product, y);
  else if (epilogue == EPILOGUE_SILU)
    pointwise_silu (ELEMENT_BF16, count, y, y);
  return TRUE;
}

/* How many rows of a piece to compute at once, when so many are done.  The code that oneDNN compiles for each height is
 * the longer the wider the piece is, and took half of a small picture's time: wide pieces of any height are made of a
 * few. */
static int
count_rows_at_once (const ConvPiece *piece, int done)
{
  const int left = piece->rows - done;

  if (piece->n > 1 || piece->width < WIDE || (piece->top && piece->bottom))
    return left;
  if (piece->top && done == 0)
    return 1;
  return left - piece->bottom >= CHUNK ? CHUNK : 1;
}

static gboolean
onednn_conv_forward (const Conv *conv, const ConvPiece *piece, const void *x, void *y, ConvEpilogue epilogue,
                     Scratch *scratch, GError **error)
{
  const ConvShape *shape = &conv->shape;
  const gsize      in = shape->kind == CONV_DOWN2 ? 4 : 1, out = shape->kind == CONV_UP2 ? 4 : 1;
  const gsize      row_in = in * (gsize) piece->width * (gsize) shape->c_in * sizeof (guint16);
  const gsize      row_out = out * (gsize) piece->width * (gsize) shape->c_out * sizeof (guint16);
  gboolean         success = TRUE;

  for (int done = 0, rows; success && done < piece->rows; done += rows)
    {
      rows = count_rows_at_once (piece, done);
      const ConvPiece part = { .n = piece->n,
                               .rows = rows,
                               .width = piece->width,
                               .top = piece->top && done == 0,
                               .bottom = piece->bottom && done + rows == piece->rows };
      /* Without a row above, the input's first row is that of the output's first. */
      const int   above = shape->kind == CONV_SAME3 && piece->top && done > 0;
      const char *from = (const char *) x + (gsize) (done - above) * row_in;
      char       *to = (char *) y + (gsize) done * row_out;

      if (is_exchanged (shape))
        success = run_exchanged_forward (conv, &part, from, to, epilogue, scratch, error);
      else
        success = run_data_pass (conv, PASS_FORWARD, &part, epilogue, from, to, scratch, error);
    }
  return success;
}

static gboolean
onednn_conv_backward_data (const Conv *conv, const ConvPiece *piece, const void *dy, void *dx, Scratch *scratch,
                           GError **error)
{
  return run_data_pass (conv, PASS_BACKWARD_DATA, piece, EPILOGUE_NONE, dy, dx, scratch, error);
}

static gboolean
onednn_conv_backward_weights (const Conv *conv, const ConvPiece *piece, const void *x, const void *dy, float *d_weights,
                              float *d_bias, Scratch *scratch, GError **error)
{
  Plan     *plan = get_plan ((const OnednnConv *) conv, PASS_BACKWARD_WEIGHTS, piece, EPILOGUE_NONE, error);
  gsize     count = conv_shape_count_weights (&conv->shape), c_out = (gsize) conv->shape.c_out;
  Arguments arguments = { .status = dnnl_success }, reordering = { .status = dnnl_success };
  OwnedDesc canonical;
  gsize     blocked_size, bias_size = (c_out * sizeof (float) + 63) / 64 * 64;
  gboolean  success = FALSE;
  char     *work;

  if (! plan)
    return FALSE;
  blocked_size = (dnnl_memory_desc_get_size (QUERY (plan, diff_weights)) + 63) / 64 * 64;
  work = scratch_get (scratch, plan->scratch_size + blocked_size + bias_size + count * sizeof (float) + 64, error);
  if (work
      && check (init_canonical_weights (&conv->shape, &canonical), NC_ ("oneDNN could not", "describe weights"), error))
    {
      gboolean exchanged = is_exchanged (&conv->shape);
      float   *bias = (float *) (work + blocked_size), *plain = (float *) (work + blocked_size + bias_size);
      char    *scratchpad = work + blocked_size + bias_size + (count * sizeof (float) + 63) / 64 * 64;

      arguments_add (&arguments, DNNL_ARG_SRC, QUERY (plan, src), (gpointer) (exchanged ? dy : x));
      arguments_add (&arguments, DNNL_ARG_DIFF_DST, QUERY (plan, diff_dst), (gpointer) (exchanged ? x : dy));
      arguments_add (&arguments, DNNL_ARG_DIFF_WEIGHTS, QUERY (plan, diff_weights), work);
      if (! exchanged)
        arguments_add (&arguments, DNNL_ARG_DIFF_BIAS,
                       dnnl_primitive_desc_query_md (plan->desc, dnnl_query_diff_weights_md, 1), bias);
      arguments_add (&arguments, DNNL_ARG_SCRATCHPAD, QUERY (plan, scratchpad), scratchpad);
      success = arguments_run (&arguments, plan->primitive, error);
      if (success)
        {
          arguments_add (&reordering, DNNL_ARG_FROM, QUERY (plan, diff_weights), work);
          arguments_add (&reordering, DNNL_ARG_TO, DESC (canonical), plain);
          success = arguments_run (&reordering, plan->reorder, error);
        }
      if (success)
        {
          pointwise_add (ELEMENT_F32, count, plain, d_weights);
          if (exchanged)
            pointwise_sum (ELEMENT_BF16, (gsize) piece->n * (gsize) piece->rows * (gsize) piece->width * 4,
                           conv->shape.c_out, dy, d_bias);
          else
            pointwise_add (ELEMENT_F32, c_out, bias, d_bias);
        }
      DESC_CLEAR (canonical);
    }
  plan_unref (plan);
  return success;
}

/* ---- filters ---- */

/* What is ready to run: of a filter, or of a product. */
typedef struct
{
  dnnl_primitive_desc_t desc;
  dnnl_primitive_t      primitive;
  gsize                 scratch_size;
} Kernel;

typedef struct
{
  Filter filter;
  Kernel kernel;
} OnednnFilter;

static void
kernel_clear (Kernel *kernel)
{
  if (kernel->primitive)
    dnnl_primitive_destroy (kernel->primitive);
  if (kernel->desc)
    dnnl_primitive_desc_destroy (kernel->desc);
}

/* Once it is described, or that has failed: consumes problem and attributes. */
static gboolean
kernel_finish (Kernel *kernel, dnnl_status_t status, Problem *problem, dnnl_primitive_attr_t attributes, GError **error)
{
  if (attributes)
    dnnl_primitive_attr_destroy (attributes);
  problem_clear (problem);
  if (status == dnnl_success)
    status = core_has_room (ROOM) ? dnnl_primitive_create (&kernel->primitive, kernel->desc) : dnnl_out_of_memory;
  if (status == dnnl_success)
    kernel->scratch_size = dnnl_memory_desc_get_size (QUERY (kernel, scratchpad));
  return check (status, NC_ ("oneDNN could not", "plan a product"), error);
}

static void
onednn_filter_free (Filter *filter)
{
  kernel_clear (&((OnednnFilter *) filter)->kernel);
  g_free (filter);
}

static Filter *
onednn_filter_new (const FilterShape *shape, GError **error)
{
  OnednnFilter         *self = g_new0 (OnednnFilter, 1);
  const dnnl_dims_t     x = { 1, shape->c_in, filter_shape_rows_in (shape), filter_shape_width_in (shape) };
  const dnnl_dims_t     y = { 1, shape->c_out, shape->rows, shape->width };
  const dnnl_dims_t     weights = { shape->c_out, shape->c_in, shape->edge, shape->edge }, bias = { shape->c_out };
  Problem               problem = { .has_bias = TRUE, .strides = { shape->stride, shape->stride } };
  dnnl_primitive_attr_t attributes = NULL;
  dnnl_status_t         status = onednn_desc_init (&problem.x, 4, x, dnnl_bf16, dnnl_nhwc);

  omp_set_num_threads (1);
  if (status == dnnl_success)
    status = onednn_desc_init (&problem.y, 4, y, dnnl_f32, dnnl_nhwc);
  if (status == dnnl_success)
    status = onednn_desc_init (&problem.bias, 1, bias, dnnl_f32, dnnl_a);
  if (status == dnnl_success)
    status = onednn_desc_init (&problem.weights, 4, weights, dnnl_bf16, dnnl_format_tag_any);
  if (status == dnnl_success)
    status = onednn_attributes_create (&attributes, EPILOGUE_NONE);
  if (status == dnnl_success)
    status
        = onednn_desc_create_forward (&self->kernel.desc, &problem, dnnl_forward_inference, attributes, get_engine ());
  if (! kernel_finish (&self->kernel, status, &problem, attributes, error))
    {
      onednn_filter_free (&self->filter);
      return NULL;
    }
  self->filter = (Filter){ &compute_onednn, *shape, dnnl_memory_desc_get_size (QUERY (&self->kernel, weights)) };
  return &self->filter;
}

static gboolean
onednn_filter_is_laid_out_as (const Filter *filter, const Filter *other)
{
  return dnnl_memory_desc_equal (QUERY (&((const OnednnFilter *) filter)->kernel, weights),
                                 QUERY (&((const OnednnFilter *) other)->kernel, weights));
}

static gboolean
onednn_filter_lay_out (const Filter *filter, const void *weights, void *laid_out, GError **error)
{
  const Kernel      *kernel = &((const OnednnFilter *) filter)->kernel;
  const FilterShape *shape = &filter->shape;
  const dnnl_dims_t  sizes = { shape->c_out, shape->c_in, shape->edge, shape->edge };
  dnnl_primitive_t   reorder = NULL;
  Arguments          arguments = { .status = dnnl_success };
  OwnedDesc          plain;
  gboolean           success;

  omp_set_num_threads (1);
  if (! check (onednn_desc_init (&plain, 4, sizes, dnnl_bf16, dnnl_oihw), NC_ ("oneDNN could not", "describe weights"),
               error))
    return FALSE;
  success = check (create_reorder (DESC (plain), QUERY (kernel, weights), &reorder),
                   NC_ ("oneDNN could not", "lay out weights"), error);
  if (success)
    {
      arguments_add (&arguments, DNNL_ARG_FROM, DESC (plain), (gpointer) weights);
      arguments_add (&arguments, DNNL_ARG_TO, QUERY (kernel, weights), laid_out);
      success = arguments_run (&arguments, reorder, error);
      dnnl_primitive_destroy (reorder);
    }
  DESC_CLEAR (plain);
  return success;
}

/* y = x times weights; bias: NULL for a product, which has none. */
static gboolean
kernel_run (const Kernel *kernel, const void *x, const void *weights, const float *bias, float *y, Scratch *scratch,
            GError **error)
{
  Arguments arguments = { .status = dnnl_success };
  gpointer  work = scratch_get (scratch, MAX (kernel->scratch_size, 1), error);

  if (! work)
    return FALSE;
  omp_set_num_threads (1);
  arguments_add (&arguments, DNNL_ARG_SRC, QUERY (kernel, src), (gpointer) x);
  arguments_add (&arguments, DNNL_ARG_WEIGHTS, QUERY (kernel, weights), (gpointer) weights);
  if (bias)
    arguments_add (&arguments, DNNL_ARG_BIAS, dnnl_primitive_desc_query_md (kernel->desc, dnnl_query_weights_md, 1),
                   (gpointer) bias);
  arguments_add (&arguments, DNNL_ARG_DST, QUERY (kernel, dst), y);
  arguments_add (&arguments, DNNL_ARG_SCRATCHPAD, QUERY (kernel, scratchpad), work);
  return arguments_run (&arguments, kernel->primitive, error);
}

static gboolean
onednn_filter_run (const Filter *filter, const void *x, const void *laid_out, const float *bias, float *y,
                   Scratch *scratch, GError **error)
{
  return kernel_run (&((const OnednnFilter *) filter)->kernel, x, laid_out, bias, y, scratch, error);
}

/* ---- products ---- */

/* Different shapes kept: a picture's attention needs some twenty. */
#define PRODUCTS_MAX 64

typedef struct
{
  gint         references; /* atomic */
  ProductShape shape;
  Kernel       kernel;
} Product;

static void
product_unref (gpointer data)
{
  Product *product = data;

  if (! g_atomic_int_dec_and_test (&product->references))
    return;
  kernel_clear (&product->kernel);
  g_free (product);
}

static Product *
product_new (const ProductShape *shape, GError **error)
{
  Product              *product = g_new0 (Product, 1);
  const dnnl_dims_t     a = { shape->m, shape->k }, b = { shape->k, shape->n }, c = { shape->m, shape->n };
  const dnnl_dims_t     a_strides = { shape->a_pitch, 1 };
  const dnnl_dims_t     b_strides = { shape->transposed ? 1 : shape->b_pitch, shape->transposed ? shape->b_pitch : 1 };
  Problem               problem = { .has_bias = FALSE };
  dnnl_primitive_attr_t attributes = NULL;
  dnnl_status_t         status = onednn_desc_init_strides (&problem.x, 2, a, dnnl_bf16, a_strides);

  product->references = 1;
  product->shape = *shape;
  omp_set_num_threads (1);
  if (status == dnnl_success)
    status = onednn_desc_init_strides (&problem.weights, 2, b, dnnl_bf16, b_strides);
  if (status == dnnl_success)
    status = onednn_desc_init (&problem.y, 2, c, dnnl_f32, dnnl_ab);
  if (status == dnnl_success)
    status = onednn_attributes_create (&attributes, shape->add ? EPILOGUE_ADD : EPILOGUE_NONE);
  if (status == dnnl_success)
    status = onednn_desc_create_product (&product->kernel.desc, &problem, attributes, get_engine ());
  if (kernel_finish (&product->kernel, status, &problem, attributes, error))
    return product;
  product_unref (product);
  return NULL;
}

/* A reference. */
static Product *
get_product (const ProductShape *shape, GError **error)
{
  static GMutex     lock;
  static GPtrArray *kept;
  Product          *product = NULL;

  g_mutex_lock (&lock);
  if (! kept)
    kept = g_ptr_array_new_with_free_func (product_unref);
  for (guint i = kept->len; i > 0 && ! product; i--)
    if (memcmp (&((Product *) kept->pdata[i - 1])->shape, shape, sizeof *shape) == 0)
      product = kept->pdata[i - 1];
  if (! product)
    {
      product = product_new (shape, error);
      if (product && kept->len >= PRODUCTS_MAX)
        g_ptr_array_remove_index (kept, 0);
      if (product)
        g_ptr_array_add (kept, product);
    }
  if (product)
    g_atomic_int_inc (&product->references);
  g_mutex_unlock (&lock);
  return product;
}

static gboolean
onednn_multiply (const ProductShape *shape, const void *a, const void *b, float *c, Scratch *scratch, GError **error)
{
  Product *product = get_product (shape, error);
  gboolean success = product && kernel_run (&product->kernel, a, b, NULL, c, scratch, error);

  if (product)
    product_unref (product);
  return success;
}

/* ---- the back end ---- */

static gboolean
onednn_is_available (void)
{
  return onednn_isa_has (dnnl_get_effective_cpu_isa (), dnnl_cpu_isa_avx512_core_bf16) && get_engine ();
}

static gboolean
onednn_is_short_of_multipliers (void)
{
  return ! onednn_isa_has (dnnl_get_effective_cpu_isa (), dnnl_cpu_isa_avx512_core_amx);
}

/* Whether vectors of 512 bits go through in two halves, as AMD's Zen 4 and small Zen 5 do it: CPUID Fn8000_001A, bit 2
 * of EAX for units of 256 bits, bit 3 for 512 (AMD64 Architecture Programmer's Manual, volume 3). */
static gboolean
has_half_wide_units (void)
{
#if defined(__x86_64__) || defined(__i386__)
  unsigned int eax = 0, ebx, ecx, edx;

  return __get_cpuid (0x8000001a, &eax, &ebx, &ecx, &edx) && (eax & 12) == 4;
#else
  return FALSE;
#endif
}

/* Without matrix units, AMD's processors do twice as many multiplications a second in bf16 as in f32, but Intel's half
 * as many (measured on an Emerald Rapids: 83 GFLOP/s by VDPBF16PS, 160 by f32's VFMADD).  Half-wide units are twice as
 * fast with products, but not with 3x3 convolutions, since in f32 those spare more than that by Winograd (measured on
 * a Zen 4: 410 GFLOP/s in bf16, 486 in f32; a step of Stable Diffusion 1.5 2.0 s and 3.2 s). */
static gboolean
onednn_is_preferred (ComputeUse use)
{
#if defined(__x86_64__) || defined(__i386__)
  return ! onednn_is_short_of_multipliers ()
         || (! __builtin_cpu_is ("intel") && (use == COMPUTE_FILTERS || ! has_half_wide_units ()));
#else
  return TRUE;
#endif
}

static void
onednn_conv_free (Conv *conv)
{
  OnednnConv *self = (OnednnConv *) conv;

  g_ptr_array_unref (self->plans);
  g_ptr_array_unref (self->layouts);
  g_mutex_clear (&self->lock);
  g_free (self);
}

static Conv *
onednn_conv_new (const ConvShape *shape, gboolean training, GError **error)
{
  OnednnConv *self = g_new0 (OnednnConv, 1);

  self->conv = (Conv){ &compute_onednn, *shape };
  g_mutex_init (&self->lock);
  self->plans = g_ptr_array_new_with_free_func (plan_unref);
  self->layouts = g_ptr_array_new_with_free_func (weights_free);
  return &self->conv;
}

static gboolean
onednn_conv_set_weights (Conv *conv, const float *weights, const float *bias, Scratch *scratch, GError **error)
{
  OnednnConv *self = (OnednnConv *) conv;

  self->weights = weights;
  self->bias = bias;
  omp_set_num_threads (1);
  for (guint i = 0; i < self->layouts->len; i++)
    if (! weights_fill (self, g_ptr_array_index (self->layouts, i), error))
      return FALSE;
  return TRUE;
}

const ComputeBackend compute_onednn = { "onednn",
                                        ELEMENT_BF16,
                                        onednn_is_available,
                                        onednn_is_preferred,
                                        onednn_conv_new,
                                        onednn_conv_set_weights,
                                        onednn_conv_free,
                                        onednn_conv_forward,
                                        onednn_conv_backward_data,
                                        onednn_conv_backward_weights,
                                        onednn_filter_new,
                                        onednn_filter_free,
                                        onednn_filter_is_laid_out_as,
                                        onednn_filter_lay_out,
                                        onednn_filter_run,
                                        onednn_is_short_of_multipliers,
                                        onednn_multiply };
