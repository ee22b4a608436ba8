/* bf16: the upper half of an f32.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <glib.h>

static inline float
load_bf16 (guint16 value)
{
  union
  {
    guint32 i;
    float   f;
  } bits = { (guint32) value << 16 };

  return bits.f;
}

/* To nearest, ties to even; a NaN may become an infinity, which is as useless and as easily found. */
static inline guint16
store_bf16 (float value)
{
  union
  {
    float   f;
    guint32 i;
  } bits = { value };

  return (guint16) ((bits.i + 0x7FFFu + ((bits.i >> 16) & 1u)) >> 16);
}
