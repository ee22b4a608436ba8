/* Prompts with weights.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "prompt.h"

#include <math.h>
#include <string.h>

#define ROUND  1.1
#define SQUARE (1 / 1.1)
/* Beyond these nothing sensible comes out. */
#define WEIGHT_MAX 10.0
#define DEPTH_MAX  64
/* Of a bracket among others: an infinite weight times 0 is no number. */
#define WEIGHT_HUGE 1e30

typedef struct
{
  GString *text;
  double   weight;
} Piece;

static void
clear_piece (gpointer piece)
{
  g_string_free (((Piece *) piece)->text, TRUE);
}

static Piece *
start_piece (GArray *pieces)
{
  Piece piece = { g_string_new (NULL), 1 };

  g_array_append_val (pieces, piece);
  return &g_array_index (pieces, Piece, pieces->len - 1);
}

/* "words:1.3" -> "words" and 1.3; FALSE when there is no number. */
static gboolean
take_number (GString *text, double *number)
{
  const char *colon = strrchr (text->str, ':');
  char       *end;
  double      value;

  if (! colon)
    return FALSE;
  value = g_ascii_strtod (colon + 1, &end);
  while (g_ascii_isspace (*end))
    end++;
  if (end == colon + 1 || *end || ! isfinite (value))
    return FALSE;
  *number = value;
  g_string_truncate (text, (gsize) (colon - text->str));
  return TRUE;
}

/* What an open bracket encloses: the pieces from `first` on. */
typedef struct
{
  guint first;
  char  close;
} Open;

/* Only a bracket that the prompt closes itself has a number: in one that is left open it is text. */
static void
close_bracket (GArray *pieces, const Open *open, gboolean closed)
{
  double factor = open->close == ']' ? SQUARE : ROUND;

  if (closed && open->close == ')' && pieces->len > open->first)
    take_number (g_array_index (pieces, Piece, pieces->len - 1).text, &factor);
  for (guint i = open->first; i < pieces->len; i++)
    {
      double *weight = &g_array_index (pieces, Piece, i).weight;

      *weight = CLAMP (*weight * factor, -WEIGHT_HUGE, WEIGHT_HUGE);
    }
}

static GArray *
split (const char *text)
{
  GArray *pieces = g_array_new (FALSE, FALSE, sizeof (Piece));
  Open    open[DEPTH_MAX];
  int     depth = 0;
  Piece  *piece;

  g_array_set_clear_func (pieces, clear_piece);
  piece = start_piece (pieces);
  for (const char *p = text; *p; p++)
    if (*p == '\\' && p[1] && strchr ("()[]\\", p[1]))
      g_string_append_c (piece->text, *++p);
    else if ((*p == '(' || *p == '[') && depth < DEPTH_MAX)
      {
        piece = start_piece (pieces);
        open[depth++] = (Open){ pieces->len - 1, *p == '(' ? ')' : ']' };
      }
    else if (depth > 0 && *p == open[depth - 1].close)
      {
        close_bracket (pieces, &open[--depth], TRUE);
        piece = start_piece (pieces);
      }
    else
      g_string_append_c (piece->text, *p);
  while (depth > 0)
    close_bracket (pieces, &open[--depth], FALSE);
  return pieces;
}

void
prompt_parse (const Tokenizer *tokenizer, const char *text, int padding, Prompt *prompt)
{
  g_autoptr (GArray) pieces = split (text ? text : "");
  g_autoptr (GArray) ids = g_array_new (FALSE, FALSE, sizeof (int));
  int length = 1;

  *prompt = (Prompt){ .ids = { PROMPT_START } };
  for (int i = 0; i < PROMPT_LENGTH; i++)
    prompt->weights[i] = 1;
  for (guint i = 0; i < pieces->len; i++)
    {
      const Piece *piece = &g_array_index (pieces, Piece, i);

      g_array_set_size (ids, 0);
      tokenizer_encode (tokenizer, piece->text->str, ids);
      for (guint j = 0; j < ids->len; j++)
        {
          if (length == PROMPT_LENGTH - 1)
            {
              prompt->dropped++;
              continue;
            }
          prompt->ids[length] = g_array_index (ids, int, j);
          prompt->weights[length] = (float) CLAMP (piece->weight, -WEIGHT_MAX, WEIGHT_MAX);
          prompt->weighted |= fabs (piece->weight - 1) > 1e-6;
          length++;
        }
    }
  prompt->ids[length++] = PROMPT_END;
  while (length < PROMPT_LENGTH)
    prompt->ids[length++] = padding;
}
