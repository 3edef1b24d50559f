"""Starts depth_node for one camera; avoidance_node, a transform, dashboard and rviz2 on request.

    ros2 launch midas_depth_ros midas_depth.launch.py camera:=front max_rate:=2.0 rviz:=true
    ros2 launch midas_depth_ros midas_depth.launch.py camera_height:=0.3 camera_pitch:=0.1 \\
        avoidance:=true dashboard:=true

Parameters come from `params_file`; an argument that is given overrides the file, one that is not
leaves it alone. What a parent sets by SetParameter is stronger than our default file and weaker
than a params_file of one's own. depth_node is a lifecycle node that brings itself up (parameter
`autostart`), so that a plain Node action does; with autostart:=false a lifecycle manager can take
over (nav2's needs bond_timeout: 0.0, see config/nav2_example.yaml).

All that is started ends with the launch, also where that is killed or fails.

Scan and proximity are in `body_frame`: on the floor below the lens. Where the robot's own base
frame is elsewhere, name another one (body_frame:=camera_floor) and say where it lies, in the URDF
or with

    ros2 run tf2_ros static_transform_publisher --x 0.12 --frame-id base_link \\
        --child-frame-id camera_floor

rviz2 and nav2 need the camera's own frame besides, for the cloud. It too is best said by the URDF;
without one optical_frame:=camera_optical_frame publishes it from camera_height and camera_pitch.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.nodes.ros.launch_arguments import (
    BOOLEANS,
    camera_name,
    camera_transform,
    check_installed,
    dashboard,
    dashboard_arguments,
    depth_node_arguments,
    depth_node_parameters,
    existing_file,
    given,
    is_on,
    leash,
    use_sim_time,
    with_hints,
    with_parents,
)
from midas_depth_ros.options.avoidance import AvoidanceSettings

CONFIG = Path(__file__).resolve().parents[1] / 'config'
RVIZ_TOPICS = (  # as the layout names them
    'image_raw',
    'heatmap/image',
    'depth/image',
    'scan',
    'seen_free',
    'proximity',
    'nearest_point',
    'points',
)


def start(context: LaunchContext) -> list[Node]:
    """The nodes, now that the arguments are known: all of it is checked before any starts."""
    image_topic, info_topic = given(context, 'image_topic'), given(context, 'camera_info_topic')
    camera = camera_name(context) or ('camera' if image_topic or info_topic else '')
    inputs = {
        f'{camera}/image_raw': image_topic,
        f'{camera}/image_raw/compressed': image_topic and f'{image_topic}/compressed',
        f'{camera}/camera_info': info_topic,
    }
    views = {f'camera/{topic}': f'{camera}/{topic}' for topic in RVIZ_TOPICS if camera}
    if image_topic:
        views['camera/image_raw'] = image_topic
    depth_node = Node(
        package='midas_depth_ros',
        executable='depth_node',
        name='depth_node',
        namespace=LaunchConfiguration('namespace'),
        parameters=depth_node_parameters(context, CONFIG, [camera] if camera else []),
        remappings=[(name, topic) for name, topic in inputs.items() if topic],
        ros_arguments=['--log-level', LaunchConfiguration('log_level')],
        output='screen',
        exec_name='depth_node',
        prefix=leash(context),
    )
    return [
        *rviz(context, views),
        *transform(context),
        depth_node,
        *avoidance(context, camera or 'camera'),
        *dashboard(context),
    ]


def rviz(context: LaunchContext, views: dict[str, str]) -> list[Node]:
    """rviz2 with our layout, if it is asked for; what it shows is remapped by `views`."""
    if not is_on(context, 'rviz'):
        return []
    check_installed(context, 'rviz2', 'rviz2', 'rviz:=true')
    return [
        Node(
            package='rviz2',
            executable='rviz2',
            namespace=LaunchConfiguration('namespace'),
            arguments=['-d', str(CONFIG / 'midas_depth.rviz')],
            parameters=use_sim_time(context),
            remappings=list(views.items()),
            exec_name='rviz2',
            prefix=leash(context),
        )
    ]


def avoidance(context: LaunchContext, camera: str) -> list[Node]:
    """avoidance_node on the scan and the closeness of the camera, if it is asked for."""
    if not is_on(context, 'avoidance'):
        return []
    path = existing_file(context, 'avoidance_params_file')
    return [
        Node(
            package='midas_depth_ros',
            executable='avoidance_node',
            name='avoidance_node',
            namespace=LaunchConfiguration('namespace'),
            parameters=[
                *with_parents(context, path, CONFIG, 'avoidance_node', AvoidanceSettings),
                *use_sim_time(context),
            ],
            remappings=[(name, f'{camera}/{name}') for name in ('scan', 'seen_free', 'closeness')],
            ros_arguments=['--log-level', LaunchConfiguration('log_level')],
            output='screen',
            exec_name='avoidance_node',
            prefix=leash(context),
        )
    ]


def transform(context: LaunchContext) -> list[Node]:
    """Where the camera is on the robot, if it is asked for."""
    frame = given(context, 'optical_frame')
    if not frame:
        return []
    program = 'static_transform_publisher'
    arguments = camera_transform(context)
    check_installed(context, 'tf2_ros', program, f'optical_frame:={frame}')
    return [
        Node(
            package='tf2_ros',
            executable=program,
            arguments=arguments,
            exec_name=program,
            prefix=leash(context),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments and the nodes."""
    description = LaunchDescription(
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
            *dashboard_arguments(),
            DeclareLaunchArgument(
                'avoidance',
                default_value='false',
                choices=BOOLEANS,
                description='Let cmd_vel_in through to cmd_vel only as far as scan or closeness '
                'of `camera` allow.',
            ),
            DeclareLaunchArgument(
                'avoidance_params_file',
                default_value=str(CONFIG / 'avoidance.yaml'),
                description='Parameter file of avoidance_node.',
            ),
            DeclareLaunchArgument(
                'optical_frame',
                default_value='',
                description='Publish the static transform from body_frame to this frame, the '
                "images' own, by camera_height and camera_pitch. Empty: the URDF has it.",
            ),
            DeclareLaunchArgument(
                'rviz',
                default_value='false',
                choices=BOOLEANS,
                description='Show the images of `camera`, and what is in the way, in rviz2.',
            ),
            OpaqueFunction(function=start),
        ]
    )
    return with_hints(description)
