"""The avoidance: commands, scans and closeness in; a velocity and a state out, step by step.

The robot goes forward only where fresh data says that it may, as fast as the room before it
allows, and never faster than commanded. Times are s of one clock, which may be a simulated one.
"""

from __future__ import annotations

import dataclasses
import enum
import math

from midas_depth_ros.control.corridor import Pose
from midas_depth_ros.control.freshness import Moment, age_of
from midas_depth_ros.control.memory import ObstacleMemory
from midas_depth_ros.control.motion import MotionHistory
from midas_depth_ros.control.options import AvoidanceOptions
from midas_depth_ros.control.scan import ScanView
from midas_depth_ros.control.sight import ClosenessSight, Limit, NoSight, ScanSight, Sight
from midas_depth_ros.control.speed import follow
from midas_depth_ros.control.steering import Steering

LONGEST_STEP_S = 0.2  # speeding up: a late step must not become a leap
PROBE_MPS = 0.05  # with what a state is found where no forward motion is commanded
ZEROS_FOR_S = 1.0  # so long zeros are sent after the last command


class State(enum.Enum):
    """What the avoidance does, in the words of its log and diagnostics."""

    CLEAR = 'clear'
    SLOWING = 'slowing'
    OBSTACLE = 'stopped: obstacle'
    NO_DATA = 'stopped: no data'
    NO_COMMAND = 'stopped: no command'
    BAD_COMMAND = 'stopped: bad command'
    NO_CLOCK = 'stopped: the clock stands still'


@dataclasses.dataclass(frozen=True)
class Decision:
    """What to send: m/s forward and rad/s to the left; and why.

    `silent`: nothing was commanded for so long that sending zeros would only be in the way.
    """

    linear: float
    angular: float
    state: State
    text: str
    source: str
    free_m: float = math.nan
    unknown_share: float = math.nan
    silent: bool = False


@dataclasses.dataclass(frozen=True)
class _Order:
    """The command that holds: m/s and rad/s. Without one, `state` and `text` say why."""

    linear: float = 0.0
    angular: float = 0.0
    state: State | None = None
    text: str = ''


class Avoidance:
    """Keeps the newest of every input and decides at each step. `options` may be swapped."""

    def __init__(self, options: AvoidanceOptions) -> None:
        self.options = options
        self._motion = MotionHistory()
        self._memory = ObstacleMemory()
        self._steering = Steering()
        self._last_s = math.nan
        self.forget()

    def forget(self) -> None:
        """Drop all data and commands and stand, as after a jump of the clock."""
        self._scan: tuple[ScanView, Moment] | None = None
        self._closeness: tuple[tuple[float, float, float], Moment] | None = None
        self._command: tuple[tuple[float, float], Moment] | None = None
        self._linear = self._angular = 0.0
        self._blocked_s = math.nan  # when forward was last impossible; NaN = it is possible
        self._ordered_s = -math.inf
        self._motion.clear()
        self._memory.clear()

    def see_scan(self, view: ScanView, moment: Moment) -> None:
        """A scan came."""
        seen_s, moved = moment.measured_s(self.options.stamps), Pose()
        if self._scan:
            moved = self._motion.since(self._scan[1].measured_s(self.options.stamps), seen_s)
        self._memory.see(view, seen_s, moved, self.options)
        self._scan = (view, moment)

    def see_closeness(self, left: float, centre: float, right: float, moment: Moment) -> None:
        """Closeness came."""
        self._closeness = ((left, centre, right), moment)

    def command(self, linear: float, angular: float, moment: Moment) -> None:
        """A command came: m/s forward (negative = back), rad/s to the left."""
        self._command = ((linear, angular), moment)

    def step(self, now_s: float) -> Decision:
        """What to send now."""
        if now_s < self._last_s:
            self.forget()
            self._last_s = now_s
        elapsed_s = now_s - self._last_s if self._last_s <= now_s else 0.0
        self._last_s = now_s
        order, sight = self._order(now_s), self._sight(now_s)
        limit, angular = self._limit(order, sight, now_s)
        linear = self._target(order, sight, limit)
        stopped = limit.speed == 0 or order.state is not None
        self._follow(order, linear, angular, limit, stopped, elapsed_s)
        self._motion.sent(now_s, self._linear, self._angular)
        return self._decision(order, sight, limit, now_s)

    def _order(self, now_s: float) -> _Order:
        if self._command is None:
            return _Order(state=State.NO_COMMAND, text='none yet')
        (linear, angular), moment = self._command
        fault = age_of(moment, now_s, self.options.command_timeout, self.options.stamps).fault
        if fault:
            return _Order(state=State.NO_COMMAND, text=fault)
        self._ordered_s = now_s
        if not (math.isfinite(linear) and math.isfinite(angular)):
            return _Order(state=State.BAD_COMMAND, text=f'{linear} m/s, {angular} rad/s')
        return _Order(linear, angular)

    def _sight(self, now_s: float) -> Sight:
        options, faults = self.options, []
        if options.source != 'closeness':
            fault = self._fault_of(self._scan, now_s)
            if self._scan and not fault:
                view, moment = self._scan
                pose = self._motion.since(moment.measured_s(options.stamps), now_s)
                return ScanSight(view, self._memory, pose, options)
            faults.append(f'scan: {fault}')
        if options.source != 'scan':
            fault = self._fault_of(self._closeness, now_s)
            if self._closeness and not fault:
                return ClosenessSight(*self._closeness[0], options)
            faults.append(f'closeness: {fault}')
        return NoSight('; '.join(faults))

    def _fault_of(self, seen: tuple[object, Moment] | None, now_s: float) -> str:
        if seen is None:
            return 'none yet'
        return age_of(seen[1], now_s, self.options.timeout, self.options.stamps).fault

    def _limit(self, order: _Order, sight: Sight, now_s: float) -> tuple[Limit, float]:
        """The limit on going forward, and the turning rate with which it was found."""
        forward = order.linear if order.linear > 0 else PROBE_MPS
        angular, blocked = order.angular, not math.isnan(self._blocked_s)
        limit = sight.limit(forward, angular, blocked)
        if self.options.steering.enabled and order.linear > 0 and limit.known:
            weight = 1 - min(limit.speed / forward, 1.0)
            if weight > 0:
                angular = (1 - weight) * angular + weight * sight.steer(self._steering)
                limit = sight.limit(forward, angular, blocked)
        if limit.speed == 0:
            self._blocked_s = now_s
        elif blocked and now_s - self._blocked_s < self.options.resume_delay:
            limit = dataclasses.replace(limit, speed=0.0)
        else:
            self._blocked_s = math.nan
        if order.state or not (limit.known or self.options.turn_without_data):
            angular = 0.0
        return limit, angular

    def _target(self, order: _Order, sight: Sight, limit: Limit) -> float:
        if order.linear > 0:
            return min(limit.speed, order.linear)
        if order.linear < 0 and self.options.allow_reverse:
            speed = min(-order.linear, self.options.max_reverse_speed)
            return -sight.reverse(speed, order.angular) if speed > 0 else 0.0
        return 0.0

    def _follow(
        self,
        order: _Order,
        linear: float,
        angular: float,
        limit: Limit,
        stopped: bool,
        elapsed_s: float,
    ) -> None:
        """Take one step toward the target, within the accelerations."""
        options, previous = self.options, self._linear
        if order.state is None:  # who commands less gets less at once
            previous = min(max(previous, min(order.linear, 0.0)), max(order.linear, 0.0))
        rise = options.acceleration * min(elapsed_s, LONGEST_STEP_S)
        hard = options.stop_deceleration * elapsed_s
        fall = hard if stopped else min(hard, options.deceleration * elapsed_s)
        self._linear = follow(previous, linear, rise, fall)
        if linear >= 0 and self._linear > limit.braking:
            self._linear = max(linear, min(self._linear, previous - hard))
        turning = options.angular_acceleration * min(elapsed_s, LONGEST_STEP_S)
        self._angular = follow(self._angular, angular, turning, math.inf)

    def _decision(self, order: _Order, sight: Sight, limit: Limit, now_s: float) -> Decision:
        state, text = State.CLEAR, limit.text
        if not limit.known:
            state = State.NO_DATA
        elif order.state is not None:
            state, text = order.state, order.text
        elif limit.speed == 0:
            state = State.OBSTACLE
        elif limit.speed < order.linear:
            state = State.SLOWING
        standing = self._linear == 0 and self._angular == 0
        silent = standing and now_s - self._ordered_s > self.options.command_timeout + ZEROS_FOR_S
        return Decision(
            self._linear,
            self._angular,
            state,
            text,
            sight.source,
            limit.free_m,
            limit.unknown_share,
            silent,
        )
