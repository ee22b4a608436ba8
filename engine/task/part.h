/* The progress of one piece of work among several.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "diffusion.h"

/* A piece that covers [from, from + share) of the whole that `options` reports on. */
typedef struct
{
  const DiffusionOptions *options;
  double                  from, share;
} Part;

/* The whole's options with a progress of the piece's own; the part must stay as long as they are used. */
DiffusionOptions part_get_options (const Part *part);
