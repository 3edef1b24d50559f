"""A scale carried along the way: what it makes of fits that are too uncertain by themselves."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, Refusal, ScaleShift
from midas_depth_ros.geometry.anchors import Unsure
from midas_depth_ros.geometry.carried import MOST_WAY, CarriedScale
from midas_depth_ros.geometry.tracking import ReducedCamera

SCALE, SHIFT = 0.5, 0.1
STEP_M = 0.02
CAMERA = ReducedCamera(CameraModel.from_field_of_view(320, 240, 1.2))
# A floor: 1/Z depends on the row alone, so that a way to the side changes nothing.
INVERSE = np.repeat(np.linspace(0.3, 1.2, 96, dtype=np.float32)[:, None], 128, axis=1)
D = (INVERSE - SHIFT) / SCALE


def fit(sigma: float, factor: float = 1.0) -> ScaleShift:
    """The right scale by a factor; sigma: of it, as a share."""
    scale, shift = factor * SCALE, factor * SHIFT
    covariance = (sigma * scale) ** 2, sigma**2 * scale * shift, (sigma * shift) ** 2
    covariance = covariance[0] + 1e-8, covariance[1], covariance[2] + 1e-8
    return ScaleShift(scale, shift, 'odometry', covariance=covariance)


def unsure(sigma: float, factor: float = 1.0) -> Unsure:
    return Unsure('too uncertain', fit(sigma, factor))


def pose(way_m: float) -> np.ndarray:
    place = np.eye(4)
    place[0, 3] = way_m
    return place


def test_what_is_never_sure_is_not_made_sure_by_repeating_it():
    carried = CarriedScale()
    for number in range(60):
        answer = carried.averaged(unsure(0.25), D, pose(STEP_M * number), CAMERA)
        assert isinstance(answer, Refusal), number


def test_an_uncertain_fit_counts_beside_a_carried_one():
    carried = CarriedScale()
    assert isinstance(carried.averaged(fit(0.05), D, pose(0), CAMERA), ScaleShift)
    answer = carried.averaged(unsure(0.3, 1.2), D, pose(STEP_M), CAMERA)
    assert isinstance(answer, ScaleShift)
    assert answer.scale == pytest.approx(SCALE, rel=0.05)
    assert 0.05 < np.sqrt(answer.covariance[0]) / answer.scale < 0.14


def test_but_not_far_from_the_last_that_was_sure():
    carried = CarriedScale()
    carried.averaged(fit(0.02), D, pose(0), CAMERA)
    far_m = 2 * MOST_WAY / float(np.median(INVERSE))
    answers = [
        carried.averaged(unsure(0.25), D, pose(way_m), CAMERA)
        for way_m in np.arange(STEP_M, far_m, STEP_M)
    ]
    assert isinstance(answers[0], ScaleShift)
    assert isinstance(answers[-1], Refusal)


def test_fits_that_differ_by_more_than_they_claim_are_less_certain():
    steady, jumping = CarriedScale(), CarriedScale()
    for number in range(20):
        factor = 1.1 if number % 2 else 0.9
        last = steady.averaged(fit(0.04), D, pose(STEP_M * number), CAMERA)
        beside = jumping.averaged(fit(0.04, factor), D, pose(STEP_M * number), CAMERA)
    assert isinstance(last, ScaleShift)
    assert isinstance(beside, ScaleShift)
    assert beside.covariance[0] > 1.5 * last.covariance[0]


def test_what_all_frames_have_in_common_is_not_averaged_out():
    """A wrong focal length is as wrong in the next picture."""
    apart, alike = CarriedScale(), CarriedScale()
    for number in range(30):
        own = apart.averaged(fit(0.06), D, pose(STEP_M * number), CAMERA)
        common = alike.averaged(fit(0.06), D, pose(STEP_M * number), CAMERA, together=0.1)
    assert np.sqrt(own.covariance[0]) / own.scale < 0.06
    assert np.sqrt(common.covariance[0]) / common.scale > 0.1
    assert isinstance(
        alike.averaged(fit(0.06), D, pose(STEP_M * 30), CAMERA, together=0.2), Refusal
    )


def test_a_noisy_network_does_not_make_what_is_near_farther_and_farther():
    """Least squares of noisy values on noisy values are less steep, in each frame again."""
    rng = np.random.default_rng(3)
    carried, found = CarriedScale(), []
    for number in range(60):
        noise = cv2.resize(rng.normal(size=(8, 10)).astype(np.float32), D.shape[::-1])
        seen = D * (1 + 0.2 * noise / noise.std())
        answer = carried.averaged(fit(0.15), seen, pose(STEP_M * number), CAMERA)
        assert isinstance(answer, ScaleShift)
        found.append(answer.scale)
    assert float(np.mean(found[20:])) == pytest.approx(SCALE, rel=0.01)


def test_fits_that_say_too_far_by_chance_count_no_more_than_those_that_say_too_near():
    """How far a fit is off is a share of 1/Z: one with a smaller 1/Z claims to be more certain."""
    carried, found = CarriedScale(), []
    for number in range(60):
        factor = 1.2 if number % 2 else 1 / 1.2
        answer = carried.averaged(fit(0.15, factor), D, pose(STEP_M * number), CAMERA)
        assert isinstance(answer, ScaleShift)
        found.append(answer.scale)
    assert float(np.mean(found[20:])) == pytest.approx(SCALE, rel=0.015)
