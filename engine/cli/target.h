/* gimp-diffusion: where a file is to be written
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include <glib.h>

G_BEGIN_DECLS

/* Says before the work rather than after it that no file could be written there. */
gboolean target_check (const char *path, GError **error);

G_END_DECLS
