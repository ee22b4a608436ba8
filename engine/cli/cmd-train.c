/* gimp-diffusion: the commands train and pack
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "journal.h"
#include "pack.h"
#include "picture-io.h"
#include "run.h"
#include "target.h"
#include "team.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define CROP         64
#define CROP_LEAST   16
#define CROP_MOST    1024
#define BATCH        16
#define RATE         1e-3
#define MINUTES      60
#define EVERY        5    /* minutes between checkpoints, or: */
#define SHARES       12.0 /* this part of the training, if that is less */
#define WIDTH_MOST   1024
#define BLOCKS_MOST  32
#define SAMPLES_MOST 1e12

/* A style is not learned from nothing, and not so fast that what is known of pictures gets lost.  Brush strokes are
 * larger than the default crop. */
#define STYLE_CROP  128
#define STYLE_BATCH 8
#define STYLE_RATE  2e-4
#define STYLE_FROM  DIFFUSION_MODEL_FILL

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

/* ---- what was asked for ------------------------------------------------------------------------------------------ */

/* The texts that were given, until they have been turned into DiffusionTrainOptions. */
typedef struct
{
  char *data, *out, *style, *from, *mix, *widths, *blocks, *license, *note, *try;
} TrainTexts;

static void
train_texts_clear (TrainTexts *texts)
{
  g_free (texts->data);
  g_free (texts->out);
  g_free (texts->style);
  g_free (texts->try);
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
      if (! diffusion_model_get_architecture (model))
        {
          g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                       "%s is a Stable Diffusion checkpoint, which this program does not train", texts->from);
          return FALSE;
        }
      *architecture = *diffusion_model_get_architecture (model);
      if (texts->widths)
        {
          g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                       "--widths does not go with --from: the model to start from has its own");
          return FALSE;
        }
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

/* What --style stands for: a fine-tuned model in the user's own folder, where it is found by name. */
static gboolean
apply_style (TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  /* The models of this program: its next installation would take the place of one that is called so. */
  static const char *const ours[] = { DIFFUSION_MODEL_DENOISE, DIFFUSION_MODEL_FILL, "painting", "drawing", NULL };

  g_autofree char *folder = g_build_filename (g_get_user_data_dir (), "gimp-diffusion", "models", NULL);
  g_autofree char *name = NULL;

  if (! *texts->style || strchr (texts->style, '/') || *texts->style == '.')
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--style takes a name for the style, such as watercolour, not \"%s\"", texts->style);
      return FALSE;
    }
  if (! texts->out && g_strv_contains (ours, texts->style))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--style takes a name that is not taken: this program has a model \"%s\"; --out can put another one "
                   "elsewhere",
                   texts->style);
      return FALSE;
    }
  if (! texts->out)
    {
      if (g_mkdir_with_parents (folder, 0755) != 0)
        {
          g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The folder \"%s\" could not be made: %s", folder,
                       g_strerror (errno));
          return FALSE;
        }
      name = g_strconcat (texts->style, ".safetensors", NULL);
      texts->out = g_build_filename (folder, name, NULL);
    }
  if (! texts->from && ! texts->widths)
    texts->from = g_strdup (STYLE_FROM);
  if (! texts->mix)
    texts->mix = g_strdup ("style");
  options->crop = options->crop ? options->crop : STYLE_CROP;
  options->batch = options->batch ? options->batch : STYLE_BATCH;
  options->learning_rate = options->learning_rate > 0 ? options->learning_rate : STYLE_RATE;
  return TRUE;
}

static gboolean
apply_mix (const TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  static const char *const names[] = {
    [DIFFUSION_TRAIN_DENOISE] = "denoise", [DIFFUSION_TRAIN_INPAINT] = "inpaint", [DIFFUSION_TRAIN_STYLE] = "style"
  };

  options->mix = DIFFUSION_TRAIN_DENOISE;
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    if (g_strcmp0 (texts->mix, names[i]) == 0)
      {
        options->mix = (DiffusionTrainMix) i;
        return TRUE;
      }
  if (texts->mix)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--mix takes denoise, inpaint or style, not \"%s\"",
                 texts->mix);
  return ! texts->mix;
}

/* The options that were not given. */
static void
apply_defaults (DiffusionTrainOptions *options)
{
  if (options->minutes <= 0 && options->samples <= 0)
    options->minutes = MINUTES;
  options->crop = options->crop ? options->crop : CROP;
  options->batch = options->batch ? options->batch : BATCH;
  options->learning_rate = options->learning_rate > 0 ? options->learning_rate : RATE;
  if (options->checkpoint_minutes <= 0)
    options->checkpoint_minutes = options->minutes > 0 ? MIN (EVERY, options->minutes / SHARES) : EVERY;
}

static gboolean
apply_texts (TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  int step;

  if (texts->style && ! apply_style (texts, options, error))
    return FALSE;
  if (! texts->out)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--style NAME or --out FILE is needed: what to call the model");
      return FALSE;
    }
  if (options->team.rank == 0 && ! target_check (texts->out, error)) /* not only after hours of work */
    return FALSE;
  if (options->minutes > 0 && options->samples > 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--minutes and --samples do not go together: choose one");
      return FALSE;
    }
  apply_defaults (options);
  if (! apply_mix (texts, options, error))
    return FALSE;
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

/* ---- training ---------------------------------------------------------------------------------------------------- */

/* What samples are made of: the picture that was asked for, or the first of the folder, which is not trained on if
 * there are enough of them; a packed corpus has none. */
static gboolean
prepare_journal (Journal *journal, const TrainTexts *texts, const DiffusionTrainOptions *options,
                 GCancellable *cancellable, GError **error)
{
  const gboolean   folder = g_file_test (texts->data, G_FILE_TEST_IS_DIR);
  g_autofree char *path = texts->try ? g_strdup (texts->try) : folder ? pack_find_first (texts->data) : NULL;
  g_autoptr (Photo) photo = path ? photo_read (path, TRUE, error) : NULL;

  return (photo || ! path) && journal_init (journal, options, photo ? photo->picture : NULL, path, cancellable, error);
}

static gboolean
run_training (const DiffusionTrainOptions *options, Journal *journal, GCancellable *cancellable, GError **error)
{
  g_autofree char *checkpoint = g_strconcat (options->out, ".checkpoint", NULL);
  g_autoptr (GError) reason = NULL;
  gboolean done = diffusion_train (options, cancellable, &reason);

  journal_finish_line (journal);
  if (journal->trouble)
    fprintf (stderr, "note: not all of \"%s\" could be written: %s\n", journal->folder, journal->trouble->message);
  if (done)
    printf ("trained: %" G_GINT64_FORMAT " samples in %.1f minutes, loss %.4f, validation %.4f: %s\n"
            "waited for samples: %.1f s\n"
            "curve and samples: %s\n",
            journal->report.samples, journal->report.seconds / 60, journal->report.loss, journal->report.validation,
            options->out, journal->report.waited, journal->folder);
  else if (g_error_matches (reason, G_IO_ERROR, G_IO_ERROR_CANCELLED) && g_file_test (checkpoint, G_FILE_TEST_EXISTS))
    g_set_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED,
                 "Stopped; \"%s\" holds the state: the same command with --resume goes on", checkpoint);
  else
    g_propagate_error (error, g_steal_pointer (&reason));
  return done;
}

/* The corpus file; of several processes on one machine the first packs it, and the others find it in the cache. */
static char *
find_corpus (const TrainTexts *texts, const DiffusionTrainOptions *options, GCancellable *cancellable, GError **error)
{
  gboolean         packed = g_file_test (texts->data, G_FILE_TEST_IS_REGULAR), first = options->team.rank == 0;
  g_autofree char *path = NULL;

  if (packed)
    return g_strdup (texts->data);
  if (first && ! (path = pack_folder_cached (texts->data, options->crop, cancellable, error)))
    return NULL;
  if (! team_wait (&options->team, error))
    return NULL;
  return first ? g_steal_pointer (&path) : pack_folder_cached (texts->data, options->crop, cancellable, error);
}

static gboolean
train (const TrainTexts *texts, DiffusionTrainOptions *options, GError **error)
{
  GCancellable    *cancellable = run_get_cancellable ();
  g_autofree char *corpus = find_corpus (texts, options, cancellable, error);
  g_auto (Journal) journal = { 0 };

  if (! corpus)
    return FALSE;
  options->corpus = corpus;
  if (options->team.rank > 0)
    {
      g_autoptr (GError) reason = NULL;
      /* What stops all is told once. */
      gboolean done = diffusion_train (options, cancellable, &reason)
                      || g_error_matches (reason, G_IO_ERROR, G_IO_ERROR_CANCELLED);

      if (! done)
        g_propagate_error (error, g_steal_pointer (&reason));
      return done;
    }
  if (! prepare_journal (&journal, texts, options, cancellable, error))
    return FALSE;
  options->progress = journal_report;
  options->progress_data = &journal;
  options->on_stock = journal_take_stock;
  options->stock_data = &journal;
  return run_training (options, &journal, cancellable, error);
}

gboolean
command_train (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL;
  g_auto (TrainTexts) texts = { 0 };
  DiffusionTrainOptions options = DIFFUSION_TRAIN_OPTIONS_INIT;
  g_autoptr (GError) reason = NULL;
  gboolean     done;
  const Option table[] = {
    { "data", OPTION_FILE, &texts.data, "DIR",
      "the folder of pictures to learn from, 20 or more, or a packed corpus file", .needed = TRUE },
    { "style", OPTION_TEXT, &texts.style, "NAME",
      "learn a style: the model NAME goes to your own models folder, and the dialog of Regenerate lists it; as "
      "--from " STYLE_FROM ", --mix style, --crop 128, --batch 8, --rate 0.0002, unless these are given" },
    { "try", OPTION_FILE, &texts.try, "FILE",
      "a photograph to denoise or redraw every few minutes, to see how far it is; default: the first picture of DIR" },
    { "minutes", OPTION_REAL, &options.minutes, "M",
      "how long to train, earlier runs included, default 60; Ctrl-C stops before, and loses nothing", 0.01, 1e6 },
    { "samples", OPTION_LONG, &options.samples, "N", "the same, counted in samples", 1, SAMPLES_MOST },
    { "resume", OPTION_FLAG, &options.resume, NULL,
      "go on where a stopped or finished run of the same model ended; without a checkpoint it starts. Not given, a "
      "checkpoint that is there becomes *.checkpoint.old" },
    { "every", OPTION_REAL, &options.checkpoint_minutes, "M",
      "minutes between saves, points of the curve and sample pictures, default 5, or a twelfth of --minutes", 0.1,
      1e6 },
    { "out", OPTION_FILE, &texts.out, "FILE",
      "the model to write, if not by --style; beside it are FILE.checkpoint, to go on from, and a folder "
      "*.progress with the curve (PNG, CSV) and the sample pictures" },
    { "from", OPTION_FILE, &texts.from, "MODEL", "start from this model instead of knowing nothing" },
    { "mix", OPTION_TEXT, &texts.mix, "MIX", "what to train for: denoise, the default, inpaint or style" },
    { "batch", OPTION_INT, &options.batch, "N", "samples per step, default 16", 1, 1024 },
    { "crop", OPTION_INT, &options.crop, "PX",
      "edge of a sample in pixels, default 64; smaller pictures of a folder are left out", CROP_LEAST, CROP_MOST },
    { "rate", OPTION_REAL, &options.learning_rate, "X",
      "how fast to learn at most, default 0.001; too fast, and it forgets what pictures look like", 1e-7, 1 },
    { "widths", OPTION_TEXT, &texts.widths, "LIST", "channels per level of a new network, default 64,128,256" },
    { "blocks", OPTION_TEXT, &texts.blocks, "LIST",
      "residual blocks per level, default 2,2,4 or those of --from; additional ones begin as doing nothing" },
    OPTION_SEED_OF (&options.seed),
    OPTION_THREADS (&options.threads),
    { "license", OPTION_TEXT, &texts.license, "TEXT", "the licence to note in the model" },
    { "data-note", OPTION_TEXT, &texts.note, "TEXT", "the origin of the pictures to note in the model" },
  };

  /* 0: not given, so that --style knows what it may set. */
  options.batch = options.crop = 0;
  options.learning_rate = options.checkpoint_minutes = 0;
  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error) || ! team_join (&options.team, error)
      || ! apply_texts (&texts, &options, error))
    return FALSE;
  done = train (&texts, &options, &reason);
  if (done || g_error_matches (reason, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    team_leave (&options.team);
  if (! done)
    g_propagate_error (error, g_steal_pointer (&reason));
  return done;
}
