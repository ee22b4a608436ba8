/* Matrix products and 3x3 convolutions with weights in a file.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "run.h"

#include "compute/rows.h"
#include "compute/winograd.h"
#include "compute/winograd2.h"

#include <cblas.h>
#include <string.h>

/* A block of converted weights stays in a core's second cache: outputs x inputs. */
#define BLOCK_OUT 160
#define BLOCK_IN  768

/* With more rows than this the weights are converted once for all threads, which then split the rows. */
#define FEW_ROWS 640
/* The rows that a thread takes at a time then, at least: each piece packs the weights anew. */
#define PIECE_ROWS 256

/* From this number of pixels in a sample on the transforms of Winograd's weights pay, in tiles of 4x4 pixels, or of
 * 2x2. */
#define WINOGRAD_PIXELS  1024
#define WINOGRAD2_PIXELS 64
/* Up to so many tiles in all, the weights are transformed a block of output channels at a time. */
#define FEW_TILES  640
#define TASK_TILES 16
/* Such a block is of so many channels, whatever the number of threads: results would depend on it.  Up to NARROW_TILES
 * tiles it is narrow, and so many input channels of it are transformed at a time: then it, and the products, stay in a
 * core's second cache.  (Products of 64 tiles are 1.7 times as fast so.) */
#define BLOCK_FILTERS   160
#define NARROW_TILES    128
#define NARROW_FILTERS  64
#define NARROW_CHANNELS 160

typedef struct
{
  SdRun         *run;
  const SdLayer *layer;
  const float   *x, *weights; /* weights: converted, [out][in * taps] */
  float         *y;
  gsize          rows, piece;
  int            k; /* in * taps */
  gboolean       add;

  /* 3x3 */
  const SdTensor *picture;
  int             stride, pad, h_out, w_out, band, bands;
  int             c_in, c_out; /* padded */

  /* 3x3 in blocks of output channels */
  int           products; /* of a tile */
  ConvPiece     whole;    /* tiles of 4x4 */
  WinogradTiles tiles;    /* the same */
  gsize         n_tiles;
  int           block_out, block_in; /* channels */
  float        *v;                   /* the transformed input, then a pixel of zeros */
} Product;

/* `count` of the layer's weights from the `first` on, as the file has them; valid until the thread's next call. */
static const guint8 *
fetch_weights (const Product *p, gsize first, gsize count, int thread)
{
  const SdLayer *layer = p->layer;
  gsize          size = weight_size (layer->type);
  GError       **error = &p->run->errors[thread];
  guint8        *raw = scratch_get (&p->run->raw[thread], count * size, error);

  return raw && tensor_file_fetch (layer->file, layer->offset + first * size, count * size, raw, error) ? raw : NULL;
}

/* Task: a block of output channels for all rows. */
static void
product_of_outputs (int task, int thread, gpointer data)
{
  Product       *p = data;
  const SdLayer *layer = p->layer;
  int            first = task * BLOCK_OUT, count = MIN (BLOCK_OUT, layer->out - first);
  float         *y = p->y + first;
  float *block = scratch_get (&p->run->scratch[thread], BLOCK_OUT * BLOCK_IN * sizeof (float), &p->run->errors[thread]);
  const guint8 *raw = NULL;

  if (block)
    raw = fetch_weights (p, (gsize) first * (gsize) p->k, (gsize) count * (gsize) p->k, thread);
  if (! raw)
    return;
  layer_start (p->rows, count, (gsize) layer->out, layer->bias ? layer->bias + first : NULL, p->add, y);
  for (int k = 0; k < p->k; k += BLOCK_IN)
    {
      int depth = MIN (BLOCK_IN, p->k - k);

      for (int o = 0; o < count; o++)
        weights_to_f32 (layer->type, (gsize) depth,
                        raw + ((gsize) o * (gsize) p->k + (gsize) k) * weight_size (layer->type),
                        block + (gsize) o * (gsize) depth);
      cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasTrans, (blasint) p->rows, count, depth, 1.0f, p->x + k, p->k,
                   block, depth, 1.0f, y, layer->out);
    }
}

/* Task: some rows of the converted weights. */
static void
convert_rows (int task, int thread, gpointer data)
{
  Product      *p = data;
  int           first = task * 16, count = MIN (16, p->layer->out - first);
  gsize         at = (gsize) first * (gsize) p->k, values = (gsize) count * (gsize) p->k;
  const guint8 *raw = fetch_weights (p, at, values, thread);

  if (raw)
    weights_to_f32 (p->layer->type, values, raw, (float *) p->weights + at);
}

static gboolean
convert_weights (SdRun *run, Product *p)
{
  p->weights = sd_run_get_shared (run, (gsize) p->layer->out * (gsize) p->k * sizeof (float));
  if (p->weights)
    sd_run_tasks (run, (p->layer->out + 15) / 16, convert_rows, p);
  return ! sd_run_is_idle (run);
}

static void
multiply_rows (const Product *p, const float *x, gsize rows, float *y)
{
  int n = p->layer->out;

  layer_start (rows, n, (gsize) n, p->layer->bias, p->add, y);
  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasTrans, (blasint) rows, n, p->k, 1.0f, x, p->k, p->weights, p->k, 1.0f,
               y, n);
}

/* Task: some rows of the input for all output channels. */
static void
product_of_rows (int task, int thread, gpointer data)
{
  Product *p = data;
  gsize    first = (gsize) task * p->piece;

  multiply_rows (p, p->x + first * (gsize) p->k, MIN (p->piece, p->rows - first), p->y + first * (gsize) p->layer->out);
}

static void
run_product (SdRun *run, Product *p)
{
  if (run->error)
    return;
  if (p->rows <= FEW_ROWS)
    sd_run_tasks (run, (p->layer->out + BLOCK_OUT - 1) / BLOCK_OUT, product_of_outputs, p);
  else if (convert_weights (run, p))
    {
      /* Whole groups of rows, so that where a piece ends changes no result. */
      p->piece = rows_round_up (CLAMP (p->rows / ((gsize) run->threads * 2), PIECE_ROWS, 8 * PIECE_ROWS));
      sd_run_tasks (run, (int) ((p->rows + p->piece - 1) / p->piece), product_of_rows, p);
    }
}

void
sd_linear_into (SdRun *run, const SdLayer *layer, const SdTensor *x, SdTensor *y, gboolean add)
{
  Product p = {
    .run = run, .layer = layer, .x = x->data, .y = y->data, .rows = sd_tensor_rows (x), .k = layer->in, .add = add
  };

  run->flops += 2.0 * (double) p.rows * layer->in * layer->out;
  if (run->filters)
    sd_filters_apply (run, layer, x, 1, 0, y, add);
  else
    run_product (run, &p);
}

SdTensor
sd_linear (SdRun *run, const SdLayer *layer, const SdTensor *x)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, layer->out);

  sd_linear_into (run, layer, x, &y, FALSE);
  return y;
}

/* ---- 3x3 as a product of patches ---- */

/* Task: a band of rows of one sample, its patches in the thread's own memory. */
static void
product_of_patches (int task, int thread, gpointer data)
{
  Product        *p = data;
  const SdTensor *x = p->picture;
  int             sample = task / p->bands, first = task % p->bands * p->band, rows = MIN (p->band, p->h_out - first);
  gsize           pixels = (gsize) rows * (gsize) p->w_out;
  gsize           at = (gsize) sample * (gsize) p->h_out * (gsize) p->w_out + (gsize) first * (gsize) p->w_out;
  float          *patches
      = scratch_get (&p->run->scratch[thread], pixels * (gsize) p->k * sizeof (float), &p->run->errors[thread]);

  if (! patches)
    return;
  layer_patches (x->data + (gsize) sample * (gsize) x->h * (gsize) x->w * (gsize) x->c, x->w, x->h, x->c, p->stride,
                 p->pad, p->w_out, first, rows, patches);
  multiply_rows (p, patches, pixels, p->y + at * (gsize) p->layer->out);
}

/* Task: the patches of one row of one sample. */
static void
gather_row (int task, int thread, gpointer data)
{
  Product        *p = data;
  const SdTensor *x = p->picture;
  int             sample = task / p->h_out, row = task % p->h_out;

  layer_patches (x->data + (gsize) sample * (gsize) x->h * (gsize) x->w * (gsize) x->c, x->w, x->h, x->c, p->stride,
                 p->pad, p->w_out, row, 1, (float *) p->x + (gsize) task * (gsize) p->w_out * (gsize) p->k);
}

static void
convolve_patches (SdRun *run, const SdLayer *layer, const SdTensor *x, int stride, int pad, SdTensor *y, gboolean add)
{
  Product p = { .run = run,
                .layer = layer,
                .y = y->data,
                .rows = sd_tensor_rows (y),
                .k = layer->in * 9,
                .add = add,
                .picture = x,
                .stride = stride,
                .pad = pad,
                .h_out = y->h,
                .w_out = y->w };

  if (run->error)
    return;
  if (p.rows <= FEW_ROWS)
    {
      SdTensor patches = sd_tensor_new (run, y->n, y->h, y->w, p.k);

      p.x = patches.data;
      sd_run_tasks (run, y->n * y->h, gather_row, &p);
      run_product (run, &p);
      sd_tensor_free (run, &patches);
      return;
    }
  p.band = MAX (1, MIN (PIECE_ROWS, 4 * 1024 * 1024 / p.k) / y->w);
  p.bands = (y->h + p.band - 1) / p.band;
  if (convert_weights (run, &p))
    sd_run_tasks (run, y->n * p.bands, product_of_patches, &p);
}

/* ---- Winograd ---- */

/* Task: 16 output channels' weights; those beyond the layer's are zeros. */
static void
transform_outputs (int task, int thread, gpointer data)
{
  Product       *p = data;
  const SdLayer *layer = p->layer;
  int            first = task * WINOGRAD_LANES, count = MIN (WINOGRAD_LANES, layer->out - first);
  gsize          filter = (gsize) layer->in * 9;
  GError       **error = &p->run->errors[thread];
  const guint8  *raw = fetch_weights (p, (gsize) first * filter, (gsize) count * filter, thread);
  float         *padded = NULL;

  if (! raw)
    return;
  if (count < WINOGRAD_LANES)
    {
      padded = core_alloc0 (WINOGRAD_LANES * filter, sizeof (float), error);
      if (! padded)
        return;
      weights_to_f32 (layer->type, (gsize) count * filter, raw, padded);
    }
  weights_to_winograd (WINOGRAD_PRODUCTS, padded ? TENSOR_F32 : layer->type, layer->in,
                       padded ? (const void *) padded : raw, 0, p->c_in, first, WINOGRAD_LANES, p->c_out,
                       (float *) p->weights);
  core_free (padded);
}

/* Task: a band of rows of one sample. */
static void
convolve_band (int task, int thread, gpointer data)
{
  Product        *p = data;
  const SdTensor *x = p->picture;
  int             sample = task / p->bands, first = task % p->bands * p->band, rows = MIN (p->band, x->h - first);
  gsize           width = (gsize) x->w, from = (gsize) sample * (gsize) x->h * width;
  ConvPiece       piece = { 1, rows, x->w, first == 0, first + rows == x->h };

  winograd_forward (p->weights, p->layer->bias, p->c_in, p->c_out, &piece,
                    x->data + (from + (gsize) MAX (first - 1, 0) * width) * (gsize) p->c_in,
                    p->y + (from + (gsize) first * width) * (gsize) p->c_out, p->add ? EPILOGUE_ADD : EPILOGUE_NONE,
                    &p->run->scratch[thread], &p->run->errors[thread]);
}

static void
convolve_winograd (SdRun *run, const SdLayer *layer, const SdTensor *x, SdTensor *y, gboolean add)
{
  Product p = { .run = run, .layer = layer, .y = y->data, .add = add, .picture = x, .c_in = x->c, .c_out = y->c };
  gsize   tiles = (gsize) ((x->h + 3) / 4) * (gsize) ((x->w + 3) / 4);

  if (run->error)
    return;
  p.weights = sd_run_get_shared (run, WINOGRAD_PRODUCTS * winograd_get_step ((gsize) p.c_in, p.c_out) * sizeof (float));
  if (! p.weights)
    return;
  sd_run_tasks (run, p.c_out / WINOGRAD_LANES, transform_outputs, &p);
  /* A band for each thread, or of some 256 tiles where there are more. */
  p.band = MAX (1, (int) MIN (256, (tiles + (gsize) run->threads - 1) / (gsize) run->threads) / ((x->w + 3) / 4)) * 4;
  p.bands = (x->h + p.band - 1) / p.band;
  sd_run_tasks (run, x->n * p.bands, convolve_band, &p);
}

/* Task: some tiles of the input, transformed for all output channels. */
static void
transform_tiles (int task, int thread, gpointer data)
{
  Product *p = data;
  gsize    first = (gsize) task * TASK_TILES, step = winograd_get_step (p->n_tiles, p->c_in);

  winograd_transform_tiles (&p->whole, &p->tiles, p->picture->data, p->c_in, p->v + WINOGRAD_PRODUCTS * step, first,
                            MIN (TASK_TILES, p->n_tiles - first), p->v + first * (gsize) p->c_in, step);
}

/* Task: a row of 2x2 tiles of one sample. */
static void
transform_row_2x2 (int task, int thread, gpointer data)
{
  Product        *p = data;
  const SdTensor *x = p->picture;
  int             rows = winograd2_count_tiles (x->h), sample = task / rows;
  Winograd2Piece  row = { task % rows, 1, x->w, x->h };
  gsize           values = (gsize) winograd2_count_tiles (x->w) * (gsize) p->c_in;

  winograd2_input (&row, p->c_in, x->data + (gsize) sample * (gsize) x->h * (gsize) x->w * (gsize) p->c_in, ELEMENT_F32,
                   p->v + (gsize) task * values, winograd_get_step (p->n_tiles, p->c_in), &p->run->scratch[thread],
                   &p->run->errors[thread]);
}

/* The products of `count` output channels from the `first` on, for all tiles -> pixels. */
static void
finish_block (const Product *p, int first, int count, const float *products)
{
  const SdTensor *x = p->picture;
  const float    *bias = p->layer->bias ? p->layer->bias + first : NULL;
  gsize           step = winograd_get_step (p->n_tiles, count), pixels = (gsize) x->h * (gsize) x->w;
  gsize           tiles = p->n_tiles / (gsize) x->n;
  Winograd2Piece  all = { 0, winograd2_count_tiles (x->h), x->w, x->h };

  if (p->products == WINOGRAD_PRODUCTS)
    winograd_finish_tiles (&p->whole, &p->tiles, products, step, count, bias, p->add ? EPILOGUE_ADD : EPILOGUE_NONE, 0,
                           p->n_tiles, p->y + first, p->c_out);
  else
    for (gsize n = 0; n < (gsize) x->n; n++)
      winograd2_output (&all, count, products + n * tiles * (gsize) count, step, bias, p->add, (gsize) p->c_out,
                        p->y + n * pixels * (gsize) p->c_out + first);
}

/* Task: a block of output channels for all tiles. */
static void
convolve_block (int task, int thread, gpointer data)
{
  Product       *p = data;
  const SdLayer *layer = p->layer;
  int            first = task * p->block_out, count = MIN (p->block_out, layer->out - first);
  gsize          filter = (gsize) layer->in * 9, products = (gsize) p->products;
  gsize          v_step = winograd_get_step (p->n_tiles, p->c_in), m_step = winograd_get_step (p->n_tiles, count);
  gsize          size = products * (winograd_get_step ((gsize) p->block_in, count) + m_step);
  const guint8  *raw = fetch_weights (p, (gsize) first * filter, (gsize) count * filter, thread);
  float *m = raw ? scratch_get (&p->run->scratch[thread], size * sizeof (float), &p->run->errors[thread]) : NULL,
        *block;

  if (! m)
    return;
  block = m + products * m_step;
  for (int i = 0; i < p->c_in; i += p->block_in)
    {
      int n = MIN (p->block_in, p->c_in - i);

      weights_to_winograd (p->products, layer->type, layer->in, raw, i, n, 0, count, count, block);
      winograd_multiply (p->products, p->v + i, v_step, p->c_in, block, n, count, p->n_tiles, i > 0, m, m_step);
    }
  finish_block (p, first, count, m);
}

/* Few tiles: it is the weights that are many.  They are transformed a block of output channels at a time and used where
 * they are, in a core's cache; all blocks share the transformed input. */
static void
convolve_winograd_blocks (SdRun *run, const SdLayer *layer, const SdTensor *x, int products, SdTensor *y, gboolean add)
{
  Product  p = { .run = run,
                 .layer = layer,
                 .y = y->data,
                 .add = add,
                 .picture = x,
                 .c_in = x->c,
                 .c_out = y->c,
                 .products = products,
                 .whole = { x->n, x->h, x->w, 1, 1 } };
  gboolean small = products == WINOGRAD2_PRODUCTS, narrow;
  int      rows = x->n * winograd2_count_tiles (x->h);
  gsize    size;

  if (run->error)
    return;
  p.tiles = winograd_get_tiles (&p.whole);
  p.n_tiles = small ? (gsize) rows * (gsize) winograd2_count_tiles (x->w) : p.tiles.count;
  narrow = p.n_tiles <= NARROW_TILES;
  p.block_out = narrow ? NARROW_FILTERS : BLOCK_FILTERS;
  p.block_in = narrow ? NARROW_CHANNELS : p.c_in;
  size = (gsize) products * winograd_get_step (p.n_tiles, p.c_in);
  p.v = sd_run_get_shared (run, (size + (gsize) p.c_in) * sizeof (float));
  if (! p.v)
    return;
  memset (p.v + size, 0, (gsize) p.c_in * sizeof (float));
  if (small)
    sd_run_tasks (run, rows, transform_row_2x2, &p);
  else
    sd_run_tasks (run, (int) ((p.n_tiles + TASK_TILES - 1) / TASK_TILES), transform_tiles, &p);
  sd_run_tasks (run, (layer->out + p.block_out - 1) / p.block_out, convolve_block, &p);
}

static void
count_convolution (SdRun *run, const SdLayer *layer, const SdTensor *y)
{
  run->flops += 2.0 * 9 * (double) sd_tensor_rows (y) * layer->in * layer->out;
}

void
sd_conv3_into (SdRun *run, const SdLayer *layer, const SdTensor *x, SdTensor *y, gboolean add)
{
  count_convolution (run, layer, y);
  if (run->filters)
    sd_filters_apply (run, layer, x, 1, 1, y, add);
  else if (x->h * x->w < WINOGRAD2_PIXELS || ! winograd_can (layer->in, layer->out))
    convolve_patches (run, layer, x, 1, 1, y, add);
  else if (x->h * x->w < WINOGRAD_PIXELS)
    convolve_winograd_blocks (run, layer, x, WINOGRAD2_PRODUCTS, y, add);
  else if (sd_tensor_rows (x) <= FEW_TILES * 16)
    convolve_winograd_blocks (run, layer, x, WINOGRAD_PRODUCTS, y, add);
  else
    convolve_winograd (run, layer, x, y, add);
}

/* A few output channels (a picture, a latent) among many: as 16, of which the first are kept. */
static SdTensor
convolve_few (SdRun *run, const SdLayer *layer, const SdTensor *x)
{
  SdTensor wide = sd_tensor_new (run, x->n, x->h, x->w, WINOGRAD_LANES);
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, layer->out);
  float    bias[WINOGRAD_LANES] = { 0 };
  SdLayer  padded = *layer;

  for (int c = 0; c < layer->out && layer->bias; c++)
    bias[c] = layer->bias[c];
  padded.bias = bias;
  count_convolution (run, layer, &y);
  convolve_winograd (run, &padded, x, &wide, FALSE);
  if (! sd_run_is_idle (run))
    for (gsize r = 0; r < sd_tensor_rows (x); r++)
      memcpy (y.data + r * (gsize) y.c, wide.data + r * WINOGRAD_LANES, (gsize) y.c * sizeof (float));
  sd_tensor_free (run, &wide);
  return y;
}

SdTensor
sd_conv3 (SdRun *run, const SdLayer *layer, const SdTensor *x)
{
  SdTensor y;

  if (! run->filters && layer->out < WINOGRAD_LANES && layer->in % WINOGRAD_LANES == 0
      && x->h * x->w >= WINOGRAD_PIXELS)
    return convolve_few (run, layer, x);
  y = sd_tensor_new (run, x->n, x->h, x->w, layer->out);
  sd_conv3_into (run, layer, x, &y, FALSE);
  return y;
}

SdTensor
sd_conv3_down (SdRun *run, const SdLayer *layer, const SdTensor *x, int pad)
{
  SdTensor y = sd_tensor_new (run, x->n, (x->h + pad - 2) / 2 + 1, (x->w + pad - 2) / 2 + 1, layer->out);

  count_convolution (run, layer, &y);
  if (run->filters)
    sd_filters_apply (run, layer, x, 2, pad, &y, FALSE);
  else
    convolve_patches (run, layer, x, 2, pad, &y, FALSE);
  return y;
}
