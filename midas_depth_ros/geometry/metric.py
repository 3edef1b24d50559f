"""From relative inverse depth to metres, obstacles and points, frame by frame, for one camera.

Every frame's fit of scale and shift is filtered over time; depth and obstacles come out, or None
with the reason while there is no scale. Metric depth becomes points and PLY files here, too.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.geometry.fitting import Grid, InvalidInverseDepth, checked, pixel_angle
from midas_depth_ros.geometry.fusion import DepthFusion
from midas_depth_ros.geometry.mount import CameraMount
from midas_depth_ros.geometry.obstacles import (
    ObstacleMemory,
    Obstacles,
    find_obstacles,
)
from midas_depth_ros.geometry.scale import Refusal, ScaleFilter, ScaleShift, depth_of_inverse
from midas_depth_ros.geometry.sigma import depth_sigma, sigma_and_of_surfaces
from midas_depth_ros.options.metric import MetricOptions


@dataclasses.dataclass(frozen=True)
class MetricFrame:
    """One frame in metres: depth_z (h, w) float32, NaN unknown; obstacles only with a mount.

    mount: of the camera at this frame; an Imu changes it from one frame to the next. inverse,
    inverse_sigma: (h, w) float32 1/Z and its standard deviation, 1/m, before limits of depth.
    """

    scale: ScaleShift
    depth_z: np.ndarray
    obstacles: Obstacles | None
    mount: CameraMount | None
    inverse: np.ndarray
    inverse_sigma: np.ndarray

    @functools.cached_property
    def shows_something(self) -> bool:
        """Whether any pixel has a depth: of a blind picture none has."""
        return bool(np.isfinite(self.depth_z).any())

    @functools.cached_property
    def sigma(self) -> np.ndarray:
        """Standard deviation of `depth_z`, (h, w) float32 metres; NaN where that is NaN."""
        return depth_sigma(self.depth_z, self.inverse_sigma)


class MetricDepth:
    """Keeps the scale and the obstacles of one camera between its frames."""

    def __init__(self) -> None:
        self._options = MetricOptions()
        self._filter = ScaleFilter()
        self._memory = ObstacleMemory(self._options.obstacles)
        self.current: ScaleShift | None = None
        self.fusion = DepthFusion(self._options.fusion)

    @property
    def reason(self) -> str:
        """Why there is no scale, or why the last fit was refused; '' when it was accepted."""
        return self._filter.reason

    @property
    def age_s(self) -> float:
        """How old the last accepted fit was at the last frame; inf without one."""
        return self._filter.age_s

    def reset(self) -> None:
        """Forget everything, as after a stamp that went back."""
        self._filter.reset()
        self._memory.reset()
        self.fusion.reset()
        self.current = None

    def update(
        self,
        stamp_s: float,
        d: np.ndarray,
        grid: Grid,
        mount: CameraMount | None,
        fit: ScaleShift | Refusal,
        options: MetricOptions,
        grey: np.ndarray | None = None,
        pose: np.ndarray | None = None,
        repeated: bool = False,
        error: np.ndarray | None = None,
    ) -> MetricFrame | None:
        """Return the frame in metres, or None while there is no scale.

        d: (h, w) float32 relative inverse depth. grid: `CameraModel.normalised_grid(w, h)`. Without
        a mount there is only depth, and no obstacles. grey, pose: as `DepthFusion.update` needs
        them; without the picture nothing is fused. repeated: d and fit are those of the frame
        before, once more, which adds nothing to what is averaged over time. error: (h, w) float32,
        what the network expects d to be off by, if it says that.
        """
        self._use(options)
        scale = self._filter.update(stamp_s, fit, repeated=repeated)
        self.current = scale
        if scale is None:
            return None
        inverse = scale.seen_inverse_depth(d)
        inverse_sigma, of_surfaces = sigma_and_of_surfaces(
            d, scale, inverse=inverse, grid=grid, mount=mount, error=error
        )
        if options.fusion.enabled and grey is not None:
            of_pixels = grid if grid[0].shape == d.shape else None
            again = self.fusion.repeat(stamp_s, grey, pose) if repeated else None
            inverse, inverse_sigma = again or self.fusion.update(
                stamp_s, inverse, inverse_sigma, grey, of_pixels, pose
            )
        farthest = options.depth.max
        depth_z = depth_of_inverse(inverse, min_depth_m=options.depth.min, max_depth_m=farthest)
        if mount is None:
            return MetricFrame(scale, depth_z, None, None, inverse, inverse_sigma)
        # For obstacles, neither far (the void below a cliff) nor touching the lens is unknown.
        seen = find_obstacles(
            depth_of_inverse(inverse, min_depth_m=0.0, max_depth_m=farthest, beyond=math.inf),
            grid,
            mount,
            options.obstacles,
            max_range_m=options.scan.range_max,
            residual=scale.floor_residual,
            floor_drop=scale.floor_drop,
            sigma=np.minimum(of_surfaces, inverse_sigma),
            max_share=options.sigma.max_share,
        )
        lasting = self._memory.update(stamp_s, seen, pixel_rad=pixel_angle(grid))
        return MetricFrame(scale, depth_z, lasting, mount, inverse, inverse_sigma)

    def _use(self, options: MetricOptions) -> None:
        """Take changed options without forgetting the scale."""
        if options == self._options:
            return
        self._filter.time_constant_s = options.scale.time_constant
        self._filter.expiry_s = options.scale.expiry
        if options.fusion != self._options.fusion:
            self.fusion.use(options.fusion)
        if options.obstacles != self._options.obstacles:
            self._memory = ObstacleMemory(options.obstacles)
        self._options = options


def point_cloud(depth_z: np.ndarray, grid: Grid) -> np.ndarray:
    """Return (h, w, 3) float32 x, y, z in metres, optical frame (REP 103); NaN where unknown.

    depth_z: (h, w) metres along the optical axis (REP 118); grid: `CameraModel.normalised_grid`.
    Raises `InvalidInverseDepth` for arrays of the wrong shape or type.
    """
    depth = checked(depth_z, grid)
    x, y = grid
    z = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    return np.stack([x * z, y * z, np.where(np.isfinite(x), z, np.float32(np.nan))], axis=-1)


# --- Points and their colours as a PLY file, as read by MeshLab, CloudCompare and Open3D.

VERTEX = np.dtype(
    [('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('red', 'u1'), ('green', 'u1'), ('blue', 'u1')]
)
PLY_TYPES = {'f4': 'float', 'u1': 'uchar'}


def ply_bytes(
    points: NDArray[np.float32], rgb: NDArray[np.uint8], comments: Sequence[str] = ()
) -> bytes:
    """Return a binary little-endian PLY file of the finite points.

    points: (..., 3) float32, optical frame (x right, y down, z forward). rgb: same shape, uint8.
    comments: header lines, which name the unit; PLY itself has none. Raises `InvalidInverseDepth`
    if the shapes differ.
    """
    if points.shape != rgb.shape or points.shape[-1] != 3:
        raise InvalidInverseDepth(
            f'points have shape {points.shape}, colours {rgb.shape}: both must be (..., 3)'
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
