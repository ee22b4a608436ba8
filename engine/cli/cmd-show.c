/* gimp-diffusion: the command show
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Draws what a diffusion model does.  Everything in the picture is computed, not illustrated: the forward frames are
 * states of one Markov chain, the backward ones are what the engine hands out while it runs.
 */
#include "canvas.h"
#include "picture-io.h"
#include "run.h"

#include <math.h>

#define STEPS       40
#define FRAMES      7
#define FRAMES_MOST 16
#define SIZE        176
#define SIZE_LEAST  64
#define SIZE_MOST   512
#define MARGIN      16
#define GAP         8
#define TEXT        12
#define TITLE       16
#define PLOT_HEIGHT 300
#define WIDTH_LEAST 900 /* so that titles and plots have room above narrow pictures */
#define UNIT        255.0
/* The standard deviation of pictures in general: EDM's sigma_data, picture units. */
#define SIGNAL 0.25

/* A picture at some moment. */
typedef struct
{
  DiffusionPicture *state, *prediction;
  double            level;
  int               step; /* of the reverse process: that which starts here */
} Frame;

/* Some moments of a chain of pictures. */
typedef struct
{
  Frame frames[FRAMES_MOST];
  int   count, steps;
} Strip;

typedef struct
{
  int               frames, steps;
  DiffusionPicture *clean;
  Strip             forward, from_noise, from_middle;
  double            variance; /* of the clean picture */
} Show;

static void
strip_clear (Strip *strip)
{
  for (int i = 0; i < strip->count; i++)
    {
      diffusion_picture_free (strip->frames[i].state);
      diffusion_picture_free (strip->frames[i].prediction);
    }
}

static void
show_clear (Show *show)
{
  diffusion_picture_free (show->clean);
  strip_clear (&show->forward);
  strip_clear (&show->from_noise);
  strip_clear (&show->from_middle);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Show, show_clear)

/* ---- what is shown ----------------------------------------------------------------------------------------------- */

/* The mean square of the difference. */
static double
get_difference (const DiffusionPicture *a, const DiffusionPicture *b)
{
  gsize  count = (gsize) a->width * a->height * a->channels;
  double sum = 0;

  for (gsize i = 0; i < count; i++)
    sum += pow ((double) a->data[i] - b->data[i], 2);
  return sum / count;
}

static double
get_variance (const DiffusionPicture *picture)
{
  gsize  count = (gsize) picture->width * picture->height * picture->channels;
  double sum = 0, square = 0;

  for (gsize i = 0; i < count; i++)
    {
      sum += picture->data[i];
      square += (double) picture->data[i] * picture->data[i];
    }
  return square / count - pow (sum / count, 2);
}

/* The forward process, each state made from the one before.  The stops divide the way from all picture to all noise
 * evenly: the share of noise is the sine of an angle that grows from 0 to a right one. */
static gboolean
run_forward (Show *show, guint64 seed, GError **error)
{
  g_autoptr (DiffusionPicture) map = canvas_even (show->clean, 1, DIFFUSION_LEVEL_MOST, error);
  g_autoptr (DiffusionPicture) x = map ? diffusion_picture_copy (show->clean, error) : NULL;
  Strip *strip = &show->forward;
  double t = 0;

  if (! x)
    return FALSE;
  for (int i = 0; i < show->frames; i++)
    {
      double angle = G_PI / 2 * i / (show->frames - 1);
      double level = i < show->frames - 1 ? SIGNAL * tan (angle) : DIFFUSION_LEVEL_MOST;
      double next = level / DIFFUSION_LEVEL_MOST;
      Frame *frame = &strip->frames[i];

      if (! diffusion_forward (x, map, t, next, seed, i, 0, 0, error)
          || ! (frame->state = diffusion_picture_copy (x, error)))
        return FALSE;
      frame->level = level;
      strip->count++;
      t = next;
    }
  return TRUE;
}

/* What on_step keeps of a run. */
typedef struct
{
  Strip            *strip;
  int               frames;
  DiffusionPicture *before; /* the state that the next step starts from */
  GError           *error;
} Spectator;

static void
on_step (const DiffusionStep *step, gpointer user_data)
{
  Spectator *self = user_data;
  Strip     *strip = self->strip;
  int        next = lround (strip->count * (step->steps - 1.0) / (self->frames - 1)) + 1;

  if (self->error)
    return;
  if (step->step == next && strip->count < self->frames)
    {
      Frame *frame = &strip->frames[strip->count++];

      *frame = (Frame){ g_steal_pointer (&self->before), diffusion_picture_copy (step->prediction, &self->error),
                        step->level_from, step->step };
    }
  diffusion_picture_free (self->before);
  self->before = self->error ? NULL : diffusion_picture_copy (step->state, &self->error);
}

/* The reverse process from a picture of the given level. */
static gboolean
run_reverse (const Show *show, const DiffusionModel *model, const DiffusionPicture *start, double level,
             const DiffusionOptions *options, Strip *strip, GError **error)
{
  g_autoptr (DiffusionPicture) x = diffusion_picture_copy (start, error);
  g_autoptr (DiffusionPicture) map = x ? canvas_even (x, 1, level, error) : NULL;
  DiffusionOptions watched = *options;
  Spectator        spectator = { .strip = strip, .frames = show->frames };
  gboolean         done;

  if (! map || ! (spectator.before = diffusion_picture_copy (x, error)))
    return FALSE;
  watched.on_step = on_step;
  watched.step_data = &spectator;
  strip->steps = options->steps;
  done = diffusion_reverse (model, x, map, &watched, run_get_cancellable (), error);
  run_finish_progress ();
  diffusion_picture_free (spectator.before);
  if (! spectator.error)
    return done;
  if (done)
    g_propagate_error (error, spectator.error);
  else
    g_error_free (spectator.error);
  return FALSE;
}

static int
get_middle (const Show *show)
{
  return MIN (show->frames / 2 + 1, show->frames - 2);
}

static gboolean
run_all (Show *show, const DiffusionModel *model, const DiffusionOptions *options, GError **error)
{
  const Frame *middle = &show->forward.frames[get_middle (show)], *end = &show->forward.frames[show->frames - 1];

  return run_forward (show, options->seed, error)
         && run_reverse (show, model, end->state, end->level, options, &show->from_noise, error)
         && run_reverse (show, model, middle->state, middle->level, options, &show->from_middle, error);
}

/* ---- drawing ----------------------------------------------------------------------------------------------------- */

/* Noise of several hundred has no place between black and white: states are shown at the contrast of a picture, as in
 * the variance-preserving form of the process (Ho et al. 2020). */
static gboolean
draw_state (cairo_t *canvas, int x, int y, const Frame *frame, GError **error)
{
  g_autoptr (DiffusionPicture) shown = diffusion_picture_copy (frame->state, error);
  double scale = 1 / hypot (1, frame->level / SIGNAL);
  gsize  count = shown ? (gsize) shown->width * shown->height * 3 : 0;

  for (gsize i = 0; i < count; i++)
    shown->data[i] = 0.5 + (shown->data[i] - 0.5) * scale;
  return shown && canvas_picture (canvas, x, y, shown, error);
}

static double
to_decibel (double power)
{
  return 10 * log10 (power);
}

static char *
describe_level (double level)
{
  double shown = level * UNIT;

  return shown == 0 ? g_strdup ("no noise") : g_strdup_printf ("noise %.*f", shown < 10 ? 1 : 0, shown);
}

static int
get_frame_x (const Show *show, int i)
{
  return MARGIN + i * (show->clean->width + GAP);
}

/* Returns the height that was used, or 0. */
static int
draw_forward (const Show *show, cairo_t *canvas, int y, GError **error)
{
  int top = y + TITLE + 12, below = top + show->clean->height + TEXT + 4;

  canvas_text (canvas, MARGIN, y + TITLE, TITLE, TRUE,
               "Forward: each picture is the one before it, plus noise, until nothing else is left");
  for (int i = 0; i < show->forward.count; i++)
    {
      const Frame     *frame = &show->forward.frames[i];
      double           middle = get_frame_x (show, i) + show->clean->width / 2.0;
      g_autofree char *level = describe_level (frame->level);
      g_autofree char *ratio
          = i ? g_strdup_printf ("signal to noise %.1f dB", to_decibel (show->variance / pow (frame->level, 2))) : NULL;
      g_autofree char *t = i ? g_strdup_printf ("t = %.4f, %s", frame->level / DIFFUSION_LEVEL_MOST, level)
                             : g_strdup_printf ("t = 0, %s", level);

      if (! draw_state (canvas, get_frame_x (show, i), top, frame, error))
        return 0;
      canvas_text_centred (canvas, middle, below, TEXT, t);
      if (ratio)
        canvas_text_centred (canvas, middle, below + TEXT + 4, TEXT, ratio);
    }
  return below + TEXT + 4 + MARGIN * 2 - y;
}

static int
draw_reverse (const Show *show, cairo_t *canvas, int y, const Strip *strip, const char *title, gboolean compare,
              GError **error)
{
  int height = show->clean->height, top = y + TITLE + 12, second = top + height + TEXT + 14;

  canvas_text (canvas, MARGIN, y + TITLE, TITLE, TRUE, title);
  for (int i = 0; i < strip->count; i++)
    {
      const Frame     *frame = &strip->frames[i];
      int              x = get_frame_x (show, i);
      double           middle = x + show->clean->width / 2.0;
      g_autofree char *level = describe_level (frame->level);
      g_autofree char *step = g_strdup_printf ("step %d of %d: %s", frame->step, strip->steps, level);
      g_autofree char *guess = compare ? g_strdup_printf ("its prediction, %.1f dB",
                                                          -to_decibel (get_difference (frame->prediction, show->clean)))
                                       : g_strdup ("its prediction");

      if (! draw_state (canvas, x, top, frame, error) || ! canvas_picture (canvas, x, second, frame->prediction, error))
        return 0;
      canvas_text_centred (canvas, middle, top + height + TEXT + 4, TEXT, step);
      canvas_text_centred (canvas, middle, second + height + TEXT + 4, TEXT,
                           i == strip->count - 1 ? "the result" : guess);
    }
  return second + height + TEXT + 4 + MARGIN * 2 - y;
}

/* Where on the way (in steps, with a fraction) the schedule passes a level. */
static double
find_step (const double *levels, int steps, double level)
{
  for (int i = 0; i + 1 < steps; i++)
    if (level <= levels[i] && level >= levels[i + 1])
      return i + log (levels[i] / level) / log (levels[i] / levels[i + 1]);
  return NAN;
}

typedef struct
{
  double step[DIFFUSION_MAX_STEPS + 1], level[DIFFUSION_MAX_STEPS + 1], picture[DIFFUSION_MAX_STEPS + 1],
      noise[DIFFUSION_MAX_STEPS + 1], ratio[DIFFUSION_MAX_STEPS + 1], middle[DIFFUSION_MAX_STEPS + 1];
} Curves;

static int
draw_curves (const Show *show, cairo_t *canvas, int y, int width)
{
  g_autofree Curves *curves = g_new0 (Curves, 1);
  int                steps = show->steps, measured = 0;
  double             at[FRAMES_MOST], ratio[FRAMES_MOST], panel = (width - 2 * MARGIN) / 3.0;
  PlotSeries         levels[] = {
            { "from noise", curves->step, curves->level, steps, FALSE, { 0 } },
            { "from the middle", curves->step, curves->middle, steps, FALSE, { 0 } },
  };
  PlotSeries ratios[] = {
    { "by the schedule", curves->step, curves->ratio, steps, FALSE, { 0 } },
    { "measured in the forward frames", at, ratio, 0, TRUE, { 0 } },
  };
  PlotSeries shares[] = {
    { "picture", curves->step, curves->picture, steps, FALSE, { 0 } },
    { "noise", curves->step, curves->noise, steps, FALSE, { 0 } },
  };
  const Plot plots[] = {
    { "Schedule", "steps done", "noise level, 1/255", TRUE, levels, 2 },
    { "Signal-to-noise ratio", "steps done", "dB", FALSE, ratios, 2 },
    { "Shares", "steps done", "share of the amplitude", FALSE, shares, 2 },
  };

  diffusion_schedule (show->forward.frames[get_middle (show)].level, steps, curves->middle);
  diffusion_schedule (DIFFUSION_LEVEL_MOST, steps, curves->level);
  for (int i = 1; i < show->forward.count; i++)
    {
      const Frame *frame = &show->forward.frames[i];

      at[measured] = find_step (curves->level, steps, frame->level);
      ratio[measured++] = to_decibel (show->variance / get_difference (frame->state, show->clean));
    }
  ratios[1].count = measured;
  for (int i = 0; i < steps; i++)
    {
      double x = curves->level[i] / SIGNAL;

      curves->step[i] = i;
      curves->ratio[i] = to_decibel (show->variance / pow (curves->level[i], 2));
      curves->picture[i] = 1 / hypot (1, x);
      curves->noise[i] = x / hypot (1, x);
      curves->level[i] *= UNIT;
      curves->middle[i] *= UNIT;
    }
  for (int i = 0; i < 2; i++)
    for (int c = 0; c < 3; c++)
      levels[i].colour[c] = ratios[i].colour[c] = shares[i].colour[c] = plot_colours[i][c];
  for (gsize i = 0; i < G_N_ELEMENTS (plots); i++)
    plot_draw (canvas, MARGIN + i * panel, y, panel, PLOT_HEIGHT, &plots[i]);
  return PLOT_HEIGHT + MARGIN;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

typedef enum
{
  PART_FORWARD = 1 << 0,
  PART_REVERSE = 1 << 1,
  PART_CURVES = 1 << 2
} Parts;

static gboolean
parse_part (const char *text, Parts *parts, GError **error)
{
  static const char *const names[] = { "forward", "reverse", "curves" };

  *parts = 0;
  for (gsize i = 0; i < G_N_ELEMENTS (names); i++)
    if (! text || g_strcmp0 (text, "all") == 0 || g_strcmp0 (text, names[i]) == 0)
      *parts |= 1 << i;
  if (! *parts)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                 "--part takes all, forward, reverse or curves, not \"%s\"", text);
  return *parts != 0;
}

static gboolean
draw_all (const Show *show, Parts parts, const char *path, GError **error)
{
  int row = show->clean->height + 3 * TEXT + TITLE + 4 * MARGIN, y = MARGIN, used;
  int width = MAX (get_frame_x (show, show->frames) - GAP + MARGIN, WIDTH_LEAST);
  g_autoptr (cairo_t) canvas = canvas_new (width, 5 * row + PLOT_HEIGHT + 4 * MARGIN, error);
  g_autoptr (cairo_t) sheet = NULL;

  if (! canvas)
    return FALSE;
  if (parts & PART_FORWARD)
    {
      if (! (used = draw_forward (show, canvas, y, error)))
        return FALSE;
      y += used;
    }
  if (parts & PART_REVERSE)
    {
      if (! (used = draw_reverse (show, canvas, y, &show->from_noise,
                                  "Backward from pure noise: a picture that never was", FALSE, error)))
        return FALSE;
      y += used;
      if (! (used = draw_reverse (show, canvas, y, &show->from_middle,
                                  "Backward from the middle: what the noise has left stays, the rest is invented anew",
                                  TRUE, error)))
        return FALSE;
      y += used;
    }
  if (parts & PART_CURVES)
    y += draw_curves (show, canvas, y, width);
  /* The sheet ends where the drawing does. */
  if (! (sheet = canvas_new (width, y, error)))
    return FALSE;
  cairo_set_source_surface (sheet, cairo_get_target (canvas), 0, 0);
  cairo_paint (sheet);
  return canvas_write (sheet, path, error);
}

gboolean
command_show (const Command *self, char **argv, GError **error)
{
  g_auto (RunOptions) run
      = RUN_OPTIONS_INIT (.usual_model = DIFFUSION_MODEL_FILL, .steps = STEPS, .sampler = g_strdup ("ddpm"));
  g_auto (GStrv) files = NULL;
  g_auto (Show) show = { .frames = FRAMES };
  g_autofree char *part = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  g_autoptr (Photo) photo = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  Parts            parts;
  int              size = SIZE;
  const Option     table[] = {
        { "part", OPTION_TEXT, &part, "PART", "all, the default, forward, reverse or curves" },
        { "frames", OPTION_INT, &show.frames, "N", "pictures in a row, default 7", 3, FRAMES_MOST },
        { "size", OPTION_INT, &size, "PX", "their longer edge, default 176", SIZE_LEAST, SIZE_MOST },
        RUN_OPTIONS (run, DIFFUSION_MODEL_FILL, "40", "ddpm"),
  };

  if (! command_parse (self, argv, table, G_N_ELEMENTS (table), &files, error) || ! parse_part (part, &parts, error))
    return FALSE;
  if (run.steps < show.frames)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--steps must be at least the %d pictures of a row, not %d", show.frames, run.steps);
      return FALSE;
    }
  show.steps = run.steps;
  if (! raster_check_target (files[1], NULL, error) || ! (photo = photo_read (files[0], TRUE, error))
      || ! (show.clean = canvas_reduce (photo->picture, files[0], size, error))
      || ! (model = run_options_apply (&run, &options, error)))
    return FALSE;
  show.variance = get_variance (show.clean);
  return run_all (&show, model, &options, error) && draw_all (&show, parts, files[1], error);
}
