"""Malformed messages: each fault has its own error, whose text names the value and the remedy."""

from __future__ import annotations

import array
import tracemalloc

import numpy as np
import pytest
from picture_files import colourful, image_message

from midas_depth_ros.images import check_image, decode_image, errors
from midas_depth_ros.options.text import shown

HUGE = 2**32 - 1

# Encoding, the fields that are wrong, the error, and what its text must say.
FAULTS = (
    ('rgb8', {'width': 0}, errors.EmptyPicture, ['0x6', 'at least 1']),
    ('rgb8', {'height': 0}, errors.EmptyPicture, ['8x0']),
    ('rgb8', {'height': -6}, errors.EmptyPicture, ['8x-6']),
    ('rgb8', {'width': HUGE}, errors.PictureTooLarge, [f'{HUGE}x6', 'max_pixels']),
    ('rgb8', {'width': HUGE, 'height': HUGE}, errors.PictureTooLarge, ['33554432']),
    ('no_such', {'width': HUGE}, errors.PictureTooLarge, [f'{HUGE}x6']),
    ('rgb8', {'step': 23}, errors.StepTooSmall, ['23', 'at least 24', 'rgb8']),
    ('rgb8', {'step': 0}, errors.StepTooSmall, ['step 0']),
    ('mono16', {'step': 15}, errors.StepTooSmall, ['at least 16']),
    ('uyvy', {'step': 8}, errors.StepTooSmall, ['at least 16']),
    ('nv12', {'step': 7}, errors.StepTooSmall, ['at least 8']),
    ('mono16', {'step': 17, 'data': bytes(102)}, errors.StepUnaligned, ['17', 'multiple', '2']),
    ('bayer_rggb16', {'step': 17, 'data': bytes(102)}, errors.StepUnaligned, ['17']),
    ('rgb8', {'data': bytes(143)}, errors.DataTooShort, ['143 bytes', '144']),
    ('rgb8', {'data': b''}, errors.DataTooShort, ['0 bytes']),
    ('rgb8', {'height': 7}, errors.DataTooShort, ['7 rows', '168']),
    ('nv12', {'data': bytes(48)}, errors.DataTooShort, ['9 rows', '72']),
    # Odd sizes have chroma for their last row and column too.
    ('nv12', {'height': 5, 'data': bytes(56)}, errors.DataTooShort, ['56 bytes', '8 rows', '64']),
    ('nv21', {'width': 7, 'step': 7}, errors.StepTooSmall, ['step 7', 'at least 8']),
    ('nv24', {'data': bytes(96)}, errors.DataTooShort, ['18 rows', '144']),
    ('bgr8', {'encoding': 'no_such'}, errors.UnknownEncoding, ["'no_such'", 'rgb8', 'bayer_rggb8']),
    ('bgr8', {'encoding': ''}, errors.UnknownEncoding, ["''"]),
    ('bgr8', {'encoding': 'x' * 300}, errors.InvalidEncoding, ['300 characters', 'rgb8']),
    ('bgr8', {'encoding': 'BGR8'}, errors.UnknownEncoding, ["Did you mean 'bgr8'"]),
    ('bgr8', {'encoding': '16SC1'}, errors.UnknownEncoding, ["'16SC1'"]),
    ('bgr8', {'encoding': '32FC1'}, errors.UnknownEncoding, ["'32FC1'"]),
    ('bgr8', {'encoding': b'bgr8'}, errors.InvalidEncoding, ["b'bgr8'"]),
    ('bgr8', {'encoding': None}, errors.InvalidEncoding, ['None']),
    ('bgr8', {'height': 6.0}, errors.InvalidField, ['height', '6.0']),
    ('bgr8', {'step': None}, errors.InvalidField, ['step', 'None']),
    ('bgr8', {'data': [1, 2, 3]}, errors.InvalidField, ['list']),
    ('bgr8', {'data': None}, errors.InvalidField, ['NoneType']),
    ('bgr8', {'data': np.zeros(144)}, errors.InvalidField, ['8 bytes']),
    ('bgr8', {'data': np.zeros((144, 2), np.uint8)[:, 0]}, errors.InvalidField, ['contiguous']),
    ('bgr8', {'data': array.array('H', [0] * 144)}, errors.InvalidField, ['2 bytes']),
)

SOUND = ('rgb8', 'bgr8', 'mono16', 'uyvy', 'nv12', 'nv21', 'nv24', 'bayer_rggb16')


def faulty(name, changes):
    message = image_message(name if name in SOUND else 'rgb8', colourful(6, 8))
    message.encoding = name
    for field, value in changes.items():
        setattr(message, field, value)
    return message


@pytest.mark.parametrize(('name', 'changes', 'error', 'words'), FAULTS)
@pytest.mark.parametrize('function', [decode_image, check_image])
def test_each_fault_has_its_error(function, name, changes, error, words):
    with pytest.raises(errors.ImageError) as caught:
        function(faulty(name, changes))
    assert type(caught.value) is error
    for word in words:
        assert word in str(caught.value)


def test_sound_messages_pass_the_check():
    for name in SOUND:
        check_image(faulty(name, {}))


def test_max_pixels_is_the_last_size_allowed():
    message = image_message('rgb8', colourful(6, 8))
    assert decode_image(message, max_pixels=48).shape == (6, 8, 3)
    with pytest.raises(errors.PictureTooLarge, match='47'):
        decode_image(message, max_pixels=47)


def test_the_end_of_the_last_row_must_be_there_too():
    message = image_message('rgb8', colourful(6, 8), padding=8)
    message.data = message.data[:-1]
    with pytest.raises(errors.DataTooShort):
        decode_image(message)


def test_absurd_sizes_allocate_nothing():
    message = faulty('rgb8', {'width': 65536, 'height': 65536, 'step': HUGE})
    tracemalloc.start()
    try:
        with pytest.raises(errors.PictureTooLarge):
            decode_image(message)
        with pytest.raises(errors.DataTooShort):
            decode_image(message, max_pixels=2**40)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize('value', ['x' * 10**6, b'x' * 10**6, list(range(1000))])
def test_long_values_are_shortened(value):
    assert len(shown(value)) < 80
    assert shown(value).endswith('...')


def test_short_values_are_shown_whole():
    assert shown('rgb8') == "'rgb8'"
    assert shown(None) == 'None'
