"""Relative inverse depth as a picture for people: near is warm, far is cold.

In come the (h, w) float32 map of one camera, its picture if it shall shine through, the stamp
and the options; out comes an (H, W, 3) uint8 RGB heatmap. Values, not colours, are enlarged:
colours mixed across an edge of depth would show distances that are not there.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.colours import (
    LOG_RATIO,
    StableRange,
    ValueRange,
    colourise,
    enhance_contrast,
    frame_range,
    smooth,
    spread,
)
from midas_depth_ros.views.errors import PictureError, ValuesError, check_picture
from midas_depth_ros.views.guided import enlarge_along_edges
from midas_depth_ros.views.legend import with_legend, with_notice

# In no colormap, so it cannot be taken for a distance.
INVALID_COLOUR: Final = (128, 128, 128)

# Larger magnitudes would overflow float32 arithmetic; no network means them.
_LARGEST_VALID: Final = 1e30


class InverseScale(Protocol):
    """What makes relative inverse depth metric."""

    def inverse_depth(self, d: NDArray[np.float32]) -> NDArray[np.float32]:
        """1/Z in 1/m of (h, w) relative inverse depth."""


class Heatmap:
    """Draws the heatmaps of one camera and remembers the range of its colours.

    Not to be shared between threads or cameras.
    """

    def __init__(self) -> None:
        self._range = StableRange()

    @property
    def value_range(self) -> ValueRange | None:
        """Relative inverse depth of the far and the near colour in the last heatmap.

        None before the first frame.
        """
        return self._range.current

    def reset(self) -> None:
        """Forget the range: the next frame sets it alone."""
        self._range.reset()

    def render(
        self,
        inverse_depth: ArrayLike,
        rgb: ArrayLike | None,
        stamp_s: float,
        options: HeatmapOptions,
        size: tuple[int, int] | None = None,
        scale: InverseScale | None = None,
    ) -> NDArray[np.uint8]:
        """The heatmap of one frame: (H, W, 3) uint8 RGB, C-contiguous.

        With `options.mode` 'metric' that is `metric_heatmap` by `scale`, else colours of relative
        inverse depth by a range that follows slowly.

        inverse_depth: (h, w) float32 relative inverse depth, larger = nearer. NaN, infinite and
            absurd values (1e30 and above) are drawn grey and take no part in the range.
        rgb: the camera picture, (., ., 3) uint8, needed only if `overlay_alpha` is above 0, and
            used if `edge_aware`.
        stamp_s: stamp of the picture in seconds.
        size: (H, W) of the heatmap; by default that of `rgb`, else that of `inverse_depth`.
        scale: makes inverse depth metric, as `geometry.ScaleShift` does; None while there is none.

        Raises ValuesError, PictureError or ViewError for what cannot be drawn.
        """
        if options.mode == 'metric':
            known = None if scale is None else scale.inverse_depth(np.asarray(inverse_depth))
            return metric_heatmap(known, rgb, options, size)
        values, picture, size = _checked(inverse_depth, rgb, options, size)
        valid = np.abs(values) < _LARGEST_VALID
        frame = frame_range(values, valid, options.percentile_low, options.percentile_high)
        value_range = self._range.update(frame, stamp_s, options.range_time_constant)
        if value_range is None:
            heatmap = np.full((*size, 3), INVALID_COLOUR, np.uint8)
        else:
            heatmap = paint(values, valid, value_range, options, size, picture=picture)
        return overlay(heatmap, picture, options.overlay_alpha)


def paint(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    value_range: ValueRange,
    options: HeatmapOptions,
    size: tuple[int, int],
    ratio: float = LOG_RATIO,
    picture: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Colours of (h, w) values, not larger than `size` = (H, W), by a range: (H, W, 3) uint8.

    ratio: as that of `tone.spread`. picture: along whose edges they are enlarged, if at all.
    """
    all_valid = bool(valid.all())
    tone = value_range.normalise(values if all_valid else np.where(valid, values, 0))
    if options.smoothing > 0:
        # Far below 0..1 nothing invalid can take part in the smoothing of its neighbours.
        tone = tone if all_valid else np.where(valid, tone, np.float32(-1))
        # Values are as large as the heatmap at most, but along a side that has hardly any pixels.
        tone = smooth(tone, options.smoothing * min(1.0, values.shape[1] / size[1]))
    if picture is not None and options.edge_aware:
        known = tone if all_valid else np.where(valid, tone, np.float32(np.nan))
        # Before the spread: depth goes with colour, and not its logarithm.
        tone = np.clip(enlarge_along_edges(known, picture, size), 0, 1)
        valid = np.isfinite(tone)
        all_valid = bool(valid.all())
        tone = tone if all_valid else np.where(valid, tone, np.float32(0))
    elif not all_valid:
        tone = _fill(tone, valid)
    index = _index(_enlarge(spread(tone, options.mapping, options.gamma, ratio), size))
    if options.clahe_clip > 0:
        index = enhance_contrast(index, options.clahe_clip)
    heatmap = colourise(index, options.colormap)
    if not all_valid:
        heatmap[_enlarge(valid.astype(np.float32), size) < 0.5] = INVALID_COLOUR
    return heatmap


def metric_heatmap(
    inverse_depth_m: ArrayLike | None,
    rgb: ArrayLike | None,
    options: HeatmapOptions,
    size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """The heatmap of one frame in metres, with a legend: (H, W, 3) uint8 RGB.

    inverse_depth_m: (h, w) float32 1/Z in 1/m, or None while there is no scale: all grey, and
        it says so. The colours go from `metric_far` to `metric_near` and never move.
    rgb, size: as for `Heatmap.render`; without either there is no size to draw an unknown frame.

    Raises ValuesError, PictureError or ViewError for what cannot be drawn.
    """
    given = np.zeros((1, 1), np.float32) if inverse_depth_m is None else inverse_depth_m
    values, picture, size = _checked(given, rgb, options, size)
    if inverse_depth_m is None:
        heatmap = np.full((*size, 3), INVALID_COLOUR, np.uint8)
        return with_notice(overlay(heatmap, picture, options.overlay_alpha), 'no metric scale')
    value_range = ValueRange(1 / options.metric_far, 1 / options.metric_near)
    valid = np.abs(values) < _LARGEST_VALID
    ratio = options.metric_far / options.metric_near
    heatmap = paint(values, valid, value_range, options, size, ratio, picture)
    heatmap = overlay(heatmap, picture, options.overlay_alpha)
    return with_legend(heatmap, options) if options.legend else heatmap


def overlay(
    heatmap: NDArray[np.uint8], picture: NDArray[np.uint8] | None, alpha: float
) -> NDArray[np.uint8]:
    """`alpha` of the picture and the rest of the heatmap, at the size of the heatmap."""
    if picture is None or alpha == 0:
        return heatmap
    height, width = heatmap.shape[:2]
    if picture.shape != heatmap.shape:
        shrinks = picture.shape[0] > height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (width, height), interpolation=method)
    return cv2.addWeighted(picture, alpha, heatmap, 1 - alpha, 0)


def _checked(
    inverse_depth: ArrayLike,
    rgb: ArrayLike | None,
    options: HeatmapOptions,
    size: tuple[int, int] | None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8] | None, tuple[int, int]]:
    """Values not larger than the heatmap, the picture if there is one, the heatmap's size."""
    values = _check_values(inverse_depth)
    picture = None if rgb is None else check_picture(rgb, 'camera picture')
    if picture is None and options.overlay_alpha > 0:
        raise PictureError(
            f'overlay_alpha is {options.overlay_alpha:g} but there is no camera picture: '
            'give one, or set overlay_alpha to 0'
        )
    height, width = _check_size(size, picture, values)
    if values.shape[0] > height and values.shape[1] > width:
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return values, picture, (height, width)


def _check_values(inverse_depth: ArrayLike) -> NDArray[np.float32]:
    array = np.asarray(inverse_depth)
    if array.ndim != 2 or array.size == 0 or array.dtype.kind not in 'fiu':
        raise ValuesError(
            f'relative inverse depth has shape {array.shape} and dtype {array.dtype}: '
            'give a non-empty (h, w) float32 array'
        )
    with np.errstate(over='ignore'):  # what is too large becomes infinite, hence grey
        return np.ascontiguousarray(array, dtype=np.float32)


def _check_size(
    size: Any, picture: NDArray[np.uint8] | None, values: NDArray[np.float32]
) -> tuple[int, int]:
    if size is None:
        size = (values if picture is None else picture).shape[:2]
    height, width = (int(side) for side in size)
    if height < 1 or width < 1:
        raise PictureError(f'size of the heatmap is {height}x{width}: give (height, width) above 0')
    return height, width


def _fill(tone: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Invalid pixels beside valid ones take their value, so that enlarging leaves no fringe."""
    marked = np.where(valid, tone, np.float32(0))
    return np.where(valid, tone, cv2.dilate(marked, np.ones((3, 3), np.uint8)))


def _enlarge(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear, which unlike bicubic puts no false rim beside an edge of depth."""
    if values.shape == size:
        return values
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def _index(tone: NDArray[np.float32]) -> NDArray[np.uint8]:
    return cv2.convertScaleAbs(tone, alpha=255)
