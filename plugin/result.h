/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * How a filter's result gets into the drawable.  Everything here belongs to the main thread.
 */
#pragma once

#include "region.h"

G_BEGIN_DECLS

/* The drawable's new pixels, which are collected part by part, and then written all at once, as one undo step; through
 * the selection, unless the picture is final. */
typedef struct _Result Result;

/* like: any part of what is to be written.  rect: all of it.  NULL, with a sentence, without memory for it. */
Result  *result_new (const Region *like, const GeglRectangle *rect, GError **error);
gboolean result_add (Result *result, const Region *part, RegionTick tick, gpointer data, GError **error);
/* FALSE, with a sentence, if the drawable or its selection is not what the result was made of, pixel by pixel: users go
 * on painting while the engine works, and writing would paint that over. */
gboolean result_check (Result *result, const Region *like, RegionTick tick, gpointer data, GError **error);
/* Right after result_check (): what comes before may already belong to an undo step. */
gboolean result_write (Result *result, const Region *like, GError **error);
void     result_free (Result *result);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Result, result_free)

G_END_DECLS
