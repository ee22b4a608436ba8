/* Which back ends there are, and which one runs.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute.h"

#include <cblas.h>
#include <glib/gi18n-lib.h>
#include <sys/resource.h>
#include <time.h>

/* From the fastest to the slowest. */
static const ComputeBackend *const backends[] = {
#ifdef HAVE_ONEDNN
  &compute_onednn,
#endif
  &compute_blas,
  &compute_reference,
};

/* OpenBLAS takes so much, once for each thread that calls it, and where it cannot have it, it asks again for ever. */
#define BLAS_MEMORY ((gsize) 129 << 20)

/* OpenBLAS's own, where it shows them: memory for one call, and its return, after which OpenBLAS keeps it. */
extern void *blas_memory_alloc (int unused) __attribute__ ((weak));
extern void  blas_memory_free (void *memory) __attribute__ ((weak));

extern void gotoblas_dynamic_quit (void) __attribute__ ((weak));
extern void gotoblas_dynamic_init (void) __attribute__ ((weak));

#if defined(__x86_64__)
/* On processors that are younger than it, OpenBLAS takes its kernels for the Prescott, of 2004: version 0.3.21 does so
 * on an Emerald Rapids, and multiplies at a fifth of the speed.  What it shall take can only be said in the
 * environment, which is safe to change before there are threads that could look into it (OpenBLAS's own sleep). */
static void choose_blas_kernels (void) __attribute__ ((constructor));

static void
choose_blas_kernels (void)
{
  static const char VARIABLE[] = "OPENBLAS_CORETYPE";
  const char       *kernels = NULL;

  __builtin_cpu_init ();
  if (__builtin_cpu_supports ("avx512f") && __builtin_cpu_supports ("avx512cd") && __builtin_cpu_supports ("avx512bw")
      && __builtin_cpu_supports ("avx512dq") && __builtin_cpu_supports ("avx512vl"))
    kernels = "SkylakeX";
  else if (__builtin_cpu_supports ("avx2") && __builtin_cpu_supports ("fma"))
    kernels = "Haswell";
  if (! kernels || ! gotoblas_dynamic_quit || ! gotoblas_dynamic_init || g_getenv (VARIABLE)
      || strcmp (openblas_get_corename (), "Prescott") != 0)
    return;
  g_setenv (VARIABLE, kernels, TRUE);
  gotoblas_dynamic_quit ();
  gotoblas_dynamic_init ();
  g_unsetenv (VARIABLE);
}
#endif

/* Has OpenBLAS take what `threads` calls at a time need while it is there: later, others may have taken it. */
static void
take_blas_memory (void **blocks, int threads)
{
  if (! blas_memory_alloc || ! blas_memory_free)
    return;
  for (int i = 0; i < threads; i++)
    blocks[i] = blas_memory_alloc (0);
  for (int i = 0; i < threads; i++)
    blas_memory_free (blocks[i]);
}

static gboolean
check_blas_memory (GError **error)
{
  static GMutex     lock;
  static gboolean   known; /* once there was enough, each thread keeps what it took */
  int               threads = core_count_physical ();
  g_autofree void **blocks = NULL;
  gboolean          enough = TRUE;

  g_mutex_lock (&lock);
  if (! known)
    {
      blocks = g_new0 (void *, (gsize) threads);
      for (int i = 0; i < threads && enough; i++)
        enough = (blocks[i] = core_alloc (BLAS_MEMORY, 1, error)) != NULL;
      for (int i = 0; i < threads; i++)
        core_free (blocks[i]);
      if (enough)
        take_blas_memory (blocks, threads);
      known = enough;
    }
  g_mutex_unlock (&lock);
  return enough;
}

/* name: NULL takes the first one that is preferred for the use. */
static const ComputeBackend *
choose (const char *name, ComputeUse use, GError **error)
{
  g_autoptr (GString) names = g_string_new (NULL);

  if (! check_blas_memory (error))
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (backends); i++)
    {
      if (! backends[i]->is_available ())
        continue;
      if (name ? strcmp (name, backends[i]->name) == 0 : ! backends[i]->is_preferred || backends[i]->is_preferred (use))
        return backends[i];
      g_string_append_printf (names, "%s%s", names->len ? ", " : "", backends[i]->name);
    }
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
               C_ ("error",
                   /* Translators: a variable of the environment; its value, and those that are possible. */
                   "DIFFUSION_COMPUTE names the compute back end \"%s\", which this build or this processor lacks; it "
                   "has: %s."),
               name, names->str);
  return NULL;
}

const ComputeBackend *
compute_get (const char *name, GError **error)
{
  return choose (name, COMPUTE_CONVS, error);
}

const ComputeBackend *
compute_get_default (ComputeUse use, GError **error)
{
  const char *name = g_getenv ("DIFFUSION_COMPUTE");

  return choose (name && *name ? name : NULL, use, error);
}

const ComputeBackend **
compute_list (void)
{
  const ComputeBackend **list = g_new0 (const ComputeBackend *, G_N_ELEMENTS (backends) + 1);
  gsize                  count = 0;

  for (gsize i = 0; i < G_N_ELEMENTS (backends); i++)
    if (backends[i]->is_available ())
      list[count++] = backends[i];
  return list;
}

/* ---- the clock of a thread's work ---- */

static _Thread_local double planning;

/* Of the program's own instructions where the system tells them apart: the system's are mostly for memory that is used
 * for the first time. */
static double
get_thread_seconds (void)
{
#ifdef RUSAGE_THREAD
  struct rusage usage = { 0 };

  getrusage (RUSAGE_THREAD, &usage);
  return (double) usage.ru_utime.tv_sec + 1e-6 * (double) usage.ru_utime.tv_usec;
#else
  struct timespec time = { 0 };

  clock_gettime (CLOCK_THREAD_CPUTIME_ID, &time);
  return (double) time.tv_sec + 1e-9 * (double) time.tv_nsec;
#endif
}

void
compute_begin_planning (void)
{
  planning -= get_thread_seconds ();
}

void
compute_end_planning (void)
{
  planning += get_thread_seconds ();
}

double
diffusion_get_work_seconds (void)
{
  return get_thread_seconds () - planning;
}
