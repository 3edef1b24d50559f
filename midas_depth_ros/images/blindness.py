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
OF_A_THIRD = 0.7  # of these limits of detail hold for a third: beside a corridor are bare walls
LEAST_TILES = 2  # in both directions; of smaller pictures only the contrast is judged

MIN_CONTRAST = 8.0  # grey levels of 255, from the 2nd to the 98th percentile of coarse blocks
MIN_CONTRAST_SMALL = 32.0  # of a picture too small to tell noise apart
MIN_SHARE = 0.12  # of the mean brightness: less contrast is fog
MIN_DETAIL = 0.6  # grey levels: structure of 2 to 4 pixels, without noise
MIN_SHARPNESS = 0.12  # that structure as a share of what is 8 to 16 pixels large
BARE = 0.8  # grey levels: a tile that strays no more from an even slope has nothing in it,
NOISE = 0.51  # nor has one that strays no more than noise does; see `_bare_tiles`
MAX_BARE = 0.7  # of all tiles
BARE_REGION = 0.33  # of all tiles, in one piece, say nothing: a wall right ahead, or a cover
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
    halves = [grey]
    for _ in range(4):
        halves.append(_halved(halves[-1]))
    reason = _contrast_fault(halves) or _detail_fault(halves)
    if reason:
        return Verdict(reason)
    means, bare = _bare_tiles(halves)
    if bare.mean() > MAX_BARE:
        return Verdict(
            f'{bare.mean():.0%} of the picture has nothing in it: covered, fogged, out of focus, '
            'or right before a wall'
        )
    return _without_parts(means, bare, halves)


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


def _halved(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    size = max(1, picture.shape[1] // 2), max(1, picture.shape[0] // 2)
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def _band(halves: list[NDArray[np.float32]], level: int) -> NDArray[np.float32]:
    """What a picture halved `level` times has that is lost when it is halved once more."""
    picture = halves[level]
    size = picture.shape[1], picture.shape[0]
    return picture - cv2.resize(halves[level + 1], size, interpolation=cv2.INTER_LINEAR)


def _contrast_fault(halves: list[NDArray[np.float32]]) -> str:
    coarse, mean = halves[3], float(halves[3].mean())
    low, high = np.percentile(coarse, (2, 98))
    contrast = float(high - low)
    if contrast < MIN_CONTRAST:
        where = 'dark' if mean < 0.25 * WHITE else 'bright' if mean > 0.85 * WHITE else 'even'
        return f'too {where}: {contrast:.0f} of 255 grey levels between dark and bright'
    if contrast < MIN_SHARE * mean:
        return f'fogged: {contrast:.0f} grey levels between dark and bright at a mean of {mean:.0f}'
    return ''


def _detail_fault(halves: list[NDArray[np.float32]], strictness: float = 1.0) -> str:
    finest, fine, coarse = (float(np.mean(_band(halves, level) ** 2)) for level in (0, 1, 3))
    # White noise of deviation n is 0.87 n in the finest band and 0.43 n in the next.
    detail = math.sqrt(max(fine - 0.25 * finest, 0.0))
    if detail < strictness * MIN_DETAIL:
        return (
            f'without detail: {detail:.1f} of 255 grey levels: too dark, covered, out of focus, or '
            'right before a bare wall'
        )
    if detail < strictness * MIN_SHARPNESS * math.sqrt(coarse):
        return 'blurred: out of focus, shaken or covered by something see-through'
    return ''


def _bare_tiles(
    halves: list[NDArray[np.float32]],
) -> tuple[NDArray[np.float32], Tiles]:
    """Mean of each tile, and whether there is nothing in it but an even slope and noise.

    Of white noise of deviation n a tile at half size strays by 0.5 n, and has 0.87 n in the finest
    band: (0.5 / 0.87)^2 = 0.33, and half as much again for what 64 pixels stray by chance.
    """
    half = halves[1]
    rows, columns = half.shape[0] // (TILE // 2), half.shape[1] // (TILE // 2)
    side = TILE // 2
    tiles = half[: rows * side, : columns * side].reshape(rows, side, columns, side)
    tiles = tiles.transpose(0, 2, 1, 3)
    means = tiles.mean(axis=(2, 3), keepdims=True)
    along = np.arange(side, dtype=np.float32) - np.float32(0.5 * (side - 1))
    spread = np.float32(side * (along**2).sum())
    across = (tiles * along).sum(axis=(2, 3), keepdims=True) / spread
    down = (tiles * along[:, None]).sum(axis=(2, 3), keepdims=True) / spread
    strays = ((tiles - means - across * along - down * along[:, None]) ** 2).mean(axis=(2, 3))
    finest = _band(halves, 0)[: rows * TILE, : columns * TILE] ** 2
    noise = finest.reshape(rows, TILE, columns, TILE).mean(axis=(1, 3))
    return means[..., 0, 0], strays < BARE**2 + NOISE * noise


def _without_parts(
    means: NDArray[np.float32], bare: Tiles, halves: list[NDArray[np.float32]]
) -> Verdict:
    """The picture without its large bare regions, and without thirds that are fogged or blurred."""
    clipped = bare & ((means <= BLACK) | (means >= WHITE))
    blind = _regions(bare, BARE_REGION) | _regions(clipped, CLIPPED_REGION)
    for third in range(3):
        part = [
            half[:, third * half.shape[1] // 3 : (third + 1) * half.shape[1] // 3]
            for half in halves
        ]
        if _contrast_fault(part) or _detail_fault(part, OF_A_THIRD):
            columns = blind.shape[1]
            blind[:, third * columns // 3 : (third + 1) * columns // 3] = True
    if not blind.any():
        return GOOD
    share = float(blind.mean())
    if share > MAX_BARE:
        return Verdict(f'{share:.0%} of the picture says nothing: covered, fogged or out of focus')
    text = f'{share:.0%} of the picture says nothing: covered, clipped, or a wall right ahead'
    return Verdict(seen=~blind, partly=text)


def _regions(mask: Tiles, least: float) -> Tiles:
    """The connected parts of `mask` that are at least this share of it all."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    large = stats[:, cv2.CC_STAT_AREA] >= least * mask.size
    large[0] = False  # what is outside the mask
    return large[labels]
