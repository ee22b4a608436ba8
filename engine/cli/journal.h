/* gimp-diffusion: what a training shows and writes down as it goes on
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#pragma once

#include "diffusion.h"

G_BEGIN_DECLS

#define JOURNAL_SUFFIX ".progress"

typedef struct
{
  gboolean             watched;   /* a person looks at the terminal */
  gint64               last_line; /* when it was printed; 0: not yet */
  DiffusionTrainReport report;    /* the last one */
  char                *folder;    /* for curve and samples */
  DiffusionPicture    *picture;   /* what samples are made of; may be NULL */
  GArray              *points;    /* of the curve */
  DiffusionTrainMix    mix;
  int                  threads;
  GCancellable        *cancellable;
  GError              *trouble; /* the first thing that could not be drawn or written: no reason to stop training */
} Journal;

/* Curve and samples go into the folder NAME.progress beside the model to be, NAME being its file's without the
 * extension.  A resumed training goes on with the curve that is there.  picture: what to make samples of, read from
 * that path, or NULL.
 */
gboolean journal_init (Journal *journal, const DiffusionTrainOptions *options, const DiffusionPicture *picture,
                       const char *path, GCancellable *cancellable, GError **error);
void     journal_clear (Journal *journal);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Journal, journal_clear)

/* Callbacks for DiffusionTrainOptions; user_data is the journal. */
void journal_report (const DiffusionTrainReport *report, gpointer user_data);
void journal_take_stock (const DiffusionModel *model, const DiffusionTrainReport *report, gpointer user_data);

/* Ends the line of the progress bar. */
void journal_finish_line (const Journal *journal);

G_END_DECLS
