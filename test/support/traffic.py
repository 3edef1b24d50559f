"""Publishes commands, scans and closeness, and collects the velocities of an avoidance_node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from geometry_msgs.msg import Twist, TwistStamped, Vector3Stamped
from rclpy.qos import qos_profile_sensor_data
from ros_helpers import Ros
from rosgraph_msgs.msg import Clock
from scans import fields
from sensor_msgs.msg import LaserScan

PERIOD_S = 0.04


def laser_scan(distance: float = 5.0, **changes: Any) -> LaserScan:
    """A wall `distance` m ahead of the sensor; `changes` replace any field."""
    message = LaserScan()
    message.header.frame_id = 'base_link'
    for name, value in fields(distance, **changes).items():
        setattr(message, name, value if name != 'ranges' else [float(r) for r in value])
    return message


class Traffic:
    """Publishes what its attributes say, again and again; None is not sent.

    `late_s` is taken off the stamps. `stamp` False leaves them at zero.
    """

    def __init__(self, ros: Ros, stamped: bool = False, clock: bool = False) -> None:
        self.command: tuple[float, float] | None = None
        self.scan: LaserScan | None = None
        self.seen_free: LaserScan | None = None  # stamped as the scan, sent before it
        self.closeness: tuple[float, float, float] | None = None
        self.late_s, self.stamp = 0.0, True
        self.partner_last = False
        self.now_ns: Callable[[], int] | None = None  # what is stamped in place of the time
        self.time_s: float | None = 100.0 if clock else None
        self._ros, self._stamped = ros, stamped
        node = ros.node
        kind = TwistStamped if stamped else Twist
        # As drivers do: scans best effort, commands reliable.
        self._commands = node.create_publisher(kind, 'cmd_vel_in', 10)
        self._scans = node.create_publisher(LaserScan, 'scan', qos_profile_sensor_data)
        self._seen = node.create_publisher(LaserScan, 'seen_free', qos_profile_sensor_data)
        self._closeness = node.create_publisher(Vector3Stamped, 'closeness', 10)
        self._clock = node.create_publisher(Clock, '/clock', 10)
        self.sent: list[Twist | TwistStamped] = ros.collect(kind, 'cmd_vel')
        self._timer = node.create_timer(PERIOD_S, self._on_timer)

    def twists(self) -> list[Twist]:
        """Every velocity sent so far."""
        return [getattr(message, 'twist', message) for message in list(self.sent)]

    def wait(self, condition: Callable[[Twist], Any], what: str = 'a velocity') -> Twist:
        """The first velocity from now on that fulfils a condition."""
        seen = len(self.sent)
        return self._ros.spin_until(
            lambda: next((t for t in self.twists()[seen:] if condition(t)), None), what=what
        )

    def wait_speed(self, speed: float, tolerance: float = 0.005) -> Twist:
        """Wait until this is the speed forward."""
        return self.wait(lambda t: abs(t.linear.x - speed) <= tolerance, f'{speed} m/s')

    def _on_timer(self) -> None:
        if self.time_s is not None:
            self.time_s += PERIOD_S
            message = Clock()
            message.clock.sec = int(self.time_s)
            message.clock.nanosec = int(self.time_s % 1 * 1e9)
            self._clock.publish(message)
        if self.command is not None:
            self._commands.publish(self._command())
        if self.scan is not None:
            self._stamp(self.scan)
            if self.seen_free is not None and not self.partner_last:
                self._send_partner()
            self._scans.publish(self.scan)
            if self.seen_free is not None and self.partner_last:
                self._send_partner()
        if self.closeness is not None:
            vector = Vector3Stamped()
            self._stamp(vector)
            vector.vector.x, vector.vector.y, vector.vector.z = self.closeness
            self._closeness.publish(vector)

    def _send_partner(self) -> None:
        self.seen_free.header.stamp = self.scan.header.stamp
        self._seen.publish(self.seen_free)

    def _command(self) -> Twist | TwistStamped:
        message = TwistStamped() if self._stamped else Twist()
        if self._stamped:
            self._stamp(message)
            message.header.frame_id = 'base_link'
        twist = message.twist if self._stamped else message
        twist.linear.x, twist.angular.z = self.command
        return message

    def _stamp(self, message: Any) -> None:
        now_ns = self._ros.node.get_clock().now().nanoseconds
        if self.time_s is not None:
            now_ns = int(self.time_s * 1e9)
        now_ns = now_ns - int(self.late_s * 1e9) if self.stamp else 0
        if self.now_ns is not None:
            now_ns = self.now_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 10**9)
