/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The whole run of a filter.  GIMP is talked to from the main thread only; the engine works on a thread of its own, and
 * meanwhile the main context goes round, so that a dialog stays alive.
 */
#include <string.h>

#include <glib/gi18n.h>

#include "cost.h"
#include "layers.h"
#include "process.h"
#include "record.h"
#include "result.h"
#include "selection.h"

/* How the progress bar is divided: until here reading, from there on writing. */
static const double READING = 0.05, WRITING = 0.95;

enum
{
  PROGRESS_MS = 100,
  /* Events to handle between two strips of rows: enough for any dialog, and an end even if a source is always ready. */
  MAX_EVENTS = 32,
  /* Room around what is selected for a checkpoint's fill to be grown into, at least. */
  GROWN_LEAST = 8
};

static const double EIGHT_BIT = 255.0;

/* The strength that the network sees: less than 1 is a matter of blending. */
static double
network_strength (const Settings *settings)
{
  return MAX (settings->strength, 1);
}

SettingsDiff
settings_compare (FilterKind kind, const Settings *a, const Settings *b)
{
  Settings comparable = *b;

  if (kind != FILTER_DENOISE)
    {
      comparable.variants = a->variants; /* the first is shown */
      if (kind == FILTER_INPAINT)
        comparable.output = a->output;
      return memcmp (a, &comparable, sizeof comparable) == 0 ? SETTINGS_SAME : SETTINGS_ENGINE;
    }
  if (a->noise != b->noise || a->steps != b->steps || a->seed != b->seed
      || network_strength (a) != network_strength (b))
    return SETTINGS_ENGINE;
  return a->strength != b->strength || a->detail != b->detail || a->colour != b->colour ? SETTINGS_BLEND
                                                                                        : SETTINGS_SAME;
}

/* A text of the configuration, or NULL if the filter has none of this name. */
static char *
get_text (const Filter *filter, GObject *config, const char *name)
{
  char *text = NULL;

  for (guint i = 0; i < filter->n_params; i++)
    if (g_str_equal (filter->params[i].name, name))
      g_object_get (config, name, &text, NULL);
  return text;
}

Job *
job_new (const Filter *filter, GObject *config, Region *region, DiffusionModel *model, const DiffusionNoise *noise)
{
  Job *job = g_new0 (Job, 1);

  g_mutex_init (&job->mutex);
  job->kind = filter->kind;
  settings_read (&job->settings, filter, config);
  job->prompt = get_text (filter, config, "prompt");
  job->negative = get_text (filter, config, "negative-prompt");
  job->region = region;
  job->model = diffusion_model_ref (model);
  if (noise && filter->kind == FILTER_DENOISE && job->settings.noise == 0)
    {
      job->noise = *noise;
      job->noise_known = TRUE;
    }
  return job;
}

void
job_free (Job *job)
{
  if (! job)
    return;
  region_free (job->region);
  diffusion_model_unref (job->model);
  diffusion_picture_free (job->original);
  diffusion_picture_free (job->engine_made);
  diffusion_picture_free (job->step);
  diffusion_picture_free (job->canvas);
  g_mutex_clear (&job->mutex);
  g_free (job->prompt);
  g_free (job->negative);
  g_free (job);
}

double
job_get_bytes (const Job *job)
{
  const Region           *region = job->region;
  const DiffusionPicture *pictures[] = { region->picture, region->mask, job->original, job->engine_made, job->canvas };
  double                  bytes = 0;

  for (guint i = 0; i < G_N_ELEMENTS (pictures); i++)
    if (pictures[i])
      bytes += (double) pictures[i]->width * pictures[i]->height * pictures[i]->channels * sizeof (float);
  return bytes;
}

DiffusionPicture *
job_take_step (Job *job)
{
  DiffusionPicture *step;

  g_mutex_lock (&job->mutex);
  step = g_steal_pointer (&job->step);
  g_mutex_unlock (&job->mutex);
  return step;
}

static void
job_progress (double fraction, gpointer data)
{
  Job *job = data;

  g_atomic_int_set (&job->permille, (int) (fraction * 1000));
}

/* One value of a picture that is reduced, at a place between its pixels. */
static float
interpolate (const DiffusionPicture *picture, float u, float v, int channel)
{
  const float  x = CLAMP (u, 0, (float) picture->width - 1), y = CLAMP (v, 0, (float) picture->height - 1);
  const int    left = (int) x, top = (int) y;
  const int    right = MIN (left + 1, picture->width - 1), bottom = MIN (top + 1, picture->height - 1);
  const int    stride = picture->width * 3;
  const float  fx = x - (float) left, fy = y - (float) top;
  const float *above = picture->data + (gsize) top * stride + channel;
  const float *below = picture->data + (gsize) bottom * stride + channel;

  return (1 - fy) * ((1 - fx) * above[left * 3] + fx * above[right * 3])
         + fy * ((1 - fx) * below[left * 3] + fx * below[right * 3]);
}

/* What lies in region->rect of a picture of the region's size, reduced as region_get_reduction () says; its caller
 * frees it.  NULL without memory. */
static DiffusionPicture *
cut_inner (const Region *region, const DiffusionPicture *picture)
{
  const int         by = region_get_reduction (region);
  const int         left = region->rect.x - region->outer.x, top = region->rect.y - region->outer.y;
  DiffusionPicture *inner
      = diffusion_picture_new ((region->rect.width - 1) / by + 1, (region->rect.height - 1) / by + 1, 3, NULL);

  for (int y = 0; inner && y < inner->height; y++)
    for (int x = 0; x < inner->width; x++)
      memcpy (inner->data + ((gsize) y * inner->width + x) * 3,
              picture->data + ((gsize) (top + y * by) * picture->width + left + x * by) * 3, 3 * sizeof (float));
  return inner;
}

/* Enlarges what a step sees of a part of the region, and puts it where something is selected.  canvas: as cut_inner ()
 * makes it. */
static void
place_step (const DiffusionStep *step, const Region *region, DiffusionPicture *canvas)
{
  const int   by = region_get_reduction (region);
  const int   left = region->rect.x - region->outer.x, top = region->rect.y - region->outer.y;
  const float scale = 1.0f / (float) step->reduction;
  const int   width = step->prediction->width * step->reduction, height = step->prediction->height * step->reduction;

  for (int j = 0; j < canvas->height; j++)
    for (int i = 0; i < canvas->width; i++)
      {
        const int    x = left + i * by, y = top + j * by;
        const float *mask = region->mask ? region->mask->data + (gsize) y * region->mask->width + x : NULL;
        float       *pixel = canvas->data + ((gsize) j * canvas->width + i) * 3;
        const float  u = ((float) (x - step->x) + 0.5f) * scale - 0.5f;
        const float  v = ((float) (y - step->y) + 0.5f) * scale - 0.5f;

        if (x < step->x || y < step->y || x >= step->x + width || y >= step->y + height || (mask && *mask <= 0))
          continue;
        for (int c = 0; c < 3; c++)
          pixel[c] = interpolate (step->prediction, u, v, c);
      }
}

/* A task may work on parts of the picture, and on reduced ones first: what is known so far is put together.  The last
 * step of one is the result, which follows at once. */
static void
job_on_step (const DiffusionStep *step, gpointer data)
{
  Job              *job = data;
  const Region     *region = job->region;
  DiffusionPicture *shown = NULL;

  g_debug ("preview: step %d of %d, reduced by %d", step->step, step->steps, step->reduction);
  if ((job->kind == FILTER_INPAINT || diffusion_model_get_checkpoint (job->model)) && step->reduction > 0)
    {
      if (! job->canvas)
        job->canvas = cut_inner (region, region->picture);
      if (job->canvas)
        {
          place_step (step, region, job->canvas);
          shown = diffusion_picture_copy (job->canvas, NULL);
        }
    }
  else if (step->steps > 1 && step->prediction->width == region->outer.width
           && step->prediction->height == region->outer.height)
    {
      shown = cut_inner (region, step->prediction);
    }
  if (! shown)
    return;
  g_mutex_lock (&job->mutex);
  diffusion_picture_free (job->step);
  job->step = shown;
  g_mutex_unlock (&job->mutex);
}

/* A selection can be too small or too ragged for a single spot that tells; then its surroundings speak for it. */
static gboolean
measure_noise (const Region *region, DiffusionNoise *noise, GError **error)
{
  if (! diffusion_estimate_noise (region->picture, region->weights, noise, error))
    return FALSE;
  return noise->spots > 0 || diffusion_estimate_noise (region->picture, NULL, noise, error);
}

static gboolean
job_denoise (Job *job, const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  if (job->settings.noise > 0)
    diffusion_noise_set_uniform (&job->noise, job->settings.noise / EIGHT_BIT);
  else if (! job->noise_known && ! measure_noise (job->region, &job->noise, error))
    return FALSE;

  if (job->previewed || job->settings.strength < 1 || job->settings.detail > 0 || job->settings.colour < 1)
    {
      job->original = diffusion_picture_copy (job->region->picture, error);
      if (! job->original)
        return FALSE;
    }
  return diffusion_denoise (job->model, job->region->picture, NULL, &job->noise, network_strength (&job->settings),
                            options, cancellable, error);
}

DiffusionInpaintOptions
process_get_inpaint_options (const Settings *settings)
{
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;

  inpaint.context = settings->context;
  inpaint.grow = settings->grow;
  inpaint.feather = settings->feather;
  inpaint.texture = settings->texture;
  return inpaint;
}

/* A new layer gets the selection as its layer mask, which then does what a soft selection does; what is shown through
 * it is made at full strength. */
static void
harden_mask (DiffusionPicture *mask)
{
  const gsize n = (gsize) mask->width * mask->height;

  for (gsize i = 0; i < n; i++)
    mask->data[i] = mask->data[i] > 0;
}

/* How far beyond the selection the result may reach. */
static int
get_reach (FilterKind kind, const Settings *settings)
{
  if (kind != FILTER_INPAINT)
    return 0;
  return settings->grow < 0 ? DIFFUSION_INPAINT_GROWN : settings->grow;
}

/* Several results cannot all go into one layer. */
static gboolean
makes_layers (const Settings *settings)
{
  return settings->output == OUTPUT_NEW_LAYER || settings->variants > 1;
}

gboolean
job_blend (Job *job, GError **error)
{
  const Settings *settings = &job->settings;
  Region         *region = job->region;

  if (! job->original)
    return TRUE;
  if (job->previewed && ! job->engine_made)
    {
      job->engine_made = region->picture;
      region->picture = diffusion_picture_new (region->outer.width, region->outer.height, 3, error);
      if (! region->picture)
        return FALSE;
    }
  return diffusion_denoise_blend (job->original, job->engine_made ? job->engine_made : region->picture,
                                  settings->strength, settings->detail, settings->colour, region->picture, error);
}

/* The network's edge is a multiple of this. */
enum
{
  SIZE_MULTIPLE = 64
};

DiffusionOptions
process_get_options (FilterKind kind, const Settings *settings, const DiffusionModel *model)
{
  const DiffusionCheckpoint *checkpoint = diffusion_model_get_checkpoint (model);
  DiffusionOptions           options = DIFFUSION_OPTIONS_INIT;

  options.steps = settings->steps;
  options.seed = settings->seed;
  if (kind == FILTER_DENOISE)
    return options;
  if (settings->sampler != SAMPLER_AUTO)
    options.sampler = settings->sampler;
  else if (checkpoint)
    options.sampler = checkpoint->sampler;
  else
    options.sampler = kind == FILTER_INPAINT ? DIFFUSION_INPAINT_SAMPLER : DIFFUSION_REGENERATE_SAMPLER;
  if (options.steps == 0 && checkpoint)
    options.steps = checkpoint->steps;
  else if (options.steps == 0)
    options.steps = kind == FILTER_INPAINT ? DIFFUSION_INPAINT_STEPS : DIFFUSION_REGENERATE_STEPS;
  options.guidance = settings->guidance;
  if (settings->size > 0)
    options.size = MAX ((settings->size + SIZE_MULTIPLE / 2) / SIZE_MULTIPLE, 1) * SIZE_MULTIPLE;
  options.prediction = settings->prediction;
  return options;
}

int
process_get_calls (FilterKind kind, const Settings *settings, const DiffusionModel *model, const DiffusionNoise *noise)
{
  gboolean any = ! noise || settings->noise > 0;

  for (int i = 0; ! any && i < DIFFUSION_NOISE_BINS; i++)
    any = noise->curve[i] > 0;
  if (kind == FILTER_DENOISE && ! any)
    return 0;
  return process_get_options (kind, settings, model).steps + (kind == FILTER_DENOISE && settings->strength > 1);
}

int
process_count_floats (FilterKind kind, const Settings *settings, const DiffusionModel *model, gboolean masked)
{
  const DiffusionOptions options = process_get_options (kind, settings, model);
  int                    pictures = 1, maps = 0;

  if (options.steps > 1)
    {
      /* The reverse process keeps the levels of the start, unless they are a function of the mask, and the prediction
       * before. */
      maps += kind == FILTER_DENOISE;
      pictures += options.sampler == DIFFUSION_SAMPLER_DPMPP_2M;
    }
  /* Regenerating holds the original's composition, by a difference that is blurred. */
  if (kind == FILTER_REGENERATE)
    {
      pictures += settings->structure > 0 ? 2 : 0;
      maps += masked;
    }
  else
    {
      /* The original, for what is mixed with it, and the first call's result, for what is mixed with the second's. */
      pictures += settings->strength < 1 || settings->detail > 0 || settings->colour < 1;
      pictures += settings->strength > 1;
    }
  return 3 * pictures + maps;
}

gboolean
job_compute (Job *job, GCancellable *cancellable, GError **error)
{
  DiffusionOptions        options = process_get_options (job->kind, &job->settings, job->model);
  DiffusionInpaintOptions inpaint;
  gboolean                any;

  if (! region_prepare (job->region, job->kind != FILTER_INPAINT, &any, error))
    return FALSE;
  if (! any)
    return TRUE;

  /* A preview of a fill has no layer mask that would soften it again. */
  if (job->region->mask && makes_layers (&job->settings) && ! (job->previewed && job->kind == FILTER_INPAINT))
    harden_mask (job->region->mask);

  options.prompt = job->prompt;
  options.negative = job->negative;
  options.origin_x = job->region->outer.x;
  options.origin_y = job->region->outer.y;
  options.progress = job_progress;
  options.progress_data = job;
  if (job->previewed)
    {
      options.on_step = job_on_step;
      options.step_data = job;
    }

  switch (job->kind)
    {
    case FILTER_DENOISE:
      return job_denoise (job, &options, cancellable, error);
    case FILTER_INPAINT:
      inpaint = process_get_inpaint_options (&job->settings);
      return diffusion_inpaint (job->model, job->region->picture, job->region->mask, &inpaint, &options, cancellable,
                                error);
    case FILTER_REGENERATE:
      return diffusion_regenerate (job->model, job->region->picture, job->region->mask, job->settings.strength,
                                   job->settings.structure, &options, cancellable, error);
    }
  g_return_val_if_reached (FALSE);
}

gboolean
process_estimate (Region *region, DiffusionNoise *noise, GError **error)
{
  gboolean any;

  diffusion_noise_set_uniform (noise, 0);
  if (! region_prepare (region, TRUE, &any, error))
    return FALSE;
  return ! any || measure_noise (region, noise, error);
}

DiffusionModel *
process_load_model (const Filter *filter, const char *name, GCancellable *cancellable, GError **error)
{
  g_autofree char *path = diffusion_model_find (filter_get_model (filter, name), error);

  return path ? diffusion_model_load_cancellable (path, cancellable, error) : NULL;
}

/* How far around what is selected a checkpoint looks. */
static int
get_checkpoint_margin (FilterKind kind, const Settings *settings, const DiffusionModel *model,
                       const GeglRectangle *selected)
{
  const DiffusionOptions options = process_get_options (kind, settings, model);
  const int              grown = MAX (settings->grow, GROWN_LEAST);

  return diffusion_model_get_reach (model, selected->width + 2 * grown, selected->height + 2 * grown, &options);
}

GeglRectangle
process_get_outer (FilterKind kind, const Settings *settings, const DiffusionModel *model,
                   const GeglRectangle *selected)
{
  const int by = get_checkpoint_margin (kind, settings, model, selected) + get_reach (kind, settings);

  return (GeglRectangle){ selected->x - by, selected->y - by, selected->width + 2 * by, selected->height + 2 * by };
}

Region *
process_make_region (const Filter *filter, HostDrawable drawable, const Settings *settings, const DiffusionModel *model,
                     const GeglRectangle *view, gboolean with_weights, GError **error)
{
  const gboolean          whole = diffusion_model_get_checkpoint (model) != NULL;
  int                     margin = diffusion_model_get_margin (model);
  DiffusionInpaintOptions inpaint;
  g_autoptr (Region) region = NULL;

  /* A checkpoint sees all that is selected at once: part of it would come out otherwise. */
  if (whole)
    {
      GeglRectangle selected;

      if (! selection_find (drawable, &selected, error))
        return NULL;
      margin = get_checkpoint_margin (filter->kind, settings, model, &selected);
      view = NULL;
    }
  if (filter->kind == FILTER_INPAINT)
    {
      inpaint = process_get_inpaint_options (settings);
      return region_new_hole (drawable, view, &inpaint, whole ? margin : 0, error);
    }
  region = view ? region_new_view (drawable, view, margin, error)
                : region_new_selected (drawable, margin, with_weights, error);
  if (region && filter->kind == FILTER_REGENERATE)
    {
      region->final = ! makes_layers (settings);
      region_heed_selection (region);
    }
  return g_steal_pointer (&region);
}

/* ---- running ---------------------------------------------------------------------------------------------- */

typedef struct _Run Run;

/* On a thread. */
typedef gboolean (*RunWork) (Run *run, GCancellable *cancellable, GError **error);

struct _Run
{
  const Filter   *filter;
  GObject        *config;
  Job            *job;
  RunWork         work;
  gboolean        unread; /* there is more of the region to be read */
  ProcessProgress progress;
  gpointer        data;
  GCancellable   *cancellable;
  double          start, end; /* of the present stage, in the progress bar */
  GError         *error;      /* of the engine */
  gboolean        done;
};

static gboolean
run_tick (double fraction, gpointer data, GError **error)
{
  Run *run = data;

  run->progress (run->start + (run->end - run->start) * fraction, run->data);
  for (int i = 0; i < MAX_EVENTS && g_main_context_iteration (NULL, FALSE); i++)
    continue;
  return ! g_cancellable_set_error_if_cancelled (run->cancellable, error);
}

static gboolean
run_show_progress (gpointer data)
{
  Run *run = data;

  run->progress (run->start + (run->end - run->start) * g_atomic_int_get (&run->job->permille) / 1000, run->data);
  return G_SOURCE_CONTINUE;
}

static gboolean
work_on_find (Run *run, GCancellable *cancellable, GError **error)
{
  return region_find (run->job->region, cancellable, &run->unread, error);
}

static gboolean
work_on_job (Run *run, GCancellable *cancellable, GError **error)
{
  return job_compute (run->job, cancellable, error) && job_blend (run->job, error);
}

static gboolean
work_on_noise (Run *run, GCancellable *cancellable, GError **error)
{
  return process_estimate (run->job->region, &run->job->noise, error);
}

static void
run_work (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Run    *run = data;
  GError *error = NULL;

  if (run->work (run, cancellable, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

static void
run_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Run *run = data;

  g_task_propagate_boolean (G_TASK (result), &run->error);
  run->done = TRUE;
}

static gboolean
run_compute (Run *run, RunWork work, GError **error)
{
  GTask *task = g_task_new (NULL, run->cancellable, run_done, run);
  guint  timer = g_timeout_add (PROGRESS_MS, run_show_progress, run);

  if (work != work_on_find)
    g_debug ("run: computes");
  run->work = work;
  run->done = FALSE;
  g_task_set_task_data (task, run, NULL);
  g_task_run_in_thread (task, run_work);
  g_object_unref (task);
  while (! run->done)
    g_main_context_iteration (NULL, TRUE);
  g_source_remove (timer);

  if (! run->error)
    return TRUE;
  g_propagate_error (error, run->error);
  return FALSE;
}

static gboolean
run_read (Run *run, GError **error)
{
  Region *region = run->job->region;

  while (run_compute (run, work_on_find, error))
    {
      if (! run->unread)
        return TRUE;
      for (gboolean done = FALSE; ! done;)
        if (! region_read_strip (region, &done, error)
            || ! run_tick (region->picture ? (double) region->rows / region->outer.height : 0, run, error))
          return FALSE;
    }
  return FALSE;
}

/* Computes one result after the other, each from the picture that was read and with a seed of its own, and makes a
 * layer of each. */
static gboolean
run_layers (Run *run, GArray *layers, GError **error)
{
  const Filter *filter = run->filter;
  Job          *job = run->job;
  Region       *region = job->region;
  const int     n = MAX (job->settings.variants, 1);
  const int     first = job->settings.seed;
  const gsize   bytes = (gsize) region->outer.width * region->outer.height * 3 * sizeof (float);
  g_autoptr (DiffusionPicture) original = NULL;

  if (n > 1 && ! (original = diffusion_picture_copy (region->picture, error)))
    return FALSE;
  for (int i = 0; i < n; i++)
    {
      g_autofree char *name = NULL;
      HostLayer        layer;

      if (i > 0)
        memcpy (region->picture->data, original->data, bytes);
      job->settings.seed = first > G_MAXINT32 - i ? first - (G_MAXINT32 - i) - 1 : first + i;
      g_atomic_int_set (&job->permille, 0);
      run->start = READING + (WRITING - READING) * i / n;
      run->end = READING + (WRITING - READING) * (i + 1) / n;
      if (! run_compute (run, work_on_job, error))
        return FALSE;

      run->start = run->end;
      /* Translators: the name of a new layer: what was done, and with which start of the random numbers. */
      name = n > 1 ? g_strdup_printf (C_ ("layer", "%s, seed %d"), g_dpgettext2 (NULL, "layer", filter->layer),
                                      job->settings.seed)
                   : g_strdup (g_dpgettext2 (NULL, "layer", filter->layer));
      g_debug ("run: makes a layer");
      layer = layers_make (region, name, run_tick, run, error);
      if (layer == HOST_NONE)
        return FALSE;
      record_attach (GIMP_DRAWABLE (layer), filter, run->config, job->settings.seed);
      g_array_append_val (layers, layer);
    }
  return TRUE;
}

static gboolean
run_as_layers (Run *run, GError **error)
{
  g_autoptr (GArray) layers = g_array_new (FALSE, FALSE, sizeof (HostLayer));

  /* Nothing is in the image before all is there.  The masks are made of what is selected at that moment. */
  if (! run_layers (run, layers, error)
      || ! region_check_pixels (run->job->region, run->job->region->strips, run_tick, run, error)
      || ! region_check_unchanged (run->job->region, error)
      || ! region_check_lock (run->job->region->drawable, TRUE, error)
      || ! layers_check (run->job->region->drawable, layers->len > 1, error))
    {
      for (guint i = 0; i < layers->len; i++)
        layers_discard (g_array_index (layers, HostLayer, i));
      return FALSE;
    }
  return layers_insert (run->job->region, (HostLayer *) (void *) layers->data, layers->len,
                        get_reach (run->filter->kind, &run->job->settings), error);
}

/* The record belongs to the same undo step. */
static gboolean
write_result (Run *run, Result *result, GError **error)
{
  const Region *region = run->job->region;
  HostImage     image;
  gboolean      success;

  /* An undo step without a change would cost the user what can be redone. */
  if (! result_check (result, region, run_tick, run, error))
    return FALSE;
  image = gimp_item_get_image (GIMP_ITEM (region->drawable));
  gimp_image_undo_group_start (image);
  success = result_write (result, region, error);
  if (success)
    record_attach (region->drawable, run->filter, run->config, run->job->settings.seed);
  gimp_image_undo_group_end (image);
  return success;
}

static gboolean
run_in_place (Run *run, GError **error)
{
  Region *region = run->job->region;
  g_autoptr (Result) result = NULL;

  run->start = READING;
  run->end = WRITING;
  /* GIMP shows an error of its own to whoever asks for what is no more. */
  if (! run_compute (run, work_on_job, error) || ! region_check_unchanged (region, error))
    return FALSE;
  run->start = WRITING;
  run->end = 1;
  result = result_new (region, &region->rect, error);
  return result && result_add (result, region, run_tick, run, error) && write_result (run, result, error);
}

/* ---- large layers ----------------------------------------------------------------------------------------- */

int
process_get_band (const Filter *filter, const Settings *settings, const DiffusionModel *model, int width, int height,
                  int *margin)
{
  /* What a band's result depends on: the network looks that far in each of its calls. */
  *margin = diffusion_model_get_margin (model) * process_get_calls (FILTER_DENOISE, settings, model, NULL);
  if (filter->kind != FILTER_DENOISE || makes_layers (settings) || (gint64) width * height <= REGION_WHOLE_MOST)
    return 0;
  return cost_get_band (width, height, *margin);
}

/* Sets noise, unless it is known. */
static gboolean
estimate_for_bands (Run *run, HostDrawable drawable, DiffusionModel *model, DiffusionNoise *noise, GError **error)
{
  Region  *region = region_new_sample (drawable, diffusion_model_get_margin (model), error);
  gboolean success;

  if (! region)
    return FALSE;
  run->job = job_new (run->filter, run->config, region, model, NULL);
  success = run_read (run, error) && run_compute (run, work_on_noise, error);
  *noise = run->job->noise;
  g_clear_pointer (&run->job, job_free);
  return success;
}

/* One band: read, computed, and put into the result. */
static gboolean
run_band (Run *run, double start, double end, Result *result, GError **error)
{
  Region *region = run->job->region;

  run->start = start;
  run->end = start + (end - start) * READING;
  if (! run_read (run, error))
    return FALSE;
  run->start = run->end;
  run->end = start + (end - start) * WRITING;
  if (! run_compute (run, work_on_job, error))
    return FALSE;
  run->start = run->end;
  run->end = end;
  return result_add (result, region, run_tick, run, error);
}

static gboolean
run_in_bands (Run *run, HostDrawable drawable, DiffusionModel *model, const DiffusionNoise *given, int rows, int margin,
              double *noise_used, GError **error)
{
  Settings       settings;
  DiffusionNoise noise;
  gboolean       success;
  /* What is selected now, for whatever users do until the last band. */
  g_autoptr (Region) whole = region_new_selected (drawable, 0, FALSE, error);
  g_autoptr (Result) result = NULL;

  if (! whole)
    return FALSE;
  result = result_new (whole, &whole->rect, error);
  if (! result)
    return FALSE;
  settings_read (&settings, run->filter, run->config);
  if (settings.noise == 0 && given)
    noise = *given;
  else if (settings.noise > 0)
    diffusion_noise_set_uniform (&noise, settings.noise / EIGHT_BIT);
  else if (! estimate_for_bands (run, drawable, model, &noise, error))
    return FALSE;

  for (int y = 0; y < whole->rect.height; y += rows)
    {
      const int height = MIN (rows, whole->rect.height - y);
      Region   *region = region_new_band (whole, y, height, margin);

      run->job = job_new (run->filter, run->config, region, model, &noise);
      success = region_check_unchanged (region, error) && region_check_lock (drawable, FALSE, error)
                && run_band (run, READING + (1 - READING) * y / whole->rect.height,
                             READING + (1 - READING) * (y + height) / whole->rect.height, result, error);
      whole->visible |= region->visible;
      success = success
                && (y + height < whole->rect.height
                    || (region_check_visible (whole, error) && write_result (run, result, error)));
      g_clear_pointer (&run->job, job_free);
      if (! success)
        return FALSE;
    }
  *noise_used = noise.sigma * EIGHT_BIT;
  return TRUE;
}

gboolean
process_check (const Filter *filter, HostDrawable drawable, GObject *config, GError **error)
{
  Settings settings;

  settings_read (&settings, filter, config);
  return region_check (drawable, error) && region_check_lock (drawable, makes_layers (&settings), error)
         && selection_check (drawable, filter->kind == FILTER_INPAINT, NULL, error)
         && (! makes_layers (&settings) || layers_check (drawable, settings.variants > 1, error));
}

gboolean
process_run (const Filter *filter, HostDrawable drawable, GObject *config, DiffusionModel *model,
             const DiffusionNoise *noise, ProcessProgress progress, gpointer data, GCancellable *cancellable,
             double *noise_used, GError **error)
{
  g_autoptr (Job) job = NULL;
  Run run = {
    .filter = filter, .config = config, .progress = progress, .data = data, .cancellable = cancellable, .end = READING
  };
  Settings      settings;
  Region       *region;
  GeglRectangle selected;
  int           rows, margin;

  settings_read (&settings, filter, config);
  /* Users go on working while a dialog is open. */
  if (! process_check (filter, drawable, config, error) || ! selection_find (drawable, &selected, error))
    return FALSE;
  rows = process_get_band (filter, &settings, model, selected.width, selected.height, &margin);
  if (rows > 0)
    return run_in_bands (&run, drawable, model, noise, rows, margin, noise_used, error);
  region = process_make_region (filter, drawable, &settings, model, NULL,
                                filter->kind == FILTER_DENOISE && settings.noise == 0 && ! noise, error);
  if (! region)
    return FALSE;
  run.job = job = job_new (filter, config, region, model, noise);

  /* An undo step without a change would cost the user what can be redone. */
  if (! run_read (&run, error) || ! region_check_visible (region, error)
      || ! (makes_layers (&settings) ? run_as_layers (&run, error) : run_in_place (&run, error)))
    return FALSE;
  *noise_used = job->noise.sigma * EIGHT_BIT;
  return TRUE;
}

GimpPDBStatusType
process_get_status (const GError *error)
{
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return GIMP_PDB_CANCEL;
  if (g_error_matches (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT))
    return GIMP_PDB_CALLING_ERROR;
  return GIMP_PDB_EXECUTION_ERROR;
}
