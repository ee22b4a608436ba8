/* Photographs for the measurements of quality.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "diffusion.h"

/* Starts GEGL, which reads the files; photo_end () ends it. */
void photo_begin (void);
void photo_end (void);

/* R'G'B' of a picture file; NULL if it is none. */
DiffusionPicture *photo_load (const char *path);

/* Writes a PNG of 16 bits. */
gboolean photo_save (const DiffusionPicture *picture, const char *path);

/* What GIMP's Filters > Enhance > Noise Reduction makes of a picture; both may be the same. */
void photo_reduce_noise (const DiffusionPicture *picture, int strength, DiffusionPicture *result);

/* A copy with white noise of standard deviation sigma (picture units), the same for the same seed; not clipped. */
DiffusionPicture *photo_add_noise (const DiffusionPicture *clean, double sigma, guint64 seed);

/* In dB, for a peak of 1; values outside [0, 1] are seen as a viewer sees them, clipped. */
double photo_get_psnr (const DiffusionPicture *a, const DiffusionPicture *b);
