/* gimp-diffusion: what commands that call a network have in common
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <glib-unix.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void
run_options_clear (RunOptions *run)
{
  g_clear_pointer (&run->model, g_free);
  g_clear_pointer (&run->sampler, g_free);
  g_clear_pointer (&run->prompt, g_free);
  g_clear_pointer (&run->negative, g_free);
  g_clear_pointer (&run->prediction, g_free);
}

/* ---- progress ---------------------------------------------------------------------------------------------------- */

static void
on_progress (double fraction, gpointer user_data)
{
  static int shown = -1;
  int        percent = fraction * 100;

  if (percent != shown)
    fprintf (stderr, "\r%3d %%", percent);
  shown = percent;
}

void
run_finish_progress (void)
{
  if (isatty (STDERR_FILENO))
    fputs ("\r\033[K", stderr);
}

void
run_print_time (gint64 elapsed, const DiffusionPicture *picture)
{
  double seconds = elapsed / 1e6;
  double megapixels = picture->width * 1e-6 * picture->height;

  printf ("time: %.3f s for %.3f megapixels (%.3f megapixels/s)\n", seconds, megapixels,
          megapixels / MAX (seconds, 1e-6));
}

static void
note_dropped (const DiffusionModel *model, const char *option, const char *prompt)
{
  int dropped = diffusion_model_count_dropped (model, prompt);

  if (dropped > 0)
    fprintf (stderr, "note: %s is too long: the last %d of its tokens, all beyond 75, are left out\n", option, dropped);
}

/* Prompts and the like, and a checkpoint's own defaults for what was not given. */
static gboolean
apply_checkpoint (const RunOptions *run, DiffusionModel *model, DiffusionOptions *options, GError **error)
{
  const DiffusionCheckpoint *checkpoint = diffusion_model_get_checkpoint (model);

  if (! checkpoint && (run->prompt || run->negative || run->prediction || run->guidance >= 0 || run->size))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--prompt, --negative, --guidance, --size and --prediction need a Stable Diffusion checkpoint: name "
                   "one with --model");
      return FALSE;
    }
  if (run->prediction && strcmp (run->prediction, "v") != 0 && strcmp (run->prediction, "epsilon") != 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--prediction takes epsilon or v, not \"%s\"",
                   run->prediction);
      return FALSE;
    }
  if (run->prediction)
    options->prediction = *run->prediction == 'v' ? DIFFUSION_PREDICTION_V : DIFFUSION_PREDICTION_EPSILON;
  if (checkpoint && ! run->steps)
    options->steps = checkpoint->steps;
  if (checkpoint && ! run->sampler)
    options->sampler = checkpoint->sampler;
  note_dropped (model, "--prompt", run->prompt);
  note_dropped (model, "--negative", run->negative);
  options->prompt = run->prompt;
  options->negative = run->negative;
  options->guidance = run->guidance;
  options->size = run->size;
  return TRUE;
}

DiffusionModel *
run_options_apply (const RunOptions *run, DiffusionOptions *options, GError **error)
{
  g_autofree char *path = NULL;
  g_autoptr (DiffusionModel) model = NULL;

  options->steps = run->steps ? run->steps : run->default_steps;
  options->seed = run->seed;
  options->threads = run->threads;
  options->progress = isatty (STDERR_FILENO) ? on_progress : NULL;
  if (run->sampler && ! diffusion_sampler_parse (run->sampler, &options->sampler, error))
    return NULL;
  path = diffusion_model_find (run->model ? run->model : run->usual_model, error);
  model = path ? diffusion_model_load (path, error) : NULL;
  return model && apply_checkpoint (run, model, options, error) ? g_steal_pointer (&model) : NULL;
}

gboolean
run_finish (gboolean done, gint64 start, Photo *photo, const char *path, GError **error)
{
  gint64 elapsed = g_get_monotonic_time () - start;

  run_finish_progress ();
  if (! done || ! photo_write (photo, path, error))
    return FALSE;
  run_print_time (elapsed, photo->picture);
  return TRUE;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static int wake[2]; /* a pipe from the handler to the thread */

/* A handler may do next to nothing; this one wakes the thread, which is free to do anything. */
static void
on_signal (int number)
{
  int before = errno;

  if (write (wake[1], "", 1) < 0)
    errno = before;
}

static gpointer
watch_signals (gpointer cancellable)
{
  char byte;

  for (;;)
    if (read (wake[0], &byte, 1) == 1)
      {
        if (g_cancellable_is_cancelled (cancellable))
          _exit (1);
        g_cancellable_cancel (cancellable);
      }
  return NULL;
}

GCancellable *
run_get_cancellable (void)
{
  static GCancellable *cancellable;
  GThread             *thread;

  if (cancellable)
    return cancellable;
  cancellable = g_cancellable_new ();
  /* By hand: GLib's own signal sources abort where there is no memory for its thread.  Here the signals then do what
   * they do to any program. */
  thread = g_unix_open_pipe (wake, FD_CLOEXEC, NULL) ? g_thread_try_new ("signals", watch_signals, cancellable, NULL)
                                                     : NULL;
  if (thread)
    {
      struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, before;

      g_thread_unref (thread);
      sigaction (SIGINT, &action, NULL);
      sigaction (SIGTERM, &action, NULL);
      /* A terminal that is closed; nohup has it ignored. */
      if (sigaction (SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
        sigaction (SIGHUP, &action, NULL);
    }
  return cancellable;
}
