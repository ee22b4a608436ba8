/* Convolutions as plain loops: slow, short, and what every other back end is held against.  SPDX-License-Identifier:
 * GPL-3.0-or-later */
#include "compute.h"
#include "vector.h"

typedef struct
{
  Conv   conv;
  float *weights, *bias;
} ReferenceConv;

static gboolean
reference_is_available (void)
{
  return TRUE;
}

static Conv *
reference_conv_new (const ConvShape *shape, gboolean training, GError **error)
{
  ReferenceConv *conv = g_new0 (ReferenceConv, 1);

  conv->conv = (Conv){ &compute_reference, *shape };
  conv->weights = core_alloc0 (conv_shape_count_weights (shape), sizeof (float), error);
  conv->bias = conv->weights ? core_alloc0 ((gsize) shape->c_out, sizeof (float), error) : NULL;
  if (! conv->bias)
    {
      compute_reference.conv_free (&conv->conv);
      return NULL;
    }
  return &conv->conv;
}

static gboolean
reference_conv_set_weights (Conv *conv, const float *weights, const float *bias, Scratch *scratch, GError **error)
{
  ReferenceConv *self = (ReferenceConv *) conv;

  memcpy (self->weights, weights, conv_shape_count_weights (&conv->shape) * sizeof (float));
  memcpy (self->bias, bias, (gsize) conv->shape.c_out * sizeof (float));
  return TRUE;
}

static void
reference_conv_free (Conv *conv)
{
  ReferenceConv *self = (ReferenceConv *) conv;

  core_free (self->weights);
  core_free (self->bias);
  g_free (self);
}

/* Visits every product of the convolution: calls visit for each triple of an input pixel, an output pixel and a tap.
 * Forward and both backward passes are the same walk with other things done on the way. */
typedef void (*Visit) (const ConvShape *shape, gsize in, gsize out, int tap, gpointer data);

static void
walk (const ConvShape *shape, const ConvPiece *piece, Visit visit, gpointer data)
{
  int edge = shape->kind == CONV_SAME3 ? 3 : 2;
  int rows_in = conv_piece_rows_in (shape, piece);

  for (int n = 0; n < piece->n; n++)
    for (int y = 0; y < piece->rows; y++)
      for (int x = 0; x < piece->width; x++)
        for (int p = 0; p < edge; p++)
          for (int q = 0; q < edge; q++)
            {
              gsize coarse = ((gsize) n * (gsize) piece->rows + (gsize) y) * (gsize) piece->width + (gsize) x;
              gsize fine = (((gsize) n * (gsize) piece->rows + (gsize) y) * 2 + (gsize) p) * (gsize) piece->width * 2
                           + (gsize) x * 2 + (gsize) q;

              if (shape->kind == CONV_DOWN2)
                visit (shape, fine, coarse, p * 2 + q, data);
              else if (shape->kind == CONV_UP2)
                visit (shape, coarse, fine, p * 2 + q, data);
              else
                {
                  int v = y + p - piece->top, u = x + q - 1;

                  if (v >= 0 && v < rows_in && u >= 0 && u < piece->width)
                    visit (shape, ((gsize) n * (gsize) rows_in + (gsize) v) * (gsize) piece->width + (gsize) u, coarse,
                           p * 3 + q, data);
                }
            }
}

typedef struct
{
  const float *weights;
  const float *x, *dy;
  float       *y, *dx, *d_weights;
} WalkData;

static void
visit_forward (const ConvShape *shape, gsize in, gsize out, int tap, gpointer data)
{
  WalkData *d = data;

  for (int i = 0; i < shape->c_in; i++)
    for (int o = 0; o < shape->c_out; o++)
      d->y[out * (gsize) shape->c_out + (gsize) o]
          += d->x[in * (gsize) shape->c_in + (gsize) i] * d->weights[(tap * shape->c_in + i) * shape->c_out + o];
}

static void
visit_backward_data (const ConvShape *shape, gsize in, gsize out, int tap, gpointer data)
{
  WalkData *d = data;

  for (int i = 0; i < shape->c_in; i++)
    for (int o = 0; o < shape->c_out; o++)
      d->dx[in * (gsize) shape->c_in + (gsize) i]
          += d->dy[out * (gsize) shape->c_out + (gsize) o] * d->weights[(tap * shape->c_in + i) * shape->c_out + o];
}

static void
visit_backward_weights (const ConvShape *shape, gsize in, gsize out, int tap, gpointer data)
{
  WalkData *d = data;

  for (int i = 0; i < shape->c_in; i++)
    for (int o = 0; o < shape->c_out; o++)
      d->d_weights[(tap * shape->c_in + i) * shape->c_out + o]
          += d->x[in * (gsize) shape->c_in + (gsize) i] * d->dy[out * (gsize) shape->c_out + (gsize) o];
}

static gsize
count_out (const ConvShape *shape, const ConvPiece *piece)
{
  return (gsize) piece->n * (gsize) piece->rows * (gsize) piece->width * (shape->kind == CONV_UP2 ? 4 : 1);
}

static gboolean
reference_conv_forward (const Conv *conv, const ConvPiece *piece, const void *x, void *y, ConvEpilogue epilogue,
                        Scratch *scratch, GError **error)
{
  const ReferenceConv *self = (const ReferenceConv *) conv;
  WalkData             data = { .weights = self->weights, .x = x, .y = y };
  gsize                pixels = count_out (&conv->shape, piece);
  gsize                c_out = (gsize) conv->shape.c_out;

  for (gsize i = 0; i < pixels * c_out; i++)
    data.y[i] = self->bias[i % c_out] + (epilogue == EPILOGUE_ADD ? data.y[i] : 0);
  walk (&conv->shape, piece, visit_forward, &data);
  if (epilogue == EPILOGUE_SILU)
    for (gsize i = 0; i < pixels * c_out; i++)
      data.y[i] /= 1.0f + expf (-data.y[i]);
  return TRUE;
}

static gboolean
reference_conv_backward_data (const Conv *conv, const ConvPiece *piece, const void *dy, void *dx, Scratch *scratch,
                              GError **error)
{
  WalkData data = { .weights = ((const ReferenceConv *) conv)->weights, .dy = dy, .dx = dx };
  gsize    pixels_in
      = (gsize) piece->n * (gsize) piece->rows * (gsize) piece->width * (conv->shape.kind == CONV_DOWN2 ? 4 : 1);

  memset (dx, 0, pixels_in * (gsize) conv->shape.c_in * sizeof (float));
  walk (&conv->shape, piece, visit_backward_data, &data);
  return TRUE;
}

static gboolean
reference_conv_backward_weights (const Conv *conv, const ConvPiece *piece, const void *x, const void *dy,
                                 float *d_weights, float *d_bias, Scratch *scratch, GError **error)
{
  WalkData data = { .x = x, .dy = dy, .d_weights = d_weights };
  gsize    c_out = (gsize) conv->shape.c_out;
  gsize    count = count_out (&conv->shape, piece) * c_out;

  walk (&conv->shape, piece, visit_backward_weights, &data);
  for (gsize i = 0; i < count; i++)
    d_bias[i % c_out] += data.dy[i];
  return TRUE;
}

const ComputeBackend compute_reference = { "reference",
                                           ELEMENT_F32,
                                           reference_is_available,
                                           NULL,
                                           reference_conv_new,
                                           reference_conv_set_weights,
                                           reference_conv_free,
                                           reference_conv_forward,
                                           reference_conv_backward_data,
                                           reference_conv_backward_weights };
