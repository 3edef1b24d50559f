"""Surface patterns: each a square picture that repeats without a seam, all on one sheet.

A pattern multiplies the colour of a material. `sheet(seed)` lays all of them under one another,
so that a whole picture is textured by a single look-up.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import cv2
import numpy as np

SIDE = 256  # texels along one side of a pattern
BORDER = 1  # a pattern is continued by this much, so that interpolation finds no seam


@dataclasses.dataclass(frozen=True)
class Sheet:
    """All patterns: `texels` (rows, SIDE + 2, 3) uint8, and where each pattern starts.

    `first_row` and `mean` (3 values, 0..1) are by pattern name.
    """

    texels: np.ndarray
    first_row: dict[str, int]
    mean: dict[str, np.ndarray]


def _grain(rng: np.random.Generator, amount: float, blur: float) -> np.ndarray:
    """Seamless noise about 0 with deviation `amount`, smoothed over `blur` texels."""
    noise = rng.standard_normal((SIDE, SIDE)).astype(np.float32)
    frequency = np.fft.fftfreq(SIDE)[:, None] ** 2 + np.fft.rfftfreq(SIDE)[None, :] ** 2
    smooth = np.fft.irfft2(np.fft.rfft2(noise) * np.exp(-frequency * (4.0 * blur) ** 2))
    return (smooth * (amount / smooth.std())).astype(np.float32)


def _lines(position: np.ndarray, width: float) -> np.ndarray:
    """1 on a line of `width` about every whole number of `position`, else 0."""
    return (np.abs(position - np.round(position)) < 0.5 * width).astype(np.float32)


def _coordinates() -> tuple[np.ndarray, np.ndarray]:
    """(u, v) of every texel, 0..1: u across the columns, v up the rows."""
    centre = (np.arange(SIDE, dtype=np.float32) + 0.5) / SIDE
    u, v = np.meshgrid(centre, centre)
    return u, v


def _plain(rng: np.random.Generator) -> np.ndarray:
    return 0.9 + _grain(rng, 0.02, 1.0) + _grain(rng, 0.025, 12.0)


def _checker(rng: np.random.Generator) -> np.ndarray:
    u, v = _coordinates()
    light = (np.floor(2 * u) + np.floor(2 * v)) % 2
    return 0.55 + 0.4 * light + _grain(rng, 0.02, 2.0)


def _tiles(rng: np.random.Generator) -> np.ndarray:
    """Two by two tiles, each of its own brightness, with dark joints."""
    u, v = _coordinates()
    column, row = np.floor(2 * u).astype(int), np.floor(2 * v).astype(int)
    tone = rng.uniform(0.82, 1.0, (2, 2)).astype(np.float32)[row, column]
    joint = np.maximum(_lines(2 * u, 0.03), _lines(2 * v, 0.03))
    return (tone + _grain(rng, 0.03, 5.0)) * (1 - 0.35 * joint)


def _planks(rng: np.random.Generator) -> np.ndarray:
    """Eight rows of boards lying along u, ends staggered, with grain along them."""
    u, v = _coordinates()
    row = np.floor(8 * v).astype(int)
    along = 2 * u + rng.uniform(0, 1, 8).astype(np.float32)[row]
    board = (np.floor(along) % 2).astype(int)
    tone = rng.uniform(0.72, 1.0, (8, 2)).astype(np.float32)[row, board]
    fibre = cv2.blur(np.pad(_grain(rng, 0.25, 0.5), ((0, 0), (15, 15)), mode='wrap'), (31, 1))
    joint = np.maximum(_lines(8 * v, 0.06), _lines(along, 0.008))
    return (tone + fibre[:, 15:-15]) * (1 - 0.45 * joint)


def _bricks(rng: np.random.Generator) -> np.ndarray:
    u, v = _coordinates()
    row = np.floor(8 * v).astype(int)
    along = 4 * u + 0.5 * (row % 2)
    tone = rng.uniform(0.75, 1.0, (8, 4)).astype(np.float32)
    tone = tone[row, np.floor(along).astype(int) % 4]
    joint = np.maximum(_lines(8 * v, 0.12), _lines(along, 0.05))
    return (tone + _grain(rng, 0.04, 1.5)) * (1 - 0.3 * joint) + 0.15 * joint


def _wall(rng: np.random.Generator) -> np.ndarray:
    """One stretch of a corridor's wall, floor to ceiling: skirting, a door, a picture."""
    u, v = _coordinates()
    paint = (0.93 + _grain(rng, 0.012, 1.0) + _grain(rng, 0.02, 16.0))[..., None]
    wall = paint * np.ones(3, np.float32)

    def patch(u0: float, u1: float, v0: float, v1: float, colour: tuple[float, ...]) -> None:
        inside = (u >= u0) & (u < u1) & (v >= v0) & (v < v1)
        wall[inside] = np.array(colour, np.float32) * (0.02 + paint[inside])

    patch(0.0, 1.0, 0.0, 0.045, (0.38, 0.36, 0.34))
    patch(0.10, 0.36, 0.0, 0.85, (0.50, 0.47, 0.42))
    patch(0.12, 0.34, 0.0, 0.83, (0.62, 0.42, 0.26))
    patch(0.31, 0.33, 0.40, 0.42, (0.85, 0.85, 0.8))
    patch(0.58, 0.82, 0.50, 0.74, (0.25, 0.22, 0.2))
    patch(0.60, 0.80, 0.52, 0.72, tuple(rng.uniform(0.35, 0.9, 3)))
    return wall


def _lamps(rng: np.random.Generator) -> np.ndarray:
    """A ceiling of panels with one bright lamp in the middle."""
    u, v = _coordinates()
    panel = (
        0.8 + _grain(rng, 0.01, 1.0) - 0.12 * np.maximum(_lines(4 * u, 0.02), _lines(4 * v, 0.02))
    )
    lamp = (np.abs(u - 0.5) < 0.2) & (np.abs(v - 0.5) < 0.07)
    return np.where(lamp, 1.5, panel)


def _carton(rng: np.random.Generator) -> np.ndarray:
    """A cardboard box: a strip of tape, a label, darker edges."""
    u, v = _coordinates()
    board = 0.88 + _grain(rng, 0.02, 3.0) - 0.2 * np.maximum(_lines(u, 0.03), _lines(v, 0.03))
    tape = np.abs(u - 0.5) < 0.08
    board = np.where(tape, board * 1.18, board)
    label = (np.abs(u - 0.78) < 0.11) & (np.abs(v - 0.3) < 0.1)
    return np.where(label, 1.35, board)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    """Slanted warning stripes."""
    u, v = _coordinates()
    dark = (u + 2 * v) % 1.0 < 0.5
    return np.where(dark, 0.25, 1.0) + _grain(rng, 0.02, 2.0)


PATTERNS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    'plain': _plain,
    'checker': _checker,
    'tiles': _tiles,
    'planks': _planks,
    'bricks': _bricks,
    'wall': _wall,
    'lamps': _lamps,
    'carton': _carton,
    'stripes': _stripes,
}
BRIGHTEST = 1.5  # the multiplier that a texel of 255 stands for


@functools.lru_cache(maxsize=8)
def sheet(seed: int) -> Sheet:
    """All patterns with the grain of `seed`, the same bits for the same seed."""
    rows, first_row, mean = [], {}, {}
    for index, (name, draw) in enumerate(PATTERNS.items()):
        tile = draw(np.random.default_rng((seed, index))).astype(np.float32)
        if tile.ndim == 2:
            tile = np.repeat(tile[..., None], 3, axis=2)
        texels = np.clip(np.rint(tile * (255 / BRIGHTEST)), 0, 255).astype(np.uint8)
        first_row[name] = index * (SIDE + 2 * BORDER)
        mean[name] = texels.mean(axis=(0, 1)) / 255
        rows.append(np.pad(texels, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode='wrap'))
    return Sheet(np.ascontiguousarray(np.concatenate(rows)), first_row, mean)
