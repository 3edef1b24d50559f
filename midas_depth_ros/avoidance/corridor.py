"""How far the robot can go: what it sweeps on a straight line, an arc or a turn, and would hit.

Points on the robot's plane (m; x forward, y left, origin at the turning centre) come in; distances
along the way, or angles, go out. The footprint is a rectangle with a margin at the sides of the way
ahead.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Protocol

import numpy as np

from midas_depth_ros.avoidance.scan import FULL_TURN, Booleans, Floats

# --- The robot's motion since a measurement, by the velocities sent.

KEPT_S = 10.0  # longer than any timeout


class MotionHistory:
    """The velocities of the last seconds: m/s forward and rad/s to the left, by time in s."""

    def __init__(self) -> None:
        self._sent: collections.deque[tuple[float, float, float]] = collections.deque()

    def sent(self, now_s: float, linear: float, angular: float) -> None:
        """Record that these velocities hold from now on."""
        self._sent.append((now_s, linear, angular))
        while now_s - self._sent[0][0] > KEPT_S:
            self._sent.popleft()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._sent.clear()

    def since(self, then_s: float, now_s: float) -> Pose:
        """Return the pose now relative to then; before the first velocity the robot stood."""
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


STRAIGHT = 1e-4  # 1/m: flatter arcs are straight
TIGHTEST = 1e3  # 1/m
OWN_DEPTH_M = 0.05  # a point deeper within the outline is a part of the robot itself


@dataclasses.dataclass(frozen=True)
class Pose:
    """Where the robot is relative to where it was: m and rad."""

    x: float = 0.0
    y: float = 0.0
    yaw: float = 0.0

    def to_past(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Convert points on the robot now to points on the robot then."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + c * x - s * y, self.y + s * x + c * y

    def to_now(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Convert points on the robot then to points on the robot now."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        dx, dy = x - self.x, y - self.y
        return c * dx + s * dy, c * dy - s * dx

    def then(self, step: Pose) -> Pose:
        """Return the pose after this one and a further `step` relative to it."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return Pose(
            self.x + c * step.x - s * step.y, self.y + s * step.x + c * step.y, self.yaw + step.yaw
        )

    def moved(self, forward: float, turned: float) -> Pose:
        """Return the pose after an arc of `forward` m on which the robot turned by `turned` rad."""
        yaw = self.yaw + turned / 2
        shrunk = forward * float(np.sinc(turned / FULL_TURN))  # the chord of the arc
        return Pose(
            self.x + shrunk * math.cos(yaw), self.y + shrunk * math.sin(yaw), self.yaw + turned
        )


@dataclasses.dataclass(frozen=True)
class Footprint:
    """The robot from above: half its width, its reach ahead and back, its side margin; m."""

    half_width: float
    front: float
    rear: float
    margin: float = 0.0

    @property
    def radius(self) -> float:
        """Of the circle that the corners sweep in turning on the spot, m."""
        return math.hypot(max(self.front, self.rear), self.half_width)

    def backward(self) -> Footprint:
        """Return the same robot with back and front exchanged."""
        return Footprint(self.half_width, self.rear, self.front, self.margin)

    def grown(self, by: float) -> Footprint:
        """Return the same robot, larger on all sides."""
        return Footprint(self.half_width + by, self.front + by, self.rear + by, self.margin)

    def covers(self, x: Floats, y: Floats) -> Booleans:
        """Return whether each point is within the footprint."""
        return (x >= -self.rear) & (x <= self.front) & (np.abs(y) <= self.half_width)


def free_straight(x: Floats, y: Floats, footprint: Footprint) -> float:
    """Return how far (m) the nearest point in the straight corridor is from the front, or Inf."""
    return float(free_headings(np.zeros(1), x, y, footprint)[0])


def free_headings(headings: Floats, x: Floats, y: Floats, footprint: Footprint) -> Floats:
    """(headings,) `free_straight` of the robot turned on the spot to each heading (rad)."""
    c, s = np.cos(headings)[:, None], np.sin(headings)[:, None]
    along, across = c * x + s * y, np.abs(c * y - s * x)
    ahead = (along > footprint.front) & (across <= footprint.half_width + footprint.margin)
    touched = (along > 0) & (along <= footprint.front) & (across <= footprint.half_width)
    free = np.where(ahead, along - footprint.front, np.inf).min(axis=1, initial=np.inf)
    return np.where(touched.any(axis=1), 0.0, free)


def free_arc(x: Floats, y: Floats, curvature: float, footprint: Footprint) -> float:
    """Return how far (m, of the origin) the robot gets on an arc before it touches a point, or Inf.

    `curvature` in 1/m, positive = to the left. Relative to the robot, every point moves on a circle
    about the turning centre; the robot touches it where the circle first crosses the footprint.
    """
    if abs(curvature) < STRAIGHT:
        return free_straight(x, y, footprint)
    if curvature < 0:
        y = -y
    radius = 1 / min(abs(curvature), TIGHTEST)
    # Points already beside the robot may be nearer than the margin and still be passed.
    half = np.where(
        x > footprint.front, footprint.half_width + footprint.margin, footprint.half_width
    )
    inside = (x >= -footprint.rear) & (x <= footprint.front) & (np.abs(y) <= half)
    if (inside & (x > 0)).any():
        return 0.0
    turn = _turn_to_touch(x[~inside], y[~inside], radius, footprint, half[~inside])
    turn = turn[turn <= math.pi]  # points further round are seen again before they are reached
    return float(radius * turn.min(initial=math.inf))


def _turn_to_touch(
    x: Floats, y: Floats, radius: float, footprint: Footprint, half: Floats | float
) -> Floats:
    """Return the turn to the left (rad) after which each point, all outside, is touched, or Inf.

    The turning centre is `radius` m to the left; `half` is the footprint's half width per point.
    """
    away = radius - y  # from the turning centre toward the robot
    squared, now = x * x + away * away, np.arctan2(x, away)
    turn = np.full(x.shape, np.inf)
    for edge_x in (footprint.front, -footprint.rear):
        root = np.sqrt(np.maximum(squared - edge_x**2, 0))
        for edge_away in (root, -root):
            valid = (squared >= edge_x**2) & (np.abs(radius - edge_away) <= half)
            angle = np.mod(now - np.arctan2(edge_x, edge_away), FULL_TURN)
            turn = np.where(valid, np.minimum(turn, angle), turn)
    for side_away in (radius - half, radius + half):
        root = np.sqrt(np.maximum(squared - side_away**2, 0))
        for side_x in (root, -root):
            valid = (squared >= side_away**2) & (side_x <= footprint.front)
            valid &= side_x >= -footprint.rear
            angle = np.mod(now - np.arctan2(side_x, side_away), FULL_TURN)
            turn = np.where(valid, np.minimum(turn, angle), turn)
    return turn


def free_turn(x: Floats, y: Floats, left: bool, footprint: Footprint, margin: float) -> float:
    """Return how far (rad) the robot may turn on the spot before it touches a point, or Inf.

    `margin` (m) is kept to points that are not within it already. A point on or slightly within the
    outline stops only the direction of turning that would press on it.
    """
    if not left:
        y = -y
    near = np.hypot(x, y) <= footprint.radius + margin
    x, y = x[near], y[near]
    within, wide = footprint.covers(x, y), footprint.grown(margin)
    if _pressed(x[within], y[within], footprint):
        return 0.0
    free, beside = math.inf, wide.covers(x, y)
    for outline, these in ((wide, ~beside), (footprint, beside & ~within)):
        turn = _turn_to_touch(x[these], y[these], 0.0, outline, outline.half_width)
        free = min(free, float(turn.min(initial=math.inf)))
    return free


def _pressed(x: Floats, y: Floats, footprint: Footprint) -> bool:
    """Return whether a turn to the left would take a point deeper; all points are within."""
    half = footprint.half_width
    depths = np.stack([footprint.front - x, x + footprint.rear, half - y, y + half])
    # How fast each edge moves over the point, m per rad.
    pressing = np.stack([-y, y, x, -x])
    edge = depths.argmin(axis=0)[None, :]
    depth = np.take_along_axis(depths, edge, axis=0)
    press = np.take_along_axis(pressing, edge, axis=0)
    return bool(((depth <= OWN_DEPTH_M) & (press > 0)).any())


# --- How far the robot's way is known: all that its footprint would sweep is looked up.
#
# The outline of the footprint is moved along the way in steps, and each place that it comes over
# must have been seen free, now or a moment ago. Steps and places along the outline are so close
# together that the smallest obstacle cannot slip between them. Distances in m.

# This close to the robot the floor is assumed free: no camera sees it, and it could never start.
TOUCHING_M = 0.05
# In smallest obstacles: how far outside the outline places are looked up, and how far apart, so
# that an obstacle that juts less than half its size into the way is found, too.
OUTSIDE, APART = 0.125, 0.5
SECTION_M = 0.05
FINER = 4  # times more places across the end of the stop zone, where single beams count
MAX_PLACES = 30_000  # on one way; a very large robot has its places farther apart


class Known(Protocol):
    """What is known about places on the robot as it is now."""

    def knows(self, x: Floats, y: Floats) -> Booleans:
        """Return whether each place is known."""

    def reached(self, x: Floats, y: Floats) -> Booleans:
        """Return whether a beam or memory reaches each place, whatever gaps are beside it."""


@dataclasses.dataclass(frozen=True)
class KnownStraight:
    """What is known straight ahead.

    `seen` (m from the front): everything is known up to there, Inf = as far as was asked. `share`:
    of the corridor's width that is unknown at the end of the stop zone; `gap` (m): the widest
    unknown part of the robot's own width there; `aside` (m, left positive): its middle.
    """

    seen: float
    share: float
    gap: float = 0.0
    aside: float = 0.0


def known_straight(
    known: Known,
    footprint: Footprint,
    nearest: float,
    farthest: float,
    max_unknown: float,
    smallest: float,
) -> KnownStraight:
    """Return what is known straight ahead, from `nearest` to `farthest` m from the front.

    Nothing is asked if `farthest` is less than `nearest`.
    """
    if farthest < nearest:
        return KnownStraight(math.inf, math.nan)
    half = footprint.half_width + footprint.margin
    across = _places(-half, half, _apart(smallest, half))
    count = max(2, math.ceil((farthest - nearest) / SECTION_M) + 1)
    distances = np.linspace(nearest, farthest, min(count, max(2, MAX_PLACES // across.size)))
    x, y = np.broadcast_arrays(footprint.front + distances[:, None], across[None, :])
    shares = 1.0 - known.reached(x, y).mean(axis=1)
    finely = _places(-half, half, _apart(smallest, half) / FINER)
    shares[0] = 1.0 - known.reached(np.full(finely.size, footprint.front + nearest), finely).mean()
    own = np.abs(across) <= footprint.half_width + OUTSIDE * smallest
    gaps = ~known.knows(x[:, own], y[:, own])
    unknown = gaps.any(axis=1) | (shares > max_unknown)
    seen = math.inf
    if unknown.any():
        first = int(np.argmax(unknown))
        seen = float(distances[first - 1]) if first else 0.0
    gap, aside = _widest(gaps[0], across[own])
    return KnownStraight(seen, float(shares[0]), gap, aside)


@dataclasses.dataclass(frozen=True)
class KnownArc:
    """What is known of an arc, in m of the origin's way; Inf = everything that was asked.

    `seen`: everything that the robot sweeps is known up to there. `room`: how far the robot may go
    before something unknown is so near that it is exempt from the check.
    """

    seen: float = math.inf
    room: float = math.inf


def known_arc(
    known: Known,
    footprint: Footprint,
    curvature: float,
    way: float,
    strip: float,
    smallest: float,
    backward: bool = False,
) -> KnownArc:
    """Return what is known of an arc of `way` m; `curvature` in 1/m, positive = to the left.

    Exempt are places that the robot touches now and the `strip` (m) straight ahead of its front:
    the robot came towards them while they were farther away, and they were known then. `backward`:
    the robot drives with its back ahead; `footprint` and `curvature` are those of that robot.
    """
    curvature = max(-TIGHTEST, min(TIGHTEST, curvature))
    spacing = APART * smallest
    while True:
        outline_x, outline_y = _outline(footprint.grown(OUTSIDE * smallest), curvature, spacing)
        length = way if abs(curvature) < STRAIGHT else min(way, 2 * math.pi / abs(curvature))
        # The place farthest from the turning centre moves the longest way.
        stretch = float(np.hypot(1 - curvature * outline_y, curvature * outline_x).max())
        count = max(1, math.ceil(length * stretch / spacing))
        if count * outline_x.size <= MAX_PLACES:
            break
        spacing *= 1.5
    ways = length * np.arange(1, count + 1) / count
    x, y = _along(outline_x, outline_y, ways, curvature)
    asked = ~footprint.grown(TOUCHING_M).covers(x, y)
    before = (x > footprint.front) & (x <= footprint.front + strip)
    asked &= ~(before & (np.abs(y) <= footprint.half_width + 2 * OUTSIDE * smallest))
    unknown = np.zeros(x.shape, bool)
    sign = -1.0 if backward else 1.0
    unknown[asked] = ~known.knows(sign * x[asked], sign * y[asked])
    if not unknown.any():
        return KnownArc()
    first = int(np.argmax(unknown.any(axis=1)))
    # How far each part of the outline moves through places that need not be known.
    unasked = np.where(asked, 0.0, ways[:, None]).max(axis=0)
    steps, parts = np.nonzero(unknown)
    room = float((ways[steps] - unasked[parts]).min() - ways[0])
    return KnownArc(float(ways[first - 1]) if first else 0.0, max(room, 0.0))


def known_all_round(known: Known, footprint: Footprint, smallest: float) -> bool:
    """Return whether everything that the corners would sweep on the spot is known."""
    inner = min(footprint.half_width, footprint.front, footprint.rear)
    radii = _places(inner, footprint.radius, _apart(smallest, footprint.radius))
    count = max(8, math.ceil(2 * math.pi * footprint.radius / _apart(smallest, footprint.radius)))
    angles = 2 * math.pi * np.arange(count) / count
    x, y = radii[:, None] * np.cos(angles), radii[:, None] * np.sin(angles)
    outside = ~footprint.grown(TOUCHING_M).covers(x, y)
    return bool(known.knows(x[outside], y[outside]).all())


def _outline(footprint: Footprint, curvature: float, apart: float) -> tuple[Floats, Floats]:
    """Return places on those parts of the outline that move outward on an arc."""
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
    """(ways, places): where places on the robot are after each way."""
    turned = curvature * ways
    chord = ways * np.sinc(turned / (2 * math.pi))
    centre_x, centre_y = chord * np.cos(turned / 2), chord * np.sin(turned / 2)
    c, s = np.cos(turned)[:, None], np.sin(turned)[:, None]
    return centre_x[:, None] + c * x - s * y, centre_y[:, None] + s * x + c * y


def _widest(gaps: Booleans, across: Floats) -> tuple[float, float]:
    """Return the width of the widest run of gaps, and its middle."""
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
