"""Families of textures for measuring only: no training sample has them."""

from __future__ import annotations

import functools
import math

import numpy as np

from midas_depth_ros.sim.furnished.textures import (
    ATLASES,
    SIDE,
    Atlas,
    Families,
    clouds,
    drawn_atlas,
    line,
    noise,
    uv,
)


def _hexagons(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count = 4
    angle = np.cos(math.tau * count * u) + np.cos(math.tau * (count * u / 2 + count * v))
    return angle + np.cos(math.tau * (count * u / 2 - count * v)) + 0.1 * noise(rng, 1)


def _stones(rng: np.random.Generator) -> np.ndarray:
    points = rng.random((int(rng.integers(12, 60)), 2))
    tone = rng.random(len(points))
    u, v = uv()
    first, second, owner = np.full(u.shape, 9.0), np.full(u.shape, 9.0), np.zeros(u.shape, int)
    for i, (x, y) in enumerate(points):
        dx, dy = np.abs(u - x), np.abs(v - y)
        d = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
        second = np.minimum(second, np.maximum(first, d))
        owner, first = np.where(d < first, i, owner), np.minimum(first, d)
    return 0.6 * tone[owner] + 0.08 * noise(rng, 2) - 0.9 * (second - first < 0.015)


def _marble(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    a, b = rng.integers(1, 5, 2)
    return np.sin(math.tau * (a * u + b * v) + 1.8 * clouds(rng, 1.9))


def _dots(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    count = int(rng.integers(3, 10))
    radius = np.hypot(count * u % 1.0 - 0.5, count * v % 1.0 - 0.5)
    return (radius < rng.uniform(0.2, 0.42)) + 0.05 * noise(rng, 1)


def _plaid(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    bars = rng.random(16)
    return bars[(16 * u).astype(int)] + bars[(16 * v).astype(int)] + 0.1 * noise(rng, 0.5)


def _herringbone(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    zig = np.abs((4 * u) % 2.0 - 1.0)
    strip = 8 * v + 2 * zig
    tone = rng.random(8)[np.floor(strip).astype(int) % 8]
    return tone + 0.1 * noise(rng, 3) - 0.7 * np.maximum(line(strip, 0.1), line(4 * u, 0.03))


def _waves(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    return np.sin(math.tau * (int(rng.integers(3, 9)) * v + 0.3 * np.sin(math.tau * 2 * u)))


def _terrazzo(rng: np.random.Generator) -> np.ndarray:
    return np.where(noise(rng, 3) > 1.1, rng.random(), 0.6) + np.where(noise(rng, 2) > 1.4, -0.5, 0)


def _knit(rng: np.random.Generator) -> np.ndarray:
    u, v = uv()
    return np.sin(math.tau * 24 * u) * np.sin(math.tau * (16 * v + np.abs(24 * u % 1 - 0.5)))


def _clumps(rng: np.random.Generator) -> np.ndarray:
    return np.abs(noise(rng, 3, 2)) ** 0.5 - 0.5 * np.abs(noise(rng, 7)) + 0.4 * noise(rng, 1, 2)


def _bands(rng: np.random.Generator) -> np.ndarray:
    """A facade of bands of glass."""
    u, v = uv()
    a, b = 6 * u % 1.0, 3 * v % 1.0
    tone = rng.random((3, 6))[np.floor(3 * v).astype(int), np.floor(6 * u).astype(int)]
    glass = b > rng.uniform(0.35, 0.55)
    return np.where(a < 0.06, 0.9, np.where(glass, 0.3 * tone + 0.1 * b, 0.75))


def _collage(rng: np.random.Generator) -> np.ndarray:
    """Round patches of all tones."""
    u, v = uv()
    value = np.full((SIDE, SIDE), rng.random())
    for _ in range(int(rng.integers(5, 30))):
        x, y, r = *rng.random(2), rng.uniform(0.03, 0.25)
        value = np.where(np.hypot(u - x, (v - y) * rng.uniform(0.5, 2)) < r, rng.random(), value)
    return value


# name, function, how many of them, what else they suit
EVALUATION_FAMILIES: Families = [
    ('hexagons', _hexagons, 2, 'floor tile odd'),
    ('stones', _stones, 5, 'floor tile road brick odd'),
    ('marble', _marble, 5, 'wood furniture floor concrete wall grain'),
    ('dots', _dots, 3, 'odd object cloth'),
    ('plaid', _plaid, 3, 'odd cloth soft floor object'),
    ('herringbone', _herringbone, 3, 'floor wood brick'),
    ('waves', _waves, 2, 'odd object sky'),
    ('terrazzo', _terrazzo, 4, 'plain wall floor concrete road object grain'),
    ('knit', _knit, 2, 'soft cloth floor object'),
    ('clumps', _clumps, 5, 'meadow leaves trunk grain sky plain'),
    ('bands', _bands, 5, 'building shelf front furniture'),
    ('collage', _collage, 5, 'picture odd object shelf'),
]


@functools.lru_cache(maxsize=ATLASES)
def evaluation_atlas(number: int) -> Atlas:
    """Atlas `number` of these families; the same bits for the same number."""
    return drawn_atlas(EVALUATION_FAMILIES, (4, number))
