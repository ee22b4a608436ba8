/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What made a result is kept with it, so that it can be made again.
 */
#pragma once

#include "host.h"

G_BEGIN_DECLS

/* The parasite's name.  It holds a GVariant dictionary as text: the procedure and its arguments. */
#define RECORD_NAME "gimp-diffusion"

/* Attaches the configuration, with this seed, to the drawable.  If the drawable is part of an image already, this is an
 * undo step of its own unless the caller groups it. */
void record_attach (HostDrawable drawable, const Filter *filter, GObject *config, int seed);

G_END_DECLS
