"""Serialised messages: what was written is read; whatever is wrong is an ImageError."""

from __future__ import annotations

import contextlib
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.images import ImageError, decode_image, read_compressed, read_image
from midas_depth_ros.images.errors import InvalidField, MalformedMessage
from midas_depth_ros.images.message_bytes import is_plain_cdr, write_image

PIXELS = bytes(range(24))
FIELDS = {
    'sec': -3,
    'nanosec': 4_000_000_001,
    'frame_id': 'camera_optical',
    'height': 2,
    'width': 4,
    'encoding': 'rgb8',
    'is_bigendian': 0,
    'step': 12,
    'data': PIXELS,
}


def written(fields: dict, order: str = '<') -> bytes:
    """CDR of the fields in turn: int, text or bytes; `is_bigendian` is the only single byte."""
    body = b''
    for name, value in fields.items():
        if name == 'is_bigendian':
            body += bytes([value])
            continue
        body += bytes(-len(body) % 4)
        if isinstance(value, int):
            body += struct.pack(order + ('i' if name == 'sec' else 'I'), value)
        else:
            raw = value.encode() + b'\0' if isinstance(value, str) else value
            body += struct.pack(order + 'I', len(raw)) + raw
    return (b'\0\0' if order == '>' else b'\0\1') + b'\0\0' + body


def fields_of(message) -> dict:
    return {
        'sec': message.header.stamp.sec,
        'nanosec': message.header.stamp.nanosec,
        'frame_id': message.header.frame_id,
        'height': message.height,
        'width': message.width,
        'encoding': message.encoding,
        'is_bigendian': message.is_bigendian,
        'step': message.step,
        'data': bytes(message.data),
    }


def test_a_message_cut_anywhere_is_malformed():
    whole = written(FIELDS)
    for length in range(len(whole)):
        with pytest.raises(MalformedMessage, match=r'cut short|not plain CDR'):
            read_image(whole[:length])


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_image_error(junk):
    for read in (read_image, read_compressed):
        for start in (b'', b'\0\1\0\0', b'\0\0\0\0'):
            with contextlib.suppress(ImageError):
                read(start + junk)


def test_a_length_beyond_the_end_is_named():
    whole = bytearray(written(FIELDS))
    whole[12:16] = struct.pack('<I', 0xFFFFFFFF)  # of frame_id
    with pytest.raises(MalformedMessage, match=r'ends within frame_id.* 4294967295 bytes'):
        read_image(bytes(whole))


@pytest.mark.parametrize('field', ['frame_id', 'encoding'])
def test_a_name_as_long_as_a_book_is_refused(field):
    """What is published of a picture repeats the name of its frame a dozen times."""
    with pytest.raises(InvalidField, match=f'{field} has 5001 bytes, more than 4096'):
        read_image(written({**FIELDS, field: 'x' * 5000}))
    assert read_image(written({**FIELDS, field: 'x' * 4000})).height == 2


def test_text_that_is_no_utf8_is_an_invalid_field():
    fields = {**FIELDS, 'encoding': b'\xff\xfe\0'}
    with pytest.raises(InvalidField, match='encoding is'):
        read_image(written(fields))


def test_another_representation_is_left_to_the_middleware():
    other = b'\x00\x07' + written(FIELDS)[2:]  # XCDR2
    assert not is_plain_cdr(other)
    assert is_plain_cdr(written(FIELDS))
    with pytest.raises(MalformedMessage, match='not plain CDR'):
        read_image(other)


@pytest.mark.parametrize('order', ['<', '>'])
@given(
    frame_id=st.text(max_size=9).filter(lambda text: '\0' not in text and text.isprintable()),
    encoding=st.sampled_from(['rgb8', 'mono8', 'bayer_rggb16', '']),
    numbers=st.lists(st.integers(0, 2**32 - 1), min_size=3, max_size=3),
    sec=st.integers(-(2**31), 2**31 - 1),
    data=st.binary(max_size=40),
)
def test_what_was_written_is_read(order, frame_id, encoding, numbers, sec, data):
    fields = {
        **FIELDS,
        'sec': sec,
        'frame_id': frame_id,
        'height': numbers[0],
        'width': numbers[1],
        'encoding': encoding,
        'is_bigendian': 1,
        'step': numbers[2],
        'data': data,
    }
    assert fields_of(read_image(written(fields, order))) == fields
    assert write_image(read_image(written(fields, order))) == written(fields)


def test_pixels_are_a_view_of_the_message():
    whole = written(FIELDS)
    rgb = decode_image(read_image(whole))
    np.testing.assert_array_equal(rgb, np.frombuffer(PIXELS, np.uint8).reshape(2, 4, 3))
    assert np.shares_memory(rgb, np.frombuffer(whole, np.uint8))


def test_a_compressed_message():
    fields = {'sec': 5, 'nanosec': 6, 'frame_id': 'c', 'format': 'jpeg', 'data': b'\xff\xd8\xff'}
    message = read_compressed(written(fields))
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (5, 6)
    assert (message.header.frame_id, message.format) == ('c', 'jpeg')
    assert bytes(message.data) == b'\xff\xd8\xff'
