"""The motion of a camera by its pictures: as true as the depth, or refused."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, Refusal
from midas_depth_ros.geometry.flow import PictureMotion
from midas_depth_ros.geometry.rays import Rays, sampled
from midas_depth_ros.sim import Pose, furnished_world

CAMERA = CameraModel.from_field_of_view(256, 192, math.radians(70))
RAYS = Rays().of(CAMERA.normalised_grid(), (192, 256))


def seen(world, pose: Pose) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1/Z, the grey picture and the pose as a matrix."""
    view = world.render(CAMERA, pose)
    made = np.eye(4)
    made[:3, :3], made[:3, 3] = pose.optical_axes, pose.position
    return (1 / view.depth_z).astype('f4'), cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY), made


@pytest.fixture(scope='module')
def world():
    return furnished_world(14)


def moved(world, forward_m: float, turn_rad: float) -> tuple[Pose, Pose]:
    x, y, yaw = world.start
    before = Pose(x, y, 0.3, yaw, 0.2)
    after = Pose(
        x + forward_m * math.cos(yaw), y + forward_m * math.sin(yaw), 0.3, yaw + turn_rad, 0.2
    )
    return before, after


@pytest.mark.parametrize('forward_m', [0.0, 0.08, 0.2])
@pytest.mark.parametrize('turn_rad', [0.0, 0.1, -0.3])
def test_the_motion_is_that_of_the_camera(world, forward_m, turn_rad):
    before, after = (seen(world, pose) for pose in moved(world, forward_m, turn_rad))
    found = PictureMotion().between(after[1], before[1], after[0], RAYS)
    assert not isinstance(found, Refusal)
    step, aside = found.step, found.aside
    true = np.linalg.inv(before[2]) @ after[2]
    assert np.abs(step[:3, 3] - true[:3, 3]).max() < 0.01 + 0.2 * forward_m
    off = cv2.Rodrigues(step[:3, :3] @ true[:3, :3].T)[0]
    assert np.linalg.norm(off) < math.radians(0.3)
    assert aside.mean() < 0.25


@pytest.mark.parametrize('scale', [0.5, 2.0])
def test_the_way_is_in_the_scale_of_the_depth(world, scale):
    before, after = (seen(world, pose) for pose in moved(world, 0.15, 0.0))
    found = PictureMotion().between(after[1], before[1], after[0] * np.float32(scale), RAYS)
    assert not isinstance(found, Refusal)
    assert found.step[2, 3] == pytest.approx(0.15 / scale * math.cos(0.2), rel=0.06)


def test_pictures_of_different_places_have_no_motion(world):
    inverse, grey, _ = seen(world, moved(world, 0.0, 0.0)[0])
    other = furnished_world(13)
    _, there, _ = seen(other, moved(other, 0.0, 0.0)[0])
    noise = np.random.default_rng(3).integers(0, 255, grey.shape, np.uint8)
    for unlike in (there, noise, np.full_like(grey, 90)):
        assert isinstance(PictureMotion().between(grey, unlike, inverse, RAYS), Refusal)


@pytest.mark.parametrize('size', [(128, 96), (640, 480), (1280, 960)])
def test_other_sizes_work(world, size):
    camera = CAMERA.scaled(*size)
    rays = Rays().of(camera.normalised_grid(), size[::-1])
    made = []
    for pose in moved(world, 0.1, 0.05):
        view = world.render(CAMERA, pose)
        grey = cv2.cvtColor(cv2.resize(view.rgb, size), cv2.COLOR_RGB2GRAY)
        made.append(((1 / cv2.resize(view.depth_z, size)).astype('f4'), grey))
    found = PictureMotion().between(made[1][1], made[0][1], made[1][0], rays)
    assert not isinstance(found, Refusal)
    assert found.step[2, 3] == pytest.approx(0.1, abs=0.03)


def test_pixels_outside_of_the_picture_are_unknown():
    values = np.ones((192, 256), np.float32)
    places, seen_there = RAYS.places(values, np.diag([1.0, 1.0, -1.0, 1.0]))
    assert np.isnan(sampled(values, places)).all()  # all of it is behind the other camera
    assert np.isnan(seen_there).all()
