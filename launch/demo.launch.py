"""Shows the nodes at work without a robot: a camera source, depth_node, and rviz2 on request.

    ros2 launch midas_depth_ros demo.launch.py rviz:=true
    ros2 launch midas_depth_ros demo.launch.py source:=/path/to/video.mp4
    ros2 launch midas_depth_ros demo.launch.py drive:=true dashboard:=true

A picture or a folder of pictures is repeated. Unless these arguments are given, depth_node then
gets frozen_after:=0.0, since a repeated picture looks like a frozen camera, and
process_every_frame:=true, so that no picture is always skipped.

Without `source` the pictures are of a synthetic moving scene. With drive:=true they are those of a
simulated robot that is commanded to go ahead, with avoidance_node between it and the command;
config/drive_demo.yaml describes it. To steer it yourself:

    ros2 launch midas_depth_ros demo.launch.py drive:=true speed:=0.0
    ros2 topic pub --rate 10 /cmd_vel_in geometry_msgs/msg/Twist '{linear: {x: 0.2}}'

All arguments of midas_depth.launch.py are accepted, too: camera, model, max_rate, transport...
"""

import math
import shutil
from pathlib import Path
from typing import Any

from launch import Action, LaunchContext, LaunchDescription
from launch.actions import (
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource

from midas_depth_ros.images.sources import is_still
from midas_depth_ros.nodes.ros.launch_arguments import (
    BOOLEANS,
    argument,
    camera_mount,
    camera_name,
    end_with_launch,
    given,
    is_on,
    our_node,
    warn_of_typos,
    with_parent_parameters,
)
from midas_depth_ros.options.stream import SyntheticCameraSettings

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / 'config'
CAMERA = 'camera'  # the name of the camera, unless it is given
DRIVE_DEMO = str(CONFIG / 'drive_demo.yaml')
# Defaults of arguments of midas_depth.launch.py for the robot.
DRIVE_ARGUMENTS = {
    'params_file': DRIVE_DEMO,
    'avoidance_params_file': DRIVE_DEMO,
    'avoidance': 'true',
    'camera_height': '0.3',
    'camera_pitch': '0.25',
}


def prepare_drive(context: LaunchContext) -> None:
    """Set the arguments of a driven robot that are not given."""
    if not is_on(context, 'drive'):
        return
    if given(context, 'source'):
        raise ValueError('source:= and drive:=true exclude each other: what drives is simulated')
    if speed_of(context) and not shutil.which('ros2'):
        raise FileNotFoundError(
            'drive:=true commands the robot by ros2 topic pub, but ros2 is not installed: install '
            'ros2cli, or publish cmd_vel_in yourself with speed:=0.0'
        )
    chosen = context.launch_configurations
    for name, value in DRIVE_ARGUMENTS.items():
        chosen.setdefault(name, value)
    if chosen.get('rviz') in ('true', 'True', '1'):
        camera = camera_name(context) or CAMERA
        chosen.setdefault('optical_frame', f'{camera}_optical_frame'.replace('/', '_'))


def prepare_stills(context: LaunchContext) -> None:
    """Let depth_node process each repeated picture, and not take it for a frozen camera."""
    if is_still(given(context, 'source')):
        context.launch_configurations.setdefault('frozen_after', '0.0')
        context.launch_configurations.setdefault('process_every_frame', 'true')


def start_source(context: LaunchContext) -> list[Action]:
    """The camera source of the arguments, and the command of the robot."""
    parameters: dict[str, Any] = {'camera': camera_name(context) or CAMERA}
    source, driven = given(context, 'source'), is_on(context, 'drive')
    if source:
        parameters['source'] = source
        parameters['loop'] = is_on(context, 'loop')
        parameters['wait_for_subscribers'] = 1  # a short video could end before the model is loaded
    else:  # rendered with the mount that depth_node gets
        mount = camera_mount(context, CONFIG, parameters['camera'])
        values = {'camera_height': mount.camera_height, 'camera_pitch': mount.camera_pitch}
        parameters |= {name: value for name, value in values.items() if not math.isnan(value)}
    name = 'image_stream' if source else 'synthetic_camera'
    node = our_node(context, name, [*(driven_parameters(context) if driven else []), parameters])
    return [node, *(command(context) if driven else [])]


def driven_parameters(context: LaunchContext) -> list[str | dict[str, Any]]:
    """The parameters of the camera of the driven robot."""
    name = 'synthetic_camera'
    return with_parent_parameters(context, DRIVE_DEMO, CONFIG, name, SyntheticCameraSettings)


def speed_of(context: LaunchContext) -> float:
    """The commanded speed in m/s; ValueError if it is not a number."""
    try:
        speed = float(given(context, 'speed'))
    except ValueError:
        speed = math.nan
    if not math.isfinite(speed):
        raise ValueError(f'speed:={given(context, "speed")} is not a speed in m/s')
    return speed


def command(context: LaunchContext) -> list[ExecuteProcess]:
    """A process that keeps publishing the command to go ahead; none with speed:=0.0."""
    speed = speed_of(context)
    if not speed:
        return []
    topic = '/'.join(['', *given(context, 'namespace').strip('/').split('/'), 'cmd_vel_in'])
    publish = ['ros2', 'topic', 'pub', '--rate', '10', topic.replace('//', '/')]
    publish += ['geometry_msgs/msg/Twist', f'{{linear: {{x: {speed}}}}}']
    prefix = end_with_launch(context)
    return [ExecuteProcess(cmd=publish, name='command', output='log', prefix=prefix)]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the source and the nodes."""
    description = LaunchDescription(
        [
            argument(
                'source',
                '',
                'Picture, folder of pictures, video, camera device number, or '
                'rosbag2. Empty: a synthetic moving scene.',
            ),
            argument('loop', 'true', 'Repeat the source at its end.', BOOLEANS),
            argument(
                'drive',
                'false',
                'Instead of the moving scene: a simulated robot that drives through '
                'a world of its own, with avoidance_node.',
                BOOLEANS,
            ),
            argument(
                'speed', '0.3', 'Forward speed of that robot. 0: publish cmd_vel_in yourself. [m/s]'
            ),
            argument('camera', CAMERA, 'Name of the camera: the namespace of its topics.'),
            OpaqueFunction(function=prepare_drive),
            OpaqueFunction(function=prepare_stills),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / 'midas_depth.launch.py'))
            ),
            OpaqueFunction(function=start_source),
        ]
    )
    return warn_of_typos(description)
