/* gimp-diffusion: the options of a command
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "command.h"

gboolean
option_parse_real (const char *name, const char *text, double least, double most, double *value, GError **error)
{
  char  *end = NULL;
  double number = g_ascii_strtod (text, &end);

  /* NAN fails both comparisons. */
  if (end != text && ! *end && ! g_ascii_isspace (*text) && number >= least && number <= most)
    {
      *value = number;
      return TRUE;
    }
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--%s takes a number from %g to %g, not \"%s\"", name,
               least, most, text);
  return FALSE;
}

static gboolean
parse_whole (const char *name, const char *text, gint64 least, gint64 most, gint64 *value, GError **error)
{
  if (g_ascii_string_to_signed (text, 10, least, most, value, NULL))
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
               "--%s takes a whole number from %" G_GINT64_FORMAT " to %" G_GINT64_FORMAT ", not \"%s\"", name, least,
               most, text);
  return FALSE;
}

gboolean
option_parse_list (const char *name, const char *text, int least, int most, int *values, int most_count, int *count,
                   GError **error)
{
  g_auto (GStrv) parts = g_strsplit (text, ",", -1);
  int length = g_strv_length (parts);

  if (length < 1 || length > most_count)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--%s takes 1 to %d whole numbers with commas between them, not \"%s\"", name, most_count, text);
      return FALSE;
    }
  for (int i = 0; i < length; i++)
    {
      gint64 value;

      if (! parse_whole (name, parts[i], least, most, &value, error))
        return FALSE;
      values[i] = value;
    }
  *count = length;
  return TRUE;
}

/* Moves the text that was given for an option into its target. */
static gboolean
take_value (const Option *option, char **text, GError **error)
{
  gint64 whole;

  switch (option->kind)
    {
    case OPTION_TEXT:
    case OPTION_FILE:
      g_free (*(char **) option->target);
      *(char **) option->target = g_steal_pointer (text);
      return TRUE;
    case OPTION_REAL:
      return option_parse_real (option->name, *text, option->least, option->most, option->target, error);
    case OPTION_SEED:
      if (g_ascii_string_to_unsigned (*text, 10, 0, G_MAXUINT64, option->target, NULL))
        return TRUE;
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                   "--%s takes a whole number from 0 to %" G_GUINT64_FORMAT ", not \"%s\"", option->name, G_MAXUINT64,
                   *text);
      return FALSE;
    default:
      if (! parse_whole (option->name, *text, option->least, option->most, &whole, error))
        return FALSE;
      if (option->kind == OPTION_INT)
        *(int *) option->target = whole;
      else
        *(gint64 *) option->target = whole;
      return TRUE;
    }
}

static gboolean
check_not_needed (const Option *option, GError **error)
{
  if (option->needed)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "--%s %s is needed: %s", option->name,
                 option->argument, option->help);
  return ! option->needed;
}

static gboolean
check_files (const Command *self, char **files, GError **error)
{
  g_auto (GStrv) names = g_strsplit (self->files, " ", -1);
  guint wanted = *self->files ? g_strv_length (names) : 0, given = files ? g_strv_length (files) : 0;

  if (given < wanted)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "%s is missing", names[given]);
  else if (given > wanted)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "\"%s\" is one argument too many", files[wanted]);
  return given == wanted;
}

gboolean
command_parse (const Command *self, char **argv, const Option *options, gsize count, char ***files, GError **error)
{
  g_autoptr (GOptionContext) context = g_option_context_new (self->files);
  g_autofree GOptionEntry *entries = g_new0 (GOptionEntry, count + 2);
  g_autofree char        **values = g_new0 (char *, count);
  g_autoptr (GPtrArray) descriptions = g_ptr_array_new_with_free_func (g_free);
  g_auto (GStrv) rest = NULL, copy = g_strdupv (argv);
  g_autofree char *program = g_strdup_printf ("diffusion %s", self->name);
  g_autofree char *help = g_strdup_printf ("; \"%s --help\" explains it", program);
  gboolean         parsed;

  for (gsize i = 0; i < count; i++)
    {
      GOptionEntry *entry = &entries[i];

      entry->long_name = options[i].name;
      entry->arg = options[i].kind == OPTION_FLAG   ? G_OPTION_ARG_NONE
                   : options[i].kind == OPTION_FILE ? G_OPTION_ARG_FILENAME
                                                    : G_OPTION_ARG_STRING;
      entry->arg_data = options[i].kind == OPTION_FLAG ? options[i].target : &values[i];
      entry->arg_description = options[i].argument;
      entry->description = options[i].help;
      if (options[i].needed)
        g_ptr_array_add (descriptions,
                         (gpointer) (entry->description = g_strconcat (options[i].help, "; needed", NULL)));
    }
  entries[count].long_name = G_OPTION_REMAINING;
  entries[count].arg = G_OPTION_ARG_FILENAME_ARRAY;
  entries[count].arg_data = &rest;
  g_set_prgname (program);
  g_option_context_set_summary (context, self->summary);
  if (g_str_has_prefix (self->files, "IN"))
    g_option_context_set_description (
        context, "Values are taken as sRGB-coded, whatever a profile says; the filters in GIMP convert linear light.");
  g_option_context_add_main_entries (context, entries, NULL);
  parsed = g_option_context_parse_strv (context, &copy, error);
  for (gsize i = 0; i < count; i++)
    {
      parsed
          = parsed && (values[i] ? take_value (&options[i], &values[i], error) : check_not_needed (&options[i], error));
      g_free (values[i]);
    }
  if (! parsed || ! check_files (self, rest, error))
    {
      if (error)
        {
          g_autofree char *message = (*error)->message;

          (*error)->message = g_strconcat (message, help, NULL);
        }
      return FALSE;
    }
  *files = g_steal_pointer (&rest);
  return TRUE;
}
