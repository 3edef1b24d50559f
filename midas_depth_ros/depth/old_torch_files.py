"""Reads tables of tensors of every format of PyTorch, and what lies beside the tensors.

In: a file as torch.save writes it. Before torch 1.6 that was five pickles one after another (a
magic number, the format's version, about the machine, the table, the names of what follows) and
then raw numbers; since then it is a zip archive, which `torch_files` reads. Out: NumPy arrays by
name, and plain values. Nothing of a file is run: see `torch_files`.

Source: torch/serialization.py of the PyTorch project, `_legacy_load`.
"""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.archives import opened_archive, reason
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.torch_files import (
    FAILURES,
    MOST_BYTES,
    _load,
    _Machine,
    _numbers,
    _Tensors,
)
from midas_depth_ros.depth.weights import read_file

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
PICKLE = b'\x80'  # how a pickle begins: a file of torch before 1.6
ITEM_SIZES = {'bf16': 2}  # in bytes, of what NumPy has no type for
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class TorchTable:
    """What a file holds by name: arrays, and plain values beside them."""

    arrays: dict[str, NDArray[Any]]
    others: dict[str, Any]


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies: its storage is behind the table."""

    storage: str
    where: tuple[Any, ...]  # offset, size, stride


def read_torch_table(path: Path) -> TorchTable:
    """The tensors of a file, and the numbers and texts beside them.

    Raises WeightsCorrupt where it cannot be read, WeightsMismatch where it holds anything else.
    """
    try:
        content = read_file(path, MOST_BYTES)
        if content.startswith(PICKLE):
            loaded = _load_old(io.BytesIO(content), len(content))
        else:
            with opened_archive(path, MOST_BYTES, MOST_BYTES) as archive:
                loaded = _load(archive)
    except FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as a PyTorch state dict ({reason(error)}): fetch or copy the '
            'file again'
        ) from error
    if not isinstance(loaded, dict):
        raise WeightsMismatch(
            f'{path} holds no state dict (a {type(loaded).__name__}, not a table of tensors): '
            'save network.state_dict()'
        )
    arrays = {key: value for key, value in loaded.items() if isinstance(value, np.ndarray)}
    others = {key: value for key, value in loaded.items() if key not in arrays}
    for key, value in others.items():
        if not isinstance(value, PLAIN):
            raise WeightsMismatch(
                f'{path} holds a {type(value).__name__} under {str(key)[:80]!r}, which is neither '
                'a tensor nor a number: save network.state_dict()'
            )
    return TorchTable(arrays, others)


def _load_old(file: io.BytesIO, length: int) -> Any:
    kinds: dict[str, str] = {}  # of each storage

    def storage(kind: str, key: str) -> str:
        if kinds.setdefault(key, kind) != kind:
            raise pickle.UnpicklingError(f'storage {key[:80]} has two types')
        return key

    def tensor(key: str, *where: Any) -> _Place:
        return _Place(key, where[:3])

    def unpickled() -> Any:
        return _Machine(storage, tensor).run(file)

    if (unpickled(), unpickled()) != (MAGIC, VERSION):
        raise pickle.UnpicklingError('it does not begin as a file of torch does')
    machine = unpickled()
    if not isinstance(machine, dict) or machine.get('little_endian') is not True:
        raise pickle.UnpicklingError('written on a big-endian machine')
    table, keys = unpickled(), unpickled()
    if not isinstance(keys, list) or sorted(kinds) != sorted(keys):
        raise pickle.UnpicklingError('its storages are not those of its tensors')
    storages = {}
    for key in keys:
        kind = kinds[key]
        count = int.from_bytes(file.read(8), 'little')
        size = count * (ITEM_SIZES.get(kind) or np.dtype(kind).itemsize)
        if size > length - file.tell():
            raise pickle.UnpicklingError(f'storage {key[:80]} ends too early')
        storages[key] = _numbers(file.read(size), kind)
    if not isinstance(table, dict):
        return table
    tensors = _Tensors()
    return {
        name: tensors.tensor(storages[value.storage], *value.where)
        if isinstance(value, _Place)
        else value
        for name, value in table.items()
    }
