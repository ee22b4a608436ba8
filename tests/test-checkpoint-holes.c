/* What files for inpainting are told of a hole, and how a fill joins what is known.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "net/model.h"
#include "references.h"
#include "task/checkpoint.h"

#include <glib/gstdio.h>
#include <string.h>

#define SIDE  64
#define CELLS (SIDE / LATENT_PIXELS)

/* A copy of the tiny one for inpainting: with the first convolution of nine channels that the references have. */
static DiffusionModel *
load_inpainting (void)
{
  g_autofree char  *path = g_build_filename (g_get_tmp_dir (), "nine.safetensors", NULL);
  g_autofree float *values = NULL;
  DiffusionModel   *model;
  TensorView        view;
  References        r;
  GError           *error = NULL;

  if (! references_open (&r, "sd1", "blas"))
    return NULL;
  g_assert_true (tensor_file_view (r.golden, "inpaint.input_weight", &view));
  values = g_new (float, view.count);
  g_assert_true (sd_fetch_weights (r.golden, TENSOR_F32, view.offset, view.count, values, NULL));
  references_write_changed (r.checkpoint, path, TENSOR_F32, "model.diffusion_model.input_blocks.0.0.weight", view.dims,
                            values, tensor_file_get_metadata (r.checkpoint));
  model = diffusion_model_load (path, &error);
  g_assert_no_error (error);
  g_unlink (path);
  references_close (&r);
  return model;
}

/* Of a picture with grey in it, pixel by pixel. */
static SdTensor
encode_grey (CheckpointSession *session, const DiffusionPicture *picture, const guint8 *covered)
{
  SdTensor x = sd_tensor_new (session->run, 1, SIDE, SIDE, 3), moments;

  for (int i = 0; i < SIDE * SIDE * 3; i++)
    x.data[i] = covered[i / 3] ? 0 : 2 * picture->data[i] - 1;
  moments = sd_vae_encode (session->run, sd_checkpoint_get_vae (session->checkpoint), &x);
  g_assert_no_error (session->run->error);
  sd_tensor_free (session->run, &x);
  return moments;
}

/* A hole from pixel 19 to 37 ends in the middle of latents: these are all hole, but their known pixels are shown. */
static void
test_grey (void)
{
  g_autoptr (DiffusionModel) model = load_inpainting ();
  g_autoptr (DiffusionPicture) picture = references_new_picture (SIDE, SIDE);
  guint8            covered[SIDE * SIDE] = { 0 };
  float             share[CELLS * CELLS] = { 0 }, hole[CELLS * CELLS * 5];
  CheckpointJob     job = { .picture = picture, .share = share, .covered = covered, .strength = 1 };
  DiffusionOptions  options = references_get_options (1);
  CheckpointSession session;
  GError           *error = NULL;

  if (! model)
    return;
  for (int y = 19; y < 38; y++)
    for (int x = 19; x < 38; x++)
      {
        covered[y * SIDE + x] = 1;
        share[y / 8 * CELLS + x / 8] = 0.5f;
      }
  g_assert_true (checkpoint_session_open (&session, model_get_checkpoint (model), &options, NULL, &error));
  for (int all = 0; all < 2; all++)
    {
      SdTensor moments;

      if (all)
        {
          memset (covered, 1, sizeof covered);
          job.share = NULL;
          job.covered = NULL;
        }
      moments = encode_grey (&session, picture, covered);
      g_assert_true (checkpoint_make_hole (&session, &job, hole, &error));
      for (int i = 0; i < CELLS * CELLS; i++)
        {
          g_assert_cmpfloat (hole[i * 5], ==, all || share[i] > 0 ? 1 : 0);
          for (int c = 0; c < 4; c++)
            g_assert_cmpfloat_with_epsilon (hole[i * 5 + 1 + c], moments.data[i * 8 + c] * SD_LATENT_FACTOR, 1e-5f);
        }
      sd_tensor_free (session.run, &moments);
    }
  checkpoint_session_close (&session);
}

#define OFF 0.06f

/* A hole whose surroundings of the same latents are darker than the middle grey that the decoder gives, and all else is
 * brighter: what is new there, too, says nothing of the autoencoder's shift, so that the fill is as bright as the rest.
 */
static void
test_rim (void)
{
  static const int dims[] = { 3, 32, 3, 3 }, three = 3;
  /* At the network's size, of SIDE pixels; reduction: of the picture, all of which is seen. */
  static const struct
  {
    int reduction, first, last;
  } holes[] = { { 1, 28, 36 }, { 2, 15, 49 } };
  g_autofree char  *path = g_build_filename (g_get_tmp_dir (), "grey.safetensors", NULL);
  g_autofree float *zeros = g_new0 (float, 3 * 32 * 9);
  TensorEntry changes[] = { { "first_stage_model.decoder.conv_out.weight", dims, 4, 3 * 32 * 9, zeros, TENSOR_F16 },
                            { "first_stage_model.decoder.conv_out.bias", &three, 1, 3, zeros, TENSOR_F16 } };
  DiffusionInpaintOptions inpaint = { 0, 0, 0, -1, -1 };
  DiffusionOptions        options = references_get_options (1);
  g_autoptr (DiffusionModel) model = NULL;
  References r;
  GError    *error = NULL;

  if (! references_open (&r, "sd1", "blas"))
    return;
  references_write_changes (r.checkpoint, path, TENSOR_F16, changes, G_N_ELEMENTS (changes),
                            tensor_file_get_metadata (r.checkpoint));
  model = diffusion_model_load (path, &error);
  g_assert_no_error (error);
  g_unlink (path);
  for (gsize i = 0; i < G_N_ELEMENTS (holes); i++)
    {
      int first = holes[i].first, last = holes[i].last, side = SIDE * holes[i].reduction;
      int low = first / 8 * 8, high = (last + 7) / 8 * 8;
      g_autoptr (DiffusionPicture) picture = diffusion_picture_new (side, side, 3, NULL),
                                   mask = diffusion_picture_new (side, side, 1, NULL);

      for (int j = 0; j < side * side; j++)
        {
          int x = j % side / holes[i].reduction, y = j / side / holes[i].reduction;

          mask->data[j] = x >= first && x < last && y >= first && y < last;
          for (int c = 0; c < 3; c++)
            picture->data[j * 3 + c] = x >= low && x < high && y >= low && y < high ? 0.5f - OFF : 0.5f + OFF;
        }
      g_assert_true (diffusion_inpaint (model, picture, mask, &inpaint, &options, NULL, &error));
      for (int j = 0; j < side * side; j++)
        for (int c = 0; c < 3 && mask->data[j] > 0; c++)
          g_assert_cmpfloat_with_epsilon (picture->data[j * 3 + c], 0.5f + OFF, 1e-4f);
    }
  references_close (&r);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint-holes/grey", test_grey);
  g_test_add_func ("/checkpoint-holes/rim", test_rim);
  return g_test_run ();
}
