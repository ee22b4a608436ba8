#!/usr/bin/python3
"""Measures everything that is promised of the default model, in one go.

    tests/quality/measure.py PICTURES --out FOLDER

PICTURES has mcmaster/ (clean pictures), realnoise/ (NAME_noisy.* and NAME_reference.*) and inpaint/ (clean pictures; those
with "mask" in their name are passed over).  FOLDER receives table.md and contact.png.  The peers' results are kept in
--cache: the first run takes minutes for them.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import common
from common import TOP, Program, add_program_options, psnr, read, ssim
import peers

import cv2
import numpy

LEVELS = (15, 25, 50)
PUBLISHED = (("CBM3D", 34.06, 31.66, 28.51), ("FFDNet", 34.66, 32.35, 29.18), ("DRUNet", 35.40, 33.14, 30.08))
STRENGTHS = (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2)
CLEAN_BAR = 45          # dB
BETTER_BAR = 0.95       # of the pairs
COST_BAR = 5            # percent
ROUNDS = 5              # of timing, best of


def table(header, rows):
    def text(value):
        return f"{value:.2f}" if isinstance(value, float) else str(value)
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(text(value) for value in line) + " |\n" for line in lines) + "\n"


def verdict(good):
    return "reached" if good else "MISSED"


# --- the parts ----------------------------------------------------------------------------------------------------

def measure_psnr(options, program):
    """White noise on McMaster as it is published for others."""
    printed = subprocess.run([str(options.psnr), program.model, str(options.pictures / "mcmaster")], check=True,
                             text=True, stdout=subprocess.PIPE).stdout
    ours = [float(word) for word in printed.splitlines()[-1].split()[1:4]]
    bar = PUBLISHED[1][1:]
    return ("## White noise, level told, one call\n\nMcMaster, colour PSNR in dB, peak 255, noisy picture not clipped, "
            "seed 0. Bar (FFDNet): " + verdict(all(a >= b for a, b in zip(ours, bar))) + ".\n\n"
            + table(["noise", *map(str, LEVELS)], [["**ours**", *ours], *map(list, PUBLISHED)]))


def find_pairs(folder):
    return [(path, next(iter(path.parent.glob(path.name.split("_noisy")[0] + "_reference.*"))))
            for path in common.pictures_in(folder) if "_noisy" in path.stem]


def best_setting(peer, pairs, references, cache):
    """One setting for all pairs, the one with the best mean PSNR; and each picture's figures with it and with its own."""
    scores = {}
    for setting in peer[2]:
        results = [cache.get(peer, setting, noisy) for noisy, _ in pairs]
        scores[setting] = [psnr(reference, result) for reference, result in zip(references, results)]
    best = max(scores, key=lambda setting: numpy.mean(scores[setting]))
    own = [max(values) for values in zip(*scores.values())]
    results = [cache.get(peer, best, noisy) for noisy, _ in pairs]
    return best, scores[best], [ssim(*pair) for pair in zip(references, results)], own


def measure_pairs(options, program):
    pairs = find_pairs(options.pictures / "realnoise")
    cache = peers.Cache(options.cache)
    references = [read(reference) for _, reference in pairs]
    untouched = [read(noisy) for noisy, _ in pairs]
    before = [psnr(*pair) for pair in zip(references, untouched)]
    before_ssim = [ssim(*pair) for pair in zip(references, untouched)]
    results = [program.denoise(noisy, "--noise", "auto")[0] for noisy, _ in pairs]
    ours = [psnr(*pair) for pair in zip(references, results)]
    ours_ssim = [ssim(*pair) for pair in zip(references, results)]
    levels = [program.estimate(noisy)["sigma"] for noisy, _ in pairs]
    better = numpy.mean([a > b for a, b in zip(ours, before)])
    rows = [["untouched", "", numpy.mean(before), f"{numpy.mean(before_ssim):.4f}", "", ""],
            ["**ours**", "auto", numpy.mean(ours), f"{numpy.mean(ours_ssim):.4f}", "", ""]]
    good = True
    for peer in peers.all_peers(options.noise_reduction):
        setting, values, similar, own = best_setting(peer, pairs, references, cache)
        rows.append([peer[0], setting, numpy.mean(values), f"{numpy.mean(similar):.4f}", numpy.mean(own),
                     f"{sum(a > b for a, b in zip(ours, values))} of {len(pairs)}"])
        good = good and numpy.mean(values) < numpy.mean(ours) and numpy.mean(similar) < numpy.mean(ours_ssim)
    single = [[noisy.stem.replace("_noisy", ""), level, a, b, b - a]
              for (noisy, _), level, a, b in zip(pairs, levels, before, ours)]
    text = (f"## Real noise, nothing set\n\n{len(pairs)} pairs of a noisy photograph and its reference. The peers have "
            "the one setting that gives their best mean PSNR over these very pairs; the column after SSIM lets them "
            "have the best setting for each single picture. Ours has `--noise auto` and nothing else. Bars: better than "
            f"each peer in both means {verdict(good)}; better than the untouched picture on {better:.0%} of the pairs "
            f"(bar {BETTER_BAR:.0%}) {verdict(better >= BETTER_BAR)}.\n\n"
            + table(["", "setting", "PSNR", "SSIM", "PSNR, best for each", "ours is better on"], rows)
            + table(["pair", "estimate", "untouched", "ours", "gain"], single))
    return text, list(zip([noisy.stem for noisy, _ in pairs], untouched, results, references))


def measure_clean(options, program):
    rows, worst = [], []
    for name in ("mcmaster", "inpaint"):
        figures = []
        for path in common.pictures_in(options.pictures / name):
            if "mask" not in path.name:
                clean = read(path)
                figures.append((psnr(clean, program.denoise(path, "--noise", "auto")[0]), path.name,
                                program.estimate(path)["sigma"]))
        rows.append([name, len(figures), min(figures)[0], f"{min(figures)[1]} ({min(figures)[2]:.1f})",
                     max(figure[2] for figure in figures), sum(figure[0] < CLEAN_BAR for figure in figures)])
        worst.append(min(figures)[0])
    return (f"## Clean photographs, nothing set\n\nPSNR in dB of what comes back against what went in. Bar {CLEAN_BAR}: "
            + verdict(min(worst) >= CLEAN_BAR) + ".\n\n"
            + table(["set", "pictures", "worst PSNR", "which (estimate)", "largest estimate", f"below {CLEAN_BAR}"], rows))


def square_variance(picture):
    """Of 16x16 squares; without a bound where noise would be clipped, since then its mean is not 0."""
    rows, columns = picture.shape[0] // 16 * 16, picture.shape[1] // 16 * 16
    squares = picture[:rows, :columns].reshape(rows // 16, 16, columns // 16, 16, 3)
    clips = (squares.min((1, 3, 4)) < 0.15) | (squares.max((1, 3, 4)) > 0.85)
    return numpy.where(clips, numpy.inf, squares.var((1, 3)).mean(2))


def flat_areas(reference):
    """The tenth of the 16x16 squares with the least variance."""
    variance = square_variance(reference)
    return variance <= numpy.quantile(variance[numpy.isfinite(variance)], 0.1)


def flattest(pictures):
    """The one that has the flattest areas: where there is texture, a difference is no noise."""
    return min(pictures, key=lambda picture: numpy.sort(square_variance(picture), None)[90])


def left_in(result, reference, flat):
    rows, columns = flat.shape[0] * 16, flat.shape[1] * 16
    squares = (result - reference)[:rows, :columns].reshape(flat.shape[0], 16, flat.shape[1], 16, 3)
    return float(numpy.sqrt((squares ** 2).mean((1, 3, 4))[flat].mean()) * 255)


def measure_strength(options, program):
    """What noise is left in flat areas: of a made picture, of a photograph with noise added, of a noisy photograph."""
    random = numpy.random.default_rng(0)
    flat = numpy.broadcast_to(numpy.array([0.3, 0.5, 0.7], numpy.float32), (256, 256, 3))
    cases = [("flat, noise 25", flat, flat + random.normal(0, 25 / 255, flat.shape), ("--noise", "25"))]
    clean = flattest([read(path) for path in common.pictures_in(options.pictures / "mcmaster")])
    cases.append(("McMaster, noise 15", clean, clean + random.normal(0, 15 / 255, clean.shape), ("--noise", "15")))
    cases.append(("the same, told 10", clean, cases[-1][2], ("--noise", "10")))
    for noisy, reference in find_pairs(options.pictures / "realnoise")[1:20:9]:
        cases.append((noisy.stem.split("_noisy")[0], read(reference), noisy, ("--noise", "auto")))
    rows, good = [], True
    for name, reference, noisy, how in cases:
        areas = flat_areas(reference)
        left = [left_in(program.denoise(noisy, *how, "--strength", strength)[0], reference, areas)
                for strength in STRENGTHS]
        monotonic = all(b <= a + 0.01 for a, b in zip(left, left[1:]))
        good = good and monotonic
        rows.append([name, *left, "yes" if monotonic else "NO"])
    return ("## Strength\n\nStandard deviation in 1/255 of what differs from the reference in its flattest tenth. Bar, "
            "never more with more strength: " + verdict(good) + ".\n\n"
            + table(["", *map(str, STRENGTHS), "monotonic"], rows))


def texture(picture):
    """The mean local contrast of what is finer than about 4 pixels, in 1/255."""
    luma = picture.mean(2)
    fine = luma - cv2.GaussianBlur(luma, (0, 0), 1.5)
    return float(numpy.sqrt(cv2.GaussianBlur(fine ** 2, (0, 0), 4)).mean() * 255)


def measure_steps(options, program):
    """How much texture one call and eight steps leave of what the clean pictures have."""
    figures, shown = [], None
    for path in common.pictures_in(options.pictures / "mcmaster")[:6]:
        clean, noisy = read(path), program.file("noisy.png")
        common.write(noisy, clean + numpy.random.default_rng(1).normal(0, 25 / 255, clean.shape))
        one, seconds = program.denoise(noisy, "--noise", "25")
        eight, longer = program.denoise(noisy, "--noise", "25", "--steps", "8")
        figures.append([texture(one) / texture(clean), texture(eight) / texture(clean), psnr(clean, one),
                        psnr(clean, eight), longer / seconds])
        shown = shown or ("one call, 8 steps, clean", read(noisy), one, eight, clean)
    mean = [float(value) for value in numpy.mean(figures, 0)]
    return ("## Eight steps against one call\n\nSix McMaster pictures, noise 25, told. Texture: local contrast finer than "
            "4 pixels, as a share of the clean picture's. Bar, more of it: "
            + verdict(all(figure[1] > figure[0] for figure in figures)) + ".\n\n"
            + table(["", "texture", "PSNR", "time"], [["one call", f"{mean[0]:.0%}", mean[2], "1"],
                                                      ["`--steps 8`", f"{mean[1]:.0%}", mean[3], f"{mean[4]:.1f}"]])), shown


def measure_cost(options, program):
    rows = []
    small = common.pictures_in(options.pictures / "realnoise")[0]
    large = program.file("large.png")
    common.write(large, numpy.tile(read(small), (4, 4, 1)), 8)
    for path in (small, large):
        estimate = min(program.estimate(path)["seconds"] for _ in range(ROUNDS))
        denoise = min(program.denoise(path, "--noise", "5")[1] for _ in range(2 if path == large else ROUNDS))
        height, width = read(path).shape[:2]
        rows.append([f"{width}x{height}", f"{estimate:.3f}", f"{denoise:.3f}", 100 * estimate / denoise])
    return ("## Cost of the estimate\n\nSeconds, the best of several runs. Bar "
            f"{COST_BAR} %: " + verdict(all(row[3] < COST_BAR for row in rows)) + ".\n\n"
            + table(["picture", "estimate", "denoising", "percent"], rows))


# --- the sheet ----------------------------------------------------------------------------------------------------

def crop(picture, size=192):
    y, x = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return numpy.clip(picture[y:y + size, x:x + size], 0, 1)


def draw_sheet(options, shown, sampled, path):
    """Centres at full size: noisy, ours, each peer, reference."""
    cache, choices = peers.Cache(options.cache), peers.all_peers(options.noise_reduction)
    pairs = find_pairs(options.pictures / "realnoise")
    settings = [best_setting(peer, pairs, [item[3] for item in shown], cache)[0] for peer in choices]
    titles = ["noisy", "ours, auto", *(f"{peer[0]} {setting}" for peer, setting in zip(choices, settings)), "reference"]
    lines = [titles]
    for (name, noisy, ours, reference), (file, _) in list(zip(shown, pairs))[::3]:
        lines.append([crop(picture) for picture in (
            noisy, ours, *(cache.get(peer, setting, file) for peer, setting in zip(choices, settings)), reference)])
    lines.append(["noisy, 25", "one call", "8 steps", "reference"])
    lines.append([crop(picture) for picture in sampled[1:]])
    width, gap = 192, 4
    strips = []
    for line in lines:
        height = 18 if isinstance(line[0], str) else width
        strip = numpy.ones((height + gap, len(titles) * (width + gap), 3), numpy.float32)
        for index, cell in enumerate(line):
            x = index * (width + gap)
            if isinstance(cell, str):
                cv2.putText(strip, cell, (x, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.36, (0, 0, 0), 1, cv2.LINE_AA)
            else:
                strip[:height, x:x + width] = cell
        strips.append(strip)
    common.write(path, numpy.concatenate(strips), 8)


# --- the command --------------------------------------------------------------------------------------------------

def arguments():
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gimp-diffusion/peers"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path, metavar="PICTURES")
    add_program_options(parser)
    parser.add_argument("--psnr", type=Path, default=TOP / "build/tests/quality-psnr", metavar="FILE")
    parser.add_argument("--noise-reduction", type=Path, default=TOP / "build/tests/quality-noise-reduction", metavar="FILE")
    parser.add_argument("--out", type=Path, default=Path("quality"), metavar="FOLDER",
                        help="where table.md and contact.png go (default: ./%(default)s)")
    parser.add_argument("--cache", type=Path, default=cache, metavar="FOLDER", help="of the peers' results (default: %(default)s)")
    parser.add_argument("--only", action="append", choices=("psnr", "pairs", "clean", "strength", "steps", "cost"),
                        help="this part, and others that are named likewise; without it all")
    return parser.parse_args()


def main():
    options = arguments()
    program = Program(options.program, options.model)
    wanted = options.only or ("psnr", "pairs", "clean", "strength", "steps", "cost")
    parts, shown, sampled = [], None, None
    options.out.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        result = globals()["measure_" + name](options, program)
        if name == "pairs":
            result, shown = result
        elif name == "steps":
            result, sampled = result
        print(result, end="", flush=True)
        parts.append(result)
    (options.out / "table.md").write_text("# Quality\n\n" + "".join(parts))
    if shown and sampled:
        draw_sheet(options, shown, sampled, options.out / "contact.png")


if __name__ == "__main__":
    try:
        main()
    except (OSError, subprocess.CalledProcessError) as failure:
        sys.exit(f"measure: {failure}")
