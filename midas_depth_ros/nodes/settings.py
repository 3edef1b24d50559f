"""Every parameter of every node: name, type, default, unit, bounds, text, live or not.

This is the one place. config/midas_depth.yaml and docs/parameters.md are written from it
(`python3 -m midas_depth_ros.nodes.parameter_reference`) and a test holds them to it.
"""

from __future__ import annotations

import dataclasses
import re

from midas_depth_ros.nodes.declarations import group, parameter
from midas_depth_ros.nodes.metric_settings import (
    DepthImageParameters,
    ObstacleParameters,
    ReferenceParameters,
    ScaleParameters,
    ScanParameters,
)

NAN = float('nan')


def check_camera_names(names: list[str]) -> str:
    """Camera names become topic namespaces: at least one, valid, and no two the same."""
    if not names:
        return 'is empty: name at least one camera'
    for name in names:
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*', name):
            return f'{name!r} cannot be a topic namespace: use letters, digits and underscores'
    if len(set(names)) != len(names):
        return f'{list(names)} names a camera twice'
    return ''


@dataclasses.dataclass(frozen=True)
class HeatmapParameters:
    """How the heatmap looks; the same fields as `views.HeatmapOptions`."""

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
        'How values between far and near are spread over the colours.',
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


@dataclasses.dataclass(frozen=True)
class DepthNodeSettings:
    """The parameters of `depth_node`."""

    cameras: tuple[str, ...] = parameter(
        ('camera',),
        'Camera namespaces; <c>/image_raw comes in, <c>/heatmap/image and the rest go out.',
        check=check_camera_names,
    )
    transport: str = parameter(
        'raw',
        'Which image topic to subscribe to: <c>/image_raw or <c>/image_raw/compressed.',
        choices=('raw', 'compressed'),
    )
    autostart: bool = parameter(
        True, 'Configure and activate at start; false leaves the transitions to a manager.'
    )
    model: str = parameter(
        'auto',
        'midas_small, embedded, auto (midas_small if its weights can be had, else embedded), or '
        'the path of a weights file.',
    )
    backend: str = parameter('auto', 'Inference backend: auto, torch, or opencv (embedded only).')
    num_threads: int = parameter(
        0,
        'Threads of inference, OpenCV included; 0 = as many as the machine has cores.',
        minimum=0,
        maximum=256,
    )
    allow_download: bool = parameter(
        True, 'Fetch missing MiDaS_small weights (85 MB, once) at configuration.'
    )
    max_rate: float = parameter(
        5.0,
        'Frames per second and camera, by header stamps; 0 = as many as the CPU manages.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    process_every_frame: bool = parameter(
        False,
        'For replay: no frame is skipped; subscribes reliably and holds the publisher back '
        'instead of dropping. max_rate is ignored.',
    )
    max_pixels: int = parameter(
        33_554_432,
        'Larger pictures are rejected before they are decoded.',
        unit='px',
        minimum=1024,
        maximum=1_000_000_000,
        live=True,
    )
    output_size: str = parameter(
        'input',
        'Size of relative_inverse_depth and heatmap: of the input picture or of the network.',
        choices=('input', 'network'),
        live=True,
    )
    jpeg_quality: int = parameter(
        80,
        'JPEG quality of heatmap/image/compressed.',
        minimum=1,
        maximum=100,
        live=True,
    )
    camera_height: float = parameter(
        NAN,
        'Height of the lens above the floor; NaN = unknown. Measure it with a ruler.',
        unit='m',
        minimum=0.01,
        maximum=100.0,
        live=True,
    )
    camera_pitch: float = parameter(
        NAN,
        'How far the camera looks down (positive) from level; NaN = unknown. ~/calibrate_pitch '
        'estimates it. With camera_info it places the horizon for closeness.',
        unit='rad',
        minimum=-1.3,
        maximum=1.3,
        live=True,
    )
    camera_roll: float = parameter(
        0.0,
        'How far the camera is rolled to the right.',
        unit='rad',
        minimum=-1.3,
        maximum=1.3,
        live=True,
    )
    mount_from_tf: bool = parameter(
        False,
        'Take height, pitch and roll from TF (body_frame to the optical frame) instead of the '
        'parameters; needs tf2_ros.',
    )
    imu_topic: str = parameter(
        '',
        'sensor_msgs/Imu of the body, whose roll and pitch are added to the mount; empty = none.',
    )
    horizontal_fov: float = parameter(
        NAN,
        'Assumed horizontal field of view where there is no camera_info; NaN = unknown.',
        unit='rad',
        minimum=0.1,
        maximum=2.8,
        live=True,
    )
    body_frame: str = parameter(
        'base_link',
        'frame_id of scan, proximity and nearest_point: on the floor below the lens, x where the '
        'camera looks, y left, z up. If your base_link is elsewhere, name another frame and '
        'publish a static transform to it.',
    )
    image_timeout: float = parameter(
        2.0,
        'After this long without images the camera counts as silent (wall clock).',
        unit='s',
        minimum=0.1,
        maximum=3600.0,
        live=True,
    )
    diagnostics_rate: float = parameter(
        1.0, 'How often /diagnostics is published.', unit='Hz', minimum=0.1, maximum=100.0
    )
    heatmap: HeatmapParameters = group(HeatmapParameters)
    scale: ScaleParameters = group(ScaleParameters)
    reference: ReferenceParameters = group(ReferenceParameters)
    depth: DepthImageParameters = group(DepthImageParameters)
    obstacles: ObstacleParameters = group(ObstacleParameters)
    scan: ScanParameters = group(ScanParameters)

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
        return (
            self.heatmap.conflict()
            or self.depth.conflict()
            or self.obstacles.conflict()
            or self.scan.conflict()
        )
