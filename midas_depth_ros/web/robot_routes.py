"""The HTTP API of the robot: what is known of it, its parameters, pause and resume.

GET  /api/state        every fact that the page shows, as JSON, and how old each is
GET  /api/parameters.yaml   the node's parameters as a file for --params-file
POST /api/parameters   {"name": "heatmap.colormap", "value": "turbo"}
POST /api/enabled      {"enabled": false}
WS   /api/live         pictures and facts as they come, see `live`
"""

from __future__ import annotations

import dataclasses
import enum
import itertools
import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.responses import Response
from pydantic import BaseModel, StrictBool

from midas_depth_ros.options.declarations import group_specs, specs
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.reference import yaml_value
from midas_depth_ros.web.errors import Refused, documented
from midas_depth_ros.web.feed import Feed, Runner, live
from midas_depth_ros.web.limits import Limits, Rate, client_of

# --- What the HTTP part asks of a robot, and what answers where there is none.
#
# The other implementation is `ros_thread.RosThread`; the HTTP part knows neither rclpy nor
# messages.


class Robot(Protocol):
    """The depth node, as far as a browser may change it. What changes something raises Refused."""

    async def set_parameter(self, name: str, value: Any) -> None:
        """Set one of the parameters in `controls.CONTROLS`; 409 with the node's reason."""

    async def set_enabled(self, enabled: bool) -> None:
        """Pause or resume the node."""

    def trouble(self) -> str:
        """Why nothing can be learnt of the robot any more; '' while all is well."""

    def summary(self) -> dict[str, Any]:
        """What GET /api/status says of it."""


class NoRobot:
    """There is no ROS: pictures alone."""

    def trouble(self) -> str:
        return ''

    def summary(self) -> dict[str, Any]:
        return {'ros': False}

    async def set_parameter(self, name: str, value: Any) -> None:
        raise Refused(503, 'this dashboard runs without ROS: there is no depth node to configure')

    async def set_enabled(self, enabled: bool) -> None:
        raise Refused(503, 'this dashboard runs without ROS: there is no depth node to configure')


# --- The parameters of depth_node that a browser may set, how the page groups them, and all as a
# file.
#
# A name that is not among CONTROLS cannot be set through the dashboard; the others are shown.
# Value, kind, bounds, choices and text come from the node itself, by its parameter services.


@dataclasses.dataclass(frozen=True)
class Control:
    """One parameter: its name, what the page calls it, and under which heading.

    step, low, high: of a slider, where the node has no bounds or too wide ones.
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
BY_NAME = {control.name: control for control in CONTROLS}
OTHERS = tuple(spec.name for spec in specs(DepthNodeSettings) if spec.name not in BY_NAME)
# What makes the node what it is stands in its file whether it differs from the default or not.
ALWAYS_IN_FILE = ('cameras',)
FILE_HEADER = """\
# Parameters of {node}{what}, as the dashboard read them.
# ros2 run midas_depth_ros depth_node --ros-args --params-file THIS_FILE
"""


def names_of_mounts(cameras: Iterable[str]) -> list[str]:
    """The parameters that each of these cameras has of its own."""
    return [spec.name for spec in group_specs(DepthNodeSettings, {'cameras': list(cameras)})]


def parameters_file(
    node: str, parameters: Iterable[Mapping[str, Any]], only_changed: bool = False
) -> str:
    """A file for --params-file of what is known of a node's parameters: YAML.

    node: its full name. parameters: as the feed has them, with name, kind, value and default.
    only_changed: leave out what has its default.
    """
    lines = [
        FILE_HEADER.format(
            node=node, what=' that differ from the defaults' if only_changed else ''
        ),
        f'{node}:\n  ros__parameters:\n',
    ]
    known = {each['name']: each for each in parameters}
    wanted = {
        name: each
        for name, each in known.items()
        if not only_changed or each['value'] != each['default'] or name in ALWAYS_IN_FILE
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


def _in_file(parameter: Mapping[str, Any]) -> str:
    value = math.nan if parameter['value'] is None else parameter['value']
    # What JSON has as 5 is 5.0 where the node wants a double.
    return yaml_value(float(value) if parameter['kind'] == 'double' else value)


def check_value(name: str, value: Any) -> None:
    """Raise Refused unless this can be the value of a parameter; the node checks the rest."""
    if value is not None and not isinstance(value, (bool, int, float, str)):
        raise Refused(422, f'{name}: a value is a number, a text, true, false or null (unknown)')
    if isinstance(value, str) and len(value) > 200:
        raise Refused(422, f'{name}: the text is too long')
    if isinstance(value, str) and not value.isprintable():  # a ROS message takes no half characters
        raise Refused(422, f'{name}: the text has characters that cannot be written')
    too_large = isinstance(value, int) and abs(value) > 2**53
    if too_large or (isinstance(value, float) and not math.isfinite(value)):
        raise Refused(422, f'{name}: the number is too large')


FACTS_OF_PARAMETERS = ('parameters', 'other_parameters', 'mount_parameters')
YAML = 'application/yaml'  # RFC 9512
ParameterName = enum.Enum(  # type: ignore[misc]
    'ParameterName', {control.name: control.name for control in CONTROLS}
)


class Change(BaseModel):
    """One parameter and its new value; null is NaN, which means unknown."""

    name: ParameterName
    value: Any = None


class Switch(BaseModel):
    """Whether the depth node shall work."""

    enabled: StrictBool


class Done(BaseModel):
    """It was done."""

    done: bool = True


def robot_router(feed: Feed, robot: Robot, runner: Runner, limits: Limits) -> APIRouter:
    """The routes over one feed and one robot; `runner` makes the pictures."""
    router = APIRouter(tags=['robot'])
    changes = Rate(limits.changes_per_s, limits.change_burst)

    @router.get('/api/state', summary='What is known of the robot', responses=documented())
    async def state() -> dict[str, Any]:
        return {**feed.facts(), 'heard': feed.heard()}

    @router.get(
        '/api/parameters.yaml',
        summary='The parameters of the depth node as a file for --params-file',
        response_class=Response,
        responses={
            200: {'description': 'YAML.', 'content': {YAML: {'schema': {'type': 'string'}}}},
            **documented(404, 422),
        },
    )
    async def parameters(
        only_changed: Annotated[
            bool, Query(description='Leave out parameters at their defaults.')
        ] = False,
    ) -> Response:
        facts = feed.facts()
        known = [facts.get(name) for name in FACTS_OF_PARAMETERS]
        if not facts.get('present') or None in known:
            raise Refused(404, 'the parameters of the depth node are not known (yet)')
        node = facts['ros']['depth_node']
        text = parameters_file(node, itertools.chain(*filter(None, known)), only_changed)
        name = f'{node.strip("/").replace("/", "_")}.yaml'
        headers = {'Content-Disposition': f'inline; filename="{name}"'}
        return Response(text, media_type=YAML, headers=headers)

    @router.post(
        '/api/parameters',
        summary='Set a parameter of the depth node',
        responses=documented(408, 409, 413, 415, 422, 429, 503, 504),
    )
    async def set_parameter(request: Request, change: Change) -> Done:
        changes.take(client_of(request))
        check_value(change.name.value, change.value)
        await robot.set_parameter(change.name.value, change.value)
        return Done()

    @router.post(
        '/api/enabled',
        summary='Pause or resume the depth node',
        responses=documented(408, 409, 413, 415, 422, 429, 503, 504),
    )
    async def set_enabled(request: Request, switch: Switch) -> Done:
        changes.take(client_of(request))
        await robot.set_enabled(switch.enabled)
        return Done()

    @router.websocket('/api/live')
    async def live_view(websocket: WebSocket) -> None:
        await live(websocket, feed, runner, limits)

    return router
