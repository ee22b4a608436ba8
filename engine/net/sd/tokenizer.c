/* CLIP's byte-pair encoding.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "prompt.h"

#include <gio/gio.h>
#include <glib/gi18n-lib.h>
#include <string.h>

#define BYTES  256
#define MERGES (PROMPT_START - 2 * BYTES)

/* Some 3 MB; a longer file is not the one that we know. */
#define VOCABULARY_MAX (16 * 1024 * 1024)

/* Tokens are numbered: 256 bytes, the same at the end of a word, the merges by rank, start, end. */
struct _Tokenizer
{
  int         byte_ids[BYTES];
  GHashTable *merges; /* two numbers in a gint64 -> rank + 1 */
  gint64     *pairs;  /* keys of merges */
};

static gint64
make_pair (int first, int second)
{
  return (gint64) first << 32 | (gint64) second;
}

/* g_int64_hash () takes the second number alone, of which thousands of pairs may have the same.  Both are of 16 bits.
 */
static guint
hash_pair (gconstpointer key)
{
  gint64 pair = *(const gint64 *) key;

  return (guint) (pair >> 32) << 16 ^ (guint) pair;
}

/* Its rank + 1; 0: they are not merged. */
static int
get_rank (const Tokenizer *tokenizer, int first, int second)
{
  gint64 pair = make_pair (first, second);

  return GPOINTER_TO_INT (g_hash_table_lookup (tokenizer->merges, &pair));
}

/* The vocabulary's alphabet: bytes that print stand for themselves (as Latin-1), the others for U+0100 and up. */
static void
make_alphabet (Tokenizer *tokenizer, GHashTable *numbers)
{
  int number = 0;

  for (int pass = 0; pass < 2; pass++)
    for (int byte = 0, other = 0; byte < BYTES; byte++)
      {
        gboolean prints = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
        gunichar character = prints ? (gunichar) byte : (gunichar) (BYTES + other);
        GString *text;

        other += ! prints;
        if (prints != (pass == 0))
          continue;
        text = g_string_append_unichar (g_string_new (NULL), character);
        tokenizer->byte_ids[byte] = number;
        g_hash_table_insert (numbers, g_strdup (text->str), GINT_TO_POINTER (number + 1));
        g_string_append (text, "</w>");
        g_hash_table_insert (numbers, g_string_free (text, FALSE), GINT_TO_POINTER (BYTES + number + 1));
        number++;
      }
}

/* One line, "first second", of the merges. */
static gboolean
add_merge (Tokenizer *tokenizer, GHashTable *numbers, int rank, char *line)
{
  char *space = strchr (line, ' ');
  int   first, second;

  if (! space)
    return FALSE;
  *space = '\0';
  first = GPOINTER_TO_INT (g_hash_table_lookup (numbers, line)) - 1;
  second = GPOINTER_TO_INT (g_hash_table_lookup (numbers, space + 1)) - 1;
  if (first < 0 || second < 0)
    return FALSE;
  tokenizer->pairs[rank] = make_pair (first, second);
  g_hash_table_insert (tokenizer->merges, &tokenizer->pairs[rank], GINT_TO_POINTER (rank + 1));
  g_hash_table_insert (numbers, g_strconcat (line, space + 1, NULL), GINT_TO_POINTER (2 * BYTES + rank + 1));
  return TRUE;
}

/* core_free () */
static char *
read_gzip (const char *path, GError **error)
{
  g_autoptr (GFile) file = g_file_new_for_path (path);
  g_autoptr (GFileInputStream) raw = g_file_read (file, NULL, error);
  g_autoptr (GConverter) inflate = G_CONVERTER (g_zlib_decompressor_new (G_ZLIB_COMPRESSOR_FORMAT_GZIP));
  g_autoptr (GInputStream) plain = raw ? g_converter_input_stream_new (G_INPUT_STREAM (raw), inflate) : NULL;
  core_autofree char *text = plain ? core_alloc (VOCABULARY_MAX + 1, 1, error) : NULL;
  gsize               size;

  if (! text || ! g_input_stream_read_all (plain, text, VOCABULARY_MAX, &size, NULL, error))
    return NULL;
  text[size] = '\0';
  return g_steal_pointer (&text);
}

Tokenizer *
tokenizer_new (const char *path, GError **error)
{
  g_autoptr (Tokenizer) tokenizer = g_new0 (Tokenizer, 1);
  g_autoptr (GHashTable) numbers = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  core_autofree char *text = read_gzip (path, error);
  char               *line = text ? strchr (text, '\n') : NULL; /* the first says where it comes from */
  int                 rank = 0;

  if (! text)
    return NULL;
  tokenizer->merges = g_hash_table_new (hash_pair, g_int64_equal);
  tokenizer->pairs = core_alloc (MERGES, sizeof (gint64), error);
  if (! tokenizer->pairs)
    return NULL;
  make_alphabet (tokenizer, numbers);
  while (line && rank < MERGES)
    {
      char *end = strchr (++line, '\n');

      if (! end)
        break;
      *end = '\0';
      if (! add_merge (tokenizer, numbers, rank, line))
        break;
      rank++;
      line = end;
    }
  if (rank < MERGES)
    {
      g_set_error (
          error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE,
          /* Translators: a file's path; merges are pairs of letters or syllables that become one. */
          C_ ("error", "%s is not CLIP's vocabulary: it has %d merges instead of %d.  Install the program again."),
          path, rank, MERGES);
      return NULL;
    }
  return g_steal_pointer (&tokenizer);
}

void
tokenizer_free (Tokenizer *tokenizer)
{
  if (! tokenizer)
    return;
  g_clear_pointer (&tokenizer->merges, g_hash_table_unref);
  core_free (tokenizer->pairs);
  g_free (tokenizer);
}

/* ---- encoding ---- */

/* Appends a word's numbers: its bytes, of which the pair of lowest rank is merged until there is none. */
static void
encode_word (const Tokenizer *tokenizer, const char *word, gsize length, GArray *ids)
{
  guint           first = ids->len, count = (guint) length;
  g_autofree int *ranks = g_new (int, length); /* of each with the next one; -1: not known yet */

  for (gsize i = 0; i < length; i++)
    {
      int id = tokenizer->byte_ids[(guint8) word[i]] + (i + 1 == length ? BYTES : 0);

      g_array_append_val (ids, id);
      ranks[i] = -1;
    }
  for (;;)
    {
      int  *id = &g_array_index (ids, int, first), best = 0;
      guint to = 0;

      for (guint i = 0; i + 1 < count; i++)
        {
          if (ranks[i] < 0)
            ranks[i] = get_rank (tokenizer, id[i], id[i + 1]);
          if (ranks[i] && (! best || ranks[i] < best))
            best = ranks[i];
        }
      if (! best)
        break;
      for (guint i = 0; i < count; to++)
        if (i + 1 < count && ranks[i] == best)
          {
            id[to] = 2 * BYTES + best - 1;
            ranks[to] = -1;
            if (to > 0)
              ranks[to - 1] = -1;
            i += 2;
          }
        else
          {
            ranks[to] = ranks[i];
            id[to] = id[i++];
          }
      count = to;
    }
  g_array_set_size (ids, first + count);
}

typedef enum
{
  SPACE,
  LETTER,
  NUMBER,
  OTHER
} Class;

static Class
classify (gunichar c)
{
  if (g_unichar_isspace (c))
    return SPACE;
  switch (g_unichar_type (c))
    {
    case G_UNICODE_LOWERCASE_LETTER:
    case G_UNICODE_MODIFIER_LETTER:
    case G_UNICODE_OTHER_LETTER:
    case G_UNICODE_TITLECASE_LETTER:
    case G_UNICODE_UPPERCASE_LETTER:
      return LETTER;
    case G_UNICODE_DECIMAL_NUMBER:
    case G_UNICODE_LETTER_NUMBER:
    case G_UNICODE_OTHER_NUMBER:
      return NUMBER;
    default:
      return OTHER;
    }
}

/* The length of an English ending such as 's at p; 0: there is none. */
static gsize
get_ending (const char *p)
{
  static const char *const endings[] = { "'s", "'t", "'re", "'ve", "'m", "'ll", "'d" };

  for (gsize i = 0; i < G_N_ELEMENTS (endings); i++)
    if (g_str_has_prefix (p, endings[i]))
      return strlen (endings[i]);
  return 0;
}

/* Curly quotes and signs of full width become ASCII, as CLIP's own cleaning (by ftfy) makes them. */
static char *
straighten (const char *text)
{
  GString *straight = g_string_new (NULL);

  for (const char *p = text; *p; p = g_utf8_next_char (p))
    {
      gunichar c = g_utf8_get_char (p);

      if (c == 0x2018 || c == 0x2019)
        c = '\'';
      else if (c == 0x201C || c == 0x201D)
        c = '"';
      else if (c >= 0xFF01 && c <= 0xFF5E)
        c = c - 0xFF01 + '!';
      g_string_append_unichar (straight, c);
    }
  return g_string_free (straight, FALSE);
}

/* As Python's lower () does, whatever the user's language: GLib's own makes Turkish dotless letters of a Turkish user's
 * prompt, which CLIP does not know. */
static char *
lower_case (const char *text)
{
  GString *lower = g_string_new (NULL);
  gunichar before = 0;

  for (const char *p = text; *p; p = g_utf8_next_char (p))
    {
      gunichar c = g_utf8_get_char (p);
      gboolean ends = g_unichar_isalpha (before) && ! g_unichar_isalpha (g_utf8_get_char (g_utf8_next_char (p)));

      if (c == 0x0130) /* I with a dot */
        g_string_append (lower, "i\xcc\x87");
      else
        g_string_append_unichar (lower, c == 0x03A3 && ends ? 0x03C2 : g_unichar_tolower (c)); /* a word's last sigma */
      before = c;
    }
  return g_string_free (lower, FALSE);
}

void
tokenizer_encode (const Tokenizer *tokenizer, const char *text, GArray *ids)
{
  g_autofree char *valid = g_utf8_make_valid (text, -1);
  g_autofree char *straight = straighten (valid);
  g_autofree char *normal = g_utf8_normalize (straight, -1, G_NORMALIZE_DEFAULT_COMPOSE);
  g_autofree char *lower = lower_case (normal);

  for (const char *p = lower, *end; *p; p = end)
    {
      Class class = classify (g_utf8_get_char (p));
      gsize ending = get_ending (p);

      end = ending ? p + ending : g_utf8_next_char (p);
      /* Words and runs of signs are one piece, digits and blanks one each. */
      while (! ending && (class == LETTER || class == OTHER) && *end && classify (g_utf8_get_char (end)) == class)
        end = g_utf8_next_char (end);
      if (class != SPACE)
        encode_word (tokenizer, p, (gsize) (end - p), ids);
    }
}
