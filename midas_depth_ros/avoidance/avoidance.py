"""The avoidance: commands, scans and closeness in; a velocity and a state out, step by step.

The robot goes only where fresh data says that it may, as fast as the room before it allows, and
never faster than commanded. Times are s of one clock, which may be a simulated one.
"""

from __future__ import annotations

import dataclasses
import enum
import math

from midas_depth_ros.avoidance.corridor import MotionHistory, Pose
from midas_depth_ros.avoidance.freshness import Moment, StampWatch, ZeroWatch, age_of
from midas_depth_ros.avoidance.memory import FreeMemory, ObstacleMemory
from midas_depth_ros.avoidance.scan import ScanView
from midas_depth_ros.avoidance.sight import (
    ClosenessSight,
    Limit,
    NoSight,
    Remembered,
    ScanSight,
    Sight,
    footprint_of,
)
from midas_depth_ros.avoidance.speed import Steering, follow
from midas_depth_ros.options.avoidance import AvoidanceSettings

LONGEST_STEP_S = 0.2  # speeding up: a late step must not become a leap
LONGEST_GAP_S = 1.5  # after so long nobody knows where the robot has gone meanwhile
WHEELS_LATE = 0.5  # of the reaction time, which is how late they are at most
AHEAD_RAD = 0.3  # beams so near to straight ahead tell whether the sensor still sees there
PROBE_MPS = 0.05  # with what a state is found where no forward motion is commanded


class State(enum.Enum):
    """What the avoidance does, in the words of its log and diagnostics."""

    CLEAR = 'clear'
    SLOWING = 'slowing'
    OBSTACLE = 'stopped: obstacle'
    NO_DATA = 'stopped: no data'
    NO_COMMAND = 'stopped: no command'
    BAD_COMMAND = 'stopped: bad command'
    ECHO = 'stopped: own commands come back'
    NO_CLOCK = 'stopped: the clock stands still'


@dataclasses.dataclass(frozen=True)
class Decision:
    """What to send: m/s forward and rad/s to the left; and why.

    `silent`: nothing is commanded, and zeros have been sent for so long that more of them would
    only be in the way. `turning_checked`: all that the corners come over in turning is known.
    """

    linear: float
    angular: float
    state: State
    text: str
    source: str
    free_m: float = math.nan
    unknown_share: float = math.nan
    silent: bool = False
    turning_checked: bool = False


@dataclasses.dataclass(frozen=True)
class _Order:
    """The command that holds: m/s and rad/s. Without one, `state` and `text` say why."""

    linear: float = 0.0
    angular: float = 0.0
    state: State | None = None
    text: str = ''


@dataclasses.dataclass(frozen=True)
class _Gap:
    """Turning rates in rad/s: as obstacles have it, and straight toward the free gap."""

    angular: float
    steer: float


class _Input:
    """The newest message of one input, and why the last one that came was refused."""

    def __init__(self) -> None:
        self.watch = StampWatch()
        self.clear()

    def clear(self) -> None:
        """Nothing has come."""
        self.watch.clear()
        self.moment: Moment | None = None
        self.refusal = ''

    def take(self, moment: Moment, timeout_s: float, options: AvoidanceSettings) -> str:
        """A message has come; why it cannot be used, or ''."""
        self.refusal = self.watch.fault_of(moment, timeout_s, options.stamps, options.other_clock)
        if not self.refusal:
            self.moment = moment
        return self.refusal

    def fault_at(self, now_s: float, timeout_s: float, options: AvoidanceSettings) -> str:
        """Why there is nothing fresh; '' if there is."""
        if self.moment is None:
            return self.refusal or 'none yet'
        age = age_of(self.moment, now_s, timeout_s, options.stamps, options.other_clock)
        return age.fault and (self.refusal or age.fault)


class Avoidance:
    """Keeps the newest of every input and decides at each step. `options` may be swapped.

    `fed_back`: the velocities sent come back as commands; then no command counts.
    """

    def __init__(self, options: AvoidanceSettings) -> None:
        self.options = options
        self.fed_back = False
        # Wheels that do at once what they are told, and those that follow late and roll on.
        self._motions = MotionHistory(), MotionHistory()
        self._obstacles, self._floor = (ObstacleMemory(), ObstacleMemory()), FreeMemory()
        self._steering = Steering()
        self._zeros = ZeroWatch()
        self._scan_input, self._closeness_input = _Input(), _Input()
        self._command_input = _Input()
        self._last_s = math.nan
        self.forget()

    @property
    def owes_zero(self) -> bool:
        """Whether what was sent last is a speed, or zero not for long enough."""
        return self._zeros.owes()

    def forget(self) -> None:
        """Drop all data and commands and stand, as after a jump of the clock."""
        for each in (self._scan_input, self._closeness_input, self._command_input):
            each.clear()
        self._view: ScanView | None = None
        self._closeness = (math.nan, math.nan, math.nan)
        self._command = (0.0, 0.0)
        self._scan_s = math.nan  # when the newest scan was measured
        self._told_s = -math.inf  # and the newest that knew anything of what is ahead
        self._linear = self._angular = 0.0
        # How it goes on rolling from there (m/s, rad/s), and on which curve (1/m) that was free.
        self._rolling, self._curve = (0.0, 0.0), 0.0
        self._blocked_s = math.nan  # when forward was last impossible; NaN = it is possible
        for memory in (*self._motions, *self._obstacles):
            memory.clear()
        self._floor.clear()

    def see_scan(self, view: ScanView, moment: Moment) -> str:
        """A scan came. Returns why it cannot be used, or ''."""
        fault = self._scan_input.take(moment, self.options.timeout, self.options)
        if fault:
            return fault
        seen_s, moved = moment.measured_s(self.options.stamps), (Pose(), Pose())
        if self._view is not None:
            moved = self._moved(self._scan_s, seen_s)
        self._scan_s = seen_s
        self._remember(view, moved)
        return ''

    def see_again(self, view: ScanView) -> None:
        """The newest scan, now that more is known of it."""
        if self._view is not None:
            self._remember(view, (Pose(), Pose()))

    def see_closeness(self, left: float, centre: float, right: float, moment: Moment) -> str:
        """Closeness came. Returns why it cannot be used, or ''."""
        fault = self._closeness_input.take(moment, self.options.timeout, self.options)
        if not fault:
            self._closeness = (left, centre, right)
        return fault

    def command(self, linear: float, angular: float, moment: Moment) -> str:
        """A command came: m/s forward (negative = back), rad/s to the left.

        Returns why it cannot be used, or ''.
        """
        fault = self._command_input.take(moment, self.options.command_timeout, self.options)
        if not fault:
            self._command = (linear, angular)
        return fault

    def halt(self, text: str, steady_s: float) -> Decision:
        """The clock stands still: forget everything and stand. `steady_s` is that of another."""
        self.forget()
        silent = not self._zeros.owes()
        if not silent:
            self._zeros.sent(0.0, 0.0, self._last_s, steady_s)
        return Decision(0.0, 0.0, State.NO_CLOCK, text, 'none', silent=silent)

    def step(self, now_s: float, steady_s: float | None = None) -> Decision:
        """What to send now. `steady_s`: the same moment by a clock that never jumps."""
        if now_s < self._last_s or now_s - self._last_s > LONGEST_GAP_S:
            self.forget()
            self._last_s = now_s
        elapsed_s = now_s - self._last_s if self._last_s <= now_s else 0.0
        self._last_s = now_s
        order, sight = self._order(now_s), self._sight(now_s)
        turn = sight.turn(order.angular)
        limit, angular = self._limit(order, turn, sight, now_s)
        self._follow(order, limit, angular, elapsed_s)
        self._motions[0].sent(now_s, self._linear, self._angular)
        self._motions[1].sent(now_s, *self._rolled(elapsed_s))
        decision = self._decision(order, turn, sight, limit)
        if not decision.silent:
            self._zeros.sent(
                self._linear, self._angular, now_s, now_s if steady_s is None else steady_s
            )
        return decision

    def _remember(self, view: ScanView, moved: tuple[Pose, Pose]) -> None:
        self._view = view
        if view.tells_ahead(AHEAD_RAD):
            self._told_s = self._scan_s
        for obstacles, by in zip(self._obstacles, moved, strict=True):
            obstacles.see(view, self._scan_s, by, self.options)
        points = self._obstacles[1].x, self._obstacles[1].y
        self._floor.see(view, self._scan_s, moved[1], points, footprint_of(self.options))

    def _order(self, now_s: float) -> _Order:
        options = self.options
        if self.fed_back:
            return _Order(state=State.ECHO, text='the velocities sent come back as commands')
        fault = self._command_input.fault_at(now_s, options.command_timeout, options)
        if fault:
            return _Order(state=State.NO_COMMAND, text=fault)
        linear, angular = self._command
        if not (math.isfinite(linear) and math.isfinite(angular)):
            return _Order(state=State.BAD_COMMAND, text=f'{linear} m/s, {angular} rad/s')
        if linear < 0 and not options.allow_reverse:
            text = 'backing up is disabled: allow_reverse'
            return _Order(angular=_within(angular, options.max_turn_rate), state=None, text=text)
        slowest = -min(options.max_reverse_speed, options.max_speed)
        linear = max(slowest, min(options.max_speed, linear))
        return _Order(linear, _within(angular, options.max_turn_rate))

    def _sight(self, now_s: float) -> Sight:
        options, faults = self.options, []
        scan_fault = self._scan_input.fault_at(now_s, options.timeout, options)
        remembered = self._remembered(now_s, fresh=not scan_fault)
        if options.source != 'closeness':
            if self._view is not None and not scan_fault:
                return ScanSight(self._view, remembered, options)
            faults.append(f'scan: {scan_fault}')
        if options.source != 'scan':
            fault = self._closeness_input.fault_at(now_s, options.timeout, options)
            if not fault:
                return ClosenessSight(self._closeness, remembered, options)
            faults.append(f'closeness: {fault}')
        return NoSight('; '.join(faults), remembered, options)

    def _remembered(self, now_s: float, fresh: bool) -> Remembered:
        poses = Pose(), Pose()
        if self._view is not None:
            poses = self._moved(self._scan_s, now_s)
            if now_s - self._told_s > self.options.timeout:
                self._floor.clear()  # a sensor that knows nothing is as good as silent
            self._floor.stand(poses[1], now_s, footprint_of(self.options))
        newest_s = self._scan_s if fresh else math.inf
        memory_s = self.options.memory
        return Remembered(self._obstacles, self._floor, poses, now_s, memory_s, newest_s)

    def _moved(self, then_s: float, now_s: float) -> tuple[Pose, Pose]:
        """The robot's motion between two moments, by both ways in which its wheels may follow."""
        at_once, later = self._motions
        late_s = WHEELS_LATE * self.options.reaction_time
        return at_once.since(then_s, now_s), later.since(then_s - late_s, now_s - late_s)

    def _limit(self, order: _Order, turn: float, sight: Sight, now_s: float) -> tuple[Limit, float]:
        """The limit on the commanded direction, and the turning rate with which it was found."""
        if order.linear < 0:
            limit, angular = sight.reverse(-order.linear, turn), turn
        else:
            limit, angular = self._forward_limit(order, turn, sight, now_s)
        if order.state or not (limit.known or self.options.turn_without_data):
            angular = 0.0
        return limit, angular

    def _forward_limit(
        self, order: _Order, angular: float, sight: Sight, now_s: float
    ) -> tuple[Limit, float]:
        blocked = not math.isnan(self._blocked_s)
        if order.linear > 0:
            gap = self._steered(order, angular, sight, blocked)
            limit = sight.limit(order.linear, gap.angular, blocked, self._linear)
            # Who turns on the spot turns wholly toward the gap.
            angular = gap.steer if limit.on_the_spot else gap.angular
        else:
            limit = sight.limit(PROBE_MPS, 0.0, blocked)
        if limit.speed == 0 and not limit.on_the_spot:
            self._blocked_s = now_s
        elif blocked and now_s - self._blocked_s < self.options.resume_delay:
            # Nor does it turn: the way was looked at from here.
            limit, angular = dataclasses.replace(limit, speed=0.0), 0.0 if order.linear else angular
        else:
            self._blocked_s = math.nan
        return limit, angular

    def _steered(self, order: _Order, angular: float, sight: Sight, blocked: bool) -> _Gap:
        """The turning rate on the way to the free gap, the more so the nearer obstacles are."""
        if not self.options.steering.enabled:
            return _Gap(angular, angular)
        limit = sight.by_obstacles(order.linear, angular, blocked)
        weight = 1 - min(limit.speed / order.linear, 1.0)
        if not (limit.known and weight > 0):
            return _Gap(angular, angular)
        steer = sight.steer(self._steering)
        return _Gap(sight.turn((1 - weight) * angular + weight * steer), sight.turn(steer))

    def _follow(self, order: _Order, limit: Limit, angular: float, elapsed_s: float) -> None:
        """Take one step toward what is allowed, within the accelerations."""
        options, previous = self.options, self._linear
        linear = _within(order.linear, limit.speed)
        if order.state is None:  # who commands less gets less at once
            previous = min(max(previous, min(order.linear, 0.0)), max(order.linear, 0.0))
        rise = options.acceleration * min(elapsed_s, LONGEST_STEP_S)
        hard = options.stop_deceleration * elapsed_s
        stopped = limit.speed == 0 or order.state is not None
        fall = hard if stopped else min(hard, options.deceleration * elapsed_s)
        self._linear = follow(previous, linear, rise, fall)
        if abs(self._linear) > limit.braking and linear * self._linear >= 0:
            braked = min(abs(self._linear), abs(previous) - hard)
            self._linear = math.copysign(max(abs(linear), braked), self._linear)
        if self._linear and order.linear and limit.speed > 0:
            # While it rolls, no tighter curve than was looked at.
            angular = _within(angular, limit.curvature * abs(self._linear))
            self._curve = math.copysign(limit.curvature, angular)
        elif self._linear or self._rolling[0]:
            # Rolling out, on the curve that was looked at last, or a flatter one.
            curve = self._curve * max(abs(self._linear), abs(self._rolling[0]))
            angular = max(min(angular, max(curve, 0.0)), min(curve, 0.0))
        turning = options.angular_acceleration * min(elapsed_s, LONGEST_STEP_S)
        self._angular = follow(self._angular, angular, turning, math.inf)

    def _rolled(self, elapsed_s: float) -> tuple[float, float]:
        """How the robot goes on, as far as its drive brakes as it is said to: m/s and rad/s."""
        options, (linear, angular) = self.options, self._rolling
        self._rolling = (
            follow(linear, self._linear, math.inf, options.stop_deceleration * elapsed_s),
            follow(angular, self._angular, math.inf, options.angular_acceleration * elapsed_s),
        )
        return self._rolling

    def _decision(self, order: _Order, turn: float, sight: Sight, limit: Limit) -> Decision:
        state, text = State.CLEAR, limit.text
        if order.state is State.ECHO:
            state, text = order.state, order.text
        elif not limit.known:
            state = State.NO_DATA
        elif order.state is not None:
            state, text = order.state, order.text
        elif order.text:
            state, text = State.BAD_COMMAND, order.text
        elif limit.speed == 0:
            state = State.OBSTACLE
        elif limit.speed < abs(order.linear) or limit.eased:
            state = State.SLOWING
        if order.state is None and turn != order.angular:
            text += '; turning is held: a corner of the robot would touch something'
            if state is State.CLEAR:
                state = State.SLOWING if turn or order.linear else State.OBSTACLE
        standing = self._linear == 0 and self._angular == 0
        silent = order.state is State.NO_COMMAND and standing and not self._zeros.owes()
        return Decision(
            self._linear,
            self._angular,
            state,
            text,
            sight.source,
            limit.free_m,
            limit.unknown_share,
            silent,
            sight.turning_checked,
        )


def _within(value: float, most: float) -> float:
    return max(-most, min(most, value)) + 0.0  # no zero has a sign
