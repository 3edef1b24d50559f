"""From a picture to relative inverse depth, whichever model does it.

`load_estimator` turns a model's name or file into a `DepthEstimator`, which takes pictures
(H, W, 3) uint8 RGB and gives (H, W) float32. Loading is slow and may fetch a file; estimating
touches neither network nor disk.
"""

from __future__ import annotations

import os
import stat
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import checkpoints, embedded, preprocessing
from midas_depth_ros.depth.backends import AUTO, BACKENDS, PRECISIONS, Backend, find_backend
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    InvalidPicture,
    UnknownModel,
    WeightsError,
    WeightsMismatch,
    printable,
    shown,
)
from midas_depth_ros.depth.judgement import fault_of, judge
from midas_depth_ros.depth.patience import AUTO_PATIENCE, NAMED_PATIENCE, Patience

MIDAS_SMALL = 'midas_small'
EMBEDDED = 'embedded'
MODELS = (AUTO, MIDAS_SMALL, EMBEDDED)
NOTICE_LENGTH = 500


class Predictor(Protocol):
    """What an estimator does its work with."""

    @property
    def name(self) -> str:
        """The backend's name."""

    @property
    def precision(self) -> str:
        """The numbers it computes with: one of `backends.PRECISIONS`."""

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB, C-contiguous, to (h, w) float32 at network size."""

    def close(self) -> None:
        """Free what it holds."""


class NetworkPredictor:
    """A network behind its preprocessing."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.precision = backend.name, backend.precision

    def predict(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._backend.infer(self._backend.preprocess(rgb))

    def close(self) -> None:
        self._backend.close()


class DepthEstimator:
    """Relative inverse depth of pictures: affine in 1/Z with unknown scale and shift, no unit.

    Larger = nearer, at least 0. `model`, `backend` and `precision` say what is at work, `choice`
    why these were taken, in a sentence for the log; `notice` is empty, or says why it is not what
    one would wish for and what to do. Use it from one thread at a time.
    """

    of_pictures = True  # the answer comes from what the picture shows: a blind one has none

    def __init__(
        self, model: str, predictor: Predictor, notice: str = '', *, choice: str = ''
    ) -> None:
        self.model = model
        self.backend, self.precision = predictor.name, predictor.precision
        self.choice = choice
        self.notice = notice
        self._predictor: Predictor | None = predictor

    def infer(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (h, w) float32 at network size.

        Raises InvalidPicture where `rgb` is none, DepthError where the network gives something
        that is not a number, or the same everywhere, or where the estimator is closed.
        """
        if self._predictor is None:
            raise DepthError(
                f'the estimator of {self.model} is closed: make another with load_estimator()'
            )
        small = self._predictor.predict(np.ascontiguousarray(checked(rgb)))
        if fault := fault_of(small):
            raise DepthError(f'{self.model} on {self.backend} gave {fault}: check its weights file')
        return small

    def estimate(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(H, W, 3) uint8 RGB to (H, W) float32; raises as `infer` does."""
        return self.enlarge(self.infer(rgb), rgb.shape[:2])

    def enlarge(self, small: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Bring the result of `infer` to `shape` = (H, W): bicubic, clipped at 0."""
        return preprocessing.enlarge(small, shape)

    def close(self) -> None:
        """Free the network; may be called again."""
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None


def checked(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture itself, if it is one; raises InvalidPicture otherwise."""
    if not isinstance(rgb, np.ndarray):
        raise InvalidPicture(f'a {type(rgb).__name__} is no picture: give (H, W, 3) uint8 RGB')
    if rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape or rgb.dtype != np.uint8:
        raise InvalidPicture(
            f'an array {rgb.shape} {rgb.dtype} is no picture: give (H, W, 3) uint8 RGB'
        )
    return rgb


def load_estimator(
    model: str | os.PathLike[str] = AUTO,
    backend: str = AUTO,
    num_threads: int = 0,
    *,
    precision: str = AUTO,
    allow_download: bool = True,
) -> DepthEstimator:
    """Load a model.

    `model`: 'midas_small'; 'embedded'; 'auto' (midas_small, or embedded with a `notice` where
    weights or libraries are missing); or a path: of a PyTorch state dict of MiDaS_small (.pt), of
    a NumPy archive of the embedded model (.npz), of an ONNX model (.onnx) or of an OpenVINO model
    (.xml), as `midas_depth export` writes them. Other models are refused, and each is judged by
    what it answers to sample pictures (see `judgement`).
    `backend`: 'auto' (the rule is in `backends`), or the name of one. `precision`: 'auto' (the
    fastest whose deviation from f32 is within the bound, see `deviation`), or one of
    `backends.PRECISIONS`.
    `num_threads` bounds the threads of inference, and of OpenCV process-wide; 0 leaves them as
    they are: all cores, unless the process was told otherwise. `allow_download`: whether
    missing official weights may be fetched; 'auto' waits for them for minutes only (`patience`).

    Raises UnknownModel, BackendUnavailable, WeightsError, and ValueError for negative threads.
    """
    name = os.fspath(model)
    check_backend_name(backend)
    check_precision_name(precision)
    if num_threads < 0:
        raise ValueError(f'num_threads is {num_threads}: give 0 (all cores) or more')
    if num_threads:
        cv2.setNumThreads(num_threads)
    wish = _Wish(backend, num_threads, precision)
    if name == EMBEDDED:
        return _embedded(wish)
    if name == MIDAS_SMALL:
        return _midas_small(wish, allow_download, NAMED_PATIENCE)
    if name != AUTO:
        return _from_file(wish, name)
    try:
        return _midas_small(wish, allow_download, AUTO_PATIENCE)
    except (BackendUnavailable, WeightsError) as error:
        # They were chosen for a model that is not here; any that run this one will do.
        kept = precision if precision == 'f32' else AUTO
        return _embedded(_Wish(AUTO, num_threads, kept), fallback_notice(error))


def check_backend_name(backend: str) -> None:
    """Raise BackendUnavailable where no backend has this name."""
    if backend not in (AUTO, *BACKENDS):
        names = ', '.join((AUTO, *BACKENDS))
        raise BackendUnavailable(f'unknown backend {backend!r}: choose one of {names}')


def check_precision_name(precision: str) -> None:
    """Raise BackendUnavailable where no precision has this name."""
    if precision not in (AUTO, *PRECISIONS):
        names = ', '.join((AUTO, *PRECISIONS))
        raise BackendUnavailable(f'unknown precision {precision!r}: choose one of {names}')


def fallback_notice(error: DepthError) -> str:
    """Why `embedded` runs instead of MiDaS_small, what it is, and what to do."""
    reason = textwrap.shorten(str(error), NOTICE_LENGTH, placeholder=' ...').rstrip('.')
    return (
        f'MiDaS_small is not available: {reason}. Running {EMBEDDED!r} instead. '
        f'{embedded.WHAT_IT_IS} Mend what is named, or choose model={EMBEDDED} to silence the '
        f'attempt; model={MIDAS_SMALL} fails instead of falling back.'
    )


@dataclass(frozen=True)
class _Wish:
    """What the caller left open, and what not."""

    backend: str
    num_threads: int
    precision: str

    def load(
        self, name: str, weights: Path, notice: str = '', weights_sha256: str = ''
    ) -> DepthEstimator:
        """Raises BackendUnavailable, and what is wrong with the file or its answers.

        `weights_sha256`: where it was found right already.
        """
        factory = find_backend(self.backend, weights.suffix.lower(), self.precision)
        try:
            network = factory(weights, self.num_threads, self.precision)
            predictor = NetworkPredictor(network)
            known = weights_sha256 or network.weights_sha256
            doubt = judge(predictor.predict, name, known, network.precision)
        except (MemoryError, RecursionError) as error:
            raise WeightsMismatch(
                f'{weights} needs more memory than there is: use midas_small or embedded'
            ) from error
        why = 'as asked' if self.backend != AUTO else f'first usable of {", ".join(BACKENDS)}'
        choice = f'backend {network.name}: {why}; precision {network.choice}'
        notice = ' '.join(filter(None, (notice, doubt)))
        return DepthEstimator(name, predictor, notice, choice=printable(choice))


def _embedded(wish: _Wish, notice: str = '') -> DepthEstimator:
    return wish.load(EMBEDDED, embedded.shipped_weights(), notice)


def _midas_small(wish: _Wish, allow_download: bool, patience: Patience) -> DepthEstimator:
    spec = checkpoints.MIDAS_SMALL
    # No download for a missing library.
    find_backend(wish.backend, Path(spec.name).suffix, wish.precision)
    found = checkpoints.ensure_weights(spec, allow_download=allow_download, patience=patience)
    return wish.load(MIDAS_SMALL, found, weights_sha256=spec.sha256)


def _from_file(wish: _Wish, model: str) -> DepthEstimator:
    path = Path(os.path.expanduser(model))  # Path.expanduser raises where there is no such user
    if fault := _no_file(path):
        raise UnknownModel(
            f'{shown(path)} is neither a model ({", ".join(MODELS)}) nor a file ({fault}): check '
            'the name or the path'
        )
    return wish.load(printable(path.name), path)


def _no_file(path: Path) -> str:
    """Why there is no file to be read at a path, in words; '' where there is one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError) as error:
        return str(getattr(error, 'strerror', None) or error)
    if stat.S_ISDIR(mode):
        return 'it is a folder'
    return '' if stat.S_ISREG(mode) else 'it is a pipe, a device or a socket'
