"""Inference backends: the library that runs the network.

A backend takes the preprocessed picture and gives relative inverse depth at network size, and the
error that the network expects of it, where it says that. To add one, write a class that satisfies
`Backend` and a row in `BACKENDS`. No library is imported before it is chosen.

'auto' takes the first row of `BACKENDS` that reads the file, runs its network, supports the
requested precision and can be imported. The rows are in order of speed, measured on x86-64 with
AVX-512 (see docs/backends.md); torch is last because it needs the most memory and the longest
start. On other CPUs the order is the same, unmeasured.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import BackendUnavailable, DepthError, first_line
from midas_depth_ros.depth.file_description import FileDescription
from midas_depth_ros.depth.models import WEIGHTS_SUFFIXES, digest_of, onnx_of, spec_of
from midas_depth_ros.depth.models.sizes import OFFICIAL, NetworkSize
from midas_depth_ros.depth.models.spec import Enlargement, ModelSpec, Network, enlarged

# Importing openvino reports that to its makers over the network, from a process of its own, unless
# this module cannot be imported.
sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]

AUTO = 'auto'
PRECISIONS = ('f32', 'bf16', 'f16', 'int8')
MODEL_SUFFIXES = ('.onnx', '.xml', '.tflite')  # models for a backend; other files hold weights

# Raised by importing a compiled library that is missing or was built for another system.
IMPORT_FAILURES = (ImportError, OSError, RuntimeError, AttributeError)


class Backend(Protocol):
    """What the estimator needs of a loaded network."""

    name: str  # in `BACKENDS`
    precision: str  # one of `PRECISIONS`
    choice: str  # why it computes in this precision, for the log

    def preprocess(self, rgb: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB, C-contiguous, to the input of `infer`."""

    def infer(self, network_input: NDArray[np.float32], /) -> NDArray[np.float32]:
        """(1, 3, h, w) float32 as `preprocess` makes it, to (h, w) float32, >= 0."""

    def close(self) -> None:
        """Free the network; may be called again."""


# (h, w) float32 depth, and the error that the network expects of it, where it says that.
Answer = tuple[NDArray[np.float32], NDArray[np.float32] | None]


class LoadedBackend:
    """A backend made from a file; one of them for each library adds `_run`."""

    name: str
    precision: str = 'f32'
    choice: str
    spec: Network  # that it runs, at the size that was asked for
    description: FileDescription | None = None  # of a model file of another maker
    weights_sha256: str  # of the weights it was made from; '' where the model file does not say
    _network: Any = None  # None once it is closed

    def preprocess(self, rgb: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB, C-contiguous, to the input of `infer`."""
        return self.spec.picture.preprocess(rgb)

    def infer(self, network_input: NDArray[np.float32], /) -> NDArray[np.float32]:
        """(1, 3, h, w) float32, of a size that the network supports, to (h, w) float32."""
        return self._answer(network_input)[0]

    def infer_with_error(self, network_input: NDArray[np.float32], /) -> Answer:
        """The result of `infer`, and the error that the network expects of it, in its units.

        (h, w) float32 both; None for a network that does not say it.
        """
        depth, error = self._answer(network_input)
        return depth, None if error is None else enlarged(error, depth.shape, Enlargement.LINEAR)

    def _answer(self, network_input: NDArray[np.float32]) -> Answer:
        if self._network is None:
            raise DepthError(f'this {self.name} backend is closed: load it again')
        depth, error = self._run(network_input)
        return self.spec.finish(depth, network_input.shape[2:]), error

    def _run(self, network_input: NDArray[np.float32]) -> Answer:
        """What the network gives, each of a size of its own, in arrays that no other run writes."""
        raise NotImplementedError

    def close(self) -> None:
        """Free the network; may be called again."""
        self._network = None


# Path, threads, precision, size, and for model files the parameters `model_file.*` that were given.
Factory = Callable[..., LoadedBackend]


@dataclass(frozen=True)
class Entry:
    """A row of `BACKENDS`."""

    reads: tuple[str, ...]  # suffixes of weights and model files
    # Imports what running the model needs, any model for None. May raise IMPORT_FAILURES, and
    # BackendUnavailable where the library cannot run this one.
    load: Callable[[ModelSpec | None], Factory]
    remedy: str  # how to install it
    precisions: tuple[str, ...] = ('f32',)


def _load_openvino(model: ModelSpec | None) -> Factory:
    from midas_depth_ros.depth.backends.openvino_backend import OpenvinoBackend

    return OpenvinoBackend


def _load_onnxruntime(model: ModelSpec | None) -> Factory:
    from midas_depth_ros.depth.backends.onnxruntime_backend import OnnxruntimeBackend

    return OnnxruntimeBackend


def _load_opencv(model: ModelSpec | None) -> Factory:
    if model is not None and (fault := opencv_fault(model)):
        raise BackendUnavailable(fault)
    return OpencvBackend


def _load_torch(model: ModelSpec | None) -> Factory:
    if model is None or model.needs_timm:
        import_timm()
    from midas_depth_ros.depth.backends.torch_backend import TorchBackend

    return TorchBackend


# In the order in which 'auto' tries them.
BACKENDS = {
    'openvino': Entry(
        reads=('.pt', '.pth', '.safetensors', '.npz', '.onnx', '.xml', '.tflite'),
        load=_load_openvino,
        remedy="install it with: pip install 'midas_depth_ros[openvino]', or: pip install openvino",
        precisions=PRECISIONS,
    ),
    'onnxruntime': Entry(
        reads=('.pt', '.pth', '.safetensors', '.npz', '.onnx'),
        load=_load_onnxruntime,
        remedy="install it with: pip install 'midas_depth_ros[onnxruntime]', or: pip install "
        'onnxruntime',
    ),
    'opencv': Entry(
        reads=('.pt', '.pth', '.safetensors', '.npz'),
        load=_load_opencv,
        remedy='install it with: pip install opencv-python-headless',
    ),
    'torch': Entry(
        reads=('.pt', '.pth', '.safetensors', '.npz'),
        load=_load_torch,
        remedy='install it with: pip install torch torchvision timm',
        precisions=('f32', 'bf16'),
    ),
}


def find_backend(
    name: str, suffix: str, precision: str = AUTO, model: ModelSpec | None = None
) -> Factory:
    """Import a backend that reads such files in the precision; 'auto' = the first that can.

    `model`: the one that it has to run, if that is known. Returns `factory(path, num_threads,
    precision, size)`, which makes the backend, and takes `given` for model files; 0 threads = the
    library's own choice. Raises BackendUnavailable, which lists the reasons and remedies.
    """
    check_names(name, precision)
    chosen = {name: BACKENDS[name]} if name in BACKENDS else BACKENDS
    candidates = {key: entry for key, entry in chosen.items() if suffix in entry.reads}
    if not candidates:
        readable = '; '.join(f'{key} reads {", ".join(e.reads)}' for key, e in chosen.items())
        raise BackendUnavailable(
            f'no backend reads files named *{suffix} ({readable}): give the weights as a PyTorch '
            'state dict, or a model as .onnx, .xml or .tflite'
        )
    able = {
        key: entry
        for key, entry in candidates.items()
        if precision == AUTO or precision in entry.precisions
    }
    if not able:
        have = '; '.join(f'{key} has {", ".join(e.precisions)}' for key, e in candidates.items())
        raise BackendUnavailable(
            f'precision {precision!r} is not available here ({have}): choose another, or auto'
        )
    failures = []
    for key, entry in able.items():
        try:
            return entry.load(model)
        except BackendUnavailable as error:
            failures.append(str(error))
        except IMPORT_FAILURES as error:
            reason = first_line(error)
            failures.append(f'backend {key!r} cannot be imported ({reason}): {entry.remedy}')
    raise BackendUnavailable('; '.join(failures))


def model_of(path: Path) -> ModelSpec | None:
    """The model whose weights a file holds; None for other files.

    Raises what `spec_of` raises.
    """
    return spec_of(path) if path.suffix.lower() in WEIGHTS_SUFFIXES else None


def check_names(backend: str, precision: str) -> None:
    """Raise BackendUnavailable where no backend or no precision has this name; 'auto' is one."""
    for kind, name, known in (
        ('backend', backend, (AUTO, *BACKENDS)),
        ('precision', precision, (AUTO, *PRECISIONS)),
    ):
        if name not in known:
            raise BackendUnavailable(f'unknown {kind} {name!r}: choose one of {", ".join(known)}')


# --- OpenCV's own network module, which is always installed.
#
# The graph is made in memory from the weights, at each start. What OpenCV runs agrees with torch
# to 5e-5 of the spread.


class OpencvBackend(LoadedBackend):
    """A model whose graph OpenCV can run, on the CPU.

    `num_threads` limits OpenCV's pool, which belongs to the whole process; 0 leaves it.

    Raises WeightsCorrupt, WeightsMismatch, InvalidNetworkSize, and BackendUnavailable where this
    OpenCV cannot run the network.
    """

    name = 'opencv'
    choice = 'f32: the only precision of backend opencv'

    def __init__(
        self,
        weights: Path,
        num_threads: int = 0,
        precision: str = AUTO,
        size: NetworkSize = OFFICIAL,
    ) -> None:
        if num_threads:
            cv2.setNumThreads(num_threads)
        self.spec, self.weights_sha256 = size.applied_to(spec_of(weights)), digest_of(weights)
        if fault := opencv_fault(self.spec):
            raise BackendUnavailable(fault)
        model = onnx_of(weights, self.weights_sha256)
        try:
            self._network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))
            self._outputs = self._network.getUnconnectedOutLayersNames()
            if self.spec.onnx:  # by their names: OpenCV has an order of its own
                self._outputs = [name for name in self.spec.onnx.outputs if name in self._outputs]
            self.infer(np.zeros((1, 3, *self.spec.picture.usual_size), np.float32))  # allocates
        except (cv2.error, DepthError) as error:
            raise BackendUnavailable(
                f'OpenCV {cv2.__version__} cannot run {self.spec.title} ({error}): use another '
                'backend'
            ) from error

    def _run(self, network_input: NDArray[np.float32]) -> Answer:
        high, wide = network_input.shape[2:]
        # OpenCV 5 enlarges a map of one row or column, as there are at the coarsest stride, from
        # memory that nobody wrote.
        least = 2 * self.spec.picture.multiple
        if min(high, wide) < least and not self.spec.picture.fixed_size:
            raise DepthError(
                f'OpenCV cannot run a network input of {wide} x {high} pixels: both sides must be '
                f'{least} or more. Use another backend, or crop the picture'
            )
        try:
            self._network.setInput(np.ascontiguousarray(network_input))
            outputs = self._network.forward(self._outputs)  # new arrays in each run
        except cv2.error as error:
            raise DepthError(f'OpenCV could not run {network_input.shape}: {error}') from error
        return answer_of([each[0, 0] for each in outputs])


def answer_of(outputs: Sequence[NDArray[np.float32]]) -> Answer:
    """The outputs of a network of this package: depth, and its expected error where it has that."""
    return outputs[0], outputs[1] if len(outputs) > 1 else None


def opencv_fault(model: ModelSpec) -> str:
    """Why this OpenCV cannot run a model, and what to do; '' where it can."""
    least = model.onnx.opencv if model.onnx else None
    if least is None:
        return f'OpenCV cannot run {model.title}: use another backend'
    version = cv2.__version__
    if opencv_version(version) >= least:
        return ''
    wanted = '.'.join(map(str, least))
    return (
        f'OpenCV {version} cannot run {model.title}: install OpenCV {wanted} or later '
        '(pip install -U opencv-python-headless), or use another backend'
    )


def opencv_version(text: str) -> tuple[int, ...]:
    """(major, minor) of a version, as in '4.6.0' or '5.0.0-dev'."""
    return tuple(int(part) for part in re.findall(r'\d+', text)[:2])


# --- Imports timm where torch and torchvision do not match.
#
# timm imports torchvision. Where that was compiled against another torch (a CPU torch beside a CUDA
# torchvision, Jetson wheels), its operators do not load and its import fails, although nothing here
# uses them. Only then the two schemas that the import asks for are declared here.

MISSING_OPERATORS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_declared: list[Any] = []  # a torch Library takes its schemas with it when it is collected


def import_timm() -> ModuleType:
    """Import and return timm.

    Raises whatever the import raises for any other reason: ImportError where torch, torchvision
    or timm is not installed, OSError or RuntimeError where one of them is broken.
    """
    importlib.import_module('torch')
    try:
        importlib.import_module('torchvision')
    except RuntimeError as error:
        if 'torchvision::' not in str(error) or _declared:
            raise
        _declare_missing_operators()
        _forget('torchvision')
        importlib.import_module('torchvision')
    return importlib.import_module('timm')


def _declare_missing_operators() -> None:
    import torch

    library = torch.library.Library('torchvision', 'DEF')
    for schema in MISSING_OPERATORS:
        library.define(schema)
    _declared.append(library)


def _forget(package: str) -> None:
    """Drop what a failed import left behind, so that the next one starts afresh."""
    for name in [name for name in sys.modules if name.split('.')[0] == package]:
        del sys.modules[name]
