#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""screenshots.py BUILD OUT [2|3]: the three dialogs in a real GIMP on a display of their own, with the tree's model, as OUT/denoise.png, inpaint.png and
regenerate.png.  Each shows the photograph before the filter on the left of the line and after it on the right."""
import os
import shutil
import sys
import types

import gimptest
import window
from gimptest import scheme_string

TREE = os.path.dirname(os.path.dirname(gimptest.HERE))
PHOTO = os.path.join(TREE, 'tests', 'data', 'high-iso.jpg')
HOLE = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 310 215 100 60)'

# Name, title, selection, call, and the keys that are pressed before the picture is taken.
DIALOGS = [
    ('denoise', 'Denoise with Diffusion', '', '(denoise RUN-INTERACTIVE image layer 0 1 1 0 "")', []),
    ('inpaint', 'Inpaint Selection with Diffusion', HOLE,
     '(inpaint RUN-INTERACTIVE image layer 16 0 0 0 -1 -1 -1 1 0 "")', ['alt+n']),
    ('regenerate', 'Regenerate with Diffusion', '', '(regenerate RUN-INTERACTIVE image layer 0.4 0.5 20 0 0 0 "")', []),
]


def main():
    build, out = (os.path.abspath(path) for path in sys.argv[1:3])
    options = types.SimpleNamespace(gimp=sys.argv[3] if len(sys.argv) > 3 else '2', output=out, locale=None,
                                    plugin=os.path.join(build, 'plugin', 'gimp-diffusion'),
                                    pixels=os.path.join(build, 'tests', 'gimp', 'test-pixels'))
    tap = gimptest.Tap()
    for name, title, selection, call, keys in DIALOGS:
        session = window.Session(options, tap, os.path.join(TREE, 'models', 'default.safetensors'))
        system = gimptest.find_system_plugins(options.gimp)
        os.symlink(os.path.join(system, 'file-jpeg'), os.path.join(session.gimp.plugins, 'file-jpeg'))
        photo = session.file('photo.jpg')
        shutil.copy(PHOTO, photo)
        session.add('(define image (load-image %s)) (define layer (active-drawable image)) %s (gimp-display-new image)'
                    % (scheme_string(photo), selection))
        session.add('(stage "shown" (lambda () %s))' % call)
        try:
            session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
            dialog = session.dialog(title)
            if dialog:
                session.screen.keys(dialog, *keys)
                window.wait_until(lambda: b'preview: computed' in session.read('output.txt'))
                session.screen.tool('mousemove', '--window', dialog, 2, 2)
                session.screen.settle(dialog, 2)
            session.screenshot(name, dialog)
            tap.check('the picture of ' + name, None if dialog else 'no window named "%s"' % title)
        finally:
            session.end()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
