/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * What of a drawable is selected.  Everything here belongs to the main thread.
 */
#pragma once

#include <gegl.h>

#include "host.h"

G_BEGIN_DECLS

/* What was selected at some moment, so that a later one can be compared with it. */
typedef struct
{
  GeglRectangle bounds;   /* in the drawable's coordinates; no width: nothing of it is selected */
  gboolean      any;      /* there is a selection; else all of the drawable is selected */
  guint64       checksum; /* of the selection's pixels within the bounds */
} Selection;

/* Of a drawable that does not exist any more, nothing is selected. */
Selection selection_look (HostDrawable drawable);
gboolean  selection_equal (const Selection *a, const Selection *b);

/* The bounds alone, which cost next to nothing. */
GeglRectangle selection_get_bounds (HostDrawable drawable);

/* The rectangle of the drawable that is selected; FALSE with a sentence if it is none. */
gboolean selection_find (HostDrawable drawable, GeglRectangle *rect, GError **error);

/* FALSE, with a sentence, if no pixel of the drawable is selected, or nothing at all although that is needed; rect: the
 * rectangle that is, or NULL. */
gboolean selection_check (HostDrawable drawable, gboolean needed, GeglRectangle *rect, GError **error);

/* Sets the error of a selection that lies beside the drawable; FALSE. */
gboolean selection_fail_beside (GError **error);

/* The selection's pixels, in the image's coordinates; to be unreferenced. */
GeglBuffer *selection_get_buffer (HostDrawable drawable);

G_END_DECLS
