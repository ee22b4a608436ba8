/* The ground floor of the engine: allocation, threads, files, random numbers.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#pragma once

#include "diffusion.h"

/* ---- memory ---- */

/* All bulk memory of the engine: 64-byte aligned (a cache line, an AVX-512 register), freed with core_free ().
 * NULL and DIFFUSION_ERROR_MEMORY when there is none; count * size is checked for overflow. */
gpointer core_alloc (gsize count, gsize size, GError **error);
gpointer core_alloc0 (gsize count, gsize size, GError **error);
void     core_free (gpointer memory);
/* Whether so much could be allocated at this moment. */
gboolean core_has_room (gsize bytes);

/* Frees a variable's memory where its block ends. */
static inline void
core_free_variable (gpointer variable)
{
  core_free (*(gpointer *) variable);
}
#define core_autofree __attribute__ ((cleanup (core_free_variable)))

/* An array that grows.  GLib's own abort where there is no memory: they are for what does not grow with the input. */
typedef struct
{
  gpointer data;
  gsize    count, room; /* elements */
} CoreArray;

/* Adds an element of that size; the array then is as before, if it fails. */
gboolean core_array_add (CoreArray *array, gconstpointer element, gsize size, GError **error);
void     core_array_clear (CoreArray *array);

/* A buffer that grows: working memory of one thread. */
typedef struct
{
  gpointer data;
  gsize    size;
} Scratch;

/* At least size bytes, contents unspecified; valid until the next call on the same scratch. */
gpointer scratch_get (Scratch *scratch, gsize size, GError **error);
void     scratch_clear (Scratch *scratch);

/* Bytes that the system could give without pushing anything out; G_MAXSIZE where it does not say. */
gsize core_get_spare_memory (void);

/* ---- threads ---- */

/* A fixed set of workers that sleep between jobs.  The engine's kernels are single-threaded; whoever runs them splits
 * rows or samples over the pool, so that OpenBLAS's and OpenMP's own threads never come into it. */
typedef struct _Pool Pool;
typedef void (*PoolFunc) (int task, int thread, gpointer user_data);

/* threads: workers including the caller; 0: the physical cores that this process may use.  Fewer where the system gives
 * no more. */
Pool *pool_new (int threads, GError **error);
void  pool_free (Pool *pool);
int   pool_get_threads (const Pool *pool);
/* Calls func for each task in [0, tasks), each on some thread in [0, threads), the caller's being 0; returns when all
 * are done.  Without a pool (NULL) all run on the calling thread.  Not to be called from within func, nor from two
 * threads at once. */
void pool_run (Pool *pool, int tasks, PoolFunc func, gpointer user_data);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Pool, pool_free)

int core_count_physical (void);

/* Each thread of a job has its own error; propagates the first and clears all.  TRUE when there was none. */
gboolean core_take_first_error (GError **errors, int count, GError **error);

/* ---- files ---- */

/* Files are read, never mapped: a mapping takes the program down when the file shrinks while it is in use.  Opens a
 * regular file and tells its size; -1, and what is wrong with it as part of a sentence (translated), where that cannot
 * be. */
int core_open_file (const char *path, gsize *size, const char **reason);
/* `size` bytes from `offset` on, or FALSE and the reason: the file may have become shorter. */
gboolean core_read_file (int fd, gsize offset, gsize size, void *to, const char **reason);

/* ---- random numbers ---- */

/* Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): a pure function from a key and
 * a 128-bit counter to four words, so that any pixel's noise can be had without drawing its neighbours'. */
void random_philox (guint64 key, const guint32 counter[4], guint32 out[4]);

/* Four independent standard normal values (Box-Muller) for the point (x, y) of stream `stream`. */
void random_gaussian4 (guint64 seed, guint32 stream, int x, int y, float out[4]);

/* A sequence of words for places where order is natural (choosing crops, initial weights). */
typedef struct
{
  guint64 seed;
  guint64 stream, index;
  guint32 words[4];
  int     left;
} Random;

void    random_init (Random *random, guint64 seed, guint64 stream);
guint32 random_word (Random *random);
double  random_double (Random *random);                         /* [0, 1) */
double  random_range (Random *random, double low, double high); /* [low, high) */
int     random_int (Random *random, int low, int high);         /* low ... high - 1 */
double  random_normal (Random *random);
