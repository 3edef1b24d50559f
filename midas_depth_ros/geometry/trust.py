"""Which source of scale may speak alone: one that another has confirmed lately.

A floor that nothing has confirmed may be a ramp or a step, an odometry that nothing has confirmed
may slip. In: how the camera moves, and who has agreed with whom. Out: why one is not believed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from midas_depth_ros.geometry.scale import Refusal, ScaleShift

FLOOR, ODOMETRY = 'ground_plane', 'odometry'
# From such a turn or way on a camera sees something else.
TURNED_RAD, MOVED_M = 0.5, 2.0
# What one source says alone while the robot drives is believed only for so long after the other one
# has agreed with it. The floor for so much of the way, since what is ahead changes with every step;
# of a way on which a witness says much the same of every frame only a share counts. The odometry,
# which is as good everywhere, for about a room and a minute.
FLOOR_ALONE_M, WITNESSED_SHARE = 0.3, 0.1
# Near where both have contradicted each other, and have not agreed since, only for as much as
# odometry needs to speak again: a ramp or an edge is still there for one who has turned aside.
CREEP_M = 0.1
ODOMETRY_ALONE_M, ODOMETRY_ALONE_S = 20.0, 60.0
TREMBLES_M = 0.01  # what the odometry of a robot that stands may be off by: no way


class Trust:
    """What may speak alone, since another one has agreed with it lately.

    The odometry learns nothing by standing, nor does the floor: both are counted by the way.
    """

    def __init__(self) -> None:
        self.witnessed = False  # in this frame
        self._place: np.ndarray | None = None
        self._counted_at: np.ndarray | None = None  # as far as the way is counted, (3,)
        self._way_m = self._step_m = 0.0  # in all, and of this frame
        self._floor_m = 0.0  # the way since the floor was confirmed, or was new, as it counts
        self._floor_at: np.ndarray | None = None  # and the pose there
        self._odometry_m, self._odometry_s = -math.inf, -math.inf
        self._doubted_at: np.ndarray | None = None  # where both have contradicted each other last

    def move(self, place: np.ndarray | None) -> None:
        """A new frame, from a pose (4, 4); None = unknown."""
        self._floor_m = self._unconfirmed_m
        self.witnessed, self._step_m = False, 0.0
        if place is None:
            return
        self._place = place
        if self._counted_at is None:
            self._counted_at = place[:3, 3]
        step_m = float(np.linalg.norm(place[:3, 3] - self._counted_at))
        if step_m > TREMBLES_M:
            self._step_m, self._counted_at = step_m, place[:3, 3]
        self._way_m += self._step_m
        if self._floor_at is None:
            self._floor_at = place
        elif is_elsewhere(self._floor_at, place, by_way=False):
            self._renew()

    @property
    def _unconfirmed_m(self) -> float:
        """The way since the floor was confirmed, as it counts."""
        return self._floor_m + self._step_m * (WITNESSED_SHARE if self.witnessed else 1.0)

    def _renew(self) -> None:
        self._floor_m = self._step_m = 0.0
        self._floor_at = self._place

    def forget_place(self) -> None:
        """The fixed frame has changed."""
        self._place = self._counted_at = self._floor_at = self._doubted_at = None

    def contradicted(self, first: str, second: str) -> None:
        """Two sources contradict each other, and not in one frame alone."""
        if {first, second} == {FLOOR, ODOMETRY}:
            self._doubted_at = self._place

    @property
    def _floor_alone_m(self) -> float:
        """How far the floor alone is believed here."""
        before, now = self._doubted_at, self._place
        if before is None or now is None:
            return FLOOR_ALONE_M
        near = float(np.linalg.norm(now[:3, 3] - before[:3, 3])) < MOVED_M
        return CREEP_M if near else FLOOR_ALONE_M

    def agreed(self, first: str, second: str, stamp_s: float, *, lasting: bool = True) -> None:
        """Two sources have agreed that both give metres; lasting: not in one frame alone, which may
        be chance, and ends no doubt.
        """
        if ODOMETRY in (first, second):
            self._odometry_m, self._odometry_s = self._way_m, stamp_s
            if FLOOR in (first, second):
                if lasting:
                    self._doubted_at = None
                self._renew()

    def unconfirmed(
        self, speaking: set[str], said: Mapping[str, ScaleShift | Refusal], stamp_s: float
    ) -> str:
        """Why the only one who speaks is not believed, '' if it is, or where several do."""
        if FLOOR not in said or ODOMETRY not in said or len(speaking) != 1:
            return ''
        why = {name: fit.reason for name, fit in said.items() if isinstance(fit, Refusal)}
        if FLOOR in speaking:
            alone_m = self._floor_alone_m
            if self._unconfirmed_m <= alone_m:
                return ''
            return (
                f'the odometry has not confirmed the floor on the last {alone_m:g} m or '
                f'more of the way: {why[ODOMETRY]}; turn the robot, or drive it by hand past '
                'things with texture'
            )
        ago_m, ago_s = self._way_m - self._odometry_m, stamp_s - self._odometry_s
        if ODOMETRY not in speaking or (ago_m <= ODOMETRY_ALONE_M and ago_s <= ODOMETRY_ALONE_S):
            return ''
        when = 'yet' if math.isinf(ago_s) else f'on the last {ago_m:.1f} m, in {ago_s:.0f} s'
        return (
            f'the odometry has not been confirmed by the floor {when}; the floor: {why[FLOOR]}; '
            'drive by hand to where floor is in view, or set scale.source to odometry'
        )


def is_elsewhere(
    before: np.ndarray, now: np.ndarray, *, by_way: bool = True, share: float = 1.0
) -> bool:
    """Whether a camera of the pose `now` no longer sees what it saw from `before`; both (4, 4).

    by_way: also where it has moved on. share: of what that takes.
    """
    moved_m = float(np.linalg.norm(now[:3, 3] - before[:3, 3]))
    cosine = (float(np.trace(before[:3, :3].T @ now[:3, :3])) - 1) / 2
    turned = math.acos(max(-1.0, min(1.0, cosine))) >= share * TURNED_RAD
    return turned or (by_way and moved_m >= share * MOVED_M)
