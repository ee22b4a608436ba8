/* The files of Stable Diffusion checkpoints: those that change while they are used, that are refused, that are found.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/model.h"
#include "net/sd/checkpoint.h"
#include "process/latent.h"
#include "references.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- files that change while they are used ---- */

typedef enum
{
  CHANGE_NOTHING,
  CHANGE_CUT,     /* right behind its header */
  CHANGE_WRITE,   /* all weights written over in place */
  CHANGE_REPLACE, /* another file put in its place */
  CHANGES
} Change;

typedef struct
{
  const char *path;
  Change      change;
  int         calls;
} Changing;

static void
change_file (const DiffusionStep *step, gpointer data)
{
  Changing        *changing = data;
  g_autofree char *junk = g_malloc0 (1000000), *other = g_strconcat (changing->path, ".new", NULL);
  int              fd;

  if (changing->calls++)
    return;
  if (changing->change == CHANGE_CUT)
    {
      guint64 header;

      /* What is read next depends on the back end: none of it is there any more. */
      fd = g_open (changing->path, O_RDWR, 0);
      g_assert_cmpint (read (fd, &header, sizeof header), ==, sizeof header);
      g_assert_cmpint (ftruncate (fd, (off_t) (sizeof header + GUINT64_FROM_LE (header))), ==, 0);
      g_assert_cmpint (close (fd), ==, 0);
    }
  else if (changing->change == CHANGE_WRITE)
    {
      fd = g_open (changing->path, O_WRONLY, 0);
      g_assert_cmpint (pwrite (fd, junk, 1000000, 200000), ==, 1000000);
      g_assert_cmpint (close (fd), ==, 0);
    }
  else if (changing->change == CHANGE_REPLACE)
    {
      g_assert_true (g_file_set_contents (other, junk, 1000000, NULL));
      g_assert_cmpint (g_rename (other, changing->path), ==, 0);
    }
}

/* In the middle of a run.  The weights that are kept last until the decoder reads its own. */
static void
test_changes (void)
{
  g_autofree char *original = NULL, *path = g_build_filename (g_get_tmp_dir (), "changes.safetensors", NULL),
                  *contents = NULL;
  const char *sentences[CHANGES] = { [CHANGE_CUT] = "shorter", [CHANGE_WRITE] = "changed while it was used" };
  g_autoptr (DiffusionPicture) undisturbed = NULL;
  GError *error = NULL;
  gsize   size;

  if (! references_find ())
    return;
  original = references_get_path ("tiny-sd1.safetensors");
  g_assert_true (g_file_get_contents (original, &contents, &size, NULL));
  for (int change = 0; change < CHANGES; change++)
    {
      g_autoptr (DiffusionModel) model = NULL;
      g_autoptr (DiffusionPicture) picture = diffusion_picture_new (64, 64, 3, NULL);
      DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
      Changing         changing = { path, change, 0 };
      gboolean         done;

      g_assert_true (g_file_set_contents (path, contents, (gssize) size, NULL));
      model = diffusion_model_load (path, &error);
      g_assert_no_error (error);
      options.steps = 4;
      options.size = 64;
      options.on_step = change_file;
      options.step_data = &changing;
      g_usleep (20000); /* clocks of file systems tick slowly */
      done = diffusion_generate (model, picture, &options, NULL, &error);
      g_assert_cmpint (changing.calls, >=, 1);
      if (sentences[change])
        {
          g_assert_false (done);
          g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
          g_assert_nonnull (strstr (error->message, sentences[change]));
          g_clear_error (&error);
          continue;
        }
      g_assert_no_error (error);
      if (undisturbed)
        g_assert_cmpmem (undisturbed->data, 64 * 64 * 12, picture->data, 64 * 64 * 12);
      else
        undisturbed = g_steal_pointer (&picture);
    }
  g_unlink (path);
}

/* ---- files that are refused ---- */

static void
assert_refused (const char *path, const char *word)
{
  GError         *error = NULL;
  DiffusionModel *model = diffusion_model_load (path, &error);

  g_assert_null (model);
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_test_message ("%s", error->message);
  g_assert_nonnull (strstr (error->message, word));
  g_clear_error (&error);
}

/* Files that have one tensor, whose name says what they are; also with the metadata that PyTorch's programs write. */
static void
test_kinds (void)
{
  static const struct
  {
    const char *tensor, *word;
  } kinds[] = {
    { "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight", "a LoRA" },
    { "model.diffusion_model.double_blocks.0.img_attn.qkv.weight", "Flux" },
    { "double_blocks.0.img_attn.norm.key_norm.scale", "Flux" },
    { "model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight", "Stable Diffusion 3" },
    { "conditioner.embedders.1.model.ln_final.weight", "Stable Diffusion XL" },
    { "model.diffusion_model.label_emb.0.0.weight", "Stable Diffusion XL" },
    { "model.diffusion_model.label_emb.weight", "enlarges pictures" },
    { "noise_augmentor.data_mean", "varies" },
    { "conditioner.embedders.0.model.ln_final.weight", "text encoder alone" },
    { "control_model.input_blocks.0.0.weight", "ControlNet" },
    { "down_blocks.0.resnets.0.conv1.weight", "several files" },
    { "first_stage_model.decoder.conv_in.weight", "(VAE) alone" },
    { "emb_params", "textual inversion" },
    { "cond_stage_model.transformer.text_model.final_layer_norm.weight", "text encoder alone" },
    { "something.else", "model.diffusion_model.input_blocks.0.0.weight is missing" },
    { "model.diffusion_model.input_blocks.0.0.weight", "token_embedding.weight is missing" },
  };
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "kind.safetensors", NULL);
  g_autoptr (GHashTable) metadata = g_hash_table_new (g_str_hash, g_str_equal);
  float   value = 1;
  int     one = 1;
  GError *error = NULL;

  g_hash_table_insert (metadata, (gpointer) "format", (gpointer) "pt");
  for (gsize i = 0; i < 2 * G_N_ELEMENTS (kinds); i++)
    {
      TensorEntry entry = { kinds[i / 2].tensor, &one, 1, 1, &value, TENSOR_F16 };

      tensors_write (path, &entry, 1, i % 2 ? metadata : NULL, &error);
      g_assert_no_error (error);
      assert_refused (path, kinds[i / 2].word);
    }
  g_file_set_contents (path, "PK\3\4 a zip archive with a pickle in it", -1, NULL);
  assert_refused (path, "pickle");
  g_file_set_contents (path, "\200\2}q\1.", -1, NULL);
  assert_refused (path, "pickle");
  g_unlink (path);
}

/* The length of a header, in a file's first bytes, may look like the start of a pickle. */
static void
test_length (void)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "length.safetensors", NULL);
  TensorEntry      entry = { "something.else", (int[]){ 1 }, 1, 1, (float[]){ 1 }, TENSOR_F16 };
  GError          *error = NULL;

  for (gsize second = 1; second <= 5; second++)
    {
      g_autoptr (GHashTable) metadata = g_hash_table_new_full (g_str_hash, g_str_equal, NULL, g_free);
      g_autofree char *contents = NULL;
      gsize            wanted = 0x80 + (second << 8), length = 0;

      /* The rest of the header is as long each time: the second round knows how long. */
      for (gsize filling = 1, round = 0; round < 2; filling += wanted - length, round++)
        {
          g_hash_table_insert (metadata, (gpointer) "filling", g_strnfill (filling, 'x'));
          tensors_write (path, &entry, 1, metadata, &error);
          g_assert_no_error (error);
          g_clear_pointer (&contents, g_free);
          g_assert_true (g_file_get_contents (path, &contents, NULL, NULL));
          length = (guint8) contents[0] + ((gsize) (guint8) contents[1] << 8);
        }
      g_assert_cmpuint (length, ==, wanted);
      assert_refused (path, "input_blocks.0.0.weight is missing");
    }
  g_unlink (path);
}

/* Empty tensors, as ComfyUI marks files with, take no place and overlap nothing, wherever they stand. */
static void
test_empty (void)
{
  static const char *const names[] = { "v_pred", "ztsnr", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j" };
  static const int         none = 0, one = 1;
  g_autofree char         *path = g_build_filename (g_get_tmp_dir (), "empty.safetensors", NULL);
  GError                  *error = NULL;

  for (gsize full = 0; full < G_N_ELEMENTS (names); full++)
    {
      g_autoptr (TensorFile) file = NULL;
      TensorEntry entries[G_N_ELEMENTS (names)];
      float       value = 1, read = 0;

      for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
        entries[i] = (TensorEntry){ names[i], &none, 1, 0, &value, TENSOR_F32 };
      entries[full].dims = &one;
      entries[full].count = 1;
      tensors_write (path, entries, G_N_ELEMENTS (names), NULL, &error);
      g_assert_no_error (error);
      file = tensor_file_open (path, &error);
      g_assert_no_error (error);
      g_assert_true (tensor_file_read (file, names[full], (int[]){ 1 }, 1, &read, NULL));
      g_assert_cmpfloat (read, ==, 1);
    }
  g_unlink (path);
}

#define IN_BLOCK "model.diffusion_model.input_blocks.4.0.in_layers.2.weight"

/* A tensor less, of another shape, not a number; half a file. */
static void
test_damaged (void)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "damaged.safetensors", NULL), *contents = NULL;
  References       r;
  float           *values;
  gsize            length;

  if (! references_open (&r, "sd1", "blas"))
    return;
  references_write_changed (r.checkpoint, path, TENSOR_F16, IN_BLOCK, NULL, NULL, NULL);
  assert_refused (path, IN_BLOCK " is missing");
  values = g_new0 (float, 64 * 32 * 9);
  references_write_changed (r.checkpoint, path, TENSOR_BF16, IN_BLOCK, (int[]){ 64, 16, 3, 3 }, values, NULL);
  assert_refused (path, IN_BLOCK " has another shape");
  values[1000] = NAN;
  references_write_changed (r.checkpoint, path, TENSOR_F32, IN_BLOCK, (int[]){ 64, 32, 3, 3 }, values, NULL);
  assert_refused (path, IN_BLOCK " has values that are no numbers");
  g_assert_true (g_file_get_contents (path, &contents, &length, NULL));
  g_file_set_contents (path, contents, (gssize) length / 2, NULL);
  assert_refused (path, "truncated");
  g_unlink (path);
  g_free (values);
  references_close (&r);
}

/* ---- files whose networks do not fit together ---- */

/* A tensor of zeros; dims end at a 0. */
typedef struct
{
  const char *name;
  int         dims[5];
} Shape;

#define SHAPES_MAX 16

typedef struct
{
  const char *word; /* of the sentence */
  Shape       shapes[SHAPES_MAX];
} Misfit;

#define UNET  "model.diffusion_model."
#define VAE   "first_stage_model."
#define FIRST VAE "encoder.mid.block_1."
#define LAST  VAE "decoder.mid.block_2."
#define FEED  UNET "input_blocks.1.1.transformer_blocks.0.ff.net."

static const Misfit misfits[] = {
  /* An autoencoder of 3 levels. */
  { "one latent of 4 x 4 pixels", { { VAE "encoder.down.3.block.0.norm1.weight", { 0 } } } },
  /* Middle blocks of an autoencoder that give more or fewer channels than came in. */
  { FIRST "conv1.weight has another shape",
    { { FIRST "conv1.weight", { 160, 128, 3, 3 } },
      { FIRST "conv1.bias", { 160 } },
      { FIRST "norm2.weight", { 160 } },
      { FIRST "norm2.bias", { 160 } },
      { FIRST "conv2.weight", { 160, 160, 3, 3 } },
      { FIRST "conv2.bias", { 160 } },
      { FIRST "nin_shortcut.weight", { 160, 128, 1, 1 } },
      { FIRST "nin_shortcut.bias", { 160 } } } },
  { LAST "conv1.weight has another shape",
    { { LAST "conv1.weight", { 32, 128, 3, 3 } },
      { LAST "conv1.bias", { 32 } },
      { LAST "norm2.weight", { 32 } },
      { LAST "norm2.bias", { 32 } },
      { LAST "conv2.weight", { 32, 32, 3, 3 } },
      { LAST "conv2.bias", { 32 } },
      { LAST "nin_shortcut.weight", { 32, 128, 1, 1 } },
      { LAST "nin_shortcut.bias", { 32 } } } },
  /* Numbers of channels that groups do not divide, behind the first block. */
  { "down.3.block.1.norm2 is over 48 channels",
    { { VAE "encoder.down.3.block.1.conv1.weight", { 48, 128, 3, 3 } },
      { VAE "encoder.down.3.block.1.conv1.bias", { 48 } } } },
  { "middle_block.0.out_layers.0 is over 16 channels",
    { { UNET "middle_block.0.in_layers.2.weight", { 16, 128, 3, 3 } },
      { UNET "middle_block.0.in_layers.2.bias", { 16 } },
      { UNET "middle_block.0.emb_layers.1.weight", { 16, 128 } },
      { UNET "middle_block.0.emb_layers.1.bias", { 16 } } } },
  { "output_blocks.11.0.out_layers.0 is over 40 channels",
    { { UNET "output_blocks.11.0.in_layers.2.weight", { 40, 64, 3, 3 } },
      { UNET "output_blocks.11.0.in_layers.2.bias", { 40 } },
      { UNET "output_blocks.11.0.emb_layers.1.weight", { 40, 128 } },
      { UNET "output_blocks.11.0.emb_layers.1.bias", { 40 } } } },
  /* Values and gates that are not as many: half of one channel, of an odd number. */
  { "an odd number of channels, 1.",
    { { FEED "0.proj.weight", { 1, 32 } }, { FEED "0.proj.bias", { 1 } }, { FEED "2.weight", { 32, 128 } } } },
  { "an odd number of channels, 255.",
    { { FEED "0.proj.weight", { 255, 32 } }, { FEED "0.proj.bias", { 255 } }, { FEED "2.weight", { 32, 127 } } } },
  /* Stages that enlarge or reduce at the wrong place, or once more. */
  { "stages do not fit together",
    { { UNET "output_blocks.0.1.conv.weight", { 128, 128, 3, 3 } }, { UNET "output_blocks.0.1.conv.bias", { 128 } } } },
  { "stages do not fit together",
    { { UNET "output_blocks.11.2.op.weight", { 32, 32, 3, 3 } }, { UNET "output_blocks.11.2.op.bias", { 32 } } } },
  { "stages do not fit together",
    { { UNET "output_blocks.8.2.conv.weight", { 0 } }, { UNET "output_blocks.8.2.conv.bias", { 0 } } } },
  { "more often than is supported",
    { { UNET "input_blocks.11.1.op.weight", { 128, 128, 3, 3 } }, { UNET "input_blocks.11.1.op.bias", { 128 } } } },
  { "more often than is supported",
    { { UNET "output_blocks.11.2.conv.weight", { 32, 32, 3, 3 } }, { UNET "output_blocks.11.2.conv.bias", { 32 } } } },
};

/* Every tensor is there and fits its neighbours: what is wrong would be met in the middle of a run. */
static void
test_misfits (void)
{
  g_autofree char  *path = g_build_filename (g_get_tmp_dir (), "misfit.safetensors", NULL);
  g_autofree float *zeros = g_new0 (float, 160 * 160 * 9);
  References        r;

  if (! references_open (&r, "sd1", "blas"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (misfits); i++)
    {
      TensorEntry changes[SHAPES_MAX];
      int         count = 0;

      for (const Shape *shape = misfits[i].shapes; count < SHAPES_MAX && shape->name; shape++)
        {
          TensorEntry *change = &changes[count++];

          *change = (TensorEntry){ shape->name, shape->dims, 0, 1, shape->dims[0] ? zeros : NULL, TENSOR_F16 };
          while (shape->dims[change->n_dims])
            change->count *= (gsize) shape->dims[change->n_dims++];
        }
      references_write_changes (r.checkpoint, path, TENSOR_F16, changes, count, NULL);
      assert_refused (path, misfits[i].word);
    }
  g_unlink (path);
  references_close (&r);
}

/* Weights that are numbers, but so large that what comes out is none: no pixel is touched, on either way. */
static void
test_overflow (void)
{
  static const struct
  {
    const char *name;
    int         dims[4];
  } weights[]
      = { { VAE "encoder.conv_out.weight", { 8, 128, 3, 3 } }, { VAE "decoder.conv_out.weight", { 3, 32, 3, 3 } } };
  g_autofree char  *path = g_build_filename (g_get_tmp_dir (), "overflow.safetensors", NULL);
  g_autofree float *values = g_new (float, 8 * 128 * 9);
  References        r;

  if (! references_open (&r, "sd1", "blas"))
    return;
  for (int i = 0; i < 8 * 128 * 9; i++)
    values[i] = i % 2 ? 3e38f : -3e38f;
  for (gsize i = 0; i < G_N_ELEMENTS (weights); i++)
    {
      g_autoptr (DiffusionModel) model = NULL;
      g_autoptr (DiffusionPicture) picture = diffusion_picture_new (64, 64, 3, NULL);
      g_autoptr (DiffusionPicture) original = NULL;
      DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
      GError          *error = NULL;

      for (int j = 0; j < 64 * 64 * 3; j++)
        picture->data[j] = (float) (j % 97) / 97;
      original = diffusion_picture_copy (picture, NULL);
      references_write_changed (r.checkpoint, path, TENSOR_F32, weights[i].name, weights[i].dims, values, NULL);
      model = diffusion_model_load (path, &error);
      g_assert_no_error (error);
      options.steps = 1;
      options.size = 64;
      g_assert_false (diffusion_regenerate (model, picture, NULL, 0.5, 0, &options, NULL, &error));
      g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
      g_assert_nonnull (strstr (error->message, "are no numbers"));
      g_clear_error (&error);
      g_assert_cmpmem (picture->data, 64 * 64 * 12, original->data, 64 * 64 * 12);
    }
  g_unlink (path);
  references_close (&r);
}

static void
test_families (void)
{
  DiffusionCheckpoint sd1, sd2;
  GError             *error = NULL;
  g_autofree char    *first = NULL, *second = NULL;

  if (! references_find ())
    return;
  first = references_get_path ("tiny-sd1.safetensors");
  second = references_get_path ("tiny-sd2.safetensors");
  g_assert_true (diffusion_checkpoint_look (first, &sd1, &error));
  g_assert_true (diffusion_checkpoint_look (second, &sd2, &error));
  g_assert_cmpint (sd1.family, ==, DIFFUSION_FAMILY_SD1);
  g_assert_cmpint (sd2.family, ==, DIFFUSION_FAMILY_SD2);
  g_assert_cmpint (sd1.prediction, ==, DIFFUSION_PREDICTION_EPSILON);
  g_assert_false (sd1.inpainting || sd2.inpainting || sd1.few_steps || sd2.few_steps);
  g_assert_cmpint (sd1.native_size, ==, 512);
}

#define TEXT2 "cond_stage_model.model."

static gboolean
is_openclip (const char *name)
{
  return g_str_has_prefix (name, TEXT2);
}

/* A copy of SD 2's tiny one whose text encoder is where SDXL's files have their first. */
static void
write_as_sdxl (const TensorFile *file, const char *path)
{
  g_autoptr (GPtrArray) names = tensor_file_list (file, is_openclip), memory = g_ptr_array_new_with_free_func (g_free);
  g_autofree TensorEntry *changes = g_new0 (TensorEntry, 2 * (gsize) names->len);

  for (guint i = 0; i < names->len; i++)
    {
      const char *name = names->pdata[i];
      char       *renamed = g_strconcat ("conditioner.embedders.0.model.", name + strlen (TEXT2), NULL);
      TensorView *view = g_new (TensorView, 1);
      float      *values;

      g_assert_true (tensor_file_view (file, name, view));
      values = g_new (float, view->count);
      g_assert_true (tensor_file_read (file, name, view->dims, view->n_dims, values, NULL));
      g_ptr_array_add (memory, renamed);
      g_ptr_array_add (memory, view);
      g_ptr_array_add (memory, values);
      changes[2 * i] = (TensorEntry){ .name = name };
      changes[2 * i + 1] = (TensorEntry){ renamed, view->dims, view->n_dims, view->count, values, TENSOR_F32 };
    }
  references_write_changes (file, path, TENSOR_F32, changes, 2 * (int) names->len,
                            tensor_file_get_metadata ((TensorFile *) file));
}

/* SD-Turbo's own file is SD 2 in SDXL's naming: it gives what it gives in SD 2's, and its weights are looked through.
 */
static void
test_turbo (void)
{
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "sd_turbo.safetensors", NULL), *usual = NULL;
  g_autofree char *renamed = g_build_filename (g_get_tmp_dir (), "painter.safetensors", NULL);
  const char      *paths[2];
  g_autoptr (DiffusionPicture) a = diffusion_picture_new (64, 64, 3, NULL), b = diffusion_picture_new (64, 64, 3, NULL);
  DiffusionPicture   *pictures[] = { a, b };
  DiffusionCheckpoint looked;
  gsize               parameters[2];
  References          r;

  if (! references_open (&r, "sd2", "blas"))
    return;
  write_as_sdxl (r.checkpoint, path);
  usual = references_get_path ("tiny-sd2.safetensors");
  paths[0] = usual;
  paths[1] = path;
  g_assert_true (diffusion_checkpoint_look (path, &looked, NULL));
  g_assert_cmpint (looked.family, ==, DIFFUSION_FAMILY_SD2);
  g_assert_true (looked.few_steps);
  g_assert_cmpint (looked.prediction, ==, DIFFUSION_PREDICTION_EPSILON);
  /* Under another name, too, though not for sure what it predicts. */
  g_assert_cmpint (symlink (path, renamed), ==, 0);
  g_assert_true (diffusion_checkpoint_look (renamed, &looked, NULL));
  g_unlink (renamed);
  g_assert_true (looked.few_steps);
  g_assert_cmpint (looked.steps, ==, 4);
  g_assert_cmpint (looked.native_size, ==, 512);
  g_assert_cmpint (looked.prediction, ==, DIFFUSION_PREDICTION_AUTO);
  g_assert_true (diffusion_checkpoint_look (usual, &looked, NULL));
  g_assert_false (looked.few_steps);
  for (int i = 0; i < 2; i++)
    {
      g_autoptr (DiffusionModel) model = NULL;
      DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
      GError          *error = NULL;

      model = diffusion_model_load (paths[i], &error);
      g_assert_no_error (error);
      parameters[i] = diffusion_model_count_parameters (model);
      options.steps = 1;
      options.size = 64;
      options.guidance = 1;
      options.prediction = DIFFUSION_PREDICTION_EPSILON;
      options.prompt = "a wooden boat";
      g_assert_true (diffusion_generate (model, pictures[i], &options, NULL, &error));
      g_assert_no_error (error);
    }
  g_assert_cmpuint (parameters[0], ==, parameters[1]);
  g_assert_cmpmem (a->data, 64 * 64 * 12, b->data, 64 * 64 * 12);
  g_unlink (path);
  references_close (&r);
}

/* A header that looks like a checkpoint's, without the networks. */
static DiffusionCheckpoint
look_at (const char *name, const char *tokens, const char *key, const char *value)
{
  static const int   one = 1;
  static const float number = 1;
  TensorEntry        entries[] = { { "model.diffusion_model.input_blocks.0.0.weight", &one, 1, 1, &number, TENSOR_F16 },
                                   { tokens, &one, 1, 1, &number, TENSOR_F16 } };
  g_autofree char   *path = g_build_filename (g_get_tmp_dir (), name, NULL);
  g_autoptr (GHashTable) metadata = g_hash_table_new (g_str_hash, g_str_equal);
  DiffusionCheckpoint checkpoint;
  GError             *error = NULL;

  if (key)
    g_hash_table_insert (metadata, (gpointer) key, (gpointer) value);
  tensors_write (path, entries, G_N_ELEMENTS (entries), metadata, &error);
  g_assert_no_error (error);
  g_assert_true (diffusion_checkpoint_look (path, &checkpoint, &error));
  g_assert_no_error (error);
  g_unlink (path);
  return checkpoint;
}

#define TOKENS1 "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
#define TOKENS2 "cond_stage_model.model.token_embedding.weight"

/* What a model is called says how it is used; what is said of it, or a part of a word, does not. */
static void
test_names (void)
{
  static const struct
  {
    const char *name, *key, *value;
    gboolean    few;
  } names[] = {
    { "landscape", NULL, NULL, FALSE },
    { "photonLCM_v10", NULL, NULL, TRUE },
    { "dreamshaper_8LCM", NULL, NULL, TRUE },
    { "photonLCMv2", NULL, NULL, TRUE },
    { "epicLCMInpainting", NULL, NULL, TRUE },
    { "sd_turbo", NULL, NULL, TRUE },
    { "realTURBOv1", NULL, NULL, TRUE },
    { "dreamTurbov2", NULL, NULL, TRUE },
    { "real_v51HyperVAE", NULL, NULL, TRUE },
    { "real_v51HyperInpaintVAE", NULL, NULL, TRUE },
    { "hyperRealism_v3", NULL, NULL, FALSE },
    { "HyperVaeliant", NULL, NULL, FALSE },
    { "turbovision", NULL, NULL, FALSE },
    { "CALCMs", NULL, NULL, FALSE },
    { "Hyper-SD15", NULL, NULL, TRUE },
    { "turbocharged", NULL, NULL, FALSE },
    { "calcms", NULL, NULL, FALSE },
    { "storms", "modelspec.tags", "sky, lightning, storm", FALSE },
    { "storms", "modelspec.description", "Not a turbo; use it with an LCM LoRA.", FALSE },
    { "storms", "modelspec.title", "Storms (Lightning, 4 steps)", TRUE },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char    *name = g_strconcat (names[i].name, ".safetensors", NULL);
      DiffusionCheckpoint checkpoint = look_at (name, TOKENS1, names[i].key, names[i].value);

      g_assert_cmpint (checkpoint.few_steps, ==, names[i].few);
      g_assert_cmpint (checkpoint.steps, ==, names[i].few ? 4 : 20);
    }
  g_assert_cmpint (look_at ("v2-1_768-v-ema.safetensors", TOKENS2, NULL, NULL).native_size, ==, 768);
}

/* Only metadata that are made for it say for sure what a network predicts; a name that speaks of v makes the network be
 * asked, and what a description speaks of is nothing. */
static void
test_hints (void)
{
  static const struct
  {
    const char         *name, *tokens, *key, *value;
    DiffusionPrediction prediction;
  } names[] = {
    { "landscape", TOKENS1, NULL, NULL, DIFFUSION_PREDICTION_EPSILON },
    { "landscape_768-v2", TOKENS1, NULL, NULL, DIFFUSION_PREDICTION_AUTO },
    { "landscape_768-v2", TOKENS2, NULL, NULL, DIFFUSION_PREDICTION_AUTO },
    { "v2-1_768-v-ema", TOKENS2, NULL, NULL, DIFFUSION_PREDICTION_AUTO },
    { "v2", TOKENS2, NULL, NULL, DIFFUSION_PREDICTION_AUTO },
    { "a", TOKENS1, "modelspec.tags", "v-pred", DIFFUSION_PREDICTION_AUTO },
    { "a", TOKENS1, "modelspec.description", "For v-pred, see the other file.", DIFFUSION_PREDICTION_EPSILON },
    { "a", TOKENS1, "modelspec.prediction_type", "v", DIFFUSION_PREDICTION_V },
    { "v-pred", TOKENS2, "modelspec.prediction_type", "epsilon", DIFFUSION_PREDICTION_EPSILON },
    { "turbo", TOKENS2, NULL, NULL, DIFFUSION_PREDICTION_EPSILON },
    { "turbo_vpred", TOKENS2, NULL, NULL, DIFFUSION_PREDICTION_AUTO },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_autofree char *name = g_strconcat (names[i].name, ".safetensors", NULL);

      g_assert_cmpint (look_at (name, names[i].tokens, names[i].key, names[i].value).prediction, ==,
                       names[i].prediction);
    }
}

/* Makes of the tiny networks ones that answer with `share` of what they are shown: this goes around all blocks, through
 * the last one's shortcut, as x and as -x, for silu (x) - silu (-x) = x. */
static void
write_answering (const TensorFile *file, const char *path, float share, GHashTable *metadata)
{
  g_autofree float *zeros = g_new0 (float, 64 * 64 * 9), *ones = g_new (float, 32), *in = g_new0 (float, 32 * 4 * 9);
  g_autofree float *skip = g_new0 (float, 32 * 64), *out = g_new0 (float, 4 * 32 * 9);
  TensorEntry       changes[] = {
          { UNET "input_blocks.0.0.weight", (int[]){ 32, 4, 3, 3 }, 4, 32 * 4 * 9, in, TENSOR_F16 },
          { UNET "input_blocks.0.0.bias", (int[]){ 32 }, 1, 32, zeros, TENSOR_F16 },
          { UNET "output_blocks.11.0.skip_connection.weight", (int[]){ 32, 64, 1, 1 }, 4, 32 * 64, skip, TENSOR_F16 },
          { UNET "output_blocks.11.0.skip_connection.bias", (int[]){ 32 }, 1, 32, zeros, TENSOR_F16 },
          { UNET "output_blocks.11.0.out_layers.3.weight", (int[]){ 32, 32, 3, 3 }, 4, 32 * 32 * 9, zeros, TENSOR_F16 },
          { UNET "output_blocks.11.0.out_layers.3.bias", (int[]){ 32 }, 1, 32, zeros, TENSOR_F16 },
          { UNET "output_blocks.11.1.proj_out.weight", NULL, 0, 32 * 32, zeros, TENSOR_F16 },
          { UNET "output_blocks.11.1.proj_out.bias", (int[]){ 32 }, 1, 32, zeros, TENSOR_F16 },
          { UNET "out.0.weight", (int[]){ 32 }, 1, 32, ones, TENSOR_F16 },
          { UNET "out.0.bias", (int[]){ 32 }, 1, 32, zeros, TENSOR_F16 },
          { UNET "out.2.weight", (int[]){ 4, 32, 3, 3 }, 4, 4 * 32 * 9, out, TENSOR_F16 },
          { UNET "out.2.bias", (int[]){ 4 }, 1, 4, zeros, TENSOR_F16 },
  };
  TensorView view;

  /* The one is a matrix in SD 2, and a convolution of 1x1 in SD 1. */
  g_assert_true (tensor_file_view (file, changes[6].name, &view));
  changes[6].dims = view.dims;
  changes[6].n_dims = view.n_dims;
  for (int c = 0; c < 32; c++)
    {
      ones[c] = 1;
      skip[c * 64 + 32 + c] = 1;
      if (c < 8)
        {
          in[(c * 4 + c % 4) * 9 + 4] = c < 4 ? 1 : -1;
          out[(c % 4 * 32 + c) * 9 + 4] = c < 4 ? share : -share;
        }
    }
  references_write_changes (file, path, TENSOR_F16, changes, G_N_ELEMENTS (changes), metadata);
}

/* The network has the last word where a name hints at v. */
static void
test_asked (void)
{
  static const struct
  {
    const char         *family, *name;
    float               share;
    DiffusionPrediction prediction;
  } cases[] = {
    { "sd1", "landscape_768-v2", 1, DIFFUSION_PREDICTION_EPSILON },
    { "sd1", "landscape_vpred", 0, DIFFUSION_PREDICTION_V },
    { "sd1", "landscape", 0, DIFFUSION_PREDICTION_EPSILON },
    { "sd2", "landscape_768-v2", 1, DIFFUSION_PREDICTION_EPSILON },
    { "sd2", "v2-1_768-v-ema", 0, DIFFUSION_PREDICTION_V },
  };

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strconcat (cases[i].name, ".safetensors", NULL);
      g_autofree char *path = g_build_filename (g_get_tmp_dir (), name, NULL);
      g_autoptr (GHashTable) metadata = g_hash_table_new (g_str_hash, g_str_equal);
      g_autoptr (DiffusionModel) model = NULL;
      References r;
      GError    *error = NULL;

      if (! references_open (&r, cases[i].family, "blas"))
        return;
      g_hash_table_insert (metadata, (gpointer) "num_head_channels", (gpointer) "16");
      write_answering (r.checkpoint, path, cases[i].share, metadata);
      model = diffusion_model_load (path, &error);
      g_assert_no_error (error);
      g_assert_cmpint (diffusion_model_get_checkpoint (model)->prediction, ==, cases[i].prediction);
      g_unlink (path);
      references_close (&r);
    }
}

/* A network whose answer to pure noise is nothing does not predict the noise.  Who loads it knows so, and at what size
 * it works; who only looks at its header does not. */
static void
test_prediction (void)
{
  static const struct
  {
    const char *name, *resolution;
    int         size;
  } cases[] = { { "two", NULL, 768 }, { "two", "640x640", 640 }, { "two-lcm", NULL, 512 } };
  g_autofree float *zeros = g_new0 (float, 4 * 32 * 9);
  References        r;

  if (! references_open (&r, "sd2", "blas"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = g_strconcat (cases[i].name, ".safetensors", NULL);
      g_autofree char *path = g_build_filename (g_get_tmp_dir (), name, NULL);
      TensorEntry      changes[] = { { UNET "out.2.weight", (int[]){ 4, 32, 3, 3 }, 4, 4 * 32 * 9, zeros, TENSOR_F16 },
                                     { UNET "out.2.bias", (int[]){ 4 }, 1, 4, zeros, TENSOR_F16 } };
      g_autoptr (GHashTable) metadata = g_hash_table_new (g_str_hash, g_str_equal);
      g_autoptr (DiffusionModel) model = NULL;
      const DiffusionCheckpoint *info;
      DiffusionCheckpoint        looked;
      DiffusionOptions           options = DIFFUSION_OPTIONS_INIT;
      GError                    *error = NULL;

      g_hash_table_insert (metadata, (gpointer) "num_head_channels", (gpointer) "16");
      if (cases[i].resolution)
        g_hash_table_insert (metadata, (gpointer) "modelspec.resolution", (gpointer) cases[i].resolution);
      references_write_changes (r.checkpoint, path, TENSOR_F16, changes, G_N_ELEMENTS (changes), metadata);
      g_assert_true (diffusion_checkpoint_look (path, &looked, NULL));
      g_assert_cmpint (looked.prediction, ==, DIFFUSION_PREDICTION_AUTO);
      model = diffusion_model_load (path, &error);
      g_assert_no_error (error);
      info = diffusion_model_get_checkpoint (model);
      g_assert_cmpint (info->prediction, ==, DIFFUSION_PREDICTION_V);
      g_assert_cmpint (info->native_size, ==, cases[i].size);
      g_assert_cmpint (diffusion_model_get_reach (model, 1, 1, &options), >, cases[i].size / 4);
      g_unlink (path);
    }
  references_close (&r);
}

/* The usual schedule, with betas of so much of the usual ones. */
static void
fill_schedule (double share, float *table)
{
  double product = 1;

  for (int t = 0; t < SD_TIMESTEPS; t++)
    {
      double root = sqrt (0.00085) + (sqrt (0.0120) - sqrt (0.00085)) * t / (SD_TIMESTEPS - 1);

      product *= 1 - root * root * share;
      table[t] = (float) product;
    }
}

/* What schedule is used of a file that has this one. */
static void
load_schedule (const References *r, const float *table, TensorType type, float *alphas)
{
  static const int length = SD_TIMESTEPS;
  g_autofree char *path = g_build_filename (g_get_tmp_dir (), "schedule.safetensors", NULL);
  TensorEntry      change = { "alphas_cumprod", &length, 1, SD_TIMESTEPS, table, type };
  g_autoptr (DiffusionModel) model = NULL;
  GError *error = NULL;

  references_write_changes (r->checkpoint, path, TENSOR_F16, &change, 1, tensor_file_get_metadata (r->checkpoint));
  model = diffusion_model_load (path, &error);
  g_assert_no_error (error);
  memcpy (alphas, sd_checkpoint_get_alphas (model_get_checkpoint (model)), SD_TIMESTEPS * sizeof *alphas);
  g_unlink (path);
}

/* The usual noise schedule is the exact one, though a file in half precision has it rounded; one of a file's own is
 * taken as it is. */
static void
test_schedules (void)
{
  static const struct
  {
    TensorType type;
    gboolean   own;
  } cases[] = {
    { TENSOR_F32, FALSE }, { TENSOR_F16, FALSE }, { TENSOR_BF16, FALSE }, { TENSOR_F32, TRUE }, { TENSOR_F16, TRUE }
  };
  References r;

  if (! references_open (&r, "sd1", "blas"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      float table[SD_TIMESTEPS], alphas[SD_TIMESTEPS];

      fill_schedule (cases[i].own ? 0.8 : 1, table);
      load_schedule (&r, table, cases[i].type, alphas);
      for (int t = 0; t < SD_TIMESTEPS; t++)
        if (cases[i].own && cases[i].type == TENSOR_F16)
          g_assert_cmpfloat_with_epsilon (alphas[t] / table[t], 1, 1e-3);
        else
          g_assert_cmpfloat_with_epsilon (sqrtf (1 - alphas[t]) / sqrtf (1 - table[t]), 1, 1e-4);
    }
  references_close (&r);
}

/* A schedule that ends in nothing but noise (Lin et al. 2024, algorithm 1) is taken as it is, though it ends in 0 and,
 * in half precision, some of its neighbours are the same. */
static void
test_zero_schedules (void)
{
  static const TensorType types[] = { TENSOR_F32, TENSOR_F16 };
  References              r;

  if (! references_open (&r, "sd1", "blas"))
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (types); i++)
    {
      float table[SD_TIMESTEPS], alphas[SD_TIMESTEPS], first, last;

      fill_schedule (1, table);
      first = sqrtf (table[0]);
      last = sqrtf (table[SD_TIMESTEPS - 1]);
      for (int t = 0; t < SD_TIMESTEPS; t++)
        {
          float root = (sqrtf (table[t]) - last) * first / (first - last);

          table[t] = root * root;
        }
      g_assert_cmpfloat (table[SD_TIMESTEPS - 1], ==, 0);
      load_schedule (&r, table, types[i], alphas);
      for (int t = 0; t < SD_TIMESTEPS - 1; t++)
        g_assert_cmpfloat_with_epsilon (alphas[t], table[t], 4e-3 * table[t] + 1e-7);
      g_assert_cmpfloat (alphas[SD_TIMESTEPS - 1], >, 0);
      g_assert_cmpfloat (latent_sigma (alphas, SD_TIMESTEPS - 1), >, 1000);
    }
  references_close (&r);
}

/* All of a file is read when it is loaded; that can be cancelled. */
static void
test_cancelled (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  g_autoptr (DiffusionModel) model = NULL, none = NULL;
  GError          *error = NULL;
  g_autofree char *path = NULL;

  if (! references_find ())
    return;
  path = references_get_path ("tiny-sd1.safetensors");
  model = diffusion_model_load_cancellable (path, cancellable, &error);
  g_assert_no_error (error);
  g_assert_nonnull (model);
  g_cancellable_cancel (cancellable);
  none = diffusion_model_load_cancellable (path, cancellable, &error);
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_assert_null (none);
  g_clear_error (&error);
}

/* ---- where they are ---- */

static char *
place (const char *folder, const char *below, const char *name, const char *original)
{
  g_autofree char *parent = g_build_filename (folder, below, NULL);
  char            *path = g_build_filename (parent, name, NULL);

  g_assert_cmpint (g_mkdir_with_parents (parent, 0700), ==, 0);
  if (original)
    g_assert_cmpint (symlink (original, path), ==, 0);
  return path;
}

/* Those of other programs are found where these keep them, as deep as people sort them; not deeper, not what is
 * something else, and nothing is left there. */
static void
test_places (void)
{
  const char      *home = g_get_home_dir (), *data = g_get_user_data_dir (), *cache = g_get_user_cache_dir ();
  const char      *broken = "ComfyUI/models/checkpoints";
  g_autofree char *tiny = NULL, *lora = NULL, *fifo = NULL, *pickle = NULL;
  g_auto (GStrv) found = NULL;
  g_autoptr (GPtrArray) wanted = g_ptr_array_new_with_free_func (g_free);
  TensorEntry entry = { "lora_unet_a.lora_up.weight", (int[]){ 1 }, 1, 1, (float[]){ 1 }, TENSOR_F16 };
  GError     *error = NULL;

  if (! references_find ())
    return;
  tiny = references_get_path ("tiny-sd1.safetensors");
  g_ptr_array_add (wanted, place (data, "gimp-diffusion/models", "a.safetensors", tiny));
  g_ptr_array_add (wanted, place (home, "ComfyUI/models/checkpoints/sd15/people", "b.safetensors", tiny));
  g_ptr_array_add (wanted, place (home, "stable-diffusion-webui/models/Stable-diffusion", "c.safetensors", tiny));
  g_ptr_array_add (wanted, place (cache, "huggingface/hub/models--x--y/snapshots/0123456789", "d.safetensors", tiny));
  g_ptr_array_add (wanted, place (home, "invokeai/models/sd-1/main", "e.safetensors", tiny));
  g_ptr_array_add (
      wanted, place (home, ".local/share/krita/ai_diffusion/server/ComfyUI/models/checkpoints", "f.safetensors", tiny));
  g_free (place (home, "ComfyUI/models/checkpoints/1/2/3", "deep.safetensors", tiny));
  g_free (place (home, "ComfyUI/models/loras", "elsewhere.safetensors", tiny));
  lora = place (home, broken, "lora.safetensors", NULL);
  tensors_write (lora, &entry, 1, NULL, &error);
  g_assert_no_error (error);
  pickle = place (home, broken, "model.ckpt", tiny);
  fifo = place (home, broken, "pipe.safetensors", NULL);
  g_assert_cmpint (mkfifo (fifo, 0600), ==, 0);
  found = diffusion_checkpoint_list ();
  g_assert_cmpuint (g_strv_length (found), ==, wanted->len);
  for (guint i = 0; i < wanted->len; i++)
    g_assert_cmpstr (found[i], ==, wanted->pdata[i]);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint-files/changes", test_changes);
  g_test_add_func ("/checkpoint-files/kinds", test_kinds);
  g_test_add_func ("/checkpoint-files/length", test_length);
  g_test_add_func ("/checkpoint-files/empty", test_empty);
  g_test_add_func ("/checkpoint-files/damaged", test_damaged);
  g_test_add_func ("/checkpoint-files/misfits", test_misfits);
  g_test_add_func ("/checkpoint-files/overflow", test_overflow);
  g_test_add_func ("/checkpoint-files/families", test_families);
  g_test_add_func ("/checkpoint-files/turbo", test_turbo);
  g_test_add_func ("/checkpoint-files/names", test_names);
  g_test_add_func ("/checkpoint-files/hints", test_hints);
  g_test_add_func ("/checkpoint-files/prediction", test_prediction);
  g_test_add_func ("/checkpoint-files/asked", test_asked);
  g_test_add_func ("/checkpoint-files/schedules", test_schedules);
  g_test_add_func ("/checkpoint-files/schedules/zero", test_zero_schedules);
  g_test_add_func ("/checkpoint-files/cancelled", test_cancelled);
  g_test_add_func ("/checkpoint-files/places", test_places);
  return g_test_run ();
}
