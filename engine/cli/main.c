/* gimp-diffusion: the program `diffusion`, every feature of the engine without GIMP
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "command.h"

#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const Command commands[] = {
  { "denoise", "IN OUT", "Remove the noise of a photograph.", command_denoise },
  { "inpaint", "IN MASK OUT", "Fill what a mask selects, so that nobody notices.", command_inpaint },
  { "regenerate", "IN OUT", "Make a picture, or a part of it, anew, a little or a lot.", command_regenerate },
  { "generate", "OUT", "Make a picture from nothing but noise.", command_generate },
  { "train", "", "Train a model on a folder of pictures or on a packed corpus.", command_train },
  { "pack", "DIR OUT", "Pack a folder of pictures into a corpus file for training.", command_pack },
  { "forward", "IN OUT", "Add noise to a picture: the forward process.", command_forward },
  { "show", "IN OUT", "Draw what a diffusion model does with a picture: film strips and curves.", command_show },
  { "estimate", "IN", "Measure the noise of a photograph, in units of 1/255.", command_estimate },
  { "info", "MODEL", "Describe a model: a file, or the name of an installed one.", command_info },
  { "bench", "", "Measure how fast this machine is, and the engine on it.", command_bench },
};

static void
print_help (FILE *to)
{
  fputs ("Usage:\n  diffusion COMMAND [OPTIONS]\n\nCommands:\n", to);
  for (gsize i = 0; i < G_N_ELEMENTS (commands); i++)
    fprintf (to, "  %-10s %-11s  %s\n", commands[i].name, commands[i].files, commands[i].summary);
  fputs ("\n\"diffusion COMMAND --help\" explains the options of each; \"diffusion --version\" tells the version.\n"
         "Pictures: PNG, JPEG, TIFF, PPM and PGM files; WebP files can be read only.\n",
         to);
}

static int
run_command (const Command *command, char **argv)
{
  g_autoptr (GError) error = NULL;

  if (command->run (command, argv, &error))
    return EXIT_SUCCESS;
  fflush (stdout); /* so that what was printed before the error also stands before it */
  fprintf (stderr, "diffusion %s: %s%s\n", command->name, error->message,
           g_str_has_suffix (error->message, ".") ? "" : ".");
  return EXIT_FAILURE;
}

int
main (int argc, char **argv)
{
  const Command *command = NULL;
  int            status = EXIT_SUCCESS;

  /* File names are in the locale's encoding; numbers and messages are the same everywhere. */
  setlocale (LC_CTYPE, "");
  signal (SIGPIPE, SIG_IGN);
#ifdef SIGXFSZ
  signal (SIGXFSZ, SIG_IGN); /* a file too large then is a write error, after which the temporary file is removed */
#endif
  for (gsize i = 0; argc > 1 && i < G_N_ELEMENTS (commands); i++)
    if (g_strcmp0 (argv[1], commands[i].name) == 0)
      command = &commands[i];
  if (command)
    status = run_command (command, argv + 1);
  else if (argc < 2)
    {
      print_help (stderr);
      status = EXIT_FAILURE;
    }
  else if (g_strcmp0 (argv[1], "--help") == 0 || g_strcmp0 (argv[1], "-h") == 0)
    print_help (stdout);
  else if (g_strcmp0 (argv[1], "--version") == 0)
    puts ("diffusion " DIFFUSION_VERSION);
  else
    {
      fprintf (stderr, "diffusion: There is no command \"%s\"; \"diffusion --help\" lists them.\n", argv[1]);
      status = EXIT_FAILURE;
    }
  if (fflush (stdout) != 0 || ferror (stdout))
    {
      fprintf (stderr, "diffusion: The output could not be printed: %s\n", g_strerror (errno));
      status = EXIT_FAILURE;
    }
  /* Not by exit (): that waits for OpenBLAS's own threads, which wait for memory for ever where it is limited. */
  fflush (stderr);
  _exit (status);
}
