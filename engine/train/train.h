/* The parts of training.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "net/net.h"

/* ---- corpus.c: packed pictures ---- */

typedef struct _Corpus Corpus;

Corpus *corpus_open (const char *path, GError **error);
void    corpus_free (Corpus *corpus);
int     corpus_count (const Corpus *corpus);
void    corpus_get_size (const Corpus *corpus, int i, int *width, int *height);
/* A part of picture i: rgb receives box.height rows of box.width 8-bit R'G'B' pixels.  Fails when the file has become
 * shorter. */
gboolean corpus_read (const Corpus *corpus, int i, DiffusionBox box, guint8 *rgb, GError **error);
/* A picture for u in [0, 1), each with a share that grows with the square root of its area. */
int corpus_pick (const Corpus *corpus, double u);

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Corpus, corpus_free)

/* ---- sample.c: what one training sample is ---- */

typedef enum
{
  MAP_PHOTO,      /* one level of white noise */
  MAP_CAMERA,     /* what cameras make */
  MAP_GENERATION, /* one level, of any size */
  MAP_HOLES,      /* a high level in shapes, nothing or little around */
  MAP_SOFT,       /* a level that changes slowly */
  MAP_STYLE       /* one level, of those that a picture is regenerated from */
} MapKind;

typedef struct
{
  int     size;  /* the crop's edge in pixels */
  float  *clean; /* [size][size][3], picture units */
  float  *noisy; /* the same */
  float  *level; /* [size][size], as the network is told it */
  MapKind kind;  /* what the level was drawn as */
} Sample;

/* Every so many'th picture is kept out of training, to validate on; more of a corpus of fewer than twice as many, none
 * below HELD_OUT_LEAST. */
#define HELD_OUT_EVERY     40
#define HELD_OUT_EVERY_FEW 10
#define HELD_OUT_LEAST     20

/* Draws a crop of the training pictures or of those held out, a level map of the mix, and the noise; what is told of
 * cameras' noise is a little off, as estimates are.  Only the corpus
 * and the random sequence decide.  Fails when the corpus cannot be read any more. */
gboolean sample_draw (const Corpus *corpus, gboolean held_out, Random *random, DiffusionTrainMix mix, Sample *sample,
                      float *work, GError **error);
/* Fills with independent standard normal values. */
void sample_fill_normal (Random *random, gsize count, float *values);
/* Floats of working memory that sample_draw () needs. */
gsize sample_work_size (int size);

/* ---- camera.c: noise as cameras make it ---- */

/* Turns a clean crop into a noisy one with some mixture of signal-dependent, channel-mixed, spatially correlated and
 * compressed noise of about the level sigma (picture units); level receives the local standard deviation of what was
 * added.  work: 8 * size * size. */
void camera_add_noise (Random *random, int size, double sigma, const float *clean, float *noisy, float *level,
                       float *work);
/* Smooths one channel, of size x size values `step` apart, by a Gaussian of `sigma` pixels, in place; mirrored at the
 * borders.  Below 0.2 it does nothing, and it reaches 8 pixels at most.  work: size x size values. */
void camera_smooth (int size, int step, double sigma, float *x, float *work);

/* ---- loss.c ---- */

/* One sample's loss: its weights' sum times the logarithm of its error, which is the weighted mean square of output -
 * target, linear for outliers.  So a sample's gradient is divided by its own error: samples of which most cannot be
 * known (rich textures, faint noise) do not drown the others, and what grows is the mean PSNR ("PSNR loss", Chen et
 * al., "Simple baselines for image restoration", 2022).
 *
 * All arrays have `count` values; d_output, unless NULL, receives the gradient by the output times scale. */
double loss_measure (const float *output, const float *target, const float *weight, gsize count, double scale,
                     float *d_output);
/* The error that belongs to a loss, given per weight: of several samples the geometric mean. */
double loss_get_error (double loss);

/* ---- adam.c ---- */

/* Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), and the exponential moving
 * average of the weights. All arrays have `count` values. */
typedef struct
{
  gsize  count;
  float *weights, *average, *m, *v;
  gint64 steps; /* done */
} Adam;

/* Some of the parameters. */
typedef struct
{
  gsize offset, count;
} Range;

/* Adds gradients[1 ... n - 1] to gradients[0] and zeroes them; returns the Euclidean norm of the sum. */
double adam_reduce (const Adam *adam, Pool *pool, float *const *gradients, int n);
/* One step of the ranges' parameters along gradient x scale. */
void adam_step (Adam *adam, Pool *pool, const float *gradient, double scale, double learning_rate, double average_decay,
                const Range *ranges, int n_ranges);

/* ---- muon.c ---- */

typedef struct
{
  gsize offset; /* among the parameters */
  int   rows, columns;
} MuonMatrix;

/* Muon (Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024): a convolution's weights are a
 * matrix, taps and channels in by channels out, and a step goes along the orthogonal factor of the gradient's running
 * mean: as far in directions in which gradients are small as in others.  The first and the last convolution, biases and
 * gains are left to Adam.
 *
 * With the gradient g, mu = 0.95 and polar (x) the orthogonal factor of x [rows][columns], one step is
 *
 *   m = mu m + (1 - mu) g
 *   w = (1 - rate * 1e-4) w - rate * 0.2 sqrt (rows) * polar (mu m + (1 - mu) g)
 *
 * The second sum is Nesterov's look ahead; the paper's m lacks the factor 1 - mu, which polar () takes away. */
typedef struct
{
  MuonMatrix *matrices;
  int         n_matrices, threads;
  float     **work; /* per thread */
  Range      *rest; /* what is left for Adam */
  int         n_rest;
} Muon;

/* threads: of the pool. */
Muon *muon_new (const NetLayout *layout, int threads, GError **error);
void  muon_free (Muon *muon);
/* One step of the matrices along gradient x scale, which is lost; adam's weights, average and m are changed, its v is
 * not used. */
void muon_step (Muon *muon, Adam *adam, Pool *pool, float *gradient, double scale, double learning_rate,
                double average_decay);

/* ---- rate.c: how fast a training goes, from step to step ---- */

/* The rate of the step that follows `steps` others, with `fraction` of the training done (beyond 1 counts as 1):
 * learning_rate times half a cosine, which falls from 1 to 0, and a thousandth.  Before that it rises from nothing, in
 * equal parts, over the first 1000 steps or the first twentieth of the training, whichever ends first. */
double rate_get (double learning_rate, gint64 steps, double fraction);
/* What the weights' average keeps of itself in that step: (steps + 1) / (steps + 20), but at most 0.999.  So it forgets
 * its start as fast as it can and then settles to its window. */
double rate_get_average_decay (gint64 steps);

/* ---- checkpoint.c ---- */

typedef struct
{
  gint64  samples;
  double  seconds;
  double  loss, gradient_norm;
  guint32 skipped;
  gint64  samples_of_start; /* what the model has seen that this training started from, and for how long */
  double  hours_of_start;
} Progress;

/* Written atomically: a crash at any moment leaves the one before. */
gboolean checkpoint_save (const char *path, const NetLayout *layout, const Adam *adam, const Progress *progress,
                          GError **error);
/* Fails when the file is of another architecture. */
gboolean checkpoint_load (const char *path, const NetLayout *layout, Adam *adam, Progress *progress, GError **error);

/* ---- team.c: several processes, one training; without others all of these do nothing ---- */

/* Samples per step, of all ranks. */
int team_batch (const DiffusionTrainOptions *options);
/* The sums over all ranks. */
gboolean team_sum (const DiffusionTeam *team, double *values, gsize count, GError **error);
/* Adds up the ranks' gradients; norm: of the sum. */
gboolean team_reduce (const DiffusionTeam *team, const Adam *adam, Pool *pool, float *gradient, double *norm,
                      GError **error);
/* Gives rank 0's state to all others, whose own is lost. */
gboolean team_share_start (const DiffusionTeam *team, Adam *adam, Progress *progress, GError **error);
