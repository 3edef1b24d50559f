"""The ResNet of DPT-Hybrid as part of an ONNX graph; see `dpt_vit_torch.py`.

Its kernels are standardised here, and group norms are composed of means.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.dpt_graph import DptGraph

Numbers = NDArray[np.float32]

GROUPS = 32  # of a group normalisation
GROUP_NORM_EPSILON = 1e-5
STANDARDISING_EPSILON = 1e-8  # that is added to the variance of a kernel


class ResNetGraph(DptGraph):
    """A graph with that ResNet, and DPT's decoder."""

    def resnet(self, picture: str, name: str, stages: Sequence[int]) -> list[str]:
        """What each stage gives; `stages`: how many blocks each has."""
        value = self.standardised(picture, f'{name}.stem.conv', stride=2)
        value = self.relu(self.group_normed(value, f'{name}.stem.norm'))
        sides = {'kernel_shape': (3, 3), 'strides': (2, 2), 'pads': (0, 0, 1, 1)}
        value = self.add('MaxPool', [value], f'{name}.stem.pool', **sides)
        found = []
        for stage, count in enumerate(stages):
            for number in range(count):
                block, stride = f'{name}.stages.{stage}.blocks.{number}', 2
                if number or not stage:
                    stride = 1
                value = self.bottleneck(value, block, stride)
            found.append(value)
        return found

    def bottleneck(self, value: str, name: str, stride: int) -> str:
        """Three convolutions around a shortcut."""
        change = self.standardised(value, f'{name}.conv1')
        change = self.relu(self.group_normed(change, f'{name}.norm1'))
        change = self.standardised(change, f'{name}.conv2', stride)
        change = self.relu(self.group_normed(change, f'{name}.norm2'))
        change = self.group_normed(self.standardised(change, f'{name}.conv3'), f'{name}.norm3')
        shortcut = f'{name}.downsample'
        if f'{shortcut}.conv.weight' in self.state:
            value = self.standardised(value, f'{shortcut}.conv', stride)
            value = self.group_normed(value, f'{shortcut}.norm')
        return self.relu(self.sum(change, value, f'{name}.sum'))

    def standardised(self, value: str, name: str, stride: int = 1) -> str:
        """A convolution by kernels of mean 0 and variance 1; odd padding lies behind."""
        kernel = standardised_kernel(self.entry(f'{name}.weight'))
        padding = max(kernel.shape[-1] - stride, 0)
        sides = padding // 2, padding - padding // 2
        return self.convolution(value, name, kernel, None, stride, sides)

    def group_normed(self, value: str, name: str) -> str:
        """The mean and variance of a group of channels go; weight and bias are those of each.

        Nothing of a picture's size is laid out anew, and the last step is the official network's:
        a factor and a shift for each channel, rounded as there.
        """
        add, channels = self.add, len(self.state[f'{name}.weight'])
        mean = self.group_mean(value, f'{name}.mean', channels)
        apart = add('Sub', [value, mean], f'{name}.apart')
        square = add('Mul', [apart, apart], f'{name}.square')
        variance = self.group_mean(square, f'{name}.variance', channels)
        epsilon = self.constant(f'{GROUP_NORM_EPSILON:g}', GROUP_NORM_EPSILON)
        root = add('Sqrt', [self.sum(variance, epsilon, f'{name}.more')], f'{name}.root')
        weight, bias = (
            self.weight(f'{name}.{what}', self.entry(f'{name}.{what}').reshape(1, -1, 1, 1))
            for what in ('weight', 'bias')
        )
        factor = add('Div', [weight, root], f'{name}.factor')
        moved = add('Mul', [mean, factor], f'{name}.moved')
        shift = add('Sub', [bias, moved], f'{name}.shift')
        return self.sum(add('Mul', [value, factor], f'{name}.scaled'), shift, name)

    def group_mean(self, value: str, name: str, channels: int) -> str:
        """The mean of each group of channels, for each channel: (1, C, 1, 1)."""
        sides = (1, GROUPS, channels // GROUPS, 1)
        for axis in (3, 2):  # row by row: so float32 loses less
            each = f'{name}.along_{axis}'
            value = self.add('ReduceMean', [value], each, axes=(axis,), keepdims=1)
        groups = self.reshaped(value, f'{name}.groups', sides)
        mean = self.add('ReduceMean', [groups], f'{name}.of_group', axes=(2,), keepdims=1)
        mean = self.add('Expand', [mean, self.integers(f'{name}.sides', sides)], f'{name}.each')
        return self.reshaped(mean, name, (1, channels, 1, 1))


def standardised_kernel(kernel: Numbers) -> Numbers:
    """A kernel (given, ...) whose parts have mean 0 and variance 1 each.

    It rounds where the official network does, since DPT-Hybrid makes much of it: exact kernels move
    the depth by 2e-4 of its spread.
    """
    rows = kernel.reshape(len(kernel), -1)
    mean = rows.mean(1, np.float64, keepdims=True).astype(np.float32)
    squares = np.square(rows - mean).sum(1, np.float64, keepdims=True).astype(np.float32)
    variance = squares / np.float32(rows.shape[1])
    factor = (1 / np.sqrt(variance.astype(np.float64) + STANDARDISING_EPSILON)).astype(np.float32)
    found = rows.astype(np.float64) * factor - mean * factor  # one rounding
    return found.astype(np.float32).reshape(kernel.shape)
