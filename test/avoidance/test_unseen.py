"""What the robot would sweep must be known: place by place, and in drives among unseen poles."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from effort import some, tries
from hypothesis import given, settings
from hypothesis import strategies as st
from poles import LIDAR, Pole, Sensor, drive, gap_to
from scans import CENTRE

from midas_depth_ros.avoidance import AvoidanceSettings, SensorPlace, State, SteeringOptions
from midas_depth_ros.avoidance.corridor import (
    Footprint,
    free_arc,
    known_all_round,
    known_arc,
    known_straight,
)

SMALLEST = 0.04
ROBOT = Footprint(half_width=0.2, front=0.3, rear=0.1, margin=0.05)
OPTIONS = AvoidanceSettings(
    robot_width=0.36, robot_front=0.18, robot_rear=0.18, sensor=CENTRE, source='scan'
)
STEERING = dataclasses.replace(OPTIONS, steering=SteeringOptions(enabled=True))
CAMERA = Sensor()


class Ground:
    """Known everywhere except on some discs (x, y, radius), and farther than `beyond` ahead."""

    def __init__(self, *discs: tuple[float, float, float], beyond: float = math.inf) -> None:
        self.discs, self.beyond = discs, beyond

    def knows(self, x, y):
        known = x <= self.beyond
        for disc_x, disc_y, radius in self.discs:
            known &= np.hypot(x - disc_x, y - disc_y) > radius
        return known

    reached = knows


def arc(known, curvature, way=1.0, strip=0.0, footprint=ROBOT):
    return known_arc(known, footprint, curvature, way, strip, SMALLEST)


# --- straight ahead ------------------------------------------------------------------------------


def straight(known, nearest=0.3, farthest=2.0):
    return known_straight(known, ROBOT, nearest, farthest, 0.25, SMALLEST)


def test_straight_ahead_is_seen_as_far_as_it_is_known():
    assert straight(Ground()).seen == math.inf
    assert straight(Ground(beyond=1.3)).seen == pytest.approx(1.0, abs=0.06)
    assert straight(Ground(beyond=0.5)).seen == 0.0
    assert straight(Ground(beyond=0.5), 0.5, 0.4).seen == math.inf  # nothing is asked


@pytest.mark.parametrize('y', [-0.2, -0.1, 0.0, 0.15, 0.2])
def test_the_smallest_obstacle_is_found_anywhere_across_the_robot(y):
    assert straight(Ground((1.0, y, 0.02))).seen <= 0.7
    assert straight(Ground((1.0, y + math.copysign(0.25, y), 0.02))).seen == math.inf


def test_the_widest_gap_where_the_stop_zone_ends_is_told():
    found = straight(Ground((0.6, 0.1, 0.05), (0.6, -0.15, 0.02)))
    assert (found.seen, found.aside) == (0.0, pytest.approx(0.1, abs=0.011))
    assert found.gap == pytest.approx(0.1, abs=0.025)
    assert found.share == pytest.approx(0.28, abs=0.05)


# --- along an arc ---------------------------------------------------------------------------------


@settings(max_examples=tries(300), deadline=None)
@given(
    st.floats(-0.8, 1.5),
    st.floats(-1.2, 1.2),
    st.floats(0.02, 0.1),
    st.floats(-6.0, 6.0),
    st.floats(0.1, 0.5),
    st.floats(0.05, 0.4),
)
def test_what_would_be_touched_unseen_is_found_before_it_is(x, y, radius, curvature, half, front):
    """Every disc of the smallest size or more on an arc is found, unless the robot is there now."""
    footprint = Footprint(half, front, 0.15)
    if footprint.grown(0.05 + 2 * radius).covers(np.array([x]), np.array([y])).any():
        return
    way = min(1.0, 2 * math.pi / max(abs(curvature), 1e-9))
    rim = np.linspace(0, 2 * math.pi, 200)
    edge = free_arc(x + radius * np.cos(rim), y + radius * np.sin(rim), curvature, footprint)
    if edge == math.inf or edge >= way:
        return
    found = arc(Ground((x, y, radius)), curvature, way, footprint=footprint)
    assert found.seen <= edge + 0.025
    assert found.room <= found.seen + 0.025


def test_nothing_is_asked_of_where_the_robot_stands_nor_of_the_strip_before_it():
    beside = Ground((0.1, 0.22, 0.02), (-0.05, -0.23, 0.015))
    assert arc(beside, 1.5).seen == math.inf
    ahead = Ground((0.5, 0.0, 0.05))
    assert arc(ahead, 0.0).seen == pytest.approx(0.15, abs=0.03)
    assert arc(ahead, 0.0, strip=0.3).seen == math.inf
    # The room to it counts from where the strip would begin to hide it.
    farther = Ground((0.8, 0.0, 0.05))
    found = arc(farther, 0.0, strip=0.3)
    assert found.seen == pytest.approx(0.45, abs=0.03)
    assert found.room == pytest.approx(0.15, abs=0.04)


def test_a_tail_that_swings_out_is_asked_of_too():
    long = Footprint(0.2, 0.1, 0.6)
    aside = Ground((-0.5, -0.3, 0.03))  # right of the back
    assert arc(aside, 1.5, footprint=long).seen < 0.6
    assert arc(aside, -1.5, footprint=long).seen == math.inf
    assert arc(aside, 0.0, footprint=long).seen == math.inf


def test_a_robot_of_any_size_is_asked_of_in_reasonable_time():
    giant = Footprint(10.0, 20.0, 20.0)
    assert arc(Ground(), 0.05, 25.0, footprint=giant).seen == math.inf
    assert arc(Ground((30.0, 5.0, 1.0)), 0.05, 25.0, footprint=giant).seen < 15.0
    assert known_straight(Ground(), giant, 1.0, 60.0, 0.25, SMALLEST).seen == math.inf


def test_all_round_means_the_corners_circle():
    assert known_all_round(Ground(), ROBOT, SMALLEST)
    assert not known_all_round(Ground((-0.3, 0.0, 0.03)), ROBOT, SMALLEST)
    assert known_all_round(Ground((0.0, 0.5, 0.03)), ROBOT, SMALLEST)


# --- standing beside an unseen pole --------------------------------------------------------------


def beside(rng, options, half_view, least_gap=0.08):
    """A pole 0.3 to 0.5 m to the side, out of view, and not where a corner sweeps on the spot."""
    corner = math.hypot(max(options.robot_front, options.robot_rear), options.robot_width / 2)
    while True:
        bearing = rng.uniform(half_view * 1.02, 2.4) * rng.choice([-1, 1])
        away = rng.uniform(0.3, 0.5) + max(0.0, options.robot_width / 2 - 0.18)
        pole = Pole(away * math.cos(bearing), away * math.sin(bearing), rng.uniform(0.02, 0.06))
        clear_of_corners = math.hypot(pole.x, pole.y) - pole.radius > corner + 0.02
        if gap_to((0.0, 0.0, 0.0), options, [pole]) > least_gap and clear_of_corners:
            return pole


@pytest.mark.parametrize('seed', range(tries(6)))
def test_an_arc_never_ends_in_a_pole_that_stands_unseen_beside(seed):
    rng = np.random.default_rng(seed)
    for _ in range(12):
        front, rear = rng.uniform(0.1, 0.35, 2)
        options = AvoidanceSettings(
            robot_width=rng.uniform(0.2, 0.6),
            robot_front=front,
            robot_rear=rear,
            sensor=SensorPlace(x=rng.uniform(0.0, front)),
        )
        half = float(rng.choice([0.55, 0.7, 0.8, 0.9]))
        sensor = Sensor(
            half_view=half,
            beams=int(2 * half / 0.0175) + 1,
            steps=int(rng.choice([2, 4])),
            late_steps=int(rng.choice([1, 3, 5])),
            floor_m=float(rng.choice([math.nan, 1.5, 3.0])),
        )
        pole = beside(rng, options, half)
        speed = rng.uniform(0.05, 0.4)
        turn = math.copysign(rng.uniform(0.05, 1.2), pole.y) * rng.choice([1, 1, 1, -1])
        dropped = bool(rng.random() < 0.3)
        found = drive(options, [pole], lambda _, c=(speed, turn): c, 4.0, sensor, dropped=dropped)
        # Out of view a turn on the spot cannot be checked; driving forward can.
        assert not (found.hit and found.rolling), (options, sensor, pole, speed, turn)


@pytest.mark.sampled
@pytest.mark.parametrize('turn', [0.4, -0.6, 0.8])
@pytest.mark.parametrize('options', [OPTIONS, STEERING])
def test_with_a_scan_all_round_nothing_is_hit_at_all(options, turn):
    for bearing in some(np.linspace(-2.8, 2.8, 9)):
        pole = Pole(0.4 * math.cos(bearing), 0.4 * math.sin(bearing), 0.03)
        found = drive(options, [pole], lambda _: (0.4, turn), 4.0, LIDAR)
        assert not found.hit
        assert found.states[State.NO_DATA] <= LIDAR.late_steps


@pytest.mark.sampled
@pytest.mark.parametrize('turn', [0.0, 0.1, 0.3, 0.5, -0.6, 0.8, -1.0])
@pytest.mark.parametrize('half_view', [0.6, 0.8])
def test_in_an_open_field_nobody_stands_for_ever(turn, half_view):
    """The curve may be wider than commanded, but it is driven."""
    sensor = dataclasses.replace(CAMERA, half_view=half_view, floor_m=2.5)
    found = drive(OPTIONS, [], lambda _: (0.4, turn), 8.0, sensor)
    assert found.distance > 1.5
    assert found.turned >= 0.25 * abs(turn) * 8.0


def test_who_may_not_drive_a_curve_may_turn_and_then_goes():
    """Nearly on the spot: it turns without driving, and drives when commanded straight ahead."""
    turning = drive(OPTIONS, [], lambda _: (0.05, 0.8), 4.0, CAMERA)
    assert turning.distance < 0.05
    assert turning.turned > 2.0
    assert turning.last is not None
    assert turning.last.state is State.NO_DATA
    assert 'm of the curve' in turning.last.text
    then = drive(OPTIONS, [], lambda t: (0.05, 0.8) if t < 3 else (0.3, 0.0), 8.0, CAMERA)
    assert then.distance > 1.0


def test_what_was_dropped_from_the_scan_stops_like_what_is_there():
    pole = Pole(1.5, 0.0, 0.02)
    for dropped in (False, True):
        found = drive(OPTIONS, [pole], lambda _: (0.4, 0.0), 14.0, CAMERA, dropped=dropped)
        assert not found.hit
        assert 0.5 < found.distance < 1.3
        assert found.gap > 0.1
    assert found.states[State.NO_DATA] > 10


@pytest.mark.parametrize('floor_m', [0.8, 1.5])
def test_a_floor_that_is_seen_is_driven_on_as_fast_as_it_is_seen(floor_m):
    sensor = dataclasses.replace(CAMERA, floor_m=floor_m)
    found = drive(OPTIONS, [], lambda _: (0.4, 0.0), 6.0, sensor)
    assert found.last is not None
    assert found.distance > 0.3
    assert (found.last.linear < 0.25) == (floor_m < 1.0)
    # Without a seen_free the same beams are unknown.
    blind = drive(OPTIONS, [], lambda _: (0.4, 0.0), 2.0, dataclasses.replace(sensor, floor_m=0.0))
    assert blind.distance == 0.0
