/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <math.h>

#include <gdk/gdkkeysyms.h>
#include <glib/gi18n.h>

#include "toolkit.h"
#include "view.h"

enum
{
  MIN_WIDTH = 240,
  MIN_HEIGHT = 180,
  GRIP = 8,         /* how far from the line the pointer still takes it */
  GRIP_RADIUS = 11, /* of the knob on the line */
  PAN_STEP = 48,
  MARK_RADIUS = 11,
  MARGIN = 8
};

static const double SPLIT_STEP = 0.05;

typedef enum
{
  DRAG_NONE,
  DRAG_LAYER,
  DRAG_SPLIT
} Drag;

struct _UiView
{
  GtkWidget  *area;
  UiViewMoved moved;
  gpointer    data;

  int      width, height; /* of the layer */
  double   x, y;          /* of the layer's pixel in the middle */
  gboolean fit;
  gboolean compared;
  gboolean after_shown;
  double   split; /* of the picture's width */
  double   progress;

  UiRaster *rasters[UI_VIEW_SIDES];

  Drag   drag;
  double drag_x, drag_y; /* where the pointer was, screen pixels */
};

/* Where the layer is on the screen; all in screen pixels. */
typedef struct
{
  double scale;
  double left, top;           /* of the layer's first pixel */
  double x, y, width, height; /* of what of it is seen */
} Place;

/* ---- geometry --------------------------------------------------------------------------------------------- */

static gboolean
get_area (UiView *view, double *width, double *height)
{
  const int     factor = ui_toolkit_get_scale (view->area);
  GtkAllocation allocation;

  gtk_widget_get_allocation (view->area, &allocation);
  *width = (double) allocation.width * factor;
  *height = (double) allocation.height * factor;
  return gtk_widget_get_realized (view->area) && allocation.width > 1 && allocation.height > 1;
}

/* One axis: the layer is centred if it is smaller than the area, and else fills it. */
static void
place_axis (double area, double size, double scale, double *centre, double *start, double *visible, double *length)
{
  const double scaled = size * scale;

  if (scaled <= area)
    {
      *centre = size / 2;
      *start = floor ((area - scaled) / 2);
      *visible = *start;
      *length = scaled;
      return;
    }
  *centre = CLAMP (*centre, area / 2 / scale, size - area / 2 / scale);
  *start = round (area / 2 - *centre * scale);
  *visible = 0;
  *length = area;
}

static gboolean
get_place (UiView *view, Place *place)
{
  double width, height, x = view->x, y = view->y;

  if (! get_area (view, &width, &height))
    return FALSE;
  place->scale = view->fit ? MIN (1, MIN (width / view->width, height / view->height)) : 1;
  place_axis (width, view->width, place->scale, &x, &place->left, &place->x, &place->width);
  place_axis (height, view->height, place->scale, &y, &place->top, &place->y, &place->height);
  /* Where all of the layer is shown, its middle is; 100 % goes back to the place that was seen before. */
  if (! view->fit)
    {
      view->x = x;
      view->y = y;
    }
  return TRUE;
}

gboolean
ui_view_get_visible (UiView *view, GdkRectangle *rect, double *scale)
{
  Place place;
  int   right, bottom;

  if (! get_place (view, &place))
    return FALSE;
  *scale = place.scale;
  rect->x = CLAMP ((int) floor ((place.x - place.left) / place.scale), 0, view->width - 1);
  rect->y = CLAMP ((int) floor ((place.y - place.top) / place.scale), 0, view->height - 1);
  right = MIN (view->width, (int) ceil ((place.x + place.width - place.left) / place.scale));
  bottom = MIN (view->height, (int) ceil ((place.y + place.height - place.top) / place.scale));
  rect->width = MAX (1, right - rect->x);
  rect->height = MAX (1, bottom - rect->y);
  return TRUE;
}

static double
get_split_x (UiView *view, const Place *place)
{
  return place->x + round (view->split * place->width);
}

static gboolean
is_split (UiView *view)
{
  return view->compared && view->after_shown && view->rasters[UI_VIEW_AFTER];
}

/* ---- painting --------------------------------------------------------------------------------------------- */

static void
draw_raster (cairo_t *cr, const UiRaster *raster, const Place *place)
{
  if (! raster)
    return;
  cairo_save (cr);
  cairo_translate (cr, place->left + raster->rect.x * place->scale, place->top + raster->rect.y * place->scale);
  cairo_scale (cr, place->scale / raster->scale, place->scale / raster->scale);
  cairo_set_source_surface (cr, raster->surface, 0, 0);
  /* At its own scale each pixel is shown as it is. */
  if (raster->scale == place->scale)
    cairo_pattern_set_filter (cairo_get_source (cr), CAIRO_FILTER_NEAREST);
  cairo_paint (cr);
  cairo_restore (cr);
}

/* The theme's colours, so that what is drawn over the picture is like the buttons beside it. */
typedef struct
{
  double ground[3], text[3];
} Colours;

static void
set_colour (cairo_t *cr, const double colour[3], double alpha)
{
  cairo_set_source_rgba (cr, colour[0], colour[1], colour[2], alpha);
}

/* right: the caption ends at x instead of starting there. */
static void
draw_caption (UiView *view, cairo_t *cr, const Colours *colours, const char *text, double x, double bottom,
              double factor, gboolean right)
{
  PangoLayout *layout = gtk_widget_create_pango_layout (view->area, text);
  int          width, height;

  pango_layout_get_pixel_size (layout, &width, &height);
  cairo_save (cr);
  cairo_translate (cr, right ? x - (width + MARGIN) * factor : x, bottom - (height + MARGIN / 2) * factor);
  cairo_scale (cr, factor, factor);
  cairo_rectangle (cr, 0, 0, width + MARGIN, height + MARGIN / 2);
  set_colour (cr, colours->ground, 0.75);
  cairo_fill (cr);
  cairo_move_to (cr, MARGIN / 2, MARGIN / 4);
  set_colour (cr, colours->text, 1);
  pango_cairo_show_layout (cr, layout);
  cairo_restore (cr);
  g_object_unref (layout);
}

static void
draw_split (UiView *view, cairo_t *cr, const Colours *colours, const Place *place, double factor)
{
  const double x = get_split_x (view, place), y = place->y + place->height / 2;
  const double bottom = place->y + place->height - MARGIN * factor;
  const double radius = GRIP_RADIUS * factor;

  set_colour (cr, colours->ground, 0.75);
  cairo_rectangle (cr, x - 1.5 * factor, place->y, 3 * factor, place->height);
  cairo_fill (cr);
  set_colour (cr, colours->text, 1);
  cairo_rectangle (cr, x - 0.5 * factor, place->y, factor, place->height);
  cairo_fill (cr);

  cairo_arc (cr, x, y, radius, 0, 2 * G_PI);
  set_colour (cr, colours->ground, 1);
  cairo_fill_preserve (cr);
  set_colour (cr, colours->text, 1);
  cairo_set_line_width (cr, factor);
  cairo_stroke (cr);
  for (int side = -1; side <= 1; side += 2)
    {
      cairo_move_to (cr, x + side * 0.25 * radius, y - 0.4 * radius);
      cairo_line_to (cr, x + side * 0.7 * radius, y);
      cairo_line_to (cr, x + side * 0.25 * radius, y + 0.4 * radius);
      cairo_close_path (cr);
    }
  cairo_fill (cr);

  /* Translators: shown on the left side of the preview, the photograph as it is. */
  draw_caption (view, cr, colours, C_ ("preview", "Before"), x - MARGIN * factor, bottom, factor, TRUE);
  /* Translators: shown on the right side of the preview, the result of the filter. */
  draw_caption (view, cr, colours, C_ ("preview", "After"), x + MARGIN * factor, bottom, factor, FALSE);
}

static void
draw_mark (UiView *view, cairo_t *cr, const Colours *colours, const Place *place, double factor)
{
  const double radius = MARK_RADIUS * factor;
  const double x = place->x + place->width - radius - MARGIN * factor, y = place->y + radius + MARGIN * factor;

  cairo_arc (cr, x, y, radius, 0, 2 * G_PI);
  set_colour (cr, colours->ground, 0.75);
  cairo_fill (cr);
  cairo_set_line_width (cr, 3 * factor);
  cairo_arc (cr, x, y, 0.65 * radius, 0, 2 * G_PI);
  set_colour (cr, colours->text, 0.3);
  cairo_stroke (cr);
  cairo_arc (cr, x, y, 0.65 * radius, -G_PI / 2, -G_PI / 2 + 2 * G_PI * CLAMP (view->progress, 0.03, 1));
  set_colour (cr, colours->text, 1);
  cairo_stroke (cr);
}

static void
draw (GtkWidget *area, cairo_t *cr, gpointer data)
{
  UiView      *view = data;
  const double factor = ui_toolkit_get_scale (area);
  Place        place;
  Colours      colours;

  if (! get_place (view, &place))
    return;
  ui_toolkit_get_colours (area, colours.ground, colours.text);
  cairo_scale (cr, 1 / factor, 1 / factor);
  cairo_rectangle (cr, place.x, place.y, place.width, place.height);
  cairo_clip (cr);
  draw_raster (cr, view->rasters[UI_VIEW_BEFORE], &place);
  if (view->after_shown)
    {
      cairo_save (cr);
      if (is_split (view))
        {
          const double x = get_split_x (view, &place);

          cairo_rectangle (cr, x, place.y, place.x + place.width - x, place.height);
          cairo_clip (cr);
        }
      draw_raster (cr, view->rasters[UI_VIEW_AFTER], &place);
      cairo_restore (cr);
    }
  if (is_split (view))
    draw_split (view, cr, &colours, &place, factor);
  if (view->progress >= 0)
    draw_mark (view, cr, &colours, &place, factor);
  if (gtk_widget_has_focus (area))
    {
      cairo_rectangle (cr, place.x + factor, place.y + factor, place.width - 2 * factor, place.height - 2 * factor);
      cairo_set_line_width (cr, 2 * factor);
      cairo_set_source_rgba (cr, 0.35, 0.6, 0.95, 0.9);
      cairo_stroke (cr);
    }
}

/* ---- events ----------------------------------------------------------------------------------------------- */

static void
moved (UiView *view)
{
  gtk_widget_queue_draw (view->area);
  view->moved (view->data);
}

static void
pan (UiView *view, double dx, double dy)
{
  Place        place;
  const double x = view->x, y = view->y;

  /* Nothing lies beyond what is shown. */
  if (view->fit || ! get_place (view, &place))
    return;
  view->x += dx / place.scale;
  view->y += dy / place.scale;
  get_place (view, &place);
  if (view->x != x || view->y != y)
    moved (view);
}

static void
set_split (UiView *view, double split)
{
  view->split = CLAMP (split, 0, 1);
  gtk_widget_queue_draw (view->area);
}

static gboolean
is_at_split (UiView *view, const Place *place, double x)
{
  return is_split (view) && fabs (x - get_split_x (view, place)) <= GRIP * ui_toolkit_get_scale (view->area);
}

static gboolean
button_pressed (GtkWidget *area, GdkEventButton *event, UiView *view)
{
  const double factor = ui_toolkit_get_scale (area);
  Place        place;

  gtk_widget_grab_focus (area);
  if (event->button != 1 || event->type != GDK_BUTTON_PRESS || ! get_place (view, &place))
    return FALSE;
  view->drag = is_at_split (view, &place, event->x * factor) ? DRAG_SPLIT : DRAG_LAYER;
  view->drag_x = event->x * factor;
  view->drag_y = event->y * factor;
  return TRUE;
}

static gboolean
pointer_moved (GtkWidget *area, GdkEventMotion *event, UiView *view)
{
  const double factor = ui_toolkit_get_scale (area);
  const double x = event->x * factor, y = event->y * factor;
  Place        place;

  if (! get_place (view, &place))
    return FALSE;
  switch (view->drag)
    {
    case DRAG_NONE:
      ui_toolkit_set_cursor (area, is_at_split (view, &place, x) ? GDK_SB_H_DOUBLE_ARROW : GDK_FLEUR);
      break;
    case DRAG_LAYER:
      pan (view, view->drag_x - x, view->drag_y - y);
      view->drag_x = x;
      view->drag_y = y;
      break;
    case DRAG_SPLIT:
      set_split (view, (x - place.x) / place.width);
      break;
    }
  return TRUE;
}

static gboolean
button_released (GtkWidget *area, GdkEventButton *event, UiView *view)
{
  view->drag = DRAG_NONE;
  return FALSE;
}

static gboolean
scrolled (GtkWidget *area, GdkEventScroll *event, UiView *view)
{
  double dx, dy;

  ui_toolkit_get_scroll (event, &dx, &dy);
  if (event->state & GDK_SHIFT_MASK)
    pan (view, PAN_STEP * dy, PAN_STEP * dx);
  else
    pan (view, PAN_STEP * dx, PAN_STEP * dy);
  return TRUE;
}

static gboolean
key_pressed (GtkWidget *area, GdkEventKey *event, UiView *view)
{
  const gboolean split = (event->state & GDK_CONTROL_MASK) != 0;

  switch (event->keyval)
    {
    case GDK_KEY_Left:
      split ? set_split (view, view->split - SPLIT_STEP) : pan (view, -PAN_STEP, 0);
      return TRUE;
    case GDK_KEY_Right:
      split ? set_split (view, view->split + SPLIT_STEP) : pan (view, PAN_STEP, 0);
      return TRUE;
    case GDK_KEY_Up:
      pan (view, 0, -PAN_STEP);
      return TRUE;
    case GDK_KEY_Down:
      pan (view, 0, PAN_STEP);
      return TRUE;
    default:
      return FALSE;
    }
}

static void
resized (GtkWidget *area, GtkAllocation *allocation, UiView *view)
{
  moved (view);
}

/* ---- the interface ---------------------------------------------------------------------------------------- */

UiView *
ui_view_new (int width, int height, const GdkRectangle *focus, UiViewMoved moved_function, gpointer data)
{
  UiView *view = g_new0 (UiView, 1);

  view->moved = moved_function;
  view->data = data;
  view->width = width;
  view->height = height;
  view->x = focus->x + focus->width / 2.0;
  view->y = focus->y + focus->height / 2.0;
  view->split = 0.5;
  view->progress = -1;
  view->compared = view->after_shown = TRUE;

  view->area = gtk_drawing_area_new ();
  gtk_widget_set_can_focus (view->area, TRUE);
  gtk_widget_set_size_request (view->area, MIN_WIDTH, MIN_HEIGHT);
  gtk_widget_add_events (view->area, GDK_BUTTON_PRESS_MASK | GDK_BUTTON_RELEASE_MASK | GDK_POINTER_MOTION_MASK
                                         | ui_toolkit_get_scroll_mask () | GDK_KEY_PRESS_MASK | GDK_FOCUS_CHANGE_MASK);
  ui_toolkit_connect_draw (view->area, draw, view);
  g_signal_connect (view->area, "button-press-event", G_CALLBACK (button_pressed), view);
  g_signal_connect (view->area, "button-release-event", G_CALLBACK (button_released), view);
  g_signal_connect (view->area, "motion-notify-event", G_CALLBACK (pointer_moved), view);
  g_signal_connect (view->area, "scroll-event", G_CALLBACK (scrolled), view);
  g_signal_connect (view->area, "key-press-event", G_CALLBACK (key_pressed), view);
  g_signal_connect_swapped (view->area, "map", G_CALLBACK (moved), view);
  g_signal_connect (view->area, "size-allocate", G_CALLBACK (resized), view);
  g_object_ref_sink (view->area);
  return view;
}

void
ui_view_free (UiView *view)
{
  g_signal_handlers_disconnect_by_data (view->area, view);
  for (int side = 0; side < UI_VIEW_SIDES; side++)
    ui_raster_free (view->rasters[side]);
  g_object_unref (view->area);
  g_free (view);
}

GtkWidget *
ui_view_get_widget (UiView *view)
{
  return view->area;
}

void
ui_view_take_raster (UiView *view, UiViewSide side, UiRaster *raster)
{
  ui_raster_free (view->rasters[side]);
  view->rasters[side] = raster;
  gtk_widget_queue_draw (view->area);
}

void
ui_view_set_progress (UiView *view, double fraction)
{
  if (view->progress == fraction)
    return;
  view->progress = fraction;
  gtk_widget_queue_draw (view->area);
}

void
ui_view_set_fit (UiView *view, gboolean fit)
{
  if (view->fit == fit)
    return;
  view->fit = fit;
  moved (view);
}

void
ui_view_set_compared (UiView *view, gboolean compared)
{
  view->compared = compared;
  gtk_widget_queue_draw (view->area);
}

void
ui_view_set_after (UiView *view, gboolean shown)
{
  view->after_shown = shown;
  gtk_widget_queue_draw (view->area);
}
