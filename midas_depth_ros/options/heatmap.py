"""The parameters of the heatmap: of `depth_node`, of commands and of the HTTP API."""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import Options, parameter


@dataclasses.dataclass(frozen=True)
class HeatmapOptions(Options):
    """How the heatmap looks."""

    colormap: str = parameter(
        'inferno',
        'Colours from far to near; the warm end is near.',
        choices=('inferno', 'viridis', 'plasma', 'magma', 'turbo', 'jet'),
        live=True,
    )
    percentile_low: float = parameter(
        2.0,
        'Percentile of relative inverse depth that gets the far colour.',
        unit='%',
        minimum=0.0,
        maximum=50.0,
        live=True,
    )
    percentile_high: float = parameter(
        98.0,
        'Percentile of relative inverse depth that gets the near colour.',
        unit='%',
        minimum=50.0,
        maximum=100.0,
        live=True,
    )
    range_time_constant: float = parameter(
        1.0,
        'Time constant with which the colour range follows the picture; 0 = every frame its own.',
        unit='s',
        minimum=0.0,
        maximum=60.0,
        live=True,
    )
    mapping: str = parameter(
        'linear',
        'How values between far and near are spread over the colours: linear = evenly in 1/Z, most '
        'of them for what is near; log = even steps for even ratios of distance.',
        choices=('linear', 'log'),
        live=True,
    )
    gamma: float = parameter(
        1.0,
        'Exponent on the 0..1 value before colouring; below 1 brings out what is far.',
        minimum=0.1,
        maximum=10.0,
        live=True,
    )
    overlay_alpha: float = parameter(
        0.0,
        'Share of the camera picture in the heatmap; 0 = heatmap only, 1 = picture only.',
        minimum=0.0,
        maximum=1.0,
        live=True,
    )
    clahe_clip: float = parameter(
        0.0,
        'Clip limit of local contrast enhancement (CLAHE); 0 = off. Colours then mislead about '
        'depth between distant parts of the picture.',
        minimum=0.0,
        maximum=40.0,
        live=True,
    )
    smoothing: float = parameter(
        0.0,
        'Radius of edge-preserving (bilateral) smoothing at heatmap size; 0 = off.',
        unit='px',
        minimum=0.0,
        maximum=15.0,
        live=True,
    )
    edge_aware: bool = parameter(
        False,
        'Enlarge depth along the edges of the camera picture instead of bilinear: sharper rims for '
        'some milliseconds (docs/edges.md); patterns may show through.',
        live=True,
    )

    mode: str = parameter(
        'relative',
        'relative: a range that follows the picture; metric: fixed colours in metres with a '
        'legend, grey while there is no scale.',
        choices=('relative', 'metric'),
        live=True,
    )
    metric_near: float = parameter(
        0.5, 'Distance of the near colour.', unit='m', minimum=0.05, maximum=100.0, live=True
    )
    metric_far: float = parameter(
        5.0, 'Distance of the far colour.', unit='m', minimum=0.1, maximum=1000.0, live=True
    )
    legend: bool = parameter(True, 'Draw the legend bar in metric mode.', live=True)

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
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
