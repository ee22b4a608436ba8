/* The reverse process.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Each step is one pass of the network down the picture, in place: a row is read long before it is written, and never
 * after.  A wide picture is done in strips from left to right; what a strip needs of its left neighbour, as it was
 * before that was written, is kept aside.
 */
#include "net/model.h"
#include "process.h"

#include <math.h>

/* Strips of this width need some 200 MB for the default model in f32. */
#define STRIP_WIDTH 4096

/* A strip's last `margin` columns of pixels, as they were before it wrote them, and the levels of these and of `margin`
 * columns more. */
typedef struct
{
  float *pixels, *levels;
} Kept;

typedef struct
{
  const NetPlan          *plan;
  Pool                   *pool;
  DiffusionPicture       *picture;
  LevelRow                level;
  gpointer                level_data;
  const DiffusionOptions *options;
  Transition              transition;
  DiffusionPicture       *clean_before; /* of the step before; NULL unless the sampler or a spectator wants it */
  int                     padded_height;

  /* This strip writes columns [x0, x1) and reads [read_x0, read_x1). */
  int x0, x1, read_x0, read_x1;
  int margin;

  /* Rows [level_first, level_end) of the levels, `width` wide, between reading and writing. */
  float *levels;
  int    level_first, level_end, level_capacity;

  Kept   kept, next; /* what the left neighbour left for this strip, and what this one leaves for the next */
  float *rows;       /* pixel rows as the network sees them, later as it predicts them */
  int    rows_capacity;

  double progress_from, progress_share;
} Pass;

/* ---- samplers ---- */

/* All samplers are x' = D + keep (x - D) + noise * level * eps, D extrapolated by `before` of its last change. */
typedef struct
{
  double keep, noise, before;
} Coefficients;

static Coefficients
get_coefficients (const Transition *t)
{
  double ratio = t->to / t->from;

  switch (t->sampler)
    {
    case DIFFUSION_SAMPLER_DDPM:
    case DIFFUSION_SAMPLER_EULER_ANCESTRAL:
      /* The posterior q (x' | x, D): Ho et al. 2020, eq. 6 and 7, for variance-exploding levels. */
      return (Coefficients){ ratio * ratio, ratio * sqrt (1 - ratio * ratio), 0 };
    case DIFFUSION_SAMPLER_LCM:
      return (Coefficients){ 0, ratio, 0 };
    case DIFFUSION_SAMPLER_DPMPP_2M:
      if (t->before > 0 && t->to > 0)
        /* Lu et al. 2022 ("DPM-Solver++"), algorithm 2, with h = log (from / to). */
        return (Coefficients){ ratio, 0, 0.5 * log (t->from / t->to) / log (t->before / t->from) };
      break;
    default:
      break;
    }
  return (Coefficients){ ratio, 0, 0 };
}

void
transition_values (const Transition *t, int channels, int x0, int y, int width, const float *level, const float *clean,
                   const float *clean_before, float *x)
{
  Coefficients k = get_coefficients (t);

  for (int i = 0; i < width; i++, x += channels, clean += channels)
    {
      float eps[4] = { 0 };

      /* A known pixel keeps its bits. */
      if (level[i] == 0)
        continue;
      if (k.noise > 0)
        random_gaussian4 (t->seed, t->step, x0 + i, y, eps);
      for (int c = 0; c < channels; c++)
        {
          float d = clean[c];

          if (k.before > 0)
            d += (float) k.before * (clean[c] - clean_before[i * channels + c]);
          x[c] = d + (float) k.keep * (x[c] - d) + (float) k.noise * level[i] * eps[c];
        }
    }
}

void
transition_row (const Transition *t, int x0, int y, int width, const float *level, const float *clean,
                const float *clean_before, float *x)
{
  transition_values (t, 3, x0, y, width, level, clean, clean_before, x);
}

/* ---- rows in and out ---- */

/* Beyond its right and lower edge the picture is mirrored. */
static inline int
mirror (int i, int size)
{
  i %= 2 * size;
  return i < size ? i : 2 * size - 1 - i;
}

static gboolean
reserve_levels (Pass *pass, int rows, GError **error)
{
  gsize  width = (gsize) (pass->read_x1 - pass->read_x0);
  int    kept = pass->level_end - pass->level_first;
  float *levels;

  if (kept + rows <= pass->level_capacity)
    return TRUE;
  levels = core_alloc ((gsize) (kept + rows) * 5 / 4, width * sizeof (float), error);
  if (! levels)
    return FALSE;
  if (kept > 0)
    memcpy (levels, pass->levels, (gsize) kept * width * sizeof (float));
  core_free (pass->levels);
  pass->levels = levels;
  pass->level_capacity = (kept + rows) * 5 / 4;
  return TRUE;
}

/* Pixels and levels of row y, columns [read_x0, read_x1), as they were before this pass. */
static void
read_row (Pass *pass, int y, float *pixels, float *levels)
{
  const DiffusionPicture *picture = pass->picture;
  int          width = pass->read_x1 - pass->read_x0, margin = pass->margin, from_left = pass->x0 - pass->read_x0;
  int          inside = MIN (pass->read_x1, picture->width) - pass->read_x0, source = mirror (y, picture->height);
  const float *row = picture->data + (gsize) source * (gsize) picture->width * 3;
  const float *kept_pixels = pass->kept.pixels + (gsize) source * (gsize) margin * 3;
  const float *kept_levels = pass->kept.levels + (gsize) source * (gsize) margin * 2;
  int          known = from_left > 0 ? 2 * margin : 0; /* columns whose levels the left neighbour has left */

  memcpy (pixels, kept_pixels, (gsize) from_left * 3 * sizeof (float));
  memcpy (pixels + from_left * 3, row + (gsize) pass->x0 * 3, (gsize) (inside - from_left) * 3 * sizeof (float));
  memcpy (levels, kept_levels, (gsize) MIN (known, inside) * sizeof (float));
  if (known < inside)
    pass->level (pass->read_x0 + known, source, inside - known, levels + known, pass->level_data);
  for (int i = inside; i < width; i++)
    {
      int from = MAX (2 * inside - 1 - i, 0);

      memcpy (pixels + i * 3, pixels + from * 3, 3 * sizeof (float));
      levels[i] = levels[from];
    }
}

/* Keeps what the next strip will need.  Not for mirrored rows, which were read before. */
static void
keep_row (Pass *pass, int y, const float *pixels, const float *levels)
{
  int margin = pass->margin, at = pass->x1 - margin - pass->read_x0;
  int columns = MIN (2 * margin, pass->read_x1 - pass->read_x0 - at);

  if (pass->x1 >= pass->picture->width)
    return;
  memcpy (pass->next.pixels + (gsize) y * (gsize) margin * 3, pixels + at * 3, (gsize) margin * 3 * sizeof (float));
  memcpy (pass->next.levels + (gsize) y * (gsize) margin * 2, levels + at, (gsize) columns * sizeof (float));
}

static gboolean
reserve_rows (Pass *pass, int rows, GError **error)
{
  if (rows <= pass->rows_capacity)
    return TRUE;
  core_free (pass->rows);
  pass->rows = core_alloc ((gsize) rows, (gsize) (pass->read_x1 - pass->read_x0) * 3 * sizeof (float), error);
  pass->rows_capacity = pass->rows ? rows : 0;
  return pass->rows != NULL;
}

/* Half-resolution rows are pairs of picture rows; the pool takes a pair at a time. */
typedef struct
{
  Pass  *pass;
  int    first;  /* picture row of the first pair */
  float *values; /* the network's input, or its output */
} PairsJob;

static void
read_pair (int task, int thread, gpointer data)
{
  PairsJob     *job = data;
  Pass         *pass = job->pass;
  gsize         width = (gsize) (pass->read_x1 - pass->read_x0);
  int           y = job->first + 2 * task;
  float        *levels = pass->levels + (gsize) (y - pass->level_first) * width;
  float        *pixels = pass->rows + (gsize) (2 * task) * width * 3;
  ConditionRows pair = { pixels, levels, width, width, (int) width, 2 };

  for (int i = 0; i < 2; i++)
    {
      read_row (pass, y + i, pixels + (gsize) i * width * 3, levels + (gsize) i * width);
      if (y + i < pass->picture->height)
        keep_row (pass, y + i, pixels + (gsize) i * width * 3, levels + (gsize) i * width);
    }
  condition_pack (&pair, job->values + (gsize) task * (width / 2) * NET_CHANNELS_IN);
}

/* StreamRead. */
static gboolean
read_rows (int first_row, int rows, float *values, gpointer data, GError **error)
{
  Pass    *pass = data;
  PairsJob job = { pass, first_row * 2, values };

  if (! reserve_levels (pass, rows * 2, error) || ! reserve_rows (pass, rows * 2, error))
    return FALSE;
  pool_run (pass->pool, rows, read_pair, &job);
  pass->level_end = (first_row + rows) * 2;
  return TRUE;
}

/* The columns of a predicted row that this strip writes. */
static void
write_row (Pass *pass, int y, const float *clean, const float *levels)
{
  int    offset = pass->x0 - pass->read_x0, width = pass->x1 - pass->x0;
  gsize  at = ((gsize) y * (gsize) pass->picture->width + (gsize) pass->x0) * 3;
  float *before = pass->clean_before ? pass->clean_before->data + at : NULL;

  clean += offset * 3;
  transition_row (&pass->transition, pass->x0 + pass->options->origin_x, y + pass->options->origin_y, width,
                  levels + offset, clean, before, pass->picture->data + at);
  if (before)
    memcpy (before, clean, (gsize) width * 3 * sizeof (float));
}

static void
write_pair (int task, int thread, gpointer data)
{
  PairsJob     *job = data;
  Pass         *pass = job->pass;
  gsize         width = (gsize) (pass->read_x1 - pass->read_x0);
  int           y = job->first + 2 * task;
  const float  *levels = pass->levels + (gsize) (y - pass->level_first) * width;
  float        *pixels = pass->rows + (gsize) (4 * task) * width * 3, *clean = pixels + 2 * width * 3;
  ConditionRows pair = { pixels, levels, width, width, (int) width, 2 };

  /* The rows with their margins: only the columns that will be written matter, the others are whatever is there. */
  memset (pixels, 0, 2 * width * 3 * sizeof (float));
  for (int i = 0; i < 2 && y + i < pass->picture->height; i++)
    memcpy (pixels + ((gsize) i * width + (gsize) (pass->x0 - pass->read_x0)) * 3,
            pass->picture->data + ((gsize) (y + i) * (gsize) pass->picture->width + (gsize) pass->x0) * 3,
            (gsize) (pass->x1 - pass->x0) * 3 * sizeof (float));
  condition_unpack (&pair, job->values + (gsize) task * (width / 2) * NET_CHANNELS_OUT, clean);
  for (int i = 0; i < 2 && y + i < pass->picture->height; i++)
    write_row (pass, y + i, clean + (gsize) i * width * 3, levels + (gsize) i * width);
}

/* StreamWrite. */
static gboolean
write_rows (int first_row, int rows, const float *values, gpointer data, GError **error)
{
  Pass    *pass = data;
  gsize    width = (gsize) (pass->read_x1 - pass->read_x0);
  int      y0 = first_row * 2, count = MIN (rows * 2, pass->padded_height - y0);
  PairsJob job = { pass, y0, (float *) values };

  if (! reserve_rows (pass, count * 2, error))
    return FALSE;
  pool_run (pass->pool, count / 2, write_pair, &job);

  /* These rows of the levels are done with. */
  memmove (pass->levels, pass->levels + (gsize) (y0 + count - pass->level_first) * width,
           (gsize) (pass->level_end - y0 - count) * width * sizeof (float));
  pass->level_first = y0 + count;
  if (pass->options->progress)
    pass->options->progress (pass->progress_from + pass->progress_share * (y0 + count) / pass->padded_height,
                             pass->options->progress_data);
  return TRUE;
}

/* ---- passes ---- */

static int
round_up (int value, int granule)
{
  return (value + granule - 1) / granule * granule;
}

static gboolean
run_strip (Pass *pass, GCancellable *cancellable, GError **error)
{
  StreamJob job = {
    (pass->read_x1 - pass->read_x0) / 2, pass->padded_height / 2, pass->options->tile / 2, read_rows, write_rows, pass
  };
  gboolean success;

  pass->level_first = pass->level_end = pass->level_capacity = pass->rows_capacity = 0;
  success = stream_run (pass->plan, pass->pool, &job, cancellable, error);
  core_free (pass->levels);
  core_free (pass->rows);
  pass->levels = pass->rows = NULL;
  return success;
}

/* One transition of the whole picture. */
static gboolean
run_pass (Pass *pass, GCancellable *cancellable, GError **error)
{
  int width = pass->picture->width, granule = net_layout_get_granularity (pass->plan->layout);
  int aligned = granule * 4; /* Winograd's tiles then lie alike in every strip */
  int widest = MAX (MIN (pass->options->tile > 0 ? pass->options->tile : STRIP_WIDTH, width), 2 * pass->margin);
  int strips = (width - 1) / widest + 1;
  /* All of one width, which is kinder to memory than a wide and a narrow one. */
  int    strip = round_up (MAX ((width + strips - 1) / strips, 2 * pass->margin), aligned);
  double from = pass->progress_from, share = pass->progress_share;
  Kept   kept;

  strips = (width - 1) / strip + 1; /* rounding may have saved one */
  for (int i = 0; i < strips; i++)
    {
      pass->x0 = i * strip;
      pass->x1 = MIN (pass->x0 + strip, width);
      pass->read_x0 = MAX (pass->x0 - pass->margin, 0);
      pass->read_x1 = MIN (pass->x0 + strip + pass->margin, round_up (width, granule));
      pass->progress_from = from + share * i / strips;
      pass->progress_share = share / strips;
      if (! run_strip (pass, cancellable, error))
        return FALSE;
      kept = pass->kept;
      pass->kept = pass->next;
      pass->next = kept;
    }
  return TRUE;
}

/* ---- levels ---- */

typedef struct
{
  LevelRow level;
  gpointer level_data;
  float    ratio;
} ScaledLevels;

static void
get_scaled_row (int x, int y, int width, float *level, gpointer data)
{
  const ScaledLevels *scaled = data;

  scaled->level (x, y, width, level, scaled->level_data);
  for (int i = 0; i < width; i++)
    level[i] *= scaled->ratio;
}

typedef struct
{
  const ReverseJob *job;
  DiffusionPicture *map;
} MapJob;

static void
fill_map_row (int y, int thread, gpointer data)
{
  const MapJob *self = data;
  gsize         width = (gsize) self->map->width;

  self->job->level (0, y, self->map->width, self->map->data + (gsize) y * width, self->job->user_data);
}

static DiffusionPicture *
make_map (const Pass *pass, const ReverseJob *job, GError **error)
{
  MapJob self = { job, diffusion_picture_new (pass->picture->width, pass->picture->height, 1, error) };

  if (self.map)
    pool_run (pass->pool, self.map->height, fill_map_row, &self);
  return self.map;
}

/* ---- the whole ---- */

/* Shows the step that is just done to whoever looks on. */
static void
show_step (const Pass *pass, double largest)
{
  const DiffusionOptions *o = pass->options;
  DiffusionStep           step = { .step = (int) pass->transition.step + 1,
                                   .steps = o->steps,
                                   .level_from = largest * pass->transition.from,
                                   .level_to = largest * pass->transition.to,
                                   .prediction = pass->clean_before,
                                   .state = pass->picture,
                                   .reduction = 1 };

  if (o->on_step)
    o->on_step (&step, o->step_data);
}

static gboolean
run_steps (Pass *pass, const ReverseJob *job, GCancellable *cancellable, GError **error)
{
  int                steps = pass->options->steps;
  g_autofree double *ratios = g_new (double, (gsize) steps + 1);
  g_autoptr (DiffusionPicture) map = NULL;
  ScaledLevels scaled = { job->level, job->user_data, 1 };

  schedule_fill (job->largest, steps, ratios);
  /* The picture changes from the first step on. */
  if (job->looking && steps > 1)
    {
      if (! (map = make_map (pass, job, error)))
        return FALSE;
      scaled = (ScaledLevels){ process_get_map_row, map, 1 };
    }
  pass->level = get_scaled_row;
  pass->level_data = &scaled;
  for (int i = 0; i < steps; i++)
    {
      scaled.ratio = (float) ratios[i];
      pass->transition = (Transition){ pass->options->sampler,    ratios[i],           ratios[i + 1],
                                       i > 0 ? ratios[i - 1] : 0, pass->options->seed, (guint32) i };
      pass->progress_from = (double) i / steps;
      pass->progress_share = 1.0 / steps;
      if (! run_pass (pass, cancellable, error)
          || (job->done && ! job->done (pass->picture, i, ratios[i + 1], pass->pool, job->user_data, error)))
        return FALSE;
      show_step (pass, job->largest);
    }
  return TRUE;
}

static gboolean
check_options (const DiffusionOptions *options, GError **error)
{
  gboolean good = options->steps >= 1 && options->steps <= DIFFUSION_MAX_STEPS
                  && diffusion_sampler_get_name (options->sampler) && options->threads >= 0 && options->tile >= 0;

  if (! good)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                 "The reverse process takes 1 to %d steps, one of the samplers, and threads and tile of 0 or more; "
                 "it was given %d steps, sampler "
                 "%d, %d threads, tile %d.",
                 DIFFUSION_MAX_STEPS, options->steps, (int) options->sampler, options->threads, options->tile);
  return good;
}

static gboolean
allocate_kept (Kept *kept, gsize height, gsize margin, GError **error)
{
  kept->pixels = core_alloc (height * margin, 3 * sizeof (float), error);
  kept->levels = kept->pixels ? core_alloc (height * margin, 2 * sizeof (float), error) : NULL;
  return kept->levels != NULL;
}

gboolean
process_reverse (const DiffusionModel *model, DiffusionPicture *picture, const ReverseJob *job,
                 const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  const NetPlan *plan = check_options (options, error) ? model_get_plan (model, error) : NULL;
  g_autoptr (Pool) pool = plan ? pool_new (options->threads, error) : NULL;
  g_autoptr (DiffusionPicture) before = NULL;
  int      granule;
  Pass     pass = { 0 };
  gboolean success;

  if (! pool)
    return FALSE;
  granule = net_layout_get_granularity (plan->layout);
  if ((options->on_step || (options->steps > 1 && options->sampler == DIFFUSION_SAMPLER_DPMPP_2M))
      && ! (before = diffusion_picture_new (picture->width, picture->height, 3, error)))
    return FALSE;
  pass = (Pass){ .plan = plan, .pool = pool, .picture = picture, .options = options, .clean_before = before };
  pass.padded_height = round_up (picture->height, granule);
  pass.margin = round_up (plan->layout->margin, granule * 4);
  success = allocate_kept (&pass.kept, (gsize) picture->height, (gsize) pass.margin, error)
            && allocate_kept (&pass.next, (gsize) picture->height, (gsize) pass.margin, error)
            && (! job->forward
                || process_forward (picture, job->level, job->user_data, 1, 0, options, pool, cancellable, error))
            && run_steps (&pass, job, cancellable, error);
  core_free (pass.kept.pixels);
  core_free (pass.kept.levels);
  core_free (pass.next.pixels);
  core_free (pass.next.levels);
  return success;
}

gboolean
diffusion_reverse (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *level,
                   const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  ReverseJob job = { .level = process_get_map_row, .user_data = (gpointer) level };
  gsize      pixels = (gsize) level->width * (gsize) level->height;

  if (! process_check_map (picture, level, error))
    return FALSE;
  for (gsize i = 0; i < pixels; i++)
    job.largest = MAX (job.largest, (double) level->data[i]);
  return process_reverse (model, picture, &job, options, cancellable, error);
}
