/* Products and 3x3 convolutions whose weights are laid out beforehand.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A layer is cut into slices of output channels and the picture into bands of rows (the rows of a product into pieces),
 * all of one size, so that one plan of the back end does for all of a layer and nothing depends on the number of
 * threads.  A band's input is brought into the back end's element type on its way, with its surroundings; or, where
 * multiplications are what is scarce, into Winograd's tiles.
 */
#include "run.h"

#include "compute/winograd2.h"

#include <string.h>

/* Output channels at a time, at most: their weights stay in a core's caches while a band passes. */
#define SLICE_MOST 320
/* Pixels of a piece, at least, where there are so many; and rows of a band, since two more have to be read. */
#define PIECE_PIXELS 256
#define BAND_ROWS    4

/* Layers with fewer pixels have most of the weights, and Winograd's take 16/9 of the room; with few channels the
 * transforms are most of the work. */
#define WINOGRAD2_PIXELS   1024
#define WINOGRAD2_CHANNELS 64
/* Tiles of a piece, about. */
#define WINOGRAD2_TILES 64

/* Weights are kept while the system has this much memory to spare besides. */
#define SPARE ((gsize) 1 << 30)

/* Memory for kept weights is taken in blocks, so that it lies in huge pages. */
#define BLOCK ((gsize) 64 << 20)

/* One layer's weights. */
typedef struct
{
  const TensorFile *file;
  gsize             offset;   /* these two say whose they are */
  const Filter     *made_for; /* whose layout they have */
  char             *weights;  /* slice after slice */
  gsize             room;     /* there, which a smaller layout leaves as it is */
} LaidOut;

struct _SdFilters
{
  const ComputeBackend *backend;
  GPtrArray            *filters; /* Filter */
  GHashTable           *kept;    /* LaidOut, a set */
  GPtrArray            *blocks;  /* their memory */
  gsize                 used;    /* bytes of the last block */
  gsize                 size;    /* of the last block */
  Scratch               passing; /* weights that are not kept: the last layer's */
  gboolean              full;    /* no more is kept */
};

typedef struct
{
  SdRun          *run;
  const SdLayer  *layer;
  const SdTensor *x;
  float          *y;
  const Filter   *filter;
  char           *weights;   /* slice after slice */
  gsize           part_size; /* bytes of a filter's; a slice has one part, or Winograd's 16 */
  const float    *bias;
  int             slice, slices; /* output channels; number */
  int             h_out, w_out;  /* products: 1, rows */
  int             bands, pieces; /* per sample; of all samples */
  int             stride, pad;
  gboolean        add, split_slices; /* a task is one slice of a piece */
  gboolean        winograd;          /* 16 filters of 1x1 on transformed tiles */
  int             tile_rows;         /* of a piece then */
  const float    *no_bias;
} Work;

/* ---- memory ---- */

static guint
laid_out_hash (gconstpointer key)
{
  const LaidOut *laid_out = key;

  return g_direct_hash (laid_out->file) ^ (guint) (laid_out->offset >> 1);
}

static gboolean
laid_out_equal (gconstpointer a, gconstpointer b)
{
  const LaidOut *first = a, *second = b;

  return first->file == second->file && first->offset == second->offset;
}

SdFilters *
sd_filters_new (const ComputeBackend *backend)
{
  SdFilters *filters;

  if (! backend || ! backend->filter_new)
    return NULL;
  filters = g_new0 (SdFilters, 1);
  filters->backend = backend;
  filters->filters = g_ptr_array_new_with_free_func ((GDestroyNotify) backend->filter_free);
  filters->kept = g_hash_table_new_full (laid_out_hash, laid_out_equal, g_free, NULL);
  filters->blocks = g_ptr_array_new_with_free_func (core_free);
  return filters;
}

static void
forget_weights (SdFilters *filters)
{
  g_hash_table_remove_all (filters->kept);
  g_ptr_array_set_size (filters->blocks, 0);
  scratch_clear (&filters->passing);
  filters->used = filters->size = 0;
}

void
sd_filters_free (SdFilters *filters)
{
  if (! filters)
    return;
  forget_weights (filters);
  g_hash_table_unref (filters->kept);
  g_ptr_array_unref (filters->blocks);
  g_ptr_array_unref (filters->filters);
  g_free (filters);
}

const ComputeBackend *
sd_filters_get_backend (const SdFilters *filters)
{
  return filters->backend;
}

void
sd_filters_clear (SdFilters *filters)
{
  forget_weights (filters);
  g_ptr_array_set_size (filters->filters, 0);
  filters->full = FALSE;
}

gboolean
sd_filters_make_room (SdFilters *filters)
{
  gboolean any = filters->blocks->len > 0;

  forget_weights (filters);
  filters->full = TRUE;
  return any;
}

/* ---- plans ---- */

/* Slices that a vector register's lanes divide well, if there are such. */
static int
choose_slice (int channels)
{
  for (int lanes = 64; lanes >= 16; lanes /= 2)
    for (int slice = SLICE_MOST; slice >= lanes && channels > SLICE_MOST; slice -= lanes)
      if (channels % slice == 0)
        return slice;
  return channels;
}

static const Filter *
get_filter (SdRun *run, const FilterShape *shape)
{
  SdFilters *filters = run->filters;
  Filter    *filter;

  for (guint i = 0; i < filters->filters->len; i++)
    {
      filter = filters->filters->pdata[i];
      if (memcmp (&filter->shape, shape, sizeof *shape) == 0)
        return filter;
    }
  filter = filters->backend->filter_new (shape, &run->error);
  if (filter)
    g_ptr_array_add (filters->filters, filter);
  return filter;
}

/* ---- weights ---- */

/* Task: a slice's weights. */
static void
lay_out_slice (int task, int thread, gpointer data)
{
  Work          *w = data;
  SdRun         *run = w->run;
  const SdLayer *layer = w->layer;
  gsize          matrix = (gsize) w->slice * (gsize) layer->in, count = matrix * (gsize) layer->taps;
  gsize          size = weight_size (layer->type), parts = w->winograd ? WINOGRAD2_PRODUCTS : 1;
  gsize          values = w->winograd ? matrix : count; /* of each part */
  GError       **error = &run->errors[thread];
  guint8        *raw = scratch_get (&run->raw[thread], count * size + 64 + parts * values * sizeof (guint16), error);
  guint16       *ready = (guint16 *) (raw + (count * size + 63) / 64 * 64);
  char          *to = w->weights + (gsize) task * parts * w->part_size;

  if (! raw || ! tensor_file_fetch (layer->file, layer->offset + (gsize) task * count * size, count * size, raw, error))
    return;
  if (! w->winograd)
    weights_to_bf16 (layer->type, count, raw, ready);
  else if (! winograd2_weights (layer->type, w->slice, layer->in, raw, ready, &run->scratch[thread], error))
    return;
  for (gsize i = 0; i < parts; i++)
    if (! w->filter->backend->filter_lay_out (w->filter, ready + i * values, to + i * w->part_size, error))
      return;
}

/* Memory for weights that are kept; NULL: no more is. */
static gpointer
keep_memory (SdFilters *filters, gsize size)
{
  gpointer memory;

  if (! filters->full && filters->used + size > filters->size)
    {
      gsize block = MAX (BLOCK, size);

      memory = core_get_spare_memory () > SPARE + block ? core_alloc (block, 1, NULL) : NULL;
      filters->full = memory == NULL;
      if (memory)
        {
          g_ptr_array_add (filters->blocks, memory);
          filters->used = 0;
          filters->size = block;
        }
    }
  if (filters->full)
    return NULL;
  memory = (char *) filters->blocks->pdata[filters->blocks->len - 1] + filters->used;
  filters->used += size;
  return memory;
}

/* The layer's weights in the filter's layout: those that are kept, or made now. */
static gboolean
find_weights (Work *w)
{
  SdFilters *filters = w->run->filters;
  gsize      size = w->part_size * (gsize) w->slices * (w->winograd ? WINOGRAD2_PRODUCTS : 1);
  LaidOut    wanted = { w->layer->file, w->layer->offset, w->filter, NULL, size }, *kept;

  kept = g_hash_table_lookup (filters->kept, &wanted);
  if (kept && kept->room >= size)
    {
      w->weights = kept->weights;
      wanted.room = kept->room;
      if (w->filter->backend->filter_is_laid_out_as (w->filter, kept->made_for))
        return TRUE;
    }
  else
    w->weights = keep_memory (filters, size);
  if (! w->weights)
    {
      w->weights = scratch_get (&filters->passing, size, &w->run->error);
      if (! w->weights && sd_run_make_room (w->run))
        w->weights = scratch_get (&filters->passing, size, &w->run->error);
      if (! w->weights)
        return FALSE;
    }
  wanted.weights = w->weights;
  g_hash_table_remove (filters->kept, &wanted);
  sd_run_tasks (w->run, w->slices, lay_out_slice, w);
  if (! w->run->error && w->weights != filters->passing.data)
    g_hash_table_add (filters->kept, g_memdup2 (&wanted, sizeof wanted));
  return ! w->run->error;
}

/* ---- a piece of work ---- */

/* Rows of a product; zeros after the last. */
static void
gather_rows (const Work *w, int first, guint16 *to)
{
  gsize count = (gsize) MIN (w->filter->shape.width, w->w_out - first) * (gsize) w->x->c;
  gsize all = (gsize) w->filter->shape.width * (gsize) w->x->c;

  pointwise_from_f32 (ELEMENT_BF16, count, w->x->data + (gsize) first * (gsize) w->x->c, to);
  memset (to + count, 0, (all - count) * sizeof *to);
}

/* The rows of the picture that output rows from `first` on see, with the zeros around it. */
static void
gather_band (const Work *w, int sample, int first, guint16 *to)
{
  const FilterShape *shape = &w->filter->shape;
  const SdTensor    *x = w->x;
  int                width = filter_shape_width_in (shape), inside = MIN (x->w, width - w->pad);
  gsize              channels = (gsize) x->c, left = (gsize) w->pad * channels, middle = (gsize) inside * channels;
  gsize              all = (gsize) width * channels;

  for (int r = 0; r < filter_shape_rows_in (shape); r++, to += all)
    {
      int y = first * w->stride - w->pad + r;

      if (y < 0 || y >= x->h)
        {
          memset (to, 0, all * sizeof *to);
          continue;
        }
      memset (to, 0, left * sizeof *to);
      pointwise_from_f32 (ELEMENT_BF16, middle,
                          x->data + ((gsize) sample * (gsize) x->h + (gsize) y) * (gsize) x->w * channels, to + left);
      memset (to + left + middle, 0, (all - left - middle) * sizeof *to);
    }
}

/* A slice's result into its place. */
static void
put (const Work *w, const float *from, gsize pixels, float *to)
{
  gsize slice = (gsize) w->slice;

  for (gsize p = 0; p < pixels; p++, from += slice, to += w->layer->out)
    if (w->add)
      pointwise_add (ELEMENT_F32, slice, from, to);
    else
      memcpy (to, from, slice * sizeof (float));
}

/* Task: a piece, or a slice of it. */
static void
run_piece (int task, int thread, gpointer data)
{
  Work              *w = data;
  const FilterShape *shape = &w->filter->shape;
  int                piece = w->split_slices ? task / w->slices : task, sample = piece / w->bands;
  int                first = piece % w->bands * (w->layer->taps == 1 ? shape->width : shape->rows);
  int                from = w->split_slices ? task % w->slices : 0, to = w->split_slices ? from + 1 : w->slices;
  gsize    n_x = (gsize) filter_shape_rows_in (shape) * (gsize) filter_shape_width_in (shape) * (gsize) w->x->c;
  gsize    all = (gsize) shape->rows * (gsize) shape->width, pixels, at;
  GError **error = &w->run->errors[thread];
  guint16 *x;
  float   *result;

  n_x = (n_x + 31) / 32 * 32;
  x = scratch_get (&w->run->raw[thread], n_x * sizeof *x + all * (gsize) w->slice * sizeof (float), error);
  if (! x)
    return;
  result = (float *) (x + n_x);
  if (w->layer->taps == 1)
    {
      pixels = (gsize) MIN (shape->width, w->w_out - first);
      at = (gsize) first;
      gather_rows (w, first, x);
    }
  else
    {
      pixels = (gsize) MIN (shape->rows, w->h_out - first) * (gsize) w->w_out;
      at = ((gsize) sample * (gsize) w->h_out + (gsize) first) * (gsize) w->w_out;
      gather_band (w, sample, first, x);
    }
  for (int s = from; s < to; s++)
    {
      float   *y = w->y + at * (gsize) w->layer->out + (gsize) s * (gsize) w->slice;
      gboolean direct = w->slices == 1 && ! w->add && pixels == all;

      if (! w->filter->backend->filter_run (w->filter, x, w->weights + (gsize) s * w->part_size,
                                            w->bias + (gsize) s * (gsize) w->slice, direct ? y : result,
                                            &w->run->scratch[thread], error))
        return;
      if (! direct)
        put (w, result, pixels, y);
    }
}

/* Task: a piece, or a slice of it, by Winograd's transforms. */
static void
run_tiles (int task, int thread, gpointer data)
{
  Work           *w = data;
  const SdTensor *x = w->x;
  int             piece = w->split_slices ? task / w->slices : task, sample = piece / w->bands;
  int             from = w->split_slices ? task % w->slices : 0, to = w->split_slices ? from + 1 : w->slices;
  Winograd2Piece  tiles = { piece % w->bands * w->tile_rows, w->tile_rows, x->w, x->h };
  gsize           count = (gsize) w->filter->shape.width, n_x = count * (gsize) x->c, n_y = count * (gsize) w->slice;
  gsize           pixels = (gsize) sample * (gsize) x->h * (gsize) x->w;
  GError        **error = &w->run->errors[thread];
  float          *products
      = scratch_get (&w->run->raw[thread], WINOGRAD2_PRODUCTS * (n_y * sizeof (float) + n_x * sizeof (guint16)), error);
  guint16 *transformed = (guint16 *) (products + WINOGRAD2_PRODUCTS * n_y);

  if (! products
      || ! winograd2_input (&tiles, x->c, x->data + pixels * (gsize) x->c, ELEMENT_BF16, transformed, n_x,
                            &w->run->scratch[thread], error))
    return;
  for (int s = from; s < to; s++)
    {
      const char *weights = w->weights + (gsize) s * WINOGRAD2_PRODUCTS * w->part_size;
      gsize       first = (gsize) s * (gsize) w->slice;

      for (gsize k = 0; k < WINOGRAD2_PRODUCTS; k++)
        if (! w->filter->backend->filter_run (w->filter, transformed + k * n_x, weights + k * w->part_size, w->no_bias,
                                              products + k * n_y, &w->run->scratch[thread], error))
          return;
      winograd2_output (&tiles, w->slice, products, n_y, w->bias + first, w->add, (gsize) w->layer->out,
                        w->y + pixels * (gsize) w->layer->out + first);
    }
}

/* How the layer is cut up. */
static void
plan_work (Work *w, FilterShape *shape)
{
  const SdTensor *x = w->x;
  int             across;

  *shape = (FilterShape){ .c_in = x->c, .c_out = w->slice, .stride = w->stride };
  if (w->layer->taps == 1)
    {
      w->h_out = 1;
      w->w_out = (int) sd_tensor_rows (x);
      shape->edge = shape->rows = 1;
      shape->width = MIN (PIECE_PIXELS, w->w_out);
      w->bands = w->pieces = (w->w_out + shape->width - 1) / shape->width;
    }
  else if (w->winograd)
    {
      across = winograd2_count_tiles (x->w);
      w->tile_rows = MAX (1, WINOGRAD2_TILES / across);
      shape->edge = shape->rows = 1;
      shape->width = w->tile_rows * across;
      w->bands = (winograd2_count_tiles (x->h) + w->tile_rows - 1) / w->tile_rows;
      w->pieces = w->bands * x->n;
    }
  else
    {
      shape->edge = 3;
      shape->rows = MIN (w->h_out, MAX (BAND_ROWS, PIECE_PIXELS / w->w_out));
      shape->width = w->w_out;
      w->bands = (w->h_out + shape->rows - 1) / shape->rows;
      w->pieces = w->bands * x->n;
    }
}

static gboolean
uses_winograd (const Work *w)
{
  return w->layer->taps == 9 && w->stride == 1 && w->layer->in % 16 == 0 && w->x->h * w->x->w >= WINOGRAD2_PIXELS
         && w->layer->in >= WINOGRAD2_CHANNELS && w->layer->out >= WINOGRAD2_CHANNELS
         && w->run->filters->backend->is_short_of_multipliers ();
}

void
sd_filters_apply (SdRun *run, const SdLayer *layer, const SdTensor *x, int stride, int pad, SdTensor *y, gboolean add)
{
  Work              w = { .run = run,
                          .layer = layer,
                          .x = x,
                          .y = y->data,
                          .bias = layer->bias,
                          .h_out = y->h,
                          .w_out = y->w,
                          .stride = stride,
                          .pad = pad,
                          .add = add };
  g_autofree float *no_bias = NULL;
  FilterShape       shape;

  w.winograd = uses_winograd (&w);
  if (run->dry)
    run->dry_kept += (gsize) layer->out * (gsize) layer->in * sizeof (guint16)
                     * (gsize) (w.winograd ? WINOGRAD2_PRODUCTS : layer->taps);
  if (sd_run_is_idle (run))
    return;
  w.no_bias = no_bias = g_new0 (float, (gsize) layer->out);
  if (! w.bias)
    w.bias = no_bias;
  w.slice = choose_slice (layer->out);
  w.slices = layer->out / w.slice;
  plan_work (&w, &shape);
  w.filter = get_filter (run, &shape);
  if (! w.filter)
    return;
  w.part_size = (w.filter->weights_size + 63) / 64 * 64;
  if (! find_weights (&w))
    return;
  /* Few pieces: their slices are work for more threads. */
  w.split_slices = w.pieces < 4 * run->threads;
  sd_run_tasks (run, w.pieces * (w.split_slices ? w.slices : 1), w.winograd ? run_tiles : run_piece, &w);
}
