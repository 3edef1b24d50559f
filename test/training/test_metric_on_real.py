"""The arithmetic of `benchmarks.metric_on_real`, on a rendered pair whose answers are known."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks import metric_on_real as real
from midas_depth_ros.geometry import CameraModel, ScaleShift
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
POSE = Pose(z_m=0.8, pitch_rad=0.15, roll_rad=0.06)
SCENE = Scene(room=Room(-2, 7, -2, 2), solids=(Box(2.3, 0, 0.6, 0.5, 0.7),))
FRONT_M = 2.0  # of the box


def enlarge(d, shape):
    assert d.shape == shape
    return d


def rendered(known=1.0):
    """A pair measured in a share of its pixels."""
    seen = render(SCENE, CAMERA, POSE)
    depth = seen.depth_z.copy()
    depth[np.random.default_rng(0).random(depth.shape) > known] = np.nan
    return real.Pair('rendered', seen.rgb, depth, CAMERA, None), 1 / seen.depth_z


@pytest.mark.parametrize('known', [1.0, 0.04])
def test_the_mount_is_that_of_the_measured_floor(known):
    pair, _ = rendered(known)
    mount = real.true_mount(pair)
    assert mount.height_m == pytest.approx(0.8, rel=0.01)
    assert mount.pitch_rad == pytest.approx(0.15, abs=0.005)
    assert mount.roll_rad == pytest.approx(0.06, abs=0.005)


def test_a_stated_mount_counts_where_the_measured_floor_confirms_it_and_only_there():
    pair, _ = rendered()
    ours = real.true_mount(pair)
    near = dataclasses.replace(ours, height_m=0.82)
    far = dataclasses.replace(ours, height_m=0.95)
    tilted = dataclasses.replace(ours, pitch_rad=ours.pitch_rad + 0.03)
    assert real.true_mount(dataclasses.replace(pair, stated=near)) == near
    assert real.true_mount(dataclasses.replace(pair, stated=far)) == ours
    assert real.true_mount(dataclasses.replace(pair, stated=tilted)) == ours


def test_a_wall_is_not_a_floor():
    depth = np.full((192, 256), 1.5, np.float32)
    assert real.true_mount(real.Pair('wall', np.zeros(0), depth, CAMERA, None)) is None


def test_errors_are_those_that_were_put_in():
    true = np.linspace(1, 20, 2000).reshape(40, 50)
    near = true <= 10
    found = np.where(near, 1.2 * true, 0.5 * true)
    errors = real.errors_of(found, true)
    assert (errors.median, errors.most, errors.bias) == pytest.approx((0.2, 0.2, 0.2))
    found[near & (true > 5)] = np.nan  # no depth is infinitely far: it counts as wrong
    assert real.errors_of(found, true).median == math.inf
    true[:10] = np.nan
    assert real.errors_of(np.where(np.isfinite(true), true, 99), true).most == 0


def test_the_best_fit_finds_scale_and_shift_and_ignores_some_wrong_pixels():
    rng = np.random.default_rng(1)
    inverse = rng.uniform(0.1, 1, (60, 80))
    d = ((inverse - 0.3) / 7).astype(np.float32)
    true = 1 / inverse
    true[rng.random(true.shape) < 0.1] *= 3
    best = real.best_fit(d, true)
    assert (best.scale, best.shift) == pytest.approx((7, 0.3), rel=0.02)


def test_a_perfect_network_is_right_and_its_baselines_are_not():
    pair, inverse = rendered()
    d = ((inverse + 0.5) / 3).astype(np.float32)
    found = real.figures_of(pair, real.true_mount(pair), d, enlarge)
    assert found.refused == ''
    assert found.errors[real.FLOOR].most < 0.02
    assert found.errors[real.BEST].most < 0.002
    assert found.errors[real.PLANE].most > 0.5
    assert found.errors[real.CONSTANT].median > 0.1
    assert found.ahead_m == pytest.approx((FRONT_M, FRONT_M), rel=0.03)
    table = '\n'.join(real.pair_lines([found]))
    assert '| rendered | 0.80 m, +8.7° | yes |' in table


def test_what_is_refused_is_told_and_its_errors_are_not_counted():
    pair, inverse = rendered()
    nothing = np.full(inverse.shape, 2.0, np.float32)
    found = real.figures_of(pair, real.true_mount(pair), nothing, enlarge)
    assert 'same everywhere' in found.refused
    assert real.FLOOR not in found.errors
    assert math.isnan(found.ahead_m[1])
    assert found.ahead_m[0] == pytest.approx(FRONT_M, rel=0.03)
    assert found.floor is None
    assert any('same everywhere' in line for line in real.refusal_lines([found]))
    assert not any('accepted' in line for line in real.summary_lines([found]))


@pytest.mark.parametrize('tilt', [0.0, 0.1, -0.1])
def test_how_right_the_floor_of_a_fit_is_is_told(tilt):
    pair, inverse = rendered()
    across = np.linspace(-0.5, 0.5, inverse.shape[1])
    d = ((inverse * (1 + tilt * across) + 0.5) / 3).astype(np.float32)
    floor = real.figures_of(pair, real.true_mount(pair), d, enlarge).floor
    assert floor.tilt == pytest.approx(tilt, abs=0.02)
    assert floor.right > 0.95
    assert floor.found > 0.9
    assert floor.errors.median == pytest.approx(abs(tilt) / 4, abs=0.01)


def test_too_little_measured_depth_tells_no_obstacle():
    pair, _ = rendered(0.02)
    mount = real.true_mount(pair)
    assert math.isnan(real.nearest_measured(pair, mount, (192, 256)))
    # In coarser cells the same few points are dense enough.
    coarse = real.nearest_measured(pair, mount, (24, 32))
    assert math.isnan(coarse) or coarse == pytest.approx(FRONT_M, rel=0.2)


def test_cells_take_the_median_of_what_was_measured_in_them():
    depth = np.array([[1, 9, np.nan, np.nan], [2, np.nan, np.nan, 4]], np.float32)
    np.testing.assert_array_equal(real.reduced_depth(depth, (1, 2)), [[2, 4]])
    assert np.isnan(real.reduced_depth(np.full((4, 4), np.nan), (2, 2))).all()


def test_a_white_frame_is_cut_off_and_the_camera_with_it():
    rgb = np.full((100, 200, 3), 100, np.uint8)
    rgb[:4] = rgb[:, :6] = rgb[:, -7:] = 255
    assert real.white_frame(rgb) == (5, 0, 7, 8)
    values = {'fx': 150.0, 'fy': 150.0, 'cx': 100.0, 'cy': 50.0, 'model': 'pinhole'}
    entry = {'id': 'framed', 'intrinsics': values, 'camera_height_m': 1.2}
    pair = real.pair_of(entry, rgb, np.full((100, 200), 0.5))
    assert pair.rgb.shape == (95, 185, 3)
    assert pair.depth_z.shape == (95, 185)
    camera = pair.camera
    assert (camera.width, camera.height, camera.cx, camera.cy) == (185, 95, 93, 45)
    assert (pair.depth_z == 2).all()


def test_a_white_picture_has_no_frame():
    assert real.white_frame(np.full((60, 80, 3), 255, np.uint8)) == (0, 0, 0, 0)


def test_what_is_nearer_than_a_camera_can_measure_was_not_measured():
    values = {'fx': 50.0, 'fy': 50.0, 'cx': 10.0, 'cy': 10.0, 'model': 'pinhole'}
    entry = {'id': 'near', 'intrinsics': values, 'camera_height_m': 1.2}
    inverse = np.full((20, 20), 0.5)
    inverse[0], inverse[1] = 1 / 0.038, 0.0
    depth = real.pair_of(entry, np.zeros((20, 20, 3), np.uint8), inverse).depth_z
    assert np.isnan(depth[:2]).all()
    assert (depth[2:] == 2).all()


def test_the_pictures_at_hand_have_a_floor_that_agrees_with_what_is_stated_of_them():
    folder = os.environ.get('MIDAS_DEPTH_TEST_DATA')
    if not folder or not (Path(folder) / 'MANIFEST.json').is_file():
        pytest.skip('no real pictures: set MIDAS_DEPTH_TEST_DATA')
    pairs = [pair for pair in real.load_pairs(Path(folder)) if 'kitti' not in pair.name][:3]
    assert pairs
    for pair in pairs:
        assert pair.depth_z.shape == pair.rgb.shape[:2]
        assert real.true_mount(pair) == pair.stated, pair.name


def test_a_scale_that_is_right_gives_the_depth():
    d = np.array([[0.5, 1.0]] * 16, np.float32)
    depth = real.depth_of(ScaleShift(2.0, -1.0, 'best'), d)
    assert math.isinf(depth[0, 0])  # 1/Z is 0: beyond sight, not unknown
    assert depth[0, 1] == 1
