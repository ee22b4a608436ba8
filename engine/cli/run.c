/* gimp-diffusion: what commands that call a network have in common
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "run.h"

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

/* Prompts and the like, and a checkpoint's own defaults for what was not given. */
static gboolean
apply_checkpoint (const RunOptions *run, DiffusionModel *model, DiffusionOptions *options, GError **error)
{
  const DiffusionCheckpoint *checkpoint = diffusion_model_get_checkpoint (model);

  if (! checkpoint && (run->prompt || run->negative || run->prediction))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--prompt, --negative and --prediction need a Stable Diffusion checkpoint: name one with --model");
      return FALSE;
    }
  if (run->prediction && strcmp (run->prediction, "v") != 0 && strcmp (run->prediction, "epsilon") != 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--prediction takes epsilon or v, not \"%s\"",
                   run->prediction);
      return FALSE;
    }
  if (run->prediction)
    diffusion_model_set_prediction (model,
                                    *run->prediction == 'v' ? DIFFUSION_PREDICTION_V : DIFFUSION_PREDICTION_EPSILON);
  if (checkpoint && ! run->steps)
    options->steps = checkpoint->steps;
  if (checkpoint && ! run->sampler)
    options->sampler = checkpoint->sampler;
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
  path = diffusion_model_find (run->model ? run->model : "default", error);
  model = path ? diffusion_model_load (path, error) : NULL;
  return model && apply_checkpoint (run, model, options, error) ? g_steal_pointer (&model) : NULL;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

static gboolean
on_signal (gpointer user_data)
{
  if (g_cancellable_is_cancelled (user_data))
    _exit (1);
  g_cancellable_cancel (user_data);
  return G_SOURCE_CONTINUE;
}

static gpointer
watch_signals (gpointer context)
{
  for (;;)
    g_main_context_iteration (context, TRUE);
  return NULL;
}

GCancellable *
run_get_cancellable (void)
{
  static GCancellable *cancellable;

  if (! cancellable)
    {
      static const int numbers[] = { SIGINT, SIGTERM };
      GMainContext    *context = g_main_context_new ();

      /* A handler may do next to nothing; GLib's only wakes this thread, which is free to do anything. */
      cancellable = g_cancellable_new ();
      for (gsize i = 0; i < G_N_ELEMENTS (numbers); i++)
        {
          g_autoptr (GSource) source = g_unix_signal_source_new (numbers[i]);

          g_source_set_callback (source, on_signal, cancellable, NULL);
          g_source_attach (source, context);
        }
      g_thread_unref (g_thread_new ("signals", watch_signals, context));
    }
  return cancellable;
}
