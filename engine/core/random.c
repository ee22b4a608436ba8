/* Counter-based random numbers.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <math.h>

void
random_philox (guint64 key, const guint32 counter[4], guint32 out[4])
{
  guint32 k0 = (guint32) key, k1 = (guint32) (key >> 32);
  guint32 c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];

  for (int round = 0; round < 10; round++)
    {
      guint64 p0 = (guint64) 0xD2511F53u * c0;
      guint64 p1 = (guint64) 0xCD9E8D57u * c2;

      c0 = (guint32) (p1 >> 32) ^ c1 ^ k0;
      c1 = (guint32) p1;
      c2 = (guint32) (p0 >> 32) ^ c3 ^ k1;
      c3 = (guint32) p0;
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/* (0, 1]: never 0, so that its logarithm is finite. */
static inline float
unit_open (guint32 word)
{
  return ((float) (word >> 8) + 1.0f) * 0x1p-24f;
}

static inline void
box_muller (guint32 a, guint32 b, float out[2])
{
  float radius = sqrtf (-2.0f * logf (unit_open (a)));
  float angle = (float) (2.0 * G_PI) * ((float) (b >> 8) * 0x1p-24f);

  out[0] = radius * cosf (angle);
  out[1] = radius * sinf (angle);
}

void
random_gaussian4 (guint64 seed, guint32 stream, int x, int y, float out[4])
{
  const guint32 counter[4] = { (guint32) x, (guint32) y, stream, 0 };
  guint32       words[4];

  random_philox (seed, counter, words);
  box_muller (words[0], words[1], out);
  box_muller (words[2], words[3], out + 2);
}

void
random_init (Random *random, guint64 seed, guint64 stream)
{
  *random = (Random){ .seed = seed, .stream = stream };
}

guint32
random_word (Random *random)
{
  if (random->left == 0)
    {
      /* The highest bit keeps sequences apart from the pixels' counters, whose last word is 0. */
      const guint32 counter[4] = { (guint32) random->index, (guint32) (random->index >> 32), (guint32) random->stream,
                                   (guint32) (random->stream >> 32) | 0x80000000u };

      random_philox (random->seed, counter, random->words);
      random->index++;
      random->left = 4;
    }
  return random->words[--random->left];
}

double
random_double (Random *random)
{
  return random_word (random) * 0x1p-32;
}

double
random_range (Random *random, double low, double high)
{
  return low + random_double (random) * (high - low);
}

int
random_int (Random *random, int low, int high)
{
  return high <= low ? low : low + (int) (random_double (random) * (high - low));
}

double
random_normal (Random *random)
{
  float   pair[2];
  guint32 a = random_word (random);

  box_muller (a, random_word (random), pair);
  return pair[0];
}
