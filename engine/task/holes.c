/* A smooth continuation into holes.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Pull and push: average what is known down a pyramid, then fill each level's holes from the level above (Gortler et
 * al. 1996, "The Lumigraph", section 3.4, with weights 0 and 1).
 */
#include "fill.h"

#include <math.h>

static const float GREY = 0.5f;

static gboolean
has_holes (const DiffusionPicture *picture)
{
  const gsize n = (gsize) picture->width * picture->height * picture->channels;

  for (gsize i = 0; i < n; i += picture->channels)
    if (isnan (picture->data[i]))
      return TRUE;
  return FALSE;
}

DiffusionPicture *
holes_reduce (const DiffusionPicture *fine, int least, GError **error)
{
  const int         channels = fine->channels;
  DiffusionPicture *coarse = diffusion_picture_new ((fine->width + 1) / 2, (fine->height + 1) / 2, channels, error);

  if (! coarse)
    return NULL;

  for (int y = 0; y < coarse->height; y++)
    for (int x = 0; x < coarse->width; x++)
      {
        float *sum = coarse->data + ((gsize) y * coarse->width + x) * channels;
        int    known = 0;

        for (int fy = 2 * y; fy < MIN (2 * y + 2, fine->height); fy++)
          for (int fx = 2 * x; fx < MIN (2 * x + 2, fine->width); fx++)
            {
              const float *pixel = fine->data + ((gsize) fy * fine->width + fx) * channels;

              if (isnan (pixel[0]))
                continue;
              for (int c = 0; c < channels; c++)
                sum[c] += pixel[c];
              known++;
            }
        for (int c = 0; c < channels; c++)
          sum[c] = known >= least ? sum[c] / (float) known : NAN;
      }
  return coarse;
}

/* Linear interpolation of the coarser level at a fine pixel's centre. */
void
holes_enlarge (DiffusionPicture *fine, const DiffusionPicture *coarse)
{
  const int channels = fine->channels;

  for (int y = 0; y < fine->height; y++)
    for (int x = 0; x < fine->width; x++)
      {
        float    *pixel = fine->data + ((gsize) y * fine->width + x) * channels;
        const int x0 = x / 2, y0 = y / 2;
        const int x1 = CLAMP (x0 + (x % 2 ? 1 : -1), 0, coarse->width - 1);
        const int y1 = CLAMP (y0 + (y % 2 ? 1 : -1), 0, coarse->height - 1);

        if (! isnan (pixel[0]))
          continue;
        for (int c = 0; c < channels; c++)
          {
            const float *top = coarse->data + (gsize) y0 * coarse->width * channels + c;
            const float *bottom = coarse->data + (gsize) y1 * coarse->width * channels + c;

            pixel[c] = 0.75f * (0.75f * top[x0 * channels] + 0.25f * top[x1 * channels])
                       + 0.25f * (0.75f * bottom[x0 * channels] + 0.25f * bottom[x1 * channels]);
          }
      }
}

gboolean
diffusion_fill_smooth (DiffusionPicture *picture, GError **error)
{
  if (! has_holes (picture))
    return TRUE;

  if (picture->width == 1 && picture->height == 1)
    {
      for (int c = 0; c < picture->channels; c++)
        picture->data[c] = GREY;
      return TRUE;
    }

  g_autoptr (DiffusionPicture) coarse = holes_reduce (picture, 1, error);

  if (! coarse || ! diffusion_fill_smooth (coarse, error))
    return FALSE;
  holes_enlarge (picture, coarse);
  return TRUE;
}
