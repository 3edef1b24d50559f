"""What `midas_depth image` makes of one picture: its files, each from one row of OUTPUTS."""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from midas_depth_ros.cli.options import (
    ASSUMED_FOV_RAD,
    FAR_PERCENTILE,
    FARTHEST_M,
    NEAR_PERCENTILE,
    Look,
    captions_of,
    out_of_range_text,
)
from midas_depth_ros.geometry import (
    Closeness,
    Refusal,
    ScaleShift,
    ply_bytes,
    point_cloud,
)
from midas_depth_ros.images import verdict_for
from midas_depth_ros.images.message_bytes import picture_reduced
from midas_depth_ros.lab.output import (
    CommandError,
)
from midas_depth_ros.views import Heatmap, HeatmapOptions, side_by_side

if TYPE_CHECKING:
    from midas_depth_ros.depth import DepthEstimator

OVERLAY_ALPHA = 0.5  # of the overlay, if none is given
HIGHEST_LEVEL = 65535
CLOUD_DEPTH_M = (0.05, 50.0)  # of the points of a cloud in metres
NEAREST, FARTHEST = 1.0, 10.0  # distances in a cloud without a scale
LONGEST_SIDES = {'.webp': 16_383, '.jpg': 65_500, '.jpeg': 65_500}  # pixels, by the formats


class Result:
    """One picture and its depth. What several outputs need is computed once.

    rgb: (H, W, 3) uint8, no side above `longest_side` (0 = as the picture is). answer: (h, w)
    float32 relative inverse depth at network size. inverse_depth: the same with NaN where the
    picture is blind. suffix: of the files of pictures.
    """

    def __init__(
        self,
        name: str,
        rgb: NDArray[np.uint8],
        estimator: DepthEstimator,
        look: Look,
        longest_side: int = 0,
        suffix: str = '.png',
    ) -> None:
        self.name = name
        self.rgb = shrunk(rgb, longest_side)
        self.suffix = suffix
        self.look = look
        self.model = estimator.model
        self.answer = estimator.infer(rgb)
        self.verdict = verdict_for(estimator, rgb, check=look.picture_check)
        self.inverse_depth = self.verdict.masked(self.answer)
        self.enlarge = estimator.enlarge

    @functools.cached_property
    def depth(self) -> NDArray[np.float32]:
        """(H, W) float32 relative inverse depth, as the node publishes it."""
        return self.enlarge(self.answer, self.rgb.shape[:2])

    @functools.cached_property
    def scale(self) -> ScaleShift | Refusal:
        """Scale and shift, or why there are none."""
        return self.look.fit(self.inverse_depth, self.verdict)

    @functools.cached_property
    def closeness(self) -> Closeness:
        """Closeness left, centre and right; NaN = unknown."""
        return self.look.closeness(self.inverse_depth, self.verdict)

    @functools.cached_property
    def heatmap(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB."""
        return self.draw(self.look.heatmap)

    def draw(self, options: HeatmapOptions) -> NDArray[np.uint8]:
        """Return the heatmap with other options."""
        size, depth, scale = self.rgb.shape[:2], self.inverse_depth, None
        if options.mode == 'metric' and isinstance(self.scale, ScaleShift):
            scale = self.scale
            fitted = self.look.fitted(scale.inverse_depth(depth))
            near, far = fitted.metric_near, fitted.metric_far
            options = dataclasses.replace(options, metric_near=near, metric_far=far)
        return Heatmap().render(depth, self.rgb, 0.0, options, size, scale)


def closeness_json(near: Closeness) -> dict[str, float | str | None]:
    """Return closeness as in the HTTP API: null = unknown."""
    values = {'left': near.left, 'centre': near.centre, 'right': near.right}
    return {
        **{name: round(float(v), 4) if math.isfinite(v) else None for name, v in values.items()},
        'reason': near.reason,
    }


def heatmap_png(result: Result) -> bytes:
    """Return the heatmap."""
    return encoded(result.heatmap, result.suffix)


def overlay_png(result: Result) -> bytes:
    """Return the heatmap blended with the picture."""
    options = result.look.heatmap
    alpha = options.overlay_alpha or OVERLAY_ALPHA
    return encoded(result.draw(dataclasses.replace(options, overlay_alpha=alpha)), result.suffix)


def side_by_side_png(result: Result) -> bytes:
    """Return picture | heatmap, with captions and closeness."""
    near, mode = result.closeness, result.look.heatmap.mode
    captions = captions_of(result.name, result.model, mode, result.verdict)
    sectors = (near.left, near.centre, near.right)
    return encoded(side_by_side(result.rgb, result.heatmap, captions, sectors), result.suffix)


def depth_png(result: Result) -> bytes:
    """Return relative inverse depth in 16 bits, from the farthest (0) to the nearest (65535).

    The values of both are in the text fields `far` and `near` of the file.
    """
    far, near = float(result.depth.min()), float(result.depth.max())
    share = (result.depth - far) / ((near - far) or 1.0)
    about = PngImagePlugin.PngInfo()
    about.add_text('Description', 'relative inverse depth, no unit: far + v/65535 * (near - far)')
    about.add_text('far', repr(far))
    about.add_text('near', repr(near))
    buffer = io.BytesIO()
    levels = np.rint(share * HIGHEST_LEVEL).astype(np.uint16)
    Image.fromarray(levels).save(buffer, format='PNG', pnginfo=about)
    return buffer.getvalue()


def depth_npy(result: Result) -> bytes:
    """Return relative inverse depth, (H, W) float32."""
    buffer = io.BytesIO()
    np.save(buffer, result.depth)
    return buffer.getvalue()


def metres_npy(result: Result) -> bytes:
    """Return metres along the optical axis, (H, W) float32, NaN where unknown.

    Raises CommandError where there is no scale, or the picture is blind.
    """
    if isinstance(result.scale, Refusal):
        raise CommandError(f'no metres: {result.scale.reason}')
    d = result.enlarge(result.inverse_depth, result.rgb.shape[:2])
    depth_z = result.scale.depth(d, min_depth_m=0, max_depth_m=FARTHEST_M)
    _check_any(depth_z, 'metres', result.scale)
    buffer = io.BytesIO()
    np.save(buffer, depth_z)
    return buffer.getvalue()


def _check_any(depth_z: NDArray[np.float32], what: str, scale: ScaleShift) -> None:
    """Raise CommandError where no pixel has metres."""
    if not np.isfinite(depth_z).any():
        raise CommandError(f'no {what}: {out_of_range_text(scale)}')


def cloud_ply(result: Result) -> bytes:
    """Return coloured points at network size, without those that are blind.

    They are in metres with a scale, else without unit. Raises CommandError if the picture is blind,
    or if metres were requested and the fit was refused: a cloud without unit could be mistaken for
    one in metres.
    """
    depth, metres, scale = result.inverse_depth, result.look.metres, result.scale
    if not metres.asked:
        if result.verdict.reason:
            raise CommandError(f'no cloud: the picture is {result.verdict.reason}')
        known = depth[np.isfinite(depth)]
        far, near = np.percentile(known, (FAR_PERCENTILE, NEAR_PERCENTILE))
        share = np.clip((depth - far) / max(float(near - far), 1e-9), 0, 1)
        depth_z = 1 / (1 / FARTHEST + share * (1 / NEAREST - 1 / FARTHEST))
        unit = (
            f'unit: none. Relative shape only: the nearest was put at {NEAREST:g}, the farthest '
            f'at {FARTHEST:g}; scale and shift are unknown'
        )
    elif isinstance(scale, Refusal):
        raise CommandError(f'no cloud: no metric scale: {scale.reason}')
    else:
        depth_z = scale.depth(depth, min_depth_m=CLOUD_DEPTH_M[0], max_depth_m=CLOUD_DEPTH_M[1])
        _check_any(depth_z, 'cloud', scale)
        unit = f'unit: metres, by {scale.source}: 1/Z = {scale.scale:.9g} d + {scale.shift:.9g}'
    fov = metres.horizontal_fov_rad
    fov_text = f'{ASSUMED_FOV_RAD:g} rad, assumed' if math.isnan(fov) else f'{fov:g} rad'
    comments = (unit, f'horizontal field of view {fov_text}', 'x right, y down, z forward')
    points = point_cloud(depth_z.astype(np.float32), metres.any_grid(depth.shape))
    return ply_bytes(points, picture_reduced(result.rgb, depth.shape), comments)


def encoded(rgb: NDArray[np.uint8], suffix: str = '.png') -> bytes:
    """Return a picture file of (H, W, 3) uint8 RGB. Raises CommandError."""
    size = f'{rgb.shape[1]}x{rgb.shape[0]} pixels'
    most = LONGEST_SIDES.get(suffix, max(rgb.shape))
    if max(rgb.shape) > most:
        raise CommandError(
            f'{size} are too large for {suffix}: its sides are limited to {most}; --max-side makes '
            'them smaller'
        )
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise CommandError(f'OpenCV cannot encode {size} as {suffix}')
    return bytes(data)


def shrunk(rgb: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """Return (H, W, 3) uint8 with no side above `longest_side` (0 = unchanged)."""
    height, width = rgb.shape[:2]
    factor = longest_side / max(height, width) if longest_side else 1.0
    if factor >= 1:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


# Name of an output -> the end of its file's name, and what makes it.
OUTPUTS: Final[dict[str, tuple[str, Callable[[Result], bytes]]]] = {
    'heatmap': ('_heatmap.png', heatmap_png),
    'overlay': ('_overlay.png', overlay_png),
    'side-by-side': ('_side_by_side.png', side_by_side_png),
    'depth16': ('_depth16.png', depth_png),
    'npy': ('_depth.npy', depth_npy),
    'metres': ('_metres.npy', metres_npy),
    'cloud': ('_cloud.ply', cloud_ply),
}
OUTPUT_ENDINGS: Final = tuple(ending for ending, _ in OUTPUTS.values())
# Those with a heatmap.
PICTURES: Final = ('heatmap', 'overlay', 'side-by-side')
# The suffixes of one output whose file is named.
SUFFIXES: Final = {
    **dict.fromkeys(PICTURES, ('.png', '.jpg', '.jpeg', '.webp')),
    'depth16': ('.png',),
    'npy': ('.npy',),
    'metres': ('.npy',),
    'cloud': ('.ply',),
}
ALL_SUFFIXES: Final = sorted({each for suffixes in SUFFIXES.values() for each in suffixes})
