"""The model that ships in the package.

The network is described once, by `convolutions` and `half_size_depth`: its state dict's shapes, its
ONNX graph and its torch module all follow from these two. Plain residual stages lead down to stride
64, and a decoder of residual units back up to stride 4. Row and column from -1 to 1 are inputs at
stride 4, and the mean of the coarsest features enters the decoder.

The weights are a NumPy archive of the state dict, kernels as float16. Training and figures:
docs/embedded_model.md, and the card beside the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.spec import (
    Fingerprint,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    Shape,
    Weights,
    folded_norm,
    norm_shapes,
)
from midas_depth_ros.depth.onnx_files import Graph
from midas_depth_ros.depth.weights_file import WeightsFile

SIZE = (192, 256)  # (H, W) of the input: it was trained at that, and is less accurate at others
HALF_SIZE = (SIZE[0] // 2, SIZE[1] // 2)  # of its graph's output
# One column per stage, at strides 4, 8, 16, 32 and 64.
CHANNELS = (32, 48, 96, 192, 192)
BLOCKS = (1, 2, 2, 1, 1)
DECODER_CHANNELS = 32
STEM_KERNEL, STEM_STRIDE = 6, 4  # every pixel is used, most of them twice
PIXELS = 4  # 2 x 2 output pixels for each position at stride 4
NORM_EPSILON = 1e-5  # added to the variance by batch normalisation, torch's default
INPUT, OUTPUT = 'picture', 'depth'

# --- The network, described once.


@dataclass(frozen=True)
class Convolution:
    """A square convolution from `taken` to `given` channels, padded by 1 if larger than 1x1.

    `norm`: a batch normalisation follows, instead of a bias. `entry` is its name in the state dict.
    """

    name: str
    taken: int
    given: int
    kernel: int = 1
    stride: int = 1
    norm: bool = False
    bias: bool = True

    @property
    def padding(self) -> int:
        return 1 if self.kernel > 1 else 0

    @property
    def entry(self) -> str:
        return f'{self.name}.0' if self.norm else self.name

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.given, self.taken, self.kernel, self.kernel


def convolutions(channels: Sequence[int] = CHANNELS) -> dict[str, Convolution]:
    """All convolutions by name; `channels` are those of the stages."""
    return {layer.name: layer for layer in _convolutions(channels)}


def _convolutions(channels: Sequence[int]) -> Iterator[Convolution]:
    wide, before = DECODER_CHANNELS, channels[0]
    yield Convolution('stem', 3, before, STEM_KERNEL, STEM_STRIDE, bias=False)
    yield Convolution('place', 2, before, bias=False)  # of row and column
    for stage, (after, blocks) in enumerate(zip(channels, BLOCKS, strict=True)):
        for number in range(blocks):
            name, stride = f'stages.{stage}.{number}', 1 if stage == 0 or number else 2
            yield Convolution(f'{name}.first', before, after, 3, stride, norm=True)
            yield Convolution(f'{name}.second', after, after, 3, norm=True)
            if before != after or stride != 1:
                yield Convolution(f'{name}.shortcut', before, after, 1, stride, norm=True)
            before = after
        yield Convolution(f'lateral.{stage}', after, wide)
        for layer in _refining(stage):
            yield Convolution(layer, wide, wide, 3)
    yield Convolution('whole', before, wide)
    yield Convolution('head', wide, PIXELS, 3)


def _refining(stage: int) -> Sequence[str]:
    # The finest level takes most of the time: half a unit, the head does the rest.
    layers = ('conv1', 'conv2') if stage else ('conv',)
    return [f'refine.{stage}.{layer}' for layer in layers]


def half_size_depth(do: Any, picture: Any) -> Any:
    """The network: a picture to (1, H/2, W/2), before values below 0 are clipped.

    `do` implements the operations, on names of an ONNX graph's values (`_OnnxOperations`) or on
    tensors (in `build`).
    """
    value, levels = do.stem(picture), []
    for stage, blocks in enumerate(BLOCKS):
        for number in range(blocks):
            name = f'stages.{stage}.{number}'
            change = do.conv(do.relu(do.conv(value, f'{name}.first')), f'{name}.second')
            if f'{name}.shortcut' in do.layers:
                value = do.conv(value, f'{name}.shortcut')
            value = do.relu(do.sum(change, value, f'{name}.sum'))
        levels.append(value)
    last = len(levels) - 1
    whole = do.spread(do.conv(do.mean(value), 'whole'))
    path = do.sum(do.conv(value, f'lateral.{last}'), whole, 'path')
    path = _refined(do, path, last)
    for stage in range(last - 1, -1, -1):
        path = do.doubled(path, f'up.{stage}', levels[stage])
        beside = do.conv(levels[stage], f'lateral.{stage}')
        path = _refined(do, do.sum(path, beside, f'path.{stage}'), stage)
    return do.pixels(do.conv(do.relu(path), 'head'))


def _refined(do: Any, path: Any, stage: int) -> Any:
    change = path
    for name in _refining(stage):
        change = do.conv(do.relu(change), name)
    return do.sum(path, change, f'refine.{stage}.sum')


def embedded_shapes(channels: Sequence[int] = CHANNELS) -> dict[str, Shape]:
    """Every entry of the network's state dict, and its shape."""
    shapes: dict[str, Shape] = dict(norm_shapes('stem_norm', channels[0]))
    for layer in convolutions(channels).values():
        shapes[f'{layer.entry}.weight'] = layer.shape
        if layer.norm:
            shapes |= norm_shapes(f'{layer.name}.1', layer.given)
        elif layer.bias:
            shapes[f'{layer.entry}.bias'] = layer.shape[:1]
    return shapes


# --- Its ONNX graph, made of a state dict as NumPy arrays.
#
# Normalisations are folded into the convolutions before them, and what depends on the position
# alone is computed once. Only operations that OpenCV 4.6 supports are used: the mean of the whole
# picture is spread by a resize, and the 2x2 pixels of a position by a transposed convolution that
# copies. The graph ends at half the size: OpenCV's resize doubles it in a tenth of OpenVINO's time.


def embedded_onnx(weights: Weights, metadata: Mapping[str, str] | None = None) -> bytes:
    """The model's bytes: 'picture' (1, 3, 192, 256) float32 0..1 to 'depth' (1, 1, 96, 128).

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not
    finite.
    """
    do = _OnnxOperations({name: np.asarray(array, np.float32) for name, array in weights.items()})
    with np.errstate(all='ignore'):  # the graph refuses NaN
        do.add('Relu', [half_size_depth(do, INPUT)], OUTPUT)
    return do.to_bytes(INPUT, (1, 3, *SIZE), OUTPUT, (1, 1, *HALF_SIZE), metadata)


class _OnnxOperations(Graph):
    """Records every operation of `half_size_depth` as a graph."""

    def __init__(self, weights: Weights) -> None:
        super().__init__()
        self.state = weights
        self.layers = convolutions()

    def stem(self, picture: str) -> str:
        factor, shift = (
            array[:, None, None] for array in folded_norm(self.state, 'stem_norm', NORM_EPSILON)
        )
        kernel = self.state['stem.weight'] * factor[..., None]
        nothing = np.zeros(len(factor), np.float32)
        value = self.convolution(picture, 'stem', kernel, nothing, STEM_STRIDE, (1, 1))
        height, width = (side // STEM_STRIDE for side in SIZE)
        rows, columns = np.meshgrid(
            np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing='ij'
        )
        place = self.state['place.weight'][:, :, 0, 0].T[..., None, None]
        places = (place[0] * rows + place[1] * columns) * factor + shift
        return self.relu(self.sum(value, self.weight('places', places[None]), 'placed'))

    def conv(self, value: str, name: str) -> str:
        layer = self.layers[name]
        kernel, sides = self.state[f'{layer.entry}.weight'], (layer.padding, layer.padding)
        if layer.norm:
            factor, shift = folded_norm(self.state, f'{name}.1', NORM_EPSILON)
            kernel = kernel * factor[:, None, None, None]
        else:
            shift = self.state[f'{name}.bias']
        return self.convolution(value, name, kernel, shift, layer.stride, sides)

    def mean(self, value: str) -> str:
        return self.add('GlobalAveragePool', [value], 'mean')

    def spread(self, value: str) -> str:
        """One position becomes as many as the coarsest stage has."""
        coarsest = STEM_STRIDE * 2 ** (len(BLOCKS) - 1)
        how = {'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
        return self.resize(value, 'spread', [side / coarsest for side in SIZE], 'nearest', **how)

    def doubled(self, value: str, name: str, beside: str) -> str:
        how = {'coordinate_transformation_mode': 'half_pixel'}
        return self.resize(value, name, [2, 2], 'linear', **how)

    def pixels(self, value: str) -> str:
        """Every position becomes 2x2 pixels."""
        copies = np.eye(PIXELS, dtype=np.float32).reshape(PIXELS, 1, 2, 2)
        kernel = self.weight('head.copies', copies)
        sides = {'kernel_shape': (2, 2), 'strides': (2, 2)}
        return self.add('ConvTranspose', [value, kernel], 'head.pixels', **sides)


# --- Its torch module, for training and for backend torch.


def build(channels: Sequence[int] = CHANNELS) -> Any:
    """The network with random weights; imports torch.

    It takes (B, 3, H, W) float32 RGB, 0..1 (8-bit values / 255), and gives (B, H, W) float32
    relative inverse depth, at least 0. Training uses `at_half_size`. `channels`: other widths, for
    experiments.
    """
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    class EmbeddedNet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = convolutions(channels)
            for layer in self.layers.values():
                bias = layer.bias and not layer.norm
                sides = (layer.kernel, layer.stride, layer.padding)
                self._put(layer.entry, nn.Conv2d(layer.taken, layer.given, *sides, bias=bias))
                if layer.norm:
                    self._put(f'{layer.name}.1', nn.BatchNorm2d(layer.given))
            self._put('stem_norm', nn.BatchNorm2d(channels[0]))

        def _put(self, name: str, layer: nn.Module) -> None:
            """Under its name in the state dict."""
            folder: nn.Module = self
            *folders, last = name.split('.')
            for part in folders:
                if not hasattr(folder, part):
                    folder.add_module(part, nn.Module())
                folder = folder.get_submodule(part)
            folder.add_module(last, layer)

        def forward(self, picture: Tensor) -> Tensor:
            half = F.relu(self.at_half_size(picture)).unsqueeze(1)  # (B, 1, H/2, W/2)
            large = F.interpolate(half, scale_factor=2, mode='bilinear', align_corners=False)
            return large.squeeze(1)  # (B, H, W)

        def at_half_size(self, picture: Tensor) -> Tensor:
            """(B, H/2, W/2), before values below 0 are clipped."""
            half: Tensor = half_size_depth(Operations(self), picture)
            return half.squeeze(1)

    class Operations:
        """The operations of `half_size_depth` on tensors."""

        def __init__(self, network: EmbeddedNet) -> None:
            self.layers, self._layer = network.layers, network.get_submodule

        def stem(self, picture: Tensor) -> Tensor:
            features = self.conv(picture, 'stem')  # (B, 32, H/4, W/4)
            height, width = features.shape[-2:]
            rows = torch.linspace(-1, 1, height).to(features).view(1, 1, height, 1)
            columns = torch.linspace(-1, 1, width).to(features).view(1, 1, 1, width)
            whole = (1, 1, height, width)
            coordinates = torch.cat([rows.expand(whole), columns.expand(whole)], dim=1)
            features = features + self.conv(coordinates, 'place')
            return F.relu(self._layer('stem_norm')(features))

        def conv(self, value: Tensor, name: str) -> Tensor:
            layer = self.layers[name]
            result: Tensor = self._layer(layer.entry)(value)
            return self._layer(f'{name}.1')(result) if layer.norm else result

        def sum(self, first: Tensor, second: Tensor, name: str) -> Tensor:
            return first + second

        def relu(self, value: Tensor) -> Tensor:
            return F.relu(value)

        def mean(self, value: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(value, 1)

        def spread(self, value: Tensor) -> Tensor:
            return value  # the addition broadcasts it

        def doubled(self, value: Tensor, name: str, beside: Tensor) -> Tensor:
            # To the size of `beside`, since training also uses sizes that 64 does not divide.
            size = beside.shape[-2:]
            return F.interpolate(value, size=size, mode='bilinear', align_corners=False)

        def pixels(self, value: Tensor) -> Tensor:
            return F.pixel_shuffle(value, 2)

    return EmbeddedNet()


# --- The weights that ship.

ASSET = Path(__file__).resolve().parents[2] / 'assets' / 'embedded.npz'
# 1000 times the means of 32 x 32 pixels of these weights' depth of the sample picture street_1.
# training.export writes it for new weights.
SAMPLE_DEPTH = np.array(
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
# Put the fingerprint of a changed graph first, and keep the older: robots have such files.
KNOWN_GRAPHS = (
    ('be19132a081c3d5370ec2fd57ba99a0c8e73cfb39fa17fd94176895f79f41325', '763f673daaece8bf'),
    ('95e52dfad128507d91616d4649109c9b86209692a1dde7ecac8b2677b3d2c276', 'da451ff93bf01d53'),
    ('0d19d4e44d485b55c3e62076959933d4e25a4b882eadde30f041ef18b6f9c83c', '6cc3927c9c848fef'),
    ('ff017924d39ca0f69e2b871e35f464f314b276c0be37d73aad9d7d23fb964d8f', '6cc3927c9c848fef'),
    ('3e021c79afcd161156b9e47dce9f9bf29faca466aa500bde02ecdc3a771b93f3', '74c8b77449af368e'),
)
SPEC = ModelSpec(
    name='embedded',
    title='the embedded model',
    weights=WeightsFile(
        name=ASSET.name,
        url='',  # it comes with the package
        size=3_510_664,
        sha256='f3df2edae8c3797969e55a6b6eac548d660d17f3a4a9cd219d76e4713188878c',
        licence='Apache-2.0',
    ),
    picture=PictureInput(SIZE),
    output=Output.RELATIVE_INVERSE_DEPTH,
    shapes=embedded_shapes(),
    build=build,
    onnx=OnnxGraph(
        make=embedded_onnx,
        picture=INPUT,
        depth=OUTPUT,
        output_sizes=(HALF_SIZE, SIZE),
        known=tuple(Fingerprint(*each) for each in KNOWN_GRAPHS),
    ),
    shipped=ASSET,
    giga_operations=giga_operations('embedded'),
    sample_depth=SAMPLE_DEPTH / np.float32(1000),
    about="'embedded' is a small network trained on rendered rooms, corridors and streets only: it "
    'knows floors, walls and common obstacles, and is less accurate than MiDaS_small on real '
    'pictures.',
)
