# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Controls of the dialogs, by mouse and keyboard in a GIMP with windows: how far a hole grows, how it fades in, how much context it is filled from, variants;
the seed, which is kept or drawn anew; the switch of the preview, and its memory; and the noise, which is estimated again when something else is selected, or the pixels have changed."""
import importlib
import re
import sys

import gimptest
import pictures
import window
from cases import inpaint_call, regenerate_call
from gimptest import scheme_string
from window import wait_until

fills = importlib.import_module('window-fills')

HOLE = (150, 110, 90, 80)  # x, y, width, height
GROW, FEATHER, CONTEXT, SEED = 10, 8, 60, 5
SELECTION = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE %d %d %d %d)' % HOLE
KEPT = 77


def script(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), SELECTION)
    dump = lambda name: ' '.join('(pixels (list-ref (layers image) %d) "" %s "")' % (i, scheme_string(session.file('out-%s-%d.raw' % (name, i))))
                                 for i in range(2))
    session.add('(stage "controls" (lambda () %s))' % inpaint_call(mode='RUN-INTERACTIVE', steps=4))
    session.add('(stage "recorded" (lambda () (gimp-item-get-parasite (car (layers image)) "gimp-diffusion")))')
    session.add('(stage "dialog-layers" (lambda () %s (describe image)))' % dump('dialog'))
    session.add('(for-each (lambda (other) (if (not (= other layer)) (gimp-image-remove-layer image other))) (layers image))')
    session.add('(stage "called" (lambda () %s))' % inpaint_call(steps=4, seed=SEED, context=CONTEXT, grow=GROW, feather=FEATHER, variants=2))
    session.add('(stage "called-layers" (lambda () %s (describe image)))' % dump('called'))


def script_seeds(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), SELECTION)
    for i in range(5):
        session.add('(stage "keep-%d" (lambda () %s))' % (i, regenerate_call(mode='RUN-INTERACTIVE')))
        session.add('(stage "seed-%d" (lambda () (gimp-item-get-parasite layer "gimp-diffusion")))' % i)


class Controls(fills.Driver):
    def changed(self, original, shown):
        """What the preview changes: the box in the layer's pixels, and how much within its outermost three pixels and further in."""
        x0, y0 = window.find_layer(original, self.session.read('in-colour.raw'))
        reach = 30
        x, y, width, height = HOLE[0] - reach, HOLE[1] - reach, HOLE[2] + 2 * reach, HOLE[3] + 2 * reach
        a, b = (pictures.crop(picture, x0 + x, y0 + y, width, height)[2] for picture in (original, shown))
        amount = [max(abs(a[3 * i + c] - b[3 * i + c]) for c in range(3)) for i in range(width * height)]
        places = [(i % width, i // width) for i in range(width * height) if amount[i]]
        if not places:
            return None, 0, 0
        left, right = min(px for px, _ in places), max(px for px, _ in places)
        top, bottom = min(py for _, py in places), max(py for _, py in places)
        depth = lambda px, py: min(px - left, right - px, py - top, bottom - py)
        mean = lambda values: sum(values) / max(len(values), 1)
        inside = [(depth(i % width, i // width), amount[i]) for i in range(width * height)]
        return ((x + left, y + top, right - left + 1, bottom - top + 1), mean([v for d, v in inside if 0 <= d < 3]),
                mean([v for d, v in inside if d >= 12]))

    def check(self):
        session, screen = self.session, self.screen
        wait_until(lambda: window.results(session))
        screen.keys(self.window, 'alt+i', 'alt+p')
        wait_until(lambda: window.find_layer(screen.picture(self.window), session.read('in-colour.raw')))
        original = screen.settle(self.window)
        screen.keys(self.window, 'alt+p', 'alt+n')
        self.computed(lambda: screen.enter(self.window, 'alt+d', str(SEED)))
        self.computed(lambda: screen.enter(self.window, 'alt+h', '0'))
        small, _, _ = self.changed(original, self.computed(lambda: screen.enter(self.window, 'alt+g', '0')))
        self.say('without growing, what is selected changes', None if small == HOLE else '%s instead of %s' % (small, HOLE))
        hard = self.computed(lambda: screen.enter(self.window, 'alt+g', str(GROW)))
        grown, rim, _ = self.changed(original, hard)
        wanted = (HOLE[0] - GROW, HOLE[1] - GROW, HOLE[2] + 2 * GROW, HOLE[3] + 2 * GROW)
        session.screenshot('controls-grown', self.window)
        self.say('the hole grows by as many pixels', None if grown == wanted else '%s instead of %s' % (grown, wanted))
        soft = self.computed(lambda: screen.enter(self.window, 'alt+h', str(FEATHER)))
        _, soft_rim, core = self.changed(original, soft)
        session.screenshot('controls-feathered', self.window)
        print('# the rim changes by %.1f, feathered by %.1f; further in by %.1f' % (rim, soft_rim, core))
        self.say('a feathered fill fades in', None if 0 < soft_rim < 0.7 * rim and core > 0 else 'the rim changes by %.1f, before by %.1f' % (soft_rim, rim))
        near = self.differs('the context', lambda: screen.enter(self.window, 'alt+x', str(CONTEXT)), soft)
        screen.enter(self.window, 'alt+v', '2')
        self.say('variants leave the preview as it is', None if pictures.different_pixels(fills.seen(near), fills.seen(screen.settle(self.window))) == 0
                 else 'it changes')
        screen.keys(self.window, 'alt+o')
        self.check_result()

    def check_result(self):
        session = self.session
        result, record = session.result('controls'), session.result('recorded') or ''
        layers = [session.result(name) or '' for name in ('dialog-layers', 'called-layers')]
        wanted = ["'grow': <%d>" % GROW, "'feather': <%d>" % FEATHER, "'context': <%d>" % CONTEXT, "'variants': <2>", "'seed': <%d>" % SEED]
        self.say('the result remembers all of it', None if all(word in record for word in wanted) else record)
        self.say('two variants are two layers', None if layers[0].count('Inpainted') == 2 and layers[0] == layers[1] else '%s %s' % (result, layers))
        same = [session.read('out-dialog-%d.raw' % i) == session.read('out-called-%d.raw' % i) for i in range(2)]
        other = session.read('out-dialog-0.raw') != session.read('out-dialog-1.raw')
        self.say('they are what a script gets that says the same', None if all(same) and other else '%s, %s' % (same, other))


def check_seeds(session, driver):
    """A seed is kept until that is switched off; then each dialog has a new one."""
    def accept(number, *keys, seed=None):
        if not driver.open():
            return None
        session.screen.settle(driver.window, 0.5)
        if seed is not None:
            session.screen.enter(driver.window, 'alt+d', str(seed))
        session.screen.keys(driver.window, *keys, 'alt+o')
        session.result('keep-%d' % number)
        found = re.search(r"'seed': <(\d+)>", session.result('seed-%d' % number) or '')
        return int(found.group(1)) if found else None

    seeds = [accept(0, seed=KEPT), accept(1), accept(2, 'alt+k'), accept(3), accept(4, 'alt+k', 'alt+w')]
    print('# seeds: %s' % seeds)
    driver.say('the seed is kept for the next time', None if seeds[:2] == [KEPT, KEPT] else seeds)
    driver.say('"Keep" is of no effect on the present one', None if seeds[2] == KEPT else seeds)
    driver.say('without "Keep" the next dialog draws a new one, and so does the die', None if None not in seeds and len(set(seeds[2:])) == 3 else seeds)


LEFT = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 %d %d)' % (window.WIDTH // 2, window.HEIGHT)
SPOTS = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 20 20 80 280) (gimp-image-select-rectangle image CHANNEL-OP-ADD %d 20 30 20)' % (
    window.WIDTH - 40)
SPOT_BETWEEN = '(gimp-image-select-rectangle image CHANNEL-OP-ADD 220 60 160 200)'  # within the bounds of the others
DENOISE = '(stage "%s" (lambda () (denoise %s image layer 0 1 1 0 "")))'


def script_switch(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), '')
    session.add(DENOISE % ('switch', 'RUN-INTERACTIVE'))


def check_switch(session, driver):
    """Without the preview nothing is computed: what is under way stops, and a change waits until it is on again."""
    if not driver.open():
        return
    wait_until(lambda: window.results(session))
    session.screen.enter(driver.window, 'alt+e', '500')
    before, stopped = window.results(session), window.results(session, b'stopped')
    wait_until(lambda: fills.count(session, rb'preview: step \d+ of 500'))
    session.screen.keys(driver.window, 'alt+p')
    off = wait_until(lambda: window.results(session, b'stopped') > stopped, 10)
    session.screen.enter(driver.window, 'alt+e', '2')
    session.screen.settle(driver.window, 2)
    driver.say('switched off, the preview stops and computes no more', None if off and window.results(session) == before else 'it goes on')
    session.screen.keys(driver.window, 'alt+p')
    driver.say('switched on, it computes what is to be seen', None if wait_until(lambda: window.results(session) > before, 30) else 'it does not')
    session.screen.keys(driver.window, 'Escape')
    session.result('switch')


FIT = 8  # times the width and height of the usual layer
MOST_MEMORY = 450  # MB: such a run takes 290 by itself, and the preview of all of the layer 320


def script_fit(session):
    size = 3 * FIT * window.WIDTH * FIT * window.HEIGHT
    session.add_image('large', 'RGB', 'u8', (bytes((7 * i) % 251 for i in range(251)) * (size // 251 + 1))[:size], '', scale=FIT)
    session.add(DENOISE % ('fit', 'RUN-INTERACTIVE'))


def check_fit(session, driver):
    """What the preview was painted from is not in memory during the run."""
    if not driver.open():
        return
    wait_until(lambda: window.results(session))
    session.screen.keys(driver.window, 'alt+f')
    wait_until(lambda: window.results(session) > 1)
    session.screen.settle(driver.window)
    session.screen.keys(driver.window, 'alt+o')
    result = session.result('fit')
    took = re.findall(r'run: took [\d.]+ s, ([\d.]+) MB', session.read('output.txt').decode(errors='replace'))
    print('# after a preview of all of a large layer, the run took %s MB' % took)
    driver.say('the preview lets go of its memory before the run', None if took and float(took[0]) < MOST_MEMORY else '%s, %s MB' % (result, took))


def script_selections(session):
    """A picture that is noisier on the right."""
    quiet, loud = (pictures.synthetic(window.WIDTH, window.HEIGHT, 'RGB', sigma / 255) for sigma in (6, 40))
    row = 3 * window.WIDTH
    values = [(quiet if i % row < row // 2 else loud)[i] for i in range(len(quiet))]
    session.add_image('colour', 'RGB', 'u8', pictures.encode(values, 'u8'), LEFT)
    again = '(pixels layer %s "" "")' % scheme_string(session.file('in-colour.raw'))
    for name, mode, before in (('between', 'RUN-INTERACTIVE', SPOTS + SPOT_BETWEEN), ('moved', 'RUN-INTERACTIVE', LEFT), ('at-once', 'RUN-INTERACTIVE', LEFT),
                               ('spots', 'RUN-NONINTERACTIVE', SPOTS), ('left', 'RUN-NONINTERACTIVE', LEFT), ('all', 'RUN-NONINTERACTIVE', '(gimp-selection-none image)')):
        session.add(again + before + '(gimp-displays-flush)' + DENOISE % (name, mode))


def check_selections(session, driver):
    """Another selection while the dialog is open: its noise is estimated anew, and it is what OK uses."""
    def noise(name):
        return re.search(r'[0-9.]+', session.result(name) or '0').group()

    def press(key):
        main = wait_until(lambda: session.screen.find('GNU Image Manipulation Program|GIMP'))
        session.screen.keys(main, key)
        session.screen.settle(main, 0.5)

    computed = 0
    # Undo takes the last spot back.
    for name, key in (('between', 'ctrl+z'), ('moved', 'ctrl+shift+a'), ('at-once', 'ctrl+shift+a')):
        if not driver.open():
            return
        wait_until(lambda: window.results(session) > computed)
        session.screen.settle(driver.window)
        computed = window.results(session)
        press(key)
        if name != 'at-once':
            session.screen.enter(driver.window, 'alt+t', '0.9' if name == 'moved' else '0.8')  # not what it was last time
            wait_until(lambda: window.results(session) > computed)
            session.screen.settle(driver.window)
            driver.say('the preview is computed again when something else is selected (%s)' % name, None if window.results(session) > computed else 'it is not')
            computed = window.results(session)
        session.screen.keys(driver.window, 'alt+o')
        noise(name)
    # babl picks one of several conversions by how fast each has just been: they differ in the last bit.
    found = {name: noise(name) for name in ('between', 'spots', 'moved', 'at-once', 'left', 'all')}
    level = {name: float(text) for name, text in found.items()}
    print('# noise: %s' % found)
    driver.say('a spot between others that is selected no more has no part in the noise', None if abs(level['between'] - level['spots']) < 1e-4 else found)
    driver.say('the noise is that of what is selected when OK is pressed',
               None if found['moved'] == found['at-once'] == found['all'] and abs(level['left'] - level['all']) > 1e-2 else found)


def script_pixels(session):
    """A noisy picture that is painted over in one colour, which Undo takes back."""
    session.add_image('colour', 'RGB', 'u8', pictures.encode(pictures.synthetic(window.WIDTH, window.HEIGHT, 'RGB', 30 / 255), 'u8'), '')
    again = '(pixels layer %s "" "")' % scheme_string(session.file('in-colour.raw'))
    for name in ('later', 'soon'):
        session.add(again + '(gimp-drawable-edit-fill layer FILL-FOREGROUND) (gimp-displays-flush)' + DENOISE % (name, 'RUN-INTERACTIVE'))
    session.add(again + DENOISE % ('noisy', 'RUN-NONINTERACTIVE'))


def check_pixels(session, driver):
    """Other pixels while the dialog is open: their noise is estimated anew, and they are what is previewed."""
    def noise(name):
        return float(re.search(r'[0-9.]+', session.result(name) or '0').group())

    for name in ('later', 'soon'):
        before = window.results(session)
        if not driver.open():
            return
        wait_until(lambda: window.results(session) > before)
        session.screen.settle(driver.window)
        before = window.results(session)
        main = wait_until(lambda: session.screen.find('GNU Image Manipulation Program|GIMP'))
        noisy, flat = session.read('in-colour.raw'), session.screen.picture(driver.window)
        session.screen.keys(main, 'ctrl+z')
        session.screen.settle(main, 0.5)
        if name == 'later':
            # By itself this setting is one of blending.
            session.screen.enter(driver.window, 'alt+t', '0.9')
            driver.say('the preview is computed again when the pixels have changed', None if wait_until(lambda: window.results(session) > before, 30)
                       else 'it is not')
            # The left part of the view, which has the layer as it is.
            driver.say('and so is what is seen of before', None if not window.find_layer(flat, noisy) and window.find_layer(
                session.screen.settle(driver.window), noisy) else 'the layer was not found in the screenshot')
        session.screen.keys(driver.window, 'alt+o')
        noise(name)
    found = {name: noise(name) for name in ('later', 'soon', 'noisy')}
    print('# noise: %s' % found)
    # babl picks one of several conversions by how fast each has just been: they differ in the last bit.
    driver.say('the noise is that of the pixels that there are when OK is pressed',
               None if found['noisy'] > 5 and all(abs(level - found['noisy']) < 1e-4 for level in found.values()) else found)


def run(options, tap, model, name, make_script, check):
    fills.run_script(options, tap, model, 'controls of ' + name, lambda session: Controls(session, name), make_script, check)


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    with gimptest.small_model(options) as model:
        run(options, tap, model, 'inpaint', script, lambda session, driver: driver.open() and driver.check())
        run(options, tap, model, 'regenerate', script_seeds, check_seeds)
        run(options, tap, model, 'denoise', script_switch, check_switch)
        run(options, tap, model, 'denoise', script_fit, check_fit)
        run(options, tap, model, 'denoise', script_selections, check_selections)
        run(options, tap, model, 'denoise', script_pixels, check_pixels)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
