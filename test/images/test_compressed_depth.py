"""compressedDepth, read by another decoder: what is unknown stays unknown, metres stay theirs."""

from __future__ import annotations

import dataclasses
import re
import struct
import textwrap
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from depth_reader import read_depth
from hypothesis import given
from hypothesis import strategies as st

from midas_depth_ros.images.compressed_depth import InverseQuantisation, compressed_depth
from midas_depth_ros.images.errors import InvalidPicture
from midas_depth_ros.options.metric import DepthImageOptions

FORMATS = ('png', 'rvl')
UNKNOWN = (np.nan, np.inf, -np.inf, 0.0, -1.0)


def back(depth_z: np.ndarray, **options) -> np.ndarray:
    text, data = compressed_depth(depth_z.astype(np.float32), DepthImageOptions(**options))
    return read_depth(SimpleNamespace(format=text, data=data))


def depths(low=0.1, high=20.0, shape=(48, 64)) -> np.ndarray:
    inverse = np.random.default_rng(3).uniform(1 / high, 1 / low, shape)
    return (1 / inverse).astype(np.float32)


@pytest.mark.parametrize('container', FORMATS)
@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_unknown_never_comes_back_as_a_distance(container, encoding):
    depth_z = depths()
    unknown = np.random.default_rng(5).random(depth_z.shape) < 0.3
    depth_z[unknown] = np.resize(UNKNOWN, unknown.sum())
    got = back(depth_z, compressed_format=container, encoding=encoding)
    assert (np.isnan(got) if encoding == '32FC1' else got == 0)[unknown].all()
    assert (got[~unknown] > 0).all()


@pytest.mark.parametrize('container', FORMATS)
@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_a_picture_of_which_nothing_is_known_comes_back_so(container, encoding):
    got = back(np.full((480, 640), np.nan), compressed_format=container, encoding=encoding)
    assert got.shape == (480, 640)
    assert not np.nan_to_num(got).any()


@pytest.mark.parametrize('container', FORMATS)
def test_millimetres_are_those_of_the_image(container):
    depth_z = depths()
    got = back(depth_z, compressed_format=container, encoding='16UC1')
    np.testing.assert_array_equal(got, np.rint(1000 * depth_z))


@given(
    low=st.floats(0.0, 9.0),
    factor=st.floats(1.05, 200.0),
    quantization=st.floats(1.0, 150.0),
    share=st.floats(0.0, 1.0),
)
def test_metres_are_off_by_no_more_than_is_written(low, factor, quantization, share):
    high = min(1000.0, max(0.1, low * factor) * 1.001)
    options = DepthImageOptions(min=low, max=high, compressed_quantization=quantization)
    near = min(max(low, 0.01), 0.5 * high)
    inverse = np.linspace(1 / high, 1 / near, 64) * (1 - 1e-6) + share * 1e-9
    depth_z = np.clip(1 / inverse, near, np.float32(high) * (1 - 1e-6)).astype(np.float32)
    text, data = compressed_depth(depth_z[None], options)
    got = read_depth(SimpleNamespace(format=text, data=data))[0]
    a = quantization * (quantization + 1)
    a = min(a, 65534 / (1 / near - 1 / high))
    bound = depth_z.astype(float) * got / (2 * a)
    assert np.isfinite(got).all()
    assert (np.abs(got - depth_z) <= 1.02 * bound + 1e-6 * depth_z).all()


def test_the_nearest_depth_does_not_turn_into_a_far_one():
    """Beyond 16 bits a number would start again at 0, which is far away."""
    depth_z = np.array([[0.0005, 0.002, 0.01, 0.1, 0.15, 0.2]], np.float32)
    got = back(depth_z, min=0.0, max=20.0, compressed_quantization=150.0)
    np.testing.assert_allclose(got[0, 2:], depth_z[0, 2:], rtol=0.01)
    np.testing.assert_allclose(got[0, :2], 0.01, rtol=0.01)


def test_the_farthest_depth_is_known_and_all_beyond_is_not():
    got = back(np.array([[19.999, 20.0, 20.001, 500.0]]), max=20.0)
    np.testing.assert_allclose(got[0, :2], 20.0, rtol=1e-4)
    assert np.isnan(got[0, 2:]).all()


@pytest.mark.parametrize('container', FORMATS)
@pytest.mark.parametrize('encoding', ['32FC1', '16UC1'])
def test_header_and_format_are_those_of_image_transport(container, encoding):
    options = DepthImageOptions(
        encoding=encoding, compressed_format=container, compressed_quantization=10.0
    )
    text, data = compressed_depth(depths(), options)
    assert text == f'{encoding}; compressedDepth {container}'
    kind, a, b = struct.unpack_from('<iff', bytes(data))
    assert kind == 0
    if encoding == '32FC1':
        assert (a, b) == pytest.approx((110.0, 1 - 110.0 / 20.0))


def test_a_coarser_quantisation_and_a_higher_level_are_fewer_bytes():
    inverse = np.cumsum(np.random.default_rng(1).normal(0, 0.004, (120, 160)), axis=1)
    depth_z = (1 / np.clip(1 + inverse, 0.06, 9.0)).astype(np.float32)

    def size(**options) -> int:
        return len(compressed_depth(depth_z, DepthImageOptions(**options))[1])

    for container in FORMATS:
        sizes = [
            size(compressed_format=container, compressed_quantization=q) for q in (10.0, 50.0, 80.0)
        ]
        assert sizes == sorted(sizes)
    assert size(compressed_png_level=9) < size(compressed_png_level=1)


def test_too_fine_a_quantisation_is_what_sixteen_bits_allow():
    options = DepthImageOptions(min=0.1, max=20.0, compressed_quantization=150.0)
    made = InverseQuantisation.of(options)
    assert made.a == pytest.approx(65534 / (10 - 0.05))
    assert made.codes(np.array([[0.1, 20.0]], np.float32)).tolist() == [[65535, 1]]
    coarse = dataclasses.replace(options, compressed_quantization=50.0)
    assert InverseQuantisation.of(coarse).a == 2550.0


def test_what_the_page_tells_python_to_do_reads_it():
    page = (Path(__file__).parents[2] / 'docs' / 'wifi.md').read_text('utf-8')
    code = textwrap.dedent(re.search(r'```python\n(.*?)```', page, re.DOTALL)[1])
    names = {'np': np, 'cv2': cv2}
    exec(code, names)
    depth_z = depths()
    depth_z[5:9] = np.nan
    text, data = compressed_depth(depth_z, DepthImageOptions())
    message = SimpleNamespace(format=text, data=data)
    np.testing.assert_array_equal(names['metres'](message), read_depth(message))


@pytest.mark.parametrize('container', FORMATS)
def test_an_image_without_pixels_is_refused(container):
    with pytest.raises(InvalidPicture, match='4x0'):
        compressed_depth(
            np.zeros((0, 4), np.float32), DepthImageOptions(compressed_format=container)
        )
