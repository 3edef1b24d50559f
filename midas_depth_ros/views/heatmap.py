"""Relative inverse depth as a picture for people: near is warm, far is cold.

An (h, w) float32 map of one camera, optionally its picture, the stamp and the options go in; an
(H, W, 3) uint8 RGB heatmap comes out. Values, not colours, are enlarged: colours mixed across a
depth edge would show false distances.
"""

from __future__ import annotations

import functools
import math
from typing import Final, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from midas_depth_ros.options.declarations import bounds_of, spec_of
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.drawing import (
    BACKGROUND,
    TEXT,
    OptionError,
    PictureError,
    ValuesError,
    ViewError,
    check_picture,
    draw_text,
    text_height,
    text_mask,
)
from midas_depth_ros.views.guided import enlarge_along_edges, enlarge_bilinearly

# --- Colour maps for 0 (far) to 255 (near), from OpenCV.
#
# In all of them the warm end is near. The default, inferno, also grows steadily brighter and is
# readable in grey and for the colour-blind; turbo and jet separate more steps but do neither.

COLORMAPS: Final = spec_of(HeatmapOptions, 'colormap').choices


@functools.cache
def colour_table(name: str) -> NDArray[np.uint8]:
    """Return the table of a colormap, far to near: (256, 3) uint8 RGB, read-only.

    Raises OptionError if there is no such colormap.
    """
    if name not in COLORMAPS:
        raise OptionError(f'colormap is {name!r}: use one of {list(COLORMAPS)}')
    steps = np.arange(256, dtype=np.uint8)[:, None]
    bgr = cv2.applyColorMap(steps, getattr(cv2, f'COLORMAP_{name.upper()}'))[:, 0]
    table = np.ascontiguousarray(bgr[:, ::-1])
    table.setflags(write=False)
    return table


def colourise(index: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Colour an (H, W) uint8 map, 0 = far, 255 = near: (H, W, 3) uint8 RGB."""
    # Looked up as numbers of four bytes: half the time of cv2.applyColorMap.
    coloured = cv2.LUT(index, _table_of_numbers(name)).view(np.uint8)
    return cv2.cvtColor(coloured.reshape(*index.shape, 4), cv2.COLOR_RGBA2RGB)


@functools.cache
def _table_of_numbers(name: str) -> NDArray[np.int32]:
    """The table of a colormap as (256,) int32: the bytes of red, green, blue and 0."""
    return np.pad(colour_table(name), ((0, 0), (0, 1))).view(np.int32)[:, 0]


# --- The range: which relative inverse depth gets the far colour and which the near one.
#
# Two percentiles of each frame, smoothed over time, so that one object that comes or goes does not
# repaint the whole picture. Time is that of the stamps: the result does not depend on the frame
# rate, and a replay looks like the live run.

_MAX_SAMPLES: Final = 16_384  # for the percentiles, whose error is far less than a colour
_EXPIRES_AFTER: Final = 5.0  # time constants, when less than 1 % of an old range is left
# A smaller span, relative to the values, is noise and is not spread over the colours; a constant
# picture gets the middle colour.
_MIN_RELATIVE_SPAN: Final = 1e-3
_MIN_SPAN: Final = 1e-20


class ValueRange(NamedTuple):
    """Relative inverse depth of the far and of the near end of the colours."""

    low: float
    high: float

    def normalise(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map finite (h, w) values to 0 (at or beyond far) to 1 (at or before near), float32."""
        least = max(_MIN_RELATIVE_SPAN * max(abs(self.low), abs(self.high)), _MIN_SPAN)
        span = max(self.high - self.low, least)
        start = (self.low + self.high - span) / 2
        # Clipped before as well, since far outliers would overflow.
        scaled = np.clip(values, np.float32(start), np.float32(start + span))
        scaled -= np.float32(start)
        scaled *= np.float32(1 / span)
        return np.clip(scaled, 0, 1, out=scaled)


def frame_range(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    percentile_low: float,
    percentile_high: float,
) -> ValueRange | None:
    """Return percentiles of the valid pixels of one (h, w) frame; None if no pixel is valid."""
    step = max(1, math.ceil(math.sqrt(values.size / _MAX_SAMPLES)))
    samples, known = values[::step, ::step], valid[::step, ::step]
    samples = samples.ravel() if known.all() else samples[known]
    if samples.size == 0:
        samples = values[valid]
    if samples.size == 0:
        return None
    return ValueRange(*_percentiles(samples, percentile_low, percentile_high))


def _percentiles(samples: NDArray[np.float32], *percents: float) -> list[float]:
    """Percentiles of (n,) samples by one partition: np.percentile takes twice as long."""
    last = samples.size - 1
    places = [0.01 * percent * last for percent in percents]
    ends = [(min(int(at), last), min(int(at) + 1, last)) for at in places]
    parted = np.partition(samples, sorted({end for both in ends for end in both}))
    return [
        float(parted[lower]) + (at - lower) * (float(parted[upper]) - float(parted[lower]))
        for at, (lower, upper) in zip(places, ends, strict=True)
    ]


class SmoothedRange:
    """The range of one camera, smoothed exponentially over the stamps of its frames.

    current: the range last used; None before the first frame with a valid pixel.
    """

    def __init__(self) -> None:
        self.current: ValueRange | None = None
        self._stamp_s = -math.inf

    def reset(self) -> None:
        """Discard the range: the next frame sets it alone."""
        self.current = None

    def update(
        self, frame: ValueRange | None, stamp_s: float, time_constant_s: float
    ) -> ValueRange | None:
        """Update with the range of a frame and return the range to use for it.

        A stamp before the last one (a bag that restarts, a clock that was set) or more than five
        time constants after it discards the old range. A frame without a range changes nothing.
        Raises ViewError if the stamp is not finite.
        """
        if not math.isfinite(stamp_s):
            raise ViewError(f'stamp is {stamp_s!r} s: give the finite stamp of the picture')
        if frame is None:
            return self.current
        elapsed_s = stamp_s - self._stamp_s
        last, self._stamp_s = self.current, stamp_s
        expiry_s = _EXPIRES_AFTER * time_constant_s
        if last is None or time_constant_s <= 0 or not 0 <= elapsed_s <= expiry_s:
            self.current = frame
        else:
            weight = -math.expm1(-elapsed_s / time_constant_s)
            self.current = ValueRange(
                last.low + weight * (frame.low - last.low),
                last.high + weight * (frame.high - last.high),
            )
        return self.current


# --- Tone: what happens to normalised values (0 = far, 1 = near) before they become colours.
#
# Smoothing and the two mappings work on floats, contrast enhancement on the 8-bit index into the
# colour table. All of them stay within 0..1 (0..255).

# Relative inverse depth is affine in 1/Z. If the near end is R times as near as the far end,
# log(1 + (R - 1) * x) / log(R) is linear in the logarithm of Z. R is unknown; 16 (four doublings:
# 5 m to 80 m on a street, 0.5 m to 8 m in a room) suits both.
LOG_RATIO: Final = 16.0
_EDGE_STEP: Final = 0.08  # share of the range; larger steps are edges and are kept
_CLAHE_TILES: Final = (8, 8)
WIDEST_RADIUS_PX: Final = bounds_of(HeatmapOptions, 'smoothing')[1]
MOST_TAPS: Final = 2**30  # pixels times window area, about a second: larger windows are reduced
MOST_ROWS: Final = 2**14  # OpenCV's threads write outside of their memory above 32768 rows


def smooth(tone: NDArray[np.float32], radius_px: float) -> NDArray[np.float32]:
    """Smooth an (h, w) map bilaterally: noise goes, steps of depth stay sharp.

    The radius may be fractional; it is limited to WIDEST_RADIUS_PX and by MOST_TAPS.
    Source: Tomasi and Manduchi, ICCV 1998.
    """
    if tone.shape[0] > MOST_ROWS:
        return np.ascontiguousarray(_smoothed(np.ascontiguousarray(tone.T), radius_px).T)
    return _smoothed(tone, radius_px)


def _smoothed(tone: NDArray[np.float32], radius_px: float) -> NDArray[np.float32]:
    affordable_px = (math.isqrt(MOST_TAPS // tone.size) - 1) // 2
    radius_px = min(radius_px, WIDEST_RADIUS_PX, affordable_px)
    diameter = 2 * math.ceil(radius_px) + 1
    spread_px = max(radius_px / 1.5, 0.05)  # OpenCV divides by its square
    return cv2.bilateralFilter(tone, diameter, _EDGE_STEP, spread_px)


def map_tone(
    tone: NDArray[np.float32], mapping: str, gamma: float, ratio: float = LOG_RATIO
) -> NDArray[np.float32]:
    """Apply the mapping ('linear' or 'log'), then the exponent gamma, to an (h, w) map.

    ratio: of 1/Z at the near end to that at the far end, if known.
    """
    if mapping == 'log':
        tone = np.log1p((ratio - 1) * tone) / np.float32(math.log(ratio))
    if gamma != 1:
        tone = np.power(tone, np.float32(gamma))
    return tone


def enhance_contrast(index: NDArray[np.uint8], clip: float) -> NDArray[np.uint8]:
    """Equalise an (H, W) uint8 map by contrast-limited adaptive histogram equalisation.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV.
    """
    return cv2.createCLAHE(clipLimit=clip, tileGridSize=_CLAHE_TILES).apply(index)


# --- The legend: which colour is how many metres, on the right of a heatmap or beside it.

_TICKS_M: Final = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 15, 20, 30, 50, 100)
_SMALLEST_HEIGHT: Final = 90  # in a smaller picture a legend would hide too much


def with_legend(heatmap: NDArray[np.uint8], options: HeatmapOptions) -> NDArray[np.uint8]:
    """Copy an (H, W, 3) uint8 RGB heatmap with a bar from `metric_far` to `metric_near` on it.

    Pictures too small for readable figures are unchanged. `legend_beside` hides nothing.
    """
    height, width = heatmap.shape[:2]
    if height < _SMALLEST_HEIGHT or width < _SMALLEST_HEIGHT:
        return heatmap
    size = text_height(height, width)
    picture = heatmap.copy()
    panel = picture[:, width - _panel_width(width, size) :]
    panel[:] = (0.3 * panel + 0.7 * np.array(BACKGROUND)).astype(np.uint8)
    _draw(panel, options, size, _bar_width(width))
    return picture


def legend_beside(height: int, width: int, options: HeatmapOptions) -> NDArray[np.uint8]:
    """Draw the same bar as a separate strip for a heatmap of this size: (height, w, 3) uint8 RGB.

    w is 0 for a heatmap too small for readable figures.
    """
    if height < _SMALLEST_HEIGHT or width < _SMALLEST_HEIGHT:
        return np.zeros((height, 0, 3), np.uint8)
    size = text_height(height, width)
    strip = np.full((height, _panel_width(width, size), 3), BACKGROUND, np.uint8)
    _draw(strip, options, size, _bar_width(width))
    return strip


def _bar_width(width: int) -> int:
    return max(6, width // 40)


def _panel_width(width: int, size: int) -> int:
    return _bar_width(width) + text_mask('0.5 m', size).shape[1] + 12


def _draw(panel: NDArray[np.uint8], options: HeatmapOptions, size: int, bar: int) -> None:
    """Draw the bar at the right edge of a panel, near at the top, and as many figures as fit."""
    height, width = panel.shape[:2]
    line = text_mask('0', size).shape[0]
    top, bottom = line, height - line
    index = np.rint(np.linspace(255, 0, bottom - top)).astype(np.uint8)[:, None].repeat(bar, axis=1)
    panel[top:bottom, width - bar - 4 : width - 4] = colourise(index, options.colormap)
    near, far = options.metric_near, options.metric_far
    rows: list[int] = []
    for metres in (near, far, *(each for each in _TICKS_M if near < each < far)):
        row = _row(metres, options, top, bottom)
        if any(abs(row - other) < line for other in rows):
            continue
        rows.append(row)
        panel[row : row + 1, width - bar - 7 : width - bar - 4] = TEXT
        draw_text(panel, f'{metres:g} m', (width - bar - 9, row - line // 2), size, TEXT, 'right')


def with_notice(heatmap: NDArray[np.uint8], text: str) -> NDArray[np.uint8]:
    """Copy an (H, W, 3) uint8 RGB picture with one line of text in its middle."""
    height, width = heatmap.shape[:2]
    picture = heatmap.copy()
    size = text_height(height, width)
    draw_text(picture, text, (width // 2, (height - size) // 2), size, TEXT, 'centre')
    return picture


def _row(metres: float, options: HeatmapOptions, top: int, bottom: int) -> int:
    """Return the row of the bar that has the colour of a distance."""
    near, far = 1 / options.metric_near, 1 / options.metric_far
    tone = np.array([(1 / metres - far) / (near - far)], np.float32)
    ratio = options.metric_far / options.metric_near
    share = 1 - float(map_tone(tone, options.mapping, options.gamma, ratio)[0])
    return min(bottom - 1, top + round(share * (bottom - top - 1)))


# --- The heatmap.

INVALID_GREY: Final = 128  # in no colormap, so it cannot be taken for a distance
_LARGEST_VALID: Final = 1e30  # larger magnitudes are not plausible and overflow float32 arithmetic


class InverseScale(Protocol):
    """Converts relative inverse depth to metric."""

    def inverse_depth(self, d: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return 1/Z in 1/m for (h, w) relative inverse depth."""


class Heatmap:
    """Draws the heatmaps of one camera; must not be shared between threads or cameras."""

    def __init__(self) -> None:
        self._range = SmoothedRange()

    @property
    def value_range(self) -> ValueRange | None:
        """The range of the colours in the last heatmap; None before the first frame."""
        return self._range.current

    def reset(self) -> None:
        """Discard the range: the next frame sets it alone."""
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
        """Draw the heatmap of one frame: (H, W, 3) uint8 RGB, C-contiguous.

        With `options.mode` 'metric' it is `metric_heatmap` by `scale`, else relative inverse depth
        in a smoothed range of colours.

        inverse_depth: (h, w) float32 relative inverse depth, larger = nearer. NaN, infinite and
            implausible values (1e30 and above) are drawn grey and ignored for the range.
        rgb: the camera picture, (., ., 3) uint8, required if `overlay_alpha` is above 0, and used
            if `edge_aware`.
        stamp_s: stamp of the picture in seconds.
        size: (H, W) of the heatmap; by default that of `rgb`, else that of `inverse_depth`.
        scale: converts to metric inverse depth, as `geometry.ScaleShift` does; None = unknown.

        Raises ValuesError, PictureError or ViewError for invalid arguments.
        """
        if options.mode == 'metric':
            known = None if scale is None else scale.inverse_depth(np.asarray(inverse_depth))
            return metric_heatmap(known, rgb, options, size)
        values, picture, size = _checked(inverse_depth, rgb, options, size)
        valid = np.abs(values) < _LARGEST_VALID
        frame = frame_range(values, valid, options.percentile_low, options.percentile_high)
        value_range = self._range.update(frame, stamp_s, options.range_time_constant)
        if value_range is None:
            heatmap = np.full((*size, 3), INVALID_GREY, np.uint8)
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
    """Colour (h, w) values, not larger than `size` = (H, W), by a range: (H, W, 3) uint8.

    ratio: as in `map_tone`. picture: values are enlarged along its edges, if given.
    """
    all_valid = bool(valid.all())
    tone = value_range.normalise(values if all_valid else np.where(valid, values, 0))
    if options.smoothing > 0:
        # Far below 0..1 invalid values do not influence their neighbours.
        tone = tone if all_valid else np.where(valid, tone, np.float32(-1))
        # Values are at most as large as the heatmap, except along a side with hardly any pixels.
        tone = smooth(tone, options.smoothing * min(1.0, values.shape[1] / size[1]))
    if picture is not None and options.edge_aware:
        known = tone if all_valid else np.where(valid, tone, np.float32(np.nan))
        # Before the mapping: depth correlates with colour, its logarithm does not.
        tone = np.clip(enlarge_along_edges(known, picture, size), 0, 1)
        valid = np.isfinite(tone)
        all_valid = bool(valid.all())
        tone = tone if all_valid else np.where(valid, tone, np.float32(0))
    elif not all_valid:
        tone = _fill(tone, valid)
    tone = enlarge_bilinearly(map_tone(tone, options.mapping, options.gamma, ratio), size)
    index = cv2.convertScaleAbs(tone, alpha=255)
    if options.clahe_clip > 0:
        index = enhance_contrast(index, options.clahe_clip)
    heatmap = colourise(index, options.colormap)
    if not all_valid:
        unknown = enlarge_bilinearly(valid.astype(np.float32), size) < 0.5
        # A fifth of the time of an assignment by mask.
        heatmap = cv2.copyTo(np.full_like(heatmap, INVALID_GREY), unknown.view(np.uint8), heatmap)
    return heatmap


def metric_heatmap(
    inverse_depth_m: ArrayLike | None,
    rgb: ArrayLike | None,
    options: HeatmapOptions,
    size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Draw the heatmap of one frame in metres, with a legend: (H, W, 3) uint8 RGB.

    inverse_depth_m: (h, w) float32 1/Z in 1/m, or None while there is no scale: grey, with a
        notice. The colours always go from `metric_far` to `metric_near`.
    rgb, size: as in `Heatmap.render`; with None one of them is required.

    Raises ValuesError, PictureError or ViewError for invalid arguments.
    """
    given = np.zeros((1, 1), np.float32) if inverse_depth_m is None else inverse_depth_m
    values, picture, size = _checked(given, rgb, options, size)
    if inverse_depth_m is None:
        heatmap = np.full((*size, 3), INVALID_GREY, np.uint8)
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
    """Blend a share `alpha` of the picture into the heatmap, at the size of the heatmap."""
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
    """Return values not larger than the heatmap, the picture if given, and the heatmap's size."""
    given = np.asarray(inverse_depth)
    if given.ndim != 2 or given.size == 0 or given.dtype.kind not in 'fiu':
        raise ValuesError(
            f'relative inverse depth has shape {given.shape} and dtype {given.dtype}: '
            'give a non-empty (h, w) float32 array'
        )
    with np.errstate(over='ignore'):  # too large values become infinite, hence grey
        values = np.ascontiguousarray(given, dtype=np.float32)
    picture = None if rgb is None else check_picture(rgb, 'camera picture')
    if picture is None and options.overlay_alpha > 0:
        raise PictureError(
            f'overlay_alpha is {options.overlay_alpha:g} but there is no camera picture: '
            'give one, or set overlay_alpha to 0'
        )
    height, width = size or (values if picture is None else picture).shape[:2]
    if height < 1 or width < 1:
        raise PictureError(f'size of the heatmap is {height}x{width}: give (height, width) above 0')
    if values.shape[0] > height and values.shape[1] > width:
        values = cv2.resize(values, (width, height), interpolation=cv2.INTER_AREA)
    return values, picture, (height, width)


def _fill(tone: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Give invalid pixels the values of valid neighbours, so that enlarging leaves no fringe."""
    marked = np.where(valid, tone, np.float32(0))
    return np.where(valid, tone, cv2.dilate(marked, np.ones((3, 3), np.uint8)))
