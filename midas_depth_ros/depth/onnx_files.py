"""Writes small ONNX models without the onnx package: nodes and weights in, the file's bytes out.

Only what a feed-forward network of one float32 input needs. The numbers below are the
field numbers of the format's protocol buffers.

Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (IR version 7, operator set 13);
https://protobuf.dev/programming-guides/encoding for how fields become bytes.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

# OpenCV 4.6 reads what is used here of operator set 13; before it, Resize requires a region.
IR_VERSION, OPERATOR_SET = 7, 13
LAYERED_IR_VERSION, LAYERED = 8, 17  # the first operator set that has LayerNormalization
PRODUCER = 'midas_depth_ros'
VARINT, BYTES, FIXED32 = 0, 2, 5  # wire types
FLOAT = 1  # TensorProto.FLOAT
ATTRIBUTE_KINDS = {'float': 1, 'int': 2, 'text': 3, 'ints': 7}

Attribute = float | int | str | Sequence[int]
MakeArray = Callable[[], NDArray[np.float32]]
Side = int | str  # a name stands for a side that may have any length


@dataclass
class Graph:
    """Builds a network: `add` each operation in order, then call `to_bytes`."""

    nodes: list[bytes] = field(default_factory=list)
    weights: list[tuple[bytes, int, MakeArray]] = field(default_factory=list)  # head, bytes
    operator_set: int = OPERATOR_SET

    def weight(self, name: str, values: np.ndarray | float) -> str:
        """Keep an array, or one number, as float32 under a name; returns the name.

        Raises ValueError where it is not finite: later operations would hide that (Relu turns NaN
        into 0).
        """
        array = _finite(name, values)
        return self.computed(name, array.shape, lambda: array)

    def computed(self, name: str, shape: Sequence[int], make: MakeArray) -> str:
        """A weight of `shape` that `make` gives when the bytes are written; returns the name.

        Of a network with 1.4 GB, no second copy is kept until then.
        """
        tensor = b''.join(_varint_field(1, side) for side in shape)
        length = 4 * math.prod(shape)
        tensor += _varint_field(2, FLOAT) + _field(8, name.encode()) + _head(9, length)
        self.weights.append((tensor, length, lambda: _finite(name, make())))
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Keep int64 numbers, such as a shape, under a name; returns the name.

        As an operation, so that they belong to the network and not to its weights.
        """
        return self.add('Constant', [], name, value_ints=values)

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Attribute) -> str:
        """Add an operation on named values; '' omits an input. Returns its output's name."""
        node = b''.join(_field(1, name.encode()) for name in inputs)
        node += _field(2, output.encode()) + _field(3, output.encode()) + _field(4, kind.encode())
        node += b''.join(_field(5, _attribute(key, value)) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def convolution(
        self,
        value: str,
        name: str,
        kernel: np.ndarray,
        bias: np.ndarray | None,
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
        **attributes: Attribute,
    ) -> str:
        """A convolution by a square kernel (out, in / groups, k, k); `padding` (before, after)."""
        inputs = [value, self.weight(f'{name}.kernel', kernel)]
        if bias is not None:
            inputs.append(self.weight(f'{name}.shift', bias))
        before, after = padding
        return self.add(
            'Conv', inputs, name,
            kernel_shape=kernel.shape[2:], strides=(stride, stride),
            pads=(before, before, after, after), **attributes,
        )  # fmt: skip

    def sum(self, first: str, second: str, name: str) -> str:
        """The sum of two values."""
        return self.add('Add', [first, second], name)

    def relu(self, value: str) -> str:
        """The value, 0 where it is negative."""
        return self.add('Relu', [value], f'{value}.relu')

    def resize(
        self, value: str, name: str, factors: Sequence[float], mode: str, **how: Attribute
    ) -> str:
        """Height and width times two factors; `mode` and `how` are ONNX's attributes of Resize."""
        scales = self.weight(f'{name}.scales', np.array([1, 1, *factors]))
        return self.add('Resize', [value, '', scales], name, mode=mode, **how)

    def to_bytes(
        self,
        source: str,
        shape: Sequence[Side],
        result: str,
        result_shape: Sequence[Side],
        metadata: Mapping[str, str] | None = None,
        further: Mapping[str, Sequence[Side]] | None = None,
    ) -> bytes:
        """The whole model, from the input `source` to the output `result`.

        `further`: outputs after that, shapes by name.
        """
        before = b''.join(_field(1, node) for node in self.nodes) + _field(2, b'graph')
        results = {result: result_shape, **(further or {})}
        after = _field(11, _value(source, shape))
        after += b''.join(_field(12, _value(name, sides)) for name, sides in results.items())
        tensors = [len(tensor) + length for tensor, length, _ in self.weights]
        heads = [_head(5, length) for length in tensors]
        length = len(before) + sum(map(len, heads)) + sum(tensors) + len(after)
        version = LAYERED_IR_VERSION if self.operator_set >= LAYERED else IR_VERSION
        model = io.BytesIO()  # its bytes are taken out without a copy
        model.write(_varint_field(1, version) + _field(2, PRODUCER.encode()))
        model.write(_head(7, length) + before)
        for head, (tensor, _, make) in zip(heads, self.weights, strict=True):
            model.write(head + tensor)
            model.write(np.ascontiguousarray(make()).data)
        operators = _field(1, b'') + _varint_field(2, self.operator_set)
        model.write(after + _field(8, operators))
        for key, text in (metadata or {}).items():
            model.write(_field(14, _field(1, key.encode()) + _field(2, text.encode())))
        return model.getvalue()


def _finite(name: str, values: np.ndarray | float) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    if not np.isfinite(array).all():
        raise ValueError(f'{name} holds NaN or infinity')
    return array


def _value(name: str, shape: Sequence[Side]) -> bytes:
    """A ValueInfoProto: the name, type and shape of a value."""
    sides = b''.join(_field(1, _side(side)) for side in shape)
    tensor = _varint_field(1, FLOAT) + _field(2, sides)
    return _field(1, name.encode()) + _field(2, _field(1, tensor))


def _side(side: Side) -> bytes:
    return _field(2, side.encode()) if isinstance(side, str) else _varint_field(1, side)


def _attribute(name: str, value: Attribute) -> bytes:
    head = _field(1, name.encode())
    if isinstance(value, str):
        return head + _field(4, value.encode()) + _varint_field(20, ATTRIBUTE_KINDS['text'])
    if isinstance(value, float):
        number = _varint(2 << 3 | FIXED32) + struct.pack('<f', value)
        return head + number + _varint_field(20, ATTRIBUTE_KINDS['float'])
    if isinstance(value, int):
        return head + _varint_field(3, value) + _varint_field(20, ATTRIBUTE_KINDS['int'])
    numbers = b''.join(_varint_field(8, number) for number in value)
    return head + numbers + _varint_field(20, ATTRIBUTE_KINDS['ints'])


def _field(number: int, payload: bytes) -> bytes:
    return _head(number, len(payload)) + payload


def _head(number: int, length: int) -> bytes:
    """What stands before a payload of so many bytes."""
    return _varint(number << 3 | BYTES) + _varint(length)


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3 | VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    """Seven bits per byte, the lowest first; all but the last byte have the eighth bit set.

    A negative number is written as that of 64 bits with the same bits.
    """
    value &= (1 << 64) - 1
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded + bytes([value]))
