"""The model that ships in the package.

The network is described once, by `convolutions` and `depth_and_error`: its state dict's shapes, its
ONNX graph and its torch module all follow from these two. Plain residual stages lead down to stride
64, and a decoder of residual units back up to stride 4. Row and column from -1 to 1 are inputs at
stride 4, and the mean of the coarsest features enters the decoder.

Beside depth it gives the error that it expects of it, per pixel: a second, small head that looks at
the decoder's last features, at those of stride 32, which tell what kind of thing is seen, and at
their mean over the picture. It is trained on the features as they are, so that depth does not
depend on it.

The weights are a NumPy archive of the state dict, kernels as float16. Figures:
docs/embedded_model.md, and the card beside the file; training: training/DIARY.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.spec import (
    Enlargement,
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
HALF_SIZE = (SIZE[0] // 2, SIZE[1] // 2)  # of its graph's depth
QUARTER_SIZE = (SIZE[0] // 4, SIZE[1] // 4)  # of the error that its graph expects
# One column per stage, at strides 4, 8, 16, 32 and 64.
CHANNELS = (32, 48, 96, 192, 192)
BLOCKS = (1, 2, 2, 1, 1)
DECODER_CHANNELS = 32
STEM_KERNEL, STEM_STRIDE = 6, 4  # every pixel is used, most of them twice
PIXELS = 4  # 2 x 2 output pixels for each position at stride 4
NORM_EPSILON = 1e-5  # added to the variance by batch normalisation, torch's default
ERROR_CHANNELS, KIND_STAGE = 16, 3  # of the second head, and whose features it sees beside
MOST_ERROR = 4.0  # that is expected: some times the spread of a picture's relative inverse depth
ERROR_PREFIX = 'error.'  # of the second head's names in the state dict
INPUT, OUTPUT, ERROR_OUTPUT = 'picture', 'depth', 'error'

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
    yield Convolution('error.near', wide, ERROR_CHANNELS, 3)
    yield Convolution('error.kind', channels[KIND_STAGE], ERROR_CHANNELS)
    yield Convolution('error.whole', before, ERROR_CHANNELS)
    yield Convolution('error.head', ERROR_CHANNELS, 1, 3)


def _refining(stage: int) -> Sequence[str]:
    # The finest level takes most of the time: half a unit, the head does the rest.
    layers = ('conv1', 'conv2') if stage else ('conv',)
    return [f'refine.{stage}.{layer}' for layer in layers]


def depth_and_error(do: Any, picture: Any) -> tuple[Any, Any]:
    """The network: a picture to depth (1, H/2, W/2), before values below 0 are clipped, and to the
    error that is expected of it (1, H/4, W/4), in parts of `MOST_ERROR` before a sigmoid.

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
    mean = do.mean(value)
    whole = do.spread(do.conv(mean, 'whole'), 'spread', last)
    path = do.sum(do.conv(value, f'lateral.{last}'), whole, 'path')
    path = _refined(do, path, last)
    for stage in range(last - 1, -1, -1):
        path = do.grown(path, f'up.{stage}', 2, levels[stage])
        beside = do.conv(levels[stage], f'lateral.{stage}')
        path = _refined(do, do.sum(path, beside, f'path.{stage}'), stage)
    near = do.relu(path)
    depth = do.pixels(do.conv(near, 'head'))
    return depth, _error(do, near, levels, mean)


def _error(do: Any, near: Any, levels: Sequence[Any], mean: Any) -> Any:
    whole = do.spread(do.conv(mean, 'error.whole'), 'error.spread', KIND_STAGE)
    kind = do.sum(do.conv(levels[KIND_STAGE], 'error.kind'), whole, 'error.context')
    kind = do.grown(kind, 'error.up', 2**KIND_STAGE, levels[0])
    seen = do.sum(do.conv(near, 'error.near'), kind, 'error.seen')
    return do.conv(do.relu(seen), 'error.head')


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
    """The model's bytes: 'picture' (1, 3, 192, 256) float32 0..1 to 'depth' (1, 1, 96, 128) and
    'error' (1, 1, 48, 64).

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not
    finite.
    """
    do = _OnnxOperations({name: np.asarray(array, np.float32) for name, array in weights.items()})
    with np.errstate(all='ignore'):  # the graph refuses NaN
        depth, error = depth_and_error(do, INPUT)
        do.add('Relu', [depth], OUTPUT)
        share = do.add('Sigmoid', [error], 'error.share')
        do.add('Mul', [share, do.weight('error.most', MOST_ERROR)], ERROR_OUTPUT)
    further = {ERROR_OUTPUT: (1, 1, *QUARTER_SIZE)}
    return do.to_bytes(INPUT, (1, 3, *SIZE), OUTPUT, (1, 1, *HALF_SIZE), metadata, further)


class _OnnxOperations(Graph):
    """Records every operation of `depth_and_error` as a graph."""

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

    def spread(self, value: str, name: str, stage: int) -> str:
        """One position becomes as many as the stage has."""
        stride = STEM_STRIDE * 2**stage
        how = {'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
        return self.resize(value, name, [side / stride for side in SIZE], 'nearest', **how)

    def grown(self, value: str, name: str, times: int, beside: str) -> str:
        how = {'coordinate_transformation_mode': 'half_pixel'}
        return self.resize(value, name, [times, times], 'linear', **how)

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
    relative inverse depth, at least 0; `with_error` gives its expected error, too. Training uses
    `at_half_size` and `heads`. `channels`: other widths, for experiments.
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
            return self.with_error(picture)[0]

        def with_error(self, picture: Tensor) -> tuple[Tensor, Tensor]:
            """Depth and its expected error, (B, H, W) each, in the same units."""
            half, share = depth_and_error(Operations(self), picture)
            depth = _grown(F.relu(half), 2)
            return depth.squeeze(1), _grown(MOST_ERROR * share.sigmoid(), 4).squeeze(1)

        def heads(self, picture: Tensor) -> tuple[Tensor, Tensor]:
            """Depth (B, H/2, W/2) before it is clipped at 0, expected error (B, H/4, W/4)."""
            half, share = depth_and_error(Operations(self), picture)
            return half.squeeze(1), MOST_ERROR * share.squeeze(1).sigmoid()

        def at_half_size(self, picture: Tensor) -> Tensor:
            """Depth (B, H/2, W/2), before values below 0 are clipped."""
            return self.heads(picture)[0]

    def _grown(value: Tensor, times: int) -> Tensor:
        return F.interpolate(value, scale_factor=times, mode='bilinear', align_corners=False)

    class Operations:
        """The operations of `depth_and_error` on tensors."""

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

        def spread(self, value: Tensor, name: str, stage: int) -> Tensor:
            return value  # the addition broadcasts it

        def grown(self, value: Tensor, name: str, times: int, beside: Tensor) -> Tensor:
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
        [556, 364, 216, 108, 141, 129, 116, 172],
        [611, 394, 274, 236, 242, 213, 334, 323],
        [766, 695, 726, 740, 738, 695, 637, 603],
        [1242, 1266, 1271, 1267, 1267, 1254, 1230, 1217],
        [1752, 1770, 1776, 1774, 1773, 1772, 1760, 1745],
        [2253, 2274, 2275, 2273, 2265, 2264, 2266, 2256],
    ],
    np.float32,
)
# Put the fingerprint of a changed graph first, and keep the older: robots have such files.
KNOWN_GRAPHS = (
    ('7e51adaf6a3e5c11fd476077b9558fb482587706a4ee090978727db0faa07148', 'c339b4c919d8ae44'),
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
        size=3_534_608,
        sha256='538bd61d8d9447eaf9809d1958bd0b73aecfff11a640b788cb293db3749360d6',
        licence='Apache-2.0',
    ),
    picture=PictureInput(SIZE),
    output=Output.RELATIVE_INVERSE_DEPTH,
    enlargement=Enlargement.LINEAR,
    shapes=embedded_shapes(),
    build=build,
    onnx=OnnxGraph(
        make=embedded_onnx,
        picture=INPUT,
        depth=OUTPUT,
        error=ERROR_OUTPUT,
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
