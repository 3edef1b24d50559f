"""A camera's pitch, roll and height by the way it drives, whatever its pitch is thought to be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    BodyPose,
    CameraModel,
    CameraMount,
    DrivenMount,
    MotionReset,
    Refusal,
    body_from_optical,
    camera_pose,
    pitch_contradiction,
)
from midas_depth_ros.geometry.parallax import Heading
from midas_depth_ros.images.message_bytes import grey_reduced
from midas_depth_ros.sim import Box, Material, Pose, Rendering, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(320, 240, 1.2)
GRID = CAMERA.normalised_grid()
PITCH_RAD, HEIGHT_M, STEP_M = 0.16, 0.35, 0.05
SCENE = Scene(
    Material((0.6, 0.58, 0.5), 'tiles', (0.5, 1.0)),
    Room(-2.0, 7.0, -1.8, 1.8, 2.5, Material((0.6, 0.6, 0.55), 'bricks', (0.4, 0.9))),
    tuple(
        Box(x, y, 0.35, 0.35, 0.5, 0.3, material=Material((0.78, 0.58, 0.37), 'carton', (0.3, 0.8)))
        for x, y in ((2.0, 0.7), (2.6, -0.8), (3.3, 0.3), (1.5, -1.2), (4.2, 1.0))
    ),
)


@pytest.fixture(scope='module')
def drive() -> list[Rendering]:
    """Two metres straight on."""
    return [
        render(SCENE, CAMERA, Pose(STEP_M * i, 0.0, HEIGHT_M, 0.0, PITCH_RAD)) for i in range(41)
    ]


def driven(pictures, pitch_rad=math.nan, wheels=1.0, before=lambda number: None) -> DrivenMount:
    """What is known after these pictures; wheels: how far they say, by how far it was."""
    mount = DrivenMount(pitch_rad)
    for number, seen in enumerate(pictures):
        lens = body_from_optical(CameraMount(1.0, mount.assumed_pitch_rad), 0.0, 0.0, 0.0)
        pose = camera_pose(BodyPose.of((STEP_M * number * wheels, 0, 0), (0, 0, 0, 1)), lens)
        d = ((1 / seen.depth_z - 0.05) / 0.8).astype(np.float32)
        pose = before(number) or pose
        mount.add(number / 10, grey_reduced(seen.rgb, 320), d, GRID, CAMERA, pose)
        if mount.done:
            break
    return mount


@pytest.mark.parametrize('pitch_rad', [math.nan, PITCH_RAD, 0.0, 0.3, -0.2, 0.6])
def test_what_it_is_thought_to_be_does_not_matter(drive, pitch_rad):
    mount = driven(drive, pitch_rad)
    assert mount.done
    found = mount.estimate()
    assert found.heading.pitch_rad == pytest.approx(PITCH_RAD, abs=0.012)
    assert found.heading.yaw_rad == pytest.approx(0.0, abs=0.015)
    assert not found.contradiction
    middle, _ = found.floor
    assert middle.height_m == pytest.approx(HEIGHT_M, rel=0.06)
    assert middle.roll_rad == pytest.approx(0.0, abs=0.01)


def test_a_slip_scales_the_height_and_leaves_the_angles(drive):
    found = driven(drive, PITCH_RAD, wheels=1.2).estimate()
    assert found.heading.pitch_rad == pytest.approx(PITCH_RAD, abs=0.012)
    assert found.floor[0].height_m == pytest.approx(1.2 * HEIGHT_M, rel=0.06)


def test_a_robot_that_stands_does_not_drive(drive):
    mount = driven(drive[:1] * 20, wheels=0.0)
    assert not mount.drives
    assert not mount.done
    assert isinstance(mount.estimate(), Refusal)


def test_without_a_pose_nothing_is_known_and_the_reason_is(drive):
    mount = driven(drive[:10], before=lambda number: Refusal('no odometry from odom'))
    assert mount.estimate() == Refusal('no odometry from odom')


def test_an_odometry_that_begins_anew_is_bridged(drive):
    def anew(number):
        return MotionReset('jumped') if number == 8 else None

    found = driven(drive, PITCH_RAD, before=anew).estimate()
    assert found.heading.pitch_rad == pytest.approx(PITCH_RAD, abs=0.012)


def test_a_pitch_is_refuted_beyond_its_certainty_only():
    heading = Heading(0.10, 0.0, 0.004)
    assert not pitch_contradiction(heading, 0.10)
    assert not pitch_contradiction(heading, 0.115)  # less than a degree
    assert 'looks down by 0.100 rad (+- 0.004), not 0.130' in pitch_contradiction(heading, 0.13)
    assert not pitch_contradiction(Heading(0.10, 0.0, 0.02), 0.13)
