"""Starts depth_node for Nav2: one camera, Nav2's parameters for it, and its collision monitor.

    ros2 launch midas_depth_ros nav2_camera.launch.py image_topic:=/image_raw \\
        camera_info_topic:=/camera_info camera_height:=0.30 camera_pitch:=0.10
    ros2 launch midas_depth_ros nav2_camera.launch.py robot:=turtlebot4 \\
        nav2_params_file:=nav2.yaml nav2_params_out:=nav2_with_camera.yaml

The blocks of config/nav2_example.yaml are filled in for the robot and written as files that Nav2
loads. Without nav2_params_file the collision monitor is started with them, between cmd_vel_smoothed
and cmd_vel. With it they are added to that file, and whatever starts the rest of Nav2 is given
nav2_params_out as its params_file: its collision monitor and its local costmap then use the camera.

Nav2's lifecycle manager starts depth_node, which sends it no heartbeat: bond_timeout is 0.0 for it.
With autostart:=true it starts itself, and nothing of Nav2 needs to be installed for it.

`robot` gives topics, frames and mount of a robot as its maker publishes them; arguments override
it. Scan, proximity and obstacles are in body_frame, below the lens: where that is not the origin of
base_frame, by camera_x and camera_y, a static transform to camera_floor is published. docs/nav2.md
leads from a USB camera to a robot that stops before a box.
"""

import dataclasses
import math
import os
import tempfile
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.nodes.ros.launch_arguments import (
    BOOLEANS,
    TF_OF_NAMESPACE,
    argument,
    camera_mount,
    camera_name,
    camera_transform,
    check_installed,
    depth_node,
    depth_node_arguments,
    depth_node_settings,
    end_with_launch,
    existing_file,
    given,
    is_on,
    use_sim_time,
    warn_of_typos,
)
from midas_depth_ros.nodes.ros.nav2_parameters import (
    MANAGER,
    MARGIN_M,
    ROBOTS,
    Robot,
    check_distribution,
    for_any_namespace,
    merged,
    nav2_blocks,
    read_blocks,
    write_blocks,
)
from midas_depth_ros.options.metric import ObstacleOptions

CONFIG = Path(__file__).resolve().parents[1] / 'config'
BELOW_THE_LENS = 'camera_floor'
MERGED = 'nav2_with_camera.yaml'


def start(context: LaunchContext) -> list[Node]:
    """The nodes; all arguments are checked, and files written, before any process starts."""
    managed = not is_on(context, 'autostart')
    alone = given(context, 'collision_monitor') or str(not given(context, 'nav2_params_file'))
    monitored = alone in ('true', 'True', '1')
    if monitored or given(context, 'nav2_params_file'):
        check_distribution(os.environ.get('ROS_DISTRO', ''))
    camera = camera_name(context) or 'camera'
    robot = robot_of(context, camera)
    use_as_arguments(context, robot, camera)
    files = write_files(context, robot, camera)
    inputs = {
        f'{camera}/image_raw': robot.image_topic,
        f'{camera}/image_raw/compressed': robot.image_topic and f'{robot.image_topic}/compressed',
        f'{camera}/camera_info': robot.camera_info_topic,
    }
    return [
        *(managers(context, files, monitored) if managed or monitored else []),
        *transforms(context, robot, camera),
        depth_node(
            context,
            CONFIG,
            [camera],
            remappings=[
                *((name, topic) for name, topic in inputs.items() if topic),
                *TF_OF_NAMESPACE,
            ],
            presets=presets(context, robot, camera),
        ),
        *([nav2_node(context, 'nav2_collision_monitor', 'collision_monitor', files)]
          if monitored else []),
    ]  # fmt: skip


def robot_of(context: LaunchContext, camera: str) -> Robot:
    """The robot of `robot:=`, with what else is given in place of its values.

    A lens that its maker has put aside is where params_file says, if it does.
    """
    robot = ROBOTS[given(context, 'robot')]
    said, moved = camera_mount(context, CONFIG, camera), {}
    if robot.aside and (said.camera_x or said.camera_y):
        moved = {'camera_x': said.camera_x, 'camera_y': said.camera_y}
    texts = {
        each.name: given(context, each.name)
        for each in dataclasses.fields(Robot)
        if given(context, each.name)
    }
    values = {
        name: number(name, text) if isinstance(getattr(robot, name), float) else text
        for name, text in texts.items()
    }
    return dataclasses.replace(robot, **{**moved, **values})


def number(name: str, text: str) -> float:
    """The number of an argument; ValueError if it is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(
            f'{name}:={text} is refused: give a number, in metres (camera_pitch: in radians)'
        )
    return value


def presets(context: LaunchContext, robot: Robot, camera: str) -> dict[str, float]:
    """Parameters of depth_node by what was said of the robot; what was not is left to params_file.

    The corridor is never narrower than by default. Its middle is below the lens, so it is wider
    where that is not in the middle of the robot.
    """
    values = {}
    if robot.aside:
        values = {'camera_x': robot.camera_x, 'camera_y': robot.camera_y}
    wide_enough = 2 * (robot.robot_radius + MARGIN_M + abs(robot.camera_y))
    if robot.robot_radius != Robot.robot_radius or given(context, 'robot_radius'):
        values['obstacles.robot_width'] = max(wide_enough, ObstacleOptions.robot_width)
    elif robot.camera_y:
        in_file = depth_node_settings(context, CONFIG, camera).obstacles.robot_width
        values['obstacles.robot_width'] = max(wide_enough, in_file)
    return values


def use_as_arguments(context: LaunchContext, robot: Robot, camera: str) -> None:
    """Let what the robot sets stand for arguments of depth_node that were not given.

    Height and pitch that params_file has are the user's own, and stay.
    """
    said, values = camera_mount(context, CONFIG, camera), {}
    for name in ('camera_height', 'camera_pitch'):
        if math.isnan(getattr(said, name)) and not math.isnan(getattr(robot, name)):
            values[name] = str(getattr(robot, name))
    if robot.aside:
        values['body_frame'] = BELOW_THE_LENS
    elif robot.base_frame != Robot.base_frame:
        values['body_frame'] = robot.base_frame
    values['autostart'] = 'false'
    for name, value in values.items():
        if not given(context, name):
            context.launch_configurations[name] = value


def as_mounted(context: LaunchContext, robot: Robot, camera: str) -> Robot:
    """The robot with the height and pitch that depth_node gets, by arguments and params_file.

    Where its maker's lens sees the floor from holds for the maker's height and pitch alone.
    """
    mount, makers = camera_mount(context, CONFIG, camera), ROBOTS[given(context, 'robot')]
    height_m, pitch_rad = mount.camera_height, mount.camera_pitch
    values = {'camera_height': height_m, 'camera_pitch': pitch_rad}
    moved = (height_m, pitch_rad) != (makers.camera_height, makers.camera_pitch)
    if moved and not given(context, 'floor_from'):
        values['floor_from'] = math.nan
    return dataclasses.replace(robot, **values)


def write_files(context: LaunchContext, robot: Robot, camera: str) -> dict[str, Path]:
    """The parameter file of each of Nav2's nodes; the merged one is written, too."""
    robot = as_mounted(context, robot, camera)
    settings = depth_node_settings(context, CONFIG, camera)
    blocks = nav2_blocks(
        read_blocks(CONFIG / 'nav2_example.yaml'),
        robot,
        camera,
        given(context, 'namespace'),
        settings.scan.range_max,
        settings.obstacles.max_height,
    )
    if math.isnan(robot.floor_from):
        get_logger('midas_depth_ros').warning(
            f'floor_from is not given: the costmap forgets nothing nearer than {robot.clears_from} '
            'm; "floor in view from" in the diagnostics is the value to give'
        )
    theirs = given(context, 'nav2_params_file') and existing_file(context, 'nav2_params_file')
    if theirs:
        out = Path(given(context, 'nav2_params_out')).expanduser().resolve()
        if out == Path(theirs).resolve():
            raise ValueError(
                f'nav2_params_out:={out} would overwrite nav2_params_file: name another'
            )
        added = merged(read_blocks(Path(theirs)), blocks, given(context, 'namespace'))
        write_blocks(out, added, f'{theirs} with the camera of midas_depth_ros.')
        get_logger('midas_depth_ros').info(
            f'wrote {out}: give it to the launch file that starts Nav2, as params_file:={out}'
        )
    folder = Path(tempfile.mkdtemp(prefix='midas_depth_nav2_'))
    files = {}
    for name, block in for_any_namespace(blocks).items():
        files[name] = folder / f'{name}.yaml'
        write_blocks(files[name], block, 'config/nav2_example.yaml, filled in.')
    get_logger('midas_depth_ros').info(f"Nav2's parameters for this camera are in {folder}")
    return files


def managers(context: LaunchContext, files: dict[str, Path], monitored: bool) -> list[Node]:
    """One lifecycle manager for depth_node, without a bond, and one for the collision monitor."""
    nodes = []
    if not is_on(context, 'autostart'):
        nodes.append(nav2_node(context, 'nav2_lifecycle_manager', 'lifecycle_manager', files,
                               name=MANAGER))  # fmt: skip
    if monitored:
        name = 'lifecycle_manager_collision_monitor'
        own = {'autostart': True, 'node_names': ['collision_monitor']}
        nodes.append(nav2_node(context, 'nav2_lifecycle_manager', 'lifecycle_manager', files,
                               name=name, parameters=[own]))  # fmt: skip
    return nodes


def nav2_node(
    context: LaunchContext,
    package: str,
    executable: str,
    files: dict[str, Path],
    name: str = '',
    parameters: list | None = None,
) -> Node:
    """A node of Nav2, with the file of its name or with parameters of its own."""
    name = name or executable
    check_installed(
        context, package, executable,
        'autostart:=false' if package == 'nav2_lifecycle_manager' else 'collision_monitor:=true',
    )  # fmt: skip
    return Node(
        package=package,
        executable=executable,
        name=name,
        namespace=LaunchConfiguration('namespace'),
        parameters=[*(parameters or [str(files[name])]), *use_sim_time(context)],
        remappings=TF_OF_NAMESPACE,
        output='screen',
        exec_name=name,
        prefix=end_with_launch(context),
    )


def transforms(context: LaunchContext, robot: Robot, camera: str) -> list[Node]:
    """The static transforms that the robot's description lacks."""
    wanted = {}
    if given(context, 'body_frame') == BELOW_THE_LENS and robot.aside:
        words = ['--x', f'{robot.camera_x}', '--y', f'{robot.camera_y}']
        words += ['--frame-id', robot.base_frame, '--child-frame-id', BELOW_THE_LENS]
        wanted['transform_to_camera_floor'] = words
    frame = given(context, 'optical_frame')
    if frame:
        wanted['transform_to_optical_frame'] = camera_transform(context, CONFIG, camera)
    if wanted:
        reason = f'optical_frame:={frame}' if frame else f'camera_x:={robot.camera_x}'
        check_installed(context, 'tf2_ros', 'static_transform_publisher', reason)
    return [
        Node(
            package='tf2_ros',
            executable='static_transform_publisher',
            name=name,
            namespace=LaunchConfiguration('namespace'),
            arguments=words,
            remappings=TF_OF_NAMESPACE,
            exec_name=name,
            prefix=end_with_launch(context),
        )
        for name, words in wanted.items()
    ]


def robot_arguments() -> list:
    """What a robot sets, each an argument of its name."""
    texts = {
        'image_topic': 'Where the images come from (for compressed ones without /compressed).',
        'camera_info_topic': 'Where the calibration comes from.',
        'base_frame': "The robot's frame on the floor, x ahead.",
        'odom_frame': 'The frame of the odometry.',
        'robot_radius': 'Radius of the robot [m].',
        'camera_x': 'How far the lens is ahead of base_frame [m].',
        'camera_y': 'How far the lens is to the left of base_frame [m].',
        'floor_from': 'How far ahead of the lens the floor comes into view: the costmap clears '
        'nothing nearer ("floor in view from" in the diagnostics) [m].',
        'stamped': 'Whether velocities are TwistStamped; if not given, as in Nav2.',
    }
    return [
        argument(
            name,
            '',
            f'{text} Empty: as `robot` has it.',
            ['', 'true', 'false'] if name == 'stamped' else (),
        )
        for name, text in texts.items()
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments and the nodes."""
    description = LaunchDescription(
        [
            argument('robot', 'custom', 'Whose topics, frames and mount are used.', list(ROBOTS)),
            argument('camera', '', 'Name of the camera, above its outputs. Empty: camera.'),
            *robot_arguments(),
            *depth_node_arguments(CONFIG / 'midas_depth.yaml'),
            argument(
                'optical_frame',
                '',
                "Publish the static transform from body_frame to this frame, the images' own, by "
                'the mount that depth_node gets. Empty: the URDF has it.',
            ),
            argument(
                'collision_monitor',
                '',
                "Start Nav2's collision monitor. Empty: unless nav2_params_file is given.",
                ['', *BOOLEANS],
            ),
            argument(
                'nav2_params_file',
                '',
                "Parameter file of the robot's Nav2, to which the camera is added.",
            ),
            argument(
                'nav2_params_out', MERGED, 'Where that file is written with the camera in it.'
            ),
            OpaqueFunction(function=start),
        ]
    )
    return warn_of_typos(description)
