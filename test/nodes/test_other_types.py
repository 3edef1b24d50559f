"""A publisher of another type on an awaited topic is no silence: who, what, and which parameter.

A middleware hands nothing over between two types, and tells nobody.
"""

from __future__ import annotations

import re

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from driving import diagnostics, read, state
from fakes import BrightnessEstimator
from geometry_msgs.msg import Twist, TwistStamped
from lifecycle_msgs.msg import State
from ros_helpers import Ros
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, LaserScan, PointCloud2

from midas_depth_ros.geometry import Refusal
from midas_depth_ros.nodes.avoidance_node import AvoidanceNode
from midas_depth_ros.nodes.depth.metric_sources import Mounting, ReferenceInput
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.sources.synthetic_camera import SyntheticCamera
from midas_depth_ros.options.depth import DepthNodeSettings

from .test_reference_input import CAMERA, MOUNT


@pytest.fixture
def driver(ros):
    """Who publishes: one process cannot have two types on one topic."""
    made = Ros(ros.domain_id)
    yield made
    made.close()


def camera_status(ros, words: str, level=DiagnosticStatus.ERROR) -> str:
    found = diagnostics(ros, 'camera camera', lambda s: words in s.message)
    assert found.level == level
    return found.message


@pytest.mark.parametrize(
    ('transport', 'topic', 'kind', 'remedy'),
    [
        ('raw', 'camera/image_raw', CompressedImage, 'set transport to compressed'),
        ('compressed', 'camera/image_raw/compressed', Image, 'set transport to raw'),
    ],
)
def test_pictures_of_the_other_transport_are_said_with_the_parameter(
    ros, driver, capfd, transport, topic, kind, remedy
):
    parameters = {
        'diagnostics_rate': 10.0,
        'image_timeout': 0.2,
        'transport': transport,
        'scale.source': 'points',
        'imu_topic': 'imu',
    }
    driver.node.create_publisher(Image, 'camera/camera_info', 10)
    ros.spin_until(lambda: ros.node.count_publishers('camera/camera_info'), what='the driver')
    ros.make_node(DepthNode, lambda settings: BrightnessEstimator(), parameters=parameters)
    ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
    awaited = CompressedImage if transport == 'compressed' else Image
    words = (
        f'waiting for images on /{topic} ({qos.type_name(awaited)}), camera_info on '
        '/camera/camera_info (sensor_msgs/msg/CameraInfo), '
        '/camera/reference/points (sensor_msgs/msg/PointCloud2), /imu (sensor_msgs/msg/Imu)'
    )
    assert words in capfd.readouterr().err
    # Beside the topic, where image_transport has the others.
    beside = 'camera/image_raw' if transport == 'compressed' else 'camera/image_raw/compressed'
    other = driver.node.create_publisher(kind, beside, 10)
    assert f'they are on /{beside}: {remedy}' in camera_status(ros, 'they are on')
    driver.executor.create_task(driver.node.destroy_publisher, other)
    # And on the topic itself.
    driver.node.create_publisher(kind, topic, 10)
    text = camera_status(ros, remedy)
    assert f'test_peer publishes {qos.type_name(kind)}, not {qos.type_name(awaited)}' in text
    assert 'publishers: 1, incompatible: 1' in text
    words = f'test_peer publishes {qos.type_name(Image)}, not {qos.type_name(CameraInfo)}'
    diagnostics(ros, 'camera camera', lambda s: words in read(s)['camera_info not heard'])
    assert re.search(f'no camera_info yet.*{re.escape(words)}', capfd.readouterr().err)
    # A second publisher that cannot be heard is no second camera.
    images = ros.node.create_publisher(awaited, topic, 10)

    def goes_on(status) -> bool:
        images.publish(awaited())
        return read(status)['publishers'] == '2'

    found = diagnostics(ros, 'camera camera', goes_on)
    assert '2 publishers on' not in found.message


def test_commands_of_the_other_kind_are_said_with_the_parameter(ros, driver, log_lines):
    """By whoever watches: the avoidance, for both its sides, and the simulated robot."""
    ros.make_node(AvoidanceNode, parameters={'diagnostics_rate': 10.0})
    ros.spin_until(
        lambda: any(
            'waiting for cmd_vel_in on /cmd_vel_in (geometry_msgs/msg/Twist), scan on /scan '
            '(sensor_msgs/msg/LaserScan)'
            in line
            and 'cmd_vel goes to /cmd_vel (geometry_msgs/msg/Twist)' in line
            for line in log_lines()
        ),
        what='the topics in the log',
    )
    driver.node.create_publisher(TwistStamped, 'cmd_vel_in', 10)
    driver.node.create_publisher(PointCloud2, 'scan', 10)
    driver.node.create_subscription(TwistStamped, 'cmd_vel', print, 10)
    words = (
        '/cmd_vel_in not heard: test_peer publishes geometry_msgs/msg/TwistStamped, not '
        'geometry_msgs/msg/Twist: set stamped to true',
        '/scan not heard: test_peer publishes sensor_msgs/msg/PointCloud2, not '
        'sensor_msgs/msg/LaserScan: remap to a topic of that type',
        'test_peer expects geometry_msgs/msg/TwistStamped on /cmd_vel, not '
        'geometry_msgs/msg/Twist: set stamped to true',
    )
    found = diagnostics(ros, 'avoidance', lambda s: all(each in s.message for each in words))
    assert found.level != DiagnosticStatus.OK
    assert 'set stamped to true' in read(found)['cmd_vel_in incompatible publishers']
    ros.spin_until(lambda: all(each in '\n'.join(log_lines()) for each in words))
    for each in words:
        assert sum(each in line for line in log_lines()) == 1, 'it is said once'


def test_the_simulated_robot_says_which_commands_it_cannot_hear(ros, driver):
    parameters = {'scene': 'robot', 'camera': 'eye', 'width': 64, 'height': 48, 'rate': 1.0}
    ros.make_node(SyntheticCamera, parameters=parameters)
    driver.node.create_publisher(TwistStamped, 'cmd_vel', 10)
    found = diagnostics(ros, 'drive', lambda s: 'cmd_vel not heard' in s.message)
    assert found.level == DiagnosticStatus.WARN
    assert 'publishes geometry_msgs/msg/TwistStamped' in found.message


def test_references_and_orientations_of_another_type_are_said_in_the_refusal(ros, driver):
    driver.node.create_publisher(PointCloud2, 'camera/reference/scan', 10)
    driver.node.create_publisher(CameraInfo, 'imu', 10)
    settings = DepthNodeSettings(imu_topic='imu', camera_height=0.3, camera_pitch=0.1)
    ros.node.settings = settings
    reference = ReferenceInput(ros.node, 'camera', 'scan')
    mounting = Mounting(ros.node, 'camera')

    def refusals() -> str:
        said = [reference.points(7, CAMERA, MOUNT, settings), mounting.at(7, 'optical')]
        assert all(isinstance(each, Refusal) for each in said)
        return '; '.join(each.reason for each in said)

    ros.spin_until(lambda: refusals().count('test_peer publishes') == 2, what='both')
    assert 'nothing on camera/reference/scan yet' in refusals()
    assert qos.type_name(LaserScan) in refusals()
    assert 'set scale.source to points' in refusals()
    assert f'not {qos.type_name(Imu)}' in refusals()
    reference.close()
    mounting.close()


def test_a_command_that_is_heard_is_no_fault(ros, driver):
    ros.make_node(AvoidanceNode, parameters={'diagnostics_rate': 10.0})
    driver.node.create_publisher(Twist, 'cmd_vel_in', 10)
    found = diagnostics(ros, 'avoidance', lambda s: read(s)['cmd_vel_in publishers'] == '1')
    assert 'not heard' not in found.message
    assert not read(found)['deaf to cmd_vel']
