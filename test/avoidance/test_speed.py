"""Speeds by distance, time and closeness, and the ramps between them."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from midas_depth_ros.avoidance import AvoidanceSettings, ClosenessZones
from midas_depth_ros.avoidance.speed import (
    STANDING,
    Rolling,
    braking_speed,
    closeness_speed,
    follow,
    turning_speed,
    worst_closeness,
    zone_speed,
)

OPTIONS = AvoidanceSettings(stop_distance=0.4, slow_distance=1.4, min_speed=0.03)
BY_TIME = dataclasses.replace(OPTIONS, slow_by='time', time_to_contact=2.0)
ZONES = ClosenessZones(stop=0.6, slow=0.3, side_stop=0.9, max_speed=0.2)
NAN, INF = math.nan, math.inf
either = st.sampled_from([OPTIONS, BY_TIME])
distances = st.floats(0.0, 100.0)
commands = st.floats(0.0, 10.0)


@pytest.mark.parametrize(
    ('free', 'options', 'speed'),
    [
        (0.0, OPTIONS, 0.0),
        (0.4, OPTIONS, 0.0),
        (0.9, OPTIONS, 0.2),  # half of the way
        (1.4, OPTIONS, 0.4),
        (INF, OPTIONS, 0.4),
        (0.45, OPTIONS, 0.03),  # slower is no speed that the drive can hold
        (0.401, OPTIONS, 0.0),  # and from that it could not brake in time
        (NAN, OPTIONS, 0.0),
        (0.4, BY_TIME, 0.0),
        (0.8, BY_TIME, 0.2),
        (1.4, BY_TIME, 0.4),
        (INF, BY_TIME, 0.4),
    ],
)
def test_speed_by_the_free_way(free, options, speed):
    assert zone_speed(free, 0.4, options) == pytest.approx(speed)


def test_a_fast_command_is_held_to_what_braking_allows():
    speed = zone_speed(1.4, 50.0, OPTIONS)
    way = speed * (OPTIONS.reaction_time + 1 / OPTIONS.rate)
    assert way + speed**2 / (2 * OPTIONS.stop_deceleration) == pytest.approx(1.0)


@given(distances, commands, st.floats(0, 3), st.floats(0, 1), either)
def test_what_was_sent_already_only_slows(free, command, speed, sent_m, options):
    rolling = Rolling(speed, sent_m)
    found = zone_speed(free, command, options, rolling)
    assert 0 <= found <= zone_speed(free, command, options)
    assert zone_speed(free, command, options, STANDING) == zone_speed(free, command, options)


def test_backward_is_not_forward():
    assert Rolling(-0.3, -0.1).towards(1.0) == STANDING
    assert Rolling(-0.3, -0.1).towards(-1.0) == Rolling(0.3, 0.1)


@given(distances, st.floats(0, 5), commands, either)
def test_more_room_is_never_slower(free, more, command, options):
    assert zone_speed(free, command, options) <= zone_speed(free + more, command, options)


@given(distances, commands, either)
def test_speed_is_within_command_and_braking_and_zero_in_the_stop_zone(free, command, options):
    speed = zone_speed(free, command, options)
    assert 0 <= speed <= command
    assert speed <= braking_speed(free - options.stop_distance, options)
    assert speed == 0 or free > options.stop_distance


@pytest.mark.parametrize('command', [0.0, -1.0, NAN])
def test_who_does_not_go_forward_gets_nothing(command):
    assert zone_speed(5.0, command, OPTIONS) == 0.0
    assert closeness_speed(0.0, command, OPTIONS) == 0.0


@pytest.mark.parametrize(
    ('values', 'worst'),
    [
        ((0.0, 0.5, 0.0), 0.5),
        ((0.6, 0.1, 0.0), 0.4),
        ((0.0, 0.1, 0.9), 0.6),
        ((0.0, INF, 0.0), INF),
        ((NAN, 0.0, 0.0), NAN),
        ((0.0, NAN, 0.0), NAN),
        ((2.0, 2.0, NAN), NAN),
        ((0.0, -0.1, 0.0), NAN),
        ((0.0, 0.0, -INF), NAN),
    ],
)
def test_one_closeness_for_three(values, worst):
    assert worst_closeness(*values, ZONES) == pytest.approx(worst, nan_ok=True)


@pytest.mark.parametrize(
    ('closeness', 'speed'),
    [
        (0.0, 0.2),
        (0.3, 0.2),
        (0.4, 0.1),  # 1/0.4 lies midway between 1/0.6 and 1/0.3
        (0.599, 0.03),
        (0.6, 0.0),
        (3.0, 0.0),
        (INF, 0.0),
        (NAN, 0.0),
    ],
)
def test_speed_by_closeness(closeness, speed):
    assert closeness_speed(closeness, 0.5, OPTIONS) == pytest.approx(speed)


@given(st.floats(0, 3), st.floats(0, 3), commands, st.booleans())
def test_nearer_is_never_faster(closeness, more, command, resuming):
    near = closeness_speed(closeness + more, command, OPTIONS, resuming)
    assert 0 <= near <= closeness_speed(closeness, command, OPTIONS, resuming) <= command
    assert closeness_speed(closeness, command, OPTIONS, True) <= closeness_speed(
        closeness, command, OPTIONS
    )


speeds = st.floats(-3, 3)
ramps = st.floats(0, 1)


@given(speeds, speeds, ramps, ramps)
def test_a_ramp_holds_its_bounds_and_comes_nearer(previous, target, rise, fall):
    value = follow(previous, target, rise, fall)
    assert min(previous, target, 0) <= value <= max(previous, target, 0)
    assert abs(value) - abs(previous) <= rise + 1e-12
    assert abs(previous) - abs(value) <= fall + 1e-12
    assert value * previous >= 0


@given(speeds, speeds)
def test_a_ramp_ends_at_its_target(previous, target):
    assume(abs(target) > 1e-6 or target == 0)
    value = previous
    for _ in range(200):
        value = follow(value, target, 0.1, 0.1)
    assert value == target


@pytest.mark.parametrize('wish', [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize('reaction', [0.0, 0.05, 0.2, 0.4])
@pytest.mark.parametrize('hertz', [1.0, 2.0, 5.0, 20.0])
def test_a_turn_ends_where_it_is_free_however_late_the_wheels_are(wish, reaction, hertz):
    """The wheels respond one reaction time late; the free angle is measured without delay."""
    options = dataclasses.replace(OPTIONS, reaction_time=reaction, rate=hertz)
    step_s, free, rate = 0.01, 3.0, 0.0
    on_the_way = [0.0] * round(reaction / step_s)
    for number in range(3000):
        if number % round(1 / hertz / step_s) == 0:
            sent = min(wish, turning_speed(free, options))
        on_the_way.append(sent)
        most = options.angular_acceleration * step_s
        rate += min(max(on_the_way.pop(0) - rate, -most), most)
        free -= rate * step_s
        assert free > -0.03
    assert free < 0.1
