/* gimp-diffusion: training with several processes, started by mpirun
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <glib/gstdio.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#define TWO_RANKS                                                                                                      \
  (const char *const[])                                                                                                \
  {                                                                                                                    \
    "mpirun", "-n", "2", "--oversubscribe", NULL                                                                       \
  }
#define SMALL "--widths", "8,16", "--blocks", "1,1", "--crop", "32", "--threads", "1"
#define WAIT  60 /* seconds: for what takes a second or two on an idle machine */

/* The numbers of a safetensors file of f32: what follows its header. */
static const float *
get_numbers (GBytes *file, gsize *count)
{
  gsize         size;
  const guint8 *data = g_bytes_get_data (file, &size);
  guint64       header;

  g_assert_cmpint (size, >, 8);
  memcpy (&header, data, 8);
  header = GUINT64_FROM_LE (header);
  g_assert_cmpint (header % 4, ==, 0);
  g_assert_cmpint (size, >, header + 8);
  *count = (size - header - 8) / sizeof (float);
  return (const float *) (gconstpointer) (data + 8 + header);
}

/* Two processes and one with twice the batch: the same weights, average and moments, to the rounding of sums. */
static void
test_same (void)
{
  g_autofree char *pictures = get_pictures (), *one = in_folder ("one.safetensors"),
                  *two = in_folder ("two.safetensors");
  g_autofree char *one_state = g_strconcat (one, ".checkpoint", NULL),
                  *two_state = g_strconcat (two, ".checkpoint", NULL);
  const char *const alone[]
      = { "train", "--data", pictures, "--out", one, "--batch", "8", "--samples", "320", SMALL, NULL };
  const char *const both[]
      = { "train", "--data", pictures, "--out", two, "--batch", "4", "--samples", "320", SMALL, NULL };
  g_autoptr (GBytes) expected = NULL, actual = NULL;
  g_auto (Result) result = { 0 };
  const float *a, *b;
  gsize        count, other;
  double       difference = 0, length = 0;

  g_free (run_fine (alone));
  result = run_under (TWO_RANKS, both);
  g_test_message ("%s", result.err);
  g_assert_cmpint (result.status, ==, 0);
  g_assert_nonnull (strstr (result.out, "trained: 320 samples"));
  g_assert_null (strstr (strstr (result.out, "trained:") + 1, "trained:")); /* one of them tells */
  expected = file_load (one_state);
  actual = file_load (two_state);
  a = get_numbers (expected, &count);
  b = get_numbers (actual, &other);
  g_assert_cmpint (count, ==, other);
  for (gsize i = 0; i < count; i++)
    {
      difference += pow ((double) a[i] - (double) b[i], 2);
      length += pow ((double) a[i], 2);
    }
  g_test_message ("%" G_GSIZE_FORMAT " numbers differ by %.2g", count, sqrt (difference / length));
  g_assert_cmpfloat (sqrt (difference / length), <, 1e-5);
}

static gboolean
wait_for (const char *path)
{
  for (int i = 0; i < WAIT * 20 && ! g_file_test (path, G_FILE_TEST_EXISTS); i++)
    g_usleep (G_USEC_PER_SEC / 20);
  return g_file_test (path, G_FILE_TEST_EXISTS);
}

/* One process is killed: the job ends, and from the last checkpoint the training goes on. */
static void
test_killed (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("killed.safetensors"), *pid_path = in_folder ("pid");
  g_autofree char *checkpoint = g_strconcat (out, ".checkpoint", NULL), *text = NULL, *printed = NULL;
  /* The second process is a shell that notes its number and becomes the program. */
  g_autofree char *script
      = g_strdup_printf ("test \"$OMPI_COMM_WORLD_RANK\" = 1 && echo $$ > '%s'; exec \"$@\"", pid_path);
  const char *const before[] = { "mpirun", "-n", "2", "--oversubscribe", "sh", "-c", script, "sh", NULL };
  const char *const arguments[]
      = { "train", "--data", pictures, "--out", out, "--batch", "4", "--minutes", "9", "--every", "0.1", SMALL, NULL };
  g_autoptr (GSubprocess) process = start_under (before, arguments, 0);
  int pid;

  g_assert_true (wait_for (checkpoint));
  g_assert_true (g_file_get_contents (pid_path, &text, NULL, NULL));
  pid = (int) g_ascii_strtoll (text, NULL, 10);
  g_assert_cmpint (pid, >, 1);
  g_assert_cmpint (kill (pid, SIGKILL), ==, 0);
  g_subprocess_communicate_utf8 (process, NULL, NULL, NULL, NULL, NULL);
  g_assert_true (g_subprocess_get_if_exited (process));
  g_assert_cmpint (g_subprocess_get_exit_status (process), !=, 0);
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));

  printed = OUTPUT ("train", "--data", pictures, "--out", out, "--batch", "8", "--samples", "24", "--resume", SMALL);
  g_assert_nonnull (strstr (printed, "trained: "));
  g_assert_cmpint (g_ascii_strtoll (strstr (printed, "trained: ") + 9, NULL, 10), >, 24);
}

/* A mistake is told, and nobody waits for ever. */
static void
test_refused (void)
{
  g_autofree char  *missing = in_folder ("missing"), *out = in_folder ("never.safetensors");
  const char *const arguments[] = { "train", "--data", missing, "--out", out, "--samples", "64", SMALL, NULL };
  g_auto (Result) result = run_under (TWO_RANKS, arguments);

  g_assert_cmpint (result.status, !=, 0);
  g_assert_nonnull (strstr (result.err, "There is no folder"));
}

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "team/same", test_same },
    { "team/killed", test_killed },
    { "team/refused", test_refused },
  };

  /* Open MPI asks this of root; tests run in containers, where there is nobody else. */
  g_setenv ("OMPI_ALLOW_RUN_AS_ROOT", "1", TRUE);
  g_setenv ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", TRUE);
  g_setenv ("PRTE_ALLOW_RUN_AS_ROOT", "1", TRUE); /* Open MPI 5 */
  g_setenv ("PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1", TRUE);
  /* In f32: halves, which some processors compute in, round more coarsely. */
  g_setenv ("DIFFUSION_COMPUTE", "blas", TRUE);
  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
