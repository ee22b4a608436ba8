/* Where models and what belongs to them are.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "find.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define SUFFIX ".safetensors"

/* In the order in which they are searched. */
static GPtrArray *
list_folders (void)
{
  const char *const *system = g_get_system_data_dirs ();
  const char        *folder = g_getenv ("DIFFUSION_MODELS");
  GPtrArray         *folders = g_ptr_array_new_with_free_func (g_free);

  if (folder && *folder)
    g_ptr_array_add (folders, g_strdup (folder));
  g_ptr_array_add (folders, g_build_filename (g_get_user_data_dir (), "gimp-diffusion", "models", NULL));
  g_ptr_array_add (folders, g_strdup (MODELS_DIR));
  for (gsize i = 0; system[i]; i++)
    g_ptr_array_add (folders, g_build_filename (system[i], "gimp-diffusion", "models", NULL));
  return folders;
}

char *
find_model_file (const char *file, GError **error)
{
  g_autoptr (GPtrArray) folders = list_folders ();
  g_autofree char *looked = NULL;

  for (guint i = 0; i < folders->len; i++)
    {
      g_autofree char *path = g_build_filename (folders->pdata[i], file, NULL);

      if (g_file_test (path, G_FILE_TEST_IS_REGULAR))
        return g_steal_pointer (&path);
    }
  g_ptr_array_add (folders, NULL);
  looked = g_strjoinv (", ", (char **) folders->pdata);
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
               /* Translators: a file's name, and folders, separated by commas. */
               C_ ("error", "There is no model %s in any of %s: install the program again, or choose a model file."),
               file, looked);
  return NULL;
}

char *
diffusion_model_find (const char *name, GError **error)
{
  gboolean         is_file = name && (g_str_has_suffix (name, SUFFIX) || g_str_has_suffix (name, ".ckpt"));
  g_autofree char *file = NULL;

  if (name && (strchr (name, G_DIR_SEPARATOR) || (is_file && g_file_test (name, G_FILE_TEST_IS_REGULAR))))
    return g_strdup (name);
  if (g_strcmp0 (name, DIFFUSION_MODEL_FILL) == 0)
    {
      char *path = find_model_file (DIFFUSION_MODEL_FILL SUFFIX, NULL);

      if (path)
        return path;
      name = DIFFUSION_MODEL_DENOISE;
    }
  file = g_strconcat (name && *name ? name : DIFFUSION_MODEL_DENOISE, is_file ? "" : SUFFIX, NULL);
  return find_model_file (file, error);
}

static int
compare_files (gconstpointer a, gconstpointer b)
{
  g_autofree char *first = g_path_get_basename (*(char *const *) a), *second = g_path_get_basename (*(char *const *) b);

  return g_utf8_collate (first, second);
}

char **
diffusion_model_list (void)
{
  g_autoptr (GPtrArray) folders = list_folders ();
  g_autoptr (GHashTable) found = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GPtrArray) paths = g_ptr_array_new ();

  for (guint i = 0; i < folders->len; i++)
    {
      g_autoptr (GDir) dir = g_dir_open (folders->pdata[i], 0, NULL);
      const char *name;

      while (dir && (name = g_dir_read_name (dir)))
        if (g_str_has_suffix (name, ".safetensors") && g_hash_table_add (found, g_strdup (name)))
          g_ptr_array_add (paths, g_build_filename (folders->pdata[i], name, NULL));
    }
  g_ptr_array_sort (paths, compare_files);
  g_ptr_array_add (paths, NULL);
  return (char **) g_ptr_array_free (g_steal_pointer (&paths), FALSE);
}
