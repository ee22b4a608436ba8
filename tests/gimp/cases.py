# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cases for a GIMP without a display: a layer that goes in, a call, and checks of what came out.  Many cases share one start of GIMP."""
import contextlib
import functools
import os

import gimptest
import pictures
from gimptest import scheme_string

WIDTH, HEIGHT = 72, 56
SIGMA = 20


class Layer:
    """A layer to be filtered: what goes in, and after the run what came out."""

    def __init__(self, layout='RGB', kind='u8', linear=0, width=WIDTH, height=HEIGHT, canvas=None, offset=(0, 0),
                 values=None, data=None):
        self.layout, self.kind, self.linear = layout, kind, linear
        self.width, self.height, self.offset = width, height, offset
        self.canvas = canvas or (width, height)
        self.components = pictures.COMPONENTS[layout]
        self.has_alpha = layout.endswith('A')
        if data is None:
            if values is None:
                values = pictures.synthetic(width, height, layout, SIGMA / 255)
            data = pictures.encode(values, kind)
        self.before = data

    @functools.cached_property
    def mask(self):
        """The selection after the run: floats, of the whole canvas."""
        return pictures.decode(self.mask_data, 'float')

    def pixel_bytes(self):
        return pictures.BYTES[self.kind] * self.components

    def split(self, data):
        size = self.pixel_bytes()
        return [data[i:i + size] for i in range(0, len(data), size)]

    def colours(self, data):
        """The components without alpha, as numbers."""
        values = pictures.decode(data, self.kind)
        if self.has_alpha:
            values = [v for i, v in enumerate(values) if (i + 1) % self.components]
        return values


class Scheme(str):
    """An expression that makes a string: what is written out has to be short."""


def words(prompt=None, negative='', guidance=-1, size=0, prediction=0):
    """The arguments that checkpoints have, or none of them."""
    if prompt is None:
        return ''
    return ' %s %s %s %s %s' % (prompt if isinstance(prompt, Scheme) else scheme_string(prompt), scheme_string(negative), guidance, size, prediction)


def inpaint_call(mode='RUN-NONINTERACTIVE', drawable='layer', steps=2, sampler=0, seed=1, context=0, grow=-1, feather=-1, texture=-1, variants=1,
                 output=0, model='', **checkpoint):
    return '(inpaint %s image %s %s %s %s %s %s %s %s %s %s %s%s)' % (
        mode, drawable, steps, sampler, seed, context, grow, feather, texture, variants, output, scheme_string(model), words(**checkpoint))


def regenerate_call(mode='RUN-NONINTERACTIVE', drawable='layer', strength=0.5, structure=0.5, steps=2, sampler=0, seed=1, output=0, model='', **checkpoint):
    return '(regenerate %s image %s %s %s %s %s %s %s %s%s)' % (
        mode, drawable, strength, structure, steps, sampler, seed, output, scheme_string(model), words(**checkpoint))


def denoise_call(mode='RUN-NONINTERACTIVE', drawable='layer', output=0, steps=1, seed=0, model='', noise=SIGMA):
    return '(denoise-to %s %s image %s %s 1 %s %s %s)' % (output, mode, drawable, noise, steps, seed, scheme_string(model))


class Suite:
    def __init__(self, options, tap):
        self.options, self.tap = options, tap
        self.gimp = gimptest.Gimp(options)
        self.script = []
        self.checks = []
        self.number = 0

    def file(self, name):
        return self.gimp.path(name)

    def read(self, name):
        with open(self.file(name), 'rb') as f:
            return f.read()

    def setup(self, layer, number):
        """Scheme that binds image and layer."""
        with open(self.file('in-%d.raw' % number), 'wb') as f:
            f.write(layer.before)
        base = 'RGB' if layer.layout.startswith('RGB') else 'GRAY'
        return '''(image (image-new %d %d %s %d %d))
            (layer (layer-add image %d %d %s-IMAGE %d %d))
            (loaded (pixels layer %s "" ""))''' % (
                layer.canvas + (base, layer.linear, pictures.TYPES.index(layer.kind), layer.width, layer.height,
                                layer.layout) + layer.offset + (scheme_string(self.file('in-%d.raw' % number)),))

    def add(self, name, layer, check, noise=SIGMA, strength=1, steps=1, seed=0, model='', before='', call=None,
            mode='RUN-NONINTERACTIVE', drawable='layer', dump='layer'):
        """One case.  before: Scheme that prepares (selection, locks); check (status, text, layer) returns the problem.
        After the run layer.after (what dump names) and layer.mask (the selection) are there."""
        self.number += 1
        number = self.number
        call = call or '(denoise %s image %s %s %s %s %s %s)' % (mode, drawable, noise, strength, steps, seed,
                                                                scheme_string(model))
        self.script.append('''
(catch (log "case-%d" "BROKEN" last-error) (let* (%s)
  %s
  (run-case "case-%d" image (lambda () %s) %s %s (lambda () %s))))''' % (
            number, self.setup(layer, number), before.replace('RAW', scheme_string(self.file('in-%d.raw' % number))), number, dump, scheme_string(self.file('out-%d.raw' % number)),
            scheme_string(self.file('mask-%d.raw' % number)), call))
        self.checks.append((number, name, layer, check))

    def run(self, **options):
        """One start of GIMP for all cases added so far."""
        log = self.gimp.run('\n'.join(self.script), **options)
        for number, name, layer, check in self.checks:
            status, text = log.get('case-%d' % number, ('MISSING', 'the script did not come to this case'))
            try:
                layer.after = self.read('out-%d.raw' % number)
                layer.mask_data = self.read('mask-%d.raw' % number)
                problem = check(status, text, layer)
            except OSError as error:
                problem = '%s: %s %s' % (error, status, text)
            self.tap.check(name, problem)
            for stem in ('in', 'out', 'mask'):
                with contextlib.suppress(OSError):
                    os.remove(self.file('%s-%d.raw' % (stem, number)))
        self.tap.check('the script came to its end (start %d)' % self.gimp.starts,
                       None if 'END' in log else 'no END in the log:\n' + self.gimp.output[-1500:])
        self.script, self.checks = [], []

    def end(self):
        self.tap.check('no leaks, crashes or warnings', self.gimp.complaints())
        self.gimp.remove()


def mask_of(layer):
    """The selection at each pixel of the layer; 1 everywhere if nothing is selected."""
    if not any(layer.mask):
        return [1.0] * (layer.width * layer.height)
    result = []
    for y in range(layer.height):
        for x in range(layer.width):
            cx, cy = x + layer.offset[0], y + layer.offset[1]
            inside = 0 <= cx < layer.canvas[0] and 0 <= cy < layer.canvas[1]
            result.append(layer.mask[cy * layer.canvas[0] + cx] if inside else 0.0)
    return result


def succeeded(status, text, layer):
    return None if status == 'OK' else 'failed: %s %s' % (status, text)


def selected_only(status, text, layer):
    """Nothing changes where the selection is 0, nor any alpha; most changes where it is 1 (0.99 when feathered)."""
    if status != 'OK':
        return 'failed: %s %s' % (status, text)
    size, bytes_per = layer.pixel_bytes(), pictures.BYTES[layer.kind]
    outside = alpha = changed = inside = 0
    for m, old, new in zip(mask_of(layer), layer.split(layer.before), layer.split(layer.after)):
        if m == 0 and old != new:
            outside += 1
        if layer.has_alpha and old[size - bytes_per:] != new[size - bytes_per:]:
            alpha += 1
        visible = not layer.has_alpha or any(old[size - bytes_per:])
        if m > 0.99 and visible:
            inside += 1
            changed += old != new
    if outside or alpha or changed < inside / 2 or not inside:
        return '%d pixels changed outside, %d alpha values changed, %d of %d pixels changed inside' % (
            outside, alpha, changed, inside)
    return None


def unchanged(status, text, layer):
    return None if layer.before == layer.after else 'the layer was changed'


def fails_with(*words):
    """A sentence with these words, and not a pixel changed."""
    def check(status, text, layer):
        if status != 'ERROR':
            return 'did not fail: %s %s' % (status, text)
        missing = [word for word in words if word.lower() not in text.lower()]
        if missing:
            return 'the message lacks %s: %s' % (', '.join(missing), text)
        return unchanged(status, text, layer)
    return check


def unchanged_success(status, text, layer):
    return succeeded(status, text, layer) or unchanged(status, text, layer)


def same_as(other):
    """The same picture as another case's layer."""
    def check(status, text, layer):
        if status != 'OK':
            return 'failed: %s %s' % (status, text)
        return pictures.compare(layer.after, other.after)
    return check
