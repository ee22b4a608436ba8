/* gimp-diffusion: tests of the picture files that the program reads and writes, beyond PNG
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "cli-run.h"

#include <math.h>
#include <string.h>
#include <tiffio.h>

#define WIDTH  40
#define HEIGHT 33

/* The values of an uncompressed or compressed TIFF file of floats, read by libtiff. */
static float *
read_float_tiff (const char *path, int channels)
{
  TIFF   *tiff = TIFFOpen (path, "r");
  guint16 bits = 0, format = 0, samples = 0;
  guint32 width = 0, height = 0;
  float  *values = g_new (float, WIDTH *HEIGHT *channels);

  g_assert_nonnull (tiff);
  TIFFGetField (tiff, TIFFTAG_IMAGEWIDTH, &width);
  TIFFGetField (tiff, TIFFTAG_IMAGELENGTH, &height);
  TIFFGetField (tiff, TIFFTAG_BITSPERSAMPLE, &bits);
  TIFFGetField (tiff, TIFFTAG_SAMPLEFORMAT, &format);
  TIFFGetField (tiff, TIFFTAG_SAMPLESPERPIXEL, &samples);
  g_assert_cmpint (width, ==, WIDTH);
  g_assert_cmpint (height, ==, HEIGHT);
  g_assert_cmpint (bits, ==, 32);
  g_assert_cmpint (format, ==, SAMPLEFORMAT_IEEEFP);
  g_assert_cmpint (samples, ==, channels);
  for (guint32 y = 0; y < HEIGHT; y++)
    g_assert_cmpint (TIFFReadScanline (tiff, values + y * WIDTH * (guint32) channels, y, 0), ==, 1);
  TIFFClose (tiff);
  return values;
}

/* Floats stay floats, also those that no integer format can hold: without noise bit for bit, and with some the result
 * is no rounded one. */
static void
test_float_tiff (void)
{
  for (int channels = 1; channels <= 3; channels += 2)
    {
      const int        n = WIDTH * HEIGHT * channels;
      g_autofree char *in = in_folder ("float.tif"), *same = in_folder ("float-same.tif"),
                      *out = in_folder ("float-out.tif");
      g_autofree float *values = g_new (float, n), *kept = NULL, *denoised = NULL;
      int               changed = 0, whole = 0;

      for (int i = 0; i < n; i++)
        values[i] = 0.6f + 0.7f * sinf ((float) i * 0.37f) + 1e-5f * (float) (i % 7); /* from -0.1 to 1.3 */
      image_write_float_tiff (WIDTH, HEIGHT, channels, values, in);
      FINE ("denoise", in, same, "--noise", "0", "--model", get_model ());
      kept = read_float_tiff (same, channels);
      g_assert_cmpmem (values, (gsize) n * sizeof *values, kept, (gsize) n * sizeof *kept);
      FINE ("denoise", in, out, "--noise", "20", "--model", get_model ());
      denoised = read_float_tiff (out, channels);
      for (int i = 0; i < n; i++)
        {
          float steps = denoised[i] * 65535;

          g_assert_true (isfinite (denoised[i]));
          changed += denoised[i] != values[i];
          whole += fabsf (steps - rintf (steps)) < 0.01f;
        }
      g_assert_cmpint (changed, >, n * 9 / 10);
      g_assert_cmpint (whole, <, n / 4);
    }
}

/* A TIFF file of as many small grey pictures as kinds, which are what each says of itself. */
static void
write_pages (const char *path, const guint32 *kinds, int count, gboolean dng)
{
  static const guint8 version[] = { 1, 4, 0, 0 };
  guint8              row[8] = { 0, 30, 60, 90, 120, 150, 180, 210 };
  TIFF               *tiff = TIFFOpen (path, "w");

  g_assert_nonnull (tiff);
  for (int i = 0; i < count; i++)
    {
      TIFFSetField (tiff, TIFFTAG_SUBFILETYPE, kinds[i]);
      TIFFSetField (tiff, TIFFTAG_IMAGEWIDTH, 8);
      TIFFSetField (tiff, TIFFTAG_IMAGELENGTH, 1);
      TIFFSetField (tiff, TIFFTAG_BITSPERSAMPLE, 8);
      TIFFSetField (tiff, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK);
      if (dng)
        TIFFSetField (tiff, TIFFTAG_DNGVERSION, version);
      g_assert_cmpint (TIFFWriteScanline (tiff, row, 0, 0), ==, 1);
      g_assert_cmpint (TIFFWriteDirectory (tiff), ==, 1);
    }
  TIFFClose (tiff);
}

/* Of a file of several pictures the first is not taken for all that there is, nor the small one of a raw file for the
 * photograph; a small one beside a photograph does no harm. */
static void
test_tiff_pages (void)
{
  static const guint32 small[] = { FILETYPE_REDUCEDIMAGE, 0 }, two[] = { 0, 0 },
                       paged[] = { FILETYPE_PAGE, FILETYPE_PAGE }, listed[] = { 0, FILETYPE_REDUCEDIMAGE },
                       last[] = { 0, FILETYPE_REDUCEDIMAGE, 0 };
  g_autofree char *in = in_folder ("pages.tif"), *out = in_folder ("pages-out.png");
  g_autoptr (Image) image = NULL;

#define IN_TO_OUT "denoise", in, out, "--noise", "0", "--model", get_model ()
  write_pages (in, small, 1, FALSE);
  REFUSED ("raw file", IN_TO_OUT);
  write_pages (in, small, 2, FALSE);
  REFUSED ("raw file", IN_TO_OUT);
  write_pages (in, two, 1, TRUE);
  REFUSED ("raw file", IN_TO_OUT);
  write_pages (in, two, 2, FALSE);
  REFUSED ("several pages", IN_TO_OUT);
  write_pages (in, paged, 2, FALSE);
  REFUSED ("several pages", IN_TO_OUT);
  write_pages (in, last, 3, FALSE);
  REFUSED ("several pages", IN_TO_OUT);
  g_assert_false (g_file_test (out, G_FILE_TEST_EXISTS));
  write_pages (in, paged, 1, FALSE);
  FINE (IN_TO_OUT);
  write_pages (in, listed, 2, FALSE);
  FINE (IN_TO_OUT);
  image = image_read_png (out);
  g_assert_cmpint (image->width, ==, 8);
  for (int i = 0; i < 8; i++)
    g_assert_cmpint (image->data[i], ==, 30 * i);
}

/* 12 x 5 pixels of (20 x, 50 y, 255 - 20 x), compressed without loss. */
static const guint8 webp[] = { 0x52, 0x49, 0x46, 0x46, 0x32, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50, 0x56, 0x50, 0x38,
                               0x4c, 0x26, 0x00, 0x00, 0x00, 0x2f, 0x0b, 0x00, 0x01, 0x00, 0x99, 0x8c, 0xe8, 0x7f, 0x6c,
                               0x22, 0xa2, 0xff, 0x01, 0x85, 0x6c, 0x23, 0x40, 0x63, 0x3a, 0x7f, 0xbe, 0x97, 0x60, 0x28,
                               0x04, 0x02, 0x49, 0xfe, 0xac, 0x3b, 0x1c, 0x13, 0x80, 0x99, 0x2b, 0xee, 0x00 };

static void
test_webp (void)
{
#ifdef HAVE_WEBP
  g_autofree char *in = in_folder ("picture.webp"), *out = in_folder ("picture-out.png"),
                  *none = in_folder ("picture-out.webp");
  g_autoptr (Image) image = NULL;

  file_store (in, webp, sizeof webp);
  FINE ("denoise", in, out, "--noise", "0", "--model", get_model ());
  image = image_read_png (out);
  g_assert_cmpint (image->width, ==, 12);
  g_assert_cmpint (image->height, ==, 5);
  g_assert_cmpint (image->bits, ==, 8);
  for (int i = 0; i < 12 * 5; i++)
    {
      const guint16 *pixel = image->data + i * image->channels;

      g_assert_cmpint (pixel[0], ==, i % 12 * 20);
      g_assert_cmpint (pixel[1], ==, i / 12 * 50);
      g_assert_cmpint (pixel[2], ==, 255 - i % 12 * 20);
    }
  REFUSED ("webp", "denoise", in, none, "--noise", "0", "--model", get_model ());
  for (gsize cut = 0; cut < sizeof webp - 1; cut += 3)
    {
      file_store (in, webp, cut);
      REFUSED ("picture.webp", "denoise", in, out, "--noise", "0", "--model", get_model ());
    }
#else
  g_test_skip ("the program was built without libwebp");
#endif
}

/* A WebP file on its side comes out upright, whether its EXIF data are as they should be or have JPEG's marker. */
static void
test_webp_orientation (void)
{
#ifdef HAVE_WEBP
  /* A size of 12 x 5, one entry: orientation 6 (the right edge is the top). */
  static const guint8 extended[] = { 'V', 'P', '8', 'X', 10, 0, 0, 0, 8, 0, 0, 0, 11, 0, 0, 4, 0, 0 };
  static const guint8 exif[]
      = { 'M', 'M', 0, 42, 0, 0, 0, 8, 0, 1, 0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0 };
  static const char marker[] = "Exif\0"; /* and its end */
  g_autofree char  *in = in_folder ("turned.webp"), *out = in_folder ("turned-out.png");

  for (int marked = 0; marked < 2; marked++)
    {
      g_autoptr (GByteArray) file = g_byte_array_new ();
      g_autoptr (Image) image = NULL;
      guint8 size = (guint8) (sizeof exif + (marked ? sizeof marker : 0)),
             chunk[] = { 'E', 'X', 'I', 'F', size, 0, 0, 0 };

      g_byte_array_append (file, webp, 12);
      g_byte_array_append (file, extended, sizeof extended);
      g_byte_array_append (file, webp + 12, sizeof webp - 12);
      g_byte_array_append (file, chunk, sizeof chunk);
      if (marked)
        g_byte_array_append (file, (const guint8 *) marker, sizeof marker);
      g_byte_array_append (file, exif, sizeof exif);
      file->data[4] = (guint8) (file->len - 8);
      file_store (in, file->data, file->len);
      FINE ("denoise", in, out, "--noise", "0", "--model", get_model ());
      image = image_read_png (out);
      g_assert_cmpint (image->width, ==, 5);
      g_assert_cmpint (image->height, ==, 12);
    }
#else
  g_test_skip ("the program was built without libwebp");
#endif
}

/* What a format cannot hold is refused before the work, not after it. */
static void
test_too_wide (void)
{
  g_autofree char *in = make_png ("wide.png", 65501, 1, 1, 8, 0), *out = in_folder ("wide.jpg");

  REFUSED ("too large", "denoise", in, out, "--noise", "5", "--model", get_model ());
}

static void
test_too_wide_for_png (void)
{
  static const char header[] = "P5 1000001 1 255\n";
  const gsize       start = sizeof header - 1;
  g_autofree char  *in = in_folder ("wide.pgm"), *out = in_folder ("wide.png"), *data = g_malloc0 (start + 1000001);

  memcpy (data, header, start);
  file_store (in, data, start + 1000001);
  REFUSED ("choose .tif", "forward", in, out, "--noise", "5");
  memcpy (data, "P5 1000000", 10);
  file_store (in, data, start + 1000000);
  FINE ("forward", in, out, "--noise", "5");
}

int
main (int argc, char **argv)
{
  static const CliTest tests[] = {
    { "formats/float-tiff", test_float_tiff },
    { "formats/tiff-pages", test_tiff_pages },
    { "formats/webp", test_webp },
    { "formats/webp-orientation", test_webp_orientation },
    { "formats/too-wide", test_too_wide },
    { "formats/too-wide-for-png", test_too_wide_for_png },
  };

  return cli_main (argc, argv, tests, G_N_ELEMENTS (tests));
}
