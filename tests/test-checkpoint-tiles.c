/* How checkpoints' work is cut into tiles and pieces, and what of it is left out.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "references.h"
#include "task/checkpoint.h"

#include <string.h>

/* ---- what is seen at once ---- */

typedef struct
{
  int looks, width; /* of the latest prediction */
} Watch;

static void
watch (const DiffusionStep *step, gpointer data)
{
  Watch *seen = data;

  seen->looks++;
  seen->width = step->prediction->width * step->reduction;
}

/* A picture of those pixels by a network that works at `size`. */
static DiffusionPicture *
generate (const DiffusionModel *model, int width, int height, int size, Watch *seen)
{
  DiffusionPicture *picture = diffusion_picture_new (width, height, 3, NULL);
  DiffusionOptions  options = references_get_options (2);
  GError           *error = NULL;

  options.size = size;
  options.seed = 3;
  options.on_step = watch;
  options.step_data = seen;
  diffusion_generate (model, picture, &options, NULL, &error);
  g_assert_no_error (error);
  return picture;
}

/* Half as long again on one side, or a quarter on both: it is seen at once, at its own size, so the same comes out as
 * of a network whose size it is.  What is larger is painted at the network's size and then worked over. */
static void
test_generate (void)
{
  static const struct
  {
    int      width, height, size;
    gboolean once;
  } cases[] = { { 128, 192, 128, TRUE },  { 192, 128, 128, TRUE },  { 320, 320, 256, TRUE },
                { 192, 192, 128, FALSE }, { 128, 256, 128, FALSE }, { 320, 384, 256, FALSE } };
  g_autoptr (DiffusionModel) model = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      int   width = cases[i].width, height = cases[i].height;
      Watch own = { 0, 0 }, large = { 0, 0 };
      g_autoptr (DiffusionPicture) a = generate (model, width, height, cases[i].size, &own);
      g_autoptr (DiffusionPicture) b = generate (model, width, height, MAX (width, height), &large);

      g_assert_cmpint (own.looks, ==, cases[i].once ? 2 : 4);
      g_assert_cmpint (large.looks, ==, 2);
      g_assert_cmpint (own.width, >=, width);
      g_assert_cmpint (memcmp (a->data, b->data, (gsize) width * (gsize) height * 12) == 0, ==, cases[i].once);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint-tiles/generate", test_generate);
  return g_test_run ();
}
