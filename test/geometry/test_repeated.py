"""The same answer of a network once more is no second measurement, whatever is averaged."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from midas_depth_ros.geometry import BodyPose, DepthFusion, Refusal, ScaleFilter, moved_between
from midas_depth_ros.geometry.scale import ScaleShift
from midas_depth_ros.options.metric import FusionOptions

FIT = ScaleShift(1.0, 0.1, 'ground', covariance=(1e-6, 0.0, 1e-6))


def fits(count: int) -> list[ScaleShift]:
    """Fits of successive frames, which differ by more than they claim."""
    random = np.random.default_rng(0)
    return [
        dataclasses.replace(FIT, scale=1 + 0.01 * random.normal(), shift=0.1) for _ in range(count)
    ]


def after(filter_: ScaleFilter, count: int = 20) -> ScaleShift:
    for number, fit in enumerate(fits(count)):
        scale = filter_.update(0.2 * number, fit)
    assert scale is not None
    return scale


def test_a_repeated_fit_neither_moves_the_scale_nor_makes_it_look_steadier():
    repeating, averaging = ScaleFilter(), ScaleFilter()
    before, last = after(repeating), fits(20)[-1]
    after(averaging)
    for number in range(10):
        again = repeating.update(3.8 + 0.2 * (number + 1), last, repeated=True)
        meanwhile = averaging.update(3.8 + 0.2 * (number + 1), last)
    assert again is not None
    assert (again.scale, again.shift, again.covariance) == (
        before.scale, before.shift, before.covariance,
    )  # fmt: skip
    assert meanwhile is not None
    assert meanwhile.covariance[0] < 0.3 * before.covariance[0], (
        'as if it had been measured ten times'
    )


def test_a_repeated_fit_keeps_the_scale_from_getting_old():
    filter_ = ScaleFilter(expiry_s=1.0)
    last = after(filter_)
    for number in range(20):
        assert filter_.update(4.0 + 0.5 * number, FIT, repeated=True) is not None
        assert filter_.age_s == 0
    kept = filter_.update(14.0, Refusal('no floor'))
    assert kept is not None
    assert kept.scale == last.scale


def test_a_repeated_fit_is_not_the_second_one_that_tells_that_the_scale_stays():
    filter_ = ScaleFilter()
    filter_.update(1.0, FIT)
    for number in range(5):
        filter_.update(1.2 + 0.2 * number, FIT, repeated=True)
    assert filter_.update(2.3, Refusal('no floor')) is None
    assert 'one fit does not tell' in filter_.reason


def test_without_a_scale_a_repeated_fit_begins_one():
    filter_ = ScaleFilter(expiry_s=1.0)
    assert filter_.update(1.0, FIT, repeated=True) == FIT
    assert filter_.update(9.0, FIT, repeated=True) == FIT, 'the old one had expired'


def test_a_repeated_frame_has_what_was_fused_before_and_changes_nothing():
    random = np.random.default_rng(0)
    truth = np.tile(np.linspace(0.1, 1.0, 96, dtype=np.float32), (64, 1))
    grey = random.integers(0, 255, (64, 96), np.uint8)
    fusions = [DepthFusion(FusionOptions(enabled=True)) for _ in range(2)]

    def frame(number: int) -> np.ndarray:
        return truth * np.float32(1 + 0.03 * np.random.default_rng(number).normal())

    sigma = np.full_like(truth, 0.02)
    for number in range(5):
        fused = [
            f.update(0.2 * number, frame(number), sigma, grey, None, np.eye(4)) for f in fusions
        ]
    repeated = fusions[0].repeat(0.9, grey, np.eye(4))
    assert repeated is not None
    for found, wanted in zip(repeated, fused[0], strict=True):
        np.testing.assert_array_equal(found, wanted)
    # The next frame is fused as if there had been none between.
    both = [f.update(1.0, frame(5), sigma, grey, None, np.eye(4)) for f in fusions]
    for found, wanted in zip(*both, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert fusions[0].repeat(1.2, grey[:32], None) is None, 'of another size'
    fusions[0].reset()
    assert fusions[0].repeat(1.4, grey, None) is None


def pose(x_m: float = 0.0, yaw_rad: float = 0.0) -> BodyPose:
    turn = np.array([0.0, 0.0, math.sin(yaw_rad / 2), math.cos(yaw_rad / 2)])
    return BodyPose(np.array([x_m, 0.0, 0.0]), turn)


@pytest.mark.parametrize(
    ('second', 'said'),
    [
        (pose(0.002, 0.002), ''),
        (pose(0.01), 'moved by 0.010 m'),
        (pose(0.0, -0.01), '0.010 rad'),
        (Refusal('no odometry from odom'), 'no odometry from odom'),
        (None, 'odometry has come or gone'),
    ],
)
def test_a_body_stands_only_where_both_its_poses_are_known_and_the_same(second, said):
    for pair in ((pose(), second), (second, pose())):
        reason = moved_between(*pair)
        assert said in reason
        assert bool(reason) == bool(said)
    assert moved_between(None, None) == '', 'without odometry it says nothing'
