/* The network: gradients, streaming, model files.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "net/model.h"
#include "process/process.h"

#include <fcntl.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const DiffusionArchitecture small = { 3, { 16, 16, 32 }, { 1, 1, 2 } };
static const DiffusionArchitecture odd = { 2, { 8, 24 }, { 2, 1 } };
static const DiffusionArchitecture flat = { 1, { 16 }, { 1 } };

/* Weights with no zeros, so that every path matters. */
static float *
new_weights (const NetLayout *layout, guint64 seed)
{
  float *weights = g_new0 (float, layout->n_parameters);
  Random random;

  net_layout_init_weights (layout, seed, weights);
  random_init (&random, seed, 7);
  for (gsize i = 0; i < layout->n_parameters; i++)
    weights[i] += (float) random_range (&random, -0.03, 0.03);
  return weights;
}

static float *
new_values (gsize count, guint64 seed)
{
  float *values = g_new (float, count);
  Random random;

  random_init (&random, seed, 3);
  for (gsize i = 0; i < count; i++)
    values[i] = (float) random_normal (&random);
  return values;
}

/* ---- the gradient of the whole network ---- */

static double
get_loss (NetPlan *plan, TrainPass *pass, const float *weights, const float *input, const float *d_output, gsize count)
{
  const float *output;
  double       sum = 0;

  g_assert_true (net_plan_set_weights (plan, weights, NULL, NULL));
  output = train_pass_forward (pass, input, NULL);
  for (gsize i = 0; i < count; i++)
    sum += (double) output[i] * (double) d_output[i];
  return sum;
}

static void
test_gradient (gconstpointer data)
{
  enum
  {
    N = 2,
    SIZE = 8
  };
  g_autoptr (NetLayout) layout = net_layout_new (data, NULL);
  g_autoptr (NetPlan) plan = net_plan_new (layout, &compute_blas, TRUE, NULL);
  g_autoptr (TrainPass) pass = train_pass_new (plan, N, SIZE, NULL);
  g_autofree float *weights = new_weights (layout, 1);
  g_autofree float *input = new_values (N * SIZE * SIZE * NET_CHANNELS_IN, 2),
                   *d_output = new_values (N * SIZE * SIZE * NET_CHANNELS_OUT, 3);
  g_autofree float *gradient = g_new0 (float, layout->n_parameters);
  gsize             count = N * SIZE * SIZE * NET_CHANNELS_OUT;
  double            length = 0;

  get_loss (plan, pass, weights, input, d_output, count);
  g_assert_true (train_pass_backward (pass, d_output, gradient, NULL));
  for (gsize i = 0; i < layout->n_parameters; i++)
    length += (double) gradient[i] * (double) gradient[i];
  length = sqrt (length);
  /* In each tensor: along its own part of the gradient, where a difference is far above f32's rounding. */
  for (int t = 0; t < layout->n_tensors; t++)
    {
      const NetTensor  *tensor = &layout->tensors[t];
      g_autofree float *moved = g_memdup2 (weights, layout->n_parameters * sizeof (float));
      double            expected = 0, step, values[2];

      for (gsize i = 0; i < tensor->count; i++)
        expected += (double) gradient[tensor->offset + i] * (double) gradient[tensor->offset + i];
      expected = sqrt (expected);
      g_assert_cmpfloat (expected, >, 1e-4 * length);
      step = 0.02;
      for (int side = 0; side < 2; side++)
        {
          for (gsize i = tensor->offset; i < tensor->offset + tensor->count; i++)
            moved[i] = weights[i] + (float) ((side ? step : -step) * (double) gradient[i] / expected);
          values[side] = get_loss (plan, pass, moved, input, d_output, count);
        }
      /* The third derivative's share is of the order of step^2. */
      g_assert_cmpfloat_with_epsilon ((values[1] - values[0]) / (2 * step) / expected, 1, 0.02);
    }
}

/* ---- weights of other networks ---- */

/* The sum of the outputs times some values. */
static double
get_response (const NetLayout *layout, const float *weights)
{
  enum
  {
    SIZE = 8
  };
  g_autoptr (NetPlan) plan = net_plan_new (layout, &compute_blas, TRUE, NULL);
  g_autoptr (TrainPass) pass = train_pass_new (plan, 1, SIZE, NULL);
  g_autofree float *input = new_values (SIZE * SIZE * NET_CHANNELS_IN, 2),
                   *d_output = new_values (SIZE * SIZE * NET_CHANNELS_OUT, 3);

  return get_loss (plan, pass, weights, input, d_output, SIZE * SIZE * NET_CHANNELS_OUT);
}

/* Additional blocks do nothing yet; of blocks that are too many the last stay. */
static void
test_take_weights (void)
{
  static const DiffusionArchitecture large = { 3, { 16, 16, 32 }, { 2, 3, 3 } };
  g_autoptr (NetLayout) few = net_layout_new (&small, NULL), many = net_layout_new (&large, NULL);
  g_autofree float *weights = new_weights (few, 5), *more = g_new (float, many->n_parameters);
  g_autofree float *other = new_weights (many, 6), *less = g_new (float, few->n_parameters);

  net_layout_take_weights (many, few, weights, 7, more);
  g_assert_cmpfloat (get_response (many, more), ==, get_response (few, weights));

  for (int i = 0; i < many->n_tensors; i++)
    {
      const NetTensor *tensor = &many->tensors[i];
      char             way[8];
      int              level, block, end;

      if (sscanf (tensor->name, "%7[a-z].%d.%d.conv2.%n", way, &level, &block, &end) == 3
          && block < large.blocks[level] - small.blocks[level])
        memset (other + tensor->offset, 0, tensor->count * sizeof (float));
    }
  net_layout_take_weights (few, many, other, 7, less);
  g_assert_cmpfloat (get_response (few, less), ==, get_response (many, other));
  g_assert_cmpfloat (get_response (few, less), !=, get_response (few, weights));
}

/* ---- streaming ---- */

typedef struct
{
  const float *input;
  float       *output;
  int          width;
  int          read, written; /* rows so far */
} Rows;

static gboolean
read_rows (int first, int rows, float *values, gpointer data, GError **error)
{
  Rows *r = data;
  gsize row = (gsize) r->width * NET_CHANNELS_IN;

  g_assert_cmpint (first, ==, r->read);
  r->read += rows;
  memcpy (values, r->input + (gsize) first * row, (gsize) rows * row * sizeof (float));
  return TRUE;
}

static gboolean
write_rows (int first, int rows, const float *values, gpointer data, GError **error)
{
  Rows *r = data;
  gsize row = (gsize) r->width * NET_CHANNELS_OUT;

  g_assert_cmpint (first, ==, r->written);
  r->written += rows;
  memcpy (r->output + (gsize) first * row, values, (gsize) rows * row * sizeof (float));
  return TRUE;
}

static float *
stream (const NetPlan *plan, const float *input, int width, int height, int chunk, gsize memory, int threads)
{
  g_autoptr (Pool) pool = pool_new (threads, NULL);
  float    *output = g_new0 (float, (gsize) width *(gsize) height *NET_CHANNELS_OUT);
  Rows      rows = { input, output, width, 0, 0 };
  StreamJob job = { width, height, chunk, read_rows, write_rows, &rows, memory };
  GError   *error = NULL;

  stream_run (plan, pool, &job, NULL, &error);
  g_assert_no_error (error);
  g_assert_cmpint (rows.written, ==, height);
  return output;
}

static double
largest_difference (const float *a, const float *b, gsize count)
{
  double worst = 0;

  for (gsize i = 0; i < count; i++)
    worst = fmax (worst, fabs ((double) a[i] - (double) b[i]));
  return worst;
}

/* Rows computed as they come, by any number of threads, are what the whole picture at once gives. */
static void
test_stream (gconstpointer data)
{
  const ComputeBackend *backend = data;
  g_autoptr (NetLayout) layout = net_layout_new (&small, NULL);
  g_autoptr (NetPlan) plan = net_plan_new (layout, backend, TRUE, NULL);
  g_autoptr (TrainPass) pass = train_pass_new (plan, 1, 64, NULL);
  g_autofree float *weights = new_weights (layout, 1), *input = new_values (64 * 64 * NET_CHANNELS_IN, 2),
                   *whole = NULL;
  const int chunks[] = { 4, 8, 20, 0, 0 };
  gsize     count = 64 * 64 * NET_CHANNELS_OUT;

  g_assert_true (net_plan_set_weights (plan, weights, NULL, NULL));
  whole = stream (plan, input, 64, 64, 64, 0, 1);
  /* The trainer's way through the same nodes, which shares none of the streaming. */
  g_assert_cmpfloat (largest_difference (train_pass_forward (pass, input, NULL), whole, count), <,
                     backend->element == ELEMENT_F32 ? 1e-4 : 0.15);
  for (gsize i = 0; i < G_N_ELEMENTS (chunks); i++)
    for (int threads = 1; threads <= 3; threads++)
      {
        g_autofree float *output = stream (plan, input, 64, 64, chunks[i], i == 4 ? 1 : 0, threads);

        g_assert_cmpmem (whole, count * sizeof (float), output, count * sizeof (float));
      }
}

/* The rows kept between nodes do not grow with the picture's height. */
static void
test_memory (void)
{
  g_autoptr (NetLayout) layout = net_layout_new (&diffusion_architecture_default, NULL);
  g_autoptr (NetPlan) plan = net_plan_new (layout, &compute_reference, FALSE, NULL);
  StreamJob   job = { 1600, 800, 0, NULL, NULL, NULL, G_MAXSIZE };
  gsize       low = stream_estimate_memory (plan, 2, &job), high;
  const gsize megabyte = 1 << 20;

  job.height = 80000;
  high = stream_estimate_memory (plan, 2, &job);
  g_test_message ("3200 pixels wide: %.0f MB at 1600 rows, %.0f at 160000", (double) low / 1e6, (double) high / 1e6);
  g_assert_cmpuint (high, ==, low);
  /* Half of what a picture of 24 megapixels may take in all, weights included. */
  g_assert_cmpuint (high, <, 240 * megabyte);
  /* Where there is less, chunks are smaller; but a row of the deepest level needs some of all. */
  job.memory = high - 1;
  g_assert_cmpuint (stream_estimate_memory (plan, 2, &job), <=, job.memory);
  job.memory = 1;
  low = stream_estimate_memory (plan, 2, &job);
  g_test_message ("%.0f MB at least", (double) low / 1e6);
  g_assert_cmpuint (low, <, high / 10 * 7);
}

/* No output pixel looks further than the margin that the model states.  (On the reference: Winograd's rounding, not its
 * result, depends on pixels of the whole tile.) */
static void
test_margin (gconstpointer data)
{
  enum
  {
    SIZE = 96
  };
  g_autoptr (NetLayout) layout = net_layout_new (data, NULL);
  g_autoptr (NetPlan) plan = net_plan_new (layout, &compute_reference, FALSE, NULL);
  g_autofree float *weights = new_weights (layout, 1), *input = new_values (SIZE * SIZE * NET_CHANNELS_IN, 2),
                   *before = NULL, *after = NULL;
  int furthest = 0, at = SIZE / 2;

  g_assert_true (net_plan_set_weights (plan, weights, NULL, NULL));
  before = stream (plan, input, SIZE, SIZE, 0, 0, 1);
  for (int c = 0; c < NET_CHANNELS_IN; c++)
    input[(at * SIZE + at) * NET_CHANNELS_IN + c] += 100;
  after = stream (plan, input, SIZE, SIZE, 0, 0, 1);
  for (int y = 0; y < SIZE; y++)
    for (int x = 0; x < SIZE; x++)
      for (int c = 0; c < NET_CHANNELS_OUT; c++)
        if (before[(y * SIZE + x) * NET_CHANNELS_OUT + c] != after[(y * SIZE + x) * NET_CHANNELS_OUT + c])
          furthest = MAX (furthest, MAX (abs (x - at), abs (y - at)) * 2 + 1);
  g_assert_cmpint (furthest, <=, layout->margin);
  g_assert_cmpint (furthest, >, layout->margin / 3);
}

/* ---- model files ---- */

typedef struct
{
  char *folder, *path;
} Fixture;

static void
set_up (Fixture *f, gconstpointer data)
{
  f->folder = g_dir_make_tmp ("model test XXXXXX", NULL);
  f->path = g_build_filename (f->folder, "a model.safetensors", NULL);
}

static void
tear_down (Fixture *f, gconstpointer data)
{
  g_unlink (f->path);
  g_rmdir (f->folder);
  g_free (f->folder);
  g_free (f->path);
}

static void
test_save_load (Fixture *f, gconstpointer data)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&odd, 5, NULL), loaded = NULL, again = NULL;
  GError *error = NULL;
  gsize   count = diffusion_model_count_parameters (model);

  diffusion_model_set_metadata (model, "license", "CC0 \"quoted\" \xc3\xa9");
  /* The name of a file is of any bytes. */
  diffusion_model_set_metadata (model, "name", "mod\xe8le");
  g_assert_true (diffusion_model_save (model, f->path, &error));
  loaded = diffusion_model_load (f->path, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (diffusion_model_get_metadata (loaded, "license"), ==, "CC0 \"quoted\" \xc3\xa9");
  g_assert_cmpstr (diffusion_model_get_metadata (loaded, "name"), ==, "mod\xef\xbf\xbdle");
  g_assert_cmpmem (diffusion_model_get_architecture (loaded), sizeof odd, &odd, sizeof odd);
  for (gsize i = 0; i < count; i++)
    g_assert_cmpfloat_with_epsilon ((double) model_get_weights (loaded)[i], (double) model_get_weights (model)[i],
                                    fabs ((double) model_get_weights (model)[i]) * 0x1p-11 + 0x1p-25);
  /* What f16 holds comes back unchanged. */
  g_assert_true (diffusion_model_save (loaded, f->path, &error));
  again = diffusion_model_load (f->path, &error);
  g_assert_cmpmem (model_get_weights (again), count * sizeof (float), model_get_weights (loaded),
                   count * sizeof (float));
}

static void
assert_refused (const char *path, const char *contents, gsize length)
{
  GError *error = NULL;

  g_assert_true (g_file_set_contents (path, contents, (gssize) length, NULL));
  g_assert_null (diffusion_model_load (path, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_assert_true (g_str_has_suffix (error->message, "."));
  g_error_free (error);
}

static void
test_truncated (Fixture *f, gconstpointer data)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&flat, 5, NULL);
  g_autofree char *contents = NULL;
  gsize            length, step;

  g_assert_true (diffusion_model_save (model, f->path, NULL));
  g_assert_true (g_file_get_contents (f->path, &contents, &length, NULL));
  step = length / 50;
  for (gsize cut = 0; cut < length; cut += cut < 200 ? 7 : step)
    assert_refused (f->path, contents, cut);
  assert_refused (f->path, contents, length - 1);
}

static void
test_lies (Fixture *f, gconstpointer data)
{
  static const char *const headers[] = {
    "",
    "[]",
    "{\"a\":1}",
    "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,1000000]}}",
    "{\"a\":{\"dtype\":\"F16\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,8]}}",
    "{\"a\":{\"dtype\":\"F16\",\"shape\":[-1],\"data_offsets\":[0,2]}}",
    "{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[8,0]}}",
    "{\"a\":{\"dtype\":\"F16\",\"shape\":\"4\",\"data_offsets\":[0,8]}}",
    "{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}",
    "{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_"
    "offsets\":[0,8]}}",
    "{\"__metadata__\":{\"format\":\"gimp-diffusion 1\",\"widths\":\"64\",\"blocks\":\"2\"}}",
    "{\"__metadata__\":{\"format\":\"gimp-diffusion 1\",\"widths\":\"100000\",\"blocks\":\"2\"}}",
    "{\"__metadata__\":{\"format\":\"gimp-diffusion 1\",\"widths\":\"64,64\",\"blocks\":\"2\"}}",
    "{\"__metadata__\":{\"format\":\"gimp-diffusion 9\",\"widths\":\"64\",\"blocks\":\"2\"}}",
    "{\"__metadata__\":[1]}",
  };
  g_autoptr (GString) deep = g_string_new (NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (headers); i++)
    {
      g_autoptr (GString) file = g_string_new (NULL);
      guint64 length = GUINT64_TO_LE (strlen (headers[i]));

      g_string_append_len (file, (const char *) &length, 8);
      g_string_append (file, headers[i]);
      g_string_append_len (file, "\0\0\0\0\0\0\0\0", 8);
      assert_refused (f->path, file->str, file->len);
    }
  for (int i = 0; i < 1000000; i++)
    g_string_append_c (deep, '[');
  {
    guint64 length = GUINT64_TO_LE (deep->len);

    g_string_prepend_len (deep, (const char *) &length, 8);
    assert_refused (f->path, deep->str, deep->len);
  }
}

/* A header that is small enough, of more values than any model has. */
static void
test_many_values (Fixture *f, gconstpointer data)
{
  g_autoptr (GString) many = g_string_new ("{\"a\":[0");
  guint64 length;

  for (int i = 0; i < 4000000; i++)
    g_string_append (many, ",0");
  g_string_append (many, "]}");
  length = GUINT64_TO_LE (many->len);
  g_string_prepend_len (many, (const char *) &length, 8);
  assert_refused (f->path, many->str, many->len);
}

/* What is gone when it is asked for is an error, not the end of the program. */
static void
test_shrinks (Fixture *f, gconstpointer data)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&flat, 5, NULL);
  g_autoptr (TensorFile) file = NULL;
  const NetTensor  *tensor = &model_get_layout (model)->tensors[0];
  g_autofree float *values = g_new (float, tensor->count);
  GError           *error = NULL;
  TensorView        view;

  g_assert_true (diffusion_model_save (model, f->path, NULL));
  file = tensor_file_open (f->path, &error);
  g_assert_no_error (error);
  g_assert_true (tensor_file_read (file, tensor->name, tensor->dims, tensor->n_dims, values, &error));
  g_assert_true (tensor_file_view (file, tensor->name, &view));
  g_assert_cmpint (truncate (f->path, 100), ==, 0);
  g_assert_false (tensor_file_read (file, tensor->name, tensor->dims, tensor->n_dims, values, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
  g_assert_false (tensor_file_fetch (file, view.offset, 1, values, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
}

/* What is written over in place would give weights of two files; what is put in its place is another file. */
static void
test_changes (Fixture *f, gconstpointer data)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&flat, 5, NULL), other = diffusion_model_new (&flat, 6, NULL);
  g_autoptr (TensorFile) file = NULL;
  const NetTensor  *tensor = &model_get_layout (model)->tensors[0];
  g_autofree float *values = g_new (float, tensor->count), *again = g_new (float, tensor->count);
  g_autofree char  *place = g_strconcat (f->path, ".new", NULL);
  const guint8      byte = 1;
  GError           *error = NULL;
  int               fd;

  g_assert_true (diffusion_model_save (model, f->path, NULL));
  file = tensor_file_open (f->path, &error);
  g_assert_no_error (error);
  g_assert_true (tensor_file_read (file, tensor->name, tensor->dims, tensor->n_dims, values, &error));
  g_assert_true (diffusion_model_save (other, place, NULL));
  g_assert_cmpint (g_rename (place, f->path), ==, 0);
  g_assert_true (tensor_file_read (file, tensor->name, tensor->dims, tensor->n_dims, again, &error));
  g_assert_cmpmem (values, tensor->count * sizeof (float), again, tensor->count * sizeof (float));
  tensor_file_free (file);

  file = tensor_file_open (f->path, &error);
  g_assert_no_error (error);
  g_usleep (20000); /* clocks of file systems tick slowly */
  fd = g_open (f->path, O_WRONLY, 0);
  g_assert_cmpint (pwrite (fd, &byte, 1, 5000), ==, 1);
  g_assert_cmpint (close (fd), ==, 0);
  g_assert_false (tensor_file_read (file, tensor->name, tensor->dims, tensor->n_dims, values, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_assert_nonnull (strstr (error->message, "changed while"));
  g_clear_error (&error);
}

/* Opening a named pipe must not wait for somebody to write into it. */
static void
test_pipe (Fixture *f, gconstpointer data)
{
  DiffusionCheckpoint checkpoint;
  GError             *error = NULL;

  g_assert_cmpint (mkfifo (f->path, 0600), ==, 0);
  g_assert_null (diffusion_model_load (f->path, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
  g_assert_false (diffusion_checkpoint_look (f->path, &checkpoint, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
}

static void
test_not_finite (Fixture *f, gconstpointer data)
{
  const float bad[] = { NAN, INFINITY, -INFINITY, 1e9f }; /* the last one is too large for f16 */

  for (gsize i = 0; i < G_N_ELEMENTS (bad); i++)
    {
      g_autoptr (DiffusionModel) model = diffusion_model_new (&flat, 5, NULL);
      g_autofree char *contents = NULL;
      gsize            length;

      model_get_weights (model)[17] = bad[i];
      g_assert_true (diffusion_model_save (model, f->path, NULL));
      g_assert_true (g_file_get_contents (f->path, &contents, &length, NULL));
      assert_refused (f->path, contents, length);
    }
}

static void
test_missing (Fixture *f, gconstpointer data)
{
  GError *error = NULL;

  g_assert_null (diffusion_model_load (f->path, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
  g_assert_null (diffusion_model_load (f->folder, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
  g_assert_null (diffusion_model_find ("no-such-model", &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
  g_clear_error (&error);
}

/* A model in the user's own folder, where `diffusion train --style` puts it, is found by its name, and listed. */
static void
test_own (Fixture *f, gconstpointer data)
{
  g_autofree char *folder = g_build_filename (g_get_user_data_dir (), "gimp-diffusion", "models", NULL),
                  *path = g_build_filename (folder, "watercolour.safetensors", NULL), *found = NULL, *name = NULL;
  g_autoptr (DiffusionModel) model = diffusion_model_new (&flat, 5, NULL);
  g_auto (GStrv) list = diffusion_model_list ();
  GError *error = NULL;

  g_assert_false (g_strv_contains ((const char *const *) list, path));
  g_assert_cmpint (g_mkdir_with_parents (folder, 0755), ==, 0);
  g_assert_true (diffusion_model_save (model, path, &error));
  g_strfreev (list);
  list = diffusion_model_list ();
  g_assert_true (g_strv_contains ((const char *const *) list, path));
  found = diffusion_model_find ("watercolour", &error);
  g_assert_cmpstr (found, ==, path);
  g_free (found);
  found = diffusion_model_find ("watercolour.safetensors", &error);
  g_assert_cmpstr (found, ==, path);

  /* A file where the user stands comes first, if its name is given whole. */
  g_assert_true (g_file_set_contents (f->path, "", 0, NULL));
  g_assert_cmpint (g_chdir (f->folder), ==, 0);
  name = g_path_get_basename (f->path);
  g_free (found);
  found = diffusion_model_find (name, &error);
  g_assert_no_error (error);
  g_assert_cmpstr (found, ==, name);
  g_assert_cmpint (g_chdir (g_get_tmp_dir ()), ==, 0);
}

/* Fills have a model of their own, wherever it is; where there is none they are made with the default one. */
static void
test_find_for_fills (Fixture *f, gconstpointer data)
{
  g_autofree char *before = g_strdup (g_getenv ("DIFFUSION_MODELS")), *none = NULL, *there = NULL, *photographs = NULL;
  g_autofree char *own = g_build_filename (g_get_user_data_dir (), "gimp-diffusion", "models", NULL);
  g_autofree char *usual = g_build_filename (f->folder, DIFFUSION_MODEL_DENOISE ".safetensors", NULL);
  g_autofree char *fills = g_build_filename (own, DIFFUSION_MODEL_FILL ".safetensors", NULL);

  g_assert_true (g_setenv ("DIFFUSION_MODELS", f->folder, TRUE));
  g_assert_cmpint (g_mkdir_with_parents (own, 0755), ==, 0);
  g_assert_true (g_file_set_contents (usual, "", 0, NULL));
  none = diffusion_model_find (DIFFUSION_MODEL_FILL, NULL);
  /* Unless this machine has one installed. */
  if (! g_str_has_suffix (none, DIFFUSION_MODEL_FILL ".safetensors"))
    g_assert_cmpstr (none, ==, usual);

  /* In a folder that is searched later than that with the default one. */
  g_assert_true (g_file_set_contents (fills, "", 0, NULL));
  there = diffusion_model_find (DIFFUSION_MODEL_FILL, NULL);
  photographs = diffusion_model_find ("", NULL);
  g_assert_cmpstr (there, ==, fills);
  g_assert_cmpstr (photographs, ==, usual);
  g_unlink (fills);
  g_unlink (usual);
  if (before)
    g_setenv ("DIFFUSION_MODELS", before, TRUE);
  else
    g_unsetenv ("DIFFUSION_MODELS");
}

/* A file that cannot be written leaves the one before, and nothing beside it. */
static void
test_save_fails (Fixture *f, gconstpointer data)
{
  g_autoptr (DiffusionModel) model = diffusion_model_new (&flat, 5, NULL);
  g_autofree char *nowhere = g_build_filename (f->folder, "none", "x.safetensors", NULL);
  GError          *error = NULL;

  g_assert_false (diffusion_model_save (model, nowhere, &error));
  g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE);
  g_clear_error (&error);
}

static void
test_architecture (void)
{
  const DiffusionArchitecture wrong[] = { { 0 },
                                          { 6, { 8 }, { 1 } },
                                          { 1, { 12 }, { 1 } },
                                          { 1, { 2048 }, { 1 } },
                                          { 1, { 64 }, { -1 } },
                                          { 1, { 64 }, { 99 } } };
  g_autoptr (DiffusionModel) model = diffusion_model_new (&diffusion_architecture_default, 0, NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (wrong); i++)
    {
      GError *error = NULL;

      g_assert_null (diffusion_model_new (&wrong[i], 0, &error));
      g_assert_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL);
      g_error_free (error);
    }
  /* What a laptop can bear, and what a weights file may be. */
  g_assert_cmpfloat (diffusion_model_count_macs (model), <, 250e3);
  g_assert_cmpint (diffusion_model_count_parameters (model) * 2, <, 25000000);
}

int
main (int argc, char **argv)
{
  g_autofree const ComputeBackend **backends = compute_list ();

  g_test_init (&argc, &argv, G_TEST_OPTION_ISOLATE_DIRS, NULL);
  g_test_add_data_func ("/net/gradient/three-levels", &small, test_gradient);
  g_test_add_data_func ("/net/gradient/two-levels", &odd, test_gradient);
  g_test_add_data_func ("/net/gradient/one-level", &flat, test_gradient);
  g_test_add_func ("/net/take-weights", test_take_weights);
  for (gsize i = 0; backends[i]; i++)
    {
      g_autofree char *name = g_strdup_printf ("/net/stream/%s", backends[i]->name);

      g_test_add_data_func (name, backends[i], test_stream);
    }
  g_test_add_func ("/net/memory", test_memory);
  g_test_add_data_func ("/net/margin/three-levels", &small, test_margin);
  g_test_add_data_func ("/net/margin/two-levels", &odd, test_margin);
  g_test_add_func ("/net/architecture", test_architecture);
  g_test_add ("/net/model/save-load", Fixture, NULL, set_up, test_save_load, tear_down);
  g_test_add ("/net/model/truncated", Fixture, NULL, set_up, test_truncated, tear_down);
  g_test_add ("/net/model/lies", Fixture, NULL, set_up, test_lies, tear_down);
  g_test_add ("/net/model/many-values", Fixture, NULL, set_up, test_many_values, tear_down);
  g_test_add ("/net/model/changes", Fixture, NULL, set_up, test_changes, tear_down);
  g_test_add ("/net/model/shrinks", Fixture, NULL, set_up, test_shrinks, tear_down);
  g_test_add ("/net/model/pipe", Fixture, NULL, set_up, test_pipe, tear_down);
  g_test_add ("/net/model/not-finite", Fixture, NULL, set_up, test_not_finite, tear_down);
  g_test_add ("/net/model/missing", Fixture, NULL, set_up, test_missing, tear_down);
  g_test_add ("/net/model/own", Fixture, NULL, set_up, test_own, tear_down);
  g_test_add ("/net/model/find-for-fills", Fixture, NULL, set_up, test_find_for_fills, tear_down);
  g_test_add ("/net/model/save-fails", Fixture, NULL, set_up, test_save_fails, tear_down);
  return g_test_run ();
}
