"""The avoidance: commands, scans and closeness in; a velocity and a state out, step by step.

The robot goes only where fresh data says it may, as fast as the free way ahead allows, and never
faster than commanded. Times are s of one clock, which may be simulated.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import math

import numpy as np

from midas_depth_ros.avoidance.corridor import MotionHistory, Pose
from midas_depth_ros.avoidance.freshness import MessageTimes, StampChecker, ZeroTracker, age_of
from midas_depth_ros.avoidance.memory import FreeMemory, ObstacleMemory, ViewMemory
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
from midas_depth_ros.avoidance.speed import Rolling, Steering, follow
from midas_depth_ros.options.avoidance import AvoidanceSettings

LONGEST_STEP_S = 0.2  # of acceleration: a late step must not become a leap
LONGEST_GAP_S = 1.5  # after a longer pause the robot's motion is unknown
WHEELS_LATE = 0.5  # of the reaction time: how late the wheels respond at most
AHEAD_RAD = 0.3  # beams this near to straight ahead show whether the sensor sees there
PROBE_MPS = 0.05  # speed that the state is found with when no forward motion is commanded


class State(enum.Enum):
    """What the avoidance does, as shown in log and diagnostics."""

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

    `silent`: nothing is commanded, and zeros have been sent long enough: send nothing, so that
    another commander can drive. `turning_checked`: everything that the corners sweep in turning is
    known.
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
class _Command:
    """The valid command: m/s and rad/s. If there is none, `state` and `text` say why."""

    linear: float = 0.0
    angular: float = 0.0
    state: State | None = None
    text: str = ''


class _Input:
    """The newest message of one input, and why the last one was rejected."""

    def __init__(self) -> None:
        self.watch = StampChecker()
        self.clear()

    def clear(self) -> None:
        """Forget all messages."""
        self.watch.clear()
        self.moment: MessageTimes | None = None
        self.refusal = ''

    def take(self, moment: MessageTimes, timeout_s: float, options: AvoidanceSettings) -> str:
        """Take a message; return why it cannot be used, or ''."""
        self.refusal = self.watch.fault_of(moment, timeout_s, options.stamps, options.other_clock)
        if not self.refusal:
            self.moment = moment
        return self.refusal

    def fault_at(self, now_s: float, timeout_s: float, options: AvoidanceSettings) -> str:
        """Return why there is nothing fresh, or ''."""
        if self.moment is None:
            return self.refusal or 'none yet'
        age = age_of(self.moment, now_s, timeout_s, options.stamps, options.other_clock)
        return age.fault and (self.refusal or age.fault)


_Memories = tuple[tuple[ObstacleMemory, ObstacleMemory], FreeMemory, float]


class Avoidance:
    """Keeps the newest of every input and decides at each step. `options` may be replaced.

    `fed_back`: the velocities sent come back as commands; then no command counts.
    """

    def __init__(self, options: AvoidanceSettings) -> None:
        self.options = options
        self.fed_back = False
        # For wheels that respond at once, and for wheels that respond late and roll on.
        self._motions = MotionHistory(), MotionHistory()
        self._obstacles, self._floor = (ObstacleMemory(), ObstacleMemory()), FreeMemory()
        self._looked = ViewMemory()
        self._steering = Steering()
        self._zeros = ZeroTracker()
        self._scan_input, self._closeness_input, self._command_input = _Input(), _Input(), _Input()
        self._last_s = math.nan
        self.forget()

    @property
    def owes_zero(self) -> bool:
        """Whether the last velocity sent was not zero, or zero was not sent for long enough."""
        return self._zeros.owes()

    def forget(self) -> None:
        """Drop all data and commands and stop, as after a jump of the clock."""
        for each in (self._scan_input, self._closeness_input, self._command_input):
            each.clear()
        self._view: ScanView | None = None
        self._closeness = (math.nan, math.nan, math.nan)
        self._command = (0.0, 0.0)
        # What was remembered before the newest scan, and the motion up to it.
        self._before: tuple[_Memories, tuple[Pose, Pose]] | None = None
        self._scan_s = math.nan  # when the newest scan was measured
        self._informed_s = -math.inf  # and the newest that knew anything of what is ahead
        self._linear = self._angular = 0.0
        # How it rolls on from there (m/s, rad/s), and the curve (1/m) that was checked for it.
        self._rolling, self._curve = (0.0, 0.0), 0.0
        self._blocked_s = math.nan  # when forward was last impossible; NaN = it is possible
        for memory in (*self._motions, *self._obstacles):
            memory.clear()
        self._floor.clear()
        self._looked.clear()

    def see_scan(self, view: ScanView, moment: MessageTimes) -> str:
        """Take a scan; return why it cannot be used, or ''."""
        fault = self._scan_input.take(moment, self.options.timeout, self.options)
        if fault:
            return fault
        seen_s, moved = moment.measured_s(self.options.stamps), (Pose(), Pose())
        if self._view is not None:
            moved = self._moved(self._scan_s, seen_s)
        self._scan_s = seen_s
        memories = self._obstacles, self._floor, self._informed_s
        self._before = copy.deepcopy(memories), moved
        self._remember(view, moved)
        return ''

    def refine_scan(self, view: ScanView) -> None:
        """Replace the newest scan by the same one with more said of it.

        What the scan alone has made of the memories is taken back: it may be seen free for less.
        """
        if self._before is None:
            return
        memories, moved = self._before
        self._obstacles, self._floor, self._informed_s = copy.deepcopy(memories)
        self._remember(view, moved)

    def see_closeness(self, left: float, centre: float, right: float, moment: MessageTimes) -> str:
        """Take closeness; return why it cannot be used, or ''."""
        fault = self._closeness_input.take(moment, self.options.timeout, self.options)
        if not fault:
            self._closeness = (left, centre, right)
        return fault

    def command(self, linear: float, angular: float, moment: MessageTimes) -> str:
        """Take a command: m/s forward (negative = back), rad/s to the left.

        Return why it cannot be used, or ''. A stop counts whatever its stamp is: a joystick or a
        bridge that sends it with that of the velocity before means it.
        """
        fault = self._command_input.take(moment, self.options.command_timeout, self.options)
        if linear == angular == 0:
            fault = self._command_input.refusal = ''
        if not fault:
            self._command = (linear, angular)
        return fault

    def halt(self, text: str, steady_s: float) -> Decision:
        """Forget everything and stop: the clock stands still. `steady_s` is of a steady clock."""
        self.forget()
        silent = not self._zeros.owes()
        if not silent:
            self._zeros.sent(0.0, 0.0, self._last_s, steady_s)
        return Decision(0.0, 0.0, State.NO_CLOCK, text, 'none', silent=silent)

    def step(self, now_s: float, steady_s: float | None = None) -> Decision:
        """Return what to send now. `steady_s`: the same time by a clock that never jumps."""
        if now_s < self._last_s or now_s - self._last_s > LONGEST_GAP_S:
            self.forget()
            self._last_s = now_s
        elapsed_s = now_s - self._last_s if self._last_s <= now_s else 0.0
        self._last_s = now_s
        command, sight = self._checked_command(now_s), self._sight(now_s)
        turn = sight.turn(command.angular)
        limit, angular = self._limit(command, turn, sight, now_s)
        self._follow(command, limit, angular, elapsed_s)
        self._motions[0].sent(now_s, self._linear, self._angular)
        self._motions[1].sent(now_s, *self._rolled(elapsed_s))
        decision = self._decision(command, turn, sight, limit)
        if not decision.silent:
            self._zeros.sent(
                self._linear, self._angular, now_s, now_s if steady_s is None else steady_s
            )
        return decision

    def _remember(self, view: ScanView, moved: tuple[Pose, Pose]) -> None:
        self._view = view
        self._looked.see(view, self._scan_s, self.options.timeout)
        if view.knows_ahead(AHEAD_RAD):
            self._informed_s = self._scan_s
        for obstacles, by in zip(self._obstacles, moved, strict=True):
            obstacles.see(view, self._scan_s, by, self.options)
        points = self._obstacles[1].x, self._obstacles[1].y
        self._floor.see(view, self._scan_s, moved[1], points, footprint_of(self.options))

    def _checked_command(self, now_s: float) -> _Command:
        options = self.options
        if self.fed_back:
            return _Command(state=State.ECHO, text='the velocities sent come back as commands')
        fault = self._command_input.fault_at(now_s, options.command_timeout, options)
        if fault:
            return _Command(state=State.NO_COMMAND, text=fault)
        linear, angular = self._command
        if not (math.isfinite(linear) and math.isfinite(angular)):
            return _Command(state=State.BAD_COMMAND, text=f'{linear} m/s, {angular} rad/s')
        if linear < 0 and not options.allow_reverse:
            text = 'reversing is disabled: set allow_reverse'
            return _Command(angular=_within(angular, options.max_turn_rate), text=text)
        slowest = -min(options.max_reverse_speed, options.max_speed)
        linear = max(slowest, min(options.max_speed, linear))
        return _Command(linear, _within(angular, options.max_turn_rate))

    def _sight(self, now_s: float) -> Sight:
        options, faults = self.options, []
        scan_fault = self._scan_input.fault_at(now_s, options.timeout, options)
        remembered = self._remembered(now_s, fresh=not scan_fault)
        rolling = self._rolling_on(now_s)
        if options.source != 'closeness':
            if self._view is not None and not scan_fault:
                return ScanSight(self._view, remembered, options, rolling)
            faults.append(f'scan: {scan_fault}')
        if options.source != 'scan':
            fault = self._closeness_input.fault_at(now_s, options.timeout, options)
            if not fault:
                return ClosenessSight(self._closeness, remembered, options, rolling)
            faults.append(f'closeness: {fault}')
        return NoSight('; '.join(faults), remembered, options, rolling)

    def _rolling_on(self, now_s: float) -> Rolling:
        """What was sent and has not reached the wheels yet."""
        sent = self._motions[0].since(now_s - self.options.reaction_time, now_s)
        return Rolling(self._linear, math.copysign(math.hypot(sent.x, sent.y), sent.x))

    def _remembered(self, now_s: float, fresh: bool) -> Remembered:
        poses = Pose(), Pose()
        if self._view is not None:
            poses = self._moved(self._scan_s, now_s)
            if now_s - self._informed_s > self.options.timeout:
                self._floor.clear()  # a sensor that knows nothing counts as silent
            self._floor.stand(poses[1], now_s, footprint_of(self.options))
        newest_s = self._scan_s if fresh else math.inf
        memory_s = self.options.memory
        # How the wheels respond is unknown, so each memory of obstacles moves along in its own way.
        points = [
            pose.to_now(*memory.points(now_s, memory_s, pose, newest_s))
            for memory, pose in zip(self._obstacles, poses, strict=True)
        ]
        x, y = (np.concatenate(each) for each in zip(*points, strict=True))
        return Remembered(x, y, poses[1], self._floor, now_s - memory_s)

    def _moved(self, then_s: float, now_s: float) -> tuple[Pose, Pose]:
        """Return the robot's motion between two times, for both ways its wheels may respond."""
        at_once, later = self._motions
        late_s = WHEELS_LATE * self.options.reaction_time
        return at_once.since(then_s, now_s), later.since(then_s - late_s, now_s - late_s)

    def _limit(
        self, command: _Command, turn: float, sight: Sight, now_s: float
    ) -> tuple[Limit, float]:
        """Return the limit on the commanded direction, and the turning rate it holds for."""
        if command.linear < 0:
            limit, angular = sight.reverse(-command.linear, turn), turn
        else:
            limit, angular = self._forward_limit(command, turn, sight, now_s)
            if sight.source == 'scan' and now_s - self._informed_s > self.options.timeout:
                # Memory may know what is ahead, but nobody looks there.
                text = (
                    f'nothing ahead is seen; from memory, {limit.text}'
                    if limit.known
                    else limit.text
                )
                limit = dataclasses.replace(limit, known=False, text=text)
        if command.state or not (limit.known or self.options.turn_without_data):
            angular = 0.0
        return limit, angular

    def _forward_limit(
        self, command: _Command, angular: float, sight: Sight, now_s: float
    ) -> tuple[Limit, float]:
        blocked = not math.isnan(self._blocked_s)
        if command.linear > 0:
            driving, on_the_spot = self._steered(command, angular, sight, blocked)
            limit = sight.limit(command.linear, driving, blocked)
            angular = on_the_spot if limit.on_the_spot else driving
        else:
            limit = sight.limit(PROBE_MPS, 0.0, blocked)
        if limit.speed == 0 and not limit.on_the_spot:
            self._blocked_s = now_s
        elif blocked and now_s - self._blocked_s < self.options.resume_delay:
            # It does not turn either: the way was checked from here.
            limit = dataclasses.replace(limit, speed=0.0)
            angular = 0.0 if command.linear else angular
        else:
            self._blocked_s = math.nan
        return limit, angular

    def _steered(
        self, command: _Command, angular: float, sight: Sight, blocked: bool
    ) -> tuple[float, float]:
        """Return the turning rate (rad/s) toward the free gap while driving, the stronger the
        nearer obstacles are, and that on the spot.
        """
        if not self.options.steering.enabled:
            return angular, angular
        limit = sight.by_obstacles(command.linear, angular, blocked)
        weight = 1 - min(limit.speed / command.linear, 1.0)
        if not (limit.known and weight > 0):
            return angular, angular
        steer = _within(sight.steer(self._steering), self.options.max_turn_rate)
        return sight.turn((1 - weight) * angular + weight * steer), sight.turn(steer)

    def _follow(self, command: _Command, limit: Limit, angular: float, elapsed_s: float) -> None:
        """Take one step toward what is allowed, within the accelerations."""
        options, previous = self.options, self._linear
        linear = _within(command.linear, limit.speed)
        if command.state is None:  # a lower command takes effect at once
            previous = min(max(previous, min(command.linear, 0.0)), max(command.linear, 0.0))
        rise = options.acceleration * min(elapsed_s, LONGEST_STEP_S)
        hard = options.stop_deceleration * elapsed_s
        stopped = limit.speed == 0 or command.state is not None
        fall = hard if stopped else min(hard, options.deceleration * elapsed_s)
        self._linear = follow(previous, linear, rise, fall)
        if abs(self._linear) > limit.braking and linear * self._linear >= 0:
            braked = min(abs(self._linear), abs(previous) - hard)
            self._linear = math.copysign(max(abs(linear), braked), self._linear)
        if self._linear and command.linear and limit.speed > 0:
            # While it rolls, no tighter curve than was checked.
            angular = _within(angular, limit.curvature * abs(self._linear))
            self._curve = math.copysign(limit.curvature, angular)
        elif self._linear or self._rolling[0]:
            # Rolling to a stop, on the curve that was checked last or a flatter one.
            curve = self._curve * max(abs(self._linear), abs(self._rolling[0]))
            angular = max(min(angular, max(curve, 0.0)), min(curve, 0.0))
        turning = options.angular_acceleration * min(elapsed_s, LONGEST_STEP_S)
        self._angular = follow(self._angular, angular, turning, math.inf)

    def _rolled(self, elapsed_s: float) -> tuple[float, float]:
        """Return how the robot moves on (m/s, rad/s) if its drive brakes as the options say."""
        options, (linear, angular) = self.options, self._rolling
        self._rolling = (
            follow(linear, self._linear, math.inf, options.stop_deceleration * elapsed_s),
            follow(angular, self._angular, math.inf, options.angular_acceleration * elapsed_s),
        )
        return self._rolling

    def _decision(self, command: _Command, turn: float, sight: Sight, limit: Limit) -> Decision:
        state, text = State.CLEAR, limit.text
        if command.state is State.ECHO:
            state, text = command.state, command.text
        elif not limit.known:
            state = State.NO_DATA
        elif command.state is not None:
            state, text = command.state, command.text
        elif command.text:
            state, text = State.BAD_COMMAND, command.text
        elif limit.speed == 0:
            state = State.OBSTACLE
        elif limit.speed < abs(command.linear) or limit.eased:
            state = State.SLOWING
        if command.state is None and turn != command.angular:
            text += '; turning is blocked: a corner of the robot would touch something'
            if state is State.CLEAR:
                state = State.SLOWING if turn or command.linear else State.OBSTACLE
        standing = self._linear == 0 and self._angular == 0
        silent = command.state is State.NO_COMMAND and standing and not self._zeros.owes()
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
    return max(-most, min(most, value)) + 0.0  # + 0.0: no negative zero
