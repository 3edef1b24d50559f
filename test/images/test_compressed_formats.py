"""`format` by image_transport's rules: `encoding; container compressed target`."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from picture_files import colourful, compressed_message, noise

from midas_depth_ros.images import (
    BitDepth,
    check_compressed,
    decode_compressed,
    decode_image,
    errors,
)
from midas_depth_ros.images.compressed import Format

PATTERNS = ('rggb', 'bggr', 'gbrg', 'grbg')
CONTAINERS = ('png', 'tiff')


def encoded(suffix: str, samples: np.ndarray) -> bytes:
    """What OpenCV, which image_transport uses, writes of it: colours are taken for BGR."""
    return cv2.imencode('.' + suffix, samples)[1].tobytes()


def decoded(data: bytes, text: str, **options) -> np.ndarray:
    message = compressed_message(data, text)
    assert check_compressed(message) == ''
    result = decode_compressed(message, **options)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous
    return result


def mosaic(bits: int = 8, height: int = 40, width: int = 60) -> np.ndarray:
    """One sample per pixel, each colour at its own brightness."""
    samples = colourful(height, width).astype(np.uint16)
    rows, columns = np.mgrid[0:height, 0:width]
    picked = np.take_along_axis(samples, (rows % 2 + columns % 2)[..., None], 2)[..., 0]
    return picked.astype(np.uint8) if bits == 8 else picked << 8 | picked


def as_raw(samples: np.ndarray, encoding: str, **options) -> np.ndarray:
    """What is made of the same samples in an Image."""
    height, width = samples.shape
    message = SimpleNamespace(
        height=height,
        width=width,
        encoding=encoding,
        is_bigendian=0,
        step=samples.strides[0],
        data=samples.tobytes(),
    )
    return decode_image(message, **options)


@pytest.mark.parametrize('container', CONTAINERS)
@pytest.mark.parametrize('bits', [8, 16])
@pytest.mark.parametrize('pattern', PATTERNS)
@pytest.mark.parametrize('target', ['', 'same'])
def test_a_compressed_mosaic_is_the_mosaic_that_it_was(container, bits, pattern, target):
    samples, encoding = mosaic(bits), f'bayer_{pattern}{bits}'
    text = f'{encoding}; {container} compressed {encoding if target else ""}'
    expected = as_raw(samples, encoding)
    assert len(np.unique(expected.reshape(-1, 3), axis=0)) > 100  # in colour
    np.testing.assert_array_equal(decoded(encoded(container, samples), text), expected)


@pytest.mark.parametrize('text', ['bayer_rggb8; jpeg compressed ', 'bayer_rggb8;jpeg compressed'])
def test_a_mosaic_as_jpeg_is_nearly_the_mosaic_that_it_was(text):
    samples = np.full((40, 60), 90, np.uint8)
    samples[::2, ::2] = 140  # red
    data = cv2.imencode('.jpg', samples, [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()
    difference = decoded(data, text).astype(int) - as_raw(samples, 'bayer_rggb8')
    assert np.abs(difference).max() <= 6
    assert decoded(data, text)[20, 30, 0] > 120


def test_what_was_converted_before_is_no_mosaic_any_more():
    rgb = colourful(40, 60)
    data = encoded('png', rgb[:, :, ::-1])
    for target in ('bgr8', 'bgr16'):
        np.testing.assert_array_equal(decoded(data, f'bayer_rggb8; png compressed {target}'), rgb)
    # Colours that a format calls a mosaic are colours.
    np.testing.assert_array_equal(decoded(data, 'bayer_rggb8; png compressed '), rgb)
    grey = encoded('png', mosaic())
    for text in ('bayer_rggb8; png compressed mono8', 'mono8; png compressed ', 'png', ''):
        result = decoded(grey, text)
        np.testing.assert_array_equal(result, np.dstack([mosaic()] * 3))


@pytest.mark.parametrize('container', CONTAINERS)
def test_colours_are_in_the_order_in_which_the_encoder_was_given_them(container):
    rgb = colourful(20, 30)
    right, swapped = encoded(container, rgb[:, :, ::-1]), encoded(container, rgb)
    for text in (
        f'rgb8; {container} compressed bgr8',
        f'bgr8; {container} compressed bgr8',
        f'rgb8; {container} compressed ',
        container,
        '',
    ):
        np.testing.assert_array_equal(decoded(right, text), rgb, text)
    for text in (f'rgb8; {container} compressed rgb8', f'bgr8; {container} compressed rgb8'):
        np.testing.assert_array_equal(decoded(swapped, text), rgb, text)


@pytest.mark.parametrize(
    'text',
    [
        '32FC1; tiff compressed ',
        '32FC1; png compressed ',
        '32FC1',
        '16SC1; png compressed ',
        '64FC1; tiff compressed',
        '16UC1; compressedDepth png',
        '16UC1; compressedDepth rvl',
        '32FC1; compressedDepth',
        'compressedDepth',
    ],
)
def test_depth_is_no_camera_picture(text):
    assert Format.parse(text).is_measurement
    message = compressed_message(encoded('png', mosaic(16)), text)
    for function in (check_compressed, decode_compressed):
        with pytest.raises(errors.UnsupportedFormat, match='is a depth image'):
            function(message)


@pytest.mark.parametrize(
    ('text', 'is_measurement'),
    [
        ('16UC1; png compressed ', True),
        ('16UC1; jpeg compressed mono8', True),
        ('16UC1', True),
        ('mono16; png compressed ', False),
        ('8UC1; png compressed ', False),
        ('rgb8; jpeg compressed bgr8', False),
        ('jpeg', False),
        ('', False),
        (';', False),
    ],
)
def test_the_first_word_is_the_encoding(text, is_measurement):
    assert Format.parse(text).is_measurement is is_measurement


def test_other_packings_are_named():
    with pytest.raises(errors.UnsupportedFormat, match='another transport'):
        decode_compressed(compressed_message(encoded('png', mosaic()), 'rgb8; zstd compressed'))


class TestTiff:
    """image_transport's third format."""

    @pytest.mark.parametrize('compression', [1, 5, 8, 32946, 32773])
    def test_its_pixels_are_those_that_were_written(self, compression):
        rgb = noise(33, 47)
        options = [cv2.IMWRITE_TIFF_COMPRESSION, compression]
        data = cv2.imencode('.tiff', rgb[:, :, ::-1], options)[1].tobytes()
        result = decoded(data, 'rgb8; tiff compressed bgr8')
        np.testing.assert_array_equal(result, rgb)

    def test_sixteen_bits_are_scaled_as_those_of_an_image(self):
        samples = (mosaic(16) >> 4).astype(np.uint16)  # of 12 bits
        data, text = encoded('tiff', samples), 'mono16; tiff compressed '
        for bits in (0, 12, 16):
            expected = as_raw(samples, 'mono16', bit_depth=BitDepth(bits))
            np.testing.assert_array_equal(decoded(data, text, bit_depth=BitDepth(bits)), expected)

    def test_its_size_is_judged_before_it_is_decoded(self):
        data = encoded('tiff', np.zeros((300, 400), np.uint8))
        for function in (check_compressed, decode_compressed):
            with pytest.raises(errors.PictureTooLarge, match='400x300'):
                function(compressed_message(data, 'mono8; tiff compressed '), 100_000)

    def test_what_is_cut_is_refused_or_whole(self):
        rgb = noise(20, 30)
        data = encoded('tiff', rgb[:, :, ::-1])
        refused = 0
        for cut in range(1, len(data), 7):
            message = compressed_message(data[:-cut], 'rgb8; tiff compressed bgr8')
            try:
                np.testing.assert_array_equal(decode_compressed(message), rgb)
            except errors.ImageError:
                refused += 1
        assert refused > len(data) / 7 - 20

    def test_floats_are_depth_whatever_the_format_says(self):
        data = encoded('tiff', np.ones((20, 30), np.float32))
        for text in ('tiff', ''):
            with pytest.raises(errors.UnsupportedFormat, match='floats'):
                decode_compressed(compressed_message(data, text))
