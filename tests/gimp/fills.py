# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inpainting and regenerating with their dialogs, in a GIMP with windows: settings, preview, OK, Cancel, undo, layers."""
import sys

import gimptest
import pictures
import window
from cases import inpaint_call, regenerate_call
from gimptest import scheme_string
from live import wait_until
from window import Session

FILTERS = (('inpaint', 'Inpaint Selection with Diffusion', inpaint_call, {'steps': 16, 'seed': 0}),
           ('regenerate', 'Regenerate with Diffusion', regenerate_call, {'strength': 0.4, 'steps': 20, 'seed': 0}))
SELECTION = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 150 110 70 60) (gimp-selection-feather image 4)'


class Fills(Session):
    def add_dump(self, name):
        """The layer and the selection."""
        self.add('(pixels layer "" %s %s)' % (scheme_string(self.file('out-%s.raw' % name)), scheme_string(self.file('mask-%s.raw' % name))))
        self.add('(stage "%s-dumped" (lambda () (describe image)))' % name)

    def add_call(self, stage, call):
        self.add('(stage "%s" (lambda () %s))' % (stage, call))
        self.add_dump(stage)

    def dumped(self, name):
        """The layers' description, the layer's bytes and the selection's, after the stage."""
        return self.result(name + '-dumped'), self.read('out-%s.raw' % name), self.read('mask-%s.raw' % name)

    def undo(self, name, key):
        """A key in the image window, and what the image is after it."""
        main = wait_until(lambda: self.screen.find('GNU Image Manipulation Program|GIMP'))
        before = self.screen.settle(main, 0.5)
        self.screen.keys(main, key)
        wait_until(lambda: self.screen.picture(main) != before, 10)
        self.screen.settle(main, 0.3)
        self.go(name)
        return self.dumped(name)


def script(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), SELECTION)
    session.add_dump('start')
    for name, _, call, defaults in FILTERS:
        session.add_call(name, call(mode='RUN-INTERACTIVE', **defaults))
        for wait in ('-undone', '-redone', '-undone-again'):
            session.add_wait(name + wait)
            session.add_dump(name + wait)
        session.add_call(name + '-last', call(mode='RUN-WITH-LAST-VALS', **defaults))
        session.add_wait(name + '-last-undone')
        session.add_dump(name + '-last-undone')
        session.add_call(name + '-stop', call(mode='RUN-INTERACTIVE', **defaults))
    session.add_call('variants', inpaint_call(mode='RUN-INTERACTIVE', **FILTERS[0][3]))
    session.add_wait('variants-undone')
    session.add_dump('variants-undone')


def check_filter(session, name, title):
    tap, screen = session.tap, session.screen
    start = session.dumped('start')
    dialog = session.dialog(title)
    tap.check(name + ': the dialog opens', None if dialog else 'no window named "%s"' % title)
    if not dialog:
        session.screenshot('no-dialog-' + name)
        return False
    screen.enter(dialog, 'alt+e', '4')
    screen.keys(dialog, 'alt+p')
    original = screen.settle(dialog)
    screen.keys(dialog, 'alt+p')
    shown = wait_until(lambda: pictures.different_pixels(original, screen.picture(dialog)) > 500)
    screen.settle(dialog)
    session.screenshot('dialog-' + name, dialog)
    tap.check(name + ': the preview shows a result', None if shown else 'it does not change')
    screen.keys(dialog, 'alt+o')
    result = session.result(name)
    layers, after, selection = session.dumped(name)
    tap.check(name + ': OK applies the filter', None if result and 'OK' in result and after != start[1] else result)
    tap.check(name + ': the selection stays', None if selection == start[2] else 'it is another one')
    tap.check(name + ': one undo step restores layer and selection',
              None if session.undo(name + '-undone', 'ctrl+z') == start else 'something is left')
    tap.check(name + ': redo brings it back', None if session.undo(name + '-redone', 'ctrl+y') == (layers, after, selection)
              else 'it is something else')
    tap.check(name + ': undo again', None if session.undo(name + '-undone-again', 'ctrl+z') == start else 'something is left')
    problem = pictures.compare(session.dumped(name + '-last')[1], after)
    tap.check(name + ': last values are remembered', problem and '%s: %s' % (session.result(name + '-last'), problem))
    session.undo(name + '-last-undone', 'ctrl+z')
    return check_stop(session, name, title, start)


def check_stop(session, name, title, start):
    tap, screen = session.tap, session.screen
    dialog = session.dialog(title)
    screen.settle(dialog)
    screen.enter(dialog, 'alt+e', '1000')
    session.begin_run(dialog)
    early, slow = session.cancel_run(dialog, name + '-stop')
    tap.check(name + ': Cancel in mid-run leaves the image untouched', 'the run had ended before' if early else
              None if session.dumped(name + '-stop') == start else 'something was changed')
    tap.check(name + ': Cancel acts within half a second', slow)
    return True


def check_variants(session):
    tap, screen = session.tap, session.screen
    start = session.dumped('start')
    dialog = session.dialog(FILTERS[0][1])
    screen.enter(dialog, 'alt+e', '2')
    screen.enter(dialog, 'alt+v', '3')
    screen.settle(dialog)
    screen.keys(dialog, 'alt+o')
    result = session.result('variants')
    layers, below, _ = session.dumped('variants')
    tap.check('three variants are three layers', None if result and 'OK' in result and layers.count('Inpainted') == 3 and below == start[1]
              else '%s %s' % (result, layers))
    tap.check('one undo step removes them all', None if session.undo('variants-undone', 'ctrl+z') == start else 'something is left')


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    with gimptest.test_model(options) as model:
        session = Fills(options, tap, model)
        try:
            script(session)
            session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
            if all(check_filter(session, name, title) for name, title, _, _ in FILTERS):
                check_variants(session)
        except (OSError, TypeError) as error:
            session.screenshot('failed')
            tap.check('the session comes to its end', error)
        finally:
            session.end()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
