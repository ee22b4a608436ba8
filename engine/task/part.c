/* The progress of one piece of work among several.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "part.h"

static void
report (double fraction, gpointer data)
{
  const Part *part = data;

  part->options->progress (part->from + part->share * fraction, part->options->progress_data);
}

DiffusionOptions
part_get_options (const Part *part)
{
  DiffusionOptions options = *part->options;

  options.progress = options.progress ? report : NULL;
  options.progress_data = (gpointer) part;
  return options;
}
