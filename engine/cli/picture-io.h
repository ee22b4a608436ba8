/* gimp-diffusion: photographs between files and the engine
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "diffusion.h"
#include "raster.h"

G_BEGIN_DECLS

/* A file and its colours as the engine wants them: as GIMP's filters show them to it, not multiplied by alpha, within
 * limits, and NAN or a smooth continuation of what is visible where nothing is.  What else the file holds (alpha,
 * depth, profile) stays in the raster. */
typedef struct
{
  Raster           *raster;
  DiffusionPicture *picture; /* 3 channels, also of a grey file */
  gboolean          hidden;  /* it has pixels that are not visible */
} Photo;

/* smooth: with that continuation, which all but diffusion_inpaint () wants. */
Photo *photo_read (const char *path, gboolean smooth, GError **error);
/* Adds what was changed in the picture to the raster, whose depth, greyness and alpha it takes on, and writes that; no
 * second time, unless all is restored from a copy. */
gboolean photo_write (Photo *photo, const char *path, GError **error);
void     photo_free (Photo *photo); /* NULL is fine */
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Photo, photo_free)

Photo *photo_copy (const Photo *photo, GError **error);
void   photo_restore (Photo *photo, const Photo *copy);

/* A black photo of 8 bits to be filled and written. */
Photo *photo_new (int width, int height, GError **error);

/* Measures what is visible, where the mask selects it (NULL: everywhere). */
gboolean photo_estimate_noise (const Photo *photo, const DiffusionPicture *mask, DiffusionNoise *noise, GError **error);

/* A map in [0, 1] from a picture's brightness (times its alpha), which must have the size of `like`. */
DiffusionPicture *mask_read (const char *path, const DiffusionPicture *like, GError **error);

G_END_DECLS
