/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "relay.h"

typedef struct
{
  const UiRelayWork *work;
  gpointer           data;
  GCancellable      *cancellable;
  gboolean           more; /* has to be read */
} Relay;

static void think (Relay *relay);

/* Takes the error. */
static void
end (Relay *relay, GError *error)
{
  relay->work->end (relay->data, error);
  g_clear_error (&error);
  g_clear_object (&relay->cancellable);
  g_free (relay);
}

static gboolean
read_some (gpointer data)
{
  Relay   *relay = data;
  GError  *error = NULL;
  gboolean done = FALSE;

  if (! g_cancellable_set_error_if_cancelled (relay->cancellable, &error)
      && relay->work->read (relay->data, &done, &error) && ! done)
    return G_SOURCE_CONTINUE;
  if (error)
    end (relay, error);
  else
    think (relay);
  return G_SOURCE_REMOVE;
}

static void
think_done (GObject *source, GAsyncResult *result, gpointer data)
{
  Relay  *relay = data;
  GError *error = NULL;

  if (g_task_propagate_boolean (G_TASK (result), &error) && relay->more)
    g_idle_add (read_some, relay);
  else
    end (relay, error);
}

static void
think_work (GTask *task, gpointer source, gpointer data, GCancellable *cancellable)
{
  Relay  *relay = data;
  GError *error = NULL;

  if (relay->work->think (relay->data, cancellable, &relay->more, &error))
    g_task_return_boolean (task, TRUE);
  else
    g_task_return_error (task, error);
}

static void
think (Relay *relay)
{
  GTask *task = g_task_new (NULL, relay->cancellable, think_done, relay);

  relay->more = FALSE;
  g_task_set_task_data (task, relay, NULL);
  g_task_run_in_thread (task, think_work);
  g_object_unref (task);
}

void
ui_relay_run (const UiRelayWork *work, gpointer data, GCancellable *cancellable)
{
  Relay *relay = g_new0 (Relay, 1);

  relay->work = work;
  relay->data = data;
  relay->cancellable = cancellable ? g_object_ref (cancellable) : NULL;
  think (relay);
}
