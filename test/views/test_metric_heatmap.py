"""Metric heatmaps: colours that never move, a legend that says which is how far."""

import numpy as np
import pytest

from midas_depth_ros.views import HeatmapOptions, colour_table, metric_heatmap
from midas_depth_ros.views.heatmap import INVALID_COLOUR

METRIC = HeatmapOptions(mode='metric', metric_near=0.5, metric_far=5.0, legend=False)


def plane(metres, shape=(120, 160)):
    return np.full(shape, 1 / metres, np.float32)


@pytest.mark.parametrize(
    ('metres', 'index'), [(0.5, 255), (0.2, 255), (5.0, 0), (50.0, 0), (1.0, 113)]
)
def test_a_distance_has_its_colour_whatever_else_is_in_view(metres, index):
    near = metric_heatmap(np.hstack([plane(metres), plane(0.6)]), None, METRIC)
    far = metric_heatmap(np.hstack([plane(metres), plane(4.0)]), None, METRIC)
    colour = colour_table('inferno')[index].astype(int)
    assert np.abs(near[60, 20] - colour).max() <= 3
    np.testing.assert_array_equal(near[60, 20], far[60, 20])


def test_without_a_scale_all_is_grey_and_says_so():
    picture = metric_heatmap(None, np.zeros((120, 160, 3), np.uint8), METRIC)
    grey = (picture == INVALID_COLOUR).all(axis=2)
    assert 0.9 < grey.mean() < 1
    assert grey[:30].all()


def test_unknown_pixels_are_grey():
    values = plane(1.0)
    values[:60] = np.nan
    picture = metric_heatmap(values, None, METRIC)
    assert (picture[:50] == INVALID_COLOUR).all()
    assert not (picture[70:] == INVALID_COLOUR).all(axis=2).any()


@pytest.mark.parametrize('colormap', ['inferno', 'turbo'])
@pytest.mark.parametrize('mapping', ['linear', 'log'])
@pytest.mark.parametrize('size', [(120, 160), (480, 640), (1080, 1920)])
def test_the_legend_has_the_colours_of_the_picture(colormap, mapping, size):
    options = HeatmapOptions(
        mode='metric', metric_near=0.5, metric_far=5.0, colormap=colormap, mapping=mapping
    )
    picture = metric_heatmap(plane(1.0, size), None, options)
    shown = picture[size[0] // 2, 10].astype(int)
    bar = picture[:, size[1] - 7].astype(int)
    row = int(np.argmin(np.abs(bar - shown).sum(axis=1)))
    assert np.abs(bar[row] - shown).max() <= 6
    # 1 m lies (2 - 1) / (2 - 0.2) of the way down from near to far.
    ends = np.flatnonzero((np.abs(np.diff(bar, axis=0)).sum(axis=1)) > 0)
    share = (row - ends[0]) / (ends[-1] - ends[0])
    assert share == pytest.approx(1 / 1.8, abs=0.04)


def test_a_picture_too_small_for_figures_gets_no_legend():
    options = HeatmapOptions(mode='metric')
    small = metric_heatmap(plane(1.0, (64, 80)), None, options)
    assert (small == small[0, 0]).all()
