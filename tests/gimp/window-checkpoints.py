# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stable Diffusion checkpoints in the dialogs, in a GIMP with windows: one that another program keeps is chosen from the list, prompts are typed, the
preview is computed when it is asked for, OK, last values, Cancel.

The tiny checkpoint is that of $DIFFUSION_SD_REFERENCES; all is skipped where there is none."""
import os
import re
import shutil
import sys

import gimptest
import pictures
import window
from cases import inpaint_call, regenerate_call
from gimptest import scheme_string
from live import wait_until

SELECTION = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 150 110 70 60)'
CALLS = {'inpaint': inpaint_call, 'regenerate': regenerate_call}
TITLES = {'inpaint': 'Inpaint Selection with Diffusion', 'regenerate': 'Regenerate with Diffusion'}
CHANGED = 500  # pixels


def script(session, name):
    for image in ('first', 'again', 'stop'):
        mode = 'RUN-WITH-LAST-VALS' if image == 'again' else 'RUN-INTERACTIVE'
        session.add_image(image, 'RGB', 'u8', window.noisy('RGB', 'u8'), SELECTION)
        session.add('(stage "%s" (lambda () %s))' % (image, CALLS[name](mode=mode, steps=0, sampler=6, seed=0)))
        session.add('(stage "%s-recorded" (lambda () (gimp-item-get-parasite layer "gimp-diffusion")))' % image)
        session.add_dump(image)


def seen(picture):
    """The part of a picture of the dialog where the layer is seen."""
    return pictures.crop(picture, 0, 0, 480, 440)


class Driver:
    def __init__(self, session, name):
        self.session, self.name, self.tap, self.screen = session, name, session.tap, session.screen

    def say(self, what, problem):
        self.tap.check('%s with a checkpoint: %s' % (self.name, what), problem)

    def count(self, pattern):
        return len(re.findall(pattern, self.session.read('output.txt')))

    def open(self):
        self.window = self.session.dialog(TITLES[self.name])
        if not self.window:
            self.say('the dialog opens', 'there is no window')
        return self.window

    def differ(self, a, b):
        return pictures.different_pixels(seen(a), seen(b))

    def choose(self):
        """The one that ComfyUI keeps comes after the models of this program."""
        screen = self.screen
        wait_until(lambda: self.count(rb'preview: computed'))
        own = screen.settle(self.window)
        screen.keys(self.window, 'alt+m', 'Down')
        chosen = wait_until(lambda: self.count(rb'model: a checkpoint'))
        self.computed = self.count(rb'preview: computed')
        self.original = screen.settle(self.window, 2)
        self.session.screenshot(self.name + '-checkpoint', self.window)
        self.say('it is listed, and chosen', None if chosen else 'it was not loaded')
        self.say('nothing is computed before it is asked for', None if self.count(rb'preview: computed') == self.computed
                 and self.differ(own, self.original) > CHANGED else 'there is a preview')
        return chosen

    def check_preview(self):
        """Asked for it is computed, and a change switches it off again."""
        screen = self.screen
        screen.enter(self.window, 'alt+x', 'a wooden boat')
        screen.enter(self.window, 'alt+l', 'blurry')
        screen.enter(self.window, 'alt+u', '3')
        screen.enter(self.window, 'alt+e', '4')
        screen.keys(self.window, 'alt+n')
        screen.settle(self.window, 0.5)
        screen.enter(self.window, 'alt+z', '128')
        screen.settle(self.window, 0.3)
        self.session.screenshot(self.name + '-checkpoint-advanced', self.window)
        screen.keys(self.window, 'alt+n')
        screen.keys(self.window, 'alt+i')
        before = screen.settle(self.window)
        screen.keys(self.window, 'alt+p')
        done = wait_until(lambda: self.count(rb'preview: computed') > self.computed)
        after = screen.settle(self.window)
        self.session.screenshot(self.name + '-checkpoint-preview', self.window)
        steps = self.count(rb'preview: step \d+ of 4, reduced by 1\n')
        self.say('the preview is computed when it is switched on', None if done and self.differ(before, after) > CHANGED
                 else '%s, %d pixels changed' % (done, self.differ(before, after)))
        self.say('its steps can be seen', None if steps == 4 else '%d steps' % steps)
        screen.keys(self.window, 'alt+p')
        off = screen.settle(self.window)
        screen.keys(self.window, 'alt+p')
        on = screen.settle(self.window)
        self.say('switched off and on it is the same, and not computed again', None if self.differ(off, before) < CHANGED and self.differ(on, after) < CHANGED
                 and self.count(rb'preview: computed') == self.computed + 1 else 'it is another')
        screen.enter(self.window, 'alt+e', '3')
        changed = screen.settle(self.window)
        self.say('a change switches it off', None if self.differ(changed, before) < CHANGED and self.count(rb'preview: computed') == self.computed + 1
                 else '%d pixels differ' % self.differ(changed, before))

    def check_run(self):
        session, screen = self.session, self.screen
        screen.keys(self.window, 'alt+o')
        result = session.result('first')
        record = session.result('first-recorded') or ''
        session.result('first-dumped')
        after = session.read('out-first.raw')
        self.say('OK applies it', None if result and 'OK' in result and after != session.read('in-first.raw') else result)
        missing = [part for part in ("'prompt': <'a wooden boat'>", "'negative-prompt': <'blurry'>", "'guidance': <3.0>", "'steps': <3>", "'size': <128>",
                                     "'sampler': <'auto'>", 'ComfyUI/models/checkpoints/boats.safetensors') if part not in record]
        self.say('prompts and all else are kept with the result', missing and '%s are not in %s' % (missing, record))
        outside = [i for i, (old, new) in enumerate(zip(session.read('in-first.raw'), after)) if old != new
                   and not (140 <= i // 3 % window.WIDTH < 230 and 100 <= i // 3 // window.WIDTH < 180)]
        self.say('pixels away from the selection are the same', outside and '%d values differ' % len(outside))
        session.result('again-dumped')
        problem = pictures.compare(session.read('out-again.raw'), after)
        self.say('last values do the same again', problem and '%s\n%s\n%s' % (problem, record, session.result('again-recorded')))

    def check_stop(self):
        """The dialog comes up with the last values."""
        session, screen = self.session, self.screen
        loaded = wait_until(lambda: self.count(rb'model: a checkpoint') > 1)
        screen.settle(self.window)
        session.screenshot(self.name + '-checkpoint-again', self.window)
        self.say('the next dialog starts with it', None if loaded else 'it has another model')
        screen.enter(self.window, 'alt+e', '500')
        session.begin_run(self.window)
        early = session.result('stop', 0.1)
        screen.keys(self.window, 'Escape')
        session.result('stop')
        session.result('stop-dumped')
        self.say('Cancel in mid-run leaves the layer untouched', 'the run had ended before' if early else
                 None if session.read('out-stop.raw') == session.read('in-stop.raw') else 'something was changed')


def check_log(session, name):
    text = session.gimp.output
    stops = [int(ms) for ms in re.findall(r'run: stopped (\d+) ms after Cancel', text)]
    # From the choice on: what it takes to open a dialog is not the checkpoint's.
    middle = text.partition('model: a checkpoint')[2].partition('run: expected')[0]
    worked = [int(ms) for ms in re.findall(r'preview: held up for \d+ ms, of which (\d+) ms', middle)]
    told = re.findall(r'run: (?:expected|took) [\d.]+ s, [\d.]+ MB', text)
    print('# %s: stopped within %s ms; the interface computed up to %d ms at a stretch; %s' % (name, stops, max(worked, default=0), told))
    session.tap.check(name + ' with a checkpoint: Cancel acts within 0.5 s', None if stops and max(stops) < 500 else 'after %s ms' % stops)
    session.tap.check(name + ' with a checkpoint: choosing, typing and looking never keep the interface longer than 50 ms', None if max(worked, default=0) <= 50
                      else 'it computed for %s ms' % worked)


def run(options, tap, model, name, tiny, vocabulary):
    session = window.Session(options, tap, model)
    session.language = 'English, %s, checkpoint' % name
    folder = session.file('ComfyUI/models/checkpoints')
    os.makedirs(folder)
    os.symlink(tiny, os.path.join(folder, 'boats.safetensors'))
    shutil.copy(vocabulary, session.gimp.models)
    driver = Driver(session, name)
    try:
        script(session, name)
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        if driver.open() and driver.choose():
            driver.check_preview()
            driver.check_run()
            if driver.open():
                driver.check_stop()
    except OSError as error:
        session.screenshot('failed-' + name)
        tap.check(name + ' with a checkpoint: the session comes to its end', error)
    finally:
        session.end()
    check_log(session, name)


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    tiny = os.path.join(os.environ.get('DIFFUSION_SD_REFERENCES', ''), 'tiny-sd1.safetensors')
    vocabulary = os.path.join(os.environ.get('DIFFUSION_MODELS', ''), 'clip-vocabulary.txt.gz')
    with gimptest.small_model(options) as model:
        for name in CALLS:
            if os.path.exists(tiny) and os.path.exists(vocabulary):
                run(options, tap, model, name, tiny, vocabulary)
            else:
                tap.skip(name + ' with a checkpoint', 'there is no tiny checkpoint: DIFFUSION_SD_REFERENCES names its folder')
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
