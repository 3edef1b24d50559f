"""What was seen a moment ago and is out of view now: beside the robot, or below the camera.

A camera loses sight of things, and of the free floor, as the robot passes or turns. Both are kept
for some seconds and carried along by the robot's own motion, until a beam tells otherwise.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.avoidance.corridor import Footprint, Pose
from midas_depth_ros.avoidance.scan import ScanView
from midas_depth_ros.options.avoidance import AvoidanceSettings

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
MOST_POINTS = 2000
STANDING, STANDING_WAY = 5.0, 0.3
TURNING_M = 0.3  # for each rad
CELL_M = 0.05
# The grid reaches so far beyond the robot to each side, and has at most so many cells a side.
BEYOND_M = 2.0
FARTHEST_M = 1e9  # beyond which numbers of cells overflow; nothing is known there
MOST_CELLS = 240
SHIFT_CELLS = 4  # the robot may be so far from the middle


class ObstacleMemory:
    """Points (m) on the robot as it was at the newest scan; those of that scan included.

    They fade with time and with the way since, of which nobody knows exactly where it led: who
    stands beside a thing remembers it `STANDING` times as long.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.x = self.y = self._seen_s = self._way_then = np.empty(0)
        self._way = 0.0

    def see(self, view: ScanView, seen_s: float, moved: Pose, options: AvoidanceSettings) -> None:
        """Take in a scan of the moment `seen_s`; `moved` is the robot's motion since the last one.

        Older points stay if they are near and recent, and no beam reaches so far on their
        bearing, or they are so near the sensor that it may miss them.
        """
        x, y = moved.to_now(self.x, self.y)
        self._way += way_of(moved)
        near = np.hypot(x, y) <= options.slow_distance + options.robot_front
        recent = self._recent(seen_s, options.memory, self._way)
        away = np.hypot(x - view.place.x, y - view.place.y)
        overlooked = away < options.sensor.blind_range
        told = view.sighted.free(x, y) | view.sighted.hits_at(x, y)
        kept = np.flatnonzero(near & recent & (overlooked | ~told))[-MOST_POINTS:]
        new = np.ones(view.x.shape)
        self.x = np.concatenate([x[kept], view.x])
        self.y = np.concatenate([y[kept], view.y])
        self._seen_s = np.concatenate([self._seen_s[kept], seen_s * new])
        self._way_then = np.concatenate([self._way_then[kept], self._way * new])

    def points(
        self, now_s: float, memory_s: float, moved: Pose, newest_s: float
    ) -> tuple[Floats, Floats]:
        """The points that are remembered now, and all that were seen at `newest_s`.

        `moved` is the robot's motion since the newest scan, at which their places hold.
        """
        recent = self._recent(now_s, memory_s, self._way + way_of(moved))
        recent |= self._seen_s >= newest_s
        return self.x[recent], self.y[recent]

    def _recent(self, now_s: float, memory_s: float, way: float) -> Booleans:
        still = way - self._way_then <= STANDING_WAY
        # Also where a moment is infinite.
        return (self._seen_s >= now_s - memory_s) | (
            still & (self._seen_s >= now_s - STANDING * memory_s)
        )


def way_of(moved: Pose) -> float:
    """How much the robot has moved: m, and for a turn so much that its ends go about as far."""
    return math.hypot(moved.x, moved.y) + TURNING_M * abs(moved.yaw)


class FreeMemory:
    """Cells of the floor, and when each was last seen to be free.

    The cells lie still while the robot moves over them: `pose` is that of the robot at the newest
    scan, in their frame. They are moved on by whole cells, so that nothing blurs.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.pose = Pose()
        self._column = self._row = 0  # of the first cell, in cells from the frame's origin
        self._seen_s = np.empty((0, 0))

    def see(
        self,
        view: ScanView,
        seen_s: float,
        moved: Pose,
        obstacles: tuple[Floats, Floats],
        footprint: Footprint,
    ) -> None:
        """Take in a scan of the moment `seen_s`; `moved` is the robot's motion since the last one.

        A cell is free where its corners and its middle are, forgotten where the sensor looks and
        cannot tell, or where one of the `obstacles` (m, on the robot) is.
        """
        self.pose = self.pose.then(moved)
        self._fit(footprint)
        size = len(self._seen_s)
        edges_x = (self._column + np.arange(size + 1.0)) * CELL_M
        edges_y = (self._row + np.arange(size + 1.0)) * CELL_M
        corners = self._on_robot(edges_x, edges_y)
        middles = self._on_robot(edges_x[:-1] + CELL_M / 2, edges_y[:-1] + CELL_M / 2)
        self._seen_s[_whole(view.sighted.free(*corners)) & view.sighted.free(*middles)] = seen_s
        self._seen_s[view.sighted.denies(*middles)] = -np.inf
        rows, columns, inside = self._cells(*self._in_frame(*obstacles))
        self._seen_s[rows[inside], columns[inside]] = -np.inf

    def stand(self, pose: Pose, now_s: float, footprint: Footprint) -> None:
        """The robot is at `pose`, seen from the newest scan: where it stands nothing else is."""
        if not self._seen_s.size:
            return
        here = self.pose.then(pose)
        touched = footprint.grown(CELL_M / 2)
        reach = math.ceil(math.hypot(footprint.radius, CELL_M) / CELL_M) + 1
        middle_column, middle_row = math.floor(here.x / CELL_M), math.floor(here.y / CELL_M)
        around = np.arange(-reach, reach + 1.0)
        columns, rows = np.meshgrid(middle_column + around, middle_row + around)
        x, y = here.to_now((columns + 0.5) * CELL_M, (rows + 0.5) * CELL_M)
        rows = rows.astype(np.int64) - self._row
        columns = columns.astype(np.int64) - self._column
        size = len(self._seen_s)
        inside = touched.covers(x, y) & (rows >= 0) & (rows < size)
        inside &= (columns >= 0) & (columns < size)
        self._seen_s[rows[inside], columns[inside]] = now_s

    def free_since(self, x: Floats, y: Floats, pose: Pose, then_s: float) -> Booleans:
        """Whether places (m, on the robot at `pose`) were seen to be free at `then_s` or later."""
        if not self._seen_s.size:
            return np.zeros(np.shape(x), bool)
        rows, columns, inside = self._cells(*self.pose.then(pose).to_past(x, y))
        free = self._seen_s[np.where(inside, rows, 0), np.where(inside, columns, 0)] >= then_s
        return inside & free

    def _fit(self, footprint: Footprint) -> None:
        """Have the robot in the middle of enough cells."""
        wanted = math.ceil(2 * (footprint.radius + BEYOND_M) / CELL_M)
        size = min(wanted, MOST_CELLS)
        column = math.floor(self.pose.x / CELL_M) - size // 2
        row = math.floor(self.pose.y / CELL_M) - size // 2
        if len(self._seen_s) == size:
            right, up = column - self._column, row - self._row
            if max(abs(right), abs(up)) <= SHIFT_CELLS:
                return
        else:
            right = up = size
        cells = np.full((size, size), -np.inf)
        if max(abs(right), abs(up)) < size:
            to = np.s_[max(-up, 0) : size - max(up, 0), max(-right, 0) : size - max(right, 0)]
            of = np.s_[max(up, 0) : size - max(-up, 0), max(right, 0) : size - max(-right, 0)]
            cells[to] = self._seen_s[of]
        self._seen_s, self._column, self._row = cells, column, row

    def _on_robot(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """(rows, columns): places of the frame, as they lie on the robot at the newest scan."""
        return self.pose.to_now(x[None, :], y[:, None])

    def _in_frame(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        return self.pose.to_past(x, y)

    def _cells(self, x: Floats, y: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], Booleans]:
        """Row and column of the cell of each place, and whether there is one."""
        x, y = np.clip(x, -FARTHEST_M, FARTHEST_M), np.clip(y, -FARTHEST_M, FARTHEST_M)
        columns = np.floor(x / CELL_M).astype(np.int64) - self._column
        rows = np.floor(y / CELL_M).astype(np.int64) - self._row
        size = len(self._seen_s)
        inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        return rows, columns, inside


def _whole(corners: Booleans) -> Booleans:
    """Cells all of whose corners are so."""
    return corners[:-1, :-1] & corners[1:, :-1] & corners[:-1, 1:] & corners[1:, 1:]
