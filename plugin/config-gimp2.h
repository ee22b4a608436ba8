/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * GIMP 2.10 has no configuration object for procedures: this one has the properties that the filter's table names.
 */
#pragma once

#include <glib-object.h>

#include "params.h"

G_BEGIN_DECLS

/* An object with the filter's defaults. */
GObject *config_new (const Filter *filter);
void     config_reset (GObject *config);

/* As bytes that GIMP can keep until the next run, and back.  Unknown names and choices are passed over, and numbers out
 * of range are drawn to the nearest limit, because another version may have written them. */
GBytes *config_to_bytes (GObject *config);
void    config_from_bytes (GObject *config, GBytes *bytes);

G_END_DECLS
