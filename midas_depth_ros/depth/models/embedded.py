"""The model that ships in the package: its file, what it sees of a picture, and what it is not.

The file is a NumPy archive of the state dict of `networks.EmbeddedNet`, kernels as float16; it
holds no code and needs no network. Training and figures: docs/embedded_model.md, and the card
beside the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.archives import READ_FAILURES, array_of, opened_archive, reason
from midas_depth_ros.depth.errors import WeightsCorrupt
from midas_depth_ros.depth.models.midas_small import conv_shapes, norm_shapes
from midas_depth_ros.depth.onnx_files import Graph
from midas_depth_ros.depth.weights import FileState, WeightsFile, examine

# --- EmbeddedNet as an ONNX model, made from its state dict as NumPy arrays; needs no torch.
#
# Normalisations are folded into the convolutions before them, and what depends on the place in
# the picture alone is computed once. Only operations that OpenCV 4.6 runs too are used: the mean
# of the whole picture is spread by a resize, and the 2x2 pixels of one place by a transposed
# convolution that copies. The model ends at half the size: the last doubling (`embedded.finish`)
# takes OpenCV's resize a tenth of the time that it takes OpenVINO.

SIZE = (192, 256)  # (H, W) of the picture
HALF_SIZE = (SIZE[0] // 2, SIZE[1] // 2)  # and of what the model gives
# One column per stage, at strides 4, 8, 16, 32 and 64.
CHANNELS = (32, 48, 96, 192, 192)
BLOCKS = (1, 2, 2, 1, 1)
DECODER_CHANNELS = 32
STEM_KERNEL, STEM_STRIDE = 6, 4
PIXELS = 4  # 2 x 2, that one place becomes
NORM_EPSILON = 1e-5  # that batch normalisation adds to the variance, torch's own default
INPUT, OUTPUT = 'picture', 'depth'

Weights = Mapping[str, np.ndarray]


def embedded_onnx(weights: Weights, metadata: Mapping[str, str] | None = None) -> bytes:
    """The model's bytes: 'picture' (1, 3, 192, 256) float32 0..1 to 'depth' (1, 1, 96, 128).

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not
    finite.
    """
    build = _Builder({name: np.asarray(array, np.float32) for name, array in weights.items()})
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        build.network()
    return build.graph.to_bytes(INPUT, (1, 3, *SIZE), OUTPUT, (1, 1, *HALF_SIZE), metadata)


def embedded_shapes() -> dict[str, tuple[int, ...]]:
    """Every entry of the network's state dict, and its shape."""
    return dict(_shapes())


def _shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    wide, first = DECODER_CHANNELS, CHANNELS[0]
    yield 'stem.weight', (first, 3, STEM_KERNEL, STEM_KERNEL)
    yield 'place.weight', (first, 2, 1, 1)
    yield from norm_shapes('stem_norm', first)
    before = first
    for stage, channels in enumerate(CHANNELS):
        for number in range(BLOCKS[stage]):
            name = f'stages.{stage}.{number}'
            convolutions = [('first', before, 3), ('second', channels, 3)]
            if before != channels or (stage and not number):
                convolutions.append(('shortcut', before, 1))
            for convolution, taken, kernel in convolutions:
                yield f'{name}.{convolution}.0.weight', (channels, taken, kernel, kernel)
                yield from norm_shapes(f'{name}.{convolution}.1', channels)
            before = channels
        yield from conv_shapes(f'lateral.{stage}', (wide, channels, 1, 1))
        # The finest level has half a unit.
        for layer in ('conv1', 'conv2') if stage else ('conv',):
            yield from conv_shapes(f'refine.{stage}.{layer}', (wide, wide, 3, 3))
    yield from conv_shapes('whole', (wide, CHANNELS[-1], 1, 1))
    yield from conv_shapes('head', (PIXELS, wide, 3, 3))


class _Builder:
    """Walks through the network as `EmbeddedNet` does, and notes every operation."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.graph = Graph()

    def network(self) -> None:
        value, levels = self.stem(INPUT), []
        keys = [key.split('.') for key in self.weights if key.startswith('stages.')]
        stages = sorted({int(key[1]) for key in keys})
        for stage in stages:
            for block in sorted({int(key[2]) for key in keys if int(key[1]) == stage}):
                stride = 2 if stage and not block else 1
                value = self.block(value, f'stages.{stage}.{block}', stride)
            levels.append(value)
        mean = self.graph.add('GlobalAveragePool', [value], 'mean')
        mean = self.convolution(mean, 'whole')
        coarsest = STEM_STRIDE * 2 ** stages[-1]  # stride of the last stage
        mean = self.resize(mean, 'spread', [side / coarsest for side in SIZE], 'nearest')
        path = self.sum(self.convolution(value, f'lateral.{stages[-1]}'), mean, 'path')
        path = self.refine(path, f'refine.{stages[-1]}')
        for stage in stages[-2::-1]:
            path = self.resize(path, f'up.{stage}', [2.0, 2.0], 'linear')
            beside = self.convolution(levels[stage], f'lateral.{stage}')
            path = self.refine(self.sum(path, beside, f'path.{stage}'), f'refine.{stage}')
        self.graph.add('Relu', [self.spread(path, 'head')], OUTPUT)

    def stem(self, picture: str) -> str:
        scale, shift = self.normalisation('stem_norm')
        kernel = self.weights['stem.weight'] * scale[:, np.newaxis, np.newaxis, np.newaxis]
        nothing = np.zeros(len(scale), np.float32)
        value = self.apply(picture, 'stem', kernel, nothing, STEM_STRIDE, 1)
        height, width = (side // STEM_STRIDE for side in SIZE)
        rows, columns = np.meshgrid(
            np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing='ij'
        )
        place = self.weights['place.weight'][:, :, 0, 0].T[..., np.newaxis, np.newaxis]
        places = (place[0] * rows + place[1] * columns) * scale[:, np.newaxis, np.newaxis]
        places = places + shift[:, np.newaxis, np.newaxis]
        return self.relu(self.sum(value, self.graph.weight('places', places[None]), 'placed'))

    def spread(self, path: str, name: str) -> str:
        """Every place becomes 2x2 pixels."""
        values = self.convolution(self.relu(path), name, padding=1)
        copies = np.eye(PIXELS, dtype=np.float32).reshape(PIXELS, 1, 2, 2)
        kernel = self.graph.weight(f'{name}.copies', copies)
        sides = {'kernel_shape': (2, 2), 'strides': (2, 2)}
        return self.graph.add('ConvTranspose', [values, kernel], f'{name}.pixels', **sides)

    def block(self, value: str, name: str, stride: int) -> str:
        change = self.relu(self.normalised(value, f'{name}.first', stride, 1))
        change = self.normalised(change, f'{name}.second', 1, 1)
        if f'{name}.shortcut.0.weight' in self.weights:
            value = self.normalised(value, f'{name}.shortcut', stride, 0)
        return self.relu(self.sum(change, value, f'{name}.sum'))

    def refine(self, path: str, name: str) -> str:
        change = path
        for layer in ('conv',) if f'{name}.conv.weight' in self.weights else ('conv1', 'conv2'):
            change = self.convolution(self.relu(change), f'{name}.{layer}', padding=1)
        return self.sum(path, change, f'{name}.sum')

    def normalised(self, value: str, name: str, stride: int, padding: int) -> str:
        """A convolution with the normalisation behind it folded in."""
        scale, shift = self.normalisation(f'{name}.1')
        kernel = self.weights[f'{name}.0.weight'] * scale[:, np.newaxis, np.newaxis, np.newaxis]
        return self.apply(value, name, kernel, shift, stride, padding)

    def normalisation(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(C,) scale and shift of a batch normalisation."""
        w = {key: self.weights[f'{name}.{key}'] for key in ('weight', 'bias')}
        mean, variance = (self.weights[f'{name}.running_{key}'] for key in ('mean', 'var'))
        scale = w['weight'] / np.sqrt(variance + np.float32(NORM_EPSILON))
        return scale, w['bias'] - mean * scale

    def convolution(self, value: str, name: str, padding: int = 0) -> str:
        kernel, bias = self.weights[f'{name}.weight'], self.weights[f'{name}.bias']
        return self.apply(value, name, kernel, bias, 1, padding)

    def apply(
        self, value: str, name: str, kernel: np.ndarray, bias: np.ndarray, stride: int, padding: int
    ) -> str:
        inputs = [
            value,
            self.graph.weight(f'{name}.kernel', kernel),
            self.graph.weight(f'{name}.shift', bias),
        ]
        return self.graph.add(
            'Conv', inputs, name,
            kernel_shape=kernel.shape[2:], strides=(stride, stride), pads=(padding,) * 4,
        )  # fmt: skip

    def sum(self, first: str, second: str, name: str) -> str:
        return self.graph.add('Add', [first, second], name)

    def relu(self, value: str) -> str:
        return self.graph.add('Relu', [value], f'{value}.relu')

    def resize(self, value: str, name: str, factors: list[float], mode: str) -> str:
        scales = self.graph.weight(f'{name}.scales', np.array([1.0, 1.0, *factors]))
        how = {'mode': mode, 'coordinate_transformation_mode': 'half_pixel'}
        if mode == 'nearest':
            how |= {'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
        return self.graph.add('Resize', [value, '', scales], name, **how)


SUFFIX = '.npz'
MOST_BYTES = 16 << 20  # of an archive, packed or not: as float64 its numbers take 13.8 MB
ASSET = Path(__file__).resolve().parents[2] / 'assets' / 'embedded.npz'
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
