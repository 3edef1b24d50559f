"""Model files, .onnx and OpenVINO's .xml: which are known to be ours, and a refusal of all others.

A model file does not say which colours it wants, nor whether it gives inverse depth or depth, and
a wrong guess swaps near and far. So a file counts as ours by what it computes, not by a name: an
ONNX model by the fingerprint of its network, an OpenVINO model, whose graph depends on that
library's version, by our mark in it, the shapes of all its convolutions, its input and its output.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from midas_depth_ros.depth.errors import WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.models import (
    EMBEDDED,
    MARK,
    MIDAS_SMALL,
    NetworkKind,
    refuse_what_is_not_finite,
)
from midas_depth_ros.depth.onnx_files import NotOnnx, OnnxModel, read_onnx
from midas_depth_ros.depth.weights import read_file

MOST_BYTES = 128 << 20  # of an .onnx or a .bin: MiDaS_small in float32 has 66 MB
MOST_XML_BYTES = 8 << 20
SIDES_NAMED = 4  # inputs or outputs, in an error text

# MiDaS's own files of release v2_1: normalised inside, and not equal to the weights.
PUBLISHED_INPUT = '0'
PUBLISHED_SIDES = ((1, 3, 256, 256), (1, 3, 384, 384))

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Known:
    """A network that `midas_depth export` writes, or once wrote.

    `fingerprint`: see `OnnxModel`. `convolutions`: see `digest_of_shapes`.
    """

    kind: NetworkKind
    fingerprint: str
    convolutions: str


# The first of each kind is what is written today. A graph that changes becomes a further row:
# files of the older ones are on robots.
KNOWN = (
    Known(
        MIDAS_SMALL,
        '902072fa27eb162a112256720ebcfda82dedc600c4557fd244c6283bf353054f',
        '84db01da329eda88',
    ),
    Known(
        EMBEDDED,
        'be19132a081c3d5370ec2fd57ba99a0c8e73cfb39fa17fd94176895f79f41325',
        '763f673daaece8bf',
    ),
    Known(
        EMBEDDED,
        '95e52dfad128507d91616d4649109c9b86209692a1dde7ecac8b2677b3d2c276',
        'da451ff93bf01d53',
    ),
    Known(
        EMBEDDED,
        '0d19d4e44d485b55c3e62076959933d4e25a4b882eadde30f041ef18b6f9c83c',
        '6cc3927c9c848fef',
    ),
    Known(
        EMBEDDED,
        'ff017924d39ca0f69e2b871e35f464f314b276c0be37d73aad9d7d23fb964d8f',
        '6cc3927c9c848fef',
    ),
    Known(
        EMBEDDED,
        '3e021c79afcd161156b9e47dce9f9bf29faca466aa500bde02ecdc3a771b93f3',
        '74c8b77449af368e',
    ),
)


@dataclass(frozen=True)
class ModelFile:
    """An ONNX model that is ours: its network, what its mark says, its file or its bytes."""

    kind: NetworkKind
    about: Mapping[str, Any]
    source: Path | bytes


def read_model_file(path: Path) -> ModelFile:
    """An .onnx file of ours.

    Raises WeightsCorrupt where it cannot be read, WeightsMismatch where it is not known to be ours.
    """
    content = read_file(path, MOST_BYTES)
    try:
        model = read_onnx(content)
    except NotOnnx as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as an ONNX model ({error}): copy the file again, or write it '
            'anew with `midas_depth export`'
        ) from error
    about = about_of(model.metadata.get(MARK, ''))
    fingerprint = '' if model.odd else model.fingerprint()
    known = next((row for row in KNOWN if row.fingerprint == fingerprint), None)
    if known is None or about.get('network', known.kind.name) != known.kind.name:
        raise refusal(path, *_sides(model), about=about, note=_published(model))
    refuse_what_is_not_finite({weight.name: weight.array() for weight in model.weights}, path)
    return ModelFile(known.kind, about, path)  # the libraries would keep its bytes for good


def about_of(text: str) -> dict[str, Any]:
    """What a mark says; empty where it is none."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def digest_of_shapes(shapes: Iterable[Shape]) -> str:
    """Of the (out, in / groups, h, w) of all convolutions' kernels, in whatever order."""
    text = json.dumps(sorted(shapes))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def kernel_shapes(model: OnnxModel) -> list[Shape]:
    """Of all convolutions."""
    shapes = {weight.name: weight.shape for weight in model.weights}
    convolutions = [o for o in model.operations if o.kind in ('Conv', 'ConvTranspose')]
    return [shapes[convolution.inputs[1]] for convolution in convolutions]


def refusal(
    path: Path, takes: str, gives: str, *, about: Mapping[str, Any], note: str = ''
) -> WeightsMismatch:
    """The error for a file that is not known to be ours.

    `takes` and `gives`: its inputs and outputs in words. `note`: what else is to be said.
    """
    if about:
        note = 'It bears our mark, but its network is another: it was altered.'
    return WeightsMismatch(
        f'{path} is no depth network of ours: it takes {takes} and gives {gives}; wanted is a file '
        f'that `midas_depth export` wrote. {note or OTHERS} Use midas_small or embedded, or export '
        'one of them.'
    )


OTHERS = (
    'Other files do not say which colours they want, nor whether they give inverse depth or depth: '
    'near and far would be swapped in silence.'
)
PUBLISHED = (
    "It looks like MiDaS's own ONNX file, which normalises colours itself: they would be "
    'normalised twice.'
)


def _published(model: OnnxModel) -> str:
    source = model.inputs[0] if len(model.inputs) == 1 else None
    theirs = source and source.name == PUBLISHED_INPUT and source.shape in PUBLISHED_SIDES
    return PUBLISHED if theirs else ''


def _sides(model: OnnxModel) -> tuple[str, str]:
    return in_words(map(str, model.inputs)), in_words(map(str, model.outputs))


def in_words(sides: Iterable[str]) -> str:
    """A list of inputs or outputs, cut where it is long."""
    texts = list(sides)
    more = f' and {len(texts) - SIDES_NAMED} more' if len(texts) > SIDES_NAMED else ''
    return (', '.join(texts[:SIDES_NAMED]) or 'nothing') + more
