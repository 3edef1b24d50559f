"""How far another precision strays from float32, in what depth is used for.

In: the relative inverse depth of the same pictures in float32 and in the other precision. Out:
per picture the correlation, and AbsRel: the mean of |difference| / float32, after the best scale
and shift, over what is not far away. Scale and shift of relative inverse depth mean nothing, so
they count for nothing here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from midas_depth_ros.depth.errors import DepthError

SAMPLES = Path(__file__).resolve().parents[1] / 'assets' / 'samples'
# 'auto' takes a precision only within both, on the worst picture. MiDaS_small itself misses true
# inverse depth by an AbsRel of 0.1 to 0.3: a tenth of its error is lost in it.
LEAST_CORRELATION = 0.99
MOST_ABS_REL = 0.02
# AbsRel leaves out what is further than this part of the nearest: it divides by next to nothing.
NEAR_PART = 0.05
NEAREST_QUANTILE = 0.99

Infer = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@dataclasses.dataclass(frozen=True)
class Deviation:
    """Per picture by its name: (correlation, AbsRel)."""

    pictures: Mapping[str, tuple[float, float]]

    @property
    def correlation(self) -> float:
        """Of the worst picture."""
        return min(correlation for correlation, _ in self.pictures.values())

    @property
    def abs_rel(self) -> float:
        """Of the worst picture."""
        return max(abs_rel for _, abs_rel in self.pictures.values())

    @property
    def within_bound(self) -> bool:
        """Whether 'auto' may take it; what is not a number is not within."""
        return all(
            correlation >= LEAST_CORRELATION and abs_rel <= MOST_ABS_REL
            for correlation, abs_rel in self.pictures.values()
        )

    def __str__(self) -> str:
        return (
            f'correlation {self.correlation:.4f} and AbsRel {self.abs_rel:.4f} against f32 on the '
            f'worst of {len(self.pictures)} pictures (bound: {LEAST_CORRELATION}, {MOST_ABS_REL})'
        )

    def to_json(self) -> dict[str, Any]:
        """For a file's metadata."""
        return {name: list(figures) for name, figures in self.pictures.items()}

    @classmethod
    def from_json(cls, values: Any) -> Deviation | None:
        """What `to_json` gave; None where that was something else."""
        try:
            pictures = {str(k): (float(c), float(a)) for k, (c, a) in values.items()}
        except (AttributeError, TypeError, ValueError):
            return None
        return cls(pictures) if pictures else None


def sample_pictures(names: Collection[str] = ()) -> dict[str, NDArray[np.uint8]]:
    """The pictures of the package by name, (240, 320, 3) uint8 RGB; DepthError without them.

    `names`: those to read, all where there are none.
    """
    pictures = {}
    for path in [SAMPLES / f'{name}.jpg' for name in names] or sorted(SAMPLES.glob('*.jpg')):
        picture = cv2.imread(str(path))
        if picture is None:
            raise DepthError(f'{path} cannot be read: install the package again')
        pictures[path.stem] = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    if not pictures:
        raise DepthError(f'no sample pictures in {SAMPLES}: install the package again')
    return pictures


def measure(reference: Infer, other: Infer, pictures: Mapping[str, NDArray[np.uint8]]) -> Deviation:
    """Run both on every picture and compare."""
    return Deviation({name: compare(reference(rgb), other(rgb)) for name, rgb in pictures.items()})


def compare(wanted: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[float, float]:
    """(correlation, AbsRel) of `found` against `wanted`, (h, w) each.

    Where `wanted` is the same everywhere the correlation is that of equal things: 1 or 0.
    """
    true = wanted.ravel().astype(np.float64)
    other = found.ravel().astype(np.float64)
    if not np.isfinite(other).all():
        return 0.0, float('inf')
    if np.ptp(true) == 0 or np.ptp(other) == 0:
        same = np.ptp(true) == np.ptp(other)
        return (1.0, 0.0) if same else (0.0, 1.0)
    correlation = float(np.corrcoef(true, other)[0, 1])
    scale, shift = np.polyfit(other, true, 1)
    near = true > NEAR_PART * np.quantile(true, NEAREST_QUANTILE)
    abs_rel = np.abs(scale * other + shift - true)[near] / true[near]
    return correlation, float(abs_rel.mean())
