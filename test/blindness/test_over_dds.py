"""Camera, depth_node and avoidance_node over DDS: a blind camera stops the robot.

One camera looks into a room with a free way, and two robots are commanded forward: one avoids by
the scan, the other by closeness. Then the camera, its stamps or its messages fail for longer than
anything is remembered, and then recover.
"""

from __future__ import annotations

import contextlib
import functools
import math
import random
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, Vector3Stamped
from raw_messages import raw_messages
from ros_helpers import Ros
from sensor_msgs.msg import CameraInfo, Image, LaserScan, Range
from std_msgs.msg import Header

from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.processes import free_domain
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message
from midas_depth_ros.sim import WORLDS, DrivenRobot

from ..e2e.test_processes import process, wait_active

pytestmark = pytest.mark.thorough

RATE_HZ = 10.0
SPEED = 0.1
BLIND_PICTURES = 25  # 2.5 s: longer than the avoidance's memory, and all timeouts together
MEMORY_S = 1.0
FROZEN_S = 1.0
SECOND = 1_000_000_000


def room() -> np.ndarray:
    """A picture (H, W, 3) of a furnished room, free for more than 3 m."""
    world = WORLDS['furnished'](106)
    robot = DrivenRobot(world, rig.ROBOT)
    camera = rig.camera_model(rig.SIZE_MODEL)
    return world.render(camera, robot.motion.camera_pose(robot.model)).rgb


class Camera:
    """Publishes what is set at `RATE_HZ`: by default a valid, well-stamped picture."""

    def __init__(self, ros: Ros) -> None:
        self._ros, self._rng = ros, np.random.default_rng(1)
        self.room = room()
        self.model = rig.camera_model(rig.SIZE_MODEL)
        self._images = ros.node.create_publisher(Image, 'camera/image_raw', 10)
        self._infos = ros.node.create_publisher(CameraInfo, 'camera/camera_info', 10)
        self._commands = ros.node.create_publisher(Twist, 'cmd_vel_in', 10)
        self.sent = 0
        self._lock = threading.Lock()
        self.be_well()
        ros.node.create_timer(1 / RATE_HZ, self._send)
        ros.node.create_timer(0.05, self._order)

    def be_well(self) -> None:
        """Publish good pictures again."""
        with self._lock:
            self.picture: Callable[[], np.ndarray] = self.noisy_room
            self.stamp: Callable[[int], int] = lambda now_ns: now_ns
            self.made: Callable[[Image], Any] = lambda message: message
            self.info_size = rig.SIZE_MODEL

    def go_bad(self, way: Callable[[Camera], None]) -> None:
        """Change what is published."""
        with self._lock:
            way(self)

    def noisy_room(self) -> np.ndarray:
        """Return the room as a sensor sees it, different every time."""
        return self.noisy(self.room)

    def noisy(self, rgb: Any, deviation: float = 1.5) -> np.ndarray:
        """Return (H, W, 3) uint8 with sensor noise."""
        values = rgb + self._rng.normal(0.0, deviation, self.room.shape)
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)

    def _send(self) -> None:
        with self._lock:
            now_ns = self._ros.node.get_clock().now().nanoseconds
            header = Header(frame_id='base_link_optical')
            header.stamp.sec, header.stamp.nanosec = divmod(self.stamp(now_ns), SECOND)
            info = camera_info_message(self.model, header)
            info.width, info.height = self.info_size
            self._infos.publish(info)
            message = self.made(image_message(self.picture(), header))
        if message is not None:
            self._images.publish(message)
        self.sent += 1

    def _order(self) -> None:
        order = Twist()
        order.linear.x = SPEED
        self._commands.publish(order)


class Chain:
    """The camera, and all outputs of the nodes."""

    def __init__(self, ros: Ros) -> None:
        self.ros, self.camera = ros, Camera(ros)
        self.velocities = {name: ros.collect(Twist, name) for name in ('by_scan', 'by_closeness')}
        self.scans = ros.collect(LaserScan, 'camera/scan')
        self.seen_free = ros.collect(LaserScan, 'camera/seen_free')
        self.closeness = ros.collect(Vector3Stamped, 'camera/closeness')
        self.proximity = ros.collect(Range, 'camera/proximity')
        self.diagnostics = ros.collect(DiagnosticArray, '/diagnostics')

    def wait_going(self) -> None:
        """Wait until both robots drive forward."""
        for name, sent in self.velocities.items():
            begun = len(sent)
            self.ros.spin_until(
                lambda sent=sent, begun=begun: any(t.linear.x > 0 for t in sent[begun:]),
                40,
                f'a robot that goes {name}; depth_node says {self.said()!r}',
            )

    def wait_standing(self, why: str) -> None:
        """Wait until neither drives forward."""
        for name, sent in self.velocities.items():
            begun = len(sent)
            self.ros.spin_until(
                lambda sent=sent, begun=begun: (
                    len(sent) > begun and all(t.linear.x <= 0 for t in sent[-5:])
                ),
                20,
                f'a robot that stands {name}: {why}',
            )

    def see(self, pictures: int) -> None:
        """Wait for this many pictures."""
        begun = self.camera.sent
        self.ros.spin_until(lambda: self.camera.sent >= begun + pictures, 60, 'pictures')

    def said(self) -> str:
        """Return what depth_node reports of itself and its camera now."""
        statuses = [status for array in self.diagnostics[-4:] for status in array.status]
        return '; '.join(s.message for s in statuses if s.name.startswith('depth_node'))

    def outputs_since(self, counts: dict[str, int]) -> dict[str, list[Any]]:
        """Return what has come since `counts`."""
        return {name: list(getattr(self, name))[count:] for name, count in counts.items()}

    def counts(self) -> dict[str, int]:
        """Return how many of each output have come."""
        return {
            name: len(getattr(self, name))
            for name in ('scans', 'seen_free', 'closeness', 'proximity')
        }


AVOIDANCE = {
    'scan': 'camera/scan',
    'seen_free': 'camera/seen_free',
    'closeness': 'camera/closeness',
}


def node_command(module: str, parameters: dict[str, Any], remaps: dict[str, str]) -> list[str]:
    command = [sys.executable, '-m', f'midas_depth_ros.nodes.{module}', '--ros-args']
    for name, value in parameters.items():
        text = str(value).lower() if isinstance(value, bool) else value
        command += ['-p', f'{name}:={text}']
    for name, topic in remaps.items():
        command += ['-r', f'{name}:={topic}']
    return command


@pytest.fixture(scope='module')
def chain() -> Iterator[Chain]:
    """Return one depth_node and two avoidance_nodes, as processes, for all kinds of blindness."""
    depth = {**rig.depth_parameters(RATE_HZ, 'embedded'), 'num_threads': 1, 'backend': 'opencv'}
    depth |= {'frozen_after': FROZEN_S, 'diagnostics_rate': 5.0}
    avoidance = {**rig.avoidance_parameters(), 'resume_delay': 0.0, 'memory': MEMORY_S}
    avoidance['steering.enabled'] = False
    with contextlib.ExitStack() as stack:
        ros = Ros(stack.enter_context(free_domain()))
        stack.callback(ros.close)
        nodes = [
            node_command('depth.node', depth, {}),
            node_command('avoidance_node', avoidance, {**AVOIDANCE, 'cmd_vel': 'by_scan'}),
            node_command(
                'avoidance_node',
                {**avoidance, 'source': 'closeness', 'closeness.stop': 0.9, 'closeness.slow': 0.8},
                {**AVOIDANCE, 'cmd_vel': 'by_closeness', '__node': 'avoidance_by_closeness'},
            ),
        ]
        for command in nodes:
            stack.enter_context(process(command, ros))
        wait_active(ros)
        yield Chain(ros)


def shows(make: Callable[[Camera], Any], deviation: float = 1.0) -> Callable[[Camera], None]:
    """Return a kind of blindness: these pictures with noise."""

    def way(camera: Camera) -> None:
        camera.picture = lambda: camera.noisy(make(camera), deviation)

    return way


def fog(camera: Camera) -> Any:
    return 0.03 * camera.room + 0.97 * 170


def blur(camera: Camera) -> Any:
    return cv2.GaussianBlur(camera.room, (0, 0), 16)


def finger(camera: Camera) -> Any:
    return 0.2 * cv2.GaussianBlur(camera.room, (0, 0), 40) + np.array([50.0, 10.0, 10.0])


def lower_half_covered(camera: Camera) -> Any:
    covered = camera.room.astype(float)
    covered[camera.room.shape[0] // 2 :] = 12.0
    return covered


PICTURES = {
    'black': shows(lambda camera: 0.0, 0.0),
    'black with read noise': shows(lambda camera: 0.0, 8.0),
    'a 64th of the light': shows(lambda camera: camera.room / 64, 1.0),
    'white': shows(lambda camera: 255.0, 0.0),
    'over-exposed': shows(lambda camera: 250 + 0.02 * camera.room),
    'grey': shows(lambda camera: 128.0),
    'blue': shows(lambda camera: np.array([0.0, 0.0, 255.0])),
    'noise': shows(lambda camera: 128.0, 40.0),
    'fog': shows(fog),
    'blur': shows(blur),
    'a finger': shows(finger),
    'the lower half covered': shows(lower_half_covered),
}


def look(chain: Chain, way: Callable[[Camera], None], name: str) -> dict[str, list[Any]]:
    """Drive with a good camera, then stand with a blind one; return the outputs while blind."""
    chain.camera.be_well()
    chain.wait_going()
    chain.camera.go_bad(way)
    chain.wait_standing(name)
    counts = chain.counts()
    begun = {each: len(sent) for each, sent in chain.velocities.items()}
    chain.see(BLIND_PICTURES)
    for each, sent in chain.velocities.items():
        seen = [t.linear.x for t in sent[begun[each] :]]
        assert len(seen) > BLIND_PICTURES / 2, each
        assert max(seen) <= 0.0, f'{name}: it went on {each}'
    return chain.outputs_since(counts)


@pytest.mark.sampled
@pytest.mark.parametrize('name', PICTURES)
def test_pictures_that_say_nothing(chain, name):
    made = look(chain, PICTURES[name], name)
    assert len(made['closeness']) > BLIND_PICTURES / 3
    for message in made['closeness']:
        near = message.vector
        if name == 'the lower half covered':
            assert not min(near.x, near.y, near.z) >= 0.0  # NaN in at least one
        else:
            assert all(math.isnan(value) for value in (near.x, near.y, near.z)), name
    for message in [*made['scans'], *made['seen_free']]:
        assert not np.isposinf(message.ranges).any()
        assert name == 'the lower half covered' or np.isnan(message.ranges).all()
    assert not made['proximity']
    assert 'picture' in chain.said()


def frozen(camera: Camera) -> None:
    still = camera.noisy_room()
    camera.picture = lambda: still


def silent(camera: Camera) -> None:
    camera.made = lambda message: None


def torn(camera: Camera) -> None:
    def cut(message: Image) -> Image:
        message.data = message.data[: len(message.data) // 2]
        return message

    camera.made = cut


def of_no_kind(camera: Camera) -> None:
    def renamed(message: Image) -> Image:
        message.encoding = 'rgb9'
        return message

    camera.made = renamed


def garbage(camera: Camera) -> None:
    endless = random.Random(0)
    bytes_of = functools.cache(lambda: raw_messages(Image(width=2, height=2), 200))
    camera.made = lambda message: endless.choice(bytes_of())


def stamped(make: Callable[[int], int]) -> Callable[[Camera], None]:
    def way(camera: Camera) -> None:
        camera.stamp = make

    return way


def still_stamps(camera: Camera) -> None:
    first: list[int] = []

    def stamp(now_ns: int) -> int:
        first.append(now_ns)
        return first[0]

    camera.stamp = stamp


def creeping_stamps(camera: Camera) -> None:
    sent: list[int] = []

    def stamp(now_ns: int) -> int:
        sent.append(now_ns)
        return sent[0] + len(sent) * 1_000_000

    camera.stamp = stamp


def another_size(camera: Camera) -> None:
    camera.info_size = (64, 64)


MESSAGES = {
    'frozen': frozen,
    'silence': silent,
    'cut images': torn,
    'unknown encoding': of_no_kind,
    'bytes that are no image': garbage,
    'no stamps': stamped(lambda now_ns: 0),
    'stamps that stand still': still_stamps,
    'stamps that creep': creeping_stamps,
    'an hour ago': stamped(lambda now_ns: now_ns - 3600 * SECOND),
    'an hour ahead': stamped(lambda now_ns: now_ns + 3600 * SECOND),
}


@pytest.mark.sampled
@pytest.mark.parametrize('name', MESSAGES)
def test_messages_that_are_late_dead_or_broken(chain, name):
    look(chain, MESSAGES[name], name)


def test_camera_info_of_another_size_takes_the_metres_away_and_nothing_else(chain):
    chain.camera.be_well()
    chain.wait_going()
    chain.camera.go_bad(another_size)
    sent = chain.velocities['by_scan']
    chain.ros.spin_until(lambda: all(t.linear.x <= 0 for t in sent[-5:]), 20, 'the end by scan')
    begun, others = len(sent), len(chain.velocities['by_closeness'])
    chain.see(BLIND_PICTURES)
    assert max(t.linear.x for t in sent[begun:]) <= 0.0
    assert max(t.linear.x for t in chain.velocities['by_closeness'][others:]) > 0


def test_in_the_end_the_camera_is_believed_again_and_nothing_is_wrong(chain):
    chain.camera.be_well()
    chain.wait_going()

    def well() -> bool:
        newest = {s.name: s for array in chain.diagnostics[-4:] for s in array.status}
        cameras = [s for name, s in newest.items() if name.startswith('depth_node')]
        return bool(cameras) and all(s.level == DiagnosticStatus.OK for s in cameras)

    chain.ros.spin_until(well, 20, 'diagnostics that are OK')
