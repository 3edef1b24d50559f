"""Reads a PyTorch state dict without PyTorch: a robot then needs neither torch nor timm.

In: a file as torch.save writes it (since torch 1.6: a zip archive of a pickle and raw numbers).
Out: NumPy arrays by name. The pickle is not given to `pickle`: the few operations that a table of
tensors needs are carried out here, a file that names anything else is refused, and nothing of it
is run. Only texts and numbers may be keys, and what is allocated is bounded beforehand.

Source: https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst;
`pickletools` of Python for the operations.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.archives import READ_FAILURES, Archive, opened_archive, reason
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsError, WeightsMismatch
from midas_depth_ros.depth.weights import MOST_WEIGHTS_BYTES

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
# MiDaS_small has 21.3 million numbers; as float64 they take twice the official file's bytes.
MOST_NUMBERS = 1 << 25
MOST_BYTES = MOST_WEIGHTS_BYTES
MOST_PICKLE_BYTES = 1 << 20  # MiDaS_small has 70 kB, and 14,000 operations
MOST_OPERATIONS = 200_000
MOST_AXES = 8
NAMED_KEYS = 3  # in an error text

Arrays = dict[str, NDArray[Any]]
OPERATIONS = {operation.code.encode('latin-1'): operation for operation in pickletools.opcodes}
FAILURES = (*READ_FAILURES, pickle.UnpicklingError)


def read_torch_file(path: Path) -> Arrays:
    """The arrays of a state dict by name.

    Raises WeightsCorrupt where the file cannot be read, WeightsMismatch where it holds no table
    of tensors, or more than any network of ours.
    """
    try:
        with opened_archive(path, MOST_BYTES, MOST_BYTES) as archive:
            loaded = _load(archive)
    except FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a PyTorch state dict ({reason(error)}): fetch or copy the '
            'file again; a file of torch before 1.6 must be saved anew, or be run by backend torch'
        ) from error
    return table_of_tensors(loaded, np.ndarray, path)


def torch_file_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of a state dict by name, without its numbers; empty where it is none."""
    try:
        with opened_archive(path, MOST_BYTES, MOST_BYTES) as archive:
            loaded = _load(archive, with_numbers=False)
    except (*FAILURES, WeightsError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def table_of_tensors(loaded: Any, kind: type, path: Path) -> dict[str, Any]:
    """`loaded`, if it is a dict of `kind`s; raises WeightsMismatch otherwise."""
    if not isinstance(loaded, dict) or not all(isinstance(v, kind) for v in loaded.values()):
        raise WeightsMismatch(
            f'{path} holds no state dict (a {type(loaded).__name__}, not a table of tensors): '
            'save network.state_dict()'
        )
    return loaded


def _load(archive: Archive, with_numbers: bool = True) -> Any:
    """What the pickle makes; without numbers a shape stands for each tensor."""
    table = next((name for name in archive.names if name.endswith('/data.pkl')), None)
    if table is None:
        raise pickle.UnpicklingError('no data.pkl in the archive')
    folder = table.removesuffix('data.pkl')
    order = f'{folder}byteorder'
    if order in archive.names and archive.read(order) != b'little':
        raise pickle.UnpicklingError('written on a big-endian machine')
    storages: dict[str, NDArray[Any]] = {}

    def storage(dtype: str, key: str) -> NDArray[Any]:
        if key not in storages:
            storages[key] = _numbers(archive.read(f'{folder}data/{key}'), dtype)
        return storages[key]

    content = archive.read(table)
    if len(content) > MOST_PICKLE_BYTES:
        raise pickle.UnpicklingError(f'its table of {len(content)} bytes is of no network of ours')
    if with_numbers:
        machine = _Machine(storage, _Tensors().tensor)
    else:
        machine = _Machine(lambda dtype, key: None, lambda storage, offset, size, *_: size)
    return machine.run(io.BytesIO(content))


def _numbers(raw: bytes, dtype: str) -> NDArray[Any]:
    if dtype == 'bf16':  # the upper half of a float32
        return (np.frombuffer(raw, '<u2').astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, dtype)


class _Tensors:
    """Makes arrays of storages, up to a number of numbers in all."""

    def __init__(self) -> None:
        self._left = MOST_NUMBERS

    def tensor(
        self, storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
    ) -> NDArray[Any]:
        """A tensor as it lies in its storage; its shape is given, so is where it lies."""
        last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
        negative = min((offset, *size, *stride)) < 0
        outside = 0 not in size and last >= len(storage)
        if negative or outside or len(size) > MOST_AXES:
            raise pickle.UnpicklingError(f'a tensor {str(size)[:80]} lies outside its storage')
        self._left -= math.prod(size)
        if self._left < 0:
            raise pickle.UnpicklingError('it has more numbers than any network of ours')
        steps = tuple(step * storage.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
        return np.ascontiguousarray(view).reshape(size)


class _Machine:
    """Carries out the pickle of a table of tensors.

    `storage` gives the numbers of (type, key), `tensor` makes an array of them.
    """

    def __init__(self, storage: Callable[[str, str], Any], tensor: Callable[..., Any]) -> None:
        self._storage = storage
        self._known: dict[str, Any] = {
            'collections.OrderedDict': lambda: {},
            'torch._utils._rebuild_tensor_v2': tensor,
            'torch._utils._rebuild_parameter': lambda data, *_: data,
            **{f'torch.{name}': dtype for name, dtype in STORAGES.items()},
        }
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: BinaryIO) -> Any:
        """Up to the end of one pickle; raises UnpicklingError, and what is in READ_FAILURES."""
        for _ in range(MOST_OPERATIONS):
            operation = OPERATIONS.get(file.read(1))
            if operation is None:
                raise pickle.UnpicklingError('it is no pickle, or ends too early')
            argument = operation.arg.reader(file) if operation.arg else None
            if operation.name == 'STOP':
                return self._stack.pop()
            self._step(operation.name, argument)
        raise pickle.UnpicklingError(
            f'more than {MOST_OPERATIONS} operations: of no network of ours'
        )

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
                raise pickle.UnpicklingError('it appends to what is no list')
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
        elif name == 'BUILD':  # what a table of tensors notes beside its entries
            stack.pop()
        elif name not in ('PROTO', 'FRAME'):
            raise pickle.UnpicklingError(f'it uses {name}, which no table of tensors needs')

    def _popped(self, count: int) -> list[Any]:
        if count < 0 or count > len(self._stack):
            raise pickle.UnpicklingError('it takes what is not there')
        items = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        return items

    def _set(self, key: Any, value: Any) -> None:
        # Of other keys a file can make some whose hash takes years.
        if not isinstance(key, (str, int)) or not isinstance(self._stack[-1], dict):
            raise pickle.UnpicklingError(f'a {type(key).__name__} is a key')
        self._stack[-1][key] = value

    def _named(self, name: str) -> Any:
        if name not in self._known:
            raise pickle.UnpicklingError(f'it names {name[:80]}, which no table of tensors needs')
        return self._known[name]

    def _kept(self, place: Any) -> Any:
        kind, dtype, key = place[:3]
        if kind != 'storage' or dtype not in STORAGES.values() or not isinstance(key, str):
            raise pickle.UnpicklingError('a storage of a kind that is not known')
        return self._storage(dtype, key)


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


def check_old_torch_file(path: Path, content: bytes) -> None:
    """Raise WeightsCorrupt where a file of torch before 1.6 is more than a table of tensors.

    Such a file is four pickles, then a list of keys and raw numbers. torch itself reads it, which
    would follow a file further than is good.
    """
    file = io.BytesIO(content)
    try:
        for _ in range(4):
            _Machine(lambda dtype, key: None, lambda *_: None).run(file)
    except FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a PyTorch state dict ({reason(error)}): fetch or copy the '
            'file again'
        ) from error


def matched(
    found: Mapping[Any, Any], wanted: Mapping[str, tuple[int, ...]], path: Path, kind: str, use: str
) -> None:
    """Hold the keys and shapes of a state dict against those wanted; WeightsMismatch names faults.

    `kind`: whose they should be. `use`: the file to use instead.
    """
    faults = [
        _listed('missing', sorted(wanted.keys() - found.keys())),
        _listed('unexpected', sorted(found.keys() - wanted.keys(), key=str)),
        _listed(
            'of another shape',
            [
                f'{key} {tuple(found[key].shape)} instead of {tuple(shape)}'
                for key, shape in wanted.items()
                if key in found and tuple(found[key].shape) != tuple(shape)
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
