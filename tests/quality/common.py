"""What the measurements of quality share: the program, pictures as arrays, PSNR and SSIM."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    import cv2
    import numpy
    from skimage.metrics import structural_similarity
except ImportError:
    sys.exit("This needs the packages python3-numpy, python3-opencv and python3-skimage, and Debian's /usr/bin/python3.")

TOP = Path(__file__).resolve().parents[2]


def read(path):
    """R'G'B' floats in [0, 1]."""
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise OSError(f"{path} is no picture.")
    return pixels[..., ::-1] / numpy.float32(65535 if pixels.dtype == numpy.uint16 else 255)


def write(path, picture, bits=16):
    most = 2 ** bits - 1
    pixels = numpy.rint(numpy.clip(picture, 0, 1) * most).astype(numpy.uint16 if bits == 16 else numpy.uint8)
    if not cv2.imwrite(str(path), pixels[..., ::-1]):
        raise OSError(f"{path} could not be written.")


def psnr(reference, picture):
    difference = numpy.clip(picture, 0, 1).astype(numpy.float64) - reference
    return float(-10 * numpy.log10(max((difference ** 2).mean(), 1e-10)))


def ssim(reference, picture):
    """Wang et al. 2004, with their Gaussian window; mean over the channels."""
    return float(structural_similarity(reference, numpy.clip(picture, 0, 1), data_range=1.0, channel_axis=2,
                                       gaussian_weights=True, sigma=1.5, use_sample_covariance=False))


def pictures_in(folder):
    return sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif"))


class Program:
    """The program `diffusion` with one model."""

    def __init__(self, path, model):
        self.path, self.model = str(path), str(model)
        self.scratch = tempfile.TemporaryDirectory(prefix="quality-")

    def run(self, *arguments):
        return subprocess.run([self.path, *map(str, arguments)], check=True, text=True, stdout=subprocess.PIPE).stdout

    def file(self, name):
        return Path(self.scratch.name) / name

    def put(self, picture):
        """A file that a command can read: a path stays one, an array becomes a picture of 16 bits."""
        if not isinstance(picture, numpy.ndarray):
            return picture
        write(self.file("in.png"), picture)
        return self.file("in.png")

    def denoise(self, picture, *options):
        """The result, and the seconds that the network took.  Results of 8-bit files have 8 bits."""
        out = self.file("out.png")
        printed = self.run("denoise", self.put(picture), out, "--model", self.model, *options)
        return read(out), float(re.search(r"^time: ([0-9.]+)", printed, re.M)[1])

    def estimate(self, picture):
        """sigma, luma, chroma in 1/255 and the curve, by name; and the seconds that it took."""
        printed = self.run("estimate", self.put(picture))
        values = {line.split(":")[0]: [float(word) for word in re.findall(r"-?[0-9.]+(?:e-?\d+)?", line.split(":")[1])]
                  for line in printed.splitlines()}
        return {"sigma": values["sigma"][0], "luma": values["luma"][0], "chroma": values["chroma"][0],
                "curve": values["curve"], "seconds": values["time"][0]}


def add_program_options(parser):
    parser.add_argument("--program", type=Path, default=TOP / "build/engine/cli/diffusion", metavar="FILE",
                        help="the program to measure (default: the one in ./build)")
    parser.add_argument("--model", type=Path, default=TOP / "models/default.safetensors", metavar="FILE",
                        help="the model to measure (default: %(default)s)")
