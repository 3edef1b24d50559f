"""The parameters of depth_node that turn relative inverse depth into metres and obstacles.

Grouped as they are named: `scale.*`, `reference.*`, `depth.*`, `obstacles.*`, `scan.*`. They are
part of `DepthNodeSettings` and documented with it.
"""

from __future__ import annotations

import dataclasses

from midas_depth_ros.options.declarations import Options, group, parameter

SCALE_SOURCES = ('auto', 'ground_plane', 'scan', 'range', 'points', 'fixed', 'none')


def order(low_name: str, low: float, high_name: str, high: float) -> str:
    """The complaint where a lower limit is not below the upper one; else ''."""
    return '' if low < high else f'{low_name} {low:g} m is not below {high_name} {high:g} m'


@dataclasses.dataclass(frozen=True)
class ScaleOptions(Options):
    """Where metres come from: 1/Z = scale * d + shift, anew in every frame."""

    source: str = parameter(
        'auto',
        'ground_plane (needs camera_height and camera_pitch), scan, range or points (a sensor on '
        '<c>/reference/scan, range or points), fixed, none; auto = ground_plane where '
        'camera_height and camera_pitch are known, else none.',
        choices=SCALE_SOURCES,
    )
    fixed_scale: float = parameter(
        1.0,
        'Scale for source fixed: a bench set-up, no robot; the scale of MiDaS changes per frame.',
        unit='1/m',
        minimum=1e-9,
        maximum=1e9,
        live=True,
    )
    fixed_shift: float = parameter(
        0.0, 'Shift for source fixed.', unit='1/m', minimum=-1e9, maximum=1e9, live=True
    )
    time_constant: float = parameter(
        0.3,
        'Time constant with which scale and shift follow the fits; 0 = every frame its own.',
        unit='s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )
    expiry: float = parameter(
        1.0,
        'After this long without an accepted fit there is no scale: metric topics fall silent.',
        unit='s',
        minimum=0.05,
        maximum=60.0,
        live=True,
    )


@dataclasses.dataclass(frozen=True)
class ReferenceSensorOptions(Options):
    """Where the reference sensor sits in body_frame (x forward, y left, z up)."""

    x: float = parameter(
        0.0,
        'Position of the reference sensor, forward.',
        unit='m',
        minimum=-10.0,
        maximum=10.0,
        live=True,
    )
    y: float = parameter(
        0.0,
        'Position of the reference sensor, left.',
        unit='m',
        minimum=-10.0,
        maximum=10.0,
        live=True,
    )
    z: float = parameter(
        0.1, 'Height of the reference sensor.', unit='m', minimum=-10.0, maximum=10.0, live=True
    )
    yaw: float = parameter(
        0.0,
        'Where the reference sensor looks, counter-clockwise.',
        unit='rad',
        minimum=-6.2832,
        maximum=6.2832,
        live=True,
    )
    max_age: float = parameter(
        0.2,
        'Reference messages whose stamp is farther than this from the picture are not used.',
        unit='s',
        minimum=0.0,
        maximum=10.0,
        live=True,
    )


@dataclasses.dataclass(frozen=True)
class DepthImageOptions(Options):
    """<c>/depth/image."""

    encoding: str = parameter(
        '32FC1',
        'Metres as 32FC1 (invalid: NaN), or millimetres as 16UC1 (invalid: 0).',
        choices=('32FC1', '16UC1'),
        live=True,
    )
    min: float = parameter(
        0.1, 'Nearer depth is invalid.', unit='m', minimum=0.0, maximum=10.0, live=True
    )
    max: float = parameter(
        20.0, 'Farther depth is invalid.', unit='m', minimum=0.1, maximum=1000.0, live=True
    )

    edge_aware: bool = parameter(
        False,
        'Enlarge depth/image along the edges of the camera picture, as heatmap.edge_aware does. '
        'Scan, obstacles and points are made of the depth at network size all the same.',
        live=True,
    )

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
        return order('depth.min', self.min, 'depth.max', self.max)


@dataclasses.dataclass(frozen=True)
class ObstacleOptions(Options):
    """What counts as an obstacle."""

    min_height: float = parameter(
        0.05,
        'What rises less above the floor is no obstacle.',
        unit='m',
        minimum=0.001,
        maximum=2.0,
        live=True,
    )
    max_height: float = parameter(
        1.0,
        'Whatever hangs higher is ignored: the robot fits below.',
        unit='m',
        minimum=0.05,
        maximum=10.0,
        live=True,
    )
    max_drop: float = parameter(
        0.1,
        'Holes and steps down deeper than this are obstacles.',
        unit='m',
        minimum=0.001,
        maximum=5.0,
        live=True,
    )
    robot_width: float = parameter(
        0.4,
        'Width of the corridor ahead in which proximity and nearest_point look.',
        unit='m',
        minimum=0.05,
        maximum=5.0,
        live=True,
    )
    min_pixels: int = parameter(
        12,
        'Smaller specks do not count, at network size.',
        unit='px',
        minimum=1,
        maximum=10_000,
        live=True,
    )
    persistence: int = parameter(
        2,
        'An obstacle counts when it is seen in so many frames in a row; until then its bearing is '
        'unknown, not clear.',
        minimum=1,
        maximum=30,
        live=True,
    )
    max_turn_rate: float = parameter(
        1.5,
        'How fast the robot turns at most: by so much an obstacle may move between two frames and '
        'still be the same.',
        unit='rad/s',
        minimum=0.0,
        maximum=20.0,
        live=True,
    )

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
        names = 'obstacles.min_height', 'obstacles.max_height'
        return order(names[0], self.min_height, names[1], self.max_height)


@dataclasses.dataclass(frozen=True)
class ScanOptions(Options):
    """<c>/scan, <c>/seen_free and <c>/proximity."""

    angle_increment: float = parameter(
        0.0175,
        'Angle between two beams.',
        unit='rad',
        minimum=0.001,
        maximum=0.2,
        live=True,
    )
    range_min: float = parameter(
        0.1, 'Nearest range that is reported.', unit='m', minimum=0.0, maximum=10.0, live=True
    )
    max_blind: float = parameter(
        1.5,
        'Where the floor is in view only from farther ahead than this, no beam says that it is '
        'clear: what stands nearer and is low would not be seen.',
        unit='m',
        minimum=0.01,
        maximum=100.0,
        live=True,
    )
    range_max: float = parameter(
        6.0,
        'Farthest range that is reported. A beam is clear when its floor is seen up to here; '
        'proximity says it where the whole corridor is.',
        unit='m',
        minimum=0.1,
        maximum=100.0,
        live=True,
    )

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
        return order('scan.range_min', self.range_min, 'scan.range_max', self.range_max)


@dataclasses.dataclass(frozen=True)
class MetricOptions(Options):
    """What `geometry.MetricDepth` is told: the groups of depth_node that it reads."""

    scale: ScaleOptions = group(ScaleOptions)
    depth: DepthImageOptions = group(DepthImageOptions)
    obstacles: ObstacleOptions = group(ObstacleOptions)
    scan: ScanOptions = group(ScanOptions)
