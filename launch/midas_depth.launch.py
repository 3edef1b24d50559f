"""Starts depth_node for one camera, and rviz2 on request.

    ros2 launch midas_depth_ros midas_depth.launch.py camera:=front max_rate:=2.0 rviz:=true

Parameters come from `params_file`; an argument that is given overrides the file, one that is not
leaves it alone. depth_node is a lifecycle node that brings itself up (parameter `autostart`), so
that a plain Node action does; with autostart:=false a lifecycle manager can take over.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.nodes.launch_arguments import (
    depth_node_arguments,
    depth_node_parameters,
    given,
)

CONFIG = Path(__file__).resolve().parents[1] / 'config'
RVIZ_TOPICS = ('image_raw', 'heatmap/image', 'scan', 'points')  # as the layout names them


def start(context: LaunchContext) -> list[Node]:
    """The nodes, now that the arguments are known."""
    image_topic, info_topic = given(context, 'image_topic'), given(context, 'camera_info_topic')
    remapped = image_topic or info_topic
    camera = given(context, 'camera') or ('camera' if remapped else '')
    inputs = {
        f'{camera}/image_raw': image_topic,
        f'{camera}/image_raw/compressed': image_topic and f'{image_topic}/compressed',
        f'{camera}/camera_info': info_topic,
    }
    remappings = [(name, topic) for name, topic in inputs.items() if topic]
    views = {f'camera/{topic}': f'{camera}/{topic}' for topic in RVIZ_TOPICS if camera}
    if image_topic:
        views['camera/image_raw'] = image_topic
    return [
        Node(
            package='midas_depth_ros',
            executable='depth_node',
            name='depth_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=depth_node_parameters(context, [camera] if camera else None),
            remappings=remappings,
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
        ),
        Node(
            package='rviz2',
            executable='rviz2',
            namespace=LaunchConfiguration('namespace'),
            arguments=['-d', str(CONFIG / 'midas_depth.rviz')],
            parameters=[{'use_sim_time': given(context, 'use_sim_time') == 'true'}],
            remappings=list(views.items()),
            condition=IfCondition(LaunchConfiguration('rviz')),
        ),
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments and the nodes."""
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                'camera',
                default_value='',
                description='Name of the camera: <camera>/image_raw comes in, '
                '<camera>/heatmap/image goes out. Empty: as in params_file.',
            ),
            DeclareLaunchArgument(
                'image_topic',
                default_value='',
                description='Where the images come from (for compressed ones without '
                '/compressed). Empty: <camera>/image_raw.',
            ),
            DeclareLaunchArgument(
                'camera_info_topic',
                default_value='',
                description='Where the calibration comes from. Empty: <camera>/camera_info.',
            ),
            *depth_node_arguments(CONFIG / 'midas_depth.yaml'),
            DeclareLaunchArgument(
                'rviz',
                default_value='false',
                choices=['true', 'false'],
                description='Show the images and the heatmap of `camera` in rviz2.',
            ),
            OpaqueFunction(function=start),
        ]
    )
