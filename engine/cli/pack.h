/* gimp-diffusion: folders of pictures into corpus files
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

/* Packs all pictures below the folder that have at least `crop` pixels each way; names on stderr what it cannot read.
 */
gboolean pack_folder (const char *folder, const char *out, int crop, GCancellable *cancellable, GError **error);

/* The same into the user's cache, unless the same files were packed before; what the folder was packed to before it
 * changed is removed.  Returns the corpus file's path. */
char *pack_folder_cached (const char *folder, int crop, GCancellable *cancellable, GError **error);

/* The path of the first picture below the folder that can be read and drawn; NULL when there is none. */
char *pack_find_first (const char *folder);

G_END_DECLS
