"""OpenVINO: reads a model, compiles it for this CPU, runs it, writes it.

In: a path or the bytes of an ONNX model. Out: a `Compiled` network, which takes
(1, 3, h, w) float32 and gives (h, w) float32, depth and what else it says. OpenVINO's errors become
those of `errors`.
"""

from __future__ import annotations

import errno
import json
import math
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino.preprocess import PrePostProcessor

from midas_depth_ros.depth import models
from midas_depth_ros.depth.backends.openvino_graph import view_of
from midas_depth_ros.depth.backends.ports import Port, as_map, not_run
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    WeightsCorrupt,
    WeightsMismatch,
)
from midas_depth_ros.depth.file_description import FileDescription
from midas_depth_ros.depth.files import MOST_WEIGHTS_BYTES, open_file, sha256_of
from midas_depth_ros.depth.foreign import describe
from midas_depth_ros.depth.model_files import (
    MOST_XML_BYTES,
    NOTHING_GIVEN,
    about_of,
    digest_of_shapes,
    known_graphs,
    marked,
    read_model_file,
    refuse_altered,
    refuse_too_many,
    refuse_unending,
)
from midas_depth_ros.depth.models import refuse_what_is_not_finite
from midas_depth_ros.depth.models.spec import ModelSpec, Network

VERSION = ov.__version__.split('-')[0]
CPU = 'CPU'
ABOUT_PATH = ['midas_depth', 'about']  # of the metadata in a written model
CAPABILITIES = {'BF16': 'bf16', 'FP16': 'f16', 'INT8': 'int8'}
REASON_LENGTH = 200
CHANNELS_LAST = (0, 2, 3, 1)  # axes of (1, 3, h, w) in the order of OpenVINO's convolutions
OWN_SIZES = 2  # input sizes that get a network of their own, each with a copy of the weights
CONVOLUTIONS = (
    'Convolution',
    'GroupConvolution',
    'ConvolutionBackpropData',
    'GroupConvolutionBackpropData',
)
MOST_ELEMENTS = 1 << 26  # of one value inside a network: Depth Anything large has 53 million
BIN_SHA256 = 'bin_sha256'  # in the metadata: of the .bin that belongs to an .xml
MOST_FOREIGN_ELEMENTS = 1 << 28  # the same, of a network of another maker: 1 GB
TFLITE = b'TFL3'  # bytes 4 to 8 of such a file
UNKNOWN_YET = 'sha256-of-the-bin'
FULL_DISK_BYTES = 1 << 20  # a failed write with less than this free means a full disk

# The first access to a constant fills a table of the library; two threads that do so at once
# deadlock.
FIRST_LOOK = ov.op.Constant(np.zeros(1, np.float32)).data

Shape = tuple[int, ...]


class Compiled:
    """A network ready to run.

    A network for one input size is faster than one for any size (2 % in f32, 6 % in int8), so the
    first few sizes get their own, and all others share one.
    """

    def __init__(
        self,
        core: ov.Core,
        model: ov.Model,
        options: dict[str, Any],
        description: FileDescription | None = None,
    ) -> None:
        self._core, self._options = core, options
        self._described = description is not None
        self._port = Port.of(description)
        self._shape = model.input(0).get_partial_shape()
        self._model = prepared(model, self._port) if description else channels_last(model)
        self._compiled: dict[Shape | None, ov.CompiledModel] = {}  # None: for any size
        self._requests: dict[Shape | None, ov.InferRequest] = {}
        self._expected: Shape | None = None

    def expect(self, shape: Shape) -> None:
        """Prepare for inputs of a shape, until one of another shape comes.

        Raises RuntimeError where OpenVINO cannot.
        """
        self._prepare(shape)
        self._expected = shape
        self._run(np.zeros(shape, np.float32))

    def infer(self, network_input: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """(1, 3, h, w) float32 to what it gives, (h, w) float32 each, depth first.

        Raises DepthError where the size is unsupported.
        """
        taken = self._fed_shape(network_input.shape, self._port.layout != 'nhwc')
        if not self._shape.compatible(ov.PartialShape(taken)):
            raise DepthError(
                f'openvino could not run {network_input.shape}: the network takes {self._shape}'
            )
        try:
            self._prepare(network_input.shape)
            return self._run(network_input)
        except RuntimeError as error:
            raise DepthError(
                f'openvino could not run {network_input.shape}: {last_line(error)}'
            ) from error

    def _run(self, network_input: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        request = self._requests.get(network_input.shape) or self._requests[None]
        picture = self._fed(network_input)
        request.set_input_tensor(ov.Tensor(picture, shared_memory=True))
        request.infer(share_outputs=True)
        outputs = [tensor.data for tensor in request.output_tensors]
        # The next run overwrites the tensors.
        if self._described:
            return [as_map(each).copy() for each in outputs]
        return [each.reshape(each.shape[-2:]).copy() for each in outputs]

    def _fed(self, network_input: NDArray[np.float32]) -> NDArray[Any]:
        """(1, 3, h, w) as the prepared model takes it."""
        picture = self._port.cast(network_input)
        if self._port.layout == 'multi-view':
            return np.ascontiguousarray(picture[np.newaxis])
        return np.ascontiguousarray(picture.transpose(CHANNELS_LAST))

    def _fed_shape(self, shape: Sequence[Any], channels_first: bool) -> list[Any]:
        """The shape of an input (1, 3, h, w), any of them free, for this network."""
        if self._port.layout == 'multi-view':
            return [1, *shape]
        return list(shape) if channels_first else [shape[axis] for axis in CHANNELS_LAST]

    def _prepare(self, shape: Shape) -> None:
        expected, self._expected = self._expected, None
        if shape == expected:
            self._expected = expected
        if shape in self._requests:
            return
        if expected:  # used by trials only: free its memory
            del self._requests[expected], self._compiled[expected]
        own = len(self._requests) < OWN_SIZES
        key = shape if own else None
        if key in self._requests:
            return
        if self._shape.is_dynamic:
            taken = shape if own else (1, 3, *self._free_sides())
            self._model.reshape(self._fed_shape(taken, False))
        self._compiled[key] = self._core.compile_model(self._model, CPU, self._options)
        self._requests[key] = self._compiled[key].create_infer_request()

    def _free_sides(self) -> tuple[Any, Any]:
        """Height and width as the model's file has them."""
        sides = tuple(self._shape)
        return (sides[1], sides[2]) if self._port.layout == 'nhwc' else (sides[-2], sides[-1])


@dataclass(frozen=True)
class KnownModel:
    """A model whose use is known; `about` is its metadata.

    `description`: how it is to be used, where this package did not write it.
    """

    model: ov.Model
    spec: Network
    about: Mapping[str, Any]
    description: FileDescription | None = None


class Runtime:
    """OpenVINO on this CPU. `num_threads` 0 = its own choice: all cores it may use."""

    def __init__(self, num_threads: int = 0) -> None:
        self._core = ov.Core()
        self._num_threads = num_threads

    def precisions(self) -> tuple[str, ...]:
        """Those that this CPU supports in hardware."""
        offered = self._core.get_property(CPU, 'OPTIMIZATION_CAPABILITIES')
        return ('f32', *(ours for theirs, ours in CAPABILITIES.items() if theirs in offered))

    def from_onnx(self, model: bytes | Path) -> ov.Model:
        """Read a model of this package from memory or from a file."""
        return self._core.read_model(model)

    def read(
        self, path: Path, *, checked: bool = False, given: Mapping[str, Any] = NOTHING_GIVEN
    ) -> KnownModel:
        """Read an .onnx or .tflite file, or an .xml with its .bin.

        `checked`: it comes from the cache, which has just compared it with what was written.
        `given`: the user's parameters, as in `foreign.describe`. Raises WeightsCorrupt where it
        cannot be read, WeightsMismatch where it cannot be told how it is to be used.
        """
        suffix = path.suffix.lower()
        if suffix == '.tflite':
            check_tflite(path)
            return self._described(self._read(path), path, {}, given)
        if suffix != '.xml':
            return self._read_onnx(path, given)
        weights = path.with_suffix('.bin')
        if not os.path.lexists(weights):
            raise WeightsCorrupt(
                f'{weights} is not there: an OpenVINO model is two files, copy both'
            )
        for part, most in ((path, MOST_XML_BYTES), (weights, MOST_WEIGHTS_BYTES)):
            with open_file(part, most):
                pass
        model = self._read(path)
        about = about_of_model(model)
        if not checked and about.get(BIN_SHA256, '') not in ('', sha256_of(weights)):
            raise WeightsCorrupt(
                f'{weights} does not belong to {path.name}: copy both files of one export again'
            )
        spec = spec_of_model(model, path, checked=checked)
        if spec is not None:
            return KnownModel(model, marked(spec, about, path), about)
        return self._described(model, path, about, given)

    def _read_onnx(self, path: Path, given: Mapping[str, Any]) -> KnownModel:
        file = read_model_file(path, given)
        try:
            model = self._read(path)
        except WeightsCorrupt as error:
            if file.description is None:
                raise
            raise BackendUnavailable(
                f'{error}. If backend onnxruntime is installed, it may have the operations that '
                'openvino lacks: choose backend onnxruntime'
            ) from error
        if file.description is not None:
            refuse_unbounded(model, file.spec, file.description, path)
        return KnownModel(model, file.spec, file.about, file.description)

    def _described(
        self, model: ov.Model, path: Path, about: Mapping[str, Any], given: Mapping[str, Any]
    ) -> KnownModel:
        """A model that this package did not write."""
        view = view_of(model)
        refuse_altered(path, about.get('network'), view.inputs, view.outputs)
        refuse_too_many(path, len(view.operations))
        refuse_unending(path, (operation.kind for operation in view.operations))
        description = describe(path, view, given=given, metadata=about, sha256=sha256_of(path))
        network = description.network()
        refuse_unbounded(model, network, description, path)
        _refuse_infinite_constants(model, path)
        return KnownModel(model, network, about, description)

    def _read(self, path: Path) -> ov.Model:
        try:
            return self._core.read_model(path)
        except (RuntimeError, MemoryError) as error:
            raise WeightsCorrupt(
                f'{path} cannot be read as a model ({last_line(error)}): copy the file again, or '
                'write it again with `midas_depth export`'
            ) from error

    def compile(
        self, model: ov.Model, precision: str, description: FileDescription | None = None
    ) -> Compiled:
        """A network for this CPU, compiled at its first input."""
        hint = precision
        if precision == 'int8':  # for the parts that are not quantised
            hint = 'bf16' if 'bf16' in self.precisions() else 'f32'
        options: dict[str, Any] = {
            'INFERENCE_PRECISION_HINT': hint,
            'INFERENCE_NUM_THREADS': self._num_threads,
            'PERFORMANCE_HINT': 'LATENCY',
            # The operating system, or the user's affinity, decides better which cores are free.
            'ENABLE_CPU_PINNING': False,
        }
        return Compiled(self._core, model, options, description)


def channels_last(model: ov.Model) -> ov.Model:
    """A copy that takes (1, h, w, 3): otherwise OpenVINO reorders every picture, slowly."""
    steps = PrePostProcessor(model.clone())
    steps.input().tensor().set_layout(ov.Layout('NHWC'))
    steps.input().model().set_layout(ov.Layout('NCHW'))
    return steps.build()


def check_tflite(path: Path) -> None:
    """Raise WeightsCorrupt where it is no TFLite file: the library would try other formats."""
    with open_file(path, MOST_WEIGHTS_BYTES) as file:
        if file.read(8)[4:] != TFLITE:
            raise WeightsCorrupt(f'{path} is not a TFLite model: copy the file again')


def prepared(model: ov.Model, port: Port) -> ov.Model:
    """A copy of a file of another maker: one output, in float32; channels last where it can be."""
    model = model.clone()
    named = (each for each in model.outputs if port.output in each.get_names())
    chosen = next(named, model.output(0))
    result = chosen.get_node().input_value(0)
    model = ov.Model([result], model.get_parameters())
    steps = PrePostProcessor(model)
    if port.layout == 'nchw':
        steps.input().tensor().set_layout(ov.Layout('NHWC'))
        steps.input().model().set_layout(ov.Layout('NCHW'))
    steps.output().tensor().set_element_type(ov.Type.f32)
    return steps.build()


def save(model: ov.Model, path: Path, precision: str, about: Mapping[str, Any]) -> None:
    """Write `path` (.xml) and its .bin, half the size below f32, and read them back.

    Raises OSError where the disk is full or cannot be written to.
    """
    model.set_rt_info(json.dumps({**about, BIN_SHA256: UNKNOWN_YET}), ABOUT_PATH)
    try:
        ov.save_model(model, path, compress_to_fp16=precision in ('bf16', 'f16'))
        text = path.read_bytes()
        sha256 = sha256_of(path.with_suffix('.bin'))
        path.write_bytes(text.replace(UNKNOWN_YET.encode(), sha256.encode()))
        ov.Core().read_model(path)
    except RuntimeError as error:
        if _is_full(path.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise OSError(f'openvino could not write or read back: {last_line(error)}') from error


def _is_full(folder: Path) -> bool:
    disk = os.statvfs(folder)
    no_more_files = disk.f_files > 0 and disk.f_favail == 0
    return no_more_files or disk.f_bavail * disk.f_frsize <= FULL_DISK_BYTES


def about_of_model(model: ov.Model) -> dict[str, Any]:
    """The metadata that `save` wrote; empty for a model from elsewhere."""
    if not model.has_rt_info(ABOUT_PATH):
        return {}
    return about_of(str(model.get_rt_info(ABOUT_PATH).value))


def spec_of_model(model: ov.Model, path: Path, *, checked: bool) -> ModelSpec | None:
    """Which registered model a file holds, None for another one; `checked` as in `Runtime.read`.

    Raises WeightsCorrupt where it holds NaN or infinity.
    """
    about = about_of_model(model)
    shapes = digest_of_shapes(_kernel_shapes(model))
    alike = {
        spec.name: spec
        for spec in map(models.spec, models.names())
        if any(known.convolutions == shapes for known in known_graphs(spec))
    }
    # Where several are alike, or others trained one to give depth, near and far could be swapped:
    # the file has to say which one it is.
    only = next(iter(alike)) if len(alike) == 1 else ''
    told = about.get('network', only if only and alike[only].keys_tell else '')
    spec = alike.get(str(told))
    fits = spec is not None and _has_sides(model, spec)
    if spec is None or not fits or not (checked or _is_bounded(model, spec)):
        return None
    _refuse_infinite_constants(model, path)
    return spec


def _refuse_infinite_constants(model: ov.Model, path: Path) -> None:
    for op in model.get_ops():
        if op.get_type_name() == 'Constant' and op.get_element_type().is_real():
            refuse_what_is_not_finite({op.get_friendly_name(): op.data}, path)


def _kernel_shapes(model: ov.Model) -> list[Shape]:
    """(out, in / groups, h, w) of all convolutions' kernels; () for one that is dynamic."""
    shapes = []
    for operation in model.get_ops():
        if operation.get_type_name() in CONVOLUTIONS:
            partial = operation.input(1).get_partial_shape()
            shape = tuple(partial.to_shape()) if partial.is_static else ()
            # Grouped kernels: (groups, out / groups, in / groups, h, w).
            shapes.append((shape[0] * shape[1], *shape[2:]) if len(shape) == 5 else shape)
    return shapes


FREE = (None, None)  # sides


def _has_sides(model: ov.Model, spec: ModelSpec) -> bool:
    if len(model.inputs) != 1 or spec.onnx is None:
        return False
    further = model.outputs[1:], spec.onnx.outputs[1:]
    if len(further[0]) > len(further[1]) or not all(
        name in port.get_names() for port, name in zip(*further, strict=False)
    ):
        return False
    # The graph of a network whose files say its size takes others, too.
    taken = [spec.picture.fixed_size or FREE, *([FREE] if spec.several else [])]
    given = list(spec.onnx.output_sizes or taken)
    source, result = model.input(0), model.output(0)
    return _is_side(source, spec.onnx.picture, 3, taken) and _is_side(
        result, spec.onnx.depth, 1, given
    )


def _is_side(
    port: Any, name: str, channels: int, sizes: Iterable[tuple[int | None, int | None]]
) -> bool:
    """Whether an input or output has the name and one of the sizes; None for any side."""
    shape = port.get_partial_shape()
    if name not in port.get_names() or port.get_element_type() != ov.Type.f32:
        return False
    sides = [None if side.is_dynamic else side.get_length() for side in shape]
    return any(sides == [1, channels, *size] for size in sizes)


def _is_bounded(model: ov.Model, spec: Network) -> bool:
    """Whether every value inside it is at most as large as in the supported networks."""
    if model.input(0).get_partial_shape().is_dynamic:
        model = model.clone()
        try:
            model.reshape([1, 3, *spec.picture.usual_size])
        except RuntimeError:  # its parts do not fit together at that size
            return False
    shapes = [o.get_partial_shape() for node in model.get_ops() for o in node.outputs()]
    return all(
        shape.is_static and math.prod(tuple(shape.to_shape())) <= MOST_ELEMENTS for shape in shapes
    )


def refuse_unbounded(
    model: ov.Model, network: Network, description: FileDescription, path: Path
) -> None:
    """Raise WeightsMismatch where a value inside it is too large, or sizes do not fit together."""
    high, wide = network.picture.usual_size
    shape = {
        'nchw': [1, 3, high, wide],
        'nhwc': [1, high, wide, 3],
        'multi-view': [1, 1, 3, high, wide],
    }[description.layout]
    if model.input(0).get_partial_shape().is_dynamic:
        model = model.clone()
        try:
            model.reshape(shape)
        except RuntimeError as error:
            raise not_run(path, (high, wide), DepthError(last_line(error))) from error
    for node in model.get_ops():
        for port in node.outputs():
            found = port.get_partial_shape()
            # Of sides that are not known before it runs, the others count.
            sides = (
                [side.get_length() for side in found if side.is_static]
                if found.rank.is_static
                else []
            )
            if math.prod(sides) > MOST_FOREIGN_ELEMENTS:
                raise WeightsMismatch(
                    f'{path} holds a value of {math.prod(sides):.3g} numbers, which no network for '
                    f'{wide} x {high} pixels needs: export it for a smaller size'
                )


def last_line(error: BaseException) -> str:
    """The last line of OpenVINO's text, cut where it is long; others name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return textwrap.shorten(lines[-1] if lines else type(error).__name__, REASON_LENGTH)
