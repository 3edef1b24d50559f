"""The model that ships in the package: its file, what it sees of a picture, and what it is not.

The file is a NumPy archive of the state dict of `networks.EmbeddedNet`, kernels as float16; it
holds no code and needs no network. Training and figures: docs/embedded_model.md, and the card
beside the file.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.archives import READ_FAILURES, array_of, opened_archive, reason
from midas_depth_ros.depth.embedded_graph import HALF_SIZE, SIZE
from midas_depth_ros.depth.errors import WeightsCorrupt
from midas_depth_ros.depth.weights_file import FileState, WeightsFile, examine

SUFFIX = '.npz'
MOST_BYTES = 16 << 20  # of an archive, packed or not: as float64 its numbers take 13.8 MB
ASSET = Path(__file__).resolve().parents[1] / 'assets' / 'embedded.npz'
EMBEDDED_WEIGHTS = WeightsFile(
    name=ASSET.name,
    url='',  # it comes with the package
    size=3_510_664,
    sha256='f3df2edae8c3797969e55a6b6eac548d660d17f3a4a9cd219d76e4713188878c',
)
# Of the weights with this hash: 1000 times the means of 32 x 32 pixels of their answer to the
# sample picture street_1. New weights need a new one, which test/depth/test_judgement.py prints.
ANSWER_OF = 'f3df2edae8c3797969e55a6b6eac548d660d17f3a4a9cd219d76e4713188878c'
ANSWER = np.array(
    [
        [570, 366, 231, 114, 166, 181, 157, 205],
        [637, 386, 294, 257, 250, 231, 364, 382],
        [759, 678, 704, 704, 695, 657, 609, 596],
        [1197, 1216, 1205, 1193, 1193, 1181, 1157, 1140],
        [1705, 1711, 1697, 1687, 1682, 1677, 1662, 1657],
        [2217, 2212, 2200, 2187, 2170, 2163, 2158, 2148],
    ],
    np.float32,
)
WHAT_IT_IS = (
    "'embedded' is a small network trained on rendered rooms, corridors and streets only: it knows "
    'floors, walls and common obstacles, and errs more than MiDaS_small on what real cameras see.'
)


def shipped_weights() -> Path:
    """The file of the package, after its size and SHA-256 were found right.

    Raises WeightsCorrupt where it is missing or was altered.
    """
    finding = examine(ASSET, EMBEDDED_WEIGHTS)
    if finding.state is not FileState.GOOD:
        raise WeightsCorrupt(f'{ASSET} {finding.fault}: install the package again')
    return ASSET


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Entries of a state dict by name, as float32; runs no code of the file.

    Raises WeightsCorrupt where the file is no such archive, WeightsMismatch where it has more
    than the network could.
    """
    weights = {}
    try:
        with opened_archive(path, MOST_BYTES, MOST_BYTES) as archive:
            for name in archive.names:
                with np.errstate(over='ignore'):  # what does not fit is infinite, and refused
                    array = np.asarray(array_of(archive.read(name)), np.float32)
                weights[name.removesuffix('.npy')] = array
    except READ_FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a NumPy archive of weights ({reason(error)}): copy the file '
            'again'
        ) from error
    return weights


def preprocess(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB, stretched to (1, 3, 192, 256) float32, 0..1, colours last in memory."""
    height, width = SIZE
    # Halves are what OpenCV averages fast: a fifth of the time that one step takes.
    while rgb.shape[0] >= 2 * height and rgb.shape[1] >= 2 * width:
        half = (rgb.shape[1] // 2, rgb.shape[0] // 2)
        rgb = np.asarray(cv2.resize(rgb, half, interpolation=cv2.INTER_AREA), np.uint8)
    far = rgb.shape[0] >= 2 * height or rgb.shape[1] >= 2 * width
    how = cv2.INTER_AREA if far else cv2.INTER_LINEAR
    small = cv2.resize(rgb, (width, height), interpolation=how)
    picture = small.astype(np.float32)
    picture *= np.float32(1 / 255)
    return picture.transpose(2, 0, 1)[np.newaxis]


def finish(output: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the converted model gives, (96, 128) float32, at the size of its picture, (192, 256)."""
    if output.shape != HALF_SIZE:
        return output
    height, width = SIZE
    large: NDArray[np.float32] = cv2.resize(output, (width, height))  # bilinear
    return large
