"""The casting of furnished places against closed forms: all shapes, turned, through every lens."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Pose
from midas_depth_ros.sim.furnished.cast import (
    CEILING,
    FIRST_PART,
    GROUND,
    SKY,
    WALLS,
    View,
    cast,
    grid_of,
)
from midas_depth_ros.sim.furnished.place import BALL, BOX, TUBE, Hall, Part, PartTable

RELATIVE = 1e-4
CAMERA = CameraModel.from_field_of_view(160, 120, math.radians(70))
SQUASHED = dataclasses.replace(CAMERA, fy=2.4 * CAMERA.fy)
LENS = CameraModel(160, 120, 95.0, 96.0, 81.0, 57.0, 'plumb_bob', (-0.28, 0.06, 0.001, -0.002, 0.0))
CAMERAS = pytest.mark.parametrize(
    'camera', [CAMERA, SQUASHED, LENS], ids=['pinhole', 'squashed', 'plumb_bob']
)
HALL = Hall((-2.0, -3.0), (5.0, 1.5), 2.5, (0, 0, 0, 0), 0)


def grid(camera):
    return [axis.astype(np.float64) for axis in camera.normalised_grid()]


def seen(camera, pose, *parts, hall=None, ground=0.0):
    view = View(grid_of(camera), pose.optical_axes, pose.position)
    return cast(view, PartTable(parts), hall, ground)


def world_points(camera, pose, depth):
    """(3, H, W): where in the world the depth says that the surface is."""
    x, y = grid(camera)
    in_camera = np.stack([x * depth, y * depth, depth])
    return np.einsum('ij,jhw->ihw', pose.optical_axes, in_camera) + pose.position[:, None, None]


def in_unit(part, points):
    """Return points of the world in the frame of the unit shape of a part."""
    away = points - np.array(part.centre)[:, None, None]
    return np.einsum('ij,jhw->ihw', PartTable((part,)).to_unit[0], away)


def outside(part, points):
    """Return how far outside the unit shape: 1 on its surface, less inside."""
    x, y, z = in_unit(part, points)
    if part.shape == BOX:
        return np.maximum(np.maximum(np.abs(x), np.abs(y)), np.abs(z))
    if part.shape == BALL:
        return np.sqrt(x * x + y * y + z * z)
    radius = 0.5 * (1 + part.taper) + 0.5 * (part.taper - 1) * z
    return np.maximum(np.hypot(x, y) + 1 - radius, np.abs(z))


@CAMERAS
@pytest.mark.parametrize(('pitch', 'roll'), [(0.0, 0.0), (0.2, 0.0), (0.15, 0.3), (-0.1, -0.2)])
@pytest.mark.parametrize('ground', [0.0, -0.4])
def test_ground_is_affine_in_image_coordinates(camera, pitch, roll, ground):
    height = 0.37
    depth, index = seen(camera, Pose(1, 2, height, 0.8, pitch, roll), ground=ground)
    x, y = grid(camera)
    inverse = math.cos(pitch) * (math.sin(roll) * x + math.cos(roll) * y) + math.sin(pitch)
    inverse /= height - ground
    floor = inverse > 1 / 50
    assert floor.mean() > 0.1
    np.testing.assert_allclose(depth[floor], 1 / inverse[floor], rtol=RELATIVE)
    assert (index[floor] == GROUND).all()
    assert np.isinf(depth[inverse < 0]).all()
    assert (index[inverse < 0] == SKY).all()


@CAMERAS
@pytest.mark.parametrize('yaw', [0.0, 0.3, -0.6])
def test_hall_from_inside(camera, yaw):
    pose = Pose(0.5, 0.2, 1.0, yaw)
    depth, index = seen(camera, pose, hall=HALL)
    x, y = grid(camera)
    ahead, left = math.cos(yaw) + x * math.sin(yaw), math.sin(yaw) - x * math.cos(yaw)
    expected, face = np.full(depth.shape, np.inf), np.zeros(depth.shape)
    with np.errstate(divide='ignore'):
        for name, distance, rate in (
            (WALLS, HALL.low[0] - pose.x_m, ahead),
            (WALLS + 1, HALL.high[0] - pose.x_m, ahead),
            (WALLS + 2, HALL.low[1] - pose.y_m, left),
            (WALLS + 3, HALL.high[1] - pose.y_m, left),
            (GROUND, pose.z_m, y),
            (CEILING, pose.z_m - HALL.height_m, y),
        ):
            reach = distance / rate
            nearer = (reach > 0) & (reach < expected)
            expected, face = np.where(nearer, reach, expected), np.where(nearer, name, face)
    np.testing.assert_allclose(depth, expected, rtol=RELATIVE)
    assert (index != face).mean() < 1e-3  # where two faces meet a rounding decides


def test_looking_exactly_along_the_axes_leaves_no_hole():
    camera = CameraModel.from_field_of_view(161, 121, 1.2)  # with a middle row and column
    box = Part(BOX, (3.0, 0.0, 1.0), (0.5, 0.8, 0.5), 0)
    depth, _ = seen(camera, Pose(z_m=1.0), box, hall=HALL)
    np.testing.assert_allclose(depth[50:71, 60:101], 2.5, rtol=RELATIVE)
    assert np.isfinite(depth).all()
    assert depth.min() > 0


def test_middle_of_round_parts():
    camera = CameraModel.from_field_of_view(161, 121, 1.2)
    for part, expected in (
        (Part(BALL, (3.0, 0.0, 1.0), (0.25, 0.4, 0.6), 0), 2.75),
        (Part(TUBE, (3.0, 0.0, 1.0), (0.25, 0.25, 0.6), 0), 2.75),
        (Part(TUBE, (3.0, 0.0, 1.0), (0.3, 0.3, 0.6), 0, taper=0.0), 2.85),
        (Part(TUBE, (3.0, 0.0, 1.0), (0.3, 0.3, 0.6), 0, pitch_rad=math.pi / 2), 2.4),
        (Part(TUBE, (3.0, 0.0, 1.0), (0.3, 0.3, 0.6), 0, pitch_rad=-math.pi / 2), 2.4),
    ):
        depth, index = seen(camera, Pose(z_m=1.0), part)
        assert depth[60, 80] == pytest.approx(expected, rel=RELATIVE)
        assert index[60, 80] == FIRST_PART


def test_ball_by_closed_form():
    ball = Part(BALL, (2.0, 0.1, 0.6), (0.45, 0.45, 0.45), 0, yaw_rad=0.3, roll_rad=0.4)
    pose = Pose(0, 0, 0.5, 0.05, 0.02)
    for camera in (CAMERA, SQUASHED, LENS):
        depth, index = seen(camera, pose, ball)
        x, y = grid(camera)
        centre = pose.optical_axes.T @ (np.array(ball.centre) - pose.position)
        a, b = x * x + y * y + 1, x * centre[0] + y * centre[1] + centre[2]
        root = b * b - a * (centre @ centre - 0.45**2)
        clear = np.abs(root) > 1e-4  # at the very silhouette a rounding decides
        assert ((index == FIRST_PART) == (root > 0))[clear].all()
        met = clear & (root > 0)
        assert met.sum() > 800
        expected = (b - np.sqrt(np.maximum(root, 0))) / a
        np.testing.assert_allclose(depth[met], expected[met], rtol=RELATIVE)


@pytest.mark.sampled
@CAMERAS
@pytest.mark.parametrize('seed', range(16))
def test_any_part_is_met_where_a_ray_first_touches_it(camera, seed):
    """On the surface at the depth, outside of the part all the way to it."""
    rng = np.random.default_rng(seed)
    part = Part(
        int(rng.integers(0, 3)),
        (float(rng.uniform(1.2, 2.0)), float(rng.uniform(-0.4, 0.4)), float(rng.uniform(0.5, 0.9))),
        tuple(rng.uniform(0.1, 0.35, 3).tolist()),
        0,
        yaw_rad=float(rng.uniform(-3, 3)),
        pitch_rad=float(rng.uniform(-1.5, 1.5)),
        roll_rad=float(rng.uniform(-1.5, 1.5)),
        taper=float(rng.choice([1.0, 0.0, 0.4, 1.3])),
    )
    pose = Pose(0, 0, 0.8, float(rng.uniform(-0.1, 0.1)), 0.1, 0.05)
    depth, index = seen(camera, pose, part, ground=None)
    met = index == FIRST_PART
    assert met.sum() > 40
    safe = np.where(met, depth, 1.0).astype(np.float64)
    on_surface = outside(part, world_points(camera, pose, safe))
    np.testing.assert_allclose(on_surface[met], 1.0, atol=2e-4)
    for share in np.linspace(0.3, 0.995, 12):
        before = outside(part, world_points(camera, pose, safe * share))
        assert (before[met] > 1 - 1e-4).all()
    for depth_behind in np.linspace(0.5, 3.0, 20):  # rays that miss do not pass through it
        passed = outside(part, world_points(camera, pose, np.full(depth.shape, depth_behind)))
        assert (passed[~met] > 1 - 2e-3).all()


@pytest.mark.parametrize('seed', range(5))
def test_many_parts_are_the_nearest_of_each_alone(seed):
    rng = np.random.default_rng(seed)
    parts = [
        Part(
            int(rng.integers(0, 3)),
            (float(rng.uniform(0.5, 6)), float(rng.uniform(-2, 2)), float(rng.uniform(-0.1, 1.5))),
            tuple(rng.uniform(0.02, 0.4, 3).tolist()),
            0,
            yaw_rad=float(rng.uniform(-3, 3)),
            roll_rad=float(rng.uniform(-1, 1)),
            taper=0.5,
        )
        for _ in range(40)
    ]
    pose = Pose(0, 0, 0.8, 0.1, 0.1, 0.05)
    together, index = seen(LENS, pose, *parts)
    alone = np.stack([seen(LENS, pose, part)[0] for part in parts])
    np.testing.assert_array_equal(together, alone.min(axis=0))
    shown = index >= FIRST_PART
    assert 0.2 < shown.mean() < 0.95
    by_index = np.take_along_axis(alone, np.maximum(index - FIRST_PART, 0)[None].astype(int), 0)[0]
    np.testing.assert_array_equal(together[shown], by_index[shown])


def test_a_part_that_reaches_past_the_camera_is_seen_where_it_is_ahead():
    beam = Part(BOX, (0.0, -0.5, 0.5), (4.0, 0.1, 0.5), 0)
    depth, index = seen(CAMERA, Pose(z_m=0.5), beam)
    x, _ = grid(CAMERA)
    side = (index == FIRST_PART) & (0.4 / np.maximum(x, 1e-9) < 3.99)
    assert side.sum() > 1000
    np.testing.assert_allclose(depth[side], (0.4 / x)[side], rtol=RELATIVE)
    behind = Part(BOX, (-2.0, 0.0, 0.5), (0.5, 0.5, 0.5), 0)
    assert not (seen(CAMERA, Pose(z_m=0.5), behind)[1] == FIRST_PART).any()


def test_mirrored_rays_meet_what_hangs_over_the_floor():
    """The mirror image of a box 2 m ahead is as deep below the floor as the box is high."""
    box = Part(BOX, (2.1, 0.0, 0.5), (0.1, 5.0, 0.5), 0)
    pose = Pose(z_m=0.6)
    view = View(grid_of(CAMERA), pose.optical_axes, pose.position).mirrored()
    depth, index = cast(view, PartTable((box,)), None, None)
    _, y = grid(CAMERA)
    inside = (y > 0.61 / 2.0) & (y < 1.59 / 2.0)
    assert inside.any()
    assert (index[inside] == FIRST_PART).all()
    np.testing.assert_allclose(depth[inside], 2.0, rtol=RELATIVE)
