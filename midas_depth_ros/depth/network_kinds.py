"""The kinds of network that weights files are of, and what each wants and gives.

In: a weights file. Out: which network it is of, what a picture becomes before it, and its graph
as an ONNX model, for every backend that reads one. Needs no torch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import embedded, embedded_graph, midas_graph, preprocessing
from midas_depth_ros.depth.errors import WeightsMismatch
from midas_depth_ros.depth.torch_files import matched, read_torch_file
from midas_depth_ros.depth.weights_file import MIDAS_SMALL as MIDAS_SMALL_FILE

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
    'midas_small', 'MiDaS_small', None, (192, 256), preprocessing.preprocess, as_it_is
)
EMBEDDED = NetworkKind(
    'embedded', 'the embedded model', embedded_graph.SIZE, embedded_graph.SIZE,
    embedded.preprocess, embedded.finish,
)  # fmt: skip
EMBEDDED_INPUT = 'picture'  # what its ONNX model calls it


def kind_of(weights: Path) -> NetworkKind:
    """The network whose weights a file of this name holds."""
    return EMBEDDED if weights.suffix.lower() == embedded.SUFFIX else MIDAS_SMALL


def kind_of_input(name: str, size: tuple[int, int] | None) -> NetworkKind:
    """The network of a converted model, by its input's name and its (h, w), None for any.

    A model made elsewhere is taken for one that wants colours as MiDaS does, at its own size.
    """
    if name == EMBEDDED_INPUT and size == EMBEDDED.input_size:
        return EMBEDDED
    if size is None:
        return MIDAS_SMALL
    return NetworkKind(
        'custom', 'a network of fixed size', size, size,
        functools.partial(preprocessing.preprocess, size=(size[1], size[0])), as_it_is,
    )  # fmt: skip


def onnx_of(weights: Path) -> bytes:
    """The ONNX model of a weights file; raises WeightsCorrupt, WeightsMismatch."""
    return _embedded_onnx(weights) if kind_of(weights) is EMBEDDED else _midas_onnx(weights)


def _midas_onnx(weights: Path) -> bytes:
    arrays = read_torch_file(weights)
    wanted = midas_graph.midas_shapes()
    matched(arrays, wanted, weights, MIDAS_SMALL.title, MIDAS_SMALL_FILE.name)
    return midas_graph.midas_onnx(
        {key: np.asarray(array, np.float32) for key, array in arrays.items()}
    )


def _embedded_onnx(weights: Path) -> bytes:
    arrays = embedded.read_weights(weights)
    try:
        return embedded_graph.embedded_onnx(arrays)
    except (KeyError, ValueError, IndexError) as error:
        raise WeightsMismatch(
            f'{weights} is not a state dict of the embedded model ({error}): use '
            f'{embedded.ASSET.name} or weights trained from it'
        ) from error
