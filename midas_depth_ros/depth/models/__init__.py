"""The registry of models, and the model of a name or a file.

To add one, write a file beside `embedded.py` that ends in a `ModelSpec`, and register it here; from
outside the package, `register(spec)` does the same. Needs no torch.
"""

from __future__ import annotations

import functools
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import weights
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    LicenceNotAccepted,
    UnknownModel,
    WeightsCorrupt,
    WeightsError,
    WeightsMismatch,
    shown,
)
from midas_depth_ros.depth.files import (
    NAMED_KEYS,
    check_shapes,
    digest_of,
    read_npz,
    read_torch_file,
    torch_file_shapes,
    why_no_file,
)
from midas_depth_ros.depth.models import (
    depth_anything,
    dpt,
    embedded,
    midas_small,
    midas_v21,
    zipdepth,
)
from midas_depth_ros.depth.models.spec import (
    SUFFIXES,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    Sizing,
)
from midas_depth_ros.depth.models.usage import usage_of

__all__ = [
    'Interpolation',
    'ModelSpec',
    'OnnxGraph',
    'Output',
    'PictureInput',
    'Sizing',
    'find_weights',
    'names',
    'register',
    'spec',
    'unregister',
]

AUTO = 'auto'
PREFERRED, FALLBACK = 'midas_small', 'embedded'  # what 'auto' takes
WEIGHTS_SUFFIXES = tuple(dict.fromkeys(suffix for named in SUFFIXES.values() for suffix in named))
MARK = 'midas_depth'  # key of our entry in an ONNX model's metadata
GIVES = {  # the text in a model file
    Output.RELATIVE_INVERSE_DEPTH: 'relative inverse depth: larger = nearer, no unit',
    Output.DISPARITY: 'disparity: larger = nearer, no unit',
    Output.RELATIVE_DEPTH: 'relative depth: larger = farther, no unit',
    Output.METRIC_DEPTH: 'depth in metres: larger = farther',
}
NPZ_BYTES_BESIDE_NUMBERS = 2 << 20

_specs: dict[str, ModelSpec] = {}


def register(model: ModelSpec) -> None:
    """Register a model under its name, for `load_estimator`, the node's `model`, every command.

    Raises ValueError where the name, or that of the weights file, is taken.
    """
    for other in _specs.values():
        if other.name == model.name:
            raise ValueError(f'a model {model.name!r} is registered already: choose another name')
        if set(other.weights.names) & set(model.weights.names):
            raise ValueError(
                f'model {model.name!r}: {other.name!r} has a weights file {model.weights.name!r}, '
                'too: choose another name for it'
            )
    _specs[model.name] = model


def unregister(name: str) -> None:
    """Remove a model from the registry; raises UnknownModel."""
    del _specs[spec(name).name]


def names() -> tuple[str, ...]:
    """The names of the models, in the order of their registration."""
    return tuple(_specs)


def in_words() -> str:
    """What to use where another file cannot be: the names that 'auto' takes, for a sentence."""
    return f'{PREFERRED} or {FALLBACK}'


def spec(name: str) -> ModelSpec:
    """The model of this name; raises UnknownModel, which lists the names."""
    if name not in _specs:
        raise UnknownModel(f'{shown(name)} is not one of the models: {", ".join(names())}')
    return _specs[name]


for _spec in (
    midas_small.SPEC,
    embedded.SPEC,
    zipdepth.SPEC,
    zipdepth.CONVEX_SPEC,
    *depth_anything.SPECS,
    midas_v21.SPEC,
    *dpt.SPECS,
):
    register(_spec)


# --- From a name to its weights, and from a file to its model.


def find_weights(
    model: str,
    *,
    allow_download: bool = True,
    limit: weights.DownloadLimit = weights.FETCH_LIMIT,
    accept_licence: str = '',
) -> Path:
    """The weights file of a model: a registered name, or the path of a file.

    `limit`: how long a download may take. `accept_licence`: see `check_licence`. Raises
    UnknownModel where it is neither a name nor a file, WeightsError where the weights of a name are
    not available, LicenceNotAccepted.
    """
    if model in _specs:
        known = _specs[model]
        check_licence(known, accept_licence)
        if known.shipped is None:
            options = weights.DownloadOptions(limit=limit)
            return weights.ensure_weights(
                known.weights, allow_download=allow_download, options=options
            )
        finding = weights.examine(known.shipped, known.weights)
        if finding.state is not weights.FileState.GOOD:
            raise WeightsCorrupt(f'{known.shipped} {finding.fault}: install the package again')
        return known.shipped
    path = Path(os.path.expanduser(model))  # Path.expanduser raises where there is no such user
    if fault := why_no_file(path):
        raise UnknownModel(
            f'{shown(path)} is neither a model ({", ".join((AUTO, *names()))}) nor a file '
            f'({fault}): check the name or the path'
        )
    if path.suffix.lower() in WEIGHTS_SUFFIXES:
        check_licence(spec_of(path), accept_licence)
    return path


def check_licence(model: ModelSpec, accepted: str) -> None:
    """Raise LicenceNotAccepted where the model has a licence that must be accepted, and it is not.

    `accepted`: names of licences, separated by commas.
    """
    file = model.weights
    if file.must_be_accepted and file.licence not in re.split(r'[,\s]+', accepted):
        raise LicenceNotAccepted(
            f'{model.title}: its weights are under the licence {file.licence}, '
            f'{file.restriction}. Where your use is permitted, accept it: '
            f'accept_licence={file.licence}'
        )


def licences_fault(accepted: str) -> str:
    """What is wrong with names of licences, separated by commas, '' = nothing: a typing error."""
    files = [model.weights for model in _specs.values()]
    known = {'', *(file.licence for file in files)}
    odd = [name for name in re.split(r'[,\s]+', accepted) if name not in known]
    if not odd:
        return ''
    choice = ', '.join(sorted({file.licence for file in files if file.must_be_accepted}))
    return f'{shown(odd[0])} is the licence of no model; those to accept: {choice}'


def spec_of(weights_file: Path) -> ModelSpec:
    """The model whose weights a file holds, by its suffix, keys and shapes.

    Where several networks share those, its SHA-256 decides, then its name. Where no model matches,
    the most similar one, whose strict loading then says what is wrong. Raises BackendUnavailable
    where no model has files with this suffix, WeightsMismatch where several might be meant: with
    the wrong one, near and far could be swapped.
    """
    suffix = weights_file.suffix.lower()
    candidates = [model for model in _specs.values() if suffix in model.suffixes]
    if not candidates:
        raise BackendUnavailable(f'no model has weights named *{suffix}: {weights_file}')
    if len(candidates) == 1 and candidates[0].keys_tell:
        return candidates[0]
    version = _version(weights_file)
    found = _shapes(weights_file, version)
    same = [model for model in candidates if _in_common(found, model) == 1]
    if not same:
        return max(candidates, key=lambda model: _in_common(found, model))
    if len(same) == 1 and same[0].keys_tell:
        return same[0]
    digest, name = _digest(weights_file, version), weights_file.stem.lower()
    for model in same:
        if digest == model.weights.sha256:
            return model
    for model in same:
        if name in {model.name, *(Path(each).stem.lower() for each in model.weights.names)}:
            return model
    choice = '; '.join(f'{model.weights.name} for {model.title}' for model in same)
    raise WeightsMismatch(
        f'{weights_file} has the keys and shapes of several networks, which give different things: '
        f'near and far could be swapped unnoticed. Name the file after the one that it is: {choice}'
    )


def _in_common(found: Mapping[Any, Any], model: ModelSpec) -> float:
    """Share of the entries that the file and the model have in common, with equal shapes."""
    same = sum(found.get(key) == tuple(shape) for key, shape in model.shapes.items())
    return same / len(found.keys() | model.shapes.keys())


def _version(weights_file: Path) -> tuple[int, ...]:
    """What changes when a file is written anew; loading says what is wrong with one that is not."""
    try:
        status = weights_file.stat()
    except (OSError, ValueError):
        return ()
    return status.st_mtime_ns, status.st_size, status.st_ino


@functools.lru_cache(maxsize=8)
def _digest(weights_file: Path, version: tuple[int, ...]) -> str:
    return digest_of(weights_file)


@functools.lru_cache(maxsize=8)
def _shapes(weights_file: Path, version: tuple[int, ...]) -> Mapping[Any, Any]:
    if weights_file.suffix.lower() != '.npz':
        return torch_file_shapes(weights_file)
    try:
        return {name: array.shape for name, array in _read_npz(weights_file).items()}
    except WeightsError:
        return {}


def numbers_of(model: ModelSpec) -> int:
    """How many numbers its state dict has."""
    return sum(map(math.prod, model.shapes.values()))


def _read_npz(weights_file: Path) -> dict[str, NDArray[np.float32]]:
    """Up to the size of the largest model in float64."""
    numbers = max(numbers_of(model) for model in _specs.values() if '.npz' in model.suffixes)
    return read_npz(weights_file, 8 * numbers + NPZ_BYTES_BESIDE_NUMBERS)


# --- From a weights file to arrays and to an ONNX model.


def read_arrays(weights_file: Path) -> dict[str, NDArray[Any]]:
    """The state dict of a weights file, checked for keys, shapes and finite numbers.

    Raises WeightsCorrupt, and WeightsMismatch where keys or shapes are not those of the network.
    """
    model = spec_of(weights_file)
    arrays: dict[str, NDArray[Any]]
    if weights_file.suffix.lower() == '.npz':
        arrays = dict(_read_npz(weights_file))
    else:
        # Keys and shapes come first: no more numbers are read than the network has.
        if shapes := torch_file_shapes(weights_file):
            check_shapes(shapes, model.shapes, weights_file, model.title, model.weights.name)
        arrays = read_torch_file(weights_file, numbers_of(model))
    shapes = {key: array.shape for key, array in arrays.items()}
    check_shapes(shapes, model.shapes, weights_file, model.title, model.weights.name)
    refuse_what_is_not_finite(arrays, weights_file)
    return arrays


def refuse_what_is_not_finite(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise WeightsCorrupt where a number is NaN or infinite: a network turns it into depth 0."""
    faults = [name for name, array in arrays.items() if not _finite(array)]
    if faults:
        more = ', ...' if len(faults) > NAMED_KEYS else ''
        raise WeightsCorrupt(
            f'{path} holds NaN or infinity in {len(faults)} of {len(arrays)} entries '
            f'({", ".join(faults[:NAMED_KEYS])}{more}): fetch or copy the file again, or retrain'
        )


def _finite(array: NDArray[Any]) -> bool:
    if array.dtype.kind != 'f':
        return True
    with np.errstate(over='ignore'):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())


def onnx_of(weights_file: Path) -> bytes:
    """The ONNX model of a weights file, with our metadata.

    Raises WeightsCorrupt, WeightsMismatch, and BackendUnavailable where the model has no graph.
    """
    model = spec_of(weights_file)
    if model.onnx is None:
        raise BackendUnavailable(f'{model.title} has no ONNX graph: use backend torch')
    arrays = read_arrays(weights_file)
    floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    metadata = {MARK: json.dumps(mark_of(model, digest_of(weights_file)))}
    try:
        return model.onnx.make(floats, metadata)
    except ValueError as error:  # finite numbers that a normalisation turns into others
        raise WeightsCorrupt(
            f'{weights_file} gives a network with numbers that are not finite ({error}): retrain it'
        ) from error


def mark_of(model: ModelSpec, weights_sha256: str) -> dict[str, Any]:
    """Our entry in a model file: in ONNX's metadata or OpenVINO's rt_info."""
    return {
        'network': model.name,
        'weights_sha256': weights_sha256,
        'gives': GIVES[model.output],
        **usage_of(model),
    }
