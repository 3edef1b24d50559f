"""Hundreds of broken messages over real DDS against one living node, which must go on working."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import math
import re
import signal
import sys
import time
from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Quaternion, Twist, Vector3, Vector3Stamped
from hypothesis import HealthCheck, Phase, given, settings
from nav_msgs.msg import Odometry
from picture_strategies import compressed_fields, image_fields
from raw_messages import raw_messages
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, LaserScan, Range
from std_msgs.msg import Header
from traffic import laser_scan

from midas_depth_ros.nodes.ros.messages import cloud_message, image_message, jpeg_message

from .test_processes import process, wait_active

pytestmark = pytest.mark.thorough

CASES = 500
MOST_MEMORY_MB = 400  # more than the node needs; less than one unchecked size would take
PICTURE = np.full((48, 64, 3), 128, np.uint8)


def header(seconds: int) -> Header:
    message = Header(frame_id='camera_optical_frame')
    message.stamp.sec = seconds
    return message


def cases(strategy) -> list[dict]:
    """The first CASES examples of a strategy, the same ones every time."""
    found: list[dict] = []

    @settings(
        max_examples=CASES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def gather(fields):
        found.append(fields)

    gather()
    return found


def peak_memory_mb(pid: int) -> float:
    status = Path(f'/proc/{pid}/status').read_text()
    line = next(line for line in status.splitlines() if line.startswith('VmHWM'))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(
    ('transport', 'kind', 'strategy', 'good'),
    [
        ('raw', Image, image_fields(), image_message(PICTURE, header(5000))),
        (
            'compressed',
            CompressedImage,
            compressed_fields(),
            jpeg_message(PICTURE, header(5000), 90),
        ),
    ],
)
def test_broken_messages_do_not_end_the_node(ros, transport, kind, strategy, good):
    command = [sys.executable, '-m', 'midas_depth_ros.nodes.depth.node', '--ros-args']
    # Every frame: reliable and without skipping, so that each case really arrives.
    parameters = ['model:=embedded', 'process_every_frame:=true', f'transport:={transport}']
    parameters += ['max_pixels:=1000000']
    command += [word for parameter in parameters for word in ('-p', parameter)]
    topic = 'camera/image_raw' + ('/compressed' if transport == 'compressed' else '')
    with process(command, ros) as node:
        wait_active(ros)
        out = ros.collect(Image, 'camera/relative_inverse_depth/image')
        diagnostics = ros.collect(DiagnosticArray, '/diagnostics')
        publisher = ros.publisher(kind, topic)
        ros.spin_until(lambda: publisher.get_subscription_count() and out is not None)
        sent = cases(strategy)
        for number, fields in enumerate(sent):
            data = array('B', fields.pop('data'))
            publisher.publish(kind(header=header(number), data=data, **fields))
        publisher.publish(good)

        def counts() -> dict[str, int]:
            pairs = diagnostics[-1].status[-1].values if diagnostics else []
            return {p.key: int(p.value) for p in pairs if p.key.startswith('frames ')}

        ros.spin_until(lambda: counts().get('frames received') == len(sent) + 1, 60, 'all messages')
        ros.spin_until(lambda: out and out[-1].header.stamp.sec == 5000, 60, 'the good frame')
        ended = counts()
        assert len(sent) == CASES
        assert ended['frames rejected'] > CASES / 4
        assert ended['frames failed'] == 0
        assert peak_memory_mb(node.pid) < MOST_MEMORY_MB
        assert (out[-1].height, out[-1].width) == PICTURE.shape[:2]
        node.send_signal(signal.SIGINT)
        text, _ = node.communicate(timeout=20)
    assert node.returncode == 0, text
    assert 'Traceback' not in text


# --- serialised bytes as no ROS 2 publisher would send them --------------------------------------

FUZZED = 2_000  # messages for each node, all its topics together
PACE_S = 0.002
MOST_GROWTH_MB = 300  # a message of 1 MB that claims 4 GB is one that gets none of them
RELIABLE = ('reliability:=reliable', 'history:=keep_last', 'depth:=1000')


@dataclasses.dataclass
class Target:
    """A node in a namespace of its own: how it is started, and what is thrown at it."""

    name: str
    command: list[str]
    topics: dict[str, Any]  # a good message for each; names that begin with / are as they are

    def absolute(self, topic: str) -> str:
        return topic if topic.startswith('/') else f'/{self.name}/{topic}'

    def arguments(self) -> list[str]:
        words = [sys.executable, *self.command, '-r', f'__ns:=/{self.name}']
        # Reliable and deep, so that each message really arrives. /clock is rclpy's own.
        for topic in self.topics:
            for policy in RELIABLE if topic != '/clock' else ():
                words += ['-p', f'qos_overrides.{self.absolute(topic)}.subscription.{policy}']
        return words


def node(module: str, *parameters: str) -> list[str]:
    words = ['-m', *f'midas_depth_ros.{module}'.split(), '--ros-args']
    return words + [word for parameter in parameters for word in ('-p', parameter)]


CLOCK = Clock(clock=header(100).stamp)
INFO = CameraInfo(
    header=header(1), width=64, height=48, k=[60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1.0],
    distortion_model='plumb_bob', d=[0.0] * 5,
)  # fmt: skip
IMU = Imu(header=header(1), orientation=Quaternion(w=1.0))
CLOUD = cloud_message(
    np.ones((4, 5, 3), np.float32),
    np.zeros((4, 5, 3), np.uint8),
    np.full((4, 5), 0.01, np.float32),
    header(1),
)
MOUNTED = ('camera_height:=0.3', 'camera_pitch:=0.1', 'model:=embedded', 'diagnostics_rate:=5.0')
TARGETS = (
    Target(
        'scanned',
        node('nodes.depth.node', *MOUNTED, 'scale.source:=scan', 'imu_topic:=imu'),
        {
            'camera/image_raw': image_message(PICTURE, header(5000)),
            'camera/camera_info': INFO,
            'camera/reference/scan': laser_scan(),
            'imu': IMU,
        },
    ),
    Target(
        'ranged',
        node('nodes.depth.node', *MOUNTED, 'scale.source:=range', 'transport:=compressed'),
        {
            'camera/image_raw/compressed': jpeg_message(PICTURE, header(5000), 90),
            'camera/camera_info': INFO,
            'camera/reference/range': Range(header=header(1), range=1.0, max_range=4.0),
        },
    ),
    Target(
        'pointed',
        node('nodes.depth.node', *MOUNTED, 'scale.source:=points', 'use_sim_time:=true'),
        {
            'camera/image_raw': image_message(PICTURE, header(5000)),
            'camera/reference/points': CLOUD,
            '/clock': CLOCK,
        },
    ),
    Target(
        'avoiding',
        node('nodes.avoidance_node', 'source:=auto'),
        {
            'cmd_vel_in': Twist(linear=Vector3(x=0.2)),
            'scan': laser_scan(),
            'closeness': Vector3Stamped(header=header(1)),
        },
    ),
    Target(
        'driven',
        node(
            'nodes.sources.synthetic_camera',
            'scene:=robot',
            'width:=64',
            'height:=48',
            'use_sim_time:=true',
        ),
        {'cmd_vel': Twist(linear=Vector3(x=0.2)), '/clock': CLOCK},
    ),
    Target(
        'wishing', node('lab.drive.over_dds commander', 'use_sim_time:=true'), {'/clock': CLOCK}
    ),
)


def throw(ros, targets) -> None:
    """FUZZED messages at each target, in turn, so that all of them work at once."""
    queues = []
    for target in targets:
        share = -(-FUZZED // len(target.topics))
        for number, (topic, good) in enumerate(target.topics.items()):
            publisher = ros.publisher(type(good), target.absolute(topic))
            messages = raw_messages(good, share, seed=number)
            if topic in ('cmd_vel', 'cmd_vel_in', '/clock'):  # of a size that the writer checks
                messages = [data[: len(messages[0])] for data in messages]
            queues.append((publisher, messages))
    for messages in itertools.zip_longest(*(queue for _, queue in queues)):
        for (publisher, _), data in zip(queues, messages, strict=True):
            if data is not None:
                publisher.publish(data)
        time.sleep(PACE_S)
    ros.spin_for(1.0)


def alive(ros, target: Target) -> None:
    """A good message is answered as if nothing had been."""
    name = target.name
    if name in ('scanned', 'ranged', 'pointed'):
        out = ros.collect(Image, f'{name}/camera/relative_inverse_depth/image')
        statuses = ros.collect(DiagnosticArray, '/diagnostics')
        topic, good = next(iter(target.topics.items()))
        pictures = ros.publisher(type(good), target.absolute(topic))
        infos = None
        if 'camera/camera_info' in target.topics:
            infos = ros.publisher(CameraInfo, target.absolute('camera/camera_info'))

        def calibrated() -> bool:
            mine = [
                s for a in list(statuses) for s in a.status if s.hardware_id.startswith('/' + name)
            ]
            texts = [p.value for s in mine[-2:] for p in s.values if p.key == 'calibration']
            return infos is None or 'camera_info 64x48' in texts

        numbers = itertools.count(6000)

        def answered() -> bool:
            good.header = header(next(numbers))
            pictures.publish(good)
            if infos is not None:
                infos.publish(INFO)
            ros.spin_for(0.05)
            return any(m.header.stamp.sec >= 6000 for m in list(out)) and calibrated()

        ros.spin_until(answered, 30, f'an answer of {name}')

        def refused() -> list[int]:
            return [
                int(count)
                for array in list(statuses)
                for status in array.status
                for pair in status.values
                if pair.key == 'messages refused' and status.hardware_id.startswith('/' + name)
                for count in re.findall(r': (\d+) \(', pair.value)
            ]

        ros.spin_until(lambda: max(refused(), default=0) > 100, 30, f'the count of {name}')
    elif name == 'avoiding':
        out = ros.collect(Twist, f'{name}/cmd_vel')
        commands = ros.publisher(Twist, f'{name}/cmd_vel_in')
        scans = ros.publisher(LaserScan, f'{name}/scan')
        near = ros.publisher(Vector3Stamped, f'{name}/closeness')

        def answered() -> bool:
            now = ros.node.get_clock().now().to_msg()
            scan, closeness = laser_scan(), Vector3Stamped()
            scan.header.stamp = closeness.header.stamp = now
            scans.publish(scan)
            near.publish(closeness)
            commands.publish(Twist(linear=Vector3(x=0.2)))
            ros.spin_for(0.05)
            return any(0.1 < message.linear.x <= 0.2 for message in list(out))

        ros.spin_until(answered, 30, 'a command that is passed on')
    elif name == 'driven':
        out = ros.collect(Odometry, f'{name}/odom')
        commands = ros.publisher(Twist, f'{name}/cmd_vel')
        clock = ros.publisher(Clock, '/clock')
        numbers = itertools.count(3000 * 20)

        def answered() -> bool:
            twentieths = next(numbers)
            now = Time(sec=twentieths // 20, nanosec=twentieths % 20 * 50_000_000)
            clock.publish(Clock(clock=now))
            commands.publish(Twist(angular=Vector3(z=0.3)))
            ros.spin_for(0.05)
            return any(abs(message.twist.twist.angular.z - 0.3) < 0.01 for message in list(out))

        ros.spin_until(answered, 30, 'a robot that turns')
        position = out[-1].pose.pose.position
        assert math.isfinite(position.x + position.y)
    else:
        out = ros.collect(Twist, f'{name}/cmd_vel_in')
        clock = ros.publisher(Clock, '/clock')
        numbers = itertools.count(2000)

        def answered() -> bool:
            clock.publish(Clock(clock=header(next(numbers)).stamp))
            ros.spin_for(0.05)
            return len(out) > 5

        ros.spin_until(answered, 30, 'wishes as time goes on')


def test_bytes_that_are_no_message_end_no_node(ros):
    """Every subscription of every node, every encapsulation, and each node goes on working."""
    with contextlib.ExitStack() as stack:
        running = {
            target.name: stack.enter_context(process(target.arguments(), ros)) for target in TARGETS
        }
        for name in ('scanned', 'ranged', 'pointed'):
            ros.collect(Image, f'{name}/camera/relative_inverse_depth/image')
            ros.collect(LaserScan, f'{name}/camera/scan')
        for target in TARGETS:
            for topic in target.topics:
                ros.spin_until(
                    functools.partial(ros.node.count_subscribers, target.absolute(topic)),
                    60,
                    f'{target.name} on {topic}',
                )
        before = {name: peak_memory_mb(each.pid) for name, each in running.items()}
        throw(ros, TARGETS)
        for target in TARGETS:
            assert running[target.name].poll() is None, running[target.name].communicate()[0][
                -3000:
            ]
            alive(ros, target)
        for name, each in running.items():
            assert peak_memory_mb(each.pid) - before[name] < MOST_GROWTH_MB, name
            each.send_signal(signal.SIGINT)
        for name, each in running.items():
            text, _ = each.communicate(timeout=30)
            assert each.returncode == 0, (name, text[-3000:])
            assert 'Traceback' not in text, (name, text[-3000:])
            assert 'sequence size exceeds' not in text, 'it reached the middleware'
            assert text.count('\n') < 200, f'{name} floods its log'
