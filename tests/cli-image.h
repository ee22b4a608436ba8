/* gimp-diffusion: picture files made and read by hand, for tests
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Nothing here uses the formats' libraries, so that a mistake in the program's reading cannot cancel one in its
 * writing.
 */
#pragma once

#include <gio/gio.h>

typedef struct
{
  int      width, height, channels, bits;
  guint16 *data;
} Image;

void image_free (Image *image);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Image, image_free)

gsize image_count (const Image *image);

/* Soft waves and one edge around mid grey, plus noise of the given level (in 1/255); the last of 2 or 4 channels is
 * alpha. */
Image *image_make (int width, int height, int channels, int bits, double noise, guint seed);

void   image_write_png (const Image *image, const char *path);
Image *image_read_png (const char *path);

/* One uncompressed strip, little-endian; grey or RGB. */
void image_write_tiff (const Image *image, const char *path);
/* The same of width x height x channels floats. */
void image_write_float_tiff (int width, int height, int channels, const float *values, const char *path);
/* The value, or the first of several, of a tag of 16 bits in a little-endian file; -1: not there. */
int image_get_tiff_tag (const char *path, int tag);

/* The root of the mean square of all differences. */
double image_error (const Image *a, const Image *b);

void assert_same_form (const Image *a, const Image *b);
void assert_same (const Image *a, const Image *b);

GBytes *file_load (const char *path);
void    file_store (const char *path, gconstpointer data, gsize size);
void    assert_same_file (const char *a, const char *b);
