"""What stands on the floor is moved to its foot, what hangs or has no foot in view is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraMount, find_obstacles
from midas_depth_ros.geometry.contact import range_factors
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, np.radians(70))
GRID = CAMERA.normalised_grid()
POSE = Pose(z_m=0.4, pitch_rad=0.15)
MOUNT = CameraMount(0.4, 0.15)
HALL = Room(-40, 40, -40, 40, 20)


def inverse_of(*solids):
    return 1 / render(Scene(room=HALL, solids=solids), CAMERA, POSE).depth_z.astype(np.float32)


def bent(inverse, seed, share=0.06):
    """Return 1/Z with errors as smooth as a network's."""
    rng = np.random.default_rng(seed)
    bumps = cv2.GaussianBlur(rng.standard_normal((96, 128)), (0, 0), 12)
    bumps = cv2.resize(bumps / bumps.std(), inverse.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return (inverse * (1 + share * bumps)).astype(np.float32)


def nearest(inverse):
    return find_obstacles(1 / inverse, GRID, MOUNT).nearest_range_m


def moved(inverse):
    """Return the factors as `find_obstacles` has them, and what is an obstacle."""
    found = find_obstacles(1 / inverse, GRID, MOUNT)
    axes = MOUNT.body_axes()[0].astype(np.float32)
    ahead = axes[0] * GRID[0] + (axes[1] * GRID[1] + axes[2])
    ground = MOUNT.ground_inverse_depth(GRID)
    factors = np.ones_like(inverse)
    pixels, by = range_factors(inverse, ground, ahead, found.mask, found.floor)
    factors.reshape(-1)[pixels] = by
    return factors, found.mask


@pytest.mark.parametrize('away_m', [1.0, 1.6, 2.4])
def test_smooth_errors_hardly_change_how_far_a_box_is(away_m):
    exact = inverse_of(Box(away_m + 0.1, 0.0, 0.2, 0.5, 0.5))
    errors = [nearest(bent(exact, seed)) / away_m - 1 for seed in range(20)]
    # Its own depth is off by 6 % (1 sigma), and what counts is the nearest part of it.
    assert np.median(np.abs(errors)) < 0.02
    assert np.mean(np.abs(errors) < 0.06) >= 0.75


def test_on_an_exact_floor_nothing_moves():
    factors, mask = moved(inverse_of(Box(1.6, 0.0, 0.2, 0.5, 0.5)))
    assert mask.sum() > 500
    np.testing.assert_allclose(factors[mask], 1, atol=2e-3)


def test_what_hangs_is_not_taken_for_what_stands_farther_away():
    exact = inverse_of(Box(1.6, 0.0, 0.2, 0.6, 0.7, bottom_m=0.3))
    for seed in range(20):
        factors, mask = moved(bent(exact, seed, 0.04))
        assert np.quantile(factors[mask], 0.95) < 1.05, seed


@pytest.mark.parametrize('lip_m', [1.5, 0.75])
def test_what_sticks_out_above_a_base_is_not_moved_back_to_its_foot(lip_m):
    """A counter, a sofa, the back of a lorry: the robot would hit it before the base."""
    base = Box(lip_m + 0.35, 0.0, 0.3, 0.8, 0.25)
    top = Box(lip_m + 0.25, 0.0, 0.5, 0.8, 0.15, bottom_m=0.25)
    exact = inverse_of(base, top)
    off = [nearest(bent(exact, seed, 0.03)) / lip_m for seed in range(20)]
    assert np.median(off) < 1.06
    assert max(off) < 1.12


def test_a_floor_that_rises_a_little_moves_nothing_far():
    """Too low to be an obstacle, and no error of the network: nothing tells the two apart."""
    solids = Box(1.5, 0.0, 2.0, 2.0, 0.045), Box(1.3, 0.0, 0.2, 0.5, 0.4)
    seen = render(Scene(room=HALL, solids=solids), CAMERA, Pose(z_m=0.3, pitch_rad=0.15))
    found = find_obstacles(seen.depth_z.astype(np.float32), GRID, CameraMount(0.3, 0.15))
    assert found.nearest_range_m == pytest.approx(1.2, rel=0.06)


def test_without_a_foot_in_view_nothing_moves():
    exact = inverse_of(Box(0.45, 0.0, 0.2, 1.5, 0.5))
    factors, mask = moved(bent(exact, 3))
    assert mask.sum() > 500
    # Only beside it, where floor is seen, may something else have a foot.
    np.testing.assert_array_equal(factors[:, 100:156], 1)


def test_unknown_depth_stays_unknown_and_moves_nothing():
    inverse = bent(inverse_of(Box(1.6, 0.0, 0.2, 0.5, 0.5)), 1)
    inverse[100:140] = np.nan
    found = find_obstacles(1 / inverse, GRID, MOUNT)
    assert np.isnan(found.points[100:140]).all()
    assert not found.mask[100:140].any()
