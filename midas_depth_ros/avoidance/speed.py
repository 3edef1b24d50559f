"""How fast the robot may go, by free way, closeness and braking, and which way it steers.

Plain numbers in and out. Every limit is a forward speed in m/s, at most the commanded one, and
falls as obstacles come nearer. Turning rates are in rad/s, positive = to the left.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np

from midas_depth_ros.avoidance.corridor import Footprint, Known, free_headings
from midas_depth_ros.avoidance.scan import Floats, ScanView
from midas_depth_ros.options.avoidance import AvoidanceSettings, ClosenessZones

# After a stop by closeness, the robot resumes below this share of the threshold.
RESUME_CLOSENESS = 0.9
# Reaction times to allow for in turning. A rate proportional to the remaining room takes effect one
# dead time later, and ends without overshoot only if it falls this slowly.
IN_FLIGHT = math.e
HELD = 0.5  # of a period: how late a rate that is held for a period is on average


@dataclasses.dataclass(frozen=True)
class Rolling:
    """What was sent and cannot be taken back: the speed (m/s) that holds now, and the way (m) that
    the velocities of the last reaction time still make. Negative = backward.
    """

    speed: float = 0.0
    sent_m: float = 0.0

    def towards(self, sign: float) -> Rolling:
        """Return it counted in one direction, 0 where it goes the other way."""
        return Rolling(max(sign * self.speed, 0.0), max(sign * self.sent_m, 0.0))


STANDING = Rolling()


def zone_speed(
    free_m: float, command: float, options: AvoidanceSettings, rolling: Rolling = STANDING
) -> float:
    """Return the speed allowed with `free_m` ahead of the robot: 0 in the stop zone, then rising.

    By 'distance' it rises in proportion to the way into the slow zone; by 'time' the stop zone is
    at least `time_to_contact` away. At least `min_speed`, but never so fast that braking would end
    within the stop zone.
    """
    room = free_m - options.stop_distance
    if not (room > 0 and command > 0):
        return 0.0
    if options.slow_by == 'time':
        speed = room / options.time_to_contact
    else:
        share = room / (options.slow_distance - options.stop_distance)
        speed = command * min(share, 1.0)
    speed = max(speed, options.min_speed)
    brakes_from = braking_speed(room, options, rolling)
    # The drive cannot hold a lower speed: the last millimetres before the stop zone stay free.
    if brakes_from < min(options.min_speed, command):
        return 0.0
    return min(speed, brakes_from, command)


def braking_speed(room_m: float, options: AvoidanceSettings, rolling: Rolling = STANDING) -> float:
    """Return the speed from which the robot stops within `room_m`, whatever it decides next.

    What rolls on until then counts: a period of the node, the reaction time, and what was sent
    before. If all that is too much already, only the hardest braking is left, which follows from
    any lower speed.
    """
    brake, period, room = options.stop_deceleration, 1.0 / options.rate, max(room_m, 0.0)
    speed = _slowing_down(room, options.response_s, brake)
    left = max(room - rolling.sent_m, 0.0)
    faster = min(speed, _slowing_down(left, period, brake))
    if faster >= rolling.speed:
        return faster
    # It brakes from what it does now, and drives at the new speed for the rest of the period.
    left = max(left - rolling.speed**2 / (2 * brake), 0.0)
    over = rolling.speed / brake - period
    return min(speed, brake / 2 * (math.sqrt(over**2 + 4 * left / brake) + over))


def _slowing_down(room_m: float, delay_s: float, brake: float) -> float:
    """Return the speed that ends within `room_m` if braking begins after a delay."""
    return brake * (math.sqrt(delay_s**2 + 2 * room_m / brake) - delay_s)


def stopping_way(speed: float, options: AvoidanceSettings) -> float:
    """Return how far (m) the robot needs to stop from `speed`, its response included."""
    return speed * options.response_s + speed**2 / (2 * options.stop_deceleration)


def turning_speed(free_rad: float, options: AvoidanceSettings) -> float:
    """Return the turning rate (rad/s) from which the robot comes to rest within an angle."""
    delay_s = IN_FLIGHT * (options.reaction_time + HELD / options.rate)
    return _slowing_down(max(free_rad, 0.0), delay_s, options.angular_acceleration)


def worst_closeness(left: float, centre: float, right: float, zones: ClosenessZones) -> float:
    """Return one closeness for all three, on the scale of the centre; NaN if any is unknown.

    An obstacle at the side is in the way only if it is nearer, in the ratio stop : side_stop.
    """
    values = (left, centre, right)
    if any(math.isnan(value) or value < 0 for value in values):
        return math.nan
    return max(centre, max(left, right) * zones.stop / zones.side_stop)


def closeness_speed(
    closeness: float, command: float, options: AvoidanceSettings, resuming: bool = False
) -> float:
    """Return the speed allowed at a closeness, whose inverse is a distance in units of the nearest
    floor in view.
    """
    zones = options.closeness
    stop = zones.stop * RESUME_CLOSENESS if resuming else zones.stop
    if not (closeness < stop and command > 0):
        return 0.0
    command = min(command, zones.max_speed)
    if closeness <= zones.slow:
        return command
    share = (1 / closeness - 1 / stop) / (1 / zones.slow - 1 / stop)
    return min(max(command * share, options.min_speed), command)


def follow(previous: float, target: float, rise: float, fall: float) -> float:
    """Return the next value from `previous` to `target`: at most `rise` away from zero, at most
    `fall` towards it. Zero is not crossed in one step.
    """
    if previous * target < 0:
        target = 0.0
    if abs(target) >= abs(previous):
        return max(min(target, previous + rise), previous - rise)
    return max(min(target, previous + fall), previous - fall)


# --- Which way is free: a heading toward the widest gap of a scan, or a side by closeness.

HEADINGS = 19
GAIN = 2.0  # rad/s per rad between heading and gap
# Cost of a detour, in m of free way: per rad to the side, and for changing sides.
ASIDE_M, OTHER_SIDE_M = 0.3, 0.15
SAME_SHARE = 0.05  # sides that differ by less count as equally open
MAX_ACROSS = 100


class Surroundings(Known, Protocol):
    """What is known around the robot, and where (m) obstacles are."""

    x: Floats
    y: Floats


class Steering:
    """Chooses where to turn, and keeps to the chosen side while it is as good."""

    def __init__(self) -> None:
        self._side = 1.0
        self._searching = False  # turning until a gap comes into view

    def by_scan(
        self, known: Surroundings, view: ScanView, footprint: Footprint, options: AvoidanceSettings
    ) -> float:
        """Return the turning rate toward the best gap; if there is none, the chosen side."""
        limit = options.steering.max_angle
        headings = np.linspace(-limit, limit, HEADINGS)
        values = self._values(headings, known, footprint, options)
        best = int(np.argmax(values))
        if values[best] == -np.inf:
            self._search(view, options)
            return self._side * options.steering.max_rate
        self._searching = False
        heading = float(headings[best])
        if heading:
            self._side = float(np.sign(heading))
        rate = options.steering.max_rate
        return max(-rate, min(rate, GAIN * heading))

    def by_closeness(self, left: float, right: float, options: AvoidanceSettings) -> float:
        """Return the turning rate away from the nearer side."""
        difference = (right - left) / options.closeness.stop
        if abs(difference) > 0.1:
            self._side = 1.0 if difference > 0 else -1.0
        return self._side * options.steering.max_rate

    def _search(self, view: ScanView, options: AvoidanceSettings) -> None:
        """Choose the more open side once: a robot that keeps changing sides never gets round."""
        if self._searching:
            return
        self._searching = True
        bearings = view.angle_min + view.increment * np.arange(len(view.known_m)) + view.place.yaw
        bearings = np.mod(bearings + np.pi, 2 * np.pi) - np.pi
        open_m = np.minimum(view.known_m, options.slow_distance)
        open_m[np.abs(bearings) > options.steering.max_angle] = 0.0
        left, right = open_m[bearings > 0].sum(), open_m[bearings < 0].sum()
        if abs(left - right) > SAME_SHARE * (left + right):
            self._side = 1.0 if left > right else -1.0

    def _values(
        self,
        headings: Floats,
        known: Surroundings,
        footprint: Footprint,
        options: AvoidanceSettings,
    ) -> Floats:
        """Return how good each heading is, in m; -Inf if the way there is not free or not known."""
        # A way that ends within half of the slow zone is not a gap.
        near = (options.stop_distance + options.resume_margin + options.slow_distance) / 2
        far = options.slow_distance
        free = free_headings(headings, known.x, known.y, footprint)
        # A camera sees the sides only at some distance. After turning it also sees what is near;
        # whether to drive is not decided here.
        half = footprint.half_width + footprint.margin
        apart = max(options.smallest_obstacle / 2, half / MAX_ACROSS)
        across = np.linspace(-half, half, 2 * math.ceil(half / apart) + 1)
        x, y = np.meshgrid(footprint.front + np.array([near, far]), across, indexing='ij')
        c, s = np.cos(headings)[:, None, None], np.sin(headings)[:, None, None]
        places = c * x - s * y, s * x + c * y
        own = np.abs(across) <= footprint.half_width
        unknown = (1.0 - known.reached(*places).mean(axis=2) > options.max_unknown).any(axis=1)
        unknown |= ~known.knows(places[0][..., own], places[1][..., own]).all(axis=(1, 2))
        other_side = headings * self._side < 0
        values = np.minimum(free, far) - ASIDE_M * np.abs(headings) - OTHER_SIDE_M * other_side
        return np.where(unknown | (free <= near), -np.inf, values)
