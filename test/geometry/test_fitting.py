"""Robust statistics: weights that fade, a deviation and a line that outliers do not move."""

import cv2
import numpy as np
import pytest

from midas_depth_ros.geometry import CameraModel, CameraMount
from midas_depth_ros.geometry.fitting import (
    median,
    once_per_grid,
    quantile,
    quantile_of,
    robust_deviation,
    tukey_votes,
    weighted_line,
    without_specks,
)


def test_votes_fade_from_one_to_none_at_the_reach():
    votes = tukey_votes(np.array([0.0, 1.0, -1.0, 2.0, 5.0]), 2.0)
    np.testing.assert_allclose(votes, [1, 0.5625, 0.5625, 0, 0])


@pytest.mark.parametrize('count', [1, 2, 9, 10])
def test_the_deviation_is_by_the_median(count):
    off = np.abs(np.random.default_rng(count).normal(size=count))
    assert robust_deviation(off) == pytest.approx(1.4826 * np.median(off))


@pytest.mark.parametrize('count', [1, 2, 3, 10, 11])
def test_median_and_quantile_are_those_of_numpy(count):
    values = np.random.default_rng(count).normal(size=count)
    assert median(values) == np.median(values)
    for share in (0.0, 0.05, 0.5, 0.9, 1.0):
        assert quantile(np.sort(values), share) == pytest.approx(np.quantile(values, share))
        assert quantile_of(values, share) == np.quantile(values, share)


def test_outliers_do_not_move_the_deviation():
    off = np.random.default_rng(0).normal(0, 0.3, 4000)
    off[:400] = 50
    assert robust_deviation(np.abs(off)) == pytest.approx(0.3, rel=0.2)


def test_the_line_is_that_of_polyfit_and_there_is_none_through_one_x():
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(3, 50))
    weight = np.abs(weight)
    slope, x_mean, y_mean = weighted_line(x, y, weight)
    expected = np.polyfit(x, y, 1, w=np.sqrt(weight))
    np.testing.assert_allclose([slope, y_mean - slope * x_mean], expected)
    assert weighted_line(np.ones(5), np.arange(5.0), np.ones(5)) is None


@pytest.mark.parametrize('shape', [(60, 80), (600, 800)])
def test_parts_below_the_limit_go_and_others_stay(shape):
    mask = np.zeros(shape, bool)
    mask[3, 3:6] = True  # three pixels
    mask[10, 10:14] = True  # four, of which
    mask[11, 14] = True  # the fifth touches by its corner
    kept = mask.copy()
    kept[3] = False
    np.testing.assert_array_equal(without_specks(mask, 4), kept)
    assert without_specks(mask, 1) is mask
    assert not without_specks(mask, 6).any()


def test_what_is_remembered_is_of_the_same_read_only_grid():
    calls = []

    @once_per_grid
    def calculated(grid, factor):
        calls.append(factor)
        return factor * grid[0]

    first = np.ones((4, 5), np.float32), np.zeros((4, 5), np.float32)
    calculated(first, 2)
    first[0][:] = 3
    assert calculated(first, 2).max() == 6, 'it may change'
    for axis in first:
        axis.setflags(write=False)
    calls.clear()
    assert calculated(first, 2) is calculated(first, 2)
    assert calculated(first, 4).max() == 12
    other = first[0].copy() + 1, first[1].copy()
    for axis in other:
        axis.setflags(write=False)
    assert calculated(other, 2).max() == 8
    assert calls == [2, 4, 2]
    for factor in range(100):
        calculated(first, factor)
    assert calculated(other, 2).max() == 8
    assert calls[-1] == 2, 'it was forgotten'


def test_a_mount_is_the_same_by_a_grid_that_is_remembered():
    camera = CameraModel.from_field_of_view(256, 192, 1.2)
    changing, fixed = camera.normalised_grid(), camera.normalised_grid()
    for axis in fixed:
        axis.setflags(write=False)
    for mount in (CameraMount(0.3, 0.1), CameraMount(0.3, 0.2, 0.05), CameraMount(0.5, 0.1)) * 2:
        for of in (mount.descent, mount.ground_inverse_depth):
            np.testing.assert_array_equal(of(changing), of(fixed))
        with pytest.raises(ValueError, match='read-only'):
            mount.descent(fixed)[0] = 1


@pytest.mark.parametrize('share', [0.02, 0.1, 0.3, 0.6])  # of more and of less than 256 parts
@pytest.mark.parametrize('smallest', [1, 2, 6, 40, 10_000])
def test_specks_are_the_parts_that_opencv_counts(share, smallest):
    mask = np.random.default_rng(3).random((96, 128)) < share
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.view(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= smallest
    large[0] = False
    np.testing.assert_array_equal(without_specks(mask, smallest), large[labels])


def test_a_single_part_is_a_speck_or_not():
    mask = np.zeros((20, 20), bool)
    mask[3:6, 4:8] = True
    np.testing.assert_array_equal(without_specks(mask, 12), mask)
    assert not without_specks(mask, 13).any()
