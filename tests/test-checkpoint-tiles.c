/* How checkpoints' work is cut into tiles and pieces, and what of it is left out.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "net/model.h"
#include "references.h"
#include "task/checkpoint.h"

#include <math.h>
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

/* A side that is no multiple of 64 is painted on one that is, and composed for it: the middle of that is the picture.
 */
static void
test_middle (void)
{
  enum
  {
    WIDTH = 128,
    HEIGHT = 88,
    PAINTED = 128,
    ABOVE = 16 /* of the 40 that are too many: half, in whole latents */
  };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = NULL, painted = NULL;
  Watch seen = { 0, 0 };

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  picture = generate (model, WIDTH, HEIGHT, WIDTH, &seen);
  painted = generate (model, WIDTH, PAINTED, WIDTH, &seen);
  for (gsize i = 0; i < WIDTH * HEIGHT * 3; i++)
    g_assert_cmpfloat_with_epsilon (picture->data[i], painted->data[i + ABOVE * WIDTH * 3], 1e-5);
}

/* Where a mask is nowhere whole, all steps are for what it lets change: as if the strength were its share of it. */
static void
test_faint (void)
{
  enum
  {
    SIZE = 128
  };
  DiffusionOptions options = references_get_options (4);
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) faint = NULL, whole = NULL, half = NULL, full = NULL;
  GError *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  faint = diffusion_picture_new (SIZE, SIZE, 3, NULL);
  half = diffusion_picture_new (SIZE, SIZE, 1, NULL);
  full = diffusion_picture_new (SIZE, SIZE, 1, NULL);
  for (gsize i = 0; i < SIZE * SIZE; i++)
    {
      for (gsize c = 0; c < 3; c++)
        faint->data[i * 3 + c] = (float) ((i * (c + 3)) % 97) / 97;
      half->data[i] = 0.5f;
      full->data[i] = 1;
    }
  whole = diffusion_picture_copy (faint, NULL);
  diffusion_regenerate (model, faint, half, 0.6, 0, &options, NULL, &error);
  g_assert_no_error (error);
  diffusion_regenerate (model, whole, full, 0.3, 0, &options, NULL, &error);
  g_assert_no_error (error);
  for (gsize i = 0; i < SIZE * SIZE * 3; i++)
    g_assert_cmpfloat_with_epsilon (faint->data[i], whole->data[i], 1e-3);
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
      CheckpointWork    work;
      g_autoptr (DiffusionPicture) picture = references_new_picture (sizes[i].width, sizes[i].height);
      CheckpointJob job = { .picture = picture, .strength = 0.5 };

      g_assert_true (checkpoint_session_open (&session, model_get_checkpoint (model), &options, NULL, &error));
      foretold = checkpoint_count_run (
          &session, sizes[i].width, sizes[i].height, FALSE,
          latent_count_tiles (sd_checkpoint_get_unet (session.checkpoint), sizes[i].width / 8, sizes[i].height / 8, 16,
                              (DiffusionBox){ 0, 0, sizes[i].width / 8, sizes[i].height / 8 }));
      before = session.run->flops;
      g_assert_true (checkpoint_run (&session, &job, &error));
      g_assert_cmpfloat_with_epsilon ((session.run->flops - before) / foretold, 1, 1e-6);
      checkpoint_count_work (session.checkpoint, compute_get_default (COMPUTE_FILTERS, NULL), sizes[i].width,
                             sizes[i].height, 128, 2, &work);
      g_test_message ("%.1f MB of %.1f that were foretold", (double) session.run->peak / 1e6,
                      (double) work.bytes / 1e6);
      g_assert_cmpuint (session.run->peak, <=, work.bytes);
      checkpoint_session_close (&session);
    }
}

/* ---- tiles that are left out ---- */

#define LONG  48
#define SHORT 16

static void
check_known (int step, const LatentSchedule *schedule, const float *clean, const float *x, gpointer data)
{
  const LatentJob *job = data;

  for (int i = 0; i < LONG * SHORT * 4; i++)
    {
      g_assert_true (isfinite (clean[i]));
      if (job->strength[i / 4] < 0.01f)
        g_assert_cmpfloat (clean[i], ==, job->original[i]);
    }
}

/* Latents that change do so bit for bit as if all tiles were computed: of five tiles two are reached, and with a latent
 * at the far end, which lies in none of these, three. */
static void
test_left_out (void)
{
  References        r;
  SdUnet           *unet;
  float             alphas[SD_TIMESTEPS], strength[LONG * SHORT] = { 0 };
  g_autofree float *original = g_new (float, LONG *SHORT * 4);
  float            *results[2];
  LatentDenoiser    denoiser = { .guidance = 1, .tile = 16 };
  LatentJob         job = { LONG, SHORT, original, strength, 5, 3, 4, check_known, &job };
  LatentSchedule    schedule;
  SdTensor          context;
  GError           *error = NULL;

  if (! references_open (&r, "sd1", "blas"))
    return;
  unet = sd_unet_new (r.checkpoint, 64, &error);
  g_assert_no_error (error);
  g_assert_true (tensor_file_read (r.checkpoint, "alphas_cumprod", (int[]){ SD_TIMESTEPS }, 1, alphas, NULL));
  context = references_get (&r, "text.cond");
  denoiser.run = r.run;
  denoiser.unet = unet;
  denoiser.context = &context;
  latent_schedule_init (&schedule, alphas, 1, 3);
  for (int i = 0; i < LONG * SHORT * 4; i++)
    original[i] = sinf ((float) i);
  results[0] = g_new (float, LONG *SHORT * 4);
  results[1] = g_new (float, LONG *SHORT * 4);
  for (int sampler = 0; sampler < DIFFUSION_N_SAMPLERS; sampler++)
    {
      double flops[2];

      for (int far = 0; far < 2; far++)
        {
          double before = r.run->flops;

          /* Some begin later, some never. */
          for (int i = 0; i < LONG * SHORT; i++)
            strength[i] = i % LONG < 10 ? (i % 3 ? 1 : 0.5f) : 0.001f;
          strength[SHORT / 2 * LONG + LONG - 2] = (float) far;
          g_assert_cmpint (latent_count_reached (unet, 16, &job, &schedule), ==, far ? 3 : 2);
          g_assert_true (latent_reverse (&denoiser, &job, &schedule, (DiffusionSampler) sampler, results[far], &error));
          flops[far] = r.run->flops - before;
        }
      g_assert_cmpfloat_with_epsilon (flops[0] / flops[1], 2.0 / 3, 1e-6);
      for (int i = 0; i < LONG * SHORT * 4; i++)
        {
          int u = i / 4 % LONG;

          if (u < 10)
            g_assert_cmpmem (&results[0][i], 4, &results[1][i], 4);
          else
            g_assert_cmpfloat (results[0][i], ==, original[i]);
        }
    }
  g_free (results[0]);
  g_free (results[1]);
  latent_schedule_clear (&schedule);
  sd_unet_free (unet);
  references_close (&r);
}

static void
watch_bar (double fraction, gpointer data)
{
  double *bar = data;

  bar[1] = fraction - bar[0];
  bar[0] = fraction;
}

/* The progress and the estimate know of it: a narrow selection across a picture takes a part of the tiles, and the bar
 * does not jump at the end. */
static void
test_strip (void)
{
  const DiffusionBox strip = { 0, 250, 512, 8 }, all = { 0, 0, 512, 512 };
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (DiffusionPicture) picture = references_new_picture (512, 512),
                               mask = diffusion_picture_new (512, 512, 1, NULL);
  DiffusionOptions options = references_get_options (4);
  double           bar[2] = { 0, 0 }, bytes[2], seconds[2];
  GError          *error = NULL;

  if (! references_find ())
    return;
  model = references_load_model ("sd1");
  options.size = 128;
  options.progress = watch_bar;
  options.progress_data = bar;
  for (int i = 0; i < 512 * 512; i++)
    mask->data[i] = i / 512 >= strip.y && i / 512 < strip.y + strip.height;
  g_assert_true (diffusion_regenerate (model, picture, mask, 0.6, 0, &options, NULL, &error));
  g_test_message ("the last of its steps: %.3f", bar[1]);
  g_assert_cmpfloat_with_epsilon (bar[0], 1, 1e-6);
  g_assert_cmpfloat (bar[1], <, 0.05);
  options.steps = 100;
  diffusion_model_estimate_cost (model, 512, 512, &strip, 1, FALSE, &options, &bytes[0], &seconds[0]);
  diffusion_model_estimate_cost (model, 512, 512, &all, 1, FALSE, &options, &bytes[1], &seconds[1]);
  g_test_message ("a strip takes %.3f of the whole", seconds[0] / seconds[1]);
  g_assert_cmpfloat (seconds[0], <, 0.5 * seconds[1]);
  g_assert_cmpfloat (seconds[0], >, 0.25 * seconds[1]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint-tiles/generate", test_generate);
  g_test_add_func ("/checkpoint-tiles/edges", test_edges);
  g_test_add_func ("/checkpoint-tiles/pieces", test_pieces);
  g_test_add_func ("/checkpoint-tiles/operations", test_operations);
  g_test_add_func ("/checkpoint-tiles/left-out", test_left_out);
  g_test_add_func ("/checkpoint-tiles/strip", test_strip);
  g_test_add_func ("/checkpoint-tiles/middle", test_middle);
  g_test_add_func ("/checkpoint-tiles/faint", test_faint);
  return g_test_run ();
}
