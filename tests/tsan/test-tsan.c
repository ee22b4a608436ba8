/* Does ThreadSanitizer see what it should?  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Zero reports prove something only if a race is reported: here are some, on purpose, each in a process of its own;
 * and the same accesses in order, by each means that the engine uses, are no race.
 */
#include "core/core.h"

#include <string.h>

/* volatile: else a loop of additions becomes one. */
static volatile int shared;
static int          ready;
static GMutex       mutex;
static GCond        cond;
static gsize        once;
static Pool        *pool;
static gint         turn;

/* ---- races ---- */

static gpointer
add (gpointer data)
{
  for (int i = 0; i < 1000; i++)
    shared++;
  return NULL;
}

static void
race_of_threads (void)
{
  GThread *thread = g_thread_new ("adds", add, NULL);

  add (NULL);
  g_thread_join (thread);
}

/* Long enough for other threads to take tasks of their own. */
static void
add_in_task (int task, int thread, gpointer data)
{
  shared++;
  g_usleep (500);
  shared++;
}

static void
race_in_pool (void)
{
  pool = pool_new (4, NULL);
  for (int i = 0; i < 10; i++)
    pool_run (pool, 64, add_in_task, NULL);
  pool_free (pool);
}

/* Under a lock, but not both under the same. */
static void
add_locked (GMutex *lock)
{
  g_mutex_lock (lock);
  shared++;
  g_mutex_unlock (lock);
}

static gpointer
add_under_own_lock (gpointer data)
{
  GMutex own;

  g_mutex_init (&own);
  for (int i = 0; i < 1000; i++)
    add_locked (&own);
  g_mutex_clear (&own);
  return NULL;
}

static void
race_under_locks (void)
{
  GThread *thread = g_thread_new ("adds", add_under_own_lock, NULL);

  for (int i = 0; i < 1000; i++)
    add_locked (&mutex);
  g_thread_join (thread);
}

/* ---- no races ---- */

static void
add_locked_in_task (int task, int thread, gpointer data)
{
  add_locked (&mutex);
}

/* Tasks share nothing but by the lock; the caller reads and writes between the jobs. */
static void
fine_in_pool (void)
{
  pool = pool_new (4, NULL);
  for (int i = 0; i < 200; i++)
    {
      shared++;
      pool_run (pool, 64, add_locked_in_task, NULL);
    }
  pool_free (pool);
  g_assert_cmpint (shared, ==, 200 * 65);
}

static gpointer
wait_for_it (gpointer data)
{
  g_mutex_lock (&mutex);
  while (! ready)
    g_cond_wait (&cond, &mutex);
  g_mutex_unlock (&mutex);
  shared++;
  return NULL;
}

static void
fine_by_condition (void)
{
  GThread *thread = g_thread_new ("waits", wait_for_it, NULL);

  shared = 1;
  g_mutex_lock (&mutex);
  ready = TRUE;
  g_cond_signal (&cond);
  g_mutex_unlock (&mutex);
  g_thread_join (thread);
  g_assert_cmpint (shared, ==, 2);
}

static gpointer
take (gpointer queue)
{
  volatile int *value = g_async_queue_pop (queue);

  ++*value;
  while (! g_async_queue_timeout_pop (queue, 1000))
    ;
  return NULL;
}

static void
fine_by_queue (void)
{
  GAsyncQueue *queue = g_async_queue_new ();
  GThread     *thread = g_thread_new ("takes", take, queue);

  shared = 1;
  g_async_queue_push (queue, (gpointer) &shared);
  g_async_queue_push (queue, &ready);
  g_thread_join (thread);
  g_async_queue_unref (queue);
  g_assert_cmpint (shared, ==, 2);
}

static gpointer
make_once (gpointer data)
{
  if (g_once_init_enter (&once))
    {
      shared = 5;
      g_once_init_leave (&once, 1);
    }
  g_assert_cmpint (shared, ==, 5);
  return NULL;
}

static void
fine_once (void)
{
  GThread *threads[4];

  for (int i = 0; i < 4; i++)
    threads[i] = g_thread_new ("once", make_once, NULL);
  for (int i = 0; i < 4; i++)
    g_thread_join (threads[i]);
}

static gpointer
take_turn (gpointer data)
{
  while (! g_atomic_int_get (&turn))
    ;
  shared++;
  return NULL;
}

static void
fine_by_atomics (void)
{
  GThread *thread = g_thread_new ("turn", take_turn, NULL);

  shared = 1;
  g_atomic_int_set (&turn, 1);
  g_thread_join (thread);
}

/* ---- the tests ---- */

typedef struct
{
  const char *name;
  void (*run) (void);
  gboolean race;
} Case;

static const Case cases[] = {
  { "race/threads", race_of_threads, TRUE },
  { "race/pool", race_in_pool, TRUE },
  { "race/locks", race_under_locks, TRUE },
  { "fine/pool", fine_in_pool, FALSE },
  { "fine/condition", fine_by_condition, FALSE },
  { "fine/queue", fine_by_queue, FALSE },
  { "fine/once", fine_once, FALSE },
  { "fine/atomics", fine_by_atomics, FALSE },
};

static void
test_case (gconstpointer data)
{
  const Case *c = data;

  if (g_test_subprocess ())
    {
      c->run ();
      return;
    }
  g_test_trap_subprocess (NULL, 0, 0);
  if (c->race)
    {
      g_test_trap_assert_failed ();
      g_test_trap_assert_stderr ("*ThreadSanitizer: data race*");
    }
  else
    {
      g_test_trap_assert_passed ();
      g_test_trap_assert_stderr_unmatched ("*ThreadSanitizer*");
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strconcat ("/tsan/", cases[i].name, NULL);

      g_test_add_data_func (name, &cases[i], test_case);
    }
  return g_test_run ();
}
