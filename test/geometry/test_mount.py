"""The mount's frames agree with the renderer's, and invalid values are rejected."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraMount, MountError
from midas_depth_ros.sim import Pose, Scene, render

ANGLES = [(0.0, 0.0), (0.2, 0.0), (-0.1, 0.15), (0.35, -0.3)]


@pytest.mark.parametrize(('pitch', 'roll'), ANGLES)
def test_the_floor_is_where_the_renderer_puts_it(pitch, roll):
    camera = CameraModel.from_field_of_view(128, 96, math.radians(75))
    seen = render(Scene(), camera, Pose(z_m=0.4, pitch_rad=pitch, roll_rad=roll))
    mount = CameraMount(0.4, pitch, roll)
    ground = mount.ground_inverse_depth(camera.normalised_grid())
    assert seen.floor_mask.mean() > 0.3
    inverse = 1 / seen.depth_z[seen.floor_mask]
    np.testing.assert_allclose(ground[seen.floor_mask], inverse, rtol=2e-3, atol=1e-5)
    assert (ground[~seen.floor_mask] <= 1e-6).all()


@pytest.mark.parametrize(('pitch', 'roll'), ANGLES)
def test_its_axes_are_those_of_a_body_frame(pitch, roll):
    mount = CameraMount(0.4, pitch, roll)
    np.testing.assert_allclose(
        mount.body_axes(), Pose(pitch_rad=pitch, roll_rad=roll).optical_axes, atol=1e-12
    )
    ahead = mount.body_axes() @ np.array([0, 0, 1.0])
    assert ahead[2] == pytest.approx(-math.sin(pitch))  # looks down
    right_side = mount.body_axes() @ np.array([1.0, 0, 0])
    assert math.copysign(1, right_side[2]) == -math.copysign(1, roll) or roll == 0
    assert np.linalg.norm(mount.ground_normal()) == pytest.approx(1)


@pytest.mark.parametrize(
    ('values', 'words'),
    [
        ((0.0, 0.1), 'height is 0.0 m: it must be a positive number; measure'),
        ((-0.3, 0.1), 'height is -0.3'),
        ((math.nan, 0.1), 'height is nan'),
        ((0.3, 10.0), 'pitch_rad is 10.0: .* in radians'),
        ((0.3, math.nan), 'pitch_rad is nan'),
        ((0.3, 0.1, -1.5), 'roll_rad is -1.5'),
    ],
)
def test_what_cannot_be_is_refused(values, words):
    with pytest.raises(MountError, match=words):
        CameraMount(*values)


@pytest.mark.parametrize('yaw', [0.0, 0.6, -1.5])
@pytest.mark.parametrize(('roll', 'pitch'), [(0.0, 0.1), (0.2, -0.15), (-0.3, 0.3)])
def test_untilted_undoes_tilted(roll, pitch, yaw):
    mount = CameraMount(0.3, 0.2, -0.1)
    found = mount.tilted(roll, pitch, yaw).untilted(roll, pitch, yaw)
    assert found.pitch_rad == pytest.approx(mount.pitch_rad, abs=1e-6)
    assert found.roll_rad == pytest.approx(mount.roll_rad, abs=1e-6)
