"""The parameters of the heatmap, for `depth_node`, commands and the HTTP API."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import Options, live_parameter


@dataclasses.dataclass(frozen=True)
class HeatmapOptions(Options):
    """How the heatmap looks."""

    colormap: str = live_parameter(
        'inferno',
        'Colours from far to near; the warm end is near.',
        choices=('inferno', 'viridis', 'plasma', 'magma', 'turbo', 'jet'),
    )
    percentile_low: float = live_parameter(
        2.0,
        'Percentile of relative inverse depth that gets the far colour.',
        unit='%',
        minimum=0.0,
        maximum=50.0,
    )
    percentile_high: float = live_parameter(
        98.0,
        'Percentile of relative inverse depth that gets the near colour.',
        unit='%',
        minimum=50.0,
        maximum=100.0,
    )
    range_time_constant: float = live_parameter(
        1.0,
        'Time constant with which the colour range follows the picture; 0 = a new range per frame.',
        unit='s',
        minimum=0.0,
        maximum=60.0,
    )
    mapping: str = live_parameter(
        'linear',
        'How values between far and near are mapped to colours: linear = evenly in 1/Z, with most '
        'colours for near distances; log = equal steps for equal ratios of distance.',
        choices=('linear', 'log'),
    )
    gamma: float = live_parameter(
        1.0,
        'Exponent on the 0..1 value before colouring; below 1 emphasises far distances.',
        minimum=0.1,
        maximum=10.0,
    )
    overlay_alpha: float = live_parameter(
        0.0,
        'Share of the camera picture in the heatmap; 0 = heatmap only, 1 = picture only.',
        minimum=0.0,
        maximum=1.0,
    )
    clahe_clip: float = live_parameter(
        0.0,
        'Clip limit of local contrast enhancement (CLAHE); 0 = off. With it, equal colours in '
        'different parts of the picture do not mean equal depth.',
        minimum=0.0,
        maximum=40.0,
    )
    smoothing: float = live_parameter(
        0.0,
        'Radius of edge-preserving (bilateral) smoothing at heatmap size; 0 = off.',
        unit='px',
        minimum=0.0,
        maximum=15.0,
    )
    edge_aware: bool = live_parameter(
        False,
        'Enlarge depth along the edges of the camera picture instead of bilinearly: sharper edges '
        'for some milliseconds (docs/edges.md); patterns may show through.',
    )

    mode: str = live_parameter(
        'relative',
        'relative: a range that follows the picture; metric: fixed colours in metres with a '
        'legend, grey while there is no scale.',
        choices=('relative', 'metric'),
    )
    metric_near: float = live_parameter(
        0.5, 'Distance of the near colour.', unit='m', minimum=0.05, maximum=100.0
    )
    metric_far: float = live_parameter(
        5.0, 'Distance of the far colour.', unit='m', minimum=0.1, maximum=1000.0
    )
    legend: bool = live_parameter(True, 'Draw the legend bar in metric mode.')

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
        if self.metric_near >= self.metric_far:
            return (
                f'heatmap.metric_near {self.metric_near:g} m is not below '
                f'heatmap.metric_far {self.metric_far:g} m'
            )
        if self.percentile_low >= self.percentile_high:
            return (
                f'heatmap.percentile_low {self.percentile_low:g} is not below '
                f'heatmap.percentile_high {self.percentile_high:g}'
            )
        return ''
