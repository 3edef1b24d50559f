"""How good a prediction of one scene is, by the measures that docs/embedded_model.md lists.

In: relative inverse depth (H, W) and the scene's truth. Out: a `Score`; `mean` of many leaves
out what a scene does not have. Depth beyond `dataset.FARTHEST_M` counts as not measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import cv2
import numpy as np
import torch
from torch import nn

from benchmarks.model_quality import RATIO, ordinal
from training.dataset import FARTHEST_M, FIRST_OBJECT

FLOOR = 1
LEAST_FLOOR = 0.02  # of the picture, for a floor delta to mean something
LEAST_OBJECT = 0.004  # of the picture
RING = 0.03  # width of the ring around an obstacle, of the picture's width
LEAST_CONTRAST = 0.15  # an obstacle is this much nearer (in 1/Z) than its ring, or is no case


@dataclass(frozen=True)
class Score:
    """Of one scene, or a mean. NaN where the scene has no such thing.

    abs_rel: mean |Z'/Z - 1|. delta: share of pixels within a quarter. ordinal: share of random
    pairs ordered rightly. floor_delta: delta on the floor alone. ring_sign: share of obstacles
    that come out nearer than the ring around them. ring_half: share that do so by at least half
    of the true contrast.
    """

    abs_rel: float
    delta: float
    ordinal: float
    floor_delta: float
    ring_sign: float
    ring_half: float


def score(prediction: np.ndarray, inverse_depth: np.ndarray, labels: np.ndarray) -> Score:
    """Fit scale and shift by least squares over what is measured, hold to its range, compare."""
    truth = inverse_depth.astype(np.float64)
    valid = truth > 1.001 / FARTHEST_M
    fit = fitted(prediction.astype(np.float64), truth, valid)
    ratio = truth[valid] / fit[valid]
    good = np.maximum(ratio, 1 / ratio) < RATIO
    floor = labels[valid] == FLOOR
    enough = floor.sum() > LEAST_FLOOR * truth.size
    floor_delta = float(np.mean(good[floor])) if enough else math.nan
    sign, half = ring_shares(rings(fit, truth, labels, valid))
    return Score(
        abs_rel=float(np.mean(np.abs(ratio - 1))),
        delta=float(np.mean(good)),
        ordinal=ordinal(prediction[valid], truth[valid]),
        floor_delta=floor_delta,
        ring_sign=sign,
        ring_half=half,
    )  # fmt: skip


def fitted(prediction: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The prediction (H, W) as 1/Z, within the range of what is measured."""
    guess, wanted = prediction[valid], truth[valid]
    centred = guess - guess.mean()
    spread = float(centred @ centred)
    scale = float(centred @ (wanted - wanted.mean())) / spread if spread > 1e-12 else 0.0
    line = scale * (prediction - guess.mean()) + wanted.mean()
    return np.clip(line, wanted.min(), wanted.max())


@dataclass(frozen=True)
class Ring:
    """One obstacle: its share of the picture, and of the true contrast to its ring what is seen."""

    share: float
    seen: float


def rings(fit: np.ndarray, truth: np.ndarray, labels: np.ndarray, valid: np.ndarray) -> list[Ring]:
    """Of every obstacle of a scene that is large enough and nearer than the ring around it."""
    width = max(2, round(RING * truth.shape[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * width + 1, 2 * width + 1))
    found = []
    for label in np.unique(labels[labels >= FIRST_OBJECT]):
        inside = (labels == label).astype(np.uint8)
        if inside.sum() < LEAST_OBJECT * truth.size:
            continue
        around = (cv2.dilate(inside, kernel) > inside) & valid
        within = (inside > 0) & valid
        if around.sum() < 20 or within.sum() < 20:
            continue
        contrast = truth[within].mean() - truth[around].mean()
        if contrast < LEAST_CONTRAST * truth[around].mean():
            continue
        seen = fit[within].mean() - fit[around].mean()
        found.append(Ring(float(inside.mean()), float(seen / contrast)))
    return found


def ring_shares(found: list[Ring]) -> tuple[float, float]:
    """Shares of obstacles that stand out, and that do so by half of what is true."""
    if not found:
        return math.nan, math.nan
    seen = np.array([each.seen for each in found])
    return float(np.mean(seen > 1e-6)), float(np.mean(seen >= 0.5))  # more than rounding


def mean(scores: list[Score]) -> Score:
    """Scene by scene; a scene without floor or obstacles has no say in their columns."""
    columns = {}
    for field in fields(Score):
        values = np.array([getattr(score, field.name) for score in scores])
        known = values[~np.isnan(values)]
        columns[field.name] = float(known.mean()) if known.size else float('nan')
    return Score(**columns)


def rank(score: Score) -> float:
    """One number to choose a checkpoint by: larger is better."""
    return score.ordinal + score.delta - score.abs_rel + 0.5 * (score.ring_sign + score.ring_half)


@torch.inference_mode()
def predict(network: nn.Module, rgb: np.ndarray, device: torch.device) -> np.ndarray:
    """(B, H, W, 3) uint8 to (B, H, W) float32."""
    picture = torch.from_numpy(rgb.transpose(0, 3, 1, 2).copy()).to(device).float() / 255
    result: np.ndarray = network(picture).float().cpu().numpy()
    return result
