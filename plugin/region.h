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
#include "pixels.h"
#include "selection.h"

G_BEGIN_DECLS

typedef struct _RegionHole RegionHole;

/* Rows of the drawable as they were when they were read. */
typedef struct
{
  GeglRectangle rect;
  guint64       checksum; /* of the pixels in the drawable's format */
} RegionStrip;

typedef struct
{
  HostDrawable  drawable;
  const Babl   *native; /* the drawable's pixels */
  const Babl   *seen;  /* the same as the engine sees them: perceptual floats with alpha, in the layer's colour space */
  GeglRectangle layer; /* all of the drawable, as it was when the region was made */
  GeglRectangle rect;  /* what is to change, in the drawable's coordinates */
  GeglRectangle outer; /* rect and the context around it, as far as the drawable has it */
  Selection     selected;    /* as it was when the region was made; without bounds for a view */
  gboolean      masked;      /* there is a selection */
  gboolean      final;       /* the filter has heeded the selection: what it made is not mixed in by it once more */
  DiffusionPicture *picture; /* of outer; NaN where a pixel means nothing */
  DiffusionPicture *weights; /* of outer: which pixels tell about the noise; NULL if nobody asked */
  DiffusionPicture *mask;    /* of outer: the selection; NULL: all is selected, or nobody asked */
  gboolean          weighed, heeding; /* weights, or a mask, are asked for */
  RegionHole       *hole;    /* yet to be found: until then outer is where its mask is read, and there is no picture */
  gboolean          visible; /* of what is selected something is not wholly transparent, as far as it has been read */
  int               rows;    /* read so far */
  GArray           *strips;  /* of rect, from its top, as far as it has been read; NULL: it is not to be written */
  int               apart;   /* of this many strips one is read, and the picture has only these; 1: all */
  GeglBuffer       *source;  /* while reading */
  GeglBuffer       *selection;
  int               selection_x, selection_y; /* the drawable's place in the image */
} Region;

enum
{
  /* Pixels of a region that is kept in memory as a whole; what is larger is sampled for an estimate, and denoised in
   * bands. */
  REGION_WHOLE_MOST = 32 * 1000 * 1000
};

/* Called between strips of rows; FALSE stops. */
typedef gboolean (*RegionTick) (double fraction, gpointer data, GError **error);

/* Starts GEGL, whose buffers everything here works with; once, before all else. */
void region_init (void);
/* When the procedure has returned: ends GEGL if it was started (a query does without it), which reports buffers that
 * were forgotten. */
void region_exit (void);

/* FALSE, with a sentence that names the remedy, if this drawable is none that a filter can work on. */
gboolean region_check (HostDrawable drawable, GError **error);
/* FALSE, with a sentence, if the user has locked what a result would change: the drawable's pixels, or the group that
 * it would come into as a layer beside the drawable.  That is no reason not to look at the drawable. */
gboolean region_check_lock (HostDrawable drawable, gboolean beside, GError **error);
/* FALSE, with a sentence, if the drawable does not have all of a rectangle that it once had. */
gboolean region_check_view (HostDrawable drawable, const GeglRectangle *view, GError **error);

/* None of these takes memory for pixels, or reads any: that is what region_find () and region_read_strip () do in turn.
 */

/* The rectangle of the selection in the drawable, with margin pixels of context; weighed: with weights. */
Region *region_new_selected (HostDrawable drawable, int margin, gboolean weighed, GError **error);
/* Any rectangle of the drawable. */
Region *region_new_view (HostDrawable drawable, const GeglRectangle *view, int margin, GError **error);
/* For an estimate: the selection's rectangle with weights, thinned out to strips of rows if it is large.  It cannot be
 * written. */
Region *region_new_sample (HostDrawable drawable, int margin, GError **error);
/* Rows of another region's rectangle, y counted from its first.  All bands of it are of one layer and selection: that
 * they still are is seen when they are compared with the drawable. */
Region *region_new_band (const Region *whole, int y, int height, int margin);
/* What filling the selection may change, with what it is filled from around it, and at least so much as the margin
 * says; with a view, what holes in it need, which may be nothing.  The region has a mask; where it lies is known when
 * that was read.  Fails if nothing is selected. */
Region *region_new_hole (HostDrawable drawable, const GeglRectangle *view, const DiffusionInpaintOptions *inpaint,
                         int margin, GError **error);
void    region_free (Region *region);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Region, region_free)

/* The region shall have a mask, if there is a selection. */
void region_heed_selection (Region *region);

/* On any thread, before anything is read and again when all has been: makes room for what is to be read next, of which
 * the mask of a hole comes first.  *more is FALSE if nothing is. */
gboolean region_find (Region *region, GCancellable *cancellable, gboolean *more, GError **error);
/* Reads the next strip of rows; *done tells whether it was the last. */
gboolean region_read_strip (Region *region, gboolean *done, GError **error);

/* After reading, on any thread; *any is FALSE if there is not one pixel that means something.  smooth: gives
 * meaningless pixels a continuation of their surroundings; else they stay NAN, for what can tell them from the others.
 */
gboolean region_prepare (Region *region, gboolean smooth, gboolean *any, GError **error);

/* FALSE, with a sentence, if all that is selected is transparent; of a region that is to be written, after reading. */
gboolean region_check_visible (const Region *region, GError **error);
/* FALSE, with a sentence, if the drawable's size, its format or the selection is not what it was when the region was
 * made. */
gboolean region_check_unchanged (const Region *region, GError **error);
/* The same but for the selection, at no cost. */
gboolean region_check_layer (const Region *region, GError **error);
/* The same as that for the pixels of strips, RegionStrip each, which were read from the same drawable; NULL: of none.
 */
gboolean region_check_pixels (const Region *region, const GArray *strips, RegionTick tick, gpointer data,
                              GError **error);
/* Sets the error of a drawable that has changed; FALSE. */
gboolean region_fail_changed (GError **error);
/* Sets that of a region for which there is not enough memory; FALSE. */
gboolean region_fail_memory (GError **error);

/* Sets pixels, which cover rect, to the drawable's new ones: mixed with the old ones by the selection, or as they would
 * be without one. */
gboolean region_write_pixels (const Region *region, Pixels *pixels, gboolean mixed, RegionTick tick, gpointer data,
                              GError **error);

/* Starts a thread that finds the conversions between pixel formats that a view of the drawable will want, the shown one
 * among them: babl measures them when it is first asked, which takes longer than a dialog may stand still.  To be
 * joined. */
GThread *region_warm_up (HostDrawable drawable, const Babl *shown);
/* By how much the steps of a filter are reduced in width and height, as they are only to be looked at. */
int region_get_reduction (const Region *region);
/* How a drawable is shown.  Its pixels stay open while a picture of it is rendered piece by piece, since GIMP hands
 * them out by tiles, of which a piece takes a few rows. */
typedef struct
{
  HostDrawable drawable;
  const Babl  *space;  /* of its pixels, as host_get_space () says */
  const Babl  *format; /* of what is shown */
  GeglBuffer  *pixels; /* NULL: not open */
} RegionScreen;

/* After a picture, for the next one to have what is in the drawable then. */
void region_screen_close (RegionScreen *screen);

/* Renders a part of rect, as it will look when this picture has been written: one of outer, or a step of rect.  stride:
 * bytes from row to row of what is shown. */
gboolean region_render (Region *region, const DiffusionPicture *picture, const GeglRectangle *part,
                        RegionScreen *screen, guchar *shown, gsize stride, GError **error);
/* The same of the drawable as it is. */
gboolean region_render_original (RegionScreen *screen, const GeglRectangle *part, guchar *shown, gsize stride,
                                 GError **error);

G_END_DECLS
