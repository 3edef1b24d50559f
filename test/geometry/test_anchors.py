"""The fit to anchors: it is as uncertain as it says, also where few parts of a picture speak."""

from __future__ import annotations

import numpy as np
import pytest

from midas_depth_ros.geometry.anchors import Anchors, fit_anchors
from midas_depth_ros.geometry.scale import ScaleShift

SCALE, SHIFT = 0.02, 0.005  # as far as a street is
NEAR_D = 1.2
OBJECTS_OFF = 0.15  # by which share a network is off at an object, as a whole


def of_objects(seed: int, count: int) -> Anchors:
    """Corners of so many objects side by side; at each the network is off as a whole."""
    rng = np.random.default_rng(seed)
    d, inverse, place = [], [], []
    for column in range(count):
        on_it = np.clip(rng.uniform(0.15, 1.3) + rng.normal(0, 0.12, 30), 0.1, 2)
        d.append(on_it)
        inverse.append((SCALE * on_it + SHIFT) * (1 + rng.normal(0, OBJECTS_OFF)))
        place.append(np.tile([0.3 * column + 0.05, 0.2], (30, 1)))
    picture = np.sort(rng.uniform(0.1, 2, 2000))
    total = 30 * count
    return Anchors(
        np.concatenate(d), np.concatenate(inverse), np.full(total, 3e-4), np.zeros(total),
        np.concatenate(place), picture,
    )  # fmt: skip


def deviation(fit: ScaleShift) -> float:
    """How far 1/Z of something near is off, in sigmas of its own."""
    variance = fit.covariance[0] * NEAR_D**2 + 2 * fit.covariance[1] * NEAR_D + fit.covariance[2]
    return ((fit.scale - SCALE) * NEAR_D + fit.shift - SHIFT) / np.sqrt(variance)


@pytest.mark.parametrize('objects', [3, 4, 6, 10])
def test_a_line_through_few_objects_knows_that_two_of_them_say_nothing(objects: int) -> None:
    fits = [fit_anchors(of_objects(seed, objects)) for seed in range(200)]
    lines = [fit if isinstance(fit, ScaleShift) else fit.witness for fit in fits]
    off = np.abs([deviation(line) for line in lines if line is not None])
    assert len(off) > 190
    assert (off < 1).mean() > 0.58
    assert (off < 2).mean() > 0.82
