/* The network's nodes and parameters from its architecture.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "net.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <stdio.h>

const DiffusionArchitecture diffusion_architecture_default = { 3, { 64, 128, 256 }, { 2, 2, 4 } };

#define MAX_BLOCKS 32

static gboolean
check_architecture (const DiffusionArchitecture *a, GError **error)
{
  gboolean good = a->levels >= 1 && a->levels <= DIFFUSION_MAX_LEVELS;

  for (int i = 0; good && i < a->levels; i++)
    good = a->width[i] >= 8 && a->width[i] <= 1024 && a->width[i] % 8 == 0 && a->blocks[i] >= 0
           && a->blocks[i] <= MAX_BLOCKS;
  if (! good)
    g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                         C_ ("error", "The network's shape is not one that this version can run: it takes 1 to 5 "
                                      "levels, each of 8 to 1024 channels (a multiple of 8) and 0 to 32 blocks."));
  return good;
}

/* In both, what stands behind the last level means nothing. */

gboolean
net_architecture_equal_widths (const DiffusionArchitecture *a, const DiffusionArchitecture *b)
{
  return a->levels == b->levels && memcmp (a->width, b->width, (gsize) a->levels * sizeof a->width[0]) == 0;
}

gboolean
net_architecture_equal (const DiffusionArchitecture *a, const DiffusionArchitecture *b)
{
  return net_architecture_equal_widths (a, b)
         && memcmp (a->blocks, b->blocks, (gsize) a->levels * sizeof a->blocks[0]) == 0;
}

/* ---- building ---- */

typedef struct
{
  NetLayout *layout;
  GArray    *nodes, *tensors;
  int        reach; /* of the nodes so far, in picture pixels */
} Builder;

static gsize
add_tensor (Builder *b, const char *name, const char *part, int n_dims, int d0, int d1, int d2, int d3)
{
  NetTensor tensor = { .dims = { d0, d1, d2, d3 }, .n_dims = n_dims, .offset = b->layout->n_parameters, .count = 1 };

  g_snprintf (tensor.name, sizeof tensor.name, "%s.%s", name, part);
  for (int i = 0; i < n_dims; i++)
    tensor.count *= (gsize) tensor.dims[i];
  g_array_append_val (b->tensors, tensor);
  b->layout->n_parameters += tensor.count;
  return tensor.offset;
}

static int
add_node (Builder *b, Node node)
{
  g_array_append_val (b->nodes, node);
  return (int) b->nodes->len - 1;
}

static int
add_conv (Builder *b, const char *name, ConvKind kind, int input, int residual, int level, int channels,
          ConvEpilogue epilogue)
{
  int  c_in = g_array_index (b->nodes, Node, input).channels, edge = kind == CONV_SAME3 ? 3 : 2;
  Node node = { NODE_CONV, input, residual, level, channels, { kind, c_in, channels }, epilogue, b->layout->n_convs++,
                0,         0,     0 };

  node.weights = add_tensor (b, name, "weight", 4, edge, edge, c_in, channels);
  node.bias = add_tensor (b, name, "bias", 1, channels, 1, 1, 1);
  /* Per picture pixel: a 3x3 output pixel takes 9 products per pair of channels; a 2x2 one takes 4 down and 1 up. */
  b->layout->macs += (double) c_in * channels
                     * (kind == CONV_SAME3   ? 9
                        : kind == CONV_DOWN2 ? 4
                                             : 1)
                     / exp2 (2 * (level + 1));
  if (kind == CONV_SAME3)
    b->reach += 2 << level;
  return add_node (b, node);
}

static int
add_norm (Builder *b, const char *name, int input)
{
  Node in = g_array_index (b->nodes, Node, input);
  Node norm = { .kind = NODE_NORM, .input = input, .residual = -1, .level = in.level, .channels = in.channels };

  norm.gain = add_tensor (b, name, "gain", 1, in.channels, 1, 1, 1);
  return add_node (b, norm);
}

static int
add_block (Builder *b, const char *name, int input)
{
  g_autofree char *norm = g_strdup_printf ("%s.norm", name);
  g_autofree char *first = g_strdup_printf ("%s.conv1", name), *second = g_strdup_printf ("%s.conv2", name);
  Node             in = g_array_index (b->nodes, Node, input);
  int              node;

  node = add_norm (b, norm, input);
  node = add_conv (b, first, CONV_SAME3, node, -1, in.level, in.channels, EPILOGUE_SILU);
  return add_conv (b, second, CONV_SAME3, node, input, in.level, in.channels, EPILOGUE_ADD);
}

static int
add_blocks (Builder *b, const char *way, int level, int count, int node)
{
  for (int i = 0; i < count; i++)
    {
      g_autofree char *name = g_strdup_printf ("%s.%d.%d", way, level, i);

      node = add_block (b, name, node);
    }
  return node;
}

NetLayout *
net_layout_new (const DiffusionArchitecture *architecture, GError **error)
{
  const DiffusionArchitecture *a = architecture;
  NetLayout                   *layout;
  Builder                      b;
  int                          skips[DIFFUSION_MAX_LEVELS], node;

  if (! check_architecture (a, error))
    return NULL;
  layout = g_new0 (NetLayout, 1);
  layout->architecture = *a;
  b = (Builder){ layout, g_array_new (FALSE, TRUE, sizeof (Node)), g_array_new (FALSE, TRUE, sizeof (NetTensor)), 0 };

  node = add_node (&b, (Node){ .kind = NODE_INPUT, .input = -1, .residual = -1, .channels = NET_CHANNELS_IN });
  node = add_conv (&b, "stem", CONV_SAME3, node, -1, 0, a->width[0], EPILOGUE_NONE);
  for (int l = 0; l < a->levels - 1; l++)
    {
      g_autofree char *name = g_strdup_printf ("reduce.%d", l);

      skips[l] = node = add_blocks (&b, "down", l, a->blocks[l], node);
      node = add_conv (&b, name, CONV_DOWN2, node, -1, l + 1, a->width[l + 1], EPILOGUE_NONE);
    }
  node = add_blocks (&b, "middle", a->levels - 1, a->blocks[a->levels - 1], node);
  for (int l = a->levels - 2; l >= 0; l--)
    {
      g_autofree char *name = g_strdup_printf ("enlarge.%d", l);

      node = add_conv (&b, name, CONV_UP2, node, skips[l], l, a->width[l], EPILOGUE_ADD);
      node = add_blocks (&b, "up", l, a->blocks[l], node);
    }
  /* What the head is asked for has unit variance at every level.  Without a norm before it single samples came out a
   * hundred times too large, and training at a rate of 5e-4 broke down more than once. */
  node = add_norm (&b, "head.norm", node);
  add_conv (&b, "head", CONV_SAME3, node, -1, 0, NET_CHANNELS_OUT, EPILOGUE_NONE);

  layout->n_nodes = (int) b.nodes->len;
  layout->nodes = (Node *) (gpointer) g_array_free (b.nodes, FALSE);
  layout->n_tensors = (int) b.tensors->len;
  layout->tensors = (NetTensor *) (gpointer) g_array_free (b.tensors, FALSE);
  /* Pixels that share a square at the coarsest level see each other: one square more, less the pixel itself. */
  layout->margin = b.reach + (1 << a->levels) - 1;
  return layout;
}

void
net_layout_free (NetLayout *layout)
{
  if (! layout)
    return;
  g_free (layout->nodes);
  g_free (layout->tensors);
  g_free (layout);
}

int
net_layout_get_granularity (const NetLayout *layout)
{
  return 1 << layout->architecture.levels;
}

void
net_layout_init_weights (const NetLayout *layout, guint64 seed, float *weights)
{
  Random random;

  random_init (&random, seed, 0);
  memset (weights, 0, layout->n_parameters * sizeof (float));
  for (int i = 0; i < layout->n_nodes; i++)
    {
      const Node *node = &layout->nodes[i];
      gboolean    zero = node->residual >= 0 && node->shape.kind == CONV_SAME3;
      gsize       count = conv_shape_count_weights (&node->shape);
      int         taps = node->shape.kind == CONV_SAME3 ? 9 : node->shape.kind == CONV_DOWN2 ? 4 : 1;
      /* silu halves the variance of its input and more, so the convolution before it starts that much larger. */
      double scale = sqrt ((node->epilogue == EPILOGUE_SILU ? 2.0 : 1.0) / (taps * MAX (node->shape.c_in, 1)));

      if (node->kind == NODE_NORM)
        for (int c = 0; c < node->channels; c++)
          weights[node->gain + (gsize) c] = 1.0f;
      else if (node->kind == NODE_CONV && ! zero && i < layout->n_nodes - 1)
        for (gsize w = 0; w < count; w++)
          weights[node->weights + w] = (float) (scale * random_normal (&random));
    }
}

/* Where another network keeps what this one has in the tensor; NULL: nowhere. */
static const NetTensor *
find_tensor_of (const NetLayout *from, const NetLayout *layout, const NetTensor *tensor)
{
  char name[sizeof tensor->name], way[8];
  int  level, block, end;

  g_strlcpy (name, tensor->name, sizeof name);
  if (sscanf (tensor->name, "%7[a-z].%d.%d.%n", way, &level, &block, &end) == 3)
    g_snprintf (name, sizeof name, "%s.%d.%d.%s", way, level,
                block + MAX (from->architecture.blocks[level] - layout->architecture.blocks[level], 0),
                tensor->name + end);
  for (int i = 0; i < from->n_tensors; i++)
    if (strcmp (from->tensors[i].name, name) == 0)
      return &from->tensors[i];
  return NULL;
}

void
net_layout_take_weights (const NetLayout *layout, const NetLayout *from, const float *from_weights, guint64 seed,
                         float *weights)
{
  net_layout_init_weights (layout, seed, weights);
  for (int i = 0; i < layout->n_tensors; i++)
    {
      const NetTensor *tensor = &layout->tensors[i], *source = find_tensor_of (from, layout, tensor);

      if (source)
        memcpy (weights + tensor->offset, from_weights + source->offset, tensor->count * sizeof (float));
    }
}

/* ---- plans ---- */

NetPlan *
net_plan_new (const NetLayout *layout, const ComputeBackend *backend, gboolean training, GError **error)
{
  NetPlan *plan = g_new0 (NetPlan, 1);

  plan->layout = layout;
  plan->backend = backend;
  g_mutex_init (&plan->lock);
  plan->convs = g_new0 (Conv *, (gsize) layout->n_convs);
  for (int i = 0; i < layout->n_nodes; i++)
    if (layout->nodes[i].kind == NODE_CONV)
      {
        plan->convs[layout->nodes[i].conv] = backend->conv_new (&layout->nodes[i].shape, training, error);
        if (! plan->convs[layout->nodes[i].conv])
          {
            g_clear_pointer (&plan, net_plan_free);
            return NULL;
          }
      }
  return plan;
}

void
net_plan_free (NetPlan *plan)
{
  if (! plan)
    return;
  for (int i = 0; i < plan->layout->n_convs; i++)
    if (plan->convs[i])
      plan->backend->conv_free (plan->convs[i]);
  for (int i = 0; plan->idle && i < plan->layout->n_nodes; i++)
    scratch_clear (&plan->idle[i]);
  g_mutex_clear (&plan->lock);
  g_free (plan->idle);
  g_free (plan->convs);
  g_free (plan);
}

typedef struct
{
  NetPlan *plan;
  Scratch *scratches;
  GError **errors;
} SetJob;

static void
set_weights_of_node (int i, int thread, gpointer data)
{
  SetJob     *job = data;
  const Node *node = &job->plan->layout->nodes[i];

  if (node->kind == NODE_CONV && ! job->errors[thread])
    job->plan->backend->conv_set_weights (job->plan->convs[node->conv], job->plan->weights + node->weights,
                                          job->plan->weights + node->bias, &job->scratches[thread],
                                          &job->errors[thread]);
}

gboolean
net_plan_set_weights (NetPlan *plan, const float *weights, Pool *pool, GError **error)
{
  int      threads = pool ? pool_get_threads (pool) : 1;
  SetJob   job = { plan, g_new0 (Scratch, (gsize) threads), g_new0 (GError *, (gsize) threads) };
  gboolean success;

  plan->weights = weights;
  if (pool)
    pool_run (pool, plan->layout->n_nodes, set_weights_of_node, &job);
  else
    for (int i = 0; i < plan->layout->n_nodes; i++)
      set_weights_of_node (i, 0, &job);
  for (int i = 0; i < threads; i++)
    scratch_clear (&job.scratches[i]);
  success = core_take_first_error (job.errors, threads, error);
  g_free (job.scratches);
  g_free (job.errors);
  return success;
}
