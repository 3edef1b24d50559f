"""Listens to what only a driving robot has, and fills a `DriveRecording`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticStatus
from geometry_msgs.msg import Twist
from nav_msgs.msg import Odometry
from sensor_msgs.msg import LaserScan, Range

from midas_depth_ros.demo.drive_recording import Beams, DriveRecording, Place
from midas_depth_ros.nodes.ros.messages import stamp_ns

# Parts of diagnostics that are told by the drive's own figures.
TALLY, STATE = 'synthetic_camera: drive', 'avoidance_node: avoidance'


class DriveListener:
    """Its callbacks take messages."""

    def __init__(self) -> None:
        self.recording = DriveRecording()

    def topics(self) -> list[tuple[Any, str, Callable[[Any], None] | None]]:
        """Type, name and callback; names without a leading slash are of the camera."""
        return [
            (Odometry, '/odom', self.on_odometry),
            (LaserScan, 'scan', self.on_scan),
            (LaserScan, '/ground_truth/scan', self.on_truth),
            (Range, 'proximity', None),
            (Twist, '/cmd_vel_in', None),
            (Twist, '/cmd_vel', None),
        ]

    def on_status(self, status: DiagnosticStatus) -> bool:
        """Take a part of diagnostics; whether it was of the drive."""
        values = {pair.key: pair.value for pair in status.values}
        if status.name == STATE:
            self.recording.add_state(time.time(), values['state'])
        elif status.name == TALLY:
            self.recording.tally = values
        return status.name in (STATE, TALLY)

    def on_odometry(self, message: Odometry) -> None:
        """Where the robot is."""
        pose = message.pose.pose
        yaw = 2 * math.atan2(pose.orientation.z, pose.orientation.w)
        place = Place(seconds(message), pose.position.x, pose.position.y, yaw)
        self.recording.places.offer(lambda: place)

    def on_scan(self, message: LaserScan) -> None:
        """What the node sees."""
        self.recording.add_scan(beams(message))

    def on_truth(self, message: LaserScan) -> None:
        """What is there."""
        self.recording.add_truth(beams(message))


def beams(message: LaserScan) -> Beams:
    """A scan as arrays."""
    ranges = np.array(message.ranges, np.float32)
    bearings = message.angle_min + message.angle_increment * np.arange(len(ranges))
    return Beams(seconds(message), bearings, ranges)


def seconds(message: Any) -> float:
    """A message's stamp."""
    return stamp_ns(message.header) / 1e9
