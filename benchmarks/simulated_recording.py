"""Records a drive of the simulated robot with its truth: a bag for `midas_depth evaluate`.

    python -m benchmarks.simulated_recording OUT --seconds 40
    python -m benchmarks.simulated_recording OUT --seconds 120 --write docs/evaluate.md

The robot avoids obstacles by an exact scan, so that it comes near to many of them. The bag has what
a camera on it sees (image_raw, camera_info), an exact depth image registered to it, a planar
lidar (scan), and the odometry of its wheels, which may slip. `--write` compares it, too, and writes
what comes out into the example of a page.
"""

from __future__ import annotations

import argparse
import array
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image, LaserScan
from std_msgs.msg import Header

from benchmarks.performance_page import write_block
from midas_depth_ros.cli.main import main
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
from midas_depth_ros.nodes.sources.synthetic_camera import odometry_message
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.options.stream import RobotSettings
from midas_depth_ros.sim import WORLDS, DrivenRobot, World
from midas_depth_ros.sim.robot.robot import Disturbance, noisy, packed, robot_of

OPTICAL_FRAME, LIDAR_FRAME = 'camera_optical_frame', 'lidar'
IMAGE, INFO, SCAN = '/camera/image_raw', '/camera/camera_info', '/scan'
DEPTH, ODOMETRY = '/camera/depth_true/image', '/odom'
TYPES: dict[str, type] = {
    IMAGE: Image, INFO: CameraInfo, SCAN: LaserScan, DEPTH: Image, ODOMETRY: Odometry,
}  # fmt: skip
LIDAR_HEIGHT_M, LIDAR_STEPS, LIDAR_RANGE_M = 0.15, 720, 8.0
NANOSECONDS = 1_000_000_000
START_S = 1_700_000_000
CONTROL_HZ = 20.0


@dataclasses.dataclass(frozen=True)
class Recording:
    """What to record. exact: the pictures hold exact depth, packed, for an estimator that unpacks
    it. slip: share by which the wheels roll farther than the robot moves. straight: without random
    turns.
    """

    seconds: float = 40.0
    seed: int = 1
    world: str = 'furnished'
    rate_hz: float = DepthNodeSettings.max_rate
    speed_m_s: float = 0.4
    exact: bool = False
    noise: float = 0.0
    slip: float = 0.0
    straight: bool = False


def record_as_asked() -> None:
    """Write the bag."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0] if __doc__ else '')
    parser.add_argument('output', type=Path, help='the new folder of the bag')
    parser.add_argument('--seconds', type=float, default=Recording.seconds)
    parser.add_argument('--seed', type=int, default=Recording.seed)
    parser.add_argument('--world', choices=WORLDS, default=Recording.world)
    parser.add_argument('--slip', type=float, default=Recording.slip)
    parser.add_argument('--write', type=Path, metavar='PAGE', help='a page with an example')
    given = parser.parse_args()
    plan = Recording(given.seconds, given.seed, given.world, slip=given.slip)
    record(given.output, plan)
    print(
        f'{given.output}: the camera is {rig.ROBOT.camera_height_m} m high and looks '
        f'{rig.ROBOT.camera_pitch_rad} rad down; the lidar is {LIDAR_HEIGHT_M} m high'
    )
    if given.write is not None:
        write_block(given.write, 'example', example(given.output, given.seconds))


COMMAND = (
    'evaluate {bag} --truth /scan --truth-at 0,0,{lidar:g} --model embedded --source auto '
    '--source ground_plane -p odometry.topic:=/odom -p camera_height:={height:g} '
    '-p camera_pitch:={pitch:g} --stopping-distance 0.6 -o page.html'
)


def example(bag: Path, seconds: float) -> str:
    """Return both commands, the verdicts and the overview, as text of a page."""
    line = COMMAND.format(
        bag='{bag}',
        lidar=LIDAR_HEIGHT_M,
        height=rig.ROBOT.camera_height_m,
        pitch=rig.ROBOT.camera_pitch_rad,
    )
    words = line.format(bag=bag).split()[:-2]
    shown = line.format(bag='recording').replace(' -p odometry', ' \\\n    -p odometry')
    output = click.testing.CliRunner().invoke(main, [*words, '--json']).stdout
    runs = json.loads(output)['runs']
    head = ('model, source', 'AbsRel', 'bias', 'in metres', 'false clear', 'within 1, 2 sigma')
    rows = [head, ['---'] * len(head), *map(_row, runs)]
    return '\n'.join(
        [
            '',
            '```console',
            f'$ python -m benchmarks.simulated_recording recording --seconds {seconds:g}',
            f'$ midas_depth {shown}',
            *(f'{run["name"]}: {run["verdict"]["text"]}' for run in runs),
            '```',
            '',
            *('| ' + ' | '.join(row) + ' |' for row in rows),
        ]
    )


def _row(run: dict[str, Any]) -> list[str]:
    sigma = run['sigma']
    shares = (run['depth']['abs_rel'], run['depth']['bias'], 1 - run['silent_share'])
    return [
        run['name'],
        *(f'{100 * value:.1f} %' for value in (*shares, run['scan']['false_clear_rate'])),
        f'{sigma["within_1"]:.0%}, {sigma["within_2"]:.0%}' if sigma else '',
    ]


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
    wheels = dataclasses.replace(of.robot, slip=plan.slip)
    robot = DrivenRobot(world, robot_of(of), time_s=0.0, wheels=wheels)
    eyes = PerfectSensor(ScanBeams(-math.pi, math.pi - 0.01, 0.0175, 0.05, 8.0))
    avoidance = ScanAvoidance(settings.avoidance)
    commander = Commander(plan.seed, plan.speed_m_s, plan.seconds)
    sensors = Sensors(camera, robot, plan)
    every = round(CONTROL_HZ / plan.rate_hz)
    for tick in range(round(plan.seconds * CONTROL_HZ)):
        now_s = tick / CONTROL_HZ
        robot.advance(now_s)
        odometry = odometry_message(_received(now_s, 0.0), robot.odometry, wheels)
        yield _received(now_s, 0.001), ODOMETRY, odometry
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
    record_as_asked()
