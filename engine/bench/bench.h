/* What the parts of the bench share.  SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

#include "core/core.h"

typedef struct
{
  const DiffusionModel *model;
  int                   threads;
  Pool                 *pool;
  DiffusionBenchFunc    func;
  gpointer              user_data;
  GCancellable         *cancellable;
  double                sgemm_gflops; /* once measured */
} Bench;

void bench_tell (const Bench *bench, const char *key, double value);
/* A field of /proc/self/status, kB; 0: there is none. */
double bench_read_status (const char *field);

/* One evaluation of a checkpoint's U-Net and one decoding, at 512 x 512 pixels. */
gboolean bench_checkpoint (const Bench *bench, GError **error);
