/* The noise that a photograph already has.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Noise is measured where there is least else.  The picture is sampled in blocks of 8x8, each turned into a discrete
 * cosine transform of its luma and colour differences.  The blocks are put into groups of like brightness, because
 * noise depends on brightness, and in each group the mean energy of the weakest few blocks is taken as noise.  That is
 * in outline the method of Ponomarenko et al. 2007 ("An automatic approach to lossy compression of AVIRIS images") and
 * of Pyatykh, Hesser, Zheng 2013 ("Image noise level estimation by principal component analysis").  What differs:
 *
 * The weakest blocks of pure noise hold less than all of it.  So half of the coefficients (i + j even or odd, as on a
 * chessboard) choose the blocks and the other half are measured: noise in one says nothing about noise in the other,
 * texture does.  So no correction by a chi-square quantile is needed, and the noise need not be white or Gaussian.
 *
 * Cameras blur noise (demosaicing, noise reduction) and JPEG removes its high frequencies.  The estimate adds up the
 * spectrum, band by band, instead of reading it off at the highest frequencies.  Only if the noise turns out to be
 * white are the high frequencies, where photographs have the least texture, trusted for all.
 *
 * Texture shows in how the energy grows from the weakest blocks to less weak ones, and by a spectrum that falls faster
 * than that of noise.  Both lower what a group says and how much it counts.  And a noise level does not jump with
 * brightness: a group cannot be much noisier than what its neighbours have at most.
 *
 * The blocks lie on JPEG's own grid, wherever that is in what was cut out of the picture.  What JPEG rounded away is
 * missing in each of them, and the two halves of the coefficients were rounded independently.  Blocks that lie across
 * four of JPEG's have detail at its seams: where that is much finer than what is in the blocks, the picture went
 * through JPEG.  Then areas without any noise say nothing about others, since it may have been rounded away there, and
 * a spectrum that falls steeply is no sign of texture; and what rounding has added elsewhere belongs to the noise.
 */
#include "compute/vector.h"
#include "noise.h"

#include <math.h>
#include <stdlib.h>

#define SIZE           8 /* edge of a block */
#define COUNT          (SIZE * SIZE)
#define BANDS          4     /* the rings max (i, j) = 2, 3, 4 ... 5, 6 ... 7; below them photographs shade */
#define SAMPLES        16384 /* blocks to look at: bounds the time on large pictures */
#define GROUPS         10    /* of brightness, equally large */
#define GROUP_LEAST    100   /* blocks, or the weakest of them are too few to say anything */
#define SELECTED_LEAST 8     /* blocks: 8 x 30 coefficients measure a variance to 9 % */
#define CLIPPED_MOST   6     /* pixels of a block: the tenth that lies beyond 1.3 standard deviations */
#define VALUE_MOST     64.0f /* values beyond are damage */
#define SAME_WITHIN    1e-5f /* conversions between number formats round */
#define PLAIN_MOST     4     /* colours of frames and captions that are known apart */
#define PLAIN_LEAST    4     /* blocks that are nothing but such a colour; noise leaves none */
#define UNIT           (1.0 / 255)

/* The share of the blocks that are measured, weakest first: of luma where texture is, of colour differences, which are
 * smoother but which JPEG often sets to nothing, a larger one.  Growth of the energy is seen at WIDER times as many. */
#define LUMA_SHARE   0.05
#define CHROMA_SHARE 0.1
#define WIDER        4

/* From noise to texture by the exponent a of energy ~ share^a: flat for noise; texture starts at about 0.2. */
#define GROWTH_OF_TEXTURE 0.25
/* The power of camera noise falls at most this much from band to band, and after JPEG this much ... */
#define FALL_MOST      2.5
#define FALL_MOST_JPEG 4.0
/* ... above the coefficients that JPEG rounds to nothing. */
#define ROUNDED_AWAY (4 * UNIT * UNIT)
/* The share of the third ring's power that the highest band has: demosaiced noise about 0.15 at most, white noise 1. */
#define SHARE_OF_COLOURED 0.25
#define SHARE_OF_WHITE    0.5
/* The level's logarithm per logit of brightness, from dark to bright and from bright to dark: tone curves are steeper
 * at their shoulder.  JPEG may have rounded more away. */
#define SLOPE_UP   0.4
#define SLOPE_DOWN 0.6
#define SLOPE_JPEG 1.0
/* How sure the groups must be, on the mean, that what they see is noise for the estimate to stand as it is. */
#define TRUSTED      0.45
#define TRUSTED_JPEG 0.25
/* The finest detail of JPEG's blocks over that of blocks across them: 1 without JPEG, to 0.03. */
#define SEAMS_NONE 0.95
#define SEAMS_SURE 0.80
/* JPEG's grid is looked for in segments of SIZE pixels, on so many lines and at so many places on each.  The finest
 * detail of those on the grid is at most this much of that elsewhere: 0.97 at the least without JPEG, 0.35 to 0.75 in
 * photographs of noisy cameras. */
#define GRID_LINES  128
#define GRID_PLACES 64
#define GRID_SURE   0.92
#define GRID_LEAST  16384 /* pixels: in fewer it is not found for sure, and too few blocks are left */
/* So much is in photographs that pass for clean: grain of film, rounding.  To take it away harms more than it helps. */
#define HARMLESS (1.65 * UNIT)
/* JPEG's own error at the qualities that cameras use, where pictures come back with some 40 dB.  The weakest blocks
 * have none of it: their coefficients are all rounded to nothing.  Up to so many times what was measured is believed.
 */
#define JPEG_ERROR      (2.5 * UNIT)
#define JPEG_ERROR_MOST 3.0
/* Half width of the smoothing over brightness. */
#define SMOOTHING 0.1
/* Levels below this are all the same: the standard deviation of rounding to 8 bits. */
#define LEAST (0.3 * UNIT)

enum
{
  EVEN,
  ODD
};

/* A block, its energy summed by chessboard colour: over all coefficients but the mean, and by band. */
typedef struct
{
  float brightness;
  float energy[2];
  float band[2][BANDS];
} Sample;

/* What the blocks of like brightness say. */
typedef struct
{
  double blocks;
  double brightness;
  double weakest[BANDS]; /* mean power per coefficient */
  double weak[BANDS];    /* the same of WIDER times as many blocks */
} Group;

/* A group's verdict. */
typedef struct
{
  double brightness;
  double variance;
  double limit; /* a level that the noise does not exceed here */
  double noisy; /* how much that looks like noise: 1 very, 0 like texture */
  double weight;
} Point;

/* A variance per pixel from the power in each band. */
typedef double (*Total) (const double *power);

static const int band_sizes[BANDS] = { 5, 7, 20, 28 };

/* ---- blocks ---- */

typedef struct
{
  const DiffusionPicture *picture, *mask;
  int                     x0, y0, x1, y1; /* a box around all pixels that count */
  int                     stride;
  float                   basis[COUNT], turned[COUNT]; /* of the transform, and transposed */
  float                   ramp[SIZE];                  /* the transform of a straight line, of length 1 */
  double                  inside, across; /* sums of the finest detail in JPEG's blocks and in those across them */
  double                  jpeg;           /* how surely the picture went through JPEG, 0 ... 1 */
  float                   plain[PLAIN_MOST][3]; /* the colours of frames and captions */
  int                     plains;
  GArray *luma, *fine, *coarse; /* of Sample: luma; colour differences; the same at half the resolution */
} Survey;

static inline int
round_up (int value, int step)
{
  return (value + step - 1) / step * step;
}

/* Where blocks begin from a place on, if those of JPEG lie at the phase: pairs of them, as colour has, or one at least,
 * if these fit before the end. */
static int
align (int from, int end, int phase)
{
  for (int step = 2 * SIZE; step >= SIZE; step /= 2)
    {
      int start = phase + round_up (MAX (from - phase, 0), step);

      if (start + SIZE <= end)
        return start;
    }
  return from;
}

static inline gboolean
is_same (float a, float b)
{
  return fabsf (a - b) < SAME_WITHIN;
}

static inline gboolean
is_same_colour (const float *a, const float *b)
{
  return is_same (a[0], b[0]) && is_same (a[1], b[1]) && is_same (a[2], b[2]);
}

/* A pixel that shows less noise than there is: it ends at black or white, or is a frame's. */
static inline gboolean
is_clipped (const Survey *survey, const float *pixel)
{
  for (int c = 0; c < 3; c++)
    if (is_same (pixel[c], 0) || is_same (pixel[c], 1))
      return TRUE;
  for (int i = 0; i < survey->plains; i++)
    if (is_same_colour (pixel, survey->plain[i]))
      return TRUE;
  return FALSE;
}

/* Reads the SIZE * scale square at (x, y) as luma and two colour differences, orthonormal, each 8x8 sum over scale x
 * scale pixels divided by scale, which keeps the level of white noise.  FALSE if a pixel is unusable or too many are
 * clipped. */
static gboolean
read_block (const Survey *survey, int x, int y, int scale, float planes[3][COUNT])
{
  const DiffusionPicture *p = survey->picture;
  const float l = 0.57735027f / (float) scale, s = 0.70710678f / (float) scale, t = 0.40824829f / (float) scale;
  int         clipped = 0;

  for (int i = 0; i < COUNT; i++)
    planes[0][i] = planes[1][i] = planes[2][i] = 0;
  for (int j = 0; j < SIZE * scale; j++)
    {
      gsize        at = (gsize) (y + j) * (gsize) p->width + (gsize) x;
      const float *pixel = p->data + at * 3;
      const float *mask = survey->mask ? survey->mask->data + at : NULL;

      for (int i = 0; i < SIZE * scale; i++, pixel += 3)
        {
          float r = pixel[0], g = pixel[1], b = pixel[2];
          int   to = j / scale * SIZE + i / scale;

          /* Written so that NAN fails too. */
          if (! (fabsf (r) < VALUE_MOST && fabsf (g) < VALUE_MOST && fabsf (b) < VALUE_MOST)
              || (mask && ! (mask[i] > 0.5f)))
            return FALSE;
          clipped += is_clipped (survey, pixel);
          planes[0][to] += (r + g + b) * l;
          planes[1][to] += (r - b) * s;
          planes[2][to] += (r - 2 * g + b) * t;
        }
    }
  return clipped <= CLIPPED_MOST * scale * scale;
}

/* to = basis * block * turned, which is basis^T: sums of rows, not of columns, so that the compiler makes a register of
 * each. */
MULTIVERSION static void
transform (const float *restrict basis, const float *restrict turned, const float *restrict block, float *restrict to)
{
  for (int k = 0; k < SIZE; k++)
    {
      float half[SIZE] = { 0 }, row[SIZE] = { 0 };

      for (int j = 0; j < SIZE; j++)
        for (int i = 0; i < SIZE; i++)
          half[i] += basis[k * SIZE + j] * block[j * SIZE + i];
      for (int j = 0; j < SIZE; j++)
        for (int i = 0; i < SIZE; i++)
          row[i] += half[j] * turned[j * SIZE + i];
      for (int i = 0; i < SIZE; i++)
        to[k * SIZE + i] = row[i];
    }
}

/* Takes the straight line that fits best out of the SIZE coefficients that are `step` apart: shading is one mostly, and
 * would leak into the frequencies that are measured. */
static void
remove_ramp (const float *ramp, int step, float *coefficients)
{
  float slope = 0;

  for (int k = 0; k < SIZE; k++)
    slope += ramp[k] * coefficients[k * step];
  for (int k = 0; k < SIZE; k++)
    coefficients[k * step] -= slope * ramp[k];
}

/* Adds the mean energy of `count` planes of one block to a list. */
static void
add_sample (const Survey *survey, float planes[][COUNT], int count, float brightness, GArray *samples)
{
  static const int bands[SIZE] = { -1, -1, 0, 1, 2, 2, 3, 3 };
  Sample           sample = { .brightness = brightness };
  float            square[COUNT] = { 0 }, coefficients[COUNT];

  for (int plane = 0; plane < count; plane++)
    {
      transform (survey->basis, survey->turned, planes[plane], coefficients);
      remove_ramp (survey->ramp, 1, coefficients);
      remove_ramp (survey->ramp, SIZE, coefficients);
      for (int i = 0; i < COUNT; i++)
        square[i] += coefficients[i] * coefficients[i] / (float) count;
    }
  for (int j = 0; j < SIZE; j++)
    for (int i = 0; i < SIZE; i++)
      {
        int colour = (i + j) & 1, band = bands[MAX (i, j)];

        if (i + j > 0)
          sample.energy[colour] += square[j * SIZE + i];
        if (band >= 0)
          sample.band[colour][band] += square[j * SIZE + i];
      }
  g_array_append_val (samples, sample);
}

static float
get_brightness (const float *luma, int scale)
{
  float sum = 0;

  for (int i = 0; i < COUNT; i++)
    sum += luma[i];
  return sum * 0.57735027f / (float) (COUNT * scale);
}

/* The root of the energy in the highest band of a block of luma; rounding to 8 bits alone makes most of the last term.
 */
static double
get_finest (const Survey *survey, const float *luma)
{
  float  coefficients[COUNT];
  double sum = 0.1 * UNIT * UNIT;

  transform (survey->basis, survey->turned, luma, coefficients);
  for (int j = 0; j < SIZE; j++)
    for (int i = 0; i < SIZE; i++)
      if (MAX (i, j) >= SIZE - 2)
        sum += (double) (coefficients[j * SIZE + i] * coefficients[j * SIZE + i]);
  return sqrt (sum);
}

/* Compares the block at (x, y) with that half a block further in both directions. */
static void
look_for_seams (Survey *survey, int x, int y, const float *luma)
{
  float planes[3][COUNT];

  x += SIZE / 2;
  y += SIZE / 2;
  if (x + SIZE > survey->x1 || y + SIZE > survey->y1 || ! read_block (survey, x, y, 1, planes))
    return;
  survey->inside += get_finest (survey, luma);
  survey->across += get_finest (survey, planes[0]);
}

static int
compare_colours (gconstpointer a, gconstpointer b)
{
  const float *x = a, *y = b;

  for (int c = 0; c < 3; c++)
    if (x[c] != y[c])
      return x[c] < y[c] ? -1 : 1;
  return 0;
}

static gboolean
is_plain (const DiffusionPicture *picture, int x, int y)
{
  const float *first = picture->data + ((gsize) y * (gsize) picture->width + (gsize) x) * 3;

  for (gsize j = 0; j < SIZE; j++)
    for (gsize i = 0; i < SIZE; i++)
      if (! is_same_colour (first, first + (j * (gsize) picture->width + i) * 3))
        return FALSE;
  return TRUE;
}

/* Frames and captions are no photograph: their colours are those that many blocks have and nothing else.  (A clean sky
 * has such blocks, too, but of many colours; most of them go on to count as places without noise.) */
static void
find_plain (Survey *survey)
{
  const DiffusionPicture *p = survey->picture;
  GArray                 *colours = g_array_new (FALSE, FALSE, 3 * sizeof (float));
  int                     counts[PLAIN_MOST] = { 0 };
  guint                   first = 0;

  for (int y = survey->y0; y + SIZE <= survey->y1; y += survey->stride)
    for (int x = survey->x0; x + SIZE <= survey->x1; x += survey->stride)
      if (is_plain (p, x, y))
        g_array_append_vals (colours, p->data + ((gsize) y * (gsize) p->width + (gsize) x) * 3, 1);
  g_array_sort (colours, compare_colours);
  for (guint end = 1; end <= colours->len; end++)
    {
      const float *data = (const float *) (gpointer) colours->data;
      int          count = (int) (end - first), place;

      if (end < colours->len && compare_colours (data + 3 * first, data + 3 * end) == 0)
        continue;
      for (place = survey->plains; place > 0 && counts[place - 1] < count; place--)
        if (place < PLAIN_MOST)
          {
            counts[place] = counts[place - 1];
            memcpy (survey->plain[place], survey->plain[place - 1], sizeof *survey->plain);
          }
      if (count >= PLAIN_LEAST && place < PLAIN_MOST)
        {
          counts[place] = count;
          memcpy (survey->plain[place], data + 3 * first, sizeof *survey->plain);
          survey->plains = MIN (survey->plains + 1, PLAIN_MOST);
        }
      first = end;
    }
  g_array_free (colours, TRUE);
}

/* Colour differences at half resolution come from every other block in both directions, as they cover four times the
 * area. */
static void
survey_blocks (Survey *survey)
{
  float planes[3][COUNT];

  for (int y = survey->y0, row = 0; y + SIZE <= survey->y1; y += survey->stride, row++)
    for (int x = survey->x0, column = 0; x + SIZE <= survey->x1; x += survey->stride, column++)
      {
        if (read_block (survey, x, y, 1, planes))
          {
            float brightness = get_brightness (planes[0], 1);

            look_for_seams (survey, x, y, planes[0]);
            add_sample (survey, planes, 1, brightness, survey->luma);
            add_sample (survey, planes + 1, 2, brightness, survey->fine);
          }
        if (((row | column) & 1) == 0 && x + 2 * SIZE <= survey->x1 && y + 2 * SIZE <= survey->y1
            && read_block (survey, x, y, 2, planes))
          add_sample (survey, planes + 1, 2, get_brightness (planes[0], 2), survey->coarse);
      }
  if (survey->across > 0)
    survey->jpeg = CLAMP ((SEAMS_NONE - survey->inside / survey->across) / (SEAMS_NONE - SEAMS_SURE), 0, 1);
}

/* ---- JPEG's grid ---- */

/* Adds the finest detail of SIZE values from (x, y) on, along a row or down a column, to a sum: of luma, or at a scale
 * of 2 of the colour difference of pairs.  FALSE if one of the pixels does not count. */
static gboolean
add_segment (const Survey *survey, int x, int y, gboolean down, int scale, double *sum)
{
  const DiffusionPicture *p = survey->picture;
  float                   line[SIZE] = { 0 };
  double                  energy = 0.1 * UNIT * UNIT;
  int                     last = SIZE * scale - 1;

  if (x + (down ? 0 : last) >= survey->x1 || y + (down ? last : 0) >= survey->y1)
    return FALSE;
  for (int i = 0; i <= last; i++)
    {
      gsize        at = (gsize) (down ? y + i : y) * (gsize) p->width + (gsize) (down ? x : x + i);
      const float *pixel = p->data + at * 3;
      float        value = scale == 1 ? pixel[0] + pixel[1] + pixel[2] : pixel[0] - pixel[2];

      if (! (fabsf (value) < VALUE_MOST) || (survey->mask && ! (survey->mask->data[at] > 0.5f)))
        return FALSE;
      line[i / scale] += value;
    }
  for (int k = SIZE - 2; k < SIZE; k++)
    {
      double coefficient = 0;

      for (int i = 0; i < SIZE; i++)
        coefficient += (double) (survey->basis[k * SIZE + i] * line[i]);
      energy += coefficient * coefficient;
    }
  *sum += sqrt (energy);
  return TRUE;
}

/* The finest detail of segments that begin `phases` pixels beyond multiples of 2 * SIZE, one sum for each. */
static void
measure_phases (const Survey *survey, gboolean down, int scale, const int *phases, int count, double *sums)
{
  int from = down ? survey->y0 : survey->x0, lines_from = down ? survey->x0 : survey->y0;
  int places = ((down ? survey->y1 : survey->x1) - from) / (2 * SIZE),
      lines = (down ? survey->x1 : survey->y1) - lines_from, step = MAX (places / GRID_PLACES, 1);

  memset (sums, 0, (gsize) count * sizeof *sums);
  for (int i = 0; i < MIN (lines, GRID_LINES); i++)
    for (int place = 0; place < places; place += step)
      {
        int      along = round_up (from, 2 * SIZE) + place * 2 * SIZE;
        int      line = lines_from + (int) ((gint64) i * lines / MIN (lines, GRID_LINES));
        double   details[SIZE] = { 0 };
        gboolean good = TRUE;

        for (int k = 0; k < count && good; k++)
          good = add_segment (survey, down ? line : along + phases[k], down ? along + phases[k] : line, down, scale,
                              &details[k]);
        for (int k = 0; k < count && good; k++)
          sums[k] += details[k];
      }
}

/* How far JPEG's blocks, and those of colour at half the resolution, lie beyond multiples of 2 * SIZE; -1 if there is
 * no sign of JPEG. */
static int
find_phase (const Survey *survey, gboolean down)
{
  int    phases[SIZE] = { 0, 1, 2, 3, 4, 5, 6, 7 }, best = 0;
  double sums[SIZE], next = INFINITY;

  measure_phases (survey, down, 1, phases, SIZE, sums);
  for (int k = 1; k < SIZE; k++)
    best = sums[k] < sums[best] ? k : best;
  for (int k = 0; k < SIZE; k++)
    next = k != best ? MIN (next, sums[k]) : next;
  if (! (sums[best] < GRID_SURE * next))
    return -1;
  phases[0] = best;
  phases[1] = best + SIZE;
  measure_phases (survey, down, 2, phases, 2, sums);
  return sums[1] < GRID_SURE * sums[0] ? phases[1] : phases[0];
}

/* Finds the box of the pixels that count, and the distance of blocks at which at most SAMPLES of them are looked at. */
static void
survey_area (Survey *survey)
{
  const DiffusionPicture *p = survey->picture;
  double                  area = (double) p->width * p->height;

  survey->x1 = p->width;
  survey->y1 = p->height;
  if (survey->mask)
    {
      survey->x0 = p->width;
      survey->y0 = p->height;
      survey->x1 = survey->y1 = 0;
      area = 0;
      for (int y = 0; y < p->height; y++)
        for (int x = 0; x < p->width; x++)
          if (survey->mask->data[(gsize) y * (gsize) p->width + (gsize) x] > 0.5f)
            {
              survey->x0 = MIN (survey->x0, x);
              survey->x1 = MAX (survey->x1, x + 1);
              survey->y0 = MIN (survey->y0, y);
              survey->y1 = y + 1;
              area++;
            }
    }
  survey->stride = MAX (SIZE, (int) (ceil (sqrt (area / SAMPLES) / SIZE) * SIZE));
  if (area > GRID_LEAST)
    {
      int x = find_phase (survey, FALSE), y = find_phase (survey, TRUE);

      /* Without JPEG a small selection is better used in whole. */
      if (x >= 0 || y >= 0 || area > 16 * COUNT * GROUP_LEAST)
        {
          survey->x0 = align (survey->x0, survey->x1, MAX (x, 0));
          survey->y0 = align (survey->y0, survey->y1, MAX (y, 0));
        }
    }
}

/* ---- groups ---- */

static int
compare_brightness (gconstpointer a, gconstpointer b)
{
  float x = ((const Sample *) a)->brightness, y = ((const Sample *) b)->brightness;

  return (x > y) - (x < y);
}

static int
compare_even (gconstpointer a, gconstpointer b)
{
  float x = ((const Sample *) a)->energy[EVEN], y = ((const Sample *) b)->energy[EVEN];

  return (x > y) - (x < y);
}

static int
compare_odd (gconstpointer a, gconstpointer b)
{
  float x = ((const Sample *) a)->energy[ODD], y = ((const Sample *) b)->energy[ODD];

  return (x > y) - (x < y);
}

static int
count_share (double share, guint blocks)
{
  return (int) MIN (MAX (lround (share * blocks), SELECTED_LEAST), (long) blocks);
}

/* Adds to each band's power what the first `selected` samples have of one chessboard colour. */
static void
add_power (const Sample *samples, int selected, int colour, double *power)
{
  for (int band = 0; band < BANDS; band++)
    {
      double sum = 0;

      for (int i = 0; i < selected; i++)
        sum += (double) samples[i].band[colour][band];
      power[band] += sum / selected / band_sizes[band];
    }
}

/* Measures a run of samples, which it reorders. */
static Group
measure_group (Sample *samples, guint count, double share)
{
  Group group = { .blocks = count };
  int   weakest = count_share (share, count), weak = count_share (share * WIDER, count);

  for (guint i = 0; i < count; i++)
    group.brightness += (double) samples[i].brightness / count;
  qsort (samples, count, sizeof (Sample), compare_even);
  add_power (samples, weakest, ODD, group.weakest);
  add_power (samples, weak, ODD, group.weak);
  qsort (samples, count, sizeof (Sample), compare_odd);
  add_power (samples, weakest, EVEN, group.weakest);
  add_power (samples, weak, EVEN, group.weak);
  return group;
}

/* Divides the samples by brightness; returns the number of groups. */
static int
measure_groups (GArray *samples, double share, Group *groups)
{
  int     count = CLAMP ((int) (samples->len / GROUP_LEAST), samples->len ? 1 : 0, GROUPS);
  Sample *data = (Sample *) (gpointer) samples->data;

  if (count)
    qsort (data, samples->len, sizeof (Sample), compare_brightness);
  for (int i = 0; i < count; i++)
    {
      guint from = samples->len * (guint) i / (guint) count, to = samples->len * (guint) (i + 1) / (guint) count;

      groups[i] = measure_group (data + from, to - from, share);
    }
  return count;
}

/* ---- from power to a variance ---- */

/* Of all coefficients.  The lowest four, which photographs fill with shading, go on as the measured ones rise: as much
 * above the second ring as that is above the middle of the spectrum, which for white noise is not at all. */
static double
total_all (const double *power)
{
  double rise = CLAMP (power[0] / MAX (power[2], 1e-12), 1, 4), sum = 4 * power[0] * rise;

  for (int band = 0; band < BANDS; band++)
    sum += band_sizes[band] * power[band];
  return sum / COUNT;
}

/* Of the frequencies that half the resolution cannot have ... */
static double
total_fine (const double *power)
{
  return (band_sizes[2] * power[2] + band_sizes[3] * power[3]) / COUNT;
}

/* ... and of those that it can, per pixel of the whole resolution. */
static double
total_coarse (const double *power)
{
  return total_all (power) / 4;
}

/* Takes from the low bands what goes above the highest, but for the share `coloured`, since white noise has the same
 * power in all. */
static void
flatten (double coloured, double *power)
{
  for (int band = 0; band < BANDS - 1; band++)
    power[band] = MIN (power[band], power[BANDS - 1] + coloured * (power[band] - power[BANDS - 1]));
}

/* What lies between two bounds, for a picture that has more or less surely been through JPEG. */
static double
choose (double plain, double after_jpeg, double jpeg)
{
  return plain + (after_jpeg - plain) * jpeg;
}

/* Takes from each band what no noise has above the next. */
static void
limit_fall (double jpeg, double *power)
{
  double most = choose (FALL_MOST, FALL_MOST_JPEG, jpeg);

  for (int band = BANDS - 2; band >= 0; band--)
    power[band] = MIN (power[band], most * (power[band + 1] + ROUNDED_AWAY));
}

static Point
judge_group (const Group *group, Total total, double coloured, double jpeg)
{
  Point  point = { .brightness = group->brightness };
  double weakest[BANDS], weak[BANDS], noise[BANDS];
  double whole, growth, fall;
  /* Nothing is surely less than this, and quotients of two nothings are 1. */
  const double nothing = 1e-8;

  for (int band = 0; band < BANDS; band++)
    {
      weakest[band] = group->weakest[band];
      weak[band] = group->weak[band];
    }
  flatten (coloured, weakest);
  flatten (coloured, weak);
  whole = total (weakest);
  growth = MAX (log ((total (weak) + nothing) / (whole + nothing)) / log (WIDER), 0);
  /* Colour differences, which cameras smooth and JPEG stores at half the resolution, fall faster than luma. */
  if (total == total_all)
    {
      limit_fall (jpeg, weakest);
      limit_fall (jpeg, weak);
    }
  fall = (total (weakest) + nothing) / (whole + nothing);
  point.noisy = MIN (exp (-pow (growth / GROWTH_OF_TEXTURE, 2)) * fall * fall, 1);
  /* Texture is taken to go with the square root of the share: then what was added by WIDER times the blocks is what was
   * there at first.  Of noise, the weakest blocks have less than the mean instead, and the others are nearer to it. */
  for (int band = 0; band < BANDS; band++)
    noise[band] = MAX (weakest[band] + (2 * point.noisy - 1) * MAX (weak[band] - weakest[band], 0), 0);
  point.variance = total (noise);
  point.limit = sqrt (total (weak)) + LEAST;
  /* A level's error is in proportion to the level.  With no noisy group at all the others must do. */
  point.weight = group->blocks * (point.noisy + 1e-4) / (point.variance + LEAST * LEAST);
  return point;
}

static double
get_logit (double brightness)
{
  double b = CLAMP (brightness, 0.01, 0.99);

  return log (b / (1 - b));
}

/* Judges all groups, also against one another: one that says more than the others' limits allow has texture and counts
 * for less. */
static void
judge_groups (const Group *groups, int count, Total total, double coloured, double jpeg, Point *points)
{
  const double up = choose (SLOPE_UP, SLOPE_JPEG, jpeg), down = choose (SLOPE_DOWN, SLOPE_JPEG, jpeg);

  for (int i = 0; i < count; i++)
    points[i] = judge_group (&groups[i], total, coloured, jpeg);
  for (int i = 0; i < count; i++)
    {
      double level = sqrt (points[i].variance), limit = G_MAXDOUBLE;

      for (int j = 0; j < count; j++)
        {
          double apart = get_logit (points[i].brightness) - get_logit (points[j].brightness);

          limit = MIN (limit, points[j].limit * exp (apart > 0 ? up * apart : -down * apart));
        }
      if (level > limit)
        {
          points[i].weight *= pow (limit / level, 8);
          points[i].variance = choose (limit * limit, points[i].variance, jpeg);
        }
    }
}

/* How much of the spectrum's slope is to be believed: 0 for white noise, 1 for noise that went through a camera or
 * JPEG. */
static double
get_coloured (const Group *groups, int count, double jpeg)
{
  Point  points[GROUPS];
  double sum = 0, weights = 0, share;

  judge_groups (groups, count, total_all, 1, jpeg, points);
  for (int i = 0; i < count; i++)
    {
      /* The unit keeps rounding to 8 bits, which is white, from passing for the noise. */
      sum += points[i].weight * groups[i].weakest[3] / (groups[i].weakest[1] + UNIT * UNIT);
      weights += points[i].weight;
    }
  share = count ? sum / weights : 0;
  return CLAMP ((SHARE_OF_WHITE - share) / (SHARE_OF_WHITE - SHARE_OF_COLOURED), 0, 1);
}

/* Where all is texture, even the weakest blocks are, and the least of it would pass for noise.  That costs detail,
 * which is worse than some noise left: so the whole estimate is lowered.  All groups are heard alike, unless JPEG has
 * left most of them without anything to say. */
static double
get_trust (const Point *points, int count, double jpeg)
{
  double all = 0, heard = 0, weights = 0;

  if (count == 0)
    return 1;
  for (int i = 0; i < count; i++)
    {
      all += points[i].noisy / count;
      heard += points[i].weight * points[i].noisy;
      weights += points[i].weight;
    }
  return MIN (choose (all, heard / weights, jpeg) / choose (TRUSTED, TRUSTED_JPEG, jpeg), 1);
}

/* The level by brightness: a mean of the points', the near ones first. */
static void
draw_curve (const Point *points, int count, double *curve)
{
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    {
      double sum = 0, weights = 0;

      for (int j = 0; j < count; j++)
        {
          double apart = ((i + 0.5) / DIFFUSION_NOISE_BINS - points[j].brightness) / SMOOTHING;
          double weight = points[j].weight / pow (1 + apart * apart, 2);

          sum += weight * sqrt (points[j].variance);
          weights += weight;
        }
      curve[i] = count ? sum / weights : 0;
    }
}

/* ---- all together ---- */

/* How much of a variance there is beyond what is harmless.  JPEG has taken that already. */
static double
get_share (double variance, double jpeg)
{
  double harmless = (1 - jpeg) * HARMLESS * HARMLESS;

  return variance > harmless ? 1 - harmless / variance : 0;
}

/* The variance that JPEG's own error adds to what was measured. */
static double
get_jpeg_error (double variance, double jpeg)
{
  const double most = JPEG_ERROR_MOST * JPEG_ERROR_MOST * variance;

  return jpeg * MIN (JPEG_ERROR * JPEG_ERROR, most);
}

static void
estimate (const Survey *survey, DiffusionNoise *noise)
{
  Group  luma[GROUPS], fine[GROUPS], coarse[GROUPS];
  Point  points[GROUPS];
  double luma_curve[DIFFUSION_NOISE_BINS], fine_curve[DIFFUSION_NOISE_BINS], coarse_curve[DIFFUSION_NOISE_BINS];
  double sums[2] = { 0, 0 }, trust, share, error;
  int    lumas = measure_groups (survey->luma, LUMA_SHARE, luma);
  int    fines = measure_groups (survey->fine, CHROMA_SHARE, fine);
  int    coarses = measure_groups (survey->coarse, CHROMA_SHARE, coarse);
  /* What whitens colour noise would whiten luma's too, but not the other way round: cameras and JPEG store colour more
   * coarsely. */
  const double jpeg = survey->jpeg;
  double       coloured_chroma = get_coloured (fine, fines, jpeg),
         coloured = MIN (get_coloured (luma, lumas, jpeg), coloured_chroma);

  judge_groups (luma, lumas, total_all, coloured, jpeg, points);
  trust = get_trust (points, lumas, jpeg);
  draw_curve (points, lumas, luma_curve);
  judge_groups (fine, fines, total_fine, 1, jpeg, points);
  draw_curve (points, fines, fine_curve);
  judge_groups (coarse, coarses, total_coarse, coloured_chroma, jpeg, points);
  draw_curve (points, coarses, coarse_curve);
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    {
      double y = luma_curve[i] * luma_curve[i], c = fine_curve[i] * fine_curve[i];

      /* Pictures too small for the half resolution: as in white noise, whose other quarter it would hold. */
      c += coarses ? coarse_curve[i] * coarse_curve[i] : c / 3;
      share = get_share (trust * (y + 2 * c) / 3, jpeg) * trust;
      error = get_jpeg_error ((y + 2 * c) * share / 3, jpeg);
      luma_curve[i] = y * share + error;
      fine_curve[i] = c * share + error;
      noise->curve[i] = sqrt ((luma_curve[i] + 2 * fine_curve[i]) / 3);
    }
  for (guint i = 0; i < survey->luma->len; i++)
    {
      double brightness = (double) g_array_index (survey->luma, Sample, i).brightness;
      int    bin = (int) CLAMP (brightness * DIFFUSION_NOISE_BINS, 0, DIFFUSION_NOISE_BINS - 1);

      sums[0] += luma_curve[bin] / survey->luma->len;
      sums[1] += fine_curve[bin] / survey->luma->len;
    }
  noise->sigma = sqrt ((sums[0] + 2 * sums[1]) / 3);
  noise->luma = sqrt (sums[0] / 3);
  noise->chroma = sqrt (sums[1]);
  noise->spots = (int) survey->luma->len;
}

void
diffusion_noise_set_uniform (DiffusionNoise *noise, double sigma)
{
  noise->sigma = noise->chroma = sigma;
  noise->luma = sigma / sqrt (3);
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    noise->curve[i] = sigma;
  noise->spots = 0;
}

double
diffusion_noise_at (const DiffusionNoise *noise, double brightness)
{
  double at = isnan (brightness) ? 0 : CLAMP (brightness * DIFFUSION_NOISE_BINS - 0.5, 0, DIFFUSION_NOISE_BINS - 1);
  int    i = MIN ((int) at, DIFFUSION_NOISE_BINS - 2);

  return noise->curve[i] + (at - i) * (noise->curve[i + 1] - noise->curve[i]);
}

gboolean
diffusion_estimate_noise (const DiffusionPicture *picture, const DiffusionPicture *mask, DiffusionNoise *noise,
                          GError **error)
{
  Survey survey = { .picture = picture, .mask = mask };
  /* The sum of (i - 3.5)^2. */
  const float ramp_square = SIZE * (SIZE * SIZE - 1) / 12.0f;

  if (picture->channels != 3
      || (mask && (mask->channels != 1 || mask->width != picture->width || mask->height != picture->height)))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   picture->channels != 3 ? "Estimating noise needs a picture of 3 channels."
                                          : "Estimating noise needs a mask of 1 channel and of the picture's size.");
      return FALSE;
    }
  for (int k = 0; k < SIZE; k++)
    for (int i = 0; i < SIZE; i++)
      {
        survey.basis[k * SIZE + i] = (float) (cos (G_PI * (i + 0.5) * k / SIZE) * sqrt ((k ? 2.0 : 1.0) / SIZE));
        survey.turned[i * SIZE + k] = survey.basis[k * SIZE + i];
        survey.ramp[k] += survey.basis[k * SIZE + i] * ((float) i - (SIZE - 1) / 2.0f) / sqrtf (ramp_square);
      }
  survey.luma = g_array_new (FALSE, FALSE, sizeof (Sample));
  survey.fine = g_array_new (FALSE, FALSE, sizeof (Sample));
  survey.coarse = g_array_new (FALSE, FALSE, sizeof (Sample));
  survey_area (&survey);
  find_plain (&survey);
  survey_blocks (&survey);
  estimate (&survey, noise);
  g_array_free (survey.luma, TRUE);
  g_array_free (survey.fine, TRUE);
  g_array_free (survey.coarse, TRUE);
  return TRUE;
}
