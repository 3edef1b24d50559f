"""Plays a rosbag2 folder against depth_node, on the bag's own time.

    ros2 launch midas_depth_ros replay.launch.py bag:=my_bag rate:=0.5 process_every_frame:=true

The bag publishes /clock and depth_node follows it (use_sim_time). Every argument of
midas_depth.launch.py can be given too: camera, image_topic, transport, params_file, rviz...
The nodes stay up when the bag is over; Ctrl-C ends them.
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

from midas_depth_ros.nodes.ros.launch_arguments import BOOLEANS, given, is_on, leash, with_hints

HERE = Path(__file__).resolve().parent
CONFIG = HERE.parent / 'config'


def check_player(context: LaunchContext) -> None:
    """Raise FileNotFoundError before anything starts where nothing can play the bag."""
    if not shutil.which('ros2'):
        raise FileNotFoundError('a bag is played by ros2 bag, but there is no ros2: install it')


def play(context: LaunchContext) -> list[ExecuteProcess]:
    """`ros2 bag play`, now that the arguments are known."""
    command = ['ros2', 'bag', 'play', given(context, 'bag')]
    command += ['--rate', given(context, 'rate'), '--clock', given(context, 'clock_rate')]
    command += ['--qos-profile-overrides-path', given(context, 'qos_overrides')]
    command += ['--disable-keyboard-controls']
    if is_on(context, 'loop'):
        command.append('--loop')
    return [ExecuteProcess(cmd=command, name='bag', output='screen', prefix=leash(context))]


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
                description='Start again at the end of the bag.',
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
    return with_hints(description)
