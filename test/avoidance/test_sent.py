"""Zeros are sent for long enough; and velocities that come back as commands are detected."""

from __future__ import annotations

import itertools
import math

import pytest
from scans import wall

from midas_depth_ros.avoidance import (
    Avoidance,
    AvoidanceSettings,
    EchoDetector,
    MessageTimes,
    State,
)
from midas_depth_ros.avoidance.freshness import ECHOES, MARKS, ZeroTracker

STEP = 0.05
CLEAR = wall(math.inf)


class Robot:
    """Steps an avoidance like the node, with a clock that may jump; keeps what is sent."""

    def __init__(self) -> None:
        self.avoidance = Avoidance(AvoidanceSettings(source='scan', resume_delay=0.0))
        self.now_s, self.steady_s = 1000.0, 50.0
        self.sent: list[tuple[float, float]] = []
        self.steady = True

    def step(self, command=None, scan=CLEAR, elapsed_s=STEP, jump_s=0.0):
        self.now_s += elapsed_s + jump_s
        self.steady_s += elapsed_s
        if scan is not None:
            self.avoidance.see_scan(scan, MessageTimes(self.now_s, self.now_s))
        if command is not None:
            self.avoidance.command(*command, MessageTimes(self.now_s))
        decision = self.avoidance.step(self.now_s, self.steady_s if self.steady else None)
        if not decision.silent:
            self.sent.append((decision.linear, decision.angular))
        return decision

    def drive(self):
        for _ in range(40):
            self.step((0.4, 0.3))
        assert self.sent[-1] == (0.4, 0.3)

    def zeros(self) -> int:
        """Return how many zeros were sent last."""
        return sum(1 for _ in itertools.takewhile(lambda v: v == (0.0, 0.0), self.sent[::-1]))


JUMPS = {
    'stalled for 2 s': {'elapsed_s': 2.0},
    'stalled for 1.2 s': {'elapsed_s': 1.2},
    'stalled for an hour': {'elapsed_s': 3600.0},
    'the clock 5 s ahead': {'jump_s': 5.0},
    'the clock an hour ahead': {'jump_s': 3600.0},
    'the clock 1 s back': {'jump_s': -1.0},
    'the clock an hour back': {'jump_s': -3600.0},
    'nothing of it': {},
}


@pytest.mark.sampled
@pytest.mark.parametrize('steady', [True, False])
@pytest.mark.parametrize('jump', JUMPS.values(), ids=JUMPS)
def test_zeros_are_sent_for_a_while_whatever_the_clock_did(jump, steady):
    robot = Robot()
    robot.steady = steady
    robot.drive()
    decision = robot.step(**jump)  # and the commander is gone
    begin_s, steps = robot.steady_s, 0
    while not decision.silent and steps < 200:
        decision, steps = robot.step(), steps + 1
    assert decision.silent
    assert robot.zeros() >= 20
    assert robot.steady_s - begin_s >= 0.99


@pytest.mark.sampled
@pytest.mark.parametrize('stall_s', [0.5, 1.0, 2.0, 30.0])
def test_one_zero_before_a_stall_is_not_enough(stall_s):
    robot = Robot()
    robot.drive()
    while robot.sent[-1] != (0.0, 0.0):
        robot.step()
    robot.step(elapsed_s=stall_s)
    count = 0
    while not robot.step().silent:
        count += 1
    assert count >= 15


def test_a_clock_that_jumps_all_the_time_does_not_silence_it_sooner():
    robot = Robot()
    robot.drive()
    begin_s = robot.steady_s
    for n in range(400):
        decision = robot.step(jump_s=(-7.0, 11.0, 0.0)[n % 3])
        if decision.silent:
            break
    assert decision.silent
    assert robot.steady_s - begin_s >= 1.0
    assert robot.zeros() >= 15


def test_while_the_clock_stands_still_zeros_are_sent_too_and_not_for_ever():
    robot = Robot()
    robot.drive()
    silent = []
    for n in range(60):
        decision = robot.avoidance.halt('no time', robot.steady_s + 0.2 * n)
        assert (decision.linear, decision.angular, decision.state) == (0.0, 0.0, State.NO_CLOCK)
        silent.append(decision.silent)
    assert not any(silent[:20])
    assert silent[-1]
    assert not robot.avoidance.owes_zero


def test_who_never_sent_anything_sends_nothing_when_the_clock_stands_still():
    assert Avoidance(AvoidanceSettings()).halt('no time', 1.0).silent


def test_a_new_command_is_obeyed_at_once_and_zeros_are_owed_anew():
    robot = Robot()
    robot.drive()
    while not robot.step().silent:
        pass
    assert not robot.avoidance.owes_zero
    for _ in range(5):
        robot.step((0.4, 0.0))
    assert robot.sent[-1][0] > 0
    assert robot.avoidance.owes_zero


def test_who_stood_long_enough_by_command_is_silent_soon():
    robot = Robot()
    robot.drive()
    for _ in range(60):
        robot.step((0.0, 0.0))
    assert not robot.avoidance.owes_zero
    steps = 0
    while not robot.step().silent:
        steps += 1
    assert steps <= 0.5 / STEP + 1


def test_the_watch_counts_both_clocks_and_no_gap():
    watch = ZeroTracker()
    assert not watch.owes()
    watch.sent(0.0, 0.1, 0.0, 0.0)
    for n in range(1, 19):
        watch.sent(0.0, 0.0, 0.05 * n, 100.0 * n)
        assert watch.owes()
    for n in range(19, 24):
        watch.sent(0.0, 0.0, 0.05 * n, 100.0 * n)
    assert not watch.owes()
    watch.sent(-0.1, 0.0, 9.0, 9.0)
    watch.sent(0.0, 0.0, 1e9, 1e9)
    watch.sent(0.0, 0.0, 2e9, 2e9)
    assert watch.owes()


# --- what comes back ------------------------------------------------------------------------------


def heard(watch: EchoDetector, marks, seconds=5.0) -> bool:
    """Return whether an echo is detected when such marks come in while ours go out."""
    noticed, steady_s = False, 0.0
    while steady_s < seconds:
        steady_s += STEP
        mark = watch.mark
        watch.sent()
        watch.heard(marks(mark), steady_s)
        noticed |= watch.comes_back(steady_s)
    return noticed


@pytest.mark.parametrize('seed', range(20))
def test_who_hears_himself_notices(seed):
    assert heard(EchoDetector(seed), lambda mark: mark)
    turn = itertools.count()
    # Every second command is from another commander, without a mark.
    assert heard(EchoDetector(seed), lambda mark: mark if next(turn) % 2 else 0)


@pytest.mark.parametrize('seed', range(20))
def test_other_commands_are_no_echo(seed):
    assert not heard(EchoDetector(seed), lambda mark: 0)
    for foreign in MARKS:  # another avoidance node before this one
        assert not heard(EchoDetector(seed), lambda mark, m=foreign: m, 20.0)


def test_a_late_echo_is_noticed_and_forgotten_when_it_is_over():
    watch, on_the_way = EchoDetector(1), [0] * 10
    for n in range(200):
        on_the_way.append(watch.mark)
        watch.sent()
        watch.heard(on_the_way.pop(0), STEP * n)
    assert watch.comes_back(STEP * 200)
    assert not watch.comes_back(STEP * 200 + 3.0)
    assert ECHOES > 2


def test_who_is_fed_back_stands_and_says_so():
    robot = Robot()
    robot.drive()
    robot.avoidance.fed_back = True
    for _ in range(10):
        decision = robot.step((0.4, 0.3))
    assert (decision.linear, decision.angular) == (0.0, 0.0)
    assert (decision.state, decision.silent) == (State.ECHO, False)
    robot.avoidance.fed_back = False
    for _ in range(20):
        decision = robot.step((0.4, 0.3))
    assert decision.linear > 0.3
