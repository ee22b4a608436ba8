/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The preview of a filter that takes its time: what is seen of the layer is computed on a thread, a newer view or
 * setting replaces the work under way, settings that only mix the result are mixed in again, and the interface never
 * waits.
 */
#pragma once

#include <gio/gio.h>
#include <gtk/gtk.h>

G_BEGIN_DECLS

typedef enum
{
  UI_PREVIEW_BEGUN,   /* it computes */
  UI_PREVIEW_DONE,    /* has a result */
  UI_PREVIEW_STOPPED, /* has none, since something has changed, or it failed */
  UI_PREVIEW_FAILED   /* could not show or mix what it has */
} UiPreviewEvent;

/* What the preview asks of the filter.  A crop is the filter's own: a part of the layer on its way to a result. */
typedef struct
{
  /* Main thread: a crop for what is seen.  NULL without an error: not ready yet. */
  gpointer (*begin) (const GdkRectangle *visible, gpointer data, GError **error);
  /* Any thread, before anything is read and again when all has been: makes room for what is to be read next.  *more
   * is FALSE if nothing is. */
  gboolean (*find) (gpointer crop, GCancellable *cancellable, gboolean *more, GError **error);
  /* Main thread, for some milliseconds: reads some of it; *done: it was the last. */
  gboolean (*read) (gpointer crop, gboolean *done, GError **error);
  /* Any thread: the long work. */
  gboolean (*compute) (gpointer crop, GCancellable *cancellable, GError **error);
  /* Main thread: takes over the settings that need no long work. */
  void (*adjust) (gpointer crop, gpointer data);
  /* Any thread: the short work, after the long one and again whenever such a setting changes. */
  gboolean (*blend) (gpointer crop, GError **error);
  /* Main thread: whether the crop has all that is seen. */
  gboolean (*covers) (gpointer crop, const GdkRectangle *visible, gpointer data);
  /* Main thread: whether what it was made of is still so; asked when the view rests. */
  gboolean (*holds) (gpointer crop, gpointer data);
  /* Main thread, while it computes: how far it is, 0 ... 1; *fresh tells that there is something new to render,
   * and is NULL if nobody would. */
  double (*look) (gpointer crop, gboolean *fresh);
  /* Main thread, for some milliseconds: R'G'B'A of 8 bits; crop NULL: the layer as it is. */
  gboolean (*render) (gpointer crop, const GdkRectangle *rect, guchar *rgba, gpointer data, GError **error);
  /* Main thread: a picture is complete, or another one is begun, so that nothing of the layer may be kept for it. */
  void (*rest) (gpointer data);
  void (*free) (gpointer crop);
  /* Main thread: how the preview is doing; error: why it failed, else NULL.  crop may be NULL but for BEGUN and DONE.
   */
  void (*notify) (gpointer crop, UiPreviewEvent event, const GError *error, gpointer data);
} UiPreviewFilter;

typedef enum
{
  UI_PREVIEW_BLEND,  /* only the short work has to be done again */
  UI_PREVIEW_COMPUTE /* all of it */
} UiPreviewWork;

typedef struct _UiPreview UiPreview;

/* The layer's size, and what of it is to be seen first.  filter and data are borrowed. */
UiPreview *ui_preview_new (int width, int height, const GdkRectangle *focus, const UiPreviewFilter *filter,
                           gpointer data);
GtkWidget *ui_preview_get_widget (UiPreview *preview);

/* A setting has changed. */
void ui_preview_invalidate (UiPreview *preview, UiPreviewWork work);

/* By hand: the preview is switched off, and a change switches it off again; what it shows is computed when the user
 * switches it on.  For what takes minutes. */
void ui_preview_set_manual (UiPreview *preview, gboolean manual);

/* Computes no more: cancels the work under way, waits, with the main context running, until no thread works, and frees
 * all crops. */
void ui_preview_stop (UiPreview *preview);

/* Stops, and lets go of the widgets. */
void ui_preview_free (UiPreview *preview);

G_END_DECLS
