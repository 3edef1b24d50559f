"""The range of the colours: right percentiles, steady in time, and never poisoned."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.views.drawing import ViewError
from midas_depth_ros.views.heatmap import SmoothedRange, ValueRange, frame_range

LARGE = float(np.float32(1e29))
A, B = ValueRange(0.0, 10.0), ValueRange(4.0, 30.0)


def all_valid(values):
    return np.ones(values.shape, bool)


def test_frame_range_is_the_percentiles():
    values = np.arange(101, dtype=np.float32).reshape(1, 101)
    assert frame_range(values, all_valid(values), 2, 98) == (2.0, 98.0)
    assert frame_range(values, all_valid(values), 0, 100) == (0.0, 100.0)


def test_a_large_frame_has_nearly_the_percentiles_of_all_pixels():
    rng = np.random.default_rng(1)
    rows = np.linspace(0, 8, 480, dtype=np.float32)[:, None]
    values = rows + rng.gamma(2, 1, (480, 640)).astype(np.float32)
    found = frame_range(values, all_valid(values), 2, 98)
    exact = np.percentile(values, (2, 98))
    np.testing.assert_allclose(found, exact, atol=0.01 * (exact[1] - exact[0]))


def test_invalid_pixels_take_no_part():
    values = np.arange(101, dtype=np.float32).reshape(1, 101)
    valid = all_valid(values)
    values[0, :50], valid[0, :50] = np.nan, False
    assert frame_range(values, valid, 0, 100) == (50.0, 100.0)


def test_the_only_valid_pixel_of_a_large_frame_is_found():
    values = np.full((301, 401), np.inf, np.float32)
    values[17, 23] = 5
    assert frame_range(values, np.isfinite(values), 2, 98) == (5.0, 5.0)
    assert frame_range(values, np.zeros(values.shape, bool), 2, 98) is None


def test_first_frame_sets_the_range_alone():
    stable = SmoothedRange()
    assert stable.current is None
    assert stable.update(A, 100.0, 1.0) == A
    assert stable.current == A


def test_step_response_is_exponential_in_the_stamps():
    stable = SmoothedRange()
    stable.update(A, 0.0, 2.0)
    low, high = stable.update(B, 2.0, 2.0)
    share = 1 - math.exp(-1)
    assert low == pytest.approx(share * 4)
    assert high == pytest.approx(10 + share * 20)


@given(
    rate=st.floats(1.0, 120.0),
    time_constant=st.floats(0.5, 10.0),
    start=st.floats(0, 1.8e9),
)
def test_result_does_not_depend_on_the_frame_rate(rate, time_constant, start):
    stable = SmoothedRange()
    stable.update(A, start, time_constant)
    frames = math.ceil(2 * rate)
    for i in range(frames):
        stable.update(B, start + 2 * (i + 1) / frames, time_constant)
    expected = 30 - 20 * math.exp(-2 / time_constant)
    assert stable.current.high == pytest.approx(expected, rel=1e-5)


def test_the_same_stamp_again_changes_nothing():
    stable = SmoothedRange()
    stable.update(A, 5.0, 1.0)
    assert stable.update(B, 5.0, 1.0) == A


def test_zero_time_constant_takes_every_frame_as_it_is():
    stable = SmoothedRange()
    stable.update(A, 0.0, 0.0)
    assert stable.update(B, 0.1, 0.0) == B
    assert stable.update(A, 0.1, 0.0) == A


@pytest.mark.parametrize('stamp', [9.9, 0.0, -1e9, 15.1, 1e9])
def test_backward_stamp_and_long_gap_start_anew(stamp):
    stable = SmoothedRange()
    stable.update(A, 10.0, 1.0)
    assert stable.update(B, stamp, 1.0) == B
    # and time goes on from there
    low, high = stable.update(A, stamp + 1.0, 1.0)
    assert 0 < low < 4
    assert 10 < high < 30


def test_reset_forgets():
    stable = SmoothedRange()
    stable.update(A, 0.0, 10.0)
    stable.reset()
    assert stable.current is None
    assert stable.update(B, 0.1, 10.0) == B


def test_a_frame_without_valid_pixels_leaves_the_range():
    stable = SmoothedRange()
    assert stable.update(None, 0.0, 1.0) is None
    stable.update(A, 1.0, 1.0)
    assert stable.update(None, 1.1, 1.0) == A
    assert stable.update(A, 1.2, 1.0) == A


@pytest.mark.parametrize('stamp', [math.nan, math.inf, -math.inf])
def test_a_stamp_that_is_no_time_is_refused(stamp):
    with pytest.raises(ViewError, match='stamp'):
        SmoothedRange().update(A, stamp, 1.0)


def test_normalise_spreads_the_range_and_clips_beyond():
    values = np.array([[-50, 2, 7, 12, 500]], np.float32)
    np.testing.assert_allclose(ValueRange(2, 12).normalise(values), [[0, 0, 0.5, 1, 1]])


@given(
    value=st.floats(-LARGE, LARGE, width=32),
    noise=st.floats(-1e-6, 1e-6),
)
def test_a_constant_is_the_middle_however_large_and_noise_on_it_stays_small(value, noise):
    values = np.array([[value, value * (1 + noise)]], np.float32)
    tone = ValueRange(*sorted(map(float, values[0]))).normalise(values)
    np.testing.assert_allclose(tone, 0.5, atol=2e-3)


@given(
    low=st.floats(-1e29, 1e29),
    span=st.floats(0, 1e29),
    values=st.lists(st.floats(-LARGE, LARGE, width=32), min_size=1, max_size=20),
)
def test_normalised_values_are_ordered_and_within_0_and_1(low, span, values):
    array = np.sort(np.array([values], np.float32))
    tone = ValueRange(low, low + span).normalise(array)
    assert tone.dtype == np.float32
    assert tone.min() >= 0
    assert tone.max() <= 1
    assert (np.diff(tone[0]) >= 0).all()
