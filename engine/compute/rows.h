/* Rows of matrix products and their last bit.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * On some processors (OpenBLAS's Haswell and Zen kernels) a row of a product depends, in its last bit, on its place
 * among the others: on the half of a group of 12 that it is in, and on whether it is one of the last that make no whole
 * 12.  So where a result must not depend on how rows were divided, each keeps a place of its kind in whole groups. */
#pragma once

#include <glib.h>

/* Rows of a group: 12 on such processors, else 1. */
gsize rows_get_group (void);
/* How many kinds of places a group has, each a share of it that lies together: 2 on such processors, else 1; or as many
 * as rows, where nothing better is known. */
gsize rows_get_kinds (void);
/* The count of rows that makes whole groups of `rows` and some more. */
gsize rows_round_up (gsize rows);
