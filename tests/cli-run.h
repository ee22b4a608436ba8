/* gimp-diffusion: the program `diffusion`, run as a user runs it
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The environment variable DIFFUSION_PROGRAM names the program; DIFFUSION_MODELS may name a folder that has the default
 * model.
 */
#pragma once

#include "cli-image.h"

typedef struct
{
  int   status;
  char *out, *err;
} Result;

void result_clear (Result *result);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Result, result_clear)

/* Starts the program; file_size_most: the largest file that it may write, 0: any. */
GSubprocess *start_with (const char *const *arguments, gsize file_size_most);
/* The same with words before the program's name: a launcher. */
GSubprocess *start_under (const char *const *before, const char *const *arguments, gsize file_size_most);
Result       run_under (const char *const *before, const char *const *arguments);
Result       run_with (const char *const *arguments, gsize file_size_most);
/* Runs what must succeed; returns what it printed. */
char *run_fine (const char *const *arguments);
/* A failure as the user should see it: status 1 and one line on stderr that has the word. */
void assert_refused (const Result *result, const char *word);
void refused (const char *word, const char *const *arguments);

#define RUN(...)           run_with ((const char *const[]){ __VA_ARGS__, NULL }, 0)
#define FINE(...)          g_free (run_fine ((const char *const[]){ __VA_ARGS__, NULL }))
#define OUTPUT(...)        run_fine ((const char *const[]){ __VA_ARGS__, NULL })
#define REFUSED(word, ...) refused (word, (const char *const[]){ __VA_ARGS__, NULL })

/* A path in the test's own folder. */
char *in_folder (const char *name);
/* The number behind the key's first place in what a command printed. */
double get_value (const char *text, const char *key);
/* How many files a folder has, for temporary ones must not be left behind. */
int count_entries (const char *path);

/* Any picture that the program reads, by way of a PNG file. */
Image *image_read_any (const char *path);
/* A folder of 3 pictures to train on, made once. */
char *get_pictures (void);
/* A model trained for a moment, made once; and how `train` makes such models. */
#define TINY "--widths", "8,16", "--blocks", "1,1", "--crop", "32", "--batch", "8", "--threads", "2"
const char *get_model (void);
/* A path in the test's folder with a picture just made. */
char *make_png (const char *name, int width, int height, int channels, int bits, double noise);

typedef struct
{
  const char *name;
  GTestFunc   function;
} CliTest;

/* main () of such a test. */
int cli_main (int argc, char **argv, const CliTest *tests, gsize count);
