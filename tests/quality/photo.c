/* Photographs for the measurements of quality.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "photo.h"

#include <gegl.h>
#include <math.h>
#include <stdio.h>

void
photo_begin (void)
{
  gegl_init (NULL, NULL);
  g_object_set (gegl_config (), "use-opencl", FALSE, NULL);
}

void
photo_end (void)
{
  gegl_exit ();
}

DiffusionPicture *
photo_load (const char *path)
{
  GeglNode *graph = gegl_node_new (), *node = gegl_node_new_child (graph, "operation", "gegl:load", "path", path, NULL);
  GeglRectangle     extent = gegl_node_get_bounding_box (node);
  DiffusionPicture *picture = NULL;

  /* GEGL makes a picture of an error's text for a file that is not there. */
  if (g_file_test (path, G_FILE_TEST_IS_REGULAR))
    picture = diffusion_picture_new (extent.width, extent.height, 3, NULL);
  if (picture)
    gegl_node_blit (node, 1.0, &extent, babl_format ("R'G'B' float"), picture->data, GEGL_AUTO_ROWSTRIDE,
                    GEGL_BLIT_DEFAULT);
  g_object_unref (graph);
  return picture;
}

/* A buffer with the picture's pixels, to be freed with g_object_unref (). */
static GeglBuffer *
new_buffer (const DiffusionPicture *picture)
{
  const GeglRectangle extent = { 0, 0, picture->width, picture->height };
  const Babl         *format = babl_format ("R'G'B' float");
  GeglBuffer         *buffer = gegl_buffer_new (&extent, format);

  gegl_buffer_set (buffer, &extent, 0, format, picture->data, GEGL_AUTO_ROWSTRIDE);
  return buffer;
}

gboolean
photo_save (const DiffusionPicture *picture, const char *path)
{
  GeglBuffer *buffer = new_buffer (picture);
  GeglNode   *graph = gegl_node_new (),
           *source = gegl_node_new_child (graph, "operation", "gegl:buffer-source", "buffer", buffer, NULL);
  GeglNode *sink = gegl_node_new_child (graph, "operation", "gegl:png-save", "path", path, "bitdepth", 16, NULL);

  remove (path);
  gegl_node_link (source, sink);
  gegl_node_process (sink);
  g_object_unref (graph);
  g_object_unref (buffer);
  return g_file_test (path, G_FILE_TEST_IS_REGULAR);
}

void
photo_reduce_noise (const DiffusionPicture *picture, int strength, DiffusionPicture *result)
{
  const GeglRectangle extent = { 0, 0, picture->width, picture->height };
  GeglBuffer         *buffer = new_buffer (picture);
  GeglNode           *graph = gegl_node_new (),
           *source = gegl_node_new_child (graph, "operation", "gegl:buffer-source", "buffer", buffer, NULL);
  GeglNode *filter = gegl_node_new_child (graph, "operation", "gegl:noise-reduction", "iterations", strength, NULL);

  gegl_node_link (source, filter);
  gegl_node_blit (filter, 1.0, &extent, babl_format ("R'G'B' float"), result->data, GEGL_AUTO_ROWSTRIDE,
                  GEGL_BLIT_DEFAULT);
  g_object_unref (graph);
  g_object_unref (buffer);
}

DiffusionPicture *
photo_add_noise (const DiffusionPicture *clean, double sigma, guint64 seed)
{
  DiffusionPicture *noisy = diffusion_picture_copy (clean, NULL);
  g_autoptr (DiffusionPicture) level = diffusion_picture_new (clean->width, clean->height, 1, NULL);

  for (int i = 0; i < clean->width * clean->height; i++)
    level->data[i] = (float) sigma;
  diffusion_forward (noisy, level, 0, 1, seed, 0, 0, 0, NULL);
  return noisy;
}

double
photo_get_psnr (const DiffusionPicture *a, const DiffusionPicture *b)
{
  int    count = a->width * a->height * 3;
  double sum = 0;

  for (int i = 0; i < count; i++)
    sum += pow ((double) CLAMP (a->data[i], 0.0f, 1.0f) - (double) CLAMP (b->data[i], 0.0f, 1.0f), 2);
  return -10 * log10 (sum / count);
}
