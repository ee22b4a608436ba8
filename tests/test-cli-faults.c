/* gimp-diffusion: the program `diffusion` when the machine fails it
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>

/* ---- memory ---- */

static void
limit_memory (gpointer bytes)
{
  struct rlimit limit = { GPOINTER_TO_SIZE (bytes), GPOINTER_TO_SIZE (bytes) };

  setrlimit (RLIMIT_AS, &limit);
}

/* Newer releases of OpenBLAS try for ever, before main (), to get 128 MB that they do not get: then nothing of ours has
 * begun. */
static gboolean
can_start (gsize megabytes)
{
  const char *argv[] = { "timeout", "5", g_getenv ("DIFFUSION_PROGRAM"), "--help", NULL };
  int         status;

  g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL,
                               G_SPAWN_SEARCH_PATH | G_SPAWN_STDOUT_TO_DEV_NULL | G_SPAWN_STDERR_TO_DEV_NULL,
                               limit_memory, GSIZE_TO_POINTER (megabytes << 20), NULL, NULL, &status, NULL));
  return ! WIFEXITED (status) || WEXITSTATUS (status) != 124;
}

/* From what only starts the program to what is enough: each run ends, with the whole result or with none. */
static void
test_memory_limits (void)
{
  g_autofree char *in = make_png ("limited.png", 400, 300, 3, 8, 20), *out = in_folder ("limited-out.png");
  const char      *argv[]
      = { g_getenv ("DIFFUSION_PROGRAM"), "denoise", in, out, "--noise", "20", "--model", get_model (), NULL };
  int   refused = 0, done = 0;
  gsize least = 180;

  while (least <= 1500 && ! can_start (least))
    least += least / 6;
  for (gsize megabytes = least; megabytes <= 1500; megabytes += megabytes / 6)
    {
      g_autofree char *err = NULL;
      int              status;

      g_unlink (out);
      g_assert_true (g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, limit_memory,
                                   GSIZE_TO_POINTER (megabytes << 20), NULL, &err, &status, NULL));
      g_test_message ("%d MB: status %d: %s", (int) megabytes, status, err);
      if (status == 0)
        {
          g_autoptr (Image) image = image_read_png (out);

          g_assert_cmpint (image->width, ==, 400);
          done++;
        }
      else
        {
          g_assert_true (WIFEXITED (status));
          g_assert_nonnull (strstr (err, "not enough memory"));
          g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
          refused++;
        }
    }
  g_print ("# measured: %d memory limits: %d done, %d refused\n", refused + done, done, refused);
  g_assert_cmpint (refused, >, 0);
  g_assert_cmpint (done, >, 0);
}

/* ---- checkpoints ---- */

/* Whether a checkpoint is being written to the folder: then a temporary file is there.  end: those that are there are
 * removed, as a killed program leaves its own. */
static gboolean
is_being_written (const char *folder, gboolean end)
{
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;
  gboolean    found = FALSE;

  while (dir && (name = g_dir_read_name (dir)))
    if (strstr (name, ".checkpoint."))
      {
        g_autofree char *path = g_build_filename (folder, name, NULL);

        found = TRUE;
        if (end)
          g_assert_cmpint (g_remove (path), ==, 0);
      }
  return found;
}

/* Killed while a checkpoint is being written, again and again: the last good one is gone on from each time. */
static void
test_kill_checkpoint (void)
{
  enum
  {
    KILLS = 50
  };
  g_autofree char *pictures = get_pictures (), *made = in_folder ("killed");
  g_autofree char *out = g_build_filename (made, "m.safetensors", NULL);
  g_autofree char *checkpoint = g_strconcat (out, ".checkpoint", NULL);
  g_autoptr (GRand) rand = g_rand_new_with_seed (7);
  int inside = 0;

  g_assert_cmpint (g_mkdir (made, 0755), ==, 0);
  FINE ("train", "--data", pictures, "--out", out, "--samples", "8", TINY);
  for (int i = 0; i < KILLS; i++)
    {
      g_autoptr (GSubprocess) process = start_with (
          (const char *const[]){ "train", "--data", pictures, "--out", out, "--minutes", "60", "--resume", TINY, NULL },
          0);
      g_autoptr (GDataInputStream) stream = g_data_input_stream_new (g_subprocess_get_stdout_pipe (process));
      g_autofree char *line = NULL;
      gint64           end;
      gboolean         writing = FALSE;

      do /* until it has gone on from the checkpoint */
        {
          g_free (line);
          line = g_data_input_stream_read_line (stream, NULL, NULL, NULL);
          g_assert_nonnull (line);
        }
      while (! g_str_has_prefix (line, "loss "));
      g_subprocess_send_signal (process, SIGINT); /* upon which it writes one */
      end = g_get_monotonic_time () + 5 * G_USEC_PER_SEC;
      while (! writing && g_get_monotonic_time () < end)
        writing = is_being_written (made, FALSE);
      g_usleep ((gulong) g_rand_int_range (rand, 0, 300));
      g_subprocess_send_signal (process, SIGKILL);
      g_subprocess_wait (process, NULL, NULL);
      /* One that was ready has its own name. */
      inside += is_being_written (made, TRUE);
      g_assert_true (g_file_test (checkpoint, G_FILE_TEST_IS_REGULAR));
    }
  g_print ("# measured: %d kills, %d of them within the writing of a checkpoint\n", KILLS, inside);
  FINE ("train", "--data", pictures, "--out", out, "--samples", "16", "--resume", TINY);
  FINE ("info", out);
  g_assert_cmpint (inside, >, 0);
}

/* A disk that has no room for the checkpoint, or may not be written to. */
static void
test_train_disk (void)
{
  g_autofree char *pictures = get_pictures (), *disk = in_folder ("small-disk");
  g_autofree char *out = g_build_filename (disk, "m.safetensors", NULL);
  g_auto (Result) full = { 0 }, locked = { 0 };
  int entries;

  g_assert_cmpint (g_mkdir (disk, 0755), ==, 0);
  if (mount ("none", disk, "tmpfs", 0, "size=16k") != 0)
    {
      g_test_skip ("a file system can only be mounted by root");
      return;
    }
  full = RUN ("train", "--data", pictures, "--out", out, "--samples", "16", TINY);
  entries = g_file_test (out, G_FILE_TEST_EXISTS);
  mount ("none", disk, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL);
  locked = RUN ("train", "--data", pictures, "--out", out, "--samples", "16", TINY);
  umount2 (disk, MNT_DETACH);
  g_assert_cmpint (full.status, ==, 1);
  g_assert_nonnull (strstr (full.err, g_strerror (ENOSPC)));
  g_assert_cmpint (locked.status, ==, 1);
  g_assert_nonnull (strstr (locked.err, g_strerror (EROFS)));
  g_assert_cmpint (entries, ==, 0);
}

/* A square hole in a picture of 200 x 150 pixels. */
static char *
make_hole (void)
{
  static const char head[] = "P5 200 150 255\n";
  g_autoptr (GString) text = g_string_new (head);
  char *path = in_folder ("disk-mask.pgm");

  for (int i = 0; i < 200 * 150; i++)
    g_string_append_c (text, i % 200 / 30 == 2 && i / 200 / 30 == 2 ? '\xff' : '\0');
  file_store (path, text->str, text->len);
  return path;
}

/* Each command that writes a picture, or many in a file, on a disk that has no room, then on one that is locked: a
 * sentence, and neither a part of the output nor anything else is left. */
static void
test_output_disk (void)
{
  g_autofree char  *in = make_png ("disk.png", 200, 150, 3, 8, 40), *mask = make_hole (), *pictures = get_pictures ();
  const char       *model = get_model ();
  const char *const commands[][12] = {
    { "denoise", in, "out.png", "--noise", "2", "--model", model },
    { "denoise", in, "out.jpg", "--noise", "2", "--model", model },
    { "denoise", in, "out.tif", "--noise", "2", "--model", model },
    { "denoise", in, "out.ppm", "--noise", "2", "--model", model },
    { "inpaint", in, mask, "out.png", "--steps", "1", "--model", model },
    { "regenerate", in, "out.png", "--steps", "1", "--strength", "0.1", "--model", model },
    { "generate", "out.png", "--width", "128", "--height", "128", "--steps", "1", "--model", model },
    { "forward", in, "out.png", "--noise", "40" },
    { "show", in, "out.png", "--model", model },
    { "pack", pictures, "out.corpus" },
  };
  g_autofree char *disk = in_folder ("output-disk");
  int              refusals = 0;

  g_assert_cmpint (g_mkdir (disk, 0755), ==, 0);
  for (gsize i = 0; i < 2 * G_N_ELEMENTS (commands); i++)
    {
      gboolean    locked = i >= G_N_ELEMENTS (commands);
      const char *arguments[13] = { NULL };
      g_auto (Result) result = { 0 };
      g_autofree char *out = NULL;
      int              entries;

      for (int k = 0; k < 12; k++)
        {
          arguments[k] = commands[i % G_N_ELEMENTS (commands)][k];
          if (arguments[k] && g_str_has_prefix (arguments[k], "out."))
            arguments[k] = out = g_build_filename (disk, arguments[k], NULL);
        }
      if (mount ("none", disk, "tmpfs", locked ? MS_RDONLY : 0, "size=8k") != 0)
        {
          g_test_skip ("a file system can only be mounted by root");
          return;
        }
      result = run_with (arguments, 0);
      entries = count_entries (disk);
      umount2 (disk, MNT_DETACH);
      g_test_message ("%s %s: %d, %s", arguments[0], out, result.status, result.err);
      assert_refused (&result, g_strerror (locked ? EROFS : ENOSPC));
      g_assert_cmpint (entries, ==, 0);
      refusals++;
    }
  g_print ("# measured: %d outputs on full and on locked disks, each refused with the reason\n", refusals);
}

/* The pictures of how training goes on are a comfort: where they cannot be written, the model still is. */
static void
test_curve_disk (void)
{
  g_autofree char *pictures = get_pictures (), *out = in_folder ("comfort.safetensors");
  g_autofree char *progress = in_folder ("comfort.progress");

  g_assert_cmpint (g_mkdir (progress, 0755), ==, 0);
  for (int locked = 0; locked < 2; locked++)
    {
      g_auto (Result) result = { 0 };

      if (mount ("none", progress, "tmpfs", locked ? MS_RDONLY : 0, "size=8k") != 0)
        {
          g_test_skip ("a file system can only be mounted by root");
          return;
        }
      g_unlink (out);
      result = RUN ("train", "--data", pictures, "--out", out, "--samples", "16", TINY);
      umount2 (progress, MNT_DETACH);
      g_assert_cmpint (result.status, ==, 0);
      g_assert_nonnull (strstr (result.err, "could be written"));
      g_assert_nonnull (strstr (result.err, g_strerror (locked ? EROFS : ENOSPC)));
      FINE ("info", out);
    }
}

/* ---- others at work ---- */

static void
test_two_runs (void)
{
  g_autofree char *in = make_png ("both.png", 200, 150, 3, 8, 20), *out = in_folder ("both-out.png");
  g_autofree char *alone = in_folder ("alone.png");

  FINE ("denoise", in, alone, "--noise", "20", "--model", get_model ());
  for (int i = 0; i < 5; i++)
    {
      const char *const arguments[] = { "denoise", in, out, "--noise", "20", "--model", get_model (), NULL };
      g_autoptr (GSubprocess) first = start_with (arguments, 0), second = start_with (arguments, 0);

      g_assert_true (g_subprocess_wait_check (first, NULL, NULL));
      g_assert_true (g_subprocess_wait_check (second, NULL, NULL));
      assert_same_file (out, alone);
    }
}

/* The model's file is cut and written over at some moment of a run: the result is the same, or there is none. */
static void
test_replaced_model (void)
{
  g_autofree char *in = make_png ("used.png", 200, 150, 3, 8, 20), *out = in_folder ("used-out.png");
  g_autofree char *alone = in_folder ("used-alone.png"), *model = in_folder ("used.safetensors");
  g_autoptr (GBytes) whole = file_load (get_model ());
  int same = 0, refused = 0;

  FINE ("denoise", in, alone, "--noise", "20", "--model", get_model ());
  for (int i = 0; i < 30; i++)
    {
      g_autoptr (GSubprocess) process = NULL;
      g_autofree char *err = NULL;
      FILE            *file;

      g_unlink (out);
      file_store (model, g_bytes_get_data (whole, NULL), g_bytes_get_size (whole));
      process = start_with ((const char *const[]){ "denoise", in, out, "--noise", "20", "--model", model, NULL }, 0);
      g_usleep ((gulong) (i * i) * 700); /* most of them early */
      file = fopen (model, "wb");        /* in place: the same file, now empty, then garbage */
      g_assert_nonnull (file);
      fputs ("garbage", file);
      fclose (file);
      g_subprocess_communicate_utf8 (process, NULL, NULL, NULL, &err, NULL);
      g_assert_true (g_subprocess_get_if_exited (process));
      if (g_subprocess_get_exit_status (process) == 0)
        {
          assert_same_file (out, alone);
          same++;
        }
      else
        {
          g_assert_nonnull (strstr (err, "used.safetensors"));
          g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
          refused++;
        }
    }
  g_print ("# measured: model replaced in %d runs: %d results the same, %d refused\n", same + refused, same, refused);
}

/* ---- what it touches ---- */

/* Writes, and anything of the network, among the system calls of a run. */
static void
test_system_calls (void)
{
  g_autofree char *strace = g_find_program_in_path ("strace"), *trace = in_folder ("trace"), *text = NULL;
  g_autofree char *in = make_png ("traced.png", 100, 80, 3, 8, 20), *out = in_folder ("traced-out.png");
  const char      *argv[] = { strace,
                              "-f",
                              "-qq",
                              "-o",
                              trace,
                              "-e",
                              "trace=%network,%file,execve",
                              g_getenv ("DIFFUSION_PROGRAM"),
                              "denoise",
                              in,
                              out,
                              "--model",
                              get_model (),
                              NULL };
  const char      *trial[] = { strace, "-f", "-qq", "-o", trace, "true", NULL };
  g_auto (GStrv) lines = NULL;
  int status, writes = 0;

  if (! strace)
    {
      g_test_skip ("strace is not installed");
      return;
    }
  if (! g_spawn_sync (NULL, (char **) trial, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL)
      || status != 0)
    {
      g_test_skip ("strace may not trace here");
      return;
    }
  g_assert_true (
      g_spawn_sync (NULL, (char **) argv, NULL, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL, NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
  g_assert_true (g_file_get_contents (trace, &text, NULL, NULL));
  lines = g_strsplit (text, "\n", -1);
  for (gsize i = 0; lines[i]; i++)
    {
      g_assert_null (strstr (lines[i], " socket("));
      g_assert_null (strstr (lines[i], " connect("));
      if (strstr (lines[i], "O_CREAT") || strstr (lines[i], "O_WRONLY") || strstr (lines[i], "O_RDWR")
          || strstr (lines[i], "rename") || strstr (lines[i], "unlink") || strstr (lines[i], "mkdir"))
        {
          g_test_message ("%s", lines[i]);
          g_assert_nonnull (strstr (lines[i], out)); /* and what is made beside it until it is whole */
          writes++;
        }
    }
  g_assert_cmpint (writes, >=, 2);
}

static const CliTest tests[] = {
  { "faults/memory-limits", test_memory_limits },   { "faults/kill-checkpoint", test_kill_checkpoint },
  { "faults/train-disk", test_train_disk },         { "faults/output-disk", test_output_disk },
  { "faults/curve-disk", test_curve_disk },         { "faults/two-runs", test_two_runs },
  { "faults/replaced-model", test_replaced_model }, { "faults/system-calls", test_system_calls },
};

int
main (int argc, char **argv)
{
  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
