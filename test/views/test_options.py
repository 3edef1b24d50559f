"""The options are those of the node, and refuse what could not be drawn."""

import dataclasses

import pytest

from midas_depth_ros.views.colours import BOUNDS, COLORMAPS, MAPPINGS, MODES, HeatmapOptions
from midas_depth_ros.views.errors import OptionError, ViewError


def test_options_are_the_parameters_of_the_node():
    pytest.importorskip('rclpy', reason='the parameters of the node need rclpy')
    from midas_depth_ros.options.declarations import specs
    from midas_depth_ros.options.heatmap import HeatmapParameters

    assert dataclasses.asdict(HeatmapOptions()) == dataclasses.asdict(HeatmapParameters())
    declared = {spec.name: spec for spec in specs(HeatmapParameters)}
    assert declared['colormap'].choices == COLORMAPS
    assert declared['mapping'].choices == MAPPINGS
    assert declared['mode'].choices == MODES
    assert {
        name: (spec.minimum, spec.maximum)
        for name, spec in declared.items()
        if spec.kind == 'double'
    } == BOUNDS


@pytest.mark.parametrize(
    ('name', 'value', 'remedy'),
    [
        ('colormap', 'rainbow', 'inferno'),
        ('mapping', 'sqrt', 'linear'),
        ('percentile_low', -1.0, '0 to 50'),
        ('percentile_high', 101.0, '50 to 100'),
        ('range_time_constant', -0.1, '0 to 60'),
        ('gamma', 0.0, '0.1 to 10'),
        ('overlay_alpha', 1.5, '0 to 1'),
        ('clahe_clip', 41.0, '0 to 40'),
        ('smoothing', float('nan'), '0 to 15'),
        ('mode', 'absolute', 'metric'),
        ('metric_near', 0.01, '0.05 to 100'),
    ],
)
def test_bad_values_are_refused_with_the_value_and_the_remedy(name, value, remedy):
    with pytest.raises(OptionError) as caught:
        HeatmapOptions(**{name: value})
    text = str(caught.value)
    assert name in text
    assert repr(value) in text
    assert remedy in text
    assert isinstance(caught.value, ViewError)


def test_near_must_be_nearer_than_far():
    with pytest.raises(OptionError, match='metric_near 5 m is not below metric_far 5 m'):
        HeatmapOptions(metric_near=5.0)


def test_options_cannot_change_between_two_uses():
    with pytest.raises(dataclasses.FrozenInstanceError):
        HeatmapOptions().gamma = 2.0
