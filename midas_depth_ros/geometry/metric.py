"""From relative inverse depth to metres and obstacles, frame after frame, for one camera.

A fit of scale and shift comes in with every frame and is filtered over time; depth, obstacles
and the distance of what is in the way come out, or None with the reason while there is no scale.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from midas_depth_ros.geometry.cloud import Grid, pixel_angle
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.obstacles import (
    ObstacleMemory,
    ObstacleOptions,
    Obstacles,
    find_obstacles,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleFilter, ScaleShift


@dataclasses.dataclass(frozen=True)
class MetricOptions:
    """time_constant_s, expiry_s: of `ScaleFilter`. min_depth_m, max_depth_m: of valid depth."""

    time_constant_s: float = 0.3
    expiry_s: float = 1.0
    min_depth_m: float = 0.1
    max_depth_m: float = 20.0
    obstacles: ObstacleOptions = dataclasses.field(default_factory=ObstacleOptions)


@dataclasses.dataclass(frozen=True)
class MetricFrame:
    """One frame in metres: depth_z (h, w) float32, NaN unknown; obstacles only with a mount.

    mount: how the camera was mounted at this frame, which an Imu changes from one to the next.
    """

    scale: ScaleShift
    depth_z: np.ndarray
    obstacles: Obstacles | None
    mount: CameraMount | None


class MetricDepth:
    """Remembers the scale and the obstacles of one camera between its frames."""

    def __init__(self) -> None:
        self._options = MetricOptions()
        self._filter = ScaleFilter(self._options.time_constant_s, self._options.expiry_s)
        self._memory = ObstacleMemory(self._options.obstacles)
        self.current: ScaleShift | None = None

    @property
    def reason(self) -> str:
        """Why there is no scale, or why the last fit was refused; '' when it was accepted."""
        return self._filter.reason

    @property
    def age_s(self) -> float:
        """How old the last accepted fit was at the last frame; inf without one."""
        return self._filter.age_s

    def reset(self) -> None:
        """Forget everything, as after stamps that went back."""
        self._filter.reset()
        self._memory.reset()
        self.current = None

    def update(
        self,
        stamp_s: float,
        d: np.ndarray,
        grid: Grid,
        mount: CameraMount | None,
        fit: ScaleShift | Refusal,
        options: MetricOptions,
    ) -> MetricFrame | None:
        """The frame in metres, or None while there is no scale.

        d: (h, w) float32 relative inverse depth. grid: `CameraModel.normalised_grid(w, h)`.
        mount: without it there are no obstacles, only depth.
        """
        self._use(options)
        scale = self._filter.update(stamp_s, fit)
        self.current = scale
        if scale is None:
            return None
        farthest = options.max_depth_m
        depth_z = scale.depth(d, min_depth_m=options.min_depth_m, max_depth_m=farthest)
        if mount is None:
            return MetricFrame(scale, depth_z, None, None)
        # For obstacles what is far is not unknown (a cliff shows nothing below it), nor is what
        # touches the lens.
        seen = find_obstacles(
            scale.depth(d, min_depth_m=0.0, max_depth_m=farthest, beyond=math.inf),
            grid,
            mount,
            options.obstacles,
            residual=scale.residual,
        )
        lasting = self._memory.update(stamp_s, seen, pixel_rad=pixel_angle(grid))
        return MetricFrame(scale, depth_z, lasting, mount)

    def _use(self, options: MetricOptions) -> None:
        """Take over changed options without forgetting the scale."""
        if options == self._options:
            return
        self._filter.time_constant_s = options.time_constant_s
        self._filter.expiry_s = options.expiry_s
        if options.obstacles != self._options.obstacles:
            self._memory = ObstacleMemory(options.obstacles)
        self._options = options
