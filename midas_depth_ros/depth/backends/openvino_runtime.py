"""What OpenVINO does for us: reads a model, compiles it for this CPU, runs it, writes it.

In: a path or the bytes of an ONNX model. Out: a `Compiled` network, which takes
(1, 3, h, w) float32 and gives (h, w) float32. OpenVINO's own errors become ours here.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.network_kinds import NetworkKind, kind_of_input

VERSION = ov.__version__.split('-')[0]
CPU = 'CPU'
ABOUT_PATH = ['midas_depth', 'about']  # where a written model says what it is
HINTS = {'f32': 'f32', 'bf16': 'bf16', 'f16': 'f16', 'int8': 'f32'}
CAPABILITIES = {'BF16': 'bf16', 'FP16': 'f16', 'INT8': 'int8'}
REASON_LENGTH = 200


class Compiled:
    """A network ready to run; one size after another is fine."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()

    @property
    def num_threads(self) -> int:
        """How many threads it was compiled for."""
        return int(self._compiled.get_property('INFERENCE_NUM_THREADS'))

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 to (h, w) float32; DepthError where the size is not taken."""
        try:
            self._request.set_input_tensor(ov.Tensor(network_input, shared_memory=True))
            self._request.infer(share_outputs=True)
        except RuntimeError as error:
            size = network_input.shape
            raise DepthError(f'openvino could not run {size}: {reason(error)}') from error
        output = self._request.get_output_tensor().data
        # The next run overwrites what this one gives.
        inverse_depth: NDArray[np.float32] = output.reshape(output.shape[-2:]).copy()
        return inverse_depth


class Runtime:
    """OpenVINO on this CPU. `num_threads` 0 = its own choice: all cores it may use."""

    def __init__(self, num_threads: int = 0) -> None:
        self._core = ov.Core()
        self._num_threads = num_threads

    def precisions(self) -> tuple[str, ...]:
        """Those that this CPU computes with itself."""
        offered = self._core.get_property(CPU, 'OPTIMIZATION_CAPABILITIES')
        return ('f32', *(ours for theirs, ours in CAPABILITIES.items() if theirs in offered))

    def from_onnx(self, model: bytes) -> ov.Model:
        """A model of ours, in memory."""
        return self._core.read_model(model)

    def read(self, path: Path) -> ov.Model:
        """An .onnx file, or an .xml with its .bin; WeightsCorrupt where it cannot be read."""
        if path.suffix.lower() == '.xml' and not path.with_suffix('.bin').is_file():
            raise WeightsCorrupt(
                f'{path.with_suffix(".bin")} is not there: an OpenVINO model is two files, '
                'copy both'
            )
        try:
            return self._core.read_model(path)
        except RuntimeError as error:
            raise WeightsCorrupt(
                f'{path} cannot be read as a model ({reason(error)}): copy the file again, or '
                'write it anew with `midas_depth export`'
            ) from error

    def compile(self, model: ov.Model, precision: str) -> Compiled:
        """Make it ready for this CPU; BackendUnavailable is for the caller to say."""
        options: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': HINTS[precision],
            'INFERENCE_NUM_THREADS': self._num_threads,
            'PERFORMANCE_HINT': 'LATENCY',
            # The operating system, and whoever set an affinity, knows better where there is room.
            'ENABLE_CPU_PINNING': False,
        }
        return Compiled(self._core.compile_model(model, CPU, options))


def save(model: ov.Model, path: Path, precision: str, about: Mapping[str, Any]) -> None:
    """Write `path` (.xml) and its .bin; half the size where the precision is less than f32."""
    model.set_rt_info(json.dumps(about), ABOUT_PATH)
    ov.save_model(model, path, compress_to_fp16=precision in ('bf16', 'f16'))


def about_of(model: ov.Model) -> dict[str, Any]:
    """What `save` noted; empty for a model from elsewhere."""
    if not model.has_rt_info(ABOUT_PATH):
        return {}
    try:
        about = json.loads(str(model.get_rt_info(ABOUT_PATH).value))
    except ValueError:
        return {}
    return about if isinstance(about, dict) else {}


def kind_of_model(model: ov.Model, path: Path) -> NetworkKind:
    """Which network it is; WeightsMismatch where it does not take one picture and give one."""
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise _mismatch(path, f'it has {len(model.inputs)} inputs, {len(model.outputs)} outputs')
    source, shape = model.input(0), model.input(0).get_partial_shape()
    if shape.rank.get_length() != 4 or str(shape[1]) not in ('3', '?'):
        raise _mismatch(path, f'its input is {shape}')
    if source.get_element_type() != ov.Type.f32:
        raise _mismatch(path, f'its input is {source.get_element_type().get_type_name()}')
    result = model.output(0).get_partial_shape()
    if result.rank.get_length() not in (2, 3, 4):
        raise _mismatch(path, f'its output is {result}')
    fixed = shape[2].is_static and shape[3].is_static
    size = (shape[2].get_length(), shape[3].get_length()) if fixed else None
    return kind_of_input(source.get_any_name(), size)


def _mismatch(path: Path, found: str) -> WeightsMismatch:
    return WeightsMismatch(
        f'{path} is no depth network: {found}, wanted are one input (1, 3, h, w) float32 and one '
        'output (1, 1, h, w): write it with `midas_depth export`'
    )


def reason(error: BaseException) -> str:
    """The last line of OpenVINO's text: those before it name its own source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1] if lines else type(error).__name__, REASON_LENGTH)
