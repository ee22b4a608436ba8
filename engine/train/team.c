/* Data-parallel training: what the ranks have to tell each other.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The only thing that the team is asked for is sums.  Rank 0's state reaches the others as a sum too, of itself and
 * zeros, which is exact.
 */
#include "train.h"

int
team_batch (const DiffusionTrainOptions *options)
{
  return options->batch * MAX (options->team.ranks, 1);
}

gboolean
team_sum (const DiffusionTeam *team, double *values, gsize count, GError **error)
{
  return team->ranks <= 1 || team->sum_doubles (values, count, team->user_data, error);
}

gboolean
team_reduce (const DiffusionTeam *team, const Adam *adam, Pool *pool, float *gradient, double *norm, GError **error)
{
  if (team->ranks <= 1)
    return TRUE;
  if (! team->sum_floats (gradient, adam->count, team->user_data, error))
    return FALSE;
  *norm = adam_reduce (adam, pool, &gradient, 1);
  return TRUE;
}

gboolean
team_share_start (const DiffusionTeam *team, Adam *adam, Progress *progress, GError **error)
{
  float *arrays[] = { adam->weights, adam->average, adam->m, adam->v };
  double values[] = { (double) adam->steps,
                      (double) progress->samples,
                      progress->seconds,
                      progress->loss,
                      progress->gradient_norm,
                      progress->skipped,
                      (double) progress->samples_of_start,
                      progress->hours_of_start };

  if (team->ranks <= 1)
    return TRUE;
  for (gsize i = 0; i < G_N_ELEMENTS (values) && team->rank > 0; i++)
    values[i] = 0;
  if (! team_sum (team, values, G_N_ELEMENTS (values), error))
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (arrays); i++)
    {
      if (team->rank > 0)
        memset (arrays[i], 0, adam->count * sizeof (float));
      if (! team->sum_floats (arrays[i], adam->count, team->user_data, error))
        return FALSE;
    }
  adam->steps = (gint64) values[0];
  *progress = (Progress){ (gint64) values[1],  values[2],          values[3], values[4],
                          (guint32) values[5], (gint64) values[6], values[7] };
  return TRUE;
}
