/* Gives the files of folders to a fuzz target.  SPDX-License-Identifier: GPL-3.0-or-later */
#include <glib.h>

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

static char *
get_name (const char *folder, const char *file)
{
  g_autofree char *base = g_path_get_basename (folder);

  return g_strdup_printf ("/fuzz/%s/%s", base, file);
}

static void
test_file (gconstpointer path)
{
  g_autofree char *contents = NULL;
  gsize            size;

  g_assert_true (g_file_get_contents (path, &contents, &size, NULL));
  /* Of this size exactly, so that memory checkers see a step beyond. */
  {
    g_autofree guint8 *data = g_memdup2 (contents, size);

    LLVMFuzzerTestOneInput (data, size);
  }
}

int
main (int argc, char **argv)
{
  int files = 0;

  g_test_init (&argc, &argv, NULL);
  for (int i = 1; i < argc; i++)
    {
      g_autoptr (GDir) folder = g_dir_open (argv[i], 0, NULL);
      const char *file;

      while (folder && (file = g_dir_read_name (folder)))
        {
          g_autofree char *name = get_name (argv[i], file);

          g_test_add_data_func_full (name, g_build_filename (argv[i], file, NULL), test_file, g_free);
          files++;
        }
    }
  return files ? g_test_run () : 1;
}
