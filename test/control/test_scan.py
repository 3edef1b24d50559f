"""Scans that cannot be, scans of every convention, and where their points come to lie."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scans import fields, wall

from midas_depth_ros.control import BadScan, SensorPlace, read_scan

NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        ({'ranges': []}, '0 ranges'),
        ({'ranges': np.ones(100_001)}, '100001 ranges'),
        ({'ranges': np.ones((3, 4))}, '12 ranges'),
        ({'angle_increment': 0.0}, 'angle_increment 0.0'),
        ({'angle_increment': NAN}, 'angle_increment nan'),
        ({'angle_increment': INF}, 'angle_increment inf'),
        ({'angle_increment': 1e-130}, 'angle_increment 1e-130'),
        ({'angle_increment': 0.5}, 'more than a turn'),
        ({'angle_increment': 0.02}, 'not at angle_max 1 rad'),
        ({'angle_increment': -2.0 / 120}, 'not at angle_max 1 rad'),
        ({'angle_min': NAN}, 'angles from nan'),
        ({'angle_max': INF}, 'to inf rad'),
        ({'angle_max': 0.0}, 'not at angle_max 0 rad'),
        ({'range_min': NAN}, 'ranges from nan'),
        ({'range_min': -0.1}, 'ranges from -0.1'),
        ({'range_max': 0.0}, 'to 0.0 m'),
        ({'range_max': NAN}, 'to nan m'),
        ({'range_min': 9.0}, 'ranges from 9.0 to 8.0'),
    ],
)
def test_a_scan_that_contradicts_itself_is_refused_by_name(changes, named):
    with pytest.raises(BadScan, match=named):
        wall(**changes)


def test_angle_max_may_be_the_last_beam_or_the_one_after():
    step = fields()['angle_increment']
    for end in (1.0, 1.0 + step, 1.0 - step):
        assert len(wall(angle_max=end).ranges) == 121


def test_beams_by_rep_117():
    ranges = [1.0, INF, -INF, NAN, 0.0, -1.0, 0.01, 9.0, 1e30, 8.0]
    view = read_scan(ranges, 0.0, 0.9, 0.1, 0.05, 8.0)
    expected = [1.0, INF, 0.05, NAN, NAN, NAN, NAN, INF, INF, 8.0]
    np.testing.assert_array_equal(view.ranges, expected)
    assert len(view.x) == len(view.y) == 3


def test_zero_is_clear_only_where_the_sensor_means_it_so():
    place = SensorPlace(zero_is_clear=True)
    assert read_scan([0.0, -1.0], 0.0, 0.1, 0.1, 0.05, 8.0, place).ranges[0] == INF
    assert np.isnan(read_scan([0.0, -1.0], 0.0, 0.1, 0.1, 0.05, 8.0, place).ranges[1])


def test_the_robots_own_parts_are_unknown():
    place = SensorPlace(min_range=0.3)
    view = read_scan([0.2, 0.4], 0.0, 0.1, 0.1, 0.05, 8.0, place)
    np.testing.assert_array_equal(view.ranges, [NAN, 0.4])


@pytest.mark.parametrize(
    ('place', 'bearing', 'expected'),
    [
        (SensorPlace(x=0.0), 0.0, (2.0, 0.0)),
        (SensorPlace(x=0.2), math.pi / 2, (0.2, 2.0)),
        (SensorPlace(x=-0.1, y=0.3, yaw=math.pi / 2), 0.0, (-0.1, 2.3)),
        (SensorPlace(x=0.0, yaw=math.pi), 0.0, (-2.0, 0.0)),
    ],
)
def test_points_lie_where_the_sensor_sits(place, bearing, expected):
    view = read_scan([2.0], bearing, bearing, 0.1, 0.05, 8.0, place)
    np.testing.assert_allclose((view.x[0], view.y[0]), expected, atol=1e-12)


def test_a_scan_that_turns_the_other_way_is_the_same_scan():
    one = fields(ranges=np.linspace(1, 2, 121))
    other = {**one, 'ranges': one['ranges'][::-1], 'angle_min': 1.0, 'angle_max': -1.0}
    other['angle_increment'] = -one['angle_increment']
    one_view, other_view = read_scan(**one), read_scan(**other)
    np.testing.assert_allclose(one_view.x, other_view.x[::-1])
    np.testing.assert_allclose(one_view.y, other_view.y[::-1], atol=1e-12)
    x, y = np.cos([0.9, -0.9, 1.2]), np.sin([0.9, -0.9, 1.2])
    assert one_view.knows(x, y).tolist() == other_view.knows(x, y).tolist() == [True, True, False]


def test_a_beam_tells_of_its_own_bearing_and_of_no_other():
    view = read_scan([1.0, NAN, INF], -0.2, 0.2, 0.2, 0.05, 8.0, SensorPlace(x=0.0))
    bearings = np.array([-0.35, -0.25, -0.11, -0.09, 0.0, 0.09, 0.11, 0.29, 0.31, 3.1])
    known = view.knows(np.cos(bearings), np.sin(bearings))
    assert known.tolist() == [False, True, True, False, False, False, True, True, False, False]


def test_clear_is_known_only_as_far_as_the_sensor_reaches():
    view = read_scan([INF], 0.0, 0.0, 0.2, 0.05, 3.0, SensorPlace(x=0.0))
    assert view.knows(np.array([2.9, 3.1]), np.zeros(2)).tolist() == [True, False]


def test_a_full_turn_has_no_seam():
    step = 2 * math.pi / 360
    view = read_scan(np.ones(360), 0.0, 2 * math.pi - step, step, 0.05, 3.0, SensorPlace(x=0.0))
    bearings = np.linspace(-7, 7, 5000)
    assert view.knows(np.cos(bearings), np.sin(bearings)).all()


anything = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(anything, max_size=40), anything, anything, anything, anything, anything)
def test_whatever_comes_is_a_view_or_refused(ranges, low, high, step, near, far):
    try:
        view = read_scan(ranges, low, high, step, near, far)
    except BadScan:
        return
    assert len(view.ranges) == len(ranges)
    assert np.isfinite(view.x).all()
    assert np.isfinite(view.y).all()
    assert not np.isneginf(view.ranges).any()
    assert not (view.ranges <= 0).any()
