"""Text is there, stays inside, and is shortened to what fits, with any Pillow."""

import numpy as np
import pytest
from PIL import ImageFont

from midas_depth_ros.views import drawing as text_module
from midas_depth_ros.views.drawing import draw_text, fit_text, text_height, text_mask

WHITE, BLACK = (255, 255, 255), (0, 0, 0)


@pytest.fixture(params=['as installed', 'no outlines in Pillow', 'bitmap letters only'])
def letters(request, monkeypatch):
    """The three ways to get letters."""
    bitmap = getattr(ImageFont, 'load_default_imagefont', ImageFont.load_default)

    def old_load_default():
        return bitmap()

    def no_file(*_):
        raise OSError('cannot open resource')

    if request.param != 'as installed':
        monkeypatch.setattr(ImageFont, 'load_default', old_load_default)
    if request.param == 'bitmap letters only':
        monkeypatch.setattr(ImageFont, 'truetype', no_file)
    for cache in (text_module._mask, text_module._typeface):
        cache.cache_clear()
    yield request.param
    for cache in (text_module._mask, text_module._typeface):
        cache.cache_clear()


@pytest.mark.parametrize('size', [11, 17, 38])
def test_letters_are_about_as_high_as_asked_and_different_texts_differ(letters, size):
    mask = text_mask('Hg 0.42', size)
    assert 0.6 * size < np.ptp(np.nonzero(mask.any(axis=1))[0]) + 1 < 1.5 * size
    assert mask.max() > 200
    assert (mask != text_mask('Hg 0.43', size)).any()


@pytest.mark.parametrize('size', [*range(10, 18), 24])
def test_words_stand_apart(letters, size):
    """Small letters were set so that "what is there" was read as one word."""
    empty = ~text_mask('what is there', size).any(axis=0)
    changes = np.flatnonzero(np.diff(np.pad(empty[: empty.nonzero()[0][-1] + 1], 1).astype(int)))
    gaps = sorted(changes[1::2] - changes[::2])
    between, within = gaps[-2:], gaps[:-2]
    assert min(between) >= 0.3 * size
    assert min(between) >= 1.5 * max(within, default=0)


def test_lines_of_one_size_have_one_height(letters):
    heights = {text_mask(text, 17).shape[0] for text in ('', 'x', 'Ag', 'a\nb', '0.42')}
    assert len(heights) == 1
    assert text_mask('', 17).shape[1] == 0


def test_letters_without_a_shape_do_not_stop_the_picture(letters):
    assert text_mask('küche ≥ 深 \x00', 17).any()


def test_text_that_fits_is_kept_and_other_text_is_shortened(letters):
    whole = text_mask('nearest on the left', 15).shape[1]
    assert fit_text('nearest on the left', 15, whole) == 'nearest on the left'
    shorter = fit_text('nearest on the left', 15, whole - 1)
    assert shorter.endswith('...')
    assert 'nearest on the left'.startswith(shorter[:-3])
    assert text_mask(shorter, 15).shape[1] < whole
    assert fit_text('nearest', 15, 3) == ''
    assert fit_text('0.42', 15, text_mask('0.42', 15).shape[1] - 1, '') == ''


@pytest.mark.parametrize('align', ['left', 'centre', 'right'])
def test_text_is_drawn_where_it_was_asked_for(align):
    width = text_mask('HHH', 17).shape[1]
    picture = np.zeros((60, 200, 3), np.uint8)
    draw_text(picture, 'HHH', (100, 20), 17, (10, 200, 30), align)
    rows, columns = np.nonzero(picture.any(axis=2))
    start = {'left': 100, 'centre': 100 - width // 2, 'right': 100 - width}[align]
    assert start <= columns.min() < start + 4
    assert start + width - 4 <= columns.max() < start + width
    assert rows.min() >= 20
    assert picture.reshape(-1, 3).max(axis=0).tolist() == [10, 200, 30]


def test_text_is_blended_with_what_is_below_it():
    picture = np.full((40, 100, 3), 90, np.uint8)
    draw_text(picture, 'HHH', (0, 0), 17, WHITE)
    height, width = text_mask('HHH', 17).shape
    cover = text_mask('HHH', 17) / 255
    expected = 90 + 165 * cover
    np.testing.assert_allclose(picture[:height, :width, 0], expected, atol=0.51)
    assert (picture[height:] == 90).all()


@pytest.mark.parametrize('xy', [(-10, -5), (95, 35), (-500, 0), (0, 500)])
def test_text_beyond_the_border_is_cut_off(xy):
    large = np.zeros((1100, 1200, 3), np.uint8)
    draw_text(large, 'abc', (xy[0] + 550, xy[1] + 550), 17, WHITE)
    picture = np.zeros((40, 100, 3), np.uint8)
    draw_text(picture, 'abc', xy, 17, WHITE)
    np.testing.assert_array_equal(picture, large[550:590, 550:650])


def test_letter_size_suits_the_panel():
    assert text_height(120, 160) == 11
    assert text_height(480, 640) == 17
    assert text_height(1080, 1920) == 39
    assert text_height(480, 100) == 11
