"""Each launch file starts the right programs with the right parameters, names and topics.

The programs are stand-ins that write down their command line; what a command line means is then
asked of rclpy itself: settings, full name and topics of a node that is made with it.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import yaml

pytest.importorskip('launch_ros', reason='launch_ros is not installed (it comes with ROS)')

from midas_depth_ros.geometry import CameraMount, turned_axes
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.ros.launch_arguments import ARGUMENTS
from midas_depth_ros.nodes.ros.parameters import ParameterServer
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import ImageStreamSettings, SyntheticCameraSettings

ROOT = Path(__file__).resolve().parents[2]
DEPTH_NODE_ARGUMENTS = {'namespace', 'params_file', *ARGUMENTS, 'use_sim_time', 'log_level'}
AVOIDANCE_ARGUMENTS = {'avoidance', 'avoidance_params_file'}
TF_ARGUMENT = 'tf_in_namespace'
DASHBOARD_ARGUMENTS = {'dashboard', 'dashboard_host', 'dashboard_port'}
SINGLE = {
    *('camera', 'image_topic', 'camera_info_topic', 'optical_frame', 'rviz', TF_ARGUMENT),
    *DEPTH_NODE_ARGUMENTS,
    *AVOIDANCE_ARGUMENTS,
    *DASHBOARD_ARGUMENTS,
}
ROBOT = {
    *('image_topic', 'camera_info_topic', 'base_frame', 'odom_frame', 'robot_radius'),
    *('camera_x', 'camera_y', 'floor_from', 'stamped'),
}
EXPECTED_ARGUMENTS = {
    'midas_depth': SINGLE,
    'multi_camera': {'cameras', TF_ARGUMENT, *DEPTH_NODE_ARGUMENTS, *DASHBOARD_ARGUMENTS},
    'replay': {'bag', 'rate', 'loop', 'clock_rate', 'start_delay', 'qos_overrides', *SINGLE},
    'demo': {'source', 'loop', 'drive', 'speed', *SINGLE},
    'nav2_camera': {
        *('robot', 'camera', 'optical_frame', *ROBOT, *DEPTH_NODE_ARGUMENTS),
        *('collision_monitor', 'nav2_params_file', 'nav2_params_out'),
    },
}
REQUIRED = {'multi_camera': {'cameras'}, 'replay': {'bag'}}


def node_of(ros, launched, program='depth_node'):
    """A node made as the program would make its own, from the command line that it was given."""
    assert launched.exit_code == 0, launched.output
    return ros.make_node('unnamed', cli_args=launched.ros_arguments(program))


def depth_settings(node) -> DepthNodeSettings:
    return ParameterServer(node, DepthNodeSettings).current


def avoidance_settings(node) -> AvoidanceSettings:
    return ParameterServer(node, AvoidanceSettings).current


def write_params(folder: Path, key: str = '/**/depth_node', **values: object) -> str:
    path = folder / 'my params.yaml'
    path.write_text(yaml.safe_dump({key: {'ros__parameters': values}}), encoding='utf-8')
    return str(path)


def test_every_launch_file_is_expected():
    assert {path.name for path in (ROOT / 'launch').iterdir() if path.is_file()} == {
        f'{name}.launch.py' for name in EXPECTED_ARGUMENTS
    }


@pytest.mark.parametrize('name', EXPECTED_ARGUMENTS)
def test_arguments_are_listed_with_a_description_and_a_default(launcher, name):
    arguments = launcher.arguments(name)
    assert set(arguments) == EXPECTED_ARGUMENTS[name]
    for argument, facts in arguments.items():
        assert len(facts['description']) > 15, argument
        assert facts['description'].endswith(('.', ']')), argument
    required = {argument for argument, facts in arguments.items() if facts['default'] is None}
    assert required == REQUIRED.get(name, set())


def test_without_arguments_the_node_has_its_defaults(ros, launcher):
    launched = launcher.launch('midas_depth')
    node = node_of(ros, launched)
    assert set(launched.calls) == {'depth_node'}
    assert node.get_fully_qualified_name() == '/depth_node'
    settings = dataclasses.replace(depth_settings(node), mounts={})  # it has one for `camera`
    assert repr(settings) == repr(DepthNodeSettings())
    assert node.resolve_topic_name('camera/image_raw') == '/camera/image_raw'
    assert not node.get_parameter('use_sim_time').value


@pytest.mark.parametrize('key', ['/**/depth_node', '/**', '/robot/depth_node'])
def test_arguments_override_the_file_and_only_what_is_given(ros, launcher, tmp_path, key):
    path = write_params(
        tmp_path, key, max_rate=1.0, model='embedded', cameras=['front'], num_threads=3
    )
    launched = launcher.launch('midas_depth', params_file=path, namespace='robot', max_rate='2')
    settings = depth_settings(node_of(ros, launched))
    assert settings.max_rate == 2.0
    assert (settings.model, settings.cameras, settings.num_threads) == ('embedded', ('front',), 3)


def test_arguments_override_a_file_that_speaks_of_all_nodes_and_of_ours(ros, launcher, tmp_path):
    path = tmp_path / 'robot.yaml'
    blocks = {
        '/**': {'ros__parameters': {'use_sim_time': True, 'max_rate': 1.0}},
        '/**/depth_node': {'ros__parameters': {'max_rate': 3.0, 'transport': 'compressed'}},
    }
    path.write_text(yaml.safe_dump(blocks, sort_keys=False))
    launched = launcher.launch('midas_depth', params_file=str(path), max_rate='7.5')
    node = node_of(ros, launched)
    settings = depth_settings(node)
    assert (settings.max_rate, settings.transport) == (7.5, 'compressed')
    assert node.get_parameter('use_sim_time').value


def test_every_argument_reaches_its_parameter_typed(ros, launcher):
    launched = launcher.launch(
        'midas_depth',
        namespace='fleet/robot_7',
        camera='on',  # a word that YAML takes for a boolean
        transport='compressed',
        model='123',  # a path, though it looks like a number
        max_rate='4',
        num_threads='2',
        process_every_frame='true',
        autostart='false',
        camera_height='1',
        camera_pitch='-0.25',
        body_frame='123',  # a frame, though it looks like a number
        use_sim_time='true',
        log_level='debug',
    )
    node = node_of(ros, launched)
    settings = depth_settings(node)
    assert node.get_fully_qualified_name() == '/fleet/robot_7/depth_node'
    assert settings.cameras == ('on',)
    assert settings.transport == 'compressed'
    assert settings.model == '123'
    assert settings.max_rate == 4.0
    assert settings.num_threads == 2
    assert settings.process_every_frame
    assert not settings.autostart
    assert (settings.camera_height, settings.camera_pitch) == (1.0, -0.25)
    assert settings.body_frame == '123'
    assert node.get_parameter('use_sim_time').value
    call = launched.ros_arguments('depth_node')
    assert call[call.index('--log-level') + 1] == 'debug'


def test_topics_of_a_driver_are_remapped(ros, launcher):
    launched = launcher.launch(
        'midas_depth',
        camera='front',
        image_topic='/usb_cam/image',
        camera_info_topic='driver/info',
        namespace='robot',
    )
    node = node_of(ros, launched)
    topics = {
        'front/image_raw': '/usb_cam/image',
        'front/image_raw/compressed': '/usb_cam/image/compressed',
        'front/camera_info': '/robot/driver/info',
        'front/heatmap/image': '/robot/front/heatmap/image',
    }
    assert {topic: node.resolve_topic_name(topic) for topic in topics} == topics
    assert depth_settings(node).cameras == ('front',)


def test_a_topic_alone_is_that_of_the_default_camera(ros, launcher, tmp_path):
    path = write_params(tmp_path, cameras=['left', 'right'])
    launched = launcher.launch('midas_depth', params_file=path, image_topic='/image')
    node = node_of(ros, launched)
    assert depth_settings(node).cameras == ('camera',)
    assert node.resolve_topic_name('camera/image_raw') == '/image'
    assert node.resolve_topic_name('camera/camera_info') == '/camera/camera_info'


def test_rviz_comes_on_request_and_shows_the_right_camera(ros, launcher):
    launched = launcher.launch(
        'midas_depth', rviz='true', camera='front', namespace='robot', use_sim_time='true'
    )
    node = node_of(ros, launched, 'rviz2')
    layout = Path(launched.calls['rviz2'][launched.calls['rviz2'].index('-d') + 1])
    displays = yaml.safe_load(layout.read_text())['Visualization Manager']['Displays']
    topics = [display['Topic']['Value'] for display in displays if 'Topic' in display]
    assert [node.resolve_topic_name(topic) for topic in topics] == [
        '/robot/front/image_raw',
        '/robot/front/heatmap/image',
        '/robot/front/depth/image',
        '/robot/front/scan',
        '/robot/front/seen_free',
        '/robot/front/proximity',
        '/robot/front/nearest_point',
        '/robot/front/points',
        '/robot/front/obstacles',
    ]
    assert node.get_parameter('use_sim_time').value


def test_rviz_shows_the_images_of_the_driver(ros, launcher):
    launched = launcher.launch('midas_depth', rviz='true', image_topic='/usb_cam/image')
    node = node_of(ros, launched, 'rviz2')
    assert node.resolve_topic_name('camera/image_raw') == '/usb_cam/image'
    assert node.resolve_topic_name('camera/heatmap/image') == '/camera/heatmap/image'
    assert not node.get_parameter('use_sim_time').value


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'max_rate': '-3'}, ['max_rate:=-3', 'minimum 0']),
        ({'max_rate': 'fast'}, ['max_rate:=fast', 'not a double']),
        ({'max_rate': '[5'}, ['max_rate:=[5', 'not a double']),
        ({'num_threads': '1.5'}, ['num_threads:=1.5', 'not an int']),
        ({'transport': 'telepathy'}, ['transport', 'telepathy', 'compressed']),
        ({'process_every_frame': 'maybe'}, ['process_every_frame', 'maybe', 'true']),
        ({'params_file': '/nowhere/params.yaml'}, ['/nowhere/params.yaml', 'not a file']),
        ({'log_level': 'loud'}, ['log_level', 'loud', 'debug']),
        ({'camera_height': '-0.3'}, ['camera_height:=-0.3', 'minimum 0.01']),
        ({'avoidance': 'perhaps'}, ['avoidance', 'perhaps', 'true']),
        (
            {'avoidance': 'true', 'avoidance_params_file': '/nowhere/avoidance.yaml'},
            ['avoidance_params_file:=/nowhere/avoidance.yaml', 'not a file'],
        ),
        ({'optical_frame': 'optical'}, ['optical_frame:=optical', 'camera_pitch:=']),
    ],
)
def test_a_wrong_argument_stops_the_launch_and_is_named(launcher, arguments, words):
    launched = launcher.launch('midas_depth', **arguments)
    assert launched.exit_code == 1
    assert launched.calls == {}
    for word in words:
        assert word in launched.output


def test_avoidance_comes_on_request_and_hears_the_camera(ros, launcher):
    launched = launcher.launch('midas_depth', avoidance='true', camera='front', namespace='robot')
    assert set(launched.calls) == {'depth_node', 'avoidance_node'}
    node = node_of(ros, launched, 'avoidance_node')
    topics = {
        'scan': '/robot/front/scan',
        'seen_free': '/robot/front/seen_free',
        'closeness': '/robot/front/closeness',
        'cmd_vel_in': '/robot/cmd_vel_in',
        'cmd_vel': '/robot/cmd_vel',
    }
    assert node.get_fully_qualified_name() == '/robot/avoidance_node'
    assert {topic: node.resolve_topic_name(topic) for topic in topics} == topics
    assert avoidance_settings(node) == AvoidanceSettings()
    assert not node.get_parameter('use_sim_time').value


@pytest.mark.parametrize(('value', 'tf'), [('true', '/robot/tf'), ('false', '/tf'), ('', '/tf')])
def test_tf_is_in_the_namespace_on_request(ros, launcher, value, tf):
    """As of a TurtleBot 4 with a namespace, and of Nav2."""
    mount = {'optical_frame': 'eye', 'camera_height': '0.3', 'camera_pitch': '0.1'}
    arguments = {'namespace': 'robot', 'avoidance': 'true', 'rviz': 'true', **mount}
    if value:
        arguments['tf_in_namespace'] = value
    launched = launcher.launch('midas_depth', **arguments)
    programs = ('depth_node', 'avoidance_node', 'rviz2', 'static_transform_publisher')
    for program in programs:
        node = node_of(ros, launched, program)
        assert node.resolve_topic_name('/tf') == tf
        assert node.resolve_topic_name('/tf_static') == f'{tf}_static'


def test_tf_of_several_cameras_is_in_the_namespace_on_request(ros, launcher):
    launched = launcher.launch(
        'multi_camera', cameras='front,rear', namespace='robot', tf_in_namespace='true'
    )
    assert node_of(ros, launched).resolve_topic_name('/tf_static') == '/robot/tf_static'


@pytest.mark.parametrize('key', ['/**/depth_node', '/**', '/robot/depth_node'])
def test_avoidance_and_rviz_take_the_one_camera_of_the_file(ros, launcher, tmp_path, key):
    path = write_params(tmp_path, key, cameras=['front/color'])
    arguments = {'params_file': path, 'avoidance': 'true', 'rviz': 'true', 'namespace': 'robot'}
    launched = launcher.launch('midas_depth', **arguments)
    node = node_of(ros, launched, 'avoidance_node')
    assert depth_settings(node_of(ros, launched)).cameras == ('front/color',)
    for name in ('scan', 'seen_free', 'closeness'):
        assert node.resolve_topic_name(name) == f'/robot/front/color/{name}'
    rviz = node_of(ros, launched, 'rviz2')
    assert rviz.resolve_topic_name('camera/scan') == '/robot/front/color/scan'


def test_avoidance_takes_the_camera_of_the_robot_s_own_namespace(ros, launcher, tmp_path):
    blocks = {
        f'/{name}/depth_node': {'ros__parameters': {'cameras': [f'eye_of_{name}']}}
        for name in ('one', 'other')
    }
    path = tmp_path / 'fleet.yaml'
    path.write_text(yaml.safe_dump(blocks))
    arguments = {'params_file': str(path), 'avoidance': 'true', 'namespace': 'other'}
    node = node_of(ros, launcher.launch('midas_depth', **arguments), 'avoidance_node')
    assert node.resolve_topic_name('scan') == '/other/eye_of_other/scan'


def test_avoidance_among_several_cameras_needs_to_know_which(ros, launcher, tmp_path):
    path = write_params(tmp_path, cameras=['front', 'rear'])
    launched = launcher.launch('midas_depth', params_file=path, avoidance='true')
    assert (launched.exit_code, launched.calls) == (1, {})
    for words in ('avoidance:=true', 'front, rear', 'camera:=front'):
        assert words in launched.output
    launched = launcher.launch('midas_depth', params_file=path, avoidance='true', camera='rear')
    node = node_of(ros, launched, 'avoidance_node')
    assert node.resolve_topic_name('scan') == '/rear/scan'
    launched = launcher.launch('midas_depth', params_file=path, rviz='true')
    assert node_of(ros, launched, 'rviz2').resolve_topic_name('camera/scan') == '/front/scan'
    assert 'rviz2 shows front' in launched.output


def test_avoidance_has_a_parameter_file_of_its_own(ros, launcher, tmp_path):
    path = write_params(tmp_path, '/**/avoidance_node', robot_width=0.7, use_sim_time=True)
    launched = launcher.launch('midas_depth', avoidance='true', avoidance_params_file=path)
    node = node_of(ros, launched, 'avoidance_node')
    assert node.resolve_topic_name('scan') == '/camera/scan'
    assert avoidance_settings(node).robot_width == 0.7
    assert node.get_parameter('use_sim_time').value  # not overridden by what was not given
    assert not node_of(ros, launched).get_parameter('use_sim_time').value


def test_avoidance_follows_the_clock_of_a_replay(ros, launcher):
    launched = launcher.launch('replay', bag='b', start_delay='0.0', avoidance='true')
    assert node_of(ros, launched, 'avoidance_node').get_parameter('use_sim_time').value


def test_dashboard_comes_on_request_and_watches_this_depth_node(ros, launcher):
    launched = launcher.launch('midas_depth', dashboard='true', namespace='robot')
    assert set(launched.calls) == {'depth_node', 'dashboard'}
    assert launched.starts == 2, 'a dashboard that ends is started again'
    assert launched.calls['dashboard'][:4] == ['--host', '127.0.0.1', '--port', '8080']
    node = node_of(ros, launched, 'dashboard')
    assert node.get_fully_qualified_name() == '/robot/dashboard'


@pytest.mark.parametrize(
    ('name', 'arguments'),
    [('multi_camera', {'cameras': 'front,rear'}), ('demo', {}), ('replay', {'bag': 'b'})],
)
def test_dashboard_listens_where_it_is_told(launcher, name, arguments):
    if name == 'replay':
        arguments = {**arguments, 'start_delay': '0.0'}
    launched = launcher.launch(
        name, dashboard='true', dashboard_host='0.0.0.0', dashboard_port='9000', **arguments
    )
    assert launched.exit_code == 0, launched.output
    assert launched.calls['dashboard'][:4] == ['--host', '0.0.0.0', '--port', '9000']


@pytest.mark.parametrize(('pitch', 'rotate'), [(-0.2, 0), (0.0, 180), (0.25, 90)])
def test_static_transform_says_where_the_camera_is(launcher, pitch, rotate):
    launched = launcher.launch(
        'midas_depth',
        optical_frame='eye',
        body_frame='floor',
        camera_height='0.3',
        camera_pitch=str(pitch),
        rotate=str(rotate),
    )
    check_transform(launched, 'floor', CameraMount(0.3, pitch), rotate)


OF_FILE = {
    'camera_height': 0.4,
    'camera_pitch': 0.2,
    'camera_roll': 0.1,
    'body_frame': 'below',
    'rotate': 180,
}
OF_REAR = {
    'cameras': ['rear'],
    **OF_FILE,
    'mounts': {'rear': {'body_frame': 'rear_view', 'rotate': 90, 'camera_pitch': 0.3}},
}


@pytest.mark.parametrize('name', ['midas_depth', 'nav2_camera'])
@pytest.mark.parametrize(
    ('values', 'arguments', 'frame', 'mount', 'rotate'),
    [
        (OF_FILE, {}, 'below', CameraMount(0.4, 0.2, 0.1), 180),
        (
            OF_FILE,
            {'camera_height': '0.3', 'camera_pitch': '0.1'},
            *('below', CameraMount(0.3, 0.1, 0.1), 180),
        ),
        (
            OF_FILE,
            {'camera_pitch': '-0.1', 'body_frame': 'floor', 'rotate': '0'},
            *('floor', CameraMount(0.4, -0.1, 0.1), 0),
        ),
        (OF_REAR, {'camera': 'rear'}, 'rear_view', CameraMount(0.4, 0.3, 0.1), 90),
        (
            OF_REAR,
            {'camera': 'rear', 'mounts.rear.camera_height': '0.7'},
            *('rear_view', CameraMount(0.7, 0.3, 0.1), 90),
        ),
    ],
)
def test_static_transform_is_that_of_the_node(
    launcher, tmp_path, name, values, arguments, frame, mount, rotate
):
    """What stands in the node's file counts for the transform as well."""
    path = write_params(tmp_path, **values)
    launched = launcher.launch(name, params_file=path, optical_frame='eye', **arguments)
    check_transform(launched, frame, mount, rotate)


def test_static_transform_is_of_the_first_of_several_cameras(launcher, tmp_path):
    path = write_params(tmp_path, **OF_FILE | {'cameras': ['front', 'rear']})
    others = {'mounts.rear.camera_height': '0.7', 'mounts.rear.body_frame': 'rear_view'}
    launched = launcher.launch('midas_depth', params_file=path, optical_frame='eye', **others)
    check_transform(launched, 'below', CameraMount(0.4, 0.2, 0.1), 180)


def check_transform(launched, frame_id: str, mount: CameraMount, rotate: int) -> None:
    """From this frame to the optical frame `eye` of a camera with this mount."""
    assert launched.exit_code == 0, launched.output
    calls = launched.calls
    words = calls.get('transform_to_optical_frame') or calls['static_transform_publisher']
    words = words[: words.index('--ros-args')] if '--ros-args' in words else words
    said = dict(zip(words[::2], words[1::2], strict=True))
    assert (said['--frame-id'], said['--child-frame-id']) == (frame_id, 'eye')
    assert float(said['--z']) == mount.height_m
    angles = ('--roll', '--pitch', '--yaw')
    assert set(said) == {'--z', *angles, '--frame-id', '--child-frame-id'}
    roll, tilt, yaw = (float(said[name]) for name in angles)
    # Fixed axes, as URDF and tf2 have it: first about x, then about y, then about z.
    frame = about_z(yaw) @ about_y(tilt) @ about_x(roll)
    # It is the camera's own frame: by the turned pictures the mount is as it was given.
    upright = turned_axes(frame, rotate)
    np.testing.assert_allclose(upright, mount.body_axes(), atol=1e-12)


def about_x(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def about_z(angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_one_node_serves_several_cameras(ros, launcher):
    launched = launcher.launch(
        'multi_camera', cameras='front/color, rear,on', max_rate='2.5', namespace='robot'
    )
    node = node_of(ros, launched)
    settings = depth_settings(node)
    assert settings.cameras == ('front/color', 'rear', 'on')
    assert settings.max_rate == 2.5
    assert node.get_fully_qualified_name() == '/robot/depth_node'
    assert node.resolve_topic_name('rear/image_raw') == '/robot/rear/image_raw'


def test_each_of_several_cameras_has_a_mount_of_its_own(ros, launcher):
    arguments = {
        'cameras': 'front/color,rear',
        'camera_height': '0.3',
        'camera_pitch': '0.1',
        'mounts.rear.camera_yaw': '3.14',
        'mounts.rear.camera_pitch': '0',
        'mounts.rear.body_frame': '123',  # a frame, though it looks like a number
        'mounts.front/color.camera_height': '1',
        'mounts.front/color.imu_topic': '',  # as not given
    }
    settings = depth_settings(node_of(ros, launcher.launch('multi_camera', **arguments)))
    rear, front = (mount_of(settings, name) for name in ('rear', 'front/color'))
    assert (rear.camera_height, rear.camera_pitch, rear.camera_yaw) == (0.3, 0.0, 3.14)
    assert (front.camera_height, front.camera_pitch, front.camera_yaw) == (1.0, 0.1, 0.0)
    assert (rear.body_frame, front.body_frame) == ('123', 'base_link')


@pytest.mark.parametrize('name', ['midas_depth', 'demo'])
def test_one_camera_may_have_a_mount_too(ros, launcher, tmp_path, name):
    path = write_params(tmp_path, cameras=['front'], mounts={'front': {'camera_roll': 0.2}})
    arguments = {'params_file': path, 'mounts.front.camera_pitch': '0.4'}
    if name == 'demo':
        arguments['camera'] = 'front'
    settings = depth_settings(node_of(ros, launcher.launch(name, **arguments)))
    mount = mount_of(settings, 'front')
    assert (mount.camera_pitch, mount.camera_roll) == (0.4, 0.2)


@pytest.mark.parametrize(
    ('name', 'value', 'words'),
    [
        ('mounts.raer.camera_yaw', '3.14', ['mounts.raer.camera_yaw is unknown', 'front, rear']),
        ('mounts.rear.yaw', '3.14', ['mounts.rear.yaw is unknown', 'camera_yaw']),
        ('mounts.camera_yaw', '3.14', ['mounts.camera_yaw is unknown']),
        ('mounts.rear.camera_yaw', 'back', ['mounts.rear.camera_yaw:=back', 'not a double']),
        ('mounts.rear.camera_height', '-1', ['mounts.rear.camera_height:=-1', 'minimum 0.01']),
        ('mounts.rear.camera_yaw', '9' * 5000, ['mounts.rear.camera_yaw', 'refused']),
        ('mounts.rear.camera_yaw', '[' * 5000, ['mounts.rear.camera_yaw', 'not a double']),
    ],
)
def test_a_wrong_mount_stops_the_launch_and_is_named(launcher, name, value, words):
    launched = launcher.launch('multi_camera', cameras='front,rear', **{name: value})
    assert (launched.exit_code, launched.calls) == (1, {})
    for word in words:
        assert word in launched.output


def test_replay_plays_the_bag_on_its_own_time(ros, launcher):
    launched = launcher.launch(
        'replay',
        bag='/bags/my bag',
        rate='0.5',
        loop='true',
        start_delay='0.0',
        process_every_frame='true',
        image_topic='/cam/image',
    )
    node = node_of(ros, launched)
    overrides = ROOT / 'config' / 'qos_overrides.yaml'
    assert launched.calls['ros2'] == [
        *['bag', 'play', '/bags/my bag', '--rate', '0.5', '--clock', '100.0'],
        *['--qos-profile-overrides-path', str(overrides), '--disable-keyboard-controls', '--loop'],
    ]
    assert overrides.is_file()
    assert node.get_parameter('use_sim_time').value
    assert depth_settings(node).process_every_frame
    assert node.resolve_topic_name('camera/image_raw') == '/cam/image'


def test_replay_plays_once_unless_told_to_loop(launcher):
    launched = launcher.launch('replay', bag='b', start_delay='0.0')
    assert launched.exit_code == 0, launched.output
    assert '--loop' not in launched.calls['ros2']
    assert set(launched.calls) == {'ros2', 'depth_node'}


def test_demo_without_a_source_is_synthetic(ros, launcher):
    launched = launcher.launch('demo', model='embedded', namespace='robot')
    source = node_of(ros, launched, 'synthetic_camera')
    assert set(launched.calls) == {'depth_node', 'synthetic_camera'}
    assert source.get_fully_qualified_name() == '/robot/synthetic_camera'
    camera = ParameterServer(source, SyntheticCameraSettings).current.camera
    settings = depth_settings(node_of(ros, launched))
    assert (settings.cameras, settings.model) == ((camera,), 'embedded')


@pytest.mark.parametrize('source', ['0', "/videos/it's a video.mp4"])
def test_demo_streams_a_source_under_the_same_camera_name(ros, launcher, source):
    launched = launcher.launch('demo', source=source, camera='front', loop='false')
    assert set(launched.calls) == {'depth_node', 'image_stream'}
    stream = ParameterServer(node_of(ros, launched, 'image_stream'), ImageStreamSettings).current
    assert (stream.source, stream.camera, stream.loop) == (source, 'front', False)
    assert stream.wait_for_subscribers == 1
    assert depth_settings(node_of(ros, launched)).cameras == ('front',)


@pytest.mark.parametrize('kind', ['picture', 'folder'])
def test_demo_takes_still_pictures_for_no_frozen_camera(ros, launcher, tmp_path, kind):
    source = tmp_path / 'stills' / 'one.png'
    source.parent.mkdir()
    source.write_bytes(b'')
    source = source if kind == 'picture' else source.parent
    launched = launcher.launch('demo', source=str(source))
    settings = depth_settings(node_of(ros, launched))
    assert (settings.frozen_after, settings.process_every_frame) == (0.0, True), 'each is shown'
    launched = launcher.launch('demo', source=str(source), frozen_after='5')
    assert depth_settings(node_of(ros, launched)).frozen_after == 5.0


@pytest.mark.parametrize('source', ['', '0', '/dev/video0', 'film.mp4', 'none.png', '~nobody/a'])
def test_a_living_camera_may_freeze(ros, launcher, source):
    launched = launcher.launch('demo', **({'source': source} if source else {}))
    wanted = DepthNodeSettings().frozen_after
    assert depth_settings(node_of(ros, launched)).frozen_after == wanted


def synthetic_settings(node) -> SyntheticCameraSettings:
    return ParameterServer(node, SyntheticCameraSettings).current


def test_demo_drives_a_robot_that_all_nodes_know_alike(ros, launcher):
    launched = launcher.launch('demo', drive='true', namespace='fleet/robot_7', camera='front')
    assert set(launched.calls) == {'depth_node', 'synthetic_camera', 'avoidance_node', 'ros2'}
    source = node_of(ros, launched, 'synthetic_camera')
    robot = synthetic_settings(source)
    depth = depth_settings(node_of(ros, launched))
    avoidance_node = node_of(ros, launched, 'avoidance_node')
    avoidance = avoidance_settings(avoidance_node)
    assert (robot.scene, robot.camera) == ('robot', 'front')
    assert depth.cameras == ('front',)
    assert (depth.camera_height, depth.camera_pitch) == (robot.camera_height, robot.camera_pitch)
    assert depth.scale.source == 'ground_plane'
    assert depth.body_frame == robot.robot.base_frame
    assert avoidance.robot_front == avoidance.robot_rear == robot.robot.radius
    assert avoidance.robot_width == 2 * robot.robot.radius <= depth.obstacles.robot_width
    assert (avoidance.source, avoidance.sensor.x, avoidance.steering.enabled) == ('scan', 0.0, True)
    prefix = '/fleet/robot_7'
    assert avoidance_node.resolve_topic_name('scan') == f'{prefix}/front/scan'
    assert avoidance_node.resolve_topic_name('cmd_vel') == source.resolve_topic_name('cmd_vel')
    assert launched.calls['ros2'] == [
        *['topic', 'pub', '--rate', '10', f'{prefix}/cmd_vel_in'],
        *['geometry_msgs/msg/Twist', '{linear: {x: 0.3}}'],
    ]


def test_demo_robot_is_the_one_that_is_driven_for_the_figures(ros, launcher):
    from midas_depth_ros.lab.drive import rig

    launched = launcher.launch('demo', drive='true')
    differences = {
        'synthetic_camera': (SyntheticCameraSettings, rig.camera_parameters(False, 10.0)),
        'depth_node': (DepthNodeSettings, rig.depth_parameters(10.0, '')),
        'avoidance_node': (AvoidanceSettings, rig.avoidance_parameters()),
    }
    for program, (settings_class, wanted) in differences.items():
        node = node_of(ros, launched, program)
        ParameterServer(node, settings_class)
        for name, value in wanted.items():
            if name not in ('transport', 'output_size'):  # more is shown than a drive needs
                assert node.get_parameter(name).value == pytest.approx(value), (program, name)


def test_demo_drives_as_the_arguments_say(ros, launcher, tmp_path):
    path = write_params(tmp_path, max_rate=1.0, scale={'source': 'auto'})
    launched = launcher.launch(
        'demo',
        drive='true',
        speed='0.0',
        params_file=path,
        camera_height='0.5',
        camera_pitch='0.4',
        rviz='true',
        camera='front/color',
    )
    assert 'ros2' not in launched.calls
    assert '{linear' not in str(launched.calls)
    robot = synthetic_settings(node_of(ros, launched, 'synthetic_camera'))
    depth = depth_settings(node_of(ros, launched))
    for settings in (robot, depth):
        assert (settings.camera_height, settings.camera_pitch) == (0.5, 0.4)
    assert (depth.max_rate, depth.scale.source) == (1.0, 'auto')
    # rviz2 shows the cloud: somebody says where the camera is.
    words = launched.calls['static_transform_publisher']
    assert words[words.index('--child-frame-id') + 1] == robot.optical_frame
    assert words[words.index('--frame-id') + 1] == robot.robot.base_frame


def test_demo_scene_is_seen_from_where_depth_node_is_told(ros, launcher):
    launched = launcher.launch('demo', camera_height='0.5', camera_pitch='0.2')
    scene = synthetic_settings(node_of(ros, launched, 'synthetic_camera'))
    depth = depth_settings(node_of(ros, launched))
    assert (scene.scene, scene.camera_height, scene.camera_pitch) == ('moving', 0.5, 0.2)
    assert (depth.camera_height, depth.camera_pitch) == (0.5, 0.2)


def test_demo_scene_is_seen_from_where_the_file_of_depth_node_says(ros, launcher, tmp_path):
    path = write_params(tmp_path, camera_height=0.5, mounts={'camera': {'camera_pitch': 0.2}})
    launched = launcher.launch('demo', params_file=path)
    scene = synthetic_settings(node_of(ros, launched, 'synthetic_camera'))
    assert (scene.camera_height, scene.camera_pitch) == (0.5, 0.2)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'drive': 'true', 'source': 'video.mp4'}, ['source:=', 'drive:=true']),
        ({'drive': 'often'}, ['drive', 'often', 'true']),
        ({'drive': 'true', 'speed': 'fast'}, ['speed:=fast', 'm/s']),
    ],
)
def test_a_drive_that_cannot_be_is_refused(launcher, arguments, words):
    launched = launcher.launch('demo', **arguments)
    assert launched.exit_code == 1
    for word in words:
        assert word in launched.output
