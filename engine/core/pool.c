/* The worker pool.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <sched.h>
#include <stdio.h>
#include <unistd.h>

/* How often a worker looks for the next job before it sleeps: some 20 us, the length of a short layer.  Longer spinning
 * would take the cores from other programs, and from our own threads when there are more of them than cores. */
#define SPINS 400

struct _Pool
{
  int       threads; /* the caller included */
  GThread **workers; /* threads - 1 */

  PoolFunc func;
  gpointer user_data;
  int      tasks;
  gint     next_task; /* atomic */
  gint     running;   /* atomic: workers that have not finished this job */
  gint     job;       /* atomic: the number of the current job */
  gboolean quit;

  GMutex mutex;
  GCond  start, done;
};

typedef struct
{
  Pool *pool;
  int   thread;
} Worker;

static inline void
relax (void)
{
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause ();
#endif
}

static void
take_tasks (Pool *pool, int thread)
{
  int task;

  while ((task = g_atomic_int_add (&pool->next_task, 1)) < pool->tasks)
    pool->func (task, thread, pool->user_data);
}

/* Waits until job differs from seen; returns FALSE when the pool ends. */
static gboolean
wait_for_job (Pool *pool, gint seen)
{
  gboolean quit;

  for (int i = 0; i < SPINS && g_atomic_int_get (&pool->job) == seen; i++)
    for (int j = 0; j < 8; j++)
      relax ();
  g_mutex_lock (&pool->mutex);
  while (g_atomic_int_get (&pool->job) == seen && ! pool->quit)
    g_cond_wait (&pool->start, &pool->mutex);
  quit = pool->quit;
  g_mutex_unlock (&pool->mutex);
  return ! quit;
}

static gpointer
work (gpointer data)
{
  Worker *worker = data;
  Pool   *pool = worker->pool;
  gint    seen = 0;

  while (wait_for_job (pool, seen))
    {
      seen = g_atomic_int_get (&pool->job);
      take_tasks (pool, worker->thread);
      if (g_atomic_int_dec_and_test (&pool->running))
        {
          g_mutex_lock (&pool->mutex);
          g_cond_signal (&pool->done);
          g_mutex_unlock (&pool->mutex);
        }
    }
  g_free (worker);
  return NULL;
}

void
pool_run (Pool *pool, int tasks, PoolFunc func, gpointer user_data)
{
  if (! pool || pool->threads == 1 || tasks <= 1)
    {
      for (int task = 0; task < tasks; task++)
        func (task, 0, user_data);
      return;
    }
  pool->func = func;
  pool->user_data = user_data;
  pool->tasks = tasks;
  g_atomic_int_set (&pool->next_task, 0);
  g_atomic_int_set (&pool->running, pool->threads - 1);

  g_mutex_lock (&pool->mutex);
  g_atomic_int_inc (&pool->job);
  g_cond_broadcast (&pool->start);
  g_mutex_unlock (&pool->mutex);

  take_tasks (pool, 0);

  for (int i = 0; i < SPINS && g_atomic_int_get (&pool->running) > 0; i++)
    for (int j = 0; j < 8; j++)
      relax ();
  g_mutex_lock (&pool->mutex);
  while (g_atomic_int_get (&pool->running) > 0)
    g_cond_wait (&pool->done, &pool->mutex);
  g_mutex_unlock (&pool->mutex);
}

/* The number of different cores among the processors that this process may run on. */
int
core_count_physical (void)
{
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  cpu_set_t set;

  CPU_ZERO (&set);
  if (sched_getaffinity (0, sizeof set, &set) != 0)
    return MAX (1, (int) g_get_num_processors ());
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
    {
      char             path[128];
      g_autofree char *siblings = NULL;

      if (! CPU_ISSET (cpu, &set))
        continue;
      g_snprintf (path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
      if (! g_file_get_contents (path, &siblings, NULL, NULL))
        siblings = g_strdup_printf ("%d", cpu);
      g_hash_table_add (seen, g_steal_pointer (&siblings));
    }
  return MAX (1, (int) g_hash_table_size (seen));
}

Pool *
pool_new (int threads, GError **error)
{
  Pool *pool = g_new0 (Pool, 1);

  g_mutex_init (&pool->mutex);
  g_cond_init (&pool->start);
  g_cond_init (&pool->done);
  pool->threads = threads > 0 ? MIN (threads, 256) : core_count_physical ();
  pool->workers = g_new0 (GThread *, (gsize) pool->threads);
  for (int i = 1; i < pool->threads; i++)
    {
      Worker *worker = g_new (Worker, 1);

      *worker = (Worker){ pool, i };
      pool->workers[i] = g_thread_try_new ("diffusion", work, worker, NULL);
      if (! pool->workers[i])
        {
          /* Little memory, or a limit on threads: those that there are do the work. */
          g_free (worker);
          pool->threads = i;
        }
    }
  return pool;
}

void
pool_free (Pool *pool)
{
  if (! pool)
    return;
  g_mutex_lock (&pool->mutex);
  pool->quit = TRUE;
  g_cond_broadcast (&pool->start);
  g_mutex_unlock (&pool->mutex);
  for (int i = 1; i < pool->threads; i++)
    if (pool->workers[i])
      g_thread_join (pool->workers[i]);
  g_mutex_clear (&pool->mutex);
  g_cond_clear (&pool->start);
  g_cond_clear (&pool->done);
  g_free (pool->workers);
  g_free (pool);
}

int
pool_get_threads (const Pool *pool)
{
  return pool ? pool->threads : 1;
}
