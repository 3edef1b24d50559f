"""How a camera is mounted, found by driving: where the picture flows from is where the robot goes.

In: pictures with the poses that odometry gives a camera of an assumed pitch. Out: its pitch, yaw
and roll against the way, and its height by the metres of the same motion. No ruler, no long hall.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.camera_model import CameraModel
from midas_depth_ros.geometry.fitting import Grid
from midas_depth_ros.geometry.motion import MotionReset
from midas_depth_ros.geometry.mount import MountEstimate, estimate_mount, median_estimate
from midas_depth_ros.geometry.parallax import Heading, ParallaxScale
from midas_depth_ros.geometry.scale import Refusal, ScaleShift
from midas_depth_ros.options.metric import OdometryOptions

# Odometry whose direction is far from that of the pictures is refused, so a camera of unknown pitch
# is tried with several, radians: with the next one where none of the pictures on so much way gives
# metres. What is assumed draws the result a little towards itself: from farther off than
# SETTLED_RAD it is found anew, from there.
TRIED_RAD = (0.15, -0.2, 0.5, 0.85)
TRIED_M = 0.25
SETTLED_RAD = 0.06
UNKNOWN_SIGMA_RAD = math.radians(9.0)  # of the direction of a camera whose mount is sought
ENOUGH_M, ENOUGH_RAD = 0.5, math.radians(0.4)  # way and certainty after which it is known
DRIVES_M = 0.03  # moved by more than this: the robot does not stand
LEAST_FLOORS = 5  # frames with a floor in view whose height is believed
SIGMAS, LEAST_RAD = 3.0, math.radians(1.0)  # how far apart two pitches are, to be a contradiction


@dataclasses.dataclass(frozen=True)
class DrivenEstimate:
    """heading: by the focus of expansion. floor: by the floor in view in the metres of the motion,
    with its deviations between frames, or None. way_m: how far the robot has driven.
    """

    heading: Heading
    floor: tuple[MountEstimate, MountEstimate] | None
    way_m: float

    @property
    def contradiction(self) -> str:
        """Why the floor in view is not used; '' if it agrees with the way."""
        if self.floor is None:
            return 'no floor was in view'
        middle, stray = self.floor
        off = middle.pitch_rad - self.heading.pitch_rad
        sigma = math.hypot(self.heading.sigma_rad, stray.pitch_rad)
        if abs(off) <= max(SIGMAS * sigma, LEAST_RAD):
            return ''
        return (
            f'the floor in view would say {middle.pitch_rad:.4f} (a ramp, or depth that is not '
            'even enough)'
        )


def pitch_contradiction(heading: Heading, pitch_rad: float) -> str:
    """Return why a camera cannot have this pitch, by the way it drives; '' if it can."""
    off = heading.pitch_rad - pitch_rad
    if abs(off) <= max(SIGMAS * heading.sigma_rad, LEAST_RAD):
        return ''
    return (
        f'camera_pitch is wrong, or the robot leans: by the way it drives the camera looks down by '
        f'{heading.pitch_rad:.3f} rad (+- {heading.sigma_rad:.3f}), not {pitch_rad:.3f}: call '
        '~/calibrate_pitch while it drives on flat floor'
    )


class DrivenMount:
    """Gathers what the frames of a drive say of one camera's mount.

    `assumed_pitch_rad`: the pitch that the poses have to be computed with. `reason`: why nothing is
    known yet.
    """

    def __init__(self, pitch_rad: float = math.nan, options: OdometryOptions | None = None) -> None:
        """pitch_rad: what the camera's pitch is thought to be; NaN = unknown."""
        self._parallax = ParallaxScale(options, UNKNOWN_SIGMA_RAD)
        known = () if math.isnan(pitch_rad) else (pitch_rad,)
        self._untried = [*known, *TRIED_RAD]
        self.assumed_pitch_rad = self._untried.pop(0)
        self._way_m = self._tried_m = 0.0
        self._last: np.ndarray | None = None
        self._before: Heading | None = None  # by an earlier assumption
        self._floors: list[MountEstimate] = []
        self._measures = False  # with this assumption
        self.reason = 'the robot has not moved'

    @property
    def drives(self) -> bool:
        """Whether the robot has moved."""
        return self._way_m > DRIVES_M

    @property
    def done(self) -> bool:
        """Whether enough was seen."""
        heading = self._parallax.heading
        return heading is not None and heading.sigma_rad < ENOUGH_RAD and self._tried_m >= ENOUGH_M

    def add(
        self, stamp_s: float, grey: np.ndarray, d: np.ndarray, grid: Grid, camera: CameraModel,
        pose: np.ndarray | Refusal,
    ) -> None:  # fmt: skip
        """Use one frame; arguments as of `ParallaxScale.update` and `estimate_mount`."""
        if isinstance(pose, MotionReset):
            self.forget_motion(pose)
            return
        if isinstance(pose, Refusal):
            self.reason = pose.reason
            self._last = None
            return
        if self._last is not None:
            way_m = float(np.linalg.norm(pose[:3, 3] - self._last[:3, 3]))
            self._way_m, self._tried_m = self._way_m + way_m, self._tried_m + way_m
        self._last = np.array(pose)
        scale = self._parallax.update(stamp_s, grey, d, camera, pose)
        if isinstance(scale, ScaleShift):
            self._measures = True
            seen = estimate_mount(d, grid, scale)
            if isinstance(seen, MountEstimate):
                self._floors.append(seen)
        else:
            self.reason = scale.reason
        heading = self._parallax.heading
        if heading is None:
            if self._tried_m >= TRIED_M and not self._measures:
                self._begin(self._untried.pop(0) if self._untried else TRIED_RAD[0])
        elif heading.sigma_rad < ENOUGH_RAD and self._off(heading) > SETTLED_RAD:
            self._begin(heading.pitch_rad)

    def forget_motion(self, why: MotionReset) -> None:
        """Odometry began anew: what it said before and what it says now are no way."""
        self.reason = why.reason
        self._last = None
        self._parallax.reset()

    def _off(self, heading: Heading) -> float:
        """How far the result is from what was assumed, radians."""
        return abs(heading.pitch_rad - self.assumed_pitch_rad)

    def _begin(self, pitch_rad: float) -> None:
        """Begin anew with another assumption."""
        self._before = self._parallax.heading or self._before
        self._parallax.reset()
        self.assumed_pitch_rad, self._tried_m = pitch_rad, 0.0
        self._floors, self._measures = [], False

    def estimate(self) -> DrivenEstimate | Refusal:
        """Return what is known by now, or why nothing is."""
        heading = self._parallax.heading or self._before
        if heading is None:
            return Refusal(self.reason)
        sigma_rad = math.hypot(heading.sigma_rad, max(0.0, self._off(heading) - SETTLED_RAD))
        heading = dataclasses.replace(heading, sigma_rad=sigma_rad)
        floor = median_estimate(self._floors) if len(self._floors) >= LEAST_FLOORS else None
        return DrivenEstimate(heading, floor, self._way_m)
