"""Reads an ONNX model without the onnx package and without trusting it.

In: a file's bytes, of whatever maker. Out: its operations, weights, inputs, outputs and metadata,
and a fingerprint of the network without its weights. Nothing is allocated because the file claims
it: a weight is a view of its bytes, or a place in a second file. What `onnx_files.Graph` never
writes is named in `unexpected`: such a file is none of ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.onnx_files import BYTES, FIXED32, FLOAT, VARINT, Side

FIXED64 = 1  # a wire type that only other writers use
MOST_FIELDS = 1_000_000  # of a file; the largest networks have 300,000
MOST_AXES = 8
MOST_NUMBERS = 1 << 59  # of an array, sides of 0 not counted: with more NumPy makes none
LONGEST_VARINT = 10  # bytes
SHOWN, SHOWN_SIDE = 40, 12  # characters of a name, in an error text
# Their inputs decide about sizes and copies: they belong to the network, not to its weights.
CONSTANT_INPUTS = ('Resize', 'Clip', 'ConvTranspose')
MOST_LEVELS = 8  # of graphs in graphs
MOST_LISTED = 4096  # numbers of a small constant that is written as a list
ELEMENTS = {
    1: 'float32', 2: 'uint8', 3: 'int8', 4: 'uint16', 5: 'int16', 6: 'int32', 7: 'int64', 9: 'bool',
    10: 'float16', 11: 'float64', 12: 'uint32', 13: 'uint64', 16: 'bfloat16',
}  # fmt: skip
DTYPES = {
    1: '<f4', 2: '|u1', 3: '|i1', 4: '<u2', 5: '<i2', 6: '<i4', 7: '<i8', 9: '|u1', 10: '<f2',
    11: '<f8', 12: '<u4', 13: '<u8', 16: '<u2',
}  # fmt: skip
# Fields of a tensor whose numbers are a list, each with the type of its numbers.
LISTS = {4: '<f4', 5: '<i4', 7: '<i8', 10: '<f8', 11: '<u8'}
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
        return f"'{self.name[:SHOWN]}' ({sides}) {self.type_name}"

    @property
    def type_name(self) -> str:
        """The name of its type."""
        return ELEMENTS.get(self.element, f'of type {self.element}')

    @property
    def sides(self) -> tuple[int | None, ...]:
        """The shape, None for free sides."""
        return tuple(
            side if isinstance(side, int) and 0 < side < 1 << 31 else None for side in self.shape
        )


@dataclass(frozen=True)
class Place:
    """Where the bytes of a weight are in a second file, named relative to the folder of the first.

    `length` is None where the file does not say it.
    """

    file: str
    offset: int
    length: int | None


@dataclass(frozen=True)
class Weight:
    """A constant array, as a view of the file's bytes.

    `element` is ONNX's number of its type. `data` is None where its bytes are in another file,
    at `place`, or are not read here: a long list of numbers.
    """

    name: str
    shape: tuple[int, ...]
    data: memoryview | None
    element: int = FLOAT
    place: Place | None = None

    def array(self) -> NDArray[Any]:
        """The numbers, without a copy; bfloat16 as its bits. ValueError where they are not here."""
        if self.data is None or self.element not in DTYPES:
            raise ValueError(f'the numbers of {self.name[:SHOWN]!r} are not at hand')
        return np.frombuffer(self.data, DTYPES[self.element]).reshape(self.shape)


@dataclass(frozen=True)
class Operation:
    """One operation on named values; `tensors` are the arrays among its attributes, by name."""

    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: tuple[tuple[str, Any], ...]
    tensors: Mapping[str, Weight] = field(default_factory=dict)

    def numbers(self, name: str) -> list[int]:
        """The whole numbers of an attribute; [] where it has none."""
        found: Any = dict(self.attributes).get(name, [])
        fields = (each for each in found if isinstance(each, list) and each[0] in (3, 8))
        return [_signed(each[1]) for each in fields]

    def floats(self, name: str) -> list[float]:
        """The floating point numbers of an attribute; [] where it has none."""
        found: Any = dict(self.attributes).get(name, [])
        return [each for each in found if isinstance(each, float)]


def _signed(number: int) -> int:
    return number - (1 << 64) if number >> 63 else number


@dataclass
class OnnxModel:
    """A file's content. `unexpected` names a part that `midas_depth export` never writes, or ''."""

    operations: list[Operation] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    operator_sets: list[tuple[str, int]] = field(default_factory=list)
    inner_kinds: set[str] = field(default_factory=set)  # of operations in graphs of operations
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
            [
                [w.name, w.shape, _digest(w) if w.name in constants or w.element != FLOAT else '']
                for w in self.weights
            ],
            [[v.name, v.element, v.shape] for v in (*self.inputs, *self.outputs)],
        ]
        return hashlib.sha256(json.dumps(network).encode()).hexdigest()


def _digest(weight: Weight) -> str:
    return hashlib.sha256(weight.data or b'').hexdigest()


def read_onnx(content: bytes) -> OnnxModel:
    """Read a model's bytes; raises NotOnnx where they are malformed, or have too many parts."""
    reader = _Reader()
    try:
        reader.read(memoryview(content))
    except NotOnnx:
        raise
    except (struct.error, ValueError, OverflowError) as error:
        raise NotOnnx(str(error)) from error
    return reader.model


class _Reader:
    """Walks through the messages of a file, and counts their fields."""

    def __init__(self) -> None:
        self.model = OnnxModel()
        self._left = MOST_FIELDS
        self._level = 0

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
        tensors: dict[str, Weight] = {}
        attributes = [self._attribute(_block(each), tensors) for each in found[5]]
        attributes.sort(key=str)
        return Operation(_last_text(found[4]), inputs, outputs, tuple(attributes), tensors)

    def _attribute(self, data: Block, tensors: dict[str, Weight]) -> tuple[str, Any]:
        name = ''
        found: list[Any] = []
        arrays: list[Weight] = []
        for number, value in self._fields(data):
            if number == 1:
                name = _text(value)
            elif number == 2 or (number == 7 and isinstance(value, int)):
                found.append(struct.unpack('<f', struct.pack('<I', _number(value)))[0])
            elif number == 4:
                found.append(str(_block(value), 'utf-8', 'backslashreplace'))
            elif number in (3, 8, 20) and isinstance(value, int):
                found.append([number, value])  # a number, one of several, the attribute's kind
            elif number == 8:
                found += [[8, each] for each in self._varints(_block(value))]
            else:
                self._unexpected(f'field {number} of an attribute')
                if number == 5:
                    arrays.append(self._tensor(_block(value)))
                elif number in (6, 11):
                    self._inner_graph(_block(value))
        tensors.update((name, array) for array in arrays)
        return name, found

    def _inner_graph(self, data: Block) -> None:
        """Note the kinds of its operations."""
        self._level += 1
        if self._level > MOST_LEVELS:
            raise NotOnnx(f'graphs are nested more than {MOST_LEVELS} times')
        for number, value in self._fields(data):
            if number == 1:
                self.model.inner_kinds.add(self._operation(_block(value)).kind)
        self._level -= 1

    def _weight(self, data: Block) -> None:
        self.model.weights.append(self._tensor(data))

    def _tensor(self, data: Block) -> Weight:
        """An array; NotOnnx where its bytes are not as many as its sides say."""
        found = self._message(data, 'a weight', (1, 2, 8, 9))
        name = _last_text(found[8])
        sides = [each for side in found[1] for each in self._packed(side)]
        element = _number(found[2][-1]) if found[2] else 0
        if len(sides) > MOST_AXES or any(side >> 63 for side in sides):
            raise NotOnnx(f'weight {name[:SHOWN]!r} has {len(sides)} axes, or sides below 0')
        shape = tuple(sides)
        if math.prod(side or 1 for side in shape) > MOST_NUMBERS:
            text = ' x '.join(map(str, shape))
            raise NotOnnx(f'weight {name[:SHOWN]!r} has sides {text}, beyond any memory')
        if found[14] and found[14][-1] == 1:
            return Weight(name, shape, None, element, self._place(found[13], name))
        if element != FLOAT or len(found[9]) != 1:
            self._unexpected(f'a weight that is not one array of float32: {name[:SHOWN]!r}')
        if not found[9]:
            return Weight(name, shape, self._listed(found, math.prod(shape), element), element)
        raw = _block(found[9][-1])
        size = np.dtype(DTYPES[element]).itemsize if element in DTYPES else None
        if size and math.prod(shape) * size != len(raw):
            text = ' x '.join(map(str, shape[:MOST_AXES]))
            raise NotOnnx(f'weight {name[:SHOWN]!r} says {text} and has {len(raw)} bytes')
        return Weight(name, shape, raw, element)

    def _place(self, entries: Sequence[int | Block], name: str) -> Place:
        named = {}
        for entry in entries:
            found = self._message(_block(entry))
            named[_last_text(found[1])] = _last_text(found[2])
        numbers = {key: named.get(key, '') for key in ('offset', 'length')}
        if not named.get('location') or not all(
            re.fullmatch('[0-9]{0,18}', text) for text in numbers.values()
        ):
            raise NotOnnx(f'weight {name[:SHOWN]!r} is in another file, but not where')
        length = int(numbers['length']) if numbers['length'] else None
        return Place(named['location'], int(numbers['offset'] or 0), length)

    def _listed(
        self, found: Mapping[int, list[int | Block]], count: int, element: int
    ) -> memoryview | None:
        """The bytes of a short array whose numbers are a list, None for a long or another one."""
        if element not in DTYPES:
            return None
        if count == 0:
            return memoryview(b'')
        for number, kind in LISTS.items():
            values = found.get(number, [])
            if not values or count > MOST_LISTED:
                continue
            if number in (4, 10):  # floats: their bytes as they are
                size = np.dtype(kind).itemsize
                parts = [each if isinstance(each, memoryview) else each.to_bytes(size, 'little')
                         for each in values]  # fmt: skip
                raw = b''.join(parts)
                numbers = np.frombuffer(raw[: len(raw) // size * size], kind)
            else:
                whole = [_signed(each) for value in values for each in self._packed(value)]
                numbers = np.array(whole[: count + 1], np.int64)
            if len(numbers) != count:
                return None
            if element in (10, 16) and number == 5:  # the bits of half precision
                numbers = numbers.astype('<u2').view(DTYPES[element])
            return memoryview(numbers.astype(DTYPES[element]).tobytes())
        return None

    def _packed(self, value: int | Block) -> list[int]:
        """Whole numbers that stand one by one, or as one block."""
        return [value] if isinstance(value, int) else self._varints(value)

    def _varints(self, data: Block) -> list[int]:
        numbers, place = [], 0
        while place < len(data):
            self._left -= 1
            if self._left < 0:
                raise NotOnnx(f'it has more than {MOST_FIELDS} parts')
            number, place = _read_varint(data, place)
            numbers.append(number)
        return numbers

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
