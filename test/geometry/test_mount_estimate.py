"""The mount estimated from a flat floor in view: exact with a scale, bounded without."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    MountEstimate,
    Refusal,
    ScaleShift,
    estimate_mount,
    median_estimate,
)
from midas_depth_ros.sim import Box, Pose, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(256, 192, 1.2)
GRID = CAMERA.normalised_grid(256, 192)
ROOM = Room(x_min_m=-2.0, x_max_m=12.0, y_min_m=-2.0, y_max_m=2.0, height_m=2.5)
SCENE = Scene(room=ROOM, solids=(Box(x_m=3, y_m=0.9, length_m=0.5, width_m=0.5, height_m=0.6),))
SCALE = ScaleShift(2.5, -0.2, 'reference')


def seen(pose: Pose) -> np.ndarray:
    inverse = 1 / render(SCENE, CAMERA, pose).depth_z
    return ((inverse - SCALE.shift) / SCALE.scale).astype(np.float32)


@pytest.mark.parametrize('height', [0.2, 0.6, 1.2])
@pytest.mark.parametrize(('pitch', 'roll'), [(0.05, 0.0), (0.2, 0.0), (0.15, 0.08), (0.3, -0.1)])
def test_with_a_scale_the_mount_is_exact(height, pitch, roll):
    found = estimate_mount(seen(Pose(z_m=height, pitch_rad=pitch, roll_rad=roll)), GRID, SCALE)
    assert found.pitch_rad == pytest.approx(pitch, abs=0.01)
    assert found.roll_rad == pytest.approx(roll, abs=0.01)
    assert found.height_m == pytest.approx(height, rel=0.02)


@pytest.mark.parametrize('height', [0.2, 0.6])
def test_without_a_scale_the_pitch_is_too_small_by_what_the_farthest_thing_says(height):
    found = estimate_mount(seen(Pose(z_m=height, pitch_rad=0.15)), GRID)
    assert found.pitch_rad == pytest.approx(0.15 - height / 12, abs=0.01)
    assert math.isnan(found.height_m)


@pytest.mark.parametrize(
    'd', [np.zeros((192, 256), np.float32), np.full((192, 256), np.nan, np.float32)]
)
def test_a_picture_of_nothing_is_refused(d):
    assert isinstance(estimate_mount(d, GRID), Refusal)


def test_the_middle_of_several_frames_ignores_one_that_is_off():
    good = [MountEstimate(0.1 + 0.001 * i, 0.0, math.nan) for i in range(5)]
    middle, stray = median_estimate([*good, MountEstimate(0.9, 0.5, math.nan)])
    assert middle.pitch_rad == pytest.approx(0.1025)
    assert stray.pitch_rad < 0.003
    assert math.isnan(middle.height_m)
