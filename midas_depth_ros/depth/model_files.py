"""Model files, .onnx and OpenVINO's .xml: which are supported, and a refusal of all others.

A model file does not say which colours it expects, nor whether it gives inverse depth or depth, and
a wrong guess swaps near and far. So a file is recognised by what it computes, not by its name: an
ONNX model by the fingerprint of its network, an OpenVINO model, whose graph depends on that
library's version, by our metadata, the shapes of all its convolutions, its input and its output.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from midas_depth_ros.depth import models
from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.files import MOST_WEIGHTS_BYTES, read_file
from midas_depth_ros.depth.models import MARK, refuse_what_is_not_finite
from midas_depth_ros.depth.models.spec import Fingerprint, ModelSpec
from midas_depth_ros.depth.onnx_files import NotOnnx, read_onnx

MOST_XML_BYTES = 8 << 20
SIDES_NAMED = 4  # inputs or outputs, in an error text
# MiDaS's own files of release v2_1: they normalise colours, and do not equal the weights.
PUBLISHED_INPUT = '0'
PUBLISHED_SIDES = ((1, 3, 256, 256), (1, 3, 384, 384))

Shape = tuple[int, ...]


@dataclass(frozen=True)
class ModelFile:
    """A supported ONNX model: its spec, its metadata, its file or its bytes."""

    spec: ModelSpec
    about: Mapping[str, Any]
    source: Path | bytes


def read_model_file(path: Path) -> ModelFile:
    """Read an .onnx file.

    Raises WeightsCorrupt where it cannot be read, WeightsMismatch where it is not supported.
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
    if spec is None or about.get('network', spec.name) != spec.name:
        takes, gives = in_words(map(str, model.inputs)), in_words(map(str, model.outputs))
        source = model.inputs[0] if len(model.inputs) == 1 else None
        theirs = source and source.name == PUBLISHED_INPUT and source.shape in PUBLISHED_SIDES
        raise refusal(path, takes, gives, about=about, note=PUBLISHED if theirs else '')
    refuse_what_is_not_finite({weight.name: weight.array() for weight in model.weights}, path)
    return ModelFile(spec, about, path)  # not its bytes, which the libraries would never free


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


def refusal(
    path: Path, takes: str, gives: str, *, about: Mapping[str, Any], note: str = ''
) -> WeightsMismatch:
    """The error for a file that is not supported.

    `takes` and `gives`: its inputs and outputs in words. `note`: a reason.
    """
    if about:
        note = 'It has the metadata of this package, but another network: it was altered.'
    return WeightsMismatch(
        f'{path} is not a supported model: it takes {takes} and gives {gives}; expected is a file '
        f'written by `midas_depth export`. {note or OTHERS} Use {models.in_words()}, or export '
        'one of them.'
    )


OTHERS = (
    'Other files do not say which colours they expect, nor whether they give inverse depth or '
    'depth: near and far could be swapped unnoticed.'
)
PUBLISHED = (
    "It looks like MiDaS's own ONNX file, which normalises colours itself: they would be "
    'normalised twice.'
)


def in_words(sides: Iterable[str]) -> str:
    """A list of inputs or outputs, cut where it is long."""
    texts = list(sides)
    more = f' and {len(texts) - SIDES_NAMED} more' if len(texts) > SIDES_NAMED else ''
    return (', '.join(texts[:SIDES_NAMED]) or 'nothing') + more
