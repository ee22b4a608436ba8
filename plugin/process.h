/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The whole run of a filter on a drawable: read, let the engine work on a thread of its own, write.
 */
#pragma once

#include "engine/diffusion.h"
#include "host.h"
#include "region.h"

G_BEGIN_DECLS

/* How much of the work has to be done again when settings change. */
typedef enum
{
  SETTINGS_SAME,
  SETTINGS_BLEND, /* job_blend () */
  SETTINGS_ENGINE /* all of it */
} SettingsDiff;

SettingsDiff settings_compare (FilterKind kind, const Settings *a, const Settings *b);

/* One piece of work for the engine. */
typedef struct
{
  FilterKind      kind;
  Settings        settings;
  char           *prompt, *negative; /* for a checkpoint */
  Region         *region;
  DiffusionModel *model;
  DiffusionNoise  noise;       /* in and out */
  gboolean        noise_known; /* FALSE: job_compute () sets noise from the settings or from the picture */
  int             permille;    /* progress, atomic */

  gboolean          previewed;   /* job_blend () is called more than once, and steps are looked at */
  DiffusionPicture *original;    /* for blending: the picture before, and when previewed what the engine made of it; */
  DiffusionPicture *engine_made; /* the blend is the region's picture */
  GMutex            mutex;
  DiffusionPicture *step;   /* the newest step's idea of region->rect, reduced; guarded by the mutex */
  DiffusionPicture *canvas; /* where that is put together from parts */
} Job;

/* Takes the region.  noise: an estimate made before, or NULL. */
Job *job_new (const Filter *filter, GObject *config, Region *region, DiffusionModel *model,
              const DiffusionNoise *noise);
void job_free (Job *job);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Job, job_free)

/* The engine's part, on any thread, after the region has been read: the network, and then without it the blend. */
gboolean job_compute (Job *job, GCancellable *cancellable, GError **error);
gboolean job_blend (Job *job, GError **error);

/* What the pictures of a job take that has been computed. */
double job_get_bytes (const Job *job);

/* The newest step since the last call: region->rect, reduced as region_get_reduction () says.  To be freed by the
 * caller; NULL: none. */
DiffusionPicture *job_take_step (Job *job);

/* How the engine is to run: what the settings leave to the model is the model's own. */
DiffusionOptions process_get_options (FilterKind kind, const Settings *settings, const DiffusionModel *model);

/* How holes are to be filled. */
DiffusionInpaintOptions process_get_inpaint_options (const Settings *settings);

/* With a checkpoint: what it is handed of the drawable, or of what lies beyond. */
GeglRectangle process_get_outer (FilterKind kind, const Settings *settings, const DiffusionModel *model,
                                 const GeglRectangle *selected);

/* How often the network is asked for each pixel: in each step, and once more to denoise with a strength above 1; never
 * where there is no noise.  noise: what was estimated; NULL if it is not known. */
int process_get_calls (FilterKind kind, const Settings *settings, const DiffusionModel *model,
                       const DiffusionNoise *noise);
/* How many floats are kept for each pixel of a region, its picture among them; masked: there is a selection.  Not for
 * fills and checkpoints, which tell it themselves. */
int process_count_floats (FilterKind kind, const Settings *settings, const DiffusionModel *model, gboolean masked);

/* What the filter needs of the drawable, to be read: for a whole run, or for a view.  with_weights: the noise of what
 * is selected will be estimated. */
Region *process_make_region (const Filter *filter, HostDrawable drawable, const Settings *settings,
                             const DiffusionModel *model, const GeglRectangle *view, gboolean with_weights,
                             GError **error);

/* A run on so much is done in bands of this many rows, each of which is read, computed and put aside before the next;
 * 0: all at once.  Bands give the same result: each is computed with *margin rows above and below. */
int process_get_band (const Filter *filter, const Settings *settings, const DiffusionModel *model, int width,
                      int height, int *margin);

/* The noise of a region that was read with weights; on any thread. */
gboolean process_estimate (Region *region, DiffusionNoise *noise, GError **error);

/* The model of this name, or the filter's usual one for an empty name or NULL. */
DiffusionModel *process_load_model (const Filter *filter, const char *name, GCancellable *cancellable, GError **error);

typedef void (*ProcessProgress) (double fraction, gpointer data);

/* FALSE, with a sentence, if the filter cannot work on the drawable, or cannot put its result where it is to go. */
gboolean process_check (const Filter *filter, HostDrawable drawable, GObject *config, GError **error);

/* Runs the filter.  noise: an estimate made before, or NULL.  While it works, the main context is kept going and
 * progress is called from it.  noise_used, for a filter that removes noise, comes in 8-bit units. */
gboolean process_run (const Filter *filter, HostDrawable drawable, GObject *config, DiffusionModel *model,
                      const DiffusionNoise *noise, ProcessProgress progress, gpointer data, GCancellable *cancellable,
                      double *noise_used, GError **error);

/* Which of GIMP's outcomes an error is. */
GimpPDBStatusType process_get_status (const GError *error);

G_END_DECLS
