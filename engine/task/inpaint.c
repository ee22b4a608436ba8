/* Inpainting: a hole is a region at a high level among pixels that are known.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "checkpoint.h"
#include "fill.h"
#include "net/model.h"
#include "part.h"
#include "region.h"

#include <glib/gi18n-lib.h>
#include <math.h>
#include <string.h>

static void
crop_clear (Crop *crop)
{
  g_clear_pointer (&crop->picture, diffusion_picture_free);
  g_clear_pointer (&crop->cover, diffusion_picture_free);
}

/* Copies the crop out; unknown pixels, those of other regions that were not filled yet among them, become NAN. */
static gboolean
crop_cut (const DiffusionPicture *picture, const DiffusionPicture *mask, const Regions *regions, const Region *region,
          const gboolean *filled, Crop *crop, GCancellable *cancellable, GError **error)
{
  DiffusionBox box = region->crop;
  gsize        known = 0, unselected = 0;

  /* Places within a crop are counted in 32 bits. */
  if ((gint64) box.width * box.height > G_MAXINT32)
    {
      g_set_error_literal (
          error, DIFFUSION_ERROR, DIFFUSION_ERROR_MEMORY,
          C_ ("error", "What is selected, with its surroundings, is too large to be filled at once: select less."));
      return FALSE;
    }
  crop->cover = region_make_cover (region, regions, mask, cancellable, error);
  crop->picture = crop->cover ? diffusion_picture_new (box.width, box.height, 3, error) : NULL;
  if (! crop->picture)
    return FALSE;
  for (int y = 0; y < box.height; y++)
    for (int x = 0; x < box.width; x++)
      {
        gsize        i = (gsize) y * (gsize) box.width + (gsize) x;
        guint32      label = regions_label (regions, box.x + x, box.y + y);
        const float *pixel = picture->data + ((gsize) (box.y + y) * (gsize) picture->width + (gsize) (box.x + x)) * 3;
        gboolean     unknown = crop->cover->data[i] > 0 || (label && label != region->group && ! filled[label]);

        for (int c = 0; c < 3; c++)
          crop->picture->data[i * 3 + (gsize) c] = unknown ? NAN : pixel[c];
        known += ! unknown;
        unselected += label == 0;
      }
  if (known == 0 && unselected > 0)
    g_set_error_literal (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
                         C_ ("error", "What is selected, grown, covers all of it: let it grow by less."));
  else if (known == 0)
    g_set_error_literal (
        error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT,
        C_ ("error", "All of it is selected: leave some of the picture unselected, for the fill is made from that."));
  return known > 0;
}

static void
put_back (const Crop *crop, DiffusionBox box, DiffusionPicture *picture)
{
  for (int y = 0; y < box.height; y++)
    for (int x = 0; x < box.width; x++)
      {
        gsize        i = (gsize) y * (gsize) box.width + (gsize) x;
        float        cover = crop->cover->data[i];
        const float *from = crop->picture->data + i * 3;
        float       *to = picture->data + ((gsize) (box.y + y) * (gsize) picture->width + (gsize) (box.x + x)) * 3;

        for (int c = 0; c < 3 && cover > 0; c++)
          to[c] = cover < 1 ? to[c] + cover * (from[c] - to[c]) : from[c];
      }
}

/* About how long a region takes, in pixels of a large hole; as measured with the models that are installed. */
static double
get_work (const Region *region)
{
  double crop = (double) region->crop.width * region->crop.height;

  return region->thin ? 12000 + crop / 3 + 6 * region->area : 4000 + crop / 30 + region->area;
}

/* part: its share of the whole. */
static gboolean
fill_region (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
             const DiffusionInpaintOptions *inpaint, const DiffusionNoise *noise, const Regions *regions,
             const Region *region, const gboolean *filled, const Part *part, GCancellable *cancellable, GError **error)
{
  DiffusionOptions own = part_get_options (part);
  Crop             crop = { NULL, NULL, region->radius + region->grow, region->thin, inpaint->texture, noise };
  gboolean         success;

  own.tile = 0; /* strips agree only to rounding, and a fill is to be the same to the last bit */
  success = crop_cut (picture, mask, regions, region, filled, &crop, cancellable, error)
            && fill_crop (model, &crop, &own, cancellable, error);
  if (success)
    put_back (&crop, region->crop, picture);
  crop_clear (&crop);
  return success;
}

static gboolean
check_arguments (const DiffusionPicture *picture, const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint,
                 GError **error)
{
  const char *wrong = NULL;

  if (picture && picture->channels != 3)
    wrong = "a picture of 3 channels";
  else if (mask->channels != 1 || (picture && (mask->width != picture->width || mask->height != picture->height)))
    wrong = "a mask of 1 channel and of the picture's size";
  else if (inpaint->context < 0 || inpaint->context > 4096)
    wrong = "a context from 0 to 4096 pixels";
  else if (inpaint->grow > 256 || inpaint->feather > 256)
    wrong = "to grow and feather by at most 256 pixels";
  else if (! (inpaint->texture <= 1))
    wrong = "a texture of at most 1";
  else if (! (inpaint->noise <= 1))
    wrong = "a noise level of at most 1";
  if (wrong)
    g_set_error (error, DIFFUSION_ERROR, DIFFUSION_ERROR_ARGUMENT, "Inpainting needs %s.", wrong);
  return ! wrong;
}

/* The noise of what is visible and not selected: given, or estimated once for the whole picture, since a crop may be
 * all texture.
 */
static gboolean
find_noise (const DiffusionPicture *picture, const DiffusionPicture *mask, double given, DiffusionNoise *noise,
            GError **error)
{
  g_autoptr (DiffusionPicture) known = NULL;
  gsize pixels = (gsize) mask->width * (gsize) mask->height;

  diffusion_noise_set_uniform (noise, MAX (given, 0));
  if (given >= 0)
    return TRUE;
  known = diffusion_picture_new (mask->width, mask->height, 1, error);
  for (gsize i = 0; known && i < pixels; i++)
    known->data[i] = ! (mask->data[i] > 0) && ! isnan (picture->data[3 * i]);
  return known && diffusion_estimate_noise (picture, known, noise, error);
}

gboolean
diffusion_inpaint (const DiffusionModel *model, DiffusionPicture *picture, const DiffusionPicture *mask,
                   const DiffusionInpaintOptions *inpaint, const DiffusionOptions *options, GCancellable *cancellable,
                   GError **error)
{
  Regions                 regions = { .count = 0 };
  core_autofree gboolean *filled = NULL;
  guint                   labels = 0;
  double                  work = 0, done = 0;
  DiffusionNoise          noise;
  gboolean                success = check_arguments (picture, mask, inpaint, error)
                     && regions_find (mask, inpaint, &regions, cancellable, error)
                     && (model_get_checkpoint (model) || find_noise (picture, mask, inpaint->noise, &noise, error))
                     && diffusion_fill_smooth (picture, error);

  if (success && model_get_checkpoint (model))
    {
      success = checkpoint_inpaint (model_get_checkpoint (model), picture, mask, &regions, options, cancellable, error);
      regions_clear (&regions);
      return success;
    }
  for (int i = 0; i < regions.count; i++)
    {
      labels = MAX (labels, regions.regions[i].group);
      work += get_work (&regions.regions[i]);
    }
  filled = success ? core_alloc0 ((gsize) labels + 1, sizeof (gboolean), error) : NULL;
  success = filled != NULL;
  for (int i = 0; success && i < regions.count; i++)
    {
      const Region *region = &regions.regions[i];
      double        from = done / work;
      const Part    part = { options, from, MIN (get_work (region) / work, 1 - from), region->crop.x, region->crop.y };

      success
          = fill_region (model, picture, mask, inpaint, &noise, &regions, region, filled, &part, cancellable, error);
      filled[region->group] = TRUE;
      done += get_work (region);
    }
  regions_clear (&regions);
  return success;
}

gboolean
diffusion_inpaint_get_boxes (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint,
                             const DiffusionBox *view, DiffusionBox *changed, DiffusionBox *seen,
                             GCancellable *cancellable, GError **error)
{
  Regions  regions = { .count = 0 };
  gboolean success
      = check_arguments (NULL, mask, inpaint, error) && regions_find (mask, inpaint, &regions, cancellable, error);

  *changed = *seen = (DiffusionBox){ 0, 0, 0, 0 };
  for (int i = 0; success && i < regions.count; i++)
    {
      const Region *region = &regions.regions[i];
      DiffusionBox  grown = region_grow_box (region->box, region->grow, mask);

      if (view && ! region_boxes_touch (view, &grown))
        continue;
      *seen = changed->width ? region_join_boxes (*seen, region->crop) : region->crop;
      *changed = changed->width ? region_join_boxes (*changed, grown) : grown;
    }
  regions_clear (&regions);
  return success;
}

DiffusionBox *
diffusion_inpaint_get_holes (const DiffusionPicture *mask, const DiffusionInpaintOptions *inpaint, int *count,
                             GCancellable *cancellable, GError **error)
{
  Regions       regions = { .count = 0 };
  DiffusionBox *boxes = NULL;

  *count = 0;
  if (check_arguments (NULL, mask, inpaint, error) && regions_find (mask, inpaint, &regions, cancellable, error))
    {
      *count = regions.count;
      boxes = g_new (DiffusionBox, (gsize) regions.count);
      for (int i = 0; i < regions.count; i++)
        boxes[i] = region_get_hole (&regions.regions[i], mask);
    }
  regions_clear (&regions);
  return boxes;
}
