"""What textures are drawn with: seamless noise, lines, cells; all in pictures of SIDE x SIDE."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SIDE = 256

Draw = Callable[[np.random.Generator], np.ndarray]
Families = list[tuple[str, Draw, int, str]]


def stretched(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, (1, 99))
    return np.clip((values - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def noise(rng: np.random.Generator, across: float, up: float | None = None) -> np.ndarray:
    """Seamless noise about 0, deviation 1, with features `across` and `up` texels large."""
    up = across if up is None else up
    spectrum = np.fft.rfft2(rng.standard_normal((SIDE, SIDE)))
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    smooth = np.fft.irfft2(spectrum * np.exp(-8 * ((x * across) ** 2 + (y * up) ** 2)))
    return (smooth - smooth.mean()) / smooth.std()


def clouds(rng: np.random.Generator, slope: float = 1.7) -> np.ndarray:
    """Seamless noise of all sizes; a larger slope is smoother."""
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
    """Tone of each cell of a grid whose rows are shifted, and distance-like lines of joints."""
    u, v = uv()
    row = np.floor(rows * v).astype(int)
    along = columns * u + shift * row
    tone = rng.random((rows, columns))[row, np.floor(along).astype(int) % columns]
    return tone, along, rows * v
