/* Reading and writing safetensors files.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "tensors.h"
#include "core/bf16.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Our headers have some 1,000 values, those of merged checkpoints 50,000.  The bounds keep a lying file from costing
 * memory (a parsed value takes some 100 bytes) or stack. */
#define VALUES_MAX      1000000
#define DEPTH_MAX       8
#define DIMS_MAX        8
#define NAME_LENGTH_MAX 500

/* ---- half precision ---- */

static guint16
half_from_float (float value)
{
  union
  {
    float   f;
    guint32 i;
  } bits = { value };
  guint32 sign = bits.i >> 16 & 0x8000u;
  float   magnitude = fabsf (value);

  if (! (magnitude < 65520.0f))
    return (guint16) (sign | (isnan (value) ? 0x7E00u : 0x7C00u));
  if (magnitude < 0x1p-14f) /* subnormal: multiples of 2^-24 */
    return (guint16) (sign | (guint32) lrintf (magnitude * 0x1p24f));
  bits.f = magnitude;
  bits.i += 0x0FFFu + (bits.i >> 13 & 1u); /* to nearest, ties to even */
  return (guint16) (sign | ((bits.i - 0x38000000u) >> 13));
}

/* ---- writing ---- */

static const char *const type_names[] = { [TENSOR_F32] = "F32", [TENSOR_F16] = "F16", [TENSOR_BF16] = "BF16" };

static char *
make_header (const TensorEntry *entries, int n_entries, GHashTable *metadata)
{
  g_autoptr (JsonBuilder) builder = json_builder_new ();
  g_autoptr (JsonGenerator) generator = json_generator_new ();
  g_autoptr (JsonNode) root = NULL;
  gsize offset = 0;

  json_builder_begin_object (builder);
  if (metadata)
    {
      g_autoptr (GList) keys = g_list_sort (g_hash_table_get_keys (metadata), (GCompareFunc) strcmp);

      json_builder_set_member_name (builder, "__metadata__");
      json_builder_begin_object (builder);
      for (GList *l = keys; l; l = l->next)
        {
          json_builder_set_member_name (builder, l->data);
          json_builder_add_string_value (builder, g_hash_table_lookup (metadata, l->data));
        }
      json_builder_end_object (builder);
    }
  for (int i = 0; i < n_entries; i++)
    {
      json_builder_set_member_name (builder, entries[i].name);
      json_builder_begin_object (builder);
      json_builder_set_member_name (builder, "dtype");
      json_builder_add_string_value (builder, type_names[entries[i].type]);
      json_builder_set_member_name (builder, "shape");
      json_builder_begin_array (builder);
      for (int d = 0; d < entries[i].n_dims; d++)
        json_builder_add_int_value (builder, entries[i].dims[d]);
      json_builder_end_array (builder);
      json_builder_set_member_name (builder, "data_offsets");
      json_builder_begin_array (builder);
      json_builder_add_int_value (builder, (gint64) offset);
      offset += entries[i].count * weight_size (entries[i].type);
      json_builder_add_int_value (builder, (gint64) offset);
      json_builder_end_array (builder);
      json_builder_end_object (builder);
    }
  json_builder_end_object (builder);
  root = json_builder_get_root (builder);
  json_generator_set_root (generator, root);
  return json_generator_to_data (generator, NULL);
}

/* errno tells why on FALSE. */
static gboolean
write_fully (int fd, const void *data, gsize size)
{
  const char *p = data;

  while (size > 0)
    {
      gssize written = write (fd, p, size);

      if (written < 0 && errno == EINTR)
        continue;
      if (written <= 0)
        return FALSE;
      p += written;
      size -= (gsize) written;
    }
  return TRUE;
}

static gboolean
write_entry (int fd, const TensorEntry *entry)
{
  guint16 halves[4096];

  if (entry->type == TENSOR_F32)
    return write_fully (fd, entry->values, entry->count * sizeof (float));
  for (gsize first = 0; first < entry->count; first += G_N_ELEMENTS (halves))
    {
      gsize count = MIN (G_N_ELEMENTS (halves), entry->count - first);

      for (gsize i = 0; i < count; i++)
        {
          float value = entry->values[first + i];

          halves[i] = GUINT16_TO_LE (entry->type == TENSOR_F16 ? half_from_float (value) : store_bf16 (value));
        }
      if (! write_fully (fd, halves, count * sizeof (guint16)))
        return FALSE;
    }
  return TRUE;
}

/* The new name of a file is on the disk only when its folder is. */
static void
sync_folder (const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);
  int              fd = g_open (folder, O_RDONLY | O_CLOEXEC, 0);

  if (fd >= 0)
    {
      fsync (fd);
      close (fd);
    }
}

gboolean
tensors_write (const char *path, const TensorEntry *entries, int n_entries, GHashTable *metadata, GError **error)
{
  g_autofree char *header = make_header (entries, n_entries, metadata);
  g_autofree char *temporary = g_strdup_printf ("%s.XXXXXX", path);
  gsize            length = strlen (header), padding = (8 - length % 8) % 8;
  guint64          size = GUINT64_TO_LE ((guint64) (length + padding));
  int              fd = g_mkstemp_full (temporary, O_RDWR | O_CLOEXEC, 0644);
  gboolean         success = fd >= 0;
  int              reason;

  success = success && write_fully (fd, &size, sizeof size) && write_fully (fd, header, length)
            && write_fully (fd, "       ", padding);
  for (int i = 0; i < n_entries && success; i++)
    success = write_entry (fd, &entries[i]);
  success = success && fsync (fd) == 0;
  reason = errno;
  if (fd >= 0 && close (fd) != 0 && success)
    {
      success = FALSE;
      reason = errno;
    }
  if (success && g_rename (temporary, path) != 0)
    {
      success = FALSE;
      reason = errno;
    }
  if (success)
    sync_folder (path);
  else
    {
      if (fd >= 0)
        g_unlink (temporary);
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The file %s could not be written: %s.", path,
                   g_strerror (reason));
    }
  return success;
}

/* ---- reading ---- */

typedef struct
{
  TensorType type;
  gint64     dims[DIMS_MAX];
  int        n_dims;
  gsize      count;
  gsize      begin, end; /* in the data */
} TensorInfo;

struct _TensorFile
{
  char       *path;
  int         fd;
  struct stat opened; /* as it was then */
  gsize       data;   /* where it begins */
  gsize       data_size;
  GHashTable *tensors, *metadata;
};

static gboolean
refuse (GError **error, const char *path, const char *reason)
{
  g_set_error (
      error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
      /* Translators: a file's path, and why: one of the texts with the context "reason", or what the system says. */
      C_ ("error", "%s is not a model that can be used: %s.  Choose another model file, or install this one again."),
      path, reason);
  return FALSE;
}

/* JSON parsers recurse, and keep each value in memory: a header of a million brackets, or many millions of numbers,
 * must not reach one. */
static gboolean
is_modest (const char *json, gsize length)
{
  int      depth = 0, values = 0;
  gboolean quoted = FALSE;

  for (gsize i = 0; i < length; i++)
    {
      if (quoted && json[i] == '\\')
        i++;
      else if (json[i] == '"')
        quoted = ! quoted;
      else if (! quoted && (json[i] == '{' || json[i] == '['))
        {
          if (++depth > DEPTH_MAX || ++values > VALUES_MAX)
            return FALSE;
        }
      else if (! quoted && json[i] == ',')
        {
          if (++values > VALUES_MAX)
            return FALSE;
        }
      else if (! quoted && (json[i] == '}' || json[i] == ']'))
        depth--;
    }
  return TRUE;
}

static gboolean
get_integer (JsonArray *array, guint index, gint64 *value)
{
  JsonNode *node = json_array_get_element (array, index);

  if (! JSON_NODE_HOLDS_VALUE (node) || json_node_get_value_type (node) != G_TYPE_INT64)
    return FALSE;
  *value = json_node_get_int (node);
  return *value >= 0;
}

static JsonArray *
get_array (JsonObject *object, const char *name, guint most)
{
  JsonNode  *node = json_object_get_member (object, name);
  JsonArray *array = node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;

  return array && json_array_get_length (array) <= most ? array : NULL;
}

/* One member of the header; NULL when anything about it is wrong. */
static TensorInfo *
parse_tensor (JsonNode *node, gsize data_size)
{
  g_autofree TensorInfo *info = g_new0 (TensorInfo, 1);
  JsonObject            *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  JsonNode              *type = object ? json_object_get_member (object, "dtype") : NULL;
  JsonArray             *shape = object ? get_array (object, "shape", DIMS_MAX) : NULL;
  JsonArray             *offsets = object ? get_array (object, "data_offsets", 2) : NULL;
  const char            *name = type && JSON_NODE_HOLDS_VALUE (type) ? json_node_get_string (type) : NULL;
  gint64                 begin, end;

  if (! name || ! shape || ! offsets || json_array_get_length (offsets) != 2)
    return NULL;
  if (strcmp (name, "F16") == 0)
    info->type = TENSOR_F16;
  else if (strcmp (name, "F32") == 0)
    info->type = TENSOR_F32;
  else if (strcmp (name, "BF16") == 0)
    info->type = TENSOR_BF16;
  else
    info->type = TENSOR_OTHER;
  info->count = 1;
  info->n_dims = (int) json_array_get_length (shape);
  for (int d = 0; d < info->n_dims; d++)
    if (! get_integer (shape, (guint) d, &info->dims[d])
        || ! g_size_checked_mul (&info->count, info->count, (gsize) info->dims[d]))
      return NULL;
  if (! get_integer (offsets, 0, &begin) || ! get_integer (offsets, 1, &end) || begin > end
      || (guint64) end > data_size)
    return NULL;
  info->begin = (gsize) begin;
  info->end = (gsize) end;
  if (info->type != TENSOR_OTHER
      && (info->count > data_size || info->end - info->begin != info->count * weight_size (info->type)))
    return NULL;
  return g_steal_pointer (&info);
}

/* By where they begin; empty ones before the one that begins at the same place. */
static int
compare_place (gconstpointer a, gconstpointer b)
{
  const TensorInfo *first = *(TensorInfo *const *) a, *second = *(TensorInfo *const *) b;

  if (first->begin != second->begin)
    return first->begin < second->begin ? -1 : 1;
  return first->end < second->end ? -1 : first->end > second->end;
}

static gboolean
overlap (GHashTable *tensors)
{
  g_autoptr (GPtrArray) sorted = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer       info;

  g_hash_table_iter_init (&iter, tensors);
  while (g_hash_table_iter_next (&iter, NULL, &info))
    g_ptr_array_add (sorted, info);
  g_ptr_array_sort (sorted, compare_place);
  for (guint i = 1; i < sorted->len; i++)
    if (((TensorInfo *) sorted->pdata[i - 1])->end > ((TensorInfo *) sorted->pdata[i])->begin)
      return TRUE;
  return FALSE;
}

/* Names get into messages.  (A parser makes half a character of an escape like \\ud800.) */
static gboolean
is_good_name (const char *name)
{
  gboolean good = strlen (name) <= NAME_LENGTH_MAX && g_utf8_validate (name, -1, NULL);

  for (const char *p = name; good && *p; p = g_utf8_next_char (p))
    good = ! g_unichar_iscntrl (g_utf8_get_char (p));
  return good;
}

static void
parse_metadata (TensorFile *file, JsonNode *node)
{
  JsonObject *object = JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
  g_autoptr (GList) keys = object ? json_object_get_members (object) : NULL;

  for (GList *k = keys; k; k = k->next)
    {
      JsonNode *value = json_object_get_member (object, k->data);

      if (JSON_NODE_HOLDS_VALUE (value) && json_node_get_value_type (value) == G_TYPE_STRING && is_good_name (k->data)
          && g_utf8_validate (json_node_get_string (value), -1, NULL))
        g_hash_table_insert (file->metadata, g_strdup (k->data), g_strdup (json_node_get_string (value)));
    }
}

static gboolean
parse_header (TensorFile *file, const char *json, gsize length, GError **error)
{
  /* Not an immutable one: json-glib 1.10's aborts when there is something behind the object. */
  g_autoptr (JsonParser) parser = json_parser_new ();
  g_autoptr (GList) names = NULL;
  JsonNode   *root;
  JsonObject *object;

  if (! g_utf8_validate_len (json, length, NULL) || ! is_modest (json, length)
      || ! json_parser_load_from_data (parser, json, (gssize) length, NULL))
    return refuse (error, file->path, C_ ("reason", "its header is damaged"));
  root = json_parser_get_root (parser);
  if (! root || ! JSON_NODE_HOLDS_OBJECT (root))
    return refuse (error, file->path, C_ ("reason", "its header is damaged"));
  object = json_node_get_object (root);
  names = json_object_get_members (object);
  for (GList *l = names; l; l = l->next)
    {
      JsonNode *node = json_object_get_member (object, l->data);

      if (strcmp (l->data, "__metadata__") == 0)
        parse_metadata (file, node);
      else
        {
          TensorInfo *info = is_good_name (l->data) ? parse_tensor (node, file->data_size) : NULL;

          if (! info)
            return refuse (error, file->path,
                           C_ ("reason",
                               "it is truncated, or a tensor in its header is not one of f16, bf16 or f32 within "
                               "the file"));
          g_hash_table_insert (file->tensors, g_strdup (l->data), info);
        }
    }
  if (overlap (file->tensors))
    return refuse (error, file->path, C_ ("reason", "its tensors overlap"));
  return TRUE;
}

/* The header of a file of `size` bytes. */
static gboolean
read_header (TensorFile *file, gsize size, GError **error)
{
  guint64     length;
  char       *json;
  const char *reason;
  gboolean    success = FALSE;

  if (size < sizeof length || ! core_read_file (file->fd, 0, sizeof length, &length, &reason))
    return refuse (error, file->path, C_ ("reason", "it is too short"));
  length = GUINT64_FROM_LE (length);
  if (length > TENSORS_HEADER_MAX || length > size - sizeof length)
    return refuse (error, file->path, C_ ("reason", "it is truncated, or no safetensors file"));
  file->data = sizeof length + (gsize) length;
  file->data_size = size - file->data;
  json = core_alloc ((gsize) length, 1, error);
  if (json && ! core_read_file (file->fd, sizeof length, (gsize) length, json, &reason))
    refuse (error, file->path, C_ ("reason", "it is truncated, or no safetensors file"));
  else if (json)
    success = parse_header (file, json, (gsize) length, error);
  core_free (json);
  return success;
}

TensorFile *
tensor_file_open (const char *path, GError **error)
{
  g_autoptr (TensorFile) file = g_new0 (TensorFile, 1);
  const char *reason;
  gsize       size;

  file->path = g_strdup (path);
  file->tensors = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  file->metadata = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  file->fd = core_open_file (path, &size, &reason);
  if (file->fd < 0)
    {
      /* Translators: a file's path, and why: what the system says, or that it is no regular file. */
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MODEL,
                   C_ ("error", "The model file %s could not be read: %s."), path, reason);
      return NULL;
    }
  if (fstat (file->fd, &file->opened) != 0)
    return refuse (error, path, g_strerror (errno)), NULL;
  return read_header (file, size, error) ? g_steal_pointer (&file) : NULL;
}

/* A file that is written to while it is used would give weights of two files.  One that was put in its place is another
 * file, and does no harm. */
static gboolean
is_unchanged (const TensorFile *file)
{
  struct stat now;

  return fstat (file->fd, &now) == 0 && now.st_mtim.tv_sec == file->opened.st_mtim.tv_sec
         && now.st_mtim.tv_nsec == file->opened.st_mtim.tv_nsec;
}

gboolean
tensor_file_fetch (const TensorFile *file, gsize offset, gsize size, void *to, GError **error)
{
  const char *reason = NULL;

  if (offset <= file->data_size && size <= file->data_size - offset
      && core_read_file (file->fd, file->data + offset, size, to, &reason))
    {
      if (is_unchanged (file))
        return TRUE;
      reason = C_ ("reason", "it was changed while it was used");
    }
  /* Translators: the end of the file. */
  return refuse (error, file->path, reason ? reason : C_ ("reason", "a tensor is said to lie beyond its end"));
}

void
tensor_file_free (TensorFile *file)
{
  if (! file)
    return;
  g_clear_pointer (&file->tensors, g_hash_table_unref);
  g_clear_pointer (&file->metadata, g_hash_table_unref);
  if (file->fd >= 0)
    close (file->fd);
  g_free (file->path);
  g_free (file);
}

GHashTable *
tensor_file_get_metadata (TensorFile *file)
{
  return file->metadata;
}

int
tensor_file_count (const TensorFile *file)
{
  return (int) g_hash_table_size (file->tensors);
}

gboolean
tensor_file_has (const TensorFile *file, const char *name)
{
  return g_hash_table_contains (file->tensors, name);
}

char *
tensor_file_find (const TensorFile *file, gboolean (*match) (const char *name))
{
  GHashTableIter iter;
  gpointer       name;

  g_hash_table_iter_init (&iter, file->tensors);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    if (match (name))
      return g_strdup (name);
  return NULL;
}

static int
compare_text (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *) a, *(char *const *) b);
}

GPtrArray *
tensor_file_list (const TensorFile *file, gboolean (*match) (const char *name))
{
  GPtrArray     *names = g_ptr_array_new_with_free_func (g_free);
  GHashTableIter iter;
  gpointer       name;

  g_hash_table_iter_init (&iter, file->tensors);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    if (match (name))
      g_ptr_array_add (names, g_strdup (name));
  g_ptr_array_sort (names, compare_text);
  return names;
}

gboolean
tensor_file_view (const TensorFile *file, const char *name, TensorView *view)
{
  const TensorInfo *info = g_hash_table_lookup (file->tensors, name);

  if (! info || info->n_dims > TENSOR_VIEW_DIMS)
    return FALSE;
  *view = (TensorView){ .type = info->type, .n_dims = info->n_dims, .count = info->count };
  for (int d = 0; d < info->n_dims; d++)
    {
      if (info->dims[d] > G_MAXINT)
        return FALSE;
      view->dims[d] = (int) info->dims[d];
    }
  view->offset = info->begin;
  return TRUE;
}

const char *
tensor_file_get_path (const TensorFile *file)
{
  return file->path;
}

gboolean
tensor_file_check_shape (const TensorFile *file, const char *name, const int *dims, int n_dims, GError **error)
{
  const TensorInfo *info = g_hash_table_lookup (file->tensors, name);
  gboolean          same = info && info->n_dims == n_dims && info->type != TENSOR_OTHER;
  g_autofree char  *reason = NULL;

  for (int d = 0; same && d < n_dims; d++)
    same = info->dims[d] == dims[d];
  if (same)
    return TRUE;
  reason = g_strdup_printf (
      info ? C_ ("reason", "its tensor %s is of another shape") : C_ ("reason", "its tensor %s is missing"), name);
  return refuse (error, file->path, reason);
}

gboolean
tensor_file_read (const TensorFile *file, const char *name, const int *dims, int n_dims, float *values, GError **error)
{
  const TensorInfo *info = g_hash_table_lookup (file->tensors, name);
  g_autofree char  *reason = NULL;
  char              piece[16384];
  gsize             size, most;

  if (! tensor_file_check_shape (file, name, dims, n_dims, error))
    return FALSE;
  size = weight_size (info->type);
  most = sizeof piece / size;
  for (gsize first = 0; first < info->count; first += most)
    {
      gsize count = MIN (most, info->count - first);

      if (! tensor_file_fetch (file, info->begin + first * size, count * size, piece, error))
        return FALSE;
      if (! weights_are_finite (info->type, count, piece))
        {
          reason
              = g_strdup_printf (C_ ("reason", "its tensor %s has values that are no numbers (NaN or infinity)"), name);
          return refuse (error, file->path, reason);
        }
      weights_to_f32 (info->type, count, piece, values + first);
    }
  return TRUE;
}
