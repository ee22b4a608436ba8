/* gimp-diffusion: curves
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "canvas.h"

#include <math.h>

#define TEXT   12
#define TITLE  14
#define LEFT   62 /* room beside and below the frame for numbers and titles */
#define RIGHT  12
#define TOP    26
#define BOTTOM 44
#define TICKS  6 /* about so many numbers on an axis */

const double plot_colours[4][3] = { { 0, 0.447, 0.698 }, { 0.835, 0.369, 0 }, { 0, 0.62, 0.451 }, { 0.902, 0.624, 0 } };

typedef struct
{
  double low, high, step; /* in the axis' own units: the logarithm to base 10 on a logarithmic one */
} Axis;

typedef struct
{
  cairo_t    *canvas;
  const Plot *plot;
  double      x, y, width, height; /* the frame */
  Axis        across, up;
} Sheet;

/* ---- axes -------------------------------------------------------------------------------------------------------- */

/* The value as the axis counts; NAN when it has no place there. */
static double
place (double value, gboolean logarithmic)
{
  return ! logarithmic ? value : value > 0 ? log10 (value) : NAN;
}

static Axis
find_axis (const Plot *plot, gboolean vertical)
{
  gboolean logarithmic = vertical && plot->log_y;
  double   low = INFINITY, high = -INFINITY, magnitude, step = 1;

  for (int i = 0; i < plot->n_series; i++)
    for (int k = 0; k < plot->series[i].count; k++)
      {
        double value = place ((vertical ? plot->series[i].y : plot->series[i].x)[k], logarithmic);

        if (isfinite (value))
          {
            low = fmin (low, value);
            high = fmax (high, value);
          }
      }
  if (! (low <= high))
    low = high = 0;
  if (high - low < 1e-9)
    {
      /* One value alone stands in the middle. */
      double margin = fmax (fabs (low) * 0.1, logarithmic ? 0.5 : 1e-3);

      low -= margin;
      high += margin;
    }
  magnitude = pow (10, floor (log10 ((high - low) / TICKS)));
  /* 1, 2, 5, 10 times a power of ten; whole powers of ten on a logarithmic axis, if it spans more than one. */
  for (int i = 0; i < 3 && step * magnitude * TICKS < high - low; i++)
    step *= i == 1 ? 2.5 : 2;
  step *= magnitude;
  if (logarithmic && high - low > 1)
    step = fmax (round (step), 1);
  return (Axis){ floor (low / step + 1e-9) * step, ceil (high / step - 1e-9) * step, step };
}

static double
get_x (const Sheet *sheet, double value)
{
  return sheet->x + (value - sheet->across.low) / (sheet->across.high - sheet->across.low) * sheet->width;
}

static double
get_y (const Sheet *sheet, double value)
{
  return sheet->y + sheet->height - (value - sheet->up.low) / (sheet->up.high - sheet->up.low) * sheet->height;
}

static void
draw_grid (const Sheet *sheet)
{
  cairo_t *c = sheet->canvas;
  char     text[G_ASCII_DTOSTR_BUF_SIZE];

  cairo_set_line_width (c, 1);
  for (gboolean vertical = FALSE; vertical <= TRUE; vertical++)
    {
      const Axis *axis = vertical ? &sheet->up : &sheet->across;
      int         count = lround ((axis->high - axis->low) / axis->step);

      for (int i = 0; i <= count; i++)
        {
          double at = axis->low + i * axis->step, value = fabs (at) < axis->step * 1e-6 ? 0 : at;
          double x = round (get_x (sheet, at)) + 0.5, y = round (get_y (sheet, at)) + 0.5;

          cairo_set_source_rgb (c, 0.85, 0.85, 0.85);
          cairo_move_to (c, vertical ? sheet->x : x, vertical ? y : sheet->y);
          cairo_line_to (c, vertical ? sheet->x + sheet->width : x, vertical ? y : sheet->y + sheet->height);
          cairo_stroke (c);
          cairo_set_source_rgb (c, 0.2, 0.2, 0.2);
          g_ascii_formatd (text, sizeof text, "%.6g", vertical && sheet->plot->log_y ? pow (10, value) : value);
          if (vertical)
            canvas_text (c, sheet->x - 6 - canvas_text_width (c, TEXT, FALSE, text), y + TEXT * 0.35, TEXT, FALSE,
                         text);
          else
            canvas_text_centred (c, x, sheet->y + sheet->height + TEXT + 4, TEXT, text);
        }
    }
}

static void
draw_titles (const Sheet *sheet)
{
  cairo_t    *c = sheet->canvas;
  const Plot *plot = sheet->plot;

  cairo_set_source_rgb (c, 0, 0, 0);
  canvas_text (c, sheet->x, sheet->y - 9, TITLE, TRUE, plot->title);
  canvas_text_centred (c, sheet->x + sheet->width / 2, sheet->y + sheet->height + 2 * TEXT + 11, TEXT, plot->x_title);
  cairo_save (c);
  cairo_translate (c, sheet->x - LEFT + TEXT + 2, sheet->y + sheet->height / 2);
  cairo_rotate (c, -G_PI / 2);
  canvas_text_centred (c, 0, 0, TEXT, plot->y_title);
  cairo_restore (c);
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static void
draw_series (const Sheet *sheet, const PlotSeries *series)
{
  cairo_t *c = sheet->canvas;

  cairo_set_source_rgb (c, series->colour[0], series->colour[1], series->colour[2]);
  cairo_set_line_width (c, 2);
  cairo_new_path (c);
  for (int i = 0; i < series->count; i++)
    {
      double x = place (series->x[i], FALSE), y = place (series->y[i], sheet->plot->log_y);

      if (! isfinite (x) || ! isfinite (y))
        continue;
      if (series->dots)
        cairo_new_sub_path (c);
      if (series->dots)
        cairo_arc (c, get_x (sheet, x), get_y (sheet, y), 3.5, 0, 2 * G_PI);
      else
        cairo_line_to (c, get_x (sheet, x), get_y (sheet, y));
    }
  if (series->dots)
    cairo_fill (c);
  else
    cairo_stroke (c);
}

/* How many points of the data a box covers. */
static int
count_covered (const Sheet *sheet, double left, double top, double width, double height)
{
  int count = 0;

  for (int i = 0; i < sheet->plot->n_series; i++)
    for (int k = 0; k < sheet->plot->series[i].count; k++)
      {
        double x = get_x (sheet, sheet->plot->series[i].x[k]) - left;
        double y = get_y (sheet, place (sheet->plot->series[i].y[k], sheet->plot->log_y)) - top;

        count += x >= 0 && x <= width && y >= 0 && y <= height;
      }
  return count;
}

/* At the left or right, at the top, in the middle or at the bottom: where it covers least. */
static void
find_legend_place (const Sheet *sheet, double width, double height, double *x, double *y)
{
  int least = G_MAXINT;

  for (int i = 0; i < 6; i++)
    {
      double left = i % 2 ? sheet->x + 8 : sheet->x + sheet->width - width - 8;
      double top = sheet->y + 8 + (sheet->height - height - 16) * (i / 2) / 2;
      int    covered = count_covered (sheet, left - 4, top - 4, width + 8, height + 8);

      if (covered >= least)
        continue;
      least = covered;
      *x = left;
      *y = top;
    }
}

static void
draw_legend (const Sheet *sheet)
{
  const Plot *plot = sheet->plot;
  cairo_t    *c = sheet->canvas;
  double      width = 0, x = 0, y = 0;
  int         lines = 0;

  for (int i = 0; i < plot->n_series; i++)
    if (plot->series[i].name)
      {
        width = fmax (width, canvas_text_width (c, TEXT, FALSE, plot->series[i].name) + 34);
        lines++;
      }
  if (! lines)
    return;
  find_legend_place (sheet, width, lines * (TEXT + 5) + 6, &x, &y);
  cairo_set_source_rgba (c, 1, 1, 1, 0.85);
  cairo_rectangle (c, x, y, width, lines * (TEXT + 5) + 6);
  cairo_fill (c);
  for (int i = 0; i < plot->n_series; i++)
    {
      const PlotSeries *series = &plot->series[i];

      if (! series->name)
        continue;
      y += TEXT + 5;
      cairo_set_source_rgb (c, series->colour[0], series->colour[1], series->colour[2]);
      cairo_new_path (c);
      if (series->dots)
        cairo_arc (c, x + 14, y - 4, 3.5, 0, 2 * G_PI);
      else
        cairo_rectangle (c, x + 5, y - 5, 18, 2);
      cairo_fill (c);
      cairo_set_source_rgb (c, 0, 0, 0);
      canvas_text (c, x + 29, y, TEXT, FALSE, series->name);
    }
}

void
plot_draw (cairo_t *canvas, double x, double y, double width, double height, const Plot *plot)
{
  Sheet sheet = { canvas,
                  plot,
                  x + LEFT,
                  y + TOP,
                  width - LEFT - RIGHT,
                  height - TOP - BOTTOM,
                  find_axis (plot, FALSE),
                  find_axis (plot, TRUE) };

  cairo_save (canvas);
  draw_grid (&sheet);
  for (int i = 0; i < plot->n_series; i++)
    draw_series (&sheet, &plot->series[i]);
  draw_titles (&sheet);
  draw_legend (&sheet);
  cairo_set_source_rgb (canvas, 0, 0, 0);
  cairo_set_line_width (canvas, 1);
  cairo_rectangle (canvas, floor (sheet.x) + 0.5, floor (sheet.y) + 0.5, floor (sheet.width), floor (sheet.height));
  cairo_stroke (canvas);
  cairo_restore (canvas);
}
