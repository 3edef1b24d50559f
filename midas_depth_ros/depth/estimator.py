"""From a picture to relative inverse depth, whichever model does it.

`load_estimator` turns a model's name or file into a `DepthEstimator`, which takes pictures as
people have them (see `PictureLike`) and gives (H, W) float32. Loading is slow and may fetch a file;
estimating touches no network, and the disk only where it is given a path.
"""

from __future__ import annotations

import os
import stat
import struct
import textwrap
import warnings
import zlib
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from midas_depth_ros.depth import weights as checkpoints
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
from midas_depth_ros.depth.models import embedded, midas_small
from midas_depth_ros.depth.weights import AUTO_PATIENCE, NAMED_PATIENCE, Patience

MIDAS_SMALL = 'midas_small'
EMBEDDED = 'embedded'
MODELS = (AUTO, MIDAS_SMALL, EMBEDDED)
NOTICE_LENGTH = 500
# What people have of a picture: a path, a PIL picture, or a uint8 array (H, W, 3) RGB, (H, W, 4)
# RGBA, (H, W) or (H, W, 1) grey. OpenCV reads BGR: picture[:, :, ::-1] is RGB.
PictureLike: TypeAlias = 'str | os.PathLike[str] | Image.Image | NDArray[np.uint8]'
HEIF_BRANDS = (b'heic', b'heix', b'hevc', b'hevx', b'heim', b'heis', b'mif1', b'msf1')
# What Pillow raises for damaged files.
PILLOW_FAULTS: tuple[type[Exception], ...] = (
    *(OSError, SyntaxError, TypeError, ValueError, EOFError, LookupError, RuntimeError),
    *(struct.error, OverflowError, MemoryError, zlib.error, Image.DecompressionBombError),
)
WANTED = 'a path, a PIL picture, or a uint8 array (H, W, 3) RGB, (H, W, 4) RGBA or (H, W) grey'
CONVERSIONS = {  # by the kind of number
    'f': '(array * 255).astype(np.uint8) where it goes from 0 to 1',
    'u2': '(array >> 8).astype(np.uint8) where all 16 bits are used',
    'b': 'array.astype(np.uint8) * 255',
    'i': 'array.astype(np.uint8) where it goes from 0 to 255',
    'u': 'array.astype(np.uint8) where it goes from 0 to 255',
}


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

    def infer(self, picture: PictureLike) -> NDArray[np.float32]:
        """A picture to (h, w) float32 at network size.

        `picture`: see `PictureLike`. Raises InvalidPicture (a ValueError) where it is none,
        DepthError where the network gives something that is not a number, or the same everywhere,
        or where the estimator is closed.
        """
        if self._predictor is None:
            raise DepthError(
                f'the estimator of {self.model} is closed: make another with load_estimator()'
            )
        small = self._predictor.predict(np.ascontiguousarray(rgb_of(picture)))
        if fault := fault_of(small):
            raise DepthError(f'{self.model} on {self.backend} gave {fault}: check its weights file')
        return small

    def estimate(self, picture: PictureLike) -> NDArray[np.float32]:
        """A picture to (H, W) float32, of its own size.

        `picture`: a path, a PIL picture, or a uint8 array (H, W, 3) RGB, (H, W, 4) RGBA, (H, W) or
        (H, W, 1) grey. That of a path is turned as its EXIF orientation says; a PIL picture is
        taken as it is. Raises as `infer` does.
        """
        rgb = rgb_of(picture)
        return self.enlarge(self.infer(rgb), rgb.shape[:2])

    def enlarge(self, small: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Bring the result of `infer` to `shape` = (H, W): bicubic, clipped at 0."""
        return midas_small.enlarge(small, shape)

    def close(self) -> None:
        """Free the network; may be called again."""
        if self._predictor is not None:
            self._predictor.close()
            self._predictor = None


def rgb_of(picture: PictureLike) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture; the array itself where it is that. Raises InvalidPicture.

    Transparency is dropped, and grey becomes RGB.
    """
    if isinstance(picture, (str, os.PathLike)):
        return _rgb_of_file(Path(os.fsdecode(picture)))
    if isinstance(picture, Image.Image):
        try:
            return _rgb_of_pillow(picture)
        except InvalidPicture:
            raise
        except PILLOW_FAULTS as error:
            raise InvalidPicture(f'the picture cannot be read: {error}: save it again') from error
    if not isinstance(picture, np.ndarray):
        remedy = 'its .numpy()' if hasattr(picture, 'numpy') else WANTED
        raise InvalidPicture(f'a {type(picture).__name__} is no picture: give {remedy}')
    shape, kind = picture.shape, picture.dtype
    if (
        picture.ndim not in (2, 3)
        or 0 in shape
        or (picture.ndim == 3 and shape[2] not in (1, 3, 4))
    ):
        first = picture.ndim == 3 and shape[0] in (1, 3, 4)
        remedy = 'array.transpose(1, 2, 0), colours last' if first else WANTED
        raise InvalidPicture(f'an array {shape} {kind} is no picture: give {remedy}')
    if kind != np.uint8:
        remedy = CONVERSIONS.get(kind.kind if kind != np.uint16 else 'u2', WANTED)
        raise InvalidPicture(f'an array {shape} {kind} is no picture of 8 bits: give {remedy}')
    if picture.ndim == 3 and shape[2] == 3:
        return picture
    if picture.ndim == 3 and shape[2] == 4:
        return picture[:, :, :3]
    grey = picture if picture.ndim == 3 else picture[:, :, np.newaxis]
    return np.repeat(grey, 3, axis=2)


def _rgb_of_file(path: Path) -> NDArray[np.uint8]:
    if fault := _no_file(path):  # opening a FIFO would wait for ever
        raise InvalidPicture(f'{shown(path)} is no picture: {fault}')
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of tags that do not matter
            with _opened(path) as picture:
                return _rgb_of_pillow(ImageOps.exif_transpose(picture))
    except InvalidPicture:
        raise
    except UnidentifiedImageError as error:
        raise InvalidPicture(
            f'{shown(path)} is no picture that Pillow reads here: give a JPEG or PNG (HEIC needs '
            'pip install pillow-heif)'
        ) from error
    except PILLOW_FAULTS as error:
        raise InvalidPicture(f'{shown(path)} cannot be read: {error}: save it again') from error


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        # By its bytes: chats rename pictures.
        with path.open('rb') as file:
            kind = file.read(12)[4:]
        if kind[4:] not in HEIF_BRANDS or kind[:4] != b'ftyp' or not find_spec('pillow_heif'):
            raise
        import pillow_heif

        picture: Image.Image = pillow_heif.open_heif(path).to_pillow()
        return picture


def _rgb_of_pillow(picture: Image.Image) -> NDArray[np.uint8]:
    """Raises InvalidPicture, and what Pillow raises for a damaged file."""
    if picture.mode.startswith(('I', 'F')):
        raise InvalidPicture(
            f'a picture of mode {picture.mode} has more than 8 bits: scale it to 0 to 255 and give '
            'a uint8 array'
        )
    if not picture.width or not picture.height:
        raise InvalidPicture(f'a picture of {picture.width}x{picture.height} has no pixels')
    if picture.mode != 'RGB' and 'transparency' in picture.info:
        picture = picture.convert('RGBA')  # Pillow warns of palettes otherwise
    return np.asarray(picture if picture.mode == 'RGB' else picture.convert('RGB'))


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
