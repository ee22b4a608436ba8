/* How checkpoints' work is cut into tiles and pieces, and what of it is left out.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "net/model.h"
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

/* ---- tiles and pieces ---- */

/* How many there would be of the usual edge, no larger. */
static int
count_usual (int size, int edge, int step)
{
  return size <= edge ? 1 : 1 + (size - edge + step - 1) / step;
}

/* A few percent more do not multiply the work: whatever the size, no more is computed than with tiles of the usual
 * edge, and edges stay within a quarter of it. */
static void
test_edges (void)
{
  static const struct
  {
    int width, height, count, edge; /* of 64 latents; edge: the wider one's */
  } cases[] = { { 80, 80, 1, 80 },    { 64, 96, 1, 96 },   { 88, 88, 4, 64 },  { 120, 64, 2, 72 },
                { 128, 128, 4, 80 },  { 136, 136, 4, 80 }, { 144, 64, 3, 64 }, { 192, 128, 6, 80 },
                { 256, 256, 25, 64 }, { 104, 64, 2, 64 },  { 96, 72, 2, 72 } };
  References references;
  SdUnet    *unet;
  GError    *error = NULL;

  if (! references_open (&references, "sd1", "blas"))
    return;
  unet = sd_unet_new (references.checkpoint, 64, &error);
  g_assert_no_error (error);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      LatentTiles tiles = latent_get_tiles (unet, cases[i].width, cases[i].height, 64);

      g_test_message ("%d x %d", cases[i].width, cases[i].height);
      g_assert_cmpint (tiles.across * tiles.down, ==, cases[i].count);
      g_assert_cmpint (MAX (tiles.width, tiles.height), ==, cases[i].edge);
    }
  for (int size = 8; size <= 320; size += 8)
    {
      LatentTiles tiles = latent_get_tiles (unet, size, 128, 64);
      int         usual = count_usual (size, 64, 48);

      g_assert_cmpint (tiles.width % 8, ==, 0);
      g_assert_cmpint (tiles.width, <=, 80);
      g_assert_cmpint (tiles.width, >=, MIN (size, 64));
      g_assert_cmpint (tiles.across, <=, usual);
      g_assert_cmpint (tiles.across * tiles.width, <=, usual * MIN (size, 64));
      /* They reach from end to end, each over a quarter of the next. */
      g_assert_cmpint (tiles.width + (tiles.across - 1) * (tiles.width * 3 / 4 / 8 * 8), >=, size);
    }
  sd_unet_free (unet);
  references_close (&references);
}

/* The same for the autoencoder's pieces, whose overlap is fixed, and which at 512 are one. */
static void
test_pieces (void)
{
  static const struct
  {
    int size, count, piece;
  } cases[]
      = { { 64, 1, 64 },   { 512, 1, 512 },  { 640, 1, 640 },  { 704, 2, 512 },  { 768, 2, 512 },  { 896, 2, 512 },
          { 960, 2, 576 }, { 1024, 2, 576 }, { 1152, 2, 640 }, { 1280, 3, 512 }, { 1344, 3, 576 }, { 2048, 5, 512 } };
  int count;

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_assert_cmpint (checkpoint_get_piece (cases[i].size, &count), ==, cases[i].piece);
      g_assert_cmpint (count, ==, cases[i].count);
    }
  for (int size = 704; size <= 4096; size += 64)
    {
      int piece = checkpoint_get_piece (size, &count), usual = count_usual (size, 512, 384);

      g_assert_cmpint (piece, >=, 512);
      g_assert_cmpint (piece, <=, 640);
      g_assert_cmpint (count * piece, <=, usual * 512);
      g_assert_cmpint (piece + (count - 1) * (piece - 128), >=, size);
    }
}

/* What is foretold for a run is what it computes. */
static void
test_operations (void)
{
  static const struct
  {
    int width, height;
  } sizes[] = { { 128, 128 }, { 320, 128 }, { 1024, 64 } };
  g_autoptr (DiffusionModel) model = NULL;
  DiffusionOptions options = references_get_options (1);

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options.size = 128;
  for (gsize i = 0; i < G_N_ELEMENTS (sizes); i++)
    {
      CheckpointSession session;
      GError           *error = NULL;
      double            before, foretold;
      g_autoptr (DiffusionPicture) picture = references_new_picture (sizes[i].width, sizes[i].height);
      CheckpointJob job = { .picture = picture, .strength = 0.5 };

      g_assert_true (checkpoint_session_open (&session, model_get_checkpoint (model), &options, NULL, &error));
      foretold = checkpoint_count_run (&session, sizes[i].width, sizes[i].height, FALSE);
      before = session.run->flops;
      g_assert_true (checkpoint_run (&session, &job, &error));
      g_assert_cmpfloat_with_epsilon ((session.run->flops - before) / foretold, 1, 1e-6);
      checkpoint_session_close (&session);
    }
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint-tiles/generate", test_generate);
  g_test_add_func ("/checkpoint-tiles/edges", test_edges);
  g_test_add_func ("/checkpoint-tiles/pieces", test_pieces);
  g_test_add_func ("/checkpoint-tiles/operations", test_operations);
  return g_test_run ();
}
