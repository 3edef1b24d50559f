"""Scale of a network that gives metres itself, and whether measurements confirm it.

Such a network has learned how large things are. Among things like those it learned from that is
close; elsewhere all its metres are wrong by a factor, and nothing in the picture shows it. So they
are compared with what is measured: the floor that a known mount gives, or a range sensor.

Where the mount is not known, the floor in these metres gives it: height, pitch and roll. That
confirms nothing, since the height is as wrong as they are.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.fitting import Grid
from midas_depth_ros.geometry.ground_plane import fit_ground_plane, floor_mask
from midas_depth_ros.geometry.mount import (
    CameraMount,
    MountError,
    MountEstimate,
    estimate_mount,
    median_estimate,
)
from midas_depth_ros.geometry.reference import ReferencePoints, fit_reference
from midas_depth_ros.geometry.scale import Refusal, ScaleFilter, ScaleShift
from midas_depth_ros.options.metric import ScaleOptions, ScanOptions

UNCALIBRATED = (
    'the camera is not calibrated: no camera_info that fits its pictures, and no horizontal_fov'
)
LEAST_OFF = 0.03  # share: no comparison is more exact than the mount or the sensor it rests on
PARTS = 6  # of the floor in view, from near to far, each compared by itself
COMPARED, LEAST_OF_A_PART = 5000, 8  # pixels of the picture, and of a part of its floor
HEIGHT_STEP = 0.01  # a floor that moves by less than this share, or by less than this angle, has
ANGLE_STEP_RAD = 0.004  # not moved: pixels are assigned to beams once for a mount


def model_scale(
    camera: CameraModel | None, *, reference_px: float | None = None, far_end: float = -math.inf
) -> ScaleShift | Refusal:
    """Return the scale of d that is 1/metres already: 1, or by the camera's focal length.

    camera: of a picture of the network's input size. reference_px: the focal length for which the
    metres hold, in pixels of that size: metres = output * f / reference; of two different focal
    lengths f is the mean. None: they hold for every camera, and `camera` may be None.
    """
    if reference_px is None:
        return ScaleShift(1.0, 0.0, 'model', far_end=far_end)
    if camera is None:
        return Refusal(
            f"the model's metres depend on the focal length (they hold for {reference_px:g} "
            f'pixels), and {UNCALIBRATED}'
        )
    scale = reference_px / (0.5 * (camera.fx + camera.fy))
    return ScaleShift(scale, 0.0, 'model', far_end=far_end)


# --- Compared with what is measured.


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The depth that a network says, as a multiple of the measured depth.

    ratio: where it deviates most; middle: of all that was compared. against: 'the floor' or 'the
    reference'.
    """

    ratio: float
    middle: float
    against: str

    def within(self, tolerance: float) -> bool:
        """Whether they agree: to within this share, as a factor either way."""
        return 1 / (1 + tolerance) <= self.ratio <= 1 + tolerance


def compare_with_floor(
    d: np.ndarray,
    grid: Grid,
    mount: CameraMount,
    scale: ScaleShift,
    within_m: float = ScanOptions.range_max,
) -> Comparison | Refusal:
    """Compare the metres of a network with those of the floor in view, or say why it cannot be.

    d, grid: as of `fit_ground_plane`, which finds the floor. mount: measured, not estimated. The
    floor up to `within_m` is compared in parts, from near to far: one factor would hide that the
    near is too far and the far too near.
    """
    fit = fit_ground_plane(d, grid, mount)
    if isinstance(fit, Refusal):
        return fit
    step = max(1, math.isqrt(d.size // COMPARED))
    d, grid = d[::step, ::step], (grid[0][::step, ::step], grid[1][::step, ::step])
    ground = mount.ground_inverse_depth(grid)
    floor = floor_mask(d, grid, mount, fit) & (d > scale.far_end)
    if np.count_nonzero(floor & (ground > 1 / within_m)) >= PARTS * LEAST_OF_A_PART:
        floor &= ground > 1 / within_m
    inverse, ground = scale.inverse_depth(d)[floor], ground[floor]
    inverse, ground = inverse[inverse > 0], ground[inverse > 0]
    if len(ground) < PARTS * LEAST_OF_A_PART:
        return Refusal('too little floor is in view to compare with')
    ratios = ground / inverse
    parts = np.array_split(ratios[np.argsort(ground)], PARTS)
    worst = max((float(np.median(part)) for part in parts), key=lambda ratio: abs(math.log(ratio)))
    return Comparison(worst, float(np.median(ratios)), 'the floor')


def compare_with_points(
    d: np.ndarray, points: ReferencePoints, scale: ScaleShift
) -> Comparison | Refusal:
    """Compare the metres of a network with those of a reference sensor, one reading or many.

    d, points: as of `fit_reference`.
    """
    fit = fit_reference(np.where(d > scale.far_end, d, np.nan), points, fixed_shift=0.0)
    if isinstance(fit, Refusal):
        return fit
    ratio = fit.scale / scale.scale
    return Comparison(ratio, ratio, 'the reference')


def off_by(scale: ScaleShift, share: float) -> ScaleShift:
    """Return the scale with the covariance of one that is off by a share (1 sigma)."""
    pair = scale.scale * scale.scale, scale.scale * scale.shift, scale.shift * scale.shift
    by_scale, both, by_shift = (share * share * each for each in pair)
    return dataclasses.replace(scale, covariance=(by_scale, both, by_shift))


class ModelScale:
    """The judgement on a network's metres, frame by frame, for one camera.

    `check` says how it went, for diagnostics; `comparison`: the last one, None without; `refuted`:
    why the metres are wrong, until a comparison agrees; else ''.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera."""
        self.check = 'none yet'
        self.comparison: Comparison | None = None
        self.refuted = ''

    def judged(
        self,
        scale: ScaleShift,
        found: Comparison | Refusal | None,
        tolerance: float = ScaleOptions.check_tolerance,
    ) -> ScaleShift | Refusal:
        """Return the scale where a measurement confirms it, or nothing is there to measure by.

        Its covariance is that of what the comparison found it off by, or of the tolerance.

        found: this frame's comparison, or why there is none; None: nothing to compare with.
        """
        if found is None:
            self.reset()
            self.check = 'unverified: nothing to compare with'
            return off_by(scale, tolerance)
        if isinstance(found, Refusal):
            self.check = self.refuted or f'not possible: {found.reason}'
            return Refusal(self.refuted or f"the model's metres cannot be checked: {found.reason}")
        self.comparison = found
        times = f'{found.ratio:.2f} times the depth of {found.against}'
        if found.within(tolerance):
            self.refuted, self.check = '', f'agrees: {times}'
            return off_by(scale, max(abs(math.log(found.ratio)), LEAST_OFF))
        self.refuted = (
            f"the model's metres are wrong here: {times}, and a factor of {1 + tolerance:g} is "
            'allowed (scale.check_tolerance); it may not know such places, or the mount is wrong'
        )
        self.check = self.refuted
        return Refusal(self.refuted)

    def height_in_metres(self, mount: CameraMount) -> CameraMount:
        """Return a measured mount as the network's metres show it.

        Its floor is as much too far as everything, or too near: by the true height all of it would
        count as a drop, or as an obstacle.
        """
        if self.comparison is None:
            return mount
        steps = round(math.log(self.comparison.middle) / HEIGHT_STEP)
        return dataclasses.replace(mount, height_m=mount.height_m * math.exp(steps * HEIGHT_STEP))


# --- The floor in these metres, where the mount is unknown.

FRAMES = 15  # over which the mount is the median
LEAST_FRAMES = 3
PITCH_RAD = (-0.35, 1.0)  # a plane seen steeper is a wall
HEIGHT_M = (0.03, 10.0)
# Of the frames, this share must agree with the median to within an angle and a share of the height.
LEAST_AGREEING, STRAY_RAD, STRAY_HEIGHT = 0.67, math.radians(1.5), 0.1
MOST_OFF = 0.1  # of the depth by the floor's own fit: else it is not the floor of these metres


def mount_in_view(d: np.ndarray, grid: Grid, scale: ScaleShift) -> CameraMount | Refusal:
    """Return the mount that the floor in one frame shows, or why there is none.

    The plane is then judged as the floor of a known mount is: `fit_ground_plane` has to find it.
    """
    found = estimate_mount(np.where(d > scale.far_end, d, np.nan), grid, scale)
    if isinstance(found, Refusal):
        return found
    if not (HEIGHT_M[0] < found.height_m < HEIGHT_M[1]):
        return Refusal(f'the floor would be {found.height_m:.2f} m below the camera')
    if not (PITCH_RAD[0] < found.pitch_rad < PITCH_RAD[1]):
        return Refusal(
            f'the camera would look down by {found.pitch_rad:.2f} rad: a wall rather than a floor'
        )
    try:
        mount = CameraMount(found.height_m, found.pitch_rad, found.roll_rad)
    except MountError as error:
        return Refusal(str(error))
    fit = fit_ground_plane(d, grid, mount)
    if isinstance(fit, Refusal):
        return fit
    if ScaleFilter.jump_between(scale, fit) > MOST_OFF:
        return Refusal('the plane below the camera is not a floor in these metres')
    return mount


class FloorInView:
    """The mount of a camera by the floor in its pictures, steady over several frames."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera."""
        self._seen: collections.deque[MountEstimate] = collections.deque(maxlen=FRAMES)
        self._mount: CameraMount | None = None
        self._seen_s = -math.inf

    def update(
        self, stamp_s: float, found: CameraMount | Refusal, expiry_s: float = ScaleOptions.expiry
    ) -> CameraMount | Refusal:
        """Return the mount for this frame, of which `found` is what it shows, or why there is none.

        A mount holds for `expiry_s` after the last frame that showed a floor.
        """
        if not 0 <= stamp_s - self._seen_s <= expiry_s:
            self.reset()
        if isinstance(found, Refusal):
            return self._mount or Refusal(f'no floor in view: {found.reason}')
        self._seen_s = stamp_s
        self._seen.append(MountEstimate(found.pitch_rad, found.roll_rad, found.height_m))
        if len(self._seen) < LEAST_FRAMES:
            return Refusal(f'the floor is in view since {len(self._seen)} of {LEAST_FRAMES} frames')
        middle = median_estimate(list(self._seen))[0]
        agreeing = sum(not _moved(each, middle, STRAY_RAD, STRAY_HEIGHT) for each in self._seen)
        if agreeing < LEAST_AGREEING * len(self._seen):
            self._mount = None
            return Refusal('the floor in view changes from frame to frame')
        if self._mount is None or _moved(self._mount, middle, ANGLE_STEP_RAD, HEIGHT_STEP):
            self._mount = CameraMount(middle.height_m, middle.pitch_rad, middle.roll_rad)
        return self._mount


def _moved(
    mount: CameraMount | MountEstimate, now: MountEstimate, angle_rad: float, height: float
) -> bool:
    turned = max(abs(now.pitch_rad - mount.pitch_rad), abs(now.roll_rad - mount.roll_rad))
    return turned > angle_rad or abs(now.height_m / mount.height_m - 1) > height
