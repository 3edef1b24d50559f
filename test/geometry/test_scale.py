"""A scale turns d into metres; over time it is kept, replaced and dropped."""

from __future__ import annotations

import math

import numpy as np
import pytest

from midas_depth_ros.geometry import Refusal, ScaleFilter, ScaleShift

NO = Refusal('only 3% of the picture is floor')


def test_depth_is_the_inverse_and_unknown_outside_its_range():
    scale = ScaleShift(0.5, 0.1)
    d = np.array([[1.8, 0.0, -0.2, -1.0, 100.0, math.nan]], np.float32)
    depth = scale.depth(d, min_depth_m=0.1, max_depth_m=20.0)
    assert depth.dtype == np.float32
    np.testing.assert_allclose(depth, [[1.0, 10.0, np.nan, np.nan, np.nan, np.nan]], rtol=1e-6)
    far = scale.depth(d, min_depth_m=0.1, max_depth_m=20.0, beyond=math.inf)
    np.testing.assert_allclose(far, [[1.0, 10.0, np.inf, np.inf, np.nan, np.nan]], rtol=1e-6)
    near = scale.depth(d, min_depth_m=0, beyond=math.inf)
    assert near[0, 4] == pytest.approx(1 / 50.1)
    np.testing.assert_allclose(scale.inverse_depth(d[:, :3]), [[1.0, 0.1, 0.0]], atol=1e-7)


def test_fits_that_agree_are_smoothed_together():
    smooth = ScaleFilter(time_constant_s=0.5, expiry_s=1.0)
    first = smooth.update(10.0, ScaleShift(1.0, 0.0))
    assert (first.scale, first.shift) == (1.0, 0.0)
    second = smooth.update(10.2, ScaleShift(1.02, 0.004))
    share = 1 - math.exp(-0.2 / 0.5)
    assert second.scale == pytest.approx(1 + 0.02 * share)
    assert second.shift == pytest.approx(0.004 * share)
    assert (smooth.age_s, smooth.reason) == (0.0, '')


def test_noise_becomes_less_and_a_slow_change_is_followed():
    rng = np.random.default_rng(0)
    smooth = ScaleFilter(time_constant_s=0.5)
    errors, raw = [], []
    for i in range(200):
        true = 2.0 + 0.002 * i
        noisy = true * (1 + 0.01 * rng.standard_normal())
        found = smooth.update(0.1 * i, ScaleShift(noisy, 0.0))
        errors.append(found.scale / true - 1)
        raw.append(noisy / true - 1)
    assert np.std(errors[20:]) < 0.6 * np.std(raw[20:])
    assert np.abs(errors).max() < 0.05


@pytest.mark.parametrize(('scale', 'shift'), [(1.3, 0.0), (0.8, 0.0), (1.0, 0.05), (1.0, -0.05)])
def test_a_jump_is_taken_as_it_is(scale, shift):
    smooth = ScaleFilter(time_constant_s=5.0)
    smooth.update(0.0, ScaleShift(1.0, 0.0))
    found = smooth.update(0.1, ScaleShift(scale, shift))
    assert (found.scale, found.shift) == (scale, shift)


def test_what_counts_is_metres_not_numbers():
    smooth = ScaleFilter(time_constant_s=5.0)
    smooth.update(0.0, ScaleShift(0.001, 100.0))
    same = ScaleShift(0.001, 100.0 + 1e-4)
    assert ScaleFilter.jump_between(ScaleShift(0.001, 100.0), same) < 1e-3
    assert ScaleFilter.jump_between(ScaleShift(1, 0), ScaleShift(1, 0.025)) == pytest.approx(0.1)


def test_refused_frames_use_the_last_scale_for_a_second_and_then_none():
    smooth = ScaleFilter(time_constant_s=0.0, expiry_s=1.0)
    smooth.update(4.9, ScaleShift(1.0, 0.0))
    smooth.update(5.0, ScaleShift(1.0, 0.0))
    kept = smooth.update(5.9, NO)
    assert (kept.scale, smooth.reason, smooth.age_s) == (1.0, NO.reason, pytest.approx(0.9))
    assert smooth.update(6.1, NO) is None
    assert smooth.reason == NO.reason
    assert smooth.age_s == math.inf
    again = smooth.update(6.2, ScaleShift(1.02, 0.0))
    assert again.scale == 1.02
    assert smooth.reason == ''


def test_one_fit_is_not_kept_for_the_frames_after_it():
    """A network's scale may change with every frame: nothing yet says that this one does not."""
    smooth = ScaleFilter(expiry_s=1.0)
    smooth.update(0.0, ScaleShift(1.0, 0.0))
    assert smooth.update(0.1, NO) is None
    assert (
        smooth.reason
        == f'{NO.reason}; one fit does not tell whether the scale stays, so none is kept'
    )
    smooth.update(0.2, ScaleShift(1.01, 0.0))
    assert smooth.update(0.3, NO) is not None
    assert smooth.update(1.3, NO) is None
    smooth.update(1.4, ScaleShift(3.0, 0.0))  # the first again
    assert smooth.update(1.5, NO) is None


def test_a_scale_that_jumps_from_frame_to_frame_is_of_no_use_to_the_next():
    smooth = ScaleFilter()
    smooth.update(0.0, ScaleShift(1.0, 0.0))
    smooth.update(0.1, ScaleShift(2.0, 0.3))
    assert smooth.update(0.2, NO) is None
    assert 'changes from frame to frame' in smooth.reason
    steady = smooth.update(0.3, ScaleShift(2.01, 0.3))
    assert steady.scale == pytest.approx(2.0, abs=0.02)
    kept = smooth.update(0.4, NO)
    assert (kept.scale, kept.shift) == (steady.scale, steady.shift)


def test_before_the_first_fit_there_is_none():
    smooth = ScaleFilter()
    assert smooth.update(0.0, NO) is None
    assert smooth.age_s == math.inf
    assert smooth.reason == NO.reason


def test_stamps_that_go_back_start_anew():
    smooth = ScaleFilter(time_constant_s=1.0)
    smooth.update(100.0, ScaleShift(1.0, 0.0))
    assert smooth.update(3.0, NO) is None
    smooth.update(4.0, ScaleShift(1.0, 0.0))
    found = smooth.update(2.0, ScaleShift(1.04, 0.0))
    assert found.scale == 1.04


def test_after_a_pause_old_fits_have_no_say():
    smooth = ScaleFilter(time_constant_s=10.0, expiry_s=1.0)
    smooth.update(0.0, ScaleShift(1.0, 0.0))
    assert smooth.update(1.5, ScaleShift(1.04, 0.0)).scale == 1.04


def test_reset_forgets():
    smooth = ScaleFilter()
    smooth.update(0.0, ScaleShift(1.0, 0.0))
    smooth.reset()
    assert smooth.update(0.1, NO) is None


# --- How certain a scale is.


def deviation(scale, probe):
    """The standard deviation of 1/Z where it is `probe`."""
    d = (probe - scale.shift) / scale.scale
    by_scale, both, by_shift = scale.covariance
    return math.sqrt(by_scale * d * d + 2 * both * d + by_shift)


CLAIMED = (1e-4, 0.0, 1e-4)


def test_a_kept_scale_becomes_less_certain_and_a_new_fit_makes_it_certain_again():
    smooth = ScaleFilter(expiry_s=2.0)
    smooth.update(-0.1, ScaleShift(2.0, 0.1, covariance=CLAIMED))
    fresh = smooth.update(0.0, ScaleShift(2.0, 0.1, covariance=CLAIMED))
    assert fresh.covariance == CLAIMED
    kept = [smooth.update(stamp, NO) for stamp in (0.2, 0.6, 1.8)]
    deviations = [deviation(each, 1.0) for each in (fresh, *kept)]
    assert deviations == sorted(deviations)
    assert deviations[-1] > 3 * deviations[0]
    again = smooth.update(1.9, ScaleShift(2.0, 0.1, covariance=CLAIMED))
    assert again.covariance == pytest.approx(CLAIMED)


def test_averaging_never_claims_more_than_the_fits_do():
    smooth = ScaleFilter(time_constant_s=0.5)
    for i in range(50):
        found = smooth.update(0.1 * i, ScaleShift(2.0, 0.1, covariance=CLAIMED))
    assert found.covariance == pytest.approx(CLAIMED)
    less = tuple(4 * each for each in CLAIMED)
    for i in range(50, 60):
        found = smooth.update(0.1 * i, ScaleShift(2.0, 0.1, covariance=less))
    assert CLAIMED[0] < found.covariance[0] < less[0]


@pytest.mark.parametrize('scatter', [0.0, 0.01, 0.02])
def test_fits_that_differ_by_more_than_they_claim_are_less_certain(scatter):
    rng = np.random.default_rng(0)
    smooth = ScaleFilter(time_constant_s=0.5)
    claimed = (1e-8, 0.0, 1e-8)
    found = []
    for i in range(300):
        scale = 1 + min(max(scatter * rng.standard_normal(), -0.023), 0.023)
        found.append(smooth.update(0.1 * i, ScaleShift(scale, 0.0, covariance=claimed)))
    deviations = np.array([deviation(each, 1.0) for each in found[100:]])
    errors = np.array([each.scale - 1 for each in found[100:]])
    assert np.median(deviations) == pytest.approx(scatter, rel=0.5, abs=2e-4)
    assert (np.abs(errors) < 2 * deviations).mean() > 0.9


def test_a_curve_is_followed_and_its_line_outside():
    scale = ScaleShift(1.0, 0.0, curve=((1.0, 1.0), (2.0, 3.0)))
    d = np.array([[0.5, 1.0, 1.5, 2.0, 4.0]], np.float32)
    np.testing.assert_allclose(scale.inverse_depth(d), [[0.5, 1.0, 2.0, 3.0, 4.0]])
    np.testing.assert_allclose(scale.depth(d), 1 / np.array([[0.5, 1.0, 2.0, 3.0, 4.0]]), rtol=1e-6)
