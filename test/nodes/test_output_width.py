"""Large pictures over real DDS: outputs of a bounded size, and a calibration of that size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bags import START_NS
from depth_reader import read_depth
from driving import header, set_parameter, stamp, values
from fakes import SceneEstimator
from lifecycle_msgs.msg import State
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2

from midas_depth_ros.geometry import CameraModel, turned
from midas_depth_ros.images import encode_jpeg
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.lab.drive.over_dds import exact_estimator
from midas_depth_ros.nodes.bag.pipeline import BagPipeline
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, cloud_array, image_message
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings

from .test_bag_pipeline import CAMERA
from .test_metric_topics import MOUNT, box, scene_depth
from .test_rotate import PICTURE as PACKED
from .test_rotate import UPRIGHT, pixels

DEPTH = scene_depth(box(y=0.3))
SIZED = (
    'relative_inverse_depth/image', 'depth/image', 'depth/sigma', 'heatmap/image',
)  # fmt: skip
LARGE = CameraModel(
    1600, 1200, 1020.0, 1030.0, 811.0, 590.0, 'plumb_bob', (-0.05, 0.01, 0.002, -0.003, 0.0)
)
SCENE = CameraModel.from_field_of_view(1600, 1200, 1.2)  # as the scene was rendered


@pytest.fixture
def run(ros):
    """Start a depth_node; returns (estimator, send) to feed it large pictures."""

    def make(camera: CameraModel = SCENE, transport: str = 'raw', info=None, **parameters):
        from driving import state

        estimator = SeenSizes(DEPTH)
        given = {'max_rate': 0.0, 'diagnostics_rate': 10.0, 'transport': transport, **MOUNT}
        ros.make_node(DepthNode, lambda settings: estimator, parameters=given | parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        raw = transport == 'raw'
        kind, topic = (Image, 'camera/image_raw') if raw else (
            CompressedImage, 'camera/image_raw/compressed')  # fmt: skip
        images, infos = ros.publisher(kind, topic), ros.publisher(CameraInfo, 'camera/camera_info')
        random = np.random.default_rng(3)
        rgb = random.integers(0, 255, (camera.height, camera.width, 3), np.uint8)
        data = encode_jpeg(rgb, 60)
        moment = iter(range(1000))

        def send(received, count=1):
            wanted = len(received) + count
            for _ in range(100):
                head = header(100 + next(moment) / 10)
                message = info or camera_info_message(camera, head)
                message.header = head
                infos.publish(message)
                if raw:
                    images.publish(image_message(rgb, head))
                else:
                    images.publish(CompressedImage(header=head, format='jpeg', data=data))
                ros.spin_for(0.05)
                if len(received) >= wanted:
                    return
            raise AssertionError(f'{len(received)} of {wanted} messages')

        return estimator, send

    return make


class SeenSizes(SceneEstimator):
    """Keeps the size of every picture it is given."""

    def __init__(self, depth_z: np.ndarray) -> None:
        super().__init__(depth_z)
        self.sizes: list[tuple[int, ...]] = []

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.sizes.append(rgb.shape[:2])
        return super().infer(rgb)


def of_one_stamp(collected: dict[str, list]) -> dict:
    stamps = set.intersection(*({stamp(m) for m in each} for each in collected.values()))
    newest = max(stamps)
    return {name: next(m for m in each if stamp(m) == newest) for name, each in collected.items()}


def test_all_images_have_the_size_that_their_camera_info_says(ros, run):
    _, send = run(LARGE, output_width=500)
    collected = {name: ros.collect(Image, f'camera/{name}') for name in SIZED}
    collected['info'] = ros.collect(CameraInfo, 'camera/depth/camera_info')
    send(collected['depth/image'], 3)
    ros.spin_until(lambda: all(len(each) >= 2 for each in collected.values()))
    made = of_one_stamp(collected)
    for name in (*SIZED, 'info'):
        assert (made[name].width, made[name].height) == (500, 375), name
        assert made[name].header == made['info'].header
    info = made['info']
    # As of a picture that cv2.resize makes: pixel centres are at whole numbers.
    scale = 500 / 1600
    centre = [(each + 0.5) * scale - 0.5 for each in (LARGE.cx, LARGE.cy)]
    assert list(info.k) == pytest.approx(
        [scale * LARGE.fx, 0, centre[0], 0, scale * LARGE.fy, centre[1], 0, 0, 1]
    )
    assert list(info.p) == pytest.approx(
        [scale * LARGE.fx, 0, centre[0], 0, 0, scale * LARGE.fy, centre[1], 0, 0, 0, 1, 0]
    )
    assert (list(info.d), info.distortion_model) == (list(LARGE.distortion), 'plumb_bob')
    assert (info.binning_x, info.binning_y, info.roi.width, info.roi.height) == (0, 0, 0, 0)


def test_depth_is_as_right_as_at_full_size(ros, run):
    _, send = run(output_width=256)
    depth = ros.collect(Image, 'camera/depth/image')
    packed_depth = ros.collect(CompressedImage, 'camera/depth/image/compressedDepth')
    send(depth, 2)
    ros.spin_until(lambda: len(packed_depth) >= 2)
    # The answer has this size: what is published is the scene itself.
    made = of_one_stamp({'depth': depth, 'packed': packed_depth})
    got, exact = values(made['depth']), DEPTH
    known = np.isfinite(got) & (exact < 8)
    assert known.mean() > 0.5
    assert np.abs(got[known] / exact[known] - 1).max() < 0.03
    np.testing.assert_allclose(read_depth(made['packed']), got, rtol=5e-3)


def test_the_width_changes_while_the_node_runs_and_zero_is_as_the_picture(ros, run):
    _, send = run()
    depth = ros.collect(Image, 'camera/depth/image')
    send(depth)
    assert depth[-1].width == 1280, 'the default'
    for given, width in ((64, 64), (0, 1600), (5000, 1600)):
        assert set_parameter(ros, 'output_width', given)[0]
        send(depth, 2)
        assert (depth[-1].width, depth[-1].height) == (width, width * 3 // 4)
    assert not set_parameter(ros, 'output_width', -1)[0]


def test_region_and_binning_of_the_input_are_in_the_outputs_calibration(ros, run):
    """camera_info of the whole sensor; published is a region of it, two by two pixels as one."""
    info = camera_info_message(LARGE)
    info.roi.x_offset, info.roi.y_offset, info.roi.width, info.roi.height = 200, 100, 1280, 960
    info.binning_x = info.binning_y = 2
    region = CameraModel(640, 480, 1.0, 1.0, 0.0, 0.0)  # of the pictures' size only
    _, send = run(region, info=info, output_width=320)
    depth = ros.collect(Image, 'camera/depth/image')
    infos = ros.collect(CameraInfo, 'camera/depth/camera_info')
    send(depth, 2)
    ros.spin_until(lambda: infos)
    found = infos[-1]
    assert (found.width, found.height, found.binning_x) == (320, 240, 0)
    centre = [(each + 0.5) / 4 - 0.5 for each in (LARGE.cx - 200, LARGE.cy - 100)]
    assert list(found.k) == pytest.approx(
        [LARGE.fx / 4, 0, centre[0], 0, LARGE.fy / 4, centre[1], 0, 0, 1]
    )


def test_a_cloud_wider_than_that_keeps_every_other_of_its_points(ros, run):
    _, send = run(output_width=128)
    clouds = ros.collect(PointCloud2, 'camera/points')
    send(clouds, 2)
    cloud = clouds[-1]
    assert (cloud.width, cloud.height) == (128, 96)
    points = cloud_array(cloud).reshape(96, 128, 3)
    x, y = (each[::2, ::2] for each in SCENE.normalised_grid(256, 192))
    known = np.isfinite(points[..., 2])
    assert known.mean() > 0.5
    np.testing.assert_allclose((points[..., 0] / points[..., 2])[known], x[known], atol=1e-4)
    np.testing.assert_allclose((points[..., 1] / points[..., 2])[known], y[known], atol=1e-4)
    exact = DEPTH[::2, ::2]
    near = known & (exact < 8)
    assert np.abs(points[..., 2][near] / exact[near] - 1).max() < 0.03


def test_of_a_large_jpeg_only_what_is_needed_is_decoded(ros, run):
    camera = SCENE.scaled(3200, 2400)
    estimator, send = run(camera, 'compressed', output_width=640)
    depth = ros.collect(Image, 'camera/depth/image')
    infos = ros.collect(CameraInfo, 'camera/depth/camera_info')
    send(depth, 4)
    # Whole while nothing is known of the network; then a half, of which it takes a quarter.
    assert set(estimator.sizes) == {(2400, 3200), (1200, 1600)}
    assert estimator.sizes[0] == (2400, 3200)
    ros.spin_until(lambda: len(infos) >= 4)
    kinds = {(tuple(info.k), info.width, info.height) for info in infos}
    assert len(kinds) == 1, 'the calibration of the outputs is the same for both'
    scale = 640 / 3200
    assert infos[-1].k[2] == pytest.approx((camera.cx + 0.5) * scale - 0.5)
    known = np.isfinite(values(depth[-1]))
    assert known.mean() > 0.5
    assert set_parameter(ros, 'output_width', 0)[0]
    send(depth, 2)
    assert estimator.sizes[-1] == (2400, 3200)
    assert depth[-1].width == 3200


def test_markers_are_looked_for_in_whole_pictures(ros, run):
    camera = SCENE.scaled(3200, 2400)
    estimator, send = run(camera, 'compressed', output_width=640, **{'marker.size': 0.2})
    heatmaps = ros.collect(Image, 'camera/heatmap/image')
    send(heatmaps, 3)
    assert set(estimator.sizes) == {(2400, 3200)}
    assert heatmaps[-1].width == 640


# --- Turned cameras, and bag to bag -----------------------------------------------------------


def recorded_outputs(rotate: int, width: int) -> dict:
    """The last message of each topic, of a camera that is turned so."""
    picture = turned(PACKED, -rotate % 360)
    info = camera_info_message(UPRIGHT.turned(-rotate % 360), header(1))
    settings = build(
        DepthNodeSettings,
        {'obstacles.robot_width': 1.0, 'rotate': rotate, 'output_width': width, **MOUNT},
    )
    said: list[str] = []
    line = BagPipeline(exact_estimator(settings), settings, [CAMERA], (), said.append, said.append)
    made = {}
    for number, (topic, message) in enumerate(
        [(CAMERA.info, info)] + [(CAMERA.image, image_message(picture, header(1 + n / 10)))
                                 for n in range(3)]
    ):  # fmt: skip
        kind = f'sensor_msgs/msg/{type(message).__name__}'
        data = bytes(serialize_message(message))
        made |= dict(line.process(Recorded(topic, kind, START_NS + number * 10**8, data)))
    assert not said
    return {topic.removeprefix('/front/left/'): message for topic, message in made.items()}


@pytest.mark.parametrize('rotate', [0, 90, 180, 270])
def test_a_turned_camera_has_outputs_as_wide_as_said_in_the_picture_as_it_is_sent(rotate):
    sent = (192, 256) if rotate in (90, 270) else (256, 192)
    made, whole = recorded_outputs(rotate, sent[0] // 2), recorded_outputs(rotate, 0)
    half = sent[0] // 2, sent[1] // 2
    for name in ('relative_inverse_depth/image', 'depth/image', 'depth/sigma', 'points'):
        assert (made[name].width, made[name].height) == half, name
        assert (whole[name].width, whole[name].height) == sent, name
    upright = made['heatmap/image']
    assert (upright.width, upright.height) == (128, 96), 'of the same scale, and upright'
    info = made['depth/camera_info']
    found = CameraModel.from_camera_info(info)
    wanted = UPRIGHT.turned(-rotate % 360).scaled(*half)
    for field in ('width', 'height', 'fx', 'fy', 'cx', 'cy', 'distortion'):
        assert getattr(found, field) == pytest.approx(getattr(wanted, field)), field
    np.testing.assert_array_equal(read_depth(made['depth/image/compressedDepth']).shape, half[::-1])
    # A smaller picture of the same: away from edges each pixel is the mean of four.
    small, large = (pixels(each['depth/image'])[..., 0] for each in (made, whole))
    blocks = large.reshape(half[1], 2, half[0], 2)
    spread = blocks.max((1, 3)) - blocks.min((1, 3))
    even = np.isfinite(small) & (spread < 0.02 * blocks.min((1, 3)))
    assert even.mean() > 0.3
    off = np.abs(small[even] / blocks.mean((1, 3))[even] - 1)
    assert np.quantile(off, 0.99) < 0.01, 'but where the filter reaches across an edge'
    for name in ('scan', 'seen_free'):
        np.testing.assert_array_equal(made[name].ranges, whole[name].ranges)
    assert made['closeness'] == whole['closeness']
    assert math.isfinite(made['proximity'].range)
