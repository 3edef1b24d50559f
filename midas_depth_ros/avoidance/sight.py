"""What a source says about a commanded velocity: how fast it may be, and why.

A `ScanSight` looks along the robot's way in metres, a `ClosenessSight` knows only nearer and
farther, `NoSight` nothing; what is remembered counts for all of them. They answer with a `Limit`.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.avoidance.corridor import (
    TOUCHING_M,
    Arc,
    Footprint,
    Pose,
    Straight,
    all_round,
    free_arc,
    free_straight,
    free_turn,
    seen_arc,
    seen_straight,
)
from midas_depth_ros.avoidance.memory import FreeMemory, ObstacleMemory
from midas_depth_ros.avoidance.scan import ScanView
from midas_depth_ros.avoidance.speed import (
    Steering,
    braking_speed,
    closeness_speed,
    stopping_way,
    turning_speed,
    worst_closeness,
    zone_speed,
)
from midas_depth_ros.options.avoidance import AvoidanceSettings

Floats = NDArray[np.float64]
TURN_MARGIN_M = 0.03  # the corners keep so far from what they may pass in turning
SMALL_M = 0.01
# In a curve only so much of the stop zone is taken for free: in driving ahead it was seen before.
STRIP_M = 0.15
# To such shares of it a curve may be eased, from the flattest on, but not to less of the speed.
EASED = (0.0, 0.1, 0.25, 0.4, 0.6, 0.8)
EASED_SPEED = 0.6
LEAST_TURN = 0.005  # rad: less room counts as no room


@dataclasses.dataclass(frozen=True)
class Limit:
    """How fast one way, forward or backward, is allowed (m/s), and why.

    `braking`: the speed above which comfort must not delay braking. `known` is False where it is
    too little sight that stops the robot. `free_m`: the way ahead, NaN where nobody knows.
    `curvature` (1/m, without sign): no tighter arc than that was looked at; `eased`: it is flatter
    than what was asked for. `on_the_spot`: it is only the curve that is not known.
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
    """The robot as the options describe it."""
    return Footprint(
        options.robot_width / 2, options.robot_front, options.robot_rear, options.side_margin
    )


class Remembered:
    """What was seen a moment ago, as it lies about the robot now: `x`, `y` (m) of obstacles.

    Nobody knows just how the wheels follow, so each memory has been carried along in its own way;
    `poses` are those of the robot now, from where it was at the newest scan, the last one counts.
    """

    def __init__(
        self,
        obstacles: Sequence[ObstacleMemory],
        floor: FreeMemory,
        poses: Sequence[Pose],
        now_s: float,
        memory_s: float,
        newest_s: float,
    ) -> None:
        """What is not older than `memory_s`, and the obstacles that were seen at `newest_s`."""
        self.pose = poses[-1]
        self._floor, self._since_s = floor, now_s - memory_s
        points = [
            pose.to_now(*each.points(now_s, memory_s, pose, newest_s))
            for each, pose in zip(obstacles, poses, strict=True)
        ]
        self.x, self.y = (np.concatenate(each) for each in zip(*points, strict=True))

    def free(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether places on the robot now were seen to be free."""
        return self._floor.free_since(x, y, self.pose, self._since_s)


class _Blind:
    """What all that see have in common: obstacles that are remembered, and knowing nothing else."""

    source = 'none'

    def __init__(self, remembered: Remembered, options: AvoidanceSettings) -> None:
        self.remembered, self.options = remembered, options
        self.footprint = footprint_of(options)
        self.x, self.y = remembered.x, remembered.y

    def tells(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether places on the robot now are known."""
        return self.remembered.free(x, y)

    touched = tells

    def turn(self, angular: float) -> float:
        """The turning rate that is allowed in place of a wished one: corners stop at obstacles."""
        if angular == 0:
            return 0.0
        margin = min(self.options.side_margin, TURN_MARGIN_M)
        free = free_turn(self.x, self.y, angular > 0, self.footprint, margin)
        most = turning_speed(free, self.options) if free > LEAST_TURN else 0.0
        return math.copysign(min(abs(angular), most), angular)

    def limit(
        self, linear: float, angular: float, resuming: bool = False, rolling: float = 0.0
    ) -> Limit:
        """The limit on a forward velocity > 0."""
        raise NotImplementedError

    def by_obstacles(self, linear: float, angular: float, resuming: bool = False) -> Limit:
        """The same, but for what of a curve is not known."""
        return self.limit(linear, angular, resuming)

    @functools.cached_property
    def turning_checked(self) -> bool:
        """Whether all that the corners would come over in turning is known."""
        return all_round(self, self.footprint, self.options.smallest_obstacle)

    def reverse(self, linear: float, angular: float) -> Limit:
        """The limit on a speed backward > 0: bounded by what is seen there as forward is.

        Where it is not seen only the speed for that is left.
        """
        options, back = self.options, self.footprint.backward()
        curvature = angular / linear
        free = free_arc(-self.x, -self.y, curvature, back)
        way = self._look_ahead + stopping_way(linear, options)
        arc = seen_arc(_Turned(self), back, curvature, way, 0.0, options.smallest_obstacle)
        by_free = zone_speed(free, linear, options)
        # Nothing is taken for free there, so it ends as far from the unknown as from obstacles.
        room = min(arc.room, arc.seen - options.stop_distance)
        by_seen = max(braking_speed(room, options), min(options.blind_reverse_speed, linear))
        speed = min(by_free, by_seen)
        known = speed > 0 or by_free == 0
        text = f'free behind for {free:.2f} m'
        if not known:
            text = f'behind only {arc.seen:.2f} m are known to be free'
        return Limit(speed, speed, known, text, free, curvature=abs(curvature))

    @property
    def _look_ahead(self) -> float:
        """So far (m) places of which nothing is asked may be passed on an arc."""
        length = self.footprint.length + TOUCHING_M
        return max(self.options.stop_distance, length)


class _Turned:
    """What is known, for a robot whose back is its front."""

    def __init__(self, known: _Blind) -> None:
        self._known = known

    def tells(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether places are known."""
        return self._known.tells(-x, -y)

    def touched(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether anything tells of places."""
        return self._known.touched(-x, -y)


class ScanSight(_Blind):
    """A scan, what is remembered from before, and where the robot has gone since."""

    source = 'scan'

    def __init__(self, view: ScanView, remembered: Remembered, options: AvoidanceSettings) -> None:
        super().__init__(remembered, options)
        self._view = view
        self._straight: dict[float, Straight] = {}

    def tells(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether places on the robot now are known, by this scan or those before."""
        known = self._view.sighted.tells(*self.remembered.pose.to_past(x, y))
        return known | self.remembered.free(x, y)

    def touched(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether the nearest beam, or memory where none looks, tells of places on the robot."""
        then = self.remembered.pose.to_past(x, y)
        sighted = self._view.sighted
        return sighted.touched(*then) | (self.remembered.free(x, y) & ~sighted.looks_at(*then))

    def limit(
        self, linear: float, angular: float, resuming: bool = False, rolling: float = 0.0
    ) -> Limit:
        """The limit on a forward velocity > 0. Who resumes needs a little more room.

        `rolling`: how fast (m/s) the robot goes forward now.
        """
        limit = self.by_obstacles(linear, angular, resuming)
        if not (angular and limit.speed > 0):
            return limit
        found = self._by_seen(limit, math.copysign(limit.curvature, angular), resuming)
        if rolling > limit.speed and found.speed > 0:
            # Until it has slowed down the robot drives a flatter curve than that.
            flatter = angular / min(rolling, linear)
            if self._arc(flatter, self._way(rolling, resuming)).seen < math.inf:
                found = dataclasses.replace(found, braking=min(found.braking, found.speed))
        return found

    def by_obstacles(self, linear: float, angular: float, resuming: bool = False) -> Limit:
        """The same, but for what of a curve is not known.

        What is straight ahead counts also in a curve: a robot told to turn may not.
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
        speed = zone_speed(min(free, ahead.seen) - spare, linear, options)
        if angular and 0 < speed < linear:
            # Slower at the same turning rate is a tighter arc.
            curvature = angular / speed
            free = min(free, self._free(curvature))
            speed = zone_speed(min(free, ahead.seen) - spare, linear, options)
        room = min(free, ahead.seen) - spare - options.stop_distance
        braking = braking_speed(room, options)
        known = speed > 0 or free <= ahead.seen
        text = f'free for {free:.2f} m' if known else f'seen only for {ahead.seen:.2f} m'
        return Limit(speed, braking, known, text, free, ahead.share, abs(curvature))

    def steer(self, steering: Steering) -> float:
        """The turning rate toward the free gap in rad/s."""
        return steering.by_scan(self, self._view, self.footprint, self.options)

    def _ahead(self, linear: float, free: float) -> Straight:
        """What is known straight ahead, as far as that is `free` (m) and a speed needs it."""
        options = self.options
        if linear not in self._straight:
            farthest = options.stop_distance + stopping_way(linear, options)
            self._straight[linear] = seen_straight(
                self,
                self.footprint,
                options.stop_distance,
                min(max(options.slow_distance, farthest), free),
                options.max_unknown,
                options.smallest_obstacle,
            )
        return self._straight[linear]

    def _by_seen(self, limit: Limit, curvature: float, resuming: bool) -> Limit:
        """The limit where an arc must be known, too, as far as stopping on it takes.

        Where the inside of a curve is not seen a flatter one is driven, if that is not much slower.
        Nothing is left of a turn nearly on the spot: there it is made without going forward.
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
            speed = zone_speed(free - spare, limit.speed, options)
            if speed >= EASED_SPEED * limit.speed:
                text = (
                    f'{limit.text}; the turn is eased: its inside is seen only for {arc.seen:.2f} m'
                )
                return dataclasses.replace(
                    limit, speed=speed, text=text, free_m=free, curvature=abs(flatter), eased=True
                )
        speed = min(braking_speed(arc.room - spare, options), limit.speed)
        speed = 0.0 if speed < min(options.min_speed, limit.speed) else speed
        text = f'of the curve only {arc.seen:.2f} m are seen'
        braking = min(limit.braking, speed)
        return dataclasses.replace(
            limit,
            speed=speed,
            braking=braking,
            known=speed > 0,
            text=text,
            on_the_spot=speed == 0,
        )

    def _way(self, speed: float, resuming: bool) -> float:
        """How far (m) an arc must be known to be driven at a speed."""
        spare = self.options.resume_margin if resuming else 0.0
        return self._look_ahead + spare + stopping_way(speed, self.options)

    def _flatter(self, curvature: float, way: float) -> float:
        """The tightest of some flatter curvatures that are known for all of a way.

        NaN where none is, not even straight ahead.
        """
        found = math.nan
        for share in EASED:
            if self._arc(share * curvature, way).seen < math.inf:
                break
            found = share * curvature
        return found

    def _arc(self, curvature: float, way: float) -> Arc:
        strip = min(self.options.stop_distance, STRIP_M)
        smallest = self.options.smallest_obstacle
        return seen_arc(self, self.footprint, curvature, way, strip, smallest)

    def _unknown(self, ahead: Straight) -> str:
        """What of the way straight ahead is unknown, in words."""
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


class ClosenessSight(_Blind):
    """Closeness left, centre and right: unitless, so neither distances nor the way since count."""

    source = 'closeness'

    def __init__(
        self,
        closeness: tuple[float, float, float],
        remembered: Remembered,
        options: AvoidanceSettings,
    ) -> None:
        super().__init__(remembered, options)
        left, centre, right = closeness
        self._sides = (left, right)
        self._worst = worst_closeness(left, centre, right, options.closeness)
        self._text = f'closeness {left:.2f} {centre:.2f} {right:.2f}'

    def limit(
        self, linear: float, angular: float, resuming: bool = False, rolling: float = 0.0
    ) -> Limit:
        """The limit on a forward velocity > 0; NaN stops, and so does what a scan saw before."""
        options = self.options
        speed = closeness_speed(self._worst, linear, options, resuming)
        curvature = abs(angular) / (speed or linear)
        if math.isnan(self._worst):
            return Limit(0.0, 0.0, False, f'{self._text}: unknown', curvature=curvature)
        tightest = (1 - math.cos(min(options.closeness.view, math.pi) / 2)) / max(
            self.footprint.half_width, SMALL_M
        )
        if speed > 0 and curvature > tightest:
            text = f'the inside of a curve of {1 / curvature:.2f} m is never in view'
            return Limit(0.0, 0.0, False, text, curvature=curvature)
        free = free_arc(self.x, self.y, angular / (speed or linear), self.footprint)
        by_memory = zone_speed(free, linear, options)
        text = self._text
        if by_memory < speed:
            speed, text = by_memory, f'a scan shows an obstacle {free:.2f} m ahead'
        return Limit(speed, speed, True, text, curvature=curvature)

    def steer(self, steering: Steering) -> float:
        """The turning rate away from the nearer side in rad/s."""
        return steering.by_closeness(*self._sides, self.options)


class NoSight(_Blind):
    """No fresh data; `text` says why."""

    def __init__(self, text: str, remembered: Remembered, options: AvoidanceSettings) -> None:
        super().__init__(remembered, options)
        self._text = text

    def limit(
        self, linear: float, angular: float, resuming: bool = False, rolling: float = 0.0
    ) -> Limit:
        """Nothing forward."""
        return Limit(0.0, 0.0, False, self._text, curvature=abs(angular / linear))

    def reverse(self, linear: float, angular: float) -> Limit:
        """Backward only what is allowed where nobody looks."""
        speed = min(super().reverse(linear, angular).speed, self.options.blind_reverse_speed)
        return Limit(speed, speed, False, self._text, curvature=abs(angular / linear))

    def steer(self, steering: Steering) -> float:
        """Nowhere."""
        return 0.0


Sight = ScanSight | ClosenessSight | NoSight
