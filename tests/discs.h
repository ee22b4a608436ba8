/* A picture to learn from.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* Coloured discs on a slope: enough structure to learn something from.  rgb: width x height pixels of 3 bytes. */
static inline void
draw_discs (Random *random, int width, int height, guint8 *rgb)
{
  for (int i = 0; i < width * height * 3; i++)
    rgb[i] = (guint8) (60 + i / 3 % width * 100 / width + i % 3 * 20);
  for (int disc = 0; disc < 12; disc++)
    {
      int cx = random_int (random, 0, width), cy = random_int (random, 0, height), r = random_int (random, 4, 20),
          colour[3];

      for (int c = 0; c < 3; c++)
        colour[c] = random_int (random, 0, 256);
      for (int y = MAX (0, cy - r); y < MIN (height, cy + r); y++)
        for (int x = MAX (0, cx - r); x < MIN (width, cx + r); x++)
          if ((x - cx) * (x - cx) + (y - cy) * (y - cy) < r * r)
            for (int c = 0; c < 3; c++)
              rgb[(y * width + x) * 3 + c] = (guint8) colour[c];
    }
}
