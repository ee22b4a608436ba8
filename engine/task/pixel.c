/* Between pixels as they are stored and as the engine sees them.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What comes back into a picture is never the engine's view of a pixel but the pixel's own value plus the change that
 * the engine made.  So values beyond white survive, and a pixel that the engine left alone keeps its bits.
 */
#include "diffusion.h"

#include <math.h>

/* Changes this small are rounding of the conversion there and back, not the engine's work: 1/4000 of an 8-bit step. */
static const float UNCHANGED = 1e-6f;

static gboolean
is_meaningful (const float *pixel, int components)
{
  for (int c = 0; c < components; c++)
    if (! isfinite (pixel[c]))
      return FALSE;
  return pixel[components - 1] > 0;
}

gboolean
diffusion_pixel_show (const float *pixel, int components, float seen[3])
{
  const gboolean meaningful = is_meaningful (pixel, components);

  for (int c = 0; c < 3; c++)
    seen[c] = meaningful ? CLAMP (pixel[components == 2 ? 0 : c], DIFFUSION_LOWEST, DIFFUSION_HIGHEST) : NAN;
  return meaningful;
}

gboolean
diffusion_pixel_change (float *pixel, int components, const float result[3])
{
  const float grey = (result[0] + result[1] + result[2]) / 3;
  gboolean    changed = FALSE;

  if (! is_meaningful (pixel, components))
    return FALSE;
  for (int c = 0; c < components - 1; c++)
    changed = changed || fabsf ((components == 2 ? grey : result[c]) - pixel[c]) > UNCHANGED;
  for (int c = 0; changed && c < components - 1; c++)
    pixel[c] = components == 2 ? grey : result[c];
  return changed;
}
