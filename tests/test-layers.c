/* The layers of latent diffusion networks against their plain formulas.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute/layers.h"
#include "compute/winograd.h"
#include "net/sd/run.h"
#include "values.h"

#include <glib/gstdio.h>
#include <math.h>
#include <string.h>

static void
assert_near (const float *values, const double *expected, gsize count, double tolerance)
{
  double largest = 1e-9;

  for (gsize i = 0; i < count; i++)
    largest = MAX (largest, fabs (expected[i]));
  for (gsize i = 0; i < count; i++)
    g_assert_cmpfloat_with_epsilon ((double) values[i], expected[i], tolerance * largest);
}

/* ---- weights ---- */

static void
test_weight_types (void)
{
  static const guint16 halves[] = { 0x0000, 0x8000, 0x3C00, 0xC000, 0x0001, 0x03FF, 0x0400, 0x7BFF, 0x3555 };
  static const double  half_values[] = { 0, -0.0, 1, -2, 0x1p-24, 1023 * 0x1p-24, 0x1p-14, 65504, 0.333251953125 };
  static const guint16 brains[] = { 0x0000, 0x3F80, 0xC000, 0x7F7F, 0x3EAB };
  static const double  brain_values[] = { 0, 1, -2, 3.3895313892515355e38, 0.333984375 };
  guint8               odd[32];
  guint16              rounded[16];
  float                values[16];

  /* Data may lie at odd addresses. */
  memcpy (odd + 1, halves, sizeof halves);
  weights_to_f32 (TENSOR_F16, G_N_ELEMENTS (halves), odd + 1, values);
  for (gsize i = 0; i < G_N_ELEMENTS (halves); i++)
    g_assert_cmpfloat ((double) values[i], ==, half_values[i]);
  weights_to_f32 (TENSOR_BF16, G_N_ELEMENTS (brains), brains, values);
  for (gsize i = 0; i < G_N_ELEMENTS (brains); i++)
    g_assert_cmpfloat ((double) values[i], ==, brain_values[i]);
  weights_to_bf16 (TENSOR_F16, G_N_ELEMENTS (halves), odd + 1, rounded);
  weights_to_f32 (TENSOR_BF16, G_N_ELEMENTS (halves), rounded, values);
  for (gsize i = 0; i < G_N_ELEMENTS (halves); i++)
    g_assert_cmpfloat_with_epsilon ((double) values[i], half_values[i], fabs (half_values[i]) / 256 + 1e-30);
}

static void
test_finite (void)
{
  guint16 halves[100], brains[100];
  float   floats[100];

  for (int i = 0; i < 100; i++)
    {
      halves[i] = 0x7BFF;
      brains[i] = 0x7F7F;
      floats[i] = 3e38f;
    }
  g_assert_true (weights_are_finite (TENSOR_F16, 100, halves));
  g_assert_true (weights_are_finite (TENSOR_BF16, 100, brains));
  g_assert_true (weights_are_finite (TENSOR_F32, 100, floats));
  halves[99] = 0x7C01;
  brains[37] = 0xFF80;
  memcpy (&floats[0], &(guint32){ 0x7FC00000u }, 4);
  g_assert_false (weights_are_finite (TENSOR_F16, 100, halves));
  g_assert_false (weights_are_finite (TENSOR_BF16, 100, brains));
  g_assert_false (weights_are_finite (TENSOR_F32, 100, floats));
}

/* ---- convolutions and products, as the networks run them ---- */

typedef struct
{
  int n, h, w, in, out, taps, stride, pad;
} Case;

/* Few rows and many, sides that are no multiples of a tile of either size, channels that Winograd takes and that it
 * does not, more of them than a block has, more tiles than blocks are for. */
static const Case cases[] = {
  { 1, 1, 77, 40, 48, 1, 1, 0 },   { 2, 1, 400, 1100, 130, 1, 1, 0 }, { 1, 30, 30, 24, 10, 1, 1, 0 },
  { 2, 5, 7, 16, 32, 9, 1, 1 },    { 2, 33, 35, 16, 32, 9, 1, 1 },    { 1, 64, 37, 48, 16, 9, 1, 1 },
  { 1, 40, 40, 9, 32, 9, 1, 1 },   { 1, 40, 33, 32, 3, 9, 1, 1 },     { 2, 8, 6, 16, 24, 9, 2, 1 },
  { 1, 60, 62, 3, 16, 9, 2, 0 },   { 1, 9, 7, 8, 8, 9, 2, 1 },        { 1, 1, 1, 16, 16, 9, 1, 1 },
  { 2, 33, 35, 64, 80, 9, 1, 1 },  { 1, 32, 34, 80, 384, 9, 1, 1 },   { 2, 34, 31, 32, 144, 9, 1, 1 },
  { 1, 121, 90, 16, 32, 9, 1, 1 }, { 1, 8, 8, 16, 16, 9, 1, 1 },      { 2, 9, 13, 176, 80, 9, 1, 1 },
  { 1, 31, 33, 336, 32, 9, 1, 1 }, { 1, 32, 35, 176, 32, 9, 1, 1 },
};

static double *
convolve (const Case *c, const float *x, const float *weights, const float *bias, int h_out, int w_out)
{
  int     side = c->taps == 9 ? 3 : 1;
  double *y = g_new (double, (gsize) (c->n * h_out * w_out * c->out)), *at = y;

  for (int n = 0; n < c->n; n++)
    for (int v = 0; v < h_out; v++)
      for (int u = 0; u < w_out; u++)
        for (int o = 0; o < c->out; o++, at++)
          {
            *at = (double) bias[o];
            for (int i = 0; i < side; i++)
              for (int j = 0; j < side; j++)
                {
                  int a = v * c->stride + i - c->pad, b = u * c->stride + j - c->pad;

                  for (int k = 0; k < c->in && a >= 0 && a < c->h && b >= 0 && b < c->w; k++)
                    *at += (double) x[((n * c->h + a) * c->w + b) * c->in + k]
                           * (double) weights[((o * c->in + k) * side + i) * side + j];
                }
          }
  return y;
}

/* A file of one tensor, for a layer to read its weights from. */
static TensorFile *
new_weights_file (const float *weights, gsize count, gsize *offset)
{
  g_autofree char *folder = g_dir_make_tmp ("layers XXXXXX", NULL);
  g_autofree char *path = g_build_filename (folder, "weights", NULL);
  int              dims[] = { (int) count };
  TensorEntry      entry = { "weights", dims, 1, count, weights, TENSOR_F32 };
  GError          *error = NULL;
  TensorFile      *file;
  TensorView       view;

  tensors_write (path, &entry, 1, NULL, &error);
  g_assert_no_error (error);
  file = tensor_file_open (path, &error);
  g_assert_no_error (error);
  g_assert_true (tensor_file_view (file, "weights", &view));
  *offset = view.offset;
  g_unlink (path);
  g_rmdir (folder);
  return file;
}

static SdTensor
apply (SdRun *run, const Case *c, const SdLayer *layer, const SdTensor *x)
{
  if (c->taps == 1)
    return sd_linear (run, layer, x);
  return c->stride == 2 ? sd_conv3_down (run, layer, x, c->pad) : sd_conv3 (run, layer, x);
}

static void
test_products (gconstpointer backend)
{
  double  tolerance = ((const ComputeBackend *) backend)->filter_new ? 1e-2 : 3e-5;
  GError *error = NULL;
  g_autoptr (SdRun) run = sd_run_new (2, backend, NULL, &error);

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      const Case       *c = &cases[i];
      gsize             n_weights = (gsize) (c->out * c->in * c->taps);
      g_autofree float *weights = new_values (n_weights, 1, 1 / sqrt (c->in * c->taps));
      g_autofree float *bias = new_values ((gsize) c->out, 2, 1),
                       *values = new_values ((gsize) (c->n * c->h * c->w * c->in), 3, 1);
      g_autofree double *expected = NULL;
      gsize              offset;
      g_autoptr (TensorFile) file = new_weights_file (weights, n_weights, &offset);
      SdLayer  layer = { file, offset, TENSOR_F32, c->out, c->in, c->taps, bias };
      SdTensor x = { c->n, c->h, c->w, c->in, values }, y = apply (run, c, &layer, &x), again;

      g_assert_no_error (run->error);
      expected = convolve (c, values, weights, bias, y.h, y.w);
      g_test_message ("case %d", (int) i);
      assert_near (y.data, expected, sd_tensor_count (&y), tolerance);

      /* Weights that were kept give the same, and so do those that are made anew. */
      again = apply (run, c, &layer, &x);
      g_assert_cmpmem (again.data, sd_tensor_count (&again) * sizeof (float), y.data,
                       sd_tensor_count (&y) * sizeof (float));
      sd_tensor_free (run, &again);
      sd_run_make_room (run);

      /* The same again, added to itself. */
      if (c->stride == 1)
        {
          if (c->taps == 1)
            sd_linear_into (run, &layer, &x, &y, TRUE);
          else
            sd_conv3_into (run, &layer, &x, &y, TRUE);
          for (gsize k = 0; k < sd_tensor_count (&y); k++)
            expected[k] *= 2;
          assert_near (y.data, expected, sd_tensor_count (&y), tolerance);
        }
      sd_tensor_free (run, &y);
      sd_run_trim (run); /* the next case's weights are kept again, and are not taken for these */
    }
}

/* ---- norms and functions ---- */

static void
test_norms (void)
{
  enum
  {
    N = 2,
    PIXELS = 70 * 9,
    CHANNELS = 96
  };
  GError *error = NULL;
  g_autoptr (SdRun) run = sd_run_new (2, compute_get ("blas", NULL), NULL, &error);
  g_autofree float  *gain = new_values (CHANNELS, 1, 2), *bias = new_values (CHANNELS, 2, 2);
  g_autofree float  *values = new_values (N * PIXELS * CHANNELS, 3, 1);
  g_autofree double *expected = g_new (double, N *PIXELS *CHANNELS);
  SdTensor           x = { N, 70, 9, CHANNELS, values }, y;
  SdNorm             norm = { gain, bias, CHANNELS };

  for (int i = 0; i < N * PIXELS * CHANNELS; i++)
    values[i] += 3; /* far from 0, as a mean may be */
  y = sd_group_norm (run, &norm, 1e-5f, TRUE, &x);
  g_assert_no_error (run->error);
  for (int n = 0; n < N; n++)
    for (int group = 0; group < 32; group++)
      {
        double mean = 0, variance = 0;

#define EACH(i, c)                                                                                                     \
  for (int i = n * PIXELS; i < (n + 1) * PIXELS; i++)                                                                  \
    for (int c = group * 3; c < group * 3 + 3; c++)
        EACH (i, c)
        mean += (double) values[i * CHANNELS + c] / (PIXELS * 3);
        EACH (i, c)
        variance += pow ((double) values[i * CHANNELS + c] - mean, 2) / (PIXELS * 3);
        EACH (i, c)
        {
          double v = ((double) values[i * CHANNELS + c] - mean) / sqrt (variance + 1e-5) * (double) gain[c]
                     + (double) bias[c];

          expected[i * CHANNELS + c] = v / (1 + exp (-v));
        }
#undef EACH
      }
  assert_near (y.data, expected, sd_tensor_count (&y), 1e-5);
  sd_tensor_free (run, &y);

  y = sd_layer_norm (run, &norm, &x);
  for (int i = 0; i < N * PIXELS; i++)
    {
      double mean = 0, variance = 0;

      for (int c = 0; c < CHANNELS; c++)
        mean += (double) values[i * CHANNELS + c] / CHANNELS;
      for (int c = 0; c < CHANNELS; c++)
        variance += pow ((double) values[i * CHANNELS + c] - mean, 2) / CHANNELS;
      for (int c = 0; c < CHANNELS; c++)
        expected[i * CHANNELS + c]
            = ((double) values[i * CHANNELS + c] - mean) / sqrt (variance + 1e-5) * (double) gain[c] + (double) bias[c];
    }
  assert_near (y.data, expected, sd_tensor_count (&y), 1e-5);
  sd_tensor_free (run, &y);
}

/* Sums are rounded; a group norm must not show how many threads took part in them. */
static void
test_norm_threads (void)
{
  enum
  {
    CHANNELS = 1280
  };
  GError               *error = NULL;
  const ComputeBackend *blas = compute_get ("blas", NULL);
  g_autoptr (SdRun) one = sd_run_new (1, blas, NULL, &error), three = sd_run_new (3, blas, NULL, &error);
  g_autofree float *gain = new_values (CHANNELS, 1, 2), *bias = new_values (CHANNELS, 2, 2);
  g_autofree float *values = new_values (8 * 9 * CHANNELS, 3, 1);
  SdTensor          x = { 1, 8, 9, CHANNELS, values }, a, b;
  SdNorm            norm = { gain, bias, CHANNELS };

  a = sd_group_norm (one, &norm, 1e-5f, FALSE, &x);
  b = sd_group_norm (three, &norm, 1e-5f, FALSE, &x);
  g_assert_cmpmem (a.data, sd_tensor_count (&a) * sizeof (float), b.data, sd_tensor_count (&b) * sizeof (float));
  sd_tensor_free (one, &a);
  sd_tensor_free (three, &b);
}

static void
test_functions (void)
{
  enum
  {
    COUNT = 401
  };
  float x[2 * COUNT], gelu[COUNT], quick[COUNT], silu[COUNT], gated[COUNT];

  for (int i = 0; i < COUNT; i++)
    {
      gelu[i] = quick[i] = silu[i] = x[COUNT + i] = (float) (i - COUNT / 2) * 0.05f;
      x[i] = (float) (i % 7) - 3;
    }
  layer_gelu (COUNT, gelu);
  layer_quick_gelu (COUNT, quick);
  pointwise_silu (ELEMENT_F32, COUNT, silu, silu);
  layer_geglu (1, COUNT, x, gated);
  for (int i = 0; i < COUNT; i++)
    {
      double v = (double) x[COUNT + i], exact = v * 0.5 * erfc (-v * G_SQRT2 / 2);

      g_assert_cmpfloat_with_epsilon ((double) gelu[i], exact, 2e-6);
      g_assert_cmpfloat_with_epsilon ((double) gated[i], (double) x[i] * exact, 6e-6);
      g_assert_cmpfloat_with_epsilon ((double) quick[i], v / (1 + exp (-1.702 * v)), 2e-6);
      g_assert_cmpfloat_with_epsilon ((double) silu[i], v / (1 + exp (-v)), 2e-6);
    }
}

/* ---- attention ---- */

/* As the back end sees numbers: with large scores their rounding alone decides much. */
static float *
new_inputs (const ComputeBackend *backend, gsize count, guint64 seed, double scale)
{
  float              *values = new_values (count, seed, scale);
  g_autofree guint16 *rounded = g_new (guint16, count);

  if (! backend->filter_new)
    return values;
  pointwise_from_f32 (ELEMENT_BF16, count, values, rounded);
  pointwise_to_f32 (ELEMENT_BF16, count, rounded, values);
  return values;
}

static void
check_attention (const ComputeBackend *backend, int queries, int keys, int heads, int dim, gboolean causal,
                 double spread)
{
  int     width = heads * dim;
  GError *error = NULL;
  g_autoptr (SdRun) run = sd_run_new (2, backend, NULL, &error);
  g_autofree float  *q = new_inputs (backend, (gsize) (2 * queries * width), 1, spread);
  g_autofree float  *k = new_inputs (backend, (gsize) (2 * keys * width), 2, spread);
  g_autofree float  *v = new_inputs (backend, (gsize) (2 * keys * width), 3, 1);
  g_autofree double *expected = g_new0 (double, (gsize) (2 * queries * width)), *scores = g_new (double, (gsize) keys);
  SdTensor           a = { 2, 1, queries, width, q }, b = { 2, 1, keys, width, k }, c = { 2, 1, keys, width, v };
  SdTensor           y = sd_attention (run, heads, causal, &a, &b, &c);

  g_assert_no_error (run->error);
  for (int row = 0; row < 2 * queries; row++)
    for (int head = 0; head < heads; head++)
      {
        int    sample = row / queries, seen = causal ? row % queries + 1 : keys;
        double largest = -1e30, sum = 0;

        for (int j = 0; j < seen; j++)
          {
            scores[j] = 0;
            for (int d = 0; d < dim; d++)
              scores[j] += (double) q[row * width + head * dim + d]
                           * (double) k[(sample * keys + j) * width + head * dim + d] / sqrt (dim);
            largest = MAX (largest, scores[j]);
          }
        for (int j = 0; j < seen; j++)
          sum += scores[j] = exp (scores[j] - largest);
        for (int j = 0; j < seen; j++)
          for (int d = 0; d < dim; d++)
            expected[row * width + head * dim + d]
                += scores[j] / sum * (double) v[(sample * keys + j) * width + head * dim + d];
      }
  assert_near (y.data, expected, sd_tensor_count (&y), backend->filter_new ? 1e-2 : 2e-5);
  sd_tensor_free (run, &y);
}

static void
test_attention (gconstpointer backend)
{
  check_attention (backend, 70, 1, 1, 8, FALSE, 1);
  check_attention (backend, 77, 77, 4, 16, TRUE, 2);
  check_attention (backend, 300, 77, 8, 40, FALSE, 1);
  check_attention (backend, 300, 1300, 2, 64, FALSE, 8); /* several blocks of keys, a few of which count for all */
  check_attention (backend, 600, 600, 1, 24, TRUE, 4);
}

/* ---- failure ---- */

static void
test_cancel (void)
{
  g_autoptr (GCancellable) cancellable = g_cancellable_new ();
  GError *error = NULL;
  g_autoptr (SdRun) run = sd_run_new (2, NULL, cancellable, &error);
  g_autofree float *weights = new_values (64, 1, 1);
  gsize             offset;
  g_autoptr (TensorFile) file = new_weights_file (weights, 64, &offset);
  SdLayer  layer = { file, offset, TENSOR_F32, 8, 8, 1, NULL };
  SdTensor x = { 1, 1, 8, 8, weights }, y;

  g_cancellable_cancel (cancellable);
  y = sd_linear (run, &layer, &x);
  sd_tensor_free (run, &y);
  y = sd_upsample (run, &x); /* after a failure nothing happens */
  g_assert_null (y.data);
  g_assert_false (sd_run_finish (run, &error));
  g_assert_error (error, G_IO_ERROR, G_IO_ERROR_CANCELLED);
  g_clear_error (&error);
}

int
main (int argc, char **argv)
{
  g_autofree const ComputeBackend **backends = compute_list ();

  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/layers/weight-types", test_weight_types);
  g_test_add_func ("/layers/finite", test_finite);
  for (int i = 0; backends[i]; i++)
    {
      g_autofree char *products = g_strdup_printf ("/layers/products/%s", backends[i]->name);
      g_autofree char *attention = g_strdup_printf ("/layers/attention/%s", backends[i]->name);

      /* What has no filters runs on OpenBLAS. */
      if (! backends[i]->filter_new && strcmp (backends[i]->name, "blas") != 0)
        continue;
      g_test_add_data_func (products, backends[i], test_products);
      g_test_add_data_func (attention, backends[i], test_attention);
    }
  g_test_add_func ("/layers/norms", test_norms);
  g_test_add_func ("/layers/norm-threads", test_norm_threads);
  g_test_add_func ("/layers/functions", test_functions);
  g_test_add_func ("/layers/cancel", test_cancel);
  return g_test_run ();
}
