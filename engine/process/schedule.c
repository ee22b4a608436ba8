/* How the level falls from step to step, and samplers' names.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process.h"

#include <math.h>

#define RHO 7.0
/* The last level before 0, picture units: below what 8 bits can show.  The first is a tenth of the start's where that
 * is less. */
#define LAST_LEVEL (0.5 / 255)

void
schedule_fill (double largest_level, int steps, double *ratios)
{
  double last = largest_level > 0 ? MIN (LAST_LEVEL / largest_level, 0.1) : 0.1;
  double low = pow (last, 1 / RHO);

  for (int i = 0; i < steps; i++)
    ratios[i] = i == 0 ? 1 : pow (1 + i / (steps - 1.0) * (low - 1), RHO);
  ratios[steps] = 0;
}

void
diffusion_schedule (double largest, int steps, double *levels)
{
  schedule_fill (largest, steps, levels);
  for (int i = 0; i <= steps; i++)
    levels[i] *= largest;
}

static const char *const names[] = {
  [DIFFUSION_SAMPLER_DDPM] = "ddpm",
  [DIFFUSION_SAMPLER_DDIM] = "ddim",
  [DIFFUSION_SAMPLER_DPMPP_2M] = "dpm++2m",
  [DIFFUSION_SAMPLER_EULER] = "euler",
  [DIFFUSION_SAMPLER_EULER_ANCESTRAL] = "euler-a",
  [DIFFUSION_SAMPLER_LCM] = "lcm",
};

const char *
diffusion_sampler_get_name (DiffusionSampler sampler)
{
  return (gsize) sampler < G_N_ELEMENTS (names) ? names[sampler] : NULL;
}

gboolean
diffusion_sampler_parse (const char *name, DiffusionSampler *sampler, GError **error)
{
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    if (g_strcmp0 (name, names[i]) == 0)
      {
        *sampler = (DiffusionSampler) i;
        return TRUE;
      }
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
               "There is no sampler \"%s\": choose ddpm, ddim, dpm++2m, euler, euler-a or lcm.", name ? name : "");
  return FALSE;
}
