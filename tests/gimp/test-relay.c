/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Work that goes to and fro between a thread and the main loop, without GIMP.
 */
#include "ui/relay.h"

typedef struct
{
  GThread      *main;
  GCancellable *cancellable;
  GString      *trace;   /* t: thought, r: read, e: ended */
  int           rounds;  /* of reading that are asked for */
  int           strips;  /* in each */
  int           left;    /* of these */
  char          fails;   /* this one does, */
  gboolean      cancels; /* or rather cancels it all */
  gboolean      ended;
  GError       *error;
} Work;

static gboolean
step (Work *work, char what, GError **error)
{
  g_string_append_c (work->trace, what);
  if (what != work->fails)
    return TRUE;
  if (work->cancels)
    {
      g_cancellable_cancel (work->cancellable);
      return TRUE;
    }
  g_set_error_literal (error, G_IO_ERROR, G_IO_ERROR_FAILED, "as told");
  return FALSE;
}

static gboolean
work_think (gpointer data, GCancellable *cancellable, gboolean *more, GError **error)
{
  Work *work = data;

  g_assert_true (g_thread_self () != work->main);
  g_assert_true (cancellable == work->cancellable);
  work->left = work->strips;
  *more = work->rounds-- > 0;
  return step (work, 't', error);
}

static gboolean
work_read (gpointer data, gboolean *done, GError **error)
{
  Work *work = data;

  g_assert_true (g_thread_self () == work->main);
  *done = --work->left == 0;
  return step (work, 'r', error);
}

static void
work_end (gpointer data, const GError *error)
{
  Work *work = data;

  g_assert_true (g_thread_self () == work->main);
  g_assert_false (work->ended);
  work->ended = TRUE;
  work->error = error ? g_error_copy (error) : NULL;
  g_string_append_c (work->trace, 'e');
}

/* Runs it to its end, and a little longer. */
static void
check (Work *work, const char *expected, int code)
{
  static const UiRelayWork calls = { work_think, work_read, work_end };

  work->main = g_thread_self ();
  work->cancellable = g_cancellable_new ();
  work->trace = g_string_new (NULL);
  ui_relay_run (&calls, work, work->cancellable);
  /* It never ends before it has begun. */
  g_assert_false (work->ended);
  while (! work->ended)
    g_main_context_iteration (NULL, TRUE);
  while (g_main_context_iteration (NULL, FALSE))
    ;
  g_assert_cmpstr (work->trace->str, ==, expected);
  if (code < 0)
    g_assert_no_error (work->error);
  else
    g_assert_error (work->error, G_IO_ERROR, code);
  g_clear_error (&work->error);
  g_string_free (work->trace, TRUE);
  g_object_unref (work->cancellable);
}

static void
test_rounds (void)
{
  check (&(Work){ .rounds = 0 }, "te", -1);
  check (&(Work){ .rounds = 1, .strips = 3 }, "trrrte", -1);
  check (&(Work){ .rounds = 2, .strips = 2 }, "trrtrrte", -1);
}

static void
test_failures (void)
{
  check (&(Work){ .rounds = 1, .strips = 2, .fails = 't' }, "te", G_IO_ERROR_FAILED);
  check (&(Work){ .rounds = 1, .strips = 2, .fails = 'r' }, "tre", G_IO_ERROR_FAILED);
}

/* While it thinks, while it reads: nothing more is read, not even what was asked for. */
static void
test_cancelling (void)
{
  check (&(Work){ .rounds = 1, .strips = 2, .fails = 't', .cancels = TRUE }, "te", G_IO_ERROR_CANCELLED);
  check (&(Work){ .rounds = 1, .strips = 2, .fails = 'r', .cancels = TRUE }, "tre", G_IO_ERROR_CANCELLED);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/relay/rounds", test_rounds);
  g_test_add_func ("/relay/failures", test_failures);
  g_test_add_func ("/relay/cancelling", test_cancelling);
  return g_test_run ();
}
