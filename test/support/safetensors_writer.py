"""Writes safetensors files without the library, good ones and bad ones."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
TYPES = {
    np.dtype(kind): name
    for kind, name in (
        *(('f8', 'F64'), ('f4', 'F32'), ('f2', 'F16')),
        *(('i8', 'I64'), ('i4', 'I32'), ('i2', 'I16'), ('i1', 'I8'), ('u1', 'U8'), ('?', 'BOOL')),
    )
}


def content_of(header: Any, data: bytes = b'', length: int | None = None) -> bytes:
    """The bytes of a file with whatever header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, 'little') + text + data


def write_safetensors(path: Path, arrays: Arrays) -> Path:
    """A good file."""
    header: dict[str, Any] = {'__metadata__': {'format': 'pt'}}
    data = b''
    for name, array in arrays.items():
        place = [len(data), len(data) + array.nbytes]
        header[name] = {
            'dtype': TYPES[array.dtype],
            'shape': list(array.shape),
            'data_offsets': place,
        }
        data += array.tobytes()
    path.write_bytes(content_of(header, data))
    return path


def hollow_safetensors(path: Path, shapes: Mapping[str, Sequence[int]]) -> Path:
    """A file with such entries, one byte for each number: a hole that takes no room on the disk."""
    header, end = {}, 0
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape)
        header[name] = {'dtype': 'U8', 'shape': list(shape), 'data_offsets': [begin, end]}
    content = content_of(header)
    path.write_bytes(content)
    os.truncate(path, len(content) + end)
    return path
