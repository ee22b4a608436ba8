/* The networks of Stable Diffusion checkpoints: against what the original implementations made of tiny ones.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "references.h"

#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>

#define TOLERANCE 2e-3

static Tokenizer *
open_tokenizer (void)
{
  g_autofree char *path = g_build_filename (g_getenv ("DIFFUSION_MODELS"), "clip-vocabulary.txt.gz", NULL);
  GError          *error = NULL;
  Tokenizer       *tokenizer = tokenizer_new (path, &error);

  g_assert_no_error (error);
  return tokenizer;
}

/* ---- prompts ---- */

static void
test_tokens (void)
{
  g_autofree char *path = g_build_filename (g_getenv ("TEST_DATA"), "clip-tokens.json", NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (Tokenizer) tokenizer = open_tokenizer ();
  GError    *error = NULL;
  JsonArray *cases;

  json_parser_load_from_file (parser, path, &error);
  g_assert_no_error (error);
  cases = json_node_get_array (json_parser_get_root (parser));
  g_assert_cmpuint (json_array_get_length (cases), ==, 7);
  for (guint i = 0; i < json_array_get_length (cases); i++)
    {
      JsonObject *object = json_array_get_object_element (cases, i);
      JsonArray  *ids = json_object_get_array_member (object, "ids");
      Prompt      prompt;

      prompt_parse (tokenizer, json_object_get_string_member (object, "prompt"), PROMPT_END, &prompt);
      for (guint j = 0; j < PROMPT_LENGTH; j++)
        g_assert_cmpint (prompt.ids[j], ==, json_array_get_int_element (ids, j));
      g_assert_false (prompt.weighted);
      g_assert_cmpint (prompt.dropped, ==, i == 6 ? 25 : 0);
    }
}

/* ---- networks ---- */

typedef struct
{
  References r;
  SdText    *text;
  SdUnet    *unet;
  SdVae     *vae;
} Networks;

static gboolean
networks_open (Networks *networks, const char *family)
{
  GError *error = NULL;

  if (! references_open (&networks->r, family))
    return FALSE;
  networks->text = sd_text_new (networks->r.checkpoint, &error);
  g_assert_no_error (error);
  networks->unet = sd_unet_new (networks->r.checkpoint, sd_text_get_width (networks->text), &error);
  g_assert_no_error (error);
  networks->vae = sd_vae_new (networks->r.checkpoint, &error);
  g_assert_no_error (error);
  return TRUE;
}

static void
networks_close (Networks *networks)
{
  sd_text_free (networks->text);
  sd_unet_free (networks->unet);
  sd_vae_free (networks->vae);
  references_close (&networks->r);
}

static void
check (Networks *networks, SdTensor result, const char *name)
{
  SdTensor reference = references_get (&networks->r, name);
  double   error;

  g_assert_no_error (networks->r.run->error);
  error = references_compare (&result, &reference);
  g_test_message ("%s: %.2e", name, error);
  g_assert_cmpfloat (error, <, TOLERANCE);
  sd_tensor_free (networks->r.run, &result);
  sd_tensor_free (networks->r.run, &reference);
}

#define PROMPT_2 "a photograph of an astronaut riding a horse"

static void
test_text (gconstpointer family)
{
  g_autoptr (Tokenizer) tokenizer = open_tokenizer ();
  Networks networks;
  Prompt   prompt;

  if (! networks_open (&networks, family))
    return;
  prompt_parse (tokenizer, PROMPT_2, sd_text_get_padding (networks.text), &prompt);
  check (&networks, sd_text_encode (networks.r.run, networks.text, &prompt, 1), "text.cond");
  prompt_parse (tokenizer, "", sd_text_get_padding (networks.text), &prompt);
  check (&networks, sd_text_encode (networks.r.run, networks.text, &prompt, 1), "text.uncond");
  networks_close (&networks);
}

static void
test_unet (gconstpointer family)
{
  static const int timesteps[] = { 1, 500, 981 };
  Networks         networks;
  SdTensor         x, context;

  if (! networks_open (&networks, family))
    return;
  x = references_get (&networks.r, "unet.x");
  context = references_get (&networks.r, "text.cond");
  for (gsize i = 0; i < G_N_ELEMENTS (timesteps); i++)
    {
      g_autofree char *name = g_strdup_printf ("unet.eps.t%d", timesteps[i]);

      check (&networks, sd_unet_forward (networks.r.run, networks.unet, &x, (float) timesteps[i], &context), name);
    }
  sd_tensor_free (networks.r.run, &x);
  sd_tensor_free (networks.r.run, &context);
  x = references_get (&networks.r, "unet.x.24x16");
  context = references_get (&networks.r, "text.uncond");
  check (&networks, sd_unet_forward (networks.r.run, networks.unet, &x, 321, &context), "unet.eps.24x16.t321");
  networks_close (&networks);
}

/* The first `channels` of x, or those from `first` on. */
static SdTensor
take_channels (SdRun *run, const SdTensor *x, int first, int channels)
{
  SdTensor y = sd_tensor_new (run, x->n, x->h, x->w, channels);

  for (gsize r = 0; r < sd_tensor_rows (x); r++)
    memcpy (y.data + r * (gsize) channels, x->data + r * (gsize) x->c + first, (gsize) channels * sizeof (float));
  return y;
}

static void
test_vae (gconstpointer family)
{
  Networks networks;
  SdTensor picture, moments, z;

  if (! networks_open (&networks, family))
    return;
  picture = references_get (&networks.r, "vae.image");
  moments = sd_vae_encode (networks.r.run, networks.vae, &picture);
  g_assert_no_error (networks.r.run->error);
  check (&networks, take_channels (networks.r.run, &moments, 0, 4), "vae.mean");
  check (&networks, take_channels (networks.r.run, &moments, 4, 4), "vae.logvar");
  z = references_get (&networks.r, "vae.z");
  check (&networks, sd_vae_decode (networks.r.run, networks.vae, &z), "vae.decoded");
  networks_close (&networks);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/checkpoint/tokens", test_tokens);
  g_test_add_data_func ("/checkpoint/sd1/text", "sd1", test_text);
  g_test_add_data_func ("/checkpoint/sd2/text", "sd2", test_text);
  g_test_add_data_func ("/checkpoint/sd1/unet", "sd1", test_unet);
  g_test_add_data_func ("/checkpoint/sd2/unet", "sd2", test_unet);
  g_test_add_data_func ("/checkpoint/sd1/vae", "sd1", test_vae);
  g_test_add_data_func ("/checkpoint/sd2/vae", "sd2", test_vae);
  return g_test_run ();
}
