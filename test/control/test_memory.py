"""What is out of view is remembered a while, moves with the robot, and yields to what is seen."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scans import CENTRE, wall

from midas_depth_ros.control import Avoidance, AvoidanceOptions, Moment, ScanView, read_scan
from midas_depth_ros.control.corridor import Pose
from midas_depth_ros.control.memory import ObstacleMemory

SEEING_ALL = dataclasses.replace(CENTRE, blind_range=0.0)
OPTIONS = AvoidanceOptions(
    robot_width=0.4, robot_front=0.2, robot_rear=0.2, sensor=SEEING_ALL, resume_delay=0.0
)
CLEAR = wall(math.inf, half_angle=0.5)


def post(bearing: float, distance: float = 0.5) -> ScanView:
    """One hit in a narrow view."""
    bearings = np.linspace(-0.5, 0.5, 101)
    ranges = np.where(np.abs(bearings - bearing) < 0.004, distance, np.inf)
    return read_scan(ranges, -0.5, 0.5, 0.01, 0.05, 8.0, CENTRE)


def remembered(*steps: tuple[float, ScanView, Pose], options: AvoidanceOptions = OPTIONS) -> list:
    memory = ObstacleMemory()
    for seen_s, view, moved in steps:
        memory.see(view, seen_s, moved, options)
    return [(round(float(x), 2), round(float(y), 2)) for x, y in zip(memory.x, memory.y)]  # noqa: B905


def test_what_has_turned_out_of_view_lies_where_the_turn_has_put_it():
    quarter = Pose(yaw=math.pi / 2)
    assert remembered((0, post(0.0), Pose()), (1, CLEAR, quarter)) == [(0.0, -0.5)]
    # And where the robot has passed it, behind.
    steps = [(0, post(0.4), Pose()), (1, CLEAR, Pose(x=0.6))]
    assert remembered(*steps) == [(round(0.5 * math.cos(0.4) - 0.6, 2), 0.19)]


def test_what_is_seen_to_be_gone_is_gone():
    assert remembered((0, post(0.0), Pose()), (1, CLEAR, Pose())) == []


def test_what_may_have_slipped_below_the_view_is_not_gone():
    options = dataclasses.replace(OPTIONS, sensor=dataclasses.replace(CENTRE, blind_range=0.3))
    steps = [(0, post(0.0), Pose()), (1, CLEAR, Pose(x=0.25))]
    assert remembered(*steps, options=options) == [(0.25, 0.0)]
    assert remembered(*steps) == []


@pytest.mark.parametrize(('memory', 'kept'), [(3.0, 1), (0.5, 0), (0.0, 0)])
def test_it_is_forgotten_in_time(memory, kept):
    options = dataclasses.replace(OPTIONS, memory=memory)
    turned = Pose(yaw=1.5)
    assert len(remembered((0, post(0.0), Pose()), (1, CLEAR, turned), options=options)) == kept


def test_what_is_far_off_need_not_be_remembered():
    assert remembered((0, post(0.0, 5.0), Pose()), (1, CLEAR, Pose(yaw=1.5))) == []


@pytest.mark.parametrize('moment', [math.inf, -math.inf])
def test_scans_of_an_infinite_moment_are_remembered_without_arithmetic_on_it(moment):
    aside = Pose(yaw=1.5)  # the second scan does not tell of where the post is
    steps = (moment, post(0.0), Pose()), (moment, CLEAR, aside)
    assert len(remembered(*steps)) == 1


def test_memory_does_not_grow_for_ever():
    memory = ObstacleMemory()
    view = wall(0.6, half_angle=0.5)
    for step in range(300):
        memory.see(view, 0.01 * step, Pose(yaw=0.5), OPTIONS)
    assert len(memory.x) <= 2000 + len(view.x)


def drive_past(memory: float) -> float:
    """The free way when turning back toward a post that was passed and is out of view."""
    avoidance = Avoidance(dataclasses.replace(OPTIONS, memory=memory))
    now_s, x = 100.0, 0.0
    for _ in range(100):
        now_s += 0.05
        far_aside = math.atan2(0.4, 1.0 - x)
        view = post(far_aside, math.hypot(1.0 - x, 0.4)) if abs(far_aside) < 0.5 else CLEAR
        avoidance.see_scan(view, Moment(now_s))
        avoidance.command(0.3, 0.0 if x < 0.7 else 1.5, Moment(now_s))
        decision = avoidance.step(now_s)
        if x >= 0.7:
            return decision.free_m
        x += 0.05 * decision.linear
    raise AssertionError('never came to the post')


def test_one_does_not_turn_into_what_one_is_passing():
    assert drive_past(memory=3.0) < 0.35
    assert drive_past(memory=0.0) == math.inf
