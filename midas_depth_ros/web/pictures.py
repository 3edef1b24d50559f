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
import enum
import hashlib
import inspect
import io
import math
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, cast

import cv2
import numpy as np
from fastapi import APIRouter, Depends, File, Path, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from PIL import Image

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import Closeness, closeness_of_picture, turned
from midas_depth_ros.images import decode_compressed, verdict_for
from midas_depth_ros.images.compressed import (
    READERS,
    SIXTEEN,
    SIXTEEN_BITS,
    checked,
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
from midas_depth_ros.images.pillow import PILLOW_FAULTS, rgb_of
from midas_depth_ros.images.sources.pictures import orientation_of, upright
from midas_depth_ros.options.declarations import OptionFault, Spec, spec_of
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.options.shared import TURNS, SharedOptions
from midas_depth_ros.views import Heatmap, side_by_side
from midas_depth_ros.web.errors import Refused, error_responses
from midas_depth_ros.web.limits import Jobs, Limits, Rate, client_of

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
        inverse_depth = verdict.hidden(answer)
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

    def discard_estimator(self) -> None:
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
        rgb = decode_reduced(message, limits)
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


def decode_reduced(message: types.SimpleNamespace, limits: Limits) -> NDArray[np.uint8]:
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
                return cv2.resize(
                    reduce_in_stripes(picture, wanted), wanted, interpolation=cv2.INTER_AREA
                )
    except PILLOW_FAULTS as error:
        if isinstance(error, ImageError):
            raise
        raise CorruptPicture(
            f'the {container.name} of {len(data)} bytes cannot be decoded ({error}): '
            'it is damaged or cut short'
        ) from error
    raise CorruptPicture(f'the {container.name} has another size by its data than by its header')


def reduce_in_stripes(picture: Image.Image, wanted: tuple[int, int]) -> NDArray[np.uint8]:
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


def render_view(prediction: Prediction, name: str, options: HeatmapOptions) -> NDArray[np.uint8]:
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


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """A PNG file of (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, FASTEST_PNG])
    return encoded.tobytes()


# --- The HTTP API of pictures: send one, look at its depth in other colours, fetch the figures.
#
# POST /api/predict                         PNG or JSON, by Accept
# GET  /api/results/{identifier}/{view}.png the same picture again, without another inference
# GET  /api/results/{identifier}/depth.npy  (H, W) float32 relative inverse depth

# --- Which of several content types a client prefers, by its Accept header (RFC 9110, 12.5.1).


def preferred_type(accept: str, offers: tuple[str, ...]) -> str:
    """The offer that Accept likes best, the first of equals; '' if it takes none of them."""
    ranges = [_range(part) for part in accept.split(',') if part.strip()] or [('*/*', 1.0)]
    qualities = {offer: _quality(offer, ranges) for offer in offers}
    best = max(offers, key=lambda offer: qualities[offer])
    return best if qualities[best] > 0 else ''


def _range(text: str) -> tuple[str, float]:
    name, *parameters = (part.strip().lower() for part in text.split(';'))
    for parameter in parameters:
        if parameter.startswith('q='):
            try:
                return name, float(parameter[2:])
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(offer: str, ranges: list[tuple[str, float]]) -> float:
    """The quality of the most specific range that fits; 0 where none does."""
    kind = offer.partition('/')[0]
    for pattern in (offer, f'{kind}/*', '*/*'):
        found = [quality for name, quality in ranges if name == pattern]
        if found:
            return max(found)
    return 0.0


PNG_TYPE, JSON_TYPE, NPY_TYPE = 'image/png', 'application/json', 'application/x-npy'
# What a part may call itself; what counts is what its bytes are.
PICTURE_TYPES = ('image/jpeg', 'image/png', 'image/webp', 'application/octet-stream', '')
# Of the heatmap's options, those that mean something for one picture without metres.
QUERY_OPTIONS = (
    *('colormap', 'mapping', 'percentile_low', 'percentile_high'),
    *('gamma', 'overlay_alpha', 'clahe_clip', 'smoothing'),
)

Turn = enum.Enum('Turn', {f'by_{turn}': str(turn) for turn in TURNS})  # type: ignore[misc]
NO_TURN = Turn(str(DepthNodeSettings.rotate))


class View(str, enum.Enum):
    """What a PNG shows."""

    heatmap = 'heatmap'
    side_by_side = 'side_by_side'
    picture = 'picture'


async def heatmap_options(**values: Any) -> HeatmapOptions:
    """How the heatmap shall look, by a query. Raises Refused."""
    plain = {name: getattr(value, 'value', value) for name, value in values.items()}
    try:
        return HeatmapOptions(**plain)
    except OptionFault as error:  # values that do not go together
        raise Refused(422, str(error).replace('heatmap.', '')) from error


def _query(spec: Spec) -> inspect.Parameter:
    """A parameter of a query, as the option is declared."""
    unit = f' [{spec.unit}]' if spec.unit else ''
    kind: Any = float
    default = spec.default
    if spec.choices:
        members = {name: name for name in spec.choices}
        kind = cast(Any, enum.Enum)(spec.name.capitalize(), members)
        default = kind(default)
    query = Query(ge=spec.minimum, le=spec.maximum, description=spec.text + unit)
    return inspect.Parameter(
        spec.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=default,
        annotation=Annotated[kind, query],
    )


# FastAPI asks a function for its signature: this one's is made of the declarations.
heatmap_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_query(spec_of(HeatmapOptions, name)) for name in QUERY_OPTIONS]
)
Options = Annotated[HeatmapOptions, Depends(heatmap_options)]
Identifier = Annotated[str, Path(pattern='^[0-9a-f]{64}$', description='From /api/predict.')]

RESULT_SCHEMA: dict[str, Any] = {
    'type': 'object',
    'required': [
        'id',
        'width',
        'height',
        'model',
        'backend',
        'closeness',
        'blind',
        'links',
        'cached',
    ],
    'properties': {
        'id': {'type': 'string', 'description': 'SHA-256 of the file (and of how it was turned).'},
        'width': {'type': 'integer'},
        'height': {'type': 'integer'},
        'shown_width': {'type': 'integer', 'description': 'Of the views and of depth.npy.'},
        'shown_height': {'type': 'integer'},
        'model': {'type': 'string'},
        'backend': {'type': 'string'},
        'notice': {
            'type': 'string',
            'description': 'Why a fallback model is used; empty otherwise.',
        },
        'inference_ms': {'type': 'number'},
        'cached': {'type': 'boolean'},
        'closeness': {
            'type': 'object',
            'description': '0 = far, 1 = as near as the nearest floor in view; null = unknown.',
            'properties': {
                **{n: {'type': ['number', 'null']} for n in ('left', 'centre', 'right')},
                'reason': {'type': 'string'},
            },
        },
        'blind': {
            'type': 'string',
            'description': 'Why the picture, or a part of it, says nothing about depth: dark, '
            'white, fogged, out of focus, covered; empty where all of it does. There the views are '
            'grey and closeness is null; depth.npy has what the network says all the same.',
        },
        'links': {'type': 'object', 'additionalProperties': {'type': 'string'}},
    },
}
FILE_SCHEMA = {'type': 'string', 'format': 'binary'}


def picture_router(
    pictures: PictureDepth, jobs: Jobs, limits: Limits, root_path: str = ''
) -> APIRouter:
    """The routes over one estimator. root_path: before every path, as a browser sees it."""
    router = APIRouter(tags=['pictures'])
    predictions = Rate(limits.predictions_per_s, limits.prediction_burst)
    renderings = Rate(limits.renderings_per_s, limits.rendering_burst)

    @router.post(
        '/api/predict',
        summary='Depth of a picture',
        response_class=Response,
        responses={
            200: {
                'description': 'A view as PNG, or what is known of the picture. X-Cache says '
                'whether it was inferred anew (miss) or not (hit).',
                'content': {
                    PNG_TYPE: {'schema': FILE_SCHEMA},
                    JSON_TYPE: {'schema': RESULT_SCHEMA},
                },
                'headers': {
                    'X-Cache': {'schema': {'type': 'string', 'enum': ['hit', 'miss']}},
                    'X-Result-Id': {'schema': {'type': 'string'}},
                    'X-Blind': {
                        'description': 'As `blind` of the JSON answer.',
                        'schema': {'type': 'string'},
                    },
                },
            },
            **error_responses(406, 408, 413, 415, 422, 429, 503),
        },
    )
    async def predict(
        request: Request,
        image: Annotated[
            UploadFile,
            File(description='A JPEG, PNG or WebP file.', json_schema_extra={'format': 'binary'}),
        ],
        options: Options,
        view_name: Annotated[View, Query(alias='view')] = View.heatmap,
        rotate: Annotated[Turn, Query(description='Turned clockwise first [degrees].')] = NO_TURN,
    ) -> Response:
        wanted = preferred_type(request.headers.get('accept', ''), (PNG_TYPE, JSON_TYPE))
        if not wanted:
            raise Refused(406, f'Accept takes neither {PNG_TYPE} nor {JSON_TYPE}')
        kind = (image.content_type or '').partition(';')[0].strip().lower()
        if kind not in PICTURE_TYPES:
            raise Refused(415, f'the part "image" is {kind[:60]}: send a JPEG, PNG or WebP file')
        predictions.take(client_of(request))
        data = await image.read()

        def work() -> tuple[Prediction, bool, bytes]:
            prediction, cached = pictures.predict(data, int(rotate.value))
            made = (
                encode_png(render_view(prediction, view_name.value, options))
                if wanted == PNG_TYPE
                else b''
            )
            return prediction, cached, made

        prediction, cached, made = await jobs.run(work)
        headers = {
            'X-Cache': 'hit' if cached else 'miss',
            'X-Result-Id': prediction.identifier,
            'X-Blind': prediction.blind,
            'Vary': 'Accept',
        }
        if wanted == PNG_TYPE:
            return Response(made, media_type=PNG_TYPE, headers=headers)
        told = result_json(prediction, pictures, cached, root_path)
        return JSONResponse(told, headers=headers)

    def known(identifier: str) -> Prediction:
        prediction = pictures.find(identifier)
        if prediction is None:
            raise Refused(404, 'this picture is not in the cache (any more): send it again')
        return prediction

    @router.get(
        '/api/results/{identifier}/depth.npy',
        summary='Relative inverse depth as a NumPy file',
        response_class=Response,
        responses={
            200: {'description': 'An .npy file.', 'content': {NPY_TYPE: {'schema': FILE_SCHEMA}}},
            **error_responses(404, 422, 429, 503),
        },
    )
    async def depth(request: Request, identifier: Identifier) -> Response:
        prediction = known(identifier)
        renderings.take(client_of(request))
        data = await jobs.run(pictures.depth_file, prediction)
        return Response(
            data, media_type=NPY_TYPE, headers=content_disposition(prediction, 'depth.npy')
        )

    @router.get(
        '/api/results/{identifier}/{view_name}.png',
        summary='Another view of a picture that was sent',
        response_class=Response,
        responses={
            200: {'description': 'A PNG file.', 'content': {PNG_TYPE: {'schema': FILE_SCHEMA}}},
            **error_responses(404, 422, 429, 503),
        },
    )
    async def result(
        request: Request, identifier: Identifier, view_name: View, options: Options
    ) -> Response:
        prediction = known(identifier)
        renderings.take(client_of(request))
        data = await jobs.run(lambda: encode_png(render_view(prediction, view_name.value, options)))
        name = f'{view_name.value}.png'
        return Response(data, media_type=PNG_TYPE, headers=content_disposition(prediction, name))

    return router


def content_disposition(prediction: Prediction, name: str) -> dict[str, str]:
    """The file name under which a browser saves it."""
    return {'Content-Disposition': f'inline; filename="{prediction.identifier[:8]}_{name}"'}


def result_json(
    prediction: Prediction, pictures: PictureDepth, cached: bool, root_path: str = ''
) -> dict[str, Any]:
    """The JSON answer, as RESULT_SCHEMA says."""
    near, estimator = prediction.closeness, pictures.estimator
    base = f'{root_path}/api/results/{prediction.identifier}'
    values = {'left': near.left, 'centre': near.centre, 'right': near.right}
    return {
        'id': prediction.identifier,
        'width': prediction.size[0],
        'height': prediction.size[1],
        'shown_width': prediction.rgb.shape[1],
        'shown_height': prediction.rgb.shape[0],
        'model': estimator.model if estimator else '',
        'backend': estimator.backend if estimator else '',
        'notice': estimator.notice if estimator else '',
        'inference_ms': round(prediction.inference_ms, 2),
        'cached': cached,
        'closeness': {
            **{n: None if math.isnan(v) else round(float(v), 4) for n, v in values.items()},
            'reason': near.reason,
        },
        'blind': prediction.blind,
        'links': {
            **{each.value: f'{base}/{each.value}.png' for each in View},
            'depth': f'{base}/depth.npy',
        },
    }
