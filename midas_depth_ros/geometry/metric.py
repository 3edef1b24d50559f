"""From relative inverse depth to metres and obstacles, frame after frame, for one camera.

A fit of scale and shift comes in with every frame and is filtered over time; depth, obstacles
and the distance of what is in the way come out, or None with the reason while there is no scale.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import Grid, InvalidInverseDepth, checked, pixel_angle
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.obstacles import (
    ObstacleMemory,
    Obstacles,
    find_obstacles,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleFilter, ScaleShift
from midas_depth_ros.options.metric import MetricOptions


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
        self._filter = ScaleFilter()
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
        farthest = options.depth.max
        depth_z = scale.depth(d, min_depth_m=options.depth.min, max_depth_m=farthest)
        if mount is None:
            return MetricFrame(scale, depth_z, None, None)
        # For obstacles what is far is not unknown (a cliff shows nothing below it), nor is what
        # touches the lens.
        seen = find_obstacles(
            scale.depth(d, min_depth_m=0.0, max_depth_m=farthest, beyond=math.inf),
            grid,
            mount,
            options.obstacles,
            max_range_m=options.scan.range_max,
            residual=scale.residual,
        )
        lasting = self._memory.update(stamp_s, seen, pixel_rad=pixel_angle(grid))
        return MetricFrame(scale, depth_z, lasting, mount)

    def _use(self, options: MetricOptions) -> None:
        """Take over changed options without forgetting the scale."""
        if options == self._options:
            return
        self._filter.time_constant_s = options.scale.time_constant
        self._filter.expiry_s = options.scale.expiry
        if options.obstacles != self._options.obstacles:
            self._memory = ObstacleMemory(options.obstacles)
        self._options = options


# --- Metric depth as points in the optical frame, in the order of the pixels.


def point_cloud(depth_z: np.ndarray, grid: Grid) -> np.ndarray:
    """(h, w, 3) float32 x, y, z in metres, optical frame (REP 103); NaN where depth is none.

    depth_z: (h, w) metres along the optical axis (REP 118); grid: `CameraModel.normalised_grid`.
    Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    depth = checked(depth_z, grid)
    x, y = grid
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    return np.stack([x * z, y * z, np.where(np.isfinite(x), z, np.float32(np.nan))], axis=-1)


# --- Points and their colours as a PLY file, which MeshLab, CloudCompare and Open3D read.

VERTEX = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')]
)
PLY_TYPES = {'f4': 'float', 'u1': 'uchar'}


def ply_bytes(
    points: NDArray[np.float32], rgb: NDArray[np.uint8], comments: Sequence[str] = ()
) -> bytes:
    """A binary little-endian PLY of the points that are finite.

    points: (..., 3) float32, optical frame (x right, y down, z forward). rgb: likewise, uint8.
    comments: lines of its header, which say what the unit is; a PLY has none of its own.
    Raises `InvalidInverseDepth` where points and colours do not fit each other.
    """
    if points.shape != rgb.shape or points.shape[-1] != 3:
        raise InvalidInverseDepth(
            f'points {points.shape} and colours {rgb.shape}: give (..., 3) of both, alike'
        )
    flat, colours = points.reshape(-1, 3), rgb.reshape(-1, 3)
    known = np.isfinite(flat).all(axis=1)
    table = np.empty(int(known.sum()), VERTEX)
    for index, (axis, colour) in enumerate((('x', 'red'), ('y', 'green'), ('z', 'blue'))):
        table[axis] = flat[known, index]
        table[colour] = colours[known, index]
    properties = [
        f'property {PLY_TYPES[VERTEX[name].str[1:]]} {name}' for name in VERTEX.names or ()
    ]
    header = [
        'ply',
        'format binary_little_endian 1.0',
        *(f'comment {" ".join(text.split())}' for text in comments),
        f'element vertex {len(table)}',
        *properties,
        'end_header',
    ]
    return '\n'.join(header).encode('ascii', 'replace') + b'\n' + table.tobytes()
