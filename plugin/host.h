/* gimp-diffusion: a diffusion model engine for photographs
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Lets GIMP 2.10 be spoken to in the words of GIMP 3, and names what only the entry point of each version can do.
 * This is the one header that asks for GIMP's version.
 */
#pragma once

#include <gegl.h>
#include <libgimp/gimp.h>
#include <libgimp/gimpui.h>

#include "params.h"

#if GIMP_CHECK_VERSION(2, 99, 0)

typedef GimpImage     *HostImage;
typedef GimpItem      *HostItem;
typedef GimpDrawable  *HostDrawable;
typedef GimpLayer     *HostLayer;
typedef GimpChannel   *HostChannel;
typedef GimpLayerMask *HostMask;

#define HOST_NONE NULL

#define HOST_PDB_ERROR() gimp_pdb_get_last_error (gimp_get_pdb ())

#else

typedef gint32 HostImage;
typedef gint32 HostItem;
typedef gint32 HostDrawable;
typedef gint32 HostLayer;
typedef gint32 HostChannel;
typedef gint32 HostMask;

#define HOST_NONE (-1)

#define HOST_PDB_ERROR() gimp_get_pdb_error ()

#define gimp_item_get_lock_visibility(id) FALSE /* there is no such lock */

#define GIMP_ITEM(id)             (id)
#define GIMP_DRAWABLE(id)         (id)
#define GIMP_LAYER(id)            (id)
#define GIMP_LAYER_MASK(id)       (id)
#define gimp_drawable_get_width   gimp_drawable_width
#define gimp_drawable_get_height  gimp_drawable_height
#define gimp_drawable_get_offsets gimp_drawable_offsets
#define gimp_image_get_width      gimp_image_width
#define gimp_image_get_height     gimp_image_height

#endif

/* The rest is defined in main-gimp2.c and again in main-gimp3.c. */

/* What the entry point of this version needs to make a dialog; the shared code only carries it. */
typedef struct _HostDialogContext HostDialogContext;

/* Starts GTK; only interactive runs may, because it needs a display. */
void host_ui_init (void);

/* A dialog window of GIMP's kind, with the body in it and buttons for GTK_RESPONSE_OK and GTK_RESPONSE_CANCEL. */
GtkWidget *host_dialog_new (const Filter *filter, HostDialogContext *context, GObject *config, GtkWidget *body);

/* Runs the dialog until the user has decided: TRUE means OK.  The window stays. */
gboolean host_dialog_run (GtkWidget *dialog, GObject *config);

/* The colour space of the drawable's pixels, where their format does not tell it; NULL: it does, or there is none. */
const Babl *host_get_space (HostDrawable drawable);

/* Which layers or channels of an image are active, and back to them; restoring frees. */
typedef struct _HostActive HostActive;

HostActive *host_active_get (HostImage image);
void        host_active_restore (HostImage image, HostActive *active);
