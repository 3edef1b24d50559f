"""Detects pictures without information about depth: dark, white, fogged, blurred, covered, frozen.

An (H, W, 3) uint8 RGB picture goes in, a `Verdict` with the blind part comes out. Judged is the
luminance at `JUDGED_SIZE`, in tiles of 16 pixels. White noise halves each time a picture is halved,
real structure does not, which tells them apart. docs/blindness.md describes all rules; the limits
were measured by `python -m benchmarks.model_quality blindness`.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math

import cv2
import numpy as np
from numpy.typing import NDArray

JUDGED_SIZE = (256, 192)  # width, height; smaller pictures keep their size
TILE = 16  # pixels of it
MOST_BLOCK = 64  # pixels that are averaged at once
MIN_TILES = 2  # in both directions; of smaller pictures only the contrast is judged

MIN_CONTRAST = 8.0  # grey levels of 255, from the 2nd to the 98th percentile of coarse blocks
MIN_CONTRAST_SMALL = 32.0  # for a picture too small to separate noise
MIN_CONTRAST_SHARE = 0.12  # contrast / mean brightness; less is fog
MIN_DETAIL = 0.6  # grey levels: structure of 2 to 4 pixels, without noise
MIN_ROUGH = 0.08  # power of structure of 8 to 16 pixels / that of 1 to 2; noise has 0.05 at most
MIN_SHARPNESS = 0.12  # that structure / structure of 8 to 16 pixels
THIRD_LIMITS = 0.45, 0.12  # the same two for a third of the picture: corridors have bare walls
# Sharpness of the lower third alone, where the floor is, and as a share of that of the rest; real
# ones have 0.3 and 0.6 or more. Less structure of 8 to 16 pixels (grey levels) says nothing.
LOWER_SHARPNESS, LESS_SHARP, STRUCTURE = 0.2, 0.5, 1.5
BARE = 0.8  # grey levels: a tile that deviates less from an even slope is bare,
NOISE = 0.51  # as is one that deviates no more than noise does; see `_bare_tiles`
MAX_BARE = 0.7  # of all tiles, wherever they are
BARE_REGION = 0.33  # of all tiles in one piece are blind: a wall right ahead, or a cover
MAX_BLIND = 0.4  # of the picture; above, the rest is not used either
BLACK, WHITE = 6.0, 249.0  # grey levels; a bare tile that dark or bright is clipped
CLIPPED_REGION = 0.08
MIN_PATTERN_TILES = 48  # fewer do not show how detail is distributed
MIN_DETAIL_SPREAD = 0.65  # deviation / mean of the tiles' detail; less is a pattern
LEAST_DETAILED = 0.88  # of the tiles: where these are blurred, text does not make a picture valid
FLAT, FLAT_LEVELS = 0.35, 1.5  # share of bare tiles whose brightness differs by so few levels
MIN_LOCAL = 0.018  # structure of 2 to 16 pixels / mean brightness; less is fog in front of a lamp
ONE_WAY = 0.06  # changes in one direction / those in the other; less is stripes
DRAWN_OUT, DRAWN_REGION = 0.03, 0.35  # the same for a row of tiles, and how many lie together
MIN_CHANGE = 0.5  # square of grey levels, from pixel to pixel; less is not a stripe
APART = 12  # rows; an enlarged picture has equal rows closer together
REPEATED_REGION = 0.12  # of the height
ODD = np.uint64(0x9E37_79B9_7F4A_7C15)  # any odd number mixes two words into one
ROW_SAMPLES = 96  # of a row, to find repeated rows
TINTED = 0.5  # of the brightness: half of all pixels so much too green, or too little
SAMPLES = 16_384  # of a picture, to compare it with the last ones
SAME = 0.02  # of the samples may differ
RECENT = 8  # pictures that a new one is compared with
AGAIN = 3  # equal frames before a camera may count as frozen

Tiles = NDArray[np.bool_]
Changes = tuple[NDArray[np.float32], NDArray[np.float32]]  # along rows, down columns, by tile


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a picture is blind.

    reason: why all of it is blind, else ''. seen: (rows, columns) bool, the parts that are not;
    None = all of it. partial_reason: why the other parts are blind, else ''.
    """

    reason: str = ''
    seen: Tiles | None = None
    partial_reason: str = ''

    @property
    def text(self) -> str:
        """The reason for all of the picture or for a part; '' for a good one."""
        return self.reason or self.partial_reason

    def masked(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (h, w) float32 depth of the picture with NaN where the picture is blind."""
        if self.reason:
            return np.full_like(depth, np.nan)
        if self.seen is None:
            return depth
        size = depth.shape[1], depth.shape[0]
        seen = cv2.resize(self.seen.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        return np.where(seen > 0, depth, np.float32(np.nan))


GOOD = Verdict()


def judge_picture(rgb: NDArray[np.uint8]) -> Verdict:
    """Judge an (H, W, 3) uint8 RGB picture: is it blind, wholly or in part?"""
    grey = _luminance(rgb)
    if min(grey.shape) < MIN_TILES * TILE:
        contrast = float(np.ptp(grey))
        if contrast >= MIN_CONTRAST_SMALL:
            return GOOD
        return Verdict(f'too uniform: {contrast:.0f} of 255 grey levels between dark and bright')
    scales = _Scales.of(grey)
    changes = _changes(scales)
    reason = (
        _contrast_fault(scales)
        or _detail_fault(scales, MIN_DETAIL, MIN_SHARPNESS)
        or _noise_fault(scales)
        or _tint_fault(rgb)
        or _pattern_fault(scales, changes)
    )
    if reason:
        return Verdict(reason)
    means, bare = _bare_tiles(scales)
    if _flat_share(means, bare) > FLAT:
        return Verdict('only text, lines or specks on a uniform background')
    if bare.mean() > MAX_BARE:
        return Verdict(
            f'featureless in {bare.mean():.0%} of its area: covered, fogged, out of focus, or '
            'right before a wall'
        )
    drawn = _drawn_out(changes, bare.shape) | _repeated(rgb, bare.shape)
    return _without_parts(scales, means, bare, drawn)


class FreezeDetector:
    """Detects a camera that sends the same pictures again and again. One for each camera.

    Pictures are the same if at most SAME of their samples differ, as by a clock or a flickering
    pixel. Each is compared with the last RECENT ones: stuck buffers may be sent in turn.
    """

    def __init__(self) -> None:
        self._recent: collections.deque[NDArray[np.uint8]] = collections.deque(maxlen=RECENT)
        self._since_s = math.inf
        self._count = 0

    @property
    def repeats(self) -> bool:
        """Whether the last picture was the same as one of those before it."""
        return self._count > 0

    def check(self, rgb: NDArray[np.uint8], stamp_s: float, frozen_after_s: float) -> str:
        """Return why a camera counts as frozen: the same pictures for longer than this; else ''.

        A real sensor has noise and never gives a picture twice: even in a JPEG of quality 30 with
        noise of 0.3 levels, 5 % of the samples differ. 0 s = never frozen.
        """
        step = max(1, math.ceil(math.sqrt(rgb.shape[0] * rgb.shape[1] / SAMPLES)))
        samples = np.ascontiguousarray(rgb[::step, ::step])
        same = any(
            before.shape == samples.shape
            and np.count_nonzero(before != samples) <= SAME * samples.size
            for before in reversed(self._recent)
        )
        self._recent.append(samples)
        if not same or stamp_s < self._since_s:
            self._since_s, self._count = stamp_s, 0
            return ''
        self._count += 1
        lasted_s = stamp_s - self._since_s
        if frozen_after_s <= 0 or self._count < AGAIN or lasted_s <= frozen_after_s:
            return ''
        return (
            f'frozen: the picture has not changed for {lasted_s:.1f} s; set frozen_after to 0 for '
            'a simulated camera without noise, or for still pictures'
        )


def verdict_for(
    estimator: object,
    rgb: NDArray[np.uint8],
    *,
    check: bool = True,
    freeze: FreezeDetector | None = None,
    stamp_s: float = 0.0,
    frozen_after_s: float = 0.0,
) -> Verdict:
    """Judge an (H, W, 3) uint8 RGB picture for an estimator.

    An estimator whose depth comes from elsewhere (no `of_pictures`, or a false one) accepts every
    picture. check: whether `judge_picture` judges it. freeze: the camera's detector, asked first.
    """
    if not getattr(estimator, 'of_pictures', False):
        return GOOD
    frozen = freeze.check(rgb, stamp_s, frozen_after_s) if freeze else ''
    if frozen:
        return Verdict(frozen)
    return judge_picture(rgb) if check else GOOD


def _luminance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) float32, at most JUDGED_SIZE, each side a multiple of TILE where it is larger."""
    width, height = JUDGED_SIZE
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    # OpenCV averages halves fast.
    while grey.shape[0] >= 2 * height and grey.shape[1] >= 2 * width:
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    size = tuple(
        min(most, side // TILE * TILE or side)
        for most, side in zip(JUDGED_SIZE, grey.shape[::-1], strict=True)
    )
    return _shrunk(grey.astype(np.float32), size)


def _shrunk(grey: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """(h, w) averaged over areas, for `size` = (w, h): what OpenCV gives, in half of its time
    where few pixels become fewer, as 5 become 4 of 640x480.
    """
    blocks = [
        (before // math.gcd(before, after), after // math.gcd(before, after))
        for before, after in zip(grey.shape, size[::-1], strict=True)
    ]
    if max(before for before, _ in blocks) > MOST_BLOCK:
        return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    rows, columns = (_shares_of_areas(*block) for block in blocks)
    lower = np.matmul(rows, grey.reshape(-1, rows.shape[1], grey.shape[1]))
    return np.matmul(lower.reshape(-1, columns.shape[1]), columns.T).reshape(size[::-1])


@functools.lru_cache(maxsize=8)
def _shares_of_areas(before: int, after: int) -> NDArray[np.float32]:
    """(after, before): how much of each of so many pixels is in each of those after them."""
    first, pixels = np.arange(after)[:, None] * before / after, np.arange(before)
    inside = np.minimum(first + before / after, pixels + 1) - np.maximum(first, pixels)
    return (np.maximum(inside, 0) * after / before).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class _Scales:
    """A picture at half its size and at an eighth, and the power of structure of 1, 2 and 8 px."""

    half: NDArray[np.float32]
    eighth: NDArray[np.float32]
    finest: NDArray[np.float32]
    fine: NDArray[np.float32]
    rough: NDArray[np.float32]

    @classmethod
    def of(cls, grey: NDArray[np.float32]) -> _Scales:
        halves = [grey]
        for _ in range(4):
            width, height = halves[-1].shape[1] // 2, halves[-1].shape[0] // 2
            halves.append(cv2.resize(halves[-1], (width, height), interpolation=cv2.INTER_AREA))
        finest, fine, rough = (_band(halves[level], halves[level + 1]) for level in (0, 1, 3))
        return cls(halves[1], halves[3], finest, fine, rough)

    @functools.cached_property
    def finest_by_tile(self) -> NDArray[np.float32]:
        """Mean of the finest band in each tile."""
        return _by_tile(self.finest, TILE)

    @functools.cached_property
    def fine_by_tile(self) -> NDArray[np.float32]:
        """Mean of the fine band in each tile."""
        return _by_tile(self.fine, TILE // 2)

    @functools.cached_property
    def rough_by_tile(self) -> NDArray[np.float32]:
        """Mean of the rough band in each tile."""
        return _by_tile(self.rough, TILE // 8)

    def third(self, index: int) -> _Scales:
        """The left, middle or right third of all of it."""
        all_of_it = self.half, self.eighth, self.finest, self.fine, self.rough
        return _Scales(*(_third(each, index) for each in all_of_it))


def _band(picture: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.float32]:
    """The square of the detail that is lost when a picture is halved."""
    size = picture.shape[1], picture.shape[0]
    lost: NDArray[np.float32] = picture - cv2.resize(half, size, interpolation=cv2.INTER_LINEAR)
    return lost * lost


def _third(values: NDArray, index: int) -> NDArray:
    width = values.shape[1]
    return values[:, index * width // 3 : (index + 1) * width // 3]


def _contrast_fault(scales: _Scales) -> str:
    mean = cv2.mean(scales.eighth)[0]
    contrast = _spread(scales.eighth)
    if contrast < MIN_CONTRAST:
        where = 'dark' if mean < 0.25 * WHITE else 'bright' if mean > 0.85 * WHITE else 'uniform'
        return f'too {where}: {contrast:.0f} of 255 grey levels between dark and bright'
    if contrast < MIN_CONTRAST_SHARE * mean:
        return f'fogged: {contrast:.0f} grey levels between dark and bright at a mean of {mean:.0f}'
    return ''


def _spread(values: NDArray[np.float32]) -> float:
    """From the 2nd to the 98th percentile: np.percentile takes several times as long."""
    ordered = np.sort(values, axis=None)
    ends = []
    for share in (0.02, 0.98):
        at = share * (ordered.size - 1)
        below = int(at)
        lower, upper = float(ordered[below]), float(ordered[min(below + 1, ordered.size - 1)])
        ends.append(lower + (at - below) * (upper - lower))
    return ends[1] - ends[0]


def _detail_fault(scales: _Scales, least: float, sharpest: float) -> str:
    finest, fine, rough = (cv2.mean(each)[0] for each in (scales.finest, scales.fine, scales.rough))
    # White noise of deviation n gives 0.87 n in the finest band and 0.43 n in the next.
    detail = math.sqrt(max(fine - 0.25 * finest, 0.0))
    if detail < least:
        return (
            f'without detail ({detail:.1f} of 255 grey levels): too dark, covered, out of focus, '
            'or right before a bare wall'
        )
    if detail < sharpest * math.sqrt(rough):
        return 'blurred: out of focus, shaken or covered by something translucent'
    return ''


def _noise_fault(scales: _Scales) -> str:
    """A small picture has too few tiles for `_pattern_fault`."""
    if cv2.mean(scales.rough)[0] < MIN_ROUGH * cv2.mean(scales.finest)[0]:
        return 'noise, not a scene: nothing in it is larger than a few pixels'
    return ''


def _bare_tiles(scales: _Scales) -> tuple[NDArray[np.float32], Tiles]:
    """Mean of each tile, and whether it has nothing but an even slope and noise.

    White noise of deviation n gives 0.5 n in a tile at half size and 0.87 n in the finest band:
    (0.5 / 0.87)^2 = 0.33, and half as much again for the chance deviation of 64 pixels.
    """
    side = TILE // 2
    rows, columns = scales.half.shape[0] // side, scales.half.shape[1] // side
    size = columns * side, rows * side

    def spread(by_tile: NDArray[np.float32]) -> NDArray[np.float32]:
        return cv2.resize(by_tile, size, interpolation=cv2.INTER_NEAREST)

    x, y, variance = _in_tiles(columns, side), _in_tiles(rows, side)[:, None], (side**2 - 1) / 12
    half = scales.half[: size[1], : size[0]]
    means = _by_tile(half, side)
    strays = half - spread(means)
    across, down = _by_tile(strays * x, side) / variance, _by_tile(strays * y, side) / variance
    strays -= spread(across) * x + spread(down) * y
    return means, _by_tile(strays * strays, side) < BARE**2 + NOISE * scales.finest_by_tile


@functools.lru_cache(maxsize=8)
def _in_tiles(count: int, side: int) -> NDArray[np.float32]:
    """Where each pixel of a row of tiles is in its own, from the middle of that."""
    along = np.arange(side, dtype=np.float32) - np.float32(0.5 * (side - 1))
    return np.tile(along, count)


def _by_tile(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of squares of `side` pixels; remainders at the edges are ignored."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    whole = np.ascontiguousarray(values[: rows * side, : columns * side])
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _means_along(by_tile: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """1-D means along an axis; for so few values numpy's take three times as long."""
    return cv2.reduce(by_tile, axis, cv2.REDUCE_AVG).ravel()


def _changes(scales: _Scales) -> Changes:
    """Square of the change to the next pixel along a row, and down a column, by tile."""
    half, side = scales.half, TILE // 2
    along, down = np.zeros_like(half), np.zeros_like(half)
    along[:, :-1] = (half[:, 1:] - half[:, :-1]) ** 2
    down[:-1] = (half[1:] - half[:-1]) ** 2
    return _by_tile(along, side), _by_tile(down, side)


def _pattern_fault(scales: _Scales, changes: Changes) -> str:
    """Why the detail of a picture is not that of a scene."""
    fine = scales.fine_by_tile
    if fine.size < MIN_PATTERN_TILES:
        return ''
    mean, deviation = cv2.meanStdDev(fine)
    if deviation[0, 0] < MIN_DETAIL_SPREAD * mean[0, 0]:
        return 'a pattern or noise, not a scene: its detail is the same everywhere'
    along, down = (cv2.mean(each)[0] for each in changes)
    if min(along, down) < ONE_WAY * max(along, down):
        return 'striped, changing in one direction only: shaken, a test pattern, or a broken line'
    rough, eighth = scales.rough_by_tile, cv2.mean(scales.eighth)[0]
    if math.sqrt(cv2.mean(scales.fine)[0] + cv2.mean(scales.rough)[0]) < MIN_LOCAL * eighth:
        return 'fogged: hardly any local contrast'
    count = round(LEAST_DETAILED * fine.size)
    few = np.argpartition(fine, min(count, fine.size - 1), axis=None)[:count]
    noise = 0.25 * scales.finest_by_tile.ravel()[few].mean()
    detail = math.sqrt(max(float(fine.ravel()[few].mean() - noise), 0.0))
    if detail < MIN_SHARPNESS * math.sqrt(float(rough.ravel()[few].mean())):
        return 'blurred except for a few places: text, or broken pixels, on an unfocused picture'
    return ''


def _tint_fault(rgb: NDArray[np.uint8]) -> str:
    """Decoders turn missing chroma into green or magenta all over."""
    step = max(1, min(rgb.shape[:2]) // 60)
    size = -(-rgb.shape[1] // step), -(-rgb.shape[0] // step)
    red, green, blue = cv2.split(cv2.resize(rgb, size, interpolation=cv2.INTER_NEAREST))
    most, least = cv2.max(red, blue), cv2.min(red, blue)
    # More green than `most` by TINTED of itself, or less than `least` by TINTED of `most`; by as
    # much of BLACK more, so that what is dark has no tint.
    dark = -TINTED * BLACK
    too_green = cv2.addWeighted(green, 1 - TINTED, most, -1, dark, dtype=cv2.CV_32F)
    less_green = cv2.addWeighted(least, 1, green, -1, dark, dtype=cv2.CV_32F)
    too_little = cv2.addWeighted(less_green, 1, most, -TINTED, 0, dtype=cv2.CV_32F)
    for name, excess in (('green', too_green), ('magenta', too_little)):
        if 2 * cv2.countNonZero(cv2.max(excess, 0.0)) >= green.size:
            return f'{name} all over: wrongly decoded, or seen through something coloured'
    return ''


def _flat_share(means: NDArray[np.float32], bare: Tiles) -> float:
    """The share of all tiles that are bare and alike in brightness."""
    if bare.size < MIN_PATTERN_TILES or not bare.any():
        return 0.0
    levels = np.sort(means[bare])
    alike = np.searchsorted(levels, levels + 2 * FLAT_LEVELS, 'right') - np.arange(levels.size)
    return float(alike.max()) / bare.size


def _drawn_out(changes: Changes, shape: tuple[int, ...]) -> Tiles:
    """Rows of tiles in which every row is like the one above, or columns likewise."""
    drawn = np.zeros(shape, bool)
    along, down = changes
    for axis, across, same in ((0, along, down), (1, down, along)):
        across, same = _means_along(across, 1 - axis), _means_along(same, 1 - axis)
        lines = (same < DRAWN_OUT * across) & (across > MIN_CHANGE)
        if lines.any():
            np.moveaxis(drawn, axis, 0)[_regions(lines[:, None], DRAWN_REGION)[:, 0]] = True
    return drawn


def _repeated(rgb: NDArray[np.uint8], shape: tuple[int, ...]) -> Tiles:
    """Rows of tiles that repeat another row of the picture to the bit: a cut transfer."""
    values = rgb.reshape(rgb.shape[0], -1)
    middle = values.shape[1] // 2
    first, second = np.ascontiguousarray(values[:, middle : middle + 16]).view(np.uint64).T
    # Rows that differ here are no repeats of each other: in most pictures all of them.
    if np.diff(np.sort(first ^ second * ODD)).all():
        return np.zeros(shape, bool)
    samples = values[:, :: max(1, values.shape[1] // ROW_SAMPLES)].astype(np.float64)
    # With irrational weights no two different rows have the same sum.
    key = samples @ np.sqrt(np.arange(2.0, samples.shape[1] + 2.0))
    if np.diff(np.sort(key)).all():  # as in most pictures
        return np.zeros(shape, bool)
    _, first, own = np.unique(key, return_index=True, return_inverse=True)
    last = np.zeros_like(first)
    np.maximum.at(last, own, np.arange(key.size))
    again = ((last - first)[own] >= APART)[:, None]
    again = _regions(again, REPEATED_REGION)[:, 0]
    rows = np.linspace(0, key.size, shape[0] + 1).round().astype(int)[:-1]
    return np.repeat(np.maximum.reduceat(again, rows)[:, None], shape[1], axis=1)


def _without_parts(
    scales: _Scales, means: NDArray[np.float32], bare: Tiles, drawn: Tiles
) -> Verdict:
    """The picture without its large bare regions, the `drawn` tiles and the blind thirds."""
    clipped = bare & ((means <= BLACK) | (means >= WHITE))
    blind = drawn | _regions(bare, BARE_REGION) | _regions(clipped, CLIPPED_REGION)
    for index in range(3):
        third = scales.third(index)
        if _contrast_fault(third) or _detail_fault(third, *THIRD_LIMITS):
            _third(blind, index)[:] = True
    blind[_blurred_from(scales, blind.shape[0]) :] = True
    if not blind.any():
        return GOOD
    share = float(blind.mean())
    text = f'{share:.0%} of the picture is unusable: covered, clipped, cut, or a wall ahead'
    if share > MAX_BLIND:
        return Verdict(f'blind in part: {text}')
    # A tile at the edge of a cover is only partly covered, and not bare.
    grown = cv2.dilate(blind.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return Verdict(seen=~grown, partial_reason=text)


def _blurred_from(scales: _Scales, rows: int) -> int:
    """The row of tiles from which on the lower part of the picture is blurred, and the rest is not;
    `rows` = none.

    A lens that is wet, misted or smeared below blurs the floor and what is near, and nothing else.
    """
    finest = _means_along(scales.finest_by_tile, 1)
    fine = (_means_along(scales.fine_by_tile, 1) - 0.25 * finest).tolist()
    rough = _means_along(scales.rough_by_tile, 1).tolist()
    third = max(1, round(rows / 3))
    parts = slice(third), slice(third, -third), slice(-third, None)
    # Both sums are of the same number of rows.
    sharp = [
        sum(fine[part]) / sum(rough[part])
        for part in parts
        if sum(rough[part]) > STRUCTURE**2 * len(rough[part])
    ]
    # A plain floor has no more structure when it is sharp.
    if len(sharp) < 2 or not sum(rough[-third:]) > STRUCTURE**2 * third:
        return rows
    limit = min(LOWER_SHARPNESS**2, LESS_SHARP**2 * max(sharp))
    if not sharp[-1] < limit:
        return rows
    begin = rows - third
    while begin and fine[begin - 1] < limit * rough[begin - 1]:
        begin -= 1
    return begin


def _regions(mask: Tiles, least: float) -> Tiles:
    """The connected parts of `mask` that cover at least this share of its area."""
    if np.count_nonzero(mask) < least * mask.size or not mask.any():
        return np.zeros_like(mask)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= least * mask.size
    large[0] = False  # the background
    return large[labels]
