"""Scale source `marker`: the markers of known size in each picture of one camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import (
    UNCALIBRATED,
    MarkerDetector,
    MarkerScale,
    Refusal,
    ScaleShift,
)
from midas_depth_ros.options.metric import MarkerOptions

if TYPE_CHECKING:
    from midas_depth_ros.nodes.depth.output import FrameView


def check_marker(options: MarkerOptions) -> None:
    """Raise ValueError where there can be no metres by markers."""
    if not options.size > 0:
        raise ValueError(
            'scale.source is marker, but marker.size is not set: measure the side of the black '
            'square on the print, in metres'
        )
    MarkerDetector(options.dictionary)


class MarkerInput:
    """The markers in the pictures of one camera. Raises `MarkerError`."""

    def __init__(self, options: MarkerOptions, estimator: DepthEstimator) -> None:
        self._estimator = estimator
        self._markers = MarkerScale(options.dictionary)

    def scale(self, view: FrameView) -> ScaleShift | Refusal:
        """Scale and shift of one frame by its markers."""
        if view.camera is None or view.grid is None:
            return Refusal(UNCALIBRATED)
        return self._markers.update(
            view.rgb,
            view.inverse_depth,
            view.grid,
            view.camera,
            view.settings.marker,
            proportional=self._estimator.gives.proportional,
        )

    def values(self) -> dict[str, str]:
        """What there is to know of the last frame, for diagnostics."""
        return self._markers.values()
