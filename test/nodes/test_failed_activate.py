"""An activation or a resumption that fails leaves nothing running, says why, and the next works."""

from __future__ import annotations

import threading

import pytest
from driving import DEPTH, image, send_until, state
from fakes import BrightnessEstimator
from lifecycle_msgs.msg import State
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool

from midas_depth_ros.nodes.depth.camera_input import CameraInput
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros import boundary

NO_THREAD = "can't start new thread"


@pytest.fixture
def fails_once(monkeypatch):
    """Let the next call of a method raise RuntimeError."""

    def make(kind: type, name: str, text: str, only=lambda self: True) -> None:
        works, raised = getattr(kind, name), []

        def fails(self, *arguments, **options):
            if raised or not only(self):
                return works(self, *arguments, **options)
            raised.append(self)
            raise RuntimeError(text)

        monkeypatch.setattr(kind, name, fails)

    return make


def no_inference_thread(fails_once) -> None:
    """As where the system allows no more threads."""
    fails_once(threading.Thread, 'start', NO_THREAD, lambda self: self.name == 'inference')


def node_of(ros, **parameters) -> DepthNode:
    parameters = {'autostart': False, 'cameras': ['camera', 'rear'], **parameters}
    node = ros.make_node(DepthNode, lambda settings: BrightnessEstimator(), parameters=parameters)
    boundary.guard_services(node)  # as `run_node` does
    return node


def works(ros) -> bool:
    out = ros.collect(Image, DEPTH)
    send_until(ros, ros.publisher(Image, 'camera/image_raw'), image, out)
    return bool(out)


def test_without_a_thread_nothing_is_activated_and_the_log_says_why(ros, fails_once, log_lines):
    node = node_of(ros)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    no_inference_thread(fails_once)
    assert node.trigger_activate() != TransitionCallbackReturn.SUCCESS
    assert state(ros) == State.PRIMARY_STATE_UNCONFIGURED
    assert any(NO_THREAD in line for line in log_lines())
    assert not node.running_cameras()
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert works(ros)


@pytest.mark.parametrize('where', ['thread', 'second camera'])
def test_a_resumption_that_fails_is_not_called_running(ros, fails_once, where):
    ros.survives = True
    node = node_of(ros)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    enable = 'depth_node/enable'
    assert ros.call(SetBool, enable, SetBool.Request(data=False)).success
    if where == 'thread':
        no_inference_thread(fails_once)
    else:
        fails_once(CameraInput, 'open', NO_THREAD, lambda self: self._camera.name == 'rear')
    answer = ros.call(SetBool, enable, SetBool.Request(data=True))
    assert not answer.success
    assert NO_THREAD in answer.message
    assert not node.running_cameras()
    assert not [each for each in node.subscriptions if 'image_raw' in each.topic_name]
    assert ros.call(SetBool, enable, SetBool.Request(data=True)).success
    assert works(ros)


def test_a_model_that_cannot_be_closed_is_named_and_let_go(ros, fails_once, log_lines):
    node = node_of(ros)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    fails_once(BrightnessEstimator, 'close', 'the backend hangs on')
    node.trigger_cleanup()
    assert state(ros) == State.PRIMARY_STATE_UNCONFIGURED
    assert any('the backend hangs on' in line for line in log_lines())
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
