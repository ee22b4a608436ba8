# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""The list of models in the dialog, in a GIMP with windows: the user's own folder, a file from elsewhere, one that is broken, and none after all; each
with its card, and OK with what is chosen."""
import os
import subprocess
import sys
import time

import gimptest
import pictures
import window
from gimptest import scheme_string
from window import CHANGED, wait_until

NOISE = 20


def make_model(options, path, *more):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    subprocess.run([options.make_model, path, *more], check=True)


class Chooser:
    """The dialog, and what its card said."""

    def __init__(self, session):
        self.session, self.tap, self.screen = session, session.tap, session.screen
        self.window = None

    def open(self):
        self.window = self.session.dialog()
        return self.window

    def cards(self):
        return [line.split(': ', 1)[1] for line in self.session.read('output.txt').decode(errors='replace').splitlines() if 'models: ' in line
                for line in [line[line.index('models: '):]]]

    def says(self, *words):
        """Waits for a card with all of the words; returns what is missing."""
        found = wait_until(lambda: self.cards() and all(word in self.cards()[-1] for word in words), 30)
        return None if found else 'the card says: %s' % (self.cards() or ['nothing'])[-1]

    def choose(self, *keys):
        """Keys for the list, and how the window looks when the preview has followed."""
        before = window.results(self.session)
        self.screen.keys(self.window, 'alt+m', *keys)
        wait_until(lambda: window.results(self.session) > before, 60)
        return self.screen.settle(self.window)

    def open_files(self):
        self.screen.keys(self.window, 'alt+m', 'End')
        return self.session.dialog('Choose a Model File')

    def choose_file(self, path):
        """A file in the window for files, which is told its path as a user types it."""
        files = self.open_files()
        if not files:
            return 'there is no window for files'
        self.screen.settle(files, 0.5)
        # The line for a path.
        self.screen.keys(files, 'ctrl+l')
        self.screen.settle(files, 0.5)
        self.screen.keys(files, 'ctrl+a')
        self.screen.tool('type', '--delay', 20, path)
        time.sleep(0.5)
        self.screen.keys(files, 'Return')
        return None if wait_until(lambda: not self.screen.find('^Choose a Model File$'), 20) else 'the window for files stays'


def script(session, other):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), window.SELECTION)
    session.add('(stage "first" (lambda () (denoise RUN-INTERACTIVE image layer 0 1 1 0 "")))')
    session.add_dump('first')
    session.add('(stage "recorded" (lambda () (gimp-item-get-parasite layer "gimp-diffusion")))')
    session.add('(pixels layer %s "" "")' % scheme_string(session.file('in-colour.raw')))
    session.add('(stage "told" (lambda () (denoise RUN-NONINTERACTIVE image layer %d 1 1 0 %s)))' % (NOISE, scheme_string(other)))
    session.add_dump('told')
    session.add('(file-delete %s)' % scheme_string(other))
    session.add('(stage "again" (lambda () (denoise RUN-INTERACTIVE image layer 0 1 1 0 "")))')


def check(session, own, other, broken):
    tap, screen = session.tap, session.screen
    chooser = Chooser(session)
    if not chooser.open():
        tap.check('models: the dialog opens', 'no window named "%s"' % window.TITLE)
        return
    wait_until(lambda: window.results(session))
    screen.settle(chooser.window)
    screen.keys(chooser.window, 'alt+a')  # no estimate: the number is told to the other run too
    screen.enter(chooser.window, 'alt+n', str(NOISE))
    wait_until(lambda: window.results(session))
    screen.keys(chooser.window, 'alt+i')
    first = screen.settle(chooser.window)
    tap.check('models: the default one has its card', chooser.says('default: ', 'licence: not stated'))
    mine = chooser.choose('Down')
    session.screenshot('models-mine', chooser.window)
    tap.check('models: one of the user\'s own folder is listed with its card', chooser.says('mine: regenerates in a style; licence: CC0-1.0; ', '\u00a0kB'))
    tap.check('models: the preview is made by it', None if pictures.different_pixels(first, mine) > CHANGED else 'it looks the same')

    problem = chooser.choose_file(own)
    screen.settle(chooser.window)
    problem = problem or chooser.says('mine: ')
    chooser.choose('Up')
    tap.check('models: its path is that of the same entry', problem or chooser.says('default: '))

    problem = chooser.choose_file(broken)
    screen.settle(chooser.window)
    session.screenshot('models-broken', chooser.window)
    tap.check('models: a broken file from elsewhere is shown with its reason', problem or chooser.says('broken (cannot be used): ', 'safetensors'))
    screen.keys(chooser.window, 'alt+o')
    time.sleep(0.5)
    tap.check('models: it cannot be applied', None if screen.find('^%s$' % window.TITLE) and not os.path.exists(session.file('stage-first'))
              else 'it was')

    before = window.results(session)
    problem = chooser.choose_file(other)
    wait_until(lambda: window.results(session) > before, 60)
    shown = screen.settle(chooser.window)
    session.screenshot('models-other', chooser.window)
    tap.check('models: a file from elsewhere is taken, with its card', problem or chooser.says('from elsewhere: denoises photographs; licence: GPL-2.0; '))
    tap.check('models: the preview is made by that', None if min(pictures.different_pixels(one, shown) for one in (first, mine)) > CHANGED
              else 'it looks like another one\'s')

    files = chooser.open_files()
    if files:
        screen.settle(files, 0.5)
        screen.keys(files, 'Escape')
    closed = files and wait_until(lambda: not screen.find('^Choose a Model File$'), 20)
    tap.check('models: no file after all leaves what was chosen', None if closed and not pictures.different_pixels(shown, screen.settle(chooser.window)) > CHANGED
              else 'it is another one' if closed else 'the window for files stays')
    screen.keys(chooser.window, 'alt+o')
    result = session.result('first')
    session.result('first-dumped')
    tap.check('models: OK takes the one that is chosen', None if result and 'OK' in result and other in (session.result('recorded') or '')
              else '%s %s' % (result, session.result('recorded')))
    session.result('told-dumped')
    tap.check('models: as a script does that names it', None if session.read('out-first.raw') == session.read('out-told.raw') != session.read('in-colour.raw')
              else 'the results differ: %s' % session.result('told'))
    check_lost(session, chooser)


def check_lost(session, chooser):
    """The model of the last time is not there any more: the dialog opens, says so, and takes another one."""
    tap, screen = session.tap, session.screen
    opened = chooser.open()
    tap.check('models: the dialog opens though the file of the last time is gone', None if opened else 'there is no window')
    if not opened:
        return
    screen.settle(chooser.window)
    session.screenshot('models-lost', chooser.window)
    screen.keys(chooser.window, 'alt+o')
    time.sleep(0.5)
    tap.check('models: it cannot be applied', None if screen.find('^%s$' % window.TITLE) and not os.path.exists(session.file('stage-again')) else 'it was')
    # Another one, and away from it while it is loaded, and to it again: the last one counts.
    for key in ('Home', 'Down', 'Home', 'Down', 'Home'):
        screen.keys(chooser.window, 'alt+m', key)
    screen.settle(chooser.window)
    tap.check('models: another one is chosen instead', chooser.says('default: '))
    screen.keys(chooser.window, 'alt+o')
    result = session.result('again')
    tap.check('models: and applied', None if result and 'OK' in result else result)


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    with gimptest.small_model(options) as model:
        session = window.Session(options, tap, model)
        session.language = 'English, models'
        data = session.file('data of mine')
        other, broken = session.file('elsewhere/from elsewhere.safetensors'), session.file('elsewhere/broken.safetensors')
        own = os.path.join(data, 'gimp-diffusion', 'models', 'mine.safetensors')
        make_model(options, own, '2', 'license', 'CC0-1.0', 'mix', 'style')
        make_model(options, other, '3', 'license', 'GPL-2.0', 'mix', 'denoise')
        with open(model, 'rb') as good, open(broken, 'wb') as bad:
            bad.write(good.read(5000))
        try:
            script(session, other)
            session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion', XDG_DATA_HOME=data)
            check(session, own, other, broken)
        except OSError as error:
            session.screenshot('failed-models')
            tap.check('models: the session comes to its end', error)
        finally:
            session.end()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
