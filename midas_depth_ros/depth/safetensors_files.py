"""Reads safetensors files with NumPy alone.

In: a path. Out: NumPy arrays by name. The file is the length of a header (8 bytes), the header
(JSON: type, shape and place of each array) and the numbers. Of the header nothing is believed:
types are known ones, a place has just the bytes that its shape needs, and the places fill the file
without gap or overlap. So no more memory is taken than the file has bytes.

Source: https://github.com/huggingface/safetensors, README, section "Format".
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt
from midas_depth_ros.depth.files import (
    MOST_AXES,
    MOST_WEIGHTS_BYTES,
    READ_FAILURES,
    Header,
    Table,
    open_file,
    reason,
    without_prefixes,
)

LENGTH_BYTES = 8  # of the number before the header
MOST_HEADER_BYTES = 1 << 20  # a network of 1,000 entries has 120 kB
METADATA = '__metadata__'  # key of the texts beside the arrays
BF16 = 'BF16'  # NumPy has no such type
TYPES = {
    'F64': '<f8',
    'F32': '<f4',
    'F16': '<f2',
    BF16: '<u2',
    'I64': '<i8',
    'I32': '<i4',
    'I16': '<i2',
    'I8': '<i1',
    'U8': '<u1',
    'BOOL': '?',
}


@dataclass(frozen=True)
class _Entry:
    """An array, and where its numbers lie, in bytes from the start of the file."""

    kind: str  # of `TYPES`
    shape: tuple[int, ...]
    begin: int
    end: int


def safetensors_header(path: Path) -> Header:
    """What the file says that it holds, without reading numbers.

    Prefixes of all names are removed. Raises as `read_safetensors`.
    """
    try:
        with open_file(path, MOST_WEIGHTS_BYTES) as file:
            entries = _entries(file)
    except READ_FAILURES as error:
        raise _unreadable(path, error) from error
    return Header({name: entry.shape for name, entry in without_prefixes(entries).items()}, {})


def read_safetensors(path: Path, most_numbers: int) -> Table:
    """The arrays by name, `most_numbers` in all; bfloat16 becomes float32.

    Raises WeightsCorrupt where the file cannot be read or contradicts itself, WeightsMismatch where
    it has more bytes than any supported network.
    """
    try:
        with open_file(path, MOST_WEIGHTS_BYTES) as file:
            entries = without_prefixes(_entries(file))
            if sum(math.prod(entry.shape) for entry in entries.values()) > most_numbers:
                raise ValueError('it has more numbers than any supported network')
            return Table({name: _array(file, entry) for name, entry in entries.items()}, {})
    except READ_FAILURES as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> WeightsCorrupt:
    return WeightsCorrupt(
        f'{path} cannot be read as a safetensors file ({reason(error)}): fetch or copy the file '
        'again'
    )


def _entries(file: BinaryIO) -> dict[str, _Entry]:
    """Every array by name; raises ValueError, and what else is in READ_FAILURES."""
    whole = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(LENGTH_BYTES), 'little')
    if length > MOST_HEADER_BYTES:
        raise ValueError(f'its header would have {length} bytes, the limit is {MOST_HEADER_BYTES}')
    begin = LENGTH_BYTES + length
    if begin > whole:
        raise ValueError('it ends before its header does')
    text = file.read(length).decode()  # json would guess the encoding
    header = json.loads(text, object_pairs_hook=_table_of_pairs, parse_constant=_refuse_constant)
    if not isinstance(header, dict):
        raise ValueError('its header is not a table')
    header.pop(METADATA, None)
    entries = {name: _entry(name, about, begin) for name, about in header.items()}
    _check_places(entries.items(), begin, whole)
    return entries


def _table_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError('a name is in its header twice')
    return table


def _refuse_constant(name: str) -> None:
    raise ValueError(f'its header holds {name}')


def _entry(name: str, about: Any, begin: int) -> _Entry:
    if not isinstance(about, dict):
        raise ValueError(f'{name[:80]} is not described by a table')
    kind = about.get('dtype')
    if not isinstance(kind, str) or kind not in TYPES:
        raise ValueError(f'{name[:80]} is of type {str(kind)[:40]}, known are {", ".join(TYPES)}')
    shape, place = (_whole_numbers(about.get(key)) for key in ('shape', 'data_offsets'))
    if shape is None or len(shape) > MOST_AXES:
        raise ValueError(f'{name[:80]} has the shape {str(about.get("shape"))[:80]}')
    if place is None or len(place) != 2:
        raise ValueError(f'{name[:80]} lies at {str(about.get("data_offsets"))[:80]}')
    first, last = place
    if last - first != math.prod(shape) * np.dtype(TYPES[kind]).itemsize:
        raise ValueError(f'{name[:80]}, {kind} {shape}, has {last - first} bytes'[:180])
    return _Entry(kind, shape, begin + first, begin + last)


def _whole_numbers(values: Any) -> tuple[int, ...] | None:
    """The numbers of a list; None where it is none, or one is not whole, or is below 0."""
    if isinstance(values, list) and all(type(each) is int and each >= 0 for each in values):
        return tuple(values)
    return None


def _check_places(entries: Iterable[tuple[str, _Entry]], begin: int, whole: int) -> None:
    """Raise ValueError where the arrays do not fill the rest of the file, one after another."""
    at = begin
    for name, entry in sorted(entries, key=lambda each: (each[1].begin, each[1].end)):
        if entry.begin != at:
            raise ValueError(f'there is a gap or an overlap before {name[:80]}')
        at = entry.end
    if at != whole:
        raise ValueError(f'its arrays end at byte {at}, the file at {whole}')


def _array(file: BinaryIO, entry: _Entry) -> NDArray[Any]:
    file.seek(entry.begin)
    numbers = np.frombuffer(file.read(entry.end - entry.begin), TYPES[entry.kind])
    if entry.kind == BF16:  # the upper half of a float32
        numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
    return numbers.reshape(entry.shape)
