/* quality-noise-reduction IN OUT STRENGTH: GIMP's own Filters > Enhance > Noise Reduction, for comparisons.  OUT is a
 * PNG of 16 bits.
 * SPDX-License-Identifier: GPL-3.0-or-later
 */
#include "photo.h"

#include <stdio.h>
#include <stdlib.h>

int
main (int argc, char **argv)
{
  g_autoptr (DiffusionPicture) picture = NULL;
  gboolean success = FALSE;

  if (argc != 4)
    {
      fprintf (stderr, "Usage: quality-noise-reduction IN OUT STRENGTH\n");
      return EXIT_FAILURE;
    }
  photo_begin ();
  picture = photo_load (argv[1]);
  if (picture)
    {
      photo_reduce_noise (picture, atoi (argv[3]), picture);
      success = photo_save (picture, argv[2]);
    }
  photo_end ();
  if (! success)
    fprintf (stderr, "%s could not be read, or %s not be written.\n", argv[1], argv[2]);
  return success ? EXIT_SUCCESS : EXIT_FAILURE;
}
