/* gimp-diffusion: photographs between files and the engine
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "picture-io.h"

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
  return photo_take (raster_new (width, height, 3, 8, error), error);
}

Photo *
photo_read (const char *path, GError **error)
{
  g_autoptr (Photo) photo = photo_take (raster_read (path, error), error);
  const Raster *raster;
  gsize         count;

  if (! photo)
    return NULL;
  raster = photo->raster;
  count = (gsize) raster->width * raster->height;
  for (gsize i = 0; i < count; i++)
    for (int c = 0; c < 3; c++)
      photo->picture->data[3 * i + c] = raster_get (raster, i * raster->channels + (raster->channels < 3 ? 0 : c));
  return g_steal_pointer (&photo);
}

gboolean
photo_write (Photo *photo, const char *path, GError **error)
{
  Raster      *raster = photo->raster;
  const float *data = photo->picture->data;
  gsize        count = (gsize) raster->width * raster->height;

  for (gsize i = 0; i < count; i++, data += 3)
    if (raster->channels < 3) /* the mean of three equal floats is exact in double precision */
      raster_set (raster, i * raster->channels, ((double) data[0] + data[1] + data[2]) / 3);
    else
      for (int c = 0; c < 3; c++)
        raster_set (raster, i * raster->channels + c, data[c]);
  return raster_write (raster, path, error);
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
