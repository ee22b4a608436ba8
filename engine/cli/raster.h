/* gimp-diffusion: picture files as they are stored
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A raster is a decoded file: its own samples, depth, channels and colour profile, so that whatever nobody changes is
 * written back bit for bit.  The formats' own libraries do the work: they report each error, which GEGL's load and save
 * operations do not (a truncated file yields black pixels there, a full disk goes unnoticed).
 */
#pragma once

#include <gio/gio.h>
#include <stdio.h>

G_BEGIN_DECLS

/* What a PNG file says about colour without a profile; written back to PNG files only. */
typedef struct
{
  gboolean has_gamma, has_primaries, has_intent;
  gint32   gamma;
  gint32   primaries[8];
  int      intent;
} RasterPngColour;

typedef struct
{
  int             width, height;
  int             channels;             /* 1: grey, 2: grey and alpha, 3: R'G'B', 4: R'G'B' and alpha */
  int             bits;                 /* 8 and 16: integers, 32: float; in the machine's byte order */
  gboolean        premultiplied;        /* the colours are stored times alpha, as TIFF files may do */
  guint8         *data;                 /* rows from the top, channels interleaved, no padding */
  GBytes         *profile;              /* ICC, or NULL */
  GBytes         *exif;                 /* from its TIFF header on, or NULL */
  double          density_x, density_y; /* pixels per metre, 0 when unknown */
  RasterPngColour png_colour;
} Raster;

Raster *raster_new (int width, int height, int channels, int bits, GError **error);
Raster *raster_copy (const Raster *raster, GError **error);
/* Says that there is not enough memory for a picture of this size; FALSE. */
gboolean raster_no_memory (int width, int height, GError **error);
void     raster_free (Raster *raster); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Raster, raster_free)

/* Reads PNG, JPEG, TIFF, WebP and binary PPM and PGM files, recognised by their first bytes, and turns them upright. */
Raster *raster_read (const char *path, GError **error);

/* Says early whether a picture could be written there: a known extension, a folder that can be written to.  May be
 * NULL: raster, which is then not asked whether it is too large, or has transparency that the format has no place for.
 */
gboolean raster_check_target (const char *path, const Raster *raster, GError **error);

/* Writes the format of the path's extension; whatever exists there is replaced only by a complete new file. */
gboolean raster_write (const Raster *raster, const char *path, GError **error);

static inline gboolean
raster_has_alpha (const Raster *raster)
{
  return raster->channels == 2 || raster->channels == 4;
}

static inline gsize
raster_stride (const Raster *raster)
{
  return (gsize) raster->width * raster->channels * (raster->bits / 8);
}

/* Sample i as a fraction of the whole, and back, clamped and rounded when the depth is an integer one. */
double raster_get (const Raster *raster, gsize i);
void   raster_set (Raster *raster, gsize i, double value);

/* Turns the picture as the EXIF orientation 1 ... 8 demands. */
gboolean raster_orient (Raster *raster, int orientation, GError **error);

/* ---- the formats: private to raster*.c --------------------------------------------------------------------------- */

Raster *raster_png_decode (const guint8 *data, gsize size, GError **error);
Raster *raster_jpeg_decode (const guint8 *data, gsize size, GError **error);
Raster *raster_tiff_decode (const guint8 *data, gsize size, GError **error);
Raster *raster_webp_decode (const guint8 *data, gsize size, GError **error);
Raster *raster_pnm_decode (const guint8 *data, gsize size, GError **error);

gboolean raster_png_encode (const Raster *raster, FILE *file, GError **error);
gboolean raster_jpeg_encode (const Raster *raster, FILE *file, GError **error);
gboolean raster_tiff_encode (const Raster *raster, FILE *file, GError **error);
gboolean raster_pnm_encode (const Raster *raster, FILE *file, GError **error);

G_END_DECLS
