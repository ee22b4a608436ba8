#!/usr/bin/python3
# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture matrix: pictures of all kinds, in all places of an image, with all selections, through all filters.

    tests/gimp/matrix.py --build build [--gimp 3] --all

covers all pairs four times over, with layers of 640 x 480 and once of 12 megapixels; without --all once, with small ones.  Pixels are compared as the
bits that GIMP has of them, in the layer's own precision."""
import collections
import os
import random
import subprocess
import sys

import gimptest
import pairwise
import pictures
from cases import SIGMA, Layer, Suite, denoise_call, inpaint_call, regenerate_call
from gimptest import np, scheme_string

MEGAPIXELS = (4000, 3000)
SMALL = [(1, 1), (1, 500), (3, 5), (72, 56)]
MEDIUM = [(1, 1), (1, 500), (3, 5), (640, 480)]

PROPERTIES = {
    'size': SMALL,
    'base': ['RGB', 'GRAY'],
    'alpha': [False, True],
    'kind': pictures.TYPES,
    'curve': [0, 1, 2],  # gamma, linear, perceptual
    'selection': ['none', 'rectangle', 'feathered ellipse', 'islands', 'one pixel', 'inverted', 'partly off', 'wholly off'],
    'place': ['plain', 'larger than the canvas', 'negative offset', 'with a layer mask', 'layer mask', 'locked pixels', 'locked alpha', 'group', 'text',
              'floating', 'channel', 'quick mask'],
    'values': ['plain', 'not finite', 'negative', 'above 1'],
    'filter': ['denoise', 'denoise, estimated', 'inpaint', 'regenerate'],
    'output': ['in place', 'new layer'],
}
CHANNELS = ('channel', 'quick mask')
GREY_DRAWABLES = CHANNELS + ('layer mask',)
NUMBERS = {'u8': 'u1', 'u16': 'u2', 'u32': 'u4', 'half': 'f2', 'float': 'f4', 'double': 'f8'}
CURVES = ['gamma', 'linear', 'perceptual']


def possible(case):
    if case['kind'] in pictures.INTEGER_CODE and case['values'] != 'plain':
        return False
    if case['place'] == 'text' and (case['values'] != 'plain' or not case['alpha']):
        return False  # GIMP itself draws them
    # There is nothing beside these.
    return case['selection'] != 'wholly off' or not (case['place'] in CHANNELS or case['place'] == 'larger than the canvas' and case['size'] == (1, 1))


# ---- pictures -------------------------------------------------------------------------------------------------------

def make_values(width, height, layout, values, rng):
    """Noisy colours and, where alpha is, clear, half clear and opaque parts."""
    n = pictures.COMPONENTS[layout]
    x, y = np.arange(width, dtype='f4'), np.arange(height, dtype='f4')[:, None]
    picture = np.empty((height, width, n), 'f4')
    has_alpha = layout.endswith('A')
    for c in range(n - has_alpha):
        picture[..., c] = 0.3 + 0.4 * ((x * (c + 1) + 2 * y) % 97) / 97
        picture[..., c] += rng.standard_normal((height, width), 'f4') * np.float32(SIGMA / 255)
    np.clip(picture, 0.02, 0.98, out=picture)
    if has_alpha:
        picture[..., -1] = np.select([x % 24 < 13, x % 24 < 16], [1, 0], 0.5)
    picture = picture.astype('f8')
    colours = picture[..., :n - has_alpha]
    if values == 'negative':
        colours -= 0.4
    elif values == 'above 1':
        colours[rng.random((height, width)) < 0.02] *= 40
    return picture


def encode(picture, kind, values, rng):
    if kind in pictures.INTEGER_CODE:
        data = np.round(picture * (256 ** pictures.BYTES[kind] - 1)).astype(NUMBERS[kind])
    else:
        data = picture.astype(NUMBERS[kind])
        top = np.finfo(data.dtype).max
        odd = {'not finite': (np.nan, np.inf, -np.inf), 'negative': (-top, -1e-7), 'above 1': (top, top / 7)}.get(values, ())
        for value in odd:  # one component of some pixels; among few pixels perhaps of all
            place = rng.random(data.shape[:2]) < 0.003
            place[rng.integers(data.shape[0]), rng.integers(data.shape[1])] = True
            data[place, 0] = value
    return data.tobytes()


# ---- where things are -----------------------------------------------------------------------------------------------

class Case(Layer):
    """One case of the matrix: the drawable's pixels, and how the image around it is made."""

    def __init__(self, properties, number):
        self.properties, self.number = properties, number
        width, height = properties['size']
        rng = np.random.default_rng(number)
        place = properties['place']
        self.layer_layout = properties['base'] + ('A' if properties['alpha'] else '')
        layout = 'GRAY' if place in GREY_DRAWABLES else self.layer_layout
        canvas, offset = self.lay_out(place, width, height, properties['selection'])
        picture = make_values(width, height, layout, properties['values'], rng)
        super().__init__(layout, properties['kind'], properties['curve'], width, height, canvas, offset,
                         data=encode(picture, properties['kind'], properties['values'], rng))
        # A second drawable that has nothing to do with the filter.
        self.other = None
        if width * height < MEGAPIXELS[0] * MEGAPIXELS[1] and place in GREY_DRAWABLES + ('with a layer mask', 'floating'):
            layout = 'GRAY' if place == 'with a layer mask' else self.layer_layout
            self.other = encode(make_values(width, height, layout, 'plain', rng), properties['kind'], 'plain', rng)

    def lay_out(self, place, width, height, selection):
        beside = selection in ('partly off', 'wholly off')
        if place == 'larger than the canvas':
            canvas = max(width // 2, 1), max(height // 2, 1)
            return canvas, tuple(size // 2 if beside else -(size // 2) for size in canvas)
        canvas = (width, height) if place in CHANNELS or not beside else (width + 40, height + 30)
        return canvas, ((-(width // 3), -(height // 3)) if place == 'negative offset' else (0, 0))

    def select(self):
        """Scheme that makes the selection, within what of the layer is on the canvas."""
        kind, rng = self.properties['selection'], random.Random(self.number)
        left, top = (max(o, 0) for o in self.offset)
        right, bottom = (min(o + size, end) for o, size, end in zip(self.offset, (self.width, self.height), self.canvas))
        width, height = right - left, bottom - top
        huge = width * height > 1e6

        def rectangle(x, y, w, h, how='REPLACE', shape='rectangle'):
            return '(gimp-image-select-%s image CHANNEL-OP-%s %d %d %d %d)' % (shape, how, x, y, max(w, 1), max(h, 1))

        box = (left + width // 4, top + height // 4, min(width // 2, 400), min(height // 2, 300))
        if kind == 'none':
            return '(gimp-selection-none image)'
        if kind == 'rectangle':
            return rectangle(*box)
        if kind == 'feathered ellipse':
            return rectangle(*box, shape='ellipse') + '(gimp-selection-feather image %d)' % (6 if min(box[2:]) > 10 else 1)
        if kind == 'islands':
            parts = [(left + rng.randrange(width), top + rng.randrange(height), min(width // 8, 60), min(height // 8, 60)) for _ in range(6)]
            return ''.join(rectangle(*part, how='ADD' if i else 'REPLACE', shape='ellipse' if i % 2 else 'rectangle')
                           for i, part in enumerate(parts) if part[0] + part[2] <= right and part[1] + part[3] <= bottom or not i)
        if kind == 'one pixel':
            return rectangle(left + rng.randrange(width), top + rng.randrange(height), 1, 1)
        if kind == 'inverted':
            if huge:  # a frame would be as large as the layer
                return '(gimp-selection-all image)' + rectangle(*box, how='SUBTRACT') + '(gimp-selection-invert image)'
            return rectangle(left + width // 8, top + height // 8, width - width // 4, height - height // 4) + '(gimp-selection-invert image)'
        if kind == 'partly off':
            return rectangle(max(right - 1 - min(width // 3, 200), 0), max(bottom - 1 - min(height // 3, 200), 0), min(width // 3, 200) + 20,
                             min(height // 3, 200) + 20)
        # wholly off
        if self.properties['place'] == 'larger than the canvas':
            return rectangle(0, 0, max(left, self.canvas[0] if not left else left), top) if top else rectangle(0, 0, left, self.canvas[1])
        return rectangle(right + 1, bottom + 1, 25, 18)

    def visible(self):
        pixels = np.frombuffer(self.before, NUMBERS[self.kind]).reshape(self.height, self.width, self.components)
        return pixels[..., -1] > 0 if self.has_alpha else np.ones(pixels.shape[:2], bool)

    def finite(self):
        with np.errstate(over='ignore'):
            pixels = np.frombuffer(self.before, NUMBERS[self.kind]).astype('f4')
        return np.isfinite(pixels).reshape(self.height, self.width, self.components).all(2)

    def title(self):
        p = self.properties
        return '%s %dx%d %s%s %s, %s, %s, %s, %s' % (
            p['filter'], self.width, self.height, self.layer_layout, ' ' + p['kind'], CURVES[p['curve']], p['place'],
            'selection: ' + p['selection'], p['values'], p['output'])


# ---- running --------------------------------------------------------------------------------------------------------

# What has to be done to the image; defines drawable, and other where there is one.
PLACES = {
    'with a layer mask': '(define other (car (gimp-layer-create-mask layer ADD-MASK-WHITE))) (gimp-layer-add-mask layer other)',
    'layer mask': '(define drawable (car (gimp-layer-create-mask layer ADD-MASK-WHITE))) (gimp-layer-add-mask layer drawable) (define other layer)',
    'group': '(define drawable (group-new image)) (gimp-image-insert-layer image drawable 0 0) (gimp-image-reorder-item image layer drawable 0)',
    'channel': '(define drawable (channel-new image width height)) (gimp-image-insert-channel image drawable 0 0) (define other layer)',
    # GIMP knows the quick mask by this name.
    'quick mask': '(define drawable (channel-new image width height)) (gimp-item-set-name drawable "Qmask") '
                  '(gimp-image-insert-channel image drawable 0 0) (define other layer)',
    'floating': '(define drawable (layer-new image width height type)) (define other layer) (floating-new drawable layer) '
                '(gimp-layer-set-offsets drawable x y)',
    'text': '(gimp-context-set-foreground \'(120 140 90)) (define drawable (text-new image "diffusion" (max 8 (quotient height 5)))) '
            '(gimp-image-insert-layer image drawable 0 0) (gimp-text-layer-resize drawable width height) (gimp-layer-set-offsets drawable x y)',
}

LOCKS = {'locked pixels': '(gimp-item-set-lock-content layer TRUE)', 'locked alpha': '(gimp-layer-set-lock-alpha layer TRUE)'}


class Matrix(Suite):
    def __init__(self, options, tap):
        super().__init__(options, tap)
        self.outcomes = collections.Counter()

    def setup(self, case, number):
        base = case.properties['base']
        return '''(width %d) (height %d) (x %d) (y %d) (type %sIMAGE) (image (image-new %d %d %s %d %d))
            (layer (layer-add image width height type x y)) (drawable layer)''' % (
                (case.width, case.height) + case.offset + (case.layer_layout + '-',) + case.canvas +
                (base if base == 'RGB' else 'GRAY', case.linear, pictures.TYPES.index(case.kind)))

    def add_case(self, case):
        number = self.number + 1
        p = case.properties
        text = p['place'] == 'text'
        names = {stem: '%s-%d.raw' % (stem, number) for stem in ('in', 'other', 'other-out', 'start')}
        path = {stem: scheme_string(self.file(name)) for stem, name in names.items()}
        loaded = 'layer' if p['place'] == 'group' else 'drawable'
        if not text:
            with open(self.file(names['in']), 'wb') as f:
                f.write(case.before)
        if case.other is not None:
            with open(self.file(names['other']), 'wb') as f:
                f.write(case.other)
        # Letters are read before, all else is set; and the selection is what it was before.
        before = case.select() + PLACES.get(p['place'], '')
        before += '(pixels %s %s %s %s)' % (loaded, '""' if text else path['in'], path['in'] if text else '""', path['start'])
        if case.other is not None:
            before += '(pixels other %s "" "")' % path['other']
        before += LOCKS.get(p['place'], '')
        output = PROPERTIES['output'].index(p['output'])
        call = {'denoise': denoise_call(drawable='drawable', output=output),
                'denoise, estimated': denoise_call(drawable='drawable', output=output, noise=0),
                'inpaint': inpaint_call(drawable='drawable', grow=0, feather=0, output=output),
                'regenerate': regenerate_call(drawable='drawable', output=output)}[p['filter']]
        if case.other is not None:
            call = '(begin %s (pixels other "" %s "") (describe image))' % (call, path['other-out'])
        else:
            call = '(begin %s (describe image))' % call
        self.add(case.title(), case, lambda status, text, case: self.judge(status, text, case, names), before=before, call=call, dump=loaded)

    def judge(self, status, text, case, names):
        try:
            case.before = self.read(names['in'])
            start = self.read(names['start'])
            # babl picks one of several conversions by how fast each has just been: they differ in the last bit.
            if len(start) != len(case.mask_data) or not np.allclose(np.frombuffer(start, 'f4'), np.frombuffer(case.mask_data, 'f4'), rtol=1e-6, atol=0):
                return 'the selection is another one afterwards, by %d of %d bytes, %d before (%s: %s)' % (
                    sum(a != b for a, b in zip(start, case.mask_data)), len(case.mask_data), len(start), status, text)
            if status == 'OK' and case.other is not None and self.read(names['other-out']) != case.other:
                return 'another drawable was changed'
            self.outcomes['refused' if status == 'ERROR' else 'changed' if case.before != case.after else 'done, nothing changed in place'] += 1
            return judge(status, text, case)
        finally:
            for name in names.values():
                if os.path.exists(self.file(name)):
                    os.remove(self.file(name))

    def run_cases(self, cases, **options):
        for case in cases:
            self.add_case(case)
        self.run(fonts=True, **options)


# ---- judging --------------------------------------------------------------------------------------------------------

def selected_share(case):
    """The selection at each pixel of the drawable; None if nothing is selected in the whole image."""
    canvas = np.frombuffer(case.mask_data, 'f4').reshape(case.canvas[::-1])
    if not canvas.any():
        return None
    (x, y), mask = case.offset, np.zeros((case.height, case.width), 'f4')
    inside = canvas[max(y, 0):max(y + case.height, 0), max(x, 0):max(x + case.width, 0)]
    top, left = max(-y, 0), max(-x, 0)
    mask[top:top + inside.shape[0], left:left + inside.shape[1]] = inside
    return mask


def expected_error(case, mask):
    """A word of the sentence that the filter is refused with, None if it is not to be refused, and '' if it may be."""
    p = case.properties
    place, inpaint = p['place'], p['filter'] == 'inpaint'
    if place == 'group':
        return 'group'
    if place == 'locked pixels' and p['output'] == 'in place':
        return 'locked'
    if mask is None and inpaint:
        return 'select'
    if mask is not None and not mask.any():
        return 'does not touch'
    if p['output'] == 'new layer' and place in GREY_DRAWABLES:
        return 'in place'
    if p['output'] == 'new layer' and place == 'floating':
        return 'floating selection'
    if not (case.visible() & (True if mask is None else mask > 0)).any():
        return 'transparent'
    if inpaint and mask.all():
        # Where all is transparent, or no number as 32-bit floats, there is nothing to do.
        return 'unselected' if (case.visible() & case.finite()).any() else ''
    return None


def judge(status, text, case):
    """What is wrong with a case, or None."""
    mask = selected_share(case)
    word = expected_error(case, mask)
    untouched = case.properties['output'] == 'new layer'
    if word and (status != 'ERROR' or word not in text.lower()):
        return 'it was to be refused with "%s": %s %s' % (word, status, text)
    if status not in ('OK', 'ERROR') or word is None and status != 'OK':
        return 'failed: %s %s' % (status, text)
    if len(case.before) != len(case.after):
        return '%d bytes became %d' % (len(case.before), len(case.after))
    if status == 'ERROR' or untouched:
        return None if case.before == case.after else 'the drawable was changed'
    return judge_pixels(case, np.ones((case.height, case.width), 'f4') if mask is None else mask)


def judge_pixels(case, mask):
    shape = case.height, case.width, case.components
    bits = 'u%d' % pictures.BYTES[case.kind]
    old, new = (np.frombuffer(data, bits).reshape(shape) for data in (case.before, case.after))
    differs = old != new
    changed = differs.any(2)
    if changed[mask == 0].any():
        return '%d pixels changed outside' % changed[mask == 0].sum()
    visible = case.visible()
    if case.has_alpha and differs[..., -1].any():
        return '%d alpha values changed' % differs[..., -1].sum()
    if case.kind not in pictures.INTEGER_CODE:
        was, now = (np.isfinite(np.frombuffer(data, NUMBERS[case.kind])).reshape(shape) for data in (case.before, case.after))
        if (was & ~now).any():
            return '%d values are not finite any more' % (was & ~now).sum()
        if changed[~was.all(2)].any():
            return '%d pixels that were not finite were changed' % changed[~was.all(2)].sum()
        visible &= was.all(2)
    # Whatever is estimated may be nothing, and few pixels may stay what they were.
    inside = visible & (mask > 0.99)
    # What has one colour, as letters have, is filled with it.
    plain = case.properties['filter'] == 'inpaint' and inside.any() and (old[inside][:, :3] == old[inside][0, :3]).all()
    if case.properties['filter'] != 'denoise, estimated' and not plain and inside.sum() >= 20 and changed[inside].mean() < 0.5:
        return '%d of %d pixels changed inside' % (changed[inside].sum(), inside.sum())
    return None


# What was wrong once.  GIMP merges as 32-bit floats where alpha is locked or the layer floats, without a selection too.
FOUND = [dict(size=(72, 56), base='RGB', alpha=True, kind='double', curve=0, selection='none', place='floating', values='not finite', filter='denoise',
              output='in place'),
         dict(size=(3, 5), base='GRAY', alpha=True, kind='double', curve=0, selection='none', place='locked alpha', values='above 1', filter='denoise',
              output='in place')]


def check_judge(tap):
    """The judge itself: it must see one bit of one component, in each precision."""
    for number, kind in enumerate(pictures.TYPES):
        properties = dict(size=(9, 7), base='RGB', alpha=True, kind=kind, curve=0, selection='rectangle', place='plain', values='plain', filter='denoise',
                          output='in place')
        case = Case(properties, number)
        mask = np.zeros((7, 9), 'f4')
        mask[2, 3] = 1
        case.mask_data = mask.tobytes()
        size, unit = case.pixel_bytes(), pictures.BYTES[kind]
        verdicts = []
        for place in (0, 2 * size, (2 * 9 + 3) * size + 3 * unit):  # outside, outside, alpha inside
            after = bytearray(case.before)
            after[place] ^= 1
            case.after = bytes(after)
            verdicts.append(judge('OK', '', case))
        case.after = case.before
        tap.check('one bit is seen, ' + kind, None if all(verdicts) and not judge('OK', '', case) else repr(verdicts))


def make_cases(sizes, seeds):
    """The properties of the cases of some coverings, and the pairs that cannot be."""
    cases, impossible = [], []
    for seed in seeds:
        found, impossible = pairwise.cover(dict(PROPERTIES, size=sizes), possible, seed)
        cases += found
    return cases, impossible


def main():
    options = gimptest.parse_arguments(__doc__, ('--all', {'action': 'store_true', 'help': 'large layers too'}),
                                       ('--seed', {'type': int, 'default': 1, 'help': 'of the choice of cases'}))
    gimptest.skip_without_numpy()
    tap = gimptest.Tap()
    suite = Matrix(options, tap)
    subprocess.run([options.make_model, os.path.join(suite.gimp.models, 'default.safetensors')], check=True)
    check_judge(tap)
    if options.all:
        chosen, impossible = make_cases(MEDIUM, range(options.seed, options.seed + 3))
        chosen += make_cases(MEDIUM + [MEGAPIXELS], [options.seed + 3])[0]
    else:
        chosen, impossible = make_cases(SMALL, [options.seed])
    chosen += FOUND
    print('# %d cases; pairs that cannot be: %s' % (len(chosen), '; '.join('%s with %s' % (pair[1], pair[3]) for pair in impossible)))

    numbered = list(enumerate(chosen))
    small = [each for each in numbered if each[1]['size'] != MEGAPIXELS]
    large = [each for each in numbered if each[1]['size'] == MEGAPIXELS]
    for several, count in ((small, 150), (large, 2)):  # large ones fill the disk
        for start in range(0, len(several), count):
            suite.run_cases([Case(case, number) for number, case in several[start:start + count]], timeout=1800)
    suite.end()
    print('# ' + ', '.join('%d %s' % (count, outcome) for outcome, count in suite.outcomes.items()))
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
