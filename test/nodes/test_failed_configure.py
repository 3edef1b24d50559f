"""A configure that fails halfway leaves nothing behind, and the next one works."""

from __future__ import annotations

import pytest
from fakes import BrightnessEstimator
from rclpy.lifecycle import TransitionCallbackReturn

from midas_depth_ros.nodes.depth import frame_scale, output, worker
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros import quality_of_service as qos

PARAMETERS = {
    'autostart': False,
    'cameras': ['front', 'rear'],
    'scale.source': 'auto',
    'imu_topic': 'imu',
    'odometry.topic': 'odom',
}


def unconfigured(ros, **parameters) -> DepthNode:
    return ros.make_node(
        DepthNode, lambda settings: BrightnessEstimator(), parameters=PARAMETERS | parameters
    )


def entities(node) -> tuple[list[str], list[str], int]:
    """What the node has in the graph, and its timers; not services, which it always has."""
    return (
        sorted(each.topic_name for each in node.publishers),
        sorted(each.topic_name for each in node.subscriptions),
        len(list(node.timers)),
    )


@pytest.mark.parametrize(
    ('where', 'name'),
    [
        (qos, 'make_publisher'),
        (qos, 'make_subscription'),
        (worker, 'Mounting'),
        (worker, 'RelativeOutput'),
        (worker, 'MetricOutput'),
        (worker, 'LastAnswer'),
        (output, 'FrameScale'),
        (frame_scale, 'ReferenceInput'),
        (frame_scale, 'FloorMotion'),
    ],
)
@pytest.mark.parametrize('fault', [ValueError, RuntimeError])
def test_nothing_of_a_failed_configure_is_left(ros, monkeypatch, where, name, fault):
    node = unconfigured(ros)
    before = entities(node)
    works = getattr(where, name)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    wanted = entities(node)
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert entities(node) == before
    made: list[object] = []

    def fails_late(*arguments, **options):
        made.append(arguments)
        if len(made) == failing:
            raise fault('not this one')
        return works(*arguments, **options)

    monkeypatch.setattr(where, name, fails_late)
    failing = -1
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    failing, made[:] = len(made), []  # the last one, of the second camera
    assert node.trigger_configure() != TransitionCallbackReturn.SUCCESS
    assert entities(node) == before
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert entities(node) == wanted


def test_a_wrong_qos_of_the_second_camera_leaves_no_topic(ros):
    parameters = {'qos_overrides./rear/scan.publisher.reliability': 'perhaps'}
    node = unconfigured(ros, **parameters)
    before = entities(node)
    for _ in range(2):
        assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
        assert entities(node) == before
