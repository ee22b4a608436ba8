/* Every back end against the plain reference; every layer's gradient against finite differences.
 * SPDX-License-Identifier: GPL-3.0-or-later */
#include "compute/compute.h"
#include "values.h"

#ifdef HAVE_ONEDNN
#include "compute/onednn-describe.h"
#endif

#include <cblas.h>
#include <math.h>
#include <string.h>

typedef struct
{
  ConvShape shape;
  ConvPiece piece;
} Case;

/* Odd sizes, single rows and columns, channels that Winograd takes and that it does not, the network's own; and what is
 * wide enough to be computed a few rows at a time. */
static const Case cases[] = {
  { { CONV_SAME3, 20, 64 }, { 2, 6, 5, 1, 1 } },   { { CONV_SAME3, 64, 12 }, { 1, 9, 7, 1, 1 } },
  { { CONV_SAME3, 32, 48 }, { 2, 4, 4, 1, 1 } },   { { CONV_SAME3, 64, 64 }, { 1, 13, 11, 1, 1 } },
  { { CONV_SAME3, 16, 16 }, { 3, 1, 1, 1, 1 } },   { { CONV_SAME3, 16, 32 }, { 1, 1, 9, 1, 1 } },
  { { CONV_SAME3, 8, 24 }, { 1, 5, 1, 1, 1 } },    { { CONV_SAME3, 16, 16 }, { 1, 70, 70, 1, 1 } },
  { { CONV_DOWN2, 16, 32 }, { 2, 3, 5, 1, 1 } },   { { CONV_DOWN2, 8, 8 }, { 1, 1, 1, 1, 1 } },
  { { CONV_UP2, 32, 16 }, { 2, 3, 5, 1, 1 } },     { { CONV_UP2, 64, 24 }, { 1, 7, 1, 1, 1 } },
  { { CONV_DOWN2, 16, 32 }, { 1, 11, 70, 0, 0 } }, { { CONV_UP2, 32, 16 }, { 1, 11, 70, 0, 0 } },
};

/* f32 back ends differ from the reference by the order of sums and by Winograd's transforms, whose entries go up to 8:
 * some 10 ulp.  bf16 has 8 bits: each input is off by up to 2^-9, the result is rounded once more. */
static double
get_tolerance (const ComputeBackend *backend)
{
  return backend->element == ELEMENT_F32 ? 2e-5 : 1.5e-2;
}

typedef struct
{
  gsize  n_weights, n_x, n_y;
  float *weights, *bias, *x, *y;
} Data;

static Data
data_new (const Case *c)
{
  gsize coarse = (gsize) c->piece.n * (gsize) c->piece.rows * (gsize) c->piece.width;
  Data  d = { conv_shape_count_weights (&c->shape),
              coarse * (gsize) c->shape.c_in,
              coarse * (gsize) c->shape.c_out,
              NULL,
              NULL,
              NULL,
              NULL };

  d.n_x *= c->shape.kind == CONV_DOWN2 ? 4 : 1;
  d.n_y *= c->shape.kind == CONV_UP2 ? 4 : 1;
  d.weights = new_values (d.n_weights, 1, 1 / sqrt (9.0 * c->shape.c_in));
  d.bias = new_values ((gsize) c->shape.c_out, 2, 1);
  d.x = new_values (d.n_x, 3, 1);
  d.y = new_values (d.n_y, 4, 1);
  return d;
}

static void
data_clear (Data *d)
{
  g_free (d->weights);
  g_free (d->bias);
  g_free (d->x);
  g_free (d->y);
}

static gpointer
to_element (const ComputeBackend *backend, const float *values, gsize count)
{
  gpointer memory = g_malloc (count * 4);

  pointwise_from_f32 (backend->element, count, values, memory);
  return memory;
}

static float *
from_element (const ComputeBackend *backend, gpointer memory, gsize count)
{
  float *values = g_new (float, count);

  pointwise_to_f32 (backend->element, count, memory, values);
  g_free (memory);
  return values;
}

typedef enum
{
  OUT_NONE,
  OUT_SILU,
  OUT_ADD,
  OUT_DX,
  OUT_D_WEIGHTS,
  OUT_D_BIAS,
  N_OUT
} Out;

static void
run_backend (const ComputeBackend *backend, const Case *c, const Data *d, float *out[N_OUT])
{
  Scratch  scratch = { 0 };
  GError  *error = NULL;
  Conv    *conv = backend->conv_new (&c->shape, TRUE, &error);
  gpointer x = to_element (backend, d->x, d->n_x), dy = to_element (backend, d->y, d->n_y), memory;
  gboolean ok;

  g_assert_no_error (error);
  ok = backend->conv_set_weights (conv, d->weights, d->bias, &scratch, &error);
  g_assert_true (ok);
  for (int e = EPILOGUE_NONE; e <= EPILOGUE_ADD; e++)
    {
      memory = to_element (backend, d->y, d->n_y);
      ok = backend->conv_forward (conv, &c->piece, x, memory, (ConvEpilogue) e, &scratch, &error);
      g_assert_no_error (error);
      out[e] = from_element (backend, memory, d->n_y);
    }
  memory = to_element (backend, d->x, d->n_x);
  ok = ok && backend->conv_backward_data (conv, &c->piece, dy, memory, &scratch, &error);
  g_assert_no_error (error);
  out[OUT_DX] = from_element (backend, memory, d->n_x);
  /* Gradients add to what is there. */
  out[OUT_D_WEIGHTS] = g_memdup2 (d->weights, d->n_weights * sizeof (float));
  out[OUT_D_BIAS] = g_memdup2 (d->bias, (gsize) c->shape.c_out * sizeof (float));
  ok = ok
       && backend->conv_backward_weights (conv, &c->piece, x, dy, out[OUT_D_WEIGHTS], out[OUT_D_BIAS], &scratch,
                                          &error);
  g_assert_no_error (error);
  g_assert_true (ok);
  g_free (x);
  g_free (dy);
  backend->conv_free (conv);
  scratch_clear (&scratch);
}

static double
relative_difference (const float *a, const float *b, gsize count)
{
  double worst = 0, largest = 1e-30;

  for (gsize i = 0; i < count; i++)
    {
      worst = fmax (worst, fabs ((double) a[i] - (double) b[i]));
      largest = fmax (largest, fabs ((double) a[i]));
    }
  return worst / largest;
}

static void
test_agreement (gconstpointer data)
{
  const ComputeBackend *backend = data;

  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      Data   d = data_new (&cases[i]);
      gsize  counts[N_OUT] = { d.n_y, d.n_y, d.n_y, d.n_x, d.n_weights, (gsize) cases[i].shape.c_out };
      float *expected[N_OUT], *got[N_OUT];

      run_backend (&compute_reference, &cases[i], &d, expected);
      run_backend (backend, &cases[i], &d, got);
      for (int o = 0; o < N_OUT; o++)
        {
          double difference = relative_difference (expected[o], got[o], counts[o]);

          if (! (difference < get_tolerance (backend)))
            g_error ("%s, case %d, output %d: %g", backend->name, (int) i, o, difference);
          g_free (expected[o]);
          g_free (got[o]);
        }
      data_clear (&d);
    }
}

/* A piece with context rows in memory must give exactly what the same rows are in the whole.  The fours that pieces
 * begin and end with have their first row `lag` rows above the picture. */
static void
check_pieces (const ComputeBackend *backend, int width, int lag)
{
  const Case whole = { { CONV_SAME3, 32, 32 }, { 1, 24, width, 1, 1, lag } };
  const int  ends[] = { 8 - lag, 12 - lag, 20 - lag, 24 };
  Data       d = data_new (&whole);
  Scratch    scratch = { 0 };
  GError    *error = NULL;
  Conv      *conv = backend->conv_new (&whole.shape, FALSE, &error);
  gpointer   x = to_element (backend, d.x, d.n_x), y = g_malloc0 (d.n_y * 4), z = g_malloc0 (d.n_y * 4);
  gsize      row = (gsize) width * 32 * element_size (backend->element);

  backend->conv_set_weights (conv, d.weights, d.bias, &scratch, &error);
  backend->conv_forward (conv, &whole.piece, x, y, EPILOGUE_SILU, &scratch, &error);
  for (int i = 0, first = 0; i < (int) G_N_ELEMENTS (ends); first = ends[i++])
    {
      ConvPiece piece = { 1, ends[i] - first, width, first == 0, ends[i] == 24, first == 0 ? lag : 0 };

      backend->conv_forward (conv, &piece, (char *) x + (gsize) (first - 1 + piece.top) * row,
                             (char *) z + (gsize) first * row, EPILOGUE_SILU, &scratch, &error);
      g_assert_no_error (error);
    }
  g_assert_cmpmem (y, 24 * row, z, 24 * row);
  backend->conv_free (conv);
  scratch_clear (&scratch);
  g_free (x);
  g_free (y);
  g_free (z);
  data_clear (&d);
}

static void
test_pieces (gconstpointer data)
{
  const int widths[] = { 17, 21, 37, 40, 70 };

  for (guint i = 0; i < G_N_ELEMENTS (widths); i++)
    for (int lag = 0; lag < 4; lag++)
      check_pieces (data, widths[i], lag);
}

/* ---- finite differences, on the reference in f32 ---- */

#define STEP 1e-2f

/* sum (dy * conv (x)): what the gradients are gradients of. */
static double
dot_forward (Conv *conv, const Case *c, const Data *d, const float *weights, const float *x)
{
  Scratch scratch = { 0 };
  float  *y = g_new0 (float, d->n_y);
  double  sum = 0;

  compute_reference.conv_set_weights (conv, weights, d->bias, &scratch, NULL);
  compute_reference.conv_forward (conv, &c->piece, x, y, EPILOGUE_NONE, &scratch, NULL);
  for (gsize i = 0; i < d->n_y; i++)
    sum += (double) y[i] * (double) d->y[i];
  g_free (y);
  return sum;
}

static void
test_conv_gradient (gconstpointer data)
{
  const Case *c = data;
  Data        d = data_new (c);
  float      *out[N_OUT];
  Conv       *conv = compute_reference.conv_new (&c->shape, TRUE, NULL);
  Random      random;

  run_backend (&compute_reference, c, &d, out);
  random_init (&random, 9, 9);
  for (int trial = 0; trial < 20; trial++)
    {
      gsize  w = (gsize) random_int (&random, 0, (int) d.n_weights), i = (gsize) random_int (&random, 0, (int) d.n_x);
      float *weights = g_memdup2 (d.weights, d.n_weights * sizeof (float)),
            *x = g_memdup2 (d.x, d.n_x * sizeof (float));
      double up, down;

      weights[w] += STEP;
      up = dot_forward (conv, c, &d, weights, d.x);
      weights[w] -= 2 * STEP;
      down = dot_forward (conv, c, &d, weights, d.x);
      /* Convolution is linear: only rounding of sums of some hundred terms stands between. */
      g_assert_cmpfloat_with_epsilon ((up - down) / (2 * (double) STEP),
                                      (double) (out[OUT_D_WEIGHTS][w] - d.weights[w]), 2e-3);
      x[i] += STEP;
      up = dot_forward (conv, c, &d, d.weights, x);
      x[i] -= 2 * STEP;
      down = dot_forward (conv, c, &d, d.weights, x);
      g_assert_cmpfloat_with_epsilon ((up - down) / (2 * (double) STEP), (double) out[OUT_DX][i], 2e-3);
      g_free (weights);
      g_free (x);
    }
  for (int o = 0; o < N_OUT; o++)
    g_free (out[o]);
  compute_reference.conv_free (conv);
  data_clear (&d);
}

static void
test_norm_gradient (void)
{
  enum
  {
    PIXELS = 5,
    CHANNELS = 16,
    N = PIXELS * CHANNELS
  };
  g_autofree float *x = new_values (N, 1, 2), *gain = new_values (CHANNELS, 2, 1), *dy = new_values (N, 3, 1);
  float             dx[N] = { 0 }, d_gain[CHANNELS] = { 0 }, y[2][N];

  pointwise_norm_backward (ELEMENT_F32, PIXELS, CHANNELS, x, gain, dy, dx, d_gain);
  for (int i = 0; i < N + CHANNELS; i++)
    {
      float *value = i < N ? &x[i] : &gain[i - N], before = *value;
      double slope = 0;

      for (int side = 0; side < 2; side++)
        {
          *value = before + (side ? 1e-2f : -1e-2f);
          pointwise_norm (ELEMENT_F32, PIXELS, CHANNELS, x, gain, y[side]);
        }
      *value = before;
      for (int k = 0; k < N; k++)
        slope += ((double) y[1][k] - (double) y[0][k]) / 2e-2 * (double) dy[k];
      g_assert_cmpfloat_with_epsilon (slope, (double) (i < N ? dx[i] : d_gain[i - N]), 2e-3);
    }
}

static void
test_norm_value (void)
{
  const float x[4] = { 3, -4, 0, 0 }, gain[4] = { 1, 2, 1, 1 };
  float       y[4];

  pointwise_norm (ELEMENT_F32, 1, 4, x, gain, y);
  /* sqrt (25 / 4) = 2.5 */
  g_assert_cmpfloat_with_epsilon (y[0], 1.2, 1e-4);
  g_assert_cmpfloat_with_epsilon (y[1], -3.2, 1e-4);
  g_assert_cmpfloat (y[2], ==, 0);
}

static void
test_silu (void)
{
  float x[2001], y[2001], dx[2001], dy[2001];

  for (int i = 0; i <= 2000; i++)
    {
      x[i] = (float) (i - 1000) * 0.1f;
      dy[i] = 1;
    }
  pointwise_silu (ELEMENT_F32, 2001, x, y);
  pointwise_silu_backward (ELEMENT_F32, 2001, x, dy, dx);
  for (int i = 0; i <= 2000; i++)
    {
      double v = (double) x[i], s = 1 / (1 + exp (-v));

      g_assert_cmpfloat_with_epsilon ((double) y[i], v * s, 1e-6 * fmax (1, fabs (v)));
      g_assert_cmpfloat_with_epsilon ((double) dx[i], s * (1 + v * (1 - s)), 2e-6);
    }
}

static void
test_bf16 (void)
{
  const float x[6] = { 1, 1 + 0x1p-8f, 1 + 0x1p-8f + 0x1p-20f, 1 + 3 * 0x1p-8f, -2.5f, 0 };
  const float rounded[6] = { 1, 1, 1 + 0x1p-7f, 1 + 0x1p-6f, -2.5f, 0 };
  guint16     halves[6];
  float       back[6];

  /* Ties go to the even neighbour. */
  pointwise_from_f32 (ELEMENT_BF16, 6, x, halves);
  pointwise_to_f32 (ELEMENT_BF16, 6, halves, back);
  for (int i = 0; i < 6; i++)
    g_assert_cmpfloat (back[i], ==, rounded[i]);
}

static void
compute_for (double seconds)
{
  const gint64 end = g_get_monotonic_time () + (gint64) (seconds * G_USEC_PER_SEC);
  volatile int n = 0;

  while (g_get_monotonic_time () < end)
    for (int i = 0; i < 10000; i++)
      n = n + 1;
}

/* What is done once, and sleep, are no part of the work; the rest is, as far as others leave the processor to it. */
static void
test_work_seconds (void)
{
  const double start = diffusion_get_work_seconds ();
  double       idle, worked;

  compute_begin_planning ();
  compute_for (0.2);
  compute_end_planning ();
  g_usleep (G_USEC_PER_SEC / 5);
  idle = diffusion_get_work_seconds () - start;
  for (int i = 0; i < 100 && diffusion_get_work_seconds () < start + idle + 0.2; i++)
    compute_for (0.1);
  worked = diffusion_get_work_seconds () - start - idle;
  g_test_message ("idle for %.3f s, at work for %.3f s", idle, worked);
  g_assert_cmpfloat (fabs (idle), <, 0.05);
  g_assert_cmpfloat (worked, >=, 0.2);
}

#if defined(__x86_64__) && defined(__linux__)
/* Whether the system says so of the processor. */
static gboolean
cpu_says (const char *word)
{
  g_autofree char *text = NULL, *pattern = g_strdup_printf ("\\b%s\\b", word);

  return g_file_get_contents ("/proc/cpuinfo", &text, NULL, NULL) && g_regex_match_simple (pattern, text, 0, 0);
}

/* OpenBLAS knows the processors of its own time: also on younger ones it works with the vectors that they have. */
static void
test_blas_kernels (void)
{
  if (g_getenv ("OPENBLAS_CORETYPE") || ! cpu_says ("avx2") || ! cpu_says ("fma"))
    {
      g_test_skip ("OPENBLAS_CORETYPE is set, or the processor has no AVX2");
      return;
    }
  g_test_message ("OpenBLAS's kernels: %s", openblas_get_corename ());
  g_assert_cmpstr (openblas_get_corename (), !=, "Prescott");
}

/* bf16 where it is the faster one.  Of processors without matrix units Intel's have f32 for that, and AMD's Zen 4 (its
 * family 25), whose units are half as wide as its vectors, for convolutions. */
static void
test_default (void)
{
  g_autoptr (GError) error = NULL;
  const ComputeBackend *convs, *filters;

  if (g_getenv ("DIFFUSION_COMPUTE"))
    {
      g_test_skip ("DIFFUSION_COMPUTE is set");
      return;
    }
  convs = compute_get_default (COMPUTE_CONVS, &error);
  g_assert_no_error (error);
  filters = compute_get_default (COMPUTE_FILTERS, &error);
  g_assert_no_error (error);
  g_test_message ("runs on %s, checkpoints on %s", convs->name, filters->name);
#ifdef HAVE_ONEDNN
  if (cpu_says ("amx_bf16") || (cpu_says ("avx512_bf16") && cpu_says ("AuthenticAMD")))
    {
      g_assert_cmpstr (filters->name, ==, "onednn");
      if (cpu_says ("cpu family\\s*: 25"))
        g_assert_cmpstr (convs->name, ==, "blas");
      else if (cpu_says ("amx_bf16"))
        g_assert_cmpstr (convs->name, ==, "onednn");
      return;
    }
#endif
  g_assert_cmpstr (filters->name, ==, "blas");
  g_assert_cmpstr (convs->name, ==, "blas");
}
#endif

#ifdef HAVE_ONEDNN
/* Processors that multiply bf16, and such as do not, whatever oneDNN's numbers for them are. */
static void
test_isa (void)
{
  g_assert_true (onednn_isa_has (dnnl_cpu_isa_avx512_core_bf16, dnnl_cpu_isa_avx512_core_bf16));
  g_assert_true (onednn_isa_has (dnnl_cpu_isa_avx512_core_amx, dnnl_cpu_isa_avx512_core_bf16));
  g_assert_false (onednn_isa_has (dnnl_cpu_isa_avx512_core_vnni, dnnl_cpu_isa_avx512_core_bf16));
  g_assert_false (onednn_isa_has (dnnl_cpu_isa_avx2, dnnl_cpu_isa_avx512_core_bf16));
  g_assert_false (onednn_isa_has (dnnl_cpu_isa_avx2_vnni, dnnl_cpu_isa_avx512_core_bf16));
  g_assert_false (onednn_isa_has (dnnl_cpu_isa_avx2_vnni, dnnl_cpu_isa_avx512_core_amx));
  g_assert_false (onednn_isa_has (dnnl_cpu_isa_avx512_core_bf16, dnnl_cpu_isa_avx512_core_amx));
}
#endif

int
main (int argc, char **argv)
{
  g_autofree const ComputeBackend **backends = compute_list ();

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; backends[i]; i++)
    {
      g_autofree char *agree = g_strdup_printf ("/compute/%s/agrees", backends[i]->name);
      g_autofree char *pieces = g_strdup_printf ("/compute/%s/pieces", backends[i]->name);

      if (backends[i] != &compute_reference)
        g_test_add_data_func (agree, backends[i], test_agreement);
      g_test_add_data_func (pieces, backends[i], test_pieces);
    }
  g_test_add_data_func ("/compute/gradient/same3", &cases[2], test_conv_gradient);
  g_test_add_data_func ("/compute/gradient/down2", &cases[8], test_conv_gradient);
  g_test_add_data_func ("/compute/gradient/up2", &cases[10], test_conv_gradient);
  g_test_add_func ("/compute/gradient/norm", test_norm_gradient);
  g_test_add_func ("/compute/norm", test_norm_value);
  g_test_add_func ("/compute/silu", test_silu);
  g_test_add_func ("/compute/bf16", test_bf16);
  g_test_add_func ("/compute/work-seconds", test_work_seconds);
#if defined(__x86_64__) && defined(__linux__)
  g_test_add_func ("/compute/blas/kernels", test_blas_kernels);
  g_test_add_func ("/compute/default", test_default);
#endif
#ifdef HAVE_ONEDNN
  g_test_add_func ("/compute/onednn/isa", test_isa);
#endif
  return g_test_run ();
}
