/* How work with a Stable Diffusion checkpoint goes on: its progress, its views, its end.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "process/process.h"
#include "references.h"

#define W 90
#define H 70

/* What a progress bar does. */
typedef struct
{
  double        last, widest; /* the widest stretch that it skips */
  GCancellable *cancellable;  /* cancelled at its end; NULL: it is not */
} Bar;

static void
move_bar (double fraction, gpointer data)
{
  Bar *bar = data;

  g_assert_cmpfloat (fraction, >, bar->last);
  bar->widest = MAX (bar->widest, fraction - bar->last);
  bar->last = fraction;
  if (bar->cancellable && fraction >= 1)
    g_cancellable_cancel (bar->cancellable);
}

/* Three pieces for the autoencoder, and one step: the bar goes on while they are encoded and decoded. */
static void
test_progress (void)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = references_new_picture (1280, 64);
  Bar     bar = { 0, 0, NULL };
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (1);
  options.size = 256;
  options.progress = move_bar;
  options.progress_data = &bar;
  diffusion_regenerate (model, picture, NULL, 0.6, 0, &options, NULL, &error);
  g_assert_no_error (error);
  g_test_message ("the widest of its steps: %.3f", bar.widest);
  g_assert_cmpfloat_with_epsilon (bar.last, 1, 1e-6);
  g_assert_cmpfloat (bar.widest, <, 0.05);
}

/* What is generated a quarter larger than the network's size, but not of sides that the network can work at, is seen at
 * once too: it is what comes out at that size, enlarged. */
static void
test_one_tile (void)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) small = references_new_picture (64, 64), large = references_new_picture (80, 80),
                               enlarged = NULL;
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (2);
  diffusion_generate (model, small, &options, NULL, &error);
  g_assert_no_error (error);
  diffusion_generate (model, large, &options, NULL, &error);
  g_assert_no_error (error);
  enlarged = process_resize (small, 80, 80, NULL, NULL);
  g_assert_cmpmem (large->data, 80 * 80 * 12, enlarged->data, 80 * 80 * 12);
}

/* What is known when the large one of several holes is first seen: it is the leftmost. */
typedef struct
{
  Bar    bar;
  double fraction;
  gint64 time;
} Large;

static void
watch_large (const DiffusionStep *step, gpointer data)
{
  Large *large = data;

  if (large->time || step->x >= 200)
    return;
  large->time = g_get_monotonic_time ();
  large->fraction = large->bar.last;
}

/* The bar goes by the work: two spots, each of them seen alone, are a small part of it beside a hole that is filled
 * reduced, and then worked over in tiles. */
static void
test_shares (void)
{
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = { 0, 0, 0, -1, -1 };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = references_new_picture (700, 160),
                               mask = diffusion_picture_new (700, 160, 1, NULL);
  Large   large = { { 0, 0, NULL }, 1, 0 };
  GError *error = NULL;
  gint64  start;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (2);
  options.progress = move_bar;
  options.progress_data = &large.bar;
  options.on_step = watch_large;
  options.step_data = &large;
  for (int i = 0; i < 700 * 160; i++)
    mask->data[i] = i % 700 >= 10 && i % 700 < 170 && i / 700 >= 10 && i / 700 < 150;
  for (int i = 0; i < 200; i++)
    mask->data[(70 + i % 100 / 10) * 700 + (i < 100 ? 400 : 600) + i % 10] = 1;
  start = g_get_monotonic_time ();
  diffusion_inpaint (model, picture, mask, &inpaint, &options, NULL, &error);
  g_assert_no_error (error);
  g_test_message ("%.2f of the progress after %.2f of the time", large.fraction,
                  (double) (large.time - start) / (double) (g_get_monotonic_time () - start));
  g_assert_cmpfloat (large.fraction, <, 0.4);
  g_assert_cmpfloat_with_epsilon (large.bar.last, 1, 1e-6);
}

/* Behind the networks, too, a run that is cancelled ends without a pixel changed. */
static void
test_cancelled (void)
{
  DiffusionOptions        options = DIFFUSION_OPTIONS_INIT;
  DiffusionInpaintOptions inpaint = { 0, 0, 0, -1, -1 };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = references_new_picture (W, H), original = references_new_picture (W, H);
  g_autoptr (DiffusionPicture) mask = diffusion_picture_new (W, H, 1, NULL);
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  Bar     bar = { 0, 0, cancellable };
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options = references_get_options (1);
  options.progress = move_bar;
  options.progress_data = &bar;
  for (int i = 0; i < 20; i++)
    mask->data[30 * W + 20 + i] = 1;
  g_assert_false (diffusion_inpaint (model, picture, mask, &inpaint, &options, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
  g_assert_cmpfloat (bar.last, >=, 1);
  g_assert_cmpmem (picture->data, W * H * 12, original->data, W * H * 12);
  g_assert_null (process_resize (picture, 2 * W, 2 * H, cancellable, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint/progress", test_progress);
  g_test_add_func ("/checkpoint/shares", test_shares);
  g_test_add_func ("/checkpoint/one-tile", test_one_tile);
  g_test_add_func ("/checkpoint/cancelled", test_cancelled);
  return g_test_run ();
}
