"""The parameters of depth_node that turn relative inverse depth into metres and obstacles.

The groups `scale.*`, `reference.*`, `depth.*`, `obstacles.*` and `scan.*` of `DepthNodeSettings`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from midas_depth_ros.options.declarations import NAN, Options, group, live_parameter, parameter
from midas_depth_ros.options.text import check_frame_id, check_optional_camera_name, check_topic

SCALE_SOURCES = (
    'auto', 'ground_plane', 'odometry', 'scan', 'range', 'points', 'marker', 'model', 'fixed',
    'none',
)  # fmt: skip
# OpenCV's names; its cv2.aruco before 4.8 lacks the last one.
MARKER_DICTIONARIES = (
    *(f'DICT_APRILTAG_{name}' for name in ('36h11', '36h10', '25h9', '16h5')),
    *(f'DICT_{bits}X{bits}_{count}' for bits in (4, 5, 6, 7) for count in (50, 100, 250, 1000)),
    'DICT_ARUCO_ORIGINAL',
    'DICT_ARUCO_MIP_36h12',
)
SCALE_CHECKS = ('auto', 'ground_plane', 'scan', 'range', 'points', 'none')


def order(low_name: str, low: float, high_name: str, high: float) -> str:
    """Return an error text if a lower limit is not below the upper one, else ''."""
    return '' if low < high else f'{low_name} {low:g} m is not below {high_name} {high:g} m'


def _position(default: float, text: str) -> Any:
    return live_parameter(default, text, unit='m', minimum=-10.0, maximum=10.0)


@dataclasses.dataclass(frozen=True)
class ScaleOptions(Options):
    """Where metres come from: 1/Z = scale * d + shift, fitted in every frame."""

    source: str = parameter(
        'auto',
        'ground_plane (needs camera_height and camera_pitch), odometry (how far the robot itself '
        'has moved: odometry.*), scan, range or points (a sensor on '
        '<c>/reference/scan, range or points), marker (an AprilTag or ArUco marker of known size: '
        'marker.*), model (a model that gives metres itself; refused '
        'for any other), fixed, none; auto = all of the first six that are there, where they '
        'agree: never model alone, since such metres are wrong by a factor in places unlike '
        'those it learned from.',
        choices=SCALE_SOURCES,
    )
    check: str = parameter(
        'auto',
        'What the metres of source model are compared with in every frame: ground_plane, scan, '
        'range or points, as for source; none; auto = ground_plane where camera_height and '
        'camera_pitch are known, else none. They are published only while it agrees, or '
        'unverified with none.',
        choices=SCALE_CHECKS,
    )
    shape: str = live_parameter(
        'affine',
        'What source odometry fits: affine (1/Z = scale * d + shift), or spline '
        '(a monotone curve, where enough anchors are seen).',
        choices=('affine', 'spline'),
    )
    check_tolerance: float = live_parameter(
        0.15,
        'How far the metres of source model may be off, as a share: beyond it the metric topics '
        'fall silent. What seems farther than it is, a robot stops too late for.',
        minimum=0.01,
        maximum=10.0,
    )
    fixed_scale: float = live_parameter(
        1.0,
        'Scale for source fixed: for bench set-ups only, since the scale changes with every frame.',
        unit='1/m',
        minimum=1e-9,
        maximum=1e9,
    )
    fixed_shift: float = live_parameter(
        0.0, 'Shift for source fixed.', unit='1/m', minimum=-1e9, maximum=1e9
    )
    floor_motion: bool = live_parameter(
        False,
        'Scale by the floor, unless auto has odometry to ask: no metres where what lies ahead '
        "moves in the picture like something lower than the floor at the robot's feet, an edge or "
        'a step down that the network takes for floor. Silences some frames on flat floor, too.',
    )
    time_constant: float = live_parameter(
        0.3,
        'Time constant of the filter of scale and shift; 0 = no filter.',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    expiry: float = live_parameter(
        1.0,
        'The scale expires this long after the last accepted fit, or comparison with source model: '
        'metric topics fall silent.',
        unit='s',
        minimum=0.05,
        maximum=60.0,
    )


@dataclasses.dataclass(frozen=True)
class ReferenceSensorOptions(Options):
    """Where the reference sensor is mounted in body_frame (x forward, y left, z up)."""

    x: float = _position(0.0, 'Position of the reference sensor, forward.')
    y: float = _position(0.0, 'Position of the reference sensor, left.')
    z: float = _position(0.1, 'Height of the reference sensor.')
    yaw: float = live_parameter(
        0.0,
        'Heading of the reference sensor, counter-clockwise.',
        unit='rad',
        minimum=-6.2832,
        maximum=6.2832,
    )
    max_age: float = live_parameter(
        0.2,
        'Reference messages whose stamp differs more than this from the picture are ignored.',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )


@dataclasses.dataclass(frozen=True)
class MarkerOptions(Options):
    """The markers of known size that source marker measures by."""

    dictionary: str = parameter(
        'DICT_APRILTAG_36h11',
        "The family of the markers, by OpenCV's name. Those of few bits (4X4, 16h5) are also seen "
        'where there are none.',
        choices=MARKER_DICTIONARIES,
    )
    size: float = live_parameter(
        NAN,
        'Side of the black square of every marker, measured with a ruler on the print; NaN = not '
        'set.',
        unit='m',
        minimum=0.005,
        maximum=10.0,
    )
    id: int = live_parameter(
        -1, 'Only markers with this number count; -1 = all.', minimum=-1, maximum=10_000
    )


@dataclasses.dataclass(frozen=True)
class DistanceCalibrationOptions(Options):
    """What the service ~/calibrate_distance compares with (docs/metres.md)."""

    distance: float = live_parameter(
        NAN,
        'How far the thing in the middle of the picture is from the lens, by a tape measure; to be '
        'set before each call of ~/calibrate_distance. NaN = not set.',
        unit='m',
        minimum=0.1,
        maximum=100.0,
    )
    camera: str = live_parameter(
        '',
        'The camera that ~/calibrate_distance looks through; empty where there is only one.',
        check=check_optional_camera_name,
    )


@dataclasses.dataclass(frozen=True)
class OdometryOptions(Options):
    """The robot's own motion, for source odometry and for auto."""

    topic: str = parameter(
        '',
        'nav_msgs/Odometry of the body that carries the cameras; empty = none.',
        check=check_topic,
    )
    fixed_frame: str = parameter(
        '',
        'Instead of a topic: the fixed frame of TF, such as odom, in which body_frame moves; a '
        'live node needs tf2_ros. Empty = none.',
        check=check_frame_id,
    )
    max_age: float = live_parameter(
        0.2,
        'A picture farther than this from the nearest message, by their stamps, has no odometry.',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    min_baseline: float = live_parameter(
        0.05,
        'Shortest way of the camera between two pictures that metres are taken from.',
        unit='m',
        minimum=0.005,
        maximum=10.0,
    )


@dataclasses.dataclass(frozen=True)
class FusionOptions(Options):
    """Depth fused over time, before obstacles and depth images are made of it."""

    enabled: bool = live_parameter(
        False, 'Fuse the depth of each frame with that of the frames before.'
    )
    gate: float = live_parameter(
        3.0,
        'A pixel that differs from its past by more than this many deviations starts anew.',
        minimum=1.0,
        maximum=10.0,
    )


@dataclasses.dataclass(frozen=True)
class SigmaOptions(Options):
    """How uncertain metres may be."""

    max_share: float = live_parameter(
        0.35,
        'What is less certain than this share of its distance (1 sigma) is unknown: never clear, '
        'in scan, seen_free and proximity.',
        minimum=0.01,
        maximum=1.0,
    )
    pitch: float = live_parameter(
        0.009,
        'How exactly camera_pitch is known (1 sigma; half a degree, as by a level).',
        unit='rad',
        minimum=0.0,
        maximum=0.2,
    )
    height: float = live_parameter(
        0.02,
        'How exactly camera_height is known, as a share of it (1 sigma; as by a ruler).',
        minimum=0.0,
        maximum=0.5,
    )


@dataclasses.dataclass(frozen=True)
class DepthImageOptions(Options):
    """<c>/depth/image."""

    encoding: str = live_parameter(
        '32FC1',
        'Metres as 32FC1 (invalid: NaN), or millimetres as 16UC1 (invalid: 0).',
        choices=('32FC1', '16UC1'),
    )
    min: float = live_parameter(
        0.1, 'Nearer depth is invalid.', unit='m', minimum=0.0, maximum=10.0
    )
    max: float = live_parameter(
        20.0, 'Farther depth is invalid.', unit='m', minimum=0.1, maximum=1000.0
    )

    edge_aware: bool = live_parameter(
        False,
        'Enlarge depth/image along the edges of the camera picture, as heatmap.edge_aware does. '
        'Scan, obstacles and points always use the depth at network size.',
    )
    compressed_format: str = live_parameter(
        'png',
        'How depth/image/compressedDepth is encoded: png, which every image_transport reads, or '
        'rvl, which takes half the CPU; image_transport of ROS 2 Humble cannot read it.',
        choices=('png', 'rvl'),
    )
    compressed_png_level: int = live_parameter(
        1,
        'Compression level of png: more is smaller and takes longer (docs/wifi.md).',
        minimum=0,
        maximum=9,
    )
    compressed_quantization: float = live_parameter(
        50.0,
        'Depth q at which neighbouring values of a compressed 32FC1 lie 1 m apart, as '
        'depth_quantization of image_transport; less is fewer bytes. Read back, metres are off by '
        'at most Z^2 / (2 q (q + 1)), or more where 16 bits do not reach down to depth.min.',
        unit='m',
        minimum=1.0,
        maximum=150.0,
    )

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
        return order('depth.min', self.min, 'depth.max', self.max)


@dataclasses.dataclass(frozen=True)
class ObstacleOptions(Options):
    """What counts as an obstacle."""

    min_height: float = live_parameter(
        0.05,
        'Minimum height of an obstacle above the floor.',
        unit='m',
        minimum=0.001,
        maximum=2.0,
    )
    max_height: float = live_parameter(
        1.0,
        'What hangs higher is ignored: the robot fits below.',
        unit='m',
        minimum=0.05,
        maximum=10.0,
    )
    max_drop: float = live_parameter(
        0.1,
        'Holes and steps down deeper than this are obstacles.',
        unit='m',
        minimum=0.001,
        maximum=5.0,
    )
    robot_width: float = live_parameter(
        0.4,
        'Width of the corridor ahead that proximity and nearest_point cover.',
        unit='m',
        minimum=0.05,
        maximum=5.0,
    )
    min_pixels: int = live_parameter(
        12,
        'Smaller specks do not count as obstacles, at network size.',
        unit='px',
        minimum=1,
        maximum=10_000,
    )
    persistence: int = live_parameter(
        2,
        'An obstacle counts once it is seen in this many frames in a row; until then its bearing '
        'is unknown, not clear.',
        minimum=1,
        maximum=30,
    )
    max_turn_rate: float = live_parameter(
        1.5,
        'Fastest turning of the robot, which limits how far the same obstacle may move between two '
        'frames.',
        unit='rad/s',
        minimum=0.0,
        maximum=20.0,
    )

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
        names = 'obstacles.min_height', 'obstacles.max_height'
        return order(names[0], self.min_height, names[1], self.max_height)


@dataclasses.dataclass(frozen=True)
class ScanOptions(Options):
    """<c>/scan, <c>/seen_free and <c>/proximity."""

    angle_increment: float = live_parameter(
        0.0175,
        'Angle between two beams.',
        unit='rad',
        minimum=0.001,
        maximum=0.2,
    )
    range_min: float = live_parameter(
        0.1, 'Nearest range that is reported.', unit='m', minimum=0.0, maximum=10.0
    )
    max_blind: float = live_parameter(
        1.5,
        'If the visible floor begins farther ahead than this, no beam is clear: low obstacles '
        'nearer than that would not be seen.',
        unit='m',
        minimum=0.01,
        maximum=100.0,
    )
    range_max: float = live_parameter(
        6.0,
        'Farthest range that is reported. A beam is clear when its floor is seen up to here, '
        'proximity when the whole corridor is.',
        unit='m',
        minimum=0.1,
        maximum=100.0,
    )

    def conflict(self) -> str:
        """Return why these values contradict each other, '' if they do not."""
        return order('scan.range_min', self.range_min, 'scan.range_max', self.range_max)


@dataclasses.dataclass(frozen=True)
class MetricOptions(Options):
    """The groups of depth_node that `geometry.MetricDepth` reads."""

    scale: ScaleOptions = group(ScaleOptions)
    depth: DepthImageOptions = group(DepthImageOptions)
    obstacles: ObstacleOptions = group(ObstacleOptions)
    scan: ScanOptions = group(ScanOptions)
    odometry: OdometryOptions = group(OdometryOptions)
    fusion: FusionOptions = group(FusionOptions)
    sigma: SigmaOptions = group(SigmaOptions)
