"""Recorded messages through the node's own classes, in the time of the recording."""

from __future__ import annotations

import dataclasses
import math
import sys

import numpy as np
import pytest
from bags import JAZZY, OPTICAL_FRAME, START_NS, camera_info_message, raw_message
from fakes import BrightnessEstimator, SceneEstimator
from frames import quaternion_of, tf_bytes
from frames import recorded as transform
from rclpy.serialization import serialize_message
from rosbags.interfaces import QosHistory, QosReliability
from sensor_msgs.msg import Imu
from toy_model import picture_of, toy_spec

from midas_depth_ros.depth import models
from midas_depth_ros.depth.model_check import sample_pictures
from midas_depth_ros.geometry import CameraMount
from midas_depth_ros.images.sources.bag import BagCamera
from midas_depth_ros.images.sources.sqlite_bag import Recorded
from midas_depth_ros.nodes.bag.pipeline import OUTPUTS, BagPipeline
from midas_depth_ros.nodes.bag.writer import offered
from midas_depth_ros.nodes.depth.node import estimator_from
from midas_depth_ros.nodes.ros.quality_of_service import REPLAY_OUTPUT
from midas_depth_ros.options.declarations import build
from midas_depth_ros.options.depth import DepthNodeSettings

from . import test_model_metres as toy_metres
from .test_metric_topics import MOUNT, POSE, box, scene_depth

CAMERA = BagCamera('front/left', '/front/left/image_rect', '/front/left/camera_info')
RGB = np.full((240, 320, 3), 120, np.uint8)
SECOND_NS = 1_000_000_000


def pipeline(estimator, wanted=(), said=None, **parameters) -> BagPipeline:
    said = [] if said is None else said
    settings = build(DepthNodeSettings, parameters)
    return BagPipeline(estimator, settings, [CAMERA], wanted, said.append, said.append)


def cdr(time_s: float, topic: str, message) -> Recorded:
    kind = message.__msgtype__
    data = bytes(JAZZY.serialize_cdr(message, kind))
    return Recorded(topic, kind, START_NS + round(time_s * SECOND_NS), data)


def image(time_s: float) -> Recorded:
    return cdr(time_s, CAMERA.image, raw_message(RGB, START_NS + round(time_s * SECOND_NS)))


def info(time_s: float = 0.0) -> Recorded:
    return cdr(time_s, CAMERA.info, camera_info_message(RGB, START_NS, focal=234.0))


def level_imu(time_s: float) -> Recorded:
    time_ns = START_NS + round(time_s * SECOND_NS)
    message = Imu()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, SECOND_NS)
    message.orientation.w = 1.0
    return Recorded('/imu', 'sensor_msgs/msg/Imu', time_ns, bytes(serialize_message(message)))


def names(made) -> list[str]:
    return [topic.removeprefix('/front/left/') for topic, _ in made]


def test_bytes_that_are_no_message_are_said_and_counted():
    said = []
    line = pipeline(BrightnessEstimator(), said=said)
    for topic in (CAMERA.image, CAMERA.info):
        assert line.process(Recorded(topic, '', 7, b'\0\1\0\0\xff\xff')) == []
    assert [text.split(':')[0] for text in said] == [
        f'{topic} at 7 ns' for topic in (CAMERA.image, CAMERA.info)
    ]
    assert names(line.process(image(1.0)))[0] == 'closeness'
    assert (line.camera_counts[0].frames, line.camera_counts[0].processed) == (2, 1)


def test_an_estimator_that_fails_costs_one_frame():
    said = []
    estimator = BrightnessEstimator()
    line = pipeline(estimator, said=said)
    estimator.fail_next = RuntimeError('out of memory')
    assert line.process(image(1.0)) == []
    assert said == [f'{CAMERA.image} at {START_NS + SECOND_NS} ns: RuntimeError: out of memory']
    assert len(line.process(image(1.1))) == 4


def test_the_wording_of_a_warning_does_not_decide_what_becomes_of_it():
    failed, warned = [], []
    settings = build(DepthNodeSettings, {})
    line = BagPipeline(BrightnessEstimator(), settings, [CAMERA], (), failed.append, warned.append)
    for text in ('front/left: frame rate is low', 'a thing: refused: but no message', 'a thing'):
        line._node.get_logger().warning(text)
        line._node.get_logger().warning(text)
        assert warned.pop() == text
    line.process(Recorded(CAMERA.image, '', 7, b'\0\1\0\0\xff\xff'))
    line.process(Recorded(CAMERA.info, '', 7, b'\0\1\0\0\xff\xff'))
    assert (len(failed), warned) == (2, [])


def test_a_registered_model_runs_in_the_node_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setitem(models._specs, 'toy', toy_spec(tmp_path))
    estimator = estimator_from(build(DepthNodeSettings, {'model': 'toy', 'backend': 'opencv'}))
    assert estimator.model == 'toy'
    line = pipeline(estimator, wanted=('relative_inverse_depth/image',))
    picture = sample_pictures(['street_1'])['street_1']
    message = raw_message(picture, START_NS + SECOND_NS)
    (made,) = line.process(cdr(1.0, CAMERA.image, message))
    depth = np.frombuffer(bytes(made[1].data), np.float32)
    np.testing.assert_allclose(depth, estimator.estimate(picture).ravel(), rtol=1e-5)


def toy_picture(time_s: float) -> Recorded:
    rgb = picture_of(toy_metres.EXACT, toy_metres.WEIGHT)
    return cdr(time_s, CAMERA.image, raw_message(rgb, START_NS + round(time_s * SECOND_NS)))


def toy_info() -> Recorded:
    rgb = picture_of(toy_metres.EXACT, toy_metres.WEIGHT)
    focal = toy_metres.CAMERA.fx
    return cdr(0.0, CAMERA.info, camera_info_message(rgb, START_NS, focal=focal))


def test_metres_of_the_model_come_out_of_a_bag(tmp_path, monkeypatch):
    fields = {'depth_range_m': (0.1, 20.0)}
    spec = toy_spec(tmp_path, toy_metres.WEIGHT, 0.0, **fields)
    monkeypatch.setitem(models._specs, 'toy', spec)
    ours = {'picture_check': False, 'frozen_after': 0.0, 'scale.source': 'model'}
    wanted = ('depth/image', 'scan', 'points')

    def made(parameters: dict, calibrated: bool) -> tuple[list, BagPipeline]:
        estimator = estimator_from(build(DepthNodeSettings, {'model': 'toy', 'backend': 'opencv'}))
        line = pipeline(estimator, wanted, **ours, **parameters)
        if calibrated:
            line.process(toy_info())
        return [line.process(toy_picture(1 + 0.2 * number)) for number in range(5)], line

    frames, line = made({}, calibrated=False)
    assert [names(frame) for frame in frames] == [['depth/image']] * 5
    depth = np.frombuffer(bytes(frames[-1][0][1].data), np.float32).reshape(60, 80)
    np.testing.assert_allclose(depth, toy_metres.EXACT, atol=toy_metres.STEP_M)
    assert line.camera_counts[0].in_metres == 5
    frames, line = made({}, calibrated=True)
    assert sorted(names(frames[0])) == ['depth/image', 'points']
    assert sorted(names(frames[-1])) == ['depth/image', 'points', 'scan']  # the floor is known
    frames, line = made({'camera_height': 0.6, 'camera_pitch': 0.1}, calibrated=True)
    assert frames == [[]] * 5
    assert '0.50 times the depth of the floor' in line.camera_counts[0].reason
    frames, line = made({'camera_height': 0.3, 'camera_pitch': 0.1}, calibrated=True)
    assert len(frames[0]) == 3


def test_metres_of_a_model_without_any_are_refused():
    with pytest.raises(ValueError, match=r'scale\.source is model, but brightness gives'):
        pipeline(BrightnessEstimator(), **{'scale.source': 'model'})


def test_only_what_is_wanted_is_made():
    line = pipeline(BrightnessEstimator(), wanted=('heatmap/image',))
    assert line.outputs.keys() == {'/front/left/heatmap/image'}
    assert names(line.process(image(1.0))) == ['heatmap/image']
    everything = pipeline(BrightnessEstimator())
    assert {name.removeprefix('/front/left/') for name in everything.outputs} == set(OUTPUTS)


def test_topics_are_those_of_the_bag_and_of_every_sensor():
    line = pipeline(BrightnessEstimator(), **{'imu_topic': '/imu', 'scale.source': 'scan'})
    assert set(line.topics) == {
        CAMERA.image, CAMERA.info, '/imu', '/front/left/reference/scan'
    }  # fmt: skip


def test_a_frame_without_a_stamp_is_as_old_as_its_receipt():
    line = pipeline(BrightnessEstimator(), wanted=('closeness',))
    message = raw_message(RGB, 0)
    ((_, made),) = line.process(cdr(3.0, CAMERA.image, message))
    assert (made.header.stamp.sec, made.header.stamp.nanosec) == (0, 0)


@pytest.mark.parametrize(('age_s', 'in_metres'), [(0.05, True), (0.3, False)])
def test_an_imu_falls_silent_by_the_time_of_the_recording(age_s, in_metres):
    exact = scene_depth(box(), pose=POSE)
    line = pipeline(SceneEstimator(exact), wanted=('scan',), imu_topic='/imu', **MOUNT)
    line.process(info())
    line.process(level_imu(5.0))
    made = line.process(image(5.0 + age_s))
    assert names(made) == (['scan'] if in_metres else [])
    assert ('no orientation from /imu' in line.camera_counts[0].reason) != in_metres
    if in_metres:
        ranges = np.array(made[0][1].ranges)
        ahead = ranges[len(ranges) // 2]
        assert math.isclose(ahead, 1.5, rel_tol=0.1)


def mounted(mount: CameraMount, frame: str = OPTICAL_FRAME, axes=None) -> Recorded:
    """A recorded /tf_static that says how a camera is mounted; axes: as turned, if it is."""
    turn = quaternion_of(mount.body_axes() if axes is None else axes)
    data = tf_bytes(transform('base_link', frame, 0.0, (0, 0, mount.height_m), turn))
    return Recorded('/tf_static', 'tf2_msgs/msg/TFMessage', START_NS, data)


def test_the_mount_is_taken_from_the_tf_of_the_bag(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)  # it is not needed
    exact = scene_depth(box(), pose=POSE)
    line = pipeline(SceneEstimator(exact), wanted=('proximity',), mount_from_tf=True)
    assert {'/tf', '/tf_static'} <= set(line.topics)
    line.process(info())
    assert line.process(image(1.0)) == []
    assert 'nothing was heard on /tf' in line.camera_counts[0].reason
    line.process(mounted(CameraMount(POSE.z_m, POSE.pitch_rad)))
    made = [message for index in range(3) for _, message in line.process(image(1.1 + index / 10))]
    assert made[-1].range == pytest.approx(1.5, rel=0.05)


@pytest.mark.parametrize('shape', [(1, 1920), (1920, 1), (1, 1), (2, 20_000), (40_000, 2)])
def test_a_picture_of_any_shape_is_done_with_every_option_at_its_bound(shape):
    """Smoothing of a picture of one column once took hours, in which the node answered nobody."""
    said: list[str] = []
    options = {'heatmap.smoothing': 15.0, 'heatmap.clahe_clip': 40.0, 'heatmap.overlay_alpha': 0.5}
    options['output_width'] = 0
    for mode in ('relative', 'metric'):
        made = pipeline(
            BrightnessEstimator(), ['heatmap/image'], said, **{'heatmap.mode': mode}, **options
        )
        rgb = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
        picture = cdr(0.0, CAMERA.image, raw_message(rgb, START_NS))
        ((_, heatmap),) = made.process(picture)
        assert (heatmap.height, heatmap.width) == shape
    assert not said


def test_an_output_offers_what_the_parameters_override():
    """As the node's own publisher does, which rclpy makes of the same parameters."""
    prefix = 'qos_overrides./front/left/{}.publisher.'
    overrides = {
        prefix.format('heatmap/image') + 'reliability': 'best_effort',
        prefix.format('heatmap/image') + 'depth': 7,
        prefix.format('scan') + 'history': 'keep_all',
        'qos_overrides./front/left/image_rect.subscription.depth': 3,
    }
    settings = build(DepthNodeSettings, {})
    line = BagPipeline(BrightnessEstimator(), settings, [CAMERA], (), print, print, overrides)
    found = {name: offered(each.profile) for name, each in line.outputs.items()}
    usual = offered(REPLAY_OUTPUT)
    assert found.pop('/front/left/heatmap/image') == usual._replace(
        reliability=QosReliability.BEST_EFFORT, depth=7
    )
    assert found.pop('/front/left/scan') == usual._replace(history=QosHistory.KEEP_ALL)
    assert set(found.values()) == {usual}
    for policy, value in (('history', 'all'), ('depth', 'deep'), ('depth', -1), ('reliability', 1)):
        wrong = {prefix.format('scan') + policy: value}
        with pytest.raises(ValueError, match=policy):
            BagPipeline(BrightnessEstimator(), settings, [CAMERA], (), print, print, wrong)


class SteadyEstimator(BrightnessEstimator):
    """1/Z of a scene, in the same scale in every frame."""

    def __init__(self, depth_z: np.ndarray) -> None:
        super().__init__()
        self.depth_z = depth_z

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        return np.where(np.isfinite(self.depth_z), 1 / self.depth_z, 0).astype(np.float32)


def zoomed(line: BagPipeline) -> None:
    line.process(cdr(1.55, CAMERA.info, camera_info_message(RGB, START_NS, focal=468.0)))


def raised(line: BagPipeline) -> None:
    settings = line._node.settings
    line._node.settings = dataclasses.replace(settings, camera_height=2 * settings.camera_height)


@pytest.mark.parametrize('change', [zoomed, raised])
def test_a_scale_of_another_camera_or_mount_serves_no_frame(change):
    """Nothing else tells that the metres of a wall that fills the picture would be others."""
    estimator = SteadyEstimator(scene_depth(box()))
    steady = {'picture_check': False, 'frozen_after': 0.0, 'scale.expiry': 60.0}
    line = pipeline(estimator, ('depth/image', 'scan', 'proximity'), **MOUNT, **steady)
    line.process(info())
    for number in range(5):
        made = line.process(image(1.0 + number / 10))
    assert 'depth/image' in names(made)
    estimator.depth_z = np.full_like(estimator.depth_z, 0.8)
    assert 'depth/image' in names(line.process(image(1.5)))  # by the last scale
    change(line)
    assert names(line.process(image(1.6))) == []
