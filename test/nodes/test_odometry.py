"""Metres from the robot's own motion, over real DDS: alone, with the floor, and against it."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from drives import (
    CAMERA,
    FLOOR,
    HEIGHT_M,
    MOUNT,
    PITCH_RAD,
    ROOM,
    WALL,
    ExactEstimator,
    Showing,
    Step,
    drive,
    odometry,
    stand,
    view,
)
from driving import change, diagnostics, header, read, set_parameter, state, values
from geometry_msgs.msg import Quaternion, Vector3Stamped
from lifecycle_msgs.msg import State, Transition
from nav_msgs.msg import Odometry
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image, Imu, LaserScan
from std_srvs.srv import Trigger

from midas_depth_ros.images import stamp_ns
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.nodes.bag.pipeline import BagPipeline
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import Box, Material, Pose, Scene, render

OURS = {
    'odometry.topic': 'odom',
    'picture_check': False,
    'frozen_after': 0.0,
    'obstacles.persistence': 1,
    'output_size': 'network',
    'diagnostics_rate': 10.0,
    'process_every_frame': True,  # pictures come faster than their stamps say
    'scale.time_constant': 0.0,
}


class Rig(Showing):
    """A depth_node, what drives it, and what it says."""

    def __init__(self, ros, exact: ExactEstimator | None = None, **parameters) -> None:
        exact = exact or ExactEstimator()
        parameters = {**OURS, **parameters}
        self.node = ros.make_node(DepthNode, lambda settings: exact, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        super().__init__(ros, exact)
        self.wheels = ros.publisher(Odometry, 'odom') if parameters['odometry.topic'] else None
        ros.spin_until(lambda: self.images.get_subscription_count() > 0)

    def go(
        self,
        steps: list[Step],
        pitch_rad: float = PITCH_RAD,
        silent: bool = False,
        settle_s: float = 0.3,
    ) -> list:
        """Show the pictures of these steps; returns the metres by true metres, by stamp."""
        before = len(self.depth)
        for step in steps:
            if self.wheels is not None and not silent:
                # As wheels do: more often than pictures, and up to beyond the picture.
                self.wheels.publish(odometry(step.stamp_s, step.said_m, step.yaw_rad))
            self.show(step.stamp_s, view(step.x_m, step.yaw_rad, pitch_rad))
        self.ros.spin_for(settle_s)
        return [self.ratio(message) for message in self.depth[before:]]

    def told(self, predicate) -> dict[str, str]:
        """The camera's diagnostics that fulfil the predicate."""
        return read(diagnostics(self.ros, 'camera camera', lambda s: predicate(read(s))))


@pytest.fixture
def rig(ros):
    return lambda **parameters: Rig(ros, **parameters)


def test_odometry_alone_gives_metres_without_a_ruler(rig):
    """No height, no floor: only the pitch, and how far the wheels have rolled."""
    robot = rig(**{'scale.source': 'odometry', 'camera_pitch': PITCH_RAD})
    scans = robot.ros.collect(LaserScan, 'camera/scan')
    ratios = robot.go(drive(2.0))
    assert len(ratios) > 15
    assert np.abs(np.array(ratios) - 1).max() < 0.12
    assert float(np.median(ratios)) == pytest.approx(1, abs=0.04)
    status = robot.told(lambda v: v['scale'] == 'valid')
    assert status['scale source'] == 'odometry'
    # The floor in these metres shows how high the lens is: obstacles follow without a ruler.
    carton_m = 3.3 - 0.175 - drive(2.0)[-1].x_m
    angles = scans[-1].angle_min + scans[-1].angle_increment * np.arange(len(scans[-1].ranges))
    ahead = np.array(scans[-1].ranges)[np.abs(angles - math.atan2(0.2, carton_m)) < 0.04]
    assert float(np.nanmedian(ahead)) == pytest.approx(carton_m, rel=0.1)
    assert status['odometry'] in ('interpolated', 'continued by 0.000 s')
    assert float(status['camera pitch by motion']) == pytest.approx(PITCH_RAD, abs=0.02)


def test_standing_still_has_no_metres_for_longer_than_the_expiry_and_says_why(rig):
    robot = rig(**{'scale.source': 'odometry', 'scale.expiry': 0.5, **MOUNT})
    steps = drive(1.5)
    assert robot.go(steps)
    standing = stand(steps[-1], 2.5)
    robot.go(standing[:17])
    assert robot.go(standing[17:]) == []
    status = robot.told(lambda v: 'the robot stands' in v['scale'])
    assert status['scale'].startswith('none: the robot stands')


def test_the_floor_and_the_odometry_agree(rig):
    robot = rig(**MOUNT)
    ratios = robot.go(drive(2.0))
    assert len(ratios) > 15
    assert np.abs(np.array(ratios) - 1).max() < 0.08
    status = robot.told(lambda v: v.get('scale source') == 'ground+odometry')
    assert status['sources'] == 'ground+odometry agree'
    assert float(status['the floor by the odometry']) == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize('slip', [0.2, pytest.param(-0.2, marks=pytest.mark.thorough)])
def test_a_slip_is_never_metres_where_the_floor_is_in_view(rig, slip):
    robot = rig(**MOUNT)
    good = drive(1.2)
    robot.go(good)
    last = good[-1]
    bad = drive(2.0, slip, last.stamp_s + 0.1, last.x_m + 0.04, last.said_m + 0.04 * (1 + slip))
    ratios = robot.go(bad)
    assert all(abs(ratio - 1) < 0.1 for ratio in ratios)  # at most the floor's own, at first
    assert len(ratios) < len(bad) / 2
    status = robot.told(lambda v: v['scale'].startswith('none: the floor says '))
    assert 'the odometry' in status['scale']
    assert 'wheel slip' in status['scale']
    # It is held while the robot stands, and ends when both agree again.
    standing = stand(bad[-1], 2.0)
    assert robot.go(standing) == []
    status = robot.told(lambda v: 'and held until they agree' in v['scale'])
    last = standing[-1]
    again = drive(3.5, 0.0, last.stamp_s + 0.1, last.x_m, last.said_m)
    assert robot.go(again)
    robot.told(lambda v: v['scale'] == 'valid')


@pytest.mark.sampled
@pytest.mark.parametrize(
    ('parameters', 'found'),
    [
        ({'odometry.topic': '', 'scale.floor_motion': True}, True),
        ({'scale.source': 'ground_plane', 'scale.floor_motion': True}, True),
        ({'scale.floor_motion': True}, True),  # of an odometry that says nothing
        ({'odometry.topic': ''}, False),  # as by default
    ],
)
def test_a_lower_floor_ahead_is_seen_by_how_it_moves_where_no_odometry_is_asked(
    rig, parameters, found
):
    robot = rig(**{**MOUNT, **parameters})
    platform = Box(-2.0, 0.0, 4.0, 4.0, 0.2, 0.0, material=WALL)
    scene = Scene(FLOOR, ROOM, (platform,))
    reasons = set()
    for number in range(14):
        pose = Pose(-1.5 + 0.08 * number, 0.3, 0.2 + HEIGHT_M, 0.0, PITCH_RAD)
        robot.show(100.0 + 0.2 * number, render(scene, CAMERA, pose))
        said = robot.told(lambda values: 'scale' in values)
        reasons.add('an edge or a step down' in said['scale'])
    assert (True in reasons) == found


@pytest.mark.sampled
@pytest.mark.parametrize('source', ['odometry', 'auto'])
def test_corners_below_the_floor_are_an_edge_and_withdraw_the_last_scan(rig, source):
    robot = rig(**{**MOUNT, 'scale.source': source})
    scans = robot.ros.collect(LaserScan, 'camera/scan')
    platform = Box(-2.0, 0.0, 4.0, 4.0, 0.3, 0.0, material=WALL)
    lower = Material((0.6, 0.58, 0.5), 'checker', (0.35, 0.35))
    scene, said = Scene(lower, ROOM, (platform,)), set()
    for number in range(24):
        x_m, stamp_s = -1.5 + 0.05 * number, 100.0 + 0.2 * number
        robot.wheels.publish(odometry(stamp_s, x_m + 1.5, 0.0))
        pose = Pose(x_m, 0.3, 0.3 + HEIGHT_M, 0.0, PITCH_RAD)
        robot.show(stamp_s, render(scene, CAMERA, pose))
        said.add(robot.told(lambda values: 'scale' in values)['scale'])
    assert any('below the floor: an edge or a step down' in each for each in said)
    robot.ros.spin_for(0.3)
    assert np.isnan(scans[-1].ranges).all()


def test_a_contradiction_withdraws_the_last_scan(rig):
    """Who drives by the last scan must not do so until it is too old."""
    robot = rig(**MOUNT)
    scans = robot.ros.collect(LaserScan, 'camera/scan')
    seen = robot.ros.collect(LaserScan, 'camera/seen_free')
    good = drive(1.2)
    robot.go(good)
    known = [scan for scan in scans if not np.isnan(scan.ranges).all()]
    assert known
    last = good[-1]
    bad = drive(3.0, 0.3, last.stamp_s + 0.1, last.x_m + 0.04, last.said_m + 0.052)
    robot.go(bad)
    robot.told(lambda v: v['scale'].startswith('none: the floor says '))
    stamps = [stamp_ns(scan.header) / 1e9 for scan in scans]
    nothing = [number for number, scan in enumerate(scans) if np.isnan(scan.ranges).all()]
    assert nothing
    first = nothing[0]
    assert len(scans) == first + len(nothing)  # the last ones
    assert stamps[-1] <= stamps[first - 1] + DepthNodeSettings().scale.expiry + 1e-6
    for scan in scans[first:]:
        (free,) = (each for each in seen if each.header.stamp == scan.header.stamp)
        assert set(free.ranges) == {0.0}
        for each in (scan, free):
            assert len(each.ranges) == len(known[-1].ranges)
            assert each.angle_min == known[-1].angle_min
            assert each.header.frame_id == known[-1].header.frame_id


def test_a_ramp_that_deceives_the_floor_is_silence(rig):
    """The camera looks 5 degrees lower than the parameters say, as before a ramp down."""
    robot = rig(camera_height=MOUNT['camera_height'], camera_pitch=PITCH_RAD - 0.08)
    ratios = robot.go(drive(3.0))
    assert all(abs(ratio - 1) < 0.1 for ratio in ratios[5:])


def test_the_floor_alone_carries_while_odometry_is_silent(rig):
    robot = rig(**MOUNT)
    ratios = robot.go(drive(1.0), silent=True)
    assert len(ratios) > 5
    status = robot.told(lambda v: v['scale'] == 'valid')
    assert status['scale source'] == 'ground'
    assert status['odometry'].startswith('none: no odometry from odom')
    assert status['says the odometry'].startswith('nothing: no odometry from odom')


def test_two_publishers_of_odometry_are_none(rig, ros):
    robot = rig(**{'scale.source': 'odometry', **MOUNT})
    ros.make_node('other').create_publisher(Odometry, 'odom', 10)
    ros.spin_until(lambda: ros.node.count_publishers('odom') == 2)
    assert robot.go(drive(1.5)) == []
    status = robot.told(lambda v: '2 publishers on /odom' in v['scale'])
    assert 'their poses are mixed' in status['scale']


def test_the_least_baseline_may_change_while_the_node_runs(rig):
    robot = rig(**{'scale.source': 'odometry', **MOUNT})
    assert set_parameter(robot.ros, 'odometry.min_baseline', 3.0) == (True, '')
    assert robot.go(drive(1.0)) == []
    robot.told(lambda v: '3 m are needed (odometry.min_baseline)' in v['scale'])


def test_a_jump_of_odometry_begins_anew(rig):
    robot = rig(**{'scale.source': 'odometry', **MOUNT})
    first = drive(1.5)
    robot.go(first)
    last = first[-1]
    ratios = robot.go(drive(1.5, 0.0, last.stamp_s + 0.1, last.x_m + 0.04, -7.0))
    assert len(ratios) > 5
    assert np.abs(np.array(ratios) - 1).max() < 0.12


class Seeing(ExactEstimator):
    """Judged by its pictures: a black one is blind."""

    of_pictures = True

    def infer(self, rgb):
        return super().infer(rgb) if rgb.any() else np.ones(rgb.shape[:2], np.float32)


@pytest.mark.parametrize('unseen', ['blind', 'unwanted'])
@pytest.mark.parametrize('jump_m', [0.2, 1.0])
def test_a_jump_is_not_forgotten_in_a_frame_that_is_blind_or_that_nobody_wants(
    rig, ros, unseen, jump_m
):
    parameters = {'picture_check': unseen == 'blind', 'scale.expiry': 0.3}
    robot = rig(exact=Seeing(), **{'scale.source': 'odometry', **parameters, **MOUNT})
    closeness = ros.collect(Vector3Stamped, 'camera/closeness')
    (reader,) = (s for s in ros.node.subscriptions if s.topic_name == '/camera/depth/image')
    steps, jumped = drive(3.0), 18
    for number, step in enumerate(steps):
        before = steps[max(number - 1, 0)]
        for share in np.arange(0.2, 1.01, 0.2):  # wheels at 50 Hz
            far = number > jumped or (number == jumped and share > 0.5)
            said_m = before.said_m + share * (step.said_m - before.said_m) + jump_m * far
            stamp_s = before.stamp_s + share * (step.stamp_s - before.stamp_s)
            robot.wheels.publish(odometry(stamp_s, said_m))
        ros.spin_for(0.03)
        if number == jumped - 1 and unseen == 'unwanted':
            ros.node.destroy_subscription(reader)
            ros.spin_for(0.3)
        if number == jumped and unseen == 'blind':
            dark = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
            count = len(closeness)
            robot.images.publish(image_message(dark, header(step.stamp_s)))
            ros.spin_until(lambda count=count: len(closeness) > count)
            continue
        if number == jumped + 2 and unseen == 'unwanted':
            robot.depth = ros.collect(Image, 'camera/depth/image')
            ros.spin_for(0.3)
        robot.show(step.stamp_s, view(step.x_m, 0.0, PITCH_RAD))
    ros.spin_for(0.3)
    after = [m for m in robot.depth if stamp_ns(m.header) / 1e9 > steps[jumped].stamp_s]
    assert len(after) > 3
    assert np.abs(np.array([robot.ratio(message) for message in after]) - 1).max() < 0.12


def test_an_unknown_pitch_is_said_with_the_remedy(rig):
    robot = rig(**{'scale.source': 'odometry', 'camera_height': 0.3})
    assert robot.go(drive(1.0)) == []
    status = robot.told(lambda v: 'camera_pitch is not set' in v['scale'])
    assert '~/calibrate_pitch' in status['scale']


def test_odometry_without_a_topic_is_refused_and_the_node_lives_on(ros, log_lines):
    parameters = {'scale.source': 'odometry', 'autostart': False}
    ros.make_node(DepthNode, lambda settings: ExactEstimator(), parameters=parameters)
    assert not change(ros, Transition.TRANSITION_CONFIGURE)
    assert state(ros) == State.PRIMARY_STATE_UNCONFIGURED
    assert any('nothing says where it comes from' in line for line in log_lines())


def test_a_lidar_takes_part_in_auto_when_it_speaks(rig, ros):
    robot = rig(**{'odometry.topic': '', 'reference.z': 0.3, **MOUNT})
    lidar = ros.publisher(LaserScan, 'camera/reference/scan')
    assert robot.go(drive(0.5))
    assert robot.told(lambda v: v['scale'] == 'valid')['scale source'] == 'ground'
    stamps = [100.5 + i / 10 for i in range(10)]

    def scan(stamp_s: float, factor: float) -> LaserScan:
        # The end wall 6 m ahead, from 0.2 m; beams within 0.1 rad of straight ahead.
        angles = np.linspace(-0.3, 0.3, 61)
        ranges = [factor * r for r in _beams(angles)]
        return LaserScan(
            header=header(stamp_s, 'laser'), angle_min=-0.3, angle_max=0.3,
            angle_increment=0.01, range_min=0.05, range_max=20.0, ranges=ranges,
        )  # fmt: skip

    for stamp_s in stamps:
        lidar.publish(scan(stamp_s, 1.0))
        ros.spin_for(0.03)
        robot.go([Step(stamp_s, 0.2, 0.2)], settle_s=0.02)
    status = robot.told(lambda v: v.get('scale source') == 'ground+reference')
    assert status['says the laser scan']
    before = len(robot.depth)
    for stamp_s in (102 + i / 10 for i in range(10)):
        lidar.publish(scan(stamp_s, 1.4))
        ros.spin_for(0.03)
        robot.go([Step(stamp_s, 0.2, 0.2)], settle_s=0.02)
    status = robot.told(lambda v: 'the laser scan' in v['scale'])
    assert status['scale'].startswith('none: the floor says')
    assert len(robot.depth) <= before + 1


def _beams(angles: np.ndarray) -> list[float]:
    """Ranges of a lidar at the lens, 0.2 m along, from the rendered depth of its row."""
    depth_z = view(0.2).depth_z
    ranges = []
    for angle in angles:
        # A level beam at the lens's height: it appears where the horizon is.
        x, y = -math.tan(angle) / math.cos(PITCH_RAD), -math.tan(PITCH_RAD)
        u = round(CAMERA.fx * x + CAMERA.cx)
        v = round(CAMERA.fy * y + CAMERA.cy)
        z = depth_z[v, u]
        ranges.append(float(z / math.cos(PITCH_RAD) / math.cos(angle)))
    return ranges


# --- How the camera is pitched, by the way it drives.


def calibrated(robot, steps, before=lambda step: None) -> tuple[bool, str]:
    """The answer of ~/calibrate_pitch, called before the robot goes these steps."""
    client = robot.ros.node.create_client(Trigger, 'depth_node/calibrate_pitch')
    robot.ros.spin_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    for step in steps:
        before(step)
        robot.go([step], settle_s=0.0)
        if future.done():
            break
    robot.ros.spin_until(future.done, 40.0, what='the answer')
    answer = future.result()
    return answer.success, answer.message


def test_calibrate_pitch_finds_pitch_roll_and_height_by_driving(rig):
    """No hall, no ruler: nothing is known but how far the wheels have rolled."""
    robot = rig()
    good, text = calibrated(robot, drive(4.0))
    assert good, text
    found = dict(re.findall(r'(camera_\w+): (-?\d+\.\d+)', text))
    assert float(found['camera_pitch']) == pytest.approx(PITCH_RAD, abs=0.012)
    assert float(found['camera_roll']) == pytest.approx(0.0, abs=0.02)
    assert float(found['camera_height']) == pytest.approx(MOUNT['camera_height'], rel=0.06)
    assert 'by the way that the robot has driven' in text


def test_calibrate_pitch_by_driving_leaves_out_the_tilt_that_an_imu_measures(rig):
    """Else what is written down would count twice, since the Imu adds it in every frame."""
    lean = 0.06  # the Imu says that the robot leans forward all the time
    robot = rig(imu_topic='imu')
    imu = robot.ros.publisher(Imu, 'imu')
    tilted = Quaternion(w=math.cos(lean / 2), y=math.sin(lean / 2))

    def hear(step):
        for late_s in (-0.05, 0.0, 0.05):
            imu.publish(Imu(header=header(step.stamp_s + late_s), orientation=tilted))
        robot.ros.spin_for(0.02)

    good, text = calibrated(robot, drive(4.0), hear)
    assert good, text
    found = float(re.search(r'camera_pitch: (-?\d+\.\d+)', text)[1])
    assert found == pytest.approx(PITCH_RAD - lean, abs=0.012)
    assert 'by the way that the robot has driven' in text


def test_calibrate_pitch_takes_no_jump_of_odometry_for_way(rig):
    """A base board restarts: its odometry begins anew while its Imu is silent."""
    robot = rig(imu_topic='imu')
    imu = robot.ros.publisher(Imu, 'imu')
    steps, at = drive(4.0), 9
    jump_m = steps[at].said_m + 5.0
    steps[at:] = [dataclasses.replace(step, said_m=step.said_m - jump_m) for step in steps[at:]]
    silent = [step.stamp_s for step in steps[at - 1 : at + 4]]

    def hear(step: Step) -> None:
        if step.stamp_s not in silent:
            for late_s in (-0.05, 0.0, 0.05):
                head = header(step.stamp_s + late_s)
                imu.publish(Imu(header=head, orientation=Quaternion(w=1.0)))
            robot.ros.spin_for(0.02)

    good, text = calibrated(robot, steps, hear)
    assert good, text
    assert float(re.search(r'\((\d+\.\d+) m: the focus', text)[1]) < 3.0, text


def test_calibrate_pitch_of_a_robot_that_stands_looks_at_the_floor(rig):
    robot = rig()
    good, text = calibrated(robot, stand(Step(99.9, 0.0, 0.0), 4.0))
    assert good, text
    assert 'assuming that the farthest thing in view is infinitely far away' in text
    assert 'for more certainty call this while the robot drives' in text


def test_a_pitch_that_the_way_refutes_is_a_warning(rig):
    wrong = PITCH_RAD + 0.07
    robot = rig(**{'scale.source': 'odometry', 'camera_height': 0.3, 'camera_pitch': wrong})
    robot.go(drive(2.0))
    status = diagnostics(robot.ros, 'camera camera', lambda s: 'camera_pitch is wrong' in s.message)
    assert status.level == DiagnosticStatus.WARN
    said = float(re.search(r'looks down by (\d\.\d+) rad', status.message)[1])
    assert said == pytest.approx(PITCH_RAD, abs=0.02)
    assert f'not {wrong:.3f}' in status.message


def test_a_bag_gives_the_metres_that_the_node_gives(rig):
    """The same messages, over DDS and from a recording: the same depth, byte by byte."""
    robot = rig(**MOUNT)
    steps = drive(1.5)
    robot.go(steps)
    exact, said = ExactEstimator(), []
    settings = build(DepthNodeSettings, {**OURS, **MOUNT})
    camera = BagCamera('camera', '/camera/image_raw', '/camera/camera_info')
    line = BagPipeline(exact, settings, [camera], ['depth/image'], said.append, said.append)
    assert '/odom' in line.topics
    made = []
    for step in steps:
        head = header(step.stamp_s)
        for topic, message in (
            ('/odom', odometry(step.stamp_s, step.said_m)),
            (camera.info, camera_info_message(CAMERA, head)),
            (camera.image, image_message(exact.show(view(step.x_m)), head)),
        ):
            kind = type(message)
            name = f'{kind.__module__.partition(".")[0]}/msg/{kind.__name__}'
            data = bytes(serialize_message(message))
            made += line.process(Recorded(topic, name, stamp_ns(head), data))
    assert not said
    assert [stamp_ns(m.header) for _, m in made] == [stamp_ns(m.header) for m in robot.depth]
    for (_, bagged), live in zip(made, robot.depth, strict=True):
        np.testing.assert_array_equal(values(bagged), values(live))
    assert line.camera_counts[0].in_metres == len(made) > 10
