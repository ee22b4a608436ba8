/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Lets a filter that takes its time fill a GIMP preview: the visible crop is computed on a thread, a newer view or
 * parameter replaces the work under way, and the interface never waits.
 */
#pragma once

#include <gio/gio.h>
#include <libgimp/gimp.h>
#include <libgimp/gimpui.h>

G_BEGIN_DECLS

/* What the preview asks of the filter. */
typedef struct
{
  /* Main thread: takes what is to be computed out of the layer.  NULL without an error: not ready yet. */
  gpointer (*begin) (const GdkRectangle *view, gpointer data, GError **error);
  /* Any thread: the filter itself. */
  gboolean (*compute) (gpointer crop, GCancellable *cancellable, GError **error);
  /* Main thread: the view's pixels, selection included, to be freed with g_free (). */
  guchar *(*render) (gpointer crop, GimpImageType *type, int *rowstride, GError **error);
  void (*free) (gpointer crop);
  /* Main thread: the preview begins to compute (seconds < 0), or has done so in that time, or has failed. */
  void (*notify) (double seconds, const GError *error, gpointer data);
} UiPreviewFilter;

typedef struct _UiPreview UiPreview;

/* The widget must live as long as the result.  filter and data are borrowed. */
UiPreview *ui_preview_new (GimpPreview *widget, const UiPreviewFilter *filter, gpointer data);

/* Computes no more: cancels the work under way and waits, with the main context running, until no thread works. */
void ui_preview_stop (UiPreview *preview);

/* Stops, and lets go of the widget. */
void ui_preview_free (UiPreview *preview);

G_END_DECLS
