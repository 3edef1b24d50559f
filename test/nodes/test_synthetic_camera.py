"""synthetic_camera over real DDS: its pictures are the scene's at their stamps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import Odometry
from ros_helpers import Ros, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import decode_compressed, decode_image, stamp_ns
from midas_depth_ros.nodes.sources import synthetic_camera
from midas_depth_ros.nodes.sources.camera_topics import CameraTopics
from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera, picture_at
from midas_depth_ros.options.stream import SyntheticCameraSettings
from midas_depth_ros.sim import moving_scene

SMALL = {'width': 96, 'height': 64, 'rate': 20.0}


def make(ros: Ros, **parameters: Any) -> Any:
    return ros.make_node(SyntheticCamera, parameters={**SMALL, **parameters})


def test_pictures_are_the_scene_at_their_stamps(ros: Ros) -> None:
    images = ros.collect(Image, '/camera/image_raw')
    make(ros, seed=3)
    ros.spin_until(lambda: len(images) >= 3, what='three pictures')
    settings = SyntheticCameraSettings(**SMALL, seed=3)
    for image in images[:3]:
        assert image.header.frame_id == 'camera_optical_frame'
        rgb = decode_image(image)
        assert rgb.shape == (64, 96, 3)
        np.testing.assert_array_equal(rgb, picture_at(stamp_ns(image.header), settings))
    assert not np.array_equal(decode_image(images[0]), decode_image(images[2])), 'it moves'


def test_compressed_and_camera_info(ros: Ros) -> None:
    compressed = ros.collect(CompressedImage, '/robot/eye/image_raw/compressed')
    infos = ros.collect(CameraInfo, '/robot/eye/camera_info')
    make(ros, camera='robot/eye', horizontal_fov=math.pi / 2, jpeg_quality=100)
    ros.spin_until(lambda: compressed and infos, what='both')
    info = next(each for each in infos)
    assert (info.width, info.height) == (96, 64)
    np.testing.assert_allclose(info.k, [48, 0, 47.5, 0, 48, 31.5, 0, 0, 1])
    assert CameraModel.from_camera_info(info) == CameraModel.from_field_of_view(96, 64, math.pi / 2)
    assert compressed[0].header.frame_id == 'robot_eye_optical_frame'
    settings = SyntheticCameraSettings(**SMALL, horizontal_fov=math.pi / 2)
    rendered = picture_at(stamp_ns(compressed[0].header), settings).astype(int)
    assert np.abs(decode_compressed(compressed[0]) - rendered).mean() < 4


def test_height_and_pitch_move_the_view() -> None:
    horizon = {}
    for pitch in (0.0, 0.3):
        settings = SyntheticCameraSettings(**SMALL, camera_pitch=pitch)
        horizon[pitch] = picture_at(0, settings)
    assert not np.array_equal(horizon[0.0], horizon[0.3])
    high = picture_at(0, SyntheticCameraSettings(**SMALL, camera_pitch=0.0, camera_height=1.2))
    assert not np.array_equal(horizon[0.0], high)


def test_the_scene_repeats_and_large_stamps_lose_nothing() -> None:
    settings = SyntheticCameraSettings(**SMALL)
    period_ns = round(moving_scene(0).period_s * 1e9)
    late = 1_700_000_000 * 10**9 // period_ns * period_ns
    np.testing.assert_array_equal(
        picture_at(1_234_567_891, settings), picture_at(late + 1_234_567_891, settings)
    )


@pytest.mark.parametrize('slip', [0.0, 0.2])
def test_odometry_of_the_moving_scene_is_its_path(ros: Ros, slip: float) -> None:
    odometry = ros.collect(Odometry, '/base/odom')
    ros.make_node(
        SyntheticCamera,
        parameters={**SMALL, 'seed': 3, 'robot.slip': slip},
        cli_args=['--ros-args', '-r', 'odom:=base/odom'],
    )
    ros.spin_until(lambda: len(odometry) >= 30, what='odometry')
    scene, first = moving_scene(3), odometry[0]
    begin = scene.pose_at(stamp_ns(first.header) % round(scene.period_s * 1e9) / 1e9)
    for message in odometry[1:30]:
        assert (message.header.frame_id, message.child_frame_id) == ('odom', 'base_link')
        passed_s = (stamp_ns(message.header) - stamp_ns(first.header)) / 1e9
        begin_s = stamp_ns(first.header) % round(scene.period_s * 1e9) / 1e9
        true = scene.way_at(begin_s + passed_s)
        gone = math.dist((true.x_m, true.y_m), (begin.x_m, begin.y_m))
        place, start = message.pose.pose.position, first.pose.pose.position
        said = math.dist((place.x, place.y), (start.x, start.y))
        assert said == pytest.approx((1 + slip) * gone, abs=2e-4)
        turned = 2 * math.atan2(message.pose.pose.orientation.z, message.pose.pose.orientation.w)
        assert math.remainder(turned - true.yaw_rad, math.tau) == pytest.approx(0.0, abs=1e-4)
        assert message.twist.twist.linear.x == pytest.approx(0.6 * (1 + slip), rel=0.2)
    gaps = np.diff([stamp_ns(each.header) for each in odometry]) / 1e9
    assert np.median(gaps) <= 1 / 20


@pytest.mark.parametrize('scene', ['moving', 'robot'])
@pytest.mark.parametrize('look', [1, 2, 3])
def test_somebody_may_come_between_two_looks(
    ros: Ros, monkeypatch: pytest.MonkeyPatch, scene: str, look: int
) -> None:
    """Of whom one look at the subscribers does not tell yet and the next one does."""
    node = make(ros, scene=scene, rate=0.1)  # so that its own timer stays out of this
    ros.collect(CameraInfo, '/camera/camera_info')
    ros.spin_until(node._topics.wanted, what='a subscriber of camera_info')
    images: list[Image] = []
    looks: list[int] = []
    count = CameraTopics.subscribers.fget

    def looked(topics: CameraTopics) -> int:
        seen = count(topics)
        looks.append(seen)
        if len(looks) == look:
            ros.node.create_subscription(Image, '/camera/image_raw', images.append, 1)
            wait_until(lambda: count(topics), what='a subscriber of the images')
        return seen

    monkeypatch.setattr(CameraTopics, 'subscribers', property(looked))
    for _ in range(4):
        node._on_timer()
    ros.spin_until(lambda: images, what='an image')


def test_renders_only_while_somebody_looks(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    original = synthetic_camera.picture_at

    def counted(*args: Any) -> Any:
        rendered.append(1)
        return original(*args)

    monkeypatch.setattr(synthetic_camera, 'picture_at', counted)
    infos = ros.collect(CameraInfo, '/camera/camera_info')
    make(ros)
    ros.spin_until(lambda: len(infos) >= 3, what='camera_info without pictures')
    assert rendered == []
    subscription = ros.node.create_subscription(Image, '/camera/image_raw', lambda _: None, 1)
    ros.spin_until(lambda: len(rendered) >= 2, what='pictures once somebody looks')
    ros.node.destroy_subscription(subscription)
    ros.spin_until(
        lambda: not ros.node.get_subscriptions_info_by_topic('/camera/image_raw'),
        what='the subscription to be gone',
    )
    count, seen = len(rendered), len(infos)
    ros.spin_until(lambda: len(infos) >= seen + 5, what='camera_info that goes on')
    assert len(rendered) <= count + 1, 'one may have been under way'


@pytest.mark.parametrize(
    ('parameters', 'named'),
    [({'width': 5}, 'width'), ({'rate': 0.0}, 'rate'), ({'camera_height': 3.0}, 'camera_height')],
)
def test_what_is_wrong_at_the_start_is_named(
    ros: Ros, parameters: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        make(ros, **parameters)
