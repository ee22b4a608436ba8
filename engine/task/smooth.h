/* Strength above 1.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"
#include "diffusion.h"

/* Moves `first` towards `second`, only where and as far as that makes it smoother: amount 0 (not at all) ... 1.  The
 * means of small windows stay, their variance never grows with the amount.  Pixels that are the same in both stay, bit
 * for bit.  Fails for want of memory and when it is cancelled; `first` is then of no use. */
gboolean smooth_towards (DiffusionPicture *first, const DiffusionPicture *second, double amount,
                         GCancellable *cancellable, GError **error);
