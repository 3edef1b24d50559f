"""Correlation and AbsRel between precisions, by arithmetic done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from midas_depth_ros.depth.model_check import Deviation, compare, measure_deviation, sample_pictures

RAMP = np.linspace(1, 2, 200, dtype=np.float32).reshape(10, 20)


def test_scale_and_shift_are_no_deviation() -> None:
    correlation, abs_rel = compare(RAMP, 3 * RAMP - 0.5)
    assert correlation == pytest.approx(1)
    assert abs_rel == pytest.approx(0, abs=1e-6)


def test_noise_of_a_known_size_is_found_again() -> None:
    wanted = np.tile(np.array([1, 2], np.float32), (10, 10))
    off = np.array([0.1, -0.1] * 5, np.float32)[:, np.newaxis]  # uncorrelated with what is wanted
    correlation, abs_rel = compare(wanted, wanted + off)
    assert correlation == pytest.approx(0.5 / np.hypot(0.5, 0.1), abs=1e-5)
    # The best scale is variance / (variance + noise) = 0.25 / 0.26.
    scale = 0.25 / 0.26
    fitted = 1.5 + scale * (wanted + off - 1.5)
    assert abs_rel == pytest.approx(np.mean(np.abs(fitted - wanted) / wanted), abs=1e-5)


def test_what_is_far_does_not_count() -> None:
    wanted = RAMP.copy()
    wanted[0] = 0.001
    found = wanted.copy()
    found[0, 0] = 0.01  # ten times as much, of next to nothing
    assert compare(wanted, found)[1] < 0.001


@pytest.mark.parametrize(
    ('wanted', 'found', 'figures'),
    [
        (np.ones((2, 2)), np.full((2, 2), 3), (1, 0)),
        (RAMP, np.ones_like(RAMP), (0, 1)),
        (RAMP, np.full_like(RAMP, np.nan), (0, np.inf)),
    ],
)
def test_what_has_no_correlation(wanted: np.ndarray, found: np.ndarray, figures: tuple) -> None:
    assert compare(wanted, found) == figures


def test_the_worst_picture_decides() -> None:
    good, bad, worse = (0.999, 0.001), (0.5, 0.01), (0.995, 0.2)
    assert Deviation({'a': good}).within_bound
    assert not Deviation({'a': good, 'b': bad}).within_bound
    assert not Deviation({'a': good, 'b': worse}).within_bound
    both = Deviation({'b': bad, 'c': worse})
    assert (both.correlation, both.abs_rel) == (0.5, 0.2)
    assert not Deviation({'a': (float('nan'), 0.0)}).within_bound


def test_what_was_noted_is_read_again_and_nonsense_is_not() -> None:
    noted = Deviation({'a': (0.5, 0.25)})
    assert Deviation.from_json(noted.to_json()) == noted
    for nonsense in (None, [], {}, {'a': 1}, {'a': ['x', 'y']}, 'text'):
        assert Deviation.from_json(nonsense) is None


def test_the_samples_are_named_and_measured_one_by_one() -> None:
    pictures = sample_pictures()
    assert {'room_1', 'corridor_1', 'street_1'} <= pictures.keys()
    assert all(picture.shape == (240, 320, 3) for picture in pictures.values())
    found = measure_deviation(
        lambda rgb: rgb[..., 0] / 255.0, lambda rgb: rgb[..., 0] / 51.0, pictures
    )
    assert found.pictures.keys() == pictures.keys()
    assert found.correlation == pytest.approx(1)
