"""Panels keep their pixels and their places; text and bars go below them."""

import numpy as np
import pytest

from midas_depth_ros.views.drawing import (
    BACKGROUND,
    OptionError,
    PictureError,
    ViewError,
    text_height,
)
from midas_depth_ros.views.pictures import closeness_bars, contact_sheet, fit_into, side_by_side


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(30, 256, (height, width, 3), dtype=np.uint8)


def plain(height, width, colour):
    return np.full((height, width, 3), colour, np.uint8)


class TestSideBySide:
    @pytest.mark.parametrize('size', [(120, 160), (480, 640), (1080, 1920), (37, 53)])
    def test_both_pictures_are_there_untouched_with_a_thin_line_between(self, size):
        camera, heatmap = noise(*size), noise(*size, seed=1)
        both = side_by_side(camera, heatmap)
        height, width = size
        line = both.shape[1] - 2 * width
        assert both.shape[0] == height
        assert 2 <= line <= 5
        np.testing.assert_array_equal(both[:, :width], camera)
        np.testing.assert_array_equal(both[:, width + line :], heatmap)
        assert (both[:, width : width + line] == BACKGROUND).all()

    def test_a_small_heatmap_gets_the_height_of_the_camera_picture(self):
        both = side_by_side(plain(480, 640, 200), plain(192, 256, 90))
        assert both.shape == (480, 1282, 3)
        assert (both[:, 642:] == 90).all()

    @pytest.mark.parametrize('size', [(120, 160), (480, 640), (1080, 1920)])
    def test_captions_go_below_their_own_panel(self, size):
        height, width = size
        camera = plain(height, width, 128)
        left = side_by_side(camera, camera, ('t = 12.40 s', ''))[height:]
        right = side_by_side(camera, camera, ('', 't = 12.40 s'))[height:]
        ink_left = np.nonzero((left != BACKGROUND).any(axis=(0, 2)))[0]
        ink_right = np.nonzero((right != BACKGROUND).any(axis=(0, 2)))[0]
        assert ink_left.max() < width
        assert ink_right.min() > width
        assert 0.03 * height < left.shape[0] < 0.2 * height
        letters = np.nonzero((left != BACKGROUND).any(axis=(1, 2)))[0]
        assert np.ptp(letters) + 1 >= 7  # readable

    def test_a_long_caption_does_not_run_into_the_other_panel(self):
        camera = plain(120, 160, 128)
        strip = side_by_side(camera, camera, ('nearest ' * 30, ''))[120:]
        columns = np.nonzero((strip != BACKGROUND).any(axis=(0, 2)))[0]
        assert 100 < columns.max() < 160

    def test_closeness_bars_lie_below_the_thirds_of_the_heatmap(self):
        camera = plain(480, 640, 128)
        both = side_by_side(camera, camera, closeness=(0.2, float('nan'), 1.1))
        bars = closeness_bars((0.2, float('nan'), 1.1), 640, text_height(480, 640))
        np.testing.assert_array_equal(both[480:, 642:], bars)
        assert (both[480:, :642] != BACKGROUND).any()  # what the numbers mean

    def test_what_is_no_picture_is_refused_by_name(self):
        good, bad = plain(10, 10, 5), np.zeros((10, 10), np.float32)
        with pytest.raises(PictureError, match=r'camera picture has shape \(10, 10\)'):
            side_by_side(bad, good)
        with pytest.raises(PictureError, match='heatmap has shape'):
            side_by_side(good, bad)


class TestContactSheet:
    def test_pictures_lie_in_rows_with_gaps_and_are_not_enlarged(self):
        pictures = [noise(30, 40, seed) for seed in range(5)]
        sheet = contact_sheet(pictures, 3)
        gap = 8
        assert sheet.shape == (2 * 30 + 3 * gap, 3 * 40 + 4 * gap, 3)
        for i, picture in enumerate(pictures):
            top, left = gap + i // 3 * (30 + gap), gap + i % 3 * (40 + gap)
            np.testing.assert_array_equal(sheet[top : top + 30, left : left + 40], picture)
        assert (sheet[-30:, -40:] == BACKGROUND).all()  # the sixth cell is empty

    def test_width_is_limited(self):
        sheet = contact_sheet([plain(480, 640, 200)] * 4, 2, max_width=500)
        assert 480 < sheet.shape[1] <= 500
        cell = (sheet == 200).all(axis=2)
        ratio = cell.any(axis=0).sum() / cell.any(axis=1).sum()
        assert ratio == pytest.approx(640 / 480, rel=0.02)

    def test_more_columns_than_pictures_leave_no_empty_cells(self):
        assert contact_sheet([plain(30, 40, 9)] * 2, 7).shape[1] == 2 * 40 + 3 * 8

    def test_other_sizes_are_fitted_into_the_cell_of_the_first(self):
        sheet = contact_sheet([plain(30, 40, 200), plain(60, 40, 90)], 2)
        second = sheet[8:38, 56:96]
        inside = (second == 90).all(axis=2)
        assert inside.any(axis=0).sum() == 20
        assert inside.any(axis=1).sum() == 30

    def test_impossible_sheets_are_refused(self):
        with pytest.raises(ViewError, match='no pictures'):
            contact_sheet([], 2)
        with pytest.raises(OptionError, match='columns is 0'):
            contact_sheet([plain(3, 3, 3)], 0)
        with pytest.raises(OptionError, match='max_width is 4'):
            contact_sheet([plain(3, 3, 3)], 1, max_width=4)
        with pytest.raises(PictureError, match='picture 1'):
            contact_sheet([plain(3, 3, 3), np.zeros((3, 3), np.uint8)], 1)


class TestFitInto:
    @pytest.mark.parametrize(
        ('size', 'inner'), [((20, 80), (15, 60)), ((90, 30), (30, 10)), ((15, 30), (30, 60))]
    )
    def test_shape_is_kept_and_the_rest_is_background(self, size, inner):
        fitted = fit_into(plain(*size, 200), 30, 60)
        assert fitted.shape == (30, 60, 3)
        inside = (fitted == 200).all(axis=2)
        assert (inside.any(axis=1).sum(), inside.any(axis=0).sum()) == inner
        assert (fitted[~inside] == BACKGROUND).all()
        ys, xs = np.nonzero(inside)
        assert abs(ys.min() + ys.max() - 29) <= 1
        assert abs(xs.min() + xs.max() - 59) <= 1

    def test_very_long_pictures_keep_at_least_a_pixel(self):
        assert (fit_into(plain(1, 500, 200), 30, 60) == 200).any()
