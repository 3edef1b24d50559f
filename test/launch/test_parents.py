"""A launch that fails or is killed leaves nothing running; parents and odd arguments are heard."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

pytest.importorskip('launch_ros', reason='launch_ros is not installed (it comes with ROS)')

from ros_helpers import wait_until

from midas_depth_ros.nodes.ros.parameters import ParameterServer
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.depth import DepthNodeSettings

ROOT = Path(__file__).resolve().parents[2]
PARENT = """\
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import Node, SetParameter, SetParametersFromFile

def generate_launch_description():
    source = PythonLaunchDescriptionSource({path!r})
    return LaunchDescription([
        {before}
        IncludeLaunchDescription(source, launch_arguments={arguments!r}.items()),
        {after}
    ])
"""


def parent(folder: Path, name: str, before: str = '', after: str = '', **arguments: str) -> Path:
    """A launch file that includes one of ours."""
    path = folder / 'parent.launch.py'
    ours = str(ROOT / 'launch' / f'{name}.launch.py')
    text = PARENT.format(path=ours, before=before, after=after, arguments=arguments)
    path.write_text(text, encoding='utf-8')
    return path


def settings_of(ros, launched, program, kind):
    assert launched.exit_code == 0, launched.output
    node = ros.make_node('unnamed', cli_args=launched.ros_arguments(program))
    return ParameterServer(node, kind).current


@pytest.mark.parametrize(
    ('missing', 'name', 'arguments', 'words'),
    [
        ('rviz2', 'midas_depth', {'rviz': 'true'}, ['rviz:=true', '-rviz2', 'leave rviz:= out']),
        ('rviz2', 'demo', {'rviz': 'True', 'drive': '1'}, ['rviz:=true', 'apt install']),
        (
            'tf2_ros',
            'midas_depth',
            {'optical_frame': 'eye', 'camera_height': '0.3', 'camera_pitch': '0.1'},
            ['optical_frame:=eye', 'static_transform_publisher', '-tf2-ros'],
        ),
    ],
)
def test_what_is_not_installed_is_said_before_anything_starts(
    launcher, missing, name, arguments, words
):
    launcher.uninstall(missing)
    launched = launcher.launch(name, avoidance='true', dashboard='true', **arguments)
    assert (launched.exit_code, launched.calls) == (1, {})
    for word in words:
        assert word in launched.output


@pytest.mark.skipif(shutil.which('ros2') is not None, reason='here ros2 is installed')
@pytest.mark.parametrize(
    ('name', 'arguments'), [('demo', {'drive': 'true'}), ('replay', {'bag': 'b'})]
)
def test_without_ros2_nothing_starts_that_needs_it(launcher, name, arguments):
    launcher.uninstall('ros2')
    launched = launcher.launch(name, **arguments)
    assert (launched.exit_code, launched.calls) == (1, {})
    assert 'ros2 is not installed: install' in launched.output


def test_a_wrong_speed_is_said_before_anything_starts(launcher):
    for speed in ('fast', 'nan', 'inf'):
        launched = launcher.launch('demo', drive='true', speed=speed)
        assert (launched.exit_code, launched.calls) == (1, {})
        assert f'speed:={speed}' in launched.output


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        state = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0]
    except OSError:
        return False
    return state not in 'ZX'


@pytest.mark.skipif(shutil.which('setpriv') is None, reason='there is no setpriv (util-linux)')
@pytest.mark.parametrize('how', ['killed', 'failed'])
def test_nothing_outlives_its_launch(launcher, tmp_path, how):
    arguments = {
        'drive': 'true',
        'avoidance': 'true',
        'dashboard': 'true',
        'rviz': 'true',
    }
    programs = {'depth_node', 'avoidance_node', 'dashboard', 'synthetic_camera', 'rviz2', 'ros2'}
    programs |= {'static_transform_publisher'}
    name: str | Path = 'demo'
    if how == 'failed':  # as launch does in the middle, by a fault of the parent
        node = "Node(package='midas_depth_ros', executable='no_such_program'),"
        name, arguments = parent(tmp_path, 'demo', after=node, **arguments), {}
    with launcher.running(name, **arguments) as (process, folder):
        if how == 'killed':
            files = {each: folder / f'pid of {each}' for each in programs}
            wait_until(lambda: all(f.exists() and f.read_text() for f in files.values()), 60)
            pids = [int(file.read_text()) for file in files.values()]
            assert all(map(is_there, pids))
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        here = lambda: [  # noqa: E731
            pid
            for pid in map(int, filter(str.isdigit, os.listdir('/proc')))
            if is_there(pid) and session_of(pid) == process.pid
        ]
        wait_until(lambda: not here(), 60, 'the end of all that was started')


def session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return -1


def test_processes_have_the_names_of_their_programs(launcher):
    """As everybody looks for them in the log, whatever stands before them."""
    arguments = {'drive': 'true', 'avoidance': 'true', 'rviz': 'true', 'dashboard': 'true'}
    launched = launcher.launch('demo', **arguments)
    programs = ('depth_node', 'avoidance_node', 'synthetic_camera', 'rviz2', 'dashboard')
    for name in (*programs, 'static_transform_publisher', 'command'):
        assert f'[{name}-' in launched.output
    assert '[setpriv-' not in launched.output


def test_a_prefix_that_is_given_to_launch_is_used(launcher):
    launched = launcher.launch('midas_depth', **{'launch-prefix': 'env MARK=1'})
    assert launched.exit_code == 0, launched.output
    assert 'depth_node' in launched.calls


@pytest.mark.parametrize(
    ('before', 'arguments', 'rate', 'width'),
    [
        ("SetParameter('max_rate', 2.5), SetParameter('robot_width', 0.7),", {}, 2.5, 0.7),
        ("SetParameter('max_rate', 2.5),", {'max_rate': '3'}, 3.0, None),
        ("SetParameter('max_rate', 2.5),", {'params_file': 'FILE'}, 1.5, None),
        ("SetParametersFromFile('FILE'),", {}, 1.5, None),
        ("SetParameter('max_rate', 2.5), SetParametersFromFile('FILE'),", {}, 1.5, None),
    ],
)
def test_parameters_of_a_parent_are_stronger_than_our_defaults(
    ros, launcher, tmp_path, before, arguments, rate, width
):
    file = tmp_path / 'chosen.yaml'
    file.write_text('/depth_node:\n  ros__parameters: {max_rate: 1.5}\n')
    chosen = {name: value.replace('FILE', str(file)) for name, value in arguments.items()}
    before = before.replace('FILE', str(file))
    path = parent(tmp_path, 'midas_depth', before=before, avoidance='true', **chosen)
    launched = launcher.launch(path)
    assert settings_of(ros, launched, 'depth_node', DepthNodeSettings).max_rate == rate
    avoidance = settings_of(ros, launched, 'avoidance_node', AvoidanceSettings)
    assert avoidance.robot_width == (width or AvoidanceSettings().robot_width)


def test_avoidance_hears_the_camera_that_a_parent_names(ros, launcher, tmp_path):
    file = tmp_path / 'chosen.yaml'
    file.write_text('/depth_node:\n  ros__parameters: {cameras: [left]}\n')
    before = f"SetParametersFromFile('{file}'),"
    launched = launcher.launch(parent(tmp_path, 'midas_depth', before=before, avoidance='true'))
    assert settings_of(ros, launched, 'depth_node', DepthNodeSettings).cameras == ('left',)
    node = ros.make_node('unnamed', cli_args=launched.ros_arguments('avoidance_node'))
    assert node.resolve_topic_name('scan') == '/left/scan'


def test_parameters_of_a_parent_reach_the_driven_robot(ros, launcher, tmp_path):
    before = "SetParameter('max_rate', 2.5), SetParameter('seed', 11),"
    launched = launcher.launch(parent(tmp_path, 'demo', before=before, drive='true'))
    assert settings_of(ros, launched, 'depth_node', DepthNodeSettings).max_rate == 2.5
    from midas_depth_ros.options.stream import SyntheticCameraSettings

    camera = settings_of(ros, launched, 'synthetic_camera', SyntheticCameraSettings)
    assert (camera.seed, camera.scene) == (11, 'robot')


@pytest.mark.parametrize(
    ('name', 'arguments', 'cameras'),
    [
        ('midas_depth', {'camera': '/front'}, ('front',)),
        ('midas_depth', {'camera': 'front/color/'}, ('front/color',)),
        ('multi_camera', {'cameras': '[front, rear]'}, ('front', 'rear')),
        ('multi_camera', {'cameras': "['/front', 'on']"}, ('front', 'on')),
    ],
)
def test_cameras_are_taken_as_people_write_them(ros, launcher, name, arguments, cameras):
    launched = launcher.launch(name, use_sim_time='True', process_every_frame='1', **arguments)
    node = ros.make_node('unnamed', cli_args=launched.ros_arguments('depth_node'))
    settings = ParameterServer(node, DepthNodeSettings).current
    assert (settings.cameras, settings.process_every_frame) == (cameras, True)
    assert node.get_parameter('use_sim_time').value is True


@pytest.mark.parametrize(
    ('name', 'arguments', 'words'),
    [
        ('multi_camera', {'cameras': '[]'}, ['cameras:=[] is refused', 'at least one camera']),
        ('multi_camera', {'cameras': ''}, ['cameras:= is empty', 'cameras:=front,rear']),
        ('multi_camera', {'cameras': 'a,'}, ['cameras:=a, is refused', "''"]),
        ('multi_camera', {'cameras': '[a'}, ['cameras:=[a is refused', 'YAML']),
        ('multi_camera', {'cameras': 'a,a'}, ['cameras:=a,a is refused', 'named twice']),
        ('midas_depth', {'camera': 'a,b'}, ['camera:=a,b is refused', 'multi_camera.launch.py']),
        ('midas_depth', {'camera': 'my cam'}, ['camera:=my cam is refused', 'letters']),
        ('midas_depth', {'camera': '//a'}, ['camera:=//a is refused']),
        (
            'midas_depth',
            {'camera': '/front', 'namespace': 'robot'},
            ['camera:=/front is refused', 'namespace:=robot'],
        ),
        ('midas_depth', {'use_sim_time': 'maybe'}, ['use_sim_time', 'maybe', 'True']),
        ('demo', {'camera': '//'}, ['camera:=// is refused']),
    ],
)
def test_cameras_that_cannot_be_stop_the_launch(launcher, name, arguments, words):
    launched = launcher.launch(name, **arguments)
    assert (launched.exit_code, launched.calls) == (1, {})
    for word in words:
        assert word in launched.output


@pytest.mark.parametrize(
    ('name', 'typed', 'words'),
    [
        ('midas_depth', {'camara': 'front'}, ['no argument camara:=', 'did you mean camera:=?']),
        ('midas_depth', {'cameras': 'front'}, ['no argument cameras:=', 'did you mean camera:=?']),
        ('demo', {'sorce': 'a.mp4'}, ['no argument sorce:=', 'did you mean source:=?']),
    ],
)
def test_an_argument_that_no_file_knows_is_named(launcher, name, typed, words):
    launched = launcher.launch(name, **typed)
    assert launched.exit_code == 0, launched.output
    for word in words:
        assert word in launched.output


def test_arguments_that_are_known_are_no_reason_to_warn(launcher):
    arguments = {'bag': 'b', 'rate': '2.0', 'start_delay': '0.0', 'max_rate': '3'}
    launched = launcher.launch('replay', **arguments, **{'my.own': '1', 'mounts.a.camera_yaw': ''})
    assert launched.exit_code == 0, launched.output
    assert 'no argument' not in launched.output
