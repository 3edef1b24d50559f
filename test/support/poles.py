"""A simulated robot among poles: what it sees, where it goes, what it hits.

Exact in the plane: the robot is a rectangle, poles are discs, beams are thin lines. A camera has a
narrow view, a lidar a full one; scans and motion are delayed.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np

from midas_depth_ros.avoidance import (
    Avoidance,
    AvoidanceSettings,
    Decision,
    MessageTimes,
    ScanView,
    State,
    read_scan,
)

STEP_S = 0.05


@dataclasses.dataclass(frozen=True)
class Pole:
    """Position and radius; m."""

    x: float
    y: float
    radius: float = 0.02


@dataclasses.dataclass(frozen=True)
class Sensor:
    """Beams on both sides of straight ahead (rad), rate and delay of the scans."""

    half_view: float = 0.8
    beams: int = 92
    range_max: float = 6.0
    steps: int = 2  # between two scans
    late_steps: int = 3
    # How far it sees the floor free where it says nothing better; NaN beams with a seen_free.
    floor_m: float = math.nan

    @property
    def increment(self) -> float:
        """Angle between two beams; a full turn has no beam twice."""
        if self.half_view >= math.pi:
            return 2 * math.pi / self.beams
        return 2 * self.half_view / (self.beams - 1)

    def look(
        self,
        pose: tuple[float, float, float],
        poles: Sequence[Pole],
        options: AvoidanceSettings,
        dropped: bool = False,
    ) -> ScanView:
        """Return the scan from a pose; `dropped`: poles are unknown but hide what is behind."""
        place = options.sensor
        x, y, yaw = pose
        x += place.x * math.cos(yaw) - place.y * math.sin(yaw)
        y += place.x * math.sin(yaw) + place.y * math.cos(yaw)
        bearings = -self.half_view + self.increment * np.arange(self.beams)
        world = bearings + yaw + place.yaw
        reach = np.full(self.beams, np.inf)
        for pole in poles:
            dx, dy = pole.x - x, pole.y - y
            along = dx * np.cos(world) + dy * np.sin(world)
            aside = dy * np.cos(world) - dx * np.sin(world)
            meets = (along > 0) & (np.abs(aside) <= pole.radius)
            front = along - np.sqrt(np.maximum(pole.radius**2 - aside**2, 0))
            reach = np.where(meets, np.minimum(reach, np.maximum(front, 0.011)), reach)
        hit = reach <= self.range_max
        ranges = np.where(hit, np.nan if dropped else reach, np.inf)
        seen = None
        if not math.isnan(self.floor_m):
            ranges = np.where(np.isposinf(ranges), np.nan, ranges)
            seen = np.minimum(reach, self.floor_m)
        return read_scan(
            ranges,
            -self.half_view,
            -self.half_view + self.increment * (self.beams - 1),
            self.increment,
            0.01,
            self.range_max,
            place,
            seen,
            options.smallest_obstacle,
        )


LIDAR = Sensor(math.pi, 720, 8.0)


@dataclasses.dataclass
class Outcome:
    """The result of a drive: whether something was hit, while driving or in turning on the spot."""

    hit: bool = False
    rolling: bool = False
    distance: float = 0.0
    turned: float = 0.0
    gap: float = math.inf
    states: collections.Counter[State] = dataclasses.field(default_factory=collections.Counter)
    last: Decision | None = None


def gap_to(
    pose: tuple[float, float, float], options: AvoidanceSettings, poles: Sequence[Pole]
) -> float:
    """Return the distance (m) from the outline of the robot to the nearest pole; below 0 = hit."""
    x, y, yaw = pose
    gap = math.inf
    for pole in poles:
        dx, dy = pole.x - x, pole.y - y
        along = dx * math.cos(yaw) + dy * math.sin(yaw)
        across = abs(dy * math.cos(yaw) - dx * math.sin(yaw))
        out = max(along - options.robot_front, -options.robot_rear - along, 0.0)
        aside = max(across - options.robot_width / 2, 0.0)
        gap = min(gap, math.hypot(out, aside) - pole.radius)
    return gap


def drive(
    options: AvoidanceSettings,
    poles: Sequence[Pole],
    command: Callable[[float], tuple[float, float]],
    seconds: float = 6.0,
    sensor: Sensor = Sensor(),
    lag_steps: int = 1,
    dropped: bool = False,
    start: tuple[float, float, float] = (0.0, 0.0, 0.0),
    heavy: bool = False,
) -> Outcome:
    """Command a standing robot and simulate it until the first hit.

    A `heavy` one changes its speeds no faster than the options say.
    """
    avoidance, outcome = Avoidance(options), Outcome()
    pose, now_s = start, 100.0
    on_the_way: collections.deque[tuple[int, float, ScanView]] = collections.deque()
    sent = collections.deque([(0.0, 0.0)] * lag_steps)
    speed = turn = 0.0
    for step in range(round(seconds / STEP_S)):
        now_s += STEP_S
        if step % sensor.steps == 0:
            view = sensor.look(pose, poles, options, dropped)
            on_the_way.append((step + sensor.late_steps, now_s, view))
        while on_the_way and on_the_way[0][0] <= step:
            _, seen_s, view = on_the_way.popleft()
            avoidance.see_scan(view, MessageTimes(now_s, seen_s))
        avoidance.command(*command(step * STEP_S), MessageTimes(now_s))
        decision = outcome.last = avoidance.step(now_s)
        outcome.states[decision.state] += 1
        sent.append((decision.linear, decision.angular))
        wanted, wanted_turn = sent.popleft()
        by = options.stop_deceleration * STEP_S if heavy else math.inf
        speed = max(speed - by, min(speed + by, wanted))
        by = options.angular_acceleration * STEP_S if heavy else math.inf
        turn = max(turn - by, min(turn + by, wanted_turn))
        pose = _moved(pose, speed, turn)
        outcome.distance += abs(speed) * STEP_S
        outcome.turned += abs(turn) * STEP_S
        outcome.gap = min(outcome.gap, gap_to(pose, options, poles))
        if outcome.gap < 0:
            outcome.hit, outcome.rolling = True, speed != 0
            break
    return outcome


def _moved(
    pose: tuple[float, float, float], speed: float, turn: float
) -> tuple[float, float, float]:
    x, y, yaw = pose
    middle = yaw + turn * STEP_S / 2
    return (
        x + speed * STEP_S * math.cos(middle),
        y + speed * STEP_S * math.sin(middle),
        yaw + turn * STEP_S,
    )
