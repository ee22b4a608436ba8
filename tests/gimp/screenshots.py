#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""screenshots.py BUILD OUT [2|3]: all pictures of the README, in OUT, with the tree's model.  denoise.png, inpaint.png and regenerate.png are the three
dialogs in a real GIMP on a display of their own, with the photograph before the filter on the left of the line and after it on the right.  before.jpg and
after.jpg are a photograph before and after denoising, hole-before.jpg and hole-after.jpg one from which a road is taken out, by the command line program."""
import os
import shutil
import subprocess
import sys
import tempfile
import types

import gimptest
import window
from gimptest import scheme_string

TREE = os.path.dirname(os.path.dirname(gimptest.HERE))
DATA = os.path.join(TREE, 'tests', 'data')
NOISY, FOREST, TERRACES = (os.path.join(DATA, name) for name in ('high-iso.jpg', 'forest.png', 'terraces.png'))
# The road in the forest.
ROAD = (104, 184, 122, 186, 118, 200, 100, 212, 98, 226, 110, 244, 135, 258, 165, 270, 190, 287, 130, 287, 104, 268, 78, 246, 70, 226, 78, 208)

# Name, title, photograph, selection, call, and the keys that are pressed before the picture is taken (another model is the next one in the list).
DIALOGS = [
    ('denoise', 'Denoise with Diffusion', NOISY, '', '(denoise RUN-INTERACTIVE image layer 0 1 1 0 "")', []),
    ('inpaint', 'Inpaint Selection with Diffusion', FOREST, "(select-polygon image '%s)" % str(ROAD).replace(',', ''),
     '(inpaint RUN-INTERACTIVE image layer 16 0 0 0 -1 -1 -1 1 0 "")', ['ctrl+Left'] * 4),
    ('regenerate', 'Regenerate with Diffusion', TERRACES, '', '(regenerate RUN-INTERACTIVE image layer 0.4 0.5 20 0 0 0 "")', ['alt+m', 'Down']),
]


def save_small(picture, path):
    subprocess.run(['convert', picture, '-quality', '88', path], check=True)


def before_and_after(build, out, folder):
    """The same by the command line program; returns what went wrong."""
    program = os.path.join(build, 'engine', 'cli', 'diffusion')
    environment = dict(os.environ, DIFFUSION_MODELS=os.path.join(TREE, 'models'))
    mask, denoised, filled = (os.path.join(folder, name) for name in ('mask.png', 'denoised.png', 'filled.png'))
    points = ' '.join('%d,%d' % point for point in zip(ROAD[::2], ROAD[1::2]))
    try:
        subprocess.run(['convert', '-size', '448x288', 'xc:black', '-fill', 'white', '-draw', 'polygon ' + points, mask], check=True)
        subprocess.run([program, 'denoise', NOISY, denoised], env=environment, check=True, capture_output=True)
        subprocess.run([program, 'inpaint', FOREST, mask, filled], env=environment, check=True, capture_output=True)
        for picture, name in ((NOISY, 'before'), (denoised, 'after'), (FOREST, 'hole-before'), (filled, 'hole-after')):
            save_small(picture, os.path.join(out, name + '.jpg'))
    except (OSError, subprocess.CalledProcessError) as error:
        return error
    return None


def main():
    build, out = (os.path.abspath(path) for path in sys.argv[1:3])
    options = types.SimpleNamespace(gimp=sys.argv[3] if len(sys.argv) > 3 else '2', output=out, locale=None,
                                    plugin=os.path.join(build, 'plugin', 'gimp-diffusion'),
                                    pixels=os.path.join(build, 'tests', 'gimp', 'test-pixels'))
    tap = gimptest.Tap()
    for name, title, picture, selection, call, keys in DIALOGS:
        session = window.Session(options, tap, os.path.join(TREE, 'models', 'default.safetensors'))
        shutil.copy(os.path.join(TREE, 'models', 'painting.safetensors'), session.gimp.models)
        system = gimptest.find_system_plugins(options.gimp)
        for plugin in ('file-jpeg', 'file-png'):
            os.symlink(os.path.join(system, plugin), os.path.join(session.gimp.plugins, plugin))
        photo = session.file('photo' + os.path.splitext(picture)[1])
        shutil.copy(picture, photo)
        session.add('(define image (load-image %s)) (define layer (active-drawable image)) %s (gimp-display-new image)'
                    % (scheme_string(photo), selection))
        session.add('(stage "shown" (lambda () %s))' % call)
        try:
            session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
            dialog = session.dialog(title)
            if dialog:
                window.wait_until(lambda: window.results(session))
                session.screen.keys(dialog, *keys)
                window.wait_until(lambda: window.results(session) > ('alt+m' in keys))
                session.screen.tool('mousemove', '--window', dialog, 2, 2)
                session.screen.settle(dialog, 2)
            session.screenshot(name, dialog)
            tap.check('the picture of ' + name, None if dialog else 'no window named "%s"' % title)
        finally:
            session.end()
    with tempfile.TemporaryDirectory() as folder:
        tap.check('the pictures before and after', before_and_after(build, out, folder))
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
