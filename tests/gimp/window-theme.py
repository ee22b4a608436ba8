# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dialog in GIMP's dark and in its light theme, by the pixels of a screenshot: its background, what is around the preview, and what is drawn over the
preview (the knob on the line between before and after, the captions, the mark of progress)."""
import sys

import gimptest
import pictures
import window
from window import HEIGHT, WIDTH, wait_until

# GIMP 2.10 has a theme for each, GIMP 3 one that has both.
SETTINGS = {'2': '(theme "%s")\n', '3': '(theme "Default")\n(theme-color-scheme %s)\n'}
NAMES = {'2': {'dark': 'Dark', 'light': 'Light'}, '3': {'dark': 'dark', 'light': 'light'}}
DARK, LIGHT = 110, 150  # at most, and at least, of 255
KNOB, MARK, MARGIN, CORNER = 11, 11, 8, 4  # as they are drawn, and a place at the dialog's edge
CONTRAST = 90


def brightness(picture, x, y, width=1, height=1):
    """Of each pixel of a rectangle, 0 ... 255."""
    data = pictures.crop(picture, x, y, width, height)[2]
    return [sum(data[i:i + 3]) / 3 for i in range(0, len(data), 3)]


def middle(values):
    return sorted(values)[len(values) // 2]


def look(session):
    """name -> the brightness of each thing's ground, and the contrast of what is drawn on it."""
    screen = session.screen
    dialog = session.dialog()
    wait_until(lambda: window.results(session))
    screen.settle(dialog)
    screen.keys(dialog, 'alt+i', 'alt+p')
    place = wait_until(lambda: window.find_layer(screen.picture(dialog), session.read('in-colour.raw')))
    screen.keys(dialog, 'alt+p', 'alt+i')
    shot = screen.settle(dialog)
    session.screenshot('theme-' + session.theme, dialog)
    x, y = place
    line, half = x + WIDTH // 2, y + HEIGHT // 2
    knob = brightness(shot, line - 8, half - 4, 16, 8)
    screen.enter(dialog, 'alt+e', '1000')
    mark_x, mark_y = x + WIDTH - MARK - MARGIN, y + MARK + MARGIN
    # From the top, where the arc begins, to the middle.
    mark = lambda picture: brightness(picture, mark_x, mark_y - MARK + 1, 3, MARK)
    wait_until(lambda: mark(screen.picture(dialog)) != mark(shot), 20)
    drawn = mark(screen.picture(dialog))
    session.screenshot('theme-%s-mark' % session.theme, dialog)
    caption = brightness(shot, line + MARGIN + 2, y + HEIGHT - MARGIN - 14, 30, 12)
    screen.keys(dialog, 'Escape')
    session.result('themed')
    # What is around a knob's arrows is its ground; half of what shines through a caption is the picture's.
    return {'the dialog': (middle(brightness(shot, CORNER, 2 * CORNER, 4, 200)), None),
            'the preview\'s surroundings': (middle(brightness(shot, x - 20, y + 20, 8, 200)), None),
            'the knob on the line': (middle(brightness(shot, line - 1, half - 7, 3, 3)), max(knob) - min(knob)),
            'the captions': (middle(caption), max(caption) - min(caption)),
            'the mark of progress': (middle(drawn[-9:]), max(drawn) - min(drawn))}


def run(options, tap, model, theme):
    session = window.Session(options, tap, model)
    session.language, session.theme = 'English, %s theme' % theme, theme
    try:
        with open(session.file('gimprc'), 'a') as f:
            f.write(SETTINGS[session.gimp.major] % NAMES[session.gimp.major][theme])
        session.add_image('colour', 'RGB', 'u8', window.noisy('RGB', 'u8'), '')
        session.add('(stage "themed" (lambda () (denoise RUN-INTERACTIVE image layer 0 1 1 0 "")))')
        session.start(LANGUAGE='en', G_MESSAGES_DEBUG='diffusion')
        found = look(session)
    except (OSError, TypeError) as error:
        session.screenshot('failed-theme')
        tap.check('%s theme: the session comes to its end' % theme, error)
        return
    finally:
        session.end()
    print('# %s: %s' % (theme, {what: tuple(value and round(value) for value in values) for what, values in found.items()}))
    for what, (ground, contrast) in found.items():
        right = ground <= DARK if theme == 'dark' else ground >= LIGHT
        tap.check('%s theme: %s' % (theme, what), None if right and (contrast is None or contrast >= CONTRAST) else 'brightness %d, contrast %s'
                  % (ground, contrast))


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    window.skip_without_tools()
    with gimptest.small_model(options) as model:
        for theme in ('dark', 'light'):
            run(options, tap, model, theme)
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
