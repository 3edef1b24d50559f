"""How a heatmap shall look, as one frozen object that a caller swaps whole between frames.

The fields and defaults are those of the node's `heatmap.*` parameters; this room does not
know ROS, so it states them itself and refuses what it could not draw.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from midas_depth_ros.views.colormaps import COLORMAPS
from midas_depth_ros.views.errors import OptionError

MAPPINGS: Final = ('linear', 'log')
MODES: Final = ('relative', 'metric')

BOUNDS: Final[dict[str, tuple[float, float]]] = {
    'percentile_low': (0.0, 50.0),
    'percentile_high': (50.0, 100.0),
    'range_time_constant': (0.0, 60.0),
    'gamma': (0.1, 10.0),
    'overlay_alpha': (0.0, 1.0),
    'clahe_clip': (0.0, 40.0),
    'smoothing': (0.0, 15.0),
    'metric_near': (0.05, 100.0),
    'metric_far': (0.1, 1000.0),
}


@dataclasses.dataclass(frozen=True)
class HeatmapOptions:
    """How a heatmap looks. Raises OptionError for a value outside its bounds.

    colormap: one of COLORMAPS; its warm end is near.
    percentile_low, percentile_high: percentiles (%) that get the far and the near colour.
    range_time_constant: seconds with which that range follows the picture; 0 = every frame
        its own.
    mapping: 'linear', or 'log' = even steps of colour for even ratios of distance.
    gamma: exponent on the 0..1 value; below 1 brings out what is far.
    overlay_alpha: share of the camera picture, 0..1.
    clahe_clip: clip limit of local contrast enhancement; 0 = off.
    smoothing: radius of edge-preserving smoothing, in pixels of the heatmap; 0 = off.
    edge_aware: enlarge along the edges of the camera picture instead of bilinear.
    mode: 'relative', or 'metric' = fixed colours from metric_far to metric_near, in metres, with
        a legend bar if `legend`.
    """

    colormap: str = 'inferno'
    percentile_low: float = 2.0
    percentile_high: float = 98.0
    range_time_constant: float = 1.0
    mapping: str = 'linear'
    gamma: float = 1.0
    overlay_alpha: float = 0.0
    clahe_clip: float = 0.0
    smoothing: float = 0.0
    edge_aware: bool = False
    mode: str = 'relative'
    metric_near: float = 0.5
    metric_far: float = 5.0
    legend: bool = True

    def __post_init__(self) -> None:
        for name, choices in (
            ('colormap', COLORMAPS),
            ('mapping', MAPPINGS),
            ('mode', MODES),
        ):
            if getattr(self, name) not in choices:
                raise OptionError(f'{name} is {getattr(self, name)!r}: use one of {list(choices)}')
        for name, (low, high) in BOUNDS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise OptionError(f'{name} is {value!r}: use a value from {low:g} to {high:g}')
        if self.metric_near >= self.metric_far:
            raise OptionError(
                f'metric_near {self.metric_near:g} m is not below metric_far {self.metric_far:g} m'
            )
