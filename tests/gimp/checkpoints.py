# gimp-diffusion: a diffusion model engine for photographs
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stable Diffusion checkpoints in GIMP: prompts as arguments, files that are refused, and what a tiny checkpoint makes of a layer, judged by the pixels.

The tiny checkpoint is that of $DIFFUSION_SD_REFERENCES; what needs it is skipped where there is none."""
import json
import os
import shutil
import struct
import subprocess
import sys

import gimptest
from cases import Layer, Scheme, Suite, denoise_call, fails_with, inpaint_call, regenerate_call, same_as, selected_only, succeeded
from gimptest import scheme_string

RECTANGLE = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 16 12 40 30)'
ELLIPSE = '''(gimp-image-select-ellipse image CHANNEL-OP-REPLACE 12 10 44 34)
  (gimp-selection-feather image 6)'''
PIXEL = '(gimp-image-select-rectangle image CHANNEL-OP-REPLACE 31 20 1 1)'
CALLS = {'inpaint': lambda **more: inpaint_call(**{'grow': 0, 'feather': 0, **more}), 'regenerate': regenerate_call}
QUICK = {'prompt': 'a wooden boat', 'size': 64}
LONG = Scheme('(make-string 10000 #\\x)')
# What a model file is told apart by: the name of one of its tensors.
KINDS = {'lora': ('lora_unet_down_blocks_0_attentions_0_proj_in.lora_up.weight', 'LoRA'),
         'sdxl': ('conditioner.embedders.1.model.ln_final.weight', 'Stable Diffusion XL'),
         'flux': ('double_blocks.0.img_attn.norm.key_norm.scale', 'Flux'),
         'vae': ('first_stage_model.decoder.conv_in.weight', 'VAE')}


def write_kind(path, tensor):
    """A safetensors file of one tensor."""
    header = json.dumps({tensor: {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}}).encode()
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(header)) + header + struct.pack('<f', 1))


def says(*parts):
    def check(status, text, layer):
        problem = succeeded(status, text, layer)
        missing = [part for part in parts if part not in text]
        return problem or ('%s is not in %s' % (missing, text) if missing else None)
    return check


def differs_from(other):
    def check(status, text, layer):
        return selected_only(status, text, layer) or ('it is the same picture' if layer.after == other.after else None)
    return check


def one_pixel(status, text, layer):
    """The selected pixel has changed, and no other."""
    problem = succeeded(status, text, layer)
    changed = [i for i, (old, new) in enumerate(zip(layer.split(layer.before), layer.split(layer.after))) if old != new]
    return problem or (None if changed == [20 * layer.width + 31] else 'changed: %s' % changed[:10])


# ---- without a checkpoint -------------------------------------------------------------------------------------------


def add_arguments(suite, name, call):
    """With a model of this program prompts have no effect, but they are arguments that are checked and recorded."""
    out_of_range = 'must be a number' if suite.gimp.major == '2' else 'out of range'
    plain = Layer('RGB')
    suite.add(name + ', without a prompt', plain, selected_only, before=RECTANGLE, call=call())
    suite.add(name + ', a prompt changes nothing with a model of this program', Layer('RGB'), same_as(plain), before=RECTANGLE,
              call=call(prompt='a boat', negative='blurry', guidance=3, size=256, prediction=2))
    suite.add(name + ', steps and sampler of the model itself', Layer('RGB'), selected_only, before=RECTANGLE, call=call(steps=0, sampler=6))
    record = '(begin %s (gimp-item-get-parasite layer "gimp-diffusion"))'
    suite.add(name + ': prompt, negative prompt, guidance, size and prediction are kept with the result', Layer('RGB'),
              says("'prompt': <'a boat'>", "'negative-prompt': <'blurry'>", "'guidance': <7.5>", "'size': <320>", "'prediction': <'v'>"),
              before=RECTANGLE, call=record % call(prompt='a boat', negative='blurry', guidance=7.5, size=320, prediction=2))
    suite.add(name + ': and what is not given as the default', Layer('RGB'), says("'prompt': <''>", "'guidance': <-1.0>", "'prediction': <'auto'>"),
              before=RECTANGLE, call=record % call())
    suite.add(name + ': a prompt of 10,000 characters is kept whole', Layer('RGB'), says('x' * 10000), before=RECTANGLE,
              call=record % call(prompt=LONG))
    for argument, values in (('guidance', (-1.5, 101)), ('size', (-1, 2049))):
        for value in values:
            suite.add('%s, %s %g is refused' % (name, argument, value), Layer('RGB'), fails_with(out_of_range), before=RECTANGLE,
                      call=call(prompt='', **{argument: value}))
    # GIMP 3 takes the default for a choice that there is not.
    suite.add(name + ', a prediction that there is not', Layer('RGB'), fails_with('prediction') if suite.gimp.major == '2' else selected_only,
              before=RECTANGLE, call=call(prompt='', prediction=3))


def add_refused(suite):
    """Files that are something else, with a sentence that says what."""
    for kind, (tensor, word) in KINDS.items():
        write_kind(os.path.join(suite.gimp.models, kind + '.safetensors'), tensor)
        for name, call in CALLS.items():
            suite.add('%s, %s is refused by name' % (name, kind), Layer('RGB'), fails_with(word), before=RECTANGLE, call=call(model=kind, prompt='a boat'))
    pickle = suite.file('model.ckpt')
    with open(pickle, 'wb') as f:
        f.write(b'\x80\x02}q\x01.')
    for name, call in CALLS.items():
        suite.add(name + ', a .ckpt file is refused', Layer('RGB'), fails_with('pickle', 'safetensors'), before=RECTANGLE, call=call(model=pickle))


# ---- with a tiny checkpoint -----------------------------------------------------------------------------------------


def add_results(suite, name, call):
    first = Layer('RGB')
    suite.add(name + ' with a checkpoint', first, selected_only, before=RECTANGLE, call=call(**QUICK))
    suite.add(name + ' with a checkpoint, the same again', Layer('RGB'), same_as(first), before=RECTANGLE, call=call(**QUICK))
    # A step of a random network says little: what only turns the noise is judged in floats.
    fine = Layer('RGB', 'float')
    suite.add(name + ' with a checkpoint, float', fine, selected_only, before=RECTANGLE, call=call(**QUICK))
    for what, change in (('another seed', {'seed': 2}), ('another prompt', {'prompt': 'a red barn'}), ('a negative prompt', {'negative': 'boat'}),
                         ('guidance 1', {'guidance': 1}), ('another size', {'size': 128}), ('more steps', {'steps': 3}),
                         ('Euler', {'sampler': 3}), ('LCM', {'sampler': 5}), ('another prediction', {'prediction': 2})):
        suite.add('%s with a checkpoint: %s makes another picture' % (name, what), Layer('RGB', 'float'), differs_from(fine), before=RECTANGLE,
                  call=call(**{**QUICK, **change}))
    one = Layer('RGB', 'float')
    suite.add(name + ' with a checkpoint, guidance 1', one, selected_only, before=RECTANGLE, call=call(**{**QUICK, 'guidance': 1}))
    suite.add(name + ' with a checkpoint: at guidance 1 the negative prompt has no effect', Layer('RGB', 'float'), same_as(one), before=RECTANGLE,
              call=call(**{**QUICK, 'guidance': 1, 'negative': 'boat'}))
    suite.add(name + ' with a checkpoint, a soft selection', Layer('RGBA', 'u16'), selected_only if name == 'regenerate' else succeeded, before=ELLIPSE,
              call=call(**QUICK))
    suite.add(name + ' with a checkpoint, grey', Layer('GRAYA', 'u8'), selected_only, before=RECTANGLE, call=call(**QUICK))
    suite.add(name + ' with a checkpoint, one pixel', Layer('RGB', 'float'), one_pixel, before=PIXEL, call=call(**QUICK))
    for what, prompt in (('10,000 characters', LONG), ('emoji and Chinese', '\U0001f40e 一艘木船 ((boat:1.3)'), ('nothing', '')):
        suite.add('%s with a checkpoint, a prompt of %s' % (name, what), Layer('RGB'), selected_only, before=RECTANGLE,
                  call=call(**{**QUICK, 'prompt': prompt}))
    title = {'inpaint': 'Inpainted', 'regenerate': 'Regenerated'}[name]
    suite.add(name + ' with a checkpoint in a new layer', Layer('RGB'), says('((%s 1 1) (layer 1 0))' % title), before=RECTANGLE,
              call='(begin %s (describe image))' % call(output=1, **QUICK))


def add_places(suite, inpaint, regenerate):
    suite.add('regenerate with a checkpoint, within a wide layer', Layer('RGB', 'float', width=330, height=90), selected_only, before=RECTANGLE,
              call=regenerate(**QUICK))
    suite.add('inpaint with a checkpoint, three variants', Layer('RGB'),
              says('((Inpainted, seed 7 1 1) (Inpainted, seed 8 0 1) (Inpainted, seed 9 0 1) (layer 1 0))'), before=RECTANGLE,
              call='(begin %s (describe image))' % inpaint(variants=3, seed=7, **QUICK))
    suite.add('regenerate with a checkpoint, nothing selected: the whole layer', Layer('RGB'), selected_only, call=regenerate(**QUICK))
    suite.add('denoise with a checkpoint is refused', Layer('RGB'), fails_with('checkpoint'), call=denoise_call(model='tiny'))


def bind_model(call):
    return lambda **more: call(**{'model': 'tiny', **more})


def main():
    options = gimptest.parse_arguments(__doc__)
    tap = gimptest.Tap()
    suite = Suite(options, tap)
    subprocess.run([options.make_model, os.path.join(suite.gimp.models, 'default.safetensors')], check=True)
    for name, call in CALLS.items():
        add_arguments(suite, name, call)
    add_refused(suite)
    suite.run()

    tiny = os.path.join(os.environ.get('DIFFUSION_SD_REFERENCES', ''), 'tiny-sd1.safetensors')
    vocabulary = os.path.join(os.environ.get('DIFFUSION_MODELS', ''), 'clip-vocabulary.txt.gz')
    if os.path.exists(tiny) and os.path.exists(vocabulary):
        os.symlink(tiny, os.path.join(suite.gimp.models, 'tiny.safetensors'))
        shutil.copy(vocabulary, suite.gimp.models)
        for name, call in CALLS.items():
            add_results(suite, name, bind_model(call))
        add_places(suite, bind_model(inpaint_call), bind_model(regenerate_call))
        suite.run()
    else:
        tap.skip('results of a checkpoint', 'there is no tiny checkpoint: DIFFUSION_SD_REFERENCES names its folder')
    suite.end()
    return tap.end()


if __name__ == '__main__':
    sys.exit(main())
