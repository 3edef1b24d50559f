"""How fast is allowed: by the free way ahead, by closeness, and by what the drive can follow.

Plain numbers in and out. Every limit is a speed forward in m/s, at most the commanded one, and
falls as things come nearer.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.avoidance.corridor import Footprint, Known
from midas_depth_ros.avoidance.scan import ScanView
from midas_depth_ros.options.avoidance import AvoidanceSettings, ClosenessZones

# Once stopped by closeness, this share of the threshold must be reached to go on.
RESUME_CLOSENESS = 0.9
# So many reaction times: a rate in proportion to the room that is left takes effect a dead time
# later, and comes to rest without passing its mark only where it falls so slowly.
IN_FLIGHT = math.e


def zone_speed(free_m: float, command: float, options: AvoidanceSettings) -> float:
    """The speed allowed with `free_m` before the robot: 0 in the stop zone, then rising.

    By 'distance' it rises in proportion to the way into the slow zone, by 'time' such that the
    stop zone is at least `time_to_contact` away, from `min_speed` on; never so fast that braking
    would end within it.
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
    brakes_from = braking_speed(room, options)
    # What the drive cannot hold is no speed: the last millimetres before the stop zone stay free.
    if brakes_from < min(options.min_speed, command):
        return 0.0
    return min(speed, brakes_from, command)


def braking_speed(room_m: float, options: AvoidanceSettings) -> float:
    """The speed from which the robot, after its reaction time, brakes to a stop within `room_m`."""
    brake, reaction = options.stop_deceleration, options.reaction_time
    return brake * (math.sqrt(reaction**2 + 2 * max(room_m, 0.0) / brake) - reaction)


def stopping_way(speed: float, options: AvoidanceSettings) -> float:
    """How far (m) the robot goes on from `speed` until it stands, reaction time included."""
    return speed * options.reaction_time + speed**2 / (2 * options.stop_deceleration)


def turning_speed(free_rad: float, options: AvoidanceSettings) -> float:
    """The turning rate (rad/s) from which the robot comes to rest within an angle."""
    brake, reaction = options.angular_acceleration, IN_FLIGHT * options.reaction_time
    return brake * (math.sqrt(reaction**2 + 2 * max(free_rad, 0.0) / brake) - reaction)


def worst_closeness(left: float, centre: float, right: float, zones: ClosenessZones) -> float:
    """One closeness for all three, on the scale of the centre; NaN where any is unknown.

    Something at the side is in the way only when it is nearer, by stop : side_stop.
    """
    values = (left, centre, right)
    if any(math.isnan(value) or value < 0 for value in values):
        return math.nan
    return max(centre, max(left, right) * zones.stop / zones.side_stop)


def closeness_speed(
    closeness: float, command: float, options: AvoidanceSettings, resuming: bool = False
) -> float:
    """The speed allowed at a closeness: its inverse is distance, in units of the floor's edge."""
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
    """The next value on the way from `previous` to `target`, moving by at most `rise` away from
    zero and `fall` toward it. Zero is not crossed in one step.
    """
    if previous * target < 0:
        target = 0.0
    if abs(target) >= abs(previous):
        return max(min(target, previous + rise), previous - rise)
    return max(min(target, previous + fall), previous - fall)


# --- Which way is free: a heading toward the widest gap of a scan, or a side by closeness.
#
# Plain numbers in, a turning rate in rad/s (positive = to the left) out.

Floats = NDArray[np.float64]

HEADINGS = 19
GAIN = 2.0  # rad/s for each rad that the gap lies aside
# What a detour costs, in m of free way: 1 rad aside, or to the other side than before.
ASIDE_M = 0.3
CHANGE_OF_MIND_M = 0.15
SAME_SHARE = 0.05  # sides that differ less look the same
MOST_ACROSS = 100


class Surroundings(Known, Protocol):
    """What is known about the robot, and where (m) obstacles are."""

    x: Floats
    y: Floats


class Steering:
    """Chooses where to turn, and stays with the side once chosen while it is as good."""

    def __init__(self) -> None:
        self._side = 1.0
        self._searching = False  # no gap in view: turning until there is one

    def by_scan(
        self, known: Surroundings, view: ScanView, footprint: Footprint, options: AvoidanceSettings
    ) -> float:
        """The turning rate toward the best gap; where there is none, round to the chosen side."""
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
        """The turning rate away from the nearer side."""
        difference = (right - left) / options.closeness.stop
        if abs(difference) > 0.1:
            self._side = 1.0 if difference > 0 else -1.0
        return self._side * options.steering.max_rate

    def _search(self, view: ScanView, options: AvoidanceSettings) -> None:
        """Choose the side that looks more open, once: who changes his mind never gets round."""
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
        """How good each heading is, in m; -Inf if the way there is not free, or not known."""
        # What ends within half of the slow zone is no gap, only an end a little farther off.
        near = (options.stop_distance + options.resume_margin + options.slow_distance) / 2
        far = options.slow_distance
        free = _free_ahead(headings, known.x, known.y, footprint)
        # A camera sees the sides only from afar on; once turned there it sees what is near, too,
        # and whether to go is not decided here.
        half = footprint.half_width + footprint.margin
        apart = max(options.smallest_obstacle / 2, half / MOST_ACROSS)
        across = np.linspace(-half, half, 2 * math.ceil(half / apart) + 1)
        x, y = np.meshgrid(footprint.front + np.array([near, far]), across, indexing='ij')
        c, s = np.cos(headings)[:, None, None], np.sin(headings)[:, None, None]
        places = c * x - s * y, s * x + c * y
        own = np.abs(across) <= footprint.half_width
        unknown = (1.0 - known.touched(*places).mean(axis=2) > options.max_unknown).any(axis=1)
        unknown |= ~known.tells(places[0][..., own], places[1][..., own]).all(axis=(1, 2))
        other_side = headings * self._side < 0
        values = np.minimum(free, far) - ASIDE_M * np.abs(headings) - CHANGE_OF_MIND_M * other_side
        return np.where(unknown | (free <= near), -np.inf, values)


def _free_ahead(headings: Floats, x: Floats, y: Floats, footprint: Footprint) -> Floats:
    """(headings,) `free_straight` of the robot turned on the spot to each heading."""
    c, s = np.cos(headings)[:, None], np.sin(headings)[:, None]
    along, across = c * x + s * y, np.abs(c * y - s * x)
    ahead = (along > footprint.front) & (across <= footprint.half_width + footprint.margin)
    touched = (along > 0) & (along <= footprint.front) & (across <= footprint.half_width)
    free = np.where(ahead, along - footprint.front, np.inf).min(axis=1, initial=np.inf)
    return np.where(touched.any(axis=1), 0.0, free)
