"""The parameter cameras may change between two configurations, whatever mounts were given."""

from __future__ import annotations

from fakes import BrightnessEstimator
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from midas_depth_ros.nodes.depth.node import DepthNode


def test_a_camera_with_a_mount_of_its_own_can_be_left_out_later(ros):
    """Its parameters were those of a camera once: no mistake in writing."""
    parameters = {'autostart': False, 'cameras': ['front', 'rear']}
    parameters |= {'mounts.front.camera_height': 0.2, 'mounts.rear.camera_height': 0.4}
    node = ros.make_node(DepthNode, lambda settings: BrightnessEstimator(), parameters=parameters)
    for cameras in (['front', 'rear'], ['front'], ['rear']):
        assert node.set_parameters([Parameter('cameras', value=cameras)])[0].successful
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, cameras
        assert list(node.cameras) == cameras
        assert node.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert node.settings.mounts['rear'].camera_height == 0.4
