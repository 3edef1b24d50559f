"""The truth in the picture and on the floor: a range is not Z, and where nothing was looked at is
unknown.
"""

from __future__ import annotations

import array
import dataclasses
import math

import numpy as np
import pytest
import ros_helpers  # noqa: F401 - before the first message, see there
from sensor_msgs.msg import Image, LaserScan, Range
from std_msgs.msg import Header

from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.lab.evaluate.tape import Tape, read_tapes, tape_frame
from midas_depth_ros.lab.evaluate.truth import (
    PictureView,
    Place,
    Rays,
    depth_of,
    rays_of,
    truth_frame,
)
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.nodes.ros.messages import cloud_message, image_message, range_message
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings

CAMERA = CameraModel.from_field_of_view(256, 192, 1.6)
MOUNT = CameraMount(0.3, 0.25)
SETTINGS = build(DepthNodeSettings, {})
VIEW = PictureView(CAMERA, MOUNT, SETTINGS)
STEP = math.radians(1)


def scan(ranges, angle_min=-20 * STEP) -> LaserScan:
    message = LaserScan(angle_min=angle_min, angle_increment=STEP, range_min=0.1, range_max=8.0)
    message.ranges = array.array('f', np.asarray(ranges, np.float32).tobytes())
    return message


def z_of(x: float, y: float, z: float) -> float:
    """Z in the optical frame of a point of the body frame."""
    point = np.array([x, y, z - MOUNT.height_m])
    return float((MOUNT.body_axes().T @ point)[2])


def test_the_range_of_a_lidar_is_not_z():
    found = truth_frame(rays_of(scan([2.0] * 41)), Place(z_m=0.2), VIEW)
    angles = np.linspace(-20, 20, 41)
    expected = [z_of(2 * math.cos(a), 2 * math.sin(a), 0.2) for a in np.radians(angles)]
    np.testing.assert_allclose(np.sort(found.z), np.sort(expected), atol=1e-5)
    assert found.z.max() < 2.0 - 0.03  # a lidar's 2 m are less along a tilted optical axis
    # The leftmost ray is in the leftmost pixel: u grows to the right, bearings to the left.
    assert found.u[0] > found.u[-1]


def test_a_lidar_elsewhere_on_the_robot_is_moved():
    place = Place(x_m=-0.2, y_m=0.1, z_m=0.2, yaw_rad=math.radians(10))
    found = truth_frame(rays_of(scan([2.0], angle_min=0.0)), place, VIEW)
    x = -0.2 + 2 * math.cos(place.yaw_rad)
    y = 0.1 + 2 * math.sin(place.yaw_rad)
    assert found.z[0] == pytest.approx(z_of(x, y, 0.2), abs=1e-5)
    nearest, looked = found.floor.along(-0.5, STEP, 60)
    beam = round((math.atan2(y, x) + 0.5) / STEP)
    assert nearest[beam] == pytest.approx(math.hypot(x, y), abs=1e-5)
    assert looked[beam] == nearest[beam]


def test_a_lidar_tilts_with_the_camera_but_the_floor_does_not():
    """As an Imu says: what the lidar sees stays in the same pixels, and comes nearer above it."""
    nod = 0.1
    place, rays = Place(z_m=MOUNT.height_m), rays_of(scan([2.0], angle_min=0.0))
    level = truth_frame(rays, place, VIEW)
    nodding = dataclasses.replace(VIEW, mount=MOUNT.tilted(0.0, nod), on_body=MOUNT)
    found = truth_frame(rays, place, nodding)
    for name in 'uvz':
        np.testing.assert_allclose(getattr(found, name), getattr(level, name), atol=1e-5)
    assert level.floor.obstacles[0] == pytest.approx((2.0, 0.0))
    assert found.floor.obstacles[0] == pytest.approx((2 * math.cos(nod), 0.0))


def test_what_the_truth_did_not_look_at_is_unknown():
    ranges = np.full(41, np.nan)
    ranges[20], ranges[30], ranges[10] = 1.5, np.inf, 0.05  # the last is below range_min
    found = truth_frame(rays_of(scan(ranges)), Place(z_m=0.2), VIEW)
    nearest, looked = found.floor.along(-20 * STEP, STEP, 41)
    assert nearest[20] == pytest.approx(1.5)
    assert (nearest[30], looked[30]) == (np.inf, pytest.approx(8.0))
    others = np.delete(np.arange(41), [20, 30])
    assert np.isinf(nearest[others]).all()
    assert np.isnan(looked[others]).all()
    assert found.floor.corridor(0.4) == (pytest.approx(1.5), pytest.approx(1.5))
    nothing = truth_frame(rays_of(scan(np.full(41, np.nan))), Place(z_m=0.2), VIEW)
    ahead, looked_m = nothing.floor.corridor(0.4)
    assert ahead == math.inf
    assert math.isnan(looked_m)


@pytest.mark.parametrize(('height_m', 'counts'), [(0.02, False), (0.2, True), (1.5, False)])
def test_what_is_no_obstacle_to_us_is_none_in_the_truth(height_m, counts):
    found = truth_frame(rays_of(scan([2.0] * 41)), Place(z_m=height_m), VIEW)
    assert math.isfinite(found.floor.corridor(0.4)[0]) == counts


def test_a_range_that_sees_nothing_is_clear_to_its_end():
    header = Header()
    hit = rays_of(range_message(1.2, (0.1, 4.0), 0.2, header))
    clear = rays_of(range_message(4.0, (0.1, 4.0), 0.2, header))
    broken = rays_of(Range(range=math.nan, min_range=0.1, max_range=4.0))
    found = [truth_frame(rays, Place(z_m=0.2), VIEW) for rays in (hit, clear, broken)]
    assert found[0].floor.corridor(0.4)[0] == pytest.approx(1.2)
    assert found[1].floor.corridor(0.4) == (math.inf, pytest.approx(4.0))
    assert math.isnan(found[2].floor.corridor(0.4)[1])
    assert [len(each.z) for each in found] == [1, 0, 0]


@pytest.mark.parametrize(('start', 'step'), [(math.nan, 0.01), (0.0, math.nan), (0.0, 0.0)])
def test_a_scan_without_angles_is_refused(start, step):
    message = scan([2.0] * 41)
    message.angle_min, message.angle_increment = start, step
    with pytest.raises(ValueError, match='the scan begins at'):
        rays_of(message)


def test_a_depth_image_is_z_already():
    depth = np.full((96, 128), 2.0, np.float32)
    depth[:, :64] = np.nan
    half = CAMERA.scaled(128, 96)
    rays = rays_of(image_message(depth, Header()), half)
    found = truth_frame(rays, Place(optical=True), VIEW)
    np.testing.assert_allclose(found.z, 2.0, atol=1e-5)
    assert found.u.min() > 127  # its right half, in pixels of the larger picture
    assert math.isnan(found.floor.corridor(0.0001)[1]) or found.floor.corridor(0.4)[0] < 2.1


def test_millimetres_are_metres_and_zero_is_unknown():
    message = Image(encoding='16UC1', height=1, width=2, step=4)
    message.data = np.array([1500, 0], '<u2').tobytes()
    np.testing.assert_allclose(depth_of(message), [[1.5, 0.0]])
    assert len(rays_of(message, CAMERA.scaled(2, 1)).points) == 1
    message.is_bigendian = 1
    message.data = np.array([1500, 0], '>u2').tobytes()
    np.testing.assert_allclose(depth_of(message), [[1.5, 0.0]])


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'encoding': 'rgb8'}, "'rgb8' is no depth"),
        ({'step': 2}, 'rows of 2'),
        ({'width': 9}, '9x1'),
    ],
)
def test_a_depth_image_that_is_none_is_refused(change, words):
    message = Image(encoding='16UC1', height=1, width=2, step=4, data=b'\1\2\3\4')
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(ValueError, match=words):
        depth_of(message)


def test_a_cloud_in_the_optical_frame_needs_no_place():
    points = np.array([[[0.1, 0.0, 2.0], [np.nan] * 3, [0.0, 0.0, -1.0]]], np.float32)
    grey, sigma = np.zeros((1, 3, 3), np.uint8), np.zeros((1, 3), np.float32)
    message = cloud_message(points, grey, sigma, Header())
    found = truth_frame(rays_of(message), Place(optical=True), VIEW)
    np.testing.assert_allclose(found.z, [2.0])
    assert found.u[0] == pytest.approx(CAMERA.cx + 0.05 * CAMERA.fx, abs=1e-4)


def test_noise_of_a_cloud_is_not_its_nearest_thing():
    wall = np.stack([np.full(50, 2.0), np.linspace(-0.1, 0.1, 50), np.full(50, 0.3)], axis=1)
    rays = Rays(np.concatenate([[[0.5, 0.0, 0.3]], wall]), np.zeros((0, 3)), robust=True)
    assert truth_frame(rays, Place(), VIEW).floor.corridor(0.4)[0] == pytest.approx(2.0)


def test_without_a_mount_only_what_is_in_the_optical_frame_can_be_compared():
    view = PictureView(CAMERA, None, SETTINGS)
    rays = rays_of(scan([2.0] * 41))
    with pytest.raises(ValueError, match='camera_height and camera_pitch'):
        truth_frame(rays, Place(), view)
    assert truth_frame(rays, Place(optical=True), view).floor is None


@pytest.mark.parametrize('rotate', [90, 180, 270])
def test_turned_pictures_are_turned_back(rotate):
    turned = CAMERA.turned(rotate)
    view = PictureView(turned, MOUNT, SETTINGS, rotate)
    ray = np.array([[0.4, 0.2, 2.0]])  # right and below, as the camera sends it
    found = truth_frame(Rays(ray, np.zeros((0, 3))), Place(optical=True), view)
    tape = Tape(0, math.nan, *pixel_of(ray[0]), math.nan, float(np.linalg.norm(ray[0])))
    taped = tape_frame([tape], view, (CAMERA.width, CAMERA.height))
    np.testing.assert_allclose(found.z, 2.0)
    np.testing.assert_allclose([found.u[0], found.v[0]], [taped.u[0], taped.v[0]], atol=1e-3)
    np.testing.assert_allclose(taped.z, 2.0, rtol=0.02)  # the ray of the nearest pixel


def pixel_of(point: np.ndarray) -> tuple[float, float]:
    return (
        CAMERA.cx + CAMERA.fx * point[0] / point[2],
        CAMERA.cy + CAMERA.fy * point[1] / point[2],
    )


def test_a_tape_is_held_from_the_lens(tmp_path):
    path = tmp_path / 'tape.csv'
    path.write_text('# by hand\nframe,u,v,bearing,metres\n0,0,96,,2.0\n3,,,10,1.5\n')
    corner, along = read_tapes(path)
    found = tape_frame([corner], VIEW, (256, 192))
    x, y = CAMERA.normalised_grid()
    assert found.z[0] == pytest.approx(2.0 / math.sqrt(1 + x[96, 0] ** 2 + y[96, 0] ** 2))
    assert found.z[0] < 1.5
    nearest, _ = tape_frame([along], VIEW, (256, 192)).floor.along(-0.5, STEP, 60)
    beam = round((math.radians(10) + 0.5) / STEP)
    assert nearest[beam] == pytest.approx(1.5)


def test_a_table_of_excel_begins_with_a_byte_order_mark(tmp_path):
    path = tmp_path / 'tape.csv'
    path.write_text('frame,u,v,metres\n0,3,2,1.5\n', encoding='utf-8-sig')
    assert [(tape.frame, tape.metres) for tape in read_tapes(path)] == [(0, 1.5)]


def test_a_bearing_needs_a_mount():
    along = Tape(0, math.nan, math.nan, math.nan, 0.1, 1.5)
    with pytest.raises(ValueError, match='camera_height and camera_pitch'):
        tape_frame([along], PictureView(CAMERA, None, SETTINGS), (256, 192))


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('', 'columns are none'),
        ('frame,u,metres\n', 'columns are frame, u, metres'),
        ('frame,u,v,metres\n', 'no measurement'),
        ('frame,u,v,metres,foot\n', "unknown column 'foot'"),
        ('frame,u,v,metres\n1,2,3,near\n', "measurement 1: metres is 'near'"),
        ('frame,u,v,metres\n1,2,3,1\n1,2,3,-1\n', 'measurement 2: metres is -1'),
        ('frame,u,v,metres\n1,2,3,1,25\n', 'measurement 1 has more values .* write 1.25'),
        ('frame,u,v,metres\n-5,2,3,1\n', 'measurement 1: frame is -5, .* whole number'),
        ('frame,u,v,metres\n1.5,2,3,1\n', 'whole number of the frame'),
        ('frame,u,v,metres\ninf,2,3,1\n', 'whole number of the frame'),
        ('frame,u,v,metres\n1,2,3,1e300\n', 'above 0 and at most 1000'),
        ('frame,u,v,metres\n1,2,3,nan\n', 'above 0 and at most 1000'),
        ('frame,u,v,metres\n1,2,,1\n', 'either u and v'),
        ('frame;u;v;metres\n0;3;2;1,5\n', 'separated by semicolons: write commas .* 1.25'),
        ('frame\tu\tv\tmetres\n0\t3\t2\t1.5\n', 'separated by tabs: write commas'),
        ('frame,bearing,metres\n1,200,1\n', 'measurement 1: bearing is 200: .* -180 to 180'),
        ('frame,stamp,bearing,metres\n1,2,3,1\n', 'either the whole number'),
    ],
)
def test_a_table_that_says_nothing_is_refused(tmp_path, text, words):
    path = tmp_path / 'tape.csv'
    path.write_text(text)
    with pytest.raises(CommandError, match=words):
        read_tapes(path)
