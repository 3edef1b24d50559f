"""Near is the warm end of every colormap, and the colours are RGB."""

import numpy as np
import pytest

from midas_depth_ros.views.drawing import OptionError
from midas_depth_ros.views.heatmap import COLORMAPS, colour_table, colourise

# First and last colour as published for each map (RGB, matplotlib's for the first four).
PUBLISHED_ENDS = {
    'inferno': ((0, 0, 4), (252, 255, 164)),
    'viridis': ((68, 1, 84), (253, 231, 37)),
    'plasma': ((13, 8, 135), (240, 249, 33)),
    'magma': ((0, 0, 4), (252, 253, 191)),
    'turbo': ((48, 18, 59), (122, 4, 3)),
    'jet': ((0, 0, 128), (128, 0, 0)),
}


def test_all_six_are_there():
    assert set(COLORMAPS) == set(PUBLISHED_ENDS)
    assert COLORMAPS[0] == 'inferno'


@pytest.mark.parametrize('name', COLORMAPS)
def test_ends_are_the_published_colours(name):
    far, near = PUBLISHED_ENDS[name]
    assert np.abs(colour_table(name)[0].astype(int) - far).max() <= 1
    assert np.abs(colour_table(name)[255].astype(int) - near).max() <= 1


@pytest.mark.parametrize('name', COLORMAPS)
def test_near_is_warm_and_far_is_cold(name):
    red, _, blue = colour_table(name).astype(int).T
    far, near = slice(0, 32), slice(224, 256)
    assert (red[near] > blue[near]).all()
    assert (blue[far] >= red[far]).mean() > 0.95
    assert red[near].mean() > red[far].mean() + 50


@pytest.mark.parametrize('name', ['inferno', 'viridis', 'plasma', 'magma'])
def test_nearer_is_brighter_in_the_even_maps(name):
    brightness = colour_table(name) @ np.array([0.2126, 0.7152, 0.0722])
    assert (brightness[8:] > brightness[:-8]).all()


def test_colourise_takes_each_pixel_from_the_table():
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name in COLORMAPS:
        np.testing.assert_array_equal(colourise(index, name), colour_table(name)[index])


def test_tables_cannot_be_changed_by_a_caller():
    with pytest.raises(ValueError, match='read-only'):
        colour_table('jet')[0] = 0


def test_unknown_colormap_is_named():
    with pytest.raises(OptionError, match=r"'hot'.*inferno"):
        colour_table('hot')
