/* gimp-diffusion: reading WebP files, by libwebp
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "raster.h"

#include "diffusion.h"

#ifdef HAVE_WEBP
#include <webp/decode.h>
#include <webp/demux.h>

static GBytes *
read_chunk (const WebPDemuxer *demuxer, const char *name)
{
  WebPChunkIterator iterator;
  GBytes           *bytes = NULL;

  if (WebPDemuxGetChunk (demuxer, name, 1, &iterator))
    {
      bytes = g_bytes_new (iterator.chunk.bytes, iterator.chunk.size);
      WebPDemuxReleaseChunkIterator (&iterator);
    }
  return bytes;
}

Raster *
raster_webp_decode (const guint8 *data, gsize size, GError **error)
{
  g_autoptr (Raster) raster = NULL;
  WebPBitstreamFeatures features;
  WebPData              file = { data, size };
  WebPDemuxer          *demuxer;
  guint8               *done = NULL;

  if (WebPGetFeatures (data, size, &features) == VP8_STATUS_OK && ! features.has_animation)
    {
      raster = raster_new (features.width, features.height, features.has_alpha ? 4 : 3, 8, error);
      if (! raster)
        return NULL;
      if (features.has_alpha)
        done = WebPDecodeRGBAInto (data, size, raster->data, raster_stride (raster) * raster->height,
                                   raster_stride (raster));
      else
        done = WebPDecodeRGBInto (data, size, raster->data, raster_stride (raster) * raster->height,
                                  raster_stride (raster));
    }
  if (! done)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the WebP file is truncated, damaged or an animation");
      return NULL;
    }
  demuxer = WebPDemux (&file);
  if (demuxer)
    {
      raster->profile = read_chunk (demuxer, "ICCP");
      raster->exif = read_chunk (demuxer, "EXIF");
      WebPDemuxDelete (demuxer);
    }
  return g_steal_pointer (&raster);
}

#else

Raster *
raster_webp_decode (const guint8 *data, gsize size, GError **error)
{
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
               "this program was built without WebP: convert it to PNG first");
  return NULL;
}

#endif
