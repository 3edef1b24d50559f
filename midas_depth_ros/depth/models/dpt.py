"""DPT: four networks with one decoder, from MiDaS 3.0 and 3.1; what they want of a picture.

An encoder sees the picture, features are tapped at three or four strides, and a decoder of fusion
blocks climbs back from the coarsest to the finest, as in MiDaS_small. The encoders are a vision
transformer (large), one on top of a ResNet (hybrid), Swin V2 and LeViT. The torch layers are in
`dpt_torch.py`, which other families share, and in `dpt_<encoder>_torch.py`; here are sizes, keys
and shapes, without torch.

Sources: Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021; Birkl,
Wofk, Müller, "MiDaS v3.1 - A Model Zoo for Robust Monocular Relative Depth Estimation", 2023; the
releases v3 and v3_1 of isl-org/MiDaS.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from midas_depth_ros.depth.models.costs import giga_operations
from midas_depth_ros.depth.models.dpt_parts import (
    CLASSES,
    DECODER_CHANNELS,
    HEAD_HIDDEN,
    Entries,
    Transformer,
    decoder_shapes,
    head_shapes,
    transformer_shapes,
    weight_and_bias,
)
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
    norm_shapes,
)
from midas_depth_ros.depth.weights_file import WeightsFile

Value = TypeVar('Value')

# --- DPT-Large and DPT-Hybrid.


@dataclass(frozen=True)
class TransformerEncoder:
    """A vision transformer, and how its answers become features at strides 4, 8, 16 and 32.

    `taps` are the blocks, counted from 1, whose answers serve the coarsest strides; the features of
    the finer ones, if `resnet` has any, are those of its first stages. `channels`: of the features.
    """

    transformer: Transformer
    taps: tuple[int, ...]
    channels: tuple[int, int, int, int]
    resnet: tuple[int, ...] = ()  # blocks of each stage; none: the patches are the picture's own


LARGE = TransformerEncoder(
    Transformer(1024, depth=24, heads=16, patch=16, grid=24),
    taps=(6, 12, 18, 24),
    channels=(256, 512, 1024, 1024),
)
HYBRID = TransformerEncoder(
    Transformer(768, depth=12, heads=12, patch=16, grid=24),
    taps=(9, 12),
    channels=(256, 512, 768, 768),
    resnet=(3, 4, 9),
)
RESNET_STEM, RESNET_CHANNELS = 64, (256, 512, 1024)  # of the stages
RESNET_NARROWING = 4  # inside a block
# How the features of each stride are resized: enlarged by a transposed convolution of that kernel
# and stride, left alone, or halved by a convolution of kernel 3.
RESIZING_KERNELS = {1: 4, 2: 2, 3: None, 4: 3}


def _transformer_encoder_shapes(encoder: TransformerEncoder) -> Entries:
    size, name = encoder.transformer, 'pretrained.model'
    wide = size.channels
    yield from transformer_shapes(name, size)
    if encoder.resnet:
        yield from _resnet_shapes(f'{name}.patch_embed.backbone', encoder.resnet)
        yield from weight_and_bias(f'{name}.patch_embed.proj', (wide, RESNET_CHANNELS[-1], 1, 1))
    else:
        yield from weight_and_bias(f'{name}.patch_embed.proj', (wide, 3, size.patch, size.patch))
    yield from weight_and_bias(f'{name}.head', (CLASSES, wide))
    for level in range(5 - len(encoder.taps), 5):
        resizing, channels = f'pretrained.act_postprocess{level}', encoder.channels[level - 1]
        yield from weight_and_bias(f'{resizing}.0.project.0', (wide, 2 * wide))
        yield from weight_and_bias(f'{resizing}.3', (channels, wide, 1, 1))
        if kernel := RESIZING_KERNELS[level]:
            yield from weight_and_bias(f'{resizing}.4', (channels, channels, kernel, kernel))


def _resnet_shapes(name: str, stages: Sequence[int]) -> Entries:
    yield f'{name}.stem.conv.weight', (RESNET_STEM, 3, 7, 7)
    yield from weight_and_bias(f'{name}.stem.norm', (RESNET_STEM,))
    before = RESNET_STEM
    for stage, (blocks, wide) in enumerate(zip(stages, RESNET_CHANNELS, strict=True)):
        narrow = wide // RESNET_NARROWING
        for number in range(blocks):
            block = f'{name}.stages.{stage}.blocks.{number}'
            if not number:
                yield f'{block}.downsample.conv.weight', (wide, before, 1, 1)
                yield from weight_and_bias(f'{block}.downsample.norm', (wide,))
            kernels = ((narrow, before, 1, 1), (narrow, narrow, 3, 3), (wide, narrow, 1, 1))
            for place, kernel in enumerate(kernels, start=1):
                yield f'{block}.conv{place}.weight', kernel
                yield from weight_and_bias(f'{block}.norm{place}', kernel[:1])
            before = wide


# --- DPT-Swin2-Tiny.


@dataclass(frozen=True)
class Swin:
    """Swin V2: attention in windows that every second block shifts by half.

    One column per stage, at strides 4, 8, 16 and 32 of a picture of `size` x `size` pixels.
    """

    size: int
    patch: int
    window: int
    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    heads: tuple[int, ...]
    bias_hidden: int = 512  # of the small network that gives the bias of a relative position

    def window_of(self, stage: int) -> int:
        """Patches along a window's side: no more than there are."""
        return min(self.window, self.patches(stage))

    def shift_of(self, stage: int, block: int) -> int:
        """By how many patches the windows of a block are shifted: not where one covers all."""
        shifted = block % 2 and self.window_of(stage) < self.patches(stage)
        return self.window_of(stage) // 2 if shifted else 0

    def patches(self, stage: int) -> int:
        """Patches along a side."""
        return self.size // (self.patch << stage)


SWIN2_TINY = Swin(
    256, patch=4, window=16, channels=(96, 192, 384, 768), blocks=(2, 2, 6, 2), heads=(3, 6, 12, 24)
)


def _swin_shapes(size: Swin) -> Entries:
    name = 'pretrained.model'
    yield from weight_and_bias(
        f'{name}.patch_embed.proj', (size.channels[0], 3, size.patch, size.patch)
    )
    yield from weight_and_bias(f'{name}.patch_embed.norm', size.channels[:1])
    for stage, (wide, blocks) in enumerate(zip(size.channels, size.blocks, strict=True)):
        for number in range(blocks):
            block = f'{name}.layers.{stage}.blocks.{number}'
            yield from _swin_block_shapes(block, wide, size.heads[stage], size.bias_hidden)
            if size.shift_of(stage, number):
                windows = (size.patches(stage) // size.window_of(stage)) ** 2
                places = size.window_of(stage) ** 2
                yield f'{block}.attn_mask', (windows, places, places)
        if stage + 1 < len(size.channels):
            merging = f'{name}.layers.{stage}.downsample'
            yield f'{merging}.reduction.weight', (2 * wide, 4 * wide)
            yield from weight_and_bias(f'{merging}.norm', (2 * wide,))
    yield from weight_and_bias(f'{name}.norm', size.channels[-1:])
    yield from weight_and_bias(f'{name}.head', (CLASSES, size.channels[-1]))


def _swin_block_shapes(block: str, wide: int, heads: int, hidden: int) -> Entries:
    yield f'{block}.attn.logit_scale', (heads, 1, 1)
    yield f'{block}.attn.q_bias', (wide,)
    yield f'{block}.attn.v_bias', (wide,)
    yield f'{block}.attn.qkv.weight', (3 * wide, wide)
    yield from weight_and_bias(f'{block}.attn.cpb_mlp.0', (hidden, 2))
    yield f'{block}.attn.cpb_mlp.2.weight', (heads, hidden)
    yield from weight_and_bias(f'{block}.attn.proj', (wide, wide))
    yield from weight_and_bias(f'{block}.mlp.fc1', (4 * wide, wide))
    yield from weight_and_bias(f'{block}.mlp.fc2', (wide, 4 * wide))
    for place in (1, 2):
        yield from weight_and_bias(f'{block}.norm{place}', (wide,))


# --- DPT-LeViT.


@dataclass(frozen=True)
class Levit:
    """LeViT: a stem of four convolutions of stride 2, then three stages of attention and MLP.

    One column per stage, at strides 16, 32 and 64 (rounded up) of a picture of `size` x `size`
    pixels. `taps`: the pair of attention and MLP, counted from 1, that gives a stage's features.
    """

    size: int
    stem: tuple[int, ...]
    channels: tuple[int, ...]
    heads: tuple[int, ...]
    pairs: tuple[int, ...]
    taps: tuple[int, ...]
    sides: tuple[int, ...]  # patches along a side
    key: int = 32  # channels of a query or key
    value: int = 64  # of a value in a stage; between stages it is twice that
    head_hidden: int = 8
    after: tuple[int, ...] = (128, 64)  # channels of the transposed convolutions before the head


LEVIT_384 = Levit(
    224,
    stem=(48, 96, 192, 384),
    channels=(384, 512, 768),
    heads=(6, 9, 12),
    pairs=(4, 4, 4),
    taps=(2, 1, 1),
    sides=(14, 7, 4),
)


def _levit_shapes(size: Levit) -> Entries:
    name, before = 'pretrained.model', 3
    for place, wide in enumerate(size.stem):
        yield from _normed(f'{name}.patch_embed.{2 * place}', (wide, before, 3, 3))
        before = wide
    number = 0  # the checkpoint counts attentions and MLPs in one row
    for stage, wide in enumerate(size.channels):
        if stage:
            block, taken = f'{name}.blocks.{number}', size.channels[stage - 1]
            heads = taken // size.key
            yield from _levit_bias_shapes(block, heads, size.sides[stage - 1], size.sides[stage])
            yield from _normed(f'{block}.kv', (heads * (size.key + 2 * size.value), taken))
            yield from _normed(f'{block}.q.1', (heads * size.key, taken))
            yield from _normed(f'{block}.proj.1', (wide, heads * 2 * size.value))
            yield from _levit_mlp_shapes(f'{name}.blocks.{number + 1}.m', wide)
            number += 2
        for _ in range(size.pairs[stage]):
            block, heads = f'{name}.blocks.{number}.m', size.heads[stage]
            yield from _levit_bias_shapes(block, heads, size.sides[stage], size.sides[stage])
            yield from _normed(f'{block}.qkv', (heads * (2 * size.key + size.value), wide))
            yield from _normed(f'{block}.proj.1', (wide, heads * size.value))
            yield from _levit_mlp_shapes(f'{name}.blocks.{number + 1}.m', wide)
            number += 2
    for classifier in ('head', 'head_dist'):
        yield from norm_shapes(f'{name}.{classifier}.bn', size.channels[-1])
        yield from weight_and_bias(f'{name}.{classifier}.l', (CLASSES, size.channels[-1]))
    before = DECODER_CHANNELS
    for place, wide in enumerate(size.after):
        yield f'scratch.stem_transpose.{2 * place}.c.weight', (before, wide, 3, 3)
        yield from norm_shapes(f'scratch.stem_transpose.{2 * place}.bn', wide)
        before = wide


def _levit_bias_shapes(block: str, heads: int, asked: int, asking: int) -> Entries:
    yield f'{block}.attention_biases', (heads, asked**2)
    yield f'{block}.attention_bias_idxs', (asking**2, asked**2)


def _levit_mlp_shapes(block: str, wide: int) -> Entries:
    yield from _normed(f'{block}.0', (2 * wide, wide))
    yield from _normed(f'{block}.2', (wide, 2 * wide))


def _normed(name: str, shape: Shape) -> Entries:
    """A layer without bias, and the batch normalisation behind it."""
    yield f'{name}.c.weight', shape
    yield from norm_shapes(f'{name}.bn', shape[0])


# --- The networks by name.

Encoder = TransformerEncoder | Swin | Levit
# What a module computes itself, and a file holds all the same.
COMPUTED = ('.attn_mask', '.attention_bias_idxs')


def rename(table: Mapping[str, Value]) -> dict[str, Value]:
    """An official state dict as the torch module loads it: without the tables that it computes."""
    return {key: value for key, value in table.items() if not key.endswith(COMPUTED)}


def shapes(encoder: Encoder) -> dict[str, Shape]:
    """Every entry of the official state dict, and its shape."""
    channels, hidden = DECODER_CHANNELS, HEAD_HIDDEN
    if isinstance(encoder, TransformerEncoder):
        entries = _transformer_encoder_shapes(encoder)
    elif isinstance(encoder, Swin):
        entries = _swin_shapes(encoder)
    else:
        entries = _levit_shapes(encoder)
        channels, hidden = encoder.after[-1], encoder.head_hidden
    return {
        **dict(entries),
        **dict(decoder_shapes('scratch', encoder.channels, DECODER_CHANNELS)),
        **dict(head_shapes('scratch.output_conv', channels, hidden)),
    }


def build(encoder: Encoder) -> Any:
    """The network, with random weights until a state dict is loaded; nothing is ever fetched.

    It takes (B, 3, H, W) float32, normalised, and gives (B, H, W) float32 relative inverse depth,
    at least 0. H and W are multiples of 32, and for Swin2 and LeViT the one size that there is.
    Imports torch, and no other library.
    """
    if isinstance(encoder, TransformerEncoder):
        from midas_depth_ros.depth.models.dpt_vit_torch import Dpt

        return Dpt(encoder)
    if isinstance(encoder, Swin):
        from midas_depth_ros.depth.models.dpt_swin2_torch import DptSwin

        return DptSwin(encoder)
    from midas_depth_ros.depth.models.dpt_levit_torch import DptLevit

    return DptLevit(encoder)


INPUT, OUTPUT = 'picture', 'depth'  # of the graphs


def make_onnx(encoder: Encoder, weights: Weights, metadata: Mapping[str, str]) -> bytes:
    """The network as an ONNX model, made without torch: (1, 3, h, w) float32 to (1, 1, h, w).

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not finite.
    """
    # These import the descriptions above.
    from midas_depth_ros.depth.models.dpt_levit_graph import LevitGraph
    from midas_depth_ros.depth.models.dpt_swin2_graph import SwinGraph
    from midas_depth_ros.depth.models.dpt_vit_graph import DptTransformerGraph

    graph: DptTransformerGraph | LevitGraph | SwinGraph
    sides: tuple[int | str, int | str] = ('height', 'width')
    if isinstance(encoder, TransformerEncoder):
        graph = DptTransformerGraph(weights, encoder)
    elif isinstance(encoder, Swin):
        graph, sides = SwinGraph(weights, encoder), (encoder.size, encoder.size)
    else:
        graph, sides = LevitGraph(weights, encoder), (encoder.size, encoder.size)
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        graph.network(INPUT, OUTPUT)
        return graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


SIDE, MULTIPLE = 384, 32  # pixels, of DPT-Large and DPT-Hybrid
# Half of it: at a quarter of the cost still 0.4 s and more on two cores, but with fewer patches
# there would be little left to tell apart.
LEAST_SIDE = 192


@dataclass(frozen=True)
class Network:
    """One of the networks; `size` (h, w) is the only one, or that of a square picture.

    `graphs`: fingerprint of its current ONNX graph, and of earlier ones.
    """

    title: str
    encoder: Encoder
    size: tuple[int, int]
    weights: WeightsFile
    graphs: tuple[Fingerprint, ...]


MIDAS = 'https://github.com/isl-org/MiDaS/releases/download'

NETWORKS = {
    'dpt_large_384': Network(
        'DPT-Large',
        LARGE,
        (SIDE, SIDE),
        WeightsFile(
            name='dpt_large_384.pt',
            url=f'{MIDAS}/v3/dpt_large_384.pt',
            size=1_376_378_527,
            sha256='2f21e586477d90cb9624c7eef5df7891edca49a1c4795ee2cb631fd4daa6ca69',
            aliases=('dpt_large-midas-2f21e586.pt',),
            licence='MIT',
        ),
        (
            Fingerprint(
                'cf07c49867b75393c1bb7e3220fbd452f7747a6fddd7dce761da7086291f6375',
                '4a15f86a3730a53c',
            ),
        ),
    ),
    'dpt_hybrid_384': Network(
        'DPT-Hybrid',
        HYBRID,
        (SIDE, SIDE),
        WeightsFile(
            name='dpt_hybrid-midas-501f0c75.pt',
            url='https://github.com/isl-org/DPT/releases/download/1_0/dpt_hybrid-midas-501f0c75.pt',
            size=0,  # not published; some 492.7 MB
            sha256='501f0c75b3bca7daec6b3682c5054c09b366765aef6fa3a09d03a5cb4b230853',
            aliases=('dpt_hybrid_384.pt',),  # of MiDaS v3, which torch hub fetches
            licence='MIT',
        ),
        (
            Fingerprint(
                '2156ffd21e63eb837718aa08b8d4a411655c1235020974cd5abf2a7b93bc8f3c',
                '6895c55f0286b781',
            ),
        ),
    ),
    'dpt_swin2_tiny_256': Network(
        'DPT-Swin2-Tiny',
        SWIN2_TINY,
        (SWIN2_TINY.size, SWIN2_TINY.size),
        WeightsFile(
            name='dpt_swin2_tiny_256.pt',
            url=f'{MIDAS}/v3_1/dpt_swin2_tiny_256.pt',
            size=0,  # and its hash: not published
            sha256='',
            licence='MIT',
        ),
        (
            Fingerprint(
                'c0cac4eb13743b878244b5c65ad08101e68006bac320f61d8040ac8b900ac8bf',
                '2326706583554d7d',
            ),
        ),
    ),
    'dpt_levit_224': Network(
        'DPT-LeViT',
        LEVIT_384,
        (LEVIT_384.size, LEVIT_384.size),
        WeightsFile(
            name='dpt_levit_224.pt',
            url=f'{MIDAS}/v3_1/dpt_levit_224.pt',
            size=0,  # and its hash: not published
            sha256='',
            licence='MIT',
        ),
        (
            Fingerprint(
                '8eb699a33bc2d9a61894c61de296656b0b459839a06856852080dacc22fea521',
                'b59b2933aca84829',
            ),
        ),
    ),
}


def module(name: str) -> Any:
    """The torch module of a network by its name; see `build`."""
    return build(NETWORKS[name].encoder)


def picture(name: str) -> PictureInput:
    """What a network wants of a picture."""
    encoder, size = NETWORKS[name].encoder, NETWORKS[name].size
    free = isinstance(encoder, TransformerEncoder)
    return PictureInput(
        size,
        Sizing.NEAREST_SCALE if free else Sizing.STRETCH,
        multiple=MULTIPLE,
        interpolation=Interpolation.CUBIC_FLOAT64,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
    )


def spec(name: str) -> ModelSpec:
    """The specification of a network."""
    network = NETWORKS[name]
    return ModelSpec(
        name=name,
        title=network.title,
        weights=network.weights,
        picture=picture(name),
        output=Output.RELATIVE_INVERSE_DEPTH,
        shapes=shapes(network.encoder),
        build=functools.partial(build, network.encoder),
        onnx=OnnxGraph(
            make=functools.partial(make_onnx, network.encoder),
            picture=INPUT,
            depth=OUTPUT,
            known=network.graphs,
            opencv=None,  # it takes no layers of transformers
        ),
        renaming=rename,
        giga_operations=giga_operations(name),
        published=published(name),
        # Others trained these to give depth: with a file of theirs near and far would be swapped.
        keys_tell=not isinstance(network.encoder, TransformerEncoder),
        node_short_side=LEAST_SIDE if isinstance(network.encoder, TransformerEncoder) else 0,
        slow_on_two_cores=not isinstance(network.encoder, Levit),
    )


SPECS = tuple(map(spec, NETWORKS))
