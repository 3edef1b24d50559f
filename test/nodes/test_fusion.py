"""`fusion.*` over real DDS: switched while the node runs, and what its outputs say."""

from __future__ import annotations

import math

import numpy as np
import pytest
from driving import diagnostics, header, read, set_parameter, stamp, values
from fakes import BrightnessEstimator
from lifecycle_msgs.msg import State
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image, LaserScan, PointCloud2

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.nodes.depth.node import DepthNode
from midas_depth_ros.nodes.ros.messages import camera_info_message, cloud_array, image_message
from midas_depth_ros.sim import Box, Material, Pose, Room, Scene, render

NETWORK = CameraModel.from_field_of_view(256, 192, 1.2)
PICTURE = CameraModel.from_field_of_view(320, 240, 1.2)
NOISE = 0.04
WALL = Material((0.8, 0.75, 0.7), 'tiles', (0.2, 0.2))
SCENE = Scene(
    room=Room(-3.0, 5.0, -2.0, 2.0, walls=WALL, ends=WALL),
    solids=(Box(1.7, 0.0, 0.4, 0.4, 0.4),),
)
PARAMETERS = {
    'diagnostics_rate': 10.0,
    'max_rate': 0.0,
    'scale.source': 'fixed',
    'scale.fixed_scale': 1.0,
    'camera_height': 0.3,
    'camera_pitch': 0.1,
    'obstacles.persistence': 1,
    'frozen_after': 0.0,
    'picture_check': False,
    'process_every_frame': True,
}


class NoisyEstimator(BrightnessEstimator):
    """1/Z of a scene with other noise in every frame; `said`: what it gave, frame by frame."""

    def __init__(self) -> None:
        super().__init__()
        self.random, self.said = np.random.default_rng(5), []
        self.true = (1 / render(SCENE, NETWORK, Pose(z_m=0.3, pitch_rad=0.1)).depth_z).astype('f4')

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        noise = self.random.standard_normal(self.true.shape, np.float32)
        self.said.append(self.true * (1 + np.float32(NOISE) * noise))
        return self.said[-1].copy()


class Rig:
    """A depth_node before one scene; its pictures, its odometry, and the metres it sends."""

    def __init__(self, ros, calibrated: bool = True, **parameters) -> None:
        from driving import state

        self.calibrated = calibrated

        self.ros, self.estimator = ros, NoisyEstimator()
        parameters = {**PARAMETERS, **parameters}
        ros.make_node(DepthNode, lambda settings: self.estimator, parameters=parameters)
        ros.spin_until(lambda: state(ros) == State.PRIMARY_STATE_ACTIVE, what='active')
        self.images = ros.publisher(Image, 'camera/image_raw')
        self.infos = ros.publisher(CameraInfo, 'camera/camera_info')
        self.wheels = ros.publisher(Odometry, 'odom') if 'odometry.topic' in parameters else None
        self.rgb = render(SCENE, PICTURE, Pose(z_m=0.3, pitch_rad=0.1)).rgb
        self.now_s = 100.0

    def send(self, received: list, count: int = 1):
        """Show the scene until so many messages have come; the last one."""
        wanted = len(received) + count
        while len(received) < wanted:
            self.now_s += 0.2
            head = header(self.now_s)
            if self.wheels is not None:
                message = Odometry(child_frame_id='base_link')
                message.header.stamp, message.header.frame_id = head.stamp, 'odom'
                message.pose.pose.orientation.w = 1.0
                self.wheels.publish(message)
            if self.calibrated:
                self.infos.publish(camera_info_message(PICTURE, head))
            self.ros.spin_for(0.02)
            self.images.publish(image_message(self.rgb, head))
            self.ros.spin_for(0.05)
            assert self.now_s < 200, f'{len(received)} of {wanted} messages'
        return received[-1]

    def says_one_frame(self, message: Image) -> bool:
        """Whether these metres are exactly what the estimator said of one frame."""
        depth_z = values(message)
        known = np.isfinite(depth_z)
        return any(np.array_equal(depth_z[known], (1 / d)[known]) for d in self.estimator.said)

    def off(self, message: Image) -> float:
        """The median error of an image of metres, as a share."""
        return float(np.nanmedian(np.abs(values(message) * self.estimator.true - 1)))


@pytest.mark.parametrize('odometry', [True, False])
def test_fusion_is_switched_while_the_node_runs(ros, odometry):
    given = {'odometry.topic': 'odom'} if odometry else {}
    rig = Rig(ros, output_size='network', **given)
    depth = ros.collect(Image, 'camera/depth/image')
    message = rig.send(depth, 3)
    assert rig.says_one_frame(message)
    usual = 0.6745 * NOISE
    assert rig.off(message) == pytest.approx(usual, rel=0.1)
    status = read(diagnostics(ros, 'camera camera', lambda s: 'scale' in read(s)))
    assert 'fusion motion' not in status

    assert set_parameter(ros, 'fusion.enabled', True) == (True, '')
    message = rig.send(depth, 8)
    assert rig.off(message) < 0.5 * usual
    motion = 'odometry' if odometry else 'flow'
    status = read(
        diagnostics(ros, 'camera camera', lambda s: read(s).get('fusion motion') == motion)
    )
    assert float(status['fusion share fused'].rstrip('%')) > 85
    assert float(status['fusion share started anew'].rstrip('%')) < 15

    assert set_parameter(ros, 'fusion.enabled', False) == (True, '')
    message = rig.send(depth, 2)
    assert rig.says_one_frame(message)


def test_cloud_scan_and_large_depth_say_what_is_fused(ros):
    rig = Rig(ros, **{'fusion.enabled': True})
    depth = ros.collect(Image, 'camera/depth/image')
    clouds = ros.collect(PointCloud2, 'camera/points')
    scans = ros.collect(LaserScan, 'camera/scan')
    rig.send(depth, 8)
    ros.spin_until(lambda: stamp(clouds[-1]) == stamp(scans[-1]) == stamp(depth[-1]))
    truth = render(SCENE, PICTURE, Pose(z_m=0.3, pitch_rad=0.1)).depth_z
    small = cloud_array(clouds[-1]).reshape(192, 256, 3)[..., 2]
    usual = 0.6745 * NOISE
    assert np.nanmedian(np.abs(small * rig.estimator.true - 1)) < 0.5 * usual
    assert values(depth[-1]).shape == (240, 320)
    assert np.nanmedian(np.abs(values(depth[-1]) / truth - 1)) < 0.6 * usual
    ranges = np.array(scans[-1].ranges)
    angles = scans[-1].angle_min + scans[-1].angle_increment * np.arange(len(ranges))
    ahead = np.abs(angles) < math.radians(4)
    assert np.nanmedian(ranges[ahead]) == pytest.approx(1.5, abs=0.04)


@pytest.mark.parametrize('gate', [0.5, 11.0])
def test_a_gate_out_of_bounds_is_refused(ros, gate):
    Rig(ros)
    done, reason = set_parameter(ros, 'fusion.gate', gate)
    assert not done
    assert 'fusion.gate' in reason


def test_an_uncalibrated_camera_is_fused_too_until_it_is_calibrated(ros):
    fixed = {'scale.source': 'fixed', 'fusion.enabled': True}
    rig = Rig(ros, calibrated=False, output_size='network', **fixed)
    depth = ros.collect(Image, 'camera/depth/image')
    assert rig.off(rig.send(depth, 12)) < 0.6 * 0.6745 * NOISE
    rig.calibrated = True
    assert rig.off(rig.send(depth, 12)) < 0.6 * 0.6745 * NOISE
