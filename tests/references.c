/* What the original implementations made of tiny Stable Diffusion checkpoints.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "references.h"

#include <math.h>
#include <string.h>

static gboolean
is_there (const char *folder)
{
  g_autofree char *file = folder ? g_build_filename (folder, "golden-sd1.safetensors", NULL) : NULL;

  return file && g_file_test (file, G_FILE_TEST_IS_REGULAR);
}

const char *
references_find (void)
{
  static char     *found;
  const char      *given = g_getenv ("DIFFUSION_SD_REFERENCES"), *tree = g_getenv ("TREE"), *name;
  g_autofree char *beside = NULL;
  g_autoptr (GDir) dir = NULL;

  if (found || is_there (given))
    return found ? found : given;
  beside = tree ? g_path_get_dirname (tree) : NULL;
  dir = beside ? g_dir_open (beside, 0, NULL) : NULL;
  while (dir && ! found && (name = g_dir_read_name (dir)))
    {
      g_autofree char *folder = g_build_filename (beside, name, "sd", NULL);

      if (is_there (folder))
        found = g_steal_pointer (&folder);
    }
  if (! found)
    g_test_skip ("the reference checkpoints are not here: DIFFUSION_SD_REFERENCES names their folder");
  return found;
}

char *
references_get_path (const char *name)
{
  return g_build_filename (references_find (), name, NULL);
}

DiffusionPicture *
references_new_picture (int width, int height)
{
  DiffusionPicture *picture = diffusion_picture_new (width, height, 3, NULL);

  for (int i = 0; i < width * height * 3; i++)
    picture->data[i] = 0.5f + 0.4f * sinf (0.05f * (float) (i % 97) + 0.003f * (float) i);
  return picture;
}

DiffusionModel *
references_load_model (const char *family)
{
  g_autofree char *name = g_strdup_printf ("tiny-%s.safetensors", family), *path = references_get_path (name);
  GError          *error = NULL;
  DiffusionModel  *model = diffusion_model_load (path, &error);

  g_assert_no_error (error);
  return model;
}

DiffusionOptions
references_get_options (int steps)
{
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;

  options.prediction = DIFFUSION_PREDICTION_EPSILON;
  options.steps = steps;
  options.size = 64;
  return options;
}

static TensorFile *
map (const char *kind, const char *family)
{
  g_autofree char *name = g_strdup_printf ("%s-%s.safetensors", kind, family), *path = references_get_path (name);
  GError          *error = NULL;
  TensorFile      *file = tensor_file_open (path, &error);

  g_assert_no_error (error);
  return file;
}

gboolean
references_open (References *references, const char *family, const char *backend)
{
  const ComputeBackend *compute = compute_get (backend, NULL);
  GError               *error = NULL;

  if (! references_find ())
    return FALSE;
  if (! compute)
    {
      g_test_skip ("this build or this processor lacks the back end");
      return FALSE;
    }
  references->checkpoint = map ("tiny", family);
  references->golden = map ("golden", family);
  references->run = sd_run_new (0, compute, NULL, &error);
  g_assert_no_error (error);
  return TRUE;
}

void
references_close (References *references)
{
  sd_run_free (references->run);
  tensor_file_free (references->golden);
  tensor_file_free (references->checkpoint);
}

Tokenizer *
references_open_tokenizer (void)
{
  g_autofree char *path = g_build_filename (g_getenv ("DIFFUSION_MODELS"), "clip-vocabulary.txt.gz", NULL);
  GError          *error = NULL;
  Tokenizer       *tokenizer = tokenizer_new (path, &error);

  g_assert_no_error (error);
  return tokenizer;
}

SdTensor
references_get (References *references, const char *name)
{
  TensorView view;
  SdTensor   x;
  float     *values;

  g_assert_true (tensor_file_view (references->golden, name, &view));
  values = g_new (float, view.count);
  g_assert_true (sd_fetch_weights (references->golden, TENSOR_F32, view.offset, view.count, values, NULL));
  if (view.n_dims == 3)
    {
      x = sd_tensor_new (references->run, view.dims[0], 1, view.dims[1], view.dims[2]);
      memcpy (x.data, values, view.count * sizeof (float));
    }
  else
    {
      x = sd_tensor_new (references->run, view.dims[0], view.dims[2], view.dims[3], view.dims[1]);
      for (int n = 0; n < x.n; n++)
        for (int c = 0; c < x.c; c++)
          for (int i = 0; i < x.h * x.w; i++)
            x.data[(n * x.h * x.w + i) * x.c + c] = values[(n * x.c + c) * x.h * x.w + i];
    }
  g_free (values);
  return x;
}

double
references_compare (const SdTensor *a, const SdTensor *b)
{
  double difference = 0, size = 0;

  g_assert_nonnull (a->data);
  g_assert_cmpint (a->n, ==, b->n);
  g_assert_cmpint (a->h, ==, b->h);
  g_assert_cmpint (a->w, ==, b->w);
  g_assert_cmpint (a->c, ==, b->c);
  for (gsize i = 0; i < sd_tensor_count (a); i++)
    {
      difference += pow ((double) a->data[i] - (double) b->data[i], 2);
      size += pow ((double) b->data[i], 2);
    }
  return sqrt (difference / size);
}

static gboolean
is_any (const char *name)
{
  return TRUE;
}

/* The change of that name; NULL: none. */
static const TensorEntry *
find_change (const TensorEntry *changes, int n_changes, const char *name)
{
  for (int i = 0; i < n_changes; i++)
    if (strcmp (changes[i].name, name) == 0)
      return &changes[i];
  return NULL;
}

void
references_write_changes (const TensorFile *file, const char *path, TensorType type, const TensorEntry *changes,
                          int n_changes, GHashTable *metadata)
{
  g_autoptr (GPtrArray) names = tensor_file_list (file, is_any);
  g_autoptr (GPtrArray) memory = g_ptr_array_new_with_free_func (g_free);
  g_autofree TensorEntry *entries = g_new0 (TensorEntry, names->len + (guint) n_changes);
  int                     count = 0;
  GError                 *error = NULL;

  for (int i = 0; i < n_changes; i++)
    if (changes[i].values)
      entries[count++] = changes[i];
  for (guint i = 0; i < names->len; i++)
    {
      const char *name = names->pdata[i];
      TensorView  view, *kept;
      float      *own;

      if (find_change (changes, n_changes, name))
        continue;
      g_assert_true (tensor_file_view (file, name, &view));
      kept = g_memdup2 (&view, sizeof view);
      own = g_new (float, view.count);
      g_ptr_array_add (memory, kept);
      g_ptr_array_add (memory, own);
      g_assert_true (tensor_file_read (file, name, view.dims, view.n_dims, own, NULL));
      entries[count++] = (TensorEntry){ name, kept->dims, view.n_dims, view.count, own, type };
    }
  tensors_write (path, entries, count, metadata, &error);
  g_assert_no_error (error);
}

void
references_write_changed (const TensorFile *file, const char *path, TensorType type, const char *changed,
                          const int dims[4], const float *values, GHashTable *metadata)
{
  TensorEntry change = { changed, dims, 4, 0, values, type };

  if (values)
    change.count = (gsize) dims[0] * (gsize) dims[1] * (gsize) dims[2] * (gsize) dims[3];
  references_write_changes (file, path, type, &change, changed ? 1 : 0, metadata);
}
