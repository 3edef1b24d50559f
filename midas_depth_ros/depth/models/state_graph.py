"""Layers of an ONNX graph by the names of their entries in a state dict, made with NumPy alone.

What transformers need beside convolutions is here: linear layers, norms, GELU, attention. Values go
by name; shapes in comments: B = 1 pictures, C channels, (h, w) patches, N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.models.spec import Weights
from midas_depth_ros.depth.onnx_files import LAYERED, Graph

Numbers = NDArray[np.float32]

REST = -1  # in a shape: what is left
SAME = 0  # in a shape: as before


class StateGraph(Graph):
    """A graph in the making, and the state dict of which it is made: KeyError for a missing entry.

    An operation's name is that of its entries where it has any; the others are named by the caller.
    """

    def __init__(self, weights: Weights, operator_set: int = LAYERED) -> None:
        super().__init__(operator_set=operator_set)
        self.state = weights
        self._ones: dict[int, str] = {}
        self._constants: set[str] = set()

    def entry(self, name: str) -> Numbers:
        """An entry of the state dict."""
        return np.asarray(self.state[name], np.float32)

    def bias(self, name: str) -> Numbers | None:
        """The bias of a layer; None where it has none."""
        return self.entry(f'{name}.bias') if f'{name}.bias' in self.state else None

    # --- Shapes.

    def reshaped(self, value: str, name: str, sides: Sequence[int]) -> str:
        """`sides` may be SAME and, once, REST."""
        return self.add('Reshape', [value, self.integers(f'{name}.shape', sides)], name)

    def transposed(self, value: str, name: str, order: Sequence[int]) -> str:
        return self.add('Transpose', [value], name, perm=order)

    def sides(self, value: str, name: str, axes: Sequence[int] = (2, 3)) -> str:
        """(2,) int64: the length of some axes, here height and width of features."""
        shape = self.add('Shape', [value], f'{name}.whole')
        return self.add('Gather', [shape, self.integers(f'{name}.axes', axes)], name, axis=0)

    def sliced(self, value: str, name: str, first: int, last: int, axis: int = 1) -> str:
        """From `first` to before `last` along an axis."""
        ends = [
            self.integers(f'{name}.{what}', [number])
            for what, number in (('first', first), ('last', last), ('axis', axis))
        ]
        return self.add('Slice', [value, *ends], name)

    def joined(self, values: Sequence[str], name: str, axis: int) -> str:
        return self.add('Concat', values, name, axis=axis)

    def resized(self, value: str, name: str, channels: int, sides: str, corners: bool) -> str:
        """Bilinear, (1, `channels`, ., .) to `sides`, (2,) int64."""
        first = self.integers(f'{name}.first', (1, channels))
        sizes = self.joined([first, sides], f'{name}.sizes', axis=0)
        how = 'align_corners' if corners else 'half_pixel'
        return self.add(
            'Resize', [value, '', '', sizes], name,
            mode='linear', coordinate_transformation_mode=how,
        )  # fmt: skip

    def doubled(self, value: str, name: str, corners: bool) -> str:
        """Bilinear, twice the height and width."""
        how = 'align_corners' if corners else 'half_pixel'
        return self.resize(value, name, [2, 2], 'linear', coordinate_transformation_mode=how)

    # --- Convolutions.

    def conv(self, value: str, name: str, stride: int = 1, groups: int = 1) -> str:
        """A convolution that keeps the size but for `stride`, which a patch's kernel may equal."""
        kernel = self.entry(f'{name}.weight')
        side = kernel.shape[-1]
        padding = 0 if side == stride else side // 2
        return self.convolution(
            value, name, kernel, self.bias(name), stride, (padding, padding), group=groups
        )

    def enlarged(self, value: str, name: str) -> str:
        """A transposed convolution whose stride is the side of its kernel: (taken, given, k, k).

        As a 1x1 convolution, and a move of its channels to places.
        """
        kernel, bias = self.entry(f'{name}.weight'), self.bias(name)
        side = kernel.shape[2]
        flat = kernel.reshape(len(kernel), -1).T[..., np.newaxis, np.newaxis]
        many = None if bias is None else np.repeat(bias, side * side)
        value = self.convolution(value, f'{name}.places', flat, many)
        return self.add('DepthToSpace', [value], name, blocksize=side, mode='CRD')

    def doubled_by(self, value: str, name: str, kernel: Numbers, bias: Numbers | None) -> str:
        """A transposed convolution (taken, given, 3, 3) of stride 2, padding 1, output padding 1.

        As a 2x2 convolution that gives the 2 x 2 places of each, and a move of its channels to
        places.
        """
        taken, given = kernel.shape[:2]
        # Of the place itself and the one behind: (given, even or odd place, taken, 2).
        rows = np.zeros((given, 2, 2, taken, 2, 2), np.float32)
        for row, above, ky in ((0, 0, 1), (1, 0, 2), (1, 1, 0)):
            for column, left, kx in ((0, 0, 1), (1, 0, 2), (1, 1, 0)):
                rows[:, row, column, :, above, left] = kernel[:, :, ky, kx].T
        many = None if bias is None else np.repeat(bias, 4)
        flat = rows.reshape(4 * given, taken, 2, 2)
        value = self.convolution(value, f'{name}.places', flat, many, padding=(0, 1))
        return self.add('DepthToSpace', [value], name, blocksize=2, mode='CRD')

    # --- Tokens, (1, N, C).

    def linear(self, value: str, name: str, norm: str = '', factor: Numbers | None = None) -> str:
        """A linear layer (given, taken).

        `norm`: the layer norm before it, of which `normed` leaves its weight and bias to this
        layer. `factor`: by which its output is multiplied, (given,).
        """
        kernel, bias = self.entry(f'{name}.weight'), self.bias(name)
        if kernel.ndim == 4:  # a 1x1 convolution
            kernel = kernel[:, :, 0, 0]
        return self.matrix(value, name, kernel, bias, norm, factor)

    def matrix(
        self,
        value: str,
        name: str,
        kernel: Numbers,
        bias: Numbers | None,
        norm: str = '',
        factor: Numbers | None = None,
    ) -> str:
        """`linear`, by a kernel (given, taken) and a bias (given,)."""
        if norm:
            shift = kernel @ self.entry(f'{norm}.bias')
            bias = shift if bias is None else bias + shift
        if factor is not None and bias is not None:
            bias = bias * factor

        def made() -> Numbers:
            changed = kernel
            if norm:
                changed = changed * self.entry(f'{norm}.weight')
            if factor is not None:
                changed = changed * factor[:, np.newaxis]
            return changed.T

        given, taken = kernel.shape
        inputs = [value, self.computed(f'{name}.kernel', (taken, given), made)]
        value = self.add('MatMul', inputs, name if bias is None else f'{name}.product')
        if bias is None:
            return value
        return self.sum(value, self.weight(f'{name}.shift', bias), name)

    def normed(self, value: str, name: str, channels: int, epsilon: float) -> str:
        """A layer norm without its weight and bias: see `linear`."""
        if channels not in self._ones:
            self._ones[channels] = self.weight(f'ones.{channels}', np.ones(channels))
        inputs = [value, self._ones[channels]]
        return self.add('LayerNormalization', inputs, name, axis=REST, epsilon=epsilon)

    def layer_norm(self, value: str, name: str, epsilon: float) -> str:
        """A layer norm."""
        inputs = [
            value,
            *(self.weight(f'{name}.{entry}', self.entry(f'{name}.{entry}'))
              for entry in ('weight', 'bias')),
        ]  # fmt: skip
        return self.add('LayerNormalization', inputs, name, axis=REST, epsilon=epsilon)

    def gelu(self, value: str) -> str:
        """The exact one, as the libraries know it: x (1 + erf(x / sqrt 2)) / 2."""
        name = f'{value}.gelu'
        root, one, half = (
            self.constant(f'{number:g}', number) for number in (math.sqrt(2), 1.0, 0.5)
        )
        part = self.add('Erf', [self.add('Div', [value, root], f'{name}.root')], f'{name}.erf')
        part = self.add('Mul', [value, self.sum(part, one, f'{name}.one')], f'{name}.product')
        return self.add('Mul', [part, half], name)

    def constant(self, name: str, number: float) -> str:
        """A number that belongs to the network, not to its weights; the same name may come again.

        As a weight, a metric network's farthest depth could be any other in a file that passes.
        """
        if name not in self._constants:
            self._constants.add(name)
            self.add('Constant', [], name, value_float=float(number))
        return name

    def attention(
        self, query: str, key: str, value: str, name: str, scale: float, bias: str = ''
    ) -> str:
        """Queries (1, heads, N, part), keys as (1, heads, part, N), values: (1, heads, N, .)."""
        likeness = self.add('MatMul', [query, key], f'{name}.likeness')
        if scale != 1:
            factor = self.constant(f'scale {scale:g}', scale)
            likeness = self.add('Mul', [likeness, factor], f'{name}.scaled')
        if bias:
            likeness = self.sum(likeness, bias, f'{name}.biased')
        shares = self.add('Softmax', [likeness], f'{name}.shares', axis=3)
        return self.add('MatMul', [shares, value], f'{name}.mixed')
