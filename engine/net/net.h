/* The U-Net: what its parts are, how they run, how they learn.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A plain U-Net on the pixel-unshuffled picture: its first level is at half resolution, each further level halves
 * again. Residual blocks  x + conv (silu (conv (norm (x))));  2x2 convolutions down and up; the way up adds what the
 * way down had at the same level (as DRUNet and NAFNet do, which spares the doubled channels of a concatenation).
 * Nothing looks further than its 3x3 or 2x2 window: no global statistics, no embedding of one noise level.  The level
 * map enters as channels.
 */
#pragma once

#include "compute/compute.h"

/* Input: for each of the four pixels of a 2x2 square R, G, B and two functions of its level; output: R, G, B of each.
 * See process/condition.h. */
#define NET_CHANNELS_IN  20
#define NET_CHANNELS_OUT 12

/* The steps of the network in an order in which they can run.  Three kinds are enough. */
typedef enum
{
  NODE_INPUT,
  NODE_CONV, /* a convolution of `input`; with EPILOGUE_ADD, `residual` is added */
  NODE_NORM  /* the RMS norm of `input` */
} NodeKind;

typedef struct
{
  NodeKind     kind;
  int          input, residual; /* earlier nodes, -1: none; no node is the residual of two */
  int          level;           /* of the output: its resolution is the picture's / 2^(level + 1) */
  int          channels;        /* of the output */
  ConvShape    shape;
  ConvEpilogue epilogue;
  int          conv;          /* its number among the convolutions */
  gsize        weights, bias; /* NODE_CONV: where its parameters lie, in floats */
  gsize        gain;          /* NODE_NORM */
} Node;

/* One named tensor of the model file. */
typedef struct
{
  char  name[48];
  int   dims[4], n_dims;
  gsize offset, count;
} NetTensor;

typedef struct
{
  DiffusionArchitecture architecture;
  Node                 *nodes;
  int                   n_nodes, n_convs;
  NetTensor            *tensors;
  int                   n_tensors;
  gsize                 n_parameters;
  int                   margin; /* in picture pixels */
  double                macs;   /* per picture pixel */
} NetLayout;

/* NULL and DIFFUSION_ERROR_MODEL when the numbers make no network. */
NetLayout *net_layout_new (const DiffusionArchitecture *architecture, GError **error);
void       net_layout_free (NetLayout *layout);
gboolean   net_architecture_equal (const DiffusionArchitecture *a, const DiffusionArchitecture *b);
/* Whether they differ at most in the number of blocks. */
gboolean net_architecture_equal_widths (const DiffusionArchitecture *a, const DiffusionArchitecture *b);
/* Starting weights: residual branches and the output are zero, so that an untrained network is the identity plus
 * nothing. */
void net_layout_init_weights (const NetLayout *layout, guint64 seed, float *weights);
/* Starting weights taken over from a network of the same widths.  Where it has fewer blocks on a level, new ones come
 * behind them and begin as doing nothing; where it has more, its last ones are taken over. */
void net_layout_take_weights (const NetLayout *layout, const NetLayout *from, const float *from_weights, guint64 seed,
                              float *weights);
/* Pictures are extended to multiples of this many pixels. */
int net_layout_get_granularity (const NetLayout *layout);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (NetLayout, net_layout_free)

/* The network on one back end, ready to run. */
typedef struct
{
  const NetLayout      *layout; /* not owned */
  const ComputeBackend *backend;
  Conv                **convs;
  const float          *weights; /* not owned; the norms read their gains there */

  /* Memory that a stream has left for the next one: fresh pages cost a fifth of a small picture's time.  Taken and
   * given back under the lock. */
  GMutex   lock;
  Scratch *idle; /* per node, or NULL */
} NetPlan;

NetPlan *net_plan_new (const NetLayout *layout, const ComputeBackend *backend, gboolean training, GError **error);
void     net_plan_free (NetPlan *plan);
/* Lays the weights out for the back end; the pool may be NULL.  The weights must stay until the next call. */
gboolean net_plan_set_weights (NetPlan *plan, const float *weights, Pool *pool, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (NetPlan, net_plan_free)

/* ---- inference: the network streams down the picture (stream.c) ---- */

/* Rows of a picture as the network sees it: half-resolution rows of NET_CHANNELS_IN or NET_CHANNELS_OUT values. */
typedef gboolean (*StreamRead) (int first_row, int rows, float *values, gpointer user_data, GError **error);
typedef gboolean (*StreamWrite) (int first_row, int rows, const float *values, gpointer user_data, GError **error);

typedef struct
{
  int width, height; /* half-resolution pixels, multiples of 2^(levels - 1) */
  int chunk;         /* half-resolution rows read at a time, such a multiple too; 0: so many that the deep
                      * levels have enough to do, but no more than memory allows */
  StreamRead  read;  /* called once for each row, from the top */
  StreamWrite write; /* called once for each row, from the top, after all rows it depends on were read */
  gpointer    user_data;
  gsize       memory; /* bytes that the chunk is to keep to, if it can; 0: half of what the system has to spare */
} StreamJob;

gboolean stream_run (const NetPlan *plan, Pool *pool, const StreamJob *job, GCancellable *cancellable, GError **error);
/* Bytes that stream_run () will hold for the rows between its nodes; read and write are not called. */
gsize stream_estimate_memory (const NetPlan *plan, int threads, const StreamJob *job);

/* ---- training: whole batches forward and backward on one thread (train-pass.c) ---- */

typedef struct _TrainPass TrainPass;

/* For batches of n pictures of size x size half-resolution pixels. */
TrainPass *train_pass_new (const NetPlan *plan, int n, int size, GError **error);
void       train_pass_free (TrainPass *pass);
/* input: [n][size][size][NET_CHANNELS_IN]; returns the output [n][size][size][NET_CHANNELS_OUT], owned by the pass. */
const float *train_pass_forward (TrainPass *pass, const float *input, GError **error);
/* Adds the gradient of the last forward pass to `gradient` (n_parameters values), given that by the output. */
gboolean train_pass_backward (TrainPass *pass, const float *d_output, float *gradient, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (TrainPass, train_pass_free)
