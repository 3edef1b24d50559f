"""Replaying against depth_node: every frame, simulated time, a clock that stands or jumps."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from driving import DEPTH, diagnostics, image, read, send_until, stamp
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image


def test_every_frame_comes_out_in_order_however_fast_it_is_sent(ros, start):
    start(process_every_frame=True, max_rate=1.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(1 + i), out)
    done = len(out)
    for number in range(100):
        publisher.publish(image(1000 + number / 30))
    ros.spin_until(lambda: len(out) >= done + 100)
    stamps = [stamp(message) for message in out[done:]]
    np.testing.assert_allclose(np.diff(stamps), 1 / 30, atol=1e-6)
    status = diagnostics(ros, 'camera camera', lambda s: True)
    counts = read(status)
    assert counts['frames dropped'] == counts['frames throttled'] == '0'


def test_every_frame_ends_promptly_while_a_sender_is_held_back(ros, start, estimator):
    node = start(process_every_frame=True)
    ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    estimator.gate.clear()
    for number in range(30):
        publisher.publish(image(1000 + number))
    ros.spin_until(lambda: estimator.calls == 1)
    estimator.gate.set()
    node.trigger_deactivate()
    assert estimator.calls < 30


def test_diagnostics_tick_while_a_simulated_clock_stands_still(ros, start):
    start(use_sim_time=True, image_timeout=0.2)
    diagnostics(ros, 'camera camera', lambda s: s.level == DiagnosticStatus.ERROR)


def test_a_clock_that_jumps_back_stops_nothing(ros, start):
    start(use_sim_time=True, max_rate=2.0)
    out = ros.collect(Image, DEPTH)
    clock = ros.publisher(Clock, '/clock')
    publisher = ros.publisher(Image, 'camera/image_raw')

    def at(seconds):
        clock.publish(Clock(clock=Time(sec=int(seconds))))
        return image(seconds)

    send_until(ros, publisher, lambda i: at(5000 + i), out, count=3)
    done = len(out)
    send_until(ros, publisher, lambda i: at(10 + i), out, count=3)
    assert [stamp(message) for message in out[done : done + 3]] == [10, 11, 12]


def test_looping_stamps_are_processed_again_and_again(ros, start):
    start(max_rate=20.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(100 + i % 5), out, count=40)
    assert set(map(stamp, out)) <= set(range(100, 105))
    status = diagnostics(ros, 'camera camera', lambda s: int(read(s)['stamp jumps']) >= 2)
    assert status.level == DiagnosticStatus.WARN
    assert 'stamps' in status.message


def test_a_camera_without_stamps_is_still_processed(ros, start):
    start(max_rate=50.0)
    out = ros.collect(Image, DEPTH)
    publisher = ros.publisher(Image, 'camera/image_raw')
    send_until(ros, publisher, lambda i: image(0), out, count=3)
    assert stamp(out[-1]) == 0
