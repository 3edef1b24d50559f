"""What the launch files share: arguments that stand for parameters, and how nodes are started.

An argument stands for a parameter by its declaration. One that is not given is an empty string and
leaves its parameter to the file: only so can a file and single arguments be combined.
"""

from __future__ import annotations

import difflib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError
from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration, SubstitutionFailure
from launch_ros.actions import Node
from launch_ros.substitutions import ExecutableInPackage

from midas_depth_ros.geometry import CameraMount, roll_pitch_yaw, turned_axes
from midas_depth_ros.nodes.depth.metric_sources import mount_by_parameters, mount_of
from midas_depth_ros.options.declarations import (
    LONGEST_NAME,
    Spec,
    is_grouped,
    is_of_type,
    specs,
    specs_for_names,
    unknown_in_groups,
)
from midas_depth_ros.options.depth import DepthNodeSettings, MountOptions
from midas_depth_ros.options.files import UnreadableFile, parse_yaml, read_parameters, settings_from
from midas_depth_ros.options.text import check_camera_names, printable

# The parameters with a launch argument; the others are set in a file.
ARGUMENTS = (
    'transport',
    'model',
    'network_size',
    'max_rate',
    'num_threads',
    'process_every_frame',
    'autostart',
    'frozen_after',
    'camera_height',
    'camera_pitch',
    'rotate',
    'body_frame',
    'odometry.topic',
)
# The values of launch's own conditions.
BOOLEANS = ['true', 'false', 'True', 'False', '1', '0']
PARENT_PARAMETERS = 'global_params'  # where launch_ros keeps the values of SetParameter
SIMILAR = 0.8  # difflib's ratio of two similar names
RESPAWN_S = 2.0  # until the dashboard is restarted
# As Nav2's own launch files have it, for robots with a namespace.
TF_OF_NAMESPACE = [('/tf', 'tf'), ('/tf_static', 'tf_static')]
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
    """The parameters of depth_node with a launch argument, by name."""
    declared = {spec.name: spec for spec in specs(DepthNodeSettings)}
    return {**{name: declared[name] for name in ARGUMENTS}, USE_SIM_TIME.name: USE_SIM_TIME}


LOG_LEVEL = ['--log-level', LaunchConfiguration('log_level')]
_DECLARED: set[str] = set()  # the arguments of all our files in this launch


def warn_of_typos(description: LaunchDescription) -> LaunchDescription:
    """Let a launch description warn of arguments that look like a typo, which launch ignores.

    A name that is unlike all of ours may be meant for a file that includes this one.
    """
    names = {each.name for each in description.get_launch_arguments()}
    _DECLARED.update(names)
    description.add_action(OpaqueFunction(function=_warn_of_unknown, args=[sorted(names)]))
    return description


def _warn_of_unknown(context: LaunchContext, names: list[str]) -> None:
    given_names = [word.partition(':=')[0] for word in sys.argv[1:] if ':=' in word]
    for name in given_names:
        near = difflib.get_close_matches(name[:LONGEST_NAME], names, n=1, cutoff=SIMILAR)
        if near and name not in _DECLARED:
            get_logger('midas_depth_ros').warning(
                f'there is no argument {printable(name, LONGEST_NAME)}:=, it is ignored: did you '
                f'mean {near[0]}:=?'
            )


def argument(
    name: str, default: str, text: str, choices: Sequence[str] = ()
) -> DeclareLaunchArgument:
    """A launch argument with a default and a text for --show-args."""
    return DeclareLaunchArgument(
        name, default_value=default, description=text, choices=list(choices) or None
    )


def depth_node_arguments(default_params_file: Path) -> list[DeclareLaunchArgument]:
    """The arguments that every launch file with a depth_node has."""
    return [
        argument('namespace', '', 'Namespace of the nodes and their topics.'),
        argument(
            'params_file',
            str(default_params_file),
            'Parameter file of depth_node; arguments that are given override it.',
        ),
        *(_parameter_argument(spec) for spec in parameter_specs().values()),
        argument(
            'log_level',
            'info',
            'How much depth_node logs.',
            ['debug', 'info', 'warn', 'error', 'fatal'],
        ),
    ]


def _parameter_argument(spec: Spec) -> DeclareLaunchArgument:
    unit = f' [{spec.unit}]' if spec.unit else ''
    choices = BOOLEANS if spec.kind == 'bool' else spec.choices
    text = f'{spec.text}{unit} Empty: as in params_file.'
    return argument(spec.name, '', text, ['', *choices] if choices else ())


def tf_argument() -> DeclareLaunchArgument:
    """The argument of every launch file whose nodes may use TF in their namespace."""
    return argument(
        'tf_in_namespace',
        'false',
        'Whether TF is on <namespace>/tf and <namespace>/tf_static, where Nav2 and a TurtleBot 4 '
        'with a namespace have it.',
        BOOLEANS,
    )


def tf_remappings(context: LaunchContext) -> list[tuple[str, str]]:
    """The remappings that `tf_in_namespace` asks for."""
    return TF_OF_NAMESPACE if is_on(context, 'tf_in_namespace') else []


def dashboard_arguments() -> list[DeclareLaunchArgument]:
    """The arguments that every launch file with a dashboard has."""
    return [
        argument(
            'dashboard',
            'false',
            'Show the outputs of depth_node in a browser; its address is printed. It '
            'is restarted when it ends.',
            BOOLEANS,
        ),
        argument(
            'dashboard_host',
            '127.0.0.1',
            'Address that the dashboard listens on. 0.0.0.0: all; then a random token '
            'is part of the address that it prints.',
        ),
        argument('dashboard_port', '8080', 'Port of the dashboard.'),
    ]


def dashboard(context: LaunchContext) -> list[Node]:
    """The dashboard, if it is asked for; it is restarted when it ends."""
    if not is_on(context, 'dashboard'):
        return []
    arguments = ['--host', given(context, 'dashboard_host')]
    arguments += ['--port', given(context, 'dashboard_port')]
    # It ends itself when it no longer gets data, rather than show what is outdated.
    return [
        our_node(
            context, 'dashboard', [], arguments=arguments, respawn=True, respawn_delay=RESPAWN_S
        )
    ]


def our_node(
    context: LaunchContext, name: str, parameters: list[str | dict[str, Any]], **options: Any
) -> Node:
    """A node of this package in `namespace:=`, which ends with the launch."""
    return Node(
        package='midas_depth_ros',
        executable=name,
        name=name,
        namespace=LaunchConfiguration('namespace'),
        parameters=parameters,
        output='screen',
        exec_name=name,
        prefix=end_with_launch(context),
        **options,
    )


def depth_node(
    context: LaunchContext,
    config: Path,
    cameras: Sequence[str],
    remappings: Any = (),
    presets: Mapping[str, Any] | None = None,
) -> Node:
    """The depth_node of the arguments. config: the folder of our own files. presets: parameters
    that a launch file sets without an argument of their name; they override params_file.
    """
    parameters = depth_node_parameters(context, config, cameras)
    if presets:
        parameters = [*parameters, dict(presets)]
    options = {'remappings': remappings, 'ros_arguments': LOG_LEVEL}
    return our_node(context, 'depth_node', parameters, **options)


def given(context: LaunchContext, name: str) -> str:
    """The text of a launch argument; '' if it was not given."""
    return LaunchConfiguration(name).perform(context)


def is_on(context: LaunchContext, name: str) -> bool:
    """Whether an argument that is one of BOOLEANS says yes."""
    return given(context, name) in ('true', 'True', '1')


def end_with_launch(context: LaunchContext) -> str | None:
    """A command prefix by which the kernel ends a process when launch itself is killed.

    None without setpriv (of util-linux), or if launch has a prefix, as for a debugger. A process
    that starts after launch has died ends at once.
    """
    if context.launch_configurations.get('launch-prefix') or not shutil.which('setpriv'):
        return None
    unless_orphan = f'[ "$PPID" = {os.getpid()} ] && exec "$0" "$@"'
    return f'setpriv --pdeathsig TERM -- sh -c {shlex.quote(unless_orphan)}'


def check_installed(context: LaunchContext, package: str, program: str, asked_by: str) -> None:
    """Raise FileNotFoundError if a program that an argument needs is missing."""
    try:
        ExecutableInPackage(package=package, executable=program).perform(context)
    except (PackageNotFoundError, SubstitutionFailure) as error:
        distribution = os.environ.get('ROS_DISTRO', '<distribution>')
        raise FileNotFoundError(
            f'{asked_by} needs {program} of the package {package}, which is not installed: '
            f'sudo apt install ros-{distribution}-{package.replace("_", "-")}, or leave '
            f'{asked_by.partition(":=")[0]}:= out'
        ) from error


def camera_names(context: LaunchContext, name: str) -> list[str]:
    """The cameras of an argument: separated by commas, or a YAML list; [] if not given.

    A leading slash is accepted where it changes nothing. Raises ValueError for invalid names.
    """
    text = given(context, name).strip()
    if not text:
        return []
    try:
        listed = parse_yaml(text) if text.startswith('[') else text.split(',')
    except UnreadableFile as error:
        raise ValueError(f'{name}:={printable(text)} is refused: {error}') from error
    names = [str(each).strip() for each in listed]
    namespace = context.launch_configurations.get('namespace', '').strip('/')
    for index, each in enumerate(names):
        if each.startswith('/') and namespace:
            raise ValueError(
                f'{name}:={printable(text)} is refused: leave out the leading slash, topics of a '
                f'camera lie below namespace:={printable(namespace)}'
            )
        names[index] = each.removeprefix('/').removesuffix('/')
    fault = check_camera_names(names)
    if fault:
        raise ValueError(f'{name}:={printable(text)} is refused: {fault}')
    return names


def camera_name(context: LaunchContext) -> str:
    """The one camera of `camera:=`, '' if not given; raises as `camera_names` does."""
    names = camera_names(context, 'camera')
    if len(names) > 1:
        raise ValueError(
            f'camera:={printable(given(context, "camera"))} is refused: it takes one camera; for '
            'several use multi_camera.launch.py cameras:=...'
        )
    return names[0] if names else ''


def with_parent_parameters(
    context: LaunchContext, path: str, config: Path, node: str, settings_class: type
) -> list[str | dict[str, Any]]:
    """A parameter file for a node, and the parameters of a parent launch that override it.

    launch_ros lets any file override the values of SetParameter and SetParametersFromFile: wrong
    for one of our own in `config`. If that has only defaults it is left out, since rcl has no other
    order for files.
    """
    parents = _of_parents(context)
    if not parents or Path(path).resolve().parent != config.resolve():
        return [path]
    if _has_only_defaults(path, node, settings_class):
        return []
    return [path, *parents]


def _of_parents(context: LaunchContext) -> list[str | dict[str, Any]]:
    parents = context.launch_configurations.get(PARENT_PARAMETERS) or []
    return [dict([each]) if isinstance(each, tuple) else str(each) for each in parents]


def _has_only_defaults(path: str, node: str, settings_class: type) -> bool:
    try:
        values = read_parameters(node, settings_class, [Path(path)], [])
        return repr(settings_from(settings_class, values)) == repr(settings_class())
    except ValueError:
        return False  # the node will report the fault


def depth_node_parameters(
    context: LaunchContext, config: Path, cameras: Sequence[str] = ()
) -> list[str | dict[str, Any]]:
    """The `parameters` of a depth_node: the file, then the arguments that override it.

    config: the folder of our own files. Raises FileNotFoundError and ValueError.
    """
    overrides: dict[str, Any] = {'cameras': list(cameras)} if cameras else {}
    overrides |= {
        name: value_of(context, name) for name in parameter_specs() if given(context, name)
    }
    path = existing_file(context, 'params_file')
    overrides |= mount_parameters(context, list(cameras) or cameras_of_files(context, config))
    files = with_parent_parameters(context, path, config, 'depth_node', DepthNodeSettings)
    return [*files, overrides] if overrides else files


def mount_parameters(context: LaunchContext, cameras: list[str]) -> dict[str, Any]:
    """The arguments of single cameras, such as `mounts.<camera>.camera_pitch:=0.2`.

    No launch file can declare them. Raises ValueError for an unknown camera or an invalid value.
    """
    texts = {
        name: text
        for name, text in context.launch_configurations.items()
        if text and is_grouped(DepthNodeSettings, name)
    }
    unknown = unknown_in_groups(DepthNodeSettings, texts, {'cameras': cameras})
    if unknown:
        raise ValueError(unknown)
    known = specs_for_names(DepthNodeSettings, texts)
    return {name: parameter_value(known[name], text) for name, text in texts.items()}


def cameras_of_files(context: LaunchContext, config: Path) -> list[str]:
    """The cameras of depth_node where no argument names them: of its file, or of a parent launch.

    config: the folder of our own files. Raises FileNotFoundError.
    """
    path = existing_file(context, 'params_file')
    files = with_parent_parameters(context, path, config, 'depth_node', DepthNodeSettings)
    cameras: Any = DepthNodeSettings().cameras
    for each in [*_of_parents(context), *files]:
        found = _values_of(context, each) if isinstance(each, str) else each
        if is_of_type('string array', found.get('cameras')):
            cameras = found['cameras']
    return list(cameras)


def _values_of(context: LaunchContext, path: str) -> dict[str, Any]:
    """What a file says to the depth_node of `namespace:=`; nothing if it is invalid."""
    namespace = given(context, 'namespace')
    try:
        return read_parameters('depth_node', DepthNodeSettings, [Path(path)], [], namespace)
    except ValueError:
        return {}  # the node will report the fault


def use_sim_time(context: LaunchContext) -> list[dict[str, Any]]:
    """The argument as a parameter, for nodes with another parameter file, or without one."""
    name = USE_SIM_TIME.name
    return [{name: value_of(context, name)}] if given(context, name) else []


def existing_file(context: LaunchContext, name: str) -> str:
    """The path that an argument gives; FileNotFoundError if there is no such file."""
    path = os.path.expanduser(given(context, name))
    if not os.path.isfile(path):  # launch_ros would ignore it
        raise FileNotFoundError(f'{name}:={path} is not a file')
    return path


def value_of(context: LaunchContext, name: str) -> Any:
    """The value of an argument, the default if not given; ValueError if it is invalid."""
    spec = parameter_specs()[name]
    text = given(context, name)
    return parameter_value(spec, text) if text else spec.default


def camera_transform(context: LaunchContext, config: Path, camera: str) -> list[str]:
    """Arguments of static_transform_publisher: from body_frame to the optical frame.

    The lens is where depth_node takes that of this camera to be, by its arguments and params_file.
    config: the folder of our own files. Raises ValueError if height or pitch is not known.
    """
    mount = camera_mount(context, config, camera)
    child = given(context, 'optical_frame')
    found = mount_by_parameters(mount)
    if not isinstance(found, CameraMount):
        raise ValueError(
            f'optical_frame:={child} also needs camera_height:= and camera_pitch:=, or the two in '
            f'params_file: {found.reason}'
        )
    # The frame is the camera's own: that of the turned picture, turned back.
    axes = turned_axes(found.body_axes(), -mount.rotate % 360)
    roll, tilt, yaw = roll_pitch_yaw(axes)
    height = found.height_m
    words = ['--z', f'{height}', '--roll', f'{roll}', '--pitch', f'{tilt}', '--yaw', f'{yaw}']
    return [*words, '--frame-id', mount.body_frame, '--child-frame-id', child]


def camera_mount(context: LaunchContext, config: Path, camera: str) -> MountOptions:
    """The mount of a camera by the parameters that depth_node gets; ValueError for invalid ones."""
    return mount_of(depth_node_settings(context, config, camera), camera)


def depth_node_settings(context: LaunchContext, config: Path, camera: str) -> DepthNodeSettings:
    """The parameters that depth_node gets with this camera; ValueError for invalid ones."""
    values: dict[str, Any] = {}
    named = [] if camera in cameras_of_files(context, config) else [camera]
    parameters = depth_node_parameters(context, config, named)
    for each in [*_of_parents(context), *parameters]:
        values |= _values_of(context, each) if isinstance(each, str) else each
    known = specs_for_names(DepthNodeSettings, values)
    return settings_from(
        DepthNodeSettings, {name: value for name, value in values.items() if name in known}
    )


def parameter_value(spec: Spec, text: str) -> Any:
    """The value of an argument's text; ValueError if it is invalid for the parameter."""
    try:
        value = text if spec.kind == 'string' else parse_yaml(text)
    except UnreadableFile:
        value = text
    if spec.kind == 'bool' and text in BOOLEANS:
        value = text in ('true', 'True', '1')
    value = spec.coerced(value)
    fault = spec.fault(value)
    if fault:
        raise ValueError(f'{spec.name}:={printable(text)} is refused: {fault}')
    return value
