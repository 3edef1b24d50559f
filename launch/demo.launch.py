"""Shows the nodes at work without a robot: a camera source, depth_node, and rviz2 on request.

    ros2 launch midas_depth_ros demo.launch.py rviz:=true
    ros2 launch midas_depth_ros demo.launch.py source:=/path/to/video.mp4
    ros2 launch midas_depth_ros demo.launch.py drive:=true dashboard:=true

A picture or a folder of pictures is shown again and again: depth_node gets frozen_after:=0.0 for
it, since no living camera sends a picture twice, and process_every_frame:=true, lest the same ones
are skipped each time; but not where these arguments are given.

Without `source` the pictures are of a synthetic moving scene. With drive:=true they are what a
simulated robot sees that is told to go ahead and has avoidance_node between it and the command;
config/drive_demo.yaml describes it. To steer it yourself, with a keyboard or so:

    ros2 launch midas_depth_ros demo.launch.py drive:=true speed:=0.0
    ros2 topic pub --rate 10 /cmd_vel_in geometry_msgs/msg/Twist '{linear: {x: 0.2}}'

Every argument of midas_depth.launch.py can be given too: camera, model, max_rate, params_file,
transport...
"""

import math
import shutil
from pathlib import Path
from typing import Any

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.images.sources import is_still
from midas_depth_ros.nodes.ros.launch_arguments import (
    BOOLEANS,
    camera_name,
    given,
    is_on,
    leash,
    value_of,
    with_hints,
    with_parents,
)
from midas_depth_ros.options.stream import SyntheticCameraSettings

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / 'config'
CAMERA = 'camera'  # the name of the camera, unless it is given
DRIVE_DEMO = str(CONFIG / 'drive_demo.yaml')
# What the arguments of midas_depth.launch.py are for the robot, unless they are given.
DRIVE_ARGUMENTS = {
    'params_file': DRIVE_DEMO,
    'avoidance_params_file': DRIVE_DEMO,
    'avoidance': 'true',
    'camera_height': '0.3',
    'camera_pitch': '0.25',
}


def prepare_drive(context: LaunchContext) -> None:
    """Choose for the robot what was left open."""
    if not is_on(context, 'drive'):
        return
    if given(context, 'source'):
        raise ValueError('source:= and drive:=true exclude each other: what drives is simulated')
    if speed_of(context) and not shutil.which('ros2'):
        raise FileNotFoundError(
            'drive:=true commands the robot by ros2 topic pub, and there is no ros2: install '
            'ros2cli, or publish cmd_vel_in yourself with speed:=0.0'
        )
    chosen = context.launch_configurations
    for name, value in DRIVE_ARGUMENTS.items():
        chosen.setdefault(name, value)
    if chosen.get('rviz') in ('true', 'True', '1'):
        camera = camera_name(context) or CAMERA
        chosen.setdefault('optical_frame', f'{camera}_optical_frame'.replace('/', '_'))


def prepare_stills(context: LaunchContext) -> None:
    """Let pictures that are shown again and again not pass for a frozen camera, and show each."""
    if is_still(given(context, 'source')):
        context.launch_configurations.setdefault('frozen_after', '0.0')
        context.launch_configurations.setdefault('process_every_frame', 'true')


def start_source(context: LaunchContext) -> list[Action]:
    """The camera source that the arguments ask for, and who commands the robot."""
    parameters: dict[str, Any] = {'camera': camera_name(context) or CAMERA}
    source, driven = given(context, 'source'), is_on(context, 'drive')
    if source:
        parameters['source'] = source
        parameters['loop'] = is_on(context, 'loop')
        parameters['wait_for_subscribers'] = 1  # a short video would be over before the model is up
    else:  # rendered as depth_node is told that the camera is mounted
        mount = [name for name in ('camera_height', 'camera_pitch') if given(context, name)]
        parameters |= {name: value_of(context, name) for name in mount}
    name = 'image_stream' if source else 'synthetic_camera'
    node = Node(
        package='midas_depth_ros',
        executable=name,
        name=name,
        namespace=LaunchConfiguration('namespace'),
        parameters=[*(driven_parameters(context) if driven else []), parameters],
        output='screen',
        exec_name=name,
        prefix=leash(context),
    )
    return [node, *(command(context) if driven else [])]


def driven_parameters(context: LaunchContext) -> list[str | dict[str, Any]]:
    """What the camera of the driven robot is told, unless it is told otherwise."""
    name = 'synthetic_camera'
    return with_parents(context, DRIVE_DEMO, CONFIG, name, SyntheticCameraSettings)


def speed_of(context: LaunchContext) -> float:
    """How fast the robot is told to go; ValueError where that is no number."""
    try:
        speed = float(given(context, 'speed'))
    except ValueError:
        speed = math.nan
    if not math.isfinite(speed):
        raise ValueError(f'speed:={given(context, "speed")} is no number of m/s')
    return speed


def command(context: LaunchContext) -> list[ExecuteProcess]:
    """Who says ahead, on and on, unless nobody shall."""
    speed = speed_of(context)
    if not speed:
        return []
    topic = '/'.join(['', *given(context, 'namespace').strip('/').split('/'), 'cmd_vel_in'])
    publish = ['ros2', 'topic', 'pub', '--rate', '10', topic.replace('//', '/')]
    publish += ['geometry_msgs/msg/Twist', f'{{linear: {{x: {speed}}}}}']
    return [ExecuteProcess(cmd=publish, name='command', output='log', prefix=leash(context))]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the source and the nodes."""
    description = LaunchDescription(
        [
            DeclareLaunchArgument(
                'source',
                default_value='',
                description='Picture, folder of pictures, video, camera device number, or '
                'rosbag2. Empty: a synthetic moving scene.',
            ),
            DeclareLaunchArgument(
                'loop',
                default_value='true',
                choices=BOOLEANS,
                description='Start the source again at its end.',
            ),
            DeclareLaunchArgument(
                'drive',
                default_value='false',
                choices=BOOLEANS,
                description='Instead of the moving scene: a simulated robot that drives through '
                'a world of its own, with avoidance_node.',
            ),
            DeclareLaunchArgument(
                'speed',
                default_value='0.3',
                description='How fast that robot is told to go ahead. 0: publish cmd_vel_in '
                'yourself. [m/s]',
            ),
            DeclareLaunchArgument(
                'camera',
                default_value=CAMERA,
                description='Name of the camera: the namespace of its topics.',
            ),
            OpaqueFunction(function=prepare_drive),
            OpaqueFunction(function=prepare_stills),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / 'midas_depth.launch.py'))
            ),
            OpaqueFunction(function=start_source),
        ]
    )
    return with_hints(description)
