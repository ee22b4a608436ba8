/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Results as new layers above the one that was filtered.
 */
#pragma once

#include "host.h"
#include "region.h"

G_BEGIN_DECLS

/* FALSE, with a sentence that names the remedy, if the drawable can have no layers above it; several: of them. */
gboolean layers_check (HostDrawable drawable, gboolean several, GError **error);

/* A layer with the region's rectangle of its picture, and with the opacity and mode of the region's drawable, not yet
 * part of the image; HOST_NONE on failure. */
HostLayer layers_make (Region *region, const char *name, RegionTick tick, gpointer data, GError **error);

/* Puts the layers above the region's drawable, the first topmost and alone visible, each with the selection as its
 * layer mask, as one undo step.  Where the layers differ from the drawable the mask is wider by `reach` pixels; what
 * the drawable's own mask hides stays hidden.  If nothing is selected and the drawable would count twice, it is hidden.
 * The layers are the image's then; on failure there are none of them any more. */
gboolean layers_insert (const Region *region, const HostLayer *layers, guint n, int reach, GError **error);

/* Forgets a layer that was not inserted. */
void layers_discard (HostLayer layer);

G_END_DECLS
