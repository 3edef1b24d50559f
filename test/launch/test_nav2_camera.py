"""The launch file for Nav2: what it starts, in which frames, with which of Nav2's parameters."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml

pytest.importorskip('launch_ros', reason='launch_ros is not installed (it comes with ROS)')

from midas_depth_ros.nodes.ros.nav2_parameters import ROBOTS
from midas_depth_ros.options.depth import DepthNodeSettings

from .test_launch_files import depth_settings, node_of, write_params

MANAGERS = {'lifecycle_manager_depth', 'lifecycle_manager_collision_monitor'}
MONITORED = {'depth_node', 'collision_monitor', *MANAGERS}


def nav2_node(ros, launched, name):
    """A node with the parameters that one of Nav2's was started with."""
    assert launched.exit_code == 0, launched.output
    return ros.make_node(
        'unnamed',
        cli_args=launched.ros_arguments(name),
        automatically_declare_parameters_from_overrides=True,
    )


def words(launched, program) -> dict[str, str]:
    call = launched.calls[program]
    call = call[: call.index('--ros-args')]
    return dict(zip(call[::2], call[1::2], strict=True))


def test_a_robot_of_one_s_own_needs_its_topics_and_its_mount(ros, launcher):
    launched = launcher.launch(
        'nav2_camera',
        image_topic='/image_raw',
        camera_info_topic='/camera_info',
        camera_height='0.3',
        camera_pitch='0.1',
    )
    assert set(launched.calls) == MONITORED
    node = node_of(ros, launched)
    settings = depth_settings(node)
    assert node.resolve_topic_name('camera/image_raw') == '/image_raw'
    assert node.resolve_topic_name('camera/camera_info') == '/camera_info'
    assert (settings.camera_height, settings.camera_pitch) == (0.3, 0.1)
    assert (settings.body_frame, settings.cameras) == ('base_link', ('camera',))
    assert not settings.autostart, 'the lifecycle manager starts it'
    assert settings.obstacles.robot_width == DepthNodeSettings().obstacles.robot_width


def test_nav2_s_manager_waits_for_no_bond_of_depth_node_but_for_its_own(ros, launcher):
    launched = launcher.launch('nav2_camera', namespace='robot')
    depth = nav2_node(ros, launched, 'lifecycle_manager_depth')
    assert depth.get_fully_qualified_name() == '/robot/lifecycle_manager_depth'
    assert depth.get_parameter('bond_timeout').value == 0.0
    assert list(depth.get_parameter('node_names').value) == ['depth_node']
    own = nav2_node(ros, launched, 'lifecycle_manager_collision_monitor')
    assert list(own.get_parameter('node_names').value) == ['collision_monitor']
    assert own.get_parameter('autostart').value
    assert not own.has_parameter('bond_timeout')


@pytest.mark.parametrize('robot', ['turtlebot3', 'turtlebot4'])
def test_a_turtlebot_has_its_topics_frames_and_mount(ros, launcher, robot):
    launched = launcher.launch('nav2_camera', robot=robot, namespace='tb')
    known, node = ROBOTS[robot], node_of(ros, launched)
    settings = depth_settings(node)
    assert node.resolve_topic_name('camera/image_raw') == f'/tb/{known.image_topic}'
    assert settings.camera_height == known.camera_height
    assert settings.camera_x == known.camera_x
    # Its lens is not above the middle of the robot: distances begin below the lens.
    assert settings.body_frame == 'camera_floor'
    said = words(launched, 'transform_to_camera_floor')
    assert (said['--frame-id'], said['--child-frame-id']) == (known.base_frame, 'camera_floor')
    assert float(said['--x']) == known.camera_x
    monitor = nav2_node(ros, launched, 'collision_monitor')
    assert monitor.get_parameter('base_frame_id').value == known.base_frame
    assert monitor.get_parameter('enable_stamped_cmd_vel').value is True
    scan = monitor.resolve_topic_name(monitor.get_parameter('scan.topic').value)
    assert scan == '/tb/camera/scan' == node.resolve_topic_name('camera/scan')
    for each in (node, monitor, node_of(ros, launched, 'transform_to_camera_floor')):
        assert each.resolve_topic_name('/tf') == '/tb/tf'
        assert each.resolve_topic_name('/tf_static') == '/tb/tf_static'


def test_arguments_override_what_a_robot_sets(ros, launcher):
    launched = launcher.launch(
        'nav2_camera',
        robot='turtlebot4',
        image_topic='/usb/image',
        camera_height='0.3',
        camera_pitch='0.2',
        camera_x='0.0',
        robot_radius='0.25',
        stamped='false',
        camera='front',
    )
    node = node_of(ros, launched)
    settings = depth_settings(node)
    assert node.resolve_topic_name('front/image_raw') == '/usb/image'
    assert (settings.camera_height, settings.camera_pitch) == (0.3, 0.2)
    assert settings.body_frame == 'base_link', 'the lens is above it'
    assert 'transform_to_camera_floor' not in launched.calls
    monitor = nav2_node(ros, launched, 'collision_monitor')
    assert monitor.get_parameter('approach.radius').value == pytest.approx(0.29)
    assert monitor.get_parameter('enable_stamped_cmd_vel').value is False
    assert monitor.get_parameter('proximity.topic').value == 'front/proximity'


def test_a_mount_that_was_measured_stays_in_the_parameter_file(ros, launcher, tmp_path):
    known = ROBOTS['turtlebot4']
    path = write_params(tmp_path, camera_pitch=0.03)
    files = {'robot': 'turtlebot4', 'params_file': path}
    settings = depth_settings(node_of(ros, launcher.launch('nav2_camera', **files)))
    assert (settings.camera_height, settings.camera_pitch) == (known.camera_height, 0.03)
    launched = launcher.launch('nav2_camera', **files, camera_pitch='0.1', camera_height='0.3')
    settings = depth_settings(node_of(ros, launched))
    assert (settings.camera_height, settings.camera_pitch) == (0.3, 0.1)


def test_a_lens_that_was_moved_is_where_the_parameter_file_says(ros, launcher, tmp_path):
    path = write_params(tmp_path, camera_x=0.05, camera_y=0.02)
    launched = launcher.launch('nav2_camera', robot='turtlebot4', params_file=path)
    settings = depth_settings(node_of(ros, launched))
    assert (settings.camera_x, settings.camera_y) == (0.05, 0.02)
    said = words(launched, 'transform_to_camera_floor')
    assert (float(said['--x']), float(said['--y'])) == (0.05, 0.02)
    launched = launcher.launch('nav2_camera', robot='turtlebot4', params_file=path, camera_x='0.1')
    settings = depth_settings(node_of(ros, launched))
    assert (settings.camera_x, settings.camera_y) == (0.1, 0.02)
    path = write_params(tmp_path, camera_y=0.25)
    wide = {'robot': 'turtlebot4', 'robot_radius': '0.4', 'params_file': path}
    settings = depth_settings(node_of(ros, launcher.launch('nav2_camera', **wide)))
    assert settings.camera_y == 0.25


def test_a_lens_above_the_origin_of_a_turtlebot_is_said_by_an_argument(ros, launcher):
    launched = launcher.launch('nav2_camera', robot='turtlebot3', camera_x='0.0')
    settings = depth_settings(node_of(ros, launched))
    assert (settings.camera_x, settings.camera_y) == (0.0, 0.0)
    assert settings.body_frame == 'base_footprint'


def test_what_nobody_has_said_of_the_robot_is_left_to_the_parameter_file(ros, launcher, tmp_path):
    values = {'camera_x': 0.12, 'obstacles.robot_width': 0.7, 'max_rate': 2.0}
    values |= {'body_frame': 'below', 'camera_height': 0.4}
    path = write_params(tmp_path, **values)
    settings = depth_settings(node_of(ros, launcher.launch('nav2_camera', params_file=path)))
    assert (settings.camera_x, settings.obstacles.robot_width) == (0.12, 0.7)
    assert (settings.body_frame, settings.camera_height) == ('below', 0.4)
    launched = launcher.launch('nav2_camera', params_file=path, robot_radius='0.1')
    settings = depth_settings(node_of(ros, launched))
    assert settings.obstacles.robot_width == DepthNodeSettings().obstacles.robot_width
    launched = launcher.launch('nav2_camera', params_file=path, robot_radius='0.4')
    settings = depth_settings(node_of(ros, launched))
    assert settings.obstacles.robot_width == pytest.approx(0.88)
    assert settings.max_rate == 2.0


@pytest.mark.parametrize('camera_y', [0.1, -0.1])
@pytest.mark.parametrize(
    ('arguments', 'in_file', 'radius'),
    [
        ({'robot_radius': '0.25'}, 0.3, 0.25),
        ({'robot': 'turtlebot3'}, 0.3, 0.24),
        ({}, 0.3, 0.18),
        ({}, 1.5, 0.18),
    ],
)
def test_the_corridor_covers_the_robot_where_the_lens_is_beside_its_middle(
    ros, launcher, tmp_path, camera_y, arguments, in_file, radius
):
    path = write_params(tmp_path, **{'obstacles.robot_width': in_file})
    launched = launcher.launch('nav2_camera', params_file=path, camera_y=str(camera_y), **arguments)
    width = depth_settings(node_of(ros, launched)).obstacles.robot_width
    assert width / 2 - abs(camera_y) >= radius
    assert width >= (in_file if not arguments else 0.0)


def test_a_body_frame_of_one_s_own_is_left_to_whoever_publishes_it(ros, launcher):
    launched = launcher.launch('nav2_camera', robot='turtlebot4', body_frame='below')
    assert depth_settings(node_of(ros, launched)).body_frame == 'below'
    assert 'transform_to_camera_floor' not in launched.calls


def test_the_optical_frame_is_published_from_the_body_frame(launcher):
    launched = launcher.launch(
        'nav2_camera', optical_frame='eye', camera_height='0.3', camera_pitch='0.1', camera_x='0.1'
    )
    said = words(launched, 'transform_to_optical_frame')
    assert (said['--frame-id'], said['--child-frame-id']) == ('camera_floor', 'eye')
    assert float(said['--z']) == 0.3
    assert words(launched, 'transform_to_camera_floor')['--child-frame-id'] == 'camera_floor'


def test_what_is_clear_is_no_wall_where_the_node_looks_less_far(launcher, tmp_path):
    """Nav2 takes a beam of +Inf for a range just below the scan's range_max."""
    range_max = 2.5
    path = write_params(tmp_path, scan={'range_max': range_max})
    theirs, out = tmp_path / 'nav2.yaml', tmp_path / 'made.yaml'
    theirs.write_text(yaml.safe_dump({'amcl': {'ros__parameters': {}}}))
    files = {'nav2_params_file': str(theirs), 'nav2_params_out': str(out)}
    launched = launcher.launch('nav2_camera', params_file=path, **files)
    assert launched.exit_code == 0, launched.output
    costmap = yaml.safe_load(out.read_text())['local_costmap']['local_costmap']
    layer = costmap['ros__parameters']['scan_layer']
    for name, least in (('scan', 2.0), ('seen_free', 2.0), ('obstacles', 2.0)):
        ends = [layer[name][key] for key in layer[name] if key.endswith('max_range')]
        assert least <= min(ends) <= max(ends) < range_max, name


@pytest.mark.parametrize(
    ('arguments', 'in_file', 'begins_m'),
    [
        ({'robot': 'turtlebot4'}, {}, 0.65),
        ({'robot': 'turtlebot3', 'camera_height': '0.4'}, {}, 1.09),
        ({'robot': 'turtlebot4', 'mounts.camera.camera_height': '0.6'}, {}, 1.64),
        ({'robot': 'turtlebot3', 'camera_pitch': '-0.15'}, {}, 0.5),
        ({'robot': 'turtlebot3', 'camera_height': '0.4', 'floor_from': '0.9'}, {}, 0.9),
        ({}, {'camera_height': 0.8, 'camera_pitch': 0.0}, 2.19),
        ({'camera_pitch': '0.2'}, {'camera_height': 0.3, 'camera_pitch': 0.0}, 0.49),
        ({'camera_height': '0.8'}, {}, 2.19),
    ],
)
def test_the_costmap_clears_no_floor_that_is_out_of_view_wherever_the_mount_is_said(
    launcher, tmp_path, arguments, in_file, begins_m
):
    """begins_m: where the floor comes into view through a narrow lens."""
    theirs, out = tmp_path / 'nav2.yaml', tmp_path / 'made.yaml'
    theirs.write_text(yaml.safe_dump({'amcl': {'ros__parameters': {}}}))
    files = {'nav2_params_file': str(theirs), 'nav2_params_out': str(out)}
    if in_file:
        files['params_file'] = write_params(tmp_path, **in_file)
    launched = launcher.launch('nav2_camera', **arguments, **files)
    assert launched.exit_code == 0, launched.output
    costmap = yaml.safe_load(out.read_text())['local_costmap']['local_costmap']
    layer = costmap['ros__parameters']['scan_layer']
    for name in ('scan', 'seen_free'):
        from_m = layer[name]['raytrace_min_range']  # along the beam
        assert from_m == pytest.approx(begins_m / math.cos(0.55), abs=0.03), name


def test_a_table_top_that_a_tall_robot_would_hit_is_not_too_high_for_the_costmap(
    launcher, tmp_path
):
    theirs, out = tmp_path / 'nav2.yaml', tmp_path / 'made.yaml'
    theirs.write_text(yaml.safe_dump({'amcl': {'ros__parameters': {}}}))
    files = {'nav2_params_file': str(theirs), 'nav2_params_out': str(out)}
    path = write_params(tmp_path, **{'obstacles.max_height': 1.4})
    launched = launcher.launch('nav2_camera', params_file=path, **files)
    assert launched.exit_code == 0, launched.output
    costmap = yaml.safe_load(out.read_text())['local_costmap']['local_costmap']
    layer = costmap['ros__parameters']['scan_layer']
    assert layer['max_obstacle_height'] > 1.4
    assert layer['obstacles']['max_obstacle_height'] > 1.4


def test_the_camera_is_added_to_the_file_of_a_robot(ros, launcher, tmp_path):
    base = {'collision_monitor': {'ros__parameters': {'observation_sources': ['scan']}}}
    theirs, out = tmp_path / 'nav2.yaml', tmp_path / 'made.yaml'
    theirs.write_text(yaml.safe_dump(base))
    launched = launcher.launch(
        'nav2_camera',
        namespace='robot',
        nav2_params_file=str(theirs),
        nav2_params_out=str(out),
    )
    # Nav2's bringup starts the monitor with that file; a second one would share its name.
    assert set(launched.calls) == {'depth_node', 'lifecycle_manager_depth'}
    assert f'params_file:={out}' in launched.output
    made = yaml.safe_load(out.read_text())
    monitor = made['collision_monitor']['ros__parameters']
    assert monitor['observation_sources'] == ['scan', 'camera_scan', 'camera_proximity']
    layer = made['local_costmap']['local_costmap']['ros__parameters']['scan_layer']
    assert layer['obstacles']['topic'] == '/robot/camera/obstacles'
    assert yaml.safe_load(theirs.read_text()) == base


def test_without_nav2_depth_node_starts_itself(ros, launcher):
    launcher.uninstall('nav2_lifecycle_manager', 'nav2_collision_monitor')
    launched = launcher.launch('nav2_camera', autostart='true', collision_monitor='false')
    assert set(launched.calls) == {'depth_node'}
    assert depth_settings(node_of(ros, launched)).autostart


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        ({'robot': 'turtlebot5'}, ['robot', 'turtlebot5', 'turtlebot4']),
        ({'robot_radius': 'wide'}, ['robot_radius:=wide', 'give a number']),
        ({'robot_radius': '-1'}, ['robot_radius is -1.0']),
        ({'nav2_params_file': '/nowhere/nav2.yaml'}, ['/nowhere/nav2.yaml', 'not a file']),
        ({'optical_frame': 'eye'}, ['optical_frame:=eye', 'camera_pitch:=']),
    ],
)
def test_a_wrong_argument_stops_the_launch_and_is_named(launcher, arguments, said):
    launched = launcher.launch('nav2_camera', **arguments)
    assert launched.exit_code == 1
    assert launched.calls == {}
    for word in said:
        assert word in launched.output


@pytest.mark.parametrize(
    ('package', 'said'),
    [
        ('nav2_lifecycle_manager', 'ros-<distribution>-nav2-lifecycle-manager'),
        ('nav2_collision_monitor', 'ros-<distribution>-nav2-collision-monitor'),
    ],
)
def test_where_nav2_is_missing_it_is_said_what_to_install(launcher, monkeypatch, package, said):
    monkeypatch.delenv('ROS_DISTRO', raising=False)
    launcher.uninstall(package)
    launched = launcher.launch('nav2_camera')
    assert launched.exit_code == 1
    assert launched.calls == {}
    assert said in launched.output


def test_the_merged_file_never_overwrites_the_robot_s(launcher, tmp_path):
    theirs = tmp_path / 'nav2.yaml'
    theirs.write_text('amcl: {ros__parameters: {}}')
    path = str(theirs)
    launched = launcher.launch('nav2_camera', nav2_params_file=path, nav2_params_out=path)
    assert launched.exit_code == 1
    assert 'would overwrite' in launched.output
    assert Path(path).read_text() == 'amcl: {ros__parameters: {}}'
