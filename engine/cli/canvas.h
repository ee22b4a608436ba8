/* gimp-diffusion: pictures that the program draws
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "diffusion.h"

#include <cairo.h>

G_BEGIN_DECLS

G_DEFINE_AUTOPTR_CLEANUP_FUNC (cairo_t, cairo_destroy)

#define CANVAS_EDGE_MOST 32767 /* pixels: cairo's surfaces are no larger */

/* A white sheet of the given size in pixels, black ink. */
cairo_t *canvas_new (int width, int height, GError **error);
/* In the format of the path's extension; whatever exists there is replaced only by a complete new file. */
gboolean canvas_write (cairo_t *canvas, const char *path, GError **error);

/* A line of text from (x, y), the left end of its base line. */
void canvas_text (cairo_t *canvas, double x, double y, double size, gboolean bold, const char *text);
/* The same, (x, y) being the middle of its base line. */
void   canvas_text_centred (cairo_t *canvas, double x, double y, double size, const char *text);
double canvas_text_width (cairo_t *canvas, double size, gboolean bold, const char *text);

/* A picture (3 channels), pixel for pixel, its upper left corner at (x, y); values outside [0, 1] are clipped. */
gboolean canvas_picture (cairo_t *canvas, int x, int y, const DiffusionPicture *picture, GError **error);

/* The picture of that path reduced so that neither edge is longer than `edge`; a small one stays as it is, and one with
 * an edge beyond CANVAS_EDGE_MOST is refused by its path. */
DiffusionPicture *canvas_reduce (const DiffusionPicture *picture, const char *path, int edge, GError **error);

/* A picture or map of the size of another, of one value. */
DiffusionPicture *canvas_even (const DiffusionPicture *like, int channels, double value, GError **error);

/* ---- plots ---- */

typedef struct
{
  const char   *name; /* for the legend; NULL: none */
  const double *x, *y;
  int           count;
  gboolean      dots;      /* marks instead of a line */
  double        colour[3]; /* R'G'B' */
} PlotSeries;

typedef struct
{
  const char       *title, *x_title, *y_title;
  gboolean          log_y;
  const PlotSeries *series; /* values that are not finite, or not above 0 on a logarithmic axis, are left out */
  int               n_series;
} Plot;

/* Draws into the given rectangle; axes end at round values around the data. */
void plot_draw (cairo_t *canvas, double x, double y, double width, double height, const Plot *plot);

/* Blue, vermilion, green, orange: Okabe and Ito's palette, told apart by all eyes. */
extern const double plot_colours[4][3];

G_END_DECLS
