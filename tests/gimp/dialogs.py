# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""dialogs.py LIST-WIDGETS LOCALE-FOLDER 2|3: the three dialogs in each language, control by control, without GIMP: each has a mnemonic that no other
has, and an accessible name; all of it is on a small screen, and on one of twice the resolution; numbers are written as the language does.  Sliders stop where the
number beside them says, the arrows lead from "auto" and back in one step, and during a run there is no button but Cancel."""
import os
import subprocess
import sys
import tempfile

import gimptest
import window

FILTERS = ('denoise', 'inpaint', 'regenerate')
# The preview is reached with Tab; a slider shares the mnemonic of the number beside it.
WITHOUT_MNEMONIC = ('GtkDrawingArea', 'GtkScale', 'GtkHScale')
COMMA = ('de', 'es', 'fr')


class Dialog:
    """What list-widgets says of a dialog."""

    def __init__(self, text):
        self.width = self.height = 0
        self.controls, self.numbers, self.sliders, self.arrows, self.busy = [], {}, [], [], {}
        for line in text.splitlines():
            fields = line.split('\t')
            if fields[0] == 'window':
                self.width, self.height = int(fields[1]), int(fields[2])
            elif fields[0] == 'number':
                self.numbers[fields[1]] = (int(fields[2]), fields[3])
            elif fields[0] == 'slider':
                self.sliders.append((fields[1], int(fields[2]), int(fields[3]) / 1e6, int(fields[4]) / 1e6))
            elif fields[0] == 'arrows':
                self.arrows.append((fields[1], fields[2], fields[3], int(fields[4])))
            elif fields[0] == 'busy':
                self.busy[fields[1]] = fields[2] == '1'
            elif len(fields) == 7:
                self.controls.append((fields[0], [int(field) for field in fields[1:5]], fields[5], fields[6]))

    def names(self):
        return ['a %s at %s has no name' % (kind, place) for kind, place, _, name in self.controls if not name]

    def values(self):
        """What is set is what is shown."""
        problems = ['"%s" stops at %g for %g' % (name, value, place) for name, digits, place, value in self.sliders
                    if abs(value - round(value, digits)) > 1e-9 or (digits and abs(value - place) > 0.6 * 10 ** -digits)]
        problems += ['"%s" goes from auto to %s, and back to %s' % (name, up, down) for name, up, down, above in self.arrows
                     if up.strip('0.') or down != 'auto' or above]
        return problems + ([] if self.sliders else ['there is no slider'])

    def mnemonics(self):
        keys, problems = {}, []
        for kind, _, key, name in self.controls:
            if kind in WITHOUT_MNEMONIC:
                continue
            if key == '-':
                problems.append('"%s" has no mnemonic' % name)
            elif key in keys:
                problems.append('"%s" and "%s" both have %s' % (keys[key], name, key))
            keys[key] = name
        return problems

    def places(self, width, height):
        problems = []
        if self.width > width or self.height > height:
            problems.append('the window is %d x %d' % (self.width, self.height))
        for kind, (x, y, w, h), _, name in self.controls:
            if x < 0 or y < 0 or x + w > self.width or y + h > self.height or min(w, h) < 8:
                problems.append('%s "%s" is at %d, %d, %d x %d' % (kind, name, x, y, w, h))
        return problems


class Lister:
    def __init__(self, program, locale, major, folder):
        self.program, self.locale, self.major, self.folder = program, locale, major, folder
        self.locales = {'en': 'C.UTF-8'}
        for language, name in window.LOCALES.items():
            made = subprocess.run(['localedef', '-i', name, '-f', 'UTF-8', os.path.join(folder, name + '.UTF-8')], capture_output=True,
                                  check=False)
            if made.returncode == 0:
                self.locales[language] = name + '.UTF-8'

    def list(self, display, language, name, *more, **environment):
        env = dict(os.environ, DISPLAY=display, LOCPATH=self.folder, LANGUAGE=language, LC_ALL=self.locales[language], HOME=self.folder,
                   XDG_CONFIG_HOME=self.folder, **environment)
        env.pop('WAYLAND_DISPLAY', None)
        done = subprocess.run([self.program, self.locale, 'plug-in-diffusion-' + name, *more], env=env, capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode or not done.stdout:
            raise OSError('list-widgets ended with %d: %s' % (done.returncode, done.stderr[-300:]))
        return Dialog(done.stdout)


def check_checkpoint(tap, lister, display, language, name, own):
    """The fields of a checkpoint: two texts and a guidance more, and none that has no effect."""
    opened = lister.list(display, language, name, 'expanded', 'checkpoint')
    tap.check('%s with a checkpoint in %s: every control has a name and a mnemonic of its own' % (name, language),
              '\n'.join(opened.names() + opened.mnemonics()))
    dialog = lister.list(display, language, name, 'checkpoint')
    tap.check('%s with a checkpoint in %s: all is seen on a screen of 1366 x 768' % (name, language), '\n'.join(dialog.places(1366, 768)))
    texts = [[kind for kind, _, _, _ in listed.controls].count('GtkTextView') for listed in (own, dialog)]
    hidden = {control[3] for control in own.controls} - {control[3] for control in dialog.controls}
    tap.check('%s in %s: prompts are there with a checkpoint only, and one field goes that it has no use for' % (name, language),
              None if texts == [0, 2] and len(hidden) == 1 else 'texts: %s, gone: %s' % (texts, hidden))


def check_values(tap, lister, display, name):
    listed = [lister.list(display, 'en', name, 'expanded', *more) for more in ((), ('checkpoint',))]
    tap.check('%s: sliders and arrows set what is shown' % name, '\n'.join(sum((dialog.values() for dialog in listed), []))
              or (None if name == 'denoise' or any(dialog.arrows for dialog in listed) else 'no number can be automatic'))
    tap.check('%s: only Cancel can be pressed during a run' % name, None if listed[0].busy == {'Reset': False, 'Cancel': True, 'OK': False}
              else listed[0].busy)


def check_languages(tap, lister, display):
    for language in ['en'] + sorted(window.LOCALES):
        if language not in lister.locales:
            tap.skip('the dialogs in ' + language, 'the sources of locales are not installed')
            continue
        for name in FILTERS:
            dialog = lister.list(display, language, name, 'expanded')
            tap.check('%s in %s: every control has a name and a mnemonic of its own' % (name, language),
                      '\n'.join(dialog.names() + dialog.mnemonics() + ([] if len(dialog.controls) > 20 else ['there are few controls'])))
            dialog = lister.list(display, language, name)
            tap.check('%s in %s: all is seen on a screen of 1366 x 768' % (name, language), '\n'.join(dialog.places(1366, 768)))
            if language == 'en':
                check_values(tap, lister, display, name)
            if name != 'denoise':
                check_checkpoint(tap, lister, display, language, name, dialog)
                continue
            right = '0,75' if language in COMMA else '0.75'
            wrong = ['%s is read as %g and written as %s' % (typed, value / 1000, text) for typed, (value, text) in dialog.numbers.items()
                     if typed in (right, '0.75') and (value != 750 or text != right)]
            tap.check('numbers in %s look like %s, and 0.75 is understood too' % (language, right),
                      '\n'.join(wrong) if right in dialog.numbers else 'there is no number')


def check_large(tap, lister, folder, display):
    """At twice the size: GTK 3 scales all of it, GTK 2 has larger letters."""
    if lister.major == '3':
        environment, width, height = {'GDK_SCALE': '2'}, 1366, 768
    else:
        with open(os.path.join(folder, 'large'), 'w') as f:
            f.write('gtk-font-name = "Sans 20"\n')
        environment, width, height = {'GTK2_RC_FILES': os.path.join(folder, 'large')}, 2732, 1536
    for name in FILTERS:
        dialog = lister.list(display, 'de', name, **environment) if 'de' in lister.locales else lister.list(display, 'en', name, **environment)
        tap.check(name + ' at 200 %: all is seen', '\n'.join(dialog.places(width, height)))
        if name == 'denoise':
            continue
        dialog = lister.list(display, 'de' if 'de' in lister.locales else 'en', name, 'checkpoint', **environment)
        tap.check(name + ' with a checkpoint at 200 %: all is seen', '\n'.join(dialog.places(width, height)))


def main():
    program, locale, major = sys.argv[1:4]
    tap = gimptest.Tap()
    window.skip_without_tools()
    with tempfile.TemporaryDirectory(prefix='gimp diffusion ') as folder:
        lister = Lister(program, locale, major, folder)
        for check, size, more in ((check_languages, '1366x768x24', ()), (check_large, '2732x1536x24', (folder,))):
            place = tempfile.mkdtemp(dir=folder)
            screen = window.Screen(place, size)
            try:
                check(tap, lister, *more, screen.display)
            finally:
                screen.close()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
