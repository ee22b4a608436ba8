/* Reading files that may change or be anything.  SPDX-License-Identifier: GPL-3.0-or-later */
#include "core.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gi18n-lib.h>
#include <glib/gstdio.h>
#include <sys/stat.h>
#include <unistd.h>

int
core_open_file (const char *path, gsize *size, const char **reason)
{
  /* Without waiting: a named pipe would block for ever, and is refused below. */
  int         fd = g_open (path, O_RDONLY | O_CLOEXEC | O_NONBLOCK, 0);
  struct stat info;

  if (fd < 0 || fstat (fd, &info) != 0)
    *reason = g_strerror (errno);
  else if (! S_ISREG (info.st_mode))
    /* Translators: why a file cannot be read; it is the file. */
    *reason = C_ ("reason", "it is no regular file");
  else
    {
      *size = (gsize) info.st_size;
      return fd;
    }
  if (fd >= 0)
    close (fd);
  return -1;
}

gboolean
core_read_file (int fd, gsize offset, gsize size, void *to, const char **reason)
{
  char *p = to;

  while (size > 0)
    {
      gssize got = pread (fd, p, size, (off_t) offset);

      if (got < 0 && errno == EINTR)
        continue;
      if (got <= 0)
        {
          /* Translators: why a file cannot be used; it is the file. */
          *reason = got == 0 ? C_ ("reason", "it has become shorter since it was opened") : g_strerror (errno);
          return FALSE;
        }
      p += got;
      offset += (gsize) got;
      size -= (gsize) got;
    }
  return TRUE;
}
