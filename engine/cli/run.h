/* gimp-diffusion: what commands that call a network have in common
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "command.h"

G_BEGIN_DECLS

/* What the user asked for; steps and sampler hold the command's defaults before parsing. */
typedef struct
{
  char   *model;
  int     steps;
  char   *sampler;
  guint64 seed;
  int     threads;
} RunOptions;

void run_options_clear (RunOptions *run);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (RunOptions, run_options_clear)

/* clang-format off */
#define OPTION_THREADS(target) \
  { "threads", OPTION_INT, (target), "N", "processor cores to use; 0, the default: all", 0, 1024 }
#define OPTION_SEED_OF(target) \
  { "seed", OPTION_SEED, (target), "N", "start of the random numbers, default 0: the same seed gives the same result" }
#define OPTION_MASK(target) \
  { "mask", OPTION_FILE, (target), "FILE", "a picture of the same size: white is worked on, black is left alone" }

/* The first entries of a table of options. */
#define RUN_OPTIONS(run, default_steps, default_sampler) \
  { "model", OPTION_FILE, &(run).model, "FILE", "model file, or the name of an installed model; default: default" }, \
  { "steps", OPTION_INT, &(run).steps, "N", "network calls per pixel, 1 to 1000, default " default_steps, 1, \
    DIFFUSION_MAX_STEPS }, \
  { "sampler", OPTION_TEXT, &(run).sampler, "NAME", "ddpm, ddim or dpm++2m, default " default_sampler }, \
  OPTION_SEED_OF (&(run).seed), OPTION_THREADS (&(run).threads)
/* clang-format on */

/* Finds and loads the model and fills the engine's options, with a progress display if a person is watching. */
DiffusionModel *run_options_apply (const RunOptions *run, DiffusionOptions *options, GError **error);

/* Removes the progress display. */
void run_finish_progress (void);

/* Prints what the work took, in microseconds, and the picture's size. */
void run_print_time (gint64 elapsed, const DiffusionPicture *picture);

/* Triggered by SIGINT and SIGTERM from the first call on; a second signal ends the program at once. */
GCancellable *run_get_cancellable (void);

G_END_DECLS
