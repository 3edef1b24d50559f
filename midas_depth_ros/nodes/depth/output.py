"""One camera's way out: publishes relative and metric outputs of a frame.

An output is computed only while it has a subscriber. Every message copies the stamp of the input.
Images and cloud stay in the optical frame, and are turned back if pictures are turned (`rotate`),
but for the heatmap. The others are in `body_frame`. Without a scale the metric outputs are silent:
nav2's watchdogs then stop the robot.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from geometry_msgs.msg import PointStamped, Vector3Stamped
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, LaserScan, PointCloud2, Range
from std_msgs.msg import Header

from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import (
    UNCALIBRATED,
    Beams,
    CameraModel,
    CameraMount,
    Closeness,
    FloorHeight,
    MetricDepth,
    MetricFrame,
    Refusal,
    Scan,
    closeness_of_picture,
    corridor_free_m,
    depth_of_inverse,
    depth_sigma,
    enlarged_sigma,
    fit_in_metres,
    point_cloud,
    scan_limits,
    sides_begin_m,
    turned,
    turned_points,
)
from midas_depth_ros.geometry.scan import AHEAD_M
from midas_depth_ros.images.message_bytes import grey_of, picture_reduced
from midas_depth_ros.images.reduction import bounded_size, thinned
from midas_depth_ros.nodes.depth.frame_scale import FrameScale
from midas_depth_ros.nodes.depth.metric_sources import Mounting
from midas_depth_ros.nodes.ros import messages
from midas_depth_ros.nodes.ros import quality_of_service as qos
from midas_depth_ros.options.depth import DepthNodeSettings, MountOptions
from midas_depth_ros.views import (
    Heatmap,
    InverseScale,
    enlarge_along_edges,
    enlarge_bilinearly,
)

if TYPE_CHECKING:
    from rclpy.node import Node

    from midas_depth_ros.nodes.depth.camera_input import Frame

UPRIGHT = '_upright'
Grid = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class FrameView:
    """One frame after inference, turned clockwise by `rotate` degrees from how the camera sends it.

    rgb: (H, W, 3) uint8. answer: (h, w) float32, the network's. inverse_depth: the same with
    NaN where the picture says nothing. blind: why all of it says nothing, else ''. camera: of the
    picture, None if uncalibrated. grid: its `normalised_grid` at network size. pose:
    (4, 4) float64, from the optical frame of the turned picture into the fixed frame of the
    odometry, at the picture's stamp; or why it is unknown; None without
    odometry. repeated: the answer is that of the frame before, which showed the same. error: (h, w)
    float32, what the network expects `answer` to be off by; None where it does not say that.
    """

    frame: Frame
    rgb: NDArray[np.uint8]
    answer: NDArray[np.float32]
    inverse_depth: NDArray[np.float32]
    blind: str
    camera: CameraModel | None
    grid: Grid | None
    settings: DepthNodeSettings
    rotate: int = 0
    pose: np.ndarray | Refusal | None = None
    repeated: bool = False
    error: NDArray[np.float32] | None = None
    _enlarged: dict[int, NDArray[np.float32]] = dataclasses.field(default_factory=dict, repr=False)

    def enlarged(
        self, estimator: DepthEstimator, depth: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """`answer` or `inverse_depth` at `size`, computed once: do not change it."""
        if id(depth) not in self._enlarged:
            self._enlarged[id(depth)] = estimator.enlarge(depth, self.size)
        return self._enlarged[id(depth)]

    @property
    def header(self) -> Header:
        """The header of the input."""
        return self.frame.message.header

    @property
    def upright_header(self) -> Header:
        """The header of the turned picture, which has an optical frame of its own."""
        if not self.rotate or not self.header.frame_id:
            return self.header
        return messages.copied_header(self.header, self.header.frame_id + UPRIGHT)

    def as_sent(self, picture: NDArray) -> NDArray:
        """(H, W) or (H, W, n) of the turned picture, turned back to how the camera sends it."""
        return turned(picture, -self.rotate % 360)

    @property
    def stamp_s(self) -> float:
        """The stamp of the input in seconds; its receipt while stamps do not tell time."""
        return self.frame.time_s

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the image outputs, turned."""
        full = self.settings.output_size == 'input'
        whole = self.rgb.shape[:2] if full else self.inverse_depth.shape
        return bounded_size(whole, self.settings.output_width, aside=self.aside)

    @property
    def points_kept(self) -> tuple[slice, slice]:
        """Which rows and columns of the network's answer become points, turned."""
        shape = self.inverse_depth.shape
        return thinned(shape, self.settings.output_width, aside=self.aside)

    @property
    def aside(self) -> bool:
        """Whether width and height are exchanged: the picture is turned onto its side."""
        return self.rotate in (90, 270)


@dataclasses.dataclass(frozen=True)
class Fused:
    """The 1/Z of one frame, fused, in place of its scale: for `Heatmap.render`."""

    inverse: NDArray[np.float32]

    def inverse_depth(self, d: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return 1/Z in 1/m; `d` is that of the frame alone."""
        return self.inverse


class GridCache:
    """The pixel rays of one camera at network size, computed once per calibration and size."""

    def __init__(self) -> None:
        self._key: tuple | None = None
        self._grid: Grid | None = None

    def of(self, camera: CameraModel | None, shape: tuple[int, ...]) -> Grid | None:
        """`CameraModel.normalised_grid` for (h, w) = `shape`; None without a camera."""
        if camera is None:
            return None
        if self._key != (camera, shape):
            self._key = (camera, shape)
            self._grid = camera.normalised_grid(shape[1], shape[0])
            for axis in self._grid:  # so that what follows from it can be kept, too
                axis.setflags(write=False)
        return self._grid


RELATIVE_OUTPUTS = {
    'relative_inverse_depth/image': Image,
    'heatmap/image': Image,
    'heatmap/image/compressed': CompressedImage,
    'closeness': Vector3Stamped,
}


class RelativeOutput(qos.PublisherTable):
    """The relative outputs of one camera: depth as it is, heatmap and closeness."""

    def __init__(
        self, node: Node, camera: str, estimator: DepthEstimator, mounting: Mounting
    ) -> None:
        profile = qos.output_profile(node.settings.process_every_frame)
        super().__init__(node, camera, RELATIVE_OUTPUTS, profile)
        self._mounting = mounting
        self._estimator = estimator
        self._heatmap = Heatmap()
        self.closeness: Closeness | None = None

    @property
    def heatmap_wanted(self) -> bool:
        """Whether the heatmap has a subscriber, raw or compressed."""
        return self.wanted('heatmap/image') or self.wanted('heatmap/image/compressed')

    def publish(self, view: FrameView, metric: MetricFrame | None) -> None:
        """Publish what is wanted of a frame; `metric` is for the heatmap in metres."""
        if view.frame.restarted:
            self._heatmap.reset()
        if not self.wanted('closeness'):
            self.closeness = None
        else:
            near = self.closeness = self._closeness(view)
            message = messages.vector_message(near.left, near.centre, near.right, view.header)
            self.send('closeness', message)
        if self.wanted('relative_inverse_depth/image'):
            depth = view.as_sent(view.enlarged(self._estimator, view.answer))
            self.send('relative_inverse_depth/image', messages.serialised_image(depth, view.header))
        if self.heatmap_wanted:
            self._publish_heatmap(view, metric)

    def _closeness(self, view: FrameView) -> Closeness:
        """The closeness in a frame, with the pitch that the camera had at its stamp."""
        pitch: float | Refusal = math.nan  # irrelevant for a blind picture
        if not view.blind:
            pitch = self._mounting.pitch_at(view.frame.stamp_ns, view.header.frame_id)
        if isinstance(pitch, Refusal):
            return Closeness.unknown(pitch.reason)
        return closeness_of_picture(view.inverse_depth, view.blind, view.grid, pitch)

    def _publish_heatmap(self, view: FrameView, metric: MetricFrame | None) -> None:
        scale: InverseScale | None = metric.scale if metric else None
        if metric and view.settings.fusion.enabled:
            scale = Fused(metric.inverse)
        picture = self._heatmap.render(
            view.inverse_depth,
            view.rgb,
            view.stamp_s,
            view.settings.heatmap,
            view.size,
            scale,
        )
        if self.wanted('heatmap/image'):
            self.send('heatmap/image', messages.serialised_bgr(picture, view.upright_header))
        if self.wanted('heatmap/image/compressed'):
            message = messages.jpeg_message(
                picture, view.upright_header, view.settings.jpeg_quality
            )
            self.send('heatmap/image/compressed', message)


METRIC_OUTPUTS = {
    'depth/image': Image,
    'depth/image/compressedDepth': CompressedImage,
    'depth/camera_info': CameraInfo,
    'depth/sigma': Image,
    'seen_free': LaserScan,  # published before its scan
    'scan': LaserScan,
    'proximity': Range,
    'nearest_point': PointStamped,
    'points': PointCloud2,
    'obstacles': PointCloud2,
}
ENLARGED = ('depth/image', 'depth/image/compressedDepth', 'depth/sigma')
DEPTH_IMAGES = ('depth/camera_info', *ENLARGED)  # of one size
BY_BEAMS = ('scan', 'seen_free', 'proximity', 'nearest_point')
ALONG_THE_FLOOR = ('obstacles', *BY_BEAMS)
BY_RAYS = ('points', *ALONG_THE_FLOOR)  # which a calibrated camera gives


class MetricOutput(qos.PublisherTable):
    """The metric outputs of one camera, and its scale."""

    def __init__(
        self, node: Node, camera: str, estimator: DepthEstimator, mounting: Mounting
    ) -> None:
        profile = qos.output_profile(node.settings.process_every_frame)
        super().__init__(node, camera, METRIC_OUTPUTS, profile)
        self.metric = MetricDepth()
        self.floor = FloorHeight()  # of the cloud's heights
        self.refused = 'no frame yet'
        self.no_obstacles = ''  # why scan and all else along the floor are unknown
        self.view_begins_m = math.nan  # how far ahead the nearest floor in view is
        self.sides_begin_m = math.nan  # and both sides of the corridor
        self.view_reaches_m = math.nan  # how high the view reaches `AHEAD_M` ahead
        self._estimator = estimator
        self._mounting = mounting
        with contextlib.ExitStack() as made:
            made.callback(super().close)
            self.scale = FrameScale(node, camera, estimator, mounting)
            made.pop_all()
        # Of the scan: shape, step and mount that its first and last angle are for, and the camera.
        self._limits: tuple[object, CameraModel | None, tuple[float, float]] = (
            None, None, (0.0, 0.0),
        )  # fmt: skip
        self._beams: tuple[object, Beams | None] = (None, None)
        # The camera of what is remembered, and the parameters by which its metres were measured.
        self._of: tuple[CameraModel | None, tuple[Any, ...]] | None = None
        # The stamp (s) of the last scan, and how to make one like it of ranges, limits and header.
        self._last_scan: tuple[float, int, Callable[..., LaserScan]] | None = None

    def close(self) -> None:
        """Destroy the publishers and the subscriptions to reference sensors."""
        self.scale.close()
        super().close()

    def forget_motion(self) -> None:
        """Forget from where things were seen: odometry began anew."""
        self.scale.forget_motion()
        self.metric.fusion.reset()

    def forget(self) -> None:
        """Forget all that was measured: it is of another camera, or of another time."""
        self.metric.reset()
        self.floor.reset()
        self.scale.reset()

    def update(self, view: FrameView) -> MetricFrame | None:
        """The frame in metres, or None, with the reason in `refused`."""
        changed = self._changed(view)
        if view.frame.mixed or changed:
            self.forget()
        fit, mount = self.scale.of_frame(view)
        if self.scale.refuted:
            self.metric.reset()  # the last good frame does not vouch for one that is refuted
            self.floor.reset()
        grid = view.grid if view.grid is not None else (np.zeros(0), np.zeros(0))
        if view.grid is None:
            mount = Refusal(UNCALIBRATED)
        metric = self.metric.update(
            view.stamp_s,
            view.inverse_depth,
            grid,
            mount if isinstance(mount, CameraMount) else None,
            fit,
            view.settings.metric,
            grey_of(view.rgb, view.inverse_depth.shape) if view.settings.fusion.enabled else None,
            view.pose if isinstance(view.pose, np.ndarray) else None,
            repeated=self.scale.repeats,
            error=view.error,
        )
        self.refused = self.metric.reason if metric is None else ''
        self.no_obstacles = mount.reason if isinstance(mount, Refusal) else ''
        return metric

    def _changed(self, view: FrameView) -> bool:
        """Whether the camera sees otherwise now than before, or is mounted otherwise, or what its
        metres are measured by is said to be another.
        """
        now, before = _measures_by(view.settings, self._mounting.parameters), self._of
        self._of = view.camera, now
        if before is None:  # nothing is remembered
            return False
        camera, measures = before
        same = view.camera is camera or (
            camera is not None and view.camera is not None and view.camera.sees_as(camera)
        )
        if same:
            self._of = camera, now  # or many small changes would pass for none
        unchanged = all(one is other for one, other in zip(now, measures, strict=True))
        # As texts, since NaN, which is what is not set, equals nothing.
        return not (same and (unchanged or repr(now) == repr(measures)))

    @property
    def needs_calibration(self) -> bool:
        """Whether the camera must be calibrated for what is wanted."""
        return self.scale.needs_calibration or any(map(self.wanted, BY_RAYS))

    @property
    def missing(self) -> str:
        """Why metres, or what is wanted along the floor, are missing; '' if they are not."""
        if self.refused:
            return f'no metres: {self.refused}'
        asked = self.no_obstacles and any(map(self.wanted, ALONG_THE_FLOOR))
        return f'no obstacles: {self.no_obstacles}' if asked else ''

    def publish(self, view: FrameView, metric: MetricFrame) -> None:
        """Publish what is wanted of a frame in metres."""
        if any(map(self.wanted, DEPTH_IMAGES)):
            self._publish_depth(view, metric)
        # Readers of clouds take one without points for a clear view, and silence for a fault.
        if self.wanted('points') and view.grid is not None and metric.shows_something:
            self._publish_points(view, metric, view.grid)
        self._publish_along_floor(view, metric)

    def withdraw(self, view: FrameView) -> None:
        """Where the last scan has been refuted since, publish one that knows nothing in its place,
        and no way ahead: who drives by them must not drive on until they are too old.
        """
        if self._last_scan is None or not self.scale.refuted:
            return
        stamp_s, beams, made = self._last_scan
        if not 0 <= view.stamp_s - stamp_s <= view.settings.scale.expiry:
            self._last_scan = None
            return
        header = messages.copied_header(view.header, self._mounting.body_frame)
        limits = view.settings.scan.range_min, view.settings.scan.range_max
        nothing = Scan.withdrawal(beams)
        for name, ranges in (('seen_free', nothing.seen_free), ('scan', nothing.ranges)):
            if self.wanted(name):
                self.send(name, made(ranges, limits=limits, header=header))
        if self.wanted('proximity'):  # else who drives by it alone hears of it by a time-out
            angle = messages.corridor_angle(view.settings.obstacles.robot_width, limits[1])
            self.send('proximity', messages.range_message(0.0, limits, angle, header))

    def _publish_points(self, view: FrameView, metric: MetricFrame, grid: Grid) -> None:
        kept = view.points_kept
        colours = view.as_sent(picture_reduced(view.rgb, view.inverse_depth.shape)[kept])
        points = turned_points(point_cloud(metric.depth_z, grid)[kept], -view.rotate % 360)
        expiry_s, fit = view.settings.scale.expiry, None
        if self.scale.floor is not None and not view.settings.fusion.enabled:
            fit = fit_in_metres(self.scale.floor, metric.scale)
        height = self.floor.update(
            view.stamp_s, metric.inverse, metric.depth_z, grid, metric.mount, expiry_s, fit
        )
        sigma, height = view.as_sent(metric.sigma[kept]), view.as_sent(height[kept])
        message = messages.cloud_message(points, colours, sigma, view.header, height)
        self.send('points', message)

    def _publish_depth(self, view: FrameView, metric: MetricFrame) -> None:
        if any(map(self.wanted, ENLARGED)):
            depth_z = self._enlarged_depth(view, metric)
            options = view.settings.depth
            sent = view.as_sent(depth_z)
            if self.wanted('depth/image'):
                self.send(
                    'depth/image', messages.serialised_depth(sent, view.header, options.encoding)
                )
            if self.wanted('depth/image/compressedDepth'):
                packed = messages.compressed_depth_message(sent, view.header, options)
                self.send('depth/image/compressedDepth', packed)
            if self.wanted('depth/sigma'):
                sigma = depth_sigma(depth_z, enlarged_sigma(metric.inverse_sigma, view.size))
                message = messages.serialised_image(view.as_sent(sigma), view.header)
                self.send('depth/sigma', message)
        if view.camera is not None and self.wanted('depth/camera_info'):
            camera = view.camera.scaled(view.size[1], view.size[0]).turned(-view.rotate % 360)
            self.send('depth/camera_info', messages.camera_info_message(camera, view.header))

    def _enlarged_depth(self, view: FrameView, metric: MetricFrame) -> NDArray[np.float32]:
        """Metric depth at `view.size`."""
        limits, fused = view.settings.depth, view.settings.fusion.enabled
        # What is fused is in 1/m already, and no answer of the network, which may have a range.
        small = metric.inverse if fused else view.inverse_depth
        if limits.edge_aware:
            enlarged = enlarge_along_edges(small, view.rgb, view.size)
        elif fused:
            enlarged = enlarge_bilinearly(small, view.size)
        else:
            enlarged = view.enlarged(self._estimator, small)
        bounds = {'min_depth_m': limits.min, 'max_depth_m': limits.max}
        if fused:
            return depth_of_inverse(enlarged, **bounds)
        return metric.scale.depth(enlarged, **bounds)

    def _publish_along_floor(self, view: FrameView, metric: MetricFrame) -> None:
        """Publish what is along the floor; all but the obstacles' points from one set of beams."""
        obstacles, mount, grid = metric.obstacles, metric.mount, view.grid
        if obstacles is None or mount is None or grid is None:
            return
        header = messages.copied_header(view.header, self._mounting.body_frame)
        if self.wanted('obstacles') and metric.shows_something:
            points = obstacles.points[obstacles.mask]
            self.send('obstacles', messages.obstacles_message(points, header))
        if not any(map(self.wanted, BY_BEAMS)):
            return
        settings = view.settings
        limits = settings.scan.range_min, settings.scan.range_max
        step = settings.scan.angle_increment
        first, last = self._angles(view, grid, mount)
        beams = self._beams_of(view, grid, mount, (first, last))
        scan = beams.scan(obstacles, range_min=limits[0], range_max=limits[1])
        made = functools.partial(messages.scan_message, angle_min=first, angle_increment=step)
        self._last_scan = view.stamp_s, len(scan.ranges), made
        if self.wanted('seen_free'):
            begins = min(beams.view_begins_m, limits[1]), limits[1]
            message = messages.scan_message(scan.seen_free, first, step, begins, header)
            self.send('seen_free', message)
        if self.wanted('scan'):
            self.send('scan', messages.scan_message(scan.ranges, first, step, limits, header))
        if self.wanted('nearest_point') and obstacles.nearest is not None:
            self.send('nearest_point', messages.point_message(obstacles.nearest, header))
        if self.wanted('proximity'):
            self._publish_proximity(view, scan, obstacles.nearest_range_m, beams, first)

    def _publish_proximity(
        self, view: FrameView, scan: Scan, nearest_m: float, beams: Beams, first: float
    ) -> None:
        """Publish how far the corridor ahead is free, unless nothing of it is known."""
        settings = view.settings
        width = settings.obstacles.robot_width
        free_m = corridor_free_m(
            scan,
            nearest_m,
            angle_min=first,
            angle_increment=settings.scan.angle_increment,
            width_m=width,
            begins_m=beams.view_begins_m,
        )
        angles = first, first + settings.scan.angle_increment * (len(scan.ranges) - 1)
        self.sides_begin_m = sides_begin_m(*angles, width)
        if free_m > 0:
            limits = settings.scan.range_min, settings.scan.range_max
            header = messages.copied_header(view.header, self._mounting.body_frame)
            angle = messages.corridor_angle(width, limits[1])
            self.send('proximity', messages.range_message(free_m, limits, angle, header))

    def _angles(self, view: FrameView, grid: Grid, mount: CameraMount) -> tuple[float, float]:
        """First and last angle of the scan; constant, as SLAM expects.

        So the Imu does not count here, the first mount from TF is kept, and a camera that focuses
        is that of before.
        """
        fixed = self._mounting.by_parameters()
        step = view.settings.scan.angle_increment
        key, camera = (view.inverse_depth.shape, step, fixed), view.camera
        before, of, angles = self._limits
        same = of is camera or (of is not None and camera is not None and camera.sees_as(of))
        if before != key or not same:
            angles = scan_limits(grid, fixed or mount, step)
            self._limits = key, camera, angles
        return angles

    def _beams_of(
        self, view: FrameView, grid: Grid, mount: CameraMount, angles: tuple[float, float]
    ) -> Beams:
        """The pixels of each beam, computed again when mount or calibration change."""
        settings = view.settings.scan
        key = view.camera, view.inverse_depth.shape, mount, angles, settings
        if self._beams[0] != key or self._beams[1] is None:
            made = Beams(
                grid,
                mount,
                angle_min=angles[0],
                angle_max=angles[1],
                angle_increment=settings.angle_increment,
                max_blind_m=settings.max_blind,
            )
            self._beams = key, made
            self.view_begins_m = made.view_begins_m
            self.view_reaches_m = made.view_reaches_m
            return made
        return self._beams[1]


def _measures_by(settings: DepthNodeSettings, mount: MountOptions) -> tuple[Any, ...]:
    """The parameters that make metres of what is seen."""
    scale = settings.scale
    return mount, settings.marker, settings.reference, scale.fixed_scale, scale.fixed_shift


def scale_values(output: MetricOutput, idle: str = '') -> dict[str, str]:
    """The state of the scale for diagnostics. idle: why it is not computed at present, if so."""
    if idle:
        return {'scale': f'not computed: {idle}'}
    scale = output.metric.current
    age, begins, reaches = output.metric.age_s, output.view_begins_m, output.view_reaches_m
    sides = output.sides_begin_m
    values = {
        'scale': 'valid' if scale else f'none: {output.refused}',
        'scale age [s]': '' if math.isinf(age) else f'{age:.2f}',
        'last refusal': output.metric.reason,
        'floor in view from [m]': '' if math.isnan(begins) else f'{begins:.2f}',
        'sides of the corridor from [m]': '' if math.isnan(sides) else f'{sides:.2f}',
        f'in view at {AHEAD_M:g} m up to [m]': '' if math.isnan(reaches) else f'{reaches:.2f}',
    }
    if output.wanted('points'):
        unknown = output.floor.reason
        values['heights'] = f'unknown: {unknown}' if unknown else 'above the floor in view'
    if scale is not None:
        values |= {
            'scale source': scale.source,
            'scale s [1/m]': f'{scale.scale:.6g}',
            'scale t [1/m]': f'{scale.shift:.6g}',
            'scale inliers': f'{scale.inlier_share:.0%} of {scale.points}',
            'scale residual [1/m]': f'{scale.residual:.4g}',
            'obstacles': f'unknown: {output.no_obstacles}' if output.no_obstacles else 'in metres',
        }
    return values | output.metric.fusion.values() | output.scale.values()
