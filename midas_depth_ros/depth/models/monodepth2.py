"""Monodepth2: what it wants of a picture, its official files, its ONNX graph and its torch module.

A ResNet-18 sees the picture at strides 2 to 32, and a decoder of 3x3 convolutions, whose border
repeats what is beside it, climbs back to the full size. It was trained on drives, and knows streets
alone.

Its authors permit non-commercial use only, and a patent on the network is pending: nothing is
fetched, and it is run only where the user has the files and accepts that licence. What is written
here follows the paper and figures of the network.

Source: Godard, Mac Aodha, Firman, Brostow, "Digging into Self-Supervised Monocular Depth
Prediction", ICCV 2019; models mono, stereo and mono+stereo, 640x192 and 1024x320, of
nianticlabs/monodepth2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.layers import (
    Convolution,
    Layer,
    Norm,
    OnnxLayers,
    add_torch_layers,
    shapes_of,
)
from midas_depth_ros.depth.models.published import published
from midas_depth_ros.depth.models.spec import (
    Enlargement,
    Fingerprint,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    SeveralFiles,
    Shape,
    Weights,
)
from midas_depth_ros.depth.weights_file import WeightsFile

INPUT, OUTPUT = 'picture', 'depth'
MULTIPLE = 32  # of both sides: the coarsest stride
SIZE = (192, 640)  # (H, W) of the picture, unless encoder.pth says another
LEAST_SIDE, MOST_SIDE = 64, 2048  # a border that repeats what is beside it needs two places
MEAN, STD = 0.45, 0.225  # of all colours; the network holds them

# --- Its layers, and their order: described once.

STEM_CHANNELS = 64  # at stride 2
CHANNELS = (64, 128, 256, 512)  # of the encoder's stages, at strides 4, 8, 16 and 32
BLOCKS = 2  # of each stage
CLASSES = 1000  # of the classifier, which is in the file and unused
DECODER_CHANNELS = (16, 32, 64, 128, 256)  # at strides 1, 2, 4, 8 and 16
SCALES = 4  # at which it was trained to give disparity; the finest is used


def layers() -> Iterator[Layer]:
    """All layers that have weights, but the classifier."""
    yield Convolution('encoder.conv1', 3, STEM_CHANNELS, 7, 2)
    yield Norm('encoder.bn1', STEM_CHANNELS)
    before = STEM_CHANNELS
    for stage, wide in enumerate(CHANNELS, 1):
        for number in range(BLOCKS):
            name, stride = f'encoder.layer{stage}.{number}', _stride(stage, number)
            yield Convolution(f'{name}.conv1', before, wide, 3, stride)
            yield Norm(f'{name}.bn1', wide)
            yield Convolution(f'{name}.conv2', wide, wide, 3)
            yield Norm(f'{name}.bn2', wide)
            if stride > 1:
                yield Convolution(f'{name}.downsample.0', before, wide, 1, stride)
                yield Norm(f'{name}.downsample.1', wide)
            before = wide
    beside = (0, STEM_CHANNELS, *CHANNELS[:-1])
    for level, wide in reversed(list(enumerate(DECODER_CHANNELS))):
        for name, taken in zip(_convs(level), (before, wide + beside[level]), strict=True):
            yield _bordered(f'{name}.conv.conv', taken, wide)
        before = wide
    for scale, wide in enumerate(DECODER_CHANNELS[:SCALES]):
        yield _bordered(f'{_head(scale)}.conv', wide, 1)


def _stride(stage: int, number: int) -> int:
    return 2 if stage > 1 and number == 0 else 1


def _convs(level: int) -> tuple[str, str]:
    """Before and after the doubling to stride 2**level; the file counts from the coarsest."""
    first = 2 * (len(DECODER_CHANNELS) - 1 - level)
    return f'decoder.{first}', f'decoder.{first + 1}'


def _head(scale: int) -> str:
    return f'decoder.{2 * len(DECODER_CHANNELS) + scale}'


def _bordered(name: str, taken: int, given: int) -> Convolution:
    return Convolution(name, taken, given, kernel=3, bias=True, padded=False)


def monodepth2_shapes() -> dict[str, Shape]:
    """Every entry of the two official files, and its shape."""
    classifier = {'encoder.fc.weight': (CLASSES, CHANNELS[-1]), 'encoder.fc.bias': (CLASSES,)}
    return shapes_of(layers()) | classifier


def disparity(do: Any, picture: Any) -> Any:
    """The network: a picture (1, 3, H, W), 0..1, to (1, 1, H, W) before the sigmoid.

    `do` carries the operations out, on the names of an ONNX graph's values or on tensors.
    """
    value = do.relu(do.normed(do.colours(picture), 'encoder.conv1', 'encoder.bn1'))
    levels, value = [value], do.halved(value)
    for stage in range(1, len(CHANNELS) + 1):
        for number in range(BLOCKS):
            name, beside = f'encoder.layer{stage}.{number}', value
            value = do.relu(do.normed(value, f'{name}.conv1', f'{name}.bn1'))
            value = do.normed(value, f'{name}.conv2', f'{name}.bn2')
            if _stride(stage, number) > 1:
                beside = do.normed(beside, f'{name}.downsample.0', f'{name}.downsample.1')
            value = do.relu(do.add(value, beside, f'{name}.sum'))
        levels.append(value)
    value = levels.pop()
    for level in range(len(DECODER_CHANNELS) - 1, -1, -1):
        before, after = _convs(level)
        value = do.doubled(do.elu(do.bordered(value, f'{before}.conv.conv')), f'{before}.up')
        if levels:
            value = do.joined(value, levels.pop(), f'{after}.joined')
        value = do.elu(do.bordered(value, f'{after}.conv.conv'))
    return do.bordered(value, f'{_head(0)}.conv')


# --- Its ONNX graph, made from the state dict as NumPy arrays.


def monodepth2_onnx(weights: Weights, metadata: Mapping[str, str] | None = None) -> bytes:
    """The model's bytes: (1, 3, h, w) float32, 0..1, to (1, 1, h, w); sides are multiples of 32.

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not finite.
    """
    do = _OnnxOperations(layers(), weights)
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        do.graph.add('Sigmoid', [disparity(do, INPUT)], OUTPUT)
    sides = ('height', 'width')
    return do.graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


class _OnnxOperations(OnnxLayers):
    """Notes every operation of `disparity` in a graph."""

    def colours(self, picture: str) -> str:
        mean, std = (
            self.graph.weight(f'{value}', np.full((1, 3, 1, 1), value)) for value in (MEAN, STD)
        )
        return self.graph.add(
            'Div', [self.graph.add('Sub', [picture, mean], 'centred'), std], 'normal'
        )

    def halved(self, value: str) -> str:
        sides = {'kernel_shape': (3, 3), 'strides': (2, 2), 'pads': (1, 1, 1, 1)}
        return self.graph.add('MaxPool', [value], 'halved', **sides)

    def bordered(self, value: str, name: str) -> str:
        sides = self.graph.add('Constant', [], f'{name}.sides', value_ints=(0, 0, 1, 1, 0, 0, 1, 1))
        value = self.graph.add('Pad', [value, sides], f'{name}.bordered', mode='reflect')
        return self.conv(value, name)

    def elu(self, value: str) -> str:
        return self.graph.add('Elu', [value], f'{value}.elu')

    def doubled(self, value: str, name: str, mode: str = 'nearest') -> str:
        return super().doubled(value, name, mode)

    def joined(self, first: str, second: str, name: str) -> str:
        return self.graph.add('Concat', [first, second], name, axis=1)


# --- Its torch module.


def build() -> Any:
    """The network with random weights until a state dict is loaded; imports torch.

    It takes (B, 3, H, W) float32 RGB, 0..1 (8-bit values / 255, nothing else), sides multiples of
    32 from 64 on, and gives (B, H, W) float32 after the sigmoid, 0..1. Its names are the official
    ones.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    class Monodepth2(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            add_torch_layers(self, layers())
            self.get_submodule('encoder').add_module('fc', nn.Linear(CHANNELS[-1], CLASSES))

        def forward(self, picture: Tensor) -> Tensor:
            return torch.sigmoid(disparity(Operations(self), picture)).squeeze(1)

    class Operations:
        """Carries out every operation of `disparity`."""

        def __init__(self, network: Monodepth2) -> None:
            self.layer = network.get_submodule

        def colours(self, picture: Tensor) -> Tensor:
            return (picture - MEAN) / STD

        def normed(self, value: Tensor, conv: str, norm: str) -> Tensor:
            result: Tensor = self.layer(norm)(self.layer(conv)(value))
            return result

        def halved(self, value: Tensor) -> Tensor:
            return F.max_pool2d(value, 3, stride=2, padding=1)

        def bordered(self, value: Tensor, name: str) -> Tensor:
            result: Tensor = self.layer(name)(F.pad(value, (1, 1, 1, 1), mode='reflect'))
            return result

        def doubled(self, value: Tensor, name: str) -> Tensor:
            return F.interpolate(value, scale_factor=2, mode='nearest')

        def joined(self, first: Tensor, second: Tensor, name: str) -> Tensor:
            return torch.cat([first, second], 1)

        def add(self, first: Tensor, second: Tensor, name: str) -> Tensor:
            return first + second

        def relu(self, value: Tensor) -> Tensor:
            return F.relu(value)

        def elu(self, value: Tensor) -> Tensor:
            return F.elu(value)

    return Monodepth2()


def module() -> Any:
    """The bare torch module."""
    return build()


# --- Its official files: two, the first of which holds numbers beside tensors.

FILES = ('encoder.pth', 'depth.pth')
NUMBERS = ('height', 'width', 'use_stereo')  # of the pictures that it was trained on


def rename(official: Mapping[str, Any]) -> dict[str, Any]:
    """What both official files hold, as the module takes it: without the numbers."""
    return {key: value for key, value in official.items() if key not in NUMBERS}


def official_size(values: Mapping[Any, Any]) -> tuple[int, int]:
    """(height, width) of the pictures that it was trained on, by the numbers beside the tensors.

    Raises ValueError where it is none that the network takes.
    """
    height, width = (values.get(name, usual) for name, usual in zip(NUMBERS[:2], SIZE, strict=True))
    if not (_fits(height) and _fits(width)):
        raise ValueError(
            f'pictures are {str(height)[:40]!r} high and {str(width)[:40]!r} wide: wanted are '
            f'multiples of {MULTIPLE} from {LEAST_SIDE} to {MOST_SIDE}, such as {SIZE[0]} and '
            f'{SIZE[1]}'
        )
    return height, width


def _fits(side: Any) -> bool:
    return type(side) is int and LEAST_SIDE <= side <= MOST_SIDE and side % MULTIPLE == 0


# --- Its specification. Its licence lets nobody pass it on, so no address leads to the files
# themselves, and neither size nor SHA-256 of them is published.

SPEC = ModelSpec(
    name='monodepth2',
    title='Monodepth2',
    weights=WeightsFile(
        name='monodepth2.pt',
        url='https://github.com/nianticlabs/monodepth2',  # where to read about it
        by_hand='unpack one of the models that are named there, such as mono_640x192, and give the '
        f'folder with {" and ".join(FILES)} as the model',
        licence='LicenseRef-Monodepth2',
        restriction='non-commercial use only, not transferable, patent pending',
        must_be_accepted=True,
    ),
    picture=PictureInput(SIZE, multiple=MULTIPLE, interpolation=Interpolation.LANCZOS),
    # 1 / Z is 0.01 + 9.99 times that, in a unit of its own (of the models that were trained with
    # stereo it is 5.4 metres): depth from 0.1 to 100 units.
    output=Output.DISPARITY,
    shapes=monodepth2_shapes(),
    build=build,
    onnx=OnnxGraph(
        make=monodepth2_onnx,
        picture=INPUT,
        depth=OUTPUT,
        known=(
            Fingerprint(
                '509058caa4ee556353039b8e4e9f7f3f93970e4c42b2296d762a5891e0ba28e8',
                '6fbc9f17f0a63ac3',
            ),
        ),
        opencv=(5, 0),  # 4.6 takes no integers
    ),
    enlargement=Enlargement.LINEAR,
    renaming=rename,
    several=SeveralFiles(FILES, NUMBERS, official_size),
    giga_operations=giga_operations('monodepth2'),
    published=published('monodepth2'),
    about="'monodepth2' was trained on drives through one town: it knows streets seen from a car.",
)
