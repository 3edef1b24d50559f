"""The kinds of network that weights files are of, and what each wants and gives.

In: a weights file. Out: which network it is of, what a picture becomes before it, and its graph
as an ONNX model, for every backend that reads one. Needs no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import WeightsCorrupt
from midas_depth_ros.depth.models import embedded, midas_small
from midas_depth_ros.depth.models.midas_small import midas_shapes
from midas_depth_ros.depth.torch_files import NAMED_KEYS, matched, read_torch_file
from midas_depth_ros.depth.weights import MIDAS_SMALL as MIDAS_SMALL_FILE
from midas_depth_ros.depth.weights import digest_of

# (H, W, 3) uint8 RGB, C-contiguous, to (1, 3, h, w) float32 as the network takes it. In memory
# its colours lie last, which OpenVINO wants; the other libraries want them first, and copy.
Preprocess = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
# What its converted model gives, (h, w) float32, to relative inverse depth at network size.
Finish = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True)
class NetworkKind:
    """A network, whatever its weights.

    `title` is for people. `input_size` is the (h, w) it takes, None for all multiples of 32;
    `usual_size` is what it gets of a 4:3 picture.
    """

    name: str
    title: str
    input_size: tuple[int, int] | None
    usual_size: tuple[int, int]
    preprocess: Preprocess
    finish: Finish


def as_it_is(output: NDArray[np.float32]) -> NDArray[np.float32]:
    """The output itself."""
    return output


MIDAS_SMALL = NetworkKind(
    'midas_small', 'MiDaS_small', None, (192, 256), midas_small.preprocess, as_it_is
)
EMBEDDED = NetworkKind(
    'embedded', 'the embedded model', embedded.SIZE, embedded.SIZE,
    embedded.preprocess, embedded.finish,
)  # fmt: skip
MARK = 'midas_depth'  # the key of our mark in a model's metadata


def kind_of(weights: Path) -> NetworkKind:
    """The network whose weights a file of this name holds."""
    return EMBEDDED if weights.suffix.lower() == embedded.SUFFIX else MIDAS_SMALL


def read_arrays(weights: Path) -> dict[str, NDArray[Any]]:
    """The state dict of a weights file, all its numbers finite.

    Raises WeightsCorrupt, and WeightsMismatch where keys or shapes are not those of the network.
    """
    if kind_of(weights) is EMBEDDED:
        arrays: dict[str, NDArray[Any]] = dict(embedded.read_weights(weights))
        shapes, use = embedded.embedded_shapes(), embedded.ASSET.name
    else:
        arrays, shapes, use = read_torch_file(weights), midas_shapes(), MIDAS_SMALL_FILE.name
    matched(arrays, shapes, weights, kind_of(weights).title, use)
    refuse_what_is_not_finite(arrays, weights)
    return arrays


def refuse_what_is_not_finite(arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Raise WeightsCorrupt where a number is NaN or infinite: a network makes depth 0 of it."""
    faults = [name for name, array in arrays.items() if not _finite(array)]
    if faults:
        more = ', ...' if len(faults) > NAMED_KEYS else ''
        raise WeightsCorrupt(
            f'{path} holds NaN or infinity in {len(faults)} of {len(arrays)} entries '
            f'({", ".join(faults[:NAMED_KEYS])}{more}): fetch or copy the file again, or train anew'
        )


def _finite(array: NDArray[Any]) -> bool:
    if array.dtype.kind != 'f':
        return True
    with np.errstate(over='ignore'):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())


def onnx_of(weights: Path) -> bytes:
    """The ONNX model of a weights file, with our mark; raises WeightsCorrupt, WeightsMismatch."""
    arrays = read_arrays(weights)
    floats = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    kind = kind_of(weights)
    metadata = {MARK: json.dumps(mark_of(kind, digest_of(weights)))}
    try:
        if kind is EMBEDDED:
            return embedded.embedded_onnx(floats, metadata)
        return midas_small.midas_onnx(floats, metadata=metadata)
    except ValueError as error:  # finite numbers, but not what normalisations make of them
        raise WeightsCorrupt(
            f'{weights} gives a network that holds no numbers ({error}): train it anew'
        ) from error


def mark_of(kind: NetworkKind, weights_sha256: str) -> dict[str, Any]:
    """What a model file of ours says of itself, in ONNX's metadata or OpenVINO's rt_info."""
    return {
        'network': kind.name,
        'weights_sha256': weights_sha256,
        'gives': 'relative inverse depth: larger = nearer, no unit',
    }
