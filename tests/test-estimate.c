/* The noise estimate, on pictures whose noise is known.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "task/noise.h"

#include <math.h>
#include <string.h>
#include <time.h>

#define UNIT (1.0 / 255)
#define EDGE 256 /* of most pictures: 1,024 blocks in ten groups of brightness */

/* ---- random numbers ---- */

/* Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators". */
static guint64
next_word (guint64 *state)
{
  guint64 z = *state += G_GUINT64_CONSTANT (0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * G_GUINT64_CONSTANT (0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * G_GUINT64_CONSTANT (0x94d049bb133111eb);
  return z ^ z >> 31;
}

/* In (0, 1). */
static double
next_uniform (guint64 *state)
{
  return ((double) (next_word (state) >> 11) + 0.5) / 9007199254740992.0;
}

/* Box, Muller 1958. */
static double
next_normal (guint64 *state)
{
  double radius = sqrt (-2 * log (next_uniform (state)));

  return radius * cos (2 * G_PI * next_uniform (state));
}

/* ---- pictures ---- */

static DiffusionPicture *
new_picture (int width, int height, int channels, double value)
{
  DiffusionPicture *picture = diffusion_picture_new (width, height, channels, NULL);

  g_assert_nonnull (picture);
  for (int i = 0; i < width * height * channels; i++)
    picture->data[i] = (float) value;
  return picture;
}

static float *
get_pixel (const DiffusionPicture *picture, int x, int y)
{
  return picture->data + ((gsize) y * (gsize) picture->width + (gsize) x) * (gsize) picture->channels;
}

/* Dark to bright from left to right, a little red at the top and blue at the bottom. */
static DiffusionPicture *
new_gradient (int width, int height)
{
  DiffusionPicture *picture = new_picture (width, height, 3, 0);

  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int c = 0; c < 3; c++)
        get_pixel (picture, x, y)[c] = (float) (0.1 + 0.75 * x / width + 0.05 * (c - 1) * (2.0 * y / height - 1));
  return picture;
}

/* Dead leaves: discs of all sizes that hide one another have the statistics of photographs (Lee, Mumford, Huang 2001,
 * "Occlusion models for natural images").  Every third one is striped, as leaves are. */
static DiffusionPicture *
new_leaves (int width, int height)
{
  DiffusionPicture *picture = new_picture (width, height, 3, 0.4);
  guint64           state = 7;

  for (int leaf = 0; leaf < width * height / 40; leaf++)
    {
      /* The number of discs above a radius falls with its square. */
      double radius = MIN (3 / sqrt (next_uniform (&state)), width / 4.0), pitch = 2 + 4 * next_uniform (&state);
      double x0 = width * next_uniform (&state), y0 = height * next_uniform (&state),
             angle = G_PI * next_uniform (&state);
      double contrast = leaf % 3 ? 0 : 0.1, base = 0.1 + 0.6 * next_uniform (&state), colour[3];

      for (int c = 0; c < 3; c++)
        colour[c] = base + 0.15 * next_uniform (&state);
      for (int y = MAX ((int) (y0 - radius), 0); y < MIN (height, (int) (y0 + radius)); y++)
        for (int x = MAX ((int) (x0 - radius), 0); x < MIN (width, (int) (x0 + radius)); x++)
          if (hypot (x - x0, y - y0) < radius)
            for (int c = 0; c < 3; c++)
              get_pixel (picture, x, y)[c]
                  = (float) (colour[c] + contrast * sin ((x * cos (angle) + y * sin (angle)) * 2 * G_PI / pitch));
    }
  return picture;
}

/* Adds Gaussian noise of one level, independent in pixels and channels, to the columns from x0 to x1. */
static void
add_noise (DiffusionPicture *picture, double sigma, int x0, int x1)
{
  guint64 state = 1;

  for (int y = 0; y < picture->height; y++)
    for (int x = x0; x < x1; x++)
      for (int c = 0; c < 3; c++)
        get_pixel (picture, x, y)[c] += (float) (sigma * next_normal (&state));
}

/* To 8 bits and back. */
static void
round_picture (DiffusionPicture *picture)
{
  for (int i = 0; i < picture->width * picture->height * 3; i++)
    picture->data[i] = roundf (CLAMP (picture->data[i], 0.0f, 1.0f) * 255) / 255;
}

static DiffusionNoise
estimate (const DiffusionPicture *picture, const DiffusionPicture *mask)
{
  DiffusionNoise noise;
  g_autoptr (GError) error = NULL;

  memset (&noise, 0xff, sizeof noise);
  g_assert_true (diffusion_estimate_noise (picture, mask, &noise, &error));
  g_assert_no_error (error);
  g_assert_true (isfinite (noise.sigma) && noise.sigma >= 0);
  g_assert_true (isfinite (noise.luma) && noise.luma >= 0);
  g_assert_true (isfinite (noise.chroma) && noise.chroma >= 0);
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    g_assert_true (isfinite (noise.curve[i]) && noise.curve[i] >= 0);
  return noise;
}

static void
assert_near (double value, double expected, double tolerance)
{
  g_assert_cmpfloat_with_epsilon (value, expected, expected * tolerance);
}

/* What JPEG does to 8x8 pixels of one plane: their transform is rounded to multiples of steps that grow with the
 * frequency, as those of the standard's example tables do (ITU-T T.81, K.1) at a quality of 80. */
static void
compress_block (float *plane, int stride)
{
  double basis[8][8], half[8][8], coefficients[8][8];

  for (int k = 0; k < 8; k++)
    for (int i = 0; i < 8; i++)
      basis[k][i] = cos (G_PI * (i + 0.5) * k / 8) * sqrt ((k ? 2.0 : 1.0) / 8);
  for (int k = 0; k < 8; k++)
    for (int x = 0; x < 8; x++)
      {
        half[k][x] = 0;
        for (int y = 0; y < 8; y++)
          half[k][x] += basis[k][y] * (double) plane[y * stride + x];
      }
  for (int k = 0; k < 8; k++)
    for (int l = 0; l < 8; l++)
      {
        const double step = 0.4 * (10 + 6 * (k + l)) * UNIT;
        double       sum = 0;

        for (int x = 0; x < 8; x++)
          sum += half[k][x] * basis[l][x];
        coefficients[k][l] = round (sum / step) * step;
      }
  for (int y = 0; y < 8; y++)
    for (int x = 0; x < 8; x++)
      {
        double sum = 0;

        for (int k = 0; k < 8; k++)
          for (int l = 0; l < 8; l++)
            sum += basis[k][y] * basis[l][x] * coefficients[k][l];
        plane[y * stride + x] = (float) sum;
      }
}

/* Luma and colour differences, as JPEG has them, through JPEG and back. */
static void
compress_picture (DiffusionPicture *picture)
{
  const int         width = picture->width, height = picture->height;
  g_autofree float *planes = g_new (float, (gsize) width *(gsize) height * 3);

  for (int i = 0, n = width * height; i < n; i++)
    {
      const float *p = picture->data + 3 * i;
      const float  luma = 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2];

      planes[i] = luma;
      planes[n + i] = (p[2] - luma) / 1.772f;
      planes[2 * n + i] = (p[0] - luma) / 1.402f;
    }
  for (int plane = 0; plane < 3; plane++)
    for (int y = 0; y + 8 <= height; y += 8)
      for (int x = 0; x + 8 <= width; x += 8)
        compress_block (planes + (plane * height + y) * width + x, width);
  for (int i = 0, n = width * height; i < n; i++)
    {
      float *p = picture->data + 3 * i;

      p[0] = planes[i] + 1.402f * planes[2 * n + i];
      p[2] = planes[i] + 1.772f * planes[n + i];
      p[1] = (planes[i] - 0.299f * p[0] - 0.114f * p[2]) / 0.587f;
    }
  round_picture (picture);
}

/* ---- white noise ---- */

/* Photographs that pass for clean have as much: it is left alone. */
#define HARMLESS 1.65

typedef struct
{
  const char *name;
  DiffusionPicture *(*make) (int width, int height);
  double sigma; /* in units of 1/255 */
  double tolerance;
} WhiteCase;

static DiffusionPicture *
new_flat (int width, int height)
{
  return new_picture (width, height, 3, 0.5);
}

/* Measured are 5 % of 1,024 blocks, by about 30 coefficients of luma and 60 of colour: good to 3 %.  In leaves the
 * noise adds to what texture the weakest blocks have, which counts for more where the noise is less. */
/* clang-format off */
static const WhiteCase white_cases[] = {
  { "/estimate/white/flat/2", new_flat, 2, 0.06 },
  { "/estimate/white/flat/5", new_flat, 5, 0.05 },
  { "/estimate/white/flat/25", new_flat, 25, 0.05 },
  { "/estimate/white/flat/50", new_flat, 50, 0.05 },
  { "/estimate/white/gradient/5", new_gradient, 5, 0.05 },
  { "/estimate/white/gradient/25", new_gradient, 25, 0.05 },
  { "/estimate/white/leaves/5", new_leaves, 5, 0.1 },
  { "/estimate/white/leaves/10", new_leaves, 10, 0.08 },
  { "/estimate/white/leaves/25", new_leaves, 25, 0.05 },
  { "/estimate/white/leaves/50", new_leaves, 50, 0.05 },
};
/* clang-format on */

static void
test_white (gconstpointer data)
{
  const WhiteCase *self = data;
  const double     expected = sqrt (self->sigma * self->sigma - HARMLESS * HARMLESS) * UNIT;
  g_autoptr (DiffusionPicture) picture = self->make (EDGE, EDGE);
  DiffusionNoise noise;

  add_noise (picture, self->sigma * UNIT, 0, EDGE);
  noise = estimate (picture, NULL);
  g_test_message ("%g is estimated as %.2f, Y' %.2f, colour %.2f", self->sigma, noise.sigma * 255, noise.luma * 255,
                  noise.chroma * 255);
  assert_near (noise.sigma, expected, self->tolerance);
  /* The parts hold half as many coefficients or less. */
  assert_near (noise.luma, expected / sqrt (3), 1.5 * self->tolerance);
  assert_near (noise.chroma, expected, 1.5 * self->tolerance);
}

static void
test_harmless (void)
{
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE);

  add_noise (picture, UNIT, 0, EDGE);
  g_assert_cmpfloat (estimate (picture, NULL).sigma, <, 0.3 * UNIT);
}

/* 8-bit pictures: rounding adds a variance of 1/12, and values below black are gone, which is less noise in dark
 * places. */
static void
test_rounded (void)
{
  g_autoptr (DiffusionPicture) picture = new_leaves (EDGE, EDGE);

  add_noise (picture, 10 * UNIT, 0, EDGE);
  round_picture (picture);
  assert_near (estimate (picture, NULL).sigma, 10 * UNIT, 0.08);
}

/* ---- other noise ---- */

/* Noise that grows with brightness.  The curve is a mean over a bin, of 400 blocks, and its neighbours: hence 15 %. */
static void
test_signal_dependent (void)
{
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE);
  DiffusionNoise noise;
  guint64        state = 1;

  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE; x++)
      {
        float *pixel = get_pixel (picture, x, y), brightness = (pixel[0] + pixel[1] + pixel[2]) / 3;

        for (int c = 0; c < 3; c++)
          pixel[c] += (0.01f + 0.05f * brightness) * (float) next_normal (&state);
      }
  noise = estimate (picture, NULL);
  for (int i = 2; i < DIFFUSION_NOISE_BINS - 3; i++)
    {
      assert_near (noise.curve[i], 0.01 + 0.05 * (i + 0.5) / DIFFUSION_NOISE_BINS, 0.15);
      g_assert_cmpfloat (noise.curve[i + 1], >, noise.curve[i]);
    }
  /* The mean square over brightness from 0.1 to 0.85. */
  assert_near (noise.sigma, 0.0354, 0.1);
}

/* Grey noise is luma alone: that of Y' is that of each channel.  What is left of the other is less than what 8 bits
 * could show. */
static void
test_luma_only (void)
{
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE);
  DiffusionNoise noise;
  guint64        state = 1;

  for (int i = 0; i < EDGE * EDGE; i++)
    {
      float value = (float) (10 * UNIT * next_normal (&state));

      for (int c = 0; c < 3; c++)
        picture->data[i * 3 + c] += value;
    }
  noise = estimate (picture, NULL);
  assert_near (noise.luma, 10 * UNIT, 0.05);
  assert_near (noise.sigma, 10 * UNIT, 0.05);
  g_assert_cmpfloat (noise.chroma, <, 0.2 * UNIT);
}

/* Noise without its mean over the channels: two of three equal parts of the variance are left. */
static void
test_chroma_only (void)
{
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE);
  DiffusionNoise noise;
  guint64        state = 1;

  for (int i = 0; i < EDGE * EDGE; i++)
    {
      double values[3] = { next_normal (&state), next_normal (&state), next_normal (&state) };
      double mean = (values[0] + values[1] + values[2]) / 3;

      for (int c = 0; c < 3; c++)
        picture->data[i * 3 + c] += (float) (10 * UNIT * (values[c] - mean));
    }
  noise = estimate (picture, NULL);
  assert_near (noise.chroma, 10 * UNIT, 0.05);
  assert_near (noise.sigma, 10 * UNIT * sqrt (2.0 / 3), 0.05);
  g_assert_cmpfloat (noise.luma, <, 0.2 * UNIT);
}

/* Noise that was smoothed, as demosaicing and noise reduction do: its highest frequencies, by which many estimates go,
 * hold next to nothing.  The 15 %: the lowest frequencies are guessed from the slope of the others. */
static void
test_correlated (void)
{
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE), raw = new_picture (EDGE + 2, EDGE + 2, 3, 0);
  const double weight[3] = { 0.25, 0.5, 0.25 };

  add_noise (raw, 20 * UNIT, 0, EDGE + 2);
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE; x++)
      for (int c = 0; c < 3; c++)
        for (int j = 0; j < 3; j++)
          for (int i = 0; i < 3; i++)
            get_pixel (picture, x, y)[c] += (float) (weight[i] * weight[j]) * get_pixel (raw, x + i, y + j)[c];
  /* The root of the sum of the squares of the weights in two dimensions is 0.375. */
  assert_near (estimate (picture, NULL).sigma, sqrt (7.5 * 7.5 - HARMLESS * HARMLESS) * UNIT, 0.15);
}

/* ---- no noise ---- */

static void
assert_silent (const DiffusionPicture *picture, const DiffusionPicture *mask)
{
  DiffusionNoise noise = estimate (picture, mask);

  g_assert_cmpfloat (noise.sigma, <, 1e-4 * UNIT);
  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    g_assert_cmpfloat (noise.curve[i], <, 1e-4 * UNIT);
}

/* Cut out of it anywhere, so that JPEG's blocks do not begin at its corner. */
static void
test_cut_out (const DiffusionPicture *picture, double expected)
{
  for (int place = 1; place < 16; place += 3)
    {
      const int x = place, y = 17 - place, width = picture->width - 16, height = picture->height - 16;
      g_autoptr (DiffusionPicture) part = diffusion_picture_new (width, height, 3, NULL);
      double level;

      for (int row = 0; row < height; row++)
        memcpy (part->data + row * width * 3, picture->data + ((y + row) * picture->width + x) * 3,
                (gsize) width * 3 * sizeof (float));
      level = estimate (part, NULL).sigma;
      g_test_message ("from (%d, %d) on: %.2f, where all of it has %.2f", x, y, level * 255, expected * 255);
      g_assert_cmpfloat_with_epsilon (level, expected, 0.1 * expected);
    }
}

/* In a JPEG, what is measured in flat places, where the noise was rounded away, is less than the picture's error: that
 * has JPEG's own in it. */
static void
test_jpeg (void)
{
  g_autoptr (DiffusionPicture) clean = new_leaves (2 * EDGE, 2 * EDGE), noisy = diffusion_picture_copy (clean, NULL);
  const int n = 4 * EDGE * EDGE * 3;
  double    error = 0, level;

  g_assert_nonnull (noisy);
  add_noise (noisy, 5 * UNIT, 0, 2 * EDGE);
  compress_picture (noisy);
  for (int i = 0; i < n; i++)
    error += pow ((double) noisy->data[i] - (double) clean->data[i], 2) / n;
  level = estimate (noisy, NULL).sigma;
  g_test_message ("an error of %.2f is estimated as %.2f", sqrt (error) * 255, level * 255);
  g_assert_cmpfloat (level, >, 0.5 * sqrt (error));
  g_assert_cmpfloat (level, <, 1.1 * sqrt (error));
  test_cut_out (noisy, level);

  /* Without noise there is no sign of what rounding did. */
  compress_picture (clean);
  level = estimate (clean, NULL).sigma;
  g_test_message ("without noise, of the same: %.2f", level * 255);
  g_assert_cmpfloat (level, <, UNIT);
}

static void
test_flat (void)
{
  const double values[] = { 0, 0.3, 1, 1.5, -0.2 };

  for (gsize i = 0; i < G_N_ELEMENTS (values); i++)
    {
      g_autoptr (DiffusionPicture) picture = new_picture (64, 48, 3, values[i]);

      assert_silent (picture, NULL);
    }
}

/* 1.5 / 255: a denoiser that is told so little keeps the picture at 45 dB. */
static void
test_clean (void)
{
  g_autoptr (DiffusionPicture) leaves = new_leaves (EDGE, EDGE), gradient = new_gradient (EDGE, EDGE);

  g_assert_cmpfloat (estimate (leaves, NULL).sigma, <, 1.5 * UNIT);
  g_assert_cmpfloat (estimate (gradient, NULL).sigma, <, 0.1 * UNIT);
  round_picture (leaves);
  round_picture (gradient);
  g_assert_cmpfloat (estimate (leaves, NULL).sigma, <, 1.5 * UNIT);
  g_assert_cmpfloat (estimate (gradient, NULL).sigma, <, 0.5 * UNIT);
}

/* ---- where to look ---- */

/* Most of the picture is black or white and without noise for that alone: the rest is what counts. */
static void
test_clipped (void)
{
  g_autoptr (DiffusionPicture) picture = new_picture (EDGE, EDGE, 3, 0.5);
  DiffusionNoise noise;

  add_noise (picture, 10 * UNIT, 0, EDGE);
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE; x++)
      if (x < EDGE / 3 || x >= 2 * EDGE / 3)
        for (int c = 0; c < 3; c++)
          get_pixel (picture, x, y)[c] = x < EDGE / 2 ? 0 : 1;
  noise = estimate (picture, NULL);
  /* A third of the blocks. */
  assert_near (noise.sigma, 10 * UNIT, 0.08);
  assert_near (noise.curve[0], 10 * UNIT, 0.08);
  assert_near (noise.curve[DIFFUSION_NOISE_BINS - 1], 10 * UNIT, 0.08);
}

/* A frame or a caption of one colour has no noise, and says nothing about the photograph's: here of a third of it. */
static void
test_frame (void)
{
  static const double colours[] = { 0.03, 0.5, 0.97 };

  for (gsize i = 0; i < G_N_ELEMENTS (colours); i++)
    {
      g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE);

      add_noise (picture, 10 * UNIT, 0, EDGE);
      for (int y = 0; y < EDGE; y++)
        for (int x = 0; x < EDGE; x++)
          if (MIN (MIN (x, EDGE - 1 - x), MIN (y, EDGE - 1 - y)) < 20)
            for (int c = 0; c < 3; c++)
              get_pixel (picture, x, y)[c] = (float) (colours[i] + 0.01 * c);
      assert_near (estimate (picture, NULL).sigma, 10 * UNIT, 0.05);
      round_picture (picture);
      assert_near (estimate (picture, NULL).sigma, 10 * UNIT, 0.05);
    }
}

/* A wide selection is not lost for lying between the places where colour's blocks begin. */
static void
test_wide_mask (void)
{
  const int width = 8000, first = 5, count = 15;
  g_autoptr (DiffusionPicture) picture = new_picture (width, 40, 3, 0.5), mask = new_picture (width, 40, 1, 0);

  add_noise (picture, 10 * UNIT, 0, width);
  for (int y = first; y < first + count; y++)
    for (int x = 0; x < width; x++)
      *get_pixel (mask, x, y) = 1;
  assert_near (estimate (picture, mask).sigma, 10 * UNIT, 0.05);
}

static void
test_mask (void)
{
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE), mask = new_picture (EDGE, EDGE, 1, 0.5);

  add_noise (picture, 5 * UNIT, 0, EDGE / 2);
  add_noise (picture, 20 * UNIT, EDGE / 2, EDGE);
  /* Nothing is above one half. */
  assert_silent (picture, mask);
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE / 2; x++)
      *get_pixel (mask, x, y) = 0.6f;
  assert_near (estimate (picture, mask).sigma, sqrt (5 * 5 - HARMLESS * HARMLESS) * UNIT, 0.05);
  for (int y = 0; y < EDGE; y++)
    for (int x = 0; x < EDGE; x++)
      *get_pixel (mask, x, y) = x < EDGE / 2 ? 0 : 1;
  assert_near (estimate (picture, mask).sigma, 20 * UNIT, 0.05);
}

/* A small selection in a large picture is searched as closely as a small picture: 61 x 61 pixels, 196 blocks. */
static void
test_small_mask (void)
{
  g_autoptr (DiffusionPicture) picture = new_picture (1500, 1500, 3, 0.5), mask = new_picture (1500, 1500, 1, 0);

  add_noise (picture, 10 * UNIT, 0, 1500);
  for (int y = 1203; y < 1264; y++)
    for (int x = 702; x < 763; x++)
      *get_pixel (mask, x, y) = 1;
  assert_near (estimate (picture, mask).sigma, 10 * UNIT, 0.1);
  g_assert_cmpint (estimate (picture, mask).spots, >, 0);
  /* 7 pixels high: nowhere a spot. */
  for (int y = 1203 + 7; y < 1264; y++)
    for (int x = 702; x < 763; x++)
      *get_pixel (mask, x, y) = 0;
  assert_silent (picture, mask);
  g_assert_cmpint (estimate (picture, mask).spots, ==, 0);
}

static void
test_tiny (void)
{
  const int sizes[][2]
      = { { 1, 1 }, { 3, 5 }, { 7, 300 }, { 300, 1 }, { 8, 8 }, { 9, 8 }, { 15, 17 }, { 16, 16 }, { 33, 20 } };

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (DiffusionPicture) picture = new_picture (sizes[i][0], sizes[i][1], 3, 0.5);
      DiffusionNoise noise;

      assert_silent (picture, NULL);
      add_noise (picture, 10 * UNIT, 0, picture->width);
      noise = estimate (picture, NULL);
      /* Below a block nothing is claimed; one block holds 180 values. */
      if (MIN (picture->width, picture->height) < 8)
        g_assert_cmpfloat (noise.sigma, ==, 0);
      else
        assert_near (noise.sigma, 10 * UNIT, 0.3);
    }
}

/* Damaged pixels, here 1 in 500 and a whole stripe, are passed over together with the blocks that they lie in. */
static void
test_damaged (void)
{
  const float damage[] = { NAN, INFINITY, -INFINITY, 1e30f };
  g_autoptr (DiffusionPicture) picture = new_gradient (EDGE, EDGE), mask = new_picture (EDGE, EDGE, 1, NAN);

  add_noise (picture, 10 * UNIT, 0, EDGE);
  for (int i = 0; i < EDGE * EDGE; i++)
    if (i % 499 == 0 || i / EDGE < 20)
      picture->data[i * 3 + i % 3] = damage[i % 4];
  assert_near (estimate (picture, NULL).sigma, 10 * UNIT, 0.05);
  assert_silent (picture, mask);
  for (int i = 0; i < EDGE * EDGE; i++)
    picture->data[i * 3] = NAN;
  assert_silent (picture, NULL);
}

/* ---- the rest ---- */

static double
get_seconds (void)
{
  struct timespec now;

  clock_gettime (CLOCK_THREAD_CPUTIME_ID, &now);
  return (double) now.tv_sec + 1e-9 * (double) now.tv_nsec;
}

/* The number of blocks is bounded, so twenty-four times the pixels take hardly longer, and say the same. */
static void
test_scale (void)
{
  g_autoptr (DiffusionPicture) small = new_picture (500, 500, 3, 0.5), large = new_picture (3000, 2000, 3, 0.5);
  double         start, times[2];
  DiffusionNoise noise;

  add_noise (small, 10 * UNIT, 0, small->width);
  add_noise (large, 10 * UNIT, 0, large->width);
  estimate (small, NULL);
  start = get_seconds ();
  estimate (small, NULL);
  times[0] = get_seconds () - start;
  noise = estimate (large, NULL);
  times[1] = get_seconds () - start - times[0];
  g_test_message ("0.25 MP: %.1f ms, 6 MP: %.1f ms", times[0] * 1e3, times[1] * 1e3);
  assert_near (noise.sigma, 10 * UNIT, 0.05);
  /* It is about the same; memory that is read here and there costs, and other work on the machine does. */
  g_assert_cmpfloat (times[1], <, 5 * times[0]);
}

static void
test_arguments (void)
{
  g_autoptr (DiffusionPicture) picture = new_picture (16, 16, 3, 0), grey = new_picture (16, 16, 1, 0),
                               mask = new_picture (16, 15, 1, 1);
  g_autoptr (GError) error = NULL;
  DiffusionNoise noise;

  g_assert_false (diffusion_estimate_noise (grey, NULL, &noise, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (diffusion_estimate_noise (picture, mask, &noise, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  g_clear_error (&error);
  g_assert_false (diffusion_estimate_noise (picture, picture, &noise, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
}

static void
test_levels (void)
{
  DiffusionNoise noise;

  diffusion_noise_set_uniform (&noise, 0.1);
  g_assert_cmpfloat (noise.sigma, ==, 0.1);
  g_assert_cmpfloat (noise.chroma, ==, 0.1);
  g_assert_cmpfloat_with_epsilon (noise.luma, 0.1 / sqrt (3), 1e-12);
  for (int i = -4; i < 24; i++)
    g_assert_cmpfloat_with_epsilon (diffusion_noise_at (&noise, i / 16.0), 0.1, 1e-12);

  for (int i = 0; i < DIFFUSION_NOISE_BINS; i++)
    noise.curve[i] = i;
  g_assert_cmpfloat (diffusion_noise_at (&noise, 0.5 / DIFFUSION_NOISE_BINS), ==, 0);
  g_assert_cmpfloat_with_epsilon (diffusion_noise_at (&noise, 7.75 / DIFFUSION_NOISE_BINS), 7.25, 1e-12);
  g_assert_cmpfloat (diffusion_noise_at (&noise, -3), ==, 0);
  g_assert_cmpfloat (diffusion_noise_at (&noise, 0), ==, 0);
  g_assert_cmpfloat (diffusion_noise_at (&noise, 1), ==, DIFFUSION_NOISE_BINS - 1);
  g_assert_cmpfloat (diffusion_noise_at (&noise, 30), ==, DIFFUSION_NOISE_BINS - 1);
  g_assert_cmpfloat (diffusion_noise_at (&noise, NAN), ==, 0);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (white_cases); i++)
    g_test_add_data_func (white_cases[i].name, &white_cases[i], test_white);
  g_test_add_func ("/estimate/harmless", test_harmless);
  g_test_add_func ("/estimate/rounded", test_rounded);
  g_test_add_func ("/estimate/signal-dependent", test_signal_dependent);
  g_test_add_func ("/estimate/luma-only", test_luma_only);
  g_test_add_func ("/estimate/chroma-only", test_chroma_only);
  g_test_add_func ("/estimate/correlated", test_correlated);
  g_test_add_func ("/estimate/jpeg", test_jpeg);
  g_test_add_func ("/estimate/flat", test_flat);
  g_test_add_func ("/estimate/clean", test_clean);
  g_test_add_func ("/estimate/clipped", test_clipped);
  g_test_add_func ("/estimate/frame", test_frame);
  g_test_add_func ("/estimate/wide-mask", test_wide_mask);
  g_test_add_func ("/estimate/mask", test_mask);
  g_test_add_func ("/estimate/small-mask", test_small_mask);
  g_test_add_func ("/estimate/tiny", test_tiny);
  g_test_add_func ("/estimate/damaged", test_damaged);
  g_test_add_func ("/estimate/scale", test_scale);
  g_test_add_func ("/estimate/arguments", test_arguments);
  g_test_add_func ("/estimate/levels", test_levels);
  return g_test_run ();
}
