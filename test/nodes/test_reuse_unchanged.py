"""A parked robot's pictures over real DDS: when the network's last answer is used again."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from drives import odometry
from driving import DEPTH, diagnostics, header, read, set_parameter, stamp, state, values
from fakes import SceneEstimator
from geometry_msgs.msg import Quaternion, Vector3Stamped
from lifecycle_msgs.msg import State
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, Imu, LaserScan
from still_pictures import Camera, approached, scene

from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message

from .test_metric_topics import MOUNT, NETWORK, box, scene_depth

STEP_S = 0.1  # from picture to picture, by their stamps
LONGEST_S = 1.0
LEARNING = 14  # pictures
DEPTH_Z = scene_depth(box())


class OfPictures(SceneEstimator):
    """A scale of its own in every answer, and pictures are judged as for a network."""

    of_pictures = True


class Rig:
    """A depth_node that is shown pictures, each until it has been processed."""

    def __init__(self, ros, **parameters) -> None:
        self.ros, self.estimator = ros, OfPictures(DEPTH_Z)
        given = {
            'max_rate': 0.0, 'diagnostics_rate': 10.0, 'output_size': 'network',
            'reuse_unchanged': LONGEST_S, **MOUNT,
        }  # fmt: skip
        self.node = ros.make_node(
            DepthNode, lambda settings: self.estimator, parameters=given | parameters
        )
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        self._images = ros.publisher(Image, 'camera/image_raw')
        self._infos = ros.publisher(CameraInfo, 'camera/camera_info')
        self.answers = ros.collect(Image, DEPTH)
        self.now_s, self._shown_s = 100.0, 0.0
        self.informs = True  # camera_info comes with each picture
        self.asked: list[float] = []  # the stamps of pictures that the network was given

    def show(self, rgb: np.ndarray, before=lambda head: None) -> bool:
        """Whether the network was asked about this picture, 0.1 s after the last one.

        By its stamp and by the clock: stamps that run ahead of it are taken for no time at all.
        """
        time.sleep(max(0.0, self._shown_s + STEP_S - time.monotonic()))
        self._shown_s = time.monotonic()
        self.now_s = round(self.now_s + STEP_S, 3)
        head, calls, count = header(self.now_s), self.estimator.calls, self._done
        if self.informs:
            self._infos.publish(camera_info_message(NETWORK.scaled(640, 480), head))
        before(head)
        for _ in range(5):  # pictures are taken best effort
            self._images.publish(image_message(rgb, head))
            try:
                self.ros.spin_until(lambda: self._done > count, 2.0)
                break
            except AssertionError:
                continue
        assert self._done == count + 1
        asked = self.estimator.calls > calls
        if asked:
            self.asked.append(self.now_s)
        return asked

    @property
    def statistics(self):
        return self.node.cameras['camera'].statistics

    @property
    def _done(self) -> int:
        return self.statistics.counts.processed

    def status(self, wanted=lambda values: True) -> DiagnosticStatus:
        return diagnostics(self.ros, 'camera camera', lambda status: wanted(read(status)))


@pytest.fixture
def rig(ros):
    return lambda **parameters: Rig(ros, **parameters)


@pytest.fixture
def camera():
    return Camera(2.0)


LIGHT = scene()


def test_by_default_the_network_sees_every_picture(rig, camera):
    shown = rig(reuse_unchanged=0.0)
    assert all(shown.show(camera.shot(LIGHT)) for _ in range(LEARNING + 5))
    status = read(shown.status())
    assert (status['frames unchanged'], status['inferred because']) == ('0', '')


def test_a_parked_robot_has_every_output_with_new_stamps_and_asks_once_a_second(ros, rig, camera):
    shown = rig()
    scans = ros.collect(LaserScan, 'camera/scan')
    near = ros.collect(Vector3Stamped, 'camera/closeness')
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    shown.asked.clear()
    began_s, clock_s = shown.now_s, time.monotonic()
    for _ in range(40):
        shown.show(camera.shot(LIGHT))
    # A busy computer is slower than the stamps, and an answer is as old as either says.
    assert 3 <= len(shown.asked) <= 2 * (time.monotonic() - clock_s) / LONGEST_S
    for before, after in zip(shown.asked, shown.asked[1:], strict=False):
        assert after - before <= LONGEST_S + STEP_S + 1e-6, 'the upper limit'
    wanted = {round(began_s + STEP_S * (number + 1), 3) for number in range(40)}
    for name, messages in (('answer', shown.answers), ('scan', scans), ('closeness', near)):
        ros.spin_until(lambda m=messages: {stamp(each) for each in m} >= wanted, what=name)
    answers = {stamp(each): values(each) for each in shown.answers}
    last = None
    for moment in sorted(wanted):
        if moment not in shown.asked and last is not None:
            np.testing.assert_array_equal(answers[moment], last)
        elif last is not None:
            assert not np.array_equal(answers[moment], last)
        last = answers[moment]
    unchanged = shown.statistics.unchanged
    assert unchanged == LEARNING + 40 - shown.estimator.calls
    status = read(shown.status(lambda v: v['frames unchanged'] == str(unchanged)))
    assert status['scale'] == 'valid'


def test_a_slow_approach_is_noticed_and_so_is_what_is_made_of_it(rig, camera):
    shown = rig(reuse_unchanged=10.0)
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    assert not shown.show(camera.shot(LIGHT))
    shown.asked.clear()
    for number in range(30):  # 0.2 % a second
        shown.show(camera.shot(approached(LIGHT, 1 + 0.0002 * number)))
    assert len(shown.asked) >= 3
    assert shown.statistics.unchanged > 0


def test_what_moves_is_given_to_the_network_at_once_and_every_time(rig, camera):
    shown = rig(reuse_unchanged=10.0)
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    for number in range(1, 8):
        moved = LIGHT.copy()
        moved[300:330, 100 + 5 * number : 115 + 5 * number] += 50
        assert shown.show(camera.shot(moved))
    status = read(shown.status(lambda v: 'changed' in v['inferred because']))
    assert status['inferred because'] == 'the picture has changed'


def test_a_frozen_camera_never_looks_alive(rig, camera):
    shown = rig(reuse_unchanged=10.0, frozen_after=1.0)
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    stuck = [camera.shot(LIGHT) for _ in range(3)]  # three buffers that are sent in turn
    shown.show(stuck[0]), shown.show(stuck[1]), shown.show(stuck[2])
    before = shown.statistics.unchanged
    for number in range(20):
        assert shown.show(stuck[number % 3])
    assert shown.statistics.unchanged == before
    status = shown.status(lambda v: 'frozen' in v['picture'])
    assert status.level == DiagnosticStatus.ERROR


def test_a_blind_picture_is_judged_although_the_last_one_was_good(ros, rig, camera):
    shown = rig(reuse_unchanged=10.0)
    near = ros.collect(Vector3Stamped, 'camera/closeness')
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    assert not shown.show(camera.shot(LIGHT))
    assert shown.show(camera.shot(0.02 * LIGHT))
    ros.spin_until(lambda: stamp(near[-1]) == shown.now_s)
    assert math.isnan(near[-1].vector.y)


def test_odometry_must_say_that_the_robot_stands(ros, rig, camera):
    shown = rig(reuse_unchanged=10.0, **{'odometry.topic': 'odom', 'odometry.max_age': 0.05})
    wheels = ros.publisher(Odometry, 'odom')

    def drive(x_m: float):
        def say(head):
            wheels.publish(odometry(shown.now_s, x_m))
            ros.spin_for(0.05)

        return say

    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT), drive(0.0))
    assert not any(shown.show(camera.shot(LIGHT), drive(0.0)) for _ in range(4))
    # The picture is the same, as of a wall far away; the wheels know better.
    assert all(shown.show(camera.shot(LIGHT), drive(0.02 * step)) for step in range(1, 6))
    assert 'moved' in shown.node.cameras['camera'].last_answer.reason
    assert not shown.show(camera.shot(LIGHT), drive(0.1))
    assert shown.show(camera.shot(LIGHT)), 'nobody says where the robot is'
    assert 'odom' in shown.node.cameras['camera'].last_answer.reason


def test_an_imu_must_say_that_the_robot_is_level(ros, rig, camera):
    shown = rig(reuse_unchanged=10.0, imu_topic='imu')
    imu = ros.publisher(Imu, 'imu')

    def tilt(pitch: float):
        def say(head):
            message = Imu(header=head)
            message.orientation = Quaternion(w=math.cos(pitch / 2), y=math.sin(pitch / 2))
            imu.publish(message)
            ros.spin_for(0.05)

        return say

    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT), tilt(0.0))
    assert not shown.show(camera.shot(LIGHT), tilt(0.001))
    assert shown.show(camera.shot(LIGHT), tilt(0.02))
    assert 'tilted' in shown.node.cameras['camera'].last_answer.reason


def test_it_is_switched_while_the_node_runs(ros, rig, camera):
    shown = rig()
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    assert not all(shown.show(camera.shot(LIGHT)) for _ in range(3))
    assert set_parameter(ros, 'reuse_unchanged', 0.0)[0]
    assert all(shown.show(camera.shot(LIGHT)) for _ in range(4))
    assert not set_parameter(ros, 'reuse_unchanged', 60.0)[0]


def test_a_reference_sensor_is_compared_with_every_picture(ros, rig, camera):
    """Under auto it may contradict the floor at any time, and each answer counts there."""
    shown = rig(reuse_unchanged=10.0)
    lidar = ros.publisher(LaserScan, 'camera/reference/scan')

    def measure(head):
        scan = LaserScan(header=header(shown.now_s, 'base_link'))
        scan.angle_min, scan.angle_increment, scan.range_max = -0.5, 0.01, 20.0
        scan.angle_max, scan.ranges = 0.5, [1.7] * 101
        lidar.publish(scan)
        ros.spin_for(0.05)

    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    assert not all(shown.show(camera.shot(LIGHT)) for _ in range(3))
    shown.show(camera.shot(LIGHT), measure)
    assert all(shown.show(camera.shot(LIGHT), measure) for _ in range(4))
    assert 'reference sensor' in shown.node.cameras['camera'].last_answer.reason


def test_metres_and_scan_of_a_repeated_answer_are_those_of_the_answer(ros, rig, camera):
    """Each new answer has another scale and shift; metres agree, and say when they are of."""
    shown = rig(reuse_unchanged=10.0)
    depth = ros.collect(Image, 'camera/depth/image')
    sigma = ros.collect(Image, 'camera/depth/sigma')
    scans = ros.collect(LaserScan, 'camera/scan')
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    assert not any(shown.show(camera.shot(LIGHT)) for _ in range(6))
    for messages in (depth, sigma, scans):
        ros.spin_until(lambda m=messages: stamp(m[-1]) == shown.now_s)
        assert [stamp(m) for m in messages[-3:]] == pytest.approx(
            [shown.now_s - 2 * STEP_S, shown.now_s - STEP_S, shown.now_s]
        )
    for messages in (depth, sigma):
        np.testing.assert_array_equal(values(messages[-1]), values(messages[-3]))
    np.testing.assert_array_equal(scans[-1].ranges, scans[-3].ranges)
    known = np.isfinite(values(depth[-1])) & (DEPTH_Z < 8)
    assert np.abs(values(depth[-1])[known] / DEPTH_Z[known] - 1).max() < 0.03


@pytest.mark.sampled
@pytest.mark.parametrize(
    'parameters',
    [{}, {'rotate': 180}, {'horizontal_fov': 1.2}],
    ids=['camera_info', 'turned', 'field of view alone'],
)
def test_what_is_said_again_is_no_new_evidence_however_the_camera_is_known(
    ros, rig, camera, parameters
):
    shown = rig(**parameters)
    ros.collect(LaserScan, 'camera/scan')
    shown.informs = 'horizontal_fov' not in parameters
    for _ in range(LEARNING):
        shown.show(camera.shot(LIGHT))
    (scale,) = [each.metric.scale for each in shown.node.cameras.values()]
    found = [(shown.show(camera.shot(LIGHT)), scale.repeats) for _ in range(12)]
    assert {repeats for asked, repeats in found if not asked} == {True}
    assert {repeats for asked, repeats in found if asked} <= {False}
