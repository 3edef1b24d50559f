"""What several depth networks share: keys and shapes of a vision transformer and of DPT's decoder.

Their torch layers are in `dpt_torch.py`; nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from midas_depth_ros.depth.models.spec import Shape

Entries = Iterator[tuple[str, Shape]]

DECODER_CHANNELS = 256
HEAD_HIDDEN = 32  # channels between the last two convolutions
CLASSES = 1000  # of ImageNet: the classifiers are in the files, unused
RESIDUAL_UNITS = ('resConfUnit1', 'resConfUnit2')


@dataclass(frozen=True)
class Transformer:
    """A vision transformer; its position embedding was learned on `grid` x `grid` patches."""

    channels: int
    depth: int  # blocks
    heads: int
    patch: int  # pixels along a side
    grid: int
    layer_scale: bool = False


def weight_and_bias(name: str, shape: Shape) -> Entries:
    """Of a linear layer, a convolution or a layer norm; `shape` is that of the weight."""
    yield f'{name}.weight', shape
    yield f'{name}.bias', shape[:1]


def transformer_shapes(name: str, size: Transformer) -> Entries:
    """Without what makes tokens of the picture."""
    wide = size.channels
    yield f'{name}.cls_token', (1, 1, wide)
    yield f'{name}.pos_embed', (1, 1 + size.grid**2, wide)
    for number in range(size.depth):
        block = f'{name}.blocks.{number}'
        for place, layers in enumerate(
            (
                (('attn.qkv', (3 * wide, wide)), ('attn.proj', (wide, wide))),
                (('mlp.fc1', (4 * wide, wide)), ('mlp.fc2', (wide, 4 * wide))),
            ),
            start=1,
        ):
            yield from weight_and_bias(f'{block}.norm{place}', (wide,))
            for layer, shape in layers:
                yield from weight_and_bias(f'{block}.{layer}', shape)
            if size.layer_scale:
                yield f'{block}.ls{place}.gamma', (wide,)
    yield from weight_and_bias(f'{name}.norm', (wide,))


def decoder_shapes(name: str, taken: Sequence[int], channels: int, mixed: bool = True) -> Entries:
    """Fusion blocks for features of `taken` channels, finest first; see `dpt_torch.Decoder`."""
    for level, count in enumerate(taken, start=1):
        yield f'{name}.layer{level}_rn.weight', (channels, count, 3, 3)
    for level in range(1, len(taken) + 1):
        fusion = f'{name}.refinenet{level}'
        if mixed:
            yield from weight_and_bias(f'{fusion}.out_conv', (channels, channels, 1, 1))
        for unit in RESIDUAL_UNITS:
            for conv in ('conv1', 'conv2'):
                yield from weight_and_bias(f'{fusion}.{unit}.{conv}', (channels, channels, 3, 3))


def head_shapes(name: str, channels: int, hidden: int = HEAD_HIDDEN) -> Entries:
    """The last layers, see `dpt_torch.head`."""
    half = channels // 2
    yield from weight_and_bias(f'{name}.0', (half, channels, 3, 3))
    yield from weight_and_bias(f'{name}.2', (hidden, half, 3, 3))
    yield from weight_and_bias(f'{name}.4', (1, hidden, 1, 1))
