/* One piece of work among several: its progress, and where it lies.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "diffusion.h"

/* A piece that covers [from, from + share) of the whole that `options` reports on, and works on a part of the whole's
 * picture. */
typedef struct
{
  const DiffusionOptions *options;
  double                  from, share;
  int                     x, y; /* where that begins in the whole's picture */
} Part;

/* The whole's options with a progress and an origin of the piece's own, and with steps that are seen where they lie in
 * the whole; the part must stay as long as they are used. */
DiffusionOptions part_get_options (const Part *part);
