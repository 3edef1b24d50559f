"""Runs a network with ONNX Runtime on the CPU, in float32.

In: a weights file, whose ONNX model is written once and cached, or an .onnx file. Then:
(1, 3, h, w) float32 to (h, w) float32.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.backends import AUTO, MODEL_SUFFIXES
from midas_depth_ros.depth.conversion_cache import Key
from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.network_kinds import NetworkKind, kind_of, kind_of_input, onnx_of
from midas_depth_ros.depth.progress import show_steps
from midas_depth_ros.depth.weights_file import sha256_of

CONVERSION = 2  # raise it whenever the graph changes
MODEL = 'model.onnx'
QUIET = 3  # ONNX Runtime's own log: errors and worse

# It has no common base of its own: each status of the library is a class below RuntimeError
# or Exception, generated at import.
FAILURES: tuple[type[Exception], ...] = tuple(
    {
        RuntimeError,
        ValueError,
        *(
            value
            for value in vars(ort.capi.onnxruntime_pybind11_state).values()
            if isinstance(value, type) and issubclass(value, Exception)
        ),
    }
)


class OnnxruntimeBackend:
    """MiDaS_small, the embedded model, or a model of yours.

    `num_threads` bounds the threads of this network alone; 0 = the cores this process may use.
    Waiting threads sleep instead of spinning, and none is tied to a core.

    Raises WeightsCorrupt, WeightsMismatch.
    """

    name = 'onnxruntime'
    precision = 'f32'

    def __init__(self, weights: Path, num_threads: int = 0, precision: str = AUTO) -> None:
        self.choice = 'f32: the only precision of backend onnxruntime'
        threads = num_threads or len(os.sched_getaffinity(0))
        self._session: ort.InferenceSession | None
        if weights.suffix.lower() in MODEL_SUFFIXES:
            self._session = opened(weights, threads)
        else:
            with conversion_cache.provide(key(weights), lambda folder: build(folder, weights)) as e:
                self._session = opened(e.folder / MODEL, threads)
        kind = kind_of_session(self._session, weights)
        self.preprocess, self._finish = kind.preprocess, kind.finish
        self._input = self._session.get_inputs()[0].name
        self.infer(np.zeros((1, 3, *kind.usual_size), np.float32))  # allocates

    @property
    def num_threads(self) -> int:
        """How many threads it was given."""
        return self._session.get_session_options().intra_op_num_threads if self._session else 0

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32, of a size that the network takes, to (h, w) float32."""
        if self._session is None:
            raise DepthError('this onnxruntime backend is closed: load it again')
        picture = np.ascontiguousarray(network_input)
        try:
            (output,) = self._session.run(None, {self._input: picture})
        except FAILURES as error:
            raise DepthError(
                f'onnxruntime could not run {network_input.shape}: {reason(error)}'
            ) from error
        return self._finish(output.reshape(output.shape[-2:]))

    def close(self) -> None:
        self._session = None


def key(weights: Path) -> Key:
    """Of the cache's entry."""
    kind = kind_of(weights)
    size = f'{kind.input_size[0]}x{kind.input_size[1]}' if kind.input_size else 'any'
    return Key(
        sha256_of(weights), kind.name, size, 'onnxruntime', ort.__version__, 'f32', CONVERSION
    )


def build(folder: Path, weights: Path) -> dict[str, Any]:
    """Write the ONNX model of a weights file into a folder."""
    with show_steps(f'converting {weights.name} for onnxruntime, once', 2) as step:
        step('reading the weights')
        model = onnx_of(weights)
        step('writing the model')
        (folder / MODEL).write_bytes(model)
    return {'network': kind_of(weights).name, 'precision': 'f32'}


def opened(path: Path, threads: int) -> ort.InferenceSession:
    """A session on the CPU; WeightsCorrupt where the file cannot be read."""
    options = ort.SessionOptions()
    # Said explicitly, because with 0 it ties its threads to cores.
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = QUIET
    try:
        return ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    except FAILURES as error:
        raise WeightsCorrupt(
            f'{path} cannot be read as an ONNX model ({reason(error)}): copy the file again, or '
            'write it anew with `midas_depth export`'
        ) from error


def kind_of_session(session: ort.InferenceSession, path: Path) -> NetworkKind:
    """Which network it is; WeightsMismatch where it does not take one picture and give one."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    shapes = [node.shape for node in (*inputs, *outputs)]
    fits = (
        len(inputs) == len(outputs) == 1
        and inputs[0].type == 'tensor(float)'
        and len(shapes[0]) == 4
        and (shapes[0][1] == 3 or not isinstance(shapes[0][1], int))
        and len(shapes[1]) in (2, 3, 4)
    )
    if not fits:
        raise WeightsMismatch(
            f'{path} is no depth network: its inputs and outputs are {shapes}, wanted are one '
            'input (1, 3, h, w) float32 and one output (1, 1, h, w): write it with '
            '`midas_depth export`'
        )
    height, width = shapes[0][2:]
    fixed = isinstance(height, int) and isinstance(width, int)
    return kind_of_input(inputs[0].name, (height, width) if fixed else None)


def reason(error: BaseException) -> str:
    """The first line of the library's text."""
    return next(iter(str(error).splitlines()), '') or type(error).__name__
