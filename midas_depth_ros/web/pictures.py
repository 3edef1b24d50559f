"""Depth of one picture file: bytes in, a `Prediction` out; the same bytes again come from a cache.

Plain Python, to be called from a worker thread. The picture is measured by its header and refused
before anything is unpacked, and a large one is reduced while it is unpacked. What is kept is the
picture at a size for looking at and the depth at the network's size, from which every view is drawn
without another inference.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import hashlib
import io
import threading
import time
import types
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import Closeness, closeness_of_picture, turned
from midas_depth_ros.images import decode_compressed, verdict_for
from midas_depth_ros.images.compressed import (
    PILLOW_FAULTS,
    READERS,
    SIXTEEN,
    SIXTEEN_BITS,
    checked,
    rgb_of,
    whole_jpeg,
)
from midas_depth_ros.images.containers import (
    JPEG,
    PNG,
    TIFF,
    WEBP,
    Container,
    container_of,
    png_colours,
)
from midas_depth_ros.images.errors import (
    CorruptPicture,
    DataTooShort,
    ImageError,
    UnsupportedFormat,
)
from midas_depth_ros.images.jpeg import Ending, scans_of
from midas_depth_ros.images.sources.pictures import orientation_of, upright
from midas_depth_ros.options.declarations import SharedOptions
from midas_depth_ros.views import Heatmap, HeatmapOptions, side_by_side
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits

CLOSING_S = 3.0
LONGEST_SIDE = 65_535  # px, as in a JPEG
# Bytes that a decoder holds per pixel, at most.
DECODED_BYTES = {PNG: 5, WEBP: 8, JPEG: 5, TIFF: 16}  # a TIFF may have 16 bits
PROGRESSIVE_BYTES = 6  # the coefficients of a whole picture
SIXTEEN_BYTES = 7  # of each channel of 16 bits: as it is unpacked, its samples, and the RGB
MOST_SCANNED = 12 * SharedOptions.max_pixels  # pixels times scans of a progressive JPEG
STRIPE_PIXELS = 2**20  # are made RGB at once while a large picture is reduced
# A wider filter than this share of the shorter side would smooth what is not there, for hours.
WIDEST_SMOOTHING = 1 / 16
FASTEST_PNG = 1  # compression level: three times as fast as the default for a tenth more bytes


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is kept of one picture.

    size: (width, height) as it was sent, but turned; rgb: (H, W, 3) uint8, reduced; answer: (h, w)
    float32, what the network says; inverse_depth: the same with NaN where the picture says nothing.
    blind: why it, or a part of it, does not, else ''.
    """

    identifier: str
    size: tuple[int, int]
    rgb: NDArray[np.uint8]
    answer: NDArray[np.float32]
    inverse_depth: NDArray[np.float32]
    blind: str
    closeness: Closeness
    inference_ms: float

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.rgb.nbytes + self.answer.nbytes + self.inverse_depth.nbytes


class PictureDepth:
    """One estimator, loaded at the first picture, and the last predictions."""

    def __init__(self, make_estimator: Callable[[], DepthEstimator], limits: Limits) -> None:
        self._make_estimator = make_estimator
        self._limits = limits
        self._estimator: DepthEstimator | None = None
        self._inferring = threading.Lock()
        self._kept: collections.OrderedDict[str, Prediction] = collections.OrderedDict()
        self._keeping = threading.Lock()

    @property
    def estimator(self) -> DepthEstimator | None:
        """What is loaded; None before the first picture."""
        return self._estimator

    def find(self, identifier: str) -> Prediction | None:
        """A prediction that is still kept."""
        with self._keeping:
            if identifier in self._kept:
                self._kept.move_to_end(identifier)
            return self._kept.get(identifier)

    def predict(self, data: bytes, rotate: int = 0) -> tuple[Prediction, bool]:
        """The prediction of a JPEG, PNG or WebP file, and whether it was in the cache.

        rotate: by how many degrees the picture is turned clockwise first: 0, 90, 180 or 270.

        Raises Refused or ImageError for what is no such picture, DepthError without a model.
        """
        identifier = hashlib.sha256(data).hexdigest()
        if rotate:
            identifier = hashlib.sha256(f'{identifier} turned by {rotate}'.encode()).hexdigest()
        known = self.find(identifier)
        if known is not None:
            return known, True
        rgb, size = decode(data, self._limits)
        rgb = turned(rgb, rotate)
        size = size[::-1] if rotate in (90, 270) else size
        with self._estimating() as estimator:
            started = time.perf_counter()
            answer = estimator.infer(rgb)
            inference_ms = 1e3 * (time.perf_counter() - started)
        verdict = verdict_for(estimator, rgb)
        inverse_depth = verdict.masked(answer)
        prediction = Prediction(
            identifier,
            size,
            rgb,
            answer,
            inverse_depth,
            verdict.text,
            closeness_of_picture(inverse_depth, verdict.reason),
            inference_ms,
        )
        self._keep(prediction)
        return prediction, False

    def depth_file(self, prediction: Prediction) -> bytes:
        """An .npy file of (H, W) float32, what the network says at the size of `rgb`."""
        with self._estimating() as estimator:
            depth = estimator.enlarge(prediction.answer, prediction.rgb.shape[:2])
        file = io.BytesIO()
        np.save(file, depth, allow_pickle=False)
        return file.getvalue()

    def start_anew(self) -> None:
        """Leave a model that hangs to the thread that waits for it; the next picture loads one."""
        self._inferring, self._estimator = threading.Lock(), None

    def close(self) -> bool:
        """Free the model; False where it is still at work and is left alone."""
        lock = self._inferring
        if not lock.acquire(timeout=CLOSING_S):
            return False
        try:
            estimator, self._estimator = self._estimator, None
            if estimator is not None:
                estimator.close()
        finally:
            lock.release()
        return True

    @contextlib.contextmanager
    def _estimating(self) -> Iterator[DepthEstimator]:
        """The estimator, loaded, for one thread at a time. Raises Refused (503) and DepthError."""
        lock = self._inferring
        if not lock.acquire(timeout=self._limits.job_s):
            raise Refused(503, 'the model is busy: try again', 5)
        try:
            estimator = self._estimator
            if estimator is None:
                estimator = self._make_estimator()
                if lock is self._inferring:  # else another thread has started anew meanwhile
                    self._estimator = estimator
            yield estimator
        finally:
            lock.release()

    def _keep(self, prediction: Prediction) -> None:
        with self._keeping:
            self._kept[prediction.identifier] = prediction
            total = sum(kept.nbytes for kept in self._kept.values())
            while total > self._limits.cache_bytes and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1].nbytes


def decode(data: bytes, limits: Limits) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """A JPEG, PNG or WebP file, turned as its EXIF orientation says, and its (width, height).

    The picture is (H, W, 3) uint8 RGB, no larger than `kept_side`. Its size is read from its header
    first. Raises Refused (413, 415) or ImageError.
    """
    try:
        container = container_of(data)
    except (DataTooShort, UnsupportedFormat):
        container = TIFF
    if container is TIFF:  # which browsers do not show
        raise Refused(415, 'this is not a JPEG, PNG or WebP picture: send one of these')
    width, height = container.size(data)
    check_cost(container, data, width, height, limits)
    orientation = orientation_of(data)
    message = types.SimpleNamespace(format='', data=data)
    if max(width, height) <= limits.kept_side:
        rgb = decode_compressed(message, limits.pixels)
    else:
        rgb = decode_smaller(message, limits)
    turned = upright(rgb, orientation)
    is_turned = upright(np.empty((1, 2, 3), np.uint8), orientation).shape[0] == 2
    return turned, (height, width) if is_turned else (width, height)


def check_cost(container: Container, data: bytes, width: int, height: int, limits: Limits) -> None:
    """Raise Refused (413) for a picture that would take too much memory or time to decode."""
    text = f'the picture has {width}x{height} pixels'
    if width * height > limits.pixels:
        raise Refused(413, f'{text}, at most {limits.pixels} are taken: send a smaller one')
    if max(width, height) > LONGEST_SIDE:
        raise Refused(413, f'{text}, at most {LONGEST_SIDE} a side are taken: send a smaller one')
    scans = scans_of(data) if container is JPEG else 1
    if width * height * scans > MOST_SCANNED:
        raise Refused(413, f'{text} in {scans} scans: save it as an ordinary JPEG')
    per_pixel = PROGRESSIVE_BYTES if scans > 1 else DECODED_BYTES[container]
    if has_sixteen_bits(container, data):
        per_pixel = SIXTEEN_BYTES * SIXTEEN_BITS[png_colours(data)[1]][0]
    if width * height * per_pixel > limits.decoded_bytes:
        raise Refused(413, f'{text}, too many for a {container.name}: send a smaller one')


def has_sixteen_bits(container: Container, data: bytes) -> bool:
    """Whether this is a PNG with samples of 16 bits. Raises ImageError."""
    return container is PNG and png_colours(data)[0] == SIXTEEN


def decode_smaller(message: types.SimpleNamespace, limits: Limits) -> NDArray[np.uint8]:
    """A large picture reduced to `kept_side` while it is made RGB: (H, W, 3) uint8.

    Only what the decoder itself holds is ever there at full size. Raises ImageError.
    """
    container, size, data = checked(message, limits.pixels)
    factor = min(1.0, limits.kept_side / max(size))
    wanted = (max(1, round(size[0] * factor)), max(1, round(size[1] * factor)))
    if container not in READERS or has_sixteen_bits(container, data):
        whole = decode_compressed(message, limits.pixels)
        return cv2.resize(whole, wanted, interpolation=cv2.INTER_AREA)
    try:
        if container.ending(message.data) is not Ending.KNOWN:
            whole = whole_jpeg(data, wanted)
            return cv2.resize(whole, wanted, interpolation=cv2.INTER_AREA)
        with READERS[container](io.BytesIO(data)) as picture:
            if picture.size == size:
                picture.draft(
                    'RGB', wanted
                )  # a JPEG can be decoded at a half, a quarter, an eighth
                picture.load()
                return cv2.resize(in_stripes(picture, wanted), wanted, interpolation=cv2.INTER_AREA)
    except PILLOW_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(
            f'the {container.name} of {len(data)} bytes cannot be decoded ({error}): '
            'it is damaged or cut short'
        ) from error
    raise CorruptPicture(f'the {container.name} has another size by its data than by its header')


def in_stripes(picture: Image.Image, wanted: tuple[int, int]) -> NDArray[np.uint8]:
    """A loaded picture as (H, W, 3) uint8 RGB, reduced by a whole number to no less than wanted."""
    width, height = picture.size
    factor = max(1, min(width // wanted[0], height // wanted[1]))
    rows = factor * max(1, STRIPE_PIXELS // (width * factor))
    stripes = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        rgb = rgb_of(picture.crop((0, top, width, bottom)))
        size = (-(-width // factor), -(-(bottom - top) // factor))
        stripes.append(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA))
    return np.concatenate(stripes)


def view(prediction: Prediction, name: str, options: HeatmapOptions) -> NDArray[np.uint8]:
    """`picture`, `heatmap` or `side_by_side` of a prediction: (H, W, 3) uint8 RGB."""
    if name == 'picture':
        return prediction.rgb
    widest = WIDEST_SMOOTHING * min(prediction.rgb.shape[:2])
    options = dataclasses.replace(options, smoothing=min(options.smoothing, widest))
    heatmap = Heatmap().render(prediction.inverse_depth, prediction.rgb, 0.0, options)
    if name == 'heatmap':
        return heatmap
    near = prediction.closeness
    return side_by_side(prediction.rgb, heatmap, closeness=(near.left, near.centre, near.right))


def png(rgb: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, FASTEST_PNG])
    return encoded.tobytes()
