"""obstacle_distance_node: a scan in; what an autopilot takes for MAVLink's OBSTACLE_DISTANCE out.

For PX4 through px4_msgs, where that is installed, or for PX4 and ArduPilot through mavros, whose
plugin takes a LaserScan that goes clockwise. Clear, unknown and a distance stay apart. A scan that
falls silent makes this fall silent: autopilots have a time-out of their own for it.
"""

from __future__ import annotations

import array
import importlib
import math
import sys
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import LaserScan

from midas_depth_ros.avoidance import (
    BadSectors,
    MessageTimes,
    ObstacleDistance,
    obstacle_distance,
)
from midas_depth_ros.avoidance.freshness import StampChecker
from midas_depth_ros.avoidance.obstacle_distance import BINS, CM, SECTOR_RAD
from midas_depth_ros.images import NANOSECONDS, stamp_ns
from midas_depth_ros.nodes.ros import boundary
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import copied_header
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.avoidance import ObstacleDistanceSettings

BODY_FRD = 12  # MAV_FRAME_BODY_FRD
US = 1000  # nanoseconds in a microsecond
HALF_CM = 0.5 / CM


class ObstacleDistanceNode(Node):
    """Publishes `obstacle_distance` for every message on `scan`."""

    def __init__(self, **node_options: Any) -> None:
        """Raises ValueError where px4_msgs is asked for and not installed."""
        super().__init__('obstacle_distance_node', **node_options)
        try:
            self._parameter_server = ParameterServer(self, ObstacleDistanceSettings)
            self._stamps, self._received_s = StampChecker(), -math.inf
            kind: Any = LaserScan
            if self._parameter_server.current.autopilot == 'px4':
                kind = px4_message_type()
            self._publisher = qos.make_publisher(self, kind, 'obstacle_distance', qos.OUTPUT)
            self._subscription = qos.make_subscription(
                self, LaserScan, 'scan', self._on_scan, qos.NEWEST
            )
        except Exception:  # whatever it is: the node is freed, and the reason goes on
            self.destroy_node()
            raise
        self.get_logger().info(
            f'{self._subscription.topic_name} to {self._publisher.topic_name} for '
            f'{self._parameter_server.current.autopilot}'
        )
        self._kind = kind

    def _on_scan(self, scan: LaserScan) -> None:
        """Pass a scan on, or refuse it, counted and logged."""
        mixed = qos.several_publishers(self, self._subscription, 'scans')
        try:
            if mixed:
                raise BadSectors(mixed)
            sectors = obstacle_distance(
                scan.ranges,
                angle_min=scan.angle_min,
                angle_increment=scan.angle_increment,
                range_min=scan.range_min,
                range_max=scan.range_max,
                sensor_yaw=self._parameter_server.current.sensor_yaw,
            )
            late = self._late(scan)
            if late:
                raise BadSectors(late)
        except BadSectors as error:
            boundary.refuse(self, self._subscription.topic_name, str(error))
            return
        make = mavros_message if self._kind is LaserScan else px4_message
        self._publisher.publish(make(sectors, scan, self._kind))

    def _late(self, scan: LaserScan) -> str:
        """Why a scan is not of now, by its stamp; '' if it is, or its stamp is of another clock."""
        times = (self.get_clock().now().nanoseconds, stamp_ns(scan.header))
        received_s, stamp_s = (each / NANOSECONDS for each in times)
        timeout_s = self._parameter_server.current.timeout
        if received_s < self._received_s:  # the clock went back: a bag or a simulation begins anew
            self._stamps.clear()
        self._received_s = received_s
        moment = MessageTimes(received_s, stamp_s)
        return self._stamps.fault_of(moment, timeout_s, 'auto', other_clock=True)


def px4_message_type() -> Any:
    """px4_msgs/ObstacleDistance. Raises ValueError where it is not installed."""
    try:
        return importlib.import_module('px4_msgs.msg').ObstacleDistance
    except ImportError as error:
        raise ValueError(
            f'autopilot is px4, which needs px4_msgs ({error}): build it beside this package, of '
            'the release of your PX4, or set autopilot to mavros'
        ) from error


def mavros_message(sectors: ObstacleDistance, scan: LaserScan, kind: Any) -> Any:
    """The LaserScan of which mavros makes these sectors: clockwise from straight ahead (FRD)."""
    message = kind(header=copied_header(scan.header))
    message.angle_increment = SECTOR_RAD
    message.angle_max = SECTOR_RAD * (BINS - 1)
    message.range_min = sectors.min_cm / CM + HALF_CM
    message.range_max = sectors.max_cm / CM + HALF_CM
    message.ranges = array.array('f', sectors.ranges_m().tobytes())
    return message


def px4_message(sectors: ObstacleDistance, scan: LaserScan, kind: Any) -> Any:
    """The px4_msgs/ObstacleDistance of these sectors."""
    message = kind(timestamp=stamp_ns(scan.header) // US, frame=BODY_FRD)
    message.sensor_type = 0  # PX4 has no camera among its kinds: a laser
    message.distances = sectors.distances_cm
    message.increment = math.degrees(SECTOR_RAD)
    message.min_distance, message.max_distance = sectors.min_cm, sectors.max_cm
    message.angle_offset = 0.0
    return message


def main() -> int:
    """Run the node; returns the exit code."""
    if printed_help('obstacle_distance_node', ObstacleDistanceSettings, __doc__):
        return 0
    return run_node(ObstacleDistanceNode)


if __name__ == '__main__':
    sys.exit(main())
