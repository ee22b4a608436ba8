/* What the ways to fill a hole have in common.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "fill.h"
#include "noise.h"

#include <math.h>
#include <string.h>

#define ROUGHNESS_RADIUS 4

/* Photographs with less noise than this show no grain. */
#define GRAIN_LEAST (2.0 / 255)
/* The stream of its random numbers. */
#define GRAIN_STREAM 7

DiffusionPicture *
fill_mark_hole (const DiffusionPicture *picture, GError **error)
{
  DiffusionPicture *hole = diffusion_picture_new (picture->width, picture->height, 1, error);
  gsize             pixels = (gsize) picture->width * (gsize) picture->height;

  for (gsize i = 0; hole && i < pixels; i++)
    hole->data[i] = isnan (picture->data[i * 3]);
  return hole;
}

DiffusionPicture *
fill_cut (const DiffusionPicture *from, DiffusionBox box, GError **error)
{
  DiffusionPicture *to = diffusion_picture_new (box.width, box.height, from->channels, error);
  gsize             pixel = (gsize) from->channels;

  for (int y = 0; to && y < box.height; y++)
    memcpy (to->data + (gsize) y * (gsize) box.width * pixel,
            from->data + ((gsize) (box.y + y) * (gsize) from->width + (gsize) box.x) * pixel,
            (gsize) box.width * pixel * sizeof (float));
  return to;
}

static inline float
luma (const float *pixel)
{
  return (pixel[0] + pixel[1] + pixel[2]) / 3;
}

/* Steps that are known, and how many these are: of a column within the window, or of all of it. */
typedef struct
{
  double sum;
  int    known;
} Steps;

/* sign: 1 for a row that enters the columns, -1 for one that leaves them. */
static void
add_row (const DiffusionPicture *steps, int y, int sign, Steps *columns)
{
  for (int x = 0; y >= 0 && y < steps->height && x < steps->width; x++)
    {
      float step = steps->data[(gsize) y * (gsize) steps->width + (gsize) x];

      columns[x].sum += isnan (step) ? 0 : sign * (double) step;
      columns[x].known += isnan (step) ? 0 : sign;
    }
}

static void
add_column (const Steps *columns, int x, int width, int sign, Steps *window)
{
  if (x < 0 || x >= width)
    return;
  window->sum += sign * columns[x].sum;
  window->known += sign * columns[x].known;
}

DiffusionPicture *
fill_measure_roughness (const DiffusionPicture *picture, GError **error)
{
  int               width = picture->width, height = picture->height;
  DiffusionPicture *result = diffusion_picture_new (width, height, 1, error);
  g_autoptr (DiffusionPicture) steps = result ? diffusion_picture_new (width, height, 1, error) : NULL;
  core_autofree Steps *columns = steps ? core_alloc0 ((gsize) width, sizeof (Steps), error) : NULL;

  if (! columns)
    {
      diffusion_picture_free (result);
      return NULL;
    }
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      {
        gsize        i = (gsize) y * (gsize) width + (gsize) x;
        const float *p = picture->data + i * 3, *right = x + 1 < width ? p + 3 : p - (width > 1 ? 3 : 0);
        const float *below = y + 1 < height ? p + width * 3 : p - (height > 1 ? width * 3 : 0);

        steps->data[i] = fabsf (luma (right) - luma (p)) + fabsf (luma (below) - luma (p));
      }
  for (int y = -ROUGHNESS_RADIUS; y < height; y++)
    {
      Steps window = { 0, 0 };

      add_row (steps, y + ROUGHNESS_RADIUS, 1, columns);
      add_row (steps, y - ROUGHNESS_RADIUS - 1, -1, columns);
      for (int x = -ROUGHNESS_RADIUS; x < width && y >= 0; x++)
        {
          gsize i = (gsize) y * (gsize) width + (gsize) MAX (x, 0);

          add_column (columns, x + ROUGHNESS_RADIUS, width, 1, &window);
          add_column (columns, x - ROUGHNESS_RADIUS - 1, width, -1, &window);
          if (x >= 0)
            result->data[i]
                = window.known && ! isnan (picture->data[i * 3]) ? (float) (window.sum / window.known) : NAN;
        }
    }
  return result;
}

/* ---- grain ---- */

/* Gives a fill that has no noise that of the photograph, so that it does not look like plastic. */
static gboolean
add_grain (Crop *crop, const DiffusionPicture *hole, const DiffusionOptions *options, GError **error)
{
  g_autoptr (DiffusionPicture) level = diffusion_picture_new (hole->width, hole->height, 1, error);
  gsize pixels = (gsize) hole->width * (gsize) hole->height;

  for (gsize i = 0; level && i < pixels; i++)
    if (hole->data[i] > 0)
      level->data[i] = (float) diffusion_noise_at (crop->noise, (double) luma (crop->picture->data + i * 3));
  return level
         && diffusion_forward (crop->picture, level, 0, 1, options->seed, GRAIN_STREAM, options->origin_x,
                               options->origin_y, error);
}

/* ---- the whole ---- */

void
fill_report (const Filler *filler, double fraction)
{
  if (filler->options->progress)
    filler->options->progress (fraction, filler->options->progress_data);
}

gboolean
fill_crop (const DiffusionModel *model, Crop *crop, const DiffusionOptions *options, GCancellable *cancellable,
           GError **error)
{
  g_autoptr (Pool) pool = pool_new (options->threads, error);
  g_autoptr (DiffusionPicture) hole = pool ? fill_mark_hole (crop->picture, error) : NULL;
  Filler filler = { model, options, pool, cancellable };

  if (! hole)
    return FALSE;
  if (! crop->thin)
    return fill_large (&filler, crop, error); /* texture from the surroundings has their grain */
  return fill_thin (&filler, crop, error)
         && (crop->noise->sigma < GRAIN_LEAST || add_grain (crop, hole, options, error));
}
