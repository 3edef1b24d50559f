"""The loss: the error of a prediction regardless of its scale and shift.

The prediction is fitted to the true inverse depth by least squares, as in the evaluation; then the
error counts relative to the depth, and so do the errors of its slopes at four scales, which make an
obstacle stand out. Obstacles and edges count more, small obstacles more per pixel than large ones,
and once more by how they stand out: by pixel (`contrast`), and as a whole (`rings`).

Source: Ranftl, Lasinger, Hafner, Schindler, Koltun, "Towards Robust Monocular Depth Estimation",
TPAMI 2022: the scale-and-shift-invariant loss and multi-scale gradient matching. Nothing is
trimmed, since rendered depth has no outliers and trimming would drop the obstacles first; the
scales are means of pixels, not every n-th pixel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from training.augment import OUTSIDE
from training.dataset import FIRST_OBJECT

SCALES = 4
OFFSET = 0.1  # of the farthest above 0, so that nothing is clipped at 0
SURROUNDINGS = (5, 11)  # pixels at a quarter of the size, around an obstacle
USUAL_OBJECT = 0.02  # of the picture; pixels of smaller ones count more, by the root
RING = 4  # pixels at half the size: the ring of `evaluate.rings`
LEAST_OBJECT = 0.003  # of the picture, to count as a whole
LEAST_CONTRAST = 0.12  # nearer than its ring by this share of the ring's inverse depth
TOO_FAR, TOO_NEAR = 1.0, 0.4  # costs of too little and of too much contrast to the ring
LEAST_SPREAD = 1e-3  # added to a prediction's variance, against dividing by 0


@dataclass(frozen=True)
class Weights:
    """Weights of the parts of the loss."""

    slopes: float = 0.8
    contrast: float = 4.0
    rings: float = 0.25
    steady: float = 0.0  # of changes when the camera moves a little, see `unsteadiness`
    anchor: float = 0.15  # towards one fixed scale, against flicker
    objects: float = 2.5  # on top of 1
    edges: float = 1.5  # on top of 1
    far: float = 0.3  # share of the mean inverse depth that softens relative errors


@dataclass(frozen=True)
class Truth:
    """(B, h, w) each: inverse depth in units of its picture's mean, weights and masks."""

    inverse_depth: Tensor
    weight: Tensor
    object_weight: Tensor  # the share of `weight` that is due to obstacles
    seen: Tensor
    measured: Tensor  # seen, and not sky
    obstacles: Obstacles


@dataclass(frozen=True)
class Obstacles:
    """The N obstacles of a batch that are nearer than their surroundings."""

    picture: Tensor  # (N,) int64: index in the batch
    compare: Tensor  # (N, h * w): mean inside less mean around, as weights; divided by the contrast


def truth_of(inverse_depth: Tensor, labels: Tensor, weights: Weights) -> Truth:
    """Halve (B, H, W) inverse depth (1/m) and labels to the size of the network's output."""
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
    return Truth(d, weight, share * weight, seen, measured, obstacles_of(d, labels, measured))


def object_weight(labels: Tensor) -> Tensor:
    """(B, h, w): 0 without an obstacle, about 1 in one of the usual size."""
    batch, pixels = len(labels), labels[0].numel()
    flat = labels.long().view(batch, -1)
    count = torch.zeros(batch, OUTSIDE + 1, device=labels.device)
    count.scatter_add_(1, flat, torch.ones_like(flat, dtype=count.dtype))
    weight = (USUAL_OBJECT * pixels / count.clamp(min=1)).sqrt().clamp(0.5, 3.0)
    weight[:, :FIRST_OBJECT] = 0.0
    weight[:, OUTSIDE] = 0.0
    return weight.gather(1, flat).view(labels.shape)


def obstacles_of(d: Tensor, labels: Tensor, measured: Tensor) -> Obstacles:
    """The obstacles in (B, h, w) labels that are large enough and nearer than their ring."""
    pixels = labels[0].numel()
    objects = torch.where((labels >= FIRST_OBJECT) & (labels != OUTSIDE), labels, 0).flatten(1)
    names = torch.arange(len(labels), device=labels.device).unsqueeze(1) * 256 + objects
    names, count = names.unique(return_counts=True)
    names = names[(names % 256 > 0) & (count >= LEAST_OBJECT * pixels)]
    picture = names // 256
    inside = (labels[picture] == (names % 256)[:, None, None]).float()  # (N, h, w)
    wide = inside.unsqueeze(1)
    for kernel in ((1, 2 * RING + 1), (2 * RING + 1, 1)):
        wide = F.max_pool2d(wide, kernel, stride=1, padding=(kernel[0] // 2, kernel[1] // 2))
    around = ((wide.squeeze(1) - inside) * measured[picture]).flatten(1)
    inside = (inside * measured[picture]).flatten(1)
    compare = inside / inside.sum(1, keepdim=True).clamp(min=1)
    of_ring = around / around.sum(1, keepdim=True).clamp(min=1)
    truth = d.flatten(1)[picture]
    ring_mean = (of_ring * truth).sum(1)
    difference = (compare * truth).sum(1) - ring_mean
    kept = (difference > LEAST_CONTRAST * ring_mean) & (around.sum(1) >= 5) & (inside.sum(1) >= 5)
    compare = (compare - of_ring)[kept] / difference[kept].unsqueeze(1)
    return Obstacles(picture[kept], compare)


def edges(d: Tensor) -> Tensor:
    """(B, h, w): 1 within a pixel of a jump of inverse depth by more than a sixth."""
    low = -F.max_pool2d(-d.unsqueeze(1), 3, stride=1, padding=1)
    high = F.max_pool2d(d.unsqueeze(1), 3, stride=1, padding=1)
    return (high - low > 0.16 * high + 0.02).float().squeeze(1)


def fitted(prediction: Tensor, truth: Truth) -> Tensor:
    """The prediction with scale and shift fitted to the measured truth by least squares."""
    p_mean, d_mean = (_mean(each, truth) for each in (prediction, truth.inverse_depth))
    return (prediction - p_mean) * scale_of(prediction, truth) + d_mean


def scale_of(prediction: Tensor, truth: Truth) -> Tensor:
    """(B, 1, 1): the scale of `fitted`, the truth in units of its picture's mean."""
    p = prediction - _mean(prediction, truth)
    d = truth.inverse_depth - _mean(truth.inverse_depth, truth)
    return (_mean(p * d, truth) / (_mean(p * p, truth) + LEAST_SPREAD)).clamp(min=0.05)


def _mean(x: Tensor, truth: Truth) -> Tensor:
    """Over what is measured, (B, 1, 1)."""
    count = truth.measured.sum((1, 2), keepdim=True).clamp(min=1)
    return (x * truth.measured).sum((1, 2), keepdim=True) / count


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
    """Weighted difference of the error on obstacles from the error around them."""
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


def rings(residual: Tensor, obstacles: Obstacles) -> Tensor:
    """Mean error of the contrast of obstacles to their rings.

    A network that is not sure gives a mean of the possible depths, and the obstacle stands out less
    than it should. So too little contrast costs more than too much.
    """
    if not len(obstacles.picture):
        return residual.new_zeros(())
    wrong = (residual.flatten(1)[obstacles.picture] * obstacles.compare).sum(1)
    return (TOO_FAR * F.relu(-wrong) + TOO_NEAR * F.relu(wrong)).mean()


def residual_of(prediction: Tensor, truth: Truth) -> Tensor:
    """Error of a prediction (B, h, w) after fitting scale and shift; 0 outside the scene."""
    return (fitted(prediction, truth) - truth.inverse_depth) * truth.seen


def loss_of(prediction: Tensor, truth: Truth, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a (B, h, w) float32 prediction, and its parts for the curve."""
    residual = residual_of(prediction, truth)
    count = len(prediction)
    error = (residual.abs() * truth.weight).sum() / count
    slope = slopes(residual, truth.weight)
    stands_out = contrast(residual, truth)
    anchor = ((prediction - OFFSET - truth.inverse_depth).abs() * truth.weight).sum() / count
    whole = rings(residual, truth.obstacles)
    total = error + weights.slopes * slope + weights.contrast * stands_out
    total = total + weights.rings * whole + weights.anchor * anchor
    parts = {'error': error, 'slopes': slope, 'contrast': stands_out, 'rings': whole}
    return total, {**parts, 'anchor': anchor}


# --- Flicker: the same scene a moment later.
#
# A second view of some pictures of a batch: moved, rotated and zoomed by a little, a little
# brighter or darker, with other noise, as the next frame of a camera. The error of its prediction
# should be that of the first view, moved along: a change is flicker, as measured by
# `benchmarks/model_quality.py`.

MOVED, ZOOMED, TURNED = 0.03, 0.02, math.radians(0.7)  # of half the picture; deviations
BRIGHTER, TINTED, NOISE = 0.06, 0.015, 8 / 255  # deviations; noise from 0 to this


def moves(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, 2, 3) for `affine_grid`: points of the second view to points of the first."""
    drawn = torch.empty(count, 4, device=generator.device).normal_(generator=generator)
    angle, zoom = TURNED * drawn[:, 0], (ZOOMED * drawn[:, 1]).exp()
    c, s, aspect = zoom * angle.cos(), zoom * angle.sin(), width / height
    move = MOVED * drawn[:, 2:]
    rows = [
        torch.stack([c, -s / aspect, move[:, 0]], 1),
        torch.stack([s * aspect, c, move[:, 1]], 1),
    ]
    return torch.stack(rows, dim=1)


def second_view(
    picture: Tensor, inverse_depth: Tensor, labels: Tensor, move: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """(n, 3, H, W), (n, H, W) and (n, H, W) after the camera has moved."""
    grid = F.affine_grid(move, list(picture.shape), align_corners=False)
    seen = F.grid_sample(picture, grid, padding_mode='reflection', align_corners=False)

    def normal(*shape: int) -> Tensor:
        return picture.new_empty(len(picture), *shape).normal_(generator=generator)

    seen = seen * (BRIGHTER * normal(1, 1, 1)).exp() * (TINTED * normal(3, 1, 1)).exp()
    noise = NOISE * picture.new_empty(len(picture), 1, 1, 1).uniform_(generator=generator)
    seen = seen + noise * normal(*picture.shape[1:])
    planes = torch.stack([inverse_depth, labels.float() + 1], dim=1)
    planes = F.grid_sample(planes, grid, mode='nearest', align_corners=False)
    after = planes[:, 1].round().long() - 1
    after = torch.where(after < 0, OUTSIDE, after)  # beyond the first view
    return seen.clamp(0, 1), planes[:, 0], after.to(labels.dtype)


def unsteadiness(before: Tensor, after: Tensor, truth: Truth, move: Tensor) -> Tensor:
    """Mean absolute change of the error (n, h, w) where the second view is measured."""
    shape = [len(before), 1, *before.shape[1:]]
    grid = F.affine_grid(move, shape, align_corners=False)
    carried = F.grid_sample(before.unsqueeze(1), grid, align_corners=False).squeeze(1)
    change = (carried - after).abs() * truth.measured
    return change.sum() / truth.measured.sum().clamp(min=1)
