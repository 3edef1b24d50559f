"""Scale and shift from the floor: recovered where it is seen, refused where it is not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import rendered

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    InvalidInverseDepth,
    Refusal,
    ScaleShift,
    fit_ground_plane,
    floor_mask,
    ground_plane,
)
from midas_depth_ros.sim import Box, Pose, Room, Scene, render
from training.places.floor_views import (
    AMBIGUOUS,
    FLOORLESS,
    RandomView,
    disturbed,
    random_camera,
    room_view,
)

NEAR_TO_FAR = np.array([2.0, 1.0, 0.25])  # 0.5, 1 and 4 m, as inverse depth


def mount_of(view):
    return CameraMount(view.pose.z_m, view.pose.pitch_rad, view.pose.roll_rad)


def fit(view, d, **options):
    grid = view.camera.normalised_grid()
    return fit_ground_plane(d, grid, mount_of(view), **options)


def depth_errors(found, scale, shift):
    """Relative error of 1/Z at 0.5, 1 and 4 m."""
    assert isinstance(found, ScaleShift), found.reason
    d = (NEAR_TO_FAR - shift) / scale
    return np.abs((found.scale * d + found.shift) / NEAR_TO_FAR - 1)


def simple_view(*solids, pose=None, camera=None):
    camera = camera or rendered.CAMERA
    pose = pose or Pose(z_m=0.3, pitch_rad=0.1)
    seen = render(Scene(room=Room(-5, 6, -3, 3), solids=solids), camera, pose)
    inverse = np.where(np.isfinite(seen.depth_z), 1 / seen.depth_z.astype(np.float64), 0)
    return RandomView('simple', inverse, seen.floor_mask, camera, pose)


def floor_share(view):
    ground = mount_of(view).ground_inverse_depth(view.camera.normalised_grid())
    below = ground > 0.04 * ground.max()
    near = ground >= np.quantile(ground[below], 0.75)
    return view.floor[below].mean(), view.floor[near].mean()


# Noise -> what 95 % of the errors of scale and depth, and all of them, stay below.
ALLOWED = {0.0: (0.003, 0.006), 0.02: (0.006, 0.05), 0.05: (0.015, 0.08)}


@pytest.mark.parametrize('noise', ALLOWED)
def test_in_random_rooms_the_scale_is_recovered(noise):
    rng = np.random.default_rng(round(100 * noise))
    errors = []
    for _ in range(100):
        view = room_view(rng)
        d, scale, shift = disturbed(view, rng, noise=noise, outliers=0.01 if noise else 0)
        found = fit(view, d)
        if isinstance(found, Refusal):
            whole, near = floor_share(view)
            assert not (whole > 0.4 and near > 0.5), found.reason
            continue
        assert found.source == 'ground'
        errors.append(max(abs(found.scale / scale - 1), *depth_errors(found, scale, shift)))
    assert len(errors) >= 90
    most, all_of_them = ALLOWED[noise]
    assert np.quantile(errors, 0.95) < most
    assert max(errors) < all_of_them


@pytest.mark.sampled
@pytest.mark.parametrize('noise', [0.0, 0.02])
@pytest.mark.parametrize('kind', FLOORLESS)
def test_without_a_floor_in_view_there_is_none(kind, noise):
    rng = np.random.default_rng(3)
    for _ in range(60):
        view = FLOORLESS[kind](rng)
        d, _, _ = disturbed(view, rng, noise=noise)
        found = fit(view, d)
        assert isinstance(found, Refusal), view.pose
        assert len(found.reason) > 20


@pytest.mark.sampled
@pytest.mark.parametrize('kind', rendered.FLOORLESS)
def test_pictures_of_nothing_are_refused_whatever_the_mount(kind):
    rng = np.random.default_rng(4)
    grid = rendered.CAMERA.normalised_grid()
    accepted = 0
    for _ in range(60):
        mount = CameraMount(rng.uniform(0.15, 1), rng.uniform(0, 0.3), rng.uniform(-0.1, 0.1))
        d = rendered.floorless(kind, rng)
        accepted += isinstance(fit_ground_plane(d, grid, mount), ScaleShift)
    # Smooth noise may by chance be like a floor.
    assert accepted <= {'clouds': 1, 'landscape': 1}.get(kind, 0)


def test_scale_and_shift_of_the_picture_come_back_exactly():
    view = simple_view(Box(1.6, 0.2, 0.2, 0.3, 0.4))
    reference = fit(view, view.inverse_depth)
    for scale, shift in ((1e-3, 0.0), (0.02, -1.5), (40.0, 3.0)):
        found = fit(view, (view.inverse_depth - shift) / scale)
        assert depth_errors(found, scale, shift).max() < 1e-3
        assert found.inlier_share == pytest.approx(reference.inlier_share, abs=0.01)


def test_what_the_fit_stands_on_is_told():
    rng = np.random.default_rng(0)
    noise = 0.03 * rng.standard_normal((192, 256))
    view = simple_view(Box(1.2, 0.3, 0.2, 0.3, 0.4))
    found = fit(view, view.inverse_depth + noise)
    below = mount_of(view).ground_inverse_depth(view.camera.normalised_grid()) > 0
    assert found.inlier_share == pytest.approx(view.floor[below].mean(), abs=0.12)
    assert found.points == pytest.approx(view.floor.sum(), rel=0.12)
    # Means over 4x4 pixels: a quarter of the noise of one.
    empty = simple_view()
    found = fit(empty, empty.inverse_depth + noise)
    assert found.residual == pytest.approx(0.03 / 4, rel=0.25)


def test_floor_pixels_are_told():
    view = simple_view(
        Box(1.2, 0.3, 0.2, 0.3, 0.4), pose=Pose(z_m=0.3, pitch_rad=0.1, roll_rad=0.1)
    )
    d = view.inverse_depth.astype(np.float32)
    grid = view.camera.normalised_grid()
    told = floor_mask(d, grid, mount_of(view), fit(view, d))
    assert (told & ~view.floor).sum() < 0.04 * told.sum()  # the foot of a box is as near as floor
    ground = mount_of(view).ground_inverse_depth(grid)
    wanted = view.floor & (ground > 0.05 * ground.max())
    assert told[wanted].mean() > 0.995


@pytest.mark.parametrize('roll_deg', [-20, -8, 8, 20])
def test_roll_is_allowed_for(roll_deg):
    pose = Pose(z_m=0.3, pitch_rad=0.1, roll_rad=math.radians(roll_deg))
    view = simple_view(Box(1.6, 0.2, 0.2, 0.3, 0.4), pose=pose)
    assert depth_errors(fit(view, (view.inverse_depth - 0.2) / 7), 7, 0.2).max() < 0.005


@pytest.mark.parametrize('k1', [-0.35, -0.15, 0.1])
def test_a_lens_is_allowed_for(k1):
    camera = CameraModel(256, 192, 190.0, 190.0, 129.0, 94.0, 'plumb_bob', (k1, -0.2 * k1, 0, 0))
    view = simple_view(Box(1.6, 0.2, 0.2, 0.3, 0.4), camera=camera)
    assert depth_errors(fit(view, (view.inverse_depth - 0.2) / 7), 7, 0.2).max() < 0.01


def test_a_fisheye_with_blind_corners_works():
    camera = CameraModel(256, 192, 75.0, 75.0, 127.5, 95.5, 'equidistant', (0.0,) * 4)
    view = simple_view(Box(1.6, 0.2, 0.2, 0.3, 0.4), camera=camera)
    assert np.isnan(camera.normalised_grid()[0]).any()
    assert depth_errors(fit(view, (view.inverse_depth - 0.2) / 7), 7, 0.2).max() < 0.02


@pytest.mark.parametrize('size', [(640, 480), (128, 96), (64, 48), (256, 160)])
def test_the_size_of_the_picture_matters_little(size):
    view = simple_view(Box(1.6, 0.2, 0.2, 0.3, 0.4), camera=rendered.CAMERA.scaled(*size))
    assert depth_errors(fit(view, view.inverse_depth), 1, 0).max() < 0.015


def test_values_that_are_missing_are_left_out():
    view = simple_view(Box(1.6, 0.2, 0.2, 0.3, 0.4))
    rng = np.random.default_rng(0)
    d = view.inverse_depth.astype(np.float32)
    d[rng.random(d.shape) < 0.2] = np.nan
    d[rng.random(d.shape) < 0.05] = np.inf
    assert depth_errors(fit(view, d), 1, 0).max() < 0.01


def test_it_is_deterministic_and_leaves_its_input_alone():
    rng = np.random.default_rng(5)
    view = room_view(rng)
    d, _, _ = disturbed(view, rng, noise=0.02)
    before = d.copy()
    results = {dataclasses.astuple(fit(view, d)) for _ in range(3)}
    np.testing.assert_array_equal(d, before)
    assert len(results) == 1


@pytest.mark.parametrize(
    ('d', 'words'),
    [
        (np.zeros((192, 256), np.float32), 'same everywhere'),
        (np.full((192, 256), np.nan, np.float32), 'only 0% of the picture has a value'),
        (np.repeat(np.linspace(1, 0, 192), 256).reshape(192, 256), 'nearer towards the bottom'),
    ],
)
def test_nothing_to_see_is_said(d, words):
    found = fit_ground_plane(d, rendered.CAMERA.normalised_grid(), CameraMount(0.3, 0.1))
    assert isinstance(found, Refusal)
    assert words in found.reason


def test_a_floor_that_fills_the_picture_may_be_a_ramp_unless_one_says_otherwise():
    view = simple_view(pose=Pose(z_m=0.6, pitch_rad=0.8))
    assert view.floor.all()
    found = fit(view, view.inverse_depth)
    assert isinstance(found, Refusal)
    assert 'the horizon is not in view' in found.reason
    assert depth_errors(fit(view, view.inverse_depth, min_horizon=0.0), 1, 0).max() < 0.01


@pytest.mark.parametrize('slope_deg', [0, 6, 15])
def test_without_a_horizon_no_plane_is_a_floor_also_not_one_that_ends_at_a_wall(slope_deg):
    """Nothing shows whether it is level: of a ramp, distances would be up to 2.3 times too far."""
    camera, pose = rendered.CAMERA, Pose(z_m=0.6, pitch_rad=0.55)
    grid = camera.normalised_grid()
    mount = CameraMount(pose.z_m, pose.pitch_rad)
    ahead, _, up = np.einsum('ij,jkl', mount.body_axes(), np.stack([*grid, np.ones_like(grid[0])]))
    slope = math.radians(slope_deg)
    plane = (ahead * math.sin(slope) - up * math.cos(slope)) / (pose.z_m * math.cos(slope))
    inverse = np.maximum(plane, ahead / 1.3)  # and a wall 1.3 m ahead
    found = fit_ground_plane(inverse, grid, mount)
    assert isinstance(found, Refusal)
    assert 'the horizon is not in view' in found.reason


def test_a_camera_that_looks_up_past_the_floor_is_told_so():
    view = simple_view(pose=Pose(z_m=0.3, pitch_rad=-0.6))
    found = fit(view, view.inverse_depth)
    assert isinstance(found, Refusal)
    assert 'below the horizon' in found.reason


def test_a_pitch_given_far_too_small_is_noticed():
    view = simple_view()
    mount = CameraMount(0.3, view.pose.pitch_rad - math.radians(15))
    found = fit_ground_plane(view.inverse_depth, view.camera.normalised_grid(), mount)
    assert isinstance(found, Refusal)
    assert 'camera pitch is wrong' in found.reason


def test_arrays_of_the_wrong_shape_are_refused():
    grid = rendered.CAMERA.normalised_grid()
    with pytest.raises(InvalidInverseDepth, match='normalised_grid'):
        fit_ground_plane(np.zeros((96, 128), np.float32), grid, CameraMount(0.3, 0.1))
    with pytest.raises(InvalidInverseDepth, match='uint8'):
        fit_ground_plane(np.zeros((192, 256), np.uint8), grid, CameraMount(0.3, 0.1))


BUMPS = {'noise': 0.02, 'outliers': 0.01}


def in_rooms(count, seed, **disturbance):
    """(view, d, fit, error) of random rooms; error: largest of depth at 0.5, 1 and 4 m, or None."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        view = room_view(rng)
        d, scale, shift = disturbed(view, rng, **disturbance)
        found = fit(view, d)
        wrong = None if isinstance(found, Refusal) else depth_errors(found, scale, shift).max()
        yield view, d, found, wrong


@pytest.mark.parametrize(('smooth', 'most'), [(0.05, 0.16), (0.1, 0.45)])
def test_smooth_errors_seldom_pass_with_a_wrong_scale(smooth, most):
    errors = [
        e for *_, e in in_rooms(60, round(1000 * smooth), smooth=smooth, **BUMPS) if e is not None
    ]
    assert len(errors) >= 8  # silence alone would be no art
    assert np.mean(np.array(errors) > 0.1) < most


def test_the_uncertainty_that_refuses_is_that_of_the_distances():
    """Over many smooth errors on one floor, the predicted deviation is about the true one."""
    rng = np.random.default_rng(7)
    view = simple_view(pose=Pose(z_m=0.5, pitch_rad=0.25))
    grid, mount = view.camera.normalised_grid(), mount_of(view)
    predicted, found = [], []
    for _ in range(40):
        d, scale, shift = disturbed(view, rng, smooth=0.03)
        cells, line = ground_plane.unjudged_line(d, grid, mount)
        predicted.append(ground_plane.uncertainty(cells, line))
        probes = (NEAR_TO_FAR - shift) / scale
        found.append((line.scale * probes + line.shift) / NEAR_TO_FAR - 1)
    true = np.sqrt(np.mean(np.square(found), axis=0)).max()
    assert true / 2 < np.median(predicted) < 2 * true


def test_errors_of_single_pixels_leave_little_uncertainty():
    for view, d, *_ in in_rooms(15, 3, noise=0.05):
        cells, line = ground_plane.unjudged_line(d, view.camera.normalised_grid(), mount_of(view))
        assert ground_plane.uncertainty(cells, line) < 0.03


def test_the_foot_of_a_wall_is_not_floor():
    """It is as near as the floor before it: with it the floor's far end would be too near."""
    view = simple_view(pose=Pose(z_m=0.2, pitch_rad=0.05))
    d, scale, shift = disturbed(view, np.random.default_rng(0), noise=0.05)
    assert depth_errors(fit(view, d), scale, shift).max() < 0.006


def sky_beyond(view, share):
    """1/Z below 0 in so much of what is above the horizon, as networks give the sky."""
    grid, mount = view.camera.normalised_grid(), mount_of(view)
    ground = mount.ground_inverse_depth(grid)
    inverse = np.maximum(view.inverse_depth, 0)
    inverse[ground < 0] = 0
    rows = np.flatnonzero((ground < 0).all(axis=1))
    inverse[rows[: round(share * len(rows))]] = -0.1 * ground.max()
    return inverse


def open_street():
    camera = CameraModel.from_field_of_view(256, 192, math.radians(70))
    pose = Pose(z_m=1.5, pitch_rad=0.1)
    seen = render(Scene(), camera, pose)
    with np.errstate(divide='ignore'):
        return RandomView('street', 1 / seen.depth_z, seen.floor_mask, camera, pose)


@pytest.mark.parametrize(('share', 'accepted'), [(0.0, True), (0.2, True), (0.4, False)])
def test_some_sky_beyond_the_horizon_refuses_no_plain_floor(share, accepted):
    view = open_street()
    found = fit(view, sky_beyond(view, share).astype(np.float32))
    assert isinstance(found, ScaleShift) == accepted, found
    if accepted:
        assert found.scale == pytest.approx(1, rel=0.01)
    else:
        assert 'beyond the horizon' in found.reason


@pytest.mark.parametrize('kind', ['ramp down', 'ramp to a wall'])
def test_a_ramp_passes_for_a_floor_less_often_than_not(kind):
    """One picture cannot always tell; what can be told must be."""
    rng = np.random.default_rng(11)
    accepted = 0
    for _ in range(40):
        view = AMBIGUOUS[kind](rng)
        d, _, _ = disturbed(view, rng, noise=0.02, outliers=0.01)
        accepted += isinstance(fit(view, d), ScaleShift)
    assert accepted <= 20


@pytest.mark.parametrize('away_m', [1.0, 1.3])
def test_an_exact_floor_before_a_near_wall_is_not_uneven(away_m):
    rng = np.random.default_rng(12)
    judged = 0
    for _ in range(12):
        camera, pose = random_camera(rng, rng.uniform(0.3, 0.9))
        depth = render(Scene(room=Room(-1, away_m, -3, 3, 2.6)), camera, pose).depth_z
        mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
        fitted = fit_ground_plane((1 / depth).astype(np.float32), camera.normalised_grid(), mount)
        judged += isinstance(fitted, ScaleShift)
        assert isinstance(fitted, ScaleShift) or 'uneven' not in fitted.reason
    assert judged >= 3


def test_errors_as_smooth_as_a_networks_bend_the_scale_less_than_they_are():
    wrong, accepted = 0, 0
    for seed in range(40):
        rng = np.random.default_rng([seed, 77])
        view = room_view(rng)
        d, scale, shift = disturbed(view, rng, noise=0.02, smooth=0.05, outliers=0.01)
        found = fit(view, d)
        if isinstance(found, ScaleShift):
            accepted += 1
            at = (np.array([2.0, 1.0, 0.25]) - shift) / scale
            wrong += np.abs((found.scale * at + found.shift) * (0.5, 1.0, 4.0) - 1).max() > 0.1
    assert accepted >= 26
    assert wrong <= 2
