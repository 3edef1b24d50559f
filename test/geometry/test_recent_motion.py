"""Wheels that spin, pictures that freeze: never metres by a way that the pictures have not gone."""

from __future__ import annotations

import functools
import math

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, ParallaxScale, Refusal, ScaleShift
from midas_depth_ros.sim import Box, Material, Pose, Rendering, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(320, 240, 1.2)
PITCH_RAD, STEP_M = 0.12, 0.04
WALL = Material((0.6, 0.6, 0.55), 'bricks', (0.4, 0.9))
SCENE = Scene(
    Material((0.6, 0.58, 0.5), 'tiles', (0.5, 1.0)),
    Room(-2.0, 6.0, -1.8, 1.8, 2.5, walls=WALL),
    tuple(
        Box(x, y, 0.35, 0.35, height, 0.3, material=Material((0.8, 0.6, 0.4), 'carton', (0.3, 0.8)))
        for x, y, height in ((2.0, 0.7, 0.5), (2.6, -0.8, 0.4), (3.3, 0.2, 0.6), (1.4, -1.2, 0.3))
    ),
)


@functools.cache
def seen(x_m: float, yaw_rad: float = 0.0) -> Rendering:
    return render(SCENE, CAMERA, Pose(x_m, 0.0, 0.3, yaw_rad, PITCH_RAD))


def pose(x_m: float, yaw_rad: float = 0.0) -> np.ndarray:
    made = np.eye(4)
    there = Pose(x_m, 0.0, 0.3, yaw_rad, PITCH_RAD)
    made[:3, :3], made[:3, 3] = there.optical_axes, there.position
    return made


def drive(true_m, said_m, yaw_rad=None, blind=np.s_[:0]) -> list[ScaleShift | Refusal]:
    """The scale of each picture, taken at true_m, where odometry says said_m."""
    scale, made = ParallaxScale(), []
    turns = [0.0] * len(true_m) if yaw_rad is None else yaw_rad
    for number, (x_m, said, turn) in enumerate(zip(true_m, said_m, turns, strict=True)):
        view = seen(round(float(x_m), 6), round(float(turn), 6))
        grey = cv2.cvtColor(view.rgb, cv2.COLOR_RGB2GRAY)
        d = (1 / view.depth_z).astype(np.float32)
        d[blind] = np.nan
        made.append(scale.update(0.1 * number, grey, d, CAMERA, pose(float(said), float(turn))))
    return made


def factors(made) -> np.ndarray:
    """Metres by true metres, of the accepted; d is 1/Z."""
    return np.array([1 / each.scale for each in made if isinstance(each, ScaleShift)])


STEPS = np.arange(30)
WAY = STEP_M * STEPS


def test_a_robot_that_drives_is_not_refused():
    made = drive(WAY, WAY)
    assert len(factors(made)) > 20
    assert np.abs(factors(made) - 1).max() < 0.12


def test_one_that_drives_along_an_arc_is_not_refused():
    turns = 0.02 * STEPS
    made = drive(WAY, WAY, turns)
    assert sum(isinstance(each, ScaleShift) for each in made) > 15
    assert not any(isinstance(each, Refusal) and 'wheels slip' in each.reason for each in made)


def test_a_part_of_the_picture_may_be_unknown():
    made = drive(WAY, WAY, blind=np.s_[:, :120])
    assert len(factors(made)) > 15
    assert np.abs(factors(made) - 1).max() < 0.15


def test_pictures_that_freeze_while_the_wheels_turn_give_no_metres():
    """A robot against an obstacle that it does not see: everything would seem ever farther away."""
    made = drive(np.minimum(WAY, WAY[12]), WAY)
    assert factors(made).max() < 1.2
    assert not any(isinstance(each, ScaleShift) for each in made[16:])
    assert any(isinstance(each, Refusal) and 'wheels slip' in each.reason for each in made)


def test_wheels_that_spun_before_the_robot_drove_are_forgotten():
    """Over the whole way everything is thirteen times as far away."""
    made = drive(np.maximum(WAY - WAY[12], 0), WAY)
    assert len(factors(made)) > 3
    assert np.abs(factors(made) - 1).max() < 0.15


@pytest.mark.parametrize('share', [0.0, 0.3])
def test_wheels_that_spin_for_a_while(share):
    """And grip again."""
    speed = np.where((STEPS > 10) & (STEPS <= 16), share, 1.0)
    made = drive(STEP_M * np.cumsum(speed), WAY)
    off = factors(made)
    assert len(off) > 6
    assert np.abs(np.log(off)).max() < math.log(1.45)
    assert np.median(off) == pytest.approx(1, abs=0.1)
