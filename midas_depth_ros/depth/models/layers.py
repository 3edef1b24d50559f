"""Convolutions and normalisations in the three forms in which a network needs them.

In: rows that name and size each layer. Out: keys and shapes of the state dict, torch layers under
these names, and operations of an ONNX graph, in which a normalisation is folded into the
convolution before it. Imports torch only where torch layers are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.spec import (
    NORM_ENTRIES,
    Shape,
    Weights,
    conv_shapes,
    norm_shapes,
)
from midas_depth_ros.depth.onnx_files import Graph

NORM_EPSILON = 1e-5  # that batch normalisation adds to the variance, torch's own default
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Convolution:
    """A square convolution from `taken` to `given` channels that keeps the size, but for `stride`.

    `name` is that of its entries in the state dict. Without `padded` the picture loses its border.
    """

    name: str
    taken: int
    given: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    dilation: int = 1
    bias: bool = False
    padded: bool = True

    @property
    def padding(self) -> int:
        return self.dilation * (self.kernel // 2) if self.padded else 0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return self.given, self.taken // self.groups, self.kernel, self.kernel


@dataclass(frozen=True)
class Norm:
    """A batch normalisation."""

    name: str
    channels: int


Layer = Convolution | Norm


def shapes_of(layers: Iterable[Layer]) -> dict[str, Shape]:
    """Keys and shapes of the layers' entries in a state dict."""
    shapes: dict[str, Shape] = {}
    for layer in layers:
        if isinstance(layer, Norm):
            shapes |= norm_shapes(layer.name, layer.channels)
        elif layer.bias:
            shapes |= conv_shapes(layer.name, layer.shape)
        else:
            shapes[f'{layer.name}.weight'] = layer.shape
    return shapes


def add_torch_layers(network: Any, layers: Iterable[Layer]) -> None:
    """Put the layers into a torch module, each under its name in the state dict."""
    from torch import nn

    for layer in layers:
        folder = network
        *folders, last = layer.name.split('.')
        for part in folders:
            if not hasattr(folder, part):
                folder.add_module(part, nn.Module())
            folder = folder.get_submodule(part)
        if isinstance(layer, Norm):
            made: nn.Module = nn.BatchNorm2d(layer.channels, eps=NORM_EPSILON)
        else:
            made = nn.Conv2d(
                layer.taken, layer.given, layer.kernel, layer.stride, layer.padding,
                layer.dilation, layer.groups, layer.bias,
            )  # fmt: skip
        folder.add_module(last, made)


class OnnxLayers:
    """A graph in the making, and the layers and weights of which it is made.

    Values go by name. Folding is done in float64, and what is not finite is refused by the graph.
    """

    def __init__(self, layers: Iterable[Layer], weights: Weights) -> None:
        self.layers = {layer.name: layer for layer in layers if isinstance(layer, Convolution)}
        self.weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
        self.graph = Graph()

    def norm(self, name: str) -> tuple[Numbers, Numbers]:
        """(C,) scale and shift of a batch normalisation."""
        weight, bias, mean, variance = (self.weights[f'{name}.{entry}'] for entry in NORM_ENTRIES)
        scale = weight / np.sqrt(variance + NORM_EPSILON)
        return scale, bias - mean * scale

    def pair(self, conv: str, norm: str) -> tuple[Numbers, Numbers]:
        """Kernel and shift of a convolution and the normalisation after it, as one."""
        scale, shift = self.norm(norm)
        kernel = self.weights[f'{conv}.weight'] * scale[:, np.newaxis, np.newaxis, np.newaxis]
        return kernel, shift + self.weights.get(f'{conv}.bias', 0.0) * scale

    def normed(self, value: str, conv: str, norm: str) -> str:
        """A convolution and the normalisation after it."""
        return self.apply(value, conv, *self.pair(conv, norm), like=conv)

    def conv(self, value: str, name: str, factor: Any = 1.0, shift: Any = None) -> str:
        """A convolution whose output is multiplied by `factor`, one or (C,), with its own bias."""
        kernel = self.weights[f'{name}.weight'] * np.reshape(factor, (-1, 1, 1, 1))
        return self.apply(value, name, kernel, self.weights.get(f'{name}.bias', shift), like=name)

    def apply(
        self,
        value: str,
        name: str,
        kernel: Numbers,
        shift: Numbers | None = None,
        like: str = '',
        groups: int = 1,
    ) -> str:
        """A convolution; stride, groups and padding are those of the layer that it is `like`."""
        layer = self.layers.get(like)
        stride, padding = 1, kernel.shape[-1] // 2
        if layer:
            stride, groups, padding = layer.stride, layer.groups, layer.padding
        inputs = [value, self.graph.weight(f'{name}.kernel', kernel)]
        if shift is not None:
            inputs.append(self.graph.weight(f'{name}.shift', shift))
        return self.graph.add(
            'Conv', inputs, name,
            kernel_shape=kernel.shape[2:], strides=(stride, stride), group=groups,
            pads=(padding,) * 4,
        )  # fmt: skip

    def add(self, first: str, second: str, name: str) -> str:
        return self.graph.add('Add', [first, second], name)

    def relu(self, value: str) -> str:
        return self.graph.add('Relu', [value], f'{value}.relu')

    def doubled(self, value: str, name: str, mode: str) -> str:
        """Twice the sides: `nearest`, or `linear` with corners not aligned."""
        scales = self.graph.weight(f'{name}.scales', np.array([1, 1, 2, 2]))
        how = {'coordinate_transformation_mode': 'half_pixel'}
        if mode == 'nearest':
            how = {'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
        return self.graph.add('Resize', [value, '', scales], name, mode=mode, **how)
