/* oneDNN's descriptions, in both of its interfaces.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "onednn-describe.h"

dnnl_status_t
onednn_desc_init (OwnedDesc *desc, int dims, const dnnl_dims_t sizes, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_desc_create_with_tag (desc, dims, sizes, type, tag);
#else
  return dnnl_memory_desc_init_by_tag (desc, dims, sizes, type, tag);
#endif
}

dnnl_status_t
onednn_desc_init_strides (OwnedDesc *desc, int dims, const dnnl_dims_t sizes, dnnl_data_type_t type,
                          const dnnl_dims_t strides)
{
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_memory_desc_create_with_strides (desc, dims, sizes, type, strides);
#else
  return dnnl_memory_desc_init_by_strides (desc, dims, sizes, type, strides);
#endif
}

dnnl_status_t
onednn_attributes_create (dnnl_primitive_attr_t *attributes, ConvEpilogue epilogue)
{
  dnnl_post_ops_t operations = NULL;
  dnnl_status_t   status = dnnl_primitive_attr_create (attributes);

  if (status == dnnl_success)
    status = dnnl_primitive_attr_set_scratchpad_mode (*attributes, dnnl_scratchpad_mode_user);
  if (status == dnnl_success)
    status = dnnl_post_ops_create (&operations);
#if DNNL_VERSION_MAJOR >= 3
  if (status == dnnl_success && epilogue == EPILOGUE_SILU)
    status = dnnl_post_ops_append_eltwise (operations, dnnl_eltwise_swish, 1.0f, 0.0f);
  if (status == dnnl_success && epilogue == EPILOGUE_ADD)
    status = dnnl_post_ops_append_sum (operations, 1.0f, 0, dnnl_data_type_undef);
#else
  if (status == dnnl_success && epilogue == EPILOGUE_SILU)
    status = dnnl_post_ops_append_eltwise (operations, 1.0f, dnnl_eltwise_swish, 1.0f, 0.0f);
  if (status == dnnl_success && epilogue == EPILOGUE_ADD)
    status = dnnl_post_ops_append_sum (operations, 1.0f);
#endif
  if (status == dnnl_success)
    status = dnnl_primitive_attr_set_post_ops (*attributes, operations);
  dnnl_post_ops_destroy (operations);
  return status;
}

dnnl_status_t
onednn_desc_create_forward (dnnl_primitive_desc_t *desc, Problem *p, dnnl_prop_kind_t kind,
                            dnnl_primitive_attr_t attributes, dnnl_engine_t engine)
{
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_convolution_forward_primitive_desc_create (desc, engine, kind, dnnl_convolution_direct, p->x, p->weights,
                                                         p->has_bias ? p->bias : NULL, p->y, p->strides, NULL,
                                                         p->pad_low, p->pad_high, attributes);
#else
  dnnl_convolution_desc_t operation;
  dnnl_status_t           status;

  status
      = dnnl_convolution_forward_desc_init (&operation, kind, dnnl_convolution_direct, &p->x, &p->weights,
                                            p->has_bias ? &p->bias : NULL, &p->y, p->strides, p->pad_low, p->pad_high);
  return status == dnnl_success ? dnnl_primitive_desc_create (desc, &operation, attributes, engine, NULL) : status;
#endif
}

dnnl_status_t
onednn_desc_create_product (dnnl_primitive_desc_t *desc, Problem *p, dnnl_primitive_attr_t attributes,
                            dnnl_engine_t engine)
{
#if DNNL_VERSION_MAJOR >= 3
  return dnnl_matmul_primitive_desc_create (desc, engine, p->x, p->weights, NULL, p->y, attributes);
#else
  dnnl_matmul_desc_t operation;
  dnnl_status_t      status = dnnl_matmul_desc_init (&operation, &p->x, &p->weights, NULL, &p->y);

  return status == dnnl_success ? dnnl_primitive_desc_create (desc, &operation, attributes, engine, NULL) : status;
#endif
}

dnnl_status_t
onednn_desc_create_backward (dnnl_primitive_desc_t *desc, Problem *p, Pass pass, dnnl_primitive_attr_t attributes,
                             dnnl_engine_t engine, dnnl_primitive_desc_t hint)
{
#if DNNL_VERSION_MAJOR >= 3
  if (pass == PASS_BACKWARD_DATA)
    return dnnl_convolution_backward_data_primitive_desc_create (desc, engine, dnnl_convolution_direct, p->x,
                                                                 p->weights, p->y, p->strides, NULL, p->pad_low,
                                                                 p->pad_high, hint, attributes);
  return dnnl_convolution_backward_weights_primitive_desc_create (
      desc, engine, dnnl_convolution_direct, p->x, p->weights, p->has_bias ? p->bias : NULL, p->y, p->strides, NULL,
      p->pad_low, p->pad_high, hint, attributes);
#else
  dnnl_convolution_desc_t operation;
  dnnl_status_t           status;

  if (pass == PASS_BACKWARD_DATA)
    status = dnnl_convolution_backward_data_desc_init (&operation, dnnl_convolution_direct, &p->x, &p->weights, &p->y,
                                                       p->strides, p->pad_low, p->pad_high);
  else
    status = dnnl_convolution_backward_weights_desc_init (&operation, dnnl_convolution_direct, &p->x, &p->weights,
                                                          p->has_bias ? &p->bias : NULL, &p->y, p->strides, p->pad_low,
                                                          p->pad_high);
  return status == dnnl_success ? dnnl_primitive_desc_create (desc, &operation, attributes, engine, hint) : status;
#endif
}
