/* Mixing a denoised photograph with the original: what a slider does without the network.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "diffusion.h"

#include <string.h>

static gboolean
check_arguments (const DiffusionPicture *original, const DiffusionPicture *denoised, double strength, double detail,
                 double colour, const DiffusionPicture *out, GError **error)
{
  const DiffusionPicture *const pictures[] = { original, denoised, out };
  const char                   *wrong = NULL;

  for (gsize i = 0; i < G_N_ELEMENTS (pictures); i++)
    if (pictures[i]->channels != 3 || pictures[i]->width != out->width || pictures[i]->height != out->height)
      wrong = "pictures of 3 channels and of one size";
  if (! (strength >= 0) || strength > 2)
    wrong = "a strength from 0 to 2";
  else if (! (detail >= 0) || detail > 1)
    wrong = "a share of detail from 0 to 1";
  else if (! (colour >= 0) || colour > 1)
    wrong = "a share of colour noise from 0 to 1";
  if (wrong)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "Blending needs %s.", wrong);
  return ! wrong;
}

gboolean
diffusion_denoise_blend (const DiffusionPicture *original, const DiffusionPicture *denoised, double strength,
                         double detail, double colour, DiffusionPicture *out, GError **error)
{
  const float  taken = (float) MIN (strength, 1);
  const float  luma = 1 - taken * (float) (1 - detail), chroma = 1 - taken * (float) colour;
  const gsize  count = (gsize) out->width * (gsize) out->height;
  const float *o = original->data, *d = denoised->data;

  if (! check_arguments (original, denoised, strength, detail, colour, out, error))
    return FALSE;
  /* Either end is the picture itself, bit for bit and whatever values it holds. */
  if (luma == chroma && (luma == 0 || luma == 1))
    {
      memmove (out->data, luma == 0 ? d : o, count * 3 * sizeof (float));
      return TRUE;
    }
  for (gsize i = 0; i < count; i++, o += 3, d += 3)
    {
      const float difference[3] = { o[0] - d[0], o[1] - d[1], o[2] - d[2] };
      const float mean = (difference[0] + difference[1] + difference[2]) * (1.0f / 3);

      for (int c = 0; c < 3; c++)
        out->data[i * 3 + (gsize) c] = d[c] + (luma * mean + chroma * (difference[c] - mean));
    }
  return TRUE;
}
