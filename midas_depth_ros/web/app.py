"""The web application: the page, the HTTP API of the robot, and the layers that guard both.

GET  /api/state        every fact that the page shows, as JSON, and the age of each
GET  /api/parameters.yaml   the node's parameters as a file for --params-file
POST /api/parameters   {"name": "heatmap.colormap", "value": "turbo"}
POST /api/enabled      {"enabled": false}
WS   /api/live         pictures and facts as they come, see `feed`

Estimator and robot are arguments, so that tests can pass an estimator whose answers can be worked
out by hand, and no robot.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request, WebSocket
from fastapi.responses import Response
from pydantic import BaseModel, StrictBool
from starlette.types import ASGIApp

import midas_depth_ros
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.options.declarations import group_specs, spec_of, specs
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.options.reference import yaml_value
from midas_depth_ros.views import COLORMAPS, colour_table
from midas_depth_ros.web.access import Access, AccessGuard, BodyGuard
from midas_depth_ros.web.errors import Faults, Refused, add_handlers, error_responses
from midas_depth_ros.web.feed import Feed, serve_live
from midas_depth_ros.web.limits import Jobs, Limits, Rate, client_of
from midas_depth_ros.web.pictures import PictureDepth, picture_router


class Robot:
    """The depth node, as far as a browser may change it. This base class stands for no ROS.

    `ros_node.RosThread` is the one with ROS; the HTTP part knows neither rclpy nor messages.
    """

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set one of the parameters in CONTROLS. Raises Refused: 409 with the node's reason."""
        raise Refused(503, 'this dashboard runs without ROS: there is no depth node to configure')

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume the node. Raises Refused: 409 with the node's reason."""
        await self.set_parameter('', enabled)

    def failure(self) -> str:
        """Return why ROS is not heard any more; '' while all is well."""
        return ''

    def summary(self) -> dict[str, Any]:
        """Return its state as GET /api/status reports it."""
        return {'ros': False}


# --- The parameters of depth_node: those that a browser may set, and all of them as a file.
#
# Only those in CONTROLS can be set through the dashboard; the others are shown. Value, kind,
# bounds, choices and text come from the node itself, by its parameter services.


@dataclasses.dataclass(frozen=True)
class Control:
    """A parameter that can be set: its name, its label on the page and its heading.

    step, low, high: of a slider, if the node has no bounds or bounds too wide for one.
    """

    name: str
    label: str
    group: str
    step: float | None = None
    low: float | None = None
    high: float | None = None


CONTROLS = (
    Control('heatmap.colormap', 'Colour map', 'Heatmap'),
    Control('heatmap.mode', 'Colours show', 'Heatmap'),
    Control('heatmap.overlay_alpha', 'Camera overlay', 'Heatmap', 0.05),
    Control('heatmap.smoothing', 'Smoothing radius', 'Heatmap', 0.5),
    Control('heatmap.percentile_low', 'Far limit, percentile', 'Colour range, relative', 0.5),
    Control('heatmap.percentile_high', 'Near limit, percentile', 'Colour range, relative', 0.5),
    Control(
        'heatmap.range_time_constant', 'Time constant', 'Colour range, relative', 0.1, 0.0, 10.0
    ),
    Control('heatmap.metric_far', 'Far limit, metres', 'Colour range, metric', 0.5, 1.0, 30.0),
    Control('heatmap.metric_near', 'Near limit, metres', 'Colour range, metric', 0.05, 0.1, 5.0),
    Control('max_rate', 'Maximum frame rate', 'Processing', 0.5, 0.0, 30.0),
    Control('jpeg_quality', 'JPEG quality', 'Processing', 1),
    Control('camera_height', 'Camera height', 'Camera mount', 0.01),
    Control('camera_pitch', 'Camera pitch, down', 'Camera mount', 0.005),
)
CONTROLS_BY_NAME = {control.name: control for control in CONTROLS}
OTHER_PARAMETERS = tuple(
    spec.name for spec in specs(DepthNodeSettings) if spec.name not in CONTROLS_BY_NAME
)
# Written to the file even at the default: it decides which parameters there are.
ALWAYS_WRITTEN = ('cameras',)
FILE_HEADER = """\
# Parameters of {node}{which}, as read by the dashboard.
# ros2 run midas_depth_ros depth_node --ros-args --params-file THIS_FILE
"""


def parameters_file(
    node: str, parameters: Iterable[Mapping[str, Any]], only_changed: bool = False
) -> str:
    """Return a node's parameters as YAML for --params-file.

    node: its full name. parameters: with name, kind, value and default, as in the feed.
    only_changed: leave out those at their default.
    """
    which = ' that differ from the defaults' if only_changed else ''
    lines = [FILE_HEADER.format(node=node, which=which), f'{node}:\n  ros__parameters:\n']
    wanted = {
        each['name']: each
        for each in parameters
        if not only_changed or each['value'] != each['default'] or each['name'] in ALWAYS_WRITTEN
    }
    order = [*(spec.name for spec in specs(DepthNodeSettings)), *wanted]
    above: list[str] = []
    for name in dict.fromkeys(each for each in order if each in wanted):
        *groups, own = name.split('.')
        for depth, group in enumerate(groups):
            if above[: depth + 1] != groups[: depth + 1]:
                lines.append(f'{"  " * (2 + depth)}{group}:\n')
        above = groups
        lines.append(f'{"  " * (2 + len(groups))}{own}: {_in_file(wanted[name])}\n')
    return ''.join(lines)


def check_complete(node: str, parameters: Iterable[Mapping[str, Any]]) -> None:
    """Raise Refused (404) where the mount of one of a node's cameras has not been read."""
    values = {each['name']: each['value'] for each in parameters}
    cameras = values.get('cameras')
    listed = cameras if isinstance(cameras, list) else []
    mounts = group_specs(DepthNodeSettings, {'cameras': listed})
    missing = {spec.name for spec in mounts} - values.keys()
    if missing:
        raise Refused(
            404,
            f'{len(missing)} parameters of the depth node are not known here, such as '
            f'{min(missing)}: run "ros2 param dump {node}" for all of them',
        )


def _in_file(parameter: Mapping[str, Any]) -> str:
    value = math.nan if parameter['value'] is None else parameter['value']
    # A double that JSON writes as 5 must be 5.0 in the file.
    return yaml_value(float(value) if parameter['kind'] == 'double' else value)


def check_value(name: str, value: Any) -> None:
    """Raise Refused (422) unless this can be a parameter's value; the node checks the rest."""
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise Refused(422, f'{name}: give a number, a text, true, false, or null for unknown')
    if isinstance(value, str) and len(value) > 200:
        raise Refused(422, f'{name}: the text is too long')
    if isinstance(value, str) and not value.isprintable():  # surrogates do not fit a ROS message
        raise Refused(422, f'{name}: the text has unprintable characters')
    too_large = isinstance(value, int) and abs(value) > 2**53
    if too_large or (isinstance(value, float) and not math.isfinite(value)):
        raise Refused(422, f'{name}: the number is too large')


PARAMETER_FACTS = ('parameters', 'other_parameters', 'mount_parameters')
YAML = 'application/yaml'  # RFC 9512
ParameterName = enum.Enum(  # type: ignore[misc]
    'ParameterName', {control.name: control.name for control in CONTROLS}
)


class Change(BaseModel):
    """A parameter and its new value; null is NaN, which means unknown."""

    name: ParameterName
    value: Any = None


class Switch(BaseModel):
    """Whether the depth node is to run."""

    enabled: StrictBool


class Done(BaseModel):
    """The change has been made."""

    done: bool = True


def robot_router(feed: Feed, robot: Robot, encoders: Jobs, limits: Limits) -> APIRouter:
    """Return the routes over one feed and one robot; `encoders` encode pictures."""
    router = APIRouter(tags=['robot'])
    changes = Rate(limits.changes_per_s, limits.change_burst)

    @router.get('/api/state', summary='State of the robot')
    async def state() -> dict[str, Any]:
        return {**feed.facts(), 'heard': feed.ages()}

    @router.get(
        '/api/parameters.yaml',
        summary='Parameters of the depth node as a file for --params-file',
        response_class=Response,
        responses={
            200: {'description': 'YAML.', 'content': {YAML: {'schema': {'type': 'string'}}}},
            **error_responses(404, 422),
        },
    )
    async def parameters(
        only_changed: Annotated[
            bool, Query(description='Leave out parameters at their defaults.')
        ] = False,
    ) -> Response:
        facts = feed.facts()
        known = [facts.get(name) for name in PARAMETER_FACTS]
        if not facts.get('present') or None in known:
            raise Refused(404, 'the parameters of the depth node are not known yet')
        node = facts['ros']['depth_node']
        read = list(itertools.chain(*filter(None, known)))
        check_complete(node, read)
        text = parameters_file(node, read, only_changed)
        name = f'{node.strip("/").replace("/", "_")}.yaml'
        headers = {'Content-Disposition': f'inline; filename="{name}"'}
        return Response(text, media_type=YAML, headers=headers)

    @router.post(
        '/api/parameters',
        summary='Set a parameter of the depth node',
        responses=error_responses(408, 409, 413, 415, 422, 429, 503, 504),
    )
    async def set_parameter(request: Request, change: Change) -> Done:
        changes.take(client_of(request))
        check_value(change.name.value, change.value)
        await robot.set_parameter(change.name.value, change.value)
        return Done()

    @router.post(
        '/api/enabled',
        summary='Pause or resume the depth node',
        responses=error_responses(408, 409, 413, 415, 422, 429, 503, 504),
    )
    async def set_enabled(request: Request, switch: Switch) -> Done:
        changes.take(client_of(request))
        await robot.set_enabled(switch.enabled)
        return Done()

    @router.websocket('/api/live')
    async def live_view(websocket: WebSocket) -> None:
        await serve_live(websocket, feed, encoders, limits)

    return router


# --- The page's files, read once; no request reaches the file system.

STATIC = Path(__file__).parent / 'static'
SAMPLES = Path(midas_depth_ros.__file__).parent / 'assets' / 'samples'
# Not guessed: some machines map .js to text/plain.
TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.svg': 'image/svg+xml',
    '.jpg': 'image/jpeg',
}


@dataclasses.dataclass(frozen=True)
class Asset:
    """One file of the page."""

    data: bytes
    media_type: str
    tag: str


def read_assets() -> dict[str, Asset]:
    """Return every file of the page by name, and the sample pictures as `samples/<name>`."""
    found = {path.name: _asset(path) for path in STATIC.iterdir() if path.suffix in TYPES}
    samples = {f'samples/{path.name}': _asset(path) for path in sorted(SAMPLES.glob('*.jpg'))}
    return {**found, **samples}


def _asset(path: Path) -> Asset:
    data = path.read_bytes()
    return Asset(data, TYPES[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')


def serve_asset(assets: dict[str, Asset], name: str, request: Request) -> Response:
    """Return a file of the page. Raises Refused (404)."""
    asset = assets.get(name)
    if asset is None:
        raise Refused(404, 'no such file')
    headers = {'ETag': asset.tag, 'Cache-Control': 'no-cache'}
    if request.headers.get('if-none-match') == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, media_type=asset.media_type, headers=headers)


# --- The application.

# Camera pictures have threads of their own, so that they do not wait for pictures that are sent.
ENCODERS, ENCODER_S, WAITING_ENCODINGS = 2, 5.0, 64
DESCRIPTION = 'Monocular depth of pictures that are sent, and of what the robot sees.'


class Dashboard:
    """The guarded application (`asgi`), the inner one (`app`), and their state."""

    def __init__(
        self,
        make_estimator: Callable[[], DepthEstimator],
        feed: Feed | None = None,
        robot: Robot | None = None,
        access: Access | None = None,
        limits: Limits | None = None,
        faults: Faults | None = None,
        connections: Callable[[], dict[str, int]] = dict,
    ) -> None:
        limits = limits or Limits()
        robot = robot or Robot()
        faults = faults or Faults()
        access = access or Access.of('127.0.0.1')
        self.feed = feed or Feed()
        self.pictures = PictureDepth(make_estimator, limits)
        self._jobs = Jobs(limits, on_hung=self.pictures.discard_estimator)
        quick = dataclasses.replace(limits, job_s=ENCODER_S, waiting_jobs=WAITING_ENCODINGS)
        self._encoders = Jobs(quick, ENCODERS, 'encoders')
        self.app = FastAPI(
            title='midas_depth_ros dashboard',
            version=midas_depth_ros.__version__,
            description=DESCRIPTION,
            docs_url=None,  # they load scripts from other sites
            redoc_url=None,
            responses=error_responses(400, 401, 403, 421, 500),  # of every path
            servers=[{'url': access.root_path}] if access.root_path else None,
        )
        add_handlers(self.app)
        self.app.include_router(picture_router(self.pictures, self._jobs, limits, access.root_path))
        self.app.include_router(robot_router(self.feed, robot, self._encoders, limits))
        bodies = BodyGuard(self.app, limits)
        _add_pages(self.app, limits)

        @self.app.get('/api/status', summary='State of the dashboard itself')
        async def status() -> dict[str, Any]:
            return {
                'robot': robot.summary(),
                'pictures': self._jobs.summary(),
                'encoders': self._encoders.summary(),
                'uploads': bodies.uploads.summary(),
                'connections': connections(),
                'viewers': self.feed.viewers,
                'faults': faults.summary(),
            }

        self.asgi: ASGIApp = AccessGuard(bodies, access, limits)

    def close(self) -> bool:
        """Stop the threads and free the model; returns False if a job hangs."""
        self._jobs.close()
        self._encoders.close()
        return self.pictures.close()


def palette(colormap: str) -> list[str]:
    """Return some colours of a colour map from far to near, in CSS notation."""
    table = colour_table(colormap)
    return [f'#{bytes(table[i]).hex()}' for i in range(0, 256, 15)]


def _add_pages(app: FastAPI, limits: Limits) -> None:
    files = read_assets()

    @app.get('/', include_in_schema=False)
    async def page(request: Request) -> Response:
        return serve_asset(files, 'index.html', request)

    @app.get('/static/{name:path}', include_in_schema=False)
    async def static(request: Request, name: str) -> Response:
        return serve_asset(files, name, request)

    @app.get('/favicon.ico', include_in_schema=False)
    async def icon(request: Request) -> Response:
        return serve_asset(files, 'icon.svg', request)

    @app.get('/api/about', summary='Version, limits and choices')
    async def about() -> dict[str, Any]:
        return {
            'version': midas_depth_ros.__version__,
            'upload_bytes': limits.upload_bytes,
            'pixels': limits.pixels,
            'colormaps': list(COLORMAPS),
            'palettes': {name: palette(name) for name in COLORMAPS},
            'mappings': list(spec_of(HeatmapOptions, 'mapping').choices),
            'bounds': {
                spec.name: [spec.minimum, spec.maximum]
                for spec in specs(HeatmapOptions)
                if spec.minimum is not None
            },
            'samples': sorted(name for name in files if name.startswith('samples/')),
        }
