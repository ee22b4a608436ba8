/* gimp-diffusion: tests of the commands with prompts, for Stable Diffusion checkpoints
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"
#include "references.h"

#define WIDTH  90
#define HEIGHT 70
#define X      40
#define Y      30

/* As little as there can be: one look at 64 x 64 pixels. */
#define SMALL "--steps", "1", "--size", "64"
#define SIZE  "--width", "64", "--height", "64"

/* ---- without a checkpoint ---------------------------------------------------------------------------------------- */

/* A safetensors file of one tensor: the name tells what it is. */
static char *
make_file_of (const char *tensor)
{
  char            *path = in_folder ("kind.safetensors");
  g_autofree char *header
      = g_strdup_printf ("{\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", tensor);
  guint64 length = GUINT64_TO_LE (strlen (header));
  g_autoptr (GByteArray) data = g_byte_array_new ();

  g_byte_array_append (data, (const guint8 *) &length, sizeof length);
  g_byte_array_append (data, (const guint8 *) header, (guint) strlen (header));
  g_byte_array_append (data, (const guint8 *) "\0\0\200\77", 4);
  file_store (path, data->data, data->len);
  return path;
}

static void
test_arguments (void)
{
  g_autofree char *in = make_png ("plain.png", WIDTH, HEIGHT, 3, 8, 3), *out = in_folder ("plain-out.png");

  REFUSED ("checkpoint", "regenerate", in, out, "--strength", "0.5", "--prompt", "a boat", "--model", get_model ());
  REFUSED ("checkpoint", "inpaint", in, in, out, "--negative", "a boat", "--model", get_model ());
  REFUSED ("checkpoint", "generate", out, SIZE, "--prediction", "v", "--model", get_model ());
  REFUSED ("--guidance", "generate", out, SIZE, "--guidance", "101");
  REFUSED ("--guidance", "generate", out, SIZE, "--guidance", "strong");
  REFUSED ("--size", "generate", out, SIZE, "--size", "63");
  REFUSED ("heun", "generate", out, SIZE, "--sampler", "heun");
  REFUSED ("--prompt", "denoise", in, out, "--prompt", "a boat");
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

/* Each kind of file that is not supported, by each command, in a sentence that names the kind. */
static void
test_kinds (void)
{
  static const char *const kinds[][2] = {
    { "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight", "a LoRA" },
    { "conditioner.embedders.1.model.ln_final.weight", "Stable Diffusion XL" },
    { "double_blocks.0.img_attn.norm.key_norm.scale", "Flux" },
    { "model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight", "Stable Diffusion 3" },
    { "control_model.input_blocks.0.0.weight", "ControlNet" },
    { "first_stage_model.decoder.conv_in.weight", "VAE" },
    { "something.else", "model.diffusion_model.input_blocks.0.0.weight is missing" },
  };
  g_autofree char *in = make_png ("kind.png", WIDTH, HEIGHT, 3, 8, 3), *out = in_folder ("kind-out.png");

  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_autofree char *model = make_file_of (kinds[i][0]);

      REFUSED (kinds[i][1], "generate", out, SIZE, "--model", model, "--prompt", "a boat");
      REFUSED (kinds[i][1], "regenerate", in, out, "--strength", "0.5", "--model", model, "--prompt", "a boat");
      REFUSED (kinds[i][1], "info", model);
    }
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

static void
test_formats (void)
{
  g_autofree char  *out = in_folder ("format-out.png"), *pickle = in_folder ("model.ckpt");
  g_autofree char  *renamed = in_folder ("renamed.safetensors"), *gguf = in_folder ("model.gguf");
  static const char zip[] = "PK\3\4 a zip archive that holds a pickle";

  file_store (pickle, "\200\2}q\1.", 6);
  file_store (renamed, zip, sizeof zip);
  file_store (gguf, "GGUF\3\0\0\0", 8);
  REFUSED ("pickle", "generate", out, SIZE, "--model", pickle, "--prompt", "a boat");
  REFUSED ("pickle", "generate", out, SIZE, "--model", renamed, "--prompt", "a boat");
  REFUSED ("GGUF", "generate", out, SIZE, "--model", gguf, "--prompt", "a boat");
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

/* ---- with a tiny one --------------------------------------------------------------------------------------------- */

/* NULL, and the test is skipped, where it is not. */
static const char *
get_checkpoint (void)
{
  static char *path;

  if (! path && references_find ())
    path = references_get_path ("tiny-sd1.safetensors");
  return path;
}

/* Whatever is typed makes a picture. */
static void
test_prompts (void)
{
  static const char *const prompts[] = { "",
                                         "a photograph of a wooden boat",
                                         "\360\237\220\216\360\237\217\275 \346\234\250\350\210\271 boat",
                                         "((((boat:1.3",
                                         "(boat:-99999999999) [[[ :: (:1) \\(",
                                         "\n\t\r" };
  g_autofree char         *long_one = g_strnfill (10000, 'x'), *out = in_folder ("prompt.png");
  const char              *model = get_checkpoint ();

  if (! model)
    return;
  for (gsize i = 0; i <= G_N_ELEMENTS (prompts); i++)
    {
      g_autoptr (Image) image = NULL;

      FINE ("generate", out, SIZE, SMALL, "--model", model, "--prompt",
            i < G_N_ELEMENTS (prompts) ? prompts[i] : long_one);
      image = image_read_png (out);
      g_assert_cmpint (image->width, ==, 64);
      g_assert_cmpint (image->height, ==, 64);
    }
  REFUSED ("--help", "generate", out, SIZE, SMALL, "--model", model, "--prompt", "\377\376 not UTF-8");
}

/* What does not fit into a prompt is told. */
static void
test_long (void)
{
  g_autofree char *out = in_folder ("long.png");
  g_autoptr (GString) text = g_string_new (NULL);
  const char *model = get_checkpoint ();

  if (! model)
    return;
  for (int i = 0; i < 80; i++)
    g_string_append (text, "boat ");
  for (int i = 0; i < 2; i++)
    {
      g_auto (Result) result = RUN ("generate", out, SIZE, SMALL, "--model", model, "--prompt", i ? text->str : "boat",
                                    "--negative", "water");

      g_assert_cmpint (result.status, ==, 0);
      g_assert_true ((strstr (result.err, "--prompt is too long: the last 5 of its tokens") != NULL) == i);
      g_assert_null (strstr (result.err, "--negative"));
    }
}

/* The same again; another prompt, guidance or prediction makes another picture; a negative prompt does so where there
 * is guidance. */
static void
test_settings (void)
{
  g_autofree char *a = in_folder ("a.png"), *b = in_folder ("b.png"), *c = in_folder ("c.png");
  const char      *model = get_checkpoint ();

  if (! model)
    return;
#define MAKE(out, ...) FINE ("generate", out, SIZE, "--steps", "2", "--size", "64", "--model", model, __VA_ARGS__)
  MAKE (a, "--prompt", "a boat", "--guidance", "3");
  MAKE (b, "--prompt", "a boat", "--guidance", "3", "--threads", "1");
  assert_same_file (a, b);
  for (int i = 0; i < 5; i++)
    {
      static const char *const changes[][2] = { { "--negative", "water" },
                                                { "--prediction", "v" },
                                                { "--sampler", "euler-a" },
                                                { "--seed", "1" },
                                                { "--sampler", "lcm" } };
      g_autoptr (Image) one = image_read_png (a), other = NULL;

      MAKE (b, "--prompt", "a boat", "--guidance", "3", changes[i][0], changes[i][1]);
      other = image_read_png (b);
      g_assert_cmpfloat (image_error (one, other), >, 0);
    }
  MAKE (b, "--prompt", "a boat", "--guidance", "1");
  MAKE (c, "--prompt", "a boat", "--guidance", "1", "--negative", "water");
  assert_same_file (b, c);
#undef MAKE
}

/* One pixel is selected: it changes, and no other. */
static void
test_one_pixel (void)
{
  g_autofree char *in = make_png ("pixel.png", WIDTH, HEIGHT, 3, 16, 3), *mask_path = in_folder ("pixel-mask.png");
  g_autofree char *out = in_folder ("pixel-out.png");
  g_autoptr (Image) mask = image_make (WIDTH, HEIGHT, 1, 8, 0, 0), before = image_read_png (in);
  const char *model = get_checkpoint ();

  if (! model)
    return;
  memset (mask->data, 0, image_count (mask) * sizeof *mask->data);
  mask->data[Y * WIDTH + X] = 255;
  image_write_png (mask, mask_path);
  for (int task = 0; task < 2; task++)
    {
      g_autoptr (Image) after = NULL;

      if (task == 0)
        FINE ("inpaint", in, mask_path, out, SMALL, "--grow", "0", "--feather", "0", "--model", model, "--prompt",
              "a boat");
      else
        FINE ("regenerate", in, out, SMALL, "--strength", "0.7", "--mask", mask_path, "--model", model, "--prompt",
              "a boat");
      after = image_read_png (out);
      assert_same_form (before, after);
      for (gsize i = 0; i < image_count (before); i++)
        if (i / 3 != Y * WIDTH + X)
          g_assert_cmpuint (before->data[i], ==, after->data[i]);
      g_assert_cmpint (memcmp (before->data + (Y * WIDTH + X) * 3, after->data + (Y * WIDTH + X) * 3, 6), !=, 0);
    }
}

/* What a checkpoint does not do, and values that it does not take. */
static void
test_limits (void)
{
  g_autofree char *in = make_png ("limits.png", WIDTH, HEIGHT, 3, 8, 3), *out = in_folder ("limits-out.png");
  const char      *model = get_checkpoint ();

  if (! model)
    return;
  REFUSED ("denoise", "denoise", in, out, "--model", model);
  REFUSED ("64", "generate", out, SIZE, "--size", "100", "--model", model);
  REFUSED ("--prediction", "generate", out, SIZE, "--prediction", "x", "--model", model);
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
}

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "prompt/arguments", test_arguments }, { "prompt/kinds", test_kinds },   { "prompt/formats", test_formats },
    { "prompt/prompts", test_prompts },     { "prompt/long", test_long },     { "prompt/settings", test_settings },
    { "prompt/one-pixel", test_one_pixel }, { "prompt/limits", test_limits },
  };

  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
