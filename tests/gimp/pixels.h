/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A helper plug-in for the tests: a drawable's pixels from a file and to a file, raw, in any precision, and the
 * selection as floats.  The shared part works on buffers; the two entry points only fetch them.
 */
#pragma once

#include <gegl.h>

#define PIXELS_PROCEDURE "plug-in-test-pixels"

/* Starts GEGL without its operations, of which none is needed: a third of the time. */
void pixels_init (void);

/* If load is not empty, reads this file into drawable; if save is not empty, writes drawable to this file; if mask is
 * not empty, writes selection there. */
gboolean pixels_transfer (GeglBuffer *drawable, GeglBuffer *selection, const char *load, const char *save,
                          const char *mask, GError **error);
