"""The registry of models, and the model of a name or a file.

To add one, write a file beside `embedded.py` that ends in a `ModelSpec`, and register it here; from
outside the package, `register(spec)` does the same. Needs no torch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import weights
from midas_depth_ros.depth.download_limit import FETCH_LIMIT, DownloadLimit, DownloadOptions
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    LicenceNotAccepted,
    UnknownModel,
    WeightsCorrupt,
    WeightsError,
    WeightsMismatch,
    WeightsNotFound,
    shown,
)
from midas_depth_ros.depth.files import NAMED_KEYS, Header, check_shapes, why_no_file
from midas_depth_ros.depth.models import (
    depth_anything,
    dpt,
    embedded,
    midas_small,
    midas_v21,
    monodepth2,
    tables,
    transformers_names,
    zipdepth,
)
from midas_depth_ros.depth.models.spec import (
    SUFFIXES,
    Interpolation,
    ModelSpec,
    OnnxGraph,
    Output,
    PictureInput,
    SeveralFiles,
    Shape,
    Sizing,
)
from midas_depth_ros.depth.models.tables import refuse_what_is_not_finite
from midas_depth_ros.depth.models.usage import usage_of
from midas_depth_ros.depth.weights_file import FileState, examine

__all__ = [
    'Interpolation',
    'ModelSpec',
    'OnnxGraph',
    'Output',
    'PictureInput',
    'SeveralFiles',
    'Sizing',
    'digest_of',
    'files_of',
    'find_weights',
    'marked',
    'name_of',
    'names',
    'refuse_what_is_not_finite',
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
FETCH = 'midas_depth weights fetch'
ARCHIVES = ('.zip', '.tar', '.gz', '.tgz')
PRECISION_IN_NAME = r'[_-](fp16|fp32|f16|f32|bf16)$'  # of a weights file
HUB_FILE = 'model.safetensors'  # in a folder as Hugging Face's hub has it

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
    monodepth2.SPEC,
):
    register(_spec)


# --- From a name to its weights, and from a file to its model.


def find_weights(
    model: str,
    *,
    allow_download: bool = True,
    limit: DownloadLimit = FETCH_LIMIT,
    accept_licence: str = '',
) -> Path:
    """The weights file of a model: a registered name, or the path of a file.

    Of weights in several files, and of a folder that holds weights, it is the path of one of them,
    which all functions here take for all. `limit`: how long a download may take. `accept_licence`:
    see `check_licence`. Raises UnknownModel where it is neither a name nor a file, WeightsError
    where the weights of a name are not available, LicenceNotAccepted.
    """
    if model in _specs:
        known = _specs[model]
        check_licence(known, accept_licence)
        if known.shipped is None:
            if model != PREFERRED:  # which the command fetches when none is named
                remedy = limit.remedy.replace(f'{FETCH}`', f'{FETCH} --model {model}`')
                limit = dataclasses.replace(limit, remedy=remedy)
            options = DownloadOptions(limit=limit)
            return weights.ensure_weights(
                known.weights, allow_download=allow_download, options=options
            )
        finding = examine(known.shipped, known.weights)
        if finding.state is not FileState.GOOD:
            raise WeightsCorrupt(f'{known.shipped} {finding.fault}: install the package again')
        return known.shipped
    path = Path(os.path.expanduser(model))  # Path.expanduser raises where there is no such user
    path = _in_folder(path) or path
    if fault := why_no_file(path):
        if os.path.isdir(path):
            wanted = [' and '.join(each.names) for each in _several()]
            fault += f' without {", or ".join((*wanted, HUB_FILE))}'
        raise UnknownModel(
            f'{shown(path)} is neither a model ({", ".join((AUTO, *names()))}) nor a file '
            f'({fault}): check the name or the path'
        )
    if path.suffix.lower() in ARCHIVES:
        raise UnknownModel(
            f'{shown(path)} is an archive: unpack it, and give the weights file, or the folder '
            'with the weights, that was in it'
        )
    if path.suffix.lower() in WEIGHTS_SUFFIXES:
        check_licence(spec_of(path), accept_licence)
    return path


def check_licence(model: ModelSpec, accepted: str) -> None:
    """Raise LicenceNotAccepted where the model has a licence that must be accepted, and it is not.

    `accepted`: names of licences, separated by commas.
    """
    file = model.weights
    given = {_plain(each) for each in (*accepted.split(','), *re.split(r'[,\s]+', accepted))}
    if file.must_be_accepted and _plain(file.licence) not in given:
        raise LicenceNotAccepted(
            f'{model.title}: its weights are under the licence {file.licence}, '
            f'{file.restriction}. Where your use is permitted, accept it: '
            f'accept_licence={file.licence}, on the command line --accept-licence {file.licence}'
        )


def licences_fault(accepted: str) -> str:
    """What is wrong with names of licences, separated by commas, '' = nothing: a typing error."""
    files = [model.weights for model in _specs.values()]
    known = {'', *(_plain(file.licence) for file in files)}
    odd = [each for each in accepted.split(',') if _plain(each) not in known]
    odd = [name for each in odd for name in each.split() if _plain(name) not in known]
    if not odd:
        return ''
    choice = ', '.join(sorted({file.licence for file in files if file.must_be_accepted}))
    return f'{shown(odd[0])} is the licence of no model; those to accept: {choice}'


def _plain(licence: str) -> str:
    """A licence's name as people write it: 'CC-BY-NC 4.0' for CC-BY-NC-4.0."""
    return re.sub(r'[\s_-]+', '-', licence.strip().lower()).removeprefix('licenseref-')


def _in_folder(folder: Path) -> Path | None:
    """A file that stands for the weights in a folder; None where there are none, or no folder."""
    if not os.path.isdir(folder):
        return None
    names = [name for several in _several() for name in several.names]
    found = [folder / name for name in (*names, HUB_FILE) if os.path.isfile(folder / name)]
    return found[0] if found else None


def _several() -> list[SeveralFiles]:
    return [model.several for model in _specs.values() if model.several]


def files_of(weights_file: Path) -> tuple[Path, ...]:
    """The files that hold the weights: one, or several of one folder, whichever is given."""
    for several in _several():
        if weights_file.name in several.names:
            files = tuple(weights_file.with_name(name) for name in several.names)
            if all(map(os.path.isfile, files)):
                return files
    return (weights_file,)


def name_of(weights_file: Path) -> str:
    """What to call a weights file: its name, or that of the folder with its several files."""
    single = len(files_of(weights_file)) == 1 and weights_file.name != HUB_FILE
    return weights_file.name if single else weights_file.resolve().parent.name


def digest_of(weights_file: Path) -> str:
    """SHA-256 of a weights file, or of the SHA-256s of several; raises as `files.open_file`."""
    return tables.digest_of(files_of(weights_file))


def spec_of(weights_file: Path) -> ModelSpec:
    """The model whose weights a file holds, by its suffix, keys and shapes.

    Where several networks share those, its SHA-256 decides, then the config.json that transformers
    keeps beside it, then its name. Where no model matches, the most similar one, whose strict
    loading then says what is wrong. Raises BackendUnavailable where no model has files with this
    suffix, WeightsNotFound where one of several files is missing, WeightsMismatch where no network
    has such keys, or several might be meant: with the wrong one, near and far could be swapped.
    """
    suffix = weights_file.suffix.lower()
    candidates = [model for model in _specs.values() if suffix in model.suffixes]
    if not candidates:
        raise BackendUnavailable(f'no model has weights named *{suffix}: {weights_file}')
    if len(candidates) == 1 and candidates[0].keys_tell:
        return candidates[0]
    files = files_of(weights_file)
    version = _version(files)
    try:
        header = _header(files, version)
    except WeightsError:  # loading says what is wrong
        header = Header({}, {})
    same = [model for model in candidates if _in_common(header.shapes, model) == 1]
    if not same:
        return _nearest(candidates, header.shapes, weights_file)
    model = same[0] if len(same) == 1 and same[0].keys_tell else _chosen(same, files, version)
    if model.several is None:
        return model
    try:
        return _sized(model, model.several.size(header.values))
    except ValueError as error:
        raise WeightsMismatch(f'{files[0]} says that {error}') from error


@functools.cache
def _sized(model: ModelSpec, size: tuple[int, int]) -> ModelSpec:
    """The model, for pictures of (h, w); the same object for the same size."""
    return model.sized(size)


def _nearest(
    candidates: Iterable[ModelSpec], shapes: Mapping[Any, Any], weights_file: Path
) -> ModelSpec:
    """The model that has most in common with a file of which it is not."""
    model = max(candidates, key=lambda each: _in_common(shapes, each))
    if shapes and not _in_common(shapes, model):
        some = ', '.join(str(name)[:80] for name in list(shapes)[:NAMED_KEYS])
        raise WeightsMismatch(
            f'{weights_file} has no entry of a known network (it holds {some}): give weights of '
            f'{", ".join(names())}, or the network as .onnx'
        )
    if model.several and shapes and weights_file.name in model.several.names:
        files = [weights_file.with_name(name) for name in model.several.names]
        missing = [file.name for file in files if not os.path.isfile(file)]
        if missing:
            raise WeightsNotFound(
                f'{weights_file.parent} has no {" and no ".join(missing)}: {model.title} is the '
                f'files {" and ".join(model.several.names)}; put them into one folder, and give it'
            )
    return model


def _chosen(
    same: Sequence[ModelSpec], files: tuple[Path, ...], version: tuple[Any, ...]
) -> ModelSpec:
    """Of models that share keys and shapes, the one that is meant."""
    digest = _digest(files, version)
    name = re.sub(PRECISION_IN_NAME, '', files[0].stem.lower())
    for model in same:
        if digest in (known.sha256 for known in (model.weights, *model.weights.twins)):
            return model
    config = transformers_names.config_beside(files[0])
    if config is not None and config.get('model_type'):
        fitting = [model for model in same if model.fits_config and model.fits_config(config)]
        if len(fitting) == 1:
            return fitting[0]
        raise WeightsMismatch(
            f'{files[0].with_name(transformers_names.CONFIG)} describes another network than those '
            f'that are known to have these keys and shapes: {_choice(same)}. If it is not of '
            f'{files[0].name}, move it to another folder'
        )
    for model in same:
        if name in {model.name, *(Path(each).stem.lower() for each in model.weights.names)}:
            return model
    raise WeightsMismatch(
        f'{files[0]} has the keys and shapes of several networks, which give different things: '
        'near and far could be swapped unnoticed. Name the file after the one that it is: '
        f'{_choice(same)}'
    )


def _choice(models: Iterable[ModelSpec]) -> str:
    return '; '.join(f'{model.weights.name} for {model.title}' for model in models)


def _in_common(found: Mapping[Any, Any], model: ModelSpec) -> float:
    """Share of the entries that the file and the model have in common, with equal shapes."""
    same = sum(found.get(key) == tuple(shape) for key, shape in model.shapes.items())
    return same / len(found.keys() | model.shapes.keys())


def _version(files: Iterable[Path]) -> tuple[Any, ...]:
    """What changes when a file is written anew; loading says what is wrong with one that is not."""
    with contextlib.suppress(OSError, ValueError):
        found = [file.stat() for file in files]
        return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)
    return ()


@functools.lru_cache(maxsize=8)
def _digest(files: tuple[Path, ...], version: tuple[Any, ...]) -> str:
    return tables.digest_of(files)


@functools.lru_cache(maxsize=8)
def _header(files: tuple[Path, ...], version: tuple[Any, ...]) -> Header:
    return tables.header_of(files, _most_in_archive())


def numbers_of(model: ModelSpec) -> int:
    """How many numbers its state dict has."""
    return sum(map(math.prod, model.shapes.values()))


def _most_in_archive() -> int:
    """The numbers of the largest network whose weights are a NumPy archive."""
    return max(numbers_of(model) for model in _specs.values() if '.npz' in model.suffixes)


# --- From a weights file to arrays and to an ONNX model.


def read_arrays(weights_file: Path) -> dict[str, NDArray[Any]]:
    """The state dict of a weights file, checked for keys, shapes and finite numbers.

    Raises WeightsCorrupt, and WeightsMismatch where keys or shapes are not those of the network.
    """
    model, files = spec_of(weights_file), files_of(weights_file)

    def check(shapes: Mapping[str, Shape]) -> None:
        check_shapes(shapes, model.shapes, weights_file, model.title, model.weights.name)

    # Keys and shapes come first: no more numbers are read than the network has.
    check(_header(files, _version(files)).shapes)
    table = tables.table_of(files, numbers_of(model))
    check({key: array.shape for key, array in table.arrays.items()})
    unknown = set(table.values) - set(model.several.values if model.several else ())
    if unknown:
        raise WeightsMismatch(
            f'{weights_file} is not a state dict: beside its weights it holds '
            f'{", ".join(sorted(map(str, unknown))[:NAMED_KEYS])[:80]}: save network.state_dict() '
            'alone'
        )
    tables.check_numbers(table.arrays, weights_file)
    return dict(table.arrays)


def onnx_of(weights_file: Path, weights_sha256: str = '') -> bytes:
    """The ONNX model of a weights file, with our metadata.

    `weights_sha256`: `digest_of` the file, where it is known. Raises WeightsCorrupt, also where the
    file has changed meanwhile, WeightsMismatch, and BackendUnavailable where the model has no
    graph.
    """
    sha256 = weights_sha256 or digest_of(weights_file)
    model = spec_of(weights_file)
    if model.onnx is None:
        raise BackendUnavailable(f'{model.title} has no ONNX graph: use backend torch')
    arrays = read_arrays(weights_file)
    floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    if digest_of(weights_file) != sha256:
        raise WeightsCorrupt(f'{weights_file} was changed while it was read: start again')
    metadata = {MARK: json.dumps(mark_of(model, sha256))}
    try:
        return model.onnx.make(floats, metadata)
    except ValueError as error:  # finite numbers that a normalisation turns into others
        raise WeightsCorrupt(
            f'{weights_file} gives a network with numbers that are not finite ({error}): retrain it'
        ) from error


def mark_of(model: ModelSpec, weights_sha256: str) -> dict[str, Any]:
    """Our entry in a model file: in ONNX's metadata or OpenVINO's rt_info."""
    mark: dict[str, Any] = {
        'network': model.name,
        'weights_sha256': weights_sha256,
        'gives': GIVES[model.output],
        **usage_of(model),
    }
    if model.several:  # the size is that of these weights, not of the network
        mark |= {'picture_size': list(model.picture.size)}
    return mark


def marked(model: ModelSpec, about: Mapping[str, Any]) -> ModelSpec:
    """The model of a model file, for pictures of the size that our entry in it says.

    Raises ValueError where it says one that the network does not take.
    """
    size = about.get('picture_size')
    if model.several is None or size is None:
        return model
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f'pictures are of the size {str(size)[:40]}: write it again')
    return _sized(model, model.several.size(dict(zip(model.several.values, size, strict=False))))
