/* Finding a network's tensors in a file.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "run.h"

#include <glib/gi18n-lib.h>

gboolean
sd_has (const TensorFile *file, const char *name, ...)
{
  g_autofree char *full = NULL;
  va_list          arguments;

  va_start (arguments, name);
  full = g_strdup_vprintf (name, arguments);
  va_end (arguments);
  return tensor_file_has (file, full);
}

int
sd_get_dim (const TensorFile *file, const char *name, int dim)
{
  TensorView view;

  return tensor_file_view (file, name, &view) && dim < view.n_dims ? view.dims[dim] : 0;
}

/* reason: translated, a clause that names the tensor. */
static void refuse (SdBinder *binder, const char *reason, ...) G_GNUC_PRINTF (2, 3);

static void
refuse (SdBinder *binder, const char *reason, ...)
{
  g_autofree char *clause = NULL;
  va_list          arguments;

  if (binder->error)
    return;
  va_start (arguments, reason);
  clause = g_strdup_vprintf (reason, arguments);
  va_end (arguments);
  g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
               /* Translators: a file's path, and why: a text with the context "reason". */
               C_ ("error", "%s is no complete Stable Diffusion checkpoint: %s.  Download the file again, or choose "
                            "another."),
               tensor_file_get_path (binder->file), clause);
}

/* A tensor that must be there, in a type that can be read. */
static gboolean
find (SdBinder *binder, const char *name, TensorView *view)
{
  if (binder->error)
    return FALSE;
  if (! tensor_file_view (binder->file, name, view))
    refuse (binder, C_ ("reason", "its tensor %s is missing"), name);
  else if (view->type == TENSOR_OTHER)
    refuse (binder, C_ ("reason", "its tensor %s is of a type other than f32, f16 and bf16"), name);
  return ! binder->error;
}

gboolean
sd_fetch_weights (const TensorFile *file, TensorType type, gsize offset, gsize count, float *values, GError **error)
{
  gsize size = weight_size (type);
  char  piece[16384];

  for (gsize first = 0; first < count; first += sizeof piece / size)
    {
      gsize most = MIN (sizeof piece / size, count - first);

      if (! tensor_file_fetch (file, offset + first * size, most * size, piece, error))
        return FALSE;
      weights_to_f32 (type, most, piece, values + first);
    }
  return TRUE;
}

/* `count` values from `first` on of a tensor of `total`, converted. */
static float *
bind_values (SdBinder *binder, int first, int count, int total, const char *name)
{
  TensorView view;
  float     *values;

  if (! find (binder, name, &view))
    return NULL;
  if (view.n_dims != 1 || view.dims[0] != total)
    {
      refuse (binder, C_ ("reason", "its tensor %s has another shape than its neighbours make it"), name);
      return NULL;
    }
  values = core_alloc ((gsize) count, sizeof (float), &binder->error);
  if (values)
    {
      g_ptr_array_add (binder->owned, values);
      sd_fetch_weights (binder->file, view.type, view.offset + (gsize) first * weight_size (view.type), (gsize) count,
                        values, &binder->error);
    }
  return values;
}

void
sd_bind_weights (SdBinder *binder, SdLayer *layer, int out, int in, int taps, const char *name)
{
  TensorView view;
  int        side = taps == 9 ? 3 : 1;

  if (! find (binder, name, &view))
    return;
  if (! (view.n_dims == 4 && view.dims[2] == side && view.dims[3] == side) && ! (view.n_dims == 2 && taps == 1))
    refuse (binder, C_ ("reason", "its tensor %s has another shape than its place in the network makes it"), name);
  else if ((out != SD_ANY && view.dims[0] != out) || (in != SD_ANY && view.dims[1] != in) || view.dims[0] < 1
           || view.dims[1] < 1)
    refuse (binder, C_ ("reason", "its tensor %s has another shape than its neighbours make it"), name);
  *layer = (SdLayer){ binder->file, view.offset, view.type, view.dims[0], view.dims[1], taps, NULL };
}

void
sd_bind_layer (SdBinder *binder, SdLayer *layer, int out, int in, int taps, gboolean bias, const char *name, ...)
{
  g_autofree char *full = NULL, *weight_name = NULL, *bias_name = NULL;
  va_list          arguments;

  va_start (arguments, name);
  full = g_strdup_vprintf (name, arguments);
  va_end (arguments);
  weight_name = g_strconcat (full, ".weight", NULL);
  sd_bind_weights (binder, layer, out, in, taps, weight_name);
  if (bias && ! binder->error)
    {
      bias_name = g_strconcat (full, ".bias", NULL);
      layer->bias = bind_values (binder, 0, layer->out, layer->out, bias_name);
    }
}

void
sd_bind_rows (SdBinder *binder, SdLayer *layer, int first, int out, int total, int in, const char *weight,
              const char *bias)
{
  sd_bind_weights (binder, layer, total, in, 1, weight);
  if (binder->error)
    return;
  layer->offset += (gsize) first * (gsize) in * weight_size (layer->type);
  layer->out = out;
  layer->bias = bind_values (binder, first, out, total, bias);
}

void
sd_bind_norm (SdBinder *binder, SdNorm *norm, int channels, const char *name, ...)
{
  g_autofree char *full = NULL, *weight_name = NULL, *bias_name = NULL;
  va_list          arguments;

  va_start (arguments, name);
  full = g_strdup_vprintf (name, arguments);
  va_end (arguments);
  weight_name = g_strconcat (full, ".weight", NULL);
  bias_name = g_strconcat (full, ".bias", NULL);
  *norm = (SdNorm){ bind_values (binder, 0, channels, channels, weight_name),
                    bind_values (binder, 0, channels, channels, bias_name), channels };
}

void
sd_bind_group_norm (SdBinder *binder, SdNorm *norm, int channels, const char *name, ...)
{
  g_autofree char *full = NULL;
  va_list          arguments;

  va_start (arguments, name);
  full = g_strdup_vprintf (name, arguments);
  va_end (arguments);
  if (! binder->error && (channels < SD_GROUPS || channels % SD_GROUPS != 0))
    g_set_error (&binder->error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                 /* Translators: a file's path, and the name of a normalization in its network. */
                 C_ ("error", "%s cannot be used: its norm %s is over %d channels, a number that %d does not divide."),
                 tensor_file_get_path (binder->file), full, channels, SD_GROUPS);
  sd_bind_norm (binder, norm, channels, "%s", full);
}
