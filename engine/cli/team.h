/* gimp-diffusion: training with other processes, by MPI
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "diffusion.h"

G_BEGIN_DECLS

/* Joins the processes that mpirun (or another launcher) has started with this one; alone, it does nothing, and MPI is
 * not even initialized.  A process that ends after this without team_leave () ends all others too: that is how a
 * failure of one becomes a failure of all. */
gboolean team_join (DiffusionTeam *team, GError **error);
/* Returns when all have come here. */
gboolean team_wait (const DiffusionTeam *team, GError **error);
void     team_leave (const DiffusionTeam *team);

G_END_DECLS
