"""Runs a network with ONNX Runtime on the CPU, in float32.

In: a weights file, whose ONNX model is written once and cached, or an .onnx file. Then:
(1, 3, h, w) float32 to (h, w) float32.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from midas_depth_ros.depth import conversion_cache
from midas_depth_ros.depth.backends import (
    AUTO,
    MODEL_SUFFIXES,
    Answer,
    LoadedBackend,
    answer_of,
)
from midas_depth_ros.depth.backends.ports import Port, as_map, check_proportions, not_run
from midas_depth_ros.depth.conversion_cache import Key, give_back_memory, show_steps
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    WeightsMismatch,
    printable,
)
from midas_depth_ros.depth.files import reason
from midas_depth_ros.depth.model_files import NOTHING_GIVEN, ModelFile, read_model_file
from midas_depth_ros.depth.models import digest_of, mark_of, onnx_of, spec_of
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize

CONVERSION = 2  # increase it whenever the graph changes
MODEL = 'model.onnx'
QUIET, SILENT = 3, 4  # ONNX Runtime's own log: errors and worse, or what ends the process
LEAST_MEMORY = 256 << 20  # bytes that a file of another maker may use in any case
MEMORY_PART = 0.8  # of the memory that is available when it is loaded

# The library's errors have no common base: each status is a class derived from RuntimeError or
# Exception, generated at import.
FAILURES: tuple[type[Exception], ...] = tuple(
    {
        RuntimeError,
        ValueError,
        MemoryError,
        *(
            value
            for value in vars(ort.capi.onnxruntime_pybind11_state).values()
            if isinstance(value, type) and issubclass(value, Exception)
        ),
    }
)


class OnnxruntimeBackend(LoadedBackend):
    """A model that has an ONNX graph, from weights or from an exported model file.

    `num_threads` limits the threads of this network alone; 0 = the cores this process may use.
    Waiting threads sleep instead of spinning, and none is pinned to a core.

    Raises WeightsCorrupt, WeightsMismatch, InvalidNetworkSize, and BackendUnavailable where the
    library fails.
    """

    name = 'onnxruntime'
    choice = 'f32: the only precision of backend onnxruntime'

    def __init__(
        self,
        weights: Path,
        num_threads: int = 0,
        precision: str = AUTO,
        size: NetworkSize = OFFICIAL,
        *,
        given: Mapping[str, Any] = NOTHING_GIVEN,
    ) -> None:
        threads = num_threads or len(os.sched_getaffinity(0))
        try:
            if weights.suffix.lower() in MODEL_SUFFIXES:
                own = read_model_file(weights, given)
                self._network = session_of(own.source, threads, bounded=bool(own.description))
            else:
                own, self._network = converted(weights, threads)
        except FAILURES as error:
            raise BackendUnavailable(
                f'onnxruntime cannot run {weights} ({reason(error)}): use another backend'
            ) from error
        self.spec, self.description = size.applied_to(own.spec), own.description
        self._port = Port.of(own.description)
        self._outputs = [self._port.output] if self._port.output else None
        self.weights_sha256 = (
            str(own.about.get('weights_sha256', '')) if not own.description else ''
        )
        self._input = self._network.get_inputs()[0].name
        usual = self.spec.picture.usual_size
        trial = np.zeros((1, 3, *usual), np.float32)
        if own.description is None:
            self.infer(trial)  # allocates
            return
        try:
            check_proportions(self._run(trial)[0].shape, usual)
        except DepthError as error:
            raise not_run(weights, usual, error) from error

    def _run(self, network_input: NDArray[np.float32]) -> Answer:
        picture = self._port.feed(network_input)
        try:
            outputs = self._network.run(self._outputs, {self._input: picture})
        except FAILURES as error:
            raise DepthError(
                f'onnxruntime could not run {network_input.shape}: {reason(error)}'
            ) from error
        if self.description is not None:
            (output,) = outputs
            return as_map(output), None
        return answer_of([each.reshape(each.shape[-2:]) for each in outputs])


def converted(weights: Path, threads: int) -> tuple[ModelFile, ort.InferenceSession]:
    """The ONNX model of a weights file, cached where possible, and its session.

    Raises WeightsCorrupt, WeightsMismatch, and what is in FAILURES.
    """
    spec, sha256 = spec_of(weights), digest_of(weights)
    size, version = spec.input_size_text, ort.__version__
    key = Key(sha256, spec.name, size, 'onnxruntime', version, 'f32', CONVERSION)
    about = mark_of(spec, sha256)
    made: list[bytes] = []  # kept in case the disk turns out to be full

    def make() -> bytes:
        if not made:
            title = f'converting {printable(weights.name)} for onnxruntime'
            with show_steps(title, 1) as step:
                step('reading the weights')
                made.append(onnx_of(weights, sha256))
        return made[0]

    def build(folder: Path) -> dict[str, Any]:
        (folder / MODEL).write_bytes(make())
        return {**about, 'precision': 'f32'}

    def own(folder: Path) -> tuple[ModelFile, ort.InferenceSession]:
        found = read_model_file(folder / MODEL)
        if (found.spec, found.about.get('weights_sha256', sha256)) != (spec, sha256):
            raise WeightsMismatch(f'{folder} holds a model of other weights: remove it')
        return found, session_of(found.source, threads)

    try:
        found = conversion_cache.load(key, build, own, (MODEL,))
        if made:
            made.clear()
            give_back_memory()
        return found
    except OSError:
        return ModelFile(spec, about, make()), session_of(make(), threads)


def session_of(model: bytes | Path, threads: int, *, bounded: bool = False) -> ort.InferenceSession:
    """A session on the CPU; raises what is in FAILURES where the model cannot be read.

    `bounded`: with no more memory than is available, so that a file cannot end the process.
    """
    options = ort.SessionOptions()
    # Explicit, because with 0 it pins its threads to cores.
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    options.log_severity_level = SILENT if bounded else QUIET
    if bounded:
        _bound_memory()
        options.add_session_config_entry('session.use_env_allocators', '1')
    return ort.InferenceSession(model, options, providers=['CPUExecutionProvider'])


def _bound_memory() -> None:
    """Limit the memory of all sessions that use the library's common allocator."""
    free = os.sysconf('SC_AVPHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    with contextlib.suppress(OSError, StopIteration, ValueError), open('/proc/meminfo') as file:
        line = next(line for line in file if line.startswith('MemAvailable:'))
        free = int(line.split()[1]) * 1024
    most = max(LEAST_MEMORY, int(MEMORY_PART * free))
    where = ort.OrtMemoryInfo(
        'Cpu', ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(where, ort.OrtArenaCfg(most, -1, -1, -1))
