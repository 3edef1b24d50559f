"""Obstacles per bearing: left is positive, clear is +inf, unseen is NaN."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    Beams,
    CameraModel,
    CameraMount,
    InvalidOptions,
    Scan,
    corridor_free_m,
    find_obstacles,
    laser_scan,
    scan_limits,
)
from midas_depth_ros.geometry.camera_model import distort
from midas_depth_ros.geometry.scan import bearings
from midas_depth_ros.options.metric import ObstacleOptions
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


def looked(*solids, room=HALL, pose=None, camera=CAMERA, change=None, options=None, **limits):
    """Return bearings in degrees and the `Scan`; `change` alters the depth first."""
    pose = pose or Pose(z_m=0.3, pitch_rad=0.1)
    depth = render(Scene(room=room, solids=solids), camera, pose).depth_z
    if change is not None:
        change(depth)
    grid, mount = camera.normalised_grid(), CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
    angles = {'angle_min': -60 * DEGREE, 'angle_max': 60 * DEGREE, 'angle_increment': DEGREE}
    beams = Beams(grid, mount, **angles, **limits)
    found = find_obstacles(depth, grid, mount, options or ObstacleOptions())
    return np.arange(-60, 61), beams.scan(found, range_min=0.1, range_max=6.0)


def test_where_only_the_lower_corners_look_nothing_is_clear():
    angles, scan = looked(pose=Pose(z_m=0.3, pitch_rad=0.35))
    outside = (np.abs(angles) > 35) & np.isfinite(scan.seen_free)
    assert outside.sum() >= 4  # the corners do see floor there
    assert scan.seen_free[outside].max() < 1.5
    assert np.isnan(scan.ranges[np.abs(angles) > 35]).all()
    assert np.isposinf(scan.ranges[np.abs(angles) < 30]).all()
    np.testing.assert_array_equal(scan.seen_free[np.abs(angles) < 30], 6.0)


def test_a_gap_in_the_depth_ends_what_is_seen_and_what_lies_behind_is_unknown():
    def gap(depth):
        depth[135:137, :] = np.nan

    at = CAMERA.normalised_grid()
    down = CameraMount(0.3, 0.1).ground_inverse_depth(at)[135:137, 128]
    angles, scan = looked(change=gap)
    inside = np.abs(angles) < 30
    assert np.isnan(scan.ranges[inside]).all()
    assert scan.seen_free[60] == pytest.approx(1 / down.max(), rel=0.06)


def test_one_pixel_of_floor_says_nothing_of_what_lies_beyond_it():
    def almost_all(depth):
        row = depth[-1, 128]
        depth[:] = np.nan
        depth[-4:, 126:131] = row

    _, scan = looked(change=almost_all)
    assert not np.isposinf(scan.ranges).any()
    assert not (scan.seen_free > 1.0).any()


def test_what_is_too_small_to_count_hides_what_lies_behind_it():
    pole = Cylinder(1.0, 0.0, 0.02, 0.5)
    few = ObstacleOptions(min_pixels=2000)
    angles, scan = looked(pole, options=few)
    behind = np.abs(angles) <= 1
    assert np.isnan(scan.ranges[behind]).all()
    np.testing.assert_allclose(scan.seen_free[behind], 0.98, rtol=0.05)
    # With a wall behind, the beam ends at what was dropped: free so far, not beyond.
    angles, scan = looked(
        pole, Box(3.0, 0.0, 0.2, 9.0, 2.0), options=ObstacleOptions(min_pixels=600)
    )
    np.testing.assert_allclose(scan.ranges[behind], 0.98, rtol=0.05)
    assert scan.ranges[70] == pytest.approx(2.9 / math.cos(10 * DEGREE), rel=0.03)


def test_an_obstacle_without_its_top_is_not_floor_as_far_as_its_foot_would_reach():
    def topless(depth):
        depth[:100] = np.nan

    angles, scan = looked(Box(2.1, 0.0, 0.2, 9.0, 1.0), change=topless)
    assert not np.isposinf(scan.ranges).any()
    within = np.abs(angles) < 30
    assert (scan.seen_free[within] * np.cos(angles[within] * DEGREE) < 2.05).all()


def test_a_table_above_the_robot_hides_the_floor_behind_its_edge():
    table = Box(1.5, 0.0, 0.6, 1.2, 0.05, bottom_m=0.65)
    options = ObstacleOptions(max_height=0.5)
    pose = Pose(z_m=0.9, pitch_rad=0.3)
    angles, scan = looked(table, pose=pose, options=options)
    assert np.isnan(scan.ranges[60])
    assert 1.0 < scan.seen_free[60] < 6.0
    assert np.isposinf(scan.ranges[angles == 30][0])


def test_a_beam_whose_view_begins_too_late_says_nothing():
    rolled = Pose(z_m=0.4, pitch_rad=-0.1, roll_rad=0.35)
    angles, scan = looked(pose=rolled)
    grid, mount = CAMERA.normalised_grid(), CameraMount(0.4, -0.1, 0.35)
    rays = np.stack([*grid, np.ones_like(grid[0])]).reshape(3, -1)
    ahead, left, up = mount.body_axes() @ rays
    floor = up < 0
    x, y = (0.4 * axis[floor] / -up[floor] for axis in (ahead, left))
    bearing = np.round(np.degrees(np.arctan2(y, x)))
    begins = np.array([x[bearing == angle].min(initial=np.inf) for angle in angles])
    late = (begins > 1.6 * begins[60]) & np.isfinite(begins)
    assert late.sum() >= 2
    assert np.isnan(scan.ranges[late]).all()
    assert np.isnan(scan.seen_free[late]).all()
    early = begins < 1.4 * begins[60]
    assert np.isfinite(scan.seen_free[early]).mean() > 0.9
    # An obstacle there is reported, but what is before it was not seen either.
    _, scan = looked(Box(4.0, 0.0, 0.3, 12.0, 3.0), pose=rolled)
    hit = late & np.isfinite(scan.ranges)
    assert hit.sum() >= 2
    assert (scan.seen_free[hit] == 0).all()


@pytest.mark.parametrize('roll', [0.0, 0.02])
@pytest.mark.parametrize('pitch', [-0.05, 0.0, 0.1, 0.3, 0.7])
@pytest.mark.parametrize('width', [60, 64, 70, 80, 81, 160])
def test_between_two_columns_of_a_coarse_picture_no_beam_is_late(width, pitch, roll):
    """Columns are farther apart in lower rows: a beam between two must not see upper rows alone."""
    camera = CameraModel.from_field_of_view(width, 3 * width // 4, 1.2)
    pose = Pose(z_m=0.3, pitch_rad=pitch, roll_rad=roll)
    _, scan = looked(pose=pose, camera=camera)
    assert np.isfinite(scan.seen_free[45:76]).all()
    assert not np.isnan(scan.ranges[45:76]).any() or pitch == 0.7  # which ends below the horizon
    _, scan = looked(Box(1.7, 0.0, 0.4, 4.0, 0.5), pose=pose, camera=camera)
    assert (scan.seen_free[45:76] > 1.2).all()


def test_a_corridor_is_not_free_before_an_obstacle_that_nobody_looked_at():
    met = np.full(121, 3.0, np.float32)
    assert corridor(Scan(met, met), 3.0) == pytest.approx(3.0)
    assert corridor(Scan(met, np.zeros(121, np.float32)), 3.0) == 0.0


def test_a_camera_that_sees_no_near_floor_clears_nothing():
    high = Pose(z_m=1.2, pitch_rad=0.0)
    box = Box(1.0, 0.0, 0.3, 0.4, 0.2)  # below the picture's lower border
    _, scan = looked(box, pose=high, max_blind_m=1.5)
    assert not np.isposinf(scan.ranges).any()
    assert not scan.seen_free.any()
    _, scan = looked(Box(4.0, 0.0, 0.3, 4.0, 1.0), pose=high, max_blind_m=1.5)
    assert scan.ranges[60] == pytest.approx(3.85, rel=0.03)  # what is seen is still reported
    assert not scan.seen_free.any()  # but nothing is known to be free before it
    assert corridor(scan, nearest_m=3.85, begins_m=2.0) == 0.0


def test_where_the_horizon_is_not_in_view_sight_ends_with_the_picture():
    steep = Pose(z_m=0.5, pitch_rad=0.8)
    _, scan = looked(pose=steep)
    assert not np.isposinf(scan.ranges).any()
    assert scan.seen_free[60] == pytest.approx(0.5 / math.tan(0.8 - 0.481), rel=0.05)


@pytest.mark.parametrize(
    ('height', 'pitch', 'roll'), [(0.3, 0.1, 0.0), (0.5, 0.8, 0.0), (1.2, -0.2, 0.3)]
)
def test_how_high_the_view_reaches_is_told(height, pitch, roll):
    mount = CameraMount(height, pitch, roll)
    angles = {'angle_min': -60 * DEGREE, 'angle_max': 60 * DEGREE, 'angle_increment': DEGREE}
    found = Beams(CAMERA.normalised_grid(), mount, **angles).view_reaches_m

    def is_in_view(z: float) -> bool:
        x, y, ahead = mount.body_axes().T @ (1.0, 0.0, z - height)
        u, v = CAMERA.fx * x / ahead + CAMERA.cx, CAMERA.fy * y / ahead + CAMERA.cy
        return 0 <= u < CAMERA.width and 0 <= v < CAMERA.height

    # What stands a metre ahead is in the picture up to there, and not above it.
    assert is_in_view(found - 0.02)
    assert not is_in_view(found + 0.02)


def corridor(scan, nearest_m=math.inf, width_m=0.4, begins_m=0.4):
    angles = {'angle_min': -60 * DEGREE, 'angle_increment': DEGREE}
    return corridor_free_m(scan, nearest_m, width_m=width_m, begins_m=begins_m, **angles)


def test_a_corridor_is_free_as_far_as_every_beam_of_it_knows():
    clear = np.full(121, np.inf, np.float32)
    seen = np.full(121, 6.0, np.float32)
    assert corridor(Scan(clear, seen)) == math.inf
    assert corridor(Scan(clear, seen), nearest_m=2.0) == 2.0
    ranges, free = clear.copy(), seen.copy()
    ranges[61], free[61] = np.nan, 1.5
    assert corridor(Scan(ranges, free)) == pytest.approx(1.5 * math.cos(DEGREE))
    assert corridor(Scan(ranges, free), nearest_m=1.0) == 1.0
    free[61] = np.nan
    assert corridor(Scan(ranges, free)) == 0.0
    ranges, free = clear.copy(), seen.copy()
    ranges[90], free[90] = np.nan, np.nan  # leaves the corridor before the view begins
    assert corridor(Scan(ranges, free)) == math.inf


@pytest.mark.parametrize(
    ('beams', 'width_m', 'free_m'),
    [
        (np.s_[:], 0.4, math.inf),
        (np.s_[30:91], 0.4, math.inf),  # +-30 degrees: both sides from 0.35 m on
        (np.s_[42:79], 0.4, 0.0),  # +-18 degrees: from 0.62 m on, 1.54 times as far as ahead
        (np.s_[57:], 0.4, 0.0),  # only its left side, as with an off-centre region of interest
        (np.s_[:64], 0.4, 0.0),
        (np.s_[70:], 0.4, 0.0),  # not even the middle
        (np.s_[25:96], 2.0, 0.0),  # a robot wider than the view
    ],
)
def test_of_a_corridor_whose_sides_come_into_view_too_late_nothing_is_known(beams, width_m, free_m):
    clear, seen = np.full(121, np.inf, np.float32)[beams], np.full(121, 6.0, np.float32)[beams]
    first = (-60 + (beams.start or 0)) * DEGREE
    free = corridor_free_m(
        Scan(clear, seen),
        math.inf,
        angle_min=first,
        angle_increment=DEGREE,
        width_m=width_m,
        begins_m=0.4,
    )
    assert free == free_m


@pytest.mark.parametrize(
    ('height_m', 'width_m', 'fov_deg'),
    [(0.103, 0.56, (62.2, 48.8)), (0.103, 0.5, (62.2, 48.8)), (0.244, 0.5, (54, 54))],
    ids=['TurtleBot 3', 'TurtleBot 3, narrow', 'TurtleBot 4'],
)
def test_before_a_small_robot_with_a_low_lens_a_clear_floor_is_free(height_m, width_m, fov_deg):
    across, down = (round(256 * math.tan(0.5 * math.radians(each))) for each in fov_deg)
    camera = CameraModel.from_field_of_view(2 * across, 2 * down, math.radians(fov_deg[0]))
    grid, mount = camera.normalised_grid(), CameraMount(height_m, 0.0)
    low, high = scan_limits(grid, mount, DEGREE)
    beams = Beams(grid, mount, angle_min=low, angle_max=high, angle_increment=DEGREE)
    floor = np.maximum(mount.ground_inverse_depth(grid), 1 / 8).astype(np.float32)
    seen = find_obstacles(1 / floor, grid, mount, max_range_m=3.0)
    scan = beams.scan(seen, range_min=0.1, range_max=3.0)
    free_m = corridor_free_m(
        scan, math.inf, angle_min=low, angle_increment=DEGREE, width_m=width_m,
        begins_m=beams.view_begins_m,
    )  # fmt: skip
    assert free_m > 1.5


@pytest.mark.parametrize('fov_deg', [90, 115, 125, 140])
def test_a_beam_whose_floor_comes_late_into_view_is_unknown(fov_deg):
    """Along the beam: at the border of a wide lens that is twice as far as it is ahead."""
    camera = CameraModel.from_field_of_view(256, 192, math.radians(fov_deg))
    mount, grid = CameraMount(0.5, 0.1), camera.normalised_grid()
    depth = render(Scene(room=HALL), camera, Pose(z_m=0.5, pitch_rad=0.1)).depth_z
    angles = np.arange(-60, 61) * DEGREE
    beams = Beams(
        grid, mount, angle_min=-60 * DEGREE, angle_max=60 * DEGREE, angle_increment=DEGREE
    )
    scan = beams.scan(find_obstacles(depth, grid, mount), range_min=0.1, range_max=4.0)
    begins_m = beams.view_begins_m / np.cos(angles)  # the lower border is straight
    in_view = np.abs(angles) < math.radians(fov_deg / 2 - 3)
    late = in_view & (begins_m > 1.55 * beams.view_begins_m)
    assert late.any() == (fov_deg > 110)
    assert np.isnan(scan.ranges[late]).all()
    assert np.isnan(scan.seen_free[late]).all()
    early = in_view & (begins_m < 1.45 * beams.view_begins_m)
    assert np.isposinf(scan.ranges[early]).all()


@pytest.mark.parametrize(
    ('height_m', 'pitch', 'roll', 'size', 'fov_deg'),
    [
        (1.2, 0.1, -0.4, (256, 192), 120),
        (0.3, 0.1, 0.3, (256, 192), 150),
        (0.6, 0.0, 0.2, (320, 180), 170),
    ],
)
def test_a_beam_that_leaves_the_picture_of_a_fisheye_and_comes_back_is_not_clear(
    height_m, pitch, roll, size, fov_deg
):
    """The sensor crops the lens's circle: of a curved line only both ends may be in view."""
    focal = size[0] / math.radians(fov_deg)
    middle = (size[0] - 1) / 2, (size[1] - 1) / 2
    camera = CameraModel(*size, focal, focal, *middle, 'equidistant', (0.0,) * 4)
    mount, grid = CameraMount(height_m, pitch, roll), camera.normalised_grid()
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.where(mount.descent(grid) > 0, height_m / mount.descent(grid), np.inf)
    depth[np.isnan(grid[0])] = np.nan
    first, last = scan_limits(grid, mount, DEGREE)
    beams = Beams(grid, mount, angle_min=first, angle_max=last, angle_increment=DEGREE)
    found = find_obstacles(depth.astype(np.float32), grid, mount)
    scan = beams.scan(found, range_min=0.1, range_max=6.0)
    away = height_m * np.geomspace(0.3, 20, 300)
    left = 0
    for number, free_m in enumerate(scan.seen_free):
        bearing = first + number * DEGREE
        floor = np.stack([math.cos(bearing) * away, math.sin(bearing) * away, 0 * away - height_m])
        x, y, z = mount.body_axes().T @ floor
        with np.errstate(divide='ignore', invalid='ignore'):
            u, v = distort(x / z, y / z, camera.distortion_model, camera.distortion)
        u, v = focal * u, focal * v
        seen = (z > 0) & (abs(u) < size[0] / 2 + 4) & (abs(v) < size[1] / 2 + 4)
        begins = int(np.argmax(seen))
        leaves = begins + int(np.argmin(seen[begins:]))
        if seen[leaves] or not seen[leaves:].any():
            continue
        left += 1
        assert not free_m > 1.2 * away[leaves]
        assert not np.isposinf(scan.ranges[number])
    assert left
    assert np.isposinf(scan.ranges).any()


@pytest.mark.parametrize('roll', [0.0, 0.05, 0.1, 0.15])
@pytest.mark.parametrize('pitch', [0.7, 0.8, 0.9])
def test_a_camera_that_sees_the_floor_below_itself_has_beams_as_fine_as_its_pixels(pitch, roll):
    camera = CameraModel.from_field_of_view(256, 192, math.radians(120))
    mount, grid = CameraMount(0.3, pitch, roll), camera.normalised_grid()
    pole = Box(1.05, 0.27, 0.1, 0.06, 1.0)
    depth = render(
        Scene(room=HALL, solids=(pole,)), camera, Pose(0, 0, 0.3, 0, pitch, roll)
    ).depth_z
    first, last = scan_limits(grid, mount, DEGREE)
    beams = Beams(grid, mount, angle_min=first, angle_max=last, angle_increment=DEGREE)
    scan = beams.scan(find_obstacles(depth, grid, mount), range_min=0.05, range_max=6.0)
    at = first + DEGREE * np.flatnonzero(scan.ranges < 1.3)
    assert 0.17 < at.min() < at.max() < 0.34  # true: 0.22 to 0.29
    free = corridor_free_m(
        scan, math.inf, angle_min=first, angle_increment=DEGREE, width_m=0.4,
        begins_m=beams.view_begins_m,
    )  # fmt: skip
    assert free == math.inf


def test_a_beam_that_meets_something_alone_shortens_the_corridor():
    ranges = np.full(121, np.inf, np.float32)
    free = np.full(121, 6.0, np.float32)
    ranges[58], free[58] = 1.2, 1.2  # too few pixels for a front
    scan = Scan(ranges, free)
    assert corridor(scan, nearest_m=3.0) == pytest.approx(1.2 * math.cos(2 * DEGREE))
    assert corridor(scan, nearest_m=1.25) == 1.25  # the same front, known better
    ranges[58], ranges[100] = np.inf, 0.5  # beside it
    assert corridor(scan) == math.inf


def test_of_a_corridor_nobody_looks_into_nothing_is_known():
    nothing = np.full(121, np.nan, np.float32)
    assert corridor(Scan(nothing, nothing)) == 0.0
    assert corridor(Scan(nothing, nothing), nearest_m=1.0) == 0.0


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


def test_the_edge_of_what_hangs_before_a_wall_is_not_outvoted_by_the_wall():
    # A beam may meet fewer pixels of it than make a distance.
    camera = CameraModel.from_field_of_view(256, 192, math.radians(120))
    mount, grid = CameraMount(0.6, 0.1), camera.normalised_grid()
    ground = mount.ground_inverse_depth(grid)
    depth = (1 / np.maximum(ground, 1 / 3.0)).astype(np.float32)
    depth[70, 100:112] = 1.2
    seen = find_obstacles(depth, grid, mount, ObstacleOptions(), smooth=False)
    assert seen.mask[70, 100:112].all()
    bearing = bearings(grid, mount)[70, 101:111]
    angles = {'angle_min': float(bearing[-1]), 'angle_max': float(bearing[0])}
    beams = Beams(grid, mount, **angles, angle_increment=0.0175)
    scan = beams.scan(seen, range_min=0.1, range_max=6.0)
    assert len(scan.ranges) > 5
    assert (scan.ranges < 1.6).all()


@pytest.mark.parametrize('smooth', [True, False])
@pytest.mark.parametrize('bearing', [-0.5, -0.2, 0.003, 0.3, 0.55])
def test_a_pole_of_one_pixel_is_never_clear(bearing, smooth):
    camera = CameraModel.from_field_of_view(256, 192, math.radians(90))
    mount, grid = CameraMount(0.3, 0.2), camera.normalised_grid()
    pole = Cylinder(1.5 * math.cos(bearing), 1.5 * math.sin(bearing), 0.006, 1.0)
    depth = render(Scene(room=HALL, solids=(pole,)), camera, Pose(z_m=0.3, pitch_rad=0.2)).depth_z
    beams = Beams(grid, mount, angle_min=-0.7, angle_max=0.7, angle_increment=0.0175)
    scan = beams.scan(
        find_obstacles(depth, grid, mount, smooth=smooth), range_min=0.1, range_max=6.0
    )
    own = np.abs(-0.7 + 0.0175 * np.arange(len(scan.ranges)) - bearing).argmin()
    assert not scan.ranges[own] > 1.6
    assert not scan.seen_free[own] > 1.6


@pytest.mark.parametrize('share', [0.0, 0.002, 0.3])
def test_each_beam_has_its_third_nearest_pixel_also_among_equal_ones(share):
    """Against a plain sort of every beam's pixels; many distances are the same to the bit."""
    rng = np.random.default_rng(7)
    grid, mount = CAMERA.normalised_grid(), CameraMount(0.3, 0.1)
    seen = find_obstacles(np.full(grid[0].shape, np.inf, np.float32), grid, mount)
    seen.mask[:] = rng.random(seen.mask.shape) < share
    away = rng.integers(4, 40, seen.mask.shape).astype(np.float32) / 8
    bearing = bearings(grid, mount)
    seen.points[..., 0], seen.points[..., 1] = np.where(seen.mask, away, np.nan), 0
    seen.floor[:], seen.dropped[:] = ~seen.mask, False
    limits = {'angle_min': -0.5, 'angle_max': 0.5, 'angle_increment': 0.02}
    beams = Beams(grid, mount, **limits)
    ranges = beams.scan(seen, range_min=0.1, range_max=6.0).ranges
    of_beam = np.round((bearing + 0.5) / 0.02)
    for beam, found in enumerate(ranges):
        hits = np.sort(away[seen.mask & (of_beam == beam)])
        if not hits.size:
            assert not np.isfinite(found)
            continue
        third = hits[min(hits.size, 3) - 1]
        assert found == (hits[0] if hits[0] < 0.9 * third else third)


def test_a_beam_that_no_pixel_looks_along_knows_nothing():
    grid, mount = CAMERA.normalised_grid(), CameraMount(0.3, 0.1)
    seen = find_obstacles(np.full(grid[0].shape, np.inf, np.float32), grid, mount)
    beams = Beams(grid, mount, angle_min=2.0, angle_max=2.2, angle_increment=0.1)
    scan = beams.scan(seen, range_min=0.1, range_max=6.0)
    assert np.isnan(scan.ranges).all()
    assert np.isnan(scan.seen_free).all()
