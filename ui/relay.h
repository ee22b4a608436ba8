/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Work that goes to and fro between a thread, which thinks, and the main thread, which reads what only that may read: a
 * few milliseconds at a time, between events.
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

typedef struct
{
  /* Any thread, at first and again when all has been read: *more tells whether there is something to be read next;
   * otherwise the work is done. */
  gboolean (*think) (gpointer data, GCancellable *cancellable, gboolean *more, GError **error);
  /* Main thread, for some milliseconds: reads some of it; *done: it was the last. */
  gboolean (*read) (gpointer data, gboolean *done, GError **error);
  /* Main thread, once: the work is done, or has ended for an error.  After this data is not used any more. */
  void (*end) (gpointer data, const GError *error);
} UiRelayWork;

/* Begins it.  work and data are borrowed until its end, which always comes, and from the main context only: when it is
 * cancelled, with G_IO_ERROR_CANCELLED before anything more is read, or as soon as the thread has heard of it.
 * cancellable may be NULL. */
void ui_relay_run (const UiRelayWork *work, gpointer data, GCancellable *cancellable);

G_END_DECLS
