"""Obstacles in exact depth: what counts, where it is, and what is ignored."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MetricDepth,
    ReferencePoints,
    Refusal,
    ScaleShift,
    find_obstacles,
    fit_ground_plane,
    fit_reference,
    point_cloud,
)
from midas_depth_ros.geometry.fitting import pixel_angle
from midas_depth_ros.geometry.mount import rays_ahead
from midas_depth_ros.geometry.obstacles import MAX_DROP_RANGE_M, ObstacleMemory
from midas_depth_ros.geometry.scan import Beams
from midas_depth_ros.options.declarations import OptionFault
from midas_depth_ros.options.metric import MetricOptions, ObstacleOptions
from midas_depth_ros.sim import Box, Cylinder, Pose, Room, Scene, render
from training.places.floor_views import cliff_view, disturbed, nearest_ahead, room_view

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
GRID = CAMERA.normalised_grid()
POSE = Pose(z_m=0.3, pitch_rad=0.1)
MOUNT = CameraMount(0.3, 0.1)
HALL = Room(-40, 40, -40, 40, 20)
OPTIONS = ObstacleOptions()


def seen(*solids, pose=POSE, options=OPTIONS, room=HALL, **ranges):
    depth = render(Scene(room=room, solids=solids), CAMERA, pose).depth_z
    mount = CameraMount(pose.z_m, pose.pitch_rad, pose.roll_rad)
    return find_obstacles(depth, GRID, mount, options, **ranges)


def drop_depth(edge_m, below_m, half_width_m=math.inf, mount=MOUNT):
    """Return depth of a floor that is `below_m` lower beyond `edge_m`."""
    ground = mount.ground_inverse_depth(GRID).astype(np.float64)
    rays = np.einsum('ij,jhw->ihw', mount.body_axes(), np.stack([*GRID, np.ones_like(GRID[0])]))
    with np.errstate(divide='ignore', invalid='ignore'):
        lower = (ground > 0) & (rays[0] / ground > edge_m)
        lower &= np.abs(rays[1] / ground) < half_width_m
        height = mount.height_m
        inverse = np.where(lower, ground * height / (height + below_m), ground)
        return np.where(inverse > 1e-3, 1 / inverse, np.inf).astype(np.float32)


@pytest.mark.parametrize('depth_m', [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize('roll', [0.0, 0.15])
@pytest.mark.parametrize('pitch', [-0.05, 0.1, 0.3])
def test_a_box_is_found_where_it_is(depth_m, pitch, roll):
    pose = Pose(z_m=0.3, pitch_rad=pitch, roll_rad=roll)
    found = seen(Box(depth_m + 0.1, 0.05, 0.2, 0.3, 0.5), pose=pose)
    x, y, z = found.nearest
    assert x == found.nearest_range_m == pytest.approx(depth_m, rel=0.02)
    assert y == pytest.approx(0.05, abs=0.08)
    assert 0.05 < z < 0.5
    inside = found.points[found.mask]
    assert np.quantile(inside[:, 0], 0.02) == pytest.approx(depth_m, rel=0.02)
    assert inside[:, 2].min() > 0.04
    assert not found.drop.any()


def test_an_empty_floor_has_none():
    found = seen()
    assert not found.mask.any()
    assert found.nearest is None
    assert found.nearest_range_m == math.inf
    below = MOUNT.descent(GRID) > 0.02
    assert found.floor[below].mean() > 0.99
    assert not found.floor[MOUNT.descent(GRID) <= 0].any()
    np.testing.assert_allclose(found.height_m[below], 0, atol=2e-3)


def test_height_above_the_floor_is_per_pixel():
    found = seen(Box(1.6, 0.0, 0.2, 0.3, 0.4))
    front = np.abs(found.points[..., 0] - 1.5) < 0.01
    assert found.height_m[front].max() == pytest.approx(0.4, abs=0.02)
    np.testing.assert_allclose(found.height_m[front], found.points[front][:, 2], atol=1e-5)


@pytest.mark.parametrize(
    ('low', 'high', 'counts'),
    [(0.0, 0.03, False), (0.0, 0.12, True), (1.1, 0.5, False), (0.4, 0.5, True)],
    ids=['cable', 'shoe', 'table top', 'shelf'],
)
def test_what_is_driven_over_or_under_is_none(low, high, counts):
    found = seen(Box(1.6, 0.0, 0.2, 0.4, high, bottom_m=low))
    assert found.mask.any() == counts
    assert (found.nearest is not None) == counts


def test_only_the_corridor_counts_for_the_nearest():
    beside, ahead = Cylinder(0.9, 0.4, 0.1, 0.5), Cylinder(2.1, 0.0, 0.1, 0.5)
    found = seen(beside, ahead)
    assert found.nearest_range_m == pytest.approx(2.0, rel=0.02)
    wide = seen(beside, ahead, options=dataclasses.replace(OPTIONS, robot_width=0.9))
    assert wide.nearest_range_m == pytest.approx(0.85, abs=0.08)
    assert wide.nearest[1] == pytest.approx(0.4, abs=0.1)  # to the left


def test_beyond_the_range_nothing_counts():
    assert not seen(Box(2.6, 0.0, 0.2, 0.3, 0.5), max_range_m=2.0).mask.any()
    assert seen(Box(1.6, 0.0, 0.2, 0.3, 0.5), max_range_m=2.0).mask.any()


@pytest.mark.parametrize('edge_m', [0.7, 1.0, 1.5])
@pytest.mark.parametrize('below_m', [0.15, 1.0, math.inf])
def test_a_cliff_is_an_obstacle_at_its_edge(edge_m, below_m):
    if below_m == math.inf:  # nothing is seen of what is below
        depth = drop_depth(edge_m, 1.0)
        depth[~np.isclose(depth, drop_depth(math.inf, 1.0))] = math.inf
    else:
        depth = drop_depth(edge_m, below_m)
    found = find_obstacles(depth, GRID, MOUNT, OPTIONS)
    assert found.drop.any()
    assert found.nearest_range_m == pytest.approx(edge_m, rel=0.04)
    assert found.nearest[2] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize('noise', [0.0, 0.02])
@pytest.mark.parametrize('edge_m', [1.8, 3.0])
@pytest.mark.parametrize(
    ('height_m', 'pitch', 'below_m'), [(0.3, 0.1, 0.12), (0.6, 0.2, 0.17), (0.9, 0.25, 0.25)]
)
def test_of_a_high_camera_a_lower_floor_is_not_the_noise_of_the_floor(
    height_m, pitch, below_m, edge_m, noise
):
    """A step down of a stair is a sixth of the height of a lens 0.9 m above the floor."""
    mount = CameraMount(height_m, pitch)
    inverse = 1 / drop_depth(edge_m, below_m, mount=mount)
    bumps = np.random.default_rng(1).standard_normal((8, 11))
    inverse *= 1 + noise * cv2.resize(bumps, (256, 192), interpolation=cv2.INTER_CUBIC)
    inverse = inverse.astype(np.float32)
    scale = ScaleShift(1.0, 0.0, 'odometry', residual=0.02)
    found = MetricDepth().update(0.0, inverse, GRID, mount, scale, MetricOptions()).obstacles
    beams = Beams(GRID, mount, angle_min=-0.2, angle_max=0.2, angle_increment=0.1)
    scan = beams.scan(found, range_min=0.1, range_max=6.0)
    assert np.nanmax(scan.seen_free * np.cos(np.linspace(-0.2, 0.2, 5))) < 1.06 * edge_m
    if edge_m < MAX_DROP_RANGE_M:
        assert found.nearest_range_m == pytest.approx(edge_m, rel=0.06)


def test_a_hole_is_one_and_a_shallow_step_is_none():
    hole = find_obstacles(drop_depth(1.0, 0.5, half_width_m=0.15), GRID, MOUNT, OPTIONS)
    assert hole.nearest_range_m == pytest.approx(1.0, rel=0.04)
    shallow = find_obstacles(drop_depth(1.0, 0.04), GRID, MOUNT, OPTIONS)
    assert not shallow.mask.any()
    without = dataclasses.replace(OPTIONS, max_drop=5.0)
    assert not find_obstacles(drop_depth(1.0, 0.5), GRID, MOUNT, without).mask.any()


def test_a_cliff_is_found_from_relative_depth_too():
    exact = drop_depth(0.9, 0.5, half_width_m=0.4)
    rng = np.random.default_rng(0)
    inverse = np.where(np.isfinite(exact), 1 / exact, 0)
    inverse *= 1 + 0.02 * rng.standard_normal((192, 256))
    d = ((inverse + 0.4) / 7).astype(np.float32)
    scale = fit_ground_plane(d, GRID, MOUNT)
    depth = scale.depth(d, min_depth_m=0, beyond=math.inf)
    found = find_obstacles(depth, GRID, MOUNT, OPTIONS, residual=scale.residual)
    assert found.drop.any()
    assert found.nearest_range_m == pytest.approx(0.9, rel=0.05)


@pytest.mark.parametrize('noise', [0.0, 0.02])
def test_before_random_cliffs_the_edge_is_found_or_the_scale_refused(noise):
    rng = np.random.default_rng(30)
    found = 0
    for _ in range(60):
        view, edge = cliff_view(rng)
        d, _, _ = disturbed(view, rng, noise=noise)
        grid = view.camera.normalised_grid()
        mount = CameraMount(view.pose.z_m, view.pose.pitch_rad, view.pose.roll_rad)
        scale = fit_ground_plane(d, grid, mount)
        if isinstance(scale, Refusal) or edge > 0.85 * MAX_DROP_RANGE_M:
            continue
        depth = scale.depth(d, min_depth_m=0, beyond=math.inf)
        obstacles = find_obstacles(depth, grid, mount, OPTIONS, residual=scale.residual)
        assert obstacles.nearest_range_m == pytest.approx(edge, rel=0.08)
        found += 1
    assert found > 15


def test_specks_do_not_count_and_things_do():
    depth = render(Scene(room=HALL), CAMERA, POSE).depth_z
    rng = np.random.default_rng(0)
    depth[rng.integers(0, 192, 60), rng.integers(0, 256, 60)] = 0.6
    depth[120:123, 100:104] = 0.6
    assert not find_obstacles(depth, GRID, MOUNT, OPTIONS).mask.any()
    depth[112:122, 124:134] = 0.6
    found = find_obstacles(depth, GRID, MOUNT, OPTIONS)
    assert found.nearest_range_m == pytest.approx(0.6, rel=0.05)


def test_what_is_unknown_is_neither_floor_nor_obstacle():
    depth = render(Scene(room=HALL), CAMERA, POSE).depth_z
    depth[:, :100] = np.nan
    found = find_obstacles(depth, GRID, MOUNT, OPTIONS)
    assert not found.mask.any()
    assert not found.floor[:, :99].any()
    assert np.isnan(found.height_m[:, :99]).all()
    assert np.isnan(found.points[:, :99]).all()


def bumpy(share, *solids):
    """Return obstacles seen from 0.8 m in depth with a smooth error of `share` of 1/Z."""
    pose = Pose(z_m=0.8, pitch_rad=0.2)
    depth = render(Scene(room=HALL, solids=solids), CAMERA, pose).depth_z
    wave = np.sin(np.arange(256) / 20)[None, :] * np.sin(np.arange(192) / 15)[:, None]
    depth = (depth / (1 + share * wave)).astype(np.float32)
    return find_obstacles(depth, GRID, CameraMount(0.8, 0.2), OPTIONS)


def test_a_floor_that_is_uneven_all_over_is_not_taken_for_obstacles():
    found = bumpy(0.08)
    assert (found.height_m > OPTIONS.min_height).sum() > 100  # by height alone it would be
    assert not found.mask.any()
    tall = bumpy(0.08, Box(2.1, 0.0, 0.2, 0.4, 0.5))
    assert tall.nearest_range_m == pytest.approx(2.0, rel=0.1)


def test_what_the_fit_cannot_tell_from_floor_is_floor():
    depth = render(Scene(room=HALL, solids=(Box(3.1, 0.0, 0.2, 0.5, 0.1),)), CAMERA, POSE).depth_z
    assert find_obstacles(depth, GRID, MOUNT, OPTIONS).mask.any()
    assert not find_obstacles(depth, GRID, MOUNT, OPTIONS, residual=0.2).mask.any()


def test_how_widely_the_points_of_a_sensor_scatter_hides_no_obstacle():
    """A lidar sees a door post 0.3 m away on either side, and not the sill 2 m ahead."""
    camera = CameraModel.from_field_of_view(256, 192, math.radians(100))
    posts = Box(0.45, 0.42, 0.6, 0.3, 0.8), Box(0.45, -0.42, 0.6, 0.3, 0.8)
    scene = Scene(room=Room(-3, 4, -3, 3), solids=(*posts, Box(2.0, 0.0, 0.3, 6.0, 0.08)))
    depth = render(scene, camera, POSE).depth_z.astype(np.float64)
    wavy = 1 + 0.08 * np.sin(np.arange(256) / 6)  # a network is off where it is near
    d = np.where(depth < 0.8, wavy / depth, 1 / depth).astype(np.float32)
    lidar = np.arange(0, 256, 2), np.full(128, 92)
    scale = fit_reference(d, ReferencePoints.of(*lidar, depth[lidar[::-1]]))
    assert scale.residual > 0.12
    grid = camera.normalised_grid()
    found = MetricDepth().update(0.0, d, grid, MOUNT, scale, MetricOptions()).obstacles
    assert found.nearest_range_m == pytest.approx(1.9, rel=0.05)


@pytest.mark.parametrize('source', ['reference', 'marker', 'odometry', 'odometry+marker'])
def test_whatever_gives_the_scale_a_low_box_is_one(source):
    depth = render(Scene(room=HALL, solids=(Box(1.5, 0.0, 0.3, 2.0, 0.07),)), CAMERA, POSE).depth_z
    scale = ScaleShift(1.0, 0.0, source, residual=0.3, points=3)
    found = MetricDepth().update(0.0, 1 / depth, GRID, MOUNT, scale, MetricOptions()).obstacles
    assert found.nearest_range_m == pytest.approx(1.35, rel=0.03)


@pytest.mark.parametrize('noise', [0.0, 0.02])
def test_in_random_rooms_the_nearest_is_within_5_percent(noise):
    rng = np.random.default_rng(20 + round(100 * noise))
    errors = []
    for _ in range(150):
        view = room_view(rng)
        d, _, _ = disturbed(view, rng, noise=noise, outliers=0.01 if noise else 0)
        mount = CameraMount(view.pose.z_m, view.pose.pitch_rad, view.pose.roll_rad)
        grid = view.camera.normalised_grid()
        scale = fit_ground_plane(d, grid, mount)
        # Of what shows so few pixels that noise decides either is right.
        trues = np.array([
            nearest_ahead(view, OPTIONS.robot_width, (0.05, 0.6), times * OPTIONS.min_pixels)
            for times in (2, 1)
        ])  # fmt: skip
        if isinstance(scale, Refusal) or not 0.5 <= trues[0] <= 4:
            continue
        depth = scale.depth(d, min_depth_m=0, beyond=math.inf)
        found = find_obstacles(depth, grid, mount, OPTIONS, residual=scale.residual)
        errors.append(np.abs(found.nearest_range_m / trues - 1).min())
    assert len(errors) > 60
    # The rules for what is too small to count differ a little; one sliver falls between them.
    assert np.count_nonzero(np.array(errors) > 0.05) <= 1
    assert np.median(errors) < 0.02


def test_persistence_drops_what_flashes_up_and_keeps_what_stays():
    empty, near = seen(), seen(Box(1.1, 0.0, 0.2, 0.3, 0.5))
    moved = seen(Box(1.0, 0.02, 0.2, 0.3, 0.5))
    memory = ObstacleMemory(dataclasses.replace(OPTIONS, persistence=2))
    assert memory.update(0.0, empty).nearest is None
    flash = memory.update(0.1, near)
    assert flash.nearest is None
    assert not flash.mask.any()
    assert memory.update(0.2, moved).nearest_range_m == pytest.approx(0.9, rel=0.03)
    assert memory.update(0.3, empty).nearest is None


def test_what_is_dropped_is_neither_floor_nor_obstacle():
    empty, near = seen(), seen(Box(1.1, 0.0, 0.2, 0.3, 0.5))
    memory = ObstacleMemory(dataclasses.replace(OPTIONS, persistence=2))
    assert not memory.update(0.0, empty).dropped.any()
    flash = memory.update(0.1, near)
    np.testing.assert_array_equal(flash.dropped, near.mask)
    assert not (flash.floor & near.mask).any()
    speck = seen(
        Cylinder(1.0, 0.0, 0.02, 0.5), options=dataclasses.replace(OPTIONS, min_pixels=999)
    )
    assert speck.dropped.sum() > 50
    assert not (speck.floor & speck.dropped).any()


@pytest.mark.sampled
@pytest.mark.parametrize('rate_hz', [5.0, 10.0])
@pytest.mark.parametrize(('thick_m', 'turn_rad_s'), [(0.05, 0.5), (0.1, 0.9), (0.03, 1.4)])
def test_while_the_camera_turns_a_pole_goes_on_counting(rate_hz, thick_m, turn_rad_s):
    pole = Cylinder(1.0 + thick_m / 2, 0.0, thick_m / 2, 1.0)
    memory, frames, in_view = ObstacleMemory(OPTIONS), 0, True
    for frame in range(-8, 9):
        pose = dataclasses.replace(POSE, yaw_rad=frame * turn_rad_s / rate_hz)
        now = seen(pole, pose=pose)
        kept = memory.update(frame / rate_hz, now, pixel_rad=pixel_angle(GRID))
        if in_view:
            np.testing.assert_array_equal(kept.mask, now.mask)
            frames += bool(now.mask.any())
        np.testing.assert_array_equal(kept.mask | kept.dropped, now.mask | now.dropped)
        in_view = bool(now.mask.any())
    assert frames >= 3


def test_the_first_frame_counts_and_so_does_one_after_a_gap_or_a_jump_back():
    empty, near = seen(), seen(Box(1.1, 0.0, 0.2, 0.3, 0.5))
    memory = ObstacleMemory(dataclasses.replace(OPTIONS, persistence=3))
    assert memory.update(0.0, near).nearest is not None
    memory.update(0.1, empty)
    assert memory.update(5.0, near).nearest is not None
    memory.update(5.1, empty)
    assert memory.update(1.0, near).nearest is not None
    one = ObstacleMemory(dataclasses.replace(OPTIONS, persistence=1))
    one.update(0.0, empty)
    assert one.update(0.1, near).nearest is not None


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'min_height': 1.2}, r'min_height 1\.2 m is not below .*max_height 1 m'),
        ({'min_height': 0.0}, 'min_height: 0.0 is below the minimum'),
        ({'max_drop': -0.1}, 'max_drop: -0.1 is below'),
        ({'robot_width': math.nan}, 'robot_width: NaN'),
        ({'min_pixels': 0}, 'min_pixels: 0 is below'),
        ({'persistence': 0}, 'persistence: 0 is below'),
        ({'max_turn_rate': -1.0}, 'max_turn_rate: -1.0 is below'),
    ],
)
def test_options_that_contradict_are_refused(change, words):
    with pytest.raises(OptionFault, match=words):
        dataclasses.replace(OPTIONS, **change)


def test_a_cloud_lies_where_the_depth_says():
    depth = render(Scene(room=HALL), CAMERA, POSE).depth_z
    depth[0, 0], depth[0, 1], depth[0, 2] = np.nan, np.inf, -1.0
    cloud = point_cloud(depth, GRID)
    assert (cloud.shape, cloud.dtype) == ((192, 256, 3), np.float32)
    assert np.isnan(cloud[0, :3]).all()
    np.testing.assert_array_equal(cloud[1:, :, 2], depth[1:])
    column = cloud[1:, :, 0] / cloud[1:, :, 2] * CAMERA.fx + CAMERA.cx
    np.testing.assert_allclose(column, np.tile(np.arange(256), (191, 1)), atol=1e-2)
    in_body = cloud[150, 128] @ MOUNT.body_axes().T
    assert in_body[2] == pytest.approx(-0.3, abs=1e-3)  # the floor, below the camera


def fisheye(width, height, fov_deg, *distortion):
    focal = width / 2 / math.radians(fov_deg / 2)
    centre = (width - 1) / 2, (height - 1) / 2
    distortion = distortion or (0.0,) * 4
    return CameraModel(width, height, focal, focal, *centre, 'equidistant', distortion)


@pytest.mark.parametrize(
    ('camera', 'mount'),
    [
        (fisheye(256, 256, 200), CameraMount(0.3, 0.3)),
        (fisheye(256, 192, 170), CameraMount(0.3, 0.2)),
        (fisheye(256, 192, 160, -0.08, 0.0, 0.0, 0.0), CameraMount(0.3, 0.1)),
    ],
    ids=['200 degrees', '170 degrees', 'rays without an inverse'],
)
def test_the_rim_of_a_fisheyes_circle_is_no_hole(camera, mount):
    grid = camera.normalised_grid()
    with np.errstate(all='ignore'):
        depth = 1 / np.maximum(mount.ground_inverse_depth(grid), 0)
    depth[~np.isfinite(grid[0])] = np.nan
    found = find_obstacles(depth.astype(np.float32), grid, mount)
    assert not found.mask.any()
    assert found.dropped.sum() < 10  # of the outermost pixels


def test_what_stands_in_columns_with_pixels_without_a_ray_is_moved_to_its_foot_too():
    camera = CameraModel(256, 192, 90.0, 90.0, 127.5, 95.5, 'equidistant', (-0.08, 0.0, 0.0, 0.0))
    mount, grid = CameraMount(0.3, 0.1), camera.normalised_grid()
    blank = ~np.isfinite(grid[0])
    ground = mount.ground_inverse_depth(grid)
    with np.errstate(all='ignore'):
        wall = rays_ahead(grid, mount) / 1.5
        depth = 1 / np.where(wall > np.maximum(ground, 0), 0.85 * wall, 0.97 * ground)
    depth[blank] = np.nan
    found = find_obstacles(depth.astype(np.float32), grid, mount)
    ahead = np.where(found.mask, found.points[..., 0], np.nan)[:, blank.any(axis=0)]
    assert ahead.shape[1] > 50
    # By depth alone it is at 1.76 m, by its foot at 1.55 m.
    assert np.nanmedian(ahead) < 1.75
