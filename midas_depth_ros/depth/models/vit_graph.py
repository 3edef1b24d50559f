"""The ONNX form of the vision transformer that several depth networks share; see `dpt_torch.py`.

Each layer norm leaves its weight and bias, and each layer scale its factors, to the linear layer
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.dpt_parts import Transformer
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.state_graph import REST, SAME

LAYER_NORM_EPSILON = 1e-6
FLOAT = 1  # ONNX's number of float32
# The weights of values that are so far away, in a resize: of the distances and a name.
Kernel = Callable[[str, str], str]


class TransformerGraph(DptGraph):
    """A graph with a vision transformer of the state dict under `name`, and DPT's decoder."""

    def __init__(self, weights: Weights, name: str, size: Transformer) -> None:
        super().__init__(weights)
        self.name, self.size = name, size

    def positions(self, sides: str, kernel: Kernel, reach: int, surplus: str = '') -> str:
        """The embedding of the positions, resized to `sides`: (h, w, C).

        `kernel` reaches so many values to either side. `surplus`: what is added to the sides for
        the factor. By products of matrices: OpenVINO's Resize leaves an axis alone whose length
        stays, whatever the factor, and takes seconds.
        """
        grid, wide = self.size.grid, self.size.channels
        square = self.entry(f'{self.name}.pos_embed')[0, 1:].reshape(grid, grid, wide)
        square = np.pad(square, [(reach, reach), (reach, reach), (0, 0)], mode='edge')
        rows, columns = (
            self._resizing(sides, axis, name, kernel, reach, surplus)
            for axis, name in enumerate(('rows', 'columns'))
        )
        flat = self.weight('positions', square.reshape(len(square), -1))
        value = self.add('MatMul', [rows, flat], 'positions.rows')
        value = self.reshaped(value, 'positions.by_row', (SAME, len(square), wide))
        return self.add('MatMul', [columns, value], 'positions.resized')

    def _resizing(
        self, sides: str, axis: int, name: str, kernel: Kernel, reach: int, surplus: str
    ) -> str:
        """The matrix (n, grid + 2 reach) that resizes an axis to n values.

        As torch does it: without antialiasing, corners not aligned. The matrix expects the
        outermost values repeated.
        """
        add, constant, grid = self.add, self.constant, self.size.grid
        place = add('Constant', [], f'{name}.axis', value_int=axis)
        count = add('Gather', [sides, place], f'{name}.count', axis=0)
        count = add('Cast', [count], f'{name}.number', to=FLOAT)
        places = add('Range', [constant('0', 0), count, constant('1', 1)], f'{name}.places')
        more = self.sum(count, surplus, f'{name}.more') if surplus else count
        factor = add('Div', [more, constant('grid', grid)], f'{name}.factor')
        middle = self.sum(places, constant('0.5', 0.5), f'{name}.middles')
        middle = add('Div', [middle, factor], f'{name}.resized')
        at = add('Sub', [middle, constant('0.5', 0.5)], f'{name}.at')
        at = self.reshaped(at, f'{name}.column', (REST, 1))
        there = self.weight(f'{name}.there', np.arange(-reach, grid + reach))
        apart = add('Abs', [add('Sub', [at, there], f'{name}.less')], f'{name}.apart')
        return kernel(apart, name)

    def left(self, apart: str, name: str, end: int) -> str:
        """What is left of distances to `end`; 0 beyond it. The kernel of a bilinear resize at 1."""
        left = self.add('Sub', [self.constant(f'{end}', end), apart], f'{name}.to_{end}')
        return self.relu(left)

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
