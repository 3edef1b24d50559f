"""Launch arguments that stand for parameters of depth_node or start the dashboard.

In comes the declaration of a parameter; out go a launch argument with its text and choices, and
later the value that was given, checked. An argument that is not given is an empty string and
leaves its parameter to the parameter file: only so can a file and single arguments be combined.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from launch import LaunchContext
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.geometry import CameraMount, roll_pitch_yaw, turned_axes
from midas_depth_ros.images.errors import UnreadableFile, printable
from midas_depth_ros.images.files import parse_yaml
from midas_depth_ros.nodes.declarations import (
    Spec,
    is_grouped,
    is_of,
    specs,
    specs_of,
    strangers,
)
from midas_depth_ros.nodes.parameter_files import read_parameters
from midas_depth_ros.nodes.settings import DepthNodeSettings

# The parameters that are worth an argument of their own; the others are set in a file.
ARGUMENTS = (
    'transport',
    'model',
    'max_rate',
    'num_threads',
    'process_every_frame',
    'autostart',
    'frozen_after',
    'camera_height',
    'camera_pitch',
    'rotate',
    'body_frame',
)
RESPAWN_S = 2.0  # from the dashboard's end to its next start
USE_SIM_TIME = Spec(
    name='use_sim_time',
    default=False,
    text='Take the time from /clock, for simulation and replay.',
    unit='',
    minimum=None,
    maximum=None,
    choices=(),
    live=True,
    check=None,
)


def parameter_specs() -> dict[str, Spec]:
    """The parameters of depth_node that a launch argument can set, by name."""
    declared = {spec.name: spec for spec in specs(DepthNodeSettings)}
    return {**{name: declared[name] for name in ARGUMENTS}, USE_SIM_TIME.name: USE_SIM_TIME}


def depth_node_arguments(default_params_file: Path) -> list[DeclareLaunchArgument]:
    """The arguments that every launch file with a depth_node has."""
    return [
        DeclareLaunchArgument(
            'namespace', default_value='', description='Namespace of the nodes and their topics.'
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=str(default_params_file),
            description='Parameter file of depth_node; arguments that are given override it.',
        ),
        *(_argument(spec) for spec in parameter_specs().values()),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='How much depth_node logs.',
        ),
    ]


def _argument(spec: Spec) -> DeclareLaunchArgument:
    unit = f' [{spec.unit}]' if spec.unit else ''
    choices = ('true', 'false') if spec.kind == 'bool' else spec.choices
    return DeclareLaunchArgument(
        spec.name,
        default_value='',
        choices=['', *choices] if choices else None,
        description=f'{spec.text}{unit} Empty: as in params_file.',
    )


def dashboard_arguments() -> list[DeclareLaunchArgument]:
    """The arguments that every launch file with a dashboard has."""
    return [
        DeclareLaunchArgument(
            'dashboard',
            default_value='false',
            choices=['true', 'false'],
            description='Show what depth_node sees in a browser; its address is printed. Where '
            'it ends it is started again.',
        ),
        DeclareLaunchArgument(
            'dashboard_host',
            default_value='127.0.0.1',
            description='Address that the dashboard listens on. 0.0.0.0: all; then it makes up a '
            'token, which is part of the address that it prints.',
        ),
        DeclareLaunchArgument(
            'dashboard_port', default_value='8080', description='Port of the dashboard.'
        ),
    ]


def dashboard(context: LaunchContext) -> list[Node]:
    """The dashboard, if it is asked for; where it ends it is started again."""
    if given(context, 'dashboard') == 'false':
        return []
    address = ['--host', given(context, 'dashboard_host')]
    return [
        Node(
            package='midas_depth_ros',
            executable='dashboard',
            name='dashboard',
            namespace=LaunchConfiguration('namespace'),
            arguments=[*address, '--port', given(context, 'dashboard_port')],
            output='screen',
            respawn=True,  # it ends itself rather than show what nobody tells it any more
            respawn_delay=RESPAWN_S,
        )
    ]


def given(context: LaunchContext, name: str) -> str:
    """The text of a launch argument; '' if it was not given."""
    return LaunchConfiguration(name).perform(context)


def depth_node_parameters(
    context: LaunchContext, cameras: list[str] | None = None
) -> list[str | dict[str, Any]]:
    """What to hand to a Node as its `parameters`: the file, then what arguments override in it.

    Raises FileNotFoundError when there is no such file, and ValueError when an argument is not an
    acceptable value of its parameter.
    """
    overrides: dict[str, Any] = {'cameras': cameras} if cameras else {}
    overrides |= {
        name: value_of(context, name) for name in parameter_specs() if given(context, name)
    }
    path = existing_file(context, 'params_file')
    overrides |= mount_parameters(context, cameras or _cameras_of(path))
    return [path, overrides] if overrides else [path]


def mount_parameters(context: LaunchContext, cameras: list[str]) -> dict[str, Any]:
    """The arguments that tell of single cameras: `mounts.<camera>.camera_pitch:=0.2` and the like.

    Which there are depends on the cameras, so no launch file declares them. Raises ValueError for
    one of another camera, or with a value that the parameter refuses.
    """
    texts = {
        name: text
        for name, text in context.launch_configurations.items()
        if text and is_grouped(DepthNodeSettings, name)
    }
    stranger = strangers(DepthNodeSettings, texts, {'cameras': cameras})
    if stranger:
        raise ValueError(stranger)
    known = specs_of(DepthNodeSettings, texts)
    return {name: parameter_value(known[name], text) for name, text in texts.items()}


def _cameras_of(path: str) -> list[str]:
    """The cameras of a parameter file, as far as one can tell before the node reads it."""
    try:
        values = read_parameters('depth_node', DepthNodeSettings, [Path(path)], [])
    except ValueError:
        values = {}  # the node will say what is wrong with it
    cameras: Any = values.get('cameras')
    return list(cameras if is_of('string array', cameras) else DepthNodeSettings().cameras)


def use_sim_time(context: LaunchContext) -> list[dict[str, Any]]:
    """The same argument for nodes with another parameter file, or without one."""
    name = USE_SIM_TIME.name
    return [{name: value_of(context, name)}] if given(context, name) else []


def existing_file(context: LaunchContext, name: str) -> str:
    """The path that an argument gives; FileNotFoundError if there is no such file."""
    path = os.path.expanduser(given(context, name))
    if not os.path.isfile(path):  # launch_ros would go on without it
        raise FileNotFoundError(f'{name}:={path} is not a file')
    return path


def value_of(context: LaunchContext, name: str) -> Any:
    """What an argument sets its parameter to, the default if not given; ValueError if refused."""
    spec = parameter_specs()[name]
    text = given(context, name)
    return parameter_value(spec, text) if text else spec.default


def camera_transform(context: LaunchContext) -> list[str]:
    """Arguments of static_transform_publisher: from body_frame to the optical frame of the camera.

    The lens is camera_height above the frame's origin and looks camera_pitch down, unrolled, with
    its pictures turned by `rotate`.
    Raises ValueError when height and pitch are not given as arguments.
    """
    height, pitch = (value_of(context, name) for name in ('camera_height', 'camera_pitch'))
    child = given(context, 'optical_frame')
    if math.isnan(height) or math.isnan(pitch):
        raise ValueError(f'optical_frame:={child} also needs camera_height:= and camera_pitch:=')
    # The frame is the camera's own: that of the turned picture, turned back.
    axes = turned_axes(CameraMount(height, pitch).body_axes(), -value_of(context, 'rotate') % 360)
    roll, tilt, yaw = roll_pitch_yaw(axes)
    words = ['--z', f'{height}', '--roll', f'{roll}', '--pitch', f'{tilt}', '--yaw', f'{yaw}']
    return [*words, '--frame-id', value_of(context, 'body_frame'), '--child-frame-id', child]


def parameter_value(spec: Spec, text: str) -> Any:
    """The value that the text of an argument means; ValueError if the parameter refuses it."""
    try:
        value = text if spec.kind == 'string' else parse_yaml(text)
    except UnreadableFile:
        value = text
    fault = spec.fault(value)
    if fault:
        raise ValueError(f'{spec.name}:={printable(text)} is refused: {fault}')
    return float(value) if spec.kind == 'double' else value
