"""Whether a picture says anything: dark, white, fogged, blurred, covered or frozen ones do not.

A network answers every picture, and one that says nothing with what it has learnt rooms to look
like. So the picture itself is judged, before anybody believes in its depth: an (H, W, 3) uint8 RGB
picture goes in, a `Verdict` comes out, with the part of the picture that says nothing.

Judged is the luminance at `JUDGED_SIZE`, in tiles of 16 pixels. White noise loses half of its
deviation each time a picture is halved, what is in a picture does not: that tells them apart.
The limits stand between real pictures and copies of them that were darkened, fogged, blurred or
covered until a network no longer knew near from far: `python -m benchmarks.blindness`.
"""

from __future__ import annotations

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
SAMPLES = 16_384  # of a picture, to tell whether it is the same as the last one
AGAIN = 3  # frames that are the same before a camera may count as frozen

Tiles = NDArray[np.bool_]


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
    reason = _contrast_fault(scales) or _detail_fault(scales, MIN_DETAIL, MIN_SHARPNESS)
    if reason:
        return Verdict(reason)
    means, bare = _bare_tiles(scales)
    if bare.mean() > MAX_BARE:
        return Verdict(
            f'{bare.mean():.0%} of the picture has nothing in it: covered, fogged, out of focus, '
            'or right before a wall'
        )
    return _without_parts(scales, means, bare)


class Freeze:
    """Notices a camera that gives the same picture again and again. One for each camera."""

    def __init__(self) -> None:
        self._samples: NDArray[np.uint8] | None = None
        self._since_s = math.inf
        self._count = 0

    def look(self, rgb: NDArray[np.uint8], stamp_s: float, frozen_after_s: float) -> str:
        """Why a camera counts as frozen: the same picture to the bit for longer than this; else ''.

        A real sensor has noise, and never gives a picture twice. 0 s = nothing counts as frozen.
        """
        step = max(1, math.ceil(math.sqrt(rgb.shape[0] * rgb.shape[1] / SAMPLES)))
        samples = np.ascontiguousarray(rgb[::step, ::step])
        before, self._samples = self._samples, samples
        same = before is not None and np.array_equal(before, samples)
        if not same or stamp_s < self._since_s:
            self._since_s, self._count = stamp_s, 0
            return ''
        self._count += 1
        lasted_s = stamp_s - self._since_s
        if frozen_after_s <= 0 or self._count < AGAIN or lasted_s <= frozen_after_s:
            return ''
        return (
            f'frozen: the same picture to the bit for {lasted_s:.1f} s; a simulated camera without '
            'noise, or a still picture, needs frozen_after: 0'
        )


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


def _without_parts(scales: _Scales, means: NDArray[np.float32], bare: Tiles) -> Verdict:
    """The picture without its large bare regions, and without thirds that are fogged or blurred."""
    clipped = bare & ((means <= BLACK) | (means >= WHITE))
    blind = _regions(bare, BARE_REGION) | _regions(clipped, CLIPPED_REGION)
    for index in range(3):
        third = scales.third(index)
        if _contrast_fault(third) or _detail_fault(third, *OF_A_THIRD):
            _third(blind, index)[:] = True
    if not blind.any():
        return GOOD
    share = float(blind.mean())
    text = f'{share:.0%} of the picture says nothing: covered, clipped, or a wall right ahead'
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
