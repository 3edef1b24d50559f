"""Stamps that cannot be right, over DDS: results go on at max_rate, and diagnostics say why."""

from __future__ import annotations

import math
import random
import time

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from driving import header, picture, read
from geometry_msgs.msg import Vector3Stamped
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from midas_depth_ros.nodes.depth.stamps import BURST
from midas_depth_ros.nodes.ros.messages import image_message

SECONDS, HZ, MAX_RATE = 8.0, 20.0, 4.0
RANDOM = random.Random(7)

BEGIN = time.time()
# name: the stamp of picture n, which is sent `now` (seconds since 1970); a word of diagnostics.
KINDS = {
    'right': (lambda n, now: now, ''),
    'still': (lambda n, now: 1_790_000_000.0, 'stand still'),
    'creeping': (lambda n, now: 1_790_000_000.0 + n / 1000, 'advance by 0.0'),
    'slow': (lambda n, now: BEGIN + 0.3 * n / HZ, 'advance by 0.'),
    'fast': (lambda n, now: BEGIN + 10 * n / HZ, 'advance by'),
    'leaping': (lambda n, now: 1000.0 * (n + 1), 'advance by'),
    'backwards': (lambda n, now: BEGIN - n / HZ, 'go back'),
    'random': (lambda n, now: RANDOM.uniform(0, 2e9), 'out of order'),
    'none': (lambda n, now: 0.0, 'no stamps'),
    'past': (lambda n, now: now - 3600, '3600.0'),
    'future': (lambda n, now: now + 86400 * 3, '3.0 days ahead'),
    'two': (lambda n, now: now - 50 * (n % 2), 'two sequences of stamps'),
}


def collected(ros, cameras):
    return {name: ros.collect(Image, f'{name}/relative_inverse_depth/image') for name in cameras}


def statuses(ros, arrays):
    """The last status of each camera."""
    assert arrays
    return {s.name.rpartition(' ')[2]: s for s in arrays[-1].status if ': camera ' in s.name}


def test_wrong_stamps_neither_silence_a_camera_nor_open_the_throttle(ros, start):
    start(cameras=list(KINDS), max_rate=MAX_RATE)
    arrays = ros.collect(DiagnosticArray, '/diagnostics')
    out = collected(ros, KINDS)
    publishers = {name: ros.publisher(Image, f'{name}/image_raw') for name in KINDS}
    began = time.monotonic()
    number = 0
    while (passed := time.monotonic() - began) < SECONDS:
        for name, (stamp_s, _) in KINDS.items():
            message = image_message(picture(), header(stamp_s(number, time.time())))
            publishers[name].publish(message)
        number += 1
        ros.spin_for(max(0.0, began + number / HZ - time.monotonic()))
    ros.spin_for(0.3)
    found = statuses(ros, arrays)
    for name, (_, words) in KINDS.items():
        count, status = len(out[name]), found[name]
        assert 0.4 * MAX_RATE * passed <= count <= MAX_RATE * passed * 1.1 + BURST + 1, name
        assert words in status.message, (name, status.message)
        assert status.level == (DiagnosticStatus.WARN if words else DiagnosticStatus.OK), name
    # The outputs say what the pictures said: nobody takes them for fresh.
    assert {m.header.stamp.sec for m in out['still']} == {1_790_000_000}
    assert {m.header.stamp.sec for m in out['none']} == {0}


def test_stamps_that_stand_still_are_logged_now_and_then(ros, start, capfd):
    start(max_rate=50.0)
    publisher = ros.publisher(Image, 'camera/image_raw')
    for _ in range(60):
        publisher.publish(image_message(picture(), header(7.5)))
        ros.spin_for(0.05)
    ros.spin_for(0.3)
    lines = [line for line in capfd.readouterr().err.splitlines() if 'stand still' in line]
    assert len(lines) == 1
    assert '[WARN]' in lines[0]
    assert 'camera: stamps stand still at 7.500 s' in lines[0]


def test_two_publishers_are_named_and_do_not_begin_anew_with_every_frame(ros, start, capfd):
    start(max_rate=50.0)
    arrays = ros.collect(DiagnosticArray, '/diagnostics')
    out = ros.collect(Image, 'camera/relative_inverse_depth/image')
    other = ros.make_node('another_camera')
    one = ros.publisher(Image, 'camera/image_raw')
    two = other.create_publisher(Image, 'camera/image_raw', 10)
    ros.spin_until(lambda: two.get_subscription_count())
    for _ in range(60):
        now = time.time()
        one.publish(image_message(picture(), header(now)))
        ros.spin_for(0.02)
        two.publish(image_message(picture(), header(now - 20)))
        ros.spin_for(0.02)
    ros.spin_for(0.3)
    status = statuses(ros, arrays)['camera']
    assert status.level == DiagnosticStatus.WARN
    assert '2 publishers on /camera/image_raw' in status.message
    assert '/test_peer' in status.message
    assert '/another_camera' in status.message
    assert 'two sequences of stamps, 20 s apart' in status.message
    assert int(read(status)['stamp jumps']) > 20
    assert len(out) > 20
    err = capfd.readouterr().err
    assert err.count('starting anew') <= 2


@pytest.mark.parametrize('speed', [0.1, 5.0])
def test_with_a_simulated_clock_stamps_throttle_and_are_right(ros, start, speed):
    """A bag of a 20 Hz camera, played slowly or fast with its clock."""
    start(max_rate=5.0, use_sim_time=True)
    arrays = ros.collect(DiagnosticArray, '/diagnostics')
    out = ros.collect(Image, 'camera/relative_inverse_depth/image')
    clock = ros.publisher(Clock, '/clock')
    publisher = ros.publisher(Image, 'camera/image_raw')
    sent = 100 if speed > 1 else 60
    for number in range(sent):
        at = header(1000 + number / 20)
        clock.publish(Clock(clock=at.stamp))
        publisher.publish(image_message(picture(), at))
        ros.spin_for(1 / 20 / speed if speed > 1 else 0.05)
    ros.spin_for(0.3)
    expected = sent / 4  # of 20 Hz, 5 Hz pass: by the stamps, however long that took
    assert 0.6 * expected <= len(out) <= 1.2 * expected + 2
    status = statuses(ros, arrays)['camera']
    assert 'stamps' not in status.message, status.message
    assert status.level == DiagnosticStatus.OK


@pytest.mark.parametrize('stamp_s', [0.0, 1_790_000_000.0])
def test_a_camera_that_freezes_with_its_stamps_is_frozen(ros, start, estimator, stamp_s):
    """By the stamps it would be the same picture of the same moment for ever."""
    estimator.of_pictures = True
    start(max_rate=50.0, picture_check=False, frozen_after=1.0)
    arrays = ros.collect(DiagnosticArray, '/diagnostics')
    closeness = ros.collect(Vector3Stamped, 'camera/closeness')
    publisher = ros.publisher(Image, 'camera/image_raw')

    def frozen():
        publisher.publish(image_message(picture(), header(stamp_s)))
        ros.spin_for(0.05)
        status = arrays and statuses(ros, arrays).get('camera')
        return status and status.level == DiagnosticStatus.ERROR and status.message

    assert 'frozen: the picture has not changed' in ros.spin_until(frozen, what='a frozen camera')
    last = closeness[-1].vector
    assert math.isnan(last.x + last.y + last.z)
