/* The engine's sentences in the language of the program that shows them.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "diffusion.h"
#include "net/tensors.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <libintl.h>
#include <locale.h>

#define LOCALE "de_DE.UTF-8"
#define LORA   "lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight"

static char *folder; /* of the files, the catalog and its locale */

static char *
write_tensor (const char *name)
{
  char       *path = g_build_filename (folder, "one.safetensors", NULL);
  float       value = 1;
  int         one = 1;
  TensorEntry entry = { name, &one, 1, 1, &value, TENSOR_F16 };
  GError     *error = NULL;

  tensors_write (path, &entry, 1, NULL, &error);
  g_assert_no_error (error);
  return path;
}

/* sentence: with %s for the path. */
static void
assert_refused (const char *path, const char *sentence)
{
  GError         *error = NULL;
  DiffusionModel *model = diffusion_model_load (path, &error);
  g_auto (GStrv) parts = g_strsplit (sentence, "%s", 2);
  g_autofree char *expected = g_strconcat (parts[0], path, parts[1], NULL);

  g_assert_null (model);
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_assert_cmpstr (error->message, ==, expected);
  g_clear_error (&error);
}

/* As in the program `diffusion`, which binds no catalog. */
static void
test_none (void)
{
  g_autofree char *path = write_tensor (LORA);

  assert_refused (path, "%s cannot be used: it is a LoRA, a small change to a checkpoint, and not a checkpoint of its "
                        "own.  Choose a checkpoint; a LoRA can be merged into one by other programs.");
  g_unlink (path);
}

static gboolean
run (const char *const *command)
{
  int status;

  return g_spawn_sync (NULL, (char **) command, NULL, G_SPAWN_SEARCH_PATH | G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL,
                       NULL, NULL, &status, NULL)
         && g_spawn_check_wait_status (status, NULL);
}

/* Messages are not translated in the locale C, and few machines have all others. */
static gboolean
make_locale (void)
{
  g_autofree char  *path = g_build_filename (folder, LOCALE, NULL);
  const char *const command[] = { "localedef", "-i", "de_DE", "-f", "UTF-8", path, NULL };

  if (run (command))
    return TRUE;
  g_test_skip ("the sources of locales are not installed");
  return FALSE;
}

static void
make_catalog (void)
{
  g_autofree char  *texts = g_build_filename (g_getenv ("TREE"), "po", "de.po", NULL);
  g_autofree char  *place = g_build_filename (folder, "de", "LC_MESSAGES", NULL);
  g_autofree char  *catalog = g_build_filename (place, GETTEXT_PACKAGE ".mo", NULL);
  const char *const command[] = { "msgfmt", "--check-format", "-o", catalog, texts, NULL };

  g_assert_cmpint (g_mkdir_with_parents (place, 0755), ==, 0);
  g_assert_true (run (command));
}

/* As the plug-in does it. */
static void
test_german (void)
{
  g_autofree char *lora = NULL, *other = NULL, *missing = g_build_filename (folder, "none.safetensors", NULL);
  g_autofree char *brief = g_build_filename (folder, "brief.safetensors", NULL), *unread = NULL;

  if (! make_locale ())
    return;
  make_catalog ();
  g_setenv ("LOCPATH", folder, TRUE);
  g_setenv ("LANGUAGE", "de", TRUE);
  g_assert_nonnull (setlocale (LC_ALL, LOCALE));
  bindtextdomain (GETTEXT_PACKAGE, folder);
  bind_textdomain_codeset (GETTEXT_PACKAGE, "UTF-8");
  textdomain (GETTEXT_PACKAGE);

  lora = write_tensor (LORA);
  assert_refused (lora, "%s kann nicht verwendet werden: Es ist eine LoRA, eine kleine Änderung an einem Checkpoint "
                        "und selbst kein Checkpoint. Wählen Sie einen Checkpoint; andere Programme können eine LoRA "
                        "in einen Checkpoint einarbeiten.");
  other = write_tensor ("something.else");
  assert_refused (other,
                  "%s ist weder ein Modell dieses Programms noch ein Checkpoint von Stable Diffusion: Der Tensor "
                  "model.diffusion_model.input_blocks.0.0.weight fehlt.");
  g_unlink (other);
  g_assert_true (g_file_set_contents (brief, "brief", -1, NULL));
  assert_refused (brief, "%s ist kein brauchbares Modell: Die Datei ist zu kurz. Wählen Sie eine andere Modelldatei "
                         "oder installieren Sie diese neu.");
  unread = g_strdup_printf ("Die Modelldatei %%s konnte nicht gelesen werden: %s.", g_strerror (ENOENT));
  assert_refused (missing, unread);

  setlocale (LC_ALL, "C");
  assert_refused (brief, "%s is not a model that can be used: it is too short.  Choose another model file, or install "
                         "this one again.");
  g_unlink (brief);
}

static void
remove_tree (const char *path)
{
  g_autoptr (GDir) dir = g_file_test (path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *inner = g_build_filename (path, name, NULL);

      remove_tree (inner);
    }
  g_remove (path);
}

int
main (int argc, char **argv)
{
  int result;

  g_test_init (&argc, &argv, NULL);
  folder = g_dir_make_tmp ("translations-XXXXXX", NULL);
  g_assert_nonnull (folder);
  g_test_add_func ("/translations/none", test_none);
  g_test_add_func ("/translations/german", test_german);
  result = g_test_run ();
  remove_tree (folder);
  g_free (folder);
  return result;
}
