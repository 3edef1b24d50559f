"""Reads PyTorch state dicts without PyTorch: a robot then needs neither torch nor timm.

In: a file written by torch.save. Since torch 1.6 that is a zip archive of a pickle and raw numbers;
before, it was five pickles one after another (a magic number, the version, about the machine, the
table, the names of what follows) and then raw numbers. Out: NumPy arrays by name, and plain values.

No pickle is given to `pickle`: the few operations that a table of tensors needs are implemented
here, and a file that uses others is refused. Only strings and integers may be keys, and allocations
are limited beforehand. Numbers are read of those tensors only that are asked for: a checkpoint may
hold an optimizer's, too.

Source: https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst;
torch/serialization.py there, `_legacy_load`; `pickletools` of Python for the operations.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import pickletools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.files import (
    MOST_AXES,
    MOST_WEIGHTS_BYTES,
    READ_FAILURES,
    Archive,
    Header,
    Table,
    open_file,
    opened_archive,
    reason,
    without_prefixes,
)

STORAGES = {
    'DoubleStorage': '<f8',
    'FloatStorage': '<f4',
    'HalfStorage': '<f2',
    'BFloat16Storage': 'bf16',
    'LongStorage': '<i8',
    'IntStorage': '<i4',
    'ShortStorage': '<i2',
    'CharStorage': '<i1',
    'ByteStorage': '<u1',
    'BoolStorage': '?',
}
ITEM_SIZES = {kind: 2 if kind == 'bf16' else np.dtype(kind).itemsize for kind in STORAGES.values()}
# Read where the caller does not say how many numbers the network has. MiDaS_small has 21.3 million;
# as float64 they take twice the official file's bytes.
MOST_NUMBERS = 1 << 25
MOST_PICKLE_BYTES = 1 << 20  # MiDaS_small has 70 kB, and 14,000 operations
MOST_BYTES_BESIDE_NUMBERS = 1 << 21  # in an archive: the pickle, and alignment
MOST_OPERATIONS = 200_000
OLD_FORMAT = b'\x80'  # how a pickle begins: a file of torch before 1.6
OLD_MAGIC, OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001
PLAIN = (bool, int, float, str, type(None))
WRAPPERS = ('model', 'state_dict', 'model_state_dict')  # what training puts around a state dict
MOST_WRAPPERS = 3  # one in another

OPERATIONS = {operation.code.encode('latin-1'): operation for operation in pickletools.opcodes}
FAILURES = (*READ_FAILURES, pickle.UnpicklingError)
StorageReader = Callable[[str, str], NDArray[Any]]  # (type, key) to its numbers


@dataclass(frozen=True)
class _Tensor:
    """A tensor, and where its numbers lie."""

    kind: str  # of `STORAGES`
    storage: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_table(path: Path, most_numbers: int = MOST_NUMBERS) -> Table:
    """The arrays of a state dict by name, `most_numbers` in all, and plain values beside them.

    Wrappers around the table and before its keys are removed. Raises WeightsCorrupt where the file
    cannot be read, WeightsMismatch where it is not a table of tensors or has more bytes than any
    supported network.
    """
    try:
        with _opened_table(path, most_numbers) as (loaded, storage):
            tensors, values = _parts(loaded, path)
            make = _array_maker(storage, most_numbers)
            return Table({key: make(tensor) for key, tensor in tensors.items()}, values)
    except FAILURES as error:
        raise _unreadable(path, error) from error


def torch_header(path: Path) -> Header:
    """What the file says that it holds, without reading numbers; raises as `read_torch_table`."""
    try:
        with _opened_table(path, 0) as (loaded, _):
            tensors, values = _parts(loaded, path)
    except FAILURES as error:
        raise _unreadable(path, error) from error
    return Header({key: tensor.shape for key, tensor in tensors.items()}, values)


def _unreadable(path: Path, error: BaseException) -> WeightsCorrupt:
    return WeightsCorrupt(
        f'{path} cannot be read as a PyTorch state dict ({reason(error)}): fetch or copy the file '
        'again, or save network.state_dict() alone'
    )


def _parts(loaded: Any, path: Path) -> tuple[dict[str, _Tensor], dict[Any, Any]]:
    """The tensors, and the plain values beside them; WeightsMismatch where there is more."""
    for _ in range(MOST_WRAPPERS):  # a file can put a table into itself
        if not isinstance(loaded, dict) or _tensors(loaded):
            break
        inner = [loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), dict)]
        loaded = next((each for each in inner if _tensors(each)), next(iter(inner), loaded))
    tensors = _tensors(loaded) if isinstance(loaded, dict) else {}
    if not tensors:
        raise _no_table(loaded, path)
    values = {key: value for key, value in loaded.items() if key not in tensors}
    if not all(isinstance(value, PLAIN) for value in values.values()):
        raise _no_table(loaded, path)
    return without_prefixes(tensors), values


def _tensors(table: dict[Any, Any]) -> dict[str, _Tensor]:
    """The tensors among the entries, as far as their keys are texts."""
    return {
        key: each
        for key, each in table.items()
        if isinstance(key, str) and isinstance(each, _Tensor)
    }


def _no_table(loaded: Any, path: Path) -> WeightsMismatch:
    return WeightsMismatch(
        f'{path} is not a state dict (a {type(loaded).__name__}, not a table of tensors): '
        'save network.state_dict()'
    )


@contextlib.contextmanager
def _opened_table(path: Path, most_numbers: int) -> Iterator[tuple[Any, StorageReader]]:
    """The object in the file, and what reads the storages of its tensors.

    Raises WeightsCorrupt and WeightsMismatch as `open_file` does, and what is in FAILURES.
    """
    most_bytes = 8 * most_numbers + MOST_BYTES_BESIDE_NUMBERS
    with open_file(path, MOST_WEIGHTS_BYTES) as file:
        if file.read(1) == OLD_FORMAT:
            file.seek(0)
            yield _load_old(file, os.fstat(file.fileno()).st_size, most_bytes)
            return
    with opened_archive(path, MOST_WEIGHTS_BYTES, most_bytes) as archive:
        yield _load(archive)


def _load(archive: Archive) -> tuple[Any, StorageReader]:
    table = next((name for name in archive.names if name.endswith('/data.pkl')), None)
    if table is None:
        raise pickle.UnpicklingError('no data.pkl in the archive')
    folder = table.removesuffix('data.pkl')
    order = f'{folder}byteorder'
    if order in archive.names and archive.read(order) != b'little':
        raise pickle.UnpicklingError('written on a big-endian machine')
    if archive.size_of(table) > MOST_PICKLE_BYTES:
        raise pickle.UnpicklingError(f'its table of {archive.size_of(table)} bytes is too large')

    def storage(kind: str, key: str) -> NDArray[Any]:
        return _numbers(archive.read(f'{folder}data/{key}'), kind)

    return _Machine().run(io.BytesIO(archive.read(table))), storage


def _load_old(file: BinaryIO, length: int, most_bytes: int) -> tuple[Any, StorageReader]:
    head = io.BytesIO(file.read(MOST_PICKLE_BYTES))
    if [_Machine().run(head), _Machine().run(head)] != [OLD_MAGIC, OLD_VERSION]:
        raise pickle.UnpicklingError('it does not begin as a file of torch does')
    machine = _Machine().run(head)
    if not isinstance(machine, dict) or machine.get('little_endian') is not True:
        raise pickle.UnpicklingError('written on a big-endian machine')
    unpickler = _Machine()
    table, keys = unpickler.run(head), _Machine().run(head)
    kinds = unpickler.storages
    if not isinstance(keys, list) or sorted(kinds) != sorted(keys):
        raise pickle.UnpicklingError('its storages are not those of its tensors')
    places: dict[str, tuple[int, int]] = {}  # where the numbers of a storage begin, their bytes
    begin = head.tell()
    for key in keys:
        file.seek(begin)
        count = int.from_bytes(file.read(8), 'little')
        size = count * ITEM_SIZES[kinds[key]]
        begin += 8
        if size > length - begin:
            raise pickle.UnpicklingError(f'storage {key[:80]} ends too early')
        places[key] = begin, size
        begin += size
    left = most_bytes

    def storage(kind: str, key: str) -> NDArray[Any]:
        nonlocal left
        begin, size = places[key]
        left -= size
        if left < 0:
            raise pickle.UnpicklingError('it has more numbers than any supported network')
        file.seek(begin)
        return _numbers(file.read(size), kind)

    return table, storage


def _numbers(raw: bytes, dtype: str) -> NDArray[Any]:
    if dtype == 'bf16':  # the upper half of a float32
        return (np.frombuffer(raw, '<u2').astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, dtype)


def _array_maker(storage_of: StorageReader, most_numbers: int) -> Callable[[_Tensor], NDArray[Any]]:
    """A function that makes arrays, up to `most_numbers` in all; each storage is read once."""
    left = most_numbers
    storages: dict[str, NDArray[Any]] = {}

    def array(tensor: _Tensor) -> NDArray[Any]:
        nonlocal left
        size, stride, offset = tensor.shape, tensor.stride, tensor.offset
        if tensor.storage not in storages:
            storages[tensor.storage] = storage_of(tensor.kind, tensor.storage)
        storage = storages[tensor.storage]
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        negative = min((offset, *size, *stride)) < 0
        outside = 0 not in size and last >= len(storage)
        if negative or outside or len(size) > MOST_AXES:
            raise pickle.UnpicklingError(f'a tensor {str(size)[:80]} lies outside its storage')
        left -= math.prod(size)
        if left < 0:
            raise pickle.UnpicklingError('it has more numbers than any supported network')
        steps = tuple(step * storage.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
        return np.ascontiguousarray(view).reshape(size)

    return array


class _Machine:
    """Runs the pickle of a table of tensors; `storages` are those named there, with their types."""

    def __init__(self) -> None:
        self.storages: dict[str, str] = {}
        self._known: dict[str, Any] = {
            'collections.OrderedDict': lambda: {},
            'torch._utils._rebuild_tensor_v2': self._tensor,
            'torch._utils._rebuild_parameter': lambda data, *_: data,
            **{f'torch.{name}': dtype for name, dtype in STORAGES.items()},
        }
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        """Run one pickle to its end; raises UnpicklingError, and what is in READ_FAILURES."""
        for _ in range(MOST_OPERATIONS):
            operation = OPERATIONS.get(file.read(1))
            if operation is None:
                raise pickle.UnpicklingError('it is not a pickle, or ends too early')
            argument = operation.arg.reader(file) if operation.arg else None
            if operation.name == 'STOP':
                return self._stack.pop()
            self._step(operation.name, argument)
        raise pickle.UnpicklingError(f'it has more than {MOST_OPERATIONS} operations')

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in CONSTANTS:
            stack.append(CONSTANTS[name](argument))
        elif name in ('BINPUT', 'LONG_BINPUT', 'MEMOIZE'):
            self._memo[len(self._memo) if argument is None else argument] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(self._memo[argument])
        elif name == 'MARK':
            self._marks.append(len(stack))
        elif name in ('TUPLE', 'TUPLE1', 'TUPLE2', 'TUPLE3'):
            count = int(name[5:]) if name[5:] else len(stack) - self._marks.pop()
            stack.append(tuple(self._popped(count)))
        elif name in ('SETITEM', 'SETITEMS'):
            items = self._popped(2 if name == 'SETITEM' else len(stack) - self._marks.pop())
            for key, value in zip(items[::2], items[1::2], strict=True):
                self._set(key, value)
        elif name in ('APPEND', 'APPENDS'):
            items = self._popped(1 if name == 'APPEND' else len(stack) - self._marks.pop())
            if not isinstance(stack[-1], list):
                raise pickle.UnpicklingError('it appends to something that is not a list')
            stack[-1].extend(items)
        elif name == 'GLOBAL':
            stack.append(self._named(argument.replace(' ', '.', 1)))
        elif name == 'STACK_GLOBAL':
            module, attribute = self._popped(2)
            stack.append(self._named(f'{module}.{attribute}'))
        elif name == 'BINPERSID':
            stack.append(self._kept(stack.pop()))
        elif name == 'REDUCE':
            function, arguments = self._popped(2)
            stack.append(function(*arguments))
        elif name == 'BUILD':  # attributes of the table, which are not needed
            stack.pop()
        elif name not in ('PROTO', 'FRAME'):
            raise pickle.UnpicklingError(f'it uses {name}, which no table of tensors needs')

    def _popped(self, count: int) -> list[Any]:
        if count < 0 or count > len(self._stack):
            raise pickle.UnpicklingError('it takes more values than there are')
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _set(self, key: Any, value: Any) -> None:
        # A file can make keys of other types whose hash takes years.
        if not isinstance(key, (str, int)) or not isinstance(self._stack[-1], dict):
            raise pickle.UnpicklingError(f'a {type(key).__name__} is a key')
        self._stack[-1][key] = value

    def _named(self, name: str) -> Any:
        if name not in self._known:
            raise pickle.UnpicklingError(f'it names {name[:80]}, which no table of tensors needs')
        return self._known[name]

    def _kept(self, place: Any) -> str:
        """The key of a storage, which is noted."""
        kind, dtype, key = place[:3]
        if kind != 'storage' or dtype not in STORAGES.values() or not isinstance(key, str):
            raise pickle.UnpicklingError('a storage of an unknown type')
        if len(place) > 5 and place[5] is not None:
            raise pickle.UnpicklingError(f'storage {key[:80]} is part of another')
        if self.storages.setdefault(key, dtype) != dtype:
            raise pickle.UnpicklingError(f'storage {key[:80]} has two types')
        return key

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> _Tensor:
        if not (isinstance(size, tuple) and isinstance(stride, tuple)) or not all(
            type(number) is int for number in (offset, *size, *stride)
        ):
            raise pickle.UnpicklingError('a tensor has a place that is not made of whole numbers')
        return _Tensor(self.storages[storage], storage, offset, size, stride)


CONSTANTS: Mapping[str, Callable[[Any], Any]] = {
    'EMPTY_DICT': lambda _: {},
    'EMPTY_LIST': lambda _: [],
    'EMPTY_TUPLE': lambda _: (),
    'NONE': lambda _: None,
    'NEWTRUE': lambda _: True,
    'NEWFALSE': lambda _: False,
    **dict.fromkeys(('BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT'), lambda number: number),
    **dict.fromkeys(
        ('BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING'),
        lambda text: text,
    ),
}
