"""MiDaS v2.1 small: its input, its ONNX graph and its torch module.

EfficientNet-Lite3 gives features at strides 4, 8, 16 and 32; a decoder of four fusion blocks goes
back from the coarsest to the finest, and a small head gives one value per pixel.

Source: Ranftl, Lasinger, Hafner, Schindler, Koltun, "Towards Robust Monocular Depth Estimation:
Mixing Datasets for Zero-shot Cross-dataset Transfer", TPAMI 2022; release v2_1 of isl-org/MiDaS,
whose transforms are followed to the letter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.published import published
from midas_depth_ros.depth.models.spec import (
    NORM_ENTRIES,
    Fingerprint,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    Sizing,
    Weights,
    conv_shapes,
    folded_norm,
    norm_shapes,
)
from midas_depth_ros.depth.onnx_files import Graph
from midas_depth_ros.depth.weights_file import WeightsFile

# --- Its layers.

INPUT, OUTPUT = 'network_input', 'depth'
NORM_EPSILON = 1e-3  # that the encoder's batch normalisations add to the variance
RELU6_TOP = 6.0
STEM_CHANNELS = 32
DECODER_CHANNELS = (64, 128, 256, 512)  # of the fusion blocks at strides 4, 8, 16 and 32
HEAD_CHANNELS = 32


@dataclass(frozen=True)
class Stage:
    """Consecutive blocks of the encoder under one name of the checkpoint.

    `expansion` 0: no 1x1 convolution before the depthwise one.
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
TIMM_ENCODER = 'tf_efficientnet_lite3'  # its name in timm
LAYER_CHANNELS = {stage.layer: stage.channels for stage in ENCODER}  # of the last stage of each


# --- Its ONNX graph, made from the state dict as NumPy arrays. It equals `build()` to rounding, is
# cheaper where arithmetic allows, and takes every size whose sides are multiples of 32. A residual
# unit that the network has but never uses (of the coarsest fusion block) is left out.


@dataclass(frozen=True)
class Simplifications:
    """Differences between the graph and the published network; benchmarks/graph.py measures each.

    `fold_norms`: a batch normalisation after a convolution goes into its kernel and bias.
    `narrow_first`: the 1x1 convolution of a fusion block commutes with the bilinear enlargement
    before it, whose weights sum to 1; there, a quarter of the pixels is enough.
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
    graph = _Builder(weights, simplify)
    with np.errstate(all='ignore'):  # the graph refuses NaN
        graph.network()
    sides = size or ('height', 'width')
    return graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


def midas_shapes() -> dict[str, tuple[int, ...]]:
    """Every entry of the official state dict, and its shape."""
    return {**dict(_encoder_shapes()), **dict(_decoder_shapes())}


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
    for level, wide in enumerate(DECODER_CHANNELS, 1):
        yield f'scratch.layer{level}_rn.weight', (wide, LAYER_CHANNELS[level], 3, 3)
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


class _Builder(Graph):
    """Adds every operation of the network, in the order of `build()`."""

    def __init__(self, weights: Weights, simplify: Simplifications) -> None:
        super().__init__()
        self.state, self.simplify = weights, simplify
        self.relu6_range = [self.weight('0', 0.0), self.weight('6', RELU6_TOP)]

    def network(self) -> None:
        features, path = self.encoder(), ''
        for level in (4, 3, 2, 1):
            beside = self.plain(features[level], f'scratch.layer{level}_rn')
            path = self.fusion(path, beside, f'scratch.refinenet{level}')
        path = self.plain(path, 'scratch.output_conv.0')
        path = self.doubled(path, 'head.up', 'half_pixel')
        path = self.relu(self.plain(path, 'scratch.output_conv.2'))
        self.add('Relu', [self.plain(path, 'scratch.output_conv.4')], OUTPUT)

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
            path = self.plain(path, f'{name}.out_conv')
            return self.doubled(path, f'{name}.up', 'align_corners')
        path = self.doubled(path, f'{name}.up', 'align_corners')
        return self.plain(path, f'{name}.out_conv')

    def residual(self, value: str, name: str) -> str:
        change = self.plain(self.relu(value), f'{name}.conv1')
        change = self.plain(self.relu(change), f'{name}.conv2')
        return self.sum(value, change, f'{name}.sum')

    def normalised(self, value: str, conv: str, norm: str, stride: int = 1) -> str:
        kernel = self.state[f'{conv}.weight']
        if self.simplify.fold_norms:
            factor, shift = folded_norm(self.state, norm, NORM_EPSILON)
            return self.conv(value, conv, kernel * factor[:, None, None, None], shift, stride)
        value = self.conv(value, conv, kernel, None, stride)
        inputs = [self.weight(f'{norm}.{key}', self.state[f'{norm}.{key}']) for key in NORM_ENTRIES]
        return self.add('BatchNormalization', [value, *inputs], norm, epsilon=NORM_EPSILON)

    def plain(self, value: str, name: str) -> str:
        """A convolution that no normalisation follows."""
        return self.conv(
            value, name, self.state[f'{name}.weight'], self.state.get(f'{name}.bias'), 1
        )

    def conv(
        self, value: str, name: str, kernel: np.ndarray, bias: np.ndarray | None, stride: int
    ) -> str:
        # With even sides and a stride of 2, the odd row of padding comes after, not before.
        padding = kernel.shape[-1] - stride if kernel.shape[-1] > 1 else 0
        group = kernel.shape[0] if name.endswith('conv_dw') else 1
        sides = padding // 2, padding - padding // 2
        return self.convolution(value, name, kernel, bias, stride, sides, group=group)

    def relu6(self, value: str) -> str:
        return self.add('Clip', [value, *self.relu6_range], f'{value}.relu6')

    def doubled(self, value: str, name: str, corners: str) -> str:
        return self.resize(value, name, [2, 2], 'linear', coordinate_transformation_mode=corners)


# --- Its torch module.


def build() -> Any:
    """The network with random weights; imports torch and timm, and downloads nothing.

    It takes (B, 3, H, W) float32, normalised, H and W multiples of 32, and gives (B, H, W) float32
    relative inverse depth, at least 0. Its attribute names are those of the official checkpoint, so
    the 482 entries load strictly.
    """
    from torch import Tensor, nn
    from torch.nn import functional as F

    from midas_depth_ros.depth.backends import import_timm

    timm = import_timm()

    class MidasSmall(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pretrained = Encoder()
            self.scratch = Decoder()

        def forward(self, picture: Tensor) -> Tensor:
            features = self.pretrained(picture)
            inverse_depth: Tensor = self.scratch(*features)  # (B, 1, H, W)
            return inverse_depth.squeeze(1)  # (B, H, W)

    class Encoder(nn.Module):
        """EfficientNet-Lite3 cut into four stages, without its classifier."""

        def __init__(self) -> None:
            super().__init__()
            net = timm.create_model(TIMM_ENCODER, features_only=True, pretrained=False)
            blocks = net.blocks
            # The checkpoint counts the activation after the first normalisation as entry 2; in timm
            # the normalisation contains it.
            self.layer1 = nn.Sequential(net.conv_stem, net.bn1, nn.Identity(), blocks[0], blocks[1])
            self.layer2 = nn.Sequential(blocks[2])
            self.layer3 = nn.Sequential(blocks[3], blocks[4])
            self.layer4 = nn.Sequential(blocks[5], blocks[6])

        def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            at_4 = self.layer1(picture)  # (B, 32, H/4, W/4)
            at_8 = self.layer2(at_4)  # (B, 48, H/8, W/8)
            at_16 = self.layer3(at_8)  # (B, 136, H/16, W/16)
            at_32 = self.layer4(at_16)  # (B, 384, H/32, W/32)
            return at_4, at_8, at_16, at_32

    class Decoder(nn.Module):
        """Four fusion blocks from stride 32 up to stride 2, and the head up to stride 1."""

        def __init__(self) -> None:
            super().__init__()
            c4, c8, c16, c32 = DECODER_CHANNELS
            self.layer1_rn, self.layer2_rn, self.layer3_rn, self.layer4_rn = (
                nn.Conv2d(fine, wide, 3, padding=1, bias=False)
                for fine, wide in zip(LAYER_CHANNELS.values(), DECODER_CHANNELS, strict=True)
            )
            self.refinenet4 = Fusion(c32, c16)
            self.refinenet3 = Fusion(c16, c8)
            self.refinenet2 = Fusion(c8, c4)
            self.refinenet1 = Fusion(c4, c4)
            self.output_conv = nn.Sequential(
                nn.Conv2d(c4, HEAD_CHANNELS, 3, padding=1),
                nn.Upsample(scale_factor=2, mode='bilinear', align_corners=False),
                nn.Conv2d(HEAD_CHANNELS, HEAD_CHANNELS, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(HEAD_CHANNELS, 1, 1),
                nn.ReLU(),
            )

        def forward(self, at_4: Tensor, at_8: Tensor, at_16: Tensor, at_32: Tensor) -> Tensor:
            path = self.refinenet4(self.layer4_rn(at_32))  # (B, 256, H/16, W/16)
            path = self.refinenet3(path, self.layer3_rn(at_16))  # (B, 128, H/8, W/8)
            path = self.refinenet2(path, self.layer2_rn(at_8))  # (B, 64, H/4, W/4)
            path = self.refinenet1(path, self.layer1_rn(at_4))  # (B, 64, H/2, W/2)
            inverse_depth: Tensor = self.output_conv(path)  # (B, 1, H, W)
            return inverse_depth

    class Fusion(nn.Module):
        """Adds the features of one stride to the path from below, and doubles the size."""

        def __init__(self, channels: int, out_channels: int) -> None:
            super().__init__()
            self.out_conv = nn.Conv2d(channels, out_channels, 1)
            self.resConfUnit1 = ResidualUnit(channels)
            self.resConfUnit2 = ResidualUnit(channels)

        def forward(self, path: Tensor, features: Tensor | None = None) -> Tensor:
            if features is not None:
                path = path + self.resConfUnit1(features)
            path = self.resConfUnit2(path)
            path = F.interpolate(path, scale_factor=2, mode='bilinear', align_corners=True)
            fused: Tensor = self.out_conv(path)
            return fused

    class ResidualUnit(nn.Module):
        """Two 3x3 convolutions, each behind its activation, around a shortcut."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
            self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

        def forward(self, features: Tensor) -> Tensor:
            change: Tensor = self.conv1(F.relu(features))
            change = self.conv2(F.relu(change))
            return features + change

    return MidasSmall()


SPEC = ModelSpec(
    name='midas_small',
    title='MiDaS_small',
    weights=WeightsFile(
        name='midas_v21_small_256.pt',
        url='https://github.com/isl-org/MiDaS/releases/download/v2_1/midas_v21_small_256.pt',
        size=85_761_505,
        sha256='70d6b9c891758c67f974a6097fb0c608c7ee67fb81ac3e5588847d5596d56fca',
        aliases=('midas_v21_small-70d6b9c8.pt',),
        licence='MIT',
    ),
    picture=PictureInput(
        (256, 256),
        Sizing.FIT,
        multiple=32,
        interpolation=Interpolation.CUBIC,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    output=Output.RELATIVE_INVERSE_DEPTH,
    shapes=midas_shapes(),
    build=build,
    needs_timm=True,
    giga_operations=giga_operations('midas_small'),
    published=published('midas_small'),
    onnx=OnnxGraph(
        make=lambda weights, metadata: midas_onnx(weights, metadata=metadata),
        picture=INPUT,
        depth=OUTPUT,
        opencv=(5, 0),  # 4.6 wants a Clip without inputs
        # Put the fingerprint of a changed graph first, and keep the older: robots have such files.
        known=(
            Fingerprint(
                '902072fa27eb162a112256720ebcfda82dedc600c4557fd244c6283bf353054f',
                '84db01da329eda88',
            ),
        ),
    ),
)
