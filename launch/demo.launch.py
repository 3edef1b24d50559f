"""Shows depth_node at work without a robot: a camera source, depth_node, and rviz2 on request.

    ros2 launch midas_depth_ros demo.launch.py rviz:=true
    ros2 launch midas_depth_ros demo.launch.py source:=/path/to/video.mp4

Without `source` the pictures are of a synthetic moving scene. Every argument of
midas_depth.launch.py can be given too: camera, model, max_rate, params_file, transport...
"""

from pathlib import Path
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.nodes.launch_arguments import given

HERE = Path(__file__).resolve().parent


def start_source(context: LaunchContext) -> list[Node]:
    """The camera source that the arguments ask for."""
    source = given(context, 'source')
    name = 'image_stream' if source else 'synthetic_camera'
    parameters: dict[str, Any] = {'camera': given(context, 'camera')}
    if source:
        parameters['source'] = source
        parameters['loop'] = given(context, 'loop') == 'true'
        parameters['wait_for_subscribers'] = 1  # a short video would be over before the model is up
    return [
        Node(
            package='midas_depth_ros',
            executable=name,
            name=name,
            namespace=LaunchConfiguration('namespace'),
            parameters=[parameters],
            output='screen',
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the source and the nodes."""
    return LaunchDescription(
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
                choices=['true', 'false'],
                description='Start the source again at its end.',
            ),
            DeclareLaunchArgument(
                'camera',
                default_value='camera',
                description='Name of the camera: the namespace of its topics.',
            ),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / 'midas_depth.launch.py'))
            ),
            OpaqueFunction(function=start_source),
        ]
    )
