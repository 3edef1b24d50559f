"""How far the robot's way is known: what its footprint would sweep is looked up, place by place.

The outline of the footprint is moved along the way in steps, and each place that it comes over
must have been seen to be free, now or a moment ago. Steps and the places along the outline lie
so close together that the smallest obstacle cannot slip between them. Distances in m.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.control.corridor import STRAIGHT, TIGHTEST, Footprint

Floats = NDArray[np.float64]
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
