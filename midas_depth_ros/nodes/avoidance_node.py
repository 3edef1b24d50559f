"""avoidance_node: cmd_vel_in and a scan or closeness in; a cmd_vel that stops before obstacles out.

Callbacks keep the newest message; a timer decides and sends, on a steady clock that nobody can set
back, or with use_sim_time on the simulated one. Not a certified safety device.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import Twist, TwistStamped, Vector3Stamped
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from rclpy.timer import Timer
from sensor_msgs.msg import LaserScan
from std_msgs.msg import Header

from midas_depth_ros.avoidance import (
    Avoidance,
    BadScan,
    Decision,
    EchoDetector,
    MessageTimes,
    ScanView,
    SensorPlace,
    State,
    read_scan,
)
from midas_depth_ros.images import NANOSECONDS, stamp_ns
from midas_depth_ros.nodes.depth.stamps import PublisherWatch
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.nodes.ros.messages import status_message
from midas_depth_ros.nodes.ros.parameters import ParameterServer, printed_help
from midas_depth_ros.nodes.ros.spinning import run_node
from midas_depth_ros.nodes.ros.transforms import rotation_matrix
from midas_depth_ros.options.avoidance import FARTHEST_SENSOR_M, AvoidanceSettings

# --- Where the sensor of a scan sits on the robot: from TF, if tf2_ros is installed, or by
# parameters. Only the scans of one frame are used.

LEVEL_RAD = 0.1  # a scan that is tilted more than this is not in the robot's plane


@dataclasses.dataclass(frozen=True)
class PlacedFrame:
    """Where a scan's frame is on the robot. `upside_down`: its angles count the other way."""

    place: SensorPlace
    upside_down: bool = False
    by: str = 'parameters'


class ScanFrames:
    """Places the frames of scans on the robot."""

    def __init__(self, node: Node, base_frame: str) -> None:
        """Listens to TF unless `base_frame` is '' or tf2_ros is not installed."""
        self._base_frame = base_frame
        self._buffer: Any = None
        self._failure: type[Exception] = RuntimeError
        self._source = 'parameters: base_frame is empty'
        self._frame: str | None = None  # of the scans that are used
        self._placed: PlacedFrame | None = None
        if not base_frame:
            return
        try:
            import tf2_ros
        except ImportError:
            self._source = 'parameters: tf2_ros is not installed'
            return
        self._failure = tf2_ros.TransformException
        self._buffer = tf2_ros.Buffer()
        self._listener: Any = tf2_ros.TransformListener(self._buffer, node)
        self._source = f'TF, in {base_frame}'

    @property
    def described(self) -> str:
        """Where the last scan was placed, and by what."""
        if self._placed is None:
            return self._source
        place = self._placed.place
        return (
            f'frame {self._frame!r} at {place.x:.2f} m, {place.y:.2f} m, {place.yaw:.2f} rad'
            f'{", upside down" if self._placed.upside_down else ""} by {self._placed.by}'
        )

    def place(self, header: Header, by_stamp: bool, sensor: SensorPlace) -> PlacedFrame:
        """Where the frame of a scan is, at its stamp if that is of our clock. Raises BadScan."""
        frame = header.frame_id
        if sensor.frame and frame != sensor.frame:
            raise BadScan(f'a scan in frame {frame!r}: sensor.frame is {sensor.frame!r}')
        if not sensor.frame and self._frame not in (None, frame):
            raise BadScan(
                f'a scan in frame {frame!r} among those in {self._frame!r}: use one sensor for a '
                'topic, or choose one by sensor.frame'
            )
        if self._buffer is not None and frame != self._base_frame:
            return self._by_tf(header, by_stamp, sensor)
        return PlacedFrame(sensor)

    def keep(self, frame: str, placed: PlacedFrame) -> None:
        """From now on use only scans of this frame."""
        self._frame, self._placed = frame, placed

    def _by_tf(self, header: Header, by_stamp: bool, sensor: SensorPlace) -> PlacedFrame:
        frame = header.frame_id
        if not frame:
            raise BadScan('a scan without frame_id, which TF cannot place')
        when = Time.from_msg(header.stamp) if by_stamp else Time()
        try:
            found = self._buffer.lookup_transform(self._base_frame, frame, when).transform
        except self._failure as error:
            raise BadScan(
                f'no transform from {frame} to {self._base_frame} ({error}): publish one, or set '
                "base_frame to '' and give sensor.x, sensor.y and sensor.yaw"
            ) from error
        q, t = found.rotation, found.translation
        length = math.hypot(q.x, q.y, q.z, q.w)
        if not 0.5 < length < 2.0:
            raise BadScan(f'the transform from {frame} has a quaternion of length {length:.3g}')
        if not math.hypot(t.x, t.y) < FARTHEST_SENSOR_M:
            raise BadScan(f'the transform puts {frame} {t.x:.3g} m, {t.y:.3g} m from the robot')
        axes = rotation_matrix(q)
        tilt = math.acos(min(1.0, max(-1.0, float(axes[2, 2]))))
        if LEVEL_RAD < tilt < math.pi - LEVEL_RAD:
            raise BadScan(
                f'{frame} is tilted by {math.degrees(tilt):.0f} degrees: its scan is not in the '
                "robot's plane"
            )
        yaw = math.atan2(axes[1, 0], axes[0, 0])
        place = dataclasses.replace(sensor, x=float(t.x), y=float(t.y), yaw=yaw)
        return PlacedFrame(place, tilt > math.pi / 2, f'TF, from {frame}')


# --- The status of the node on /diagnostics: only wording, testable without spinning.

LEVELS = {
    State.CLEAR: DiagnosticStatus.OK,
    State.SLOWING: DiagnosticStatus.OK,
    State.OBSTACLE: DiagnosticStatus.OK,
    State.NO_COMMAND: DiagnosticStatus.OK,
    State.BAD_COMMAND: DiagnosticStatus.WARN,
    State.NO_DATA: DiagnosticStatus.ERROR,
    State.ECHO: DiagnosticStatus.ERROR,
    State.NO_CLOCK: DiagnosticStatus.ERROR,
}
RECENT_S = 3.0  # how long a refusal is a warning, and a message counts as used


@dataclasses.dataclass
class InputStatistics:
    """What happened on one input topic. Times are by the steady clock."""

    topic: str
    received: int = 0
    refused: int = 0
    last_fault: str = ''
    publishers: int = 0
    incompatible: tuple[str, ...] = ()
    joined: int = 0  # seen_free messages that belong to a scan
    by_receipt: str = ''  # why the stamps of used messages do not count
    used_s: float = -math.inf  # when a message was last used
    refused_s: float = -math.inf
    logged_s: float = -math.inf

    def judged_by_receipt(self, steady_s: float) -> str:
        """Why the stamps of recent messages do not count; '' if they do, or none was used."""
        return self.by_receipt if steady_s - self.used_s <= RECENT_S else ''

    def values(self, name: str, steady_s: float) -> dict[str, object]:
        """The rows of this input in diagnostics."""
        return {
            f'{name} topic': self.topic,
            f'{name} publishers': self.publishers,
            f'{name} incompatible publishers': '; '.join(self.incompatible),
            f'{name} received': self.received,
            f'{name} refused': self.refused,
            f'{name} last fault': self.last_fault,
            f'{name} judged by receipt': self.judged_by_receipt(steady_s),
            **({f'{name} joined with a scan': self.joined} if name == 'seen_free' else {}),
        }


def sentence(decision: Decision) -> str:
    """State and reason in one line."""
    return f'{decision.state.value} ({decision.text})'


def avoidance_status(
    node: str,
    decision: Decision,
    inputs: dict[str, InputStatistics],
    sensor: str = '',
    others: Sequence[str] = (),
    steady_s: float = math.inf,
    deaf: Sequence[str] = (),
) -> DiagnosticStatus:
    """The status of the node: ERROR without valid input, WARN while messages are refused.

    WARN also while publishers are incompatible, `deaf` nodes cannot receive cmd_vel, or `others`
    publish on it, too. sensor: where the sensor of the scans is.
    """
    warnings = [
        f'{entry.topic} refused: {entry.last_fault}'
        for entry in inputs.values()
        if steady_s - entry.refused_s <= RECENT_S and entry.last_fault not in decision.text
    ]
    if others:
        warnings.append(f'cmd_vel is also published by {", ".join(others)}, which is not checked')
    warnings += [
        f'{entry.topic} not heard: {reason}'
        for entry in inputs.values()
        for reason in entry.incompatible
    ]
    warnings += [f'cmd_vel not heard: {reason}' for reason in deaf]
    notes = [
        f'{entry.topic} {entry.by_receipt}: judged by receipt'
        for entry in inputs.values()
        if entry.judged_by_receipt(steady_s)
    ]
    values: dict[str, object] = {
        'state': decision.state.value,
        'reason': decision.text,
        'source': decision.source,
        'linear [m/s]': f'{decision.linear:.3f}',
        'angular [rad/s]': f'{decision.angular:.3f}',
        'free way [m]': _number(decision.free_m),
        'unknown share of the corridor': _number(decision.unknown_share),
        'turning checked': 'yes'
        if decision.turning_checked
        else 'only from memory: nothing is observed beside the robot',
        'sensor place': sensor,
        'others on cmd_vel': ', '.join(others),
        'deaf to cmd_vel': '; '.join(deaf),
    }
    for name, entry in inputs.items():
        values |= entry.values(name, steady_s)
    level = LEVELS[decision.state]
    if warnings and level == DiagnosticStatus.OK:
        level = DiagnosticStatus.WARN
    text = '; '.join([sentence(decision), *warnings, *notes])
    return status_message(f'{node}: avoidance', level, text, values)


def _number(value: float) -> str:
    return '' if math.isnan(value) else f'{value:.2f}'


FAULT_LOG_PERIOD_S = 5.0
CLOCK_CHECK_S = 0.2
# The last zeros: how many and how far apart, for best effort subscribers, which do not acknowledge.
LAST_ZEROS, LINGER_S = 3, 0.05
ACKNOWLEDGE_S = 0.5
CLOCK_TIMEOUT_S = 1.0  # how long, in steady time, a simulated clock may stand still
# After a stall of the process of STALL_S, messages taken within BACKLOG_S are outdated.
STALL_S, BACKLOG_S = 0.45, 0.2
WAITING_SEEN_FREE = 4  # messages that may wait for their scan
SAME_ANGLE = 1e-6
# What to do about publishers and subscribers of the other type of velocity.
TYPE_REMEDIES = {
    qos.type_name(TwistStamped): 'set stamped to true',
    qos.type_name(Twist): 'set stamped to false',
}
NO_DECISION = Decision(0.0, 0.0, State.NO_CLOCK, 'no time yet', 'none', silent=True)


class AvoidanceNode(Node):
    """Passes velocity commands on to the robot as far as the way is free."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__('avoidance_node', **node_options)
        try:
            self._set_up()
        except ValueError:
            super().destroy_node()
            raise

    def _set_up(self) -> None:
        self._parameter_server = ParameterServer(self, AvoidanceSettings)
        settings = self._settings = self._parameter_server.current
        self._avoidance = Avoidance(settings)
        self._frames = ScanFrames(self, settings.base_frame)
        self._echo = EchoDetector()
        self._ending = False
        self._decision = NO_DECISION
        self._logged: State | None = None
        self._kind = TwistStamped if settings.stamped else Twist
        self._frame_id = ''
        self._ticked_s = self._alive_s = time.monotonic()
        self._backlog_until_s = -math.inf
        self._inputs: dict[str, InputStatistics] = {}
        self._reasons_logged: dict[str, tuple[str, ...]] = {}
        self._subscriptions_by_name: dict[str, Any] = {}
        self._watches: dict[str, PublisherWatch] = collections.defaultdict(PublisherWatch)
        # The newest scan and its place, until its seen_free arrives.
        self._waiting_scan: tuple[LaserScan, PlacedFrame] | None = None
        self._seen_free: collections.deque[LaserScan] = collections.deque(maxlen=WAITING_SEEN_FREE)
        self._velocity = qos.make_publisher(self, self._kind, 'cmd_vel')
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._listen('cmd_vel_in', self._kind, self._on_command)
        if settings.source != 'closeness':
            self._listen('scan', LaserScan, self._on_scan)
            self._listen('seen_free', LaserScan, self._on_seen_free)
        if settings.source != 'scan':
            self._listen('closeness', Vector3Stamped, self._on_closeness)
        self._refuse_one_topic_for_two()
        inputs = ', '.join(
            f'{name} on {qos.topic_words(subscription)}'
            for name, subscription in self._subscriptions_by_name.items()
        )
        sent = f'cmd_vel goes to {self._velocity.topic_name} ({qos.type_name(self._kind)})'
        self.get_logger().info(f'waiting for {inputs}; {sent}')
        self._parameter_server.warn_of_unused_qos()
        # Steady: these must work when a simulated clock stands still.
        self._steady_clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._pace: Timer | None = None
        self._keep_pace()
        self.create_timer(CLOCK_CHECK_S, self._check_clock, clock=self._steady_clock)
        self.create_timer(
            1.0 / settings.diagnostics_rate, self._publish_diagnostics, clock=self._steady_clock
        )

    def destroy_node(self) -> None:
        """Send zero velocity, then destroy the publisher."""
        self._ending = True
        if (self._avoidance.owes_zero or not self._decision.silent) and self.context.ok():
            for _ in range(LAST_ZEROS):
                self._send(0.0, 0.0)
                time.sleep(LINGER_S)
            with contextlib.suppress(RuntimeError):  # a middleware without acknowledgements
                self._velocity.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_S))
        super().destroy_node()

    def _listen(self, name: str, kind: type, callback: Any) -> None:
        subscription = qos.make_subscription(
            self, kind, name, callback, qos.NEWEST, on_fault=functools.partial(self._refuse, name)
        )
        self._subscriptions_by_name[name] = subscription
        self._inputs[name] = InputStatistics(subscription.topic_name)

    def _refuse_one_topic_for_two(self) -> None:
        """A node that hears its own commands would drive on after the commander has gone."""
        names = {'cmd_vel': self._velocity.topic_name}
        names |= {name: entry.topic for name, entry in self._inputs.items()}
        for one, other in (('cmd_vel', 'cmd_vel_in'), ('scan', 'seen_free')):
            if one in names and other in names and names[one] == names[other]:
                raise ValueError(
                    f'{one} and {other} are both {names[one]}: remap one of them to another topic'
                )

    def _now_s(self) -> float:
        return float(self.get_clock().now().nanoseconds) / NANOSECONDS

    def _moment(self, header: Header | None) -> MessageTimes:
        received_s = self._now_s()
        if header is None:
            return MessageTimes(received_s)
        return MessageTimes(received_s, stamp_ns(header) / NANOSECONDS)

    def _is_current(self, name: str) -> bool:
        """Count a message; refuse it if it may have waited while this process stalled.

        A Twist has no stamp, so one from the middleware's queue looks new.
        """
        self._inputs[name].received += 1
        self._note_alive()
        if time.monotonic() >= self._backlog_until_s:
            return True
        self._refuse(name, 'it may be outdated: this process was stalled')
        return False

    def _note_alive(self) -> None:
        steady_s = time.monotonic()
        if steady_s - self._alive_s > STALL_S:
            self._backlog_until_s = steady_s + BACKLOG_S
        self._alive_s = steady_s

    def _on_command(self, message: Twist | TwistStamped) -> None:
        header = getattr(message, 'header', None)
        twist = message if header is None else message.twist
        self._frame_id = '' if header is None else header.frame_id
        if not self._is_current('cmd_vel_in'):
            return
        self._echo.heard(mark_of(twist), time.monotonic())
        if twist.linear.y or twist.linear.z:
            self._refuse('cmd_vel_in', 'lateral and vertical motion is ignored: it is not observed')
        moment = self._moment(header)
        fault = self._avoidance.command(twist.linear.x, twist.angular.z, moment)
        self._note('cmd_vel_in', fault, moment)

    def _is_of_one(self, name: str, info: Any) -> bool:
        """Refuse a message if it may be of another sensor than those before.

        What one sensor sees beside what the other does not see would count as free by turns.
        """
        subscription, steady_s = self._subscriptions_by_name[name], time.monotonic()
        watch = self._watches[name]
        watch.add(qos.number_of(info), steady_s)
        if not watch.mixed(qos.count_publishers(self, subscription), steady_s):
            return True
        nodes = qos.publisher_nodes(self, subscription)
        self._refuse(name, qos.mixed_words(subscription.topic_name, nodes, 'messages'))
        return False

    def _on_scan(self, message: LaserScan, info: Any) -> None:
        if not (self._is_current('scan') and self._is_of_one('scan', info)):
            return
        moment = self._moment(message.header)
        seen_free = self._seen_free_of(message)
        try:
            options = self._avoidance.options
            by_stamp = options.stamps != 'ignore' and moment.clocks_agree
            placed = self._frames.place(message.header, by_stamp, options.sensor)
            view = self._view(message, seen_free, placed)
        except BadScan as error:
            self._refuse('scan', str(error))
            return
        fault = self._avoidance.see_scan(view, moment)
        self._note('scan', fault, moment)
        if not fault:
            self._frames.keep(message.header.frame_id, placed)
        self._waiting_scan = None if fault or seen_free else (message, placed)

    def _on_seen_free(self, message: LaserScan) -> None:
        self._inputs['seen_free'].received += 1
        self._seen_free.append(message)
        if self._waiting_scan is not None:
            scan, placed = self._waiting_scan
            if self._seen_free_of(scan) is message:
                self._waiting_scan = None
                self._avoidance.refine_scan(self._view(scan, message, placed))

    def _seen_free_of(self, scan: LaserScan) -> LaserScan | None:
        """The seen_free that belongs to a scan, if it has arrived; each belongs to one scan.

        Without a stamp nothing says so: an old one would make a blind camera's floor free.
        """
        if not stamp_ns(scan.header):
            return None
        for each in reversed(self._seen_free):
            if each.header.stamp == scan.header.stamp:
                if belong_together(scan, each):
                    self._inputs['seen_free'].joined += 1
                    kept = [other for other in self._seen_free if other is not each]
                    self._seen_free = collections.deque(kept, self._seen_free.maxlen)
                    return each
                self._refuse(
                    'seen_free', 'its angles, beams or frame differ from those of the scan'
                )
        return None

    def _view(self, scan: LaserScan, seen_free: LaserScan | None, placed: PlacedFrame) -> ScanView:
        """The scan on the robot. Raises BadScan."""
        turns = -1.0 if placed.upside_down else 1.0
        return read_scan(
            scan.ranges,
            turns * scan.angle_min,
            turns * scan.angle_max,
            turns * scan.angle_increment,
            scan.range_min,
            scan.range_max,
            placed.place,
            None if seen_free is None else seen_free.ranges,
            self._avoidance.options.smallest_obstacle,
        )

    def _on_closeness(self, message: Vector3Stamped, info: Any) -> None:
        if not (self._is_current('closeness') and self._is_of_one('closeness', info)):
            return
        near, moment = message.vector, self._moment(message.header)
        fault = self._avoidance.see_closeness(near.x, near.y, near.z, moment)
        self._note('closeness', fault, moment)

    def _note(self, name: str, fault: str, moment: MessageTimes) -> None:
        """Note whether a message was used, and whether its stamp counted."""
        if fault:
            self._refuse(name, fault)
            return
        self._inputs[name].used_s = time.monotonic()
        by_receipt = not (moment.unstamped or moment.clocks_agree)
        self._inputs[name].by_receipt = moment.other_clock() if by_receipt else ''

    def _refuse(self, name: str, fault: str) -> None:
        """Count a fault, keep it for diagnostics, and log it throttled."""
        entry, steady_s = self._inputs[name], time.monotonic()
        entry.refused += 1
        entry.last_fault, entry.refused_s = fault, steady_s
        if steady_s - entry.logged_s >= FAULT_LOG_PERIOD_S:
            entry.logged_s = steady_s
            self.get_logger().warning(f'{entry.topic}: {fault}')

    def _on_timer(self) -> None:
        self._ticked_s = steady_s = time.monotonic()
        if self._parameter_server.current is not self._settings:
            self._settings = self._parameter_server.current
            self._avoidance.options = self._settings
        self._avoidance.fed_back = self._echo.comes_back(steady_s)
        self._decide(self._avoidance.step(self._now_s(), steady_s))

    def _keep_pace(self) -> None:
        """Decide by simulated time where that is in use: use_sim_time can change at any time."""
        ours = self.get_clock()
        clock = ours if ours.ros_time_is_active else self._steady_clock
        if self._pace is not None:
            if self._pace.clock is clock:
                return
            self.destroy_timer(self._pace)
        self._pace = self.create_timer(1.0 / self._settings.rate, self._on_timer, clock=clock)

    def _check_clock(self) -> None:
        """Stop the robot when a simulated clock has stopped, and our timer with it."""
        self._note_alive()
        self._keep_pace()
        steady_s = time.monotonic()
        silent_s = steady_s - self._ticked_s
        if silent_s > max(CLOCK_TIMEOUT_S, 3.0 / self._settings.rate):
            text = f'no time for {silent_s:.0f} s: is /clock published?'
            self._decide(self._avoidance.halt(text, steady_s))

    def _decide(self, decision: Decision) -> None:
        if self._ending:  # a timer already running in another thread must not follow the last zero
            return
        self._decision = decision
        if not decision.silent:
            self._send(decision.linear, decision.angular)
        if decision.state is not self._logged:
            self._logged = decision.state
            logger = self.get_logger()
            # One call each: rclpy binds a severity to each line of code.
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
        put_mark(twist, self._echo.mark)
        self._velocity.publish(message)
        self._echo.sent()

    def _publish_diagnostics(self) -> None:
        for name, subscription in self._subscriptions_by_name.items():
            remedies = TYPE_REMEDIES if name == 'cmd_vel_in' else None
            publishers, reasons = qos.publishers_of(self, subscription, remedies)
            self._inputs[name].publishers = publishers
            self._inputs[name].incompatible = tuple(reasons)
            self._warn_once(f'{subscription.topic_name} not heard', reasons)
        deaf = qos.subscribers_of(self, self._velocity, TYPE_REMEDIES)
        self._warn_once(f'{self._velocity.topic_name} not heard', deaf)
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status.append(
            avoidance_status(
                self.get_name(),
                self._decision,
                self._inputs,
                self._frames.described,
                self._others(),
                time.monotonic(),
                deaf,
            )
        )
        self._diagnostics.publish(message)

    def _warn_once(self, what: str, reasons: Sequence[str]) -> None:
        """Warn of reasons that were not there at the last call."""
        for reason in reasons:
            if reason not in self._reasons_logged.get(what, ()):
                self.get_logger().warning(f'{what}: {reason}')
        self._reasons_logged[what] = tuple(reasons)

    def _others(self) -> list[str]:
        """The other nodes that publish on cmd_vel."""
        found = [
            f'{each.node_namespace.rstrip("/")}/{each.node_name}'
            for each in self.get_publishers_info_by_topic(self._velocity.topic_name)
        ]
        ours = self.get_fully_qualified_name()
        if ours in found:
            found.remove(ours)
        return sorted(found)


def belong_together(scan: LaserScan, seen_free: LaserScan) -> bool:
    """Whether a seen_free has the beams of a scan."""
    return (
        scan.header.stamp == seen_free.header.stamp
        and scan.header.frame_id == seen_free.header.frame_id
        and len(scan.ranges) == len(seen_free.ranges)
        and abs(scan.angle_min - seen_free.angle_min) <= SAME_ANGLE
        and abs(scan.angle_increment - seen_free.angle_increment) <= SAME_ANGLE
    )


def put_mark(twist: Twist, mark: int) -> None:
    """Encode a mark in the signs of the zeros of a velocity, which robots ignore."""
    twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y = (
        -0.0 if mark >> bit & 1 else 0.0 for bit in range(4)
    )


def mark_of(twist: Twist) -> int:
    """The mark in a velocity; 0 if it has none."""
    zeros = (twist.linear.y, twist.linear.z, twist.angular.x, twist.angular.y)
    return sum(
        1 << bit for bit, value in enumerate(zeros) if value == 0 and math.copysign(1.0, value) < 0
    )


def main() -> int:
    """Run the node; returns the exit code."""
    if printed_help('avoidance_node', AvoidanceSettings, __doc__):
        return 0
    return run_node(AvoidanceNode)


if __name__ == '__main__':
    sys.exit(main())
