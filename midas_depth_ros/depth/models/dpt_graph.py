"""The ONNX form of DPT's decoder and head, for the networks that share them; see `dpt_torch.py`.

It equals the torch layers to rounding, and is cheaper where arithmetic allows it: a 1x1 convolution
commutes with the bilinear enlargement before it, whose weights sum to 1, and is done where there
are a quarter as many places.
"""

from __future__ import annotations

from collections.abc import Sequence

from midas_depth_ros.depth.models.dpt_parts import RESIDUAL_UNITS
from midas_depth_ros.depth.models.state_graph import StateGraph


class DptGraph(StateGraph):
    """A graph with the layers of DPT's decoder."""

    def decoder(
        self,
        features: Sequence[str],
        name: str,
        odd: bool = False,
        rectified: bool = False,
        mixed: bool = True,
    ) -> str:
        """From features of three or four strides, finest first, to one map, twice the finest.

        `name`: of its entries. `odd`: the coarsest features have half the size of the next, rounded
        up, and not just half. `rectified` and `mixed`: see `dpt_torch.Decoder`.
        """
        beside = [
            self.conv(value, f'{name}.layer{level}_rn') for level, value in enumerate(features, 1)
        ]
        path = ''
        for level in range(len(features), 0, -1):
            fusion, first, second = f'{name}.refinenet{level}', *RESIDUAL_UNITS
            value = beside[level - 1]
            if path:
                value = self.residual(value, f'{fusion}.{first}', rectified)
                value = self.sum(path, value, f'{fusion}.joined')
            path = self.residual(value, f'{fusion}.{second}', rectified)
            if mixed:
                path = self.conv(path, f'{fusion}.out_conv')
            if odd and level == len(features):
                sides = self.sides(beside[level - 2], f'{fusion}.sides')
                channels = len(self.state[f'{name}.layer{level}_rn.weight'])
                path = self.resized(path, f'{fusion}.up', channels, sides, corners=True)
            else:
                path = self.doubled(path, f'{fusion}.up', corners=True)
        return path

    def residual(self, value: str, name: str, rectified: bool) -> str:
        """Two 3x3 convolutions, each behind its activation, around a shortcut.

        `rectified`: the shortcut carries what the first activation gives, not what it takes.
        """
        active = self.relu(value)
        change = self.conv(self.relu(self.conv(active, f'{name}.conv1')), f'{name}.conv2')
        return self.sum(change, active if rectified else value, f'{name}.sum')

    def head(self, path: str, name: str, output: str, corners: bool = True) -> str:
        """One value per pixel, at least 0, at twice the size; see `dpt_torch.head`."""
        path = self.doubled(self.conv(path, f'{name}.0'), f'{name}.1', corners)
        path = self.relu(self.conv(path, f'{name}.2'))
        return self.add('Relu', [self.conv(path, f'{name}.4')], output)
