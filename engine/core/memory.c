/* Allocation, pictures, errors.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <glib/gi18n-lib.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ALIGNMENT 64

/* Arrays of this size and more are aligned to, and asked to lie in, huge pages: walks over many arrays at once (a
 * training step) spend a quarter of their time on address translation without. */
#define HUGE_PAGE ((gsize) 2 << 20)

GQuark
diffusion_error_quark (void)
{
  return g_quark_from_static_string ("diffusion-error");
}

gboolean
core_take_first_error (GError **errors, int count, GError **error)
{
  gboolean success = TRUE;

  for (int i = 0; i < count; i++)
    {
      if (errors[i] && success)
        {
          g_propagate_error (error, g_steal_pointer (&errors[i]));
          success = FALSE;
        }
      g_clear_error (&errors[i]);
    }
  return success;
}

gpointer
core_alloc (gsize count, gsize size, GError **error)
{
  gsize    bytes;
  gpointer memory = NULL;

  if (g_size_checked_mul (&bytes, count, size) && bytes <= G_MAXSSIZE - HUGE_PAGE)
    {
      gsize alignment = bytes >= 2 * HUGE_PAGE ? HUGE_PAGE : ALIGNMENT;

      bytes = (MAX (bytes, 1) + alignment - 1) / alignment * alignment;
      memory = aligned_alloc (alignment, bytes);
#ifdef MADV_HUGEPAGE
      if (memory && alignment == HUGE_PAGE)
        madvise (memory, bytes, MADV_HUGEPAGE);
#endif
    }
  if (! memory)
    g_set_error (
        error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY,
        C_ ("error",
            "There is not enough memory (%.0f MB more were needed): close other pictures or select a smaller region."),
        (double) count * size / 1e6);
  return memory;
}

gboolean
core_has_room (gsize bytes)
{
  /* Of the system itself: allocators that fill what they give, as tests have them do, would write all of it each time.
   */
  void *room = mmap (NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

  if (room == MAP_FAILED)
    return FALSE;
  munmap (room, bytes);
  return TRUE;
}

gpointer
core_alloc0 (gsize count, gsize size, GError **error)
{
  gpointer memory = core_alloc (count, size, error);

  if (memory)
    memset (memory, 0, count * size);
  return memory;
}

void
core_free (gpointer memory)
{
  free (memory);
}

gboolean
core_array_add (CoreArray *array, gconstpointer element, gsize size, GError **error)
{
  if (array->count == array->room)
    {
      gsize    room = MAX (2 * array->room, 64);
      gpointer data = core_alloc (room, size, error);

      if (! data)
        return FALSE;
      if (array->count)
        memcpy (data, array->data, array->count * size);
      core_free (array->data);
      array->data = data;
      array->room = room;
    }
  memcpy ((char *) array->data + array->count++ * size, element, size);
  return TRUE;
}

void
core_array_clear (CoreArray *array)
{
  core_free (array->data);
  *array = (CoreArray){ 0 };
}

gpointer
scratch_get (Scratch *scratch, gsize size, GError **error)
{
  if (scratch->size < size)
    {
      scratch_clear (scratch);
      scratch->data = core_alloc (size, 1, error);
      if (! scratch->data)
        return NULL;
      scratch->size = size;
    }
  return scratch->data;
}

void
scratch_clear (Scratch *scratch)
{
  core_free (scratch->data);
  scratch->data = NULL;
  scratch->size = 0;
}

DiffusionPicture *
diffusion_picture_new (int width, int height, int channels, GError **error)
{
  DiffusionPicture *picture;
  float            *data;

  if (width < 1 || height < 1 || (channels != 1 && channels != 3))
    {
      g_set_error (
          error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
          "A picture of %d x %d pixels and %d channels cannot be made: it needs 1 x 1 or more, and 1 or 3 channels.",
          width, height, channels);
      return NULL;
    }
  data = core_alloc0 ((gsize) width * (gsize) height, sizeof (float) * (gsize) channels, error);
  if (! data)
    return NULL;
  picture = g_new (DiffusionPicture, 1);
  *picture = (DiffusionPicture){ width, height, channels, data };
  return picture;
}

DiffusionPicture *
diffusion_picture_copy (const DiffusionPicture *picture, GError **error)
{
  DiffusionPicture *copy = diffusion_picture_new (picture->width, picture->height, picture->channels, error);

  if (copy)
    memcpy (copy->data, picture->data,
            (gsize) picture->width * (gsize) picture->height * (gsize) picture->channels * sizeof (float));
  return copy;
}

void
diffusion_picture_free (DiffusionPicture *picture)
{
  if (! picture)
    return;
  core_free (picture->data);
  g_free (picture);
}

gsize
core_get_spare_memory (void)
{
  g_autofree char *text = NULL;
  const char      *line;

  if (! g_file_get_contents ("/proc/meminfo", &text, NULL, NULL) || ! (line = strstr (text, "MemAvailable:")))
    return G_MAXSIZE;
  return (gsize) g_ascii_strtoull (line + strlen ("MemAvailable:"), NULL, 10) * 1024;
}
