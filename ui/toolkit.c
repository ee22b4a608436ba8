/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <string.h>

#include "toolkit.h"

typedef struct
{
  UiDraw   draw;
  gpointer data;
} Painter;

#if GTK_CHECK_VERSION(3, 0, 0)

static gboolean
paint (GtkWidget *widget, cairo_t *cr, Painter *painter)
{
  painter->draw (widget, cr, painter->data);
  return TRUE;
}

#define PAINT_SIGNAL "draw"

#else

static gboolean
paint (GtkWidget *widget, GdkEventExpose *event, Painter *painter)
{
  cairo_t *cr = gdk_cairo_create (gtk_widget_get_window (widget));

  gdk_cairo_region (cr, event->region);
  cairo_clip (cr);
  painter->draw (widget, cr, painter->data);
  cairo_destroy (cr);
  return TRUE;
}

#define PAINT_SIGNAL "expose-event"

#endif

static void
painter_free (gpointer painter, GClosure *closure)
{
  g_free (painter);
}

void
ui_toolkit_connect_draw (GtkWidget *widget, UiDraw draw, gpointer data)
{
  Painter *painter = g_new (Painter, 1);

  *painter = (Painter){ draw, data };
  g_signal_connect_data (widget, PAINT_SIGNAL, G_CALLBACK (paint), painter, painter_free, 0);
}

int
ui_toolkit_get_scale (GtkWidget *widget)
{
#if GTK_CHECK_VERSION(3, 0, 0)
  return gtk_widget_get_scale_factor (widget);
#else
  return 1;
#endif
}

GtkWidget *
ui_toolkit_scroll_new (GtkWidget *content)
{
  GtkWidget *scroll = gtk_scrolled_window_new (NULL, NULL);

  gtk_scrolled_window_set_policy (GTK_SCROLLED_WINDOW (scroll), GTK_POLICY_NEVER, GTK_POLICY_AUTOMATIC);
#if GTK_CHECK_VERSION(3, 0, 0)
  gtk_scrolled_window_set_overlay_scrolling (GTK_SCROLLED_WINDOW (scroll), FALSE);
  gtk_scrolled_window_set_propagate_natural_height (GTK_SCROLLED_WINDOW (scroll), TRUE);
  gtk_container_add (GTK_CONTAINER (scroll), content);
  gtk_viewport_set_shadow_type (GTK_VIEWPORT (gtk_bin_get_child (GTK_BIN (scroll))), GTK_SHADOW_NONE);
#else
  gtk_scrolled_window_add_with_viewport (GTK_SCROLLED_WINDOW (scroll), content);
  /* What gets the focus is moved into sight; the viewports that GTK 3 adds do so by themselves. */
  gtk_container_set_focus_vadjustment (GTK_CONTAINER (content),
                                       gtk_scrolled_window_get_vadjustment (GTK_SCROLLED_WINDOW (scroll)));
  gtk_viewport_set_shadow_type (GTK_VIEWPORT (gtk_bin_get_child (GTK_BIN (scroll))), GTK_SHADOW_NONE);
#endif
  return scroll;
}

static gboolean
wheel_turned (GtkWidget *widget, GdkEventScroll *event, gpointer data)
{
  GtkWidget *focus = gtk_window_get_focus (GTK_WINDOW (gtk_widget_get_toplevel (widget)));

  /* Only the widget's own handler is left out; what is around it still gets the event. */
  if (! focus || (focus != widget && ! gtk_widget_is_ancestor (focus, widget)))
    g_signal_stop_emission_by_name (widget, "scroll-event");
  return FALSE;
}

static void
leave_wheel (GtkWidget *widget, gpointer data)
{
  if (GTK_IS_COMBO_BOX (widget) || GTK_IS_SCALE (widget) || GTK_IS_SPIN_BUTTON (widget))
    g_signal_connect (widget, "scroll-event", G_CALLBACK (wheel_turned), NULL);
  else if (GTK_IS_CONTAINER (widget))
    gtk_container_foreach (GTK_CONTAINER (widget), leave_wheel, data);
}

void
ui_toolkit_leave_wheel (GtkWidget *content)
{
  leave_wheel (content, NULL);
}

int
ui_toolkit_get_wanted_height (GtkWidget *widget)
{
#if GTK_CHECK_VERSION(3, 0, 0)
  int wanted;

  gtk_widget_get_preferred_height (widget, NULL, &wanted);
  return wanted;
#else
  GtkRequisition wanted;

  gtk_widget_size_request (widget, &wanted);
  return wanted.height;
#endif
}

void
ui_toolkit_scroll_fit (GtkWidget *scroll, GtkWidget *content, int limit)
{
#if GTK_CHECK_VERSION(3, 0, 0)
  gtk_scrolled_window_set_max_content_height (GTK_SCROLLED_WINDOW (scroll), limit);
#else
  gtk_widget_set_size_request (scroll, -1, MIN (ui_toolkit_get_wanted_height (content), limit));
#endif
}

GtkWidget *
ui_toolkit_text_scroll_new (GtkWidget *view, int characters, int lines)
{
  GtkWidget   *scroll = gtk_scrolled_window_new (NULL, NULL);
  PangoLayout *layout = gtk_widget_create_pango_layout (view, "0");
  int          width, height;

  pango_layout_get_pixel_size (layout, &width, &height);
  g_object_unref (layout);
  gtk_scrolled_window_set_policy (GTK_SCROLLED_WINDOW (scroll), GTK_POLICY_AUTOMATIC, GTK_POLICY_AUTOMATIC);
  gtk_scrolled_window_set_shadow_type (GTK_SCROLLED_WINDOW (scroll), GTK_SHADOW_IN);
  gtk_widget_set_size_request (scroll, width * characters, height * lines + 4);
#if GTK_CHECK_VERSION(3, 0, 0)
  gtk_scrolled_window_set_overlay_scrolling (GTK_SCROLLED_WINDOW (scroll), FALSE);
#endif
  gtk_container_add (GTK_CONTAINER (scroll), view);
  return scroll;
}

GtkWidget *
ui_toolkit_list_new (int characters)
{
  GtkWidget *list = gtk_combo_box_text_new ();
  GList     *cells = gtk_cell_layout_get_cells (GTK_CELL_LAYOUT (list));

  for (GList *cell = cells; cell; cell = cell->next)
    {
      /* Names that differ often differ at their ends. */
      g_object_set (cell->data, "ellipsize", PANGO_ELLIPSIZE_MIDDLE, "width-chars", characters, NULL);
#if GTK_CHECK_VERSION(3, 0, 0)
      /* In GTK 3 the width above is the least, and all of the text what is asked for. */
      g_object_set (cell->data, "max-width-chars", characters, NULL);
#endif
    }
  g_list_free (cells);
  return list;
}

GtkWidget *
ui_toolkit_note_new (const char *text, int characters)
{
  GtkWidget *label = gtk_label_new (text);

  gtk_label_set_line_wrap (GTK_LABEL (label), TRUE);
  /* Paths have no spaces to break at. */
  gtk_label_set_line_wrap_mode (GTK_LABEL (label), PANGO_WRAP_WORD_CHAR);
  gtk_label_set_xalign (GTK_LABEL (label), 0);
#if GTK_CHECK_VERSION(3, 0, 0)
  gtk_label_set_max_width_chars (GTK_LABEL (label), characters);
#else
  {
    /* A label of GTK 2 breaks its lines at the width that it asks for. */
    PangoLayout *layout = gtk_widget_create_pango_layout (label, "0");
    int          width;

    pango_layout_get_pixel_size (layout, &width, NULL);
    g_object_unref (layout);
    gtk_widget_set_size_request (label, width * characters, -1);
  }
#endif
  return label;
}

void
ui_toolkit_set_name (GtkWidget *widget, const char *name, const char *description)
{
  AtkObject *accessible = gtk_widget_get_accessible (widget);

  if (! accessible)
    return;
  if (name)
    atk_object_set_name (accessible, name);
  if (description)
    atk_object_set_description (accessible, description);
}

#if GTK_CHECK_VERSION(3, 0, 0)

void
ui_toolkit_get_colours (GtkWidget *widget, double ground[3], double text[3])
{
  GtkStyleContext *style = gtk_widget_get_style_context (gtk_widget_get_toplevel (widget));
  GdkRGBA         *back, fore;

  gtk_style_context_get (style, GTK_STATE_FLAG_NORMAL, "background-color", &back, NULL);
  gtk_style_context_get_color (style, GTK_STATE_FLAG_NORMAL, &fore);
  memcpy (ground, (double[]){ back->red, back->green, back->blue }, 3 * sizeof (double));
  memcpy (text, (double[]){ fore.red, fore.green, fore.blue }, 3 * sizeof (double));
  gdk_rgba_free (back);
}

#else

void
ui_toolkit_get_colours (GtkWidget *widget, double ground[3], double text[3])
{
  const GtkStyle *style = gtk_widget_get_style (widget);
  const GdkColor *back = &style->bg[GTK_STATE_NORMAL], *fore = &style->fg[GTK_STATE_NORMAL];
  const double    most = G_MAXUINT16;

  memcpy (ground, (double[]){ back->red / most, back->green / most, back->blue / most }, 3 * sizeof (double));
  memcpy (text, (double[]){ fore->red / most, fore->green / most, fore->blue / most }, 3 * sizeof (double));
}

#endif

void
ui_toolkit_set_cursor (GtkWidget *widget, GdkCursorType type)
{
  GdkCursor *cursor = gdk_cursor_new_for_display (gtk_widget_get_display (widget), type);

  gdk_window_set_cursor (gtk_widget_get_window (widget), cursor);
#if GTK_CHECK_VERSION(3, 0, 0)
  g_object_unref (cursor);
#else
  gdk_cursor_unref (cursor);
#endif
}

int
ui_toolkit_get_scroll_mask (void)
{
#if GTK_CHECK_VERSION(3, 0, 0)
  return GDK_SCROLL_MASK | GDK_SMOOTH_SCROLL_MASK;
#else
  return GDK_SCROLL_MASK;
#endif
}

void
ui_toolkit_get_scroll (const GdkEventScroll *event, double *dx, double *dy)
{
  *dx = event->direction == GDK_SCROLL_LEFT ? -1 : event->direction == GDK_SCROLL_RIGHT ? 1 : 0;
  *dy = event->direction == GDK_SCROLL_UP ? -1 : event->direction == GDK_SCROLL_DOWN ? 1 : 0;
#if GTK_CHECK_VERSION(3, 0, 0)
  /* Of any other event it would be zero. */
  if (event->direction == GDK_SCROLL_SMOOTH)
    gdk_event_get_scroll_deltas ((const GdkEvent *) event, dx, dy);
#endif
}

/* The window that the widget is in, or NULL while it is nowhere on the screen. */
static GdkWindow *
get_shown_window (GtkWidget *widget)
{
  GtkWidget *top = gtk_widget_get_toplevel (widget);

  return gtk_widget_get_mapped (top) ? gtk_widget_get_window (top) : NULL;
}

#if GTK_CHECK_VERSION(3, 0, 0)

int
ui_toolkit_get_screen_height (GtkWidget *widget)
{
  GdkDisplay  *display = gtk_widget_get_display (widget);
  GdkWindow   *window = get_shown_window (widget);
  GdkDevice   *pointer = gdk_seat_get_pointer (gdk_display_get_default_seat (display));
  GdkMonitor  *monitor = NULL;
  GdkRectangle area;
  int          x, y;

  if (window)
    monitor = gdk_display_get_monitor_at_window (display, window);
  else if (pointer)
    {
      /* Windows come up where the pointer is. */
      gdk_device_get_position (pointer, NULL, &x, &y);
      monitor = gdk_display_get_monitor_at_point (display, x, y);
    }
  if (! monitor)
    monitor = gdk_display_get_primary_monitor (display);
  gdk_monitor_get_workarea (monitor ? monitor : gdk_display_get_monitor (display, 0), &area);
  return area.height;
}

#else

int
ui_toolkit_get_screen_height (GtkWidget *widget)
{
  GdkScreen   *screen = gtk_widget_get_screen (widget), *other;
  GdkWindow   *window = get_shown_window (widget);
  GdkRectangle area;
  int          monitor = gdk_screen_get_primary_monitor (screen), x, y;

  if (window)
    monitor = gdk_screen_get_monitor_at_window (screen, window);
  else
    {
      /* Windows come up where the pointer is. */
      gdk_display_get_pointer (gtk_widget_get_display (widget), &other, &x, &y, NULL);
      if (other == screen)
        monitor = gdk_screen_get_monitor_at_point (screen, x, y);
    }
  gdk_screen_get_monitor_geometry (screen, monitor, &area);
  return area.height;
}

#endif
