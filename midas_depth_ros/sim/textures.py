"""Drawn textures: families of seamless grey pictures, and atlases of them for quick look-ups.

A texture is values from 0 to 1 that a finish paints with its palette. There are two disjoint sets
of families: 'train', and 'eval' for measuring on textures that were never trained on.
"""

from __future__ import annotations

import dataclasses
import functools

import cv2
import numpy as np

from midas_depth_ros.sim import textures_eval, textures_train
from midas_depth_ros.sim.drawing import SIDE, stretched
from midas_depth_ros.sim.fields import look_up

FAMILIES = {'train': textures_train.FAMILIES, 'eval': textures_eval.FAMILIES}
LEVELS = 6
SIZES = tuple(SIDE >> level for level in range(LEVELS))  # texels: of every texture at every level
BORDER = 1
ATLASES = 6  # so many different atlases, each drawn once and kept


@dataclasses.dataclass(frozen=True)
class Atlas:
    """Textures below each other in `texels`, (rows, columns) uint8, smaller levels beside.

    `roles`: what a texture suits ('floor', 'wall', ...) -> its numbers. `first_column`: by level.
    """

    texels: np.ndarray
    roles: dict[str, tuple[int, ...]]
    first_column: np.ndarray

    def look_up(
        self, number: np.ndarray, u: np.ndarray, v: np.ndarray, level: np.ndarray
    ) -> np.ndarray:
        """Values (h, w) uint8 of textures at (u, v), 1 being one repeat; `level` is uint8."""
        size, first = look_up(level, SIZES), look_up(level, self.first_column)
        columns = (u - np.floor(u)) * size + first
        rows = (v - np.floor(v)) * size + (number * np.float32(SIDE + 2) + np.float32(BORDER - 0.5))
        return cv2.remap(self.texels, columns, rows, cv2.INTER_LINEAR)


@functools.lru_cache(maxsize=2 * ATLASES)
def atlas(family: str, number: int) -> Atlas:
    """Atlas `number` of the set 'train' or 'eval'; the same bits for the same arguments."""
    rows: list[np.ndarray] = []
    roles: dict[str, list[int]] = {}
    for place, (name, draw, draws, suits) in enumerate(FAMILIES[family]):
        for again in range(draws):
            rng = np.random.default_rng((len(family), number, place, again))
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
    """(SIDE + 2, all levels' columns) uint8, every level with its border."""
    levels = []
    for size in SIZES:
        small = cv2.resize(values, (size, size), interpolation=cv2.INTER_AREA)
        framed = np.pad(small, BORDER, mode='wrap')
        framed = np.pad(framed, ((0, SIDE + 2 - len(framed)), (0, 0)))
        levels.append(np.rint(framed * 255).astype(np.uint8))
    return np.concatenate(levels, axis=1)
