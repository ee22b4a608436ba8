/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <glib/gi18n.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"

enum
{
  WARM_EDGE = 32,
  EDGE = 256, /* pixels: as many rows as one pass keeps, so that what happens once per pass has its right share */
  RUNS = 2,

  /* Pixels of a band, so that memory does not grow with the layer; but at least so many margins, or most of the time
   * would go into these. */
  BAND = 8 * 1000 * 1000,
  LEAST_BAND = 4
};

/* From the layer's format to the engine's and back, in doubles: seen on several machines to take between 0.2 and 0.5 us
 * a pixel, which matters only beside the fastest networks. */
static const double COPY_SECONDS = 0.4e-6;

/* What a run takes beside that: the preview's end, threads, GIMP's answers, a layer and an undo step.  Seen to be
 * between 0.03 and 0.06 s. */
static const double RUN_SECONDS = 0.05;

/* The network's intermediate results go along with the rows that are worked on: values of 4 bytes for a pixel of that
 * band, whose height grows with the margin. */
static const double BAND_ROWS = 96, BAND_BYTES = 640;

static gboolean
run_square (const DiffusionModel *model, int edge, double *seconds, GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionPicture) picture = diffusion_picture_new (edge, edge, 3, error);
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  DiffusionNoise   noise;
  gint64           start;

  if (! picture)
    return FALSE;
  diffusion_noise_set_uniform (&noise, 0.1);
  start = g_get_monotonic_time ();
  if (! diffusion_denoise (model, picture, NULL, &noise, 1, &options, cancellable, error))
    return FALSE;
  *seconds = (g_get_monotonic_time () - start) / (double) G_USEC_PER_SEC;
  return TRUE;
}

gboolean
pace_warm_up (const DiffusionModel *model, GCancellable *cancellable, GError **error)
{
  double seconds;

  return run_square (model, WARM_EDGE, &seconds, cancellable, error);
}

gboolean
pace_measure (Pace *pace, const DiffusionModel *model, GCancellable *cancellable, GError **error)
{
  double seconds, best = G_MAXDOUBLE;

  if (! pace_warm_up (model, cancellable, error))
    return FALSE;
  for (int i = 0; i < RUNS; i++)
    {
      if (! run_square (model, EDGE, &seconds, cancellable, error))
        return FALSE;
      best = MIN (best, seconds);
    }
  pace->pixel = best / (EDGE * EDGE);
  return TRUE;
}

void
pace_learn (Pace *pace, double seconds, gboolean painted)
{
  double *recent = pace->recent;

  if (painted)
    {
      if (pace->pixel == 0 || seconds < pace->pixel)
        pace->pixel = seconds;
      return;
    }
  recent[2] = recent[1];
  recent[1] = recent[0];
  recent[0] = seconds;
  if (recent[2] > 0)
    pace->pixel = MAX (MIN (recent[0], recent[1]), MIN (MAX (recent[0], recent[1]), recent[2]));
  else
    pace->pixel = recent[1] > 0 ? MIN (recent[0], recent[1]) : recent[0];
}

int
cost_get_band (int width, int height, int margin)
{
  const int rows = MAX (BAND / width, LEAST_BAND * margin);

  return rows < height ? rows : 0;
}

void
cost_estimate (Cost *cost, const Pace *pace, int width, int height, int band, int margin, double steps, int floats)
{
  const int    twice = band > 0 ? (height - 1) / band * 2 * margin : 0;
  const int    rows = band > 0 ? MIN (band + 2 * margin, height) : height;
  const double pixels = (double) width * (height + twice), kept = (double) width * rows;

  cost->seconds = RUN_SECONDS + pixels * (steps * pace->pixel + COPY_SECONDS);
  cost->bytes = cost_get_memory () + kept * floats * sizeof (float) + width * MIN (height, BAND_ROWS) * BAND_BYTES;
}

void
cost_warm_up (const DiffusionModel *model)
{
  const DiffusionBox     box = { 0, 0, 1, 1 };
  const DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  double                 bytes, seconds;

  diffusion_model_estimate_cost (model, 1, 1, &box, 1, FALSE, &options, &bytes, &seconds);
}

void
cost_add_region (Cost *cost, double pixels, gboolean masked, int variants)
{
  cost->bytes += pixels * sizeof (float) * ((variants > 1 ? 2 : 1) * 3 + (masked ? 1 : 0));
}

void
cost_add_result (Cost *cost, double pixels, int pixel_bytes)
{
  cost->bytes += pixels * pixel_bytes;
}

void
cost_estimate_fill (Cost *cost, double pixels, double seconds, double bytes, int variants)
{
  cost->seconds = RUN_SECONDS + variants * (seconds + pixels * COPY_SECONDS);
  /* Each variant starts from the picture that was read. */
  cost->bytes = bytes + (variants > 1 ? pixels * 3 * sizeof (float) : 0);
}

/* A line of Linux's /proc/self/status, in kB. */
static double
read_status (const char *key)
{
  g_autofree char *text = NULL;
  const char      *line;

  if (! g_file_get_contents ("/proc/self/status", &text, NULL, NULL) || ! (line = strstr (text, key)))
    return 0;
  return 1024.0 * strtol (line + strlen (key), NULL, 10);
}

double
cost_get_memory (void)
{
  return read_status ("VmRSS:");
}

double
cost_get_peak (void)
{
  return read_status ("VmHWM:");
}

void
cost_reset_peak (void)
{
  g_autoptr (GFile) file = g_file_new_for_path ("/proc/self/clear_refs");
  g_autoptr (GFileOutputStream) stream = g_file_append_to (file, G_FILE_CREATE_NONE, NULL, NULL);

  if (stream)
    g_output_stream_write (G_OUTPUT_STREAM (stream), "5", 1, NULL, NULL);
}

char *
cost_format_time (double seconds)
{
  const int rounded = MAX ((int) ceil (seconds), 1);

  /* Translators: seconds. */
  return rounded < 60 ? g_strdup_printf (C_ ("time", "%d s"), rounded)
                      /* Translators: minutes and seconds. */
                      : g_strdup_printf (C_ ("time", "%d min %d s"), rounded / 60, rounded % 60);
}
