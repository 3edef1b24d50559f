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
from openvino.preprocess import PrePostProcessor

from midas_depth_ros.depth.errors import DepthError, WeightsCorrupt, WeightsMismatch
from midas_depth_ros.depth.network_kinds import NetworkKind, kind_of_input

VERSION = ov.__version__.split('-')[0]
CPU = 'CPU'
ABOUT_PATH = ['midas_depth', 'about']  # where a written model says what it is
CAPABILITIES = {'BF16': 'bf16', 'FP16': 'f16', 'INT8': 'int8'}
REASON_LENGTH = 200
COLOURS_LAST = (0, 2, 3, 1)  # axes of (1, 3, h, w) as OpenVINO's convolutions take a picture
OWN_SIZES = 2  # sizes of input that get a network of their own; each is a copy of the weights

Shape = tuple[int, ...]


class Compiled:
    """A network ready to run.

    For one size of input the library makes a faster network than for any (2 % in f32, 6 % in
    int8), so the first few sizes that come get their own, and all others share one.
    """

    def __init__(self, core: ov.Core, model: ov.Model, options: dict[str, Any]) -> None:
        self._core, self._options = core, options
        self._shape = model.input(0).get_partial_shape()
        self._model = colours_last(model)
        self._compiled: dict[Shape | None, ov.CompiledModel] = {}  # None: for any size
        self._requests: dict[Shape | None, ov.InferRequest] = {}
        self._expected: Shape | None = None

    @property
    def num_threads(self) -> int:
        """How many threads it was compiled for; 0 before it is."""
        networks = list(self._compiled.values())
        return int(networks[0].get_property('INFERENCE_NUM_THREADS')) if networks else 0

    def expect(self, shape: Shape) -> None:
        """Make it ready for inputs of a shape, unless the first one that comes has another.

        Raises RuntimeError where OpenVINO cannot.
        """
        self._prepare(shape)
        self._expected = shape
        self._run(np.zeros(shape, np.float32))

    def infer(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 to (h, w) float32; DepthError where the size is not taken."""
        if not self._shape.compatible(ov.PartialShape(network_input.shape)):
            raise DepthError(
                f'openvino could not run {network_input.shape}: the network takes {self._shape}'
            )
        try:
            self._prepare(network_input.shape)
            return self._run(network_input)
        except RuntimeError as error:
            raise DepthError(
                f'openvino could not run {network_input.shape}: {reason(error)}'
            ) from error

    def _run(self, network_input: NDArray[np.float32]) -> NDArray[np.float32]:
        request = self._requests.get(network_input.shape) or self._requests[None]
        picture = np.ascontiguousarray(network_input.transpose(COLOURS_LAST))
        request.set_input_tensor(ov.Tensor(picture, shared_memory=True))
        request.infer(share_outputs=True)
        output = request.get_output_tensor().data
        # The next run overwrites what this one gives.
        inverse_depth: NDArray[np.float32] = output.reshape(output.shape[-2:]).copy()
        return inverse_depth

    def _prepare(self, shape: Shape) -> None:
        expected, self._expected = self._expected, None
        if shape in self._requests:
            return
        if expected:  # nothing came of it; it need not lie in memory
            del self._requests[expected], self._compiled[expected]
        own = len(self._requests) < OWN_SIZES
        key = shape if own else None
        if key in self._requests:
            return
        if self._shape.is_dynamic:
            taken = shape if own else tuple(self._shape)
            self._model.reshape([taken[axis] for axis in COLOURS_LAST])
        self._compiled[key] = self._core.compile_model(self._model, CPU, self._options)
        self._requests[key] = self._compiled[key].create_infer_request()


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
        """A network for this CPU, which is compiled when its first input comes."""
        hint = precision
        if precision == 'int8':  # what of it is not quantised
            hint = 'bf16' if 'bf16' in self.precisions() else 'f32'
        options: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': hint,
            'INFERENCE_NUM_THREADS': self._num_threads,
            'PERFORMANCE_HINT': 'LATENCY',
            # The operating system, and whoever set an affinity, knows better where there is room.
            'ENABLE_CPU_PINNING': False,
        }
        return Compiled(self._core, model, options)


def colours_last(model: ov.Model) -> ov.Model:
    """A copy that takes (1, h, w, 3): otherwise it would reorder every picture itself, slowly."""
    steps = PrePostProcessor(model.clone())
    steps.input().tensor().set_layout(ov.Layout('NHWC'))
    steps.input().model().set_layout(ov.Layout('NCHW'))
    return steps.build()


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
