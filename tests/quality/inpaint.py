#!/usr/bin/python3
# gimp-diffusion: how good the fills are, beside those of others
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fills the holes of a folder of pictures and prints how close the fills come to what was there.

The folder has NAME.png and, for each kind of hole, NAME.KIND.mask.png (above 0: hole).  Needs python3-opencv and
python3-skimage.  The others' fills are slow, so they are kept in the cache folder; ours are made anew each time.

Columns, means over the pictures: PSNR in the hole (dB), SSIM in the hole, the sliced Wasserstein distance of the
fill's 7x7 luma patches from the true ones (units of 1/255; a fill with the right texture in other places is near 0, a
blurred one is not), the median of the fill's gradient energy over the true one, the gradient across the hole's border
over that of its neighbourhood, seconds.
"""
import argparse
import os
import subprocess
import sys
import time

import cv2
import numpy as np
from skimage.metrics import structural_similarity
from skimage.restoration import inpaint_biharmonic

KINDS = ["scratch", "text", "object32", "object64", "object128", "border"]
PATCH = 7
DIRECTIONS = 64
BAND = 6  # how far from the border its neighbourhood reaches, pixels


# ---- fills

def blank(picture, hole):
    result = picture.copy()
    result[hole] = 128
    return result


def telea(picture, hole):
    return cv2.inpaint(picture, hole.astype(np.uint8) * 255, 5, cv2.INPAINT_TELEA)


def navier_stokes(picture, hole):
    return cv2.inpaint(picture, hole.astype(np.uint8) * 255, 5, cv2.INPAINT_NS)


def biharmonic(picture, hole):
    fill = inpaint_biharmonic(picture, hole, channel_axis=2)
    return np.clip(np.rint(fill * 255), 0, 255).astype(np.uint8)


PEERS = {"telea": telea, "navier-stokes": navier_stokes, "biharmonic": biharmonic}


def cached(path, make):
    """A fill from the cache, and the seconds that it took when it was made."""
    note = path + ".seconds"
    if not os.path.exists(note):
        start = time.time()
        fill = make()
        seconds = time.time() - start
        cv2.imwrite(path, fill)
        with open(note, "w") as file:
            file.write("%.3f\n" % seconds)
    with open(note) as file:
        return cv2.imread(path), float(file.read())


def ours(arguments, picture, hole, seed, variants=1):
    """Our fills with seeds from `seed` on, and the seconds that one took."""
    paths = [os.path.join(arguments.cache, name) for name in ("in.png", "hole.png", "out.png")]
    cv2.imwrite(paths[0], blank(picture, hole))
    cv2.imwrite(paths[1], hole.astype(np.uint8) * 255)
    command = [arguments.program, "inpaint", *paths, "--seed", str(seed), "--variants", str(variants)]
    printed = subprocess.run(command + arguments.option, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = float(printed.split("time: ")[1].split()[0]) / variants
    names = [paths[2]] + [paths[2][:-4] + "-%d.png" % (i + 1) for i in range(1, variants)]
    return [cv2.imread(name) for name in names], seconds


# ---- measures

def luma(picture):
    return picture.astype(np.float64) @ [0.114, 0.587, 0.299]


def psnr(fill, truth, hole):
    return 10 * np.log10(255 ** 2 / max(np.mean((fill[hole].astype(float) - truth[hole]) ** 2), 1e-2))


def ssim(fill, truth, hole):
    return structural_similarity(fill, truth, channel_axis=2, full=True)[1].mean(axis=2)[hole].mean()


def patches(plane, hole):
    half = PATCH // 2
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(plane, half, "symmetric"), (PATCH, PATCH))
    values = windows[hole].reshape(-1, PATCH * PATCH)
    return values - values.mean(axis=1, keepdims=True)


def sliced_wasserstein(fill, truth, hole):
    directions = np.random.default_rng(1).standard_normal((PATCH * PATCH, DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    total = 0
    for scale in (1, 2):
        size = (fill.shape[1] // scale, fill.shape[0] // scale)
        planes = [cv2.resize(luma(p), size, interpolation=cv2.INTER_AREA) for p in (fill, truth)]
        inside = cv2.resize(hole.astype(np.float64), size, interpolation=cv2.INTER_AREA) >= 0.5
        a, b = [np.sort(patches(plane, inside) @ directions, axis=0) for plane in planes]
        total += np.abs(a - b).mean() / 2
    return total


def gradient_energy(picture, hole):
    plane = luma(picture)
    right = hole[:, 1:] & hole[:, :-1]
    down = hole[1:] & hole[:-1]
    return np.mean(np.diff(plane, axis=1)[right] ** 2) + np.mean(np.diff(plane, axis=0)[down] ** 2)


def seam(picture, hole):
    """The mean step across the border over the mean step between neighbours near it, on both sides."""
    plane = luma(picture)
    kernel = np.ones((2 * BAND + 1, 2 * BAND + 1), np.uint8)
    near = (cv2.dilate(hole.astype(np.uint8), kernel) > cv2.erode(hole.astype(np.uint8), kernel))
    across, around = [], []
    for axis in (0, 1):
        step = np.abs(np.diff(plane, axis=axis))
        one, other = (hole[1:], hole[:-1]) if axis == 0 else (hole[:, 1:], hole[:, :-1])
        close = (near[1:] & near[:-1]) if axis == 0 else (near[:, 1:] & near[:, :-1])
        across.append(step[one != other])
        around.append(step[close & (one == other)])
    return np.concatenate(across).mean() / max(np.concatenate(around).mean(), 0.25)


def measure(fill, truth, hole, seconds):
    return [psnr(fill, truth, hole), ssim(fill, truth, hole), sliced_wasserstein(fill, truth, hole),
            gradient_energy(fill, hole) / max(gradient_energy(truth, hole), 0.1), seam(fill, hole), seconds]


def mean_of(rows):
    rows = np.array(rows)
    result = rows.mean(axis=0)
    result[3] = np.median(rows[:, 3])
    return result


def check_known(fill, truth, hole, grown):
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown + 1, 2 * grown + 1))
    known = cv2.dilate(hole.astype(np.uint8), kernel) == 0
    if not np.array_equal(fill[known], truth[known]):
        sys.exit("known pixels were changed")


# ---- the contact sheet

def crop_of(hole, size=256):
    """The square around the first hole, with surroundings."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(hole.astype(np.uint8))
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    x, y, w, h = stats[largest, :4]
    left = int(np.clip(x + w // 2 - size // 2, 0, hole.shape[1] - size))
    top = int(np.clip(y + h // 2 - size // 2, 0, hole.shape[0] - size))
    return slice(top, top + size), slice(left, left + size)


def titled(rows, titles):
    width = rows[0].shape[1]
    line = np.full((24, width, 3), 255, np.uint8)
    for i, title in enumerate(titles):
        cv2.putText(line, title, (i * width // len(titles) + 6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1,
                    cv2.LINE_AA)
    return np.vstack([line] + rows)


def fill_sheet(arguments, pictures, kind):
    rows = []
    for name, picture, holes in pictures:
        hole = holes[kind]
        area = crop_of(hole)
        fills, _ = ours(arguments, picture, hole, 0, 3)
        for peer in ("telea", "biharmonic"):
            fills.append(cached(peer_path(arguments, name, kind, peer), lambda: PEERS[peer](picture, hole))[0])
        rows.append(np.hstack([p[area] for p in [picture, blank(picture, hole)] + fills]))
    return titled(rows, ["original", "hole", "ours, seed 0", "seed 1", "seed 2", "Telea", "biharmonic"])


def regenerate_sheet(arguments, pictures):
    strengths = ("0.1", "0.3", "0.5", "0.7", "1")
    rows = []
    for name, picture, holes in pictures:
        area = crop_of(holes["object128"])
        path = [os.path.join(arguments.cache, n) for n in ("in.png", "out.png")]
        cv2.imwrite(path[0], picture[area])
        for structure in ("0", "1"):
            row = [picture[area]]
            for strength in strengths:
                subprocess.run([arguments.program, "regenerate", *path, "--strength", strength, "--structure",
                                structure] + arguments.option, check=True, stdout=subprocess.DEVNULL)
                row.append(cv2.imread(path[1]))
            rows.append(np.hstack(row))
    return titled(rows, ["original"] + ["strength " + s for s in strengths])


# ---- the program

def peer_path(arguments, name, kind, peer):
    return os.path.join(arguments.cache, "%s.%s.%s.png" % (name, kind, peer))


def read_pictures(arguments):
    result = []
    for file in sorted(os.listdir(arguments.folder)):
        name = file[:-4]
        if not file.endswith(".png") or file.endswith(".mask.png") or (arguments.only and arguments.only not in name):
            continue
        holes = {}
        for kind in KINDS:
            mask = cv2.imread(os.path.join(arguments.folder, "%s.%s.mask.png" % (name, kind)), cv2.IMREAD_GRAYSCALE)
            if mask is not None:
                holes[kind] = mask > 0
        result.append((name, cv2.imread(os.path.join(arguments.folder, file)), holes))
    return result


def print_table(arguments, pictures, kind):
    table = {"ours": []}
    for name, picture, holes in pictures:
        hole = holes[kind]
        for peer, fill in PEERS.items():
            result, seconds = cached(peer_path(arguments, name, kind, peer), lambda: fill(picture, hole))
            table.setdefault(peer, []).append(measure(result, picture, hole, seconds))
        if not arguments.peers:
            fills, seconds = ours(arguments, picture, hole, 0)
            check_known(fills[0], picture, hole, arguments.grown)
            table["ours"].append(measure(fills[0], picture, hole, seconds))
            if arguments.each:
                print("   %-28s" % name, " ".join("%8.3f" % v for v in table["ours"][-1]),
                      " best peer: PSNR %.2f, distance %.2f" % (max(table[p][-1][0] for p in PEERS),
                                                                min(table[p][-1][2] for p in PEERS)), flush=True)
    print("%-14s %8s %8s %8s %8s %8s %8s" % (kind, "PSNR", "SSIM", "distance", "energy", "seam", "seconds"))
    means = {name: mean_of(rows) for name, rows in table.items() if rows}
    for name, values in means.items():
        print("  %-12s %8.2f %8.4f %8.3f %8.2f %8.2f %8.2f" % (name, *values))
    if "ours" in means:
        best = [pick([means[p][i] for p in PEERS]) for i, pick in ((0, max), (1, max), (2, min))]
        print("  against the best: PSNR %+.2f dB, SSIM %+.4f, distance x %.2f" %
              (means["ours"][0] - best[0], means["ours"][1] - best[1], means["ours"][2] / best[2]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], epilog="Any further arguments are options of "
                                     "the program's command, after --.")
    parser.add_argument("folder", help="pictures and masks")
    parser.add_argument("--program", default="build/engine/cli/diffusion")
    parser.add_argument("--cache", required=True, help="a folder for the others' fills and for temporary files")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", help="only pictures whose name has this")
    parser.add_argument("--each", action="store_true", help="print each picture's figures too")
    parser.add_argument("--peers", action="store_true", help="measure only the others")
    parser.add_argument("--grown", type=int, default=2, help="pixels around the hole that may change, default 2")
    parser.add_argument("--sheet", metavar="PNG", help="make contact sheets, one for each kind, instead of the table")
    parser.add_argument("--regenerate", metavar="PNG", help="make the contact sheet of regenerate instead")
    parser.add_argument("option", nargs="*")
    arguments = parser.parse_args()
    os.makedirs(arguments.cache, exist_ok=True)
    pictures = read_pictures(arguments)
    if not pictures:
        sys.exit("%s has no pictures" % arguments.folder)
    if arguments.regenerate:
        cv2.imwrite(arguments.regenerate, regenerate_sheet(arguments, pictures))
        return
    for kind in arguments.kinds.split(","):
        if arguments.sheet:
            cv2.imwrite(arguments.sheet.replace(".png", "-%s.png" % kind), fill_sheet(arguments, pictures, kind))
        else:
            print_table(arguments, pictures, kind)


if __name__ == "__main__":
    main()
