"""The same scene a moment later: what a prediction may not change.

A second view of some pictures of a batch: moved, turned and zoomed by a little, a little brighter
or darker, with noise of its own, as the next frame of a camera is. The error of the prediction
there should be that of the first view, carried along: what changes is flicker, as
`benchmarks/model_quality.py` measures it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from training.augment import OUTSIDE
from training.loss import Truth

MOVED, ZOOMED, TURNED = 0.03, 0.02, math.radians(0.7)  # of half the picture; deviations
BRIGHTER, TINTED, NOISE = 0.06, 0.015, 8 / 255  # deviations; noise from 0 to this


def moves(count: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """(count, 2, 3) for `affine_grid`: where each point of the second view is in the first."""
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
    """(n, 3, H, W), (n, H, W) and (n, H, W) as they are after the camera has moved."""
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
    after = torch.where(after < 0, OUTSIDE, after)  # from beyond the first view
    return seen.clamp(0, 1), planes[:, 0], after.to(labels.dtype)


def unsteadiness(before: Tensor, after: Tensor, truth: Truth, move: Tensor) -> Tensor:
    """Mean absolute change of the error (n, h, w) where the second view is measured."""
    shape = [len(before), 1, *before.shape[1:]]
    grid = F.affine_grid(move, shape, align_corners=False)
    carried = F.grid_sample(before.unsqueeze(1), grid, align_corners=False).squeeze(1)
    change = (carried - after).abs() * truth.measured
    return change.sum() / truth.measured.sum().clamp(min=1)
