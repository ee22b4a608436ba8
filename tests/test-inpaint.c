/* Tests of inpainting and regenerating.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "diffusion.h"
#include "task/exemplar.h"
#include "task/region.h"

#include <math.h>
#include <string.h>

#define WIDTH  120
#define HEIGHT 96

/* Stripes and a slow gradient, on which a fill has one right answer. */
static DiffusionPicture *
make_picture (void)
{
  DiffusionPicture *picture = diffusion_picture_new (WIDTH, HEIGHT, 3, NULL);

  for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
    {
      int x = i / 3 % WIDTH, y = i / 3 / WIDTH;

      picture->data[i] = 0.5f + 0.25f * sinf ((float) x * 0.9f + (float) (i % 3)) + 0.002f * (float) (y - HEIGHT / 2);
    }
  return picture;
}

static void
set_box (DiffusionPicture *mask, int x0, int y0, int width, int height, float value)
{
  for (int y = MAX (y0, 0); y < MIN (y0 + height, mask->height); y++)
    for (int x = MAX (x0, 0); x < MIN (x0 + width, mask->width); x++)
      mask->data[y * mask->width + x] = value;
}

static DiffusionModel *
make_model (void)
{
  const DiffusionArchitecture tiny = { 2, { 8, 16 }, { 1, 1 } };

  return diffusion_model_new (&tiny, 5, NULL);
}

static DiffusionOptions
make_options (int threads, guint64 seed)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;

  options.steps = 4;
  options.sampler = DIFFUSION_INPAINT_SAMPLER;
  options.threads = threads;
  options.seed = seed;
  return options;
}

/* Fills; the hole's old pixels are set to a value that must not matter. */
static DiffusionPicture *
fill (const DiffusionPicture *picture, const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint,
      const DiffusionOptions *options)
{
  g_autoptr (DiffusionModel) model = make_model ();
  DiffusionPicture *copy = diffusion_picture_copy (picture, NULL);
  GError           *error = NULL;

  diffusion_inpaint (model, copy, mask, inpaint, options, NULL, &error);
  g_assert_no_error (error);
  return copy;
}

static double
get_error (const DiffusionPicture *a, const DiffusionPicture *b, const DiffusionPicture *mask)
{
  double sum = 0;
  int    n = 0;

  for (int i = 0; i < a->width * a->height * 3; i++)
    if (mask->data[i / 3] > 0)
      {
        sum += ((double) a->data[i] - (double) b->data[i]) * ((double) a->data[i] - (double) b->data[i]);
        n++;
      }
  return sqrt (sum / n);
}

static void
assert_known_kept (const DiffusionPicture *before, const DiffusionPicture *after, const DiffusionPicture *mask)
{
  for (int i = 0; i < WIDTH * HEIGHT; i++)
    if (mask->data[i] == 0)
      g_assert_cmpmem (before->data + i * 3, 12, after->data + i * 3, 12);
}

/* Holes of many sizes and places: known pixels keep their bits, the stripes go on. */
static void
test_holes (void)
{
  static const int holes[][4] = { { 60, 40, 1, 1 },     { 50, 40, 8, 8 },    { 40, 30, 30, 30 }, { 0, 0, 20, 20 },
                                  { 0, 0, 26, HEIGHT }, { 100, 80, 60, 60 }, { 10, 50, 100, 3 } };
  g_autoptr (DiffusionPicture) picture = make_picture ();
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);

  inpaint.grow = 0;
  inpaint.noise = 0;
  inpaint.texture = 1;
  for (gsize i = 0; i < G_N_ELEMENTS (holes); i++)
    {
      g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL), after = NULL, hollow = NULL;

      set_box (mask, holes[i][0], holes[i][1], holes[i][2], holes[i][3], 1);
      hollow = diffusion_picture_copy (picture, NULL);
      for (int j = 0; j < WIDTH * HEIGHT * 3; j++)
        if (mask->data[j / 3] > 0)
          hollow->data[j] = 1e6f;
      after = fill (hollow, mask, &inpaint, &options);
      assert_known_kept (picture, after, mask);
      g_test_message ("%d x %d: error %.4f", holes[i][2], holes[i][3], get_error (picture, after, mask));
      g_assert_cmpfloat (get_error (picture, after, mask), <, 0.12); /* the stripes' own deviation is 0.18 */
    }
}

/* What is beyond white goes on beyond white, in a scratch too. */
static void
test_bright (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL),
                               after = NULL;
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);

  inpaint.noise = 0;
  for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
    picture->data[i] += 1;
  set_box (mask, 20, 40, 90, 3, 1);
  after = fill (picture, mask, &inpaint, &options);
  assert_known_kept (picture, after, mask);
  g_test_message ("error %.4f", get_error (picture, after, mask));
  g_assert_cmpfloat (get_error (picture, after, mask), <, 0.12);
}

/* How far the values in a box, green, are from the means of their neighbours. */
static double
get_grain (const DiffusionPicture *picture, int x0, int y0, int width, int height)
{
  const int row = picture->width * 3;
  double    sum = 0;

  for (int y = y0; y < y0 + height; y++)
    for (int x = x0; x < x0 + width; x++)
      {
        const float *value = picture->data + y * row + x * 3 + 1;
        double       off = (double) value[0] - (double) (value[-3] + value[3] + value[-row] + value[row]) / 4;

        sum += off * off;
      }
  return sqrt (sum / (width * height));
}

/* Beside invisible pixels, which would be smooth if they were anything, a scratch gets the photograph's grain. */
static void
test_invisible (void)
{
  const int width = 320, height = 200, edge = 150, kept = 20;
  g_autoptr (DiffusionPicture) picture = diffusion_picture_new (width, height, 3, NULL), opaque = NULL, cut = NULL;
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (width, height, 1, NULL),
                               level = diffusion_picture_new (width, height, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);
  double                  whole, beside;

  for (int i = 0; i < width * height * 3; i++)
    picture->data[i] = 0.5f + 0.0005f * (float) (i / 3 % width);
  for (int i = 0; i < width * height; i++)
    level->data[i] = 10 / 255.0f;
  g_assert_true (diffusion_forward (picture, level, 0, 1, 3, 0, 0, 0, NULL));
  set_box (mask, edge - kept - 6, 50, 6, 90, 1);
  opaque = fill (picture, mask, &inpaint, &options);
  for (int i = 0; i < width * height; i++)
    for (int c = 0; i % width >= edge && c < 3; c++)
      picture->data[i * 3 + c] = NAN;
  cut = fill (picture, mask, &inpaint, &options);

  whole = get_grain (opaque, edge - kept - 5, 51, 4, 88);
  beside = get_grain (cut, edge - kept - 5, 51, 4, 88);
  g_test_message ("grain %.1f of 255, beside invisible pixels %.1f", whole * 255, beside * 255);
  g_assert_cmpfloat (whole, >, 6 / 255.0);
  g_assert_cmpfloat (beside, >, 0.8 * whole);
  for (int i = 0; i < width * height; i++)
    if (i % width >= edge)
      g_assert_true (isfinite (cut->data[i * 3]) && isfinite (cut->data[i * 3 + 2]));
    else if (mask->data[i] == 0)
      g_assert_cmpmem (picture->data + i * 3, 12, cut->data + i * 3, 12);
}

/* Two regions at once give what each alone gives, when they are far apart. */
static void
test_regions (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), both = NULL, one = NULL;
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  g_autoptr (DiffusionPicture) first = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (1, 1);

  inpaint.context = 10;
  set_box (mask, 15, 15, 6, 6, 1);
  set_box (mask, 95, 75, 6, 6, 1);
  set_box (first, 15, 15, 6, 6, 1);
  both = fill (picture, mask, &inpaint, &options);
  one = fill (picture, first, &inpaint, &options);
  for (int y = 15; y < 21; y++)
    g_assert_cmpmem (both->data + (y * WIDTH + 15) * 3, 72, one->data + (y * WIDTH + 15) * 3, 72);
  g_assert_cmpfloat (get_error (picture, both, mask), >, 0);
}

/* A mask of many specks is filled in one go. */
static void
test_specks (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), after = NULL;
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);

  for (int i = 0; i < WIDTH * HEIGHT; i++)
    mask->data[i] = i % WIDTH % 3 == 1 && i / WIDTH % 3 == 1;
  after = fill (picture, mask, &inpaint, &options);
  assert_known_kept (picture, after, mask);
  g_assert_cmpfloat (get_error (picture, after, mask), <, 0.05);
}

/* A soft mask lets as much of the old picture through as it says. */
static void
test_soft (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), hard = NULL, soft = NULL;
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (1, 1);

  inpaint.grow = 0;
  set_box (mask, 40, 30, 30, 30, 1);
  hard = fill (picture, mask, &inpaint, &options);
  set_box (mask, 40, 30, 30, 30, 0.25f);
  soft = fill (picture, mask, &inpaint, &options);
  for (int i = 0; i < WIDTH * HEIGHT * 3; i++)
    g_assert_cmpfloat_with_epsilon (soft->data[i], picture->data[i] + 0.25f * (hard->data[i] - picture->data[i]), 1e-5);
}

/* The same bytes for every number of threads and every tile; other bytes for another seed. */
static void
test_threads (void)
{
  static const int sizes[] = { 6, 40 };

  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      g_autoptr (DiffusionPicture) picture = make_picture (), first = NULL, other = NULL;
      g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
      DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
      DiffusionOptions        options = make_options (1, 1);

      set_box (mask, 40, 30, sizes[i], sizes[i], 1);
      first = fill (picture, mask, &inpaint, &options);
      for (options.threads = 2; options.threads <= 5; options.threads += 3)
        {
          g_autoptr (DiffusionPicture) again = NULL;

          options.tile = options.threads * 16;
          again = fill (picture, mask, &inpaint, &options);
          g_assert_cmpmem (again->data, WIDTH * HEIGHT * 12, first->data, WIDTH * HEIGHT * 12);
        }
      options.seed = 2;
      other = fill (picture, mask, &inpaint, &options);
      g_assert_cmpfloat (get_error (other, first, mask), >, 0);
    }
}

/* A part of the layer that has all that is looked at gives what the layer gives. */
static void
test_boxes (void)
{
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionBox            changed, seen;

  inpaint.context = 9;
  inpaint.grow = 3;
  set_box (mask, 50, 4, 20, 10, 1);
  g_assert_true (diffusion_inpaint_get_boxes (mask, &inpaint, NULL, &changed, &seen, NULL, NULL));
  g_assert_cmpint (changed.x, ==, 47);
  g_assert_cmpint (changed.y, ==, 1);
  g_assert_cmpint (changed.width, ==, 26);
  g_assert_cmpint (changed.height, ==, 16);
  g_assert_cmpint (seen.x, ==, 38);
  g_assert_cmpint (seen.y, ==, 0);
  g_assert_cmpint (seen.height, ==, 26);

  /* What reaches into a view, with all of it; the rest is left out. */
  set_box (mask, 4, 40, 6, 6, 1);
  g_assert_true (
      diffusion_inpaint_get_boxes (mask, &inpaint, &(DiffusionBox){ 0, 20, 47, 30 }, &changed, &seen, NULL, NULL));
  g_assert_cmpint (changed.x, ==, 1);
  g_assert_cmpint (changed.y, ==, 37);
  g_assert_cmpint (changed.width, ==, 12);
  g_assert_cmpint (seen.width, ==, 22);
  g_assert_true (
      diffusion_inpaint_get_boxes (mask, &inpaint, &(DiffusionBox){ 72, 3, 9, 9 }, &changed, &seen, NULL, NULL));
  g_assert_cmpint (changed.x, ==, 47);
  g_assert_cmpint (changed.width, ==, 26);
  g_assert_true (
      diffusion_inpaint_get_boxes (mask, &inpaint, &(DiffusionBox){ 73, 3, 9, 9 }, &changed, &seen, NULL, NULL));
  g_assert_cmpint (changed.width, ==, 0);
  g_assert_cmpint (seen.width, ==, 0);
}

static void
test_errors (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  g_autoptr (DiffusionPicture) small = diffusion_picture_new (4, 4, 1, NULL);
  g_autoptr (DiffusionModel) model = make_model ();
  g_autoptr (GCancellable) cancelled = g_cancellable_new ();
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (1, 1);

#define FAILS(call, domain, code)                                                                                      \
  {                                                                                                                    \
    GError *error = NULL;                                                                                              \
    g_assert_false (call);                                                                                             \
    g_assert_error (error, domain, code);                                                                              \
    g_clear_error (&error);                                                                                            \
  }
#define INPAINT(m) diffusion_inpaint (model, picture, m, &inpaint, &options, cancelled, &error)
#define REGENERATE(m, strength, structure)                                                                             \
  diffusion_regenerate (model, picture, m, strength, structure, &options, cancelled, &error)
  FAILS (INPAINT (mask), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT); /* nothing selected */
  FAILS (INPAINT (small), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  set_box (mask, 0, 0, WIDTH, HEIGHT, 1);
  FAILS (INPAINT (mask), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT); /* all selected */
  inpaint.texture = 2;
  FAILS (INPAINT (mask), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  FAILS (REGENERATE (NULL, 1.5, 0.5), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  FAILS (REGENERATE (NULL, 0.5, -1), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  FAILS (REGENERATE (small, 0.5, 0), DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
  inpaint.texture = -1;
  set_box (mask, 0, 0, WIDTH, HEIGHT, 0);
  set_box (mask, 30, 30, 40, 40, 1);
  /* Selected is a part only, so that is no reason; grown it is all. */
  inpaint.grow = WIDTH;
  {
    GError *error = NULL;

    g_assert_false (INPAINT (mask));
    g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT);
    g_assert_nonnull (strstr (error->message, "grow"));
    g_clear_error (&error);
  }
  inpaint.grow = 0;
  g_cancellable_cancel (cancelled);
  FAILS (INPAINT (mask), G_IO_ERROR, G_IO_ERROR_CANCELLED);
  FAILS (REGENERATE (NULL, 0.5, 0.5), G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

typedef struct
{
  GCancellable *cancellable;
  gint64        delay, pressed; /* microseconds */
} Press;

static gpointer
press_later (gpointer data)
{
  Press *press = data;

  g_usleep ((gulong) press->delay);
  press->pressed = g_get_monotonic_time ();
  g_cancellable_cancel (press->cancellable);
  return NULL;
}

/* Returns how long the fill ran on after it was cancelled, or -1 if it was done before; seconds. */
static double
wait_after_cancel (const DiffusionPicture *picture, const DiffusionPicture *mask, double delay)
{
  g_autoptr (DiffusionPicture) copy = diffusion_picture_copy (picture, NULL);
  g_autoptr (DiffusionModel) model = make_model ();
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (GError) error = NULL;
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);
  Press                   press = { cancellable, (gint64) (delay * G_USEC_PER_SEC), 0 };
  GThread                *thread = g_thread_new ("press", press_later, &press);
  gboolean                done = diffusion_inpaint (model, copy, mask, &inpaint, &options, cancellable, &error);
  gint64                  end = g_get_monotonic_time ();

  g_thread_join (thread);
  if (done)
    return -1;
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  return (double) (end - press.pressed) / G_USEC_PER_SEC;
}

/* At no moment does a fill of some seconds go on for long when it is cancelled: here the patches' search and the plate
 * are what takes the time.  (A busy machine is slow in everything: hence the share.) */
static void
test_cancel (void)
{
  enum
  {
    EDGE = 620,
    PRESSES = 12
  };
  g_autoptr (DiffusionPicture) picture = diffusion_picture_new (EDGE, EDGE, 3, NULL);

  for (int i = 0; i < EDGE * EDGE * 3; i++)
    picture->data[i] = 0.5f + 0.2f * sinf ((float) (i / 3 % EDGE) * 0.7f) + 0.2f * sinf ((float) (i / 3 / EDGE) * 0.4f);
  for (int thin = 0; thin < 2; thin++)
    {
      g_autoptr (DiffusionPicture) mask = diffusion_picture_new (EDGE, EDGE, 1, NULL);
      const gint64 start = g_get_monotonic_time ();
      double       whole, worst = 0;
      int          hits = 0;

      for (int i = 0; thin && i < 13; i++)
        set_box (mask, 30, 30 + i * 45, EDGE - 60, 16, 1);
      if (! thin)
        set_box (mask, 170, 170, 260, 260, 1);
      g_assert_cmpfloat (wait_after_cancel (picture, mask, 0), >=, 0); /* what is made before the fill itself */
      whole = (double) (g_get_monotonic_time () - start) / G_USEC_PER_SEC;
      for (int i = 0; i < PRESSES; i++)
        {
          double wait = wait_after_cancel (picture, mask, 0.05 + 0.11 * i);

          worst = MAX (worst, wait);
          hits += wait >= 0;
        }
      g_test_message ("%s: %d of %d were cancelled, after %.2f s at the most", thin ? "thin" : "large", hits, PRESSES,
                      worst);
      g_assert_cmpfloat (worst, <, 0.5 + whole);
      g_assert_cmpint (hits, >=, PRESSES / 4);
    }
}

typedef struct
{
  int    count;
  double last, widest;
} Watch;

static void
watch_progress (double fraction, gpointer data)
{
  Watch *watch = data;

  g_assert_cmpfloat (fraction, >=, watch->last);
  g_assert_cmpfloat (fraction, <=, 1);
  watch->widest = fmax (watch->widest, fraction - watch->last);
  watch->last = fraction;
  watch->count++;
}

/* Progress only grows, in small steps, for thin holes and large ones. */
static void
test_progress (void)
{
  g_autoptr (DiffusionModel) model = make_model ();
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);

  for (int thin = 0; thin < 2; thin++)
    {
      g_autoptr (DiffusionPicture) picture = make_picture (), mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
      Watch watch = { 0, 0, 0 };

      set_box (mask, 20, 20, 80, thin ? 4 : 50, 1);
      options.progress = watch_progress;
      options.progress_data = &watch;
      g_assert_true (diffusion_inpaint (model, picture, mask, &inpaint, &options, NULL, NULL));
      g_assert_cmpint (watch.count, >=, 10);
      g_assert_cmpfloat (watch.widest, <, 0.25);
      g_assert_cmpfloat (watch.last, >, 0.75);
    }
}

/* What is known when the large one of several holes is first seen. */
typedef struct
{
  Watch  progress;
  double fraction;
  gint64 time;
} Large;

static void
watch_large (const DiffusionStep *step, gpointer data)
{
  Large *large = data;

  if (large->time || step->prediction->width * step->reduction < 200)
    return;
  large->time = g_get_monotonic_time ();
  large->fraction = large->progress.last;
}

/* It goes by the work: three spots are a small part of it beside a large hole. */
static void
test_shares (void)
{
  g_autoptr (DiffusionModel) model = make_model ();
  g_autoptr (DiffusionPicture) picture = diffusion_picture_new (700, 300, 3, NULL);
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (700, 300, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (2, 1);
  Large                   large = { { 0, 0, 0 }, 1, 0 };
  gint64                  start = g_get_monotonic_time ();

  for (int i = 0; i < 700 * 300 * 3; i++)
    picture->data[i] = 0.5f + 0.2f * sinf ((float) (i / 3 % 700) * 0.3f) * cosf ((float) (i / 2100) * 0.2f);
  set_box (mask, 40, 50, 250, 200, 1);
  for (int i = 0; i < 3; i++)
    set_box (mask, 600, 30 + 110 * i, 16, 16, 1);
  inpaint.noise = 0;
  options.progress = watch_progress;
  options.progress_data = &large.progress;
  options.on_step = watch_large;
  options.step_data = &large;
  g_assert_true (diffusion_inpaint (model, picture, mask, &inpaint, &options, NULL, NULL));
  g_test_message ("%.2f of the progress after %.2f of the time", large.fraction,
                  (double) (large.time - start) / (double) (g_get_monotonic_time () - start));
  g_assert_cmpfloat (large.fraction, <, 0.35);
  g_assert_cmpfloat (large.progress.last, >, 0.75);
}

static double
regenerate (double strength, double structure, const DiffusionPicture *mask, int threads)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), before = make_picture ();
  g_autoptr (DiffusionPicture) all = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  g_autoptr (DiffusionModel) model = make_model ();
  DiffusionOptions options = make_options (threads, 3);

  options.tile = threads * 16;

  set_box (all, 0, 0, WIDTH, HEIGHT, 1);
  g_assert_true (diffusion_regenerate (model, picture, mask, strength, structure, &options, NULL, NULL));
  if (mask)
    assert_known_kept (before, picture, mask);
  return get_error (picture, before, all);
}

/* The further the stronger, the nearer the firmer; nothing at 0; a soft mask is a soft strength. */
static void
test_regenerate (void)
{
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  double last = 0;

  g_assert_cmpfloat (regenerate (0, 0.5, NULL, 1), ==, 0);
  for (int i = 1; i <= 8; i++) /* beyond, an untrained model has nothing to put in the place */
    {
      double distance = regenerate (i * 0.1, 0, NULL, 2);

      g_test_message ("strength %.1f: distance %.4f", i * 0.1, distance);
      g_assert_cmpfloat (distance, >, last);
      last = distance;
    }
  g_assert_cmpfloat (regenerate (0.8, 1, NULL, 1), <, regenerate (0.8, 0, NULL, 1));
  g_assert_cmpfloat (regenerate (0.8, 0, NULL, 1), ==, regenerate (0.8, 0, NULL, 3));
  set_box (mask, 0, 0, WIDTH, HEIGHT, 0.5f);
  g_assert_cmpfloat_with_epsilon (regenerate (0.8, 0, mask, 1), regenerate (0.4, 0, NULL, 1), 1e-6);
  set_box (mask, 20, 20, 50, 50, 0);
  g_assert_cmpfloat (regenerate (0.8, 0, mask, 1), >, 0);
}

/* ---- looking on ---- */

typedef struct
{
  int                     reduction, step, calls; /* of the last call */
  int                     first;                  /* reduction of the first */
  const DiffusionPicture *mask, *result;          /* NULL: not known */
  double                  far_first, far_last;    /* how far from the result the first and the last one were */
} Spectator;

/* How far a step at full size is from the result, root mean square; known pixels count too. */
static double
get_distance (const DiffusionStep *step, const DiffusionPicture *result)
{
  const DiffusionPicture *seen = step->prediction;
  double                  sum = 0;

  for (int y = 0; y < seen->height; y++)
    for (int x = 0; x < seen->width * 3; x++)
      {
        const double d = seen->data[y * seen->width * 3 + x] - result->data[((step->y + y) * WIDTH + step->x) * 3 + x];

        sum += d * d;
      }
  return sqrt (sum / (seen->width * seen->height * 3));
}

/* From coarse to fine, then the steps; every picture covers the hole, and all of it is known. */
static void
watch_step (const DiffusionStep *step, gpointer data)
{
  Spectator *seen = data;

  seen->calls++;
  if (seen->first == 0)
    seen->first = seen->reduction = step->reduction;
  g_assert_cmpint (step->reduction, >=, 1);
  g_assert_cmpint (step->reduction, <=, seen->reduction);
  if (step->step > 0)
    g_assert_cmpint (step->reduction, ==, 1);
  g_assert_cmpint (step->step, >=, seen->step);
  for (int y = 0; y < HEIGHT; y++)
    for (int x = 0; x < WIDTH; x++)
      if (seen->mask->data[y * WIDTH + x] > 0)
        {
          const int u = (x - step->x) / step->reduction, v = (y - step->y) / step->reduction;

          g_assert_cmpint (u, >=, 0);
          g_assert_cmpint (v, >=, 0);
          g_assert_cmpint (u, <, step->prediction->width);
          g_assert_cmpint (v, <, step->prediction->height);
          g_assert_true (isfinite (step->prediction->data[(v * step->prediction->width + u) * 3]));
        }
  seen->reduction = step->reduction;
  seen->step = step->step;
  if (! seen->result || step->reduction > 1)
    return;
  seen->far_last = get_distance (step, seen->result);
  if (seen->far_first == 0)
    seen->far_first = seen->far_last;
}

static void
test_spectator (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  g_autoptr (DiffusionPicture) alone = NULL, seen = NULL;
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (1, 1);
  Spectator               spectator = { .mask = mask };

  /* A slope: a step that is put into the wrong place is off by as much as the slope there. */
  for (int i = 0; i < WIDTH * HEIGHT; i++)
    picture->data[i * 3] = (float) (i % WIDTH) / WIDTH;
  set_box (mask, 60, 30, 36, 40, 1);
  inpaint.grow = inpaint.feather = 0;
  inpaint.context = WIDTH;
  alone = fill (picture, mask, &inpaint, &options);
  options.on_step = watch_step;
  options.step_data = &spectator;
  spectator.result = alone;
  seen = fill (picture, mask, &inpaint, &options);
  g_assert_cmpint (spectator.first, >=, 2);
  g_assert_cmpint (spectator.reduction, ==, 1);
  g_assert_cmpint (spectator.step, >=, 1);
  g_assert_cmpint (spectator.calls, >=, 4);
  g_test_message ("%.5f from the result at last", spectator.far_last);
  g_assert_cmpfloat (spectator.far_last, <, 0.02);
  g_assert_cmpmem (alone->data, WIDTH * HEIGHT * 12, seen->data, WIDTH * HEIGHT * 12);
}

/* The smoothest fill at once, then what patches add to it, each time nearer to the result; which stays as it is. */
static void
test_spectator_thin (void)
{
  g_autoptr (DiffusionPicture) picture = make_picture (), mask = diffusion_picture_new (WIDTH, HEIGHT, 1, NULL);
  g_autoptr (DiffusionPicture) alone = NULL, seen = NULL;
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  DiffusionOptions        options = make_options (1, 1);
  Spectator               spectator = { .mask = mask };

  set_box (mask, 20, 40, 90, 4, 1);
  inpaint.noise = 0; /* grain comes last, over all of it */
  alone = fill (picture, mask, &inpaint, &options);
  options.on_step = watch_step;
  options.step_data = &spectator;
  spectator.result = alone;
  seen = fill (picture, mask, &inpaint, &options);
  g_test_message ("%d pictures, %.5f from the result at first and %.5f at last", spectator.calls, spectator.far_first,
                  spectator.far_last);
  g_assert_cmpint (spectator.calls, >=, 5);
  g_assert_cmpfloat (spectator.far_first, >, 0.001);
  g_assert_cmpfloat (spectator.far_last, <, 0.2 * spectator.far_first);
  g_assert_cmpmem (alone->data, WIDTH * HEIGHT * 12, seen->data, WIDTH * HEIGHT * 12);
}

/* The largest within a square around each value, by looking at all of them. */
static void
test_widen (void)
{
  const int widths[] = { 1, 7, 40 }, reaches[] = { 0, 1, 2, 9, 60 };
  g_autoptr (GRand) random = g_rand_new_with_seed (3);

  for (int n = 0; n < (int) (G_N_ELEMENTS (widths) * G_N_ELEMENTS (reaches)); n++)
    {
      const int width = widths[n % 3], height = 23, by = reaches[n / 3];
      g_autoptr (DiffusionPicture) mask = diffusion_picture_new (width, height, 1, NULL), before = NULL;

      for (int i = 0; i < width * height; i++)
        mask->data[i] = g_rand_double (random) < 0.8 ? 0 : (float) g_rand_double (random);
      before = diffusion_picture_copy (mask, NULL);
      g_assert_true (diffusion_mask_widen (mask, by, NULL));
      for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
          {
            float most = 0;

            for (int v = MAX (y - by, 0); v <= MIN (y + by, height - 1); v++)
              for (int u = MAX (x - by, 0); u <= MIN (x + by, width - 1); u++)
                most = MAX (most, before->data[v * width + u]);
            g_assert_cmpfloat (mask->data[y * width + x], ==, most);
          }
    }
}

/* How far it is to a hole is right to the last pixel of wide pictures too, where squares of places have more digits
 * than a float. */
static void
test_distance (void)
{
  enum
  {
    EDGE = 12000
  };
  g_autoptr (DiffusionPicture) picture = diffusion_picture_new (EDGE, 3, 1, NULL);

  for (int i = EDGE; i < 3 * EDGE; i++)
    picture->data[i] = INFINITY;
  g_assert_true (region_distance (picture->data, EDGE, 3, NULL, NULL));
  for (int i = 0; i < 3 * EDGE; i++)
    g_assert_cmpfloat (picture->data[i], ==, (float) (i / EDGE * (i / EDGE)));

  for (int i = 0; i < EDGE; i++)
    picture->data[i] = i == 5003 ? 0 : INFINITY;
  g_assert_true (region_distance (picture->data, EDGE, 1, NULL, NULL));
  for (int i = 0; i < EDGE; i++)
    g_assert_cmpfloat (picture->data[i], ==, (float) (i - 5003) * (float) (i - 5003));
}

/* Seconds that it takes to find the regions of diagonal lines, which are so far from each other. */
static double
time_hatch (int step, GCancellable *cancellable)
{
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (2000, 1500, 1, NULL);
  DiffusionInpaintOptions inpaint = DIFFUSION_INPAINT_OPTIONS_INIT;
  Regions                 regions = { .count = 0 };
  GError                 *error = NULL;
  gboolean                found;
  gint64                  start;

  for (int y = 0; y < mask->height; y++)
    for (int x = 0; x < mask->width; x++)
      mask->data[y * mask->width + x] = (x + y) % step < 3;
  start = g_get_monotonic_time ();
  found = regions_find (mask, &inpaint, &regions, cancellable, &error);
  regions_clear (&regions);
  if (g_cancellable_is_cancelled (cancellable))
    g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  else
    g_assert_no_error (error);
  g_assert_true (found == ! error);
  g_clear_error (&error);
  return (double) (g_get_monotonic_time () - start) * 1e-6;
}

/* Many lines across a large picture take little longer to be found than few, and it can be cancelled. */
static void
test_hatch (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  double few = time_hatch (1700, NULL), many = time_hatch (20, NULL);

  g_test_message ("few: %.3f s, many: %.3f s", few, many);
  g_assert_cmpfloat (many, <, 8 * few);
  g_cancellable_cancel (cancellable);
  time_hatch (20, cancellable);
}

static int
compare_floats (gconstpointer a, gconstpointer b)
{
  float one = *(const float *) a, other = *(const float *) b;

  return (one > other) - (one < other);
}

/* The same, bit for bit, as sorting finds: few values and many, the same ones again, tiny and huge ones. */
static void
test_quantile (void)
{
  enum
  {
    MOST = 5000
  };
  g_autoptr (GRand) random = g_rand_new_with_seed (3);
  float  values[MOST], sorted[MOST];
  guint8 counted[MOST];

  for (int n = 1; n <= MOST; n = n < 40 ? n + 1 : n * 3 / 2)
    for (int kind = 0; kind < 4; kind++)
      {
        gsize count = 0;

        for (int i = 0; i < n; i++)
          {
            double u = g_rand_double (random);

            values[i] = (float) (kind == 0 ? u : kind == 1 ? floor (u * 3) : exp (170 * u - 85));
            counted[i] = i == n / 2 || kind == 3 || g_rand_boolean (random);
            if (counted[i])
              sorted[count++] = values[i];
          }
        qsort (sorted, count, sizeof (float), compare_floats);
        g_assert_cmpfloat (exemplar_find_quantile (values, counted, (gsize) n, 3, 4), ==, sorted[count * 3 / 4]);
      }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/inpaint/distance", test_distance);
  g_test_add_func ("/inpaint/quantile", test_quantile);
  g_test_add_func ("/inpaint/widen", test_widen);
  g_test_add_func ("/inpaint/hatch", test_hatch);
  g_test_add_func ("/inpaint/holes", test_holes);
  g_test_add_func ("/inpaint/bright", test_bright);
  g_test_add_func ("/inpaint/invisible", test_invisible);
  g_test_add_func ("/inpaint/regions", test_regions);
  g_test_add_func ("/inpaint/soft", test_soft);
  g_test_add_func ("/inpaint/specks", test_specks);
  g_test_add_func ("/inpaint/threads", test_threads);
  g_test_add_func ("/inpaint/boxes", test_boxes);
  g_test_add_func ("/inpaint/spectator", test_spectator);
  g_test_add_func ("/inpaint/spectator-thin", test_spectator_thin);
  g_test_add_func ("/inpaint/errors", test_errors);
  g_test_add_func ("/inpaint/cancel", test_cancel);
  g_test_add_func ("/inpaint/progress", test_progress);
  g_test_add_func ("/inpaint/shares", test_shares);
  g_test_add_func ("/regenerate", test_regenerate);
  return g_test_run ();
}
