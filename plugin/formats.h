/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * In which formats pixels are read, worked on and shown.
 */
#pragma once

#include <babl/babl.h>
#include <glib.h>

G_BEGIN_DECLS

/* For a layer's own format: what the engine sees of it, perceptual floats with alpha in the layer's colour space. */
const Babl *formats_get_seen (const Babl *native);

/* For a layer's own format: its own encoding in doubles, with alpha. "R'G'B' u8" becomes "R'G'B'A double". */
const Babl *formats_get_exact (const Babl *native);

/* The format as one that says which colours its numbers are, if it does not do so itself: then space does, whose tone
 * curve is that of the numbers, whatever the format's name.  space: as host_get_space () says; may be NULL. */
const Babl *formats_get_shown (const Babl *native, const Babl *space);

/* values: n pixels in formats_get_seen (native), just converted from native.  babl picks among several conversions by
 * how fast each has just been, and they differ in the last bit.  Where native has levels of the same encoding, 255 or
 * 65535, each value becomes the float next to its level: a layer is seen the same each time. */
void formats_settle_seen (const Babl *native, float *values, gsize n);

G_END_DECLS
