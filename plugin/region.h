/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The part of a drawable that a filter works on: read into a picture for the engine, and written back so that nothing
 * changes but what the engine changed.  Everything here belongs to the main thread, except where it says otherwise.
 */
#pragma once

#include <gegl.h>

#include "engine/diffusion.h"
#include "host.h"

G_BEGIN_DECLS

typedef struct
{
  HostDrawable  drawable;
  const Babl   *native; /* the drawable's pixels */
  const Babl   *seen;  /* the same as the engine sees them: perceptual floats with alpha, in the layer's colour space */
  GeglRectangle rect;  /* what is to change, in the drawable's coordinates */
  GeglRectangle outer; /* rect and the context around it, as far as the drawable has it */
  gboolean      masked;      /* there is a selection */
  DiffusionPicture *picture; /* of outer; NaN where a pixel means nothing */
  DiffusionPicture *weights; /* of outer: which pixels tell about the noise; NULL if nobody asked */
  int               rows;    /* read so far */
  GeglBuffer       *source;  /* while reading */
  GeglBuffer       *selection;
  int               selection_x, selection_y; /* the drawable's place in the image */
} Region;

/* Called between strips of rows; FALSE stops. */
typedef gboolean (*RegionTick) (double fraction, gpointer data, GError **error);

/* FALSE, with a sentence that names the remedy, if no filter can change this drawable. */
gboolean region_check (HostDrawable drawable, GError **error);

/* The rectangle of the selection in the drawable, with margin pixels of context. */
Region *region_new_selected (HostDrawable drawable, int margin, gboolean with_weights, GError **error);
/* Any rectangle. */
Region *region_new_view (HostDrawable drawable, const GeglRectangle *view, int margin, GError **error);
void    region_free (Region *region);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Region, region_free)

/* Reads the next strip of rows; *done tells whether it was the last. */
gboolean region_read_strip (Region *region, gboolean *done, GError **error);
/* Reads all that is left. */
gboolean region_read (Region *region, RegionTick tick, gpointer data, GError **error);

/* After reading, on any thread: gives meaningless pixels a continuation of their surroundings.  *any is FALSE if there
 * was not one pixel that means something. */
gboolean region_prepare (Region *region, gboolean *any, GError **error);

/* Writes the picture into the drawable, through the selection, as one undo step. */
gboolean region_write (Region *region, RegionTick tick, gpointer data, GError **error);

/* On any thread: finds the conversions that region_render () will want, which takes babl a while the first time. */
void region_warm_up (const Region *region, const Babl *shown);
/* Converts a part of rect to the format, as it will look when this picture, of outer's size, has been written. */
gboolean region_render (Region *region, const DiffusionPicture *picture, const GeglRectangle *part, const Babl *format,
                        guchar *pixels, GError **error);
/* The same of the drawable as it is. */
void region_render_original (HostDrawable drawable, const GeglRectangle *part, const Babl *format, guchar *pixels);

G_END_DECLS
