/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <string.h>

#include "formats.h"

static gboolean
is_grey (const Babl *format)
{
  return babl_format_get_n_components (format) <= 2;
}

/* Perceptual encoding keeps noise about equally visible everywhere and is what the models were trained on; the layer's
 * own primaries keep the noise of the channels apart.  A colour profile with another tone curve needs "R~G~B~". */
const Babl *
formats_get_seen (const Babl *native)
{
  const char *name;

  if (babl_format_get_space (native) == babl_space ("sRGB"))
    name = is_grey (native) ? "Y'A float" : "R'G'B'A float";
  else
    name = is_grey (native) ? "Y~A float" : "R~G~B~A float";
  return babl_format_with_space (name, native);
}

const Babl *
formats_get_exact (const Babl *native)
{
  const char      *encoding = babl_format_get_encoding (native);
  const int        model = (int) strcspn (encoding, " ");
  g_autofree char *name = g_strdup_printf ("%.*s%s double", model, encoding, babl_format_has_alpha (native) ? "" : "A");

  return babl_format_with_space (name, native);
}

const Babl *
formats_get_shown (const Babl *native, const Babl *space)
{
  const char      *type = strchr (babl_format_get_encoding (native), ' ');
  g_autofree char *name = NULL;

  if (! space || ! type)
    return native;
  name = g_strconcat (is_grey (native) ? "Y'" : "R'G'B'", babl_format_has_alpha (native) ? "A" : "", type, NULL);
  return babl_format_with_space (name, space);
}

/* The highest of the levels that native's values have as they are seen; 0: it has none, or others. */
static int
get_highest_level (const Babl *native)
{
  const char *seen = babl_format_get_encoding (formats_get_seen (native));
  const Babl *type = babl_format_get_type (native, 0);

  if (strncmp (babl_format_get_encoding (native), seen, strcspn (seen, "A")) != 0)
    return 0;
  return type == babl_type ("u8") ? 255 : type == babl_type ("u16") ? 65535 : 0;
}

void
formats_settle_seen (const Babl *native, float *values, gsize n)
{
  const int   highest = get_highest_level (native);
  const gsize count = n * babl_format_get_n_components (formats_get_seen (native));

  if (highest > 0)
    for (gsize i = 0; i < count; i++)
      values[i] = (float) (int) (values[i] * highest + 0.5f) / highest;
}
