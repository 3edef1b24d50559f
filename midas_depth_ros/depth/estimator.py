"""From a picture to relative inverse depth, with any model.

`load_estimator` turns a model's name or file into a `DepthEstimator`, which takes pictures in the
common forms (see `PictureLike`) and gives (H, W) float32. Loading is slow and may download a file;
estimating never uses the network, and the disk only where it is given a path.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import textwrap
import threading
import warnings
import zlib
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from midas_depth_ros.depth import models
from midas_depth_ros.depth.backends import (
    AUTO,
    BACKENDS,
    MODEL_SUFFIXES,
    Backend,
    LoadedBackend,
    check_names,
    find_backend,
    model_of,
)
from midas_depth_ros.depth.download_limit import AUTO_LIMIT, NAMED_LIMIT, DownloadLimit
from midas_depth_ros.depth.errors import (
    BackendUnavailable,
    DepthError,
    InvalidPicture,
    WeightsError,
    WeightsMismatch,
    printable,
    shown,
)
from midas_depth_ros.depth.file_description import PREFIX, FileDescription, as_text
from midas_depth_ros.depth.files import why_no_file
from midas_depth_ros.depth.model_check import PICTURE_SIZE, check_model
from midas_depth_ros.depth.models import FALLBACK, PREFERRED, ModelSpec, Output
from midas_depth_ros.depth.models.sizes import MOST_ASPECT, OFFICIAL, NetworkSize, size_in_words
from midas_depth_ros.depth.models.spec import Network, depth_fault, enlarged

NOTICE_LENGTH = 500
CLOSE_S = 5.0  # a network that hangs must not keep a program from ending
# A path, a PIL picture, or a uint8 array (H, W, 3) RGB, (H, W, 4) RGBA, (H, W) or (H, W, 1) grey.
# OpenCV reads BGR: picture[:, :, ::-1] is RGB.
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


class DepthEstimator:
    """Relative inverse depth of pictures: affine in 1/Z with unknown scale and shift, no unit.

    Larger = nearer, at least 0. `model`, `backend` and `precision` say what is running, `choice`
    why it was chosen, in a sentence for the log. `notice` is empty, or says why it is not the
    preferred choice and what to do. `licence`: that of the weights, and what it forbids. `spec`:
    the model, which says how its depth is enlarged; without it, bicubically. `gives`: what the
    network itself gives. Where that is metres, `metres` gives them; `far_end`,
    `focal_reference_px` and `domain` are those of `ModelSpec`. Threads that share it take turns.
    """

    of_pictures = True  # the depth comes from what a picture shows: a blind picture gives none

    def __init__(
        self,
        model: str,
        backend: Backend,
        notice: str = '',
        *,
        choice: str = '',
        spec: Network | None = None,
    ) -> None:
        self.model = model
        self.backend, self.precision = backend.name, backend.precision
        self.choice = choice
        self.notice = notice
        self.licence = spec.weights.licence_text if isinstance(spec, ModelSpec) else ''
        self._network: Backend | None = backend
        self._turns = threading.Lock()  # a network has one set of buffers
        self._spec = spec
        self.gives = spec.output if spec else Output.RELATIVE_INVERSE_DEPTH
        self.far_end = spec.far_end if spec else -math.inf
        self.focal_reference_px = spec.focal_reference_px if spec else None
        self.domain = spec.domain if spec else ''

    def infer(self, picture: PictureLike) -> NDArray[np.float32]:
        """A picture to (h, w) float32 at network size.

        `picture`: see `PictureLike`. Raises InvalidPicture (a ValueError) for anything else,
        DepthError where the network's output is not finite or is the same everywhere, and where
        the estimator is closed.
        """
        rgb = np.ascontiguousarray(rgb_of(picture))
        with self._turns:
            network = self._loaded()
            small = network.infer(network.preprocess(rgb))
        return self._checked(small, rgb)

    def infer_with_error(
        self, picture: PictureLike
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """The result of `infer`, and the error that the network itself expects of it.

        The error is (h, w) float32, 0 or more, in the units of the first: the mean absolute error
        to be expected in each pixel once scale and shift are right, so 1/Z = s * d + t is off by s
        times as much. None for a model that does not say it; `embedded` does. Raises as `infer`
        does, and DepthError for an error that is not finite or negative.
        """
        rgb = np.ascontiguousarray(rgb_of(picture))
        with self._turns:
            network = self._loaded()
            network_input = network.preprocess(rgb)
            if not isinstance(network, LoadedBackend):
                return self._checked(network.infer(network_input), rgb), None
            small, error = network.infer_with_error(network_input)
        depth = self._checked(small, rgb)
        if error is not None:
            error = network.spec.picture.uncovered(error, rgb.shape[:2])
            if not 0 <= error.min() <= error.max() < math.inf:  # NaN where one of them is NaN
                raise DepthError(
                    f'{self.model} on {self.backend} expects errors that are not finite or below '
                    '0: check its weights file'
                )
        return depth, error

    def _loaded(self) -> Backend:
        if self._network is None:
            raise DepthError(
                f'the estimator of {self.model} is closed: make another with load_estimator()'
            )
        return self._network

    def _checked(self, small: NDArray[np.float32], rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """What shows the picture in the network's answer; DepthError where that is no depth."""
        if self._spec is not None:
            small = self._spec.picture.uncovered(small, rgb.shape[:2])
        if fault := depth_fault(small):
            raise DepthError(f'{self.model} on {self.backend} gave {fault}: check its weights file')
        return small

    def estimate(self, picture: PictureLike) -> NDArray[np.float32]:
        """A picture to (H, W) float32, of its own size.

        `picture`: see `PictureLike`. A file is rotated as its EXIF orientation says; a PIL picture
        is taken as it is. Raises as `infer` does.
        """
        rgb = rgb_of(picture)
        return self.enlarge(self.infer(rgb), rgb.shape[:2])

    def enlarge(self, small: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
        """Resize the result of `infer` to `shape` = (H, W), as the model's official code does."""
        return self._spec.enlarge(small, shape) if self._spec else enlarged(small, shape)

    def metres(
        self, small: NDArray[np.float32], focal_length_px: float | None = None
    ) -> NDArray[np.float32]:
        """The result of `infer` or `enlarge` in metres along the optical axis, same shape, float32.

        Only of a network that gives metres. They are as good as the picture is like those it
        learned from (`domain`): elsewhere they are wrong by a factor, unnoticed. NaN where the
        network says no more than "at least so far", at the end of its range. `focal_length_px`: of
        the camera, in pixels of the network's input (the size of `infer`); needed where
        `focal_reference_px` is set, and ignored elsewhere. Raises DepthError where the network does
        not give metres, ValueError where the focal length is missing or not positive.
        """
        if self.gives is not Output.METRIC_DEPTH:
            raise DepthError(
                f'{self.model} gives {self.gives.value}, not metres: fit its scale (see '
                'geometry.fit_ground_plane), or load a model that gives metres'
            )
        factor = 1.0
        if self.focal_reference_px is not None:
            if focal_length_px is None or not 0 < focal_length_px < math.inf:
                raise ValueError(
                    f'focal_length_px is {focal_length_px}: the metres of {self.model} depend on '
                    "the camera's focal length: give it, in pixels of the network's input"
                )
            factor = focal_length_px / self.focal_reference_px
        known = np.where(small > self.far_end, small, np.float32(np.nan))
        return np.asarray(factor / known, np.float32)

    def close(self) -> None:
        """Free the network; may be called again. Waits `CLOSE_S` at most for one that runs."""
        waited = self._turns.acquire(timeout=CLOSE_S)
        try:
            if self._network is not None:
                self._network.close()
                self._network = None
        finally:
            if waited:
                self._turns.release()


def rgb_of(picture: PictureLike) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of a picture, not copied where it is that already.

    Transparency is dropped, and grey becomes RGB. Raises InvalidPicture.
    """
    if isinstance(picture, (str, os.PathLike)):
        return _rgb_of_file(Path(os.fsdecode(picture)))
    if isinstance(picture, Image.Image):
        with _reading('the picture'):
            return _rgb_of_pillow(picture)
    if not isinstance(picture, np.ndarray):
        remedy = 'its .numpy()' if hasattr(picture, 'numpy') else WANTED
        raise InvalidPicture(f'a {type(picture).__name__} is not a picture: give {remedy}')
    shape, kind = picture.shape, picture.dtype
    channels = shape[2] if picture.ndim == 3 else 1
    if picture.ndim not in (2, 3) or 0 in shape or channels not in (1, 3, 4):
        first = picture.ndim == 3 and shape[0] in (1, 3, 4)
        remedy = 'array.transpose(1, 2, 0), channels last' if first else WANTED
        raise InvalidPicture(f'an array {shape} {kind} is not a valid picture: give {remedy}')
    if kind != np.uint8:
        remedy = CONVERSIONS.get(kind.kind if kind != np.uint16 else 'u2', WANTED)
        raise InvalidPicture(f'an array {shape} {kind} is not an 8-bit picture: give {remedy}')
    if channels == 1:
        return np.repeat(picture.reshape(*shape[:2], 1), 3, axis=2)
    return picture[:, :, :3]


@contextlib.contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn what Pillow raises for a damaged picture into InvalidPicture."""
    try:
        yield
    except InvalidPicture:
        raise
    except UnidentifiedImageError as error:
        raise InvalidPicture(
            f'{name} is not a picture that Pillow can read here: give a JPEG or PNG (HEIC needs '
            'pip install pillow-heif)'
        ) from error
    except PILLOW_FAULTS as error:
        raise InvalidPicture(f'{name} cannot be read: {error}: save it again') from error


def _rgb_of_file(path: Path) -> NDArray[np.uint8]:
    if fault := why_no_file(path):  # opening a FIFO would block for ever
        raise InvalidPicture(f'{shown(path)} is not a picture: {fault}')
    with _reading(shown(path)), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of tags that do not matter
        with _opened(path) as picture:
            return _rgb_of_pillow(ImageOps.exif_transpose(picture))


def _opened(path: Path) -> Image.Image:
    try:
        return Image.open(path)
    except UnidentifiedImageError:
        # By its bytes: messengers rename pictures.
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
    accept_licence: str = '',
    network_size: int = 0,
    network_aspect: float = MOST_ASPECT,
    for_robot: bool = False,
    model_file: Mapping[str, Any] | None = None,
) -> DepthEstimator:
    """Load a model.

    `model`: one of `models.names()`; 'auto' (midas_small, or embedded with a `notice` where weights
    or libraries are missing); or the path of a file: weights of one of these models (a PyTorch
    state dict, .pt, the same as .safetensors, or a NumPy archive, .npz), a folder with the files of
    Monodepth2 or with a model.safetensors and its config.json, or a model file (.onnx, .xml,
    .tflite): one that `midas_depth export` wrote, or another, whose use is found out by `foreign`
    or stated in `model_file`, fields by name as in `file_description.FIELDS`. Each is checked on
    sample pictures (see `model_check`).
    `backend`: 'auto' (the rule is in `backends`), or the name of one. `precision`: 'auto' (the
    fastest whose deviation from f32 is within the bound, see `model_check`), or one of
    `backends.PRECISIONS`.
    `num_threads` limits the threads of inference, and of OpenCV process-wide; 0 leaves them as
    they are: all cores, unless the process set a limit. `allow_download`: whether missing official
    weights may be downloaded; 'auto' waits for them for minutes only (`AUTO_LIMIT`).
    `accept_licence`: names of restricted licences that the user accepts, separated by commas.
    `network_size`: the shorter side of the network's input in pixels, 0 = the official size, or
    with `for_robot` the model's size for robots. `network_aspect`: how many times as long the
    longer side may be; a longer picture is squeezed. See `models.sizes`.

    Raises UnknownModel, BackendUnavailable, WeightsError, InvalidNetworkSize, and ValueError for
    negative threads.
    """
    name = os.fspath(model)
    check_names(backend, precision)
    if num_threads < 0:
        raise ValueError(f'num_threads is {num_threads}: give 0 (all cores) or more')
    if num_threads:
        cv2.setNumThreads(num_threads)
    size = NetworkSize(network_size, network_aspect, for_robot)
    if name != AUTO:
        limit = NAMED_LIMIT if allow_download else None
        return _load(
            name,
            backend,
            num_threads,
            precision,
            limit,
            size=size,
            accept_licence=accept_licence,
            given=model_file,
        )
    try:
        limit = AUTO_LIMIT if allow_download else None
        return _load(PREFERRED, backend, num_threads, precision, limit, size=size)
    except (BackendUnavailable, WeightsError) as error:
        # Backend, precision and size were chosen for the other model; this one takes what it can.
        kept = precision if precision == 'f32' else AUTO
        notice = fallback_notice(error)
        if network_size:
            notice += f' network_size {network_size} is not for it.'
        return _load(FALLBACK, AUTO, num_threads, kept, notice=notice)


def fallback_notice(error: DepthError) -> str:
    """Why 'auto' does not run the preferred model, what it runs instead, and what to do."""
    reason = textwrap.shorten(str(error), NOTICE_LENGTH, placeholder=' ...').rstrip('.')
    return (
        f'{models.spec(PREFERRED).title} is not available: {reason}. Running {FALLBACK!r} instead. '
        f'{models.spec(FALLBACK).about} Fix the cause, or choose model={FALLBACK} to skip the '
        f'attempt; model={PREFERRED} fails instead of falling back.'
    )


def _load(
    model: str,
    backend: str,
    num_threads: int,
    precision: str,
    limit: DownloadLimit | None = None,
    *,
    size: NetworkSize = OFFICIAL,
    notice: str = '',
    accept_licence: str = '',
    given: Mapping[str, Any] | None = None,
) -> DepthEstimator:
    """Load a model by its name or path, but not 'auto'. Without a `limit` nothing is downloaded.

    Raises UnknownModel, BackendUnavailable, InvalidNetworkSize, and what is wrong with the file or
    its answers.
    """
    spec = models.spec(model) if model in models.names() else None
    if spec is not None:  # before a download: a library may be missing, or the size impossible
        size.applied_to(spec)
        find_backend(_able(backend, spec), spec.weights.suffix, precision, spec)
    weights = models.find_weights(
        model,
        allow_download=limit is not None,
        limit=limit or NAMED_LIMIT,
        accept_licence=accept_licence,
    )
    suffix = weights.suffix.lower()
    held = model_of(weights)
    if held is not None:
        backend = _able(backend, held)
    factory = find_backend(backend, suffix, precision, held)
    name = model if spec else printable(models.name_of(weights))
    try:
        if suffix in MODEL_SUFFIXES:
            network = factory(weights, num_threads, precision, size, given=given or {})
        else:
            network = factory(weights, num_threads, precision, size)
        if isinstance(network.spec, ModelSpec):  # a model file has a licence, too
            models.check_licence(network.spec, accept_licence)
        doubt = check_model(
            lambda rgb: _answer(network, rgb),
            name,
            spec.weights.sha256 if spec else network.weights_sha256,
            network.precision,
            network.spec.picture.network_size(*PICTURE_SIZE)[::-1],
            description=network.description,
            claimed=suffix in MODEL_SUFFIXES,
        )
    except (MemoryError, RecursionError) as error:
        raise WeightsMismatch(
            f'{weights} needs more memory than is available: use {models.in_words()}'
        ) from error
    why = 'as asked' if backend != AUTO else f'first usable of {", ".join(BACKENDS)}'
    choice = f'backend {network.name}: {why}; precision {network.choice}'
    choice += f'; {size_in_words(network.spec)}'
    unused = ''
    if network.description is not None:
        choice += f'. {used_as(network.description)}'
        notice = said_aloud(network.description)
    elif given:
        unused = f'{", ".join(f"{PREFIX}.{key}" for key in given)}: not used, {name} needs none.'
    notices = ' '.join(filter(None, (notice, unused, doubt)))
    return DepthEstimator(name, network, notices, choice=printable(choice), spec=network.spec)


def _answer(network: LoadedBackend, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = network.infer(network.preprocess(rgb))
    return network.spec.picture.uncovered(small, rgb.shape[:2])


def used_as(description: FileDescription) -> str:
    """How a model file of another maker is used, field by field with the sources, for the log."""
    fields = (
        f'{name} {as_text(value)} ({description.origins[name]})'
        for name, value in description.values.items()
    )
    return f'{description.title} is used with {"; ".join(fields)}'


def said_aloud(description: FileDescription) -> str:
    """What was assumed of a file and what was overridden, as a notice; '' where nothing was."""
    texts = [f'{description.title}: {conflict}.' for conflict in description.conflicts]
    if assumed := description.assumed:
        reasons = dict.fromkeys(assumed.values())
        named = '; '.join(
            ', '.join(
                f'{name} {as_text(description.values[name])}'
                for name, each in assumed.items()
                if each == why
            )
            + f' ({why})'
            for why in reasons
        )
        texts.append(
            f'{description.title}: assumed, since nothing says it: {named}. Set {PREFIX}.* to what '
            'you know; `midas_depth inspect` prints what was found.'
        )
    return ' '.join(texts)


def _able(backend: str, spec: ModelSpec) -> str:
    """The backend; torch where 'auto' has no choice, since the model has no ONNX graph."""
    return 'torch' if backend == AUTO and spec.onnx is None else backend
