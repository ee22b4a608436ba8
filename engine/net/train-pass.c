/* One thread's part of a batch, forward and backward through the network.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Reverse-mode differentiation over the list of nodes.  Each node keeps its output (a SiLU convolution what it was
 * before the SiLU, too) and gets a gradient by it, which its consumers add to, the last consumer first.  Going
 * backwards, a residual is always the first to contribute to the node that it comes from, and the gradient it hands on
 * is its own, which nobody needs any more: so that one is not copied but passed on. */
#include "net.h"

typedef struct
{
  gpointer output; /* element type of the back end */
  gpointer before; /* EPILOGUE_SILU: what goes into the SiLU */
  gpointer gradient;
  gboolean owns_gradient; /* FALSE: it is the gradient of the node whose residual this is */
  gboolean has_gradient;  /* in a backward pass: something has been put there */
} NodeState;

struct _TrainPass
{
  const NetPlan *plan;
  int            n, size;
  NodeState     *states;
  gpointer       temporary; /* a gradient before it is added to another one */
  float         *output;
  Scratch        scratch;
};

static ConvPiece
get_piece (const TrainPass *pass, const Node *node)
{
  /* A piece counts pixels of the coarser side. */
  int level = node->shape.kind == CONV_UP2 ? node->level + 1 : node->level;

  return (ConvPiece){ pass->n, pass->size >> level, pass->size >> level, 1, 1 };
}

static gsize
count_pixels (const TrainPass *pass, const Node *node)
{
  gsize edge = (gsize) (pass->size >> node->level);

  return (gsize) pass->n * edge * edge;
}

static gboolean
allocate_states (TrainPass *pass, GError **error)
{
  const NetLayout *layout = pass->plan->layout;
  gsize            size = element_size (pass->plan->backend->element), largest = 0;

  for (int i = layout->n_nodes - 1; i >= 0; i--)
    {
      const Node *node = &layout->nodes[i];
      NodeState  *state = &pass->states[i];
      gsize       count = count_pixels (pass, node) * (gsize) node->channels;

      largest = MAX (largest, count);
      state->output = core_alloc0 (count, size, error);
      if (! state->output)
        return FALSE;
      if (node->epilogue == EPILOGUE_SILU && ! (state->before = core_alloc0 (count, size, error)))
        return FALSE;
      if (! state->gradient && node->kind != NODE_INPUT)
        {
          state->owns_gradient = TRUE;
          state->gradient = core_alloc0 (count, size, error);
          if (! state->gradient)
            return FALSE;
        }
      if (node->residual >= 0)
        pass->states[node->residual].gradient = state->gradient;
    }
  pass->temporary = core_alloc0 (largest, size, error);
  pass->output = core_alloc0 ((gsize) pass->n * (gsize) pass->size * (gsize) pass->size * NET_CHANNELS_OUT,
                              sizeof (float), error);
  return pass->temporary && pass->output;
}

TrainPass *
train_pass_new (const NetPlan *plan, int n, int size, GError **error)
{
  TrainPass *pass = g_new0 (TrainPass, 1);

  pass->plan = plan;
  pass->n = n;
  pass->size = size;
  pass->states = g_new0 (NodeState, (gsize) plan->layout->n_nodes);
  if (! allocate_states (pass, error))
    g_clear_pointer (&pass, train_pass_free);
  return pass;
}

void
train_pass_free (TrainPass *pass)
{
  if (! pass)
    return;
  for (int i = 0; i < pass->plan->layout->n_nodes; i++)
    {
      core_free (pass->states[i].output);
      core_free (pass->states[i].before);
      if (pass->states[i].owns_gradient)
        core_free (pass->states[i].gradient);
    }
  core_free (pass->temporary);
  core_free (pass->output);
  scratch_clear (&pass->scratch);
  g_free (pass->states);
  g_free (pass);
}

static gboolean
forward_conv (TrainPass *pass, int i, GError **error)
{
  const NetPlan *plan = pass->plan;
  const Node    *node = &plan->layout->nodes[i];
  NodeState     *state = &pass->states[i];
  ConvPiece      piece = get_piece (pass, node);
  Element        element = plan->backend->element;
  gsize          count = count_pixels (pass, node) * (gsize) node->channels;
  gboolean       silu = node->epilogue == EPILOGUE_SILU;

  if (node->epilogue == EPILOGUE_ADD)
    memcpy (state->output, pass->states[node->residual].output, count * element_size (element));
  if (! plan->backend->conv_forward (plan->convs[node->conv], &piece, pass->states[node->input].output,
                                     silu ? state->before : state->output, silu ? EPILOGUE_NONE : node->epilogue,
                                     &pass->scratch, error))
    return FALSE;
  if (silu)
    pointwise_silu (element, count, state->before, state->output);
  return TRUE;
}

const float *
train_pass_forward (TrainPass *pass, const float *input, GError **error)
{
  const NetPlan *plan = pass->plan;
  Element        element = plan->backend->element;
  gsize          pixels = (gsize) pass->n * (gsize) pass->size * (gsize) pass->size;

  for (int i = 0; i < plan->layout->n_nodes; i++)
    {
      const Node *node = &plan->layout->nodes[i];
      NodeState  *state = &pass->states[i];

      if (node->kind == NODE_INPUT)
        pointwise_from_f32 (element, pixels * NET_CHANNELS_IN, input, state->output);
      else if (node->kind == NODE_NORM)
        pointwise_norm (element, count_pixels (pass, node), node->channels, pass->states[node->input].output,
                        plan->weights + node->gain, state->output);
      else if (! forward_conv (pass, i, error))
        return NULL;
    }
  pointwise_to_f32 (element, pixels * NET_CHANNELS_OUT, pass->states[plan->layout->n_nodes - 1].output, pass->output);
  return pass->output;
}

static gboolean
backward_conv (TrainPass *pass, int i, float *gradient, GError **error)
{
  const NetPlan        *plan = pass->plan;
  const ComputeBackend *backend = plan->backend;
  const Node           *node = &plan->layout->nodes[i];
  NodeState            *state = &pass->states[i], *input = &pass->states[node->input];
  const Conv           *conv = plan->convs[node->conv];
  ConvPiece             piece = get_piece (pass, node);

  if (node->epilogue == EPILOGUE_SILU)
    pointwise_silu_backward (backend->element, count_pixels (pass, node) * (gsize) node->channels, state->before,
                             state->gradient, state->gradient);
  if (! backend->conv_backward_weights (conv, &piece, input->output, state->gradient, gradient + node->weights,
                                        gradient + node->bias, &pass->scratch, error))
    return FALSE;
  if (input->gradient)
    {
      const Node *in = &plan->layout->nodes[node->input];
      gpointer    target = input->has_gradient ? pass->temporary : input->gradient;

      if (! backend->conv_backward_data (conv, &piece, state->gradient, target, &pass->scratch, error))
        return FALSE;
      if (input->has_gradient)
        pointwise_add (backend->element, count_pixels (pass, in) * (gsize) in->channels, target, input->gradient);
      input->has_gradient = TRUE;
    }
  /* Last, for what is handed on becomes another's: it may change from here on. */
  if (node->residual >= 0)
    pass->states[node->residual].has_gradient = TRUE;
  return TRUE;
}

static void
backward_norm (TrainPass *pass, int i, float *gradient)
{
  const NetPlan *plan = pass->plan;
  const Node    *node = &plan->layout->nodes[i];
  NodeState     *state = &pass->states[i], *input = &pass->states[node->input];
  gsize          pixels = count_pixels (pass, node);

  if (! input->has_gradient)
    memset (input->gradient, 0, pixels * (gsize) node->channels * element_size (plan->backend->element));
  pointwise_norm_backward (plan->backend->element, pixels, node->channels, input->output, plan->weights + node->gain,
                           state->gradient, input->gradient, gradient + node->gain);
  input->has_gradient = TRUE;
}

gboolean
train_pass_backward (TrainPass *pass, const float *d_output, float *gradient, GError **error)
{
  const NetPlan *plan = pass->plan;
  int            last = plan->layout->n_nodes - 1;

  for (int i = 0; i < last; i++)
    pass->states[i].has_gradient = FALSE;
  pointwise_from_f32 (plan->backend->element,
                      (gsize) pass->n * (gsize) pass->size * (gsize) pass->size * NET_CHANNELS_OUT, d_output,
                      pass->states[last].gradient);
  for (int i = last; i > 0; i--)
    {
      if (plan->layout->nodes[i].kind == NODE_NORM)
        backward_norm (pass, i, gradient);
      else if (! backward_conv (pass, i, gradient, error))
        return FALSE;
    }
  return TRUE;
}
