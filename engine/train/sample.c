/* Training samples: crops, level maps, noise.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "process/process.h"
#include "train.h"

#include <math.h>

/* Levels in picture units.  Photo noise: from below what 8 bits can show to above the worst photographs; the network
 * must know more than what it will meet.  Generation: EDM's log-normal, to its sigma_max of 80 (on [-1, 1]). */
#define PHOTO_MIN       (1.0 / 255)
#define PHOTO_MAX       (255.0 / 255)
#define PHOTO_USUAL_MIN (3.0 / 255)
#define PHOTO_USUAL_MAX (60.0 / 255)
#define GENERATION_MAX  40.0
/* Where a hand shows: below, too little is left open; above, nothing of the picture is left that one would keep. */
#define STYLE_MIN (8.0 / 255)
#define STYLE_MAX (400.0 / 255)
/* Most photographs lie low here; beyond, most of the noise would be clipped away. */
#define CAMERA_MIN (1.5 / 255)
#define CAMERA_MAX (50.0 / 255)

/* What is told of a camera's noise, as a share of what there is: the estimate mostly says less, since it cannot tell
 * the coarse part of such noise from texture. */
#define TOLD_MIN 0.65
#define TOLD_MAX 1.15

/* So many of the corpus's pixels make one of a crop, in each direction. */
#define SCALE_MIN 0.5
#define SCALE_MAX 2.5
/* The widest low pass of a crop, in pixels. */
#define SOFT_MAX 0.9

/* Crops with less detail than this are mostly left out. */
#define DETAIL_MIN (2.0 / 255)

/* How far colours are varied: the exponents of the channels' curves lie between exp (-CURVE_MAX) and exp (CURVE_MAX).
 */
#define CURVE_MAX      0.5
#define SATURATION_MIN 0.6
#define SATURATION_MAX 4.0
/* The least that is left of a crop's contrast in brightness. */
#define CONTRAST_MIN 0.4

/* Shares of each kind in per cent, per mix. */
static const int shares[][6] = {
  [DIFFUSION_TRAIN_DENOISE] = { 66, 30, 1, 1, 2, 0 },
  [DIFFUSION_TRAIN_INPAINT] = { 12, 8, 18, 46, 10, 6 },
  [DIFFUSION_TRAIN_STYLE] = { 8, 0, 4, 4, 4, 80 },
};

gsize
sample_work_size (int size)
{
  /* What camera_add_noise () needs; a crop's bytes are fewer. */
  G_STATIC_ASSERT (SCALE_MAX * SCALE_MAX * 3 + 1 < 8 * sizeof (float));
  return (gsize) size * (gsize) size * 8;
}

void
sample_fill_normal (Random *random, gsize count, float *values)
{
  while (count > 0)
    {
      float four[4];
      gsize n = MIN (count, 4);

      random_gaussian4 (random->seed ^ 0x5EED5EED5EED5EEDu, (guint32) random->stream, (int) random_word (random),
                        (int) random->index, four);
      memcpy (values, four, n * sizeof (float));
      values += n;
      count -= n;
    }
}

/* ---- crops ---- */

/* Every so many'th picture is kept out of training; 0: none can be spared. */
static int
get_held_out_spacing (int count)
{
  return count >= 2 * HELD_OUT_EVERY ? HELD_OUT_EVERY : count >= HELD_OUT_LEAST ? HELD_OUT_EVERY_FEW : 0;
}

static int
pick_picture (const Corpus *corpus, gboolean held_out, Random *random)
{
  int count = corpus_count (corpus), spacing = get_held_out_spacing (count), i;

  if (! spacing)
    return corpus_pick (corpus, random_double (random));
  if (held_out)
    return random_int (random, 0, (count - 1) / spacing + 1) * spacing;
  do
    i = corpus_pick (corpus, random_double (random));
  while (i % spacing == 0);
  return i;
}

/* The mean difference of neighbours in a row: how much there is to see. */
static double
measure_detail (int size, const float *clean)
{
  double sum = 0;

  for (int i = 0; i < size * size * 3 - 3; i++)
    sum += fabs ((double) clean[i + 3] - (double) clean[i]);
  return sum / (size * size * 3);
}

/* How sharp a crop is to be.  The corpus was reduced until neither noise nor a lens's blur was left, and most
 * photographs that come to be denoised were not: neighbours' differences in a row correlate by 0.0 in the corpus, by
 * 0.3 in scans of film and by 0.6 in what cameras deliver at full size.  So crops are reduced or enlarged, and half of
 * them are softened. */
typedef struct
{
  double scale;    /* the corpus's pixels for one of the crop */
  double softness; /* of a Gaussian, in pixels */
} Sharpness;

static Sharpness
draw_sharpness (Random *random)
{
  Sharpness sharpness = { 1, 0 };

  if (random_double (random) >= 0.3)
    sharpness.scale = exp (random_range (random, log (SCALE_MIN), log (SCALE_MAX)));
  if (random_double (random) >= 0.5)
    sharpness.softness = random_range (random, 0, SOFT_MAX);
  return sharpness;
}

/* Reads a square as floats in [0, 255]; bytes: memory for 3 of each of its pixels. */
static DiffusionPicture *
read_square (const Corpus *corpus, int picture, DiffusionBox box, guint8 *bytes, GError **error)
{
  DiffusionPicture *square;

  if (! corpus_read (corpus, picture, box, bytes, error))
    return NULL;
  square = diffusion_picture_new (box.width, box.height, 3, error);
  for (int i = 0; square && i < box.width * box.height * 3; i++)
    square->data[i] = bytes[i];
  return square;
}

/* A square of some picture, turned some way; of a picture that is too small for it all there is, enlarged.  A little
 * noise hides the steps of its 8 bits, which would be learned otherwise. */
static gboolean
cut_crop (const Corpus *corpus, gboolean held_out, Random *random, int size, Sharpness sharpness, float *clean,
          float *work, GError **error)
{
  gboolean flip_x = random_double (random) < 0.5, flip_y = random_double (random) < 0.5,
           turn = random_double (random) < 0.5;
  int          picture = pick_picture (corpus, held_out, random), width, height, edge;
  DiffusionBox box;
  g_autoptr (DiffusionPicture) square = NULL, crop = NULL;

  corpus_get_size (corpus, picture, &width, &height);
  edge = MIN ((int) lrint (size * sharpness.scale), MIN (width, height));
  box = (DiffusionBox){ random_int (random, 0, width - edge + 1), random_int (random, 0, height - edge + 1), edge,
                        edge };
  square = read_square (corpus, picture, box, (guint8 *) work, error);
  crop = square && edge != size ? process_resize (square, size, size, NULL, error) : g_steal_pointer (&square);
  if (! crop)
    return FALSE;
  for (int y = 0; y < size; y++)
    for (int x = 0; x < size; x++)
      {
        int          v = flip_y ? size - 1 - y : y, w = flip_x ? size - 1 - x : x;
        const float *from = crop->data + (turn ? w * size + v : v * size + w) * 3;

        for (int c = 0; c < 3; c++)
          clean[(y * size + x) * 3 + c] = from[c];
      }
  for (int c = 0; c < 3; c++)
    camera_smooth (size, 3, sharpness.softness, clean + c, work);
  for (int i = 0; i < size * size * 3; i++)
    {
      double value = (double) clean[i] + (random_double (random) - 0.5) * MIN ((double) size / edge, 1);

      clean[i] = (float) CLAMP (value / 255, 0, 1);
    }
  return TRUE;
}

/* Skies teach little, and half of many photographs is sky: most crops of nothing are drawn again, as sharp as the
 * first.  as_is: neither scaled nor softened. */
static gboolean
draw_crop (const Corpus *corpus, gboolean held_out, Random *random, int size, gboolean as_is, float *clean, float *work,
           GError **error)
{
  Sharpness sharpness = as_is ? (Sharpness){ 1, 0 } : draw_sharpness (random);
  int       tries = 0;

  do
    if (! cut_crop (corpus, held_out, random, size, sharpness, clean, work, error))
      return FALSE;
  while (measure_detail (size, clean) < DETAIL_MIN && random_double (random) < 0.75 && ++tries < 6);
  return TRUE;
}

/* ---- colours ---- */

/* In most photographs that one may train on, the three channels are nearly the same picture, and a network learns to
 * lean on that: strong colours (flowers, cloth, paint) then come out less clean than grey ones.  So most of the crops
 * get other colours: channels change places, each gets a curve of its own, and the distance from grey grows or shrinks.
 */
static void
vary_colours (Random *random, int pixels, float *clean)
{
  int   order[3] = { 0, 1, 2 };
  float curve[3] = { 1, 1, 1 }, saturation = 1, contrast = 1, mean = 0;

  if (random_double (random) < 0.4)
    return;
  for (int c = 2; c > 0; c--)
    {
      int other = random_int (random, 0, c + 1), swap = order[c];

      order[c] = order[other];
      order[other] = swap;
    }
  if (random_double (random) < 0.5)
    for (int c = 0; c < 3; c++)
      curve[c] = (float) exp (random_range (random, -CURVE_MAX, CURVE_MAX));
  if (random_double (random) < 0.8)
    {
      saturation = (float) exp (random_range (random, log (SATURATION_MIN), log (SATURATION_MAX)));
      contrast = (float) exp (random_range (random, log (CONTRAST_MIN), 0));
    }
  for (int i = 0; i < pixels * 3; i++)
    mean += clean[i] / (float) (pixels * 3);
  for (int i = 0; i < pixels; i++)
    {
      float *p = clean + 3 * i, value[3], grey = 0;

      for (int c = 0; c < 3; c++)
        {
          float v = p[order[c]];

          value[c] = curve[c] == 1 ? v : powf (v, curve[c]);
          grey += value[c] / 3;
        }
      for (int c = 0; c < 3; c++)
        p[c] = CLAMP (mean + contrast * (grey - mean) + saturation * (value[c] - grey), 0.0f, 1.0f);
    }
}

/* ---- level maps ---- */

/* Seven of eight evenly where most noisy photographs are, the others by the logarithm. */
static double
draw_photo_level (Random *random, double most)
{
  if (random_double (random) < 0.875)
    return random_range (random, PHOTO_USUAL_MIN, MIN (PHOTO_USUAL_MAX, most));
  return exp (random_range (random, log (PHOTO_MIN), log (most)));
}

static double
draw_generation_level (Random *random, double mean, double spread)
{
  return MIN (exp (mean + spread * random_normal (random)) / 2, GENERATION_MAX);
}

static void
fill_ellipse (int size, double cx, double cy, double rx, double ry, float value, float *level)
{
  for (int y = MAX (0, (int) (cy - ry)); y <= MIN (size - 1, (int) (cy + ry)); y++)
    for (int x = MAX (0, (int) (cx - rx)); x <= MIN (size - 1, (int) (cx + rx)); x++)
      if ((x - cx) * (x - cx) / (rx * rx) + (y - cy) * (y - cy) / (ry * ry) <= 1)
        level[y * size + x] = value;
}

/* A stroke: a chain of discs along a wandering line. */
static void
fill_stroke (Random *random, int size, float value, float *level)
{
  double x = random_range (random, 0, size), y = random_range (random, 0, size),
         angle = random_range (random, 0, 2 * G_PI);
  double radius = random_range (random, 0.7, size / 16.0);
  int    steps = random_int (random, size / 4, size);

  for (int i = 0; i < steps; i++)
    {
      fill_ellipse (size, x, y, radius + 0.3, radius + 0.3, value, level);
      angle += random_normal (random) * 0.15;
      x += cos (angle) * MAX (1, radius * 0.7);
      y += sin (angle) * MAX (1, radius * 0.7);
    }
}

static void
fill_holes (Random *random, int size, float value, float *level)
{
  int holes = random_int (random, 1, 5);

  for (int i = 0; i < holes; i++)
    {
      double u = random_double (random), w = random_range (random, 5, size * 0.45),
             h = random_range (random, 5, size * 0.45);
      double x = random_range (random, -w / 4, size - w * 3 / 4), y = random_range (random, -h / 4, size - h * 3 / 4);

      if (u < 0.35)
        for (int v = MAX (0, (int) y); v < MIN (size, (int) (y + h)); v++)
          for (int c = MAX (0, (int) x); c < MIN (size, (int) (x + w)); c++)
            level[v * size + c] = value;
      else if (u < 0.65)
        fill_ellipse (size, x + w / 2, y + h / 2, w / 2, h / 2, value, level);
      else
        fill_stroke (random, size, value, level);
    }
}

/* A smooth surface through 4 x 4 random heights, times the level. */
static void
fill_soft (Random *random, int size, double most, float *level)
{
  float knots[4][4];

  for (int i = 0; i < 16; i++)
    knots[i / 4][i % 4] = (float) random_double (random);
  for (int y = 0; y < size; y++)
    for (int x = 0; x < size; x++)
      {
        float v = 3.0f * (float) y / (float) size, u = 3.0f * (float) x / (float) size;
        int   j = (int) v, i = (int) u;
        float f = v - (float) j, e = u - (float) i;

        f = f * f * (3 - 2 * f);
        e = e * e * (3 - 2 * e);
        level[y * size + x] = (float) most
                              * ((knots[j][i] * (1 - e) + knots[j][i + 1] * e) * (1 - f)
                                 + (knots[j + 1][i] * (1 - e) + knots[j + 1][i + 1] * e) * f);
      }
}

static void
fill_level (Random *random, int size, MapKind kind, float *level)
{
  float even = 0;

  if (kind == MAP_PHOTO)
    even = (float) draw_photo_level (random, PHOTO_MAX);
  else if (kind == MAP_STYLE)
    even = (float) exp (random_range (random, log (STYLE_MIN), log (STYLE_MAX)));
  else if (kind == MAP_GENERATION)
    even = (float) draw_generation_level (random, 0.3, 1.4);
  else if (kind == MAP_HOLES && random_double (random) < 0.35)
    even = (float) draw_photo_level (random, 25.0 / 255);
  for (int i = 0; i < size * size; i++)
    level[i] = even;
  if (kind == MAP_HOLES)
    fill_holes (random, size, even + (float) draw_generation_level (random, 0.3, 1.4), level);
  else if (kind == MAP_SOFT)
    fill_soft (random, size, exp (random_range (random, log (0.02), log (1.5))), level);
}

gboolean
sample_draw (const Corpus *corpus, gboolean held_out, Random *random, DiffusionTrainMix mix, Sample *sample,
             float *work, GError **error)
{
  int     pixels = sample->size * sample->size, u = random_int (random, 0, 100);
  MapKind kind = MAP_PHOTO;

  while (u >= shares[mix][kind])
    u -= shares[mix][kind++];
  /* Strokes that have been averaged away would teach that a picture needs none. */
  if (! draw_crop (corpus, held_out, random, sample->size, mix == DIFFUSION_TRAIN_STYLE, sample->clean, work, error))
    return FALSE;
  /* Fills take their colours from what is around; those shall be a photograph's. */
  if (! held_out && mix != DIFFUSION_TRAIN_STYLE && (kind == MAP_PHOTO || kind == MAP_CAMERA || kind == MAP_SOFT))
    vary_colours (random, pixels, sample->clean);
  sample->kind = kind;
  if (kind == MAP_CAMERA)
    {
      float told = (float) exp (random_range (random, log (TOLD_MIN), log (TOLD_MAX)));

      camera_add_noise (random, sample->size, exp (random_range (random, log (CAMERA_MIN), log (CAMERA_MAX))),
                        sample->clean, sample->noisy, sample->level, work);
      for (int i = 0; i < pixels; i++)
        sample->level[i] *= told;
      return TRUE;
    }
  fill_level (random, sample->size, kind, sample->level);
  sample_fill_normal (random, (gsize) pixels * 3, work);
  for (int i = 0; i < pixels * 3; i++)
    sample->noisy[i] = sample->clean[i] + sample->level[i / 3] * work[i];
  return TRUE;
}
