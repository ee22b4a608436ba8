/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What GTK 2 and GTK 3 do differently.  No other file of ui/ asks for the version.
 */
#pragma once

#include <libgimp/gimp.h>
#include <libgimp/gimpui.h> /* makes GTK 2 speak some of GTK 3 */

G_BEGIN_DECLS

typedef void (*UiDraw) (GtkWidget *widget, cairo_t *cr, gpointer data);

/* Calls draw whenever the widget has to be painted, with cr at the widget's left upper corner. */
void ui_toolkit_connect_draw (GtkWidget *widget, UiDraw draw, gpointer data);

/* How many pixels of the screen make one of the widget's units: 2 on a screen of doubled scale. */
int ui_toolkit_get_scale (GtkWidget *widget);

/* The widget as something that scrolls vertically where there is too little room, and is as wide as its content. */
GtkWidget *ui_toolkit_scroll_new (GtkWidget *content);

/* The wheel scrolls what is around the lists, sliders and numbers of the content: only one that has the focus is set by
 * it. */
void ui_toolkit_leave_wheel (GtkWidget *content);

/* The content's own height, up to a limit, is asked for before any scrolling. */
void ui_toolkit_scroll_fit (GtkWidget *scroll, GtkWidget *content, int limit);

/* Around a text view: so many characters wide at least, and lines high. */
GtkWidget *ui_toolkit_text_scroll_new (GtkWidget *view, int characters, int lines);

/* The height that the widget would like to have. */
int ui_toolkit_get_wanted_height (GtkWidget *widget);

/* A GtkComboBoxText that asks for so many characters, however long the names in it are; it shows more where there is
 * room. */
GtkWidget *ui_toolkit_list_new (int characters);

/* A label that breaks its lines, and is never wider than so many characters. */
GtkWidget *ui_toolkit_note_new (const char *text, int characters);

/* What assistive technology calls the widget. */
void ui_toolkit_set_name (GtkWidget *widget, const char *name, const char *description);

/* The theme's colours of a plain background and of a text on it, as the widget's window has them. */
void ui_toolkit_get_colours (GtkWidget *widget, double ground[3], double text[3]);

/* The pointer's shape over the widget. */
void ui_toolkit_set_cursor (GtkWidget *widget, GdkCursorType type);

/* The events by which a widget learns that the wheel was turned. */
int ui_toolkit_get_scroll_mask (void);

/* How far the event turned the wheel, in steps, down and right positive. */
void ui_toolkit_get_scroll (const GdkEventScroll *event, double *dx, double *dy);

/* The height of the monitor that the widget is on, or will be, in the widget's units; in GTK 3 less what panels cover.
 */
int ui_toolkit_get_screen_height (GtkWidget *widget);

G_END_DECLS
