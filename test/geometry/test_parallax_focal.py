"""A focal length that the pictures contradict: corrected in a hand, never on wheels."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from midas_depth_ros.geometry import ParallaxScale, Refusal
from midas_depth_ros.sim import Pose
from test.geometry.test_parallax import CAMERA, along, driven, factors

WRONG = 0.9  # true by calibrated focal length


def in_a_hand(count: int) -> list[Pose]:
    """Return poses that sway sideways, up and down, and turn about all axes."""
    return [
        Pose(
            0.3 + 0.01 * i,
            0.35 * math.sin(0.21 * i),
            0.6 + 0.12 * math.sin(0.17 * i),
            0.3 * math.sin(0.23 * i + 1),
            0.15 + 0.2 * math.sin(0.19 * i),
            0.15 * math.sin(0.29 * i),
        )
        for i in range(count)
    ]


def calibrated(poses: list[Pose], factor: float):
    """Return what is said of frames whose camera is calibrated `1 / factor` times too long."""
    scale = ParallaxScale()
    told = dataclasses.replace(CAMERA, fx=CAMERA.fx / factor, fy=CAMERA.fy / factor)

    class Wrongly(ParallaxScale):
        def update(self, stamp_s, grey, d, camera, pose, shape='affine'):
            return scale.update(stamp_s, grey, d, told, pose, shape)

    return driven(poses, scale=Wrongly(), dt_s=0.1), scale


def test_a_wrong_focal_length_is_found_and_corrected_in_a_hand():
    found, scale = calibrated(in_a_hand(60), WRONG)
    assert 'corrected' in scale.values()['focal length by motion']
    late = factors(found[40:])
    assert late
    assert abs(np.median(late) - 1) < 0.05


def test_a_right_focal_length_stays():
    found, scale = calibrated(in_a_hand(60), 1.0)
    assert 'corrected' not in scale.values()['focal length by motion']
    assert abs(np.median(factors(found)) - 1) < 0.03
    assert not [fit for fit in found if isinstance(fit, Refusal) and 'focal' in fit.reason]


@pytest.mark.parametrize('turn_rad', [0.1, -0.06])
def test_wheels_whose_turns_are_too_large_correct_nothing(turn_rad):
    scale = ParallaxScale()
    poses = along(24, step_m=0.05, turn_rad=turn_rad)
    told = along(24, step_m=0.05, turn_rad=1.08 * turn_rad)
    by = []
    for pose, other in zip(poses, told, strict=True):
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = other.optical_axes, pose.position
        by.append(matrix)
    driven(poses, told=by, scale=scale)
    assert 'corrected' not in scale.values().get('focal length by motion', '')
