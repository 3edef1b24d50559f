"""Metric heatmaps: colours that never move, a legend that says which is how far."""

import numpy as np
import pytest

from midas_depth_ros.views import (
    Heatmap,
    HeatmapOptions,
    colour_table,
    metric_heatmap,
    side_by_side,
)
from midas_depth_ros.views.heatmap import INVALID_GREY

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
    grey = (picture == INVALID_GREY).all(axis=2)
    assert 0.9 < grey.mean() < 1
    assert grey[:30].all()


def test_unknown_pixels_are_grey():
    values = plane(1.0)
    values[:60] = np.nan
    picture = metric_heatmap(values, None, METRIC)
    assert (picture[:50] == INVALID_GREY).all()
    assert not (picture[70:] == INVALID_GREY).all(axis=2).any()


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
    # 1 m lies (2 - 1) / (2 - 0.2) of the way down from near to far in 1/Z, and log(2) / log(10)
    # of it where even steps are for even ratios of distance.
    ends = np.flatnonzero((np.abs(np.diff(bar, axis=0)).sum(axis=1)) > 0)
    share = (row - ends[0]) / (ends[-1] - ends[0])
    assert share == pytest.approx(1 / 1.8 if mapping == 'linear' else np.log10(2), abs=0.04)


@pytest.mark.parametrize(('near', 'far'), [(0.3, 6.0), (1.0, 100.0), (0.5, 0.6)])
def test_log_gives_even_ratios_of_distance_even_steps_of_colour(near, far):
    options = HeatmapOptions(
        mode='metric', metric_near=near, metric_far=far, mapping='log', legend=False
    )
    metres = np.geomspace(far, near, 256)[None].repeat(8, axis=0)
    picture = metric_heatmap((1 / metres).astype(np.float32), None, options)
    table = colour_table('inferno').astype(int)
    assert np.abs(picture[4].astype(int) - table).max() <= 8


@pytest.mark.parametrize('size', [(120, 160), (480, 640)])
def test_a_legend_beside_a_heatmap_hides_nothing_of_it(size):
    options = HeatmapOptions(mode='metric', legend=False, mapping='log')
    camera = np.full((*size, 3), 7, np.uint8)
    heatmap = metric_heatmap(plane(1.0, size), None, options)
    without = side_by_side(camera, heatmap, ('a', 'b'), (0.1, 0.2, 0.3))
    picture = side_by_side(camera, heatmap, ('a', 'b'), (0.1, 0.2, 0.3), options)
    np.testing.assert_array_equal(picture[:, : without.shape[1]], without)
    strip = picture[: size[0], without.shape[1] :].reshape(-1, 3)
    ends = colour_table('inferno')[[0, 255]]
    assert all((np.abs(strip.astype(int) - end).sum(axis=1) <= 6).any() for end in ends)
    tiny = side_by_side(camera[:64, :64], heatmap[:64, :64], legend=options)
    assert tiny.shape == side_by_side(camera[:64, :64], heatmap[:64, :64]).shape


def test_a_picture_too_small_for_figures_gets_no_legend():
    options = HeatmapOptions(mode='metric')
    small = metric_heatmap(plane(1.0, (64, 80)), None, options)
    assert (small == small[0, 0]).all()


def test_the_mode_says_whether_a_heatmap_is_in_metres():
    class Doubled:
        def inverse_depth(self, d):
            return 2 * d

    values, rgb = plane(1.0), np.zeros((120, 160, 3), np.uint8)
    np.testing.assert_array_equal(
        Heatmap().render(values, rgb, 0.0, METRIC, scale=Doubled()),
        metric_heatmap(2 * values, rgb, METRIC),
    )
    np.testing.assert_array_equal(
        Heatmap().render(values, rgb, 0.0, METRIC), metric_heatmap(None, rgb, METRIC)
    )
