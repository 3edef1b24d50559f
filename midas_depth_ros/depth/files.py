"""Reads weights files without trusting what they say of themselves.

Regular files, zip archives, NumPy archives and PyTorch state dicts. In: a path. Out: bytes, or
NumPy arrays by name. What a file claims to hold is compared with a limit before anything is
allocated, and no code of it is run.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import lzma
import math
import os
import pickle
import pickletools
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsError, WeightsMismatch

MB = 1_000_000
MOST_WEIGHTS_BYTES = 1_500_000_000  # of any weights file: DPT-Large has 1,376 MB
HASHED_AT_ONCE = 1 << 20  # bytes


def why_no_file(path: Path) -> str:
    """Why there is no readable file at a path, in words; '' where there is one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return str(getattr(error, 'strerror', None) or error)
    if stat.S_ISDIR(mode):
        return 'it is a folder'
    return '' if stat.S_ISREG(mode) else 'it is a pipe, a device or a socket'


@contextlib.contextmanager
def open_file(path: Path, most_bytes: int) -> Iterator[BinaryIO]:
    """Open a regular file of at most `most_bytes` for reading.

    Raises WeightsCorrupt where it cannot be opened or is not a regular file, WeightsMismatch where
    it is larger.
    """
    try:
        # Without O_NONBLOCK a pipe would block for ever.
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise WeightsCorrupt(
            f'{path} cannot be read as a model ({reason}): check the path and its permissions'
        ) from error
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        os.close(handle)
        raise WeightsCorrupt(f'{path} is not a regular file: give the path of a model')
    with os.fdopen(handle, 'rb') as file:
        if status.st_size > most_bytes:
            raise WeightsMismatch(
                f'{path} is not a supported model: it has {status.st_size / MB:.0f} MB, the limit '
                f'is {most_bytes / MB:.0f} MB: choose a model by its name, or a file written by '
                '`midas_depth export`'
            )
        yield file


def read_file(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file; raises as `open_file` does."""
    with open_file(path, most_bytes) as file:
        try:
            # Not the limit: Python would allocate it.
            return file.read(min(most_bytes, os.fstat(file.fileno()).st_size))
        except OSError as error:
            raise WeightsCorrupt(f'{path} cannot be read: {error.strerror or error}') from error


def digest_of(weights: Path) -> str:
    """SHA-256 of a weights file; raises as `open_file` does."""
    with open_file(weights, MOST_WEIGHTS_BYTES):
        try:
            return sha256_of(weights)
        except OSError as error:
            raise WeightsCorrupt(f'{weights} cannot be read: {error.strerror or error}') from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, in lower-case hexadecimal digits; OSError if unreadable."""
    digest = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def flush(path: Path) -> None:
    """Write a file or folder to the disk: a power cut must not leave an empty one. OSError.

    A disk may notice only now that it is full.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
            raise  # those: a file system that cannot sync, such as some a folder
    finally:
        os.close(handle)


# --- Zip archives, and the NumPy arrays in them.

MOST_DIRECTORY_BYTES = 1 << 20  # some 10,000 entries; the networks have 500
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others allocate what a file claims
NUMBERS = 'fiub'  # kinds of NumPy's types that are numbers
REASON_LENGTH = 200

# Raised by the libraries on files that are cut, altered or of another kind.
READ_FAILURES = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    RuntimeError,  # encrypted, nested too deeply, unknown compression
    OverflowError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
)


def reason(error: BaseException) -> str:
    """The first line of a library's error text, cut where it is long, or the error's type."""
    line = next(iter(str(error).splitlines()), '') or type(error).__name__
    return line if len(line) <= REASON_LENGTH else f'{line[:REASON_LENGTH]}...'


class Archive:
    """Entries of a zip file by name, which may unpack to `most_bytes` in all."""

    def __init__(self, archive: zipfile.ZipFile, most_bytes: int) -> None:
        self._archive, self._left = archive, most_bytes
        self.names = archive.namelist()

    def size_of(self, name: str) -> int:
        """Bytes of an entry, as the file says; KeyError where there is none."""
        return self._archive.getinfo(name).file_size

    def read(self, name: str) -> bytes:
        """The entry's bytes; raises BadZipFile, and what else is in READ_FAILURES."""
        entry = self._archive.getinfo(name)
        if entry.compress_type not in COMPRESSIONS:
            raise zipfile.BadZipFile(f'{name} has a compression that weights never have')
        self._left -= entry.file_size
        if self._left < 0:
            raise zipfile.BadZipFile('it unpacks to more than any supported network has')
        return self._archive.read(entry)


class _LimitedFile(io.BufferedReader):
    """A file that limits how much is read at once."""

    most_at_once = MOST_DIRECTORY_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self.most_at_once:
            raise zipfile.BadZipFile('its list of entries is longer than that of any weights')
        return super().read(size)


@contextlib.contextmanager
def opened_archive(path: Path, most_file_bytes: int, most_bytes: int) -> Iterator[Archive]:
    """Open a zip file for reading.

    Raises WeightsCorrupt where it is not a regular file, WeightsMismatch where it has more than
    `most_file_bytes`, and what is in READ_FAILURES where it is not a zip file.
    """
    with open_file(path, most_file_bytes) as file:
        limited = _LimitedFile(io.FileIO(file.fileno(), closefd=False))
        with zipfile.ZipFile(limited) as archive:
            limited.most_at_once = most_bytes
            yield Archive(archive, most_bytes)


def array_of(data: bytes) -> NDArray[np.generic]:
    """The array in the bytes of an .npy file, without a copy.

    Raises ValueError where it is not an array of numbers or does not fill the bytes, and what is in
    READ_FAILURES.
    """
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, by_columns, dtype = np.lib.format.read_array_header_2_0(file)
    else:
        raise ValueError(f'version {version} of the format is unknown')
    if dtype.hasobject:
        raise ValueError('it holds pickled objects, which are refused: allow_pickle is off')
    if dtype.kind not in NUMBERS:
        raise ValueError(f'it holds {str(dtype)[:40]}, not numbers')
    rest = len(data) - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f'an array {str(shape)[:80]} of {dtype} in {rest} bytes')
    values = np.frombuffer(data, dtype, offset=file.tell())
    return values.reshape(shape, order='F' if by_columns else 'C')


def read_npz(path: Path, most_bytes: int) -> dict[str, NDArray[np.float32]]:
    """The arrays of a NumPy archive by name, as float32; runs no code of the file.

    Raises WeightsCorrupt where the file is not such an archive or unpacks to more than
    `most_bytes`, WeightsMismatch where the file itself is larger.
    """
    arrays = {}
    try:
        with opened_archive(path, most_bytes, most_bytes) as archive:
            for name in archive.names:
                with np.errstate(over='ignore'):  # too large for float32: infinite, and refused
                    array = np.asarray(array_of(archive.read(name)), np.float32)
                arrays[name.removesuffix('.npy')] = array
    except READ_FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a NumPy archive of weights ({reason(error)}): copy the file '
            'again'
        ) from error
    return arrays


# --- PyTorch state dicts, read without PyTorch: a robot then needs neither torch nor timm.
#
# In: a file written by torch.save. Since torch 1.6 that is a zip archive of a pickle and raw
# numbers; before, it was five pickles one after another (a magic number, the version, about the
# machine, the table, the names of what follows) and then raw numbers. Out: NumPy arrays by name,
# and plain values. No pickle is given to `pickle`: the few operations that a table of tensors needs
# are implemented here, and a file that uses others is refused. Only strings and integers may be
# keys, and allocations are limited beforehand. Numbers are read of those tensors only that are
# asked for: a checkpoint may hold an optimizer's, too.
#
# Source: https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst;
# torch/serialization.py there, `_legacy_load`; `pickletools` of Python for the operations.

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
MOST_AXES = 8
NAMED_KEYS = 3  # in an error text
OLD_FORMAT = b'\x80'  # how a pickle begins: a file of torch before 1.6
OLD_MAGIC, OLD_VERSION = 0x1950A86A20F9469CFC6C, 1001
PLAIN = (bool, int, float, str, type(None))
# What training scripts put around a state dict, and what wrappers of a module put before its keys.
WRAPPERS = ('model', 'state_dict', 'model_state_dict')
PREFIXES = ('module.', '_orig_mod.')

Arrays = dict[str, NDArray[Any]]
OPERATIONS = {operation.code.encode('latin-1'): operation for operation in pickletools.opcodes}
FAILURES = (*READ_FAILURES, pickle.UnpicklingError)
StorageReader = Callable[[str, str], NDArray[Any]]  # (type, key) to its numbers


@dataclass(frozen=True)
class TorchTable:
    """What a file holds by name: arrays, and plain values beside them."""

    arrays: Arrays
    others: dict[Any, Any]


@dataclass(frozen=True)
class _Tensor:
    """A tensor, and where its numbers lie."""

    kind: str  # of `STORAGES`
    storage: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


def read_torch_file(path: Path, most_numbers: int = MOST_NUMBERS) -> Arrays:
    """The arrays of a state dict by name, `most_numbers` in all.

    Wrappers around the table and before its keys are removed. Raises WeightsCorrupt where the file
    cannot be read, WeightsMismatch where it is not a table of tensors or has more bytes than any
    supported network.
    """
    table = read_torch_table(path, most_numbers)
    if table.others or not table.arrays:
        raise _no_table(table.others or table.arrays, path)
    return table.arrays


def read_torch_table(path: Path, most_numbers: int = MOST_NUMBERS) -> TorchTable:
    """The same, with plain values (numbers, texts) beside the tensors."""
    try:
        with _opened_table(path, most_numbers) as (loaded, storage):
            tensors, others = _parts(loaded, path)
            make = _array_maker(storage, most_numbers)
            return TorchTable({key: make(tensor) for key, tensor in tensors.items()}, others)
    except FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a PyTorch state dict ({reason(error)}): fetch or copy the '
            'file again'
        ) from error


def torch_file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a state dict by name, without its numbers; empty where it is unreadable."""
    try:
        with _opened_table(path, 0) as (loaded, _):
            tensors, _ = _parts(loaded, path)
    except (*FAILURES, WeightsError):
        return {}
    return {key: tensor.shape for key, tensor in tensors.items()}


def _parts(loaded: Any, path: Path) -> tuple[dict[str, _Tensor], dict[Any, Any]]:
    """The tensors, and the plain values beside them; WeightsMismatch where there is more."""
    if not isinstance(loaded, dict):
        raise _no_table(loaded, path)
    for name in WRAPPERS:
        inner = loaded.get(name)
        if isinstance(inner, dict) and _tensors(inner) and not _tensors(loaded):
            loaded = inner
    tensors = _tensors(loaded)
    others = {key: value for key, value in loaded.items() if key not in tensors}
    if not all(isinstance(value, PLAIN) for value in others.values()):
        raise _no_table(loaded, path)
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): tensor for key, tensor in tensors.items()}
    return tensors, others


def _tensors(table: dict[Any, Any]) -> dict[str, _Tensor]:
    return {key: each for key, each in table.items() if isinstance(each, _Tensor)}


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


def check_shapes(
    found: Mapping[Any, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    path: Path,
    kind: str,
    use: str,
) -> None:
    """Check the keys and shapes of a state dict; raises WeightsMismatch, which names the faults.

    `kind`: the expected model. `use`: the file to use instead.
    """
    faults = [
        _listed('missing', sorted(wanted.keys() - found.keys())),
        _listed('unexpected', sorted(found.keys() - wanted.keys(), key=str)),
        _listed(
            'of another shape',
            [
                f'{key} {found[key]} instead of {tuple(shape)}'
                for key, shape in wanted.items()
                if key in found and found[key] != tuple(shape)
            ],
        ),
    ]
    if any(faults):
        raise WeightsMismatch(
            f'{path} is not a state dict of {kind}: {"; ".join(filter(None, faults))}. Use '
            f'{use} or weights trained from it'
        )


def _listed(fault: str, keys: list[Any]) -> str:
    if not keys:
        return ''
    more = ', ...' if len(keys) > NAMED_KEYS else ''
    named = ', '.join(str(key)[:80] for key in keys[:NAMED_KEYS])
    return f'{len(keys)} {fault} ({named}{more})'
