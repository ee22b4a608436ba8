/* gimp-diffusion: the commands train and pack
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "pack.h"
#include "run.h"
#include "target.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

#define CROP         64
#define CROP_LEAST   16
#define CROP_MOST    1024
#define MINUTES      60
#define LINE_SECONDS 30 /* between lines when nobody watches the terminal */
#define WIDTH_MOST   1024
#define BLOCKS_MOST  64
#define SAMPLES_MOST 1e12

gboolean
command_pack (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL;
  int          crop = CROP;
  const Option table[] = {
    { "crop", OPTION_INT, &crop, "PX", "skip pictures smaller than this, default 64", 1, CROP_MOST },
  };

  return command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error)
         && pack_folder (files[0], files[1], crop, run_get_cancellable (), error);
}

/* ---- training ---------------------------------------------------------------------------------------------------- */

typedef struct
{
  gboolean             watched;
  gint64               last_line;
  gboolean             any;
  DiffusionTrainReport report;
} Display;

static void
on_report (const DiffusionTrainReport *report, gpointer user_data)
{
  Display         *self = user_data;
  gint64           now = g_get_monotonic_time ();
  g_autofree char *validation = NULL;
  int              left = MAX (report->seconds_left, 0);

  self->report = *report;
  if (! self->watched && self->any && now - self->last_line < LINE_SECONDS * G_USEC_PER_SEC)
    return;
  self->any = TRUE;
  self->last_line = now;
  validation = isfinite (report->validation) ? g_strdup_printf ("%.4f", report->validation) : g_strdup ("not yet");
  printf ("%sloss %.4f  validation %s  %" G_GINT64_FORMAT " samples  %.1f/s  %d:%02d:%02d left%s",
          self->watched ? "\r\033[K" : "", report->loss, validation, report->samples, report->samples_per_second,
          left / 3600, left / 60 % 60, left % 60, self->watched ? "" : "\n");
  fflush (stdout);
}

static void
finish_display (const Display *self)
{
  if (self->watched && self->any)
    putchar ('\n');
}

/* The texts that were given, until they have been turned into DiffusionTrainOptions. */
typedef struct
{
  char    *data, *out, *from, *mix, *widths, *blocks, *license, *note;
  gboolean has_architecture;
} TrainTexts;

static void
train_texts_clear (TrainTexts *texts)
{
  g_free (texts->data);
  g_free (texts->out);
  g_free (texts->from);
  g_free (texts->mix);
  g_free (texts->widths);
  g_free (texts->blocks);
  g_free (texts->license);
  g_free (texts->note);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (TrainTexts, train_texts_clear)

/* The architecture: of --widths and --blocks, of the model to start from, or the default. */
static gboolean
apply_architecture (const TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  DiffusionArchitecture *architecture = &options->architecture;
  int                    levels;

  *architecture = diffusion_architecture_default;
  if (texts->from)
    {
      g_autoptr (DiffusionModel) model = diffusion_model_load (texts->from, error);

      if (! model)
        return FALSE;
      *architecture = *diffusion_model_get_architecture (model);
      if (! texts->widths && ! texts->blocks)
        return TRUE;
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--widths and --blocks do not go with --from: the model to start from has its own");
      return FALSE;
    }
  if (texts->widths)
    {
      if (! option_parse_list ("widths", texts->widths, 8, WIDTH_MOST, architecture->width, DIFFUSION_MAX_LEVELS,
                               &architecture->levels, error))
        return FALSE;
      for (int i = 0; i < architecture->levels; i++)
        architecture->blocks[i] = i < architecture->levels - 1 ? 2 : 4;
    }
  for (int i = 0; i < architecture->levels; i++)
    if (architecture->width[i] % 8)
      {
        g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--widths takes multiples of 8, not %d",
                     architecture->width[i]);
        return FALSE;
      }
  if (! texts->blocks)
    return TRUE;
  if (! option_parse_list ("blocks", texts->blocks, 1, BLOCKS_MOST, architecture->blocks, DIFFUSION_MAX_LEVELS, &levels,
                           error))
    return FALSE;
  if (levels != architecture->levels)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                 "--blocks and --widths must have equally many numbers, not %d and %d", levels, architecture->levels);
  return levels == architecture->levels;
}

static gboolean
apply_texts (TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  int step;

  if (! texts->data || ! texts->out)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--data DIR and --out FILE are needed");
      return FALSE;
    }
  if (! target_check (texts->out, error)) /* not only after hours of work */
    return FALSE;
  if (options->minutes > 0 && options->samples > 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--minutes and --samples do not go together: choose one");
      return FALSE;
    }
  if (options->minutes <= 0 && options->samples <= 0)
    options->minutes = MINUTES;
  if (texts->mix && g_strcmp0 (texts->mix, "denoise") != 0 && g_strcmp0 (texts->mix, "inpaint") != 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--mix takes denoise or inpaint, not \"%s\"",
                   texts->mix);
      return FALSE;
    }
  options->mix = g_strcmp0 (texts->mix, "inpaint") == 0 ? DIFFUSION_TRAIN_INPAINT : DIFFUSION_TRAIN_DENOISE;
  if (texts->from)
    {
      char *path = diffusion_model_find (texts->from, error);

      if (! path)
        return FALSE;
      g_free (texts->from);
      texts->from = path;
    }
  if (! apply_architecture (texts, options, error))
    return FALSE;
  step = 1 << options->architecture.levels;
  if (options->crop % step)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--crop takes multiples of %d with %d widths, not %d", step, options->architecture.levels,
                   options->crop);
      return FALSE;
    }
  options->out = texts->out;
  options->from = texts->from;
  options->license = texts->license;
  options->data = texts->note;
  return TRUE;
}

static gboolean
train (const TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  GCancellable    *cancellable = run_get_cancellable ();
  g_autofree char *packed = NULL, *checkpoint = g_strconcat (options->out, ".checkpoint", NULL);
  g_autoptr (GError) reason = NULL;
  Display  display = { .watched = isatty (STDOUT_FILENO) };
  gboolean done;

  if (g_file_test (texts->data, G_FILE_TEST_IS_REGULAR))
    options->corpus = texts->data;
  else
    options->corpus = packed = pack_folder_cached (texts->data, options->crop, cancellable, error);
  if (! options->corpus)
    return FALSE;
  options->progress = on_report;
  options->progress_data = &display;
  done = diffusion_train (options, cancellable, &reason);
  finish_display (&display);
  if (done)
    printf ("trained: %" G_GINT64_FORMAT " samples in %.1f minutes, loss %.4f, validation %.4f: %s\n",
            display.report.samples, display.report.seconds / 60, display.report.loss, display.report.validation,
            options->out);
  else if (g_error_matches (reason, G_IO_ERROR, G_IO_ERROR_CANCELLED) && g_file_test (checkpoint, G_FILE_TEST_EXISTS))
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED,
                 "Stopped; \"%s\" holds the state: the same command with --resume goes on", checkpoint);
  else
    g_propagate_error (error, g_steal_pointer (&reason));
  return done;
}

gboolean
command_train (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL;
  g_auto (TrainTexts) texts = { 0 };
  DiffusionTrainOptions options = DIFFUSION_TRAIN_OPTIONS_INIT;
  const Option          table[] = {
             { "data", OPTION_FILE, &texts.data, "DIR",
               "a folder of pictures (packed into the cache first), or a corpus file; needed" },
             { "out", OPTION_FILE, &texts.out, "FILE", "the model to write; FILE.checkpoint is kept beside it; needed" },
             { "minutes", OPTION_REAL, &options.minutes, "M", "length of the training, earlier runs included, default 60", 0.01,
               1e6 },
             { "samples", OPTION_LONG, &options.samples, "N", "the same, in samples", 1, SAMPLES_MOST },
             { "resume", OPTION_FLAG, &options.resume, NULL, "go on from FILE.checkpoint if there is one" },
             { "from", OPTION_FILE, &texts.from, "MODEL", "fine-tune this model instead of starting afresh" },
             { "mix", OPTION_TEXT, &texts.mix, "MIX", "what to train for: denoise, the default, or inpaint" },
             { "batch", OPTION_INT, &options.batch, "N", "samples per step, default 16", 1, 1024 },
             { "crop", OPTION_INT, &options.crop, "PX", "edge of a sample in pixels, default 64", CROP_LEAST, CROP_MOST },
             { "rate", OPTION_REAL, &options.learning_rate, "X", "highest learning rate, default 0.001", 1e-7, 1 },
             { "widths", OPTION_TEXT, &texts.widths, "LIST", "channels per level, default 64,128,256" },
             { "blocks", OPTION_TEXT, &texts.blocks, "LIST", "residual blocks per level, default 2,2,4" },
             OPTION_SEED_OF (&options.seed),
             OPTION_THREADS (&options.threads),
             { "license", OPTION_TEXT, &texts.license, "TEXT", "the licence to note in the model" },
             { "data-note", OPTION_TEXT, &texts.note, "TEXT", "the origin of the pictures to note in the model" },
  };

  return command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error) && apply_texts (&texts, &options, error)
         && train (&texts, &options, error);
}
