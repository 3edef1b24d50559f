"""The robot's own motion: poses of its body by stamp, between which is interpolated.

In: stamped poses of odometry. Out: the pose of a camera at a picture's stamp, or why it is unknown.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
import threading

import numpy as np

from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.scale import Refusal

NANOSECONDS = 1_000_000_000
KEPT, KEPT_S = 4000, 10.0  # ten seconds at 400 Hz
LATE_S = 1.0  # a pose this late was overtaken; an older stamp means that time was reset
# So many late ones that follow each other, the first by more than this: a clock was set back. A
# driver's batches may overlap by less; ntpd steps by 0.13 s or more, timesyncd by 0.4 s.
LATE_IN_A_ROW, LEAST_BACK_S = 3, 0.08
BETWEEN_S = 0.5  # two poses may be this far apart to interpolate between
STILL_S = 0.01  # within this a robot of unknown velocity is where it was
VELOCITY_S = 0.1  # over at least this long the velocity is measured from which poses are continued
# No robot moves on so fast: its position or heading was set anew. By its speed just before, and at
# first by the fastest there are.
JUMP_M, ACCELERATING_M_S, FASTER, FASTEST_M_S = 0.1, 2.0, 3.0, 60.0
JUMP_RAD, FASTEST_RAD_S = 0.2, 12.0
UNIT = 0.05  # how far from 1 the length of a quaternion may be
MOST_M = 1e7  # coordinates beyond this are no places


class InvalidPose(ValueError):
    """Numbers that are no pose; the text says which."""


class MotionReset(Refusal):
    """The odometry began anew: what was known of earlier poses has nothing to do with the next."""


@dataclasses.dataclass(frozen=True)
class BodyPose:
    """A body in a fixed frame: position (3,) in metres, and unit quaternion (4,) x, y, z, w.

    continued_s: by how much it was continued beyond the last message, at constant velocity.
    """

    position: np.ndarray
    quaternion: np.ndarray
    continued_s: float = 0.0

    @classmethod
    def of(cls, position: np.ndarray, quaternion: np.ndarray) -> BodyPose:
        """Return the pose of these numbers. Raises `InvalidPose`."""
        place, turn = np.asarray(position, np.float64), np.asarray(quaternion, np.float64)
        if not (np.isfinite(place).all() and np.abs(place).max() < MOST_M):
            raise InvalidPose(f'position {_numbers(place)} is not a place')
        length = float(np.linalg.norm(turn))
        if not abs(length - 1) <= UNIT:  # NaN is not
            raise InvalidPose(f'orientation {_numbers(turn)} is not a unit quaternion')
        return cls(place, turn / length)

    @property
    def yaw_rad(self) -> float:
        """Its heading, counter-clockwise."""
        x, y, z, w = self.quaternion
        return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))

    def matrix(self) -> np.ndarray:
        """Return (4, 4) float64: from the body into the fixed frame."""
        made = np.eye(4)
        made[:3, :3] = rotation_of(self.quaternion)
        made[:3, 3] = self.position
        return made

    def levelled(self) -> np.ndarray:
        """Return (4, 4) float64: the same without roll and pitch."""
        half = 0.5 * self.yaw_rad
        level = np.array([0.0, 0.0, math.sin(half), math.cos(half)])
        return BodyPose(self.position, level).matrix()


def rotation_of(quaternion: np.ndarray) -> np.ndarray:
    """Return (3, 3) float64 of a unit quaternion x, y, z, w."""
    x, y, z, w = quaternion
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def slerp(first: np.ndarray, second: np.ndarray, share: float) -> np.ndarray:
    """Return the unit quaternion at this share of the turn from `first` to `second`.

    Along the shorter way; a share above 1 continues the turn (Shoemake 1985).
    """
    cosine = float(first @ second)
    if cosine < 0:
        second, cosine = -second, -cosine
    if cosine > 1 - 1e-9:
        mixed = first + share * (second - first)
    else:
        angle = math.acos(min(1.0, cosine))
        mixed = math.sin((1 - share) * angle) * first + math.sin(share * angle) * second
    return np.asarray(mixed / np.linalg.norm(mixed))


def angle_between(first: np.ndarray, second: np.ndarray) -> float:
    """Return the angle (rad) of the turn between two unit quaternions."""
    return 2 * math.acos(min(1.0, abs(float(first @ second))))


def between(first: BodyPose, second: BodyPose, share: float) -> BodyPose:
    """Return the pose at this share of the way; above 1 it continues."""
    return BodyPose(
        first.position + share * (second.position - first.position),
        slerp(first.quaternion, second.quaternion, share),
    )


# A robot that has moved or turned by less stands: odometry that drifts, or an Imu's noise.
STANDS_M, STANDS_RAD = 0.005, 0.005


def moved_between(first: BodyPose | Refusal | None, second: BodyPose | Refusal | None) -> str:
    """Return why a body may have moved from one pose to the other; '' if it stands.

    None = there is no odometry, which says nothing; a pose that is unknown is no pose that stands.
    """
    for each in (first, second):
        if isinstance(each, Refusal):
            return each.reason
    if first is None and second is None:
        return ''
    if not (isinstance(first, BodyPose) and isinstance(second, BodyPose)):
        return 'odometry has come or gone'
    way_m = float(np.linalg.norm(second.position - first.position))
    turn_rad = angle_between(first.quaternion, second.quaternion)
    if way_m <= STANDS_M and turn_rad <= STANDS_RAD:
        return ''
    return f'the robot has moved by {way_m:.3f} m and {turn_rad:.3f} rad'


class SetBack:
    """Tells a clock that was set back, be it by a fraction of a second, from late messages.

    Messages that were overtaken come among newer ones. After a clock was set back they follow each
    other, and what was said of their stamps before was somewhere else. Two publishers whose stamps
    differ look alike, but again and again: within `KEPT_S` that is noticed once.
    """

    def __init__(self) -> None:
        self._row: list[int] = []  # the stamps of late ones that follow each other
        self._noticed: int | None = None  # the stamp at which that was

    def noticed(self, stamp_ns: int, newest_ns: int) -> bool:
        """Whether time began anew before this message. newest_ns: the newest stamp before it."""
        if stamp_ns < newest_ns - LATE_S * NANOSECONDS:
            self._row, self._noticed = [], None
            return True
        if stamp_ns >= newest_ns:
            self._row = []
            return False
        follows = not self._row or stamp_ns > self._row[-1]
        self._row = [*self._row, stamp_ns] if follows else [stamp_ns]
        if len(self._row) < LATE_IN_A_ROW:
            return False
        back_ns, self._row = newest_ns - self._row[0], []
        if back_ns < LEAST_BACK_S * NANOSECONDS:
            return False
        before, self._noticed = self._noticed, stamp_ns
        return before is None or abs(stamp_ns - before) > KEPT_S * NANOSECONDS


class PoseHistory:
    """The poses of a body in the last seconds, by stamp. Thread-safe.

    `epoch` counts how often position or time began anew: poses of two epochs have nothing in
    common. `jump`: what happened at the last one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamps: collections.deque[int] = collections.deque(maxlen=KEPT)
        self._poses: collections.deque[BodyPose] = collections.deque(maxlen=KEPT)
        self._set_back = SetBack()
        self.epoch = 0
        self.jump = ''

    def clear(self, reason: str) -> None:
        """Begin anew."""
        with self._lock:
            self._clear(reason)

    def add(self, stamp_ns: int, pose: BodyPose) -> None:
        """Add one. Late and repeated ones are ignored; one that jumps begins an epoch."""
        with self._lock:
            if self._stamps and self._set_back.noticed(stamp_ns, self._stamps[-1]):
                back_s = (self._stamps[-1] - stamp_ns) / NANOSECONDS
                self._clear(f'its stamps went back by {back_s:.1f} s')
            if self._stamps and stamp_ns <= self._stamps[-1]:
                return
            jump = self._jump_to(stamp_ns, pose)
            if jump:
                self._clear(jump)
            self._stamps.append(stamp_ns)
            self._poses.append(pose)
            while self._stamps[-1] - self._stamps[0] > KEPT_S * NANOSECONDS:
                self._stamps.popleft()
                self._poses.popleft()

    def at(self, stamp_ns: int, max_age_s: float) -> BodyPose | float:
        """The pose at a stamp, else how many seconds the nearest is away; inf: there is none.

        Interpolated between its neighbours; before the first and after the last pose continued at
        constant velocity, by `max_age_s` at most.
        """
        with self._lock:
            stamps, poses = list(self._stamps), list(self._poses)
        if not stamps:
            return math.inf
        after = bisect.bisect_left(stamps, stamp_ns)
        if after < len(stamps) and stamps[after] == stamp_ns:
            return poses[after]
        nearest = min(
            (index for index in (after - 1, after) if 0 <= index < len(stamps)),
            key=lambda index: abs(stamps[index] - stamp_ns),
        )
        away_s = abs(stamps[nearest] - stamp_ns) / NANOSECONDS
        if away_s > max_age_s:
            return away_s
        if 0 < after < len(stamps):
            begin, end = stamps[after - 1], stamps[after]
            if end - begin <= BETWEEN_S * NANOSECONDS:
                share = (stamp_ns - begin) / (end - begin)
                return between(poses[after - 1], poses[after], share)
        return _continued(stamps, poses, nearest, stamp_ns)

    def _clear(self, reason: str) -> None:
        self._stamps.clear()
        self._poses.clear()
        self.epoch += 1
        self.jump = reason

    def _jump_to(self, stamp_ns: int, pose: BodyPose) -> str:
        """Why this pose cannot follow the last one; '' if it can."""
        if not self._stamps:
            return ''
        elapsed_s = (stamp_ns - self._stamps[-1]) / NANOSECONDS
        moved_m = float(np.linalg.norm(pose.position - self._poses[-1].position))
        speed = self._speed()
        fastest = FASTEST_M_S if speed is None else ACCELERATING_M_S + FASTER * speed
        if moved_m > JUMP_M + fastest * elapsed_s:
            return f'its position jumped by {moved_m:.2f} m within {elapsed_s:.2f} s'
        turned = angle_between(self._poses[-1].quaternion, pose.quaternion)
        if turned > JUMP_RAD + FASTEST_RAD_S * elapsed_s:
            return f'its heading jumped by {turned:.2f} rad within {elapsed_s:.2f} s'
        return ''

    def _speed(self) -> float | None:
        """Metres per second over the last poses; None before it is known."""
        since = _earlier(self._stamps, len(self._stamps) - 1, VELOCITY_S)
        if since is None:
            return None
        elapsed_s = (self._stamps[-1] - self._stamps[since]) / NANOSECONDS
        moved = self._poses[-1].position - self._poses[since].position
        return float(np.linalg.norm(moved)) / elapsed_s


def _earlier(stamps: collections.deque[int] | list[int], index: int, span_s: float) -> int | None:
    """The newest pose at least `span_s` before that of `index`, or else the oldest before it."""
    for before in range(index - 1, -1, -1):
        if stamps[index] - stamps[before] >= span_s * NANOSECONDS:
            return before
    return 0 if index else None


def _continued(
    stamps: list[int], poses: list[BodyPose], nearest: int, stamp_ns: int
) -> BodyPose | float:
    """The nearest pose, continued at constant velocity; else how many seconds away it is.

    Where no velocity is known (a first message, or messages a second apart) a robot that drives
    would be taken for one that stands.
    """
    away_s = abs(stamp_ns - stamps[nearest]) / NANOSECONDS
    if stamp_ns > stamps[nearest]:
        other = _earlier(stamps, nearest, VELOCITY_S)
    else:
        other = nearest + 1 if nearest + 1 < len(stamps) else None
    if other is None or abs(stamps[nearest] - stamps[other]) > BETWEEN_S * NANOSECONDS:
        if away_s > STILL_S:
            return away_s
        return dataclasses.replace(poses[nearest], continued_s=away_s)
    share = (stamp_ns - stamps[other]) / (stamps[nearest] - stamps[other])
    made = between(poses[other], poses[nearest], share)
    return dataclasses.replace(made, continued_s=away_s)


# --- From the body to the lens.


def body_from_optical(
    mount: CameraMount, x_m: float, y_m: float, height_m: float, yaw_rad: float = 0.0
) -> np.ndarray:
    """Return (4, 4) float64: from the optical frame into the frame that the odometry moves.

    mount: gives pitch and roll. x_m ahead, y_m to the left, of the lens in that frame; yaw_rad: how
    far to the left of its x axis the camera looks.
    """
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    made = np.eye(4)
    made[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ mount.body_axes()
    made[:3, 3] = x_m, y_m, height_m
    return made


def camera_pose(
    body: BodyPose,
    lens: np.ndarray,
    tilt: tuple[float, float] | None = None,
    yaw_rad: float = 0.0,
) -> np.ndarray | Refusal:
    """Return (4, 4) float64: from the optical into the fixed frame.

    lens: (4, 4), from the optical frame into the body's. tilt: roll (right side down) and pitch
    (nose down) of the body by an Imu, rad: then only the heading of `body` counts, since odometry
    of wheels knows no tilt. yaw_rad: how far to the left of the Imu's x axis that of `body` points.
    """
    made = body.matrix() @ lens
    if tilt is not None:
        turn = yaw_matrix(yaw_rad)
        made = body.levelled() @ turn.T @ tilt_matrix(*tilt) @ turn @ lens
    return made if np.isfinite(made).all() else Refusal('the pose of the camera is not finite')


def yaw_matrix(yaw_rad: float) -> np.ndarray:
    """Return (4, 4) float64: from a frame that looks to the left of another into that one."""
    cos, sin = math.cos(yaw_rad), math.sin(yaw_rad)
    made = np.eye(4)
    made[:2, :2] = [[cos, -sin], [sin, cos]]
    return made


def tilt_matrix(roll_rad: float, pitch_rad: float) -> np.ndarray:
    """Return (4, 4) float64: from a tilted body into a level one of the same heading (REP 103)."""
    cr, sr = math.cos(roll_rad), math.sin(roll_rad)
    cp, sp = math.cos(pitch_rad), math.sin(pitch_rad)
    made = np.eye(4)
    made[:3, :3] = [[cp, sp * sr, sp * cr], [0, cr, -sr], [-sp, cp * sr, cp * cr]]
    return made


def _numbers(values: np.ndarray) -> str:
    return f'({", ".join(f"{value:g}" for value in values)})'
