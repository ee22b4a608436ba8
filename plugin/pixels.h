/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Pixels that GIMP does not have yet, in memory.  A buffer of GEGL's would go to GIMP's swap folder as it grows; where
 * that is full, GEGL says so on stderr only, and hands back black.
 */
#pragma once

#include <gegl.h>

G_BEGIN_DECLS

typedef struct
{
  GeglRectangle rect;
  const Babl   *format;
  guchar       *data; /* row by row */
} Pixels;

/* NULL, with a sentence, if there is not so much memory. */
Pixels *pixels_new (const GeglRectangle *rect, const Babl *format, GError **error);
void    pixels_free (Pixels *pixels);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Pixels, pixels_free)

/* Sets a part, which lies in rect, to data of the same format. */
void pixels_set (Pixels *pixels, const GeglRectangle *part, const guchar *data);
/* Writes all of them into a buffer, from this place on. */
void pixels_write (const Pixels *pixels, GeglBuffer *buffer, int x, int y);

G_END_DECLS
