"""72 sectors of a scan: unknown, clear and a distance are never taken for each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.avoidance.obstacle_distance import (
    BINS,
    UNKNOWN_CM,
    BadSectors,
    obstacle_distance,
)

STEP = math.radians(0.5)
LIMITS = {'range_min': 0.1, 'range_max': 6.0}
DEGREE = math.radians(1.0)


def scan(values, first_deg=-30.0, step=STEP, **more):
    angles = {'angle_min': math.radians(first_deg), 'angle_increment': step}
    return obstacle_distance(np.asarray(values, np.float32), **angles, **{**LIMITS, **more})


def test_clear_unknown_and_distance_are_what_mavlink_says_they_are():
    values = np.full(121, np.inf)
    values[60:] = 2.0  # to the left
    values[90:] = np.nan
    found = scan(values)
    assert (found.min_cm, found.max_cm, found.clear_cm) == (10, 600, 601)
    # Ahead both; to the right (clockwise) clear; to the left the wall, then nothing is known.
    assert found.distances_cm[0] == 200
    assert set(found.distances_cm[1:6]) == {601}
    assert set(found.distances_cm[-3:]) == {200}
    assert found.distances_cm[-4] == UNKNOWN_CM
    assert set(found.distances_cm[7:65]) == {UNKNOWN_CM}, 'behind the camera nothing is known'


def test_the_left_of_a_scan_is_the_left_of_the_vehicle():
    values = np.full(121, np.nan)
    values[100] = 1.5  # 20 degrees to the left
    found = scan(values)
    assert np.flatnonzero(found.distances_cm != UNKNOWN_CM).tolist() == [BINS - 4]
    assert found.distances_cm[BINS - 4] == 150


def test_an_obstacle_is_not_hidden_by_what_is_unknown_beside_it():
    values = np.full(121, np.nan)
    values[61] = 0.8
    assert scan(values).distances_cm[0] == 80


def test_one_unknown_beam_makes_a_sector_unknown_that_would_be_clear():
    values = np.full(121, np.inf)
    assert scan(values).distances_cm[0] == 601
    values[62] = np.nan
    assert scan(values).distances_cm[0] == UNKNOWN_CM


def test_a_sector_that_is_only_partly_in_view_is_not_clear():
    # 27.5 degrees either way is the border of a sector; a little less is not all of it.
    enough = scan(np.full(110, np.inf), first_deg=-27.25).distances_cm
    assert np.flatnonzero(enough == 601).tolist() == [0, 1, 2, 3, 4, 5, 67, 68, 69, 70, 71]
    less = scan(np.full(108, np.inf), first_deg=-26.75).distances_cm
    assert np.flatnonzero(less == 601).tolist() == [0, 1, 2, 3, 4, 68, 69, 70, 71]


@pytest.mark.parametrize('value', [0.05, 6.5, -1.0, 0.0, np.nan])
def test_a_range_outside_of_the_limits_says_nothing(value):
    values = np.full(121, np.inf)
    values[60] = value
    assert scan(values).distances_cm[0] == UNKNOWN_CM


def test_too_near_to_measure_is_an_obstacle():
    values = np.full(121, np.inf)
    values[60] = -np.inf
    assert scan(values).distances_cm[0] == 10


def test_an_obstacle_is_never_said_to_be_farther_than_it_is():
    values = np.full(121, 1.239)
    assert scan(values).distances_cm[0] == 123


@pytest.mark.parametrize('count', [360, 361, 720])
def test_a_lidar_sees_all_around(count):
    step = math.tau / (count if count != 361 else 360)
    values = np.full(count, np.inf)
    found = scan(values, first_deg=-180.0, step=step)
    assert set(found.distances_cm) == {601}
    values[0] = 1.0  # straight behind
    assert scan(values, first_deg=-180.0, step=step).distances_cm[36] == 100


def test_beams_that_are_wider_than_a_sector_count_in_all_that_they_look_into():
    values = np.full(36, np.inf)
    values[18] = 2.0  # ahead, 10 degrees wide
    found = scan(values, first_deg=-180.0, step=math.radians(10.0))
    assert found.distances_cm[0] == 200
    assert (found.distances_cm[1], found.distances_cm[-1]) == (200, 200)
    assert (found.distances_cm[2], found.distances_cm[-2]) == (601, 601)


def test_between_beams_that_are_far_apart_nothing_is_clear():
    few = np.full(7, np.inf)
    few[3] = 2.0
    angles = {'angle_min': -3.0, 'angle_increment': 0.9}
    distances = obstacle_distance(few, **angles, range_min=0.1, range_max=6.0).distances_cm
    assert set(distances.tolist()) == {200, UNKNOWN_CM}


def test_a_sensor_that_looks_to_the_left_is_turned():
    values = np.full(121, np.nan)
    values[60] = 1.0
    found = scan(values, sensor_yaw=math.pi / 2)
    assert np.flatnonzero(found.distances_cm != UNKNOWN_CM).tolist() == [54]


def test_a_scan_from_left_to_right_is_the_same_one():
    values = np.linspace(1.0, 2.0, 121)
    found = scan(values)
    mirrored = scan(values[::-1], first_deg=30.0, step=-STEP)
    np.testing.assert_array_equal(mirrored.distances_cm, found.distances_cm)


def test_far_limits_leave_room_for_clear():
    found = scan(np.full(121, np.inf), range_max=1000.0)
    assert found.clear_cm == found.distances_cm[0] < UNKNOWN_CM
    found = scan(np.full(121, 900.0), range_max=1000.0)
    assert found.distances_cm[0] == found.max_cm, 'nearer than it is, and not lost'


def test_a_sensor_without_a_farthest_range_may_see_nothing():
    values = np.full(121, np.inf)
    values[60] = 2.0
    found = scan(values, range_max=math.inf)
    assert found.distances_cm[0] == 200
    assert found.distances_cm[4] == found.clear_cm < UNKNOWN_CM


@pytest.mark.parametrize(
    ('more', 'said'),
    [
        ({'step': 0.0}, 'angle_increment 0.0'),
        ({'step': math.nan}, 'angle_increment nan'),
        ({'step': 1e9}, 'angle_increment 1000000000.0'),
        ({'first_deg': math.inf}, 'angle_min inf'),
        ({'range_max': 0.05}, 'range_min 0.1 and range_max 0.05'),
        ({'range_min': math.nan}, 'range_min nan'),
        ({'step': 1.0}, 'more than a full turn'),
    ],
)
def test_a_scan_that_cannot_be_is_refused_by_name(more, said):
    with pytest.raises(BadSectors) as raised:
        scan(np.full(121, np.inf), **more)
    assert said in str(raised.value)


def test_a_scan_without_beams_is_refused():
    with pytest.raises(BadSectors, match='without beams'):
        scan([])


@pytest.mark.parametrize('yaw', [0.0, 0.03, -2.0])
@pytest.mark.parametrize('first_deg', [-180.0, 0.0, 77.3])
@pytest.mark.parametrize('count', [357, 358, 359, 360, 361])
def test_at_the_seam_of_a_full_scan_no_obstacle_is_lost(count, first_deg, yaw):
    for beam in (0, 1, 2, count // 2, count - 3, count - 2, count - 1):
        values = np.full(count, np.inf)
        values[beam] = 2.0
        found = scan(values, first_deg=first_deg, step=DEGREE, sensor_yaw=yaw)
        angle = math.radians(first_deg) + beam * DEGREE + yaw
        assert found.distances_cm[round(-angle / math.radians(5.0)) % BINS] == 200, beam


def test_mavros_makes_the_same_message_of_the_ranges():
    """By the rules of its plugin obstacle_distance: truncated centimetres, NaN unknown."""
    values = np.linspace(0.1, 6.0, 121)
    values[:20], values[100:] = np.inf, np.nan
    found = scan(values)
    metres = found.ranges_m()
    assert metres.dtype == np.float32
    centimetres = metres * np.float32(1e2)
    known = np.isfinite(centimetres)
    assert (known == (found.distances_cm != UNKNOWN_CM)).all()
    np.testing.assert_array_equal(centimetres[known].astype(np.uint16), found.distances_cm[known])


beams = st.lists(
    st.one_of(st.floats(0.1, 6.0), st.sampled_from([math.inf, math.nan, -math.inf, 0.0])),
    min_size=1,
    max_size=120,
)


@given(beams, st.floats(-3.2, 3.2), st.floats(0.002, 0.05), st.floats(-3.2, 3.2))
def test_no_beam_is_lost_and_none_is_made_clear(values, first, step, yaw):
    values = np.array(values)
    found = obstacle_distance(
        values, angle_min=first, angle_increment=step, sensor_yaw=yaw, **LIMITS
    )
    angles = first + step * np.arange(len(values)) + yaw
    sectors = np.rint(-angles / math.radians(5.0)).astype(int) % BINS
    for sector, value in zip(sectors, values, strict=True):
        said = int(found.distances_cm[sector])
        if value == -math.inf or 0.1 <= value <= 6.0:
            assert said <= math.floor(100 * max(value, 0.1) + 1e-6), 'an obstacle is lost'
        elif value != math.inf:
            assert said != found.clear_cm, 'unknown became clear'
