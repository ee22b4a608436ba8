/* gimp-diffusion: picture files made and read by hand, for tests
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

GBytes *
file_load (const char *path)
{
  g_autoptr (GError) error = NULL;
  char *data;
  gsize size;

  g_file_get_contents (path, &data, &size, &error);
  g_assert_no_error (error);
  return g_bytes_new_take (data, size);
}

void
file_store (const char *path, gconstpointer data, gsize size)
{
  g_autoptr (GError) error = NULL;

  g_file_set_contents (path, data, size, &error);
  g_assert_no_error (error);
}

void
image_free (Image *image)
{
  g_free (image->data);
  g_free (image);
}
gsize
image_count (const Image *image)
{
  return (gsize) image->width * image->height * image->channels;
}

Image *
image_make (int width, int height, int channels, int bits, double noise, guint seed)
{
  Image *image = g_new0 (Image, 1);
  GRand *random = g_rand_new_with_seed (seed);
  double most = bits == 8 ? 255 : 65535;

  *image = (Image){ width, height, channels, bits, g_new0 (guint16, (gsize) width * height * channels) };
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++)
      for (int c = 0; c < channels; c++)
        {
          gboolean alpha = channels % 2 == 0 && c == channels - 1;
          double   value = 0.5 + 0.15 * sin (x / 9.0 + c) + 0.1 * cos (y / 7.0 - c) + (x > 2 * y ? 0.1 : 0);
          double   gauss = 0;

          for (int i = 0; i < 12; i++)
            gauss += g_rand_double (random) - 0.5;
          value = alpha ? (x + y) / (double) (width + height) : value + gauss * noise / 255;
          image->data[((gsize) y * width + x) * channels + c] = lrint (CLAMP (value, 0, 1) * most);
        }
  g_rand_free (random);
  return image;
}

static GBytes *
convert_bytes (GConverter *converter, const guint8 *data, gsize size)
{
  g_autoptr (GOutputStream) memory = g_memory_output_stream_new_resizable ();
  g_autoptr (GOutputStream) stream = g_converter_output_stream_new (memory, converter);
  g_autoptr (GError) error = NULL;

  g_output_stream_write_all (stream, data, size, NULL, NULL, &error);
  g_assert_no_error (error);
  g_output_stream_close (stream, NULL, &error);
  g_assert_no_error (error);
  return g_memory_output_stream_steal_as_bytes (G_MEMORY_OUTPUT_STREAM (memory));
}

static void
append_be (GByteArray *to, guint32 value, int bytes)
{
  for (int i = bytes - 1; i >= 0; i--)
    {
      guint8 byte = value >> (8 * i);

      g_byte_array_append (to, &byte, 1);
    }
}

static void
append_le (GByteArray *to, guint32 value, int bytes)
{
  for (int i = 0; i < bytes; i++)
    {
      guint8 byte = value >> (8 * i);

      g_byte_array_append (to, &byte, 1);
    }
}

static void
append_chunk (GByteArray *png, const char *name, const guint8 *data, gsize size)
{
  gsize   start = png->len + 4;
  guint32 crc = 0xffffffff;

  append_be (png, size, 4);
  g_byte_array_append (png, (const guint8 *) name, 4);
  g_byte_array_append (png, data, size);
  for (gsize i = start; i < png->len; i++)
    {
      crc ^= png->data[i];
      for (int bit = 0; bit < 8; bit++)
        crc = crc & 1 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
    }
  append_be (png, ~crc, 4);
}

void
image_write_png (const Image *image, const char *path)
{
  static const int types[] = { 0, 0, 4, 2, 6 };
  g_autoptr (GByteArray) png = g_byte_array_new (), header = g_byte_array_new (), rows = g_byte_array_new ();
  g_autoptr (GZlibCompressor) compressor = g_zlib_compressor_new (G_ZLIB_COMPRESSOR_FORMAT_ZLIB, 1);
  g_autoptr (GBytes) packed = NULL;
  gsize row = (gsize) image->width * image->channels;

  append_be (header, image->width, 4);
  append_be (header, image->height, 4);
  append_be (header, image->bits << 8 | types[image->channels], 2);
  append_be (header, 0, 3);
  for (int y = 0; y < image->height; y++)
    {
      append_be (rows, 0, 1);
      for (gsize i = 0; i < row; i++)
        append_be (rows, image->data[y * row + i], image->bits / 8);
    }
  packed = convert_bytes (G_CONVERTER (compressor), rows->data, rows->len);
  g_byte_array_append (png, (const guint8 *) "\x89PNG\r\n\x1a\n", 8);
  append_chunk (png, "IHDR", header->data, header->len);
  append_chunk (png, "IDAT", g_bytes_get_data (packed, NULL), g_bytes_get_size (packed));
  append_chunk (png, "IEND", NULL, 0);
  file_store (path, png->data, png->len);
}

static guint32
read_be (const guint8 *data)
{
  return (guint32) data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
}

static int
paeth (int a, int b, int c)
{
  int pa = abs (b - c), pb = abs (a - c), pc = abs (a + b - 2 * c);

  return pa <= pb && pa <= pc ? a : pb <= pc ? b : c;
}

static void
unfilter (guint8 *row, const guint8 *above, gsize size, gsize pixel, int filter)
{
  for (gsize i = 0; i < size; i++)
    {
      int a = i >= pixel ? row[i - pixel] : 0, b = above ? above[i] : 0, c = above && i >= pixel ? above[i - pixel] : 0;
      int guess[] = { 0, a, b, (a + b) / 2, paeth (a, b, c) };

      row[i] += guess[filter];
    }
}

Image *
image_read_png (const char *path)
{
  static const int channels[] = { 1, 0, 3, 0, 2, 0, 4 };
  g_autoptr (GBytes) file = file_load (path), rows = NULL;
  g_autoptr (GByteArray) packed = g_byte_array_new ();
  g_autoptr (GZlibDecompressor) decompressor = g_zlib_decompressor_new (G_ZLIB_COMPRESSOR_FORMAT_ZLIB);
  Image        *image = g_new0 (Image, 1);
  gsize         size, stride, pixel;
  const guint8 *data = g_bytes_get_data (file, &size);
  guint8       *row, *above = NULL;

  g_assert_cmpint (size, >, 57);
  for (gsize at = 8; at + 12 <= size; at += 12 + read_be (data + at))
    if (memcmp (data + at + 4, "IDAT", 4) == 0)
      g_byte_array_append (packed, data + at + 8, read_be (data + at));
  image->width = read_be (data + 16);
  image->height = read_be (data + 20);
  image->bits = data[24];
  image->channels = channels[data[25]];
  g_assert_cmpint (data[28], ==, 0); /* not interlaced */
  image->data = g_new (guint16, image_count (image));
  pixel = image->channels * (image->bits / 8);
  stride = image->width * pixel;
  rows = convert_bytes (G_CONVERTER (decompressor), packed->data, packed->len);
  g_assert_cmpint (g_bytes_get_size (rows), ==, (stride + 1) * image->height);
  row = (guint8 *) g_bytes_get_data (rows, NULL);
  for (int y = 0; y < image->height; y++, row += stride + 1)
    {
      unfilter (row + 1, above, stride, pixel, row[0]);
      above = row + 1;
      for (int i = 0; i < image->width * image->channels; i++)
        image->data[(gsize) y * image->width * image->channels + i]
            = image->bits == 8 ? above[i] : above[2 * i] << 8 | above[2 * i + 1];
    }
  return image;
}

/* samples: little-endian. */
static void
write_tiff (int width, int height, int channels, int bits, gboolean is_float, const GByteArray *samples,
            const char *path)
{
  g_autoptr (GByteArray) tiff = g_byte_array_new ();
  guint32       after = 8 + 2 + 10 * 12 + 4;
  const guint32 tags[10][3] = {
    { 256, 4, width },
    { 257, 4, height },
    { 258, 3, bits },
    { 259, 3, 1 },
    { 262, 3, channels == 3 ? 2 : 1 },
    { 273, 4, after + 16 },
    { 277, 3, channels },
    { 278, 4, height },
    { 279, 4, samples->len },
    { 339, 3, is_float ? 3 : 1 },
  };

  append_le (tiff, 0x002a4949, 4);
  append_le (tiff, 8, 4);
  append_le (tiff, 10, 2);
  for (int i = 0; i < 10; i++)
    {
      gboolean triple = (tags[i][0] == 258 || tags[i][0] == 339) && channels == 3;

      append_le (tiff, tags[i][0], 2);
      append_le (tiff, tags[i][1], 2);
      append_le (tiff, triple ? 3 : 1, 4);
      append_le (tiff, triple ? after + (tags[i][0] == 339) * 8 : tags[i][2], 4);
    }
  append_le (tiff, 0, 4);
  for (int i = 0; i < 8; i++)
    append_le (tiff, i < 4 ? (guint32) bits : tags[9][2], 2);
  g_byte_array_append (tiff, samples->data, samples->len);
  file_store (path, tiff->data, tiff->len);
}

void
image_write_tiff (const Image *image, const char *path)
{
  g_autoptr (GByteArray) samples = g_byte_array_new ();

  for (gsize i = 0; i < image_count (image); i++)
    append_le (samples, image->data[i], image->bits / 8);
  write_tiff (image->width, image->height, image->channels, image->bits, FALSE, samples, path);
}

void
image_write_float_tiff (int width, int height, int channels, const float *values, const char *path)
{
  g_autoptr (GByteArray) samples = g_byte_array_new ();

  for (int i = 0; i < width * height * channels; i++)
    {
      guint32 bits;

      memcpy (&bits, &values[i], sizeof bits);
      append_le (samples, bits, 4);
    }
  write_tiff (width, height, channels, 32, TRUE, samples, path);
}

int
image_get_tiff_tag (const char *path, int tag)
{
  g_autoptr (GBytes) file = file_load (path);
  gsize         size;
  const guint8 *data = g_bytes_get_data (file, &size), *entry;
  guint32       start;

#define LE16(p) ((p)[0] | (p)[1] << 8)
#define LE32(p) ((guint32) LE16 (p) | (guint32) LE16 ((p) + 2) << 16)
  g_assert_true (size > 8 && memcmp (data, "II*", 3) == 0);
  start = LE32 (data + 4);
  for (int i = 0; i < LE16 (data + start); i++)
    {
      entry = data + start + 2 + 12 * i;
      if (LE16 (entry) == tag)
        return LE32 (entry + 4) > 2 ? LE16 (data + LE32 (entry + 8)) : LE16 (entry + 8);
    }
  return -1;
}

double
image_error (const Image *a, const Image *b)
{
  double sum = 0;

  g_assert_cmpint (image_count (a), ==, image_count (b));
  for (gsize i = 0; i < image_count (a); i++)
    sum += ((double) a->data[i] - b->data[i]) * ((double) a->data[i] - b->data[i]);
  return sqrt (sum / image_count (a));
}

void
assert_same_form (const Image *a, const Image *b)
{
  g_assert_cmpint (a->width, ==, b->width);
  g_assert_cmpint (a->height, ==, b->height);
  g_assert_cmpint (a->channels, ==, b->channels);
  g_assert_cmpint (a->bits, ==, b->bits);
}

void
assert_same (const Image *a, const Image *b)
{
  assert_same_form (a, b);
  g_assert_cmpmem (a->data, image_count (a) * 2, b->data, image_count (b) * 2);
}

void
assert_same_file (const char *a, const char *b)
{
  g_autoptr (GBytes) first = file_load (a), second = file_load (b);

  g_assert_true (g_bytes_equal (first, second));
}
