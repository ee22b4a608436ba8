/* Many pictures in one file.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Layout, little-endian: MAGIC, then a 64-bit picture count and the 64-bit offset of the index; the pixels of all
 * pictures; the index: for each picture its offset (64 bits), width and height (32 bits each).
 */
#include "train.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAGIC       "DIFFCOR1"
#define HEADER_SIZE 24
#define ENTRY_SIZE  16

typedef struct
{
  guint64 offset;
  guint32 width, height;
} Entry;

/* ---- writing ---- */

struct _DiffusionCorpusWriter
{
  char   *path, *temporary;
  FILE   *file;
  GArray *entries;
  guint64 offset;
};

static gboolean
fail_writing (DiffusionCorpusWriter *writer, GError **error)
{
  g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The packed corpus %s could not be written: %s.",
               writer->path, g_strerror (errno));
  return FALSE;
}

static gboolean
put (DiffusionCorpusWriter *writer, const void *data, gsize size, GError **error)
{
  if (fwrite (data, 1, size, writer->file) != size)
    return fail_writing (writer, error);
  writer->offset += size;
  return TRUE;
}

static gboolean
put_header (DiffusionCorpusWriter *writer, guint64 count, guint64 index, GError **error)
{
  count = GUINT64_TO_LE (count);
  index = GUINT64_TO_LE (index);
  return put (writer, MAGIC, 8, error) && put (writer, &count, 8, error) && put (writer, &index, 8, error);
}

DiffusionCorpusWriter *
diffusion_corpus_writer_new (const char *path, GError **error)
{
  DiffusionCorpusWriter *writer = g_new0 (DiffusionCorpusWriter, 1);
  int                    fd;

  writer->path = g_strdup (path);
  writer->temporary = g_strdup_printf ("%s.XXXXXX", path);
  writer->entries = g_array_new (FALSE, FALSE, sizeof (Entry));
  fd = g_mkstemp_full (writer->temporary, 02 /* O_RDWR */, 0644);
  writer->file = fd >= 0 ? fdopen (fd, "wb") : NULL;
  /* A header of no pictures: the real one is written over it at the end. */
  if (! writer->file ? ! fail_writing (writer, error) : ! put_header (writer, 0, 0, error))
    {
      diffusion_corpus_writer_discard (writer);
      return NULL;
    }
  return writer;
}

gboolean
diffusion_corpus_writer_add (DiffusionCorpusWriter *writer, int width, int height, const guint8 *rgb, GError **error)
{
  Entry entry = { writer->offset, (guint32) width, (guint32) height };

  if (width < 1 || height < 1 || width > DIFFUSION_CORPUS_EDGE_MOST || height > DIFFUSION_CORPUS_EDGE_MOST)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_DATA, "A picture of %d x %d pixels cannot be packed.", width,
                   height);
      return FALSE;
    }
  if (! put (writer, rgb, (gsize) width * (gsize) height * 3, error))
    return FALSE;
  g_array_append_val (writer->entries, entry);
  return TRUE;
}

gboolean
diffusion_corpus_writer_finish (DiffusionCorpusWriter *writer, GError **error)
{
  guint64  index = writer->offset;
  gboolean success = TRUE;

  for (guint i = 0; i < writer->entries->len && success; i++)
    {
      Entry entry = g_array_index (writer->entries, Entry, i);

      entry = (Entry){ GUINT64_TO_LE (entry.offset), GUINT32_TO_LE (entry.width), GUINT32_TO_LE (entry.height) };
      success = put (writer, &entry.offset, 8, error) && put (writer, &entry.width, 4, error)
                && put (writer, &entry.height, 4, error);
    }
  if (success && fseek (writer->file, 0, SEEK_SET) != 0)
    success = fail_writing (writer, error);
  success = success && put_header (writer, writer->entries->len, index, error);
  if (success
      && (fflush (writer->file) != 0 || fsync (fileno (writer->file)) != 0
          || g_rename (writer->temporary, writer->path) != 0))
    success = fail_writing (writer, error);
  if (success)
    g_clear_pointer (&writer->temporary, g_free);
  diffusion_corpus_writer_discard (writer);
  return success;
}

void
diffusion_corpus_writer_discard (DiffusionCorpusWriter *writer)
{
  if (! writer)
    return;
  if (writer->file)
    {
      fclose (writer->file);
      if (writer->temporary)
        g_unlink (writer->temporary);
    }
  g_array_unref (writer->entries);
  g_free (writer->temporary);
  g_free (writer->path);
  g_free (writer);
}

/* ---- reading ---- */

struct _Corpus
{
  char   *path;
  int     fd;
  Entry  *entries;
  double *shares; /* cumulated, the last is 1 */
  int     count;
};

/* data: the index, which lies in the file from `index` on, behind all pictures. */
static gboolean
parse_index (Corpus *corpus, guint64 index, const guint8 *data)
{
  double sum = 0;

  for (int i = 0; i < corpus->count; i++, data += ENTRY_SIZE)
    {
      Entry entry;

      memcpy (&entry.offset, data, 8);
      memcpy (&entry.width, data + 8, 4);
      memcpy (&entry.height, data + 12, 4);
      entry = (Entry){ GUINT64_FROM_LE (entry.offset), GUINT32_FROM_LE (entry.width), GUINT32_FROM_LE (entry.height) };
      if (entry.width < 1 || entry.height < 1 || entry.width > DIFFUSION_CORPUS_EDGE_MOST
          || entry.height > DIFFUSION_CORPUS_EDGE_MOST || entry.offset > index
          || (guint64) entry.width * entry.height * 3 > index - entry.offset)
        return FALSE;
      corpus->entries[i] = entry;
      corpus->shares[i] = sum += sqrt ((double) entry.width * entry.height);
    }
  for (int i = 0; i < corpus->count; i++)
    corpus->shares[i] /= sum;
  return TRUE;
}

static gboolean
read_index (Corpus *corpus, gsize size, GError **error)
{
  guint8      header[HEADER_SIZE], *data = NULL;
  guint64     count, index;
  const char *reason;
  gboolean    damaged = TRUE, success = FALSE;

  if (size < HEADER_SIZE || ! core_read_file (corpus->fd, 0, HEADER_SIZE, header, &reason)
      || memcmp (header, MAGIC, 8) != 0)
    goto out;
  memcpy (&count, header + 8, 8);
  memcpy (&index, header + 16, 8);
  count = GUINT64_FROM_LE (count);
  index = GUINT64_FROM_LE (index);
  if (count < 1 || count > G_MAXINT || index > size || (size - index) / ENTRY_SIZE < count)
    goto out;
  damaged = FALSE;
  corpus->count = (int) count;
  corpus->entries = core_alloc ((gsize) count, sizeof (Entry), error);
  corpus->shares = corpus->entries ? core_alloc ((gsize) count, sizeof (double), error) : NULL;
  data = corpus->shares ? core_alloc ((gsize) count, ENTRY_SIZE, error) : NULL;
  if (! data)
    goto out;
  success = core_read_file (corpus->fd, (gsize) index, (gsize) count * ENTRY_SIZE, data, &reason)
            && parse_index (corpus, index, data);
  damaged = ! success;

out:
  if (damaged)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_DATA,
                 "%s is no packed corpus, or a damaged one: delete it, and it will be made again.", corpus->path);
  core_free (data);
  return success;
}

Corpus *
corpus_open (const char *path, GError **error)
{
  g_autoptr (Corpus) corpus = g_new0 (Corpus, 1);
  const char *reason;
  gsize       size;

  corpus->path = g_strdup (path);
  corpus->fd = core_open_file (path, &size, &reason);
  if (corpus->fd < 0)
    {
      g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The training pictures %s could not be opened: %s.",
                   path, reason);
      return NULL;
    }
  return read_index (corpus, size, error) ? g_steal_pointer (&corpus) : NULL;
}

void
corpus_free (Corpus *corpus)
{
  if (! corpus)
    return;
  if (corpus->fd >= 0)
    close (corpus->fd);
  core_free (corpus->entries);
  core_free (corpus->shares);
  g_free (corpus->path);
  g_free (corpus);
}

int
corpus_count (const Corpus *corpus)
{
  return corpus->count;
}

void
corpus_get_size (const Corpus *corpus, int i, int *width, int *height)
{
  *width = (int) corpus->entries[i].width;
  *height = (int) corpus->entries[i].height;
}

gboolean
corpus_read (const Corpus *corpus, int i, DiffusionBox box, guint8 *rgb, GError **error)
{
  const Entry *entry = &corpus->entries[i];
  gsize        row = (gsize) box.width * 3;
  const char  *reason;

  for (int y = 0; y < box.height; y++)
    {
      gsize first = ((gsize) (box.y + y) * entry->width + (gsize) box.x) * 3;

      if (! core_read_file (corpus->fd, (gsize) entry->offset + first, row, rgb + (gsize) y * row, &reason))
        {
          g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_FILE, "The training pictures %s could not be read: %s.",
                       corpus->path, reason);
          return FALSE;
        }
    }
  return TRUE;
}

int
corpus_pick (const Corpus *corpus, double u)
{
  int low = 0, high = corpus->count - 1;

  while (low < high)
    {
      int middle = (low + high) / 2;

      if (corpus->shares[middle] > u)
        high = middle;
      else
        low = middle + 1;
    }
  return low;
}
