# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of the image while the dialog is open, in a GIMP with windows: the layer shrinks, and it is deleted; and the preview of an image with a colour
profile, and of a layer whose pixels are locked.  Then of one that changes while a filter runs.  GIMP's script waits for both: what users do meanwhile, Undo does."""
import importlib
import pathlib
import sys
import time

import gimptest
import pictures
import window
from gimptest import scheme_string
from window import wait_until

fills = importlib.import_module('window-fills')

DENOISE = '(stage "%s" (lambda () (denoise RUN-INTERACTIVE image layer 10 1 1 0 "")))'
COLOUR, GAMMA = (120, 160, 100), 1.8  # within sRGB, in the wide profile too


def undo(session):
    main = wait_until(lambda: session.screen.find('GNU Image Manipulation Program|GIMP'))
    before = session.screen.picture(main)
    session.screen.keys(main, 'ctrl+z')
    wait_until(lambda: session.screen.picture(main) != before, 10)
    session.screen.settle(main, 0.5)


def open_and_undo(session, driver):
    """The dialog has shown its result, and the last change of the image is undone behind it."""
    if not driver.open():
        return False
    wait_until(lambda: window.results(session))
    session.screen.settle(driver.window)
    undo(session)
    return True


def script_shrunk(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), '')
    session.add('(gimp-image-scale image %d %d) (gimp-displays-flush)' % (3 * window.WIDTH, 3 * window.HEIGHT))
    session.add(DENOISE % 'shrunk')
    session.add_dump('shrunk')


def check_shrunk(session, driver):
    """Part of what the dialog shows is no more: it is not computed, and OK takes the layer as it is then."""
    if not open_and_undo(session, driver):
        return
    computed = window.results(session)
    # Several steps, each of which the preview would look at.
    session.screen.enter(driver.window, 'alt+e', '4')
    time.sleep(2)
    session.screen.settle(driver.window)
    session.screenshot('changes-shrunk', driver.window)
    driver.say('a view that the layer has no more is not computed', None if window.results(session) == computed else 'it was computed')
    session.screen.keys(driver.window, 'alt+o')
    result = session.result('shrunk') or ''
    session.result('shrunk-dumped')
    before, after = session.read('in-colour.raw'), session.read('out-shrunk.raw')
    driver.say('OK filters the layer in its new size', None if 'OK' in result and len(after) == len(before) and after != before
               else '%s, %d bytes of %d' % (result, len(after), len(before)))


def script_deleted(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8', scale=2), '', scale=2)
    session.add('(define below layer) (define layer (car (gimp-layer-copy layer TRUE))) (gimp-image-insert-layer image layer 0 0) (gimp-displays-flush)'
                if session.gimp.major == '2' else
                '(define below layer) (define layer (car (gimp-layer-copy layer))) (gimp-image-insert-layer image layer 0 0) (gimp-displays-flush)')
    session.add(DENOISE % 'deleted')
    session.add('(pixels below "" %s "") (stage "deleted-dumped" (lambda () (describe image)))' % scheme_string(session.file('out-deleted.raw')))


def check_deleted(session, driver):
    """The layer is gone: nothing of it is painted, GIMP has nothing to complain about, and OK says so."""
    if not open_and_undo(session, driver):
        return
    # Another part is to be seen, another setting is to be computed.
    session.screen.keys(driver.window, 'alt+p', 'alt+p')
    session.screen.enter(driver.window, 'alt+e', '4')
    window_x, window_y = 200, 200
    session.screen.drag(driver.window, window_x, window_y, window_x - 60, window_y - 60)
    time.sleep(1)
    session.screen.settle(driver.window)
    session.screenshot('changes-deleted', driver.window)
    driver.say('no message of GIMP appears', None if not session.screen.find('GIMP Message') else 'there is a window of GIMP\'s')
    session.screen.keys(driver.window, 'alt+o')
    result = session.result('deleted') or ''
    layers = session.result('deleted-dumped') or ''
    driver.say('OK says that the layer is no more', None if 'does not exist' in result and layers.count('layer') == 1
               and session.read('out-deleted.raw') == session.read('in-colour.raw') else '%s, %s' % (result, layers))


def script_profile(session):
    session.add_image('colour', 'RGB', 'u8', bytes(COLOUR) * (window.WIDTH * window.HEIGHT), '')
    profile = session.file('wide.icc')
    with open(profile, 'wb') as f:
        f.write(pictures.icc_profile(GAMMA))
    place = pathlib.Path(profile).as_uri() if session.gimp.major == '2' else profile
    session.add('(gimp-image-set-color-profile-from-file image %s)' % scheme_string(place))
    session.add('(stage "profile" (lambda () (denoise RUN-INTERACTIVE image layer 10 0 1 0 "")))')


def in_srgb(colour):
    """The colour of the wide profile as sRGB has it."""
    to_xyz = ((0.60974, 0.20528, 0.14919), (0.31111, 0.62567, 0.06322), (0.01947, 0.06087, 0.74457))
    to_linear = ((3.13386, -1.61687, -0.49061), (-0.97877, 1.91614, 0.03345), (0.07195, -0.22899, 1.40524))
    times = lambda matrix, vector: [sum(a * b for a, b in zip(row, vector)) for row in matrix]
    linear = times(to_linear, times(to_xyz, [(value / 255) ** GAMMA for value in colour]))
    return [round(255 * (12.92 * v if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055)) for v in linear]


def check_profile(session, driver):
    """Before and after a filter that changes nothing, the preview has the colour that GIMP's window has."""
    if not driver.open():
        return
    session.screen.enter(driver.window, 'alt+t', '0')
    wait_until(lambda: window.results(session, b'blended'))
    _, _, data = session.screen.settle(driver.window)
    session.screenshot('changes-profile', driver.window)
    wanted = in_srgb(COLOUR)
    like = sum(all(abs(data[i + c] - wanted[c]) <= 1 for c in range(3)) for i in range(0, len(data), 3))
    driver.say('the preview has the colours of the image\'s profile', None if like > 0.9 * window.WIDTH * window.HEIGHT
               else '%d pixels are like %s' % (like, wanted))
    session.screen.keys(driver.window, 'Escape')
    session.result('profile')


def script_locked(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), '(gimp-item-set-lock-content layer TRUE)')
    for name in ('locked', 'beside'):
        session.add(DENOISE % name)
        session.add_dump(name)
    session.add('(stage "layers" (lambda () (describe image)))')


def check_locked(session, driver):
    """The dialog opens and previews; only a result in place is refused."""
    for name, keys in (('locked', ()), ('beside', ('alt+y', 'Down'))):
        before = window.results(session)
        if not driver.open():
            driver.say('a locked layer: the dialog opens (%s)' % name, session.result(name, 1))
            return
        computed = wait_until(lambda: window.results(session) > before, 30)
        driver.say('a locked layer is previewed (%s)' % name, None if computed else 'nothing was computed')
        session.screen.settle(driver.window)
        start = len(session.read('output.txt'))
        session.screen.keys(driver.window, *keys, 'alt+o')
        if name == 'locked':
            refused = wait_until(lambda: b'dialog: refuses' in session.read('output.txt')[start:], 10)
            session.screen.settle(driver.window)
            session.screenshot('changes-refused', driver.window)
            driver.say('OK refuses to write into it, and the dialog stays', None if refused else 'it does not')
            session.screen.keys(driver.window, 'Escape')
        result = session.result(name) or ''
        session.result(name + '-dumped')
        driver.say('its pixels stay as they are (%s)' % name, None if session.read('out-%s.raw' % name) == session.read('in-colour.raw') else result)
        driver.say('and can be cancelled' if name == 'locked' else 'and makes a layer above it',
                   None if ('unlock' not in result if name == 'locked' else 'OK' in result) else result)
    layers = session.result('layers') or ''
    driver.say('the new layer is there', None if layers.count('Denoised') == 1 else layers)


LARGE = 16  # times the width and height of the usual layer: 34 megapixels, which are denoised in bands
SELECTED = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE %d %d %d %d)'
RUN = '(stage "%s" (lambda () (denoise-to %d RUN-NONINTERACTIVE image layer 10 1 1 0 "")))'


def script_selection(session):
    """What Undo takes back is a selection; what was selected before is smaller."""
    width, height = LARGE * window.WIDTH, LARGE * window.HEIGHT
    pattern = bytes((7 * i) % 251 for i in range(251)) * (width * height // 251 + 1)
    session.add_image('large', 'GRAY', 'u8', pattern[:width * height], SELECTED % (10, 10, width // 2, height // 3), scale=LARGE)
    session.add(SELECTED % (5, 5, width - 10, height - 10))
    session.add_wait('bands')
    session.add(RUN % ('bands', 0))
    session.add_dump('bands')
    session.add(SELECTED % (5, 5, width // 2, height // 2))
    session.add(RUN % ('layer', 1))
    session.add_dump('layer')
    session.add('(stage "layers" (lambda () (describe image)))')
    # What Undo takes back is a hole in the middle: the bounds stay.
    session.add(SELECTED % (5, 5, width - 10, height - 10))
    session.add('(gimp-image-select-ellipse image CHANNEL-OP-SUBTRACT %d %d %d %d)' % (width // 4, height // 4, width // 2, height // 2))
    session.add_wait('within')
    session.add(RUN % ('within', 0))
    session.add_dump('within')


def undo_when(session, pattern, start=0):
    """Undoes when the plug-in has logged that it has come to some point; where its log ended then."""
    text = lambda: session.read('output.txt')[start:]
    wait_until(lambda: pattern in text(), pause=0.01)
    session.screen.keys(session.screen.find('– GIMP$'), 'ctrl+z')
    return len(session.read('output.txt'))


def check_selection(session, driver):
    wait_until(lambda: session.screen.find('– GIMP$'))
    session.go('bands')
    end = undo_when(session, b'run: takes over rows')
    result = session.result('bands') or ''
    session.result('bands-dumped')
    driver.say('another selection between two bands: the layer is left as it was', None if 'selection was changed' in result
               and session.read('out-bands.raw') == session.read('in-large.raw') else result or 'other pixels')
    end = undo_when(session, b'run: makes a layer', end)
    result, layers = session.result('layer') or '', ''
    session.result('layer-dumped')
    layers = session.result('layers') or ''
    driver.say('another selection before a new layer is there: there is none', None if 'selection was changed' in result and layers.count('layer') == 1
               and 'Denoised' not in layers else '%s, %s' % (result, layers))
    session.go('within')
    undo_when(session, b'run: takes over rows', end)
    result = session.result('within') or ''
    session.result('within-dumped')
    driver.say('another selection of the same bounds between two bands: the layer is left as it was', None if 'selection was changed' in result
               and session.read('out-within.raw') == session.read('in-large.raw') else result or 'other pixels')


def script_removed(session):
    copied = '(gimp-layer-copy layer TRUE)' if session.gimp.major == '2' else '(gimp-layer-copy layer)'
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8', scale=2), '', scale=2)
    session.add('(define below layer) (gimp-message-set-handler 1) (gimp-displays-flush)')  # 1: messages go to the console
    for output, name in enumerate(('in-place', 'beside')):
        session.add('(define layer (car %s)) (gimp-image-insert-layer image layer 0 0)' % copied.replace('layer ', 'below ').replace('layer)', 'below)'))
        session.add_wait(name)
        session.add('(stage "%s" (lambda () (denoise-to %d RUN-NONINTERACTIVE image layer 10 1 40 0 "")))' % (name, output))


def check_removed(session, driver):
    """The layer goes while the filter works: its sentence is the plug-in's, and GIMP has none of its own."""
    wait_until(lambda: session.screen.find('– GIMP$'))
    end = 0
    for name in ('in-place', 'beside'):
        session.go(name)
        end = undo_when(session, b'run: computes', end)
        result = session.result(name) or ''
        time.sleep(1)
        driver.say('a layer that is deleted while the filter works is named (%s)' % name, None if 'does not exist' in result else result)
        said = [line for line in session.read('output.txt').decode(errors='replace').splitlines() if "for procedure 'gimp-" in line]
        driver.say('and GIMP has no message of its own (%s)' % name, None if not said else said)


def script_painted(session):
    session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8', scale=2), '', scale=2)
    session.add('(gimp-drawable-edit-fill layer FILL-FOREGROUND)')
    session.add_wait('painted')
    session.add('(stage "painted" (lambda () (denoise RUN-NONINTERACTIVE image layer 10 1 40 0 "")))')
    session.add_dump('painted')
    session.add('(gimp-drawable-edit-fill layer FILL-FOREGROUND)')
    session.add_wait('beside')
    session.add('(stage "beside" (lambda () (denoise-to 1 RUN-NONINTERACTIVE image layer 10 1 40 0 "")))')
    session.add_dump('beside')
    session.add('(stage "layers" (lambda () (describe image)))')


def check_painted(session, driver):
    """What was painted while the filter worked is not painted over."""
    wait_until(lambda: session.screen.find('– GIMP$'))
    session.go('painted')
    end = undo_when(session, b'run: computes')
    result = session.result('painted') or ''
    session.result('painted-dumped')
    driver.say('pixels that changed while the filter worked are left as they are', None if 'layer was changed' in result
               and session.read('out-painted.raw') == session.read('in-colour.raw') else result or 'other pixels')
    session.go('beside')
    undo_when(session, b'run: computes', end)
    result = session.result('beside') or ''
    session.result('beside-dumped')
    layers = session.result('layers') or ''
    driver.say('no new layer of pixels that changed meanwhile', None if 'layer was changed' in result and layers.count('layer') == 1
               and 'Denoised' not in layers else '%s, %s' % (result, layers))


def run(options, tap, model, name, make_script, check):
    fills.run_script(options, tap, model, name, lambda session: fills.Driver(session, 'denoise'), make_script, check)


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    with gimptest.small_model(options) as model:
        run(options, tap, model, 'a layer that shrinks', script_shrunk, check_shrunk)
        run(options, tap, model, 'a layer that is deleted', script_deleted, check_deleted)
        run(options, tap, model, 'a colour profile', script_profile, check_profile)
        run(options, tap, model, 'a locked layer', script_locked, check_locked)
        run(options, tap, model, 'a selection that changes', script_selection, check_selection)
        run(options, tap, model, 'pixels that change', script_painted, check_painted)
        run(options, tap, model, 'a layer that goes', script_removed, check_removed)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
