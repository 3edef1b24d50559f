"""ONNX files, written and read with NumPy alone."""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

# --- Writes small ONNX models without the onnx package: nodes and weights in, the file's bytes out.
#
# Only what a feed-forward network of one float32 input and output needs. The numbers below are the
# field numbers of the format's protocol buffers.
#
# Source: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (IR version 7, operator set 13);
# https://protobuf.dev/programming-guides/encoding for how fields become bytes.

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
    ) -> bytes:
        """The whole model, from the input `source` to the output `result`."""
        before = b''.join(_field(1, node) for node in self.nodes) + _field(2, b'graph')
        after = _field(11, _value(source, shape)) + _field(12, _value(result, result_shape))
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


# --- Reads an ONNX model without the onnx package and without trusting it.
#
# In: a file's bytes. Out: its operations, weights, inputs, outputs and metadata, and a fingerprint
# of the network without its weights. Nothing is allocated because the file claims it: a weight is a
# view of its bytes. What `Graph` never writes is named in `unexpected`.

FIXED64 = 1  # a wire type that only other writers use
MOST_FIELDS = 200_000  # of a file; the largest supported network has 5,000
MOST_AXES = 8
LONGEST_VARINT = 10  # bytes
SHOWN, SHOWN_SIDE = 40, 12  # characters of a name, in an error text
# Their inputs decide about sizes and copies: they belong to the network, not to its weights.
CONSTANT_INPUTS = ('Resize', 'Clip', 'ConvTranspose')
ELEMENTS = {1: 'float32', 2: 'uint8', 3: 'int8', 6: 'int32', 7: 'int64', 10: 'float16'}
ANY_SIDE = '?'

Block = memoryview


class NotOnnx(ValueError):
    """The bytes are not an ONNX model that can be read here."""


@dataclass(frozen=True)
class Value:
    """An input or output; `element` is ONNX's number of its type, a side with a name is free."""

    name: str
    element: int
    shape: tuple[Side, ...]

    def __str__(self) -> str:
        sides = ', '.join(str(side)[:SHOWN_SIDE] for side in self.shape)
        kind = ELEMENTS.get(self.element, f'of type {self.element}')
        return f"'{self.name[:SHOWN]}' ({sides}) {kind}"


@dataclass(frozen=True)
class Weight:
    """A constant array, as a view of the file's bytes."""

    name: str
    shape: tuple[int, ...]
    data: memoryview

    def array(self) -> NDArray[np.float32]:
        """The numbers, without a copy."""
        return np.frombuffer(self.data, '<f4').reshape(self.shape)


@dataclass(frozen=True)
class Operation:
    """One operation on named values."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...]


@dataclass
class OnnxModel:
    """A file's content. `unexpected` names a part that `midas_depth export` never writes, or ''."""

    operations: list[Operation] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    operator_sets: list[tuple[str, int]] = field(default_factory=list)
    unexpected: str = ''

    def fingerprint(self) -> str:
        """SHA-256 of the network without its weights; equal for all weights of one network."""
        constants = {
            name
            for operation in self.operations
            if operation.kind in CONSTANT_INPUTS
            for name in operation.inputs[1:]
        }
        network = [
            self.operator_sets,
            [[o.kind, o.inputs, o.outputs, o.attributes] for o in self.operations],
            [[w.name, w.shape, _digest(w) if w.name in constants else ''] for w in self.weights],
            [[v.name, v.element, v.shape] for v in (*self.inputs, *self.outputs)],
        ]
        return hashlib.sha256(json.dumps(network).encode()).hexdigest()


def _digest(weight: Weight) -> str:
    return hashlib.sha256(weight.data).hexdigest()


def read_onnx(content: bytes) -> OnnxModel:
    """Read a model's bytes; raises NotOnnx where they are malformed, or have too many parts."""
    reader = _Reader()
    try:
        reader.read(memoryview(content))
    except (struct.error, UnicodeDecodeError) as error:
        raise NotOnnx(str(error)) from error
    return reader.model


class _Reader:
    """Walks through the messages of a file, and counts their fields."""

    def __init__(self) -> None:
        self.model = OnnxModel()
        self._left = MOST_FIELDS

    def read(self, content: Block) -> None:
        # Field 1 is the version of the format, 2 and 3 name the program that wrote the file.
        found = self._message(content, 'a model', (1, 2, 3, 7, 8, 14))
        if len(found[7]) != 1:
            raise NotOnnx(f'it holds {len(found[7])} graphs')
        for data in found[8]:
            operators = self._message(_block(data))
            version = _number(operators[2][-1]) if operators[2] else 0
            self.model.operator_sets.append((_last_text(operators[1]), version))
        for data in found[14]:
            entry = self._message(_block(data))
            self.model.metadata[_last_text(entry[1])] = _last_text(entry[2])
        graph = self._message(_block(found[7][0]), 'a graph', (1, 2, 5, 11, 12))
        self.model.operations = [self._operation(_block(data)) for data in graph[1]]
        for data in graph[5]:
            self._weight(_block(data))
        named = {weight.name for weight in self.model.weights}  # some writers list them as inputs
        inputs = [self._value(_block(data)) for data in graph[11]]
        self.model.inputs = [value for value in inputs if value.name not in named]
        self.model.outputs = [self._value(_block(data)) for data in graph[12]]

    def _unexpected(self, found: str) -> None:
        self.model.unexpected = self.model.unexpected or found

    def _message(
        self, data: Block, what: str = '', known: Collection[int] = ()
    ) -> defaultdict[int, list[int | Block]]:
        """A message's values by field number; with `what`, an unknown field is unexpected."""
        found: defaultdict[int, list[int | Block]] = defaultdict(list)
        for number, value in self._fields(data):
            found[number].append(value)
            if what and number not in known:
                self._unexpected(f'field {number} of {what}')
        return found

    def _operation(self, data: Block) -> Operation:
        found = self._message(data, 'an operation', (1, 2, 3, 4, 5))  # 3 is its name
        inputs, outputs = (tuple(map(_text, found[number])) for number in (1, 2))
        attributes = sorted((self._attribute(_block(each)) for each in found[5]), key=str)
        return Operation(_last_text(found[4]), inputs, outputs, tuple(attributes))

    def _attribute(self, data: Block) -> tuple[str, Any]:
        name = ''
        found: list[Any] = []
        for number, value in self._fields(data):
            if number == 1:
                name = _text(value)
            elif number == 2:
                found.append(struct.unpack('<f', struct.pack('<I', _number(value)))[0])
            elif number == 4:
                found.append(_text(value))
            elif number in (3, 8, 20):  # a number, one of several, the kind of the attribute
                found.append([number, _number(value)])
            else:
                self._unexpected(f'field {number} of an attribute')
        return name, found

    def _weight(self, data: Block) -> None:
        """Keep the array; it is unexpected if it is not float32 or its numbers are elsewhere."""
        found = self._message(data, 'a weight', (1, 2, 8, 9))
        name = _last_text(found[8])
        shape = tuple(side for side in found[1] if isinstance(side, int))
        if len(shape) < len(found[1]) or len(found[9]) > 1:
            self._unexpected(f'packed sides or several arrays of a weight: {name[:SHOWN]!r}')
        if found[2][-1:] != [FLOAT] or not found[9]:
            self._unexpected(f'a weight that is not float32: {name[:SHOWN]!r}')
            return
        raw = _block(found[9][0])
        if len(shape) > MOST_AXES or math.prod(shape) * 4 != len(raw):
            sides = ' x '.join(map(str, shape[:MOST_AXES]))
            raise NotOnnx(f'weight {name[:SHOWN]!r} says {sides} and has {len(raw)} bytes')
        self.model.weights.append(Weight(name, shape, raw))

    def _value(self, data: Block) -> Value:
        name, element = '', 0
        shape: list[Side] = []
        for number, value in self._fields(data):
            if number == 1:
                name = _text(value)
            elif number == 2:
                tensors = [inner for kind, inner in self._fields(_block(value)) if kind == 1]
                for part, inner in [f for tensor in tensors for f in self._fields(_block(tensor))]:
                    if part == 1:
                        element = _number(inner)
                    else:
                        shape += [self._side(_block(s)) for _, s in self._fields(_block(inner))]
        if len(shape) > MOST_AXES:
            raise NotOnnx(f'value {name[:SHOWN]!r} has {len(shape)} axes')
        return Value(name, element, tuple(shape))

    def _side(self, data: Block) -> Side:
        side: Side = ANY_SIDE
        for number, value in self._fields(data):
            if number == 1:
                side = _number(value)
            elif number == 2:
                side = _text(value)
        return side

    def _fields(self, data: Block) -> Iterator[tuple[int, int | Block]]:
        """(number, value) of each field of a message."""
        place = 0
        while place < len(data):
            self._left -= 1
            if self._left < 0:
                raise NotOnnx(f'it has more than {MOST_FIELDS} parts')
            tag, place = _read_varint(data, place)
            number, wire = tag >> 3, tag & 7
            if wire == VARINT:
                value, place = _read_varint(data, place)
                yield number, value
                continue
            if wire == BYTES:
                length, place = _read_varint(data, place)
            elif wire in (FIXED32, FIXED64):
                length = 4 if wire == FIXED32 else 8
            else:
                raise NotOnnx(f'a field of wire type {wire}')
            block = data[place : place + length]
            if len(block) < length:
                raise NotOnnx(f'a field of {length} bytes, where {len(block)} are left')
            yield number, block if wire == BYTES else int.from_bytes(block, 'little')
            place += length


def _block(value: int | Block) -> Block:
    if isinstance(value, int):
        raise NotOnnx('a number where a block of bytes is expected')
    return value


def _text(value: int | Block) -> str:
    return str(_block(value), 'utf-8')


def _last_text(values: Sequence[int | Block]) -> str:
    """The text of a field that stands once; the last one counts, '' without."""
    return _text(values[-1]) if values else ''


def _number(value: int | Block) -> int:
    if not isinstance(value, int):
        raise NotOnnx('a block of bytes where a number is expected')
    return value


def _read_varint(data: Block, place: int) -> tuple[int, int]:
    """(value, place behind it), the value without a sign."""
    value = 0
    for shift in range(0, 7 * LONGEST_VARINT, 7):
        if place >= len(data):
            break
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if not byte & 0x80:
            return value & (1 << 64) - 1, place
    raise NotOnnx('a number that does not end')
