/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Pixels are read and written in strips of rows, which end where GIMP's rows of tiles do.
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

enum
{
  STRIP = 64 /* rows: GIMP's tiles are as high */
};

/* The height of the strip that starts at row y, which is not negative, of so many columns of a buffer that ends before
 * row `end`: of very many it is less, lest the dialog stand still. */
int strip_height (int y, int end, int width);

/* That of the highest strip. */
int strip_height_most (int width);

/* The checksum of bytes that come after those that another checksum, or 0, is of. */
guint64 strip_checksum (guint64 before, gconstpointer bytes, gsize n);

G_END_DECLS
