"""From what the robot's camera sees to a scan, as depth_node does it, without ROS.

Exact depth, disturbed, or a model's answer to the picture, which is judged first; then floor,
scale, obstacles, scan, all by the parameters of depth_node.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from midas_depth_ros.geometry import (
    Beams,
    CameraModel,
    CameraMount,
    MetricDepth,
    fit_ground_plane,
    scan_limits,
)
from midas_depth_ros.images import judge_picture
from midas_depth_ros.options.depth import DepthNodeSettings
from midas_depth_ros.sim import DrivenRobot
from midas_depth_ros.sim.disturb import Disturbance, noisy

Infer = Callable[[np.ndarray], np.ndarray]  # RGB picture -> relative inverse depth
Grid = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class ScanOptions:
    """The beams of a scan, radians and metres."""

    angle_min: float
    angle_max: float
    angle_increment: float
    range_min: float
    range_max: float

    @property
    def angles(self) -> np.ndarray:
        """(n,) of the beams."""
        count = round((self.angle_max - self.angle_min) / self.angle_increment) + 1
        return self.angle_min + self.angle_increment * np.arange(count)


@dataclasses.dataclass(frozen=True)
class PlainScan:
    """A scan as sensor_msgs/LaserScan has it; `ranges` (n,) float32 metres.

    seen_free: (n,) float32 metres, how far each beam has seen the floor free, NaN = not at all;
    None where nobody tells. view_begins_m: what is less far ahead was not in view.
    """

    ranges: np.ndarray
    options: ScanOptions
    seen_free: np.ndarray | None = None
    view_begins_m: float = 0.0


class MetricSight:
    """Relative inverse depth, frame after frame, to scans; None while there is no scale."""

    def __init__(
        self, camera: CameraModel, mount: CameraMount, settings: DepthNodeSettings
    ) -> None:
        self._camera, self._mount, self._settings = camera, mount, settings
        self._options = settings.metric_options()
        self._metric = MetricDepth()
        self._beams: dict[tuple[int, ...], tuple[Grid, Beams, ScanOptions]] = {}
        self.frames = self.refused = 0

    @property
    def reason(self) -> str:
        """Why there is no scale, or why the last fit was refused."""
        return self._metric.reason

    def scan_options(self, shape: tuple[int, ...]) -> ScanOptions:
        """The beams of scans of depth (h, w) = `shape`."""
        return self._of(shape)[2]

    def scan(self, relative: np.ndarray, stamp_s: float) -> PlainScan | None:
        """The scan of one frame, (h, w) float32, NaN where nothing is known."""
        grid, beams, options = self._of(relative.shape)
        mount = self._mount
        fit = fit_ground_plane(relative, grid, mount)
        metric = self._metric.update(stamp_s, relative, grid, mount, fit, self._options)
        self.frames += 1
        if metric is None or metric.obstacles is None:
            self.refused += 1
            return None
        limits = {'range_min': options.range_min, 'range_max': options.range_max}
        scan = beams.scan(metric.obstacles, **limits)
        return PlainScan(scan.ranges, options, scan.seen_free, beams.view_begins_m)

    def _of(self, shape: tuple[int, ...]) -> tuple[Grid, Beams, ScanOptions]:
        if shape not in self._beams:
            grid, scan = self._camera.normalised_grid(shape[1], shape[0]), self._settings.scan
            angles = scan_limits(grid, self._mount, scan.angle_increment)
            options = ScanOptions(*angles, scan.angle_increment, scan.range_min, scan.range_max)
            beams = Beams(
                grid,
                self._mount,
                angle_min=angles[0],
                angle_max=angles[1],
                angle_increment=scan.angle_increment,
                max_blind_m=scan.max_blind,
            )
            self._beams[shape] = grid, beams, options
        return self._beams[shape]


class ExactDepthEyes:
    """Exact depth, disturbed per frame, through the geometry."""

    def __init__(self, camera: CameraModel, sight: MetricSight, disturbance: Disturbance) -> None:
        self._camera, self._sight, self._disturbance = camera, sight, disturbance

    def look(self, robot: DrivenRobot) -> PlainScan | None:
        """The scan of what the camera sees now."""
        pose = robot.motion.camera_pose(robot.model)
        depth = robot.world.depth_z(self._camera, pose)
        relative = self._disturbance.relative_inverse_depth(depth)
        return self._sight.scan(relative, robot.motion.time_s)


class ModelEyes:
    """A picture, with noise, through a model and the geometry."""

    def __init__(
        self,
        camera: CameraModel,
        sight: MetricSight,
        infer: Infer,
        noise: float = 2.0,
        seed: int = 0,
    ) -> None:
        self._camera, self._sight, self._infer = camera, sight, infer
        self._noise, self._rng = noise, np.random.default_rng(seed)

    def look(self, robot: DrivenRobot) -> PlainScan | None:
        """The scan of what the camera sees now."""
        pose = robot.motion.camera_pose(robot.model)
        picture = noisy(robot.world.render(self._camera, pose).rgb, self._noise, self._rng)
        answer = self._infer(picture)
        return self._sight.scan(judge_picture(picture).hidden(answer), robot.motion.time_s)


class TrueEyes:
    """Exact scans of what is within the camera's view: what perfect perception would give."""

    def __init__(self, scan: ScanOptions) -> None:
        self._scan = scan

    def look(self, robot: DrivenRobot) -> PlainScan:
        """The scan of what is there now."""
        ranges = robot.scan(self._scan.angles).astype(np.float32)
        ranges[ranges > self._scan.range_max] = np.inf
        return PlainScan(ranges, self._scan)
