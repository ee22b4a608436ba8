/* One piece of work among several.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "part.h"

static void
report (double fraction, gpointer data)
{
  const Part *part = data;

  part->options->progress (part->from + part->share * fraction, part->options->progress_data);
}

static void
show_step (const DiffusionStep *step, gpointer data)
{
  const Part   *part = data;
  DiffusionStep there = *step;

  there.x += part->x;
  there.y += part->y;
  part->options->on_step (&there, part->options->step_data);
}

DiffusionOptions
part_get_options (const Part *part)
{
  DiffusionOptions options = *part->options;

  options.progress = options.progress ? report : NULL;
  options.progress_data = (gpointer) part;
  options.on_step = options.on_step ? show_step : NULL;
  options.step_data = (gpointer) part;
  options.origin_x += part->x;
  options.origin_y += part->y;
  return options;
}
