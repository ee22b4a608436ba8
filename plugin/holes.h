/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Pixels without a meaning (fully transparent, or not a number) must not reach their neighbours through the network.
 */
#pragma once

#include "engine/diffusion.h"

G_BEGIN_DECLS

/* Gives each pixel whose first value is NaN a smooth continuation of the pixels around it; where nothing is known at
 * all, mid grey. */
gboolean holes_fill (DiffusionPicture *picture, GError **error);

G_END_DECLS
