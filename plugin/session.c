/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What happens while the dialog is open.  First the selected region is read, strip by strip between events, and its
 * noise is estimated on a thread; from then on the preview computes.  Then the run, with the dialog as its progress
 * window.
 */
#include <math.h>

#include <glib/gi18n.h>

#include "process.h"
#include "session.h"
#include "ui/dialog.h"
#include "ui/preview.h"

typedef struct
{
  const Filter   *filter;
  HostDrawable    drawable;
  GObject        *config;
  DiffusionModel *model;
  GtkWidget      *window;
  UiDialog       *dialog;
  UiPreview      *preview;
  Settings        settings; /* that the preview knows of */

  Region        *region; /* whose noise is being estimated */
  guint          reader; /* idle source */
  gboolean       estimating;
  gboolean       estimated;
  DiffusionNoise noise;
  double         pixel_seconds; /* of one step of the engine for one pixel, as the preview saw it; 0: unknown */

  GCancellable *cancellable;
  gint64        start;
} Session;

static const double EIGHT_BIT = 255.0;

/* What the preview is painted from. */
static const char SHOWN_FORMAT[] = "R'G'B'A u8";

enum
{
  WINDOW_WIDTH = 1000,
  WINDOW_HEIGHT = 620
};

static void
set_time_status (Session *session, const char *format, double seconds)
{
  const int        rounded = (int) ceil (seconds);
  g_autofree char *time = g_strdup_printf ("%d:%02d", rounded / 60, rounded % 60);
  g_autofree char *text = g_strdup_printf (format, time);

  ui_dialog_set_status (session->dialog, text);
}

/* ---- the estimate ----------------------------------------------------------------------------------------- */

static void
estimate_work (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Session *session = data;
  GError  *error = NULL;

  region_warm_up (session->region, babl_format (SHOWN_FORMAT));
  if (process_estimate (session->region, &session->noise, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

static void
estimate_finish (Session *session, GError *error)
{
  g_clear_pointer (&session->region, region_free);
  session->estimating = FALSE;
  session->estimated = ! error;
  ui_dialog_set_status (session->dialog, error ? error->message : NULL);
  if (session->estimated)
    ui_dialog_set_estimate (session->dialog, session->noise.sigma * EIGHT_BIT);
  ui_preview_invalidate (session->preview, UI_PREVIEW_COMPUTE);
}

static void
estimate_done (GObject *source, GAsyncResult *result, gpointer data)
{
  g_autoptr (GError) error = NULL;

  g_task_propagate_boolean (G_TASK (result), &error);
  estimate_finish (data, error);
}

static gboolean
estimate_read (gpointer data)
{
  Session *session = data;
  g_autoptr (GError) error = NULL;
  gboolean done = FALSE;

  if (region_read_strip (session->region, &done, &error) && ! done)
    return G_SOURCE_CONTINUE;

  session->reader = 0;
  if (error)
    {
      estimate_finish (session, error);
    }
  else
    {
      GTask *task = g_task_new (NULL, NULL, estimate_done, session);

      g_task_set_task_data (task, session, NULL);
      g_task_run_in_thread (task, estimate_work);
      g_object_unref (task);
    }
  return G_SOURCE_REMOVE;
}

static gboolean
estimate_start (Session *session, GError **error)
{
  session->region = region_new_selected (session->drawable, diffusion_model_get_margin (session->model), TRUE, error);
  if (! session->region)
    return FALSE;
  session->estimating = TRUE;
  session->reader = g_idle_add (estimate_read, session);
  ui_dialog_set_status (session->dialog, _ ("Estimating the noise..."));
  return TRUE;
}

/* Either stops the reading or waits for the thread, which has at most a few seconds of work left. */
static void
estimate_stop (Session *session)
{
  if (session->reader)
    {
      g_source_remove (session->reader);
      session->reader = 0;
      g_clear_pointer (&session->region, region_free);
      session->estimating = FALSE;
    }
  while (session->estimating)
    g_main_context_iteration (NULL, TRUE);
}

/* ---- the preview ------------------------------------------------------------------------------------------ */

/* A job and what of it is to be seen: its result, or one of its steps. */
typedef struct
{
  Job                    *job;
  DiffusionPicture       *step;
  const DiffusionPicture *seen; /* NULL: nothing yet */
} Crop;

static gpointer
preview_begin (const GdkRectangle *visible, gpointer data, GError **error)
{
  Session            *session = data;
  const GeglRectangle rect = { visible->x, visible->y, visible->width, visible->height };
  Region             *region;
  Crop               *crop;

  if (session->settings.noise == 0 && ! session->estimated)
    return NULL;

  region = region_new_view (session->drawable, &rect, diffusion_model_get_margin (session->model), error);
  if (! region)
    return NULL;
  crop = g_new0 (Crop, 1);
  crop->job = job_new (session->filter, session->config, region, session->model, &session->noise);
  crop->job->previewed = TRUE;
  return crop;
}

static gboolean
preview_read (gpointer data, gboolean *done, GError **error)
{
  return region_read_strip (((Crop *) data)->job->region, done, error);
}

static gboolean
preview_compute (gpointer data, GCancellable *cancellable, GError **error)
{
  return job_compute (((Crop *) data)->job, cancellable, error);
}

static void
preview_adjust (gpointer data, gpointer session)
{
  ((Crop *) data)->job->settings = ((Session *) session)->settings;
}

static gboolean
preview_blend (gpointer data, GError **error)
{
  Crop *crop = data;

  if (! job_blend (crop->job, error))
    return FALSE;
  crop->seen = crop->job->region->picture;
  return TRUE;
}

static gboolean
preview_covers (gpointer data, const GdkRectangle *visible, gpointer session)
{
  const GeglRectangle rect = { visible->x, visible->y, visible->width, visible->height };

  return gegl_rectangle_contains (&((Crop *) data)->job->region->rect, &rect);
}

static double
preview_look (gpointer data, gboolean *fresh)
{
  Crop             *crop = data;
  DiffusionPicture *step = job_take_step (crop->job);

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
  const Babl         *format = babl_format (SHOWN_FORMAT);
  const Crop         *crop = data;

  if (crop && crop->seen)
    return region_render (crop->job->region, crop->seen, &part, format, rgba, error);
  region_render_original (((Session *) session)->drawable, &part, format, rgba);
  return TRUE;
}

static void
preview_free (gpointer data)
{
  Crop *crop = data;

  job_free (crop->job);
  diffusion_picture_free (crop->step);
  g_free (crop);
}

/* A preview that was computed says how long the whole will take. */
static void
preview_notify (gpointer data, double seconds, const GError *error, gpointer session_data)
{
  Session             *session = session_data;
  const Crop          *crop = data;
  const GeglRectangle *outer;
  int                  x, y, width, height;

  if (error || seconds < 0)
    {
      ui_dialog_set_status (session->dialog, error ? error->message : _ ("Computing the preview..."));
      return;
    }
  outer = &crop->job->region->outer;
  session->pixel_seconds = seconds / ((double) outer->width * outer->height * crop->job->settings.steps);
  if (gimp_drawable_mask_intersect (session->drawable, &x, &y, &width, &height))
    set_time_status (session, _ ("The whole takes about %s (minutes:seconds)."),
                     session->pixel_seconds * width * height * crop->job->settings.steps);
}

static const UiPreviewFilter preview_filter
    = { preview_begin,  preview_read, preview_compute, preview_adjust, preview_blend,
        preview_covers, preview_look, preview_render,  preview_free,   preview_notify };

static void
config_changed (GObject *config, GParamSpec *pspec, Session *session)
{
  Settings     now;
  SettingsDiff diff;

  settings_read (&now, config);
  diff = settings_compare (&session->settings, &now);
  session->settings = now;
  if (diff != SETTINGS_SAME)
    ui_preview_invalidate (session->preview, diff == SETTINGS_BLEND ? UI_PREVIEW_BLEND : UI_PREVIEW_COMPUTE);
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
    ui_dialog_set_status (session->dialog, _ ("Stopping..."));
  else if (fraction > 0.07 && seconds > 1)
    set_time_status (session, _ ("About %s left (minutes:seconds)."), seconds * (1 - fraction) / fraction);
}

static void
run_response (GtkDialog *window, int response, Session *session)
{
  if (response == GTK_RESPONSE_CANCEL || response == GTK_RESPONSE_DELETE_EVENT)
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
  gulong   response, delete_event;
  gboolean success;

  session->start = g_get_monotonic_time ();
  ui_dialog_set_busy (session->dialog, TRUE);
  ui_dialog_set_status (session->dialog, gettext (session->filter->progress));
  gtk_dialog_set_response_sensitive (GTK_DIALOG (session->window), GTK_RESPONSE_OK, FALSE);
  response = g_signal_connect (session->window, "response", G_CALLBACK (run_response), session);
  delete_event = g_signal_connect (session->window, "delete-event", G_CALLBACK (run_delete_event), NULL);

  success = process_run (session->filter, session->drawable, session->config, session->model,
                         session->estimated ? &session->noise : NULL, run_progress, session, session->cancellable,
                         noise_used, error);

  g_signal_handler_disconnect (session->window, response);
  g_signal_handler_disconnect (session->window, delete_event);
  return success;
}

static gboolean
run_interactive (const Filter *filter, HostDrawable drawable, GObject *config, HostDialogContext *context,
                 DiffusionModel *model, double *noise_used, GError **error)
{
  Session      session = { .filter = filter, .drawable = drawable, .config = config, .model = model };
  GdkRectangle focus;
  gboolean     success = FALSE;

  session.cancellable = g_cancellable_new ();
  if (! gimp_drawable_mask_intersect (drawable, &focus.x, &focus.y, &focus.width, &focus.height))
    focus = (GdkRectangle){ 0, 0, 1, 1 };
  session.preview = ui_preview_new (gimp_drawable_get_width (drawable), gimp_drawable_get_height (drawable), &focus,
                                    &preview_filter, &session);
  session.dialog = ui_dialog_new (config, ui_preview_get_widget (session.preview));
  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param *param = &filter->params[i];

      ui_dialog_add_field (session.dialog, param->name, &param->field, param->choices);
    }
  settings_read (&session.settings, config);
  g_signal_connect (config, "notify", G_CALLBACK (config_changed), &session);
  session.window = host_dialog_new (filter, context, config, ui_dialog_get_body (session.dialog));

  if (estimate_start (&session, error))
    {
      /* The preview takes what is left of the window. */
      gtk_window_set_default_size (GTK_WINDOW (session.window), WINDOW_WIDTH, WINDOW_HEIGHT);
      gtk_widget_show (session.window);

      const gboolean accepted = host_dialog_run (session.window, config);

      if (! accepted)
        gtk_widget_hide (session.window);
      estimate_stop (&session);
      ui_preview_stop (session.preview);
      if (accepted)
        success = run (&session, noise_used, error);
      else
        g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_CANCELLED, _ ("Cancelled."));
    }

  g_signal_handlers_disconnect_by_data (config, &session);
  ui_preview_free (session.preview);
  gtk_widget_destroy (session.window);
  ui_dialog_free (session.dialog);
  region_free (session.region);
  g_object_unref (session.cancellable);
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
  g_autoptr (DiffusionModel) model = NULL;

  if (! region_check (drawable, error))
    return FALSE;
  model = process_load_model (config, error);
  if (! model)
    return FALSE;

  gimp_progress_init (gettext (filter->progress));
  if (mode != GIMP_RUN_INTERACTIVE)
    return process_run (filter, drawable, config, model, NULL, show_progress, NULL, NULL, noise_used, error);

  host_ui_init ();
  return run_interactive (filter, drawable, config, context, model, noise_used, error);
}
