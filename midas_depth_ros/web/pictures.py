"""Depth of pictures that are sent: decode, infer and cache them, and the HTTP API for that.

POST /api/predict                         PNG or JSON, as Accept asks
GET  /api/results/{identifier}/{view}.png the same picture again, without another inference
GET  /api/results/{identifier}/depth.npy  (H, W) float32 relative inverse depth

A picture's size is read from its header and checked before anything is decoded; a large picture
is reduced while it is decoded. The cache holds the reduced picture and the depth at the network's
size, from which every view is rendered without another inference.
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
import re
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
from midas_depth_ros.images import BitDepth, decode_compressed, verdict_for
from midas_depth_ros.images.compressed import (
    PILLOW_FAULTS,
    READERS,
    SIXTEEN,
    SIXTEEN_BITS,
    Format,
    checked,
    original_colours,
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
from midas_depth_ros.options.declarations import TURNS, OptionFault, SharedOptions, Spec, spec_of
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views import Heatmap, side_by_side
from midas_depth_ros.web.errors import Refused, error_responses
from midas_depth_ros.web.limits import Jobs, Limits, Rate, client_of

CLOSING_S = 3.0
LONGEST_SIDE = 65_535  # px, as in a JPEG
# The most bytes that a decoder holds per pixel.
DECODED_BYTES = {PNG: 5, WEBP: 8, JPEG: 5, TIFF: 16}  # a TIFF may have 16 bits
PROGRESSIVE_BYTES = 6  # the coefficients of the whole picture
SIXTEEN_BYTES = 7  # per channel of 16 bits: unpacked data, samples and RGB
MOST_SCANNED = 12 * SharedOptions.max_pixels  # pixels times scans of a progressive JPEG
STRIPE_PIXELS = 2**20  # converted to RGB at once while a large picture is reduced
WIDEST_SMOOTHING = 1 / 16  # of the shorter side: wider filters take hours
FASTEST_PNG = 1  # compression level: three times as fast as the default, a tenth larger


@dataclasses.dataclass(frozen=True)
class Prediction:
    """The cached result of one picture.

    size: (width, height) as sent, but turned upright; rgb: (H, W, 3) uint8, reduced; answer: (h, w)
    float32, the network's output; inverse_depth: the same, NaN where the picture is blind. blind:
    why the picture, or a part of it, is, else ''.
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
        """Memory that it occupies."""
        return self.rgb.nbytes + self.answer.nbytes + self.inverse_depth.nbytes


class PictureDepth:
    """One estimator, loaded at the first picture, and a cache of predictions."""

    def __init__(self, make_estimator: Callable[[], DepthEstimator], limits: Limits) -> None:
        self._make_estimator = make_estimator
        self._limits = limits
        self._estimator: DepthEstimator | None = None
        self._inferring = threading.Lock()
        self._kept: collections.OrderedDict[str, Prediction] = collections.OrderedDict()
        self._keeping = threading.Lock()

    @property
    def estimator(self) -> DepthEstimator | None:
        """The loaded estimator; None before the first picture."""
        return self._estimator

    def find(self, identifier: str) -> Prediction | None:
        """Return a prediction that is still in the cache."""
        with self._keeping:
            if identifier in self._kept:
                self._kept.move_to_end(identifier)
            return self._kept.get(identifier)

    def predict(self, data: bytes, rotate: int = 0) -> tuple[Prediction, bool]:
        """Return the prediction of a JPEG, PNG or WebP file, and whether it was in the cache.

        rotate: degrees to turn the picture clockwise first: 0, 90, 180 or 270. Raises Refused or
        ImageError for any other file, DepthError if there is no model.
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
        """Return an .npy file of (H, W) float32: the network's output at the size of `rgb`."""
        with self._estimating() as estimator:
            depth = estimator.enlarge(prediction.answer, prediction.rgb.shape[:2])
        file = io.BytesIO()
        np.save(file, depth, allow_pickle=False)
        return file.getvalue()

    def discard_estimator(self) -> None:
        """Leave a hanging estimator to its thread; the next picture loads another."""
        self._inferring, self._estimator = threading.Lock(), None

    def close(self) -> bool:
        """Free the estimator; returns False, and leaves it alone, if it is busy."""
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
        """Lock and load the estimator. Raises Refused (503) and DepthError."""
        lock = self._inferring
        if not lock.acquire(timeout=self._limits.job_s):
            raise Refused(503, 'the model is busy: try again', 5)
        try:
            estimator = self._estimator
            if estimator is None:
                estimator = self._make_estimator()
                if lock is self._inferring:  # else it was discarded meanwhile
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
    """Decode a JPEG, PNG or WebP file, upright by its EXIF orientation, and its (width, height).

    Returns (H, W, 3) uint8 RGB, at most `kept_side` px. Raises Refused (413, 415) or ImageError.
    """
    try:
        container = container_of(data)
    except (DataTooShort, UnsupportedFormat):
        container = TIFF
    if container is TIFF:  # browsers do not show these
        raise Refused(415, 'this is not a JPEG, PNG or WebP picture: send one of these')
    width, height = container.size(data)
    check_cost(container, data, width, height, limits)
    orientation = orientation_of(data)
    message = types.SimpleNamespace(format='', data=data)
    if max(width, height) <= limits.kept_side:
        rgb = decode_compressed(message, limits.pixels)
    else:
        rgb = decode_reduced(message, limits)
    is_turned = upright(np.empty((1, 2, 3), np.uint8), orientation).shape[0] == 2
    return upright(rgb, orientation), (height, width) if is_turned else (width, height)


def check_cost(container: Container, data: bytes, width: int, height: int, limits: Limits) -> None:
    """Raise Refused (413) for a picture that takes too much memory or time to decode."""
    text = f'the picture has {width}x{height} pixels'
    if width * height > limits.pixels:
        raise Refused(413, f'{text}, the limit is {limits.pixels}: send a smaller one')
    if max(width, height) > LONGEST_SIDE:
        raise Refused(413, f'{text}, the limit is {LONGEST_SIDE} a side: send a smaller one')
    scans = scans_of(data) if container is JPEG else 1
    if width * height * scans > MOST_SCANNED:
        raise Refused(413, f'{text} in {scans} scans: save it as a baseline JPEG')
    per_pixel = PROGRESSIVE_BYTES if scans > 1 else DECODED_BYTES[container]
    if has_sixteen_bits(container, data):
        per_pixel = SIXTEEN_BYTES * SIXTEEN_BITS[png_colours(data)[1]][0]
    if width * height * per_pixel > limits.decoded_bytes:
        raise Refused(413, f'{text}, too many for a {container.name}: send a smaller one')


def has_sixteen_bits(container: Container, data: bytes) -> bool:
    """Return whether this is a PNG of 16 bits per sample. Raises ImageError."""
    return container is PNG and png_colours(data)[0] == SIXTEEN


def decode_reduced(
    message: types.SimpleNamespace, limits: Limits, bit_depth: BitDepth | None = None
) -> NDArray[np.uint8]:
    """Decode a picture to at most `kept_side` px, as `decode_compressed`: (H, W, 3) uint8 RGB.

    A JPEG or a PNG of 8 bits is reduced in stripes: only the decoder's own buffer is of full size.
    Raises ImageError.
    """
    container, size, data = checked(message, limits.pixels)
    text = Format.parse(message.format)
    is_whole = container not in READERS or has_sixteen_bits(container, data)
    if is_whole or text.mosaic is not None:
        return at_most(decode_compressed(message, limits.pixels, bit_depth), limits.kept_side)
    if bit_depth is not None:
        bit_depth.reset()
    rgb = _reduced_eight_bits(container, size, data, message.data, limits.kept_side)
    return original_colours(rgb, text)


def _reduced_eight_bits(
    container: Container, size: tuple[int, int], data: bytes, sent: bytes, kept_side: int
) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG of 8 bits to at most `kept_side` px. Raises ImageError.

    size: width and height; data: the bytes `sent` without metadata.
    """
    wanted = _reduced_size(size, kept_side)
    try:
        if container.ending(sent) is not Ending.KNOWN:
            whole = whole_jpeg(data, wanted)
            return cv2.resize(whole, wanted, interpolation=cv2.INTER_AREA)
        with READERS[container](io.BytesIO(data)) as picture:
            if picture.size == size:
                picture.draft('RGB', wanted)  # a JPEG can be decoded at 1/2, 1/4, 1/8
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
    raise CorruptPicture(
        f'the {container.name} has a different size in its header than in its data'
    )


def at_most(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Reduce (H, W, 3) uint8 so that no side is longer than `side` px."""
    if max(rgb.shape[:2]) <= side:
        return rgb
    wanted = _reduced_size((rgb.shape[1], rgb.shape[0]), side)
    return np.asarray(cv2.resize(rgb, wanted, interpolation=cv2.INTER_AREA), np.uint8)


def _reduced_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height of which neither is above `side`, in the proportions of `size`."""
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def reduce_in_stripes(picture: Image.Image, wanted: tuple[int, int]) -> NDArray[np.uint8]:
    """Reduce a loaded picture by an integer factor, to at least `wanted`: (H, W, 3) uint8 RGB."""
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


def view_png(prediction: Prediction, view: View, options: HeatmapOptions) -> bytes:
    """Render a view of a prediction as a PNG file."""
    rgb = prediction.rgb
    if view is not View.picture:
        widest = WIDEST_SMOOTHING * min(rgb.shape[:2])
        options = dataclasses.replace(options, smoothing=min(options.smoothing, widest))
        rgb = Heatmap().render(prediction.inverse_depth, prediction.rgb, 0.0, options)
    if view is View.side_by_side:
        near = prediction.closeness
        rgb = side_by_side(prediction.rgb, rgb, closeness=(near.left, near.centre, near.right))
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    return cv2.imencode('.png', bgr, [cv2.IMWRITE_PNG_COMPRESSION, FASTEST_PNG])[1].tobytes()


# --- The HTTP API.


def preferred_type(accept: str, offers: tuple[str, ...]) -> str:
    """Return the best offer by an Accept header (RFC 9110, 12.5.1), the first of equals, or ''."""
    qualities: dict[str, float] = {}
    for part in filter(str.strip, accept.split(',')):
        name, *parameters = (each.strip().lower() for each in part.split(';'))
        given = next((each[2:] for each in parameters if each.startswith('q=')), '1')
        quality = float(given) if re.fullmatch(r'\d+(\.\d*)?', given) else 0.0
        qualities[name] = max(quality, qualities.get(name, 0.0))

    def quality_of(offer: str) -> float:
        ranges = (offer, f'{offer.partition("/")[0]}/*', '*/*')  # the most specific counts
        return next((qualities[each] for each in ranges if each in qualities), 0.0)

    if not accept.strip(' ,\t'):
        return offers[0]
    best = max(offers, key=quality_of)
    return best if quality_of(best) > 0 else ''


PNG_TYPE, JSON_TYPE, NPY_TYPE = 'image/png', 'application/json', 'application/x-npy'
# Accepted types of the multipart field; the file's bytes decide.
PICTURE_TYPES = ('image/jpeg', 'image/png', 'image/webp', 'application/octet-stream', '')
# The heatmap options that apply to a single picture without metres.
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
    """Return the heatmap options of a query. Raises Refused."""
    plain = {name: getattr(value, 'value', value) for name, value in values.items()}
    try:
        return HeatmapOptions(**plain)
    except OptionFault as error:  # values that contradict each other
        raise Refused(422, str(error).replace('heatmap.', '')) from error


def _query(spec: Spec) -> inspect.Parameter:
    """Return the query parameter of a declared option."""
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


# FastAPI reads a function's signature: this one is made from the declarations.
heatmap_options.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_query(spec_of(HeatmapOptions, name)) for name in QUERY_OPTIONS]
)
Options = Annotated[HeatmapOptions, Depends(heatmap_options)]
Identifier = Annotated[str, Path(pattern='^[0-9a-f]{64}$', description='From /api/predict.')]

TEXT = {'type': 'string'}
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
        'id': {**TEXT, 'description': 'SHA-256 of the file (and of its rotation).'},
        'width': {'type': 'integer'},
        'height': {'type': 'integer'},
        'shown_width': {'type': 'integer', 'description': 'Of the views and of depth.npy.'},
        'shown_height': {'type': 'integer'},
        'model': TEXT,
        'backend': TEXT,
        'notice': {**TEXT, 'description': 'Why a fallback model is used; empty otherwise.'},
        'inference_ms': {'type': 'number'},
        'cached': {'type': 'boolean'},
        'closeness': {
            'type': 'object',
            'description': '0 = far, 1 = as near as the nearest floor in view; null = unknown.',
            'properties': {
                **{n: {'type': ['number', 'null']} for n in ('left', 'centre', 'right')},
                'reason': TEXT,
            },
        },
        'blind': {
            **TEXT,
            'description': 'Why the picture, or a part of it, says nothing about depth: dark, '
            'white, fogged, out of focus, covered; empty if all of it does. There the views are '
            'grey and closeness is null; depth.npy contains the output of the network even so.',
        },
        'links': {'type': 'object', 'additionalProperties': TEXT},
    },
}
FILE_SCHEMA = {'type': 'string', 'format': 'binary'}


def file_responses(description: str, kind: str) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI responses of a path that renders a cached picture."""
    file = {'description': description, 'content': {kind: {'schema': FILE_SCHEMA}}}
    return {200: file, **error_responses(404, 422, 429, 503)}


def picture_router(
    pictures: PictureDepth, jobs: Jobs, limits: Limits, root_path: str = ''
) -> APIRouter:
    """Return the routes over one estimator. root_path: prefix of all links in answers."""
    router = APIRouter(tags=['pictures'])
    predictions = Rate(limits.predictions_per_s, limits.prediction_burst)
    renderings = Rate(limits.renderings_per_s, limits.rendering_burst)

    @router.post(
        '/api/predict',
        summary='Depth of a picture',
        response_class=Response,
        responses={
            200: {
                'description': 'A view as PNG, or the result as JSON. X-Cache is hit if the '
                'picture was not inferred again.',
                'content': {
                    PNG_TYPE: {'schema': FILE_SCHEMA},
                    JSON_TYPE: {'schema': RESULT_SCHEMA},
                },
                'headers': {
                    'X-Cache': {'schema': {'type': 'string', 'enum': ['hit', 'miss']}},
                    'X-Result-Id': {'schema': TEXT},
                    'X-Blind': {'description': '`blind` of the JSON answer.', 'schema': TEXT},
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
        rotate: Annotated[Turn, Query(description='Turn clockwise first [degrees].')] = NO_TURN,
    ) -> Response:
        wanted = preferred_type(request.headers.get('accept', ''), (PNG_TYPE, JSON_TYPE))
        if not wanted:
            raise Refused(406, f'Accept allows neither {PNG_TYPE} nor {JSON_TYPE}')
        kind = (image.content_type or '').partition(';')[0].strip().lower()
        if kind not in PICTURE_TYPES:
            raise Refused(415, f'the part "image" is {kind[:60]}: send a JPEG, PNG or WebP file')
        predictions.take(client_of(request))
        data = await image.read()

        def work() -> tuple[Prediction, bool, bytes]:
            prediction, cached = pictures.predict(data, int(rotate.value))
            if wanted == JSON_TYPE:
                return prediction, cached, b''
            return prediction, cached, view_png(prediction, view_name, options)

        prediction, cached, made = await jobs.run(work)
        headers = {
            'X-Cache': 'hit' if cached else 'miss',
            'X-Result-Id': prediction.identifier,
            'X-Blind': prediction.blind,
            'Vary': 'Accept',
        }
        if wanted == PNG_TYPE:
            return Response(made, media_type=PNG_TYPE, headers=headers)
        result = result_json(prediction, pictures, cached, root_path)
        return JSONResponse(result, headers=headers)

    def cached_prediction(request: Request, identifier: str) -> Prediction:
        prediction = pictures.find(identifier)
        if prediction is None:
            raise Refused(404, 'this picture is not in the cache any more: send it again')
        renderings.take(client_of(request))
        return prediction

    @router.get(
        '/api/results/{identifier}/depth.npy',
        summary='Relative inverse depth as a NumPy file',
        response_class=Response,
        responses=file_responses('An .npy file.', NPY_TYPE),
    )
    async def depth(request: Request, identifier: Identifier) -> Response:
        prediction = cached_prediction(request, identifier)
        data = await jobs.run(lambda: pictures.depth_file(prediction))
        return Response(
            data, media_type=NPY_TYPE, headers=content_disposition(prediction, 'depth.npy')
        )

    @router.get(
        '/api/results/{identifier}/{view_name}.png',
        summary='Another view of a picture sent earlier',
        response_class=Response,
        responses=file_responses('A PNG file.', PNG_TYPE),
    )
    async def result(
        request: Request, identifier: Identifier, view_name: View, options: Options
    ) -> Response:
        prediction = cached_prediction(request, identifier)
        data = await jobs.run(lambda: view_png(prediction, view_name, options))
        name = f'{view_name.value}.png'
        return Response(data, media_type=PNG_TYPE, headers=content_disposition(prediction, name))

    return router


def content_disposition(prediction: Prediction, name: str) -> dict[str, str]:
    """Return the header with the file name under which a browser saves it."""
    return {'Content-Disposition': f'inline; filename="{prediction.identifier[:8]}_{name}"'}


def result_json(
    prediction: Prediction, pictures: PictureDepth, cached: bool, root_path: str = ''
) -> dict[str, Any]:
    """Return the JSON answer, as in RESULT_SCHEMA."""
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
