/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One call of a filter in any run mode; with its dialog, if that is wanted: the estimate, the preview, and the run with
 * its progress bar.
 */
#pragma once

#include "engine/diffusion.h"
#include "host.h"

G_BEGIN_DECLS

/* Runs the filter on the drawable with the configuration, which an interactive run lets the user change before.
 * G_IO_ERROR_CANCELLED: the user did not want it.  noise_used comes in 8-bit units. */
gboolean session_run (const Filter *filter, GimpRunMode mode, HostDrawable drawable, GObject *config,
                      HostDialogContext *context, double *noise_used, GError **error);

G_END_DECLS
