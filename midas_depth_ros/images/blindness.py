"""Whether a picture says anything: dark, white, fogged, blurred, covered or frozen ones do not.

A network answers every picture, and one that says nothing with what it has learnt rooms to look
like. So the picture itself is judged, before anybody believes in its depth: an (H, W, 3) uint8 RGB
picture goes in, a `Verdict` comes out, with the part of the picture that says nothing.

Judged is the luminance at `JUDGED_SIZE`, in tiles of 16 pixels. White noise loses half of its
deviation each time a picture is halved, what is in a picture does not: that tells them apart.
Patterns that no scene shows have their own signs: detail that is everywhere the same, or in a few
places on one even ground, or in one direction only, rows that are repeated, colours that a decoder
made up.
The limits stand between real pictures and copies of them that were darkened, fogged, blurred or
covered until a network no longer knew near from far:
`python -m benchmarks.model_quality blindness`.
"""

from __future__ import annotations

import collections
import dataclasses
import math

import cv2
import numpy as np
from numpy.typing import NDArray

JUDGED_SIZE = (256, 192)  # width, height; smaller pictures as they are
TILE = 16  # pixels of it
LEAST_TILES = 2  # in both directions; of smaller pictures only the contrast is judged

MIN_CONTRAST = 8.0  # grey levels of 255, from the 2nd to the 98th percentile of coarse blocks
MIN_CONTRAST_SMALL = 32.0  # of a picture too small to tell noise apart
MIN_SHARE = 0.12  # of the mean brightness: less contrast is fog
MIN_DETAIL = 0.6  # grey levels: structure of 2 to 4 pixels, without noise
MIN_SHARPNESS = 0.12  # that structure as a share of what is 8 to 16 pixels large
OF_A_THIRD = 0.45, 0.12  # the same two, of a third: beside a corridor are bare walls
BARE = 0.8  # grey levels: a tile that strays no more from an even slope has nothing in it,
NOISE = 0.51  # nor has one that strays no more than noise does; see `_bare_tiles`
MAX_BARE = 0.7  # of all tiles, wherever they are
BARE_REGION = 0.33  # of all tiles, in one piece, say nothing: a wall right ahead, or a cover
MAX_BLIND = 0.4  # of the picture; with less of it seen, the rest is not believed either
BLACK, WHITE = 6.0, 249.0  # grey levels; a bare tile that dark or bright is clipped
CLIPPED_REGION = 0.08
ENOUGH_TILES = 48  # of fewer nobody can tell how detail is spread
SHARED_OUT = 0.65  # deviation of the tiles' detail, as a share of its mean; less is a pattern
LEAST_DETAILED = 0.88  # of the tiles: blurred where these are, it is so behind writing on it
FLAT, FLAT_LEVELS = 0.35, 1.5  # of the tiles bare and of one brightness, but for so many levels
MIN_LOCAL = 0.018  # of the mean brightness: structure of 2 to 16 pixels; less is fog before a lamp
ONE_WAY = 0.06  # of the changes along rows, or down columns, those across are; less is stripes
DRAWN_OUT, DRAWN_REGION = 0.03, 0.35  # the same of a row of tiles, and how many lie together
LEAST_CHANGE = 0.5  # square of grey levels, from pixel to pixel; less is no stripe
APART = 12  # rows; a picture that was enlarged has equal ones nearer to each other
REPEATED_REGION = 0.12  # of the height
ROW_SAMPLES = 96  # of a row, to tell whether it is another one again
TINTED = 0.5  # of the brightness: half of all pixels so much too green, or too little
SAMPLES = 16_384  # of a picture, to tell whether it is the same as the last one
SAME = 0.02  # of the samples may differ
RECENT = 8  # pictures that a new one is held against
AGAIN = 3  # frames that are the same before a camera may count as frozen

Tiles = NDArray[np.bool_]
Changes = tuple[NDArray[np.float32], NDArray[np.float32]]  # along rows, down columns, by tile


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a picture says.

    reason: why all of it says nothing; '' where it does say something. seen: (rows, columns) bool,
    the parts of the picture that do; None = all of it. partly: why the others do not, else ''.
    """

    reason: str = ''
    seen: Tiles | None = None
    partly: str = ''

    @property
    def text(self) -> str:
        """The reason, whether it is for all of the picture or a part; '' for a good one."""
        return self.reason or self.partly

    def hidden(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """(h, w) float32 made from the picture, with NaN where the picture says nothing."""
        if self.reason:
            return np.full_like(depth, np.nan)
        if self.seen is None:
            return depth
        size = depth.shape[1], depth.shape[0]
        seen = cv2.resize(self.seen.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        return np.where(seen > 0, depth, np.float32(np.nan))


GOOD = Verdict()


def judge_picture(rgb: NDArray[np.uint8]) -> Verdict:
    """Whether an (H, W, 3) uint8 RGB picture says anything, and which parts of it do."""
    grey = _luminance(rgb)
    if min(grey.shape) < LEAST_TILES * TILE:
        contrast = float(np.ptp(grey))
        if contrast >= MIN_CONTRAST_SMALL:
            return GOOD
        return Verdict(f'too even: {contrast:.0f} of 255 grey levels between dark and bright')
    scales = _Scales.of(grey)
    changes = _changes(scales)
    reason = (
        _contrast_fault(scales)
        or _detail_fault(scales, MIN_DETAIL, MIN_SHARPNESS)
        or _tint_fault(rgb)
        or _pattern_fault(scales, changes)
    )
    if reason:
        return Verdict(reason)
    means, bare = _bare_tiles(scales)
    if _flat_share(means, bare) > FLAT:
        return Verdict('nothing but writing, lines or specks on an even ground')
    if bare.mean() > MAX_BARE:
        return Verdict(
            f'{bare.mean():.0%} of the picture has nothing in it: covered, fogged, out of focus, '
            'or right before a wall'
        )
    drawn = _drawn_out(changes, bare.shape) | _repeated(rgb, bare.shape)
    return _without_parts(scales, means, bare, drawn)


class Freeze:
    """Notices a camera that gives the same pictures again and again. One for each camera.

    Alike is what differs in no more than SAME of its samples, as by a clock or a flickering pixel.
    It is asked of the last RECENT pictures: buffers that are sent in turn are stuck as well.
    """

    def __init__(self) -> None:
        self._recent: collections.deque[NDArray[np.uint8]] = collections.deque(maxlen=RECENT)
        self._since_s = math.inf
        self._count = 0

    def look(self, rgb: NDArray[np.uint8], stamp_s: float, frozen_after_s: float) -> str:
        """Why a camera counts as frozen: the same pictures for longer than this; else ''.

        A real sensor has noise, and never gives a picture twice: of a JPEG of quality 30 and noise
        of 0.3 levels 5 % differ. 0 s = nothing counts as frozen.
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
            f'frozen: nothing new in the picture for {lasted_s:.1f} s; a simulated camera without '
            'noise, or a still picture, needs frozen_after: 0'
        )


def verdict_for(
    estimator: object,
    rgb: NDArray[np.uint8],
    *,
    check: bool = True,
    freeze: Freeze | None = None,
    stamp_s: float = 0.0,
    frozen_after_s: float = 0.0,
) -> Verdict:
    """What an (H, W, 3) uint8 RGB picture is worth to an estimator.

    One whose depth comes from elsewhere (no `of_pictures`, or a false one) believes every picture.
    check: whether it is judged by `judge_picture`. freeze: of its camera, asked first.
    """
    if not getattr(estimator, 'of_pictures', False):
        return GOOD
    frozen = freeze.look(rgb, stamp_s, frozen_after_s) if freeze else ''
    if frozen:
        return Verdict(frozen)
    return judge_picture(rgb) if check else GOOD


def _luminance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(h, w) float32, at most JUDGED_SIZE, each side a multiple of TILE where it has one."""
    width, height = JUDGED_SIZE
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    # Halves are what OpenCV averages fast.
    while grey.shape[0] >= 2 * height and grey.shape[1] >= 2 * width:
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    size = tuple(
        min(most, side // TILE * TILE or side)
        for most, side in zip(JUDGED_SIZE, grey.shape[::-1], strict=True)
    )
    return cv2.resize(grey.astype(np.float32), size, interpolation=cv2.INTER_AREA)


@dataclasses.dataclass(frozen=True)
class _Scales:
    """A picture at half its size and at an eighth, and the power of what is 1, 2 and 8 px large."""

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

    def third(self, index: int) -> _Scales:
        """The left, middle or right third of all of it."""
        return _Scales(*(_third(getattr(self, each.name), index) for each in
                         dataclasses.fields(self)))  # fmt: skip


def _band(picture: NDArray[np.float32], half: NDArray[np.float32]) -> NDArray[np.float32]:
    """The square of what is lost when a picture is halved."""
    size = picture.shape[1], picture.shape[0]
    lost: NDArray[np.float32] = picture - cv2.resize(half, size, interpolation=cv2.INTER_LINEAR)
    return lost * lost


def _third(values: NDArray, index: int) -> NDArray:
    width = values.shape[1]
    return values[:, index * width // 3 : (index + 1) * width // 3]


def _contrast_fault(scales: _Scales) -> str:
    mean = float(scales.eighth.mean())
    low, high = np.percentile(scales.eighth, (2, 98))
    contrast = float(high - low)
    if contrast < MIN_CONTRAST:
        where = 'dark' if mean < 0.25 * WHITE else 'bright' if mean > 0.85 * WHITE else 'even'
        return f'too {where}: {contrast:.0f} of 255 grey levels between dark and bright'
    if contrast < MIN_SHARE * mean:
        return f'fogged: {contrast:.0f} grey levels between dark and bright at a mean of {mean:.0f}'
    return ''


def _detail_fault(scales: _Scales, least: float, sharpest: float) -> str:
    finest, fine, rough = (
        float(each.mean()) for each in (scales.finest, scales.fine, scales.rough)
    )
    # White noise of deviation n is 0.87 n in the finest band and 0.43 n in the next.
    detail = math.sqrt(max(fine - 0.25 * finest, 0.0))
    if detail < least:
        return (
            f'without detail: {detail:.1f} of 255 grey levels: too dark, covered, out of focus, or '
            'right before a bare wall'
        )
    if detail < sharpest * math.sqrt(rough):
        return 'blurred: out of focus, shaken or covered by something see-through'
    return ''


def _bare_tiles(scales: _Scales) -> tuple[NDArray[np.float32], Tiles]:
    """Mean of each tile, and whether there is nothing in it but an even slope and noise.

    Of white noise of deviation n a tile at half size strays by 0.5 n, and has 0.87 n in the finest
    band: (0.5 / 0.87)^2 = 0.33, and half as much again for what 64 pixels stray by chance.
    """
    side = TILE // 2
    rows, columns = scales.half.shape[0] // side, scales.half.shape[1] // side
    tiles = scales.half[: rows * side, : columns * side].reshape(rows, side, columns, side)
    tiles = tiles.transpose(0, 2, 1, 3)
    means = tiles.mean(axis=(2, 3), keepdims=True)
    along = np.arange(side, dtype=np.float32) - np.float32(0.5 * (side - 1))
    spread = np.float32(side * (along**2).sum())
    across = (tiles * along).sum(axis=(2, 3), keepdims=True) / spread
    down = (tiles * along[:, None]).sum(axis=(2, 3), keepdims=True) / spread
    strays = ((tiles - means - across * along - down * along[:, None]) ** 2).mean(axis=(2, 3))
    finest = scales.finest[: rows * TILE, : columns * TILE]
    noise = finest.reshape(rows, TILE, columns, TILE).mean(axis=(1, 3))
    return means[..., 0, 0], strays < BARE**2 + NOISE * noise


def _by_tile(values: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Means of squares of so many pixels; what is left over at the edges is not asked."""
    rows, columns = values.shape[0] // side, values.shape[1] // side
    whole = np.ascontiguousarray(values[: rows * side, : columns * side])
    return cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)


def _changes(scales: _Scales) -> Changes:
    """Square of the change to the next pixel along a row, and down a column, by tile."""
    half, side = scales.half, TILE // 2
    along, down = np.zeros_like(half), np.zeros_like(half)
    along[:, :-1] = np.diff(half, axis=1) ** 2
    down[:-1] = np.diff(half, axis=0) ** 2
    return _by_tile(along, side), _by_tile(down, side)


def _pattern_fault(scales: _Scales, changes: Changes) -> str:
    """Why detail that is there is none of a scene."""
    fine = _by_tile(scales.fine, TILE // 2)
    if fine.size < ENOUGH_TILES:
        return ''
    if fine.std() < SHARED_OUT * fine.mean():
        return 'a pattern or noise, not a scene: its detail is the same everywhere'
    along, down = (float(each.mean()) for each in changes)
    if min(along, down) < ONE_WAY * max(along, down):
        return 'striped: it changes in one direction only: shaken, a test picture, or a broken line'
    rough, eighth = _by_tile(scales.rough, TILE // 8), float(scales.eighth.mean())
    if math.sqrt(float(scales.fine.mean() + scales.rough.mean())) < MIN_LOCAL * eighth:
        return 'fogged: hardly any grey levels between what is near together'
    few = np.argsort(fine, axis=None)[: round(LEAST_DETAILED * fine.size)]
    noise = 0.25 * _by_tile(scales.finest, TILE).ravel()[few].mean()
    detail = math.sqrt(max(float(fine.ravel()[few].mean() - noise), 0.0))
    if detail < MIN_SHARPNESS * math.sqrt(float(rough.ravel()[few].mean())):
        return 'blurred but for a few places: writing, or broken pixels, on what is out of focus'
    return ''


def _tint_fault(rgb: NDArray[np.uint8]) -> str:
    """Green or magenta all over is what decoders make of data without colours."""
    step = max(1, min(rgb.shape[:2]) // 60)
    red, green, blue = (each.astype(np.int16) for each in np.moveaxis(rgb[::step, ::step], -1, 0))
    brightest = np.maximum(np.maximum(red, green), blue) + np.int16(BLACK)
    for name, excess in (
        ('green', green - np.maximum(red, blue)),
        ('magenta', np.minimum(red, blue) - green),
    ):
        if np.median(excess / brightest) > TINTED:
            return f'{name} all over: wrongly decoded, or behind something coloured'
    return ''


def _flat_share(means: NDArray[np.float32], bare: Tiles) -> float:
    """The share of all tiles that are bare and alike in brightness."""
    if bare.size < ENOUGH_TILES or not bare.any():
        return 0.0
    levels = np.sort(means[bare])
    alike = np.searchsorted(levels, levels + 2 * FLAT_LEVELS, 'right') - np.arange(levels.size)
    return float(alike.max()) / bare.size


def _drawn_out(changes: Changes, shape: tuple[int, ...]) -> Tiles:
    """Rows of tiles in which every row is like the one above, or columns likewise."""
    drawn = np.zeros(shape, bool)
    along, down = changes
    for axis, across, same in ((0, along, down), (1, down, along)):
        across, same = across.mean(axis=1 - axis), same.mean(axis=1 - axis)
        lines = (same < DRAWN_OUT * across) & (across > LEAST_CHANGE)
        lines = _regions(lines[:, None], DRAWN_REGION)[:, 0]
        np.moveaxis(drawn, axis, 0)[lines] = True
    return drawn


def _repeated(rgb: NDArray[np.uint8], shape: tuple[int, ...]) -> Tiles:
    """Rows of tiles that are, to the bit, another row of the picture again: a cut transfer."""
    values = rgb.reshape(rgb.shape[0], -1)
    samples = values[:, :: max(1, values.shape[1] // ROW_SAMPLES)].astype(np.float64)
    # Of numbers without a pattern no two rows that differ have the same sum.
    key = samples @ np.sqrt(np.arange(2.0, samples.shape[1] + 2.0))
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
    """The picture without its large bare regions, what is `drawn` and thirds that are blind."""
    clipped = bare & ((means <= BLACK) | (means >= WHITE))
    blind = drawn | _regions(bare, BARE_REGION) | _regions(clipped, CLIPPED_REGION)
    for index in range(3):
        third = scales.third(index)
        if _contrast_fault(third) or _detail_fault(third, *OF_A_THIRD):
            _third(blind, index)[:] = True
    if not blind.any():
        return GOOD
    share = float(blind.mean())
    text = f'{share:.0%} of the picture says nothing: covered, clipped, cut, or a wall ahead'
    if share > MAX_BLIND:
        return Verdict(f'blind in part: {text}')
    # A tile at the edge of a cover is only partly covered, and not bare.
    grown = cv2.dilate(blind.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return Verdict(seen=~grown, partly=text)


def _regions(mask: Tiles, least: float) -> Tiles:
    """The connected parts of `mask` that are at least this share of it all."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= least * mask.size
    large[0] = False  # what is outside the mask
    return large[labels]
