"""Memory of what is out of view now: beside the robot, or below the camera.

A camera loses sight of obstacles, and of the free floor, as the robot passes or turns. Both are
kept for some seconds and moved along by the robot's own motion, until a beam says otherwise.
"""

from __future__ import annotations

import collections
import math

import numpy as np

from midas_depth_ros.avoidance.corridor import Footprint, Pose
from midas_depth_ros.avoidance.scan import Booleans, Floats, ScanView
from midas_depth_ros.options.avoidance import AvoidanceSettings, SensorPlace

MAX_POINTS = 2000
STANDING, STANDING_M = 5.0, 0.3  # times longer a robot remembers that has moved less than this
TURNING_M = 0.3  # of motion that 1 rad of turning counts as
CELL_M = 0.05
BEYOND_M = 2.0  # how far the grid reaches beyond the robot on each side
MAX_CELLS = 240  # on each side of the grid
FARTHEST_M = 1e9  # beyond this cell numbers overflow, and nothing is known
SAME_PLACE_M, SAME_YAW_RAD = 0.02, 0.02  # of a sensor, from scan to scan
SHIFT_CELLS = 4  # how far the robot may be from the middle of the grid


class ObstacleMemory:
    """Points (m) on the robot as it was at the newest scan, those of that scan included.

    They expire with time and with the distance moved since, which is known only roughly. A robot
    that stays beside an obstacle remembers it `STANDING` times as long.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.x = self.y = self._seen_s = self._way_then = np.empty(0)
        self._way = 0.0

    def see(self, view: ScanView, seen_s: float, moved: Pose, options: AvoidanceSettings) -> None:
        """Take in a scan measured at `seen_s`; `moved` is the robot's motion since the last one.

        Older points stay if they are near and recent, and either no beam reaches past them or they
        are so near the sensor that it may miss them.
        """
        x, y = moved.to_now(self.x, self.y)
        self._way += way_of(moved)
        near = np.hypot(x, y) <= options.slow_distance + options.robot_front
        recent = self._recent(seen_s, options.memory, self._way)
        away = np.hypot(x - view.place.x, y - view.place.y)
        overlooked = away < options.sensor.blind_range
        seen_again = view.coverage.free(x, y) | view.coverage.hits_at(x, y)
        kept = np.flatnonzero(near & recent & (overlooked | ~seen_again))[-MAX_POINTS:]
        new, old = np.ones(view.x.shape), np.stack([x, y, self._seen_s, self._way_then])[:, kept]
        added = np.stack([view.x, view.y, seen_s * new, self._way * new])
        self.x, self.y, self._seen_s, self._way_then = np.concatenate([old, added], axis=1)

    def points(
        self, now_s: float, memory_s: float, moved: Pose, newest_s: float
    ) -> tuple[Floats, Floats]:
        """Return the points remembered now, and all that were seen at `newest_s` or later.

        `moved` is the robot's motion since the newest scan, for which the points are valid.
        """
        recent = self._recent(now_s, memory_s, self._way + way_of(moved))
        recent |= self._seen_s >= newest_s
        return self.x[recent], self.y[recent]

    def _recent(self, now_s: float, memory_s: float, way: float) -> Booleans:
        still = way - self._way_then <= STANDING_M
        # Correct for infinite times, too.
        return (self._seen_s >= now_s - memory_s) | (
            still & (self._seen_s >= now_s - STANDING * memory_s)
        )


def way_of(moved: Pose) -> float:
    """Return how much the robot has moved, in m; turning counts as the motion of its ends."""
    return math.hypot(moved.x, moved.y) + TURNING_M * abs(moved.yaw)


class ViewMemory:
    """Which beams a sensor has looked along of late.

    Where it still looks and knows nothing any more, as when a hand covers a side of its picture, it
    looks at the unknown: that is not what has only left its view.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._place: SensorPlace | None = None
        # When, and from which angle (rad) to which: a lidar's beams differ from turn to turn.
        self._looked: collections.deque[tuple[float, float, float]] = collections.deque()

    def see(self, view: ScanView, seen_s: float, timeout_s: float) -> None:
        """Take in a scan measured at `seen_s`; its view becomes that of the last `timeout_s`."""
        coverage, place = view.coverage, view.place
        if self._place is None or _apart(place, self._place):
            self._looked.clear()
            self._place = place
        while self._looked and self._looked[0][0] < seen_s - timeout_s:
            self._looked.popleft()
        if coverage.view_rad is not None:
            self._looked.append((seen_s, *coverage.view_rad))
        if self._looked:
            _, first, last = zip(*self._looked, strict=True)
            coverage.widen(min(first), max(last))


def _apart(one: SensorPlace, other: SensorPlace) -> bool:
    """Whether a sensor is elsewhere, by more than a transform trembles."""
    moved = max(abs(one.x - other.x), abs(one.y - other.y))
    turned = math.remainder(one.yaw - other.yaw, math.tau)
    return moved > SAME_PLACE_M or abs(turned) > SAME_YAW_RAD


class FreeMemory:
    """Cells of the floor, and when each was last seen free.

    The cells stand still while the robot moves over them: `pose` is the robot's at the newest scan,
    in their frame. The grid is shifted by whole cells, so that nothing blurs.
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
        """Take in a scan measured at `seen_s`; `moved` is the robot's motion since the last one.

        A cell is free if its corners and its middle are. It is forgotten if the sensor looks at it
        and does not know it, or if one of the `obstacles` (m, on the robot) is in it.
        """
        self.pose = self.pose.then(moved)
        self._fit(footprint)
        size = len(self._seen_s)
        edges_x = (self._column + np.arange(size + 1.0)) * CELL_M
        edges_y = (self._row + np.arange(size + 1.0)) * CELL_M
        corners = self.pose.to_now(edges_x[None, :], edges_y[:, None])
        half = CELL_M / 2
        middles = self.pose.to_now(edges_x[None, :-1] + half, edges_y[:-1, None] + half)
        free = view.coverage.free(*corners)
        free = free[:-1, :-1] & free[1:, :-1] & free[:-1, 1:] & free[1:, 1:]
        self._seen_s[free & view.coverage.free(*middles)] = seen_s
        self._seen_s[view.coverage.unknown_in_view(*middles)] = -np.inf
        rows, columns, inside = self._cells(*self.pose.to_past(*obstacles))
        self._seen_s[rows[inside], columns[inside]] = -np.inf

    def stand(self, pose: Pose, now_s: float, footprint: Footprint) -> None:
        """Mark the cells under the robot, at `pose` since the newest scan, as free."""
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
        """Return whether places (m, on the robot at `pose`) were seen free at `then_s` or later."""
        if not self._seen_s.size:
            return np.zeros(np.shape(x), bool)
        rows, columns, inside = self._cells(*self.pose.then(pose).to_past(x, y))
        free = self._seen_s[np.where(inside, rows, 0), np.where(inside, columns, 0)] >= then_s
        return inside & free

    def _fit(self, footprint: Footprint) -> None:
        """Size the grid for the robot and keep the robot near its middle."""
        wanted = math.ceil(2 * (footprint.radius + BEYOND_M) / CELL_M)
        size = min(wanted, MAX_CELLS)
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

    def _cells(self, x: Floats, y: Floats) -> tuple[np.ndarray, np.ndarray, Booleans]:
        """Return row and column of the cell of each place, and whether it is in the grid."""
        x, y = np.clip(x, -FARTHEST_M, FARTHEST_M), np.clip(y, -FARTHEST_M, FARTHEST_M)
        columns = np.floor(x / CELL_M).astype(np.int64) - self._column
        rows = np.floor(y / CELL_M).astype(np.int64) - self._row
        size = len(self._seen_s)
        inside = (rows >= 0) & (rows < size) & (columns >= 0) & (columns < size)
        return rows, columns, inside
