"""Closeness on rendered depth: its value, and what must not change it."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest
from rendered import CAMERA, HALL, post, random_view, view

from midas_depth_ros.geometry import CameraModel, InvalidInverseDepth, closeness
from midas_depth_ros.sim import Box, Cylinder, Pose, Room

SIDES = pytest.mark.parametrize('side', [-1, 0, 1], ids=['left', 'centre', 'right'])


def sectors(result):
    assert result.known, result.reason
    return np.array([result.left, result.centre, result.right])


def with_camera(seen, d=None):
    """Closeness with calibration and pitch known."""
    return closeness(
        seen.d() if d is None else d,
        grid=seen.camera.normalised_grid(),
        camera_pitch_rad=seen.pose.pitch_rad,
    )


@SIDES
@pytest.mark.parametrize('depth_m', [0.8, 1.5, 3.0])
@pytest.mark.parametrize('pitch', [0.0, 0.1, 0.25])
def test_it_is_the_ratio_of_depths_in_the_obstacles_own_sector(side, depth_m, pitch):
    seen = view(post(depth_m, side), pose=Pose(z_m=0.3, pitch_rad=pitch))
    expected = np.zeros(3)
    expected[side + 1] = seen.closeness_of(nearest_of_post(depth_m, seen))
    np.testing.assert_allclose(sectors(with_camera(seen)), expected, rtol=0.05, atol=1e-6)


def nearest_of_post(depth_m, seen):
    """Return the least Z of an upright front: if the camera looks down, of its highest point."""
    upward = math.atan(0.5 * seen.camera.height / seen.camera.fy) - seen.pose.pitch_rad
    height = min(depth_m * math.tan(upward), 2.0 - seen.pose.z_m)
    return depth_m * math.cos(seen.pose.pitch_rad) - height * math.sin(seen.pose.pitch_rad)


def test_an_empty_floor_is_far_everywhere():
    np.testing.assert_array_equal(sectors(with_camera(view())), 0)
    np.testing.assert_array_equal(sectors(closeness(view().d())), 0)


@pytest.mark.parametrize('camera_known', [True, False], ids=['camera', 'picture'])
@pytest.mark.parametrize('seed', range(12))
def test_scale_and_shift_do_not_change_it(seed, camera_known):
    rng = np.random.default_rng(seed)
    seen = random_view(rng)
    noisy = seen.inverse_depth * (1 + rng.choice([0, 0.02]) * rng.standard_normal((192, 256)))
    options = {}
    if camera_known:
        options = {
            'grid': seen.camera.normalised_grid(),
            'camera_pitch_rad': seen.pose.pitch_rad,
        }
    expected = sectors(closeness(noisy, **options))
    for _ in range(4):
        scale, shift = 10 ** rng.uniform(-4, 4), rng.uniform(-10, 10)
        changed = closeness((noisy + shift) * scale, **options)
        np.testing.assert_allclose(sectors(changed), expected, rtol=0, atol=1e-6)
    # In float32 the numbers themselves are rounded: to 6e-8 of the largest.
    rounded = closeness(((noisy + 1) * 300).astype(np.float32), **options)
    np.testing.assert_allclose(sectors(rounded), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('seed', range(12))
def test_a_mirrored_picture_mirrors_it(seed):
    d = random_view(np.random.default_rng(100 + seed)).d()
    straight, mirrored = closeness(d), closeness(np.ascontiguousarray(d[:, ::-1]))
    np.testing.assert_allclose(sectors(mirrored), sectors(straight)[::-1], rtol=0, atol=1e-5)
    assert mirrored.roll_rad == pytest.approx(-straight.roll_rad, abs=1e-5)
    assert mirrored.floor_share == pytest.approx(straight.floor_share)


@SIDES
@pytest.mark.parametrize('roll_deg', [-20, -8, 8, 20])
def test_roll_is_found_and_allowed_for(side, roll_deg):
    pose = Pose(z_m=0.3, pitch_rad=0.1, roll_rad=math.radians(roll_deg))
    room = Room(-40, 40, -40, 40, 20)
    # Low, so that a tilted picture keeps it in its own sector.
    aside = side * 1.5 * 0.45
    box = Box(1.6, -aside, 0.2, 0.3, 0.35)
    result = with_camera(view(box, room=room, pose=pose))
    empty = with_camera(view(room=room, pose=pose))
    assert math.degrees(result.roll_rad) == pytest.approx(roll_deg, abs=0.3)
    np.testing.assert_array_equal(sectors(empty), 0)
    expected = np.zeros(3)
    expected[side + 1] = view(pose=pose).closeness_of(1.5)
    np.testing.assert_allclose(sectors(result), expected, rtol=0.08, atol=1e-6)


@pytest.mark.parametrize('noise', [0.02, 0.05])
@pytest.mark.parametrize('seed', range(6))
def test_noise_moves_it_little(noise, seed):
    rng = np.random.default_rng(seed)
    for solids in ((), (post(1.0, -1),), (post(2.0, 1), Cylinder(1.2, 0.0, 0.1, 1.0))):
        seen = view(*solids)
        clean = sectors(with_camera(seen))
        noisy = seen.d() * (1 + noise * rng.standard_normal((192, 256)).astype(np.float32))
        result = sectors(with_camera(seen, noisy))
        np.testing.assert_array_equal(result == 0, clean == 0)
        np.testing.assert_allclose(result, clean, rtol=1.2 * noise)


@pytest.mark.parametrize('camera_known', [True, False], ids=['camera', 'picture'])
def test_it_rises_as_the_obstacle_comes_and_passes_one_at_the_nearest_floor(camera_known):
    depths = np.geomspace(4.0, 0.25, 25)
    pose = Pose(z_m=0.3, pitch_rad=0.15)
    values = []
    for depth in depths:
        seen = view(Cylinder(depth + 0.05, 0.0, 0.05, 0.5), pose=pose)
        result = with_camera(seen) if camera_known else closeness(seen.d())
        left, centre, right = sectors(result)
        assert left == right == 0
        values.append(centre)
    assert (np.diff(values) > 0).all()
    edge_m = 1 / view(pose=pose).floor_edge
    nearer_than_floor = depths < 0.9 * edge_m
    assert nearer_than_floor.sum() >= 3
    assert (np.array(values)[nearer_than_floor] > 1).all()
    assert (np.array(values)[depths > 1.1 * edge_m] < 1).all()


@pytest.mark.parametrize('seed', range(25))
def test_random_rooms_agree_with_the_rendered_depth(seed):
    seen = random_view(np.random.default_rng(1000 + seed))
    result = sectors(with_camera(seen))
    parts = [seen.inverse_depth[:, part] for part in (np.s_[:85], np.s_[85:171], np.s_[171:])]
    # What is nearest in a sector is at least as near as its farthest ...
    for value, part in zip(result, parts, strict=True):
        assert value <= part.max() / seen.floor_edge * 1.01
    # ... and where something stands tall at eye level, it is not missed.
    horizon = round(seen.camera.cy - math.tan(seen.pose.pitch_rad) * seen.camera.fy)
    if abs(seen.pose.roll_rad) < 0.05 and 12 < horizon < 150:
        for value, part in zip(result, parts, strict=True):
            band = part[horizon - 6 : horizon + 6] / seen.floor_edge
            wide = np.sort(band.max(axis=0))[-12]
            assert value >= wide * 0.97 or wide < 0.12


def test_a_wall_before_a_level_camera_is_not_called_far():
    seen = view(room=Room(-5, 0.9, -5, 5, 3), pose=Pose(z_m=0.3))
    expected = [seen.closeness_of(0.9)] * 3
    np.testing.assert_allclose(sectors(closeness(seen.d())), expected, rtol=0.03)
    np.testing.assert_allclose(sectors(with_camera(seen)), expected, rtol=0.03)


def test_without_pitch_a_camera_that_looks_down_calls_things_farther_but_never_nearer():
    for seed in range(15):
        seen = random_view(np.random.default_rng(2000 + seed))
        if seen.pose.pitch_rad < 0:
            continue
        guessed, known = sectors(closeness(seen.d())), sectors(with_camera(seen))
        assert (guessed <= known + 0.02)[known < 1].all()


def test_what_the_answer_stands_on_is_told():
    result = with_camera(view(post(2.0, 0)))
    assert (result.reason, result.horizon) == ('', 'camera')
    assert 0.8 < result.floor_share <= 1
    assert result.roll_rad == pytest.approx(0, abs=1e-3)
    assert closeness(view().d()).horizon == 'picture'
    # A pitch without a calibration cannot place the horizon.
    assert closeness(view().d(), camera_pitch_rad=0.1).horizon == 'picture'


def a_lens(k1):
    return CameraModel(256, 192, 190.0, 190.0, 129.0, 94.0, 'plumb_bob', (k1, -0.2 * k1, 0.0, 0.0))


@pytest.mark.sampled
@SIDES
@pytest.mark.parametrize('k1', [-0.35, -0.15, -0.05, 0.1])
def test_with_its_grid_a_distorted_lens_is_exact(side, k1):
    pose = Pose(z_m=0.3, pitch_rad=0.1)
    empty = view(pose=pose, camera=a_lens(k1))
    np.testing.assert_array_equal(sectors(with_camera(empty)), 0)
    assert with_camera(empty).floor_share == 1
    seen = view(Box(1.6, -side * 0.62, 0.2, 0.3, 0.35), pose=pose, camera=a_lens(k1))
    expected = np.zeros(3)
    expected[side + 1] = seen.closeness_of(1.5)
    np.testing.assert_allclose(sectors(with_camera(seen)), expected, rtol=0.08, atol=1e-6)


@SIDES
@pytest.mark.parametrize('k1', [-0.15, -0.05, 0.1])
def test_without_a_grid_a_common_lens_does_little_harm(side, k1):
    seen = view(Box(1.6, -side * 0.62, 0.2, 0.3, 0.35), camera=a_lens(k1))
    difference = sectors(closeness(seen.d())) - sectors(with_camera(seen))
    assert np.abs(difference).max() < 0.05


@SIDES
@pytest.mark.parametrize('k1', [-0.25, -0.35])
def test_without_a_grid_a_strong_lens_calls_the_corners_too_near_but_nothing_too_far(side, k1):
    seen = view(Box(1.6, -side * 0.62, 0.2, 0.3, 0.35), camera=a_lens(k1))
    difference = sectors(closeness(seen.d())) - sectors(with_camera(seen))
    assert difference.min() > -0.06
    assert difference[1] < 0.06
    assert difference.max() < 1.5


def test_without_a_grid_a_very_strong_lens_is_unknown():
    result = closeness(view(camera=a_lens(-0.5)).d())
    assert not result.known
    assert math.isnan(result.centre)


@pytest.mark.parametrize('size', [(640, 480), (320, 240), (96, 72), (64, 48), (256, 160)])
def test_the_size_of_the_picture_matters_little(size):
    seen = view(post(1.2, -1), post(2.5, 1))
    scaled = seen.camera.scaled(*size)
    other = view(post(1.2, -1), post(2.5, 1), camera=scaled)
    np.testing.assert_allclose(sectors(with_camera(other)), sectors(with_camera(seen)), atol=0.03)


def test_specks_do_not_count_and_things_do():
    rng = np.random.default_rng(0)
    d = view().d()
    salted = d.copy()
    salted[rng.integers(0, 192, 40), rng.integers(0, 256, 40)] = d.max() * 3
    for row, column in ((100, 40), (120, 130), (60, 220)):
        salted[row : row + 3, column : column + 4] = d.max() * 2
    np.testing.assert_array_equal(sectors(closeness(salted)), 0)
    thing = d.copy()
    thing[100:112, 30:42] = d.max()
    left, centre, right = sectors(closeness(thing))
    assert left == pytest.approx(1, abs=0.05)
    assert centre == right == 0


def test_values_that_are_missing_are_left_out():
    rng = np.random.default_rng(0)
    seen = view(post(1.2, 1))
    holes = seen.d()
    holes[rng.random((192, 256)) < 0.2] = np.nan
    holes[rng.random((192, 256)) < 0.05] = np.inf
    np.testing.assert_allclose(
        sectors(with_camera(seen, holes)), sectors(with_camera(seen)), atol=0.02
    )
    blind_left = seen.d()
    blind_left[:, :80] = np.nan
    left, centre, right = sectors(with_camera(seen, blind_left))
    assert math.isnan(left)
    assert (centre, right) == pytest.approx((0, seen.closeness_of(1.2)), rel=0.06)


def test_a_fisheye_with_blind_corners_works():
    camera = CameraModel(256, 192, 75.0, 75.0, 127.5, 95.5, 'equidistant', (0.0,) * 4)
    x, _ = camera.normalised_grid()
    assert 0.01 < np.isnan(x).mean() < 0.4
    pose = Pose(z_m=0.3, pitch_rad=0.1)
    seen = view(Cylinder(1.05, 0.0, 0.05, 0.8), pose=pose, camera=camera)
    d = np.where(np.isnan(x), 0, seen.inverse_depth).astype(np.float32)
    result = closeness(d, grid=camera.normalised_grid(), camera_pitch_rad=0.1)
    assert result.centre == pytest.approx(seen.closeness_of(1.0), rel=0.1)


def test_the_input_is_not_touched_and_the_answer_is_always_the_same():
    d = random_view(np.random.default_rng(7)).d()
    before = d.copy()
    results = [dataclasses.astuple(closeness(d)) for _ in range(3)]
    np.testing.assert_array_equal(d, before)
    assert results[0] == results[1] == results[2]
    strided = np.repeat(d, 2, axis=1)[:, ::2]
    assert dataclasses.astuple(closeness(strided)) == results[0]


@pytest.mark.parametrize(
    ('d', 'words'),
    [
        (np.zeros((192, 256, 1), np.float32), r'shape \(192, 256, 1\)'),
        (np.zeros((192, 0), np.float32), r'shape \(192, 0\)'),
        (np.zeros((15, 256), np.float32), 'at least 16x16'),
        (np.zeros((192, 256), np.uint8), 'uint8: it must be float32'),
        (np.zeros((192, 256), np.float16), 'float16'),
    ],
)
def test_what_is_no_picture_is_refused(d, words):
    with pytest.raises(InvalidInverseDepth, match=words):
        closeness(d)


def test_a_grid_of_another_size_is_refused():
    with pytest.raises(InvalidInverseDepth, match=r'\(96, 128\).*normalised_grid'):
        closeness(view().d(), grid=CAMERA.normalised_grid(128, 96))


def test_resized_by_opencv_it_is_the_same_view():
    seen = view(post(1.2, -1), camera=CAMERA.scaled(512, 384), room=HALL)
    small = cv2.resize(seen.d(), (256, 192), interpolation=cv2.INTER_AREA)
    grid = seen.camera.normalised_grid(256, 192)
    result = closeness(small, grid=grid, camera_pitch_rad=0.1)
    np.testing.assert_allclose(sectors(result), sectors(with_camera(seen)), atol=0.02)
