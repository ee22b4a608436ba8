/* Rows of matrix products and their last bit.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "rows.h"

#include <cblas.h>
#include <string.h>

/* Whether a row of a product is the same bits wherever it stands, if what is before it and the whole are multiples of
 * `rows`. */
static gboolean
is_row_group (int rows)
{
  enum
  {
    ROWS = 48,
    SIDE = 32
  };
  float a[ROWS * SIDE], b[SIDE * SIDE], whole[ROWS * SIDE], part[ROWS * SIDE];

  for (int i = 0; i < ROWS * SIDE; i++)
    a[i] = 1.0f / (float) (3 + i % 101);
  for (int i = 0; i < SIDE * SIDE; i++)
    b[i] = 1.0f / (float) (7 + i % 89);
  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, ROWS, SIDE, SIDE, 1.0f, a, SIDE, b, SIDE, 0.0f, whole, SIDE);
  for (int first = 0; first < ROWS; first += rows)
    for (int count = rows; first + count <= ROWS; count += rows)
      {
        cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, count, SIDE, SIDE, 1.0f, a + first * SIDE, SIDE, b,
                     SIDE, 0.0f, part, SIDE);
        if (memcmp (part, whole + first * SIDE, (gsize) count * SIDE * sizeof (float)) != 0)
          return FALSE;
      }
  return TRUE;
}

/* Whether a row of a product is the same bits at each place of a share of `rows` rows. */
static gboolean
is_share (int rows)
{
  enum
  {
    ROWS = 24,
    SIDE = 32
  };
  float a[ROWS * SIDE], b[SIDE * SIDE], c[ROWS * SIDE];

  for (int i = 0; i < ROWS * SIDE; i++)
    a[i] = 1.0f / (float) (3 + i % SIDE);
  for (int i = 0; i < SIDE * SIDE; i++)
    b[i] = 1.0f / (float) (7 + i % 89);
  cblas_sgemm (CblasRowMajor, CblasNoTrans, CblasNoTrans, ROWS, SIDE, SIDE, 1.0f, a, SIDE, b, SIDE, 0.0f, c, SIDE);
  for (int r = 0; r < ROWS; r++)
    if (memcmp (c + r * SIDE, c + r / rows * rows * SIDE, SIDE * sizeof (float)) != 0)
      return FALSE;
  return TRUE;
}

gsize
rows_get_group (void)
{
  static gsize group;

  if (g_once_init_enter (&group))
    g_once_init_leave (&group, ! is_row_group (1) && is_row_group (12) ? 12 : 1);
  return group;
}

gsize
rows_get_kinds (void)
{
  static gsize kinds;
  gsize        group = rows_get_group ();

  if (g_once_init_enter (&kinds))
    g_once_init_leave (&kinds, group == 1 ? 1 : is_share ((int) group / 2) ? 2 : group);
  return kinds;
}

gsize
rows_round_up (gsize rows)
{
  gsize group = rows_get_group ();

  return (rows + group - 1) / group * group;
}
