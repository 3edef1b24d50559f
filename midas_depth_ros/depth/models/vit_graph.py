"""The ONNX form of the vision transformer that several depth networks share; see `dpt_torch.py`.

Each layer norm leaves its weight and bias, and each layer scale its factors, to the linear layer
beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.dpt_parts import Transformer
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.state_graph import REST, SAME

LAYER_NORM_EPSILON = 1e-6


class TransformerGraph(DptGraph):
    """A graph with a vision transformer of the state dict under `name`, and DPT's decoder."""

    def __init__(self, weights: Weights, name: str, size: Transformer) -> None:
        super().__init__(weights)
        self.name, self.size = name, size

    def answers(self, patches: str, positions: str, taps: Sequence[int]) -> list[str]:
        """What the blocks `taps`, counted from 1, give: (1, N, C) each, the class token first.

        Takes the patches as (1, C, h, w) and the embedding of their positions as (h, w, C).
        """
        last = self.transposed(patches, 'patches.last', (0, 2, 3, 1))
        placed = self.sum(last, positions, 'placed')
        places = self.reshaped(placed, 'places', (1, REST, self.size.channels))
        first = self.entry(f'{self.name}.cls_token')
        first = first + self.entry(f'{self.name}.pos_embed')[:, :1]
        tokens = self.joined([self.weight('first', first), places], 'tokens', axis=1)
        found = []
        for number in range(max(taps)):
            tokens = self.block(tokens, f'{self.name}.blocks.{number}')
            if number + 1 in taps:
                found.append(tokens)
        return found

    def block(self, tokens: str, name: str) -> str:
        """Attention and MLP, each behind its norm and around a shortcut."""
        value = self.tokens_normed(tokens, f'{name}.norm1')
        heads, wide = self.size.heads, self.size.channels
        part = wide // heads
        parts = {}
        names = ('query', 'key', 'value')
        kernels, biases = (
            np.split(self.entry(f'{name}.attn.qkv.{entry}'), 3) for entry in ('weight', 'bias')
        )
        for each, kernel, bias in zip(names, kernels, biases, strict=True):
            place = f'{name}.attn.{each}'
            factor = np.full(wide, part**-0.5, np.float32) if each == 'query' else None
            flat = self.matrix(value, place, kernel, bias, f'{name}.norm1', factor)
            split = self.reshaped(flat, f'{place}.split', (SAME, REST, heads, part))
            order = (0, 2, 3, 1) if each == 'key' else (0, 2, 1, 3)
            parts[each] = self.transposed(split, f'{place}.heads', order)
        mixed = self.attention(**parts, name=f'{name}.attn', scale=1)
        mixed = self.transposed(mixed, f'{name}.attn.last', (0, 2, 1, 3))
        mixed = self.reshaped(mixed, f'{name}.attn.flat', (SAME, REST, wide))
        change = self.linear(mixed, f'{name}.attn.proj', factor=self._scale(f'{name}.ls1'))
        tokens = self.sum(tokens, change, f'{name}.told')
        value = self.tokens_normed(tokens, f'{name}.norm2')
        value = self.gelu(self.linear(value, f'{name}.mlp.fc1', f'{name}.norm2'))
        change = self.linear(value, f'{name}.mlp.fc2', factor=self._scale(f'{name}.ls2'))
        return self.sum(tokens, change, name)

    def tokens_normed(self, tokens: str, name: str) -> str:
        """Without the norm's weight and bias, which the next layer takes."""
        return self.normed(tokens, name, self.size.channels, LAYER_NORM_EPSILON)

    def _scale(self, name: str) -> np.ndarray | None:
        return self.entry(f'{name}.gamma') if self.size.layer_scale else None

    def features(self, tokens: str, name: str, sides: str, channels: int) -> str:
        """(1, h w, C) as (1, C, h, w); `sides` holds h and w."""
        ends = [self.integers(f'{name}.{what}', [n]) for what, n in (('one', 1), ('all', channels))]
        shape = self.joined([ends[0], sides, ends[1]], f'{name}.shape', axis=0)
        last = self.add('Reshape', [tokens, shape], f'{name}.last')
        return self.transposed(last, name, (0, 3, 1, 2))
