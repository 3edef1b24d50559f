"""Serialised messages into messages, without trusting what their bytes say of themselves.

rclpy's own way allocates what a message claims before it looks whether that is there: 20 MB of
zeros become 4 GB of diagnostics. So the lengths are walked through first, by the type's own
description. Bytes as a raw subscription hands them over go in; a message comes out, or Unreadable
with the reason.
"""

from __future__ import annotations

import functools
import importlib
import struct
from collections.abc import Callable
from typing import Any

from rclpy.serialization import deserialize_message
from rosidl_parser import definition

# Representation identifiers (OMG DDS-XTypes 7.6.3.1.2) of what is laid out plainly: struct's sign
# for the byte order, and the largest alignment. The others put headers between the fields, which
# the middleware would read as if they were fields; no ROS 2 publisher sends them.
PLAIN = {
    b'\x00\x00': ('>', 8),
    b'\x00\x01': ('<', 8),
    b'\x00\x06': ('>', 4),
    b'\x00\x07': ('<', 4),
}
ENCAPSULATION_BYTES = 4  # identifier and options; alignment counts from behind them
MOST_PARTS = 100_000  # messages within a message: fields of a cloud, values of diagnostics
SIZES = {
    **dict.fromkeys(('boolean', 'octet', 'char', 'int8', 'uint8'), 1),
    **dict.fromkeys(('wchar', 'int16', 'uint16'), 2),
    **dict.fromkeys(('int32', 'uint32', 'float'), 4),
    **dict.fromkeys(('int64', 'uint64', 'double'), 8),
    'long double': 16,
}


class Unreadable(ValueError):
    """The bytes are no message of this type; the text says where they stop being one."""


def deserialised(data: bytes, kind: type) -> Any:
    """The message of class `kind` that these bytes are. Raises Unreadable."""
    check(data, kind)
    try:
        return deserialize_message(data, kind)
    except (RuntimeError, ValueError) as error:  # the middleware's refusal, or a field's
        raise Unreadable(f'the middleware cannot read it: {error}') from error


def check(data: bytes, kind: type) -> None:
    """Raises Unreadable where bytes promise more than they hold."""
    plain = PLAIN.get(bytes(data[:2]))
    if plain is None or len(data) < ENCAPSULATION_BYTES:
        raise Unreadable(
            f'it begins with {data[:ENCAPSULATION_BYTES]!r}, which is no plain CDR: publish with a '
            'ROS 2 middleware'
        )
    _skip_of(kind)(_Cursor(data, *plain), kind.__name__)


class _Cursor:
    """Where in the bytes a walk is."""

    def __init__(self, data: bytes, order: str, alignment: int) -> None:
        self._body = memoryview(data)[ENCAPSULATION_BYTES:]
        self._alignment = alignment
        self._count = struct.Struct(order + 'I')
        self._at = 0
        self._parts = 0

    def skip(self, size: int, count: int, field: str) -> None:
        """Pass `count` numbers of `size` bytes."""
        self._at += -self._at % min(size, self._alignment)
        self._at += size * count
        if self._at > len(self._body):
            raise Unreadable(
                f'it has {len(self._body) + ENCAPSULATION_BYTES} bytes and ends within {field}, '
                f'which would have {size * count} bytes: it was cut short or damaged on its way'
            )

    def count(self, field: str) -> int:
        """Pass the length of a text or a sequence, and return it."""
        self.skip(4, 1, field)
        return int(self._count.unpack_from(self._body, self._at - 4)[0])

    def parts(self, count: int, field: str) -> None:
        """Take note of as many messages within the message."""
        self._parts += count
        if count > len(self._body) - self._at or self._parts > MOST_PARTS:
            raise Unreadable(
                f'{field} would have {count} parts in {len(self._body) - self._at} bytes: no more '
                f'than {MOST_PARTS} are taken'
            )


Skip = Callable[[_Cursor, str], None]


@functools.cache
def _skip_of(kind: type) -> Skip:
    """What passes a whole message of this class."""
    names = kind.get_fields_and_field_types()  # type: ignore[attr-defined]
    fields = [
        (_skip_of_type(slot), name)
        for slot, name in zip(kind.SLOT_TYPES, names, strict=True)  # type: ignore[attr-defined]
    ]

    def skip(cursor: _Cursor, field: str) -> None:
        for skip_field, name in fields:
            skip_field(cursor, name)

    return skip


def _skip_of_type(slot: Any) -> Skip:
    """What passes a field of this type."""
    if isinstance(slot, definition.BasicType):
        size = SIZES[slot.typename]
        return lambda cursor, field: cursor.skip(size, 1, field)
    if isinstance(slot, definition.AbstractString):
        return lambda cursor, field: cursor.skip(1, cursor.count(field), field)
    if isinstance(slot, definition.AbstractWString):  # a number of 4 bytes each, as Fast CDR does
        return lambda cursor, field: cursor.skip(4, cursor.count(field), field)
    if isinstance(slot, definition.NamespacedType):
        module = importlib.import_module('.'.join(slot.namespaces))
        return _skip_of(getattr(module, slot.name))
    if isinstance(slot, definition.Array):
        fixed = slot.size
        return _skip_several(slot.value_type, lambda cursor, field: fixed)
    return _skip_several(slot.value_type, _Cursor.count)


def _skip_several(element: Any, count_of: Callable[[_Cursor, str], int]) -> Skip:
    if isinstance(element, definition.BasicType):
        size = SIZES[element.typename]

        def skip_numbers(cursor: _Cursor, field: str) -> None:
            count = count_of(cursor, field)
            if count:
                cursor.skip(size, count, field)

        return skip_numbers
    skip_element = _skip_of_type(element)

    def skip_parts(cursor: _Cursor, field: str) -> None:
        count = count_of(cursor, field)
        cursor.parts(count, field)
        for _ in range(count):
            skip_element(cursor, field)

    return skip_parts
