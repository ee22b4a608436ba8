"""Other denoisers, each at all of its settings: what ours is compared with.

A peer may have the setting that serves it best, which it takes the reference to know; ours is given nothing.  Results
are kept in a cache, so that only the first run takes its time.
"""

import hashlib
import subprocess

import cv2
import numpy
from skimage import restoration

from common import read, write


def gegl(tool):
    """GIMP's Filters > Enhance > Noise Reduction; its default strength is 4."""
    def run(path, strength, out):
        subprocess.run([str(tool), str(path), str(out), str(strength)], check=True)
        return read(out)
    return "GIMP, Noise Reduction", run, (1, 2, 3, 4, 6, 8)


def opencv_nlm():
    """Buades, Coll, Morel 2005, in OpenCV's form for colour."""
    def run(path, h, out):
        result = cv2.fastNlMeansDenoisingColored(cv2.imread(str(path)), None, h, h, 7, 21)
        return result[..., ::-1] / numpy.float32(255)
    return "non-local means, OpenCV", run, (1, 2, 3, 4, 5, 6, 8)


def skimage_nlm():
    def run(path, h, out):
        return restoration.denoise_nl_means(read(path), h=h / 255, patch_size=5, patch_distance=6, fast_mode=True,
                                            channel_axis=2).astype(numpy.float32)
    return "non-local means, scikit-image", run, (1, 2, 3, 4, 5, 6, 8)


def wavelet():
    """BayesShrink (Chang, Yu, Vetterli 2000) on YCbCr; 0: with its own estimate of the noise."""
    def run(path, sigma, out):
        return restoration.denoise_wavelet(read(path), sigma=[sigma / 255] * 3 if sigma else None, convert2ycbcr=True,
                                           channel_axis=2, rescale_sigma=True).astype(numpy.float32)
    return "wavelets, scikit-image", run, (0, 1, 2, 3, 4, 5, 6)


def bm3d():
    """Dabov et al. 2007.  Debian has none; the authors' own, for research alone, is used where it is installed."""
    try:
        import bm3d as module
    except ImportError:
        return None

    def run(path, sigma, out):
        return module.bm3d_rgb(read(path).astype(numpy.float64), sigma / 255).astype(numpy.float32)
    return "BM3D", run, (2, 3, 4, 6, 8)


def all_peers(tool):
    return [peer for peer in (gegl(tool), opencv_nlm(), skimage_nlm(), wavelet(), bm3d()) if peer]


class Cache:
    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, peer, setting, path):
        """What a peer makes of a picture's file."""
        name, run, _ = peer
        key = hashlib.sha256(f"{name} {setting} {cv2.__version__} ".encode() + path.read_bytes()).hexdigest()[:24]
        kept = self.folder / f"{key}.png"
        if not kept.exists():
            part = self.folder / f"{key}.part.png"
            write(part, run(path, setting, part))
            part.replace(kept)
        return read(kept)
