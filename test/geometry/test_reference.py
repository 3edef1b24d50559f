"""Scale and shift from metric points, and how ranges of other sensors become such points."""

from __future__ import annotations

import dataclasses
import math
import re

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    InvalidReference,
    ReferencePoints,
    Refusal,
    ScaleShift,
    cloud_points,
    fit_range,
    fit_reference,
    range_points,
    scan_points,
)
from midas_depth_ros.sim import Box, Pose, Room, Scene, render
from midas_depth_ros.sim.scene.scene import OPTICAL_IN_BODY

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
SCENE = Scene(
    room=Room(-3, 5, -2, 3), solids=(Box(1.5, 0.4, 0.3, 0.4, 0.8), Box(2.4, -0.7, 0.4, 0.4, 1))
)


def picture(pose=None, camera=CAMERA):
    return render(SCENE, camera, pose or Pose(z_m=0.3, pitch_rad=0.1)).depth_z.astype(np.float64)


def some_points(depth, rng, count=80):
    u, v = rng.integers(0, depth.shape[1], count), rng.integers(0, depth.shape[0], count)
    return u, v, depth[v, u]


@pytest.mark.parametrize('seed', range(8))
def test_sparse_points_give_it_back_despite_noise_and_outliers(seed):
    rng = np.random.default_rng(seed)
    depth = picture()
    scale, shift = 10 ** rng.uniform(-3, 2), rng.uniform(-2, 2)
    d = ((1 / depth * (1 + 0.02 * rng.standard_normal(depth.shape)) - shift) / scale).astype(
        np.float32
    )
    u, v, z = some_points(depth, rng)
    wrong = rng.random(80) < 0.3
    z = np.where(wrong, rng.uniform(0.2, 8, 80), z)
    found = fit_reference(d, ReferencePoints.of(u, v, z))
    assert isinstance(found, ScaleShift), found.reason
    inverse = np.array([2.0, 1.0, 0.25])
    again = found.scale * (inverse - shift) / scale + found.shift
    np.testing.assert_allclose(again, inverse, rtol=0.05)
    assert found.source == 'reference'
    assert found.points == pytest.approx(80 * (1 - wrong.mean()), abs=12)
    assert 0.005 < found.residual < 0.1


def test_without_noise_it_is_exact():
    depth = picture()
    u, v, z = some_points(depth, np.random.default_rng(0))
    found = fit_reference((1 / depth - 0.3) / 5, ReferencePoints.of(u, v, z))
    assert (found.scale, found.shift) == (pytest.approx(5, rel=1e-6), pytest.approx(0.3, abs=1e-6))
    assert found.inlier_share == 1


def test_weights_decide_between_two_groups():
    d = np.tile(np.linspace(1, 3, 64), (48, 1))
    columns = np.arange(0, 64, 2)
    value = d[0, columns]
    truth, other = 1 / (0.5 * value + 0.1), 1 / (0.9 * value + 0.8)
    u, v = np.tile(columns, 2), np.repeat([10, 20], 32)
    for weights, scale in (((3.0, 1.0), 0.5), ((1.0, 3.0), 0.9)):
        points = ReferencePoints.of(u, v, np.concatenate([truth, other]), np.repeat(weights, 32))
        assert fit_reference(d, points).scale == pytest.approx(scale, rel=1e-6)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'z': lambda z: z[:5]}, 'only 5 reference points'),
        ({'z': lambda z: 0 * z + 2.0}, 'no two reference points|too alike|positive'),
        ({'z': lambda z: 1 / (3 - 1 / z)}, 'no two reference points|agree|positive'),
        ({'z': lambda z: np.random.default_rng(1).uniform(0.3, 9, len(z))}, 'agree|no two'),
        ({'z': lambda z: z * np.nan}, 'only 0 reference points'),
    ],
)
def test_what_gives_no_scale_is_refused(change, words):
    depth = picture()
    u, v, z = some_points(depth, np.random.default_rng(0), 60)
    with np.errstate(divide='ignore'):
        z = change['z'](z)
    found = fit_reference(1 / depth, ReferencePoints.of(u[: len(z)], v[: len(z)], z))
    assert isinstance(found, Refusal)
    assert re.search(words, found.reason), found.reason


def test_points_all_at_one_distance_are_too_alike():
    d = np.full((48, 64), 1.0) + np.random.default_rng(0).normal(0, 0.01, (48, 64))
    rng = np.random.default_rng(0)
    z = 2.0 / d[rng.integers(0, 48, 40), rng.integers(0, 64, 40)]
    found = fit_reference(
        d, ReferencePoints.of(rng.integers(0, 64, 40), rng.integers(0, 48, 40), z)
    )
    assert isinstance(found, Refusal)


def test_with_a_known_shift_one_range_is_enough():
    depth = picture()
    d = (1 / depth - 0.2) / 4
    one = ReferencePoints.of([128], [80], [depth[80, 128]])
    assert isinstance(fit_reference(d, one), Refusal)
    found = fit_reference(d, one, fixed_shift=0.2)
    assert (found.scale, found.shift) == (pytest.approx(4), 0.2)


def test_points_outside_or_impossible_are_left_out():
    depth = picture()
    u, v, z = some_points(depth, np.random.default_rng(0), 40)
    u = np.append(u.astype(float), [-5, 400, 10, 10, 10, math.nan])
    v = np.append(v.astype(float), [10, 10, -9, 500, 10, 10])
    z = np.append(z, [1, 1, 1, 1, -3, 1])
    found = fit_reference((1 / depth - 0.3) / 5, ReferencePoints.of(u, v, z))
    assert found.points == 40
    assert found.inlier_share == 1


def optical_from(sensor_in_body, pose):
    """4x4: a sensor at a place in the body frame (x forward, y left, z up; unturned)."""
    axes = pose.optical_axes  # optical -> body
    transform = np.eye(4)
    transform[:3, :3] = axes.T
    transform[:3, 3] = axes.T @ (np.asarray(sensor_in_body) - pose.position)
    return transform


def lidar(pose, height, count=181):
    """Ranges of a planar lidar at this height, by looking with a level camera of its own."""
    camera = CameraModel.from_field_of_view(count, 3, math.radians(120))
    seen = render(SCENE, camera, Pose(z_m=height)).depth_z[1]
    x = camera.normalised_grid()[0][1].astype(np.float64)
    return seen * np.hypot(1, x), -np.arctan(x)


@pytest.mark.parametrize(
    'camera',
    [
        CAMERA,
        CameraModel(256, 192, 180.0, 180.0, 127.5, 95.5, 'plumb_bob', (-0.25, 0.05, 0.0, 0.0)),
    ],
    ids=['pinhole', 'lens'],
)
def test_a_lidar_scan_gives_the_scale_though_a_range_is_not_z(camera):
    pose = Pose(z_m=0.3, pitch_rad=0.1)
    depth = picture(pose, camera)
    ranges, angles = lidar(pose, 0.2)
    even = np.linspace(-1, 1, 241)
    order = np.argsort(angles)
    beams = np.interp(even, angles[order], ranges[order])
    beams[10], beams[20] = np.inf, np.nan
    points = scan_points(beams, -1.0, even[1] - even[0], optical_from((0, 0, 0.2), pose), camera)
    assert 60 < len(points) < 241
    off = np.abs(points.z / depth[np.rint(points.v).astype(int), np.rint(points.u).astype(int)] - 1)
    assert np.median(off) < 0.01
    found = fit_reference((1 / depth - 0.3) / 5, points)
    assert isinstance(found, ScaleShift), found.reason
    assert found.scale == pytest.approx(5, rel=0.03)
    assert found.shift == pytest.approx(0.3, abs=0.02)


def test_beams_outside_the_sensors_limits_do_not_count():
    transform = np.eye(4)
    transform[:3, :3] = OPTICAL_IN_BODY.T
    points = scan_points(
        [0.05, 1.0, 2.0, 9.0], -0.1, 0.05, transform, CAMERA, range_min=0.1, range_max=5
    )
    np.testing.assert_allclose(points.z, [1.0 * math.cos(0.05), 2.0], rtol=1e-9)
    # Counter-clockwise: -0.05 rad is to the right of straight ahead.
    assert points.u[0] > points.u[1] == pytest.approx(CAMERA.cx)


def test_a_range_finder_gives_the_pixel_on_its_axis():
    transform = np.eye(4)
    transform[:3, :3] = OPTICAL_IN_BODY.T
    transform[:3, 3] = (0.1, 0.05, -0.02)  # to the right of the camera, below, behind
    point = range_points(1.02, transform, CAMERA)
    assert point.z[0] == pytest.approx(1.0)
    assert point.u[0] == pytest.approx(CAMERA.cx + 0.1 * CAMERA.fx)
    assert point.v[0] == pytest.approx(CAMERA.cy + 0.05 * CAMERA.fy)
    for nothing in (math.inf, math.nan, -1.0, 0.0):
        assert len(range_points(nothing, transform, CAMERA)) == 0
    assert len(range_points(3.9, transform, CAMERA, range_max=4.0)) == 1
    assert len(range_points(4.1, transform, CAMERA, range_max=4.0)) == 0


def test_a_cloud_leaves_out_what_is_behind_or_beside():
    cloud = np.array([[0, 0, 2.0], [0, 0, -2.0], [9, 0, 1.0], [0.1, 0.2, 1.0], [np.nan, 0, 1]])
    points = cloud_points(cloud, np.eye(4), CAMERA)
    np.testing.assert_allclose(points.z, [2.0, 1.0])
    np.testing.assert_allclose(points.u, [CAMERA.cx, CAMERA.cx + 0.1 * CAMERA.fx])


@pytest.mark.parametrize('transform', [np.eye(3), 2 * np.eye(4), np.zeros((4, 4))])
def test_a_transform_that_is_none_is_refused(transform):
    with pytest.raises(InvalidReference, match='rigid'):
        cloud_points(np.zeros((3, 3)), transform, CAMERA)


def test_arrays_that_do_not_fit_are_refused():
    with pytest.raises(InvalidReference, match='one length'):
        ReferencePoints.of([1, 2], [1, 2], [1.0, 2.0, 3.0])
    with pytest.raises(InvalidReference, match=r'\(n, 3\)'):
        cloud_points(np.zeros((4, 2)), np.eye(4), CAMERA)


@pytest.mark.parametrize('unit', [1e-9, 1e-6, 1e-3, 1e9])
def test_in_whatever_units_a_network_gives_depth_it_is_as_uncertain(unit):
    rng = np.random.default_rng(5)
    depth = 1 / np.linspace(0.1, 1.2, 48 * 64).reshape(48, 64)
    noisy = depth * (1 + rng.normal(0, 0.02, depth.shape))
    rows, columns = (each.ravel() for each in np.mgrid[0:48:6, 0:64:6])
    points = ReferencePoints.of(columns, rows, noisy[rows, columns])
    fit, other = (fit_reference(each, points) for each in (1 / depth, unit / depth))
    assert fit.covariance[0] > 0
    wanted = fit.covariance * np.array([unit**-2, unit**-1, 1])
    np.testing.assert_allclose(other.covariance, wanted, rtol=1e-6)
    near, again = (fit_range(each, points) for each in (1 / depth, unit / depth))
    assert near.covariance[2] > 0
    np.testing.assert_allclose(again.covariance[2], near.covariance[2], rtol=1e-6)


def test_a_range_finder_that_sees_nothing_measures_nothing():
    """By nav2's rule, and that of many drivers, max_range is clear, and not a wall there."""
    ahead = np.array([[0.0, -1, 0, 0], [0, 0, -1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
    camera = CameraModel.from_field_of_view(64, 48, 1.2)
    limits = {'range_min': 0.05, 'range_max': 4.0}
    assert len(range_points(3.99, ahead, camera, **limits)) == 1
    for nothing in (4.0, math.inf, math.nan, 0.0, 0.04):
        assert len(range_points(nothing, ahead, camera, **limits)) == 0
    # At the near end "at most so far": by it all metres would be too far.
    assert len(range_points(0.051, ahead, camera, **limits)) == 1
    assert len(range_points(0.05, ahead, camera, **limits)) == 0


def optical_from_lidar(x_m=0.0, z_m=0.3):
    """Of a level camera 0.3 m above the floor, looking ahead."""
    made = np.eye(4)
    made[:3, :3] = OPTICAL_IN_BODY.T
    made[:3, 3] = OPTICAL_IN_BODY.T @ (x_m, 0.0, z_m - 0.3)
    return made


def test_beams_that_ended_at_the_limits_of_the_sensor_put_nothing_too_far():
    """Drivers that know no infinity say range_max (and range_min for what is too near)."""
    angles = np.linspace(-0.5, 0.5, 101)
    scene = dataclasses.replace(SCENE, room=Room(-9, 9, -9, 9))
    depth = render(scene, CAMERA, Pose(z_m=0.3)).depth_z.astype(np.float64)
    columns = np.rint(CAMERA.cx - CAMERA.fx * np.tan(angles)).astype(int)
    truth = depth[round(CAMERA.cy), columns] / np.cos(angles)
    said = np.clip(truth, 1.45, 3.5)  # its limits
    limits = {'range_min': 1.45, 'range_max': 3.5}
    assert 0.3 < (said == 3.5).mean() < 0.9
    points = scan_points(said, -0.5, 0.01, optical_from_lidar(), CAMERA, **limits)
    found = fit_reference(1 / depth, points)
    assert found.inverse_depth(np.array([1 / 0.5]))[0] == pytest.approx(1 / 0.5, rel=0.05)


@pytest.mark.parametrize('empty', [0.3, 0.6, 0.9])
def test_points_of_a_cloud_that_measured_nothing_are_no_points(empty):
    """Many drivers give (0, 0, 0) where no light came back: the place of the sensor itself."""
    rng = np.random.default_rng(4)
    depth = picture(Pose(z_m=0.3))
    u, v, z = some_points(depth, rng, 600)
    x, y = CAMERA.normalised_grid()
    into = optical_from_lidar(x_m=0.1, z_m=0.25)
    cloud = (np.stack([x[v, u] * z, y[v, u] * z, z], axis=1) - into[:3, 3]) @ into[:3, :3]
    cloud[rng.random(600) < empty] = 0.0
    found = fit_reference((1 / depth - 0.3) / 5, cloud_points(cloud, into, CAMERA))
    assert (found.scale, found.shift) == (pytest.approx(5, rel=0.02), pytest.approx(0.3, abs=0.01))
