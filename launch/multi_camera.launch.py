"""Starts one depth_node for several cameras: one model in memory, the cameras served in turn.

    ros2 launch midas_depth_ros multi_camera.launch.py cameras:=front,rear dashboard:=true

The topics of a camera are below its name; a name may have slashes (front/color), so that most
drivers need no remapping. `max_rate` is for each camera. Mounts are given by arguments, or by the
same names in `params_file`:

    ros2 launch midas_depth_ros multi_camera.launch.py cameras:=front,rear camera_height:=0.3 \\
        camera_pitch:=0.1 mounts.rear.camera_yaw:=3.14 mounts.rear.body_frame:=rear_view
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch_ros.actions import Node

from midas_depth_ros.nodes.ros.launch_arguments import (
    camera_names,
    dashboard,
    dashboard_arguments,
    depth_node,
    depth_node_arguments,
    tf_argument,
    tf_remappings,
    warn_of_typos,
)

CONFIG = Path(__file__).resolve().parents[1] / 'config'


def start(context: LaunchContext) -> list[Node]:
    """The nodes of the arguments."""
    cameras = camera_names(context, 'cameras')
    if not cameras:
        raise ValueError('cameras:= is empty: name at least one, cameras:=front,rear')
    return [
        depth_node(context, CONFIG, cameras, remappings=tf_remappings(context)),
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
            tf_argument(),
            *dashboard_arguments(),
            OpaqueFunction(function=start),
        ]
    )
    return warn_of_typos(description)
