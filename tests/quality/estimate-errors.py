#!/usr/bin/python3
"""How far the noise estimate is off, on photographs whose noise is known because it is made here.

    tests/quality/estimate-errors.py PHOTOS

PHOTOS is a folder of clean photographs, such as models/fetch-corpus makes.  Some of them, cut to 384x384, get noise of
many kinds; the table says, for each kind, how the estimate relates to the standard deviation of what was added.
"""

import argparse
import io
import sys
from pathlib import Path

import common
from common import Program, add_program_options, read, write

import cv2
import numpy
from PIL import Image

EDGE = 384


# --- noise as cameras make it -------------------------------------------------------------------------------------

def to_light(picture):
    return numpy.clip(picture, 0, 1) ** 2.2


def to_tone(light):
    return numpy.clip(light, 0, 1) ** (1 / 2.2)


def white(sigma):
    def add(clean, random):
        return clean + random.normal(0, sigma / 255, clean.shape), clean
    return add


def photons(gain):
    """Poisson-Gaussian in linear light (Foi et al. 2008)."""
    def add(clean, random):
        light = to_light(clean)
        return to_tone(light + random.normal(0, 1, clean.shape) * numpy.sqrt(gain * light + gain ** 2)), clean
    return add


def mosaic(light, random, gain):
    """A Bayer sensor, its noise, and OpenCV's edge-aware interpolation."""
    raw = numpy.empty(light.shape[:2])
    for y, x, channel in ((0, 0, 2), (0, 1, 1), (1, 0, 1), (1, 1, 0)):
        raw[y::2, x::2] = light[y::2, x::2, channel]
    if gain:
        raw += random.normal(0, 1, raw.shape) * numpy.sqrt(gain * raw + gain ** 2)
    raw = numpy.rint(numpy.clip(raw * 0.9 + 0.05, 0, 1) * 65535).astype(numpy.uint16)    # room below black
    return (cv2.cvtColor(raw, cv2.COLOR_BAYER_RG2RGB_EA)[..., ::-1] / 65535.0 - 0.05) / 0.9


def sensor(gain, smoothing=0):
    """The same behind a mosaic; then, as cameras do, colour noise smoothed more than that of brightness."""
    def develop(light, random, gain):
        picture = to_tone(mosaic(light, random, gain))
        if smoothing:
            luma = picture.mean(2, keepdims=True)
            colour = cv2.GaussianBlur(picture - luma, (0, 0), 2 * smoothing)
            picture = cv2.GaussianBlur(luma[..., 0], (0, 0), smoothing)[..., None] * 0.6 + luma * 0.4 + colour
        return picture

    def add(clean, random):
        light = to_light(clean)
        return develop(light, random, gain), develop(light, random, 0)
    return add


def none(clean, random):
    return clean, clean


KINDS = [(name, add, quality)
         for name, add, qualities in (
             ("clean", none, (0, 95, 85, 70)), ("white 2", white(2), (0,)), ("white 5", white(5), (0, 92)),
             ("white 10", white(10), (0, 85)), ("white 25", white(25), (0,)), ("white 50", white(50), (0,)),
             ("photons 0.0005", photons(0.0005), (0, 95)), ("photons 0.003", photons(0.003), (0, 90)),
             ("sensor 0.0005", sensor(0.0005), (0, 95)), ("sensor 0.003", sensor(0.003), (0, 95, 85)),
             ("smoothed sensor 0.002", sensor(0.002, 0.7), (0, 96, 88)), ("smoothed sensor 0.01", sensor(0.01, 0.7), (96,)))
         for quality in qualities]


def compressed(picture, quality):
    """Through a JPEG file; below 95 with colour at half the resolution, as is usual."""
    file = io.BytesIO()
    pixels = numpy.rint(numpy.clip(picture, 0, 1) * 255).astype(numpy.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=0 if quality >= 95 else 2)
    return numpy.asarray(Image.open(file), numpy.float32) / 255


def crop(picture, random):
    y, x = (int(random.integers(0, size - EDGE + 1)) for size in picture.shape[:2])
    return picture[y:y + EDGE, x:x + EDGE]


def samples(options):
    """(kind, what it is called, noisy picture, level of what was added in 1/255)"""
    paths = [path for path in sorted(options.photos.iterdir()) if path.suffix in (".ppm", ".png")]
    paths = paths[options.first::max(1, len(paths) // options.count)][:options.count]
    for index, path in enumerate(paths):
        random = numpy.random.default_rng(index)
        picture = read(path)
        if min(picture.shape[:2]) < EDGE:
            continue
        clean = crop(picture, random)
        for name, add, quality in KINDS:
            noisy, reference = add(clean, random)
            noisy = compressed(noisy, quality) if quality else numpy.rint(numpy.clip(noisy, 0, 1) * 255) / 255
            level = numpy.sqrt(((noisy - numpy.clip(reference, 0, 1)) ** 2).mean()) * 255
            yield (f"{name}, JPEG {quality}" if quality else name), path.stem, noisy, (0 if add is none else level)


# --- the command --------------------------------------------------------------------------------------------------

def describe(kind, found):
    """found: (estimate, level, name)"""
    if kind.startswith("clean"):
        values = [item[0] for item in found]
        return [kind, "0", *(f"{numpy.quantile(values, q):.2f}" for q in (0, 0.1, 0.5, 0.9, 1))]
    ratios = [item[0] / item[1] for item in found]
    return [kind, f"{numpy.mean([item[1] for item in found]):.1f}",
            *(f"{numpy.quantile(ratios, q):.2f}" for q in (0, 0.1, 0.5, 0.9, 1))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("--count", type=int, default=40, metavar="N", help="photographs to use (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first of them (default: %(default)s)")
    parser.add_argument("--list", action="store_true", help="print each estimate, too")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the noisy pictures there")
    add_program_options(parser)
    options = parser.parse_args()
    program, found = Program(options.program, options.model), {}
    for kind, name, noisy, level in samples(options):
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            write(options.keep / f"{name}@{kind}@{level:.3f}.png".replace(" ", "_"), noisy, 8)
        estimate = program.estimate(noisy)["sigma"]
        found.setdefault(kind, []).append((estimate, level, name))
        if options.list:
            print(f"{name}: {kind}: {level:.2f} estimated as {estimate:.2f}", flush=True)
    print("| noise | level | least | 10 % are below | half are below | 90 % are below | most |\n|---|---|---|---|---|---|---|")
    for kind in found:
        print("| " + " | ".join(describe(kind, found[kind])) + " |")


if __name__ == "__main__":
    try:
        main()
    except OSError as failure:
        sys.exit(f"estimate-errors: {failure}")
