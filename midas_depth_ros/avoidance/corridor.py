"""How far the robot can go: what it sweeps on a straight line, an arc or a turn, and would hit.

Points on the robot's plane come in (m; x forward, y left, origin where it turns), distances
along its way or angles come out. The footprint is a rectangle; what is ahead keeps a margin at
the sides.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.avoidance.scan import FULL_TURN

# --- Where the robot has gone since a measurement, by the velocities that were sent.

KEPT_S = 10.0  # longer than any timeout


class MotionHistory:
    """The velocities of the last seconds: m/s forward and rad/s to the left, by time in s."""

    def __init__(self) -> None:
        self._sent: collections.deque[tuple[float, float, float]] = collections.deque()

    def sent(self, now_s: float, linear: float, angular: float) -> None:
        """These velocities hold from now on."""
        self._sent.append((now_s, linear, angular))
        while now_s - self._sent[0][0] > KEPT_S:
            self._sent.popleft()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._sent.clear()

    def since(self, then_s: float, now_s: float) -> Pose:
        """The pose now, seen from the pose then; what came before the first velocity was rest."""
        pose, end = Pose(), now_s
        steps = []
        for start, linear, angular in reversed(self._sent):
            begin = max(start, then_s)
            if end > begin:
                steps.append(((end - begin) * linear, (end - begin) * angular))
            end = min(end, begin)
            if start <= then_s:
                break
        for forward, turned in reversed(steps):
            pose = pose.moved(forward, turned)
        return pose


Floats = NDArray[np.float64]
STRAIGHT = 1e-4  # 1/m: flatter arcs are straight
TIGHTEST = 1e3  # 1/m
# What lies deeper within the outline cannot be a thing beside the robot: it is its own.
OWN_DEPTH_M = 0.05


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where the robot is, seen from where it was: m and rad."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0

    def to_past(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Points on the robot now, as they lay on the robot then."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * x - s * y, self.y + s * x + c * y

    def to_now(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Points on the robot then, as they lie on the robot now."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.x, y - self.y
        return c * dx + s * dy, c * dy - s * dx

    def then(self, step: Pose) -> Pose:
        """The pose after this one and a further one, which is seen from it."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return Pose(
            self.x + c * step.x - s * step.y, self.y + s * step.x + c * step.y, self.yaw + step.yaw
        )

    def moved(self, forward: float, turned: float) -> Pose:
        """The pose after an arc of `forward` m on which the robot turned by `turned` rad."""
        yaw = self.yaw + turned / 2
        shrunk = forward * float(np.sinc(turned / FULL_TURN))  # the chord of the arc
        return Pose(
            self.x + shrunk * math.cos(yaw), self.y + shrunk * math.sin(yaw), self.yaw + turned
        )


@dataclasses.dataclass(frozen=True)
class Footprint:
    """The robot from above: half its width, how far it reaches ahead and back, side margin; m."""

    half_width: float
    front: float
    rear: float
    margin: float = 0.0

    @property
    def length(self) -> float:
        """From back to front, m."""
        return self.front + self.rear

    @property
    def radius(self) -> float:
        """Of the circle that its corners sweep on the spot, m."""
        return math.hypot(max(self.front, self.rear), self.half_width)

    def backward(self) -> Footprint:
        """The same robot when its back is its front."""
        return Footprint(self.half_width, self.rear, self.front, self.margin)

    def grown(self, by: float) -> Footprint:
        """The same robot, larger to all sides."""
        return Footprint(self.half_width + by, self.front + by, self.rear + by, self.margin)

    def covers(self, x: Floats, y: Floats) -> NDArray[np.bool_]:
        """Whether it stands on each point."""
        return (x >= -self.rear) & (x <= self.front) & (np.abs(y) <= self.half_width)


def free_straight(x: Floats, y: Floats, footprint: Footprint) -> float:
    """How far ahead of the front the nearest point in the straight corridor is; Inf without one."""
    ahead = (x > footprint.front) & (np.abs(y) <= footprint.half_width + footprint.margin)
    touched = (x > 0) & (x <= footprint.front) & (np.abs(y) <= footprint.half_width)
    if touched.any():
        return 0.0
    return float((x[ahead] - footprint.front).min(initial=math.inf))


def free_arc(x: Floats, y: Floats, curvature: float, footprint: Footprint) -> float:
    """How far (m, of the origin) the robot comes on an arc before it touches a point; Inf = freely.

    `curvature` in 1/m, positive = to the left. Seen from the robot every point runs on a circle
    about the turning centre; where that first cuts the footprint's outline, it is touched.
    """
    if abs(curvature) < STRAIGHT:
        return free_straight(x, y, footprint)
    if curvature < 0:
        y = -y
    radius = 1 / min(abs(curvature), TIGHTEST)
    # What is beside the robot already may be nearer than the margin, and yet be passed.
    half = np.where(
        x > footprint.front, footprint.half_width + footprint.margin, footprint.half_width
    )
    inside = (x >= -footprint.rear) & (x <= footprint.front) & (np.abs(y) <= half)
    if (inside & (x > 0)).any():
        return 0.0
    x, y, half = x[~inside], y[~inside], half[~inside]
    away = radius - y  # from the turning centre toward the robot
    squared = x * x + away * away
    now = np.arctan2(x, away)
    turn = np.full(x.shape, np.inf)
    for edge_x in (footprint.front, -footprint.rear):
        root = np.sqrt(np.maximum(squared - edge_x**2, 0))
        for edge_away in (root, -root):
            valid = (squared >= edge_x**2) & (np.abs(radius - edge_away) <= half)
            turn = np.where(valid, np.minimum(turn, _turn(now, edge_x, edge_away)), turn)
    for edge_away in (radius - half, radius + half):
        root = np.sqrt(np.maximum(squared - edge_away**2, 0))
        for side_x in (root, -root):
            valid = squared >= edge_away**2
            valid &= (side_x <= footprint.front) & (side_x >= -footprint.rear)
            turn = np.where(valid, np.minimum(turn, _turn(now, side_x, edge_away)), turn)
    turn = turn[turn <= math.pi]  # what is further round is seen again before that
    return float(radius * turn.min(initial=math.inf))


def _turn(now: Floats, edge_x: Floats | float, edge_away: Floats | float) -> Floats:
    return np.mod(now - np.arctan2(edge_x, edge_away), FULL_TURN)


def free_turn(x: Floats, y: Floats, left: bool, footprint: Footprint, margin: float) -> float:
    """How far (rad) the robot may turn on the spot before a corner or side touches a point.

    Inf = freely. `margin` (m) is kept to what is not within it already. A point that touches or
    is a little within the outline stops only the turning that would press on it.
    """
    if not left:
        y = -y
    near = np.hypot(x, y) <= footprint.radius + margin
    x, y = x[near], y[near]
    free = math.inf
    wide = footprint.grown(margin)
    beside = wide.covers(x, y)
    for outline, these in ((wide, ~beside), (footprint, beside & ~footprint.covers(x, y))):
        free = min(free, _turn_to_touch(x[these], y[these], outline))
    within = footprint.covers(x, y)
    return 0.0 if _pressed(x[within], y[within], footprint) else free


def _turn_to_touch(x: Floats, y: Floats, footprint: Footprint) -> float:
    """The least turn to the left after which one of the points, all outside, is touched."""
    squared, bearing = x * x + y * y, np.arctan2(y, x)
    turn = np.full(x.shape, np.inf)
    half, front, rear = footprint.half_width, footprint.front, footprint.rear
    for edge in (front, -rear):
        root = np.sqrt(np.maximum(squared - edge**2, 0))
        for at in (root, -root):
            valid = (squared >= edge**2) & (np.abs(at) <= half)
            angle = np.mod(bearing - np.arctan2(at, edge), FULL_TURN)
            turn = np.where(valid, np.minimum(turn, angle), turn)
    for edge in (half, -half):
        root = np.sqrt(np.maximum(squared - edge**2, 0))
        for at in (root, -root):
            valid = (squared >= edge**2) & (at <= front) & (at >= -rear)
            angle = np.mod(bearing - np.arctan2(edge, at), FULL_TURN)
            turn = np.where(valid, np.minimum(turn, angle), turn)
    return float(turn.min(initial=math.inf))


def _pressed(x: Floats, y: Floats, footprint: Footprint) -> bool:
    """Whether a turn to the left would take one of the points, all within, deeper."""
    depths = np.stack(
        [
            footprint.front - x,
            x + footprint.rear,
            footprint.half_width - y,
            y + footprint.half_width,
        ]
    )
    # How fast each edge comes over the point, in m for each rad.
    pressing = np.stack([-y, y, x, -x])
    edge = depths.argmin(axis=0)[None, :]
    depth = np.take_along_axis(depths, edge, axis=0)
    press = np.take_along_axis(pressing, edge, axis=0)
    return bool(((depth <= OWN_DEPTH_M) & (press > 0)).any())


# --- How far the robot's way is known: what its footprint would sweep is looked up, place by
# place.
#
# The outline of the footprint is moved along the way in steps, and each place that it comes over
# must have been seen to be free, now or a moment ago. Steps and the places along the outline lie
# so close together that the smallest obstacle cannot slip between them. Distances in m.

Booleans = NDArray[np.bool_]
# Beside the robot so much is taken for free: no camera sees it, and without it nobody starts.
TOUCHING_M = 0.05
# The outline is looked up so far outside, in parts of the smallest obstacle; with places half of
# one apart, what juts less than that into the way is found, too.
OUTSIDE = 0.125
APART = 0.5
SECTION_M = 0.05
FINER = 4  # places across the end of the stop zone, where single beams are counted
MOST_PLACES = 30_000  # of one way; the places of a very large robot lie farther apart


class Known(Protocol):
    """What is known about places on the robot as it is now."""

    def tells(self, x: Floats, y: Floats) -> Booleans:
        """Whether each place is known."""

    def touched(self, x: Floats, y: Floats) -> Booleans:
        """Whether anything tells of each place, gaps beside it or not."""


@dataclasses.dataclass(frozen=True)
class Straight:
    """What is known straight ahead.

    `seen` (m before the front): so far nothing is unknown, Inf = as far as was asked.
    `share` of the corridor's width that is unknown where the stop zone ends; `gap` (m) is the
    widest unknown part of the robot's own width there, and `aside` (m, left positive) its middle.
    """

    seen: float
    share: float
    gap: float = 0.0
    aside: float = 0.0


def seen_straight(
    known: Known,
    footprint: Footprint,
    nearest: float,
    farthest: float,
    max_unknown: float,
    smallest: float,
) -> Straight:
    """What is known straight ahead, from `nearest` to `farthest` m before the front.

    Where there is nothing between them nothing is asked.
    """
    if farthest < nearest:
        return Straight(math.inf, math.nan)
    half = footprint.half_width + footprint.margin
    across = _places(-half, half, _apart(smallest, half))
    count = max(2, math.ceil((farthest - nearest) / SECTION_M) + 1)
    distances = np.linspace(nearest, farthest, min(count, max(2, MOST_PLACES // across.size)))
    x, y = np.broadcast_arrays(footprint.front + distances[:, None], across[None, :])
    shares = 1.0 - known.touched(x, y).mean(axis=1)
    finely = _places(-half, half, _apart(smallest, half) / FINER)
    shares[0] = 1.0 - known.touched(np.full(finely.size, footprint.front + nearest), finely).mean()
    own = np.abs(across) <= footprint.half_width + OUTSIDE * smallest
    gaps = ~known.tells(x[:, own], y[:, own])
    unknown = gaps.any(axis=1) | (shares > max_unknown)
    seen = math.inf
    if unknown.any():
        first = int(np.argmax(unknown))
        seen = float(distances[first - 1]) if first else 0.0
    gap, aside = _widest(gaps[0], across[own])
    return Straight(seen, float(shares[0]), gap, aside)


@dataclasses.dataclass(frozen=True)
class Arc:
    """What is known of an arc, in m of the origin's way; Inf = for all that was asked.

    `seen`: so far nothing of what the robot sweeps is unknown. `room`: so far it may go before
    something unknown comes so near that nothing is asked of it any more.
    """

    seen: float = math.inf
    room: float = math.inf


def seen_arc(
    known: Known,
    footprint: Footprint,
    curvature: float,
    way: float,
    strip: float,
    smallest: float,
) -> Arc:
    """What is known of an arc of `way` m; `curvature` in 1/m, positive = to the left.

    Nothing is asked of what the robot touches now, nor of the `strip` (m) straight before its
    front: these places it has come by while they were farther off, and they were known then.
    """
    curvature = max(-TIGHTEST, min(TIGHTEST, curvature))
    spacing = APART * smallest
    while True:
        outline_x, outline_y = _outline(footprint.grown(OUTSIDE * smallest), curvature, spacing)
        length = way if abs(curvature) < STRAIGHT else min(way, 2 * math.pi / abs(curvature))
        # The place that is farthest from the turning centre goes the longest way.
        stretch = float(np.hypot(1 - curvature * outline_y, curvature * outline_x).max())
        count = max(1, math.ceil(length * stretch / spacing))
        if count * outline_x.size <= MOST_PLACES:
            break
        spacing *= 1.5
    ways = length * np.arange(1, count + 1) / count
    x, y = _along(outline_x, outline_y, ways, curvature)
    asked = ~footprint.grown(TOUCHING_M).covers(x, y)
    before = (x > footprint.front) & (x <= footprint.front + strip)
    asked &= ~(before & (np.abs(y) <= footprint.half_width + 2 * OUTSIDE * smallest))
    unknown = np.zeros(x.shape, bool)
    unknown[asked] = ~known.tells(x[asked], y[asked])
    if not unknown.any():
        return Arc()
    first = int(np.argmax(unknown.any(axis=1)))
    # So long each part of the outline goes through places of which nothing is asked.
    unasked = np.where(asked, 0.0, ways[:, None]).max(axis=0)
    steps, parts = np.nonzero(unknown)
    room = float((ways[steps] - unasked[parts]).min() - ways[0])
    return Arc(float(ways[first - 1]) if first else 0.0, max(room, 0.0))


def all_round(known: Known, footprint: Footprint, smallest: float) -> bool:
    """Whether all that the corners would sweep on the spot is known."""
    inner = min(footprint.half_width, footprint.front, footprint.rear)
    radii = _places(inner, footprint.radius, _apart(smallest, footprint.radius))
    count = max(8, math.ceil(2 * math.pi * footprint.radius / _apart(smallest, footprint.radius)))
    angles = 2 * math.pi * np.arange(count) / count
    x, y = radii[:, None] * np.cos(angles), radii[:, None] * np.sin(angles)
    outside = ~footprint.grown(TOUCHING_M).covers(x, y)
    return bool(known.tells(x[outside], y[outside]).all())


def _outline(footprint: Footprint, curvature: float, apart: float) -> tuple[Floats, Floats]:
    """Places on those parts of the outline that move outward on an arc."""
    half, front, rear = footprint.half_width, footprint.front, footprint.rear
    across = _places(-half, half, apart)
    x, y = [np.full(across.size, front)], [across]
    if abs(curvature) >= STRAIGHT:
        side = math.copysign(half, curvature)
        ahead, behind = _places(0.0, front, apart), _places(-rear, 0.0, apart)
        x += [ahead, behind]
        y += [np.full(ahead.size, side), np.full(behind.size, -side)]
        backing = across[across * curvature > 1]  # beyond the turning centre
        x.append(np.full(backing.size, -rear))
        y.append(backing)
    return np.concatenate(x), np.concatenate(y)


def _along(x: Floats, y: Floats, ways: Floats, curvature: float) -> tuple[Floats, Floats]:
    """(ways, places): where places on the robot come to lie on its way."""
    turned = curvature * ways
    chord = ways * np.sinc(turned / (2 * math.pi))
    centre_x, centre_y = chord * np.cos(turned / 2), chord * np.sin(turned / 2)
    c, s = np.cos(turned)[:, None], np.sin(turned)[:, None]
    return centre_x[:, None] + c * x - s * y, centre_y[:, None] + s * x + c * y


def _widest(gaps: Booleans, across: Floats) -> tuple[float, float]:
    """The width of the widest run of gaps, and its middle."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], gaps, [False]]).astype(np.int8)))
    if not edges.size:
        return 0.0, 0.0
    begins, ends = edges[::2], edges[1::2] - 1
    widest = int(np.argmax(ends - begins))
    first, last = across[begins[widest]], across[ends[widest]]
    apart = across[1] - across[0] if across.size > 1 else 0.0
    return float(last - first + apart), float((first + last) / 2)


def _apart(smallest: float, extent: float) -> float:
    return max(APART * smallest, extent / 200)


def _places(first: float, last: float, apart: float) -> Floats:
    return np.linspace(first, last, max(2, math.ceil((last - first) / apart) + 1))
