"""RVL against a decoder of its own, number by number."""

from __future__ import annotations

import numpy as np
import pytest
from depth_reader import Nibbles, read_rvl
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.images.rvl import encode_rvl


def back(values: np.ndarray) -> np.ndarray:
    data = encode_rvl(values)
    read, used = read_rvl(data, values.size)
    assert len(data) == used, 'words without a value'
    return np.array(read, np.uint16).reshape(values.shape)


@pytest.mark.parametrize(
    ('values', 'nibbles'),
    [
        # zeros, values, differences folded: 10 -> 20, -1 -> 1, 0 -> 0
        ([10, 9, 9], [0, 3, 0xC, 2, 1, 0]),
        ([0, 0, 1, 0], [2, 1, 2, 1, 0]),
        ([0] * 9, [0x9, 1, 0]),
        # The difference after a gap is from the last value before it.
        ([5, 0, 6], [0, 1, 0xA, 1, 1, 1, 2]),
        # Six nibbles: 65535 -> 131070 = 0o377776.
        ([65535], [0, 1, 0xE, 0xF, 0xF, 0xF, 0xF, 3]),
        ([65535, 1], [0, 2, 0xE, 0xF, 0xF, 0xF, 0xF, 3, 0xB, 0xF, 0xF, 0xF, 0xF, 3]),
    ],
)
def test_numbers_are_those_of_the_paper(values, nibbles):
    data = encode_rvl(np.array([values], np.uint16))
    words = np.frombuffer(data, '<u4')
    got = [int(word) >> shift & 0xF for word in words for shift in range(28, -1, -4)]
    assert got == nibbles + [0] * (-len(nibbles) % 8)


@pytest.mark.parametrize('share_unknown', [0.0, 0.02, 0.5, 1.0])
@pytest.mark.parametrize('most', [2, 300, 65535])
def test_every_value_comes_back(share_unknown, most):
    source = np.random.default_rng(most)
    values = source.integers(1, most + 1, (181, 293)).astype(np.uint16)
    values[source.random(values.shape) < share_unknown] = 0
    np.testing.assert_array_equal(back(values), values)


def test_a_run_too_long_for_two_pieces_comes_back():
    values = np.zeros((4097, 4097), np.uint16)  # from 2^24 pixels on there are nine nibbles
    values[-1, -1] = 7
    numbers = Nibbles(encode_rvl(values))
    assert [numbers.number() for _ in range(3)] == [4097 * 4097 - 1, 1, 14]


@given(st.lists(st.one_of(st.just(0), st.integers(0, 65535), st.integers(1, 9)), min_size=1))
def test_any_row_comes_back(row):
    values = np.array([row], np.uint16)
    np.testing.assert_array_equal(back(values), values)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match=r'\(0, 4\)'):
        encode_rvl(np.zeros((0, 4), np.uint16))
