"""A lower floor ahead moves less in the picture than the floor at the robot's feet."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraMount, FloorMotion
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, render

HEIGHT_M, PITCH_RAD, STEP_M = 0.3, 0.25, 0.08
CAMERA = CameraModel.from_field_of_view(320, 240, 1.6)
MOUNT = CameraMount(HEIGHT_M, PITCH_RAD)
FLOOR = Material((0.62, 0.6, 0.58), 'tiles', (0.6, 0.6))
CONCRETE = Material((0.66, 0.64, 0.60), 'plain', (0.9, 0.9))
ROOM = Room(-4.0, 4.0, -2.0, 2.0, 2.5)
CARTON = Box(1.2, 0.1, 0.4, 0.5, 0.3, 0.2, material=FLOOR)


def platform(height_m: float) -> Box:
    """Behind the robot up to x = 0, where its edge is."""
    return Box(-2.0, 0.0, 4.0, 4.0, height_m, 0.0, material=CONCRETE)


def picture(
    scene: Scene, x_m: float, up_m: float = 0.0, yaw_rad: float = 0.0, camera: CameraModel = CAMERA
) -> np.ndarray:
    pose = Pose(x_m, 0.3, up_m + HEIGHT_M, yaw_rad, PITCH_RAD)
    rgb = render(scene, camera, pose).rgb
    return cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)


def drive(
    motion: FloorMotion,
    scene: Scene,
    places,
    up_m: float = 0.0,
    start_s: float = 1.0,
    camera: CameraModel = CAMERA,
):
    """What is found at each place, x or (x, yaw), one every 0.2 s."""
    found = []
    for number, place in enumerate(places):
        x, yaw = place if isinstance(place, tuple) else (place, 0.0)
        grey = picture(scene, x, up_m, yaw, camera)
        found.append(motion.update(start_s + 0.2 * number, grey, camera, MOUNT))
    return found


@pytest.mark.sampled
@pytest.mark.parametrize('fov_deg', [110, 130, 140])
def test_an_edge_is_found_by_a_fisheye_too(fov_deg):
    focal = 160 / math.radians(fov_deg / 2)
    lens = CameraModel(320, 240, focal, focal, 159.5, 119.5, 'equidistant', (0.0,) * 4)
    scene = Scene(FLOOR, ROOM, (platform(0.25),))
    found = drive(FloorMotion(), scene, np.arange(-1.5, -0.35, STEP_M), 0.25, camera=lens)
    assert any(found)
    flat = drive(FloorMotion(), Scene(FLOOR, ROOM), np.arange(-1.5, 0.6, STEP_M), camera=lens)
    assert not any(flat)


@pytest.mark.parametrize('drop_m', [0.15, 0.25])
def test_an_edge_is_found_before_the_robot_is_there_and_held_while_it_stands(drop_m):
    scene, motion = Scene(FLOOR, ROOM, (platform(drop_m),)), FloorMotion()
    found = drive(motion, scene, np.arange(-1.5, -0.35, STEP_M), drop_m)
    assert any(found)
    first = found.index(next(filter(None, found)))
    assert all(found[first:])
    assert 'times as far below the lens as the floor' in found[-1]
    ratio = float(found[-1].split(' times as far')[0].split()[-1])
    assert ratio == pytest.approx((HEIGHT_M + drop_m) / HEIGHT_M, rel=0.25)
    standing = drive(motion, scene, [-0.4] * 10, drop_m, start_s=5.0)
    assert all(standing)
    away = drive(motion, scene, [(-0.4, 0.1 * turn) for turn in range(9)], drop_m, start_s=7.0)
    assert away[1]
    assert not away[-1]


@pytest.mark.parametrize(
    ('solids', 'up_m'),
    [((), 0.0), ((CARTON,), 0.0), ((platform(0.2),), -1.0)],
    ids=['flat', 'carton', 'step up'],
)
def test_a_floor_that_goes_on_and_what_stands_on_it_are_no_edge(solids, up_m):
    scene = Scene(FLOOR, ROOM, solids)
    if up_m:  # the front of the platform, from below
        places = [(x, math.pi) for x in np.arange(1.6, 0.5, -STEP_M)]
    else:
        places = [(x, 0.3 * math.sin(4 * x)) for x in np.arange(-1.5, 0.6, STEP_M)]
    assert not any(drive(FloorMotion(), scene, places))


def test_who_stands_or_sees_no_texture_says_nothing():
    scene = Scene(FLOOR, ROOM, (platform(0.2),))
    assert not any(drive(FloorMotion(), scene, [-0.6] * 6, 0.2))
    motion, grey = FloorMotion(), np.full((240, 320), 128, np.uint8)
    for number in range(5):
        assert motion.update(1.0 + 0.2 * number, grey, CAMERA, MOUNT) == ''
    noise = np.random.default_rng(0)
    for number in range(5):
        grey = noise.integers(0, 255, (240, 320)).astype(np.uint8)
        assert motion.update(3.0 + 0.2 * number, grey, CAMERA, MOUNT) == ''


def test_pictures_that_are_far_apart_or_go_back_in_time_are_not_compared():
    scene = Scene(FLOOR, ROOM, (platform(0.2),))
    places = np.arange(-0.8, -0.4, STEP_M)
    for step_s in (2.0, -0.2):
        motion = FloorMotion()
        for number, x in enumerate(places):
            grey = picture(scene, x, 0.2)
            assert motion.update(100.0 + step_s * number, grey, CAMERA, MOUNT) == ''


def test_a_picture_in_which_nothing_is_found_again_says_nothing_and_harms_nothing():
    """As where a recording changes to another place, or a hand covers the lens."""
    rng = np.random.default_rng(3)
    motion = FloorMotion()
    scene = Scene(FLOOR, ROOM)
    for number in range(12):
        grey = picture(scene, -1.0 + STEP_M * number)
        if number % 3 == 1:
            grey = rng.integers(0, 256, grey.shape, np.uint8)
        if number % 3 == 2:
            grey = np.full_like(grey, 20 * number)
        assert motion.update(1.0 + 0.2 * number, grey, CAMERA, MOUNT) == ''
