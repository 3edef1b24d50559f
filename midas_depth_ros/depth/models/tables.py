"""The table of weights in files of any format: what it says that it holds, and its arrays.

In: the files that hold a network's weights, most often one. Out: shapes or arrays by their official
names, and plain values beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import files as weights_files
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.files import Header, Table, read_npz
from midas_depth_ros.depth.models import transformers_names
from midas_depth_ros.depth.safetensors_files import read_safetensors, safetensors_header
from midas_depth_ros.depth.torch_files import read_torch_table, torch_header

NPZ_BYTES_BESIDE_NUMBERS = 2 << 20
# How the names of whole numbers end: counters and tables of places. All others are weights, and
# whole numbers there would be a quantised network, whose scale nobody applies.
WHOLE = ('.num_batches_tracked', '.attention_bias_idxs')


def header_of(files: Sequence[Path], most_numbers: int) -> Header:
    """What the files say that they hold together; of an .npz, at most `most_numbers`.

    Raises WeightsCorrupt, WeightsMismatch.
    """
    headers = [_header(file, most_numbers) for file in files]
    shapes = _together([header.shapes for header in headers], files)
    values = _together([header.values for header in headers], files)
    return Header(transformers_names.official(shapes, transformers_names.joined_shapes), values)


def table_of(files: Sequence[Path], most_numbers: int) -> Table:
    """What they hold, `most_numbers` in all. Raises WeightsCorrupt, WeightsMismatch."""
    tables = []
    for file in files:
        tables.append(_table(file, most_numbers))
        most_numbers -= sum(array.size for array in tables[-1].arrays.values())
    arrays = _together([table.arrays for table in tables], files)
    values = _together([table.values for table in tables], files)
    return Table(transformers_names.official(arrays, np.concatenate), values)


def digest_of(files: Sequence[Path]) -> str:
    """SHA-256 of a file, or of the SHA-256s of several; raises as `files.open_file` does."""
    digests = [weights_files.digest_of(file) for file in files]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(' '.join(digests).encode()).hexdigest()


def _header(file: Path, most_numbers: int) -> Header:
    suffix = file.suffix.lower()
    if suffix == '.safetensors':
        return safetensors_header(file)
    if suffix != '.npz':
        return torch_header(file)
    arrays = _table(file, most_numbers).arrays
    return Header({name: array.shape for name, array in arrays.items()}, {})


def _table(file: Path, most_numbers: int) -> Table:
    suffix = file.suffix.lower()
    if suffix == '.safetensors':
        return read_safetensors(file, most_numbers)
    if suffix != '.npz':
        return read_torch_table(file, most_numbers)
    return Table(read_npz(file, 8 * most_numbers + NPZ_BYTES_BESIDE_NUMBERS), {})


def _together(tables: Sequence[Mapping[Any, Any]], files: Sequence[Path]) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for table, file in zip(tables, files, strict=True):
        if twice := found.keys() & table.keys():
            raise WeightsMismatch(
                f'{file} holds {min(map(str, twice))[:80]}, as {files[0].name} does: one of them '
                'is another file under a wrong name'
            )
        found |= table
    return found


# --- What no network can have.


def check_numbers(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise WeightsCorrupt where weights are no numbers that a network can compute with.

    NaN and infinity become depth 0; whole numbers are those of a quantised network.
    """
    whole = [
        name
        for name, array in arrays.items()
        if array.dtype.kind != 'f' and not name.endswith(WHOLE)
    ]
    if whole:
        raise WeightsCorrupt(
            f'{path} holds whole numbers ({arrays[whole[0]].dtype}) in {_named(whole, arrays)}: it '
            'is quantised, or of another network: use a file in float32, float16 or bfloat16'
        )
    refuse_what_is_not_finite(arrays, path)


def refuse_what_is_not_finite(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise WeightsCorrupt where a number is NaN or infinite: a network turns it into depth 0."""
    faults = [name for name, array in arrays.items() if not _finite(array)]
    if faults:
        raise WeightsCorrupt(
            f'{path} holds NaN or infinity in {_named(faults, arrays)}: fetch or copy the file '
            'again, or retrain'
        )


def _named(names: Sequence[str], arrays: Mapping[str, Any]) -> str:
    more = ', ...' if len(names) > weights_files.NAMED_KEYS else ''
    named = ', '.join(name[:80] for name in names[: weights_files.NAMED_KEYS])
    return f'{len(names)} of {len(arrays)} entries ({named}{more})'


def _finite(array: NDArray[Any]) -> bool:
    if array.dtype.kind != 'f':
        return True
    with np.errstate(over='ignore'):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())
