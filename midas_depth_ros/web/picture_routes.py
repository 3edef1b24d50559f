"""The HTTP API of pictures: send one, look at its depth in other colours, fetch the figures.

POST /api/predict                         PNG or JSON, by Accept
GET  /api/results/{identifier}/{view}.png the same picture again, without another inference
GET  /api/results/{identifier}/depth.npy  (H, W) float32 relative inverse depth
"""

from __future__ import annotations

import enum
import inspect
import math
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, File, Path, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response

from midas_depth_ros.options.declarations import TURNS, OptionFault, Spec, spec_of
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.web.errors import Refused, documented
from midas_depth_ros.web.limits import Jobs, Limits, Rate, client_of
from midas_depth_ros.web.pictures import PictureDepth, Prediction, png, view

# --- Which of several content types a client prefers, by its Accept header (RFC 9110, 12.5.1).


def preferred(accept: str, offers: tuple[str, ...]) -> str:
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


PNG, JSON, NPY = 'image/png', 'application/json', 'application/x-npy'
# What a part may call itself; what counts is what its bytes are.
PICTURE_TYPES = ('image/jpeg', 'image/png', 'image/webp', 'application/octet-stream', '')
# Of the heatmap's options, those that mean something for one picture without metres.
OF_A_PICTURE = (
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
    [_query(spec_of(HeatmapOptions, name)) for name in OF_A_PICTURE]
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
                'content': {PNG: {'schema': FILE_SCHEMA}, JSON: {'schema': RESULT_SCHEMA}},
                'headers': {
                    'X-Cache': {'schema': {'type': 'string', 'enum': ['hit', 'miss']}},
                    'X-Result-Id': {'schema': {'type': 'string'}},
                    'X-Blind': {
                        'description': 'As `blind` of the JSON answer.',
                        'schema': {'type': 'string'},
                    },
                },
            },
            **documented(406, 408, 413, 415, 422, 429, 503),
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
        wanted = preferred(request.headers.get('accept', ''), (PNG, JSON))
        if not wanted:
            raise Refused(406, f'Accept takes neither {PNG} nor {JSON}')
        kind = (image.content_type or '').partition(';')[0].strip().lower()
        if kind not in PICTURE_TYPES:
            raise Refused(415, f'the part "image" is {kind[:60]}: send a JPEG, PNG or WebP file')
        predictions.take(client_of(request))
        data = await image.read()

        def work() -> tuple[Prediction, bool, bytes]:
            prediction, cached = pictures.predict(data, int(rotate.value))
            made = png(view(prediction, view_name.value, options)) if wanted == PNG else b''
            return prediction, cached, made

        prediction, cached, made = await jobs.run(work)
        headers = {
            'X-Cache': 'hit' if cached else 'miss',
            'X-Result-Id': prediction.identifier,
            'X-Blind': prediction.blind,
            'Vary': 'Accept',
        }
        if wanted == PNG:
            return Response(made, media_type=PNG, headers=headers)
        told = summary(prediction, pictures, cached, root_path)
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
            200: {'description': 'An .npy file.', 'content': {NPY: {'schema': FILE_SCHEMA}}},
            **documented(404, 422, 429, 503),
        },
    )
    async def depth(request: Request, identifier: Identifier) -> Response:
        prediction = known(identifier)
        renderings.take(client_of(request))
        data = await jobs.run(pictures.depth_file, prediction)
        return Response(data, media_type=NPY, headers=attachment(prediction, 'depth.npy'))

    @router.get(
        '/api/results/{identifier}/{view_name}.png',
        summary='Another view of a picture that was sent',
        response_class=Response,
        responses={
            200: {'description': 'A PNG file.', 'content': {PNG: {'schema': FILE_SCHEMA}}},
            **documented(404, 422, 429, 503),
        },
    )
    async def result(
        request: Request, identifier: Identifier, view_name: View, options: Options
    ) -> Response:
        prediction = known(identifier)
        renderings.take(client_of(request))
        data = await jobs.run(lambda: png(view(prediction, view_name.value, options)))
        name = f'{view_name.value}.png'
        return Response(data, media_type=PNG, headers=attachment(prediction, name))

    return router


def attachment(prediction: Prediction, name: str) -> dict[str, str]:
    """The file name under which a browser saves it."""
    return {'Content-Disposition': f'inline; filename="{prediction.identifier[:8]}_{name}"'}


def summary(
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
