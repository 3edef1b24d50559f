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
    argument,
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
            argument('rate', '1.0', 'Speed of the replay; 0.5 = half speed.'),
            argument('loop', 'false', 'Repeat the bag at its end.', BOOLEANS),
            argument('clock_rate', '100.0', 'How often the bag publishes /clock. [Hz]'),
            argument(
                'start_delay', '5.0', 'How long the bag waits for depth_node to load its model. [s]'
            ),
            argument(
                'qos_overrides',
                str(CONFIG / 'qos_overrides.yaml'),
                'How the bag publishes its topics, for ros2 bag play --qos-profile-overrides-path.',
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
