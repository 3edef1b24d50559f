"""The ResNet of DPT-Hybrid as part of an ONNX graph; see `dpt_vit_torch.py`.

Its kernels are standardised here. A group norm is an instance norm of the features as rows, one for
each group, and a factor and shift for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.dpt_graph import DptGraph
from midas_depth_ros.depth.models.state_graph import REST

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
        """The mean and variance of a group of channels go; weight and bias are those of each."""
        weight, bias = self.entry(f'{name}.weight'), self.entry(f'{name}.bias')
        rows = self.reshaped(value, f'{name}.rows', (1, GROUPS, REST))
        ones, zeros = (self.weight(f'{name}.{what}', np.full(GROUPS, what)) for what in (1, 0))
        rows = self.add(
            'InstanceNormalization', [rows, ones, zeros], f'{name}.normal',
            epsilon=GROUP_NORM_EPSILON,
        )  # fmt: skip
        shape = self.add('Shape', [value], f'{name}.shape')
        value = self.add('Reshape', [rows, shape], f'{name}.features')
        channel = (1, -1, 1, 1)
        factor = self.weight(f'{name}.factor', weight.reshape(channel))
        value = self.add('Mul', [value, factor], f'{name}.scaled')
        return self.sum(value, self.weight(f'{name}.shift', bias.reshape(channel)), name)


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
