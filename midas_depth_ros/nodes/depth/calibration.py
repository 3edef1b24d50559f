"""~/calibrate_pitch: watches a flat floor for some frames and says how the camera is mounted."""

from __future__ import annotations

import collections
import math
import threading

from midas_depth_ros.geometry import (
    MetricFrame,
    MountEstimate,
    Refusal,
    estimate_mount,
    middle_of,
)
from midas_depth_ros.nodes.depth.camera_output import FrameView

FRAMES = 30
MOST_STRAY_RAD = math.radians(1.0)


class MountCalibration:
    """Collects the estimates of one camera while it runs. Filled by the worker, read elsewhere."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._estimates: list[MountEstimate] = []
        self._refusals: collections.Counter[str] = collections.Counter()
        self._frames = 0
        self.running = False

    def start(self) -> None:
        """Begin anew."""
        with self._lock:
            self._estimates, self._frames = [], 0
            self._refusals.clear()
            self.running = True

    def stop(self) -> None:
        """End, whatever was seen."""
        self.running = False

    @property
    def done(self) -> bool:
        """Whether enough frames were seen."""
        return self._frames >= FRAMES

    def add(self, view: FrameView, metric: MetricFrame | None) -> None:
        """Take one frame into account; nothing while not running."""
        if not self.running:
            return
        with self._lock:
            self._frames += 1
            estimate = self._estimate(view, metric)
            if isinstance(estimate, Refusal):
                self._refusals[estimate.reason] += 1
            else:
                self._estimates.append(estimate)

    @staticmethod
    def _estimate(view: FrameView, metric: MetricFrame | None) -> MountEstimate | Refusal:
        if view.frame.mixed:
            return Refusal(view.frame.mixed)
        if view.grid is None:
            return Refusal('the camera is not calibrated: no camera_info and no horizontal_fov')
        # The ground plane's own scale was made from the mount that is in question.
        reference = metric.scale if metric and metric.scale.source == 'reference' else None
        return estimate_mount(view.inverse_depth, view.grid, reference)

    def result(self) -> tuple[bool, str]:
        """Whether there is an answer, and the sentence that says it."""
        with self._lock:
            estimates, frames = list(self._estimates), self._frames
            refusal = next(iter(self._refusals.most_common(1)), ('no frame came', 0))[0]
        if len(estimates) < max(1, frames // 2):
            return False, f'{len(estimates)} of {frames} frames showed a floor: {refusal}'
        middle, stray = middle_of(estimates)
        if stray.pitch_rad > MOST_STRAY_RAD:
            return False, (
                f'pitch strays by {math.degrees(stray.pitch_rad):.1f} degrees between frames: '
                'keep the robot still on flat floor with a free view'
            )
        text = (
            f'camera_pitch: {middle.pitch_rad:.4f} (+- {stray.pitch_rad:.4f}), '
            f'camera_roll: {middle.roll_rad:.4f} (+- {stray.roll_rad:.4f})'
        )
        if math.isnan(middle.height_m):
            return True, (
                f'{text}; from {len(estimates)} frames, taking the farthest thing in view for '
                'infinitely far: look along the longest free way'
            )
        return True, f'{text}, camera_height: {middle.height_m:.3f}; from {len(estimates)} frames'
