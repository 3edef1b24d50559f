"""ZipDepth's ONNX graph, made from its state dict as NumPy arrays.

It equals the torch module to rounding, is cheaper where arithmetic allows it, and takes every size
whose sides are multiples of 32. Branches are added up and normalisations folded into one
convolution, and a 1x1 convolution is done where there are fewer places: it commutes with bilinear
enlargement and with means, whose weights sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.spec import NORM_ENTRIES, Weights
from midas_depth_ros.depth.models.zipdepth_layers import (
    EXCHANGED,
    MEAN,
    NEIGHBOURS,
    NORM_EPSILON,
    PIXELS,
    POOLED,
    POOLING,
    STD,
    Convolution,
    half_size_features,
    layers,
)
from midas_depth_ros.depth.onnx_files import Graph

INPUT, OUTPUT = 'picture', 'depth'
# Weights of the two pixels that one place becomes, of the place before, itself and the one behind;
# and the kernel of that along both sides.
NEARER = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
DOUBLING = np.einsum('yi,xj->yxij', NEARER, NEARER).reshape(PIXELS, 1, 3, 3)


def zipdepth_onnx(
    weights: Weights,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> bytes:
    """The model's bytes: (1, 3, h, w) float32, 0..1, to (1, 1, h, w); any size, or `size` only.

    The colours' mean and std are inside. Raises KeyError where an entry of the state dict is
    missing, ValueError where one is not finite.
    """
    do = _OnnxOperations(weights)
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        do.blended(half_size_features(do, INPUT))
    sides = size or ('height', 'width')
    return do.graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


class _OnnxOperations:
    """Notes every operation of `half_size_features`, and the last doubling, in a graph."""

    def __init__(self, weights: Weights) -> None:
        self.weights = {name: np.asarray(array, np.float64) for name, array in weights.items()}
        self.layers = {layer.name: layer for layer in layers() if isinstance(layer, Convolution)}
        self.graph = Graph()

    def colours(self, picture: str) -> str:
        """The mean alone: `_kernel` divides by std."""
        mean = self.weights.get('mean', np.array(MEAN).reshape(1, 3, 1, 1))
        return self.graph.add('Sub', [picture, self.graph.weight('mean', mean)], 'centred')

    def normed(self, value: str, name: str) -> str:
        kernel, shift = self._pair(f'{name}.conv', f'{name}.bn')
        return self._relu(self._apply(value, name, kernel, shift, f'{name}.conv'))

    def branched(self, value: str, name: str) -> str:
        wide, shift = self._pair(f'{name}.branch_3x3.0', f'{name}.branch_3x3.1')
        narrow, more = self._pair(f'{name}.branch_1x1.0', f'{name}.branch_1x1.1')
        layer = self.layers[f'{name}.branch_3x3.0']
        wide[:, :, 1:2, 1:2] += narrow
        if layer.stride == 1:
            wide[:, :, 1, 1] += np.eye(layer.given)  # the picture itself
        return self._relu(self._apply(value, name, wide, shift + more, layer.name))

    def looked_around(self, value: str, name: str) -> str:
        """One 5x5 convolution: the place itself, 3x3 around it, and 3x3 with gaps."""
        scale, shift = self._norm(f'{name}.bn')
        kernel = np.zeros((len(scale), 1, 5, 5))
        kernel[:, :, 1:4, 1:4] = self.weights[f'{name}.branch1.weight']
        kernel[:, :, ::2, ::2] += self.weights[f'{name}.branch2.weight']
        kernel *= scale[:, np.newaxis, np.newaxis, np.newaxis]
        kernel[:, :, 2, 2] += 1
        return self._apply(value, name, kernel, shift, groups=len(scale))

    def gated_by_strips(self, value: str, name: str) -> str:
        strips = [
            self.graph.add('ReduceMean', [value], f'{name}.{strip}', axes=(axis,), keepdims=1)
            for strip, axis in (('rows', 3), ('columns', 2))
        ]
        gate = self._add(strips[0], strips[1], f'{name}.strips')
        kernel, shift = self._pair(f'{name}.gate_conv.0', f'{name}.gate_conv.1')
        gate = self._apply(gate, f'{name}.gate_conv', kernel, shift, f'{name}.gate_conv.0')
        return self._gated(value, gate, name)

    def gated_by_channel(self, value: str, name: str) -> str:
        whole = self.graph.add('GlobalAveragePool', [value], f'{name}.mean')
        whole = self._conv(self._relu(self._conv(whole, f'{name}.fc.0')), f'{name}.fc.2')
        return self._gated(value, whole, name)

    def with_context(self, value: str, name: str) -> str:
        """A softmax over all places without a reshape: a mean of products, by a mean of shares."""
        add = self.graph.add
        shares = self._conv(value, f'{name}.context_weight')
        most = add('GlobalMaxPool', [shares], f'{name}.most')
        shares = add('Exp', [add('Sub', [shares, most], f'{name}.less')], f'{name}.shares')
        products = add('Mul', [value, shares], f'{name}.products')
        means = [
            add('GlobalAveragePool', [factor], f'{factor}.mean') for factor in (products, shares)
        ]
        whole = add('Div', means, f'{name}.whole')
        kernel, shift = self._pair(f'{name}.transform.0', f'{name}.transform.1')
        whole = self._relu(self._apply(whole, f'{name}.transform.0', kernel, shift))
        kernel, shift = (
            self.weights[f'{name}.transform.3.{entry}'] for entry in ('weight', 'bias')
        )
        # OpenCV 5 merges a sum into the convolution before it, and then wants equal sizes.
        change = self._apply(whole, f'{name}.transform.3', -kernel, -shift)
        return add('Sub', [value, change], f'{name}.sum')

    def pyramid(self, value: str, name: str) -> str:
        maps = [self.normed(value, f'{name}.cv1')]
        while len(maps) < POOLED:
            sides = {'kernel_shape': (POOLING,) * 2, 'pads': (POOLING // 2,) * 4}
            wider = f'{name}.wider{len(maps)}'
            maps.append(self.graph.add('MaxPool', [maps[-1]], wider, strides=(1, 1), **sides))
        return self.normed(self.graph.add('Concat', maps, f'{name}.maps', axis=1), f'{name}.cv2')

    def exchanged(self, fine: str, coarse: str, name: str) -> tuple[str, str]:
        up = self._conv(coarse, f'{name}.low_to_high', factor=EXCHANGED)
        up = self._doubled(up, f'{name}.up', 'nearest')
        sides = {'kernel_shape': (2, 2), 'strides': (2, 2)}
        down = self.graph.add('AveragePool', [fine], f'{name}.down', **sides)
        down = self._conv(down, f'{name}.high_to_low', factor=EXCHANGED)
        return self._add(fine, up, f'{name}.fine'), self._add(coarse, down, f'{name}.coarse')

    def fused(self, beside: str, path: str, name: str) -> str:
        scale, shift = self._norm(f'{name}.bn')
        beside = self._conv(beside, f'{name}.proj_high', scale, shift)
        path = self._doubled(self._conv(path, f'{name}.proj_low', scale), f'{name}.up', 'linear')
        return self._relu(self._add(beside, path, f'{name}.sum'))

    def blended(self, features: str) -> str:
        """The network's output: every place becomes 2 x 2 pixels, between sharp and smooth.

        The four pixels are channels till the end: maps of one channel are slow to enlarge.
        """
        add, name, value = self.graph.add, 'decoder.convex_up.where_conv', features
        for first in (0, 3):
            kernel, shift = self._pair(f'{name}.{first}', f'{name}.{first + 1}')
            value = self._apply(value, f'{name}.{first}', kernel, shift, f'{name}.{first}')
            value = self._relu(value)
        value, depth = self._conv(value, f'{name}.6'), self._depth(features)
        # Bilinear doubling is a convolution, divided by how much of its kernel is in the picture.
        nothing, one = (self.graph.weight(f'{n}', np.full((1, 1, 1, 1), n)) for n in (0, 1))
        ones = add('Add', [add('Mul', [depth, nothing], 'nothing'), one], 'ones')
        inside, smooth, sharpness = (
            self._apply(map_, f'{map_}.doubled', DOUBLING, None) for map_ in (ones, depth, value)
        )
        smooth = add('Div', [smooth, inside], 'smooth')
        sharpness = add('Sigmoid', [add('Div', [sharpness, inside], 'logits')], 'sharpness')
        sharp = self._apply(depth, 'sharp', np.ones((PIXELS, 1, 1, 1)), None)
        change = add('Mul', [sharpness, add('Sub', [sharp, smooth], 'edges')], 'change')
        blended = self._relu(self._add(smooth, change, 'blended'))
        return add('DepthToSpace', [blended], OUTPUT, blocksize=2)

    def _depth(self, features: str) -> str:
        """A 3x3 convolution that gives one channel, which is slow: nine of 1x1, moved and added."""
        name = 'decoder.head_half'
        kernel, shift = (self.weights[f'{name}.{entry}'] for entry in ('weight', 'bias'))
        parts = kernel[0].transpose(1, 2, 0).reshape(NEIGHBOURS, -1, 1, 1)
        value = self._apply(features, f'{name}.parts', parts, None)
        moves = np.eye(NEIGHBOURS).reshape(NEIGHBOURS, 1, 3, 3)
        value = self._apply(value, f'{name}.moved', moves, None, groups=NEIGHBOURS)
        return self._apply(value, name, np.ones((1, NEIGHBOURS, 1, 1)), shift)

    def _pair(self, conv: str, norm: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Kernel and shift of a convolution and the normalisation after it, as one."""
        scale, shift = self._norm(norm)
        kernel = self._kernel(conv) * scale[:, np.newaxis, np.newaxis, np.newaxis]
        return kernel, shift + self.weights.get(f'{conv}.bias', 0.0) * scale

    def _kernel(self, conv: str) -> NDArray[np.float64]:
        kernel = self.weights[f'{conv}.weight']
        if conv == 'encoder.stem_half.conv':
            kernel = kernel / self.weights.get('std', np.array(STD).reshape(1, 3, 1, 1))
        return kernel

    def _norm(self, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(C,) scale and shift of a batch normalisation."""
        weight, bias, mean, variance = (self.weights[f'{name}.{entry}'] for entry in NORM_ENTRIES)
        scale = weight / np.sqrt(variance + NORM_EPSILON)
        return scale, bias - mean * scale

    def _conv(self, value: str, name: str, factor: Any = 1.0, shift: Any = None) -> str:
        """A convolution whose output is multiplied by `factor`, one or (C,), with its own bias."""
        kernel = self.weights[f'{name}.weight'] * np.reshape(factor, (-1, 1, 1, 1))
        return self._apply(value, name, kernel, self.weights.get(f'{name}.bias', shift), name)

    def _apply(
        self,
        value: str,
        name: str,
        kernel: NDArray[np.float64],
        shift: NDArray[np.float64] | None,
        like: str = '',
        groups: int = 1,
    ) -> str:
        """A convolution; stride and groups are those of the layer that it is `like`."""
        layer = self.layers.get(like)
        stride, groups = (layer.stride, layer.groups) if layer else (1, groups)
        inputs = [value, self.graph.weight(f'{name}.kernel', kernel)]
        if shift is not None:
            inputs.append(self.graph.weight(f'{name}.shift', shift))
        return self.graph.add(
            'Conv', inputs, name,
            kernel_shape=kernel.shape[2:], strides=(stride, stride), group=groups,
            pads=(kernel.shape[-1] // 2,) * 4,
        )  # fmt: skip

    def _gated(self, value: str, gate: str, name: str) -> str:
        gate = self.graph.add('Sigmoid', [gate], f'{name}.gate')
        return self.graph.add('Mul', [value, gate], f'{name}.gated')

    def _add(self, first: str, second: str, name: str) -> str:
        return self.graph.add('Add', [first, second], name)

    def _relu(self, value: str) -> str:
        return self.graph.add('Relu', [value], f'{value}.relu')

    def _doubled(self, value: str, name: str, mode: str) -> str:
        scales = self.graph.weight(f'{name}.scales', np.array([1, 1, 2, 2]))
        how = {'coordinate_transformation_mode': 'half_pixel'}
        if mode == 'nearest':
            how = {'coordinate_transformation_mode': 'asymmetric', 'nearest_mode': 'floor'}
        return self.graph.add('Resize', [value, '', scales], name, mode=mode, **how)
