/* Models: weights, their file, their network.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "model.h"

#include <glib/gi18n-lib.h>
#include <string.h>

#define FORMAT_NAME "gimp-diffusion"
#define FORMAT      FORMAT_NAME " 1"

struct _DiffusionModel
{
  gint        references; /* atomic */
  NetLayout  *layout;
  float      *weights;
  GHashTable *metadata;
  GMutex      lock; /* of plan */
  NetPlan    *plan;

  SdCheckpoint *checkpoint; /* instead of layout and weights */
};

/* ---- architecture in metadata ---- */

char *
model_numbers_to_text (const int *numbers, int count)
{
  GString *text = g_string_new (NULL);

  for (int i = 0; i < count; i++)
    g_string_append_printf (text, "%s%d", i ? "," : "", numbers[i]);
  return g_string_free (text, FALSE);
}

gboolean
model_numbers_from_text (const char *text, int *numbers, int *count)
{
  g_auto (GStrv) parts = text ? g_strsplit (text, ",", DIFFUSION_MAX_LEVELS + 1) : NULL;

  *count = parts ? (int) g_strv_length (parts) : 0;
  if (*count < 1 || *count > DIFFUSION_MAX_LEVELS)
    return FALSE;
  for (int i = 0; i < *count; i++)
    {
      guint64 number;

      if (! g_ascii_string_to_unsigned (parts[i], 10, 0, G_MAXINT, &number, NULL))
        return FALSE;
      numbers[i] = (int) number;
    }
  return TRUE;
}

void
model_describe_architecture (const DiffusionArchitecture *a, GHashTable *metadata)
{
  g_hash_table_insert (metadata, g_strdup ("format"), g_strdup (FORMAT));
  g_hash_table_insert (metadata, g_strdup ("widths"), model_numbers_to_text (a->width, a->levels));
  g_hash_table_insert (metadata, g_strdup ("blocks"), model_numbers_to_text (a->blocks, a->levels));
}

gboolean
model_parse_architecture (GHashTable *metadata, const char *path, DiffusionArchitecture *a, GError **error)
{
  const char *format = g_hash_table_lookup (metadata, "format");
  int         blocks;

  *a = (DiffusionArchitecture){ 0 };
  if (g_strcmp0 (format, FORMAT) == 0
      && model_numbers_from_text (g_hash_table_lookup (metadata, "widths"), a->width, &a->levels)
      && model_numbers_from_text (g_hash_table_lookup (metadata, "blocks"), a->blocks, &blocks) && blocks == a->levels)
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
               C_ ("error",
                   "%s is not a model of this program, or one of another version: its metadata names the format \"%s\" "
                   "instead of \"%s\", or no architecture."),
               path, format && strlen (format) < 100 ? format : "", FORMAT);
  return FALSE;
}

/* ---- parameters in files ---- */

gboolean
model_read_parameters (const TensorFile *file, const NetLayout *layout, const char *prefix, float *values,
                       GError **error)
{
  for (int i = 0; i < layout->n_tensors; i++)
    {
      const NetTensor *tensor = &layout->tensors[i];
      g_autofree char *name = g_strconcat (prefix, tensor->name, NULL);

      if (! tensor_file_read (file, name, tensor->dims, tensor->n_dims, values + tensor->offset, error))
        return FALSE;
    }
  return TRUE;
}

void
model_add_entries (const NetLayout *layout, const char *const *names, const float *values, TensorType type,
                   TensorEntry *entries)
{
  for (int i = 0; i < layout->n_tensors; i++)
    {
      const NetTensor *tensor = &layout->tensors[i];

      entries[i] = (TensorEntry){ names ? names[i] : tensor->name, tensor->dims, tensor->n_dims, tensor->count,
                                  values + tensor->offset,         type };
    }
}

/* ---- models ---- */

static DiffusionModel *
new_with_zeros (const DiffusionArchitecture *architecture, GError **error)
{
  g_autoptr (DiffusionModel) model = g_new0 (DiffusionModel, 1);

  model->references = 1;
  g_mutex_init (&model->lock);
  model->metadata = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  model->layout = net_layout_new (architecture, error);
  model->weights = model->layout ? core_alloc0 (model->layout->n_parameters, sizeof (float), error) : NULL;
  if (! model->weights)
    return NULL;
  model_describe_architecture (architecture, model->metadata);
  return g_steal_pointer (&model);
}

DiffusionModel *
diffusion_model_new (const DiffusionArchitecture *architecture, guint64 seed, GError **error)
{
  DiffusionModel *model = new_with_zeros (architecture, error);

  if (model)
    net_layout_init_weights (model->layout, seed, model->weights);
  return model;
}

/* Before memory is taken for them: metadata of a few bytes can speak of a network of ten gigabytes. */
static gboolean
check_parameters (const TensorFile *file, const DiffusionArchitecture *architecture, GError **error)
{
  g_autoptr (NetLayout) layout = net_layout_new (architecture, error);

  if (! layout)
    return FALSE;
  for (int i = 0; i < layout->n_tensors; i++)
    if (! tensor_file_check_shape (file, layout->tensors[i].name, layout->tensors[i].dims, layout->tensors[i].n_dims,
                                   error))
      return FALSE;
  return TRUE;
}

static DiffusionModel *
load_own (TensorFile *file, GError **error)
{
  g_autoptr (DiffusionModel) model = NULL;
  const char           *path = tensor_file_get_path (file);
  DiffusionArchitecture architecture;
  GHashTableIter        iter;
  gpointer              key, value;

  if (! model_parse_architecture (tensor_file_get_metadata (file), path, &architecture, error)
      || ! check_parameters (file, &architecture, error))
    return NULL;
  model = new_with_zeros (&architecture, error);
  if (! model || ! model_read_parameters (file, model->layout, "", model->weights, error))
    return NULL;
  if (tensor_file_count (file) != model->layout->n_tensors)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                   C_ ("error", "%s has %d tensors where its architecture has %d: it is no model of this program."),
                   path, tensor_file_count (file), model->layout->n_tensors);
      return NULL;
    }
  g_hash_table_iter_init (&iter, tensor_file_get_metadata (file));
  while (g_hash_table_iter_next (&iter, &key, &value))
    diffusion_model_set_metadata (model, key, value);
  return g_steal_pointer (&model);
}

static DiffusionModel *
load_checkpoint (TensorFile *file, GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionModel) model = g_new0 (DiffusionModel, 1);
  GHashTable *metadata = tensor_file_get_metadata (file);

  model->references = 1;
  g_mutex_init (&model->lock);
  model->metadata = g_hash_table_ref (metadata);
  model->checkpoint = sd_checkpoint_new (file, cancellable, error);
  return model->checkpoint ? g_steal_pointer (&model) : NULL;
}

DiffusionModel *
diffusion_model_load (const char *path, GError **error)
{
  return diffusion_model_load_cancellable (path, NULL, error);
}

/* Of any version; other programs' files have a format, too ("pt"). */
static gboolean
is_own (const TensorFile *file)
{
  const char *format = g_hash_table_lookup (tensor_file_get_metadata ((TensorFile *) file), "format");

  return format && g_str_has_prefix (format, FORMAT_NAME)
         && ! tensor_file_has (file, "model.diffusion_model.input_blocks.0.0.weight");
}

DiffusionModel *
diffusion_model_load_cancellable (const char *path, GCancellable *cancellable, GError **error)
{
  TensorFile     *file = sd_family_check_format (path, error) ? tensor_file_open (path, error) : NULL;
  DiffusionModel *model;

  if (! file)
    return NULL;
  if (g_cancellable_set_error_if_cancelled (cancellable, error))
    {
      tensor_file_free (file);
      return NULL;
    }
  if (! is_own (file))
    return load_checkpoint (file, cancellable, error);
  model = load_own (file, error);
  tensor_file_free (file);
  return model;
}

gboolean
model_check_own (const DiffusionModel *model, const char *reason, GError **error)
{
  if (model->checkpoint)
    g_set_error (
        error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
        /* Translators: a file's path, and what can and what cannot be done with it. */
        C_ ("error", "%s is a Stable Diffusion checkpoint: %s.  Choose one of this program's own models for that."),
        tensor_file_get_path (sd_checkpoint_get_file (model->checkpoint)),
        g_dpgettext2 (GETTEXT_PACKAGE, "reason", reason));
  return ! model->checkpoint;
}

gboolean
diffusion_model_save (const DiffusionModel *model, const char *path, GError **error)
{
  g_autofree TensorEntry *entries = NULL;

  if (! model_check_own (model, "it can generate, inpaint and regenerate, but not be saved", error))
    return FALSE;
  entries = g_new0 (TensorEntry, (gsize) model->layout->n_tensors);
  model_add_entries (model->layout, NULL, model->weights, TENSOR_F16, entries);
  return tensors_write (path, entries, model->layout->n_tensors, model->metadata, error);
}

DiffusionModel *
diffusion_model_ref (DiffusionModel *model)
{
  g_atomic_int_inc (&model->references);
  return model;
}

void
diffusion_model_unref (DiffusionModel *model)
{
  if (! model || ! g_atomic_int_dec_and_test (&model->references))
    return;
  net_plan_free (model->plan);
  net_layout_free (model->layout);
  sd_checkpoint_free (model->checkpoint);
  core_free (model->weights);
  g_clear_pointer (&model->metadata, g_hash_table_unref);
  g_mutex_clear (&model->lock);
  g_free (model);
}

const NetLayout *
model_get_layout (const DiffusionModel *model)
{
  return model->layout;
}

float *
model_get_weights (DiffusionModel *model)
{
  return model->weights;
}

const NetPlan *
model_get_plan (const DiffusionModel *const_model, GError **error)
{
  DiffusionModel       *model = (DiffusionModel *) const_model; /* a cache is no change */
  const ComputeBackend *backend = NULL;

  /* Translators: a checkpoint; here it is to denoise. */
  if (model_check_own (model, NC_ ("reason", "it can generate, inpaint and regenerate, but not be used here"), error))
    backend = compute_get_default (COMPUTE_CONVS, error);
  if (! backend)
    return NULL;
  g_mutex_lock (&model->lock);
  if (! model->plan || model->plan->backend != backend)
    {
      g_autoptr (NetPlan) plan = net_plan_new (model->layout, backend, FALSE, error);

      if (plan && net_plan_set_weights (plan, model->weights, NULL, error))
        {
          net_plan_free (model->plan);
          model->plan = g_steal_pointer (&plan);
        }
      else
        g_clear_pointer (&model->plan, net_plan_free);
    }
  g_mutex_unlock (&model->lock);
  return model->plan;
}

const DiffusionArchitecture *
diffusion_model_get_architecture (const DiffusionModel *model)
{
  return model->layout ? &model->layout->architecture : NULL;
}

const char *
diffusion_model_get_metadata (const DiffusionModel *model, const char *key)
{
  return g_hash_table_lookup (model->metadata, key);
}

void
diffusion_model_set_metadata (DiffusionModel *model, const char *key, const char *value)
{
  /* A file's name may be of any bytes; the header of a model file is JSON. */
  g_hash_table_insert (model->metadata, g_strdup (key), g_utf8_make_valid (value, -1));
}

char **
diffusion_model_list_metadata (const DiffusionModel *model)
{
  g_autoptr (GList) keys = g_list_sort (g_hash_table_get_keys (model->metadata), (GCompareFunc) strcmp);
  GStrvBuilder *builder = g_strv_builder_new ();
  char        **list;

  for (GList *l = keys; l; l = l->next)
    g_strv_builder_add (builder, l->data);
  list = g_strv_builder_end (builder);
  g_strv_builder_unref (builder);
  return list;
}

gsize
diffusion_model_count_parameters (const DiffusionModel *model)
{
  return model->checkpoint ? sd_checkpoint_count_parameters (model->checkpoint) : model->layout->n_parameters;
}

double
diffusion_model_count_macs (const DiffusionModel *model)
{
  return model->layout ? model->layout->macs : 0;
}

int
diffusion_model_get_margin (const DiffusionModel *model)
{
  return model->checkpoint ? sd_checkpoint_get_info (model->checkpoint)->native_size / 2 : model->layout->margin;
}

SdCheckpoint *
model_get_checkpoint (const DiffusionModel *model)
{
  return model->checkpoint;
}

const DiffusionCheckpoint *
diffusion_model_get_checkpoint (const DiffusionModel *model)
{
  return model->checkpoint ? sd_checkpoint_get_info (model->checkpoint) : NULL;
}
