/* How tensors and operations are described to oneDNN.  SPDX-License-Identifier: GPL-3.0-or-later
 *
 * The C interface changed between versions 2 and 3: the differences are here and nowhere else. */
#pragma once

#include "compute.h"

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR >= 3
typedef const_dnnl_memory_desc_t MemoryDesc;
typedef dnnl_memory_desc_t       OwnedDesc;
#define DESC(owned)       (owned)
#define DESC_CLEAR(owned) g_clear_pointer (&(owned), dnnl_memory_desc_destroy)
#else
typedef const dnnl_memory_desc_t *MemoryDesc;
typedef dnnl_memory_desc_t        OwnedDesc;
#define DESC(owned)       (&(owned))
#define DESC_CLEAR(owned) ((void) (owned))
#endif

typedef enum
{
  PASS_FORWARD,
  PASS_BACKWARD_DATA,
  PASS_BACKWARD_WEIGHTS
} Pass;

/* Whether instruction sets have all that others have.  Their numbers are sets of bits, not ranks: that of AVX2-VNNI is
 * larger than that of AVX512-BF16, which it lacks. */
static inline gboolean
onednn_isa_has (dnnl_cpu_isa_t isa, dnnl_cpu_isa_t wanted)
{
  return (isa & wanted) == wanted;
}

/* The tensors of a convolution as oneDNN is told of them. */
typedef struct
{
  OwnedDesc   x, weights, bias, y;
  gboolean    has_bias;
  dnnl_dims_t strides, pad_low, pad_high;
} Problem;

/* A tensor in a layout that oneDNN has a name for, or one with so many elements from value to value. */
dnnl_status_t onednn_desc_init (OwnedDesc *desc, int dims, const dnnl_dims_t sizes, dnnl_data_type_t type,
                                dnnl_format_tag_t tag);
dnnl_status_t onednn_desc_init_strides (OwnedDesc *desc, int dims, const dnnl_dims_t sizes, dnnl_data_type_t type,
                                        const dnnl_dims_t strides);
/* Working memory from the caller, and the epilogue. */
dnnl_status_t onednn_attributes_create (dnnl_primitive_attr_t *attributes, ConvEpilogue epilogue);

/* Convolutions; hint: the same problem as a forward pass. */
dnnl_status_t onednn_desc_create_forward (dnnl_primitive_desc_t *desc, Problem *p, dnnl_prop_kind_t kind,
                                          dnnl_primitive_attr_t attributes, dnnl_engine_t engine);
dnnl_status_t onednn_desc_create_backward (dnnl_primitive_desc_t *desc, Problem *p, Pass pass,
                                           dnnl_primitive_attr_t attributes, dnnl_engine_t engine,
                                           dnnl_primitive_desc_t hint);
/* Matrices: x times weights. */
dnnl_status_t onednn_desc_create_product (dnnl_primitive_desc_t *desc, Problem *p, dnnl_primitive_attr_t attributes,
                                          dnnl_engine_t engine);
