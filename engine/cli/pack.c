/* gimp-diffusion: folders of pictures into corpus files
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "pack.h"

#include "canvas.h"
#include "diffusion.h"
#include "journal.h"
#include "raster.h"
#include "target.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HASH_DIGITS 16
#define CORPUS      ".corpus"
#define FEW         20 /* pictures: fewer are soon known by heart */

/* ---- finding ----------------------------------------------------------------------------------------------------- */

static gboolean
is_picture_name (const char *name)
{
  static const char *const extensions[] = { "jpg", "jpeg", "png", "tif", "tiff", "webp", "ppm" };
  const char              *dot = strrchr (name, '.');

  for (gsize i = 0; dot && i < G_N_ELEMENTS (extensions); i++)
    if (g_ascii_strcasecmp (dot + 1, extensions[i]) == 0)
      return TRUE;
  return FALSE;
}

/* visited: the folders seen so far, by device and inode, for links may lead in circles. */
static void
collect (const char *folder, GPtrArray *paths, GHashTable *visited)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GDir) dir = NULL;
  const char *name;
  GStatBuf    status;

  if (g_stat (folder, &status) != 0
      || ! g_hash_table_add (visited, g_strdup_printf ("%lu:%lu", (gulong) status.st_dev, (gulong) status.st_ino)))
    return;
  dir = g_dir_open (folder, 0, &error);
  if (! dir)
    {
      fprintf (stderr, "skipped: %s\n", error->message);
      return;
    }
  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *path = g_build_filename (folder, name, NULL);

      /* A training's own curve and samples are no pictures to learn from. */
      if (g_file_test (path, G_FILE_TEST_IS_DIR))
        {
          if (! g_str_has_suffix (name, JOURNAL_SUFFIX))
            collect (path, paths, visited);
        }
      else if (is_picture_name (name))
        g_ptr_array_add (paths, g_steal_pointer (&path));
    }
}

static int
compare_paths (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *) a, *(const char *const *) b);
}

/* All pictures below the folder, in an order that does not depend on the file system. */
static GPtrArray *
find_pictures (const char *folder)
{
  g_autoptr (GHashTable) visited = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  GPtrArray *paths = g_ptr_array_new_with_free_func (g_free);

  collect (folder, paths, visited);
  g_ptr_array_sort (paths, compare_paths);
  return paths;
}

char *
pack_find_first (const char *folder)
{
  g_autoptr (GPtrArray) paths = find_pictures (folder);

  for (guint i = 0; i < paths->len; i++)
    {
      g_autoptr (Raster) raster = raster_read (g_ptr_array_index (paths, i), NULL);

      if (raster && MAX (raster->width, raster->height) <= CANVAS_EDGE_MOST)
        return g_strdup (g_ptr_array_index (paths, i));
    }
  return NULL;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

static gboolean
add_raster (DiffusionCorpusWriter *writer, const Raster *raster, GError **error)
{
  gsize              count = (gsize) raster->width * raster->height;
  g_autofree guint8 *rgb = g_try_malloc_n (count, 3);
  Raster             result = { .bits = 8, .data = rgb };

  if (! rgb)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY, "not enough memory for a picture of %d x %d pixels",
                   raster->width, raster->height);
      return FALSE;
    }
  for (gsize i = 0; i < count; i++)
    for (int c = 0; c < 3; c++)
      raster_set (&result, 3 * i + c, raster_get (raster, i * raster->channels + (raster->channels < 3 ? 0 : c)));
  return diffusion_corpus_writer_add (writer, raster->width, raster->height, rgb, error);
}

typedef struct
{
  int    packed, small, unreadable;
  double megapixels;
} Count;

static gboolean
pack_all (DiffusionCorpusWriter *writer, const GPtrArray *paths, int crop, Count *count, GCancellable *cancellable,
          GError **error)
{
  gboolean watched = isatty (STDERR_FILENO);

  for (guint i = 0; i < paths->len; i++)
    {
      const char *path = g_ptr_array_index (paths, i);
      g_autoptr (GError) reason = NULL;
      g_autoptr (Raster) raster = NULL;

      if (g_cancellable_set_error_if_cancelled (cancellable, error))
        return FALSE;
      if (watched)
        fprintf (stderr, "\rpacking: %u of %u", i + 1, paths->len);
      raster = raster_read (path, &reason);
      if (! raster)
        {
          fprintf (stderr, "%sskipped: %s\n", watched ? "\r\033[K" : "", reason->message);
          count->unreadable++;
        }
      else if (raster->width < crop || raster->height < crop)
        {
          fprintf (stderr, "%sskipped: \"%s\" has %d x %d pixels, fewer than %d\n", watched ? "\r\033[K" : "", path,
                   raster->width, raster->height, crop);
          count->small++;
        }
      else if (raster->width > DIFFUSION_CORPUS_EDGE_MOST || raster->height > DIFFUSION_CORPUS_EDGE_MOST)
        {
          fprintf (stderr, "%sskipped: \"%s\" has %d x %d pixels, more than %d\n", watched ? "\r\033[K" : "", path,
                   raster->width, raster->height, DIFFUSION_CORPUS_EDGE_MOST);
          count->unreadable++;
        }
      else if (! add_raster (writer, raster, error))
        return FALSE;
      else
        {
          count->packed++;
          count->megapixels += raster->width * 1e-6 * raster->height;
        }
    }
  if (watched)
    fputs ("\r\033[K", stderr);
  return TRUE;
}

static gboolean
pack_pictures (const char *folder, const GPtrArray *paths, const char *out, int crop, GCancellable *cancellable,
               GError **error)
{
  DiffusionCorpusWriter *writer = target_check (out, error) ? diffusion_corpus_writer_new (out, error) : NULL;
  Count                  count = { 0 };

  if (! writer)
    return FALSE;
  if (! pack_all (writer, paths, crop, &count, cancellable, error))
    {
      diffusion_corpus_writer_discard (writer);
      return FALSE;
    }
  if (count.packed == 0)
    {
      diffusion_corpus_writer_discard (writer);
      if (paths->len == 0)
        g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_DATA,
                     "\"%s\" holds no pictures: PNG, JPEG, TIFF, WebP and PPM files are looked for", folder);
      else
        g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_DATA,
                     "\"%s\" holds no usable picture: %d smaller than %d pixels, %d that could not be read", folder,
                     count.small, crop, count.unreadable);
      return FALSE;
    }
  if (! diffusion_corpus_writer_finish (writer, error))
    return FALSE;
  printf ("packed: %d pictures, %.2f megapixels (skipped: %d smaller than %d pixels, %d that could not be read)\n",
          count.packed, count.megapixels, count.small, crop, count.unreadable);
  if (count.packed < FEW)
    fprintf (stderr,
             "note: %d pictures are few; with %d or more the model learns a style rather than these pictures.\n",
             count.packed, FEW);
  return TRUE;
}

static gboolean
check_folder (const char *folder, GError **error)
{
  if (g_file_test (folder, G_FILE_TEST_IS_DIR))
    return TRUE;
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_DATA,
               g_file_test (folder, G_FILE_TEST_EXISTS) ? "\"%s\" is not a folder" : "There is no folder \"%s\"",
               folder);
  return FALSE;
}

gboolean
pack_folder (const char *folder, const char *out, int crop, GCancellable *cancellable, GError **error)
{
  g_autoptr (GPtrArray) paths = NULL;

  if (! check_folder (folder, error))
    return FALSE;
  paths = find_pictures (folder);
  return pack_pictures (folder, paths, out, crop, cancellable, error);
}

/* ---- the cache --------------------------------------------------------------------------------------------------- */

static char *
take_hash (GChecksum *checksum)
{
  char *hash = g_strndup (g_checksum_get_string (checksum), HASH_DIGITS);

  g_checksum_free (checksum);
  return hash;
}

/* BASENAME-HASH-, of the folder's path and the least size of its pictures. */
static char *
get_cache_prefix (const char *folder, int crop)
{
  GChecksum       *checksum = g_checksum_new (G_CHECKSUM_SHA256);
  char            *real = realpath (folder, NULL);
  g_autofree char *base = g_path_get_basename (real ? real : folder), *hash = NULL;
  g_autofree char *text = g_strdup_printf ("%s %d", real ? real : folder, crop);

  free (real);
  g_checksum_update (checksum, (const guchar *) text, -1);
  hash = take_hash (checksum);
  return g_strdup_printf ("%s-%s-", g_strdelimit (base, "/", '_'), hash);
}

/* Of the files' names, sizes and times, so that a changed folder is packed anew. */
static char *
get_state_hash (const char *folder, const GPtrArray *paths)
{
  GChecksum *checksum = g_checksum_new (G_CHECKSUM_SHA256);
  gsize      start = strlen (folder); /* however the folder is called, it is the same */

  for (guint i = 0; i < paths->len; i++)
    {
      const char      *path = g_ptr_array_index (paths, i);
      g_autofree char *line = NULL;
      GStatBuf         status = { 0 };

      g_stat (path, &status);
      line = g_strdup_printf ("\n%s %lld %lld.%09ld", path + start, (long long) status.st_size,
                              (long long) status.st_mtim.tv_sec, (long) status.st_mtim.tv_nsec);
      g_checksum_update (checksum, (const guchar *) line, -1);
    }
  return take_hash (checksum);
}

/* What the folder was packed to before it changed: nobody would ask for that again. */
static void
remove_older (const char *cache, const char *prefix, const char *kept)
{
  g_autoptr (GDir) dir = g_dir_open (cache, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    if (g_str_has_prefix (name, prefix) && g_str_has_suffix (name, CORPUS) && strcmp (name, kept) != 0)
      {
        g_autofree char *path = g_build_filename (cache, name, NULL);

        g_unlink (path);
      }
}

char *
pack_folder_cached (const char *folder, int crop, GCancellable *cancellable, GError **error)
{
  g_autoptr (GPtrArray) paths = NULL;
  g_autofree char *cache = g_build_filename (g_get_user_cache_dir (), "gimp-diffusion", NULL), *prefix = NULL,
                  *state = NULL, *name = NULL, *path = NULL;

  if (! check_folder (folder, error))
    return NULL;
  paths = find_pictures (folder);
  prefix = get_cache_prefix (folder, crop);
  state = get_state_hash (folder, paths);
  name = g_strconcat (prefix, state, CORPUS, NULL);
  path = g_build_filename (cache, name, NULL);
  if (g_file_test (path, G_FILE_TEST_EXISTS))
    return g_steal_pointer (&path);
  if (g_mkdir_with_parents (cache, 0755) != 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "the folder \"%s\" could not be made: %s", cache,
                   g_strerror (errno));
      return NULL;
    }
  if (! pack_pictures (folder, paths, path, crop, cancellable, error))
    return NULL;
  remove_older (cache, prefix, name);
  return g_steal_pointer (&path);
}
