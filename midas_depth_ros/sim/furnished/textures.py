"""Drawn textures: families of seamless grey squares, and atlases of them for quick look-ups.

A texture is values from 0 to 1 that a finish maps to its palette.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import cv2
import numpy as np

from midas_depth_ros.sim.scene.render import look_up

# --- Seamless noise, lines and cells, all of SIDE x SIDE texels.

SIDE = 256

Draw = Callable[[np.random.Generator], np.ndarray]
Families = list[tuple[str, Draw, int, str]]


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def noise(rng: np.random.Generator, across: float, up: float | None = None) -> np.ndarray:
    """Return seamless noise about 0, deviation 1, with features of `across` and `up` texels."""
    up = across if up is None else up
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)))
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    smooth = np.fft.irfft2(spectrum * np.exp(-8 * ((x * across) ** 2 + (y * up) ** 2)))
    return (smooth - smooth.mean()) / smooth.std()


def clouds(rng: np.random.Generator, slope: float = 1.7) -> np.ndarray:
    """Return seamless noise of all sizes; a larger slope is smoother."""
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)))
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    size = np.sqrt(x * x + y * y)
    size[0, 0] = 1
    smooth = np.fft.irfft2(spectrum / size**slope)
    return (smooth - smooth.mean()) / smooth.std()


def uv() -> tuple[np.ndarray, np.ndarray]:
    centre = (np.arange(SIDE) + 0.5) / SIDE
    return np.meshgrid(centre, centre)


def line(position: np.ndarray, width: float) -> np.ndarray:
    return (np.abs(position - np.round(position)) < 0.5 * width).astype(np.float64)


def cells(
    rng: np.random.Generator, columns: int, rows: int, shift: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the tone of each cell of a grid with shifted rows, and positions along and across."""
    u, v = uv()
    row = np.floor(rows * v).astype(int)
    along = columns * u + shift * row
    tone = rng.random((rows, columns))[row, np.floor(along).astype(int) % columns]
    return tone, along, rows * v


# --- The families of textures: floors, walls, houses, goods.


def _speckle(rng: np.random.Generator) -> np.ndarray:
    return noise(rng, rng.uniform(0.3, 3))


def _blotches(rng: np.random.Generator) -> np.ndarray:
    return noise(rng, rng.uniform(8, 40)) + 0.4 * noise(rng, 2)


def _clouds(rng: np.random.Generator) -> np.ndarray:
    return clouds(rng, rng.uniform(1.0, 2.0))


def _camouflage(rng: np.random.Generator) -> np.ndarray:
    return np.floor(3 * stretched(clouds(rng, 1.8))) + 0.1 * noise(rng, 1)


def _planks(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.choice([4, 6, 8]))
    tone, along, across = cells(rng, 2, count, 0.37)
    fibre = noise(rng, 40, 0.8) + 0.5 * noise(rng, 12, 0.4)
    joint = np.maximum(line(across, 0.06), line(along, 0.012))
    return (tone + 0.16 * fibre) * (1 - 0.6 * joint) - 0.4 * joint


def _parquet(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count = 4
    flip = (np.floor(count * u) + np.floor(count * v)) % 2
    strip = np.where(flip > 0, 4 * count * u, 4 * count * v)
    tone = rng.random(64)[(np.floor(strip) + 17 * np.floor(count * u)).astype(int) % 64]
    return tone + 0.12 * noise(rng, 2) - 0.6 * line(strip, 0.1)


def _grain(rng: np.random.Generator) -> np.ndarray:
    _, v = uv()
    return np.sin(math.tau * (int(rng.integers(3, 9)) * v + 0.35 * noise(rng, 60, 20))) + 0.8 * (
        noise(rng, 30, 0.6)
    )


def _tiles(rng: np.random.Generator) -> np.ndarray:
    count = int(rng.choice([2, 3, 4]))
    tone, along, across = cells(rng, count, count, 0.0)
    width = rng.uniform(0.02, 0.08)
    joint = np.maximum(line(along, width), line(across, width))
    sign = 1 if rng.random() < 0.7 else -1
    return rng.uniform(0, 0.6) * tone + 0.15 * noise(rng, 5) - sign * rng.uniform(0.6, 1.5) * joint


def _checker(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count = int(rng.choice([1, 2, 3]))
    return (np.floor(2 * count * u) + np.floor(2 * count * v)) % 2 + 0.06 * noise(rng, 2)


def _bricks(rng: np.random.Generator) -> np.ndarray:
    tone, along, across = cells(rng, 4, 8, 0.5)
    joint = np.maximum(line(across, 0.12), line(along, 0.05))
    sign = 1 if rng.random() < 0.6 else -1
    return 0.5 * tone + 0.12 * noise(rng, 1.5) + sign * joint


def _stripes(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count, slant = int(rng.integers(2, 10)), int(rng.choice([0, 0, 0, 2, 5]))
    return ((count * u + slant * v) % 1.0 < rng.uniform(0.2, 0.7)) + 0.05 * noise(rng, 2)


def _carpet(rng: np.random.Generator) -> np.ndarray:
    return noise(rng, 0.6) + 0.5 * noise(rng, 6) + 0.4 * noise(rng, 1.5, 0.5)


def _cracks(rng: np.random.Generator) -> np.ndarray:
    ridge = np.abs(clouds(rng, 1.6)) < 0.05
    return 0.5 * clouds(rng, 1.3) - 2.5 * ridge


def _gravel(rng: np.random.Generator) -> np.ndarray:
    return np.abs(noise(rng, 1.5)) + 0.4 * np.abs(noise(rng, 4)) + 0.2 * noise(rng, 0.4)


def _grass(rng: np.random.Generator) -> np.ndarray:
    return noise(rng, 0.6, 2.5) + 0.8 * noise(rng, 1.5, 5) + 0.6 * clouds(rng, 1.5)


def _foliage(rng: np.random.Generator) -> np.ndarray:
    return np.maximum(noise(rng, 2), noise(rng, 3)) + 0.7 * noise(rng, 8) + 0.3 * noise(rng, 0.5)


def _bark(rng: np.random.Generator) -> np.ndarray:
    return np.abs(noise(rng, 1.5, 12)) + 0.4 * noise(rng, 0.8, 3)


def _facade(rng: np.random.Generator) -> np.ndarray:
    """Windows in rows: 0..0.3 panes, above 0.5 wall."""
    columns, rows = int(rng.choice([2, 3, 4])), int(rng.choice([2, 3]))
    u, v = uv()
    a, b = columns * u % 1.0, rows * v % 1.0
    wide, high = rng.uniform(0.45, 0.75), rng.uniform(0.5, 0.75)
    pane = (np.abs(a - 0.5) < wide / 2) & (np.abs(b - 0.55) < high / 2)
    frame = (np.abs(a - 0.5) < wide / 2 + 0.05) & (np.abs(b - 0.55) < high / 2 + 0.05) & ~pane
    tone = rng.random((rows, columns))[
        np.floor(rows * v).astype(int), np.floor(columns * u).astype(int)
    ]
    value = 0.72 + 0.05 * noise(rng, 1) + 0.04 * noise(rng, 20)
    value = np.where(frame, 0.98, value)
    bar = (np.abs(a - 0.5) < 0.03) & pane
    return np.where(bar, 0.95, np.where(pane, 0.35 * tone * (0.5 + b), value))


def _books(rng: np.random.Generator) -> np.ndarray:
    """Rows of upright strips of different tones, with dark boards between."""
    rows = 2
    u, v = uv()
    value = np.zeros((SIDE, SIDE))
    row = np.floor(rows * v).astype(int)
    for r in range(rows):
        edges = np.sort(rng.random(26))
        strip = np.searchsorted(edges, u)
        height = 0.6 + 0.35 * rng.random(27)[strip]
        tone = 0.15 + 0.85 * rng.random(27)[strip]
        shown = np.where(rows * v % 1.0 < height, tone, 0.05)
        value = np.where(row == r, shown, value)
    return np.where(rows * v % 1.0 < 0.06, 0.5, value)


def _poster(rng: np.random.Generator) -> np.ndarray:
    """Rectangles and bars of all tones."""
    value = np.full((SIDE, SIDE), rng.random())
    for _ in range(int(rng.integers(4, 22))):
        x, y = rng.integers(0, SIDE, 2)
        w, h = rng.integers(6, 120, 2)
        value[y : y + h, x : x + w] = rng.random()
    return value + 0.03 * noise(rng, 1)


def _panels(rng: np.random.Generator) -> np.ndarray:
    """A front of doors or drawers: frames, and handles."""
    columns, rows = int(rng.integers(1, 4)), int(rng.integers(1, 5))
    u, v = uv()
    a, b = columns * u % 1.0, rows * v % 1.0
    joint = np.maximum(line(columns * u, 0.04), line(rows * v, 0.04))
    knob = (np.abs(a - 0.8) < 0.04) & (np.abs(b - 0.5) < 0.12)
    return 0.6 + 0.04 * noise(rng, 30, 1) - 0.6 * joint + np.where(knob, rng.choice([-0.5, 0.4]), 0)


# name, function, count, roles
FAMILIES: Families = [
    ('speckle', _speckle, 4, 'plain wall object grain'),
    ('blotches', _blotches, 3, 'plain wall object grain road'),
    ('clouds', _clouds, 5, 'plain wall object grain sky concrete road'),
    ('camouflage', _camouflage, 2, 'object odd'),
    ('planks', _planks, 4, 'floor wood'),
    ('parquet', _parquet, 2, 'floor wood'),
    ('woodgrain', _grain, 4, 'wood furniture'),
    ('tiles', _tiles, 5, 'floor tile'),
    ('checker', _checker, 2, 'floor tile odd'),
    ('bricks', _bricks, 3, 'brick odd'),
    ('stripes', _stripes, 5, 'odd object cloth'),
    ('carpet', _carpet, 3, 'floor soft cloth'),
    ('cracks', _cracks, 3, 'concrete road'),
    ('gravel', _gravel, 2, 'road concrete grain'),
    ('grass', _grass, 3, 'meadow'),
    ('foliage', _foliage, 4, 'leaves meadow'),
    ('bark', _bark, 2, 'trunk'),
    ('facade', _facade, 8, 'building'),
    ('books', _books, 4, 'shelf odd'),
    ('poster', _poster, 5, 'picture odd object'),
    ('panels', _panels, 5, 'furniture front'),
]


LEVELS = 6
SIZES = tuple(SIDE >> level for level in range(LEVELS))  # texels: of every texture at every level
BORDER = 1
ATLASES = 6  # different atlases, each drawn once and kept


@dataclasses.dataclass(frozen=True)
class Atlas:
    """Textures below each other in `texels`, (rows, columns) uint8, smaller levels beside.

    `roles`: role ('floor', 'wall', ...) -> numbers of textures. `first_column`: by level.
    """

    texels: np.ndarray
    roles: dict[str, tuple[int, ...]]
    first_column: np.ndarray

    def look_up(
        self, number: np.ndarray, u: np.ndarray, v: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """Return values (h, w) uint8 of textures at (u, v), 1 = one repeat; `level` is uint8."""
        size, first = look_up(level, SIZES), look_up(level, self.first_column)
        columns = (u - np.floor(u)) * size + first
        rows = (v - np.floor(v)) * size + (number * np.float32(SIDE + 2) + np.float32(BORDER - 0.5))
        return cv2.remap(self.texels, columns, rows, cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=ATLASES)
def atlas(number: int) -> Atlas:
    """Return atlas `number` of `FAMILIES`, bit-identical for the same number."""
    return drawn_atlas(FAMILIES, (5, number))


def drawn_atlas(families: Families, seed: tuple[int, int]) -> Atlas:
    """Return textures of all families, one below the other, with the grain of `seed`."""
    rows: list[np.ndarray] = []
    roles: dict[str, list[int]] = {}
    for place, (name, draw, draws, suits) in enumerate(families):
        for again in range(draws):
            rng = np.random.default_rng((*seed, place, again))
            rows.append(_with_levels(stretched(draw(rng))))
            for role in (name, *suits.split()):
                roles.setdefault(role, []).append(len(rows) - 1)
    starts = np.cumsum([0, *(size + 2 * BORDER for size in SIZES[:-1])]) + BORDER - 0.5
    return Atlas(
        np.ascontiguousarray(np.concatenate(rows)),
        {role: tuple(numbers) for role, numbers in roles.items()},
        starts.astype(np.float32),
    )


def _with_levels(values: np.ndarray) -> np.ndarray:
    """(SIDE + 2, columns of all levels) uint8, every level with its border."""
    levels = []
    for size in SIZES:
        small = cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA)
        framed = np.pad(small, BORDER, mode='wrap')
        framed = np.pad(framed, ((0, SIDE + 2 - len(framed)), (0, 0)))
        levels.append(np.rint(framed * 255).astype(np.uint8))
    return np.concatenate(levels, axis=1)
