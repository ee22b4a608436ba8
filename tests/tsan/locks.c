/* GLib's locks, made visible to ThreadSanitizer.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * GLib is not built with ThreadSanitizer, and its locks are futexes of its own: who only sees our code takes each
 * access under a lock for a race.  In builds with -Db_sanitize=thread the linker (--wrap) leads our calls here.  Each
 * calls the real function, and says what it orders: all before a release happens before all after the next acquire of
 * the same address.  (Threads need nothing: GLib makes and joins them by pthread_create () and pthread_join (), which
 * ThreadSanitizer knows; and atomic operations are compiler built-ins, in our own code.)
 */
#include <glib.h>

void __tsan_acquire (void *address);
void __tsan_release (void *address);

void     __real_g_mutex_lock (GMutex *mutex);
void     __real_g_mutex_unlock (GMutex *mutex);
void     __real_g_cond_wait (GCond *cond, GMutex *mutex);
void     __real_g_async_queue_push (GAsyncQueue *queue, gpointer data);
gpointer __real_g_async_queue_pop (GAsyncQueue *queue);
gpointer __real_g_async_queue_timeout_pop (GAsyncQueue *queue, guint64 timeout);

void     __wrap_g_mutex_lock (GMutex *mutex);
void     __wrap_g_mutex_unlock (GMutex *mutex);
void     __wrap_g_cond_wait (GCond *cond, GMutex *mutex);
void     __wrap_g_async_queue_push (GAsyncQueue *queue, gpointer data);
gpointer __wrap_g_async_queue_pop (GAsyncQueue *queue);
gpointer __wrap_g_async_queue_timeout_pop (GAsyncQueue *queue, guint64 timeout);
gboolean __wrap_g_once_init_enter (volatile void *location);
void     __wrap_g_once_init_leave (volatile void *location, gsize result);

void
__wrap_g_mutex_lock (GMutex *mutex)
{
  __real_g_mutex_lock (mutex);
  __tsan_acquire (mutex);
}

void
__wrap_g_mutex_unlock (GMutex *mutex)
{
  __tsan_release (mutex);
  __real_g_mutex_unlock (mutex);
}

void
__wrap_g_cond_wait (GCond *cond, GMutex *mutex)
{
  __tsan_release (mutex);
  __real_g_cond_wait (cond, mutex);
  __tsan_acquire (mutex);
}

void
__wrap_g_async_queue_push (GAsyncQueue *queue, gpointer data)
{
  __tsan_release (queue);
  __real_g_async_queue_push (queue, data);
}

gpointer
__wrap_g_async_queue_pop (GAsyncQueue *queue)
{
  gpointer data = __real_g_async_queue_pop (queue);

  __tsan_acquire (queue);
  return data;
}

gpointer
__wrap_g_async_queue_timeout_pop (GAsyncQueue *queue, guint64 timeout)
{
  gpointer data = __real_g_async_queue_timeout_pop (queue, timeout);

  if (data)
    __tsan_acquire (queue);
  return data;
}

/* Whoever finds the value set has read it by an atomic load, in our own code: so it must be stored by one there.  One
 * lock, from entering to leaving, is for all that is made once; recursive, for what is made within. */
static GRecMutex once;

gboolean
__wrap_g_once_init_enter (volatile void *location)
{
  g_rec_mutex_lock (&once);
  __tsan_acquire (&once);
  if (! g_atomic_pointer_get ((gsize *) location))
    return TRUE;
  g_rec_mutex_unlock (&once);
  return FALSE;
}

void
__wrap_g_once_init_leave (volatile void *location, gsize result)
{
  g_atomic_pointer_set ((gsize *) location, result);
  __tsan_release (&once);
  g_rec_mutex_unlock (&once);
}
