/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "preview.h"

struct _UiPreview
{
  GimpPreview           *widget;
  const UiPreviewFilter *filter;
  gpointer               data;
  GCancellable          *cancellable; /* of the newest work */
  int                    running;     /* works under way; all but the newest are cancelled */

  /* The last result, drawn again at once when only a parameter changes: less flicker than the original in between. */
  GdkRectangle  view;
  guchar       *pixels;
  GimpImageType type;
  int           rowstride;
};

/* One crop on its way through a thread. */
typedef struct
{
  UiPreview   *preview;
  GdkRectangle view;
  gpointer     crop;
  gint64       start;
} Work;

static GdkRectangle
get_view (UiPreview *preview)
{
  GdkRectangle view;

  gimp_preview_get_position (preview->widget, &view.x, &view.y);
  gimp_preview_get_size (preview->widget, &view.width, &view.height);
  return view;
}

static gboolean
same_view (const GdkRectangle *a, const GdkRectangle *b)
{
  return a->x == b->x && a->y == b->y && a->width == b->width && a->height == b->height;
}

/* gimp_preview_draw_buffer () would mix in the selection by itself, but shifts the rows of a view that the selection
 * fills only partly. */
static void
draw (UiPreview *preview)
{
  const GdkRectangle view = get_view (preview);

  if (preview->pixels && same_view (&view, &preview->view))
    gimp_preview_area_draw (GIMP_PREVIEW_AREA (gimp_preview_get_area (preview->widget)), 0, 0, view.width, view.height,
                            preview->type, preview->pixels, preview->rowstride);
}

static void
work_run (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Work   *work = data;
  GError *error = NULL;

  if (work->preview->filter->compute (work->crop, cancellable, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

static void
work_done (GObject *source, GAsyncResult *result, gpointer data)
{
  UiPreview *preview = data;
  GTask     *task = G_TASK (result);
  Work      *work = g_task_get_task_data (task);
  GError    *error = NULL;

  preview->running--;
  if (g_task_propagate_boolean (task, &error))
    {
      g_free (preview->pixels);
      preview->pixels = preview->filter->render (work->crop, &preview->type, &preview->rowstride, &error);
      preview->view = work->view;
      draw (preview);
    }
  /* Not left to the task, whose last reference may be the thread's: the crop belongs to the main thread. */
  preview->filter->free (work->crop);
  if (! g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    preview->filter->notify ((g_get_monotonic_time () - work->start) / (double) G_USEC_PER_SEC, error, preview->data);
  g_clear_error (&error);
}

static void
cancel (UiPreview *preview)
{
  if (preview->cancellable)
    g_cancellable_cancel (preview->cancellable);
  g_clear_object (&preview->cancellable);
}

static void
invalidated (GimpPreview *widget, UiPreview *preview)
{
  GError            *error = NULL;
  const GdkRectangle view = get_view (preview);
  gpointer           crop;

  draw (preview);
  cancel (preview);
  crop = preview->filter->begin (&view, preview->data, &error);
  if (! crop)
    {
      if (error)
        preview->filter->notify (0, error, preview->data);
      g_clear_error (&error);
      return;
    }

  Work  *work = g_new (Work, 1);
  GTask *task;

  *work = (Work){ preview, view, crop, g_get_monotonic_time () };
  preview->cancellable = g_cancellable_new ();
  preview->running++;
  preview->filter->notify (-1, NULL, preview->data);
  task = g_task_new (NULL, preview->cancellable, work_done, preview);
  g_task_set_task_data (task, work, g_free);
  g_task_run_in_thread (task, work_run);
  g_object_unref (task);
}

UiPreview *
ui_preview_new (GimpPreview *widget, const UiPreviewFilter *filter, gpointer data)
{
  UiPreview *preview = g_new0 (UiPreview, 1);

  preview->widget = g_object_ref (widget);
  preview->filter = filter;
  preview->data = data;
  g_signal_connect (widget, "invalidated", G_CALLBACK (invalidated), preview);
  return preview;
}

void
ui_preview_stop (UiPreview *preview)
{
  g_signal_handlers_disconnect_by_data (preview->widget, preview);
  cancel (preview);
  while (preview->running > 0)
    g_main_context_iteration (NULL, TRUE);
}

void
ui_preview_free (UiPreview *preview)
{
  ui_preview_stop (preview);
  g_object_unref (preview->widget);
  g_free (preview->pixels);
  g_free (preview);
}
