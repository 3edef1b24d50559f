"""ZipDepth's ONNX graph, made from its state dict as NumPy arrays.

It equals the torch module to rounding, is cheaper where arithmetic allows it, and takes every size
whose sides are multiples of 32. Branches are added up and normalisations folded into one
convolution, and a 1x1 convolution is done where there are fewer places: it commutes with bilinear
enlargement and with means, whose weights sum to 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from midas_depth_ros.depth.models.layers import OnnxLayers
from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.models.zipdepth_layers import (
    EXCHANGED,
    MEAN,
    NEIGHBOURS,
    PIXELS,
    POOLED,
    POOLING,
    STD,
    half_size_features,
    layers,
)

INPUT, OUTPUT = 'picture', 'depth'
# Weights of the two pixels that one place becomes, of the place before, itself and the one behind;
# and the kernel of that along both sides.
NEARER = np.array([[0.25, 0.75, 0.0], [0.0, 0.75, 0.25]])
DOUBLING = np.einsum('yi,xj->yxij', NEARER, NEARER).reshape(PIXELS, 1, 3, 3)


def zipdepth_onnx(
    weights: Weights,
    size: tuple[int, int] | None = None,
    metadata: Mapping[str, str] | None = None,
    convex: bool = False,
) -> bytes:
    """The model's bytes: (1, 3, h, w) float32, 0..1, to (1, 1, h, w); any size, or `size` only.

    `convex`: of the network with convex upsampling. The colours' mean and std are inside. Raises
    KeyError where an entry of the state dict is missing, ValueError where one is not finite.
    """
    do = _Operations(weights, convex)
    with np.errstate(all='ignore'):  # the graph refuses what is no number
        features = half_size_features(do, INPUT)
        pixels = do.convex(features) if convex else do.blended(features)
        do.graph.add('DepthToSpace', [do.relu(pixels)], OUTPUT, blocksize=2)
    sides = size or ('height', 'width')
    return do.graph.to_bytes(INPUT, (1, 3, *sides), OUTPUT, (1, 1, *sides), metadata)


class _Operations(OnnxLayers):
    """Notes every operation of `half_size_features`, and the last doubling, in a graph."""

    def __init__(self, weights: Weights, convex: bool) -> None:
        super().__init__(layers(convex), weights)
        # Where a file does not say them, they are those that the module has.
        mean, std = (
            self.weights.get(name, np.reshape(values, (1, 3, 1, 1)))
            for name, values in (('mean', MEAN), ('std', STD))
        )
        self.mean = self.graph.weight('mean', mean)
        stem = 'encoder.stem_half.conv.weight'
        self.weights[stem] = self.weights[stem] / std

    def colours(self, picture: str) -> str:
        """Less their mean; the first convolution divides by std."""
        return self.graph.add('Sub', [picture, self.mean], 'centred')

    def block(self, value: str, name: str) -> str:
        return self.relu(self.normed(value, f'{name}.conv', f'{name}.bn'))

    def branched(self, value: str, name: str) -> str:
        wide, shift = self.pair(f'{name}.branch_3x3.0', f'{name}.branch_3x3.1')
        narrow, more = self.pair(f'{name}.branch_1x1.0', f'{name}.branch_1x1.1')
        layer = self.layers[f'{name}.branch_3x3.0']
        wide[:, :, 1:2, 1:2] += narrow
        if layer.stride == 1:
            wide[:, :, 1, 1] += np.eye(layer.given)  # the picture itself
        return self.relu(self.apply(value, name, wide, shift + more, layer.name))

    def looked_around(self, value: str, name: str) -> str:
        """One 5x5 convolution: the place itself, 3x3 around it, and 3x3 with gaps."""
        scale, shift = self.norm(f'{name}.bn')
        kernel = np.zeros((len(scale), 1, 5, 5))
        kernel[:, :, 1:4, 1:4] = self.weights[f'{name}.branch1.weight']
        kernel[:, :, ::2, ::2] += self.weights[f'{name}.branch2.weight']
        kernel *= scale[:, np.newaxis, np.newaxis, np.newaxis]
        kernel[:, :, 2, 2] += 1
        return self.apply(value, name, kernel, shift, groups=len(scale))

    def gated_by_strips(self, value: str, name: str) -> str:
        strips = [
            self.graph.add('ReduceMean', [value], f'{name}.{strip}', axes=(axis,), keepdims=1)
            for strip, axis in (('rows', 3), ('columns', 2))
        ]
        gate = self.add(strips[0], strips[1], f'{name}.strips')
        gate = self.normed(gate, f'{name}.gate_conv.0', f'{name}.gate_conv.1')
        return self._gated(value, gate, name)

    def gated_by_channel(self, value: str, name: str) -> str:
        whole = self.graph.add('GlobalAveragePool', [value], f'{name}.mean')
        whole = self.conv(self.relu(self.conv(whole, f'{name}.fc.0')), f'{name}.fc.2')
        return self._gated(value, whole, name)

    def with_context(self, value: str, name: str) -> str:
        """A softmax over all places without a reshape: a mean of products, by a mean of shares."""
        add = self.graph.add
        shares = self.conv(value, f'{name}.context_weight')
        most = add('GlobalMaxPool', [shares], f'{name}.most')
        shares = add('Exp', [add('Sub', [shares, most], f'{name}.less')], f'{name}.shares')
        products = add('Mul', [value, shares], f'{name}.products')
        means = [
            add('GlobalAveragePool', [factor], f'{factor}.mean') for factor in (products, shares)
        ]
        whole = add('Div', means, f'{name}.whole')
        whole = self.relu(self.normed(whole, f'{name}.transform.0', f'{name}.transform.1'))
        kernel, shift = (
            self.weights[f'{name}.transform.3.{entry}'] for entry in ('weight', 'bias')
        )
        # OpenCV 5 merges a sum into the convolution before it, and then wants equal sizes.
        change = self.apply(whole, f'{name}.transform.3', -kernel, -shift)
        return add('Sub', [value, change], f'{name}.sum')

    def pyramid(self, value: str, name: str) -> str:
        maps = [self.block(value, f'{name}.cv1')]
        while len(maps) < POOLED:
            sides = {'kernel_shape': (POOLING,) * 2, 'pads': (POOLING // 2,) * 4}
            wider = f'{name}.wider{len(maps)}'
            maps.append(self.graph.add('MaxPool', [maps[-1]], wider, strides=(1, 1), **sides))
        return self.block(self.graph.add('Concat', maps, f'{name}.maps', axis=1), f'{name}.cv2')

    def exchanged(self, fine: str, coarse: str, name: str) -> tuple[str, str]:
        up = self.conv(coarse, f'{name}.low_to_high', factor=EXCHANGED)
        up = self.doubled(up, f'{name}.up', 'nearest')
        sides = {'kernel_shape': (2, 2), 'strides': (2, 2)}
        down = self.graph.add('AveragePool', [fine], f'{name}.down', **sides)
        down = self.conv(down, f'{name}.high_to_low', factor=EXCHANGED)
        return self.add(fine, up, f'{name}.fine'), self.add(coarse, down, f'{name}.coarse')

    def fused(self, beside: str, path: str, name: str) -> str:
        scale, shift = self.norm(f'{name}.bn')
        beside = self.conv(beside, f'{name}.proj_high', scale, shift)
        path = self.doubled(self.conv(path, f'{name}.proj_low', scale), f'{name}.up', 'linear')
        return self.relu(self.add(beside, path, f'{name}.sum'))

    def blended(self, features: str) -> str:
        """(1, 4, H/2, W/2), the 2 x 2 pixels of every place, each between sharp and smooth.

        As channels, since maps of one channel are slow to enlarge.
        """
        add, name, value = self.graph.add, 'decoder.convex_up.where_conv', features
        for first in (0, 3):
            value = self.relu(self.normed(value, f'{name}.{first}', f'{name}.{first + 1}'))
        value, depth = self.conv(value, f'{name}.6'), self._depth(features)
        # Bilinear doubling is a convolution, divided by how much of its kernel is in the picture.
        nothing, one = (self.graph.weight(f'{n}', np.full((1, 1, 1, 1), n)) for n in (0, 1))
        ones = add('Add', [add('Mul', [depth, nothing], 'nothing'), one], 'ones')
        inside, smooth, sharpness = (
            self.apply(map_, f'{map_}.doubled', DOUBLING, None) for map_ in (ones, depth, value)
        )
        smooth = add('Div', [smooth, inside], 'smooth')
        sharpness = add('Sigmoid', [add('Div', [sharpness, inside], 'logits')], 'sharpness')
        sharp = self.apply(depth, 'sharp', np.ones((PIXELS, 1, 1, 1)), None)
        change = add('Mul', [sharpness, add('Sub', [sharp, smooth], 'edges')], 'change')
        return self.add(smooth, change, 'blended')

    def convex(self, features: str) -> str:
        """(1, 4, H/2, W/2), the 2 x 2 pixels of every place, each a mean of the 3 x 3 around."""
        add, name = self.graph.add, 'decoder.convex_up.mask_pred'
        value = self.relu(self.normed(features, f'{name}.0', f'{name}.1'))
        kernel, shift = (  # pixel by pixel, which in the file is neighbour by neighbour
            array.reshape(NEIGHBOURS, PIXELS, -1).swapaxes(0, 1)
            for array in (self.weights[f'{name}.3.{entry}'] for entry in ('weight', 'bias'))
        )
        flat = kernel.reshape(NEIGHBOURS * PIXELS, -1, 1, 1)
        value = self.apply(value, f'{name}.3', flat, shift.reshape(-1))
        value = self._reshaped(value, 'by_pixel', (PIXELS, NEIGHBOURS))
        shares = add('Softmax', [value], 'shares', axis=1)
        border = add('Constant', [], 'border', value_ints=(0, 0, 1, 1, 0, 0, 1, 1))
        depth = add('Pad', [self._depth(features), border], 'padded', mode='edge')
        moves = self.graph.weight('moves', np.eye(NEIGHBOURS).reshape(NEIGHBOURS, 1, 3, 3))
        places = add('Conv', [depth, moves], 'places', kernel_shape=(3, 3))
        products = add('Mul', [shares, places], 'products')  # (4, 9, H/2, W/2)
        pixels = self.apply(products, 'pixels', np.ones((1, NEIGHBOURS, 1, 1)))
        return self._reshaped(pixels, 'convex', (1, PIXELS))

    def _reshaped(self, value: str, name: str, sides: tuple[int, int]) -> str:
        """Batch and channels become `sides`; height and width stay."""
        shape = self.graph.add('Constant', [], f'{name}.shape', value_ints=(*sides, 0, 0))
        return self.graph.add('Reshape', [value, shape], name)

    def _depth(self, features: str) -> str:
        """A 3x3 convolution that gives one channel, which is slow: nine of 1x1, moved and added."""
        name = 'decoder.head_half'
        kernel, shift = (self.weights[f'{name}.{entry}'] for entry in ('weight', 'bias'))
        parts = kernel[0].transpose(1, 2, 0).reshape(NEIGHBOURS, -1, 1, 1)
        value = self.apply(features, f'{name}.parts', parts, None)
        moves = np.eye(NEIGHBOURS).reshape(NEIGHBOURS, 1, 3, 3)
        value = self.apply(value, f'{name}.moved', moves, None, groups=NEIGHBOURS)
        return self.apply(value, name, np.ones((1, NEIGHBOURS, 1, 1)), shift)

    def _gated(self, value: str, gate: str, name: str) -> str:
        gate = self.graph.add('Sigmoid', [gate], f'{name}.gate')
        return self.graph.add('Mul', [value, gate], f'{name}.gated')
