/* gimp-diffusion: what a training shows and writes down as it goes on
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "journal.h"

#include "canvas.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LINE_SECONDS 30  /* between lines when nobody watches the terminal, */
#define BAR_SECONDS  0.2 /* and when somebody does */
#define BAR_WIDTH    24  /* characters */
#define LINE_WIDTH   108 /* of the whole line, with millions of samples */
#define CSV_NAME     "curve.csv"
#define CSV_TITLE    "samples,minutes,loss,validation\n"
#define PLOT_WIDTH   720
#define PLOT_HEIGHT  420

#define SAMPLE_EDGE  224
#define SAMPLE_STEPS 16
#define SAMPLE_SEED  1
#define MARGIN       10
#define TEXT         12

/* Samples: what becomes of a picture to which noise of a level was added. */
typedef struct
{
  double      level; /* picture units */
  int         steps; /* of taking it away again; 0: it stays */
  const char *label;
} Sample;

/* A denoiser takes photographs' noise away in one call; all else draws anew what noise has hidden, the last time all of
 * it: whatever is beneath pure noise is gone. */
#define SAMPLES 4
static const Sample denoised[SAMPLES] = { { 25.0 / 255, 0, "noise 25" },
                                          { 25.0 / 255, 1, "taken away" },
                                          { 50.0 / 255, 0, "noise 50" },
                                          { 50.0 / 255, 1, "taken away" } };
static const Sample redrawn[SAMPLES] = { { 40.0 / 255, SAMPLE_STEPS, "from noise 40" },
                                         { 80.0 / 255, SAMPLE_STEPS, "from noise 80" },
                                         { 140.0 / 255, SAMPLE_STEPS, "from noise 140" },
                                         { DIFFUSION_LEVEL_MOST, SAMPLE_STEPS, "from nothing but noise" } };

typedef struct
{
  double samples, minutes, loss, validation;
} Point;

/* ---- beginning and end ------------------------------------------------------------------------------------------- */

/* What an earlier run has measured; lines of another form are left out. */
static void
read_curve (Journal *self)
{
  g_autofree char *path = g_build_filename (self->folder, CSV_NAME, NULL), *text = NULL;
  g_auto (GStrv) lines = NULL;

  if (! g_file_get_contents (path, &text, NULL, NULL))
    return;
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    {
      const char *at = *line;
      char       *end = NULL;
      double      values[4];
      int         count = 0;

      for (; count < 4; count++, at = end + (*end == ','))
        {
          values[count] = g_ascii_strtod (at, &end);
          if (end == at)
            break;
        }
      if (count == 4 && ! *end)
        {
          Point point = { values[0], values[1], values[2], values[3] };

          g_array_append_val (self->points, point);
        }
    }
}

gboolean
journal_init (Journal *self, const DiffusionTrainOptions *options, const DiffusionPicture *picture, const char *path,
              GCancellable *cancellable, GError **error)
{
  const char      *out = options->out, *dot = strrchr (out, '.');
  g_autofree char *stem = dot && ! strchr (dot, '/') ? g_strndup (out, dot - out) : g_strdup (out);

  *self = (Journal){ .watched = isatty (STDOUT_FILENO),
                     .folder = g_strconcat (stem, JOURNAL_SUFFIX, NULL),
                     .picture = picture ? canvas_reduce (picture, path, SAMPLE_EDGE, error) : NULL,
                     .points = g_array_new (FALSE, FALSE, sizeof (Point)),
                     .mix = options->mix,
                     .threads = options->threads,
                     .cancellable = cancellable };
  if (picture && ! self->picture)
    return FALSE;
  if (g_mkdir_with_parents (self->folder, 0755) != 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The folder \"%s\" could not be made: %s",
                   self->folder, g_strerror (errno));
      return FALSE;
    }
  if (options->resume)
    read_curve (self);
  return TRUE;
}

void
journal_clear (Journal *self)
{
  g_clear_pointer (&self->folder, g_free);
  g_clear_pointer (&self->picture, diffusion_picture_free);
  g_clear_pointer (&self->points, g_array_unref);
  g_clear_error (&self->trouble);
}

/* ---- the terminal ------------------------------------------------------------------------------------------------ */

/* Whether a terminal would break the whole line, whose first part the next one could not wipe out. */
static gboolean
is_narrow (const Journal *self)
{
  struct winsize size = { 0 };

  return self->watched && ioctl (STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_col < LINE_WIDTH;
}

void
journal_report (const DiffusionTrainReport *report, gpointer user_data)
{
  Journal         *self = user_data;
  gint64           now = g_get_monotonic_time ();
  g_autofree char *validation = NULL;
  int              left = MAX (report->seconds_left, 0);

  self->report = *report;
  if (self->last_line && now - self->last_line < (self->watched ? BAR_SECONDS : LINE_SECONDS) * G_USEC_PER_SEC)
    return;
  self->last_line = now;
  validation = isfinite (report->validation) ? g_strdup_printf ("%.4f", report->validation) : g_strdup ("not yet");
  if (self->watched)
    {
      double done = report->seconds / MAX (report->seconds + report->seconds_left, 1e-6);
      char   bar[BAR_WIDTH + 1];

      for (int i = 0; i < BAR_WIDTH; i++)
        bar[i] = i < done * BAR_WIDTH ? '#' : '-';
      bar[BAR_WIDTH] = '\0';
      printf ("\r\033[K[%s] %3.0f %%  ", bar, 100 * done);
    }
  if (is_narrow (self))
    printf ("loss %.4f  %" G_GINT64_FORMAT " samples", report->loss, report->samples);
  else
    printf ("loss %.4f  validation %s  %" G_GINT64_FORMAT " samples  %.1f/s", report->loss, validation, report->samples,
            report->samples_per_second);
  printf ("  %d:%02d:%02d left%s", left / 3600, left / 60 % 60, left % 60, self->watched ? "" : "\n");
  fflush (stdout);
}

void
journal_finish_line (const Journal *self)
{
  if (self->watched && self->last_line)
    putchar ('\n');
}

/* ---- the curve --------------------------------------------------------------------------------------------------- */

static gboolean
write_csv (const Journal *self, GError **error)
{
  g_autofree char *path = g_build_filename (self->folder, CSV_NAME, NULL);
  g_autoptr (GString) text = g_string_new (CSV_TITLE);

  for (guint i = 0; i < self->points->len; i++)
    {
      const Point *point = &g_array_index (self->points, Point, i);
      const double values[] = { point->samples, point->minutes, point->loss, point->validation };

      for (gsize k = 0; k < G_N_ELEMENTS (values); k++)
        {
          char number[G_ASCII_DTOSTR_BUF_SIZE];

          g_string_append (text, g_ascii_formatd (number, sizeof number,
                                                  k < 1   ? "%.0f"
                                                  : k < 2 ? "%.2f"
                                                          : "%.5f",
                                                  values[k]));
          g_string_append_c (text, k + 1 < G_N_ELEMENTS (values) ? ',' : '\n');
        }
    }
  return g_file_set_contents (path, text->str, text->len, error);
}

static gboolean
draw_curve (const Journal *self, GError **error)
{
  guint              count = self->points->len;
  g_autofree char   *path = g_build_filename (self->folder, "curve.png", NULL);
  g_autofree double *samples = g_new (double, count), *loss = g_new (double, count),
                    *validation = g_new (double, count);
  g_autoptr (cairo_t) canvas = canvas_new (PLOT_WIDTH, PLOT_HEIGHT, error);
  const double *blue = plot_colours[0], *red = plot_colours[1];
  PlotSeries    series[] = {
       { "on pictures kept aside", samples, validation, count, FALSE, { blue[0], blue[1], blue[2] } },
       { NULL, samples, validation, count, TRUE, { blue[0], blue[1], blue[2] } },
       { "in training", samples, loss, count, FALSE, { red[0], red[1], red[2] } },
  };
  Plot plot = { "Training", "samples", "loss", FALSE, series, G_N_ELEMENTS (series) };

  if (! canvas)
    return FALSE;
  for (guint i = 0; i < count; i++)
    {
      const Point *point = &g_array_index (self->points, Point, i);

      samples[i] = point->samples;
      loss[i] = point->loss;
      validation[i] = point->validation;
    }
  plot_draw (canvas, 0, 0, PLOT_WIDTH, PLOT_HEIGHT, &plot);
  return canvas_write (canvas, path, error);
}

/* ---- samples ----------------------------------------------------------------------------------------------------- */

static DiffusionPicture *
make_sample (const Journal *self, const DiffusionModel *model, const Sample *sample, GError **error)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  g_autoptr (DiffusionPicture) picture = diffusion_picture_copy (self->picture, error);
  g_autoptr (DiffusionPicture) map = picture ? canvas_even (picture, 1, sample->level, error) : NULL;

  options.steps = sample->steps;
  options.sampler = DIFFUSION_SAMPLER_DDPM;
  options.seed = SAMPLE_SEED;
  options.threads = self->threads;
  if (! map || ! diffusion_forward (picture, map, 0, 1, SAMPLE_SEED, 0, 0, 0, error)
      || (sample->steps && ! diffusion_reverse (model, picture, map, &options, self->cancellable, error)))
    return NULL;
  return g_steal_pointer (&picture);
}

/* The picture, and the samples beside it. */
static gboolean
draw_samples (const Journal *self, const DiffusionModel *model, gint64 samples, GError **error)
{
  const Sample    *row = self->mix == DIFFUSION_TRAIN_DENOISE ? denoised : redrawn;
  int              width = self->picture->width, height = self->picture->height;
  g_autofree char *name = g_strdup_printf ("samples-%07" G_GINT64_FORMAT ".png", samples);
  g_autofree char *path = g_build_filename (self->folder, name, NULL);
  g_autoptr (cairo_t) canvas
      = canvas_new (MARGIN + (SAMPLES + 1) * (width + MARGIN), height + TEXT + 3 * MARGIN, error);

  for (int i = 0; i <= SAMPLES && canvas; i++)
    {
      g_autoptr (DiffusionPicture) picture
          = i ? make_sample (self, model, &row[i - 1], error) : diffusion_picture_copy (self->picture, error);
      int x = MARGIN + i * (width + MARGIN);

      if (! picture || ! canvas_picture (canvas, x, MARGIN, picture, error))
        return FALSE;
      canvas_text_centred (canvas, x + width / 2.0, MARGIN + height + TEXT + 4, TEXT,
                           i ? row[i - 1].label : "the picture");
    }
  return canvas && canvas_write (canvas, path, error);
}

void
journal_take_stock (const DiffusionModel *model, const DiffusionTrainReport *report, gpointer user_data)
{
  Journal *self = user_data;
  Point    point = { report->samples, report->seconds / 60, report->loss > 0 ? report->loss : NAN, report->validation };
  g_autoptr (GError) error = NULL;

  /* A resumed run measures again where the last one ended, or from further back if its checkpoint is gone. */
  while (self->points->len && g_array_index (self->points, Point, self->points->len - 1).samples >= point.samples)
    g_array_set_size (self->points, self->points->len - 1);
  g_array_append_val (self->points, point);
  if (write_csv (self, &error) && draw_curve (self, &error) && self->picture)
    draw_samples (self, model, report->samples, &error);
  /* Nobody wants to lose a night's training to a full disk under a picture of it. */
  if (error && ! self->trouble && ! g_error_matches (error, G_IO_ERROR, G_IO_ERROR_CANCELLED))
    self->trouble = g_steal_pointer (&error);
}
