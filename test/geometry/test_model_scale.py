"""Metres of a network against floor and points, and the mount that their floor shows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    Comparison,
    FloorInView,
    ModelScale,
    ReferencePoints,
    Refusal,
    ScaleShift,
    compare_with_floor,
    compare_with_points,
    model_scale,
    mount_in_view,
)
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, 1.2)
GRID = CAMERA.normalised_grid(256, 192)
ROOM = Room(x_min_m=-2.0, x_max_m=12.0, y_min_m=-2.0, y_max_m=2.0, height_m=2.5)
BOXES = (
    Box(x_m=2.2, y_m=0.1, length_m=0.4, width_m=0.4, height_m=0.4),
    Box(x_m=3, y_m=0.9, length_m=0.5, width_m=0.5, height_m=0.6),
)
MOUNT = CameraMount(0.4, 0.15, 0.03)
SCALE = model_scale(None, far_end=1 / 19.6)


def inverse_depth(mount: CameraMount = MOUNT, noise: float = 0.0, seed: int = 0) -> np.ndarray:
    pose = Pose(z_m=mount.height_m, pitch_rad=mount.pitch_rad, roll_rad=mount.roll_rad)
    exact = 1 / render(Scene(room=ROOM, solids=BOXES), CAMERA, pose).depth_z
    rng = np.random.default_rng(seed)
    return (exact * (1 + noise * rng.standard_normal(exact.shape))).astype(np.float32)


EXACT = inverse_depth()


# --- The scale.


def test_metres_for_every_camera_need_none():
    assert model_scale(None) == ScaleShift(1.0, 0.0, 'model')


def test_the_focal_length_is_that_of_the_networks_input():
    half = CAMERA.scaled(128, 96)
    scale = model_scale(half, reference_px=300.0)
    assert scale.depth(np.full((1, 1), 0.5, np.float32))[0, 0] == pytest.approx(
        2.0 * half.fx / 300.0
    )
    # Squeezed to another aspect, the two focal lengths differ: their mean.
    squeezed = CAMERA.scaled(256, 96)
    assert 1 / model_scale(squeezed, reference_px=1.0).scale == pytest.approx(
        0.75 * CAMERA.fx, rel=1e-6
    )


def test_without_the_focal_length_there_are_no_metres():
    found = model_scale(None, reference_px=300.0)
    assert isinstance(found, Refusal)
    assert '300 pixels' in found.reason
    assert 'horizontal_fov' in found.reason


def test_the_far_end_is_beyond_whatever_scale_is_fitted():
    d = np.array([[1 / 20, 1 / 19.7, 1 / 19.5, 1.0]], np.float32)
    for scale in (SCALE, ScaleShift(3.0, 0.2, 'ground', far_end=1 / 19.6)):
        assert np.isnan(scale.depth(d, max_depth_m=1000)).tolist() == [[True, True, False, False]]
        far = scale.depth(d, min_depth_m=0, max_depth_m=1000, beyond=math.inf)
        assert np.isposinf(far).tolist() == [[True, True, False, False]]


def test_the_near_end_stays_near():
    d = np.array([[1 / 0.1]], np.float32)
    assert SCALE.depth(d, min_depth_m=0)[0, 0] == pytest.approx(0.1)
    assert SCALE.depth(d, min_depth_m=0.1)[0, 0] == pytest.approx(0.1)


# --- Compared.


@pytest.mark.parametrize('factor', [0.6, 0.9, 1.0, 1.3, 2.0])
@pytest.mark.parametrize('noise', [0.0, 0.03])
def test_the_floor_says_by_which_factor_the_metres_are_off(factor, noise):
    found = compare_with_floor(inverse_depth(noise=noise) / factor, GRID, MOUNT, SCALE)
    assert found.against == 'the floor'
    assert found.middle == pytest.approx(factor, rel=0.03)
    assert found.ratio == pytest.approx(factor, rel=0.03)
    assert found.within(0.25) is (1 / 1.25 <= factor <= 1.25)


def test_a_shift_shows_in_the_part_of_the_floor_where_it_is_largest():
    """The middle of the floor is right, its far part a third too near, its near part too far."""
    bent = 0.8 * EXACT + 0.15
    found = compare_with_floor(bent, GRID, MOUNT, SCALE)
    assert found.middle == pytest.approx(1, abs=0.15)
    assert not found.within(0.2)


def test_without_a_floor_nothing_is_compared():
    wall = np.full((192, 256), 0.7, np.float32)
    wall += np.linspace(0, 0.1, 256, dtype=np.float32)
    assert isinstance(compare_with_floor(wall, GRID, MOUNT, SCALE), Refusal)


def points_of(count: int) -> ReferencePoints:
    rng = np.random.default_rng(3)
    u, v = rng.integers(0, 256, count), rng.integers(90, 192, count)
    return ReferencePoints.of(u, v, 1 / EXACT[v, u])


@pytest.mark.parametrize('count', [1, 40])
@pytest.mark.parametrize('factor', [0.7, 1.0, 1.5])
def test_points_say_it_too_and_one_is_enough(count, factor):
    found = compare_with_points(EXACT / factor, points_of(count), SCALE)
    assert (found.against, found.ratio) == ('the reference', pytest.approx(factor, rel=1e-3))


def test_points_at_the_far_end_are_no_evidence():
    d = np.full((192, 256), 1 / 20, np.float32)
    assert isinstance(compare_with_points(d, points_of(40), SCALE), Refusal)


def test_the_tolerance_is_a_factor_either_way():
    for ratio, within in ((1.25, True), (1.26, False), (0.8, True), (0.79, False)):
        assert Comparison(ratio, 1.0, 'the floor').within(0.25) is within


# --- Judged, frame by frame.


def same(judged):
    """Whether a scale is `SCALE`, but for how certain it is."""
    return (judged.scale, judged.shift, judged.source) == (SCALE.scale, SCALE.shift, SCALE.source)


def test_a_refuted_model_stays_refuted_until_a_measurement_agrees():
    model, none = ModelScale(), Refusal('no floor')
    unverified = model.judged(SCALE, None)
    assert same(unverified)
    assert unverified.covariance[0] == pytest.approx((0.15 * SCALE.scale) ** 2)
    assert model.check.startswith('unverified')
    assert isinstance(model.judged(SCALE, none), Refusal)
    assert model.check == 'not possible: no floor'
    assert not model.refuted
    agreeing = model.judged(SCALE, Comparison(1.1, 1.1, 'the floor'))
    assert same(agreeing)
    assert agreeing.covariance[0] == pytest.approx((math.log(1.1) * SCALE.scale) ** 2)
    assert isinstance(model.judged(SCALE, Comparison(1.5, 1.4, 'the floor')), Refusal)
    assert '1.50 times the depth of the floor' in model.refuted
    assert 'scale.check_tolerance' in model.refuted
    assert model.judged(SCALE, none).reason == model.refuted == model.check
    assert same(model.judged(SCALE, Comparison(1.5, 1.4, 'the floor'), tolerance=0.6))
    assert not model.refuted


def test_the_mount_is_as_high_as_the_metres_say():
    model = ModelScale()
    assert model.height_in_metres(MOUNT) == MOUNT
    model.judged(SCALE, Comparison(1.2, 1.15, 'the floor'))
    seen = model.height_in_metres(MOUNT)
    assert seen.height_m == pytest.approx(1.15 * MOUNT.height_m, rel=0.006)
    model.judged(SCALE, Comparison(1.2, 1.151, 'the floor'))
    assert model.height_in_metres(MOUNT) == seen  # the beams of a scan need not be made anew


# --- The mount that the floor shows.


@pytest.mark.parametrize('height', [0.15, 0.4, 1.0])
@pytest.mark.parametrize(('pitch', 'roll'), [(0.05, 0.0), (0.15, 0.05), (0.3, -0.05)])
def test_the_floor_shows_the_mount(height, pitch, roll):
    mount = CameraMount(height, pitch, roll)
    found = mount_in_view(inverse_depth(mount, noise=0.02), GRID, SCALE)
    assert found.height_m == pytest.approx(height, rel=0.04)
    assert found.pitch_rad == pytest.approx(pitch, abs=0.012)
    assert found.roll_rad == pytest.approx(roll, abs=0.012)


def test_walls_are_no_floor():
    """Seen straight on and turned, near and far: each fills the picture."""
    for distance in (0.4, 1.5, 6.0):
        for turn in (-0.6, 0.0, 0.6):
            wall = np.cos(turn) / distance * (1 + np.tan(turn) * GRID[0])
            found = mount_in_view(np.maximum(wall, 0.06).astype(np.float32), GRID, SCALE)
            assert isinstance(found, Refusal), (distance, turn)


def test_a_floor_and_a_shift_is_not_taken_for_a_level_one():
    """With a shift the horizon is elsewhere: the mount is wrong, or there is none."""
    found = mount_in_view(EXACT, GRID, SCALE)
    assert found.pitch_rad == pytest.approx(MOUNT.pitch_rad, abs=0.01)
    shifted = mount_in_view(EXACT + 0.3, GRID, SCALE)
    assert isinstance(shifted, Refusal) or shifted.pitch_rad > MOUNT.pitch_rad + 0.05


def test_the_mount_is_steady_and_expires():
    floor, none = FloorInView(), Refusal('a wall')
    found = [CameraMount(0.4 + 0.002 * (-1) ** i, 0.15, 0.0) for i in range(40)]
    first = [floor.update(0.1 * i, mount) for i, mount in enumerate(found[:3])]
    assert [isinstance(each, Refusal) for each in first] == [True, True, False]
    later = {floor.update(0.3 + 0.1 * i, mount) for i, mount in enumerate(found[3:])}
    assert len(later) == 1
    assert floor.update(4.5, none, expiry_s=1.0) in later
    assert 'a wall' in floor.update(5.6, none, expiry_s=1.0).reason
    assert 'frames' in floor.update(5.7, found[0]).reason


def test_a_floor_that_jumps_about_gives_no_mount():
    floor = FloorInView()
    said = [floor.update(0.1 * i, CameraMount(0.3 + 0.2 * (i % 2), 0.15, 0.0)) for i in range(8)]
    assert all(isinstance(each, Refusal) for each in said[4:])
