"""Depth Anything's ONNX graph, made from its state dict as NumPy arrays.

One graph serves every size whose sides are multiples of 14: what depends on the size follows from
the picture's shape, and a library that knows the size computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from midas_depth_ros.depth.models.depth_anything import (
    CUBIC_COEFFICIENT,
    GRID,
    GRID_SURPLUS,
    PATCH,
    Network,
)
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.state_graph import REST, SAME
from midas_depth_ros.depth.models.vit_graph import TransformerGraph

INPUT, OUTPUT = 'picture', 'depth'
FLOAT = 1  # ONNX's number of float32
ENCODER, HEAD = 'pretrained', 'depth_head'
OUTSIDE = 2  # places that a cubic resize takes outside the grid: the outermost values, repeated
END = 2**62  # behind the last of an axis


def depth_anything_onnx(
    network: Network,
    weights: Weights,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The model's bytes: (1, 3, h, w) float32 to (1, 1, h, w); any size, or `size` only.

    Raises KeyError where an entry of the state dict is missing, ValueError where one is not finite.
    """
    graph = _Builder(weights, ENCODER, network.width.transformer)
    graph.network(network)
    sides = size or ('height', 'width')
    return graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


class _Builder(TransformerGraph):
    """Adds every operation of the network, in the order of `depth_anything.build`."""

    def network(self, network: Network) -> None:
        patches = self.conv(INPUT, f'{ENCODER}.patch_embed.proj', PATCH)
        sides = self.sides(patches, 'sides')
        answers = self.answers(patches, self.positions(sides), network.taps)
        features = []
        for place, (answer, channels) in enumerate(
            zip(answers, network.width.channels, strict=True)
        ):
            # The decoder has no use for the class token.
            name = f'{HEAD}.projects.{place}'
            value = self.sliced(answer, f'{name}.places', 1, END)
            value = self.tokens_normed(value, f'{name}.normed')
            value = self.linear(value, name, f'{ENCODER}.norm')
            value = self.features(value, f'{name}.features', sides, channels)
            name = f'{HEAD}.resize_layers.{place}'
            if place in (0, 1):
                value = self.enlarged(value, name)
            elif place == 3:
                value = self.conv(value, name, stride=2)
            features.append(value)
        name = f'{HEAD}.scratch'
        path = self.decoder(features, name, odd=True)
        path = self.conv(path, f'{name}.output_conv1')
        whole = self.sides(INPUT, 'picture.sides')
        path = self.resized(path, 'head.up', network.width.decoder // 2, whole, corners=True)
        path = self.relu(self.conv(path, f'{name}.output_conv2.0'))
        path = self.conv(path, f'{name}.output_conv2.2')
        if network.farthest_m is None:
            self.add('Relu', [path], OUTPUT)
            return
        share = self.add('Sigmoid', [path], 'share')
        self.add('Mul', [share, self.constant('farthest', network.farthest_m)], OUTPUT)

    def positions(self, sides: str) -> str:
        """The embedding of the positions, resized to `sides`: (h, w, C).

        By products of matrices: OpenVINO's Resize leaves an axis alone whose length stays, and here
        37 patches become 37 others where the picture is not square.
        """
        wide = self.size.channels
        edge = [(OUTSIDE, OUTSIDE), (OUTSIDE, OUTSIDE), (0, 0)]
        square = self.entry(f'{ENCODER}.pos_embed')[0, 1:].reshape(GRID, GRID, wide)
        grid = np.pad(square, edge, mode='edge')
        # At the size of training nothing is resized: the surplus is 0 where both are as there.
        same = self.add('Equal', [sides, self.integers('trained.sides', (GRID, GRID))], 'same')
        same = self.add('Cast', [same], 'same.number', to=FLOAT)
        same = self.add('ReduceMin', [same], 'trained', axes=(0,), keepdims=0)
        other = self.add('Sub', [self.constant('1', 1), same], 'other')
        surplus = self.add('Mul', [other, self.constant('surplus', GRID_SURPLUS)], 'added')
        rows, columns = (
            self.cubic_resize(sides, axis, surplus, name)
            for axis, name in enumerate(('rows', 'columns'))
        )
        flat = self.weight('positions', grid.reshape(len(grid), -1))
        value = self.add('MatMul', [rows, flat], 'positions.rows')  # (h, grid C)
        value = self.reshaped(value, 'positions.by_row', (SAME, len(grid), wide))
        return self.add('MatMul', [columns, value], 'positions.resized')

    def cubic_resize(self, sides: str, axis: int, surplus: str, name: str) -> str:
        """The matrix (n, GRID + 2 OUTSIDE) that resizes an axis to n values.

        As torch does it: bicubic without antialiasing, corners not aligned.
        """
        add, constant = self.add, self.constant
        axis_number = add('Constant', [], f'{name}.axis', value_int=axis)
        count = add('Gather', [sides, axis_number], f'{name}.count', axis=0)
        count = add('Cast', [count], f'{name}.number', to=FLOAT)
        places = add('Range', [constant('0', 0), count, constant('1', 1)], f'{name}.places')
        more = self.sum(count, surplus, f'{name}.more')
        factor = add('Div', [more, constant('grid', GRID)], f'{name}.factor')
        middle = self.sum(places, constant('0.5', 0.5), f'{name}.middles')
        middle = add('Div', [middle, factor], f'{name}.resized')
        at = add('Sub', [middle, constant('0.5', 0.5)], f'{name}.at')
        at = self.reshaped(at, f'{name}.column', (REST, 1))
        there = self.weight(f'{name}.there', np.arange(GRID + 2 * OUTSIDE) - OUTSIDE)
        apart = add('Abs', [add('Sub', [at, there], f'{name}.less')], f'{name}.apart')
        # Keys' kernel a (u^2 - u^3) + v^2 (4 a + 3 - 2 v), u and v being what is left to 2 and 1.
        u, v = (
            self.relu(add('Sub', [constant(f'{end}', end), apart], f'{name}.to_{end}'))
            for end in (2, 1)
        )
        wide = self.polynomial(u, f'{name}.wide', CUBIC_COEFFICIENT, -CUBIC_COEFFICIENT)
        near = self.polynomial(v, f'{name}.near', 4 * CUBIC_COEFFICIENT + 3, -2)
        return self.sum(wide, near, f'{name}.matrix')

    def polynomial(self, value: str, name: str, square: float, cube: float) -> str:
        """x^2 (`square` + `cube` x)."""
        part = self.add('Mul', [value, self.constant(f'{cube:g}', cube)], f'{name}.cube')
        part = self.sum(part, self.constant(f'{square:g}', square), f'{name}.sum')
        squared = self.add('Mul', [value, value], f'{name}.square')
        return self.add('Mul', [squared, part], name)
