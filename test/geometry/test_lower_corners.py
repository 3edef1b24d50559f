"""Corners whose distance is measured lie on the floor, or below it: behind an edge."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    LowerCorners,
    ParallaxScale,
    lower_corners,
)
from midas_depth_ros.geometry.lower_corners import Corners, Lower
from midas_depth_ros.options.metric import SigmaOptions
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, render

HEIGHT_M, PITCH_RAD = 0.3, 0.25
MOUNT = CameraMount(HEIGHT_M, PITCH_RAD)
CAMERA = CameraModel.from_field_of_view(320, 240, 1.6)


def corners_at(away_m, drop_m, noise=0.01, seed=0, off=0.02, mount=MOUNT):
    """Corners whose rays meet the floor so far away, and which lie so far below it, (n,) both."""
    rng = np.random.default_rng(seed)
    away_m, drop_m = np.broadcast_arrays(np.asarray(away_m, float), drop_m)
    left = rng.uniform(-0.2, 0.2, away_m.shape) * away_m
    ahead = np.sqrt(away_m**2 - left**2)
    body = np.stack([ahead, left, np.full_like(ahead, -mount.height_m)], axis=1)
    optical = body @ mount.body_axes()
    rays = optical / optical[:, 2:]
    floor = 1 / optical[:, 2]
    exact = floor * mount.height_m / (mount.height_m + drop_m)
    inverse = exact * (1 + noise * rng.standard_normal(exact.shape))
    return Corners(rays, inverse, np.maximum(noise, 0.005) * floor, off)


@pytest.mark.parametrize('drop_m', [0.12, 0.2, 0.6])
@pytest.mark.parametrize('away_m', [0.4, 0.7, 1.2])
def test_a_floor_that_is_lower_is_found_with_its_depth(away_m, drop_m):
    found = lower_corners(corners_at(np.linspace(away_m, 1.3 * away_m, 8), drop_m), MOUNT)
    assert found is not None
    assert found.corners >= 5  # of 8: two bands overlap
    assert found.from_m == pytest.approx(away_m, rel=0.12)
    assert found.below_m == pytest.approx(drop_m, abs=0.04)


@pytest.mark.parametrize('height_m', [0.12, 0.3, 1.65])
def test_whatever_the_height_of_the_lens(height_m):
    mount = CameraMount(height_m, PITCH_RAD)
    away_m = np.linspace(2.0, 2.6, 8) * height_m
    assert lower_corners(corners_at(away_m, 0.5 * height_m, mount=mount), mount, None, 0.05)
    assert lower_corners(corners_at(away_m, 0.0, mount=mount), mount, None, 0.05) is None


def test_the_floor_itself_and_what_stands_on_it_are_not_lower():
    for seed in range(50):
        away_m = np.random.default_rng(seed).uniform(0.3, 1.8, 40)
        stands = np.where(np.arange(40) % 3 == 0, -0.1, 0.0)
        assert lower_corners(corners_at(away_m, stands, 0.04, seed), MOUNT) is None


def test_what_is_less_than_max_drop_below_is_no_drop():
    corners = corners_at(np.linspace(0.5, 0.7, 9), 0.08, noise=0.005)
    assert lower_corners(corners, MOUNT) is None
    assert lower_corners(corners, MOUNT, None, 0.05) is not None


def test_few_corners_uncertain_ones_and_those_among_floor_say_nothing():
    away_m = np.linspace(0.6, 0.8, 12)
    assert lower_corners(corners_at(away_m[:4], 0.2), MOUNT) is None
    assert lower_corners(corners_at(away_m, 0.2, noise=0.15), MOUNT) is None
    assert lower_corners(corners_at(away_m, 0.2, off=0.3), MOUNT) is None
    among = corners_at(away_m, np.where(np.arange(12) % 2, 0.2, 0.0))
    assert lower_corners(among, MOUNT) is None


def test_reflections_in_a_polished_floor_are_no_lower_floor():
    """What stands on it is seen upside down below it: each corner as deep as it was high."""
    for seed in range(50):
        rng = np.random.default_rng(seed)
        away_m = rng.uniform(0.5, 1.8, 30)
        height_m = rng.uniform(0.0, 2.0, 30)
        assert lower_corners(corners_at(away_m, height_m, 0.02, seed), MOUNT) is None


def test_a_pitch_that_is_known_less_exactly_makes_it_less_certain():
    away_m = np.linspace(1.4, 1.75, 9)
    wrong = CameraMount(HEIGHT_M, PITCH_RAD - 0.03)
    corners = corners_at(away_m, 0.0)
    assert lower_corners(corners, wrong, SigmaOptions(pitch=0.03)) is None
    assert lower_corners(corners_at(away_m, 0.6), MOUNT, SigmaOptions(pitch=0.009)) is not None


def test_corners_without_a_number_are_left_out():
    corners = corners_at(np.linspace(0.6, 0.8, 9), 0.2)
    corners.inverse[:2], corners.sigma[2:4] = (np.nan, -1.0), (math.inf, math.nan)
    found = lower_corners(corners, MOUNT)
    assert found is not None
    assert found.corners == 5


# --- Held while the camera looks there.

LOWER = Lower(7, 0.9, 0.2)


def pose_at(x_m=0.0, yaw_rad=0.0):
    pose = np.eye(4)
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    pose[:2, :2], pose[0, 3] = ((c, -s), (s, c)), x_m
    return pose


def test_one_frame_counts_for_itself_and_two_are_held_until_it_looks_elsewhere():
    judge = LowerCorners()
    assert judge.update(0.0, None, pose_at()) == ''
    once = judge.update(0.1, LOWER, pose_at(0.1))
    assert once.startswith('7 corners from 0.9 m on lie 0.20 m below the floor')
    assert judge.update(0.2, None, pose_at(0.2)) == ''
    for x_m in (0.3, 0.35):
        assert judge.update(x_m, LOWER, pose_at(x_m))
    for second in range(1, 100):
        seen = judge.update(second, None, pose_at(0.35))
        assert seen, 'an edge does not go away while the robot stands'
    assert judge.update(101, None, pose_at(0.35, 0.4))
    assert judge.update(102, None, pose_at(0.35, 0.6)) == ''
    again = judge.update(103, None, pose_at(0.35))
    assert again == '', 'forgotten: its corners have to say so again'


def test_it_is_held_for_the_way_after_the_place_where_it_was_seen_last():
    judge = LowerCorners()
    for number in range(30):
        assert judge.update(0.1 * number, LOWER, pose_at(0.1 * number))
    assert judge.update(3.0, None, pose_at(4.5))
    assert judge.update(3.1, None, pose_at(5.2)) == ''
    judge.update(3.2, LOWER, pose_at())
    judge.update(3.3, LOWER, pose_at())
    judge.reset()
    assert judge.update(3.4, None, pose_at()) == ''


def test_what_one_frame_says_counts_for_no_frame_without_a_pose():
    judge = LowerCorners()
    assert judge.update(0.0, LOWER, pose_at())
    assert judge.update(0.1, None, None) == ''
    assert judge.update(0.2, LOWER, pose_at())
    assert judge.update(0.3, None, pose_at()) == '', 'not two frames in a row'


def test_without_a_pose_it_is_held_by_time():
    judge = LowerCorners()
    for stamp_s in (0.0, 0.1, 50.0):
        assert judge.update(stamp_s, LOWER if stamp_s < 1 else None, pose_at())
    assert judge.update(79.0, None, None)
    assert judge.update(79.5, None, pose_at(0.1)), 'the odometry is back'
    assert judge.update(109.0, None, None)
    assert judge.update(110.0, None, None) == ''
    assert judge.update(110.1, None, pose_at(0.1)) == ''


def test_where_odometry_begins_anew_it_is_held_by_time():
    judge = LowerCorners()
    for stamp_s in (0.0, 0.1):
        judge.update(stamp_s, LOWER, pose_at())
    judge.forget_places()
    assert judge.update(0.2, None, None)
    assert judge.update(20.0, None, pose_at(-70.0, 2.0)), 'that is another frame'
    assert judge.update(30.2, None, pose_at(-70.0, 2.0)) == ''
    judge.update(31.0, LOWER, pose_at())
    judge.forget_places()
    assert judge.update(31.1, None, pose_at()) == '', 'one frame is not held'


# --- Through real pictures: a network takes the lower floor for one that goes on.

TILES = Material((0.62, 0.6, 0.58), 'checker', (0.35, 0.35))
CONCRETE = Material((0.66, 0.64, 0.60), 'plain', (0.9, 0.9))
WALLS = Room(-4.0, 4.0, -2.0, 2.0, 2.5)


def driven(drop_m):
    """What the judgement says at each 4 cm of a way of 1.2 m, to 0.4 m before x = 0."""
    platform = (Box(-2.0, 0.0, 4.0, 4.0, drop_m, 0.0, material=CONCRETE),) if drop_m else ()
    scene, scale, judge, said = Scene(TILES, WALLS, platform), ParallaxScale(), LowerCorners(), []
    flat = np.maximum(MOUNT.ground_inverse_depth(CAMERA.normalised_grid()), 0.2)
    for number, x_m in enumerate(np.arange(-1.6, -0.4, 0.04)):
        place = Pose(x_m, 0.3, drop_m + HEIGHT_M, 0.0, PITCH_RAD)
        grey = cv2.cvtColor(render(scene, CAMERA, place).rgb, cv2.COLOR_RGB2GRAY)
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = place.optical_axes, (x_m, 0.3, HEIGHT_M)
        scale.update(1.0 + 0.2 * number, grey, flat.astype(np.float32), CAMERA, pose)
        found = scale.corners and lower_corners(scale.corners, MOUNT)
        said.append(judge.update(1.0 + 0.2 * number, found, pose))
    return said


@pytest.mark.parametrize('drop_m', [0.15, 0.2, 0.3])
def test_an_edge_that_the_network_does_not_see_is_found_before_the_robot_is_there(drop_m):
    said = driven(drop_m)
    assert said[-1], 'found, and held'
    below_m = float(said[-1].split(' m below')[0].split()[-1])
    assert below_m == pytest.approx(drop_m, rel=0.4)


def test_a_tiled_floor_that_goes_on_has_no_edge():
    assert not any(driven(0.0))
