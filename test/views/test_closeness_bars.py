"""The bars say the three numbers, and never that an unknown way is clear."""

import math

import numpy as np
import pytest

from midas_depth_ros.views.drawing import BACKGROUND, HATCH, TEXT, TRACK, OptionError
from midas_depth_ros.views.pictures import FULL_BAR, closeness_bars

UNKNOWN = math.nan


def bar_row(strip, third):
    """The colours along the middle of one bar, without the background beside it."""
    width = strip.shape[1]
    rows = np.nonzero((strip != BACKGROUND).any(axis=2).all(axis=1) == 0)[0]
    cell = strip[:, third * width // 3 : (third + 1) * width // 3]
    row = cell[np.nonzero((cell != BACKGROUND).any(axis=2))[0].max() - 1]
    assert rows.size
    return row[(row != BACKGROUND).any(axis=1)]


def filled(strip, third):
    """Share of a bar that is neither track nor notch."""
    row = bar_row(strip, third)
    return ((row != TRACK).any(axis=1) & (row != TEXT).any(axis=1)).mean()


def test_length_of_each_bar_is_its_value():
    strip = closeness_bars((0.3, 0.9, 0.0), 640)
    assert [filled(strip, i) for i in range(3)] == pytest.approx([0.2, 0.6, 0.0], abs=0.02)


def test_beyond_a_full_bar_it_stays_full():
    strip = closeness_bars((FULL_BAR, 80.0, math.inf), 640)
    assert [filled(strip, i) for i in range(3)] == pytest.approx([0.98] * 3, abs=0.02)


def test_notch_marks_1():
    row = bar_row(closeness_bars((0.0, 0.0, 0.0), 640), 0)
    notch = np.nonzero((row == TEXT).all(axis=1))[0]
    assert notch[0] / len(row) == pytest.approx(1 / FULL_BAR, abs=0.01)


def test_nearer_is_warmer():
    strip = closeness_bars((0.1, 0.6, 1.2), 640).astype(int)
    warmth = [bar_row(strip, i)[2, 0] - bar_row(strip, i)[2, 2] for i in range(3)]
    assert warmth[0] < 0 < warmth[1] < warmth[2]


def test_unknown_is_hatched_and_says_so():
    strip = closeness_bars((UNKNOWN, 0.0, 0.5), 640)
    row = bar_row(strip, 0)
    share = (row == HATCH).all(axis=1).mean()
    assert 0.3 < share < 0.7
    assert not (bar_row(strip, 1) == HATCH).all(axis=1).any()
    # a lone question mark, not a figure
    third = strip[: strip.shape[0] // 2, 640 // 6 : 640 // 3 - 4]
    columns = np.nonzero((third != BACKGROUND).any(axis=(0, 2)))[0]
    assert 0 < np.ptp(columns) < 12


def test_figures_change_with_the_values():
    one, other = (closeness_bars((value, 0.5, 0.5), 640) for value in (0.42, 0.43))
    above = slice(0, one.shape[0] // 2)
    assert (one[above, :213] != other[above, :213]).any()
    np.testing.assert_array_equal(one[:, 214:], other[:, 214:])


@pytest.mark.parametrize('width', [12, 60, 161, 320, 1920])
def test_any_width(width):
    strip = closeness_bars((0.5, UNKNOWN, 1.2), width)
    assert strip.shape[1:] == (width, 3)
    assert strip.dtype == np.uint8
    assert strip.flags.c_contiguous


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(OptionError, match='2 values'):
        closeness_bars((0.1, 0.2), 640)
    with pytest.raises(OptionError, match='width is 11'):
        closeness_bars((0.1, 0.2, 0.3), 11)
