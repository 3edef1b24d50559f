"""The HTTP API of the robot: what is known of it, its parameters, pause and resume.

GET  /api/state        every fact that the page shows, as JSON, and how old each is
GET  /api/parameters.yaml   the node's parameters as a file for --params-file
POST /api/parameters   {"name": "heatmap.colormap", "value": "turbo"}
POST /api/enabled      {"enabled": false}
WS   /api/live         pictures and facts as they come, see `live`
"""

from __future__ import annotations

import enum
import itertools
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.responses import Response
from pydantic import BaseModel, StrictBool

from midas_depth_ros.web.addresses import client_of
from midas_depth_ros.web.controls import CONTROLS, check_value, parameters_file
from midas_depth_ros.web.errors import Refused, documented
from midas_depth_ros.web.feed import Feed, Runner
from midas_depth_ros.web.limits import Limits, Rate
from midas_depth_ros.web.live import live
from midas_depth_ros.web.robot import Robot

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
        only_changed: Annotated[bool, Query(description='Without what has its default.')] = False,
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
