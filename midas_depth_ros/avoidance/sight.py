"""What one source allows of a commanded velocity: how fast, and why.

A `ScanSight` looks along the robot's way in metres, a `ClosenessSight` knows only nearer and
farther, a `NoSight` nothing; memory counts for all of them. They answer with a `Limit`.
"""

from __future__ import annotations

import dataclasses
import functools
import math

from midas_depth_ros.avoidance.corridor import (
    TOUCHING_M,
    Footprint,
    KnownArc,
    KnownStraight,
    Pose,
    free_arc,
    free_straight,
    free_turn,
    known_all_round,
    known_arc,
    known_straight,
)
from midas_depth_ros.avoidance.memory import FreeMemory
from midas_depth_ros.avoidance.scan import Booleans, Floats, ScanView
from midas_depth_ros.avoidance.speed import (
    Rolling,
    Steering,
    braking_speed,
    closeness_speed,
    stopping_way,
    turning_speed,
    worst_closeness,
    zone_speed,
)
from midas_depth_ros.options.avoidance import AvoidanceSettings

TURN_MARGIN_M = 0.03  # how far the corners stay from what they may pass in turning
SMALL_M = 0.01
# On a curve this much of the stop zone is assumed free: it was seen before, while driving ahead.
STRIP_M = 0.15
# Shares of its curvature to which a curve may be widened, and least share of its speed.
EASED, EASED_SPEED = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8), 0.6
LEAST_TURN = 0.005  # rad: less room counts as no room


@dataclasses.dataclass(frozen=True)
class Limit:
    """How fast one direction, forward or backward, is allowed (m/s), and why.

    `braking`: above this speed the robot must brake at once, without regard to comfort. `known`:
    False if it is the unknown that stops the robot. `free_m`: the free way ahead, NaN if unknown.
    `curvature` (1/m, unsigned): no tighter arc was checked; `eased`: the arc is wider than
    commanded. `on_the_spot`: only the curve is unknown.
    """

    speed: float
    braking: float
    known: bool
    text: str
    free_m: float = math.nan
    unknown_share: float = math.nan
    curvature: float = 0.0
    eased: bool = False
    on_the_spot: bool = False


def footprint_of(options: AvoidanceSettings) -> Footprint:
    """Return the robot as the options describe it."""
    return Footprint(
        options.robot_width / 2, options.robot_front, options.robot_rear, options.side_margin
    )


@dataclasses.dataclass(frozen=True)
class Remembered:
    """Memory as it lies about the robot now: `x`, `y` (m) of obstacles, and floor that was free.

    `pose`: of the robot now since the newest scan. `since_s`: floor seen free earlier is unknown.
    """

    x: Floats
    y: Floats
    pose: Pose
    floor: FreeMemory
    since_s: float

    def free(self, x: Floats, y: Floats) -> Booleans:
        """Return whether places on the robot now were seen free."""
        return self.floor.free_since(x, y, self.pose, self.since_s)


class _BaseSight:
    """What all sources share: remembered obstacles and floor; everything else is unknown.

    `rolling`: how the robot moves on whatever is decided.
    """

    source = 'none'

    def __init__(
        self, remembered: Remembered, options: AvoidanceSettings, rolling: Rolling
    ) -> None:
        self.remembered, self.options, self.rolling = remembered, options, rolling
        self.forward = rolling.towards(1.0)
        self.footprint = footprint_of(options)
        self.x, self.y = remembered.x, remembered.y

    def knows(self, x: Floats, y: Floats) -> Booleans:
        """Return whether places on the robot now are known."""
        return self.remembered.free(x, y)

    reached = knows

    def turn(self, angular: float) -> float:
        """Return the turning rate allowed of the commanded one: corners stop at obstacles."""
        if angular == 0:
            return 0.0
        margin = min(self.options.side_margin, TURN_MARGIN_M)
        free = free_turn(self.x, self.y, angular > 0, self.footprint, margin)
        most = turning_speed(free, self.options) if free > LEAST_TURN else 0.0
        return math.copysign(min(abs(angular), most), angular)

    def limit(self, linear: float, angular: float, resuming: bool) -> Limit:
        """Return the limit on a forward velocity > 0."""
        raise NotImplementedError

    def by_obstacles(self, linear: float, angular: float, resuming: bool) -> Limit:
        """Return the same, without regard to unknown places on a curve."""
        return self.limit(linear, angular, resuming)

    @functools.cached_property
    def turning_checked(self) -> bool:
        """Whether everything that the corners would sweep in turning is known."""
        return known_all_round(self, self.footprint, self.options.smallest_obstacle)

    def reverse(self, linear: float, angular: float) -> Limit:
        """Return the limit on a speed backward > 0, bounded by what is known there as forward is.

        Where it is unknown, `blind_reverse_speed` is the limit.
        """
        options, back = self.options, self.footprint.backward()
        rolling = self.rolling.towards(-1.0)
        curvature = angular / linear
        free = free_arc(-self.x, -self.y, curvature, back)
        way = self._look_ahead + stopping_way(linear, options)
        arc = known_arc(self, back, curvature, way, 0.0, options.smallest_obstacle, backward=True)
        by_free = zone_speed(free, linear, options, rolling)
        # Nothing is assumed free there: the robot stops as far from the unknown as from obstacles.
        room = min(arc.room, arc.seen - options.stop_distance)
        by_seen = braking_speed(room, options, rolling)
        by_seen = max(by_seen, min(options.blind_reverse_speed, linear))
        speed = min(by_free, by_seen)
        known = speed > 0 or by_free == 0
        text = f'free behind for {free:.2f} m'
        if not known:
            text = f'only {arc.seen:.2f} m behind are known to be free'
        return Limit(speed, speed, known, text, free, curvature=abs(curvature))

    @property
    def _look_ahead(self) -> float:
        """How far (m) an arc may lead through places that are exempt from the check."""
        length = self.footprint.front + self.footprint.rear
        return max(self.options.stop_distance, length + TOUCHING_M)


class ScanSight(_BaseSight):
    """A scan, memory from before it, and the robot's motion since."""

    source = 'scan'

    def __init__(
        self,
        view: ScanView,
        remembered: Remembered,
        options: AvoidanceSettings,
        rolling: Rolling,
    ) -> None:
        super().__init__(remembered, options, rolling)
        self._view = view
        self._straight: dict[float, KnownStraight] = {}

    def knows(self, x: Floats, y: Floats) -> Booleans:
        """Return whether places on the robot now are known, by this scan or by memory."""
        known = self._view.coverage.knows(*self.remembered.pose.to_past(x, y))
        return known | self.remembered.free(x, y)

    def reached(self, x: Floats, y: Floats) -> Booleans:
        """Return whether the nearest beam, or memory where none looks, reaches places."""
        then = self.remembered.pose.to_past(x, y)
        coverage = self._view.coverage
        return coverage.reached(*then) | (self.remembered.free(x, y) & ~coverage.looks_at(*then))

    def limit(self, linear: float, angular: float, resuming: bool) -> Limit:
        """Return the limit on a forward velocity > 0; resuming needs a little more room."""
        limit = self.by_obstacles(linear, angular, resuming)
        if not (angular and limit.speed > 0):
            return limit
        found = self._by_seen(limit, math.copysign(limit.curvature, angular), resuming)
        speed = self.forward.speed
        if speed > limit.speed and found.speed > 0:
            # Until it has slowed down, the robot drives a flatter curve than that.
            flatter = angular / min(speed, linear)
            if self._arc(flatter, self._way(speed, resuming)).seen < math.inf:
                found = dataclasses.replace(found, braking=min(found.braking, found.speed))
        return found

    def by_obstacles(self, linear: float, angular: float, resuming: bool) -> Limit:
        """Return the same, without regard to unknown places on a curve.

        What is straight ahead counts on a curve too: a robot commanded to turn may not.
        """
        options = self.options
        spare = options.resume_margin if resuming else 0.0
        curvature = angular / linear
        straight = free_straight(self.x, self.y, self.footprint)
        ahead = self._ahead(linear, straight)
        if ahead.seen == 0:
            text = self._unknown(ahead)
            return Limit(0.0, 0.0, False, text, math.nan, ahead.share, abs(curvature))
        free = min(straight, self._free(curvature))
        speed = zone_speed(min(free, ahead.seen) - spare, linear, options, self.forward)
        if angular and 0 < speed < linear:
            # Slower at the same turning rate is a tighter arc.
            curvature = angular / speed
            free = min(free, self._free(curvature))
            speed = zone_speed(min(free, ahead.seen) - spare, linear, options, self.forward)
        room = min(free, ahead.seen) - spare - options.stop_distance
        braking = braking_speed(room, options, self.forward)
        known = speed > 0 or free <= ahead.seen
        text = f'free for {free:.2f} m' if known else f'seen for only {ahead.seen:.2f} m'
        return Limit(speed, braking, known, text, free, ahead.share, abs(curvature))

    def steer(self, steering: Steering) -> float:
        """Return the turning rate toward the free gap in rad/s."""
        return steering.by_scan(self, self._view, self.footprint, self.options)

    def _ahead(self, linear: float, free: float) -> KnownStraight:
        """What is known straight ahead, as far as it is `free` (m) and a speed needs it."""
        options = self.options
        if linear not in self._straight:
            farthest = options.stop_distance + stopping_way(linear, options)
            self._straight[linear] = known_straight(
                self,
                self.footprint,
                options.stop_distance,
                min(max(options.slow_distance, farthest), free),
                options.max_unknown,
                options.smallest_obstacle,
            )
        return self._straight[linear]

    def _by_seen(self, limit: Limit, curvature: float, resuming: bool) -> Limit:
        """Return the limit where the arc, too, must be known as far as stopping on it takes.

        If the inside of a curve is unknown, the robot drives a wider one, unless that is much
        slower. Nothing is left of a turn nearly on the spot: the robot then turns without driving.
        """
        options = self.options
        spare = options.resume_margin if resuming else 0.0
        way = self._way(limit.speed, resuming)
        arc = self._arc(curvature, way)
        if arc.seen == math.inf:
            return limit
        flatter = math.nan
        if abs(curvature) * self.footprint.half_width < 1:
            flatter = self._flatter(curvature, way)
        if not math.isnan(flatter):
            free = min(limit.free_m, self._free(flatter))
            speed = zone_speed(free - spare, limit.speed, options, self.forward)
            if speed >= EASED_SPEED * limit.speed:
                text = f'{limit.text}; the turn is widened: its inside is seen for {arc.seen:.2f} m'
                return dataclasses.replace(
                    limit, speed=speed, text=text, free_m=free, curvature=abs(flatter), eased=True
                )
        speed = min(braking_speed(arc.room - spare, options, self.forward), limit.speed)
        speed = 0.0 if speed < min(options.min_speed, limit.speed) else speed
        text = f'only {arc.seen:.2f} m of the curve are seen'
        braking = min(limit.braking, speed)
        return dataclasses.replace(
            limit, speed=speed, braking=braking, known=speed > 0, text=text, on_the_spot=speed == 0
        )

    def _way(self, speed: float, resuming: bool) -> float:
        """How far (m) an arc must be known to be driven at a speed."""
        spare = self.options.resume_margin if resuming else 0.0
        return self._look_ahead + spare + stopping_way(speed, self.options)

    def _flatter(self, curvature: float, way: float) -> float:
        """Return the tightest of some wider arcs that are known for all of a way.

        NaN if none is, not even straight ahead.
        """
        found = math.nan
        for share in EASED:
            if self._arc(share * curvature, way).seen < math.inf:
                break
            found = share * curvature
        return found

    def _arc(self, curvature: float, way: float) -> KnownArc:
        strip = min(self.options.stop_distance, STRIP_M)
        smallest = self.options.smallest_obstacle
        return known_arc(self, self.footprint, curvature, way, strip, smallest)

    def _unknown(self, ahead: KnownStraight) -> str:
        """Describe what is unknown straight ahead."""
        if ahead.share > self.options.max_unknown:
            return f'{ahead.share:.0%} of the corridor unknown'
        aside = abs(ahead.aside)
        where = f', {aside:.2f} m to the {"left" if ahead.aside > 0 else "right"}'
        return (
            f'{ahead.gap:.2f} m of the corridor unknown, {self.options.stop_distance:.2f} m ahead'
            f'{where if aside > ahead.gap / 2 else ""}'
        )

    def _free(self, curvature: float) -> float:
        return free_arc(self.x, self.y, curvature, self.footprint)


class ClosenessSight(_BaseSight):
    """Closeness left, centre and right: unitless, so neither distances nor motion since count."""

    source = 'closeness'

    def __init__(
        self,
        closeness: tuple[float, float, float],
        remembered: Remembered,
        options: AvoidanceSettings,
        rolling: Rolling,
    ) -> None:
        super().__init__(remembered, options, rolling)
        left, centre, right = closeness
        self._sides = (left, right)
        self._worst = worst_closeness(left, centre, right, options.closeness)
        self._text = f'closeness {left:.2f} {centre:.2f} {right:.2f}'

    def limit(self, linear: float, angular: float, resuming: bool) -> Limit:
        """Return the limit on a forward velocity > 0; NaN stops, as do obstacles scanned before."""
        options = self.options
        speed = closeness_speed(self._worst, linear, options, resuming)
        curvature = abs(angular) / (speed or linear)
        if math.isnan(self._worst):
            return Limit(0.0, 0.0, False, f'{self._text}: unknown', curvature=curvature)
        tightest = (1 - math.cos(min(options.closeness.view, math.pi) / 2)) / max(
            self.footprint.half_width, SMALL_M
        )
        if speed > 0 and curvature > tightest:
            text = f'the inside of a curve of radius {1 / curvature:.2f} m is never in view'
            return Limit(0.0, 0.0, False, text, curvature=curvature)
        free = free_arc(self.x, self.y, angular / (speed or linear), self.footprint)
        by_memory = zone_speed(free, linear, options, self.forward)
        text = self._text
        if by_memory < speed:
            speed, text = by_memory, f'a scan showed an obstacle {free:.2f} m ahead'
        return Limit(speed, speed, True, text, curvature=curvature)

    def steer(self, steering: Steering) -> float:
        """Return the turning rate away from the nearer side in rad/s."""
        return steering.by_closeness(*self._sides, self.options)


class NoSight(_BaseSight):
    """No fresh data; `text` says why."""

    def __init__(
        self,
        text: str,
        remembered: Remembered,
        options: AvoidanceSettings,
        rolling: Rolling,
    ) -> None:
        super().__init__(remembered, options, rolling)
        self._text = text

    def limit(self, linear: float, angular: float, resuming: bool) -> Limit:
        """Forbid moving forward."""
        return Limit(0.0, 0.0, False, self._text, curvature=abs(angular / linear))

    def reverse(self, linear: float, angular: float) -> Limit:
        """Limit reversing to what is allowed without sight."""
        speed = min(super().reverse(linear, angular).speed, self.options.blind_reverse_speed)
        return Limit(speed, speed, False, self._text, curvature=abs(angular / linear))

    def steer(self, steering: Steering) -> float:
        """Do not steer."""
        return 0.0


Sight = ScanSight | ClosenessSight | NoSight
