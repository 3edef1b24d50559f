"""Two cameras on one topic, over DDS: a scale of a mixed scene is refused, and comes back."""

from __future__ import annotations

import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from driving import header, read, state
from fakes import SceneEstimator
from geometry_msgs.msg import Quaternion, Vector3Stamped
from lifecycle_msgs.msg import State
from sensor_msgs.msg import CameraInfo, Image, Imu, LaserScan, Range

from midas_depth_ros.nodes.depth.calibration import (
    CALM_INFOS,
    FORGOTTEN,
    CameraInfoChanges,
)
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.depth.stamps import GONE_S, SURE_S, TURNS_S, PublisherWatch
from midas_depth_ros.nodes.ros.messages import image_message

from .test_metric_topics import BOX_M, MOUNT, PICTURE, RGB, box, diagnostics, scene_depth
from .test_metric_topics import camera_info_message as info_message

METRIC = {'scan': LaserScan, 'proximity': Range, 'depth/image': Image, 'seen_free': LaserScan}


class Cameras:
    """A depth_node that sees a scene, and whoever publishes on its image topic."""

    def __init__(self, ros, **parameters) -> None:
        self.ros = ros
        estimator = SceneEstimator(scene_depth(box()))
        parameters = {'diagnostics_rate': 10.0, 'max_rate': 0.0, **MOUNT, **parameters}
        ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        self.infos = ros.publisher(CameraInfo, 'camera/camera_info')
        self.metres = {name: ros.collect(kind, f'camera/{name}') for name, kind in METRIC.items()}
        self.closeness = ros.collect(Vector3Stamped, 'camera/closeness')
        self.before = lambda head: None  # with the header of each picture
        self._moments = (100 + number / 10 for number in itertools.count())

    def publisher(self, name: str, known: bool = False, kind=Image, topic='camera/image_raw'):
        """Another camera: a publisher of a node of this name, which there is or is not."""
        node = self.ros.node if known else self.ros.make_node(name)
        publisher = node.create_publisher(kind, topic, 10)
        self.ros.spin_until(publisher.get_subscription_count, what='the depth node')
        return publisher

    def end(self, publisher) -> None:
        """Take a publisher away, in the thread that spins its node."""
        node = next(
            node for node in self.ros.executor.get_nodes() if publisher in list(node.publishers)
        )
        topic, left = publisher.topic, self.ros.node.count_publishers(publisher.topic) - 1
        self.ros.executor.create_task(node.destroy_publisher, publisher)
        self.ros.spin_until(lambda: self.ros.node.count_publishers(topic) == left, what='its end')

    def send(self, *publishers, count: int = 1) -> None:
        """A picture of each in turn, so many times."""
        for _ in range(count):
            for publisher in publishers:
                head = header(next(self._moments))
                self.before(head)
                self.infos.publish(info_message(PICTURE, head))
                publisher.publish(image_message(RGB, head))
                self.ros.spin_for(0.03)

    def send_until_metres(self, *publishers) -> None:
        """Go on until each metric topic has said something more."""
        counts = {name: len(messages) for name, messages in self.metres.items()}

        def more() -> bool:
            self.send(*publishers)
            return all(len(self.metres[name]) > count for name, count in counts.items())

        self.ros.spin_until(more, what='metres')

    def silent(self, *publishers) -> None:
        """See that nothing in metres comes of many pictures, but that closeness goes on."""
        self.send(*publishers, count=3)  # what was under way
        self.ros.spin_for(0.3)
        counts, near = {name: len(each) for name, each in self.metres.items()}, len(self.closeness)
        self.send(*publishers, count=30)
        self.ros.spin_for(0.3)
        assert {name: len(each) for name, each in self.metres.items()} == counts
        assert len(self.closeness) > near + 10


@pytest.mark.parametrize('same_node', [False, True])
def test_metres_of_two_publishers_are_refused_until_one_is_gone(ros, same_node):
    cameras = Cameras(ros)
    one = cameras.publisher('one_camera')
    cameras.send_until_metres(one)
    two = cameras.publisher('one_camera' if same_node else 'another_camera', known=same_node)
    names = ('/one_camera', '/test_peer' if same_node else '/another_camera')
    if same_node:
        three = ros.node.create_publisher(Image, 'camera/image_raw', 10)
        ros.spin_until(three.get_subscription_count)
        cameras.end(one)
        one, names = three, ('/test_peer, /test_peer',)
    cameras.silent(one, two)
    status = diagnostics(ros, 'camera camera', lambda s: '2 publishers' in read(s)['scale'])
    assert status.level == DiagnosticStatus.WARN
    for name in names:
        assert name in read(status)['scale']
        assert name in status.message
    cameras.end(two)
    cameras.send_until_metres(one)
    diagnostics(ros, 'camera camera', lambda s: read(s)['scale'] == 'valid')


@pytest.mark.thorough
@pytest.mark.parametrize('rates', [(1, 7), (7, 1)])
def test_a_publisher_that_seldom_sends_counts_too(ros, rates):
    cameras = Cameras(ros)
    one, two = cameras.publisher('one_camera'), cameras.publisher('another_camera')
    cameras.silent(*[one] * rates[0], *[two] * rates[1])


def test_a_publisher_that_is_idle_mixes_nothing_until_it_begins(ros):
    """Not even its first picture is measured by."""
    cameras = Cameras(ros)
    one, two = cameras.publisher('one_camera'), cameras.publisher('another_camera')
    cameras.send_until_metres(one)
    ros.spin_for(0.3)
    count = len(cameras.metres['scan'])
    cameras.send(two)
    ros.spin_for(0.5)
    assert len(cameras.metres['scan']) == count
    cameras.silent(one, two)


def test_no_old_scale_serves_while_there_are_two(ros):
    """Between two fits that agree an older scale would be taken for a second."""
    cameras = Cameras(ros, **{'scale.expiry': 60.0})
    one = cameras.publisher('one_camera')
    cameras.send_until_metres(one)
    cameras.silent(one, cameras.publisher('another_camera'))


def test_a_fixed_scale_is_of_one_camera_too(ros):
    cameras = Cameras(ros, **{'scale.source': 'fixed', 'scale.fixed_scale': 1.0})
    one, two = cameras.publisher('one_camera'), cameras.publisher('another_camera')
    cameras.silent(one, two)
    cameras.end(one)
    cameras.send_until_metres(two)


def test_of_a_replay_that_takes_every_frame_nothing_is_mixed_either(ros):
    cameras = Cameras(ros, process_every_frame=True)
    one, two = cameras.publisher('one_camera'), cameras.publisher('another_camera')
    cameras.silent(one, two)
    cameras.end(two)
    cameras.send_until_metres(one)


SENSORS = {
    'orientations': (Imu, 'imu', {'imu_topic': 'imu'}),
    'measurements': (LaserScan, 'camera/reference/scan', {'scale.source': 'scan'}),
}


@pytest.mark.parametrize('what', SENSORS)
def test_two_sensors_on_one_topic_are_not_taken_for_one(ros, what):
    """What an Imu or a reference says decides about metres as the picture does."""
    kind, topic, parameters = SENSORS[what]
    cameras = Cameras(ros, **parameters)
    one = cameras.publisher('one_sensor', kind=kind, topic=topic)
    two = cameras.publisher('another_sensor', kind=kind, topic=topic)
    camera = cameras.publisher('camera_driver')

    def tell(head):
        message = Imu(header=head, orientation=Quaternion(w=1.0))
        if kind is LaserScan:
            increment = 0.05
            angles = np.arange(-6, 7) * increment
            ranges = (BOX_M / np.cos(angles)).tolist()
            message = LaserScan(
                header=head, angle_min=float(angles[0]), angle_max=float(angles[-1]),
                angle_increment=increment, range_min=0.1, range_max=20.0, ranges=ranges,
            )  # fmt: skip
        one.publish(message)
        ros.spin_for(0.02)

    cameras.before = tell
    counts = {name: len(messages) for name, messages in cameras.metres.items()}
    cameras.send(camera, count=20)
    assert {name: len(messages) for name, messages in cameras.metres.items()} == counts
    status = diagnostics(ros, 'camera camera', lambda s: '2 publishers' in read(s)['scale'])
    for words in ('/one_sensor', '/another_sensor', f'their {what} are mixed'):
        assert words in read(status)['scale']
    cameras.end(two)
    if what == 'orientations':
        cameras.send_until_metres(camera)
        return
    cameras.send(camera, count=5)  # whether these points do for a scale is another matter
    status = diagnostics(ros, 'camera camera', lambda s: '2 publishers' not in read(s)['scale'])


def test_a_camera_that_is_started_again_is_not_refused(ros):
    cameras = Cameras(ros)
    for _ in range(4):
        camera = cameras.publisher('camera_driver')
        cameras.send_until_metres(camera)
        cameras.send(camera, count=5)
        node = next(each for each in ros.executor.get_nodes() if each.get_name() == 'camera_driver')
        ros.destroy(node)
    status = diagnostics(ros, 'camera camera', lambda s: 'publishers' in read(s))
    assert 'mixed' not in read(status)['last refusal']


def test_a_camera_that_was_killed_measures_again_when_it_is_started_anew(ros, tmp_path):
    """Though the middleware goes on listing the dead one for a while."""
    cameras = Cameras(ros, use_sim_time=False)
    cv2.imwrite(str(tmp_path / 'still.png'), RGB)
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.sources.image_stream', '--ros-args']
    given = {'source': tmp_path / 'still.png', 'loop': 'true', 'rate': 30.0, 'horizontal_fov': 1.2}
    for name, value in given.items():
        command += ['-p', f'{name}:={value}']
    scans = cameras.metres['scan']
    for _ in range(2):
        count = len(scans)
        with subprocess.Popen(command, env=ros.environment, cwd=tmp_path) as stream:
            try:
                ros.spin_until(lambda: len(scans) > count + 10, 60, what='scans')  # noqa: B023
            finally:
                stream.kill()


def numbered(*numbers: int, every_s: float = 0.05, publishers: int = 2) -> list[bool]:
    """Whether each message of these numbers counts as mixed."""
    senders, found = PublisherWatch(), []
    for index, number in enumerate(numbers):
        now_s = 100.0 + index * every_s
        senders.add(number, now_s)
        found.append(senders.mixed(publishers, now_s))
    return found


def test_a_camera_that_died_and_lingers_is_forgotten():
    """The middleware keeps a killed process in its lists for as long as its lease is."""
    numbers = [*range(500, 540), *range(1, 200)]
    found = numbered(*numbers)
    assert all(found[: 40 + int(SURE_S / 0.05)])
    assert not any(found[-60:])


def test_what_takes_turns_is_never_taken_for_a_restart():
    """However seldom the other one sends: of its own messages none is believed."""
    for first in (1, 5, 500, 10**9):
        for seldom in (1, 2, 9, 50, 75, 150, 900, 3000):
            numbers, others = [], []
            for step in range(4000):
                numbers.append(1000 + step)
                if step % seldom == 0:
                    others.append(len(numbers))
                    numbers.append(first + step // seldom)
            found = numbered(*numbers)
            assert all(found[index] for index in others), (first, seldom)
            if seldom < 600:  # 30 seconds
                assert all(found[others[1] :]), (first, seldom)


def test_an_idle_publisher_is_noticed_at_its_first_message():
    for idle in (1, 20, 100, 300, 2000):
        found = numbered(*range(1, idle + 1), 1, *range(idle + 1, idle + 50))
        assert all(found[idle:])
        assert not idle > 100 or not found[idle - 1]


def test_numbers_of_one_publisher_are_of_one_camera():
    assert not any(numbered(*range(1, 400), publishers=1))
    assert not any(numbered(*range(1, 50), *range(1, 50), *range(1, 50), publishers=1))
    mixed = numbered(*[number // 2 for number in range(100)], publishers=1)
    assert all(mixed[5:])


def test_what_was_under_way_when_a_publisher_went_is_refused():
    senders = PublisherWatch()
    assert senders.mixed(2, 10.0)
    assert senders.mixed(1, 10.0 + 0.9 * GONE_S)
    assert not senders.mixed(1, 10.0 + 1.1 * GONE_S)


def test_without_numbers_the_count_alone_decides():
    senders = PublisherWatch()
    for step in range(int(2 * TURNS_S)):
        senders.add(None, float(step))
        assert senders.mixed(2, float(step))
        assert not senders.mixed(1, step + 0.9)


@pytest.mark.parametrize('same_size', [True, False])
def test_of_two_cameras_in_camera_info_neither_gives_metres(ros, same_size):
    cameras = Cameras(ros)
    one = cameras.publisher('one_camera')
    cameras.send_until_metres(one)
    head = header(0.0)
    other = info_message(PICTURE, head)
    other.k = [3.0 * value if number in (0, 4) else value for number, value in enumerate(other.k)]
    other.p = [3.0 * value if number in (0, 5) else value for number, value in enumerate(other.p)]
    if not same_size:
        other.width, other.height = other.width * 2, other.height

    def another(head) -> None:
        cameras.infos.publish(other)
        ros.spin_for(0.03)

    cameras.before = another
    told = ros.collect(DiagnosticArray, '/diagnostics')

    def noticed() -> bool:
        cameras.send(one)
        statuses = [s for array in told[-3:] for s in array.status if 'camera camera' in s.name]
        return any('camera/camera_info' in read(s)['calibration'] for s in statuses)

    ros.spin_until(noticed, what='two cameras by turns')
    cameras.silent(one)
    cameras.before = lambda head: None
    cameras.send_until_metres(one)


def test_a_camera_that_zooms_is_one():
    infos = CameraInfoChanges()
    for number in range(60):
        info = CameraInfo(width=64, height=48)
        info.k[0] = 100.0 + number // 3
        assert infos.add(info) == (number % 3 == 0)
        assert not infos.alternates


def test_a_camera_that_is_switched_and_back_is_one():
    """Even if it publishes camera_info only then: no message will end it."""
    infos, ways = CameraInfoChanges(), (100.0, 200.0, 100.0)
    for focal in ways:
        info = CameraInfo(width=64, height=48)
        info.k[0] = focal
        assert infos.add(info)
        assert not infos.alternates
    info.k[0] = 200.0
    assert infos.add(info)
    assert infos.alternates


@pytest.mark.parametrize('ratio', [1, 3, 19, 20, 30, 60, 200])
def test_two_cameras_alternate_however_seldom_one_of_them_speaks(ratio):
    """As a driver, and a republisher of once a second."""
    infos, used = CameraInfoChanges(), 0
    for number in range(20 * (ratio + 1)):
        info = CameraInfo(width=64, height=48)
        info.k[0] = 200.0 if number % (ratio + 1) == ratio else 100.0
        infos.add(info)
        used += not infos.alternates
    assert used <= 2 * (ratio + 1)
    calm = 0
    while infos.alternates:
        calm += 1
        taken = infos.add(CameraInfo(width=64, height=48))
        assert calm <= max(CALM_INFOS, 2 * ratio) + 1
    assert taken


def test_a_camera_that_focuses_to_and_fro_is_one():
    infos = CameraInfoChanges()
    for number in range(900):
        focal = 502.0 if number // 150 % 2 else 500.0
        info = CameraInfo(width=640, height=480, distortion_model='plumb_bob', d=[0.0] * 5)
        info.k = np.array([focal, 0, 319.5, 0, focal, 239.5, 0, 0, 1])
        infos.add(info)
        assert not infos.alternates


@pytest.mark.parametrize('stays', [CALM_INFOS, 50, 450, FORGOTTEN + 1])
def test_a_camera_that_is_switched_to_and_fro_is_one(stays):
    infos = CameraInfoChanges()
    for number in range(10 * stays):
        info = CameraInfo(width=64, height=48)
        info.k[0] = 200.0 if number // stays % 2 else 100.0
        infos.add(info)
        assert not infos.alternates
