"""MiDaS v2.1 small: what a picture becomes before it, and its graph as an ONNX model. Needs no
torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.onnx_files import Graph

# --- What MiDaS_small does to a picture before the network, and to the network's output after
# it.
#
# In: (H, W, 3) uint8 RGB. Out: (1, 3, h, w) float32 for the network, and its (h, w) output
# enlarged to the picture again. The sizes, the interpolation and the colour statistics are those
# that the network was trained with; needs no torch, so every backend shares it.
#
# Source: transforms of release v2_1 of isl-org/MiDaS, for MiDaS_small.

TARGET_SIDE = 256
MULTIPLE = 32
MEAN = np.array((0.485, 0.456, 0.406), np.float32)
STD = np.array((0.229, 0.224, 0.225), np.float32)
GAIN, OFFSET = 1 / (255 * STD), -MEAN / STD


def network_input_size(width: int, height: int) -> tuple[int, int]:
    """The size (width, height) at which the network sees a picture of `width` x `height` pixels.

    The picture is scaled to fit into 256 x 256; each side then goes to the nearest multiple of 32
    (half to even), and is at least 32, where the reference would give 0.
    Raises ValueError where a side is not positive.
    """
    if width < 1 or height < 1:
        raise ValueError(f'a picture of {width} x {height} pixels has no network input size')
    scale = min(TARGET_SIDE / width, TARGET_SIDE / height)
    return _constrained(scale * width), _constrained(scale * height)


def _constrained(side: float) -> int:
    multiple = round(side / MULTIPLE) * MULTIPLE  # Python rounds half to even, as NumPy does
    return min(max(multiple, MULTIPLE), TARGET_SIDE)


def preprocess(rgb: NDArray[np.uint8], size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """Scale and normalise a picture: (H, W, 3) uint8 RGB to (1, 3, h, w) float32.

    In memory the colours stay last, as they are in pictures. `size` (width, height) overrides what
    MiDaS_small chooses.
    """
    size = size or network_input_size(rgb.shape[1], rgb.shape[0])
    # The resize is linear, so the arithmetic can wait until the picture is small.
    small = cv2.resize(rgb.astype(np.float32), size, interpolation=cv2.INTER_CUBIC)
    # (v / 255 - mean) / std, in two passes over whole rows: three at a time would be slow.
    rows = small.reshape(size[1], 3 * size[0])
    rows *= np.tile(GAIN, size[0])
    rows += np.tile(OFFSET, size[0])
    network_input: NDArray[np.float32] = small.transpose(2, 0, 1)[np.newaxis]
    return network_input


def enlarge(small: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Bring relative inverse depth (h, w) to `shape` = (H, W): bicubic, corners not aligned.

    Cubic interpolation overshoots at edges; what falls below 0 is clipped there.
    """
    height, width = shape
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.maximum(large, 0.0, out=large)


# --- MidasSmall as an ONNX model, made from its state dict as NumPy arrays; needs no torch, no
# timm.
#
# The graph equals `networks.MidasSmall` to rounding, and is cheaper where arithmetic allows it:
# see `Simplifications`, which benchmarks/graph.py measures one by one. It takes every size whose
# sides are multiples of 32. What the network holds but never uses (a residual unit of the coarsest
# fusion block) is left out.

INPUT, OUTPUT = 'network_input', 'depth'
NORM_EPSILON = 1e-3  # that the encoder's batch normalisations add to the variance
RELU6_TOP = 6.0
NORM_ENTRIES = ('weight', 'bias', 'running_mean', 'running_var')
STEM_CHANNELS = 32
DECODER_CHANNELS = (64, 128, 256, 512)  # of the fusion blocks at strides 4, 8, 16 and 32
HEAD_CHANNELS = 32

Weights = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Stage:
    """Blocks of the encoder that follow each other under one name of the checkpoint.

    `expansion` 0 marks the block that has no 1x1 convolution before the one by channel.
    """

    layer: int
    name: str
    blocks: int
    kernel: int
    stride: int  # of its first block
    expansion: int
    channels: int


# EfficientNet-Lite3, without its classifier.
ENCODER = (
    Stage(1, 'pretrained.layer1.3', blocks=1, kernel=3, stride=1, expansion=0, channels=24),
    Stage(1, 'pretrained.layer1.4', blocks=3, kernel=3, stride=2, expansion=6, channels=32),
    Stage(2, 'pretrained.layer2.0', blocks=3, kernel=5, stride=2, expansion=6, channels=48),
    Stage(3, 'pretrained.layer3.0', blocks=5, kernel=3, stride=2, expansion=6, channels=96),
    Stage(3, 'pretrained.layer3.1', blocks=5, kernel=5, stride=1, expansion=6, channels=136),
    Stage(4, 'pretrained.layer4.0', blocks=6, kernel=5, stride=2, expansion=6, channels=232),
    Stage(4, 'pretrained.layer4.1', blocks=1, kernel=3, stride=1, expansion=6, channels=384),
)


@dataclass(frozen=True)
class Simplifications:
    """What is computed otherwise than it is written down in `networks.MidasSmall`.

    `fold_norms`: a batch normalisation after a convolution is a factor and a sum per channel, and
    goes into the convolution's kernel and bias.
    `narrow_first`: the 1x1 convolution of a fusion block commutes with the bilinear enlargement
    before it, whose weights sum to 1; before it there are a quarter of the pixels.
    """

    fold_norms: bool = True
    narrow_first: bool = True


ALL = Simplifications()


def midas_onnx(
    weights: Weights,
    size: tuple[int, int] | None = None,
    simplify: Simplifications = ALL,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The model's bytes: (1, 3, h, w) float32 to (1, 1, h, w); any size, or `size` = (h, w) only.

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not
    finite.
    """
    build = _Builder(weights, simplify)
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        build.network()
    sides = size or ('height', 'width')
    return build.graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


def midas_shapes() -> dict[str, tuple[int, ...]]:
    """Every entry of the official state dict, and its shape."""
    return {**dict(_encoder_shapes()), **dict(_decoder_shapes())}


def norm_shapes(name: str, channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield from ((f'{name}.{entry}', (channels,)) for entry in NORM_ENTRIES)
    yield f'{name}.num_batches_tracked', ()


def _encoder_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    yield 'pretrained.layer1.0.weight', (STEM_CHANNELS, 3, 3, 3)
    yield from norm_shapes('pretrained.layer1.1', STEM_CHANNELS)
    before = STEM_CHANNELS
    for stage in ENCODER:
        for number in range(stage.blocks):
            wide = before * (stage.expansion or 1)
            kernels = [('conv_dw', (wide, 1, stage.kernel, stage.kernel))]
            if stage.expansion:
                kernels = [('conv_pw', (wide, before, 1, 1)), *kernels]
            last = 'conv_pwl' if stage.expansion else 'conv_pw'
            kernels.append((last, (stage.channels, wide, 1, 1)))
            for place, (conv, shape) in enumerate(kernels, 1):
                yield f'{stage.name}.{number}.{conv}.weight', shape
                yield from norm_shapes(f'{stage.name}.{number}.bn{place}', shape[0])
            before = stage.channels


def _decoder_shapes() -> Iterator[tuple[str, tuple[int, ...]]]:
    seen = {stage.layer: stage.channels for stage in ENCODER}  # the last stage of each layer
    for level, wide in enumerate(DECODER_CHANNELS, 1):
        yield f'scratch.layer{level}_rn.weight', (wide, seen[level], 3, 3)
        name, narrow = f'scratch.refinenet{level}', DECODER_CHANNELS[max(level - 2, 0)]
        yield from conv_shapes(f'{name}.out_conv', (narrow, wide, 1, 1))
        for unit in ('resConfUnit1', 'resConfUnit2'):
            for conv in ('conv1', 'conv2'):
                yield from conv_shapes(f'{name}.{unit}.{conv}', (wide, wide, 3, 3))
    for place, shape in (
        (0, (HEAD_CHANNELS, DECODER_CHANNELS[0], 3, 3)),
        (2, (HEAD_CHANNELS, HEAD_CHANNELS, 3, 3)),
        (4, (1, HEAD_CHANNELS, 1, 1)),
    ):
        yield from conv_shapes(f'scratch.output_conv.{place}', shape)


def conv_shapes(
    name: str, shape: tuple[int, int, int, int]
) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f'{name}.weight', shape
    yield f'{name}.bias', shape[:1]


class _Builder:
    """Walks through the network as `MidasSmall.forward` does, and notes every operation."""

    def __init__(self, weights: Weights, simplify: Simplifications) -> None:
        self.weights, self.simplify = weights, simplify
        self.graph = Graph()
        self.relu6_range = [self.graph.weight('0', 0.0), self.graph.weight('6', RELU6_TOP)]

    def network(self) -> None:
        features, path = self.encoder(), ''
        for level in (4, 3, 2, 1):
            beside = self.convolution(features[level], f'scratch.layer{level}_rn')
            path = self.fusion(path, beside, f'scratch.refinenet{level}')
        path = self.convolution(path, 'scratch.output_conv.0')
        path = self.doubled(path, 'head.up', 'half_pixel')
        path = self.relu(self.convolution(path, 'scratch.output_conv.2'))
        self.graph.add('Relu', [self.convolution(path, 'scratch.output_conv.4')], OUTPUT)

    def encoder(self) -> dict[int, str]:
        """The last features of each layer."""
        value = self.normalised(INPUT, 'pretrained.layer1.0', 'pretrained.layer1.1', stride=2)
        value, before, features = self.relu6(value), STEM_CHANNELS, {}
        for stage in ENCODER:
            for number in range(stage.blocks):
                stride = 1 if number else stage.stride
                change = self.block(value, f'{stage.name}.{number}', stage, stride)
                if stride == 1 and before == stage.channels:
                    change = self.sum(change, value, f'{stage.name}.{number}.sum')
                value, before = change, stage.channels
            features[stage.layer] = value
        return features

    def block(self, value: str, name: str, stage: Stage, stride: int) -> str:
        if stage.expansion:
            value = self.relu6(self.normalised(value, f'{name}.conv_pw', f'{name}.bn1'))
        first = 2 if stage.expansion else 1
        value = self.normalised(value, f'{name}.conv_dw', f'{name}.bn{first}', stride)
        last = 'conv_pwl' if stage.expansion else 'conv_pw'
        return self.normalised(self.relu6(value), f'{name}.{last}', f'{name}.bn{first + 1}')

    def fusion(self, path: str, beside: str, name: str) -> str:
        if path:
            path = self.sum(path, self.residual(beside, f'{name}.resConfUnit1'), f'{name}.joined')
        path = self.residual(path or beside, f'{name}.resConfUnit2')
        if self.simplify.narrow_first:
            path = self.convolution(path, f'{name}.out_conv')
            return self.doubled(path, f'{name}.up', 'align_corners')
        path = self.doubled(path, f'{name}.up', 'align_corners')
        return self.convolution(path, f'{name}.out_conv')

    def residual(self, value: str, name: str) -> str:
        change = self.convolution(self.relu(value), f'{name}.conv1')
        change = self.convolution(self.relu(change), f'{name}.conv2')
        return self.sum(value, change, f'{name}.sum')

    def normalised(self, value: str, conv: str, norm: str, stride: int = 1) -> str:
        kernel, entries = self.weights[f'{conv}.weight'], {}
        for entry in NORM_ENTRIES:
            entries[entry] = np.asarray(self.weights[f'{norm}.{entry}'], np.float32)
        if not self.simplify.fold_norms:
            value = self.apply(value, conv, kernel, None, stride)
            inputs = [self.graph.weight(f'{norm}.{key}', entries[key]) for key in NORM_ENTRIES]
            return self.graph.add(
                'BatchNormalization', [value, *inputs], norm, epsilon=NORM_EPSILON
            )
        scale = entries['weight'] / np.sqrt(entries['running_var'] + np.float32(NORM_EPSILON))
        shift = entries['bias'] - entries['running_mean'] * scale
        kernel = kernel * scale[:, np.newaxis, np.newaxis, np.newaxis]
        return self.apply(value, conv, kernel, shift, stride)

    def convolution(self, value: str, name: str) -> str:
        return self.apply(
            value, name, self.weights[f'{name}.weight'], self.weights.get(f'{name}.bias'), 1
        )

    def apply(
        self, value: str, name: str, kernel: np.ndarray, bias: np.ndarray | None, stride: int
    ) -> str:
        inputs = [value, self.graph.weight(f'{name}.kernel', kernel)]
        if bias is not None:
            inputs.append(self.graph.weight(f'{name}.shift', bias))
        # Even sides, halved by a stride of 2, lack their padding's odd part before, not behind.
        padding = kernel.shape[-1] - stride if kernel.shape[-1] > 1 else 0
        before, behind = padding // 2, padding - padding // 2
        return self.graph.add(
            'Conv', inputs, name,
            kernel_shape=kernel.shape[2:], strides=(stride, stride),
            pads=(before, before, behind, behind),
            group=kernel.shape[0] if name.endswith('conv_dw') else 1,
        )  # fmt: skip

    def sum(self, first: str, second: str, name: str) -> str:
        return self.graph.add('Add', [first, second], name)

    def relu(self, value: str) -> str:
        return self.graph.add('Relu', [value], f'{value}.relu')

    def relu6(self, value: str) -> str:
        return self.graph.add('Clip', [value, *self.relu6_range], f'{value}.relu6')

    def doubled(self, value: str, name: str, corners: str) -> str:
        scales = self.graph.weight(f'{name}.scales', np.array([1, 1, 2, 2]))
        return self.graph.add(
            'Resize', [value, '', scales], name,
            mode='linear', coordinate_transformation_mode=corners,
        )  # fmt: skip
