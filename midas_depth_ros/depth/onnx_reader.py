"""Reads what an ONNX model says of itself, without the onnx package and without trusting it.

In: a file's bytes. Out: its operations, weights, inputs, outputs and metadata, and a fingerprint
of the network without its weights. Nothing is allocated by what the file merely claims: a weight
is a view of bytes that are there. What `onnx_writer` never writes is named in `odd`.

Source: as of `onnx_writer`, whose field numbers these are.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.onnx_writer import BYTES, FIXED32, FLOAT, VARINT, Side

FIXED64 = 1  # a wire type that only other writers use
MOST_FIELDS = 200_000  # of a file; the largest network of ours has 5,000
MOST_AXES = 8
LONGEST_VARINT = 10  # bytes
SHOWN, SHOWN_SIDE = 40, 12  # characters of a name, in an error text
# Inputs of these decide about sizes and copies: they belong to the network, not to its weights.
CONSTANT_INPUTS = ('Resize', 'Clip', 'ConvTranspose')
ELEMENTS = {1: 'float32', 2: 'uint8', 3: 'int8', 6: 'int32', 7: 'int64', 10: 'float16'}
ANY_SIDE = '?'

Block = memoryview


class NotOnnx(ValueError):
    """The bytes are no ONNX model that can be read here."""


@dataclass(frozen=True)
class Value:
    """An input or output: `element` as ONNX numbers types; a name stands for a free side."""

    name: str
    element: int
    shape: tuple[Side, ...]

    def __str__(self) -> str:
        sides = ', '.join(str(side)[:SHOWN_SIDE] for side in self.shape)
        kind = ELEMENTS.get(self.element, f'of type {self.element}')
        return f"'{self.name[:SHOWN]}' ({sides}) {kind}"


@dataclass(frozen=True)
class Weight:
    """A constant array, as its bytes lie in the file."""

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
    """What a file says. `odd` is '', or what in it no export of ours has."""

    operations: list[Operation] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    operator_sets: list[tuple[str, int]] = field(default_factory=list)
    odd: str = ''

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
    """Read a model's bytes; raises NotOnnx where they are none, or more than any network needs."""
    reader = _Reader()
    try:
        reader.read(memoryview(content))
    except (struct.error, UnicodeDecodeError) as error:
        raise NotOnnx(str(error)) from error
    return reader.model


class _Reader:
    """Walks through the messages of a file, and counts what it meets."""

    def __init__(self) -> None:
        self.model = OnnxModel()
        self._left = MOST_FIELDS

    def read(self, content: Block) -> None:
        graphs = 0
        for number, value in self._fields(content):
            if number == 7:
                graphs += 1
                self._graph(_block(value))
            elif number == 8:
                self.model.operator_sets.append(self._operator_set(_block(value)))
            elif number == 14:
                key, text = self._entry(_block(value))
                self.model.metadata[key] = text
            elif number not in (1, 2, 3):  # the format's version; who wrote it
                self._odd(f'field {number} of a model')
        if graphs != 1:
            raise NotOnnx(f'it holds {graphs} graphs')
        named = {weight.name for weight in self.model.weights}  # which some list as inputs, too
        self.model.inputs = [value for value in self.model.inputs if value.name not in named]

    def _odd(self, found: str) -> None:
        self.model.odd = self.model.odd or found

    def _graph(self, graph: Block) -> None:
        for number, value in self._fields(graph):
            if number == 1:
                self.model.operations.append(self._operation(_block(value)))
            elif number == 5:
                self._weight(_block(value))
            elif number == 11:
                self.model.inputs.append(self._value(_block(value)))
            elif number == 12:
                self.model.outputs.append(self._value(_block(value)))
            elif number != 2:  # its name
                self._odd(f'field {number} of a graph')

    def _operation(self, data: Block) -> Operation:
        kind = ''
        inputs: list[str] = []
        outputs: list[str] = []
        attributes: list[tuple[str, Any]] = []
        for number, value in self._fields(data):
            if number == 1:
                inputs.append(_text(value))
            elif number == 2:
                outputs.append(_text(value))
            elif number == 4:
                kind = _text(value)
            elif number == 5:
                attributes.append(self._attribute(_block(value)))
            elif number != 3:  # its name
                self._odd(f'field {number} of an operation')
        return Operation(kind, tuple(inputs), tuple(outputs), tuple(sorted(attributes, key=str)))

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
                self._odd(f'field {number} of an attribute')
        return name, found

    def _weight(self, data: Block) -> None:
        """Keep the array; one that is not float32, or whose numbers are elsewhere, is odd."""
        name, element = '', 0
        shape: list[int] = []
        raw: Block | None = None
        for number, value in self._fields(data):
            if number == 1 and isinstance(value, int):
                shape.append(value)
            elif number == 2:
                element = _number(value)
            elif number == 8:
                name = _text(value)
            elif number == 9 and raw is None:
                raw = _block(value)
            else:
                self._odd(f'field {number} of a weight')
        if element != FLOAT or raw is None:
            self._odd(f'a weight that is not float32: {name[:SHOWN]!r}')
            return
        if len(shape) > MOST_AXES or math.prod(shape) * 4 != len(raw):
            sides = ' x '.join(map(str, shape[:MOST_AXES]))
            raise NotOnnx(f'weight {name[:SHOWN]!r} says {sides} and has {len(raw)} bytes')
        self.model.weights.append(Weight(name, tuple(shape), raw))

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

    def _operator_set(self, data: Block) -> tuple[str, int]:
        domain, version = '', 0
        for number, value in self._fields(data):
            if number == 1:
                domain = _text(value)
            elif number == 2:
                version = _number(value)
        return domain, version

    def _entry(self, data: Block) -> tuple[str, str]:
        texts = {number: _text(value) for number, value in self._fields(data) if number in (1, 2)}
        return texts.get(1, ''), texts.get(2, '')

    def _fields(self, data: Block) -> Iterator[tuple[int, int | Block]]:
        """(number, value) of each field of a message."""
        place = 0
        while place < len(data):
            self._left -= 1
            if self._left < 0:
                raise NotOnnx(f'it has more than {MOST_FIELDS} parts')
            tag, place = _varint(data, place)
            number, wire = tag >> 3, tag & 7
            if wire == VARINT:
                value, place = _varint(data, place)
                yield number, value
                continue
            if wire == BYTES:
                length, place = _varint(data, place)
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
        raise NotOnnx('a number stands where a block of bytes should be')
    return value


def _text(value: int | Block) -> str:
    return str(_block(value), 'utf-8')


def _number(value: int | Block) -> int:
    if not isinstance(value, int):
        raise NotOnnx('a block of bytes stands where a number should be')
    return value


def _varint(data: Block, place: int) -> tuple[int, int]:
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
