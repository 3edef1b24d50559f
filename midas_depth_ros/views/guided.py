"""Enlarges depth from network size to picture size along the edges of the picture.

The network answers at 256 pixels; interpolation blurs the rims of objects into false depths. A
guided filter fits depth as a linear function of colour in small windows at network size, and uses
that fit at picture size. It sharpens edges where colours differ, but also invents them in patterns,
so it is used for heatmaps and published depth images, never for obstacles.

Source: He and Sun, "Fast Guided Filter", 2015, arXiv:1505.00996, with a guide of three colours.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_RADIUS: Final = 4  # pixels of the depth: the extent of the network's own blur
_LEAST_CONTRAST: Final = np.float32(6.5)  # variance; a window with less is of one colour
_REACH: Final = 5  # pixels whose nearest and farthest depth limit the result
_MOST_PIXELS: Final = 8_294_400  # of the guide: a larger picture is reduced


def enlarge_along_edges(
    values: Floats, picture: NDArray[np.uint8], size: tuple[int, int]
) -> Floats:
    """Enlarge (h, w) float32 to `size` = (H, W), guided by the picture: float32.

    values: relative inverse depth or 1/Z; NaN = unknown, and so is every output pixel to which
    bilinear interpolation would add a share of NaN. picture: (., ., 3) uint8 RGB of the same view.
    The result stays within the range of the known values nearby.
    """
    if values.shape == size:
        return values
    known = np.isfinite(values)
    all_known = bool(known.all())
    plain = values if all_known else np.where(known, values, np.float32(0))
    guided = _guided(plain, None if all_known else known.astype(np.float32), picture, size)
    kernel = np.ones((_REACH, _REACH), np.uint8)
    lowest = plain if all_known else np.where(known, values, np.float32(np.finfo(np.float32).max))
    highest = plain if all_known else np.where(known, values, np.float32(np.finfo(np.float32).min))
    guided = np.maximum(guided, _nearest(cv2.erode(lowest, kernel), size), out=guided)
    guided = np.minimum(guided, _nearest(cv2.dilate(highest, kernel), size), out=guided)
    if not all_known:
        guided[enlarge_bilinearly(known.astype(np.float32), size) < 1 - 1e-6] = np.nan
    return guided


def _guided(
    values: Floats, weight: Floats | None, picture: NDArray[np.uint8], size: tuple[int, int]
) -> Floats:
    """Apply the filter; values of weight 0 are ignored."""
    height, width = values.shape
    guide = _guide(picture, size)
    small = cv2.resize(guide, (width, height), interpolation=cv2.INTER_AREA).astype(np.float32)
    share = None if weight is None else np.maximum(_box(weight), np.float32(1e-6))

    def mean(of: Floats) -> Floats:
        if weight is None or share is None:
            return _box(of)
        by, over = (weight, share) if of.ndim == 2 else (weight[..., None], share[..., None])
        return np.divide(_box(of * by), over, dtype=np.float32)

    red, green, blue = cv2.split(small)
    at, at_values = mean(small), mean(values)
    r, g, b = cv2.split(at)
    rr = mean(red * red) - r * r + _LEAST_CONTRAST
    gg = mean(green * green) - g * g + _LEAST_CONTRAST
    bb = mean(blue * blue) - b * b + _LEAST_CONTRAST
    rg, rb, gb = mean(red * green) - r * g, mean(red * blue) - r * b, mean(green * blue) - g * b
    # The slope of depth by each colour: the covariances times the inverse of a 3x3 matrix.
    with_r, with_g, with_b = cv2.split(mean(small * values[..., None]) - at * at_values[..., None])
    i_rr, i_gg, i_bb = gg * bb - gb * gb, rr * bb - rb * rb, rr * gg - rg * rg
    i_rg, i_rb, i_gb = gb * rb - rg * bb, rg * gb - gg * rb, rb * rg - rr * gb
    slopes = cv2.merge(
        [
            i_rr * with_r + i_rg * with_g + i_rb * with_b,
            i_rg * with_r + i_gg * with_g + i_gb * with_b,
            i_rb * with_r + i_gb * with_g + i_bb * with_b,
        ]
    )
    slopes /= np.maximum(rr * i_rr + rg * i_rg + rb * i_rb, np.float32(1e-3))[..., None]
    offset = at_values - (slopes * at).sum(axis=2)
    lines = mean(np.dstack([slopes, offset]))
    # One colour at a time: whole pictures of four floats cost more than the arithmetic.
    *of_colours, at_black = cv2.split(lines)
    large = enlarge_bilinearly(at_black, guide.shape[:2])
    for slope, colour in zip(of_colours, cv2.split(guide), strict=True):
        part = enlarge_bilinearly(slope, guide.shape[:2])
        large += cv2.multiply(part, colour, dtype=cv2.CV_32F)
    return enlarge_bilinearly(large, size)


def _guide(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the picture at `size`, or at most _MOST_PIXELS: (H, W, 3) uint8."""
    factor = min(1.0, (_MOST_PIXELS / (size[0] * size[1])) ** 0.5)
    height, width = (max(1, round(side * factor)) for side in size)
    if picture.shape[:2] != (height, width):
        method = cv2.INTER_AREA if picture.shape[0] > height else cv2.INTER_LINEAR
        picture = cv2.resize(picture, (width, height), interpolation=method)
    return picture


def _box(values: Floats) -> Floats:
    side = 2 * _RADIUS + 1
    return cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE)


def enlarge_bilinearly(values: Floats, size: tuple[int, ...]) -> Floats:
    """Enlarge (h, w) to `size`; unlike bicubic this does not overshoot at depth edges."""
    if values.shape == size:
        return values
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def _nearest(values: Floats, size: tuple[int, int]) -> Floats:
    return cv2.resize(values, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
