# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter in a GIMP without a display, judged by the pixels that it leaves."""
import functools
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys

import gimptest
import pictures
from cases import (HEIGHT, SIGMA, WIDTH, Layer, Suite, denoise_call, fails_with, inpaint_call, mask_of, regenerate_call, same_as, selected_only, succeeded,
                   unchanged_success)
from gimptest import scheme_string

# ---- cases ----------------------------------------------------------------------------------------------------------

ELLIPSE = '''(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 12 10 44 34)
  (gimp-selection-feather image 6)'''
RECTANGLE = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 16 12 40 30)'
SMALL = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 31 20 6 6)'
AROUND = '''(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 10 0 20 150)
  (gimp-image-select-rectangle image CHANNEL-OP-ADD 180 10 20 130)'''
INDEXED = '(gimp-image-convert-indexed image CONVERT-DITHER-NONE CONVERT-PALETTE-WEB 0 FALSE FALSE "")'
GROUP = '''(define group (group-new image)) (gimp-image-insert-layer image group 0 0)
  (gimp-image-insert-layer image (layer-new image 8 8 RGB-IMAGE) group 0)'''
GREY_OFF = '(gimp-image-set-component-active image CHANNEL-GRAY FALSE)'
LOCKED = '(gimp-item-set-lock-content layer TRUE)'
IN_LOCKED_GROUPS = '''(define outer (group-new image)) (gimp-image-insert-layer image outer 0 0)
  (define inner (group-new image)) (gimp-image-insert-layer image inner outer 0)
  (gimp-image-reorder-item image layer inner 0) (gimp-item-set-lock-content outer TRUE)'''


def add_precisions(suite):
    for kind in pictures.TYPES:
        for linear in (0, 1):
            for layout in pictures.COMPONENTS:
                suite.add('feathered selection, %s %s %s' % (layout, kind, ['gamma', 'linear'][linear]),
                          Layer(layout, kind, linear), selected_only, before=ELLIPSE)


def assign_profile(suite, gamma):
    """Scheme that gives the image a wide colour profile."""
    profile = suite.file('gamma %g.icc' % gamma)
    with open(profile, 'wb') as f:
        f.write(pictures.icc_profile(gamma))
    # 2.10 wants a URI here, 3 a path.
    place = pathlib.Path(profile).as_uri() if suite.gimp.major == '2' else profile
    return '(gimp-image-set-color-profile-from-file image %s)' % scheme_string(place)


def add_colour_spaces(suite):
    """Images with a colour profile; GIMP 3 gives their pixels the profile's space, and has precisions with sRGB's curve in
    any space, which are what 2.10 calls gamma."""
    for gamma in (1.0, 2.2):
        assign = assign_profile(suite, gamma)
        for kind, linear in (('u8', 0), ('u8', 1), ('u16', 0), ('float', 0), ('float', 1), ('double', 0)):
            name = 'wide colour profile of gamma %g, %s %s' % (gamma, kind, ['gamma', 'linear'][linear])
            suite.add(name, Layer('RGBA', kind, linear), selected_only, before=assign + ELLIPSE)
            suite.add(name + ', strength 0', Layer('RGBA', kind, linear), unchanged_success, strength=0,
                      before=assign + ELLIPSE)
    for kind in pictures.TYPES:
        for layout in ('RGBA', 'GRAY'):
            suite.add('%s %s perceptual' % (layout, kind), Layer(layout, kind, 2), selected_only, before=ELLIPSE)


def expect_blend(whole, tolerance):
    """The selection's result is the whole layer's, mixed in by the mask exactly once."""
    def check(status, text, layer):
        problem = selected_only(status, text, layer)
        if problem:
            return problem
        colours = layer.components - layer.has_alpha
        mask = mask_of(layer)
        worst = 0
        old, new, full = (layer.colours(data) for data in (layer.before, layer.after, whole.after))
        for i, (o, n, f) in enumerate(zip(old, new, full)):
            m = mask[i // colours]
            worst = max(worst, abs(o + m * (f - o) - n))
        return None if worst <= tolerance else 'off by up to %g, more than %g' % (worst, tolerance)
    return check


def add_blends(suite):
    for kind, tolerance in (('u8', 1.01 / 255), ('u16', 1e-4), ('float', 2e-5), ('double', 2e-5)):
        whole = Layer('RGB', kind)
        suite.add('whole layer, %s' % kind, whole, selected_only)
        for name, selection in (('hard', RECTANGLE), ('feathered', ELLIPSE)):
            suite.add('a %s selection gives the same as the whole layer, %s' % (name, kind), Layer('RGB', kind),
                      expect_blend(whole, tolerance), before=selection)


MASK = '(define mask (car (gimp-layer-create-mask layer ADD-MASK-WHITE))) (gimp-layer-add-mask layer mask) (pixels mask RAW "" "")'
CHANNEL = '(define channel (channel-new image %d %d)) (gimp-image-insert-channel image channel 0 0) (pixels channel RAW "" "")' % (WIDTH, HEIGHT)


def add_masks(suite, what, call):
    """Layer masks and channels have pixels too; the layer's own data is what is put into them."""
    for kind in ('u8', 'float'):
        for drawable, make in (('mask', MASK), ('channel', CHANNEL)):
            suite.add('a %s as drawable, %s%s' % (drawable, kind, what), Layer('GRAY', kind), selected_only, before=make + ELLIPSE, drawable=drawable,
                      dump=drawable, call=call(drawable))
            suite.add('a %s as drawable, %s%s: its layer stays' % (drawable, kind, what), Layer('GRAY', kind), unchanged_success,
                      before=make + ELLIPSE, drawable=drawable, call=call(drawable))


def add_places(suite):
    suite.add('negative offset, whole layer', Layer('RGBA', offset=(-20, -15)), selected_only)
    suite.add('negative offset, selection', Layer('RGBA', offset=(-20, -15), canvas=(60, 50)), selected_only,
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 30 20)')
    suite.add('layer larger than the canvas', Layer('RGB', width=150, height=130, canvas=(64, 48), offset=(-30, -40)),
              selected_only)
    suite.add('layer larger than the canvas, all of the canvas selected',
              Layer('RGB', width=150, height=130, canvas=(64, 48), offset=(-30, -40)), selected_only,
              before='(gimp-selection-all image)')
    suite.add('layer larger than the canvas, float, feathered',
              Layer('RGB', 'float', width=150, height=130, canvas=(64, 48), offset=(-30, -40)), selected_only,
              before='(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 10 10 60 60)'
                     '(gimp-selection-feather image 5)')
    suite.add('selection partly beside the layer', Layer('RGB', canvas=(200, 150), offset=(100, 60)), selected_only,
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 50 40 80 50)')
    suite.add('selection wholly beside the layer', Layer('RGB', canvas=(200, 150), offset=(100, 60)),
              fails_with('selection does not touch the layer'),
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 20 20)')
    for name, call in (('denoise', denoise_call), ('inpaint', inpaint_call), ('regenerate', regenerate_call)):
        suite.add(name + ', layer between the parts of the selection', Layer('RGB', canvas=(200, 150), offset=(100, 60)),
                  fails_with('selection does not touch the layer'), before=AROUND, call=call())
        suite.add(name + ', layer between the parts of the selection, in a new layer', Layer('RGB', canvas=(200, 150), offset=(100, 60)),
                  fails_with('selection does not touch the layer'), before=AROUND, call=call(output=1))
    suite.add('layer across several tiles, float', Layer('RGB', 'float', width=140, height=134), selected_only,
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 60 58 70 72)')
    add_masks(suite, '', lambda drawable: None)
    for width, height in ((1, 1), (3, 5), (1, 40), (65, 2)):
        for noise in (SIGMA, 0):
            suite.add('%d x %d pixels, noise %s' % (width, height, noise or 'estimated'),
                      Layer('RGB', width=width, height=height), succeeded, noise=noise)


def add_bad_calls(suite):
    for name, value in (('noise', -1), ('noise', 255.5), ('strength', -0.1), ('strength', 2.01), ('steps', 0),
                        ('steps', 1001), ('seed', -1)):
        # GIMP 3 checks the ranges itself and says so in its own words.
        suite.add('%s %g is refused' % (name, value), Layer('RGB'),
                  fails_with('must be a number' if suite.gimp.major == '2' else 'out of range'), **{name: value})
    suite.add('too few arguments', Layer('RGB'), fails_with(), call='(denoise-too-few image layer)')
    suite.add('too many arguments', Layer('RGB'), fails_with(), call='(denoise-too-many image layer)')
    suite.add('indexed image', Layer('RGB'), lambda status, text, layer:
              None if status == 'ERROR' and 'ndexed' in text else '%s %s' % (status, text), before=INDEXED)
    suite.add('layer group', Layer('RGB'), fails_with('group'), before=GROUP, drawable='group')
    suite.add('locked pixels', Layer('RGB'), fails_with('locked'), before=LOCKED)
    for name, call in (('denoise', denoise_call), ('inpaint', inpaint_call), ('regenerate', regenerate_call)):
        # Before anything is computed, not when GIMP refuses the result.
        suite.add(name + ', locked with a group around its group', Layer('RGB'), fails_with('unlock'), before=RECTANGLE + IN_LOCKED_GROUPS, call=call())
        suite.add(name + ', the mask of a layer that is locked', Layer('GRAY'), fails_with('unlock'), before=MASK + RECTANGLE + LOCKED,
                  call=call(drawable='mask'), dump='mask')


def add_locks(suite, name, call):
    """Locked pixels stay as they are, and a result in a new layer leaves them so; a locked group gets no layer."""
    title = {'denoise': 'Denoised', 'inpaint': 'Inpainted', 'regenerate': 'Regenerated'}[name]
    suite.add(name + ', locked pixels, in a new layer', Layer('RGB'), says('((%s 1 1) (layer 1 0))' % title, unchanged_success), before=RECTANGLE + LOCKED,
              call='(begin %s (describe image))' % call(output=1))
    suite.add(name + ', locked pixels, in a new layer: the lock stays', Layer('RGB'), says('(#t #f)', unchanged_success), before=RECTANGLE + LOCKED,
              call='(begin %s (map (lambda (which) (if (member (car (gimp-item-get-lock-content which)) (list 1 #t)) #t #f))'
                   ' (list layer (car (layers image)))))' % call(output=1))
    suite.add(name + ', locked with a group around its group, in a new layer', Layer('RGB'), fails_with('unlock'), before=RECTANGLE + IN_LOCKED_GROUPS,
              call=call(output=1))


def add_numbers_of_drawables(suite):
    """Each filter works on one drawable; GIMP 3 can give it others' numbers, and 2.10 IDs that none has."""
    none, two = ('single layer', 'single layer') if suite.gimp.major == '3' else ('does not exist', 'invalid')
    second = '(define second (layer-new image 8 8 RGB-IMAGE)) (gimp-image-insert-layer image second 0 0)'
    for name in ('denoise', 'inpaint', 'regenerate'):
        for number, drawables, word in (('no drawable', '(vector)', none), ('two drawables', '(vector layer second)', two)):
            suite.add('%s of %s' % (name, number), Layer('RGB'), fails_with(word), before=RECTANGLE + second,
                      call="(run-on '%s image %s)" % (name, drawables))
        suite.add(name + ' of one of two layers', Layer('RGB'), selected_only, before=RECTANGLE + second,
                  call="(run-on '%s image (vector layer))" % name)


def add_models(suite, model):
    def broken(name, data):
        with open(os.path.join(suite.gimp.models, name + '.safetensors'), 'wb') as f:
            f.write(data)
    with open(model, 'rb') as f:
        good = f.read()
    broken('truncated', good[:len(good) * 2 // 3])
    broken('headless', good[:6])
    broken('empty', b'')
    broken('garbage', random.Random(5).randbytes(5000))
    broken('text', b'this is not a model\n' * 100)
    for name in ('truncated', 'headless', 'empty', 'garbage', 'text'):
        suite.add('%s model file' % name, Layer('RGB'), fails_with(name), model=name)
    suite.add('missing model', Layer('RGB'), fails_with('nowhere'), model='nowhere')
    suite.add('missing model, as a path', Layer('RGB'), fails_with('/no such folder/x.safetensors'),
              model='/no such folder/x.safetensors')
    odd = os.path.join(suite.gimp.root, 'mödèl with spaces.safetensors')
    shutil.copy(model, odd)
    suite.add('model path with spaces and accents', Layer('RGB'), selected_only, model=odd)


def add_numbers(suite):
    def returned(expected, tolerance):
        def check(status, text, layer):
            problem = succeeded(status, text, layer)
            if problem:
                return problem
            used = float(text.split()[0])
            return None if abs(used - expected) <= tolerance else 'noise-used is %g, not %g' % (used, expected)
        return check
    suite.add('the noise that was given is returned', Layer('RGB'), returned(17.5, 1e-4), noise=17.5)
    suite.add('the noise is estimated', Layer('RGB', width=160, height=120), returned(SIGMA, SIGMA * 0.4), noise=0)
    suite.add('the noise is estimated in the selection', Layer('RGB', width=160, height=120),
              returned(SIGMA, SIGMA * 0.4), noise=0,
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 10 10 140 100)')
    suite.add('a faint selection', Layer('RGB', width=160, height=120), returned(SIGMA, SIGMA * 0.4), noise=0,
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 30 30 100 60)'
                     '(gimp-selection-feather image 200)')

    suite.add('a selection too small for an estimate', Layer('RGB', width=160, height=120),
              returned(SIGMA, SIGMA * 0.4), noise=0,
              before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 80 60 5 4)')

    suite.add('strength 0 changes nothing', Layer('RGBA', 'float'), unchanged_success, strength=0)
    suite.add('strength 0 changes nothing, u32 linear', Layer('RGBA', 'u32', 1), unchanged_success, strength=0)

    first = Layer('RGB')
    suite.add('steps 4, seed 1', first, selected_only, steps=4, seed=1)
    suite.add('same seed, same picture', Layer('RGB'), same_as(first), steps=4, seed=1)

    defaults = Layer('RGB')
    suite.add('defaults', defaults, selected_only, noise=0)
    # GIMP 3 keeps to the arguments of the call if there are no last values; 2.10 has always passed them over.
    passed_over = {'noise': 200, 'strength': 2} if suite.gimp.major == '2' else {'noise': 0, 'strength': 1}
    suite.add('with last values, nothing run before', Layer('RGB'), same_as(defaults), mode='RUN-WITH-LAST-VALS',
              **passed_over)


def special_values():
    """Pictures with values far above white, and with values below black."""
    values = pictures.synthetic(WIDTH, HEIGHT, 'RGB', SIGMA / 255)
    bright = list(values)
    for i in range(0, len(bright), 3 * 50):
        bright[i:i + 3] = [6.5, 8.25, 31.0]
    return values, bright, [v - 0.4 for v in values]


def survives(lowest, highest):
    """What is outside [0, 1] is still there, and all is finite."""
    def check(status, text, layer):
        problem = selected_only(status, text, layer)
        if problem:
            return problem
        old, new = layer.colours(layer.before), layer.colours(layer.after)
        for o, n in zip(old, new):
            if (o > 5 and n < 1.5) or not math.isfinite(n):
                return '%g became %g' % (o, n)
        return None if min(new) < lowest or max(new) > highest else 'clipped to %g ... %g' % (min(new), max(new))
    return check


def add_special_values(suite):
    values, bright, dark = special_values()
    for kind in ('half', 'float', 'double'):
        for linear in (0, 1):
            where = '%s %s' % (kind, ['gamma', 'linear'][linear])
            suite.add('values above white survive, ' + where, Layer('RGB', kind, linear, values=bright),
                      survives(-math.inf, 20))
            suite.add('values below black survive, ' + where, Layer('RGB', kind, linear, values=dark),
                      survives(-0.1, math.inf))
        add_non_finite(suite, kind, values)


def add_non_finite(suite, kind, values):
    """NaN and infinity stay as they are, bit for bit, and do not touch their neighbours."""
    odd = list(values)
    places = [3 * (20 * WIDTH + 30), 3 * (21 * WIDTH + 40), 3 * (5 * WIDTH + 2)]
    for place, value in zip(places, (math.nan, math.inf, -math.inf)):
        odd[place] = value

    def check(status, text, layer):
        problem = selected_only(status, text, layer)
        if problem:
            return problem
        new = layer.colours(layer.after)
        size = layer.pixel_bytes()
        for place in places:
            start = place // 3 * size
            if layer.before[start:start + size] != layer.after[start:start + size]:
                return 'the pixel at %d was changed' % (place // 3)
        spread = [i for i, v in enumerate(new) if not math.isfinite(v) and i not in places]
        return 'not finite: %s' % spread[:10] if spread else None

    suite.add('NaN and infinity, whole layer, ' + kind, Layer('RGB', kind, values=odd), check)
    suite.add('NaN and infinity, selection, ' + kind, Layer('RGB', kind, values=odd), check, before=ELLIPSE)


def add_transparency(suite):
    """The colours below full transparency do not matter to any visible pixel."""
    layers = []
    for garbage in (0.0, 1.0):
        values = pictures.synthetic(WIDTH, HEIGHT, 'RGBA', SIGMA / 255)
        for i in range(0, len(values), 4):
            if values[i + 3] == 0:
                values[i:i + 3] = [garbage, 1 - garbage, garbage]
        layers.append(Layer('RGBA', values=values))

    def check(status, text, layer):
        problem = selected_only(status, text, layer)
        if problem:
            return problem
        other = layers[0]
        for a, b in zip(other.split(other.after), layer.split(layer.after)):
            if a[3] and a != b:
                return 'a visible pixel depends on invisible colours'
        return None

    suite.add('transparent pixels of one colour', layers[0], selected_only)
    suite.add('transparent pixels of another colour', layers[1], check)
    suite.add('everything transparent', Layer('RGBA', values=[0.3, 0.6, 0.2, 0] * (WIDTH * HEIGHT)), fails_with('transparent', 'Remove Alpha Channel'),
              noise=0)
    add_transparent_selections(suite)

    def only_green(status, text, layer):
        if status != 'OK':
            return 'failed: ' + text
        old, new = layer.before, layer.after
        if old[0::3] != new[0::3]:
            return 'the component that is switched off was changed'
        return None if old[1::3] != new[1::3] else 'nothing changed'
    suite.add('a component that is switched off', Layer('RGB'), only_green,
              before='(gimp-image-set-component-active image CHANNEL-RED FALSE)')
    for layout in ('GRAY', 'GRAYA'):
        for kind in ('u8', 'u16'):
            suite.add('grey that is switched off, %s %s' % (layout, kind), Layer(layout, kind), unchanged_success, before=GREY_OFF)
    suite.add('grey that is switched off does not concern a mask', Layer('GRAY'), selected_only, before=MASK + GREY_OFF, drawable='mask', dump='mask')


def add_transparent_selections(suite):
    """Where all that is selected is transparent there is nothing to do: that is said, whatever is beside it."""
    def cut(right):
        values = pictures.synthetic(WIDTH, HEIGHT, 'RGBA', SIGMA / 255)
        for i in range(WIDTH * HEIGHT):
            values[4 * i + 3] = 0 if i % WIDTH < right and i // WIDTH < 30 else 1
        return Layer('RGBA', values=values)

    corner = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 30 30)'
    for name, call in (('denoise', denoise_call), ('inpaint', inpaint_call), ('regenerate', regenerate_call)):
        for output in (0, 1):
            suite.add('%s, a transparent corner is selected, in %s' % (name, ['place', 'a new layer'][output]), cut(30), fails_with('transparent'),
                      before=corner, call=call(output=output))
        suite.add(name + ', of a selected corner a column is visible', cut(29), reaches_somewhere, before=corner, call=call())
        suite.add(name + ', a transparent corner is not selected', cut(30), reaches_somewhere, before=SMALL, call=call())


# ---- inpaint and regenerate -----------------------------------------------------------------------------------------

LARGE = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 20 14 26 24)'
SEVERAL = '''(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 9 12)
  (gimp-image-select-ellipse image CHANNEL-OP-ADD 30 8 12 10)
  (gimp-image-select-rectangle image CHANNEL-OP-ADD 60 40 12 16)'''
PLAIN = {'grow': 0, 'feather': 0}


def reaches(most):
    """Something changes beyond the selection, but nothing farther away than most pixels; the selection itself stays as it was set (LARGE)."""
    def check(status, text, layer):
        if status != 'OK':
            return 'failed: %s %s' % (status, text)
        outside = 0
        for i, (old, new) in enumerate(zip(layer.split(layer.before), layer.split(layer.after))):
            x, y = i % layer.width, i // layer.width
            distance = max(20 - x, x - 45, 14 - y, y - 37, 0)
            if layer.mask[i] != (distance == 0):
                return 'the selection at %d, %d is %g afterwards' % (x, y, layer.mask[i])
            if old != new and distance > most:
                return 'the pixel at %d, %d was changed, %d from the selection' % (x, y, distance)
            outside += old != new and distance > 0
        return None if outside else 'nothing changed beyond the selection'
    return check


def says(expected, check=succeeded):
    def both(status, text, layer):
        return check(status, text, layer) or (None if expected in text else 'it says %s, not %s' % (text, expected))
    return both


def differs_from(other):
    def check(status, text, layer):
        return succeeded(status, text, layer) or (None if layer.after != other.after else 'the same picture')
    return check


def looks_like(suite, file, other, rounding=0):
    """The layer stays, but the image in the file (R'G'B'A) looks like another case's layer: to the last bit, or but for so much rounding (of 255)."""
    def check(status, text, layer):
        problem = unchanged_success(status, text, layer)
        if problem:
            return problem
        seen = suite.read(file)
        colours = bytes(value for i, value in enumerate(seen) if i % 4 < 3)
        if rounding and all(abs(a - b) <= rounding for a, b in zip(colours, other.after)):
            colours = other.after
        return pictures.compare(colours, other.after) or (None if set(seen[3::4]) == {255} else 'it is not opaque')
    return check


def both_calls():
    return (('inpaint', lambda **more: inpaint_call(**dict(PLAIN, **more))), ('regenerate', regenerate_call))


def add_fill_colours(suite, name, call):
    """Wide and linear layers; regenerating changes all values by a difference, inpainting must not change those around its hole."""
    _, bright, dark = special_values()
    for gamma, kind, linear in ((1.0, 'float', 1), (2.2, 'float', 0), (2.2, 'u16', 0)):
        suite.add('%s, wide colour profile of gamma %g, %s %s' % (name, gamma, kind, ['gamma', 'linear'][linear]), Layer('RGBA', kind, linear),
                  selected_only, before=assign_profile(suite, gamma) + ELLIPSE, call=call())
    selection = SMALL if name == 'inpaint' else ''
    for profile in ('', assign_profile(suite, 1.0)):
        where = ', ' + name + (', wide colour profile' if profile else '')
        suite.add('values above white survive' + where, Layer('RGB', 'float', 1, values=bright), survives(-math.inf, 20),
                  before=profile + selection, call=call())
        suite.add('values below black survive' + where, Layer('RGB', 'float', 1, values=dark), survives(-0.1, math.inf),
                  before=profile + selection, call=call())


def add_fills(suite):
    """What inpainting and regenerating have in common."""
    for name, call in both_calls():
        add_fill_colours(suite, name, call)
        for kind in pictures.TYPES:
            for layout in pictures.COMPONENTS:
                linear = (pictures.TYPES.index(kind) + len(layout)) % 2
                suite.add('%s, feathered selection, %s %s %s' % (name, layout, kind, ['gamma', 'linear'][linear]), Layer(layout, kind, linear),
                          selected_only, before=ELLIPSE, call=call())
        suite.add(name + ', several regions, some at the edge', Layer('RGB'), selected_only, before=SEVERAL, call=call())
        suite.add(name + ', negative offset, selection over the edge of layer and canvas', Layer('RGBA', offset=(-20, -15), canvas=(60, 50)),
                  selected_only, before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 30 20)', call=call())
        suite.add(name + ', selection wholly beside the layer', Layer('RGB', canvas=(200, 150), offset=(100, 60)),
                  fails_with('selection does not touch the layer'),
                  before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 0 0 20 20)', call=call())
        suite.add(name + ', layer across several tiles', Layer('RGB', 'float', width=140, height=134), selected_only,
                  before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 60 58 30 20)', call=call())
        add_masks(suite, ', ' + name, lambda drawable, call=call: call(drawable=drawable))
        for what, refused, before, drawable in (('a layer group', 'group', GROUP, 'group'), ('locked pixels', 'locked', LOCKED, 'layer')):
            suite.add('%s, %s' % (name, what), Layer('RGB'), fails_with(refused), before=RECTANGLE + before, call=call(drawable=drawable))
        suite.add(name + ', indexed image', Layer('RGB'), lambda status, text, layer:
                  None if status == 'ERROR' and 'ndexed' in text else '%s %s' % (status, text), before=RECTANGLE + INDEXED, call=call())
        suite.add(name + ', missing model', Layer('RGB'), fails_with('nowhere'), before=RECTANGLE, call=call(model='nowhere'))
        suite.add(name + ' keeps the active layer', Layer('RGB'), says('#t'), before=RECTANGLE,
                  call='(begin %s (= (active-drawable image) layer))' % call())
        first = Layer('RGB')
        suite.add(name + ', seed 5', first, selected_only, before=RECTANGLE, call=call(seed=5))
        suite.add(name + ', same seed, same picture', Layer('RGB'), same_as(first), before=RECTANGLE, call=call(seed=5))
        suite.add(name + ', another seed', Layer('RGB'), differs_from(first), before=RECTANGLE, call=call(seed=6))
        suite.add(name + ', another sampler', Layer('RGB'), differs_from(first), before=RECTANGLE, call=call(seed=5, sampler=1))
        suite.add(name + ', with last values, nothing run before', Layer('RGB'), succeeded, before=RECTANGLE, call=call(mode='RUN-WITH-LAST-VALS'))
        bad = {'steps': (-1, 1001), 'seed': (-1,)}
        bad.update({'context': (-1, 4097), 'grow': (-2, 257), 'feather': (-2, 257), 'texture': (-1.5, 1.1), 'variants': (0, 17)}
                   if name == 'inpaint' else {'strength': (-0.1, 1.1), 'structure': (-0.1, 1.1)})
        for argument, values in bad.items():
            for value in values:
                suite.add('%s, %s %g is refused' % (name, argument, value), Layer('RGB'),
                          fails_with(argument if suite.gimp.major == '2' else 'out of range'), before=RECTANGLE,
                          call=call(**{argument: value}))
        add_new_layers(suite, name, call)


def add_new_layers(suite, name, call):
    title = {'denoise': 'Denoised', 'inpaint': 'Inpainted', 'regenerate': 'Regenerated'}[name]
    file = suite.file('seen-%s.raw' % name)

    def mask_is_selection(status, text, layer):
        problem = succeeded(status, text, layer)
        box = [m for i, m in enumerate(layer.mask) if 16 <= i % WIDTH < 56 and 12 <= i // WIDTH < 42]
        return problem or (None if [v / 255 for v in layer.after] == box else 'the layer mask is not the selection')

    place = Layer('RGB')
    suite.add(name + ' in place', place, selected_only, before=RECTANGLE, call=call())
    suite.add(name + ' in a new layer looks the same', Layer('RGB'), looks_like(suite, file, place), before=RECTANGLE,
              call='(begin %s (save-visible image %s))' % (call(output=1), scheme_string(file)))
    suite.add(name + ' in a new layer: the layers', Layer('RGB'), says('((%s 1 1) (layer 1 0))' % title), before=RECTANGLE,
              call='(begin %s (describe image))' % call(output=1))
    suite.add(name + ' in a new layer: its mask is the selection', Layer('RGB'), mask_is_selection, before=RECTANGLE,
              call=call(output=1), dump='(layer-mask (car (layers image)))')
    suite.add(name + ' in a new layer: its pixels are edited next, not its mask', Layer('RGB'), says('(1 #t)', unchanged_success), before=RECTANGLE,
              call='(begin %s (list (if (has-mask? (car (layers image))) 1 0) (= (active-drawable image) (car (layers image)))))' % call(output=1))
    suite.add(name + ' in a new layer, soft selection: the layer stays', Layer('RGBA', 'float'), unchanged_success, before=ELLIPSE,
              call=call(output=1))
    suite.add(name + ' of a layer mask in a new layer', Layer('GRAY'), fails_with('in place'), before=MASK + RECTANGLE,
              call=call(output=1, drawable='mask'))


MASKED = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 24 8 30 40) ' \
    '(gimp-layer-add-mask layer (car (gimp-layer-create-mask layer ADD-MASK-SELECTION))) (gimp-selection-none image)'
BELOW = '''(define below (layer-new image %d %d RGB-IMAGE)) (gimp-image-insert-layer image below 0 1)
  (gimp-drawable-fill below FILL-WHITE)''' % (WIDTH, HEIGHT)
SOFTLY_MASKED = BELOW + ELLIPSE + \
    '(gimp-layer-add-mask layer (car (gimp-layer-create-mask layer ADD-MASK-SELECTION))) (gimp-selection-none image)'
MIXED = BELOW + '(gimp-layer-set-opacity layer 40) (gimp-layer-set-mode layer LAYER-MODE-MULTIPLY)'


def add_layers_in_place_of_others(suite):
    """With the new layer the image looks as it does with the layer filtered in place, whatever its mask, opacity and mode."""
    def read_visible(file):
        seen = suite.read(file)
        return b''.join(seen[i:i + 4] if seen[i + 3] else bytes(4) for i in range(0, len(seen), 4))

    def keep(file):
        def check(status, text, layer):
            layer.seen = read_visible(file)
            return succeeded(status, text, layer)
        return check

    def looks(file, other):
        def check(status, text, layer):
            problem = unchanged_success(status, text, layer)
            return problem or pictures.compare(read_visible(file), other.seen)
        return check

    def half_clear():
        colours = pictures.synthetic(WIDTH, HEIGHT, 'RGB', SIGMA / 255)
        return Layer('RGBA', values=[value for i in range(0, len(colours), 3) for value in colours[i:i + 3] + [0.5]])

    grown = functools.partial(inpaint_call, grow=5, feather=0)
    for what, before, call in (('a masked layer', MASKED, denoise_call), ('a softly masked layer', SOFTLY_MASKED, denoise_call),
                               ('a half clear layer', BELOW, regenerate_call), ('a masked layer, with a selection', MASKED + RECTANGLE, denoise_call),
                               ('a masked layer, grown', MASKED + LARGE, grown), ('a mixed layer', MIXED, denoise_call),
                               ('a mixed and masked layer', MIXED + MASKED, regenerate_call)):
        make = half_clear if what == 'a half clear layer' else lambda: Layer('RGB')
        place, files = make(), [suite.file('seen-%s-%d.raw' % (what, i)) for i in range(2)]
        suite.add(what + ' in place', place, keep(files[0]), before=before, call='(begin %s (save-visible image %s))' % (call(), scheme_string(files[0])))
        suite.add(what + ' in a new layer looks the same', make(), looks(files[1], place), before=before,
                  call='(begin %s (save-visible image %s))' % (call(output=1), scheme_string(files[1])))
    aside = {'canvas': (200, 150), 'offset': (100, 60)}
    place, files = Layer('RGB', **aside), [suite.file('seen-aside-%d.raw' % i) for i in range(2)]
    for i, (layer, check) in enumerate(((place, keep(files[0])), (Layer('RGB', **aside), looks(files[1], place)))):
        suite.add(['a layer aside', 'a layer aside, with a new one where it lies'][i], layer, check, before=MASKED,
                  call='(begin %s (save-visible image %s))' % (denoise_call(output=i), scheme_string(files[i])))
    suite.add('a new layer in place of a mixed one', Layer('RGB'), says('((Denoised 1 0) (layer 0 0) ', unchanged_success), before=MIXED,
              call='(begin %s (describe image))' % denoise_call(output=1))
    suite.add('a new layer above a mixed one that is partly selected', Layer('RGB'), says('((Denoised 1 1) (layer 1 0) ', unchanged_success),
              before=MIXED + RECTANGLE, call='(begin %s (describe image))' % denoise_call(output=1))
    if suite.gimp.major == '3':
        shown = '(gimp-item-set-lock-visibility layer TRUE)'
        suite.add('a new layer in place of a mixed one whose visibility is locked', Layer('RGB'), fails_with('visibility'), before=MIXED + shown,
                  call=denoise_call(output=1))
        suite.add('a new layer above one whose visibility is locked', Layer('RGB'), says('((Denoised 1 0) (layer 1 0))', unchanged_success), before=shown,
                  call='(begin %s (describe image))' % denoise_call(output=1))
    suite.add('a new layer has the opacity and mode of the one below', Layer('RGB'), says('(#t #t)', unchanged_success), before=MIXED + RECTANGLE,
              call='(begin %s (let ((top (car (layers image)))) (list (< 39.9 (car (gimp-layer-get-opacity top)) 40.1)'
                   ' (= (car (gimp-layer-get-mode top)) LAYER-MODE-MULTIPLY))))' % denoise_call(output=1))


def reaches_somewhere(status, text, layer):
    return succeeded(status, text, layer) or (None if layer.before != layer.after else 'nothing changed')


def fades(suite, file):
    """In the image in the file (R'G'B'A) the layer has changed where it is selected, and where it is not next to nothing: as little as beside it."""
    def check(status, text, layer):
        problem = unchanged_success(status, text, layer)
        if problem:
            return problem
        seen = suite.read(file)
        inside = outside = 0
        for i, selected in enumerate(layer.mask):
            change = max(abs(seen[4 * i + c] - layer.before[3 * i + c]) for c in range(3))
            if selected > 0:
                inside = max(inside, change)
            else:
                outside = max(outside, change)
        return None if inside > 20 and outside <= 3 else 'up to %d of 255 inside, %d outside' % (inside, outside)
    return check


def add_inpaint(suite):
    suite.add('inpaint, nothing selected', Layer('RGB'), fails_with('select'), call=inpaint_call())
    suite.add('inpaint, everything selected', Layer('RGB'), fails_with('unselected'), before='(gimp-selection-all image)', call=inpaint_call())
    for kind in ('u8', 'u16', 'float'):
        suite.add('inpaint, a hole of itself is grown a little, ' + kind, Layer('RGB', kind), reaches(3), before=LARGE, call=inpaint_call())
    suite.add('inpaint, grown by 6', Layer('RGBA'), reaches(6), before=LARGE, call=inpaint_call(grow=6, feather=3))
    suite.add('inpaint, variants of a layer mask', Layer('GRAY'), fails_with('single'), before=MASK + RECTANGLE,
              call=inpaint_call(variants=3, drawable='mask'))
    grown = Layer('RGB')
    suite.add('inpaint, grown', grown, reaches(5), before=LARGE, call=inpaint_call(grow=5, feather=0))
    file = suite.file('seen-grown.raw')
    suite.add('inpaint, grown, in a new layer looks the same', Layer('RGB'), looks_like(suite, file, grown), before=LARGE,
              call='(begin %s (save-visible image %s))' % (inpaint_call(grow=5, feather=0, output=1), scheme_string(file)))
    oval = '(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 14 10 40 32)'  # its edge is antialiased
    place, file = Layer('RGB'), suite.file('seen-oval.raw')
    suite.add('inpaint, an oval', place, reaches_somewhere, before=oval, call=inpaint_call())
    suite.add('inpaint, an oval in a new layer looks the same', Layer('RGB'), looks_like(suite, file, place, 8), before=oval,
              call='(begin %s (save-visible image %s))' % (inpaint_call(output=1), scheme_string(file)))
    file = suite.file('seen-faded.raw')
    suite.add('inpaint, a soft selection in a new layer has no rim', Layer('RGB'), fades(suite, file), before=ELLIPSE,
              call='(begin %s (save-visible image %s))' % (inpaint_call(output=1), scheme_string(file)))
    suite.add('inpaint, variants are layers, the first on top', Layer('RGB'),
              says('((Inpainted, seed 7 1 1) (Inpainted, seed 8 0 1) (Inpainted, seed 9 0 1) (layer 1 0))', unchanged_success),
              before=RECTANGLE, call='(begin %s (describe image))' % inpaint_call(variants=3, seed=7))
    alone = Layer('RGB')
    suite.add('inpaint, seed 8', alone, selected_only, before=RECTANGLE, call=inpaint_call(seed=8, **PLAIN))
    second = suite.file('seen-second.raw')
    suite.add('inpaint, the second variant is that of the next seed', Layer('RGB'), looks_like(suite, second, alone), before=RECTANGLE,
              call='(begin %s (gimp-item-set-visible (car (layers image)) FALSE) (gimp-item-set-visible (cadr (layers image)) TRUE)'
                   ' (save-visible image %s))' % (inpaint_call(seed=7, variants=2, **PLAIN), scheme_string(second)))
    suite.add('inpaint, a component that is switched off', Layer('RGB'), lambda status, text, layer:
              succeeded(status, text, layer) or (None if layer.before[0::3] == layer.after[0::3] and layer.before[1::3] != layer.after[1::3]
                                                 else 'red changed, or green did not'),
              before=RECTANGLE + '(gimp-image-set-component-active image CHANNEL-RED FALSE)', call=inpaint_call())


def add_regenerate(suite):
    for kind in pictures.TYPES:
        suite.add('regenerate, strength 0 changes nothing, ' + kind, Layer('RGBA', kind), unchanged_success, call=regenerate_call(strength=0))
    whole = Layer('RGB')
    suite.add('regenerate, nothing selected: the whole layer', whole, selected_only, call=regenerate_call())
    suite.add('regenerate, structure matters', Layer('RGB'), differs_from(whole), call=regenerate_call(structure=0))
    suite.add('regenerate, whole layer in a new layer, without a mask', Layer('RGB'), says('((Regenerated 1 0) (layer 1 0))', unchanged_success),
              call='(begin %s (describe image))' % regenerate_call(output=1))

    def distance(status, text, layer):
        if status != 'OK':
            return 'failed: ' + text
        layer.distance = sum((a - b) ** 2 for a, b in zip(layer.before, layer.after))
        return None if layer is weak or layer.distance > weak.distance else 'no more than a weaker one'

    weak = Layer('RGB')
    suite.add('regenerate, strength 0.2', weak, distance, call=regenerate_call(strength=0.2))
    suite.add('regenerate, more strength changes more', Layer('RGB'), distance, call=regenerate_call(strength=0.6))


def write_switch(suite, keep):
    """What the dialogs of inpainting and regenerating would write."""
    folder = suite.file('.config/gimp-diffusion')
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, 'presets.ini'), 'w') as f:
        for name in ('inpaint', 'regenerate'):
            f.write('[plug-in-diffusion-%s]\nkeep-seed=%s\n' % (name, keep))


def add_repeats(suite, keep):
    """Repeating a filter draws a new seed where the dialog would: only if the user has switched "Keep" off, and in no call that says its seed."""
    for name, call in both_calls():
        first, said = Layer('RGB'), Layer('RGB')
        for number, layer in enumerate((first, Layer('RGB'))):
            check = succeeded if not number else same_as(first) if keep else differs_from(first)
            suite.add('%s repeated, the seed %s: run %d' % (name, ['drawn', 'kept'][keep], number + 1), layer, check, before=RECTANGLE,
                      call=call(mode='RUN-WITH-LAST-VALS'))
        suite.add('%s by a script, the seed %s by users' % (name, ['drawn', 'kept'][keep]), said, succeeded, before=RECTANGLE, call=call())
        suite.add('%s by a script, the seed %s by users: the same' % (name, ['drawn', 'kept'][keep]), Layer('RGB'), same_as(said), before=RECTANGLE,
                  call=call())


def add_usual_models(suite):
    """Without a name, photographs get one model, fills another if it is there: here one that cannot be used."""
    with open(os.path.join(suite.gimp.models, 'inpaint.safetensors'), 'w') as file:
        file.write('no model')
    for name, call, fills in (('denoise', denoise_call, False), ('inpaint', inpaint_call, True), ('regenerate', regenerate_call, True)):
        suite.add(name + ' without the name of a model', Layer('RGB'), fails_with('inpaint') if fills else selected_only,
                  before=RECTANGLE, call=call(model='', **(PLAIN if name == 'inpaint' else {})))
        suite.add(name + ' with that for photographs', Layer('RGB'), selected_only, before=RECTANGLE,
                  call=call(model='default', **(PLAIN if name == 'inpaint' else {})))
        suite.add(name + ' with that for fills', Layer('RGB'), fails_with('inpaint'), before=RECTANGLE, call=call(model='inpaint'))


def add_quality(suite, model):
    """With a trained model the noise goes and the picture stays."""
    width, height = 192, 128
    clean = pictures.clean(width, height, 'RGB')

    def error(values):
        return math.sqrt(sum((a - b) ** 2 for a, b in zip(values, clean)) / len(clean))

    def check(status, text, layer):
        if status != 'OK':
            return 'failed: ' + text
        before, after = error(layer.colours(layer.before)), error(layer.colours(layer.after))
        return None if after < before * 0.6 else 'the error was %.4f and is %.4f' % (before, after)

    for kind, linear in (('u8', 0), ('u16', 0), ('float', 0)):
        values = pictures.synthetic(width, height, 'RGB', SIGMA / 255, seed=3)
        for noise in (SIGMA, 0):
            suite.add('noise goes, %s, noise %s' % (kind, noise or 'estimated'),
                      Layer('RGB', kind, linear, width, height, values=values), check, noise=noise, model=model)


def add_grid(suite, model):
    """Amid a layer that is larger than what the network sees around it, a selection comes out as all of the layer does."""
    # Each step looks as far again, of which one is read: what comes from beyond is faint.
    for steps, tolerance in ((1, 2e-5), (4, 2e-3)):
        whole = Layer('RGB', 'float', width=330, height=310)
        suite.add('a large layer, steps %d' % steps, whole, selected_only, steps=steps, model=model)
        suite.add('amid a large layer, steps %d' % steps, Layer('RGB', 'float', width=330, height=310), expect_blend(whole, tolerance),
                  steps=steps, model=model, before='(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 157 141 80 70)')


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    suite = Suite(options, tap)
    # A small untrained model does for all that does not ask how good the result is.
    trained = os.path.join(os.environ.get('DIFFUSION_MODELS', ''), 'default.safetensors')
    model = os.path.join(suite.gimp.models, 'default.safetensors')
    subprocess.run([options.make_model, model], check=True)

    add_precisions(suite)
    add_colour_spaces(suite)
    add_blends(suite)
    suite.run()

    # GIMP 3's Script-Fu ends with a segmentation fault where one script has some 110 such cases.
    add_places(suite)
    suite.run()

    # The same profile again: now GIMP knows the plug-ins from its cache.
    add_bad_calls(suite)
    add_numbers_of_drawables(suite)
    add_models(suite, model)
    add_numbers(suite)
    add_special_values(suite)
    add_transparency(suite)
    if os.path.exists(trained):
        add_quality(suite, trained)
        add_grid(suite, trained)
    else:
        tap.skip('noise goes', 'there is no trained model in $DIFFUSION_MODELS')
    suite.run()

    add_new_layers(suite, 'denoise', denoise_call)
    soft = Layer('RGB')
    file = suite.file('seen-soft.raw')
    suite.add('denoise through a soft selection', soft, selected_only, before=ELLIPSE, call=denoise_call())
    suite.add('denoise through a soft selection, in a new layer looks the same', Layer('RGB'), looks_like(suite, file, soft, 1), before=ELLIPSE,
              call='(begin %s (save-visible image %s))' % (denoise_call(output=1), scheme_string(file)))
    add_layers_in_place_of_others(suite)
    add_fills(suite)
    add_inpaint(suite)
    add_regenerate(suite)
    suite.run()
    for name, call in (('denoise', denoise_call), ('inpaint', inpaint_call), ('regenerate', regenerate_call)):
        add_locks(suite, name, call)
    suite.run()
    for keep in (False, True):
        write_switch(suite, str(keep).lower())
        add_repeats(suite, keep)
        suite.run()
    add_usual_models(suite)
    suite.run()
    suite.end()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
