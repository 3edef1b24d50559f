"""What is kept of a drive: the way, the scans, the avoidance's states, how true the scans were.

Plain data, bounded however long the drive: the listener fills it, the report reads it.
"""

from __future__ import annotations

import collections
import dataclasses

import numpy as np

from midas_depth_ros.demo.thinned import Thinned

PLACES, SCANS = 4000, 2000  # kept at most
TRUTHS_WAITING = 50  # scans of the simulation that wait for one of the node
COMPARED_M = (0.2, 4.0)  # at these true distances a scan is compared with the truth
MOST_ERRORS = 200_000


@dataclasses.dataclass(frozen=True)
class Place:
    """Where the robot was; seconds, metres, radians."""

    stamp_s: float
    x: float
    y: float
    yaw: float


@dataclasses.dataclass(frozen=True)
class Beams:
    """A scan: bearings (N,) radians to the left of ahead, ranges (N,) metres, NaN, inf."""

    stamp_s: float
    bearings: np.ndarray
    ranges: np.ndarray


class DriveRecording:
    """The drive of one run."""

    def __init__(self) -> None:
        self.places: Thinned[Place] = Thinned(PLACES)
        self.scans: Thinned[Beams] = Thinned(SCANS)
        self.scan_count = 0
        self.tally: dict[str, str] = {}  # as diagnostics have it
        self.began_s = self.ended_s = 0.0  # of the recording, by the wall clock
        self.states: list[tuple[float, str]] = []  # since when, by the wall clock, and which
        self.errors: list[float] = []  # (measured - true) / true, of beams
        self.seen = self.to_be_seen = 0  # beams with something within COMPARED_M
        self._scans_by_stamp: collections.OrderedDict[float, Beams] = collections.OrderedDict()
        self._truths: collections.OrderedDict[float, Beams] = collections.OrderedDict()

    def add_scan(self, scan: Beams) -> None:
        """Take a scan of the node."""
        self.scan_count += 1
        self.scans.offer(lambda: scan)
        truth = self._truths.pop(scan.stamp_s, None)
        if truth is not None:
            self._compare(scan, truth)
        else:
            _remember(self._scans_by_stamp, scan)

    def add_truth(self, truth: Beams) -> None:
        """Take a scan of the simulation: what is true."""
        scan = self._scans_by_stamp.pop(truth.stamp_s, None)
        if scan is not None:
            self._compare(scan, truth)
        else:
            _remember(self._truths, truth)

    def add_state(self, time_s: float, state: str) -> None:
        """Take the avoidance's state at a time."""
        if not self.states or self.states[-1][1] != state:
            self.states.append((time_s, state))

    def state_at(self, time_s: float) -> str:
        """The state at a time; '' before the first."""
        known = [state for since, state in self.states if since <= time_s]
        return known[-1] if known else ''

    def _compare(self, scan: Beams, truth: Beams) -> None:
        nearest = np.abs(
            np.angle(np.exp(1j * (scan.bearings[:, None] - truth.bearings[None])))
        ).argmin(axis=1)
        true = truth.ranges[nearest]
        there = (true > COMPARED_M[0]) & (true < COMPARED_M[1])
        there &= ~np.isnan(scan.ranges)  # unknown is no claim
        measured = np.isfinite(scan.ranges)
        self.to_be_seen += int(there.sum())
        self.seen += int((there & measured).sum())
        if len(self.errors) < MOST_ERRORS:
            both = there & measured
            self.errors += ((scan.ranges[both] - true[both]) / true[both]).tolist()

    def place_at(self, stamp_s: float) -> Place | None:
        """The place of the nearest time."""
        return min(self.places.items, key=lambda p: abs(p.stamp_s - stamp_s), default=None)

    def path_until(self, stamp_s: float) -> np.ndarray:
        """Where the robot was until then, (N, 2) metres."""
        way = [(p.x, p.y) for p in self.places.items if p.stamp_s <= stamp_s]
        return np.array(way, np.float64).reshape(-1, 2)

    def scan_at(self, stamp_s: float, within_s: float) -> Beams | None:
        """The scan of the nearest time, if there is one so near."""
        nearest = min(self.scans.items, key=lambda s: abs(s.stamp_s - stamp_s), default=None)
        if nearest is None or abs(nearest.stamp_s - stamp_s) > within_s:
            return None
        return nearest

    def distance_until(self, stamp_s: float) -> float:
        """Metres driven until then."""
        way = self.path_until(stamp_s)
        return float(np.hypot(*np.diff(way, axis=0).T).sum()) if len(way) > 1 else 0.0


def _remember(waiting: collections.OrderedDict[float, Beams], beams: Beams) -> None:
    waiting[beams.stamp_s] = beams
    while len(waiting) > TRUTHS_WAITING:
        waiting.popitem(last=False)
