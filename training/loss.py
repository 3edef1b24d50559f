"""How wrong a prediction is when its scale and shift do not count.

The prediction is fitted to the true inverse depth by least squares, as it will be judged; then
the error counts relative to the depth there, and so do the errors of its slopes at four scales,
which is what makes an obstacle stand out from what surrounds it. Obstacles and edges count more.

Source: Ranftl, Lasinger, Hafner, Schindler, Koltun, "Towards Robust Monocular Depth Estimation",
TPAMI 2022: the scale-and-shift-invariant loss and multi-scale gradient matching. Nothing is
trimmed, since rendered depth has no outliers and trimming would drop the obstacles first; the
scales are means of pixels, not every n-th pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.augment import OUTSIDE
from training.dataset import FIRST_OBJECT

SCALES = 4
OFFSET = 0.1  # kept free below the farthest, so that nothing is cut off at 0
LEAST_SPREAD = 1e-3  # variance of a prediction that says nothing, against dividing by 0


@dataclass(frozen=True)
class Weights:
    """What counts how much."""

    slopes: float = 0.8
    anchor: float = 0.15  # pulls towards one fixed scale, so that pictures do not flicker
    objects: float = 2.5  # on top of 1
    edges: float = 1.5  # on top of 1
    far: float = 0.3  # share of the mean inverse depth that softens relative errors


@dataclass(frozen=True)
class Truth:
    """(B, h, w) each: inverse depth in units of its picture's mean, weight, what takes part."""

    inverse_depth: Tensor
    weight: Tensor
    seen: Tensor
    measured: Tensor  # seen, and not sky


def truth_of(inverse_depth: Tensor, labels: Tensor, weights: Weights) -> Truth:
    """Halve (B, H, W) inverse depth (1/m) and labels to the size that the network is judged at."""
    d = F.avg_pool2d(inverse_depth.unsqueeze(1), 2).squeeze(1)
    labels = labels[:, ::2, ::2]
    seen = (labels != OUTSIDE).float()
    measured = seen * (labels != 0)
    count = measured.sum((1, 2), keepdim=True).clamp(min=1)
    mean = (d * measured).sum((1, 2), keepdim=True) / count
    d = d / mean.clamp(min=1e-3)
    is_object = (labels >= FIRST_OBJECT) & (labels != OUTSIDE)
    weight = 1 + weights.objects * is_object.float() + weights.edges * edges(d)
    weight = weight / (d + weights.far) * seen
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-6)
    return Truth(d, weight, seen, measured)


def edges(d: Tensor) -> Tensor:
    """(B, h, w): 1 within a pixel of where inverse depth jumps by more than a sixth."""
    low = -F.max_pool2d(-d.unsqueeze(1), 3, stride=1, padding=1)
    high = F.max_pool2d(d.unsqueeze(1), 3, stride=1, padding=1)
    return (high - low > 0.16 * high + 0.02).float().squeeze(1)


def fitted(prediction: Tensor, truth: Truth) -> Tensor:
    """The prediction under the scale and shift that bring it nearest to the measured truth."""
    m = truth.measured
    count = m.sum((1, 2), keepdim=True).clamp(min=1)

    def mean(x: Tensor) -> Tensor:
        return (x * m).sum((1, 2), keepdim=True) / count

    p_mean, d_mean = mean(prediction), mean(truth.inverse_depth)
    p, d = prediction - p_mean, truth.inverse_depth - d_mean
    scale = (mean(p * d) / (mean(p * p) + LEAST_SPREAD)).clamp(min=0.05)
    return p * scale + d_mean


def slopes(residual: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean absolute differences of neighbouring cells, cells of 1, 2, 4 and 8 pixels."""
    residual, weight = residual.unsqueeze(1), weight.unsqueeze(1)
    total = residual.new_zeros(())
    for scale in range(SCALES):
        if scale:
            residual = F.avg_pool2d(residual, 2)
            weight = F.avg_pool2d(weight, 2) * 4
        across = (residual[..., 1:] - residual[..., :-1]).abs()
        down = (residual[..., 1:, :] - residual[..., :-1, :]).abs()
        across = across * torch.minimum(weight[..., 1:], weight[..., :-1])
        down = down * torch.minimum(weight[..., 1:, :], weight[..., :-1, :])
        total = total + (across.sum() + down.sum()) / len(residual)
    return total


def loss_of(prediction: Tensor, truth: Truth, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """(B, h, w) float32 prediction to one number, and its parts for the curve."""
    residual = (fitted(prediction, truth) - truth.inverse_depth) * truth.seen
    count = len(prediction)
    error = (residual.abs() * truth.weight).sum() / count
    slope = slopes(residual, truth.weight)
    anchor = ((prediction - OFFSET - truth.inverse_depth).abs() * truth.weight).sum() / count
    total = error + weights.slopes * slope + weights.anchor * anchor
    return total, {'error': error, 'slopes': slope, 'anchor': anchor}
