/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Whether the pixels of a drawable are still what they were: users go on working while a dialog is open.  Everything
 * here belongs to the main thread.
 */
#pragma once

#include <gegl.h>

#include "host.h"

G_BEGIN_DECLS

/* The pixels of a rectangle of a drawable at some moment. */
typedef struct
{
  GeglRectangle rect;
  guint64       checksum; /* of a sample of them; 0: the drawable does not exist */
} Sight;

/* Of a sample of a buffer's pixels in a rectangle, whose place is not negative; never 0. */
guint64 sight_checksum (GeglBuffer *buffer, const GeglRectangle *rect);

Sight    sight_take (HostDrawable drawable, const GeglRectangle *rect);
gboolean sight_holds (const Sight *sight, HostDrawable drawable);

G_END_DECLS
