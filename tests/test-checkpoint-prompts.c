/* From prompts to tokens and weights.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "references.h"

#include <json-glib/json-glib.h>
#include <locale.h>

static void
test_tokens (void)
{
  g_autofree char *path = g_build_filename (g_getenv ("TEST_DATA"), "clip-tokens.json", NULL);
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (Tokenizer) tokenizer = references_open_tokenizer ();
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

static void
assert_same_tokens (const Tokenizer *tokenizer, const char *prompt, const char *other)
{
  Prompt a, b;

  prompt_parse (tokenizer, prompt, PROMPT_END, &a);
  prompt_parse (tokenizer, other, PROMPT_END, &b);
  g_assert_cmpmem (a.ids, sizeof a.ids, b.ids, sizeof b.ids);
}

/* The user's language plays no part (where this system has Turkish), and letters become what Python makes of them. */
static void
test_case (void)
{
  g_autoptr (Tokenizer) tokenizer = references_open_tokenizer ();
  g_autofree char *before = g_strdup (setlocale (LC_CTYPE, NULL));
  Prompt           prompt;

  if (! setlocale (LC_CTYPE, "tr_TR.UTF-8"))
    g_test_message ("there is no Turkish here");
  assert_same_tokens (tokenizer, "AN INDIGO INN IN ISTANBUL", "an indigo inn in istanbul");
  assert_same_tokens (tokenizer, "\xc4\xb0zmir", "i\xcc\x87zmir");
  assert_same_tokens (tokenizer, "\xce\x9f\xce\x94\xce\x9f\xce\xa3 \xce\xa3\xce\x9f \xce\xa3",
                      "\xce\xbf\xce\xb4\xce\xbf\xcf\x82 \xcf\x83\xce\xbf \xcf\x83");
  prompt_parse (tokenizer, "I", PROMPT_END, &prompt);
  g_assert_cmpint (prompt.ids[1], ==, 328); /* i</w> */
  setlocale (LC_CTYPE, before);
}

/* What keyboards and word processors make of ASCII is what CLIP was trained on: ASCII. */
static void
test_signs (void)
{
  g_autoptr (Tokenizer) tokenizer = references_open_tokenizer ();

  assert_same_tokens (tokenizer, "a dog\xe2\x80\x99s \xe2\x80\x98house\xe2\x80\x98", "a dog's 'house'");
  assert_same_tokens (tokenizer, "\xe2\x80\x9csold\xe2\x80\x9d", "\"sold\"");
  assert_same_tokens (tokenizer, "\xef\xbc\xa1 \xef\xbd\x9a\xef\xbc\x81 \xef\xbd\x9e", "a z! ~");
}

static void
test_weights (void)
{
  g_autoptr (Tokenizer) tokenizer = references_open_tokenizer ();
  g_autofree char *long_prompt = g_strnfill (10000, 'a'), *brackets = g_strnfill (10000, '(');
  Prompt           plain, weighted;

  prompt_parse (tokenizer, "a red boat", PROMPT_END, &plain);
  prompt_parse (tokenizer, "a (red:1.3) [boat]", PROMPT_END, &weighted);
  g_assert_cmpmem (plain.ids, sizeof plain.ids, weighted.ids, sizeof weighted.ids);
  g_assert_true (weighted.weighted);
  g_assert_cmpfloat_with_epsilon (weighted.weights[1], 1.0f, 1e-6f);
  g_assert_cmpfloat_with_epsilon (weighted.weights[2], 1.3f, 1e-6f);
  g_assert_cmpfloat_with_epsilon (weighted.weights[3], 1 / 1.1f, 1e-6f);
  prompt_parse (tokenizer, "((a red:2) boat)", PROMPT_END, &weighted);
  g_assert_cmpfloat_with_epsilon (weighted.weights[2], 2.2f, 1e-6f);
  g_assert_cmpfloat_with_epsilon (weighted.weights[3], 1.1f, 1e-6f);
  prompt_parse (tokenizer, "a red boat:1.3", PROMPT_END, &plain);
  prompt_parse (tokenizer, "a red (boat:1.3", PROMPT_END, &weighted);
  g_assert_cmpmem (plain.ids, sizeof plain.ids, weighted.ids, sizeof weighted.ids);
  g_assert_cmpfloat_with_epsilon (weighted.weights[3], 1.1f, 1e-6f);
  g_assert_cmpfloat_with_epsilon (weighted.weights[4], 1.1f, 1e-6f); /* the colon */
  prompt_parse (tokenizer, "(a (red:1.3) boat:2", PROMPT_END, &weighted);
  g_assert_cmpfloat_with_epsilon (weighted.weights[2], 1.43f, 1e-6f);
  g_assert_cmpfloat_with_epsilon (weighted.weights[3], 1.1f, 1e-6f);
  prompt_parse (tokenizer, "(((a:1e300):1e300):0) (b:1.2) ((c:-1e300):1e300)", PROMPT_END, &weighted);
  g_assert_cmpfloat (weighted.weights[1], ==, 0);
  g_assert_cmpfloat_with_epsilon (weighted.weights[2], 1.2f, 1e-6f);
  g_assert_cmpfloat (weighted.weights[3], ==, -10);
  prompt_parse (tokenizer, "a red boat \\(wooden\\)", PROMPT_END, &weighted);
  g_assert_false (weighted.weighted);
  g_assert_cmpint (weighted.ids[4], !=, PROMPT_END);
  prompt_parse (tokenizer, long_prompt, PROMPT_END, &plain);
  g_assert_cmpint (plain.ids[PROMPT_LENGTH - 1], ==, PROMPT_END);
  prompt_parse (tokenizer, brackets, PROMPT_END, &plain);
  prompt_parse (tokenizer, "\xff\xfe not UTF-8 \xf0\x9f\x90\x8e \xe6\xbc\xa2", PROMPT_END, &plain);
  g_assert_cmpint (plain.ids[0], ==, PROMPT_START);
  prompt_parse (tokenizer, NULL, 0, &plain);
  g_assert_cmpint (plain.ids[2], ==, 0);
}

#define LENGTH 20000

/* Encoding takes no time that anybody notices, whatever is pasted, and gives as many tokens as CLIP's own does. */
static void
test_pace (void)
{
  static const int tokens[] = { 11103, 10000 };
  g_autoptr (Tokenizer) tokenizer = references_open_tokenizer ();
  g_autofree char *text = g_malloc0 (LENGTH + 1);
  guint32          state = 1;
  double           seconds[2];

  for (int words = 0; words < 2; words++)
    {
      Prompt prompt;
      gint64 start;

      for (int i = 0; i < LENGTH; i++)
        {
          state = state * 1664525 + 1013904223;
          text[i] = words && i % 8 == 7 ? ' ' : (char) ('a' + (state >> 16) % 26);
        }
      start = g_get_monotonic_time ();
      prompt_parse (tokenizer, text, PROMPT_END, &prompt);
      seconds[words] = (double) (g_get_monotonic_time () - start) * 1e-6;
      g_assert_cmpint (prompt.dropped, ==, tokens[words] - (PROMPT_LENGTH - 2));
    }
  g_test_message ("%d letters: %.3f s as one word, %.3f s as many", LENGTH, seconds[0], seconds[1]);
  g_assert_cmpfloat (seconds[0], <, 5);
  g_assert_cmpfloat (seconds[1], <, 5);
}

/* Who uses a checkpoint can know that a prompt does not fit. */
static void
test_dropped (void)
{
  g_autofree char *path = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (GString) text = g_string_new (NULL);
  GError *error = NULL;

  if (! references_find ())
    return;
  path = references_get_path ("tiny-sd1.safetensors");
  model = diffusion_model_load (path, &error);
  g_assert_no_error (error);
  for (int i = 0; i < 75; i++)
    g_string_append (text, "boat ");
  g_assert_cmpint (diffusion_model_count_dropped (model, NULL), ==, 0);
  g_assert_cmpint (diffusion_model_count_dropped (model, text->str), ==, 0);
  g_string_append (text, "(house:1.2)");
  g_assert_cmpint (diffusion_model_count_dropped (model, text->str), ==, 1);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_func ("/checkpoint-prompts/tokens", test_tokens);
  g_test_add_func ("/checkpoint-prompts/case", test_case);
  g_test_add_func ("/checkpoint-prompts/signs", test_signs);
  g_test_add_func ("/checkpoint-prompts/weights", test_weights);
  g_test_add_func ("/checkpoint-prompts/pace", test_pace);
  g_test_add_func ("/checkpoint-prompts/dropped", test_dropped);
  return g_test_run ();
}
