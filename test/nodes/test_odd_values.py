"""Strings, lists and pairs that nobody thinks of: refused where they are set, or good for ever.

Real nodes over real DDS. What a node takes it must still work with: nothing that was accepted
fails a frame later, or ends the node at the next transition.
"""

from __future__ import annotations

import dataclasses
import itertools

import cv2
import numpy as np
import pytest
from driving import header, picture, state
from fakes import SceneEstimator
from lifecycle_msgs.msg import State
from rclpy.exceptions import ParameterException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.parameter import Parameter
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Header

from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import image_message
from midas_depth_ros.nodes.sources.image_stream import ImageStream
from midas_depth_ros.options.avoidance import AvoidanceSettings
from midas_depth_ros.options.declarations import OptionFault, build, specs, specs_for_values
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import ImageStreamSettings, SyntheticCameraSettings

from .test_metric_topics import MOUNT, PICTURE, RGB, box, camera_info_message, scene_depth

ODD = (
    *('', ' ', 'a b', '/', '//', '/a', 'a/', 'a//b', '1a', 'ü', '日本', '\0', 'a\0b', '\x1b[31m'),
    *('\n', 'a\n', 'a\tb', '\u202e', '\ufeff', 'x' * 300, 'x' * 5000, '~', '~/', '~/a', '~a'),
    *('~nobody/x', '{node}', '{', 'a-b', 'a.b', 'null', 'true', '7', '..', '/dev/zero', '__a'),
)
SURROGATE = '\udcff'  # can be no text of a message
OF_THE_PROCESS = ('cpu_affinity', 'niceness')  # what a test must not change
# Others decide about these; here they only have to be worked with.
LOADED = ('model', 'backend')
BY_TF = ('odometry.fixed_frame',)  # configures only where tf2_ros is installed


def strings(settings_class, values=None) -> dict:
    """The parameters of a class that are text of any kind, by name."""
    every = specs_for_values(settings_class, values or {}) if values else {
        spec.name: spec for spec in specs(settings_class)
    }  # fmt: skip
    return {
        name: spec
        for name, spec in every.items()
        if spec.kind == 'string' and not spec.choices and name not in OF_THE_PROCESS
    }


DEPTH = strings(DepthNodeSettings, {'cameras': ['camera']})


@pytest.mark.parametrize('name', [name for name in DEPTH if name.endswith('frame')])
@pytest.mark.parametrize('settings_class', [DepthNodeSettings])
def test_a_frame_that_is_accepted_comes_through_a_message_as_it_is(settings_class, name):
    spec = DEPTH[name]
    assert spec.fault(SURROGATE)
    for value in ODD:
        if not spec.fault(value):
            message = Header(frame_id=value)
            assert deserialize_message(serialize_message(message), Header).frame_id == value
            assert value.isprintable()
            assert not value.startswith('/')
            assert ' ' not in value
            assert value or name.startswith('mounts.') or name in BY_TF


@pytest.mark.parametrize('name', [name for name in DEPTH if name.endswith('topic')])
def test_a_topic_that_is_accepted_is_one_that_ros_takes(name):
    spec = DEPTH[name]
    assert spec.fault(SURROGATE)
    taken = [value for value in (*ODD, 'imu', '/imu/data', 'a/b_1') if not spec.fault(value)]
    assert {'', 'imu', '/imu/data', 'a/b_1', '~/a'} <= set(taken)
    for value in filter(None, taken):
        full = expand_topic_name(value, 'depth_node', '/robot')
        assert validate_full_topic_name(full)


@pytest.fixture
def node(ros):
    """A depth_node that is not configured yet."""
    estimator = SceneEstimator(scene_depth(box()))
    parameters = {'autostart': False, 'max_rate': 0.0, **MOUNT}
    return ros.make_node(DepthNode, lambda settings: estimator, parameters=parameters)


@pytest.mark.sampled
@pytest.mark.parametrize('name', [name for name in DEPTH if name not in LOADED + BY_TF])
def test_what_depth_node_takes_it_works_with(ros, node, name):
    """Each value that is accepted goes through configure, a frame in metres, and back."""
    scans = ros.collect(LaserScan, 'camera/scan')
    images = ros.node.create_publisher(Image, 'camera/image_raw', 10)
    infos = ros.node.create_publisher(CameraInfo, 'camera/camera_info', 10)
    moment = itertools.count(1)
    taken = 0
    for value in ODD:
        if name.startswith('mounts.') and name not in node._parameters:
            assert node.trigger_configure().name == 'SUCCESS'  # declares them
            node.trigger_cleanup()
        result = node.set_parameters([Parameter(name, value=value)])[0]
        if not result.successful:
            assert name in result.reason
            continue
        taken += 1
        assert node.trigger_configure().name == 'SUCCESS', value
        assert node.trigger_activate().name == 'SUCCESS', value
        count = len(scans)

        def more(count=count):
            head = header(100 + next(moment) / 10)
            infos.publish(camera_info_message(PICTURE, head))
            images.publish(image_message(RGB, head))
            ros.spin_for(0.03)
            return len(scans) > count

        if not (name.endswith('imu_topic') and value):  # there nobody tells the attitude
            ros.spin_until(more, what=f'a scan with {name} = {value!r}')
        assert node.trigger_deactivate().name == 'SUCCESS', value
        assert node.trigger_cleanup().name == 'SUCCESS', value
    assert taken < len(ODD)


@pytest.mark.sampled
@pytest.mark.parametrize(
    'value', [['a', ''], ['a b'], ['a', 'a'], [''], ['/a'], ['a/'], ['x' * 500], ['a'] * 1000,
              ['ü'], ['a\0'], ['depth', 'depth/depth'], []]
)  # fmt: skip
def test_cameras_that_cannot_be_are_refused_where_they_are_set(ros, node, value):
    parameter = Parameter('cameras', Parameter.Type.STRING_ARRAY, value)
    result = node.set_parameters([parameter])[0]
    assert not result.successful
    assert 'cameras' in result.reason
    assert len(result.reason) < 1000
    assert node.trigger_configure().name == 'SUCCESS', 'the old ones serve'


@pytest.mark.parametrize('kind', [DepthNodeSettings, AvoidanceSettings])
def test_limits_that_contradict_each_other_are_refused(kind):
    """Wherever there is a lowest and a highest of something, also when they are equal."""
    names = {spec.name: spec for spec in specs(kind)}
    pairs = [
        (low, low.replace(one, other))
        for low in names
        for one, other in (('min', 'max'), ('low', 'high'), ('near', 'far'))
        if one in low and low.replace(one, other) in names and low != low.replace(one, other)
    ]
    assert kind is not DepthNodeSettings or len(pairs) >= 5
    for low, high in pairs:
        bottom, top = names[high].minimum, names[low].maximum
        if bottom is None or top is None or bottom > top:
            continue
        for values in ({low: top, high: bottom}, {low: top, high: top}):
            if top <= names[high].maximum:
                with pytest.raises(OptionFault, match='is not'):
                    build(kind, values)


def test_limits_that_contradict_each_other_are_refused_by_the_running_node(ros):
    estimator = SceneEstimator(scene_depth(box()))
    node = ros.make_node(DepthNode, lambda settings: estimator, parameters=MOUNT)
    ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
    for low, high, value in (
        ('scan.range_min', 'scan.range_max', 8.0),
        ('depth.min', 'depth.max', 10.0),
        ('obstacles.min_height', 'obstacles.max_height', 1.5),
        ('heatmap.metric_near', 'heatmap.metric_far', 7.0),
    ):
        before = node.settings
        result = node.set_parameters([Parameter(low, value=value)])[0]
        if value >= dict(_values(before))[high]:
            assert not result.successful
            assert low in result.reason
            assert high in result.reason
            assert node.settings is before
        both = [Parameter(low, value=value), Parameter(high, value=value / 2)]
        assert not node.set_parameters_atomically(both).successful
        assert node.get_parameter(high).value == dict(_values(before))[high]


def _values(settings, prefix=''):
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from _values(value, f'{prefix}{field.name}.')
        else:
            yield prefix + field.name, value


@pytest.mark.sampled
@pytest.mark.parametrize('name', strings(ImageStreamSettings))
def test_what_image_stream_takes_it_works_with(ros, tmp_path, monkeypatch, name):
    """The node says no with the name of what is wrong, or pictures come."""
    monkeypatch.chdir(tmp_path)
    cv2.imwrite('still.png', picture())
    given = {'source': 'still.png', 'loop': True, 'rate': 50.0, 'transport': 'raw'}
    for number, value in enumerate((*ODD, SURROGATE)):
        camera = f'c{number}'
        parameters = {'camera': camera, **given, name: value}
        reason = ''
        try:
            node = ros.make_node(ImageStream, parameters=parameters)
        except (ValueError, ParameterException) as error:
            reason = f'{type(error).__name__}: {error}'
        if reason:
            assert reason.isprintable()
            assert len(reason) < 3000, value
            continue
        camera = value if name == 'camera' else camera
        pictures = ros.collect(Image, f'{camera}/image_raw')
        ros.spin_until(lambda: pictures, what=f'pictures with {name} = {value!r}')  # noqa: B023
        assert np.asarray(pictures[0].data).any()
        if name == 'frame_id' and value:
            assert pictures[0].header.frame_id == value
        ros.destroy(node)


def test_synthetic_camera_knows_frames_as_the_others_do():
    for spec in strings(SyntheticCameraSettings).values():
        if 'frame' in spec.name:
            for value in (SURROGATE, '\0', 'a b', '/a', 'x' * 300, '\x1b[31m'):
                assert spec.fault(value), (spec.name, value)
