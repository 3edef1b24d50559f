"""Turned pictures: camera, lens, mount and points turn with them, so that rays are unchanged."""

from __future__ import annotations

import math
import types

import numpy as np
import pytest

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MountError,
    roll_pitch_yaw,
    turned,
    turned_axes,
    turned_points,
)
from midas_depth_ros.options.declarations import TURNS

LENSES = {
    '': (),
    'plumb_bob': (-0.3, 0.1, 0.004, -0.007, 0.02),
    'rational_polynomial': (
        *(0.2, -0.1, 0.003, -0.005, 0.01, 0.25, -0.05, 0.02),
        *(0.002, -0.001, -0.004, 0.003),
    ),
    'equidistant': (0.05, -0.01, 0.003, -0.001),
}


def camera(lens: str) -> CameraModel:
    return CameraModel(80, 60, 70.0, 77.0, 36.5, 33.0, lens, LENSES[lens])


def about_z(degrees: int) -> np.ndarray:
    angle = math.radians(degrees)
    cos, sin = math.cos(angle), math.sin(angle)
    return np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])


@pytest.mark.parametrize('lens', LENSES)
@pytest.mark.parametrize('degrees', TURNS)
def test_the_ray_of_every_pixel_is_turned_with_it(lens, degrees):
    made = camera(lens)
    x, y = made.normalised_grid()
    rays = turned(np.stack([x, y, np.ones_like(x)], axis=-1), degrees)
    wanted = rays @ about_z(degrees).T
    other = made.turned(degrees)
    got_x, got_y = other.normalised_grid()
    assert (other.height, other.width) == got_x.shape == turned(x, degrees).shape
    np.testing.assert_allclose(got_x, wanted[..., 0], atol=2e-6)
    np.testing.assert_allclose(got_y, wanted[..., 1], atol=2e-6)
    back = other.turned(-degrees % 360)
    for field in ('width', 'height', 'fx', 'fy', 'cx', 'cy', 'distortion'):
        assert getattr(back, field) == pytest.approx(getattr(made, field)), field


@pytest.mark.parametrize('degrees', TURNS)
def test_region_and_binning_come_before_the_turn(degrees):
    """They are those of the sensor, so the picture is cropped and binned first."""
    roi = types.SimpleNamespace(x_offset=8, y_offset=4, width=40, height=32)
    info = types.SimpleNamespace(
        width=80, height=60, k=[70.0, 0, 36.5, 0, 77.0, 33.0, 0, 0, 1], d=[], p=[0.0] * 12,
        distortion_model='', roi=roi, binning_x=2, binning_y=2,
    )  # fmt: skip
    made = CameraModel.from_camera_info(info).turned(degrees)
    size = (16, 20) if degrees in (90, 270) else (20, 16)
    assert (made.width, made.height) == size
    whole = CameraModel(80, 60, 70.0, 77.0, 36.5, 33.0).normalised_grid()[0]
    part = whole[4:36, 8:48].reshape(16, 2, 20, 2).mean(axis=(1, 3))
    x, y = made.normalised_grid()
    seen = {0: x, 90: y, 180: -x, 270: -y}[degrees]  # the camera's own x
    np.testing.assert_allclose(turned(seen, -degrees % 360), part, atol=1e-6)


def test_clockwise_is_clockwise():
    picture = np.array([[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(turned(picture, 90), [[4, 1], [5, 2], [6, 3]])
    np.testing.assert_array_equal(turned(picture, 180), [[6, 5, 4], [3, 2, 1]])
    np.testing.assert_array_equal(turned(picture, 270), [[3, 6], [2, 5], [1, 4]])
    assert turned(picture, 0) is picture
    assert turned(np.zeros((4, 6, 3)), 90).flags.c_contiguous


@pytest.mark.parametrize('degrees', TURNS)
def test_points_and_axes_tell_of_the_same_places(degrees):
    points = np.random.default_rng(0).normal(size=(4, 6, 3)).astype(np.float32)
    body_axes = CameraMount(0.3, 0.2, -0.1).body_axes()
    places = turned(points @ body_axes.T, degrees)
    other = turned_points(points, degrees)
    assert other.dtype == np.float32
    np.testing.assert_allclose(other @ turned_axes(body_axes, degrees).T, places, atol=1e-6)
    np.testing.assert_array_equal(turned_points(other, -degrees % 360), points)


@pytest.mark.parametrize('degrees', TURNS[1:])
@pytest.mark.parametrize('pitch', [0.0, 0.2])
def test_a_mount_from_axes_names_the_turn_that_it_lacks(degrees, pitch):
    """As from TF, for a camera that is mounted so."""
    upright = CameraMount(0.3, pitch, 0.05).body_axes()
    mounted = turned_axes(upright, -degrees % 360)
    with pytest.raises(MountError, match=rf'increase parameter rotate by {degrees} degrees'):
        CameraMount.from_axes(mounted, 0.3)
    found = CameraMount.from_axes(turned_axes(mounted, degrees), 0.3)
    assert (found.pitch_rad, found.roll_rad) == pytest.approx((pitch, 0.05))
    # The remedy of one that is turned too far names how much is left, too.
    with pytest.raises(MountError, match=rf'rotate by {-degrees % 360} degrees'):
        CameraMount.from_axes(turned_axes(upright, degrees), 0.3)


def test_only_a_roll_is_mended_by_turning_pictures():
    with pytest.raises(MountError, match=r'in radians; if it is mounted so.* 180 degrees'):
        CameraMount(0.3, 0.1, math.pi)
    for pitch, roll in ((3.14, 0.0), (0.1, math.nan), (0.1, 1e300), (0.1, math.tau)):
        with pytest.raises(MountError, match=r'radians$'):
            CameraMount(0.3, pitch, roll)


@pytest.mark.parametrize('degrees', TURNS)
@pytest.mark.parametrize('pitch', [0.0, -0.3, 0.25])
def test_the_angles_of_a_transform_are_those_of_the_axes(degrees, pitch):
    axes = turned_axes(CameraMount(0.3, pitch).body_axes(), degrees)
    roll, tilt, yaw = roll_pitch_yaw(axes)
    about_x = about_z_as(roll, (1, 2, 0))
    about_y = about_z_as(tilt, (2, 0, 1))
    made = about_z_as(yaw, (0, 1, 2)) @ about_y @ about_x
    np.testing.assert_allclose(made, axes, atol=1e-9)


def about_z_as(angle: float, order: tuple[int, int, int]) -> np.ndarray:
    """A turn about the last of three axes, from the first to the second."""
    result = np.zeros((3, 3))
    result[np.ix_(order, order)] = np.array(
        [
            [math.cos(angle), -math.sin(angle), 0],
            [math.sin(angle), math.cos(angle), 0],
            [0, 0, 1],
        ]
    )
    return result
