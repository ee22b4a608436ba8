/* gimp-diffusion: the command bench
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "run.h"

#include <math.h>
#include <stdio.h>

/* How the table names what the engine measures. */
static const struct
{
  const char *key, *label, *unit;
} rows[] = {
  { "denoise_24mp_s_per_mp", "denoising 24 megapixels", "s per megapixel" },
  { "denoise_24mp_extra_mb", "  memory beyond the picture", "MiB" },
  { "denoise_6mp_s_per_mp", "denoising 6 megapixels", "s per megapixel" },
  { "denoise_1mp_s_per_mp", "denoising 1 megapixel", "s per megapixel" },
  { "sgemm_gflops", "OpenBLAS, product of 2048 x 2048", "GFLOP/s" },
  { "conv_bf16_gflops", "oneDNN, best bf16 convolution", "GFLOP/s" },
  { "forward_f32_gflops", "the network in f32, 512 x 512", "GFLOP/s, counted as direct convolution" },
  { "forward_bf16_gflops", "the network in bf16, 512 x 512", "GFLOP/s, counted as direct convolution" },
  { "sd15_load_s", "checkpoint, loading until the first step", "s" },
  { "sd15_step_s_f32", "checkpoint, a step at 512 x 512, f32", "s" },
  { "sd15_step_effective_over_sgemm_f32", "  direct multiplications / OpenBLAS", "" },
  { "sd15_first_step_s_f32", "  the first step", "s" },
  { "sd15_decode_s_f32", "checkpoint, decoding 512 x 512, f32", "s" },
  { "sd15_decode_effective_over_sgemm_f32", "  direct multiplications / OpenBLAS", "" },
  { "sd15_peak_mb_f32", "  memory at most", "MiB" },
  { "sd15_step_s_bf16", "checkpoint, a step at 512 x 512, bf16", "s" },
  { "sd15_step_effective_over_sgemm_bf16", "  direct multiplications / OpenBLAS", "" },
  { "sd15_first_step_s_bf16", "  the first step, weights laid out", "s" },
  { "sd15_decode_s_bf16", "checkpoint, decoding 512 x 512, bf16", "s" },
  { "sd15_decode_effective_over_sgemm_bf16", "  direct multiplications / OpenBLAS", "" },
  { "sd15_peak_mb_bf16", "  memory at most", "MiB" },
  { "train_samples_per_s", "training, samples of 128 x 128", "samples/s" },
};

typedef struct
{
  gboolean json, any;
  double   values[G_N_ELEMENTS (rows)];
} Table;

static void
on_result (const char *key, double value, gpointer user_data)
{
  Table *table = user_data;
  char   number[G_ASCII_DTOSTR_BUF_SIZE];

  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    {
      if (g_strcmp0 (rows[i].key, key) != 0)
        continue;
      table->values[i] = value;
      g_ascii_formatd (number, sizeof number, "%.4g", value);
      if (table->json)
        printf ("%s\n  \"%s\": %s", table->any ? "," : "{", key, isfinite (value) ? number : "null");
      else if (isfinite (value))
        printf ("%-34s %8s %s\n", rows[i].label, number, rows[i].unit);
      else
        printf ("%-34s %8s not on this processor\n", rows[i].label, "-");
    }
  table->any = TRUE;
  fflush (stdout);
}

static double
get (const Table *table, const char *key)
{
  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    if (g_strcmp0 (rows[i].key, key) == 0)
      return table->values[i];
  return NAN;
}

/* What speed is judged by: figures of one run against each other. */
static void
print_ratios (const Table *table)
{
  static const struct
  {
    const char *label, *above, *below;
  } ratios[] = {
    { "f32 network / OpenBLAS", "forward_f32_gflops", "sgemm_gflops" },
    { "bf16 network / f32 network", "forward_bf16_gflops", "forward_f32_gflops" },
    { "24 megapixels / 1, per megapixel", "denoise_24mp_s_per_mp", "denoise_1mp_s_per_mp" },
  };

  putchar ('\n');
  for (gsize i = 0; i < G_N_ELEMENTS (ratios); i++)
    {
      double ratio = get (table, ratios[i].above) / get (table, ratios[i].below);

      if (isfinite (ratio))
        printf ("%-34s %8.2f\n", ratios[i].label, ratio);
    }
}

gboolean
command_bench (const Command *self, char **argv, GError **error)
{
  g_auto (GStrv) files = NULL;
  g_auto (RunOptions) run = RUN_OPTIONS_INIT (.usual_model = DIFFUSION_MODEL_DENOISE, .steps = 1);
  g_autofree char *only = NULL;
  g_autoptr (DiffusionModel) model = NULL;
  DiffusionOptions options = DIFFUSION_OPTIONS_INIT;
  Table            table = { 0 };
  gboolean         success;
  const Option     options_table[] = {
        { "json", OPTION_FLAG, &table.json, NULL, "print JSON for scripts, null for what the processor lacks" },
        { "only", OPTION_TEXT, &only, "PART",
          "measure one part: denoise, machine, network or train; checkpoint for a --model of that kind" },
        { "model", OPTION_FILE, &run.model, "FILE",
          "model file, or the name of an installed model; default: " DIFFUSION_MODEL_DENOISE },
        OPTION_THREADS (&run.threads),
  };

  for (gsize i = 0; i < G_N_ELEMENTS (rows); i++)
    table.values[i] = NAN;
  if (! command_parse (self, argv, options_table, G_N_ELEMENTS (options_table), &files, error)
      || ! (model = run_options_apply (&run, &options, error)))
    return FALSE;
  success = diffusion_bench (model, only, run.threads, on_result, &table, run_get_cancellable (), error);
  /* What was measured until something failed is JSON, too. */
  if (table.json && table.any)
    puts ("\n}");
  else if (! table.json)
    print_ratios (&table);
  return success;
}
