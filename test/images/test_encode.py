"""Arrays into message data, and back by other code than ours."""

from __future__ import annotations

import array
import io

import cv2
import numpy as np
import pytest
from picture_files import colourful, compressed_message, noise
from PIL import Image

from midas_depth_ros.images import decode_compressed, encode_jpeg, message_data
from midas_depth_ros.images.errors import InvalidPicture
from midas_depth_ros.images.message_bytes import (
    bgr_of,
    millimetres_of,
    packed_points,
    picture_reduced,
)


def test_a_jpeg_shows_the_picture_in_its_colours():
    rgb = colourful(48, 64)
    data = encode_jpeg(rgb, 95)
    assert isinstance(data, array.array)
    assert data.typecode == 'B'
    by_pillow = np.asarray(Image.open(io.BytesIO(bytes(data))))
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    for decoded in (by_pillow, by_opencv, decode_compressed(compressed_message(data))):
        assert np.abs(decoded.astype(int) - rgb).max() <= 6


def test_quality_decides_size_and_error():
    rgb = noise(64, 64)
    sizes, faults = [], []
    for quality in (1, 50, 100):
        data = encode_jpeg(rgb, quality)
        decoded = decode_compressed(compressed_message(data))
        sizes.append(len(data))
        faults.append(np.abs(decoded.astype(int) - rgb).mean())
    assert sizes == sorted(sizes)
    assert faults == sorted(faults, reverse=True)


def test_a_picture_that_is_a_view_is_encoded_as_it_looks():
    rgb = colourful(48, 64)
    assert encode_jpeg(rgb[::-1, ::2]) == encode_jpeg(np.ascontiguousarray(rgb[::-1, ::2]))


@pytest.mark.parametrize(
    'wrong',
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((65501, 1, 3), np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(wrong):
    with pytest.raises(InvalidPicture, match=str(wrong.shape[0])):
        encode_jpeg(wrong)


@pytest.mark.parametrize('quality', [0, 101, -1])
def test_a_quality_out_of_bounds_is_refused(quality):
    with pytest.raises(ValueError, match=str(quality)):
        encode_jpeg(colourful(4, 4), quality)


@pytest.mark.parametrize(
    'values',
    [
        noise(5, 6),
        noise(5, 6)[::-1, ::2],
        np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4),
        np.arange(12, dtype='>u2').reshape(3, 4),
        np.zeros((0, 4), np.float32),
    ],
)
def test_message_data_has_the_bytes_of_the_array_row_by_row(values):
    data = message_data(values)
    assert isinstance(data, array.array)
    assert data.typecode == 'B'
    assert data.tobytes() == values.tobytes()


def test_message_data_shares_nothing_with_the_array():
    values = noise(2, 2)
    data = message_data(values)
    values[:] = 0
    assert data.tobytes() == noise(2, 2).tobytes()


def test_millimetres_are_whole_and_what_has_none_is_zero():
    metres = np.array([[0.0014, 1.0, 65.6, np.nan, np.inf]], np.float32)
    found = millimetres_of(metres)
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, [[1, 1000, 0, 0, 0]])


def test_a_point_has_its_colour_in_the_bits_of_a_float():
    points = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    rgb = np.array([[[1, 2, 3], [255, 0, 16]]], np.uint8)
    sigma = np.array([[0.25, np.nan]], np.float32)
    height = np.array([[np.nan, 0.5]], np.float32)
    packed = packed_points(points, rgb, sigma, height)
    np.testing.assert_array_equal(packed[..., 4], sigma)
    np.testing.assert_array_equal(packed[..., 5], height)
    np.testing.assert_array_equal(packed[..., :3], points)
    np.testing.assert_array_equal(packed[..., 3].copy().view(np.uint32), [[0x010203, 0xFF0010]])


def test_colours_are_turned_round_and_reduced_by_means():
    rgb = np.zeros((4, 4, 3), np.uint8)
    rgb[:, 0::2, 0] = 100
    assert tuple(bgr_of(rgb)[0, 0]) == (0, 0, 100)
    assert (picture_reduced(rgb, (2, 2)) == (50, 0, 0)).all()
