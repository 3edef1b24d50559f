"""Sizes, interpolation and normalisation against the reference implementation's figures."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from midas_depth_ros.depth.models import Output, spec
from midas_depth_ros.depth.models.spec import (
    Enlargement,
    Interpolation,
    PictureInput,
    Sizing,
    enlarged,
)

SPEC = spec('midas_small')
PICTURE = SPEC.picture
network_input_size, preprocess, enlarge = (
    PICTURE.network_size, PICTURE.preprocess, SPEC.enlarge,
)  # fmt: skip


@pytest.fixture(scope='module')
def pipeline(golden_dir: Path) -> dict[str, np.ndarray]:
    with np.load(golden_dir / 'midas_small_pipeline.npz') as figures:
        return dict(figures)


def test_sizes_equal_the_reference_wherever_it_can(golden_dir: Path) -> None:
    rows = json.loads((golden_dir / 'network_input_sizes.json').read_text())
    assert len(rows) == 24
    for row in rows:
        wanted = tuple(max(side, 32) for side in row['midas_small_wh'])
        assert network_input_size(*row['image_wh']) == wanted, row['image_wh']


@given(st.integers(1, 100_000), st.integers(1, 100_000))
def test_sizes_are_multiples_of_32_that_keep_the_proportions(width: int, height: int) -> None:
    w, h = network_input_size(width, height)
    assert w % 32 == 0
    assert h % 32 == 0
    assert max(w, h) == 256
    assert min(w, h) >= 32
    exact = 256 * min(width, height) / max(width, height)
    assert abs(min(w, h) - max(exact, 32)) <= 16


@pytest.mark.parametrize(('width', 'height'), [(0, 480), (640, 0), (-1, 5)])
def test_a_picture_without_pixels_has_no_size(width: int, height: int) -> None:
    with pytest.raises(ValueError, match=f'{width} x {height}'):
        network_input_size(width, height)


def test_network_input_equals_the_reference(
    shared_data: Path, pipeline: dict[str, np.ndarray]
) -> None:
    picture = shared_data.parent / 'golden' / 'room.png'
    if not picture.is_file():
        pytest.skip(f'{picture} is not there')
    with Image.open(picture) as image:
        network_input = preprocess(np.array(image.convert('RGB')))
    assert network_input.dtype == np.float32
    assert network_input.shape == (1, 3, 192, 256)
    # A hundredth of a grey level, of the 255 that span about 4.5.
    assert np.abs(network_input - pipeline['network_input']).max() < 1e-4


def test_colours_are_normalised_channel_by_channel() -> None:
    rgb = np.empty((48, 64, 3), np.uint8)
    rgb[:] = (255, 0, 102)
    network_input = preprocess(rgb)
    wanted = (np.array([1.0, 0.0, 0.4]) - PICTURE.mean) / PICTURE.std
    assert network_input.transpose(0, 2, 3, 1).flags.c_contiguous
    np.testing.assert_allclose(network_input.mean(axis=(0, 2, 3), dtype=float), wanted, rtol=1e-5)
    assert np.ptp(network_input, axis=(2, 3)).max() < 1e-5


def test_left_stays_left_and_top_stays_top() -> None:
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[:50, :100, 0] = 255
    red = preprocess(rgb)[0, 0]
    assert red.shape == (128, 256)
    assert red[:56, :120].min() > 2.0
    assert red[72:].max() < -2.0
    assert red[:, 136:].max() < -2.0


def test_enlarged_equals_the_reference(pipeline: dict[str, np.ndarray]) -> None:
    wanted = pipeline['relative_inverse_depth_every_4']
    large = enlarge(pipeline['network_output'][0], (530, 730))
    assert large.shape == (530, 730)
    assert large.dtype == np.float32
    assert wanted.min() < 0, 'the figures must show the overshoot that is clipped'
    difference = large[::4, ::4] - np.maximum(wanted, 0)
    assert np.abs(difference).max() < 1e-4 * wanted.max()


@pytest.mark.parametrize('shape', [(1, 1), (1, 40_000), (40_000, 1), (3, 2), (31, 33)])
def test_odd_shapes_pass_both_ways(shape: tuple[int, int]) -> None:
    network_input = preprocess(np.full((*shape, 3), 128, np.uint8))
    assert network_input.shape[2:] == network_input_size(shape[1], shape[0])[::-1]
    large = enlarge(np.full(network_input.shape[2:], 2.0, np.float32), shape)
    assert large.shape == shape
    np.testing.assert_allclose(large, 2.0, rtol=1e-6)


def test_enlarge_does_not_change_its_input() -> None:
    small = np.random.default_rng(0).normal(size=(32, 64)).astype(np.float32)
    before = small.copy()
    assert enlarge(small, (32, 64)).min() == 0
    np.testing.assert_array_equal(small, before)


@pytest.mark.parametrize(
    ('sizing', 'size', 'said'),
    [
        (Sizing.COVER, (32, 64), 'square picture'),
        (Sizing.NEAREST_SCALE, (64, 32), 'square picture'),
    ],
)
def test_a_size_that_does_not_fit_its_rule_is_refused(
    sizing: Sizing, size: tuple[int, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        PictureInput(size, sizing, multiple=32)


@pytest.mark.parametrize('pixels', [0, -32, 250])
def test_a_short_side_that_cannot_be_is_refused(pixels: int) -> None:
    with pytest.raises(ValueError, match=f'{pixels} pixels: give a positive multiple of 32'):
        PICTURE.with_short_side(pixels)
    with pytest.raises(ValueError, match='takes 64 x 32 pixels only'):
        PictureInput((32, 64)).with_short_side(32)


@given(
    st.sampled_from([Sizing.COVER, Sizing.NEAREST_SCALE]),
    st.integers(1, 10_000),
    st.integers(1, 10_000),
    st.floats(1, 4),
)
def test_the_longer_side_is_bounded(
    sizing: Sizing, width: int, height: int, most_aspect: float
) -> None:
    picture = PictureInput((224, 224), sizing, multiple=14, most_aspect=most_aspect)
    sides = picture.network_size(width, height)
    assert min(sides) >= 14
    assert max(sides) <= most_aspect * 224
    assert math.prod(sides) <= picture.most_pixels
    assert not any(side % 14 for side in sides)
    for wrong in (0.5, float('nan')):
        with pytest.raises(ValueError, match='most_aspect'):
            PictureInput((224, 224), sizing, most_aspect=wrong)


def test_corners_are_aligned_when_depth_is_enlarged_so() -> None:
    how = Enlargement.LINEAR_CORNERS
    depth = np.array([[0, 1, 4], [10, 11, 14]], np.float32)
    wanted = [[0, 0.5, 1, 2.5, 4], [5, 5.5, 6, 7.5, 9], [10, 10.5, 11, 12.5, 14]]
    np.testing.assert_allclose(enlarged(depth, (3, 5), how), wanted)
    np.testing.assert_array_equal(enlarged(depth, (2, 3), how), depth)
    np.testing.assert_array_equal(enlarged(depth, (1, 1), how), [[0]])
    np.testing.assert_array_equal(enlarged(depth[:1, :1], (2, 2), how), np.zeros((2, 2)))


def test_metres_are_enlarged_as_metres() -> None:
    metric = dataclasses.replace(SPEC, output=Output.METRIC_DEPTH, depth_range_m=(0.5, 9.0))
    how = dataclasses.replace(metric, enlargement=Enlargement.LINEAR_CORNERS)
    answer = how.finish(np.array([[1.0, 3.0]], np.float32), (1, 2))
    np.testing.assert_allclose(how.enlarge(answer, (1, 3)), [[1, 1 / 2, 1 / 3]])
    edge = metric.finish(np.array([[0.1, 0.1, 9.0, 9.0, 0.1, 0.1]], np.float32), (1, 6))
    large = metric.enlarge(edge, (1, 60))  # the cubic overshoots
    assert large.min() >= np.float32(1 / 9)
    assert large.max() <= 2


@pytest.mark.parametrize('interpolation', Interpolation)
@pytest.mark.parametrize('shape', [(40, 30), (20, 90), (64, 64), (9, 200)])
def test_colours_are_scaled_whatever_resizes_the_picture(
    interpolation: Interpolation, shape: tuple[int, int]
) -> None:
    picture = PictureInput(
        (32, 64), interpolation=interpolation, mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 2.0)
    )
    rgb = np.full((*shape, 3), (255, 102, 51), np.uint8)
    found = picture.preprocess(rgb)
    assert found.shape == (1, 3, 32, 64)
    assert found.dtype == np.float32
    wanted = np.array([1, 0, -0.05]).reshape(1, 3, 1, 1)
    np.testing.assert_allclose(found, np.broadcast_to(wanted, found.shape), atol=1e-5)
