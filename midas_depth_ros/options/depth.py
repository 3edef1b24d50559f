"""Every parameter of every node: name, type, default, unit, bounds, text, live or not.

This is the one place. config/midas_depth.yaml and docs/parameters.md are written from it
(`python3 -m midas_depth_ros.options.reference`) and a test holds them to it.
"""

from __future__ import annotations

import dataclasses
import re

from midas_depth_ros.depth.backends import AUTO, BACKENDS, PRECISIONS
from midas_depth_ros.geometry import TURNS, MetricOptions, ObstacleOptions
from midas_depth_ros.images.bit_depth import bit_depth_fault
from midas_depth_ros.images.errors import shown
from midas_depth_ros.options.cpu_budget import check_cpus
from midas_depth_ros.options.declarations import group, groups, parameter
from midas_depth_ros.options.heatmap import HeatmapParameters
from midas_depth_ros.options.metric import (
    DepthImageParameters,
    ObstacleParameters,
    ReferenceParameters,
    ScaleParameters,
    ScanParameters,
)

NAN = float('nan')
AS_FOR_ALL = -1
ROLLED = 'a camera that is mounted upside down or on its side: rotate'


# ROS names a topic in 247 letters at most: 100 leave room for a namespace and the longest output.
LONGEST_CAMERA_NAME = 100
LONGEST_TOPIC = 200  # the same, without an output
LONGEST_FRAME_ID = 255
TOKEN = '[A-Za-z_][A-Za-z0-9_]*'
MOST_CAMERAS = 64
# What a camera has below its name; a camera by such a name would be mixed up with it.
BELOW_A_CAMERA = ('depth', 'heatmap', 'reference', 'relative_inverse_depth')


def check_camera_names(names: list[str]) -> str:
    """Camera names become topic namespaces: at least one, valid, and no two for one topic."""
    if not names:
        return 'is empty: name at least one camera'
    if len(names) > MOST_CAMERAS:
        return f'names {len(names)} cameras: one node has {MOST_CAMERAS} at most'
    for name in names:
        if len(name) > LONGEST_CAMERA_NAME:
            return (
                f'{shown(name)} has {len(name)} letters: a topic below it would be longer than ROS '
                f'allows; use {LONGEST_CAMERA_NAME} at most'
            )
        if not re.fullmatch(r'[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*', name):
            return (
                f'{shown(name)} cannot be a topic namespace: use letters, digits and underscores, '
                'a letter first, and single slashes between'
            )
    if len(set(names)) != len(names):
        twice = next(name for name in names if list(names).count(name) > 1)
        return f'{shown(twice)} is named twice'
    for name in names:
        camera, _, below = name.rpartition('/')
        if camera in names and below in BELOW_A_CAMERA:
            return f'{shown(name)} is where the outputs of camera {shown(camera)} are'
    return ''


def check_frame_id(name: str) -> str:
    """A tf2 frame has no leading slash, no blanks and a length; '' chooses one."""
    if re.search(r'^/|\s', name) or not name.isprintable():
        return f'{shown(name)} is not a tf2 frame: leave out the leading slash and blanks'
    if len(name) > LONGEST_FRAME_ID:
        return f'{shown(name)} is not a tf2 frame: use {LONGEST_FRAME_ID} letters at most'
    return ''


def check_body_frame(name: str) -> str:
    """Scans, proximity and points are in it, so there must be one."""
    return check_frame_id(name) if name else 'is empty: name the frame that the scan shall be in'


def check_turn(degrees: int) -> str:
    """Pictures are turned by quarters."""
    if degrees in TURNS:
        return ''
    return f'{degrees} is not one of {", ".join(map(str, TURNS))}: degrees, clockwise'


def check_own_turn(degrees: int) -> str:
    """Likewise, or as for all."""
    return '' if degrees == AS_FOR_ALL else check_turn(degrees)


def check_topic(name: str) -> str:
    """A name that ROS takes for a topic, relative or absolute; '' is none at all."""
    if name and not re.fullmatch(rf'(~/|/)?{TOKEN}(/{TOKEN})*', name):
        return (
            f'{shown(name)} is not a topic name: use letters, digits and underscores, no digit '
            'first, and single slashes between'
        )
    if len(name) > LONGEST_TOPIC:
        return f'{shown(name)} is not a topic name: use {LONGEST_TOPIC} letters at most'
    return ''


@dataclasses.dataclass(frozen=True)
class MountParameters:
    """How one camera of several is mounted: `mounts.<camera>.*`. NaN, '' and -1 = as for all."""

    camera_height: float = parameter(
        NAN, 'camera_height of this camera.', unit='m', minimum=0.01, maximum=100.0, live=True
    )
    camera_pitch: float = parameter(
        NAN, 'camera_pitch of this camera.', unit='rad', minimum=-1.3, maximum=1.3, live=True
    )
    camera_roll: float = parameter(
        NAN,
        'camera_roll of this camera.',
        unit='rad',
        minimum=-1.3,
        maximum=1.3,
        live=True,
        beyond=ROLLED,
    )
    rotate: int = parameter(
        AS_FOR_ALL,
        'rotate of this camera; -1 = as for all.',
        unit='degrees',
        minimum=AS_FOR_ALL,
        maximum=270,
        check=check_own_turn,
    )
    camera_yaw: float = parameter(
        0.0,
        'How far to the left of straight ahead this camera looks: what the body of the Imu '
        'pitches, a camera that looks aside rolls.',
        unit='rad',
        minimum=-3.1416,
        maximum=3.1416,
        live=True,
    )
    body_frame: str = parameter(
        '',
        'body_frame of this camera: below its lens, x where it looks. Where there are several '
        'cameras, each needs its own, or gives no metres.',
        check=check_frame_id,
    )
    imu_topic: str = parameter('', 'imu_topic of this camera.', check=check_topic)


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
        True,
        'Configure and activate at start; false leaves the transitions to a manager (to that of '
        'nav2 with bond_timeout 0.0, since this node has no bond: config/nav2_example.yaml).',
    )
    model: str = parameter(
        'auto',
        'midas_small, embedded, auto (midas_small if its weights can be had, else embedded), or '
        'the path of a weights file.',
    )
    backend: str = parameter(
        AUTO,
        f'Inference backend: {AUTO} (the fastest that is installed and runs the model), '
        f'{", ".join(sorted(BACKENDS))}.',
    )
    precision: str = parameter(
        AUTO,
        'Numbers that the network computes with; auto never takes one whose deviation from f32 '
        'was above its bound.',
        choices=(AUTO, *PRECISIONS),
    )
    num_threads: int = parameter(
        0,
        'Threads of inference, and the most that OpenCV has; 0 = one per processor of '
        'cpu_affinity, or of the machine.',
        minimum=0,
        maximum=256,
    )
    cpu_affinity: str = parameter(
        '',
        'Processors that the node may use, such as 0,2-3; empty = all. Holds for the whole '
        'process. Linux only.',
        check=check_cpus,
    )
    niceness: int = parameter(
        0,
        'How readily the node leaves the CPU to others, 0 = as it was started, 19 = takes only '
        'what nobody wants. Holds for the whole process; it cannot be lowered again.',
        minimum=0,
        maximum=19,
    )
    allow_download: bool = parameter(
        True, 'Fetch missing MiDaS_small weights (85 MB, once) at configuration.'
    )
    max_rate: float = parameter(
        5.0,
        'Frames per second and camera, by header stamps, or by the time of receipt where stamps '
        'cannot be right; without use_sim_time never more than that by receipt, whatever stamps '
        'say. 0 = as many as the CPU manages.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
        live=True,
    )
    process_every_frame: bool = parameter(
        False,
        'For replay: no frame is skipped; subscribes reliably and holds the publisher back '
        'instead of dropping, and keeps the last 100 results for a subscriber that stalls. '
        'max_rate is ignored.',
    )
    max_pixels: int = parameter(
        33_554_432,
        'Larger pictures are rejected before they are decoded.',
        unit='px',
        minimum=1024,
        maximum=1_000_000_000,
        live=True,
    )
    bit_depth: int = parameter(
        0,
        'How many bits the camera uses of 16-bit samples (mono16, rgb16, bayer_*16, 16-bit PNG and '
        'the like): 8 to 16, or 16 if it uses the high ones; 0 = guessed from the pictures.',
        minimum=0,
        maximum=16,
        live=True,
        check=bit_depth_fault,
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
        'How far the camera is rolled to the right; of one mounted upside down or on its side, '
        'what is left after rotate.',
        unit='rad',
        minimum=-1.3,
        maximum=1.3,
        live=True,
        beyond=ROLLED,
    )
    rotate: int = parameter(
        0,
        'How far the pictures are turned clockwise before they are looked at: 0, 90, 180 (a camera '
        'that is mounted upside down) or 270. camera_info and horizontal_fov are those of the '
        'pictures as they come, camera_pitch and camera_roll of the turned ones.',
        unit='degrees',
        minimum=0,
        maximum=270,
        check=check_turn,
    )
    mount_from_tf: bool = parameter(
        False,
        'Take height, pitch and roll from TF (body_frame to the optical frame) instead of the '
        'parameters; needs tf2_ros.',
    )
    imu_topic: str = parameter(
        '',
        "sensor_msgs/Imu of the body, whose roll and pitch at the picture's stamp are added to the "
        'mount; empty = none.',
        check=check_topic,
    )
    horizontal_fov: float = parameter(
        NAN,
        'Assumed horizontal field of view where there is no camera_info; NaN = unknown.',
        unit='rad',
        minimum=0.1,
        maximum=2.8,
        live=True,
    )
    rectified: bool = parameter(
        False,
        "The pictures are rectified, as image_proc's image_rect: then camera_info's P describes "
        'them, and there is no lens in them. False = as the camera sends them: K and D do.',
    )
    body_frame: str = parameter(
        'base_link',
        'frame_id of scan, proximity and nearest_point: on the floor below the lens, x where the '
        'camera looks, y left, z up. If your base_link is elsewhere, name another frame and '
        'publish a static transform to it.',
        check=check_body_frame,
    )
    picture_check: bool = parameter(
        True,
        'Judge every picture: one that is dark, white, fogged, out of focus or covered, all of it '
        'or a part, says nothing about depth, whatever the network makes of it.',
        live=True,
    )
    frozen_after: float = parameter(
        2.0,
        'A camera that sends nothing new for longer than this, by its stamps, but for a clock or '
        'a few pixels, counts as frozen; 0 = never, for simulated cameras without noise and for '
        'still pictures.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
        live=True,
    )
    mounts: dict[str, MountParameters] = groups(MountParameters, 'cameras')
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

    def metric_options(self) -> MetricOptions:
        """What the pure room is told of these parameters."""
        obstacles = self.obstacles
        return MetricOptions(
            time_constant_s=self.scale.time_constant,
            expiry_s=self.scale.expiry,
            min_depth_m=self.depth.min,
            max_depth_m=self.depth.max,
            obstacles=ObstacleOptions(
                min_height_m=obstacles.min_height,
                max_height_m=obstacles.max_height,
                max_drop_m=obstacles.max_drop,
                max_range_m=self.scan.range_max,
                robot_width_m=obstacles.robot_width,
                min_pixels=obstacles.min_pixels,
                persistence=obstacles.persistence,
                max_turn_rate_rad_s=obstacles.max_turn_rate,
            ),
        )

    def conflict(self) -> str:
        """Why these values do not go together; empty if they do."""
        return (
            self.heatmap.conflict()
            or self.depth.conflict()
            or self.obstacles.conflict()
            or self.scan.conflict()
        )
