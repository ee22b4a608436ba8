/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <string.h>

#include "strips.h"

enum
{
  PIXELS = 500 * 1000 /* read or written at a time, about */
};

int
strip_height_most (int width)
{
  return CLAMP (PIXELS / width, 1, STRIP);
}

int
strip_height (int y, int end, int width)
{
  return MIN (MIN (STRIP - y % STRIP, end - y), strip_height_most (width));
}

/* FNV's way, with words for bytes. */
static guint64
add_word (guint64 checksum, const guchar *bytes, gsize n)
{
  guint64 word = 0;

  memcpy (&word, bytes, n);
  checksum = (checksum ^ word) * G_GUINT64_CONSTANT (0x100000001b3);
  return checksum ^ checksum >> 32;
}

guint64
strip_checksum (guint64 before, gconstpointer bytes, gsize n)
{
  const guchar *next = bytes;
  guint64       checksum = before;

  for (; n >= sizeof checksum; next += sizeof checksum, n -= sizeof checksum)
    checksum = add_word (checksum, next, sizeof checksum);
  return n > 0 ? add_word (checksum, next, n) : checksum;
}
