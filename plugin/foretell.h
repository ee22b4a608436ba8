/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What work with a checkpoint will cost, before anything was computed.  Holes are found first, as they are worked on
 * one by one: the selection is read strip by strip between events, and looked through on a thread.
 */
#pragma once

#include "cost.h"
#include "host.h"

G_BEGIN_DECLS

typedef struct _Foretelling Foretelling;

/* known: called when a cost that was asked for has become known. */
Foretelling *foretelling_new (const Filter *filter, HostDrawable drawable, void (*known) (gpointer data),
                              gpointer data);
/* Waits for the thread, while the main context goes round. */
void foretelling_free (Foretelling *foretelling);

/* For one variant's time, and all variants' memory.  FALSE: it is not known yet, or nothing is selected. */
gboolean foretell (Foretelling *foretelling, const DiffusionModel *model, const Settings *settings, Cost *cost);

G_END_DECLS
