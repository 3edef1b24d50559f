"""A camera that is mounted upside down or on its side: what is seen is what an upright one sees.

Pictures hold their depth packed, so that a network that unpacks it must be given them upright.
"""

from __future__ import annotations

import numpy as np
import pytest
from bags import START_NS
from depth_reader import read_depth
from rclpy.serialization import serialize_message

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    turned,
    turned_axes,
    turned_points,
)
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.lab.drive.over_dds import exact_estimator
from midas_depth_ros.nodes.bag.pipeline import OUTPUTS, BagPipeline
from midas_depth_ros.nodes.depth.metric_sources import mount_of
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, cloud_array, image_message
from midas_depth_ros.options.declarations import build, specs_for_names
from midas_depth_ros.options.depth import ROLLED, DepthNodeSettings
from midas_depth_ros.sim.robot.robot import packed

from .test_bag_pipeline import CAMERA
from .test_bag_pipeline import mounted as mounted_as
from .test_metric_topics import MOUNT, NETWORK, box, header, scene_depth

# Of no symmetry: a box to the left, a lens that is not centred, not straight and not round.
UPRIGHT = CameraModel(
    256, 192, NETWORK.fx, 1.02 * NETWORK.fy, 131.0, 97.0,
    'plumb_bob', (-0.05, 0.01, 0.002, -0.003, 0.0),
)  # fmt: skip
with np.errstate(divide='ignore'):
    RELATIVE = 0.1 + 2.0 / scene_depth(box(y=0.3))
PICTURE = packed(RELATIVE.astype(np.float32))
IMAGES = {'relative_inverse_depth/image', 'depth/image', 'depth/sigma'}
SIDES = (90, 180, 270)


def recorded(topic: str, message, time_s: float) -> Recorded:
    kind = f'{type(message).__module__.split(".")[0]}/msg/{type(message).__name__}'
    data = bytes(serialize_message(message))
    return Recorded(topic, kind, START_NS + round(time_s * 1e9), data)


def outputs(mounted_by: int, transforms=(), **parameters) -> dict:
    """The last message of each topic, of a camera that is mounted so: turned the other way."""
    picture = turned(PICTURE, -mounted_by % 360)
    info = camera_info_message(UPRIGHT.turned(-mounted_by % 360))
    settings = build(DepthNodeSettings, {'obstacles.robot_width': 1.0, **parameters})
    said: list[str] = []
    line = BagPipeline(exact_estimator(settings), settings, [CAMERA], (), said.append, said.append)
    info.header = header(1)
    line.process(recorded(CAMERA.info, info, 0.0))
    for transform in transforms:
        line.process(transform)
    made = {}
    for number in range(3):
        message = image_message(picture, header(1 + number / 10))
        made |= dict(line.process(recorded(CAMERA.image, message, number / 10)))
    assert not said
    return {topic.removeprefix('/front/left/'): message for topic, message in made.items()}


def pixels(message) -> np.ndarray:
    dtype = np.float32 if message.encoding == '32FC1' else np.uint8
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width, -1)


@pytest.fixture(scope='module')
def upright() -> dict:
    made = outputs(0, **MOUNT)
    assert set(made) == set(OUTPUTS)
    near = made['nearest_point'].point
    assert near.y > 0.05, 'the box is to the left'
    assert made['closeness'].vector.x > made['closeness'].vector.z
    return made


@pytest.fixture(scope='module', params=SIDES)
def mounted(request) -> tuple[int, dict]:
    return request.param, outputs(request.param, rotate=request.param, **MOUNT)


def test_what_is_told_of_the_world_is_what_an_upright_camera_tells(upright, mounted):
    _, made = mounted
    assert set(made) == set(OUTPUTS)
    for name in ('scan', 'seen_free'):
        assert made[name].header == upright[name].header
        np.testing.assert_allclose(made[name].ranges, upright[name].ranges, rtol=1e-4)
        assert made[name].angle_min == pytest.approx(upright[name].angle_min)
    assert made['proximity'].range == pytest.approx(upright['proximity'].range, rel=1e-4)
    for name, field in (('nearest_point', 'point'), ('closeness', 'vector')):
        mine, other = (getattr(each[name], field) for each in (made, upright))
        assert (mine.x, mine.y, mine.z) == pytest.approx((other.x, other.y, other.z), rel=1e-3)


def test_measured_images_lie_on_the_pictures_as_the_camera_sends_them(upright, mounted):
    rotate, made = mounted
    for name in IMAGES:
        assert made[name].header.frame_id == 'camera_optical_frame'
        wanted = turned(pixels(upright[name]), -rotate % 360)
        np.testing.assert_allclose(pixels(made[name]), wanted, rtol=1e-4)
    packed = read_depth(made['depth/image/compressedDepth'])
    np.testing.assert_allclose(packed, pixels(made['depth/image'])[..., 0], rtol=5e-3)
    sent, info = UPRIGHT.turned(-rotate % 360), made['depth/camera_info']
    assert info.header == made['depth/image'].header
    assert (info.width, info.height) == (made['depth/image'].width, made['depth/image'].height)
    found = CameraModel.from_camera_info(info)
    for field in ('width', 'height', 'fx', 'fy', 'cx', 'cy', 'distortion'):
        assert getattr(found, field) == pytest.approx(getattr(sent, field)), field


def test_the_cloud_is_in_the_frame_of_the_camera_and_each_point_in_its_pixel(upright, mounted):
    rotate, made = mounted
    cloud, other = made['points'], upright['points']
    assert cloud.header.frame_id == 'camera_optical_frame'
    assert (cloud.width, cloud.height) == (made['depth/image'].width, made['depth/image'].height)
    points = cloud_array(cloud).reshape(cloud.height, cloud.width, 3)
    wanted = turned_points(cloud_array(other).reshape(192, 256, 3), -rotate % 360)
    np.testing.assert_allclose(points, wanted, rtol=1e-3, atol=1e-4)
    # By the camera's own calibration, as whoever reads the messages has it.
    x, y = UPRIGHT.turned(-rotate % 360).normalised_grid()
    known = np.isfinite(points[..., 2])
    assert known.mean() > 0.5
    np.testing.assert_allclose((points[..., 0] / points[..., 2])[known], x[known], atol=1e-4)
    np.testing.assert_allclose((points[..., 1] / points[..., 2])[known], y[known], atol=1e-4)
    np.testing.assert_array_equal(colours(cloud), turned(colours(other), -rotate % 360))
    wanted = turned(heights(other), -rotate % 360)
    assert np.isfinite(wanted).mean() > 0.5
    np.testing.assert_allclose(heights(cloud), wanted, atol=1e-3)


def heights(cloud) -> np.ndarray:
    fields = np.frombuffer(cloud.data, np.float32).reshape(cloud.height, cloud.width, -1)
    return fields[..., [each.name for each in cloud.fields].index('height')]


def colours(cloud) -> np.ndarray:
    fields = np.frombuffer(cloud.data, np.uint8).reshape(cloud.height, cloud.width, -1)
    return fields[..., 12:15]


def test_the_heatmap_is_upright_and_says_so(upright, mounted):
    _, made = mounted
    heatmap = made['heatmap/image']
    assert heatmap.header.frame_id == 'camera_optical_frame_upright'
    assert made['heatmap/image/compressed'].header == heatmap.header
    difference = np.abs(pixels(heatmap).astype(int) - pixels(upright['heatmap/image']))
    assert difference.max() <= 2
    assert upright['heatmap/image'].header.frame_id == 'camera_optical_frame'


@pytest.mark.parametrize('rotate', SIDES)
def test_tf_tells_of_the_camera_as_it_is_mounted(upright, rotate):
    mount = CameraMount(MOUNT['camera_height'], MOUNT['camera_pitch'])
    axes = turned_axes(mount.body_axes(), -rotate % 360)
    message = mounted_as(mount, 'camera_optical_frame', axes)
    given = {'mount_from_tf': True, 'obstacles.persistence': 1}
    made = outputs(rotate, [message], rotate=rotate, **given)
    np.testing.assert_allclose(made['scan'].ranges, upright['scan'].ranges, rtol=1e-3)
    # Who forgets the parameter gets no metres, rather than wrong ones.
    assert 'scan' not in outputs(rotate, [message], **given)


def test_one_camera_of_several_is_turned_by_itself():
    own = {'cameras': ['front', 'rear'], 'rotate': 180, 'mounts.rear.rotate': 0}
    settings = build(DepthNodeSettings, own)
    assert [mount_of(settings, name).rotate for name in ('front', 'rear')] == [180, 0]
    made = outputs(90, **MOUNT, **{'mounts.front/left.rotate': 90})
    assert made['heatmap/image'].header.frame_id.endswith('_upright')


def test_the_field_of_view_that_is_assumed_is_that_of_the_pictures_as_they_come():
    settings = build(DepthNodeSettings, {'rotate': 90, 'horizontal_fov': 1.0, **MOUNT})
    line = BagPipeline(exact_estimator(settings), settings, [CAMERA], ('depth/camera_info',),
                       print, print)  # fmt: skip
    message = image_message(turned(PICTURE, 270), header(1))
    made = dict(line.process(recorded(CAMERA.image, message, 0.0)))
    info = made['/front/left/depth/camera_info']
    wanted = CameraModel.from_field_of_view(192, 256, 1.0)
    assert (info.width, info.height) == (192, 256)
    assert info.k[0] == pytest.approx(wanted.fx)


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'rotate': 45}, 'rotate: 45 is not one of 0, 90, 180, 270'),
        ({'rotate': -90}, 'rotate'),
        ({'rotate': 360}, 'rotate'),
        ({'mounts.camera.camera_roll': 1.6}, r'camera_roll: 1.6 is above.*upside down.*rotate'),
        ({'mounts.camera.rotate': 91}, r'mounts.camera.rotate: 91 is not one of'),
    ],
)
def test_a_turn_that_is_none_and_a_roll_that_is_one_are_refused(ros, parameters, words):
    with pytest.raises(ValueError, match=words):
        ros.make_node(DepthNode, parameters={'autostart': False, **parameters})


def test_the_refusal_of_a_roll_names_the_parameter_for_it():
    known = specs_for_names(DepthNodeSettings, ['mounts.rear.camera_roll'])
    for name in ('camera_roll', 'mounts.rear.camera_roll'):
        for value in (3.1416, -1.31):
            assert f'({ROLLED})' in known[name].fault(value)
    assert 'rotate' not in known['camera_pitch'].fault(3.1416)
