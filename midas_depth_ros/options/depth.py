"""The parameters of `depth_node`."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable

import cv2

from midas_depth_ros.depth.backends import AUTO, BACKENDS, PRECISIONS
from midas_depth_ros.depth.models import FALLBACK, PREFERRED, names
from midas_depth_ros.options.declarations import (
    NAN,
    Options,
    SharedOptions,
    check_turn,
    declared_as,
    group,
    groups,
    parameter,
)
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.options.metric import (
    DepthImageOptions,
    MetricOptions,
    ObstacleOptions,
    ReferenceSensorOptions,
    ScaleOptions,
    ScanOptions,
)
from midas_depth_ros.options.text import (
    check_body_frame,
    check_camera_names,
    check_frame_id,
    check_topic,
)

# --- How much of the machine the node may have: which processors, and how readily it steps back.
#
# Parameters come in, the operating system is told. Both hold for every thread of the process,
# those of the middleware included, and for those that are made later; so they are set before a
# model is loaded, whose threads then start with them.

RANGE = re.compile(r'\s*(\d+)\s*(?:-\s*(\d+)\s*)?')
HIGHEST_CPU = 4095
ALL_PROCESSORS = -1  # to OpenCV


def check_cpus(text: str) -> str:
    """What is wrong with a list of processors such as '0,2-3'; '' where nothing is."""
    try:
        parse_cpus(text)
    except ValueError as error:
        return str(error)
    return ''


def parse_cpus(text: str) -> frozenset[int]:
    """The processors of a list such as '0,2-3', as taskset takes it; none for ''.

    Raises ValueError.
    """
    cpus: set[int] = set()
    if not text.strip():
        return frozenset()
    for part in text.split(','):
        match = RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f'{text!r} is not a list of processors: write it as 0,2-3')
        first = int(match[1])
        last = first if match[2] is None else int(match[2])
        if last < first or last > HIGHEST_CPU:
            raise ValueError(
                f'{part.strip()!r} is not a range of processors: write the lower number first, '
                f'and none above {HIGHEST_CPU}'
            )
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def threads_for(num_threads: int, cpus: frozenset[int]) -> int:
    """Threads of inference: as many as named, else one per named processor, else 0 (all)."""
    return num_threads or len(cpus)


def bound_opencv_threads(backend: str, threads: int) -> None:
    """One thread for OpenCV, for the whole process, unless OpenCV is what runs the network.

    Its steps on a frame take tenths of a millisecond each; a second thread waits for the next
    one by asking for it again and again, and what it saves is lost in waking it
    (`benchmarks/node.py` shows what it costs).
    """
    cv2.setNumThreads((threads or ALL_PROCESSORS) if backend == 'opencv' else 1)


def apply_cpu_budget(niceness: int, cpus: frozenset[int]) -> None:
    """Tell the operating system, for all threads of this process; 0 and no processors say nothing.

    Raises ValueError where it refuses.
    """
    if cpus:
        _bind(cpus)
    if niceness:
        _step_back(niceness)


def _bind(cpus: frozenset[int]) -> None:
    if not hasattr(os, 'sched_setaffinity'):
        raise ValueError('cpu_affinity needs Linux: leave it empty')
    missing = sorted(cpus - set(range(os.cpu_count() or 1)))
    if missing:
        raise ValueError(
            f'cpu_affinity names processor {missing[0]}, but this machine has 0 to '
            f'{(os.cpu_count() or 1) - 1}'
        )
    try:
        _for_every_thread(lambda thread: os.sched_setaffinity(thread, cpus))
    except OSError as error:
        raise ValueError(
            f'cpu_affinity {sorted(cpus)} is refused ({error}): a container or cgroup may allow '
            'other processors only'
        ) from error


def _step_back(niceness: int) -> None:
    try:
        _for_every_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, niceness))
    except OSError as error:
        raise ValueError(
            f'niceness {niceness} is refused ({error}): without privilege it can only grow while '
            'the process lives'
        ) from error


def _for_every_thread(tell: Callable[[int], None]) -> None:
    """Linux knows priority and affinity per thread; elsewhere 0 is the process."""
    try:
        threads = [int(name) for name in os.listdir('/proc/self/task')]
    except OSError:
        threads = [0]
    for thread in threads:
        try:
            tell(thread)
        except ProcessLookupError:  # it has ended meanwhile
            continue


# --- The parameters of `depth_node`: name, type, default, unit, bounds, text, live or not.
#
# config/midas_depth.yaml and docs/parameters.md are written from here and from the other files of
# this room (`python3 -m midas_depth_ros.options.reference`), and a test holds them to it. Which
# backends and precisions there are to choose from is what `depth` says: its tables of names are
# all that this room imports.

AS_FOR_ALL = -1
ROLLED = 'a camera that is mounted upside down or on its side: rotate'


def check_own_turn(degrees: int) -> str:
    """Likewise, or as for all."""
    return '' if degrees == AS_FOR_ALL else check_turn(degrees)


@dataclasses.dataclass(frozen=True)
class MountOptions(Options):
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
class DepthNodeSettings(Options):
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
        f'{", ".join(names())}, auto ({PREFERRED} if its weights can be had, else {FALLBACK}), or '
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
    max_pixels: int = declared_as(SharedOptions, 'max_pixels')
    bit_depth: int = declared_as(SharedOptions, 'bit_depth')
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
    camera_height: float = declared_as(
        MountOptions,
        'camera_height',
        text='Height of the lens above the floor; NaN = unknown. Measure it with a ruler.',
    )
    camera_pitch: float = declared_as(
        MountOptions,
        'camera_pitch',
        text='How far the camera looks down (positive) from level; NaN = unknown. '
        '~/calibrate_pitch estimates it. With camera_info it places the horizon for closeness.',
    )
    camera_roll: float = declared_as(
        MountOptions,
        'camera_roll',
        default=0.0,
        text='How far the camera is rolled to the right; of one mounted upside down or on its '
        'side, what is left after rotate.',
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
    mounts: dict[str, MountOptions] = groups(MountOptions, 'cameras')
    image_timeout: float = parameter(
        2.0,
        'After this long without images the camera counts as silent (wall clock).',
        unit='s',
        minimum=0.1,
        maximum=3600.0,
        live=True,
    )
    diagnostics_rate: float = declared_as(SharedOptions, 'diagnostics_rate')
    heatmap: HeatmapOptions = group(HeatmapOptions)
    scale: ScaleOptions = group(ScaleOptions)
    reference: ReferenceSensorOptions = group(ReferenceSensorOptions)
    depth: DepthImageOptions = group(DepthImageOptions)
    obstacles: ObstacleOptions = group(ObstacleOptions)
    scan: ScanOptions = group(ScanOptions)

    @property
    def metric(self) -> MetricOptions:
        """What makes metres and obstacles of these parameters."""
        return MetricOptions(self.scale, self.depth, self.obstacles, self.scan)
