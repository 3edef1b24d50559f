"""Plays a rosbag2 folder against depth_node, on the bag's own time.

    ros2 launch midas_depth_ros replay.launch.py bag:=my_bag rate:=0.5 process_every_frame:=true

The bag publishes /clock and depth_node follows it (use_sim_time). All arguments of
midas_depth.launch.py are accepted, too: camera, image_topic, transport, params_file, rviz...
The nodes keep running after the bag; Ctrl-C ends them.
"""

import shutil
from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    ExecuteProcess,
    IncludeLaunchDescription,
    OpaqueFunction,
    TimerAction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration

from midas_depth_ros.nodes.ros.launch_arguments import (
    BOOLEANS,
    end_with_launch,
    given,
    is_on,
    warn_of_typos,
)

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / 'config'


def check_player(context: LaunchContext) -> None:
    """Raise FileNotFoundError before anything starts if ros2 is not installed."""
    if not shutil.which('ros2'):
        raise FileNotFoundError('ros2 bag plays the bag, but ros2 is not installed: install it')


def play(context: LaunchContext) -> list[ExecuteProcess]:
    """`ros2 bag play` with the arguments."""
    command = ['ros2', 'bag', 'play', given(context, 'bag')]
    command += ['--rate', given(context, 'rate'), '--clock', given(context, 'clock_rate')]
    command += ['--qos-profile-overrides-path', given(context, 'qos_overrides')]
    command += ['--disable-keyboard-controls']
    if is_on(context, 'loop'):
        command.append('--loop')
    prefix = end_with_launch(context)
    return [ExecuteProcess(cmd=command, name='bag', output='screen', prefix=prefix)]


def generate_launch_description() -> LaunchDescription:
    """The arguments, the bag and the nodes."""
    description = LaunchDescription(
        [
            DeclareLaunchArgument('bag', description='Folder of the rosbag2 (sqlite3 or mcap).'),
            DeclareLaunchArgument(
                'rate', default_value='1.0', description='Speed of the replay; 0.5 = half speed.'
            ),
            DeclareLaunchArgument(
                'loop',
                default_value='false',
                choices=BOOLEANS,
                description='Repeat the bag at its end.',
            ),
            DeclareLaunchArgument(
                'clock_rate',
                default_value='100.0',
                description='How often the bag publishes /clock. [Hz]',
            ),
            DeclareLaunchArgument(
                'start_delay',
                default_value='5.0',
                description='How long the bag waits for depth_node to load its model. [s]',
            ),
            DeclareLaunchArgument(
                'qos_overrides',
                default_value=str(CONFIG / 'qos_overrides.yaml'),
                description='How the bag publishes its topics, for ros2 bag play '
                '--qos-profile-overrides-path.',
            ),
            OpaqueFunction(function=check_player),
            IncludeLaunchDescription(
                PythonLaunchDescriptionSource(str(HERE / 'midas_depth.launch.py')),
                launch_arguments={'use_sim_time': 'true'}.items(),
            ),
            TimerAction(
                period=LaunchConfiguration('start_delay'), actions=[OpaqueFunction(function=play)]
            ),
        ]
    )
    return warn_of_typos(description)
