"""Scans that are not valid, scans of every convention, and the places of their points."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scans import fields, wall

from midas_depth_ros.avoidance import BadScan, SensorPlace, read_scan
from midas_depth_ros.avoidance.scan import LOOKED_M

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
        ({'angle_increment': 0.5}, 'more than a full turn'),
        ({'angle_increment': 0.02}, 'not at angle_max 1 rad'),
        ({'angle_increment': -2.0 / 120}, 'not at angle_max 1 rad'),
        ({'angle_min': NAN}, 'angles from nan'),
        ({'angle_max': INF}, 'to inf rad'),
        ({'angle_max': 0.0}, 'not at angle_max 0 rad'),
        ({'angle_min': 1e9, 'angle_max': 1e9 + 2}, 'angles from 1000000000'),
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
    assert (
        one_view.coverage.knows(x, y).tolist()
        == other_view.coverage.knows(x, y).tolist()
        == [True, True, False]
    )


def known_at(view, bearings, distance):
    return view.coverage.knows(distance * np.cos(bearings), distance * np.sin(bearings)).tolist()


def test_a_beam_tells_of_its_own_bearing_and_of_no_other():
    view = read_scan([1.0, NAN, INF], -0.2, 0.2, 0.2, 0.05, 8.0, SensorPlace(x=0.0))
    bearings = np.array([-0.35, -0.25, -0.11, -0.09, 0.0, 0.09, 0.11, 0.29, 0.31, 3.1])
    # So near that nothing of size is between two of them.
    expected = [False, True, True, False, False, False, True, True, False, False]
    assert known_at(view, bearings, 0.15) == expected
    # Farther on there may be.
    assert known_at(view, bearings, 0.5) == [False] * 10


def test_clear_is_known_only_as_far_as_the_sensor_reaches():
    ranges, step = np.full(21, INF), 0.01
    view = read_scan(ranges, -0.1, 0.1, step, 0.05, 3.0, SensorPlace(x=0.0))
    assert view.coverage.knows(np.array([2.9, 3.1]), np.zeros(2)).tolist() == [True, False]


def test_what_lies_behind_a_hit_is_unknown():
    view = wall(1.0)
    x = np.array([0.1, 0.5, 0.95, 1.0, 1.1, 2.0, 7.0])
    assert view.coverage.knows(x, np.zeros(7)).tolist() == [True] * 4 + [False] * 3


def test_a_full_turn_has_no_seam():
    step = 2 * math.pi / 360
    view = read_scan(np.ones(360), 0.0, 2 * math.pi - step, step, 0.05, 3.0, SensorPlace(x=0.0))
    bearings = np.linspace(-7, 7, 5000)
    assert view.coverage.knows(np.cos(bearings), np.sin(bearings)).all()


@pytest.mark.parametrize('beams', [361, 362, 363])
def test_more_than_a_turn_knows_what_both_beams_of_a_bearing_know(beams):
    step, ranges = 2 * math.pi / 360, np.full(beams, INF)
    ranges[360:] = 0.5
    end = step * (beams - 1)
    view = read_scan(ranges, 0.0, end, step, 0.05, 3.0, SensorPlace(x=0.0))
    assert known_at(view, np.array([0.0]), 1.8) == [False]
    assert known_at(view, np.array([math.pi]), 1.8) == [True]


# --- few beams, and gaps ------------------------------------------------------------------------


@pytest.mark.parametrize('beams', [1, 2, 3, 4, 5, 6, 7, 8])
def test_few_beams_all_round_see_next_to_nothing(beams):
    step = 2 * math.pi / beams
    view = read_scan([INF] * beams, 0.0, step * (beams - 1), step, 0.05, 8.0, SensorPlace(x=0.0))
    bearings = np.linspace(0, 2 * math.pi, 1000)
    for distance in (0.2, 0.5, 1.0, 4.0):
        assert not any(known_at(view, bearings, distance))


@pytest.mark.parametrize('smallest', [0.02, 0.04, 0.1])
def test_beams_know_as_far_as_the_smallest_obstacle_does_not_fit_between_them(smallest):
    bearings, step = np.linspace(-0.9, 0.9, 500), math.radians(1)
    view = read_scan(
        np.full(121, INF), -60 * step, 60 * step, step, 0.05, 20.0, SensorPlace(x=0.0),
        smallest_obstacle_m=smallest,
    )  # fmt: skip
    assert all(known_at(view, bearings, 0.85 * smallest / step))
    assert not any(known_at(view, bearings, 1.05 * smallest / step))


@pytest.mark.parametrize('unknown', [1, 2, 3, 5])
def test_a_gap_hides_what_fits_into_it(unknown):
    step, ranges = 0.0175, np.full(91, INF)
    ranges[45 : 45 + unknown] = NAN
    view = read_scan(ranges, -45 * step, 45 * step, step, 0.05, 8.0, SensorPlace(x=0.0))
    middle = np.array([step * (unknown - 1) / 2])
    edge = 0.04 / (step * (unknown + 1))
    assert known_at(view, middle, 0.6 * edge) == [True]
    assert known_at(view, middle, 1.1 * edge) == [False]


@settings(max_examples=300, deadline=None)
@given(
    st.floats(0.3, 2.0),
    st.floats(-0.6, 0.6),
    st.floats(0.02, 0.2),
    st.sampled_from([61, 121, 400, 1500, 9000]),
    st.booleans(),
    st.booleans(),
)
def test_a_pole_that_was_dropped_from_a_scan_is_never_known_to_be_free(
    away, bearing, radius, beams, backward, with_floor
):
    """Of places as close together as those looked up, at least one is unknown."""
    bearings = np.linspace(-1.0, 1.0, beams)
    aside = away * np.sin(bearings - bearing)
    hidden = (np.abs(aside) <= radius) & (np.cos(bearings - bearing) > 0)
    ranges = np.where(hidden, NAN, INF)
    front = away * np.cos(bearings - bearing) - np.sqrt(np.maximum(radius**2 - aside**2, 0))
    seen = np.where(hidden, front, np.nan) if with_floor else None
    step, first = 2.0 / (beams - 1), -1.0
    if backward:
        ranges, first, step = ranges[::-1], 1.0, -step
        seen = None if seen is None else seen[::-1]
    place = SensorPlace(x=0.0)
    view = read_scan(ranges, first, -first, step, 0.01, 8.0, place, seen)
    lattice = np.arange(-radius - 0.02, radius + 0.02, 0.02)
    x, y = np.meshgrid(away * math.cos(bearing) + lattice, away * math.sin(bearing) + lattice)
    inside = np.hypot(x - away * math.cos(bearing), y - away * math.sin(bearing)) <= radius
    assert not view.coverage.knows(x[inside], y[inside]).all()


# --- seen_free ----------------------------------------------------------------------------------


def test_an_unknown_beam_is_known_as_far_as_its_floor_was_seen():
    ranges = [NAN, NAN, 2.0, INF, NAN, NAN, NAN, NAN]
    seen = [1.5, NAN, 1.0, 1.0, INF, -1.0, 9.0, 0.0]
    view = read_scan(ranges, 0.0, 0.07, 0.01, 0.05, 8.0, SensorPlace(), seen)
    expected = [1.5, 0.0, 2.0, 8.0, 0.0, 0.0, 8.0, LOOKED_M]
    np.testing.assert_array_equal(view.known_m, expected)
    alone = read_scan(ranges, 0.0, 0.07, 0.01, 0.05, 8.0)
    np.testing.assert_array_equal(alone.known_m, [0.0, 0.0, 2.0, 8.0, 0.0, 0.0, 0.0, 0.0])
    assert len(view.x) == len(alone.x) == 1


def test_a_beam_that_was_seen_free_for_nothing_has_looked_and_knows_nothing():
    """So what was seen there before is forgotten; a beam that is only unknown leaves it."""
    step, ranges = 0.0175, np.full(91, NAN)
    given = (ranges, -45 * step, 45 * step, step, 0.05, 8.0, SensorPlace(x=0.0))
    for seen, looks in ((np.zeros(91), True), (ranges, False), (None, False)):
        view = read_scan(*given, seen)
        x, y = np.array([0.3, 1.0, 5.0]), np.zeros(3)
        assert view.coverage.unknown_in_view(x[:2], y[:2]).tolist() == [looks] * 2
        assert not view.coverage.knows(x, y).any()
        assert not view.knows_ahead(0.3)


def test_before_a_hit_nothing_is_known_where_nothing_was_seen_free():
    """As of a camera whose view of the floor begins too late: a low thing may be before a wall."""
    known = read_scan([4.0] * 21, -0.2, 0.2, 0.02, 0.1, 8.0, seen_free=[math.nan] * 21)
    blind = read_scan([4.0] * 21, -0.2, 0.2, 0.02, 0.1, 8.0, seen_free=[0.0] * 21)
    x, y = np.array([1.0]), np.array([0.0])
    assert known.coverage.knows(x, y).all()
    assert not blind.coverage.knows(x, y).any()
    assert not blind.knows_ahead(0.3)
    np.testing.assert_array_equal(blind.x, known.x)  # the wall is there all the same


def test_a_seen_free_of_another_size_is_refused():
    with pytest.raises(BadScan, match='seen_free has 3 ranges, the scan 2'):
        read_scan([1.0, 2.0], 0.0, 0.1, 0.1, 0.05, 8.0, seen_free=[1.0, 2.0, 3.0])


def test_the_floor_that_was_seen_is_known_and_what_is_beyond_is_not():
    step, seen = 0.0175, np.full(91, 1.2)
    seen[45] = NAN  # one beam alone
    ranges = np.full(91, NAN)
    view = read_scan(ranges, -45 * step, 45 * step, step, 0.05, 8.0, SensorPlace(x=0.0), seen)
    assert known_at(view, np.array([0.3]), 1.0) == [True]
    assert known_at(view, np.array([0.3]), 1.3) == [False]
    assert known_at(view, np.array([0.0]), 0.9) == [True]  # nothing fits in there


def test_a_hundred_thousand_beams_are_bundled_and_lose_no_hit():
    beams = 100_000
    step, ranges = 2 * math.pi / beams, np.full(beams, INF)
    ranges[12_345], ranges[54_321] = 1.5, NAN
    view = read_scan(ranges, -math.pi, math.pi - step, step, 0.05, 8.0, SensorPlace(x=0.0))
    assert len(view.x) == 1
    bearing = -math.pi + 12_345 * step
    assert math.hypot(view.x[0], view.y[0]) == pytest.approx(1.5)
    assert math.atan2(view.y[0], view.x[0]) == pytest.approx(bearing, abs=0.002)
    assert known_at(view, np.array([bearing]), 1.4) == [True]
    assert known_at(view, np.array([0.0, 3.0]), 4.0) == [True, True]


anything = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(st.lists(anything, max_size=40), anything, anything, anything, anything, anything)
def test_whatever_comes_is_a_view_or_refused(ranges, low, high, step, near, far):
    try:
        view = read_scan(ranges, low, high, step, near, far)
    except BadScan:
        return
    assert len(view.ranges) == len(view.known_m) == len(ranges)
    assert (view.known_m >= 0).all()
    assert np.isfinite(view.x).all()
    assert np.isfinite(view.y).all()
    assert not np.isneginf(view.ranges).any()
    assert not (view.ranges <= 0).any()
