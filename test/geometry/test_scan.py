"""Obstacles per bearing: left is positive, clear is +inf, unseen is NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    InvalidOptions,
    ObstacleOptions,
    find_obstacles,
    laser_scan,
)
from midas_depth_ros.sim import Box, Cylinder, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
HALL = Room(-40, 40, -40, 40, 20)
DEGREE = math.radians(1)


def scan_of(*solids, room=HALL, pose=None, camera=CAMERA, hide=None, **changes):
    """Bearings in degrees and the ranges."""
    pose = pose or Pose(z_m=0.3, pitch_rad=0.1)
    depth = render(Scene(room=room, solids=solids), camera, pose).depth_z
    if hide is not None:
        depth[hide] = np.nan
    grid, mount = camera.normalised_grid(), CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
    limits = {'angle_min': -60 * DEGREE, 'angle_max': 60 * DEGREE, 'angle_increment': DEGREE}
    limits.update(changes)
    found = find_obstacles(depth, grid, mount, ObstacleOptions())
    ranges = laser_scan(found, grid, mount, **limits)
    angles = np.degrees(limits['angle_min'] + limits['angle_increment'] * np.arange(len(ranges)))
    return angles, ranges


def test_clear_is_infinite_and_unseen_is_not_a_number():
    angles, ranges = scan_of()
    assert ranges.dtype == np.float32
    assert len(ranges) == 121
    np.testing.assert_array_equal(ranges[np.abs(angles) <= 33], np.inf)
    assert np.isnan(ranges[np.abs(angles) >= 40]).all()


@pytest.mark.parametrize('bearing_deg', [-25, -10, 0, 15, 28])
@pytest.mark.parametrize('roll', [0.0, 0.12])
def test_a_pole_is_at_its_bearing_and_distance(bearing_deg, roll):
    bearing = math.radians(bearing_deg)
    pole = Cylinder(1.5 * math.cos(bearing), 1.5 * math.sin(bearing), 0.06, 0.5)
    pose = Pose(z_m=0.3, pitch_rad=0.1, roll_rad=roll)
    angles, ranges = scan_of(pole, pose=pose)
    hits = np.flatnonzero(np.isfinite(ranges))
    assert angles[hits].mean() == pytest.approx(bearing_deg, abs=0.7)
    wide = 2 * math.degrees(math.asin(0.06 / 1.5))
    assert len(hits) == pytest.approx(wide, abs=1.6)
    assert np.nanmin(ranges) == pytest.approx(1.44, rel=0.02)


def test_walls_all_round_are_where_they_are():
    angles, ranges = scan_of(room=Room(-1, 2.5, -1.5, 1.2, 2.5))
    inside = np.abs(angles) <= 32
    bearing = np.radians(angles[inside])
    with np.errstate(divide='ignore'):
        side = np.where(bearing > 0, 1.2, 1.5) / np.abs(np.sin(bearing))
    np.testing.assert_allclose(ranges[inside], np.minimum(2.5 / np.cos(bearing), side), rtol=0.03)


def test_the_nearer_of_two_counts():
    angles, ranges = scan_of(Box(2.1, 0, 0.2, 2.0, 1.0), Cylinder(1.05, 0, 0.05, 0.15))
    assert ranges[angles.round() == 0][0] == pytest.approx(1.0, rel=0.03)
    assert ranges[angles.round() == 12][0] == pytest.approx(2.0 / math.cos(12 * DEGREE), rel=0.03)


def test_where_nothing_is_known_it_is_not_clear():
    angles, ranges = scan_of(hide=np.s_[:, :100])
    left = (angles > 10) & (angles < 33)
    assert np.isnan(ranges[left]).all()
    np.testing.assert_array_equal(ranges[(angles < -5) & (angles > -33)], np.inf)


@pytest.mark.parametrize('increment_deg', [0.1, 0.25, 0.5, 2.0])
def test_beams_may_be_finer_or_coarser_than_pixels(increment_deg):
    angles, ranges = scan_of(
        Box(1.6, 0, 0.2, 0.4, 0.5), angle_increment=math.radians(increment_deg)
    )
    assert len(ranges) == round(120 / increment_deg) + 1
    half = math.degrees(math.atan(0.2 / 1.5))
    within = np.abs(angles) < half - 1
    np.testing.assert_allclose(ranges[within], 1.5 / np.cos(np.radians(angles[within])), rtol=0.02)
    beside = (np.abs(angles) > half + 1.5) & (np.abs(angles) < 32)
    np.testing.assert_array_equal(ranges[beside], np.inf)


def test_too_far_is_clear_and_too_near_is_given_as_the_least():
    _, ranges = scan_of(Box(3.1, 0, 0.2, 9, 1.0), range_max=2.5)
    assert np.isinf(ranges[60])
    _, ranges = scan_of(Box(0.4, 0, 0.2, 0.4, 1.0), range_min=0.5)
    assert ranges[60] == pytest.approx(0.5)


@pytest.mark.parametrize(
    'wrong',
    [{'angle_increment': 0.0}, {'angle_max': -2.0}, {'range_max': 0.01}, {'angle_increment': -0.1}],
)
def test_a_scan_that_is_none_is_refused(wrong):
    with pytest.raises(InvalidOptions, match='must increase'):
        scan_of(**wrong)
