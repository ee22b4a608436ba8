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
  GtkWidget      *preview_widget;

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

enum
{
  WINDOW_WIDTH = 560,
  WINDOW_HEIGHT = 720
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
  gimp_preview_invalidate (GIMP_PREVIEW (session->preview_widget));
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

static gpointer
preview_begin (const GdkRectangle *view, gpointer data, GError **error)
{
  Session            *session = data;
  const GeglRectangle rect = { view->x, view->y, view->width, view->height };
  Settings            settings;
  Region             *region;

  settings_read (&settings, session->config);
  if (settings.noise == 0 && ! session->estimated)
    return NULL;

  region = region_new_view (session->drawable, &rect, diffusion_model_get_margin (session->model), error);
  if (! region || ! region_read (region, NULL, NULL, error))
    {
      region_free (region);
      return NULL;
    }
  return job_new (session->filter, session->config, region, session->model, &session->noise);
}

static gboolean
preview_compute (gpointer crop, GCancellable *cancellable, GError **error)
{
  return job_compute (crop, cancellable, error);
}

static guchar *
preview_render (gpointer crop, GimpImageType *type, int *rowstride, GError **error)
{
  Region     *region = ((Job *) crop)->region;
  const Babl *format = gimp_drawable_get_thumbnail_format (region->drawable);
  guchar     *pixels;

  *type = gimp_drawable_type (region->drawable);
  *rowstride = region->rect.width * babl_format_get_bytes_per_pixel (format);
  pixels = g_malloc_n (region->rect.height, *rowstride);
  if (! region_render (region, format, pixels, error))
    g_clear_pointer (&pixels, g_free);
  return pixels;
}

static void
preview_free (gpointer crop)
{
  job_free (crop);
}

/* A preview that was computed says how long the whole will take. */
static void
preview_notify (double seconds, const GError *error, gpointer data)
{
  Session  *session = data;
  Settings  settings;
  const int context = 2 * diffusion_model_get_margin (session->model);
  int       x, y, width, height;

  if (error || seconds < 0)
    {
      ui_dialog_set_status (session->dialog, error ? error->message : _ ("Computing the preview..."));
      return;
    }
  settings_read (&settings, session->config);
  gimp_preview_get_size (GIMP_PREVIEW (session->preview_widget), &width, &height);
  session->pixel_seconds = seconds / ((double) (width + context) * (height + context) * settings.steps);
  if (gimp_drawable_mask_intersect (session->drawable, &x, &y, &width, &height))
    set_time_status (session, _ ("The whole takes about %s (minutes:seconds)."),
                     session->pixel_seconds * width * height * settings.steps);
}

static const UiPreviewFilter preview_filter
    = { preview_begin, preview_compute, preview_render, preview_free, preview_notify };

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
  Session  session = { .filter = filter, .drawable = drawable, .config = config, .model = model };
  gboolean success = FALSE;

  session.cancellable = g_cancellable_new ();
  session.preview_widget = gimp_drawable_preview_new_from_drawable (drawable);
  session.dialog = ui_dialog_new (config, session.preview_widget);
  for (guint i = 0; i < filter->n_params; i++)
    {
      const Param *param = &filter->params[i];

      ui_dialog_add_field (session.dialog, param->name, &param->field, param->choices);
    }
  session.preview = ui_preview_new (GIMP_PREVIEW (session.preview_widget), &preview_filter, &session);
  g_signal_connect_swapped (config, "notify", G_CALLBACK (gimp_preview_invalidate), session.preview_widget);
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

  g_signal_handlers_disconnect_by_data (config, session.preview_widget);
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
