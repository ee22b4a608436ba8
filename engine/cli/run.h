/* gimp-diffusion: what commands that call a network have in common
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "command.h"
#include "picture-io.h"

G_BEGIN_DECLS

/* What the user asked for; sampler holds the command's default before parsing, and so does steps, or it is 0: then
 * default_steps count, or a checkpoint's own number. */
typedef struct
{
  char       *model;
  const char *usual_model; /* if model is NULL */
  int         steps, default_steps;
  char       *sampler;
  guint64     seed;
  int         threads;

  /* For Stable Diffusion checkpoints. */
  char  *prompt, *negative, *prediction;
  double guidance; /* negative: not given */
  int    size;
} RunOptions;

#define RUN_OPTIONS_INIT(...)                                                                                          \
  {                                                                                                                    \
    .guidance = -1, __VA_ARGS__                                                                                        \
  }
#define RUN_OPTIONS_PAINT(steps) RUN_OPTIONS_INIT (.usual_model = DIFFUSION_MODEL_FILL, .default_steps = (steps))

void run_options_clear (RunOptions *run);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RunOptions, run_options_clear)

/* clang-format off */
#define OPTION_THREADS(target) \
  { "threads", OPTION_INT, (target), "N", "processor cores to use, 256 at most; 0, the default: all", 0, 1024 }
#define OPTION_SEED_OF(target) \
  { "seed", OPTION_SEED, (target), "N", "start of the random numbers, default 0: the same seed gives the same result" }
#define OPTION_MASK(target) \
  { "mask", OPTION_FILE, (target), "FILE", "a picture of the same size: white is worked on, black is left alone" }

/* The first entries of a table of options. */
#define RUN_OPTIONS(run, usual_model, default_steps, default_sampler) \
  { "model", OPTION_FILE, &(run).model, "FILE", "model file, or the name of an installed model; default: " \
    usual_model }, \
  { "steps", OPTION_INT, &(run).steps, "N", "network calls per pixel, 1 to 1000, default " default_steps, 1, \
    DIFFUSION_MAX_STEPS }, \
  { "sampler", OPTION_TEXT, &(run).sampler, "NAME", "ddpm, ddim, dpm++2m, euler, euler-a or lcm, default " \
    default_sampler }, \
  OPTION_SEED_OF (&(run).seed), OPTION_THREADS (&(run).threads)

/* After the defaults above, where Stable Diffusion checkpoints serve too. */
#define CHECKPOINTS_OWN "; a checkpoint has its own"

/* The last entries, where Stable Diffusion checkpoints serve too. */
#define PROMPT_OPTIONS(run) \
  { "prompt", OPTION_TEXT, &(run).prompt, "TEXT", \
    "what is to be seen; (words:1.3) gives words more weight.  The last five are for Stable Diffusion checkpoints" }, \
  { "negative", OPTION_TEXT, &(run).negative, "TEXT", "what is not to be seen" }, \
  { "guidance", OPTION_REAL, &(run).guidance, "X", \
    "how strongly the prompt counts, 0 to 100; 1: no negative prompt, half the time; default: by the checkpoint", 0, 100 }, \
  { "size", OPTION_INT, &(run).size, "PIXELS", \
    "edge of what the network sees at once, a multiple of 64; default: the checkpoint's own; less is faster", 64, 2048 }, \
  { "prediction", OPTION_TEXT, &(run).prediction, "TYPE", \
    "what the checkpoint's network predicts, epsilon or v; default: found out" }
/* clang-format on */

/* Finds and loads the model and fills the engine's options, with a progress display if a person is watching. */
DiffusionModel *run_options_apply (const RunOptions *run, DiffusionOptions *options, GError **error);

/* Removes the progress display. */
void run_finish_progress (void);

/* Ends work that was started at `start` (g_get_monotonic_time ()): if it is done, writes the photo and prints the time
 * that it took without the writing; else error is set already. */
gboolean run_finish (gboolean done, gint64 start, Photo *photo, const char *path, GError **error);

/* Prints what the work took, in microseconds, and the picture's size. */
void run_print_time (gint64 elapsed, const DiffusionPicture *picture);

/* Triggered by SIGINT and SIGTERM from the first call on; a second signal ends the program at once. */
GCancellable *run_get_cancellable (void);

G_END_DECLS
