"""How large outputs are, and how much smaller a JPEG is decoded for them."""

from __future__ import annotations

import io
import types

import cv2
import numpy as np
import pytest
from PIL import Image

from midas_depth_ros.images import FreezeDetector, decode_compressed, encode_jpeg
from midas_depth_ros.images.errors import TruncatedPicture
from midas_depth_ros.images.reduction import bounded_size, reduction, sufficient_size, thinned


@pytest.mark.parametrize(
    ('size', 'most', 'aside', 'wanted'),
    [
        ((480, 640), 1280, False, (480, 640)),
        ((960, 1280), 1280, False, (960, 1280)),
        ((3000, 4000), 1280, False, (960, 1280)),
        ((3000, 4000), 0, False, (3000, 4000)),
        ((1081, 1921), 640, False, (360, 640)),
        ((1, 65_500), 640, False, (1, 640)),  # a line keeps its row
        ((4000, 3000), 1280, True, (1280, 960)),  # 4000 is the width it is sent with
        ((1000, 3000), 1280, True, (1000, 3000)),
    ],
)
def test_outputs_have_the_shape_of_the_picture_and_at_most_that_width(size, most, aside, wanted):
    assert bounded_size(size, most, aside=aside) == wanted


@pytest.mark.parametrize(
    ('size', 'most', 'aside', 'kept'),
    [
        ((192, 256), 1280, False, (192, 256)),
        ((192, 256), 0, False, (192, 256)),
        ((192, 256), 255, False, (96, 128)),
        ((192, 256), 100, False, (64, 86)),
        ((256, 192), 100, True, (86, 64)),
    ],
)
def test_points_are_kept_as_they_are_or_left_out(size, most, aside, kept):
    array = np.arange(size[0] * size[1]).reshape(size)
    found = array[thinned(size, most, aside=aside)]
    assert found.shape == kept
    assert np.isin(found, array).all()


def test_a_picture_suffices_for_the_outputs_and_for_the_network():
    assert sufficient_size(None, 1280) is None  # before the network has answered
    assert sufficient_size((192, 256), 0) is None  # outputs are as large as the picture
    assert sufficient_size((192, 256), 640) == (768, 1024)
    assert sufficient_size((192, 256), 1280) == (768, 1280)
    assert sufficient_size((256, 192), 1280, aside=True) == (768, 1280)


@pytest.mark.parametrize(
    ('size', 'least', 'wanted'),
    [
        ((3000, 4000), (768, 1280), 2),
        ((3000, 4000), (768, 1000), 2),  # a quarter has 750 rows
        ((3072, 4096), (768, 1024), 4),
        ((3000, 4000), (100, 160), 8),
        ((3001, 4000), (768, 1280), 1),  # its last row would be of half a pixel
        ((1080, 1920), (768, 1280), 1),
        ((3000, 4000), None, 1),
    ],
)
def test_a_jpeg_is_divided_without_a_remainder_and_never_below_what_suffices(size, least, wanted):
    assert reduction(size, least) == wanted


def jpeg(rgb, quality=95, text='rgb8; jpeg compressed bgr8'):
    return types.SimpleNamespace(format=text, data=bytes(encode_jpeg(rgb, quality)))


def scene(height=600, width=800, seed=0):
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (height // 20, width // 20, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_reduced_jpeg_is_the_mean_of_the_whole_ones_pixels():
    rgb = scene()
    whole = decode_compressed(jpeg(rgb))
    for side in (2, 4, 8):
        least = 600 // side, 800 // side
        reduced = decode_compressed(jpeg(rgb), least=least)
        assert reduced.shape == (*least, 3)
        means = cv2.resize(whole, least[::-1], interpolation=cv2.INTER_AREA)
        difference = np.abs(reduced.astype(int) - means.astype(int))
        assert np.median(difference) <= 1, side
        # A shift by a quarter of a pixel would show.
        shifted = cv2.warpAffine(
            means, np.float32([[1, 0, 0.25], [0, 1, 0]]), least[::-1], borderMode=cv2.BORDER_REFLECT
        )
        assert difference.mean() < 0.6 * np.abs(shifted.astype(int) - means.astype(int)).mean()


def test_what_is_not_a_whole_jpeg_of_colours_is_decoded_whole():
    rgb = scene()
    mosaic = np.repeat(rgb[:, :, :1], 3, axis=2)
    of_mosaic = jpeg(mosaic, text='bayer_rggb8; jpeg compressed ')
    np.testing.assert_array_equal(
        decode_compressed(of_mosaic, least=(75, 100)), decode_compressed(of_mosaic)
    )
    unended = types.SimpleNamespace(format='jpeg', data=jpeg(rgb).data[:-2])
    assert decode_compressed(unended, least=(75, 100)).shape == (600, 800, 3)
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, 'PNG')
    png = types.SimpleNamespace(format='png', data=file.getvalue())
    np.testing.assert_array_equal(decode_compressed(png, least=(75, 100)), rgb)


def test_a_jpeg_that_is_cut_short_is_refused_at_any_size():
    data = jpeg(scene()).data
    cut = types.SimpleNamespace(format='jpeg', data=data[: len(data) // 2])
    with pytest.raises(TruncatedPicture):
        decode_compressed(cut, least=(75, 100))


def test_a_live_camera_does_not_look_frozen_in_reduced_pictures():
    """Means of pixels have less noise, but a sensor's still changes them."""
    still, random = scene(1200, 1600).astype(np.float32), np.random.default_rng(1)
    live, stuck = FreezeDetector(), FreezeDetector()
    verdicts = []
    for number in range(12):
        noisy = np.clip(still + random.normal(0, 1.0, still.shape), 0, 255).astype(np.uint8)
        rgb = decode_compressed(jpeg(noisy, quality=80), least=(300, 400))
        assert rgb.shape == (300, 400, 3)
        verdicts.append(live.check(rgb, number / 5, 1.0))
    assert not any(verdicts)
    again = [stuck.check(rgb, number / 5, 1.0) for number in range(12)]
    assert again[-1].startswith('frozen')
