"""What spoils a picture before and behind the lens: fog, drops, flare, too little light, shake.

Light (H, W, 3) float32 in, the same out; depth stays what it is. What a picture no longer shows
cannot be learned from it, but that it shows nothing can.
"""

from __future__ import annotations

import dataclasses
import math
import random

import cv2
import numpy as np

from midas_depth_ros.sim.scene.render import tripled

CELLS = 5  # of a patchy fog, across the picture


@dataclasses.dataclass(frozen=True)
class Faults:
    """fog: share of the light that is scattered, 0..1, and `patchy` how unevenly; it also blurs by
    `fog_px` of a picture 256 wide. drops: number of drops or specks. flare: brightness of a lens
    flare. light: share of the usual exposure. noise: deviation in grey levels that comes with it.
    shake_px: length of motion blur. at: number that the pattern is drawn from.
    """

    fog: float = 0.0
    patchy: float = 0.0
    fog_px: float = 0.0
    drops: int = 0
    flare: float = 0.0
    light: float = 1.0
    noise: float = 0.0
    shake_px: float = 0.0
    at: int = 0


def random_faults(rng: random.Random, many: bool) -> Faults:
    """One fault or two where `many`; else mostly none."""
    faults = Faults(at=rng.randrange(10**6))
    if not many and rng.random() > 0.12:
        return faults
    for _ in range(rng.choice((1, 1, 2)) if many else 1):
        faults = dataclasses.replace(faults, **_drawn(rng))
    return faults


def _drawn(rng: random.Random) -> dict:
    pick = rng.random()
    if pick < 0.24:
        return {'fog': rng.uniform(0.15, 0.75), 'patchy': rng.uniform(0, 1),
                'fog_px': rng.uniform(0, 3)}  # fmt: skip
    if pick < 0.4:
        return {'drops': rng.randint(2, 25)}
    if pick < 0.58:
        return {'flare': rng.uniform(0.2, 1.2)}
    if pick < 0.84:
        return {'light': math.exp(rng.uniform(math.log(0.22), math.log(0.65))),
                'noise': rng.uniform(2, 14)}  # fmt: skip
    return {'shake_px': rng.uniform(4, 16)}


def spoilt(light: np.ndarray, faults: Faults) -> np.ndarray:
    """The light that comes through such a lens."""
    rng = np.random.default_rng(faults.at)
    if faults.drops:
        light = _through_drops(light, rng, faults.drops)
    if faults.fog > 0:
        light = _through_fog(light, rng, faults)
    if faults.flare > 0:
        light = _with_flare(light, rng, faults.flare)
    return light


def _through_fog(light: np.ndarray, rng: np.random.Generator, faults: Faults) -> np.ndarray:
    height, width = light.shape[:2]
    if faults.fog_px > 0:
        light = cv2.GaussianBlur(light, (0, 0), faults.fog_px * width / 256)
    field = cv2.resize(
        rng.random((CELLS, CELLS), np.float32), (width, height), interpolation=cv2.INTER_CUBIC
    )
    share = np.float32(faults.fog) * (1 + np.float32(faults.patchy) * (field - 0.5) * 1.6)
    share = tripled(np.clip(share, 0, 0.9))
    scattered = np.minimum(light, 1.5).mean(axis=(0, 1)) * np.float32(1.1)
    return light * (1 - share) + share * scattered


def _through_drops(light: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    """Round spots that blur, and are darker or lighter."""
    height, width = light.shape[:2]
    mask = np.zeros((height, width), np.float32)
    for x, y, size in rng.random((count, 3)):
        radius = max(1, round(width * (0.008 + 0.05 * size**3)))
        cv2.circle(mask, (round(x * width), round(y * height)), radius, 1.0, -1)
    mask = tripled(cv2.GaussianBlur(mask, (0, 0), width / 150))
    soft = cv2.GaussianBlur(light, (0, 0), width / 40) * np.float32(rng.uniform(0.5, 1.2))
    return light * (1 - mask) + soft * mask


def _with_flare(light: np.ndarray, rng: np.random.Generator, strength: float) -> np.ndarray:
    """A glare about the brightest spot, or one outside the picture; ghosts across the middle."""
    height, width = light.shape[:2]
    grey = cv2.GaussianBlur(cv2.cvtColor(light, cv2.COLOR_RGB2GRAY), (0, 0), width / 60)
    _, brightest, _, (x, y) = cv2.minMaxLoc(grey)
    if brightest < 0.9 or rng.random() < 0.3:
        x, y = rng.uniform(-0.2, 1.2) * width, rng.uniform(-0.4, 0.3) * height
    across = np.arange(width, dtype=np.float32) - np.float32(x)
    down = (np.arange(height, dtype=np.float32) - np.float32(y))[:, None]
    far = (across * across + down * down) / np.float32(width * width)
    glare = np.float32(0.8) / (1 + far * np.float32(rng.uniform(8, 60)))
    ghosts = np.zeros((height, width, 3), np.float32)
    for _ in range(int(rng.integers(0, 6))):
        share, radius = rng.uniform(0.3, 2.2), max(2, round(width * rng.uniform(0.01, 0.06)))
        at = x + share * (0.5 * width - x), y + share * (0.5 * height - y)
        tint = rng.uniform(0.05, 0.35, 3)
        cv2.circle(ghosts, (round(at[0]), round(at[1])), radius, tint.tolist(), -1)
    ghosts = cv2.GaussianBlur(ghosts, (0, 0), width / 160)
    warmth = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0)], np.float32)
    return light + np.float32(strength) * (tripled(glare) * warmth + ghosts)
