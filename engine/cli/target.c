/* gimp-diffusion: where a file is to be written
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "target.h"

#include "diffusion.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <unistd.h>

gboolean
target_check (const char *path, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (path);
  gboolean         exists;
  GStatBuf         status;

  exists = g_stat (path, &status) == 0;
  if (exists && ! S_ISREG (status.st_mode))
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "\"%s\" cannot be written to: it is %s", path,
                 S_ISDIR (status.st_mode) ? "a folder" : "not a regular file");
  else if (exists && g_access (path, W_OK) != 0)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "\"%s\" cannot be written to: %s", path,
                 g_strerror (errno));
  else if (! g_file_test (folder, G_FILE_TEST_IS_DIR))
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The folder \"%s\" of the output does not exist",
                 folder);
  else if (g_access (folder, W_OK | X_OK) != 0)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The folder \"%s\" cannot be written to: %s", folder,
                 g_strerror (errno));
  else
    return TRUE;
  return FALSE;
}
