"""Records a drive of the simulated robot with its truth: a bag for `midas_depth evaluate`.

    python -m benchmarks.simulated_recording OUT --seconds 40

The robot avoids obstacles by an exact scan, so that it comes near to many of them. The bag has what
a camera on it sees (image_raw, camera_info), an exact depth image registered to it, a planar
lidar (scan), and the odometry of its wheels, which may slip.
"""

from __future__ import annotations

import argparse
import array
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Header

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.lab.drive import rig
from midas_depth_ros.lab.drive.in_process import (
    Commander,
    PerfectSensor,
    ScanAvoidance,
    ScanBeams,
)
from midas_depth_ros.lab.drive.rig import DrivePlan
from midas_depth_ros.lab.output import move_into_place, temporary_beside
from midas_depth_ros.nodes.bag.pipeline import OfflinePublisher
from midas_depth_ros.nodes.bag.writer import FILE_NAME, bag_writer
from midas_depth_ros.nodes.ros import messages
from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim import WORLDS, DrivenRobot, World
from midas_depth_ros.sim.robot.robot import Disturbance, noisy, packed, robot_of

OPTICAL_FRAME, BODY_FRAME, LIDAR_FRAME = 'camera_optical_frame', 'base_link', 'lidar'
IMAGE, INFO, SCAN = '/camera/image_raw', '/camera/camera_info', '/scan'
DEPTH, ODOMETRY = '/camera/depth_true/image', '/odom'
TYPES: dict[str, type] = {
    IMAGE: Image, INFO: CameraInfo, SCAN: LaserScan, DEPTH: Image, ODOMETRY: Odometry,
}  # fmt: skip
LIDAR_HEIGHT_M, LIDAR_STEPS, LIDAR_RANGE_M = 0.15, 720, 8.0
NANOSECONDS = 1_000_000_000
START_S = 1_700_000_000
CONTROL_HZ = 20.0
ODOMETRY_HZ = 20.0


@dataclasses.dataclass(frozen=True)
class Recording:
    """What to record. exact: the pictures hold exact depth, packed, for an estimator that unpacks
    it. slip: by which share the wheels report too long a way. straight: without random turns.
    """

    seconds: float = 40.0
    seed: int = 1
    world: str = 'furnished'
    rate_hz: float = 5.0
    speed_m_s: float = 0.4
    exact: bool = False
    noise: float = 0.0
    slip: float = 0.0
    straight: bool = False


def main() -> None:
    """Write the bag."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0] if __doc__ else '')
    parser.add_argument('output', type=Path, help='the new folder of the bag')
    parser.add_argument('--seconds', type=float, default=Recording.seconds)
    parser.add_argument('--seed', type=int, default=Recording.seed)
    parser.add_argument('--world', choices=WORLDS, default=Recording.world)
    parser.add_argument('--slip', type=float, default=Recording.slip)
    given = parser.parse_args()
    plan = Recording(given.seconds, given.seed, given.world, slip=given.slip)
    record(given.output, plan)
    print(
        f'{given.output}: the camera is {rig.ROBOT.camera_height_m} m high and looks '
        f'{rig.ROBOT.camera_pitch_rad} rad down; the lidar is {LIDAR_HEIGHT_M} m high'
    )


def record(output: Path, plan: Recording, world: World | None = None) -> None:
    """Drive, and write a rosbag2 folder. world: that of the plan by default."""
    profile = QoSProfile(depth=10)
    topics = {
        topic: OfflinePublisher(topic, kind, profile, lambda *_: None, True)
        for topic, kind in TYPES.items()
    }
    with temporary_beside(output) as part:
        with bag_writer(part, 'sqlite3', topics, {}) as writer:
            for time_ns, topic, message in drive(plan, world):
                writer.write(topic, time_ns, message)
        move_into_place(part / FILE_NAME, output)


def drive(plan: Recording, world: World | None = None) -> Iterator[tuple[int, str, Any]]:
    """Yield time of receipt in ns, topic and message."""
    settings = rig.node_settings(DrivePlan(depth='exact' if plan.exact else 'model'))
    of = settings.camera
    camera = CameraModel.from_field_of_view(of.width, of.height, of.horizontal_fov)
    world = world or WORLDS[plan.world](plan.seed)
    robot = DrivenRobot(world, robot_of(of), time_s=0.0)
    odometer = Odometer(robot, plan.slip)
    eyes = PerfectSensor(ScanBeams(-math.pi, math.pi - 0.01, 0.0175, 0.05, 8.0))
    avoidance = ScanAvoidance(settings.avoidance)
    commander = Commander(plan.seed, plan.speed_m_s, plan.seconds)
    sensors = Sensors(camera, robot, plan)
    every = round(CONTROL_HZ / plan.rate_hz)
    for tick in range(round(plan.seconds * CONTROL_HZ)):
        now_s = tick / CONTROL_HZ
        robot.advance(now_s)
        yield _received(now_s, 0.001), ODOMETRY, odometer.message(now_s)
        if tick % every == 0:
            avoidance.add_scan(now_s, eyes.sense(robot), now_s)
            yield from sensors.messages(now_s)
        speed, turn = commander.command(now_s)
        turn = 0.0 if plan.straight else turn
        robot.command(now_s, *avoidance.limit(now_s, speed, turn))


def _received(now_s: float, later_s: float) -> int:
    return START_S * NANOSECONDS + round((now_s + later_s) * NANOSECONDS)


def _header(now_s: float, frame_id: str) -> Header:
    stamp = messages.time_message(_received(now_s, 0.0))
    return Header(stamp=stamp, frame_id=frame_id)


class Odometer:
    """What the wheels say: the way from the start, too long by `slip`."""

    def __init__(self, robot: DrivenRobot, slip: float) -> None:
        self._robot, self._slip = robot, slip
        self._last = robot.motion
        self._x = self._y = 0.0

    def message(self, now_s: float) -> Odometry:
        """Return the odometry of now."""
        motion, last = self._robot.motion, self._last
        self._x += (1 + self._slip) * (motion.x_m - last.x_m)
        self._y += (1 + self._slip) * (motion.y_m - last.y_m)
        self._last = motion
        message = Odometry(header=_header(now_s, 'odom'), child_frame_id=BODY_FRAME)
        pose = message.pose.pose
        pose.position.x, pose.position.y = self._x, self._y
        pose.orientation.z = math.sin(motion.yaw_rad / 2)
        pose.orientation.w = math.cos(motion.yaw_rad / 2)
        message.twist.twist.linear.x = (1 + self._slip) * motion.speed_m_s
        message.twist.twist.angular.z = motion.turn_rad_s
        return message


class Sensors:
    """Camera, exact depth and lidar of the robot."""

    def __init__(self, camera: CameraModel, robot: DrivenRobot, plan: Recording) -> None:
        self._camera, self._robot, self._exact = camera, robot, plan.exact
        settings = dataclasses.replace(RobotSettings(), depth_noise=plan.noise)
        self._disturbance = Disturbance(plan.seed, settings)
        self._rng = np.random.default_rng(plan.seed)
        self._picture_noise = settings.picture_noise
        self._lidar = robot.world.plan((LIDAR_HEIGHT_M, LIDAR_HEIGHT_M + 1e-3))

    def messages(self, now_s: float) -> Iterator[tuple[int, str, Any]]:
        """Yield what they send of this moment; the lidar takes longer than the camera."""
        optical = _header(now_s, OPTICAL_FRAME)
        pose = self._robot.motion.camera_pose(self._robot.model)
        seen = self._robot.world.render(self._camera, pose)
        if self._exact:
            picture = packed(self._disturbance.relative_inverse_depth(seen.depth_z))
        else:
            picture = noisy(seen.rgb, self._picture_noise, self._rng)
        depth_z = np.where(np.isfinite(seen.depth_z), seen.depth_z, np.nan).astype(np.float32)
        info = messages.camera_info_message(self._camera, optical)
        yield _received(now_s, 0.004), INFO, info
        yield _received(now_s, 0.005), IMAGE, messages.image_message(picture, optical)
        yield _received(now_s, 0.012), DEPTH, messages.image_message(depth_z, optical)
        yield _received(now_s, 0.03), SCAN, self._scan(now_s)

    def _scan(self, now_s: float) -> LaserScan:
        motion = self._robot.motion
        step = math.tau / LIDAR_STEPS
        angles = -math.pi + step * np.arange(LIDAR_STEPS)
        pose = motion.camera_pose(self._robot.model)
        ranges = self._lidar.reach(pose.x_m, pose.y_m, motion.yaw_rad + angles)
        ranges[ranges > LIDAR_RANGE_M] = np.inf
        message = LaserScan(header=_header(now_s, LIDAR_FRAME))
        message.angle_min, message.angle_increment = -math.pi, step
        message.angle_max = -math.pi + step * (LIDAR_STEPS - 1)
        message.range_min, message.range_max = 0.05, LIDAR_RANGE_M
        message.ranges = array.array('f', ranges.astype(np.float32).tobytes())
        return message


if __name__ == '__main__':
    main()
