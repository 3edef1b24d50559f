"""Scale and shift from the robot's own motion: corners tracked, triangulated, and fitted.

In: every picture, how its camera was placed (odometry), and the relative inverse depth in it. Out:
scale and shift with their covariance, or the reason why there are none.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from midas_depth_ros.geometry.anchors import Anchors, Unsure, fit_anchors
from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.carried import CarriedScale
from midas_depth_ros.geometry.fitting import median
from midas_depth_ros.geometry.heading import (
    FocalFilter,
    Heading,
    HeadingFilter,
    Views,
)
from midas_depth_ros.geometry.lower_corners import Corners
from midas_depth_ros.geometry.recent_motion import SETTLE_S, RecentMotion
from midas_depth_ros.geometry.scale import Refusal, ScaleShift, less_certain
from midas_depth_ros.geometry.tracking import PointTracks, ReducedCamera, at_points
from midas_depth_ros.geometry.two_views import (
    DIRECTION_SIGMA_RAD,
    ViewPair,
    corrected_motion,
    inverse_depths,
)
from midas_depth_ros.options.metric import OdometryOptions, ScaleOptions

__all__ = ['Heading', 'ParallaxScale']

MIN_CORNERS = 16  # followed between two views
PAIRS = 2  # earlier views that are compared with each picture
STANDS_S, STANDS_M = 1.0, 0.01  # moved less than this in this time: the robot stands
TURNS_RAD = math.radians(3.0)
# Least turn and corners that say something of the focal length.
FOCAL_TURN_RAD, FOCAL_CORNERS = math.radians(1.0), 40
CARRIED_FOCAL = 0.01  # a change of the focal length that carried metres do not survive
JUMP_M_S, JUMP_M = 45.0, 0.3  # a pose that moves faster, and farther, has jumped
PAUSE_S = 3.0  # between pictures: no corner is followed over it
# Odometry and pictures contradict each other beyond these.
MAX_ASIDE_RAD, MAX_TURNED_SIGMAS = math.radians(12.0), 5.0
# What is believed of a turn by odometry: of each picture, of its stamp while turning, and a share
# of the turn.
TURN_SIGMA_RAD, STAMP_SIGMA_S, TURN_SIGMA_SHARE = math.radians(0.1), 0.015, 0.02
MAX_DEVIATION_PX = 0.9
MIN_VOTES = 0.5  # share of the corners that move as a still scene does
AGREE_SIGMAS = 3.0  # between two views, of the 1/Z of one corner
MAX_DISAGREE = 0.15  # of the 1/Z of all corners between two views
SEEN_SIGMAS, MIN_SEEN = 4.0, 8  # corners whose parallax is seen
SLIP_M = 0.0015  # by which a way is wrong at least,
SLIP_SHARE = 0.02  # and as a share of it
# A fit that is refused for its few or alike corners is the more easily that of something which
# moves, or of one object's own error: by such a share it may be off besides.
WITNESS_SHARE = 0.05
SOME_PIXELS = 2000
WAY_SHARE = 0.15  # of the distance: a longer way tells little more, and corners drift


class _Pair(NamedTuple):
    """An earlier view beside this one: which points are common (n,) bool, their rays there and
    here and their certainty; the motion by odometry (4, 4), and corrected.
    """

    common: np.ndarray
    views: Views
    turn_rad: float
    corrected: ViewPair


@dataclasses.dataclass(frozen=True)
class _View:
    """A picture: when and from where it was taken; by how much it may be turned otherwise, rad."""

    stamp_s: float
    pose: np.ndarray
    turn_sigma_rad: float


class _Slipped(Refusal):
    """The pictures have not moved all the way as odometry says."""


class ParallaxScale:
    """The scale of one camera by its motion, frame by frame.

    `corners`: those of the last frame whose distance is measured; None without any.
    """

    def __init__(
        self,
        options: OdometryOptions | None = None,
        direction_sigma_rad: float = DIRECTION_SIGMA_RAD,
    ) -> None:
        """direction_sigma_rad: how far the camera may look beside its mount."""
        self.options = options or OdometryOptions()
        self._direction_sigma_rad = direction_sigma_rad
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""
        self._heading = HeadingFilter()
        self._focal, self._carried_focal = FocalFilter(), 1.0
        self._camera: CameraModel | None = None
        self._doubted_s = self._slipped_s = -math.inf
        self.corners: Corners | None = None
        self._values: dict[str, str] = {}
        self._restart()

    def _restart(self) -> None:
        """Forget all that was seen, but not how the camera is mounted."""
        blind = None if self._camera is None else self._rays.blind
        self._tracks: PointTracks[_View] = PointTracks(blind)
        self._path: collections.deque[_View] = collections.deque()
        self._recent = RecentMotion()
        self._carried = CarriedScale()
        self._focal_from: _View | None = None

    @property
    def heading(self) -> Heading | None:
        """How the camera is placed against its motion; None until it has driven."""
        return self._heading.value

    def update(
        self,
        stamp_s: float,
        grey: np.ndarray,
        d: np.ndarray,
        camera: CameraModel,
        pose: np.ndarray | Refusal,
        shape: str = ScaleOptions.shape,
    ) -> ScaleShift | Refusal:
        """Return scale and shift of one frame, or why the motion does not give them.

        grey: (H, W) uint8. d: (h, w) float32 relative inverse depth, NaN unknown. camera: of
        pictures of the size of `grey`. pose: (4, 4) float64, from the optical frame into a fixed
        one, at the stamp of the picture; or why it is unknown. shape: `scale.shape`. Never raises
        for what these say; what is not valid is refused with its reason.
        """
        self._values, self.corners = {}, None
        try:
            answer = self._update(stamp_s, grey, d, camera, pose, shape)
        except (np.linalg.LinAlgError, cv2.error) as error:
            self._restart()
            answer = Refusal(f'the motion of the pictures has no solution: {error}')
        self._values['odometry scale'] = answer.reason if isinstance(answer, Refusal) else 'valid'
        return answer

    def values(self) -> dict[str, str]:
        """What there is to know of the last frame, for diagnostics."""
        heading = self.heading
        values = dict(self._values)
        if not math.isnan(self._focal.estimate):
            values['focal length by motion'] = (
                f'{self._focal.estimate:.3f} +- {self._focal.sigma:.3f} of the calibrated one'
                + (', corrected' if self._focal.factor != 1 else '')
            )
        if heading is None:
            return values
        return values | {
            'camera pitch by motion': f'{heading.pitch_rad:.4f}',
            'camera yaw by motion': f'{heading.yaw_rad:.4f}',
            'camera roll by motion': ''
            if math.isnan(heading.roll_rad)
            else f'{heading.roll_rad:.4f}',
            'sigma of pitch by motion': f'{heading.sigma_rad:.4f}',
        }

    def _update(
        self, stamp_s: float, grey: np.ndarray, d: np.ndarray, camera: CameraModel,
        pose: np.ndarray | Refusal, shape: str,
    ) -> ScaleShift | Refusal:  # fmt: skip
        unusable = _unusable(stamp_s, grey, d, camera)
        if unusable:
            self._restart()
            return Refusal(unusable)
        if isinstance(pose, Refusal):
            return pose
        place = np.array(pose, np.float64)
        if not _rigid(place):
            self._restart()
            return Refusal('the pose by odometry is not a rigid transform of finite numbers')
        if not self._is_same(camera):
            self._camera, self._rays = camera, ReducedCamera(camera)
            self._focal, self._carried_focal = FocalFilter(), 1.0
            self._restart()
        restart = self._gap(stamp_s, place)
        if restart:
            self._restart()
        here = _View(stamp_s, place, self._turn_sigma(stamp_s, place))
        self._path.append(here)
        while self._path[0].stamp_s < stamp_s - STANDS_S - 1e-6 and len(self._path) > 2:
            self._path.popleft()
        small = cv2.resize(grey, self._rays.size, interpolation=cv2.INTER_AREA)
        self._tracks.update(small, self._expected(here))
        self._recent.add(stamp_s, place, self._tracks.numbers, self._tracks.here)
        answer = self._scale(here, d, shape)
        doubted_s = self._doubted_s
        if isinstance(answer, _Slipped):
            self._doubted_s = stamp_s
        if isinstance(answer, _Slipped) and 0 <= stamp_s - doubted_s < SETTLE_S:
            # Twice is no chance: all that was seen before is as wrong.
            self._slipped_s = stamp_s
            self._restart()
            self._path.append(here)
            self._tracks.update(small)
            self._recent.add(stamp_s, place, self._tracks.numbers, self._tracks.here)
        elif isinstance(answer, ScaleShift) and 0 <= stamp_s - self._slipped_s < SETTLE_S:
            ago_s = stamp_s - self._slipped_s
            answer = Refusal(f'wheels slipped {ago_s:.1f} s ago: {SETTLE_S:g} s without are needed')
        if self._tracks.step_due:
            self._tracks.step(here)
            self._recent.renew(self._tracks.numbers, self._tracks.here)
        return Refusal(restart) if restart else answer

    def _is_same(self, camera: CameraModel) -> bool:
        """Whether the camera is that of before: one that focuses corrects its calibration a little
        with every picture.
        """
        before = self._camera
        return camera == before or (
            before is not None
            and (camera.width, camera.height) == (before.width, before.height)
            and camera.sees_as(before)
        )

    def _gap(self, stamp_s: float, pose: np.ndarray) -> str:
        """Why nothing seen before can be used, '' where it can."""
        if not self._path:
            return ''
        last = self._path[-1]
        elapsed = stamp_s - last.stamp_s
        if elapsed <= 0:
            return f'the stamp went back by {-elapsed:.3f} s'
        if elapsed > PAUSE_S:
            return f'{elapsed:.1f} s without a picture'
        moved = float(np.linalg.norm(pose[:3, 3] - last.pose[:3, 3]))
        if moved > max(JUMP_M, JUMP_M_S * elapsed):
            return f'the pose by odometry jumped by {moved:.2f} m in {elapsed:.3f} s'
        return ''

    def _turn_sigma(self, stamp_s: float, pose: np.ndarray) -> float:
        """By how much a picture may be turned otherwise than odometry says, rad: it may be late."""
        if not self._path:
            return TURN_SIGMA_RAD
        last = self._path[-1]
        rate = _angle(_motion(last.pose, pose)) / (stamp_s - last.stamp_s)
        return math.hypot(TURN_SIGMA_RAD, STAMP_SIGMA_S * rate)

    def _expected(self, here: _View) -> np.ndarray | None:
        """Where the corners are by odometry and their last 1/Z, (n, 2) in the reduced picture."""
        tracks = self._tracks
        if not tracks.labels or not len(tracks.here):
            return None
        motion = _motion(tracks.labels[-1].pose, here.pose)
        known = np.isfinite(tracks.notes)
        if not known.any():
            return None
        inverse = np.where(known, tracks.notes, median(tracks.notes[known]))
        rays = self._rays.at(tracks.seen[-1])
        moved = rays @ motion[:3, :3].T + inverse[:, None] * motion[:3, 3]
        there = self._rays.pixels(rays, moved, tracks.seen[-1])
        return np.where(np.isfinite(there), there, tracks.here).astype(np.float32)

    def _scale(self, here: _View, d: np.ndarray, shape: str) -> ScaleShift | Refusal:
        tracks = self._tracks
        self._values['corners'] = str(len(tracks.here))
        if not tracks.labels:
            return Refusal('this is the first picture: nothing has moved yet')
        standing = self._standing(here)
        chosen = self._chosen(here)
        if standing or not chosen:
            return Refusal(standing or self._too_short(here))
        if self._focal.learn():  # by earlier pictures: nothing of this one is by another
            self._correct_focal()
        rays = self._rays.at(tracks.here)
        pairs = [self._pair(index, here, rays) for index in chosen]
        wrong = [self._contradiction(pair.corrected) for pair in pairs]
        if all(wrong):
            return Refusal(wrong[0])
        pairs = [pair for pair, why in zip(pairs, wrong, strict=True) if not why]
        inverse, sigma, together = _combined(pairs, len(rays), self._rays.focal_px)
        tracks.notes = np.where(np.isfinite(sigma), inverse, tracks.notes)
        if tracks.step_due:
            for pair in pairs:
                self._heading.update(pair.corrected)
            self._learn_focal(here, rays)
        if self._focal.doubt:
            return Refusal(self._focal.doubt)
        way = float(np.linalg.norm(pairs[0].corrected.way))
        known = np.isfinite(sigma)
        slipped = self._recent.contradiction(
            known, inverse, way, self._rays.focal_px, self._rays.at
        )
        if slipped:
            return _Slipped(slipped)
        slip = math.hypot(SLIP_SHARE, SLIP_M / way, together)
        self.corners = Corners(rays, inverse, sigma, slip)
        fit = self._fitted(inverse, sigma, d, way, slip, shape)
        if isinstance(fit, Refusal) and not isinstance(fit, Unsure):
            return fit
        turns = math.hypot(TURN_SIGMA_SHARE, self._focal.uncertain) * pairs[0].turn_rad
        lens = together * turns / pairs[0].corrected.turn_sigma_rad
        return self._carried.averaged(fit, d, here.pose, self._rays, lens)

    def _standing(self, here: _View) -> str:
        """Why the robot cannot be said to drive, '' while it does."""
        oldest = self._path[0]
        span = here.stamp_s - oldest.stamp_s
        if span < 0.7 * STANDS_S:
            return ''
        moved = max(float(np.linalg.norm(v.pose[:3, 3] - here.pose[:3, 3])) for v in self._path)
        if moved >= STANDS_M:
            return ''
        turned = _angle(_motion(oldest.pose, here.pose))
        what = 'the robot turns on the spot' if turned > TURNS_RAD else 'the robot stands'
        return f'{what}: the camera moved {moved:.3f} m in the last {span:.1f} s'

    def _too_short(self, here: _View) -> str:
        way = max(
            float(np.linalg.norm(label.pose[:3, 3] - here.pose[:3, 3]))
            for label in self._tracks.labels
        )
        if way < self.options.min_baseline:
            turned = _angle(_motion(self._tracks.labels[0].pose, here.pose))
            if way < STANDS_M and turned > TURNS_RAD:
                degrees = math.degrees(turned)
                return f'the robot turns on the spot: {degrees:.0f} degrees on {way:.3f} m'
            return (
                f'the camera has moved {way:.3f} m since the earliest picture that is kept: '
                f'{self.options.min_baseline:g} m are needed (odometry.min_baseline)'
            )
        return (
            f'only {len(self._tracks.here)} corners are followed over enough way, {MIN_CORNERS} '
            'are needed'
        )

    def _chosen(self, here: _View) -> list[int]:
        """The steps to compare this picture with, the most telling first."""
        tracks = self._tracks
        known = tracks.notes[np.isfinite(tracks.notes)]
        level = max(median(known), 0.01) if len(known) else 1.0
        places = np.stack([label.pose[:3, 3] for label in tracks.labels])
        way = np.sqrt(((places - here.pose[:3, 3]) ** 2).sum(axis=1))
        common = np.isfinite(tracks.seen[:, :, 0]).sum(axis=1)
        moved = way * (level / WAY_SHARE)
        value = common * (moved / (1 + moved * moved)) ** 2
        value[(way < self.options.min_baseline) | (common < MIN_CORNERS)] = 0
        order = np.argsort(-value, kind='stable')[:PAIRS]
        return [int(index) for index in order if value[index] > 0]

    def _pair(self, index: int, here: _View, rays: np.ndarray) -> _Pair:
        """A step beside this picture, whose corners have these rays (n, 3)."""
        seen, label = self._tracks.seen[index], self._tracks.labels[index]
        common = np.isfinite(seen[:, 0])
        views = self._rays.at(seen[common]), rays[common], self._tracks.certainty[common]
        motion, turn_sigma = _between(label, here)
        turn_sigma = math.hypot(turn_sigma, self._focal.uncertain * _angle(motion))
        focal_px = self._rays.focal_px
        corrected = corrected_motion(
            *views, motion, turn_sigma, focal_px, self._direction_sigma_rad
        )
        return _Pair(common, views, _angle(motion), corrected)

    def _contradiction(self, pair: ViewPair) -> str:
        """Why the pictures do not move as odometry says, '' if they do."""
        aside = float(np.hypot(*pair.aside))
        turned = float(np.linalg.norm(pair.turned))
        share = float(pair.votes.mean())
        way = float(np.linalg.norm(pair.way))
        self._values |= {
            'baseline': f'{way:.3f} m',
            'direction error': f'{math.degrees(aside):.1f} deg',
            'turn error': f'{math.degrees(turned):.2f} deg',
            'epipolar deviation': f'{pair.deviation_px:.2f} px',
            'corners that agree': f'{share:.0%}',
        }
        if share < MIN_VOTES or pair.deviation_px > MAX_DEVIATION_PX:
            return (
                f'the pictures move otherwise than odometry says: only {share:.0%} of the corners '
                f'agree with a way of {way:.2f} m, to {pair.deviation_px:.1f} pixels'
            )
        if aside > MAX_ASIDE_RAD:
            return (
                f'the pictures move otherwise than odometry says: {math.degrees(aside):.0f} '
                f'degrees beside its direction on {way:.2f} m'
            )
        if turned > MAX_TURNED_SIGMAS * pair.turn_sigma_rad:
            return (
                f'the pictures turn otherwise than odometry says: by {math.degrees(turned):.1f} '
                f'degrees on {way:.2f} m'
            )
        return ''

    def _learn_focal(self, here: _View, rays: np.ndarray) -> None:
        """Keep the step from which the turn is best known: `learn` corrects a calibration by it."""
        tracks, best, most = self._tracks, None, 0.0
        for seen, label in zip(tracks.seen, tracks.labels, strict=True):
            if label is self._focal_from:
                continue  # whose own error would come again
            motion, sigma_rad = _between(label, here)
            turned, common = _angle(motion), np.isfinite(seen[:, 0])
            usable = turned >= FOCAL_TURN_RAD and np.count_nonzero(common) >= FOCAL_CORNERS
            if usable and turned / sigma_rad > most:
                best, most = (label, seen, common, motion, sigma_rad), turned / sigma_rad
        if best is None:
            return
        self._focal_from, seen, common, motion, sigma_rad = best
        views = self._rays.at(seen[common]), rays[common], tracks.certainty[common]
        self._focal.add(views, motion, sigma_rad, self._rays.focal_px)

    def _correct_focal(self) -> None:
        self._rays.correct(self._focal.factor)
        if abs(self._focal.factor / self._carried_focal - 1) > CARRIED_FOCAL:
            self._carried.reset()
            self._carried_focal = self._focal.factor

    def _fitted(
        self, inverse: np.ndarray, sigma: np.ndarray, d: np.ndarray, way: float, slip: float,
        shape: str,
    ) -> ScaleShift | Refusal:  # fmt: skip
        height, width = d.shape
        scale = np.array([width, height]) / np.array(self._rays.size)
        points = (self._tracks.here + 0.5) * scale - 0.5
        value, edge = _sampled(d, points)
        usable = np.isfinite(sigma) & np.isfinite(value)
        seen = int((inverse[usable] > SEEN_SIGMAS * sigma[usable]).sum())
        self._values['anchors'] = str(int(usable.sum()))
        self._values['anchors with parallax'] = str(seen)
        anchors = Anchors(
            value[usable], inverse[usable], sigma[usable], edge[usable],
            self._tracks.here[usable] / self._rays.size[0], _some(d),
        )  # fmt: skip
        fit = fit_anchors(anchors, shape)
        if seen < MIN_SEEN:
            return Refusal(
                f'too little parallax: {seen} of {int(usable.sum())} corners have moved measurably '
                f'on {way:.2f} m, {MIN_SEEN} are needed',
                _doubtful(fit if isinstance(fit, ScaleShift) else fit.witness, slip),
            )
        if isinstance(fit, Unsure) and fit.witness is not None:
            return Unsure(fit.reason, less_certain(fit.witness, slip))
        if isinstance(fit, Refusal):
            return Refusal(fit.reason, _doubtful(fit.witness, slip))
        self._values['residual'] = f'{fit.residual:.3f} 1/m'
        return less_certain(fit, slip)


def _doubtful(fit: ScaleShift | None, slip: float) -> ScaleShift | None:
    """A fit that gives no metres, as a witness."""
    return None if fit is None else less_certain(fit, math.hypot(slip, WITNESS_SHARE))


def _combined(
    pairs: list[_Pair], count: int, focal_px: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """1/Z of each of `count` corners by all pairs and its deviation (inf: unknown), (n,) both; by
    which share all of them may be off together.
    """
    weight, mean, square = np.zeros(count), np.zeros(count), np.zeros(count)
    least = np.full(count, math.inf)
    most_certain = math.inf
    for pair in pairs:
        inverse, sigma, together = inverse_depths(*pair.views, pair.corrected, focal_px)
        good = pair.corrected.votes > 0
        number = np.flatnonzero(pair.common)[good]
        most_certain = min(most_certain, together)
        inverse, sigma = inverse[good], sigma[good]
        share = 1 / (sigma**2 + (together * inverse) ** 2)
        weight[number] += share
        mean[number] += share * inverse
        square[number] += share * inverse**2
        least[number] = np.minimum(least[number], sigma)
    known = weight > 0
    weight[~known] = 1.0
    mean /= weight
    scatter = np.maximum(square - weight * mean * mean, 0)
    # The errors of one corner in all pairs are mostly those of this picture: not averaged out.
    sigma = np.maximum(0.8 * least, 1 / np.sqrt(weight))
    known &= (scatter < AGREE_SIGMAS**2) & (mean > -AGREE_SIGMAS * sigma)
    return mean, np.where(known, sigma, math.inf), most_certain


def _sampled(d: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """d at (n, 2) points, and how much it changes around them: from pixel to pixel, 3x3."""
    height, width = d.shape
    x, y = np.nan_to_num(points).astype(int).clip(0, (width - 2, height - 2)).T
    around = np.arange(-1, 3)[:, None]
    rows, columns = (y + around).clip(0, height - 1), (x + around).clip(0, width - 1)
    patch = d[rows[:, None], columns]  # (4, 4, n): of all pixels only these are needed
    with np.errstate(invalid='ignore'):  # where nothing is known, or infinite
        change = (_extreme(np.fmax, patch) - _extreme(np.fmin, patch)).astype(np.float64)
    a, b = points[:, 0] - x, points[:, 1] - y
    a, b = a.clip(0, 1), b.clip(0, 1)
    above, below = change[:, 0] * (1 - a) + change[:, 1] * a
    return at_points(d, points), above * (1 - b) + below * b


def _extreme(larger: Callable[..., np.ndarray], patch: np.ndarray) -> np.ndarray:
    """The largest (or smallest) of 3x3 around the inner of (h, w, n)."""
    lines = larger(larger(patch[:-2], patch[1:-1]), patch[2:])
    return larger(larger(lines[:, :-2], lines[:, 1:-1]), lines[:, 2:])


def _some(d: np.ndarray) -> np.ndarray:
    """About `SOME_PIXELS` of the known values of d, evenly from all over the picture, ascending."""
    step = max(1, math.isqrt(d.size // SOME_PIXELS))
    some = d[::step, ::step]
    known = np.sort(some[np.isfinite(some)])
    return known if known.size else d[np.isfinite(d)]


def _motion(there: np.ndarray, here: np.ndarray) -> np.ndarray:
    """The transform from the optical frame at `there` to the one at `here`, (4, 4)."""
    result = np.eye(4)
    result[:3, :3] = here[:3, :3].T @ there[:3, :3]
    result[:3, 3] = here[:3, :3].T @ (there[:3, 3] - here[:3, 3])
    return result


def _between(there: _View, here: _View) -> tuple[np.ndarray, float]:
    """The motion (4, 4) from one view to another by odometry, and by how much its turn is off."""
    motion = _motion(there.pose, here.pose)
    share = TURN_SIGMA_SHARE * _angle(motion)
    return motion, math.hypot(here.turn_sigma_rad, there.turn_sigma_rad, share)


def _angle(motion: np.ndarray) -> float:
    return math.acos(max(-1.0, min(1.0, 0.5 * (float(np.trace(motion[:3, :3])) - 1))))


def _rigid(pose: np.ndarray) -> bool:
    if pose.shape != (4, 4) or not np.isfinite(pose).all():
        return False
    axes = pose[:3, :3]
    return bool(np.abs(axes @ axes.T - np.eye(3)).max() < 1e-3 and cv2.determinant(axes) > 0)


def _unusable(stamp_s: float, grey: np.ndarray, d: np.ndarray, camera: CameraModel) -> str:
    """Why a frame cannot be used at all, '' if it can."""
    if not math.isfinite(stamp_s):
        return f'the stamp of the picture is {stamp_s}'
    if grey.ndim != 2 or grey.dtype != np.uint8 or min(grey.shape) < 48:
        return f'the picture is {grey.shape} {grey.dtype}: (H, W) uint8 of 48x48 or more is needed'
    if (camera.width, camera.height) != (grey.shape[1], grey.shape[0]):
        return (
            f'the picture is {grey.shape[1]}x{grey.shape[0]}, its calibration for '
            f'{camera.width}x{camera.height}'
        )
    if d.ndim != 2 or min(d.shape) < 2 or d.dtype.kind != 'f':
        return f'relative inverse depth is {d.shape} {d.dtype}: (h, w) float32 is needed'
    if not np.isfinite(d).any():
        return 'the depth has no valid values'
    return ''
