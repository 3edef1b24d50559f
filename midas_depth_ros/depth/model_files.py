"""Model files, .onnx and OpenVINO's .xml: which network a file holds, and how it is to be used.

A file of this package is recognised by what it computes, not by its name: an ONNX model by the
fingerprint of its network, an OpenVINO model, whose graph depends on that library's version, by our
metadata, the shapes of all its convolutions, its input and its output. Any other file needs a
description (`foreign`): by itself it does not say which colours it expects, nor whether it gives
inverse depth or depth, and a wrong guess swaps near and far.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import models
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch, shown
from midas_depth_ros.depth.file_description import FileDescription
from midas_depth_ros.depth.files import MOST_WEIGHTS_BYTES, open_file, read_file
from midas_depth_ros.depth.foreign import describe, in_words
from midas_depth_ros.depth.graph_facts import LARGEST_CONSTANT, GraphView, small_values
from midas_depth_ros.depth.models import MARK, refuse_what_is_not_finite
from midas_depth_ros.depth.models.spec import Fingerprint, ModelSpec, Network
from midas_depth_ros.depth.onnx_reader import (
    DTYPES,
    NotOnnx,
    OnnxModel,
    Value,
    Weight,
    read_onnx,
)

MOST_XML_BYTES = 32 << 20
FLOATS = (1, 10, 11)  # ONNX's numbers of element types: float32, float16, float64
UNENDING = ('Loop', 'Scan')  # operations that may run for ever
MOST_OPERATIONS = 20_000  # OpenVINO follows a chain of 100,000 until the stack ends
NOTHING_GIVEN: Mapping[str, Any] = {}

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelFile:
    """An ONNX model: its network, its metadata, its file or its bytes.

    `description`: how it is to be used, of a file that this package did not write.
    """

    spec: Network
    about: Mapping[str, Any]
    source: Path | bytes
    description: FileDescription | None = None


def read_model_file(path: Path, given: Mapping[str, Any] = NOTHING_GIVEN) -> ModelFile:
    """Read an .onnx file. `given`: the user's parameters, as in `foreign.describe`.

    Raises WeightsCorrupt where it cannot be read, WeightsMismatch where it cannot be told how it is
    to be used.
    """
    content = read_file(path, MOST_WEIGHTS_BYTES)
    try:
        model = read_onnx(content)
    except NotOnnx as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as an ONNX model ({error}): copy the file again, or write it '
            'again with `midas_depth export`'
        ) from error
    about = about_of(model.metadata.get(MARK, ''))
    spec = None if model.unexpected else _spec_of(model.fingerprint())
    claimed = about.get('network', spec.name if spec else None)
    if spec is not None and claimed == spec.name:
        refuse_what_is_not_finite({weight.name: weight.array() for weight in model.weights}, path)
        # Not its bytes, which the libraries would never free.
        return ModelFile(marked(spec, about, path), about, path)
    refuse_altered(path, claimed, model.inputs, model.outputs, spec)
    refuse_too_many(path, len(model.operations))
    kinds = {operation.kind for operation in model.operations} | model.inner_kinds
    refuse_unending(path, kinds)
    _check_weights(model, path)
    description = describe(
        path,
        _view_of(model, path.parent),
        given=given,
        metadata=about,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    return ModelFile(description.network(), about, path, description)


def marked(spec: ModelSpec, about: Mapping[str, Any], path: Path) -> ModelSpec:
    """The model as our metadata in its file says; WeightsCorrupt where that cannot be."""
    try:
        return models.marked(spec, about)
    except ValueError as error:
        raise WeightsCorrupt(f'{path} says that {error}') from error


def _spec_of(fingerprint: str) -> ModelSpec | None:
    """The model with such a graph."""
    specs = map(models.spec, models.names())
    return next(
        (spec for spec in specs if fingerprint in (each.network for each in known_graphs(spec))),
        None,
    )


@functools.cache
def known_graphs(spec: ModelSpec) -> tuple[Fingerprint, ...]:
    """The graphs that `midas_depth export` writes or once wrote, the current one first."""
    if spec.onnx is None:
        return ()
    if spec.onnx.known:
        return spec.onnx.known
    ones = {name: np.ones(shape, np.float32) for name, shape in spec.shapes.items()}
    return (fingerprint_of(spec.onnx.make(ones, {})),)


def fingerprint_of(content: bytes) -> Fingerprint:
    """Fingerprint of an ONNX model's bytes."""
    model = read_onnx(content)
    shapes = {weight.name: weight.shape for weight in model.weights}
    convolutions = [o for o in model.operations if o.kind in ('Conv', 'ConvTranspose')]
    kernels = [shapes[convolution.inputs[1]] for convolution in convolutions]
    return Fingerprint(model.fingerprint(), digest_of_shapes(kernels))


def about_of(text: str) -> dict[str, Any]:
    """Our metadata in a model file, from JSON; empty where it is something else."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def digest_of_shapes(shapes: Iterable[Shape]) -> str:
    """Digest of the kernel shapes (out, in / groups, h, w) of all convolutions, in any order."""
    text = json.dumps(sorted(shapes))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def refuse_altered(
    path: Path,
    claimed: Any,
    inputs: Sequence[Value],
    outputs: Sequence[Value],
    is_spec: ModelSpec | None = None,
) -> None:
    """Raise WeightsMismatch where a file claims to be an export of a network, and is another.

    It would have the description of one network with the graph of another. `claimed`: the name in
    its metadata. `is_spec`: what it is by its graph, if that is known.
    """
    if claimed is None:
        return
    exported = claimed in models.names() and models.spec(str(claimed)).onnx is not None
    if is_spec is not None or exported:
        raise WeightsMismatch(
            f'{path} has the metadata of this package, but is not {shown(claimed)}: it was '
            f'altered. It takes {in_words(inputs)} and gives {in_words(outputs)}. Write it again '
            f'with `midas_depth export`, or use {models.in_words()}'
        )


def refuse_too_many(path: Path, operations: int) -> None:
    """Raise WeightsMismatch where a network has more operations than any that gives depth."""
    if operations > MOST_OPERATIONS:
        raise WeightsMismatch(
            f'{path} has {operations} operations, more than any network needs: export it again'
        )


def refuse_unending(path: Path, kinds: Iterable[str]) -> None:
    """Raise WeightsMismatch where a network holds loops."""
    if found := sorted(set(kinds) & set(UNENDING)):
        raise WeightsMismatch(
            f'{path} holds the operation {found[0]}, which may never end: export the network with '
            'fixed sizes, without loops'
        )


# --- The weights of a file of another maker, which may be in a second one.


def _view_of(model: OnnxModel, folder: Path) -> GraphView:
    weights = {weight.name: weight for weight in model.weights}
    kept = {name: w for o in model.operations for w in o.tensors.values() for name in o.outputs}

    def constants(name: str) -> NDArray[np.float64] | None:
        weight = weights.get(name)
        if weight is None or math.prod(weight.shape) > LARGEST_CONSTANT:
            return None
        return small_values(_at_hand(weight, folder))

    return GraphView(
        operations=model.operations,
        inputs=model.inputs,
        outputs=model.outputs,
        constants=constants,
        kernels={name: weight.shape for name, weight in (kept | weights).items()},
    )


def _check_weights(model: OnnxModel, path: Path) -> None:
    """Raise WeightsCorrupt or WeightsMismatch where weights are missing, too large or infinite."""
    folder = path.parent
    files = {weight.place.file for weight in model.weights if weight.place}
    sizes = {name: _size_of(path, name) for name in sorted(files)}
    if sum(sizes.values()) > MOST_WEIGHTS_BYTES:
        raise WeightsMismatch(
            f'{path} has weights of {sum(sizes.values()) / 1e6:.0f} MB beside it, the limit is '
            f'{MOST_WEIGHTS_BYTES / 1e6:.0f} MB: use a smaller network'
        )
    for weight in model.weights:
        if weight.place:
            _check_place(weight, sizes[weight.place.file], path)
    for weight in model.weights:
        if weight.element in FLOATS and (weight.place or weight.data is not None):
            array = _at_hand(weight, folder).array()  # one at a time
            refuse_what_is_not_finite({weight.name: array}, path)


def _size_of(path: Path, name: str) -> int:
    """Bytes of a file that holds weights; it has to be in the folder of the model, not a link."""
    place = path.parent / name
    inside = not os.path.isabs(name) and '..' not in Path(name).parts
    if not inside or not place.resolve().is_relative_to(path.parent.resolve()):
        raise WeightsMismatch(
            f'{path} names {shown(name)} for its weights, outside its folder: save it with a file '
            'beside it'
        )
    if not os.path.lexists(place):
        raise WeightsCorrupt(
            f'{path} has its weights in a second file, {shown(name)}, which is not there: copy '
            'both into one folder'
        )
    with open_file(place, MOST_WEIGHTS_BYTES) as file:
        return os.fstat(file.fileno()).st_size


def _check_place(weight: Weight, size: int, path: Path) -> None:
    assert weight.place is not None
    item = np.dtype(DTYPES[weight.element]).itemsize if weight.element in DTYPES else 0
    needed = math.prod(weight.shape) * item or (weight.place.length or 0)
    length = weight.place.length
    if weight.place.offset + needed > size or (length is not None and length < needed):
        raise WeightsCorrupt(
            f'{path}: {shown(weight.place.file)} ends before the weights that are to be in it: '
            'copy both files again'
        )


def _at_hand(weight: Weight, folder: Path) -> Weight:
    """The weight with its numbers, read from a second file where they are there."""
    if weight.place is None or weight.element not in DTYPES:
        return weight
    item = np.dtype(DTYPES[weight.element]).itemsize
    with open_file(folder / weight.place.file, MOST_WEIGHTS_BYTES) as file:
        file.seek(weight.place.offset)
        data = file.read(math.prod(weight.shape) * item)
    return Weight(weight.name, weight.shape, memoryview(data), weight.element)
