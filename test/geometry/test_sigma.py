"""How far each metre can be believed: covariance of fits, and sigma of every pixel."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import (
    Beams,
    CameraModel,
    CameraMount,
    MetricDepth,
    ReferencePoints,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
    fit_range,
    fit_reference,
    inverse_depth_sigma,
)
from midas_depth_ros.geometry.fitting import InvalidInverseDepth
from midas_depth_ros.geometry.sigma import depth_sigma, doubts, enlarged_sigma
from midas_depth_ros.options.metric import MetricOptions, ObstacleOptions, SigmaOptions
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(75))
GRID = CAMERA.normalised_grid()
POSE = Pose(z_m=0.4, pitch_rad=0.15)
MOUNT = CameraMount(0.4, 0.15)
ROOM = Room(-3, 6, -2, 3)
SCENE = Scene(room=ROOM, solids=(Box(2.0, 0.4, 0.3, 0.4, 0.8), Box(3.0, -0.7, 0.4, 0.4, 1)))
INVERSE = (1 / render(SCENE, CAMERA, POSE).depth_z).astype(np.float32)
EXACT = SigmaOptions(pitch=0.0, height=0.0)
PROBES = (2.0, 1.0, 0.25)


def deviation(scale, probe):
    """The standard deviation of 1/Z where it is `probe`."""
    d = (probe - scale.shift) / scale.scale
    by_scale, both, by_shift = scale.covariance
    return math.sqrt(by_scale * d * d + 2 * both * d + by_shift)


def bumps(rng, deviation_share, width_px):
    """Errors of one standard deviation, `width_px` wide."""
    noise = cv2.GaussianBlur(rng.standard_normal(INVERSE.shape), (0, 0), 0.5 * width_px)
    return INVERSE * (1 + deviation_share * noise / noise.std())


def shares(errors_in_sigma):
    off = np.abs(np.asarray(errors_in_sigma))
    return float((off < 1).mean()), float((off < 2).mean())


@pytest.mark.parametrize(
    ('pitch', 'height'), [(math.radians(0.5), 0.0), (0.0, 0.05), (math.radians(0.5), 0.05)]
)
def test_a_mount_measured_wrong_is_within_what_the_floor_claims(pitch, height):
    rng = np.random.default_rng(1)
    known = SigmaOptions(pitch=pitch, height=height)
    off = []
    for _ in range(120):
        mount = CameraMount(0.4 * (1 + height * rng.normal()), 0.15 + pitch * rng.normal())
        fit = fit_ground_plane(INVERSE, GRID, mount, sigma=known)
        assert isinstance(fit, ScaleShift), fit.reason
        # A wrong mount also bends the floor a little, which the scatter of its cells shows.
        off.append([(fit.inverse_depth(np.array([p])) - p)[0] / deviation(fit, p) for p in PROBES])
    one, two = shares(off)
    assert 0.55 < one < 0.85
    assert two > 0.88


@pytest.mark.parametrize('width_px', [1, 8, 25])
def test_errors_of_neighbours_that_agree_count_as_one(width_px):
    rng = np.random.default_rng(2)
    off, claimed = [], []
    for _ in range(60):
        fit = fit_ground_plane(bumps(rng, 0.03, width_px), GRID, MOUNT, sigma=EXACT)
        assert isinstance(fit, ScaleShift), fit.reason
        off.append([(fit.inverse_depth(np.array([p])) - p)[0] / deviation(fit, p) for p in PROBES])
        claimed.append(deviation(fit, 1.0))
    one, two = shares(off)
    assert one > 0.5
    assert two > 0.8
    white = fit_ground_plane(bumps(rng, 0.03, 1), GRID, MOUNT, sigma=EXACT)
    assert width_px == 1 or np.median(claimed) > 3 * deviation(white, 1.0)


@pytest.mark.parametrize('count', [8, 20, 200])
def test_reference_points_claim_what_they_can(count):
    rng = np.random.default_rng(3)
    off, claimed = [], []
    for _ in range(80):
        d = bumps(rng, 0.05, 20).astype(np.float32) * 3 + 1
        u, v = rng.integers(0, 256, count), rng.integers(0, 192, count)
        fit = fit_reference(d, ReferencePoints.of(u, v, 1 / INVERSE[v, u]))
        if isinstance(fit, ScaleShift):
            off.append([(fit.inverse_depth(np.array([3 * p + 1])) - p)[0] / deviation(fit, p)
                        for p in PROBES])  # fmt: skip
            claimed.append(deviation(fit, 1.0))
    assert len(off) > 20
    one, two = shares(off)
    assert one > 0.55
    assert two > 0.85
    assert 0.002 < np.median(claimed) < 0.1


def test_one_reading_knows_its_own_distance_and_little_of_others():
    points = ReferencePoints.of([128.0], [150.0], [1 / INVERSE[150, 128]])
    fit = fit_range(INVERSE * 5 + 2, points)
    assert isinstance(fit, ScaleShift), fit.reason
    at = float(INVERSE[150, 128])
    assert deviation(fit, at) == pytest.approx(0.05 * at, rel=0.1)
    assert deviation(fit, 0.2) > 0.3 * 0.2


def test_what_is_unknown_has_no_sigma_and_makes_nothing_else_uncertain():
    d = INVERSE.copy()
    fit = fit_ground_plane(d, GRID, MOUNT)
    whole = inverse_depth_sigma(d, fit, grid=GRID, mount=MOUNT)
    assert (whole.shape, whole.dtype) == (d.shape, np.float32)
    assert np.isfinite(whole).all()
    assert (whole > 0).all()
    d[:, :90] = math.nan
    part = inverse_depth_sigma(d, fit, grid=GRID, mount=MOUNT)
    assert np.isnan(part[:, :90]).all()
    floor = np.s_[170:, 110:]
    np.testing.assert_allclose(part[floor], whole[floor], rtol=0.3)
    assert np.isnan(inverse_depth_sigma(d * math.nan, fit, grid=GRID, mount=MOUNT)).all()


def test_an_edge_is_less_certain_than_both_sides():
    fit = fit_ground_plane(INVERSE, GRID, MOUNT)
    sigma = inverse_depth_sigma(INVERSE, fit, grid=GRID, mount=MOUNT)
    row = 100
    share = sigma[row] / INVERSE[row]
    edge = int(np.argmax(np.abs(np.diff(INVERSE[row]))))
    assert share[edge] > 1.5 * max(share[edge - 25], share[edge + 25])


def test_what_misses_its_foot_or_lies_behind_the_floor_is_less_certain():
    fit = fit_ground_plane(INVERSE, GRID, MOUNT)
    plain = inverse_depth_sigma(INVERSE, fit, grid=GRID, mount=MOUNT)
    ground = MOUNT.ground_inverse_depth(GRID)
    odd = INVERSE.copy()
    odd[60:80, 20:60] *= 1.6  # of a wall: nearer than where it stands
    odd[150:170, 200:230] = 0.5 * ground[150:170, 200:230]  # a hole in the floor
    sigma = inverse_depth_sigma(odd, fit, grid=GRID, mount=MOUNT)
    assert (sigma[64:76, 26:54] > 1.5 * plain[64:76, 26:54]).all()
    hole = np.s_[156:164, 208:222]
    assert (sigma[hole] > 0.8 * 0.5 * ground[hole]).all()


def test_without_a_mount_everything_is_as_uncertain_as_what_stands_on_the_floor():
    scale = ScaleShift(1.0, 0.0, 'model')
    share = inverse_depth_sigma(INVERSE, scale)[140:, 100:160] / INVERSE[140:, 100:160]
    assert ((share > 0.08) & (share < 0.3)).all()


def test_sigma_of_metres_follows_from_that_of_the_inverse():
    depth = np.array([[2.0, math.nan]], np.float32)
    sigma = depth_sigma(depth, np.array([[0.01, 0.01]], np.float32))
    np.testing.assert_allclose(sigma, [[0.04, math.nan]], rtol=1e-6)


def test_a_less_certain_fit_makes_every_pixel_less_certain():
    fit = fit_ground_plane(INVERSE, GRID, MOUNT)
    more = dataclasses.replace(fit, covariance=(0.0, 0.0, 0.04))
    sigma = inverse_depth_sigma(INVERSE, more, grid=GRID, mount=MOUNT)
    assert (sigma >= 0.2).all()


def test_what_the_network_expects_to_be_off_by_adds_and_never_lowers():
    fit = fit_ground_plane(INVERSE, GRID, MOUNT)
    plain = inverse_depth_sigma(INVERSE, fit, grid=GRID, mount=MOUNT)
    error = np.full(INVERSE.shape, 0.01, np.float32)
    error[:, 128:] = 2.0
    sigma = inverse_depth_sigma(INVERSE, fit, grid=GRID, mount=MOUNT, error=error)
    assert (sigma >= plain).all()
    left, right = np.s_[:, :110], np.s_[:, 146:]
    np.testing.assert_allclose(sigma[left], plain[left], atol=0.01)
    assert (sigma[right] > 0.5).all()
    sure = inverse_depth_sigma(INVERSE, fit, grid=GRID, mount=MOUNT, error=0 * error)
    np.testing.assert_array_equal(sure, plain)


@pytest.mark.parametrize('factor', [0.1, 1.0, 12.0])
def test_the_units_of_the_network_do_not_matter(factor):
    """A scale s takes the expected error along: 1/Z is off by s times as much."""
    error = (0.05 + 0.2 * np.random.default_rng(0).random(INVERSE.shape)).astype(np.float32)
    d = INVERSE / np.float32(factor)
    sigma = inverse_depth_sigma(d, ScaleShift(factor, 0.0, 'model'), error=error / factor)
    wanted = inverse_depth_sigma(INVERSE, ScaleShift(1.0, 0.0, 'model'), error=error)
    np.testing.assert_allclose(sigma, wanted, rtol=1e-4)


def test_a_frame_of_which_the_network_knows_nothing_has_no_free_floor():
    fit = fit_ground_plane(INVERSE, GRID, MOUNT)
    options = MetricOptions()
    seen = MetricDepth().update(1.0, INVERSE, GRID, MOUNT, fit, options)
    error = np.full(INVERSE.shape, 4.0, np.float32)
    blind = MetricDepth().update(1.0, INVERSE, GRID, MOUNT, fit, options, error=error)
    assert seen.obstacles.floor.mean() > 0.2
    assert not blind.obstacles.floor.any()
    assert (blind.inverse_sigma > seen.inverse_sigma).all()


# --- What is not certain is not free.

BEAMS = {'angle_min': -0.5, 'angle_max': 0.5, 'angle_increment': 0.0175}
RANGES = {'range_min': 0.1, 'range_max': 6.0}
OPTIONS = ObstacleOptions(min_pixels=4)
BOX_M, BOX_SIDE_M = 2.0, 0.5
WITH_BOX = Scene(solids=(Box(BOX_M + 0.5 * BOX_SIDE_M, 0.0, BOX_SIDE_M, BOX_SIDE_M, BOX_SIDE_M),))
EMPTY = Scene()


def scan_of(scene, sigma_share, max_share=0.25, where=True):
    """Obstacles and scan of a scene whose 1/Z is as uncertain as this share of it."""
    depth = render(scene, CAMERA, POSE).depth_z
    sigma = np.where(where, sigma_share, 0.0).astype(np.float32) / np.minimum(depth, 1e3)
    found = find_obstacles(depth, GRID, MOUNT, OPTIONS, sigma=sigma, max_share=max_share)
    return found, Beams(GRID, MOUNT, **BEAMS).scan(found, **RANGES)


def test_floor_that_is_not_certain_is_never_clear():
    _, certain = scan_of(EMPTY, 0.1)
    assert np.isposinf(certain.ranges).all()
    assert (certain.seen_free == 6.0).all()
    _, scan = scan_of(EMPTY, 0.3)
    assert np.isnan(scan.ranges).all()
    assert np.isnan(scan.seen_free).all()
    _, allowed = scan_of(EMPTY, 0.3, max_share=0.4)
    assert np.isposinf(allowed.ranges).all()


def test_floor_is_free_only_as_far_as_it_is_certain():
    depth = render(EMPTY, CAMERA, POSE).depth_z
    # The mount's half degree is a constant in 1/Z: a share that grows with the distance.
    sigma = np.full(depth.shape, 0.1, np.float32)
    found = find_obstacles(depth, GRID, MOUNT, OPTIONS, sigma=sigma, max_share=0.25)
    scan = Beams(GRID, MOUNT, **BEAMS).scan(found, **RANGES)
    assert np.isnan(scan.ranges).all()
    ahead = scan.seen_free[25:32]
    assert (ahead > 2.0).all()
    assert (ahead < 2.7).all()


@pytest.mark.parametrize('sigma_share', [0.0, 0.2, 0.3, 0.55])
def test_an_obstacle_that_is_not_certain_stays_one_and_is_never_farther(sigma_share):
    exact, by_depth = scan_of(WITH_BOX, 0.0)
    found, scan = scan_of(WITH_BOX, sigma_share, where=exact.mask)
    assert (found.mask | found.dropped)[exact.mask].all()
    assert found.mask[exact.mask].mean() > 0.99
    ahead = scan.ranges[27:31]
    before = by_depth.ranges[27:31]
    assert before == pytest.approx(BOX_M, rel=0.05)
    assert np.isfinite(ahead).all()
    assert (ahead <= before + 1e-6).all()
    if sigma_share <= 0.25:
        np.testing.assert_array_equal(ahead, before)
    else:
        assert ahead == pytest.approx(BOX_M / (1 + 2 * sigma_share), rel=0.1)
    assert not np.isposinf(scan.ranges[27:31]).any()


@pytest.mark.parametrize('sigma_share', [0.8, 2.0, math.inf, math.nan])
def test_an_obstacle_somewhere_is_unknown_and_nothing_is_free_behind_where_it_may_be(sigma_share):
    exact, _ = scan_of(WITH_BOX, 0.0)
    found, scan = scan_of(WITH_BOX, sigma_share, where=exact.mask)
    assert (found.mask | found.dropped)[exact.mask].all()
    assert found.dropped[exact.mask].mean() > 0.99
    assert np.isnan(scan.ranges[27:31]).all()
    assert found.nearest is None
    may_be = BOX_M / (1 + 2 * sigma_share) if sigma_share < 9 else 0.0
    free = np.nan_to_num(scan.seen_free[27:31])
    assert (free <= 1.1 * may_be).all()


def test_the_nearest_in_the_corridor_is_where_it_may_be():
    certain, _ = scan_of(WITH_BOX, 0.1)
    found, _ = scan_of(WITH_BOX, 0.5)
    assert certain.nearest_range_m == pytest.approx(BOX_M, rel=0.05)
    assert found.nearest_range_m == pytest.approx(0.5 * BOX_M, rel=0.1)


def test_a_frame_in_metres_says_how_certain_it_is_and_acts_on_it():
    metric = MetricDepth()
    fit = fit_ground_plane(INVERSE, GRID, MOUNT)
    frame = metric.update(1.0, INVERSE, GRID, MOUNT, fit, MetricOptions())
    np.testing.assert_array_equal(np.isnan(frame.sigma), np.isnan(frame.depth_z))
    known = np.isfinite(frame.depth_z)
    expected = frame.depth_z[known] ** 2 * frame.inverse_sigma[known]
    np.testing.assert_allclose(frame.sigma[known], expected, rtol=1e-5)
    assert frame.obstacles.floor.mean() > 0.2
    unsure = dataclasses.replace(fit, covariance=(0.0, 0.0, 1.0))
    doubtful = MetricDepth().update(1.0, INVERSE, GRID, MOUNT, unsure, MetricOptions())
    assert not doubtful.obstacles.floor.any()
    obstacles = doubtful.obstacles.mask | doubtful.obstacles.dropped
    assert obstacles[frame.obstacles.mask].all()


def test_where_no_sigma_is_known_an_enlarged_one_is_not_zero():
    assert np.isinf(enlarged_sigma(np.full((4, 6), np.nan, np.float32), (8, 12))).all()


def test_what_a_network_expects_counts_by_the_steepest_part_of_a_curve():
    d = np.linspace(0.2, 1.0, 64 * 48, dtype=np.float32).reshape(48, 64)
    error = np.full_like(d, 0.1)
    line = ScaleShift(1.0, 0.0, 'odometry')
    curve = dataclasses.replace(line, curve=((0.2, 0.2), (0.6, 0.4), (1.0, 2.0)))
    by_line, by_curve = (
        doubts(d, scale.inverse_depth(d), scale, None, error)['network'] for scale in (line, curve)
    )
    assert by_line == pytest.approx(0.01, rel=1e-5)
    assert by_curve == pytest.approx(0.01 * 4.0**2, rel=1e-5)


def test_an_expected_error_of_another_shape_is_refused():
    d = np.full((48, 64), 0.5, np.float32)
    with pytest.raises(InvalidInverseDepth, match='expected error'):
        inverse_depth_sigma(d, ScaleShift(1.0, 0.0, 'odometry'), error=d.T)
