/* gimp-diffusion: training with other processes, by MPI
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * MPI's errors are left fatal: they mean that another process or the network is gone, and then the launcher ends all.
 */
#include "team.h"

#ifdef HAVE_MPI
#include <mpi.h>
#endif

/* How many processes the launcher has started, by the variables that Open MPI, MPICH and Slurm set; 1: none of them. */
static int
count_in_environment (void)
{
  static const char *const names[] = { "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS" };
  int                      most = 1;

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      const char *text = g_getenv (names[i]);

      most = MAX (most, text ? (int) g_ascii_strtoll (text, NULL, 10) : 1);
    }
  return most;
}

#ifdef HAVE_MPI

/* MPI counts in int; pieces of some megabytes lose nothing. */
#define PIECE ((gsize) 1 << 20)

static gboolean
sum_values (gpointer values, gsize count, gsize size, MPI_Datatype type, GError **error)
{
  for (gsize first = 0; first < count; first += PIECE)
    if (MPI_Allreduce (MPI_IN_PLACE, (char *) values + first * size, (int) MIN (PIECE, count - first), type, MPI_SUM,
                       MPI_COMM_WORLD)
        != MPI_SUCCESS)
      {
        g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_DATA, "Another process of the training is gone");
        return FALSE;
      }
  return TRUE;
}

static gboolean
sum_floats (float *values, gsize count, gpointer user_data, GError **error)
{
  return sum_values (values, count, sizeof (float), MPI_FLOAT, error);
}

static gboolean
sum_doubles (double *values, gsize count, gpointer user_data, GError **error)
{
  return sum_values (values, count, sizeof (double), MPI_DOUBLE, error);
}

gboolean
team_join (DiffusionTeam *team, GError **error)
{
  int provided;

  *team = (DiffusionTeam){ 0, 1, NULL, NULL, NULL };
  if (count_in_environment () <= 1)
    return TRUE;
  /* Only this thread calls MPI, but there are others. */
  if (MPI_Init_thread (NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS || provided < MPI_THREAD_FUNNELED)
    {
      g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                           "MPI could not be started for a program with threads");
      return FALSE;
    }
  MPI_Comm_rank (MPI_COMM_WORLD, &team->rank);
  MPI_Comm_size (MPI_COMM_WORLD, &team->ranks);
  team->sum_floats = sum_floats;
  team->sum_doubles = sum_doubles;
  return TRUE;
}

void
team_leave (const DiffusionTeam *team)
{
  if (team->sum_doubles)
    MPI_Finalize ();
}

#else

gboolean
team_join (DiffusionTeam *team, GError **error)
{
  *team = (DiffusionTeam){ 0, 1, NULL, NULL, NULL };
  if (count_in_environment () <= 1)
    return TRUE;
  /* Each would train alone, and write over the others' files. */
  g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                       "This program was built without MPI and cannot train with others: start it without mpirun, or "
                       "build it with -Dmpi=enabled");
  return FALSE;
}

void
team_leave (const DiffusionTeam *team)
{
}

#endif

gboolean
team_wait (const DiffusionTeam *team, GError **error)
{
  double nothing = 0;

  return team->ranks <= 1 || team->sum_doubles (&nothing, 1, team->user_data, error);
}
