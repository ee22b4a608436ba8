# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter with its dialog, in a GIMP with windows on an X server of its own (Xvfb), driven by xdotool."""
import gettext
import os
import re
import shutil
import subprocess
import sys
import time

import gimptest
import pictures
from gimptest import scheme_string
from live import PATIENCE, Live, wait_until

WIDTH, HEIGHT = 420, 320
TITLE = 'Denoise with Diffusion'
CHANGED = 2500  # pixels: more than a label or a focus frame, less than the preview


class Screen:
    """An X server on the first free display, whose pixels can be read from a file.  No key repeats, however long a busy machine leaves it pressed;
    and it stays up when its last client has left: one that starts anew each time that a window was looked for turns away a GIMP that comes meanwhile."""

    def __init__(self, folder, size='1280x900x24'):
        self.folder = folder
        read_end, write_end = os.pipe()
        self.server = subprocess.Popen(['Xvfb', '-displayfd', str(write_end), '-screen', '0', size,
                                        '-nolisten', 'tcp', '-r', '-noreset', '-fbdir', folder], pass_fds=[write_end],
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(write_end)
        with os.fdopen(read_end) as f:
            self.display = ':' + f.readline().strip()

    def close(self):
        self.server.terminate()
        self.server.wait(10)

    def tool(self, *arguments):
        done = subprocess.run(['xdotool'] + [str(a) for a in arguments], capture_output=True, text=True,
                              env=dict(os.environ, DISPLAY=self.display))
        return done.stdout.split()

    def find(self, title):
        windows = self.tool('search', '--onlyvisible', '--name', title)
        return windows[-1] if windows else None

    def picture(self, window=None):
        """What the screen or the window looks like now; nothing if the window is gone."""
        rectangle = []
        if window:
            shell = dict(line.split('=') for line in self.tool('getwindowgeometry', '--shell', window))
            rectangle = [int(shell.get(key, 0)) for key in ('X', 'Y', 'WIDTH', 'HEIGHT')]
        return pictures.framebuffer_read(os.path.join(self.folder, 'Xvfb_screen0'), *rectangle)

    def save(self, path, window=None):
        width, height, data = self.picture(window)
        pictures.png_write(path, width, height, 3, data)

    def keys(self, window, *keys):
        self.tool('windowfocus', window)
        for key in keys:
            self.tool('key', '--clearmodifiers', key)
            time.sleep(0.05)

    def drag(self, window, x0, y0, x1, y1, steps=10):
        self.tool('mousemove', '--window', window, x0, y0, 'mousedown', 1)
        for i in range(1, steps + 1):
            self.tool('mousemove', '--window', window, x0 + (x1 - x0) * i // steps, y0 + (y1 - y0) * i // steps)
            time.sleep(0.02)
        self.tool('mouseup', 1)
        self.tool('mousemove', '--window', window, 2, 2)  # out of the picture

    def enter(self, window, mnemonic, text):
        """Types a value into the field that the mnemonic leads to."""
        self.keys(window, mnemonic, 'ctrl+a')
        self.tool('type', text)
        self.keys(window, 'Tab')

    def settle(self, window, quiet=1.0):
        """Waits until the window has looked the same for a while, and returns how."""
        end = time.monotonic() + PATIENCE
        last, since = self.picture(window), time.monotonic()
        while time.monotonic() < end and time.monotonic() - since < quiet:
            time.sleep(0.1)
            now = self.picture(window)
            if now != last:
                last, since = now, time.monotonic()
        return last


class Session(Live):
    """One GIMP with windows, driven by mouse and keyboard."""

    console = False

    def __init__(self, options, tap, model, stock=('script-fu',)):
        super().__init__(options, tap, model, stock)
        self.large = os.path.getsize(model) > 1e6
        os.mkdir(self.gimp.path('screen'))
        self.screen = Screen(self.gimp.path('screen'))

    def add_image(self, name, layout, kind, data, selection, scale=1):
        """Defines an image and its layer with a display, and writes what it holds."""
        with open(self.file('in-%s.raw' % name), 'wb') as f:
            f.write(data)
        self.add('''
(define image (image-new %d %d %s 0 %d))
(define layer (layer-add image %d %d %s-IMAGE 0 0))
(pixels layer %s "" "")
%s
(gimp-image-clean-all image)
(gimp-display-new image)
(gimp-displays-flush)''' % (scale * WIDTH, scale * HEIGHT, 'RGB' if layout.startswith('RGB') else 'GRAY',
                            pictures.TYPES.index(kind), scale * WIDTH, scale * HEIGHT, layout, scheme_string(self.file('in-%s.raw' % name)), selection))

    def add_run(self, stage, mode):
        self.add('(stage "%s" (lambda () (denoise %s image layer 0 1 1 0 "")))' % (stage, mode))
        self.add_dump(stage)

    def add_dump(self, name):
        self.add('(pixels layer "" %s "")' % scheme_string(self.file('out-%s.raw' % name)))
        self.add('(stage "%s-dumped" (lambda () #t))' % name)

    def start(self, **environment):
        super().start(DISPLAY=self.screen.display, **environment)

    def dialog(self, title=TITLE):
        return wait_until(lambda: self.screen.find('^%s$' % title))

    def begin_run(self, dialog):
        """OK, until the plug-in has computed for a moment: what is cancelled then is in its middle, however fast or busy the machine is."""
        begun = lambda: self.read('output.txt').count(b'run: computes')
        before = begun()
        self.screen.keys(dialog, 'alt+o')
        wait_until(lambda: begun() > before)
        time.sleep(0.3)

    def cancel_run(self, dialog, stage, patience=1):
        """Escape after begin_run(), for a letter could still reach GIMP's own menus: the dialog is gone at once.  (Whether the run had ended before,
        what is wrong if it did not stop within half a second, and the script did not go on within `patience`.)"""
        stops = lambda: [int(ms) for ms in re.findall(rb'run: stopped (\d+) ms', self.read('output.txt'))]
        before, early = len(stops()), os.path.exists(self.file('stage-' + stage))
        start = time.monotonic()
        self.screen.keys(dialog, 'Escape')
        self.result(stage)
        seconds = time.monotonic() - start
        # The plug-in's own clock; xdotool, GIMP and what else the machine does take the rest.
        stopped = stops()[before:]
        print('# %s: stopped within %s ms, and %.2f s after the key the script went on' % (stage, stopped, seconds))
        return early, None if stopped and max(stopped) < 500 and seconds < patience else 'after %s ms, %.2f s' % (stopped, seconds)

    def screenshot(self, name, window=None):
        if self.options.output:
            self.screen.save(os.path.join(self.options.output, name + '.png'), window)

    def end(self):
        self.stop()
        self.screen.close()
        if self.process:
            self.tap.check('no leaks, crashes or warnings (session in %s)' % self.language, self.gimp.complaints())
        self.gimp.remove()

    language = 'English'


def noisy(layout, kind, scale=1):
    return pictures.encode(pictures.synthetic(scale * WIDTH, scale * HEIGHT, layout, 20 / 255), kind)


SELECTION = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 40 30 320 250) (gimp-selection-feather image 20)'


def script_english(session):
    session.add_image('colour', 'RGB', 'u8', noisy('RGB', 'u8'), SELECTION)
    session.add_run('accept', 'RUN-INTERACTIVE')
    session.add('(stage "recorded" (lambda () (gimp-item-get-parasite layer "gimp-diffusion")))')
    for name in ('undone', 'redone', 'undone-again'):
        session.add_wait(name)
        session.add_dump(name)
    session.add_run('escape', 'RUN-INTERACTIVE')
    session.add_run('stop', 'RUN-INTERACTIVE')
    session.add_run('kept', 'RUN-INTERACTIVE')
    session.add('(pixels layer %s "" "")' % scheme_string(session.file('in-colour.raw')))
    session.add_run('last', 'RUN-WITH-LAST-VALS')
    session.add_image('float', 'RGB', 'float', noisy('RGB', 'float'), SELECTION)
    session.add_run('float', 'RUN-WITH-LAST-VALS')
    for name in ('float-undone', 'float-redone'):
        session.add_wait(name)
        session.add_dump(name)
    session.add_image('grey', 'GRAYA', 'float', noisy('GRAYA', 'float', scale=2), '', scale=2)
    session.add_run('grey', 'RUN-INTERACTIVE')


def results(session, kind=b'computed'):
    """How many results the preview has had, by what the plug-in logged."""
    return session.read('output.txt').count(b'preview: ' + kind)


def check_dialog(session):
    """The dialog, its preview, typed values, and OK."""
    tap, screen = session.tap, session.screen
    dialog = session.dialog()
    tap.check('the dialog opens', None if dialog else 'no window named "%s"' % TITLE)
    if not dialog:
        session.screenshot('no-dialog')
        return False
    # Without the preview the original is shown at once; the result comes when it is ready.
    screen.keys(dialog, 'alt+i', 'alt+p')
    wait_until(lambda: find_layer(screen.picture(dialog), session.read('in-colour.raw')))
    original = session.last_original = screen.settle(dialog)
    screen.keys(dialog, 'alt+p')
    shown = wait_until(lambda: pictures.different_pixels(original, screen.picture(dialog)) > CHANGED)
    wait_until(lambda: results(session))  # a busy machine may stand still for longer than settle waits
    full = screen.settle(dialog)
    session.screenshot('dialog', dialog)
    tap.check('the preview shows the result', None if shown else 'it does not change')

    def follows(strength):
        kind = b'computed' if float(strength) > 1 else b'blended'
        before = results(session, kind)
        screen.enter(dialog, 'alt+t', strength)
        wait_until(lambda: results(session, kind) > before)
        changed = wait_until(lambda: all(pictures.different_pixels(other, screen.picture(dialog)) > CHANGED
                                         for other in (original, full)))
        last = screen.settle(dialog)
        session.screenshot('dialog-strength-' + strength, dialog)
        tap.check('the preview follows strength ' + strength, None if changed else 'it does not change')
        return last

    check_split(session, dialog, original, full)
    check_presets(session, dialog, full)
    check_models(session, dialog, full)
    follows('0.4')
    session.last_preview = follows('1.5')
    screen.keys(dialog, 'alt+o')
    return True


def same(a, b, x, y, width, height):
    return pictures.crop(a, x, y, width, height) == pictures.crop(b, x, y, width, height)


def check_split(session, dialog, original, full):
    """The line between before and after: where it is at first, dragged by the mouse, and moved by keys."""
    tap, screen = session.tap, session.screen
    place = find_layer(original, session.read('in-colour.raw'))
    if not place:
        tap.check('the line between before and after', 'the layer was not found in the screenshot')
        return
    x, y, middle = place[0], place[1] + 120, place[0] + WIDTH // 2
    # A band above the knob and the captions; left and right of the line and of the focus frame.
    band = lambda shot, reference, start, end: same(shot, reference, start, place[1] + 40, end - start, 60)
    screen.keys(dialog, 'alt+i')
    shot = screen.settle(dialog)
    session.screenshot('dialog-split', dialog)
    tap.check('before is left of the line, after right of it', None if band(shot, original, x + 5, middle - 5)
              and band(shot, full, middle + 5, x + WIDTH - 5) else 'the halves are not those of the two pictures')
    screen.drag(dialog, middle, y, middle - 100, y)
    shot = screen.settle(dialog)
    session.screenshot('dialog-split-dragged', dialog)
    tap.check('the line follows the mouse', None if band(shot, original, x + 5, middle - 105)
              and band(shot, full, middle - 95, x + WIDTH - 5) else 'the line is elsewhere')
    screen.keys(dialog, *['ctrl+Right'] * 5)
    shot = screen.settle(dialog)
    line = middle - 100 + round(WIDTH * 0.25)
    tap.check('the line follows the keyboard', None if band(shot, original, x + 5, line - 5)
              and band(shot, full, line + 5, x + WIDTH - 5) else 'the line is elsewhere')
    screen.keys(dialog, 'alt+i')
    screen.settle(dialog)


def shows(session, dialog, wanted):
    """Whether the preview is like the one in a picture of the window; its focus frame is not looked at."""
    x, y = find_layer(session.last_original, session.read('in-colour.raw'))
    inner = lambda picture: pictures.crop(picture, x + 4, y + 4, WIDTH - 8, HEIGHT - 8)
    return inner(session.screen.picture(dialog)) == inner(wanted)


def becomes(session, dialog, wanted):
    return wait_until(lambda: shows(session, dialog, wanted), 60)


def check_presets(session, dialog, full):
    """Presets change several settings at once; the user's own are kept in a file."""
    tap, screen = session.tap, session.screen
    screen.keys(dialog, 'alt+b', 'Up')
    light = wait_until(lambda: not shows(session, dialog, full), 60) and screen.settle(dialog)
    screen.keys(dialog, 'alt+b', 'Down')
    tap.check('presets are followed', None if light and becomes(session, dialog, full) else 'the preview is another')
    screen.enter(dialog, 'alt+t', '0.3')
    mine = screen.settle(dialog)
    screen.keys(dialog, 'alt+b', 'Tab', 'space')
    window = session.dialog('Save as a Preset')
    if window:
        screen.settle(window, 0.3)
        screen.tool('type', 'Mine')
        screen.keys(window, 'Return')
    path = session.file('.config/gimp-diffusion/presets.ini')
    saved = wait_until(lambda: os.path.exists(path) and '/Mine]' in open(path).read(), 10)
    tap.check('a preset of one\'s own is saved', None if saved else 'it is not in the file')
    screen.keys(dialog, 'alt+b', 'Home', 'Down', 'Down')
    again = becomes(session, dialog, full)
    screen.keys(dialog, 'alt+b', 'End')
    tap.check('and chosen again', None if again and becomes(session, dialog, mine) else 'the preview is another')
    session.screenshot('dialog-presets', dialog)
    screen.keys(dialog, 'alt+b', 'Home', 'Down', 'Down')
    becomes(session, dialog, full)


def check_models(session, dialog, full):
    """A broken file is listed with its reason and cannot be applied; then the good one again."""
    tap, screen = session.tap, session.screen
    before = screen.settle(dialog)
    screen.keys(dialog, 'alt+m', 'Up')
    shot = screen.settle(dialog)
    session.screenshot('dialog-broken-model', dialog)
    screen.keys(dialog, 'alt+o')
    time.sleep(0.5)
    still = screen.find('^%s$' % TITLE) and not os.path.exists(session.file('stage-accept'))
    tap.check('a broken model is shown with its reason and not applied',
              None if still and pictures.different_pixels(before, shot) > CHANGED // 2 else 'it was taken')
    screen.keys(dialog, 'alt+m', 'Down')
    tap.check('the preview goes on with another model', None if becomes(session, dialog, full) else 'it does not')


SHORTEST_RUN = 0.3  # seconds; one that was cancelled at once says nothing


def check_cost(session):
    """What the plug-in itself logged: time and memory, as foretold and as they were, of the last run that took a while."""
    text = session.gimp.output
    # What was not foretold (OK came before the noise was known) has no part in it.
    runs = re.findall(r'run: expected ([\d.]+) s, ([\d.]+) MB(?:(?!run: expected).)*?run: took ([\d.]+) s, ([\d.]+) MB', text, re.DOTALL)
    took = [tuple(map(float, run)) for run in runs]
    pairs = [(run[:2], run[2:]) for run in took if run[2] > SHORTEST_RUN]
    print('# estimates and what it took: %s' % pairs)
    if not session.large:
        session.tap.skip('the estimates of time and memory', 'the model is too small to be like one that is used')
        return
    if took and not pairs:
        session.tap.skip('the estimates of time and memory', 'this machine took less than %g s for each run' % SHORTEST_RUN)
        return
    for number, what, unit in ((0, 'time', 's'), (1, 'memory', 'MB')):
        # The last one; one that was cancelled has not taken what it would have.
        ratios = ['%g %s were foretold, it took %g' % (a[number], unit, b[number]) for a, b in pairs[-1:]
                  if not 1 / 1.5 < a[number] / b[number] < 1.5]
        session.tap.check('the estimate of %s is right within a factor of 1.5' % what,
                          'no run took long enough' if not pairs else '\n'.join(ratios))


def check_view(session, dialog):
    """A layer larger than the preview: dragged, and shrunk to fit."""
    tap, screen = session.tap, session.screen
    screen.keys(dialog, 'alt+p')
    screen.tool('mousemove', '--window', dialog, 2, 2)
    before = screen.settle(dialog, 2)
    x, y = before[0] // 4, before[1] // 3
    screen.drag(dialog, x + 60, y + 40, x, y)
    after = screen.settle(dialog)
    session.screenshot('dialog-dragged', dialog)
    moved = pictures.crop(before, x, y, 150, 60)[2] == pictures.crop(after, x - 60, y - 40, 150, 60)[2]
    tap.check('the layer follows the mouse', None if moved and before != after else 'other pixels than expected')
    screen.keys(dialog, 'Right', 'Down')
    again = screen.settle(dialog)
    moved = pictures.crop(after, x, y, 150, 60)[2] == pictures.crop(again, x - 48, y - 48, 150, 60)[2]
    tap.check('the layer follows the keyboard', None if moved and after != again else 'other pixels than expected')
    screen.tool('mousemove', '--window', dialog, x + 60, y + 40, 'click', 4)
    screen.tool('mousemove', '--window', dialog, 2, 2)
    rolled = screen.settle(dialog)
    moved = pictures.crop(again, x, y, 150, 60)[2] == pictures.crop(rolled, x, y + 48, 150, 60)[2]
    tap.check('the layer follows the wheel', None if moved and again != rolled else 'other pixels than expected')
    screen.keys(dialog, 'alt+p', 'alt+f')
    fit = screen.settle(dialog, 2)
    session.screenshot('dialog-fit', dialog)
    # The disc of the picture, at the left top of the layer, is darker or lighter than what is around it.
    tap.check('Fit shows all of the layer', None if pictures.different_pixels(fit, rolled) > CHANGED
              else 'nothing changed')


def check_pace(session):
    """What the plug-in itself logged: how fast the preview stops, and how long it kept the interface waiting."""
    stops = [int(ms) for ms in re.findall(r'preview: stopped (\d+) ms', session.gimp.output)]
    worked = [int(ms) for ms in re.findall(r'preview: held up for \d+ ms, of which (\d+) ms', session.gimp.output)]
    print('# the preview stopped within %s ms; the interface computed up to %s ms at a stretch'
          % (sorted(stops), max(worked, default=0)))
    session.tap.check('a change stops the preview within 0.2 s', None if stops and sorted(stops)[len(stops) // 2] < 200
                      else 'it took %s ms' % stops)
    session.tap.check('the preview never keeps the interface longer than 50 ms', None if max(worked, default=0) <= 50
                      else 'it computed for %s ms' % worked)


def find_layer(picture, layer):
    """Where the layer's left upper corner lies in a screenshot that shows the layer as it is."""
    width, height, data = picture
    x, y, length = 70, 60, 50  # the preview begins somewhat before the selection
    piece = layer[(y * WIDTH + x) * 3:(y * WIDTH + x + length) * 3]
    for row in range(height):
        place = data.find(piece, row * width * 3, (row + 1) * width * 3)
        if place >= 0:
            return (place - row * width * 3) // 3 - x, row - y
    return None


def check_preview_is_final(session, before, after):
    """What the preview showed is what the filter did; through a soft selection GIMP rounds otherwise."""
    place = find_layer(session.last_original, before)
    if not place:
        session.tap.check('the preview shows what OK does', 'the layer was not found in the screenshot')
        return
    start, size = 60, 110
    shown = pictures.crop(session.last_preview, place[0] + start, place[1] + start, size, size)[2]
    done = pictures.crop((WIDTH, HEIGHT, after), start, start, size, size)[2]
    far = sum(abs(a - b) > 2 for a, b in zip(shown, done))
    session.tap.check('the preview shows what OK does',
                      None if far < 0.01 * len(done) else '%d of %d values are off by more than 2' % (far, len(done)))


def check_undo(session, name, original, changed, steps):
    """steps: (dump, key, what the layer should then hold)."""
    window = wait_until(lambda: session.screen.find('GNU Image Manipulation Program|GIMP'))
    for dump, key, expected, what in steps:
        before = session.screen.settle(window, 0.5)
        session.screen.keys(window, key)
        wait_until(lambda: session.screen.picture(window) != before, 10)
        session.screen.settle(window, 0.3)
        session.go(dump)
        session.result(dump + '-dumped')
        data = session.read('out-%s.raw' % dump)
        session.tap.check('%s, %s' % (name, what), None if data == expected else '%d bytes differ' % sum(
            a != b for a, b in zip(data, expected)))


def check_cancel(session):
    tap, screen = session.tap, session.screen
    before = session.read('in-colour.raw')
    dialog = session.dialog()
    screen.settle(dialog)
    screen.keys(dialog, 'Escape')
    result = session.result('escape')
    tap.check('Escape closes the dialog without a change', None if result and 'ERROR' not in result and session.result(
        'escape-dumped') and session.read('out-escape.raw') == before else 'result: %s' % result)

    dialog = session.dialog()
    screen.settle(dialog)
    screen.enter(dialog, 'alt+e', '1000')
    session.begin_run(dialog)
    session.screenshot('running', dialog)
    early, slow = session.cancel_run(dialog, 'stop')
    result = session.result('stop')
    session.result('stop-dumped')
    tap.check('Cancel in mid-run leaves the layer untouched',
              'the run had ended before' if early else None if session.read('out-stop.raw') == before
              else 'the layer was changed: %s' % result)
    tap.check('Cancel acts within half a second', slow)


def check_kept(session):
    """The settings of the run that was cancelled; then those of the one before for all that follows."""
    dialog = session.dialog()
    start = len(session.read('output.txt'))
    kept = wait_until(lambda: b' of 1000, reduced' in session.read('output.txt')[start:])
    session.tap.check('the settings of a run that was cancelled come up again', None if kept else 'they are others')
    session.screen.enter(dialog, 'alt+e', '1')
    session.screen.settle(dialog)
    session.screen.keys(dialog, 'alt+o')
    session.result('kept-dumped')
    # GIMP 2.10 keeps them itself, in its memory.
    folder = session.file('profile/gimp-diffusion')
    left = os.listdir(folder) if os.path.isdir(folder) else None
    session.tap.check('they are not kept beside those of a run that succeeded', None if left == (None if session.gimp.major == '2' else []) else str(left))


def check_english(session):
    tap = session.tap
    if not check_dialog(session):
        return
    result = session.result('accept')
    session.result('accept-dumped')
    before, after = session.read('in-colour.raw'), session.read('out-accept.raw')
    tap.check('OK applies the filter', None if result and 'OK' in result and before != after else result)
    record = session.result('recorded') or ''
    tap.check('the settings are kept with the result', None if "'strength': <1.5>" in record and "'seed': <0>" in record
              else record)
    check_preview_is_final(session, before, after)
    check_undo(session, '8 bits', before, after,
               [('undone', 'ctrl+z', before, 'one undo step restores all'),
                ('redone', 'ctrl+y', after, 'redo brings it back'),
                ('undone-again', 'ctrl+z', before, 'undo again')])
    check_cancel(session)
    check_kept(session)
    session.result('last-dumped')
    problem = pictures.compare(session.read('out-last.raw'), after)
    tap.check('last values are remembered', problem and 'not what the dialog had done: %s (%s)' % (problem, session.result('last')))

    session.result('float-dumped')
    before, after = session.read('in-float.raw'), session.read('out-float.raw')
    tap.check('float with last values', None if before != after else 'nothing changed')
    check_undo(session, 'float', before, after,
               [('float-undone', 'ctrl+z', before, 'one undo step restores all'),
                ('float-redone', 'ctrl+y', after, 'redo brings it back')])

    dialog = session.dialog()
    session.screen.settle(dialog)
    session.screenshot('dialog-grey', dialog)
    check_view(session, dialog)
    # Long enough for the estimate to be held against it.
    session.screen.enter(dialog, 'alt+e', '4' if session.large else '40')
    session.screen.settle(dialog, 2)
    session.screen.keys(dialog, 'alt+o')
    result = session.result('grey')
    tap.check('grey with alpha, float', None if result and 'OK' in result and session.result('grey-dumped')
              and session.read('out-grey.raw') != session.read('in-grey.raw') else result)


def run_english(options, tap, model):
    session = Session(options, tap, model)
    with open(model, 'rb') as good, open(os.path.join(session.gimp.models, 'broken.safetensors'), 'wb') as broken:
        broken.write(good.read(5000))
    try:
        script_english(session)
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        check_english(session)
    except OSError as error:
        session.screenshot('failed')
        tap.check('the session comes to its end', error)
    finally:
        session.end()
    check_pace(session)
    check_cost(session)


# Messages are not translated in the locale C: a language needs a locale of its own.
LOCALES = {'de': 'de_DE', 'es': 'es_ES', 'fr': 'fr_FR', 'ja': 'ja_JP', 'zh_CN': 'zh_CN', 'zh_TW': 'zh_TW'}


def run_language(options, tap, model, language):
    """The dialog has the title of the language's catalog, and other pixels than another language's."""
    session = Session(options, tap, model)
    session.language = language
    locale = LOCALES[language] + '.UTF-8'
    # It need not be installed.
    made = subprocess.run(['localedef', '-i', LOCALES[language], '-f', 'UTF-8', session.file(locale)],
                          capture_output=True)
    if made.returncode:
        tap.skip('the dialog in ' + language, 'the sources of locales are not installed')
        session.end()
        return None
    shutil.copytree(os.path.join(options.locale, language),
                    os.path.join(session.gimp.plugins, 'gimp-diffusion', 'locale', language))
    title = gettext.translation('gimp-diffusion', options.locale, [language]).pgettext('title', TITLE)
    shot = None
    try:
        session.add_image('colour', 'RGB', 'u8', noisy('RGB', 'u8'), '')
        session.add_run('translated', 'RUN-INTERACTIVE')
        session.start(LANGUAGE=language, LC_ALL=locale, LOCPATH=session.gimp.root)
        dialog = session.dialog(title)
        if dialog:
            shot = session.screen.settle(dialog)
        session.screenshot('dialog-' + language, dialog)
        tap.check('the dialog in ' + language, None if dialog and title != TITLE else 'no window named "%s"' % title)
        if dialog:
            session.screen.keys(dialog, 'Escape')
            session.result('translated-dumped')
    finally:
        session.end()
    return shot


def run_languages(options, tap, model):
    built = [language for language in LOCALES if options.locale and os.path.isdir(os.path.join(options.locale, language))]
    if not built:
        tap.skip('the dialog in other languages', 'the catalogs are not built')
    shots = [shot for shot in (run_language(options, tap, model, language) for language in built) if shot]
    same = sum(pictures.different_pixels(a, b) < CHANGED for i, a in enumerate(shots) for b in shots[:i])
    if len(shots) > 1:
        tap.check('each language looks different', None if not same else '%d pairs look the same' % same)


def skip_without_tools():
    missing = [program for program in ('Xvfb', 'xdotool') if not shutil.which(program)]
    if missing:
        print('1..0 # SKIP not installed: ' + ' '.join(missing))
        sys.exit(0)


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    skip_without_tools()
    with gimptest.test_model(options) as model:
        run_english(options, tap, model)
        run_languages(options, tap, model)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
