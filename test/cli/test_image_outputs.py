"""Metres of a single picture: against the exact depth of a rendered scene."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import SceneEstimator

from midas_depth_ros.cli.image_outputs import Result, cloud_ply, depth_png
from midas_depth_ros.cli.options import Look, Metres
from midas_depth_ros.geometry import CameraModel, CameraMount, InvalidInverseDepth, ply_bytes
from midas_depth_ros.sim import Box, Pose, Room, Scene, render
from midas_depth_ros.views import HeatmapOptions

FOV_RAD, HEIGHT_M, PITCH_RAD = 1.2, 0.3, 0.1
ROOM = Room(x_min_m=-3.0, x_max_m=9.0, y_min_m=-2.0, y_max_m=2.0, height_m=2.5)
BOX = Box(x_m=1.7, y_m=0.0, length_m=0.4, width_m=0.4, height_m=0.4)
RGB = np.full((192, 256, 3), 120, np.uint8)


@pytest.fixture(scope='module')
def exact() -> np.ndarray:
    """(192, 256) metres: a room with a box."""
    camera = CameraModel.from_field_of_view(256, 192, FOV_RAD)
    pose = Pose(z_m=HEIGHT_M, pitch_rad=PITCH_RAD)
    return render(Scene(room=ROOM, solids=(BOX,)), camera, pose).depth_z


def test_two_measurements_of_the_camera_make_a_cloud_in_metres(exact):
    mount = CameraMount(HEIGHT_M, PITCH_RAD)
    look = Look(HeatmapOptions(), Metres(mount, horizontal_fov_rad=FOV_RAD))
    data = cloud_ply(Result('scene', RGB, SceneEstimator(exact), look))
    header, _, body = data.partition(b'end_header\n')
    assert b'unit: metres, by ground' in header
    z = np.frombuffer(body, np.dtype([('xyz', '<f4', 3), ('rgb', 'u1', 3)]))['xyz'][:, 2]
    known = exact[np.isfinite(exact)]
    assert len(z) == pytest.approx(len(known), rel=0.02)
    np.testing.assert_allclose(
        np.percentile(z, [5, 50, 90]), np.percentile(known, [5, 50, 90]), rtol=0.03
    )


def test_a_flat_picture_has_no_relief_and_no_error():
    flat = SceneEstimator(np.full((32, 32), 2.0, np.float32))
    result = Result('flat', RGB[:64, :64], flat, Look(HeatmapOptions(), Metres()))
    assert depth_png(result).startswith(b'\x89PNG')
    assert b'unit: none' in cloud_ply(result)


def test_unknown_points_are_left_out_and_colours_must_fit():
    points = np.array([[1, 2, 3], [np.nan, 0, 0], [4, 5, np.inf]], np.float32)
    colours = np.arange(9, dtype=np.uint8).reshape(3, 3)
    header, _, body = ply_bytes(points, colours, ['a\nline']).partition(b'end_header\n')
    assert b'element vertex 1\n' in header
    assert b'comment a line\n' in header
    assert body == np.array([1, 2, 3], '<f4').tobytes() + bytes([0, 1, 2])
    with pytest.raises(InvalidInverseDepth):
        ply_bytes(points, colours[:2])
