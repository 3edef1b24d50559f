"""From what the robot's camera sees to a scan, as depth_node does it, without ROS.

Exact depth, disturbed, or a model's answer to the picture; then floor, scale, obstacles, scan.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    MetricDepth,
    MetricOptions,
    ObstacleOptions,
    fit_ground_plane,
    laser_scan,
)
from midas_depth_ros.sim import DrivenRobot
from midas_depth_ros.sim.disturb import Disturbance, noisy

Infer = Callable[[np.ndarray], np.ndarray]  # RGB picture -> relative inverse depth


@dataclasses.dataclass(frozen=True)
class ScanOptions:
    """The beams of a scan, radians and metres."""

    angle_min: float
    angle_max: float
    angle_increment: float = 0.0175
    range_min: float = 0.1
    range_max: float = 6.0


@dataclasses.dataclass(frozen=True)
class PlainScan:
    """A scan as sensor_msgs/LaserScan has it; `ranges` (n,) float32 metres.

    seen_free: (n,) float32 metres, how far each beam has seen the floor free, NaN = not at all;
    None where nobody tells.
    """

    ranges: np.ndarray
    options: ScanOptions
    seen_free: np.ndarray | None = None


def scan_options(camera: CameraModel) -> ScanOptions:
    """Beams over the whole view of a camera that looks ahead."""
    half = math.atan(0.5 * camera.width / camera.fx)
    count = math.floor(half / ScanOptions.angle_increment)
    return ScanOptions(-count * ScanOptions.angle_increment, count * ScanOptions.angle_increment)


class MetricSight:
    """Relative inverse depth, frame after frame, to scans; None while there is no scale."""

    def __init__(
        self,
        camera: CameraModel,
        mount: CameraMount,
        obstacles: ObstacleOptions | None = None,
        scan: ScanOptions | None = None,
    ) -> None:
        self._camera, self._mount = camera, mount
        self._options = MetricOptions(obstacles=obstacles or ObstacleOptions())
        self._scan = scan or scan_options(camera)
        self._metric = MetricDepth()
        self._grids: dict[tuple[int, ...], tuple[np.ndarray, np.ndarray]] = {}
        self.frames = self.refused = 0

    @property
    def reason(self) -> str:
        """Why there is no scale, or why the last fit was refused."""
        return self._metric.reason

    def scan(self, relative: np.ndarray, stamp_s: float) -> PlainScan | None:
        """The scan of one frame, (H, W) float32."""
        grid, mount = self._grid(relative.shape), self._mount
        fit = fit_ground_plane(relative, grid, mount)
        metric = self._metric.update(stamp_s, relative, grid, mount, fit, self._options)
        self.frames += 1
        if metric is None or metric.obstacles is None:
            self.refused += 1
            return None
        ranges = laser_scan(metric.obstacles, grid, mount, **dataclasses.asdict(self._scan))
        return PlainScan(ranges, self._scan)

    def _grid(self, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        if shape not in self._grids:
            self._grids[shape] = self._camera.normalised_grid(shape[1], shape[0])
        return self._grids[shape]


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
        return self._sight.scan(self._infer(picture), robot.motion.time_s)


class TrueEyes:
    """Exact scans of what is within the camera's view: what perfect perception would give."""

    def __init__(self, scan: ScanOptions) -> None:
        self._scan = scan
        count = round((scan.angle_max - scan.angle_min) / scan.angle_increment) + 1
        self._angles = scan.angle_min + scan.angle_increment * np.arange(count)

    def look(self, robot: DrivenRobot) -> PlainScan:
        """The scan of what is there now."""
        ranges = robot.scan(self._angles).astype(np.float32)
        ranges[ranges > self._scan.range_max] = np.inf
        return PlainScan(ranges, self._scan)
