# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Inpaint and regenerate with their dialogs, in a GIMP with windows: the preview comes coarse first, and settings, seed, new layers and Cancel do what
they say."""
import os
import re
import subprocess
import sys
import tempfile
import time

import gimptest
import pictures
import window
from window import CHANGED, HEIGHT, WIDTH, wait_until

SELECTION = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 130 90 150 130)'
WIDE_SELECTION = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 10 10 400 300)'  # takes seconds, with 1000 steps
SCRATCH = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 60 150 240 4)'
LARGE = 8  # times the width and height of the usual layer
LARGE_SELECTION = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 200 150 2900 2200)'
FAR_SELECTION = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 20 20 30 30)'
CALLS = {'inpaint': '(inpaint RUN-INTERACTIVE image layer 12 0 0 0 -1 -1 -1 1 0 "")',
         'regenerate': '(regenerate RUN-INTERACTIVE image layer 0.4 0.5 12 0 0 0 "")'}
TITLES = {'denoise': window.TITLE, 'inpaint': 'Inpaint Selection with Diffusion', 'regenerate': 'Regenerate with Diffusion'}


def script(session, name):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), SELECTION)
    for stage, selection in (('escape', SELECTION), ('stop', WIDE_SELECTION)):
        session.add(selection)
        session.add('(stage "%s" (lambda () %s))' % (stage, CALLS[name]))
        session.add_dump(stage)
    session.add(SELECTION)
    script_layer(session, name)


def script_layer(session, name):
    session.add('(stage "layer" (lambda () %s))' % CALLS[name])
    session.add_dump('layer')
    session.add('(stage "layers" (lambda () (describe image)))')
    session.add('(stage "recorded" (lambda () (gimp-item-get-parasite (car (layers image)) "gimp-diffusion")))')


def seen(picture):
    """The part of a picture of the dialog where the layer is seen."""
    return pictures.crop(picture, 0, 0, 480, 440)


def count(session, pattern):
    return len(re.findall(pattern, session.read('output.txt')))


class Driver:
    def __init__(self, session, name):
        self.session, self.name, self.tap, self.screen = session, name, session.tap, session.screen
        self.window = None

    def open(self):
        self.window = self.session.dialog(TITLES[self.name])
        if not self.window:
            self.session.screenshot('no-dialog-' + self.name)
        return self.window

    def say(self, what, problem):
        self.tap.check('%s: %s' % (self.name, what), problem)

    def computed(self, change):
        """Waits for the preview after a change, and returns how the window looks then."""
        start = len(self.session.read('output.txt'))
        change()

        def done():
            """Its last word since then; a step that is painted stands still for a while where the machine has other work."""
            words = re.findall(rb'preview: (step|painted|computed)', self.session.read('output.txt')[start:])
            return words and words[-1] == b'computed'

        shot = None
        while shot is None or not done():
            if not wait_until(done):
                break
            shot = self.screen.settle(self.window)
        return shot or self.screen.settle(self.window)

    def differs(self, what, change, before):
        after = self.computed(change)
        self.session.screenshot('%s-%s' % (self.name, what.split()[-1]), self.window)
        self.say('the preview follows ' + what, None if pictures.different_pixels(seen(before), seen(after)) > CHANGED // 2 else 'it looks the same')
        return after

    def check_first(self):
        """What the plug-in logged of the first preview: painted while it was computed, from coarse to fine."""
        text = self.session.read('output.txt').split(b'preview: computed')[0]
        steps = [tuple(map(int, step)) for step in re.findall(rb'preview: step (\d+) of \d+, reduced by (\d+)', text)]
        painted = text.count(b'preview: painted a step')
        sizes = [size for _, size in steps]
        wrong = None
        if not painted or len(steps) < 4:
            wrong = '%d steps, of which %d were painted' % (len(steps), painted)
        elif sizes != sorted(sizes, reverse=True) or sizes[-1] != 1 or (self.name == 'inpaint' and sizes[0] < 2):
            wrong = 'reduced by %s' % sizes
        self.say('the preview is seen while it is computed, coarse first', wrong)

    def check_settings(self):
        session, screen = self.session, self.screen
        wait_until(lambda: count(session, rb'preview: computed'))
        screen.keys(self.window, 'alt+i')
        first = screen.settle(self.window)
        self.check_first()
        more = lambda: screen.enter(self.window, 'alt+t', '0.9' if self.name == 'regenerate' else '0')
        second = self.differs('strength' if self.name == 'regenerate' else 'texture', more, first)
        dice = self.differs('the dice', lambda: screen.keys(self.window, 'alt+w'), second)
        again = self.computed(lambda: screen.enter(self.window, 'alt+d', '0'))
        other = pictures.different_pixels(seen(again), seen(second))
        self.say('the same seed shows the same again', None if other == 0 and seen(dice) != seen(second) else '%d pixels are others' % other)
        return again

    def check_expander(self, before):
        self.screen.keys(self.window, 'alt+n')
        shown = wait_until(lambda: pictures.different_pixels(before, self.screen.picture(self.window)) > CHANGED // 2, 10)
        opened = self.screen.settle(self.window)
        self.session.screenshot(self.name + '-advanced', self.window)
        self.say('Advanced opens', None if shown else 'nothing changed')
        self.differs('the sampler', lambda: self.screen.keys(self.window, 'alt+a', 'Down', 'Down'), opened)

    def check_change_in_mid_preview(self):
        """Another seed while the preview computes: the old work ends soon, the interface goes on meanwhile."""
        for seed in ('11', '12', '13'):
            self.screen.enter(self.window, 'alt+d', seed)
            time.sleep(0.5)
        self.computed(lambda: self.screen.enter(self.window, 'alt+d', '0'))

    def check_cancel(self, stage):
        session, screen = self.session, self.screen
        screen.enter(self.window, 'alt+e', '1000')
        screen.enter(self.window, 'alt+d', '1')
        session.begin_run(self.window)
        early, slow = session.cancel_run(self.window, stage, 5)
        session.result(stage + '-dumped')
        self.say('Cancel in mid-run leaves the layer untouched', 'the run had ended before' if early
                 else None if session.read('out-%s.raw' % stage) == session.read('in-colour.raw') else 'the layer was changed')
        self.say('Cancel acts within half a second', slow)

    def check_new_layer(self):
        session, screen = self.session, self.screen
        screen.keys(self.window, 'alt+y', 'Down')
        screen.settle(self.window)
        screen.keys(self.window, 'alt+o')
        result = session.result('layer')
        session.result('layer-dumped')
        layers, record = session.result('layers') or '', session.result('recorded') or ''
        title = {'inpaint': 'Inpainted', 'regenerate': 'Regenerated'}[self.name]
        self.say('a new layer with a mask, the old one as it was', None if '(%s 1 1)' % title in layers
                 and session.read('out-layer.raw') == session.read('in-colour.raw') else '%s %s' % (result, layers))
        self.say('the settings are kept with the new layer', None if "'output': <'new-layer'>" in record else record)


def check_pace(session, name):
    """By what the plug-in logged: a change stops the preview within 0.2 s, and the interface never computes for longer than 50 ms."""
    output = session.read('output.txt').decode(errors='replace')
    stops = sorted(int(ms) for ms in re.findall(r'preview: stopped (\d+) ms', output))
    worked = [int(ms) for ms in re.findall(r'preview: held up for \d+ ms, of which (\d+) ms', output)]
    print('# %s: the preview stopped within %s ms; the interface computed up to %s ms at a stretch' % (name, stops, max(worked, default=0)))
    session.tap.check(name + ': a change stops the preview within 0.2 s', None if stops and stops[len(stops) // 2] < 200 else 'it took %s ms' % stops)
    session.tap.check(name + ': the preview never keeps the interface longer than 50 ms', None if max(worked, default=0) <= 50
                      else 'it computed for %s ms' % worked)


def run(options, tap, model, name):
    session = window.Session(options, tap, model)
    session.language = 'English, ' + name
    driver = Driver(session, name)
    try:
        script(session, name)
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        if driver.open():
            driver.check_expander(driver.check_settings())
            driver.check_change_in_mid_preview()
            session.screen.keys(driver.window, 'Escape')
            result = session.result('escape')
            session.result('escape-dumped')
            driver.say('Escape closes the dialog without a change', None if result and session.read('out-escape.raw') == session.read('in-colour.raw')
                       else result)
        if driver.open():
            session.screen.settle(driver.window)
            driver.check_cancel('stop')
        if driver.open():
            # The settings of the run that was cancelled have come up again.
            session.screen.settle(driver.window, 0.2)
            session.screen.enter(driver.window, 'alt+e', '0')
            session.screen.settle(driver.window)
            driver.check_new_layer()
        check_pace(session, name)
    except OSError as error:
        session.screenshot('failed-' + name)
        tap.check(name + ': the session comes to its end', error)
    finally:
        session.end()


def run_script(options, tap, model, name, make_driver, make_script, check):
    """One session of a script and what checks it; also for the other programs that drive these dialogs."""
    session = window.Session(options, tap, model)
    session.language = 'English, ' + name
    driver = make_driver(session)
    try:
        make_script(session)
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        check(session, driver)
    except (OSError, TypeError) as error:
        session.screenshot('failed-' + name)
        driver.say('the session comes to its end', error)
    finally:
        session.end()


def run_thin(options, tap, model):
    """A scratch: its preview too is seen while it is computed."""
    session = window.Session(options, tap, model)
    session.language = 'English, a scratch'
    driver = Driver(session, 'inpaint')
    try:
        session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), SCRATCH)
        session.add('(stage "thin" (lambda () %s))' % CALLS['inpaint'])
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        if driver.open():
            wait_until(lambda: window.results(session))
            session.screen.settle(driver.window)
            session.screen.keys(driver.window, 'Escape')
            session.result('thin')
        text = session.read('output.txt').split(b'preview: computed')[0]
        steps, painted = text.count(b'preview: step '), text.count(b'preview: painted a step')
        driver.say('a scratch is seen while it is computed, smooth first', None if steps >= 9 and painted else '%d steps, of which %d were painted' % (steps, painted))
    finally:
        session.end()


def run_large(options, tap, model):
    """A selection of millions of pixels, in which the holes are found; and a view that has nothing of a small one."""
    session = window.Session(options, tap, model)
    session.language = 'English, a large layer'
    driver = Driver(session, 'inpaint')
    try:
        session.add_image('large', 'RGB', 'u8', window.noisy('RGB', 'u8', LARGE), LARGE_SELECTION, LARGE)
        session.add('(stage "large" (lambda () %s))' % CALLS['inpaint'])
        session.add(FAR_SELECTION)
        session.add('(stage "far" (lambda () %s))' % CALLS['inpaint'])
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        steps = lambda: count(session, rb'preview: step|preview: computed')
        if driver.open():
            seen_first = wait_until(steps)
            before = steps()
            session.screen.keys(driver.window, 'alt+f')
            driver.say('a selection of millions of pixels is previewed, Fit too', None if seen_first and wait_until(lambda: steps() > before)
                       else 'nothing was computed')
            session.screen.keys(driver.window, 'Escape')
            session.result('large')
        check_pace(session, 'inpaint, a large selection')
        if driver.open():
            wait_until(lambda: window.results(session))
            session.screen.settle(driver.window)
            before = count(session, rb'preview: computed')
            for _ in range(4):
                session.screen.drag(driver.window, 420, 400, 40, 60)
                session.screen.settle(driver.window)
            driver.say('far from the selection the layer is seen as it is', None if wait_until(lambda: count(session, rb'preview: computed') > before)
                       else 'no preview')
            session.screenshot('inpaint-far', driver.window)
            session.screen.keys(driver.window, 'Escape')
            session.result('far')
    finally:
        session.end()


def run_estimate(options, tap, model, name):
    """What the dialog says that a run will take, against what it took."""
    session = window.Session(options, tap, model)
    session.language = 'English, %s, estimate' % name
    driver = Driver(session, name)
    try:
        session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), SELECTION)
        script_layer(session, name)
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        if driver.open():
            wait_until(lambda: window.results(session))
            session.screen.settle(driver.window)
            driver.check_new_layer()
    finally:
        session.end()
    window.check_cost(session)


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    # A small model is soon done, also with what is to be seen in the middle of it.
    with tempfile.TemporaryDirectory(prefix='gimp diffusion ') as folder:
        small = os.path.join(folder, 'default.safetensors')
        subprocess.run([options.make_model, small], check=True)
        for name in CALLS:
            run(options, tap, small, name)
        run_thin(options, tap, small)
        run_large(options, tap, small)
    with gimptest.test_model(options) as model:
        for name in CALLS:
            if os.path.getsize(model) > 1e6:
                run_estimate(options, tap, model, name)
            else:
                tap.skip(name + ': the estimates of time and memory', 'there is no trained model in $DIFFUSION_MODELS')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
