/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What a run will take, said before it starts.
 */
#pragma once

#include "engine/diffusion.h"

G_BEGIN_DECLS

/* How fast this machine is with a model now. */
typedef struct
{
  double pixel;     /* seconds for a pixel and step */
  double recent[3]; /* what previews took for a pixel and step, the last one first; 0: there were none yet */
} Pace;

typedef struct
{
  double seconds;
  double bytes; /* of the whole process at its peak */
} Cost;

/* On any thread: the first work of a model prepares its weights.  After some of no other use, work can be timed. */
gboolean pace_warm_up (const DiffusionModel *model, GCancellable *cancellable, GError **error);

/* Measures, on any thread, in a fraction of a second; the first work of a model, which prepares its weights, is not
 * counted. */
gboolean pace_measure (Pace *pace, const DiffusionModel *model, GCancellable *cancellable, GError **error);

/* A preview has taken seconds for a pixel and step.  The machine may have done something else meanwhile, so the middle
 * one of the last three counts.  painted: its steps were painted as they came, which slows it down, so it can only tell
 * that the machine is faster than it was thought. */
void pace_learn (Pace *pace, double seconds, gboolean painted);

/* In bands of how many rows so much is best worked on, if each has a margin above and below that is worked on twice;
 * 0: all at once, for bands would save nothing. */
int cost_get_band (int width, int height, int margin);

/* steps: network calls for each of width x height pixels.  band: so many rows are worked on at a time, and a margin
 * above and below; 0: all.  floats: how many are kept for each pixel of these.  What the process has in memory now
 * stays there, the model's prepared weights included. */
void cost_estimate (Cost *cost, const Pace *pace, int width, int height, int band, int margin, double steps,
                    int floats);

/* A checkpoint's costs come from a measurement that is made once: now, instead of when it holds up the interface. */
void cost_warm_up (const DiffusionModel *model);

/* Adds what is kept of a region of so many pixels while a checkpoint works on it: its picture, the selection if there
 * is one, and the picture that each variant starts from if there are several. */
void cost_add_region (Cost *cost, double pixels, gboolean masked, int variants);

/* Adds the new pixels, of so many bytes each, which are all in memory before the layer is written. */
void cost_add_result (Cost *cost, double pixels, int pixel_bytes);

/* A fill of holes among so many pixels that has once taken these seconds and, at its peak, bytes. */
void cost_estimate_fill (Cost *cost, double pixels, double seconds, double bytes, int variants);

/* How long something takes, for users: in whole seconds, one at least.  Free with g_free (). */
char *cost_format_time (double seconds);

/* What the process has in memory now, and has had at most since cost_reset_peak (), in bytes; 0 if the system does not
 * tell. */
double cost_get_memory (void);
double cost_get_peak (void);
void   cost_reset_peak (void);

G_END_DECLS
