"""Every encoding against pictures encoded by hand: colours, padding, byte order, odd sizes."""

from __future__ import annotations

import array

import numpy as np
import pytest
from picture_files import blocky, colourful, grey_of, image_message, noise

from midas_depth_ros.images import decode_image
from midas_depth_ros.images.decode import ENCODINGS

EXACT_COLOUR = (
    *('rgb8', 'bgr8', 'rgba8', 'bgra8', '8UC3', '8UC4'),
    *('rgb16', 'bgr16', 'rgba16', 'bgra16', '16UC3', '16UC4'),
)
EXACT_GREY = ('mono8', '8UC1', 'mono16', '16UC1')
YUV_422 = ('uyvy', 'yuv422', 'yuyv', 'yuv422_yuy2')
YUV_PLANES = ('nv12', 'nv21', 'nv24')
BAYER = tuple(
    f'bayer_{pattern}{bits}' for pattern in ('rggb', 'bggr', 'gbrg', 'grbg') for bits in (8, 16)
)
# Rounding to 8 bits of YUV and back, with OpenCV's integer coefficients.
YUV_TOLERANCE = 3
ALL = (*EXACT_COLOUR, *EXACT_GREY, *YUV_422, *YUV_PLANES, *BAYER)


def difference(one, other):
    return int(np.abs(one.astype(int) - other.astype(int)).max())


def test_every_encoding_of_the_table_is_tested_here():
    assert sorted(ENCODINGS) == sorted(ALL)


@pytest.mark.parametrize('padding', [0, 2, 64])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('name', EXACT_COLOUR)
def test_colour_is_exact(name, big_endian, padding):
    rgb = noise(9, 7)
    decoded = decode_image(image_message(name, rgb, padding, big_endian))
    np.testing.assert_array_equal(decoded, rgb)


@pytest.mark.parametrize('padding', [0, 2, 64])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('name', EXACT_GREY)
def test_grey_is_exact_in_all_three_channels(name, big_endian, padding):
    rgb = noise(9, 7)
    decoded = decode_image(image_message(name, rgb, padding, big_endian))
    np.testing.assert_array_equal(decoded, np.repeat(grey_of(rgb)[:, :, None], 3, axis=2))


@pytest.mark.parametrize('width', [32, 31, 2, 3])
@pytest.mark.parametrize('padding', [0, 3, 64])
@pytest.mark.parametrize('name', YUV_422)
def test_yuv_422(name, padding, width):
    rgb = blocky(24, width, block=(1, 2))
    decoded = decode_image(image_message(name, rgb, padding))
    whole = width // 2 * 2
    assert difference(decoded[:, :whole], rgb[:, :whole]) <= YUV_TOLERANCE


@pytest.mark.parametrize('name', YUV_422)
def test_half_a_pair_at_the_end_of_a_row_takes_its_v_from_the_pair_before(name):
    rgb = np.full((4, 5, 3), (200, 60, 30), np.uint8)
    rgb[:, :2] = (20, 90, 220)
    assert difference(decode_image(image_message(name, rgb)), rgb) <= YUV_TOLERANCE


@pytest.mark.parametrize('name', YUV_422)
def test_a_single_column_of_yuv_422_keeps_its_brightness(name):
    rgb = np.full((5, 1, 3), 128, np.uint8)
    assert difference(decode_image(image_message(name, rgb)), rgb) <= YUV_TOLERANCE


@pytest.mark.parametrize('size', [(24, 32), (23, 32), (24, 31), (23, 31), (1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize('padding', [0, 1, 64])
@pytest.mark.parametrize('name', YUV_PLANES)
def test_yuv_planes(name, padding, size):
    rgb = blocky(*size)
    decoded = decode_image(image_message(name, rgb, padding))
    assert decoded.shape == rgb.shape
    assert difference(decoded, rgb) <= YUV_TOLERANCE


@pytest.mark.parametrize('name', YUV_PLANES)
def test_planes_are_taken_as_packed_where_step_counts_their_chroma(name):
    rgb = blocky(24, 32)
    message = image_message(name, rgb)
    message.step = len(message.data) // message.height
    assert message.step > message.width
    assert difference(decode_image(message), rgb) <= YUV_TOLERANCE


def test_yuv_is_video_range():
    """Y 16 is black and Y 235 is white, as cv_bridge has it."""
    message = image_message('uyvy', np.zeros((2, 2, 3), np.uint8))
    message.data = bytes([128, 16, 128, 235] * 2)
    np.testing.assert_array_equal(decode_image(message)[0], [[0, 0, 0], [255, 255, 255]])


@pytest.mark.parametrize('padding', [0, 2, 64])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('name', BAYER)
def test_bayer_mosaics_come_out_near_the_picture(name, big_endian, padding):
    rgb = colourful(48, 64)
    decoded = decode_image(image_message(name, rgb, padding, big_endian))
    assert decoded.shape == rgb.shape
    assert difference(decoded[2:-2, 2:-2], rgb[2:-2, 2:-2]) <= 2
    assert difference(decoded, rgb) <= 12  # borders have neighbours on one side only


@pytest.mark.parametrize('size', [(2, 2), (2, 9), (9, 2), (3, 3)])
@pytest.mark.parametrize('name', BAYER)
def test_tiny_bayer_mosaics_keep_their_colour(name, size):
    rgb = np.full((*size, 3), (200, 90, 30), np.uint8)
    assert difference(decode_image(image_message(name, rgb)), rgb) <= 1


@pytest.mark.parametrize('turned', [False, True])
@pytest.mark.parametrize('name', BAYER)
def test_a_mosaic_of_a_single_long_row_or_column_keeps_its_colour(name, turned):
    """It is converted in pieces."""
    colours = np.array([(200, 90, 30), (60, 60, 60), (20, 130, 240)], np.uint8)
    line = np.repeat(colours, 50_000, axis=0)[:, None]
    line = np.repeat(line, 2, axis=1)
    rgb = line if turned else line.transpose(1, 0, 2).copy()
    decoded = decode_image(image_message(name, rgb))
    assert decoded.shape == rgb.shape
    assert (np.abs(decoded.astype(int) - rgb).max(axis=2) > 1).sum() <= 40, 'but at the edges'


@pytest.mark.parametrize('size', [(1, 1), (1, 8), (8, 1)])
@pytest.mark.parametrize('name', ALL)
def test_the_smallest_pictures_have_their_size(name, size):
    decoded = decode_image(image_message(name, noise(*size)))
    assert decoded.shape == (*size, 3)


@pytest.mark.parametrize('name', ALL)
def test_results_are_contiguous_uint8_rgb(name):
    decoded = decode_image(image_message(name, colourful(16, 18), padding=6))
    assert decoded.dtype == np.uint8
    assert decoded.shape == (16, 18, 3)
    assert decoded.flags.c_contiguous


@pytest.mark.parametrize(
    'container',
    [
        bytes,
        bytearray,
        memoryview,
        lambda data: array.array('B', data),
        lambda data: np.frombuffer(data, np.uint8),
    ],
    ids=['bytes', 'bytearray', 'memoryview', 'array', 'numpy'],
)
def test_data_may_be_any_bytes(container):
    rgb = noise(5, 6)
    message = image_message('bgr8', rgb)
    message.data = container(message.data)
    np.testing.assert_array_equal(decode_image(message), rgb)


def test_unpadded_rgb8_is_a_read_only_view():
    message = image_message('rgb8', noise(5, 6))
    message.data = array.array('B', message.data)
    decoded = decode_image(message)
    assert np.shares_memory(decoded, np.frombuffer(message.data, np.uint8))
    assert not decoded.flags.writeable
    message.data[0] ^= 0xFF
    assert decoded[0, 0, 0] == message.data[0]


@pytest.mark.parametrize('name', ALL)
def test_bytes_after_the_picture_are_ignored(name):
    rgb = colourful(16, 18)
    message = image_message(name, rgb, padding=2)
    expected = decode_image(message)
    message.data += b'\xff' * 1000
    np.testing.assert_array_equal(decode_image(message), expected)


def test_any_number_but_zero_says_big_endian():
    rgb = noise(4, 4)
    message = image_message('rgb16', rgb, big_endian=True)
    message.is_bigendian = 255
    np.testing.assert_array_equal(decode_image(message), rgb)
