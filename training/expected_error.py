"""The second output: the error that the network expects of its depth, and how it is learned.

Depth stays as it is: only the layers of the second head are trained, on features that do not
change. For every pixel the head says b, the scale of a Laplace distribution of the depth's error,
in the units of depth; its loss is that distribution's negative log likelihood, |error| / b + log b,
which is least where b is the mean absolute error that is to be expected there. The error is what
is left after scale and shift have been fitted to the truth.

Some pictures are made blind, or have a covered part, while their truth stays: there is nothing to
be known, and the head has to say so.

Source: Kendall, Gal, "What Uncertainties Do We Need in Bayesian Deep Learning for Computer
Vision?", NeurIPS 2017, section 3 (heteroscedastic aleatoric uncertainty).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from midas_depth_ros.depth.models.embedded import ERROR_PREFIX
from training.dataset import FARTHEST_M
from training.loss import Truth, residual_of, scale_of

BLIND, COVERED = 0.06, 0.06  # shares of the pictures
LEAST_SCALE = 0.25  # that is fitted: what depth has less of is noise, and its error is without end
MOST_ERROR = 8.0  # that counts, in the units of depth
LEAST_EXPECTED = 1e-3  # added to b, against dividing by 0
WITHIN = (-math.log(1 - 0.6827), -math.log(1 - 0.9545))  # of a Laplace distribution, in b


def freeze_all_but_error(network: Any) -> list[nn.Parameter]:
    """Stop the gradients of everything but the second head; returns what is left to train."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(ERROR_PREFIX))
    return [each for each in network.parameters() if each.requires_grad]


def errors_of(prediction: Tensor, truth: Truth) -> Tensor:
    """(B, h, w) absolute error of depth in its own units; 0 outside the scene."""
    prediction = F.relu(prediction)
    scale = scale_of(prediction, truth).clamp(min=LEAST_SCALE)
    return (residual_of(prediction, truth) / scale).abs().clamp(max=MOST_ERROR)


def likelihood_loss(error: Tensor, expected: Tensor, truth: Truth) -> Tensor:
    """Mean negative log likelihood of (B, h, w) errors by a Laplace distribution.

    expected: (B, h / 2, w / 2), its scale.
    """
    expected = enlarged(expected, error) + LEAST_EXPECTED
    each = (error / expected + expected.log()) * truth.seen
    return each.sum() / truth.seen.sum().clamp(min=1)


def enlarged(expected: Tensor, like: Tensor) -> Tensor:
    """(B, h / 2, w / 2) at the size of `like`, (B, h, w)."""
    size = like.shape[-2:]
    large = F.interpolate(expected.unsqueeze(1), size=size, mode='bilinear', align_corners=False)
    return large.squeeze(1)


def blinded(picture: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, H, W), some of them dark, glaring, of one colour or out of focus, others covered."""
    picture = picture.clone()

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=picture.device)

    for index, draw in enumerate(drawn(len(picture)).tolist()):
        if draw < BLIND:
            picture[index] = _blind(picture[index], int(4 * draw / BLIND), drawn)
        elif draw < BLIND + COVERED:
            top, left, high, wide = (
                int(share * side)
                for share, side in zip(
                    (drawn(4) * picture.new_tensor([0.6, 0.6, 0.4, 0.4])).tolist(),
                    (*picture.shape[2:], *picture.shape[2:]),
                    strict=True,
                )
            )
            part = picture[index, :, top : top + high + 32, left : left + wide + 32]
            part[:] = 0.7 * drawn(3, 1, 1) ** 2 + 0.02 * (drawn(*part.shape) - 0.5)
    return picture.clamp(0, 1)


def _blind(picture: Tensor, how: int, drawn: Any) -> Tensor:
    """(3, H, W) that shows next to nothing: dark, glaring, one colour, or out of focus."""
    noise = 0.06 * drawn(1, 1, 1) * (drawn(*picture.shape) - 0.5)
    if how == 0:
        return 0.04 * drawn(1, 1, 1) * picture + noise
    if how == 1:
        return 1 - 0.05 * drawn(1, 1, 1) * (1 - picture) + 0.2 * noise
    if how == 2:
        return drawn(3, 1, 1) + noise
    coarse = F.adaptive_avg_pool2d(picture.unsqueeze(0), (2, 3))
    size = picture.shape[1:]
    return F.interpolate(coarse, size=size, mode='bilinear', align_corners=False)[0] + noise


# --- How well it is calibrated.


@dataclass(frozen=True)
class Calibration:
    """Of errors and what was expected of them.

    likelihood: the mean of the loss. ratio: the mean of error / expected error, which should be 1.
    within_68, within_95: shares of pixels within the bounds that would hold 68 and 95 %.
    surest_half, other_half: mean |Z'/Z - 1| of the pixels with the smaller and the larger expected
    error of 1/Z as a share of it, each picture halved by itself.
    """

    likelihood: float
    ratio: float
    within_68: float
    within_95: float
    surest_half: float
    other_half: float


def calibration(
    prediction: NDArray[np.float32], expected: NDArray[np.float32], inverse_depth: NDArray[Any]
) -> Calibration:
    """Of one picture: (h, w) depth, its expected error, and the truth in 1/m, not measured = 0."""
    truth = np.asarray(inverse_depth, np.float64)
    valid = truth > 1.001 / FARTHEST_M
    d, b, wanted = (each[valid].astype(np.float64) for each in (prediction, expected, truth))
    scale, shift = line_of(d, wanted)
    b = b + LEAST_EXPECTED
    error = np.minimum(np.abs(d - (wanted - shift) / scale), MOST_ERROR)
    likelihood = float(np.mean(error / b + np.log(b)))
    within = [float(np.mean(error < bound * b)) for bound in WITHIN]
    fit = np.clip(scale * d + shift, wanted.min(), wanted.max())
    relative = np.abs(wanted / fit - 1)[np.argsort(scale * b / fit)]
    middle = len(relative) // 2
    halves = float(relative[:middle].mean()), float(relative[middle:].mean())
    return Calibration(likelihood, float(np.mean(error / b)), within[0], within[1], *halves)


def line_of(d: NDArray[np.float64], wanted: NDArray[np.float64]) -> tuple[float, float]:
    """Scale and shift of the least squares line from depth to 1/Z; the scale is above 0."""
    centred = d - d.mean()
    scale = float(centred @ (wanted - wanted.mean())) / max(float(centred @ centred), 1e-12)
    scale = max(scale, LEAST_SCALE * float(wanted.mean()))
    return scale, float(wanted.mean() - scale * d.mean())
