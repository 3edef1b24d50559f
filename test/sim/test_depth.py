"""The renderer's depth against closed forms, and against the surfaces that it should lie on."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.sim import Box, Cylinder, Pose, Room, Scene, Sphere, render

RELATIVE = 1e-4
CAMERA = CameraModel.from_field_of_view(160, 120, math.radians(70))
LENS = CameraModel(160, 120, 95.0, 96.0, 81.0, 57.0, 'plumb_bob', (-0.28, 0.06, 0.001, -0.002, 0.0))
CAMERAS = pytest.mark.parametrize('camera', [CAMERA, LENS], ids=['pinhole', 'plumb_bob'])


def grid(camera):
    return [axis.astype(np.float64) for axis in camera.normalised_grid()]


def world_points(camera, pose, depth):
    """(3, H, W): where in the world the depth says that the surface is."""
    x, y = grid(camera)
    in_camera = np.stack([x * depth, y * depth, depth])
    return np.einsum('ij,jhw->ihw', pose.optical_axes, in_camera) + pose.position[:, None, None]


def seen_of(solid, camera, pose, room=None):
    """Depth of the scene, and which pixels show the solid."""
    depth = render(Scene(room=room, solids=(solid,)), camera, pose).depth_z
    without = render(Scene(room=room), camera, pose).depth_z
    return depth, depth != without


@CAMERAS
@pytest.mark.parametrize(
    ('pitch', 'roll'), [(0.0, 0.0), (0.2, 0.0), (-0.1, 0.0), (0.15, 0.3), (0.4, -0.2)]
)
def test_floor_is_affine_in_image_coordinates(camera, pitch, roll):
    height = 0.37
    depth = render(Scene(), camera, Pose(1, 2, height, 0.8, pitch, roll)).depth_z
    x, y = grid(camera)
    inverse = math.cos(pitch) * (math.sin(roll) * x + math.cos(roll) * y) + math.sin(pitch)
    floor = inverse / height > 1 / 50
    assert floor.mean() > 0.2
    np.testing.assert_allclose(depth[floor], height / inverse[floor], rtol=RELATIVE)
    assert np.isinf(depth[inverse < 0]).all()


@CAMERAS
@pytest.mark.parametrize('yaw', [0.0, 0.3, -0.6])
def test_walls_of_a_room(camera, yaw):
    room = Room(-2, 5, -3, 1.5, height_m=2.5)
    pose = Pose(0.5, 0.2, 1.0, yaw)
    depth = render(Scene(room=room), camera, pose).depth_z
    x, y = grid(camera)
    ahead, left = math.cos(yaw) + x * math.sin(yaw), math.sin(yaw) - x * math.cos(yaw)
    expected = np.full(depth.shape, np.inf)
    with np.errstate(divide='ignore'):
        for distance, rate in (
            (room.x_max_m - pose.x_m, ahead),
            (room.x_min_m - pose.x_m, ahead),
            (room.y_max_m - pose.y_m, left),
            (room.y_min_m - pose.y_m, left),
            (pose.z_m, y),
            (pose.z_m - room.height_m, y),
        ):
            reach = distance / rate
            expected = np.where((reach > 0) & (reach < expected), reach, expected)
    np.testing.assert_allclose(depth, expected, rtol=RELATIVE)


def test_walls_without_ceiling_end_at_their_height():
    room = Room(-2, 4, -3, 3, height_m=1.5, ceiling=None)
    rendering = render(Scene(room=room), CAMERA, Pose(0, 0, 0.5))
    x, y = grid(CAMERA)
    straight = np.abs(x) < 0.5  # these look at the wall ahead, 4 m away
    over = -4 * y > 1.5 - 0.5
    assert np.isinf(rendering.depth_z[straight & over]).all()
    np.testing.assert_allclose(rendering.depth_z[straight & ~over & (y < 0)], 4.0, rtol=RELATIVE)


def test_box_front_covers_its_projection_at_its_distance():
    box = Box(2.0, 0.3, 0.4, 0.6, 0.8, bottom_m=0.2)
    depth, seen = seen_of(box, CAMERA, Pose(z_m=0.5))
    x, y = grid(CAMERA)
    front = 2.0 - 0.2
    inside = (x > -0.6 / front) & (x < 0.0) & (y > -(1.0 - 0.5) / front) & (y < (0.5 - 0.2) / front)
    assert inside.sum() > 500
    np.testing.assert_allclose(depth[inside], front, rtol=RELATIVE)
    # The box is level with the camera: of its sides only the one towards the middle can show.
    assert not (seen & ~inside & (x < 0)).any()


@CAMERAS
@pytest.mark.parametrize('yaw', [0.0, 0.4, -1.2])
def test_box_is_met_on_its_faces(camera, yaw):
    box = Box(1.6, -0.2, 0.7, 0.4, 0.5, yaw, bottom_m=0.1)
    pose = Pose(0, 0, 0.9, -0.1, 0.3, 0.1)
    depth, seen = seen_of(box, camera, pose)
    assert seen.sum() > 800
    x, y, z = world_points(camera, pose, np.where(seen, depth, 1.0))
    x, y = x - box.x_m, y - box.y_m
    along = (math.cos(yaw) * x + math.sin(yaw) * y) / (0.5 * box.length_m)
    beside = (math.cos(yaw) * y - math.sin(yaw) * x) / (0.5 * box.width_m)
    up = (z - 0.1 - 0.25) / 0.25
    reach = np.maximum(np.maximum(np.abs(along), np.abs(beside)), np.abs(up))
    np.testing.assert_allclose(reach[seen], 1.0, atol=1e-4)
    assert (np.abs(up[seen] - 1) < 1e-4).sum() > 100  # the lid is seen from above
    assert up[seen].max() < 1.001
    # The near faces: a ray shortened a little ends outside of the box.
    x, y, z = world_points(camera, pose, np.where(seen, depth - 0.01, 1.0))
    x, y = x - box.x_m, y - box.y_m
    along = (math.cos(yaw) * x + math.sin(yaw) * y) / (0.5 * box.length_m)
    beside = (math.cos(yaw) * y - math.sin(yaw) * x) / (0.5 * box.width_m)
    up = (z - 0.1 - 0.25) / 0.25
    assert (np.maximum(np.maximum(np.abs(along), np.abs(beside)), np.abs(up))[seen] > 1).all()


@CAMERAS
def test_sphere(camera):
    ball = Sphere(2.0, 0.1, 0.6, 0.45)
    pose = Pose(0, 0, 0.5, 0.05, 0.02)
    depth, seen = seen_of(ball, camera, pose)
    assert seen.sum() > 800
    x, y = grid(camera)
    centre = pose.optical_axes.T @ (np.array([2.0, 0.1, 0.6]) - pose.position)
    a, b = x * x + y * y + 1, x * centre[0] + y * centre[1] + centre[2]
    root = b * b - a * (centre @ centre - 0.45**2)
    clear = root > 1e-4  # at the very silhouette a rounding decides
    assert (seen == (root > 0))[np.abs(root) > 1e-4].all()
    expected = (b - np.sqrt(np.maximum(root, 0))) / a
    np.testing.assert_allclose(depth[seen & clear], expected[seen & clear], rtol=RELATIVE)


@CAMERAS
@pytest.mark.parametrize('camera_height', [0.3, 1.2], ids=['beside', 'above'])
def test_cylinder(camera, camera_height):
    pole = Cylinder(1.5, -0.2, 0.3, 0.7)
    pose = Pose(0, 0, camera_height, 0.0, 0.3)
    depth, seen = seen_of(pole, camera, pose)
    x, y, z = world_points(camera, pose, np.where(seen, depth, 1.0))
    across = np.hypot(x - 1.5, y + 0.2)
    lid = seen & (np.abs(z - 0.7) < 1e-4)
    np.testing.assert_allclose(across[seen & ~lid], 0.3, atol=1e-4)
    assert (across[lid] < 0.3 + 1e-4).all()
    assert (lid.sum() > 100) == (camera_height > 0.7)
    assert z[seen].min() > -1e-3
    assert z[seen].max() < 0.7 + 1e-3


def test_middle_of_a_cylinder_is_its_distance_less_its_radius():
    camera = CameraModel.from_field_of_view(161, 121, 1.2)
    depth = render(Scene(solids=(Cylinder(3.0, 0.0, 0.25, 2.0),)), camera, Pose(z_m=1.0)).depth_z
    assert depth[60, 80] == pytest.approx(2.75, rel=RELATIVE)


def test_the_nearer_solid_hides_the_farther_whatever_their_order():
    near, far = Box(1.5, 0, 0.2, 0.3, 0.6), Box(2.5, 0, 0.2, 2.0, 1.5)
    pose = Pose(z_m=0.4)
    one = render(Scene(solids=(near, far)), CAMERA, pose).depth_z
    other = render(Scene(solids=(far, near)), CAMERA, pose).depth_z
    np.testing.assert_array_equal(one, other)
    assert one[55, 80] == pytest.approx(1.4, rel=RELATIVE)
    assert one[55, 110] == pytest.approx(2.4, rel=RELATIVE)


def test_a_solid_that_reaches_past_the_camera_is_seen_where_it_is_ahead():
    beam = Box(0.0, -0.5, 8.0, 0.2, 1.0)  # from 4 m behind the camera to 4 m ahead of it
    pose = Pose(z_m=0.5)
    depth, seen = seen_of(beam, CAMERA, pose)
    x, _ = grid(CAMERA)
    side = seen & (0.4 / np.maximum(x, 1e-9) < 3.99)
    assert side.sum() > 1000
    np.testing.assert_allclose(depth[side], (0.4 / x)[side], rtol=RELATIVE)
    _, seen_behind = seen_of(Box(-2.0, 0.0, 1.0, 1.0, 1.0), CAMERA, pose)
    assert not seen_behind.any()


@CAMERAS
def test_floor_mask_is_where_the_depth_lies_on_the_floor(camera):
    scene = Scene(
        room=Room(-1, 4, -1.5, 1.5),
        solids=(Box(2, 0.3, 0.4, 0.4, 0.3), Sphere(1.5, -0.5, 0.2, 0.2)),
    )
    pose = Pose(0, 0, 0.4, 0.1, 0.15, -0.1)
    rendering = render(scene, camera, pose)
    height = world_points(camera, pose, rendering.depth_z.astype(np.float64))[2]
    np.testing.assert_allclose(height[rendering.floor_mask], 0, atol=1e-4)
    assert (height[~rendering.floor_mask] > 1e-4).all()
    assert 0.1 < rendering.floor_mask.mean() < 0.6


def test_where_a_fisheye_sees_nothing_the_picture_is_black_and_the_depth_infinite():
    camera = CameraModel(200, 160, 55.0, 55.0, 99.5, 79.5, 'equidistant', (0.0, 0.0, 0.0, 0.0))
    x, y = camera.normalised_grid()
    blind = ~np.isfinite(x)
    rendering = render(Scene(room=Room(-3, 3, -2, 2)), camera, Pose(z_m=0.5))
    assert 0.02 < blind.mean() < 0.5
    assert (rendering.rgb[blind] == 0).all()
    assert np.isinf(rendering.depth_z[blind]).all()
    assert not rendering.floor_mask[blind].any()
    assert np.isfinite(rendering.depth_z[~blind]).all()
    floor = rendering.floor_mask
    np.testing.assert_allclose(rendering.depth_z[floor], 0.5 / y[floor], rtol=RELATIVE)
