"""DPT-Swin2 as an ONNX graph, made from the state dict with NumPy alone.

It equals the torch module in `dpt_swin2_torch.py` to rounding. What depends on no picture is
computed here: the bias of every relative position, with the mask of shifted windows. Rolling the
patches and cutting them into windows is one change of their order. Tokens are (1, N, C), W windows
have n patches each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.dpt import Swin
from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.state_graph import REST

LAYER_NORM_EPSILON = 1e-5
LARGEST_SCALE = 100.0  # of the cosines before the softmax
LARGEST_BIAS = 16.0
LOGARITHM_RANGE = 8.0  # to which relative positions are stretched before their logarithm is taken
MASKED = -100.0  # what is added between patches that are no neighbours
LEAST_LENGTH = 1e-12  # of a query or key, by which it is divided

Numbers = NDArray[np.float32]
Places = NDArray[np.int64]


class SwinGraph(DptGraph):
    """The whole network: `network` adds it."""

    def __init__(self, weights: Weights, size: Swin) -> None:
        super().__init__(weights)
        self.size = size

    def network(self, picture: str, depth: str) -> None:
        """From a picture (1, 3, H, W), normalised, to (1, 1, H, W)."""
        path = self.decoder(self.encoder(picture), 'scratch')
        self.head(path, 'scratch.output_conv', depth)

    def encoder(self, picture: str) -> list[str]:
        """What the last block of each stage gives, (1, C, h, w) each."""
        size, name = self.size, 'pretrained.model'
        value = self.conv(picture, f'{name}.patch_embed.proj', stride=size.patch)
        last = self.transposed(value, 'patches.last', (0, 2, 3, 1))
        tokens = self.reshaped(last, 'patches', (1, REST, size.channels[0]))
        tokens = self.layer_norm(tokens, f'{name}.patch_embed.norm', LAYER_NORM_EPSILON)
        found = []
        for stage, channels in enumerate(size.channels):
            side, order = size.patches(stage), np.arange(size.patches(stage) ** 2)
            for number in range(size.blocks[stage]):
                block, shift = (
                    f'{name}.layers.{stage}.blocks.{number}',
                    size.shift_of(stage, number),
                )
                windows = in_windows(side, size.window_of(stage), shift)
                tokens = self.ordered(tokens, f'{block}.order', order, windows)
                tokens, order = self.block(tokens, block, stage, shift), windows
            place = f'features.{stage}'
            rows = self.ordered(tokens, f'{place}.order', order, np.arange(side**2))
            square = self.reshaped(rows, f'{place}.last', (1, side, side, channels))
            found.append(self.transposed(square, place, (0, 3, 1, 2)))
            if stage + 1 < len(size.channels):
                merging = f'{name}.layers.{stage}.downsample'
                tokens = self.ordered(tokens, f'{merging}.order', order, in_fours(side))
                tokens = self.reshaped(tokens, f'{merging}.fours', (1, REST, 4 * channels))
                tokens = self.linear(tokens, f'{merging}.reduction')
                tokens = self.layer_norm(tokens, f'{merging}.norm', LAYER_NORM_EPSILON)
        return found

    def ordered(self, tokens: str, name: str, found: Places, wanted: Places) -> str:
        """Tokens that stand in one order, in another; orders are (N,), of rows of patches."""
        if np.array_equal(found, wanted):
            return tokens
        places = self.integers(f'{name}.places', np.argsort(found)[wanted].tolist())
        return self.add('Gather', [tokens, places], name, axis=1)

    def block(self, tokens: str, name: str, stage: int, shift: int) -> str:
        """Attention in windows, then an MLP, each with its norm behind it and around a shortcut."""
        change = self.attended(tokens, f'{name}.attn', stage, shift)
        change = self.layer_norm(change, f'{name}.norm1', LAYER_NORM_EPSILON)
        tokens = self.sum(tokens, change, f'{name}.told')
        change = self.gelu(self.linear(tokens, f'{name}.mlp.fc1'))
        change = self.linear(change, f'{name}.mlp.fc2')
        change = self.layer_norm(change, f'{name}.norm2', LAYER_NORM_EPSILON)
        return self.sum(tokens, change, name)

    def attended(self, tokens: str, name: str, stage: int, shift: int) -> str:
        """Cosine attention between the patches of a window."""
        heads, wide = self.size.heads[stage], self.size.channels[stage]
        places = self.size.window_of(stage) ** 2
        kernels = np.split(self.entry(f'{name}.qkv.weight'), 3)
        shifts = (self.entry(f'{name}.q_bias'), None, self.entry(f'{name}.v_bias'))
        largest = np.float32(math.log(LARGEST_SCALE))
        scale = np.exp(np.minimum(self.entry(f'{name}.logit_scale'), largest))
        lengths = np.asarray(1 / scale.reshape(1, 1, heads, 1), np.float32)
        parts = {}
        for each, kernel, added in zip(('query', 'key', 'value'), kernels, shifts, strict=True):
            place = f'{name}.{each}'
            flat = self.matrix(tokens, place, kernel, added)
            split = self.reshaped(flat, f'{place}.split', (REST, places, heads, wide // heads))
            if each != 'value':
                split = self.directed(split, place, lengths if each == 'query' else None)
            order = (0, 2, 3, 1) if each == 'key' else (0, 2, 1, 3)
            parts[each] = self.transposed(split, f'{place}.heads', order)
        bias = self.weight(f'{name}.bias', self.biases(name, stage, shift))
        mixed = self.attention(**parts, name=name, scale=1, bias=bias)
        mixed = self.transposed(mixed, f'{name}.last', (0, 2, 1, 3))
        flat = self.reshaped(mixed, f'{name}.flat', (1, REST, wide))
        return self.linear(flat, f'{name}.proj')

    def directed(self, vectors: str, name: str, factor: Numbers | None) -> str:
        """Vectors along the last axis by their length, which is multiplied by `factor` first."""
        length = self.add('ReduceL2', [vectors], f'{name}.length', axes=(REST,), keepdims=1)
        least = self.constant(f'{LEAST_LENGTH:g}', LEAST_LENGTH)
        length = self.add('Max', [length, least], f'{name}.at_least')
        if factor is not None:
            scale = self.weight(f'{name}.scale', factor)
            length = self.add('Mul', [length, scale], f'{name}.scaled')
        return self.add('Div', [vectors, length], f'{name}.direction')

    def biases(self, name: str, stage: int, shift: int) -> Numbers:
        """What each patch of a window adds for each other one: (1 or W, heads, n, n)."""
        side, window = self.size.patches(stage), self.size.window_of(stage)
        steps, index = relative_positions(window)
        hidden = steps @ self.entry(f'{name}.cpb_mlp.0.weight').T
        hidden = np.maximum(hidden + self.entry(f'{name}.cpb_mlp.0.bias'), 0)
        table = hidden @ self.entry(f'{name}.cpb_mlp.2.weight').T  # (m, heads)
        bias = LARGEST_BIAS / (1 + np.exp(-table[index].transpose(2, 0, 1)))
        masks = neighbourhood(side, window, shift) if shift else np.zeros((1, 1, 1), np.float32)
        return np.asarray(bias[np.newaxis] + masks[:, np.newaxis], np.float32)


def in_windows(side: int, window: int, shift: int) -> Places:
    """Places of patches, window by window, once the square of patches is rolled by `shift`."""
    rows = np.roll(np.arange(side**2).reshape(side, side), (-shift, -shift), (0, 1))
    return rows.reshape(side // window, window, -1, window).swapaxes(1, 2).ravel()


def in_fours(side: int) -> Places:
    """Places of patches, four neighbours together: down first, then right."""
    rows = np.arange(side**2).reshape(side // 2, 2, side // 2, 2)
    return rows.transpose(0, 2, 3, 1).ravel()


def relative_positions(window: int) -> tuple[Numbers, Places]:
    """The steps between two patches of a window, and which step leads from which to which.

    Steps are (m, 2), down and right, on a logarithmic scale from -1 to 1 and a little beyond; the
    second is (n, n), rows of the first.
    """
    counted = 2 * window - 1  # along a side: from -(window - 1) to window - 1
    stretched = LOGARITHM_RANGE * (np.arange(counted) - (window - 1)) / (window - 1)
    scale = np.sign(stretched) * np.log2(np.abs(stretched) + 1) / math.log2(LOGARITHM_RANGE)
    steps = np.stack(np.meshgrid(scale, scale, indexing='ij'), axis=-1).reshape(-1, 2)
    place = np.arange(window)
    apart = place[:, np.newaxis] - place + window - 1  # (window, window)
    index = counted * apart[:, np.newaxis, :, np.newaxis] + apart[np.newaxis, :, np.newaxis, :]
    return np.asarray(steps, np.float32), index.reshape(window**2, window**2)


def neighbourhood(side: int, window: int, shift: int) -> Numbers:
    """(W, n, n): 0 between neighbours, else `MASKED`.

    Once the patches are rolled by `shift`, the last windows hold patches of both ends of the
    picture.
    """
    place = np.arange(side)
    band = (place >= side - window).astype(int) + (place >= side - shift)
    region = (3 * band[:, np.newaxis] + band).ravel()
    windows = region[in_windows(side, window, 0)].reshape(-1, window**2)
    same = windows[:, :, np.newaxis] == windows[:, np.newaxis]
    return np.where(same, np.float32(0), np.float32(MASKED))
