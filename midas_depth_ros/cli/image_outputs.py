"""What `midas_depth image` makes of one picture: six files, each from one table row.

In come the picture, its relative inverse depth and the options; out come the bytes of the files.
Where the picture says nothing, all but the relative inverse depth as it is leave that out.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import math
from collections.abc import Callable
from typing import Any, Final

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from midas_depth_ros.cli.options import heatmap_options
from midas_depth_ros.depth import DepthEstimator
from midas_depth_ros.geometry import (
    CameraModel,
    CameraMount,
    Closeness,
    MountError,
    Refusal,
    ScaleShift,
    closeness_of_picture,
    fit_ground_plane,
    ply_bytes,
    point_cloud,
)
from midas_depth_ros.images import Verdict, verdict_for
from midas_depth_ros.images.message_bytes import picture_reduced
from midas_depth_ros.lab.output import CommandError
from midas_depth_ros.options.declarations import bounds_of
from midas_depth_ros.views import Heatmap, HeatmapOptions, side_by_side

# --- Metres for pictures and videos: from two measurements of the camera, or a fixed scale, or
# none.
#
# The same fits as the node's, on one picture: nothing here needs ROS.

Grid = tuple[np.ndarray, np.ndarray]
# Of a camera of which nothing is known, for the shape of a cloud without unit: about a webcam's.
ASSUMED_FOV_RAD = 1.05
NOT_ASKED = Refusal(
    'nothing gives a scale: give --camera-height, --camera-pitch and --horizontal-fov, or '
    '--fixed-scale'
)


@dataclasses.dataclass(frozen=True)
class Metres:
    """Where metres come from. Without mount and fixed scale there are none.

    horizontal_fov_rad: NaN where it was not given; of the picture as the camera took it. rotate: by
    how many degrees it was turned clockwise.
    """

    mount: CameraMount | None = None
    fixed: ScaleShift | None = None
    horizontal_fov_rad: float = math.nan
    rotate: int = 0

    @property
    def asked(self) -> bool:
        """Whether metres are wanted at all."""
        return self.mount is not None or self.fixed is not None

    @property
    def pitch_rad(self) -> float:
        """How far the camera looks down; NaN where that is not known."""
        return math.nan if self.mount is None else self.mount.pitch_rad

    def grid(self, shape: tuple[int, ...]) -> Grid | None:
        """`CameraModel.normalised_grid` for (h, w) = `shape`; None without a field of view."""
        return None if math.isnan(self.horizontal_fov_rad) else self.any_grid(shape)

    def any_grid(self, shape: tuple[int, ...]) -> Grid:
        """Likewise, of an assumed field of view where none was given."""
        known = not math.isnan(self.horizontal_fov_rad)
        fov = self.horizontal_fov_rad if known else ASSUMED_FOV_RAD
        height, width = shape[:2] if self.rotate in (0, 180) else shape[1::-1]
        camera = CameraModel.from_field_of_view(width, height, fov)
        return camera.turned(self.rotate).normalised_grid()

    def fit(self, inverse_depth: np.ndarray) -> ScaleShift | Refusal:
        """Scale and shift of (h, w) float32 relative inverse depth, or why there are none."""
        if self.fixed is not None:
            return self.fixed
        grid = self.grid(inverse_depth.shape)
        if self.mount is None or grid is None:
            return NOT_ASKED
        return fit_ground_plane(inverse_depth, grid, self.mount)


def metres_of(values: dict[str, Any]) -> Metres:
    """From the options of a command. Raises click.UsageError where they do not go together."""
    height, pitch, roll, fov = (
        values[name] for name in ('camera_height', 'camera_pitch', 'camera_roll', 'horizontal_fov')
    )
    scale, shift, rotate = (values[name] for name in ('fixed_scale', 'fixed_shift', 'rotate'))
    if scale is None and shift is not None:
        raise click.UsageError('--fixed-shift alone gives no metres: give --fixed-scale, too')
    if scale is not None and not math.isnan(height):
        raise click.UsageError('--fixed-scale and --camera-height both give metres: give one')
    if scale is not None:
        return Metres(None, ScaleShift(scale, shift or 0.0, 'fixed'), fov, rotate)
    if math.isnan(height):
        return Metres(horizontal_fov_rad=fov, rotate=rotate)
    if math.isnan(pitch) or math.isnan(fov):
        raise click.UsageError(
            '--camera-height gives metres only with --camera-pitch and --horizontal-fov'
        )
    try:
        return Metres(CameraMount(height, pitch, roll), None, fov, rotate)
    except MountError as error:
        raise click.UsageError(str(error)) from error


OVERLAY_ALPHA = 0.5  # of the overlay, where none is given for the heatmap
DEEPEST = 65535
CLOUD_DEPTH_M = (0.05, 50.0)  # of the points of a cloud in metres
# A cloud without a scale needs some: what is nearest is put at 1, what is farthest at 10.
NEAREST, FARTHEST = 1.0, 10.0
FAR_PERCENTILE, NEAR_PERCENTILE = 2.0, 98.0
LONGEST_SIDES = {'.webp': 16_383, '.jpg': 65_500, '.jpeg': 65_500}  # pixels, by the formats
NEAREST_END, FARTHEST_END = (
    bounds_of(HeatmapOptions, name) for name in ('metric_near', 'metric_far')
)  # metres
LEAST_RATIO = 1.5  # of the far end of colours in metres to the near one
WORDS = {'relative': 'relative, near is warm', 'metric': 'metres'}


@dataclasses.dataclass(frozen=True)
class Look:
    """How the outputs shall look, where metres come from, and whether pictures are judged."""

    heatmap: HeatmapOptions
    metres: Metres
    picture_check: bool = True
    # Ends of the colours in metres that nobody gave: they are fitted to what is there.
    fits_near: bool = False
    fits_far: bool = False

    def fitted(self, inverse_depth_m: NDArray[np.float32]) -> HeatmapOptions:
        """The heatmap's options, with what is open fitted to (h, w) float32 1/Z in 1/m."""
        known = np.empty(0, np.float32)
        if self.fits_near or self.fits_far:
            known = inverse_depth_m[np.isfinite(inverse_depth_m)]
        if not known.size:
            return self.heatmap
        low, high = np.maximum(np.percentile(known, (FAR_PERCENTILE, NEAR_PERCENTILE)), 1e-6)
        near, far = self.heatmap.metric_near, self.heatmap.metric_far
        if self.fits_near:
            most = NEAREST_END[1] if self.fits_far else far / LEAST_RATIO
            near = _rounded(min(max(1 / high, NEAREST_END[0]), most))
        if self.fits_far:
            far = _rounded(min(max(1 / low, LEAST_RATIO * near, FARTHEST_END[0]), FARTHEST_END[1]))
        return dataclasses.replace(self.heatmap, metric_near=near, metric_far=far)

    def fit(self, inverse_depth: NDArray[np.float32], verdict: Verdict) -> ScaleShift | Refusal:
        """Scale and shift of one picture's (h, w) float32, or why there are none."""
        if self.metres.asked and verdict.reason:
            return Refusal(f'the picture is {verdict.reason}')
        return self.metres.fit(inverse_depth)

    def closeness(self, inverse_depth: NDArray[np.float32], verdict: Verdict) -> Closeness:
        """Left, centre and right of (h, w) float32 that has NaN where the picture says nothing."""
        grid = self.metres.grid(inverse_depth.shape)
        return closeness_of_picture(inverse_depth, verdict.reason, grid, self.metres.pitch_rad)


def look_of(ctx: click.Context, values: dict[str, Any]) -> Look:
    """How outputs shall look, by a command's values. Raises UsageError."""
    default = click.core.ParameterSource.DEFAULT
    return Look(
        heatmap_options(values),
        metres_of(values),
        values['picture_check'],
        fits_near=ctx.get_parameter_source('metric_near') is default,
        fits_far=ctx.get_parameter_source('metric_far') is default,
    )


class Result:
    """One picture and what the network says of it. What several outputs need is made once.

    rgb: (H, W, 3) uint8, no side above `longest_side` (0 = as the picture is). answer: (h, w)
    float32 relative inverse depth at network size, as the network says it. inverse_depth: the same
    with NaN where the picture says nothing.
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
        """`suffix`: of the kind of file that pictures are encoded as."""
        self.name = name
        self.rgb = shrunk(rgb, longest_side)
        self.suffix = suffix
        self.look = look
        self.model = estimator.model
        self.answer = estimator.infer(rgb)
        self.verdict = verdict_for(estimator, rgb, check=look.picture_check)
        self.inverse_depth = self.verdict.masked(self.answer)
        self._enlarge = estimator.enlarge

    @functools.cached_property
    def depth(self) -> NDArray[np.float32]:
        """(H, W) float32 relative inverse depth, as the node publishes it."""
        return self._enlarge(self.answer, self.rgb.shape[:2])

    @functools.cached_property
    def scale(self) -> ScaleShift | Refusal:
        """Metres, or why there are none."""
        return self.look.fit(self.inverse_depth, self.verdict)

    @functools.cached_property
    def closeness(self) -> Closeness:
        """Of the nearest obstacle left, in the centre and right; NaN = unknown."""
        return self.look.closeness(self.inverse_depth, self.verdict)

    @functools.cached_property
    def heatmap(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 RGB by the options."""
        return self.drawn(self.look.heatmap)

    def drawn(self, options: HeatmapOptions) -> NDArray[np.uint8]:
        """The heatmap by other options."""
        size, depth = self.rgb.shape[:2], self.inverse_depth
        scale = None
        if options.mode == 'metric' and isinstance(self.scale, ScaleShift):
            scale = self.scale
            fitted = self.look.fitted(scale.inverse_depth(depth))
            near, far = fitted.metric_near, fitted.metric_far
            options = dataclasses.replace(options, metric_near=near, metric_far=far)
        return Heatmap().render(depth, self.rgb, 0.0, options, size, scale)


def closeness_json(near: Closeness) -> dict[str, float | str | None]:
    """As the HTTP API has it: null = unknown."""
    values = {'left': near.left, 'centre': near.centre, 'right': near.right}
    return {
        **{name: round(float(v), 4) if math.isfinite(v) else None for name, v in values.items()},
        'reason': near.reason,
    }


def blind_words(verdict: Verdict) -> str:
    """Why all of a picture, or a part of it, is not believed, as the node says it; else ''."""
    return f'blind: the picture is {verdict.reason}' if verdict.reason else verdict.partial_reason


def captions_of(title: str, model: str, mode: str, verdict: Verdict) -> tuple[str, str]:
    """What stands below a picture and below its heatmap."""
    return title, blind_words(verdict) or f'{model}: {WORDS[mode]}'


def heatmap_png(result: Result) -> bytes:
    """The heatmap."""
    return encoded(result.heatmap, result.suffix)


def overlay_png(result: Result) -> bytes:
    """The heatmap with the picture shining through."""
    options = result.look.heatmap
    alpha = options.overlay_alpha or OVERLAY_ALPHA
    drawn = result.drawn(dataclasses.replace(options, overlay_alpha=alpha))
    return encoded(drawn, result.suffix)


def side_by_side_png(result: Result) -> bytes:
    """Picture | heatmap, with captions and closeness."""
    near, mode = result.closeness, result.look.heatmap.mode
    captions = captions_of(result.name, result.model, mode, result.verdict)
    thirds = (near.left, near.centre, near.right)
    beside = side_by_side(result.rgb, result.heatmap, captions, thirds)
    return encoded(beside, result.suffix)


def depth_png(result: Result) -> bytes:
    """Relative inverse depth in 16 bits, from the farthest (0) to the nearest (65535).

    The values of both are in the file's text fields `far` and `near`.
    """
    far, near = float(result.depth.min()), float(result.depth.max())
    share = (result.depth - far) / ((near - far) or 1.0)
    about = PngImagePlugin.PngInfo()
    about.add_text('Description', 'relative inverse depth, no unit: far + v/65535 * (near - far)')
    about.add_text('far', repr(far))
    about.add_text('near', repr(near))
    buffer = io.BytesIO()
    levels = np.rint(share * DEEPEST).astype(np.uint16)
    Image.fromarray(levels).save(buffer, format='PNG', pnginfo=about)
    return buffer.getvalue()


def depth_npy(result: Result) -> bytes:
    """Relative inverse depth as it is, (H, W) float32."""
    buffer = io.BytesIO()
    np.save(buffer, result.depth)
    return buffer.getvalue()


def cloud_ply(result: Result) -> bytes:
    """Coloured points at network size, of what the picture shows; in metres only with a scale.

    Raises CommandError where the picture says nothing, and where metres were asked for and the fit
    was refused: a cloud of another unit in its place would be mistaken for one in metres.
    """
    depth, metres = result.inverse_depth, result.look.metres
    scale = result.scale
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
        raise CommandError(f'no cloud: there are no metres: {scale.reason}')
    else:
        depth_z = scale.depth(depth, min_depth_m=CLOUD_DEPTH_M[0], max_depth_m=CLOUD_DEPTH_M[1])
        unit = f'unit: metres, by {scale.source}: 1/Z = {scale.scale:.9g} d + {scale.shift:.9g}'
    colours = picture_reduced(result.rgb, depth.shape)
    points = point_cloud(depth_z.astype(np.float32), metres.any_grid(depth.shape))
    return ply_bytes(points, colours, (unit, _lens(metres), 'x right, y down, z forward'))


def _lens(metres: Metres) -> str:
    fov = metres.horizontal_fov_rad
    if fov == fov:
        return f'horizontal field of view {fov:g} rad'
    return f'horizontal field of view {ASSUMED_FOV_RAD:g} rad, assumed'


def encoded(rgb: NDArray[np.uint8], suffix: str = '.png') -> bytes:
    """A picture file of (H, W, 3) uint8 RGB. Raises CommandError."""
    most = LONGEST_SIDES.get(suffix, max(rgb.shape))
    if max(rgb.shape) > most:
        raise CommandError(
            f'a {suffix} of {rgb.shape[1]}x{rgb.shape[0]} pixels is too large: no side above '
            f'{most}; --max-side makes it smaller'
        )
    try:
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        done = False
    if not done:
        raise CommandError(f'OpenCV makes no {suffix} of {rgb.shape[1]}x{rgb.shape[0]} pixels')
    return bytes(data)


def shrunk(rgb: NDArray[np.uint8], longest_side: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 with no side above `longest_side` (0 = as it is), its shape kept."""
    height, width = rgb.shape[:2]
    factor = longest_side / max(height, width) if longest_side else 1.0
    if factor >= 1:
        return rgb
    size = max(1, round(width * factor)), max(1, round(height * factor))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _rounded(metres: float) -> float:
    """Two digits, as a person reads them in a legend."""
    return float(f'{metres:.2g}')


# Name of an output -> how its file's name ends, and what makes it.
OUTPUTS: Final[dict[str, tuple[str, Callable[[Result], bytes]]]] = {
    'heatmap': ('_heatmap.png', heatmap_png),
    'overlay': ('_overlay.png', overlay_png),
    'side-by-side': ('_side_by_side.png', side_by_side_png),
    'depth16': ('_depth16.png', depth_png),
    'npy': ('_depth.npy', depth_npy),
    'cloud': ('_cloud.ply', cloud_ply),
}

# What one output may be written as, where its file is named.
PICTURE_ENDINGS: Final = ('.png', '.jpg', '.jpeg', '.webp')
ENDINGS: Final = {
    **dict.fromkeys(('heatmap', 'overlay', 'side-by-side'), PICTURE_ENDINGS),
    'depth16': ('.png',),
    'npy': ('.npy',),
    'cloud': ('.ply',),
}
