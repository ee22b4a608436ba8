/* gimp-diffusion: the program `diffusion`, run as a user runs it
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <glib/gstdio.h>
#include <string.h>
#include <sys/resource.h>

static const char *program;
static char       *folder;     /* everything that the tests write lies below it */
static char       *tiny_model; /* trained for a moment, made on first use */

/* ---- running the program ----------------------------------------------------------------------------------------- */

void
result_clear (Result *result)
{
  g_clear_pointer (&result->out, g_free);
  g_clear_pointer (&result->err, g_free);
}

static void
limit_file_size (gpointer bytes)
{
  struct rlimit limit = { GPOINTER_TO_SIZE (bytes), GPOINTER_TO_SIZE (bytes) };

  setrlimit (RLIMIT_FSIZE, &limit);
}

GSubprocess *
start_under (const char *const *before, const char *const *arguments, gsize file_size_most)
{
  g_autoptr (GSubprocessLauncher) launcher
      = g_subprocess_launcher_new (G_SUBPROCESS_FLAGS_STDOUT_PIPE | G_SUBPROCESS_FLAGS_STDERR_PIPE);
  g_autoptr (GPtrArray) argv = g_ptr_array_new ();
  g_autoptr (GError) error = NULL;
  GSubprocess *process;

  for (; before && *before; before++)
    g_ptr_array_add (argv, (gpointer) *before);
  g_ptr_array_add (argv, (gpointer) program);
  for (; *arguments; arguments++)
    g_ptr_array_add (argv, (gpointer) *arguments);
  g_ptr_array_add (argv, NULL);
  g_subprocess_launcher_setenv (launcher, "XDG_CACHE_HOME", folder, TRUE);
  g_subprocess_launcher_setenv (launcher, "XDG_DATA_HOME", folder, TRUE);
  if (file_size_most)
    g_subprocess_launcher_set_child_setup (launcher, limit_file_size, GSIZE_TO_POINTER (file_size_most), NULL);
  process = g_subprocess_launcher_spawnv (launcher, (const char *const *) argv->pdata, &error);
  g_assert_no_error (error);
  return process;
}

GSubprocess *
start_with (const char *const *arguments, gsize file_size_most)
{
  return start_under (NULL, arguments, file_size_most);
}

static Result
finish (GSubprocess *process)
{
  g_autoptr (GError) error = NULL;
  Result result = { 0 };

  g_subprocess_communicate_utf8 (process, NULL, NULL, &result.out, &result.err, &error);
  g_assert_no_error (error);
  g_assert_true (g_subprocess_get_if_exited (process));
  result.status = g_subprocess_get_exit_status (process);
  return result;
}

Result
run_under (const char *const *before, const char *const *arguments)
{
  g_autoptr (GSubprocess) process = start_under (before, arguments, 0);

  return finish (process);
}

Result
run_with (const char *const *arguments, gsize file_size_most)
{
  g_autoptr (GSubprocess) process = start_with (arguments, file_size_most);

  return finish (process);
}

/* Runs what must succeed; returns what it printed. */
char *
run_fine (const char *const *arguments)
{
  Result result = run_with (arguments, 0);

  if (result.status != 0)
    g_error ("diffusion %s: status %d: %s", arguments[0], result.status, result.err);
  g_free (result.err);
  return result.out;
}

/* A failure as the user should see it: status 1 and one line on stderr that has the word. */
void
assert_refused (const Result *result, const char *word)
{
  g_test_message ("%.*s", (int) strcspn (result->err, "\n"), result->err);
  g_assert_cmpint (result->status, ==, 1);
  g_assert_true (g_str_has_prefix (result->err, "diffusion"));
  g_assert_nonnull (strstr (result->err, word));
  g_assert_true (strchr (result->err, '\n') == result->err + strlen (result->err) - 1);
}

void
refused (const char *word, const char *const *arguments)
{
  g_auto (Result) result = run_with (arguments, 0);

  assert_refused (&result, word);
}

char *
in_folder (const char *name)
{
  return g_build_filename (folder, name, NULL);
}

/* How many files a folder has, for temporary ones must not be left behind. */
int
count_entries (const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  int count = 0;

  while (dir && g_dir_read_name (dir))
    count++;
  return count;
}

/* ---- pictures ---------------------------------------------------------------------------------------------------- */

/* Any picture that the program reads, by way of a PNG file. */
Image *
image_read_any (const char *path)
{
  g_autofree char *png = in_folder ("any.png");

  FINE ("forward", path, png, "--noise", "0");
  return image_read_png (png);
}

/* A folder of 3 pictures to train on, made once. */
char *
get_pictures (void)
{
  g_autofree char *pictures = in_folder ("pictures"), *inner = in_folder ("pictures/inner");

  if (g_mkdir (pictures, 0755) == 0)
    {
      g_mkdir (inner, 0755);
      for (int i = 0; i < 3; i++)
        {
          g_autoptr (Image) image = image_make (96, 64 + 16 * i, i == 2 ? 1 : 3, 8, 0, i);
          g_autofree char *path = g_strdup_printf ("%s/%d.png", i ? pictures : inner, i);

          image_write_png (image, path);
        }
    }
  return g_steal_pointer (&pictures);
}

const char *
get_model (void)
{
  if (! tiny_model)
    {
      g_autofree char *pictures = get_pictures ();

      tiny_model = in_folder ("tiny.safetensors");
      FINE ("train", "--data", pictures, "--out", tiny_model, "--samples", "1600", TINY);
    }
  return tiny_model;
}

/* A path in the test folder with a picture just made. */
char *
make_png (const char *name, int width, int height, int channels, int bits, double noise)
{
  g_autoptr (Image) image = image_make (width, height, channels, bits, noise, 7);
  char *path = in_folder (name);

  image_write_png (image, path);
  return path;
}

/* ---- main -------------------------------------------------------------------------------------------------------- */

static void
remove_all (const char *path)
{
  if (g_file_test (path, G_FILE_TEST_IS_DIR) && ! g_file_test (path, G_FILE_TEST_IS_SYMLINK))
    {
      g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
      const char *name;

      while (dir && (name = g_dir_read_name (dir)))
        {
          g_autofree char *inner = g_build_filename (path, name, NULL);

          remove_all (inner);
        }
    }
  g_remove (path);
}

double
get_value (const char *text, const char *key)
{
  const char *at = strstr (text, key);

  g_assert_nonnull (at);
  return g_ascii_strtod (at + strlen (key), NULL);
}

int
cli_main (int argc, char **argv, const CliTest *tests, gsize count)
{
  int status;

  g_test_init (&argc, &argv, NULL);
  program = g_getenv ("DIFFUSION_PROGRAM");
  if (! program)
    {
      g_printerr ("DIFFUSION_PROGRAM does not name the program\n");
      return 77; /* skipped */
    }
  folder = g_dir_make_tmp ("test-cli-XXXXXX", NULL);
  g_assert_nonnull (folder);
  for (gsize i = 0; i < count; i++)
    {
      g_autofree char *path = g_strconcat ("/cli/", tests[i].name, NULL);

      g_test_add_func (path, tests[i].function);
    }
  status = g_test_run ();
  remove_all (folder);
  g_free (folder);
  g_free (tiny_model);
  return status;
}
