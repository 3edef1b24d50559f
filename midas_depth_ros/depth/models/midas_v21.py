"""MiDaS v2.1 (large): what it wants of a picture, its ONNX graph and its torch module.

ResNeXt-101 sees the picture at strides 4, 8, 16 and 32; a decoder as DPT's climbs back from the
coarsest to the finest, but without the 1x1 convolutions, and with shortcuts that are rectified.

Source: Ranftl, Lasinger, Hafner, Schindler, Koltun, "Towards Robust Monocular Depth Estimation:
Mixing Datasets for Zero-shot Cross-dataset Transfer", TPAMI 2022; release v2_1 of isl-org/MiDaS.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.dpt_parts import DECODER_CHANNELS, decoder_shapes, head_shapes
from midas_depth_ros.depth.models.layers import NORM_EPSILON
from midas_depth_ros.depth.models.published import published
from midas_depth_ros.depth.models.spec import (
    Fingerprint,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    Shape,
    Sizing,
    Weights,
    folded_norm,
    norm_shapes,
)
from midas_depth_ros.depth.onnx_files import OPERATOR_SET
from midas_depth_ros.depth.weights_file import WeightsFile

Value = TypeVar('Value')

# ResNeXt-101 32x8d, without its classifier: one column per stage, at strides 4, 8, 16 and 32.
STEM_CHANNELS = 64
CHANNELS = (256, 512, 1024, 2048)  # of a stage, and of the convolutions inside its blocks
BLOCKS = (3, 4, 23, 3)
GROUPS = 32  # of the 3x3 convolutions
STEM_LAYERS = 4  # before the first stage: convolution, norm, activation, pooling
INPUT, OUTPUT = 'picture', 'depth'  # of its graph


def shapes() -> dict[str, Shape]:
    """Every entry of the official state dict, and its shape."""
    return {
        **dict(_encoder_shapes()),
        **dict(decoder_shapes('scratch', CHANNELS, DECODER_CHANNELS, mixed=False)),
        **dict(head_shapes('scratch.output_conv', DECODER_CHANNELS)),
    }


def _encoder_shapes() -> Iterator[tuple[str, Shape]]:
    yield 'pretrained.layer1.0.weight', (STEM_CHANNELS, 3, 7, 7)
    yield from norm_shapes('pretrained.layer1.1', STEM_CHANNELS)
    before = STEM_CHANNELS
    for level, (wide, blocks) in enumerate(zip(CHANNELS, BLOCKS, strict=True), start=1):
        for number in range(blocks):
            block = _block_name(level, number)
            kernels = ((wide, before, 1, 1), (wide, wide // GROUPS, 3, 3), (wide, wide, 1, 1))
            for place, kernel in enumerate(kernels, start=1):
                yield f'{block}.conv{place}.weight', kernel
                yield from norm_shapes(f'{block}.bn{place}', wide)
            if before != wide:
                yield f'{block}.downsample.0.weight', (wide, before, 1, 1)
                yield from norm_shapes(f'{block}.downsample.1', wide)
            before = wide


def _block_name(level: int, number: int) -> str:
    """Of the stages, counted from 1, the first follows the stem."""
    return f'pretrained.layer{level}' + (f'.{STEM_LAYERS}' if level == 1 else '') + f'.{number}'


def rename(table: Mapping[str, Value]) -> dict[str, Value]:
    """An official state dict as the torch module loads it: as it is."""
    return dict(table)


# --- Its ONNX graph, made from the state dict as NumPy arrays. It equals `build()` to rounding, and
# takes every size whose sides are multiples of 32. Normalisations are folded into the convolutions
# before them; a residual unit that the network has but never uses, of the coarsest fusion block, is
# left out.


def midas_v21_onnx(weights: Weights, metadata: Mapping[str, str] | None = None) -> bytes:
    """The model's bytes: (1, 3, h, w) float32, normalised, to (1, 1, h, w).

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not finite.
    """
    graph = _MidasGraph(weights, OPERATOR_SET)  # OpenCV 4.6 reads that set
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        path = graph.decoder(graph.encoder(), 'scratch', rectified=True, mixed=False)
        graph.head(path, 'scratch.output_conv', OUTPUT, corners=False)
        sides = ('height', 'width')
        return graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


class _MidasGraph(DptGraph):
    """A graph with ResNeXt's layers, too."""

    def encoder(self) -> list[str]:
        """What each stage gives."""
        first = 'pretrained.layer1'
        value = self.relu(self.normed_conv(INPUT, f'{first}.0', f'{first}.1', stride=2))
        sides = {'kernel_shape': (3, 3), 'strides': (2, 2), 'pads': (1, 1, 1, 1)}
        value = self.add('MaxPool', [value], f'{first}.3', **sides)
        found = []
        for level, count in enumerate(BLOCKS, start=1):
            for number in range(count):
                stride = 2 if level > 1 and not number else 1
                value = self.block(value, _block_name(level, number), stride)
            found.append(value)
        return found

    def block(self, value: str, name: str, stride: int) -> str:
        """Three convolutions around a shortcut."""
        change = self.relu(self.normed_conv(value, f'{name}.conv1', f'{name}.bn1'))
        change = self.normed_conv(change, f'{name}.conv2', f'{name}.bn2', stride, GROUPS)
        change = self.normed_conv(self.relu(change), f'{name}.conv3', f'{name}.bn3')
        shortcut = f'{name}.downsample'
        if f'{shortcut}.0.weight' in self.state:
            value = self.normed_conv(value, f'{shortcut}.0', f'{shortcut}.1', stride)
        return self.relu(self.sum(change, value, f'{name}.sum'))

    def normed_conv(
        self, value: str, conv: str, norm: str, stride: int = 1, groups: int = 1
    ) -> str:
        """A convolution and the batch normalisation after it, as one."""
        factor, shift = folded_norm(self.state, norm, NORM_EPSILON)
        kernel = self.entry(f'{conv}.weight') * factor[:, np.newaxis, np.newaxis, np.newaxis]
        side = kernel.shape[-1] // 2
        return self.convolution(value, conv, kernel, shift, stride, (side, side), group=groups)


# --- Its torch module.


def build() -> Any:
    """The network, with random weights until a state dict is loaded; nothing is ever fetched.

    It takes (B, 3, H, W) float32, normalised, H and W multiples of 32, and gives (B, H, W) float32
    relative inverse depth, at least 0. Its attribute names are those of the official checkpoint, so
    the 666 entries load strictly. Imports torch, and no other library.
    """
    from torch import Tensor, nn
    from torch.nn import functional as F

    from midas_depth_ros.depth.models.dpt_torch import DepthDecoder

    class MidasV21(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pretrained = ResNext()
            self.scratch = DepthDecoder(CHANNELS, corners=False, rectified=True, mixed=False)

        def forward(self, picture: Tensor) -> Tensor:
            inverse_depth: Tensor = self.scratch(self.pretrained(picture))
            return inverse_depth

    class ResNext(nn.Module):
        """ResNeXt-101 cut into four stages, without its classifier."""

        def __init__(self) -> None:
            super().__init__()
            first = stage(STEM_CHANNELS, CHANNELS[0], BLOCKS[0], stride=1)
            self.layer1 = nn.Sequential(
                nn.Conv2d(3, STEM_CHANNELS, 7, stride=2, padding=3, bias=False),
                nn.BatchNorm2d(STEM_CHANNELS),
                nn.ReLU(),
                nn.MaxPool2d(3, stride=2, padding=1),
                first,
            )
            self.layer2, self.layer3, self.layer4 = (
                stage(CHANNELS[place - 1], CHANNELS[place], BLOCKS[place], stride=2)
                for place in (1, 2, 3)
            )

        def forward(self, picture: Tensor) -> list[Tensor]:
            at_4 = self.layer1(picture)  # (B, 256, H/4, W/4)
            at_8 = self.layer2(at_4)  # (B, 512, H/8, W/8)
            at_16 = self.layer3(at_8)  # (B, 1024, H/16, W/16)
            return [at_4, at_8, at_16, self.layer4(at_16)]  # (B, 2048, H/32, W/32)

    def stage(taken: int, wide: int, count: int, stride: int) -> nn.Sequential:
        return nn.Sequential(
            Block(taken, wide, stride), *(Block(wide, wide) for _ in range(count - 1))
        )

    class Block(nn.Module):
        """Three convolutions around a shortcut; a stage's first has one in its shortcut, too."""

        def __init__(self, taken: int, wide: int, stride: int = 1) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(taken, wide, 1, bias=False)
            self.conv2 = nn.Conv2d(
                wide, wide, 3, stride=stride, padding=1, groups=GROUPS, bias=False
            )
            self.conv3 = nn.Conv2d(wide, wide, 1, bias=False)
            self.bn1, self.bn2, self.bn3 = (nn.BatchNorm2d(wide) for _ in range(3))
            self.downsample = nn.Sequential()
            if taken != wide:
                shortcut = nn.Conv2d(taken, wide, 1, stride=stride, bias=False)
                self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(wide))

        def forward(self, value: Tensor) -> Tensor:
            change = F.relu(self.bn1(self.conv1(value)))
            change = F.relu(self.bn2(self.conv2(change)))
            change = self.bn3(self.conv3(change))
            return F.relu(change + self.downsample(value))

    return MidasV21()


# For a robot: two thirds of the official size; two cores still take 0.3 s and more.
LEAST_SIDE = 192
SPEC = ModelSpec(
    name='midas_v21_384',
    title='MiDaS v2.1 large',
    weights=WeightsFile(
        name='midas_v21_384.pt',
        url='https://github.com/isl-org/MiDaS/releases/download/v2_1/midas_v21_384.pt',
        size=422_509_849,
        sha256='f6b980704cfd7259c7cc2b058c2f160159c55e84b3b6c08331b4156a84629f70',
        aliases=('model-f6b98070.pt', 'midas_v21-f6b98070.pt'),
        licence='MIT',
    ),
    picture=PictureInput(
        (384, 384),
        Sizing.FIT,
        multiple=32,
        interpolation=Interpolation.CUBIC_FLOAT64,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    output=Output.RELATIVE_INVERSE_DEPTH,
    shapes=shapes(),
    build=build,
    node_short_side=LEAST_SIDE,
    slow_on_two_cores=True,
    giga_operations=giga_operations('midas_v21_384'),
    published=published('midas_v21_384'),
    onnx=OnnxGraph(
        make=midas_v21_onnx,
        picture=INPUT,
        depth=OUTPUT,
        known=(
            Fingerprint(
                'e987ea6a98a3b49f258a80615754d25ae75303f557647a98b6c9c07dd08f753f',
                'e8cb6ef6d5e777b5',
            ),
        ),
    ),
    about='MiDaS v2.1 large: the training of its encoder began with WSL-Images weights, which are '
    'CC-BY-NC-4.0.',
)
