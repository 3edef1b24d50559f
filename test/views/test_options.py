"""The options are those of the node, and refuse what could not be drawn."""

import dataclasses

import pytest

from midas_depth_ros.options.declarations import OptionFault
from midas_depth_ros.options.heatmap import HeatmapOptions
from midas_depth_ros.views.heatmap import COLORMAPS, colour_table


def test_every_colormap_is_one_of_opencv():
    assert len(COLORMAPS) == 6
    for name in COLORMAPS:
        assert colour_table(name).shape == (256, 3)


@pytest.mark.parametrize(
    ('name', 'value', 'remedy'),
    [
        ('colormap', 'rainbow', 'inferno'),
        ('mapping', 'sqrt', 'linear'),
        ('percentile_low', -1.0, 'minimum 0 %'),
        ('percentile_high', 101.0, 'maximum 100 %'),
        ('range_time_constant', -0.1, 'minimum 0 s'),
        ('gamma', 0.0, 'minimum 0.1'),
        ('overlay_alpha', 1.5, 'maximum 1'),
        ('clahe_clip', 41.0, 'maximum 40'),
        ('smoothing', float('nan'), 'NaN is not accepted'),
        ('mode', 'absolute', 'metric'),
        ('metric_near', 0.01, 'minimum 0.05 m'),
    ],
)
def test_bad_values_are_refused_with_the_value_and_the_remedy(name, value, remedy):
    with pytest.raises(OptionFault) as caught:
        HeatmapOptions(**{name: value})
    text = str(caught.value)
    assert name in text
    assert remedy in text


def test_near_must_be_nearer_than_far():
    with pytest.raises(OptionFault, match=r'metric_near 5 m is not below heatmap\.metric_far 5 m'):
        HeatmapOptions(metric_near=5.0)


def test_options_cannot_change_between_two_uses():
    with pytest.raises(dataclasses.FrozenInstanceError):
        HeatmapOptions().gamma = 2.0
