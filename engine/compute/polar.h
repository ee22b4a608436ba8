/* Orthogonal factors of matrices.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include <glib.h>

/* Floats of working memory that polar_find () needs. */
#define POLAR_WORK(columns) (3 * (gsize) (columns) * (gsize) (columns))

/* q [columns][columns] such that x q, of x [rows][columns] with rows >= columns, has singular values near 1 (0.68 to
 * 1.21) wherever x's are not below a five-hundredth of its norm: about the orthogonal factor of x's polar
 * decomposition. FALSE, and q is zero, if x is zero or not finite. */
gboolean polar_find (const float *x, int rows, int columns, float *q, float *work);
/* y [rows][columns] += scale * x q. */
void polar_apply (const float *x, int rows, int columns, const float *q, float scale, float *y);
