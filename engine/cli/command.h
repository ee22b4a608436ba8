/* gimp-diffusion: the commands of the program and their options
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "diffusion.h"

G_BEGIN_DECLS

typedef struct _Command Command;
struct _Command
{
  const char *name;
  const char *files; /* the file arguments, as the help names them */
  const char *summary;
  gboolean (*run) (const Command *self, char **argv, GError **error); /* argv[0] is the name */
};

gboolean command_bench (const Command *self, char **argv, GError **error);
gboolean command_denoise (const Command *self, char **argv, GError **error);
gboolean command_estimate (const Command *self, char **argv, GError **error);
gboolean command_forward (const Command *self, char **argv, GError **error);
gboolean command_generate (const Command *self, char **argv, GError **error);
gboolean command_info (const Command *self, char **argv, GError **error);
gboolean command_inpaint (const Command *self, char **argv, GError **error);
gboolean command_pack (const Command *self, char **argv, GError **error);
gboolean command_regenerate (const Command *self, char **argv, GError **error);
gboolean command_show (const Command *self, char **argv, GError **error);
gboolean command_train (const Command *self, char **argv, GError **error);

/* ---- options ----------------------------------------------------------------------------------------------------- */

typedef enum
{
  OPTION_FLAG, /* gboolean */
  OPTION_TEXT, /* char *, to be freed with g_free () */
  OPTION_FILE, /* the same, in the encoding of file names */
  OPTION_INT,  /* int from least to most */
  OPTION_LONG, /* gint64 from least to most */
  OPTION_SEED, /* guint64 */
  OPTION_REAL  /* double from least to most */
} OptionKind;

typedef struct
{
  const char *name;
  OptionKind  kind;
  gpointer    target; /* keeps its value, the default, when the option is not given */
  const char *argument;
  const char *help;
  double      least, most;
  gboolean    needed; /* an error if it is not given */
} Option;

/* Parses what follows the command's name.  files: the file arguments, exactly as many as the command has, to be freed
 * with g_strfreev ().  Asked for help, it prints it and ends the program. */
gboolean command_parse (const Command *self, char **argv, const Option *options, gsize count, char ***files,
                        GError **error);

/* One number on behalf of an option; the error names the option and its range. */
gboolean option_parse_real (const char *name, const char *text, double least, double most, double *value,
                            GError **error);
/* "64,128,256": at most `most_count` whole numbers. */
gboolean option_parse_list (const char *name, const char *text, int least, int most, int *values, int most_count,
                            int *count, GError **error);

G_END_DECLS
