"""Depth of one picture file: bytes in, a `Prediction` out; the same bytes again come from a cache.

Plain Python, to be called from a worker thread. The picture is measured by its header and refused
before anything is unpacked. What is kept is the picture at a size for looking at and the depth at
the network's size, from which every view is drawn without another inference.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import io
import threading
import time
import types
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import Closeness, closeness
from midas_depth_ros.images import decode_compressed
from midas_depth_ros.images.containers import container_of
from midas_depth_ros.images.errors import DataTooShort, UnsupportedFormat
from midas_depth_ros.images.sources.pictures import orientation_of, upright
from midas_depth_ros.views import Heatmap, HeatmapOptions, side_by_side
from midas_depth_ros.web.errors import Refused
from midas_depth_ros.web.limits import Limits

FASTEST_PNG = 1  # compression level: three times as fast as the default for a tenth more bytes


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What is kept of one picture.

    size: (width, height) as it was sent; rgb: (H, W, 3) uint8, reduced; inverse_depth: (h, w)
    float32 at network size.
    """

    identifier: str
    size: tuple[int, int]
    rgb: NDArray[np.uint8]
    inverse_depth: NDArray[np.float32]
    closeness: Closeness
    inference_ms: float

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        return self.rgb.nbytes + self.inverse_depth.nbytes


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

    def predict(self, data: bytes) -> tuple[Prediction, bool]:
        """The prediction of a JPEG, PNG or WebP file, and whether it was in the cache.

        Raises Refused or ImageError for what is no such picture, DepthError without a model.
        """
        identifier = hashlib.sha256(data).hexdigest()
        known = self.find(identifier)
        if known is not None:
            return known, True
        decoded = decode(data, self._limits.pixels)
        rgb = reduced(decoded, self._limits.kept_side)
        with self._inferring:
            estimator = self._loaded()
            started = time.perf_counter()
            inverse_depth = estimator.infer(rgb)
            inference_ms = 1e3 * (time.perf_counter() - started)
        prediction = Prediction(
            identifier,
            (decoded.shape[1], decoded.shape[0]),
            rgb,
            inverse_depth,
            closeness(inverse_depth),
            inference_ms,
        )
        self._keep(prediction)
        return prediction, False

    def depth_file(self, prediction: Prediction) -> bytes:
        """An .npy file of (H, W) float32 relative inverse depth at the size of `rgb`."""
        with self._inferring:
            depth = self._loaded().enlarge(prediction.inverse_depth, prediction.rgb.shape[:2])
        file = io.BytesIO()
        np.save(file, depth, allow_pickle=False)
        return file.getvalue()

    def close(self) -> None:
        """Free the model."""
        with self._inferring:
            if self._estimator is not None:
                self._estimator.close()
                self._estimator = None

    def _loaded(self) -> DepthEstimator:
        if self._estimator is None:
            self._estimator = self._make_estimator()
        return self._estimator

    def _keep(self, prediction: Prediction) -> None:
        with self._keeping:
            self._kept[prediction.identifier] = prediction
            total = sum(kept.nbytes for kept in self._kept.values())
            while total > self._limits.cache_bytes and len(self._kept) > 1:
                total -= self._kept.popitem(last=False)[1].nbytes


def decode(data: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """A JPEG, PNG or WebP file as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Its size is read from its header first. Raises Refused (413, 415) or ImageError.
    """
    try:
        width, height = container_of(data).size(data)
    except (DataTooShort, UnsupportedFormat):
        raise Refused(415, 'this is no JPEG, PNG or WebP picture: send one of these') from None
    if width * height > max_pixels:
        text = f'the picture has {width}x{height} pixels, at most {max_pixels} are taken'
        raise Refused(413, f'{text}: send a smaller one')
    message = types.SimpleNamespace(format='', data=data)
    return upright(decode_compressed(message, max_pixels), orientation_of(data))


def reduced(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture itself, or smaller so that its longer side has `side` pixels."""
    factor = side / max(rgb.shape[:2])
    if factor >= 1:
        return np.ascontiguousarray(rgb)
    height, width = (max(1, round(length * factor)) for length in rgb.shape[:2])
    return cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)


def view(prediction: Prediction, name: str, options: HeatmapOptions) -> NDArray[np.uint8]:
    """`picture`, `heatmap` or `side_by_side` of a prediction: (H, W, 3) uint8 RGB."""
    if name == 'picture':
        return prediction.rgb
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
