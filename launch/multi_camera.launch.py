"""Starts one depth_node for several cameras: one model in memory, the cameras served in turn.

    ros2 launch midas_depth_ros multi_camera.launch.py cameras:=front,rear dashboard:=true

Each camera's topics lie under its name; a name may have slashes (front/color), so that most
drivers need no remapping. `max_rate` holds for each camera.

How each is mounted is said by arguments, or by the same names in `params_file`:

    ros2 launch midas_depth_ros multi_camera.launch.py cameras:=front,rear camera_height:=0.3 \\
        camera_pitch:=0.1 mounts.rear.camera_yaw:=3.14 mounts.rear.body_frame:=rear_view
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.nodes.ros.launch_arguments import (
    camera_names,
    dashboard,
    dashboard_arguments,
    depth_node_arguments,
    depth_node_parameters,
    leash,
    with_hints,
)

CONFIG = Path(__file__).resolve().parents[1] / 'config'


def start(context: LaunchContext) -> list[Node]:
    """The nodes, now that the arguments are known."""
    cameras = camera_names(context, 'cameras')
    if not cameras:
        raise ValueError('cameras:= is empty: name at least one, cameras:=front,rear')
    return [
        Node(
            package='midas_depth_ros',
            executable='depth_node',
            name='depth_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=depth_node_parameters(context, CONFIG, cameras),
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
            exec_name='depth_node',
            prefix=leash(context),
        ),
        *dashboard(context),
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments and the node."""
    description = LaunchDescription(
        [
            DeclareLaunchArgument(
                'cameras',
                description='Names of the cameras, separated by commas: <camera>/image_raw comes '
                'in, <camera>/heatmap/image goes out.',
            ),
            *depth_node_arguments(CONFIG / 'midas_depth.yaml'),
            *dashboard_arguments(),
            OpaqueFunction(function=start),
        ]
    )
    return with_hints(description)
