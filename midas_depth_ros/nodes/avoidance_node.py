"""avoidance_node: cmd_vel_in and a scan or closeness in; a cmd_vel that stops before obstacles out.

The ROS shell around `control.Avoidance`: callbacks keep the newest message, a timer of the node's
clock (a simulated one, if so set) decides and sends. No certified safety device.
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import Twist, TwistStamped, Vector3Stamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Header

from midas_depth_ros.control import Avoidance, BadScan, Decision, Moment, State, read_scan
from midas_depth_ros.nodes import quality_of_service as qos
from midas_depth_ros.nodes.avoidance_report import LEVELS, Input, avoidance_status, sentence
from midas_depth_ros.nodes.avoidance_settings import AvoidanceSettings
from midas_depth_ros.nodes.messages import stamp_ns
from midas_depth_ros.nodes.parameters import ParameterServer
from midas_depth_ros.nodes.scheduling import NANOSECONDS
from midas_depth_ros.nodes.spinning import run_node

NEWEST = qos.NEWEST_IMAGE  # what holds for pictures holds for commands and scans
FAULT_LOG_PERIOD_S = 5.0
CLOCK_CHECK_S = 0.2
LINGER_S, ACKNOWLEDGE_S = 0.05, 0.5  # how long the last zero may take
CLOCK_TIMEOUT_S = 1.0  # so long, by the wall clock, a simulated clock may stand still
NO_DECISION = Decision(0.0, 0.0, State.NO_CLOCK, 'no time yet', 'none', silent=True)


class AvoidanceNode(Node):
    """Stands between who commands the robot and the robot."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('avoidance_node', **node_options)
        try:
            self._set_up()
        except ValueError:
            super().destroy_node()
            raise

    def _set_up(self) -> None:
        self._parameter_server = ParameterServer(self, AvoidanceSettings)
        settings = self._parameter_server.current
        self._avoidance = Avoidance(settings.options())
        self._ending = False
        self._decision = NO_DECISION
        self._said: State | None = None
        self._kind = TwistStamped if settings.stamped else Twist
        self._frame_id = ''
        self._ticked_s = time.monotonic()
        self._fault_logged_s = -FAULT_LOG_PERIOD_S
        self._inputs: dict[str, Input] = {}
        self._subscriptions_by_name: dict[str, Any] = {}
        self._velocity = qos.make_publisher(self, self._kind, 'cmd_vel')
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._listen('cmd_vel_in', self._kind, self._on_command)
        if settings.source != 'closeness':
            self._listen('scan', LaserScan, self._on_scan)
        if settings.source != 'scan':
            self._listen('closeness', Vector3Stamped, self._on_closeness)
        self.create_timer(1.0 / settings.rate, self._on_timer)
        # Steady: these must work when a simulated clock stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(CLOCK_CHECK_S, self._check_clock, clock=steady)
        self.create_timer(1.0 / settings.diagnostics_rate, self._publish_diagnostics, clock=steady)

    def destroy_node(self) -> None:
        """Stop the robot, then destroy what it is told with."""
        self._ending = True
        if not self._decision.silent and self.context.ok():
            self._send(0.0, 0.0)
            time.sleep(LINGER_S)  # for best effort subscribers, who confirm nothing
            with contextlib.suppress(RuntimeError):  # a middleware that cannot tell
                self._velocity.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))
        super().destroy_node()

    def _listen(self, name: str, kind: type, callback: Any) -> None:
        subscription = qos.make_subscription(self, kind, name, callback, NEWEST)
        self._subscriptions_by_name[name] = subscription
        self._inputs[name] = Input(subscription.topic_name)

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) / NANOSECONDS

    def _moment(self, header: Header | None) -> Moment:
        received_s = self._now_s()
        if header is None:
            return Moment(received_s)
        return Moment(received_s, stamp_ns(header) / NANOSECONDS)

    def _on_command(self, message: Twist | TwistStamped) -> None:
        header = getattr(message, 'header', None)
        twist = message if header is None else message.twist
        self._frame_id = '' if header is None else header.frame_id
        self._inputs['cmd_vel_in'].received += 1
        if twist.linear.y or twist.linear.z:
            self._refuse('cmd_vel_in', 'sideways and upward motion is left out: nobody looks there')
        self._avoidance.command(twist.linear.x, twist.angular.z, self._moment(header))

    def _on_scan(self, message: LaserScan) -> None:
        self._inputs['scan'].received += 1
        try:
            view = read_scan(
                message.ranges,
                message.angle_min,
                message.angle_max,
                message.angle_increment,
                message.range_min,
                message.range_max,
                self._avoidance.options.sensor,
            )
        except BadScan as error:
            self._refuse('scan', str(error))
            return
        self._avoidance.see_scan(view, self._moment(message.header))

    def _on_closeness(self, message: Vector3Stamped) -> None:
        self._inputs['closeness'].received += 1
        near = message.vector
        self._avoidance.see_closeness(near.x, near.y, near.z, self._moment(message.header))

    def _refuse(self, name: str, fault: str) -> None:
        """Count it, keep it for diagnostics, and say it now and then."""
        self._inputs[name].refused += 1
        self._inputs[name].last_fault = fault
        if time.monotonic() - self._fault_logged_s >= FAULT_LOG_PERIOD_S:
            self._fault_logged_s = time.monotonic()
            self.get_logger().warning(f'{self._inputs[name].topic}: {fault}')

    def _on_timer(self) -> None:
        self._ticked_s = time.monotonic()
        self._avoidance.options = self._parameter_server.current.options()
        self._decide(self._avoidance.step(self._now_s()))

    def _check_clock(self) -> None:
        """Stop the robot when a simulated clock has stopped, and our timer with it."""
        silent_s = time.monotonic() - self._ticked_s
        if silent_s > max(CLOCK_TIMEOUT_S, 3.0 / self._parameter_server.current.rate):
            self._avoidance.forget()
            was_silent = self._decision.silent
            text = f'no time for {silent_s:.0f} s: is /clock published?'
            self._decide(dataclasses.replace(NO_DECISION, text=text, silent=was_silent))

    def _decide(self, decision: Decision) -> None:
        if self._ending:  # a timer that another thread had begun: the zero was the last word
            return
        self._decision = decision
        if not decision.silent:
            self._send(decision.linear, decision.angular)
        if decision.state is not self._said:
            self._said = decision.state
            logger = self.get_logger()
            # One call each: rclpy holds the severity of a line of code to be fixed.
            if LEVELS[decision.state] == LEVELS[State.CLEAR]:
                logger.info(sentence(decision))
            else:
                logger.warning(sentence(decision))
            self._publish_diagnostics()

    def _send(self, linear: float, angular: float) -> None:
        message = self._kind()
        if self._kind is TwistStamped:
            message.header.stamp = self.get_clock().now().to_msg()
            message.header.frame_id = self._frame_id
        twist = message.twist if self._kind is TwistStamped else message
        twist.linear.x, twist.angular.z = linear, angular
        self._velocity.publish(message)

    def _publish_diagnostics(self) -> None:
        for name, subscription in self._subscriptions_by_name.items():
            publishers, reasons = qos.publishers_of(self, subscription)
            self._inputs[name].publishers = publishers
            self._inputs[name].incompatible = tuple(reasons)
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(avoidance_status(self.get_name(), self._decision, self._inputs))
        self._diagnostics.publish(message)


def main() -> int:
    """Run the node; returns the exit code."""
    return run_node(AvoidanceNode)


if __name__ == '__main__':
    sys.exit(main())
