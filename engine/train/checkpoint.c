/* Where a training stands, on disk.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/model.h"
#include "train.h"

/* The four arrays of the optimizer; in the file, each tensor's name has one of these before it. */
static const char *const prefixes[] = { "weights/", "average/", "m/", "v/" };

static void
get_arrays (const Adam *adam, float *arrays[4])
{
  arrays[0] = adam->weights;
  arrays[1] = adam->average;
  arrays[2] = adam->m;
  arrays[3] = adam->v;
}

static void
note (GHashTable *metadata, const char *key, double value)
{
  char text[G_ASCII_DTOSTR_BUF_SIZE];

  g_hash_table_insert (metadata, g_strdup (key), g_strdup (g_ascii_dtostr (text, sizeof text, value)));
}

gboolean
checkpoint_save (const char *path, const NetLayout *layout, const Adam *adam, const Progress *progress, GError **error)
{
  g_autoptr (GHashTable) metadata = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  int                     n = layout->n_tensors;
  g_autofree TensorEntry *entries = g_new0 (TensorEntry, (gsize) n * 4);
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  float *arrays[4];

  get_arrays (adam, arrays);
  for (int a = 0; a < 4; a++)
    for (int i = 0; i < n; i++)
      g_ptr_array_add (names, g_strconcat (prefixes[a], layout->tensors[i].name, NULL));
  for (int a = 0; a < 4; a++)
    model_add_entries (layout, (const char *const *) names->pdata + a * n, arrays[a], TENSOR_F32, entries + a * n);
  model_describe_architecture (&layout->architecture, metadata);
  note (metadata, "steps", (double) adam->steps);
  note (metadata, "samples", (double) progress->samples);
  note (metadata, "seconds", progress->seconds);
  note (metadata, "loss", progress->loss);
  note (metadata, "gradient_norm", progress->gradient_norm);
  note (metadata, "skipped", progress->skipped);
  note (metadata, "samples_of_start", (double) progress->samples_of_start);
  note (metadata, "hours_of_start", progress->hours_of_start);
  return tensors_write (path, entries, n * 4, metadata, error);
}

static double
recall (GHashTable *metadata, const char *key)
{
  const char *text = g_hash_table_lookup (metadata, key);

  return text ? g_ascii_strtod (text, NULL) : 0;
}

gboolean
checkpoint_load (const char *path, const NetLayout *layout, Adam *adam, Progress *progress, GError **error)
{
  g_autoptr (TensorFile) file = tensor_file_open (path, error);
  DiffusionArchitecture architecture;
  GHashTable           *metadata;
  float                *arrays[4];

  if (! file)
    return FALSE;
  metadata = tensor_file_get_metadata (file);
  if (! model_parse_architecture (metadata, path, &architecture, error))
    return FALSE;
  if (! net_architecture_equal (&architecture, &layout->architecture))
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                   "%s is of a training with other widths or blocks: resume with those, or start afresh without it.",
                   path);
      return FALSE;
    }
  get_arrays (adam, arrays);
  for (int a = 0; a < 4; a++)
    if (! model_read_parameters (file, layout, prefixes[a], arrays[a], error))
      return FALSE;
  adam->steps = (gint64) recall (metadata, "steps");
  progress->samples = (gint64) recall (metadata, "samples");
  progress->seconds = recall (metadata, "seconds");
  progress->loss = recall (metadata, "loss");
  progress->gradient_norm = recall (metadata, "gradient_norm");
  progress->skipped = (guint32) recall (metadata, "skipped");
  /* In older checkpoints this is not told: what the caller knows then stays. */
  if (g_hash_table_contains (metadata, "samples_of_start"))
    {
      progress->samples_of_start = (gint64) recall (metadata, "samples_of_start");
      progress->hours_of_start = recall (metadata, "hours_of_start");
    }
  return TRUE;
}
