"""obstacle_distance_node: a scan in; what an autopilot takes for MAVLink's OBSTACLE_DISTANCE out.

For PX4 through px4_msgs, where that is installed, or for PX4 and ArduPilot through mavros, whose
plugin takes a LaserScan that goes clockwise. Clear, unknown and a distance stay apart. A scan that
falls silent makes this fall silent: autopilots have a time-out of their own for it. /diagnostics
and the log say why, and whether anybody listens.
"""

from __future__ import annotations

import array
import dataclasses
import importlib
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType
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
from midas_depth_ros.nodes.ros.messages import copied_header, status_message
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.options.avoidance import ObstacleDistanceSettings

BODY_FRD = 12  # MAV_FRAME_BODY_FRD
US = 1000  # nanoseconds in a microsecond
HALF_CM = 0.5 / CM
CHECK_S = 1.0
SILENT_S = 3.0  # without a scan that was passed on, or without a listener
LISTENERS = {
    'mavros': 'remap it, -r obstacle_distance:=/mavros/obstacle/send, and start mavros',
    'px4': 'remap it, -r obstacle_distance:=/fmu/in/obstacle_distance, and start the agent of PX4',
}


@dataclasses.dataclass(frozen=True)
class Report:
    """What diagnostics say. silent_s, idle_s: since a scan was passed on, and since one came.
    unheard, deaf: why not.
    """

    scan_topic: str
    sent_topic: str
    autopilot: str
    received: int
    passed_on: int
    faults: boundary.Faults
    silent_s: float
    idle_s: float
    publishers: int
    unheard: Sequence[str]
    listeners: int
    deaf: Sequence[str]

    def silence(self) -> str:
        """Why nothing is passed on; '' while something is."""
        if self.silent_s < SILENT_S:
            return ''
        if self.idle_s < SILENT_S:
            return f'no scan was passed on for {SILENT_S:g} s: {self.faults.last}'
        if self.publishers:
            reason = f'{self.scan_topic} has publishers: {self.publishers}'
        else:
            reason = f'nobody publishes {self.scan_topic}: remap scan to the topic of your sensor'
        return f'no scan for {SILENT_S:g} s: {reason}'

    def unheeded(self) -> str:
        """That nobody listens, with the remedy; '' where somebody does."""
        if self.listeners or self.deaf:
            return ''
        return f'nobody hears {self.sent_topic}: {LISTENERS[self.autopilot]}'

    def reasons(self) -> list[str]:
        """Why publishers are not heard, and subscribers do not hear."""
        return [
            *(f'{self.scan_topic} not heard: {reason}' for reason in self.unheard),
            *(f'{self.sent_topic} not heard: {reason}' for reason in self.deaf),
        ]


def obstacle_distance_status(node: str, report: Report) -> DiagnosticStatus:
    """ERROR while no scan is passed on, WARN while some are refused or somebody does not hear."""
    silence, fault, refused = report.silence(), report.faults.last, ''
    if report.faults.recent and fault not in silence:
        refused = f'{report.scan_topic} refused: {fault}'
    parts = [silence, *report.reasons(), report.unheeded(), refused]
    text = '; '.join(filter(None, parts))
    level = DiagnosticStatus.WARN if text else DiagnosticStatus.OK
    if silence:
        level = DiagnosticStatus.ERROR
    values: dict[str, object] = {
        'scan topic': report.scan_topic,
        'scan publishers': report.publishers,
        'incompatible publishers': '; '.join(report.unheard),
        'scans received': report.received,
        'passed on': report.passed_on,
        'refused': report.faults.count,
        'last fault': report.faults.last,
        'obstacle_distance topic': report.sent_topic,
        'autopilot': report.autopilot,
        'listeners': report.listeners,
        'incompatible listeners': '; '.join(report.deaf),
    }
    going = f'scans of {report.scan_topic} are passed on to {report.sent_topic}'
    text = text or (going if report.passed_on else f'waiting for scans on {report.scan_topic}')
    return status_message(f'{node}: obstacle distance', level, text, values)


class ObstacleDistanceNode(Node):
    """Publishes `obstacle_distance` for every message on `scan`."""

    def __init__(self, **node_options: Any) -> None:
        """Raises ValueError where px4_msgs is asked for and not installed."""
        super().__init__('obstacle_distance_node', **node_options)
        try:
            self._parameter_server = ParameterServer(self, ObstacleDistanceSettings)
            self._stamps, self._received_s = StampChecker(), -math.inf
            self._received = self._passed_on = 0
            self._passed_s = self._heeded_s = time.monotonic()
            self._came_s = -math.inf
            self._logged: set[str] = set()
            self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
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
        # Steady: it must work when a simulated clock stands still.
        self.create_timer(CHECK_S, self._check, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def _on_scan(self, scan: LaserScan) -> None:
        """Pass a scan on, or refuse it, counted and logged."""
        self._received, self._came_s = self._received + 1, time.monotonic()
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
        self._passed_on += 1
        self._passed_s = time.monotonic()

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

    def _check(self) -> None:
        """Say why nothing comes in or nobody listens: on /diagnostics, and once in the log."""
        report = self._report()
        said = {each: each for each in report.reasons()}
        if report.silence():
            said['silence'] = report.silence()
        if report.unheeded() and time.monotonic() - self._heeded_s >= SILENT_S:
            said['unheeded'] = report.unheeded()
        for key in sorted(set(said) - self._logged):
            self.get_logger().warning(said[key])
        self._logged = set(said)
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(obstacle_distance_status(self.get_name(), report))
        self._diagnostics.publish(message)

    def _report(self) -> Report:
        steady_s, topic = time.monotonic(), self._subscription.topic_name
        publishers, unheard = qos.publishers_of(self, self._subscription)
        listeners = self._publisher.get_subscription_count()
        if listeners:
            self._heeded_s = steady_s
        return Report(
            scan_topic=topic,
            sent_topic=self._publisher.topic_name,
            autopilot=self._parameter_server.current.autopilot,
            received=self._received,
            passed_on=self._passed_on,
            faults=boundary.faults_of(self).get(topic, boundary.Faults()),
            silent_s=steady_s - self._passed_s,
            idle_s=steady_s - self._came_s,
            publishers=publishers,
            unheard=unheard,
            listeners=listeners,
            deaf=qos.subscribers_of(self, self._publisher),
        )


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
