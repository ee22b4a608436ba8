/* From a layer to a checkpoint's own size and back.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "checkpoint.h"
#include "fill.h"

#include <math.h>
#include <string.h>

/* Surroundings: this share of the region's longer side on each side, at least so many pixels. */
#define CONTEXT_SHARE 0.25
#define CONTEXT_LEAST 32
/* Small regions are enlarged at most so much: then there are more surroundings instead. */
#define ENLARGE_MOST 2.0
/* Large ones are worked on in tiles; beyond so many times the network's size they are reduced before. */
#define TILES_MOST 4.0
/* A hole up to so many times the network's size is filled in one view; larger ones are filled reduced, and then worked
 * over in tiles from this strength. */
#define ONE_VIEW        2.0
#define REFINE_STRENGTH 0.45
/* The same for what is generated, unless the network can see it at once as large as it is: of tiles that begin with
 * nothing but noise none knows of the others, and each would paint the whole prompt. */
#define GENERATE_ONE_VIEW 1.25
/* Where a soft mask lets through as much of the result as there is: below, the old and the new are mixed, since the
 * autoencoder alone changes pixels a little. */
#define SOFT_EDGE 0.25f
/* Colours at the rim: differences are averaged over some pixels, and none is believed to be larger than this. */
#define RIM_BLUR 6.0
#define RIM_MOST 0.15f
/* What is refined was painted from the seed's noise: the same again would strengthen what that made of it. */
#define REFINE_SEED G_GUINT64_CONSTANT (0x9e3779b97f4a7c15)

typedef struct
{
  DiffusionBox box;                     /* in the picture */
  int          width, height;           /* of the box at the network's scale */
  int          work_width, work_height; /* padded */
} Plan;

static int
round_up (int value, int multiple)
{
  return (value + multiple - 1) / multiple * multiple;
}

DiffusionBox
checkpoint_choose_box (int width, int height, DiffusionBox region, int size)
{
  int longer = MAX (region.width, region.height);
  int context = MAX (CONTEXT_LEAST, (int) (longer * CONTEXT_SHARE));
  int least = MAX (longer + 2 * context, (int) (size / ENLARGE_MOST));
  int across = (MAX (least, region.width + 2 * context) - region.width + 1) / 2;
  int down = (MAX (least, region.height + 2 * context) - region.height + 1) / 2;
  int x0 = MAX (region.x - across, 0), x1 = MIN (region.x + region.width + across, width);
  int y0 = MAX (region.y - down, 0), y1 = MIN (region.y + region.height + down, height);

  return (DiffusionBox){ x0, y0, x1 - x0, y1 - y0 };
}

static Plan
make_plan (DiffusionBox box, double scale)
{
  Plan plan = { box, MAX (1, (int) (box.width * scale + 0.5)), MAX (1, (int) (box.height * scale + 0.5)), 0, 0 };

  plan.work_width = round_up (plan.width, CROP_MULTIPLE);
  plan.work_height = round_up (plan.height, CROP_MULTIPLE);
  return plan;
}

/* The latents that a part of the plan's box takes, as make_share () finds them. */
static DiffusionBox
find_latents (const Plan *plan, DiffusionBox part)
{
  double       across = (double) plan->width / plan->box.width / LATENT_PIXELS;
  double       down = (double) plan->height / plan->box.height / LATENT_PIXELS;
  DiffusionBox latents = { (int) (part.x * across), (int) (part.y * down), 0, 0 };

  latents.width = (int) ceil ((part.x + part.width) * across - 1e-6) - latents.x;
  latents.height = (int) ceil ((part.y + part.height) * down - 1e-6) - latents.y;
  return latents;
}

static double
longer_side (DiffusionBox box)
{
  return MAX (box.width, box.height);
}

/* Enlarged to the network's size where it is smaller, else as large as it is, within reason. */
static double
scale_for_tiles (DiffusionBox box, int size)
{
  double longer = longer_side (box);

  return longer < size ? size / longer : MIN (1, TILES_MOST * size / longer);
}

int
checkpoint_plan_work (int width, int height, DiffusionBox region, int size, gboolean fill, CheckpointPass passes[2])
{
  DiffusionBox box = checkpoint_choose_box (width, height, region, size);
  double       whole = size / longer_side (box), fine = scale_for_tiles (box, size);
  int          count = fill && longer_side (box) > ONE_VIEW * size ? 2 : 1;

  region.x -= box.x;
  region.y -= box.y;
  for (int i = 0; i < count; i++)
    {
      Plan plan = make_plan (box, fill && i == 0 ? whole : fine);

      passes[i] = (CheckpointPass){ plan.work_width, plan.work_height, find_latents (&plan, region) };
    }
  return count;
}

int
diffusion_model_get_reach (const DiffusionModel *model, int width, int height, const DiffusionOptions *options)
{
  const DiffusionCheckpoint *checkpoint = diffusion_model_get_checkpoint (model);
  int                        longer = MAX (width, height), size = options->size;

  if (! checkpoint)
    return diffusion_model_get_margin (model);
  /* The most that checkpoint_choose_box () may want for any part of it: a thin one gets a square as well. */
  return MAX ((int) (longer * (0.5 + CONTEXT_SHARE)) + CONTEXT_LEAST,
              (int) ((size ? size : checkpoint->native_size) / ENLARGE_MOST / 2))
         + 1;
}

/* ---- pixels in and out ---- */

static inline int
mirror (int i, int size)
{
  i %= 2 * size;
  return i < size ? i : 2 * size - 1 - i;
}

/* A crop at the network's scale, mirrored to the padded size. */
static DiffusionPicture *
make_work (const DiffusionPicture *crop, const Plan *plan, GCancellable *cancellable, GError **error)
{
  g_autoptr (DiffusionPicture) scaled = process_resize (crop, plan->width, plan->height, cancellable, error);
  DiffusionPicture *work = scaled ? diffusion_picture_new (plan->work_width, plan->work_height, 3, error) : NULL;

  for (int y = 0; work && y < work->height; y++)
    for (int x = 0; x < work->width; x++)
      memcpy (work->data + ((gsize) y * (gsize) work->width + (gsize) x) * 3,
              scaled->data
                  + ((gsize) mirror (y, scaled->height) * (gsize) scaled->width + (gsize) mirror (x, scaled->width))
                        * 3,
              3 * sizeof (float));
  return work;
}

/* The pixels of a cover that a pixel at the network's scale shows a part of. */
typedef struct
{
  int first, last;
} Part;

static Part
find_part (int at, int size, int cover_size)
{
  double scale = (double) cover_size / size;

  at = mirror (at, size);
  return (Part){ (int) (at * scale), MIN ((int) ((at + 1) * scale - 1e-6), cover_size - 1) };
}

static float
find_largest (const DiffusionPicture *cover, Part across, Part down)
{
  float largest = 0;

  for (int y = down.first; y <= down.last; y++)
    for (int x = across.first; x <= across.last; x++)
      largest = MAX (cover->data[(gsize) y * (gsize) cover->width + (gsize) x], largest);
  return MIN (largest, 1.0f);
}

/* The largest value of the cover within each latent, mirrored as the picture is: padding that counted as known would
 * hold its old content, and with it the edge beside.  whole: 1 for all above 0; covered: the pixels above 0, or NULL.
 * core_free () */
static float *
make_share (const DiffusionPicture *cover, const Plan *plan, gboolean whole, guint8 *covered, GError **error)
{
  int    width = plan->work_width / LATENT_PIXELS, height = plan->work_height / LATENT_PIXELS;
  float *share = core_alloc0 ((gsize) width * (gsize) height, sizeof (float), error);

  for (int y = 0; y < plan->work_height && share; y++)
    {
      Part down = find_part (y, plan->height, cover->height);

      for (int x = 0; x < plan->work_width; x++)
        {
          float *to = share + (gsize) (y / LATENT_PIXELS) * (gsize) width + (gsize) (x / LATENT_PIXELS);
          float  largest = find_largest (cover, find_part (x, plan->width, cover->width), down);

          if (covered)
            covered[(gsize) y * (gsize) plan->work_width + (gsize) x] = largest > 0;
          *to = MAX (*to, largest);
          if (whole && *to > 0)
            *to = 1;
        }
    }
  return share;
}

/* The way up and back begins where the firmest latent does: all steps are for what changes. */
static void
use_largest (float *share, gsize count, double *strength)
{
  float largest = 0;

  for (gsize i = 0; i < count; i++)
    largest = MAX (largest, share[i]);
  if (largest == 0 || largest == 1)
    return;
  for (gsize i = 0; i < count; i++)
    share[i] /= largest;
  *strength *= (double) largest;
}

/* What is to be done to a box of the picture. */
typedef struct
{
  const DiffusionPicture *cover;  /* of the box; NULL: 1 everywhere */
  const DiffusionPicture *others; /* > 0: what comes later, and is to play no part until then; NULL: nothing is */
  double                  strength;
  guint64                 seed; /* another noise than the task's */
  gboolean                hole; /* what is covered is to play no part, and the cover is how much of the fill shows */
  gboolean                fresh;
} Edit;

/* Pixels that neither this edit nor a later one replaces, and of whose latents nothing is new: where the result differs
 * only because the autoencoder, and perhaps a change of size, lies between.  share: of the plan's latents. */
static gboolean
is_known (const Edit *edit, const Plan *plan, const float *share, int x, int y)
{
  gsize        i = (gsize) y * (gsize) plan->box.width + (gsize) x, pitch = (gsize) (plan->work_width / LATENT_PIXELS);
  DiffusionBox latents = find_latents (plan, (DiffusionBox){ x, y, 1, 1 });

  if (edit->cover->data[i] > 0 || (edit->others && edit->others->data[i] > 0))
    return FALSE;
  for (int v = latents.y; v < latents.y + latents.height; v++)
    for (int u = latents.x; u < latents.x + latents.width; u++)
      if (share[(gsize) v * pitch + (gsize) u] > 0)
        return FALSE;
  return TRUE;
}

/* How much the result's colours are off where it is known what they should be, elsewhere NAN.  FALSE: nothing is known.
 */
static gboolean
find_difference (const DiffusionPicture *original, const Edit *edit, const Plan *plan, const float *share,
                 const DiffusionPicture *result, DiffusionPicture *difference)
{
  gboolean any = FALSE;
  gsize    i = 0;

  for (int y = 0; y < original->height; y++)
    for (int x = 0; x < original->width; x++)
      {
        gboolean known = is_known (edit, plan, share, x, y);

        any |= known;
        for (int c = 0; c < 3; c++, i++)
          difference->data[i] = known ? original->data[i] - result->data[i] : NAN;
      }
  return any;
}

/* Shifts the result's colours so that they agree with the known pixels' around: the difference there, smooth, continued
 * into the hole. */
static gboolean
match_colours (const DiffusionPicture *original, const Edit *edit, const Plan *plan, const float *share,
               DiffusionPicture *result, const SdRun *run, GError **error)
{
  g_autoptr (DiffusionPicture) difference = diffusion_picture_new (original->width, original->height, 3, error);
  gsize count = (gsize) original->width * (gsize) original->height;

  if (! difference)
    return FALSE;
  if (! find_difference (original, edit, plan, share, result, difference))
    return TRUE;
  if (g_cancellable_set_error_if_cancelled (run->cancellable, error) || ! diffusion_fill_smooth (difference, error)
      || g_cancellable_set_error_if_cancelled (run->cancellable, error)
      || ! process_blur (difference, RIM_BLUR, run->pool, run->cancellable, error))
    return FALSE;
  for (gsize i = 0; i < count * 3; i++)
    result->data[i] += CLAMP (difference->data[i], -RIM_MOST, RIM_MOST);
  return TRUE;
}

/* Pixels that the cover does not touch are not touched. */
static void
put_back (const DiffusionPicture *result, const DiffusionPicture *cover, gboolean soft, DiffusionBox box,
          DiffusionPicture *picture)
{
  for (int y = 0; y < box.height; y++)
    for (int x = 0; x < box.width; x++)
      {
        gsize        i = (gsize) y * (gsize) box.width + (gsize) x;
        float        share = cover ? cover->data[i] : 1;
        const float *from = result->data + i * 3;
        float *to = picture->data + (((gsize) box.y + (gsize) y) * (gsize) picture->width + (gsize) (box.x + x)) * 3;

        if (soft)
          share = MIN (share / SOFT_EDGE, 1.0f);
        for (int c = 0; c < 3 && share > 0; c++)
          to[c] = share < 1 ? to[c] + share * (from[c] - to[c]) : from[c];
      }
}

/* ---- one region ---- */

/* What the network is shown of a box: what is to play no part becomes a smooth continuation of the rest.  NULL, and no
 * error, if all of it is shown. */
static gboolean
hide (const DiffusionPicture *crop, const Edit *edit, DiffusionPicture **seen, GError **error)
{
  gsize count = (gsize) crop->width * (gsize) crop->height;

  if (! edit->hole && ! edit->others)
    return TRUE;
  *seen = diffusion_picture_copy (crop, error);
  for (gsize i = 0; i < count && *seen; i++)
    if ((edit->hole && edit->cover->data[i] > 0) || (edit->others && edit->others->data[i] > 0))
      for (int c = 0; c < 3; c++)
        (*seen)->data[i * 3 + (gsize) c] = NAN;
  return *seen && diffusion_fill_smooth (*seen, error);
}

static gboolean
edit_box (CheckpointSession *session, DiffusionPicture *picture, const Edit *edit, DiffusionBox box, double scale,
          GError **error)
{
  Plan                  plan = make_plan (box, scale);
  GCancellable         *cancellable = session->run->cancellable;
  core_autofree float  *share = NULL;
  core_autofree guint8 *covered = NULL;
  g_autoptr (DiffusionPicture) crop = fill_cut (picture, box, error);
  g_autoptr (DiffusionPicture) seen = NULL, work = NULL, content = NULL, result = NULL;
  CheckpointJob job = { .strength = edit->strength, .fresh = edit->fresh, .seed = session->options->seed ^ edit->seed };

  /* Beside the networks a large box takes seconds: each stage looks whether it is still wanted. */
  if (! crop || ! hide (crop, edit, &seen, error)
      || ! (work = make_work (seen ? seen : crop, &plan, cancellable, error)))
    return FALSE;
  /* checkpoint-cost.c counts what is alive when: all that is not needed any more goes at once. */
  g_clear_pointer (&seen, diffusion_picture_free);
  if (edit->cover && sd_checkpoint_get_info (session->checkpoint)->inpainting
      && ! (covered = core_alloc ((gsize) plan.work_width * (gsize) plan.work_height, 1, error)))
    return FALSE;
  /* Of what was in a hole nothing is left, so there is no way to go but the whole one. */
  if (edit->cover && ! (share = make_share (edit->cover, &plan, edit->hole, covered, error)))
    return FALSE;
  if (share && ! edit->hole)
    use_largest (share, (gsize) (plan.work_width / LATENT_PIXELS) * (gsize) (plan.work_height / LATENT_PIXELS),
                 &job.strength);
  job.picture = work;
  job.share = share;
  job.covered = covered;
  job.content = (DiffusionBox){ 0, 0, plan.width, plan.height };
  /* What is painted from nothing fills the padding as well, and is composed for all of it: the middle is taken. */
  if (edit->fresh)
    {
      job.content.x = (plan.work_width - plan.width) / 2 / LATENT_PIXELS * LATENT_PIXELS;
      job.content.y = (plan.work_height - plan.height) / 2 / LATENT_PIXELS * LATENT_PIXELS;
    }
  job.box = box;
  job.origin_x = (int) floor ((session->options->origin_x + box.x) * scale / LATENT_PIXELS);
  job.origin_y = (int) floor ((session->options->origin_y + box.y) * scale / LATENT_PIXELS);
  if (! checkpoint_run (session, &job, error) || ! (content = fill_cut (work, job.content, error)))
    return FALSE;
  g_clear_pointer (&work, diffusion_picture_free);
  g_clear_pointer (&covered, core_free);
  result = process_resize (content, box.width, box.height, cancellable, error);
  g_clear_pointer (&content, diffusion_picture_free);
  if (! result)
    return FALSE;
  if ((edit->cover && ! match_colours (crop, edit, &plan, share, result, session->run, error))
      || g_cancellable_set_error_if_cancelled (cancellable, error))
    return FALSE;
  put_back (result, edit->cover, ! edit->hole, box, picture);
  return TRUE;
}

/* The box around all that is covered; FALSE: nothing is. */
static gboolean
find_covered (const DiffusionPicture *cover, DiffusionBox *box)
{
  int x0 = cover->width, x1 = -1, y0 = cover->height, y1 = -1;

  for (int y = 0; y < cover->height; y++)
    for (int x = 0; x < cover->width; x++)
      if (cover->data[(gsize) y * (gsize) cover->width + (gsize) x] > 0)
        {
          x0 = MIN (x0, x);
          x1 = MAX (x1, x);
          y0 = MIN (y0, y);
          y1 = MAX (y1, y);
        }
  *box = (DiffusionBox){ x0, y0, x1 - x0 + 1, y1 - y0 + 1 };
  return x1 >= 0;
}

/* covered: the part of the box that changes. */
static double
count_run (const CheckpointSession *session, DiffusionBox box, DiffusionBox covered, double scale, gboolean fresh)
{
  Plan plan = make_plan (box, scale);
  int  tiles = latent_count_tiles (sd_checkpoint_get_unet (session->checkpoint), plan.work_width / LATENT_PIXELS,
                                   plan.work_height / LATENT_PIXELS, session->size / LATENT_PIXELS,
                                   find_latents (&plan, covered));

  return checkpoint_count_run (session, plan.work_width, plan.work_height, fresh, tiles);
}

static gboolean
is_seen_at_once (const CheckpointSession *session, DiffusionBox box, double scale)
{
  Plan plan = make_plan (box, scale);

  return latent_fits_tile (plan.work_width / LATENT_PIXELS, plan.work_height / LATENT_PIXELS,
                           session->size / LATENT_PIXELS);
}

/* In one view, reduced if need be; what is far too large for that is then worked over in tiles. */
static gboolean
edit_in_views (CheckpointSession *session, DiffusionPicture *picture, const Edit *edit, DiffusionBox box,
               double one_view, GError **error)
{
  double       longer = longer_side (box), whole = session->size / longer, from = session->from, share = session->share;
  double       fine = scale_for_tiles (box, session->size), first, second;
  Edit         refine = { edit->cover, edit->others, REFINE_STRENGTH, REFINE_SEED, FALSE, FALSE };
  DiffusionBox covered = { 0, 0, box.width, box.height };

  if (edit->fresh && is_seen_at_once (session, box, fine))
    return edit_box (session, picture, edit, box, fine, error);
  if (longer <= one_view * session->size)
    return edit_box (session, picture, edit, box, whole, error);
  if (edit->cover)
    find_covered (edit->cover, &covered);
  first = count_run (session, box, covered, whole, edit->fresh);
  second = count_run (session, box, covered, fine, FALSE);
  session->share = share * first / (first + second);
  if (! edit_box (session, picture, edit, box, whole, error))
    return FALSE;
  session->from = from + session->share;
  session->share = share - session->share;
  return edit_box (session, picture, &refine, box, fine, error);
}

/* ---- tasks ---- */

gboolean
checkpoint_generate (SdCheckpoint *checkpoint, DiffusionPicture *picture, const DiffusionOptions *options,
                     GCancellable *cancellable, GError **error)
{
  CheckpointSession session;
  DiffusionBox      box = { 0, 0, picture->width, picture->height };
  Edit              edit = { .strength = 1, .fresh = TRUE };
  gboolean          success = checkpoint_session_open (&session, checkpoint, options, cancellable, error)
                     && edit_in_views (&session, picture, &edit, box, GENERATE_ONE_VIEW, error);

  checkpoint_session_close (&session);
  return success;
}

gboolean
checkpoint_regenerate (SdCheckpoint *checkpoint, DiffusionPicture *picture, const DiffusionPicture *mask,
                       double strength, const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  CheckpointSession session;
  DiffusionBox      box = { 0, 0, picture->width, picture->height };
  gboolean          success;
  g_autoptr (DiffusionPicture) cover = NULL;

  /* Nothing is to change: the picture is what it is. */
  if (strength == 0 || (mask && ! find_covered (mask, &box)))
    return TRUE;
  success = checkpoint_session_open (&session, checkpoint, options, cancellable, error);
  if (success)
    {
      Edit edit = { .strength = strength };

      box = mask ? checkpoint_choose_box (picture->width, picture->height, box, session.size) : box;
      edit.cover = cover = mask ? fill_cut (mask, box, error) : NULL;
      success
          = (cover || ! mask) && edit_box (&session, picture, &edit, box, scale_for_tiles (box, session.size), error);
    }
  checkpoint_session_close (&session);
  return success;
}

/* Regions that fit into one view together are worked on together. */
typedef struct
{
  DiffusionBox *boxes; /* of the views, around their regions' holes */
  int          *of;    /* each region's view; views are worked on in this order */
  double       *from;  /* where each one's share of the progress begins, and where the last one's ends */
  int           count;
} Views;

int
checkpoint_join_holes (int width, int height, int size, DiffusionBox *boxes, int holes, int *of)
{
  int count = holes;

  for (int i = 0; i < holes && of; i++)
    of[i] = i;
  for (int i = 0; i < count; i++)
    for (int j = i + 1; j < count; j++)
      {
        DiffusionBox joined = region_join_boxes (boxes[i], boxes[j]);

        if (longer_side (checkpoint_choose_box (width, height, joined, size)) > size)
          continue;
        boxes[i] = joined;
        boxes[j] = boxes[--count];
        for (int hole = 0; hole < holes && of; hole++)
          if (of[hole] == j)
            of[hole] = i;
          else if (of[hole] == count)
            of[hole] = j;
        j = i;
      }
  return count;
}

static gboolean
find_views (const CheckpointSession *session, const DiffusionPicture *mask, const Regions *regions, Views *views,
            GError **error)
{
  double done = 0;

  views->boxes = core_alloc ((gsize) regions->count, sizeof (DiffusionBox), error);
  views->of = views->boxes ? core_alloc ((gsize) regions->count, sizeof (int), error) : NULL;
  views->from = views->of ? core_alloc ((gsize) regions->count + 1, sizeof (double), error) : NULL;
  if (! views->from)
    return FALSE;
  for (int i = 0; i < regions->count; i++)
    views->boxes[i] = region_get_hole (&regions->regions[i], mask);
  views->count
      = checkpoint_join_holes (mask->width, mask->height, session->size, views->boxes, regions->count, views->of);
  checkpoint_count_views (session->checkpoint, session->options, mask->width, mask->height, session->size, views->boxes,
                          views->count, views->from);
  for (int i = 0; i < views->count; i++)
    {
      double work = views->from[i];

      views->from[i] = done;
      done += work;
    }
  views->from[views->count] = done;
  for (int i = 0; i <= views->count; i++)
    views->from[i] /= done;
  return TRUE;
}

static void
clear_views (Views *views)
{
  core_free (views->boxes);
  core_free (views->of);
  core_free (views->from);
}

/* Adds what a region covers of a box. */
static gboolean
add_cover (const Region *region, const Regions *regions, const DiffusionPicture *mask, DiffusionBox box,
           DiffusionPicture *whole, GCancellable *cancellable, GError **error)
{
  Region own = *region;
  g_autoptr (DiffusionPicture) cover = NULL;

  own.crop = region_get_hole (region, mask);
  cover = region_make_cover (&own, regions, mask, cancellable, error);
  for (int y = MAX (own.crop.y, box.y); cover && y < MIN (own.crop.y + own.crop.height, box.y + box.height); y++)
    for (int x = MAX (own.crop.x, box.x); x < MIN (own.crop.x + own.crop.width, box.x + box.width); x++)
      {
        float *to = whole->data + (gsize) (y - box.y) * (gsize) box.width + (gsize) (x - box.x);

        *to = MAX (*to, cover->data[(gsize) (y - own.crop.y) * (gsize) cover->width + (gsize) (x - own.crop.x)]);
      }
  return cover != NULL;
}

/* What the regions of the views from `first` to `last` cover of a box; NULL, and no error, if that is nothing. */
static gboolean
make_cover (const DiffusionPicture *mask, const Regions *regions, const Views *views, int first, int last,
            DiffusionBox box, DiffusionPicture **cover, GCancellable *cancellable, GError **error)
{
  for (int i = 0; i < regions->count; i++)
    {
      DiffusionBox hole = region_get_hole (&regions->regions[i], mask);

      if (views->of[i] < first || views->of[i] > last || ! region_boxes_touch (&hole, &box))
        continue;
      if (! *cover && ! (*cover = diffusion_picture_new (box.width, box.height, 1, error)))
        return FALSE;
      if (! add_cover (&regions->regions[i], regions, mask, box, *cover, cancellable, error))
        return FALSE;
    }
  return TRUE;
}

/* What was filled before is known; what comes later is neither shown nor touched. */
static gboolean
fill_view (CheckpointSession *session, DiffusionPicture *picture, const DiffusionPicture *mask, const Regions *regions,
           const Views *views, int view, GError **error)
{
  DiffusionBox  box = checkpoint_choose_box (picture->width, picture->height, views->boxes[view], session->size);
  GCancellable *cancellable = session->run->cancellable;
  g_autoptr (DiffusionPicture) cover = NULL, others = NULL;
  Edit edit = { .strength = 1, .hole = TRUE };

  if (! make_cover (mask, regions, views, view, view, box, &cover, cancellable, error)
      || ! make_cover (mask, regions, views, view + 1, views->count - 1, box, &others, cancellable, error)
      || g_cancellable_set_error_if_cancelled (cancellable, error))
    return FALSE;
  edit.cover = cover;
  edit.others = others;
  session->from = views->from[view];
  session->share = views->from[view + 1] - views->from[view];
  return edit_in_views (session, picture, &edit, box, ONE_VIEW, error);
}

gboolean
checkpoint_inpaint (SdCheckpoint *checkpoint, DiffusionPicture *picture, const DiffusionPicture *mask,
                    const Regions *regions, const DiffusionOptions *options, GCancellable *cancellable, GError **error)
{
  CheckpointSession session;
  Views             views = { NULL, NULL, NULL, 0 };
  gboolean          success = checkpoint_session_open (&session, checkpoint, options, cancellable, error)
                     && find_views (&session, mask, regions, &views, error);

  for (int i = 0; i < views.count && success; i++)
    success = fill_view (&session, picture, mask, regions, &views, i, error);
  clear_views (&views);
  checkpoint_session_close (&session);
  return success;
}
