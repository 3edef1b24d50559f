"""How wrong a prediction is when its scale and shift do not count.

The prediction is fitted to the true inverse depth by least squares, as it will be judged; then
the error counts relative to the depth there, and so do the errors of its slopes at four scales,
which is what makes an obstacle stand out from what surrounds it. Obstacles and edges count more,
small obstacles more per pixel than large ones, and once more by how they stand out from their
surroundings.

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
SURROUNDINGS = (5, 11)  # pixels of a quarter of the size: what an obstacle has to stand out from
USUAL_OBJECT = 0.02  # of the picture; pixels of smaller ones count more, by the root
LEAST_SPREAD = 1e-3  # variance of a prediction that says nothing, against dividing by 0


@dataclass(frozen=True)
class Weights:
    """What counts how much."""

    slopes: float = 0.8
    contrast: float = 4.0
    anchor: float = 0.15  # pulls towards one fixed scale, so that pictures do not flicker
    objects: float = 2.5  # on top of 1
    edges: float = 1.5  # on top of 1
    far: float = 0.3  # share of the mean inverse depth that softens relative errors


@dataclass(frozen=True)
class Truth:
    """(B, h, w) each: inverse depth in units of its picture's mean, weights, what takes part."""

    inverse_depth: Tensor
    weight: Tensor
    object_weight: Tensor  # the share of it that is there because of obstacles
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
    of_objects = weights.objects * object_weight(labels)
    weight = 1 + of_objects + weights.edges * edges(d)
    share = of_objects / weight
    weight = weight / (d + weights.far) * seen
    weight = weight / weight.sum((1, 2), keepdim=True).clamp(min=1e-6)
    return Truth(d, weight, share * weight, seen, measured)


def object_weight(labels: Tensor) -> Tensor:
    """(B, h, w): 0 where there is no obstacle, about 1 in one of the usual size."""
    batch, pixels = len(labels), labels[0].numel()
    flat = labels.long().view(batch, -1)
    count = torch.zeros(batch, OUTSIDE + 1, device=labels.device)
    count.scatter_add_(1, flat, torch.ones_like(flat, dtype=count.dtype))
    weight = (USUAL_OBJECT * pixels / count.clamp(min=1)).sqrt().clamp(0.5, 3.0)
    weight[:, :FIRST_OBJECT] = 0.0
    weight[:, OUTSIDE] = 0.0
    return weight.gather(1, flat).view(labels.shape)


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


def contrast(residual: Tensor, truth: Truth) -> Tensor:
    """How far the error on obstacles is from the error around them, weighted, over the batch."""
    planes = torch.stack([residual, truth.seen, truth.object_weight], dim=1)
    residual, seen, weight = F.avg_pool2d(planes, 2).split(1, dim=1)
    total = residual.new_zeros(())
    for size in SURROUNDINGS:
        both = torch.cat([residual, seen], dim=1)
        for kernel in ((1, size), (size, 1)):
            padding = (kernel[0] // 2, kernel[1] // 2)
            both = F.avg_pool2d(both, kernel, stride=1, padding=padding)
        mean = both[:, :1] / both[:, 1:].clamp(min=0.01)
        total = total + ((residual - mean).abs() * weight).sum()
    return 4 * total / (len(SURROUNDINGS) * len(residual))


def loss_of(prediction: Tensor, truth: Truth, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """(B, h, w) float32 prediction to one number, and its parts for the curve."""
    residual = (fitted(prediction, truth) - truth.inverse_depth) * truth.seen
    count = len(prediction)
    error = (residual.abs() * truth.weight).sum() / count
    slope = slopes(residual, truth.weight)
    stands_out = contrast(residual, truth)
    anchor = ((prediction - OFFSET - truth.inverse_depth).abs() * truth.weight).sum() / count
    total = error + weights.slopes * slope + weights.contrast * stands_out + weights.anchor * anchor
    return total, {'error': error, 'slopes': slope, 'contrast': stands_out, 'anchor': anchor}
