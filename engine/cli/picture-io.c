/* gimp-diffusion: photographs between files and the engine
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "picture-io.h"

#include <float.h>
#include <string.h>

void
photo_free (Photo *photo)
{
  if (! photo)
    return;
  raster_free (photo->raster);
  diffusion_picture_free (photo->picture);
  g_free (photo);
}

static Photo *
photo_take (Raster *raster, GError **error)
{
  g_autoptr (Photo) photo = g_new0 (Photo, 1);

  photo->raster = raster;
  photo->picture = raster ? diffusion_picture_new (raster->width, raster->height, 3, error) : NULL;
  return photo->picture ? g_steal_pointer (&photo) : NULL;
}

Photo *
photo_new (int width, int height, GError **error)
{
  Photo *photo = photo_take (raster_new (width, height, 3, 8, error), error);

  if (photo)
    memset (photo->raster->data, 0, raster_stride (photo->raster) * height);
  return photo;
}

Photo *
photo_copy (const Photo *photo, GError **error)
{
  Photo *copy = photo_take (raster_copy (photo->raster, error), error);

  if (copy)
    photo_restore (copy, photo);
  return copy;
}

void
photo_restore (Photo *photo, const Photo *copy)
{
  const gsize height = copy->raster->height;

  memcpy (photo->raster->data, copy->raster->data, raster_stride (copy->raster) * height);
  memcpy (photo->picture->data, copy->picture->data, copy->picture->width * height * 3 * sizeof (float));
  photo->hidden = copy->hidden;
}

/* Pixel i as the engine's functions for stored pixels want it: its colours, not multiplied by alpha, and alpha, 1 if
 * the file has none.  Returns how many values that are. */
static int
get_pixel (const Raster *raster, gsize i, float pixel[4])
{
  const int    colours = raster->channels < 3 ? 1 : 3;
  const gsize  first = i * raster->channels;
  const double alpha = raster_has_alpha (raster) ? raster_get (raster, first + colours) : 1;
  const double divisor = raster->premultiplied && alpha > 0 ? alpha : 1;

  for (int c = 0; c < colours; c++)
    pixel[c] = CLAMP (raster_get (raster, first + c) / divisor, -FLT_MAX, FLT_MAX);
  pixel[colours] = alpha;
  return colours + 1;
}

Photo *
photo_read (const char *path, gboolean smooth, GError **error)
{
  g_autoptr (Photo) photo = photo_take (raster_read (path, error), error);
  gsize count;

  if (! photo)
    return NULL;
  count = (gsize) photo->raster->width * photo->raster->height;
  for (gsize i = 0; i < count; i++)
    {
      float     pixel[4];
      const int components = get_pixel (photo->raster, i, pixel);

      if (! diffusion_pixel_show (pixel, components, photo->picture->data + 3 * i))
        photo->hidden = TRUE;
    }
  return ! smooth || diffusion_fill_smooth (photo->picture, error) ? g_steal_pointer (&photo) : NULL;
}

/* What is stored keeps what the engine was not shown of it. */
static void
add_change (Raster *raster, gsize i, const float result[3])
{
  float        before[4], after[4];
  const int    colours = get_pixel (raster, i, after) - 1;
  const double factor = raster->premultiplied ? after[colours] : 1;
  const gsize  first = i * raster->channels;

  for (int c = 0; c < colours; c++)
    before[c] = after[c] = CLAMP (after[c], DIFFUSION_LOWEST, DIFFUSION_HIGHEST);
  if (! diffusion_pixel_change (after, colours + 1, result))
    return;
  for (int c = 0; c < colours; c++)
    raster_set (raster, first + c, raster_get (raster, first + c) + factor * ((double) after[c] - before[c]));
}

gboolean
photo_write (Photo *photo, const char *path, GError **error)
{
  const gsize count = (gsize) photo->raster->width * photo->raster->height;

  for (gsize i = 0; i < count; i++)
    add_change (photo->raster, i, photo->picture->data + 3 * i);
  return raster_write (photo->raster, path, error);
}

gboolean
photo_estimate_noise (const Photo *photo, const DiffusionPicture *mask, DiffusionNoise *noise, GError **error)
{
  const Raster *raster = photo->raster;
  const gsize   count = (gsize) raster->width * raster->height;
  g_autoptr (DiffusionPicture) visible = NULL;

  if (! photo->hidden)
    return diffusion_estimate_noise (photo->picture, mask, noise, error);
  visible = diffusion_picture_new (raster->width, raster->height, 1, error);
  if (! visible)
    return FALSE;
  for (gsize i = 0; i < count; i++)
    {
      float pixel[4], seen[3];

      visible->data[i]
          = diffusion_pixel_show (pixel, get_pixel (raster, i, pixel), seen) ? mask ? mask->data[i] : 1 : 0;
    }
  return diffusion_estimate_noise (photo->picture, visible, noise, error);
}

DiffusionPicture *
mask_read (const char *path, const DiffusionPicture *like, GError **error)
{
  g_autoptr (Raster) raster = raster_read (path, error);
  DiffusionPicture *mask;
  gsize             count;

  if (! raster)
    return NULL;
  if (raster->width != like->width || raster->height != like->height)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "The mask \"%s\" has %d x %d pixels, but the picture has %d x %d: they must be of one size", path,
                   raster->width, raster->height, like->width, like->height);
      return NULL;
    }
  mask = diffusion_picture_new (like->width, like->height, 1, error);
  count = mask ? (gsize) like->width * like->height : 0;
  for (gsize i = 0; i < count; i++)
    {
      gsize  first = i * raster->channels;
      double value = raster_get (raster, first);

      if (raster->channels >= 3)
        value = 0.2126 * value + 0.7152 * raster_get (raster, first + 1) + 0.0722 * raster_get (raster, first + 2);
      if (raster_has_alpha (raster) && ! raster->premultiplied)
        value *= raster_get (raster, first + raster->channels - 1);
      mask->data[i] = CLAMP (value, 0.0, 1.0);
    }
  return mask;
}
