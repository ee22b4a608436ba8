/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * At any moment at most one piece of work is under way: a crop is read, computed or blended.  When it has ended,
 * proceed () looks what is wanted next.  Painting goes on beside it, a few rows at a time.
 */
#include <time.h>

#include <glib/gi18n.h>

#include "preview.h"
#include "relay.h"
#include "toolkit.h"
#include "view.h"

enum
{
  SPACING = 6,
  DELAY_MS = 40, /* before new work starts, because changes come in droves */
  LOOKS_PER_PAINT = 5,
  LOOK_MS = 100,            /* between looks at the work */
  CHUNK_PIXELS = 24 * 1024, /* painted at a time */
  WATCH_MS = 5,
  HELD_UP_MS = 20
};

typedef enum
{
  IDLE,
  READING, /* with what there is to be thought about for it */
  COMPUTING,
  BLENDING
} Phase;

/* A raster on its way. */
typedef struct
{
  UiRaster *raster;
  gpointer  crop;
  gboolean  again; /* has to be painted anew afterwards */
} Painting;

struct _UiPreview
{
  UiView                *view;
  GtkWidget             *widget;
  const UiPreviewFilter *filter;
  gpointer               data;
  gboolean               stopped;

  Phase         phase;
  gpointer      crop;              /* being read or computed */
  gpointer      shown;             /* has a result */
  GCancellable *cancellable;       /* of the computing */
  guint         looks, painted_at; /* how often the work was looked at, and when a step was last painted; 0: never */
  gint64        start, cancelled;
  gboolean      stale;  /* long work is wanted */
  gboolean      mixed;  /* short work is wanted */
  gboolean      failed; /* and is not tried again by itself */
  GtkWidget    *toggle; /* whether the result is to be seen; else it is not computed either */
  gboolean      manual; /* it is not to be, as soon as it would be computed anew */

  Painting paintings[UI_VIEW_SIDES];
  guint    painter, timer, looker, watch;
  gint64   watched, worked;
};

static void proceed (UiPreview *preview);
static void free_outdated (UiPreview *preview);

static void
remove_source (guint *source)
{
  if (*source)
    g_source_remove (*source);
  *source = 0;
}

/* For the log: how long the interface did not get its turn, and how much of that this thread computed (the rest it
 * waited, for GIMP or for a processor). */
static gboolean
watch (gpointer data)
{
  UiPreview      *preview = data;
  struct timespec used;

  clock_gettime (CLOCK_THREAD_CPUTIME_ID, &used);

  const gint64 now = g_get_monotonic_time (), worked = used.tv_sec * G_USEC_PER_SEC + used.tv_nsec / 1000;
  const gint64 late = (now - preview->watched) / 1000 - WATCH_MS;

  if (preview->watched && late >= HELD_UP_MS)
    g_debug ("preview: held up for %" G_GINT64_FORMAT " ms, of which %" G_GINT64_FORMAT " ms worked", late,
             (worked - preview->worked) / 1000);
  preview->watched = now;
  preview->worked = worked;
  return G_SOURCE_CONTINUE;
}

/* ---- painting --------------------------------------------------------------------------------------------- */

/* A chunk of rows; TRUE when the raster is complete or given up. */
static gboolean
paint_rows (UiPreview *preview, Painting *painting, UiViewSide side)
{
  UiRaster    *raster = painting->raster;
  GdkRectangle rows = raster->rect;
  GError      *error = NULL;
  gboolean     success;

  rows.y += raster->rows;
  rows.height = CLAMP (CHUNK_PIXELS / rows.width, 1, raster->rect.height - raster->rows);

  guchar *rgba = g_malloc_n ((gsize) rows.width * rows.height, 4);

  success = preview->filter->render (painting->crop, &rows, rgba, preview->data, &error);
  if (success)
    ui_raster_add_rows (raster, rgba, rows.height);
  g_free (rgba);
  if (success && raster->rows < raster->rect.height)
    return FALSE;

  painting->raster = NULL;
  if (success)
    {
      /* From here on there is something to wait for; what comes before is GTK's, which opens the window. */
      if (! preview->watch && g_getenv ("G_MESSAGES_DEBUG"))
        preview->watch = g_timeout_add_full (G_PRIORITY_HIGH, WATCH_MS, watch, preview, NULL);
      ui_view_take_raster (preview->view, side, raster);
    }
  else
    {
      ui_raster_free (raster);
      preview->filter->notify (painting->crop, UI_PREVIEW_FAILED, error, preview->data);
      g_clear_error (&error);
    }
  return TRUE;
}

static void
start_painting (UiPreview *preview, UiViewSide side, gpointer crop)
{
  Painting    *painting = &preview->paintings[side];
  GdkRectangle rect;
  double       scale;

  preview->filter->rest (preview->data);
  if (ui_view_get_visible (preview->view, &rect, &scale))
    {
      painting->raster = ui_raster_new (&rect, scale);
      painting->crop = crop;
    }
  painting->again = FALSE;
}

static gboolean
paint_some (gpointer data)
{
  UiPreview *preview = data;

  for (int side = 0; side < UI_VIEW_SIDES; side++)
    {
      Painting *painting = &preview->paintings[side];

      if (! painting->raster)
        continue;
      if (paint_rows (preview, painting, side) && painting->again)
        start_painting (preview, side, painting->crop);
      free_outdated (preview);
      return G_SOURCE_CONTINUE;
    }
  preview->filter->rest (preview->data);
  preview->painter = 0;
  return G_SOURCE_REMOVE;
}

/* A raster under way is finished first: else nothing would ever be seen while the layer is dragged along.  One of
 * another scale is not: all of a large layer takes its time. */
static void
paint (UiPreview *preview, UiViewSide side, gpointer crop)
{
  Painting    *painting = &preview->paintings[side];
  GdkRectangle rect;
  double       scale;

  if (painting->raster && painting->crop == crop && ui_view_get_visible (preview->view, &rect, &scale)
      && painting->raster->scale == scale)
    {
      painting->again = TRUE;
      return;
    }
  g_clear_pointer (&painting->raster, ui_raster_free);
  start_painting (preview, side, crop);
  if (painting->raster && ! preview->painter)
    preview->painter = g_idle_add (paint_some, preview);
}

/* No painting may look at a crop while a thread writes to it. */
static void
stop_painting (UiPreview *preview, UiViewSide side)
{
  g_clear_pointer (&preview->paintings[side].raster, ui_raster_free);
}

/* ---- work ------------------------------------------------------------------------------------------------- */

static void
free_crop (UiPreview *preview, gpointer *crop)
{
  if (! *crop)
    return;
  if (preview->paintings[UI_VIEW_AFTER].crop == *crop)
    stop_painting (preview, UI_VIEW_AFTER);
  preview->filter->free (*crop);
  *crop = NULL;
}

/* While something newer is under way, what was computed before is needed only until it has been painted; both together
 * could take too much memory. */
static void
free_outdated (UiPreview *preview)
{
  if (preview->crop && ! preview->paintings[UI_VIEW_AFTER].raster)
    free_crop (preview, &preview->shown);
}

static void
work_run (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  UiPreview *preview = data;
  GError    *error = NULL;

  if (preview->phase == BLENDING || preview->filter->compute (preview->crop, cancellable, &error))
    preview->filter->blend (preview->phase == BLENDING ? preview->shown : preview->crop, &error);

  if (! error)
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

static void
finish_compute (UiPreview *preview, const GError *error)
{
  const gint64   now = g_get_monotonic_time ();
  const gboolean cancelled = g_cancellable_is_cancelled (preview->cancellable);

  remove_source (&preview->looker);
  ui_view_set_progress (preview->view, -1);
  if (cancelled)
    {
      g_debug ("preview: stopped %" G_GINT64_FORMAT " ms after the change", (now - preview->cancelled) / 1000);
      free_crop (preview, &preview->crop);
      preview->filter->notify (NULL, UI_PREVIEW_STOPPED, NULL, preview->data);
      return;
    }
  if (error)
    {
      preview->failed = preview->stale = TRUE;
      free_crop (preview, &preview->crop);
      preview->filter->notify (NULL, UI_PREVIEW_STOPPED, error, preview->data);
      return;
    }
  preview->filter->notify (preview->crop, UI_PREVIEW_DONE, NULL, preview->data);
  g_debug ("preview: computed in %" G_GINT64_FORMAT " ms", (now - preview->start) / 1000);
  stop_painting (preview, UI_VIEW_AFTER);
  free_crop (preview, &preview->shown);
  preview->shown = g_steal_pointer (&preview->crop);
  paint (preview, UI_VIEW_AFTER, preview->shown);
}

static void
work_done (GObject *source, GAsyncResult *result, gpointer data)
{
  UiPreview  *preview = data;
  const Phase phase = preview->phase;
  GError     *error = NULL;

  g_task_propagate_boolean (G_TASK (result), &error);
  preview->phase = IDLE;
  if (phase == COMPUTING)
    {
      finish_compute (preview, error);
    }
  else
    {
      if (error)
        preview->filter->notify (preview->shown, UI_PREVIEW_FAILED, error, preview->data);
      g_debug ("preview: blended");
      paint (preview, UI_VIEW_AFTER, preview->shown);
    }
  g_clear_error (&error);
  g_clear_object (&preview->cancellable);
  proceed (preview);
}

static void
start_thread (UiPreview *preview, Phase phase, gpointer crop)
{
  GTask *task;

  preview->phase = phase;
  preview->mixed = FALSE;
  preview->filter->adjust (crop, preview->data);
  task = g_task_new (NULL, preview->cancellable, work_done, preview);
  g_task_set_task_data (task, preview, NULL);
  g_task_run_in_thread (task, work_run);
  g_object_unref (task);
}

static gboolean
look (gpointer data)
{
  UiPreview *preview = data;
  gboolean   fresh = FALSE;

  /* Painting takes its share of the processors from the work: now and then is enough, but what comes first is shown at
   * once, however coarse. */
  preview->looks++;
  ui_view_set_progress (
      preview->view,
      preview->filter->look (
          preview->crop,
          preview->painted_at == 0 || preview->looks >= preview->painted_at + LOOKS_PER_PAINT ? &fresh : NULL));
  if (fresh)
    {
      g_debug ("preview: painted a step");
      preview->painted_at = preview->looks;
      paint (preview, UI_VIEW_AFTER, preview->crop);
    }
  return G_SOURCE_CONTINUE;
}

static gboolean
find (gpointer data, GCancellable *cancellable, gboolean *more, GError **error)
{
  UiPreview *preview = data;

  return preview->filter->find (preview->crop, cancellable, more, error);
}

static gboolean
read_some (gpointer data, gboolean *done, GError **error)
{
  UiPreview *preview = data;

  return preview->filter->read (preview->crop, done, error);
}

static void
read_end (gpointer data, const GError *error)
{
  UiPreview *preview = data;

  preview->phase = IDLE;
  if (error)
    {
      finish_compute (preview, error);
      g_clear_object (&preview->cancellable);
      proceed (preview);
      return;
    }
  preview->looks = preview->painted_at = 0;
  preview->looker = g_timeout_add (LOOK_MS, look, preview);
  start_thread (preview, COMPUTING, preview->crop);
}

static const UiRelayWork reading = { find, read_some, read_end };

static void
start_compute (UiPreview *preview, const GdkRectangle *visible)
{
  GError *error = NULL;

  preview->crop = preview->filter->begin (visible, preview->data, &error);
  if (error)
    {
      preview->failed = TRUE;
      preview->filter->notify (NULL, UI_PREVIEW_STOPPED, error, preview->data);
      g_clear_error (&error);
    }
  if (! preview->crop)
    return;
  preview->stale = FALSE;
  free_outdated (preview);
  preview->start = g_get_monotonic_time ();
  preview->filter->notify (preview->crop, UI_PREVIEW_BEGUN, NULL, preview->data);
  ui_view_set_progress (preview->view, 0);
  preview->cancellable = g_cancellable_new ();
  preview->phase = READING;
  ui_relay_run (&reading, preview, preview->cancellable);
}

static gboolean
is_wanted (UiPreview *preview)
{
  return gtk_toggle_button_get_active (GTK_TOGGLE_BUTTON (preview->toggle));
}

/* What is shown was made of something else than what there is now. */
static gboolean
is_changed (UiPreview *preview)
{
  return preview->shown && ! preview->filter->holds (preview->shown, preview->data);
}

/* What is shown lacks some of what is seen. */
static gboolean
is_short (UiPreview *preview, const GdkRectangle *visible)
{
  return preview->shown && ! preview->filter->covers (preview->shown, visible, preview->data);
}

static void
proceed (UiPreview *preview)
{
  GdkRectangle visible;
  double       scale;
  gboolean     changed;

  if (preview->stopped || preview->phase != IDLE || preview->timer
      || ! ui_view_get_visible (preview->view, &visible, &scale))
    return;
  /* Changed pixels are seen when something is to be done; what they were is on the screen. */
  changed = is_changed (preview);
  if (changed)
    paint (preview, UI_VIEW_BEFORE, NULL);
  if (! preview->stale && (changed || is_short (preview, &visible)))
    {
      preview->stale = TRUE;
      /* By hand, it is the user who starts it again. */
      if (preview->manual)
        gtk_toggle_button_set_active (GTK_TOGGLE_BUTTON (preview->toggle), FALSE);
    }
  if (preview->stale)
    {
      if (! preview->failed && is_wanted (preview))
        start_compute (preview, &visible);
    }
  else if (preview->mixed && preview->shown && is_wanted (preview))
    {
      stop_painting (preview, UI_VIEW_AFTER);
      start_thread (preview, BLENDING, preview->shown);
    }
}

static gboolean
proceed_later (gpointer data)
{
  UiPreview *preview = data;

  preview->timer = 0;
  proceed (preview);
  return G_SOURCE_REMOVE;
}

static void
schedule (UiPreview *preview)
{
  remove_source (&preview->timer);
  if (! preview->stopped)
    preview->timer = g_timeout_add (DELAY_MS, proceed_later, preview);
}

/* Gives up what is being read or computed; a thread ends in its own time. */
static void
cancel (UiPreview *preview)
{
  if ((preview->phase != READING && preview->phase != COMPUTING) || g_cancellable_is_cancelled (preview->cancellable))
    return;
  preview->cancelled = g_get_monotonic_time ();
  g_cancellable_cancel (preview->cancellable);
}

static void
moved (gpointer data)
{
  UiPreview   *preview = data;
  GdkRectangle visible;
  double       scale;

  if (preview->stopped || ! ui_view_get_visible (preview->view, &visible, &scale))
    return;
  paint (preview, UI_VIEW_BEFORE, NULL);
  preview->failed = FALSE;
  if (preview->crop && ! preview->filter->covers (preview->crop, &visible, preview->data))
    {
      cancel (preview);
      preview->stale = TRUE;
    }
  if (preview->shown && preview->phase != BLENDING && preview->filter->covers (preview->shown, &visible, preview->data))
    paint (preview, UI_VIEW_AFTER, preview->shown);
  schedule (preview);
}

void
ui_preview_invalidate (UiPreview *preview, UiPreviewWork work)
{
  preview->failed = FALSE;
  if (work == UI_PREVIEW_COMPUTE)
    {
      preview->stale = TRUE;
      cancel (preview);
      if (preview->manual)
        gtk_toggle_button_set_active (GTK_TOGGLE_BUTTON (preview->toggle), FALSE);
    }
  else
    {
      preview->mixed = TRUE;
    }
  schedule (preview);
}

void
ui_preview_set_manual (UiPreview *preview, gboolean manual)
{
  if (preview->manual == manual)
    return;
  preview->manual = manual;
  preview->stale = TRUE;
  cancel (preview);
  gtk_toggle_button_set_active (GTK_TOGGLE_BUTTON (preview->toggle), ! manual);
  schedule (preview);
}

/* ---- the widgets ------------------------------------------------------------------------------------------ */

static void
after_toggled (GtkToggleButton *button, UiPreview *preview)
{
  const gboolean active = gtk_toggle_button_get_active (button);
  GdkRectangle   visible;
  double         scale;

  ui_view_set_after (preview->view, active);
  if (preview->stopped)
    return;
  /* Off stops the work under way, and on tries again what has failed. */
  if (preview->failed || (! active && preview->phase != IDLE && preview->phase != BLENDING))
    preview->stale = TRUE;
  preview->failed = FALSE;
  if (! active)
    {
      cancel (preview);
      return;
    }
  if (preview->manual && ui_view_get_visible (preview->view, &visible, &scale)
      && (is_short (preview, &visible) || is_changed (preview)))
    preview->stale = TRUE;
  /* What there is from before is not what is asked for now. */
  if (preview->manual && preview->stale)
    {
      if (preview->phase == IDLE)
        free_crop (preview, &preview->shown);
      paint (preview, UI_VIEW_AFTER, NULL);
    }
  schedule (preview);
}

static void
compared_toggled (GtkToggleButton *button, UiPreview *preview)
{
  ui_view_set_compared (preview->view, gtk_toggle_button_get_active (button));
}

static void
fit_toggled (GtkToggleButton *button, UiPreview *preview)
{
  ui_view_set_fit (preview->view, gtk_toggle_button_get_active (button));
}

static GtkWidget *
add_button (UiPreview *preview, GtkWidget *bar, GtkWidget *button, const char *tip, gboolean active, gpointer toggled)
{
  gtk_toggle_button_set_active (GTK_TOGGLE_BUTTON (button), active);
  gtk_widget_set_tooltip_text (button, tip);
  if (toggled)
    g_signal_connect (button, "toggled", G_CALLBACK (toggled), preview);
  gtk_box_pack_start (GTK_BOX (bar), button, FALSE, FALSE, 0);
  return button;
}

static GtkWidget *
bar_new (UiPreview *preview)
{
  GtkWidget *bar = gtk_box_new (GTK_ORIENTATION_HORIZONTAL, 2 * SPACING);
  GtkWidget *button;

  preview->toggle
      = add_button (preview, bar, gtk_check_button_new_with_mnemonic (C_ ("preview", "_Preview")),
                    C_ ("tip", "Show what the filter does; off shows the layer as it is"), TRUE, after_toggled);
  /* Translators: a switch; shows the preview's left part before and its right part after the filter. */
  add_button (preview, bar, gtk_check_button_new_with_mnemonic (C_ ("preview", "Spl_it")),
              C_ ("tip",
                  "Before on the left, after on the right of a line; drag the line, or move it with Ctrl and the arrow "
                  "keys"),
              TRUE, compared_toggled);
  /* Translators: scale of the preview: one pixel of the layer is one of the screen. */
  button = add_button (
      preview, bar, gtk_radio_button_new_with_mnemonic (NULL, C_ ("preview", "_100 %")),
      C_ ("tip", "Show the layer's own pixels; drag the picture, or use the arrow keys, to see other parts"), TRUE,
      NULL);
  /* Translators: scale of the preview: all of the layer is seen. */
  add_button (
      preview, bar, gtk_radio_button_new_with_mnemonic_from_widget (GTK_RADIO_BUTTON (button), C_ ("preview", "_Fit")),
      C_ ("tip", "Show the whole layer, which takes as long to compute as the filter itself"), FALSE, fit_toggled);
  return bar;
}

UiPreview *
ui_preview_new (int width, int height, const GdkRectangle *focus, const UiPreviewFilter *filter, gpointer data)
{
  UiPreview *preview = g_new0 (UiPreview, 1);

  preview->filter = filter;
  preview->data = data;
  preview->stale = TRUE;
  preview->view = ui_view_new (width, height, focus, moved, preview);
  preview->widget = gtk_box_new (GTK_ORIENTATION_VERTICAL, SPACING);
  ui_toolkit_set_name (ui_view_get_widget (preview->view), C_ ("preview", "Preview"),
                       C_ ("tip",
                           "The layer before and after the filter; arrow keys move the picture, Ctrl and the left and "
                           "right arrow keys the line between before and after"));
  gtk_box_pack_start (GTK_BOX (preview->widget), ui_view_get_widget (preview->view), TRUE, TRUE, 0);
  gtk_box_pack_start (GTK_BOX (preview->widget), bar_new (preview), FALSE, FALSE, 0);
  g_object_ref_sink (preview->widget);
  return preview;
}

GtkWidget *
ui_preview_get_widget (UiPreview *preview)
{
  return preview->widget;
}

void
ui_preview_stop (UiPreview *preview)
{
  preview->stopped = TRUE;
  remove_source (&preview->timer);
  remove_source (&preview->watch);
  remove_source (&preview->painter);
  cancel (preview);
  while (preview->phase != IDLE)
    g_main_context_iteration (NULL, TRUE);
  remove_source (&preview->painter);
  /* What is painted stays; what it was painted from could take as much memory as the run. */
  for (int side = 0; side < UI_VIEW_SIDES; side++)
    stop_painting (preview, side);
  preview->filter->rest (preview->data);
  free_crop (preview, &preview->crop);
  free_crop (preview, &preview->shown);
}

void
ui_preview_free (UiPreview *preview)
{
  ui_preview_stop (preview);
  ui_view_free (preview->view);
  g_object_unref (preview->widget);
  g_free (preview);
}
