/* From a prompt to token numbers.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

/* CLIP's byte-pair encoding (Radford et al. 2021): 49,152 words and parts of words, and a token for each end. */
#define PROMPT_START  49406
#define PROMPT_END    49407
#define PROMPT_LENGTH 77

typedef struct _Tokenizer Tokenizer;

/* Reads the vocabulary, CLIP's own file of merges, gzipped. */
Tokenizer *tokenizer_new (const char *path, GError **error);
void       tokenizer_free (Tokenizer *tokenizer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Tokenizer, tokenizer_free)

/* Appends the numbers (int) of a text, in UTF-8: normalized (NFC), in lower case, split into words, each merged from
 * its bytes by rank. */
void tokenizer_encode (const Tokenizer *tokenizer, const char *text, GArray *ids);

/* A prompt as the text encoder takes it: start, up to 75 tokens, end, padding. */
typedef struct
{
  int      ids[PROMPT_LENGTH];
  float    weights[PROMPT_LENGTH]; /* 1: as it is */
  gboolean weighted;               /* some weight is not 1 */
  int      dropped;                /* tokens that did not fit in */
} Prompt;

/* Weights as users of other programs know them: (words) times 1.1, [words] divided by 1.1, (words:1.3) times 1.3,
 * nested ones multiplied, \( and \) and so on for the characters themselves.  A bracket that is never closed is one of
 * these too.  padding: the token that fills up the rest. */
void prompt_parse (const Tokenizer *tokenizer, const char *text, int padding, Prompt *prompt);
