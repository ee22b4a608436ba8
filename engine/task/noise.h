/* What the tasks share about a photograph's noise.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "diffusion.h"

/* In a DiffusionNoise, "chroma" is the root mean square of the levels of (R' - B') / sqrt (2) and (R' - 2 G' + B') /
 * sqrt (6): of white noise each of the two has the channels' own level, and Y' has that level / sqrt (3). */

/* The level at a brightness Y': the curve, linear between its points and flat beyond its ends (and at a brightness of
 * NAN: 0). */
double diffusion_noise_at (const DiffusionNoise *noise, double brightness);
