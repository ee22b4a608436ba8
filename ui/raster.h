/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A rectangle of a layer as it is shown: filled row by row with the layer's pixels, shrunk on the way if it has to be.
 */
#pragma once

#include <cairo.h>
#include <gdk/gdk.h>

G_BEGIN_DECLS

typedef struct
{
  GdkRectangle     rect;    /* of the layer */
  cairo_surface_t *surface; /* that rectangle, opaque */
  int              rows;    /* of the layer, added so far */
  double           scale;   /* surface pixels per layer pixel, at most 1 */
  guint           *sums;    /* of one row of the surface: red, green, blue, count */
} UiRaster;

/* scale: 0 < scale <= 1. */
UiRaster *ui_raster_new (const GdkRectangle *rect, double scale);
void      ui_raster_free (UiRaster *raster); /* NULL is fine */

/* Adds the next rows of the rectangle: R'G'B'A of 8 bits, without padding.  What is transparent shows a chequered
 * ground. */
void ui_raster_add_rows (UiRaster *raster, const guchar *rgba, int rows);

G_END_DECLS
