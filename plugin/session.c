/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What happens while the dialog is open.  For denoising, first the selected region is read, strip by strip between
 * events, and its noise is estimated on a thread; from then on the preview computes.  Then the run, with the dialog as
 * its progress window.
 */
#include <string.h>

#include <glib/gi18n.h>

#include "cost.h"
#include "foretell.h"
#include "process.h"
#include "selection.h"
#include "session.h"
#include "sight.h"
#include "ui/dialog.h"
#include "ui/preview.h"
#include "ui/relay.h"

typedef struct
{
  const Filter   *filter;
  HostDrawable    drawable;
  RegionScreen    screen; /* on which the preview is painted */
  GObject        *config;
  DiffusionModel *model;
  GtkWidget      *window;
  UiDialog       *dialog;
  UiPreview      *preview;
  Settings        settings; /* that the preview knows of */

  gboolean       preparing, stopping;
  gboolean       prepared; /* the rest is known */
  gboolean       estimated;
  Selection      measured; /* what was selected when the estimate was begun, */
  Sight          sight;    /* and its pixels */
  DiffusionNoise noise;
  Pace           pace;
  double         fill_seconds;            /* that the preview took to fill all holes; 0: not known */
  double         fill_bytes, fill_pixels; /* that it had, and worked on */
  Foretelling   *foretelling;             /* of a checkpoint's costs */
  double         held;                    /* bytes of what the preview shows, which it lets go of before a run */
  double         slowness;                /* of a checkpoint's preview, against what was foretold; 0: not known */
  gboolean       prompt_cut;              /* the model does not read all of the prompts */
  gboolean       prompt_known;            /* whether it does: of these prompts and this model */
  gboolean       previewed;               /* with the present settings */

  char         *used_name;     /* that the model was loaded for */
  char         *model_name;    /* that one is being loaded for, or was, or failed to be */
  GCancellable *loading;       /* of the model that is being loaded; NULL: none is */
  char         *model_trouble; /* why the named model cannot be used; NULL: it can */

  gboolean computing; /* the preview */
  char    *trouble;   /* why there is no preview, or no estimate */

  GCancellable *cancellable;
  gboolean      running;          /* the dialog is the run's */
  gint64        start, cancelled; /* of the run */
} Session;

static const double EIGHT_BIT = 255.0, MEGABYTE = 1e6;

/* What the preview is painted from. */
static const char SHOWN_FORMAT[] = "R'G'B'A u8";

enum
{
  TELLING_PIXELS = 100000
};

/* ---- what it will cost ------------------------------------------------------------------------------------ */

/* Whether the noise was estimated, or is being so, of what is selected now, as it looks now. */
static gboolean
estimate_holds (const Session *session, const Selection *now)
{
  return session->filter->kind != FILTER_DENOISE
         || (selection_equal (now, &session->measured) && sight_holds (&session->sight, session->drawable));
}

/* Of what the engine does; FALSE if it is not known yet. */
static gboolean
get_work_cost (Session *session, Cost *cost)
{
  const Settings *settings = &session->settings;
  const int       margin = diffusion_model_get_margin (session->model);
  Selection       selected = { .bounds.width = 0 };
  GeglRectangle   rect;
  int             band, band_margin;

  if (diffusion_model_get_checkpoint (session->model))
    {
      if (! session->foretelling || ! foretell (session->foretelling, session->model, settings, cost))
        return FALSE;
      cost->seconds *= MAX (settings->variants, 1) * (session->slowness > 0 ? session->slowness : 1);
      cost->bytes -= session->held;
      return TRUE;
    }

  /* The time of inpainting is that of its holes: known when the preview has filled them all. */
  if (session->filter->kind == FILTER_INPAINT && session->fill_seconds > 0)
    {
      cost_estimate_fill (cost, session->fill_pixels, session->fill_seconds, session->fill_bytes, settings->variants);
      return TRUE;
    }
  if (session->prepared && session->pace.pixel > 0 && session->filter->kind != FILTER_INPAINT)
    selected = selection_look (session->drawable);
  rect = selected.bounds;
  if (rect.width == 0)
    return FALSE;

  const GeglRectangle layer
      = { 0, 0, gimp_drawable_get_width (session->drawable), gimp_drawable_get_height (session->drawable) };
  GeglRectangle outer = { rect.x - margin, rect.y - margin, rect.width + 2 * margin, rect.height + 2 * margin };

  gegl_rectangle_intersect (&outer, &outer, &layer);
  band = process_get_band (session->filter, settings, session->model, rect.width, rect.height, &band_margin);
  cost_estimate (
      cost, &session->pace, outer.width, outer.height, band, band_margin,
      process_get_calls (session->filter->kind, settings, session->model, session->estimated ? &session->noise : NULL),
      process_count_floats (session->filter->kind, settings, session->model, selected.any));
  cost->bytes -= session->held;
  return TRUE;
}

static gboolean
get_cost (Session *session, Cost *cost)
{
  Selection selected;

  if (! get_work_cost (session, cost))
    return FALSE;
  /* A layer that is gone has none. */
  selected = selection_look (session->drawable);
  if (selected.bounds.width > 0)
    cost_add_result (cost, (double) selected.bounds.width * selected.bounds.height,
                     babl_format_get_bytes_per_pixel (gimp_drawable_get_format (session->drawable)));
  return TRUE;
}

/* Whether a checkpoint's prompts are longer than what it reads of them: for that all their words are looked up, which
 * is too much for every change of a setting. */
static gboolean
is_prompt_cut (Session *session)
{
  g_autofree char *prompt = NULL, *negative = NULL;

  if (session->prompt_known)
    return session->prompt_cut;
  g_object_get (session->config, "prompt", &prompt, "negative-prompt", &negative, NULL);
  session->prompt_cut = diffusion_model_count_dropped (session->model, prompt) > 0
                        || diffusion_model_count_dropped (session->model, negative) > 0;
  session->prompt_known = TRUE;
  return session->prompt_cut;
}

/* What the filter will need, or NULL if that is not known. */
static char *
describe_cost (Session *session)
{
  g_autofree char *time = NULL, *size = NULL, *text = NULL;
  const char      *more = NULL;
  Cost             cost;

  /* A fill's time is that of the last preview, which had other settings if it is switched off now. */
  if ((session->filter->kind == FILTER_INPAINT && ! diffusion_model_get_checkpoint (session->model)
       && ! session->previewed)
      || ! get_cost (session, &cost))
    return NULL;
  time = cost_format_time (cost.seconds);
  size = g_format_size ((guint64) cost.bytes);
  /* Translators: what the filter will need, as in "About 1 min 5 s and 310.2 MB of memory for all that is selected". */
  text = g_strdup_printf (C_ ("status", "About %s and %s of memory for all that is selected."), time, size);
  if (diffusion_model_get_checkpoint (session->model) && is_prompt_cut (session))
    more = C_ ("status", "The text prompt is too long: its end is left out.");
  else if (diffusion_model_get_checkpoint (session->model) && ! session->previewed)
    more = C_ ("status", "Switch the preview on to see it before.");
  return more ? g_strdup_printf ("%s %s", text, more) : g_steal_pointer (&text);
}

/* Shows what is most worth knowing at this moment, and whether OK can be pressed, while there is no run. */
static void
update_status (Session *session)
{
  g_autofree char *cost = NULL;
  const char      *text;

  if (session->running)
    return;
  gtk_dialog_set_response_sensitive (GTK_DIALOG (session->window), GTK_RESPONSE_OK,
                                     ! session->loading && ! session->model_trouble);
  if (session->loading)
    text = C_ ("status", "Loading the model...");
  else if (session->model_trouble)
    text = session->model_trouble;
  else if (session->preparing)
    text = C_ ("status", "Estimating the noise...");
  else if (session->computing)
    text = C_ ("status", "Computing the preview...");
  else if (session->trouble)
    text = session->trouble;
  else
    text = cost = describe_cost (session);
  ui_dialog_set_status (session->dialog, text);
}

static void
cost_known (gpointer session)
{
  update_status (session);
}

static void
set_trouble (Session *session, const GError *error)
{
  g_free (session->trouble);
  session->trouble = error ? g_strdup (error->message) : NULL;
}

/* ---- before a preview ------------------------------------------------------------------------------------- */

/* A region whose noise is estimated, for which all that is selected is read. */
typedef struct
{
  Session        *session;
  Region         *region;
  DiffusionModel *model;
  DiffusionNoise  noise;
  gboolean        measured; /* the model's pace is asked for */
  Pace            pace;
} Preparation;

static gboolean
prepare_think (gpointer data, GCancellable *cancellable, gboolean *more, GError **error)
{
  Preparation *preparation = data;

  return region_find (preparation->region, cancellable, more, error)
         && (*more
             || (process_estimate (preparation->region, &preparation->noise, error)
                 && (! preparation->measured
                     || pace_measure (&preparation->pace, preparation->model, cancellable, error))));
}

static gboolean
prepare_read (gpointer data, gboolean *done, GError **error)
{
  Preparation *preparation = data;
  Session     *session = preparation->session;

  if (session->stopping)
    {
      g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, C_ ("status", "Cancelled."));
      return FALSE;
    }
  if (! region_read_strip (preparation->region, done, error))
    return FALSE;
  /* Else it is another model's that will be wanted, which is being measured on the same processor. */
  preparation->measured = ! session->loading && session->pace.pixel == 0;
  return TRUE;
}

static void
prepare_end (gpointer data, const GError *error)
{
  Preparation *preparation = data;
  Session     *session = preparation->session;

  session->noise = preparation->noise;
  /* Another model has a pace of its own. */
  if (preparation->model == session->model && session->pace.pixel == 0)
    session->pace = preparation->pace;
  region_free (preparation->region);
  diffusion_model_unref (preparation->model);
  g_free (preparation);

  session->preparing = FALSE;
  session->prepared = session->estimated = ! error;
  if (g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    return;
  set_trouble (session, error);
  update_status (session);
  if (session->estimated)
    ui_dialog_set_estimate (session->dialog, session->noise.sigma * EIGHT_BIT);
  ui_preview_invalidate (session->preview, UI_PREVIEW_COMPUTE);
}

static const UiRelayWork preparing = { prepare_think, prepare_read, prepare_end };

static gboolean
prepare_start (Session *session, GError **error)
{
  Preparation *preparation;
  Region      *region;

  if (session->filter->kind != FILTER_DENOISE)
    {
      session->prepared = TRUE;
      return TRUE;
    }
  session->prepared = session->estimated = FALSE;
  session->measured = selection_look (session->drawable);
  session->sight = sight_take (session->drawable, &session->measured.bounds);
  region = region_new_sample (session->drawable, diffusion_model_get_margin (session->model), error);
  if (! region)
    return FALSE;
  preparation = g_new0 (Preparation, 1);
  preparation->session = session;
  preparation->region = region;
  preparation->model = diffusion_model_ref (session->model);
  session->preparing = TRUE;
  ui_relay_run (&preparing, preparation, session->cancellable);
  update_status (session);
  return TRUE;
}

/* Reads no more, and waits for the threads, which have at most a few seconds of work left. */
static void
prepare_stop (Session *session)
{
  session->stopping = TRUE;
  g_cancellable_cancel (session->loading);
  while (session->preparing || session->loading)
    g_main_context_iteration (NULL, TRUE);
  g_clear_pointer (&session->foretelling, foretelling_free);
}

/* ---- another model ---------------------------------------------------------------------------------------- */

static void load_start (Session *session);

typedef struct
{
  const Filter   *filter;
  char           *name;
  gboolean        measured; /* its pace is asked for */
  DiffusionModel *model;
  Pace            pace;
} Load;

static void
load_free (gpointer data)
{
  Load *load = data;

  g_free (load->name);
  diffusion_model_unref (load->model);
  g_free (load);
}

static void
load_work (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Load   *load = data;
  GError *error = NULL;

  load->model = process_load_model (load->filter, load->name, cancellable, &error);
  if (load->model)
    cost_warm_up (load->model);
  if (load->model && (! load->measured || pace_measure (&load->pace, load->model, cancellable, &error)))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

/* The dialog as it suits the model.  What a checkpoint computes takes its time: it waits until it is asked for. */
static void
show_model (Session *session)
{
  const gboolean checkpoint = diffusion_model_get_checkpoint (session->model) != NULL;

  g_debug ("model: %s", checkpoint ? "a checkpoint" : "of this program");
  ui_dialog_set_checkpoint (session->dialog, checkpoint);
  ui_preview_set_manual (session->preview, checkpoint);
  session->slowness = session->fill_seconds = 0;
  session->previewed = FALSE;
}

/* The model in use is wanted after all. */
static void
keep_model (Session *session)
{
  g_free (session->model_name);
  session->model_name = g_strdup (session->used_name);
  g_clear_pointer (&session->model_trouble, g_free);
  /* What has waited goes on. */
  ui_preview_invalidate (session->preview, UI_PREVIEW_BLEND);
}

static void
load_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Session *session = data;
  Load    *load = g_task_get_task_data (G_TASK (result));
  g_autoptr (GError) error = NULL;

  g_task_propagate_boolean (G_TASK (result), &error);
  if (g_cancellable_is_cancelled (session->loading))
    {
      keep_model (session);
    }
  else if (error)
    {
      session->model_trouble = g_strdup (error->message);
    }
  else
    {
      diffusion_model_unref (session->model);
      session->model = diffusion_model_ref (load->model);
      session->pace = load->pace;
      session->prompt_known = FALSE;
      g_free (session->used_name);
      session->used_name = g_strdup (session->model_name);
      set_trouble (session, NULL);
      ui_preview_invalidate (session->preview, UI_PREVIEW_COMPUTE);
      show_model (session);
    }
  g_clear_object (&session->loading);
  load_start (session);
  update_status (session);
}

/* Loads the model that the configuration names now, if it is another one; one at a time: the one before is given up
 * first. */
static void
load_start (Session *session)
{
  g_autofree char *name = NULL;
  Load            *load;
  GTask           *task;

  g_object_get (session->config, "model", &name, NULL);
  if (! name)
    name = g_strdup ("");
  if (session->stopping || g_str_equal (name, session->model_name))
    return;
  if (session->loading)
    {
      g_cancellable_cancel (session->loading);
      return;
    }
  if (g_str_equal (name, session->used_name))
    {
      keep_model (session);
      update_status (session);
      return;
    }
  g_clear_pointer (&session->model_trouble, g_free);
  g_free (session->model_name);
  session->model_name = g_strdup (name);
  session->loading = g_cancellable_new ();
  load = g_new0 (Load, 1);
  load->filter = session->filter;
  load->name = g_strdup (session->model_name);
  load->measured = session->filter->kind == FILTER_DENOISE;
  task = g_task_new (NULL, session->loading, load_done, session);
  g_task_set_task_data (task, load, load_free);
  g_task_run_in_thread (task, load_work);
  g_object_unref (task);
  update_status (session);
}

/* ---- the preview ------------------------------------------------------------------------------------------ */

/* A job and what of it is to be seen: its result, or one of its steps. */
typedef struct
{
  Job                    *job;
  Selection               selected; /* when it was begun, */
  Sight                   sight;    /* and what it is made from */
  DiffusionPicture       *step;
  const DiffusionPicture *seen;            /* NULL: nothing yet */
  double                  seconds, pixels; /* that the engine took, and worked on */
  double                  work;            /* seconds that it would have taken alone, by its own clock */
  double                  peak;            /* bytes that the process had meanwhile */
} Crop;

/* A view is computed as a whole, where a run goes in bands or takes only what is selected.  (That is what a
 * checkpoint's preview does, too.) */
static gboolean
check_size (const Session *session, const GeglRectangle *rect, GError **error)
{
  if (diffusion_model_get_checkpoint (session->model) || (gint64) rect->width * rect->height <= REGION_WHOLE_MOST)
    return TRUE;
  g_set_error_literal (
      error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY,
      C_ ("error", "So large a layer is not previewed as a whole; to see a part of it, choose 100 %."));
  return FALSE;
}

static gpointer
preview_begin (const GdkRectangle *visible, gpointer data, GError **error)
{
  Session            *session = data;
  const GeglRectangle rect = { visible->x, visible->y, visible->width, visible->height };
  Selection           selected;
  Region             *region;
  Crop               *crop;

  if (session->stopping || session->preparing || session->loading || session->model_trouble)
    return NULL;
  /* Users go on working while the dialog is open. */
  if (! region_check (session->drawable, error) || ! region_check_view (session->drawable, &rect, error))
    return NULL;
  selected = selection_look (session->drawable);
  /* The preview is asked for again when the noise of what there is now is known. */
  if (! estimate_holds (session, &selected))
    {
      prepare_start (session, error);
      return NULL;
    }
  if (! session->prepared || ! check_size (session, &rect, error))
    return NULL;

  region = process_make_region (session->filter, session->drawable, &session->settings, session->model, &rect, FALSE,
                                error);
  if (! region)
    return NULL;
  crop = g_new0 (Crop, 1);
  session->previewed = FALSE;
  crop->selected = selected;
  crop->sight = sight_take (session->drawable, &region->outer);
  crop->job = job_new (session->filter, session->config, region, session->model, &session->noise);
  crop->job->previewed = TRUE;
  return crop;
}

static gboolean
preview_find (gpointer data, GCancellable *cancellable, gboolean *more, GError **error)
{
  return region_find (((Crop *) data)->job->region, cancellable, more, error);
}

static gboolean
preview_read (gpointer data, gboolean *done, GError **error)
{
  return region_read_strip (((Crop *) data)->job->region, done, error);
}

static gboolean
preview_compute (gpointer data, GCancellable *cancellable, GError **error)
{
  Crop                *crop = data;
  const GeglRectangle *outer = &crop->job->region->outer;
  gint64               start;
  double               worked;
  gboolean             success;

  /* Denoising has measured its pace; checkpoints have a way of their own to tell it. */
  if (crop->job->kind != FILTER_DENOISE && ! diffusion_model_get_checkpoint (crop->job->model)
      && ! pace_warm_up (crop->job->model, cancellable, error))
    return FALSE;
  cost_reset_peak ();
  start = g_get_monotonic_time ();
  worked = diffusion_get_work_seconds ();
  success = job_compute (crop->job, cancellable, error);
  crop->peak = cost_get_peak ();
  crop->work = diffusion_get_work_seconds () - worked;
  crop->seconds = (g_get_monotonic_time () - start) / (double) G_USEC_PER_SEC;
  crop->pixels = (double) outer->width * outer->height;
  return success;
}

static void
preview_adjust (gpointer data, gpointer session)
{
  ((Crop *) data)->job->settings = ((Session *) session)->settings;
}

static gboolean
preview_blend (gpointer data, GError **error)
{
  return job_blend (((Crop *) data)->job, error);
}

/* A checkpoint's crop is all that is selected, whatever is seen. */
static gboolean
preview_covers (gpointer data, const GdkRectangle *visible, gpointer session)
{
  const GeglRectangle rect = { visible->x, visible->y, visible->width, visible->height };

  if (diffusion_model_get_checkpoint (((Crop *) data)->job->model))
    return TRUE;
  return gegl_rectangle_contains (&((Crop *) data)->job->region->rect, &rect);
}

/* The user may have selected more or less meanwhile, or changed the pixels. */
static gboolean
preview_holds (gpointer data, gpointer session)
{
  const Crop        *crop = data;
  const HostDrawable drawable = ((Session *) session)->drawable;
  const Selection    selected = selection_look (drawable);

  return selection_equal (&selected, &crop->selected) && sight_holds (&crop->sight, drawable)
         && estimate_holds (session, &selected);
}

static double
preview_look (gpointer data, gboolean *fresh)
{
  Crop             *crop = data;
  DiffusionPicture *step = fresh ? job_take_step (crop->job) : NULL;

  if (fresh)
    *fresh = step != NULL;
  if (step)
    {
      diffusion_picture_free (crop->step);
      crop->seen = crop->step = step;
    }
  return g_atomic_int_get (&crop->job->permille) / 1000.0;
}

static gboolean
preview_render (gpointer data, const GdkRectangle *rows, guchar *rgba, gpointer session, GError **error)
{
  const GeglRectangle part = { rows->x, rows->y, rows->width, rows->height };
  RegionScreen       *screen = &((Session *) session)->screen;
  const gsize         pixel = babl_format_get_bytes_per_pixel (screen->format), stride = pixel * part.width;
  const Crop         *crop = data;
  GeglRectangle       inner;

  if (crop && crop->seen && gegl_rectangle_contains (&crop->job->region->rect, &part))
    return region_render (crop->job->region, crop->seen, &part, screen, rgba, stride, error);
  if (! region_render_original (screen, &part, rgba, stride, error))
    return FALSE;
  /* What has been computed lies within what is seen. */
  return ! crop || ! crop->seen || ! gegl_rectangle_intersect (&inner, &part, &crop->job->region->rect)
         || region_render (crop->job->region, crop->seen, &inner, screen,
                           rgba + (inner.y - part.y) * stride + (inner.x - part.x) * pixel, stride, error);
}

static void
preview_rest (gpointer session)
{
  region_screen_close (&((Session *) session)->screen);
}

static void
preview_free (gpointer data)
{
  Crop *crop = data;

  job_free (crop->job);
  diffusion_picture_free (crop->step);
  g_free (crop);
}

static gboolean
has_all_that_is_selected (const Session *session, const Crop *crop)
{
  const GeglRectangle selected = selection_get_bounds (session->drawable);

  return selected.width > 0 && gegl_rectangle_contains (&crop->job->region->rect, &selected);
}

/* How fast the machine is at this moment, from a preview of some size. */
static void
learn_cost (Session *session, const Crop *crop)
{
  const Job *job = crop->job;
  const int  steps = process_get_options (job->kind, &job->settings, job->model).steps;
  const int  calls = process_get_calls (job->kind, &job->settings, job->model, NULL);
  /* Where there was nothing to do, that says nothing. */
  const gboolean telling = g_atomic_int_get (&crop->job->permille) > 0;
  Cost           told;

  session->previewed = TRUE;
  if (diffusion_model_get_checkpoint (crop->job->model))
    {
      if (telling && session->foretelling && preview_holds ((gpointer) crop, session)
          && foretell (session->foretelling, session->model, &crop->job->settings, &told) && told.seconds > 0)
        session->slowness = crop->seconds / told.seconds;
      return;
    }
  session->fill_bytes = crop->peak;
  session->fill_pixels = crop->pixels;
  /* Unlike its preview, a run has nothing painted meanwhile, and its sizes are prepared for. */
  session->fill_seconds = has_all_that_is_selected (session, crop) ? crop->work : 0;
  if (telling && crop->pixels >= TELLING_PIXELS)
    pace_learn (&session->pace, crop->seconds / (crop->pixels * calls), steps > 1);
}

static void
preview_notify (gpointer crop, UiPreviewEvent event, const GError *error, gpointer session_data)
{
  Session *session = session_data;

  if (event != UI_PREVIEW_FAILED)
    session->computing = event == UI_PREVIEW_BEGUN;
  if (event == UI_PREVIEW_BEGUN)
    session->held = 0;
  if (event == UI_PREVIEW_DONE)
    {
      /* Not before: until its thread is known to have ended, what is seen is one of its steps. */
      ((Crop *) crop)->seen = ((Crop *) crop)->job->region->picture;
      session->held = job_get_bytes (((Crop *) crop)->job);
    }
  set_trouble (session, error);
  /* A model may have been chosen meanwhile that has to be loaded yet. */
  if (event == UI_PREVIEW_DONE && ((Crop *) crop)->job->model == session->model)
    learn_cost (session, crop);
  update_status (session);
}

static const UiPreviewFilter preview_filter = { .begin = preview_begin,
                                                .find = preview_find,
                                                .read = preview_read,
                                                .compute = preview_compute,
                                                .adjust = preview_adjust,
                                                .blend = preview_blend,
                                                .covers = preview_covers,
                                                .holds = preview_holds,
                                                .look = preview_look,
                                                .render = preview_render,
                                                .rest = preview_rest,
                                                .free = preview_free,
                                                .notify = preview_notify };

static void
config_changed (GObject *config, GParamSpec *pspec, Session *session)
{
  const gboolean checkpoint = diffusion_model_get_checkpoint (session->model) != NULL;
  const gboolean prompt = g_str_equal (pspec->name, "prompt") || g_str_equal (pspec->name, "negative-prompt");
  Settings       now;
  SettingsDiff   diff;

  session->prompt_known = session->prompt_known && ! prompt;
  if (g_str_equal (pspec->name, "model"))
    load_start (session);
  settings_read (&now, session->filter, config);
  diff = settings_compare (session->filter->kind, &session->settings, &now);
  if (checkpoint && prompt)
    diff = SETTINGS_ENGINE;
  session->previewed = session->previewed && diff == SETTINGS_SAME;
  session->settings = now;
  /* What failed with other settings may be well with these. */
  if (diff == SETTINGS_ENGINE && session->prepared)
    set_trouble (session, NULL);
  if (diff != SETTINGS_SAME)
    ui_preview_invalidate (session->preview, diff == SETTINGS_BLEND ? UI_PREVIEW_BLEND : UI_PREVIEW_COMPUTE);
  update_status (session);
}

/* ---- the run after the dialog ----------------------------------------------------------------------------- */

static void
run_progress (double fraction, gpointer data)
{
  Session     *session = data;
  const double seconds = (g_get_monotonic_time () - session->start) / (double) G_USEC_PER_SEC;

  ui_dialog_set_progress (session->dialog, fraction);
  gimp_progress_update (fraction);
  if (g_cancellable_is_cancelled (session->cancellable))
    ui_dialog_set_status (session->dialog, C_ ("status", "Stopping..."));
  else if (fraction > 0.07 && seconds > 1)
    {
      g_autofree char *left = cost_format_time (seconds * (1 - fraction) / fraction);
      g_autofree char *text = g_strdup_printf (C_ ("status", "About %s left."), left);

      ui_dialog_set_status (session->dialog, text);
    }
}

static void
run_response (GtkDialog *window, int response, Session *session)
{
  if (response != GTK_RESPONSE_CANCEL && response != GTK_RESPONSE_DELETE_EVENT)
    return;
  if (! session->cancelled)
    session->cancelled = g_get_monotonic_time ();
  g_cancellable_cancel (session->cancellable);
}

/* GtkDialog turns closing the window into a response, and would then destroy it. */
static gboolean
run_delete_event (GtkWidget *window, GdkEvent *event, gpointer data)
{
  return TRUE;
}

static gboolean
run (Session *session, double *noise_used, GError **error)
{
  gulong    response, delete_event;
  gboolean  success;
  Cost      cost;
  Selection selected;

  session->running = TRUE;
  gimp_progress_init (g_dpgettext2 (NULL, "progress", session->filter->progress));
  if (get_cost (session, &cost))
    g_debug ("run: expected %.2f s, %.1f MB", cost.seconds, cost.bytes / MEGABYTE);
  ui_dialog_set_busy (session->dialog, TRUE);
  ui_dialog_set_status (session->dialog, g_dpgettext2 (NULL, "progress", session->filter->progress));
  gtk_dialog_set_response_sensitive (GTK_DIALOG (session->window), GTK_RESPONSE_OK, FALSE);
  response = g_signal_connect (session->window, "response", G_CALLBACK (run_response), session);
  delete_event = g_signal_connect (session->window, "delete-event", G_CALLBACK (run_delete_event), NULL);

  /* While the user may already cancel. */
  prepare_stop (session);
  ui_preview_stop (session->preview);
  cost_reset_peak ();
  session->start = g_get_monotonic_time ();

  selected = selection_look (session->drawable);
  success = process_run (session->filter, session->drawable, session->config, session->model,
                         session->estimated && estimate_holds (session, &selected) ? &session->noise : NULL,
                         run_progress, session, session->cancellable, noise_used, error);

  g_debug ("run: took %.2f s, %.1f MB", (g_get_monotonic_time () - session->start) / (double) G_USEC_PER_SEC,
           cost_get_peak () / MEGABYTE);
  if (session->cancelled)
    g_debug ("run: stopped %" G_GINT64_FORMAT " ms after Cancel",
             (g_get_monotonic_time () - session->cancelled) / 1000);
  g_signal_handler_disconnect (session->window, response);
  g_signal_handler_disconnect (session->window, delete_event);
  return success;
}

/* FALSE if the user has cancelled.  OK is refused while there is something to change first: what has been previewed is
 * not lost.  (With a layer that is gone nothing can be done any more: the run says so.) */
static gboolean
ask (Session *session)
{
  GError *error = NULL;

  while (host_dialog_run (session->window, session->config))
    {
      if (! region_check (session->drawable, NULL)
          || process_check (session->filter, session->drawable, session->config, &error))
        return TRUE;
      g_debug ("dialog: refuses");
      ui_dialog_set_status (session->dialog, error->message);
      g_clear_error (&error);
    }
  return FALSE;
}

static gboolean
run_interactive (const Filter *filter, HostDrawable drawable, GObject *config, HostDialogContext *context,
                 DiffusionModel *model, const char *name, GThread *warm_up, double *noise_used, GError **error)
{
  Session      session = { .filter = filter, .drawable = drawable, .config = config, .model = model };
  GdkRectangle focus;
  gboolean     success = FALSE;

  session.screen = (RegionScreen){ drawable, host_get_space (drawable), babl_format (SHOWN_FORMAT), NULL };
  diffusion_model_ref (model);
  session.used_name = g_strdup (name);
  session.model_name = g_strdup (name);
  session.cancellable = g_cancellable_new ();
  session.foretelling = foretelling_new (filter, drawable, cost_known, &session);
  if (! gimp_drawable_mask_intersect (drawable, &focus.x, &focus.y, &focus.width, &focus.height))
    focus = (GdkRectangle){ 0, 0, 1, 1 };
  session.preview = ui_preview_new (gimp_drawable_get_width (drawable), gimp_drawable_get_height (drawable), &focus,
                                    &preview_filter, &session);
  session.dialog = ui_dialog_new (config, filter->procedure, filter->presets, ui_preview_get_widget (session.preview));
  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param *param = &filter->params[i];

      ui_dialog_add_field (session.dialog, param->name, &param->field, param->choices);
    }
  ui_dialog_complete (session.dialog);
  session.window = host_dialog_new (filter, context, config, ui_dialog_get_body (session.dialog));
  settings_read (&session.settings, filter, config);
  g_signal_connect (config, "notify", G_CALLBACK (config_changed), &session);

  cost_warm_up (model);
  show_model (&session);
  g_thread_join (warm_up);
  load_start (&session);
  if (prepare_start (&session, error))
    {
      ui_dialog_size_window (session.dialog, GTK_WINDOW (session.window));
      gtk_widget_show (session.window);

      const gboolean accepted = ask (&session);

      if (! accepted)
        {
          gtk_widget_hide (session.window);
          g_cancellable_cancel (session.cancellable);
        }
      if (accepted)
        success = run (&session, noise_used, error);
      else
        g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, C_ ("status", "Cancelled."));
      prepare_stop (&session);
      ui_preview_stop (session.preview);
    }

  g_signal_handlers_disconnect_by_data (config, &session);
  gtk_widget_destroy (session.window);
  ui_preview_free (session.preview);
  ui_dialog_free (session.dialog);
  foretelling_free (session.foretelling);
  g_object_unref (session.cancellable);
  diffusion_model_unref (session.model);
  g_free (session.used_name);
  g_free (session.model_name);
  g_free (session.model_trouble);
  g_free (session.trouble);
  return success;
}

/* ---- any run mode ----------------------------------------------------------------------------------------- */

static void
show_progress (double fraction, gpointer data)
{
  gimp_progress_update (fraction);
}

gboolean
session_run (const Filter *filter, GimpRunMode mode, HostDrawable drawable, GObject *config, HostDialogContext *context,
             double *noise_used, GError **error)
{
  g_autofree char *name = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  GThread *warm_up;

  /* What a dialog would do as it opens. */
  if (mode == GIMP_RUN_WITH_LAST_VALS)
    ui_dialog_renew_seed (config, filter->procedure, "seed");
  /* Where the result goes is not known before the dialog. */
  if (mode == GIMP_RUN_INTERACTIVE ? ! region_check (drawable, error)
                                         || ! selection_check (drawable, filter->kind == FILTER_INPAINT, NULL, error)
                                   : ! process_check (filter, drawable, config, error))
    return FALSE;
  /* The dialog loads what was used last when its window is there: a large file takes its time, and one that is gone is
   * no reason not to choose another one. */
  name = g_strdup ("");
  if (mode == GIMP_RUN_INTERACTIVE)
    model = process_load_model (filter, name, NULL, NULL);
  if (! model)
    {
      g_free (name);
      g_object_get (config, "model", &name, NULL);
      model = process_load_model (filter, name, NULL, error);
    }
  if (! model)
    return FALSE;

  if (mode != GIMP_RUN_INTERACTIVE)
    {
      gimp_progress_init (g_dpgettext2 (NULL, "progress", filter->progress));
      return process_run (filter, drawable, config, model, NULL, show_progress, NULL, NULL, noise_used, error);
    }

  warm_up = region_warm_up (drawable, babl_format (SHOWN_FORMAT));
  host_ui_init ();
  return run_interactive (filter, drawable, config, context, model, name ? name : "", warm_up, noise_used, error);
}
