"""Throttling by stamps, newest frame only, fairness, and waiting for room."""

import dataclasses
import threading
import types

import numpy as np
import pytest

from midas_depth_ros.images import NANOSECONDS
from midas_depth_ros.images.errors import TruncatedPicture
from midas_depth_ros.nodes.depth import worker
from midas_depth_ros.nodes.depth.camera_input import Frame, FrameExchange
from midas_depth_ros.nodes.depth.stamps import StampPace, StampThrottle


def frame(camera: str, number: int) -> Frame:
    return Frame(camera, message=number, stamp_ns=number, received_s=0.0)


def passed(stamps_s, max_rate_hz):
    throttle = StampThrottle()
    return [s for s in stamps_s if throttle.passes(round(s * NANOSECONDS), max_rate_hz)]


@pytest.mark.parametrize(
    ('camera_hz', 'expected_hz'), [(30, 5.0), (100, 5.0), (7, 5.0), (5, 5.0), (4, 4.0), (1, 1.0)]
)
def test_the_mean_rate_is_held_in_spite_of_jitter(camera_hz, expected_hz):
    jitter = np.random.default_rng(1).uniform(-0.1, 0.1, 60 * camera_hz) / camera_hz
    stamps = 100 + np.arange(60 * camera_hz) / camera_hz + jitter
    assert len(passed(stamps, 5.0)) / 60 == pytest.approx(expected_hz, rel=0.02)


def test_no_frame_of_a_camera_at_the_limit_is_lost_to_jitter():
    jitter = np.random.default_rng(2).uniform(-0.02, 0.02, 200)
    stamps = 10 + np.arange(200) * 0.2 + jitter
    assert len(passed(stamps, 5.0)) == 200


def test_a_gap_is_not_caught_up_with():
    stamps = [0.0, *np.arange(100.0, 101.0, 0.01)]
    assert len(passed(stamps, 5.0)) <= 1 + 6


def test_zero_rate_lets_everything_pass():
    assert len(passed(np.arange(0, 1, 0.001), 0.0)) == 1000


def test_a_backward_jump_starts_anew():
    throttle = StampThrottle()
    assert throttle.passes(100 * NANOSECONDS, 1.0)
    assert not throttle.passes(100 * NANOSECONDS + 1, 1.0)
    assert throttle.passes(5 * NANOSECONDS, 1.0)
    assert throttle.passes(6 * NANOSECONDS, 1.0)


@pytest.mark.parametrize('slow_hz', [0.01, 0.2, 2.0])
def test_a_limit_that_is_raised_holds_at_once(slow_hz):
    """A parameter that is live: what was due by the old limit does not count any longer."""
    throttle = StampThrottle()
    stamps = [10 * NANOSECONDS + number * NANOSECONDS // 20 for number in range(60)]
    assert sum(throttle.passes(stamp, slow_hz) for stamp in stamps[:4]) == 1
    assert throttle.closed_for_s(stamps[4], 5.0) <= 0.1
    assert sum(throttle.passes(stamp, 5.0) for stamp in stamps[4:]) == 14


@pytest.mark.parametrize('camera_hz', [7, 30, 60])
def test_no_frame_that_passes_comes_while_it_is_said_that_none_can(camera_hz):
    jitter = np.random.default_rng(3).uniform(-0.2, 0.2, 20 * camera_hz) / camera_hz
    stamps = np.round((5 + np.arange(20 * camera_hz) / camera_hz + jitter) * 1e9).astype(int)
    throttle, closed_until = StampThrottle(), 0
    closed = 0
    for stamp in stamps.tolist():
        if throttle.passes(stamp, 5.0):
            assert stamp >= closed_until
        closed += stamp < closed_until
        closed_until = stamp + throttle.closed_for_s(stamp, 5.0) * NANOSECONDS
    assert closed >= len(stamps) * (1 - 5.0 / camera_hz) * 0.5


def test_without_a_limit_a_frame_can_always_come():
    throttle = StampThrottle()
    assert throttle.passes(NANOSECONDS, 0.0)
    assert throttle.closed_for_s(NANOSECONDS, 0.0) == 0


@pytest.mark.parametrize(
    ('speed', 'steady'), [(1.0, True), (0.5, True), (0.0, True), (1.5, False), (10, False)]
)
def test_stamps_are_steady_at_the_speed_of_the_wall_clock_or_below(speed, steady):
    pace = StampPace()
    for number in range(60):
        pace.add(round((100 + speed * number / 30) * NANOSECONDS), 7.0 + number / 30)
    assert pace.steady is steady


def test_a_pause_of_a_fast_replay_is_not_taken_for_steadiness():
    pace = StampPace()
    for number in range(60):
        pause_s = 0.5 if number >= 30 else 0.0
        pace.add(round((100 + number / 10) * NANOSECONDS), number / 30 + pause_s)
        assert not pace.steady


def test_a_jump_of_the_stamps_ends_the_steadiness():
    for jump_s in (-20, 20):
        pace = StampPace()
        for number in range(31):
            pace.add(round((100 + number / 30) * NANOSECONDS), number / 30)
        assert pace.steady
        states = []
        for number in range(31, 60):
            pace.add(round((100 + jump_s + number / 30) * NANOSECONDS), number / 30)
            states.append(pace.steady)
        assert not all(states)
        assert states[-1], 'steady again once the jump is past'


def test_a_new_frame_replaces_the_one_that_waits():
    exchange = FrameExchange(('a',))
    assert exchange.put(frame('a', 1)) is None
    assert exchange.put(frame('a', 2)).message == 1
    assert exchange.take().message == 2


def test_that_time_began_anew_is_not_lost_with_the_frame_that_said_it():
    exchange = FrameExchange(('a', 'b'))
    exchange.put(dataclasses.replace(frame('a', 1), restarted=True))
    exchange.put(frame('b', 1))
    exchange.put(frame('a', 2))
    taken = {each.camera: each for each in (exchange.take(), exchange.take())}
    assert (taken['a'].message, taken['a'].restarted, taken['b'].restarted) == (2, True, False)


@pytest.mark.parametrize('fault', [TruncatedPicture('cut off'), RuntimeError('out of memory')])
def test_that_time_began_anew_is_not_lost_with_frames_that_fail(monkeypatch, fault):
    camera = types.SimpleNamespace(
        begins_anew=False,
        statistics=types.SimpleNamespace(busy=lambda busy: None),
        input=types.SimpleNamespace(report_fault=lambda kind, reason: None),
    )
    node = types.SimpleNamespace(get_logger=lambda: types.SimpleNamespace(debug=lambda text: None))
    works = worker.Worker(node, None, None, {'a': camera})
    said = []

    def infer(given, of_camera):
        said.append((given.message, given.restarted))
        if given.message in (1, 2):
            raise fault

    monkeypatch.setattr(works, '_infer_and_publish', infer)
    works.process(frame('a', 0))
    works.process(dataclasses.replace(frame('a', 1), restarted=True))
    for number in (2, 3, 4):
        works.process(frame('a', number))
    assert said == [(0, False), (1, True), (2, True), (3, True), (4, False)]


def test_cameras_take_turns_however_fast_one_of_them_is():
    exchange = FrameExchange(('fast', 'slow'))
    taken = []
    for number in range(10):
        exchange.put(frame('slow', number))
        for _ in range(5):
            exchange.put(frame('fast', number))
        taken += [exchange.take().camera, exchange.take().camera]
    assert taken.count('fast') == taken.count('slow') == 10


def test_a_silent_camera_does_not_hold_up_the_others():
    exchange = FrameExchange(('silent', 'b'))
    for number in range(3):
        exchange.put(frame('b', number))
        assert exchange.take().message == number


def test_with_capacity_every_frame_comes_through_in_order():
    exchange = FrameExchange(('a',), capacity=2)
    replaced = []
    sender = threading.Thread(
        target=lambda: replaced.extend(exchange.put(frame('a', number)) for number in range(50))
    )
    sender.start()
    taken = [exchange.take().message for _ in range(50)]
    sender.join()
    assert taken == list(range(50))
    assert replaced == [None] * 50


def test_who_asks_for_room_never_waits_and_is_told_when_there_is_some():
    told = []
    exchange = FrameExchange(('a', 'b'), capacity=2, on_room=lambda: told.append(True))
    exchange.put(frame('a', 1))
    assert not exchange.is_full('a')
    exchange.put(frame('a', 2))
    assert exchange.is_full('a')
    assert not exchange.is_full('b')
    assert not told
    exchange.take()
    assert not exchange.is_full('a')
    assert told == [True]
    exchange.put(frame('a', 3))
    exchange.close()
    assert not exchange.is_full('a'), 'what comes now is refused, not waited for'


def test_a_slot_that_is_replaced_is_never_full():
    exchange = FrameExchange(('a',))
    exchange.put(frame('a', 1))
    assert not exchange.is_full('a')


def test_close_wakes_a_taker_and_a_waiting_sender():
    empty, full = FrameExchange(('a',)), FrameExchange(('a',), capacity=2)
    full.put(frame('a', 1))
    full.put(frame('a', 2))
    results = {}
    threads = [
        threading.Thread(target=lambda: results.update(taken=empty.take())),
        threading.Thread(target=lambda: results.update(refused=full.put(frame('a', 3)))),
    ]
    for thread in threads:
        thread.start()
    empty.close()
    full.close()
    for thread in threads:
        thread.join(timeout=10)
    assert results['taken'] is None
    assert results['refused'].message == 3
    assert full.take() is None
