"""The parameters of `depth_node`, and how its share of the CPU is applied to the process.

The names of models, backends and precisions come from the tables of `depth`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable

import cv2

from midas_depth_ros.depth.backends import AUTO, BACKENDS, PRECISIONS
from midas_depth_ros.depth.models import FALLBACK, PREFERRED, licences_fault, names
from midas_depth_ros.depth.models.sizes import MOST_ASPECT, MOST_SHORT_SIDE
from midas_depth_ros.options.declarations import (
    NAN,
    Options,
    SharedOptions,
    check_turn,
    declared_as,
    group,
    groups,
    live_parameter,
    parameter,
)
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.options.metric import (
    DepthImageOptions,
    DistanceCalibrationOptions,
    FusionOptions,
    MarkerOptions,
    MetricOptions,
    ObstacleOptions,
    OdometryOptions,
    ReferenceSensorOptions,
    ScaleOptions,
    ScanOptions,
    SigmaOptions,
)
from midas_depth_ros.options.model_file import ModelFileOptions
from midas_depth_ros.options.text import (
    check_camera_names,
    check_frame_id,
    check_required_frame_id,
    check_topic,
)

CPU_RANGE = re.compile(r'\s*(\d+)\s*(?:-\s*(\d+)\s*)?')
HIGHEST_CPU = 4095
AS_FOR_ALL = -1
MOST_NETWORK_ASPECT = 64.0
ROLLED = 'for a camera mounted upside down or on its side use rotate'


def check_cpus(text: str) -> str:
    """Return what is wrong with a list of processors such as '0,2-3', '' = nothing."""
    try:
        parse_cpus(text)
    except ValueError as error:
        return str(error)
    return ''


def parse_cpus(text: str) -> frozenset[int]:
    """Parse a list of processors such as '0,2-3', as taskset does; '' = none.

    Raises ValueError.
    """
    cpus: set[int] = set()
    for part in text.split(',') if text.strip() else ():
        match = CPU_RANGE.fullmatch(part)
        if match is None:
            raise ValueError(f'{text!r} is not a list of processors: write it as 0,2-3')
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last > HIGHEST_CPU:
            raise ValueError(
                f'{part.strip()!r} is not a range of processors: write the lower number first, '
                f'and none above {HIGHEST_CPU}'
            )
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def check_own_turn(degrees: int) -> str:
    """Return why an angle is not a quarter turn or AS_FOR_ALL, '' if it is."""
    return '' if degrees == AS_FOR_ALL else check_turn(degrees)


@dataclasses.dataclass(frozen=True)
class MountOptions(Options):
    """How one camera of several is mounted: `mounts.<camera>.*`. NaN, '' and -1 = as for all."""

    camera_height: float = live_parameter(
        NAN, 'camera_height of this camera.', unit='m', minimum=0.01, maximum=100.0
    )
    camera_pitch: float = live_parameter(
        NAN, 'camera_pitch of this camera.', unit='rad', minimum=-1.3, maximum=1.3
    )
    camera_roll: float = live_parameter(
        NAN,
        'camera_roll of this camera.',
        unit='rad',
        minimum=-1.3,
        maximum=1.3,
        out_of_range_hint=ROLLED,
    )
    rotate: int = parameter(
        AS_FOR_ALL,
        'rotate of this camera; -1 = as for all.',
        unit='degrees',
        minimum=AS_FOR_ALL,
        maximum=270,
        check=check_own_turn,
    )
    camera_yaw: float = live_parameter(
        0.0,
        'Viewing direction of this camera, to the left of straight ahead: a pitch of the body that '
        'the Imu measures is a roll of a camera that looks sideways.',
        unit='rad',
        minimum=-3.1416,
        maximum=3.1416,
    )
    camera_x: float = live_parameter(
        NAN, 'camera_x of this camera.', unit='m', minimum=-10.0, maximum=10.0
    )
    camera_y: float = live_parameter(
        NAN, 'camera_y of this camera.', unit='m', minimum=-10.0, maximum=10.0
    )
    body_frame: str = parameter(
        '',
        'body_frame of this camera: below its lens, x in its viewing direction. With several '
        'cameras each needs its own, or gives no metres.',
        check=check_frame_id,
    )
    imu_topic: str = parameter('', 'imu_topic of this camera.', check=check_topic)


@dataclasses.dataclass(frozen=True)
class DepthNodeSettings(Options):
    """The parameters of `depth_node`, and how its share of the CPU is applied to the process.

    The names of models, backends and precisions come from the tables of `depth`.
    """

    cameras: tuple[str, ...] = parameter(
        ('camera',),
        'Camera namespaces: subscribes to <c>/image_raw, publishes <c>/heatmap/image and so on.',
        check=check_camera_names,
    )
    transport: str = parameter(
        'raw',
        'Which image topic to subscribe to: <c>/image_raw or <c>/image_raw/compressed.',
        choices=('raw', 'compressed'),
    )
    autostart: bool = parameter(
        True,
        'Configure and activate at start; false leaves the transitions to a lifecycle manager (for '
        "nav2's use bond_timeout 0.0, since this node has no bond: config/nav2_example.yaml).",
        at_start=True,
    )
    model: str = parameter(
        'auto',
        f'{", ".join(names())}, auto ({PREFERRED} if its weights are available, else {FALLBACK}), '
        'or the path of a weights file or of a model file (.onnx, .xml, .tflite: see '
        'docs/model_files.md).',
    )
    backend: str = parameter(
        AUTO,
        f'Inference backend: {AUTO} (the fastest that is installed and runs the model), '
        f'{", ".join(sorted(BACKENDS))}.',
    )
    precision: str = parameter(
        AUTO,
        'Numerical precision of inference; auto never chooses one whose measured deviation from '
        'f32 exceeds its bound.',
        choices=(AUTO, *PRECISIONS),
    )
    network_size: int = parameter(
        0,
        "Shorter side of the network's input: smaller is faster and sees less. A multiple of 14 or "
        '32, as the model wants it; 0 = a size at which two cores keep up, which the log names '
        'beside the official one.',
        unit='px',
        minimum=0,
        maximum=MOST_SHORT_SIDE,
    )
    network_aspect: float = parameter(
        MOST_ASPECT,
        "How many times as long as network_size the longer side of the network's input may be: "
        'longer pictures are squeezed. Models of fixed size or with a longest side ignore it.',
        minimum=1.0,
        maximum=MOST_NETWORK_ASPECT,
    )
    num_threads: int = parameter(
        0,
        'Threads of inference, and the limit for OpenCV; 0 = one per processor of cpu_affinity, or '
        'of the machine.',
        minimum=0,
        maximum=256,
    )
    cpu_affinity: str = parameter(
        '',
        'Processors that the node may use, such as 0,2-3; empty = all. Applies to the whole '
        'process. Linux only.',
        check=check_cpus,
    )
    niceness: int = parameter(
        0,
        'Niceness of the whole process: 0 = unchanged, 19 = lowest priority. It cannot be lowered '
        'again while the process runs.',
        minimum=0,
        maximum=19,
    )
    accept_licence: str = parameter(
        '',
        'Names of restricted licences that you accept, separated by commas: without it, a model '
        'whose weights have one (CC-BY-NC-4.0) is not loaded.',
        check=licences_fault,
    )
    allow_download: bool = parameter(
        True, 'Fetch missing weights (MiDaS_small: 85 MB, once) at configuration.'
    )
    max_rate: float = live_parameter(
        5.0,
        'Maximum frames per second and camera, by header stamps, or by the time of receipt where '
        'stamps are implausible; without use_sim_time the limit also holds by receipt. 0 = as many '
        'as the CPU manages.',
        unit='Hz',
        minimum=0.0,
        maximum=1000.0,
    )
    process_every_frame: bool = parameter(
        False,
        'For replay: process every frame. Subscribes reliably, holds the publisher back instead of '
        'dropping frames, and keeps the last 100 results for a slow subscriber. max_rate is '
        'ignored.',
    )
    max_pixels: int = declared_as(SharedOptions, 'max_pixels')
    bit_depth: int = declared_as(SharedOptions, 'bit_depth')
    output_size: str = live_parameter(
        'input',
        'Size of relative_inverse_depth, heatmap and depth: that of the input picture (at most '
        'output_width) or of the network.',
        choices=('input', 'network'),
    )
    output_width: int = live_parameter(
        1280,
        'Images and cloud are at most so wide, in the shape of the picture, and depth/camera_info '
        'describes that size; 0 = as wide as the picture. Large JPEGs are decoded at a half, a '
        'quarter or an eighth where that suffices for outputs and network.',
        unit='px',
        minimum=0,
        maximum=65_500,
    )
    jpeg_quality: int = live_parameter(
        80,
        'JPEG quality of heatmap/image/compressed.',
        minimum=1,
        maximum=100,
    )
    camera_height: float = declared_as(
        MountOptions,
        'camera_height',
        text='Height of the lens above the floor, measured with a ruler; NaN = unknown.',
    )
    camera_pitch: float = declared_as(
        MountOptions,
        'camera_pitch',
        text='Pitch of the camera, positive = looking down; NaN = unknown. ~/calibrate_pitch '
        'estimates it. With camera_info it also gives closeness the horizon.',
    )
    camera_roll: float = declared_as(
        MountOptions,
        'camera_roll',
        default=0.0,
        text='Roll of the camera, positive = to the right; for one mounted upside down or on its '
        'side the remaining roll after rotate.',
    )
    camera_x: float = declared_as(
        MountOptions,
        'camera_x',
        default=0.0,
        text='How far the lens is ahead of the frame that the odometry moves (its child_frame_id), '
        'for scale source odometry.',
    )
    camera_y: float = declared_as(
        MountOptions,
        'camera_y',
        default=0.0,
        text='How far the lens is to the left of that frame.',
    )
    rotate: int = parameter(
        0,
        'Turn the pictures clockwise before they are processed: 0, 90, 180 (for a camera mounted '
        'upside down) or 270. camera_info and horizontal_fov describe the pictures as published, '
        'camera_pitch and camera_roll the turned ones.',
        unit='degrees',
        minimum=0,
        maximum=270,
        check=check_turn,
    )
    mount_from_tf: bool = parameter(
        False,
        'Take height, pitch and roll from TF (body_frame to the optical frame) instead of the '
        'parameters; a live node needs tf2_ros.',
    )
    imu_topic: str = parameter(
        '',
        "sensor_msgs/Imu of the body: its roll and pitch at the picture's stamp are added to the "
        'mount; empty = none.',
        check=check_topic,
    )
    horizontal_fov: float = live_parameter(
        NAN,
        'Assumed horizontal field of view without camera_info; NaN = unknown.',
        unit='rad',
        minimum=0.1,
        maximum=2.8,
    )
    rectified: bool = parameter(
        False,
        "The pictures are rectified, as image_proc's image_rect: P of camera_info describes them, "
        'without distortion. False = raw pictures, described by K and D.',
    )
    body_frame: str = parameter(
        'base_link',
        'frame_id of scan, seen_free, proximity, nearest_point and obstacles: on the floor below '
        'the lens, x in the viewing direction, y left, z up. If your base_link is elsewhere, name '
        'another frame and publish a static transform to it.',
        check=check_required_frame_id,
    )
    picture_check: bool = live_parameter(
        True,
        'Check every picture: where it is dark, white, fogged, out of focus or covered, wholly or '
        'in part, its depth is unknown, whatever the network answers.',
    )
    frozen_after: float = live_parameter(
        2.0,
        'A camera whose pictures do not change for longer than this, by their stamps, counts as '
        'frozen (a clock or a few pixels may change); 0 = never, for simulated cameras without '
        'noise and for still pictures.',
        unit='s',
        minimum=0.0,
        maximum=3600.0,
    )
    reuse_unchanged: float = live_parameter(
        0.0,
        "For a parked robot: how long the network's last answer may be used again, while the "
        'picture differs from the one that was inferred only by the noise of the camera, and '
        'neither odometry nor Imu reports motion; 0 = never.',
        unit='s',
        minimum=0.0,
        maximum=10.0,
    )
    mounts: dict[str, MountOptions] = groups(MountOptions, 'cameras')
    image_timeout: float = live_parameter(
        2.0,
        'A camera without images for longer than this counts as silent (wall clock).',
        unit='s',
        minimum=0.1,
        maximum=3600.0,
    )
    diagnostics_rate: float = declared_as(SharedOptions, 'diagnostics_rate')
    model_file: ModelFileOptions = group(ModelFileOptions)
    heatmap: HeatmapOptions = group(HeatmapOptions)
    scale: ScaleOptions = group(ScaleOptions)
    reference: ReferenceSensorOptions = group(ReferenceSensorOptions)
    depth: DepthImageOptions = group(DepthImageOptions)
    obstacles: ObstacleOptions = group(ObstacleOptions)
    scan: ScanOptions = group(ScanOptions)
    marker: MarkerOptions = group(MarkerOptions)
    calibrate_distance: DistanceCalibrationOptions = group(DistanceCalibrationOptions)
    odometry: OdometryOptions = group(OdometryOptions)
    fusion: FusionOptions = group(FusionOptions)
    sigma: SigmaOptions = group(SigmaOptions)

    @property
    def metric(self) -> MetricOptions:
        """The groups that `geometry.MetricDepth` reads."""
        return MetricOptions(
            self.scale,
            self.depth,
            self.obstacles,
            self.scan,
            self.odometry,
            self.fusion,
            self.sigma,
        )


# --- The CPU budget: processors and priority, for every thread of the process.
#
# New threads inherit both, so they are set before a model is loaded.

ALL_PROCESSORS = -1  # for OpenCV


def threads_for(num_threads: int, cpus: frozenset[int]) -> int:
    """Return the threads of inference: the given number, else one per processor, else 0 (all)."""
    return num_threads or len(cpus)


def bound_opencv_threads(backend: str, threads: int) -> None:
    """Limit OpenCV to one thread in the whole process, unless it runs the network.

    Its steps on a frame take tenths of a millisecond each; a second thread busy-waits for the next
    one, and waking it costs what it saves (`benchmarks/node.py` measures it).
    """
    cv2.setNumThreads((threads or ALL_PROCESSORS) if backend == 'opencv' else 1)


_AT_FIRST = frozenset(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else frozenset()
_bound: list[bool] = []  # whether processors were ever chosen here


def apply_cpu_budget(niceness: int, cpus: frozenset[int]) -> None:
    """Set priority and processors of all threads of this process.

    niceness: 0 = unchanged. cpus: none = those that it began with.

    Raises ValueError where the operating system refuses.
    """
    if cpus or _bound:
        _bind(cpus or _AT_FIRST)
        _bound[:] = [True]
    try:
        if niceness:
            _for_every_thread(lambda thread: os.setpriority(os.PRIO_PROCESS, thread, niceness))
    except OSError as error:
        raise ValueError(
            f'niceness {niceness} is refused ({error}): without privileges it can only be raised '
            'while the process runs'
        ) from error


def _bind(cpus: frozenset[int]) -> None:
    if not hasattr(os, 'sched_setaffinity'):
        raise ValueError('cpu_affinity needs Linux: leave it empty')
    count = os.cpu_count() or 1
    if max(cpus) >= count:
        missing = min(cpu for cpu in cpus if cpu >= count)
        raise ValueError(
            f'cpu_affinity names processor {missing}, but this machine has 0 to {count - 1}'
        )
    try:
        _for_every_thread(lambda thread: os.sched_setaffinity(thread, cpus))
    except OSError as error:
        raise ValueError(
            f'cpu_affinity {sorted(cpus)} is refused ({error}): a container or cgroup may allow '
            'other processors only'
        ) from error


def _for_every_thread(apply: Callable[[int], None]) -> None:
    """Linux has priority and affinity per thread; elsewhere 0 is the process."""
    try:
        threads = [int(name) for name in os.listdir('/proc/self/task')]
    except OSError:
        threads = [0]
    for thread in threads:
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            apply(thread)
