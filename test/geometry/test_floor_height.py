"""Heights above the floor in exact metres: as the world is, whatever the mount believes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MetricDepth,
    Refusal,
    ScaleShift,
    fit_ground_plane,
    point_cloud,
)
from midas_depth_ros.geometry.floor_height import FloorHeight, fit_in_metres, floor_in_metres
from midas_depth_ros.options.metric import MetricOptions
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
GRID = CAMERA.normalised_grid()
MOUNT = CameraMount(0.3, 0.1)
HALL = Room(-40, 40, -40, 40, 20)
BOX = Box(x_m=1.7, y_m=0.1, length_m=0.4, width_m=0.5, height_m=0.4)
NEAR_M = 4.0


def exact(pose: Pose, *solids) -> tuple[np.ndarray, np.ndarray]:
    """1/Z and Z of what a camera sees, without any scale to fit."""
    depth = render(Scene(room=HALL, solids=solids), CAMERA, pose).depth_z
    with np.errstate(divide='ignore'):
        return np.where(np.isfinite(depth), 1 / depth, 0).astype(np.float32), depth


def true_heights(depth: np.ndarray, pose: Pose) -> np.ndarray:
    mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
    return pose.z_m + np.einsum('j,hwj->hw', mount.body_axes()[2], point_cloud(depth, GRID))


@pytest.mark.parametrize('nod', [0.0, 0.05, -0.05])
@pytest.mark.parametrize('lift', [0.0, 0.02])
def test_heights_are_those_of_the_world_while_the_robot_nods(nod, lift):
    pose = Pose(z_m=0.3 + lift, pitch_rad=0.1 + nod)
    inverse, depth = exact(pose, BOX)
    heights = FloorHeight().update(0.0, inverse, depth, GRID, MOUNT)
    truth, near = true_heights(depth, pose), depth < NEAR_M
    assert np.abs(heights - truth)[near].max() < 0.01
    floor, top = near & (truth < 0.01), near & (truth > 0.35)
    assert floor.sum() > 1000
    assert top.sum() > 100
    # The floor that the mount believes in is elsewhere: this is what the fit is for.
    believed = 0.3 - depth * MOUNT.descent(GRID)
    if nod:
        assert np.abs(believed[floor]).max() > 0.1
    assert heights.dtype == np.float32


def test_metres_that_are_all_too_far_have_their_floor_at_zero():
    inverse, depth = exact(Pose(z_m=0.3, pitch_rad=0.1), BOX)
    heights = FloorHeight().update(0.0, inverse / 1.2, depth * 1.2, GRID, MOUNT)
    floor = (depth < NEAR_M) & (true_heights(depth, Pose(z_m=0.3, pitch_rad=0.1)) < 0.01)
    assert np.abs(heights[floor]).max() < 0.01


def test_what_has_no_depth_has_no_height():
    inverse, depth = exact(Pose(z_m=0.3, pitch_rad=0.1), BOX)
    depth[:, :40] = np.nan
    depth[depth > 5] = np.inf
    heights = FloorHeight().update(0.0, inverse, depth, GRID, MOUNT)
    assert (np.isfinite(heights) == np.isfinite(depth)).all()


@pytest.mark.parametrize('distance_m', [0.4, 0.8])
def test_a_wall_is_never_a_floor(distance_m):
    wall = Box(x_m=distance_m + 0.5, y_m=0.0, length_m=1.0, width_m=20.0, height_m=5.0)
    # Looking down it, too: then no horizon is in view.
    for pitch in (0.0, 0.1, 0.3):
        pose = Pose(z_m=0.3, pitch_rad=pitch)
        inverse, depth = exact(pose, wall)
        mount = CameraMount(0.3, pitch)
        heights = FloorHeight().update(0.0, inverse, depth, GRID, mount)
        truth = true_heights(depth, pose)
        known = np.isfinite(heights) & (truth > 0.15)
        assert not (heights[known] < 0.1).any(), 'part of the wall would be floor'


def test_the_top_of_a_box_at_the_robot_s_feet_is_not_the_floor():
    table = Box(x_m=2.5, y_m=0.0, length_m=4.8, width_m=20.0, height_m=0.2)
    inverse, _ = exact(Pose(z_m=0.3, pitch_rad=0.1), table)
    found = floor_in_metres(inverse, GRID, MOUNT)
    assert isinstance(found, Refusal)
    assert '0.10 m below a lens' in found.reason


def test_without_a_floor_the_last_one_holds_as_long_as_a_scale_and_then_nothing_does():
    floor = FloorHeight()
    inverse, depth = exact(Pose(z_m=0.3, pitch_rad=0.1), BOX)
    floor.update(10.0, inverse, depth, GRID, MOUNT)
    assert floor.reason == ''
    pose = Pose(z_m=0.3, pitch_rad=0.1)
    near = Box(x_m=0.6, y_m=0.0, length_m=0.4, width_m=9.0, height_m=9.0)
    inverse, depth = exact(pose, near)
    held = floor.update(10.9, inverse, depth, GRID, MOUNT, expiry_s=1.0)
    assert np.abs(held - true_heights(depth, pose)).max() < 0.01
    assert floor.reason == ''
    assert np.isnan(floor.update(11.1, inverse, depth, GRID, MOUNT, expiry_s=1.0)).all()
    assert floor.reason


@pytest.mark.parametrize('stamp_s', [9.0, 12.0])
def test_a_stamp_that_goes_back_or_a_pause_forgets_the_floor(stamp_s):
    floor = FloorHeight()
    inverse, depth = exact(Pose(z_m=0.3, pitch_rad=0.1), BOX)
    floor.update(10.0, inverse, depth, GRID, MOUNT)
    nothing = np.full_like(inverse, 0.5)
    assert np.isnan(floor.update(stamp_s, nothing, 1 / nothing, GRID, MOUNT)).all()
    assert floor.reason


def test_without_a_mount_nothing_is_known():
    inverse, depth = exact(Pose(z_m=0.3, pitch_rad=0.1), BOX)
    floor = FloorHeight()
    assert np.isnan(floor.update(0.0, inverse, depth, GRID, None)).all()
    assert floor.reason == 'the mount is unknown'


@pytest.mark.parametrize('nod', [0.008, 0.04])
def test_a_floor_stays_at_zero_from_frame_to_frame_of_a_nod(nod):
    """Small nods are smoothed in the scale, large ones make it jump."""
    metric, floor = MetricDepth(), FloorHeight()
    for frame in range(12):
        stamp_s = 0.2 * frame
        pitch = 0.1 + nod * math.sin(2 * math.pi * 0.7 * stamp_s)
        pose = Pose(z_m=0.3, pitch_rad=pitch)
        inverse, depth = exact(pose, BOX)
        fit = fit_ground_plane(inverse, GRID, MOUNT)
        found = metric.update(stamp_s, inverse, GRID, MOUNT, fit, MetricOptions())
        assert found is not None
        heights = floor.update(stamp_s, found.inverse, found.depth_z, GRID, MOUNT)
        seen = (depth < NEAR_M) & (true_heights(depth, pose) < 0.01) & np.isfinite(heights)
        assert seen.sum() > 1000
        assert np.abs(heights[seen]).max() < 0.015


@pytest.mark.parametrize('pitch', [0.06, 0.1, 0.14])
def test_a_fit_in_relative_depth_is_that_in_metres(pitch):
    """The same heights as by a second fit, whatever scale the frame is given."""
    inverse, _ = exact(Pose(z_m=0.3, pitch_rad=pitch), BOX)
    noise = np.random.default_rng(1).normal(0, 0.02, inverse.shape)
    d = (0.3 + 0.2 * inverse * (1 + noise)).astype(np.float32)
    scale = ScaleShift(5.5, -1.4)
    metres = scale.inverse_depth(d)
    known = fit_in_metres(fit_ground_plane(d, GRID, MOUNT), scale)
    found = floor_in_metres(metres, GRID, MOUNT, known)
    again = floor_in_metres(metres, GRID, MOUNT)
    assert not isinstance(again, Refusal)
    np.testing.assert_allclose(found.plane, again.plane, rtol=1e-4, atol=1e-6)


def test_a_fit_is_not_carried_where_metres_are_no_line():
    fit = ScaleShift(2.0, 0.1)
    curve = ((0.1, 0.2), (0.5, 1.0))
    assert fit_in_metres(fit, ScaleShift(2.0, 0.1, curve=curve)) is None
    assert fit_in_metres(fit, ScaleShift(2.0, 0.1, far_end=0.01)) is None
    refused = Refusal('no floor')
    assert fit_in_metres(refused, fit) is refused


@pytest.mark.parametrize('tilt', [0.02, 0.05, 0.1, -0.1])
def test_the_last_floor_is_where_the_camera_that_has_tilted_since_sees_it(tilt):
    """The front of a box fills the picture: no floor of its own, and the Imu knows the tilt."""
    grid, heights = GRID, FloorHeight()
    before = CameraMount(0.5, 0.3)
    floor = np.maximum(before.ground_inverse_depth(grid), 0.1).astype(np.float32)
    heights.update(0.0, floor, 1 / floor, grid, before)
    mount = CameraMount(0.5, 0.3 - tilt)
    ahead, _, up = (axis[0] * grid[0] + axis[1] * grid[1] + axis[2] for axis in mount.body_axes())
    ground = mount.ground_inverse_depth(grid)
    inverse = np.maximum(np.maximum(ground, ahead / 0.55), 0.1).astype(np.float32)
    found = heights.update(0.5, inverse, 1 / inverse, grid, mount)
    front = np.abs(ahead / inverse - 0.55) < 1e-3
    assert front.sum() > 1000
    np.testing.assert_allclose(found[front], (0.5 + up / inverse)[front], atol=2e-3)
