"""Scans of thousands of half-hidden scenes: no beam may claim more than could be seen.

Random rooms with thin poles and boxes, through random cameras; parts of the depth are hidden, noisy
or dropped, and the camera turns. Every claim of free space is compared with the exact plan.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from effort import tries

from midas_depth_ros.geometry import (
    Beams,
    CameraModel,
    CameraMount,
    MetricDepth,
    ScaleShift,
    find_obstacles,
    scan_limits,
)
from midas_depth_ros.options.metric import MetricOptions, ObstacleOptions, ScaleOptions
from midas_depth_ros.sim import Box, Cylinder, Pose, Room, Scene, render
from midas_depth_ros.sim.robot.plan_view import PlanView

INCREMENT = 0.0175
RANGES = {'range_min': 0.1, 'range_max': 6.0}
HEIGHTS_M = (0.06, 0.95)  # a little less than what counts as an obstacle
SHARE, METRES = 1.12, 0.05  # how much farther than the truth a claim may reach
AT_ONCE = tries(100)


def random_scene(rng):
    """Return a camera, its pose, and a room with up to six thin poles and boxes."""
    camera = CameraModel.from_field_of_view(256, 192, math.radians(rng.uniform(55, 100)))
    roll = float(rng.choice([0.0, rng.uniform(-0.12, 0.12)]))
    pose = Pose(
        z_m=rng.uniform(0.2, 0.8), pitch_rad=rng.uniform(0, 0.35), roll_rad=roll,
        yaw_rad=rng.uniform(-0.6, 0.6),
    )  # fmt: skip
    half, ahead = rng.uniform(1.2, 6), rng.uniform(2.5, 12)
    solids = tuple(random_solid(rng, pose.yaw_rad) for _ in range(rng.integers(1, 7)))
    return camera, pose, Scene(room=Room(-half, ahead, -half, half, 3), solids=solids)


def random_solid(rng, yaw):
    bearing, away = yaw + rng.uniform(-0.9, 0.9), rng.uniform(0.6, 4)
    x, y = away * math.cos(bearing), away * math.sin(bearing)
    if rng.random() < 0.5:
        return Cylinder(x, y, rng.uniform(0.03, 0.06), rng.uniform(0.4, 1.2))
    size = rng.uniform((0.1, 0.1, 0.15), (0.4, 0.6, 1.2))
    return Box(x + 0.2 * math.cos(bearing), y + 0.2 * math.sin(bearing), *size, rng.uniform(-1, 1))


def nothing(rng, depth):
    """Hide nothing."""


def side(rng, depth):
    depth[:, : rng.integers(1, depth.shape[1])] = np.nan


def top(rng, depth):
    depth[: rng.integers(1, depth.shape[0])] = np.nan


def bottom(rng, depth):
    depth[rng.integers(depth.shape[0] // 2, depth.shape[0]) :] = np.nan


def patches(rng, depth):
    for row, column in rng.integers((0, 0), depth.shape, (5, 2)):
        height, width = rng.integers(1, 60, 2)
        depth[row : row + height, column : column + width] = np.nan


def columns(rng, depth):
    depth[:, rng.integers(0, depth.shape[1], 5)] = np.nan


def pixels(rng, depth):
    depth[rng.random(depth.shape) < 0.01] = np.nan


HIDDEN = (nothing, side, top, bottom, patches, columns, pixels)


def overclaims(scan, angles, scene, pose, begins_m):
    """Return (n,) bool: beams that claim free space wrongly, of what the camera could have seen."""
    offsets = (-0.5 * INCREMENT, 0.0, 0.5 * INCREMENT)
    plan = PlanView.of_scene(scene, HEIGHTS_M)
    bearing = pose.yaw_rad + angles
    # What fills only a part of a beam, and is hidden, may be missed: its neighbour tells of it.
    true = np.max([plan.reach(pose.x_m, pose.y_m, bearing + o) for o in offsets], axis=0)
    farthest = np.float32(RANGES['range_max'])
    claimed = np.nan_to_num(np.minimum(scan.ranges, farthest), nan=0.0)
    claimed = np.maximum(claimed, np.nan_to_num(scan.seen_free, nan=0.0))
    visible = true * np.cos(angles) > 1.1 * begins_m
    return (claimed > np.minimum(true, farthest) * SHARE + METRES) & visible


def beams_of(grid, mount):
    first, last = scan_limits(grid, mount, INCREMENT)
    beams = Beams(grid, mount, angle_min=first, angle_max=last, angle_increment=INCREMENT)
    return beams, first + INCREMENT * np.arange(beams.count)


@pytest.mark.sampled
@pytest.mark.parametrize('hide', HIDDEN, ids=lambda hide: hide.__name__)
@pytest.mark.parametrize('noise', [0.0, 0.03])
def test_no_beam_calls_free_what_is_not(hide, noise):
    rng = np.random.default_rng([HIDDEN.index(hide), round(100 * noise)])
    counted = np.zeros(3, int)
    for _ in range(AT_ONCE):
        camera, pose, scene = random_scene(rng)
        depth = render(scene, camera, pose).depth_z
        depth = (depth / (1 + noise * rng.standard_normal(depth.shape))).astype(np.float32)
        hide(rng, depth)
        grid = camera.normalised_grid()
        mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
        beams, angles = beams_of(grid, mount)
        scan = beams.scan(find_obstacles(depth, grid, mount, ObstacleOptions()), **RANGES)
        wrong = overclaims(scan, angles, scene, pose, beams.view_begins_m)
        assert wrong.sum() == 0, (angles[wrong], scan.ranges[wrong], pose, scene)
        counted += (len(angles), np.isposinf(scan.ranges).sum(), np.isfinite(scan.ranges).sum())
    # A scan that claims nothing is never wrong either.
    assert counted[2] > 0.05 * counted[0]
    if hide is nothing:
        assert counted[1] > 0.15 * counted[0]
        assert counted[2] > 0.4 * counted[0]


@pytest.mark.parametrize('rate_hz', [5.0, 10.0])
def test_while_the_camera_turns_and_drives_nothing_that_is_dropped_becomes_clear(rate_hz):
    rng = np.random.default_rng(round(rate_hz))
    frames = 0
    options = MetricOptions(scale=ScaleOptions(time_constant=0.0))
    for _ in range(tries(40)):
        camera, pose, scene = random_scene(rng)
        grid = camera.normalised_grid()
        mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
        beams, angles = beams_of(grid, mount)
        metric, turn, speed = MetricDepth(), rng.uniform(-1.4, 1.4), rng.uniform(0, 0.3)
        for frame in range(10):
            now = Pose(
                frame * speed / rate_hz, 0.0, pose.z_m, pose.yaw_rad + frame * turn / rate_hz,
                pose.pitch_rad, pose.roll_rad,
            )  # fmt: skip
            inverse = 1 / render(scene, camera, now).depth_z
            inverse *= 1 + 0.03 * rng.standard_normal(inverse.shape)
            exact = ScaleShift(1.0, 0.0, 'ground')
            seen = metric.update(
                frame / rate_hz, inverse.astype(np.float32), grid, mount, exact, options
            )
            scan = beams.scan(seen.obstacles, **RANGES)
            wrong = overclaims(scan, angles, scene, now, beams.view_begins_m)
            assert wrong.sum() == 0, (frame, angles[wrong], scan.ranges[wrong], now, scene)
            frames += 1
    assert frames == 10 * tries(40)
