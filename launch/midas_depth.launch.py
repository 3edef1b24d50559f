"""Starts depth_node for one camera; avoidance_node, a transform, dashboard and rviz2 on request.

    ros2 launch midas_depth_ros midas_depth.launch.py camera:=front max_rate:=2.0 rviz:=true
    ros2 launch midas_depth_ros midas_depth.launch.py camera_height:=0.3 camera_pitch:=0.1 \\
        avoidance:=true dashboard:=true

Parameters come from `params_file`; arguments that are given override it. SetParameter in a parent
launch overrides our default file, but not a params_file of your own. depth_node is a lifecycle node
that activates itself (parameter `autostart`), so that a plain Node action is enough; with
autostart:=false a lifecycle manager takes over (nav2's needs bond_timeout: 0.0, see
config/nav2_example.yaml). All processes end with the launch, even if that is killed or fails.

Scan and proximity are in `body_frame`: on the floor below the lens. If the robot's own base frame
is elsewhere, name another one (body_frame:=camera_floor) and publish it, by the URDF or with

    ros2 run tf2_ros static_transform_publisher --x 0.12 --frame-id base_link \\
        --child-frame-id camera_floor

rviz2 and nav2 also need the camera's own frame, for the cloud. It is best in the URDF, too; without
one optical_frame:=camera_optical_frame publishes it from camera_height and camera_pitch.

With tf_in_namespace:=true TF is read and published in the robot's namespace, where a TurtleBot 4
with a namespace and Nav2 have it.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from midas_depth_ros.nodes.ros.launch_arguments import (
    BOOLEANS,
    LOG_LEVEL,
    argument,
    camera_name,
    camera_transform,
    cameras_of_files,
    check_installed,
    dashboard,
    dashboard_arguments,
    depth_node,
    depth_node_arguments,
    end_with_launch,
    existing_file,
    given,
    is_on,
    our_node,
    tf_argument,
    tf_remappings,
    use_sim_time,
    warn_of_typos,
    with_parent_parameters,
)
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.text import printable

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
    'obstacles',
)


def start(context: LaunchContext) -> list[Node]:
    """The nodes; all arguments are checked before any process starts."""
    image_topic, info_topic = given(context, 'image_topic'), given(context, 'camera_info_topic')
    camera = camera_name(context) or ('camera' if image_topic or info_topic else '')
    inputs = {
        f'{camera}/image_raw': image_topic,
        f'{camera}/image_raw/compressed': image_topic and f'{image_topic}/compressed',
        f'{camera}/camera_info': info_topic,
    }
    shown = camera or shown_camera(context)
    views = {f'camera/{topic}': f'{shown}/{topic}' for topic in RVIZ_TOPICS}
    if image_topic:
        views['camera/image_raw'] = image_topic
    return [
        *rviz(context, views),
        *transform(context, shown),
        depth_node(
            context,
            CONFIG,
            [camera] if camera else [],
            remappings=[
                *((name, topic) for name, topic in inputs.items() if topic),
                *tf_remappings(context),
            ],
        ),
        *avoidance(context, shown),
        *dashboard(context),
    ]


def shown_camera(context: LaunchContext) -> str:
    """The camera of params_file for rviz2 and avoidance_node, which have one.

    Raises ValueError where avoidance_node would have to choose among several.
    """
    cameras = cameras_of_files(context, CONFIG)
    if len(cameras) > 1:
        names = printable(', '.join(cameras))
        first = printable(cameras[0])
        if is_on(context, 'avoidance'):
            raise ValueError(
                f'avoidance:=true is for one camera, and params_file has {names}: choose one by '
                f'camera:={first}, which leaves the others out, or start avoidance_node yourself '
                f'with -r scan:={first}/scan -r seen_free:={first}/seen_free '
                f'-r closeness:={first}/closeness'
            )
        if is_on(context, 'rviz'):
            get_logger('midas_depth_ros').info(f'rviz2 shows {first} of {names}')
    return cameras[0] if cameras else 'camera'


def rviz(context: LaunchContext, views: dict[str, str]) -> list[Node]:
    """rviz2 with our layout, if it is asked for; its topics are remapped by `views`."""
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
            remappings=[*views.items(), *tf_remappings(context)],
            exec_name='rviz2',
            prefix=end_with_launch(context),
        )
    ]


def avoidance(context: LaunchContext, camera: str) -> list[Node]:
    """avoidance_node on the scan and the closeness of the camera, if it is asked for."""
    if not is_on(context, 'avoidance'):
        return []
    path = existing_file(context, 'avoidance_params_file')
    return [
        our_node(
            context,
            'avoidance_node',
            [
                *with_parent_parameters(context, path, CONFIG, 'avoidance_node', AvoidanceSettings),
                *use_sim_time(context),
            ],
            remappings=[
                *((name, f'{camera}/{name}') for name in ('scan', 'seen_free', 'closeness')),
                *tf_remappings(context),
            ],
            ros_arguments=LOG_LEVEL,
        )
    ]


def transform(context: LaunchContext, camera: str) -> list[Node]:
    """The static transform of the camera, if it is asked for."""
    frame = given(context, 'optical_frame')
    if not frame:
        return []
    program = 'static_transform_publisher'
    arguments = camera_transform(context, CONFIG, camera)
    check_installed(context, 'tf2_ros', program, f'optical_frame:={frame}')
    return [
        Node(
            package='tf2_ros',
            executable=program,
            namespace=LaunchConfiguration('namespace'),
            arguments=arguments,
            remappings=tf_remappings(context),
            exec_name=program,
            prefix=end_with_launch(context),
        )
    ]


def generate_launch_description() -> LaunchDescription:
    """The arguments and the nodes."""
    description = LaunchDescription(
        [
            argument(
                'camera',
                '',
                'Name of the camera: <camera>/image_raw comes in, '
                '<camera>/heatmap/image goes out. Empty: as in params_file.',
            ),
            argument(
                'image_topic',
                '',
                'Where the images come from (for compressed ones without '
                '/compressed). Empty: <camera>/image_raw.',
            ),
            argument(
                'camera_info_topic',
                '',
                'Where the calibration comes from. Empty: <camera>/camera_info.',
            ),
            *depth_node_arguments(CONFIG / 'midas_depth.yaml'),
            tf_argument(),
            *dashboard_arguments(),
            argument(
                'avoidance',
                'false',
                'Let cmd_vel_in through to cmd_vel only as far as scan or closeness '
                'of `camera` allow; without one, of the one camera of params_file.',
                BOOLEANS,
            ),
            argument(
                'avoidance_params_file',
                str(CONFIG / 'avoidance.yaml'),
                'Parameter file of avoidance_node.',
            ),
            argument(
                'optical_frame',
                '',
                'Publish the static transform from body_frame to this frame, the '
                "images' own, by the mount that depth_node gets. Empty: the URDF has it.",
            ),
            argument(
                'rviz',
                'false',
                'Show the images of `camera`, and what is in the way, in rviz2.',
                BOOLEANS,
            ),
            OpaqueFunction(function=start),
        ]
    )
    return warn_of_typos(description)
