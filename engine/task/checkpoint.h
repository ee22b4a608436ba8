/* Tasks with a Stable Diffusion checkpoint.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "process/latent.h"
#include "region.h"

/* What crops are multiples of. */
#define CROP_MULTIPLE (LATENT_PIXELS * SD_UNET_MULTIPLE_MOST)

/* ---- one piece of work at the checkpoint's own size ---- */

/* A checkpoint with the user's prompts, ready to work. */
typedef struct
{
  SdCheckpoint           *checkpoint;
  const DiffusionOptions *options;
  SdRun                  *run;
  SdTensor                context;
  double                  guidance;
  gboolean                v;
  int                     size; /* edge of what the network sees at once, pixels */

  double from, share;  /* of the progress, for the work that goes on */
  double work, before; /* operations of that work, and those that the run had counted before it */
  double reported;
  float  preview[LATENT_CHANNELS + 1][3]; /* from a latent to R'G'B', for options->on_step */
} CheckpointSession;

gboolean checkpoint_session_open (CheckpointSession *session, SdCheckpoint *checkpoint, const DiffusionOptions *options,
                                  GCancellable *cancellable, GError **error);
void     checkpoint_session_close (CheckpointSession *session);

typedef struct
{
  DiffusionPicture *picture; /* R'G'B', both sides multiples of CROP_MULTIPLE; becomes the result */
  float            *share;   /* [height / 8][width / 8], of the strength for each latent; NULL: 1 */
  const guint8     *covered; /* [height][width], for files for inpainting: 0 for pixels that are known; NULL: none is */
  double            strength;
  gboolean          fresh; /* nothing of the picture plays a part, where the strength is 1 */
  guint64           seed;
  int               origin_x, origin_y; /* in the field of random numbers, latents */

  /* For those who look on: what of the picture is not padding, and what place of the task's picture it shows. */
  DiffusionBox content;
  DiffusionBox box;
} CheckpointJob;

/* What files for inpainting are told besides the latent, [height / 8][width / 8][5]: where the hole is, and the latent
 * of the picture with grey in it. */
gboolean checkpoint_make_hole (CheckpointSession *session, const CheckpointJob *job, float *hole, GError **error);

/* Encodes the picture, goes up to the strength and back, decodes. */
gboolean checkpoint_run (CheckpointSession *session, const CheckpointJob *job, GError **error);

/* What a piece of work amounts to, in operations; the autoencoder's are those of all its pieces. */
typedef struct
{
  double encode, decode, call; /* call: of the U-Net, on one tile */
  gsize  bytes;                /* the most that one of them needs */
} CheckpointWork;

/* width, height: multiples of CROP_MULTIPLE; samples: 2 with guidance, 1 without. */
void checkpoint_count_work (const SdCheckpoint *checkpoint, const ComputeBackend *backend, int width, int height,
                            int size, int samples, CheckpointWork *work);
/* The operations of a run at that size, with so many calls of the U-Net for a step. */
double checkpoint_count_run (const CheckpointSession *session, int width, int height, gboolean fresh, int tiles);

/* ---- plans ---- */

/* The autoencoder works on pieces that overlap: their size along a side of so many pixels, and their number. */
int checkpoint_get_piece (int size, int *count);

/* The box around a region and its surroundings, in a picture of so many pixels. */
DiffusionBox checkpoint_choose_box (int width, int height, DiffusionBox region, int size);

/* Holes that fit into one view together are worked on together: of the boxes around each hole those around the views'
 * are made, in the order in which these are worked on.  of: each hole's view; NULL: nobody asks.  Returns their number.
 */
int checkpoint_join_holes (int width, int height, int size, DiffusionBox *boxes, int holes, int *of);

/* A size in pixels, multiples of CROP_MULTIPLE, at which a region is worked on, and where it lies then, in latents. */
typedef struct
{
  int          width, height;
  DiffusionBox region;
} CheckpointPass;

/* One after the other: a large hole is filled reduced, and then worked over.  Returns their number, 1 or 2. */
int checkpoint_plan_work (int width, int height, DiffusionBox region, int size, gboolean fill,
                          CheckpointPass passes[2]);

/* The operations that each of a fill's views needs; views: the boxes around their holes. */
void checkpoint_count_views (const SdCheckpoint *checkpoint, const DiffusionOptions *options, int width, int height,
                             int size, const DiffusionBox *views, int n_views, double *flops);

/* ---- tasks ---- */

/* What diffusion_generate (), _inpaint () and _regenerate () do with a checkpoint. */
gboolean checkpoint_generate (SdCheckpoint *checkpoint, DiffusionPicture *picture, const DiffusionOptions *options,
                              GCancellable *cancellable, GError **error);
gboolean checkpoint_regenerate (SdCheckpoint *checkpoint, DiffusionPicture *picture, const DiffusionPicture *mask,
                                double strength, const DiffusionOptions *options, GCancellable *cancellable,
                                GError **error);
gboolean checkpoint_inpaint (SdCheckpoint *checkpoint, DiffusionPicture *picture, const DiffusionPicture *mask,
                             const Regions *regions, const DiffusionOptions *options, GCancellable *cancellable,
                             GError **error);
