"""Depth Anything's ONNX graph, made from its state dict as NumPy arrays.

One graph serves every size whose sides are multiples of 14: what depends on the size follows from
the picture's shape, and a library that knows the size computes it once.
"""

from __future__ import annotations

from collections.abc import Mapping

from midas_depth_ros.depth.models.depth_anything import (
    CUBIC_COEFFICIENT,
    GRID,
    GRID_SURPLUS,
    PATCH,
    Network,
)
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.vit_graph import FLOAT, TransformerGraph

INPUT, OUTPUT = 'picture', 'depth'
ENCODER, HEAD = 'pretrained', 'depth_head'
CUBIC_REACH = 2
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
        positions = self.positions(sides, self.cubic, CUBIC_REACH, self.surplus(sides))
        answers = self.answers(patches, positions, network.taps)
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

    def surplus(self, sides: str) -> str:
        """What the official code adds to the number of patches for the factor of the resize.

        At the size of training nothing is resized: it is 0 where both sides are that.
        """
        same = self.add('Equal', [sides, self.integers('trained.sides', (GRID, GRID))], 'same')
        same = self.add('Cast', [same], 'same.number', to=FLOAT)
        same = self.add('ReduceMin', [same], 'trained', axes=(0,), keepdims=0)
        other = self.add('Sub', [self.constant('1', 1), same], 'other')
        return self.add('Mul', [other, self.constant('surplus', GRID_SURPLUS)], 'added')

    def cubic(self, apart: str, name: str) -> str:
        """Keys' kernel: a (u^2 - u^3) + v^2 (4 a + 3 - 2 v), where u is left to 2, and v to 1."""
        u, v = (self.left(apart, name, end) for end in (2, 1))
        wide = self.polynomial(u, f'{name}.wide', CUBIC_COEFFICIENT, -CUBIC_COEFFICIENT)
        near = self.polynomial(v, f'{name}.near', 4 * CUBIC_COEFFICIENT + 3, -2)
        return self.sum(wide, near, f'{name}.matrix')

    def polynomial(self, value: str, name: str, square: float, cube: float) -> str:
        """x^2 (`square` + `cube` x)."""
        part = self.add('Mul', [value, self.constant(f'{cube:g}', cube)], f'{name}.cube')
        part = self.sum(part, self.constant(f'{square:g}', square), f'{name}.sum')
        squared = self.add('Mul', [value, value], f'{name}.square')
        return self.add('Mul', [squared, part], name)
