"""Lower floor beyond an edge: found in depth with errors as smooth as a network's, never free."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MetricDepth,
    Refusal,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
)
from midas_depth_ros.geometry.agreement import combined
from midas_depth_ros.geometry.floor_drop import beyond_drop, find_drop
from midas_depth_ros.geometry.scan import Beams, corridor_free_m, scan_limits
from midas_depth_ros.options.metric import MetricOptions, ObstacleOptions

CAMERA = CameraModel.from_field_of_view(256, 192, 1.2)
GRID = CAMERA.normalised_grid()
MOUNTS = (CameraMount(0.3, 0.15), CameraMount(0.45, 0.2), CameraMount(0.6, 0.25))
EDGES_M = (1.0, 1.3, 1.6, 1.8)
FARTHEST_M = 50.0
CELLS = (48, 64)


def rays_of(mount):
    return np.stack([*GRID, np.ones_like(GRID[0])], axis=-1) @ mount.body_axes().T


def floor_with_edge(mount, edge_m, drop_m, wall_m=6.0):
    """Depth Z (h, w) of a floor that ends `edge_m` ahead, of another one below it, and a wall."""
    rays = rays_of(mount)
    ahead, up = rays[..., 0], rays[..., 2]
    with np.errstate(divide='ignore'):
        upper = np.where(up < 0, mount.height_m / -up, np.inf)
        lower = np.where(up < 0, (mount.height_m + drop_m) / -up, np.inf)
        face, wall = (np.where(ahead > 0, m / ahead, np.inf) for m in (edge_m, wall_m))
    floor = np.where(upper * ahead <= edge_m, upper, np.maximum(lower, face))
    return np.minimum(np.minimum(floor, wall), FARTHEST_M)


def as_a_network_sees(depth_z, rng, noise=0.02, bumps=0.05, width_px=12):
    smooth = cv2.GaussianBlur(rng.standard_normal(depth_z.shape), (0, 0), width_px)
    share = 1 + noise * rng.standard_normal(depth_z.shape) + bumps * smooth / smooth.std()
    return (7 * share / depth_z + 3).astype(np.float32)


def free_ahead_m(d, mount, fit):
    options = MetricOptions()
    step = options.scan.angle_increment
    first, last = scan_limits(GRID, mount, step)
    beams = Beams(GRID, mount, angle_min=first, angle_max=last, angle_increment=step)
    frame = MetricDepth().update(0.0, d, GRID, mount, fit, options)
    scan = beams.scan(
        frame.obstacles, range_min=options.scan.range_min, range_max=options.scan.range_max
    )
    return corridor_free_m(
        scan, frame.obstacles.nearest_range_m, angle_min=first, angle_increment=step,
        width_m=0.4, begins_m=beams.view_begins_m,
    )  # fmt: skip


@pytest.mark.parametrize('width_px', [12, 25])
@pytest.mark.parametrize('drop_m', [0.17, 0.25, 0.4])
@pytest.mark.parametrize('mount', MOUNTS, ids=lambda mount: f'{mount.height_m} m')
def test_beyond_an_edge_nothing_is_free_whatever_the_bumps(mount, drop_m, width_px):
    beyond, measured = [], 0
    for edge_m in EDGES_M:
        for seed in range(6):
            rng = np.random.default_rng((seed, width_px))
            depth_z = floor_with_edge(mount, edge_m, drop_m, wall_m=5 + seed)
            d = as_a_network_sees(depth_z, rng, width_px=width_px)
            fit = fit_ground_plane(d, GRID, mount)
            if isinstance(fit, Refusal):
                continue
            measured += 1
            free_m = free_ahead_m(d, mount, fit)
            if free_m > 1.15 * edge_m + 0.05:
                beyond.append((edge_m, seed, free_m))
    assert not beyond
    assert measured >= 6, 'refusing everything proves nothing'


@pytest.mark.parametrize('mount', MOUNTS, ids=lambda mount: f'{mount.height_m} m')
def test_what_is_before_the_edge_is_measured_right(mount):
    depth_z = floor_with_edge(mount, 1.3, 0.17)
    d = as_a_network_sees(depth_z, np.random.default_rng(1), bumps=0.03)
    fit = fit_ground_plane(d, GRID, mount)
    assert isinstance(fit, ScaleShift), fit.reason
    edge, fall = fit.floor_drop
    assert fall == pytest.approx(0.17 / (0.17 + mount.height_m), abs=0.06)
    near = (depth_z * rays_of(mount)[..., 0] < 1.2) & (mount.ground_inverse_depth(GRID) > 0)
    assert np.median((fit.inverse_depth(d) * depth_z)[near]) == pytest.approx(1, abs=0.03)
    floor_at_edge = float((1 / depth_z)[near].min())
    assert 0.8 * floor_at_edge < edge < 1.6 * floor_at_edge


@pytest.mark.parametrize(
    ('noise', 'bumps', 'width_px'), [(0, 0, 12), (0.02, 0, 12), (0.02, 0.05, 12)]
)
@pytest.mark.parametrize('mount', MOUNTS, ids=lambda mount: f'{mount.height_m} m')
def test_a_level_floor_does_not_fall_off(mount, noise, bumps, width_px):
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        depth_z = floor_with_edge(mount, 99.0, 0.0, wall_m=2.5 + 0.2 * seed)
        fit = fit_ground_plane(as_a_network_sees(depth_z, rng, noise, bumps, width_px), GRID, mount)
        found.append(isinstance(fit, ScaleShift) and fit.floor_drop != (0.0, 0.0))
    assert sum(found) <= (1 if bumps else 0)


@pytest.mark.parametrize('wall_m', [0.9, 1.1, 1.3, 1.6])
def test_the_foot_of_a_near_wall_is_no_edge(wall_m):
    for height_m in (0.3, 0.6, 0.85):
        for pitch_rad in (0.05, 0.2, 0.28):
            mount = CameraMount(height_m, pitch_rad)
            depth_z = floor_with_edge(mount, 99.0, 0.0, wall_m)
            fit = fit_ground_plane((1 / depth_z).astype(np.float32), GRID, mount)
            if isinstance(fit, Refusal):
                assert fit.witness is None or fit.witness.floor_drop == (0.0, 0.0)
                continue
            assert fit.floor_drop == (0.0, 0.0)
            assert fit.scale == pytest.approx(1, abs=0.02)


def test_an_edge_must_explain_more_than_one_line_does():
    d, ground, tolerance = cells_of(0.2)
    anywhere = np.ones(CELLS, bool)
    assert find_drop(d, ground, tolerance, anywhere, (2.2, -0.7)) is not None
    level, _, _ = cells_of(0.0)
    level = np.where(ground < 0.8, (0.8 - 0.3) / 0.5, level)  # a wall, which is as near everywhere
    assert find_drop(level, ground, tolerance, anywhere, (2.0, -0.6)) is None


def test_what_is_a_drop_is_for_max_drop_to_say():
    mount = MOUNTS[0]
    d = as_a_network_sees(floor_with_edge(mount, 1.3, 0.06), np.random.default_rng(0), bumps=0.0)
    for most, dropped in ((0.1, False), (0.03, True)):
        fit = fit_ground_plane(d, GRID, mount, max_drop_m=most)
        assert isinstance(fit, ScaleShift), fit.reason
        assert (fit.floor_drop[1] > 0) == dropped
        seen = find_obstacles(
            fit.depth(d, min_depth_m=0, beyond=math.inf), GRID, mount,
            ObstacleOptions(max_drop=most), residual=fit.floor_residual, floor_drop=fit.floor_drop,
        )  # fmt: skip
        assert seen.drop.any() == dropped


@pytest.mark.parametrize('raised_m', [0.04, 0.06, 0.08])
def test_behind_a_mat_or_a_slab_whose_front_is_out_of_view_no_wall_is_free(raised_m):
    """Its top may be taken for the floor; a mat of 4 cm is none that the scale should change by."""
    mount, on_top = CameraMount(0.3, 0.15), CameraMount(0.3 - raised_m, 0.15)
    farther = []
    for edge_m in (0.7, 0.9, 1.2, 1.5):
        for seed in range(4):
            rng = np.random.default_rng(seed)
            depth_z = floor_with_edge(on_top, edge_m, raised_m, wall_m=3.0)
            d = as_a_network_sees(depth_z, rng)
            fit = fit_ground_plane(d, GRID, mount)
            if isinstance(fit, Refusal):
                continue
            assert free_ahead_m(d, mount, fit) < 1.1 * 3.0
            wall = np.abs(depth_z * rays_of(mount)[..., 0] - 3.0) < 0.02
            farther.append(float(np.median(1 / (fit.inverse_depth(d) * depth_z)[wall])))
    assert len(farther) >= 8
    if raised_m < 0.05:
        assert max(farther) < 1.05


def cells_of(fall, edge=0.8, noise=0.0):
    ground = np.linspace(0.1, 2.0, CELLS[0])[:, None] * np.ones(CELLS[1])
    inverse = np.where(ground < edge, (1 - fall) * ground, ground)
    inverse = inverse + noise * ground * np.random.default_rng(0).standard_normal(CELLS)
    return (inverse - 0.3) / 0.5, ground, np.maximum(0.12 * ground, 0.05)


def drop_in(d, ground, tolerance, possible=None):
    """What is found against one line of all cells."""
    possible = np.ones(CELLS, bool) if possible is None else possible
    slope, offset = np.polyfit(ground.ravel(), d.ravel(), 1)
    return find_drop(d, ground, tolerance, possible, (slope, offset))


@pytest.mark.parametrize('fall', [0.12, 0.2, 0.3])
def test_an_exact_fall_is_found_to_the_percent(fall):
    found = drop_in(*cells_of(fall))
    assert found is not None
    assert 1 / found.slope == pytest.approx(0.5, rel=0.05)
    assert found.fall == pytest.approx(fall, abs=0.05)
    assert 0.7 < found.edge < 1.1


@pytest.mark.parametrize('fall', [0.0, 0.05, -0.2])
def test_what_rises_or_hardly_falls_is_no_drop(fall):
    assert drop_in(*cells_of(fall, noise=0.02)) is None


def test_where_there_is_too_little_nothing_is_found():
    d, ground, tolerance = cells_of(0.2)
    few = np.zeros(CELLS, bool)
    assert drop_in(d, ground, tolerance, few) is None
    few[0, :30] = True
    assert drop_in(d, ground, tolerance, few) is None
    flat = np.ones(CELLS)
    assert find_drop(d, flat, 0.1 * flat, np.ones(CELLS, bool), (2.0, -0.6)) is None


@pytest.mark.filterwarnings('error')
@pytest.mark.parametrize('rows', [4, 5, 6])
def test_a_floor_in_a_few_rows_falls_off_by_no_chance(rows):
    """Two rows beyond or before an edge hardly tell slope, offset and fall apart."""
    for seed in range(100):
        rng = np.random.default_rng(seed)
        ground = rng.integers(1, rows, CELLS) + 0.1
        d = ground * (1 + 0.02 * rng.standard_normal(CELLS))
        for exact in (ground, d):
            assert drop_in(exact, ground, 0.12 * ground) is None


def test_only_what_is_lower_and_beyond_the_edge_is_beyond():
    ground = np.array([2.0, 0.5, 0.5, 0.5])
    error = np.array([-0.4, -0.09, -0.04, 0.2])
    assert beyond_drop(error, ground, (1.0, 0.2)).tolist() == [False, True, False, False]


def test_two_sources_that_agree_know_of_the_drop_that_one_has_seen():
    floor = ScaleShift(1.0, 0.0, 'ground', covariance=(1e-4, 0.0, 1e-4), floor_drop=(0.8, 0.2))
    wheels = ScaleShift(1.01, 0.0, 'odometry', covariance=(1e-4, 0.0, 1e-4))
    probes = np.linspace(0.2, 2.0, 20)
    for fits in ({'a': floor, 'b': wheels}, {'a': wheels, 'b': floor}):
        assert combined(fits, probes).floor_drop == (0.8, 0.2)
