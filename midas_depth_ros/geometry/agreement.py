"""Several sources of scale for one frame: one scale where they agree, else silence.

Sources fail differently: a ramp deceives the floor, wheel slip deceives the odometry. What two of
them say may be used only where they agree within what they believe of themselves.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from midas_depth_ros.geometry.scale import Refusal, ScaleShift


class Agreement:
    """The judgement on the sources of one camera, frame by frame."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything, as after a change of camera or of time."""

    def update(
        self,
        stamp_s: float,
        found: Mapping[str, ScaleShift | Refusal],
        d: np.ndarray,
        pose: np.ndarray | Refusal | None = None,
    ) -> ScaleShift | Refusal:
        """Return the scale of one frame by all sources, or why there is none.

        found: by name of the source ('ground_plane', 'odometry', 'scan', 'model', ...): its scale,
        or why it has none. d: (h, w) float32. pose: (4, 4), from the optical into a fixed frame;
        None without odometry.
        """
        for fit in found.values():
            if isinstance(fit, ScaleShift):
                return fit
        return next(iter(found.values()), Refusal('no source of scale'))

    def values(self) -> dict[str, str]:
        """What each source said of the last frame, for diagnostics."""
        return {}
