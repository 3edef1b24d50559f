"""What is out of view is remembered for some time, moves with the robot, and yields to new data."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scans import CENTRE, wall

from midas_depth_ros.avoidance import (
    Avoidance,
    AvoidanceSettings,
    MessageTimes,
    ScanView,
    read_scan,
)
from midas_depth_ros.avoidance.corridor import Footprint, Pose
from midas_depth_ros.avoidance.memory import FreeMemory, ObstacleMemory

SEEING_ALL = dataclasses.replace(CENTRE, blind_range=0.0)
OPTIONS = AvoidanceSettings(
    robot_width=0.4, robot_front=0.2, robot_rear=0.2, sensor=SEEING_ALL, resume_delay=0.0
)
CLEAR = wall(math.inf, half_angle=0.5)


def post(bearing: float, distance: float = 0.5) -> ScanView:
    """One hit in a narrow view."""
    bearings = np.linspace(-0.5, 0.5, 101)
    ranges = np.where(np.abs(bearings - bearing) < 0.004, distance, np.inf)
    return read_scan(ranges, -0.5, 0.5, 0.01, 0.05, 8.0, CENTRE)


def remembered(*steps: tuple[float, ScanView, Pose], options: AvoidanceSettings = OPTIONS) -> list:
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
    """Return the free way when turning back toward a post that was passed and is out of view."""
    avoidance = Avoidance(dataclasses.replace(OPTIONS, memory=memory))
    now_s, x = 100.0, 0.0
    for _ in range(100):
        now_s += 0.05
        far_aside = math.atan2(0.4, 1.0 - x)
        view = post(far_aside, math.hypot(1.0 - x, 0.4)) if abs(far_aside) < 0.5 else CLEAR
        avoidance.see_scan(view, MessageTimes(now_s))
        avoidance.command(0.3, 0.0 if x < 0.7 else 1.5, MessageTimes(now_s))
        decision = avoidance.step(now_s)
        if x >= 0.7:
            return decision.free_m
        x += 0.05 * decision.linear
    raise AssertionError('never came to the post')


def test_one_does_not_turn_into_what_one_is_passing():
    assert drive_past(memory=3.0) < 0.35
    assert drive_past(memory=0.0) == math.inf


def test_who_stands_beside_a_thing_remembers_it_longer():
    options = dataclasses.replace(OPTIONS, memory=1.0)
    aside = Pose(yaw=0.6)  # out of the narrow view, and then nothing more

    def kept(*steps):
        return len(remembered((0.0, post(0.0), Pose()), *steps, options=options))

    assert kept((0.9, CLEAR, aside)) == 1
    assert kept((4.9, CLEAR, aside)) == 1
    assert kept((5.1, CLEAR, aside)) == 0
    assert kept((4.9, CLEAR, Pose(x=0.4, yaw=0.6))) == 0  # its place is too uncertain now


@pytest.mark.parametrize('seen_free_first', [True, False])
def test_before_a_hit_that_came_into_view_too_late_nothing_is_gone(seen_free_first):
    """Whichever of scan and seen_free comes first: nobody has looked at what is before it."""
    avoidance = Avoidance(OPTIONS)
    avoidance.see_scan(post(0.0), MessageTimes(100.0))
    avoidance.command(0.3, 0.0, MessageTimes(100.0))
    avoidance.step(100.0)
    unknown = np.full(101, math.nan)
    hits = np.full(101, 3.0), -0.5, 0.5, 0.01, 0.05, 8.0, CENTRE
    blind = read_scan(*hits, seen_free=np.zeros(101))
    avoidance.see_scan(blind if seen_free_first else read_scan(*hits), MessageTimes(100.1))
    if not seen_free_first:
        avoidance.refine_scan(blind)
    # Later only closeness is left, and what is remembered.
    avoidance.see_scan(read_scan(unknown, *hits[1:]), MessageTimes(100.2))
    avoidance.see_closeness(0.0, 0.0, 0.0, MessageTimes(101.1))
    avoidance.command(0.3, 0.0, MessageTimes(101.1))
    decision = avoidance.step(101.1)
    assert 'a scan showed an obstacle 0.3' in decision.text


@pytest.mark.parametrize('seed', range(4))
def test_of_a_scan_and_its_seen_free_either_may_come_first(seed):
    random = np.random.default_rng(seed)
    one, other = Avoidance(OPTIONS), Avoidance(OPTIONS)
    for number in range(40):
        now_s = 100.0 + 0.1 * number
        ranges = np.repeat(random.choice([0.6, 2.0, math.inf, math.nan], 21), 10)
        beams = ranges, -1.05, 1.04, 0.01, 0.05, 8.0, CENTRE
        seen_free = np.repeat(random.choice([0.0, 1.0, math.nan], 21), 10)
        both, moment = read_scan(*beams, seen_free=seen_free), MessageTimes(now_s)
        one.see_scan(both, moment)
        other.see_scan(read_scan(*beams), moment)
        other.refine_scan(both)
        for each in (one, other):
            each.command(0.2, 0.5, moment)
        assert one.step(now_s) == other.step(now_s)
        assert one._informed_s == other._informed_s
        np.testing.assert_array_equal(one._floor._seen_s, other._floor._seen_s)


# --- free floor -----------------------------------------------------------------------------------

SMALL = Footprint(0.2, 0.2, 0.2)
NO_POINTS = np.empty(0), np.empty(0)
HERE = Pose()


def floor(*steps: tuple[float, ScanView, Pose], points=NO_POINTS) -> FreeMemory:
    memory = FreeMemory()
    for seen_s, view, moved in steps:
        memory.see(view, seen_s, moved, points, SMALL)
    return memory


def free(memory: FreeMemory, x: float, y: float, pose=HERE, then_s=0.0) -> bool:
    return bool(memory.free_since(np.array([x]), np.array([y]), pose, then_s)[0])


def test_what_was_seen_free_lies_where_the_robot_has_left_it():
    memory = floor((1, CLEAR, Pose()))
    assert free(memory, 1.0, 0.0)
    assert not free(memory, 0.0, 1.0)
    assert free(memory, 0.6, 0.0, Pose(x=0.4))
    assert free(memory, 0.0, -1.0, Pose(yaw=math.pi / 2))
    assert not free(memory, 1.0, 0.0, Pose(yaw=math.pi / 2))
    blind = wall(ranges=np.full(121, np.nan), half_angle=0.5)
    later = floor((1, CLEAR, Pose()), (2, blind, Pose(x=0.3, yaw=1.5)))
    expected = Pose(x=0.3, yaw=1.5).to_now(np.array([1.0]), np.array([0.1]))
    assert free(later, float(expected[0][0]), float(expected[1][0]))


def test_it_is_forgotten_in_time_and_where_something_is():
    memory = floor((1, CLEAR, Pose()))
    assert free(memory, 1.0, 0.0, then_s=1.0)
    assert not free(memory, 1.0, 0.0, then_s=1.01)
    spot = np.array([1.0]), np.array([0.0])
    assert not free(floor((1, CLEAR, Pose()), points=spot), 1.0, 0.0)
    assert free(floor((1, CLEAR, Pose()), points=spot), 1.0, 0.15)


def test_where_the_sensor_looks_and_cannot_tell_nothing_is_remembered():
    bearings = np.linspace(-0.5, 0.5, 101)
    gap = read_scan(
        np.where(np.abs(bearings) < 0.1, np.nan, np.inf), -0.5, 0.5, 0.01, 0.05, 8.0, CENTRE
    )
    memory = floor((1, CLEAR, Pose()), (2, gap, Pose()))
    assert not free(memory, 1.0, 0.0)
    assert free(memory, 1.0, 0.3)
    # But below a camera, behind what was hit, and beside its view it does not look.
    assert free(memory, 0.2, 0.0)
    hit = floor((1, CLEAR, Pose()), (2, post(0.0, 0.5), Pose()))
    assert free(hit, 1.0, 0.0)
    turned = floor((1, CLEAR, Pose()), (2, gap, Pose(yaw=1.5)))
    there = Pose(yaw=1.5).to_now(np.array([1.0]), np.array([0.0]))
    assert free(turned, float(there[0][0]), float(there[1][0]))


def test_a_cell_is_free_only_as_a_whole():
    """No place reported as free is in an unknown gap as wide as a pole."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        away, bearing = rng.uniform(0.5, 1.8), rng.uniform(-0.4, 0.4)
        bearings = np.linspace(-0.5, 0.5, 301)
        hidden = np.abs(away * np.sin(bearings - bearing)) <= 0.02
        ranges = np.where(hidden, np.nan, np.inf)
        view = read_scan(ranges, -0.5, 0.5, 1 / 300, 0.05, 8.0, CENTRE)
        memory = floor((1, view, Pose(rng.uniform(-9, 9), rng.uniform(-9, 9), rng.uniform(-3, 3))))
        assert not free(memory, away * math.cos(bearing), away * math.sin(bearing))


def test_where_the_robot_has_stood_nothing_else_is():
    memory = floor((1, CLEAR, Pose()))
    assert not free(memory, -0.1, 0.1, then_s=1.5)
    memory.stand(Pose(), 2.0, SMALL)
    assert free(memory, -0.1, 0.1, then_s=1.5)
    assert not free(memory, -0.4, 0.0, then_s=1.5)
    memory.stand(Pose(x=0.5), 3.0, SMALL)
    assert free(memory, -0.6, 0.0, Pose(x=0.5), 1.5)


@pytest.mark.parametrize('way', [(0.13, 0.0), (0.1, -0.2), (0.07, 1.3)])
def test_the_cells_come_along_however_far_the_robot_goes(way):
    forward, turn = way
    memory = FreeMemory()
    for step in range(400):
        memory.see(CLEAR, float(step), Pose().moved(forward, turn), NO_POINTS, SMALL)
        assert free(memory, 1.0, 0.0, then_s=float(step))
    # What lay ahead before the last step lies where that has left it.
    x, y = Pose().moved(forward, turn).to_now(np.array([0.9]), np.array([0.0]))
    assert free(memory, float(x[0]), float(y[0]), then_s=398.0)
    assert not free(memory, -1.0, 0.0, then_s=399.0)


def test_a_robot_that_grows_or_is_huge_has_cells_enough():
    memory = floor((1, CLEAR, Pose()))
    memory.see(CLEAR, 2.0, Pose(), NO_POINTS, Footprint(0.5, 1.5, 1.0))
    assert free(memory, 3.0, 0.0)
    memory.see(CLEAR, 3.0, Pose(), NO_POINTS, Footprint(10.0, 20.0, 20.0))
    memory.stand(Pose(), 3.0, Footprint(10.0, 20.0, 20.0))
    assert free(memory, 3.0, 2.0)
    assert not free(memory, 300.0, 0.0)
