/* Model files as an attacker would write them.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * One input is one file.  It is given to everything that reads such files: the program's own models, training
 * checkpoints, Stable Diffusion checkpoints.  With clang and -Dfuzz=true this is a libFuzzer program; elsewhere
 * replay.c feeds it the corpus.
 */
#include "net/model.h"
#include "train/train.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

/* Inputs whose last byte is this one get a hole behind them: so a header of some kilobytes can speak of a checkpoint's
 * megabytes and be believed. */
#define TAIL_MARK 'T'
#define TAIL_SIZE (64 << 20)

/* What may be read of such a file: the rest is zeros. */
#define READ_MAX (1 << 20)

static void
assert_sentence (GError **error)
{
  g_assert_nonnull (*error);
  g_assert_true ((*error)->domain == DIFFUSION_ERROR);
  g_assert_true (g_utf8_validate ((*error)->message, -1, NULL));
  g_assert_true (g_str_has_suffix ((*error)->message, "."));
  g_assert_cmpuint (strlen ((*error)->message), <, 1500);
  g_clear_error (error);
}

static gboolean
is_any (const char *name)
{
  return TRUE;
}

/* Every tensor of a file, by both ways of looking at it. */
static void
read_tensors (const TensorFile *file)
{
  g_autoptr (GPtrArray) names = tensor_file_list (file, is_any);

  for (guint i = 0; i < names->len; i++)
    {
      const char       *name = names->pdata[i];
      g_autofree float *values = NULL;
      GError           *error = NULL;
      TensorView        view;

      if (! tensor_file_view (file, name, &view) || view.type == TENSOR_OTHER || view.count > READ_MAX)
        continue;
      values = g_new (float, MAX (view.count, 1));
      if (! tensor_file_read (file, name, view.dims, view.n_dims, values, &error))
        assert_sentence (&error);
    }
}

static void
read_networks (TensorFile *file)
{
  GError             *error = NULL;
  DiffusionCheckpoint info;
  SdText             *text;
  SdUnet             *unet;
  SdVae              *vae;

  if (! sd_family_find (file, &info, &error))
    assert_sentence (&error);
  g_assert_true (info.native_size >= 0 && info.native_size <= 1024);
  text = sd_text_new (file, &error);
  if (! text)
    assert_sentence (&error);
  unet = sd_unet_new (file, text ? sd_text_get_width (text) : 32, &error);
  if (! unet)
    assert_sentence (&error);
  vae = sd_vae_new (file, &error);
  if (! vae)
    assert_sentence (&error);
  sd_vae_free (vae);
  sd_unet_free (unet);
  sd_text_free (text);
}

static void
read_training (const char *path)
{
  static const DiffusionArchitecture architecture = { 1, { 8 }, { 1 } };
  g_autoptr (NetLayout) layout = net_layout_new (&architecture, NULL);
  g_autofree float *arrays = g_new0 (float, layout->n_parameters * 4);
  Adam              adam = { 0 };
  Progress          progress = { 0 };
  GError           *error = NULL;

  adam.weights = arrays;
  adam.average = arrays + layout->n_parameters;
  adam.m = arrays + layout->n_parameters * 2;
  adam.v = arrays + layout->n_parameters * 3;
  if (! checkpoint_load (path, layout, &adam, &progress, &error))
    assert_sentence (&error);
}

static void
read_model (const char *path)
{
  GError *error = NULL;
  g_autoptr (DiffusionModel) model = diffusion_model_load (path, &error);
  g_auto (GStrv) keys = NULL;

  if (! model)
    {
      assert_sentence (&error);
      return;
    }
  keys = diffusion_model_list_metadata (model);
  for (gsize i = 0; keys[i]; i++)
    g_assert_nonnull (diffusion_model_get_metadata (model, keys[i]));
  for (gsize i = 0; ! diffusion_model_get_checkpoint (model) && i < diffusion_model_count_parameters (model); i++)
    g_assert_true (isfinite (model_get_weights (model)[i]));
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  static int  fd = -1;
  static char path[64];
  gboolean    tail = size > 0 && data[size - 1] == TAIL_MARK;
  GError     *error = NULL;
  g_autoptr (TensorFile) file = NULL;
  DiffusionCheckpoint look;

  if (fd < 0)
    {
      fd = memfd_create ("model", MFD_CLOEXEC);
      g_snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
      g_log_set_always_fatal (G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING | G_LOG_FATAL_MASK);
    }
  g_assert_true (ftruncate (fd, 0) == 0 && pwrite (fd, data, size, 0) == (gssize) size
                 && (! tail || ftruncate (fd, (off_t) size + TAIL_SIZE) == 0));
  if (! diffusion_checkpoint_look (path, &look, &error))
    assert_sentence (&error);
  file = tensor_file_open (path, &error);
  if (file)
    {
      read_tensors (file);
      read_networks (file);
    }
  else
    assert_sentence (&error);
  if (! tail)
    {
      read_model (path);
      read_training (path);
    }
  return 0;
}

#ifdef FUZZ
size_t LLVMFuzzerMutate (guint8 *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator (guint8 *data, size_t size, size_t most, unsigned seed);

/* Mostly the JSON alone, with its length put right: else nearly every mutation ends at the first check. */
size_t
LLVMFuzzerCustomMutator (guint8 *data, size_t size, size_t most, unsigned seed)
{
  g_autofree guint8 *rest = NULL;
  guint64            length;
  gsize              rest_size;

  if (size < 16 || most < 16 || seed % 8 == 0)
    return LLVMFuzzerMutate (data, size, most);
  memcpy (&length, data, 8);
  length = MIN (GUINT64_FROM_LE (length), size - 8);
  rest_size = size - 8 - (gsize) length;
  rest = g_memdup2 (data + 8 + length, rest_size);
  length = LLVMFuzzerMutate (data + 8, (gsize) length, most - 8 - rest_size);
  if (rest_size)
    memcpy (data + 8 + length, rest, rest_size);
  size = 8 + (gsize) length + rest_size;
  length = GUINT64_TO_LE (length);
  memcpy (data, &length, 8);
  return size;
}
#endif
