"""Frames that hang below each other and move, by stamp: what TF says, without ROS.

In: stamped transforms of a child in its parent. Out: the pose of any frame in any other at a stamp,
interpolated as tf2 does, or a `TransformFault` that says why there is none.
"""

from __future__ import annotations

import bisect
import itertools
import math
import threading
from collections.abc import Iterable, Sequence

import numpy as np

from midas_depth_ros.geometry.motion import (
    KEPT,
    KEPT_S,
    MOST_M,
    NANOSECONDS,
    UNIT,
    BodyPose,
    SetBack,
    between,
)
from midas_depth_ros.options.text import LONGEST_FRAME_ID, shown

MOST_FRAMES = 2000  # of a robot; more come from somebody who makes up names
LISTED = 8  # frames that an error names
# No robot goes to and fro like that: two publishers say where it is. Within the last FLIP_S at
# least FLIPS times, each way longer than FLIP_M; wheels that start and brake turn once.
FLIP_S, FLIPS, FLIP_M = 1.0, 4, 0.02
STILL_RAD, STILL_M = 0.01, 0.02  # what has moved by no more stands in its joint
NOTHING = 'nothing was heard on /tf and /tf_static'
Numbers = tuple[float, ...]  # x, y, z and the quaternion x, y, z, w


class TransformFault(Exception):
    """There is no transform, or what was given is none; the text says why."""


class _Link:
    """How a child frame hangs in its parent: once and for all, or by stamp."""

    def __init__(self, static: bool) -> None:
        self.static = static
        self.stamps: list[int] = []
        self.entries: list[tuple[str, Numbers]] = []  # parent and pose of each stamp
        self.epoch, self.jump = 0, ''
        self._set_back = SetBack()
        self._flips: list[int] = []  # the last stamps at which it was in two places

    @property
    def parent(self) -> str:
        """The newest one."""
        return self.entries[-1][0]

    def put(self, stamp_ns: int, parent: str, numbers: Numbers) -> None:
        """Take one in at its place; where stamps go back, not of one alone, time began anew."""
        if self.static:
            self.stamps, self.entries = [0], [(parent, numbers)]
            return
        if self.stamps and self._set_back.noticed(stamp_ns, self.stamps[-1]):
            back_s = (self.stamps[-1] - stamp_ns) / NANOSECONDS
            self.stamps, self.entries, self._flips = [], [], []
            self.epoch, self.jump = self.epoch + 1, f'its stamps went back by {back_s:.1f} s'
        at = bisect.bisect_left(self.stamps, stamp_ns)
        if at < len(self.stamps) and self.stamps[at] == stamp_ns:
            if math.dist(self.entries[at][1][:3], numbers[:3]) > FLIP_M:
                self._flips = [*self._flips[-FLIPS:], stamp_ns]
            self.entries[at] = parent, numbers
            return
        self.stamps.insert(at, stamp_ns)
        self.entries.insert(at, (parent, numbers))
        self._note_flip(min(at, len(self.entries) - 2))
        oldest = self.stamps[-1] - round(KEPT_S * NANOSECONDS)
        gone = max(bisect.bisect_left(self.stamps, oldest), len(self.stamps) - KEPT)
        if gone > 0:
            del self.stamps[:gone], self.entries[:gone]

    def parent_at(self, stamp_ns: int) -> str | None:
        """The parent at a stamp; None before the first and after the last."""
        if self.static:
            return self.parent
        after = bisect.bisect_right(self.stamps, stamp_ns)
        if not after or (after == len(self.stamps) and self.stamps[-1] != stamp_ns):
            return None
        return self.entries[after - 1][0]

    def at(self, stamp_ns: int) -> Numbers | None:
        """The pose in the parent at a stamp; None before the first and after the last."""
        if self.static:
            return self.entries[-1][1]
        after = bisect.bisect_left(self.stamps, stamp_ns)
        if after == len(self.stamps):
            return None
        if self.stamps[after] == stamp_ns:
            return self.entries[after][1]
        if not after:
            return None
        (parent, numbers), (other, following) = self.entries[after - 1 : after + 1]
        if parent != other:
            return numbers
        begin, end = self.stamps[after - 1 : after + 1]
        share = (stamp_ns - begin) / (end - begin)
        made = between(_pose(numbers), _pose(following), share)
        return (*made.position.tolist(), *made.quaternion.tolist())

    def flips(self) -> bool:
        """Whether it has lately been in two places, or two parents, by turns."""
        since = self.stamps[-1] - round(FLIP_S * NANOSECONDS)
        return sum(since <= stamp <= self.stamps[-1] for stamp in self._flips) >= FLIPS

    def _note_flip(self, index: int) -> None:
        """Note whether the way to this entry and the one from it are opposite, and no trembling."""
        if not 0 < index < len(self.entries) - 1:
            return
        (first, a), (middle, b), (last, c) = self.entries[index - 1 : index + 2]
        x, y, z = b[0], b[1], b[2]
        onwards = (x - a[0]) * (c[0] - x) + (y - a[1]) * (c[1] - y) + (z - a[2]) * (c[2] - z)
        opposite = onwards < 0 and min(math.dist(a[:3], b[:3]), math.dist(b[:3], c[:3])) > FLIP_M
        if opposite or first == last != middle:
            self._flips = [*self._flips[-FLIPS:], self.stamps[index]]

    def moved_unseen(self, stamp_ns: int, most_gap_s: float, near_s: float) -> float:
        """How far apart the entries around a stamp are, where it has moved between them and they
        are too far apart for anybody to know where it was; else 0.
        """
        gap_s = self.gap_s(stamp_ns)
        if not most_gap_s < gap_s < math.inf:
            return 0.0
        after = bisect.bisect_left(self.stamps, stamp_ns)
        away = min(stamp_ns - self.stamps[after - 1], self.stamps[after] - stamp_ns)
        if away <= near_s * NANOSECONDS:
            return 0.0
        (parent, numbers), (other, following) = self.entries[after - 1 : after + 1]
        dot = sum(one * two for one, two in zip(numbers[3:], following[3:], strict=True))
        turned_rad = 2 * math.acos(min(1.0, abs(dot)))
        still = turned_rad <= STILL_RAD and math.dist(numbers[:3], following[:3]) <= STILL_M
        return 0.0 if still and parent == other else gap_s

    def gap_s(self, stamp_ns: int) -> float:
        """How far apart the entries around a stamp are; 0 at an entry, inf outside."""
        if self.static:
            return 0.0
        after = bisect.bisect_left(self.stamps, stamp_ns)
        if after < len(self.stamps) and self.stamps[after] == stamp_ns:
            return 0.0
        if not 0 < after < len(self.stamps):
            return math.inf
        return (self.stamps[after] - self.stamps[after - 1]) / NANOSECONDS


class TransformTree:
    """The transforms of the last ten seconds by child frame, and all static ones. Thread-safe.

    Unlike tf2's buffer it forgets a moving child whose stamps go back by more than a second, or
    several of them by less: a recording began again, or a simulation, or a clock was set, and what
    comes next has nothing to do with before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._links: dict[str, _Link] = {}
        self._parents: set[str] = set()
        self._refused: dict[str, str] = {}  # child -> why its transform is none

    def add(
        self,
        parent: str,
        child: str,
        stamp_ns: int,
        numbers: Sequence[float],
        static: bool = False,
    ) -> None:
        """Add the pose of a child in its parent: x, y, z (m), unit quaternion x, y, z, w.

        Raises `TransformFault` for what is no transform: it changes nothing, but is named as long
        as its child has no other.
        """
        parent, child = _plain(parent), _plain(child)
        try:
            made = _checked(parent, child, numbers)
            if not static and stamp_ns <= 0:
                raise TransformFault(f'{shown(child)} in {shown(parent)} has no stamp')
        except TransformFault as error:
            with self._lock:
                if len(self._refused) < LISTED:
                    self._refused.setdefault(child, str(error))
            raise
        with self._lock:
            link = self._links.get(child)
            if link is None and len(self._links) >= MOST_FRAMES:
                raise TransformFault(f'{shown(child)} is one frame more than {MOST_FRAMES}')
            if link is None or link.static != static:
                link = self._links[child] = _Link(static)
            link.put(stamp_ns, parent, made)
            self._parents.add(parent)

    def lookup(self, target: str, source: str, stamp_ns: int) -> BodyPose:
        """Return the pose of `source` in `target` at a stamp. Raises `TransformFault`."""
        with self._lock:
            ups, downs = self._chains(target, source, stamp_ns)
            source_pose = self._composed(ups, stamp_ns)
            target_pose = self._composed(downs, stamp_ns)
        return _pose(_after(_inverse(target_pose), source_pose))

    def span(self, target: str, source: str) -> tuple[int, int] | None:
        """Return from which to which stamp the way between two frames is known; None = always.

        Always: no frame between them moves. Raises `TransformFault` where nothing connects them,
        or they are not known at the same time.
        """
        with self._lock:
            moving = self._moving(target, source)
            if not moving:
                return None
            first = max((link.stamps[0], name) for name, link in moving)
            last = min((link.stamps[-1], name) for name, link in moving)
        if first[0] > last[0]:
            apart_s = (first[0] - last[0]) / NANOSECONDS
            raise TransformFault(
                f'{shown(last[1])} is not known at the same time as {shown(first[1])}, but '
                f'{apart_s:.2f} s before it'
            )
        return first[0], last[0]

    def moved_unseen(
        self, target: str, source: str, stamp_ns: int, most_gap_s: float, near_s: float
    ) -> tuple[str, float]:
        """Return which child between two frames has moved between two transforms that are farther
        apart than `most_gap_s`, and by how much they are; '' = none.

        A stamp within `near_s` of one of the two is known by that. Raises `TransformFault`.
        """
        with self._lock:
            for name in itertools.chain(*self._chains(target, source, stamp_ns)):
                gap_s = self._links[name].moved_unseen(stamp_ns, most_gap_s, near_s)
                if gap_s:
                    return name, gap_s
        return '', 0.0

    def gap_s(self, target: str, source: str, stamp_ns: int) -> float:
        """Return how far apart the transforms are between which was interpolated at a stamp.

        0: there was one at the stamp, or nothing moves. Raises `TransformFault`.
        """
        with self._lock:
            ups, downs = self._chains(target, source, stamp_ns)
            return max((self._links[name].gap_s(stamp_ns) for name in (*ups, *downs)), default=0.0)

    def epoch(self, target: str, source: str) -> tuple[int, str]:
        """Return how often time began anew between two frames, and what happened last."""
        with self._lock:
            try:
                moving = self._moving(target, source)
            except TransformFault:
                return 0, ''
            last = max((link for _, link in moving), key=lambda link: link.epoch, default=None)
            if last is None:
                return 0, ''
            return sum(link.epoch for _, link in moving), last.jump

    def flipping(self, target: str, source: str) -> str:
        """Return which child between two frames is said to be in two places by turns; '' = none.

        Raises `TransformFault`.
        """
        with self._lock:
            for name, link in self._moving(target, source):
                if link.flips():
                    return name
        return ''

    def ancestors(self, frame: str) -> list[tuple[str, bool]]:
        """Return the frames that this one hangs in, the nearest first; and whether it moves there.

        Moves: in the one before, by a link that is not static.
        """
        found: list[tuple[str, bool]] = []
        frame = _plain(frame)
        with self._lock:
            while (link := self._links.get(frame)) and len(found) < MOST_FRAMES:
                frame = link.parent
                found.append((frame, not link.static))
        return found

    def knows(self, frame: str) -> bool:
        """Whether this frame was named."""
        with self._lock:
            return _plain(frame) in self._links or _plain(frame) in self._parents

    def frames(self) -> list[str]:
        """Return all frames by name."""
        with self._lock:
            return sorted({*self._links, *self._parents})

    def _composed(self, way: Iterable[str], stamp_ns: int) -> Numbers:
        """The pose of the first child in the parent of the last."""
        made: Numbers = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
        for name in way:
            found = self._links[name].at(stamp_ns)
            if found is None:
                raise TransformFault(self._outside(name, stamp_ns))
            made = _after(found, made)
        return made

    def _moving(self, target: str, source: str) -> list[tuple[str, _Link]]:
        """The links that are not static on the newest way between two frames."""
        ups, downs = self._chains(target, source, None)
        links = [(name, self._links[name]) for name in (*ups, *downs)]
        return [(name, link) for name, link in links if not link.static]

    def _chains(
        self, target: str, source: str, stamp_ns: int | None
    ) -> tuple[list[str], list[str]]:
        """The children from the source, and from the target, up to where both ways meet.

        As they hung at a stamp; None: as they hang now.
        """
        source, target = _plain(source), _plain(target)
        if source == target:
            return [], []
        for name in (source, target):
            if name not in self._links and name not in self._parents:
                raise TransformFault(self._unknown(name))
        ups, source_end = self._way_up(source, stamp_ns)
        downs, target_end = self._way_up(target, stamp_ns)
        met = {name: index for index, name in enumerate([*ups, source_end])}
        for index, name in enumerate([*downs, target_end]):
            if name in met:
                return ups[: met[name]], downs[:index]
        for end in (source_end, target_end):
            if stamp_ns is not None and end in self._links:
                raise TransformFault(self._outside(end, stamp_ns))
        raise TransformFault(
            f'nothing connects the tree of {shown(source)} (root {shown(source_end)}) with that of '
            f'{shown(target)} (root {shown(target_end)})'
        )

    def _way_up(self, frame: str, stamp_ns: int | None) -> tuple[list[str], str]:
        """The children on the way to the root, and where the way ends: a root, or out of time."""
        way: dict[str, None] = {}  # ordered
        while (link := self._links.get(frame)) is not None:
            parent = link.parent if stamp_ns is None else link.parent_at(stamp_ns)
            if parent is None:
                break
            way[frame] = None
            if parent in way:
                raise TransformFault(
                    f'the frames hang in a loop at {shown(parent)}: let each frame have one parent'
                )
            frame = parent
        return list(way), frame

    def _unknown(self, name: str) -> str:
        known = sorted({*self._links, *self._parents})
        if name in self._refused:
            return self._refused[name]
        if not known:
            return NOTHING
        more = f' and {len(known) - LISTED} more' if len(known) > LISTED else ''
        listed = ', '.join(shown(frame) for frame in known[:LISTED])
        return f'there is no frame {shown(name)}; there are: {listed}{more}'

    def _outside(self, name: str, stamp_ns: int) -> str:
        link = self._links[name]
        if stamp_ns > link.stamps[-1]:
            late_s = (stamp_ns - link.stamps[-1]) / NANOSECONDS
            return f'the newest of {shown(name)} in {shown(link.parent)} is {late_s:.2f} s older'
        early_s = (link.stamps[0] - stamp_ns) / NANOSECONDS
        return f'the oldest of {shown(name)} in {shown(link.parent)} is {early_s:.2f} s newer'


def _plain(frame: str) -> str:
    """A name as tf2 has it: drivers that are older than it begin them with a slash."""
    return frame.removeprefix('/')


def _checked(parent: str, child: str, numbers: Iterable[float]) -> Numbers:
    """The numbers of a transform, its quaternion of length 1. Raises TransformFault."""
    x, y, z, *turn = made = tuple(map(float, numbers))
    named = f'{shown(child)} in {shown(parent)}'
    if not (parent and child) or parent == child:
        raise TransformFault(f'{named} is not a pair of different, named frames')
    if max(len(parent), len(child)) > LONGEST_FRAME_ID:
        raise TransformFault(f'{named}: a name has more than {LONGEST_FRAME_ID} letters')
    if not all(map(math.isfinite, made)) or max(abs(x), abs(y), abs(z)) >= MOST_M:
        raise TransformFault(f'{named}: ({x:g}, {y:g}, {z:g}) is not a place')
    length = math.sqrt(sum(value * value for value in turn))
    if not abs(length - 1) <= UNIT:
        text = ', '.join(f'{value:g}' for value in turn)
        raise TransformFault(f'{named}: orientation ({text}) is not a unit quaternion')
    return (x, y, z, *(value / length for value in turn))


def _pose(numbers: Numbers) -> BodyPose:
    turn = np.array(numbers[3:])
    return BodyPose(np.array(numbers[:3]), turn / np.linalg.norm(turn))


def _after(outer: Numbers, inner: Numbers) -> Numbers:
    """`inner`, given in a frame whose pose is `outer`. In plain numbers: arrays take longer."""
    x, y, z, x1, y1, z1, w1 = outer
    px, py, pz, x2, y2, z2, w2 = inner
    # Rotated by a unit quaternion: p + 2w (v x p) + 2 v x (v x p).
    cx, cy, cz = y1 * pz - z1 * py, z1 * px - x1 * pz, x1 * py - y1 * px
    x += px + 2 * (w1 * cx + y1 * cz - z1 * cy)
    y += py + 2 * (w1 * cy + z1 * cx - x1 * cz)
    z += pz + 2 * (w1 * cz + x1 * cy - y1 * cx)
    return (
        *(x, y, z),
        w1 * x2 + x1 * w2 + y1 * z2 - z1 * y2,
        w1 * y2 - x1 * z2 + y1 * w2 + z1 * x2,
        w1 * z2 + x1 * y2 - y1 * x2 + z1 * w2,
        w1 * w2 - x1 * x2 - y1 * y2 - z1 * z2,
    )


def _inverse(pose: Numbers) -> Numbers:
    x, y, z, qx, qy, qz, qw = pose
    turned_back = (0.0, 0.0, 0.0, -qx, -qy, -qz, qw)
    return _after(turned_back, (-x, -y, -z, 0.0, 0.0, 0.0, 1.0))
