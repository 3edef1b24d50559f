"""A scan as the 72 distances of MAVLink's OBSTACLE_DISTANCE, for PX4 and ArduPilot.

Ranges of a LaserScan come in; what an autopilot takes for clear, unknown and a distance goes out,
kept apart. Its sectors go clockwise from straight ahead (FRD), those of a scan the other way.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

BINS = 72  # of the message
SECTOR_RAD = math.tau / BINS  # 5 degrees each: once around the vehicle
UNKNOWN_CM = 65535  # UINT16_MAX
MOST_CM = UNKNOWN_CM - 2  # max_distance + 1 is "no obstacle", and must not be "unknown"
CM = 100  # in a metre
NO_HALF_BEAM = 1e-6  # of rounding, in beams
FINEST_RAD, COARSEST_RAD = 1e-6, 1.0  # between beams: a few of them are no view
WIDEST_CLEAR_RAD = 0.3  # as the cone of an ultrasonic sensor: between wider ones nobody looked


class BadSectors(ValueError):
    """A scan that cannot be told in sectors."""


@dataclasses.dataclass(frozen=True)
class ObstacleDistance:
    """distances_cm: (72,) uint16; 65535 unknown, `max_cm` + 1 no obstacle up to there, else one.

    Sector i is centred on i times 5 degrees to the right of straight ahead.
    """

    distances_cm: NDArray[np.uint16]
    min_cm: int
    max_cm: int

    @property
    def clear_cm(self) -> int:
        """The value of a sector without an obstacle."""
        return self.max_cm + 1

    def ranges_m(self) -> NDArray[np.float32]:
        """Return (72,) float32 metres from which mavros makes the same message: NaN unknown."""
        metres = self.distances_cm.astype(np.float64) / CM
        metres[self.distances_cm == UNKNOWN_CM] = np.nan
        # mavros truncates to whole centimetres in float32: half of one more is the same one.
        return (metres + 0.5 / CM).astype(np.float32)


def obstacle_distance(
    ranges: NDArray[np.floating],
    *,
    angle_min: float,
    angle_increment: float,
    range_min: float,
    range_max: float,
    sensor_yaw: float = 0.0,
) -> ObstacleDistance:
    """Return the sectors of a scan; angles in radians, counter-clockwise, ranges in metres.

    sensor_yaw: how far to the left of straight ahead the scan's x axis points. A sector with an
    obstacle on any beam has the nearest, whatever else is unknown in it: an autopilot may ignore
    what is unknown, and must not lose an obstacle by it. Without an obstacle it is clear only if
    all of its beams are (+inf) and no farther apart than `WIDEST_CLEAR_RAD`, and the scan covers
    all of it; else it is unknown. Ranges outside of the limits say nothing (REP 117), but -inf is
    an obstacle too near to measure. Raises `BadSectors` for limits or angles that are not valid.
    """
    values = np.asarray(ranges, np.float64).ravel()
    low, high = _limits(range_min, range_max)
    if not values.size:
        raise BadSectors('a scan without beams: its sensor is to blame')
    if not (math.isfinite(angle_min) and FINEST_RAD <= abs(angle_increment) <= COARSEST_RAD):
        raise BadSectors(
            f'angle_min {angle_min} and angle_increment {angle_increment} of the scan are not '
            f'valid: both must be finite, and beams {FINEST_RAD:g} to {COARSEST_RAD:g} rad apart'
        )
    if abs(angle_increment) * values.size > math.tau + abs(angle_increment):
        raise BadSectors(
            f'{values.size} beams {angle_increment} rad apart are more than a full turn: check '
            'angle_increment'
        )
    near = np.where(values == -math.inf, range_min, values)
    hit = (near >= range_min) & (near <= range_max) & np.isfinite(near)
    clear = (values == math.inf) & (abs(angle_increment) <= WIDEST_CLEAR_RAD)
    if angle_increment < 0:  # a sensor that is mounted upside down
        near, hit, clear = near[::-1], hit[::-1], clear[::-1]
        angle_min += angle_increment * (values.size - 1)
        angle_increment = -angle_increment
    around = angle_increment * values.size > math.tau - 0.5 * angle_increment
    distances = np.full(BINS, UNKNOWN_CM, np.uint16)
    for sector in range(BINS):
        beams, all_there = _beams_of(
            -sector * SECTOR_RAD - sensor_yaw, angle_min, angle_increment, values.size, around
        )
        if hit[beams].any():
            nearest = math.floor(CM * float(near[beams][hit[beams]].min()) + 1e-6)
            distances[sector] = min(max(nearest, low), high)
        elif all_there and clear[beams].all():
            distances[sector] = high + 1
    return ObstacleDistance(distances, low, high)


def _limits(range_min: float, range_max: float) -> tuple[int, int]:
    """The limits in whole centimetres, no wider than they are."""
    if not (0 <= range_min < range_max and math.isfinite(range_min)):
        raise BadSectors(
            f'range_min {range_min} and range_max {range_max} of the scan are not valid: '
            'range_min must be at least 0, and below range_max'
        )
    high = MOST_CM if range_max * CM > MOST_CM else math.floor(CM * range_max + 1e-6)
    low = math.ceil(CM * range_min - 1e-6)
    if not low < high:
        raise BadSectors(
            f'range_min {range_min} and range_max {range_max} of the scan are less than a '
            'centimetre apart'
        )
    return low, high


def _beams_of(
    centre: float, angle_min: float, step: float, count: int, around: bool
) -> tuple[NDArray[np.int_], bool]:
    """The beams that look into a sector, and whether they cover all of it.

    A beam stands for half a step to either side.
    """
    first_edge = angle_min - 0.5 * step
    begin = math.remainder(centre - first_edge, math.tau) - 0.5 * SECTOR_RAD
    # Where the sector begins, in beams from the scan's own edge on; turned until it is in view.
    while begin < -SECTOR_RAD:
        begin += math.tau
    # A full scan may begin and end within the sector, also with a beam more than a turn has.
    spans = [
        (
            math.floor((begin + turn) / step + NO_HALF_BEAM),
            math.ceil((begin + turn + SECTOR_RAD) / step - NO_HALF_BEAM),
        )
        for turn in (-math.tau, 0.0, math.tau)
    ]
    beams = [np.arange(max(low, 0), min(high, count)) for low, high in spans]
    low, high = spans[1]
    return np.unique(np.concatenate(beams)), around or (low >= 0 and high <= count)
