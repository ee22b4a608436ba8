# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `meson install` puts where, and whether GIMP finds the filters in it."""
import glob
import os
import shutil
import subprocess
import sys

import gimptest
from gimptest import scheme_string

NAME = 'gimp-diffusion'
PROCEDURES = ('plug-in-diffusion-denoise', 'plug-in-diffusion-inpaint', 'plug-in-diffusion-regenerate')


def find(root, *pattern):
    found = glob.glob(os.path.join(glob.escape(root), '**', *pattern), recursive=True)
    return found[0] if found else None


def check_metainfo(tap, root):
    path = find(root, 'metainfo', '*.metainfo.xml')
    tap.check('the AppStream metainfo is installed', None if path else 'it is not')
    if not path or not shutil.which('appstreamcli'):
        tap.skip('the AppStream metainfo is valid', 'appstreamcli is not installed')
        return
    done = subprocess.run(['appstreamcli', 'validate', '--no-net', path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # The project has no home page; newer versions of the tool warn of that.
    problems = [line for line in done.stdout.splitlines()
                if line.startswith(('E:', 'W:')) and 'url-homepage-missing' not in line]
    tap.check('the AppStream metainfo is valid', '\n'.join(problems) or None)


def check_gimp(tap, gimp, folder):
    """The folder as it is, in a plug-in path as users have it."""
    os.symlink(folder, os.path.join(gimp.plugins, NAME))
    log = gimp.run('\n'.join('(log "%s" (if (defined? \'%s) "OK" "MISSING"))' % (name, name) for name in PROCEDURES))
    for name in PROCEDURES:
        tap.check('GIMP finds ' + name, None if log.get(name, ('',))[0] == 'OK' else 'it does not: %s' % gimp.output[-800:])


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    gimp = gimptest.Gimp(options, plugins=False)
    root = gimp.path('installed')
    done = subprocess.run(['meson', 'install', '-C', options.build, '--no-rebuild', '--destdir', root],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    tap.check('meson install', done.stdout if done.returncode else None)
    program = find(root, NAME, NAME)
    tap.check('the plug-in has a folder of its own name', None if program else 'there is no %s/%s' % (NAME, NAME))
    folder = os.path.dirname(program or root)
    tap.check('its catalogs are inside', None if find(folder, 'locale', 'de', 'LC_MESSAGES', NAME + '.mo') else 'they are not')
    tap.check('the licences are installed', None if find(root, NAME, 'LICENSE') and find(root, 'models', 'clip-vocabulary.LICENSE') else 'they are not')
    check_metainfo(tap, root)
    check_gimp(tap, gimp, folder)
    tap.check('no leaks, crashes or warnings', gimp.complaints())
    gimp.remove()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
