/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The widget that shows a layer before and after, side by side at a line that can be dragged: at 100 %, where the layer
 * can be dragged too, or shrunk so that all of it is seen.  It computes nothing; it is given rasters.
 */
#pragma once

#include <gtk/gtk.h>

#include "raster.h"

G_BEGIN_DECLS

typedef enum
{
  UI_VIEW_BEFORE,
  UI_VIEW_AFTER,
  UI_VIEW_SIDES
} UiViewSide;

typedef struct _UiView UiView;

/* Another part of the layer is seen, or at another scale. */
typedef void (*UiViewMoved) (gpointer data);

/* focus: what of the layer (0, 0, width, height) is to be in the middle at first. */
UiView    *ui_view_new (int width, int height, const GdkRectangle *focus, UiViewMoved moved, gpointer data);
void       ui_view_free (UiView *view); /* after its widget is gone */
GtkWidget *ui_view_get_widget (UiView *view);

/* The part of the layer that is seen, and the pixels of the screen for one of the layer, at most 1.  FALSE as long as
 * the widget has no size. */
gboolean ui_view_get_visible (UiView *view, GdkRectangle *rect, double *scale);

/* Takes the raster; it stays until the next one, and is moved along with the layer.  NULL: nothing to show. */
void ui_view_take_raster (UiView *view, UiViewSide side, UiRaster *raster);

/* A mark in the corner while something is computed; negative: none. */
void ui_view_set_progress (UiView *view, double fraction);

void ui_view_set_fit (UiView *view, gboolean fit);
void ui_view_set_compared (UiView *view, gboolean compared); /* before left of the line, after right of it */
void ui_view_set_after (UiView *view, gboolean shown);       /* whether the result is shown at all */

G_END_DECLS
