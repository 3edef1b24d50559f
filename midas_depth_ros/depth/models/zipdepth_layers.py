"""ZipDepth's layers and their order, described once: torch module and ONNX graph follow from it.

A convolutional encoder sees the picture at strides 2 to 32. At stride 8 it adds what rows and
columns are like, at stride 16 what the whole picture is like. A decoder of 1x1 convolutions climbs
back to stride 2, where depth is read off. Most 3x3 convolutions were trained as three branches,
which add up to one.

There are two networks, which differ in how the last doubling is done: one blends a sharp and a
smooth enlargement place by place, the other (`convex`) mixes every pixel of nine places.

Source: Tosi, Bartolomei, Poggi, Mattoccia, "ZipDepth: Bringing Lightweight Zero-Shot Monocular
Depth Anywhere, on Any Device", ECCV 2026, arXiv 2607.08771; the configurations base and, which
blends, base_npu of fabiotosi92/ZipDepth.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from midas_depth_ros.depth.models.layers import Convolution, Layer, Norm, shapes_of
from midas_depth_ros.depth.models.spec import Shape

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours; the network holds them
STEM_CHANNELS = 24  # at stride 2
CHANNELS = (48, 96, 192, 384)  # of the stages, at strides 4, 8, 16 and 32
BLOCKS = (2, 2, 6, 2)
DECODER_CHANNELS = (32, 96, 144, 192, 288)  # at strides 2, 4, 8, 16 and 32
FUSIONS = ('fuse_half', 'fuse1', 'fuse2', 'fuse3')  # at strides 2, 4, 8 and 16
GROUPS = 4  # of the 1x1 convolutions that join two strides
EXCHANGED = 0.3  # how much of each other the two coarsest strides take
POOLING = 5  # the window of one step of the spatial pyramid
POOLED = 4  # maps that the pyramid joins
BLEND_CHANNELS, CONVEX_CHANNELS = 16, 8
NEIGHBOURS = 9  # 3 x 3 places, of which the convex upsampling mixes every pixel
PIXELS = 4  # 2 x 2, that one place becomes


def layers(convex: bool = False) -> Iterator[Layer]:
    """All layers that have weights; `convex`: those of the network with convex upsampling."""
    yield from _block('encoder.stem_half', 3, STEM_CHANNELS, kernel=3, stride=2)
    yield from _block('encoder.stem_quarter', STEM_CHANNELS, CHANNELS[0], kernel=3, stride=2)
    before = CHANNELS[0]
    for stage, (wide, blocks) in enumerate(zip(CHANNELS, BLOCKS, strict=True), 1):
        name = f'encoder.stage{stage}'
        if stage > 1:
            yield from _branched(f'encoder.down{stage}', before, wide, stride=2)
        for number in range(blocks):
            yield from _branched(f'{name}.{number}', wide, wide)
        if stage == 2:
            yield from _surroundings(f'{name}.{blocks}', f'{name}.{blocks + 1}', wide)
        if stage == 3:
            yield from _whole(f'{name}.{blocks}', f'{name}.{blocks + 1}', wide)
        before = wide
    fine, coarse = CHANNELS[-2:]
    yield from _block('encoder.spp.cv1', coarse, coarse // POOLED)
    yield from _block('encoder.spp.cv2', coarse, coarse)
    yield Convolution('encoder.cross_scale.low_to_high', coarse, fine, groups=GROUPS)
    yield Convolution('encoder.cross_scale.high_to_low', fine, coarse, groups=GROUPS)
    yield from _decoder()
    yield from _convex() if convex else _blend()


def _block(name: str, taken: int, given: int, kernel: int = 1, stride: int = 1) -> Iterator[Layer]:
    yield Convolution(f'{name}.conv', taken, given, kernel, stride)
    yield Norm(f'{name}.bn', given)


def _branched(name: str, taken: int, given: int, stride: int = 1) -> Iterator[Layer]:
    for kernel in (3, 1):
        yield Convolution(f'{name}.branch_{kernel}x{kernel}.0', taken, given, kernel, stride)
        yield Norm(f'{name}.branch_{kernel}x{kernel}.1', given)


def _surroundings(near: str, strips: str, wide: int) -> Iterator[Layer]:
    """At stride 8: a wider look at each place, and rows and columns."""
    for dilation in (1, 2):
        yield Convolution(f'{near}.branch{dilation}', wide, wide, 3, 1, wide, dilation)
    yield Norm(f'{near}.bn', wide)
    yield Convolution(f'{strips}.gate_conv.0', wide, wide, groups=wide)
    yield Norm(f'{strips}.gate_conv.1', wide)


def _whole(attention: str, context: str, wide: int) -> Iterator[Layer]:
    """At stride 16: which channels matter, and what the whole picture is like."""
    yield Convolution(f'{attention}.fc.0', wide, wide // 8)
    yield Convolution(f'{attention}.fc.2', wide // 8, wide)
    yield Convolution(f'{context}.context_weight', wide, 1, bias=True)
    yield Convolution(f'{context}.transform.0', wide, wide // 4, bias=True)
    yield Norm(f'{context}.transform.1', wide // 4)
    yield Convolution(f'{context}.transform.3', wide // 4, wide, bias=True)


def _decoder() -> Iterator[Layer]:
    yield from _block('decoder.proj4', CHANNELS[-1], DECODER_CHANNELS[-1])
    beside = (STEM_CHANNELS, *CHANNELS)
    for level in range(len(FUSIONS) - 1, -1, -1):
        name, given = f'decoder.{FUSIONS[level]}', DECODER_CHANNELS[level]
        yield Convolution(f'{name}.proj_high', beside[level], given, groups=GROUPS)
        yield Convolution(f'{name}.proj_low', DECODER_CHANNELS[level + 1], given, groups=GROUPS)
        yield Norm(f'{name}.bn', given)
    yield Convolution('decoder.head_half', DECODER_CHANNELS[0], 1, 3, bias=True)


def _blend() -> Iterator[Layer]:
    name, wide = 'decoder.convex_up.where_conv', BLEND_CHANNELS
    yield Convolution(f'{name}.0', DECODER_CHANNELS[0], wide)
    yield Norm(f'{name}.1', wide)
    yield Convolution(f'{name}.3', wide, wide, 5, groups=wide)
    yield Norm(f'{name}.4', wide)
    yield Convolution(f'{name}.6', wide, 1)


def _convex() -> Iterator[Layer]:
    name, wide = 'decoder.convex_up.mask_pred', CONVEX_CHANNELS
    yield Convolution(f'{name}.0', DECODER_CHANNELS[0], wide, 3)
    yield Norm(f'{name}.1', wide)
    yield Convolution(f'{name}.3', wide, NEIGHBOURS * PIXELS, bias=True)


def zipdepth_shapes(convex: bool = False) -> dict[str, Shape]:
    """Every entry of the official state dict, and its shape."""
    return {'mean': (1, 3, 1, 1), 'std': (1, 3, 1, 1), **shapes_of(layers(convex))}


def half_size_features(do: Any, picture: Any) -> Any:
    """The network: a picture (1, 3, H, W), 0..1, to its last features (1, 32, H/2, W/2).

    `do` carries the operations out, on the names of an ONNX graph's values or on tensors:
    those of `zipdepth_graph`, or of `zipdepth.build`.
    """
    half = do.block(do.colours(picture), 'encoder.stem_half')
    value = do.block(half, 'encoder.stem_quarter')
    levels = [half]
    for stage, blocks in enumerate(BLOCKS, 1):
        name = f'encoder.stage{stage}'
        if stage > 1:
            value = do.branched(value, f'encoder.down{stage}')
        for number in range(blocks):
            value = do.branched(value, f'{name}.{number}')
        if stage == 2:
            value = do.looked_around(value, f'{name}.{blocks}')
            value = do.gated_by_strips(value, f'{name}.{blocks + 1}')
        if stage == 3:
            value = do.gated_by_channel(value, f'{name}.{blocks}')
            value = do.with_context(value, f'{name}.{blocks + 1}')
        levels.append(value)
    levels[-1] = do.pyramid(levels[-1], 'encoder.spp')
    levels[-2:] = do.exchanged(levels[-2], levels[-1], 'encoder.cross_scale')
    path = do.block(levels[-1], 'decoder.proj4')
    for level in range(len(FUSIONS) - 1, -1, -1):
        path = do.fused(levels[level], path, f'decoder.{FUSIONS[level]}')
    return path
