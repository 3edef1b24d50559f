"""A camera that drives through a rendered room: pictures with exact depth, and their odometry."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import numpy as np
from driving import header, values
from fakes import BrightnessEstimator
from nav_msgs.msg import Odometry
from sensor_msgs.msg import CameraInfo, Image

from midas_depth_ros.geometry import CameraModel
from midas_depth_ros.images import stamp_ns
from midas_depth_ros.nodes.ros.messages import camera_info_message, image_message
from midas_depth_ros.sim import Box, Material, Pose, Rendering, Room, Scene, render

CAMERA = CameraModel.from_field_of_view(320, 240, 1.2)
HEIGHT_M, PITCH_RAD = 0.3, 0.12
MOUNT = {'camera_height': HEIGHT_M, 'camera_pitch': PITCH_RAD}
RATE_HZ, SPEED_M_S = 10.0, 0.4
NEAR_M = 4.0
WALL = Material((0.6, 0.6, 0.55), 'bricks', (0.4, 0.9))
FLOOR = Material((0.6, 0.58, 0.5), 'tiles', (0.5, 1.0))
CARTON = Material((0.78, 0.58, 0.37), 'carton', (0.3, 0.8))
ROOM = Room(-2.0, 6.0, -1.8, 1.8, 2.5, walls=WALL)
BOXES = tuple(
    Box(x, y, 0.35, 0.35, height, 0.3, material=CARTON)
    for x, y, height in (
        (2.0, 0.7, 0.5), (2.6, -0.8, 0.4), (3.3, 0.2, 0.6), (1.4, -1.2, 0.3), (4.2, 1.0, 0.9),
    )
)  # fmt: skip
SCENE = Scene(FLOOR, ROOM, BOXES)


@functools.cache
def view(
    x_m: float, yaw_rad: float = 0.0, pitch_rad: float = PITCH_RAD, height_m: float = HEIGHT_M
) -> Rendering:
    """What the camera sees from there, on the way along y = 0."""
    return render(SCENE, CAMERA, Pose(x_m, 0.0, height_m, yaw_rad, pitch_rad))


class ExactEstimator(BrightnessEstimator):
    """Knows the depth of the pictures that it was shown; a random scale and shift in each."""

    model = 'exact'

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self._known: dict[int, np.ndarray] = {}
        self._random = np.random.default_rng(seed)

    def show(self, rendering: Rendering) -> np.ndarray:
        """Learn the depth of a picture, and return it."""
        self._known[hash(rendering.rgb.tobytes())] = rendering.depth_z
        return rendering.rgb

    def infer(self, rgb: np.ndarray) -> np.ndarray:
        self.calls += 1
        depth_z = self._known[hash(rgb.tobytes())]
        scale, shift = self._random.uniform(0.5, 2.0), self._random.uniform(-0.1, 0.1)
        return ((1 / depth_z - shift) / scale).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Step:
    """One picture of a drive: when, from where, and where odometry says that was."""

    stamp_s: float
    x_m: float
    said_m: float
    yaw_rad: float = 0.0


def drive(
    seconds: float,
    slip: float = 0.0,
    start_s: float = 100.0,
    start_m: float = 0.0,
    said_m: float = 0.0,
) -> list[Step]:
    """Straight on; slip: the share by which wheels turn more than the robot moves."""
    steps = []
    for number in range(round(seconds * RATE_HZ)):
        way = number * SPEED_M_S / RATE_HZ
        steps.append(Step(start_s + number / RATE_HZ, start_m + way, said_m + (1 + slip) * way))
    return steps


class Showing:
    """Shows pictures to a depth_node, and compares the metres that it publishes with the truth."""

    def __init__(self, ros: Any, exact: ExactEstimator) -> None:
        self.ros, self.exact = ros, exact
        self.images = ros.publisher(Image, 'camera/image_raw')
        self.infos = ros.publisher(CameraInfo, 'camera/camera_info')
        self.depth = ros.collect(Image, 'camera/depth/image')
        self.truth: dict[int, np.ndarray] = {}

    def show(self, stamp_s: float, seen: Rendering, info_s: float = 0.01) -> None:
        """Show a picture until the node has taken it; info_s: how long its calibration is ahead."""
        head = header(stamp_s)
        self.truth[stamp_ns(head)] = seen.depth_z
        self.infos.publish(camera_info_message(CAMERA, head))
        self.ros.spin_for(info_s)
        calls = self.exact.calls
        for _ in range(3):  # pictures are taken best effort
            self.images.publish(image_message(self.exact.show(seen), head))
            try:
                self.ros.spin_until(lambda: self.exact.calls > calls, 2.0)
                break
            except AssertionError:
                continue

    def ratio(self, message: Image) -> float:
        """By how much metres are too far, as a factor, in the median of what is near."""
        truth = self.truth[stamp_ns(message.header)]
        near = truth < NEAR_M
        return float(np.nanmedian(values(message)[near] / truth[near]))


def stand(after: Step, seconds: float) -> list[Step]:
    """Where the last step ended."""
    return [
        dataclasses.replace(after, stamp_s=after.stamp_s + (number + 1) / RATE_HZ)
        for number in range(round(seconds * RATE_HZ))
    ]


def odometry(stamp_s: float, x_m: float = 0.0, yaw_rad: float = 0.0, y_m: float = 0.0) -> Odometry:
    """A message of the robot's wheels."""
    message = Odometry(header=header(stamp_s, 'odom'), child_frame_id='base_link')
    message.pose.pose.position.x, message.pose.pose.position.y = x_m, y_m
    message.pose.pose.orientation.z = math.sin(yaw_rad / 2)
    message.pose.pose.orientation.w = math.cos(yaw_rad / 2)
    return message
