"""The drive along the corridor: periodic, smooth, without collisions, and not monotonous."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

from midas_depth_ros.sim import Cylinder, moving_scene, render

SEEDS = pytest.mark.parametrize('seed', [0, 1, 2, 3])


def frame(scene, time_s, width=160, height=120):
    return render(scene.scene_at(time_s), scene.camera.scaled(width, height), scene.pose_at(time_s))


def test_the_camera_is_what_it_is_said_to_be():
    scene = moving_scene(0)
    assert (scene.camera.width, scene.camera.height) == (640, 480)
    pose = scene.pose_at(3.0)
    assert pose.z_m == pytest.approx(0.3)
    assert 0 < pose.pitch_rad < math.radians(15)


@SEEDS
def test_it_repeats_after_a_period_to_the_bit(seed):
    scene = moving_scene(seed)
    first, again = frame(scene, 5.0), frame(scene, 5.0 + scene.period_s)
    np.testing.assert_array_equal(first.rgb, again.rgb)
    np.testing.assert_array_equal(first.depth_z, again.depth_z)


def test_a_seed_is_always_the_same_scene():
    one = moving_scene(4)
    moving_scene.cache_clear()
    other = moving_scene(4)
    assert one is not other
    assert one == other
    assert one.standing != moving_scene(5).standing


@SEEDS
def test_the_seam_is_no_larger_than_any_other_step(seed):
    scene = moving_scene(seed)

    def step(before, after):
        a, b = (1 / frame(scene, t).depth_z for t in (before, after))
        return float(np.abs(a - b).mean())

    dt = 0.05
    usual = max(step(t, t + dt) for t in (3.0, 8.0, 13.0, 18.0))
    assert step(scene.period_s - dt / 2, scene.period_s + dt / 2) < 2 * usual


@SEEDS
def test_it_drives_forward(seed):
    scene = moving_scene(seed)
    places = [scene.pose_at(t).x_m for t in np.arange(0, scene.period_s, 0.25)]
    assert (np.diff(places) > 0).all()


@SEEDS
def test_nothing_is_run_over_and_nothing_meets_the_barrel(seed):
    scene = moving_scene(seed)
    for time_s in np.arange(0, scene.period_s, 0.25):
        pose = scene.pose_at(time_s)
        *standing, barrel = scene.scene_at(time_s).solids
        assert isinstance(barrel, Cylinder)
        for solid in (*standing, barrel):
            assert gap(solid, pose.x_m, pose.y_m) > 0.35
        for solid in standing:
            assert gap(solid, barrel.x_m, barrel.y_m) > barrel.radius_m


def gap(solid, x, y):
    """Distance on the floor from a point to the box around a solid."""
    (x0, y0, _), (x1, y1, _) = solid.bounds
    return math.hypot(max(x0 - x, 0, x - x1), max(y0 - y, 0, y - y1))


@SEEDS
def test_the_nearest_obstacle_changes_sides_and_distance(seed):
    scene = moving_scene(seed)
    sides, nearest = [], []
    for time_s in np.arange(0, scene.period_s, 0.5):
        rendering = frame(scene, time_s, 64, 48)
        depth = np.where(rendering.floor_mask, np.inf, rendering.depth_z)
        thirds = [depth[:, part].min() for part in (slice(0, 21), slice(21, 43), slice(43, 64))]
        sides.append(int(np.argmin(thirds)))
        nearest.append(min(thirds))
    assert {0, 2} <= set(sides)
    assert sum(a != b for a, b in itertools.pairwise(sides)) >= 4
    assert max(nearest) > 1.4 * min(nearest)


@SEEDS
def test_floor_walls_and_solids_are_all_in_view(seed):
    rendering = frame(moving_scene(seed), 2.0)
    assert 0.25 < rendering.floor_mask.mean() < 0.6
    assert np.isfinite(rendering.depth_z).all()
    bare = dataclasses.replace(moving_scene(seed).scene_at(2.0), solids=())
    without = render(
        bare, moving_scene(seed).camera.scaled(160, 120), moving_scene(seed).pose_at(2.0)
    )
    assert (without.depth_z != rendering.depth_z).mean() > 0.03
