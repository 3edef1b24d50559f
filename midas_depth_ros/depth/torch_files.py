"""Reads a PyTorch state dict without PyTorch: a robot then needs neither torch nor timm.

In: a file as torch.save writes it (since torch 1.6: a zip archive of a pickle and raw numbers).
Out: NumPy arrays by name. Of the pickle only the handful of names that a table of tensors needs
are understood; a file that names anything else is refused, and nothing of it is run.

Source: https://github.com/pytorch/pytorch/blob/main/docs/source/notes/serialization.rst
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch

STORAGES = {
    'DoubleStorage': '<f8',
    'FloatStorage': '<f4',
    'HalfStorage': '<f2',
    'LongStorage': '<i8',
    'IntStorage': '<i4',
    'ShortStorage': '<i2',
    'CharStorage': '<i1',
    'ByteStorage': '<u1',
    'BoolStorage': '?',
}
READ_FAILURES = (
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    struct.error,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,  # a compression that zipfile does not know
    OverflowError,
)

NAMED_KEYS = 3  # in an error text

Arrays = dict[str, NDArray[Any]]


def read_torch_file(path: Path) -> Arrays:
    """The arrays of a state dict by name.

    Raises WeightsCorrupt where the file cannot be read, WeightsMismatch where it holds no table
    of tensors.
    """
    try:
        loaded = _load(path)
    except READ_FAILURES as error:
        reason = next(iter(str(error).splitlines()), '') or type(error).__name__
        raise WeightsCorrupt(
            f'{path} cannot be read as a PyTorch state dict ({reason}): fetch or copy the file '
            'again; a file of torch before 1.6 must be saved anew, or be run by backend torch'
        ) from error
    whole = isinstance(loaded, dict) and all(isinstance(v, np.ndarray) for v in loaded.values())
    if not whole:
        raise WeightsMismatch(
            f'{path} holds no state dict (a {type(loaded).__name__}, not a table of tensors): '
            'save network.state_dict()'
        )
    return dict(loaded)


def _load(path: Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        table = next((name for name in archive.namelist() if name.endswith('/data.pkl')), None)
        if table is None:
            raise pickle.UnpicklingError('no data.pkl in the archive')
        folder = table.removesuffix('data.pkl')
        order = f'{folder}byteorder'
        if order in archive.namelist() and archive.read(order) != b'little':
            raise pickle.UnpicklingError('written on a big-endian machine')
        return _Unpickler(archive, folder).load()


class _Unpickler(pickle.Unpickler):
    """Understands tables of tensors and nothing else."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f'{folder}data.pkl')))
        self._archive, self._folder = archive, folder
        self._storages: dict[str, NDArray[Any]] = {}

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ('collections', 'OrderedDict'): OrderedDict,
            ('torch._utils', '_rebuild_tensor_v2'): _tensor,
            ('torch._utils', '_rebuild_parameter'): _parameter,
        }
        if (module, name) in known:
            return known[module, name]
        if module == 'torch' and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f'it names {module}.{name}, which no table of tensors needs')

    def persistent_load(self, pid: Any) -> NDArray[Any]:
        kind, dtype, key, _device, _count = pid
        if kind != 'storage' or dtype not in STORAGES.values():
            raise pickle.UnpicklingError(f'a storage of kind {kind!r} is not known')
        if key not in self._storages:
            raw = self._archive.read(f'{self._folder}data/{key}')
            self._storages[key] = np.frombuffer(raw, dtype)
        return self._storages[key]


def _tensor(
    storage: NDArray[Any], offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray[Any]:
    """A tensor as it lies in its storage; its shape is given, so is where it lies."""
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    negative = min((offset, *size, *stride)) < 0
    if negative or (0 not in size and last >= len(storage)):
        raise pickle.UnpicklingError(f'a tensor {size} lies outside its storage')
    steps = tuple(step * storage.itemsize for step in stride)
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)
    return np.ascontiguousarray(view).reshape(size)


def _parameter(data: NDArray[Any], *_: Any) -> NDArray[Any]:
    return data


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
    return f'{len(keys)} {fault} ({", ".join(map(str, keys[:NAMED_KEYS]))}{more})'
